//! How the handling of events ended, and by which place an event is named.

use std::fmt;
use std::sync::Arc;

use posthaste_core::group::EventOutcome;
use posthaste_core::{
    Command as Core, Error, ErrorKind, GroupName, JobId, Position, Result, Token, TopicName,
};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::wire::{Command, Reply, Span};

/// Which event: its position, a number, or the cursor that came with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventPlace {
    /// The sequence of its position.
    pub sequence: u64,
    /// The whole of its position, where it was named by a cursor. Whoever has no token has to hold
    /// its history against the topic's.
    pub position: Option<Position>,
}

impl EventPlace {
    /// The event with that number.
    #[must_use]
    pub const fn at(sequence: u64) -> Self {
        Self {
            sequence,
            position: None,
        }
    }

    /// The event that a cursor came with.
    ///
    /// # Errors
    /// `Invalid` for a text that is no cursor, or that came with no event.
    pub fn of_cursor(text: &str) -> Result<Self> {
        let behind: Position = text.parse()?;
        let sequence = behind.sequence.checked_sub(1).ok_or_else(|| {
            Error::new(
                ErrorKind::Invalid,
                format!("no event lies before the cursor {text}"),
            )
            .next("give the cursor that came with the event, or its position")
        })?;
        Ok(Self {
            sequence,
            position: Some(behind.at(sequence)),
        })
    }
}

impl Serialize for EventPlace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.position {
            Some(position) => serializer.collect_str(&position.plus(1)),
            None => serializer.serialize_u64(self.sequence),
        }
    }
}

impl<'de> Deserialize<'de> for EventPlace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = EventPlace;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "the position of an event, which is a number, or the cursor that came with it",
                )
            }

            fn visit_u64<E: de::Error>(self, sequence: u64) -> Result<EventPlace, E> {
                Ok(EventPlace::at(sequence))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<EventPlace, E> {
                EventPlace::of_cursor(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// How the handling of one event ended.
///
/// ```json
/// {"position":41,"outcome":"retry","error":"no answer","delay":"1m"}
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventEnd {
    /// Which event.
    pub position: EventPlace,
    /// How it ended.
    pub outcome: EventOutcomeWord,
    /// With `retry`, `park` and `dead`: what went wrong; with `skip`: why. Cut at 64 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// With `retry`: instead of the backoff.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Span>,
}

/// How the handling of an event ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventOutcomeWord {
    /// Done.
    Done,
    /// Failed: again after the backoff; parked or dead where this was the last attempt.
    Retry,
    /// Parked, and the later events of its key behind it.
    Park,
    /// To the dead letters.
    Dead,
    /// Passed over.
    Skip,
    /// Given back untouched.
    Release,
}

impl EventEnd {
    fn read(self) -> Result<(u64, EventOutcome)> {
        use EventOutcomeWord::{Dead, Done, Park, Release, Retry, Skip};
        let word = self.outcome;
        let misplaced = [
            (
                "error",
                self.error.is_some(),
                !matches!(word, Done | Release),
            ),
            ("delay", self.delay.is_some(), word == Retry),
        ];
        if let Some((field, ..)) = misplaced.iter().find(|(_, given, fits)| *given && !fits) {
            let word = format!("{word:?}").to_lowercase();
            return Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "{field} does not go with the outcome {word:?} of the event at {}",
                    self.position.sequence
                ),
            )
            .next("leave it out"));
        }
        let error: Arc<str> = self.error.unwrap_or_default().into();
        let outcome = match word {
            Done => EventOutcome::Done,
            Retry => EventOutcome::Retry {
                error,
                delay_ms: self.delay.map(|delay| delay.0),
            },
            Park => EventOutcome::Park { error },
            Dead => EventOutcome::Dead { error },
            Skip => EventOutcome::Skip { reason: error },
            Release => EventOutcome::Release,
        };
        Ok((self.position.sequence, outcome))
    }

    fn write((sequence, outcome): &(u64, EventOutcome)) -> Self {
        let (word, error, delay) = match outcome {
            EventOutcome::Done => (EventOutcomeWord::Done, None, None),
            EventOutcome::Retry { error, delay_ms } => {
                (EventOutcomeWord::Retry, Some(error), delay_ms.map(Span))
            }
            EventOutcome::Park { error } => (EventOutcomeWord::Park, Some(error), None),
            EventOutcome::Dead { error } => (EventOutcomeWord::Dead, Some(error), None),
            EventOutcome::Skip { reason } => (EventOutcomeWord::Skip, Some(reason), None),
            EventOutcome::Release => (EventOutcomeWord::Release, None, None),
        };
        Self {
            position: EventPlace::at(*sequence),
            outcome: word,
            error: error.map(|error| error.to_string()),
            delay,
        }
    }
}

/// How the handling of events ended, in a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettleEvents {
    /// Of which topic.
    pub topic: String,
    /// By which group.
    pub group: String,
    /// Under which membership.
    pub token: u64,
    /// Which events, at most 1000, and how each ended; those of one key in order.
    pub events: Vec<EventEnd>,
}

impl SettleEvents {
    pub(in crate::wire) fn read(self) -> Result<Core> {
        let ends = self.events.into_iter().map(EventEnd::read);
        Ok(Core::SettleEvents {
            topic: TopicName::new(&self.topic)?,
            group: GroupName::new(&self.group)?,
            token: Token(self.token),
            ends: ends.collect::<Result<_>>()?,
        })
    }

    pub(in crate::wire) fn write(
        topic: &TopicName,
        group: &GroupName,
        token: Token,
        ends: &[(u64, EventOutcome)],
    ) -> Self {
        Self {
            topic: topic.to_string(),
            group: group.to_string(),
            token: token.0,
            events: ends.iter().map(EventEnd::write).collect(),
        }
    }
}

/// How the handling of events ended: `POST /v1/groups/{topic}/{group}/settle`. All of it, or none.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettledEvents {
    /// Under which membership.
    pub token: u64,
    /// Which events, at most 1000, and how each ended; those of one key in order.
    pub events: Vec<EventEnd>,
    /// Commands to apply together with that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commit: Vec<Command>,
}

impl SettledEvents {
    /// The port's commands: the settle first, then what is to be applied with it.
    ///
    /// # Errors
    /// `Invalid`, naming the field; of a command of `commit`, its index too, which counts from 1.
    pub fn read(
        self,
        topic: TopicName,
        group: GroupName,
        mint: &mut dyn FnMut() -> JobId,
    ) -> Result<Vec<Core>> {
        let ends = self.events.into_iter().map(EventEnd::read);
        let settle = Core::SettleEvents {
            topic,
            group,
            token: Token(self.token),
            ends: ends.collect::<Result<_>>()?,
        };
        let mut commands = vec![settle];
        for (index, command) in self.commit.into_iter().enumerate() {
            let read = command.read(mint);
            commands.push(read.map_err(|error| error.at_command(index + 1))?);
        }
        Ok(commands)
    }
}

/// The answer to [`SettledEvents`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettledReply {
    /// They had been settled so before, all of them; `commit` is not done again then.
    pub repeated: bool,
    /// The answers to `commit`, in order.
    pub results: Vec<Reply>,
}

/// The answer to a settle of events in a commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsSettled {
    /// They had been settled so before, all of them.
    #[serde(default)]
    pub repeated: bool,
}
