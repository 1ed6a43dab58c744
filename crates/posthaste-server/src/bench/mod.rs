//! `bench`: what a job or an event costs here, next to what the disk and a channel cost in the same
//! run.
//!
//! Every figure stands beside a yardstick that was measured in the same run and the same
//! directory; the ratio is what may be quoted. Nothing is judged here, and nothing of it is a test.

mod children;
mod footprint;
mod http;
mod idle;
mod jobs;
mod life;
mod process;
mod report;
mod space;
mod stalls;
mod topics;
mod yardstick;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use posthaste_core::{Error, ErrorKind, Result};
use posthaste_log::{Location, Log, Options};

use crate::cli::Global;
use crate::cli::print;
use crate::cli::signal::Ending;
use children::Children;
use report::Report;

/// What to measure.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Jobs: enqueue in bulk and one by one, whole lives, idle latency, HTTP, memory, reopening, stalls, space
    Jobs(JobArgs),
    /// Topics: publish in bulk, read back, groups, idle latency, jobs beside a topic that is moved, following over HTTP, reopening; Redis Streams and NATS JetStream beside them
    Topics(TopicArgs),
}

/// How to measure jobs.
#[derive(Debug, clap::Args)]
pub(crate) struct JobArgs {
    /// Measure only these, by name: bulk, backlog, single, life, memory, idle, http, footprint, stalls, space
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = JOBS)]
    only: Vec<String>,
    #[command(flatten)]
    how: How,
}

/// How to measure topics.
#[derive(Debug, clap::Args)]
pub(crate) struct TopicArgs {
    /// Measure only these, by name: publish, backlog, read, idle, moving, group, group-idle, others, streams, fan-out, ways, reopen
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = TOPICS)]
    only: Vec<String>,
    /// Events of the topic that is opened again; 100000000 take some ten gigabytes and minutes
    #[arg(long, value_name = "N", default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(10_000..=1_000_000_000))]
    events: u64,
    #[command(flatten)]
    how: How,
}

/// How to measure.
#[derive(Debug, clap::Args)]
struct How {
    /// A directory on the disk to measure; a fresh one is made in it, and removed [default: .]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Bytes of a payload
    #[arg(long, value_name = "BYTES", default_value_t = 256, value_parser = clap::value_parser!(u32).range(16..=65_536))]
    payload: u32,
}

const TOPICS: [&str; 12] = [
    "publish",
    "backlog",
    "read",
    "idle",
    "moving",
    "group",
    "group-idle",
    "others",
    "streams",
    "fan-out",
    "ways",
    "reopen",
];

const JOBS: [&str; 10] = [
    "bulk",
    "backlog",
    "single",
    "life",
    "memory",
    "idle",
    "http",
    "footprint",
    "stalls",
    "space",
];

/// How often it is tried to remove the scratch directory of a run that was stopped.
const REMOVE_TRIES: u32 = 1_000;

/// What every section is given.
struct Bench {
    dir: tempfile::TempDir,
    payload: bytes::Bytes,
    report: Report,
    /// Servers that are measured.
    children: Children,
    /// Events of a topic that is opened again.
    events: u64,
}

pub(crate) async fn run(command: Command, global: &Global) -> Result<()> {
    let (sections, only, how, events) = match &command {
        Command::Jobs(args) => (JOBS.as_slice(), &args.only, &args.how, 0),
        Command::Topics(args) => (TOPICS.as_slice(), &args.only, &args.how, args.events),
    };
    let ending = Ending::new()?;
    let base = how.dir.clone().unwrap_or_else(|| PathBuf::from("."));
    let dir = tempfile::Builder::new()
        .prefix("posthaste-bench-")
        .tempdir_in(&base)
        .map_err(|error| {
            Error::new(
                ErrorKind::Io,
                format!("can't make a directory in {}: {error}", base.display()),
            )
            .next("name a directory that can be written to, with --dir")
        })?;
    print::remove_at_the_end(dir.path());
    let children = Children::default();
    let stopping = stop_when_asked(ending, children.clone(), dir.path().to_owned());
    tokio::spawn(stopping);
    let payload = yardstick::payload(how.payload as usize);
    let mut bench = Bench {
        dir,
        payload,
        report: Report::new(how.payload),
        children,
        events,
    };
    let wanted = |name: &&str| only.is_empty() || only.iter().any(|only| only == name);
    for name in sections.iter().copied().filter(wanted) {
        print::note(&format!("measuring {name} …"));
        match command {
            Command::Jobs(_) => job(name, &mut bench).await?,
            Command::Topics(_) => topics::measure(name, &mut bench).await?,
        }
    }
    bench.report.print(global.json);
    Ok(())
}

async fn job(name: &str, bench: &mut Bench) -> Result<()> {
    match name {
        "bulk" => jobs::bulk(bench).await,
        "backlog" => jobs::backlog(bench).await,
        "single" => jobs::single(bench).await,
        "life" => life::on_disk(bench).await,
        "memory" => life::in_memory(bench).await,
        "idle" => idle::latency(bench).await,
        "http" => http::enqueue(bench).await,
        "footprint" => footprint::measure(bench).await,
        "stalls" => stalls::longest(bench).await,
        _ => space::given_back(bench).await,
    }
}

/// Ends the program when it is asked to, wherever it is, and leaves nothing of it on the disk. A
/// figure that was cut short says nothing, so none is told.
async fn stop_when_asked(mut ending: Ending, children: Children, dir: PathBuf) {
    ending.wait().await;
    children.end();
    // The stores in it go on until the end, and may make a file meanwhile.
    for _ in 0..REMOVE_TRIES {
        match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            _ => {
                print::note("stopped; nothing is left of it on the disk");
                std::process::exit(1);
            }
        }
    }
    print::warning(&format!("{} could not be removed", dir.display()));
    std::process::exit(1);
}

impl Bench {
    /// A fresh store on disk, with this many segments standing ready before it is answered.
    fn store(&self, name: &str, ready: usize) -> Result<Arc<Log>> {
        let dir = self.dir.path().join(name);
        let mut options = Options::new(Location::Directory(dir.clone()));
        options.segments_ready = ready;
        let store = Arc::new(Log::open(options)?);
        wait_until(|| segments(&dir) > ready)?;
        Ok(store)
    }
}

fn segments(dir: &Path) -> usize {
    let named = |entry: &std::fs::DirEntry| {
        entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "seg")
    };
    std::fs::read_dir(dir.join("segments"))
        .map_or(0, |entries| entries.flatten().filter(named).count())
}

fn wait_until(mut holds: impl FnMut() -> bool) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(60);
    while !holds() {
        if Instant::now() > until {
            return Err(
                Error::new(ErrorKind::Io, "the segments were not ready within a minute")
                    .next("see whether the disk is busy or full"),
            );
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// How many a second.
#[expect(clippy::cast_precision_loss, reason = "a rate is told to three digits")]
fn rate(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}
