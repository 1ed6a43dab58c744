//! A running consumer: one fetcher that asks for events, slots that run lines, a settler, a pulse.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::{Duration, Instant};

use posthaste_core::group::GroupView;
use posthaste_core::port::TailGroup;
use posthaste_core::{Command, Commit, Error, ErrorKind, Result, WorkerName};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::ended::Ended;
use super::held::{Membership, Shared};
use super::lines::Lines;
use super::member::{self, Took};
use super::service::EventService;
use super::settler::Settler;
use super::summary::ConsumerSummary;
use super::{pulse, slot};
use crate::units::millis_u32;
use crate::worker::batch::lock;

/// How long what was given back at the end of the grace may take to be settled.
const LAST: Duration = Duration::from_secs(5);
/// How long an ask that would not wait may take, where the store's clock stands still.
const NOW: Duration = Duration::from_secs(1);
/// How long it may take until the store has read the next events for a group that has some.
const FED: Duration = Duration::from_secs(10);

/// What the tasks of a consumer share.
pub(super) struct Engine {
    pub(super) shared: Arc<Shared>,
    pub(super) service: EventService,
    pub(super) lines: Lines,
    pub(super) settler: Settler,
    pub(super) watches: Box<[Watch]>,
    pub(super) member: Mutex<Option<Arc<Membership>>>,
    /// The membership changed, or its end is suspected.
    pub(super) changed: Notify,
    pub(super) name: WorkerName,
    pub(super) lease_ms: u32,
    pub(super) heartbeat: Duration,
    pub(super) timeout_ms: u32,
    pub(super) local: bool,
    pub(super) start: Instant,
    /// The membership is to be looked after at once.
    pub(super) beat_now: Notify,
    /// Something is held.
    pub(super) some: Notify,
}

/// What is known of a slot while it runs an event.
#[derive(Default)]
pub(super) struct Watch {
    /// When it started, on the consumer's clock, in milliseconds, plus one; 0 is not running.
    started_ms: AtomicU64,
    waker: Mutex<Option<Waker>>,
}

/// Stands for a start that was too long ago.
const TIMED_OUT: u64 = u64::MAX;

impl Watch {
    pub(super) fn start(&self, now_ms: u64) {
        self.started_ms.store(now_ms + 1, Ordering::Release);
    }

    pub(super) fn stop(&self) {
        self.started_ms.store(0, Ordering::Release);
    }

    pub(super) fn is_timed_out(&self) -> bool {
        self.started_ms.load(Ordering::Acquire) == TIMED_OUT
    }

    /// Has the slot end what it runs where that takes longer than `timeout_ms`.
    pub(super) fn look(&self, now_ms: u64, timeout_ms: u32) {
        let started = self.started_ms.load(Ordering::Acquire);
        if started == 0 || started == TIMED_OUT {
            return;
        }
        if (now_ms + 1).saturating_sub(started) >= u64::from(timeout_ms) {
            let was = self.started_ms.compare_exchange(
                started,
                TIMED_OUT,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            if was.is_ok() {
                self.wake();
            }
        }
    }

    pub(super) fn wake(&self) {
        std::sync::atomic::fence(Ordering::SeqCst);
        if let Some(waker) = lock(&self.waker).take() {
            waker.wake();
        }
    }

    /// Has `waker` called when something changes. Look again afterwards.
    pub(super) fn wake_with(&self, waker: &Waker) {
        let mut kept = lock(&self.waker);
        match &mut *kept {
            Some(kept) => kept.clone_from(waker),
            None => *kept = Some(waker.clone()),
        }
        drop(kept);
        std::sync::atomic::fence(Ordering::SeqCst);
    }
}

impl Engine {
    /// Milliseconds since the consumer started.
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn membership(&self) -> Option<Arc<Membership>> {
        lock(&self.member).clone()
    }

    /// A membership is over: what it held is forgotten, and its handlers are stopped.
    pub(super) fn lose(&self, membership: &Membership) {
        if !membership.lose() {
            return;
        }
        tracing::warn!(
            topic = %self.shared.topic,
            group = %self.shared.group,
            "the membership was lost; its handlers are stopped"
        );
        let mut member = lock(&self.member);
        if member
            .as_ref()
            .is_some_and(|of| of.token == membership.token)
        {
            *member = None;
        }
        drop(member);
        self.settler.lost(self.lines.forget());
        self.wake_all();
        self.changed.notify_waiters();
        self.changed.notify_one();
    }

    /// Gives a membership up, and all that it holds, to join anew.
    pub(super) async fn quit(&self, membership: &Membership) {
        self.lose(membership);
        leave(self, membership).await;
    }

    /// Something was refused as if the membership were over: ask.
    pub(super) fn doubt(&self) {
        self.beat_now.notify_one();
    }

    fn wake_all(&self) {
        self.watches.iter().for_each(Watch::wake);
        self.shared.tell();
    }

    /// Gives back what still runs.
    fn leave_all(&self) {
        self.shared.leaving.store(true, Ordering::Release);
        self.wake_all();
    }
}

/// A consumer's tasks. Dropped, they stop at once, and what they held comes again when the
/// membership has lapsed.
pub(super) struct Running {
    engine: Arc<Engine>,
    slots: JoinSet<()>,
    background: JoinSet<()>,
    fetcher: JoinSet<Result<()>>,
    stop: watch::Sender<bool>,
}

impl Running {
    /// Starts slots, settler and pulse; no event is asked for yet.
    pub(super) fn start(engine: Engine) -> Self {
        let engine = Arc::new(engine);
        let mut slots = JoinSet::new();
        for number in 0..engine.lines.slots {
            slots.spawn(slot::run(Arc::clone(&engine), number));
        }
        let mut background = JoinSet::new();
        let shared = Arc::clone(&engine);
        background.spawn(async move { shared.settler.run(&shared).await });
        let shared = Arc::clone(&engine);
        background.spawn(async move { pulse::look(&shared).await });
        let shared = Arc::clone(&engine);
        background.spawn(async move { pulse::beat(&shared).await });
        Self {
            engine,
            slots,
            background,
            fetcher: JoinSet::new(),
            stop: watch::Sender::new(false),
        }
    }

    /// Handles events until `until` is over or the store gives up, then shuts down. Tells what it
    /// did, and why the store gave up.
    pub(super) async fn run(
        mut self,
        until: impl Future<Output = ()>,
        grace: Duration,
    ) -> (ConsumerSummary, Option<Error>) {
        let (engine, stop) = (Arc::clone(&self.engine), self.stop.subscribe());
        self.fetcher.spawn(member::fetch(engine, stop));
        let gave_up = tokio::select! {
            () = until => None,
            ended = self.fetcher.join_next() => ended.and_then(fetcher_error),
        };
        (self.shut_down(grace).await, gave_up)
    }

    /// Handles everything that is ready, then shuts down.
    pub(super) async fn drain(self, events_max: u64) -> Result<ConsumerSummary> {
        let before = self.view().await?.totals;
        let mut drained = 0;
        let mut wait = NOW;
        loop {
            let wait_ms = if wait == NOW { 0 } else { millis_u32(wait) };
            let taking = member::take(&self.engine, wait_ms);
            // It waits for events that are to be read first, and the store's clock may stand still.
            let took = match tokio::time::timeout(wait, taking).await {
                Ok(took) => took?,
                Err(_) => Took::Nothing,
            };
            match took {
                Took::Joined => {}
                Took::Events(events) => {
                    wait = NOW;
                    drained += events;
                    self.engine.settler.through().await;
                }
                Took::Nothing if wait == FED || self.is_drained().await? => {
                    self.parked_by_now(before.parked + before.dead).await?;
                    return Ok(self.shut_down(Duration::ZERO).await);
                }
                Took::Nothing => wait = FED,
            }
            if drained > events_max {
                return Err(Error::new(
                    ErrorKind::Busy,
                    format!("{drained} events were handled and there are still more"),
                )
                .next("look for a handler that publishes to the topic that it handles"));
            }
        }
    }

    async fn view(&self) -> Result<GroupView> {
        let shared = &self.engine.shared;
        let ask = TailGroup {
            topic: shared.topic.clone(),
            group: shared.group.clone(),
            passed: None,
            wait_ms: 0,
        };
        shared.hub.store().tail_group(ask).await
    }

    /// Whether the group has nothing that is ready.
    async fn is_drained(&self) -> Result<bool> {
        let view = self.view().await?;
        Ok(view.head == view.end || view.paused.is_some() || view.leased > 0)
    }

    /// Waits until what was given up on lies where people look for it: the store copies it first. `kept`
    /// were kept before.
    async fn parked_by_now(&self, kept: u64) -> Result<()> {
        let did = self.engine.settler.counts.summary();
        let kept = kept + did.parked + did.dead + did.exhausted;
        let until = Instant::now() + FED;
        while Instant::now() < until {
            let view = self.view().await?;
            let rests = view.retrying == 0 && view.leased == 0;
            let done = match rests {
                true => view.unfinished == 0,
                false => view.totals.parked + view.totals.dead >= kept,
            };
            if done || view.paused.is_some() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// Asks for no more, lets what runs finish within the grace, gives the rest back and leaves the
    /// group.
    async fn shut_down(mut self, grace: Duration) -> ConsumerSummary {
        self.stop.send_replace(true);
        while self.fetcher.join_next().await.is_some() {}
        let engine = &self.engine;
        let unstarted = engine.lines.close();
        let unstarted = unstarted.iter().filter_map(|line| Ended::release(line));
        engine.settler.settle(unstarted);
        let through = engine.settler.through();
        if tokio::time::timeout(grace, through).await.is_err() {
            tracing::warn!("the grace is over; what is still handled is given back");
            engine.leave_all();
            let through = engine.settler.through();
            if tokio::time::timeout(LAST, through).await.is_err() {
                tracing::error!("some events could not be settled; they come again");
            }
        }
        if let Some(member) = engine.membership() {
            leave(engine, &member).await;
        }
        // Not waited for: a handler that blocks its thread can't be ended.
        self.slots.abort_all();
        self.background.shutdown().await;
        self.engine.settler.counts.summary()
    }
}

/// Says good-bye: what is still held comes again at once, and counts as nothing.
async fn leave(engine: &Engine, member: &Membership) {
    let shared = &engine.shared;
    let leave = Command::Leave {
        topic: shared.topic.clone(),
        group: shared.group.clone(),
        token: member.token,
    };
    let left = shared.hub.apply(Commit::one(leave));
    match tokio::time::timeout(LAST, left).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::debug!(%error, "the membership lapses by itself"),
        Err(_) => tracing::warn!("the store did not answer; the membership lapses by itself"),
    }
}

fn fetcher_error(ended: Result<Result<()>, tokio::task::JoinError>) -> Option<Error> {
    match ended {
        Ok(result) => result.err(),
        Err(error) => Some(
            Error::new(
                ErrorKind::Closed,
                format!("a task of the consumer ended: {error}"),
            )
            .next("start the consumer again"),
        ),
    }
}
