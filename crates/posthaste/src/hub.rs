//! The hub: a store, and everything that can be asked of it.

use std::fmt;
use std::sync::Arc;

use posthaste_core::command::{Edit, QueueSettings};
use posthaste_core::view::{Health, JobFilter, JobPage, JobView, QueueView};
use posthaste_core::{
    Command, Commit, Committed, Error, ErrorKind, JobId, JobState, QueueName, Reply, Result, Store,
    WallMs,
};
use posthaste_log::{Clock, SystemClock};

use crate::ids::Mint;

/// A store of jobs, and everything that can be asked of it: enqueue, work, look, operate.
///
/// Cheap to clone; clones are the same hub. Dropping the last one does not wait: call
/// [`close`](Self::close) to leave nothing to recover.
#[derive(Clone)]
pub struct Posthaste {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    mint: Mint,
}

impl Posthaste {
    /// A hub over a store that is open already: one of your own, or one shared with a server.
    ///
    /// # Errors
    /// `Io` where the system has no entropy for ids.
    pub fn with_store(store: Arc<dyn Store>) -> Result<Self> {
        Self::with_clock(store, Arc::new(SystemClock::new()))
    }

    /// As [`with_store`](Self::with_store), minting ids by the time of `clock`.
    ///
    /// # Errors
    /// `Io` where the system has no entropy for ids.
    pub fn with_clock(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Result<Self> {
        let mint = Mint::new(clock)?;
        Ok(Self {
            inner: Arc::new(Inner { store, mint }),
        })
    }

    /// The store beneath.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.inner.store
    }

    /// A new id, for a job that is to be named before it is enqueued.
    #[must_use]
    pub fn mint_id(&self) -> JobId {
        self.inner.mint.id()
    }

    /// What time it is where ids are minted.
    pub(crate) fn now(&self) -> WallMs {
        self.inner.mint.now()
    }

    /// Applies one commit and gives its replies.
    pub(crate) async fn apply(&self, commit: Commit) -> Result<Vec<Reply>> {
        Ok(self.apply_whole(commit).await?.replies)
    }

    pub(crate) async fn apply_whole(&self, commit: Commit) -> Result<Committed> {
        let mut answers = self.store().commit(vec![commit]).await?;
        answers.pop().unwrap_or_else(|| {
            Err(
                Error::new(ErrorKind::Uncertain, "the store gave no answer to a commit")
                    .next("ask for the job before trying again"),
            )
        })
    }

    async fn change(&self, command: Command) -> Result<JobState> {
        match self.apply(Commit::one(command)).await?.first() {
            Some(Reply::Changed { state }) => Ok(*state),
            _ => Err(
                Error::new(ErrorKind::Uncertain, "the store gave no answer to a change")
                    .next("look at the job before trying again"),
            ),
        }
    }

    /// Calls a job off, and tells its state: `Cancelled`, or still `Running` where its worker is
    /// to be told at its next heartbeat.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` where it has come to an end; what the store adds.
    pub async fn cancel(&self, id: JobId) -> Result<JobState> {
        self.change(Command::Cancel(id)).await
    }

    /// Runs a waiting job now; brings a dead or cancelled one back with all its attempts, and
    /// without its deadline where that has passed.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` where it is running or completed; what the store adds.
    pub async fn retry(&self, id: JobId) -> Result<JobState> {
        self.change(Command::Retry(id)).await
    }

    /// Changes a waiting or dead job.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` where it is running, completed or cancelled; what the store adds.
    pub async fn edit(&self, id: JobId, edit: Edit) -> Result<JobState> {
        self.change(Command::Edit { id, edit }).await
    }

    /// Forgets a job that isn't running.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` where it is running; what the store adds.
    pub async fn delete(&self, id: JobId) -> Result<()> {
        self.apply(Commit::one(Command::Delete(id))).await.map(drop)
    }

    /// Sets what is given of a queue's settings; creates the queue where there is none.
    ///
    /// # Errors
    /// `Invalid` for a name that can't be one; what the store adds.
    pub async fn configure(&self, queue: &str, settings: QueueSettings) -> Result<()> {
        let queue = QueueName::new(queue)?;
        self.apply(Commit::one(Command::Configure { queue, settings }))
            .await
            .map(drop)
    }

    /// Has a queue hand out nothing until it is resumed. What runs goes on.
    ///
    /// # Errors
    /// As [`configure`](Self::configure).
    pub async fn pause(&self, queue: &str) -> Result<()> {
        self.set_paused(queue, true).await
    }

    /// Has a paused queue go on.
    ///
    /// # Errors
    /// As [`configure`](Self::configure).
    pub async fn resume(&self, queue: &str) -> Result<()> {
        self.set_paused(queue, false).await
    }

    async fn set_paused(&self, queue: &str, paused: bool) -> Result<()> {
        let settings = QueueSettings {
            paused: Some(paused),
            ..QueueSettings::default()
        };
        self.configure(queue, settings).await
    }

    /// One job. `None` where there is none, or no longer.
    ///
    /// # Errors
    /// What the store says: `Corrupt`, `Closed`, `Unavailable`.
    pub async fn job(&self, id: JobId) -> Result<Option<JobView>> {
        self.store().job(id).await
    }

    /// One page of jobs, going on from `cursor`, at most `max` (1000). It may be short, or even
    /// empty, and still have a `next`.
    ///
    /// # Errors
    /// What the store says: `Closed`, `Unavailable`.
    pub async fn jobs(&self, filter: JobFilter, cursor: Option<u64>, max: u32) -> Result<JobPage> {
        self.store().jobs(filter, cursor, max).await
    }

    /// Every queue, by name, with what it holds and what happened in it.
    ///
    /// # Errors
    /// What the store says: `Closed`, `Unavailable`.
    pub async fn queues(&self) -> Result<Vec<QueueView>> {
        self.store().queues().await
    }

    /// How the store is: what an acknowledgement means, whether it accepts work, what is wrong.
    ///
    /// # Errors
    /// What the store says: `Closed`, `Unavailable`.
    pub async fn health(&self) -> Result<Health> {
        self.store().health().await
    }

    /// Makes everything acknowledged durable, refuses what comes later, and lets go of the store.
    /// Done twice, it does nothing more.
    ///
    /// # Errors
    /// `Uncertain` where the last sync failed.
    pub async fn close(&self) -> Result<()> {
        self.store().close().await
    }
}

impl fmt::Debug for Posthaste {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Posthaste").finish_non_exhaustive()
    }
}
