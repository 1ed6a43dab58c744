//! How long to wait after a failed attempt.

/// The delay between a failed attempt and the next.
///
/// Counted from the attempt that just failed, the first being 1. Default: 2ⁿ seconds, at most six
/// hours, ±25 % jitter, so that with 25 attempts a weekend's outage is outlived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Backoff {
    /// Delay before the doubling, in milliseconds: attempt n waits `base_ms` × `factor`ⁿ.
    pub base_ms: u32,
    /// What each further attempt multiplies the delay by; 1 keeps it fixed.
    pub factor: u8,
    /// The longest delay, in milliseconds, before jitter.
    pub max_ms: u32,
    /// Jitter, in percent of the delay, to either side. 0 to 100.
    pub jitter_percent: u8,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            base_ms: 1_000,
            factor: 2,
            max_ms: 6 * 3_600_000,
            jitter_percent: 25,
        }
    }
}

impl Backoff {
    /// The same delay after each attempt, without jitter.
    #[must_use]
    pub const fn fixed(delay_ms: u32) -> Self {
        Self {
            base_ms: delay_ms,
            factor: 1,
            max_ms: delay_ms,
            jitter_percent: 0,
        }
    }

    /// The delay after attempt `failed` (the first is 1), in milliseconds. `entropy` chooses the
    /// jitter; equal entropy gives equal delay.
    #[must_use]
    pub fn delay_ms(&self, failed: u16, entropy: u64) -> u64 {
        let factor = u64::from(self.factor.max(1));
        let raw = (0..failed.min(64))
            .try_fold(u64::from(self.base_ms), |delay, _| {
                let next = delay.saturating_mul(factor);
                (next < u64::from(self.max_ms)).then_some(next)
            })
            .unwrap_or(u64::from(self.max_ms));
        let spread = raw * u64::from(self.jitter_percent.min(100)) / 100;
        raw - spread + entropy % (2 * spread + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(backoff: Backoff, failed: u16, least: u64, most: u64) {
        for entropy in [0, 1, u64::MAX, 0x9e37_79b9_7f4a_7c15] {
            let delay = backoff.delay_ms(failed, entropy);
            assert!(
                (least..=most).contains(&delay),
                "attempt {failed}: {delay} ms"
            );
        }
    }

    #[test]
    fn the_default_doubles_from_two_seconds_to_six_hours() {
        check(Backoff::default(), 1, 1_500, 2_500);
        check(Backoff::default(), 4, 12_000, 20_000);
        check(Backoff::default(), 25, 16_200_000, 27_000_000);
        check(Backoff::default(), u16::MAX, 16_200_000, 27_000_000);
    }

    #[test]
    fn the_default_outlives_a_weekend() {
        let shortest: u64 = (1..25).map(|n| Backoff::default().delay_ms(n, 0)).sum();
        assert!(shortest > 48 * 3_600_000, "{shortest} ms");
    }

    #[test]
    fn a_fixed_delay_stays() {
        check(Backoff::fixed(700), 1, 700, 700);
        check(Backoff::fixed(700), 9, 700, 700);
        check(Backoff::fixed(0), 9, 0, 0);
    }
}
