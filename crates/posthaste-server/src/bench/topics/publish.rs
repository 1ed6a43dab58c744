//! Publishing in bulk: a burst into segments that stand ready, and a backlog of gigabytes.

use posthaste_core::{Result, Store};

use super::super::report::{Goal, Row};
use super::super::yardstick::{self, File};
use super::{BATCH, Bench, Maker, fill};

/// Commits under way at once.
const IN_FLIGHT: u64 = 8;

/// 200 MB into segments that stand ready.
pub(super) async fn burst(bench: &mut Bench) -> Result<()> {
    let bytes = 200_000_000;
    let raw = raw(bench, File::WrittenThrough, bytes)?;
    let store = bench.store("burst", 6)?;
    let count = bytes / bench.payload.len() as u64;
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
        what: "publish, burst of 200 MB",
        durability: "sync",
        batch: 1_000,
        figure,
        unit: "events/s",
        yardstick: Some(("append and sync, written-through file", raw)),
        goal: Goal::RatioAtLeast(0.4),
    });
    Ok(())
}

/// 2 GiB, which leave the journal meanwhile.
pub(super) async fn backlog(bench: &mut Bench) -> Result<()> {
    let bytes = 2 << 30;
    let raw = raw(bench, File::FilledAsItGoes, bytes)?;
    let store = bench.store("backlog", 2)?;
    let count = bytes / bench.payload.len() as u64;
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
        what: "publish, 2 GiB, moved out of the journal meanwhile",
        durability: "sync",
        batch: 1_000,
        figure,
        unit: "events/s",
        yardstick: Some(("append and sync, file filled as it goes", raw)),
        goal: Goal::RatioAtLeast(0.5),
    });
    Ok(())
}

fn raw(bench: &Bench, how: File, bytes: u64) -> Result<f64> {
    let record = bench.payload.len();
    let batch = usize::try_from(BATCH).unwrap_or(usize::MAX);
    yardstick::raw_loop(bench.dir.path(), how, record, batch, bytes)
}
