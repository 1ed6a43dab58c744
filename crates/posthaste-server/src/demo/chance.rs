//! Chance, the same for the same seed: a counter through a mixing function (SplitMix64, Steele,
//! Lea and Flood 2014).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A source of chance that many may draw from.
#[derive(Debug)]
pub(super) struct Chance(AtomicU64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    fn draw(&self) -> u64 {
        let step = 0x9e37_79b9_7f4a_7c15_u64;
        let mut z = self.0.fetch_add(step, Ordering::Relaxed).wrapping_add(step);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(super) fn below(&self, end: u64) -> u64 {
        self.draw() % end.max(1)
    }

    /// Whether something of this many in a thousand happens.
    pub(super) fn happens(&self, of_1000: u64) -> bool {
        self.below(1_000) < of_1000
    }

    /// A time between `least` and `most` milliseconds, mostly nearer the least: the lower of two
    /// draws.
    pub(super) fn time(&self, least: u64, most: u64) -> Duration {
        let spread = most.saturating_sub(least) + 1;
        Duration::from_millis(least + self.below(spread).min(self.below(spread)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_chance() {
        let draws = |seed| {
            (0..50)
                .map(move |_| seed)
                .scan(Chance::new(seed), |chance, _| Some(chance.draw()))
        };
        assert!(draws(7).eq(draws(7)));
        assert!(!draws(7).eq(draws(8)));
        let chance = Chance::new(1);
        let happened = (0..10_000).filter(|_| chance.happens(100)).count();
        assert!((800..1_200).contains(&happened), "{happened}");
        assert!((0..1_000).all(|_| (20..=80).contains(&chance.time(20, 80).as_millis())));
    }
}
