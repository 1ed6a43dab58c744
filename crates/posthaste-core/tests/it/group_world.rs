//! Groups under random hands, with everything that must hold after each step.

mod bystander;
mod draw;
mod judge;

use std::collections::{BTreeMap, BTreeSet};

use posthaste_core::ids::Token;
use posthaste_core::machine::{
    Action, Answer, Bounds, EventClaim, EventEnding, Fact, Feed, Keep, Machine, Moment, Place,
    SavedMeta,
};
use posthaste_core::time::{MonoMs, WallMs};

use crate::world::{Program, Step, load};
use bystander::{Bystander, Fate};

pub(crate) const TOPICS: [&str; 2] = ["orders", "bills"];
pub(crate) const GROUPS: [&str; 2] = ["mail", "ledger"];

fn bounds() -> Bounds {
    Bounds {
        topics: 2,
        groups: 3,
        members: 3,
        unfinished: 4,
        ahead: 4,
        dead_letters: 2,
        ..Bounds::default()
    }
}

/// The machine, and what a careful bystander would write down.
pub(crate) struct GroupWorld {
    pub(crate) seen: BTreeSet<String>,
    machine: Machine,
    facts: Vec<Fact<'static>>,
    moment: Moment,
    places: u64,
    in_use: BTreeMap<Place, i64>,
    by: Bystander,
    /// What the facts make of a snapshot.
    meta: SavedMeta,
    /// Every token that was given out, with its group.
    tokens: Vec<(u32, Token)>,
    /// What is to be read for groups, and what is to be copied.
    feeds: Vec<Feed>,
    keeps: Vec<Keep>,
    /// Members who were told that there is nothing, and wait.
    waiting: BTreeSet<(u32, Token)>,
}

impl GroupWorld {
    pub(crate) fn new() -> Self {
        Self {
            seen: BTreeSet::new(),
            machine: Machine::with_bounds(bounds()),
            facts: Vec::new(),
            moment: Moment {
                wall: WallMs(1_000_000_000),
                mono: MonoMs(7),
                entropy: 1,
            },
            places: 0,
            in_use: BTreeMap::new(),
            by: Bystander::default(),
            meta: SavedMeta::default(),
            tokens: Vec::new(),
            feeds: Vec::new(),
            keeps: Vec::new(),
            waiting: BTreeSet::new(),
        }
    }

    /// Runs a program; everything is checked after each step.
    pub(crate) fn run(&mut self, program: &Program) {
        let mut steps = program.0.iter();
        while let Some(step) = steps.next() {
            self.moment.entropy = self.moment.entropy.wrapping_mul(31).wrapping_add(1);
            match step[0] % 32 {
                0..=13 => {
                    let mut acts = vec![*step];
                    acts.extend(steps.by_ref().take(usize::from(step[4] / 100)));
                    let actions = self.actions(&acts);
                    self.commit(&actions);
                }
                14..=21 => self.claim(step),
                22..=24 => self.answer_feed(step),
                25..=26 => (0..=step[2] % 4).for_each(|_| self.copy(step)),
                27 if step[4] % 2 == 0 => self.bury(),
                27..=29 => self.pass_time(step),
                30 if step[4] % 2 == 0 => self.forget_events(step),
                30 => self.crash(step),
                _ => self.reopen(step),
            }
            self.check();
        }
        self.bring_to_an_end();
        self.replay();
    }

    fn commit(&mut self, actions: &[Action<'static>]) {
        for action in actions {
            self.see("action", action);
        }
        let (before, wake) = (self.machine.export(), self.wake());
        let (mut facts, mut answers) = (Vec::new(), Vec::new());
        let told = self
            .machine
            .commit(actions, self.moment, &mut facts, &mut answers);
        match told {
            Ok(()) => {
                for answer in &answers {
                    self.see("answer", answer);
                    match answer {
                        Answer::EventsSettled { repeated: true } => self.saw("settled before"),
                        Answer::EventsMoved { left: 1.., .. } => self.saw("some are left"),
                        _ => {}
                    }
                }
                self.by.settled(actions, &answers, &self.meta.groups);
            }
            Err(refused) => {
                self.see("refusal", &refused.refusal);
                assert!(facts.is_empty() && answers.is_empty());
                assert!(
                    self.machine.export() == before,
                    "refused, and yet changed: {:#?} was {:#?}",
                    self.machine.export().meta,
                    before.meta
                );
                assert_eq!(self.wake(), wake, "refused, and yet other timers");
            }
        }
        self.learn(facts);
    }

    fn wake(&self) -> Option<u64> {
        self.machine
            .next_wake_ms(self.moment.wall, self.moment.mono)
    }

    fn claim(&mut self, [_, a, b, c, _]: &Step) {
        let (topic, group) = Self::spot(*a);
        let known = self.machine.group(topic, group).map(|(group, _)| group);
        let mine = self.tokens.iter().filter(|(of, _)| Some(*of) == known);
        let mine: Vec<Token> = mine.map(|(_, token)| *token).collect();
        let token = match b % 4 {
            0 => None,
            1 => self.tokens.last().map(|(_, token)| *token),
            _ => mine.iter().rev().nth(usize::from(b / 4 % 3)).copied(),
        };
        let claim = EventClaim {
            topic,
            group,
            token,
            member: "m",
            max: u32::from(c % 5),
            lease_ms: 1_000,
            local: c % 7 == 0,
        };
        self.ask(&claim, b / 16 == 1);
    }

    /// Asks for events, as a member does.
    fn ask(&mut self, claim: &EventClaim<'static>, hang_up: bool) -> usize {
        let (mut facts, mut grants) = (Vec::new(), Vec::new());
        let before = self.machine.export();
        let told = self
            .machine
            .lease_events(claim, self.moment, &mut facts, &mut grants);
        let token = match told {
            Ok(token) => token,
            Err(refusal) => {
                self.see("refusal", &refusal);
                assert!(facts.is_empty() && grants.is_empty());
                assert!(self.machine.export() == before, "refused, and yet changed");
                return 0;
            }
        };
        let group = self.machine.group(claim.topic, claim.group);
        let group = group.expect("a claimed group is there").0;
        if claim.token.is_none() {
            self.tokens.push((group, token));
        }
        assert!(grants.len() <= claim.max as usize);
        self.check_grants(group, token, &grants);
        if claim.max > 0 {
            let waited = self.waiting.remove(&(group, token));
            assert!(
                !waited || grants.is_empty(),
                "{token:?} waits in {group}, and nobody woke it for {grants:?}"
            );
            if grants.is_empty() {
                self.waiting.insert((group, token));
            }
        }
        let granted = self.by.granted(group, token, &grants, &self.meta.groups);
        granted.into_iter().for_each(|what| self.saw(what));
        self.learn(facts);
        if hang_up && !grants.is_empty() {
            self.give_back(group, token, &grants[0].position);
        }
        grants.len()
    }

    fn give_back(&mut self, group: u32, token: Token, position: &u64) {
        let mut facts = Vec::new();
        for _ in 0..2 {
            self.machine
                .untaken_events(group, token, &[*position], self.moment, &mut facts);
        }
        assert!(!facts.is_empty(), "it was in its hands");
        self.saw("given back");
        self.by.given_back(group, token, *position);
        self.learn(facts);
    }

    fn answer_feed(&mut self, [_, a, b, ..]: &Step) {
        if self.feeds.is_empty() {
            return;
        }
        let feed = self.feeds.remove(usize::from(*a) % self.feeds.len());
        self.feed(&feed, u64::from(b % 4));
    }

    fn feed(&mut self, feed: &Feed, most: u64) {
        let Some(log) = self.by.logs.get(&feed.topic) else {
            return;
        };
        let end = log.events.len() as u64;
        let to = end.min(feed.from + most.min(u64::from(feed.max)));
        let events: Vec<(u64, u32)> = (feed.from..to)
            .filter_map(|at| Some((at, log.hash_there(at)?)))
            .collect();
        let lost = log.gone.min(to).saturating_sub(feed.from);
        if to > feed.from && lost > 0 {
            self.seen.insert("lost to retention".into());
        }
        let (from, group) = (feed.from, feed.group);
        self.machine.feed(group, from, &events, to, lost);
        if to <= feed.from && feed.from < end {
            self.saw("a feed that failed");
        }
        self.learn(Vec::new());
    }

    fn copy(&mut self, [_, a, ..]: &Step) {
        if self.keeps.is_empty() {
            return;
        }
        let keep = self.keeps.remove(usize::from(*a) % self.keeps.len());
        self.keep(&keep);
    }

    fn keep(&mut self, keep: &Keep) {
        let place = match keep.place {
            Place::NONE => self.fresh_place(),
            place => place,
        };
        self.commit(&[Action::KeepEvent {
            group: keep.group,
            position: keep.position,
            place,
        }]);
    }

    fn pass_time(&mut self, [_, a, b, c, _]: &Step) {
        let ms = match a % 8 {
            0 => 5_000,
            1..=3 => 400,
            _ => u64::from(*b),
        };
        self.moment.mono = self.moment.mono.plus(ms);
        self.moment.wall = match b % 32 {
            7 => WallMs(self.moment.wall.0 - 5_000),
            _ => self.moment.wall.plus(ms),
        };
        let max = 1 + usize::from(c % 3);
        let mut more = true;
        while more {
            let mut facts = Vec::new();
            more = self.machine.tick(self.moment, max, &mut facts);
            assert!(facts.len() <= max, "a tick keeps to its slice");
            self.learn(facts);
        }
        assert_ne!(self.wake(), Some(0), "nothing is left, and yet a wake");
    }

    /// Members come, are handed something, and are never heard of again.
    fn crash(&mut self, [_, a, b, ..]: &Step) {
        for _ in 0..5 {
            self.claim(&[0, *a, 0, 1 + b % 2, 0]);
            self.pass_time(&[0, 0, 0, 0, 0]);
            self.check();
        }
    }

    /// Whatever is in hands goes to the dead letters.
    fn bury(&mut self) {
        for (number, topic, group) in self.all_groups() {
            let mut ends: BTreeMap<Token, Vec<_>> = BTreeMap::new();
            for (at, fate) in &self.by.groups[&number].fates {
                if let Fate::InHands(token) = fate {
                    let end = (*at, EventEnding::Dead, Place::NONE);
                    ends.entry(*token).or_default().push(end);
                }
            }
            for (token, ends) in ends {
                self.commit(&[Action::SettleEvents {
                    topic,
                    group,
                    token,
                    ends: ends.leak(),
                }]);
            }
        }
        for keep in std::mem::take(&mut self.keeps) {
            self.keep(&keep);
        }
    }

    /// Compaction and retention take events.
    fn forget_events(&mut self, [_, a, b, c, _]: &Step) {
        let topic = self.machine.topic(TOPICS[usize::from(a % 2)]);
        let Some(log) = topic.and_then(|(topic, _)| self.by.logs.get_mut(&topic)) else {
            return;
        };
        match b % 3 {
            0 => log.gone = log.gone.max(u64::from(*c) % (log.events.len() as u64 + 1)),
            _ => drop(log.holes.insert(u64::from(*c) % 16)),
        }
    }

    /// The process ends, and another takes over: from a snapshot, or from the facts alone.
    fn reopen(&mut self, [_, a, b, c, _]: &Step) {
        self.moment.mono = MonoMs(u64::from(*a));
        let mut machine = Machine::with_bounds(bounds());
        if b % 2 == 0 {
            load(&mut machine, &self.machine.export(), self.moment.mono);
        } else {
            for fact in &self.facts {
                machine.evolve(fact, self.moment.mono);
            }
        }
        machine.drain_places(&mut Vec::new());
        assert!(
            machine.export() == self.machine.export(),
            "reopened otherwise"
        );
        self.machine = machine;
        self.feeds.clear();
        self.keeps.clear();
        self.waiting.clear();
        let mut facts = Vec::new();
        if c % 2 == 1 {
            self.machine.pass_tokens(&mut facts);
        }
        while self
            .machine
            .lapse_local(c % 4 == 0, self.moment, 1, &mut facts)
        {}
        self.learn(facts);
    }

    /// Notes facts as they come, and what they show.
    fn learn(&mut self, facts: Vec<Fact<'static>>) {
        for fact in &facts {
            self.see("fact", fact);
            let before = self.meta.groups.clone();
            self.meta.topics.apply(fact, |_| {});
            self.meta.apply(fact, None);
            self.see_transitions(&before, fact);
            self.by.learn(fact, &self.meta);
        }
        self.facts.extend(facts);
        let mut moved = Vec::new();
        self.machine.drain_places(&mut moved);
        for (place, used) in moved {
            *self.in_use.entry(place).or_default() += if used { 1 } else { -1 };
        }
        self.in_use.retain(|_, count| *count != 0);
        self.machine.drain_topics(&mut Vec::new());
        self.machine.drain_feeds(&mut self.feeds);
        self.machine.drain_keeps(&mut self.keeps);
        let waiting = &mut self.waiting;
        self.machine
            .drain_ready_groups(|group| waiting.retain(|(of, _)| *of != group));
    }

    fn fresh_place(&mut self) -> Place {
        self.places += 1;
        Place(self.places)
    }

    fn saw(&mut self, what: &str) {
        self.seen.insert(what.into());
    }

    fn see(&mut self, what: &str, of: &impl std::fmt::Debug) {
        let told = format!("{of:?}");
        let word = told.split([' ', '(', '{']).next().unwrap_or_default();
        self.seen.insert(format!("{what} {word}"));
    }

    /// The facts alone, into a new machine.
    fn replay(&self) {
        let mut replayed = Machine::with_bounds(bounds());
        for fact in &self.facts {
            replayed.evolve(fact, MonoMs(0));
        }
        replayed.audit().expect("the replayed agrees with itself");
        assert!(
            replayed.export() == self.machine.export(),
            "replayed otherwise"
        );
    }
}
