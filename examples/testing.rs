//! Testing jobs without waiting: a hub in memory, on a clock that stands still until it is moved.
//! A week of retries takes milliseconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Instant, SystemTime};

use posthaste::{Done, Job, JobState, Posthaste, Retry, State, Summary, TimeUnits};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Job)]
struct Renewal;

/// A third party that is down for its first calls.
#[derive(Clone)]
struct Bank {
    down_for: Arc<AtomicU32>,
}

/// What a program would run for ever, a test drains: everything that is ready, and what that
/// makes ready, until nothing is.
async fn drain(hub: &Posthaste, bank: &Bank) -> posthaste::Result<Summary> {
    let worker =
        hub.worker()
            .state(bank.clone())
            .on(|_: Renewal, State(bank): State<Bank>| async move {
                let before =
                    bank.down_for
                        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                            left.checked_sub(1)
                        });
                match before {
                    Ok(_) => Retry::because("the bank is down"),
                    Err(_) => Done,
                }
            });
    worker.drain().await
}

#[tokio::main]
pub(crate) async fn main() -> posthaste::Result<()> {
    let hub = Posthaste::test().await?;
    let bank = Bank {
        down_for: Arc::new(AtomicU32::new(20)),
    };
    let begun = (Instant::now(), hub.now());

    let job = hub.enqueue(Renewal).after(30.days()).await?;
    assert_eq!(drain(&hub, &bank).await?, Summary::default());

    hub.advance(30.days());
    let first = drain(&hub, &bank).await?;
    assert_eq!((first.retried, first.completed), (1, 0));

    // Through the backoff of all twenty failures, hour by hour.
    while hub
        .job(job.id)
        .await?
        .is_some_and(|job| job.state != JobState::Completed)
    {
        hub.advance(1.hours());
        drain(&hub, &bank).await?;
    }
    let passed = hub.now().duration_since(begun.1).unwrap_or_default();
    assert!(passed > 31.days() && passed < 37.days(), "{passed:?}");
    assert!(begun.0.elapsed() < passed / 1_000);
    assert!(hub.now() < SystemTime::now() + 36_500.days());
    Ok(())
}
