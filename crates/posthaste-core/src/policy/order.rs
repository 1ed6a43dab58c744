//! The order in which a call meets the strategies of its policy, and why each stands where it does.

use super::settings::{Fault, Jitter, Limit, Settings, Trip, Window};
use crate::duration::print;
use crate::error::{Error, ErrorKind, Result};

/// One strategy of a policy. They are met in the order in which they stand here, the outermost first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Strategy {
    /// The time of the whole call.
    Deadline,
    /// Attempts after the first, under the budget.
    Retry,
    /// An attempt beside one that takes long.
    Hedge,
    /// Not asking who keeps refusing.
    Throttle,
    /// How many a second.
    Rate,
    /// How many at once, and who waits.
    Concurrency,
    /// Not asking who is ill.
    Breaker,
    /// The time of one attempt.
    AttemptTimeout,
    /// Faults to inject.
    Chaos,
}

impl Strategy {
    /// Its name in builders and files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::Retry => "retry",
            Self::Hedge => "hedge",
            Self::Throttle => "throttle",
            Self::Rate => "rate",
            Self::Concurrency => "concurrency",
            Self::Breaker => "breaker",
            Self::AttemptTimeout => "attempt_timeout",
            Self::Chaos => "chaos",
        }
    }

    /// What goes wrong where another strategy is outside of it that belongs inside.
    const fn why_outside(self) -> &'static str {
        match self {
            Self::Deadline => {
                "the time of a call has to cover its pauses and all that it waits for"
            }
            Self::Retry => {
                "what stands around the retries sees one call where the callee sees three, and holds \
                 its place through their pauses"
            }
            Self::Hedge => "the second attempt would take what was asked for once, twice",
            Self::Throttle => "what is not sent at all must not take a turn, a place or a probe",
            Self::Rate => "what has to wait for its turn must not hold a place or a probe",
            Self::Concurrency => "a probe would be held while its call waits for a place",
            Self::Breaker => "the time of an attempt must not run for a call that isn't made",
            Self::AttemptTimeout => "an injected delay has to be cut like a real one",
            Self::Chaos => "nothing goes inside of it",
        }
    }
}

/// Whether strategies that are named from the outermost in stand in an order that makes sense.
///
/// # Errors
/// `Invalid`, naming the two that stand wrongly and what would go wrong.
pub fn check(order: &[Strategy]) -> Result<()> {
    for (at, inner) in order.iter().enumerate() {
        for outer in &order[..at] {
            if outer == inner {
                let said = format!("{} is there twice", inner.name());
                return Err(Error::new(ErrorKind::Invalid, said)
                    .next("leave one out, or put one policy around another"));
            }
            if outer > inner {
                let said = format!(
                    "{} stands outside of {}: {}",
                    outer.name(),
                    inner.name(),
                    inner.why_outside()
                );
                let next = format!(
                    "put {} before {}, or put one policy around another",
                    inner.name(),
                    outer.name()
                );
                return Err(Error::new(ErrorKind::Invalid, said).next(next));
            }
        }
    }
    Ok(())
}

impl Settings {
    /// The strategies that it has, the outermost first.
    #[must_use]
    pub fn order(&self) -> Vec<Strategy> {
        let has = [
            (Strategy::Deadline, self.deadline.is_some()),
            (Strategy::Retry, self.retry.is_some()),
            (Strategy::Hedge, self.hedge.is_some()),
            (Strategy::Throttle, self.throttle.is_some()),
            (Strategy::Rate, self.rate.is_some()),
            (Strategy::Concurrency, self.concurrency.is_some()),
            (Strategy::Breaker, self.breaker.is_some()),
            (Strategy::AttemptTimeout, self.attempt_timeout.is_some()),
            (Strategy::Chaos, !self.chaos.is_empty()),
        ];
        has.into_iter()
            .filter_map(|(strategy, has)| has.then_some(strategy))
            .collect()
    }

    /// What it does, a line for each strategy, the outermost first.
    #[must_use]
    pub fn describe(&self) -> String {
        let order = self.order();
        if order.is_empty() {
            return "nothing: calls are passed on as they are\n".to_owned();
        }
        order
            .into_iter()
            .map(|strategy| format!("{}: {}\n", strategy.name(), self.line(strategy)))
            .collect()
    }

    fn line(&self, strategy: Strategy) -> String {
        match strategy {
            Strategy::Deadline => self
                .deadline
                .map_or_else(String::new, |end| format!("{}, all attempts together", print(end))),
            Strategy::Retry => self.retry_line(),
            Strategy::Hedge => self.hedge.map_or_else(String::new, |set| {
                format!(
                    "a second attempt after the {} quantile of what attempts took, under the same \
                     budget",
                    set.quantile
                )
            }),
            Strategy::Throttle => self.throttle.map_or_else(String::new, |set| {
                format!(
                    "a tier that is refused is sent at most {} calls for each one accepted in {}, and \
                     at least {:.0} % of them",
                    set.ratio,
                    print(set.window),
                    (1.0 - set.most) * 100.0
                )
            }),
            Strategy::Rate => self.rate.map_or_else(String::new, |set| {
                format!("{} each {}, {} at once", set.count, print(set.per), set.burst)
            }),
            Strategy::Concurrency => self.concurrency_line(),
            Strategy::Breaker => self.breaker_line(),
            Strategy::AttemptTimeout => self
                .attempt_timeout
                .map_or_else(String::new, |end| format!("{} for each attempt", print(end))),
            Strategy::Chaos => self.chaos_line(),
        }
    }

    fn retry_line(&self) -> String {
        let Some(set) = self.retry else {
            return String::new();
        };
        let jitter = match set.jitter {
            Jitter::Full => "full",
            Jitter::Equal => "equal",
            Jitter::Decorrelated => "decorrelated",
            Jitter::None => "no",
        };
        let who = if set.force {
            "everything, safe or not"
        } else {
            "what has an idempotency key or is safe"
        };
        format!(
            "{who}, up to {} attempts, pauses from {} doubling to {}, {jitter} jitter; budget: {:.0} % \
             of the calls and {} a second",
            set.attempts,
            print(set.base),
            print(set.max),
            self.budget.ratio * 100.0,
            self.budget.floor_per_second
        )
    }

    fn concurrency_line(&self) -> String {
        let Some(set) = self.concurrency else {
            return String::new();
        };
        let limit = match set.limit {
            Limit::Static(limit) => format!("{limit} at once"),
            Limit::Aimd { min, max, .. } => {
                format!("{min} to {max} at once, fewer after a timeout or a refusal")
            }
            Limit::Gradient { min, max, .. } => {
                format!("{min} to {max} at once, fewer while calls take longer than usual")
            }
        };
        let queue = set.queue;
        if queue.waiting_max == 0 {
            return format!("{limit}; nobody waits");
        }
        format!(
            "{limit}; up to {} wait; shed by criticality once the queue delay was over {} for {}",
            queue.waiting_max,
            print(queue.target),
            print(queue.interval)
        )
    }

    fn breaker_line(&self) -> String {
        let Some(set) = self.breaker else {
            return String::new();
        };
        let trip = match set.trip {
            Trip::Consecutive(failures) => format!("after {failures} failures in a row"),
            Trip::Rate {
                window,
                failures,
                slow,
                calls_min,
            } => {
                let window = match window {
                    Window::Count(calls) => format!("the last {calls} calls"),
                    Window::Time(time) => format!("the calls of the last {}", print(time)),
                };
                let slow = slow.map_or_else(String::new, |(slow, share)| {
                    format!(", or {:.0} % take over {}", share * 100.0, print(slow))
                });
                format!(
                    "where {:.0} % of {window} fail{slow}, of at least {calls_min}",
                    failures * 100.0
                )
            }
        };
        format!(
            "opens {trip}; for {}, then {} probes, then more and more over {}",
            print(set.open_for),
            set.probes,
            print(set.ramp)
        )
    }

    fn chaos_line(&self) -> String {
        let rules = self.chaos.iter().map(|rule| {
            let fault = match rule.fault {
                Fault::Delay(delay) => format!("a delay of {}", print(delay)),
                Fault::Error => "an error".to_owned(),
                Fault::Abort => "a lost answer".to_owned(),
            };
            let whom = rule
                .tag
                .as_deref()
                .map_or_else(String::new, |tag| format!(" tagged {tag}"));
            format!(
                "{fault} in {:.1} % of the attempts{whom}",
                rule.rate * 100.0
            )
        });
        rules.collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::settings::{Breaker, Concurrency, Retry};
    use std::time::Duration;

    #[test]
    fn a_breaker_around_the_retries_is_refused_with_the_reason() {
        use Strategy::{AttemptTimeout, Breaker, Deadline, Retry};
        assert_eq!(check(&[Deadline, Retry, Breaker, AttemptTimeout]), Ok(()));
        assert_eq!(check(&[]), Ok(()));
        let error = check(&[Deadline, Breaker, Retry]).expect_err("a breaker outside");
        let said = error.to_string();
        assert!(
            said.starts_with("breaker stands outside of retry: what stands around the retries"),
            "{said}"
        );
        assert!(said.contains("put retry before breaker"), "{said}");
        let error = check(&[Retry, Retry]).expect_err("twice");
        assert!(error.to_string().contains("there twice"), "{error}");
    }

    #[test]
    fn a_policy_describes_itself_in_the_order_in_which_a_call_meets_it() {
        let settings = Settings {
            deadline: Some(Duration::from_secs(2)),
            retry: Some(Retry::default()),
            concurrency: Some(Concurrency::default()),
            breaker: Some(Breaker::default()),
            attempt_timeout: Some(Duration::from_millis(300)),
            ..Settings::default()
        };
        let said = settings.describe();
        let names: Vec<_> = said
            .lines()
            .filter_map(|line| line.split(':').next())
            .collect();
        assert_eq!(
            names,
            [
                "deadline",
                "retry",
                "concurrency",
                "breaker",
                "attempt_timeout"
            ]
        );
        assert!(
            said.contains("up to 3 attempts, pauses from 50ms doubling to 2s"),
            "{said}"
        );
        assert!(Settings::default().describe().starts_with("nothing"));
    }
}
