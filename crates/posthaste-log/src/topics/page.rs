//! Reads a page of events, once it is known where they lie.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use posthaste_core::machine::{Batch, Place};
use posthaste_core::topic::{EventPage, Position, TailTopic, partition_of};
use posthaste_core::{Error, ErrorKind, Event, Result, WallMs, limits};

use super::From;
use super::shelf::Held;
use crate::archive::{Outcome, Reader};
use crate::bodies::{Bodies, Unreadable};
use crate::format::Damage;
use crate::format::events::{self, Events, Said};
use crate::segments::Segment;

/// A page to be read.
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(super) ask: TailTopic,
    pub(super) from: From,
    pub(super) partitions: u16,
    pub(super) earliest: Position,
    pub(super) end: Position,
    pub(super) source: Source,
}

/// Where a page lies.
#[derive(Debug)]
pub(super) enum Source {
    /// In the journal, or in memory: its batches, and the segments that are held for them.
    Journal(Vec<Held>, Vec<Arc<Segment>>),
    /// In the archive.
    Archive(Reader),
}

impl Fetch {
    /// Whether it takes nothing from the disk.
    pub(crate) fn is_at_hand(&self, bodies: &Bodies) -> bool {
        match &self.source {
            Source::Journal(held, _) => are_at_hand(held, bodies),
            Source::Archive(_) => false,
        }
    }

    /// Reads it, up to where something is damaged.
    ///
    /// # Errors
    /// `Unavailable` or `Io` where the disk does not give it out.
    pub(crate) fn read(self, bodies: &Bodies) -> Result<Read> {
        let from = self.from.position();
        let mut page = Page {
            events: Vec::new(),
            bytes: 0,
            next: from,
            full: false,
            from: self.from,
            ask: &self.ask,
            zero: self.end,
        };
        let read = match &self.source {
            Source::Journal(held, pinned) => page.journal(
                held.iter().zip(records(held, pinned, bodies)),
                self.partitions,
            ),
            Source::Archive(archive) => page.archive(archive),
        };
        let harm = match read {
            Ok(()) => None,
            // What lies before it is not lost with it: it is met again by the next read.
            Err(Unread::Harmed(_)) if page.next > from => None,
            Err(Unread::Harmed(harm)) => Some(harm),
            Err(Unread::Failed(error)) => return Err(error),
        };
        Ok(Read {
            page: EventPage {
                next: self.end.at(page.next),
                events: page.events,
                earliest: self.earliest,
                end: self.end,
            },
            harm,
        })
    }
}

/// What was read.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) page: EventPage,
    /// The read begins at what is damaged.
    pub(crate) harm: Option<Harm>,
}

/// Events that are damaged.
#[derive(Clone, Debug)]
pub(crate) struct Harm {
    /// The position behind them.
    pub(crate) behind: u64,
    /// `Corrupt`, naming file and offset.
    pub(crate) what: Error,
}

/// Why reading did not go on.
pub(super) enum Unread {
    Harmed(Harm),
    /// The disk does not give it out now.
    Failed(Error),
}

impl Unread {
    /// What became of a read of what ends before `behind`.
    pub(super) fn of(what: Error, behind: impl FnOnce() -> u64) -> Self {
        match what.kind() {
            ErrorKind::Corrupt => Self::Harmed(Harm {
                behind: behind(),
                what,
            }),
            _ => Self::Failed(what),
        }
    }
}

/// Whether none of these batches has to be read from the disk.
pub(super) fn are_at_hand(held: &[Held], bodies: &Bodies) -> bool {
    held.iter()
        .all(|one| one.record.is_some() || bodies.at_hand(one.batch.place).is_some())
}

/// The events of a batch, whose record this is.
pub(super) fn batch_of(record: Result<Bytes, Unreadable>, batch: &Batch) -> Result<Events> {
    let record = record.map_err(|error| unreadable(&error))?;
    let events = Events::read(&record).map_err(|damage| unreadable_at(batch.place, damage))?;
    if events.count() != batch.count as usize {
        return Err(unreadable_at(batch.place, Damage::Bad("count of events")));
    }
    Ok(events)
}

/// The records of batches, in their order.
pub(super) fn records(
    held: &[Held],
    pinned: &[Arc<Segment>],
    bodies: &Bodies,
) -> Vec<Result<Bytes, Unreadable>> {
    let places: Vec<Place> = held.iter().map(|one| one.batch.place).collect();
    let in_memory = held.iter().map(|one| one.record.clone());
    let mut found: Vec<Option<Result<Bytes, Unreadable>>> =
        in_memory.map(|record| record.map(Ok)).collect();
    if found.iter().any(Option::is_none) {
        bodies.read_all(&places, pinned, |index, record| {
            if let Some(slot) = found.get_mut(index) {
                *slot = Some(record);
            }
        });
    }
    let gone = |place| Err(Unreadable::at(place, Damage::Bad("segment: it is gone")));
    let all = found.into_iter().zip(places);
    all.map(|(record, place)| record.unwrap_or_else(|| gone(place)))
        .collect()
}

/// A page as it fills.
struct Page<'a> {
    events: Vec<Event>,
    bytes: u64,
    next: u64,
    full: bool,
    from: From,
    ask: &'a TailTopic,
    zero: Position,
}

impl Page<'_> {
    fn journal<'h>(
        &mut self,
        held: impl Iterator<Item = (&'h Held, Result<Bytes, Unreadable>)>,
        partitions: u16,
    ) -> Result<(), Unread> {
        for (one, record) in held {
            let unread = |error| Unread::of(error, || one.batch.end());
            let batch = batch_of(record, &one.batch).map_err(unread)?;
            self.batch(&one.batch, &batch, partitions)
                .map_err(|damage| unread(unreadable_at(one.batch.place, damage)))?;
            if self.full {
                break;
            }
        }
        Ok(())
    }

    fn batch(&mut self, batch: &Batch, events: &Events, partitions: u16) -> Result<(), Damage> {
        let mut offsets = batch.firsts.to_vec();
        for ((index, hash), position) in events.hashes().iter().enumerate().zip(batch.position..) {
            let partition = partition_of(hash, partitions);
            let next = offsets.get_mut(usize::from(partition));
            let offset = next.map_or(0, |next| std::mem::replace(next, *next + 1));
            if position < self.next {
                continue;
            }
            if self.events.len() >= self.ask.max as usize || self.bytes > limits::READ_BYTES_MAX {
                self.full = true;
                return Ok(());
            }
            if !self.is_reached(partition, offset)
                || self.ask.partition.is_some_and(|of| of != partition)
            {
                self.next = position + 1;
                continue;
            }
            let bytes = events.event(index)?;
            let size = bytes.len() as u64;
            let place = (self.zero.at(position), partition, offset);
            let event = event(events::read_event(&bytes)?, batch.at, place);
            self.next = position + 1;
            if self.ask.wants(&event) {
                self.bytes += size;
                self.events.push(event);
            }
        }
        Ok(())
    }

    fn archive(&mut self, archive: &Reader) -> Result<(), Unread> {
        let (mut harmed, from) = (None, self.next);
        let most = usize::try_from(limits::READ_BYTES_MAX).unwrap_or(usize::MAX);
        // Only what is not asked for at all is left out there: the order of the rest tells.
        let partition = match self.from {
            From::Position(_) => self.ask.partition,
            From::Offset(..) => None,
        };
        let outcome = archive.read(from, partition, most, |entry| {
            let at = entry.position;
            if let Some(lost) = events::read_lost(entry.bytes) {
                harmed = Some((at, lost_event(at, lost)));
                return ControlFlow::Break(());
            }
            let wanted = self.is_reached(entry.partition, entry.offset)
                && self.ask.partition.is_none_or(|of| of == entry.partition);
            if !wanted {
                self.next = at + 1;
                return ControlFlow::Continue(());
            }
            match events::read_event(&Bytes::copy_from_slice(entry.bytes)) {
                Ok(said) => {
                    self.next = at + 1;
                    let place = (self.zero.at(at), entry.partition, entry.offset);
                    let event = event(said, entry.at, place);
                    if self.ask.wants(&event) {
                        self.events.push(event);
                    }
                    if self.events.len() >= self.ask.max as usize {
                        return ControlFlow::Break(());
                    }
                    ControlFlow::Continue(())
                }
                Err(found) => {
                    let what = damaged_event(at, &found);
                    let behind = at + 1;
                    harmed = Some((at, Harm { behind, what }));
                    ControlFlow::Break(())
                }
            }
        });
        let outcome = outcome.map_err(|error| Unread::of(error, || archive.behind_block(from)))?;
        if let Some((at, harm)) = harmed {
            self.next = at;
            return Err(Unread::Harmed(harm));
        }
        match outcome {
            Outcome::Next(next) => self.next = next,
            // Retention took it while it was about to be read: the next look tells of it.
            Outcome::Gap { .. } => {}
        }
        Ok(())
    }

    /// Whether the offset is reached that the read begins at.
    fn is_reached(&mut self, partition: u16, offset: u64) -> bool {
        match self.from {
            From::Position(_) => true,
            From::Offset(of, first, _) if of == partition && offset >= first => {
                self.from = From::Position(self.next);
                true
            }
            From::Offset(..) => false,
        }
    }
}

pub(crate) fn event(
    said: Said,
    at: WallMs,
    (position, partition, offset): (Position, u16, u64),
) -> Event {
    Event {
        position,
        partition,
        offset,
        at,
        id: said.id,
        event_type: said.event_type,
        source: said.source,
        key: said.key,
        headers: said.headers,
        payload: said.payload,
    }
}

/// What is said of events that were damaged before they could be archived.
pub(super) fn lost_event(position: u64, lost: events::Lost<'_>) -> Harm {
    let behind = lost.behind.max(position + 1);
    let what = format!(
        "the events from position {position} to {behind} are lost: {}",
        lost.what
    );
    Harm {
        behind,
        what: Error::new(ErrorKind::Corrupt, what)
            .next("restore them from a backup, or have them published again"),
    }
}

/// What is said of an event that is damaged where it was archived.
pub(super) fn damaged_event(position: u64, damage: &Damage) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("the event at position {position} can't be read: {damage}"),
    )
    .next("run `posthaste verify`; read on behind it from a later position")
}

/// What is said of a batch that is damaged in the journal.
pub(super) fn unreadable_at(place: Place, damage: Damage) -> Error {
    unreadable(&Unreadable::at(place, damage))
}

fn unreadable(unreadable: &Unreadable) -> Error {
    if unreadable.may_pass() {
        let message = format!("events can't be read now: {unreadable}");
        return Error::new(ErrorKind::Unavailable, message)
            .next("try again; see to the disk where it stays");
    }
    Error::new(
        ErrorKind::Corrupt,
        format!("events can't be read: {unreadable}"),
    )
    .next("run `posthaste verify`; read on behind them from a later position")
}
