//! What a topic is: events, where they lie, how long they are kept, and how they are read on from a
//! position.
//!
//! A topic has partitions; an event goes to the one that its key's hash names. It gets an *offset*,
//! dense in its partition, and a *position*, dense in its topic: the order in which events were
//! published, over all partitions. Neither is ever used twice.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind};
use crate::ids::TopicName;
use crate::job::Payload;
use crate::limits;
use crate::text::Text;
use crate::time::WallMs;

/// Everything a publisher says of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Its id, 1 to 255 bytes. Minted by the accepting edge where its publisher gives none.
    pub id: Text,
    /// The publisher chose the id: an event of the same source and id, published again within
    /// [`limits::EVENT_MEMORY_MS`], is not published twice. The first one's place is told again.
    pub deduplicate: bool,
    /// What happened, such as `order.placed`; 1 to 255 bytes.
    pub event_type: Text,
    /// Who tells it, 1 to 255 bytes; a URI reference in `CloudEvents`' words.
    pub source: Text,
    /// Events of one key go to one partition, and are handled in order; 1 to 255 bytes.
    pub key: Option<Text>,
    /// Further attributes, at most 32: `CloudEvents`' `subject`, `time` and `dataschema`, W3C
    /// `traceparent`, and the publisher's own. Names of lower-case letters and digits.
    pub headers: Vec<(Text, Text)>,
    /// What it carries. `None` under a key is a tombstone: compaction forgets the key.
    pub payload: Option<Payload>,
}

impl NewEvent {
    /// An event with an id that its publisher did not choose.
    #[must_use]
    pub fn new(id: impl Into<Text>, event_type: impl Into<Text>, payload: Payload) -> Self {
        Self {
            id: id.into(),
            deduplicate: false,
            event_type: event_type.into(),
            source: Text::from(limits::EVENT_SOURCE_DEFAULT),
            key: None,
            headers: Vec::new(),
            payload: Some(payload),
        }
    }

    /// The same, under a key.
    #[must_use]
    pub fn keyed(mut self, key: impl Into<Text>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The hash that names its partition: of the key, or of the id where there is none.
    #[must_use]
    pub fn hash(&self) -> u32 {
        hash_of(self.key.as_ref().unwrap_or(&self.id).as_bytes())
    }
}

/// Where an event was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// In which partition.
    pub partition: u16,
    /// Where in that.
    pub offset: u64,
    /// Where in the topic.
    pub position: Position,
    /// It had been published before, under the same source and id.
    pub existing: bool,
}

/// A place in a topic's one order of publication. It tells which history of which topic it means, so
/// that it is never taken for a place in another: a store restored from a backup, or a topic deleted
/// and made again, has other positions. As text it is the cursor that clients hold on to, opaque to
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The store's history.
    pub epoch: u32,
    /// The topic's number in it.
    pub topic: u32,
    /// How many events were published before.
    pub sequence: u64,
}

impl Position {
    /// The same, so many events on.
    #[must_use]
    pub const fn plus(self, events: u64) -> Self {
        Self {
            sequence: self.sequence.saturating_add(events),
            ..self
        }
    }

    /// The place of the event with that number in the same topic.
    #[must_use]
    pub const fn at(self, sequence: u64) -> Self {
        Self { sequence, ..self }
    }

    /// Whether both count in the same history of the same topic.
    #[must_use]
    pub const fn is_of(self, other: Self) -> bool {
        self.epoch == other.epoch && self.topic == other.topic
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}-{}", self.epoch, self.topic, self.sequence)
    }
}

impl FromStr for Position {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut parts = text.split('-');
        let hex = |part: Option<&str>| {
            let part = part.filter(|part| (1..=8).contains(&part.len()))?;
            let plain = part.bytes().all(|byte| byte.is_ascii_hexdigit());
            plain.then(|| u32::from_str_radix(part, 16).ok())?
        };
        let number = |part: Option<&str>| {
            let part = part.filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()))?;
            part.parse().ok()
        };
        let read = (
            hex(parts.next()),
            hex(parts.next()),
            number(parts.next()),
            parts.next(),
        );
        match read {
            (Some(epoch), Some(topic), Some(sequence), None) => Ok(Self {
                epoch,
                topic,
                sequence,
            }),
            _ => Err(Error::new(
                ErrorKind::Invalid,
                format!("{text:?} is not a cursor"),
            )
            .next("give one back as it was told, or use earliest, latest or time:2026-01-31T12:00:00Z")),
        }
    }
}

/// An event as it was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Where in the topic.
    pub position: Position,
    /// In which partition.
    pub partition: u16,
    /// Where in that.
    pub offset: u64,
    /// When it was published.
    pub at: WallMs,
    /// Its id.
    pub id: Text,
    /// What happened.
    pub event_type: Text,
    /// Who told it.
    pub source: Text,
    /// Its key.
    pub key: Option<Text>,
    /// Further attributes.
    pub headers: Vec<(Text, Text)>,
    /// What it carries; `None` is a tombstone.
    pub payload: Option<Payload>,
}

impl Event {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(of, _)| of == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// How the data of events that left the journal is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// As it is.
    #[default]
    None,
    /// In blocks, by LZ4.
    Lz4,
}

impl Compression {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
        }
    }

    /// What this word means.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::None, Self::Lz4]
            .into_iter()
            .find(|of| of.as_str() == word)
    }
}

/// All settings of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicConfig {
    /// How many partitions, 1 to 256. Default 4. Fixed once the topic is there: keys would move.
    pub partitions: u16,
    /// For how long events are kept at least, in milliseconds; 0 is for ever. Default 7 days.
    pub kept_ms: u64,
    /// How many bytes of events are kept at least; 0 is no limit. Default 10 GiB.
    pub kept_bytes: u64,
    /// How many events are kept at least; 0 is no limit, which is the default.
    pub kept_events: u64,
    /// Of events that have the same key, only the newest is sure to be kept. Default false.
    pub compacted: bool,
    /// For how long compaction keeps a tombstone, in milliseconds. Default 24 hours.
    pub tombstones_kept_ms: u64,
    /// How events are kept that left the journal. Default as they are.
    pub compression: Compression,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            partitions: limits::PARTITIONS_DEFAULT,
            kept_ms: limits::EVENTS_KEPT_MS,
            kept_bytes: limits::EVENTS_KEPT_BYTES,
            kept_events: 0,
            compacted: false,
            tombstones_kept_ms: limits::TOMBSTONES_KEPT_MS,
            compression: Compression::None,
        }
    }
}

/// What to change of a topic; `None` stays as it is, or is the default of a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicSettings {
    /// How many partitions. Refused where the topic has another number of them.
    pub partitions: Option<u16>,
    /// For how long events are kept, in milliseconds; 0 is for ever.
    pub kept_ms: Option<u64>,
    /// How many bytes are kept; 0 is no limit.
    pub kept_bytes: Option<u64>,
    /// How many events are kept; 0 is no limit.
    pub kept_events: Option<u64>,
    /// Only the newest of each key is sure to be kept.
    pub compacted: Option<bool>,
    /// For how long compaction keeps a tombstone, in milliseconds.
    pub tombstones_kept_ms: Option<u64>,
    /// How events are kept that left the journal.
    pub compression: Option<Compression>,
}

impl TopicSettings {
    /// These, over what was in force.
    #[must_use]
    pub fn over(&self, old: TopicConfig) -> TopicConfig {
        TopicConfig {
            partitions: self.partitions.unwrap_or(old.partitions),
            kept_ms: self.kept_ms.unwrap_or(old.kept_ms),
            kept_bytes: self.kept_bytes.unwrap_or(old.kept_bytes),
            kept_events: self.kept_events.unwrap_or(old.kept_events),
            compacted: self.compacted.unwrap_or(old.compacted),
            tombstones_kept_ms: self.tombstones_kept_ms.unwrap_or(old.tombstones_kept_ms),
            compression: self.compression.unwrap_or(old.compression),
        }
    }
}

/// Where to read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// From the oldest event that is still there.
    Earliest,
    /// From the next one to be published.
    Latest,
    /// From here: a cursor that was told before.
    Position(Position),
    /// From the first event published at that instant or later. Where events published since are kept
    /// no longer, that is a gap.
    Time(WallMs),
    /// From that offset of one partition on: of that partition, events from it on; of the others,
    /// what was published after the first of those that is there.
    Offset {
        /// In which partition.
        partition: u16,
        /// Where in that.
        offset: u64,
    },
}

/// What to read of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailTopic {
    /// Which topic.
    pub topic: TopicName,
    /// From where.
    pub from: ReadFrom,
    /// Of this partition only.
    pub partition: Option<u16>,
    /// Of these types only; empty is any. At most 64.
    pub types: Vec<Text>,
    /// Of these keys only; empty is any. At most 64.
    pub keys: Vec<Text>,
    /// Most events, 1 to 10,000.
    pub max: u32,
    /// How long to wait for the first, in milliseconds, at most a minute.
    pub wait_ms: u32,
}

impl TailTopic {
    /// Everything from there on, at most a thousand events, without waiting.
    #[must_use]
    pub fn new(topic: TopicName, from: ReadFrom) -> Self {
        Self {
            topic,
            from,
            partition: None,
            types: Vec::new(),
            keys: Vec::new(),
            max: limits::READ_EVENTS_DEFAULT,
            wait_ms: 0,
        }
    }

    /// Whether an event is asked for.
    #[must_use]
    pub fn wants(&self, event: &Event) -> bool {
        let key = event.key.as_ref();
        self.partition.is_none_or(|of| of == event.partition)
            && (self.types.is_empty() || self.types.contains(&event.event_type))
            && (self.keys.is_empty() || key.is_some_and(|key| self.keys.contains(key)))
    }
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicRead {
    /// What was there.
    Page(EventPage),
    /// What lay there is gone, or never was in this history. Nothing was passed over: whoever reads
    /// decides whether to go on from the earliest.
    Gap(Gap),
}

/// A page of events, in the order in which they were published. It examines a bounded number of
/// events: it may be short, or even empty, and there may be more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPage {
    /// What was found.
    pub events: Vec<Event>,
    /// Where to go on.
    pub next: Position,
    /// The oldest place that can still be read from.
    pub earliest: Position,
    /// Where the next event will be published. `next` reaches it when everything was read.
    pub end: Position,
}

/// What was asked for can't be read any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Why.
    pub reason: GapReason,
    /// The oldest place behind it that can be read from.
    pub earliest: Position,
    /// Where the next event will be published.
    pub end: Position,
}

/// Why there is a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapReason {
    /// Retention took it.
    Retention,
    /// The position is of another history: of another store, of the store before a backup was
    /// restored, or of a topic of the same name that was deleted.
    History,
    /// What lay there is damaged on the disk, and can't be read. Which file it is, the store's
    /// health says.
    Damage,
}

impl GapReason {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retention => "retention",
            Self::History => "history",
            Self::Damage => "damage",
        }
    }

    /// What this word means.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Retention, Self::History, Self::Damage]
            .into_iter()
            .find(|of| of.as_str() == word)
    }
}

/// One topic, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicView {
    /// Its name.
    pub name: TopicName,
    /// Its settings.
    pub config: TopicConfig,
    /// When it was made.
    pub created_at: WallMs,
    /// The oldest place that can still be read from.
    pub earliest: Position,
    /// Where the next event will be published; its sequence is how many were published ever.
    pub end: Position,
    /// The next offset of each partition.
    pub next_offsets: Vec<u64>,
    /// How many events are kept, roughly where retention or compaction took some.
    pub events: u64,
    /// How many bytes they take, in the journal and beside it.
    pub bytes: u64,
}

/// The hash that names a partition: Kafka's murmur2, so that both put a key in the same partition of
/// as many. (Apache Kafka, `Utils.murmur2` and `BuiltInPartitioner`.)
#[must_use]
pub fn hash_of(key: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let len = u32::try_from(key.len()).unwrap_or(u32::MAX);
    let mut hash = 0x9747_b28c_u32 ^ len;
    let mut chunks = key.chunks_exact(4);
    for chunk in &mut chunks {
        let word = chunk.first_chunk::<4>().copied().unwrap_or_default();
        let mut k = u32::from_le_bytes(word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// The partition of an event with this hash, in a topic of so many partitions.
#[must_use]
pub fn partition_of(hash: u32, partitions: u16) -> u16 {
    let partition = (hash & 0x7fff_ffff) % u32::from(partitions.max(1));
    u16::try_from(partition).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of Kafka's own test (`UtilsTest.testMurmur2`), as unsigned numbers.
    #[test]
    fn keys_hash_as_they_do_in_kafka() {
        for (key, expected) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            ("abc", 479_470_107),
        ] {
            assert_eq!(hash_of(key.as_bytes()), expected.cast_unsigned(), "{key}");
        }
    }

    #[test]
    fn a_cursor_reads_back_and_nothing_else_does() {
        let position = Position {
            epoch: 0xdead_beef,
            topic: 17,
            sequence: 1_234_567,
        };
        let text = position.to_string();
        assert_eq!(text, "deadbeef-11-1234567");
        assert_eq!(text.parse::<Position>().expect("its own text"), position);
        for bad in [
            "",
            "1-2",
            "1-2-3-4",
            "x-1-1",
            "1-1-",
            "+1-1-1",
            "1-1--1",
            "123456789-1-1",
            "1-1-99999999999999999999",
        ] {
            assert!(bad.parse::<Position>().is_err(), "{bad:?}");
        }
    }
}
