//! Putting a worker together, and running it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use posthaste_core::duration::print_ms;
use posthaste_core::{Error, ErrorKind, KindName, Outcome, QueueName, Result, WorkerName, limits};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tower_layer::Layer;
use tower_service::Service;

use super::engine::{Engine, Running};
use super::kinds::Kinds;
use super::lane::Lane;
use super::pulse::Pulse;
use super::service::{Handlers, JobService};
use super::settler::Settler;
use super::summary::Summary;
use crate::context::{JobRequest, States};
use crate::event::{Later, publish_now};
use crate::handler::{AnyHandler, Handler, erase};
use crate::hub::Posthaste;
use crate::job::Job;
use crate::outcome::BoxError;
use crate::policy::{Policy, settings};
use crate::units::{millis, millis_u32};

/// Most slots of one worker.
const SLOTS_MAX: usize = 10_000;
/// The retry budget of a kind where nothing else is said.
const RETRY_BUDGET: settings::Budget = settings::Budget {
    ratio: 0.2,
    floor_per_second: 10.0,
    window: Duration::from_secs(10),
};
/// Most jobs that a [`drain`](Worker::drain) runs.
const DRAINED_MAX: u64 = 1_000_000;

/// A worker that is being put together: handlers, what they share, and how many at once.
///
/// Jobs are leased ahead of the slots when handlers are quick, at most a thousand, and given back
/// when they have waited a second. Heartbeats keep what is held for as long as the process lives,
/// however long a job takes; a handler that panics has failed its attempt; one that takes longer
/// than the job's timeout is dropped at its next `.await`. Handlers must not block their thread:
/// put what blocks in `tokio::task::spawn_blocking`.
///
/// ```
/// # use posthaste::{Cx, Done, HandlerError, Job, Posthaste, State};
/// # use serde::{Deserialize, Serialize};
/// #[derive(Serialize, Deserialize, Job)]
/// #[job(queue = "mail")]
/// struct WelcomeEmail { user: u64 }
///
/// # #[derive(Clone)]
/// # struct Mailer;
/// # impl Mailer {
/// #     async fn send(&self, _: u64, _: String) -> std::io::Result<()> { Ok(()) }
/// # }
/// # async fn work(hub: Posthaste, mailer: Mailer) -> posthaste::Result<()> {
/// hub.worker()
///     .state(mailer)
///     .on(|job: WelcomeEmail, cx: Cx, State(mailer): State<Mailer>| async move {
///         mailer.send(job.user, cx.idempotency_key()).await?; // an error means: try again
///         Done
///     })
///     .run()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a worker does nothing until it is run"]
pub struct Worker {
    hub: Posthaste,
    queues: Vec<WorkQueue>,
    strict: bool,
    concurrency: usize,
    handlers: Vec<Given>,
    /// The queues of the handlers' own job types.
    own_queues: Vec<Result<QueueName>>,
    /// It takes from the queue of events that are published later.
    publishes: bool,
    states: States,
    /// What each attempt of a kind runs under.
    policies: Vec<(Result<KindName>, Policy)>,
    retry_budget: Option<settings::Budget>,
    layers: Vec<Box<dyn FnOnce(JobService) -> JobService + Send>>,
    name: Option<String>,
    lease: Duration,
    heartbeat: Option<Duration>,
    grace: Duration,
}

/// A handler, and the kind that it is for; none is every kind.
type Given = (Result<Option<KindName>>, Arc<dyn AnyHandler>);

/// A queue that a worker takes jobs from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct WorkQueue {
    name: String,
    weight: u32,
    concurrency: Option<usize>,
}

impl WorkQueue {
    /// A queue that shares the worker's slots with the others, at weight 1.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            weight: 1,
            concurrency: None,
        }
    }

    /// How often it is served beside the others that share the worker's slots. Default 1.
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Gives it slots of its own, apart from the worker's: at most this many of its jobs run here
    /// at once, and no other queue takes their place.
    pub fn concurrency(mut self, slots: usize) -> Self {
        self.concurrency = Some(slots);
        self
    }
}

impl From<&str> for WorkQueue {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl Posthaste {
    /// Begins a worker.
    pub fn worker(&self) -> Worker {
        Worker {
            hub: self.clone(),
            queues: Vec::new(),
            strict: false,
            concurrency: 32,
            handlers: Vec::new(),
            own_queues: Vec::new(),
            publishes: false,
            states: States::default(),
            policies: Vec::new(),
            retry_budget: Some(RETRY_BUDGET),
            layers: Vec::new(),
            name: None,
            lease: Duration::from_millis(limits::LEASE_MS_DEFAULT.into()),
            heartbeat: None,
            grace: Duration::from_secs(30),
        }
    }
}

impl Worker {
    /// Takes jobs from this queue: a name, or a [`WorkQueue`] that says more. Default: the queues
    /// of the handlers' job types.
    pub fn queue(mut self, queue: impl Into<WorkQueue>) -> Self {
        self.queues.push(queue.into());
        self
    }

    /// Serves the queues in the order given, the first to its end first. Default: by weight.
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// Most jobs at once, 1 to 10,000, of the queues that have no slots of their own. Default 32.
    pub fn concurrency(mut self, slots: usize) -> Self {
        self.concurrency = slots;
        self
    }

    /// Handles the jobs of one type.
    pub fn on<A: 'static, H: Handler<A>>(mut self, handler: H) -> Self
    where
        H::Input: Job,
    {
        let rule = H::Input::rule();
        self.own_queues.push(rule.queue_name());
        self.handlers
            .push((rule.kind_name().map(Some), erase(handler)));
        self
    }

    /// Handles the jobs of one kind by name; with [`RawJob`](crate::RawJob) as its first argument
    /// it takes any payload.
    pub fn on_kind<A: 'static, H: Handler<A>>(mut self, kind: &str, handler: H) -> Self {
        self.handlers
            .push((KindName::new(kind).map(Some), erase(handler)));
        self
    }

    /// Handles the jobs of every kind that has no handler of its own: the worker then takes all
    /// kinds. Usually with [`RawJob`](crate::RawJob) as its first argument.
    pub fn on_any<A: 'static, H: Handler<A>>(mut self, handler: H) -> Self {
        self.handlers.push((Ok(None), erase(handler)));
        self
    }

    /// Publishes the events that were to be published later, as
    /// [`Publish::after`](crate::event::Publish::after) enqueues them: handles jobs of kind
    /// `posthaste.publish`, and takes from the queue of that name beside the others.
    pub fn publishes(mut self) -> Self {
        self.publishes = true;
        self.on(publish_now)
    }

    /// A value for handlers to take as [`State<T>`](crate::State); a later one of the same type
    /// replaces it. Each call gets a clone.
    pub fn state<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.states.put(value);
        self
    }

    /// Puts a tower layer around all handlers; a later one around the earlier ones. It sees every
    /// attempt as a [`JobRequest`], and how it ended as an [`Outcome`].
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<JobService> + Send + 'static,
        L::Service: Service<JobRequest, Response = Outcome> + Clone + Send + 'static,
        <L::Service as Service<JobRequest>>::Error: Into<BoxError>,
        <L::Service as Service<JobRequest>>::Future: Send,
    {
        self.layers
            .push(Box::new(move |service| service.layered(&layer)));
        self
    }

    /// Runs each attempt of a kind under a policy, as one attempt of it: its breaker, its places, its
    /// rate and its timeouts hold; retries stay the queue's. The kind needs a handler of its own.
    ///
    /// While the breaker is open, or all places are taken, the worker does not claim the kind, and
    /// takes it up again by itself: when the breaker lets a probe through, when a place is free. What
    /// was claimed in between and is refused is given back for a while, with the reason as the job's
    /// error. **No attempt is spent on a job that was not started.** The other kinds are not held up.
    ///
    /// For the breaker a retry, a panic and a timeout are failures, a job that its handler declares dead
    /// is one whose callee is well, and every other end is a success. An attempt says nothing where its
    /// payload could not be read, its job was called off, or a policy *inside* the handler refused.
    /// An attempt is given up when the [time](crate::Cx::context) that its job has left is over.
    ///
    /// The policy may be shared: with other workers, and with whatever else calls the same callee.
    ///
    /// ```
    /// # use posthaste::policy::{Policy, settings};
    /// # use posthaste::{Done, Job, Posthaste};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize, Job)]
    /// # struct Charge { order: u64 }
    /// # async fn work(hub: Posthaste) -> posthaste::Result<()> {
    /// let bank = Policy::named("bank").breaker(settings::Breaker::default()).build()?;
    /// hub.worker()
    ///     .on(|_: Charge| async { Done })
    ///     .policy(Charge::KIND, bank)
    ///     .run()
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// [`Cx::context`]: crate::Cx::context
    pub fn policy(mut self, kind: &str, policy: Policy) -> Self {
        self.policies.push((KindName::new(kind), policy));
        self
    }

    /// What share of each kind's attempts may be retries: a dead dependency then does not turn a
    /// backlog into a storm. Default: one for five first attempts, and ten a second, of which ten seconds'
    /// worth are kept, for each kind in each worker. (Kinds that share the handler of every kind share its
    /// budget.)
    ///
    /// A retry for which nothing is left is put off, at most ten minutes at a time, with the reason as
    /// the job's error; no attempt is spent. Retries that work let others follow, so that a backlog
    /// drains as fast as it works. Without first attempts only the floor lets any through, so that one of
    /// zero is refused.
    pub fn retry_budget(mut self, budget: settings::Budget) -> Self {
        self.retry_budget = Some(budget);
        self
    }

    /// Retries as they come due, however many they are.
    pub fn unlimited_retries(mut self) -> Self {
        self.retry_budget = None;
        self
    }

    /// What the worker calls itself, for people to see. Default: the process's id.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// How long a lease holds without a heartbeat, 100 ms to an hour: after that long a job of a
    /// worker that died is run by another. Default 30 s.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// How often leases are extended, progress is sent and cancellations are heard of: more often
    /// than the lease is long, for a lease that lapses is another worker's. Default: a third of it.
    pub fn heartbeat(mut self, every: Duration) -> Self {
        self.heartbeat = Some(every);
        self
    }

    /// How long what runs may finish once the worker is told to stop. Default 30 s.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Works until `shutdown` is over; then leases no more, lets what runs finish within the
    /// grace, and gives the rest back untouched.
    ///
    /// Dropping the future stops at once instead: what was running is dropped, and its leases
    /// lapse.
    ///
    /// # Errors
    /// `Invalid` where the worker can't work: no handlers, two for one kind, a state that is
    /// missing, a name or a number that can't be one. `Closed` and whatever else the store says
    /// that no waiting mends; a store that can't be reached for a while is waited for.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) -> Result<Summary> {
        let grace = self.grace;
        let engine = self.build().await?;
        match Running::start(engine).run(shutdown, grace).await {
            (_, Some(error)) => Err(error),
            (summary, None) => Ok(summary),
        }
    }

    /// Works until the store is closed. See [`run_until`](Self::run_until).
    ///
    /// # Errors
    /// As [`run_until`](Self::run_until); the store being closed is not one.
    pub async fn run(self) -> Result<Summary> {
        let grace = self.grace;
        let engine = self.build().await?;
        match Running::start(engine)
            .run(std::future::pending(), grace)
            .await
        {
            (_, Some(error)) if error.kind() != ErrorKind::Closed => Err(error),
            (summary, _) => Ok(summary),
        }
    }

    /// Works in the background, until the handle is told to stop.
    ///
    /// # Errors
    /// As [`run_until`](Self::run_until), for what can be known at once.
    pub async fn start(self) -> Result<WorkerHandle> {
        let grace = self.grace;
        let engine = self.build().await?;
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let until = async move { stopped.notified().await };
            match Running::start(engine).run(until, grace).await {
                (_, Some(error)) => Err(error),
                (summary, None) => Ok(summary),
            }
        });
        Ok(WorkerHandle { stop, task })
    }

    /// Runs everything that is ready, and what that makes ready, until nothing is; for tests. A kind whose
    /// [policy](Self::policy) lets nothing through is left alone.
    ///
    /// # Errors
    /// As [`run_until`](Self::run_until); `Busy` where a million jobs were run and there are more.
    pub async fn drain(self) -> Result<Summary> {
        let engine = self.build().await?;
        Running::start(engine).drain(DRAINED_MAX).await
    }

    async fn build(self) -> Result<Engine> {
        let lease_ms = check_times(self.lease, self.heartbeat)?;
        let lanes = self.lanes()?;
        let handlers = collect(self.handlers, &self.states)?;
        let policies = self.policies.into_iter();
        let policies = policies.map(|(kind, policy)| Ok((kind?, policy)));
        let kinds = Kinds::new(
            handlers.by_kind.keys().cloned().collect(),
            handlers.any.is_some(),
            policies.collect::<Result<_>>()?,
            check_budget(self.retry_budget)?.as_ref(),
            self.hub.now(),
        )?;
        let name = match &self.name {
            Some(name) => WorkerName::new(name)?,
            None => WorkerName::new(&format!("process-{}", std::process::id()))?,
        };
        let local = self.hub.health().await?.store != "http";
        let service = JobService::new(handlers, self.states);
        let layers = self.layers.into_iter();
        Ok(Engine {
            hub: self.hub,
            service: layers.fold(service, |service, layer| layer(service)),
            lanes,
            settler: Settler::new(),
            pulse: Pulse::new(self.heartbeat),
            kinds,
            name,
            lease_ms,
            local,
        })
    }

    /// The queues that share the worker's slots, and each that has slots of its own.
    fn lanes(&self) -> Result<Vec<Arc<Lane>>> {
        let threads = tokio::runtime::Handle::current().metrics().num_workers();
        let lane = |queues, slots| -> Result<Arc<Lane>> {
            check_slots(slots, ("worker can't run", "jobs"))?;
            Ok(Arc::new(Lane::new(queues, self.strict, slots, threads)))
        };
        let mut shared = Vec::new();
        let mut lanes = Vec::new();
        for queue in &self.queues {
            let name = QueueName::new(&queue.name)?;
            match queue.concurrency {
                Some(slots) => lanes.push(lane(vec![(name, queue.weight)], slots)?),
                None => shared.push((name, queue.weight)),
            }
        }
        if self.queues.is_empty() {
            shared = self.default_queues()?;
        } else if self.publishes && !self.queues.iter().any(|queue| queue.name == Later::KIND) {
            shared.push((QueueName::new(Later::KIND)?, 1));
        }
        if !shared.is_empty() {
            lanes.push(lane(shared, self.concurrency)?);
        }
        Ok(lanes)
    }

    fn default_queues(&self) -> Result<Vec<(QueueName, u32)>> {
        let mut names = self
            .own_queues
            .iter()
            .cloned()
            .collect::<Result<Vec<_>>>()?;
        if names.is_empty() {
            names.push(QueueName::new("default")?);
        }
        names.sort();
        names.dedup();
        Ok(names.into_iter().map(|name| (name, 1)).collect())
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("queues", &self.queues)
            .field("concurrency", &self.concurrency)
            .field("handlers", &self.handlers.len())
            .finish_non_exhaustive()
    }
}

/// Whether so many can be done at once; `what` says who does what.
pub(crate) fn check_slots(slots: usize, (who, what): (&str, &str)) -> Result<()> {
    if (1..=SLOTS_MAX).contains(&slots) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Invalid,
        format!("a {who} {slots} {what} at once"),
    )
    .next(format!("give a concurrency of 1 to {SLOTS_MAX}")))
}

/// The length of a lease in milliseconds, where heartbeats can keep it.
pub(crate) fn check_times(lease: Duration, heartbeat: Option<Duration>) -> Result<u32> {
    let lease_ms = millis_u32(lease);
    if !(limits::LEASE_MS_MIN..=limits::LEASE_MS_MAX).contains(&lease_ms) {
        let range = [limits::LEASE_MS_MIN, limits::LEASE_MS_MAX].map(|ms| print_ms(ms.into()));
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("a lease can't be {} long", print_ms(lease_ms.into())),
        )
        .next(format!(
            "give {} to {}; heartbeats keep it",
            range[0], range[1]
        )));
    }
    match heartbeat {
        Some(every) if every >= lease => Err(Error::new(
            ErrorKind::Invalid,
            format!(
                "a lease of {} lapses before a heartbeat every {}",
                print_ms(lease_ms.into()),
                print_ms(millis(every))
            ),
        )
        .next("give a longer lease, or leave the heartbeat at a third of it")),
        _ => Ok(lease_ms),
    }
}

/// The budget, if it makes sense.
fn check_budget(budget: Option<settings::Budget>) -> Result<Option<settings::Budget>> {
    let Some(budget) = budget else {
        return Ok(None);
    };
    let settings = settings::Settings {
        budget,
        ..settings::Settings::default()
    };
    settings.check()?;
    if budget.floor_per_second <= 0.0 {
        return Err(Error::new(
            ErrorKind::Invalid,
            "without a floor, and without first attempts, a retry is put off for ever",
        )
        .next("give budget.floor_per_second, at most 1,000; 0.1 is one retry in ten seconds"));
    }
    Ok(Some(budget))
}

fn collect(given: Vec<Given>, states: &States) -> Result<Handlers> {
    if given.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, "the worker has no handlers")
            .next("add one with .on(|job: MyJob| async move { … })"));
    }
    let mut handlers = Handlers::default();
    for (kind, handler) in given {
        handler.check(states)?;
        let (named, before) = match kind? {
            Some(kind) => (
                format!("the kind {kind}"),
                handlers.by_kind.insert(kind, handler),
            ),
            None => ("every kind".to_owned(), handlers.any.replace(handler)),
        };
        if before.is_some() {
            return Err(
                Error::new(ErrorKind::Invalid, format!("{named} has two handlers"))
                    .next("keep one of them"),
            );
        }
    }
    Ok(handlers)
}

/// A worker that runs in the background. Dropped, it goes on.
#[derive(Debug)]
pub struct WorkerHandle {
    stop: Arc<Notify>,
    task: JoinHandle<Result<Summary>>,
}

impl WorkerHandle {
    /// Tells the worker to stop, and waits until it has: see [`Worker::run_until`].
    ///
    /// # Errors
    /// As [`Worker::run_until`].
    pub async fn stop(self) -> Result<Summary> {
        self.stop.notify_one();
        self.join().await
    }

    /// Waits until the worker ends by itself, because the store is closed or failed.
    ///
    /// # Errors
    /// As [`Worker::run_until`].
    pub async fn join(self) -> Result<Summary> {
        self.task.await.unwrap_or_else(|error| {
            Err(
                Error::new(ErrorKind::Closed, format!("the worker ended: {error}"))
                    .next("start it again"),
            )
        })
    }
}
