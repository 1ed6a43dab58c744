//! Reads of topics: not what is answered, but what may be.

use posthaste_core::error::{ErrorKind, Result};
use posthaste_core::limits;
use posthaste_core::topic::{
    Event, EventPage, Gap, GapReason, Position, ReadFrom, TailTopic, TopicRead,
};

use super::topics::Topic;
use super::{Model, refusal};

/// What a read comes upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// The position is of another history.
    History(Readable),
    /// These events, of which some may be gone.
    Events(Readable),
}

/// Everything that a read could be told, without a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readable {
    /// Where it begins, if that is still there.
    pub from: Position,
    /// It names that very place: where it is gone, that is a gap. Otherwise it begins with the
    /// first event that is there.
    pub exact: bool,
    /// What lies here or later is still there.
    pub sure: Position,
    /// Where the next event will be published.
    pub end: Position,
    /// What is asked for, from there to the end; and whether compaction may have taken it.
    pub events: Vec<(Event, bool)>,
}

impl Readable {
    /// From where on there is something to read for certain.
    #[must_use]
    pub fn begin(&self) -> Position {
        self.from.max(self.sure)
    }
}

impl Model {
    /// What `ask` comes upon now.
    ///
    /// # Errors
    /// `Invalid` for a bad ask, and for a place past the end; `NotFound` where there is no such
    /// topic.
    pub fn look(&self, ask: &TailTopic) -> Result<Look> {
        check_read(ask)?;
        let topic = self.topic(&ask.topic)?;
        let partitions = topic.config.partitions;
        if ask.partition.is_some_and(|it| it >= partitions) {
            return Err(refusal(ErrorKind::Invalid, "there is no such partition"));
        }
        let readable = |from, exact| Readable {
            from,
            exact,
            sure: topic.zero().at(topic.sure),
            end: topic.end(),
            events: topic.wanted(ask, from),
        };
        let (zero, end) = (topic.zero(), topic.end());
        Ok(Look::Events(match ask.from {
            ReadFrom::Earliest => readable(zero, false),
            ReadFrom::Latest => readable(end, true),
            ReadFrom::Time(at) => {
                let mut events = topic.events.iter();
                let first = events.find(|kept| kept.event.at >= at);
                readable(first.map_or(end, |kept| kept.event.position), true)
            }
            ReadFrom::Position(position) if !position.is_of(end) => {
                return Ok(Look::History(readable(zero, true)));
            }
            ReadFrom::Position(position) if position > end => {
                return Err(refusal(ErrorKind::Invalid, "it lies past the end"));
            }
            ReadFrom::Position(position) => readable(position, true),
            ReadFrom::Offset { partition, .. } if partition >= partitions => {
                return Err(refusal(ErrorKind::Invalid, "there is no such partition"));
            }
            ReadFrom::Offset { partition, offset } => {
                let mut events = topic.events.iter().map(|kept| &kept.event);
                let there = |it: &&Event| it.partition == partition && it.offset == offset;
                match events.find(there) {
                    Some(event) => readable(event.position, true),
                    None if offset == topic.next_offset(partition) => readable(end, true),
                    None => return Err(refusal(ErrorKind::Invalid, "it lies past the end")),
                }
            }
        }))
    }

    /// An answer to `ask`, of a store that lets go of events as soon as it may, and compacts
    /// nothing. `None` where it may wait for there is nothing yet.
    pub(super) fn read(&self, ask: &TailTopic) -> Result<Option<TopicRead>> {
        let (reason, readable) = match self.look(ask)? {
            Look::Events(it) if it.exact && it.from < it.sure => (Some(GapReason::Retention), it),
            Look::Events(readable) => (None, readable),
            Look::History(readable) => (Some(GapReason::History), readable),
        };
        let (earliest, end) = (readable.sure, readable.end);
        if let Some(reason) = reason {
            return Ok(Some(TopicRead::Gap(Gap {
                reason,
                earliest,
                end,
            })));
        }
        let begin = readable.begin();
        let until = begin.plus(limits::READ_EXAMINED_MAX.into()).min(end);
        let (mut events, mut next, mut bytes) = (Vec::new(), until, 0);
        for (event, _) in readable.events {
            let size = event.payload.as_ref().map_or(0, |it| it.bytes.len() as u64);
            if event.position < begin || event.position >= until {
                continue;
            }
            let full = events.len() >= ask.max as usize;
            if full || (!events.is_empty() && bytes + size > limits::READ_BYTES_MAX) {
                next = event.position;
                break;
            }
            bytes += size;
            events.push(event);
        }
        if events.is_empty() && next == end {
            return Ok(None);
        }
        Ok(Some(TopicRead::Page(EventPage {
            events,
            next,
            earliest,
            end,
        })))
    }

    /// The empty page of a wait that is over.
    pub(super) fn nothing_yet(&self, ask: &TailTopic) -> Result<TopicRead> {
        let topic = self.topic(&ask.topic)?;
        Ok(TopicRead::Page(EventPage {
            events: Vec::new(),
            next: topic.end(),
            earliest: topic.zero().at(topic.sure),
            end: topic.end(),
        }))
    }

    /// The same ask, from the place where it begins now, so that a wait does not begin anew with
    /// every event.
    pub(super) fn settled_ask(&self, ask: &TailTopic) -> Result<TailTopic> {
        let mut settled = ask.clone();
        if let Look::Events(readable) = self.look(ask)? {
            settled.from = ReadFrom::Position(if readable.exact {
                readable.from
            } else {
                readable.begin()
            });
        }
        Ok(settled)
    }
}

impl Topic {
    fn wanted(&self, ask: &TailTopic, from: Position) -> Vec<(Event, bool)> {
        let events = self.events.iter().map(|kept| (&kept.event, kept.may_miss));
        events
            .filter(|(event, _)| event.position >= from)
            .filter(|(event, _)| wants(ask, event))
            .map(|(event, may_miss)| (event.clone(), may_miss))
            .collect()
    }
}

/// Whether the event is of the partition, of one of the types and under one of the keys that are
/// asked for.
fn wants(ask: &TailTopic, event: &Event) -> bool {
    let of_partition = ask.partition.is_none_or(|it| it == event.partition);
    let of_type = ask.types.is_empty() || ask.types.contains(&event.event_type);
    let of_key = ask.keys.is_empty() || ask.keys.iter().any(|it| Some(it) == event.key.as_ref());
    of_partition && of_type && of_key
}

fn check_read(ask: &TailTopic) -> Result<()> {
    let filters = [ask.types.len(), ask.keys.len()];
    if ask.max == 0 || ask.max > limits::READ_EVENTS_MAX {
        Err(refusal(ErrorKind::Invalid, "max is 1 to 10000"))
    } else if filters.iter().any(|it| *it > limits::READ_FILTERS_MAX) {
        Err(refusal(ErrorKind::Invalid, "too many filters"))
    } else {
        Ok(())
    }
}
