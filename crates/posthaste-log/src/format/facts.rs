//! Facts as bytes: tag, version, length, then the values. Unknown tags and versions are refused.
//!
//! A job's facts name its slot. What a new job is stands in its body, and which partitions published
//! events go to in theirs; the fact says where that is, and the reader fetches it there.

mod groups;

use std::ops::Range;

use posthaste_core::job::{DeadReason, Priority};
use posthaste_core::machine::{
    Cause, Fact, Hashes, KeyDigest, Place, QueueConfig, Seen, Slot, Summary, To,
};
use posthaste_core::topic::{Compression, TopicConfig};
use posthaste_core::{Token, WallMs};

pub(crate) use groups::{read_group, read_reason, write_group};

use super::Damage;
use super::body::read_state;
use super::bytes::{Put, Take};

const VERSION: u8 = 1;

/// Bytes that one fact takes at most, without the name that some carry.
pub(crate) const FACT_BYTES_MAX: usize = 64;

fn tag(fact: &Fact<'_>) -> u8 {
    match fact {
        Fact::Enqueued { .. } => 1,
        Fact::KeyTaken { .. } => 2,
        Fact::Leased { .. } => 3,
        Fact::Changed { .. } => 4,
        Fact::CancelAsked { .. } => 5,
        Fact::Edited { .. } => 6,
        Fact::Copied { .. } => 7,
        Fact::AnswerCopied { .. } => 8,
        Fact::Deleted { .. } => 9,
        Fact::KeysForgotten { .. } => 10,
        Fact::SettlesForgotten { .. } => 11,
        Fact::QueueSet { .. } => 12,
        Fact::Unclaimed { .. } => 13,
        Fact::Unreadable { .. } => 14,
        Fact::TokensPassed { .. } => 15,
        Fact::DeadlineLifted { .. } => 16,
        Fact::TopicSet { .. } => 17,
        Fact::TopicDeleted { .. } => 18,
        Fact::Published { .. } => 19,
        Fact::EventSeen { .. } => 20,
        Fact::EventsForgotten { .. } => 21,
        Fact::GroupSet { .. } => 22,
        Fact::GroupDeleted { .. } => 23,
        Fact::MemberJoined { .. } => 24,
        Fact::MemberLeft { .. } => 25,
        Fact::EventHeld { .. } => 26,
        Fact::EventLeased { .. } => 27,
        Fact::EventsFinished { .. } => 28,
        Fact::EventRetried { .. } => 29,
        Fact::EventEnding { .. } => 30,
        Fact::EventKept { .. } => 31,
        Fact::KeptReleased { .. } => 32,
        Fact::KeptSkipped { .. } => 33,
        Fact::KeptRedriven { .. } => 34,
        Fact::KeptForgotten { .. } => 35,
        Fact::KeptCopied { .. } => 36,
        Fact::GroupReset { .. } => 37,
        Fact::HeadMoved { .. } => 38,
    }
}

/// Bytes of the name that a fact carries.
fn name_bytes(fact: &Fact<'_>) -> usize {
    match fact {
        Fact::Leased { worker: name, .. }
        | Fact::QueueSet { queue: name, .. }
        | Fact::TopicSet { name, .. }
        | Fact::GroupSet { name, .. }
        | Fact::MemberJoined { name, .. } => name.len(),
        _ => 0,
    }
}

/// Appends a fact.
pub(crate) fn write(into: &mut Vec<u8>, fact: &Fact<'_>) {
    let start = into.len();
    into.put(&[tag(fact), VERSION, 0, 0]);
    match *fact {
        Fact::Enqueued {
            slot,
            order,
            ready,
            state,
            place,
            job: _,
        } => {
            into.u32(slot.0);
            into.u64(order);
            into.u64(ready.0);
            into.u64(place.0);
            into.u8(state as u8);
        }
        Fact::KeyTaken { digest, answer, at } => {
            write_digest(into, digest);
            into.u64(answer.0);
            into.u64(at.0);
        }
        Fact::Leased {
            slot,
            token,
            lease_ms,
            local,
            worker,
        } => {
            into.u32(slot.0);
            into.u64(token.0);
            into.u32(lease_ms);
            into.u8(u8::from(local));
            into.text8(worker);
        }
        Fact::Changed {
            slot,
            cause,
            to,
            at,
            note,
        } => {
            into.u32(slot.0);
            into.u64(at.0);
            into.u64(note.0);
            write_cause(into, cause);
            write_to(into, to);
        }
        Fact::CancelAsked { slot }
        | Fact::Deleted { slot }
        | Fact::Unclaimed { slot }
        | Fact::DeadlineLifted { slot } => into.u32(slot.0),
        Fact::Unreadable { slot, since } => {
            into.u32(slot.0);
            into.u64(since.0);
        }
        Fact::Edited {
            slot,
            place,
            priority,
        } => {
            into.u32(slot.0);
            into.u64(place.0);
            into.u8(priority.get());
        }
        Fact::Copied { slot, from, to } => {
            into.u32(slot.0);
            into.u64(from.0);
            into.u64(to.0);
        }
        Fact::AnswerCopied { digest, from, to } => {
            write_digest(into, digest);
            into.u64(from.0);
            into.u64(to.0);
        }
        Fact::KeysForgotten { count } => into.u32(count),
        Fact::SettlesForgotten { before } => into.u64(before.0),
        Fact::TokensPassed { upto } => into.u64(upto.0),
        Fact::QueueSet { queue, settings } => {
            into.text8(queue);
            write_queue(into, &settings);
        }
        Fact::TopicSet {
            topic,
            name,
            config,
            at,
        } => {
            into.u32(topic);
            into.u64(at.0);
            into.text8(name);
            write_topic(into, &config);
        }
        Fact::TopicDeleted { topic } => into.u32(topic),
        Fact::Published {
            topic,
            place,
            at,
            position,
            hashes: _,
        } => {
            into.u32(topic);
            into.u64(place.0);
            into.u64(at.0);
            into.u64(position);
        }
        Fact::EventSeen { seen, at } => {
            write_seen(into, &seen);
            into.u64(at.0);
        }
        Fact::EventsForgotten { count } => into.u32(count),
        _ => groups::write(into, fact),
    }
    let len = u16::try_from(into.len() - start - 4).unwrap_or(u16::MAX);
    into[start + 2..start + 4].copy_from_slice(&len.to_le_bytes());
    debug_assert!(into.len() - start <= FACT_BYTES_MAX + name_bytes(fact));
}

pub(crate) fn write_digest(into: &mut Vec<u8>, digest: KeyDigest) {
    into.put(&digest.key);
    into.u32(digest.body);
}

pub(crate) fn write_queue(into: &mut Vec<u8>, settings: &QueueConfig) {
    into.u8(u8::from(settings.paused) | u8::from(settings.strict) << 1);
    into.u32(settings.concurrency);
    into.u64(settings.priority_step_ms);
}

pub(crate) fn write_topic(into: &mut Vec<u8>, config: &TopicConfig) {
    into.u16(config.partitions);
    into.u64(config.kept_ms);
    into.u64(config.kept_bytes);
    into.u64(config.kept_events);
    into.u64(config.tombstones_kept_ms);
    into.u8(u8::from(config.compacted));
    into.u8(match config.compression {
        Compression::None => 0,
        Compression::Lz4 => 1,
    });
}

pub(crate) fn read_topic(take: &mut Take<'_>) -> Result<TopicConfig, Damage> {
    Ok(TopicConfig {
        partitions: take.u16()?,
        kept_ms: take.u64()?,
        kept_bytes: take.u64()?,
        kept_events: take.u64()?,
        tombstones_kept_ms: take.u64()?,
        compacted: take.u8()? != 0,
        compression: match take.u8()? {
            0 => Compression::None,
            1 => Compression::Lz4,
            _ => return Err(Damage::Bad("compression")),
        },
    })
}

pub(crate) fn write_seen(into: &mut Vec<u8>, seen: &Seen) {
    into.put(&seen.digest);
    into.u32(seen.topic);
    into.u16(seen.partition);
    into.u64(seen.offset);
    into.u64(seen.position);
}

pub(crate) fn read_seen(take: &mut Take<'_>) -> Result<Seen, Damage> {
    Ok(Seen {
        digest: take.array()?,
        topic: take.u32()?,
        partition: take.u16()?,
        offset: take.u64()?,
        position: take.u64()?,
    })
}

fn write_cause(into: &mut Vec<u8>, cause: Cause) {
    match cause {
        Cause::Due => into.u8(1),
        Cause::Settled {
            token,
            digest,
            spent,
        } => {
            into.u8(2);
            into.u64(token.0);
            into.u32(digest);
            into.u8(u8::from(spent));
        }
        Cause::Lapsed => into.u8(3),
        Cause::Expired => into.u8(4),
        Cause::Asked => into.u8(5),
        Cause::Corrupt => into.u8(6),
    }
}

fn write_to(into: &mut Vec<u8>, to: To) {
    match to {
        To::Available {
            order,
            ready,
            afresh,
        } => {
            into.put(&[1, u8::from(afresh)]);
            into.u64(order);
            into.u64(ready.0);
        }
        To::Scheduled { run_at } => {
            into.u8(2);
            into.u64(run_at.0);
        }
        To::Retryable { run_at } => {
            into.u8(3);
            into.u64(run_at.0);
        }
        To::Completed => into.u8(4),
        To::Dead(reason) => into.put(&[5, reason as u8]),
        To::Cancelled => into.u8(6),
    }
}

/// Where the body of the job is that a fact, as bytes, says is new; `None` for any other fact.
pub(crate) fn place_of_new(fact: &[u8]) -> Option<Place> {
    let mut take = Take(fact.get(4..)?);
    if fact.first() != Some(&1) {
        return None;
    }
    take.bytes(20).ok()?; // slot, turn and ready time
    take.u64().ok().map(Place)
}

/// Where a reader of facts fetches what they only point to.
pub(crate) trait Bodies<'a> {
    /// What the new job at a place is.
    fn summary(&mut self, place: Place) -> Result<Summary<'a>, Damage>;
    /// The hashes of the events at a place.
    fn hashes(&mut self, place: Place) -> Result<Hashes<'a>, Damage>;
}

/// Reads the facts of a record in order.
pub(crate) fn read<'a>(
    data: &'a [u8],
    bodies: impl Bodies<'a>,
    mut each: impl FnMut(Fact<'a>),
) -> Result<(), Damage> {
    read_with_spans(data, bodies, |fact, _| each(fact))
}

/// The same, each fact with where in `data` it stands.
pub(crate) fn read_with_spans<'a>(
    data: &'a [u8],
    mut bodies: impl Bodies<'a>,
    mut each: impl FnMut(Fact<'a>, Range<usize>),
) -> Result<(), Damage> {
    let mut take = Take(data);
    while !take.0.is_empty() {
        let start = data.len() - take.0.len();
        let (tag, version) = (take.u8()?, take.u8()?);
        let len = take.u16()?;
        let mut values = Take(take.bytes(usize::from(len))?);
        if version != VERSION {
            return Err(Damage::Newer(u16::from(version)));
        }
        let fact = read_one(tag, &mut values, &mut bodies)?;
        each(fact, start..data.len() - take.0.len());
        if !values.0.is_empty() {
            return Err(Damage::Bad("length of a fact"));
        }
    }
    Ok(())
}

fn read_one<'a>(
    tag: u8,
    take: &mut Take<'a>,
    bodies: &mut impl Bodies<'a>,
) -> Result<Fact<'a>, Damage> {
    Ok(match tag {
        1 => {
            let slot = Slot(take.u32()?);
            let (order, ready) = (take.u64()?, WallMs(take.u64()?));
            let place = Place(take.u64()?);
            let state = read_state(take.u8()?)?;
            Fact::Enqueued {
                slot,
                order,
                ready,
                state,
                place,
                job: bodies.summary(place)?,
            }
        }
        2 => Fact::KeyTaken {
            digest: read_digest(take)?,
            answer: Place(take.u64()?),
            at: WallMs(take.u64()?),
        },
        3 => Fact::Leased {
            slot: Slot(take.u32()?),
            token: Token(take.u64()?),
            lease_ms: take.u32()?,
            local: take.u8()? != 0,
            worker: take.text8()?,
        },
        4 => Fact::Changed {
            slot: Slot(take.u32()?),
            at: WallMs(take.u64()?),
            note: Place(take.u64()?),
            cause: read_cause(take)?,
            to: read_to(take)?,
        },
        5 => Fact::CancelAsked {
            slot: Slot(take.u32()?),
        },
        6 => Fact::Edited {
            slot: Slot(take.u32()?),
            place: Place(take.u64()?),
            priority: Priority::new(take.u8()?).ok_or(Damage::Bad("priority"))?,
        },
        7 => Fact::Copied {
            slot: Slot(take.u32()?),
            from: Place(take.u64()?),
            to: Place(take.u64()?),
        },
        8 => Fact::AnswerCopied {
            digest: read_digest(take)?,
            from: Place(take.u64()?),
            to: Place(take.u64()?),
        },
        9 => Fact::Deleted {
            slot: Slot(take.u32()?),
        },
        10 => Fact::KeysForgotten { count: take.u32()? },
        11 => Fact::SettlesForgotten {
            before: WallMs(take.u64()?),
        },
        12 => Fact::QueueSet {
            queue: take.text8()?,
            settings: read_queue(take)?,
        },
        13 => Fact::Unclaimed {
            slot: Slot(take.u32()?),
        },
        14 => Fact::Unreadable {
            slot: Slot(take.u32()?),
            since: WallMs(take.u64()?),
        },
        15 => Fact::TokensPassed {
            upto: Token(take.u64()?),
        },
        16 => Fact::DeadlineLifted {
            slot: Slot(take.u32()?),
        },
        17 => Fact::TopicSet {
            topic: take.u32()?,
            at: WallMs(take.u64()?),
            name: take.text8()?,
            config: read_topic(take)?,
        },
        18 => Fact::TopicDeleted { topic: take.u32()? },
        19 => {
            let (topic, place) = (take.u32()?, Place(take.u64()?));
            Fact::Published {
                topic,
                place,
                at: WallMs(take.u64()?),
                position: take.u64()?,
                hashes: bodies.hashes(place)?,
            }
        }
        20 => Fact::EventSeen {
            seen: read_seen(take)?,
            at: WallMs(take.u64()?),
        },
        21 => Fact::EventsForgotten { count: take.u32()? },
        _ => return groups::read(tag, take),
    })
}

pub(crate) fn read_digest(take: &mut Take<'_>) -> Result<KeyDigest, Damage> {
    Ok(KeyDigest {
        key: take.array()?,
        body: take.u32()?,
    })
}

pub(crate) fn read_queue(take: &mut Take<'_>) -> Result<QueueConfig, Damage> {
    let flags = take.u8()?;
    Ok(QueueConfig {
        paused: flags & 1 != 0,
        strict: flags & 2 != 0,
        concurrency: take.u32()?,
        priority_step_ms: take.u64()?,
    })
}

fn read_cause(take: &mut Take<'_>) -> Result<Cause, Damage> {
    Ok(match take.u8()? {
        1 => Cause::Due,
        2 => Cause::Settled {
            token: Token(take.u64()?),
            digest: take.u32()?,
            spent: take.u8()? != 0,
        },
        3 => Cause::Lapsed,
        4 => Cause::Expired,
        5 => Cause::Asked,
        6 => Cause::Corrupt,
        _ => return Err(Damage::Bad("cause")),
    })
}

fn read_to(take: &mut Take<'_>) -> Result<To, Damage> {
    Ok(match take.u8()? {
        1 => {
            let afresh = take.u8()? != 0;
            To::Available {
                order: take.u64()?,
                ready: WallMs(take.u64()?),
                afresh,
            }
        }
        2 => To::Scheduled {
            run_at: WallMs(take.u64()?),
        },
        3 => To::Retryable {
            run_at: WallMs(take.u64()?),
        },
        4 => To::Completed,
        5 => {
            let reason = usize::from(take.u8()?);
            To::Dead(
                DeadReason::ALL
                    .get(reason)
                    .copied()
                    .ok_or(Damage::Bad("reason"))?,
            )
        }
        6 => To::Cancelled,
        _ => return Err(Damage::Bad("target")),
    })
}
