//! Durations as they are spoken: `5.secs()`.

use std::time::Duration;

/// `5.secs()`, `200.millis()`, `2.hours()`: a [`Duration`] from a whole number.
pub trait TimeUnits {
    /// So many milliseconds.
    #[must_use]
    fn millis(self) -> Duration;
    /// So many seconds.
    #[must_use]
    fn secs(self) -> Duration;
    /// So many minutes.
    #[must_use]
    fn mins(self) -> Duration;
    /// So many hours.
    #[must_use]
    fn hours(self) -> Duration;
    /// So many days of 24 hours.
    #[must_use]
    fn days(self) -> Duration;
}

impl TimeUnits for u64 {
    fn millis(self) -> Duration {
        Duration::from_millis(self)
    }

    fn secs(self) -> Duration {
        Duration::from_secs(self)
    }

    fn mins(self) -> Duration {
        Duration::from_secs(self.saturating_mul(60))
    }

    fn hours(self) -> Duration {
        Duration::from_secs(self.saturating_mul(3_600))
    }

    fn days(self) -> Duration {
        Duration::from_secs(self.saturating_mul(86_400))
    }
}

/// Whole milliseconds; what doesn't fit is the most that does.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// [`millis`], in 32 bits.
pub(crate) fn millis_u32(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
