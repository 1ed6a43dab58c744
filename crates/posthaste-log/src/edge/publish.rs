//! Publishing: the events of a command as records. Those whose publishers did not choose their ids
//! go together; each of the others is a part of its own, since it alone may have been published
//! before.

use posthaste_core::limits;
use posthaste_core::{NewEvent, TopicName};

use super::digest::sha;
use super::{Light, Prepared, append};
use crate::format::events;

/// Adds the parts of the command `index`, which publishes `events`.
pub(super) fn parts(
    index: usize,
    topic: &TopicName,
    events: &[NewEvent],
    prepared: &mut Prepared,
    records: &mut Vec<u8>,
) {
    prepared.grows = true;
    prepared.events += events.len();
    let together = |one: &NewEvent, next: &NewEvent| !one.deduplicate && !next.deduplicate;
    for part in events.chunk_by(together) {
        let seen = match part {
            [event] if event.deduplicate => Some(digest(topic, event)),
            _ => None,
        };
        let light = Light::Publish {
            topic: topic.clone(),
            events: append(records, |into| events::write(into, part.iter())),
            seen,
        };
        prepared.push(index, light);
    }
}

/// What an event is known by when it comes again.
fn digest(topic: &TopicName, event: &NewEvent) -> [u8; 12] {
    let parts = [
        topic.as_str().as_bytes(),
        event.source.as_bytes(),
        event.id.as_bytes(),
    ];
    sha(&parts).first_chunk().copied().unwrap_or_default()
}

/// Roughly what an event takes in a record, so that it is written without moving.
pub(super) fn size(event: &NewEvent) -> usize {
    let payload = event
        .payload
        .as_ref()
        .map_or(0, |payload| payload.bytes.len());
    let texts = event.id.len() + event.event_type.len() + event.source.len();
    let headers = event.headers.len() * 64;
    payload
        + texts
        + headers
        + event.key.as_ref().map_or(0, |key| key.len())
        + events::EVENT_OVERHEAD
}

const _: () = assert!(limits::EVENT_TEXT_BYTES_MAX <= u8::MAX as usize);
