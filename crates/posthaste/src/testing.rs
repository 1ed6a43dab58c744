//! Testing jobs without waiting: a hub in memory whose clock stands still until it is moved.
//!
//! Retries, delays and snoozes of a week run in milliseconds: advance the clock, have a worker
//! [`drain`](crate::Worker::drain) whatever that made ready, and look.
//!
//! ```
//! # use posthaste::{Done, Job, Posthaste, Retry, TimeUnits};
//! # use serde::{Deserialize, Serialize};
//! # #[derive(Serialize, Deserialize, Job)]
//! # struct Sync;
//! # async fn test() -> posthaste::Result<()> {
//! let hub = Posthaste::test().await?;
//! hub.enqueue(Sync).after(7.days()).await?;
//!
//! let worker = || hub.worker().on(|_: Sync| async { Done });
//! assert_eq!(worker().drain().await?.completed, 0);
//! hub.advance(7.days());
//! assert_eq!(worker().drain().await?.completed, 1);
//! # Ok(())
//! # }
//! ```

use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use posthaste_core::{Result, WallMs};
use posthaste_log::{Clock, ManualClock};

use crate::hub::Posthaste;
use crate::units::millis;

/// 2026-01-01T00:00:00Z, where the clock of a test begins.
const BEGIN: WallMs = WallMs(1_767_225_600_000);

/// A hub in memory, on a clock that stands still until it is moved. It is a [`Posthaste`] in every
/// other way.
#[derive(Clone, Debug)]
pub struct TestHub {
    hub: Posthaste,
    clock: ManualClock,
}

impl Posthaste {
    /// A hub for a test: in memory, its clock at the start of 2026 until it is moved.
    ///
    /// # Errors
    /// `Io` where the system has no entropy for ids.
    pub async fn test() -> Result<TestHub> {
        let clock = ManualClock::at(BEGIN);
        let hub = Self::options()
            .clock(Arc::new(clock.clone()))
            .open("memory:")
            .await?;
        Ok(TestHub { hub, clock })
    }
}

impl TestHub {
    /// Lets time pass for the store: what was to start by then is ready, leases that ended have
    /// lapsed.
    pub fn advance(&self, time: Duration) {
        self.clock.advance(millis(time));
    }

    /// What the clock shows.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.clock.now().wall.0)
    }

    /// The clock, to do more with.
    #[must_use]
    pub fn clock(&self) -> &ManualClock {
        &self.clock
    }
}

impl Deref for TestHub {
    type Target = Posthaste;

    fn deref(&self) -> &Posthaste {
        &self.hub
    }
}
