//! Random lives of a breaker against what it promises.

use std::cell::RefCell;
use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof};
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use super::tests::{FAILED, LEASE_NS, OK, OPEN_NS, RAMP_NS, THROTTLED, rate, set};
use super::*;
use crate::policy::settings::Window;

/// What may happen to a breaker. Places are taken modulo the number of the calls that are out.
#[derive(Clone, Debug)]
enum Step {
    Admit(u64),
    End(usize, Ended, u64),
    Forget(usize),
    Pass(u64),
    Isolate,
    Join,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ended = prop_oneof![
        4 => Just(OK),
        4 => Just(FAILED),
        1 => Just(Ended::TimedOut),
        1 => Just(Ended::Dropped),
        1 => Just(THROTTLED),
        1 => Just(Ended::With(Verdict::Fatal)),
    ];
    let step = prop_oneof![
        40 => any::<u64>().prop_map(Step::Admit),
        30 => (any::<usize>(), ended, 0u64..60).prop_map(|(place, ended, took)| Step::End(place, ended, took)),
        6 => any::<usize>().prop_map(Step::Forget),
        20 => (0u64..70).prop_map(Step::Pass),
        1 => Just(Step::Isolate),
        2 => Just(Step::Join),
    ];
    vec(step, 1..300)
}

fn trips() -> impl Strategy<Value = Trip> {
    let slow = prop_oneof![Just(None), Just(Some((Duration::from_nanos(50), 0.4)))];
    let window = prop_oneof![
        (1u32..12).prop_map(Window::Count),
        (50u64..500).prop_map(|ns| Window::Time(Duration::from_nanos(ns))),
    ];
    prop_oneof![
        (1u32..4).prop_map(Trip::Consecutive),
        (window, slow, 1u32..6).prop_map(|(window, slow, calls_min)| rate(window, slow, calls_min)),
    ]
}

/// A call that is out, as a naive model knows it.
#[derive(Clone, Copy)]
struct Out {
    pass: Pass,
    since: MonoNs,
    /// After how many changes of the breaker it began.
    changes: u64,
    /// What the breaker then was.
    state: State,
    forgotten: bool,
}

/// A breaker and everything that was let through and has not reported.
struct Life {
    breaker: Breaker,
    probes: usize,
    now: MonoNs,
    out: Vec<Out>,
    seen: BTreeSet<String>,
}

impl Life {
    fn new(trip: Trip, probes: u32) -> Self {
        let now = MonoNs(0);
        Self {
            breaker: Breaker::new(&set(trip, probes), now),
            probes: probes as usize,
            now,
            out: Vec::new(),
            seen: BTreeSet::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        let before = (self.breaker.changes(), self.breaker.state(self.now));
        match *step {
            Step::Admit(chance) => self.admit(chance),
            Step::End(place, ended, took) => self.end(place, ended, took),
            Step::Forget(place) => {
                let count = self.out.len().max(1);
                if let Some(out) = self.out.get_mut(place % count) {
                    out.forgotten = true;
                }
            }
            Step::Pass(ns) => self.now = self.now.plus(ns),
            Step::Isolate => self.breaker.isolate(),
            Step::Join => self.breaker.join(self.now),
        }
        let state = self.breaker.state(self.now);
        let changes = self.breaker.changes();
        if !matches!(step, Step::Pass(_)) {
            assert!(
                state == before.1 || changes > before.0,
                "an uncounted change"
            );
        }
        self.seen
            .insert(format!("{} to {}", before.1.word(), state.word()));
        assert!(
            self.probes_out() <= self.probes,
            "more probes are out than may"
        );
    }

    /// The probes of this half-open time whose lease is not over.
    fn probes_out(&self) -> usize {
        let changes = self.breaker.changes();
        let of_now = |out: &&Out| out.pass.is_probe() && out.changes == changes;
        let leased = |out: &&Out| self.now.since(out.since) < LEASE_NS;
        self.out.iter().filter(of_now).filter(leased).count()
    }

    fn admit(&mut self, chance: u64) {
        let peeked = self.breaker.peek(self.now);
        let out_before = self.probes_out();
        match self.breaker.admit(self.now, chance) {
            Ok(pass) => {
                assert!(peeked.is_ok(), "let through what was sure to be refused");
                let state = self.breaker.state(self.now);
                assert_eq!(pass.is_probe(), state == State::HalfOpen);
                self.out.push(Out {
                    pass,
                    since: self.now,
                    changes: self.breaker.changes(),
                    state,
                    forgotten: false,
                });
            }
            Err(refusal) => {
                if let Refusal::Probing { out } = refusal {
                    assert_eq!((out as usize, out_before), (self.probes, self.probes));
                }
                let ramp = matches!(refusal, Refusal::Ramping { .. });
                assert!(ramp || peeked == Err(refusal), "{refusal} was not foreseen");
                self.seen.insert(refusal.slug().to_owned());
            }
        }
    }

    fn end(&mut self, place: usize, ended: Ended, took: u64) {
        if self.out.is_empty() {
            return;
        }
        let place = place % self.out.len();
        if self.out[place].forgotten {
            return;
        }
        let out = self.out.swap_remove(place);
        let (changes, state) = (self.breaker.changes(), self.breaker.state(self.now));
        // A ramp that is over leads on to a closed one without a break: its calls still count.
        let goes_on =
            out.state == State::Ramping && out.changes + 1 == changes && state == State::Closed;
        if out.changes == changes || goes_on {
            self.breaker.ended(self.now, out.pass, ended, took);
            self.seen.extend(goes_on.then(|| "went on".to_owned()));
        } else {
            let before = format!("{:?}", self.breaker);
            self.breaker.ended(self.now, out.pass, ended, took);
            let after = format!("{:?}", self.breaker);
            assert_eq!(
                before, after,
                "a call from before a change of state was heard"
            );
            self.seen.insert("ignored".to_owned());
        }
    }

    /// After the leases and the time of being open, somebody gets through; and when the callee is
    /// well, all do in the end.
    fn recover(&mut self) {
        self.breaker.join(self.now);
        for _ in 0..=self.probes {
            self.now = self.now.plus(LEASE_NS.max(OPEN_NS));
            let pass = self
                .breaker
                .admit(self.now, 0)
                .expect("somebody gets through");
            self.breaker.ended(self.now, pass, OK, 1);
        }
        self.now = self.now.plus(RAMP_NS);
        assert_eq!(self.breaker.state(self.now), State::Closed, "stuck");
        assert!(self.breaker.admit(self.now, u64::MAX).is_ok());
    }
}

const REACHED: [&str; 20] = [
    "open",
    "probing",
    "ramping",
    "isolated",
    "ignored",
    "went on",
    "closed to open",
    "open to half-open",
    "half-open to open",
    "half-open to ramping",
    "ramping to closed",
    "ramping to open",
    "closed to isolated",
    "open to isolated",
    "half-open to isolated",
    "ramping to isolated",
    "isolated to half-open",
    "half-open to half-open",
    "closed to closed",
    "isolated to isolated",
];

#[test]
fn in_random_lives_no_slot_is_lost_no_late_result_counts_and_it_always_recovers() {
    let seen = RefCell::new(BTreeSet::new());
    let config = ProptestConfig {
        cases: 1_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let run = runner.run(&(trips(), 1u32..5, steps()), |(trip, probes, steps)| {
        let mut life = Life::new(trip, probes);
        for step in &steps {
            life.step(step);
        }
        life.recover();
        seen.borrow_mut().append(&mut life.seen);
        Ok(())
    });
    run.expect("every promise holds");
    let seen = seen.into_inner();
    let missed: Vec<_> = REACHED
        .iter()
        .filter(|word| !seen.contains(**word))
        .collect();
    assert!(missed.is_empty(), "never reached: {missed:?}");
}
