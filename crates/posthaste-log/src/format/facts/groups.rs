//! Facts about groups.

use posthaste_core::group::{GroupConfig, KeptReason, OnExhausted};
use posthaste_core::machine::{Fact, Finish, Place};
use posthaste_core::{Backoff, Token, WallMs};

use crate::format::Damage;
use crate::format::bytes::{Put, Take};

pub(super) fn write(into: &mut Vec<u8>, fact: &Fact<'_>) {
    match *fact {
        Fact::GroupSet {
            group,
            topic,
            name,
            config,
            at,
            head,
        } => {
            into.u32(group);
            into.u32(topic);
            into.u64(at.0);
            into.u64(head);
            into.text8(name);
            write_group(into, &config);
        }
        Fact::GroupDeleted { group } => into.u32(group),
        Fact::MemberJoined {
            group,
            token,
            lease_ms,
            local,
            name,
        } => {
            into.u32(group);
            into.u64(token.0);
            into.u32(lease_ms);
            into.u8(u8::from(local));
            into.text8(name);
        }
        Fact::MemberLeft {
            group,
            token,
            lapsed,
        } => {
            into.u32(group);
            into.u64(token.0);
            into.u8(u8::from(lapsed));
        }
        Fact::GroupReset { group, head, at } => {
            into.u32(group);
            into.u64(head);
            into.u64(at.0);
        }
        Fact::HeadMoved { group, to, lost } => {
            into.u32(group);
            into.u64(to);
            into.u64(lost);
        }
        _ => write_event(into, fact),
    }
}

/// What is about one event, or a range of them.
fn write_event(into: &mut Vec<u8>, fact: &Fact<'_>) {
    match *fact {
        Fact::EventHeld {
            group,
            position,
            hash,
            crashes,
        } => {
            event(into, group, position);
            into.u32(hash);
            into.u8(crashes);
        }
        Fact::EventLeased {
            group,
            token,
            position,
            hash,
        } => {
            event(into, group, position);
            into.u32(hash);
            into.u64(token.0);
        }
        Fact::EventsFinished {
            group,
            from,
            to,
            how,
        } => {
            event(into, group, from);
            into.u64(to);
            into.u8(how as u8);
        }
        Fact::EventRetried {
            group,
            position,
            attempts,
            until,
        } => {
            event(into, group, position);
            into.u16(attempts);
            into.u64(until.0);
        }
        Fact::EventEnding {
            group,
            position,
            hash,
            dead,
            why,
            attempts,
            note,
        } => {
            event(into, group, position);
            into.u32(hash);
            into.put(&[u8::from(dead), why as u8]);
            into.u16(attempts);
            into.u64(note.0);
        }
        Fact::EventKept {
            group,
            position,
            place,
            at,
        } => {
            event(into, group, position);
            into.u64(place.0);
            into.u64(at.0);
        }
        Fact::KeptReleased { group, position }
        | Fact::KeptSkipped { group, position }
        | Fact::KeptRedriven { group, position }
        | Fact::KeptForgotten { group, position } => event(into, group, position),
        Fact::KeptCopied {
            group,
            position,
            from,
            to,
        } => {
            event(into, group, position);
            into.u64(from.0);
            into.u64(to.0);
        }
        _ => debug_assert!(false, "no fact about an event of a group: {fact:?}"),
    }
}

fn event(into: &mut Vec<u8>, group: u32, position: u64) {
    into.u32(group);
    into.u64(position);
}

pub(super) fn read<'a>(tag: u8, take: &mut Take<'a>) -> Result<Fact<'a>, Damage> {
    if !(22..=38).contains(&tag) {
        return Err(Damage::Bad("fact"));
    }
    let group = take.u32()?;
    Ok(match tag {
        22 => Fact::GroupSet {
            group,
            topic: take.u32()?,
            at: WallMs(take.u64()?),
            head: take.u64()?,
            name: take.text8()?,
            config: read_group(take)?,
        },
        23 => Fact::GroupDeleted { group },
        24 => Fact::MemberJoined {
            group,
            token: Token(take.u64()?),
            lease_ms: take.u32()?,
            local: take.u8()? != 0,
            name: take.text8()?,
        },
        25 => Fact::MemberLeft {
            group,
            token: Token(take.u64()?),
            lapsed: take.u8()? != 0,
        },
        37 => Fact::GroupReset {
            group,
            head: take.u64()?,
            at: WallMs(take.u64()?),
        },
        38 => Fact::HeadMoved {
            group,
            to: take.u64()?,
            lost: take.u64()?,
        },
        _ => {
            let position = take.u64()?;
            read_event(tag, group, position, take)?
        }
    })
}

fn read_event<'a>(
    tag: u8,
    group: u32,
    position: u64,
    take: &mut Take<'a>,
) -> Result<Fact<'a>, Damage> {
    Ok(match tag {
        26 => Fact::EventHeld {
            group,
            position,
            hash: take.u32()?,
            crashes: take.u8()?,
        },
        27 => Fact::EventLeased {
            group,
            position,
            hash: take.u32()?,
            token: Token(take.u64()?),
        },
        28 => Fact::EventsFinished {
            group,
            from: position,
            to: take.u64()?,
            how: {
                let how = Finish::ALL.get(usize::from(take.u8()?)).copied();
                how.ok_or(Damage::Bad("way to finish"))?
            },
        },
        29 => Fact::EventRetried {
            group,
            position,
            attempts: take.u16()?,
            until: WallMs(take.u64()?),
        },
        30 => Fact::EventEnding {
            group,
            position,
            hash: take.u32()?,
            dead: take.u8()? != 0,
            why: read_reason(take.u8()?)?,
            attempts: take.u16()?,
            note: Place(take.u64()?),
        },
        31 => Fact::EventKept {
            group,
            position,
            place: Place(take.u64()?),
            at: WallMs(take.u64()?),
        },
        32 => Fact::KeptReleased { group, position },
        33 => Fact::KeptSkipped { group, position },
        34 => Fact::KeptRedriven { group, position },
        35 => Fact::KeptForgotten { group, position },
        36 => Fact::KeptCopied {
            group,
            position,
            from: Place(take.u64()?),
            to: Place(take.u64()?),
        },
        _ => return Err(Damage::Bad("fact")),
    })
}

pub(crate) fn read_reason(number: u8) -> Result<KeptReason, Damage> {
    let reason = KeptReason::ALL.get(usize::from(number)).copied();
    reason.ok_or(Damage::Bad("reason"))
}

pub(crate) fn write_group(into: &mut Vec<u8>, config: &GroupConfig) {
    into.u32(config.in_flight);
    into.u16(config.max_attempts);
    into.u32(config.backoff.base_ms);
    into.u8(config.backoff.factor);
    into.u32(config.backoff.max_ms);
    into.u8(config.backoff.jitter_percent);
    into.u32(config.parked_max);
    let dead = config.on_exhausted == OnExhausted::Dead;
    into.u8(u8::from(config.paused) | u8::from(dead) << 1);
}

pub(crate) fn read_group(take: &mut Take<'_>) -> Result<GroupConfig, Damage> {
    let (in_flight, max_attempts) = (take.u32()?, take.u16()?);
    let backoff = Backoff {
        base_ms: take.u32()?,
        factor: take.u8()?,
        max_ms: take.u32()?,
        jitter_percent: take.u8()?,
    };
    let (parked_max, flags) = (take.u32()?, take.u8()?);
    Ok(GroupConfig {
        in_flight,
        max_attempts,
        backoff,
        on_exhausted: match flags & 2 {
            0 => OnExhausted::Park,
            _ => OnExhausted::Dead,
        },
        parked_max,
        paused: flags & 1 != 0,
    })
}

#[cfg(test)]
mod tests {
    use posthaste_core::machine::{Hashes, Summary};

    use super::*;
    use crate::format::facts;

    struct Nothing;

    impl facts::Bodies<'static> for Nothing {
        fn summary(&mut self, _: Place) -> Result<Summary<'static>, Damage> {
            Err(Damage::Bad("no body is asked for"))
        }

        fn hashes(&mut self, _: Place) -> Result<Hashes<'static>, Damage> {
            Err(Damage::Bad("no body is asked for"))
        }
    }

    /// Each with values that differ in every field.
    fn all() -> Vec<Fact<'static>> {
        let (group, position, token) = (7, u64::MAX - 8, Token((1 << 53) - 9));
        let config = GroupConfig {
            in_flight: 1,
            max_attempts: 2,
            backoff: Backoff {
                base_ms: 3,
                factor: 4,
                max_ms: 5,
                jitter_percent: 6,
            },
            on_exhausted: OnExhausted::Dead,
            parked_max: 7,
            paused: false,
        };
        let set = |config| Fact::GroupSet {
            group,
            topic: 8,
            name: "billing",
            config,
            at: WallMs(9),
            head: 10,
        };
        let paused = GroupConfig {
            paused: true,
            on_exhausted: OnExhausted::Park,
            ..config
        };
        let mut facts = vec![set(config), set(paused), Fact::GroupDeleted { group }];
        for yes in [false, true] {
            facts.push(Fact::MemberJoined {
                group,
                token,
                lease_ms: 11,
                local: yes,
                name: "worker",
            });
            facts.push(Fact::MemberLeft {
                group,
                token,
                lapsed: yes,
            });
        }
        let (hash, note, place, at) = (0xffff_fff1, Place(12), Place(13), WallMs(14));
        facts.extend(Finish::ALL.map(|how| Fact::EventsFinished {
            group,
            from: 15,
            to: position,
            how,
        }));
        facts.extend(KeptReason::ALL.map(|why| Fact::EventEnding {
            group,
            position,
            hash,
            dead: why == KeptReason::Failed,
            why,
            attempts: 16,
            note,
        }));
        facts.extend([
            Fact::EventHeld {
                group,
                position,
                hash,
                crashes: 4,
            },
            Fact::EventLeased {
                group,
                token,
                position,
                hash,
            },
            Fact::EventRetried {
                group,
                position,
                attempts: 17,
                until: at,
            },
            Fact::EventKept {
                group,
                position,
                place,
                at,
            },
            Fact::KeptReleased { group, position },
            Fact::KeptSkipped { group, position },
            Fact::KeptRedriven { group, position },
            Fact::KeptForgotten { group, position },
            Fact::KeptCopied {
                group,
                position,
                from: place,
                to: note,
            },
            Fact::GroupReset {
                group,
                head: position,
                at,
            },
            Fact::HeadMoved {
                group,
                to: position,
                lost: 18,
            },
        ]);
        facts
    }

    #[test]
    fn every_fact_about_groups_reads_back() {
        let facts = all();
        let mut bytes = Vec::new();
        for fact in &facts {
            let before = bytes.len();
            facts::write(&mut bytes, fact);
            let name = facts::name_bytes(fact);
            let most = facts::FACT_BYTES_MAX + name;
            assert!(bytes.len() - before <= most, "{fact:?} is too long");
        }
        let mut read = Vec::new();
        let bytes: &'static [u8] = bytes.leak();
        facts::read(bytes, Nothing, |fact| read.push(fact)).expect("they are sound");
        assert_eq!(read, facts);
        let mut tags: Vec<u8> = facts.iter().map(facts::tag).collect();
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(
            tags,
            (22..=38).collect::<Vec<u8>>(),
            "a tag has no fact here"
        );
    }

    #[test]
    fn a_fact_about_groups_with_a_word_that_nobody_knows_is_refused() {
        for (fact, at) in [
            (
                Fact::EventsFinished {
                    group: 1,
                    from: 1,
                    to: 2,
                    how: Finish::Done,
                },
                24,
            ),
            (
                Fact::EventEnding {
                    group: 1,
                    position: 1,
                    hash: 1,
                    dead: true,
                    why: KeptReason::Behind,
                    attempts: 1,
                    note: Place(1),
                },
                21,
            ),
        ] {
            let mut bytes = Vec::new();
            facts::write(&mut bytes, &fact);
            let bytes: &'static mut [u8] = bytes.leak();
            bytes[at] = 77;
            let read = facts::read(bytes, Nothing, |_| {});
            assert!(read.is_err(), "{fact:?} with 77 is read");
        }
    }
}
