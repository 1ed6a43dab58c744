//! From a result to what it means.

use std::time::Duration;

use posthaste_core::policy::Verdict;
use posthaste_core::{Error, ErrorKind};

/// What the result of an attempt means to a policy. Any `Fn(&Result<T, E>) -> Verdict` is one.
pub trait Judge<T, E> {
    /// What it means.
    fn judge(&self, result: &Result<T, E>) -> Verdict;
}

impl<T, E, F: Fn(&Result<T, E>) -> Verdict> Judge<T, E> for F {
    fn judge(&self, result: &Result<T, E>) -> Verdict {
        self(result)
    }
}

/// Takes `Ok` for done, and every error for one of unknown effect: it speaks against the callee's
/// health, and the call is repeated only where that is safe. What is done where nothing else is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnyError;

impl<T, E> Judge<T, E> for AnyError {
    fn judge(&self, result: &Result<T, E>) -> Verdict {
        match result {
            Ok(_) => Verdict::Ok,
            Err(_) => Verdict::Unknown,
        }
    }
}

/// What an error of Posthaste's own means: busy and full are refusals, an unreachable store is ill, and
/// what breaks a rule is the caller's fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByKind;

impl<T> Judge<T, Error> for ByKind {
    fn judge(&self, result: &Result<T, Error>) -> Verdict {
        let Err(error) = result else {
            return Verdict::Ok;
        };
        match error.kind() {
            ErrorKind::Busy | ErrorKind::DiskFull | ErrorKind::Overloaded => {
                Verdict::Throttled(error.retry_after().map(Duration::from_millis))
            }
            ErrorKind::Unavailable | ErrorKind::Closed | ErrorKind::Locked => Verdict::Retry,
            ErrorKind::Uncertain | ErrorKind::Io => Verdict::Unknown,
            _ => Verdict::Fatal,
        }
    }
}

/// What the status of an HTTP answer means, with its `Retry-After` in seconds or as a date, where it has
/// one (RFC 9110, 10.2.3, 15.5 and 15.6).
///
/// | status | verdict |
/// |---|---|
/// | under 400 | ok |
/// | 429; 503 with `Retry-After` | throttled |
/// | 408, 502, 504 | unknown: somebody in between gave up waiting |
/// | 500, 503 and other 5xx | retry |
/// | 501, 505, other 4xx | fatal |
///
/// ```
/// use posthaste::policy::{of_status, Verdict};
/// use posthaste::TimeUnits;
///
/// assert_eq!(of_status(204, None), Verdict::Ok);
/// assert_eq!(of_status(429, Some("2")), Verdict::Throttled(Some(2.secs())));
/// assert_eq!(of_status(404, None), Verdict::Fatal);
/// ```
#[must_use]
pub fn of_status(status: u16, retry_after: Option<&str>) -> Verdict {
    let asked = retry_after.and_then(pause);
    match status {
        ..400 => Verdict::Ok,
        429 => Verdict::Throttled(asked),
        503 if retry_after.is_some() => Verdict::Throttled(asked),
        408 | 502 | 504 => Verdict::Unknown,
        400..=499 | 501 | 505 => Verdict::Fatal,
        _ => Verdict::Retry,
    }
}

/// How long a `Retry-After` asks to wait. A date is held against the wall clock of this machine.
fn pause(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let until = seconds_of(text)?;
    Some(Duration::from_secs(
        until.saturating_sub(now.ok()?.as_secs()),
    ))
}

/// The seconds since 1970 of a date in the preferred form of RFC 9110, 5.6.7:
/// `Sun, 06 Nov 1994 08:49:37 GMT`.
fn seconds_of(date: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (_, rest) = date.split_once(", ")?;
    let parts: Vec<&str> = rest.split(' ').collect();
    let [day, month, year, time, "GMT"] = parts.as_slice() else {
        return None;
    };
    let clock: Vec<u64> = time
        .split(':')
        .map_while(|part| part.parse().ok())
        .collect();
    let [hour, minute, second] = clock.as_slice() else {
        return None;
    };
    let month = MONTHS.iter().position(|name| name == month)?;
    let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
    if !(1970..=9_999).contains(&year) || !(1..=31).contains(&day) {
        return None;
    }
    if *hour > 23 || *minute > 59 || *second > 60 {
        return None;
    }
    // Days since 1970 by counting years from March, so that the leap day is a year's last.
    let month = u64::try_from(month).ok()? + 1;
    let shifted = if month > 2 { year } else { year - 1 };
    let from_march = (month + 9) % 12;
    let days = shifted * 365 + shifted / 4 - shifted / 100
        + shifted / 400
        + (from_march * 153 + 2) / 5
        + day
        - 1;
    let days = days.checked_sub(719_468)?;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statuses_of_http() {
        let check = |status, after, verdict| {
            assert_eq!(of_status(status, after), verdict, "{status} {after:?}");
        };
        check(200, None, Verdict::Ok);
        check(304, None, Verdict::Ok);
        check(400, None, Verdict::Fatal);
        check(408, None, Verdict::Unknown);
        check(429, None, Verdict::Throttled(None));
        check(429, Some("later"), Verdict::Throttled(None));
        check(500, Some("9"), Verdict::Retry);
        check(501, None, Verdict::Fatal);
        check(503, None, Verdict::Retry);
        let nine = Verdict::Throttled(Some(Duration::from_secs(9)));
        check(503, Some(" 9 "), nine);
        check(504, None, Verdict::Unknown);
        check(599, None, Verdict::Retry);
    }

    #[test]
    fn a_date_of_http_is_an_instant() {
        let check = |date, seconds| assert_eq!(seconds_of(date), seconds, "{date}");
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777));
        check("Thu, 01 Jan 1970 00:00:00 GMT", Some(0));
        check("Thu, 29 Feb 2024 23:59:59 GMT", Some(1_709_251_199));
        check("Fri, 31 Dec 9999 23:59:59 GMT", Some(253_402_300_799));
        check("Sun, 06 Nov 1994 08:49:37", None);
        check("Sun, 99 Nov 1994 08:49:37 GMT", None);
        check("soon", None);
        // What has passed asks for no pause.
        assert_eq!(pause("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
    }

    #[test]
    fn errors_of_a_store_are_told_apart() {
        let of = |kind| ByKind.judge(&Err::<(), _>(Error::new(kind, "so")));
        assert_eq!(of(ErrorKind::Busy), Verdict::Throttled(None));
        assert_eq!(of(ErrorKind::Unavailable), Verdict::Retry);
        assert_eq!(of(ErrorKind::Uncertain), Verdict::Unknown);
        assert_eq!(of(ErrorKind::Invalid), Verdict::Fatal);
        assert_eq!(ByKind.judge(&Ok::<_, Error>(())), Verdict::Ok);
    }
}
