//! Time as a value. `Now` is a pair: the wall clock for run-at, deadlines and retention; the
//! monotonic clock for leases and waits. That is how a clock jump neither loses nor repeats nor
//! rescues too early.

use std::fmt;
use std::time::Duration;

/// An instant on the wall clock: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallMs(pub u64);

/// An instant on the monotonic clock of one process, in milliseconds. Means nothing elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonoMs(pub u64);

/// An instant on the monotonic clock of one process, in nanoseconds. What the policies count in: a
/// millisecond is long for a call. Means nothing elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonoNs(pub u64);

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Wall clock: may jump.
    pub wall: WallMs,
    /// Monotonic clock: only rises.
    pub mono: MonoMs,
}

impl WallMs {
    /// This instant, `ms` milliseconds later.
    #[must_use]
    pub const fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds since `earlier`; zero where the clock went back.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl MonoMs {
    /// This instant, `ms` milliseconds later.
    #[must_use]
    pub const fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds since `earlier`; zero where it is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl MonoNs {
    /// This instant, `ns` nanoseconds later.
    #[must_use]
    pub const fn plus(self, ns: u64) -> Self {
        Self(self.0.saturating_add(ns))
    }

    /// This instant, `duration` later.
    #[must_use]
    pub const fn after(self, duration: Duration) -> Self {
        self.plus(ns(duration))
    }

    /// Nanoseconds since `earlier`; zero where it is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A duration in nanoseconds; at most 584 years.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    reason = "what is longer is cut before"
)]
pub const fn ns(duration: Duration) -> u64 {
    let ns = duration.as_nanos();
    if ns > u64::MAX as u128 {
        u64::MAX
    } else {
        ns as u64
    }
}

impl fmt::Display for WallMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms after 1970", self.0)
    }
}
