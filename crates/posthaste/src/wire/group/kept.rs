//! Parked events and dead letters.

use posthaste_core::group::{
    KeptEvent as CoreKept, KeptPage as CorePage, KeptReason, Unparking, Which as CoreWhich,
};
use posthaste_core::topic::hash_of;
use posthaste_core::{Command as Core, Error, ErrorKind, GroupName, Result, TopicName};
use serde::{Deserialize, Serialize};

use super::settle::EventPlace;
use crate::wire::Instant;
use crate::wire::event::{CloudEvent, WrittenEvent};
use crate::wire::view::read_cursor;

/// Which of the parked events or dead letters: exactly one of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// The one at this position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<EventPlace>,
    /// Those of this key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Those of the key with this hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_hash: Option<u32>,
    /// All of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
}

impl Which {
    /// What the port calls it.
    ///
    /// # Errors
    /// `Invalid` where not exactly one of the fields is given.
    pub fn read(&self) -> Result<CoreWhich> {
        match (self.position, &self.key, self.key_hash, self.all) {
            (Some(place), None, None, false) => Ok(CoreWhich::At(place.sequence)),
            (None, Some(key), None, false) => Ok(CoreWhich::Key(hash_of(key.as_bytes()))),
            (None, None, Some(hash), false) => Ok(CoreWhich::Key(hash)),
            (None, None, None, true) => Ok(CoreWhich::All),
            (None, None, None, false) => Err(unsaid("it is not said which events are meant")),
            _ => Err(unsaid("it is said twice which events are meant")),
        }
    }

    /// How `which` is written.
    #[must_use]
    pub fn write(which: CoreWhich) -> Self {
        match which {
            CoreWhich::At(sequence) => Self {
                position: Some(EventPlace::at(sequence)),
                ..Self::default()
            },
            CoreWhich::Key(hash) => Self {
                key_hash: Some(hash),
                ..Self::default()
            },
            CoreWhich::All => Self {
                all: true,
                ..Self::default()
            },
        }
    }
}

fn unsaid(what: &str) -> Error {
    Error::new(ErrorKind::Invalid, what).next("give one of \"position\", \"key\" and \"all\":true")
}

/// What to do with parked events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnparkingWord {
    /// They are handed out again.
    Release,
    /// They are forgotten.
    Skip,
}

/// A decision on parked events, in a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unpark {
    /// Of which topic.
    pub topic: String,
    /// Of which group.
    pub group: String,
    /// What becomes of them.
    pub how: UnparkingWord,
    /// The one at this position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<EventPlace>,
    /// Those of this key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Those of the key with this hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_hash: Option<u32>,
    /// All of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
}

impl Unpark {
    pub(in crate::wire) fn read(self) -> Result<Core> {
        let which = Which {
            position: self.position,
            key: self.key,
            key_hash: self.key_hash,
            all: self.all,
        };
        Ok(Core::Unpark {
            topic: TopicName::new(&self.topic)?,
            group: GroupName::new(&self.group)?,
            which: which.read()?,
            how: match self.how {
                UnparkingWord::Release => Unparking::Release,
                UnparkingWord::Skip => Unparking::Skip,
            },
        })
    }

    pub(in crate::wire) fn write(
        topic: &TopicName,
        group: &GroupName,
        which: CoreWhich,
        how: Unparking,
    ) -> Self {
        let which = Which::write(which);
        Self {
            topic: topic.to_string(),
            group: group.to_string(),
            how: match how {
                Unparking::Release => UnparkingWord::Release,
                Unparking::Skip => UnparkingWord::Skip,
            },
            position: which.position,
            key: which.key,
            key_hash: which.key_hash,
            all: which.all,
        }
    }
}

/// Dead letters to be handled again, in a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redrive {
    /// Of which topic.
    pub topic: String,
    /// Of which group.
    pub group: String,
    /// The one at this position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<EventPlace>,
    /// Those of this key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Those of the key with this hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_hash: Option<u32>,
    /// All of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
}

impl Redrive {
    pub(in crate::wire) fn read(self) -> Result<Core> {
        let which = Which {
            position: self.position,
            key: self.key,
            key_hash: self.key_hash,
            all: self.all,
        };
        Ok(Core::Redrive {
            topic: TopicName::new(&self.topic)?,
            group: GroupName::new(&self.group)?,
            which: which.read()?,
        })
    }

    pub(in crate::wire) fn write(topic: &TopicName, group: &GroupName, which: CoreWhich) -> Self {
        let which = Which::write(which);
        Self {
            topic: topic.to_string(),
            group: group.to_string(),
            position: which.position,
            key: which.key,
            key_hash: which.key_hash,
            all: which.all,
        }
    }
}

/// How many parked events or dead letters were moved or forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// How many.
    pub events: u32,
    /// How many are left that were asked for: ask again.
    pub left: u32,
}

/// One page of parked events or dead letters, as a server writes it.
#[derive(Clone, Debug, Serialize)]
pub struct WrittenKeptPage<'a> {
    events: Vec<WrittenKept<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct WrittenKept<'a> {
    position: u64,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    attempts: u16,
    at: Instant,
    event: WrittenEvent<'a>,
}

impl<'a> WrittenKeptPage<'a> {
    /// How `page` is written.
    #[must_use]
    pub fn write(page: &'a CorePage) -> Self {
        let event = |kept: &'a CoreKept| WrittenKept {
            position: kept.event.position.sequence,
            reason: kept.reason.as_str(),
            error: kept.error.as_deref(),
            attempts: kept.attempts,
            at: Instant(kept.at),
            event: WrittenEvent(&kept.event),
        };
        Self {
            events: page.events.iter().map(event).collect(),
            next: page.next.map(|next| next.to_string()),
        }
    }
}

/// One page of parked events or dead letters: `GET /v1/groups/{topic}/{group}/parked|dead`.
#[derive(Clone, Debug, Deserialize)]
pub struct KeptPage {
    /// What was found, in the order of publication.
    pub events: Vec<KeptEvent>,
    /// The `cursor` to go on with; absent at the end.
    #[serde(default)]
    pub next: Option<String>,
}

/// One parked event or dead letter.
#[derive(Clone, Debug, Deserialize)]
pub struct KeptEvent {
    /// Why it is kept: `failed`, `exhausted`, `poison`, `behind`.
    pub reason: String,
    /// What went wrong last.
    #[serde(default)]
    pub error: Option<String>,
    /// Attempts that were spent.
    pub attempts: u16,
    /// Since when it is kept.
    pub at: Instant,
    /// What happened.
    pub event: CloudEvent,
}

impl KeptPage {
    /// The port's page.
    ///
    /// # Errors
    /// `Invalid` for an event, a reason or a cursor that can't be one.
    pub fn read(self) -> Result<CorePage> {
        let events = self.events.into_iter().map(KeptEvent::read);
        Ok(CorePage {
            events: events.collect::<Result<_>>()?,
            next: self.next.as_deref().map(read_cursor).transpose()?,
        })
    }
}

impl KeptEvent {
    fn read(self) -> Result<CoreKept> {
        let reason = KeptReason::from_word(&self.reason).ok_or_else(|| {
            Error::new(
                ErrorKind::Invalid,
                format!("the reason {:?} is unknown", self.reason),
            )
            .next("update the client")
        })?;
        Ok(CoreKept {
            event: self.event.read_published()?,
            reason,
            error: self.error.map(Into::into),
            attempts: self.attempts,
            at: self.at.0,
        })
    }
}
