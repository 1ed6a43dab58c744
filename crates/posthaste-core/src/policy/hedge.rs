//! After how long a second attempt is begun beside one that takes longer than most.
//!
//! The delay is a quantile of the durations observed last, from a histogram with sixteen buckets for
//! each doubling (as in HdrHistogram, G. Tene), so that it is off by a thirty-second at most; below
//! 16 µs the buckets are 1 µs wide at most. It forgets by halves: the counts of the last
//! [`FORGET_AFTER`] observations and of those since are added, and the older half is dropped when the
//! younger is full. Halving every count would round the tail away, which is what is asked about.
//!
//! It refuses to begin an attempt, and to pay for it: that is the budget's.

use super::settings;
use crate::time::ns;

/// Buckets for each doubling.
const STEPS: u64 = 16;
const STEPS_LOG2: u32 = STEPS.trailing_zeros();

/// Durations are counted in units of 2⁶ ns; more than 2⁴³ ns (two hours) is as long as that.
const UNIT_LOG2: u32 = 6;
const UNITS_MAX: u64 = (1 << 37) - 1;
const BUCKETS: usize = bucket(UNITS_MAX) + 1;

/// After how many observations the older half is forgotten.
pub const FORGET_AFTER: u32 = 2_000;

/// After how many observations the quantile is looked up again.
const LOOK_AFTER: u32 = 64;

/// The delay of hedges. See the [module](self).
#[derive(Clone, Debug)]
pub struct Hedge {
    quantile: f64,
    delay_min_ns: u64,
    warmup: u32,
    /// How many were observed, up to the warm-up.
    warm: u32,
    /// Observed since the last half was full, and in that half.
    young: Box<[u32; BUCKETS]>,
    old: Box<[u32; BUCKETS]>,
    young_count: u32,
    old_count: u32,
    until_look: u32,
    /// The delay, looked up last. `u64::MAX` before the warm-up is over.
    delay_ns: u64,
}

impl Hedge {
    /// One that has observed nothing.
    #[must_use]
    pub fn new(set: &settings::Hedge) -> Self {
        Self {
            quantile: set.quantile,
            delay_min_ns: ns(set.delay_min),
            warmup: set.warmup.max(1),
            warm: 0,
            young: Box::new([0; BUCKETS]),
            old: Box::new([0; BUCKETS]),
            young_count: 0,
            old_count: 0,
            until_look: LOOK_AFTER,
            delay_ns: u64::MAX,
        }
    }

    /// Takes other settings, and keeps what was observed.
    pub fn reload(&mut self, set: &settings::Hedge) {
        self.quantile = set.quantile;
        self.delay_min_ns = ns(set.delay_min);
        self.warmup = set.warmup.max(1);
        self.delay_ns = u64::MAX;
        if self.warm >= self.warmup {
            self.look();
        }
    }

    /// An attempt that was not cut short took so long. O(1); once in 64 the quantile is looked up.
    #[inline]
    pub fn observe(&mut self, took_ns: u64) {
        let bucket = bucket((took_ns >> UNIT_LOG2).min(UNITS_MAX));
        self.young[bucket] += 1;
        self.young_count += 1;
        self.until_look -= 1;
        if self.warm < self.warmup {
            self.warm += 1;
            if self.warm == self.warmup {
                self.until_look = 0;
            }
        }
        if self.until_look == 0 {
            self.look();
        }
        if self.young_count == FORGET_AFTER {
            self.forget();
        }
    }

    /// How long the first attempt may take before there is a second. `None` before the warm-up is
    /// over.
    #[inline]
    #[must_use]
    pub const fn delay_ns(&self) -> Option<u64> {
        if self.delay_ns == u64::MAX {
            None
        } else {
            Some(self.delay_ns)
        }
    }

    fn forget(&mut self) {
        std::mem::swap(&mut self.young, &mut self.old);
        self.young.fill(0);
        self.old_count = self.young_count;
        self.young_count = 0;
    }

    #[cold]
    #[expect(clippy::cast_possible_truncation, reason = "no more than the counts")]
    fn look(&mut self) {
        self.until_look = LOOK_AFTER;
        if self.warm < self.warmup {
            return;
        }
        let all = self.young_count + self.old_count;
        // As many may take longer; from the top, as that is where the quantile is.
        let above = (f64::from(all) * (1.0 - self.quantile)) as u32;
        let mut left = above.min(all.saturating_sub(1));
        for (place, (young, old)) in self.young.iter().zip(self.old.iter()).enumerate().rev() {
            let here = young + old;
            if here > left {
                self.delay_ns = middle_ns(place).max(self.delay_min_ns);
                return;
            }
            left -= here;
        }
    }
}

/// The bucket of a duration: the units themselves as long as they are few, then the first bits after
/// the leading one.
#[expect(clippy::cast_possible_truncation, reason = "under a thousand")]
const fn bucket(units: u64) -> usize {
    if units < STEPS {
        return units as usize;
    }
    let doublings = units.ilog2() - STEPS_LOG2;
    let step = (units >> doublings) - STEPS;
    ((doublings as u64 + 1) * STEPS + step) as usize
}

/// The middle of a bucket.
const fn middle_ns(bucket: usize) -> u64 {
    let place = bucket as u64;
    let (from, width) = if place < STEPS {
        (place, 1)
    } else {
        let doublings = place / STEPS - 1;
        ((STEPS + place % STEPS) << doublings, 1 << doublings)
    };
    (from << UNIT_LOG2) + (width << UNIT_LOG2) / 2
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::collection::vec;
    use proptest::prelude::{ProptestConfig, prop_assert, prop_oneof, proptest};

    use super::*;

    const US: u64 = 1_000;
    const MS: u64 = 1_000_000;

    fn set(quantile: f64) -> settings::Hedge {
        settings::Hedge {
            quantile,
            delay_min: Duration::ZERO,
            warmup: 100,
        }
    }

    fn observe(hedge: &mut Hedge, took: impl IntoIterator<Item = u64>) {
        took.into_iter().for_each(|ns| hedge.observe(ns));
    }

    /// The quantile is where it is expected, within a tenth.
    fn check(hedge: &Hedge, expected_ns: u64) {
        let delay = hedge.delay_ns().expect("warm");
        let off = delay.abs_diff(expected_ns) as f64 / expected_ns as f64;
        assert!(off <= 0.1, "{delay} ns, and not {expected_ns} ns");
    }

    #[test]
    fn there_is_no_hedge_before_the_warm_up_is_over() {
        let mut hedge = Hedge::new(&set(0.9));
        observe(&mut hedge, (0..99).map(|_| MS));
        assert_eq!(hedge.delay_ns(), None);
        hedge.observe(MS);
        check(&hedge, MS);
        let mut unset = Hedge::new(&settings::Hedge {
            warmup: 0,
            ..set(0.9)
        });
        assert_eq!(unset.delay_ns(), None);
        unset.observe(MS);
        check(&unset, MS);
    }

    #[test]
    fn a_delay_is_never_shorter_than_the_least() {
        let mut hedge = Hedge::new(&settings::Hedge {
            delay_min: Duration::from_millis(3),
            ..set(0.9)
        });
        observe(&mut hedge, (0..100).map(|_| MS));
        assert_eq!(hedge.delay_ns(), Some(3 * MS));
    }

    #[test]
    fn a_rare_long_tail_is_seen_at_its_quantile() {
        let check_at = |quantile: f64, expected_ns: u64| {
            let mut hedge = Hedge::new(&set(quantile));
            // One in fifty takes from 100 ms to 500 ms, each of them something else.
            observe(
                &mut hedge,
                (0..20_000).map(|n| if n % 50 == 0 { (100 + n / 50) * MS } else { MS }),
            );
            check(&hedge, expected_ns);
        };
        check_at(0.5, MS);
        check_at(0.95, MS);
        // Of the last two to four thousand, the tail is from 420 ms or 460 ms on.
        check_at(0.99, 480 * MS);
    }

    #[test]
    fn what_was_long_ago_is_forgotten() {
        let mut hedge = Hedge::new(&set(0.95));
        observe(&mut hedge, (0..50_000).map(|_| 2 * MS));
        observe(&mut hedge, (0..2 * u64::from(FORGET_AFTER)).map(|_| 9 * MS));
        check(&hedge, 9 * MS);
        observe(
            &mut hedge,
            (0..2 * u64::from(FORGET_AFTER)).map(|_| 40 * US),
        );
        check(&hedge, 40 * US);
    }

    #[test]
    fn between_one_and_two_halves_are_remembered() {
        let mut hedge = Hedge::new(&set(0.5));
        let half = u64::from(FORGET_AFTER);
        observe(&mut hedge, (0..half).map(|_| MS));
        observe(&mut hedge, (0..half - 1).map(|_| 9 * MS));
        check(&hedge, MS);
        // The half with the short ones goes; the long ones stay.
        observe(&mut hedge, (0..half / 2).map(|_| MS));
        check(&hedge, 9 * MS);
    }

    #[test]
    fn a_reload_keeps_what_was_observed() {
        let mut hedge = Hedge::new(&set(0.5));
        observe(&mut hedge, (1..=1_000).map(|n| n * 10 * US));
        check(&hedge, 5 * MS);
        hedge.reload(&set(0.9));
        check(&hedge, 9 * MS);
        hedge.reload(&settings::Hedge {
            warmup: 2_000,
            ..set(0.9)
        });
        assert_eq!(hedge.delay_ns(), None);
    }

    #[test]
    fn the_shortest_and_the_longest_have_a_bucket() {
        let mut hedge = Hedge::new(&set(0.999));
        observe(&mut hedge, [0, 1, u64::MAX].into_iter().cycle().take(300));
        let two_hours = hedge.delay_ns().expect("warm");
        assert!((8_000_000 * MS..9_000_000 * MS).contains(&two_hours));
        for place in 0..BUCKETS {
            assert_eq!(bucket(middle_ns(place) >> UNIT_LOG2), place);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 200,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn the_delay_is_the_quantile_of_a_sorted_list_within_a_tenth(
            took in vec(prop_oneof![
                10 * US..MS, MS..100 * MS, 50 * MS..60_000 * MS,
            ], 100..1_900),
            quantile in 0.5f64..0.999,
        ) {
            // Looked up at once, so that the list and the histogram are of the same age.
            let mut hedge = Hedge::new(&set(quantile));
            observe(&mut hedge, took.iter().copied());
            hedge.reload(&set(quantile));
            let mut sorted = took;
            sorted.sort_unstable();
            let allowed = sorted.len() as f64 * (1.0 - quantile);
            let above = (1..sorted.len()).take_while(|n| *n as f64 <= allowed).count();
            let exact = sorted[sorted.len() - 1 - above];
            let delay = hedge.delay_ns().expect("warm");
            let off = delay.abs_diff(exact) as f64 / exact as f64;
            prop_assert!(off <= 0.04, "{} ns, and not {} ns", delay, exact);
        }
    }
}
