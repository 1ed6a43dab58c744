//! Reading events of one type on from a position.

use std::marker::PhantomData;

use posthaste_core::{Error, Result, Text};

use super::tail::{Tail, Tailed};
use super::typed::{TypedEvent, decode};
use super::{Event, Gap, Position, RawEvent, ReadFrom};

/// Reads the events of one type on from a position: a [`Tail`] whose events are read into their type.
///
/// An event that can't be read into it is told as [`TailedOf::Undecodable`] and does not end the
/// tail. Everything else is as it is with a [`Tail`], cancellation safety too.
///
/// ```
/// use posthaste::event::{ReadFrom, TailedOf};
/// # use posthaste::{Event, Posthaste};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize, Event)]
/// # #[event(topic = "orders", key = "order")]
/// # struct OrderPlaced { order: u64, total: u64 }
/// # async fn follow(hub: Posthaste) -> posthaste::Result<()> {
/// let mut tail = hub.tail_of::<OrderPlaced>().from(ReadFrom::Earliest).keys(["7"]);
/// loop {
///     match tail.next().await? {
///         TailedOf::Event(placed) => println!("{} for {}", placed.data.order, placed.data.total),
///         TailedOf::Tombstone(event) => println!("{:?} has ended", event.key),
///         TailedOf::Undecodable(bad) => eprintln!("passed over: {}", bad.error),
///         TailedOf::Gap(_) => tail.go_on_from_earliest(),
///     }
/// #   break
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "a tail reads nothing until it is asked"]
pub struct TailOf<E> {
    tail: Tail,
    of: PhantomData<fn() -> E>,
}

/// What a [`TailOf`] comes to next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TailedOf<E> {
    /// An event.
    Event(TypedEvent<E>),
    /// The end of a key: an event of the type, without a payload.
    Tombstone(RawEvent),
    /// An event that can't be read into the type. The tail goes on after it.
    Undecodable(Undecodable),
    /// What lay here is gone: see [`Tailed::Gap`].
    Gap(Gap),
}

/// An event that can't be read into its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecodable {
    /// The event as it was published.
    pub event: RawEvent,
    /// What is wrong with it.
    pub error: Error,
}

impl<E: Event> TailOf<E> {
    pub(super) fn new(tail: Tail) -> Self {
        Self {
            tail: tail.types([Text::from_static(E::TYPE)]),
            of: PhantomData,
        }
    }

    /// Where to begin: see [`Tail::from`]. Default: the latest.
    pub fn from(self, from: ReadFrom) -> Self {
        self.change(|tail| tail.from(from))
    }

    /// Events of these keys only, at most 64. Default: of any, and without one.
    pub fn keys<T: Into<Text>>(self, keys: impl IntoIterator<Item = T>) -> Self {
        self.change(|tail| tail.keys(keys))
    }

    /// Events of this partition only. Default: of all, in the order of publication.
    pub fn partition(self, partition: u16) -> Self {
        self.change(|tail| tail.partition(partition))
    }

    /// Most events that are read at once: see [`Tail::page_size`]. Default 1000.
    pub fn page_size(self, events: u32) -> Self {
        self.change(|tail| tail.page_size(events))
    }

    fn change(mut self, change: impl FnOnce(Tail) -> Tail) -> Self {
        self.tail = change(self.tail);
        self
    }

    /// Fixes where it begins: see [`Tail::begin`].
    ///
    /// # Errors
    /// As [`Tail::next`].
    pub async fn begin(&mut self) -> Result<()> {
        self.tail.begin().await
    }

    /// The next event, waiting for as long as it takes. Cancellation safe.
    ///
    /// # Errors
    /// As [`Tail::next`].
    pub async fn next(&mut self) -> Result<TailedOf<E>> {
        Ok(match self.tail.next().await? {
            Tailed::Gap(gap) => TailedOf::Gap(gap),
            Tailed::Event(event) if event.payload.is_none() => TailedOf::Tombstone(event),
            Tailed::Event(event) => match decode(&event) {
                Ok(data) => TailedOf::Event(TypedEvent { data, event }),
                Err(error) => TailedOf::Undecodable(Undecodable { event, error }),
            },
        })
    }

    /// Where it is: see [`Tail::cursor`].
    #[must_use]
    pub fn cursor(&self) -> Option<Position> {
        self.tail.cursor()
    }

    /// How many events lie before the end: see [`Tail::behind`].
    #[must_use]
    pub fn behind(&self) -> Option<u64> {
        self.tail.behind()
    }

    /// Goes on from the oldest event that is still there: see [`Tail::go_on_from_earliest`].
    pub fn go_on_from_earliest(&mut self) {
        self.tail.go_on_from_earliest();
    }

    /// Goes on from any place: see [`Tail::go_on_from`].
    pub fn go_on_from(&mut self, from: ReadFrom) {
        self.tail.go_on_from(from);
    }
}

impl<E> std::fmt::Debug for TailOf<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TailOf").field(&self.tail).finish()
    }
}
