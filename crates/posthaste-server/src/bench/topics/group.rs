//! A group with 64 keys in flight, and how soon an event reaches a handler that waits for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use posthaste_core::group::{EventAsk, EventOutcome, GroupSettings, LeasedEvents};
use posthaste_core::topic::ReadFrom;
use posthaste_core::{
    Command, Commit, Error, ErrorKind, GroupName, Result, Store, Text, Token, TopicName, WorkerName,
};
use tokio::task::JoinSet;

use super::super::report::{Goal, Row};
use super::super::yardstick;
use super::{BATCH, Bench, Maker, fill};

/// Events that are handled.
const EVENTS: u64 = 1_000_000;
/// Keys that they are of.
const KEYS: u64 = 64;
/// Most events in the hands of members at once.
const IN_FLIGHT: u32 = 4_096;
/// Most events of one ask.
const ASKED: u32 = 1_000;
/// Batches of a member that wait to be settled. It asks for more meanwhile.
const SETTLING: usize = 4;

const SAMPLES: usize = 1_000;
/// Between two events: the system is idle again.
const PAUSE: Duration = Duration::from_millis(2);

/// A backlog, handled and settled to its end, by one member and by four. Each member sees to it that the events of a key come
/// in their order.
pub(super) async fn handled(bench: &mut Bench) -> Result<()> {
    let channel = yardstick::channel(&bench.payload, EVENTS).await;
    let store = bench.store("group", 6)?;
    let mut maker = Maker::new(&bench.payload)?;
    maker.keys = KEYS;
    fill(&store, &maker, EVENTS, BATCH, 8).await?;
    for (what, members, goal) in [
        (
            "a group handles and settles, 64 keys",
            1,
            Goal::AtLeast(150_000.0),
        ),
        ("the same, shared by four members", 4, Goal::None),
    ] {
        let figure = handle(&store, members, EVENTS).await?;
        bench.report.add(Row {
            what,
            durability: "sync",
            batch: ASKED,
            figure,
            unit: "events/s",
            yardstick: Some(("bounded channel in memory", channel)),
            goal,
        });
    }
    store.close().await
}

/// Has a group handle and settle all `count` events of the topic; answers how many a second.
pub(super) async fn handle(
    store: &Arc<impl Store + ?Sized>,
    members: usize,
    count: u64,
) -> Result<f64> {
    let names = Names::new(members)?;
    names.make(&**store, ReadFrom::Earliest).await?;
    let left = Arc::new(AtomicU64::new(count));
    let start = Instant::now();
    let mut handling = JoinSet::new();
    for number in 0..members {
        let (store, names, left) = (Arc::clone(store), names.clone(), Arc::clone(&left));
        handling.spawn(async move { member(store, names, number, left).await });
    }
    for done in handling.join_all().await {
        done?;
    }
    Ok(super::super::rate(count, start.elapsed()))
}

/// Handles events until none is left. Meanwhile they are settled, one commit after the other: those of
/// a key in their order.
async fn member(
    store: Arc<impl Store + ?Sized>,
    names: Names,
    number: usize,
    left: Arc<AtomicU64>,
) -> Result<()> {
    let (handled, settling) = tokio::sync::mpsc::channel(SETTLING);
    let settler = settle(
        Arc::clone(&store),
        names.clone(),
        settling,
        Arc::clone(&left),
    );
    let settler = tokio::spawn(settler);
    let (mut token, mut last) = (None, HashMap::<Text, u64>::new());
    while left.load(Ordering::Acquire) > 0 {
        let leased = store.lease_events(names.ask(number, token, 100)?).await?;
        token = Some(leased.token);
        in_order(&leased, &mut last)?;
        if !leased.events.is_empty() && handled.send(leased).await.is_err() {
            break; // it tells why
        }
    }
    drop(handled);
    settler
        .await
        .map_err(|error| Error::new(ErrorKind::Uncertain, format!("settling broke off: {error}")))?
}

async fn settle(
    store: Arc<impl Store + ?Sized>,
    names: Names,
    mut handled: tokio::sync::mpsc::Receiver<LeasedEvents>,
    left: Arc<AtomicU64>,
) -> Result<()> {
    while let Some(leased) = handled.recv().await {
        for commit in store.commit(vec![names.settle(&leased)]).await? {
            commit?;
        }
        left.fetch_sub(leased.events.len() as u64, Ordering::AcqRel);
    }
    Ok(())
}

/// What a handler does here: it sees that no event of a key comes before an earlier one.
fn in_order(leased: &LeasedEvents, last: &mut HashMap<Text, u64>) -> Result<()> {
    for event in leased.events.iter().map(|leased| &leased.event) {
        let Some(key) = &event.key else { continue };
        let at = event.position.sequence;
        let before = match last.get_mut(key) {
            Some(last) => std::mem::replace(last, at),
            None => last.insert(key.clone(), at).unwrap_or_default(),
        };
        if before > at {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("the event {at} of {key} came after {before}"),
            ));
        }
    }
    Ok(())
}

/// From the call that publishes to the event in the hands of a member that waits for it.
pub(super) async fn latency(bench: &mut Bench) -> Result<()> {
    let sync = yardstick::sync_micros(bench.dir.path(), PAUSE)?;
    let store = bench.store("group-idle", 2)?;
    let mut maker = Maker::new(&bench.payload)?;
    let names = Names::new(1)?;
    for commit in store.commit(vec![maker.commit(1)]).await? {
        commit?;
    }
    names.make(&*store, ReadFrom::Latest).await?;
    let (told, mut times_of) = tokio::sync::mpsc::unbounded_channel();
    let handling = Arc::clone(&store);
    let handler = tokio::spawn(async move {
        let mut token = None;
        loop {
            let leased = handling.lease_events(names.ask(0, token, 10_000)?).await?;
            let now = Instant::now();
            token = Some(leased.token);
            if leased.events.is_empty() {
                continue;
            }
            if leased.events.iter().any(|_| told.send(now).is_err()) {
                return Ok::<_, Error>(());
            }
            for commit in handling.commit(vec![names.settle(&leased)]).await? {
                commit?;
            }
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
    handler.abort();
    store.close().await?;
    bench.report.add(Row {
        what: "idle, publish to handler of a group, p50",
        durability: "sync",
        batch: 1,
        figure: yardstick::percentile(times, 50),
        unit: "µs",
        yardstick: Some(("one sync of this disk at rest, median", sync)),
        goal: Goal::RatioAtMost(2.0),
    });
    Ok(())
}

/// The topic and the group.
#[derive(Clone)]
struct Names {
    topic: TopicName,
    group: GroupName,
}

impl Names {
    /// Each number of members has a group of its own.
    fn new(members: usize) -> Result<Self> {
        Ok(Self {
            topic: TopicName::new("bench")?,
            group: GroupName::new(&format!("bench-{members}"))?,
        })
    }

    async fn make(&self, store: &(impl Store + ?Sized), from: ReadFrom) -> Result<()> {
        let set = Command::SetGroup {
            topic: self.topic.clone(),
            group: self.group.clone(),
            settings: GroupSettings {
                in_flight: Some(IN_FLIGHT),
                ..GroupSettings::default()
            },
            from: Some(from),
        };
        for commit in store.commit(vec![Commit::one(set)]).await? {
            commit?;
        }
        Ok(())
    }

    fn ask(&self, number: usize, token: Option<Token>, wait_ms: u32) -> Result<EventAsk> {
        Ok(EventAsk {
            topic: self.topic.clone(),
            group: self.group.clone(),
            member: WorkerName::new(&format!("member-{number}"))?,
            token,
            max: ASKED,
            lease_ms: 60_000,
            wait_ms,
            local: true,
        })
    }

    fn settle(&self, leased: &LeasedEvents) -> Commit {
        let events = leased.events.iter();
        let ends = events.map(|leased| (leased.event.position.sequence, EventOutcome::Done));
        Commit::one(Command::SettleEvents {
            topic: self.topic.clone(),
            group: self.group.clone(),
            token: leased.token,
            ends: ends.collect(),
        })
    }
}
