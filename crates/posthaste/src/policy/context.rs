//! The one context that goes along with calls, jobs, events and HTTP.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use posthaste_core::policy::Criticality;
use posthaste_core::time::{MonoNs, WallMs};

use super::clock;

/// How much time is left, in milliseconds, as a header: `posthaste-timeout-ms: 850`. What is left, and
/// not an instant, so that clocks need not agree.
pub const TIMEOUT_HEADER: &str = "posthaste-timeout-ms";
/// The tier, as a header: `posthaste-criticality: batch`.
pub const CRITICALITY_HEADER: &str = "posthaste-criticality";
/// Which attempt it is, as a header: `posthaste-attempt: 2`.
pub const ATTEMPT_HEADER: &str = "posthaste-attempt";
/// The key under which a repetition is known, as a header.
pub const IDEMPOTENCY_KEY_HEADER: &str = "idempotency-key";
/// The trace, as a header (W3C Trace Context).
pub const TRACEPARENT_HEADER: &str = "traceparent";
/// What the vendors of traces add, as a header (W3C Trace Context).
pub const TRACESTATE_HEADER: &str = "tracestate";

/// Longest key, trace, caller and tag that is taken from a header, in bytes. Longer ones are ignored.
const TEXT_BYTES_MAX: usize = 512;

/// What goes along with a call: how long it may take, how much it matters, under which key it may be
/// repeated, which attempt it is, and the trace it belongs to.
///
/// A deadline is only ever narrowed. Whatever runs under a context (the body of an attempt, the handler
/// of a job or an event) finds it with [`current`](Self::current), and every policy called there goes on
/// from it, without being told. A task that is spawned does not: give it one with
/// [`scope`](Self::scope). Cheap to clone.
///
/// ```
/// use posthaste::policy::{Context, Criticality};
/// use posthaste::TimeUnits;
///
/// let cx = Context::new().within(2.secs()).criticality(Criticality::Batch).key("order-7");
/// let narrower = cx.clone().within(300.millis());
/// assert!(narrower.remaining() <= Some(300.millis()));
/// // It can't be widened again.
/// assert!(narrower.within(10.secs()).remaining() <= Some(300.millis()));
/// ```
#[derive(Clone, Default)]
pub struct Context {
    deadline: Option<MonoNs>,
    tier: Criticality,
    safe: bool,
    attempt: u32,
    texts: Option<Arc<Texts>>,
}

/// What is long, and changes seldom.
#[derive(Clone, Default)]
struct Texts {
    key: Option<Box<str>>,
    traceparent: Option<Box<str>>,
    tracestate: Option<Box<str>>,
    caller: Option<Box<str>>,
    tag: Option<Arc<str>>,
}

impl Context {
    /// An empty one: no deadline, the tier `default`, no key.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            deadline: None,
            tier: Criticality::Default,
            safe: false,
            attempt: 0,
            texts: None,
        }
    }

    /// At most `time` from now on. Never widens.
    #[must_use]
    pub fn within(self, time: Duration) -> Self {
        self.until(clock::now().after(time))
    }

    /// At most until this instant of the wall clock. Never widens.
    #[must_use]
    pub(crate) fn until_wall(self, deadline: WallMs, now: WallMs) -> Self {
        self.within(Duration::from_millis(deadline.since(now)))
    }

    #[inline]
    pub(super) fn until(mut self, at: MonoNs) -> Self {
        self.deadline = Some(self.deadline.map_or(at, |known| known.min(at)));
        self
    }

    /// How much it matters.
    #[must_use]
    pub fn criticality(mut self, tier: Criticality) -> Self {
        self.tier = tier;
        self
    }

    /// The key under which a repetition is known to the callee: it makes repeating safe.
    #[must_use]
    pub fn key(self, key: impl Into<Box<str>>) -> Self {
        self.with(|texts| texts.key = Some(key.into()))
    }

    /// Repeating is safe: it only reads, or it is idempotent by itself.
    #[must_use]
    pub fn safe(mut self) -> Self {
        self.safe = true;
        self
    }

    /// It writes again: repeating is safe only under a key of its own, and an inherited one is dropped.
    #[must_use]
    pub fn fresh(mut self) -> Self {
        self.safe = false;
        self.attempt = 0;
        self.with(|texts| texts.key = None)
    }

    /// Who calls: callers share a waiting room fairly.
    #[must_use]
    pub fn caller(self, caller: impl Into<Box<str>>) -> Self {
        self.with(|texts| texts.caller = Some(caller.into()))
    }

    /// What rules of chaos know it by.
    #[must_use]
    pub fn tag(self, tag: impl Into<Arc<str>>) -> Self {
        self.with(|texts| texts.tag = Some(tag.into()))
    }

    /// The trace it belongs to (W3C Trace Context).
    #[must_use]
    pub fn trace(self, traceparent: impl Into<Box<str>>, tracestate: Option<&str>) -> Self {
        self.with(|texts| {
            texts.traceparent = Some(traceparent.into());
            texts.tracestate = tracestate.map(Into::into);
        })
    }

    pub(crate) fn attempted(mut self, attempt: u32) -> Self {
        self.attempt = attempt;
        self
    }

    /// That of an attempt of the call in this context.
    #[inline]
    pub(super) fn of_attempt(&self, number: u32, must_end: Option<MonoNs>) -> Self {
        // Made in one piece, as it is on the path of every call.
        Self {
            deadline: match (self.deadline, must_end) {
                (Some(known), Some(end)) => Some(known.min(end)),
                (known, end) => known.or(end),
            },
            tier: self.tier,
            safe: self.safe,
            attempt: number,
            texts: self.texts.clone(),
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Texts)) -> Self {
        change(Arc::make_mut(self.texts.get_or_insert_default()));
        self
    }

    #[inline]
    fn text(&self, which: impl FnOnce(&Texts) -> Option<&str>) -> Option<&str> {
        self.texts.as_deref().and_then(which)
    }

    /// How much time is left; none where it has no deadline, zero where it has passed.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        let end = self.deadline?;
        Some(Duration::from_nanos(end.since(clock::now())))
    }

    /// Whether its time is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.deadline.is_some_and(|end| end <= clock::now())
    }

    /// How much it matters.
    #[must_use]
    pub const fn tier(&self) -> Criticality {
        self.tier
    }

    /// Which attempt it is, from 1; 0 outside of any.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The key under which a repetition is known.
    #[must_use]
    #[inline]
    pub fn idempotency_key(&self) -> Option<&str> {
        self.text(|texts| texts.key.as_deref())
    }

    /// The trace (W3C Trace Context).
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.text(|texts| texts.traceparent.as_deref())
    }

    /// What the vendors of traces add.
    #[must_use]
    pub fn tracestate(&self) -> Option<&str> {
        self.text(|texts| texts.tracestate.as_deref())
    }

    /// Whether repeating is safe: it has a key, or was said to be.
    #[must_use]
    #[inline]
    pub fn is_idempotent(&self) -> bool {
        self.safe || self.idempotency_key().is_some()
    }

    #[inline]
    pub(super) const fn deadline(&self) -> Option<MonoNs> {
        self.deadline
    }

    #[inline]
    pub(super) fn chaos_tag(&self) -> Option<Arc<str>> {
        self.texts.as_ref().and_then(|texts| texts.tag.clone())
    }

    #[inline]
    pub(super) fn caller_number(&self) -> u64 {
        self.text(|texts| texts.caller.as_deref())
            .map_or(0, |caller| {
                let mut hasher = DefaultHasher::new();
                caller.hash(&mut hasher);
                hasher.finish()
            })
    }

    /// What to send along over HTTP, names in lower case. Made of what is left of the time now: ask for
    /// it when the request is sent. What was left unsaid is not sent.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, String)> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let left = self.remaining().map(|left| left.as_millis().to_string());
        let tier = (self.tier != Criticality::Default).then(|| self.tier.word().to_owned());
        let attempt = (self.attempt > 0).then(|| self.attempt.to_string());
        [
            (TIMEOUT_HEADER, left),
            (CRITICALITY_HEADER, tier),
            (ATTEMPT_HEADER, attempt),
            (IDEMPOTENCY_KEY_HEADER, owned(self.idempotency_key())),
            (TRACEPARENT_HEADER, owned(self.traceparent())),
            (TRACESTATE_HEADER, owned(self.tracestate())),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }

    /// The context that came along with a request, from its headers as names and values. Its time runs
    /// from now on. What can't be read, or is over 512 bytes long, is ignored: a header of a stranger is
    /// no reason to refuse a call.
    #[must_use]
    pub fn from_headers<'h>(headers: impl IntoIterator<Item = (&'h str, &'h str)>) -> Self {
        let mut cx = Self::new();
        let mut tracestate = None;
        for (name, value) in headers {
            let value = value.trim();
            if value.is_empty() || value.len() > TEXT_BYTES_MAX {
                continue;
            }
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            if is(TIMEOUT_HEADER) {
                if let Ok(left) = value.parse() {
                    cx = cx.within(Duration::from_millis(left));
                }
            } else if is(CRITICALITY_HEADER) {
                cx.tier = Criticality::from_word(value).unwrap_or(cx.tier);
            } else if is(ATTEMPT_HEADER) {
                cx.attempt = value.parse().unwrap_or(cx.attempt);
            } else if is(IDEMPOTENCY_KEY_HEADER) {
                cx = cx.key(value);
            } else if is(TRACEPARENT_HEADER) && is_traceparent(value) {
                cx = cx.with(|texts| texts.traceparent = Some(value.into()));
            } else if is(TRACESTATE_HEADER) {
                tracestate = Some(value);
            }
        }
        match (cx.traceparent().is_some(), tracestate) {
            // The state of a trace means nothing without the trace.
            (true, Some(state)) => cx.with(|texts| texts.tracestate = Some(state.into())),
            _ => cx,
        }
    }

    /// Divides what is left of the time over `calls` calls, one after the other: each gets an equal part
    /// of what is left when it begins, so that what one does not use the later ones have.
    ///
    /// ```
    /// # use posthaste::policy::Context;
    /// # use posthaste::TimeUnits;
    /// let mut shares = Context::new().within(900.millis()).divide(3);
    /// let first = shares.next().unwrap();
    /// assert!(first.remaining() <= Some(300.millis()));
    /// ```
    #[must_use]
    pub fn divide(self, calls: u32) -> Shares {
        Shares {
            whole: self,
            left: calls,
        }
    }
}

/// What is left of a deadline, divided over several calls; see [`Context::divide`].
#[derive(Clone, Debug)]
pub struct Shares {
    whole: Context,
    left: u32,
}

impl Iterator for Shares {
    type Item = Context;

    /// The context of the next call; none where all have been given out.
    fn next(&mut self) -> Option<Context> {
        let parts = self.left;
        self.left = parts.checked_sub(1)?;
        let cx = self.whole.clone();
        Some(match self.whole.remaining() {
            Some(left) => cx.within(left / parts),
            None => cx,
        })
    }
}

/// Whether a text is a `traceparent`: version, trace, parent and flags in lower-case hexadecimal, the
/// trace and the parent not zero (W3C Trace Context, 3.2.2).
fn is_traceparent(text: &str) -> bool {
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let some = |part: &str| part.bytes().any(|b| b != b'0');
    let parts: Vec<&str> = text.split('-').collect();
    let [version, trace, parent, flags, more @ ..] = parts.as_slice() else {
        return false;
    };
    let whole = hex(version, 2) && hex(trace, 32) && hex(parent, 16) && hex(flags, 2);
    whole
        && *version != "ff"
        && (more.is_empty() || *version != "00")
        && some(trace)
        && some(parent)
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("remaining", &self.remaining())
            .field("criticality", &self.tier)
            .field("attempt", &self.attempt)
            .field("idempotency_key", &self.idempotency_key())
            .field("traceparent", &self.traceparent())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_goes_over_http_comes_back() {
        let cx = Context::new()
            .within(Duration::from_secs(5))
            .criticality(Criticality::BestEffort)
            .key("k 1")
            .trace(TRACE, Some("a=b"))
            .of_attempt(2, None);
        let headers: Vec<_> = cx.headers().collect();
        assert_eq!(headers.len(), 6);
        let back = Context::from_headers(headers.iter().map(|(name, value)| (*name, &**value)));
        assert_eq!(back.tier(), Criticality::BestEffort);
        assert_eq!(back.idempotency_key(), Some("k 1"));
        assert_eq!(back.traceparent(), Some(TRACE));
        assert_eq!(back.tracestate(), Some("a=b"));
        assert_eq!(back.attempt(), 2);
        assert!(back.remaining() <= cx.remaining().map(|left| left + Duration::from_millis(1)));
        assert!(back.remaining() > Some(Duration::from_secs(1)));
        assert_eq!(Context::new().headers().count(), 0);
    }

    #[test]
    fn rubbish_in_a_header_is_ignored() {
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        let cx = Context::from_headers([
            (TIMEOUT_HEADER, "-5"),
            (CRITICALITY_HEADER, "URGENT"),
            (ATTEMPT_HEADER, "many"),
            (IDEMPOTENCY_KEY_HEADER, &long),
            (TRACEPARENT_HEADER, "00-xyz"),
            (TRACESTATE_HEADER, "a=b"),
        ]);
        assert_eq!(cx.remaining(), None);
        assert_eq!(cx.tier(), Criticality::Default);
        assert!(!cx.is_idempotent());
        assert_eq!(cx.headers().count(), 0, "{cx:?}");
    }

    #[test]
    fn a_traceparent_is_held_against_its_grammar() {
        assert!(is_traceparent(TRACE));
        assert!(is_traceparent(&TRACE.replace("00-", "01-")));
        assert!(is_traceparent(&format!("01{}-more", &TRACE[2..])));
        for wrong in [
            String::new(),
            format!("{TRACE}-more"),
            TRACE.to_uppercase(),
            TRACE.replace("00-0", "ff-0"),
            TRACE.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            TRACE.replace("b7ad6b7169203331", &"0".repeat(16)),
            TRACE[..54].to_owned(),
        ] {
            assert!(!is_traceparent(&wrong), "{wrong}");
        }
    }

    #[test]
    fn a_key_of_another_write_is_not_inherited() {
        let cx = Context::new().key("a").safe();
        assert!(cx.is_idempotent());
        let fresh = cx.fresh();
        assert!(!fresh.is_idempotent());
        assert_eq!(fresh.idempotency_key(), None);
    }

    #[tokio::test]
    async fn what_runs_under_a_context_finds_it() {
        assert_eq!(Context::current().idempotency_key(), None);
        let cx = Context::new().key("a").criticality(Criticality::Critical);
        cx.scope(async {
            assert_eq!(Context::current().idempotency_key(), Some("a"));
            tokio::task::yield_now().await;
            let inner = Context::current().criticality(Criticality::Batch);
            inner
                .scope(async { assert_eq!(Context::current().tier(), Criticality::Batch) })
                .await;
            assert_eq!(Context::current().tier(), Criticality::Critical);
        })
        .await;
        assert_eq!(Context::current().tier(), Criticality::Default);
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_call_leaves_of_its_share_the_later_ones_have() {
        let millis = |ms| Some(Duration::from_millis(ms));
        let mut shares = Context::new().within(Duration::from_millis(900)).divide(3);
        let first = shares.next().expect("one of three");
        assert_eq!(first.remaining(), millis(300));
        tokio::time::advance(Duration::from_millis(100)).await;
        let second = shares.next().expect("two of three");
        assert_eq!(second.remaining(), millis(400));
        tokio::time::advance(Duration::from_millis(700)).await;
        let third = shares.next().expect("three of three");
        assert_eq!(third.remaining(), millis(100));
        assert!(shares.next().is_none());
        tokio::time::advance(Duration::from_millis(100)).await;
        assert!(third.is_over());
    }
}
