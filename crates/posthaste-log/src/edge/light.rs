//! Commands as the sequencer takes them: texts and payloads lie in the commit's records.

use bytes::Bytes;
use posthaste_core::command::QueueSettings;
use posthaste_core::job::{OnConflict, Start};
use posthaste_core::machine::{Action, Ending, KeyDigest, Place};
use posthaste_core::{JobId, Payload, Priority, QueueName, Token, WallMs};

use crate::format::facts::FACT_BYTES_MAX;
use crate::format::{Damage, body, record};

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
    /// The record's bytes.
    pub(crate) fn of(self, records: &Bytes) -> Bytes {
        records.slice(self.offset as usize..(self.offset + self.size) as usize)
    }
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
}

impl Light {
    /// Bytes of the facts that it leads to, at most.
    pub(crate) fn facts_bytes_max(&self) -> usize {
        match self {
            Self::Heartbeat { .. } => 0,
            Self::Enqueue { .. } => 2 * FACT_BYTES_MAX,
            Self::Configure { queue, .. } => FACT_BYTES_MAX + queue.as_str().len(),
            _ => 4 * FACT_BYTES_MAX,
        }
    }

    /// Its records, in order.
    pub(crate) fn spans(&self) -> impl Iterator<Item = Span> + use<> {
        let (first, second) = match self {
            Self::Enqueue { body, key, .. } => (Some(*body), key.map(|(_, answer)| answer)),
            Self::Settle { note, .. } => (*note, None),
            Self::Edit { body, .. } => (*body, None),
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
                let from = body.offset as usize + record::HEADER;
                let len = records
                    .get(body.offset as usize..)
                    .and_then(<[u8]>::first_chunk::<4>);
                let len = u32::from_le_bytes(*len.ok_or(Damage::Short)?) as usize;
                let data = records.get(from..from + len).ok_or(Damage::Short)?;
                let job = body::read_job(data)?.summary;
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
        })
    }
}
