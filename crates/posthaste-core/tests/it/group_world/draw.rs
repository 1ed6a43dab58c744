//! What numbers mean in the world at that moment.

use posthaste_core::backoff::Backoff;
use posthaste_core::group::{GroupSettings, OnExhausted, Unparking, Which};
use posthaste_core::ids::{JobId, Token};
use posthaste_core::machine::{Action, EventEnding, Hashes, Place};

use super::bystander::Fate;
use super::{GROUPS, GroupWorld, TOPICS};
use crate::world::Step;

impl GroupWorld {
    pub(super) fn spot(a: u8) -> (&'static str, &'static str) {
        match a % 16 {
            0 => ("nothing", GROUPS[0]),
            1 => (TOPICS[0], "nobody"),
            2..=9 => (TOPICS[0], GROUPS[0]),
            10..=12 => (TOPICS[0], GROUPS[1]),
            13..=14 => (TOPICS[1], GROUPS[0]),
            _ => (TOPICS[1], GROUPS[1]),
        }
    }

    /// The actions of one commit: a settle comes first, if any.
    pub(super) fn actions(&mut self, steps: &[Step]) -> Vec<Action<'static>> {
        let mut actions: Vec<_> = steps.iter().map(|step| self.action(*step)).collect();
        let mut first = true;
        actions.retain(|action| {
            let settle = matches!(action, Action::SettleEvents { .. });
            std::mem::replace(&mut first, false) || !settle
        });
        actions
    }

    fn action(&mut self, [_, kind, a, b, c]: Step) -> Action<'static> {
        let (topic, group) = Self::spot(a);
        let known = self.machine.group(topic, group).map(|(number, _)| number);
        let number = known.unwrap_or(1);
        let end = self.machine.topic(topic).map_or(0, |(_, is)| is.next);
        match kind % 25 {
            0..=2 => self.publish(topic, b, c),
            3..=4 => Action::SetGroup {
                topic,
                group,
                settings: Box::leak(Box::new(settings(b, c))),
                start: match c % 4 {
                    0 => None,
                    1 => Some(u64::from(b % 64)),
                    _ => Some(0),
                },
            },
            5..=11 => self.settle(number, (topic, group), b, c),
            12 => Action::MemberBeat {
                topic,
                group,
                token: self.token(number, b),
            },
            13 => Action::MemberLeave {
                topic,
                group,
                token: self.token(number, b),
            },
            14 => Action::ResetGroup {
                topic,
                group,
                head: match c % 8 {
                    0 => Some(end + 1),
                    1 => None,
                    _ => Some(u64::from(b) % (end + 1)),
                },
                force: c % 2 == 0,
            },
            15..=17 => Action::Unpark {
                topic,
                group,
                which: self.which(number, b),
                how: match c % 3 {
                    0 => Unparking::Skip,
                    _ => Unparking::Release,
                },
            },
            18..=19 => Action::Redrive {
                topic,
                group,
                which: self.which(number, b | 128),
            },
            20 => self.lose_or_copy(number, b, c),
            21 if b % 4 == 0 => Action::DeleteGroup { topic, group },
            21 if b % 16 == 1 => Action::DeleteTopic { topic },
            21..=22 => self.publish(topic, b, c),
            23 => Action::Cancel(JobId::from_bytes([9; 16])),
            _ => Action::ResetGroup {
                topic,
                group,
                head: Some(0),
                force: true,
            },
        }
    }

    fn publish(&mut self, topic: &'static str, b: u8, c: u8) -> Action<'static> {
        let topic = if topic == "nothing" { TOPICS[0] } else { topic };
        let hashes = (0..=c % 4).map(|nth| u32::from(b.rotate_left(u32::from(nth) * 2) % 4));
        let bytes: Vec<u8> = hashes.flat_map(u32::to_le_bytes).collect();
        Action::Publish {
            topic,
            place: self.fresh_place(),
            hashes: Hashes(bytes.leak()),
            seen: None,
        }
    }

    fn token(&self, group: u32, b: u8) -> Token {
        let mine = self.tokens.iter().filter(|(of, _)| *of == group);
        let mine: Vec<Token> = mine.map(|(_, token)| *token).collect();
        let chosen = mine.iter().rev().nth(usize::from(b % 4));
        chosen.copied().unwrap_or(Token(u64::from(b)))
    }

    fn settle(
        &mut self,
        number: u32,
        (topic, group): (&'static str, &'static str),
        b: u8,
        c: u8,
    ) -> Action<'static> {
        let mut token = self.token(number, b / 4);
        let (mut held, mut ending): (Vec<u64>, _) = (Vec::new(), None);
        if let Some(watched) = self.by.groups.get(&number) {
            let hands = watched.fates.values().filter_map(|fate| match fate {
                Fate::InHands(token) => Some(*token),
                _ => None,
            });
            let mut hands: Vec<Token> = hands.collect();
            hands.dedup();
            if !b.is_multiple_of(16) {
                token = hands
                    .get(usize::from(b) % hands.len().max(1))
                    .copied()
                    .unwrap_or(token);
            }
            let mine = watched.fates.iter();
            let mine = mine.filter(|(_, fate)| **fate == Fate::InHands(token));
            held = mine.map(|(at, _)| *at).collect();
            if b % 8 == 1 {
                let over = watched.fates.iter().find(|(_, fate)| **fate == Fate::Over);
                held = over.map(|(at, _)| *at).into_iter().collect();
                ending = Some(EventEnding::Done);
            }
        }
        if b % 16 == 2 {
            held.push(u64::from(c % 16));
        }
        let skipped = usize::from(b % 16 == 3);
        let count = 1 + usize::from(c / 8 % 6);
        let held: Vec<u64> = held.into_iter().skip(skipped).take(count).collect();
        let mut ends: Vec<(u64, EventEnding, Place)> = Vec::new();
        for (at, nth) in held.into_iter().zip(0_u32..) {
            let drawn = match c.rotate_left(nth) % 16 {
                0 => EventEnding::Retry { delay_ms: None },
                1 | 2 => EventEnding::Retry {
                    delay_ms: Some(u64::from(c) % 3 * 100),
                },
                3 | 4 => EventEnding::Park,
                5..=7 => EventEnding::Dead,
                8 => EventEnding::Skip,
                9 => EventEnding::Release,
                _ => EventEnding::Done,
            };
            let ending = ending.unwrap_or(drawn);
            let kept = !matches!(
                ending,
                EventEnding::Done | EventEnding::Skip | EventEnding::Release
            );
            let note = if kept {
                self.fresh_place()
            } else {
                Place::NONE
            };
            ends.push((at, ending, note));
        }
        Action::SettleEvents {
            topic,
            group,
            token,
            ends: self.in_one_piece(number, ends).leak(),
        }
    }

    /// Leaves out what follows an end that takes the rest of its key out of the member's hands.
    fn in_one_piece(
        &self,
        number: u32,
        ends: Vec<(u64, EventEnding, Place)>,
    ) -> Vec<(u64, EventEnding, Place)> {
        let watched = self.by.groups.get(&number);
        let log = watched.and_then(|watched| self.by.logs.get(&watched.topic));
        let mut void = Vec::new();
        let mut left = Vec::new();
        for end in ends {
            let hash = log.and_then(|log| log.hash(end.0));
            if void.contains(&hash) {
                continue;
            }
            if !matches!(
                end.1,
                EventEnding::Done | EventEnding::Skip | EventEnding::Dead
            ) {
                void.push(hash);
            }
            left.push(end);
        }
        left
    }

    fn which(&self, group: u32, b: u8) -> Which {
        let is = self.machine.groups().by_number.get(&group);
        let mut positions: Vec<u64> = Vec::new();
        if let Some(is) = is {
            positions.extend(is.parked.keys().filter(|_| b < 128));
            positions.extend(is.dead.keys());
        }
        match b % 4 {
            0 => Which::All,
            1 => Which::Key(u32::from(b / 4 % 4)),
            _ if positions.is_empty() => Which::At(u64::from(b / 4 % 16)),
            _ => Which::At(positions[usize::from(b / 4) % positions.len()]),
        }
    }

    fn lose_or_copy(&mut self, group: u32, b: u8, c: u8) -> Action<'static> {
        let is = self.machine.groups().by_number.get(&group);
        let unfinished = is.and_then(|is| is.unfinished.keys().nth(usize::from(b % 4)));
        if c.is_multiple_of(2) {
            let position = unfinished.copied().unwrap_or(u64::from(b));
            return Action::LoseEvent { group, position };
        }
        let mut places = Vec::new();
        if let Some(is) = is {
            for (at, event) in &is.unfinished {
                places.push((*at, event.place));
            }
            for (at, kept) in is.parked.iter().chain(&is.dead) {
                places.push((*at, kept.place));
                places.push((*at, kept.note));
            }
        }
        let chosen = places.get(usize::from(b) % places.len().max(1)).copied();
        let (position, from) = chosen.unwrap_or((0, Place(1)));
        Action::CopyKept {
            group,
            position,
            from,
            to: self.fresh_place(),
        }
    }
}

fn settings(b: u8, c: u8) -> GroupSettings {
    GroupSettings {
        in_flight: b.is_multiple_of(4).then_some(1 + u32::from(c % 4)),
        max_attempts: (b % 4 == 1).then_some(1 + u16::from(c % 3)),
        backoff: (b % 4 == 2).then_some(Backoff::fixed(u32::from(c))),
        on_exhausted: match b % 8 {
            3 => Some(OnExhausted::Dead),
            5 => Some(OnExhausted::Park),
            _ => None,
        },
        parked_max: (b % 16 > 11).then_some(1 + u32::from(c % 4)),
        paused: match b % 32 {
            6 => Some(true),
            _ => Some(false),
        },
    }
}
