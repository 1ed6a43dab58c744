//! Durations and instants as text.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use posthaste_core::{Error, ErrorKind, Result, WallMs, duration};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A duration in milliseconds, written as `"200ms"`, `"30s"`, `"5m"`, `"1h30m"`, `"7d"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub u64);

impl Span {
    /// The milliseconds, where they fit 32 bits.
    ///
    /// # Errors
    /// `Invalid`, naming `field`, where they don't.
    pub(crate) fn short(self, field: &str) -> Result<u32> {
        u32::try_from(self.0).map_err(|_| {
            Error::new(ErrorKind::Invalid, format!("{field} {self} is too long"))
                .next("give less than 49 days")
        })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&duration::print_ms(self.0))
    }
}

impl std::str::FromStr for Span {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        duration::parse_ms(text).map(Self)
    }
}

/// An instant on the wall clock, written as RFC 3339 in UTC: `"2026-11-20T21:30:00.250Z"`.
///
/// Read to the millisecond; `+00:00` is read as `Z`, any other offset is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub WallMs);

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// The end of the year 9999, the last that RFC 3339 can write.
        const LAST_MS: u64 = 253_402_300_799_999;
        let instant = UNIX_EPOCH + Duration::from_millis(self.0.0.min(LAST_MS));
        fmt::Display::fmt(&humantime::format_rfc3339_millis(instant), f)
    }
}

impl std::str::FromStr for Instant {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let utc = match text.strip_suffix("+00:00") {
            Some(rest) => format!("{rest}Z"),
            None => text.to_owned(),
        };
        humantime::parse_rfc3339(&utc)
            .ok()
            .and_then(wall)
            .map(Self)
            .ok_or_else(|| {
                Error::new(ErrorKind::Invalid, format!("{text:?} is not an instant"))
                    .next("write it as RFC 3339 in UTC, such as 2026-11-20T21:30:00Z")
            })
    }
}

fn wall(instant: SystemTime) -> Option<WallMs> {
    let since = instant.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok().map(WallMs)
}

macro_rules! text {
    ($type:ident, $expected:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl de::Visitor<'_> for Text {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    };
}

text!(Span, "a duration such as \"30s\"");
text!(Instant, "an instant such as \"2026-11-20T21:30:00Z\"");
