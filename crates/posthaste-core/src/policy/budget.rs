//! The retry budget: what share of the calls may be made twice.
//!
//! Each first attempt deposits a part of a token, each retry or hedge withdraws a whole one when it is
//! *decided*. One that still waits for its turn has been charged, so that a thousand of them do not
//! come through together. Deposits lie in ten slices of the window, and a slice that is older than
//! the window is worth nothing. Beside them a floor fills at a steady pace, for callers with few
//! calls, and holds no more than ten seconds' worth, or one token: so a caller with few calls may repeat one
//! several times.
//!
//! Over any stretch of time T, the withdrawals are at most `ratio` × (the deposits in the stretch and
//! in the window before it), plus `floor_per_second` × T, plus what the floor holds.
//!
//! It counts in whole billionths of a token, so that no rounding adds up. It refuses to give a token
//! back: a retry that was decided and not made has still been weighed against the others.

use super::settings;
use crate::time::{MonoNs, ns};

const SLICES: usize = 10;

/// One token: a retry or a hedge.
const TOKEN: u64 = 1_000_000_000;

/// How much time's worth the floor holds.
const HELD_NS: u64 = 10_000_000_000;

/// A retry budget. See the [module](self).
#[derive(Clone, Debug)]
pub struct Budget {
    /// What a first attempt deposits.
    share: u64,
    slices: [u64; SLICES],
    /// The sum of the slices.
    credit: u64,
    current: usize,
    /// When the current slice ends.
    ends: MonoNs,
    slice_ns: u64,
    floor: Floor,
}

/// What is always allowed, as time that was not spent: a token costs so many nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Floor {
    per_second: f64,
    /// The most that it holds.
    most: u64,
    /// The time in which it fills.
    kept_ns: u64,
    /// From when on time has not been spent; shifted by `kept_ns`, so that a clock may begin at zero.
    spent_until: u64,
}

impl Budget {
    /// One without deposits, and with a full floor.
    #[must_use]
    pub fn new(set: &settings::Budget, now: MonoNs) -> Self {
        let slice_ns = slice_ns(set);
        Self {
            share: share(set),
            slices: [0; SLICES],
            credit: 0,
            current: 0,
            ends: now.plus(slice_ns),
            slice_ns,
            floor: Floor::new(set.floor_per_second, now),
        }
    }

    /// Takes other settings. Deposits are kept where the window is as long as it was.
    pub fn reload(&mut self, set: &settings::Budget, now: MonoNs) {
        self.share = share(set);
        if slice_ns(set) != self.slice_ns {
            self.slice_ns = slice_ns(set);
            self.clear(now);
        }
        if self.floor.per_second.to_bits() != Floor::sound(set.floor_per_second).to_bits() {
            // What the old floor holds is not given out a second time: the new one begins empty.
            self.floor = Floor::new(set.floor_per_second, now);
            self.floor.spend(self.floor.left(now), now);
        }
    }

    /// A first attempt begins.
    #[inline]
    pub fn deposit(&mut self, now: MonoNs) {
        self.pass(now);
        let slice = &mut self.slices[self.current];
        *slice = slice.saturating_add(self.share);
        self.credit = self.credit.saturating_add(self.share);
    }

    /// Whether one more retry or hedge may be decided; it is charged where it may. The deposits are
    /// taken first, the oldest first, as they are worth nothing soon.
    #[must_use = "what was withdrawn is charged"]
    pub fn withdraw(&mut self, now: MonoNs) -> bool {
        self.pass(now);
        let from_credit = self.credit.min(TOKEN);
        let from_floor = TOKEN - from_credit;
        if from_floor > self.floor.left(now) {
            return false;
        }
        self.floor.spend(from_floor, now);
        let mut rest = from_credit;
        for age in 1..=SLICES {
            let slice = &mut self.slices[(self.current + age) % SLICES];
            let taken = rest.min(*slice);
            *slice -= taken;
            rest -= taken;
        }
        self.credit -= from_credit;
        true
    }

    /// How many retries and hedges could be decided now, with the fraction of the next.
    #[must_use]
    pub fn left(&self, now: MonoNs) -> f64 {
        let passed = self.passed(now);
        let kept = (1..=SLICES).filter(|age| *age as u64 > passed);
        let credit: u64 = kept
            .map(|age| self.slices[(self.current + age) % SLICES])
            .sum();
        (credit as f64 + self.floor.left(now) as f64) / TOKEN as f64
    }

    /// How many slices have begun since the current one.
    fn passed(&self, now: MonoNs) -> u64 {
        if now < self.ends {
            0
        } else {
            now.since(self.ends) / self.slice_ns + 1
        }
    }

    #[inline]
    fn pass(&mut self, now: MonoNs) {
        if now >= self.ends {
            self.forget(now);
        }
    }

    fn forget(&mut self, now: MonoNs) {
        let passed = self.passed(now);
        if passed >= SLICES as u64 {
            self.clear(now);
            return;
        }
        for _ in 0..passed {
            self.current = (self.current + 1) % SLICES;
            self.credit -= std::mem::take(&mut self.slices[self.current]);
        }
        self.ends = self.ends.plus(passed * self.slice_ns);
    }

    fn clear(&mut self, now: MonoNs) {
        self.slices = [0; SLICES];
        self.credit = 0;
        self.ends = now.plus(self.slice_ns);
    }
}

fn slice_ns(set: &settings::Budget) -> u64 {
    (ns(set.window) / SLICES as u64).max(1)
}

#[expect(clippy::cast_possible_truncation, reason = "at most one token")]
fn share(set: &settings::Budget) -> u64 {
    (set.ratio.clamp(0.0, 1.0) * TOKEN as f64) as u64
}

impl Floor {
    /// Nothing where it is less than nothing or no number.
    fn sound(per_second: f64) -> f64 {
        per_second.max(0.0)
    }

    #[expect(clippy::cast_possible_truncation, reason = "cut at the largest number")]
    fn new(per_second: f64, now: MonoNs) -> Self {
        let per_second = Self::sound(per_second);
        // Or as long as one token takes: else there would never be a whole one.
        let token_ns = (TOKEN as f64 / per_second).ceil() as u64;
        Self {
            per_second,
            most: if per_second > 0.0 {
                ((HELD_NS as f64 * per_second) as u64).max(TOKEN)
            } else {
                0
            },
            kept_ns: token_ns.clamp(HELD_NS, u64::MAX / 4),
            spent_until: now.0,
        }
    }

    /// A token has as many parts as a second has nanoseconds, so that time × pace is parts.
    #[expect(clippy::cast_possible_truncation, reason = "cut at the most")]
    fn left(&self, now: MonoNs) -> u64 {
        let now = now.0.saturating_add(self.kept_ns);
        let unspent = now.saturating_sub(self.spent_until);
        if unspent >= self.kept_ns {
            self.most
        } else {
            ((unspent as f64 * self.per_second) as u64).min(self.most)
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "at most what is left")]
    fn spend(&mut self, parts: u64, now: MonoNs) {
        if parts > 0 {
            let cost = (parts as f64 / self.per_second).ceil() as u64;
            self.spent_until = self.spent_until.max(now.0).saturating_add(cost);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::collection::vec;
    use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, prop_oneof, proptest};

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn set(ratio: f64, floor_per_second: f64) -> settings::Budget {
        settings::Budget {
            ratio,
            floor_per_second,
            window: Duration::from_secs(10),
        }
    }

    fn withdrawn(budget: &mut Budget, at: MonoNs, asked: u32) -> u32 {
        (0..asked).map(|_| u32::from(budget.withdraw(at))).sum()
    }

    #[test]
    fn a_thousand_waiting_retries_do_not_get_through_a_budget_of_a_fifth() {
        // envoy#30205: there, only retries that were under way were counted.
        let mut budget = Budget::new(&set(0.2, 0.0), MonoNs(0));
        (0..1_000).for_each(|_| budget.deposit(MonoNs(0)));
        assert_eq!(withdrawn(&mut budget, MonoNs(1), 1_000), 200);
        assert_eq!(withdrawn(&mut budget, MonoNs(9 * SECOND), 1_000), 0);
    }

    #[test]
    fn what_was_deposited_longer_ago_than_the_window_is_worth_nothing() {
        let check = |at: u64, left: u32| {
            let mut budget = Budget::new(&set(0.5, 0.0), MonoNs(0));
            (0..10).for_each(|_| budget.deposit(MonoNs(0)));
            assert!((budget.left(MonoNs(at)) - f64::from(left)).abs() < 1e-6);
            assert_eq!(withdrawn(&mut budget, MonoNs(at), 10), left);
        };
        check(0, 5);
        check(10 * SECOND - 1, 5);
        check(10 * SECOND, 0);
        check(1_000 * SECOND, 0);
    }

    #[test]
    fn the_oldest_deposits_are_taken_first() {
        let mut budget = Budget::new(&set(0.5, 0.0), MonoNs(0));
        for at in [0, 5 * SECOND] {
            (0..4).for_each(|_| budget.deposit(MonoNs(at)));
        }
        assert_eq!(withdrawn(&mut budget, MonoNs(5 * SECOND), 2), 2);
        assert_eq!(withdrawn(&mut budget, MonoNs(11 * SECOND), 9), 2);
    }

    #[test]
    fn the_floor_fills_at_its_pace_and_holds_ten_seconds_or_one() {
        let check = |per_second: f64, full: u32, after_ns: u64, then: u32| {
            let mut budget = Budget::new(&set(0.1, per_second), MonoNs(0));
            assert_eq!(withdrawn(&mut budget, MonoNs(0), 5_000), full);
            assert_eq!(
                withdrawn(&mut budget, MonoNs(after_ns - 1), 5_000),
                then - 1
            );
            assert_eq!(withdrawn(&mut budget, MonoNs(after_ns), 5_000), 1);
            assert_eq!(withdrawn(&mut budget, MonoNs(99 * SECOND), 5_000), full);
        };
        check(1.0, 10, SECOND, 1);
        check(0.2, 2, 5 * SECOND, 1);
        check(0.05, 1, 20 * SECOND, 1);
        check(20.0, 200, SECOND / 4, 5);
    }

    #[test]
    fn a_floor_asked_every_nanosecond_still_fills() {
        let mut budget = Budget::new(&set(0.0, 0.5), MonoNs(0));
        assert_eq!(withdrawn(&mut budget, MonoNs(0), 100), 5);
        for at in (0..2 * SECOND).step_by(7_777) {
            assert!(!budget.withdraw(MonoNs(at)));
        }
        assert!(budget.withdraw(MonoNs(2 * SECOND)));
    }

    #[test]
    fn a_full_floor_is_worth_a_whole_token_whatever_its_pace() {
        for step in 1..3_000 {
            let pace = f64::from(step) / 30_000.0;
            let mut budget = Budget::new(&set(0.0, pace), MonoNs(5));
            assert!(budget.withdraw(MonoNs(5)), "{pace} a second");
            assert!(!budget.withdraw(MonoNs(5)), "{pace} a second");
        }
    }

    #[test]
    fn without_floor_and_ratio_nothing_is_repeated() {
        let mut budget = Budget::new(&set(0.0, 0.0), MonoNs(0));
        (0..100).for_each(|_| budget.deposit(MonoNs(0)));
        assert_eq!(withdrawn(&mut budget, MonoNs(u64::MAX), 100), 0);
    }

    #[test]
    fn a_reload_gives_nothing_out_twice_and_keeps_the_deposits_of_the_same_window() {
        let mut budget = Budget::new(&set(0.5, 10.0), MonoNs(0));
        (0..10).for_each(|_| budget.deposit(MonoNs(0)));
        budget.reload(&set(0.1, 20.0), MonoNs(0));
        assert_eq!(withdrawn(&mut budget, MonoNs(0), 100), 5);
        budget.reload(&set(0.1, 20.0), MonoNs(SECOND));
        assert_eq!(withdrawn(&mut budget, MonoNs(SECOND), 100), 20);
    }

    /// Whether so many are asked for, or one is deposited, and after which pause.
    fn steps() -> impl Strategy<Value = Vec<(u64, bool)>> {
        let pause = prop_oneof![
            6 => 0..SECOND / 100,
            2 => 0..SECOND,
            1 => 0..25 * SECOND,
        ];
        vec((pause, any::<bool>()), 1..300)
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 300,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn over_any_stretch_no_more_is_withdrawn_than_the_bound(
            steps in steps(),
            ratio in 0.0f64..1.0,
            floor in prop_oneof![0.0f64..1.0, 0.0f64..30.0, 0.0f64..=0.0],
        ) {
            let mut budget = Budget::new(&set(ratio, floor), MonoNs(0));
            let (mut now, mut deposits, mut withdrawals) = (0, Vec::new(), Vec::new());
            for (pause, deposit) in steps {
                now += pause;
                let left = budget.left(MonoNs(now));
                if deposit {
                    budget.deposit(MonoNs(now));
                    deposits.push(now);
                } else if budget.withdraw(MonoNs(now)) {
                    prop_assert!(left >= 1.0 - 1e-6);
                    withdrawals.push(now);
                } else {
                    prop_assert!(left < 1.0);
                }
            }
            // The worst stretches begin and end with a withdrawal.
            for (first, from) in withdrawals.iter().enumerate() {
                for (last, to) in withdrawals.iter().enumerate().skip(first) {
                    let made = (last - first + 1) as f64;
                    let window = from.saturating_sub(10 * SECOND)..=*to;
                    let deposited = deposits.iter().filter(|at| window.contains(at)).count() as f64;
                    let stretch = (to - from) as f64 / 1e9;
                    let reserve = if floor > 0.0 { (10.0 * floor).max(1.0) } else { 0.0 };
                    let bound = ratio * deposited + floor * stretch + reserve;
                    prop_assert!(made <= bound + 1e-6, "{made} > {bound} in {from}..{to}");
                }
            }
        }
    }
}
