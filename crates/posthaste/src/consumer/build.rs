//! Putting a consumer together, and running it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use posthaste_core::group::{EventOutcome, GroupSettings};
use posthaste_core::topic::ReadFrom;
use posthaste_core::{Error, ErrorKind, Result, Text, WorkerName, limits};
use tokio::sync::Notify;
use tower_layer::Layer;
use tower_service::Service;

use super::context::EventRequest;
use super::engine::{Engine, Running, Watch};
use super::handle::ConsumerHandle;
use super::handler::{AnyEventHandler, EventHandler, FromEvent, OfType, erase};
use super::held::Shared;
use super::lines::Lines;
use super::making::{Given, Start, check_timeout, collect, make_missing};
use super::route::{IntoRoute, Route};
use super::service::{Entry, EventService, Otherwise};
use super::settler::Settler;
use super::shadow::Effects;
use super::summary::ConsumerSummary;
use crate::context::States;
use crate::event::{Event, Group};
use crate::outcome::BoxError;
use crate::worker::{check_slots, check_times};

/// Most events that a [`drain`](Consumer::drain) handles.
const DRAINED_MAX: u64 = 1_000_000;
/// How long an attempt may take where nothing else is said.
const TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// A member of a group that is being put together: handlers, what they share, and how many keys at
/// once.
///
/// Events of one key are handled in the order of their publication, one after the other; those of
/// other keys meanwhile. The next event of a key starts when the handler of the one before has
/// returned. How it ended goes to the store in the background, many events in one commit; only an
/// event with which other things are [committed](super::EventCx::commit_with) has its key wait for the
/// store. An event that fails holds up its key and no other.
///
/// Heartbeats keep the membership for as long as the process lives, however long a handler takes. A
/// membership that is lost stops the handlers concerned, and the consumer joins again by itself; its
/// events are handed out again, so that an event may be handled more than once. A handler that panics
/// has failed its attempt; one that takes longer than the [timeout](Self::timeout) is dropped at its
/// next `.await`. Handlers must not block their thread: put what blocks in
/// `tokio::task::spawn_blocking`.
///
/// An event that a handler can't read is tried again after 30 s, for in a deploy another member may
/// know its shape; each time spends an attempt, and in the end it is parked or dead, as its group
/// declares.
///
/// ```
/// # use posthaste::event::{EventCx, ReadFrom};
/// # use posthaste::{Done, Event, HandlerError, Posthaste, State};
/// # use serde::{Deserialize, Serialize};
/// #[derive(Serialize, Deserialize, Event)]
/// #[event(type = "order.placed", topic = "orders", key = "customer")]
/// struct OrderPlaced { customer: u64, total: u64 }
///
/// # #[derive(Clone)]
/// # struct Bank;
/// # impl Bank {
/// #     async fn charge(&self, _: u64, _: String) -> std::io::Result<()> { Ok(()) }
/// # }
/// # async fn consume(hub: Posthaste, bank: Bank) -> posthaste::Result<()> {
/// hub.group("orders", "billing")
///     .consumer()
///     .from(ReadFrom::Earliest)
///     .state(bank)
///     .on(|event: OrderPlaced, cx: EventCx, State(bank): State<Bank>| async move {
///         bank.charge(event.total, cx.idempotency_key()).await?; // an error means: try again
///         Done
///     })
///     .run()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a consumer does nothing until it is run"]
pub struct Consumer {
    group: Group,
    handlers: Vec<Given>,
    any: Vec<Arc<dyn AnyEventHandler>>,
    otherwise: Otherwise,
    states: States,
    layers: Vec<Box<dyn FnOnce(EventService) -> EventService + Send>>,
    concurrency: usize,
    name: Option<String>,
    lease: Duration,
    heartbeat: Option<Duration>,
    timeout: Duration,
    grace: Duration,
    start: Start,
    settings: GroupSettings,
    existing: bool,
    shadow: Option<Effects>,
}

impl Consumer {
    pub(crate) fn new(group: Group) -> Self {
        Self {
            group,
            handlers: Vec::new(),
            any: Vec::new(),
            otherwise: Otherwise::default(),
            states: States::default(),
            layers: Vec::new(),
            concurrency: 32,
            name: None,
            lease: Duration::from_millis(limits::LEASE_MS_DEFAULT.into()),
            heartbeat: None,
            timeout: TIMEOUT,
            grace: Duration::from_secs(30),
            start: Start::At(None),
            settings: GroupSettings::default(),
            existing: false,
            shadow: None,
        }
    }

    /// Handles the events of one type: its first argument is the [`Event`], or a
    /// [`TypedEvent`](crate::event::TypedEvent) to see more of it. The end of a key (a tombstone) has
    /// no payload to read, and is not for it.
    pub fn on<A: 'static, H: EventHandler<A>>(self, handler: H) -> Self
    where
        H::Input: OfType,
    {
        let of = <H::Input as OfType>::Event::TYPE;
        self.give(of, erase(handler), true)
    }

    /// Handles the events of one type by name; with a [`RawEvent`](crate::event::RawEvent) as its first argument it takes any
    /// payload, and none.
    pub fn on_type<A: 'static, H: EventHandler<A>>(self, event_type: &str, handler: H) -> Self {
        self.give(event_type, erase(handler), false)
    }

    /// Handles the events of every type that has no handler of its own. Usually with a
    /// [`RawEvent`](crate::event::RawEvent) as its first argument.
    pub fn on_any<A: 'static, H: EventHandler<A>>(mut self, handler: H) -> Self {
        self.any.push(erase(handler));
        self
    }

    /// Makes jobs of the events of one type: a job, or none where an `Option` says so, or several
    /// drafts. One atomic step: the jobs are enqueued in the commit that settles the event.
    ///
    /// Each job gets an [idempotency key](crate::Draft::idempotency_key) of topic, group, kind and
    /// event, unless it has one: a replay within its 24 hours enqueues nothing a second time, whatever
    /// the route says by then. An event that is not routed is skipped. A route must not block.
    ///
    /// ```
    /// # use posthaste::{Event, Job, Posthaste};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize, Event)]
    /// # #[event(topic = "users")]
    /// # struct SignedUp { user: u64, subscribed: bool }
    /// # #[derive(Serialize, Deserialize, Job)]
    /// # struct WelcomeEmail { user: u64 }
    /// # async fn route(hub: Posthaste) -> posthaste::Result<()> {
    /// let consumer = hub
    ///     .group("users", "mail")
    ///     .consumer()
    ///     .route(|event: SignedUp| event.subscribed.then_some(WelcomeEmail { user: event.user }));
    /// consumer.run().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn route<I, R, F>(self, to: F) -> Self
    where
        I: OfType,
        R: IntoRoute + 'static,
        F: Fn(I) -> R + Send + Sync + 'static,
    {
        let of = <I as OfType>::Event::TYPE;
        self.give(of, Arc::new(Route::new(to)), true)
    }

    /// Makes jobs of the events of one type by name: see [`route`](Self::route).
    pub fn route_type<I, R, F>(self, event_type: &str, to: F) -> Self
    where
        I: FromEvent,
        R: IntoRoute + 'static,
        F: Fn(I) -> R + Send + Sync + 'static,
    {
        self.give(event_type, Arc::new(Route::new(to)), false)
    }

    fn give(mut self, of: &str, handler: Arc<dyn AnyEventHandler>, reads: bool) -> Self {
        let of = match of.is_empty() || of.len() > limits::EVENT_TEXT_BYTES_MAX {
            false => Ok(Text::from(of)),
            true => Err(Error::new(
                ErrorKind::Invalid,
                format!("the type of an event can't be {} bytes long", of.len()),
            )
            .next(format!("give 1 to {}", limits::EVENT_TEXT_BYTES_MAX))),
        };
        self.handlers.push((of, Entry { handler, reads }));
        self
    }

    /// What becomes of events that no handler takes. Default: they are skipped, and counted.
    pub fn otherwise(mut self, otherwise: Otherwise) -> Self {
        self.otherwise = otherwise;
        self
    }

    /// A value for handlers to take as [`State<T>`](crate::State); a later one of the same type
    /// replaces it. Each call gets a clone.
    pub fn state<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.states.put(value);
        self
    }

    /// Puts a tower layer around all handlers; a later one around the earlier ones. It sees every
    /// attempt as an [`EventRequest`], and how it ended as an [`EventOutcome`].
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<EventService> + Send + 'static,
        L::Service: Service<EventRequest, Response = EventOutcome> + Clone + Send + 'static,
        <L::Service as Service<EventRequest>>::Error: Into<BoxError>,
        <L::Service as Service<EventRequest>>::Future: Send,
    {
        self.layers
            .push(Box::new(move |service| service.layered(&layer)));
        self
    }

    /// Most keys that are handled at once, 1 to 10,000. Default 32. (How many events a group has in
    /// hands at once, over all of its members, is its setting `in_flight`.)
    pub fn concurrency(mut self, keys: usize) -> Self {
        self.concurrency = keys;
        self
    }

    /// What the consumer calls itself, for people to see. Default: the process's id.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// How long the membership lasts without a heartbeat, 100 ms to an hour: after that long what a
    /// consumer held that died is handed to others. Default 30 s.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// How often the membership is renewed: more often than the lease is long. Default: a third of it.
    pub fn heartbeat(mut self, every: Duration) -> Self {
        self.heartbeat = Some(every);
        self
    }

    /// How long one attempt may take, 1 ms to 7 days; then the handler is dropped and the attempt has
    /// failed. Default 15 minutes.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long what runs may finish once the consumer is told to stop. Default 30 s.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Where the group begins if this consumer makes it; no effect on a group that is there. Default:
    /// the latest, which is what is published from then on.
    pub fn from(mut self, from: ReadFrom) -> Self {
        self.start = Start::At(Some(from));
        self
    }

    /// The group begins where another group of the topic is by then, if this consumer makes it.
    pub fn from_group(mut self, group: &str) -> Self {
        self.start = Start::Group(group.to_owned());
        self
    }

    /// The settings of the group if this consumer makes it; no effect on a group that is there, which
    /// [`Group::set`] changes. Default: the defaults of each.
    pub fn settings(mut self, settings: GroupSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Makes no group, nor a topic: where there is none, running is refused as `NotFound`. Default:
    /// both are made where they are missing, the topic with its defaults.
    pub fn existing(mut self) -> Self {
        self.existing = true;
        self
    }

    /// Runs in a shadow group: one that goes through history beside the real group, at positions of
    /// its own, say to try new handlers or to build a projection anew. Give it a name of its own, and
    /// a place to [begin](Self::from) or [the real group's](Self::from_group).
    ///
    /// Handlers are told by [`EventCx::is_shadow`](super::EventCx::is_shadow), to keep from effects
    /// outside that must not happen twice; what becomes of effects inside the store is declared here.
    ///
    /// ```
    /// # use posthaste::event::{Effects, EventCx, ReadFrom};
    /// # use posthaste::{Done, Event, Posthaste};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize, Event)]
    /// # #[event(topic = "orders")]
    /// # struct OrderPlaced { order: u64 }
    /// # async fn charge(_: u64) -> std::io::Result<()> { Ok(()) }
    /// # async fn replay(hub: Posthaste) -> posthaste::Result<()> {
    /// let shadow = hub.group("orders", "billing-next").consumer();
    /// let shadow = shadow.from(ReadFrom::Earliest).shadow(Effects::Withheld);
    /// let shadow = shadow.on(|event: OrderPlaced, cx: EventCx| async move {
    ///     if !cx.is_shadow() {
    ///         charge(event.order).await?;
    ///     }
    ///     Done
    /// });
    /// println!("{:?}", shadow.drain().await?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn shadow(mut self, effects: Effects) -> Self {
        self.shadow = Some(effects);
        self
    }

    /// Handles events until `shutdown` is over; then asks for no more, lets what runs finish within
    /// the grace, gives the rest back untouched, and leaves the group.
    ///
    /// Dropping the future stops at once instead: what was running is dropped, and what was held is
    /// handed out again when the membership has lapsed.
    ///
    /// # Errors
    /// `Invalid` where the consumer can't work: no handlers, two for one type, a state that is
    /// missing, a name or a number that can't be one. `NotFound` where the group is deleted, or was to
    /// be [there](Self::existing) and is not. `Closed` and whatever else the store says that no waiting
    /// mends; a store that can't be reached for a while is waited for.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) -> Result<ConsumerSummary> {
        let grace = self.grace;
        let engine = self.build().await?;
        match Running::start(engine).run(shutdown, grace).await {
            (_, Some(error)) => Err(error),
            (summary, None) => Ok(summary),
        }
    }

    /// Handles events until the store is closed. See [`run_until`](Self::run_until).
    ///
    /// # Errors
    /// As [`run_until`](Self::run_until); the store being closed is not one.
    pub async fn run(self) -> Result<ConsumerSummary> {
        let grace = self.grace;
        let engine = self.build().await?;
        let running = Running::start(engine);
        match running.run(std::future::pending(), grace).await {
            (_, Some(error)) if error.kind() != ErrorKind::Closed => Err(error),
            (summary, _) => Ok(summary),
        }
    }

    /// Handles events in the background, until the handle is told to stop.
    ///
    /// # Errors
    /// As [`run_until`](Self::run_until), for what can be known at once.
    pub async fn start(self) -> Result<ConsumerHandle> {
        let grace = self.grace;
        let engine = self.build().await?;
        Ok(ConsumerHandle::start(engine, grace))
    }

    /// Handles everything that is ready, and what that makes ready, until nothing is; for tests.
    ///
    /// # Errors
    /// As [`run_until`](Self::run_until); `Busy` where a million events were handled and there are
    /// more.
    pub async fn drain(self) -> Result<ConsumerSummary> {
        let engine = self.build().await?;
        Running::start(engine).drain(DRAINED_MAX).await
    }

    async fn build(self) -> Result<Engine> {
        let lease_ms = check_times(self.lease, self.heartbeat)?;
        check_slots(self.concurrency, ("consumer can't handle", "keys"))?;
        let timeout_ms = check_timeout(self.timeout)?;
        let (topic, name) = self.group.names()?;
        let worker = match &self.name {
            Some(name) => WorkerName::new(name)?,
            None => WorkerName::new(&format!("process-{}", std::process::id()))?,
        };
        let handlers = collect(self.handlers, self.any, self.otherwise, &self.states)?;
        let hub = self.group.hub().clone();
        let local = hub.health().await?.store != "http";
        make_missing(&self.group, self.start, self.settings, self.existing).await?;
        let service = EventService::new(handlers, self.states);
        let layers = self.layers.into_iter();
        let threads = tokio::runtime::Handle::current().metrics().num_workers();
        let watches = (0..self.concurrency).map(|_| Watch::default());
        Ok(Engine {
            shared: Arc::new(Shared::new(hub, topic, name, self.shadow)),
            service: layers.fold(service, |service, layer| layer(service)),
            lines: Lines::new(self.concurrency, threads),
            settler: Settler::new(),
            watches: watches.collect(),
            member: std::sync::Mutex::new(None),
            changed: Notify::new(),
            name: worker,
            lease_ms,
            heartbeat: self.heartbeat.unwrap_or(self.lease / 3),
            timeout_ms,
            local,
            start: Instant::now(),
            beat_now: Notify::new(),
            some: Notify::new(),
        })
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("group", &self.group)
            .field("concurrency", &self.concurrency)
            .field("handlers", &(self.handlers.len() + self.any.len()))
            .finish_non_exhaustive()
    }
}
