//! What people and pages are shown. Never on a hot path.

use std::sync::Arc;
use std::time::Duration;

use crate::ids::{JobId, KindName, QueueName, Tag, WorkerName};
use crate::job::{DeadReason, JobState, Payload, Priority, RetryRule};
use crate::time::WallMs;

/// Everything that is known of one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobView {
    /// Its id.
    pub id: JobId,
    /// Which handler it is for.
    pub kind: KindName,
    /// Which queue it waits in.
    pub queue: QueueName,
    /// Where it is in its life.
    pub state: JobState,
    /// Its rank among the waiting.
    pub priority: Priority,
    /// Attempts that were spent, the running one included.
    pub attempt: u16,
    /// Leases that lapsed in a row.
    pub crashes: u8,
    /// How it is tried.
    pub retry: RetryRule,
    /// When it was accepted.
    pub enqueued_at: WallMs,
    /// When it became or becomes ready; for a job that has ended, when it ended.
    pub at: WallMs,
    /// Past this it is not started any more.
    pub deadline: Option<WallMs>,
    /// It is running and being called off.
    pub cancelling: bool,
    /// Why it is dead.
    pub reason: Option<DeadReason>,
    /// The last error, or why it was cancelled.
    pub error: Option<Arc<str>>,
    /// What its handler returned.
    pub result: Option<Payload>,
    /// How far it is, as its worker said last.
    pub progress: Option<Payload>,
    /// Who runs it.
    pub worker: Option<WorkerName>,
    /// What it carries.
    pub payload: Payload,
    /// Words to find it by.
    pub tags: Vec<Tag>,
    /// Names and values for others to read.
    pub metadata: Vec<(Arc<str>, Arc<str>)>,
}

/// Which jobs to list; `None` is any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// In this state.
    pub state: Option<JobState>,
    /// In this queue.
    pub queue: Option<QueueName>,
    /// Of this kind.
    pub kind: Option<KindName>,
    /// With this tag.
    pub tag: Option<Tag>,
}

/// One page of a listing. It examines a bounded number of entries, so it may be short, or even
/// empty, and still have a `next`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobPage {
    /// What was found, in no promised order.
    pub jobs: Vec<JobView>,
    /// Where to go on; `None` at the end.
    pub next: Option<u64>,
}

/// One queue, its settings, and how many jobs it holds.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueView {
    /// Its name.
    pub name: QueueName,
    /// Whether it hands out nothing.
    pub paused: bool,
    /// Most jobs running at once; 0 is no limit.
    pub concurrency: u32,
    /// Highest priority first, no aging.
    pub strict: bool,
    /// One step of priority in waiting time, in milliseconds.
    pub priority_step_ms: u64,
    /// Jobs held now, by the number of their state.
    pub held: [u64; 7],
    /// What happened since the store was created.
    pub totals: Totals,
    /// Ready time of the job that has been available longest among the lanes' heads.
    pub oldest_ready: Option<WallMs>,
    /// How fast it goes; `None` where nothing happened in it since the store was opened.
    pub pace: Option<Pace>,
}

/// How fast a queue goes, as it was measured over the last minutes
/// ([`PACE_MS`](crate::limits::PACE_MS)). Kept in memory only: measuring begins with the first job
/// that moves after the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pace {
    /// Over how long it was measured; after the last minutes, that.
    pub measured: Duration,
    /// Jobs that became ready each second: enqueued to run now, due, to be tried again, given back.
    pub arrivals_per_second: f64,
    /// How bursty they are: the index of dispersion of their counts in each second, 1 where they
    /// arrive at random. `None` before ten seconds and ten jobs.
    pub arrival_cv2: Option<f64>,
    /// Attempts that were settled each second.
    pub settled_per_second: f64,
    /// From lease to settle, on average. `None` before the first.
    pub service_mean: Option<Duration>,
    /// How much that varies: its squared coefficient of variation. `None` before ten of them.
    pub service_cv2: Option<f64>,
    /// The most jobs that ran at once in the last five to ten minutes.
    pub running_most: u64,
}

/// What happened since the store was created. These balance at every instant:
/// `enqueued` = the jobs held, in all states together, + `deleted`; and
/// `completed + dead + cancelled − redriven` = the jobs held in a final state + those that were
/// deleted from one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// Jobs forgotten, by a person or by retention, whatever their state.
    pub deleted: u64,
    /// Attempts that failed and will be tried again.
    pub retried: u64,
    /// Leases that lapsed.
    pub lapsed: u64,
}

/// How the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// `memory`, `file`, `http`.
    pub store: &'static str,
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
    /// Bytes that are free on its disk, as was last looked; none where it has no disk, or does not say.
    pub free_bytes: Option<u64>,
    /// Bytes of its disk that are kept free of new work.
    pub reserve_bytes: u64,
    /// Syncs since the store was opened.
    pub syncs: u64,
    /// Commits since the store was opened.
    pub commits: u64,
}
