//! What somebody writes down who sees what members are handed and what they say, and knows nothing
//! of how a group works.

use std::collections::{BTreeMap, BTreeSet};

use posthaste_core::ids::Token;
use posthaste_core::machine::{
    Action, Answer, EventEnding, EventGrant, EventState, Fact, Finish, SavedGroup, SavedGroups,
    SavedMeta,
};

/// The events of one topic.
#[derive(Default)]
pub(super) struct Log {
    pub(super) events: Vec<u32>,
    /// What compaction took.
    pub(super) holes: BTreeSet<u64>,
    /// Retention took everything below.
    pub(super) gone: u64,
}

impl Log {
    pub(super) fn hash(&self, at: u64) -> Option<u32> {
        self.events.get(usize::try_from(at).ok()?).copied()
    }

    pub(super) fn hash_there(&self, at: u64) -> Option<u32> {
        let there = at >= self.gone && !self.holes.contains(&at);
        self.hash(at).filter(|_| there)
    }
}

/// What becomes of an event in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Open,
    InHands(Token),
    Over,
}

#[derive(Debug)]
pub(super) struct Watched {
    pub(super) topic: u32,
    pub(super) fates: BTreeMap<u64, Fate>,
    failed: BTreeMap<u64, u16>,
    pub(super) position: u64,
}

#[derive(Default)]
pub(super) struct Bystander {
    pub(super) logs: BTreeMap<u32, Log>,
    pub(super) groups: BTreeMap<u32, Watched>,
}

impl Watched {
    pub(super) fn fate(&self, at: u64) -> Fate {
        self.fates.get(&at).copied().unwrap_or(Fate::Over)
    }

    /// Later events of the key are no longer in those hands.
    fn take_run(&mut self, log: &Log, token: Token, after: u64) {
        for (at, fate) in self.fates.range_mut(after..) {
            if *fate == Fate::InHands(token) && log.hash(*at) == log.hash(after) {
                *fate = Fate::Open;
            }
        }
    }
}

impl Bystander {
    /// A member is handed events. Tells what was seen.
    pub(super) fn granted(
        &mut self,
        group: u32,
        token: Token,
        grants: &[EventGrant],
        groups: &SavedGroups,
    ) -> Vec<&'static str> {
        let mut seen = Vec::new();
        let Some(watched) = self.groups.get_mut(&group) else {
            panic!("a group that nobody made hands out events");
        };
        let log = &self.logs[&watched.topic];
        let dead = dead_of(&groups.by_number[&group]);
        for grant in grants {
            let at = grant.position;
            assert_eq!(log.hash(at), Some(grant.hash), "another event");
            assert_eq!(watched.fate(at), Fate::Open, "{at} is handed out");
            let failed = watched.failed.get(&at).copied().unwrap_or(0);
            assert_eq!(grant.attempt, failed + 1, "the attempt of {at}");
            for (other, fate) in &watched.fates {
                if *other == at || log.hash(*other) != Some(grant.hash) {
                    continue;
                }
                match fate {
                    Fate::Over => {}
                    Fate::InHands(of) => {
                        assert_eq!(*of, token, "one key in two hands: {other} and {at}");
                        assert!(*other < at, "{at} is handed out behind {other}");
                        seen.push("a run of a key");
                    }
                    Fate::Open if *other < at => {
                        let passed = dead.contains(other) || log.hash_there(*other).is_none();
                        assert!(passed, "{at} is handed out before {other}");
                    }
                    Fate::Open => {}
                }
            }
            watched.fates.insert(at, Fate::InHands(token));
            if grant.attempt > 1 {
                seen.push("a second attempt");
            }
            if grant.place.is_some() {
                seen.push("a copy handed out");
            }
        }
        seen
    }

    pub(super) fn given_back(&mut self, group: u32, token: Token, position: u64) {
        if let Some(watched) = self.groups.get_mut(&group) {
            watched.take_run(&self.logs[&watched.topic], token, position);
        }
    }

    /// What members settled, and were told.
    pub(super) fn settled(
        &mut self,
        actions: &[Action<'_>],
        answers: &[Answer],
        groups: &SavedGroups,
    ) {
        for (action, answer) in actions.iter().zip(answers) {
            if let (
                Action::SettleEvents {
                    token, group, ends, ..
                },
                Answer::EventsSettled { .. },
            ) = (action, answer)
            {
                let of = groups.by_number.iter();
                let mut of =
                    of.filter(|(_, is)| *is.name == **group && is.members.contains_key(token));
                if let Some((group, is)) = of.next() {
                    self.ended(*group, *token, ends, is.config.max_attempts);
                }
            }
        }
    }

    fn ended(
        &mut self,
        group: u32,
        token: Token,
        ends: &[(u64, EventEnding, posthaste_core::machine::Place)],
        max_attempts: u16,
    ) {
        let Some(watched) = self.groups.get_mut(&group) else {
            return;
        };
        let log = &self.logs[&watched.topic];
        for (at, ending, _) in ends {
            if *ending == EventEnding::Done && watched.fate(*at) == Fate::Over {
                continue;
            }
            assert_eq!(watched.fate(*at), Fate::InHands(token), "{at} is settled");
            let mut earlier = watched.fates.range(..*at);
            let first = earlier.find(|(other, fate)| {
                **fate == Fate::InHands(token) && log.hash(**other) == log.hash(*at)
            });
            assert!(
                first.is_none() || *ending == EventEnding::Release,
                "{at} is settled before {first:?}"
            );
            match ending {
                EventEnding::Done | EventEnding::Skip => {
                    watched.fates.insert(*at, Fate::Over);
                }
                EventEnding::Dead => drop(watched.fates.insert(*at, Fate::Open)),
                EventEnding::Retry { .. } => {
                    let failed = watched.failed.entry(*at).or_default();
                    *failed += 1;
                    match *failed < max_attempts {
                        true => watched.take_run(log, token, *at),
                        // Where it goes to the dead letters, the run goes on.
                        false => drop(watched.fates.insert(*at, Fate::Open)),
                    }
                }
                EventEnding::Park | EventEnding::Release => watched.take_run(log, token, *at),
            }
        }
    }

    /// What the facts tell that no member is told. `meta` is what was true after it.
    pub(super) fn learn(&mut self, fact: &Fact<'_>, meta: &SavedMeta) {
        match *fact {
            Fact::Published { topic, hashes, .. } => {
                let log = self.logs.entry(topic).or_default();
                for hash in hashes.iter() {
                    let at = log.events.len() as u64;
                    log.events.push(hash);
                    let groups = self.groups.values_mut();
                    for watched in groups.filter(|of| of.topic == topic) {
                        watched.fates.insert(at, Fate::Open);
                    }
                }
            }
            Fact::GroupSet {
                group, topic, head, ..
            } => {
                let end = self
                    .logs
                    .get(&topic)
                    .map_or(0, |log| log.events.len() as u64);
                self.groups.entry(group).or_insert_with(|| Watched {
                    topic,
                    fates: (head..end).map(|at| (at, Fate::Open)).collect(),
                    failed: BTreeMap::new(),
                    position: head,
                });
            }
            Fact::GroupDeleted { group } => drop(self.groups.remove(&group)),
            Fact::TopicDeleted { topic } => {
                self.groups.retain(|_, of| of.topic != topic);
                self.logs.remove(&topic);
            }
            _ => self.learn_of_group(fact, meta),
        }
    }

    fn learn_of_group(&mut self, fact: &Fact<'_>, meta: &SavedMeta) {
        let (group, position) = match *fact {
            Fact::MemberLeft { group, token, .. } => {
                if let Some(watched) = self.groups.get_mut(&group) {
                    let fates = watched.fates.values_mut();
                    let held = fates.filter(|fate| **fate == Fate::InHands(token));
                    held.for_each(|fate| *fate = Fate::Open);
                }
                return;
            }
            Fact::EventsFinished {
                group,
                from,
                to,
                how: Finish::Lost,
            } if to == from + 1 => (group, from),
            Fact::EventEnding {
                group,
                position,
                dead: false,
                ..
            } => {
                // What is parked is in nobody's hands.
                if let Some(watched) = self.groups.get_mut(&group) {
                    watched.fates.insert(position, Fate::Open);
                }
                return;
            }
            Fact::KeptSkipped { group, position } | Fact::KeptForgotten { group, position } => {
                (group, position)
            }
            Fact::KeptReleased { group, position } | Fact::KeptRedriven { group, position } => {
                if let Some(watched) = self.groups.get_mut(&group) {
                    watched.failed.remove(&position);
                    watched.fates.insert(position, Fate::Open);
                }
                return;
            }
            Fact::GroupReset { group, head, .. } => {
                self.reset(group, head, meta);
                return;
            }
            Fact::HeadMoved { group, to, lost } if lost > 0 => {
                if let Some(watched) = self.groups.get_mut(&group) {
                    let is = &meta.groups.by_number[&group];
                    let passed = watched.fates.range_mut(..to);
                    passed
                        .filter(|(at, _)| !keeps(is, **at))
                        .for_each(|(_, fate)| {
                            *fate = Fate::Over;
                        });
                }
                return;
            }
            _ => return,
        };
        let is = meta.groups.by_number.get(&group);
        if let Some(watched) = self.groups.get_mut(&group)
            && is.is_none_or(|is| !keeps(is, position) && position < is.head)
        {
            watched.fates.insert(position, Fate::Over);
        }
    }

    fn reset(&mut self, group: u32, head: u64, meta: &SavedMeta) {
        let Some(watched) = self.groups.get_mut(&group) else {
            return;
        };
        let is = &meta.groups.by_number[&group];
        let end = self.logs[&watched.topic].events.len() as u64;
        let old = std::mem::take(&mut watched.fates);
        let from = head.min(old.keys().next().copied().unwrap_or(head));
        for at in from..end {
            let fate = match at >= head || keeps(is, at) {
                true => Fate::Open,
                false => Fate::Over,
            };
            watched.fates.insert(at, fate);
        }
        // Over stays what a copy was skipped of, and in hands is nothing of those that are void.
        for (at, fate) in &old {
            if let Fate::InHands(token) = fate
                && is.members.contains_key(token)
            {
                panic!("{at} is in the hands of {token:?} after a reset");
            }
        }
        watched
            .failed
            .retain(|at, _| is.unfinished.contains_key(at));
        watched.position = is.position();
    }
}

/// Whether a group still knows an event: unfinished, parked or dead.
pub(super) fn keeps(is: &SavedGroup, at: u64) -> bool {
    is.unfinished.contains_key(&at) || is.parked.contains_key(&at) || is.dead.contains_key(&at)
}

fn dead_of(is: &SavedGroup) -> BTreeSet<u64> {
    let dying = is
        .unfinished
        .iter()
        .filter(|(_, event)| matches!(event.state, EventState::Ending { dead: true, .. }));
    let dying = dying.map(|(at, _)| *at);
    is.dead.keys().copied().chain(dying).collect()
}
