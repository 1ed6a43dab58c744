//! What a worker and a tail do when their store does not answer, answers late, or takes jobs away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use posthaste::core::port::{LeaseAsk, Leased, PortFuture, TailJob};
use posthaste::core::topic::{TailTopic, TopicRead, TopicView};
use posthaste::core::{Commit, Error, Result};
use posthaste::{
    Command, Committed, Cx, Done, ErrorKind, HandlerError, HandlerResult, Health, JobFilter, JobId,
    JobPage, JobRequest, JobService, JobState, JobView, Outcome, Posthaste, QueueView, State,
    Store, TimeUnits,
};
use tokio::sync::{Notify, Semaphore};
use tower_layer::layer_fn;

use posthaste::event::{ReadFrom, Tailed};

use crate::{Ping, memory, placed, run};

/// A store that fails as told, and is otherwise another.
struct Unruly {
    inner: Arc<dyn Store>,
    /// So many settles are applied and answered with "uncertain".
    uncertain: AtomicU32,
    /// So many asks for work are refused with "unavailable".
    unavailable: AtomicU32,
    /// So many reads of a topic are refused, as busy and as "unavailable" by turns.
    unread: AtomicU32,
    /// Every heartbeat is told that its lease was lost.
    takes_away: AtomicBool,
    /// A permit for each heartbeat that was answered.
    beats: Semaphore,
    /// The disk is full: what would enqueue is refused.
    full: AtomicBool,
    /// A permit for each settle that was refused because the disk is full.
    refusals: Semaphore,
}

async fn unruly() -> (Arc<Unruly>, Posthaste) {
    over(&memory().await)
}

fn over(hub: &Posthaste) -> (Arc<Unruly>, Posthaste) {
    let store = Arc::new(Unruly {
        inner: Arc::clone(hub.store()),
        beats: Semaphore::new(0),
        uncertain: AtomicU32::new(0),
        unavailable: AtomicU32::new(0),
        unread: AtomicU32::new(0),
        takes_away: AtomicBool::new(false),
        full: AtomicBool::new(false),
        refusals: Semaphore::new(0),
    });
    let hub = Posthaste::with_store(Arc::clone(&store) as Arc<dyn Store>).expect("a hub");
    (store, hub)
}

fn one_less(count: &AtomicU32) -> bool {
    let less = |left: u32| left.checked_sub(1);
    count
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
        .is_ok()
}

fn adds_to_a_settle(commit: &Commit) -> bool {
    let mut commands = commit.commands.iter();
    matches!(commands.next(), Some(Command::Settle { .. }))
        && commands.any(|command| matches!(command, Command::Enqueue(_)))
}

impl Unruly {
    async fn refuse_what_adds(&self, commits: Vec<Commit>) -> Result<Vec<Result<Committed>>> {
        let mut answers = Vec::new();
        for commit in commits {
            if adds_to_a_settle(&commit) {
                self.refusals.add_permits(1);
                answers.push(Err(Error::new(ErrorKind::DiskFull, "the disk is full")));
            } else {
                answers.extend(self.inner.commit(vec![commit]).await?);
            }
        }
        Ok(answers)
    }

    async fn refused(&self, times: u32) {
        let permits = self.refusals.acquire_many(times).await;
        permits.expect("not closed").forget();
    }
}

impl Store for Unruly {
    fn commit(&self, commits: Vec<Commit>) -> PortFuture<'_, Result<Vec<Result<Committed>>>> {
        Box::pin(async move {
            let first = commits
                .first()
                .and_then(|commit| commit.commands.first())
                .cloned();
            if matches!(first, Some(Command::Heartbeat { .. }))
                && self.takes_away.load(Ordering::SeqCst)
            {
                let stale = || Err(Error::new(ErrorKind::Stale, "the lease was lost"));
                return Ok(commits.iter().map(|_| stale()).collect());
            }
            if self.full.load(Ordering::SeqCst) && commits.iter().any(adds_to_a_settle) {
                return self.refuse_what_adds(commits).await;
            }
            let answers = self.inner.commit(commits).await?;
            if matches!(first, Some(Command::Heartbeat { .. })) {
                self.beats.add_permits(1);
            }
            if matches!(first, Some(Command::Settle { .. })) && one_less(&self.uncertain) {
                return Err(Error::new(ErrorKind::Uncertain, "the connection broke off"));
            }
            Ok(answers)
        })
    }

    fn lease(&self, ask: LeaseAsk) -> PortFuture<'_, Result<Vec<Leased>>> {
        if one_less(&self.unavailable) {
            let gone = Error::new(ErrorKind::Unavailable, "the server can't be reached");
            return Box::pin(std::future::ready(Err(gone)));
        }
        self.inner.lease(ask)
    }

    fn tail(&self, ask: TailJob) -> PortFuture<'_, Result<JobView>> {
        self.inner.tail(ask)
    }

    fn read(&self, ask: TailTopic) -> PortFuture<'_, Result<TopicRead>> {
        if one_less(&self.unread) {
            let even = self.unread.load(Ordering::SeqCst).is_multiple_of(2);
            let kind = if even {
                ErrorKind::Busy
            } else {
                ErrorKind::Unavailable
            };
            let gone = Error::new(kind, "not now");
            return Box::pin(std::future::ready(Err(gone)));
        }
        self.inner.read(ask)
    }

    fn topics(&self) -> PortFuture<'_, Result<Vec<TopicView>>> {
        self.inner.topics()
    }

    fn lease_events(
        &self,
        ask: posthaste::core::group::EventAsk,
    ) -> PortFuture<'_, Result<posthaste::core::group::LeasedEvents>> {
        self.inner.lease_events(ask)
    }

    fn tail_group(
        &self,
        ask: posthaste::core::port::TailGroup,
    ) -> PortFuture<'_, Result<posthaste::core::group::GroupView>> {
        self.inner.tail_group(ask)
    }

    fn groups(&self) -> PortFuture<'_, Result<Vec<posthaste::core::group::GroupView>>> {
        self.inner.groups()
    }

    fn kept(
        &self,
        ask: posthaste::core::port::KeptAsk,
    ) -> PortFuture<'_, Result<posthaste::core::group::KeptPage>> {
        self.inner.kept(ask)
    }

    fn job(&self, id: JobId) -> PortFuture<'_, Result<Option<JobView>>> {
        self.inner.job(id)
    }

    fn jobs(
        &self,
        filter: JobFilter,
        cursor: Option<u64>,
        max: u32,
    ) -> PortFuture<'_, Result<JobPage>> {
        self.inner.jobs(filter, cursor, max)
    }

    fn queues(&self) -> PortFuture<'_, Result<Vec<QueueView>>> {
        self.inner.queues()
    }

    fn health(&self) -> PortFuture<'_, Result<Health>> {
        self.inner.health()
    }

    fn close(&self) -> PortFuture<'_, Result<()>> {
        self.inner.close()
    }
}

#[test]
fn an_uncertain_settle_is_repeated_and_counts_once() {
    run(async {
        let (store, hub) = unruly().await;
        store.uncertain.store(2, Ordering::SeqCst);
        let job = hub.enqueue(Ping { n: 1 }).await.expect("enqueued");
        let worker = hub.worker().on(|_: Ping| async { Done });
        let summary = worker.drain().await.expect("drains");
        assert_eq!((summary.completed, summary.lost), (1, 0));
        assert_eq!(store.uncertain.load(Ordering::SeqCst), 0);
        assert_eq!(
            job.wait().await.expect("its end").state,
            JobState::Completed
        );
        assert_eq!(hub.queues().await.expect("queues")[0].totals.completed, 1);
    });
}

/// The first Ping enqueues another in the commit that settles it.
async fn follow_up(job: Ping, cx: Cx) -> HandlerResult {
    if job.n == 1 {
        cx.commit_with(Ping { n: 2 })?;
    }
    Done
}

#[test]
fn an_uncertain_settle_that_is_repeated_enqueues_its_follow_up_once() {
    run(async {
        let (store, hub) = unruly().await;
        store.uncertain.store(2, Ordering::SeqCst);
        hub.enqueue(Ping { n: 1 }).await.expect("enqueued");
        let summary = hub.worker().on(follow_up).drain().await.expect("drains");
        assert_eq!((summary.completed, summary.lost), (2, 0));
        assert_eq!(hub.queues().await.expect("queues")[0].totals.enqueued, 2);
    });
}

#[test]
fn an_outcome_that_finds_the_disk_full_is_kept_and_holds_up_no_other() {
    run(async {
        let (store, hub) = unruly().await;
        store.full.store(true, Ordering::SeqCst);
        let first = hub.enqueue(Ping { n: 1 }).await.expect("enqueued");
        let began = Instant::now();
        let worker = hub.worker().on(follow_up).start().await.expect("starts");
        store.refused(2).await;
        let other = hub.enqueue(Ping { n: 3 }).await.expect("enqueued");
        let other = other.wait().await.expect("settled beside it");
        assert_eq!(other.state, JobState::Completed);
        store.refused(1).await;
        // It pauses 20 ms at least between one try and the next.
        let tries = 3 + store.refusals.available_permits() as u128;
        assert!(
            tries <= 1 + began.elapsed().as_millis() / 20,
            "{tries} tries"
        );
        store.full.store(false, Ordering::SeqCst);
        let first = first.wait().await.expect("settled in the end");
        assert_eq!((first.state, first.attempt), (JobState::Completed, 1));
        worker.stop().await.expect("stops");
        assert_eq!(hub.queues().await.expect("queues")[0].totals.enqueued, 3);
    });
}

#[test]
fn a_worker_that_leaves_gives_back_what_finds_the_disk_full() {
    run(async {
        let (store, hub) = unruly().await;
        store.full.store(true, Ordering::SeqCst);
        let job = hub.enqueue(Ping { n: 1 }).await.expect("enqueued");
        let worker = hub.worker().on(follow_up).grace(Duration::ZERO);
        let worker = worker.start().await.expect("starts");
        store.refused(1).await;
        let summary = worker.stop().await.expect("stops");
        assert_eq!((summary.released, summary.lost), (1, 0));
        let job = hub.job(job.id).await.expect("an answer").expect("the job");
        assert_eq!((job.state, job.attempt), (JobState::Available, 0));
    });
}

#[test]
fn a_store_that_cannot_be_reached_is_waited_for() {
    run(async {
        let (store, hub) = unruly().await;
        store.unavailable.store(2, Ordering::SeqCst);
        let job = hub.enqueue(Ping { n: 1 }).await.expect("enqueued");
        let worker = hub.worker().on(|_: Ping| async { Done });
        let done = async { drop(job.wait().await) };
        assert_eq!(worker.run_until(done).await.expect("works").completed, 1);
        assert_eq!(store.unavailable.load(Ordering::SeqCst), 0);
    });
}

/// Tells when it is dropped.
struct Dropped(Arc<Notify>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[test]
fn a_handler_whose_lease_was_lost_is_stopped_and_settles_nothing() {
    run(async {
        let (store, hub) = unruly().await;
        store.takes_away.store(true, Ordering::SeqCst);
        let job = hub.enqueue(Ping { n: 1 }).await.expect("enqueued");
        let stopped = Arc::new(Notify::new());
        let worker = hub
            .worker()
            .heartbeat(Duration::from_millis(30))
            .state(Arc::clone(&stopped))
            .on(|_: Ping, State(stopped): State<Arc<Notify>>| async move {
                let _told = Dropped(stopped);
                std::future::pending::<()>().await;
            });
        let summary = worker.run_until(stopped.notified()).await.expect("works");
        assert_eq!((summary.lost, summary.attempts()), (1, 1));
        let view = hub.job(job.id).await.expect("an answer").expect("the job");
        assert_eq!(view.state, JobState::Running);
    });
}

#[test]
fn a_worker_ends_with_its_store() {
    run(async {
        let hub = memory().await;
        hub.enqueue(Ping { n: 1 }).await.expect("enqueued");
        let closer = hub.clone();
        let worker = hub.worker().on(move |_: Ping| {
            let hub = closer.clone();
            async move { drop(hub.close().await) }
        });
        let summary = worker.run().await.expect("closed is an end");
        assert_eq!(summary.attempts(), 1);

        let hub = memory().await;
        hub.close().await.expect("closes");
        let worker = hub.worker().on(|_: Ping| async { Done });
        let error = worker
            .run_until(std::future::pending())
            .await
            .expect_err("it is closed");
        assert_eq!(error.kind(), ErrorKind::Closed);
    });
}

/// A layer that lets nothing through, or looks at what comes out.
#[derive(Clone)]
struct Gate {
    inner: JobService,
    /// What it says to every job; none where it is open.
    closed: Option<fn() -> posthaste::BoxError>,
    retries: Arc<AtomicU32>,
}

impl tower_service::Service<JobRequest> for Gate {
    type Response = Outcome;
    type Error = posthaste::BoxError;
    type Future = posthaste::BoxFuture<std::result::Result<Outcome, Self::Error>>;

    fn poll_ready(
        &mut self,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::result::Result<(), Self::Error>> {
        match self.closed {
            None => self.inner.poll_ready(context),
            Some(says) => std::task::Poll::Ready(Err(says())),
        }
    }

    fn call(&mut self, request: JobRequest) -> Self::Future {
        let called = tower_service::Service::call(&mut self.inner, request);
        let retries = Arc::clone(&self.retries);
        Box::pin(async move {
            let outcome = called.await?;
            if matches!(outcome, Outcome::Retry { .. }) {
                retries.fetch_add(1, Ordering::SeqCst);
            }
            Ok(outcome)
        })
    }
}

#[test]
fn a_layer_may_refuse_a_job_and_sees_how_one_ended() {
    run(async {
        let says: fn() -> posthaste::BoxError = || "the gate is closed".into();
        for (closed, error) in [(Some(says), "the gate is closed"), (None, "down")] {
            let hub = Posthaste::test().await.expect("a hub");
            let job = hub.enqueue(Ping { n: 1 }).await.expect("enqueued");
            let retries = Arc::new(AtomicU32::new(0));
            let seen = Arc::clone(&retries);
            let gate = layer_fn(move |inner| Gate {
                inner,
                closed,
                retries: Arc::clone(&seen),
            });
            let worker = hub
                .worker()
                .layer(gate)
                .on(|_: Ping| async { Err::<(), HandlerError>("down".into()) });
            assert_eq!(worker.drain().await.expect("drains").retried, 1);
            let view = hub.job(job.id).await.expect("an answer").expect("the job");
            assert_eq!(view.error.as_deref(), Some(error));
            assert_eq!(retries.load(Ordering::SeqCst), u32::from(closed.is_none()));
        }
    });
}

#[test]
fn a_layer_may_say_what_its_error_means() {
    run(async {
        let hub = Posthaste::test().await.expect("a hub");
        let job = hub.enqueue(Ping { n: 1 }).await.expect("enqueued");
        let strict = layer_fn(|inner| Gate {
            inner,
            closed: Some(|| HandlerError::new("banned").dead().into_error()),
            retries: Arc::default(),
        });
        let worker = hub.worker().layer(strict).on(|_: Ping| async { Done });
        assert_eq!(worker.drain().await.expect("drains").dead, 1);
        let view = hub.job(job.id).await.expect("an answer").expect("the job");
        assert_eq!(view.error.as_deref(), Some("banned"));
    });
}

#[test]
fn a_payload_that_a_layered_handler_cannot_read_is_still_left_to_others() {
    run(async {
        let hub = Posthaste::test().await.expect("a hub");
        let payload = posthaste::Payload::json(&b"\"no\""[..]);
        hub.enqueue_raw("ping", "default", payload)
            .await
            .expect("enqueued");
        let gate = layer_fn(|inner| Gate {
            inner,
            closed: None,
            retries: Arc::default(),
        });
        let worker = hub.worker().layer(gate).on(|_: Ping| async { Done });
        assert_eq!(worker.drain().await.expect("drains").released, 1);
    });
}

#[test]
fn a_long_job_keeps_its_lease_and_shows_its_progress() {
    run(async {
        let test = Posthaste::test().await.expect("a hub");
        let (store, hub) = over(&test);
        let go = Arc::new(Notify::new());
        let worker = hub
            .worker()
            .heartbeat(Duration::from_millis(20))
            .state(Arc::clone(&go))
            .on(
                |_: Ping, cx: Cx, State(go): State<Arc<Notify>>| async move {
                    cx.progress(&7)?;
                    go.notified().await;
                    Done
                },
            );
        let worker = worker.start().await.expect("starts");
        let job = hub.enqueue(Ping { n: 1 }).await.expect("enqueued");
        for _ in 0..5 {
            // The second heartbeat from here began after the clock was moved.
            store.beats.forget_permits(usize::MAX);
            store
                .beats
                .acquire_many(2)
                .await
                .expect("heartbeats")
                .forget();
            test.advance(20.secs());
        }
        let view = hub.job(job.id).await.expect("an answer").expect("the job");
        assert_eq!(
            view.progress.map(|progress| progress.bytes),
            Some("7".into())
        );
        go.notify_one();
        let view = job.wait().await.expect("its end");
        assert_eq!((view.state, view.crashes), (JobState::Completed, 0));
        assert_eq!(worker.stop().await.expect("stops").lost, 0);
    });
}

#[test]
fn a_tail_asks_again_until_the_store_answers() {
    run(async {
        let (store, hub) = unruly().await;
        hub.publish(placed(1)).await.expect("published");
        let mut tail = hub.topic("orders").tail().from(ReadFrom::Earliest);
        store.unread.store(3, Ordering::SeqCst);
        match tail.next().await.expect("an event") {
            Tailed::Event(event) => assert_eq!(event.key.as_deref(), Some("1")),
            Tailed::Gap(gap) => panic!("{gap:?}"),
        }
        assert_eq!(store.unread.load(Ordering::SeqCst), 0);
        hub.close().await.expect("closed");
        let error = tail.next().await.expect_err("closed");
        assert_eq!(error.kind(), ErrorKind::Closed, "no waiting mends that");
    });
}
