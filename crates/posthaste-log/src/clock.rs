//! Where time comes from. The machine takes it as a value; only the sequencer asks.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use posthaste_core::{MonoMs, Now, WallMs};

/// Called whenever a clock was moved by hand.
pub type Moved = Box<dyn Fn() + Send + Sync>;

/// A source of time.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// Both clocks, read together.
    fn now(&self) -> Now;

    /// Has `moved` called whenever the clock jumps rather than flows, so that who waits for an
    /// instant looks again. A clock that flows by itself never calls it.
    fn on_moved(&self, moved: Moved);
}

/// The operating system's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Starts the monotonic clock at zero.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "reading a clock is not a default value"
    )]
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let since_1970 = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Now {
            wall: WallMs(millis(since_1970)),
            mono: MonoMs(millis(self.start.elapsed())),
        }
    }

    fn on_moved(&self, _moved: Moved) {}
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A clock that stands still until it is moved, for tests.
#[derive(Clone)]
pub struct ManualClock {
    shared: Arc<Mutex<Manual>>,
}

struct Manual {
    now: Now,
    moved: Vec<Moved>,
}

impl ManualClock {
    /// A clock that shows `wall`, its monotonic side at zero.
    #[must_use]
    pub fn at(wall: WallMs) -> Self {
        let now = Now {
            wall,
            mono: MonoMs(0),
        };
        Self {
            shared: Arc::new(Mutex::new(Manual {
                now,
                moved: Vec::new(),
            })),
        }
    }

    /// Lets `ms` milliseconds pass on both clocks.
    pub fn advance(&self, ms: u64) {
        self.change(|now| Now {
            wall: now.wall.plus(ms),
            mono: now.mono.plus(ms),
        });
    }

    /// Sets the wall clock, forward or back, while the monotonic one stands still.
    pub fn set_wall(&self, wall: WallMs) {
        self.change(|now| Now { wall, ..now });
    }

    fn change(&self, to: impl FnOnce(Now) -> Now) {
        let mut manual = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        manual.now = to(manual.now);
        manual.moved.iter().for_each(|moved| moved());
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManualClock").field(&self.now()).finish()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Now {
        self.shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .now
    }

    fn on_moved(&self, moved: Moved) {
        self.shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .moved
            .push(moved);
    }
}
