//! What a snapshot holds, as bytes.

mod groups;

use std::sync::Arc;

use posthaste_core::job::{DeadReason, RetryRule};
use posthaste_core::machine::{
    Life, Place, SETTLE_PAGE, SavedJob, SavedKey, SavedLease, SavedMeta, SavedQueue, SavedSeen,
    SavedTopic, SettlePage, Slot,
};
use posthaste_core::view::Totals;
use posthaste_core::{JobId, Priority, Token, WallMs};

use super::Damage;
use super::body::{read_retry, read_state, read_unique, write_retry, write_unique};
use super::bytes::{Put, Take, small};
use super::facts::{
    read_digest, read_queue, read_seen, read_topic, write_digest, write_queue, write_seen,
    write_topic,
};

const KEEP_RESULT: u8 = 1;
const RETRY: u8 = 2;
const DEADLINE: u8 = 4;
const UNIQUE: u8 = 8;
const UNREADABLE: u8 = 16;
const LEASE: u8 = 32;
const CANCELLING: u8 = 64;
const LOCAL: u8 = 128;

/// Reads jobs; remembers the last names, which mostly come again.
#[derive(Debug, Default)]
pub(crate) struct Names {
    queue: Option<Arc<str>>,
    kind: Option<Arc<str>>,
}

fn again(last: &mut Option<Arc<str>>, name: &str) -> Arc<str> {
    match last {
        Some(last) if &**last == name => Arc::clone(last),
        _ => Arc::clone(last.insert(Arc::from(name))),
    }
}

pub(crate) fn write_job(into: &mut Vec<u8>, job: &SavedJob) {
    let plain_retry = job.retry == RetryRule::default();
    let mut flags = 0;
    for (set, flag) in [
        (job.keep_result, KEEP_RESULT),
        (!plain_retry, RETRY),
        (job.deadline.is_some(), DEADLINE),
        (job.unique.is_some(), UNIQUE),
        (job.unreadable.is_some(), UNREADABLE),
        (job.lease.is_some(), LEASE),
        (job.life.cancelling, CANCELLING),
        (job.lease.as_ref().is_some_and(|lease| lease.local), LOCAL),
    ] {
        flags |= if set { flag } else { 0 };
    }
    into.u32(job.slot.0);
    into.put(&job.id.to_bytes());
    let reason = job.life.reason.map_or(0, |reason| reason as u8 + 1);
    into.put(&[
        flags,
        job.priority.get(),
        job.life.state as u8,
        reason,
        job.life.crashes,
    ]);
    into.u16(job.life.attempt);
    into.u64(job.life.at.0);
    into.u64(job.life.order);
    into.u64(job.life.place.0);
    into.u64(job.life.note.0);
    into.text8(&job.queue);
    into.text8(&job.kind);
    if !plain_retry {
        write_retry(into, &job.retry);
    }
    if let Some(deadline) = job.deadline {
        into.u64(deadline.0);
    }
    if let Some(unique) = &job.unique {
        write_unique(into, unique);
    }
    if let Some(since) = job.unreadable {
        into.u64(since.0);
    }
    if let Some(lease) = &job.lease {
        into.u64(lease.token.0);
        into.u32(lease.lease_ms);
        into.text8(&lease.worker);
    }
}

pub(crate) fn read_job(take: &mut Take<'_>, names: &mut Names) -> Result<SavedJob, Damage> {
    let slot = Slot(take.u32()?);
    let id = JobId::from_bytes(take.array()?);
    let [flags, priority, state, reason, crashes] = take.array()?;
    let has = |flag: u8| flags & flag != 0;
    let life = Life {
        state: read_state(state)?,
        reason: match reason {
            0 => None,
            reason => {
                let reason = DeadReason::ALL.get(usize::from(reason) - 1).copied();
                Some(reason.ok_or(Damage::Bad("reason"))?)
            }
        },
        cancelling: has(CANCELLING),
        crashes,
        attempt: take.u16()?,
        at: WallMs(take.u64()?),
        order: take.u64()?,
        place: Place(take.u64()?),
        note: Place(take.u64()?),
    };
    Ok(SavedJob {
        slot,
        id,
        queue: again(&mut names.queue, take.text8()?),
        kind: again(&mut names.kind, take.text8()?),
        priority: Priority::new(priority).ok_or(Damage::Bad("priority"))?,
        retry: if has(RETRY) {
            read_retry(take)?
        } else {
            RetryRule::default()
        },
        keep_result: has(KEEP_RESULT),
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
        unreadable: if has(UNREADABLE) {
            Some(WallMs(take.u64()?))
        } else {
            None
        },
        lease: if has(LEASE) {
            Some(SavedLease {
                token: Token(take.u64()?),
                lease_ms: take.u32()?,
                local: has(LOCAL),
                worker: Arc::from(take.text8()?),
            })
        } else {
            None
        },
        life,
    })
}

pub(crate) fn write_key(into: &mut Vec<u8>, key: &SavedKey) {
    write_digest(into, key.digest);
    into.u64(key.answer.0);
    into.u64(key.at.0);
}

pub(crate) fn read_key(take: &mut Take<'_>) -> Result<SavedKey, Damage> {
    Ok(SavedKey {
        digest: read_digest(take)?,
        answer: Place(take.u64()?),
        at: WallMs(take.u64()?),
    })
}

pub(crate) fn write_page(into: &mut Vec<u8>, number: u64, page: &SettlePage) {
    into.u64(number);
    into.u64(page.base.0);
    into.u64(page.newest.0);
    into.u32(page.count);
    for (digest, after_ms) in page.digests.iter().zip(&page.after_ms) {
        into.u32(*digest);
        into.u32(*after_ms);
    }
}

pub(crate) fn read_page(take: &mut Take<'_>) -> Result<(u64, SettlePage), Damage> {
    let number = take.u64()?;
    let (base, newest, count) = (WallMs(take.u64()?), WallMs(take.u64()?), take.u32()?);
    let (mut digests, mut after_ms) = (vec![0; SETTLE_PAGE], vec![0; SETTLE_PAGE]);
    for (digest, after_ms) in digests.iter_mut().zip(&mut after_ms) {
        (*digest, *after_ms) = (take.u32()?, take.u32()?);
    }
    let (digests, after_ms) = (digests.into(), after_ms.into());
    Ok((
        number,
        SettlePage {
            base,
            newest,
            count,
            digests,
            after_ms,
        },
    ))
}

pub(crate) fn write_meta(into: &mut Vec<u8>, meta: &SavedMeta) {
    into.u64(meta.last_token.0);
    into.u64(meta.last_order);
    into.u32(small(meta.queues.len()));
    for (name, queue) in &meta.queues {
        into.text8(name);
        write_queue(into, &queue.config);
        let t = &queue.totals;
        for count in [
            t.enqueued,
            t.completed,
            t.dead,
            t.cancelled,
            t.redriven,
            t.deleted,
            t.retried,
            t.lapsed,
        ] {
            into.u64(count);
        }
    }
    into.u32(meta.topics.last_number);
    into.u32(small(meta.topics.by_number.len()));
    for (number, topic) in &meta.topics.by_number {
        into.u32(*number);
        into.text8(&topic.name);
        write_topic(into, &topic.config);
        into.u64(topic.created_at.0);
        into.u64(topic.last_at.0);
        into.u64(topic.next);
        into.u64(meta.archived.get(number).copied().unwrap_or(0));
        topic.offsets.iter().for_each(|offset| into.u64(*offset));
    }
    groups::write(into, &meta.groups);
}

fn read_topics(take: &mut Take<'_>, meta: &mut SavedMeta) -> Result<(), Damage> {
    meta.topics.last_number = take.u32()?;
    for _ in 0..take.u32()? {
        let number = take.u32()?;
        let name: Arc<str> = Arc::from(take.text8()?);
        let config = read_topic(take)?;
        let (created_at, last_at) = (WallMs(take.u64()?), WallMs(take.u64()?));
        let next = take.u64()?;
        meta.archived.insert(number, take.u64()?);
        let offsets = (0..config.partitions).map(|_| take.u64());
        let topic = SavedTopic {
            name,
            config,
            created_at,
            last_at,
            next,
            offsets: offsets.collect::<Result<_, _>>()?,
        };
        meta.topics.by_number.insert(number, topic);
    }
    Ok(())
}

pub(crate) fn write_remembered(into: &mut Vec<u8>, saved: &SavedSeen) {
    write_seen(into, &saved.seen);
    into.u64(saved.at.0);
}

pub(crate) fn read_remembered(take: &mut Take<'_>) -> Result<SavedSeen, Damage> {
    Ok(SavedSeen {
        seen: read_seen(take)?,
        at: WallMs(take.u64()?),
    })
}

pub(crate) fn read_meta(data: &[u8]) -> Result<SavedMeta, Damage> {
    let mut take = Take(data);
    let (last_token, last_order) = (Token(take.u64()?), take.u64()?);
    let mut meta = SavedMeta {
        last_token,
        last_order,
        ..SavedMeta::default()
    };
    for _ in 0..take.u32()? {
        let name: Arc<str> = Arc::from(take.text8()?);
        let config = read_queue(&mut take)?;
        let totals = Totals {
            enqueued: take.u64()?,
            completed: take.u64()?,
            dead: take.u64()?,
            cancelled: take.u64()?,
            redriven: take.u64()?,
            deleted: take.u64()?,
            retried: take.u64()?,
            lapsed: take.u64()?,
        };
        meta.queues.insert(name, SavedQueue { config, totals });
    }
    // A store that never had a topic may have been written before there were any.
    if !take.0.is_empty() {
        read_topics(&mut take, &mut meta)?;
    }
    if !take.0.is_empty() {
        meta.groups = groups::read(&mut take)?;
    }
    Ok(meta)
}
