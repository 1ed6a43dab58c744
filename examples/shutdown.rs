//! A worker that leaves: it claims no more, lets what runs finish within the grace, and gives the
//! rest back untouched, for the next one to take.

use std::sync::Arc;

use posthaste::{Done, Job, JobState, Posthaste, State, TimeUnits};
use serde::{Deserialize, Serialize};
use tokio::sync::{Barrier, Notify};

#[derive(Serialize, Deserialize, Job)]
enum Work {
    Short,
    Endless,
}

#[tokio::main]
pub(crate) async fn main() -> posthaste::Result<()> {
    let hub = Posthaste::open("memory:").await?;
    let short = hub.enqueue(Work::Short).await?;
    let endless = hub.enqueue(Work::Endless).await?;

    let (both_run, signal) = (Arc::new(Barrier::new(3)), Arc::new(Notify::new()));
    let worker = hub
        .worker()
        .grace(100.millis()) // 30 s by default
        .state((Arc::clone(&both_run), Arc::clone(&signal)))
        .on(
            |job: Work, State((both_run, signal)): State<(Arc<Barrier>, Arc<Notify>)>| async move {
                both_run.wait().await;
                match job {
                    Work::Short => signal.notified().await,
                    Work::Endless => std::future::pending().await,
                }
                Done
            },
        );
    // In a program: `worker.run_until(async { tokio::signal::ctrl_c().await.ok(); })`.
    let shutdown = async move {
        both_run.wait().await;
        signal.notify_one(); // the short one ends while the worker is already leaving
    };
    let summary = worker.run_until(shutdown).await?;
    assert_eq!((summary.completed, summary.released), (1, 1));
    assert_eq!(short.wait().await?.state, JobState::Completed);

    // Given back at once, no attempt spent: another worker takes it.
    let waiting = hub
        .job(endless.id)
        .await?
        .map(|job| (job.state, job.attempt));
    assert_eq!(waiting, Some((JobState::Available, 0)));
    hub.worker().on(|_: Work| async { Done }).drain().await?;
    assert_eq!(endless.wait().await?.state, JobState::Completed);
    hub.close().await
}
