//! What a job is: what its enqueuer says of it, the states it goes through, how an attempt ends.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::backoff::Backoff;
use crate::ids::{JobId, KindName, QueueName, Tag};
use crate::limits;
use crate::time::WallMs;

/// The states of a job.
///
/// ```text
///   scheduled ─▶ available ─▶ running ─▶ completed
///                    ▲         │  │ └──▶ dead, cancelled
///                    └─────────┘  ▼
///                    ▲         retryable
///                    └────────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum JobState {
    /// Waits for its run-at.
    Scheduled = 0,
    /// Ready to be leased.
    Available = 1,
    /// Leased to a worker.
    Running = 2,
    /// Failed, and waits for its next attempt.
    Retryable = 3,
    /// Done.
    Completed = 4,
    /// Given up on, with a [`DeadReason`]; kept to be looked at, edited and redriven.
    Dead = 5,
    /// Called off.
    Cancelled = 6,
}

impl JobState {
    /// Every state, in the order of its number.
    pub const ALL: [Self; 7] = [
        Self::Scheduled,
        Self::Available,
        Self::Running,
        Self::Retryable,
        Self::Completed,
        Self::Dead,
        Self::Cancelled,
    ];

    /// Whether the job has come to an end.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Dead | Self::Cancelled)
    }

    /// Whether the job waits: scheduled, available or retryable.
    #[must_use]
    pub const fn is_waiting(self) -> bool {
        matches!(self, Self::Scheduled | Self::Available | Self::Retryable)
    }

    /// The state's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Available => "available",
            Self::Running => "running",
            Self::Retryable => "retryable",
            Self::Completed => "completed",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state whose word this is.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a job is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum DeadReason {
    /// Its last attempt failed.
    Exhausted = 0,
    /// Its handler gave it up.
    Failed = 1,
    /// Its deadline passed before it started.
    Expired = 2,
    /// Its lease lapsed too often in a row: it takes its workers down.
    Poison = 3,
    /// No worker could read its payload for the length of the grace.
    Undecodable = 4,
    /// Its payload fails its checksum on disk.
    Corrupt = 5,
}

impl DeadReason {
    /// Every reason, in the order of its number.
    pub const ALL: [Self; 6] = [
        Self::Exhausted,
        Self::Failed,
        Self::Expired,
        Self::Poison,
        Self::Undecodable,
        Self::Corrupt,
    ];

    /// The reason's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Poison => "poison",
            Self::Undecodable => "undecodable",
            Self::Corrupt => "corrupt",
        }
    }

    /// The reason whose word this is.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }
}

/// Priority 1 to 9; 9 is served first. Default 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// A priority, where `value` is 1 to 9.
    #[must_use]
    pub const fn new(value: u8) -> Option<Self> {
        if value >= 1 && value <= 9 {
            Some(Self(value))
        } else {
            None
        }
    }

    /// The number, 1 to 9.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self(5)
    }
}

/// When a new job may start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At once.
    #[default]
    Now,
    /// This many milliseconds after it is accepted.
    After(u64),
    /// At this instant; at once where that has passed.
    At(WallMs),
}

/// How a job is tried: how often, how long, and how far apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RetryRule {
    /// Attempts in all, 1 to 1000. Default 25.
    pub max_attempts: u16,
    /// Longest time for one attempt, in milliseconds. Default 15 minutes, at most 7 days.
    pub timeout_ms: u32,
    /// Delay after a failed attempt.
    pub backoff: Backoff,
}

impl Default for RetryRule {
    fn default() -> Self {
        Self {
            max_attempts: limits::ATTEMPTS_DEFAULT,
            timeout_ms: limits::ATTEMPT_TIMEOUT_MS_DEFAULT,
            backoff: Backoff::default(),
        }
    }
}

/// The states in which a job holds its unique key, as a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StateSet(u8);

impl StateSet {
    /// Scheduled, available, running and retryable: until the job has come to an end.
    pub const UNFINISHED: Self = Self(0b000_1111);

    /// The set of `states`.
    #[must_use]
    pub fn of(states: &[JobState]) -> Self {
        Self(
            states
                .iter()
                .fold(0, |set, state| set | 1 << (*state as u8)),
        )
    }

    /// The set with these bits, one for each state's number. Other bits are dropped.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 0b111_1111)
    }

    /// One bit for each state's number.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether `state` is in the set.
    #[must_use]
    pub const fn contains(self, state: JobState) -> bool {
        self.0 & (1 << (state as u8)) != 0
    }
}

/// What makes two jobs of one kind the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UniqueBy {
    /// An explicit key.
    Key(Arc<str>),
    /// The payload's bytes.
    Payload,
}

/// What to do with a job whose unique key is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// Answer with the job that holds it.
    #[default]
    Existing,
    /// Refuse the commit.
    Reject,
}

/// At most one job of this kind and key at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unique {
    /// What makes two jobs the same, within one kind.
    pub by: UniqueBy,
    /// For how long after the enqueue, in milliseconds; `None` as long as the state is in `states`.
    pub period_ms: Option<u64>,
    /// The states in which the key is held. Default: until the job has come to an end.
    pub states: StateSet,
    /// What to do with the later one.
    pub on_conflict: OnConflict,
}

/// What a job carries: JSON, or bytes with a content type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// `None` is JSON (`application/json`).
    pub content_type: Option<Arc<str>>,
    /// The bytes, at most 1 MiB.
    pub bytes: Bytes,
}

impl Payload {
    /// A JSON payload. The bytes are passed through as they are.
    #[must_use]
    pub fn json(bytes: impl Into<Bytes>) -> Self {
        Self {
            content_type: None,
            bytes: bytes.into(),
        }
    }

    /// Bytes of another content type.
    #[must_use]
    pub fn bytes(content_type: &str, bytes: impl Into<Bytes>) -> Self {
        Self {
            content_type: Some(Arc::from(content_type)),
            bytes: bytes.into(),
        }
    }
}

/// Everything an enqueuer says of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    /// Minted by the accepting edge.
    pub id: JobId,
    /// Which handler it is for.
    pub kind: KindName,
    /// Which queue it waits in.
    pub queue: QueueName,
    /// What it carries.
    pub payload: Payload,
    /// Its rank among the waiting.
    pub priority: Priority,
    /// When it may start.
    pub start: Start,
    /// Past this instant it is not started any more, and is dead as `expired`.
    pub deadline: Option<WallMs>,
    /// How it is tried.
    pub retry: RetryRule,
    /// One effect for one key, for 24 hours; at most 255 bytes.
    pub idempotency_key: Option<Arc<str>>,
    /// At most one such job at a time.
    pub unique: Option<Unique>,
    /// Words to find it by, at most 16.
    pub tags: Vec<Tag>,
    /// Names and values for others to read, W3C `traceparent` among them; at most 32.
    pub metadata: Vec<(Arc<str>, Arc<str>)>,
    /// Whether the handler's result is kept with the completed job.
    pub keep_result: bool,
}

impl NewJob {
    /// A job with every default.
    #[must_use]
    pub fn new(id: JobId, queue: QueueName, kind: KindName, payload: Payload) -> Self {
        Self {
            id,
            kind,
            queue,
            payload,
            priority: Priority::default(),
            start: Start::default(),
            deadline: None,
            retry: RetryRule::default(),
            idempotency_key: None,
            unique: None,
            tags: Vec::new(),
            metadata: Vec::new(),
            keep_result: true,
        }
    }
}

/// How an attempt ended, in its handler's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done, with a result of at most 64 KiB.
    Completed {
        /// Kept with the job where the job asks for it.
        result: Option<Payload>,
    },
    /// Failed: try again after the backoff, or dead where this was the last attempt.
    Retry {
        /// What went wrong.
        error: Arc<str>,
        /// Instead of the backoff, in milliseconds.
        delay_ms: Option<u64>,
    },
    /// Not yet: again after `delay_ms`, without spending an attempt.
    Snooze {
        /// In milliseconds.
        delay_ms: u64,
    },
    /// Called off by its handler.
    Cancel {
        /// Why.
        reason: Arc<str>,
    },
    /// Given up on: no further attempt will help.
    Dead {
        /// What went wrong.
        error: Arc<str>,
    },
    /// Given back untouched, at once or after a delay: the worker is leaving, or can't read it.
    Release {
        /// In milliseconds; 0 is at once, in its old place.
        delay_ms: u64,
        /// The worker could not read the payload: after an hour of this the job is dead.
        undecodable: bool,
        /// Why, where there is something to say; kept as the job's error, and cut at 64 KiB.
        error: Option<Arc<str>>,
    },
}

impl Outcome {
    /// The outcome's word, as on the wire.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Completed { .. } => "completed",
            Self::Retry { .. } => "retry",
            Self::Snooze { .. } => "snooze",
            Self::Cancel { .. } => "cancel",
            Self::Dead { .. } => "dead",
            Self::Release { .. } => "release",
        }
    }
}
