//! A store that can be asked how many ask it for work.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use posthaste_core::command::Committed;
use posthaste_core::port::{LeaseAsk, Leased, PortFuture, TailJob};
use posthaste_core::view::{Health, JobFilter, JobPage, JobView, QueueView};
use posthaste_core::{Commit, JobId, Result, Store};
use posthaste_testkit::model::ModelStore;

/// A model of a store, and how many leases of it are pending.
#[derive(Clone)]
pub(crate) struct Watched {
    pub(crate) model: ModelStore,
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
    pub(crate) fn new(model: ModelStore) -> Self {
        Self {
            model,
            pending: Arc::default(),
        }
    }

    /// Waits until exactly `many` leases are pending.
    pub(crate) fn wait_for(&self, many: usize) {
        while self.pending.load(Ordering::SeqCst) != many {
            std::thread::yield_now();
        }
    }
}

impl Store for Watched {
    fn commit(&self, commits: Vec<Commit>) -> PortFuture<'_, Result<Vec<Result<Committed>>>> {
        self.model.commit(commits)
    }

    fn lease(&self, ask: LeaseAsk) -> PortFuture<'_, Result<Vec<Leased>>> {
        Box::pin(async move {
            self.pending.fetch_add(1, Ordering::SeqCst);
            let _pending = Pending(Arc::clone(&self.pending));
            self.model.lease(ask).await
        })
    }

    fn tail(&self, ask: TailJob) -> PortFuture<'_, Result<JobView>> {
        self.model.tail(ask)
    }

    fn job(&self, id: JobId) -> PortFuture<'_, Result<Option<JobView>>> {
        self.model.job(id)
    }

    fn jobs(
        &self,
        filter: JobFilter,
        cursor: Option<u64>,
        max: u32,
    ) -> PortFuture<'_, Result<JobPage>> {
        self.model.jobs(filter, cursor, max)
    }

    fn queues(&self) -> PortFuture<'_, Result<Vec<QueueView>>> {
        self.model.queues()
    }

    fn health(&self) -> PortFuture<'_, Result<Health>> {
        self.model.health()
    }

    fn close(&self) -> PortFuture<'_, Result<()>> {
        self.model.close()
    }
}
