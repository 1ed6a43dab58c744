//! Why a call was not made, and why it was not made again: the explanation that people read in the
//! error, the span and the metrics.

use std::fmt;
use std::time::Duration;

use super::criticality::Criticality;
use crate::duration;

/// Why an attempt was not started. Shown as "shed: batch, queue delay 38 ms > 5 ms".
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Refusal {
    /// No time was left before it started.
    Deadline {
        /// How long ago the time ran out.
        past: Duration,
    },
    /// More came than the rate allows.
    Rate {
        /// When the next one may come.
        retry_after: Duration,
    },
    /// The callee has been refusing this tier, and is not asked again so often.
    Throttled {
        /// The tier of the call.
        tier: Criticality,
        /// With which probability it is refused here now, in thousandths.
        per_mille: u16,
    },
    /// The circuit breaker is open.
    Open {
        /// How long it stays so.
        retry_after: Duration,
        /// What opened it.
        why: Tripped,
    },
    /// The circuit breaker is half-open, and its probes are under way.
    Probing {
        /// How many probes are out.
        out: u32,
    },
    /// The circuit breaker is closing, and lets through only a part.
    Ramping {
        /// How much it lets through now, in thousandths.
        per_mille: u16,
    },
    /// Somebody opened the circuit breaker by hand.
    Isolated,
    /// As many run as may, and nobody waits here.
    Full {
        /// How many may run.
        limit: u32,
    },
    /// As many wait as may.
    QueueFull {
        /// The tier of the call.
        tier: Criticality,
        /// How many may wait.
        waiting_max: u32,
    },
    /// Those who waited, waited too long.
    QueueDelay {
        /// The tier of the call.
        tier: Criticality,
        /// How long the queue's oldest had waited, or this one, where it did wait.
        delay: Duration,
        /// How long is well.
        target: Duration,
    },
    /// It waited, and somebody of a higher tier took its place.
    Displaced {
        /// The tier of the call.
        tier: Criticality,
    },
    /// One caller has more than its share of the queue.
    Unfair {
        /// How many of its calls wait.
        waiting: u32,
        /// How many may.
        share: u32,
    },
    /// A fault was injected.
    Chaos {
        /// The rule's place in the policy, from 0.
        rule: u16,
    },
    /// A degraded mode has switched it off.
    Degraded {
        /// The level of the mode.
        level: u8,
    },
}

/// What opened a circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Tripped {
    /// Too many of the calls in its window failed.
    Failures {
        /// How many failed.
        failed: u32,
        /// Of how many.
        of: u32,
    },
    /// Too many of the calls in its window were slow.
    Slow {
        /// How many were slow.
        slow: u32,
        /// Of how many.
        of: u32,
    },
    /// So many failed in a row.
    Consecutive {
        /// How many.
        failed: u32,
    },
    /// A probe failed.
    Probe,
}

impl Refusal {
    /// Stable word for metrics and scripts.
    #[must_use]
    pub const fn slug(&self) -> &'static str {
        Self::SLUGS[self.index()]
    }

    /// The place of its [`slug`](Self::slug) in [`SLUGS`](Self::SLUGS).
    #[must_use]
    pub const fn index(&self) -> usize {
        match self {
            Self::Deadline { .. } => 0,
            Self::Rate { .. } => 1,
            Self::Throttled { .. } => 2,
            Self::Open { .. } => 3,
            Self::Probing { .. } => 4,
            Self::Ramping { .. } => 5,
            Self::Isolated => 6,
            Self::Full { .. } => 7,
            Self::QueueFull { .. } => 8,
            Self::QueueDelay { .. } => 9,
            Self::Displaced { .. } => 10,
            Self::Unfair { .. } => 11,
            Self::Chaos { .. } => 12,
            Self::Degraded { .. } => 13,
        }
    }

    /// Every [`slug`](Self::slug).
    pub const SLUGS: [&'static str; 14] = [
        "deadline",
        "rate",
        "throttled",
        "open",
        "probing",
        "ramping",
        "isolated",
        "full",
        "queue-full",
        "queue-delay",
        "displaced",
        "unfair",
        "chaos",
        "degraded",
    ];

    /// When it is worth asking again, where that is known.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Rate { retry_after } | Self::Open { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }
}

/// A duration in milliseconds, with a fraction where it is short.
struct Ms(Duration);

impl fmt::Display for Ms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_secs_f64() * 1e3;
        if ms < 10.0 && !self.0.subsec_micros().is_multiple_of(1_000) {
            write!(f, "{ms:.1} ms")
        } else {
            write!(f, "{ms:.0} ms")
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Deadline { past } => {
                write!(f, "not started: its deadline passed {} ago", Ms(past))
            }
            Self::Rate { retry_after } => {
                write!(f, "rate limited: the next may come in {}", Ms(retry_after))
            }
            Self::Throttled { tier, per_mille } => write!(
                f,
                "throttled: {tier}, the callee refuses; {:.1} % are not sent",
                f64::from(per_mille) / 10.0
            ),
            Self::Open { retry_after, why } => {
                write!(f, "breaker open for {}: {why}", Ms(retry_after))
            }
            Self::Probing { out } => write!(f, "breaker half-open: {out} probes are under way"),
            Self::Ramping { per_mille } => write!(
                f,
                "breaker closing: {:.1} % are let through",
                f64::from(per_mille) / 10.0
            ),
            Self::Isolated => f.write_str("breaker isolated by hand"),
            Self::Full { limit } => write!(f, "shed: all {limit} places are taken"),
            Self::QueueFull { tier, waiting_max } => {
                write!(f, "shed: {tier}, {waiting_max} wait already")
            }
            Self::QueueDelay {
                tier,
                delay,
                target,
            } => write!(
                f,
                "shed: {tier}, queue delay {} > {}",
                Ms(delay),
                Ms(target)
            ),
            Self::Displaced { tier } => {
                write!(f, "shed: {tier}, a higher tier took its place in the queue")
            }
            Self::Unfair { waiting, share } => write!(
                f,
                "shed: {waiting} calls of this caller wait, its share is {share}"
            ),
            Self::Chaos { rule } => write!(f, "fault injected by rule {rule}"),
            Self::Degraded { level } => write!(f, "switched off at degraded level {level}"),
        }
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Tripped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failures { failed, of } => write!(f, "{failed} of {of} calls failed"),
            Self::Slow { slow, of } => write!(f, "{slow} of {of} calls were slow"),
            Self::Consecutive { failed } => write!(f, "{failed} calls failed in a row"),
            Self::Probe => f.write_str("a probe failed"),
        }
    }
}

/// Why a call that failed was not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// The policy does not retry.
    NoRetry,
    /// It would fail again.
    Fatal,
    /// All attempts were made.
    Attempts {
        /// How many.
        made: u32,
    },
    /// The retry budget is exhausted: too many calls are being repeated already.
    Budget,
    /// The next attempt could not start before the deadline.
    Deadline,
    /// It has neither an idempotency key nor a safe method.
    NotIdempotent,
    /// The callee asked for a longer pause than the policy allows.
    RetryAfter {
        /// How long it asked for.
        asked: Duration,
    },
    /// The next attempt was refused by the policy itself.
    Refused,
}

impl Stop {
    /// Stable word for metrics and scripts.
    #[must_use]
    pub const fn slug(&self) -> &'static str {
        Self::SLUGS[self.index()]
    }

    /// The place of its [`slug`](Self::slug) in [`SLUGS`](Self::SLUGS).
    #[must_use]
    pub const fn index(&self) -> usize {
        match self {
            Self::NoRetry => 0,
            Self::Fatal => 1,
            Self::Attempts { .. } => 2,
            Self::Budget => 3,
            Self::Deadline => 4,
            Self::NotIdempotent => 5,
            Self::RetryAfter { .. } => 6,
            Self::Refused => 7,
        }
    }

    /// Every [`slug`](Self::slug).
    pub const SLUGS: [&'static str; 8] = [
        "no-retry",
        "fatal",
        "attempts",
        "budget",
        "deadline",
        "not-idempotent",
        "retry-after",
        "refused",
    ];
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRetry => f.write_str("the policy does not retry"),
            Self::Fatal => f.write_str("it would fail again"),
            Self::Attempts { made: 1 } => f.write_str("the one attempt was made"),
            Self::Attempts { made } => write!(f, "all {made} attempts were made"),
            Self::Budget => f.write_str("the retry budget is exhausted"),
            Self::Deadline => f.write_str("no time is left for another attempt"),
            Self::NotIdempotent => {
                f.write_str("it has no idempotency key, so that repeating it is not safe")
            }
            Self::RetryAfter { asked } => write!(
                f,
                "the callee asked for a pause of {}",
                duration::print(*asked)
            ),
            Self::Refused => f.write_str("the next attempt was refused"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_was_decided_by_which_figures() {
        let check = |refusal: Refusal, said: &str| assert_eq!(refusal.to_string(), said);
        check(
            Refusal::QueueDelay {
                tier: Criticality::Batch,
                delay: Duration::from_millis(38),
                target: Duration::from_millis(5),
            },
            "shed: batch, queue delay 38 ms > 5 ms",
        );
        check(
            Refusal::Open {
                retry_after: Duration::from_millis(4_900),
                why: Tripped::Failures { failed: 12, of: 20 },
            },
            "breaker open for 4900 ms: 12 of 20 calls failed",
        );
        check(
            Refusal::Throttled {
                tier: Criticality::BestEffort,
                per_mille: 905,
            },
            "throttled: best-effort, the callee refuses; 90.5 % are not sent",
        );
        check(
            Refusal::Rate {
                retry_after: Duration::from_micros(1_500),
            },
            "rate limited: the next may come in 1.5 ms",
        );
    }
}
