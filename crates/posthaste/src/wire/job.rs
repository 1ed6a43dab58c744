//! A new job, and the answer to it.

use std::sync::Arc;

use posthaste_core::job::{RetryRule, Start, StateSet, UniqueBy};
use posthaste_core::{
    Error, ErrorKind, JobId, JobState, KindName, Priority, QueueName, Reply, Result, backoff, job,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::names::{read_tags, write_tags};
use super::payload::{self, Written, present};
use super::{Instant, Metadata, Span};

/// A job to enqueue: `POST /v1/jobs`, one or an array; `{"enqueue":{…}}` in a commit.
///
/// ```json
/// {"kind":"welcome-email","queue":"mail","payload":{"user":7},"priority":9,"delay":"5s"}
/// ```
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewJob {
    /// The job's id, a UUID. Default: the server mints a UUIDv7.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Which handler it is for. Required.
    pub kind: String,
    /// Which queue it waits in. Default `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// What it carries, as JSON. Default `null`.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub payload: Option<Box<RawValue>>,
    /// What it carries, as bytes in base64; instead of `payload`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
    /// What the bytes are. Default `application/octet-stream`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Rank, 1 to 9; 9 is served first. Default 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// How long after it is accepted it may start. Default at once; not together with `run_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Span>,
    /// When it may start. Default at once; not together with `delay`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<Instant>,
    /// Past this it is not started any more, and is dead as `expired`. Default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Instant>,
    /// Attempts in all, 1 to 1000. Default 25.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u16>,
    /// Longest time for one attempt. Default `15m`, at most `7d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Delay after a failed attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// One effect for one key, for 24 hours; at most 255 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// At most one such job at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique: Option<Unique>,
    /// Words to find it by, at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Names and values for others to read, W3C `traceparent` among them; at most 32.
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
    /// Whether the handler's result is kept with the completed job. Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_result: Option<bool>,
}

/// Delay after a failed attempt; what is absent has its default.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backoff {
    /// Delay before the growth: attempt n waits `base` × `factor`ⁿ. Default `1s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Span>,
    /// What each further attempt multiplies the delay by; 1 keeps it fixed. Default 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<u8>,
    /// The longest delay, before jitter. Default `6h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Span>,
    /// Jitter to either side, in percent, 0 to 100. Default 25.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter_percent: Option<u8>,
}

/// At most one job of this kind and key at a time. `key` or `payload: true` is required.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unique {
    /// An explicit key, at most 255 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The payload is the key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub payload: bool,
    /// For how long after the enqueue. Default: as long as the state is one of `states`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<Span>,
    /// The states in which the key is held. Default scheduled, available, running, retryable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub states: Option<Vec<String>>,
    /// What to do with the later job. Default `existing`.
    #[serde(default)]
    pub on_conflict: OnConflict,
}

/// What to do with a job whose unique key is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnConflict {
    /// Answer with the job that holds it.
    #[default]
    Existing,
    /// Refuse.
    Reject,
}

/// The answer to one enqueued job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enqueued {
    /// The job's id: the new one, or that of the job which was there.
    pub id: String,
    /// Its state's word.
    pub state: String,
    /// It was there before, by an idempotency or a unique key.
    pub existing: bool,
}

/// The answer to `POST /v1/jobs`, status 201.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnqueuedJobs {
    /// One for each job, in order.
    pub jobs: Vec<Enqueued>,
}

impl NewJob {
    /// The port's job, `mint` giving the id where none is given.
    ///
    /// # Errors
    /// `Invalid`, naming the field.
    pub fn read(self, mint: impl FnOnce() -> JobId) -> Result<job::NewJob> {
        let id = self.id.as_deref().map(str::parse).transpose()?;
        let written = Written {
            json: self.payload,
            base64: self.payload_base64,
            content_type: self.content_type,
        };
        let payload = written.read("payload")?;
        let start = match (self.delay, self.run_at) {
            (None, None) => Start::Now,
            (Some(delay), None) => Start::After(delay.0),
            (None, Some(at)) => Start::At(at.0),
            (Some(_), Some(_)) => return Err(both_starts()),
        };
        let defaults = RetryRule::default();
        let timeout = self.timeout.map(|span| span.short("timeout")).transpose()?;
        let backoff = self.backoff.map(Backoff::read).transpose()?;
        Ok(job::NewJob {
            id: id.unwrap_or_else(mint),
            kind: KindName::new(&self.kind)?,
            queue: QueueName::new(self.queue.as_deref().unwrap_or("default"))?,
            payload: payload.unwrap_or_else(|| job::Payload::json(&b"null"[..])),
            priority: self
                .priority
                .map(read_priority)
                .transpose()?
                .unwrap_or_default(),
            start,
            deadline: self.deadline.map(|at| at.0),
            retry: RetryRule {
                max_attempts: self.max_attempts.unwrap_or(defaults.max_attempts),
                timeout_ms: timeout.unwrap_or(defaults.timeout_ms),
                backoff: backoff.unwrap_or(defaults.backoff),
            },
            idempotency_key: self.idempotency_key.map(Arc::from),
            unique: self.unique.map(Unique::read).transpose()?,
            tags: read_tags(&self.tags)?,
            metadata: self.metadata.0,
            keep_result: self.keep_result.unwrap_or(true),
        })
    }

    /// How `job` is written, its id included. What has its default is left out.
    #[must_use]
    pub fn write(job: &job::NewJob) -> Self {
        let payload = payload::write(&job.payload);
        let defaults = RetryRule::default();
        let (delay, run_at) = match job.start {
            Start::Now => (None, None),
            Start::After(ms) => (Some(Span(ms)), None),
            Start::At(at) => (None, Some(Instant(at))),
        };
        let retry = job.retry;
        let differs = retry.backoff != defaults.backoff;
        Self {
            id: Some(job.id.to_string()),
            kind: job.kind.to_string(),
            queue: Some(job.queue.to_string()),
            payload: payload.json,
            payload_base64: payload.base64,
            content_type: payload.content_type,
            priority: (job.priority != Priority::default()).then(|| job.priority.get()),
            delay,
            run_at,
            deadline: job.deadline.map(Instant),
            max_attempts: (retry.max_attempts != defaults.max_attempts)
                .then_some(retry.max_attempts),
            timeout: (retry.timeout_ms != defaults.timeout_ms)
                .then(|| Span(retry.timeout_ms.into())),
            backoff: differs.then(|| Backoff::write(&retry.backoff)),
            idempotency_key: job.idempotency_key.as_deref().map(str::to_owned),
            unique: job.unique.as_ref().map(Unique::write),
            tags: write_tags(&job.tags),
            metadata: Metadata(job.metadata.clone()),
            keep_result: (!job.keep_result).then_some(false),
        }
    }
}

fn both_starts() -> Error {
    Error::new(ErrorKind::Invalid, "both delay and run_at are given").next("give one of them")
}

pub(super) fn read_priority(value: u8) -> Result<Priority> {
    Priority::new(value).ok_or_else(|| {
        Error::new(
            ErrorKind::Invalid,
            format!("priority {value} is out of range"),
        )
        .next("give 1 to 9; 9 is served first")
    })
}

impl Backoff {
    /// The port's backoff.
    ///
    /// # Errors
    /// `Invalid` for a delay of 49 days or more.
    pub fn read(self) -> Result<backoff::Backoff> {
        let defaults = backoff::Backoff::default();
        let base = self
            .base
            .map(|span| span.short("backoff base"))
            .transpose()?;
        let max = self.max.map(|span| span.short("backoff max")).transpose()?;
        Ok(backoff::Backoff {
            base_ms: base.unwrap_or(defaults.base_ms),
            factor: self.factor.unwrap_or(defaults.factor),
            max_ms: max.unwrap_or(defaults.max_ms),
            jitter_percent: self.jitter_percent.unwrap_or(defaults.jitter_percent),
        })
    }

    /// How `backoff` is written, in full.
    #[must_use]
    pub fn write(backoff: &backoff::Backoff) -> Self {
        Self {
            base: Some(Span(backoff.base_ms.into())),
            factor: Some(backoff.factor),
            max: Some(Span(backoff.max_ms.into())),
            jitter_percent: Some(backoff.jitter_percent),
        }
    }
}

impl Unique {
    /// The port's rule.
    ///
    /// # Errors
    /// `Invalid` where both or neither of `key` and `payload` are given, or a state is unknown.
    pub fn read(self) -> Result<job::Unique> {
        let by = match (self.key, self.payload) {
            (Some(key), false) => UniqueBy::Key(key.into()),
            (None, true) => UniqueBy::Payload,
            _ => {
                return Err(
                    Error::new(ErrorKind::Invalid, "unique needs one of key and payload")
                        .next("give \"key\":\"…\" or \"payload\":true"),
                );
            }
        };
        let states = match self.states {
            None => StateSet::UNFINISHED,
            Some(words) => StateSet::of(
                &words
                    .iter()
                    .map(|word| read_state(word))
                    .collect::<Result<Vec<_>>>()?,
            ),
        };
        Ok(job::Unique {
            by,
            period_ms: self.period.map(|span| span.0),
            states,
            on_conflict: match self.on_conflict {
                OnConflict::Existing => job::OnConflict::Existing,
                OnConflict::Reject => job::OnConflict::Reject,
            },
        })
    }

    /// How `unique` is written.
    #[must_use]
    pub fn write(unique: &job::Unique) -> Self {
        let states = JobState::ALL
            .into_iter()
            .filter(|state| unique.states.contains(*state));
        let (key, payload) = match &unique.by {
            UniqueBy::Key(key) => (Some(key.to_string()), false),
            UniqueBy::Payload => (None, true),
        };
        Self {
            key,
            payload,
            period: unique.period_ms.map(Span),
            states: (unique.states != StateSet::UNFINISHED)
                .then(|| states.map(|state| state.to_string()).collect()),
            on_conflict: match unique.on_conflict {
                job::OnConflict::Existing => OnConflict::Existing,
                job::OnConflict::Reject => OnConflict::Reject,
            },
        }
    }
}

pub(super) fn read_state(word: &str) -> Result<JobState> {
    JobState::from_word(word).ok_or_else(|| {
        let words = JobState::ALL.map(JobState::as_str);
        let error = Error::new(ErrorKind::Invalid, format!("the state {word:?} is unknown"));
        match posthaste_core::suggest::nearest(word, words) {
            Some(near) => error.next(format!("did you mean {near:?}?")),
            None => error.next(format!("known: {}", words.join(", "))),
        }
    })
}

impl Enqueued {
    /// How the answer to an enqueue is written; none where `reply` answers something else.
    #[must_use]
    pub fn write(reply: &Reply) -> Option<Self> {
        match reply {
            Reply::Enqueued {
                id,
                state,
                existing,
            } => Some(Self {
                id: id.to_string(),
                state: state.to_string(),
                existing: *existing,
            }),
            _ => None,
        }
    }

    /// The port's answer.
    ///
    /// # Errors
    /// `Invalid` where the id or the state can't be read.
    pub fn read(&self) -> Result<Reply> {
        Ok(Reply::Enqueued {
            id: self.id.parse()?,
            state: read_state(&self.state)?,
            existing: self.existing,
        })
    }
}
