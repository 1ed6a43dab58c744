//! Claiming and extending leases.

use std::fmt;

use posthaste_core::port::{self, Leased};
use posthaste_core::{
    Command as Core, Error, ErrorKind, JobId, KindName, Payload, QueueName, Result, Token,
    WorkerName, limits,
};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::job::read_priority;
use super::names::{read_tags, write_tags};
use super::payload::{self, Written, present};
use super::{Instant, Metadata, Problem, Span};

/// A question for work: `POST /v1/leases`.
///
/// ```json
/// {"queues":["mail",{"name":"bulk","weight":1}],"kinds":["welcome-email"],"max":10,"wait":"30s"}
/// ```
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseAsk {
    /// From which queues, 1 to 64, each a name or `{"name","weight"}`. Required.
    pub queues: Vec<QueueAsk>,
    /// The queues in the order given, the first to its end first. Default false: by weight.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
    /// Of which kinds. Default, and empty: every kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<String>,
    /// Most jobs, 1 to 1000. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// How long to wait for the first. Default not at all, at most a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Span>,
    /// For how long the lease holds, 100 ms to an hour. Default `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Span>,
    /// Who asks. Default `http`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
}

/// One queue to lease from: its name, or an object with its weight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QueueAsk {
    /// Which queue.
    pub name: String,
    /// Its weight among the others, at least 1. Default 1.
    pub weight: u32,
}

impl<'de> Deserialize<'de> for QueueAsk {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Weighted {
            name: String,
            #[serde(default = "one")]
            weight: u32,
        }
        const fn one() -> u32 {
            1
        }
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = QueueAsk;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a queue, or an object with name and weight")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<QueueAsk, E> {
                Ok(QueueAsk {
                    name: name.to_owned(),
                    weight: 1,
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<QueueAsk, A::Error> {
                let Weighted { name, weight } =
                    Weighted::deserialize(MapAccessDeserializer::new(map))?;
                Ok(QueueAsk { name, weight })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl LeaseAsk {
    /// The port's question. The port checks the numbers.
    ///
    /// # Errors
    /// `Invalid` for a name that can't be one, or a length over 49 days.
    pub fn read(self) -> Result<port::LeaseAsk> {
        let wait = self.wait.unwrap_or_default();
        let queue = |ask: &QueueAsk| Ok((QueueName::new(&ask.name)?, ask.weight));
        Ok(port::LeaseAsk {
            queues: self.queues.iter().map(queue).collect::<Result<_>>()?,
            strict: self.strict,
            kinds: self
                .kinds
                .iter()
                .map(|kind| KindName::new(kind))
                .collect::<Result<_>>()?,
            max: self.max.unwrap_or(1),
            lease_ms: match self.lease {
                Some(lease) => lease.short("lease")?,
                None => limits::LEASE_MS_DEFAULT,
            },
            wait_ms: wait.short("wait")?,
            worker: WorkerName::new(self.worker.as_deref().unwrap_or("http"))?,
            local: false,
        })
    }

    /// How `ask` is written.
    #[must_use]
    pub fn write(ask: &port::LeaseAsk) -> Self {
        Self {
            queues: ask
                .queues
                .iter()
                .map(|(name, weight)| QueueAsk {
                    name: name.to_string(),
                    weight: *weight,
                })
                .collect(),
            strict: ask.strict,
            kinds: ask.kinds.iter().map(ToString::to_string).collect(),
            max: Some(ask.max),
            wait: Some(Span(ask.wait_ms.into())),
            lease: Some(Span(ask.lease_ms.into())),
            worker: Some(ask.worker.to_string()),
        }
    }
}

/// The answer to `POST /v1/leases`. Empty when no job came.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LeasedJobs {
    /// The jobs, each under its lease.
    pub jobs: Vec<LeasedJob>,
}

/// A job that a worker may work on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LeasedJob {
    /// Which job.
    pub id: String,
    /// Under which lease: give it back with every heartbeat and with the settle.
    pub token: u64,
    /// Which handler it is for.
    pub kind: String,
    /// Which queue it came from.
    pub queue: String,
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
    /// What the bytes are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Which attempt this is, from 1.
    pub attempt: u16,
    /// How many there may be.
    pub max_attempts: u16,
    /// Its rank.
    pub priority: u8,
    /// For how long the lease holds, from now.
    pub lease: Span,
    /// How long the attempt may take.
    pub timeout: Span,
    /// Past this there is no point in starting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Instant>,
    /// When it was accepted.
    pub enqueued_at: Instant,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Names and values for others to read.
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
}

impl LeasedJob {
    /// How `job` is written.
    #[must_use]
    pub fn write(job: &Leased) -> Self {
        let payload = payload::write(&job.payload);
        Self {
            id: job.id.to_string(),
            token: job.token.0,
            kind: job.kind.to_string(),
            queue: job.queue.to_string(),
            payload: payload.json,
            payload_base64: payload.base64,
            content_type: payload.content_type,
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            priority: job.priority.get(),
            lease: Span(job.lease_ms.into()),
            timeout: Span(job.timeout_ms.into()),
            deadline: job.deadline.map(Instant),
            enqueued_at: Instant(job.enqueued_at),
            tags: write_tags(&job.tags),
            metadata: Metadata(job.metadata.clone()),
        }
    }

    /// The port's job.
    ///
    /// # Errors
    /// `Invalid` for a name or a number that can't be one.
    pub fn read(self) -> Result<Leased> {
        let written = Written {
            json: self.payload,
            base64: self.payload_base64,
            content_type: self.content_type,
        };
        Ok(Leased {
            id: self.id.parse()?,
            token: Token(self.token),
            kind: KindName::new(&self.kind)?,
            queue: QueueName::new(&self.queue)?,
            payload: written
                .read("payload")?
                .unwrap_or_else(|| Payload::json(&b"null"[..])),
            attempt: self.attempt,
            max_attempts: self.max_attempts,
            priority: read_priority(self.priority)?,
            lease_ms: self.lease.short("lease")?,
            timeout_ms: self.timeout.short("timeout")?,
            deadline: self.deadline.map(|at| at.0),
            enqueued_at: self.enqueued_at.0,
            tags: read_tags(&self.tags)?,
            metadata: self.metadata.0,
        })
    }
}

/// One attempt that goes on: an item of `POST /v1/leases/heartbeat`, and `{"heartbeat":{…}}` in a
/// commit.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// Which job.
    pub id: String,
    /// Under which lease.
    pub token: u64,
    /// How far it is, as JSON of at most 4 KiB.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub progress: Option<Box<RawValue>>,
}

impl Heartbeat {
    /// The port's command.
    ///
    /// # Errors
    /// `Invalid` for an id that isn't one, or progress that is nested too deep.
    pub fn read(self) -> Result<Core> {
        let written = Written {
            json: self.progress,
            ..Written::default()
        };
        Ok(Core::Heartbeat {
            id: self.id.parse()?,
            token: Token(self.token),
            progress: written.read("progress")?,
        })
    }

    /// How a heartbeat is written.
    #[must_use]
    pub fn write(id: JobId, token: Token, progress: Option<&Payload>) -> Self {
        Self {
            id: id.to_string(),
            token: token.0,
            progress: progress.and_then(|progress| payload::json(&progress.bytes)),
        }
    }
}

/// What became of one heartbeat or settle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Done, now or before.
    Ok,
    /// The lease was lost to a later one.
    Stale,
    /// The lease was never granted, or its settling was forgotten.
    Unknown,
    /// Refused for another reason, which `problem` tells.
    Refused,
}

impl Status {
    /// The status that says `error`.
    #[must_use]
    pub fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Stale => Self::Stale,
            ErrorKind::UnknownLease | ErrorKind::NotFound => Self::Unknown,
            _ => Self::Refused,
        }
    }
}

/// The answer to one heartbeat.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HeartbeatResult {
    /// Which job.
    pub id: String,
    /// What became of it.
    pub status: Status,
    /// The job is being called off: stop, and settle.
    #[serde(default)]
    pub cancelled: bool,
    /// Why it isn't `ok`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// The answer to `POST /v1/leases/heartbeat`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct HeartbeatResults {
    /// One for each item, in order.
    pub results: Vec<HeartbeatResult>,
}
