//! `publish`: one event, or every event of a file.

mod import;

use std::path::PathBuf;
use std::time::Duration;

use posthaste::event::EventDraft;
use posthaste::wire;
use posthaste_core::command::CommitKey;
use posthaste_core::job::Start;
use posthaste_core::{
    Command, Commit, Committed, Error, ErrorKind, NewEvent, Payload, Published, Reply, Result,
    Store, Text, TopicName, limits,
};
use posthaste_server::mint::Mint;

use super::config::{pair, span};
use super::{Global, SERVER, again, enqueue, payload, print, store};

/// What to publish.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// To which topic; made with the defaults where there is none
    topic: TopicName,
    /// What it carries, as JSON; - is standard input
    #[arg(
        value_name = "DATA",
        allow_negative_numbers = true,
        required_unless_present_any = ["tombstone", "import"],
        conflicts_with_all = ["tombstone", "import"]
    )]
    data: Option<String>,
    /// DATA is text
    #[arg(long, requires = "data", conflicts_with = "content_type")]
    text: bool,
    /// What DATA is; application/json is checked [default: application/json]
    #[arg(long, requires = "data", value_name = "TYPE")]
    content_type: Option<String>,
    /// It carries nothing: compaction forgets its key
    #[arg(long, requires = "key", conflicts_with = "import")]
    tombstone: bool,
    /// What happened
    #[arg(
        long = "type",
        default_value = "event",
        value_name = "TYPE",
        conflicts_with = "import"
    )]
    event_type: String,
    /// Events of one key go to one partition, and stay in order
    #[arg(long, value_name = "KEY", conflicts_with = "import")]
    key: Option<String>,
    /// Its id: an event of the same source and id is not published again within ten minutes
    /// [default: a new one]
    #[arg(long, value_name = "ID", conflicts_with = "import")]
    id: Option<String>,
    /// Who tells it
    #[arg(
        long,
        default_value = limits::EVENT_SOURCE_DEFAULT,
        value_name = "SOURCE",
        conflicts_with = "import"
    )]
    source: String,
    /// A further attribute, such as subject=…, traceparent=…
    #[arg(
        long = "header",
        value_name = "NAME=VALUE",
        value_parser = pair,
        conflicts_with = "import"
    )]
    headers: Vec<(String, String)>,
    /// How long to wait before it is published: until then it is a job, which `serve` runs
    #[arg(long, value_name = "DURATION", value_parser = span, conflicts_with_all = ["run_at", "import"])]
    delay: Option<Duration>,
    /// When to publish it, as RFC 3339 in UTC
    #[arg(long, value_name = "INSTANT", conflicts_with = "import")]
    run_at: Option<wire::Instant>,
    /// Every event of a file (- is standard input), one in each line, as `tail --json` writes them:
    /// CloudEvents in JSON. An event that was published within ten minutes is not published again
    #[arg(long, value_name = "FILE")]
    import: Option<PathBuf>,
    /// With --import: a file that remembers how far it came, so that it goes on from there
    #[arg(long, value_name = "FILE", conflicts_with_all = ["data", "tombstone"])]
    state: Option<PathBuf>,
}

pub(super) async fn run(args: Args, global: &Global) -> Result<()> {
    // What can't be read is told before a store is opened, or made.
    let asked = match &args.import {
        Some(path) => {
            let input = import::Input::open(path, args.state.as_deref(), &args.topic)?;
            Err(Box::new(input))
        }
        None => Ok(event(&args)?),
    };
    let store = store::open(global.url(SERVER), &store::How::default()).await?;
    let published = match asked {
        Ok(event) => match enqueue::start(args.delay, args.run_at) {
            Start::Now => one(args.topic, event, &*store, global.json).await,
            start => later(args.topic, event, start, &*store, global.json).await,
        },
        Err(input) => import::run(*input, args.topic, &*store, global.json).await,
    };
    let closed = store.close().await;
    published.and(closed)
}

fn event(args: &Args) -> Result<NewEvent> {
    let headers = args.headers.iter();
    Ok(NewEvent {
        id: match &args.id {
            Some(id) => Text::from(id.as_str()),
            None => Text::from(Mint::new()?.id().to_string()),
        },
        deduplicate: args.id.is_some(),
        event_type: Text::from(args.event_type.as_str()),
        source: Text::from(args.source.as_str()),
        key: args.key.as_deref().map(Text::from),
        headers: headers
            .map(|(name, value)| (name.as_str().into(), value.as_str().into()))
            .collect(),
        payload: args
            .data
            .as_deref()
            .map(|data| payload_of(args, data))
            .transpose()?,
    })
}

fn payload_of(args: &Args, data: &str) -> Result<Payload> {
    let bytes = match data {
        "-" => payload::read("-", limits::EVENT_BYTES_MAX)?,
        data => data.as_bytes().to_vec(),
    };
    match &args.content_type {
        _ if args.text => Ok(payload::text(bytes)),
        Some(content_type) => payload::of_type(content_type, bytes),
        None => payload::json(bytes),
    }
}

async fn one(topic: TopicName, event: NewEvent, store: &dyn Store, json: bool) -> Result<()> {
    let id = event.id.as_str().to_owned();
    let published = publish(store, topic, vec![event]).await?;
    let shapes = published
        .iter()
        .map(|one| wire::Published::write(one, Some(id.clone())));
    if json {
        let events = shapes.collect();
        print::json(&wire::PublishedEvents { events });
        return Ok(());
    }
    for shape in shapes {
        let existing = if shape.existing {
            " (it was there before)"
        } else {
            ""
        };
        print::line(&format!(
            "{id} partition {} offset {} cursor {}{existing}",
            shape.partition, shape.offset, shape.cursor
        ));
    }
    Ok(())
}

/// Enqueues the job that publishes an event when it is due.
async fn later(
    topic: TopicName,
    event: NewEvent,
    start: Start,
    store: &dyn Store,
    json: bool,
) -> Result<()> {
    let mut mint = Mint::new()?;
    let mut job = EventDraft::of(topic, event)
        .into_job()
        .build(|| mint.id())?;
    job.start = start;
    let look = format!("posthaste jobs show {}", job.id);
    let command = Command::Enqueue(job);
    let committed = commit(store, command, "enqueued", &look).await?;
    let jobs = committed.replies.iter().filter_map(wire::Enqueued::write);
    let jobs: Vec<wire::Enqueued> = jobs.collect();
    if json {
        print::json(&wire::EnqueuedJobs { jobs });
        return Ok(());
    }
    for job in jobs {
        print::line(&format!(
            "{} {}: publishes it when it is due",
            job.id, job.state
        ));
    }
    Ok(())
}

/// Publishes events in one commit, and tells where each is.
async fn publish(
    store: &dyn Store,
    topic: TopicName,
    events: Vec<NewEvent>,
) -> Result<Vec<Published>> {
    let look = format!("posthaste tail {topic}");
    let command = Command::Publish { topic, events };
    let committed = commit(store, command, "published", &look).await?;
    match committed.replies.first() {
        Some(Reply::Published(published)) => Ok(published.to_vec()),
        _ => Err(Error::new(
            ErrorKind::Uncertain,
            "the store did not say where the events are",
        )
        .next(format!("see whether they are there: {look}"))),
    }
}

/// Applies a command under a key of its own, until it is known what came of it.
async fn commit(
    store: &dyn Store,
    command: Command,
    done: &'static str,
    look: &str,
) -> Result<Committed> {
    let id = Mint::new()?.id();
    let commit = Commit {
        key: Some(CommitKey {
            key: format!("publish-{id}").into(),
            digest: id.to_bytes(),
        }),
        commands: vec![command],
    };
    again::commit(store, commit, done, look).await
}
