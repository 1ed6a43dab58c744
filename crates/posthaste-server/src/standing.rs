//! Where a consumer group stands in its topic: since when it is behind, and what a reset would bring.
//!
//! The route and the command of the same name ask here, so that both say the same. Nothing here
//! changes anything.

use posthaste::wire;
use posthaste_core::group::GroupView;
use posthaste_core::topic::{EventPage, Gap, ReadFrom, TailTopic, TopicRead};
use posthaste_core::{Error, ErrorKind, Result, Store, WallMs};

/// When the first event was published that the group is not through with; `None` where it is through
/// with everything. One event is read, where that is gone, a second one: the first that is left.
///
/// # Errors
/// As [`Store::read`].
pub async fn oldest(store: &dyn Store, group: &GroupView) -> Result<Option<WallMs>> {
    if group.lag == 0 {
        return Ok(None);
    }
    let read = match read(store, group, ReadFrom::Position(group.position)).await? {
        Err(gap) => self::read(store, group, ReadFrom::Position(gap.earliest)).await?,
        page => page,
    };
    let page = read.ok();
    Ok(page.and_then(|page| page.events.first().map(|event| event.at)))
}

/// What a reset of the group to there would bring.
///
/// # Errors
/// As [`Store::read`]; `Invalid` where that place can't be read any more.
pub async fn replay(store: &dyn Store, group: &GroupView, to: ReadFrom) -> Result<wire::Replay> {
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
    Ok(wire::Replay {
        position: group.position.to_string(),
        to: to.to_string(),
        events: finished.saturating_sub(unfinished),
        skipped: to.sequence.saturating_sub(at),
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
    Error::new(
        ErrorKind::Invalid,
        format!(
            "what lay there in the topic {} can't be read any more ({})",
            group.topic,
            gap.reason.as_str()
        ),
    )
    .next(format!("start from earliest, which is {}", gap.earliest))
}
