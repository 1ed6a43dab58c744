//! Every scenario at every load with every seed, on as many threads as there are processors, and the
//! middle of what came of it.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use posthaste_core::{Error, ErrorKind, Result};
use posthaste_sim::{Moment, Outcome, Scenario, TriggerKind};

/// What came of everything.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// By load, without triggers.
    pub(super) sweep: Vec<Series>,
    /// With triggers.
    pub(super) recoveries: Vec<Series>,
}

/// What came of one scenario.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) name: String,
    /// What went wrong: what, by how much, from when, for how long.
    pub(super) triggers: Vec<(TriggerKind, f64, Duration, Duration)>,
    /// One for each load.
    pub(super) points: Vec<Point>,
}

/// What came of one scenario at one load: the middle of the seeds.
#[derive(Debug)]
pub(super) struct Point {
    pub(super) load: f64,
    pub(super) goodput: f64,
    pub(super) p50: Option<Duration>,
    pub(super) p99: Option<Duration>,
    pub(super) call_p99: Option<Duration>,
    pub(super) amplification: f64,
    pub(super) shed: f64,
    /// Success by tier, the highest first.
    pub(super) tiers: [f64; 4],
    /// Success before and while something was wrong.
    pub(super) before_and_during: Option<(f64, f64)>,
    /// The slowest recovery of all seeds; `None` where one never did.
    pub(super) recovered: Option<Duration>,
    /// Of the first seed.
    pub(super) moments: Vec<Moment>,
}

/// Plays everything.
///
/// # Errors
/// `Invalid` where a scenario cannot be simulated.
pub(super) fn all(
    scenarios: &[Scenario],
    loads: &[f64],
    seeds: &Range<u64>,
) -> Result<Vec<Series>> {
    let tasks: Vec<(usize, f64, u64)> = (0..scenarios.len())
        .flat_map(|scenario| loads.iter().map(move |load| (scenario, *load)))
        .flat_map(|(scenario, load)| seeds.clone().map(move |seed| (scenario, load, seed)))
        .collect();
    let mut outcomes = at_once(tasks.len(), &|task| {
        let (scenario, load, seed) = tasks[task];
        posthaste_sim::run(&scenarios[scenario], load, seed)
    })?
    .into_iter();
    let mut series = Vec::new();
    for scenario in scenarios {
        let mut points = Vec::new();
        for load in loads {
            let of_seeds: Vec<Outcome> = seeds.clone().map_while(|_| outcomes.next()).collect();
            points.push(Point::of(*load, of_seeds));
        }
        let triggers = scenario.triggers.iter();
        series.push(Series {
            name: scenario.name.clone(),
            triggers: triggers
                .map(|it| (it.kind, it.factor, it.at, it.lasts))
                .collect(),
            points,
        });
    }
    Ok(series)
}

/// Does all tasks, several at once, and gives what came of them in their order.
fn at_once(count: usize, task: &(dyn Fn(usize) -> Result<Outcome> + Sync)) -> Result<Vec<Outcome>> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<Option<Result<Outcome>>>> = Mutex::new((0..count).map(|_| None).collect());
    let broken = || Error::new(ErrorKind::Io, "a simulation broke off");
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(count) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= count {
                        return;
                    }
                    let outcome = task(at);
                    if let Ok(mut done) = done.lock() {
                        done[at] = Some(outcome);
                    }
                }
            });
        }
    });
    let done = done.into_inner().map_err(|_| broken())?;
    done.into_iter()
        .map(|outcome| outcome.unwrap_or_else(|| Err(broken())))
        .collect()
}

impl Point {
    fn of(load: f64, mut of_seeds: Vec<Outcome>) -> Self {
        let all = |of: &dyn Fn(&Outcome) -> f64| of_seeds.iter().map(of).collect::<Vec<_>>();
        let time = |of: &dyn Fn(&Outcome) -> Option<Duration>| {
            let mut times: Vec<_> = of_seeds.iter().filter_map(of).collect();
            times.sort();
            times.get(times.len() / 2).copied()
        };
        let recovery = |of: fn(&posthaste_sim::Recovery) -> f64| {
            let all = of_seeds
                .iter()
                .filter_map(|outcome| outcome.recovery.as_ref());
            middle(all.map(of).collect())
        };
        let before_and_during = of_seeds
            .iter()
            .all(|outcome| outcome.recovery.is_some())
            .then(|| (recovery(|it| it.before), recovery(|it| it.during)));
        let recovered = of_seeds.iter().map(|outcome| outcome.recovery?.after);
        let recovered = recovered.collect::<Option<Vec<_>>>();
        Self {
            load,
            goodput: middle(all(&|outcome| outcome.goodput)),
            p50: time(&|outcome| outcome.p50),
            p99: time(&|outcome| outcome.p99),
            call_p99: time(&|outcome| outcome.call_p99),
            amplification: middle(all(&|outcome| outcome.amplification)),
            shed: middle(all(&|outcome| outcome.shed)),
            tiers: [0, 1, 2, 3].map(|tier| middle(all(&|outcome| outcome.tiers[tier].success))),
            before_and_during,
            recovered: recovered.and_then(|all| all.into_iter().max()),
            moments: match of_seeds.as_mut_slice() {
                [first, ..] => std::mem::take(&mut first.moments),
                [] => Vec::new(),
            },
        }
    }
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
