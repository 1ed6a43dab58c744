//! What a snapshot holds of groups.

use std::collections::BTreeMap;
use std::sync::Arc;

use posthaste_core::group::GroupTotals;
use posthaste_core::machine::{
    EventState, Place, SavedGroup, SavedGroups, SavedKept, SavedMember, Unfinished,
};
use posthaste_core::{Token, WallMs};

use crate::format::Damage;
use crate::format::bytes::{Put, Take, small};
use crate::format::facts::{read_group, read_reason, write_group};

pub(super) fn write(into: &mut Vec<u8>, groups: &SavedGroups) {
    into.u32(groups.last_number);
    into.u32(small(groups.by_number.len()));
    for (number, group) in &groups.by_number {
        into.u32(*number);
        into.u32(group.topic);
        into.text8(&group.name);
        write_group(into, &group.config);
        into.u64(group.created_at.0);
        into.u64(group.head);
        write_totals(into, &group.totals);
        into.u32(small(group.members.len()));
        for (token, member) in &group.members {
            into.u64(token.0);
            into.u32(member.lease_ms);
            into.u8(u8::from(member.local));
            into.text8(&member.name);
        }
        into.u32(small(group.unfinished.len()));
        for (position, event) in &group.unfinished {
            into.u64(*position);
            write_unfinished(into, event);
        }
        for kept in [&group.parked, &group.dead] {
            into.u32(small(kept.len()));
            for (position, kept) in kept {
                into.u64(*position);
                write_kept(into, kept);
            }
        }
    }
}

pub(super) fn read(take: &mut Take<'_>) -> Result<SavedGroups, Damage> {
    let mut groups = SavedGroups {
        last_number: take.u32()?,
        ..SavedGroups::default()
    };
    for _ in 0..take.u32()? {
        let (number, group) = (take.u32()?, read_one(take)?);
        groups.by_number.insert(number, group);
    }
    Ok(groups)
}

fn read_one(take: &mut Take<'_>) -> Result<SavedGroup, Damage> {
    let topic = take.u32()?;
    let name: Arc<str> = Arc::from(take.text8()?);
    let config = read_group(take)?;
    let (created_at, head) = (WallMs(take.u64()?), take.u64()?);
    let mut group = SavedGroup {
        topic,
        name,
        config,
        created_at,
        head,
        totals: read_totals(take)?,
        members: BTreeMap::new(),
        unfinished: BTreeMap::new(),
        parked: BTreeMap::new(),
        dead: BTreeMap::new(),
    };
    for _ in 0..take.u32()? {
        let token = Token(take.u64()?);
        let member = SavedMember {
            lease_ms: take.u32()?,
            local: take.u8()? != 0,
            name: Arc::from(take.text8()?),
            held: 0,
        };
        group.members.insert(token, member);
    }
    for _ in 0..take.u32()? {
        let position = take.u64()?;
        group.unfinished.insert(position, read_unfinished(take)?);
    }
    for kept in [&mut group.parked, &mut group.dead] {
        for _ in 0..take.u32()? {
            let position = take.u64()?;
            kept.insert(position, read_kept(take)?);
        }
    }
    group.count_held();
    Ok(group)
}

fn write_totals(into: &mut Vec<u8>, totals: &GroupTotals) {
    for count in [
        totals.done,
        totals.retried,
        totals.parked,
        totals.dead,
        totals.skipped,
        totals.lapsed,
        totals.redelivered,
        totals.lost_to_retention,
    ] {
        into.u64(count);
    }
}

fn read_totals(take: &mut Take<'_>) -> Result<GroupTotals, Damage> {
    Ok(GroupTotals {
        done: take.u64()?,
        retried: take.u64()?,
        parked: take.u64()?,
        dead: take.u64()?,
        skipped: take.u64()?,
        lapsed: take.u64()?,
        redelivered: take.u64()?,
        lost_to_retention: take.u64()?,
    })
}

fn write_unfinished(into: &mut Vec<u8>, event: &Unfinished) {
    into.u32(event.hash);
    into.u16(event.attempts);
    into.u8(event.crashes);
    into.u64(event.place.0);
    match event.state {
        EventState::Held => into.u8(0),
        EventState::Leased(token) => {
            into.u8(1);
            into.u64(token.0);
        }
        EventState::Retrying { until } => {
            into.u8(2);
            into.u64(until.0);
        }
        EventState::Ending { dead, why, note } => {
            into.put(&[3, u8::from(dead), why as u8]);
            into.u64(note.0);
        }
    }
}

fn read_unfinished(take: &mut Take<'_>) -> Result<Unfinished, Damage> {
    let (hash, attempts, crashes) = (take.u32()?, take.u16()?, take.u8()?);
    Ok(Unfinished {
        hash,
        attempts,
        crashes,
        place: Place(take.u64()?),
        state: match take.u8()? {
            0 => EventState::Held,
            1 => EventState::Leased(Token(take.u64()?)),
            2 => EventState::Retrying {
                until: WallMs(take.u64()?),
            },
            3 => EventState::Ending {
                dead: take.u8()? != 0,
                why: read_reason(take.u8()?)?,
                note: Place(take.u64()?),
            },
            _ => return Err(Damage::Bad("state of an event")),
        },
    })
}

fn write_kept(into: &mut Vec<u8>, kept: &SavedKept) {
    into.u32(kept.hash);
    into.u64(kept.place.0);
    into.u64(kept.note.0);
    into.u16(kept.attempts);
    into.u8(kept.why as u8);
    into.u64(kept.at.0);
}

fn read_kept(take: &mut Take<'_>) -> Result<SavedKept, Damage> {
    Ok(SavedKept {
        hash: take.u32()?,
        place: Place(take.u64()?),
        note: Place(take.u64()?),
        attempts: take.u16()?,
        why: read_reason(take.u8()?)?,
        at: WallMs(take.u64()?),
    })
}

#[cfg(test)]
mod tests {
    use posthaste_core::group::{GroupConfig, KeptReason, OnExhausted};
    use posthaste_core::machine::SavedMeta;

    use super::*;
    use crate::format::saved::{read_meta, write_meta};

    /// A group with an event in each state, members, parked events and dead letters.
    fn groups() -> SavedGroups {
        let event = |hash, state| Unfinished {
            hash,
            state,
            attempts: 3,
            crashes: 2,
            place: Place(u64::from(hash)),
        };
        let ending = |dead, why| EventState::Ending {
            dead,
            why,
            note: Place(9),
        };
        let kept = |why| SavedKept {
            hash: 8,
            place: Place(1 << 60),
            note: Place(7),
            attempts: 6,
            why,
            at: WallMs(5),
        };
        let member = |name: &str, local, held| SavedMember {
            name: name.into(),
            lease_ms: 30_000,
            local,
            held,
        };
        let until = WallMs(1 << 40);
        let group = SavedGroup {
            topic: 4,
            name: "billing".into(),
            config: GroupConfig {
                on_exhausted: OnExhausted::Dead,
                paused: true,
                ..GroupConfig::default()
            },
            created_at: WallMs(11),
            head: 1 << 50,
            unfinished: BTreeMap::from([
                (1, event(0, EventState::Held)),
                (2, event(1, EventState::Leased(Token(21)))),
                (3, event(2, EventState::Leased(Token(21)))),
                (4, event(3, EventState::Retrying { until })),
                (5, event(4, ending(false, KeptReason::Behind))),
                (6, event(u32::MAX, ending(true, KeptReason::Exhausted))),
            ]),
            members: BTreeMap::from([
                (Token(21), member("one", true, 2)),
                (Token(22), member("two", false, 0)),
            ]),
            parked: BTreeMap::from([(7, kept(KeptReason::Poison))]),
            dead: BTreeMap::from([(8, kept(KeptReason::Failed)), (9, kept(KeptReason::Behind))]),
            totals: GroupTotals {
                done: 31,
                retried: 32,
                parked: 33,
                dead: 34,
                skipped: 35,
                lapsed: 36,
                redelivered: 37,
                lost_to_retention: 38,
            },
        };
        SavedGroups {
            by_number: BTreeMap::from([(3, group.clone()), (5, SavedGroup { topic: 1, ..group })]),
            last_number: 6,
        }
    }

    #[test]
    fn groups_read_back_and_a_cut_is_told() {
        let meta = SavedMeta {
            groups: groups(),
            ..SavedMeta::default()
        };
        let mut bytes = Vec::new();
        write_meta(&mut bytes, &meta);
        assert_eq!(read_meta(&bytes), Ok(meta));
        let mut before = Vec::new();
        write_meta(&mut before, &SavedMeta::default());
        // What was written before there were groups, or topics, ends where they begin.
        let without = [before.len() - 8, before.len() - 16];
        for len in without {
            let read = read_meta(&before[..len]).expect("an older snapshot is read");
            assert_eq!(read.groups, SavedGroups::default());
        }
        for len in without[0] + 1..bytes.len() {
            assert!(read_meta(&bytes[..len]).is_err(), "cut to {len}");
        }
    }
}
