//! A running worker: fetchers that lease, slots that run, a settler, a pulse.

use std::sync::Arc;
use std::time::Duration;

use posthaste_core::port::LeaseAsk;
use posthaste_core::{Error, ErrorKind, KindName, Result, WorkerName, limits};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::batch::Batch;
use super::kinds::{Kinds, Plan};
use super::lane::{Item, Lane};
use super::pulse::Pulse;
use super::service::JobService;
use super::settler::Settler;
use super::{slot, summary::Summary};
use crate::hub::Posthaste;

/// Pause after a question for work that failed: doubled each time, to the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// How long one question for work waits for an answer.
const WAIT_MS: u32 = 30_000;

/// What the tasks of a worker share.
pub(super) struct Engine {
    pub(super) hub: Posthaste,
    pub(super) service: JobService,
    pub(super) lanes: Vec<Arc<Lane>>,
    pub(super) settler: Settler,
    pub(super) pulse: Pulse,
    pub(super) kinds: Kinds,
    pub(super) name: WorkerName,
    pub(super) lease_ms: u32,
    pub(super) local: bool,
}

/// A worker's tasks. Dropped, they stop at once, and what they held lapses.
pub(super) struct Running {
    engine: Arc<Engine>,
    slots: JoinSet<()>,
    background: JoinSet<()>,
    fetchers: JoinSet<Result<()>>,
    stop: watch::Sender<bool>,
}

impl Running {
    /// Starts slots, settler and pulse; no job is leased yet.
    pub(super) fn start(engine: Engine) -> Self {
        let engine = Arc::new(engine);
        let mut slots = JoinSet::new();
        for lane in &engine.lanes {
            for slot in 0..lane.slots {
                slots.spawn(slot::run(Arc::clone(&engine), Arc::clone(lane), slot));
            }
        }
        let mut background = JoinSet::new();
        let shared = Arc::clone(&engine);
        background.spawn(async move { shared.settler.run(&shared.hub).await });
        let shared = Arc::clone(&engine);
        background.spawn(async move { shared.pulse.run(&shared).await });
        Self {
            engine,
            slots,
            background,
            fetchers: JoinSet::new(),
            stop: watch::Sender::new(false),
        }
    }

    /// Leases and runs until `until` is over or the store gives up, then shuts down. Tells what it
    /// did, and why the store gave up.
    pub(super) async fn run(
        mut self,
        until: impl Future<Output = ()>,
        grace: Duration,
    ) -> (Summary, Option<Error>) {
        for lane in &self.engine.lanes {
            let (engine, lane) = (Arc::clone(&self.engine), Arc::clone(lane));
            self.fetchers
                .spawn(fetch(engine, lane, self.stop.subscribe()));
        }
        let gave_up = tokio::select! {
            () = until => None,
            ended = self.fetchers.join_next() => ended.and_then(fetcher_error),
        };
        (self.shut_down(grace).await, gave_up)
    }

    /// Leases and runs until nothing is ready, then shuts down.
    pub(super) async fn drain(self, jobs_max: u64) -> Result<Summary> {
        let mut drained = 0;
        loop {
            let before = drained;
            for lane in &self.engine.lanes {
                drained += self.drain_lane(lane).await?;
            }
            if drained == before {
                return Ok(self.shut_down(Duration::ZERO).await);
            }
            if drained > jobs_max {
                return Err(Error::new(
                    ErrorKind::Busy,
                    format!("{drained} jobs were run and there are still more"),
                )
                .next("look for a job that enqueues itself again without a delay"));
            }
        }
    }

    async fn drain_lane(&self, lane: &Lane) -> Result<u64> {
        let max = u32::try_from(lane.slots).unwrap_or(u32::MAX);
        let mut drained = 0;
        loop {
            let plan = self.engine.kinds.plan(max);
            let taken = self.engine.take(lane, plan, max, 0).await?;
            self.engine.settler.through().await;
            if taken == 0 {
                return Ok(drained);
            }
            drained += taken;
        }
    }

    /// Stops leasing, lets what runs finish within the grace, and gives the rest back.
    async fn shut_down(mut self, grace: Duration) -> Summary {
        self.stop.send_replace(true);
        while self.fetchers.join_next().await.is_some() {}
        for lane in &self.engine.lanes {
            for item in lane.close() {
                self.engine.settler.release(item.held);
            }
        }
        let through = self.engine.settler.through();
        if tokio::time::timeout(grace, through).await.is_err() {
            tracing::warn!("the grace is over; what still runs is given back");
            self.engine.pulse.leave();
            let last = Duration::from_secs(5);
            if tokio::time::timeout(last, self.engine.settler.through())
                .await
                .is_err()
            {
                tracing::error!("some jobs could not be given back; their leases will lapse");
            }
        }
        // Not waited for: a handler that blocks its thread can't be ended.
        self.slots.abort_all();
        self.background.shutdown().await;
        let kinds = &self.engine.kinds;
        Summary {
            refused: kinds.refused_count(),
            over_budget: kinds.over_budget_count(),
            ..self.engine.settler.counts.summary()
        }
    }
}

fn fetcher_error(ended: Result<Result<()>, tokio::task::JoinError>) -> Option<Error> {
    match ended {
        Ok(result) => result.err(),
        Err(error) => Some(
            Error::new(
                ErrorKind::Closed,
                format!("a task of the worker ended: {error}"),
            )
            .next("start the worker again"),
        ),
    }
}

impl Engine {
    /// Leases as planned for `lane`, and puts the jobs before its slots.
    async fn take(&self, lane: &Lane, plan: Plan, wanted: u32, wait_ms: u32) -> Result<u64> {
        let Plan {
            kinds,
            max,
            narrowed,
            ..
        } = plan;
        if max == 0 {
            return Ok(0);
        }
        let taken = self.lease(lane, kinds, max, wait_ms).await?;
        if !narrowed || taken < u64::from(max) || max >= wanted {
            return Ok(taken);
        }
        // The limit of one kind is not to hold up the others.
        let unlimited = self.kinds.unlimited();
        if unlimited.is_empty() {
            return Ok(taken);
        }
        let more = self.lease(lane, unlimited, wanted - max, 0).await?;
        Ok(taken + more)
    }

    /// Leases up to `max` jobs of `kinds` for `lane` and puts them before its slots.
    async fn lease(
        &self,
        lane: &Lane,
        kinds: Vec<KindName>,
        max: u32,
        wait_ms: u32,
    ) -> Result<u64> {
        let ask = LeaseAsk {
            queues: lane.queues.clone(),
            strict: lane.strict,
            kinds,
            max: max.min(limits::LEASE_JOBS_MAX),
            lease_ms: self.lease_ms,
            wait_ms,
            worker: self.name.clone(),
            local: self.local,
        };
        let leased = self.hub.store().lease(ask).await?;
        let count = leased.len();
        if count > 0 {
            self.settler.leased(count);
            let (batch, payloads) = Batch::new(&self.hub, leased, self.pulse.now_ms());
            self.pulse.hold(Arc::clone(&batch));
            lane.put(batch.held().zip(payloads).map(|(held, payload)| {
                let claim = self.kinds.claim(&held.job().kind);
                Item {
                    held,
                    payload,
                    claim,
                }
            }));
        }
        Ok(count as u64)
    }
}

impl Engine {
    /// Leases as planned, waiting for the first job; waits for ever where there is nothing to ask for.
    async fn take_or_wait(&self, lane: &Lane, plan: Plan, wanted: u32) -> Result<u64> {
        if plan.max == 0 {
            std::future::pending::<()>().await;
        }
        self.take(lane, plan, wanted, WAIT_MS).await
    }
}

/// Leases for one lane until told to stop, or until the store gives up.
async fn fetch(
    engine: Arc<Engine>,
    lane: Arc<Lane>,
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    let (mut pause, longest) = PAUSES;
    loop {
        let wanted = lane.wanted();
        let taking = async {
            if wanted == 0 {
                lane.room.notified().await;
                return Ok(0);
            }
            let plan = engine.kinds.plan(wanted);
            let asked = plan.kinds.clone();
            tokio::select! {
                taken = engine.take_or_wait(&lane, plan, wanted) => taken,
                // What was being asked for is asked for otherwise. Jobs on their way go back.
                () = engine.kinds.differ(&asked) => Ok(0),
            }
        };
        let taken = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
            taken = taking => taken,
        };
        match taken {
            Ok(_) => pause = PAUSES.0,
            Err(error) if error.is_retryable() && error.kind() != ErrorKind::Closed => {
                tracing::warn!(%error, "asking for work again in a moment");
                tokio::select! {
                    _ = stop.wait_for(|stop| *stop) => return Ok(()),
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(longest);
            }
            Err(error) => return Err(error),
        }
    }
}
