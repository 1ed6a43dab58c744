//! A store that can be asked how many ask it for work, or for events.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use posthaste_core::command::Committed;
use posthaste_core::port::{LeaseAsk, Leased, PortFuture, TailJob};
use posthaste_core::topic::{Gap, GapReason, ReadFrom, TailTopic, TopicRead, TopicView};
use posthaste_core::view::{Health, JobFilter, JobPage, JobView, QueueView};
use posthaste_core::{Commit, JobId, Result, Store, WallMs};
use posthaste_log::{Location, Log, ManualClock, Options};

/// A store in memory on a clock that stands still, and how many leases and reads of it are pending.
#[derive(Clone)]
pub(crate) struct Watched {
    store: Arc<Log>,
    pub(crate) clock: ManualClock,
    pending: Arc<AtomicUsize>,
    reads: Arc<AtomicUsize>,
    forgotten: Arc<AtomicU64>,
    stuck: Arc<AtomicBool>,
    tails: Arc<AtomicUsize>,
}

/// One pending lease or read, until it is dropped.
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
            reads: Arc::default(),
            forgotten: Arc::default(),
            stuck: Arc::default(),
            tails: Arc::default(),
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

impl Watched {
    /// Waits until exactly `many` reads of topics are pending that may wait.
    pub(crate) fn wait_for_reads(&self, many: usize) {
        while self.reads.load(Ordering::SeqCst) != many {
            std::thread::yield_now();
        }
    }
}

impl Watched {
    /// Waits until exactly `many` looks at jobs are pending that may wait.
    pub(crate) fn wait_for_tails(&self, many: usize) {
        while self.tails.load(Ordering::SeqCst) != many {
            std::thread::yield_now();
        }
    }

    /// From now on no commit comes to an end, and none to the store.
    pub(crate) fn get_stuck(&self) {
        self.stuck.store(true, Ordering::SeqCst);
    }

    /// From now on reads at places before that one find a gap, as if retention had been there.
    pub(crate) fn forget_before(&self, sequence: u64) {
        self.forgotten.store(sequence, Ordering::SeqCst);
    }

    async fn gap(&self, ask: &TailTopic) -> Result<Option<TopicRead>> {
        let forgotten = self.forgotten.load(Ordering::SeqCst);
        let ReadFrom::Position(position) = ask.from else {
            return Ok(None);
        };
        let topics = self.store.topics().await?;
        let topic = topics.iter().find(|topic| topic.name == ask.topic);
        let gap = topic
            .filter(|_| position.sequence < forgotten)
            .map(|topic| Gap {
                reason: GapReason::Retention,
                earliest: position.at(forgotten),
                end: topic.end,
            });
        Ok(gap.map(TopicRead::Gap))
    }
}

impl Store for Watched {
    fn commit(&self, commits: Vec<Commit>) -> PortFuture<'_, Result<Vec<Result<Committed>>>> {
        Box::pin(async move {
            if self.stuck.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            self.store.commit(commits).await
        })
    }

    fn lease(&self, ask: LeaseAsk) -> PortFuture<'_, Result<Vec<Leased>>> {
        Box::pin(async move {
            self.pending.fetch_add(1, Ordering::SeqCst);
            let _pending = Pending(Arc::clone(&self.pending));
            self.store.lease(ask).await
        })
    }

    fn tail(&self, ask: TailJob) -> PortFuture<'_, Result<JobView>> {
        Box::pin(async move {
            self.tails.fetch_add(1, Ordering::SeqCst);
            let _pending = Pending(Arc::clone(&self.tails));
            self.store.tail(ask).await
        })
    }

    fn read(&self, ask: TailTopic) -> PortFuture<'_, Result<TopicRead>> {
        Box::pin(async move {
            let waits = ask.wait_ms > 0;
            let _pending = waits.then(|| {
                self.reads.fetch_add(1, Ordering::SeqCst);
                Pending(Arc::clone(&self.reads))
            });
            match self.gap(&ask).await? {
                Some(gap) => Ok(gap),
                None => self.store.read(ask).await,
            }
        })
    }

    fn topics(&self) -> PortFuture<'_, Result<Vec<TopicView>>> {
        self.store.topics()
    }

    fn lease_events(
        &self,
        ask: posthaste_core::group::EventAsk,
    ) -> PortFuture<'_, Result<posthaste_core::group::LeasedEvents>> {
        self.store.lease_events(ask)
    }

    fn tail_group(
        &self,
        ask: posthaste_core::port::TailGroup,
    ) -> PortFuture<'_, Result<posthaste_core::group::GroupView>> {
        self.store.tail_group(ask)
    }

    fn groups(&self) -> PortFuture<'_, Result<Vec<posthaste_core::group::GroupView>>> {
        self.store.groups()
    }

    fn kept(
        &self,
        ask: posthaste_core::port::KeptAsk,
    ) -> PortFuture<'_, Result<posthaste_core::group::KeptPage>> {
        self.store.kept(ask)
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
