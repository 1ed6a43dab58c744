//! A policy, strategy by strategy.

use std::time::Duration;

use posthaste_core::Result;
use posthaste_core::policy::order::{self, Strategy};
use posthaste_core::policy::settings::{
    Breaker, Budget, ChaosRule, Concurrency, Hedge, Rate, Retry, Settings, Throttle,
};

use super::call::Policy;

/// A policy in the making: strategies from the outermost in.
///
/// ```
/// use posthaste::TimeUnits;
/// use posthaste::policy::{Policy, settings};
///
/// # fn main() -> posthaste::Result<()> {
/// let policy = Policy::named("mail")
///     .deadline(2.secs())
///     .retry(settings::Retry::default())
///     .breaker(settings::Breaker::default())
///     .attempt_timeout(300.millis())
///     .build()?;
/// assert!(policy.describe().contains("breaker: opens where 50 %"));
///
/// // A breaker around the retries would see one call where the callee sees three.
/// let wrong = Policy::named("mail")
///     .breaker(settings::Breaker::default())
///     .retry(settings::Retry::default())
///     .build();
/// assert!(wrong.is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct Builder {
    name: Box<str>,
    settings: Settings,
    order: Vec<Strategy>,
}

impl Builder {
    pub(super) fn new(name: impl Into<Box<str>>) -> Self {
        Self {
            name: name.into(),
            settings: Settings::default(),
            order: Vec::new(),
        }
    }

    fn with(mut self, strategy: Strategy, set: impl FnOnce(&mut Settings)) -> Self {
        self.order.push(strategy);
        set(&mut self.settings);
        self
    }

    /// The longest a call may take, all attempts and pauses together: 1 ms to 24 h. Only narrows what
    /// its [`Context`](super::Context) has left; what has nothing left is not started.
    pub fn deadline(self, time: Duration) -> Self {
        self.with(Strategy::Deadline, |set| set.deadline = Some(time))
    }

    /// Attempts after the first. Without an idempotency key or a safe method only what was refused
    /// before anything was done is repeated, unless [forced](Retry::force).
    pub fn retry(self, retry: Retry) -> Self {
        self.with(Strategy::Retry, |set| set.retry = Some(retry))
    }

    /// What share of the calls may be repeated or hedged. Where it is not given, the default: one in
    /// ten, and one a second.
    pub fn budget(mut self, budget: Budget) -> Self {
        self.settings.budget = budget;
        self
    }

    /// A second attempt beside one that takes longer than most, under the same budget. Only for what may
    /// be repeated.
    pub fn hedge(self, hedge: Hedge) -> Self {
        self.with(Strategy::Hedge, |set| set.hedge = Some(hedge))
    }

    /// Not asking a callee that keeps refusing.
    pub fn throttle(self, throttle: Throttle) -> Self {
        self.with(Strategy::Throttle, |set| set.throttle = Some(throttle))
    }

    /// How many attempts a second. What comes too soon is refused, with when to come again.
    pub fn rate(self, rate: Rate) -> Self {
        self.with(Strategy::Rate, |set| set.rate = Some(rate))
    }

    /// How many attempts at once, who waits, and who is shed.
    pub fn concurrency(self, concurrency: Concurrency) -> Self {
        self.with(Strategy::Concurrency, |set| {
            set.concurrency = Some(concurrency)
        })
    }

    /// Not asking a callee that is ill.
    pub fn breaker(self, breaker: Breaker) -> Self {
        self.with(Strategy::Breaker, |set| set.breaker = Some(breaker))
    }

    /// The longest one attempt may take: 1 ms to 24 h, and less than the deadline. What takes longer is
    /// dropped, its effect unknown.
    pub fn attempt_timeout(self, time: Duration) -> Self {
        self.with(Strategy::AttemptTimeout, |set| {
            set.attempt_timeout = Some(time)
        })
    }

    /// Faults to inject, the first rule that applies. At most 64.
    pub fn chaos(self, rules: Vec<ChaosRule>) -> Self {
        self.with(Strategy::Chaos, |set| set.chaos = rules)
    }

    /// The policy.
    ///
    /// # Errors
    /// `Invalid` where strategies stand in an order, or are set to values, that make no sense; with the
    /// reason and the way out.
    pub fn build(self) -> Result<Policy> {
        order::check(&self.order)?;
        Policy::new(self.name, self.settings)
    }
}
