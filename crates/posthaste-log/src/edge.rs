//! The accepting edge: turns the port's commands into records and light commands, in the caller's
//! own thread, so that the sequencer has little left to do. Refuses what breaks a static rule.

pub(crate) mod digest;
mod group;
mod light;
mod publish;
mod spare;

use std::sync::Arc;

use bytes::Bytes;
use posthaste_core::command::{Command, Commit, Reply};
use posthaste_core::job::{OnConflict, Start, Unique, UniqueBy};
use posthaste_core::machine::{Ending, KeyDigest, Place, UniqueClaim};
use posthaste_core::view::JobView;
use posthaste_core::{
    Error, ErrorKind, JobId, JobState, NewJob, Outcome, Result, Token, WallMs, check, limits,
};

pub(crate) use light::{Light, Lights, OnGroup, Span};
pub(crate) use spare::Spare;

use crate::format::body::{self, Note};
use crate::format::bytes::{floor_char, small};
use crate::format::facts::FACT_BYTES_MAX;
use crate::format::place::{At, pack};
use crate::format::record;

/// A commit, ready for the sequencer.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) key: Option<KeyDigest>,
    pub(crate) commands: Lights,
    /// Every record that the commands point into, one after the other.
    pub(crate) records: Bytes,
    /// Which command each of `commands` is, where some publish in several parts.
    pub(crate) parts: Option<Vec<u32>>,
    /// Events that it publishes.
    pub(crate) events: usize,
    /// Commands that edit a job which isn't there, and the job: refused, unless the commit is
    /// repeated under its key and is answered as it was then, or the settle before it is.
    pub(crate) missing: Vec<(usize, JobId)>,
    /// Commands that name a place in a topic where nothing is, and why: refused in the same way.
    pub(crate) nowhere: Vec<(usize, Error)>,
    /// It adds work: refused when the disk is nearly full.
    pub(crate) grows: bool,
}

impl Prepared {
    /// Bytes that it takes in the journal at most: records, facts, and the answer that its key
    /// keeps.
    pub(crate) fn bytes_max(&self) -> usize {
        let facts: usize = self.commands.iter().map(Light::facts_bytes_max).sum();
        let answer = self
            .key
            .map_or(0, |_| 64 + 32 * (self.commands.len() + self.events));
        self.records.len() + facts + answer + FACT_BYTES_MAX
    }
}

impl Prepared {
    /// Adds a part of the command `index`.
    fn push(&mut self, index: usize, light: Light) {
        let here = self.commands.len();
        if self.parts.is_none() && here != index {
            self.parts = Some((0..small(here)).collect());
        }
        if let Some(parts) = &mut self.parts {
            parts.push(small(index));
        }
        self.commands.push(light);
    }

    /// The command that one of `commands` is, or is a part of.
    pub(crate) fn command_of(&self, index: usize) -> usize {
        let part = self.parts.as_ref().and_then(|parts| parts.get(index));
        part.map_or(index, |command| *command as usize)
    }
}

/// The place of a record that lies at `span` of records which start at `base`.
pub(crate) fn placed(base: At, span: Span) -> Place {
    let at = At {
        segment: base.segment,
        offset: base.offset + span.offset,
    };
    pack(at, span.size as usize)
}

/// Checks a commit and writes its records. `whole` fetches a job again whose payload is edited.
pub(crate) fn prepare(
    commit: &Commit,
    now: WallMs,
    spare: &Spare,
    whole: impl Fn(JobId) -> Option<Accepted>,
    start: impl Fn(usize) -> Option<Result<u64>>,
) -> Result<Prepared> {
    check::commit(commit)?;
    let mut prepared = Prepared {
        key: digest::of_commit(commit),
        commands: Lights::with_room(commit.commands.len()),
        records: Bytes::new(),
        parts: None,
        events: 0,
        missing: Vec::new(),
        nowhere: Vec::new(),
        grows: false,
    };
    let mut records = spare.take(records_size(commit));
    for (index, command) in commit.commands.iter().enumerate() {
        if let Command::Publish { topic, events } = command {
            publish::parts(index, topic, events, &mut prepared, &mut records);
            continue;
        }
        let place = match start(index).transpose() {
            Ok(place) => place,
            Err(error) => {
                prepared.nowhere.push((prepared.commands.len(), error));
                None
            }
        };
        if let Some(light) = group::light(command, place, &mut records) {
            prepared.push(index, light);
            continue;
        }
        let find = |id| whole(id).or_else(|| earlier(&commit.commands[..index], id, now));
        let mut light = one(command, now, &mut prepared, &mut records, &find)
            .map_err(|error| error.at_command(index))?;
        if let (Command::Edit { id, edit }, Light::Edit { body: None, .. }) = (command, &light)
            && edit.payload.is_some()
        {
            prepared.missing.push((prepared.commands.len(), *id));
        }
        if let Light::Settle { digest, .. } = &mut light {
            *digest = digest::with_follow_ups(*digest, &commit.commands[index + 1..]);
        }
        prepared.push(index, light);
    }
    prepared.records = Bytes::from(records);
    Ok(prepared)
}

/// Roughly what the records will take, so that they are written without moving.
fn records_size(commit: &Commit) -> usize {
    let size = |command: &Command| match command {
        Command::Enqueue(job) => {
            160 + job.payload.bytes.len() + 64 * (job.tags.len() + job.metadata.len())
        }
        Command::Settle {
            outcome: Outcome::Completed { result },
            ..
        } => result.as_ref().map_or(0, |result| 64 + result.bytes.len()),
        Command::Settle { .. } => 64,
        Command::Publish { events, .. } => events.iter().map(publish::size).sum(),
        _ => 0,
    };
    commit.commands.iter().map(size).sum()
}

fn one(
    command: &Command,
    now: WallMs,
    prepared: &mut Prepared,
    records: &mut Vec<u8>,
    whole: &impl Fn(JobId) -> Option<Accepted>,
) -> Result<Light> {
    Ok(match command {
        Command::Enqueue(job) => {
            prepared.grows = true;
            if let Start::At(at) = job.start {
                check::run_at(at, now)?;
            }
            enqueue(job, now, records)
        }
        Command::Settle { id, token, outcome } => settle(*id, *token, outcome, records),
        Command::Heartbeat {
            id,
            token,
            progress,
        } => Light::Heartbeat {
            id: *id,
            token: *token,
            progress: progress.clone(),
        },
        Command::Cancel(id) => Light::Cancel(*id),
        Command::Retry(id) => Light::Retry(*id),
        Command::Delete(id) => Light::Delete(*id),
        Command::Edit { id, edit } => {
            if let Some(at) = edit.run_at {
                check::run_at(at, now)?;
            }
            let body = match &edit.payload {
                None => None,
                Some(payload) => whole(*id).map(|Accepted { mut job, at }| {
                    prepared.grows = true;
                    job.payload = payload.clone();
                    job.priority = edit.priority.unwrap_or(job.priority);
                    append(records, |into| body::write_job(into, &job, at, None))
                }),
            };
            Light::Edit {
                id: *id,
                body,
                priority: edit.priority,
                run_at: edit.run_at,
            }
        }
        Command::Configure { queue, settings } => Light::Configure {
            queue: queue.clone(),
            settings: settings.clone(),
        },
        Command::SetTopic { topic, settings } => Light::SetTopic {
            topic: topic.clone(),
            settings: *settings,
        },
        Command::DeleteTopic(topic) => Light::DeleteTopic(topic.clone()),
        _ => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "this store does not know that command",
            ));
        }
    })
}

/// What to say where a job isn't, or is no longer.
pub(crate) fn no_such_job(id: JobId) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no job {id}")).next(
        "it may have been deleted, or forgotten: jobs that have ended are kept for a time, completed \
         ones for 24 hours where nothing else is set",
    )
}

fn append(records: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> usize) -> Span {
    let offset = small(records.len());
    let size = small(write(records));
    Span { offset, size }
}

fn enqueue(job: &NewJob, now: WallMs, records: &mut Vec<u8>) -> Light {
    let unique = job.unique.as_ref().map(|unique| claim(job, unique, now));
    let body = append(records, |into| body::write_job(into, job, now, unique));
    let key = job.idempotency_key.as_deref().map(|key| {
        let same = lasting_body(job);
        let start = format!("{:?}", job.start);
        let digest = digest::of_key(b"job", key, &digest::sha(&[&same, start.as_bytes()]));
        // A record of its own: the key is remembered when the job and its payload are long gone.
        let first = Reply::Enqueued {
            id: job.id,
            state: JobState::Available,
            existing: false,
        };
        let answer = append(records, |into| body::write_answer(into, digest, &[first]));
        (digest, answer)
    });
    let on_conflict = job
        .unique
        .as_ref()
        .map_or(OnConflict::Existing, |unique| unique.on_conflict);
    Light::Enqueue {
        body,
        start: job.start,
        key,
        on_conflict,
    }
}

/// Metadata that comes of where a job was enqueued, and is no part of what it says.
const OF_THE_CALL: [&str; 3] = ["traceparent", "tracestate", "criticality"];

/// What a job says, without its id, the time, and the context that it was enqueued in: the same each time
/// that it is enqueued.
fn lasting_body(job: &NewJob) -> Vec<u8> {
    let of_the_call = |name: &str| OF_THE_CALL.contains(&name);
    if job.metadata.iter().any(|(name, _)| of_the_call(name)) {
        let mut bare = job.clone();
        bare.metadata.retain(|(name, _)| !of_the_call(name));
        return lasting_body(&bare);
    }
    let unique = job.unique.as_ref().map(|unique| UniqueClaim {
        until: None,
        ..claim(job, unique, WallMs(0))
    });
    let mut same = Vec::new();
    body::write_job(&mut same, job, WallMs(0), unique);
    same.split_off(record::HEADER + 16)
}

fn claim(job: &NewJob, unique: &Unique, now: WallMs) -> UniqueClaim {
    let kind = job.kind.as_str().as_bytes();
    let digest = match &unique.by {
        UniqueBy::Key(key) => digest::sha(&[b"key", kind, key.as_bytes()]),
        UniqueBy::Payload => digest::sha(&[b"payload", kind, &job.payload.bytes]),
    };
    let until = unique.period_ms.map(|period| now.plus(period));
    UniqueClaim {
        digest,
        until,
        states: unique.states,
    }
}

fn settle(id: JobId, token: Token, outcome: &Outcome, records: &mut Vec<u8>) -> Light {
    let error = |text: &Arc<str>, records: &mut Vec<u8>| {
        let text = floor_char(text, limits::RESULT_BYTES_MAX);
        Some(append(records, |into| {
            body::write_note(into, id, Note::Error(text))
        }))
    };
    let (ending, note) = match outcome {
        Outcome::Completed { result } => {
            let note = result.as_ref().map(|result| {
                let note = Note::Result(result.content_type.as_deref(), &result.bytes);
                append(records, |into| body::write_note(into, id, note))
            });
            (Ending::Completed, note)
        }
        Outcome::Retry {
            error: text,
            delay_ms,
        } => (
            Ending::Retry {
                delay_ms: *delay_ms,
            },
            error(text, records),
        ),
        Outcome::Snooze { delay_ms } => (
            Ending::Snooze {
                delay_ms: *delay_ms,
            },
            None,
        ),
        Outcome::Cancel { reason } => (Ending::Cancel, error(reason, records)),
        Outcome::Dead { error: text } => (Ending::Dead, error(text, records)),
        Outcome::Release {
            delay_ms,
            undecodable,
            error: text,
        } => (
            Ending::Release {
                delay_ms: *delay_ms,
                undecodable: *undecodable,
            },
            text.as_ref().and_then(|text| error(text, records)),
        ),
    };
    Light::Settle {
        id,
        token,
        digest: digest::of_outcome(outcome),
        ending,
        note,
    }
}

/// A job as it was enqueued, and when, to be written with another payload.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    pub(crate) job: NewJob,
    pub(crate) at: WallMs,
}

/// The job that one of these commands enqueues.
fn earlier(commands: &[Command], id: JobId, now: WallMs) -> Option<Accepted> {
    commands.iter().find_map(|command| match command {
        Command::Enqueue(job) if job.id == id => Some(Accepted {
            job: NewJob::clone(job),
            at: now,
        }),
        _ => None,
    })
}

/// The job that is shown, as it was enqueued.
pub(crate) fn again(view: JobView) -> Accepted {
    let at = view.enqueued_at;
    let mut job = NewJob::new(view.id, view.queue, view.kind, view.payload);
    job.priority = view.priority;
    job.deadline = view.deadline;
    job.retry = view.retry;
    job.tags = view.tags;
    job.metadata = view.metadata;
    Accepted { job, at }
}
