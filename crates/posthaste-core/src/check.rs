//! The rules that a request can be held against without knowing any job: sizes, ranges, shapes.
//!
//! Every edge and every store asks here before anything is decided. It looks at one request and at
//! nothing else: whether a job is there, a key is taken or a token counts is the machine's to say.

mod event;
mod group;
mod json;
mod refusal;

use crate::backoff::Backoff;
use crate::command::{Command, Commit, Edit, QueueSettings};
use crate::duration::print_ms;
use crate::error::{Error, ErrorKind, Result};
use crate::job::{NewJob, Outcome, Payload, RetryRule, Start, Unique, UniqueBy};
use crate::limits;
use crate::machine::{Refusal, Refused};
use crate::port::LeaseAsk;
use crate::time::WallMs;

pub use event::{new_event, read};
pub use group::ask as event_ask;

fn invalid(message: String, next: String) -> Error {
    Error::new(ErrorKind::Invalid, message).next(next)
}

fn too_large(message: String, next: String) -> Error {
    Error::new(ErrorKind::TooLarge, message).next(next)
}

/// Whether every command of a commit keeps the rules.
///
/// # Errors
/// [`ErrorKind::Invalid`] or [`ErrorKind::TooLarge`], naming the field, its value and the command.
pub fn commit(commit: &Commit) -> Result<()> {
    let count = commit.commands.len();
    if count > limits::COMMANDS_PER_COMMIT_MAX {
        return Err(too_large(
            format!("the commit has {count} commands"),
            format!(
                "split it into commits of at most {}",
                limits::COMMANDS_PER_COMMIT_MAX
            ),
        ));
    }
    if let Some(of) = &commit.key {
        key("idempotency key", &of.key)?;
    }
    let (mut bytes, mut events, mut settled) = (0, 0, 0);
    for (index, one) in commit.commands.iter().enumerate() {
        command(one).map_err(|error| error.at_command(index))?;
        bytes += size(one);
        if let Command::Publish { events: of, .. } = one {
            events += of.len();
        }
        if let Command::SettleEvents { ends, .. } = one {
            settled += ends.len();
        }
    }
    event::count(events)?;
    group::count(settled)?;
    if bytes > limits::COMMIT_BYTES_MAX {
        return Err(too_large(
            format!("the commit has {bytes} bytes"),
            format!(
                "split it into commits of at most {} bytes",
                limits::COMMIT_BYTES_MAX
            ),
        ));
    }
    Ok(())
}

/// Whether a single command keeps the rules.
///
/// # Errors
/// As [`commit`].
pub fn command(command: &Command) -> Result<()> {
    match command {
        Command::Enqueue(job) => new_job(job),
        Command::Settle { outcome: ended, .. } => outcome(ended),
        Command::Heartbeat { progress, .. } => progress.as_ref().map_or(Ok(()), |progress| {
            sized(progress, "progress", limits::PROGRESS_BYTES_MAX)
        }),
        Command::Edit { edit: change, .. } => edit(change),
        Command::Configure { settings, .. } => queue_settings(settings),
        Command::Publish { events, .. } => event::publish(events),
        Command::SetTopic { settings, .. } => event::topic_settings(settings),
        Command::SetGroup { settings, .. } => group::settings(settings),
        Command::SettleEvents { ends, .. } => group::ends(ends),
        Command::Cancel(_)
        | Command::Retry(_)
        | Command::Delete(_)
        | Command::DeleteTopic(_)
        | Command::DeleteGroup { .. }
        | Command::Beat { .. }
        | Command::Leave { .. }
        | Command::ResetGroup { .. }
        | Command::Unpark { .. }
        | Command::Redrive { .. } => Ok(()),
    }
}

/// Roughly what a command costs on disk, in bytes.
fn size(command: &Command) -> usize {
    let payload = |payload: &Option<Payload>| payload.as_ref().map_or(0, |p| p.bytes.len());
    let text = |text: &str| text.len().min(limits::RESULT_BYTES_MAX);
    command_bytes(match command {
        Command::Enqueue(job) => {
            let metadata = job
                .metadata
                .iter()
                .map(|(name, value)| name.len() + value.len());
            let tags = job.tags.iter().map(|tag| tag.as_str().len());
            job.payload.bytes.len() + metadata.chain(tags).sum::<usize>()
        }
        Command::Settle { outcome, .. } => match outcome {
            Outcome::Completed { result } => payload(result),
            Outcome::Retry { error, .. } | Outcome::Dead { error } => text(error),
            Outcome::Cancel { reason } => text(reason),
            Outcome::Release { error, .. } => error.as_deref().map_or(0, text),
            Outcome::Snooze { .. } => 0,
        },
        Command::Edit { edit, .. } => payload(&edit.payload),
        Command::Publish { events, .. } => events.iter().map(event::size).sum(),
        Command::SettleEvents { ends, .. } => group::size(ends),
        _ => 0,
    })
}

/// What something of so many bytes costs beside them.
const fn command_bytes(bytes: usize) -> usize {
    64 + bytes
}

fn new_job(job: &NewJob) -> Result<()> {
    sized(&job.payload, "payload", limits::PAYLOAD_BYTES_MAX)?;
    if let Start::After(ms) = job.start {
        delay("delay", ms)?;
    }
    retry_rule(&job.retry)?;
    if let Some(of) = &job.idempotency_key {
        key("idempotency key", of)?;
    }
    if let Some(of) = &job.unique {
        unique(of)?;
    }
    if job.tags.len() > limits::TAGS_MAX {
        return Err(invalid(
            format!("the job has {} tags", job.tags.len()),
            format!("give at most {}", limits::TAGS_MAX),
        ));
    }
    metadata(job)
}

fn metadata(job: &NewJob) -> Result<()> {
    if job.metadata.len() > limits::METADATA_MAX {
        return Err(invalid(
            format!("the job has {} metadata entries", job.metadata.len()),
            format!("give at most {}", limits::METADATA_MAX),
        ));
    }
    for (name, value) in &job.metadata {
        if name.is_empty() || name.len() > limits::NAME_BYTES_MAX {
            return Err(invalid(
                format!("a metadata name is {} bytes long", name.len()),
                format!("use 1 to {} bytes", limits::NAME_BYTES_MAX),
            ));
        }
        if value.len() > limits::METADATA_VALUE_BYTES_MAX {
            return Err(invalid(
                format!("the metadata {name:?} is {} bytes long", value.len()),
                format!(
                    "use at most {} bytes, or put it in the payload",
                    limits::METADATA_VALUE_BYTES_MAX
                ),
            ));
        }
    }
    Ok(())
}

fn retry_rule(rule: &RetryRule) -> Result<()> {
    if !(1..=limits::ATTEMPTS_MAX).contains(&rule.max_attempts) {
        return Err(invalid(
            format!("max_attempts is {}", rule.max_attempts),
            format!("give 1 to {}", limits::ATTEMPTS_MAX),
        ));
    }
    if !(1..=limits::ATTEMPT_TIMEOUT_MS_MAX).contains(&rule.timeout_ms) {
        return Err(invalid(
            format!(
                "the attempt timeout is {}",
                print_ms(rule.timeout_ms.into())
            ),
            format!(
                "give 1ms to {}",
                print_ms(limits::ATTEMPT_TIMEOUT_MS_MAX.into())
            ),
        ));
    }
    backoff(&rule.backoff)
}

fn backoff(backoff: &Backoff) -> Result<()> {
    if backoff.jitter_percent > 100 {
        return Err(invalid(
            format!("the backoff's jitter is {} %", backoff.jitter_percent),
            "give 0 to 100".into(),
        ));
    }
    if backoff.factor == 0 {
        return Err(invalid(
            "the backoff's factor is 0".into(),
            "give 1 for a delay that stays the same, 2 for one that doubles".into(),
        ));
    }
    Ok(())
}

fn unique(unique: &Unique) -> Result<()> {
    if let UniqueBy::Key(of) = &unique.by {
        key("unique key", of)?;
    }
    if let Some(period) = unique.period_ms {
        delay("unique period", period)?;
    }
    if unique.states.bits() == 0 || unique.period_ms == Some(0) {
        return Err(invalid(
            "the unique key is never held".into(),
            "name at least one state, and a period above 0 or none".into(),
        ));
    }
    Ok(())
}

fn key(word: &str, key: &str) -> Result<()> {
    if (1..=limits::KEY_BYTES_MAX).contains(&key.len()) {
        return Ok(());
    }
    Err(invalid(
        format!("the {word} is {} bytes long", key.len()),
        format!("use 1 to {} bytes", limits::KEY_BYTES_MAX),
    ))
}

fn delay(word: &str, ms: u64) -> Result<()> {
    if ms <= limits::DELAY_MS_MAX {
        return Ok(());
    }
    Err(invalid(
        format!("the {word} is {}", print_ms(ms)),
        format!(
            "give at most {} (ten years)",
            print_ms(limits::DELAY_MS_MAX)
        ),
    ))
}

/// Whether `at`, a run-at, is near enough at `now`.
///
/// # Errors
/// [`ErrorKind::Invalid`] where it is further off than a job can be delayed.
pub fn run_at(at: WallMs, now: WallMs) -> Result<()> {
    delay("time until run-at", at.since(now))
}

/// Whether a payload keeps its limit and is what it says it is.
fn sized(payload: &Payload, word: &str, most: usize) -> Result<()> {
    let len = payload.bytes.len();
    if len > most {
        return Err(too_large(
            format!("the {word} has {len} bytes"),
            format!("give at most {most}, or put the data elsewhere and its address here"),
        ));
    }
    match &payload.content_type {
        None => json::check(&payload.bytes).map_err(|problem| {
            invalid(
                format!("the {word} is not acceptable JSON: {problem}"),
                "send JSON, or name another content type".into(),
            )
        }),
        Some(name) => content_type(word, name),
    }
}

fn content_type(word: &str, name: &str) -> Result<()> {
    let visible = name.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if name.len() <= limits::NAME_BYTES_MAX && name.contains('/') && visible {
        return Ok(());
    }
    Err(invalid(
        format!("the content type of the {word} is {name:?}"),
        format!(
            "give a media type of at most {} bytes, such as application/octet-stream",
            limits::NAME_BYTES_MAX
        ),
    ))
}

fn outcome(outcome: &Outcome) -> Result<()> {
    match outcome {
        Outcome::Completed {
            result: Some(result),
        } => sized(result, "result", limits::RESULT_BYTES_MAX),
        Outcome::Retry {
            delay_ms: Some(ms), ..
        }
        | Outcome::Snooze { delay_ms: ms }
        | Outcome::Release { delay_ms: ms, .. } => delay("delay", *ms),
        // Error texts are cut, not refused.
        Outcome::Completed { result: None }
        | Outcome::Retry { delay_ms: None, .. }
        | Outcome::Cancel { .. }
        | Outcome::Dead { .. } => Ok(()),
    }
}

fn edit(edit: &Edit) -> Result<()> {
    if *edit == Edit::default() {
        return Err(invalid(
            "the edit changes nothing".into(),
            "give a payload, a priority or a run-at".into(),
        ));
    }
    edit.payload.as_ref().map_or(Ok(()), |payload| {
        sized(payload, "payload", limits::PAYLOAD_BYTES_MAX)
    })
}

fn queue_settings(settings: &QueueSettings) -> Result<()> {
    settings
        .priority_step_ms
        .map_or(Ok(()), |step| delay("priority step", step))
}

/// Whether an ask for work keeps the rules. A wait that is too long is no error: it is cut.
///
/// # Errors
/// [`ErrorKind::Invalid`], naming the field and its value.
pub fn lease(ask: &LeaseAsk) -> Result<()> {
    let queues = ask.queues.len();
    if !(1..=limits::LEASE_QUEUES_MAX).contains(&queues) {
        return Err(invalid(
            format!("the lease names {queues} queues"),
            format!("name 1 to {}", limits::LEASE_QUEUES_MAX),
        ));
    }
    if let Some((name, _)) = ask.queues.iter().find(|(_, weight)| *weight == 0) {
        return Err(invalid(
            format!("the queue {name} has weight 0"),
            "give a weight of at least 1, or leave the queue out".into(),
        ));
    }
    if ask.kinds.len() > limits::LEASE_KINDS_MAX {
        return Err(invalid(
            format!("the lease names {} kinds", ask.kinds.len()),
            format!(
                "name at most {}, or none for every kind",
                limits::LEASE_KINDS_MAX
            ),
        ));
    }
    if !(1..=limits::LEASE_JOBS_MAX).contains(&ask.max) {
        return Err(invalid(
            format!("the lease asks for {} jobs", ask.max),
            format!("ask for 1 to {}", limits::LEASE_JOBS_MAX),
        ));
    }
    if !(limits::LEASE_MS_MIN..=limits::LEASE_MS_MAX).contains(&ask.lease_ms) {
        return Err(invalid(
            format!("the lease is {} long", print_ms(ask.lease_ms.into())),
            format!(
                "give {} to {}, and send heartbeats where the work takes longer",
                print_ms(limits::LEASE_MS_MIN.into()),
                print_ms(limits::LEASE_MS_MAX.into())
            ),
        ));
    }
    Ok(())
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Self::from(refused.refusal).at_command(refused.index)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let (kind, message, next) = refusal.told();
        let error = Self::new(kind, message).next(next);
        match refusal {
            Refusal::KeysFull
            | Refusal::JobsFull
            | Refusal::NamesFull
            | Refusal::TopicsFull
            | Refusal::GroupsFull
            | Refusal::MembersFull
            | Refusal::UnfinishedFull => error.retry_after_ms(limits::FULL_RETRY_MS),
            _ => error,
        }
    }
}
