use std::time::Duration;

use super::super::criticality::Criticality::Default as Normal;
use super::super::rig::{MS, Rig, SECOND};
use super::super::settings::{Concurrency, Queue};
use super::*;

const CAPACITY: f64 = 5_000.0;
const OK: Ended = Ended::With(Verdict::Ok);

/// 50 workers of 10 ms, called `load` times as often as they can.
fn rig(seed: u64, load: f64) -> Rig {
    rig_of(Limit::default(), seed, load)
}

fn rig_of(limit: Limit, seed: u64, load: f64) -> Rig {
    let settings = Concurrency {
        limit,
        queue: Queue::default(),
    };
    let mut rig = Rig::new(&settings, seed);
    rig.source(Normal, 1, load * CAPACITY);
    rig
}

/// Runs for so many seconds, and says what share of `capacity` was done in them.
fn goodput(rig: &mut Rig, seconds: u32, capacity: f64) -> f64 {
    rig.count_anew();
    rig.run(u64::from(seconds) * SECOND);
    f64::from(rig.total().done) / (capacity * f64::from(seconds))
}

fn between(what: &str, value: f64, low: f64, high: f64) {
    assert!(
        (low..=high).contains(&value),
        "{what} is {value}, not between {low} and {high}"
    );
}

#[test]
fn under_overload_the_work_is_done_and_nobody_waits_long() {
    for (seed, load) in [(1, 1.5), (2, 2.0), (3, 5.0), (4, 10.0)] {
        let mut rig = rig(seed, load);
        rig.run(2 * SECOND);
        between("goodput", goodput(&mut rig, 15, CAPACITY), 0.97, 1.03);
        between("limit", rig.gate.limit().into(), 48.0, 75.0);
        between("p99", rig.total().quantile_ms(0.99), 40.0, 138.0);
    }
}

#[test]
fn a_server_of_any_size_is_found_from_the_same_initial_limit() {
    // The limits allow for a dip that is under way.
    for (workers, seconds, limit) in [
        (1_u32, 20, (2.0, 6.0)),
        (5, 20, (3.0, 14.0)),
        (20, 10, (10.0, 36.0)),
        (50, 4, (25.0, 85.0)),
        (200, 2, (100.0, 300.0)),
    ] {
        for load in [2.0, 10.0] {
            let capacity = 100.0 * f64::from(workers);
            let mut rig = rig(workers.into(), load * capacity / CAPACITY);
            rig.workers = workers as usize;
            rig.run(2 * SECOND);
            let done = goodput(&mut rig, seconds, capacity);
            let p99 = rig.total().quantile_ms(0.99);
            between(&format!("goodput of {workers}"), done, 0.95, 1.05);
            between(
                &format!("limit of {workers}"),
                rig.gate.limit().into(),
                limit.0,
                limit.1,
            );
            between(&format!("p99 of {workers}"), p99, 30.0, 138.0);
        }
    }
}

#[test]
fn one_that_was_fixed_before_learns_what_is_usual_from_where_it_stands() {
    let mut rig = rig_of(Limit::Static(200), 1, 2.0);
    rig.run(SECOND);
    assert_eq!(rig.limits, (200, 200));
    let settings = Concurrency::default();
    rig.gate.reload(&settings, MonoNs(rig.now));
    assert_eq!(rig.gate.limit(), 200, "the limit stays where it was");
    rig.run(2 * SECOND);
    between("goodput", goodput(&mut rig, 5, CAPACITY), 0.97, 1.03);
    between("limit", rig.gate.limit().into(), 48.0, 80.0);
}

/// Without losses AIMD knows no load: it needs the timeout of attempts, and fills it.
#[test]
fn aimd_keeps_a_small_server_at_work_below_the_timeout_of_its_attempts() {
    for load in [2.0, 10.0] {
        let mut rig = rig_of(Limit::aimd(), 1, load * 0.1);
        rig.workers = 5;
        rig.attempt_timeout = Some(Duration::from_millis(300));
        rig.run(10 * SECOND);
        let done = goodput(&mut rig, 30, CAPACITY * 0.1);
        between("goodput", done, 0.95, 1.03);
        between("highest limit", rig.limits.1.into(), 20.0, 150.0);
        between("p99", rig.total().quantile_ms(0.99), 150.0, 310.0);
    }
}

#[test]
fn the_limit_is_found_within_a_second() {
    for seed in 1..8 {
        let mut rig = rig(seed, 2.0);
        rig.run(SECOND);
        between("limit", rig.gate.limit().into(), 45.0, 85.0);
    }
}

#[test]
fn a_modest_overload_does_not_make_it_grow_without_end() {
    let mut rig = rig(1, 1.1);
    rig.run(2 * SECOND);
    between("goodput", goodput(&mut rig, 40, CAPACITY), 0.97, 1.03);
    between("highest limit", rig.limits.1.into(), 50.0, 100.0);
}

#[test]
fn under_an_overload_that_lasts_what_is_usual_does_not_drift_away() {
    for seed in 1..3 {
        let mut rig = rig(seed, 2.0);
        rig.run(30 * SECOND);
        between("goodput", goodput(&mut rig, 30, CAPACITY), 0.97, 1.03);
        between("highest limit", rig.limits.1.into(), 50.0, 85.0);
        between("p99", rig.total().quantile_ms(0.99), 40.0, 70.0);
    }
}

#[test]
fn constant_timeouts_are_not_taken_for_constant_durations() {
    for limit in [Limit::gradient(), Limit::aimd()] {
        let mut rig = rig_of(limit, 1, 0.5);
        rig.service = Box::new(|_, _| 3_600 * SECOND);
        rig.workers = usize::MAX;
        rig.attempt_timeout = Some(Duration::from_millis(300));
        rig.run(20 * SECOND);
        between("highest limit", rig.limits.1.into(), 20.0, 20.0);
        between("limit", rig.gate.limit().into(), 1.0, 5.0);
    }
}

#[test]
fn a_lasting_slowdown_becomes_usual_within_five_seconds() {
    for seed in 1..3 {
        let mut rig = rig(seed, 2.0);
        rig.run(5 * SECOND);
        rig.service = Box::new(|chance, _| chance.exponential(30e6));
        rig.count_anew();
        rig.run(5 * SECOND);
        between("lowest limit", rig.limits.0.into(), 15.0, 60.0);
        let slow = CAPACITY / 3.0;
        between("goodput", goodput(&mut rig, 10, slow), 0.95, 1.05);
        // And back.
        rig.service = Box::new(|chance, _| chance.exponential(10e6));
        rig.run(10 * SECOND);
        between("goodput", goodput(&mut rig, 10, CAPACITY), 0.97, 1.03);
        between("limit", rig.gate.limit().into(), 48.0, 80.0);
    }
}

#[test]
fn a_server_that_loses_workers_gets_less_and_keeps_its_queue_short() {
    for seed in 1..4 {
        let mut rig = rig(seed, 2.0);
        rig.run(10 * SECOND);
        rig.workers = 20;
        rig.run(5 * SECOND);
        between("goodput", goodput(&mut rig, 10, CAPACITY * 0.4), 0.95, 1.05);
        between("p99", rig.total().quantile_ms(0.99), 40.0, 138.0);
        rig.workers = 50;
        rig.run(2 * SECOND);
        between("goodput", goodput(&mut rig, 10, CAPACITY), 0.97, 1.03);
    }
}

#[test]
fn fast_and_slow_calls_side_by_side_do_not_make_it_collapse() {
    for (seed, load) in [(1, 0.7), (2, 2.0), (3, 2.0)] {
        let mut rig = rig(seed, load);
        rig.service = Box::new(|chance, _| if chance.unit() < 0.9 { MS } else { 100 * MS });
        let capacity = 50_000.0 / 10.9;
        rig.run(3 * SECOND);
        let wanted = f64::min(load * CAPACITY / capacity, 1.0);
        let done = goodput(&mut rig, 20, capacity);
        between("goodput", done, 0.8 * wanted, 1.05);
        between("lowest limit", rig.limits.0.into(), 15.0, 200.0);
    }
}

#[test]
fn rare_health_checks_move_nothing() {
    let mut rig = rig(1, 0.0);
    rig.service = Box::new(|_, _| MS / 10);
    rig.set_rate(0, 1.0);
    rig.run(600 * SECOND);
    assert_eq!(rig.limits, (20, 20));
    rig.set_rate(0, 0.0);
    rig.run(10 * SECOND);
    rig.service = Box::new(|chance, _| chance.exponential(10e6));
    rig.set_rate(0, 2.0 * CAPACITY);
    rig.run(2 * SECOND);
    between("goodput", goodput(&mut rig, 10, CAPACITY), 0.97, 1.03);
}

#[test]
fn after_a_rest_neither_a_limit_of_one_nor_a_high_one_is_believed() {
    let mut rig = rig(1, 1.0);
    rig.workers = usize::MAX;
    rig.service = Box::new(|_, _| 3_600 * SECOND);
    rig.attempt_timeout = Some(Duration::from_millis(300));
    rig.run(60 * SECOND);
    assert_eq!(rig.gate.limit(), 1);
    rig.set_rate(0, 0.0);
    rig.run(60 * SECOND);
    rig.workers = rig.busy + 50;
    rig.attempt_timeout = None;
    rig.service = Box::new(|chance, _| chance.exponential(10e6));
    rig.set_rate(0, 2.0 * CAPACITY);
    rig.count_anew();
    rig.run(SECOND);
    between("lowest limit", rig.limits.0.into(), 3.0, 3.0);
    between("highest limit", rig.limits.1.into(), 20.0, 110.0);
    between("goodput", goodput(&mut rig, 5, CAPACITY), 0.95, 1.05);

    let settings = Limit::aimd();
    let mut limiter = Limiter::new(&settings, MonoNs(0));
    for at in 0..100_000 {
        limiter.sample(MonoNs(at), 1, limiter.limit(), OK);
    }
    let high = limiter.limit();
    between("limit", high.into(), 100.0, 1_000.0);
    limiter.woken(MonoNs(31 * SECOND));
    assert_eq!(limiter.limit(), high / 2);
    limiter.woken(MonoNs(32 * SECOND));
    assert_eq!(limiter.limit(), high / 2, "halved once for each rest");
}

#[test]
fn aimd_rises_by_one_a_window_of_used_places_and_falls_once_a_round_trip() {
    let mut limiter = Limiter::new(&Limit::aimd(), MonoNs(0));
    for at in 0..1_000 {
        limiter.sample(MonoNs(at), 1, 10, OK);
    }
    assert_eq!(
        limiter.limit(),
        20,
        "half of the places are no need for more"
    );
    for at in 0..21 {
        limiter.sample(MonoNs(at), 1, 20, OK);
    }
    assert_eq!(limiter.limit(), 21);
    for at in 0..20 {
        limiter.sample(MonoNs(SECOND + at), MS, 20, Ended::TimedOut);
    }
    assert_eq!(limiter.limit(), 18);
    for ended in [Verdict::Throttled(None), Verdict::Unknown] {
        let before = limiter.limit();
        let now = MonoNs(u64::from(1_000 - before) * SECOND);
        limiter.sample(now, MS, 20, Ended::With(ended));
        assert!(limiter.limit() < before);
    }
    let before = limiter.limit();
    for ended in [
        Ended::With(Verdict::Fatal),
        Ended::With(Verdict::Retry),
        Ended::Dropped,
    ] {
        limiter.sample(MonoNs(2_000 * SECOND), MS, 20, ended);
    }
    assert_eq!(limiter.limit(), before, "these say nothing of too much");
}

#[test]
fn a_limit_stays_within_its_bounds_and_what_was_learned_outlives_a_reload() {
    let bounded = |max| Limit::Gradient {
        initial: 20,
        min: 10,
        max,
        tolerance: 1.5,
    };
    let mut rig = rig_of(bounded(30), 1, 2.0);
    rig.run(3 * SECOND);
    assert_eq!(rig.limits.1, 30);
    let mut limiter = Limiter::new(&bounded(30), MonoNs(0));
    for at in 0..1_000 {
        limiter.sample(MonoNs(at * SECOND), MS, 20, Ended::TimedOut);
    }
    assert_eq!(limiter.limit(), 10);
    limiter.reload(&bounded(40), MonoNs(0));
    assert_eq!(limiter.limit(), 10);
    limiter.reload(&Limit::Static(7), MonoNs(0));
    assert_eq!(limiter.limit(), 7);
    limiter.sample(MonoNs(0), MS, 7, Ended::TimedOut);
    assert_eq!(limiter.limit(), 7);
}
