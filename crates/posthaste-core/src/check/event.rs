//! The rules of events, topics and reads.

use super::{command_bytes, invalid, sized, too_large};
use crate::error::Result;
use crate::limits;
use crate::text::Text;
use crate::topic::{NewEvent, TailTopic, TopicSettings};

/// Names of an event's attributes that are no headers; the last four tell where it lies.
const RESERVED: [&str; 11] = [
    "specversion",
    "id",
    "source",
    "type",
    "datacontenttype",
    "partitionkey",
    "data",
    "partition",
    "offset",
    "cursor",
    "publishedat",
];

pub(super) fn publish(events: &[NewEvent]) -> Result<()> {
    if events.is_empty() {
        return Err(invalid(
            "there is no event to publish".into(),
            "give at least one".into(),
        ));
    }
    events.iter().try_for_each(new_event)
}

/// Whether so many events may be in one commit.
pub(super) fn count(events: usize) -> Result<()> {
    if events <= limits::EVENTS_PER_COMMIT_MAX {
        return Ok(());
    }
    Err(too_large(
        format!("the commit has {events} events"),
        format!(
            "split it into commits of at most {}",
            limits::EVENTS_PER_COMMIT_MAX
        ),
    ))
}

/// Whether an event keeps the rules.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid) or [`TooLarge`](crate::ErrorKind::TooLarge), naming the
/// attribute.
pub fn new_event(event: &NewEvent) -> Result<()> {
    text("id", &event.id)?;
    text("type", &event.event_type)?;
    text("source", &event.source)?;
    if let Some(key) = &event.key {
        text("key", key)?;
    }
    if let Some(payload) = &event.payload {
        sized(payload, "payload", limits::EVENT_BYTES_MAX)?;
    } else if event.key.is_none() {
        return Err(invalid(
            format!("the event {:?} has neither a payload nor a key", event.id),
            "give a payload; a tombstone, which has none, names the key that it ends".into(),
        ));
    }
    headers(event)
}

fn text(word: &str, text: &Text) -> Result<()> {
    if !(1..=limits::EVENT_TEXT_BYTES_MAX).contains(&text.len()) {
        return Err(invalid(
            format!("the {word} of an event is {} bytes long", text.len()),
            format!("use 1 to {} bytes", limits::EVENT_TEXT_BYTES_MAX),
        ));
    }
    if !is_printable(text) {
        return Err(invalid(
            format!("the {word} {text:?} of an event has a control character"),
            "use printable characters".into(),
        ));
    }
    Ok(())
}

/// Whether there is no control character in it. Nearly all are plain ASCII, which is told without
/// taking it apart.
fn is_printable(text: &Text) -> bool {
    let bytes = text.as_bytes().iter();
    let plain = bytes.fold(true, |plain, byte| plain & (0x20..0x7f).contains(byte));
    plain || !text.chars().any(char::is_control)
}

fn headers(event: &NewEvent) -> Result<()> {
    if event.headers.len() > limits::HEADERS_MAX {
        return Err(invalid(
            format!("the event has {} headers", event.headers.len()),
            format!("give at most {}", limits::HEADERS_MAX),
        ));
    }
    for (index, (name, value)) in event.headers.iter().enumerate() {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let fits = (1..=limits::NAME_BYTES_MAX).contains(&name.len());
        if !fits || !name.bytes().all(plain) {
            return Err(invalid(
                format!("{name:?} is not a name for a header of an event"),
                format!(
                    "use 1 to {} lower-case letters and digits",
                    limits::NAME_BYTES_MAX
                ),
            ));
        }
        if RESERVED.contains(&name.as_str()) {
            return Err(invalid(
                format!("the header {name:?} is an attribute of its own"),
                "give it as that".into(),
            ));
        }
        if event.headers[..index].iter().any(|(of, _)| of == name) {
            return Err(invalid(
                format!("the header {name:?} is there twice"),
                "give each once".into(),
            ));
        }
        if value.len() > limits::HEADER_BYTES_MAX || !is_printable(value) {
            return Err(invalid(
                format!(
                    "the value of the header {name:?} is {} bytes long, or not printable",
                    value.len()
                ),
                format!(
                    "use at most {} printable bytes, or put it in the payload",
                    limits::HEADER_BYTES_MAX
                ),
            ));
        }
    }
    Ok(())
}

/// Roughly what an event costs on disk, in bytes.
pub(super) fn size(event: &NewEvent) -> usize {
    let headers = event
        .headers
        .iter()
        .map(|(name, value)| name.len() + value.len());
    let payload = event.payload.as_ref().map_or(0, |of| of.bytes.len());
    let texts = event.id.len() + event.event_type.len() + event.source.len();
    command_bytes(
        texts + event.key.as_ref().map_or(0, Text::len) + payload + headers.sum::<usize>(),
    )
}

pub(super) fn topic_settings(settings: &TopicSettings) -> Result<()> {
    if let Some(partitions) = settings.partitions
        && !(1..=limits::PARTITIONS_MAX).contains(&partitions)
    {
        return Err(invalid(
            format!("a topic can't have {partitions} partitions"),
            format!("give 1 to {}", limits::PARTITIONS_MAX),
        ));
    }
    for (word, ms) in [
        ("retention", settings.kept_ms),
        ("retention of tombstones", settings.tombstones_kept_ms),
    ] {
        ms.map_or(Ok(()), |ms| super::delay(word, ms))?;
    }
    Ok(())
}

/// Whether a read of a topic keeps the rules. A wait that is too long is no error: it is cut.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid), naming the field and its value.
pub fn read(ask: &TailTopic) -> Result<()> {
    if !(1..=limits::READ_EVENTS_MAX).contains(&ask.max) {
        return Err(invalid(
            format!("the read asks for {} events", ask.max),
            format!("ask for 1 to {}", limits::READ_EVENTS_MAX),
        ));
    }
    for (word, filters) in [("types", &ask.types), ("keys", &ask.keys)] {
        if filters.len() > limits::READ_FILTERS_MAX {
            return Err(invalid(
                format!("the read names {} {word}", filters.len()),
                format!("name at most {}", limits::READ_FILTERS_MAX),
            ));
        }
    }
    Ok(())
}
