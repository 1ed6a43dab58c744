//! The same work done by others: Redis Streams and NATS JetStream, as Debian has them, and by this
//! store in the process and over HTTP, all in one run.
//!
//! Each publishes a thousand events at once from eight callers, reads all of them back, and has a
//! member of a group handle and acknowledge them. What the others do for an acknowledgement is said
//! in each row.

mod nats;
mod redis;

use std::sync::Arc;

use posthaste_core::topic::ReadFrom;
use posthaste_core::{ErrorKind, Result, Store};

use super::super::children::{self, Running};
use super::super::report::{Goal, Row};
use super::{BATCH, Bench, Maker, fill, group, page};
use crate::cli::print;

/// Events of each.
const EVENTS: u64 = 400_000;
/// Callers that publish at once.
const CALLERS: u64 = 8;
/// Members of the group, and most events that one asks for. One is the fastest here, and keeps the
/// others in order too.
const MEMBERS: usize = 1;
const ASKED: u64 = 1_000;

/// Events a second of each part of the work.
#[derive(Clone, Copy)]
struct Figures {
    publish: f64,
    read: f64,
    handle: f64,
}

/// How the rows of a system are named.
struct Names {
    publish: &'static str,
    read: &'static str,
    handle: &'static str,
    durability: &'static str,
}

pub(super) async fn side_by_side(bench: &mut Bench) -> Result<()> {
    let store = bench.store("own", 6)?;
    let own = ours(&store, &bench.payload).await?;
    store.close().await?;
    drop(store);
    add(bench, &OURS, own, None);
    let served = children::posthaste(&bench.children, bench.dir.path(), "served").await?;
    let url = format!("http://{}", served.address);
    let hub = posthaste::Posthaste::open(&url).await?;
    let over_http = ours(hub.store(), &bench.payload).await?;
    drop(served);
    add(bench, &OURS_SERVED, over_http, Some(own));
    for (names, durable) in [(&REDIS, false), (&REDIS_ALWAYS, true)] {
        let started = redis::start(bench, durable).await;
        let Some(running) = or_tell(started, "apt install redis-server")? else {
            break;
        };
        let figures = redis::work(&running, &bench.payload).await?;
        add(bench, names, figures, Some(own));
    }
    let Some(running) = or_tell(nats::start(bench, false).await, "apt install nats-server")? else {
        return Ok(());
    };
    let figures = nats::work(&running, &bench.payload, false).await?;
    drop(running);
    add(bench, &NATS, figures, Some(own));
    if !nats::syncs_at_acknowledgement() {
        print::note(
            "  this nats-server syncs every two minutes and can be told nothing else (2.10 can): \
             there is no figure of it at equal durability",
        );
        return Ok(());
    }
    let running = nats::start(bench, true).await?;
    let figures = nats::work(&running, &bench.payload, true).await?;
    add(bench, &NATS_ALWAYS, figures, Some(own));
    Ok(())
}

/// Goes on without a server that isn't installed.
fn or_tell(started: Result<Running>, install: &str) -> Result<Option<Running>> {
    match started {
        Ok(running) => Ok(Some(running)),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            print::note(&format!("  {error}, and is left out: {install}"));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

async fn ours(store: &Arc<impl Store + ?Sized>, payload: &bytes::Bytes) -> Result<Figures> {
    let maker = Maker::new(payload)?;
    let publish = fill(store, &maker, EVENTS, BATCH, CALLERS).await?;
    let start = std::time::Instant::now();
    let (mut from, mut count) = (ReadFrom::Earliest, 0);
    loop {
        let (events, next, end) = page(&**store, from, 0).await?;
        count += events.len() as u64;
        if next == end {
            break;
        }
        from = ReadFrom::Position(next);
    }
    let read = super::super::rate(count, start.elapsed());
    let handle = group::handle(store, MEMBERS, EVENTS).await?;
    Ok(Figures {
        publish,
        read,
        handle,
    })
}

/// Adds the rows of a system, beside those of this store in the process.
fn add(bench: &mut Bench, names: &Names, figures: Figures, own: Option<Figures>) {
    let rows = [
        (
            names.publish,
            1_000,
            figures.publish,
            own.map(|own| own.publish),
        ),
        (names.read, 10_000, figures.read, own.map(|own| own.read)),
        (
            names.handle,
            1_000,
            figures.handle,
            own.map(|own| own.handle),
        ),
    ];
    for (what, batch, figure, own) in rows {
        bench.report.add(Row {
            what,
            durability: names.durability,
            batch,
            figure,
            unit: "events/s",
            yardstick: own.map(|own| ("Posthaste, in the process", own)),
            goal: Goal::None,
        });
    }
}

const OURS: Names = Names {
    publish: "Posthaste in the process: publish",
    read: "Posthaste in the process: read back",
    handle: "Posthaste in the process: a group",
    durability: "sync",
};

const OURS_SERVED: Names = Names {
    publish: "Posthaste over HTTP: publish",
    read: "Posthaste over HTTP: read back",
    handle: "Posthaste over HTTP: a group",
    durability: "sync",
};

const REDIS: Names = Names {
    publish: "Redis Streams: publish",
    read: "Redis Streams: read back",
    handle: "Redis Streams: a group",
    durability: "default: snapshots now and then",
};

const REDIS_ALWAYS: Names = Names {
    publish: "Redis Streams, appendfsync always: publish",
    read: "Redis Streams, appendfsync always: read back",
    handle: "Redis Streams, appendfsync always: a group",
    durability: "sync",
};

const NATS: Names = Names {
    publish: "NATS JetStream: publish",
    read: "NATS JetStream: read back",
    handle: "NATS JetStream: a group",
    durability: "default: synced every 2 minutes",
};

const NATS_ALWAYS: Names = Names {
    publish: "NATS JetStream, sync_interval always: publish",
    read: "NATS JetStream, sync_interval always: read back",
    handle: "NATS JetStream, sync_interval always: a group, acks confirmed",
    durability: "sync",
};
