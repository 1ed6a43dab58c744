//! Events as bytes. Those of one commit and topic are one record: their hashes, where each ends, and
//! then the events themselves, each readable alone.
//!
//! ```text
//!   0  count        u32
//!   4  hashes       u32 each
//!      ends         u32 each   from the first event's beginning
//!      events
//! ```

use bytes::Bytes;
use posthaste_core::machine::Hashes;
use posthaste_core::topic::hash_of;
use posthaste_core::{Event, NewEvent, Payload, Text, WallMs};

use super::Damage;
use super::bytes::{Put, Take, small};
use super::record::{self, Tag};

const KEYED: u8 = 1;
const PAYLOAD: u8 = 2;
const TYPED: u8 = 4;
/// In place of an event, in an archive alone: it was damaged when it was to be moved there.
const LOST: u8 = 128;

/// Appends the record of events.
pub(crate) fn write<'a>(
    into: &mut Vec<u8>,
    events: impl Iterator<Item = &'a NewEvent> + Clone,
) -> usize {
    record::write(into, Tag::Events, |data| {
        let count_at = data.len();
        data.u32(0);
        let mut count = 0_u32;
        for event in events.clone() {
            data.u32(event.hash());
            count += 1;
        }
        data[count_at..count_at + 4].copy_from_slice(&count.to_le_bytes());
        let ends_at = data.len();
        data.resize(ends_at + 4 * count as usize, 0);
        let begin = data.len();
        for (index, event) in events.enumerate() {
            write_event(data, event);
            let end = small(data.len() - begin).to_le_bytes();
            let at = ends_at + 4 * index;
            data[at..at + 4].copy_from_slice(&end);
        }
    })
}

/// Bytes that an event takes at most beside its texts and its payload.
pub(crate) const EVENT_OVERHEAD: usize = 32;

/// Where an event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stands {
    pub(crate) group: u32,
    pub(crate) position: u64,
    pub(crate) partition: u16,
    pub(crate) offset: u64,
    pub(crate) at: WallMs,
}

/// What stands in an archive for an event that was damaged before it could be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost<'a> {
    /// The position behind all that was lost with it.
    pub(crate) behind: u64,
    /// What was found, and where.
    pub(crate) what: &'a str,
}

/// Appends what stands for an event that is lost.
pub(crate) fn write_lost(into: &mut Vec<u8>, lost: Lost<'_>) {
    into.u8(LOST);
    into.u64(lost.behind);
    into.put(lost.what.as_bytes());
}

/// Reads that; `None` for an event.
pub(crate) fn read_lost(bytes: &[u8]) -> Option<Lost<'_>> {
    let mut take = Take(bytes);
    let lost = take.u8() == Ok(LOST);
    let behind = take.u64().ok().filter(|_| lost)?;
    let what = std::str::from_utf8(take.0).unwrap_or("damaged");
    Some(Lost { behind, what })
}

/// Appends the record of the copy of an event that a group keeps.
pub(crate) fn write_kept(into: &mut Vec<u8>, group: u32, event: &Event) -> usize {
    record::write(into, Tag::Kept, |data| {
        data.u32(group);
        data.u64(event.position.sequence);
        data.u16(event.partition);
        data.u64(event.offset);
        data.u64(event.at.0);
        let said = NewEvent {
            id: event.id.clone(),
            deduplicate: false,
            event_type: event.event_type.clone(),
            source: event.source.clone(),
            key: event.key.clone(),
            headers: event.headers.clone(),
            payload: event.payload.clone(),
        };
        write_event(data, &said);
    })
}

/// Reads a whole record of a kept event, whose checksum is verified.
pub(crate) fn read_kept(bytes: &Bytes) -> Result<(Stands, Said), Damage> {
    let record = record::read(bytes)?;
    if record.tag != Tag::Kept {
        return Err(Damage::Bad("record where a kept event should be"));
    }
    let mut take = Take(record.data);
    let stands = Stands {
        group: take.u32()?,
        position: take.u64()?,
        partition: take.u16()?,
        offset: take.u64()?,
        at: WallMs(take.u64()?),
    };
    Ok((stands, read_event(&bytes.slice_ref(take.0))?))
}

/// Whether a record of events can be read to its last field, and its hashes are theirs.
pub(crate) fn well_formed(data: &[u8]) -> Result<(), Damage> {
    let count = hashes(data)?.0.len() / 4;
    let data = Bytes::copy_from_slice(data);
    let events = Events { data, count };
    for (index, hash) in events.hashes().iter().enumerate() {
        let said = read_event(&events.event(index)?)?;
        let named = said.key.as_ref().unwrap_or(&said.id);
        if hash_of(named.as_bytes()) != hash {
            return Err(Damage::Bad("hash of an event"));
        }
    }
    Ok(())
}

/// The same for the record of a kept event.
pub(crate) fn kept_well_formed(data: &[u8]) -> Result<(), Damage> {
    let mut take = Take(data);
    take.bytes(30)?; // where it stands
    read_event(&Bytes::copy_from_slice(take.0)).map(|_| ())
}

/// The same for the record of what went wrong.
pub(crate) fn why_well_formed(data: &[u8]) -> Result<(), Damage> {
    let mut take = Take(data);
    take.bytes(12)?; // whose it is
    let text = std::str::from_utf8(take.0);
    text.map(|_| ()).map_err(|_| Damage::Bad("text"))
}

/// What a group is known by in a record that is written before its number is known.
pub(crate) fn names_of(topic: &str, group: &str) -> u32 {
    let crc = crc32c::crc32c(topic.as_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(crc, &[0]), group.as_bytes())
}

/// Appends the record of what went wrong with an event of the group with these names.
pub(crate) fn write_why(into: &mut Vec<u8>, names: u32, position: u64, why: &str) -> usize {
    record::write(into, Tag::Why, |data| {
        data.u32(names);
        data.u64(position);
        data.put(why.as_bytes());
    })
}

/// Reads the record of what went wrong.
pub(crate) fn read_why(bytes: &[u8]) -> Result<&str, Damage> {
    let record = record::read(bytes)?;
    if record.tag != Tag::Why {
        return Err(Damage::Bad("record where an error should be"));
    }
    let mut take = Take(record.data);
    take.bytes(12)?; // whose it is
    std::str::from_utf8(take.0).map_err(|_| Damage::Bad("text"))
}

fn write_event(data: &mut Vec<u8>, event: &NewEvent) {
    let payload = event.payload.as_ref();
    let content_type = payload.and_then(|payload| payload.content_type.as_deref());
    let flags = [
        (event.key.is_some(), KEYED),
        (payload.is_some(), PAYLOAD),
        (content_type.is_some(), TYPED),
    ];
    data.u8(flags
        .iter()
        .map(|(set, flag)| if *set { *flag } else { 0 })
        .sum());
    for text in [&event.id, &event.event_type, &event.source] {
        write_text(data, text);
    }
    if let Some(key) = &event.key {
        write_text(data, key);
    }
    data.u8(u8::try_from(event.headers.len()).unwrap_or(u8::MAX));
    for (name, value) in &event.headers {
        data.text8(name);
        data.text16(value);
    }
    if let Some(content_type) = content_type {
        data.text8(content_type);
    }
    if let Some(payload) = payload {
        data.put(&payload.bytes);
    }
}

/// A text that is known to be of 255 bytes at most.
fn write_text(data: &mut Vec<u8>, text: &Text) {
    data.u8(u8::try_from(text.len()).unwrap_or(u8::MAX));
    data.put(text.as_bytes());
}

/// The record of events, read.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    data: Bytes,
    count: usize,
}

/// What an event says, cut out of its record without a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) id: Text,
    pub(crate) event_type: Text,
    pub(crate) source: Text,
    pub(crate) key: Option<Text>,
    pub(crate) headers: Vec<(Text, Text)>,
    pub(crate) payload: Option<Payload>,
}

/// The hashes in the data of a record of events, its lengths checked.
pub(crate) fn hashes(data: &[u8]) -> Result<Hashes<'_>, Damage> {
    let mut take = Take(data);
    let count = take.u32()? as usize;
    let hashes = take.bytes(count.checked_mul(4).ok_or(Damage::Short)?)?;
    Ok(Hashes(hashes))
}

impl Events {
    /// Reads a whole record, whose checksum is verified.
    pub(crate) fn read(bytes: &Bytes) -> Result<Self, Damage> {
        let record = record::read(bytes)?;
        if record.tag != Tag::Events {
            return Err(Damage::Bad("record where events should be"));
        }
        let count = hashes(record.data)?.0.len() / 4;
        let data = bytes.slice_ref(record.data);
        if data.len() < 4 + 8 * count {
            return Err(Damage::Short);
        }
        Ok(Self { data, count })
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn hashes(&self) -> Hashes<'_> {
        Hashes(self.data.get(4..4 + 4 * self.count).unwrap_or(&[]))
    }

    /// The bytes of an event, to be read by [`read_event`].
    pub(crate) fn event(&self, index: usize) -> Result<Bytes, Damage> {
        let ends = 4 + 4 * self.count;
        let begin = ends + 4 * self.count;
        let end_of = |index: usize| {
            let mut take = Take(self.data.get(ends + 4 * index..).ok_or(Damage::Short)?);
            Ok::<_, Damage>(take.u32()? as usize)
        };
        let from = if index == 0 { 0 } else { end_of(index - 1)? };
        let to = end_of(index)?;
        if index >= self.count || from > to || begin + to > self.data.len() {
            return Err(Damage::Bad("end of an event"));
        }
        Ok(self.data.slice(begin + from..begin + to))
    }
}

/// Reads one event.
pub(crate) fn read_event(bytes: &Bytes) -> Result<Said, Damage> {
    let mut take = Take(bytes);
    let flags = take.u8()?;
    if flags & !(KEYED | PAYLOAD | TYPED) != 0 {
        return Err(Damage::Bad("flags of an event"));
    }
    let cut = |text: &str| Text::from_bytes(bytes.slice_ref(text.as_bytes()));
    let text = |take: &mut Take<'_>| {
        let text = take.text8()?;
        cut(text).ok_or(Damage::Bad("text"))
    };
    let (id, event_type, source) = (text(&mut take)?, text(&mut take)?, text(&mut take)?);
    let key = (flags & KEYED != 0).then(|| text(&mut take)).transpose()?;
    let count = take.u8()?;
    let mut headers = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let name = text(&mut take)?;
        let value = take.text16()?;
        headers.push((name, cut(value).ok_or(Damage::Bad("text"))?));
    }
    let content_type = match flags & TYPED {
        0 => None,
        _ => Some(take.text8()?.into()),
    };
    let payload = (flags & PAYLOAD != 0).then(|| Payload {
        content_type,
        bytes: bytes.slice_ref(take.0),
    });
    Ok(Said {
        id,
        event_type,
        source,
        key,
        headers,
        payload,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<NewEvent> {
        let mut full =
            NewEvent::new("1", "order.placed", Payload::json(r#"{"total":7}"#)).keyed("k");
        full.headers = vec![(Text::from("subject"), Text::from("ü".repeat(500)))];
        let mut tombstone = full.clone();
        tombstone.payload = None;
        let bytes = NewEvent::new("3", "t", Payload::bytes("image/png", vec![0, 255]));
        vec![full, tombstone, bytes]
    }

    #[test]
    fn events_read_back_as_they_were_written() {
        let (events, mut bytes) = (all(), Vec::new());
        let size = write(&mut bytes, events.iter());
        assert_eq!(size, bytes.len());
        let read = Events::read(&Bytes::from(bytes)).expect("sound");
        let hashes: Vec<u32> = read.hashes().iter().collect();
        let expected: Vec<u32> = events.iter().map(NewEvent::hash).collect();
        assert_eq!((read.count(), hashes), (3, expected));
        for (index, event) in events.into_iter().enumerate() {
            let said = read_event(&read.event(index).expect("there")).expect("sound");
            let expected = Said {
                id: event.id,
                event_type: event.event_type,
                source: event.source,
                key: event.key,
                headers: event.headers,
                payload: event.payload,
            };
            assert_eq!(said, expected);
        }
        assert!(read.event(3).is_err());
    }

    #[test]
    fn what_stands_for_a_lost_event_is_never_taken_for_one() {
        let lost = Lost {
            behind: 7,
            what: "segments/1.seg",
        };
        let mut bytes = Vec::new();
        write_lost(&mut bytes, lost);
        assert_eq!(read_lost(&bytes), Some(lost));
        assert!(read_event(&Bytes::from(bytes)).is_err());
        let mut record = Vec::new();
        write(&mut record, all().iter());
        let read = Events::read(&Bytes::from(record)).expect("sound");
        for index in 0..read.count() {
            assert_eq!(read_lost(&read.event(index).expect("there")), None);
        }
    }

    #[test]
    fn an_event_that_is_cut_short_or_changed_never_panics() {
        let (events, mut bytes) = (all(), Vec::new());
        write(&mut bytes, events.iter());
        let read = Events::read(&Bytes::from(bytes)).expect("sound");
        for index in 0..3 {
            let event = read.event(index).expect("there");
            for len in 0..event.len() {
                let _cut = read_event(&event.slice(..len));
            }
            for bit in 0..event.len() * 8 {
                let mut flipped = event.to_vec();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let _changed = read_event(&Bytes::from(flipped));
            }
        }
    }
}
