//! Settings that make no sense are refused before anything runs under them, with the reason and the
//! way out.

use std::time::Duration;

use super::settings::{
    Breaker, Budget, ChaosRule, Concurrency, Hedge, Limit, Queue, Rate, Retry, Settings, Throttle,
    Trip, Window,
};
use crate::duration;
use crate::error::{Error, ErrorKind, Result};

/// Longest duration of any setting.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);
/// Most places and most who wait.
const PLACES_MAX: u32 = 1_000_000;
/// Most rules of chaos.
const RULES_MAX: usize = 64;

impl Settings {
    /// Whether they make sense.
    ///
    /// # Errors
    /// `Invalid`, with what contradicts what and the way out.
    pub fn check(&self) -> Result<()> {
        if let Some(deadline) = self.deadline {
            length("deadline", deadline)?;
        }
        if let Some(timeout) = self.attempt_timeout {
            length("attempt_timeout", timeout)?;
        }
        self.retry.as_ref().map_or(Ok(()), retry)?;
        budget(&self.budget)?;
        self.hedge.as_ref().map_or(Ok(()), hedge)?;
        self.throttle.as_ref().map_or(Ok(()), throttle)?;
        self.rate.as_ref().map_or(Ok(()), rate)?;
        self.concurrency.as_ref().map_or(Ok(()), concurrency)?;
        self.breaker.as_ref().map_or(Ok(()), breaker)?;
        chaos(&self.chaos)?;
        self.together()
    }

    /// Whether the strategies go with one another.
    fn together(&self) -> Result<()> {
        if let (Some(deadline), Some(timeout)) = (self.deadline, self.attempt_timeout)
            && timeout >= deadline
        {
            return refused(
                format!(
                    "an attempt timeout of {} never fires under a deadline of {}",
                    duration::print(timeout),
                    duration::print(deadline)
                ),
                "make the attempt's shorter, or leave it out",
            );
        }
        if let (Some(deadline), Some(retry)) = (self.deadline, &self.retry)
            && retry.base >= deadline
        {
            return refused(
                format!(
                    "a pause of {} before the second attempt leaves no time under a deadline of {}",
                    duration::print(retry.base),
                    duration::print(deadline)
                ),
                "shorten the pause, or leave retries out",
            );
        }
        if let (
            Some(timeout),
            Some(Breaker {
                trip:
                    Trip::Rate {
                        slow: Some((slow, _)),
                        ..
                    },
                ..
            }),
        ) = (self.attempt_timeout.or(self.deadline), &self.breaker)
            && *slow >= timeout
        {
            return refused(
                format!(
                    "a call that takes {} is given up after {}, and never counts as slow",
                    duration::print(*slow),
                    duration::print(timeout)
                ),
                "call it slow sooner than it is given up",
            );
        }
        if let (Some(timeout), Some(breaker)) = (self.attempt_timeout, &self.breaker)
            && breaker.probe_lease < timeout
        {
            return refused(
                format!(
                    "a probe's lease of {} ends before its attempt has to, after {}",
                    duration::print(breaker.probe_lease),
                    duration::print(timeout)
                ),
                "make probe_lease at least as long as attempt_timeout",
            );
        }
        if let (Some(deadline), Some(concurrency)) = (self.deadline, &self.concurrency)
            && concurrency.queue.target >= deadline
        {
            return refused(
                format!(
                    "a queue delay of {} is called well, and a call has {} in all",
                    duration::print(concurrency.queue.target),
                    duration::print(deadline)
                ),
                "make the queue's target much shorter than the deadline",
            );
        }
        Ok(())
    }
}

fn refused(what: impl Into<String>, next: impl Into<String>) -> Result<()> {
    Err(Error::new(ErrorKind::Invalid, what).next(next))
}

fn length(name: &str, value: Duration) -> Result<()> {
    if value < Duration::from_millis(1) || value > LONGEST {
        return refused(
            format!("{name} is {value:?}"),
            format!("use 1ms to {}", duration::print(LONGEST)),
        );
    }
    Ok(())
}

fn number(name: &str, value: u32, least: u32, most: u32) -> Result<()> {
    if value < least || value > most {
        return refused(
            format!("{name} is {value}"),
            format!("use {least} to {most}"),
        );
    }
    Ok(())
}

fn fraction(name: &str, value: f64, least: f64, most: f64) -> Result<()> {
    // What is not a number is in no range.
    if !(least..=most).contains(&value) {
        return refused(
            format!("{name} is {value}"),
            format!("use {least} to {most}"),
        );
    }
    Ok(())
}

fn retry(set: &Retry) -> Result<()> {
    if set.attempts == 1 {
        return refused(
            "retry.attempts is 1, which is no retry",
            "use 2 to 100, or leave retry out",
        );
    }
    number("retry.attempts", set.attempts, 2, 100)?;
    length("retry.base", set.base)?;
    length("retry.max", set.max)?;
    length("retry.retry_after_max", set.retry_after_max)?;
    if set.base > set.max {
        return refused(
            format!(
                "the first pause, {}, is longer than the longest, {}",
                duration::print(set.base),
                duration::print(set.max)
            ),
            "make retry.base at most retry.max",
        );
    }
    Ok(())
}

fn budget(set: &Budget) -> Result<()> {
    fraction("budget.ratio", set.ratio, 0.0, 1.0)?;
    fraction(
        "budget.floor_per_second",
        set.floor_per_second,
        0.0,
        1_000.0,
    )?;
    if set.window < Duration::from_secs(1) || set.window > Duration::from_secs(600) {
        return refused(
            format!("budget.window is {:?}", set.window),
            "use 1s to 10m",
        );
    }
    Ok(())
}

fn hedge(set: &Hedge) -> Result<()> {
    fraction("hedge.quantile", set.quantile, 0.5, 0.999)?;
    length("hedge.delay_min", set.delay_min)?;
    number("hedge.warmup", set.warmup, 10, 1_000_000)
}

fn throttle(set: &Throttle) -> Result<()> {
    fraction("throttle.ratio", set.ratio, 1.1, 10.0)?;
    fraction("throttle.most", set.most, 0.01, 0.99)?;
    length("throttle.window", set.window)
}

fn rate(set: &Rate) -> Result<()> {
    number("rate.count", set.count, 1, u32::MAX)?;
    number("rate.burst", set.burst, 1, u32::MAX)?;
    length("rate.per", set.per)
}

fn concurrency(set: &Concurrency) -> Result<()> {
    match set.limit {
        Limit::Static(limit) => number("concurrency.limit", limit, 1, PLACES_MAX)?,
        Limit::Aimd {
            initial,
            min,
            max,
            decrease,
        } => {
            fraction("concurrency.decrease", decrease, 0.5, 0.99)?;
            between(initial, min, max)?;
        }
        Limit::Gradient {
            initial,
            min,
            max,
            tolerance,
        } => {
            fraction("concurrency.tolerance", tolerance, 1.0, 10.0)?;
            between(initial, min, max)?;
        }
    }
    let Queue {
        waiting_max,
        target,
        interval,
        share,
    } = set.queue;
    number("queue.waiting_max", waiting_max, 0, PLACES_MAX)?;
    length("queue.target", target)?;
    length("queue.interval", interval)?;
    fraction("queue.share", share, 0.01, 1.0)
}

fn between(initial: u32, min: u32, max: u32) -> Result<()> {
    number("concurrency.min", min, 1, PLACES_MAX)?;
    number("concurrency.max", max, 1, PLACES_MAX)?;
    if min > max || !(min..=max).contains(&initial) {
        return refused(
            format!("a limit that starts at {initial} can't stay between {min} and {max}"),
            "use min <= initial <= max",
        );
    }
    Ok(())
}

fn breaker(set: &Breaker) -> Result<()> {
    match set.trip {
        Trip::Consecutive(failures) => number("breaker.consecutive", failures, 1, 10_000)?,
        Trip::Rate {
            window,
            failures,
            slow,
            calls_min,
        } => {
            fraction("breaker.failures", failures, 0.001, 1.0)?;
            number("breaker.calls_min", calls_min, 1, 1_000_000)?;
            if let Some((slow, share)) = slow {
                length("breaker.slow", slow)?;
                fraction("breaker.slow_share", share, 0.001, 1.0)?;
            }
            match window {
                Window::Count(calls) => {
                    number("breaker.window", calls, 1, 10_000)?;
                    if calls_min > calls {
                        return refused(
                            format!("a window of {calls} calls never holds {calls_min}"),
                            "make breaker.calls_min at most the window",
                        );
                    }
                }
                Window::Time(time) => {
                    if time < Duration::from_millis(100) || time > Duration::from_secs(600) {
                        return refused(format!("breaker.window is {time:?}"), "use 100ms to 10m");
                    }
                }
            }
        }
    }
    length("breaker.open_for", set.open_for)?;
    length("breaker.probe_lease", set.probe_lease)?;
    number("breaker.probes", set.probes, 1, 100)?;
    if set.ramp > LONGEST {
        return length("breaker.ramp", set.ramp);
    }
    Ok(())
}

fn chaos(rules: &[ChaosRule]) -> Result<()> {
    if rules.len() > RULES_MAX {
        return refused(
            format!("there are {} rules of chaos", rules.len()),
            format!("use at most {RULES_MAX}"),
        );
    }
    rules
        .iter()
        .try_for_each(|rule| fraction("chaos.rate", rule.rate, 0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn check(settings: Settings, said: &str) {
        let error = settings.check().expect_err(said);
        assert!(error.to_string().contains(said), "{error}");
        assert!(error.next_step().is_some(), "{error}");
    }

    #[test]
    fn what_is_left_at_its_default_is_well() {
        let settings = Settings {
            deadline: Some(MS(10_000)),
            retry: Some(Retry::default()),
            hedge: Some(Hedge::default()),
            throttle: Some(Throttle::default()),
            concurrency: Some(Concurrency::default()),
            breaker: Some(Breaker::default()),
            attempt_timeout: Some(MS(2_000)),
            ..Settings::default()
        };
        assert_eq!(settings.check(), Ok(()));
        assert_eq!(Settings::default().check(), Ok(()));
    }

    #[test]
    fn what_contradicts_itself_is_refused_with_the_reason() {
        let with = |change: fn(&mut Settings)| {
            let mut settings = Settings {
                deadline: Some(MS(1_000)),
                attempt_timeout: Some(MS(300)),
                ..Settings::default()
            };
            change(&mut settings);
            settings
        };
        check(
            with(|set| set.attempt_timeout = Some(MS(1_000))),
            "never fires under a deadline of 1s",
        );
        check(
            with(|set| {
                set.retry = Some(Retry {
                    base: MS(1_000),
                    ..Retry::default()
                });
            }),
            "leaves no time",
        );
        check(
            with(|set| {
                set.retry = Some(Retry {
                    attempts: 1,
                    ..Retry::default()
                });
            }),
            "which is no retry",
        );
        check(
            with(|set| {
                set.retry = Some(Retry {
                    max: MS(10),
                    ..Retry::default()
                });
            }),
            "longer than the longest",
        );
        check(
            with(|set| {
                set.breaker = Some(Breaker {
                    trip: Trip::Rate {
                        window: Window::Count(10),
                        failures: 0.5,
                        slow: None,
                        calls_min: 20,
                    },
                    ..Breaker::default()
                });
            }),
            "never holds 20",
        );
        check(
            with(|set| {
                set.breaker = Some(Breaker {
                    trip: Trip::Rate {
                        window: Window::Count(100),
                        failures: 0.5,
                        slow: Some((MS(300), 0.5)),
                        calls_min: 20,
                    },
                    ..Breaker::default()
                });
            }),
            "never counts as slow",
        );
        check(
            with(|set| {
                set.breaker = Some(Breaker {
                    probe_lease: MS(100),
                    ..Breaker::default()
                });
            }),
            "ends before its attempt has to",
        );
        check(
            with(|set| set.budget.ratio = f64::NAN),
            "budget.ratio is NaN",
        );
        check(
            with(|set| {
                set.concurrency = Some(Concurrency {
                    limit: Limit::Static(0),
                    queue: Queue::default(),
                });
            }),
            "concurrency.limit is 0",
        );
        check(
            with(|set| {
                set.concurrency = Some(Concurrency {
                    limit: Limit::default(),
                    queue: Queue {
                        target: MS(1_000),
                        ..Queue::default()
                    },
                });
            }),
            "is called well",
        );
    }
}
