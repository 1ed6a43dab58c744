//! What a consumer group is: who handles the events of a topic, how, and how far it is.
//!
//! A group hands out the events of its topic in the order of their positions. Events of one key are
//! handled strictly in that order, those of other keys meanwhile by whoever asks. Its *position* is
//! that of the first event which is not finished: it never passes one, and moves back only where
//! somebody resets it.

use std::sync::Arc;

use crate::backoff::Backoff;
use crate::ids::{GroupName, Token, TopicName, WorkerName};
use crate::limits;
use crate::time::WallMs;
use crate::topic::{Event, Position, ReadFrom};

/// Where a new group starts.
pub type GroupStart = ReadFrom;

/// What becomes of an event that failed as often as it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExhausted {
    /// It is parked, and the later events of its key behind it, until somebody decides.
    #[default]
    Park,
    /// It goes to the group's dead letters, and its key moves on.
    Dead,
}

impl OnExhausted {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Park => "park",
            Self::Dead => "dead",
        }
    }

    /// What this word means.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Park, Self::Dead]
            .into_iter()
            .find(|of| of.as_str() == word)
    }
}

/// All settings of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// Most events in the hands of members at once, 1 to 10,000. Default 1,000.
    pub in_flight: u32,
    /// Attempts of one event in all, 1 to 1,000. Default 25.
    pub max_attempts: u16,
    /// Delay after a failed attempt.
    pub backoff: Backoff,
    /// What becomes of an event whose last attempt failed, or whose members died too often.
    pub on_exhausted: OnExhausted,
    /// Most parked events, 1 to 10,000. Default 1,000. With so many, the group hands out nothing.
    pub parked_max: u32,
    /// Hands out nothing.
    pub paused: bool,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            in_flight: limits::IN_FLIGHT_DEFAULT,
            max_attempts: limits::ATTEMPTS_DEFAULT,
            backoff: Backoff::default(),
            on_exhausted: OnExhausted::Park,
            parked_max: limits::PARKED_DEFAULT,
            paused: false,
        }
    }
}

/// What to change of a group; `None` stays as it is, or is the default of a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupSettings {
    /// Most events in the hands of members at once.
    pub in_flight: Option<u32>,
    /// Attempts of one event in all.
    pub max_attempts: Option<u16>,
    /// Delay after a failed attempt.
    pub backoff: Option<Backoff>,
    /// What becomes of an event whose last attempt failed.
    pub on_exhausted: Option<OnExhausted>,
    /// Most parked events.
    pub parked_max: Option<u32>,
    /// Hand out nothing (true), or go on (false).
    pub paused: Option<bool>,
}

impl GroupSettings {
    /// These, over what was in force.
    #[must_use]
    pub fn over(&self, old: GroupConfig) -> GroupConfig {
        GroupConfig {
            in_flight: self.in_flight.unwrap_or(old.in_flight),
            max_attempts: self.max_attempts.unwrap_or(old.max_attempts),
            backoff: self.backoff.unwrap_or(old.backoff),
            on_exhausted: self.on_exhausted.unwrap_or(old.on_exhausted),
            parked_max: self.parked_max.unwrap_or(old.parked_max),
            paused: self.paused.unwrap_or(old.paused),
        }
    }
}

/// How the handling of one event ended, in its handler's words.
///
/// After anything but `Done`, `Dead` and `Skip`, later events of the same key that the member holds
/// are no longer its own: they come again, in order, behind this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventOutcome {
    /// Done.
    Done,
    /// Failed: try again after the backoff. After the last attempt it is parked or dead, as the
    /// group declares.
    Retry {
        /// What went wrong.
        error: Arc<str>,
        /// Instead of the backoff, in milliseconds.
        delay_ms: Option<u64>,
    },
    /// Park it, and the later events of its key behind it, until somebody decides.
    Park {
        /// What went wrong.
        error: Arc<str>,
    },
    /// To the dead letters; its key moves on.
    Dead {
        /// What went wrong.
        error: Arc<str>,
    },
    /// Pass over it: it is finished, and counted as skipped.
    Skip {
        /// Why.
        reason: Arc<str>,
    },
    /// Given back untouched: it is handed out again at once, without an attempt spent.
    Release,
}

impl EventOutcome {
    /// The outcome's word, as on the wire.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Retry { .. } => "retry",
            Self::Park { .. } => "park",
            Self::Dead { .. } => "dead",
            Self::Skip { .. } => "skip",
            Self::Release => "release",
        }
    }
}

/// Who asks for events, and for which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventAsk {
    /// Of which topic.
    pub topic: TopicName,
    /// For which group.
    pub group: GroupName,
    /// Who asks.
    pub member: WorkerName,
    /// Under which membership. `None` joins the group.
    pub token: Option<Token>,
    /// Most events, 1 to 1,000.
    pub max: u32,
    /// How long the membership lasts without a sign of life, in milliseconds, 100 to an hour. A
    /// beat starts it afresh, and so does an ask. Counts when joining.
    pub lease_ms: u32,
    /// How long to wait for the first event, in milliseconds, at most a minute. Who waits for longer
    /// than half of its membership is answered then, so that it can ask again while that lasts.
    pub wait_ms: u32,
    /// The member lives in the process that holds the store: when that is opened again, it is gone.
    pub local: bool,
}

/// Events in the hands of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeasedEvents {
    /// The membership: to be given with each further ask, and to settle under.
    pub token: Token,
    /// The events, those of one key in order. The next of a key may be started when the handler of
    /// the one before it has returned.
    pub events: Vec<LeasedEvent>,
}

/// One event in the hands of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeasedEvent {
    /// What happened.
    pub event: Event,
    /// Which attempt this is, from 1.
    pub attempt: u16,
    /// How many there may be.
    pub max_attempts: u16,
    /// Members that were lost in a row while they had it.
    pub crashes: u8,
}

/// Which of the parked events, or of the dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The event at this position.
    At(u64),
    /// Those of the key that has this hash ([`crate::topic::hash_of`]).
    Key(u32),
    /// All.
    All,
}

/// What to do with parked events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unparking {
    /// They are handed out again, in order and with all their attempts.
    Release,
    /// They are forgotten.
    Skip,
}

/// Why an event was parked, or is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum KeptReason {
    /// Its handler gave it up.
    Failed = 0,
    /// Its last attempt failed.
    Exhausted = 1,
    /// Its members were lost too often in a row: it takes them down.
    Poison = 2,
    /// An earlier event of its key is parked.
    Behind = 3,
}

impl KeptReason {
    /// Every reason, in the order of its number.
    pub const ALL: [Self; 4] = [Self::Failed, Self::Exhausted, Self::Poison, Self::Behind];

    /// The reason's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Exhausted => "exhausted",
            Self::Poison => "poison",
            Self::Behind => "behind",
        }
    }

    /// The reason whose word this is.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|of| of.as_str() == word)
    }
}

/// Why a group hands out nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PausedBy {
    /// Somebody paused it.
    Person,
    /// So many events are parked as may be. It goes on by itself when there is room.
    ParkedFull,
}

impl PausedBy {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::ParkedFull => "parked-full",
        }
    }

    /// What this word means.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Person, Self::ParkedFull]
            .into_iter()
            .find(|of| of.as_str() == word)
    }
}

/// What happened in a group since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupTotals {
    /// Events whose handlers were done.
    pub done: u64,
    /// Attempts that failed and were followed by another.
    pub retried: u64,
    /// Events that were parked.
    pub parked: u64,
    /// Events that went to the dead letters.
    pub dead: u64,
    /// Events that were skipped.
    pub skipped: u64,
    /// Events whose member was lost.
    pub lapsed: u64,
    /// Events that were handed out again.
    pub redelivered: u64,
    /// Events that were gone before they were handled.
    pub lost_to_retention: u64,
}

/// One group, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupView {
    /// Of which topic.
    pub topic: TopicName,
    /// Its name.
    pub name: GroupName,
    /// Its settings.
    pub config: GroupConfig,
    /// When it was made.
    pub created_at: WallMs,
    /// The first event that is not finished.
    pub position: Position,
    /// The first event that was not looked at.
    pub head: Position,
    /// Where the topic's next event will be published.
    pub end: Position,
    /// Events from the position on that are not finished, as far as they were looked at.
    pub unfinished: u64,
    /// Those in the hands of members.
    pub leased: u64,
    /// Those that failed and wait for their next attempt.
    pub retrying: u64,
    /// Parked events.
    pub parked: u64,
    /// Dead letters.
    pub dead: u64,
    /// Its members.
    pub members: Vec<MemberView>,
    /// Why it hands out nothing, where that is so.
    pub paused: Option<PausedBy>,
    /// What happened in it.
    pub totals: GroupTotals,
    /// How many events lie between its position and the end of the topic.
    pub lag: u64,
}

/// A member of a group, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// Its name.
    pub name: WorkerName,
    /// How many events it holds.
    pub leased: u64,
}

/// One parked event or dead letter, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptEvent {
    /// What happened.
    pub event: Event,
    /// Why it is kept.
    pub reason: KeptReason,
    /// What went wrong last.
    pub error: Option<Arc<str>>,
    /// Attempts that were spent.
    pub attempts: u16,
    /// Since when it is kept.
    pub at: WallMs,
}

/// One page of parked events or dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptPage {
    /// What was found, in the order of publication.
    pub events: Vec<KeptEvent>,
    /// Where to go on; `None` at the end.
    pub next: Option<u64>,
}
