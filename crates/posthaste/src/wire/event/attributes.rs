//! The attributes of an event, whichever way they came.

use posthaste_core::topic::{Event, NewEvent, Position};
use posthaste_core::{Error, ErrorKind, Payload, Result, Text};

use crate::wire::Instant;

/// The extensions that tell where an event lies. They are told, and not taken.
pub(super) const TOLD: [&str; 4] = ["partition", "offset", "cursor", "publishedat"];

/// Names and values in the order in which they came, each name once.
#[derive(Clone, Debug, Default)]
pub(super) struct Attributes(Vec<(String, String)>);

impl Attributes {
    /// Adds one.
    ///
    /// # Errors
    /// `Invalid` for a name that none can have, or that is there already.
    pub(super) fn add(&mut self, name: String, value: String) -> Result<()> {
        check_name(&name)?;
        if self.0.iter().any(|(of, _)| *of == name) {
            return Err(invalid(
                format!("the attribute {name:?} is given twice"),
                "give it once",
            ));
        }
        self.0.push((name, value));
        Ok(())
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(of, _)| of == name)?;
        Some(self.0.remove(at).1)
    }

    fn demand(&mut self, name: &str) -> Result<String> {
        let value = self.take(name).filter(|value| !value.is_empty());
        value.ok_or_else(|| {
            invalid(
                format!("the attribute {name:?} of the event is missing or empty"),
                "give it: specversion, id, source and type are required",
            )
        })
    }

    /// The event as it is to be published; `data` makes its payload, told the content type.
    ///
    /// # Errors
    /// `Invalid`, naming the attribute.
    pub(super) fn into_new(
        mut self,
        data: impl FnOnce(Option<String>) -> Result<Option<Payload>>,
    ) -> Result<NewEvent> {
        for told in TOLD {
            self.take(told);
        }
        self.read(data)
    }

    fn read(
        mut self,
        data: impl FnOnce(Option<String>) -> Result<Option<Payload>>,
    ) -> Result<NewEvent> {
        let version = self.demand("specversion")?;
        if version != "1.0" {
            return Err(invalid(
                format!("the attribute \"specversion\" is {version:?}"),
                "send events of CloudEvents 1.0",
            ));
        }
        let id = self.demand("id")?;
        let source = self.demand("source")?;
        let event_type = self.demand("type")?;
        let key = self.take("partitionkey");
        let payload = data(self.take("datacontenttype"))?;
        for (name, value) in &self.0 {
            check_value(name, value)?;
        }
        let headers = self.0.into_iter();
        Ok(NewEvent {
            id: id.into(),
            deduplicate: true,
            event_type: event_type.into(),
            source: source.into(),
            key: key.map(Text::from),
            headers: headers
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            payload,
        })
    }

    /// The event as it was published.
    ///
    /// # Errors
    /// `Invalid`, naming the attribute.
    pub(super) fn into_event(
        mut self,
        data: impl FnOnce(Option<String>) -> Result<Option<Payload>>,
    ) -> Result<Event> {
        let [partition, offset, cursor, at] = TOLD.map(|told| self.demand(told));
        let behind: Position = cursor?.parse()?;
        let sequence = behind.sequence.checked_sub(1);
        let at: Instant = at?.parse()?;
        let new = self.read(data)?;
        Ok(Event {
            position: behind.at(sequence.ok_or_else(|| number("cursor"))?),
            partition: partition?.parse().map_err(|_| number("partition"))?,
            offset: offset?.parse().map_err(|_| number("offset"))?,
            at: at.0,
            id: new.id,
            event_type: new.event_type,
            source: new.source,
            key: new.key,
            headers: new.headers,
            payload: new.payload,
        })
    }
}

fn number(name: &str) -> Error {
    invalid(
        format!("the attribute {name:?} is not a number that it can be"),
        "ask a server of this version",
    )
}

pub(super) fn invalid(message: String, next: &str) -> Error {
    Error::new(ErrorKind::Invalid, message).next(next)
}

fn check_name(name: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if !name.is_empty() && name.bytes().all(plain) {
        return Ok(());
    }
    Err(invalid(
        format!("{name:?} is not a name for an attribute of an event"),
        "use lower-case letters and digits",
    ))
}

/// What an attribute of a known meaning must look like.
pub(super) fn check_value(name: &str, value: &str) -> Result<()> {
    match name {
        "time" if !is_instant(value) => Err(invalid(
            format!("the attribute \"time\" is not an instant: {value:?}"),
            "write it as RFC 3339, such as 2026-11-20T21:30:00Z",
        )),
        "dataschema" if !is_absolute(value) => Err(invalid(
            format!("the attribute \"dataschema\" is not an absolute URI: {value:?}"),
            "begin it with a scheme, such as https:",
        )),
        "subject" if value.is_empty() => Err(invalid(
            "the attribute \"subject\" is empty".into(),
            "give it a value, or leave it out",
        )),
        _ => Ok(()),
    }
}

/// Whether `text` begins with a scheme and goes on (RFC 3986, 4.3).
fn is_absolute(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else {
        return false;
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(plain)
        && !rest.is_empty()
        && !rest.contains(char::is_whitespace)
}

/// Whether `text` is an instant of RFC 3339, in whichever offset.
fn is_instant(text: &str) -> bool {
    let Some((date, rest)) = text.split_once(['T', 't']) else {
        return false;
    };
    let Some([year, month, day]) = numbers(date, '-', [4, 2, 2]) else {
        return false;
    };
    let zone = rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len());
    let (time, zone) = rest.split_at(zone);
    let (whole, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let Some([hour, minute, second]) = numbers(whole, ':', [2, 2, 2]) else {
        return false;
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (1..=12).contains(&month)
        && (1..=days(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        // A leap second is one.
        && second <= 60
        && digits(fraction)
        && is_zone(zone)
}

fn is_zone(zone: &str) -> bool {
    match zone.strip_prefix(['+', '-']) {
        Some(offset) => numbers(offset, ':', [2, 2]).is_some_and(|[h, m]| h < 24 && m < 60),
        None => matches!(zone, "Z" | "z"),
    }
}

const fn days(year: u32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        _ => 31,
    }
}

/// The numbers of a text that is exactly so many digits between `by`.
fn numbers<const N: usize>(text: &str, by: char, lengths: [usize; N]) -> Option<[u32; N]> {
    let mut parts = text.split(by);
    let mut read = [0; N];
    for (number, length) in read.iter_mut().zip(lengths) {
        let part = parts.next().filter(|part| part.len() == length)?;
        let plain = part.bytes().all(|byte| byte.is_ascii_digit());
        *number = plain.then(|| part.parse().ok())??;
    }
    parts.next().is_none().then_some(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_told_from_what_only_looks_like_one() {
        for good in [
            "2026-11-20T21:30:00Z",
            "2026-11-20t21:30:00.123456789z",
            "2024-02-29T23:59:60+05:30",
            "2026-01-01T00:00:00-00:00",
        ] {
            assert!(is_instant(good), "{good}");
        }
        for bad in [
            "",
            "2026-11-20",
            "2026-11-20 21:30:00Z",
            "2026-11-20T21:30:00",
            "2026-11-20T21:30Z",
            "2025-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00+0530",
            "2026-01-01T00:00:00+24:00",
            "+026-01-01T00:00:00Z",
            "2026-01-01T00:00:00Zx",
        ] {
            assert!(!is_instant(bad), "{bad}");
        }
    }

    #[test]
    fn an_absolute_uri_has_a_scheme() {
        assert!(is_absolute("https://example.com/schema") && is_absolute("urn:a:b"));
        for bad in [
            "", "/schema", "schema", ":x", "1a:x", "a b:c", "a:", "a:b c",
        ] {
            assert!(!is_absolute(bad), "{bad}");
        }
    }
}
