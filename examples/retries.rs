//! Errors mean "try again, later", unless they say otherwise. On a clock that is moved by hand, so
//! that hours of backoff take no time.

use posthaste::{
    Backoff, Cx, Dead, Done, HandlerError, HandlerResult, Job, JobState, Posthaste, Retry, Snooze,
    TimeUnits,
};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Serialize, Deserialize, Job)]
#[job(max_attempts = 5, backoff(base = "1s", factor = 2, max = "1h"))]
enum Charge {
    /// The bank is down for the first two attempts.
    BankIsDown,
    /// The bank says when to come back.
    BankIsBusy,
    /// The card is no good, and never will be.
    BadCard,
    /// It isn't due yet; waiting spends no attempt.
    NotYet,
}

async fn charge(job: Charge, cx: Cx) -> HandlerResult {
    match job {
        Charge::BankIsDown if cx.attempt() <= 2 => {
            // Any error does: `?` turns it into a retry after the backoff.
            Err(std::io::Error::other("the bank does not answer"))?;
        }
        Charge::BankIsBusy if cx.attempt() == 1 => {
            return Retry::after(10.mins(), "the bank asks for patience");
        }
        Charge::BadCard => {
            // The same as `return Dead::because(…)`, for errors that come from elsewhere.
            let number: Result<u64, _> = "not a number".parse();
            number.map_err(|error| HandlerError::new(error).dead())?;
        }
        Charge::NotYet if cx.hub().queues().await?[0].totals.completed < 2 => {
            return Snooze::after(1.hours());
        }
        _ => {}
    }
    Done
}

#[tokio::main]
pub(crate) async fn main() -> posthaste::Result<()> {
    let hub = Posthaste::test().await?;
    let all = [
        Charge::BankIsDown,
        Charge::BankIsBusy,
        Charge::BadCard,
        Charge::NotYet,
    ];
    let jobs = hub.enqueue_many(all).await?;
    for _ in 0..4 {
        hub.worker().on(charge).drain().await?;
        hub.advance(1.hours());
    }
    for (job, state) in jobs.iter().zip([
        JobState::Completed,
        JobState::Completed,
        JobState::Dead,
        JobState::Completed,
    ]) {
        assert_eq!(job.wait().await?.state, state);
    }

    // An enqueue can say it better than the type; a dead job waits for somebody to look.
    let doomed = hub
        .enqueue(Charge::BadCard)
        .backoff(Backoff::fixed(500))
        .max_attempts(1)
        .await?;
    hub.worker()
        .on(|_: Charge| async { Dead::because("no such customer") })
        .drain()
        .await?;
    let dead = doomed.wait().await?;
    assert_eq!(dead.error.as_deref(), Some("no such customer"));

    // Brought back with all its attempts, and this time it works.
    hub.retry(doomed.id).await?;
    hub.worker().on(|_: Charge| async { Done }).drain().await?;
    assert_eq!(doomed.wait().await?.state, JobState::Completed);
    Ok(())
}
