//! The gates: what the default policies have to hold on a bad day, with twenty seeds, beside naive
//! retries that do not.

use std::time::Duration;

use posthaste_core::policy::Settings;
use posthaste_sim::{Outcome, Rig, Scenario, Trigger, TriggerKind, run};

const SEEDS: std::ops::Range<u64> = 1..21;
const MS: fn(u64) -> Duration = Duration::from_millis;

/// The reference rig with the default policies on both sides and the rig's own times.
fn default() -> Scenario {
    let preset = Settings::calling();
    let client = Settings {
        deadline: Some(MS(1_000)),
        attempt_timeout: Some(MS(300)),
        retry: preset.retry.map(|mut retry| {
            retry.attempts = 4;
            retry
        }),
        ..preset
    };
    scenario("default", client, Some(Settings::serving()))
}

fn naive() -> Scenario {
    scenario("naive", Settings::naive(), None)
}

fn scenario(name: &str, client: Settings, server: Option<Settings>) -> Scenario {
    Scenario {
        name: name.to_owned(),
        rig: Rig {
            warmup: MS(2_000),
            measured: MS(3_000),
            ..Rig::default()
        },
        client,
        server,
        triggers: Vec::new(),
    }
}

fn hit(mut scenario: Scenario, kind: TriggerKind, factor: f64) -> Scenario {
    scenario.triggers.push(Trigger {
        kind,
        factor,
        at: MS(3_000),
        lasts: MS(10_000),
    });
    scenario
}

/// Every seed on one of two threads; whatever `judge` complains of is told with its seed.
fn check(scenario: &Scenario, load: f64, seeds: std::ops::Range<u64>, judge: fn(&Outcome) -> bool) {
    let failed = |odd: u64| {
        let mut failed = Vec::new();
        for seed in seeds.clone().filter(|seed| seed % 2 == odd) {
            let mut outcome = run(scenario, load, seed).expect("a scenario that can be played");
            if !judge(&outcome) {
                outcome.moments.clear();
                failed.push((seed, outcome));
            }
        }
        failed
    };
    let failed = std::thread::scope(|scope| {
        let other = scope.spawn(|| failed(1));
        let mut all = failed(0);
        all.extend(other.join().expect("a thread that ends"));
        all
    });
    let name = &scenario.name;
    assert!(failed.is_empty(), "{name} at load {load}: {failed:#?}");
}

/// p99 of the admitted, in ms: without load it is that of the service, 46 ms, and two ways.
fn p99_ms(outcome: &Outcome) -> f64 {
    outcome
        .p99
        .map_or(f64::INFINITY, |p99| p99.as_secs_f64() * 1e3)
}

const UNLOADED_P99_MS: f64 = 48.0;

fn holds(outcome: &Outcome, goodput: f64) -> bool {
    outcome.goodput >= goodput
        && p99_ms(outcome) <= 3.0 * UNLOADED_P99_MS
        && outcome.amplification <= 1.1
        && outcome.tiers[0].success >= 0.999
}

#[test]
fn at_twice_the_load_goodput_is_95_percent_of_capacity() {
    check(&default(), 2.0, SEEDS, |outcome| holds(outcome, 0.95));
}

#[test]
fn at_five_times_the_load_goodput_is_90_percent_of_capacity() {
    check(&default(), 5.0, SEEDS, |outcome| holds(outcome, 0.9));
}

#[test]
fn at_ten_times_the_load_goodput_is_80_percent_of_capacity() {
    check(&default(), 10.0, SEEDS, |outcome| holds(outcome, 0.8));
}

#[test]
fn the_top_tier_is_served_while_its_own_load_is_under_80_percent() {
    let mut scenario = default();
    scenario.rig.mix = [0.078, 0.572, 0.25, 0.1];
    check(&scenario, 10.0, SEEDS, |outcome| holds(outcome, 0.8));
    scenario.rig.mix = [0.39, 0.26, 0.25, 0.1];
    check(&scenario, 2.0, SEEDS, |outcome| holds(outcome, 0.95));
}

#[test]
fn under_a_load_that_can_be_borne_fewer_than_one_in_a_thousand_is_refused() {
    // A server that has just started knows nothing of its limit, and refuses a few at first.
    let mut scenario = default();
    scenario.rig.warmup = MS(4_000);
    check(&scenario, 0.8, SEEDS, |outcome| {
        outcome.shed < 0.001 && outcome.amplification < 1.01 && outcome.goodput > 0.75
    });
}

fn check_recovery(kind: TriggerKind, factor: f64, seeds: std::ops::Range<u64>) {
    for load in [0.6, 0.7, 0.8, 0.9] {
        check(
            &hit(default(), kind, factor),
            load,
            seeds.clone(),
            |outcome| {
                let after = outcome.recovery.and_then(|recovery| recovery.after);
                after.is_some_and(|after| after <= MS(2_000))
            },
        );
    }
}

#[test]
fn a_loss_of_capacity_is_over_two_seconds_after_it_ends() {
    check_recovery(TriggerKind::Capacity, 0.4, SEEDS);
}

#[test]
fn errors_are_over_two_seconds_after_they_end() {
    check_recovery(TriggerKind::Errors, 0.5, 1..6);
}

#[test]
fn naive_retries_fail_on_the_same_rig() {
    for load in [1.2, 2.0] {
        check(&naive(), load, 1..4, |outcome| outcome.goodput < 0.1);
    }
    let hit = hit(naive(), TriggerKind::Capacity, 0.4);
    check(&hit, 0.8, 1..4, |outcome| {
        let recovery = outcome.recovery.expect("a trigger");
        recovery.before > 0.99 && recovery.after.is_none()
    });
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let scenario = hit(default(), TriggerKind::Storm, 2.0);
    let twice = [7, 7].map(|seed| run(&scenario, 0.8, seed).expect("a run"));
    assert_eq!(twice[0], twice[1]);
    let other = run(&scenario, 0.8, 8).expect("a run");
    assert_ne!(twice[0], other);
}
