//! The four ways to follow a topic beside one another.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use posthaste_core::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use super::super::super::process::{memory, processor};
use super::super::super::report::{Goal, Row};
use super::super::super::yardstick;
use super::super::Bench;
use super::client::{self, Times, Way};
use super::{LASTS, Served};

/// Idle connections whose memory is measured.
const IDLE: usize = 1_000;
/// Followers of a thousand events a second.
const FOLLOWERS: usize = 100;
const A_TICK: u64 = 20;
/// Between two plain polls of a client.
const POLLS: Duration = Duration::from_secs(1);

/// How the rows of a way are named.
struct Names {
    way: Way,
    memory: &'static str,
    processor: &'static str,
    median: &'static str,
    p99: &'static str,
    wire: &'static str,
}

pub(in super::super) async fn compared(bench: &mut Bench) -> Result<()> {
    let mut served = Served::start(bench, "ways-alone").await?;
    let before = processor(served.running.pid)?;
    served.pace(A_TICK, LASTS).await?;
    let alone = share(served.running.pid, before, LASTS)?;
    bench.report.add(row(
        "processor, 1,000 events/s, nobody follows",
        alone,
        "% of a core",
        None,
    ));
    drop(served);
    for names in &WAYS {
        let idle = memory_of(bench, names.way).await?;
        bench.report.add(row(names.memory, idle, "KiB", None));
        let taken = followed(bench, names.way).await?;
        let beside = Some(("the same, nobody follows", alone));
        bench
            .report
            .add(row(names.processor, taken.processor, "% of a core", beside));
        bench.report.add(row(
            names.median,
            yardstick::percentile(taken.times.clone(), 50) / 1e3,
            "ms",
            None,
        ));
        bench.report.add(row(
            names.p99,
            yardstick::percentile(taken.times, 99) / 1e3,
            "ms",
            None,
        ));
        bench
            .report
            .add(row(names.wire, taken.bytes_an_event, "bytes", None));
    }
    Ok(())
}

fn row(
    what: &'static str,
    figure: f64,
    unit: &'static str,
    yardstick: Option<(&'static str, f64)>,
) -> Row {
    Row {
        what,
        durability: "sync",
        batch: 20,
        figure,
        unit,
        yardstick,
        goal: Goal::None,
    }
}

/// Percent of one processor since then.
fn share(pid: u32, before: Duration, lasted: Duration) -> Result<f64> {
    let taken = processor(pid)?.saturating_sub(before);
    Ok(100.0 * taken.as_secs_f64() / lasted.as_secs_f64())
}

/// What an idle connection adds to the server's resident memory, in KiB.
#[expect(clippy::cast_precision_loss, reason = "told to three digits")]
async fn memory_of(bench: &Bench, way: Way) -> Result<f64> {
    let served = Served::start(bench, &format!("idle-{way:?}")).await?;
    let pid = served.running.pid.to_string();
    // What the first ones take is the server's own.
    let warm = client::hold(served.running.address, way, "latest", FOLLOWERS).await?;
    let before = memory(&pid, "VmRSS")?;
    let held = client::hold(served.running.address, way, "latest", IDLE).await?;
    if way == Way::LongPoll {
        // They were asked, and nothing tells when the server knows.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let after = memory(&pid, "VmRSS")?;
    drop((warm, held));
    Ok(after.saturating_sub(before) as f64 / 1024.0 / IDLE as f64)
}

/// What following a thousand events a second takes.
struct Taken {
    processor: f64,
    times: Vec<Duration>,
    bytes_an_event: f64,
}

#[expect(clippy::cast_precision_loss, reason = "told to three digits")]
async fn followed(bench: &Bench, way: Way) -> Result<Taken> {
    let mut served = Served::start(bench, &format!("followed-{way:?}")).await?;
    let address = served.running.address;
    let (note, mut noted) = unbounded_channel();
    let bytes = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    let pushed = match way.is_pushed() {
        true => client::hold(address, way, "latest", FOLLOWERS).await?,
        false => Vec::new(),
    };
    for stream in pushed {
        let follower = Follower::new(&served, way, &note, &bytes);
        tasks.spawn(follower.pushed(stream));
    }
    if !way.is_pushed() {
        for number in 0..FOLLOWERS {
            let follower = Follower::new(&served, way, &note, &bytes);
            // Not all of them at once.
            let share = u32::try_from(FOLLOWERS).unwrap_or(1);
            let offset = POLLS * u32::try_from(number).unwrap_or(0) / share;
            tasks.spawn(follower.asks(address, offset));
        }
    }
    // Until each has begun, what comes does not count.
    served.pace(A_TICK, 2 * POLLS).await?;
    while noted.try_recv().is_ok() {}
    bytes.store(0, Ordering::Relaxed);
    let (before, start) = (processor(served.running.pid)?, Instant::now());
    served.pace(A_TICK, LASTS).await?;
    let processor = share(served.running.pid, before, start.elapsed())?;
    let times: Vec<Duration> = std::iter::from_fn(|| noted.try_recv().ok()).collect();
    Ok(Taken {
        processor,
        bytes_an_event: bytes.load(Ordering::Relaxed) as f64 / times.len().max(1) as f64,
        times,
    })
}

/// One that notes when each event comes, and how many bytes went over the wire.
struct Follower {
    way: Way,
    times: Times,
    note: UnboundedSender<Duration>,
    bytes: Arc<AtomicU64>,
}

impl Follower {
    fn new(
        served: &Served,
        way: Way,
        note: &UnboundedSender<Duration>,
        bytes: &Arc<AtomicU64>,
    ) -> Self {
        Self {
            way,
            times: Times::new(served.since),
            note: note.clone(),
            bytes: Arc::clone(bytes),
        }
    }

    fn took(&mut self, bytes: &[u8]) {
        self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let note = &self.note;
        self.times.take(bytes, |time| {
            let _nobody_measures = note.send(time);
        });
    }

    async fn pushed(mut self, stream: TcpStream) -> Result<()> {
        client::read(&stream, |bytes| self.took(bytes)).await
    }

    /// Asks again and again over one connection, at once or each second.
    async fn asks(mut self, address: SocketAddr, offset: Duration) -> Result<()> {
        tokio::time::sleep(offset).await;
        let failed = |error| client::failed(&error);
        let mut stream = TcpStream::connect(address).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let (mut from, mut tag) = ("latest".to_owned(), String::new());
        let mut ticks = tokio::time::interval(POLLS);
        loop {
            if self.way == Way::Poll {
                ticks.tick().await;
            }
            let request = self.way.request(address, &from, &tag);
            self.bytes
                .fetch_add(request.len() as u64, Ordering::Relaxed);
            stream.write_all(request.as_bytes()).await.map_err(failed)?;
            let answer = answer(&mut stream).await.map_err(failed)?;
            self.took(&answer);
            let text = String::from_utf8_lossy(&answer);
            if let Some(next) = between(&text, "\"next\":\"", "\"") {
                from = next.to_owned();
            }
            if let Some(told) = between(&text, "etag: ", "\r\n") {
                tag = told.to_owned();
            }
        }
    }
}

fn between<'a>(text: &'a str, before: &str, behind: &str) -> Option<&'a str> {
    text.split_once(before)?
        .1
        .split_once(behind)
        .map(|(found, _)| found)
}

/// Reads one answer, head and body.
async fn answer(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut read = Vec::new();
    loop {
        if stream.read_buf(&mut read).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let Some(head) = read.windows(4).position(|part| part == b"\r\n\r\n") else {
            continue;
        };
        let text = String::from_utf8_lossy(&read[..head + 2]).into_owned();
        let length = between(&text, "content-length: ", "\r\n");
        let length: usize = length.and_then(|of| of.parse().ok()).unwrap_or(0);
        if !text.starts_with("HTTP/1.1 200") && !text.starts_with("HTTP/1.1 304") {
            return Err(std::io::Error::other(text));
        }
        if read.len() >= head + 4 + length {
            return Ok(read);
        }
    }
}

const WAYS: [Names; 4] = [
    Names {
        way: Way::Stream,
        memory: "server-sent events: memory of an idle connection",
        processor: "server-sent events: processor, 100 follow 1,000 events/s",
        median: "server-sent events: delay, p50",
        p99: "server-sent events: delay, p99",
        wire: "server-sent events: bytes on the wire, an event",
    },
    Names {
        way: Way::Socket,
        memory: "WebSocket: memory of an idle connection",
        processor: "WebSocket: processor, 100 follow 1,000 events/s",
        median: "WebSocket: delay, p50",
        p99: "WebSocket: delay, p99",
        wire: "WebSocket: bytes on the wire, an event",
    },
    Names {
        way: Way::LongPoll,
        memory: "long poll: memory of an idle connection",
        processor: "long poll: processor, 100 follow 1,000 events/s",
        median: "long poll: delay, p50",
        p99: "long poll: delay, p99",
        wire: "long poll: bytes on the wire, an event",
    },
    Names {
        way: Way::Poll,
        memory: "poll each second: memory of an idle connection",
        processor: "poll each second: processor, 100 follow 1,000 events/s",
        median: "poll each second: delay, p50",
        p99: "poll each second: delay, p99",
        wire: "poll each second: bytes on the wire, an event",
    },
];
