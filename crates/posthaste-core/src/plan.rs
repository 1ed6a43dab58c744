//! Capacity: how long jobs wait, how many workers they need, and how much more there may be.
//!
//! A queue is planned as one line before `workers` that are all alike, first in, first out, for ever:
//! `wait` says by which formulas, and `tests/it/plan` measures how far they are off. A plan is
//! arithmetic over figures that were measured or guessed. It measures nothing, it knows nothing of
//! priorities, retries or the shape of the day, and it refuses figures that can't be.
//!
//! ```
//! use std::time::Duration;
//! use posthaste_core::plan::{Load, plan};
//!
//! let load = Load {
//!     target_wait: Some(Duration::from_millis(100)),
//!     ..Load::new(120.0, Duration::from_millis(80), 12)
//! };
//! let plan = plan(&load)?;
//! assert!((plan.now.utilisation - 0.8).abs() < 1e-9);
//! assert_eq!(plan.workers_needed, Some(13));
//! # Ok::<(), posthaste_core::Error>(())
//! ```

mod erlang;
mod wait;

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::limits::PLAN_WORKERS_MAX;
use crate::view::{Pace, QueueView};
use erlang::Erlang;
use wait::{Variability, Waits};

/// What is asked of a queue, and what it has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Jobs that become ready each second.
    pub arrivals_per_second: f64,
    /// How bursty they are: the squared coefficient of variation of the time between two, or the
    /// index of dispersion of their counts. 1 is at random, 0 is by the metronome.
    pub arrival_cv2: f64,
    /// How long a worker is busy with one, on average.
    pub service_mean: Duration,
    /// How much that varies: its squared coefficient of variation. 1 is exponential, 0 is constant.
    pub service_cv2: f64,
    /// How many jobs run at once.
    pub workers: u32,
    /// Jobs that are ready and wait already.
    pub backlog: u64,
    /// How long a job may wait, at [`Load::quantile`] of all.
    pub target_wait: Option<Duration>,
    /// Which part of all jobs the wait is told for.
    pub quantile: f64,
}

impl Load {
    /// Random arrivals, exponential service, no backlog, no target, and the wait of 99 in 100.
    #[must_use]
    pub const fn new(arrivals_per_second: f64, service_mean: Duration, workers: u32) -> Self {
        Self {
            arrivals_per_second,
            arrival_cv2: 1.0,
            service_mean,
            service_cv2: 1.0,
            workers,
            backlog: 0,
            target_wait: None,
            quantile: 0.99,
        }
    }

    /// The load of a queue as it was measured: what is not known yet is as in [`Load::new`].
    /// `None` where nothing arrived or nothing was worked on so far.
    ///
    /// Its workers are what the queue may run at once, or where nothing limits that the most that
    /// it ran at once lately: fewer than there are, where some had nothing to do.
    #[must_use]
    pub fn measured(queue: &QueueView) -> Option<Self> {
        let pace = queue.pace.as_ref()?;
        let service_mean = pace.service_mean.filter(|mean| !mean.is_zero())?;
        let new = Self::new(pace.arrivals_per_second, service_mean, workers(queue, pace));
        Some(Self {
            arrival_cv2: pace.arrival_cv2.unwrap_or(new.arrival_cv2),
            service_cv2: pace.service_cv2.unwrap_or(new.service_cv2),
            backlog: queue.held[crate::JobState::Available as usize],
            ..new
        })
    }

    /// Jobs that arrive during one service: the least number of workers that is busy.
    fn offered(&self) -> f64 {
        self.arrivals_per_second * self.service_mean.as_secs_f64()
    }

    /// Jobs that so many workers finish each second.
    fn capacity(&self, workers: u32) -> f64 {
        f64::from(workers) / self.service_mean.as_secs_f64()
    }

    fn waits(&self, erlang: &Erlang) -> Option<Waits> {
        let varies = Variability {
            arrivals: self.arrival_cv2,
            service: self.service_cv2,
        };
        Waits::of(erlang, self.service_mean.as_secs_f64(), varies)
    }

    /// Whether the wait on these workers is no longer than `target`.
    fn meets(&self, erlang: &Erlang, target: Duration) -> bool {
        let waits = self.waits(erlang);
        waits.is_some_and(|waits| waits.quantile(self.quantile) <= target.as_secs_f64())
    }

    fn check(&self) -> Result<()> {
        let positive = |value: f64| value.is_finite() && value >= 0.0;
        if !positive(self.arrivals_per_second) || self.arrivals_per_second > ARRIVALS_MAX {
            return Err(no("arrivals", "between 0 and a billion a second"));
        }
        if self.service_mean.is_zero() || self.service_mean > SERVICE_MAX {
            return Err(no("the service time", "more than 0, and at most 365 days"));
        }
        if !positive(self.arrival_cv2) || !positive(self.service_cv2) {
            return Err(no("a variability", "0 or more; 1 where it is not known"));
        }
        if self.workers == 0 || self.workers > PLAN_WORKERS_MAX {
            let range = format!("between 1 and {PLAN_WORKERS_MAX}");
            return Err(no("workers", &range));
        }
        if !(self.quantile > 0.0 && self.quantile < 1.0) {
            return Err(no("the quantile", "between 0 and 1, as 0.99"));
        }
        if stable(self.offered()) > PLAN_WORKERS_MAX {
            let message = format!(
                "{:.0} workers would be busy all the time, and a plan goes to {PLAN_WORKERS_MAX}",
                self.offered()
            );
            let next = "look at the units of arrivals and service, or plan for parts of it";
            return Err(Error::new(ErrorKind::Invalid, message).next(next));
        }
        Ok(())
    }
}

const ARRIVALS_MAX: f64 = 1e9;
const SERVICE_MAX: Duration = Duration::from_secs(365 * 86_400);

fn no(what: &str, range: &str) -> Error {
    let message = format!("{what} can't be planned with");
    Error::new(ErrorKind::Invalid, message).next(format!("give {range}"))
}

fn workers(queue: &QueueView, pace: &Pace) -> u32 {
    let most = u32::try_from(pace.running_most).unwrap_or(u32::MAX).max(1);
    let workers = match queue.concurrency {
        0 => most,
        limit => limit,
    };
    workers.min(PLAN_WORKERS_MAX)
}

/// What a number of workers makes of a load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outlook {
    /// How many workers.
    pub workers: u32,
    /// The part of their time that they are busy; 1 or more where they can't keep up.
    pub utilisation: f64,
    /// By how many jobs the backlog grows each second; 0 where they keep up.
    pub growth_per_second: f64,
    /// How long jobs wait once the backlog is gone; `None` where they can't keep up.
    pub wait: Option<Wait>,
    /// How long until the backlog is gone; `None` where it never is.
    pub drain: Option<Duration>,
    /// Whether the target is met, once the backlog is gone; `None` where there is none.
    pub meets_target: Option<bool>,
}

/// How long jobs wait for a worker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wait {
    /// The part of all jobs that waits at all.
    pub chance: f64,
    /// The mean of all jobs, those that don't wait included.
    pub mean: Duration,
    /// What [`Load::quantile`] of all jobs don't exceed.
    pub at_quantile: Duration,
}

/// What comes of a load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// With the workers that there are.
    pub now: Outlook,
    /// With one worker less; `None` where there is only one.
    pub one_less: Option<Outlook>,
    /// The fewest workers that keep up.
    pub workers_stable: u32,
    /// The fewest workers that meet the target; `None` where there is none.
    pub workers_needed: Option<u32>,
    /// How many more jobs a second until the workers can't keep up; less than 0 where they can't now.
    pub headroom_per_second: f64,
    /// How many more jobs a second until the target is missed; less than 0 where it is missed now.
    /// `None` where there is no target.
    pub headroom_to_target_per_second: Option<f64>,
}

/// What comes of this load.
///
/// # Errors
/// `Invalid` for figures that can't be, and where more than
/// [`PLAN_WORKERS_MAX`] workers would be needed.
pub fn plan(load: &Load) -> Result<Plan> {
    load.check()?;
    let offered = load.offered();
    let mut erlang = Erlang::with(offered, load.workers - 1);
    let one_less = (load.workers > 1).then(|| outlook(load, &erlang));
    erlang.add();
    let needed = |target| needed(load, target);
    Ok(Plan {
        now: outlook(load, &erlang),
        one_less,
        workers_stable: stable(offered),
        workers_needed: load.target_wait.map(needed).transpose()?,
        headroom_per_second: load.capacity(load.workers) - load.arrivals_per_second,
        headroom_to_target_per_second: load
            .target_wait
            .map(|target| most_arrivals(load, target) - load.arrivals_per_second),
    })
}

fn outlook(load: &Load, erlang: &Erlang) -> Outlook {
    let spare = load.capacity(erlang.workers()) - load.arrivals_per_second;
    let utilisation = erlang.utilisation();
    let keeps_up = erlang.keeps_up();
    #[expect(
        clippy::cast_precision_loss,
        reason = "no backlog is counted to the last job"
    )]
    let backlog = load.backlog as f64;
    Outlook {
        workers: erlang.workers(),
        utilisation,
        growth_per_second: if keeps_up { 0.0 } else { -spare },
        wait: load.waits(erlang).map(|waits| Wait {
            chance: waits.chance,
            mean: seconds(waits.mean),
            at_quantile: seconds(waits.quantile(load.quantile)),
        }),
        drain: keeps_up.then(|| seconds(backlog / spare)),
        meets_target: load.target_wait.map(|target| load.meets(erlang, target)),
    }
}

/// The fewest workers of less than full utilisation.
#[expect(clippy::cast_possible_truncation, reason = "at most PLAN_WORKERS_MAX")]
#[expect(clippy::cast_sign_loss, reason = "never below 0")]
fn stable(offered: f64) -> u32 {
    (offered / erlang::KEEPS_UP) as u32 + 1
}

/// The wait only falls with more workers, so that the fewest are found by halving.
fn needed(load: &Load, target: Duration) -> Result<u32> {
    let meets = |workers| load.meets(&Erlang::with(load.offered(), workers), target);
    if !meets(PLAN_WORKERS_MAX) {
        let message = format!("not even {PLAN_WORKERS_MAX} workers meet the target");
        return Err(Error::new(ErrorKind::Invalid, message).next("allow a longer wait"));
    }
    let (mut fewest, mut enough) = (stable(load.offered()), PLAN_WORKERS_MAX);
    while fewest < enough {
        let middle = fewest.midpoint(enough);
        if meets(middle) {
            enough = middle;
        } else {
            fewest = middle + 1;
        }
    }
    Ok(enough)
}

/// The most arrivals with which the workers that there are meet the target.
fn most_arrivals(load: &Load, target: Duration) -> f64 {
    /// Halvings: more than the digits of a float.
    const STEPS: u32 = 60;
    let (mut met, mut missed) = (0.0, load.capacity(load.workers));
    for _ in 0..STEPS {
        let middle = (met + missed) / 2.0;
        let tried = Load {
            arrivals_per_second: middle,
            ..*load
        };
        let erlang = Erlang::with(tried.offered(), load.workers);
        if tried.meets(&erlang, target) {
            met = middle;
        } else {
            missed = middle;
        }
    }
    met
}

/// Longer than can be told is the longest that can be.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}
