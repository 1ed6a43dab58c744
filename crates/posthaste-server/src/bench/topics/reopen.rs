//! Opening a topic of very many small events.

use std::time::Instant;

use posthaste_core::topic::{ReadFrom, TopicSettings};
use posthaste_core::{Command, Commit, Error, ErrorKind, Result, Store};
use posthaste_log::{Location, Log, Options};

use super::super::children;
use super::super::process::memory;
use super::super::report::{Goal, Row};
use super::{BATCH, Bench, Maker, fill, page};

/// Bytes of a payload.
const SMALL: usize = 16;

/// Publishes them, closes the store, and opens it again: how long that takes here, and what a server
/// holds that has done it.
pub(super) async fn small(bench: &mut Bench) -> Result<()> {
    let name = "reopen";
    let dir = bench.dir.path().join(name);
    let store = bench.store(name, 2)?;
    let maker = Maker::new(&super::super::yardstick::payload(SMALL))?;
    let keep = Command::SetTopic {
        topic: maker.topic.clone(),
        settings: TopicSettings {
            kept_ms: Some(0),
            kept_bytes: Some(0),
            ..TopicSettings::default()
        },
    };
    for commit in store.commit(vec![Commit::one(keep)]).await? {
        commit?;
    }
    let made = fill(&store, &maker, bench.events, BATCH, 8).await?;
    store.close().await?;
    drop(store);
    bench.report.add(Row {
        what: "publish so many events of 16 bytes as --events says",
        durability: "sync",
        batch: 1_000,
        figure: made,
        unit: "events/s",
        yardstick: None,
        goal: Goal::None,
    });
    let start = Instant::now();
    let store = Log::open(Options::new(Location::Directory(dir.clone())))?;
    let took = start.elapsed().as_secs_f64();
    let (events, ..) = page(&store, ReadFrom::Earliest, 0).await?;
    if events
        .first()
        .is_none_or(|first| first.position.sequence != 0)
    {
        let lost = Error::new(ErrorKind::Corrupt, "the first event is gone");
        return Err(lost.next("this is a defect of the store: please report it"));
    }
    store.close().await?;
    drop(store);
    bench.report.add(Row {
        what: "opening it again",
        durability: "sync",
        batch: 1_000,
        figure: took,
        unit: "s",
        yardstick: None,
        goal: Goal::AtMost(1.0),
    });
    let served = children::posthaste(&bench.children, bench.dir.path(), name).await?;
    let resident = memory(&served.pid.to_string(), "VmRSS")?;
    drop(served);
    drop(std::fs::remove_dir_all(&dir));
    bench.report.add(Row {
        what: "a server that has opened it, resident memory",
        durability: "sync",
        batch: 1_000,
        figure: super::push::mebibytes(resident),
        unit: "MiB",
        yardstick: None,
        goal: Goal::AtMost(256.0),
    });
    Ok(())
}
