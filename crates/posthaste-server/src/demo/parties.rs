//! The third parties: slow, and failing now and then, each in its own way.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use posthaste_core::port::Leased;
use posthaste_core::{Error, JobState, Outcome, Payload};
use posthaste_server::mint;
use tokio::sync::watch;

use super::acknowledged::Acknowledged;
use super::chance::Chance;
use crate::worker::{Attempt, Done, Stop, Stopped, Work};

/// One third party and its manners.
#[derive(Debug)]
pub(super) struct Party {
    /// The queue of its jobs.
    pub(super) queue: &'static str,
    /// Its manners, in words.
    pub(super) manners: &'static str,
    /// How long it takes, in milliseconds.
    time: (u64, u64),
    /// How many of a thousand calls fail for now.
    failing: u64,
    /// How many of a thousand calls can never succeed.
    hopeless: u64,
    /// Out of order from the first to the second of these seconds, in every 20.
    outage: Option<(u64, u64)>,
}

/// The third parties of the shop.
pub(super) const PARTIES: [Party; 4] = [
    Party {
        queue: "mail",
        manners: "20-120 ms, 2 % fail",
        time: (20, 120),
        failing: 20,
        hopeless: 0,
        outage: None,
    },
    Party {
        queue: "invoice",
        manners: "50-400 ms, 5 % fail",
        time: (50, 400),
        failing: 50,
        hopeless: 0,
        outage: None,
    },
    Party {
        queue: "newsletter",
        manners: "10-60 ms, 3 % of addresses don't exist",
        time: (10, 60),
        failing: 10,
        hopeless: 30,
        outage: None,
    },
    Party {
        queue: "chat",
        manners: "5-30 ms, down for 4 s of every 20 s",
        time: (5, 30),
        failing: 30,
        hopeless: 0,
        outage: Some((6, 10)),
    },
];

/// Most latencies kept between two looks.
const LATENCIES_MAX: usize = 100_000;

/// The third parties at work.
#[derive(Debug)]
pub(super) struct Parties {
    chance: Chance,
    start: Instant,
    acknowledged: Arc<Acknowledged>,
    /// Milliseconds from enqueue to settled, of what was completed at the first attempt since the
    /// last look.
    latencies: Mutex<Vec<u64>>,
    troubles: AtomicU64,
}

impl Parties {
    pub(super) fn new(chance: Chance, acknowledged: Arc<Acknowledged>) -> Self {
        Self {
            chance,
            start: Instant::now(),
            acknowledged,
            latencies: Mutex::default(),
            troubles: AtomicU64::new(0),
        }
    }

    /// The median and the 99th percentile since the last look, in milliseconds.
    pub(super) fn latency(&self) -> Option<(u64, u64)> {
        let mut latencies = std::mem::take(
            &mut *self
                .latencies
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        latencies.sort_unstable();
        let at = |percent: usize| latencies.get((latencies.len() * percent) / 100).copied();
        Some((at(50)?, at(99)?))
    }

    /// How often the store refused a verb of the workers.
    pub(super) fn troubles(&self) -> u64 {
        self.troubles.load(Ordering::Relaxed)
    }

    async fn call(&self, party: &Party) -> Outcome {
        let retry = |error: &str| Outcome::Retry {
            error: error.into(),
            delay_ms: None,
        };
        let second = self.start.elapsed().as_secs() % 20;
        if party
            .outage
            .is_some_and(|(from, to)| (from..to).contains(&second))
        {
            return retry("connection refused");
        }
        tokio::time::sleep(self.chance.time(party.time.0, party.time.1)).await;
        if self.chance.happens(party.failing) {
            return retry("503 Service Unavailable");
        }
        if self.chance.happens(party.hopeless) {
            return Outcome::Dead {
                error: "550 no such user".into(),
            };
        }
        Outcome::Completed {
            result: Some(Payload::json("\"accepted\"")),
        }
    }

    async fn work(
        &self,
        job: &Leased,
        mut stop: watch::Receiver<Stop>,
    ) -> Result<Outcome, Stopped> {
        let party = PARTIES
            .iter()
            .find(|party| party.queue == job.queue.as_str())
            .ok_or_else(Stopped::default)?;
        tokio::select! {
            outcome = self.call(party) => Ok(outcome),
            _ = stop.wait_for(|stop| *stop != Stop::Go) => Err(Stopped::default()),
        }
    }
}

impl Work for Parties {
    fn attempt<'a>(&'a self, job: &'a Leased, stop: watch::Receiver<Stop>) -> Attempt<'a> {
        Box::pin(self.work(job, stop))
    }

    fn settled(&self, done: &Done<'_>) {
        let Ok(state) = done.settled else { return };
        self.acknowledged.ended(*state);
        // A delayed job waited on purpose, a retried one for its third party.
        if *state == JobState::Completed
            && done.job.attempt == 1
            && done.job.kind.as_str() != "ask-how-it-was"
        {
            let took = mint::now().since(done.job.enqueued_at);
            let mut latencies = self
                .latencies
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if latencies.len() < LATENCIES_MAX {
                latencies.push(took);
            }
        }
    }

    fn trouble(&self, _verb: &'static str, _error: &Error) {
        self.troubles.fetch_add(1, Ordering::Relaxed);
    }
}

/// How a job of this shop is retried: quickly, so that it can be watched.
pub(super) const BACKOFF: posthaste_core::Backoff = posthaste_core::Backoff {
    base_ms: 250,
    factor: 2,
    max_ms: 4_000,
    jitter_percent: 25,
};

/// Longest time for one call.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
