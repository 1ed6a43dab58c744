//! Claiming, extending and settling leases.

use std::fmt;

use posthaste_core::port::{self, Leased};
use posthaste_core::{
    Command as Core, Error, ErrorKind, JobId, KindName, Outcome, Payload, QueueName, Result, Token,
    WorkerName, limits,
};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::commit::{Command, Reply};
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

/// The end of one attempt: an item of `POST /v1/leases/settle`, and `{"settle":{…}}` in a commit.
///
/// ```json
/// {"id":"…","token":7,"outcome":"retry","error":"mail server is down","delay":"1m"}
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settle {
    /// Which job.
    pub id: String,
    /// Under which lease.
    pub token: u64,
    /// How it ended.
    pub outcome: OutcomeWord,
    /// With `completed`: what the handler returned, as JSON, at most 64 KiB.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub result: Option<Box<RawValue>>,
    /// With `completed`: what the handler returned, as bytes in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_base64: Option<String>,
    /// What the bytes are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_content_type: Option<String>,
    /// With `retry` and `dead`: what went wrong; with `cancel`: why. Cut at 64 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// With `retry`: instead of the backoff. With `snooze`: required. With `release`: default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Span>,
    /// With `release`: the worker could not read the payload.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undecodable: bool,
    /// Commands to apply together with the settle, all or none. Not inside a commit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commit: Vec<Command>,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutcomeWord {
    /// Done.
    Completed,
    /// Failed: again after the backoff, or dead where this was the last attempt.
    Retry,
    /// Not yet: again after `delay`, without spending an attempt.
    Snooze,
    /// Called off.
    Cancel,
    /// Given up on.
    Dead,
    /// Given back untouched.
    Release,
}

impl Settle {
    /// The port's commands: the settle first, then what is to be applied with it.
    ///
    /// # Errors
    /// `Invalid` for a field that doesn't go with the outcome, or one that can't be read.
    pub fn read(self, mint: &mut dyn FnMut() -> JobId) -> Result<Vec<Core>> {
        let id = self.id.parse()?;
        let token = Token(self.token);
        let word = self.outcome;
        let outcome = read_outcome(
            word,
            Fields {
                result: Written {
                    json: self.result,
                    base64: self.result_base64,
                    content_type: self.result_content_type,
                }
                .read("result")?,
                error: self.error,
                delay_ms: self.delay.map(|delay| delay.0),
                undecodable: self.undecodable,
            },
        )?;
        let mut commands = vec![Core::Settle { id, token, outcome }];
        for command in self.commit {
            commands.push(command.read(mint)?);
        }
        Ok(commands)
    }

    /// How a settle is written, with `commit` beside it.
    #[must_use]
    pub fn write(id: JobId, token: Token, outcome: &Outcome, commit: Vec<Command>) -> Self {
        let mut settle = Self {
            id: id.to_string(),
            token: token.0,
            outcome: OutcomeWord::Completed,
            result: None,
            result_base64: None,
            result_content_type: None,
            error: None,
            delay: None,
            undecodable: false,
            commit,
        };
        settle.outcome = match outcome {
            Outcome::Completed { result } => {
                let written = result.as_ref().map(payload::write).unwrap_or_default();
                settle.result = written.json;
                settle.result_base64 = written.base64;
                settle.result_content_type = written.content_type;
                OutcomeWord::Completed
            }
            Outcome::Retry { error, delay_ms } => {
                settle.error = Some(error.to_string());
                settle.delay = delay_ms.map(Span);
                OutcomeWord::Retry
            }
            Outcome::Snooze { delay_ms } => {
                settle.delay = Some(Span(*delay_ms));
                OutcomeWord::Snooze
            }
            Outcome::Cancel { reason } => {
                settle.error = Some(reason.to_string());
                OutcomeWord::Cancel
            }
            Outcome::Dead { error } => {
                settle.error = Some(error.to_string());
                OutcomeWord::Dead
            }
            Outcome::Release {
                delay_ms,
                undecodable,
            } => {
                settle.delay = Some(Span(*delay_ms));
                settle.undecodable = *undecodable;
                OutcomeWord::Release
            }
        };
        settle
    }
}

struct Fields {
    result: Option<Payload>,
    error: Option<String>,
    delay_ms: Option<u64>,
    undecodable: bool,
}

fn read_outcome(word: OutcomeWord, fields: Fields) -> Result<Outcome> {
    use OutcomeWord::{Cancel, Completed, Dead, Release, Retry, Snooze};
    let misplaced = [
        ("result", fields.result.is_some(), word == Completed),
        (
            "error",
            fields.error.is_some(),
            matches!(word, Retry | Cancel | Dead),
        ),
        (
            "delay",
            fields.delay_ms.is_some(),
            matches!(word, Retry | Snooze | Release),
        ),
        ("undecodable", fields.undecodable, word == Release),
    ];
    if let Some((field, ..)) = misplaced.iter().find(|(_, given, fits)| *given && !fits) {
        let word = format!("{word:?}").to_lowercase();
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("{field} does not go with the outcome {word:?}"),
        )
        .next("leave it out"));
    }
    let text = fields.error.unwrap_or_default().into();
    Ok(match word {
        Completed => Outcome::Completed {
            result: fields.result,
        },
        Retry => Outcome::Retry {
            error: text,
            delay_ms: fields.delay_ms,
        },
        Snooze => Outcome::Snooze {
            delay_ms: fields.delay_ms.ok_or_else(|| {
                Error::new(ErrorKind::Invalid, "the outcome \"snooze\" has no delay")
                    .next("give \"delay\":\"5m\"")
            })?,
        },
        Cancel => Outcome::Cancel { reason: text },
        Dead => Outcome::Dead { error: text },
        Release => Outcome::Release {
            delay_ms: fields.delay_ms.unwrap_or(0),
            undecodable: fields.undecodable,
        },
    })
}

/// The answer to one settle.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SettleResult {
    /// Which job.
    pub id: String,
    /// What became of it. Repeating an applied settle says `ok`.
    pub status: Status,
    /// With `ok`: the job's state now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// It had been settled so before.
    #[serde(default)]
    pub repeated: bool,
    /// The answers to `commit`, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replies: Vec<Reply>,
    /// Why it isn't `ok`. Its `command` counts the settle as 0 and `commit` from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// The answer to `POST /v1/leases/settle`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SettleResults {
    /// One for each item, in order.
    pub results: Vec<SettleResult>,
}
