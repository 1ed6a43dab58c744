//! What the machine can be asked, and what it answers: the port's commands with everything that
//! is kept elsewhere already put in its place.

use crate::command::QueueSettings;
use crate::group::{GroupSettings, Unparking, Which};
use crate::ids::{JobId, Token};
use crate::job::{DeadReason, JobState, OnConflict, Priority, Start};
use crate::machine::fact::{Hashes, KeyDigest, Place, Slot, Summary};
use crate::machine::groups::EventEnding;
use crate::machine::seen::Seen;
use crate::time::{MonoMs, WallMs};
use crate::topic::TopicSettings;

/// When a decision is made, and by what chance.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moment {
    /// Wall clock.
    pub wall: WallMs,
    /// Monotonic clock.
    pub mono: MonoMs,
    /// Chooses jitter and turns. The machine draws as many numbers from it as it needs.
    pub entropy: u64,
}

/// One thing to do.
#[derive(Clone, Copy, Debug)]
pub enum Action<'a> {
    /// Accept a job.
    Enqueue {
        /// What it is. `unique.until` is decided already.
        job: Summary<'a>,
        /// Where its body will be.
        place: Place,
        /// When it may start.
        start: Start,
        /// Its idempotency key.
        key: Option<KeyDigest>,
        /// Where what is told again under that key will be.
        answer: Place,
        /// What to do when its unique key is held.
        on_conflict: OnConflict,
    },
    /// End an attempt.
    Settle {
        /// Which job.
        id: JobId,
        /// Under which lease.
        token: Token,
        /// A digest of the outcome. Never 0.
        digest: u32,
        /// How it ended.
        ending: Ending,
        /// Where the result, error or reason will be.
        note: Place,
    },
    /// Start a lease afresh. Leaves no fact.
    Heartbeat {
        /// Which job.
        id: JobId,
        /// Under which lease.
        token: Token,
    },
    /// Call a job off.
    Cancel(JobId),
    /// Run now, or bring back.
    Retry(JobId),
    /// Forget.
    Delete(JobId),
    /// Change a waiting or dead job.
    Edit {
        /// Which job.
        id: JobId,
        /// Where its new body will be; `Place::NONE` keeps the old one.
        place: Place,
        /// Its new rank.
        priority: Option<Priority>,
        /// Its new start.
        run_at: Option<WallMs>,
    },
    /// Set what is given of a queue's settings.
    Configure {
        /// Which queue.
        queue: &'a str,
        /// What to change.
        settings: &'a QueueSettings,
    },
    /// Publish events.
    Publish {
        /// To which topic.
        topic: &'a str,
        /// Where they will be.
        place: Place,
        /// Their hashes: which partition each goes to.
        hashes: Hashes<'a>,
        /// A digest of topic, source and id, where this is one event and its publisher chose the id.
        seen: Option<[u8; 12]>,
    },
    /// Set what is given of a topic's settings.
    SetTopic {
        /// Which topic.
        topic: &'a str,
        /// What to change.
        settings: &'a TopicSettings,
    },
    /// Forget a topic.
    DeleteTopic {
        /// Which topic.
        topic: &'a str,
    },
    /// Set what is given of a group's settings; makes the group where there is none.
    SetGroup {
        /// Of which topic.
        topic: &'a str,
        /// Which group.
        group: &'a str,
        /// What to change.
        settings: &'a GroupSettings,
        /// Where a new one starts; `None` is the topic's end.
        start: Option<u64>,
    },
    /// Forget a group.
    DeleteGroup {
        /// Of which topic.
        topic: &'a str,
        /// Which group.
        group: &'a str,
    },
    /// End the handling of events.
    SettleEvents {
        /// Of which topic.
        topic: &'a str,
        /// By which group.
        group: &'a str,
        /// Under which membership.
        token: Token,
        /// Which events, how each ended, and where the error will be. Those of one key in order.
        ends: &'a [(u64, EventEnding, Place)],
    },
    /// A membership starts afresh. Leaves no fact.
    MemberBeat {
        /// Of which topic.
        topic: &'a str,
        /// Of which group.
        group: &'a str,
        /// Which.
        token: Token,
    },
    /// A member leaves.
    MemberLeave {
        /// Of which topic.
        topic: &'a str,
        /// Which group.
        group: &'a str,
        /// Under which membership.
        token: Token,
    },
    /// Have a group go on elsewhere.
    ResetGroup {
        /// Of which topic.
        topic: &'a str,
        /// Which group.
        group: &'a str,
        /// Where; `None` is the end of the topic.
        head: Option<u64>,
        /// Also while members hold events.
        force: bool,
    },
    /// Decide on parked events.
    Unpark {
        /// Of which topic.
        topic: &'a str,
        /// Of which group.
        group: &'a str,
        /// Which of them.
        which: Which,
        /// What becomes of them.
        how: Unparking,
    },
    /// Have dead letters handled again.
    Redrive {
        /// Of which topic.
        topic: &'a str,
        /// Of which group.
        group: &'a str,
        /// Which of them.
        which: Which,
    },
    /// An event that was given up on has its copy. No effect where it was released meanwhile.
    KeepEvent {
        /// By which group.
        group: u32,
        /// Which event.
        position: u64,
        /// Where its copy is.
        place: Place,
    },
    /// An unfinished event is not there any more, or can't be read: it is passed, and counted.
    LoseEvent {
        /// By which group.
        group: u32,
        /// Which event.
        position: u64,
    },
    /// What a group keeps of an event was copied.
    CopyKept {
        /// By which group.
        group: u32,
        /// Which event.
        position: u64,
        /// From where.
        from: Place,
        /// Where to.
        to: Place,
    },
    /// The body of a job can't be read: it is dead. (A running one too: its lease is over.)
    Condemn {
        /// Which job.
        slot: Slot,
        /// Where the damage is. No effect where that is no longer the job's place.
        place: Place,
    },
    /// A body or note was copied.
    Copied {
        /// Whose.
        slot: Slot,
        /// From where.
        from: Place,
        /// Where to.
        to: Place,
    },
    /// The answer of an idempotency key was copied.
    AnswerCopied {
        /// Whose.
        digest: KeyDigest,
        /// From where.
        from: Place,
        /// Where to.
        to: Place,
    },
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Done.
    Completed,
    /// Failed; instead of the backoff, this delay.
    Retry {
        /// In milliseconds.
        delay_ms: Option<u64>,
    },
    /// Not yet.
    Snooze {
        /// In milliseconds.
        delay_ms: u64,
    },
    /// Called off.
    Cancel,
    /// Given up on.
    Dead,
    /// Given back.
    Release {
        /// In milliseconds; 0 is at once, in its old place.
        delay_ms: u64,
        /// The worker could not read the payload.
        undecodable: bool,
    },
}

/// What is known of an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyLookup {
    /// Nobody used it within the window.
    Free,
    /// It was used with the same body; the answer is kept there.
    Taken(Place),
    /// It was used with another body.
    Reused,
}

/// What became of one action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The job is there.
    Enqueued {
        /// Its id, or that of the one which was there.
        id: JobId,
        /// Its state.
        state: JobState,
        /// It was there before.
        existing: bool,
    },
    /// The job's idempotency key was taken by a job with the same body; its answer is kept there.
    Kept(Place),
    /// Settled.
    Settled {
        /// The job's state now; the state it went to where the settle is repeated and the job is
        /// no longer known is `Completed`.
        state: JobState,
        /// It had been settled so before.
        repeated: bool,
    },
    /// The lease goes on.
    Extended {
        /// The job is being called off.
        cancelled: bool,
    },
    /// The job was changed.
    Changed {
        /// Its state now.
        state: JobState,
    },
    /// Published: where the first event is, and how many there are.
    Published {
        /// The topic's number.
        topic: u32,
        /// The position of the first.
        position: u64,
        /// How many.
        count: u32,
    },
    /// The event was published before.
    Seen(Seen),
    /// The events are settled.
    EventsSettled {
        /// They had been settled so before, all of them.
        repeated: bool,
    },
    /// The member is gone.
    Left,
    /// Parked events or dead letters were moved or forgotten.
    EventsMoved {
        /// How many.
        events: u32,
        /// How many are left that were asked for.
        left: u32,
    },
    /// Forgotten.
    Deleted,
    /// In force.
    Configured,
    /// Done before, with the settle that it follows: not again.
    Repeated,
    /// Copied or condemned, or there was nothing to do.
    Noted,
}

/// Why an action may not be obeyed. The whole commit changes nothing then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such job.
    NoSuchJob,
    /// A job with this id is there already.
    IdTaken,
    /// The idempotency key was used with another body.
    KeyReused,
    /// Too many idempotency keys are live.
    KeysFull,
    /// A job holds this unique key.
    UniqueHeld {
        /// Which.
        by: JobId,
    },
    /// The job has another current token (0 where it has none).
    Stale {
        /// The token that counts.
        current: Token,
    },
    /// This lease was never granted, or its settling was forgotten.
    UnknownLease,
    /// This lease was settled with another outcome.
    SettledOtherwise,
    /// That can't be done to a job in this state.
    WrongState {
        /// Which state.
        state: JobState,
    },
    /// The store holds as many jobs as it may.
    JobsFull,
    /// The store has as many queues or lanes as it may.
    NamesFull,
    /// There is no such topic.
    NoSuchTopic,
    /// The store has as many topics as it may.
    TopicsFull,
    /// A topic keeps its number of partitions.
    PartitionsFixed {
        /// How many it has.
        partitions: u16,
    },
    /// There is no such group.
    NoSuchGroup,
    /// The store has as many groups as it may.
    GroupsFull,
    /// The group has as many members as it may.
    MembersFull,
    /// The membership is over, or never was.
    MemberGone,
    /// The event is not in the hands of that member.
    NotLeased {
        /// Which event.
        position: u64,
    },
    /// An earlier event of the same key comes first.
    OutOfOrder {
        /// Which event.
        position: u64,
        /// The one that comes first.
        first: u64,
    },
    /// Members hold events of the group.
    GroupBusy {
        /// How many.
        leased: u32,
    },
    /// The position is past the end of the topic.
    PastEnd {
        /// Where that is.
        end: u64,
    },
    /// No such event is parked, or among the dead letters.
    NoSuchEvent {
        /// Which.
        position: u64,
    },
    /// The event of a dead letter is being handled, or parked: it was met again after a reset.
    EventUnfinished {
        /// Which.
        position: u64,
    },
    /// The group has as many unfinished events as it may.
    UnfinishedFull,
}

/// A refused commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Which action, from 0.
    pub index: usize,
    /// Why.
    pub refusal: Refusal,
}

/// Who asks for work.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// From which queues, each with its weight.
    pub queues: &'a [(&'a str, u32)],
    /// In the order given, or by weight.
    pub strict: bool,
    /// Of which kinds; empty is every kind.
    pub kinds: &'a [&'a str],
    /// Most jobs.
    pub max: u32,
    /// For how long.
    pub lease_ms: u32,
    /// Who.
    pub worker: &'a str,
    /// The worker lives in the process that holds the store.
    pub local: bool,
}

/// A job handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its number.
    pub slot: Slot,
    /// Its id.
    pub id: JobId,
    /// Under which lease.
    pub token: Token,
    /// Where its body is.
    pub place: Place,
    /// Which attempt this is, from 1.
    pub attempt: u16,
    /// Its rank.
    pub priority: Priority,
    /// Past this it is not started any more. Its body still says the first one where it was lifted.
    pub deadline: Option<WallMs>,
}

/// What the machine knows of one job, for people.
#[derive(Clone, Copy, Debug)]
pub struct RowView<'a> {
    /// Its number.
    pub slot: Slot,
    /// Its id.
    pub id: JobId,
    /// Its queue.
    pub queue: &'a str,
    /// Its kind.
    pub kind: &'a str,
    /// Where it is in its life.
    pub state: JobState,
    /// Why it is dead.
    pub reason: Option<DeadReason>,
    /// Its rank.
    pub priority: Priority,
    /// Attempts spent, the running one included.
    pub attempt: u16,
    /// Leases that lapsed in a row.
    pub crashes: u8,
    /// When it became or becomes ready; when it ended.
    pub at: WallMs,
    /// Past this it is not started any more.
    pub deadline: Option<WallMs>,
    /// It is being called off.
    pub cancelling: bool,
    /// Where its body is.
    pub place: Place,
    /// Where its result, error or reason is.
    pub note: Place,
    /// The lease that counts, where there is one.
    pub token: Option<Token>,
    /// Who holds it.
    pub worker: Option<&'a str>,
}
