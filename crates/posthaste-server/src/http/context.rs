//! The context that comes along with a request: how much time it has, and how much it matters.
//!
//! What has no time left is refused before it starts, and a wait is cut to what is left. A header that
//! can't be read is passed over: it is no reason to refuse a request. This room refuses to decide who
//! is served under pressure, which is `admission`'s to do.

use std::time::Duration;

use axum::http::HeaderMap;
use posthaste::policy::{CRITICALITY_HEADER, Context, Criticality};
use posthaste_core::{Error, ErrorKind, limits};

/// The context of a request. Where the request does not say how much it matters, `tier` does.
pub(super) fn of(headers: &HeaderMap, tier: Criticality) -> Context {
    let said = headers
        .get(CRITICALITY_HEADER)
        .and_then(|value| Criticality::from_word(value.to_str().ok()?.trim()));
    let texts = headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    Context::from_headers(texts).criticality(said.unwrap_or(tier))
}

/// That a request had no time left when it came, or before it was its turn.
pub(super) fn too_late() -> Error {
    Error::new(
        ErrorKind::Deadline,
        "the time that the request gave was over before it started: nothing was done",
    )
    .next("give it more time with posthaste-timeout-ms, or ask for less")
}

/// A wait of so many milliseconds, cut to a minute and to the time that is left.
pub(super) fn wait_ms(asked: u32) -> u32 {
    let left = Context::current().remaining();
    let left = left.map_or(u32::MAX, |left: Duration| {
        u32::try_from(left.as_millis()).unwrap_or(u32::MAX)
    });
    asked.min(limits::WAIT_MS_MAX).min(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let read = |(name, value): &(&'static str, &'static str)| {
            let value = axum::http::HeaderValue::from_bytes(value.as_bytes()).expect("a value");
            (axum::http::HeaderName::from_static(name), value)
        };
        fields.iter().map(read).collect()
    }

    #[test]
    fn the_tier_is_what_the_request_says_or_else_what_the_route_says() {
        let check = |fields: &[(&'static str, &'static str)], tier| {
            let read = of(&headers(fields), Criticality::Batch);
            assert_eq!(read.tier(), tier, "{fields:?}");
        };
        check(&[], Criticality::Batch);
        check(&[(CRITICALITY_HEADER, "default")], Criticality::Default);
        check(&[(CRITICALITY_HEADER, " critical ")], Criticality::Critical);
        check(&[(CRITICALITY_HEADER, "very")], Criticality::Batch);
        check(&[(CRITICALITY_HEADER, "größer")], Criticality::Batch);
    }

    #[tokio::test]
    async fn a_wait_is_cut_to_a_minute_and_to_what_is_left() {
        assert_eq!(wait_ms(90_000), 60_000);
        assert_eq!(wait_ms(70), 70);
        let short = Context::new().within(Duration::from_secs(5));
        assert!(short.scope(async { wait_ms(60_000) }).await <= 5_000);
        let over = Context::new().within(Duration::ZERO);
        assert_eq!(over.scope(async { wait_ms(60_000) }).await, 0);
    }
}
