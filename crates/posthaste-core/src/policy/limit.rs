//! How many may run at once: a fixed number, one that falls when calls are lost (AIMD), or one that
//! follows how long calls take (gradient).
//!
//! The gradient compares the geometric mean of a window of durations with what is usual without
//! load. The geometric mean follows a queue, which delays every call, and is hardly moved by a few
//! slow calls. (After "Gradient2" of Netflix's concurrency-limits and TCP Vegas: Brakmo and Peterson,
//! "TCP Vegas", 1995.) What differs from those:
//!
//! - A call that timed out is a loss and never a duration, so that constant timeouts cannot look like
//!   a constant, healthy duration.
//! - The limit grows only while it is used and durations are well, by its square root at most.
//! - What is usual is never learned from a loaded window. When the limit is reached for the first
//!   time, a few places are in force for a moment, so that a server much smaller than the initial
//!   limit is seen without load. After that it falls where shorter times are seen. It
//!   rises in two ways: the limit *dips* for a moment when it has been under pressure for long, or it
//!   has *halved* and durations did not follow, so that they do not come from too many calls at once.
//!
//! This room refuses to count calls: who is in flight is known to the gate.

mod gradient;
#[cfg(test)]
mod tests;

use super::settings::Limit;
use super::verdict::{Ended, Verdict};
use crate::time::MonoNs;
use gradient::Gradient;

/// For how long a limit is believed without evidence, when nothing runs.
const STALE_NS: u64 = 30_000_000_000;

/// How many may run at once. See the module.
#[derive(Clone, Debug)]
pub struct Limiter {
    rule: Rule,
    bounds: Bounds,
    limit: f64,
    /// When the limit was last shown to be needed or to be too high.
    evidence: MonoNs,
}

#[derive(Clone, Debug)]
enum Rule {
    Static,
    Aimd { decrease: f64, fell: MonoNs },
    Gradient(Gradient),
}

/// Between what the limit stays.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    initial: f64,
    min: f64,
    max: f64,
}

impl Bounds {
    fn new(initial: u32, min: u32, max: u32) -> Self {
        let min = min.max(1);
        let max = max.max(min);
        Self {
            initial: f64::from(initial.clamp(min, max)),
            min: f64::from(min),
            max: f64::from(max),
        }
    }

    fn keep(&self, limit: f64) -> f64 {
        limit.clamp(self.min, self.max)
    }
}

/// What an attempt says to a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    /// It took so long, as it should.
    Took,
    /// It was lost: too much was asked.
    Lost,
    /// Nothing.
    Nothing,
}

/// A refusal and an unknown end are losses. An error that comes quickly is neither: its time is not
/// the time of the work.
const fn says(ended: Ended) -> Says {
    match ended {
        Ended::With(Verdict::Ok) => Says::Took,
        Ended::With(Verdict::Throttled(_) | Verdict::Unknown) | Ended::TimedOut => Says::Lost,
        Ended::With(Verdict::Retry | Verdict::Fatal) | Ended::Dropped => Says::Nothing,
    }
}

/// A limit is used when nine tenths of its places were taken.
fn used(in_flight: u32, limit: f64) -> bool {
    f64::from(in_flight) >= (limit * 0.9).floor()
}

impl Limiter {
    /// At its initial limit.
    #[must_use]
    pub fn new(settings: &Limit, now: MonoNs) -> Self {
        let (rule, bounds) = Self::made_of(settings, now);
        Self {
            rule,
            bounds,
            limit: bounds.initial,
            evidence: now,
        }
    }

    fn made_of(settings: &Limit, now: MonoNs) -> (Rule, Bounds) {
        match *settings {
            Limit::Static(limit) => (Rule::Static, Bounds::new(limit, limit, limit)),
            Limit::Aimd {
                initial,
                min,
                max,
                decrease,
            } => (
                Rule::Aimd {
                    decrease: decrease.clamp(0.1, 0.99),
                    fell: now,
                },
                Bounds::new(initial, min, max),
            ),
            Limit::Gradient {
                initial,
                min,
                max,
                tolerance,
            } => (
                Rule::Gradient(Gradient::new(tolerance.max(1.05), now)),
                Bounds::new(initial, min, max),
            ),
        }
    }

    /// How many may run now. At least 1.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a limit lies between 1 and what a u32 holds"
    )]
    #[inline]
    pub fn limit(&self) -> u32 {
        let limit = match &self.rule {
            Rule::Gradient(gradient) => self.bounds.keep(gradient.in_force(self.limit)),
            _ => self.limit,
        };
        limit as u32
    }

    /// How many may run at once where the highest tier is among them: a look at what is usual holds
    /// back the others only.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the bounds are 32 bits"
    )]
    pub(super) fn limit_of_highest(&self) -> u32 {
        let limit = match &self.rule {
            Rule::Gradient(gradient) if gradient.is_looking_first() => return self.limit(),
            _ => self.limit,
        };
        limit as u32
    }

    /// An attempt ended that took `took_ns`; `in_flight_at_start` ran when it started, itself
    /// included.
    pub fn sample(&mut self, now: MonoNs, took_ns: u64, in_flight_at_start: u32, ended: Ended) {
        let says = says(ended);
        // What is fixed learns nothing.
        if says == Says::Nothing || matches!(self.rule, Rule::Static) {
            return;
        }
        let used = used(in_flight_at_start, f64::from(self.limit()));
        if used || says == Says::Lost {
            self.evidence = now;
        }
        let limit = self.limit;
        let next = match &mut self.rule {
            Rule::Static => return,
            Rule::Aimd { decrease, fell } => match says {
                // What started before the last fall was lost to the same overload.
                Says::Lost if now.since(*fell) >= took_ns => {
                    *fell = now;
                    limit * *decrease
                }
                Says::Took if used => limit + 1.0 / limit,
                _ => return,
            },
            Rule::Gradient(gradient) => {
                let seen = gradient::Seen {
                    took_ns,
                    lost: says == Says::Lost,
                    in_flight: in_flight_at_start,
                    used,
                };
                match gradient.sample(now, seen, limit, self.bounds.min) {
                    Some(next) => next,
                    None => return,
                }
            }
        };
        self.limit = self.bounds.keep(next);
    }

    /// To be called when a call comes and nothing runs. A limit that nothing has confirmed for half a
    /// minute goes back towards the initial one: a low one at once, a high one by half.
    #[inline]
    pub fn woken(&mut self, now: MonoNs) {
        if now.since(self.evidence) < STALE_NS {
            return;
        }
        self.evidence = now;
        let initial = self.bounds.initial;
        self.limit = self.bounds.keep((self.limit / 2.0).max(initial));
    }

    /// Other settings. The limit and what was learned stay, as far as they fit.
    pub fn reload(&mut self, settings: &Limit, now: MonoNs) {
        let (rule, bounds) = Self::made_of(settings, now);
        self.bounds = bounds;
        self.limit = bounds.keep(self.limit);
        match (&mut self.rule, rule) {
            (Rule::Gradient(mine), Rule::Gradient(new)) => mine.tolerate(&new),
            (mine, new) => *mine = new,
        }
    }
}
