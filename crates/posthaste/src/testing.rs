//! Testing jobs and events without waiting: a hub in memory whose clock stands still until it is moved.
//!
//! Retries, delays and snoozes of a week run in milliseconds: advance the clock, have a worker
//! [`drain`](crate::Worker::drain) whatever that made ready, and look. The consumer of a group
//! [drains](crate::Consumer::drain) in the same way, and what it gave up on is parked when it returns.
//!
//! [Policies](crate::policy) go by tokio's clock, which a test moves with `tokio::time::pause` and `advance`; the
//! retry budgets of kinds go by the hub's.
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

use posthaste_core::{ErrorKind, Result, WallMs};
use posthaste_log::{Clock, ManualClock};

use crate::event::{Event, Page, RawEvent, ReadFrom, decode};
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

    /// Every event of a type that lies in the type's topic, in order; none where there is no such
    /// topic.
    ///
    /// ```
    /// # use posthaste::{Event, Posthaste};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Debug, PartialEq, Serialize, Deserialize, Event)]
    /// # struct OrderPlaced { order: u64 }
    /// # async fn place(hub: &Posthaste, order: u64) -> posthaste::Result<()> {
    /// #     hub.publish(OrderPlaced { order }).await.map(drop)
    /// # }
    /// # async fn test() -> posthaste::Result<()> {
    /// let hub = Posthaste::test().await?;
    /// place(&hub, 7).await?;
    /// assert_eq!(hub.events::<OrderPlaced>().await?, [OrderPlaced { order: 7 }]);
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    /// #     .block_on(test()).unwrap();
    /// ```
    ///
    /// # Errors
    /// `Invalid` where one can't be read into the type. Tombstones are passed over.
    pub async fn events<E: Event>(&self) -> Result<Vec<E>> {
        let events = self.raw_events(E::TOPIC).await?;
        let of_type = events
            .iter()
            .filter(|event| event.event_type == E::TYPE && event.payload.is_some());
        of_type.map(decode).collect()
    }

    /// Every event of a topic as it was published, in order; none where there is no such topic.
    ///
    /// # Errors
    /// `Invalid` for a name that can't be one.
    pub async fn raw_events(&self, topic: &str) -> Result<Vec<RawEvent>> {
        let mut tail = self.topic(topic).tail().from(ReadFrom::Earliest);
        let mut found = Vec::new();
        loop {
            match tail.ready_page().await {
                Ok(Page::Events(events)) if events.is_empty() => return Ok(found),
                Ok(Page::Events(events)) => found.extend(events),
                Ok(Page::Gap(_)) => tail.go_on_from_earliest(),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(found),
                Err(error) => return Err(error),
            }
        }
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
