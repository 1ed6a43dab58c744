//! Following a topic over HTTP: what a connection costs, how much goes out to a thousand of them, and
//! what those that stall cost the others. The server is a process of its own, on the same machine as
//! all of its clients.

mod client;
mod ways;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use posthaste::Posthaste;
use posthaste_core::{Command, Commit, Error, ErrorKind, NewEvent, Payload, Result, TopicName};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use super::super::children::{self, Running};
use super::super::process::memory;
use super::super::report::{Goal, Row};
use super::super::yardstick;
use super::{BATCH, Bench};
use crate::cli::allow_descriptors;
use client::{Times, Way};

pub(super) use ways::compared;

/// Idle connections.
const IDLE: usize = 10_000;
/// Connections that one topic goes out to.
const FOLLOWERS: usize = 1_000;
/// Events of one burst, and bursts on their way at once.
const BURST: u64 = 100;
const BURSTS: u64 = 2;
/// For how long a rate is measured.
const LASTS: Duration = Duration::from_secs(5);
/// Between two publishes at a given rate: as long as events wait for company.
const TICK: Duration = Duration::from_millis(20);
/// Events behind which one that stalls begins: more bytes than the system keeps for it, so that the
/// server feels it at once.
const HISTORY: u64 = 20_000;
/// Followers that stall, in turn with times when none does; how often, and how long each takes.
const STALLED: usize = 10;
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(4);
/// Events of a tick while some stall.
const CALM: u64 = 3;
/// Followers that note when each event comes.
const NOTING: usize = 20;

/// A server and the means to publish to it.
struct Served {
    running: Running,
    hub: Posthaste,
    topic: TopicName,
    payload: usize,
    since: Instant,
    published: u64,
}

impl Served {
    async fn start(bench: &Bench, name: &str) -> Result<Self> {
        allow_descriptors();
        let running = children::posthaste(&bench.children, bench.dir.path(), name).await?;
        let hub = Posthaste::open(&format!("http://{}", running.address)).await?;
        let mut served = Self {
            running,
            hub,
            topic: TopicName::new("bench")?,
            payload: bench.payload.len(),
            since: Instant::now(),
            published: 0,
        };
        served.publish(1).await?;
        Ok(served)
    }

    /// Publishes so many events, each of which tells when.
    async fn publish(&mut self, count: u64) -> Result<()> {
        let at = self.since.elapsed().as_nanos();
        let mut payload = format!("{{\"at\":{at},\"data\":\"");
        while payload.len() + 2 < self.payload {
            payload.push('x');
        }
        payload.push_str("\"}");
        let payload = Payload::json(payload);
        let events = (0..count).map(|_| {
            self.published += 1;
            let key = format!("key-{}", self.published % super::KEYS);
            NewEvent::new(
                format!("{:08x}", self.published),
                "bench.told",
                payload.clone(),
            )
            .keyed(key)
        });
        let publish = Command::Publish {
            events: events.collect(),
            topic: self.topic.clone(),
        };
        for commit in self.hub.store().commit(vec![Commit::one(publish)]).await? {
            commit?;
        }
        Ok(())
    }

    /// Publishes `count` events a tick for as long as that.
    async fn pace(&mut self, count: u64, lasts: Duration) -> Result<()> {
        let mut ticks = tokio::time::interval(TICK);
        let until = Instant::now() + lasts;
        while Instant::now() < until {
            ticks.tick().await;
            self.publish(count).await?;
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "told to three digits")]
pub(super) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}

/// Ten thousand connections that nothing is sent to.
pub(super) async fn idle(bench: &mut Bench) -> Result<()> {
    let served = Served::start(bench, "idle-streams").await?;
    let pid = served.running.pid.to_string();
    let before = memory(&pid, "VmRSS")?;
    let held = client::hold(served.running.address, Way::Stream, "latest", IDLE).await?;
    let after = memory(&pid, "VmRSS")?;
    drop(held);
    bench.report.add(Row {
        what: "10,000 idle streams, the server's resident memory",
        durability: "sync",
        batch: 1,
        figure: mebibytes(after),
        unit: "MiB",
        yardstick: Some(("the same before the first", mebibytes(before))),
        goal: Goal::AtMost(200.0),
    });
    Ok(())
}

/// As much as goes out to a thousand connections, and what those that stall cost the others.
pub(super) async fn fan_out(bench: &mut Bench) -> Result<()> {
    let bare = bare(&bench.payload).await?;
    let mut served = Served::start(bench, "fan-out").await?;
    for _ in 0..HISTORY / BATCH {
        served.publish(BATCH).await?;
    }
    let told = Followers::start(&served).await?;
    let start = Instant::now();
    let before = told.count();
    let mut published = 0;
    while start.elapsed() < LASTS {
        served.publish(BURST).await?;
        published += BURST;
        told.reach(before, published.saturating_sub(BURST * (BURSTS - 1)))
            .await?;
    }
    told.reach(before, published).await?;
    let figure = super::super::rate(told.count() - before, start.elapsed());
    bench.report.add(Row {
        what: "one topic to 1,000 streams, delivered",
        durability: "sync",
        batch: 100,
        figure,
        unit: "events/s",
        yardstick: Some(("the same bytes over bare sockets", bare)),
        goal: Goal::AtLeast(300_000.0),
    });
    stalled(bench, served, told).await
}

/// The others' 99th percentile while ten of a thousand read nothing.
async fn stalled(bench: &mut Bench, mut served: Served, mut told: Followers) -> Result<()> {
    let (mut calm, mut beside) = (Vec::new(), Vec::new());
    for round in 0..2 * ROUNDS {
        let stall = round % 2 == 1;
        let stalled = match stall {
            true => client::hold(served.running.address, Way::Stream, "earliest", STALLED).await?,
            false => Vec::new(),
        };
        told.times();
        served.pace(CALM, ROUND).await?;
        let p99 = yardstick::percentile(told.times(), 99);
        if stall { &mut beside } else { &mut calm }.push(p99);
        drop(stalled);
    }
    bench.report.add(Row {
        what: "p99, publish to the others of 1,000 while 10 stall",
        durability: "sync",
        batch: 3,
        figure: super::median(beside),
        unit: "µs",
        yardstick: Some(("the same while none does", super::median(calm))),
        goal: Goal::RatioAtMost(1.2),
    });
    Ok(())
}

/// A thousand followers, some of which note when each event comes.
struct Followers {
    delivered: Arc<AtomicU64>,
    times: UnboundedReceiver<Duration>,
    _tasks: JoinSet<Result<()>>,
}

impl Followers {
    async fn start(served: &Served) -> Result<Self> {
        let held = client::hold(served.running.address, Way::Stream, "latest", FOLLOWERS).await?;
        let delivered = Arc::new(AtomicU64::new(0));
        let (note, times) = unbounded_channel();
        let mut tasks = JoinSet::new();
        for (number, stream) in held.into_iter().enumerate() {
            let delivered = Arc::clone(&delivered);
            if number < NOTING {
                let (note, since) = (note.clone(), served.since);
                tasks.spawn(noting(stream, since, note, delivered));
            } else {
                tasks.spawn(counting(stream, delivered));
            }
        }
        Ok(Self {
            delivered,
            times,
            _tasks: tasks,
        })
    }

    fn count(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Waits until `events` were delivered to each since there were `before` deliveries.
    async fn reach(&self, before: u64, events: u64) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(60);
        while self.count() < before + events * FOLLOWERS as u64 {
            if Instant::now() > until {
                return Err(Error::new(
                    ErrorKind::Io,
                    "not every follower was told every event within a minute",
                ));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// What was noted since the last call.
    fn times(&mut self) -> Vec<Duration> {
        std::iter::from_fn(|| self.times.try_recv().ok()).collect()
    }
}

async fn noting(
    stream: TcpStream,
    since: Instant,
    note: UnboundedSender<Duration>,
    delivered: Arc<AtomicU64>,
) -> Result<()> {
    let mut times = Times::new(since);
    client::read(&stream, |bytes| {
        let found = times.take(bytes, |time| {
            let _nobody_measures = note.send(time);
        });
        delivered.fetch_add(found, Ordering::Relaxed);
    })
    .await
}

/// Counts the events that come: an empty line ends each.
async fn counting(stream: TcpStream, delivered: Arc<AtomicU64>) -> Result<()> {
    let mut last = 0;
    let count = |bytes: &[u8]| {
        let pairs = bytes.iter().zip(bytes.get(1..).unwrap_or_default());
        let within = pairs.filter(|pair| *pair == (&b'\n', &b'\n')).count() as u64;
        let across = u64::from(last == b'\n' && bytes.first() == Some(&b'\n'));
        last = bytes.last().copied().unwrap_or(last);
        delivered.fetch_add(within + across, Ordering::Relaxed);
    };
    client::read(&stream, count).await
}

/// A task for each of a thousand connections that writes what a burst is, over and over.
async fn bare(payload: &bytes::Bytes) -> Result<f64> {
    const ROUNDS: u64 = 20;
    // What an event is on its way, beside its payload.
    const FRAME_BYTES: usize = 300;
    let burst = bytes::Bytes::from(vec![b'x'; (payload.len() + FRAME_BYTES) * 100]);
    let failed = |error| client::failed(&error);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let mut tasks = JoinSet::new();
    let mut writers = Vec::new();
    for _ in 0..FOLLOWERS {
        let reader = TcpStream::connect(address).await.map_err(failed)?;
        let (writer, _) = listener.accept().await.map_err(failed)?;
        writers.push(writer);
        let total = burst.len() as u64 * ROUNDS;
        tasks.spawn(client::drain(reader, total));
    }
    let start = Instant::now();
    for writer in writers {
        let burst = burst.clone();
        tasks.spawn(client::pour(writer, burst, ROUNDS));
    }
    for done in tasks.join_all().await {
        done?;
    }
    Ok(super::super::rate(
        ROUNDS * BURST * FOLLOWERS as u64,
        start.elapsed(),
    ))
}
