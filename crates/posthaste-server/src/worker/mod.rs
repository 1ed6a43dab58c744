//! The worker behind `work --exec` and `demo`: leases jobs from any store, keeps their leases
//! alive, stops them when they are called off, and settles what they came to.
//!
//! It does not know what the work is, and never drops an outcome that it could still deliver:
//! a settle is repeated until the store has answered, because settling twice the same way is
//! harmless. Typed handlers belong to the library's worker; this one takes every kind it is told.

mod lease;
mod running;
mod settle;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use posthaste_core::port::Leased;
use posthaste_core::{Error, JobState, KindName, Outcome, QueueName, Result, Store, WorkerName};
use tokio::sync::{Semaphore, mpsc, watch};

use running::Running;
use settle::Finished;

/// What a worker asks for, and how much at once.
#[derive(Clone, Debug)]
pub(crate) struct WorkerOptions {
    /// From which queues, each with its weight.
    pub(crate) queues: Vec<(QueueName, u32)>,
    /// The queues in the order given rather than by weight.
    pub(crate) strict: bool,
    /// Of which kinds; empty is every kind.
    pub(crate) kinds: Vec<KindName>,
    /// Most jobs at once.
    pub(crate) concurrency: u32,
    /// Length of a lease, in milliseconds; heartbeats come three times as often.
    pub(crate) lease_ms: u32,
    /// How long jobs under way may take once the worker is told to stop.
    pub(crate) grace: Duration,
    /// The worker's name.
    pub(crate) name: WorkerName,
    /// The worker lives in the process that holds the store.
    pub(crate) local: bool,
}

/// Why an attempt is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It isn't.
    Go,
    /// The job was called off.
    Cancelled,
    /// Another worker may have the job by now: what this one does counts for nothing.
    Lost,
    /// The attempt has taken as long as it may.
    TimedOut,
    /// The worker is told to leave, and its grace is over.
    Leaving,
}

/// A settled attempt, as an observer is told of it.
#[derive(Debug)]
pub(crate) struct Done<'a> {
    /// Which job.
    pub(crate) job: &'a Leased,
    /// How the attempt ended.
    pub(crate) outcome: &'a Outcome,
    /// How long it took.
    pub(crate) took: Duration,
    /// What the store made of it; an error where the lease had been lost.
    pub(crate) settled: &'a Result<JobState>,
}

/// An attempt that ended because it was told to.
#[derive(Debug, Default)]
pub(crate) struct Stopped {
    /// What it had said of itself until then.
    pub(crate) said: String,
}

/// A boxed future of an attempt.
pub(crate) type Attempt<'a> = Pin<Box<dyn Future<Output = Result<Outcome, Stopped>> + Send + 'a>>;

/// What is done with a job.
pub(crate) trait Work: Send + Sync + 'static {
    /// Does it. An error when it ended because `stop` said so. Must end soon after `stop` says so.
    fn attempt<'a>(&'a self, job: &'a Leased, stop: watch::Receiver<Stop>) -> Attempt<'a>;

    /// Hears how an attempt was settled.
    fn settled(&self, done: &Done<'_>);

    /// Hears that the store refused a verb, which is tried again.
    fn trouble(&self, verb: &'static str, error: &Error);
}

/// Everything the parts of one worker share.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) work: Arc<dyn Work>,
    pub(crate) running: Running,
    pub(crate) options: WorkerOptions,
}

/// How long jobs that were told to stop may take to do so.
const STOP_WAIT: Duration = Duration::from_secs(15);

/// Works until `shutdown` is ready; then leases no more, lets the jobs under way finish within
/// the grace, and gives the rest back.
///
/// # Errors
/// What the store answers to a lease where trying again cannot help.
pub(crate) async fn run(
    store: Arc<dyn Store>,
    options: WorkerOptions,
    work: Arc<dyn Work>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<()> {
    let slots = Arc::new(Semaphore::new(options.concurrency as usize));
    let shared = Arc::new(Shared {
        store,
        work,
        running: Running::default(),
        options,
    });
    let (finished, finishing) = mpsc::unbounded_channel::<Finished>();
    let settling = tokio::spawn(settle::run(Arc::clone(&shared), finishing));
    let beating = tokio::spawn(running::beat(Arc::clone(&shared)));
    let ended = tokio::select! {
        () = shutdown => Ok(()),
        error = lease::run(&shared, &slots, finished.clone()) => Err(error),
    };
    leave(&shared, &slots).await;
    drop(finished);
    drop(tokio::time::timeout(STOP_WAIT, settling).await);
    beating.abort();
    ended
}

async fn leave(shared: &Shared, slots: &Semaphore) {
    let all = shared.options.concurrency;
    if tokio::time::timeout(shared.options.grace, slots.acquire_many(all))
        .await
        .is_err()
    {
        shared.running.stop_all(Stop::Leaving);
        // What hasn't stopped by then lapses, and is another worker's in a lease's time.
        drop(tokio::time::timeout(STOP_WAIT, slots.acquire_many(all)).await);
    }
}
