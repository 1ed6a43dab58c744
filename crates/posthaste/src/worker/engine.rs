//! A running worker: fetchers that lease, slots that run, a settler, a pulse.

use std::sync::Arc;
use std::time::Duration;

use posthaste_core::port::LeaseAsk;
use posthaste_core::{Error, ErrorKind, KindName, Result, WorkerName, limits};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

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
/// How long a question over a connection stands at least, before it is called off because other kinds may be
/// asked for: to call it off closes the connection. So a limited kind that is busy closes at most fifty a
/// second, and the others get their answer in between. What stands longer is called off at once: a job that
/// takes longer than this has its place taken again without a delay.
///
/// Kinds that are taken away are treated like those that come: what is claimed of them meanwhile is refused
/// at its start and given back, but for as long as a minute, while another worker may have a place for it.
/// So the question is not left to stand for all its time.
const STANDS: Duration = Duration::from_millis(20);

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
            let taken = self.engine.take(lane, plan, max).await?;
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
    /// Leases as planned for `lane` what is ready, and puts the jobs before its slots.
    async fn take(&self, lane: &Lane, plan: Plan, wanted: u32) -> Result<u64> {
        if plan.max == 0 {
            return Ok(0);
        }
        let taken = self.lease(lane, plan.kinds.clone(), plan.max, 0).await?;
        Ok(taken + self.take_others(lane, &plan, wanted, taken).await?)
    }

    /// Leases for `lane`, waiting for the first job. Nothing, where other kinds may be asked for meanwhile;
    /// jobs on their way go back.
    async fn take_or_wait(&self, lane: &Lane, wanted: u32) -> Result<u64> {
        let plan = self.kinds.plan(wanted);
        let asked = &plan.kinds;
        if plan.max == 0 {
            // No question stands that could be called off.
            self.kinds.differ(asked, Instant::now()).await;
            return Ok(0);
        }
        // A question within this process costs nothing to call off.
        let stands = if self.local { Duration::ZERO } else { STANDS };
        let earliest = Instant::now() + stands;
        let taken = tokio::select! {
            taken = self.lease(lane, asked.clone(), plan.max, WAIT_MS) => taken?,
            () = self.kinds.differ(asked, earliest) => return Ok(0),
        };
        // Not called off: it is answered at once, and the jobs just taken have changed what to ask for.
        Ok(taken + self.take_others(lane, &plan, wanted, taken).await?)
    }

    /// Leases what is ready of the kinds without a policy, where those with one let through as many as were
    /// `taken` and fewer than were wanted: the limit of one kind is not to hold up the others.
    async fn take_others(&self, lane: &Lane, plan: &Plan, wanted: u32, taken: u64) -> Result<u64> {
        if !plan.narrowed || taken < u64::from(plan.max) || plan.max >= wanted {
            return Ok(0);
        }
        let unlimited = self.kinds.unlimited();
        if unlimited.is_empty() {
            return Ok(0);
        }
        self.lease(lane, unlimited, wanted - plan.max, 0).await
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
            engine.take_or_wait(&lane, wanted).await
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
