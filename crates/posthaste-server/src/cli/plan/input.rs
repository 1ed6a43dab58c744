//! Rates and short times, as people write them.

use std::time::Duration;

use posthaste_core::{Error, ErrorKind, Result, duration};

/// Jobs a second, of `120/s`, `90/m`, `5000/h` or `100000/d`.
///
/// # Errors
/// `Invalid` where it is none: also a number without a unit, which is a misunderstanding.
pub(super) fn rate(text: &str) -> Result<f64> {
    let read = || {
        let (number, unit) = text.split_once('/')?;
        let seconds = match unit.trim() {
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        let number: f64 = number.trim().parse().ok()?;
        (number.is_finite() && number >= 0.0).then_some(number / seconds)
    };
    read().ok_or_else(|| {
        Error::new(ErrorKind::Invalid, format!("{text:?} is not a rate"))
            .next("write it as 120/s, 90/m, 5000/h or 100000/d")
    })
}

/// A time that may be a part of a unit: `80ms`, `1.5s`, `250us`, and what flags say elsewhere.
///
/// # Errors
/// `Invalid` where it is none.
pub(super) fn service(text: &str) -> Result<Duration> {
    let part = || {
        let at = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit) = text.split_at(at);
        let seconds = match unit {
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        Duration::try_from_secs_f64(number * seconds).ok()
    };
    part().map_or_else(|| duration::parse(text), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_a_unit() {
        for (text, want) in [
            ("120/s", 120.0),
            ("0.5/s", 0.5),
            ("90/m", 1.5),
            ("90/min", 1.5),
            ("7200/h", 2.0),
            ("86400/d", 1.0),
            ("0/s", 0.0),
        ] {
            assert_eq!(rate(text), Ok(want), "{text}");
        }
        for text in [
            "", "120", "/s", "x/s", "-1/s", "inf/s", "nan/s", "1/w", "1/s/s",
        ] {
            assert!(rate(text).is_err_and(|e| e.next_step().is_some()), "{text}");
        }
    }

    #[test]
    fn services_may_be_parts_of_a_unit() {
        for (text, want) in [
            ("80ms", Duration::from_millis(80)),
            ("1.5s", Duration::from_millis(1_500)),
            ("250us", Duration::from_micros(250)),
            ("0.25ms", Duration::from_micros(250)),
            ("1m30s", Duration::from_secs(90)),
            ("1d", Duration::from_secs(86_400)),
        ] {
            assert_eq!(service(text), Ok(want), "{text}");
        }
        for text in ["", "80", "ms", "1.2.3s", "-1s", "1.5d", "1w"] {
            assert!(
                service(text).is_err_and(|e| e.next_step().is_some()),
                "{text}"
            );
        }
    }
}
