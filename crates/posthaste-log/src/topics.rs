//! The events of topics, as far as they are durable: where each batch lies, and who waits for the
//! next.
//!
//! The sequencer tells what became true once it is synced, so that a reader can see nothing that a
//! power cut could take back. Reading needs neither the sequencer nor its thread: a reader takes the
//! places of a page under the lock, and reads them without it.

mod mover;
mod page;
mod pick;
mod shelf;
mod waiting;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use posthaste_core::machine::{Batch, TopicChange};
use posthaste_core::topic::{
    EventPage, Gap, GapReason, Position, ReadFrom, TailTopic, TopicConfig, TopicRead, TopicView,
};
use posthaste_core::{Error, ErrorKind, MonoMs, Now, Result, TopicName, WallMs, limits};

use crate::archive::Reader;
use crate::bodies::Bodies;
use crate::commits::Shared;
pub(crate) use mover::{Home, Mover, Unmoved};
pub(crate) use page::{Fetch, event};
pub(crate) use pick::{Fed, Feed, Pick, Picked};
use shelf::Shelf;
use waiting::Waiting;

/// What became of a topic, with the record of what was published where that is kept in memory.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) what: TopicChange,
    pub(crate) record: Option<Bytes>,
}

/// What the tail's thread is told to do.
#[derive(Debug)]
pub(crate) enum Order {
    /// Read a page.
    Read(Box<Fetch>, oneshot::Sender<Result<page::Read>>),
    /// Look up where a read begins.
    Seek(Reader, ReadFrom, oneshot::Sender<Result<u64>>),
    /// Read something for a group.
    Group(Box<crate::members::Order>, Weak<Shared>),
    /// End.
    Stop,
}

impl Order {
    /// Does it. The tail's thread calls this.
    pub(crate) fn obey(self, bodies: &Bodies) {
        match self {
            Self::Read(page, reply) => {
                let _hung_up = reply.send(page.read(bodies));
            }
            Self::Seek(archive, from, reply) => {
                let found = match from {
                    ReadFrom::Time(at) => archive.position_at_time(at),
                    ReadFrom::Offset { partition, offset } => {
                        archive.position_of(partition, offset)
                    }
                    _ => Ok(archive.earliest()),
                };
                let _hung_up = reply.send(found);
            }
            Self::Group(order, shared) => {
                let Some(shared) = shared.upgrade() else {
                    return;
                };
                let done = order.obey(&shared.topics, bodies, &shared.inbox);
                if let Err(error) = done
                    && error.kind() != ErrorKind::Closed
                {
                    shared.stats.problem(error.to_string());
                }
            }
            Self::Stop => {}
        }
    }
}

/// Every topic.
#[derive(Debug)]
pub(crate) struct Topics {
    epoch: u32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    numbers: BTreeMap<Arc<str>, u32>,
    shelves: BTreeMap<u32, Shelf>,
    waiting: Waiting,
    closed: Option<Error>,
}

/// One read under way: from where it goes on once that is known.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) ask: TailTopic,
    /// The topic's number, and the next position to examine.
    at: Option<(u32, From)>,
    /// Where the archive says that it begins, by time or by offset.
    sought: Option<u64>,
    /// Something was examined already, or waited for: where it goes on is no matter of choice.
    begun: bool,
    /// When it stops waiting.
    until: MonoMs,
}

/// Where a read goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum From {
    /// At that position.
    Position(u64),
    /// At that offset of a partition, which lies at that position or behind it.
    Offset(u16, u64, u64),
}

impl From {
    fn position(self) -> u64 {
        match self {
            Self::Position(position) | Self::Offset(_, _, position) => position,
        }
    }
}

/// What a read does next.
pub(crate) enum Step {
    /// It is answered.
    Done(TopicRead),
    /// It asks the archive where it begins.
    Seek(Reader, ReadFrom),
    /// It fetches a page.
    Fetch(Box<Fetch>),
    /// It waits until this is told; the sequencer is to be told of it where its end is the next one.
    Wait(oneshot::Receiver<()>, bool),
}

impl Reading {
    pub(crate) fn new(ask: TailTopic, now: MonoMs) -> Self {
        let wait_ms = u64::from(ask.wait_ms.min(limits::WAIT_MS_MAX));
        Self {
            until: now.plus(wait_ms),
            at: None,
            sought: None,
            begun: false,
            ask,
        }
    }

    /// Takes the archive's answer.
    pub(crate) fn found(&mut self, position: u64) {
        self.sought = Some(position);
    }

    /// When it stops waiting.
    pub(crate) const fn until(&self) -> MonoMs {
        self.until
    }

    /// Goes on behind what was examined, and says whether that was anything. It was not where
    /// retention took what was about to be read: where the read begins is then looked for again.
    pub(crate) fn went_on(&mut self, next: u64) -> bool {
        match &mut self.at {
            Some((_, at)) if at.position() < next => {
                *at = From::Position(next);
                self.begun = true;
                true
            }
            _ => {
                if !self.begun {
                    (self.at, self.sought) = (None, None);
                }
                false
            }
        }
    }
}

impl Topics {
    /// What is known when a store is opened.
    pub(crate) fn new(epoch: u32, changes: Vec<Change>, now: WallMs) -> Self {
        let topics = Self {
            epoch,
            state: Mutex::default(),
        };
        topics.apply(changes, now);
        topics
    }

    fn hold(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The history in which positions count.
    pub(crate) const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The place with that number in a topic.
    pub(crate) fn position(&self, topic: u32, sequence: u64) -> Position {
        Position {
            epoch: self.epoch,
            topic,
            sequence,
        }
    }

    /// Makes visible what is durable.
    pub(crate) fn apply(&self, changes: Vec<Change>, now: WallMs) {
        let mut state = self.hold();
        for Change { what, record } in changes {
            match what {
                TopicChange::Set { topic, is } => {
                    state.numbers.insert(Arc::clone(&is.name), topic);
                    match state.shelves.get_mut(&topic) {
                        Some(shelf) => shelf.configure(is.config, now),
                        None => drop(state.shelves.insert(topic, Shelf::new(is))),
                    }
                }
                TopicChange::Deleted { topic } => {
                    // When a store is opened, a topic of the same name may have been made already.
                    if let Some(shelf) = state.shelves.remove(&topic)
                        && state.numbers.get(&shelf.name) == Some(&topic)
                    {
                        state.numbers.remove(&shelf.name);
                    }
                    state.waiting.wake(topic);
                }
                TopicChange::Published(batch) => {
                    let topic = batch.topic;
                    if let Some(shelf) = state.shelves.get_mut(&topic) {
                        shelf.push(batch, record, now);
                    }
                    state.waiting.wake(topic);
                }
            }
        }
    }

    /// Takes over what was found when the store was opened: what became of topics, and the archives
    /// of those whose events left the journal.
    pub(crate) fn open(&self, changes: Vec<Change>, archives: Vec<(u32, Reader)>, now: WallMs) {
        // The archives come first, so that what is in them is not held twice.
        let (made, rest): (Vec<_>, Vec<_>) = changes
            .into_iter()
            .partition(|change| matches!(change.what, TopicChange::Set { .. }));
        self.apply(made, now);
        self.moved(archives);
        self.apply(rest, now);
    }

    /// Events left the journal: from now on they are read from these archives, as far as those
    /// reach.
    pub(crate) fn moved(&self, archives: Vec<(u32, Reader)>) {
        let mut state = self.hold();
        for (topic, archive) in archives {
            if let Some(shelf) = state.shelves.get_mut(&topic) {
                shelf.moved(archive);
            }
        }
    }

    /// What a read does next, at `now`.
    ///
    /// # Errors
    /// As [`Store::read`](posthaste_core::Store::read).
    pub(crate) fn step(&self, reading: &mut Reading, now: Now, bodies: &Bodies) -> Result<Step> {
        let mut state = self.hold();
        if let Some(closed) = &state.closed {
            return Err(closed.clone());
        }
        let number = match reading.at {
            Some((number, _)) => number,
            None => *state
                .numbers
                .get(reading.ask.topic.as_str())
                .ok_or_else(|| no_such_topic(&reading.ask.topic))?,
        };
        let Some(shelf) = state.shelves.get_mut(&number) else {
            return Err(no_such_topic(&reading.ask.topic));
        };
        shelf.retain(now.wall);
        let (earliest, end) = (
            self.position(number, shelf.earliest()),
            self.position(number, shelf.end()),
        );
        let gap = |reason| {
            Ok(Step::Done(TopicRead::Gap(Gap {
                reason,
                earliest,
                end,
            })))
        };
        let from = match reading.at {
            Some((_, from)) => from,
            None => match begin(reading, shelf, earliest, end)? {
                Begin::At(from) => from,
                Begin::Gap(reason) => return gap(reason),
                Begin::Seek(archive) => return Ok(Step::Seek(archive, reading.ask.from)),
            },
        };
        reading.at = Some((number, from));
        if from.position() < earliest.sequence {
            return gap(GapReason::Retention);
        }
        if from.position() < end.sequence {
            let fetch = shelf.fetch(&reading.ask, from, (earliest, end), bodies);
            return Ok(Step::Fetch(Box::new(fetch)));
        }
        if now.mono >= reading.until {
            let page = EventPage {
                events: Vec::new(),
                next: earliest.at(from.position()),
                earliest,
                end,
            };
            return Ok(Step::Done(TopicRead::Page(page)));
        }
        reading.begun = true;
        let (told, nearer) = state.waiting.add(number, reading.until)?;
        Ok(Step::Wait(told, nearer))
    }

    /// The position at which a read would begin.
    ///
    /// # Errors
    /// As [`Topics::step`].
    pub(crate) fn start(&self, reading: &mut Reading, now: Now) -> Result<Start> {
        let mut state = self.hold();
        let named = state.numbers.get(reading.ask.topic.as_str()).copied();
        let number = named.ok_or_else(|| no_such_topic(&reading.ask.topic))?;
        let Some(shelf) = state.shelves.get_mut(&number) else {
            return Err(no_such_topic(&reading.ask.topic));
        };
        shelf.retain(now.wall);
        let earliest = self.position(number, shelf.earliest());
        let end = self.position(number, shelf.end());
        let gap = |reason| {
            Start::Gap(Gap {
                reason,
                earliest,
                end,
            })
        };
        Ok(match begin(reading, shelf, earliest, end)? {
            Begin::At(From::Position(position)) if position < earliest.sequence => {
                gap(GapReason::Retention)
            }
            Begin::At(From::Position(position)) => Start::At(position),
            Begin::At(From::Offset(partition, _, position)) => Start::Offset(partition, position),
            Begin::Gap(reason) => gap(reason),
            Begin::Seek(archive) => Start::Seek(archive),
        })
    }

    /// What is needed to read the events at these positions of a topic, which rise. `None` where the
    /// topic is gone.
    pub(crate) fn pick(&self, topic: u32, picks: Vec<u64>, bodies: &Bodies) -> Option<Pick> {
        let state = self.hold();
        let shelf = state.shelves.get(&topic)?;
        Some(shelf.pick(picks, self.position(topic, 0), bodies))
    }

    /// What is needed to feed a group from there on.
    pub(crate) fn feed(&self, topic: u32, from: u64, max: usize, bodies: &Bodies) -> Option<Feed> {
        let state = self.hold();
        let shelf = state.shelves.get(&topic)?;
        Some(shelf.feed(from, max, bodies))
    }

    /// Ends the waits that are over.
    pub(crate) fn end_waits(&self, now: MonoMs) {
        self.hold().waiting.end(now);
    }

    /// Milliseconds until the next wait is over.
    pub(crate) fn next_end_ms(&self, now: MonoMs) -> Option<u64> {
        self.hold().waiting.next_end_ms(now)
    }

    /// Nothing is read any more, and whoever waits is told why.
    pub(crate) fn close(&self, why: &Error) {
        let mut state = self.hold();
        if state.closed.is_none() {
            state.closed = Some(why.clone());
            state.waiting.wake_all();
        }
    }

    /// The settings of a topic, and how many bytes and events of it are in the journal. `None` where
    /// it is gone.
    pub(crate) fn in_journal(&self, topic: u32, beyond: u64) -> Option<(TopicConfig, u64, u64)> {
        let state = self.hold();
        let shelf = state.shelves.get(&topic)?;
        let (bytes, events) = shelf.in_journal(beyond);
        Some((shelf.config, bytes, events))
    }

    /// The first position of a topic that is kept. `None` where it is gone.
    pub(crate) fn kept_from(&self, topic: u32) -> Option<u64> {
        self.hold().shelves.get(&topic).map(Shelf::earliest)
    }

    /// What is known of the batch of a topic that begins at that position, as long as it is kept and
    /// was not moved.
    pub(crate) fn batch_at(&self, topic: u32, position: u64) -> Option<Batch> {
        self.hold().shelves.get(&topic)?.batch_at(position)
    }

    /// Whether there are events that did not leave the journal.
    pub(crate) fn are_in_journal(&self) -> bool {
        let state = self.hold();
        state
            .shelves
            .values()
            .any(|shelf| shelf.in_journal(0).1 > 0)
    }

    /// Every topic, by name.
    pub(crate) fn views(&self, now: WallMs) -> Result<Vec<TopicView>> {
        let mut state = self.hold();
        if let Some(closed) = &state.closed {
            return Err(closed.clone());
        }
        let State {
            numbers, shelves, ..
        } = &mut *state;
        let views = numbers.values().filter_map(|number| {
            let shelf = shelves.get_mut(number)?;
            shelf.retain(now);
            shelf.view(self.position(*number, 0))
        });
        Ok(views.collect())
    }
}

/// Where a group is to start.
pub(crate) enum Start {
    /// At that position.
    At(u64),
    /// At the first event of a partition from its offset on, which lies at that position or behind.
    Offset(u16, u64),
    /// The archive is to be asked first.
    Seek(Reader),
    /// What lay there is gone.
    Gap(Gap),
}

/// Where a read begins.
enum Begin {
    At(From),
    /// What lay there is gone.
    Gap(GapReason),
    /// The archive is to be asked first.
    Seek(Reader),
}

fn begin(reading: &Reading, shelf: &Shelf, earliest: Position, end: Position) -> Result<Begin> {
    let ask = &reading.ask;
    let archive = shelf.archive().filter(|_| reading.sought.is_none());
    if let Some(partition) = ask.partition {
        has_partition(&ask.topic, shelf, partition)?;
    }
    Ok(match ask.from {
        ReadFrom::Earliest => Begin::At(From::Position(earliest.sequence)),
        ReadFrom::Latest => Begin::At(From::Position(end.sequence)),
        ReadFrom::Position(position) if !position.is_of(end) => Begin::Gap(GapReason::History),
        ReadFrom::Position(position) if position.sequence > end.sequence => {
            return Err(past_the_end(
                &format!("the position {position}"),
                &format!("the end at {end}"),
            ));
        }
        ReadFrom::Position(position) => Begin::At(From::Position(position.sequence)),
        ReadFrom::Time(at) if shelf.gone_at().is_some_and(|gone| gone >= at) => {
            Begin::Gap(GapReason::Retention)
        }
        ReadFrom::Time(at) => match archive {
            Some(archive) => Begin::Seek(archive),
            None => Begin::At(From::Position(shelf.position_at(at, reading.sought))),
        },
        ReadFrom::Offset { partition, offset } => {
            has_partition(&ask.topic, shelf, partition)?;
            let next = shelf.next_offset(partition);
            if offset > next {
                return Err(past_the_end(
                    &format!("the offset {offset} of partition {partition}"),
                    &format!("the end at {next}"),
                ));
            }
            match archive {
                _ if offset == next => Begin::At(From::Offset(partition, offset, end.sequence)),
                _ if offset < shelf.first_offset(partition) => Begin::Gap(GapReason::Retention),
                Some(archive) => Begin::Seek(archive),
                None => {
                    let position = shelf.position_of(partition, offset, reading.sought);
                    Begin::At(From::Offset(partition, offset, position))
                }
            }
        }
    })
}

fn has_partition(topic: &TopicName, shelf: &Shelf, partition: u16) -> Result<()> {
    let partitions = shelf.config.partitions;
    if partition < partitions {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Invalid,
        format!("the topic {topic} has no partition {partition}"),
    )
    .next(format!("name one of 0 to {}", partitions - 1)))
}

fn past_the_end(what: &str, end: &str) -> Error {
    Error::new(
        ErrorKind::Invalid,
        format!("{what} lies past {end}: nothing was published there yet"),
    )
    .next("give back a cursor as it was told, or read from latest")
}

/// What is said where there is no such topic.
pub(crate) fn no_such_topic(topic: &TopicName) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no topic {topic}"))
        .next("check its name, publish to it, or make it: posthaste topics set NAME")
}
