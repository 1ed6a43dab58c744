//! The one place of the policies that reads a clock and sets a timer.

use std::future::Future;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context as Polling, Poll};

use posthaste_core::time::{MonoNs, ns};
use tokio::time::{Instant, Sleep, sleep_until};

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
fn instant(at: MonoNs) -> Instant {
    let since = std::time::Duration::from_nanos(at.0);
    // Further than the clock can count is as good as never.
    BEGAN
        .checked_add(since)
        .unwrap_or_else(|| *BEGAN + std::time::Duration::from_secs(86_400 * 365 * 30))
}

/// A timer that is made, on the heap, when it is first waited for: most calls end before that, and are
/// not to carry its weight.
#[derive(Default)]
pub(super) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    pub(super) const fn new() -> Self {
        Self(None)
    }

    /// Whether it is `at`; where it isn't, whoever polls is woken then.
    pub(super) fn poll(&mut self, at: MonoNs, polling: &mut Polling<'_>) -> Poll<()> {
        let at = instant(at);
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if sleep.deadline() != at {
            sleep.as_mut().reset(at);
        }
        sleep.as_mut().poll(polling)
    }

    /// Wakes nobody any more.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }
}
