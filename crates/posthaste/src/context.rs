//! What a handler is told of its attempt, and what it can say back.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use posthaste_core::ids::Tag;
use posthaste_core::port::Leased;
use posthaste_core::{
    Command, Error, ErrorKind, JobId, KindName, Payload, Priority, QueueName, Result, Token, WallMs,
};
use serde::Serialize;

use crate::carry::TRACEPARENT;
use crate::draft::IntoDraft;
use crate::event::{IntoEvent, publish};
use crate::hub::Posthaste;
use crate::policy::Context;
use crate::worker::batch::Held;

/// Longest progress report, in bytes.
const PROGRESS_BYTES_MAX: usize = 4 * 1024;

/// The context of one attempt. Cheap to clone; clones are the same attempt.
#[derive(Clone)]
pub struct Cx {
    held: Held,
    context: Context,
}

impl Cx {
    pub(crate) fn new(held: Held, context: Context) -> Self {
        Self { held, context }
    }

    /// The context of the attempt: its time is the attempt's timeout or what is left to the job's
    /// [deadline](Self::deadline), whichever ends sooner; its key is the job's id; how much it matters and
    /// the trace are the job's.
    ///
    /// The handler runs under it, so that whatever it calls under a policy goes on from it, and whatever
    /// it enqueues or publishes inherits from it. Only a task that it spawns has to be given it:
    /// `tokio::spawn(cx.context().clone().scope(work))`.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }

    fn job(&self) -> &Leased {
        self.held.job()
    }

    /// The job's id.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.job().id
    }

    /// The token of the lease under which the attempt runs.
    #[must_use]
    pub fn token(&self) -> Token {
        self.job().token
    }

    /// The job's kind.
    #[must_use]
    pub fn kind(&self) -> &KindName {
        &self.job().kind
    }

    /// The queue it came from.
    #[must_use]
    pub fn queue(&self) -> &QueueName {
        &self.job().queue
    }

    /// Which attempt this is, from 1.
    #[must_use]
    pub fn attempt(&self) -> u16 {
        self.job().attempt
    }

    /// How many attempts there may be.
    #[must_use]
    pub fn max_attempts(&self) -> u16 {
        self.job().max_attempts
    }

    /// Whether a failure of this attempt is the job's last.
    #[must_use]
    pub fn is_last_attempt(&self) -> bool {
        self.attempt() >= self.max_attempts()
    }

    /// The job's rank.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.job().priority
    }

    /// When the job was accepted.
    #[must_use]
    pub fn enqueued_at(&self) -> WallMs {
        self.job().enqueued_at
    }

    /// How long the attempt may take, before the handler is dropped and the attempt has failed.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.job().timeout_ms.into())
    }

    /// Past this there is no point in starting.
    #[must_use]
    pub fn deadline(&self) -> Option<WallMs> {
        self.job().deadline
    }

    /// Words that the enqueuer put on the job.
    #[must_use]
    pub fn tags(&self) -> &[Tag] {
        &self.job().tags
    }

    /// The value that the enqueuer gave `name`.
    #[must_use]
    pub fn metadata(&self, name: &str) -> Option<&str> {
        let found = self
            .job()
            .metadata
            .iter()
            .find(|(known, _)| **known == *name);
        found.map(|(_, value)| &**value)
    }

    /// The W3C trace context that the job goes on from. Follow-ups take it over by themselves,
    /// with its `tracestate`.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.metadata(TRACEPARENT)
    }

    /// The key under which to call others: the job's id, the same in every attempt.
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        self.id().to_string()
    }

    /// The hub that the job came from.
    #[must_use]
    pub fn hub(&self) -> &Posthaste {
        self.held.hub()
    }

    /// Says how far the attempt is, for people to see: any JSON of at most 4 KiB. Sent within
    /// about half a second, the newest report only; kept in memory, and lost with the lease.
    ///
    /// # Errors
    /// `Invalid` where it can't be written as JSON, `TooLarge` where it is longer.
    pub fn progress<T: Serialize + ?Sized>(&self, progress: &T) -> Result<()> {
        let bytes = serde_json::to_vec(progress).map_err(|error| {
            Error::new(
                ErrorKind::Invalid,
                format!("the progress can't be written: {error}"),
            )
            .next("check its Serialize: maps need string keys")
        })?;
        if bytes.len() > PROGRESS_BYTES_MAX {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("the progress is {} bytes long", bytes.len()),
            )
            .next(format!("report at most {PROGRESS_BYTES_MAX}")));
        }
        self.held.report(Payload::json(bytes));
        Ok(())
    }

    /// Whether the job is being called off. Learned at a heartbeat: up to a third of the lease
    /// after somebody asked.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.held.is_cancelled()
    }

    /// Resolves when the job is being called off: stop, tidy up, and return. Whatever error the
    /// handler then returns, the job is cancelled. Cancellation safe.
    pub async fn cancelled(&self) {
        self.held.cancelled().await;
    }

    /// Enqueues a job in the same atomic commit that settles this one: both happen or neither.
    /// Gives its id at once. It inherits how much this one matters and the trace, where it says nothing of
    /// its own; the deadline and the key it does not.
    ///
    /// It goes with an outcome that ends the job (done, cancelled by the handler, dead by the
    /// handler). With a retry, a snooze or a release it is dropped, for the handler will run again
    /// and say it again.
    ///
    /// # Errors
    /// `Invalid` for what can't be said of a job. What the *store* refuses (say, a unique key that
    /// is held, with [`or_reject`](crate::UniqueRule::or_reject)) fails the attempt.
    pub fn commit_with(&self, job: impl IntoDraft) -> Result<JobId> {
        let job = job.into_draft().build(|| self.hub().mint_id())?;
        let id = job.id;
        self.inheriting(Command::Enqueue(job));
        Ok(id)
    }

    /// Publishes an event in the same atomic commit that settles this job: both happen or neither,
    /// so that it is published once however often the job is run. Inherits as jobs do.
    ///
    /// Goes with an outcome that ends the job, and is dropped with any other: see
    /// [`commit_with`](Self::commit_with).
    ///
    /// ```
    /// # use posthaste::{Cx, Done, Event, HandlerResult, Job};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize, Job)]
    /// # struct Charge { order: u64 }
    /// # #[derive(Serialize, Deserialize, Event)]
    /// # struct OrderPaid { order: u64 }
    /// async fn charge(job: Charge, cx: Cx) -> HandlerResult {
    ///     cx.publish_with(OrderPaid { order: job.order })?;
    ///     Done
    /// }
    /// ```
    ///
    /// # Errors
    /// `Invalid` for what can't be said of an event. What the *store* refuses (say, a payload that
    /// is too long) fails the attempt.
    pub fn publish_with(&self, event: impl IntoEvent) -> Result<()> {
        self.inheriting(publish::command(self.hub(), event.into_event())?);
        Ok(())
    }

    fn inheriting(&self, mut command: Command) {
        self.context.inherited_by(&mut command);
        self.commit_with_command(command);
    }

    /// Applies any command in the same atomic commit that settles this job; see
    /// [`commit_with`](Self::commit_with).
    pub fn commit_with_command(&self, command: Command) {
        self.held.follow_up(command);
    }
}

impl fmt::Debug for Cx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cx")
            .field("id", &self.id())
            .field("kind", self.kind())
            .field("queue", self.queue())
            .field("attempt", &self.attempt())
            .finish_non_exhaustive()
    }
}

/// A job on its way to its handler: what layers see.
#[derive(Clone, Debug)]
pub struct JobRequest {
    /// The context of the attempt.
    pub cx: Cx,
    /// What the job carries.
    pub payload: Payload,
}

/// A payload as it came, for handlers that take any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawJob(pub Payload);

/// A value that all handlers of a worker share, given to it with
/// [`state`](crate::Worker::state). Each call gets a clone: share by `Arc` what is not cheap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State<T>(pub T);

/// The values given to a worker, by type.
#[derive(Clone, Default)]
pub(crate) struct States(
    std::collections::HashMap<std::any::TypeId, Arc<dyn std::any::Any + Send + Sync>>,
);

impl States {
    pub(crate) fn put<T: Send + Sync + 'static>(&mut self, value: T) {
        self.0.insert(std::any::TypeId::of::<T>(), Arc::new(value));
    }

    pub(crate) fn get<T: Clone + Send + Sync + 'static>(&self) -> Result<T> {
        self.0
            .get(&std::any::TypeId::of::<T>())
            .and_then(|value| value.downcast_ref::<T>())
            .cloned()
            .ok_or_else(|| {
                let name = std::any::type_name::<T>();
                Error::new(
                    ErrorKind::Invalid,
                    format!("a handler takes State<{name}>, which the worker has not"),
                )
                .next("give it to the worker with .state(…)")
            })
    }
}
