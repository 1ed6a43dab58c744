//! The commit verb: mixed commands, all or none.

use posthaste_core::{
    Command as Core, Commit as CoreCommit, Error, ErrorKind, GroupName, JobId, Position, QueueName,
    Result, TopicName,
};
use serde::{Deserialize, Serialize};

use super::edit::{Edit, EditJob};
use super::group::{GroupRef, MemberRef, Redrive, ResetGroup, SetGroup, SettleEvents, Unpark};
use super::queue::ConfigureQueue;
use super::topic::{Publish, SetTopic, TopicRef};
use super::{Heartbeat, NewJob, Settle};

/// Commands to apply together: `POST /v1/commit`. The header `Idempotency-Key` covers the whole.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commit {
    /// What to do, at most 1000, in order.
    pub commands: Vec<Command>,
    /// With the header `Idempotency-Key`: 32 hexadecimal digits that stand for what is asked; the
    /// same key with another digest is refused. Default: a digest of the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// One thing to do: an object with one field, which says what.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Accept a job.
    Enqueue(Box<NewJob>),
    /// End an attempt. Its `commit` is empty here: the commit's other commands go with it.
    Settle(Box<Settle>),
    /// Say that an attempt goes on.
    Heartbeat(Heartbeat),
    /// Call a job off.
    Cancel(JobRef),
    /// Run a waiting job now; bring a dead or cancelled one back.
    Retry(JobRef),
    /// Forget a job that isn't running.
    Delete(JobRef),
    /// Change a waiting or dead job.
    Edit(EditJob),
    /// Set what is given of a queue's settings.
    Configure(ConfigureQueue),
    /// Publish events.
    Publish(Publish),
    /// Set what is given of a topic's settings; makes the topic where there is none.
    SetTopic(SetTopic),
    /// Forget a topic and every event of it.
    DeleteTopic(TopicRef),
    /// Set what is given of a group's settings; makes the group where there is none.
    SetGroup(SetGroup),
    /// Forget a group, its parked events and its dead letters.
    DeleteGroup(GroupRef),
    /// End the handling of events.
    SettleEvents(SettleEvents),
    /// Say that a member of a group is alive.
    Beat(MemberRef),
    /// A member leaves its group.
    Leave(MemberRef),
    /// Have a group go on elsewhere.
    ResetGroup(ResetGroup),
    /// Decide on parked events.
    Unpark(Unpark),
    /// Have dead letters handled again.
    Redrive(Redrive),
}

/// Which job: `{"id":"…"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobRef {
    /// Its id.
    pub id: String,
}

impl JobRef {
    fn of(id: JobId) -> Self {
        Self { id: id.to_string() }
    }
}

impl Commit {
    /// The port's commands, `mint` giving the ids that are absent. The digest is left to the caller.
    ///
    /// # Errors
    /// `Invalid`, naming the command by its index and the field.
    pub fn read(self, mint: &mut dyn FnMut() -> JobId) -> Result<Vec<Core>> {
        self.commands
            .into_iter()
            .enumerate()
            .map(|(index, command)| command.read(mint).map_err(|error| error.at_command(index)))
            .collect()
    }

    /// How `commit` is written. Its key goes into the header `Idempotency-Key`.
    ///
    /// # Errors
    /// `Unsupported` for a command that this version can't write.
    pub fn write(commit: &CoreCommit) -> Result<Self> {
        let digest = commit.key.as_ref().map(|key| {
            key.digest
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        });
        Ok(Self {
            commands: commit
                .commands
                .iter()
                .map(Command::write)
                .collect::<Result<_>>()?,
            digest,
        })
    }

    /// The digest that the client gave.
    ///
    /// # Errors
    /// `Invalid` where it isn't 32 hexadecimal digits.
    pub fn read_digest(&self) -> Result<Option<[u8; 16]>> {
        let Some(text) = &self.digest else {
            return Ok(None);
        };
        let number = (text.len() == 32)
            .then(|| u128::from_str_radix(text, 16).ok())
            .flatten();
        match number {
            Some(number) => Ok(Some(number.to_be_bytes())),
            None => Err(
                Error::new(ErrorKind::Invalid, format!("digest {text:?} is not one"))
                    .next("give 32 hexadecimal digits, or leave it out"),
            ),
        }
    }
}

impl Command {
    /// The port's command.
    ///
    /// # Errors
    /// `Invalid`, naming the field.
    pub fn read(self, mint: &mut dyn FnMut() -> JobId) -> Result<Core> {
        Ok(match self {
            Self::Enqueue(job) => Core::Enqueue(Box::new(job.read(mint)?)),
            Self::Settle(settle) => {
                let mut commands = settle.read(mint)?;
                match commands.pop() {
                    Some(command) if commands.is_empty() => command,
                    _ => return Err(nested()),
                }
            }
            Self::Heartbeat(heartbeat) => heartbeat.read()?,
            Self::Cancel(job) => Core::Cancel(job.id.parse()?),
            Self::Retry(job) => Core::Retry(job.id.parse()?),
            Self::Delete(job) => Core::Delete(job.id.parse()?),
            Self::Edit(edit) => Core::Edit {
                id: edit.id.parse()?,
                edit: Edit {
                    payload: edit.payload,
                    payload_base64: edit.payload_base64,
                    content_type: edit.content_type,
                    priority: edit.priority,
                    run_at: edit.run_at,
                }
                .read()?,
            },
            Self::Configure(configure) => Core::Configure {
                queue: QueueName::new(&configure.queue)?,
                settings: configure.settings(),
            },
            Self::Publish(publish) => {
                let (topic, events) = publish.read(mint)?;
                Core::Publish { topic, events }
            }
            Self::SetTopic(set) => {
                let (topic, settings) = set.read()?;
                Core::SetTopic { topic, settings }
            }
            Self::DeleteTopic(topic) => Core::DeleteTopic(TopicName::new(&topic.topic)?),
            Self::SetGroup(set) => set.read()?,
            Self::DeleteGroup(of) => Core::DeleteGroup {
                topic: TopicName::new(&of.topic)?,
                group: GroupName::new(&of.group)?,
            },
            Self::SettleEvents(settle) => settle.read()?,
            Self::Beat(member) => {
                let (topic, group, token) = member.read()?;
                Core::Beat {
                    topic,
                    group,
                    token,
                }
            }
            Self::Leave(member) => {
                let (topic, group, token) = member.read()?;
                Core::Leave {
                    topic,
                    group,
                    token,
                }
            }
            Self::ResetGroup(reset) => reset.read()?,
            Self::Unpark(unpark) => unpark.read()?,
            Self::Redrive(redrive) => redrive.read()?,
        })
    }

    /// The topic and the position of the kept event that it names by a cursor. Nothing else tells
    /// whether that is of the topic's history.
    #[must_use]
    pub fn named_by_cursor(&self) -> Option<(&str, Position)> {
        let (topic, place) = match self {
            Self::Unpark(unpark) => (&unpark.topic, unpark.position),
            Self::Redrive(redrive) => (&redrive.topic, redrive.position),
            _ => return None,
        };
        Some((topic, place?.position?))
    }

    /// How `command` is written.
    ///
    /// # Errors
    /// `Unsupported` for a command that this version can't write.
    pub fn write(command: &Core) -> Result<Self> {
        Ok(match command {
            Core::Enqueue(job) => Self::Enqueue(Box::new(NewJob::write(job))),
            Core::Settle { id, token, outcome } => {
                Self::Settle(Box::new(Settle::write(*id, *token, outcome, Vec::new())))
            }
            Core::Heartbeat {
                id,
                token,
                progress,
            } => Self::Heartbeat(Heartbeat::write(*id, *token, progress.as_ref())),
            Core::Cancel(id) => Self::Cancel(JobRef::of(*id)),
            Core::Retry(id) => Self::Retry(JobRef::of(*id)),
            Core::Delete(id) => Self::Delete(JobRef::of(*id)),
            Core::Edit { id, edit } => Self::Edit(EditJob::write(*id, edit)),
            Core::Configure { queue, settings } => {
                Self::Configure(ConfigureQueue::write(queue, settings))
            }
            Core::Publish { topic, events } => Self::Publish(Publish::write(topic, events)),
            Core::SetTopic { topic, settings } => Self::SetTopic(SetTopic::write(topic, settings)),
            Core::DeleteTopic(topic) => Self::DeleteTopic(TopicRef {
                topic: topic.to_string(),
            }),
            of_group => return Self::write_of_group(of_group),
        })
    }

    fn write_of_group(command: &Core) -> Result<Self> {
        Ok(match command {
            Core::SetGroup {
                topic,
                group,
                settings,
                from,
            } => Self::SetGroup(SetGroup::write(topic, group, settings, *from)),
            Core::DeleteGroup { topic, group } => Self::DeleteGroup(GroupRef {
                topic: topic.to_string(),
                group: group.to_string(),
            }),
            Core::SettleEvents {
                topic,
                group,
                token,
                ends,
            } => Self::SettleEvents(SettleEvents::write(topic, group, *token, ends)),
            Core::Beat {
                topic,
                group,
                token,
            } => Self::Beat(MemberRef::write(topic, group, *token)),
            Core::Leave {
                topic,
                group,
                token,
            } => Self::Leave(MemberRef::write(topic, group, *token)),
            Core::ResetGroup {
                topic,
                group,
                to,
                force,
            } => Self::ResetGroup(ResetGroup::write(topic, group, *to, *force)),
            Core::Unpark {
                topic,
                group,
                which,
                how,
            } => Self::Unpark(Unpark::write(topic, group, *which, *how)),
            Core::Redrive {
                topic,
                group,
                which,
            } => Self::Redrive(Redrive::write(topic, group, *which)),
            _ => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "this command can't be sent over HTTP",
                )
                .next("update the client"));
            }
        })
    }
}

fn nested() -> Error {
    Error::new(
        ErrorKind::Invalid,
        "a settle inside a commit has a commit of its own",
    )
    .next("put its commands beside it")
}
