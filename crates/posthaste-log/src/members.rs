//! What members of groups are handed, who waits to be a member's turn or for a group to have passed
//! something, and what is read for groups beside the sequencer.

mod waiting;

use std::sync::{Arc, Weak};

use bytes::Bytes;
use posthaste_core::group::{KeptEvent, KeptPage, LeasedEvent, LeasedEvents};
use posthaste_core::machine::{EventGrant, Feed, Keep, Place, SavedKept};
use posthaste_core::{ErrorKind, Event, Position, Result, Token};

pub(crate) use waiting::{Members, Passers};

use crate::bodies::{Bodies, Unreadable};
use crate::effect;
use crate::format::Damage;
use crate::format::events::{self, Said, Stands};
use crate::inbox::{Ask, Inbox, Reply};
use crate::segments::Segment;
use crate::topics::{Fed, Pick, Picked, Topics};

/// Something to be read for a group.
#[derive(Debug)]
pub(crate) enum Order {
    /// What comes next.
    Feed(Feed),
    /// An event that is to be kept, and what its copy lies in.
    Keep(Keep, Vec<Arc<Segment>>),
}

/// An event that was read to be kept, or to be handed out.
#[derive(Debug)]
pub(crate) struct Copying {
    pub(crate) group: u32,
    pub(crate) position: u64,
    pub(crate) record: Copied,
}

/// What there is of an event.
#[derive(Debug)]
pub(crate) enum Copied {
    /// The record of its copy.
    Whole(Bytes),
    /// It is gone, or damaged: what was found then, naming file and offset.
    Lost(Option<String>),
    /// The disk does not give it out now.
    Later,
}

/// Events that were handed out, before they are read.
#[derive(Debug)]
pub(crate) struct Leased {
    pub(crate) group: u32,
    pub(crate) topic: u32,
    pub(crate) token: Token,
    /// The member joined by this: nobody knows its token yet.
    pub(crate) joined: bool,
    pub(crate) max_attempts: u16,
    pub(crate) grants: Vec<EventGrant>,
    /// What the copies of kept events lie in.
    pub(crate) pinned: Vec<Arc<Segment>>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) inbox: Weak<Inbox>,
}

/// Events on their way to a member. Dropped on the way, they are given back.
#[derive(Debug)]
pub(crate) struct Delivered {
    events: LeasedEvents,
    group: u32,
    joined: bool,
    taken: bool,
    inbox: Weak<Inbox>,
}

impl Delivered {
    /// The events, which are the taker's business from now on.
    pub(crate) fn take(mut self) -> LeasedEvents {
        self.taken = true;
        LeasedEvents {
            token: self.events.token,
            events: std::mem::take(&mut self.events.events),
        }
    }
}

impl Drop for Delivered {
    fn drop(&mut self) {
        let nothing = self.events.events.is_empty() && !self.joined;
        let Some(inbox) = self.inbox.upgrade().filter(|_| !self.taken && !nothing) else {
            return;
        };
        let events = self.events.events.iter();
        let positions = events.map(|leased| leased.event.position.sequence);
        // A closed store takes nothing back: the membership ends with it.
        let _closed = inbox.ask(Ask::Untaken {
            group: self.group,
            token: self.events.token,
            joined: self.joined,
            positions: positions.collect(),
        });
    }
}

impl Leased {
    fn pick(&self, bodies: &Bodies) -> Option<Pick> {
        let in_topic = self.grants.iter().filter(|grant| !grant.place.is_some());
        let mut picks: Vec<u64> = in_topic.map(|grant| grant.position).collect();
        picks.sort_unstable();
        self.topics.pick(self.topic, picks, bodies)
    }

    /// Whether it takes nothing from the disk.
    pub(crate) fn is_at_hand(&self, bodies: &Bodies) -> bool {
        let copies = self.grants.iter().filter(|grant| grant.place.is_some());
        let mut copies = copies.map(|grant| bodies.at_hand(grant.place).is_some());
        copies.all(|at_hand| at_hand)
            && self.pick(bodies).is_none_or(|pick| pick.is_at_hand(bodies))
    }

    /// Reads what was handed out. An event that is gone, or damaged, is left out and passed by its
    /// group.
    ///
    /// # Errors
    /// `Unavailable` or `Io` where the disk does not give one out, which may pass: nothing is lost.
    pub(crate) fn read(self, bodies: &Bodies) -> Result<Delivered> {
        let picked = match self.pick(bodies) {
            Some(pick) => pick.read(bodies)?,
            None => Picked::default(),
        };
        let (mut found, damage) = (picked.events, picked.damage);
        let mut damage: Vec<String> = damage.iter().map(ToString::to_string).collect();
        for grant in self.grants.iter().filter(|grant| grant.place.is_some()) {
            let zero = self.topics.position(self.topic, 0);
            match read_copy(grant.place, &self.pinned, zero, bodies) {
                Ok(event) => found.push(event),
                Err(error) if error.kind() == ErrorKind::Corrupt => damage.push(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        found.sort_unstable_by_key(|event| event.position);
        let (mut events, mut lost) = (Vec::with_capacity(self.grants.len()), Vec::new());
        for grant in &self.grants {
            let at = found.binary_search_by_key(&grant.position, |of| of.position.sequence);
            match at.ok().and_then(|at| found.get(at)) {
                Some(event) => events.push(LeasedEvent {
                    event: event.clone(),
                    attempt: grant.attempt,
                    max_attempts: self.max_attempts,
                    crashes: grant.crashes,
                }),
                None => lost.push(grant.position),
            }
        }
        if let Some(inbox) = self.inbox.upgrade() {
            for position in lost {
                let _closed = inbox.ask(Ask::Kept(Copying {
                    group: self.group,
                    position,
                    record: Copied::Lost(damage.pop()),
                }));
            }
        }
        Ok(Delivered {
            events: LeasedEvents {
                token: self.token,
                events,
            },
            group: self.group,
            joined: self.joined,
            taken: false,
            inbox: self.inbox,
        })
    }

    /// What gives the events back.
    fn untaken(&self) -> Ask {
        Ask::Untaken {
            group: self.group,
            token: self.token,
            joined: self.joined,
            positions: self.grants.iter().map(|grant| grant.position).collect(),
        }
    }
}

/// Reads what was handed out and gives it to the member; what the disk does not give now is given
/// back.
pub(crate) fn deliver(leased: Leased, reply: Reply<Delivered>, bodies: &Bodies) {
    let (untaken, inbox) = (leased.untaken(), Weak::clone(&leased.inbox));
    let read = leased.read(bodies);
    if read.is_err()
        && let Some(inbox) = inbox.upgrade()
    {
        let _closed = inbox.ask(untaken);
    }
    effect::tell(reply, read);
}

/// Reads the copy of an event.
fn read_copy(
    place: Place,
    pinned: &[Arc<Segment>],
    zero: Position,
    bodies: &Bodies,
) -> Result<Event> {
    let damaged = |damage| unreadable_kept(&Unreadable::at(place, damage));
    let record = bodies.read(place, pinned);
    let record = record.map_err(|unreadable| unreadable_kept(&unreadable))?;
    kept_event(&record, zero).map_err(damaged)
}

/// One row of a page of kept events, before it is read.
#[derive(Debug)]
pub(crate) struct KeptRow {
    pub(crate) position: u64,
    pub(crate) kept: SavedKept,
    pub(crate) zero: Position,
    pub(crate) pinned: Vec<Arc<Segment>>,
}

/// Reads a page of kept events.
pub(crate) fn kept_page(rows: &[KeptRow], next: Option<u64>, bodies: &Bodies) -> Result<KeptPage> {
    let events = rows.iter().map(|row| row.read(bodies));
    Ok(KeptPage {
        events: events.collect::<Result<_>>()?,
        next,
    })
}

impl KeptRow {
    fn read(&self, bodies: &Bodies) -> Result<KeptEvent> {
        let told = |error: posthaste_core::Error| {
            let message = format!("the event {}: {}", self.position, error.message());
            let next = error.next_step().unwrap_or_default().to_owned();
            posthaste_core::Error::new(error.kind(), message).next(next)
        };
        let event = read_copy(self.kept.place, &self.pinned, self.zero, bodies).map_err(told)?;
        let error = match self.kept.note.is_some() {
            true => {
                let note = self.kept.note;
                let record = bodies.read(note, &self.pinned);
                let record = record.map_err(|unreadable| told(unreadable_kept(&unreadable)))?;
                let why = events::read_why(&record)
                    .map_err(|damage| told(unreadable_kept(&Unreadable::at(note, damage))))?;
                Some(why.into())
            }
            false => None,
        };
        Ok(KeptEvent {
            event,
            reason: self.kept.why,
            error,
            attempts: self.kept.attempts,
            at: self.kept.at,
        })
    }
}

fn unreadable_kept(unreadable: &Unreadable) -> posthaste_core::Error {
    if unreadable.may_pass() {
        let message = format!("a kept event can't be read now: {unreadable}");
        return posthaste_core::Error::new(ErrorKind::Unavailable, message)
            .next("try again; see to the disk where it stays");
    }
    posthaste_core::Error::new(
        ErrorKind::Corrupt,
        format!("a kept event can't be read: {unreadable}"),
    )
    .next("run `posthaste verify`; skip the event by its position, or restore a backup")
}

fn kept_event(record: &Bytes, zero: Position) -> Result<Event, Damage> {
    let (stands, said) = events::read_kept(record)?;
    Ok(of(stands, said, zero))
}

fn of(stands: Stands, said: Said, zero: Position) -> Event {
    let place = (zero.at(stands.position), stands.partition, stands.offset);
    crate::topics::event(said, stands.at, place)
}

impl Order {
    /// Does it, and asks the sequencer to go on. The tail's thread calls this.
    pub(crate) fn obey(self, topics: &Topics, bodies: &Bodies, inbox: &Inbox) -> Result<()> {
        match self {
            Self::Feed(Feed {
                group,
                topic,
                from,
                max,
            }) => {
                let max = usize::try_from(max).unwrap_or(usize::MAX);
                let fed = match topics.feed(topic, from, max, bodies) {
                    Some(feed) => feed.read(bodies),
                    None => Ok(Fed::nothing(from)),
                };
                let (fed, failed) = match fed {
                    Ok(mut fed) => {
                        let damage = fed.damage.take();
                        (fed, damage)
                    }
                    Err(error) => (Fed::nothing(from), Some(error)),
                };
                inbox.ask(Ask::Fed { group, from, fed })?;
                failed.map_or(Ok(()), Err)
            }
            Self::Keep(keep, pinned) => {
                let record = copy_of(&keep, &pinned, topics, bodies);
                let (record, failed) = match record {
                    Ok(record) => (record, None),
                    Err(error) => (Copied::Later, Some(error)),
                };
                inbox.ask(Ask::Kept(Copying {
                    group: keep.group,
                    position: keep.position,
                    record,
                }))?;
                failed.map_or(Ok(()), Err)
            }
        }
    }
}

/// The record of what is to be kept of an event.
///
/// # Errors
/// `Unavailable` or `Io` where the disk does not give it out now.
fn copy_of(
    keep: &Keep,
    pinned: &[Arc<Segment>],
    topics: &Topics,
    bodies: &Bodies,
) -> Result<Copied> {
    if keep.place.is_some() {
        return match bodies.read(keep.place, pinned) {
            Ok(record) => Ok(Copied::Whole(record)),
            Err(unreadable) if unreadable.may_pass() => Err(unreadable_kept(&unreadable)),
            Err(unreadable) => Ok(Copied::Lost(Some(unreadable_kept(&unreadable).to_string()))),
        };
    }
    let pick = topics.pick(keep.topic, vec![keep.position], bodies);
    let mut picked = match pick {
        Some(pick) => pick.read(bodies)?,
        None => Picked::default(),
    };
    Ok(match picked.events.pop() {
        Some(event) => {
            let mut record = Vec::new();
            events::write_kept(&mut record, keep.group, &event);
            Copied::Whole(Bytes::from(record))
        }
        None => Copied::Lost(picked.damage.pop().map(|damage| damage.to_string())),
    })
}
