//! Having a group go on elsewhere, and what that would bring.

use std::future::IntoFuture;

use posthaste_core::{Command, Commit, Result};

use super::ReadFrom;
use super::group::Group;
use super::standing::{Replay, replay};
use crate::enqueue::BoxFuture;

/// A reset of a group that is being put together; `.await` it, or look at it first.
///
/// The group goes on at the new place: what lies behind it is handled again, what lies before is
/// passed over. Parked events and dead letters stay as they are. Every member loses its membership and
/// joins again.
///
/// # Errors
/// `NotFound` where there is no such group; `Conflict` where members hold events, unless by
/// [`force`](Self::force); `Invalid` for a place past the end, or of another history; what the store
/// adds.
#[derive(Debug)]
#[must_use = "a reset does nothing until it is awaited"]
pub struct ResetGroup {
    group: Group,
    to: ReadFrom,
    force: bool,
}

impl ResetGroup {
    pub(super) fn new(group: &Group, to: ReadFrom) -> Self {
        Self {
            group: group.clone(),
            to,
            force: false,
        }
    }

    /// Also while members hold events: they hold them no longer, and their handlers are stopped.
    pub fn force(mut self) -> Self {
        self.force = true;
        self
    }

    /// Changes nothing, and tells what the reset would bring.
    ///
    /// # Errors
    /// As the reset itself; `Invalid` where what lies there can't be read any more.
    pub async fn dry_run(self) -> Result<Replay> {
        let view = self.group.look().await?;
        replay(&**self.group.hub().store(), &view, self.to).await
    }
}

impl IntoFuture for ResetGroup {
    type Output = Result<()>;
    type IntoFuture = BoxFuture<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let (topic, group) = self.group.names()?;
            let reset = Command::ResetGroup {
                topic,
                group,
                to: self.to,
                force: self.force,
            };
            let hub = self.group.hub();
            hub.apply(Commit::one(reset)).await.map(drop)
        })
    }
}
