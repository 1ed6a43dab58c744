//! The retry budget of a kind: a dead dependency does not turn a backlog into a storm.
//!
//! An attempt after a job's first takes a token when it *starts*: between the decision and the start of a
//! job's retry lie hours of backoff, and whoever stood still for an hour has all of them due at once. Where
//! there is no token the job is put off, without an attempt spent, to a turn of its own: as far behind the
//! one before it as tokens come, ten minutes at most, and then it asks again.
//!
//! Tokens come of a core [`Budget`]: a share for each first attempt, and a floor. A retry that works is no
//! storm and lets two others follow, a hundred at most; one that fails halves what was earned so. So
//! failures are bounded by the budget, and a backlog drains as fast as it works (the slow start of TCP,
//! RFC 5681, with retries for segments).
//!
//! It refuses to lose a retry, and knows neither jobs nor clocks.

use std::time::Duration;

use posthaste_core::WallMs;
use posthaste_core::policy::budget::Budget;
use posthaste_core::policy::settings;
use posthaste_core::time::MonoNs;

/// The longest that a retry is put off at a time.
const PUT_OFF_MAX: Duration = Duration::from_secs(600);
/// Most retries that others earned.
const EARNED_MAX: u32 = 100;
/// What a retry that worked earns.
const EARNED_EACH: u32 = 2;
/// Over how long first attempts are counted.
const COUNTED: Duration = Duration::from_secs(10);

/// The retry budget of one kind.
pub(super) struct Retries {
    budget: Budget,
    ratio: f64,
    floor_per_second: f64,
    earned: u32,
    now: MonoNs,
    /// What the wall clock showed at `now`.
    wall: WallMs,
    /// When the turn is of the last one that was put off.
    last_turn: MonoNs,
    firsts: Firsts,
}

/// How many first attempts there are: in the current stretch and in the one before.
struct Firsts {
    since: MonoNs,
    current: u32,
    before: u32,
}

impl Retries {
    pub(super) fn new(set: &settings::Budget, wall: WallMs) -> Self {
        let now = MonoNs(0);
        Self {
            budget: Budget::new(set, now),
            ratio: set.ratio,
            floor_per_second: set.floor_per_second,
            earned: 0,
            now,
            wall,
            last_turn: now,
            firsts: Firsts {
                since: now,
                current: 0,
                before: 0,
            },
        }
    }

    /// Time passes with the wall clock, and stands still where that is set back.
    fn pass(&mut self, wall: WallMs) {
        self.now = self
            .now
            .plus(wall.since(self.wall).saturating_mul(1_000_000));
        self.wall = wall;
        let stretch = nanos(COUNTED);
        let passed = self.now.since(self.firsts.since) / stretch;
        if passed > 0 {
            self.firsts.before = if passed == 1 { self.firsts.current } else { 0 };
            self.firsts.current = 0;
            self.firsts.since = self.firsts.since.plus(passed * stretch);
        }
    }

    /// A job is tried for the first time.
    pub(super) fn first(&mut self, wall: WallMs) {
        self.pass(wall);
        self.budget.deposit(self.now);
        self.firsts.current = self.firsts.current.saturating_add(1);
    }

    /// A job is to be tried again.
    ///
    /// # Errors
    /// How long to put it off where the budget has nothing left.
    pub(super) fn again(&mut self, wall: WallMs) -> Result<(), Duration> {
        self.pass(wall);
        if self.earned > 0 {
            self.earned -= 1;
            return Ok(());
        }
        if self.budget.withdraw(self.now) {
            return Ok(());
        }
        Err(self.turn())
    }

    /// One that was tried again has ended.
    pub(super) fn ended(&mut self, worked: bool) {
        self.earned = match worked {
            true => (self.earned + EARNED_EACH).min(EARNED_MAX),
            false => self.earned / 2,
        };
    }

    /// The next turn, as far from now. A millisecond is added, so that the token is there by then.
    fn turn(&mut self) -> Duration {
        let longest = self.now.plus(nanos(PUT_OFF_MAX));
        let between = Duration::try_from_secs_f64(1.0 / self.per_second()).unwrap_or(PUT_OFF_MAX);
        let turn = self.last_turn.max(self.now).plus(nanos(between));
        self.last_turn = turn.min(longest);
        Duration::from_nanos(self.last_turn.since(self.now)) + Duration::from_millis(1)
    }

    /// How many tokens come in a second.
    fn per_second(&self) -> f64 {
        let counted = f64::from(self.firsts.current) + f64::from(self.firsts.before);
        let over = COUNTED.as_secs_f64() + self.now.since(self.firsts.since) as f64 / 1e9;
        self.floor_per_second + self.ratio * counted / over
    }
}

fn nanos(time: Duration) -> u64 {
    posthaste_core::time::ns(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(ratio: f64, floor_per_second: f64) -> Retries {
        let set = settings::Budget {
            ratio,
            floor_per_second,
            ..settings::Budget::default()
        };
        Retries::new(&set, WallMs(0))
    }

    /// How many of so many are let through at this time.
    fn through(retries: &mut Retries, count: u32, wall: u64) -> u32 {
        let mut ok = || u32::from(retries.again(WallMs(wall)).is_ok());
        (0..count).map(|_| ok()).sum()
    }

    #[test]
    fn failures_are_bounded_by_the_floor_and_the_share() {
        let mut retries = budget(0.2, 1.0);
        (0..100).for_each(|_| retries.first(WallMs(0)));
        assert_eq!(
            through(&mut retries, 100, 0),
            30,
            "20 of the share, 10 of the floor"
        );
        assert_eq!(through(&mut retries, 100, 3_000), 3);
        assert_eq!(through(&mut retries, 100, 4_000), 1);
    }

    #[test]
    fn turns_follow_one_another_as_tokens_come_and_are_at_most_ten_minutes_off() {
        let mut retries = budget(0.0, 10.0);
        assert_eq!(through(&mut retries, 100, 0), 100);
        let mut put_off = |wall| {
            retries
                .again(WallMs(wall))
                .expect_err("put off")
                .as_millis()
        };
        assert_eq!([put_off(0), put_off(0), put_off(0)], [101, 201, 301]);
        // Time passes, and the turns come nearer.
        assert_eq!(put_off(50), 351);
        (0..10_000).for_each(|_| {
            put_off(50);
        });
        assert_eq!(put_off(50), 600_001);
    }

    #[test]
    fn many_first_attempts_bring_the_turns_nearer() {
        let mut retries = budget(0.5, 1.0);
        (0..180).for_each(|_| retries.first(WallMs(0)));
        assert_eq!(through(&mut retries, 100, 0), 100);
        // 180 in 10 s, half of them, and the floor: ten a second.
        assert_eq!(retries.again(WallMs(0)), Err(Duration::from_millis(101)));
    }

    #[test]
    fn a_retry_that_works_lets_two_others_follow_and_one_that_fails_halves_that() {
        let mut retries = budget(0.0, 1.0);
        assert_eq!(through(&mut retries, 15, 0), 10);
        retries.ended(true);
        assert_eq!(through(&mut retries, 5, 0), 2);
        (0..1_000).for_each(|_| retries.ended(true));
        retries.ended(false);
        assert_eq!(through(&mut retries, 1_000, 0), 50);
    }

    #[test]
    fn a_clock_that_is_set_back_neither_gives_tokens_nor_keeps_them() {
        let mut retries = budget(0.0, 1.0);
        assert_eq!(through(&mut retries, 15, 3_600_000), 10);
        assert_eq!(through(&mut retries, 2, 0), 0);
        assert_eq!(through(&mut retries, 2, 1_000), 1);
    }

    #[test]
    fn a_budget_of_nothing_puts_off_by_the_longest() {
        let mut retries = budget(0.0, 0.0);
        assert_eq!(
            retries.again(WallMs(0)),
            Err(Duration::from_millis(600_001))
        );
    }
}
