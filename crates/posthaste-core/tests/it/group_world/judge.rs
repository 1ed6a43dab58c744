//! What must hold after every step.

use std::collections::BTreeMap;

use posthaste_core::group::PausedBy;
use posthaste_core::ids::Token;
use posthaste_core::machine::{
    Action, EventClaim, EventEnding, EventGrant, EventState, Fact, Place, SavedGroup, SavedGroups,
};

use super::bystander::{Fate, keeps};
use super::{GroupWorld, bounds};

impl GroupWorld {
    pub(super) fn check(&mut self) {
        self.machine
            .audit()
            .expect("the machine agrees with itself");
        let export = self.machine.export();
        assert_eq!(export.meta, self.meta, "merged otherwise");
        assert_eq!(self.in_use, places(&export.meta.groups), "places in use");
        for (group, is) in &export.meta.groups.by_number {
            self.check_group(*group, is);
            let view = self.machine.group_view(3, *group).expect("it is there");
            match view.paused {
                Some(PausedBy::Person) => self.saw("paused by a person"),
                Some(PausedBy::ParkedFull) => self.saw("paused for the parked"),
                None => {}
            }
        }
    }

    fn check_group(&mut self, group: u32, is: &SavedGroup) {
        let bounds = bounds();
        assert!(
            is.unfinished.len() <= 2 * bounds.unfinished,
            "too many unfinished"
        );
        assert!(
            is.dead.len() <= bounds.dead_letters,
            "too many dead letters"
        );
        let watched = self.by.groups.get_mut(&group).expect("somebody made it");
        let log = &self.by.logs[&watched.topic];
        let position = is.position();
        assert!(position >= watched.position, "the position moved back");
        watched.position = position;
        for (at, fate) in &watched.fates {
            let event = is.unfinished.get(at);
            let holder = event.and_then(|event| match event.state {
                EventState::Leased(token) => Some(token),
                _ => None,
            });
            let hands = match fate {
                Fate::InHands(token) => Some(*token),
                _ => None,
            };
            assert_eq!(holder, hands, "in whose hands {at} is");
            let gone = log.hash_there(*at).is_none();
            if *at < is.head {
                let known = *fate == Fate::Over || keeps(is, *at) || gone;
                assert!(known, "{at} is lost");
            }
            if *at < position && *fate != Fate::Over {
                let again = event.is_none_or(|event| event.place.is_some());
                assert!(again, "the position passed {at}");
            }
        }
    }

    pub(super) fn check_grants(&self, group: u32, token: Token, grants: &[EventGrant]) {
        let is = &self.machine.groups().by_number[&group];
        let leased = is.unfinished.values();
        let leased = leased.filter(|event| matches!(event.state, EventState::Leased(_)));
        if grants.is_empty() {
            return;
        }
        assert!(!is.config.paused, "a paused group hands out nothing");
        assert!(leased.count() <= is.config.in_flight as usize, "in flight");
        for grant in grants {
            let event = &is.unfinished[&grant.position];
            assert_eq!(event.state, EventState::Leased(token));
            assert_eq!((event.hash, event.place), (grant.hash, grant.place));
            assert_eq!(event.crashes, grant.crashes);
        }
    }

    pub(super) fn see_transitions(&mut self, before: &SavedGroups, fact: &Fact<'_>) {
        match fact {
            Fact::EventsFinished { from, to, how, .. } => {
                self.see("how", how);
                if to - from > 1 {
                    self.saw("a range of events");
                }
            }
            Fact::EventEnding { why, .. } => self.see("why", why),
            Fact::MemberLeft { lapsed, .. } => self.saw(match lapsed {
                true => "a silent member",
                false => "a member that left",
            }),
            _ => {}
        }
        let after = &self.meta.groups.by_number;
        let mut told = Vec::new();
        for (group, is) in after {
            let Some(was) = before.by_number.get(group) else {
                continue;
            };
            if is == was {
                continue;
            }
            let positions = was.unfinished.keys().chain(is.unfinished.keys());
            let positions = positions.chain(was.parked.keys()).chain(was.dead.keys());
            for at in positions {
                told.push(format!("{} to {}", word(was, *at), word(is, *at)));
            }
            let full = is.parked.len() > was.parked.len();
            assert!(
                !full || is.parked.len() <= is.config.parked_max as usize,
                "more are parked than may be"
            );
        }
        self.seen.extend(told);
    }

    /// Everything is handled in the end, whatever happened: no event is lost.
    pub(super) fn bring_to_an_end(&mut self) {
        let all: Vec<(u32, &'static str, &'static str)> = self.all_groups();
        for (_, topic, group) in &all {
            self.commit(&[Action::SetGroup {
                topic,
                group,
                settings: Box::leak(Box::new(posthaste_core::group::GroupSettings {
                    paused: Some(false),
                    parked_max: Some(100),
                    ..Default::default()
                })),
                start: None,
            }]);
        }
        self.pass_hours();
        for (number, topic, group) in all {
            self.finish_group(number, topic, group);
            let is = &self.machine.groups().by_number[&number];
            let log = &self.by.logs.get(&is.topic);
            let end = log.map_or(0, |log| log.events.len() as u64);
            assert_eq!((is.position(), is.head), (end, end), "not all is handled");
            assert!(is.unfinished.is_empty() && is.parked.is_empty(), "{is:?}");
            self.saw("everything was handled");
        }
        self.check();
    }

    pub(super) fn all_groups(&self) -> Vec<(u32, &'static str, &'static str)> {
        let leak = |name: &str| -> &'static str { Box::leak(name.to_owned().into_boxed_str()) };
        let views = self.machine.group_views(0);
        let all = views.iter().map(|view| {
            let (topic, name) = (leak(view.topic.as_str()), leak(view.name.as_str()));
            let (number, _) = self.machine.group(topic, name).expect("it is listed");
            (number, topic, name)
        });
        all.collect()
    }

    fn pass_hours(&mut self) {
        let ms = 8 * 3_600_000;
        self.moment.mono = self.moment.mono.plus(ms);
        self.moment.wall = self.moment.wall.plus(ms);
        let mut facts = Vec::new();
        while self.machine.tick(self.moment, 100, &mut facts) {}
        self.learn(facts);
    }

    fn finish_group(&mut self, number: u32, topic: &'static str, group: &'static str) {
        let mut claim = EventClaim {
            topic,
            group,
            token: None,
            member: "last",
            max: 3,
            lease_ms: 1_000,
            local: false,
        };
        for _ in 0..10_000 {
            self.ask(&claim, false);
            let token = self.tokens.last().expect("it joined").1;
            claim.token = Some(token);
            let held: Vec<_> = self.by.groups[&number]
                .fates
                .iter()
                .filter(|(_, fate)| **fate == Fate::InHands(token))
                .map(|(at, _)| (*at, EventEnding::Done, Place::NONE))
                .collect();
            if !held.is_empty() {
                self.commit(&[Action::SettleEvents {
                    topic,
                    group,
                    token,
                    ends: held.leak(),
                }]);
                self.check();
                continue;
            }
            let (feeds, keeps) = (
                std::mem::take(&mut self.feeds),
                std::mem::take(&mut self.keeps),
            );
            if feeds.is_empty() && keeps.is_empty() {
                let is = &self.machine.groups().by_number[&number];
                if is.parked.is_empty() {
                    return;
                }
                self.commit(&[Action::Unpark {
                    topic,
                    group,
                    which: posthaste_core::group::Which::All,
                    how: posthaste_core::group::Unparking::Release,
                }]);
            }
            feeds.iter().for_each(|feed| self.feed(feed, 100));
            keeps.iter().for_each(|keep| self.keep(keep));
            self.learn(Vec::new());
        }
        panic!("a group comes to no end");
    }
}

fn word(is: &SavedGroup, at: u64) -> &'static str {
    match is.unfinished.get(&at).map(|event| event.state) {
        Some(EventState::Held) => "held",
        Some(EventState::Leased(_)) => "leased",
        Some(EventState::Retrying { .. }) => "retrying",
        Some(EventState::Ending { dead: true, .. }) => "dying",
        Some(EventState::Ending { dead: false, .. }) => "parking",
        None if is.parked.contains_key(&at) => "parked",
        None if is.dead.contains_key(&at) => "dead",
        None => "nothing",
    }
}

/// How often each place is kept.
fn places(groups: &SavedGroups) -> BTreeMap<Place, i64> {
    let mut counts = BTreeMap::new();
    for is in groups.by_number.values() {
        let events = is.unfinished.values().flat_map(|event| {
            let note = match event.state {
                EventState::Ending { note, .. } => note,
                _ => Place::NONE,
            };
            [event.place, note]
        });
        let kept = is.parked.values().chain(is.dead.values());
        let kept = kept.flat_map(|kept| [kept.place, kept.note]);
        for place in events.chain(kept).filter(|place| place.is_some()) {
            *counts.entry(place).or_default() += 1;
        }
    }
    counts
}
