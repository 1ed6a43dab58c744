//! Whether what a store reads of a topic is what the promises allow.

use posthaste_core::error::Result;
use posthaste_core::topic::{Event, EventPage, Gap, GapReason, Position, TailTopic, TopicRead};

use super::Verdict;
use super::judge::same;
use crate::model::{Look, Readable};

/// The answer to a read, with its places as the model tells them, is one that may be given.
///
/// What retention may have taken is told as a gap or as it was: a store may keep more than it has
/// to. What compaction may have taken may be missing. Nothing else is missing, and nothing is
/// passed over in silence.
pub(super) fn same_read(ask: &TailTopic, got: &Result<TopicRead>, look: &Result<Look>) -> Verdict {
    match (got, look) {
        (Err(got), Err(want)) => same("the refusal", &got.kind(), &want.kind()),
        (Ok(TopicRead::Gap(gap)), Ok(Look::History(readable))) => {
            same("the reason", &gap.reason, &GapReason::History)?;
            same_bounds((gap.earliest, gap.end), readable)
        }
        (Ok(TopicRead::Gap(gap)), Ok(Look::Events(readable))) => same_gap(gap, readable),
        (Ok(TopicRead::Page(page)), Ok(Look::Events(readable))) => same_page(ask, page, readable),
        _ => Err(format!("the read:\n   store {got:?}\n   model {look:?}")),
    }
}

fn same_bounds((earliest, end): (Position, Position), readable: &Readable) -> Verdict {
    same("the end", &end, &readable.end)?;
    if earliest.is_of(end) && earliest <= readable.sure {
        return Ok(());
    }
    Err(format!(
        "the earliest is {earliest}, and {} is still to be kept",
        readable.sure
    ))
}

fn same_gap(gap: &Gap, readable: &Readable) -> Verdict {
    same("the reason", &gap.reason, &GapReason::Retention)?;
    same_bounds((gap.earliest, gap.end), readable)?;
    if readable.exact && readable.from < gap.earliest {
        return Ok(());
    }
    Err(format!(
        "a gap where there is none: {gap:?}\n   {readable:?}"
    ))
}

fn same_page(ask: &TailTopic, page: &EventPage, readable: &Readable) -> Verdict {
    same_bounds((page.earliest, page.end), readable)?;
    if readable.exact && readable.from < page.earliest {
        return Err(format!("what lay at {} is passed over", readable.from));
    }
    let begin = readable.from.max(page.earliest);
    let goes_on = page.next > begin || begin == page.end;
    if !page.next.is_of(page.end) || !goes_on || page.next > page.end {
        return Err(format!("the next of {begin} is {}", page.next));
    }
    if page.events.len() > ask.max as usize {
        return Err(format!("{} events on a page", page.events.len()));
    }
    let there = |event: &Event| event.position >= begin && event.position < page.next;
    let mut told = page.events.iter().peekable();
    for (event, may_miss) in readable.events.iter().filter(|(event, _)| there(event)) {
        match told.peek() {
            Some(got) if *got == event => drop(told.next()),
            _ if *may_miss => {}
            got => return same("the event", &got, &Some(&event)),
        }
    }
    same("what is told beyond that", &told.next(), &None)
}
