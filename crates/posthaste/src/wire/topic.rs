//! Topics: their settings, what was published, and pages of events.

use posthaste_core::topic::{
    Compression, NewEvent, Published as CorePublished, TopicConfig, TopicSettings as CoreSettings,
    TopicView as CoreView,
};
use posthaste_core::{Error, ErrorKind, JobId, Position, Result, TopicName, suggest};
use serde::{Deserialize, Serialize};

use super::event::PlainEvent;
use super::{Instant, Span};

/// What to change of a topic: `PUT /v1/topics/{topic}`. What is absent stays as it is, or is the
/// default of a new one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicSettings {
    /// How many partitions, 1 to 256; fixed once the topic is there. Default 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u16>,
    /// For how long, and how much of it, is kept.
    #[serde(default, skip_serializing_if = "Retention::is_empty")]
    pub retention: Retention,
    /// Of events of one key, only the newest is sure to be kept. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compacted: Option<bool>,
    /// For how long compaction keeps a tombstone. Default `24h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tombstones_kept: Option<Span>,
    /// How events are kept that left the journal: `none` (the default) or `lz4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<String>,
}

/// What is kept of a topic at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// For how long; `0s` is for ever. Default `7d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<Span>,
    /// How many bytes; 0 is no limit. Default 10 GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// How many events; 0 is no limit, which is the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<u64>,
}

impl Retention {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl TopicSettings {
    /// The port's settings.
    ///
    /// # Errors
    /// `Invalid` for a compression that isn't known.
    pub fn read(&self) -> Result<CoreSettings> {
        let compression = self.compression.as_deref().map(read_compression);
        Ok(CoreSettings {
            partitions: self.partitions,
            kept_ms: self.retention.age.map(|age| age.0),
            kept_bytes: self.retention.bytes,
            kept_events: self.retention.events,
            compacted: self.compacted,
            tombstones_kept_ms: self.tombstones_kept.map(|kept| kept.0),
            compression: compression.transpose()?,
        })
    }

    /// How `settings` are written.
    #[must_use]
    pub fn write(settings: &CoreSettings) -> Self {
        Self {
            partitions: settings.partitions,
            retention: Retention {
                age: settings.kept_ms.map(Span),
                bytes: settings.kept_bytes,
                events: settings.kept_events,
            },
            compacted: settings.compacted,
            tombstones_kept: settings.tombstones_kept_ms.map(Span),
            compression: settings
                .compression
                .map(|compression| compression.as_str().to_owned()),
        }
    }
}

fn read_compression(word: &str) -> Result<Compression> {
    Compression::from_word(word).ok_or_else(|| {
        let known = [Compression::None, Compression::Lz4].map(Compression::as_str);
        let error = Error::new(
            ErrorKind::Invalid,
            format!("the compression {word:?} is unknown"),
        );
        match suggest::nearest(word, known) {
            Some(near) => error.next(format!("did you mean {near:?}?")),
            None => error.next(format!("known: {}", known.join(", "))),
        }
    })
}

/// [`TopicSettings`] in a commit, with the topic's name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetTopic {
    /// Which topic. Made where there is none.
    pub topic: String,
    /// How many partitions, 1 to 256; fixed once the topic is there. Default 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u16>,
    /// For how long, and how much of it, is kept.
    #[serde(default, skip_serializing_if = "Retention::is_empty")]
    pub retention: Retention,
    /// Of events of one key, only the newest is sure to be kept. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compacted: Option<bool>,
    /// For how long compaction keeps a tombstone. Default `24h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tombstones_kept: Option<Span>,
    /// How events are kept that left the journal: `none` (the default) or `lz4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<String>,
}

impl SetTopic {
    pub(super) fn read(self) -> Result<(TopicName, CoreSettings)> {
        let settings = TopicSettings {
            partitions: self.partitions,
            retention: self.retention,
            compacted: self.compacted,
            tombstones_kept: self.tombstones_kept,
            compression: self.compression,
        };
        Ok((TopicName::new(&self.topic)?, settings.read()?))
    }

    pub(super) fn write(topic: &TopicName, settings: &CoreSettings) -> Self {
        let settings = TopicSettings::write(settings);
        Self {
            topic: topic.to_string(),
            partitions: settings.partitions,
            retention: settings.retention,
            compacted: settings.compacted,
            tombstones_kept: settings.tombstones_kept,
            compression: settings.compression,
        }
    }
}

/// Which topic: `{"topic":"…"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicRef {
    /// Its name.
    pub topic: String,
}

/// Events to publish in a commit.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// Which topic. Made where there is none, unless the store was told not to.
    pub topic: String,
    /// What happened, in order.
    pub events: Vec<PlainEvent>,
}

impl Publish {
    pub(super) fn read(
        self,
        mint: &mut dyn FnMut() -> JobId,
    ) -> Result<(TopicName, Vec<NewEvent>)> {
        let events = self.events.into_iter().map(|event| event.read(&mut *mint));
        Ok((TopicName::new(&self.topic)?, events.collect::<Result<_>>()?))
    }

    pub(super) fn write(topic: &TopicName, events: &[NewEvent]) -> Self {
        Self {
            topic: topic.to_string(),
            events: events.iter().map(PlainEvent::write).collect(),
        }
    }
}

/// Where an event was put.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Its id, where the answer is to be told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// In which partition.
    pub partition: u16,
    /// Where in that.
    pub offset: u64,
    /// Where to read on behind it.
    pub cursor: String,
    /// It had been published before, under the same source and id.
    pub existing: bool,
}

/// The answer to `POST /v1/topics/{topic}/events`, status 201, and to a publish in a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedEvents {
    /// One for each event, in order.
    pub events: Vec<Published>,
}

impl Published {
    /// How `published` is written.
    #[must_use]
    pub fn write(published: &CorePublished, id: Option<String>) -> Self {
        Self {
            id,
            partition: published.partition,
            offset: published.offset,
            cursor: published.position.plus(1).to_string(),
            existing: published.existing,
        }
    }

    /// The port's answer.
    ///
    /// # Errors
    /// `Invalid` for a cursor that can't be one.
    pub fn read(&self) -> Result<CorePublished> {
        let behind: Position = self.cursor.parse()?;
        let sequence = behind.sequence.checked_sub(1).ok_or_else(|| {
            Error::new(
                ErrorKind::Invalid,
                format!("no event lies before the cursor {}", self.cursor),
            )
            .next("ask a server of this version")
        })?;
        Ok(CorePublished {
            partition: self.partition,
            offset: self.offset,
            position: behind.at(sequence),
            existing: self.existing,
        })
    }
}

/// The answer to `GET /v1/topics`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topics {
    /// Every topic, by name.
    pub topics: Vec<TopicView>,
}

/// One topic, its settings, and what it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicView {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: u16,
    /// What is kept at least.
    pub retention: Retention,
    /// Of events of one key, only the newest is sure to be kept.
    pub compacted: bool,
    /// For how long compaction keeps a tombstone.
    pub tombstones_kept: Span,
    /// How events are kept that left the journal.
    pub compression: String,
    /// When it was made.
    pub created_at: Instant,
    /// The oldest place that can be read from.
    pub earliest: String,
    /// Where the next event will be published.
    pub end: String,
    /// The next offset of each partition.
    pub next_offsets: Vec<u64>,
    /// How many events were published ever.
    pub published: u64,
    /// How many are kept, roughly where retention or compaction took some.
    pub events: u64,
    /// How many bytes they take.
    pub bytes: u64,
}

impl TopicView {
    /// How `topic` is written.
    #[must_use]
    pub fn write(topic: &CoreView) -> Self {
        let config = topic.config;
        Self {
            name: topic.name.to_string(),
            partitions: config.partitions,
            retention: Retention {
                age: Some(Span(config.kept_ms)),
                bytes: Some(config.kept_bytes),
                events: Some(config.kept_events),
            },
            compacted: config.compacted,
            tombstones_kept: Span(config.tombstones_kept_ms),
            compression: config.compression.as_str().to_owned(),
            created_at: Instant(topic.created_at),
            earliest: topic.earliest.to_string(),
            end: topic.end.to_string(),
            next_offsets: topic.next_offsets.clone(),
            published: topic.end.sequence,
            events: topic.events,
            bytes: topic.bytes,
        }
    }

    /// The port's topic.
    ///
    /// # Errors
    /// `Invalid` for a name, a cursor or a compression that can't be one.
    pub fn read(&self) -> Result<CoreView> {
        Ok(CoreView {
            name: TopicName::new(&self.name)?,
            config: TopicConfig {
                partitions: self.partitions,
                kept_ms: self.retention.age.unwrap_or_default().0,
                kept_bytes: self.retention.bytes.unwrap_or_default(),
                kept_events: self.retention.events.unwrap_or_default(),
                compacted: self.compacted,
                tombstones_kept_ms: self.tombstones_kept.0,
                compression: read_compression(&self.compression)?,
            },
            created_at: self.created_at.0,
            earliest: self.earliest.parse()?,
            end: self.end.parse()?,
            next_offsets: self.next_offsets.clone(),
            events: self.events,
            bytes: self.bytes,
        })
    }
}
