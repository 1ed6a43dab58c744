//! Commands as the sequencer takes them: texts and payloads lie in the commit's records.

use bytes::Bytes;
use posthaste_core::command::QueueSettings;
use posthaste_core::group::{GroupSettings, Unparking, Which};
use posthaste_core::job::{OnConflict, Start};
use posthaste_core::machine::{Action, Ending, EventEnding, KeyDigest, Place};
use posthaste_core::topic::TopicSettings;
use posthaste_core::{
    GroupName, JobId, Payload, Priority, QueueName, Token, TopicName, WallMs, limits,
};

use crate::format::facts::FACT_BYTES_MAX;
use crate::format::{Damage, body, events, record};

/// The commands of a commit: mostly one, which then needs no allocation of its own.
#[derive(Debug)]
pub(crate) enum Lights {
    One(Light),
    Many(Vec<Light>),
}

impl Lights {
    pub(super) fn with_room(commands: usize) -> Self {
        let room = if commands > 1 { commands } else { 0 };
        Self::Many(Vec::with_capacity(room))
    }

    pub(super) fn push(&mut self, light: Light) {
        match self {
            Self::Many(none) if none.capacity() == 0 => *self = Self::One(light),
            Self::Many(many) => many.push(light),
            Self::One(_) => {
                let Self::One(first) = std::mem::replace(self, Self::Many(Vec::new())) else {
                    return;
                };
                *self = Self::Many(vec![first, light]);
            }
        }
    }
}

impl std::ops::DerefMut for Lights {
    fn deref_mut(&mut self) -> &mut [Light] {
        match self {
            Self::One(one) => std::slice::from_mut(one),
            Self::Many(many) => many,
        }
    }
}

impl std::ops::Deref for Lights {
    type Target = [Light];

    fn deref(&self) -> &[Light] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

/// A record in [`Prepared::records`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) offset: u32,
    pub(crate) size: u32,
}

impl Span {
    /// The record's data, which this process has just written.
    fn data(self, records: &[u8]) -> Result<&[u8], Damage> {
        let from = self.offset as usize + record::HEADER;
        let len = records
            .get(self.offset as usize..)
            .and_then(<[u8]>::first_chunk::<4>);
        let len = u32::from_le_bytes(*len.ok_or(Damage::Short)?) as usize;
        records.get(from..from + len).ok_or(Damage::Short)
    }

    /// The record's bytes.
    pub(crate) fn of(self, records: &Bytes) -> Bytes {
        records.slice(self.offset as usize..(self.offset + self.size) as usize)
    }
}

/// Facts that settling these events may lead to: one for each, and one for each event that a member
/// holds behind one which is not finished by it.
fn settle_facts(ends: &[(u64, EventEnding, Place)]) -> usize {
    let finish = [EventEnding::Done, EventEnding::Skip, EventEnding::Dead];
    let failed = ends.iter().filter(|(_, how, _)| !finish.contains(how));
    let runs = failed.count() * limits::KEY_RUN_MAX as usize;
    ends.len() + runs.min(limits::IN_FLIGHT_MAX as usize)
}

/// A command whose texts and payloads are in the records.
#[derive(Debug)]
pub(crate) enum Light {
    Enqueue {
        body: Span,
        start: Start,
        /// Its idempotency key, and the record that is told again under it.
        key: Option<(KeyDigest, Span)>,
        on_conflict: OnConflict,
    },
    Settle {
        id: JobId,
        token: Token,
        digest: u32,
        ending: Ending,
        note: Option<Span>,
    },
    Heartbeat {
        id: JobId,
        token: Token,
        progress: Option<Payload>,
    },
    Cancel(JobId),
    Retry(JobId),
    Delete(JobId),
    Edit {
        id: JobId,
        body: Option<Span>,
        priority: Option<Priority>,
        run_at: Option<WallMs>,
    },
    Configure {
        queue: QueueName,
        settings: QueueSettings,
    },
    Publish {
        topic: TopicName,
        /// The record of the events.
        events: Span,
        /// A digest of topic, source and id, where this is one event whose publisher chose the id.
        seen: Option<[u8; 12]>,
    },
    SetTopic {
        topic: TopicName,
        settings: TopicSettings,
    },
    DeleteTopic(TopicName),
    Group(TopicName, GroupName, OnGroup),
}

/// What is done to a group.
#[derive(Debug)]
pub(crate) enum OnGroup {
    Set(GroupSettings, Option<u64>),
    Delete,
    Settle {
        token: Token,
        /// Which events, how each ended, and where its error is once that is known.
        ends: Vec<(u64, EventEnding, Place)>,
        /// The records of errors, each with the number of its event in `ends`.
        notes: Vec<(usize, Span)>,
    },
    Beat(Token),
    Leave(Token),
    Reset(Option<u64>, bool),
    Unpark(Which, Unparking),
    Redrive(Which),
}

impl Light {
    /// Whether what stands behind it in its commit may belong to it: to a settle it does.
    pub(crate) fn is_followed(&self) -> bool {
        matches!(
            self,
            Self::Settle { .. }
                | Self::Heartbeat { .. }
                | Self::Group(_, _, OnGroup::Settle { .. } | OnGroup::Beat(_))
        )
    }

    /// Bytes of the facts that it leads to, at most.
    pub(crate) fn facts_bytes_max(&self) -> usize {
        match self {
            Self::Heartbeat { .. } => 0,
            Self::Enqueue { .. } => 2 * FACT_BYTES_MAX,
            Self::Configure { queue, .. } => FACT_BYTES_MAX + queue.as_str().len(),
            Self::Group(_, group, on) => {
                let facts = match on {
                    OnGroup::Settle { ends, .. } => settle_facts(ends),
                    OnGroup::Unpark(..) | OnGroup::Redrive(_) => limits::MOVED_EVENTS_MAX + 1,
                    OnGroup::Beat(_) => 0,
                    _ => 2,
                };
                facts * FACT_BYTES_MAX + group.as_str().len()
            }
            Self::Publish { topic, .. } | Self::SetTopic { topic, .. } => {
                3 * FACT_BYTES_MAX + topic.as_str().len()
            }
            _ => 4 * FACT_BYTES_MAX,
        }
    }

    /// Puts the records of errors in their places.
    pub(crate) fn place_notes(&mut self, mut place: impl FnMut(Span) -> Place) {
        if let Self::Group(_, _, OnGroup::Settle { ends, notes, .. }) = self {
            for (index, span) in notes {
                if let Some((_, _, note)) = ends.get_mut(*index) {
                    *note = place(*span);
                }
            }
        }
    }

    /// Its records, in order, but for those that [`Light::place_notes`] places.
    pub(crate) fn spans(&self) -> impl Iterator<Item = Span> + use<> {
        let (first, second) = match self {
            Self::Enqueue { body, key, .. } => (Some(*body), key.map(|(_, answer)| answer)),
            Self::Settle { note, .. } => (*note, None),
            Self::Edit { body, .. } => (*body, None),
            Self::Publish { events, .. } => (Some(*events), None),
            _ => (None, None),
        };
        first.into_iter().chain(second)
    }

    /// The machine's action, its records in their places, which are taken from `places`.
    pub(crate) fn action<'a>(
        &'a self,
        records: &'a [u8],
        places: &mut impl Iterator<Item = Place>,
    ) -> Result<Action<'a>, Damage> {
        let [place, answer] = {
            let mut spans = self.spans();
            [(); 2].map(|()| {
                spans
                    .next()
                    .and_then(|_| places.next())
                    .unwrap_or(Place::NONE)
            })
        };
        Ok(match self {
            Self::Enqueue {
                body,
                start,
                key,
                on_conflict,
            } => {
                let job = body::read_job(body.data(records)?)?.summary;
                let (start, on_conflict) = (*start, *on_conflict);
                Action::Enqueue {
                    job,
                    place,
                    start,
                    key: key.map(|(digest, _)| digest),
                    answer,
                    on_conflict,
                }
            }
            Self::Settle {
                id,
                token,
                digest,
                ending,
                note: _,
            } => Action::Settle {
                id: *id,
                token: *token,
                digest: *digest,
                ending: *ending,
                note: place,
            },
            Self::Heartbeat { id, token, .. } => Action::Heartbeat {
                id: *id,
                token: *token,
            },
            Self::Cancel(id) => Action::Cancel(*id),
            Self::Retry(id) => Action::Retry(*id),
            Self::Delete(id) => Action::Delete(*id),
            Self::Edit {
                id,
                body: _,
                priority,
                run_at,
            } => Action::Edit {
                id: *id,
                place,
                priority: *priority,
                run_at: *run_at,
            },
            Self::Configure { queue, settings } => Action::Configure {
                queue: queue.as_str(),
                settings,
            },
            Self::Publish {
                topic,
                events,
                seen,
            } => Action::Publish {
                topic: topic.as_str(),
                place,
                hashes: events::hashes(events.data(records)?)?,
                seen: *seen,
            },
            Self::SetTopic { topic, settings } => Action::SetTopic {
                topic: topic.as_str(),
                settings,
            },
            Self::DeleteTopic(topic) => Action::DeleteTopic {
                topic: topic.as_str(),
            },
            Self::Group(topic, group, on) => on.action(topic.as_str(), group.as_str()),
        })
    }
}

impl OnGroup {
    fn action<'a>(&'a self, topic: &'a str, group: &'a str) -> Action<'a> {
        match self {
            Self::Set(settings, start) => Action::SetGroup {
                topic,
                group,
                settings,
                start: *start,
            },
            Self::Delete => Action::DeleteGroup { topic, group },
            Self::Settle { token, ends, .. } => Action::SettleEvents {
                topic,
                group,
                token: *token,
                ends,
            },
            Self::Beat(token) => Action::MemberBeat {
                topic,
                group,
                token: *token,
            },
            Self::Leave(token) => Action::MemberLeave {
                topic,
                group,
                token: *token,
            },
            Self::Reset(head, force) => Action::ResetGroup {
                topic,
                group,
                head: *head,
                force: *force,
            },
            Self::Unpark(which, how) => Action::Unpark {
                topic,
                group,
                which: *which,
                how: *how,
            },
            Self::Redrive(which) => Action::Redrive {
                topic,
                group,
                which: *which,
            },
        }
    }
}
