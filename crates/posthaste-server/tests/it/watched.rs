//! A store that can be asked how many ask it for work.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use posthaste_core::command::Committed;
use posthaste_core::port::{LeaseAsk, Leased, PortFuture, TailJob};
use posthaste_core::view::{Health, JobFilter, JobPage, JobView, QueueView};
use posthaste_core::{Commit, JobId, Result, Store, WallMs};
use posthaste_log::{Location, Log, ManualClock, Options};

/// A store in memory on a clock that stands still, and how many leases of it are pending.
#[derive(Clone)]
pub(crate) struct Watched {
    store: Arc<Log>,
    pub(crate) clock: ManualClock,
    pending: Arc<AtomicUsize>,
}

/// One pending lease, until it is dropped.
struct Pending(Arc<AtomicUsize>);

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Watched {
    /// An empty one in memory.
    pub(crate) fn new() -> Self {
        Self::open(Options::new(Location::Memory))
    }

    /// One that is opened as `options` say, but for the clock.
    pub(crate) fn open(mut options: Options) -> Self {
        let clock = ManualClock::at(WallMs(1_800_000_000_000));
        options.clock = Arc::new(clock.clone());
        Self {
            store: Arc::new(Log::open(options).expect("a store")),
            clock,
            pending: Arc::default(),
        }
    }

    /// How many leases are pending.
    pub(crate) fn pending(&self) -> usize {
        self.pending.load(Ordering::SeqCst)
    }

    /// Waits until exactly `many` leases are pending.
    pub(crate) fn wait_for(&self, many: usize) {
        while self.pending() != many {
            std::thread::yield_now();
        }
    }
}

impl Store for Watched {
    fn commit(&self, commits: Vec<Commit>) -> PortFuture<'_, Result<Vec<Result<Committed>>>> {
        self.store.commit(commits)
    }

    fn lease(&self, ask: LeaseAsk) -> PortFuture<'_, Result<Vec<Leased>>> {
        Box::pin(async move {
            self.pending.fetch_add(1, Ordering::SeqCst);
            let _pending = Pending(Arc::clone(&self.pending));
            self.store.lease(ask).await
        })
    }

    fn tail(&self, ask: TailJob) -> PortFuture<'_, Result<JobView>> {
        self.store.tail(ask)
    }

    fn job(&self, id: JobId) -> PortFuture<'_, Result<Option<JobView>>> {
        self.store.job(id)
    }

    fn jobs(
        &self,
        filter: JobFilter,
        cursor: Option<u64>,
        max: u32,
    ) -> PortFuture<'_, Result<JobPage>> {
        self.store.jobs(filter, cursor, max)
    }

    fn queues(&self) -> PortFuture<'_, Result<Vec<QueueView>>> {
        self.store.queues()
    }

    fn health(&self) -> PortFuture<'_, Result<Health>> {
        self.store.health()
    }

    fn close(&self) -> PortFuture<'_, Result<()>> {
        self.store.close()
    }
}
