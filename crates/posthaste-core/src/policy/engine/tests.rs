//! Many calls at once, in every order that their lives allow, under every mix of strategies, with
//! other settings in the middle.

use super::super::criticality::Criticality;
use super::super::rig::{Chance, MS, SECOND};
use super::super::settings::{
    Breaker, Budget, ChaosRule, Fault, Hedge, Queue, Rate, Retry, Throttle as ThrottleSet, Trip,
};
use super::*;

/// Where a call stands.
#[derive(Debug)]
enum Task {
    Wants(Call),
    Waits(Ticket, Call),
    /// It has a place from the waiting room, and has not started.
    Placed(Ticket, Place, Call),
    Runs(Permit, Call),
}

struct World {
    engine: Engine,
    chance: Chance,
    now: MonoNs,
    tasks: Vec<Task>,
    begun: u64,
    started: u64,
    refused: u64,
    /// The most generous budget there was.
    ratio: f64,
    floor: f64,
}

fn below(chance: &mut Chance, bound: usize) -> usize {
    usize::try_from(chance.draw() % bound as u64).expect("small")
}

fn one_in(chance: &mut Chance, of: u64) -> bool {
    chance.draw().is_multiple_of(of)
}

/// Each strategy with a chance of a half.
fn any_settings(chance: &mut Chance) -> Settings {
    let budget = Budget {
        ratio: [0.0, 0.1, 0.5][below(chance, 3)],
        floor_per_second: [0.0, 1.0, 20.0][below(chance, 3)],
        ..Budget::default()
    };
    let limit = match below(chance, 3) {
        0 => Limit::Static(1 + u32::try_from(below(chance, 6)).expect("small")),
        1 => Limit::aimd(),
        _ => Limit::gradient(),
    };
    let queue = Queue {
        waiting_max: [0, 1, 4, 30][below(chance, 4)],
        ..Queue::default()
    };
    let breaker = Breaker {
        trip: Trip::Consecutive(3),
        open_for: Duration::from_millis(20),
        probe_lease: Duration::from_millis(60),
        ramp: Duration::from_millis(10),
        ..Breaker::default()
    };
    let rule = ChaosRule {
        tag: None,
        rate: 0.1,
        fault: Fault::Error,
    };
    let mut on = || one_in(chance, 2);
    Settings {
        deadline: on().then_some(Duration::from_millis(80)),
        retry: on().then(|| Retry {
            force: true,
            base: Duration::from_millis(1),
            max: Duration::from_millis(20),
            ..Retry::default()
        }),
        budget,
        hedge: on().then(|| Hedge {
            warmup: 10,
            ..Hedge::default()
        }),
        throttle: on().then(|| ThrottleSet {
            ratio: 1.1,
            ..ThrottleSet::default()
        }),
        rate: on().then_some(Rate {
            count: 50,
            per: Duration::from_secs(1),
            burst: 3,
        }),
        concurrency: on().then_some(Concurrency { limit, queue }),
        breaker: on().then_some(breaker),
        attempt_timeout: on().then_some(Duration::from_millis(30)),
        chaos: if on() { vec![rule] } else { Vec::new() },
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut chance = Chance(seed);
        let settings = any_settings(&mut chance);
        let now = MonoNs(seed * MS);
        Self {
            ratio: settings.budget.ratio,
            floor: settings.budget.floor_per_second,
            engine: Engine::new(settings, now).expect("sound"),
            chance,
            now,
            tasks: Vec::new(),
            begun: 0,
            started: 0,
            refused: 0,
        }
    }

    /// Takes out one of those that `which` picks.
    fn take(&mut self, which: impl Fn(&Task) -> bool) -> Option<Task> {
        let start = below(&mut self.chance, self.tasks.len().max(1));
        let len = self.tasks.len();
        let at = (0..len)
            .map(|step| (start + step) % len)
            .find(|at| which(&self.tasks[*at]))?;
        Some(self.tasks.swap_remove(at))
    }

    fn begin(&mut self) {
        self.begun += 1;
        let deadline = self.now.plus(self.chance.draw() % (50 * MS));
        let ask = Ask {
            tier: Criticality::ALL[below(&mut self.chance, 4)],
            caller: self.chance.draw() % 3,
            deadline: one_in(&mut self.chance, 3).then_some(deadline),
            idempotent: one_in(&mut self.chance, 2),
            tag: None,
        };
        match self.engine.begin(self.now, ask) {
            Ok(call) => self.tasks.push(Task::Wants(call)),
            Err(_) => self.refused += 1,
        }
    }

    fn within_limit(&self) {
        if let Some(gate) = self.engine.gate() {
            let (runs, limit) = (gate.in_flight(), gate.limit_of_highest());
            assert!(runs <= limit, "{runs} run where {limit} may");
        }
    }

    fn answered(&mut self, admit: Admit, call: Call) {
        match admit {
            Admit::Run(permit) => {
                self.started += 1;
                assert!(permit.must_end().is_none_or(|end| end > self.now));
                self.tasks.push(Task::Runs(permit, call));
            }
            Admit::Wait(ticket) => self.tasks.push(Task::Waits(ticket, call)),
            Admit::Refused(_) => self.refused += 1,
        }
    }

    fn admit(&mut self) {
        if let Some(Task::Wants(call)) = self.take(|task| matches!(task, Task::Wants(_))) {
            let chance = self.chance.draw();
            let admit = self.engine.admit(self.now, &call, chance);
            if matches!(admit, Admit::Run(_)) {
                self.within_limit();
            }
            self.answered(admit, call);
        }
    }

    /// One with a place starts, or goes away in one of two ways.
    fn enter(&mut self) {
        let taken = self.take(|task| matches!(task, Task::Placed(..)));
        let Some(Task::Placed(ticket, place, call)) = taken else {
            return;
        };
        match below(&mut self.chance, 6) {
            0 => self.engine.give_back(self.now, Some(place)),
            1 => self.engine.leave(self.now, ticket),
            _ => {
                let chance = self.chance.draw();
                let admit = self.engine.enter(self.now, &call, Some(place), chance);
                self.answered(admit, call);
            }
        }
    }

    fn end(&mut self) {
        let Some(Task::Runs(permit, mut call)) = self.take(|task| matches!(task, Task::Runs(..)))
        else {
            return;
        };
        let ended = [
            Ended::With(Verdict::Ok),
            Ended::With(Verdict::Retry),
            Ended::With(Verdict::Throttled(None)),
            Ended::With(Verdict::Unknown),
            Ended::With(Verdict::Fatal),
            Ended::TimedOut,
            Ended::Dropped,
        ][below(&mut self.chance, 7)];
        self.engine.ended(self.now, permit, ended);
        let chance = self.chance.draw();
        if let Next::Retry { at } = self.engine.again(self.now, &mut call, ended, chance) {
            assert!(at >= self.now && call.deadline().is_none_or(|end| at < end));
            self.tasks.push(Task::Wants(call));
        }
    }

    fn hedge(&mut self) {
        if let Some(Task::Runs(permit, mut call)) = self.take(|task| matches!(task, Task::Runs(..)))
        {
            if self.engine.hedge(self.now, &mut call) {
                self.tasks.push(Task::Wants(call.clone()));
            }
            self.tasks.push(Task::Runs(permit, call));
        }
    }

    fn leave(&mut self) {
        let left = self.take(|task| matches!(task, Task::Waits(..)));
        if let Some(Task::Waits(ticket, _)) = left {
            self.engine.leave(self.now, ticket);
        }
    }

    fn reload(&mut self) {
        let settings = any_settings(&mut self.chance);
        self.ratio = self.ratio.max(settings.budget.ratio);
        self.floor = self.floor.max(settings.budget.floor_per_second);
        self.engine.reload(settings, self.now).expect("sound");
    }

    /// Hands out the answers that there are: each to somebody who waits.
    fn pump(&mut self) {
        while let Some((ticket, answer)) = self.engine.next(self.now) {
            let waits = self
                .take(|task| matches!(task, Task::Waits(mine, _) if *mine == ticket))
                .expect("an answer is for somebody who waits, and comes once");
            let Task::Waits(_, call) = waits else {
                unreachable!("it waits");
            };
            match answer {
                Ok(place) => {
                    self.within_limit();
                    self.tasks.push(Task::Placed(ticket, place, call));
                }
                Err(_) => self.refused += 1,
            }
        }
    }

    fn check(&self) {
        let count = |which: fn(&Task) -> bool| self.tasks.iter().filter(|it| which(it)).count();
        let waiting = count(|task| matches!(task, Task::Waits(..)));
        let running = count(|task| matches!(task, Task::Runs(..)));
        let placed = count(|task| match task {
            Task::Placed(..) => true,
            Task::Runs(permit, _) => permit.place.is_some(),
            _ => false,
        });
        let gate = self.engine.gate.as_ref();
        assert_eq!(gate.map_or(0, Gate::in_flight) as usize, placed);
        assert_eq!(gate.map_or(0, Gate::waiting) as usize, waiting);
        assert!(self.engine.due().is_none_or(|due| due > self.now));
        let counts = self.engine.counts();
        assert_eq!((counts.calls, counts.attempts), (self.begun, self.started));
        assert_eq!(counts.refused.iter().sum::<u64>(), self.refused);
        let over = counts.ok + counts.failed + counts.throttled + counts.timed_out + counts.dropped;
        assert_eq!(counts.attempts, over + running as u64);
        let seconds = self.now.0 as f64 / 1e9 + 10.0;
        let most = self.ratio * self.begun as f64 + self.floor * seconds + 1.0;
        let repeated = (counts.retries + counts.hedges) as f64;
        assert!(repeated <= most, "{repeated} repeated where {most} may be");
    }

    fn step(&mut self) {
        let pause = if one_in(&mut self.chance, 200) {
            200 * MS
        } else {
            2 * MS
        };
        self.now = self.now.plus(self.chance.draw() % pause);
        match below(&mut self.chance, 16) {
            0..=3 => self.begin(),
            4..=7 => self.admit(),
            8 | 9 => self.enter(),
            10..=12 => self.end(),
            13 => self.hedge(),
            14 => self.leave(),
            _ if one_in(&mut self.chance, 8) => self.reload(),
            _ => {}
        }
        self.pump();
        self.check();
    }

    /// Everybody goes; who waits is answered in time by what is due.
    fn finish(&mut self) {
        self.tasks.retain(|task| !matches!(task, Task::Wants(_)));
        let end = self.now.plus(60 * SECOND);
        while !self.tasks.is_empty() {
            assert!(self.now < end, "somebody waits for ever: {:?}", self.tasks);
            self.end();
            self.enter();
            self.tasks.retain(|task| !matches!(task, Task::Wants(_)));
            if let Some(due) = self.engine.due() {
                self.now = due;
            }
            self.pump();
            self.check();
        }
        assert_eq!(self.engine.gate.as_ref().map_or(0, Gate::in_flight), 0);
    }
}

#[test]
fn whatever_calls_do_places_answers_budget_and_counts_add_up() {
    let mut sum = Counts::default();
    for seed in 0..60 {
        let mut world = World::new(seed);
        for _ in 0..1_500 {
            world.step();
        }
        world.finish();
        let counts = *world.engine.counts();
        sum.retries += counts.retries;
        sum.hedges += counts.hedges;
        sum.dropped += counts.dropped;
        for (sum, count) in sum.refused.iter_mut().zip(counts.refused) {
            *sum += count;
        }
    }
    assert!(sum.retries > 100 && sum.hedges > 100 && sum.dropped > 100);
    for slug in [
        "deadline",
        "full",
        "queue-full",
        "throttled",
        "rate",
        "open",
    ] {
        let at = Refusal::SLUGS.iter().position(|it| *it == slug);
        let at = at.expect("a slug");
        assert!(sum.refused[at] > 0, "{slug} was never reached");
    }
}

fn engine(settings: Settings) -> Engine {
    Engine::new(settings, MonoNs(0)).expect("sound")
}

fn limited(limit: u32) -> Settings {
    Settings {
        concurrency: Some(Concurrency {
            limit: Limit::Static(limit),
            queue: Queue::default(),
        }),
        ..Settings::default()
    }
}

fn runs(admit: Admit) -> Permit {
    match admit {
        Admit::Run(permit) => permit,
        other => panic!("does not run: {other:?}"),
    }
}

#[test]
fn who_waits_when_the_limit_is_taken_away_is_let_through_and_places_come_back_to_a_later_one() {
    let mut engine = engine(limited(1));
    let now = MonoNs(0);
    let call = engine.begin(now, Ask::default()).expect("it begins");
    let first = runs(engine.admit(now, &call, 0));
    let Admit::Wait(ticket) = engine.admit(now, &call, 0) else {
        panic!("there is one place");
    };
    engine.reload(Settings::default(), now).expect("sound");
    assert!(engine.gate().is_none());
    let (answered, place) = engine.next(now).expect("it is let through");
    assert_eq!(answered, ticket);
    let second = runs(engine.enter(now, &call, place.ok(), 0));
    engine.reload(limited(1), now).expect("sound");
    assert_eq!(engine.gate().map(Gate::in_flight), Some(2));
    assert!(matches!(engine.admit(now, &call, 0), Admit::Wait(_)));
    engine.ended(now, first, Ended::With(Verdict::Ok));
    assert_eq!(engine.next(now), None, "there is still one too many");
    engine.ended(now, second, Ended::With(Verdict::Ok));
    assert!(engine.next(now).is_some());
}

#[test]
fn what_was_learned_and_a_switch_that_was_thrown_outlive_other_settings() {
    let rule = ChaosRule {
        tag: None,
        rate: 1.0,
        fault: Fault::Error,
    };
    let mut settings = Settings {
        throttle: Some(ThrottleSet::default()),
        hedge: Some(Hedge::default()),
        chaos: vec![rule],
        ..Settings::default()
    };
    let mut engine = engine(settings.clone());
    engine.set_chaos(false);
    let now = MonoNs(0);
    for _ in 0..200 {
        let call = engine.begin(now, Ask::default()).expect("it begins");
        let permit = runs(engine.admit(now, &call, u64::MAX));
        assert_eq!(permit.fault(), None);
        engine.ended(now.plus(9 * MS), permit, Ended::With(Verdict::Fatal));
    }
    let call = engine.begin(now, Ask::default()).expect("it begins");
    for _ in 0..900 {
        let Admit::Run(permit) = engine.admit(now, &call, u64::MAX) else {
            panic!("the highest chance is always sent");
        };
        engine.ended(now, permit, Ended::With(Verdict::Throttled(None)));
    }
    settings.hedge = Some(Hedge {
        quantile: 0.9,
        ..Hedge::default()
    });
    settings.throttle = Some(ThrottleSet {
        most: 0.5,
        ..ThrottleSet::default()
    });
    engine.reload(settings, now).expect("sound");
    let after = engine.hedge_after().expect("it is still warm");
    assert!(after.abs_diff(9 * MS) < MS, "{after}");
    let refused = engine.admit(now, &call, 0);
    assert!(
        matches!(
            refused,
            Admit::Refused(Refusal::Throttled { per_mille: 500, .. })
        ),
        "{refused:?}"
    );
    let permit = runs(engine.admit(now, &call, u64::MAX));
    assert_eq!(permit.fault(), None, "the switch is still off");
}

#[test]
fn a_breaker_that_is_taken_away_and_given_back_goes_on_where_it_was() {
    let with = Settings {
        breaker: Some(Breaker {
            trip: Trip::Consecutive(1),
            ..Breaker::default()
        }),
        ..Settings::default()
    };
    let mut engine = engine(with.clone());
    let call = engine.begin(MonoNs(1), Ask::default()).expect("it begins");
    let first = runs(engine.admit(MonoNs(1), &call, 0));
    let late = runs(engine.admit(MonoNs(1), &call, 0));
    engine.ended(MonoNs(2), first, Ended::With(Verdict::Unknown));
    let open = |engine: &mut Engine, now| matches!(engine.admit(now, &call, 0), Admit::Refused(_));
    assert!(open(&mut engine, MonoNs(3)));
    engine
        .reload(Settings::default(), MonoNs(4))
        .expect("nothing is well");
    let between = runs(engine.admit(MonoNs(5), &call, 0));
    engine.reload(with, MonoNs(6)).expect("these are well");
    // Attempts from before it opened, and from when it was away, change nothing.
    engine.ended(MonoNs(7), late, Ended::With(Verdict::Ok));
    engine.ended(MonoNs(7), between, Ended::With(Verdict::Ok));
    assert!(open(&mut engine, MonoNs(8)));
}
