//! Having a group go on elsewhere, and what that would bring.

use std::future::IntoFuture;

use posthaste_core::group::GroupView;
use posthaste_core::topic::{EventPage, Gap, TailTopic, TopicRead};
use posthaste_core::{Command, Commit, Error, ErrorKind, Position, Result, WallMs};

use super::ReadFrom;
use super::group::Group;
use crate::enqueue::BoxFuture;
use crate::hub::Posthaste;

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

/// What a reset would bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replay {
    /// Where the group is.
    pub position: Position,
    /// Where it would go on.
    pub to: Position,
    /// Events that it is through with, and would handle again. At most: compaction may have taken some.
    pub again: u64,
    /// Events that it has not handled, and would pass over.
    pub passed_over: u64,
    /// Events in the hands of members, who would hold them no longer.
    pub leased: u64,
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
        replay(self.group.hub(), &view, self.to).await
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

/// When the first event was published that the group is not through with; `None` where it is through
/// with everything. One event is read; where that is gone, a second one: the first that is left.
pub(super) async fn oldest(hub: &Posthaste, group: &GroupView) -> Result<Option<WallMs>> {
    if group.lag == 0 {
        return Ok(None);
    }
    let page = match read(hub, group, ReadFrom::Position(group.position)).await? {
        Err(gap) => read(hub, group, ReadFrom::Position(gap.earliest)).await?,
        page => page,
    };
    let first = page.ok().and_then(|page| page.events.into_iter().next());
    Ok(first.map(|event| event.at))
}

async fn replay(hub: &Posthaste, group: &GroupView, to: ReadFrom) -> Result<Replay> {
    let page = read(hub, group, to)
        .await?
        .map_err(|gap| gone(group, &gap))?;
    let first = page.events.first();
    let to = match to {
        ReadFrom::Position(position) => position,
        _ => first.map_or(page.next, |event| event.position),
    };
    let (at, head) = (group.position.sequence, group.head.sequence);
    let unfinished = match to.sequence <= at {
        true => group.unfinished,
        // How many of them lie behind that place is not known here.
        false => 0,
    };
    let finished = head.saturating_sub(to.sequence);
    Ok(Replay {
        position: group.position,
        to,
        again: finished.saturating_sub(unfinished),
        passed_over: to.sequence.saturating_sub(at),
        leased: group.leased,
    })
}

/// One event of the group's topic from there on.
async fn read(
    hub: &Posthaste,
    group: &GroupView,
    from: ReadFrom,
) -> Result<Result<EventPage, Gap>> {
    let mut ask = TailTopic::new(group.topic.clone(), from);
    ask.max = 1;
    if let ReadFrom::Offset { partition, .. } = from {
        ask.partition = Some(partition);
    }
    Ok(match hub.store().read(ask).await? {
        TopicRead::Page(page) => Ok(page),
        TopicRead::Gap(gap) => Err(gap),
    })
}

fn gone(group: &GroupView, gap: &Gap) -> Error {
    let why = gap.reason.as_str();
    Error::new(
        ErrorKind::Invalid,
        format!(
            "what lay there in the topic {} can't be read any more ({why})",
            group.topic
        ),
    )
    .next(format!("start from earliest, which is {}", gap.earliest))
}
