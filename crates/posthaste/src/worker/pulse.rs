//! The pulse of a worker: one task that heartbeats what is held and ends attempts that take too
//! long. No job has a timer of its own.
//!
//! It looks every 25 ms while anything is held. An attempt's time counts from the first look that
//! saw it running, so that a timeout is up to 25 ms late and never early.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use posthaste_core::{Command, Commit, ErrorKind, Reply};
use tokio::sync::Notify;

use super::batch::{Batch, Flag, Held, Phase, lock};
use super::engine::Engine;
use crate::hub::Posthaste;

const LOOK_EVERY: Duration = Duration::from_millis(25);
/// A job that waited this long for a slot is given back, for others to take.
const WAIT_MS_MAX: u64 = 1_000;
/// How often progress is sent at most.
const PROGRESS_EVERY_MS: u64 = 500;

/// What is held, and the worker's clock.
pub(super) struct Pulse {
    start: Instant,
    batches: Mutex<Vec<Arc<Batch>>>,
    some: Notify,
    heartbeat: Option<Duration>,
    progress_sent_ms: AtomicU64,
}

impl Pulse {
    pub(super) fn new(heartbeat: Option<Duration>) -> Self {
        Self {
            start: Instant::now(),
            batches: Mutex::new(Vec::new()),
            some: Notify::new(),
            heartbeat,
            progress_sent_ms: AtomicU64::new(0),
        }
    }

    /// Milliseconds since the worker started.
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Has a batch kept alive.
    pub(super) fn hold(&self, batch: Arc<Batch>) {
        if let Some(every) = self.heartbeat {
            let beat = batch.since_ms + crate::units::millis(every);
            batch.beat_ms.store(beat, Ordering::Relaxed);
        }
        let mut batches = lock(&self.batches);
        batches.push(batch);
        let first = batches.len() == 1;
        drop(batches);
        if first {
            self.some.notify_one();
        }
    }

    /// Ends every attempt: the worker leaves. What is being settled is not touched by it.
    pub(super) fn leave(&self) {
        let batches = lock(&self.batches).clone();
        for held in batches.iter().flat_map(Batch::held) {
            held.raise(Flag::Leaving);
        }
    }

    /// Looks after what is held, for as long as it is polled.
    pub(super) async fn run(&self, engine: &Engine) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut sending: Option<tokio::task::JoinHandle<()>> = None;
        loop {
            if lock(&self.batches).is_empty() {
                self.some.notified().await;
            }
            looks.tick().await;
            let now_ms = self.now_ms();
            let held = self.look(now_ms);
            self.give_back(engine, now_ms);
            if sending
                .as_ref()
                .is_none_or(tokio::task::JoinHandle::is_finished)
            {
                let beats = self.due(&held, now_ms);
                if !beats.is_empty() {
                    sending = Some(tokio::spawn(send(engine.hub.clone(), beats)));
                }
            }
        }
    }

    /// Lets go of batches that are over, and ends attempts that took too long.
    fn look(&self, now_ms: u64) -> Vec<Arc<Batch>> {
        let held = {
            let mut batches = lock(&self.batches);
            batches.retain(|batch| !batch.is_over());
            batches.clone()
        };
        for running in held
            .iter()
            .flat_map(Batch::held)
            .filter(|held| held.is(Phase::Running))
        {
            let since = running.seen_ms(now_ms);
            if now_ms.saturating_sub(since) >= u64::from(running.job().timeout_ms) {
                running.raise(Flag::TimedOut);
            }
        }
        held
    }

    fn give_back(&self, engine: &Engine, now_ms: u64) {
        let Some(since) = now_ms.checked_sub(WAIT_MS_MAX) else {
            return;
        };
        for item in engine.lanes.iter().flat_map(|lane| lane.overdue(since)) {
            engine.settler.release(item.held);
        }
    }

    /// Who is to be kept alive now, or has progress to send.
    fn due(&self, held: &[Arc<Batch>], now_ms: u64) -> Vec<(Held, Command)> {
        let last = self.progress_sent_ms.load(Ordering::Relaxed);
        let may_report = now_ms.saturating_sub(last) >= PROGRESS_EVERY_MS || last == 0;
        let mut beats = Vec::new();
        for batch in held {
            let due = now_ms >= batch.beat_ms.load(Ordering::Relaxed);
            let dirty = (due || may_report) && batch.dirty.swap(false, Ordering::AcqRel);
            if due {
                let every = self
                    .heartbeat
                    .map_or(u64::from(batch.lease_ms) / 3, crate::units::millis);
                batch
                    .beat_ms
                    .store(now_ms + every.max(1), Ordering::Relaxed);
            }
            if dirty {
                self.progress_sent_ms
                    .store(now_ms.max(1), Ordering::Relaxed);
            }
            if due || dirty {
                beats.extend(batch.held().filter_map(|held| beat(held, due)));
            }
        }
        beats
    }
}

fn beat(held: Held, due: bool) -> Option<(Held, Command)> {
    let progress = held.take_report();
    if !due && progress.is_none() {
        return None;
    }
    let command = Command::Heartbeat {
        id: held.job().id,
        token: held.job().token,
        progress,
    };
    Some((held, command))
}

/// Sends heartbeats, and passes on what they bring back.
async fn send(hub: Posthaste, beats: Vec<(Held, Command)>) {
    let (held, commands): (Vec<_>, Vec<_>) = beats.into_iter().unzip();
    let commits = commands.into_iter().map(Commit::one).collect();
    let answers = match hub.store().commit(commits).await {
        Ok(answers) => answers,
        Err(error) => {
            tracing::warn!(%error, jobs = held.len(), "heartbeats were not accepted");
            return;
        }
    };
    for (held, answer) in held.iter().zip(answers) {
        match answer.as_ref().map(|committed| committed.replies.first()) {
            Ok(Some(Reply::Extended { cancelled: true })) => held.raise(Flag::Cancelled),
            Ok(_) => {}
            Err(error) => {
                let lost = matches!(
                    error.kind(),
                    ErrorKind::Stale | ErrorKind::UnknownLease | ErrorKind::NotFound
                );
                if lost && (held.is(Phase::Running) || held.is(Phase::Waiting)) {
                    held.raise(Flag::Lost);
                }
            }
        }
    }
}
