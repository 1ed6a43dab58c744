//! Topics: their settings, what was published, and pages of events.

use std::fmt;
use std::str::FromStr;

use posthaste_core::topic::{
    Compression, EventPage as CorePage, Gap as CoreGap, GapReason, NewEvent,
    Published as CorePublished, ReadFrom as CoreFrom, TopicConfig, TopicSettings as CoreSettings,
    TopicView as CoreView,
};
use posthaste_core::{Error, ErrorKind, JobId, Position, Result, TopicName, suggest};
use serde::{Deserialize, Serialize};

use super::event::{CloudEvent, PlainEvent, WrittenEvent};
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

/// A page of events as a server writes it: the answer to `GET /v1/topics/{topic}/events`.
#[derive(Clone, Debug, Serialize)]
pub struct WrittenPage<'a> {
    /// What was found.
    pub events: Vec<WrittenEvent<'a>>,
    /// Where to go on.
    pub next: String,
    /// The oldest place that can be read from.
    pub earliest: String,
    /// Where the next event will be published. `next` reaches it when everything was read.
    pub end: String,
}

impl<'a> WrittenPage<'a> {
    /// How `page` is written.
    #[must_use]
    pub fn write(page: &'a CorePage) -> Self {
        Self {
            events: page.events.iter().map(WrittenEvent).collect(),
            next: page.next.to_string(),
            earliest: page.earliest.to_string(),
            end: page.end.to_string(),
        }
    }
}

/// A page of events as a client reads it.
#[derive(Clone, Debug, Deserialize)]
pub struct EventPage {
    /// What was found.
    pub events: Vec<CloudEvent>,
    /// Where to go on.
    pub next: String,
    /// The oldest place that can be read from.
    pub earliest: String,
    /// Where the next event will be published.
    pub end: String,
}

impl EventPage {
    /// The port's page.
    ///
    /// # Errors
    /// `Invalid`, naming the attribute that can't be read.
    pub fn read(self) -> Result<CorePage> {
        let events = self.events.into_iter().map(CloudEvent::read_published);
        Ok(CorePage {
            events: events.collect::<Result<_>>()?,
            next: self.next.parse()?,
            earliest: self.earliest.parse()?,
            end: self.end.parse()?,
        })
    }
}

/// What was asked for can't be read any more: a problem of the type `gap`, with status 410.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// `gap`.
    pub r#type: String,
    /// What failed.
    pub title: String,
    /// 410.
    pub status: u16,
    /// What to do next.
    pub detail: String,
    /// `retention`, or `history`: the cursor is of another one.
    pub reason: String,
    /// The oldest place that can be read from.
    pub earliest: String,
    /// Where the next event will be published.
    pub end: String,
}

impl Gap {
    /// The word that a gap is told by.
    pub const SLUG: &'static str = "gap";

    /// How `gap` is written.
    #[must_use]
    pub fn write(gap: &CoreGap) -> Self {
        let title = match gap.reason {
            GapReason::Retention => "what lay there is gone: it was older than is kept",
            GapReason::History => {
                "the cursor is of another history of the topic, or of another one"
            }
        };
        Self {
            r#type: Self::SLUG.to_owned(),
            title: title.to_owned(),
            status: 410,
            detail: "read on from earliest, and take what is yours from there to be incomplete"
                .to_owned(),
            reason: gap.reason.as_str().to_owned(),
            earliest: gap.earliest.to_string(),
            end: gap.end.to_string(),
        }
    }

    /// The port's gap.
    ///
    /// # Errors
    /// `Invalid` for a reason or a cursor that can't be one.
    pub fn read(&self) -> Result<CoreGap> {
        let reason = GapReason::from_word(&self.reason).ok_or_else(|| {
            Error::new(
                ErrorKind::Invalid,
                format!("the reason {:?} is unknown", self.reason),
            )
            .next("update the client")
        })?;
        Ok(CoreGap {
            reason,
            earliest: self.earliest.parse()?,
            end: self.end.parse()?,
        })
    }
}

/// Where to read from, as it is written: `earliest`, `latest`, a cursor,
/// `time:2026-01-31T12:00:00Z`, or `offset:PARTITION:OFFSET`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadFrom(pub CoreFrom);

impl fmt::Display for ReadFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            CoreFrom::Earliest => f.write_str("earliest"),
            CoreFrom::Latest => f.write_str("latest"),
            CoreFrom::Position(position) => position.fmt(f),
            CoreFrom::Time(at) => write!(f, "time:{}", Instant(at)),
            CoreFrom::Offset { partition, offset } => write!(f, "offset:{partition}:{offset}"),
        }
    }
}

impl FromStr for ReadFrom {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let unreadable = || {
            Error::new(
                ErrorKind::Invalid,
                format!("{text:?} is no place to read from"),
            )
            .next(
                "give earliest, latest, a cursor as it was told, time:2026-01-31T12:00:00Z, or \
                 offset:PARTITION:OFFSET",
            )
        };
        Ok(Self(match text.split_once(':') {
            None if text == "earliest" => CoreFrom::Earliest,
            None if text == "latest" => CoreFrom::Latest,
            None => CoreFrom::Position(text.parse().map_err(|_| unreadable())?),
            Some(("time", at)) => CoreFrom::Time(at.parse::<Instant>()?.0),
            Some(("offset", place)) => {
                let place = place.split_once(':');
                let read = place.and_then(|(partition, offset)| {
                    Some((partition.parse().ok()?, offset.parse().ok()?))
                });
                let (partition, offset) = read.ok_or_else(unreadable)?;
                CoreFrom::Offset { partition, offset }
            }
            Some(_) => return Err(unreadable()),
        }))
    }
}
