//! The one place of the policies that reads a clock.

use std::sync::LazyLock;

use posthaste_core::time::{MonoNs, ns};
use tokio::time::Instant;

/// When counting began: a second before the first use, so that what lies a little in the past has an
/// instant of its own.
static BEGAN: LazyLock<Instant> = LazyLock::new(|| {
    let now = Instant::now();
    now.checked_sub(std::time::Duration::from_secs(1))
        .unwrap_or(now)
});

/// Now. Stands still with tokio's clock, where a test has paused that.
pub(super) fn now() -> MonoNs {
    MonoNs(ns(Instant::now().saturating_duration_since(*BEGAN)))
}

/// The instant of tokio's clock.
pub(super) fn instant(at: MonoNs) -> Instant {
    let since = std::time::Duration::from_nanos(at.0);
    // Further than the clock can count is as good as never.
    BEGAN
        .checked_add(since)
        .unwrap_or_else(|| *BEGAN + std::time::Duration::from_secs(86_400 * 365 * 30))
}
