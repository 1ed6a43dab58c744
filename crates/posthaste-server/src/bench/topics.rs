//! `bench topics`: what an event costs.

mod group;
mod others;
mod publish;
mod push;
mod read;
mod reopen;
mod rest;

use posthaste_core::topic::{ReadFrom, TailTopic, TopicRead};
use posthaste_core::{
    Command, Commit, Error, ErrorKind, Event, NewEvent, Payload, Position, Result, Store, Text,
    TopicName,
};

use super::Bench;

/// Events of one commit in bulk.
const BATCH: u64 = 1_000;
/// Keys that they are spread over.
const KEYS: u64 = 1_024;

pub(super) async fn measure(name: &str, bench: &mut Bench) -> Result<()> {
    match name {
        "publish" => publish::burst(bench).await,
        "backlog" => publish::backlog(bench).await,
        "read" => read::back(bench).await,
        "idle" => rest::latency(bench).await,
        "group" => group::handled(bench).await,
        "group-idle" => group::latency(bench).await,
        "others" => others::side_by_side(bench).await,
        "streams" => push::idle(bench).await,
        "fan-out" => push::fan_out(bench).await,
        "ways" => push::compared(bench).await,
        "reopen" => reopen::small(bench).await,
        _ => rest::moving(bench).await,
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(0.0)
}

/// New events, all alike but for key and id.
struct Maker {
    topic: TopicName,
    event_type: Text,
    source: Text,
    payload: Payload,
    keys: u64,
    next: u64,
}

impl Maker {
    fn new(payload: &bytes::Bytes) -> Result<Self> {
        Ok(Self {
            topic: TopicName::new("bench")?,
            event_type: Text::from_static("bench.told"),
            source: Text::from_static("bench"),
            payload: Payload::json(payload.clone()),
            keys: KEYS,
            next: 0,
        })
    }

    /// One more, which shares nothing with this: no publisher has the bytes of another.
    fn another(&self, next: u64) -> Self {
        let bytes = self.payload.bytes.to_vec();
        Self {
            topic: self.topic.clone(),
            event_type: self.event_type.clone(),
            source: self.source.clone(),
            payload: Payload::json(bytes),
            keys: self.keys,
            next,
        }
    }

    fn commit(&mut self, events: u64) -> Commit {
        let events = (0..events).map(|_| {
            self.next += 1;
            NewEvent {
                id: Text::from(format!("{:08x}", self.next)),
                deduplicate: false,
                event_type: self.event_type.clone(),
                source: self.source.clone(),
                key: Some(Text::from(format!("key-{}", self.next % self.keys))),
                headers: Vec::new(),
                payload: Some(self.payload.clone()),
            }
        });
        Commit::one(Command::Publish {
            events: events.collect(),
            topic: self.topic.clone(),
        })
    }
}

/// Publishes `count` events, `batch` a commit, `in_flight` commits at once; answers how many a second.
async fn fill(
    store: &std::sync::Arc<impl Store + ?Sized>,
    maker: &Maker,
    count: u64,
    batch: u64,
    in_flight: u64,
) -> Result<f64> {
    let start = std::time::Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..in_flight {
        let (store, mut maker) = (std::sync::Arc::clone(store), maker.another(task << 32));
        tasks.spawn(async move {
            for _ in 0..count / batch / in_flight {
                for commit in store.commit(vec![maker.commit(batch)]).await? {
                    commit?;
                }
            }
            Ok::<_, Error>(())
        });
    }
    for done in tasks.join_all().await {
        done?;
    }
    let done = count / batch / in_flight * batch * in_flight;
    Ok(super::rate(done, start.elapsed()))
}

/// A page from there on, and where to go on.
async fn page(
    store: &(impl Store + ?Sized),
    from: ReadFrom,
    wait_ms: u32,
) -> Result<(Vec<Event>, Position, Position)> {
    let mut ask = TailTopic::new(TopicName::new("bench")?, from);
    ask.max = posthaste_core::limits::READ_EVENTS_MAX;
    ask.wait_ms = wait_ms;
    match store.read(ask).await? {
        TopicRead::Page(page) => Ok((page.events, page.next, page.end)),
        TopicRead::Gap(gap) => Err(Error::new(
            ErrorKind::Corrupt,
            format!("what was published is gone: {gap:?}"),
        )),
    }
}
