//! The longest that one enqueue waits: while the index grows, and while a snapshot is merged.

use std::sync::Arc;
use std::time::{Duration, Instant};

use posthaste_core::{Result, Store};
use posthaste_log::{Location, Log, Options};

use super::Bench;
use super::jobs::{Maker, fill};
use super::report::{Goal, Row};

const MILLION: u64 = 1_000_000;
/// Jobs in the index that grows.
const GROWN: u64 = 4 * MILLION;
/// Commits that are timed beside a snapshot.
const TIMED: usize = 3_000;

pub(super) async fn longest(bench: &mut Bench) -> Result<()> {
    index(bench).await?;
    snapshot(bench).await
}

/// Commits of ten into memory, one after the other: what is long is the machine's.
async fn index(bench: &mut Bench) -> Result<()> {
    let store = Arc::new(Log::open(Options::new(Location::Memory))?);
    let maker = Maker::new(&bytes::Bytes::from_static(b"{}"))?;
    let mut worst = Duration::ZERO;
    for _ in 0..GROWN / 1_000 {
        fill(&store, &maker, 990, 990, 1).await?;
        worst = worst.max(timed(&store, &maker, 10).await?);
    }
    bench.report.add(Row {
        what: "longest commit of 10 while the index grows to 4 million",
        durability: "memory",
        batch: 10,
        figure: worst.as_secs_f64() * 1e3,
        unit: "ms",
        yardstick: None,
        goal: Goal::AtMost(5.0),
    });
    store.close().await
}

/// Single commits, paced, while nothing else happens and while snapshots of a million are merged.
async fn snapshot(bench: &mut Bench) -> Result<()> {
    let maker = Maker::new(&bench.payload)?;
    let mut worst = Vec::new();
    for maintenance in [false, true] {
        let dir = bench.dir.path().join(format!("stalls-{maintenance}"));
        let mut options = Options::new(Location::Directory(dir.clone()));
        options.maintenance = maintenance;
        let store = Arc::new(Log::open(options)?);
        // Snapshots are merged beside all of this: one for every four segments.
        fill(&store, &maker, MILLION, 1_000, 2).await?;
        let mut times = Vec::with_capacity(TIMED);
        for _ in 0..TIMED {
            times.push(timed(&store, &maker, 1).await?);
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        store.close().await?;
        drop(store);
        drop(std::fs::remove_dir_all(dir));
        worst.push(times.into_iter().max().unwrap_or_default().as_secs_f64() * 1e3);
    }
    bench.report.add(Row {
        what: "longest single commit while snapshots of a million are merged",
        durability: "sync",
        batch: 1,
        figure: worst[1],
        unit: "ms",
        yardstick: Some(("the same without snapshots", worst[0])),
        goal: Goal::AtMost(20.0),
    });
    Ok(())
}

async fn timed(store: &Arc<Log>, maker: &Maker, jobs: u64) -> Result<Duration> {
    let commit = maker.commit(jobs)?;
    let start = Instant::now();
    for done in store.commit(vec![commit]).await? {
        done?;
    }
    Ok(start.elapsed())
}
