//! What is true from now on. The journal holds facts, not requests.
//!
//! A fact carries every value that was chosen when it was decided, so that next year's code reads
//! this year's journal to the same state. It borrows its texts and copies nothing. An old fact's
//! meaning never changes: a new meaning is a new fact.

use crate::group::{GroupConfig, KeptReason};
use crate::ids::{JobId, Token};
use crate::job::{DeadReason, JobState, Priority, RetryRule, StateSet};
use crate::machine::groups::Finish;
use crate::machine::seen::Seen;
use crate::time::WallMs;
use crate::topic::TopicConfig;

/// The number under which the index holds a job. Reused once the job is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// Where something is kept, in the terms of whoever keeps it. Opaque to the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub u64);

impl Place {
    /// Nowhere.
    pub const NONE: Self = Self(0);

    /// Whether it is anywhere.
    #[must_use]
    pub const fn is_some(self) -> bool {
        self.0 != 0
    }
}

/// What the machine holds of a new job. The rest is kept at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary<'a> {
    /// The job's id.
    pub id: JobId,
    /// Which queue it waits in.
    pub queue: &'a str,
    /// Which handler it is for.
    pub kind: &'a str,
    /// Its rank.
    pub priority: Priority,
    /// How it is tried.
    pub retry: RetryRule,
    /// Past this instant it is not started any more.
    pub deadline: Option<WallMs>,
    /// At most one such job at a time.
    pub unique: Option<UniqueClaim>,
    /// Whether the handler's result is kept.
    pub keep_result: bool,
}

/// A hold on a unique key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UniqueClaim {
    /// Digest of kind and key, or of kind and payload.
    pub digest: [u8; 16],
    /// Held until then at most.
    pub until: Option<WallMs>,
    /// Held in these states.
    pub states: StateSet,
}

/// A digest of an idempotency key, and one of the body that it came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyDigest {
    /// Of the key and its scope.
    pub key: [u8; 12],
    /// Of the body.
    pub body: u32,
}

/// The hashes of events that are published together, in order: which partition each goes to. Four
/// bytes each, little-endian, as the record of the events holds them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hashes<'a>(pub &'a [u8]);

impl<'a> Hashes<'a> {
    /// How many there are.
    #[must_use]
    pub fn count(self) -> u32 {
        u32::try_from(self.0.len() / 4).unwrap_or(u32::MAX)
    }

    /// Each, in order.
    pub fn iter(self) -> impl Iterator<Item = u32> + use<'a> {
        self.0
            .as_chunks::<4>()
            .0
            .iter()
            .copied()
            .map(u32::from_le_bytes)
    }
}

/// One thing that became true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact<'a> {
    /// There is a new job.
    Enqueued {
        /// Under which number.
        slot: Slot,
        /// Its turn among the ready of its lane: lower is earlier.
        order: u64,
        /// When it was ready or will be.
        ready: WallMs,
        /// `Scheduled` or `Available`.
        state: JobState,
        /// Where its body is kept.
        place: Place,
        /// What it is.
        job: Summary<'a>,
    },
    /// An idempotency key is taken.
    KeyTaken {
        /// Which.
        digest: KeyDigest,
        /// Where its answer is kept.
        answer: Place,
        /// Since when.
        at: WallMs,
    },
    /// A job belongs to the holder of `token`.
    Leased {
        /// Which job.
        slot: Slot,
        /// Under which lease.
        token: Token,
        /// For how long, from when this fact is applied: a length, never an instant.
        lease_ms: u32,
        /// The worker lives in the process that holds the store.
        local: bool,
        /// Who.
        worker: &'a str,
    },
    /// A job moved to another state of its life.
    Changed {
        /// Which job.
        slot: Slot,
        /// Why.
        cause: Cause,
        /// Where to.
        to: To,
        /// When.
        at: WallMs,
        /// Where its result, its error or its reason is kept; `Place::NONE` where there is none,
        /// and then what was noted before stays.
        note: Place,
    },
    /// A running job is being called off.
    CancelAsked {
        /// Which job.
        slot: Slot,
    },
    /// A waiting or dead job was changed by a person.
    Edited {
        /// Which job.
        slot: Slot,
        /// Where its body is now.
        place: Place,
        /// Its rank now.
        priority: Priority,
    },
    /// A job's body, or its note, was copied to another place. No effect where `from` is no longer it.
    Copied {
        /// Which job.
        slot: Slot,
        /// Where it was.
        from: Place,
        /// Where it is.
        to: Place,
    },
    /// The answer of a taken key was copied to another place. No effect where `from` is no longer it.
    AnswerCopied {
        /// Which key.
        digest: KeyDigest,
        /// Where it was.
        from: Place,
        /// Where it is.
        to: Place,
    },
    /// A job's unique key is no longer its own: it had let go of it, and another took it.
    Unclaimed {
        /// Which job.
        slot: Slot,
    },
    /// A worker could not read a job's payload, for the first time.
    Unreadable {
        /// Which job.
        slot: Slot,
        /// When. The grace counts from here.
        since: WallMs,
    },
    /// A job has no deadline any more: it was brought back after that had passed.
    DeadlineLifted {
        /// Which job.
        slot: Slot,
    },
    /// A job is forgotten.
    Deleted {
        /// Which job.
        slot: Slot,
    },
    /// The idempotency keys taken first are forgotten.
    KeysForgotten {
        /// How many.
        count: u32,
    },
    /// A topic was made, or has other settings.
    TopicSet {
        /// Its number: the same as before, or a new one.
        topic: u32,
        /// Its name.
        name: &'a str,
        /// Its settings.
        config: TopicConfig,
        /// When it was made.
        at: WallMs,
    },
    /// A topic is forgotten, with every event of it.
    TopicDeleted {
        /// Which.
        topic: u32,
    },
    /// Events were published. Each goes to the partition that its hash names, and gets the next
    /// offset there.
    Published {
        /// To which topic.
        topic: u32,
        /// Where their record is.
        place: Place,
        /// When: never before those that were published before.
        at: WallMs,
        /// The position of the first.
        position: u64,
        /// Their hashes, in order.
        hashes: Hashes<'a>,
    },
    /// An event may come again: it is remembered where it was put.
    EventSeen {
        /// Which, and where.
        seen: Seen,
        /// Since when.
        at: WallMs,
    },
    /// The events seen first are forgotten.
    EventsForgotten {
        /// How many.
        count: u32,
    },
    /// Applied settles up to this instant are forgotten.
    SettlesForgotten {
        /// Those applied before.
        before: WallMs,
    },
    /// No token up to this one is given out any more: some of them may be with workers although
    /// nothing tells of it.
    TokensPassed {
        /// The highest of them.
        upto: Token,
    },
    /// A group was made, or has other settings.
    GroupSet {
        /// Its number: the same as before, or a new one.
        group: u32,
        /// The number of its topic.
        topic: u32,
        /// Its name.
        name: &'a str,
        /// Its settings.
        config: GroupConfig,
        /// When it was made.
        at: WallMs,
        /// Where a new one starts. Of one that is there it says nothing.
        head: u64,
    },
    /// A group is forgotten.
    GroupDeleted {
        /// Which.
        group: u32,
    },
    /// Somebody takes part in a group.
    MemberJoined {
        /// In which.
        group: u32,
        /// Under this membership.
        token: Token,
        /// How long it may be silent: a length, never an instant.
        lease_ms: u32,
        /// It lives in the process that holds the store.
        local: bool,
        /// What it calls itself.
        name: &'a str,
    },
    /// Somebody takes part no longer. What it had waits for its turn again. Where it `lapsed`, that
    /// counts as a crash of the first event of each key that it had.
    MemberLeft {
        /// In which group.
        group: u32,
        /// Which.
        token: Token,
        /// It was silent for too long, or its process ended.
        lapsed: bool,
    },
    /// An event waits for its turn: it was met while another of its key is unfinished, or it was
    /// given back. The head passes it where it hasn't yet.
    EventHeld {
        /// By which group.
        group: u32,
        /// Which event.
        position: u64,
        /// The hash of its key.
        hash: u32,
        /// Members that were lost in a row while they had it.
        crashes: u8,
    },
    /// An event is in the hands of a member. The head passes it where it hasn't yet.
    EventLeased {
        /// Of which group.
        group: u32,
        /// Which member.
        token: Token,
        /// Which event.
        position: u64,
        /// The hash of its key.
        hash: u32,
    },
    /// Every event that was unfinished in this range is finished. Those are all that were settled
    /// so; what lay between them was finished before.
    EventsFinished {
        /// By which group.
        group: u32,
        /// The first.
        from: u64,
        /// Behind the last.
        to: u64,
        /// How.
        how: Finish,
    },
    /// An event failed, and waits. Its crashes are forgotten.
    EventRetried {
        /// In which group.
        group: u32,
        /// Which event.
        position: u64,
        /// Attempts that failed, this one included.
        attempts: u16,
        /// Until then.
        until: WallMs,
    },
    /// An event is given up on, and is to be copied before it counts as finished. The head passes it
    /// where it hasn't yet.
    EventEnding {
        /// By which group.
        group: u32,
        /// Which event.
        position: u64,
        /// The hash of its key.
        hash: u32,
        /// It goes to the dead letters, and is not parked.
        dead: bool,
        /// Why.
        why: KeptReason,
        /// Attempts that failed.
        attempts: u16,
        /// Where the error is that it ended with.
        note: Place,
    },
    /// An event that was given up on has its copy: it is parked or dead, and finished.
    EventKept {
        /// By which group.
        group: u32,
        /// Which event.
        position: u64,
        /// Where its copy is.
        place: Place,
        /// When.
        at: WallMs,
    },
    /// A parked event, or one on its way there, waits for its turn again, with all its attempts.
    KeptReleased {
        /// Of which group.
        group: u32,
        /// Which event.
        position: u64,
    },
    /// A parked event, or one on its way there, is forgotten and counted as skipped.
    KeptSkipped {
        /// Of which group.
        group: u32,
        /// Which event.
        position: u64,
    },
    /// A dead letter waits for its turn again, with all its attempts.
    KeptRedriven {
        /// Of which group.
        group: u32,
        /// Which event.
        position: u64,
    },
    /// A dead letter is forgotten.
    KeptForgotten {
        /// Of which group.
        group: u32,
        /// Which event.
        position: u64,
    },
    /// The copy of an event that a group keeps, or its error, was copied to another place. No effect
    /// where `from` is no longer it.
    KeptCopied {
        /// Of which group.
        group: u32,
        /// Which event.
        position: u64,
        /// Where it was.
        from: Place,
        /// Where it is; `Place::NONE` where its topic has it.
        to: Place,
    },
    /// A group goes on elsewhere. Members that have events are members no longer.
    GroupReset {
        /// Which.
        group: u32,
        /// Where it goes on.
        head: u64,
        /// When.
        at: WallMs,
    },
    /// The head passed places where there is nothing to handle: compaction left a hole, retention
    /// took events, or they are already known.
    HeadMoved {
        /// Of which group.
        group: u32,
        /// Where it is.
        to: u64,
        /// How many events retention took.
        lost: u64,
    },
    /// A queue has these settings.
    QueueSet {
        /// Which queue.
        queue: &'a str,
        /// All of its settings.
        settings: QueueConfig,
    },
}

/// Why a job changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its run-at came.
    Due,
    /// Its worker settled it.
    Settled {
        /// Under which lease.
        token: Token,
        /// A digest of the outcome, to know a repetition by. Never 0.
        digest: u32,
        /// Whether an attempt was spent.
        spent: bool,
    },
    /// Its lease lapsed: its worker said nothing for too long, or its process ended.
    Lapsed,
    /// Its deadline passed.
    Expired,
    /// A person or a program called it off, ran it now, or brought it back with all its attempts.
    Asked,
    /// Its body can't be read from the disk.
    Corrupt,
}

/// Where a job goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Ready.
    Available {
        /// Its turn.
        order: u64,
        /// Since when, for its age.
        ready: WallMs,
        /// With all its attempts again.
        afresh: bool,
    },
    /// Waits for its run-at.
    Scheduled {
        /// When.
        run_at: WallMs,
    },
    /// Failed, and waits.
    Retryable {
        /// Until when.
        run_at: WallMs,
    },
    /// Done.
    Completed,
    /// Given up on.
    Dead(DeadReason),
    /// Called off.
    Cancelled,
}

/// All settings of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// Hands out nothing.
    pub paused: bool,
    /// Most jobs running at once; 0 is no limit.
    pub concurrency: u32,
    /// Highest priority first, no aging.
    pub strict: bool,
    /// One step of priority in waiting time, in milliseconds.
    pub priority_step_ms: u64,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            paused: false,
            concurrency: 0,
            strict: false,
            priority_step_ms: crate::limits::PRIORITY_STEP_MS,
        }
    }
}
