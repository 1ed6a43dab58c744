//! What the handler of an event is told, and what it can say back.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, Instant};

use posthaste_core::{Command, GroupName, JobId, Position, Result, TopicName};

use super::held::Held;
use super::inbox::InboxEntry;
use crate::carry::{self, TRACEPARENT};
use crate::draft::{Draft, IntoDraft};
use crate::event::{IntoEvent, RawEvent, publish};
use crate::hub::Posthaste;
use crate::policy::Context;

/// The context of one attempt to handle an event. Cheap to clone; clones are the same attempt.
#[derive(Clone)]
pub struct EventCx {
    held: Held,
    context: Context,
}

impl EventCx {
    /// One whose attempt begins now, and has so long.
    pub(super) fn new(held: Held, timeout_ms: u32) -> Self {
        let cx = Self {
            held,
            context: Context::new(),
        };
        let key = cx.idempotency_key();
        let header = |name: &str| cx.event().header(name);
        let context = carry::of_event(timeout_ms, cx.attempt(), key, header);
        Self { context, ..cx }
    }

    /// The context of the attempt: its time is the consumer's timeout, its key the
    /// [event's](Self::idempotency_key); how much it matters and the trace are the event's.
    ///
    /// The handler runs under it, so that whatever it calls under a policy goes on from it, and whatever
    /// it enqueues or publishes inherits from it. Only a task that it spawns has to be given it.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The event as it was published: its place, its time, its headers.
    #[must_use]
    pub fn event(&self) -> &RawEvent {
        &self.held.leased().event
    }

    /// The topic it lies in.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        &self.held.batch.shared.topic
    }

    /// The group that handles it.
    #[must_use]
    pub fn group(&self) -> &GroupName {
        &self.held.batch.shared.group
    }

    /// Where it lies in the topic's one order of publication.
    #[must_use]
    pub fn position(&self) -> Position {
        self.event().position
    }

    /// Its offset in its partition.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.event().offset
    }

    /// Its id, which its publisher chose or was given. Unique together with its source.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.event().id
    }

    /// Its key: events of one key are handled in order.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.event().key.as_deref()
    }

    /// Which attempt this is, from 1.
    #[must_use]
    pub fn attempt(&self) -> u16 {
        self.held.leased().attempt
    }

    /// How many attempts there may be.
    #[must_use]
    pub fn max_attempts(&self) -> u16 {
        self.held.leased().max_attempts
    }

    /// Whether a failure of this attempt is the event's last: it is then parked or dead, as its
    /// group declares.
    #[must_use]
    pub fn is_last_attempt(&self) -> bool {
        self.attempt() >= self.max_attempts()
    }

    /// How long the store goes without a sign of life from this consumer before it hands the event
    /// to another, counted from the last sign. Heartbeats renew it, however long the handler takes.
    #[must_use]
    pub fn lease(&self) -> Duration {
        Duration::from_millis(self.held.batch.membership.lease_ms.into())
    }

    /// Until when the event is this consumer's at least, as far as heartbeats were answered.
    #[must_use]
    pub fn held_until(&self) -> Instant {
        self.held.batch.membership.until()
    }

    /// Whether the handler is to stop: the event is no longer this consumer's, or the consumer leaves
    /// and its grace is over. The handler itself is dropped then at its next `.await`; this is for
    /// what it started elsewhere.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.held.is_lost() || self.held.is_leaving()
    }

    /// Resolves when the handler is to stop: see [`is_cancelled`](Self::is_cancelled). Cancellation
    /// safe.
    pub async fn cancelled(&self) {
        self.held.stopped().await;
    }

    /// Whether the event is handled in a shadow group, beside the real one: keep from effects that
    /// must not happen twice. See [`Consumer::shadow`](super::Consumer::shadow).
    #[must_use]
    pub fn is_shadow(&self) -> bool {
        self.held.batch.shared.shadow.is_some()
    }

    /// The W3C trace context that the event goes on from. What is committed with it takes it over by
    /// itself, with its `tracestate`.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.event().header(TRACEPARENT)
    }

    /// The key under which to call others: the event's source and id, as `source#id`, the same in
    /// every attempt, in every group and in every replay. A `#` and a `%` of the source are written
    /// as `%23` and `%25`, so that no two events share one.
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        let event = self.event();
        let source: Cow<'_, str> = match event.source.contains(['%', '#']) {
            true => event.source.replace('%', "%25").replace('#', "%23").into(),
            false => event.source.as_str().into(),
        };
        format!("{source}#{}", event.id.as_str())
    }

    /// What an [`Inbox`](super::Inbox) remembers of this event.
    #[must_use]
    pub fn inbox_entry(&self) -> InboxEntry {
        let event = self.event();
        InboxEntry {
            topic: self.topic().clone(),
            group: self.group().clone(),
            source: event.source.clone(),
            id: event.id.clone(),
        }
    }

    /// The hub that the event came from.
    #[must_use]
    pub fn hub(&self) -> &Posthaste {
        &self.held.batch.shared.hub
    }

    /// Enqueues a job in the same atomic commit that settles this event: both happen or neither, so
    /// that it is enqueued once however often the event is handled. Gives its id at once.
    ///
    /// It goes with an outcome that ends the event (done, skipped, or dead by the handler). With a
    /// retry, a release or parking it is dropped, for the handler will run again and say it again.
    /// The next event of the key starts when that commit was answered. In a shadow group it is left
    /// out, unless that was [declared otherwise](super::Effects).
    ///
    /// ```
    /// # use posthaste::event::EventCx;
    /// # use posthaste::{Done, Event, HandlerResult, Job};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize, Job)]
    /// # struct SendInvoice { order: u64 }
    /// # #[derive(Serialize, Deserialize, Event)]
    /// # struct OrderPlaced { order: u64 }
    /// async fn bill(event: OrderPlaced, cx: EventCx) -> HandlerResult {
    ///     cx.commit_with(SendInvoice { order: event.order })?;
    ///     Done
    /// }
    /// ```
    ///
    /// # Errors
    /// `Invalid` for what can't be said of a job. What the *store* refuses (say, a unique key that
    /// is held, with [`or_reject`](crate::UniqueRule::or_reject)) fails the attempt.
    pub fn commit_with(&self, job: impl IntoDraft) -> Result<JobId> {
        self.enqueue(job.into_draft())
    }

    pub(super) fn enqueue(&self, draft: Draft) -> Result<JobId> {
        let job = draft.build(|| self.hub().mint_id())?;
        let id = job.id;
        self.inheriting(Command::Enqueue(job));
        Ok(id)
    }

    /// Publishes an event in the same atomic commit that settles this one: both happen or neither.
    /// Inherits how much
    /// this one matters and the trace. See [`commit_with`](Self::commit_with).
    ///
    /// # Errors
    /// `Invalid` for what can't be said of an event. What the *store* refuses (say, a payload that is
    /// too long) fails the attempt.
    pub fn publish_with(&self, event: impl IntoEvent) -> Result<()> {
        self.inheriting(publish::command(self.hub(), event.into_event())?);
        Ok(())
    }

    fn inheriting(&self, mut command: Command) {
        self.context.inherited_by(&mut command);
        self.commit_with_command(command);
    }

    /// Applies any command in the same atomic commit that settles this event; see
    /// [`commit_with`](Self::commit_with). At most 999 of them.
    pub fn commit_with_command(&self, command: Command) {
        self.held.follow_up(command);
    }

    /// What goes with it was declared as a route.
    pub(super) fn routed(&self) {
        self.held.set_routed();
    }
}

impl fmt::Debug for EventCx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventCx")
            .field("topic", self.topic())
            .field("group", self.group())
            .field("position", &self.position())
            .field("attempt", &self.attempt())
            .finish_non_exhaustive()
    }
}

/// An event on its way to its handler: what layers see.
#[derive(Clone, Debug)]
pub struct EventRequest {
    /// The context of the attempt, with the event.
    pub cx: EventCx,
}
