//! What became of the commands of a commit.

use posthaste_core::{Committed as CoreCommitted, Error, ErrorKind, Reply as CoreReply, Result};
use serde::{Deserialize, Serialize};

use super::Enqueued;
use super::group::{EventsSettled, Moved};
use super::job::read_state;
use super::topic::{Published, PublishedEvents};

/// The answer to `POST /v1/commit`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// One for each command, in order.
    pub replies: Vec<Reply>,
    /// It had been applied before, under the same key; these are its answers then.
    #[serde(default)]
    pub repeated: bool,
}

/// What became of one command: an object with one field, which says what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The job is there.
    Enqueued(EnqueuedReply),
    /// The attempt is settled.
    Settled(SettledReply),
    /// The lease goes on.
    Extended(Extended),
    /// The job was changed.
    Changed(StateReply),
    /// The job, the topic or the group is forgotten.
    Deleted(Nothing),
    /// The settings of the queue, the topic or the group are in force.
    Configured(Nothing),
    /// The events are settled.
    EventsSettled(EventsSettled),
    /// The member is gone.
    Left(Nothing),
    /// Parked events or dead letters were moved or forgotten.
    EventsMoved(Moved),
    /// The events are there.
    Published(PublishedEvents),
    /// It was done with the settle before it, which is repeated, and is not done again.
    Repeated(Nothing),
}

/// The answer to an enqueue.
pub type EnqueuedReply = Enqueued;

/// The answer to a settle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettledReply {
    /// The job's state now.
    pub state: String,
    /// It had been settled so before.
    #[serde(default)]
    pub repeated: bool,
}

/// The answer to a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extended {
    /// The job is being called off: stop, and settle.
    pub cancelled: bool,
}

/// The answer to cancel, retry and edit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateReply {
    /// The job's state now.
    pub state: String,
}

/// An answer that says no more than its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nothing {}

impl Committed {
    /// How `committed` is written.
    ///
    /// # Errors
    /// `Unsupported` for a reply that this version can't write.
    pub fn write(committed: &CoreCommitted) -> Result<Self> {
        Ok(Self {
            replies: committed
                .replies
                .iter()
                .map(Reply::write)
                .collect::<Result<_>>()?,
            repeated: committed.repeated,
        })
    }

    /// The port's answer.
    ///
    /// # Errors
    /// `Invalid` for an id or a state that can't be one.
    pub fn read(&self) -> Result<CoreCommitted> {
        Ok(CoreCommitted {
            replies: self
                .replies
                .iter()
                .map(Reply::read)
                .collect::<Result<_>>()?,
            repeated: self.repeated,
        })
    }
}

impl Reply {
    /// How `reply` is written.
    ///
    /// # Errors
    /// `Unsupported` for a reply that this version can't write.
    pub fn write(reply: &CoreReply) -> Result<Self> {
        Ok(match reply {
            CoreReply::Enqueued {
                id,
                state,
                existing,
            } => Self::Enqueued(Enqueued {
                id: id.to_string(),
                state: state.to_string(),
                existing: *existing,
            }),
            CoreReply::Settled { state, repeated } => Self::Settled(SettledReply {
                state: state.to_string(),
                repeated: *repeated,
            }),
            CoreReply::Extended { cancelled } => Self::Extended(Extended {
                cancelled: *cancelled,
            }),
            CoreReply::Changed { state } => Self::Changed(StateReply {
                state: state.to_string(),
            }),
            CoreReply::Deleted => Self::Deleted(Nothing {}),
            CoreReply::Configured => Self::Configured(Nothing {}),
            CoreReply::EventsSettled { repeated } => Self::EventsSettled(EventsSettled {
                repeated: *repeated,
            }),
            CoreReply::Left => Self::Left(Nothing {}),
            CoreReply::EventsMoved { events, left } => Self::EventsMoved(Moved {
                events: *events,
                left: *left,
            }),
            CoreReply::Published(events) => {
                let events = events.iter().map(|event| Published::write(event, None));
                Self::Published(PublishedEvents {
                    events: events.collect(),
                })
            }
            CoreReply::Repeated => Self::Repeated(Nothing {}),
            _ => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "this reply can't be sent over HTTP",
                )
                .next("update the server"));
            }
        })
    }

    /// The port's reply.
    ///
    /// # Errors
    /// `Invalid` for an id or a state that can't be one.
    pub fn read(&self) -> Result<CoreReply> {
        Ok(match self {
            Self::Enqueued(enqueued) => enqueued.read()?,
            Self::Settled(settled) => CoreReply::Settled {
                state: read_state(&settled.state)?,
                repeated: settled.repeated,
            },
            Self::Extended(extended) => CoreReply::Extended {
                cancelled: extended.cancelled,
            },
            Self::Changed(changed) => CoreReply::Changed {
                state: read_state(&changed.state)?,
            },
            Self::Deleted(_) => CoreReply::Deleted,
            Self::Configured(_) => CoreReply::Configured,
            Self::EventsSettled(settled) => CoreReply::EventsSettled {
                repeated: settled.repeated,
            },
            Self::Left(_) => CoreReply::Left,
            Self::EventsMoved(moved) => CoreReply::EventsMoved {
                events: moved.events,
                left: moved.left,
            },
            Self::Published(published) => {
                let events = published.events.iter().map(Published::read);
                CoreReply::Published(events.collect::<Result<_>>()?)
            }
            Self::Repeated(_) => CoreReply::Repeated,
        })
    }
}
