//! The inbox: one effect for one event in a store of the program's own.
//!
//! An event may be handled more than once: after a crash, a lost membership, or a replay. What a
//! handler commits with its event ([`EventCx::commit_with`]) happens exactly once all the same. For
//! an effect elsewhere, an inbox remembers which events had theirs; the page of the module `event` shows
//! one in a database.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex};

use posthaste_core::{GroupName, Text, TopicName};

use super::context::EventCx;
use crate::outcome::{BoxError, HandlerError};
use crate::worker::batch::lock;

/// What an [`Inbox`] remembers: an event by its source and id, and the group that handled it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct InboxEntry {
    /// The topic it lies in.
    pub topic: TopicName,
    /// The group that handled it.
    pub group: GroupName,
    /// Who told it.
    pub source: Text,
    /// Its id.
    pub id: Text,
}

/// Remembers which events had their effect.
///
/// Implement it over a store of your own; in a database, better write the entry in the transaction
/// of the effect, as the [module](crate::event#an-effect-elsewhere) shows.
pub trait Inbox: Send + Sync {
    /// Whether the event had its effect.
    ///
    /// # Errors
    /// Whatever the store says; the handler then fails, and is tried again.
    fn seen(&self, entry: &InboxEntry) -> impl Future<Output = Result<bool, BoxError>> + Send;

    /// The event had its effect.
    ///
    /// # Errors
    /// Whatever the store says; the handler then fails, is tried again, and the effect happens again.
    fn record(&self, entry: &InboxEntry) -> impl Future<Output = Result<(), BoxError>> + Send;
}

impl<I: Inbox> Inbox for Arc<I> {
    fn seen(&self, entry: &InboxEntry) -> impl Future<Output = Result<bool, BoxError>> + Send {
        I::seen(self, entry)
    }

    fn record(&self, entry: &InboxEntry) -> impl Future<Output = Result<(), BoxError>> + Send {
        I::record(self, entry)
    }
}

/// Runs an effect unless the event had it before, and remembers that it had; `None` where it had.
///
/// Between the effect and the record a crash may fall, and then the effect happens again: what an
/// inbox apart from the effect gives is *seldom twice*. Only an entry in the effect's own
/// transaction gives *once*.
///
/// ```
/// # use posthaste::event::{EventCx, MemoryInbox, once};
/// # use posthaste::{Done, Event, HandlerResult, State};
/// # use serde::{Deserialize, Serialize};
/// # use std::sync::Arc;
/// # #[derive(Serialize, Deserialize, Event)]
/// # struct OrderPlaced { order: u64 }
/// # async fn ship(_: u64) -> std::io::Result<()> { Ok(()) }
/// async fn handle(
///     event: OrderPlaced,
///     cx: EventCx,
///     State(inbox): State<Arc<MemoryInbox>>,
/// ) -> HandlerResult {
///     once(&inbox, &cx, ship(event.order)).await?;
///     Done
/// }
/// ```
///
/// # Errors
/// That of the inbox, or of the effect, which then is not remembered.
pub async fn once<I, F, T, E>(inbox: &I, cx: &EventCx, effect: F) -> Result<Option<T>, HandlerError>
where
    I: Inbox,
    F: Future<Output = Result<T, E>>,
    E: Into<HandlerError>,
{
    let entry = cx.inbox_entry();
    if inbox.seen(&entry).await.map_err(HandlerError::new)? {
        return Ok(None);
    }
    let done = effect.await.map_err(Into::into)?;
    inbox.record(&entry).await.map_err(HandlerError::new)?;
    Ok(Some(done))
}

/// An inbox in memory, which forgets what it recorded first where it is full, and everything with
/// the process: for tests, and for effects that the process itself forgets (a cache, say).
#[derive(Debug)]
pub struct MemoryInbox {
    entries: Mutex<Entries>,
    most: usize,
}

#[derive(Debug, Default)]
struct Entries {
    known: HashSet<InboxEntry>,
    in_order: VecDeque<InboxEntry>,
}

impl MemoryInbox {
    /// An inbox for at most so many entries, one at least.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            entries: Mutex::default(),
            most: most.max(1),
        }
    }
}

impl Inbox for MemoryInbox {
    async fn seen(&self, entry: &InboxEntry) -> Result<bool, BoxError> {
        Ok(lock(&self.entries).known.contains(entry))
    }

    async fn record(&self, entry: &InboxEntry) -> Result<(), BoxError> {
        let mut entries = lock(&self.entries);
        if !entries.known.insert(entry.clone()) {
            return Ok(());
        }
        entries.in_order.push_back(entry.clone());
        if entries.in_order.len() > self.most
            && let Some(first) = entries.in_order.pop_front()
        {
            entries.known.remove(&first);
        }
        Ok(())
    }
}
