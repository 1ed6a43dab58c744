//! Durations as people write them: `200ms`, `30s`, `5m`, `1h30m`, `7d`.
//!
//! A number and a unit (`ms`, `s`, `m`, `h`, `d`), or several of them, the largest unit first, with
//! nothing in between. No fractions, no signs, no bare numbers: a number without a unit is a
//! misunderstanding that shows only in production.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

/// The units, the largest first, each with its length in milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// The milliseconds that `text` says.
///
/// # Errors
/// [`ErrorKind::Invalid`] where `text` is not a duration, or is longer than 2⁶⁴ milliseconds.
pub fn parse_ms(text: &str) -> Result<u64> {
    read(text).ok_or_else(|| {
        Error::new(ErrorKind::Invalid, format!("{text:?} is not a duration"))
            .next("write it as 200ms, 30s, 5m, 1h30m or 7d")
    })
}

/// The duration that `text` says.
///
/// # Errors
/// As [`parse_ms`].
pub fn parse(text: &str) -> Result<Duration> {
    parse_ms(text).map(Duration::from_millis)
}

fn read(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut units = UNITS.as_slice();
    let mut total = 0_u64;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, after) = after.split_at(
            after
                .find(|c: char| c.is_ascii_digit())
                .unwrap_or(after.len()),
        );
        let at = units.iter().position(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(units[at].1)?)?;
        units = &units[at + 1..];
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

/// `ms` milliseconds as people write them, in the largest units that hold it exactly.
#[must_use]
pub fn print_ms(ms: u64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    let mut rest = ms;
    for (name, length) in UNITS {
        if rest >= length {
            text.push_str(&(rest / length).to_string());
            text.push_str(name);
            rest %= length;
        }
    }
    text
}

/// A duration as people write it. Fractions of a millisecond are dropped.
#[must_use]
pub fn print(duration: Duration) -> String {
    print_ms(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, ms: u64) {
        assert_eq!(parse_ms(text), Ok(ms), "{text}");
        assert_eq!(parse_ms(&print_ms(ms)), Ok(ms), "{text}, printed and read");
    }

    fn check_refused(text: &str) {
        let error = parse_ms(text).expect_err(text);
        assert!(error.to_string().contains("1h30m"), "{error}");
    }

    #[test]
    fn the_written_forms() {
        check("200ms", 200);
        check("30s", 30_000);
        check("5m", 300_000);
        check("1h30m", 5_400_000);
        check("7d", 604_800_000);
        check("1d2h3m4s5ms", 93_784_005);
        check("0s", 0);
        check("90m", 5_400_000);
        assert_eq!(print_ms(5_400_000), "1h30m");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "30",
            "s",
            "-3s",
            "1.5s",
            "30 s",
            "30S",
            "1m1h",
            "1s1s",
            "1week",
            "ms",
            "5s3",
            "18446744073709551615d",
            "٣s",
        ] {
            check_refused(text);
        }
    }
}
