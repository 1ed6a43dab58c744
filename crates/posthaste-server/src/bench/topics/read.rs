//! Reading back what is in the page cache: as it was published, and decoded into a type.

use std::time::Instant;

use posthaste_core::topic::ReadFrom;
use posthaste_core::{Error, ErrorKind, Result, Store};

use super::super::report::{Goal, Row};
use super::{BATCH, Bench, Maker, fill, page};

const EVENTS: u64 = 1_000_000;

/// What the payload says.
#[derive(serde::Deserialize)]
struct Told {
    data: String,
}

pub(super) async fn back(bench: &mut Bench) -> Result<()> {
    let store = bench.store("read", 6)?;
    fill(&store, &Maker::new(&bench.payload)?, EVENTS, BATCH, 8).await?;
    for (what, decoded, goal) in [
        ("read back from the page cache", false, 2_000_000.0),
        ("the same, decoded into a type", true, 500_000.0),
    ] {
        let (mut from, mut count, mut bytes) = (ReadFrom::Earliest, 0_u64, 0);
        let start = Instant::now();
        loop {
            let (events, next, end) = page(&*store, from, 0).await?;
            count += events.len() as u64;
            for event in &events {
                let payload = event.payload.as_ref();
                let payload = payload.map_or(&[][..], |payload| &payload.bytes[..]);
                bytes += if decoded {
                    let told: Told = serde_json::from_slice(payload)
                        .map_err(|error| Error::new(ErrorKind::Corrupt, error.to_string()))?;
                    told.data.len()
                } else {
                    payload.len()
                };
            }
            if next == end {
                break;
            }
            from = ReadFrom::Position(next);
        }
        let took = start.elapsed();
        std::hint::black_box(bytes);
        bench.report.add(Row {
            what,
            durability: "sync",
            batch: 10_000,
            figure: super::super::rate(count, took),
            unit: "events/s",
            yardstick: None,
            goal: Goal::AtLeast(goal),
        });
    }
    store.close().await?;
    Ok(())
}
