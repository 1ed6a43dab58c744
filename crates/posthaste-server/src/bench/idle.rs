//! An idle system: from the call that enqueues to the start of the handler.

use std::sync::Arc;
use std::time::{Duration, Instant};

use posthaste::{Done, Posthaste, RawJob};
use posthaste_core::{Result, Store};

use super::Bench;
use super::jobs::Maker;
use super::report::{Goal, Row};
use super::yardstick;

const SAMPLES: usize = 1_000;
/// Between two jobs: the system is idle again.
const PAUSE: Duration = Duration::from_millis(2);

pub(super) async fn latency(bench: &mut Bench) -> Result<()> {
    let sync = yardstick::sync_micros(bench.dir.path(), PAUSE)?;
    let store = bench.store("idle", 2)?;
    let hub = Posthaste::with_store(Arc::clone(&store) as Arc<dyn Store>)?;
    let (started, mut starts) = tokio::sync::mpsc::unbounded_channel();
    let worker = hub
        .worker()
        .queue("bench")
        .concurrency(4)
        .on_any(move |_job: RawJob| {
            let _nobody_measures_any_more = started.send(Instant::now());
            std::future::ready(Done)
        })
        .start()
        .await?;
    let maker = Maker::new(&bench.payload)?;
    let mut times = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        tokio::time::sleep(PAUSE).await;
        let start = Instant::now();
        for commit in store.commit(vec![maker.commit(1)?]).await? {
            commit?;
        }
        if let Some(began) = starts.recv().await {
            times.push(began.duration_since(start));
        }
    }
    worker.stop().await?;
    store.close().await?;
    for (what, percent, goal) in [
        ("idle, enqueue to handler, p50", 50, 2.0),
        ("idle, enqueue to handler, p99", 99, 5.0),
    ] {
        bench.report.add(Row {
            what,
            durability: "sync",
            batch: 1,
            figure: yardstick::percentile(times.clone(), percent),
            unit: "µs",
            yardstick: Some(("one sync of this disk at rest, median", sync)),
            goal: Goal::RatioAtMost(goal),
        });
    }
    Ok(())
}
