//! Where a consumer group stands in its topic: since when it is behind, and what a reset would bring.
//!
//! [`Group`](super::Group) asks here, and so do the server's routes and commands, which speak to a
//! store without a hub: all of them say the same. Nothing here changes anything.

use posthaste_core::group::GroupView;
use posthaste_core::topic::{EventPage, Gap, TailTopic, TopicRead};
use posthaste_core::{Error, ErrorKind, Position, Result, Store, WallMs};

use super::ReadFrom;

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

/// When the first event was published that the group is not through with; `None` where it is through
/// with everything. One event is read; where that is gone, a second one: the first that is left.
///
/// # Errors
/// As [`Store::read`].
pub async fn oldest(store: &dyn Store, group: &GroupView) -> Result<Option<WallMs>> {
    if group.lag == 0 {
        return Ok(None);
    }
    let page = match read(store, group, ReadFrom::Position(group.position)).await? {
        Err(gap) => read(store, group, ReadFrom::Position(gap.earliest)).await?,
        page => page,
    };
    let first = page.ok().and_then(|page| page.events.into_iter().next());
    Ok(first.map(|event| event.at))
}

/// What a reset of the group to there would bring.
///
/// # Errors
/// As [`Store::read`]; `Invalid` where what lies there can't be read any more.
pub async fn replay(store: &dyn Store, group: &GroupView, to: ReadFrom) -> Result<Replay> {
    let page = read(store, group, to)
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
    store: &dyn Store,
    group: &GroupView,
    from: ReadFrom,
) -> Result<Result<EventPage, Gap>> {
    let mut ask = TailTopic::new(group.topic.clone(), from);
    ask.max = 1;
    if let ReadFrom::Offset { partition, .. } = from {
        ask.partition = Some(partition);
    }
    Ok(match store.read(ask).await? {
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
