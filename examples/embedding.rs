//! Embedded in a program, on a directory: jobs outlive the process, and what is wrong shows in
//! health. Any kind and any payload, for programs that don't share types.

use posthaste::{
    Cx, ErrorKind, Job, JobFilter, JobState, Output, Payload, Posthaste, QueueSettings, RawJob,
    TimeUnits,
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Job)]
struct Tick;

#[tokio::main]
pub(crate) async fn main() -> posthaste::Result<()> {
    let dir = std::env::temp_dir().join(format!("posthaste-embedding-{}", std::process::id()));
    let url = format!("file:{}", dir.display());

    // Acknowledged once it is synced. `Posthaste::options().sync_interval(…)` would trade that.
    let hub = Posthaste::open(&url).await?;
    let raw = hub
        .enqueue_raw("checksum", "files", Payload::bytes("text/plain", "hello"))
        .await?;
    hub.enqueue(Tick).after(1.hours()).tag("hourly").await?;

    // One process holds a directory at a time; a rolling deploy waits for it with `lock_wait`.
    let held = Posthaste::open(&url).await.expect_err("it is held");
    assert_eq!(held.kind(), ErrorKind::Locked);
    hub.close().await?;
    drop(hub);

    // The next run of the program finds everything where it was.
    let hub = Posthaste::options().lock_wait(5.secs()).open(&url).await?;
    let health = hub.health().await?;
    assert_eq!((health.store, health.durability.as_str()), ("file", "sync"));

    let worker = hub
        .worker()
        .queue("files")
        .on_any(|RawJob(payload): RawJob, cx: Cx| async move {
            assert_eq!(cx.kind().as_str(), "checksum");
            Output(
                payload
                    .bytes
                    .iter()
                    .map(|byte| u64::from(*byte))
                    .sum::<u64>(),
            )
        });
    worker.drain().await?;
    assert_eq!(hub.result::<u64>(raw.id).await?, 532);

    // Look and operate: what waits, by tag; a queue that rests; a job run now.
    let filter = JobFilter {
        state: Some(JobState::Scheduled),
        ..JobFilter::default()
    };
    let page = hub.jobs(filter, None, 100).await?;
    assert_eq!(page.jobs.len(), 1);
    let settings = QueueSettings {
        concurrency: Some(1), // over all workers
        ..QueueSettings::default()
    };
    hub.configure("default", settings).await?;
    hub.retry(page.jobs[0].id).await?;
    hub.worker().on(|_: Tick| async {}).drain().await?;
    assert!(
        hub.queues()
            .await?
            .iter()
            .all(|queue| queue.held[JobState::Scheduled as usize] == 0)
    );

    hub.close().await?;
    std::fs::remove_dir_all(dir).ok();
    Ok(())
}
