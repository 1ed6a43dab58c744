//! A long job shows how far it is, and stops when it is called off. Its lease is renewed by
//! heartbeats for as long as it runs, and the answers bring the news.

use std::sync::Arc;

use posthaste::{Cx, HandlerError, Job, JobState, Posthaste, State, TimeUnits};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

#[derive(Serialize, Deserialize, Job)]
struct Export {
    rows: u64,
}

#[derive(Serialize)]
struct Progress {
    done: u64,
    of: u64,
}

#[tokio::main]
pub(crate) async fn main() -> posthaste::Result<()> {
    let hub = Posthaste::open("memory:").await?;
    let half_way = Arc::new(Notify::new());
    let worker = hub
        .worker()
        .heartbeat(20.millis()) // by default a third of the lease of 30 s
        .state(Arc::clone(&half_way))
        .on(
            |job: Export, cx: Cx, State(half_way): State<Arc<Notify>>| async move {
                let of = job.rows;
                cx.progress(&Progress { done: of / 2, of })?;
                half_way.notify_one();
                // A real export would look at `cx.is_cancelled()` between its rows.
                cx.cancelled().await;
                Err::<(), HandlerError>("called off half-way; the file is removed".into())
            },
        );
    let worker = worker.start().await?;

    let job = hub.enqueue(Export { rows: 1_000 }).await?;
    half_way.notified().await;
    while hub
        .job(job.id)
        .await?
        .is_some_and(|job| job.progress.is_none())
    {
        tokio::task::yield_now().await; // it travels with a heartbeat
    }
    assert_eq!(hub.cancel(job.id).await?, JobState::Running);

    let ended = job.wait().await?;
    assert_eq!(ended.state, JobState::Cancelled);
    assert_eq!(
        ended.error.as_deref(),
        Some("called off half-way; the file is removed")
    );
    worker.stop().await?;
    Ok(())
}
