//! What a policy is set to. Plain data: checked, described and compared before a machine is made of it.

use std::time::Duration;

/// Everything that a policy is set to. What is `None` is not done.
///
/// The strategies stand in the order in which a call meets them, the outermost first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// The longest a call may take, all attempts and pauses together. Only narrows what the caller
    /// has left.
    pub deadline: Option<Duration>,
    /// Attempts after the first.
    pub retry: Option<Retry>,
    /// What share of the calls may be repeated or hedged. Without one, the default budget.
    pub budget: Budget,
    /// A second attempt beside one that takes long.
    pub hedge: Option<Hedge>,
    /// Not asking a callee that keeps refusing.
    pub throttle: Option<Throttle>,
    /// How many attempts a second.
    pub rate: Option<Rate>,
    /// How many attempts at once, and who waits.
    pub concurrency: Option<Concurrency>,
    /// Not asking a callee that is ill.
    pub breaker: Option<Breaker>,
    /// The longest one attempt may take.
    pub attempt_timeout: Option<Duration>,
    /// Faults to inject.
    pub chaos: Vec<ChaosRule>,
}

/// Attempts after the first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retry {
    /// Most attempts, the first included. Default 3; 2 to 100.
    pub attempts: u32,
    /// The pause before the second attempt, before jitter. Default 50 ms.
    pub base: Duration,
    /// The longest pause. Default 2 s.
    pub max: Duration,
    /// How the pauses are spread. Default full.
    pub jitter: Jitter,
    /// The longest pause that is granted to a callee that asks for one; where it asks for more, the
    /// call fails. Default 10 s.
    pub retry_after_max: Duration,
    /// Repeat also what has neither an idempotency key nor a safe method. Default no.
    pub force: bool,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 3,
            base: Duration::from_millis(50),
            max: Duration::from_secs(2),
            jitter: Jitter::Full,
            retry_after_max: Duration::from_secs(10),
            force: false,
        }
    }
}

/// How the pauses between attempts are spread, so that callers who failed together do not come back
/// together. The pause doubles with each attempt. (M. Brooker, "Exponential Backoff And Jitter", AWS
/// Architecture Blog, 2015.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Jitter {
    /// Anything from nothing to the whole pause.
    #[default]
    Full,
    /// Half of the pause, and anything up to the other half.
    Equal,
    /// Anything from the base to three times the last pause.
    Decorrelated,
    /// The pause itself: for tests.
    None,
}

/// What share of the calls may be repeated or hedged: a retry is charged when it is decided, so that
/// those that wait for their turn count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Retries and hedges for each first attempt. Default 0.1; 0 to 1.
    pub ratio: f64,
    /// Retries a second that are always allowed, for callers with few calls; what was not used in ten
    /// seconds is kept. Default 1; 0 to 1,000.
    pub floor_per_second: f64,
    /// For how long a call's share is kept. Default 10 s; 1 s to 10 min.
    pub window: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            ratio: 0.1,
            floor_per_second: 1.0,
            window: Duration::from_secs(10),
        }
    }
}

/// A second attempt beside one that takes longer than most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hedge {
    /// After which quantile of the observed durations. Default 0.95; 0.5 to 0.999.
    pub quantile: f64,
    /// Never sooner than this. Default 1 ms.
    pub delay_min: Duration,
    /// How many attempts are observed before the first hedge. Default 100.
    pub warmup: u32,
}

impl Default for Hedge {
    fn default() -> Self {
        Self {
            quantile: 0.95,
            delay_min: Duration::from_millis(1),
            warmup: 100,
        }
    }
}

/// Not asking a callee that keeps refusing (Google, "Site Reliability Engineering", chapter 21), for
/// each tier by itself. A refusal is a [`Throttled`](super::Verdict::Throttled) verdict.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Throttle {
    /// How many calls are sent for each one that is accepted. Default 2; 1.1 to 10.
    pub ratio: f64,
    /// Over how long calls are counted. Default 10 s.
    pub window: Duration,
    /// The highest probability of not sending. Default 0.9; under 1, so that a recovery is noticed.
    pub most: f64,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            ratio: 2.0,
            window: Duration::from_secs(10),
            most: 0.9,
        }
    }
}

/// How many attempts a second: the generic cell rate algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many in each `per`.
    pub count: u32,
    /// The time in which `count` may come.
    pub per: Duration,
    /// How many may come at once. At least 1.
    pub burst: u32,
}

/// How many attempts at once, and who waits for a place.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Concurrency {
    /// How many.
    pub limit: Limit,
    /// Who waits.
    pub queue: Queue,
}

/// How many attempts run at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// So many: a bulkhead.
    Static(u32),
    /// Rises by one for each window of successes while the places are used, falls by a part on a timeout or a refusal.
    Aimd {
        /// At first. Default 20.
        initial: u32,
        /// Never lower. Default 1.
        min: u32,
        /// Never higher. Default 1,000.
        max: u32,
        /// What a fall leaves. Default 0.9; 0.5 to 0.99.
        decrease: f64,
    },
    /// Follows the durations: where they grow over what is usual without load, it falls.
    Gradient {
        /// At first. Default 20.
        initial: u32,
        /// Never lower. Default 1.
        min: u32,
        /// Never higher. Default 1,000.
        max: u32,
        /// How much longer than usual is still well. Default 1.5; 1 to 10.
        tolerance: f64,
    },
}

impl Limit {
    /// AIMD with its defaults.
    #[must_use]
    pub const fn aimd() -> Self {
        Self::Aimd {
            initial: 20,
            min: 1,
            max: 1_000,
            decrease: 0.9,
        }
    }

    /// The gradient with its defaults.
    #[must_use]
    pub const fn gradient() -> Self {
        Self::Gradient {
            initial: 20,
            min: 1,
            max: 1_000,
            tolerance: 1.5,
        }
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self::gradient()
    }
}

/// Who waits for a place, and who is refused.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Queue {
    /// How many may wait. Default 1,000. With 0, nobody waits.
    pub waiting_max: u32,
    /// How long is well. Default 5 ms.
    pub target: Duration,
    /// For how long it may be longer than `target`, before the queue sheds (CoDel: Nichols and
    /// Jacobson, "Controlling Queue Delay", 2012). Default 100 ms.
    pub interval: Duration,
    /// The largest part of the waiting room that one caller may fill while others wait. Default 0.5;
    /// 1 for no limit.
    pub share: f64,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            waiting_max: 1_000,
            target: Duration::from_millis(5),
            interval: Duration::from_millis(100),
            share: 0.5,
        }
    }
}

/// Not asking a callee that is ill.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Breaker {
    /// What opens it.
    pub trip: Trip,
    /// How long it stays open before it is tried again. Default 5 s.
    pub open_for: Duration,
    /// How many probes must succeed, and how many are out at once. Default 3; 1 to 100.
    pub probes: u32,
    /// After how long a probe that says nothing is given up, and its slot is free. Default 30 s.
    pub probe_lease: Duration,
    /// How long it takes from the probes to letting everything through. Default 5 s; 0 for at once.
    pub ramp: Duration,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            trip: Trip::default(),
            open_for: Duration::from_secs(5),
            probes: 3,
            probe_lease: Duration::from_secs(30),
            ramp: Duration::from_secs(5),
        }
    }
}

/// What opens a circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trip {
    /// A share of the calls in a window.
    Rate {
        /// Which calls are looked at. Default: those of the last 10 s.
        window: Window,
        /// What share must fail. Default 0.5; above 0, at most 1.
        failures: f64,
        /// What counts as slow, and what share must be. Default: none.
        slow: Option<(Duration, f64)>,
        /// With fewer calls in the window it stays closed. Default 20.
        calls_min: u32,
    },
    /// So many failures in a row. 1 to 10,000.
    Consecutive(u32),
}

impl Default for Trip {
    fn default() -> Self {
        Self::Rate {
            window: Window::Time(Duration::from_secs(10)),
            failures: 0.5,
            slow: None,
            calls_min: 20,
        }
    }
}

/// Which calls a circuit breaker looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// The last so many. 1 to 10,000.
    Count(u32),
    /// Those of the last so long. 100 ms to 10 min, in ten slices.
    Time(Duration),
}

/// A fault to inject.
#[derive(Clone, Debug, PartialEq)]
pub struct ChaosRule {
    /// Only calls with this tag; none for all.
    pub tag: Option<Box<str>>,
    /// With which probability. 0 to 1.
    pub rate: f64,
    /// What happens then.
    pub fault: Fault,
}

/// What is injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The attempt starts so much later.
    Delay(Duration),
    /// The attempt is not made and fails.
    Error,
    /// The attempt is made and its result is lost, as with a broken connection: its effect is unknown.
    Abort,
}
