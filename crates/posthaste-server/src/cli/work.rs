//! `work`: a command for each job.

use std::sync::Arc;
use std::time::Duration;

use posthaste_core::{Error, ErrorKind, KindName, QueueName, Result, WorkerName, limits};

use super::config::{or_file, span};
use super::{Global, SERVER, print, signal::Ending, store};
use crate::exec::{Exec, KeepResult};
use crate::worker::{self, WorkerOptions};

/// How to work.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// Queues to work on, each with a weight where it isn't 1: mail,reports=3
    #[arg(long, required = true, value_name = "Q[=WEIGHT],…", value_delimiter = ',', value_parser = queue)]
    queue: Vec<(QueueName, u32)>,
    /// Serve the queues in the order given, the first to its end first
    #[arg(long)]
    strict: bool,
    /// Kinds to take; without it, every kind
    #[arg(long, value_name = "K,…", value_delimiter = ',')]
    kind: Vec<KindName>,
    /// Most jobs at once [default: 1 for each processor]
    #[arg(long, short = 'c', env = "POSTHASTE_CONCURRENCY", value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    concurrency: Option<u32>,
    /// What `sh -c` runs for each job
    #[arg(long, value_name = "CMD")]
    exec: Option<String>,
    /// What becomes of standard output
    #[arg(long, value_enum, default_value = "text", value_name = "KIND")]
    result: KeepResult,
    /// Length of a lease; a dead worker's jobs are another's after it [default: 30s]
    #[arg(long, env = "POSTHASTE_LEASE", value_name = "DURATION", value_parser = span)]
    lease: Option<Duration>,
    /// How long jobs under way may take after SIGTERM [default: 30s]
    #[arg(long, env = "POSTHASTE_GRACE", value_name = "DURATION", value_parser = span)]
    grace: Option<Duration>,
    /// How long a command that got SIGTERM may take before SIGKILL
    #[arg(long, default_value = "5s", value_name = "DURATION", value_parser = span)]
    kill_after: Duration,
    /// The worker's name [default: work-PID]
    #[arg(long, value_name = "NAME")]
    name: Option<WorkerName>,
    /// Print only what went wrong
    #[arg(long, short)]
    quiet: bool,
}

const HELP: &str = "\
The command gets the payload on its standard input and the job in its environment:
  POSTHASTE_JOB_ID, _KIND, _QUEUE, _ATTEMPT, _MAX_ATTEMPTS, _PRIORITY, _TIMEOUT_MS, _TAGS,
  _CONTENT_TYPE, _ENQUEUED_AT, _DEADLINE; POSTHASTE_IDEMPOTENCY_KEY, TRACEPARENT, TRACESTATE
Its exit code says how the attempt ended:
  0    completed; standard output is the result (the first 64 KiB)
  65   dead: the data is bad, no further attempt will help
  100  cancelled
  75   retry; so is every other code, and a signal
Except on 0, the end of standard error is kept as the error. A timeout, a cancelled job and the
end of the grace send SIGTERM to the command's process group, and SIGKILL after --kill-after.

What follows are the exit codes of work itself.";

fn queue(text: &str) -> Result<(QueueName, u32)> {
    let (name, weight) = text.split_once('=').unwrap_or((text, "1"));
    let weight = weight.parse().ok().filter(|weight| *weight > 0);
    let weight = weight.ok_or_else(|| {
        Error::new(
            ErrorKind::Invalid,
            format!("{text:?} has no weight of 1 or more"),
        )
        .next("write it as mail or mail=3")
    })?;
    Ok((QueueName::new(name)?, weight))
}

pub(super) async fn run(args: Args, global: &Global) -> Result<()> {
    let url = global.url(SERVER);
    let options = options(&args, global, store::is_local(url))?;
    let Some(command) = args.exec else {
        return Err(Error::new(
            ErrorKind::Invalid,
            "this worker has nothing to do with a job",
        )
        .next("give it a command: --exec 'CMD' (the payload is on its standard input)"));
    };
    let exec = Exec {
        command,
        keep: args.result,
        kill_after: args.kill_after,
        json: global.json,
        quiet: args.quiet,
    };
    let mut ending = Ending::new()?;
    let store = store::open(url, &store::How::existing()).await?;
    let worked = worker::run(Arc::clone(&store), options, Arc::new(exec), async move {
        ending.wait().await;
        print::note("leaving: no new jobs, those under way may finish");
    })
    .await;
    let closed = store.close().await;
    worked.and(closed)
}

fn options(args: &Args, global: &Global, local: bool) -> Result<WorkerOptions> {
    let file = &global.config.work;
    let lease = Duration::from_millis(limits::LEASE_MS_DEFAULT.into());
    let grace = Duration::from_secs(30);
    Ok(WorkerOptions {
        queues: args.queue.clone(),
        strict: args.strict,
        kinds: args.kind.clone(),
        concurrency: args
            .concurrency
            .or(file.concurrency)
            .unwrap_or_else(processors),
        lease_ms: lease_ms(or_file(args.lease, file.lease.as_deref(), span, lease)?)?,
        grace: or_file(args.grace, file.grace.as_deref(), span, grace)?,
        name: match &args.name {
            Some(name) => name.clone(),
            None => WorkerName::new(&format!("work-{}", std::process::id()))?,
        },
        local,
    })
}

fn processors() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1))
}

fn lease_ms(lease: Duration) -> Result<u32> {
    u32::try_from(lease.as_millis())
        .ok()
        .filter(|ms| (limits::LEASE_MS_MIN..=limits::LEASE_MS_MAX).contains(ms))
        .ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "the lease is out of range")
                .next("give 100ms to 1h; long jobs keep their lease by heartbeats")
        })
}
