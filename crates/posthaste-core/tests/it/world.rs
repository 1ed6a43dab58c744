//! A machine under random hands, with everything that must hold after each step.

mod draw;
mod judge;
mod shelf;

use std::collections::{BTreeMap, BTreeSet};

use posthaste_core::ids::{JobId, Token};
use posthaste_core::job::JobState;
use posthaste_core::machine::{
    Answer, Bounds, Claim, Fact, Grant, Kept, KeyLookup, Machine, Moment, Place, Refusal, Saved,
    TopicChange,
};
use posthaste_core::time::{MonoMs, WallMs};

use shelf::Shelf;

/// One step of a program, in numbers; what they mean depends on the world at that moment.
pub(crate) type Step = [u8; 5];

/// Steps, shown on one line.
#[derive(Clone)]
pub(crate) struct Program(pub(crate) Vec<Step>);

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

const BOUNDS: Bounds = Bounds {
    topics: 3,
    groups: 2,
    members: 2,
    unfinished: 8,
    ahead: 8,
    dead_letters: 2,
    events: 6,
    create_topics: true,
    jobs: 7,
    keys: 3,
    queues: 2,
    lanes: 8,
    leases: 4,
    done: Kept {
        most: 3,
        ..Kept::COMPLETED
    },
    dead: Kept {
        most: 2,
        ..Kept::DEAD
    },
};

/// The machine, and what a careful bystander would write down.
pub(crate) struct World {
    pub(crate) machine: Machine,
    pub(crate) facts: Vec<Fact<'static>>,
    pub(crate) seen: BTreeSet<String>,
    moment: Moment,
    granted: Vec<(JobId, Token)>,
    places: u64,
    in_use: BTreeMap<Place, i64>,
    shelf: Shelf,
    /// A merged snapshot, and the number of facts in it.
    saved: (Saved, usize),
    deleted_ended: i64,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            machine: Machine::with_bounds(BOUNDS),
            facts: Vec::new(),
            seen: BTreeSet::new(),
            moment: Moment {
                wall: WallMs(1_000_000_000),
                mono: MonoMs(7),
                entropy: 1,
            },
            granted: Vec::new(),
            places: 0,
            in_use: BTreeMap::new(),
            shelf: Shelf::default(),
            saved: (Saved::default(), 0),
            deleted_ended: 0,
        }
    }

    /// Runs a program; everything is checked after each step.
    pub(crate) fn run(&mut self, program: &Program) {
        let mut steps = program.0.iter();
        while let Some(step) = steps.next() {
            self.moment.entropy = self.moment.entropy.wrapping_mul(31).wrapping_add(1);
            match step[0] % 24 {
                0..=11 => {
                    let more = usize::from(step[4] / 64);
                    let mut acts = vec![*step];
                    acts.extend(steps.by_ref().take(more));
                    self.commit(&acts);
                }
                12..=16 => self.lease(step),
                17..=20 => self.pass_time(step),
                21 => self.take_key(step),
                22 => self.reopen(step),
                _ => self.merge(),
            }
            self.check();
        }
        self.merge();
        self.replay();
    }

    fn fresh_place(&mut self) -> Place {
        self.places += 1;
        Place(self.places)
    }

    fn commit(&mut self, steps: &[Step]) {
        let actions: Vec<_> = steps.iter().map(|step| self.action(*step)).collect();
        for action in &actions {
            self.see("action", action);
        }
        let (before, wake) = (self.machine.export(), self.wake());
        let (mut facts, mut answers) = (Vec::new(), Vec::new());
        let told = self
            .machine
            .commit(&actions, self.moment, &mut facts, &mut answers);
        match told {
            Ok(()) => {
                assert_eq!(answers.len(), actions.len(), "one answer for each action");
                for answer in &answers {
                    self.see("answer", answer);
                }
                self.note_answers(&answers);
                let now = self.moment.wall;
                self.shelf.answered(&actions, &answers, &facts, now);
            }
            Err(refused) => {
                self.see("refusal", &refused.refusal);
                assert!(refused.index < actions.len());
                assert!(facts.is_empty() && answers.is_empty());
                same("refused, and yet changed", &self.machine.export(), &before);
                assert_eq!(self.wake(), wake, "refused, and yet other timers");
            }
        }
        self.learn(facts);
    }

    fn wake(&self) -> Option<u64> {
        self.machine
            .next_wake_ms(self.moment.wall, self.moment.mono)
    }

    fn note_answers(&mut self, answers: &[Answer]) {
        for answer in answers {
            match answer {
                Answer::Settled { repeated: true, .. } => self.saw("repeated settle"),
                Answer::Extended { cancelled: true } => self.saw("told of a cancel"),
                Answer::Enqueued { existing: true, .. } => self.saw("existing job"),
                Answer::Published { position, .. } if *position > 2 => self.saw("later events"),
                _ => {}
            }
        }
    }

    fn lease(&mut self, [_, a, b, c, _]: &Step) {
        let queues: &[(&str, u32)] = match a % 4 {
            0 => &[("mail", 1)],
            1 => &[("nobody", 1), ("bills", 2)],
            _ => &[("bills", 3), ("mail", 1)],
        };
        let claim = Claim {
            queues,
            strict: b % 2 == 0,
            kinds: match b % 5 {
                0 => &["send"],
                1 => &["odd", "unknown"],
                _ => &[],
            },
            max: 1 + u32::from(c % 3),
            lease_ms: 1_000,
            worker: ["one", "two"][usize::from(c % 2)],
            local: c % 3 == 0,
        };
        let (mut facts, mut grants) = (Vec::new(), Vec::new());
        let last = self.machine.last_token();
        self.machine
            .lease(&claim, self.moment, &mut facts, &mut grants);
        assert!(grants.len() <= claim.max as usize);
        for (grant, nth) in grants.iter().zip(1..) {
            assert_eq!(grant.token, Token(last.0 + nth), "tokens rise");
            self.check_grant(grant, &claim);
            self.granted.push((grant.id, grant.token));
        }
        self.learn(facts);
        if let Some(grant) = grants.last().filter(|_| b % 7 == 0) {
            let mut facts = Vec::new();
            self.machine
                .untaken(grant.id, grant.token, self.moment, &mut facts);
            assert_eq!(facts.len(), 1, "it was the job's lease");
            self.machine
                .untaken(grant.id, grant.token, self.moment, &mut facts);
            assert_eq!(facts.len(), 1, "and is no longer");
            self.saw("untaken lease");
            self.learn(facts);
        }
    }

    fn check_grant(&self, grant: &Grant, claim: &Claim<'_>) {
        let view = self.machine.view(grant.slot).expect("granted jobs exist");
        assert_eq!((view.id, view.place), (grant.id, grant.place));
        assert_eq!(view.token, Some(grant.token));
        assert_eq!(view.worker, Some(claim.worker));
        assert_eq!(view.attempt, grant.attempt);
        assert!(claim.kinds.is_empty() || claim.kinds.contains(&view.kind));
        assert!(claim.queues.iter().any(|(queue, _)| *queue == view.queue));
        let queues = self.machine.queues(self.moment.mono);
        let queue = queues.iter().find(|q| q.name.as_str() == view.queue);
        let queue = queue.expect("a job's queue exists");
        let running = queue.held[JobState::Running as usize];
        assert!(!queue.paused, "a paused queue hands out nothing");
        assert!(queue.concurrency == 0 || running <= u64::from(queue.concurrency));
    }

    fn pass_time(&mut self, [_, a, b, c, _]: &Step) {
        let ms = match a % 16 {
            0 => 3_600_000,
            1 if b % 4 == 0 => 24 * 3_600_000,
            1 | 2 => 11 * 60_000,
            3..=6 => 1_000,
            7..=10 => 200,
            11 => 5_000,
            _ => u64::from(*b),
        };
        self.moment.mono = self.moment.mono.plus(ms);
        self.moment.wall = if b % 32 == 7 {
            WallMs(self.moment.wall.0 - 5_000)
        } else {
            self.moment.wall.plus(ms)
        };
        let max = 1 + usize::from(c % 7);
        let mut more = true;
        while more {
            let mut facts = Vec::new();
            more = self.machine.tick(self.moment, max, &mut facts);
            self.shelf.forgot(&facts, BOUNDS.events, self.moment.wall);
            assert!(facts.len() <= max, "a tick keeps to its slice");
            assert!(!more || !facts.is_empty(), "more is left, and nothing done");
            self.learn(facts);
        }
        assert_ne!(self.wake(), Some(0), "nothing is left, and yet a wake");
    }

    fn take_key(&mut self, [_, a, b, ..]: &Step) {
        let digest = Self::key(*a, *b);
        let (mut facts, answer) = (Vec::new(), self.fresh_place());
        let free = self.machine.key(digest, self.moment.wall) == KeyLookup::Free;
        let room = self.machine.has_room_for_key();
        let taken = self
            .machine
            .take_key(digest, answer, self.moment.wall, &mut facts);
        assert_eq!(taken.is_ok(), free && room);
        if let Err(refusal) = taken {
            self.see("refusal", &refusal);
        }
        self.learn(facts);
    }

    /// The process ends, and another takes over: from a snapshot, or from the facts alone.
    fn reopen(&mut self, [_, a, b, c, _]: &Step) {
        self.moment.mono = MonoMs(u64::from(*a));
        let mut machine = Machine::with_bounds(BOUNDS);
        if b % 2 == 0 {
            load(&mut machine, &self.machine.export(), self.moment.mono);
        } else {
            for fact in &self.facts {
                machine.evolve(fact, self.moment.mono);
            }
        }
        let (mut dropped, mut told) = (Vec::new(), Vec::new());
        machine.drain_places(&mut dropped);
        machine.drain_topics(&mut told);
        if b % 2 == 0 {
            let topics = self.machine.topics().by_number.iter();
            let set = topics.map(|(topic, is)| (*topic, is.clone()));
            let set = set.map(|(topic, is)| TopicChange::Set { topic, is });
            assert_eq!(told, set.collect::<Vec<_>>(), "each topic is told once");
        } else {
            assert_eq!(told, self.shelf.told, "told otherwise");
        }
        same(
            "reopened otherwise",
            &machine.export(),
            &self.machine.export(),
        );
        self.machine = machine;
        if a % 2 == 0 {
            if c % 2 == 1 {
                let mut facts = Vec::new();
                self.machine.pass_tokens(&mut facts);
                self.learn(facts);
            }
            let mut more = true;
            while more {
                let mut facts = Vec::new();
                more = self
                    .machine
                    .lapse_local(c % 2 == 0, self.moment, 2, &mut facts);
                self.learn(facts);
            }
        }
    }

    /// Notes facts as they come, and what they show.
    fn learn(&mut self, facts: Vec<Fact<'static>>) {
        for fact in &facts {
            self.see("fact", fact);
            if let Fact::Changed { cause, to, .. } = fact {
                self.see("cause", cause);
                self.see("to", to);
            }
        }
        let (mut moved, mut told) = (Vec::new(), Vec::new());
        self.machine.drain_topics(&mut told);
        self.shelf.learn(&facts, told);
        self.facts.extend(facts);
        self.machine.drain_places(&mut moved);
        for (place, used) in moved {
            let count = self.in_use.entry(place).or_default();
            *count += if used { 1 } else { -1 };
        }
        self.in_use.retain(|_, count| *count != 0);
        self.machine.drain_ready(|_| {});
    }

    fn saw(&mut self, what: &str) {
        self.seen.insert(what.into());
    }

    fn see(&mut self, what: &str, of: &impl std::fmt::Debug) {
        let told = format!("{of:?}");
        let word = told.split([' ', '(', '{']).next().unwrap_or_default();
        let dead = told
            .strip_prefix("Dead(")
            .map(|rest| &rest[..rest.len() - 1]);
        self.seen.insert(format!(
            "{what} {}",
            dead.filter(|_| what == "to").unwrap_or(word)
        ));
    }

    /// The facts alone, into a new machine.
    fn replay(&self) {
        let mut replayed = Machine::with_bounds(BOUNDS);
        for fact in &self.facts {
            replayed.evolve(fact, MonoMs(0));
        }
        replayed.audit().expect("the replayed agrees with itself");
        same(
            "replayed otherwise",
            &replayed.export(),
            &self.machine.export(),
        );
    }
}

/// Two states that must be the same; tells only where they differ.
fn same(what: &str, one: &Saved, other: &Saved) {
    assert_eq!(one.meta, other.meta, "{what}");
    assert_eq!(one.jobs.len(), other.jobs.len(), "{what}: jobs");
    for (one, other) in one.jobs.iter().zip(&other.jobs) {
        assert_eq!(one, other, "{what}");
    }
    assert_eq!(one.keys, other.keys, "{what}");
    assert_eq!(one.events, other.events, "{what}");
    assert!(one == other, "{what}: settles");
}

/// Loads a snapshot into an empty machine.
pub(crate) fn load(machine: &mut Machine, saved: &Saved, mono: MonoMs) {
    machine.load_meta(&saved.meta, mono);
    for job in &saved.jobs {
        machine.load_job(job, mono);
    }
    for key in &saved.keys {
        machine.load_key(key);
    }
    for seen in &saved.events {
        machine.load_seen(seen);
    }
    machine.load_settles(saved.settles.clone());
    machine.loaded();
    machine.audit().expect("the loaded agrees with itself");
}

/// Every refusal there is but those of groups, so that a new one is not forgotten here.
pub(crate) fn every_refusal() -> Vec<String> {
    let (by, state) = (JobId::from_bytes([0; 16]), JobState::Dead);
    let all = [
        Refusal::NoSuchJob,
        Refusal::IdTaken,
        Refusal::KeyReused,
        Refusal::KeysFull,
        Refusal::UniqueHeld { by },
        Refusal::Stale { current: Token(0) },
        Refusal::UnknownLease,
        Refusal::SettledOtherwise,
        Refusal::WrongState { state },
        Refusal::JobsFull,
        Refusal::NamesFull,
        Refusal::NoSuchTopic,
        Refusal::TopicsFull,
        Refusal::PartitionsFixed { partitions: 0 },
    ];
    let word = |refusal: &Refusal| match refusal {
        Refusal::UniqueHeld { .. } => "UniqueHeld".into(),
        Refusal::Stale { .. } => "Stale".into(),
        Refusal::WrongState { .. } => "WrongState".into(),
        Refusal::PartitionsFixed { .. } => "PartitionsFixed".into(),
        Refusal::NoSuchJob
        | Refusal::IdTaken
        | Refusal::KeyReused
        | Refusal::KeysFull
        | Refusal::UnknownLease
        | Refusal::SettledOtherwise
        | Refusal::JobsFull
        | Refusal::NamesFull
        | Refusal::NoSuchTopic
        | Refusal::TopicsFull => format!("{refusal:?}"),
        Refusal::NoSuchGroup
        | Refusal::GroupsFull
        | Refusal::MembersFull
        | Refusal::MemberGone
        | Refusal::NotLeased { .. }
        | Refusal::OutOfOrder { .. }
        | Refusal::GroupBusy { .. }
        | Refusal::PastEnd { .. }
        | Refusal::NoSuchEvent { .. }
        | Refusal::EventUnfinished { .. }
        | Refusal::UnfinishedFull => "of a group".into(),
    };
    all.iter().map(|r| format!("refusal {}", word(r))).collect()
}
