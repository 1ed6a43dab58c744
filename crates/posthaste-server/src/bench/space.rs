//! What the disk holds once a backlog of gigabytes is worked off.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use posthaste_core::port::LeaseAsk;
use posthaste_core::{Command, Commit, Error, ErrorKind, Outcome, QueueName, Result, Store};
use posthaste_log::Log;

use super::Bench;
use super::jobs::{Maker, fill};
use super::report::{Goal, Row};

const BACKLOG_BYTES: u64 = 2 << 30;
/// What may be there beyond twice what is live.
const SLACK: u64 = 512 << 20;
/// How long space may take to come back.
const PATIENCE: Duration = Duration::from_secs(120);
/// Who works it off.
const WORKERS: usize = 4;

/// Enqueues 2 GiB, completes every job, and waits for the disk to be given back.
pub(super) async fn given_back(bench: &mut Bench) -> Result<()> {
    let store = bench.store("space", 2)?;
    let dir = bench.dir.path().join("space");
    let jobs = (BACKLOG_BYTES / bench.payload.len() as u64).next_multiple_of(1_000);
    fill(&store, &Maker::new(&bench.payload)?, jobs, 1_000, 4).await?;
    let most = bytes_in(&dir);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..WORKERS {
        tasks.spawn(work_off(Arc::clone(&store)));
    }
    let mut done = 0;
    for worked in tasks.join_all().await {
        done += worked?;
    }
    if done != jobs {
        return Err(Error::new(
            ErrorKind::Io,
            format!("{done} of {jobs} jobs were handed out"),
        )
        .next("this is a defect of the store: please report it"));
    }
    let allowed = 2 * store.health().await?.live_bytes + SLACK;
    let until = Instant::now() + PATIENCE;
    let mut held = bytes_in(&dir);
    while held > allowed && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(200)).await;
        held = bytes_in(&dir);
    }
    store.close().await?;
    drop(store);
    drop(std::fs::remove_dir_all(&dir));
    bench.report.add(Row {
        what: "disk after a backlog of 2 GiB, from its most",
        durability: "sync",
        batch: 1_000,
        figure: mebibytes(held),
        unit: "MiB",
        yardstick: Some(("at its most", mebibytes(most))),
        goal: Goal::AtMost(mebibytes(allowed)),
    });
    Ok(())
}

/// Leases and completes until nothing is left; answers how many.
async fn work_off(store: Arc<Log>) -> Result<u64> {
    let ask = LeaseAsk {
        queues: vec![(QueueName::new("bench")?, 1)],
        strict: false,
        kinds: Vec::new(),
        max: 1_000,
        lease_ms: 60_000,
        wait_ms: 0,
        worker: "bench".parse()?,
        local: true,
    };
    let mut done = 0;
    loop {
        let leased = store.lease(ask.clone()).await?;
        if leased.is_empty() {
            return Ok(done);
        }
        let settles = leased.iter().map(|job| Command::Settle {
            id: job.id,
            token: job.token,
            outcome: Outcome::Completed { result: None },
        });
        for committed in store.commit(vec![Commit::of(settles.collect())]).await? {
            committed?;
        }
        done += leased.len() as u64;
    }
}

/// Bytes of the files in a directory and below.
fn bytes_in(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(of) if of.is_dir() => bytes_in(&entry.path()),
            Ok(of) => of.len(),
            // It was removed meanwhile.
            Err(_) => 0,
        })
        .sum()
}

#[expect(clippy::cast_precision_loss, reason = "told to three digits")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
