//! How many attempts a second: the generic cell rate algorithm (ITU-T I.371), by the crate `governor`.
//!
//! The clock is the time that is passed in. It refuses to wait: it says when the next one may come.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use super::settings;
use crate::time::{MonoNs, ns};

/// The time that was passed in last.
#[derive(Debug)]
struct Given(AtomicU64);

impl Clock for Given {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.0.load(Ordering::Relaxed))
    }
}

/// A rate that cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsound {
    /// It lets nothing through: `count`, `per` or `burst` is zero.
    Nothing,
    /// A full burst takes longer to come back than the clock can count (584 years).
    TooSlow,
}

impl std::fmt::Display for Unsound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nothing => "a rate needs a count, a time and a burst above zero",
            Self::TooSlow => "a rate whose burst takes centuries to come back",
        })
    }
}

impl std::error::Error for Unsound {}

/// A rate. See the [module](self).
#[derive(Debug)]
pub struct Rate {
    limiter: RateLimiter<NotKeyed, InMemoryState, Given, NoOpMiddleware<Nanos>>,
}

impl Rate {
    /// One whose whole burst may come at once.
    ///
    /// The time between two is rounded up to whole nanoseconds, so that never more than `count` come
    /// in each `per` (after the burst): a rate of more than 10⁸ a second is kept in steps.
    ///
    /// # Errors
    /// [`Unsound`] where the rate lets nothing through, or cannot be counted.
    pub fn new(set: &settings::Rate, now: MonoNs) -> Result<Self, Unsound> {
        let burst = NonZeroU32::new(set.burst).ok_or(Unsound::Nothing)?;
        if set.count == 0 || set.per.is_zero() {
            return Err(Unsound::Nothing);
        }
        let each = ns(set.per).div_ceil(u64::from(set.count));
        let full = each.checked_mul(u64::from(set.burst) + 1);
        // Half of the clock is kept for the time itself.
        if full.is_none_or(|full| full > u64::MAX / 2) {
            return Err(Unsound::TooSlow);
        }
        let quota = Quota::with_period(Duration::from_nanos(each))
            .ok_or(Unsound::Nothing)?
            .allow_burst(burst);
        Ok(Self {
            limiter: RateLimiter::direct_with_clock(quota, Given(AtomicU64::new(now.0))),
        })
    }

    /// Lets one through, or says in how long the next one may come. A time before the last one is
    /// taken as the last one.
    ///
    /// # Errors
    /// How long to wait. Nothing is taken then, and nothing is reserved.
    #[inline]
    pub fn take(&mut self, now: MonoNs) -> Result<(), Duration> {
        let given = &self.limiter.clock().0;
        given.fetch_max(now.0, Ordering::Relaxed);
        let at = Nanos::from(now.0);
        self.limiter
            .check()
            .map_err(|until| until.wait_time_from(at))
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};

    use super::*;

    const MS: u64 = 1_000_000;

    fn set(count: u32, per_ms: u64, burst: u32) -> settings::Rate {
        settings::Rate {
            count,
            per: Duration::from_millis(per_ms),
            burst,
        }
    }

    fn rate(count: u32, per_ms: u64, burst: u32, now: u64) -> Rate {
        Rate::new(&set(count, per_ms, burst), MonoNs(now)).expect("sound")
    }

    #[test]
    fn a_burst_comes_at_once_and_the_rest_at_the_rate() {
        for start in [0, 77 * MS] {
            let mut rate = rate(10, 1_000, 3, start);
            let mut take = |ms: u64| rate.take(MonoNs(start + ms * MS));
            assert_eq!([take(0), take(0), take(0)], [Ok(()); 3]);
            assert_eq!(take(0), Err(Duration::from_millis(100)));
            assert_eq!(take(60), Err(Duration::from_millis(40)));
            assert_eq!(take(100), Ok(()));
            assert_eq!(take(100), Err(Duration::from_millis(100)));
            // The whole burst is back after as long as it takes, and no more than that.
            assert_eq!([take(9_000), take(9_000), take(9_000)], [Ok(()); 3]);
            assert_eq!(take(9_000), Err(Duration::from_millis(100)));
        }
    }

    #[test]
    fn a_time_that_goes_back_gives_nothing_away() {
        let mut rate = rate(10, 1_000, 1, 0);
        assert_eq!(rate.take(MonoNs(500 * MS)), Ok(()));
        assert_eq!(rate.take(MonoNs(400 * MS)), Err(Duration::from_millis(200)));
        assert_eq!(rate.take(MonoNs(600 * MS)), Ok(()));
    }

    #[test]
    fn a_rate_that_lets_nothing_through_or_cannot_be_counted_is_refused() {
        let check = |set: settings::Rate, why: Unsound| {
            assert_eq!(Rate::new(&set, MonoNs(0)).err(), Some(why));
        };
        check(set(0, 1_000, 1), Unsound::Nothing);
        check(set(1, 0, 1), Unsound::Nothing);
        check(set(1, 1_000, 0), Unsound::Nothing);
        let slow = settings::Rate {
            count: 1,
            per: Duration::MAX,
            burst: 1,
        };
        check(slow, Unsound::TooSlow);
        check(set(1, 10_000_000, u32::MAX), Unsound::TooSlow);
        assert!(Rate::new(&set(u32::MAX, 1_000, 1), MonoNs(0)).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 200,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        /// Against the algorithm written down again, in time that has been earned.
        #[test]
        fn it_agrees_with_a_bucket_that_fills(
            count in 1u32..2_000,
            burst in 1u32..20,
            pauses in vec(0u64..5 * MS, 1..300),
        ) {
            let each = 1_000 * MS;
            let each = each.div_ceil(u64::from(count));
            let full = u128::from(each) * u128::from(burst);
            let mut rate = rate(count, 1_000, burst, 5);
            let (mut now, mut earned) = (5, full);
            for pause in pauses {
                now += pause;
                earned = (earned + u128::from(pause)).min(full);
                let took = rate.take(MonoNs(now));
                if earned >= u128::from(each) {
                    prop_assert_eq!(took, Ok(()));
                    earned -= u128::from(each);
                } else {
                    let wait = took.expect_err("nothing is left").as_nanos();
                    prop_assert_eq!(wait, u128::from(each) - earned);
                    prop_assert!(wait > 0);
                }
            }
        }
    }
}
