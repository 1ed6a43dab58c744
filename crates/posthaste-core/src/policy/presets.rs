//! What a policy is set to where nobody said otherwise: one set for those who call, one for those who
//! are called. The simulator's gates hold for the two together.

use std::time::Duration;

use super::settings::{
    Breaker, Budget, Concurrency, Jitter, Limit, Queue, Retry, Settings, Throttle,
};

impl Settings {
    /// For calls to another service: 10 s in all and 3 s for each attempt, at most three attempts
    /// under a budget of 8 %, a throttle for each tier, and a breaker that tries again after 1 s.
    ///
    /// No hedges, which pay only where the slow ones are few and chance; no limit on how many at once,
    /// which is for the callee to say.
    #[must_use]
    pub fn calling() -> Self {
        Self {
            deadline: Some(Duration::from_secs(10)),
            retry: Some(Retry::default()),
            // With the floor, and with what was saved before, it stays under a tenth.
            budget: Budget {
                ratio: 0.08,
                window: Duration::from_secs(5),
                ..Budget::default()
            },
            // A recovery is believed after a tenth of the window.
            throttle: Some(Throttle {
                window: Duration::from_secs(5),
                ..Throttle::default()
            }),
            // Three probes a second do no harm, and whoever is well again is not kept waiting.
            breaker: Some(Breaker {
                open_for: Duration::from_secs(1),
                ramp: Duration::from_millis(500),
                ..Breaker::default()
            }),
            attempt_timeout: Some(Duration::from_secs(3)),
            ..Self::default()
        }
    }

    /// For what is called: 30 s for each request, as many at once as its durations allow, and a
    /// waiting room that sheds.
    #[must_use]
    pub fn serving() -> Self {
        Self {
            deadline: Some(Duration::from_secs(30)),
            concurrency: Some(Concurrency {
                limit: Limit::gradient(),
                queue: Queue::default(),
            }),
            ..Self::default()
        }
    }

    /// What most people write first, as a warning: four attempts with hardly a pause, and next to no
    /// budget. It makes the bad day of its callee worse.
    #[must_use]
    pub fn naive() -> Self {
        Self {
            retry: Some(Retry {
                attempts: 4,
                base: Duration::from_millis(10),
                max: Duration::from_millis(100),
                jitter: Jitter::None,
                ..Retry::default()
            }),
            budget: Budget {
                ratio: 1.0,
                floor_per_second: 1_000.0,
                ..Budget::default()
            },
            attempt_timeout: Some(Duration::from_millis(300)),
            ..Self::default()
        }
    }
}
