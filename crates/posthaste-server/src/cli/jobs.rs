//! `jobs`: list, show, change.

use std::time::Duration;

use posthaste::sweep::{self, Deed, End};
use posthaste::wire;
use posthaste_core::command::Edit;
use posthaste_core::ids::Tag;
use posthaste_core::port::TailJob;
use posthaste_core::view::{JobFilter, JobView};
use posthaste_core::{
    Command as Verb, Commit, Error, ErrorKind, JobId, JobState, KindName, QueueName, Reply, Result,
    Store, WallMs, limits, suggest,
};
use posthaste_server::mint;

use super::config::span;
use super::{Global, SERVER, payload, print, store};

/// What to do with jobs.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List jobs
    List(List),
    /// Show everything that is known of a job
    Show {
        /// The job's id
        id: JobId,
        /// Wait for it to come to an end, at most this long
        #[arg(long, value_name = "DURATION", value_parser = span)]
        wait: Option<Duration>,
    },
    /// Call jobs off; a running one is told at its next heartbeat
    Cancel {
        /// The jobs' ids
        #[arg(required = true)]
        ids: Vec<JobId>,
    },
    /// Run waiting jobs now; bring dead or cancelled ones back, late as they may be
    Retry {
        /// The jobs' ids
        #[arg(required = true)]
        ids: Vec<JobId>,
    },
    /// Forget jobs that aren't running
    Delete {
        /// The jobs' ids
        #[arg(required = true)]
        ids: Vec<JobId>,
    },
    /// Forget jobs that came to an end long enough ago, or all but the newest
    Prune {
        /// In this state: completed, dead or cancelled
        #[arg(long, value_name = "STATE", value_parser = state)]
        state: JobState,
        /// That ended at least this long ago
        #[arg(long, value_name = "DURATION", value_parser = span, required_unless_present = "keep")]
        older_than: Option<Duration>,
        /// All but the newest so many
        #[arg(long, value_name = "N", conflicts_with = "older_than")]
        keep: Option<u32>,
        #[command(flatten)]
        which: Which,
    },
    /// Change a waiting or dead job
    Edit {
        /// The job's id
        id: JobId,
        /// Another payload, as JSON
        #[arg(long, value_name = "JSON")]
        payload: Option<String>,
        /// Another rank, 1 to 9
        #[arg(long, value_name = "N")]
        priority: Option<u8>,
        /// Another start, as RFC 3339 in UTC (waiting jobs only)
        #[arg(long, value_name = "INSTANT")]
        run_at: Option<wire::Instant>,
    },
}

/// Which jobs to list, and how many.
#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// In this state
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Option<JobState>,
    #[command(flatten)]
    pub(super) which: Which,
}

/// Which jobs, whatever their state.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Which {
    /// In this queue
    #[arg(long, value_name = "NAME")]
    pub(super) queue: Option<QueueName>,
    /// Of this kind
    #[arg(long, value_name = "NAME")]
    pub(super) kind: Option<KindName>,
    /// With this tag
    #[arg(long, value_name = "WORD")]
    pub(super) tag: Option<Tag>,
    /// Most jobs to list
    #[arg(long, default_value_t = 100, value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) max: u32,
}

impl Which {
    /// The same, in one state.
    pub(super) fn filter(&self, state: Option<JobState>) -> JobFilter {
        JobFilter {
            state,
            queue: self.queue.clone(),
            kind: self.kind.clone(),
            tag: self.tag.clone(),
        }
    }
}

fn state(word: &str) -> Result<JobState> {
    JobState::from_word(word).ok_or_else(|| {
        let words = JobState::ALL.map(JobState::as_str);
        let error = Error::new(ErrorKind::Invalid, format!("the state {word:?} is unknown"));
        match suggest::nearest(word, words) {
            Some(near) => error.next(format!("did you mean {near:?}?")),
            None => error.next(format!("known: {}", words.join(", "))),
        }
    })
}

pub(super) async fn run(command: Command, global: &Global) -> Result<()> {
    let store = store::open(global.url(SERVER), &store::How::existing()).await?;
    let done = act(command, &*store, global.json).await;
    let closed = store.close().await;
    done.and(closed)
}

async fn act(command: Command, store: &dyn Store, json: bool) -> Result<()> {
    match command {
        Command::List(list) => {
            let filter = list.which.filter(list.state);
            show_list(store, filter, list.which.max, json).await
        }
        Command::Show { id, wait } => show(store, id, wait, json).await,
        Command::Cancel { ids } => change(store, ids, Verb::Cancel, json).await,
        Command::Retry { ids } => change(store, ids, Verb::Retry, json).await,
        Command::Delete { ids } => change(store, ids, Verb::Delete, json).await,
        Command::Prune {
            state,
            older_than,
            keep,
            which,
        } => {
            let filter = which.filter(Some(state));
            let upto = match keep {
                Some(keep) => sweep::beyond(store, &filter, keep).await?,
                None => {
                    let age = older_than.unwrap_or_default().as_millis();
                    let age = u64::try_from(age).unwrap_or(u64::MAX);
                    Some(End::at(WallMs(mint::now().0.saturating_sub(age))))
                }
            };
            let changed = match upto {
                Some(upto) => sweep_all(store, &Deed::Prune { upto }, &filter).await?,
                None => 0,
            };
            print_changed(changed, "deleted", json);
            Ok(())
        }
        Command::Edit {
            id,
            payload,
            priority,
            run_at,
        } => {
            let edit = edit(payload, priority, run_at)?;
            let verb = |id| Verb::Edit {
                id,
                edit: edit.clone(),
            };
            change(store, vec![id], verb, json).await
        }
    }
}

/// Lists up to `max` jobs of `filter`, page by page.
pub(super) async fn show_list(
    store: &dyn Store,
    filter: JobFilter,
    max: u32,
    json: bool,
) -> Result<()> {
    let mut jobs: Vec<JobView> = Vec::new();
    let mut cursor = None;
    let most = max as usize;
    loop {
        let left = u32::try_from(most - jobs.len()).unwrap_or(limits::PAGE_MAX);
        let page = store
            .jobs(filter.clone(), cursor, left.min(limits::PAGE_MAX))
            .await?;
        jobs.extend(page.jobs);
        cursor = page.next;
        if cursor.is_none() || jobs.len() >= most {
            break;
        }
    }
    if json {
        let jobs = jobs.iter().map(wire::JobView::write).collect();
        let next = cursor.map(|next| next.to_string());
        print::json(&wire::JobPage { jobs, next });
        return Ok(());
    }
    let rows: Vec<_> = jobs.iter().map(row).collect();
    print::table(
        &["ID", "KIND", "QUEUE", "STATE", "ATTEMPT", "AT", "ERROR"],
        &rows,
    );
    if cursor.is_some() {
        print::note(&format!(
            "the first {}; there are more: --max {}",
            jobs.len(),
            max * 10
        ));
    }
    Ok(())
}

fn row(job: &JobView) -> Vec<String> {
    let error = job.error.as_deref().unwrap_or_default();
    vec![
        job.id.to_string(),
        job.kind.to_string(),
        job.queue.to_string(),
        state_words(job),
        format!("{}/{}", job.attempt, job.retry.max_attempts),
        wire::Instant(job.at).to_string(),
        error.lines().next().unwrap_or_default().to_owned(),
    ]
}

fn state_words(job: &JobView) -> String {
    match job.reason {
        Some(reason) => format!("{} ({})", job.state, reason.as_str()),
        None if job.cancelling => format!("{} (being cancelled)", job.state),
        None => job.state.to_string(),
    }
}

/// Shows one job.
pub(super) async fn show(
    store: &dyn Store,
    id: JobId,
    wait: Option<Duration>,
    json: bool,
) -> Result<()> {
    let job = match wait {
        Some(wait) => wait_for(store, id, wait).await?,
        None => store.job(id).await?.ok_or_else(|| absent(id))?,
    };
    if json {
        print::json(&wire::JobView::write(&job));
        return Ok(());
    }
    let instant = |at| wire::Instant(at).to_string();
    let tags: Vec<&str> = job.tags.iter().map(AsRef::as_ref).collect();
    let timeout = u64::from(job.retry.timeout_ms);
    let mut fields = vec![
        ("id", job.id.to_string()),
        ("kind", job.kind.to_string()),
        ("queue", job.queue.to_string()),
        ("state", state_words(&job)),
        ("priority", job.priority.get().to_string()),
        (
            "attempt",
            format!("{} of {}", job.attempt, job.retry.max_attempts),
        ),
        ("timeout", posthaste_core::duration::print_ms(timeout)),
        ("enqueued", instant(job.enqueued_at)),
        (
            if job.state.is_final() {
                "ended"
            } else {
                "ready"
            },
            instant(job.at),
        ),
        ("payload", payload::shown(&job.payload)),
    ];
    let more = [
        ("deadline", job.deadline.map(instant)),
        ("worker", job.worker.as_ref().map(ToString::to_string)),
        ("progress", job.progress.as_ref().map(payload::shown)),
        ("result", job.result.as_ref().map(payload::shown)),
        ("error", job.error.as_deref().map(str::to_owned)),
        ("tags", (!tags.is_empty()).then(|| tags.join(", "))),
        (
            "crashes",
            (job.crashes > 0).then(|| job.crashes.to_string()),
        ),
    ];
    fields.extend(
        more.into_iter()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    for (name, value) in &job.metadata {
        fields.push((&**name, value.to_string()));
    }
    for (name, value) in fields {
        print::line(&format!("{name:<10}{value}"));
    }
    Ok(())
}

async fn wait_for(store: &dyn Store, id: JobId, wait: Duration) -> Result<JobView> {
    let end = tokio::time::Instant::now() + wait;
    loop {
        let left = end.saturating_duration_since(tokio::time::Instant::now());
        let left = u32::try_from(left.as_millis()).unwrap_or(u32::MAX);
        let wait_ms = left.min(limits::WAIT_MS_MAX);
        let job = store.tail(TailJob { id, wait_ms }).await?;
        if job.state.is_final() || left <= limits::WAIT_MS_MAX {
            return Ok(job);
        }
    }
}

fn absent(id: JobId) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no job {id}"))
        .next("it may have been deleted, or forgotten after its retention; see posthaste jobs list")
}

fn edit(
    payload: Option<String>,
    priority: Option<u8>,
    run_at: Option<wire::Instant>,
) -> Result<Edit> {
    let shape = wire::Edit {
        payload: payload
            .map(serde_json::value::RawValue::from_string)
            .transpose()
            .map_err(|error| {
                Error::new(
                    ErrorKind::Invalid,
                    format!("the payload is not JSON: {error}"),
                )
                .next("quote it for the shell")
            })?,
        priority,
        run_at,
        ..wire::Edit::default()
    };
    shape.read()
}

/// Does one thing to each job, and tells of each; the first refusal is the exit code.
pub(super) async fn change(
    store: &dyn Store,
    ids: Vec<JobId>,
    verb: impl Fn(JobId) -> Verb,
    json: bool,
) -> Result<()> {
    let commits = ids.iter().map(|id| Commit::one(verb(*id))).collect();
    let answers = store.commit(commits).await?;
    let mut refused = None;
    for (id, answer) in ids.iter().zip(answers) {
        let words = match answer.map(|committed| committed.replies.first().cloned()) {
            Ok(Some(Reply::Changed { state })) => state.as_str(),
            Ok(_) => "deleted",
            Err(error) => {
                let error = about(*id, &error);
                if refused.is_some() {
                    print::error(&error, json);
                } else {
                    refused = Some(error);
                }
                continue;
            }
        };
        if json {
            print::json(&serde_json::json!({"id": id.to_string(), "state": words}));
        } else {
            print::line(&format!("{id} {words}"));
        }
    }
    refused.map_or(Ok(()), Err)
}

/// Does `deed` to every job of `filter`, and tells of it now and then.
pub(super) async fn sweep_all(store: &dyn Store, deed: &Deed, filter: &JobFilter) -> Result<u64> {
    let mut told = 0;
    sweep::all(store, deed, filter, limits::PAGE_MAX, |changed| {
        if changed >= told + 10_000 {
            told = changed;
            print::note(&format!("{changed} so far"));
        }
    })
    .await
}

/// Says how many jobs were changed.
pub(super) fn print_changed(changed: u64, word: &str, json: bool) {
    if json {
        print::json(&serde_json::json!({"changed": changed}));
    } else {
        print::line(&format!("{changed} jobs {word}"));
    }
}

/// A refusal, naming the job.
fn about(id: JobId, error: &Error) -> Error {
    let named = Error::new(error.kind(), format!("{id}: {}", error.message()));
    match error.next_step() {
        Some(next) => named.next(next),
        None => named.next(format!("look at it: posthaste jobs show {id}")),
    }
}
