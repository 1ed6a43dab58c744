//! What each machine of a policy costs, in nanoseconds for one call that passes it: the fastest of
//! several rounds, in one run.
//!
//! ```sh
//! cargo run --release -p posthaste-core --example policy_speed
//! ```

use std::hint::black_box;
use std::time::{Duration, Instant};

use posthaste_core::policy::breaker::Breaker;
use posthaste_core::policy::budget::Budget;
use posthaste_core::policy::chaos::Chaos;
use posthaste_core::policy::engine::{Admit, Ask, Engine};
use posthaste_core::policy::gate::{Arrived, Gate};
use posthaste_core::policy::hedge::Hedge;
use posthaste_core::policy::limit::Limiter;
use posthaste_core::policy::rate::Rate;
use posthaste_core::policy::settings::{self, ChaosRule, Fault, Limit, Queue};
use posthaste_core::policy::throttle::Throttle;
use posthaste_core::policy::{Criticality, Ended, Settings, Verdict};
use posthaste_core::time::MonoNs;

const CALLS: u32 = 1_000_000;
const ROUNDS: u32 = 7;
const OK: Ended = Ended::With(Verdict::Ok);
const TIER: Criticality = Criticality::Default;

/// Times `call` at instants 10 µs apart, with a number to draw from.
#[expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a measurement reads a clock, and prints"
)]
fn measure(name: &str, mut call: impl FnMut(MonoNs, u64)) {
    let mut best = Duration::MAX;
    let mut now = 0;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for _ in 0..CALLS {
            now += 10_000;
            call(
                black_box(MonoNs(now)),
                now.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            );
        }
        best = best.min(began.elapsed());
    }
    let each = best.as_secs_f64() * 1e9 / f64::from(CALLS);
    println!("{name:<32} {each:>6.1} ns");
}

/// A duration between 8 and 16 ms.
const fn took(chance: u64) -> u64 {
    8_000_000 + (chance >> 41)
}

fn gate(limit: Limit, waiting_max: u32) -> Gate {
    let queue = Queue {
        waiting_max,
        ..Queue::default()
    };
    Gate::new(&settings::Concurrency { limit, queue }, MonoNs(0))
}

fn passes(name: &str, mut gate: Gate) {
    measure(name, |now, chance| {
        if let Arrived::Admitted(place) = gate.arrive(now, TIER, 1, None) {
            gate.ended(now.plus(took(chance)), place, OK);
        }
    });
}

fn waits(name: &str, mut gate: Gate, deadline_ns: Option<u64>) {
    let mut place = None;
    measure(name, |now, _| {
        let deadline = deadline_ns.map(|after| now.plus(after));
        if let Arrived::Admitted(first) = gate.arrive(now, TIER, 1, deadline) {
            place = Some(first);
        }
        if let Some(last) = place.take() {
            gate.ended(now, last, OK);
        }
        while let Some((_, answer)) = gate.next(now) {
            place = answer.ok().or(place);
        }
    });
}

fn engine(name: &str, settings: Settings) {
    let Ok(mut engine) = Engine::new(settings, MonoNs(0)) else {
        return;
    };
    measure(name, |now, chance| {
        let Ok(call) = engine.begin(now, Ask::default()) else {
            return;
        };
        if let Admit::Run(permit) = engine.admit(now, &call, chance) {
            engine.ended(now.plus(took(chance)), permit, OK);
        }
    });
}

fn main() {
    let aimd = Limit::aimd();
    for (name, limit) in [
        ("limit: static", Limit::Static(20)),
        ("limit: aimd", aimd),
        ("limit: gradient", Limit::gradient()),
    ] {
        let mut limiter = Limiter::new(&limit, MonoNs(0));
        measure(name, |now, chance| {
            black_box(limiter.limit());
            limiter.sample(now, took(chance), 3, OK);
        });
    }
    passes("gate: static", gate(Limit::Static(20), 1_000));
    passes("gate: gradient", gate(Limit::gradient(), 1_000));
    passes("gate: gradient, no room", gate(Limit::gradient(), 0));
    waits("gate: one waits", gate(Limit::Static(1), 1_000), None);
    let deadline = Some(3_000_000);
    waits(
        "gate: one waits with a deadline",
        gate(Limit::Static(1), 1_000),
        deadline,
    );
    let mut full = gate(Limit::Static(0), 0);
    let _ = full.arrive(MonoNs(0), TIER, 1, None);
    measure("gate: refused", |now, _| {
        let _ = black_box(full.arrive(now, TIER, 1, None));
    });
    let mut throttle = Throttle::new(&settings::Throttle::default(), MonoNs(0));
    measure("throttle", |now, chance| {
        let sent = throttle.admit(now, TIER, chance);
        throttle.ended(now, TIER, black_box(sent).is_ok());
    });
    let mut breaker = Breaker::new(&settings::Breaker::default(), MonoNs(0));
    measure("breaker", |now, chance| {
        if let Ok(pass) = breaker.admit(now, chance) {
            breaker.ended(now, pass, OK, took(chance));
        }
    });
    let mut budget = Budget::new(&settings::Budget::default(), MonoNs(0));
    measure("budget: a call", |now, _| budget.deposit(now));
    measure("budget: a retry", |now, _| {
        black_box(budget.withdraw(now));
    });
    let mut hedge = Hedge::new(&settings::Hedge::default());
    measure("hedge", |_, chance| {
        black_box(hedge.delay_ns());
        hedge.observe(took(chance));
    });
    let often = settings::Rate {
        count: 1_000_000,
        per: Duration::from_secs(1),
        burst: 100,
    };
    if let Ok(mut rate) = Rate::new(&often, MonoNs(0)) {
        measure("rate", |now, _| {
            let _ = black_box(rate.take(now));
        });
    }
    let rule = ChaosRule {
        tag: None,
        rate: 0.01,
        fault: Fault::Error,
    };
    let chaos = Chaos::new(&[rule]);
    measure("chaos", |_, chance| {
        black_box(chaos.draw(None, chance));
    });
    engine("engine: nothing", Settings::default());
    engine("engine: calling", Settings::calling());
    engine("engine: serving", Settings::serving());
}
