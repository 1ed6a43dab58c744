//! Settling: how an attempt ended.

use std::sync::Arc;

use posthaste_core::{Command as Core, Error, ErrorKind, JobId, Outcome, Payload, Result, Token};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::commit::Command;
use super::payload::{self, Written, present};
use super::reply::Reply;
use super::{Problem, Span, Status};

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
    /// With `retry` and `dead`: what went wrong; with `cancel` and `release`: why. Cut at 64 KiB.
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
                error,
            } => {
                settle.error = error.as_deref().map(str::to_owned);
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
            matches!(word, Retry | Cancel | Dead | Release),
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
    let error = fields.error.map(Arc::from);
    let text = error.clone().unwrap_or_default();
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
            error,
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
