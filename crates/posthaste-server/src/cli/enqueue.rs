//! `enqueue`: one job, or one for each line of standard input.

mod rules;

use std::io::{self, BufRead};
use std::sync::Arc;
use std::time::Duration;

use posthaste::wire;
use posthaste_core::backoff::Backoff;
use posthaste_core::command::CommitKey;
use posthaste_core::ids::Tag;
use posthaste_core::job::{RetryRule, Start};
use posthaste_core::{
    Command, Commit, Committed, Error, ErrorKind, KindName, NewJob, Payload, Priority, QueueName,
    Reply, Result, Store, limits,
};
use posthaste_server::mint::Mint;

use super::config::{pair, span};
use super::{Global, SERVER, again, payload, print, store};

pub(super) use rules::backoff;

/// What to enqueue.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which handler it is for
    #[arg(long, value_name = "NAME")]
    kind: KindName,
    /// Which queue it waits in
    #[arg(long, default_value = "default", value_name = "NAME")]
    queue: QueueName,
    /// What it carries, as JSON [default: null]
    #[arg(long, value_name = "JSON", group = "what")]
    payload: Option<String>,
    /// What it carries, as text
    #[arg(long, value_name = "TEXT", group = "what")]
    text: Option<String>,
    /// What it carries, from a file (- is standard input), as bytes of --content-type
    #[arg(long, value_name = "FILE", group = "what")]
    file: Option<String>,
    /// One job for each line of standard input, the line as text; with --null, each is ended by a
    /// zero byte
    #[arg(long, group = "what")]
    lines: bool,
    /// One job for each line of standard input, the line as JSON
    #[arg(long, group = "what")]
    json_lines: bool,
    /// With --lines: they are ended by a zero byte (as `find -print0` writes them)
    #[arg(long, short = '0', requires = "lines")]
    null: bool,
    /// With --file: what its bytes are; application/json is checked
    #[arg(
        long,
        requires = "file",
        default_value = "application/octet-stream",
        value_name = "TYPE"
    )]
    content_type: String,
    /// Rank, 1 to 9; 9 is served first
    #[arg(long, default_value_t = 5, value_name = "N")]
    priority: u64,
    /// How long to wait before it may start
    #[arg(long, value_name = "DURATION", value_parser = span, conflicts_with = "run_at")]
    delay: Option<Duration>,
    /// When it may start, as RFC 3339 in UTC
    #[arg(long, value_name = "INSTANT")]
    run_at: Option<wire::Instant>,
    /// Past this it is not started any more, and is dead as expired
    #[arg(long, value_name = "INSTANT")]
    deadline: Option<wire::Instant>,
    /// Attempts in all, 1 to 1000
    #[arg(long, default_value_t = limits::ATTEMPTS_DEFAULT, value_name = "N")]
    max_attempts: u16,
    /// Longest time for one attempt
    #[arg(long, default_value = "15m", value_name = "DURATION")]
    timeout: wire::Span,
    /// Delay after a failed attempt: DURATION for the same one each time, or any of
    /// base=…,factor=…,max=…,jitter=… [default: base=1s,factor=2,max=6h,jitter=25]
    #[arg(long, value_name = "RULE", value_parser = backoff)]
    backoff: Option<Backoff>,
    /// Do not keep the result with the completed job
    #[arg(long)]
    no_result: bool,
    /// One effect for one key, for 24 hours
    #[arg(long, value_name = "KEY", conflicts_with_all = ["lines", "json_lines"])]
    idempotency_key: Option<String>,
    #[command(flatten)]
    unique: rules::Uniqueness,
    /// Words to find it by
    #[arg(long = "tag", value_name = "WORD,…", value_delimiter = ',')]
    tags: Vec<Tag>,
    /// Names and values for others to read, such as traceparent=…
    #[arg(long = "meta", value_name = "NAME=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
}

/// After how many jobs progress is told.
const TELL_EVERY: u64 = 100_000;

pub(super) async fn run(args: Args, global: &Global) -> Result<()> {
    let model = model(&args)?;
    let store = store::open(global.url(SERVER), &store::How::default()).await?;
    let enqueued = if args.lines || args.json_lines {
        many(&args, &model, &*store, global.json).await
    } else {
        one(&args, &model, &*store, global.json).await
    };
    let closed = store.close().await;
    enqueued.and(closed)
}

/// Everything of the jobs but their ids and payloads.
fn model(args: &Args) -> Result<NewJob> {
    let id = Mint::new()?.id();
    let mut job = NewJob::new(
        id,
        args.queue.clone(),
        args.kind.clone(),
        Payload::json("null"),
    );
    let priority = u8::try_from(args.priority).ok().and_then(Priority::new);
    job.priority = priority.ok_or_else(|| {
        Error::new(
            ErrorKind::Invalid,
            format!("priority {} is out of range", args.priority),
        )
        .next("give 1 to 9; 9 is served first")
    })?;
    job.start = start(args.delay, args.run_at);
    job.deadline = args.deadline.map(|at| at.0);
    job.retry = RetryRule {
        max_attempts: args.max_attempts,
        timeout_ms: u32::try_from(args.timeout.0).map_err(|_| {
            Error::new(
                ErrorKind::Invalid,
                format!("the timeout {} is too long", args.timeout),
            )
            .next("give at most 7d")
        })?,
        backoff: args.backoff.unwrap_or_default(),
    };
    job.keep_result = !args.no_result;
    job.idempotency_key = args.idempotency_key.as_deref().map(Arc::from);
    job.unique = args.unique.rule()?;
    job.tags.clone_from(&args.tags);
    let metadata = args.metadata.iter();
    job.metadata = metadata
        .map(|(name, value)| (name.as_str().into(), value.as_str().into()))
        .collect();
    Ok(job)
}

async fn one(args: &Args, model: &NewJob, store: &dyn Store, json: bool) -> Result<()> {
    let mut job = model.clone();
    job.payload = payload_of(args)?;
    let committed = commit(store, vec![job]).await?;
    let answers: Vec<_> = committed
        .replies
        .iter()
        .filter_map(wire::Enqueued::write)
        .collect();
    if json {
        print::json(&wire::EnqueuedJobs { jobs: answers });
        return Ok(());
    }
    for answer in answers {
        let existing = if answer.existing {
            " (it was there before)"
        } else {
            ""
        };
        print::line(&format!("{} {}{existing}", answer.id, answer.state));
    }
    Ok(())
}

fn payload_of(args: &Args) -> Result<Payload> {
    if let Some(text) = &args.text {
        return Ok(payload::text(text.clone().into_bytes()));
    }
    if let Some(path) = &args.file {
        let bytes = payload::read(path, limits::PAYLOAD_BYTES_MAX)?;
        return payload::of_type(&args.content_type, bytes);
    }
    let json = args.payload.as_deref().unwrap_or("null");
    payload::json(json.as_bytes().to_vec())
}

async fn many(args: &Args, model: &NewJob, store: &dyn Store, json: bool) -> Result<()> {
    let end = if args.null { 0 } else { b'\n' };
    let mut lines = (1..).zip(io::stdin().lock().split(end));
    let mut mint = Mint::new()?;
    let (mut enqueued, mut existing, mut told) = (0_u64, 0_u64, 0_u64);
    let mut done = 0;
    loop {
        let batch = read_batch(args, model, &mut mint, &mut lines);
        let Batch { jobs, numbers } = batch.map_err(|error| after(&error, done))?;
        if jobs.is_empty() {
            break;
        }
        let committed = commit(store, jobs).await;
        let committed = committed.map_err(|error| after(&of_line(error, &numbers), done))?;
        done = numbers.last().copied().unwrap_or(done);
        for reply in &committed.replies {
            match reply {
                Reply::Enqueued { existing: true, .. } => existing += 1,
                _ => enqueued += 1,
            }
        }
        if enqueued + existing >= told + TELL_EVERY {
            told = enqueued + existing;
            print::note(&format!("{told} so far"));
        }
    }
    if json {
        print::json(&serde_json::json!({"enqueued": enqueued, "existing": existing}));
    } else {
        print::line(&format!(
            "{enqueued} jobs enqueued, {existing} were there before"
        ));
    }
    Ok(())
}

/// When a job may start, as `--delay` and `--run-at` say.
pub(super) fn start(delay: Option<Duration>, run_at: Option<wire::Instant>) -> Start {
    match (delay, run_at) {
        (Some(delay), _) => Start::After(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)),
        (None, Some(at)) => Start::At(at.0),
        (None, None) => Start::Now,
    }
}

/// The jobs of one commit, and the number of the line that each comes from.
#[derive(Default)]
struct Batch {
    jobs: Vec<NewJob>,
    numbers: Vec<u64>,
}

/// Says what is done already when one of many lines fails, so that the rest can be sent.
fn after(error: &Error, done: u64) -> Error {
    let next = error.next_step().unwrap_or("see what is wrong with it");
    let so_far = match done {
        0 => "nothing was enqueued before it".to_owned(),
        done => format!("everything up to line {done} is enqueued, go on behind it"),
    };
    Error::new(error.kind(), error.message()).next(format!("{next}; {so_far}"))
}

/// A refusal of one of many jobs, by the line that it comes from.
pub(super) fn of_line(error: Error, numbers: &[u64]) -> Error {
    let Some(number) = error.command().and_then(|index| numbers.get(index)) else {
        return error;
    };
    let named = Error::new(error.kind(), format!("line {number}: {}", error.message()));
    match error.next_step() {
        Some(next) => named.next(next),
        None => named,
    }
}

/// Jobs for one commit: as many lines as fit its limits. Empty at the end of the input.
fn read_batch(
    args: &Args,
    model: &NewJob,
    mint: &mut Mint,
    lines: &mut impl Iterator<Item = (u64, io::Result<Vec<u8>>)>,
) -> Result<Batch> {
    let mut batch = Batch::default();
    let mut bytes = 0;
    // Half of what a commit may have, because bytes grow by a third on their way to a server.
    while batch.jobs.len() < limits::COMMANDS_PER_COMMIT_MAX && bytes < limits::COMMIT_BYTES_MAX / 2
    {
        let Some((number, line)) = lines.next() else {
            break;
        };
        let line = line.map_err(|error| {
            Error::new(
                ErrorKind::Io,
                format!("cannot read standard input: {error}"),
            )
        })?;
        if line.is_empty() {
            continue;
        }
        bytes += line.len();
        let mut job = model.clone();
        job.id = mint.id();
        job.payload = if args.json_lines {
            payload::json(line).map_err(|error| of_line(error.at_command(0), &[number]))?
        } else {
            payload::text(line)
        };
        batch.jobs.push(job);
        batch.numbers.push(number);
    }
    Ok(batch)
}

/// Commits jobs under a key of their own.
async fn commit(store: &dyn Store, jobs: Vec<NewJob>) -> Result<Committed> {
    let name = |job: &NewJob| (format!("enqueue-{}", job.id), job.id.to_bytes());
    let (key, digest) = jobs.first().map(name).unwrap_or_default();
    let key = CommitKey {
        key: key.into(),
        digest,
    };
    let commands = jobs.into_iter().map(|job| Command::Enqueue(Box::new(job)));
    let commit = Commit {
        key: Some(key),
        commands: commands.collect(),
    };
    again::commit(store, commit, "enqueued", "posthaste jobs list").await
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    /// What becomes of `input` under `--json-lines`: the numbers of the lines that are jobs.
    fn read(input: &str) -> Result<Vec<u64>> {
        let line = Line::parse_from(["enqueue", "--kind", "a", "--json-lines"]);
        let model = model(&line.args)?;
        let input = input.split('\n').map(|line| Ok(line.as_bytes().to_vec()));
        let batch = read_batch(&line.args, &model, &mut Mint::new()?, &mut (1..).zip(input))?;
        Ok(batch.numbers)
    }

    #[test]
    fn a_line_that_is_no_job_is_told_by_its_number() {
        assert_eq!(read("1\n\n{\"a\": 2}\n"), Ok(vec![1, 3]));
        let error = read("1\n\n{a}\n").expect_err("not JSON");
        assert!(
            error.message().starts_with("line 3: the payload"),
            "{error}"
        );
        let large = Error::new(ErrorKind::TooLarge, "too large").at_command(1);
        assert_eq!(
            of_line(large, &[1_001, 1_003]).message(),
            "line 1003: too large"
        );
    }

    #[test]
    fn what_is_enqueued_already_is_told() {
        let error = after(&Error::new(ErrorKind::Invalid, "line 7: bad"), 0);
        assert!(
            error.to_string().contains("nothing was enqueued"),
            "{error}"
        );
        let error = after(
            &Error::new(ErrorKind::Invalid, "line 1007: bad").next("mend it"),
            1_000,
        );
        assert!(
            error
                .to_string()
                .contains("mend it; everything up to line 1000"),
            "{error}"
        );
    }
}
