//! Enqueueing: in bulk, into a backlog, and one by one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use posthaste_core::{Command, Commit, KindName, NewJob, Payload, QueueName, Result, Store};
use posthaste_server::mint::Mint;

use super::Bench;
use super::report::{Goal, Row};
use super::yardstick::{self, File};

/// Commits under way at once in bulk.
const IN_FLIGHT: usize = 16;
const BATCH: u64 = 1_000;

/// New jobs, all alike.
#[derive(Clone)]
pub(super) struct Maker {
    kind: KindName,
    queue: QueueName,
    payload: Bytes,
}

impl Maker {
    pub(super) fn new(payload: &Bytes) -> Result<Self> {
        Ok(Self {
            kind: KindName::new("bench")?,
            queue: QueueName::new("bench")?,
            payload: payload.clone(),
        })
    }

    pub(super) fn commit(&self, jobs: u64) -> Result<Commit> {
        let mut mint = Mint::new()?;
        let mut job = || {
            let payload = Payload::json(self.payload.clone());
            Command::Enqueue(Box::new(NewJob::new(
                mint.id(),
                self.queue.clone(),
                self.kind.clone(),
                payload,
            )))
        };
        Ok(Commit::of((0..jobs).map(|_| job()).collect()))
    }
}

/// Enqueues `count` jobs, `batch` a commit, `in_flight` commits at once; answers how many a second.
pub(super) async fn fill(
    store: &Arc<impl Store>,
    maker: &Maker,
    count: u64,
    batch: u64,
    in_flight: usize,
) -> Result<f64> {
    let left = Arc::new(AtomicU64::new(count));
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..in_flight {
        let (store, maker, left) = (Arc::clone(store), maker.clone(), Arc::clone(&left));
        tasks.spawn(async move {
            let take = |left: u64| left.checked_sub(batch);
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                .is_ok()
            {
                for commit in store.commit(vec![maker.commit(batch)?]).await? {
                    commit?;
                }
            }
            Ok::<_, posthaste_core::Error>(())
        });
    }
    for done in tasks.join_all().await {
        done?;
    }
    Ok(super::rate(
        count - left.load(Ordering::Relaxed),
        start.elapsed(),
    ))
}

/// A burst of 200 MB into segments that stand ready.
pub(super) async fn bulk(bench: &mut Bench) -> Result<()> {
    let bytes = 200_000_000;
    let record = bench.payload.len();
    let raw = yardstick::raw_loop(bench.dir.path(), File::WrittenThrough, record, 1_000, bytes)?;
    let store = bench.store("bulk", 6)?;
    let count = (bytes / record as u64).next_multiple_of(BATCH);
    let figure = fill(
        &store,
        &Maker::new(&bench.payload)?,
        count,
        BATCH,
        IN_FLIGHT,
    )
    .await?;
    store.close().await?;
    bench.report.add(Row {
        what: "enqueue, burst of 200 MB",
        durability: "sync",
        batch: 1_000,
        figure,
        unit: "jobs/s",
        yardstick: Some(("append and sync, written-through file", raw)),
        goal: Goal::RatioAtLeast(0.4),
    });
    Ok(())
}

/// A backlog that grows over 2 GiB.
pub(super) async fn backlog(bench: &mut Bench) -> Result<()> {
    let bytes = 2 << 30;
    let record = bench.payload.len();
    let raw = yardstick::raw_loop(bench.dir.path(), File::FilledAsItGoes, record, 1_000, bytes)?;
    let store = bench.store("backlog", 2)?;
    let count = (bytes / record as u64).next_multiple_of(BATCH);
    let figure = fill(
        &store,
        &Maker::new(&bench.payload)?,
        count,
        BATCH,
        IN_FLIGHT,
    )
    .await?;
    store.close().await?;
    drop(store);
    drop(std::fs::remove_dir_all(bench.dir.path().join("backlog")));
    bench.report.add(Row {
        what: "enqueue, backlog growing over 2 GiB",
        durability: "sync",
        batch: 1_000,
        figure,
        unit: "jobs/s",
        yardstick: Some(("append and sync, file filled as it goes", raw)),
        goal: Goal::RatioAtLeast(0.6),
    });
    Ok(())
}

/// 64 tasks, each enqueueing one job at a time.
pub(super) async fn single(bench: &mut Bench) -> Result<()> {
    let raw = yardstick::raw_loop(
        bench.dir.path(),
        File::WrittenThrough,
        bench.payload.len(),
        1,
        4_000_000,
    )?;
    let store = bench.store("single", 4)?;
    let maker = Maker::new(&bench.payload)?;
    fill(&store, &maker, 20_000, 1, 64).await?;
    let before = store.health().await?;
    let figure = fill(&store, &maker, 400_000, 1, 64).await?;
    let after = store.health().await?;
    store.close().await?;
    bench.report.add(Row {
        what: "enqueue, 64 at once",
        durability: "sync",
        batch: 1,
        figure,
        unit: "jobs/s",
        yardstick: Some(("append and sync, one at a time", raw)),
        goal: Goal::AtLeast(100_000.0),
    });
    #[expect(
        clippy::cast_precision_loss,
        reason = "a ratio is told to three digits"
    )]
    let share =
        (after.commits - before.commits) as f64 / (after.syncs - before.syncs).max(1) as f64;
    bench.report.add(Row {
        what: "enqueues that share a sync",
        durability: "sync",
        batch: 1,
        figure: share,
        unit: "of 64",
        yardstick: None,
        goal: Goal::AtLeast(28.0),
    });
    Ok(())
}
