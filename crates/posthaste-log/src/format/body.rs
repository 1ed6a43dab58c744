//! The data of the records that facts point to: a job's body, a note, the answer of a key.

use std::sync::Arc;

use bytes::Bytes;
use posthaste_core::command::Reply;
use posthaste_core::ids::Tag as JobTag;
use posthaste_core::job::{RetryRule, StateSet};
use posthaste_core::machine::{KeyDigest, Summary, UniqueClaim};
use posthaste_core::{
    Backoff, JobId, JobState, NewJob, Payload, Position, Priority, Published, WallMs,
};

use super::Damage;
use super::bytes::{Put, Take};
use super::record::{self, Tag};

const KEEP_RESULT: u8 = 1;
const RETRY: u8 = 2;
const DEADLINE: u8 = 4;
const UNIQUE: u8 = 8;
const CONTENT_TYPE: u8 = 16;
const EXTRAS: u8 = 32;

/// A job's body, read. Texts are borrowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job<'a> {
    pub(crate) summary: Summary<'a>,
    pub(crate) accepted: WallMs,
    content_type: Option<&'a str>,
    extras: &'a [u8],
    payload: &'a [u8],
}

/// Appends a job's record. `unique` is the hold it asks for, decided by the accepting edge.
pub(crate) fn write_job(
    into: &mut Vec<u8>,
    job: &NewJob,
    accepted: WallMs,
    unique: Option<UniqueClaim>,
) -> usize {
    record::write(into, Tag::Job, |data| {
        let extras = !job.tags.is_empty() || !job.metadata.is_empty();
        let plain_retry = job.retry == RetryRule::default();
        let mut flags = 0;
        for (set, flag) in [
            (job.keep_result, KEEP_RESULT),
            (!plain_retry, RETRY),
            (job.deadline.is_some(), DEADLINE),
            (unique.is_some(), UNIQUE),
            (job.payload.content_type.is_some(), CONTENT_TYPE),
            (extras, EXTRAS),
        ] {
            flags |= if set { flag } else { 0 };
        }
        data.put(&job.id.to_bytes());
        data.u64(accepted.0);
        data.u8(job.priority.get());
        data.u8(flags);
        data.text8(job.queue.as_str());
        data.text8(job.kind.as_str());
        if !plain_retry {
            write_retry(data, &job.retry);
        }
        if let Some(deadline) = job.deadline {
            data.u64(deadline.0);
        }
        if let Some(unique) = unique {
            write_unique(data, &unique);
        }
        if let Some(content_type) = &job.payload.content_type {
            data.text8(content_type);
        }
        if extras {
            write_extras(data, job);
        }
        data.put(&job.payload.bytes);
    })
}

pub(crate) fn write_retry(data: &mut Vec<u8>, retry: &RetryRule) {
    data.u16(retry.max_attempts);
    data.u32(retry.timeout_ms);
    data.u32(retry.backoff.base_ms);
    data.u32(retry.backoff.max_ms);
    data.u8(retry.backoff.factor);
    data.u8(retry.backoff.jitter_percent);
}

pub(crate) fn read_retry(take: &mut Take<'_>) -> Result<RetryRule, Damage> {
    Ok(RetryRule {
        max_attempts: take.u16()?,
        timeout_ms: take.u32()?,
        backoff: Backoff {
            base_ms: take.u32()?,
            max_ms: take.u32()?,
            factor: take.u8()?,
            jitter_percent: take.u8()?,
        },
    })
}

pub(crate) fn write_unique(data: &mut Vec<u8>, unique: &UniqueClaim) {
    data.put(&unique.digest);
    data.u64(unique.until.map_or(0, |until| until.0));
    data.u8(unique.states.bits());
}

pub(crate) fn read_unique(take: &mut Take<'_>) -> Result<UniqueClaim, Damage> {
    let digest = take.array()?;
    let until = take.u64()?;
    Ok(UniqueClaim {
        digest,
        until: (until != 0).then_some(WallMs(until)),
        states: StateSet::from_bits(take.u8()?),
    })
}

fn write_extras(data: &mut Vec<u8>, job: &NewJob) {
    let start = data.len();
    data.u32(0);
    data.u8(u8::try_from(job.tags.len()).unwrap_or(u8::MAX));
    for tag in job.tags.iter().take(usize::from(u8::MAX)) {
        data.text8(tag.as_str());
    }
    data.u8(u8::try_from(job.metadata.len()).unwrap_or(u8::MAX));
    for (name, value) in job.metadata.iter().take(usize::from(u8::MAX)) {
        data.text8(name);
        data.text16(value);
    }
    let len = super::bytes::small(data.len() - start - 4);
    data[start..start + 4].copy_from_slice(&len.to_le_bytes());
}

/// Bytes of a job's data in which its summary surely lies.
pub(crate) const SUMMARY_BYTES_MAX: usize = 512;

/// Reads what a job is out of the beginning of its data.
pub(crate) fn read_summary(data: &[u8]) -> Result<Summary<'_>, Damage> {
    summary(&mut Take(data)).map(|(summary, ..)| summary)
}

/// The summary at the front of a job's data, when it was accepted, and the flags of what follows.
fn summary<'a>(take: &mut Take<'a>) -> Result<(Summary<'a>, WallMs, u8), Damage> {
    let id = JobId::from_bytes(take.array()?);
    let accepted = WallMs(take.u64()?);
    let priority = Priority::new(take.u8()?).ok_or(Damage::Bad("priority"))?;
    let flags = take.u8()?;
    let has = |flag: u8| flags & flag != 0;
    let summary = Summary {
        id,
        queue: take.text8()?,
        kind: take.text8()?,
        priority,
        retry: if has(RETRY) {
            read_retry(take)?
        } else {
            RetryRule::default()
        },
        deadline: if has(DEADLINE) {
            Some(WallMs(take.u64()?))
        } else {
            None
        },
        unique: if has(UNIQUE) {
            Some(read_unique(take)?)
        } else {
            None
        },
        keep_result: has(KEEP_RESULT),
    };
    Ok((summary, accepted, flags))
}

/// Reads the record of a job.
pub(crate) fn read_job(data: &[u8]) -> Result<Job<'_>, Damage> {
    let mut take = Take(data);
    let (summary, accepted, flags) = summary(&mut take)?;
    let has = |flag: u8| flags & flag != 0;
    let content_type = if has(CONTENT_TYPE) {
        Some(take.text8()?)
    } else {
        None
    };
    let extras = if has(EXTRAS) {
        let len = take.u32()?;
        take.bytes(len as usize)?
    } else {
        &[]
    };
    Ok(Job {
        summary,
        accepted,
        content_type,
        extras,
        payload: take.0,
    })
}

/// Tags, and names with values, as a job carries them.
pub(crate) type Extras = (Vec<JobTag>, Vec<(Arc<str>, Arc<str>)>);

impl Job<'_> {
    /// The payload, without a copy: a slice of `frame`, in which this record lies.
    pub(crate) fn payload(&self, frame: &Bytes) -> Payload {
        Payload {
            content_type: self.content_type.map(Arc::from),
            bytes: frame.slice_ref(self.payload),
        }
    }

    pub(crate) fn extras(&self) -> Result<Extras, Damage> {
        let mut take = Take(self.extras);
        if self.extras.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let tags = (0..take.u8()?)
            .map(|_| JobTag::new(take.text8()?).map_err(|_| Damage::Bad("tag of a job")))
            .collect::<Result<_, _>>()?;
        let metadata = (0..take.u8()?)
            .map(|_| Ok((Arc::from(take.text8()?), Arc::from(take.text16()?))))
            .collect::<Result<_, Damage>>()?;
        Ok((tags, metadata))
    }
}

/// A result, an error, or a reason.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Note<'a> {
    /// What a handler returned: content type (JSON where `None`) and bytes.
    Result(Option<&'a str>, &'a [u8]),
    /// What went wrong, or why it was called off.
    Error(&'a str),
}

/// Appends the record of a note.
pub(crate) fn write_note(into: &mut Vec<u8>, id: JobId, note: Note<'_>) -> usize {
    record::write(into, Tag::Note, |data| {
        data.put(&id.to_bytes());
        match note {
            Note::Result(content_type, bytes) => {
                data.u8(1);
                data.text8(content_type.unwrap_or(""));
                data.put(bytes);
            }
            Note::Error(text) => {
                data.u8(2);
                data.put(text.as_bytes());
            }
        }
    })
}

/// Reads the record of a note: whose it is, and what it says.
pub(crate) fn read_note(data: &[u8]) -> Result<(JobId, Note<'_>), Damage> {
    let mut take = Take(data);
    let id = JobId::from_bytes(take.array()?);
    let note = match take.u8()? {
        1 => {
            let content_type = take.text8()?;
            Note::Result((!content_type.is_empty()).then_some(content_type), take.0)
        }
        2 => Note::Error(std::str::from_utf8(take.0).map_err(|_| Damage::Bad("text"))?),
        _ => return Err(Damage::Bad("note")),
    };
    Ok((id, note))
}

/// Appends the record of the answer that a key keeps.
pub(crate) fn write_answer(into: &mut Vec<u8>, digest: KeyDigest, replies: &[Reply]) -> usize {
    record::write(into, Tag::Answer, |data| {
        data.put(&digest.key);
        data.u32(digest.body);
        data.u32(super::bytes::small(replies.len()));
        for reply in replies {
            write_reply(data, reply);
        }
    })
}

fn write_reply(data: &mut Vec<u8>, reply: &Reply) {
    match *reply {
        Reply::Enqueued {
            id,
            state,
            existing,
        } => {
            data.put(&[1, state as u8, u8::from(existing)]);
            data.put(&id.to_bytes());
        }
        Reply::Settled { state, repeated } => data.put(&[2, state as u8, u8::from(repeated)]),
        Reply::Extended { cancelled } => data.put(&[3, 0, u8::from(cancelled)]),
        Reply::Changed { state } => data.put(&[4, state as u8, 0]),
        Reply::Deleted => data.put(&[5, 0, 0]),
        Reply::Repeated => data.put(&[7, 0, 0]),
        Reply::Published(ref events) => {
            data.put(&[8, 0, 0]);
            data.u32(super::bytes::small(events.len()));
            for event in events.iter() {
                let position = event.position;
                data.u16(event.partition);
                data.u64(event.offset);
                data.u32(position.epoch);
                data.u32(position.topic);
                data.u64(position.sequence);
                data.u8(u8::from(event.existing));
            }
        }
        Reply::EventsSettled { repeated } => data.put(&[9, 0, u8::from(repeated)]),
        Reply::Left => data.put(&[10, 0, 0]),
        Reply::EventsMoved { events, left } => {
            data.put(&[11, 0, 0]);
            data.u32(events);
            data.u32(left);
        }
        _ => data.put(&[6, 0, 0]),
    }
}

/// Reads the record of an answer.
pub(crate) fn read_answer(data: &[u8]) -> Result<(KeyDigest, Vec<Reply>), Damage> {
    let mut take = Take(data);
    let digest = KeyDigest {
        key: take.array()?,
        body: take.u32()?,
    };
    let count = take.u32()? as usize;
    if count > take.0.len() {
        return Err(Damage::Bad("count of replies"));
    }
    let replies = (0..count)
        .map(|_| read_reply(&mut take))
        .collect::<Result<_, _>>()?;
    Ok((digest, replies))
}

/// The job that was first enqueued under a job's own key, by the record that the key keeps: the
/// answer, or the job itself.
pub(crate) fn first_of_key(bytes: &[u8]) -> Option<JobId> {
    let record = record::read(bytes).ok()?;
    match record.tag {
        Tag::Job => Some(read_job(record.data).ok()?.summary.id),
        Tag::Answer => match read_answer(record.data).ok()?.1.first()? {
            Reply::Enqueued { id, .. } => Some(*id),
            _ => None,
        },
        _ => None,
    }
}

fn read_reply(take: &mut Take<'_>) -> Result<Reply, Damage> {
    let [tag, state, flag] = take.array()?;
    let state = read_state(state)?;
    Ok(match tag {
        1 => Reply::Enqueued {
            id: JobId::from_bytes(take.array()?),
            state,
            existing: flag != 0,
        },
        2 => Reply::Settled {
            state,
            repeated: flag != 0,
        },
        3 => Reply::Extended {
            cancelled: flag != 0,
        },
        4 => Reply::Changed { state },
        5 => Reply::Deleted,
        6 => Reply::Configured,
        7 => Reply::Repeated,
        8 => {
            let count = take.u32()? as usize;
            if count > take.0.len() {
                return Err(Damage::Bad("count of events"));
            }
            let events = (0..count).map(|_| read_published(take));
            Reply::Published(events.collect::<Result<_, _>>()?)
        }
        9 => Reply::EventsSettled {
            repeated: flag != 0,
        },
        10 => Reply::Left,
        11 => Reply::EventsMoved {
            events: take.u32()?,
            left: take.u32()?,
        },
        _ => return Err(Damage::Bad("reply")),
    })
}

fn read_published(take: &mut Take<'_>) -> Result<Published, Damage> {
    Ok(Published {
        partition: take.u16()?,
        offset: take.u64()?,
        position: Position {
            epoch: take.u32()?,
            topic: take.u32()?,
            sequence: take.u64()?,
        },
        existing: take.u8()? != 0,
    })
}

pub(crate) fn read_state(state: u8) -> Result<JobState, Damage> {
    JobState::ALL
        .get(usize::from(state))
        .copied()
        .ok_or(Damage::Bad("state"))
}

/// Whose body or note, or which key's answer, a record is: what to ask the machine to know
/// whether it is still needed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Owner {
    /// A job's.
    Job(JobId),
    /// A key's.
    Key(KeyDigest),
    /// An event's that a group keeps.
    Event {
        /// Which group.
        group: u32,
        /// Which event.
        position: u64,
    },
    /// That of an error with an event, by the names of the group.
    Error {
        /// [`names_of`](super::events::names_of) the group.
        names: u32,
        /// Which event.
        position: u64,
    },
}

/// The owner of a record; `None` for facts, which nobody points to.
pub(crate) fn owner(record: &record::Record<'_>) -> Result<Option<Owner>, Damage> {
    let mut take = Take(record.data);
    Ok(match record.tag {
        Tag::Job | Tag::Note => Some(Owner::Job(JobId::from_bytes(take.array()?))),
        Tag::Answer => Some(Owner::Key(KeyDigest {
            key: take.array()?,
            body: take.u32()?,
        })),
        Tag::Kept => Some(Owner::Event {
            group: take.u32()?,
            position: take.u64()?,
        }),
        Tag::Why => Some(Owner::Error {
            names: take.u32()?,
            position: take.u64()?,
        }),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reply_that_a_key_keeps_is_read_as_it_was() {
        let published = Published {
            partition: 3,
            offset: 4,
            position: Position {
                epoch: 5,
                topic: 6,
                sequence: 7,
            },
            existing: true,
        };
        let replies = [
            Reply::Enqueued {
                id: JobId::from_bytes([9; 16]),
                state: JobState::Available,
                existing: true,
            },
            Reply::Settled {
                state: JobState::Completed,
                repeated: true,
            },
            Reply::Extended { cancelled: true },
            Reply::Changed {
                state: JobState::Dead,
            },
            Reply::Deleted,
            Reply::Configured,
            Reply::EventsSettled { repeated: false },
            Reply::EventsSettled { repeated: true },
            Reply::Left,
            Reply::EventsMoved { events: 1, left: 2 },
            Reply::Published([published].into()),
            Reply::Repeated,
        ];
        let digest = KeyDigest {
            key: [1; 12],
            body: 2,
        };
        let mut bytes = Vec::new();
        write_answer(&mut bytes, digest, &replies);
        let record = record::read(&bytes).expect("a record");
        let read = read_answer(record.data).expect("an answer");
        assert_eq!(read, (digest, replies.to_vec()));
    }
}
