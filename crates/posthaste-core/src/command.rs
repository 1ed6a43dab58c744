//! The commit verb: what can be asked, and what is answered once it is durable.

use std::sync::Arc;

use crate::group::{EventOutcome, GroupSettings, Unparking, Which};
use crate::ids::{GroupName, JobId, QueueName, Token, TopicName};
use crate::job::{JobState, NewJob, Outcome, Payload, Priority};
use crate::time::WallMs;
use crate::topic::{NewEvent, Published, ReadFrom, TopicSettings};

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// Accept a job.
    Enqueue(Box<NewJob>),
    /// End an attempt.
    Settle {
        /// Which job.
        id: JobId,
        /// Under which lease.
        token: Token,
        /// How it ended.
        outcome: Outcome,
    },
    /// Say that the attempt goes on: the lease starts afresh.
    Heartbeat {
        /// Which job.
        id: JobId,
        /// Under which lease.
        token: Token,
        /// How far it is, as JSON of at most 4 KiB, to be shown to people. Kept in memory.
        progress: Option<Payload>,
    },
    /// Call a job off. A running one is told at its next heartbeat.
    Cancel(JobId),
    /// Run a waiting job now; bring a dead or cancelled one back with all its attempts (redrive).
    /// A deadline that has passed is lifted then: who brings a job back wants it run.
    Retry(JobId),
    /// Forget a job that isn't running.
    Delete(JobId),
    /// Change a waiting or dead job.
    Edit {
        /// Which job.
        id: JobId,
        /// What to change.
        edit: Edit,
    },
    /// Set what is given of a queue's settings; creates the queue where there is none.
    Configure {
        /// Which queue.
        queue: QueueName,
        /// What to change.
        settings: QueueSettings,
    },
    /// Publish events to a topic, at most 1000 in one commit. Where there is no such topic, it is
    /// made with the defaults, unless the store was told not to.
    Publish {
        /// Which topic.
        topic: TopicName,
        /// What happened, in order.
        events: Vec<NewEvent>,
    },
    /// Set what is given of a topic's settings; makes the topic where there is none.
    SetTopic {
        /// Which topic.
        topic: TopicName,
        /// What to change.
        settings: TopicSettings,
    },
    /// Forget a topic, every event of it, and its groups.
    DeleteTopic(TopicName),
    /// Set what is given of a group's settings; makes the group where there is none.
    SetGroup {
        /// Of which topic.
        topic: TopicName,
        /// Which group.
        group: GroupName,
        /// What to change.
        settings: GroupSettings,
        /// Where a new group starts; `None` is the topic's end. No effect on one that is there.
        from: Option<ReadFrom>,
    },
    /// Forget a group, its parked events and its dead letters.
    DeleteGroup {
        /// Of which topic.
        topic: TopicName,
        /// Which group.
        group: GroupName,
    },
    /// End the handling of events, at most 1000.
    SettleEvents {
        /// Of which topic.
        topic: TopicName,
        /// By which group.
        group: GroupName,
        /// Under which membership.
        token: Token,
        /// Which events, by the sequence of their positions, and how each ended. Events of one key
        /// in order.
        ends: Vec<(u64, EventOutcome)>,
    },
    /// Say that a member is alive: its lease starts afresh.
    Beat {
        /// Of which topic.
        topic: TopicName,
        /// Of which group.
        group: GroupName,
        /// Under which membership.
        token: Token,
    },
    /// A member leaves. What it holds is handed out again, and counts as nothing.
    Leave {
        /// Of which topic.
        topic: TopicName,
        /// Which group.
        group: GroupName,
        /// Under which membership.
        token: Token,
    },
    /// Have a group go on elsewhere. Parked events and dead letters stay.
    ResetGroup {
        /// Of which topic.
        topic: TopicName,
        /// Which group.
        group: GroupName,
        /// Where it goes on.
        to: ReadFrom,
        /// Also while members hold events: they hold them no longer.
        force: bool,
    },
    /// Decide on parked events, at most 500 of them at once, the first first.
    Unpark {
        /// Of which topic.
        topic: TopicName,
        /// Of which group.
        group: GroupName,
        /// Which of them.
        which: Which,
        /// What becomes of them.
        how: Unparking,
    },
    /// Have dead letters handled again, at most 500 of them at once, the first first.
    Redrive {
        /// Of which topic.
        topic: TopicName,
        /// Of which group.
        group: GroupName,
        /// Which of them.
        which: Which,
    },
}

impl Command {
    /// Whether it ends work, or keeps it alive: to turn it away would make more work, however little
    /// that work matters. What is sent with it is sent as critical, and does not become so by it.
    #[must_use]
    pub const fn is_vital(&self) -> bool {
        matches!(
            self,
            Self::Settle { .. }
                | Self::SettleEvents { .. }
                | Self::Heartbeat { .. }
                | Self::Beat { .. }
                | Self::Leave { .. }
        )
    }
}

/// What to change of a waiting or dead job; `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edit {
    /// Another payload.
    pub payload: Option<Payload>,
    /// Another rank.
    pub priority: Option<Priority>,
    /// Another start (waiting jobs only).
    pub run_at: Option<WallMs>,
}

/// What to change of a queue; `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueSettings {
    /// Hand out nothing (true), or go on (false).
    pub paused: Option<bool>,
    /// Most jobs running at once over all workers; 0 lifts the limit.
    pub concurrency: Option<u32>,
    /// Highest priority first and no aging: low priorities may starve.
    pub strict: Option<bool>,
    /// One step of priority in waiting time, in milliseconds. Default one minute.
    pub priority_step_ms: Option<u64>,
}

/// Commands to apply together: all of them durably, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// One effect for one key: repeated, the first answer is given again.
    pub key: Option<CommitKey>,
    /// What to do, at most 1000, in order. A later command sees what an earlier one did.
    pub commands: Vec<Command>,
}

impl Commit {
    /// A commit of one command, without a key.
    #[must_use]
    pub fn one(command: Command) -> Self {
        Self {
            key: None,
            commands: vec![command],
        }
    }

    /// A commit of these commands, without a key.
    #[must_use]
    pub fn of(commands: Vec<Command>) -> Self {
        Self {
            key: None,
            commands,
        }
    }
}

/// The idempotency key of a whole request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitKey {
    /// The key, at most 255 bytes.
    pub key: Arc<str>,
    /// A digest of the request: the same key with another digest is refused.
    pub digest: [u8; 16],
}

/// What became of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// One for each command, in order.
    pub replies: Vec<Reply>,
    /// The commit had been applied before, under the same key; these are its answers then.
    pub repeated: bool,
}

/// What became of one command.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// The job is there.
    Enqueued {
        /// The job's id: the new one, or that of the job that was there.
        id: JobId,
        /// Its state.
        state: JobState,
        /// It was there before, by an idempotency or a unique key.
        existing: bool,
    },
    /// The attempt is settled.
    Settled {
        /// The job's state now.
        state: JobState,
        /// It had been settled so before.
        repeated: bool,
    },
    /// The lease goes on.
    Extended {
        /// The job is being called off: stop, and settle.
        cancelled: bool,
    },
    /// The job was changed and is now in this state (for a running job that is being called off:
    /// still running).
    Changed {
        /// The job's state now.
        state: JobState,
    },
    /// The job, the topic or the group is forgotten.
    Deleted,
    /// The settings of the queue, the topic or the group are in force.
    Configured,
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
    /// The events are there: where each is, in the order in which they were given.
    Published(Arc<[Published]>),
    /// It was done together with the settle before it, which is repeated, and is not done again.
    Repeated,
}
