//! The pause before the next attempt of one call.
//!
//! It doubles from the base up to the longest, and is spread by chance, so that callers who failed
//! together do not come back together (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture
//! Blog, 2015). It refuses to decide whether there is a next attempt, and to wait.

use super::settings::{Jitter, Retry};
use crate::time::ns;

/// The pauses of one call: how many there were, and how long the last one was.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pauses {
    made: u32,
    last_ns: u64,
}

impl Pauses {
    /// Those of a call that has not paused.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            made: 0,
            last_ns: 0,
        }
    }

    /// How long to pause now, in nanoseconds; never longer than `max`. Equal chance gives equal pauses.
    pub fn next(&mut self, set: &Retry, chance: u64) -> u64 {
        let (base, max) = (ns(set.base), ns(set.max));
        let whole = base.saturating_mul(power_of_two(self.made)).min(max);
        let pause = match set.jitter {
            Jitter::None => whole,
            Jitter::Full => part(whole, chance),
            Jitter::Equal => whole - whole / 2 + part(whole / 2, chance),
            Jitter::Decorrelated => {
                let from = base.min(max);
                // Cut before it is drawn, not after: else most pauses would be exactly the longest.
                let to = self.last_ns.max(base).saturating_mul(3).min(max);
                from + part(to - from, chance)
            }
        };
        self.made = self.made.saturating_add(1);
        self.last_ns = pause;
        pause
    }
}

fn power_of_two(exponent: u32) -> u64 {
    1u64.checked_shl(exponent).unwrap_or(u64::MAX)
}

/// Anything from nothing to `whole`, both included.
const fn part(whole: u64, chance: u64) -> u64 {
    (((whole as u128 + 1) * chance as u128) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert, proptest};

    use super::*;

    const MS: u64 = 1_000_000;

    fn set(jitter: Jitter) -> Retry {
        Retry {
            base: Duration::from_millis(50),
            max: Duration::from_millis(300),
            jitter,
            ..Retry::default()
        }
    }

    fn check(jitter: Jitter, chance: u64, ms: [u64; 5]) {
        let mut pauses = Pauses::new();
        let drawn = ms.map(|_| pauses.next(&set(jitter), chance) / MS);
        assert_eq!(drawn, ms, "{jitter:?}");
    }

    #[test]
    fn each_jitter_spreads_the_doubling_pause_in_its_way() {
        check(Jitter::None, 7, [50, 100, 200, 300, 300]);
        check(Jitter::Full, u64::MAX, [50, 100, 200, 300, 300]);
        check(Jitter::Full, u64::MAX / 2 + 1, [25, 50, 100, 150, 150]);
        check(Jitter::Full, 0, [0, 0, 0, 0, 0]);
        check(Jitter::Equal, u64::MAX, [50, 100, 200, 300, 300]);
        check(Jitter::Equal, 0, [25, 50, 100, 150, 150]);
        check(Jitter::Decorrelated, u64::MAX, [150, 300, 300, 300, 300]);
        check(Jitter::Decorrelated, 0, [50, 50, 50, 50, 50]);
    }

    #[test]
    fn chance_reaches_the_whole_of_a_pause_evenly() {
        let steps = 1_000u64;
        let draw = |step: u64| Pauses::new().next(&set(Jitter::Full), step * (u64::MAX / steps));
        let below = |ns: u64| (0..steps).filter(|step| draw(*step) < ns).count();
        for tenth in 1..=10u32 {
            let (part, expected) = (u64::from(tenth) * 5 * MS, tenth as usize * 100);
            assert!(below(part).abs_diff(expected) <= 1, "{tenth} tenths");
        }
    }

    #[test]
    fn no_number_of_attempts_and_no_setting_overflows() {
        let mut pauses = Pauses::new();
        let longest = Retry {
            base: Duration::MAX,
            max: Duration::MAX,
            jitter: Jitter::None,
            ..Retry::default()
        };
        let mut last = 0;
        for _ in 0..200 {
            last = pauses.next(&longest, 0);
        }
        assert_eq!(last, u64::MAX);
    }

    proptest! {
        #[test]
        fn a_pause_is_within_its_bounds(
            base_ms in 0u64..5_000,
            max_ms in 0u64..5_000,
            chances in vec(any::<u64>(), 1..80),
        ) {
            for jitter in [Jitter::Full, Jitter::Equal, Jitter::Decorrelated, Jitter::None] {
                let set = Retry {
                    base: Duration::from_millis(base_ms),
                    max: Duration::from_millis(max_ms),
                    jitter,
                    ..Retry::default()
                };
                let (mut pauses, mut whole, mut last) = (Pauses::new(), base_ms * MS, base_ms * MS);
                for chance in &chances {
                    let pause = pauses.next(&set, *chance);
                    let most = whole.min(max_ms * MS);
                    let (least, most) = match jitter {
                        Jitter::Full => (0, most),
                        Jitter::Equal => (most / 2, most),
                        Jitter::None => (most, most),
                        Jitter::Decorrelated => (
                            base_ms.min(max_ms) * MS,
                            last.max(base_ms * MS).saturating_mul(3).min(max_ms * MS),
                        ),
                    };
                    prop_assert!((least..=most).contains(&pause), "{jitter:?}: {pause}");
                    whole = whole.saturating_mul(2);
                    last = pause;
                }
            }
        }
    }
}
