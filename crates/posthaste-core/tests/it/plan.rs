//! Plans: what must hold of each, and how far they are from queues that are played.

mod queue;

use std::time::Duration;

use posthaste_core::ErrorKind;
use posthaste_core::limits::PLAN_WORKERS_MAX;
use posthaste_core::plan::{Load, Plan, plan};
use proptest::prelude::*;
use queue::{Chance, Play, Spread};

const SECOND: Duration = Duration::from_secs(1);

fn planned(load: &Load) -> Plan {
    plan(load).expect("it can be planned")
}

#[test]
fn a_queue_with_room_is_told_with_its_waits_and_what_it_could_do_more() {
    // C(5, 4) = 128/231, and one worker's worth of capacity to spare.
    let plan = planned(&Load {
        backlog: 600,
        ..Load::new(4.0, SECOND, 5)
    });
    let wait = plan.now.wait.expect("they keep up");
    assert!((wait.chance - 128.0 / 231.0).abs() < 1e-12);
    assert!((wait.mean.as_secs_f64() - 128.0 / 231.0).abs() < 1e-9);
    assert_eq!(plan.now.drain, Some(Duration::from_secs(600)));
    assert!((plan.headroom_per_second - 1.0).abs() < 1e-12);
    assert!(plan.now.growth_per_second <= 0.0);
    assert_eq!(plan.workers_stable, 5);
    assert_eq!((plan.workers_needed, plan.now.meets_target), (None, None));
    let less = plan.one_less.expect("there is another");
    assert_eq!((less.workers, less.wait, less.drain), (4, None, None));
}

#[test]
fn too_few_workers_are_an_answer_and_no_error() {
    let plan = planned(&Load {
        target_wait: Some(SECOND),
        backlog: 7,
        ..Load::new(112.0, Duration::from_millis(100), 10)
    });
    assert!((plan.now.utilisation - 1.12).abs() < 1e-9);
    assert!((plan.now.growth_per_second - 12.0).abs() < 1e-9);
    assert!((plan.headroom_per_second + 12.0).abs() < 1e-9);
    assert!(plan.headroom_to_target_per_second.expect("a target") < -12.0);
    assert_eq!((plan.now.wait, plan.now.drain), (None, None));
    assert_eq!(plan.now.meets_target, Some(false));
    assert_eq!(plan.workers_stable, 12);
}

#[test]
fn workers_that_are_busy_to_the_last_moment_do_not_keep_up() {
    // 150 × 80 ms is 12, whatever the floats make of it.
    let plan = planned(&Load::new(150.0, Duration::from_millis(80), 12));
    assert_eq!((plan.now.wait, plan.workers_stable), (None, 13));
}

#[test]
fn the_last_worker_has_nobody_to_stand_in() {
    assert_eq!(planned(&Load::new(0.5, SECOND, 1)).one_less, None);
}

#[test]
fn nothing_that_arrives_is_no_wait() {
    let plan = planned(&Load {
        target_wait: Some(Duration::ZERO),
        ..Load::new(0.0, SECOND, 3)
    });
    let wait = plan.now.wait.expect("they keep up");
    assert_eq!(
        (wait.mean, wait.at_quantile),
        (Duration::ZERO, Duration::ZERO)
    );
    assert_eq!((plan.workers_stable, plan.workers_needed), (1, Some(1)));
}

#[test]
fn ten_thousand_workers_at_their_limit_are_planned() {
    let plan = planned(&Load {
        target_wait: Some(SECOND),
        ..Load::new(9_999.0, SECOND, 10_000)
    });
    let wait = plan.now.wait.expect("they keep up");
    // P(W > t) = C · exp(−(cμ − λ)t), with one to spare: ln(98.76).
    assert!((wait.at_quantile.as_secs_f64() - 4.592_7).abs() < 1e-3);
    let needed = plan.workers_needed.expect("a target");
    assert!((10_001..10_010).contains(&needed), "{needed}");
}

#[test]
fn figures_that_cannot_be_are_refused_with_what_can() {
    let good = Load::new(1.0, SECOND, 2);
    let (arrivals, service) = (f64::from(PLAN_WORKERS_MAX), 2 * SECOND);
    for bad in [
        Load {
            arrivals_per_second: -1.0,
            ..good
        },
        Load {
            arrivals_per_second: f64::NAN,
            ..good
        },
        Load {
            arrivals_per_second: 1e12,
            ..good
        },
        Load {
            service_mean: Duration::ZERO,
            ..good
        },
        Load {
            service_mean: Duration::MAX,
            ..good
        },
        Load {
            arrival_cv2: -0.1,
            ..good
        },
        Load {
            service_cv2: f64::INFINITY,
            ..good
        },
        Load { workers: 0, ..good },
        Load {
            workers: u32::MAX,
            ..good
        },
        Load {
            quantile: 1.0,
            ..good
        },
        Load {
            quantile: 0.0,
            ..good
        },
        Load {
            arrivals_per_second: arrivals,
            service_mean: service,
            ..good
        },
    ] {
        let error = plan(&bad).expect_err("it is refused");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{bad:?}");
        assert!(error.next_step().is_some(), "{bad:?}");
    }
}

fn loads() -> impl Strategy<Value = Load> {
    let varies = (0.0..8.0_f64, 0.0..8.0_f64);
    (
        0.02..1.3_f64,
        1..200_u32,
        varies,
        1..5_000_u64,
        0.0..4.0_f64,
    )
        .prop_map(
            |(utilisation, workers, (arrival_cv2, service_cv2), service_ms, target)| {
                let service = Duration::from_millis(service_ms);
                let arrivals = utilisation * f64::from(workers) / service.as_secs_f64();
                Load {
                    arrival_cv2,
                    service_cv2,
                    backlog: service_ms,
                    target_wait: Some(service.mul_f64(target)),
                    ..Load::new(arrivals, service, workers)
                }
            },
        )
}

fn worse(one: &Plan, other: &Plan) -> bool {
    match (one.now.wait, other.now.wait) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(one), Some(other)) => {
            // To within the rounding of durations.
            let hair = Duration::from_nanos(2);
            one.mean + hair >= other.mean && one.at_quantile + hair >= other.at_quantile
        }
    }
}

proptest! {
    #[test]
    fn more_of_anything_never_shortens_the_wait(load in loads(), more in 1.0..1.5_f64) {
        let before = planned(&load);
        let (mut arrivals, mut gaps, mut services, mut workers) = (load, load, load, load);
        arrivals.arrivals_per_second *= more;
        gaps.arrival_cv2 *= more;
        services.service_cv2 *= more;
        workers.workers += 1;
        for (what, load) in [("arrivals", arrivals), ("gaps", gaps), ("services", services)] {
            prop_assert!(worse(&planned(&load), &before), "{}", what);
        }
        prop_assert!(worse(&before, &planned(&workers)), "workers");
    }

    #[test]
    fn the_workers_needed_are_the_fewest_that_meet_the_target(load in loads()) {
        let needed = planned(&load).workers_needed.expect("a target");
        let with = |workers| planned(&Load { workers, ..load });
        prop_assert_eq!(with(needed).now.meets_target, Some(true));
        prop_assert!(needed >= with(needed).workers_stable);
        if needed > 1 {
            prop_assert_eq!(with(needed - 1).now.meets_target, Some(false));
        }
        prop_assert_eq!(with(needed).workers_needed, Some(needed), "whatever there are");
    }

    #[test]
    fn the_headroom_is_where_the_answer_changes(load in loads()) {
        let plan = planned(&load);
        let at = |arrivals_per_second| planned(&Load { arrivals_per_second, ..load });
        let full = load.arrivals_per_second + plan.headroom_per_second;
        prop_assert!(at(full * 0.999).now.wait.is_some());
        prop_assert!(at(full * 1.001).now.wait.is_none());
        let target = plan.headroom_to_target_per_second.expect("a target");
        let most = load.arrivals_per_second + target;
        prop_assert!(most <= full);
        prop_assert_eq!(at(most * 0.999).now.meets_target, Some(true));
        prop_assert_eq!(at(most * 1.001 + 1e-9).now.meets_target, Some(false));
    }

    #[test]
    fn one_less_is_the_plan_of_one_less(load in loads()) {
        let less = planned(&load).one_less;
        match load.workers - 1 {
            0 => prop_assert_eq!(less, None),
            workers => prop_assert_eq!(less, Some(planned(&Load { workers, ..load }).now)),
        }
    }
}

/// A plan is no further from a queue that is played than this: the mean and the wait of 99 in 100 as
/// parts of what was seen, and the part of all that waits in itself. docs/guide/capacity.md states
/// them, from longer runs.
struct Within {
    mean: f64,
    p99: f64,
    chance: f64,
    /// Of the run: few bursts are long, so that runs of this length differ.
    seed: u64,
}

fn check(gaps: Spread, services: Spread, within: &Within) {
    for (workers, utilisation) in [(1, 0.8), (4, 0.7), (4, 0.85), (16, 0.9), (64, 0.9)] {
        let play = Play {
            workers,
            utilisation,
            gaps,
            services,
        };
        let played = play.run(JOBS, &mut Chance(within.seed));
        let load = Load {
            arrival_cv2: gaps.cv2(),
            service_cv2: services.cv2(),
            ..Load::new(f64::from(workers) * utilisation, SECOND, workers)
        };
        let wait = planned(&load).now.wait.expect("they keep up");
        let off = |told: Duration, seen: f64| told.as_secs_f64() / seen - 1.0;
        let mean = off(wait.mean, played.mean);
        let p99 = off(wait.at_quantile, played.p99);
        let chance = wait.chance - played.waited;
        let told = format!("{play:?}: {played:?}, off by {mean:+.3}, {p99:+.3}, {chance:+.3}");
        assert!(mean.abs() <= within.mean, "mean: {told}");
        assert!(p99.abs() <= within.p99, "p99: {told}");
        assert!(chance.abs() <= within.chance, "chance: {told}");
    }
}

const JOBS: usize = 400_000;

#[test]
fn m_m_c_is_as_played() {
    let within = Within {
        mean: 0.05,
        p99: 0.08,
        chance: 0.01,
        seed: 11,
    };
    check(Spread::Exponential, Spread::Exponential, &within);
}

#[test]
fn constant_service_is_nearly_as_played() {
    let within = Within {
        mean: 0.05,
        p99: 0.15,
        chance: 0.04,
        seed: 11,
    };
    check(Spread::Exponential, Spread::Constant, &within);
}

#[test]
fn lognormal_service_is_nearly_as_played() {
    let within = Within {
        mean: 0.3,
        p99: 0.3,
        chance: 0.03,
        seed: 11,
    };
    check(Spread::Exponential, Spread::Lognormal(4.0), &within);
}

#[test]
fn bursts_are_nearly_as_played() {
    let within = Within {
        mean: 0.27,
        p99: 0.36,
        chance: 0.12,
        seed: 4,
    };
    check(Spread::Bursts(4.0), Spread::Exponential, &within);
}

#[test]
fn even_arrivals_are_nearly_as_played() {
    let within = Within {
        mean: 0.12,
        p99: 0.12,
        chance: 0.06,
        seed: 11,
    };
    check(Spread::Constant, Spread::Exponential, &within);
}
