//! Reading a topic on from a position, for as long as one likes.

use std::collections::VecDeque;
use std::time::Duration;

use posthaste_core::topic::{EventPage, TailTopic, TopicRead};
use posthaste_core::{Error, ErrorKind, Result, Text, TopicName, limits};

use super::{Gap, Position, RawEvent, ReadFrom};
use crate::hub::Posthaste;

/// How long one question to the store waits for an event.
const WAIT_MS: u32 = 30_000;
/// Pause after a question that failed: doubled each time, to the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Reads a topic on from a position: each event once, in the order of publication, for ever.
///
/// It belongs to nobody else: any number of tails read a topic, each where it is, and nothing is
/// kept of them. Keep the [`cursor`](Self::cursor) to go on from there another time; what was read
/// after it was kept is then read again.
///
/// What lay at its place and is gone is told as [`Tailed::Gap`]. It then stands still, and goes on
/// only when it is told where: there is no jump that its reader does not know of.
///
/// A store that can't be reached or is busy is asked again after a pause, which doubles from 50 ms
/// to 5 s, for as long as the future is kept; the log tells of it. Holds at most one page in memory.
///
/// Every method is cancellation safe: a future that is dropped takes no event with it.
///
/// ```
/// use posthaste::event::{ReadFrom, Tailed};
/// # use posthaste::Posthaste;
/// # async fn follow(hub: Posthaste, kept: Option<posthaste::event::Position>) -> posthaste::Result<()> {
/// let from = kept.map_or(ReadFrom::Earliest, ReadFrom::Position);
/// let mut tail = hub.topic("orders").tail().from(from).types(["order.placed"]);
/// loop {
///     match tail.next().await? {
///         Tailed::Event(event) => println!("{} at {}", event.id, event.position),
///         Tailed::Gap(gap) => {
///             eprintln!("events before {} are gone", gap.earliest);
///             tail.go_on_from_earliest();
///         }
///     }
/// #   if tail.cursor().is_some() { break }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a tail reads nothing until it is asked"]
pub struct Tail {
    hub: Posthaste,
    ask: Result<TailTopic>,
    /// What was read and not given out.
    read: VecDeque<RawEvent>,
    /// Where the first event lies that was not given out; none is not known yet.
    cursor: Option<Position>,
    /// The end of the topic as it was told last.
    end: Option<Position>,
    /// The gap that it stands before.
    gap: Option<(Gap, Told)>,
    pause: Duration,
}

/// What a [`Tail`] comes to next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tailed {
    /// An event.
    Event(RawEvent),
    /// What lay here is gone, or never was in this history: say where to go on, with
    /// [`go_on_from_earliest`](Tail::go_on_from_earliest) or [`go_on_from`](Tail::go_on_from).
    Gap(Gap),
}

/// Many at once of what a [`Tail`] comes to next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Page {
    /// Events, in order.
    Events(Vec<RawEvent>),
    /// As [`Tailed::Gap`].
    Gap(Gap),
}

impl Tail {
    pub(super) fn new(hub: &Posthaste, topic: Result<TopicName>) -> Self {
        Self {
            hub: hub.clone(),
            ask: topic.map(|topic| TailTopic::new(topic, ReadFrom::Latest)),
            read: VecDeque::new(),
            cursor: None,
            end: None,
            gap: None,
            pause: PAUSES.0,
        }
    }

    /// Where to begin. Default: the latest, which is what is published after the first question (or
    /// after [`begin`](Self::begin)).
    pub fn from(mut self, from: ReadFrom) -> Self {
        self.go_on_from(from);
        self
    }

    /// Events of these types only, at most 64. Default: of any.
    pub fn types<T: Into<Text>>(self, types: impl IntoIterator<Item = T>) -> Self {
        self.change(|ask| ask.types = types.into_iter().map(Into::into).collect())
    }

    /// Events of these keys only, at most 64. Default: of any, and without one.
    pub fn keys<T: Into<Text>>(self, keys: impl IntoIterator<Item = T>) -> Self {
        self.change(|ask| ask.keys = keys.into_iter().map(Into::into).collect())
    }

    /// Events of this partition only. Default: of all, in the order of publication.
    pub fn partition(self, partition: u16) -> Self {
        self.change(|ask| ask.partition = Some(partition))
    }

    /// Most events that are read at once, 1 to 10,000, and at most 16 MiB. Default 1000.
    pub fn page_size(self, events: u32) -> Self {
        self.change(|ask| ask.max = events)
    }

    fn change(mut self, change: impl FnOnce(&mut TailTopic)) -> Self {
        if let Ok(ask) = &mut self.ask {
            change(ask);
        }
        self
    }

    /// Fixes where it begins, without waiting for an event: with [`ReadFrom::Latest`], everything
    /// that is published from now on will be read. Done later, it does nothing.
    ///
    /// # Errors
    /// As [`next`](Self::next). A gap is not one: `next` tells it.
    pub async fn begin(&mut self) -> Result<()> {
        while self.cursor.is_none() && self.gap.is_none() {
            self.ask(0).await?;
        }
        Ok(())
    }

    /// The next event, waiting for as long as it takes. Cancellation safe.
    ///
    /// # Errors
    /// `NotFound` where there is no such topic, or no longer; `Invalid` for a name, a filter or a
    /// page size that can't be one, and for a position past the end; `Conflict` where it stands
    /// before a gap that it told, and was not told where to go on; `Corrupt`, `Closed`, and whatever
    /// else the store says that no waiting mends. Asked again after an error, it goes on where it
    /// was.
    pub async fn next(&mut self) -> Result<Tailed> {
        loop {
            if let Some(event) = self.read.pop_front() {
                self.passed(&event);
                return Ok(Tailed::Event(event));
            }
            if let Some(gap) = self.gap_to_tell()? {
                return Ok(Tailed::Gap(gap));
            }
            self.ask(WAIT_MS).await?;
        }
    }

    /// The next events, one at least, waiting for as long as it takes. Cancellation safe.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn next_page(&mut self) -> Result<Page> {
        loop {
            if !self.read.is_empty() {
                return Ok(self.give_page());
            }
            if let Some(gap) = self.gap_to_tell()? {
                return Ok(Page::Gap(gap));
            }
            self.ask(WAIT_MS).await?;
        }
    }

    /// The next events that are there already; none means that all was read up to the end. Does not
    /// wait for any to be published. Cancellation safe.
    ///
    /// ```
    /// # use posthaste::event::{Page, ReadFrom};
    /// # use posthaste::Posthaste;
    /// # async fn count(hub: &Posthaste) -> posthaste::Result<usize> {
    /// let mut tail = hub.topic("orders").tail().from(ReadFrom::Earliest);
    /// let mut count = 0;
    /// loop {
    ///     match tail.ready_page().await? {
    ///         Page::Events(events) if events.is_empty() => return Ok(count),
    ///         Page::Events(events) => count += events.len(),
    ///         Page::Gap(_) => tail.go_on_from_earliest(),
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn ready_page(&mut self) -> Result<Page> {
        while self.read.is_empty() {
            if let Some(gap) = self.gap_to_tell()? {
                return Ok(Page::Gap(gap));
            }
            self.ask(0).await?;
            if self.gap.is_none() && self.cursor >= self.end {
                break;
            }
        }
        Ok(self.give_page())
    }

    /// Where it is: the place after the event that was given out last. As text it can be kept and
    /// parsed again; [`ReadFrom::Position`] goes on there. `None` before it began.
    #[must_use]
    pub fn cursor(&self) -> Option<Position> {
        self.cursor
    }

    /// How many events lie between it and the end of the topic as it was told last, whatever their
    /// type and key. `None` before it began.
    #[must_use]
    pub fn behind(&self) -> Option<u64> {
        let (cursor, end) = (self.cursor?, self.end?);
        Some(end.sequence.saturating_sub(cursor.sequence))
    }

    /// Goes on from the oldest event that is still there: what lay between is given up. Without a
    /// gap, it does nothing.
    pub fn go_on_from_earliest(&mut self) {
        if let Some((gap, _)) = self.gap {
            self.go_on_from(ReadFrom::Position(gap.earliest));
        }
    }

    /// Goes on from any place, with or without a gap.
    pub fn go_on_from(&mut self, from: ReadFrom) {
        if let Ok(ask) = &mut self.ask {
            ask.from = from;
        }
        self.read.clear();
        self.gap = None;
        self.cursor = match from {
            ReadFrom::Position(position) => Some(position),
            _ => None,
        };
    }

    /// Asks the store, again where it fails for now, and keeps what came.
    async fn ask(&mut self, wait_ms: u32) -> Result<()> {
        let mut ask = self.ask.clone()?;
        // "The latest" is a place only once it was told; waiting for it could be given up.
        let fixed = !matches!(ask.from, ReadFrom::Latest);
        ask.wait_ms = if fixed { wait_ms } else { 0 };
        loop {
            match self.hub.store().read(ask.clone()).await {
                Ok(TopicRead::Page(page)) => {
                    self.pause = PAUSES.0;
                    self.keep_page(page);
                    return Ok(());
                }
                Ok(TopicRead::Gap(gap)) => {
                    self.gap = Some((gap, Told::No));
                    return Ok(());
                }
                Err(error) if error.is_retryable() && error.kind() != ErrorKind::Closed => {
                    tracing::warn!(topic = %ask.topic, %error, "reading on in a moment");
                    let told = error.retry_after().map(Duration::from_millis);
                    tokio::time::sleep(told.unwrap_or_default().max(self.pause)).await;
                    self.pause = (self.pause * 2).min(PAUSES.1);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn keep_page(&mut self, page: EventPage) {
        if let Ok(ask) = &mut self.ask {
            ask.from = ReadFrom::Position(page.next);
        }
        self.end = Some(page.end);
        let first = page.events.first().map(|event| event.position);
        self.cursor = Some(first.unwrap_or(page.next));
        self.read = page.events.into();
    }

    /// `event` was given out.
    fn passed(&mut self, event: &RawEvent) {
        let from = self.ask.as_ref().ok().map(|ask| ask.from);
        self.cursor = match from {
            Some(ReadFrom::Position(next)) if self.read.is_empty() => Some(next),
            _ => Some(event.position.plus(1)),
        };
    }

    fn give_page(&mut self) -> Page {
        let events: Vec<_> = std::mem::take(&mut self.read).into();
        if let Some(last) = events.last() {
            self.passed(last);
        }
        Page::Events(events)
    }

    /// The gap that it stands before, once.
    fn gap_to_tell(&mut self) -> Result<Option<Gap>> {
        match &mut self.gap {
            None => Ok(None),
            Some((gap, told @ Told::No)) => {
                *told = Told::Yes;
                Ok(Some(*gap))
            }
            Some((gap, Told::Yes)) => Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "the tail stands before a gap ({}): events before {} are gone",
                    gap.reason.as_str(),
                    gap.earliest
                ),
            )
            .next("tell it where to go on, with go_on_from_earliest() or go_on_from(…)")),
        }
    }
}

/// Whether its reader knows of a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    No,
    Yes,
}

const _: () = assert!(WAIT_MS <= limits::WAIT_MS_MAX);
