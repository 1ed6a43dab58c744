//! Jobs as people see them, page by page, and what can be done to many at once.

use posthaste_core::ids::Tag;
use posthaste_core::job::{DeadReason, RetryRule};
use posthaste_core::view::{self, JobFilter};
use posthaste_core::{Error, ErrorKind, KindName, Payload, QueueName, Result, WorkerName};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::job::{Backoff, read_priority, read_state};
use super::names::{read_tags, write_tags};
use super::payload::{self, Written, present};
use super::{Instant, Metadata, Span};

/// Everything that is known of one job: `GET /v1/jobs/{id}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobView {
    /// Its id.
    pub id: String,
    /// Which handler it is for.
    pub kind: String,
    /// Which queue it waits in.
    pub queue: String,
    /// `scheduled`, `available`, `running`, `retryable`, `completed`, `dead`, `cancelled`.
    pub state: String,
    /// Its rank, 1 to 9.
    pub priority: u8,
    /// Attempts that were spent, the running one included.
    pub attempt: u16,
    /// Attempts in all.
    pub max_attempts: u16,
    /// Leases that lapsed in a row.
    pub crashes: u8,
    /// Longest time for one attempt.
    pub timeout: Span,
    /// Delay after a failed attempt, in full.
    pub backoff: Backoff,
    /// When it was accepted.
    pub enqueued_at: Instant,
    /// When it became or becomes ready; for a job that has ended, when it ended.
    pub at: Instant,
    /// Past this it is not started any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Instant>,
    /// It is running and being called off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cancelling: bool,
    /// Why it is dead: `exhausted`, `failed`, `expired`, `poison`, `undecodable`, `corrupt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The last error, or why it was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What its handler returned, where that is JSON.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub result: Option<Box<RawValue>>,
    /// What its handler returned, in base64, where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_base64: Option<String>,
    /// What the result's bytes are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_content_type: Option<String>,
    /// How far it is, as its worker said last.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub progress: Option<Box<RawValue>>,
    /// Who runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// What it carries, where that is JSON.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub payload: Option<Box<RawValue>>,
    /// What it carries, in base64, where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
    /// What the payload's bytes are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Names and values for others to read.
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
}

impl JobView {
    /// How `job` is written.
    #[must_use]
    pub fn write(job: &view::JobView) -> Self {
        let payload = payload::write(&job.payload);
        let result = job.result.as_ref().map(payload::write).unwrap_or_default();
        Self {
            id: job.id.to_string(),
            kind: job.kind.to_string(),
            queue: job.queue.to_string(),
            state: job.state.to_string(),
            priority: job.priority.get(),
            attempt: job.attempt,
            max_attempts: job.retry.max_attempts,
            crashes: job.crashes,
            timeout: Span(job.retry.timeout_ms.into()),
            backoff: Backoff::write(&job.retry.backoff),
            enqueued_at: Instant(job.enqueued_at),
            at: Instant(job.at),
            deadline: job.deadline.map(Instant),
            cancelling: job.cancelling,
            reason: job.reason.map(|reason| reason.as_str().to_owned()),
            error: job.error.as_deref().map(str::to_owned),
            result: result.json,
            result_base64: result.base64,
            result_content_type: result.content_type,
            progress: job
                .progress
                .as_ref()
                .and_then(|progress| payload::json(&progress.bytes)),
            worker: job.worker.as_ref().map(ToString::to_string),
            payload: payload.json,
            payload_base64: payload.base64,
            content_type: payload.content_type,
            tags: write_tags(&job.tags),
            metadata: Metadata(job.metadata.clone()),
        }
    }

    /// The port's job.
    ///
    /// # Errors
    /// `Invalid` for a name, a word or a number that can't be one.
    pub fn read(self) -> Result<view::JobView> {
        let payload = Written {
            json: self.payload,
            base64: self.payload_base64,
            content_type: self.content_type,
        };
        let result = Written {
            json: self.result,
            base64: self.result_base64,
            content_type: self.result_content_type,
        };
        let progress = Written {
            json: self.progress,
            ..Written::default()
        };
        Ok(view::JobView {
            id: self.id.parse()?,
            kind: KindName::new(&self.kind)?,
            queue: QueueName::new(&self.queue)?,
            state: read_state(&self.state)?,
            priority: read_priority(self.priority)?,
            attempt: self.attempt,
            crashes: self.crashes,
            retry: RetryRule {
                max_attempts: self.max_attempts,
                timeout_ms: self.timeout.short("timeout")?,
                backoff: self.backoff.read()?,
            },
            enqueued_at: self.enqueued_at.0,
            at: self.at.0,
            deadline: self.deadline.map(|at| at.0),
            cancelling: self.cancelling,
            reason: self.reason.as_deref().map(read_reason).transpose()?,
            error: self.error.map(Into::into),
            result: result.read("result")?,
            progress: progress.read("progress")?,
            worker: self.worker.as_deref().map(WorkerName::new).transpose()?,
            payload: payload
                .read("payload")?
                .unwrap_or_else(|| Payload::json(&b"null"[..])),
            tags: read_tags(&self.tags)?,
            metadata: self.metadata.0,
        })
    }
}

fn read_reason(word: &str) -> Result<DeadReason> {
    DeadReason::from_word(word).ok_or_else(|| {
        Error::new(
            ErrorKind::Invalid,
            format!("the reason {word:?} is unknown"),
        )
        .next("update the client")
    })
}

/// One page of jobs: `GET /v1/jobs?state=&queue=&kind=&tag=&cursor=&max=`. It may be short, or
/// even empty, and still have a `next`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct JobPage {
    /// What was found, in no promised order.
    pub jobs: Vec<JobView>,
    /// The `cursor` to go on with; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl JobPage {
    /// How `page` is written.
    #[must_use]
    pub fn write(page: &view::JobPage) -> Self {
        Self {
            jobs: page.jobs.iter().map(JobView::write).collect(),
            next: page.next.map(|next| next.to_string()),
        }
    }

    /// The port's page.
    ///
    /// # Errors
    /// `Invalid` for a job or a cursor that can't be one.
    pub fn read(self) -> Result<view::JobPage> {
        Ok(view::JobPage {
            jobs: self
                .jobs
                .into_iter()
                .map(JobView::read)
                .collect::<Result<_>>()?,
            next: self.next.as_deref().map(read_cursor).transpose()?,
        })
    }
}

/// The port's cursor.
///
/// # Errors
/// `Invalid` where `text` isn't one.
pub(super) fn read_cursor(text: &str) -> Result<u64> {
    text.parse().map_err(|_| {
        Error::new(
            ErrorKind::Invalid,
            format!("the cursor {text:?} is not one"),
        )
        .next("give the \"next\" of the page before, or none")
    })
}

/// Something to do to many jobs, a slice at a time: `POST /v1/jobs/redrive|prune|delete`.
///
/// Go on with the answer's `next` as `cursor` until it has none.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    /// In this state. Default: `redrive` the dead; `prune` and `delete` require one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// In this queue. Default any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Of this kind. Default any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// With this tag. Default any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// With `prune`: that ended at least this long ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub older_than: Option<Span>,
    /// With `prune`, instead of `older_than`: all but the newest so many. The first slice then looks
    /// at every job of the filter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<u32>,
    /// Where to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Most jobs of this slice, 1 to 1000. Default 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
}

impl Sweep {
    /// The port's filter.
    ///
    /// # Errors
    /// `Invalid` for a word or a name that can't be one.
    pub fn filter(&self) -> Result<JobFilter> {
        Ok(JobFilter {
            state: self.state.as_deref().map(read_state).transpose()?,
            queue: self.queue.as_deref().map(QueueName::new).transpose()?,
            kind: self.kind.as_deref().map(KindName::new).transpose()?,
            tag: self.tag.as_deref().map(Tag::new).transpose()?,
        })
    }

    /// Where to go on, as the port says it.
    ///
    /// # Errors
    /// `Invalid` where the cursor isn't one.
    pub fn cursor(&self) -> Result<Option<u64>> {
        self.cursor.as_deref().map(read_cursor).transpose()
    }
}

/// What a [`Sweep`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swept {
    /// How many jobs were changed.
    pub changed: u64,
    /// The `cursor` to go on with; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
