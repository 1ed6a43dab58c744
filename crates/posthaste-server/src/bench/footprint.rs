//! Memory of waiting jobs, and how long a store with a million of them takes to open.

use std::sync::Arc;
use std::time::Instant;

use posthaste_core::{Result, Store};
use posthaste_log::{Location, Log, Options};

use super::Bench;
use super::jobs::{Maker, fill};
use super::process;
use super::report::{Goal, Row};

const MILLION: u64 = 1_000_000;

#[expect(
    clippy::cast_precision_loss,
    reason = "bytes a job are told to three digits"
)]
pub(super) async fn measure(bench: &mut Bench) -> Result<()> {
    let maker = Maker::new(&bench.payload)?;
    let store = bench.store("footprint", 2)?;
    // The first million also fills what is kept of the last groups written, and every buffer.
    fill(&store, &maker, MILLION, 1_000, 4).await?;
    let before = settled(&store).await?;
    fill(&store, &maker, MILLION, 1_000, 4).await?;
    let after = settled(&store).await?;
    store.close().await?;
    drop(store);
    bench.report.add(Row {
        what: "anonymous memory of a waiting job, from 1 to 2 million",
        durability: "sync",
        batch: 1_000,
        figure: after.saturating_sub(before) as f64 / MILLION as f64,
        unit: "bytes",
        yardstick: None,
        goal: Goal::AtMost(100.0),
    });
    let store = bench.store("reopened", 2)?;
    fill(&store, &maker, MILLION, 1_000, 4).await?;
    store.close().await?;
    drop(store);
    let options = Options::new(Location::Directory(bench.dir.path().join("reopened")));
    let start = Instant::now();
    let store = Log::open(options)?;
    let took = start.elapsed().as_secs_f64();
    store.close().await?;
    bench.report.add(Row {
        what: "reopening a million waiting jobs",
        durability: "sync",
        batch: 1_000,
        figure: took,
        unit: "s",
        yardstick: None,
        goal: Goal::AtMost(2.0),
    });
    Ok(())
}

/// Anonymous memory once the background has come to rest.
async fn settled(store: &Arc<Log>) -> Result<u64> {
    let mut last = 0;
    for _ in 0..100 {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        store.health().await?;
        let now = process::memory("self", "RssAnon")?;
        if now == last {
            break;
        }
        last = now;
    }
    Ok(last)
}
