//! Whole lives: enqueue, handler, settled.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use posthaste::{Done, Posthaste, RawJob};
use posthaste_core::{Result, Store};
use posthaste_log::{Location, Log, Options};

use super::Bench;
use super::jobs::{Maker, fill};
use super::report::{Goal, Row};
use super::yardstick;

const BATCH: u64 = 100;
/// Commits under way at once.
const IN_FLIGHT: usize = 4;
const HANDLERS: usize = 64;

async fn lives(store: Arc<Log>, maker: &Maker, count: u64) -> Result<f64> {
    let hub = Posthaste::with_store(Arc::clone(&store) as Arc<dyn Store>)?;
    let done = Arc::new(AtomicU64::new(0));
    let all = Arc::new(tokio::sync::Notify::new());
    let (counted, last) = (Arc::clone(&done), Arc::clone(&all));
    let worker = hub
        .worker()
        .queue("bench")
        .concurrency(HANDLERS)
        .on_any(move |_job: RawJob| {
            if counted.fetch_add(1, Ordering::Relaxed) + 1 == count {
                last.notify_one();
            }
            std::future::ready(Done)
        })
        .start()
        .await?;
    let start = Instant::now();
    fill(&store, maker, count, BATCH, IN_FLIGHT).await?;
    all.notified().await;
    // Settled, and not only handled: the worker stops when its last settle is acknowledged.
    let summary = worker.stop().await?;
    let took = start.elapsed();
    store.close().await?;
    Ok(super::rate(summary.completed, took))
}

pub(super) async fn on_disk(bench: &mut Bench) -> Result<()> {
    let channel = yardstick::channel(&bench.payload, 1_000_000).await;
    let store = bench.store("life", 6)?;
    let figure = lives(store, &Maker::new(&bench.payload)?, 600_000).await?;
    bench.report.add(Row {
        what: "whole life, 64 handlers at once",
        durability: "sync",
        batch: 100,
        figure,
        unit: "jobs/s",
        yardstick: Some(("bounded channel in memory", channel)),
        goal: Goal::AtLeast(250_000.0),
    });
    Ok(())
}

pub(super) async fn in_memory(bench: &mut Bench) -> Result<()> {
    let channel = yardstick::channel(&bench.payload, 1_000_000).await;
    let store = Arc::new(Log::open(Options::new(Location::Memory))?);
    let figure = lives(store, &Maker::new(&bench.payload)?, 1_000_000).await?;
    bench.report.add(Row {
        what: "whole life, 64 handlers at once",
        durability: "memory",
        batch: 100,
        figure,
        unit: "jobs/s",
        yardstick: Some(("bounded channel in memory", channel)),
        goal: Goal::AtLeast(600_000.0),
    });
    Ok(())
}
