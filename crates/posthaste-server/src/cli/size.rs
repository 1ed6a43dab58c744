//! Sizes as people write them: `512KiB`, `10GiB`, or a number of bytes.

use posthaste_core::{Error, ErrorKind, Result};

/// The units, the largest first, each with its size in bytes.
const UNITS: [(&str, u64); 4] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
];

/// The bytes that `text` says.
///
/// # Errors
/// `Invalid` where it isn't a size.
pub(super) fn parse(text: &str) -> Result<u64> {
    read(text).ok_or_else(|| {
        Error::new(ErrorKind::Invalid, format!("{text:?} is not a size"))
            .next("write it as 512KiB, 100MiB, 10GiB or a number of bytes")
    })
}

fn read(text: &str) -> Option<u64> {
    let unit = UNITS
        .iter()
        .find_map(|(name, bytes)| Some((text.strip_suffix(name)?, *bytes)));
    let (number, bytes) = unit.unwrap_or((text, 1));
    let plain = number.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| number.parse::<u64>().ok()?.checked_mul(bytes))?
}

/// `bytes` in the largest unit that is not larger, to a tenth where it doesn't come out even.
pub(super) fn print(bytes: u64) -> String {
    let unit = UNITS.iter().find(|(_, unit)| bytes >= *unit);
    let Some((name, unit)) = unit else {
        return format!("{bytes}B");
    };
    let (whole, rest) = (bytes / unit, bytes % unit);
    match rest {
        0 => format!("{whole}{name}"),
        rest => format!("{whole}.{}{name}", rest * 10 / unit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_nothing_else_is() {
        for (text, bytes) in [
            ("0", 0),
            ("1000", 1_000),
            ("512KiB", 512 << 10),
            ("10GiB", 10 << 30),
            ("3TiB", 3 << 40),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for bad in [
            "",
            "GiB",
            "10GB",
            "10 GiB",
            "1.5GiB",
            "-1",
            "+1",
            "99999999TiB",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sizes_are_shown_in_the_unit_that_fits() {
        for (bytes, text) in [
            (0, "0B"),
            (1_023, "1023B"),
            (1_024, "1KiB"),
            (1_536, "1.5KiB"),
            (10 << 30, "10GiB"),
            ((10 << 30) - 1, "9.9GiB"),
        ] {
            assert_eq!(print(bytes), text);
        }
    }
}
