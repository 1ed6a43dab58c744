//! Waiting until a group has passed an event: reading one's own writes over a projection.

use std::future::IntoFuture;
use std::time::Duration;

use posthaste_core::{Error, ErrorKind, Position, Result, limits};
use tokio::time::Instant;

use super::group::Group;
use crate::enqueue::BoxFuture;
use crate::units::millis_u32;

/// Pause after a question that failed: doubled each time, to the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));

/// A wait for a group to have passed an event; `.await` it.
///
/// Whoever must see what he published waits for the group that keeps the projection, with the
/// position that publishing answered. Passed means handled, skipped, dead or parked, with everything
/// that was published before it: a projection whose event was parked has not taken it in, and the
/// group's [`view`](Group::view) tells that something is parked.
///
/// Dropping the future only gives up the wait.
///
/// ```
/// # use posthaste::{Event, Posthaste, TimeUnits};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize, Event)]
/// # #[event(topic = "orders")]
/// # struct OrderPlaced { order: u64 }
/// # async fn place(hub: &Posthaste) -> posthaste::Result<()> {
/// let placed = hub.publish(OrderPlaced { order: 7 }).await?;
/// hub.group("orders", "list-of-orders").reached(placed.position).within(2.secs()).await?;
/// // The list has order 7 now.
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// `Busy` where the group has not passed it in time: answer with what there is, or say that it comes.
/// `NotFound` where there is no such group; `Invalid` for a position of another history; what the
/// store adds.
#[derive(Debug)]
#[must_use = "a wait does nothing until it is awaited"]
pub struct Reached {
    group: Group,
    position: Position,
    within: Option<Duration>,
}

impl Reached {
    pub(super) fn new(group: &Group, position: Position) -> Self {
        Self {
            group: group.clone(),
            position,
            within: None,
        }
    }

    /// Waits no longer than that. Default: as long as it takes.
    pub fn within(mut self, time: Duration) -> Self {
        self.within = Some(time);
        self
    }

    /// Waits until it is so, through times when the store is busy or can't be reached.
    async fn passed(&self) -> Result<()> {
        let until = self.within.map(|within| Instant::now() + within);
        let mut pause = PAUSES.0;
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let wait_ms = left.map_or(limits::WAIT_MS_MAX, |left| {
                millis_u32(left).saturating_add(1).min(limits::WAIT_MS_MAX)
            });
            match self.group.tail(Some(self.position), wait_ms).await {
                Ok(view) if view.position > self.position => return Ok(()),
                Ok(_) => pause = PAUSES.0,
                Err(error) if error.is_retryable() && error.kind() != ErrorKind::Closed => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn wait(self) -> Result<()> {
        let Some(within) = self.within else {
            return self.passed().await;
        };
        match tokio::time::timeout(within, self.passed()).await {
            Ok(passed) => passed,
            Err(_) => self.late(within).await,
        }
    }

    /// It is not so in time, unless it became so meanwhile.
    async fn late(&self, within: Duration) -> Result<()> {
        let view = self.group.look().await?;
        if view.position > self.position {
            return Ok(());
        }
        let behind = self.position.sequence + 1 - view.position.sequence;
        Err(Error::new(
            ErrorKind::Busy,
            format!(
                "the group {} has not passed {} within {within:?}: it has {behind} events to go",
                view.name, self.position
            ),
        )
        .next("answer with what there is, or wait longer; see whether its members are well"))
    }
}

impl IntoFuture for Reached {
    type Output = Result<()>;
    type IntoFuture = BoxFuture<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.wait())
    }
}
