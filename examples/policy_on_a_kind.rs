//! A policy on a kind of jobs: while the bank is down its breaker is open, and the kind is not claimed. The
//! other kinds go on, no attempt is burnt, and when the bank is back the kind is taken up again by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use posthaste::policy::{BreakerState, Policy, settings};
use posthaste::{Backoff, Done, Draft, Job, JobState, Posthaste, State, TimeUnits};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Job)]
#[job(queue = "orders", criticality = "critical")]
struct Charge {
    order: u64,
}

#[derive(Serialize, Deserialize, Job)]
#[job(queue = "orders", criticality = "batch")]
struct Thank {
    order: u64,
}

/// A bank that is down for the first five calls.
#[derive(Clone, Default)]
struct Bank(Arc<AtomicU32>);

impl Bank {
    async fn charge(&self, _order: u64) -> std::io::Result<()> {
        match self.0.fetch_add(1, Ordering::Relaxed) {
            0..5 => Err(std::io::Error::other("the bank does not answer")),
            _ => Ok(()),
        }
    }
}

#[tokio::main]
pub(crate) async fn main() -> posthaste::Result<()> {
    let hub = Posthaste::open("memory:").await?;
    let bank = Bank::default();

    // It opens after three failures in a row, and is tried again with one call after 50 ms.
    let policy = Policy::named("bank")
        .breaker(settings::Breaker {
            trip: settings::Trip::Consecutive(3),
            open_for: 50.millis(),
            probes: 1,
            ramp: 100.millis(),
            ..settings::Breaker::default()
        })
        .build()?;

    let charges = (0..100).map(|order| Draft::new(Charge { order }).backoff(Backoff::fixed(10)));
    let charges = hub.enqueue_many(charges).await?;
    let worker = hub
        .worker()
        .state(bank.clone())
        .on(|charge: Charge, State(bank): State<Bank>| async move {
            bank.charge(charge.order).await?;
            Done
        })
        .policy(Charge::KIND, policy.clone())
        .on(|_: Thank| async { Done })
        .start()
        .await?;

    // Whatever the bank does, this goes on.
    let thanks = hub.enqueue(Thank { order: 1 }).await?;
    assert_eq!(thanks.wait().await?.state, JobState::Completed);

    // Every charge gets through, and only calls that were made were spent.
    let mut attempts = 0;
    for charge in &charges {
        let charge = charge.wait().await?;
        assert_eq!(charge.state, JobState::Completed);
        attempts += u32::from(charge.attempt);
    }
    assert_eq!(attempts, bank.0.load(Ordering::Relaxed));
    assert!(matches!(
        policy.breaker(),
        Some(BreakerState::Closed | BreakerState::Ramping)
    ));
    worker.stop().await?;
    Ok(())
}
