//! An idle topic, and jobs beside a topic whose events leave the journal.

use std::sync::Arc;
use std::time::{Duration, Instant};

use posthaste_core::topic::ReadFrom;
use posthaste_core::{Error, Result, Store};

use super::super::jobs;
use super::super::report::{Goal, Row};
use super::super::yardstick;
use super::{BATCH, Bench, Maker, fill, median, page};

const SAMPLES: usize = 1_000;
/// Between two events: the system is idle again.
const PAUSE: Duration = Duration::from_millis(2);
/// Runs with and without, in turn.
const RUNS: usize = 5;

/// From the call that publishes to the event in the hands of who waits for it.
pub(super) async fn latency(bench: &mut Bench) -> Result<()> {
    let sync = yardstick::sync_micros(bench.dir.path(), PAUSE)?;
    let store = bench.store("idle", 2)?;
    let mut maker = Maker::new(&bench.payload)?;
    for commit in store.commit(vec![maker.commit(1)]).await? {
        commit?;
    }
    let (told, mut times_of) = tokio::sync::mpsc::unbounded_channel();
    let reading = Arc::clone(&store);
    let reader = tokio::spawn(async move {
        let mut from = ReadFrom::Latest;
        loop {
            let (events, next, _) = page(&*reading, from, 10_000).await?;
            let now = Instant::now();
            if events.iter().any(|_| told.send(now).is_err()) {
                return Ok::<_, Error>(());
            }
            from = ReadFrom::Position(next);
        }
    });
    let mut times = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        tokio::time::sleep(PAUSE).await;
        let start = Instant::now();
        for commit in store.commit(vec![maker.commit(1)]).await? {
            commit?;
        }
        if let Some(seen) = times_of.recv().await {
            times.push(seen.duration_since(start));
        }
    }
    reader.abort();
    store.close().await?;
    bench.report.add(Row {
        what: "idle, publish to reader, p50",
        durability: "sync",
        batch: 1,
        figure: yardstick::percentile(times, 50),
        unit: "µs",
        yardstick: Some(("one sync of this disk at rest, median", sync)),
        goal: Goal::RatioAtMost(2.0),
    });
    Ok(())
}

/// The rate of jobs while half a gigabyte of events leaves the journal, and when it has left.
pub(super) async fn moving(bench: &mut Bench) -> Result<()> {
    let (mut beside, mut alone) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        alone.push(jobs_rate(bench, &format!("alone-{run}"), false).await?);
        beside.push(jobs_rate(bench, &format!("moving-{run}"), true).await?);
    }
    bench.report.add(Row {
        what: "enqueue while a topic leaves the journal, median",
        durability: "sync",
        batch: 100,
        figure: median(beside),
        unit: "jobs/s",
        yardstick: Some(("the same beside a topic at rest, median", median(alone))),
        goal: Goal::RatioAtLeast(0.85),
    });
    Ok(())
}

/// Jobs a second, in a store that holds half a gigabyte of events: with `moving` they are in the
/// journal when it begins, otherwise they have left it.
async fn jobs_rate(bench: &Bench, name: &str, moving: bool) -> Result<f64> {
    let bytes: u64 = 512 << 20;
    let store = bench.store(name, 2)?;
    let maker = Maker::new(&bench.payload)?;
    fill(&store, &maker, bytes / bench.payload.len() as u64, BATCH, 8).await?;
    if !moving {
        settle_down(&bench.dir.path().join(name)).await;
    }
    let jobs = jobs::Maker::new(&bench.payload)?;
    let figure = jobs::fill(&store, &jobs, 200_000, 100, 4).await?;
    store.close().await?;
    drop(store);
    drop(std::fs::remove_dir_all(bench.dir.path().join(name)));
    Ok(figure)
}

/// Waits until the archive has stopped growing for a second.
async fn settle_down(dir: &std::path::Path) {
    let (mut last, mut since) = (0, Instant::now());
    let until = Instant::now() + Duration::from_secs(60);
    while since.elapsed() < Duration::from_secs(1) && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = bytes_below(&dir.join("topics"));
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
}

fn bytes_below(dir: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => bytes_below(&entry.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    });
    bytes.sum()
}
