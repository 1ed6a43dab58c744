//! Queues, their settings, and the health of the store.

use posthaste_core::{JobState, QueueName, Result, command, view};
use serde::{Deserialize, Serialize};

use super::{Instant, Pace, Span};

/// What to change of a queue: `PUT /v1/queues/{queue}`. What is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueSettings {
    /// Hand out nothing (true), or go on (false).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// Most jobs running at once over all workers; 0 lifts the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Highest priority first and no aging: low priorities may starve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
    /// One step of priority in waiting time. Default `1m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_step: Option<Span>,
}

impl QueueSettings {
    /// The port's settings.
    #[must_use]
    pub fn read(self) -> command::QueueSettings {
        command::QueueSettings {
            paused: self.paused,
            concurrency: self.concurrency,
            strict: self.strict,
            priority_step_ms: self.priority_step.map(|step| step.0),
        }
    }
}

/// [`QueueSettings`] in a commit, with the queue's name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigureQueue {
    /// Which queue. Created where there is none.
    pub queue: String,
    /// Hand out nothing (true), or go on (false).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// Most jobs running at once over all workers; 0 lifts the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Highest priority first and no aging: low priorities may starve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
    /// One step of priority in waiting time. Default `1m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_step: Option<Span>,
}

impl ConfigureQueue {
    pub(super) fn settings(&self) -> command::QueueSettings {
        command::QueueSettings {
            paused: self.paused,
            concurrency: self.concurrency,
            strict: self.strict,
            priority_step_ms: self.priority_step.map(|step| step.0),
        }
    }

    pub(super) fn write(queue: &QueueName, settings: &command::QueueSettings) -> Self {
        Self {
            queue: queue.to_string(),
            paused: settings.paused,
            concurrency: settings.concurrency,
            strict: settings.strict,
            priority_step: settings.priority_step_ms.map(Span),
        }
    }
}

/// The answer to `GET /v1/queues`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Queues {
    /// Every queue, by name.
    pub queues: Vec<QueueView>,
}

/// One queue, its settings, and how many jobs it holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueView {
    /// Its name.
    pub name: String,
    /// Whether it hands out nothing.
    pub paused: bool,
    /// Most jobs running at once; 0 is no limit.
    pub concurrency: u32,
    /// Highest priority first, no aging.
    pub strict: bool,
    /// One step of priority in waiting time.
    pub priority_step: Span,
    /// Jobs that wait for their run-at.
    pub scheduled: u64,
    /// Jobs that are ready.
    pub available: u64,
    /// Jobs that are leased.
    pub running: u64,
    /// Jobs that failed and wait for their next attempt.
    pub retryable: u64,
    /// Completed jobs that are still kept.
    pub completed: u64,
    /// Dead jobs that are still kept.
    pub dead: u64,
    /// Cancelled jobs that are still kept.
    pub cancelled: u64,
    /// What happened since the store was created.
    pub totals: Totals,
    /// Ready time of the job that has been available longest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_ready: Option<Instant>,
    /// How fast it goes. Absent where nothing happened in it since the store was opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pace: Option<Pace>,
}

/// What happened in a queue since the store was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Jobs accepted.
    pub enqueued: u64,
    /// Jobs that were completed.
    pub completed: u64,
    /// Jobs that died.
    pub dead: u64,
    /// Jobs that were cancelled.
    pub cancelled: u64,
    /// Jobs brought back from dead or cancelled.
    pub redriven: u64,
    /// Jobs forgotten, by a person or by retention.
    pub deleted: u64,
    /// Attempts that failed and will be tried again.
    pub retried: u64,
    /// Leases that lapsed.
    pub lapsed: u64,
}

impl QueueView {
    /// How `queue` is written.
    #[must_use]
    pub fn write(queue: &view::QueueView) -> Self {
        let held = |state: JobState| queue.held[state as usize];
        let totals = queue.totals;
        Self {
            name: queue.name.to_string(),
            paused: queue.paused,
            concurrency: queue.concurrency,
            strict: queue.strict,
            priority_step: Span(queue.priority_step_ms),
            scheduled: held(JobState::Scheduled),
            available: held(JobState::Available),
            running: held(JobState::Running),
            retryable: held(JobState::Retryable),
            completed: held(JobState::Completed),
            dead: held(JobState::Dead),
            cancelled: held(JobState::Cancelled),
            totals: Totals {
                enqueued: totals.enqueued,
                completed: totals.completed,
                dead: totals.dead,
                cancelled: totals.cancelled,
                redriven: totals.redriven,
                deleted: totals.deleted,
                retried: totals.retried,
                lapsed: totals.lapsed,
            },
            oldest_ready: queue.oldest_ready.map(Instant),
            pace: Pace::write(queue),
        }
    }

    /// The port's queue.
    ///
    /// # Errors
    /// `Invalid` for a name that can't be one.
    pub fn read(&self) -> Result<view::QueueView> {
        let totals = self.totals;
        Ok(view::QueueView {
            name: QueueName::new(&self.name)?,
            paused: self.paused,
            concurrency: self.concurrency,
            strict: self.strict,
            priority_step_ms: self.priority_step.0,
            held: [
                self.scheduled,
                self.available,
                self.running,
                self.retryable,
                self.completed,
                self.dead,
                self.cancelled,
            ],
            totals: view::Totals {
                enqueued: totals.enqueued,
                completed: totals.completed,
                dead: totals.dead,
                cancelled: totals.cancelled,
                redriven: totals.redriven,
                deleted: totals.deleted,
                retried: totals.retried,
                lapsed: totals.lapsed,
            },
            oldest_ready: self.oldest_ready.map(|at| at.0),
            pace: self.pace.map(Pace::read),
        })
    }
}

/// How the store is: the answer to `GET /readyz`, with status 200 where new work is accepted and
/// 503 where it isn't.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `memory`, `file`, `http`.
    pub store: String,
    /// What an acknowledgement means: `sync`, `interval=…`, `memory`.
    pub durability: String,
    /// Whether new work is accepted.
    pub accepting: bool,
    /// What is wrong, in words; empty when all is well.
    pub problems: Vec<String>,
    /// Bytes of the store on disk.
    pub disk_bytes: u64,
    /// Bytes of it that are live.
    pub live_bytes: u64,
    /// Bytes that are free on its disk, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
    /// Bytes of its disk that are kept free of new work.
    #[serde(default)]
    pub reserve_bytes: u64,
    /// Syncs since the store was opened.
    pub syncs: u64,
    /// Commits since the store was opened.
    pub commits: u64,
}

impl Health {
    /// How `health` is written.
    #[must_use]
    pub fn write(health: &view::Health) -> Self {
        Self {
            store: health.store.to_owned(),
            durability: health.durability.clone(),
            accepting: health.accepting,
            problems: health.problems.clone(),
            disk_bytes: health.disk_bytes,
            live_bytes: health.live_bytes,
            free_bytes: health.free_bytes,
            reserve_bytes: health.reserve_bytes,
            syncs: health.syncs,
            commits: health.commits,
        }
    }

    /// The port's health, as seen through a client: the store is `http`.
    #[must_use]
    pub fn read(self) -> view::Health {
        view::Health {
            store: "http",
            durability: self.durability,
            accepting: self.accepting,
            problems: self.problems,
            disk_bytes: self.disk_bytes,
            live_bytes: self.live_bytes,
            free_bytes: self.free_bytes,
            reserve_bytes: self.reserve_bytes,
            syncs: self.syncs,
            commits: self.commits,
        }
    }
}
