//! A degraded mode: a switch with levels that code asks, such as "no recommendations" and then "no
//! search". Level 0 is everything as usual.
//!
//! Pressure moves it, one level at a time, and only when it has lasted; it goes up at one threshold
//! and comes down at a lower one, so that it does not flap between them. A hand overrides it. It
//! refuses to know what pressure is and what a level switches off.

use std::fmt;
use std::time::Duration;

use crate::time::{MonoNs, ns};

/// Between which pressures a level is held.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// Above this, the level is entered.
    pub rise: f64,
    /// Below this, it is left. Lower than `rise`.
    pub fall: f64,
}

/// Levels that make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsound {
    /// There is none, or more than 255.
    Count {
        /// How many there are.
        levels: usize,
    },
    /// A level is left at the pressure at which it is entered, or above.
    Flaps {
        /// Which, from 1.
        level: u8,
    },
    /// A level is entered or left at a lower pressure than the one before it.
    Order {
        /// Which, from 1.
        level: u8,
    },
}

impl fmt::Display for Unsound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { levels } => {
                write!(f, "a degraded mode has 1 to 255 levels, and not {levels}")
            }
            Self::Flaps { level } => write!(
                f,
                "level {level} would be left as soon as it is entered: its fall must be below its rise"
            ),
            Self::Order { level } => write!(
                f,
                "level {level} must have a higher rise, and no lower a fall, than the level before it"
            ),
        }
    }
}

impl std::error::Error for Unsound {}

/// A degraded mode. See the [module](self).
#[derive(Clone, Debug)]
pub struct Degrade {
    levels: Box<[Level]>,
    hold_ns: u64,
    /// Where pressure has moved it.
    moved: u8,
    /// Where a hand has put it.
    set: Option<u8>,
    /// Since when the pressure has been above the next level's threshold.
    above: Option<MonoNs>,
    /// Since when it has been below this level's.
    below: Option<MonoNs>,
}

impl Degrade {
    /// One at level 0, with the thresholds of level 1 and up. `hold` is how long pressure must last
    /// before it moves a level.
    ///
    /// # Errors
    /// [`Unsound`] where the levels make no sense.
    pub fn new(levels: &[Level], hold: Duration) -> Result<Self, Unsound> {
        if u8::try_from(levels.len()).is_err() || levels.is_empty() {
            return Err(Unsound::Count {
                levels: levels.len(),
            });
        }
        let mut before: Option<&Level> = None;
        for (place, level) in (1u8..=u8::MAX).zip(levels) {
            // Asked so that what is no number is refused.
            let holds = level.fall < level.rise;
            let rises = before.is_none_or(|it| it.rise < level.rise && it.fall <= level.fall);
            if !holds {
                return Err(Unsound::Flaps { level: place });
            }
            if !rises {
                return Err(Unsound::Order { level: place });
            }
            before = Some(level);
        }
        Ok(Self {
            levels: levels.into(),
            hold_ns: ns(hold),
            moved: 0,
            set: None,
            above: None,
            below: None,
        })
    }

    /// The pressure is so high now, and is taken to stay so until the next call. Moves one level at
    /// most, and returns the [`level`](Self::level). What is no number is not heard.
    pub fn pressure(&mut self, now: MonoNs, pressure: f64) -> u8 {
        if pressure.is_nan() {
            return self.level();
        }
        let up = self.levels.get(usize::from(self.moved));
        let rising = up.is_some_and(|level| pressure > level.rise);
        let here = self.moved.checked_sub(1);
        let here = here.and_then(|place| self.levels.get(usize::from(place)));
        let falling = here.is_some_and(|level| pressure < level.fall);
        self.above = rising.then(|| self.above.unwrap_or(now));
        self.below = falling.then(|| self.below.unwrap_or(now));
        let lasted = |since: Option<MonoNs>| since.is_some_and(|it| now.since(it) >= self.hold_ns);
        let (up, down) = (lasted(self.above), lasted(self.below));
        if up {
            self.moved += 1;
        } else if down {
            self.moved -= 1;
        }
        if up || down {
            // The next level's time begins with the move: what it asks may have been met all along,
            // but what the move does must have had time to be felt.
            let on = self.levels.get(usize::from(self.moved));
            self.above = on.filter(|level| up && pressure > level.rise).map(|_| now);
            let under = self.moved.checked_sub(1);
            let under = under.and_then(|place| self.levels.get(usize::from(place)));
            self.below = under
                .filter(|level| down && pressure < level.fall)
                .map(|_| now);
        }
        self.level()
    }

    /// Puts it at a level by hand, at most the highest, until it is released with `None`. Pressure
    /// goes on moving what is under the hand.
    pub fn set(&mut self, level: Option<u8>) {
        let highest = u8::try_from(self.levels.len()).unwrap_or(u8::MAX);
        self.set = level.map(|level| level.min(highest));
    }

    /// The level: that of the hand, or else that of the pressure.
    #[inline]
    #[must_use]
    pub const fn level(&self) -> u8 {
        match self.set {
            Some(level) => level,
            None => self.moved,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{prop_assert, proptest};

    use super::*;

    const LEVELS: [Level; 3] = [
        Level {
            rise: 0.5,
            fall: 0.3,
        },
        Level {
            rise: 0.7,
            fall: 0.5,
        },
        Level {
            rise: 0.9,
            fall: 0.8,
        },
    ];

    fn mode() -> Degrade {
        Degrade::new(&LEVELS, Duration::from_nanos(10)).expect("sound")
    }

    /// Plays pressures at instants, and the level after each.
    fn check(story: &[(u64, f64, u8)]) {
        let mut mode = mode();
        for (at, pressure, level) in story {
            assert_eq!(mode.pressure(MonoNs(*at), *pressure), *level, "at {at}");
        }
    }

    #[test]
    fn pressure_that_lasts_raises_it_one_level_at_a_time() {
        check(&[
            (0, 1.0, 0),
            (9, 1.0, 0),
            (10, 1.0, 1),
            (19, 1.0, 1),
            (20, 1.0, 2),
        ]);
        check(&[
            (0, 1.0, 0),
            (500, 1.0, 1),
            (501, 1.0, 1),
            (511, 1.0, 2),
            (521, 1.0, 3),
            (900, 1.0, 3),
        ]);
        check(&[(0, 0.6, 0), (10, 0.6, 1), (900, 0.6, 1)]);
    }

    #[test]
    fn pressure_that_is_gone_lowers_it_one_level_at_a_time() {
        let up = [(0, 1.0, 0), (10, 1.0, 1), (20, 1.0, 2)];
        let down = [
            (30, 0.0, 2),
            (39, 0.0, 2),
            (40, 0.0, 1),
            (49, 0.0, 1),
            (50, 0.0, 0),
            (900, 0.0, 0),
        ];
        check(&[up.as_slice(), &down].concat());
    }

    #[test]
    fn between_the_thresholds_it_stays_and_a_break_begins_the_time_again() {
        check(&[
            (0, 0.6, 0),
            (10, 0.6, 1),
            (20, 0.4, 1),
            (900, 0.31, 1),
            (901, 0.2, 1),
            (911, 0.2, 0),
        ]);
        check(&[
            (0, 0.6, 0),
            (8, 0.4, 0),
            (9, 0.6, 0),
            (18, 0.6, 0),
            (19, 0.6, 1),
        ]);
        check(&[
            (0, 0.6, 0),
            (10, 0.6, 1),
            (11, 0.2, 1),
            (20, 0.4, 1),
            (21, 0.2, 1),
            (30, 0.2, 1),
            (31, 0.2, 0),
        ]);
        // At the threshold is not above it.
        check(&[(0, 0.5, 0), (900, 0.5, 0)]);
        // What is no number is not heard, and breaks nothing.
        check(&[(0, 0.6, 0), (5, f64::NAN, 0), (10, 0.6, 1)]);
    }

    #[test]
    fn time_above_one_level_does_not_count_for_the_next() {
        check(&[
            (0, 0.6, 0),
            (10, 0.6, 1),
            (15, 0.8, 1),
            (24, 0.8, 1),
            (25, 0.8, 2),
        ]);
    }

    #[test]
    fn a_hand_overrides_it_until_it_lets_go() {
        let mut mode = mode();
        mode.set(Some(2));
        assert_eq!(mode.level(), 2);
        assert_eq!(mode.pressure(MonoNs(0), 0.6), 2);
        assert_eq!(mode.pressure(MonoNs(10), 0.6), 2);
        mode.set(Some(200));
        assert_eq!(mode.level(), 3);
        mode.set(Some(0));
        assert_eq!(mode.level(), 0);
        mode.set(None);
        assert_eq!(mode.level(), 1);
    }

    #[test]
    fn levels_that_make_no_sense_are_refused() {
        let check = |levels: &[(f64, f64)], why: Unsound| {
            let levels: Vec<_> = levels
                .iter()
                .map(|(rise, fall)| Level {
                    rise: *rise,
                    fall: *fall,
                })
                .collect();
            assert_eq!(Degrade::new(&levels, Duration::ZERO).err(), Some(why));
        };
        check(&[], Unsound::Count { levels: 0 });
        check(&[(1.0, 0.5); 256], Unsound::Count { levels: 256 });
        check(&[(0.5, 0.5)], Unsound::Flaps { level: 1 });
        check(&[(0.5, 0.1), (0.8, f64::NAN)], Unsound::Flaps { level: 2 });
        check(&[(0.5, 0.1), (0.5, 0.2)], Unsound::Order { level: 2 });
        check(&[(0.5, 0.2), (0.7, 0.1)], Unsound::Order { level: 2 });
    }

    proptest! {
        /// Between two moves lies the hold; no step is larger than one; and a move has its reason.
        #[test]
        fn it_never_jumps_never_flaps_and_settles_where_the_pressure_is(
            samples in vec((0u64..8, 0.0f64..1.0), 1..300),
            last in 0.0f64..1.0,
        ) {
            let mut mode = mode();
            let (mut now, mut moved) = (0, None);
            for (pause, pressure) in samples {
                now += pause;
                let before = mode.level();
                let level = mode.pressure(MonoNs(now), pressure);
                prop_assert!(before.abs_diff(level) <= 1);
                if level > before {
                    prop_assert!(pressure > LEVELS[usize::from(before)].rise);
                } else if level < before {
                    prop_assert!(pressure < LEVELS[usize::from(level)].fall);
                } else {
                    continue;
                }
                prop_assert!(moved.is_none_or(|at| now - at >= 10), "moved twice within the hold");
                moved = Some(now);
            }
            for _ in 0..8 {
                now += 10;
                mode.pressure(MonoNs(now), last);
            }
            let level = usize::from(mode.level());
            prop_assert!(LEVELS.get(level).is_none_or(|next| last <= next.rise));
            prop_assert!(level == 0 || last >= LEVELS[level - 1].fall);
        }
    }
}
