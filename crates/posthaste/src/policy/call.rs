//! The value that is put around a call.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use posthaste_core::Result;
use posthaste_core::policy::breaker;
use posthaste_core::policy::engine::{Counts, Engine};
use posthaste_core::policy::{Refusal, Settings};

use super::build::Builder;
use super::clock;
use super::context::Context;
use super::error::PolicyError;
use super::judge::{AnyError, Judge};
use super::layer::{OnceLayer, PolicyLayer};
use super::room::Room;
use super::run::{Attempt, Run};

/// What is decided around a call: one value, shared by all its clones. See the [module](super) for what
/// it does.
#[derive(Clone)]
pub struct Policy(Arc<Shared>);

struct Shared {
    name: Box<str>,
    room: Room,
}

impl Policy {
    /// A policy strategy by strategy, none of which it has at first.
    pub fn named(name: impl Into<Box<str>>) -> Builder {
        Builder::new(name)
    }

    /// The policy for calls to somebody else, [`Settings::calling`].
    #[must_use]
    pub fn calling(name: impl Into<Box<str>>) -> Self {
        Self::preset(name, Settings::calling())
    }

    /// The policy for the requests that a server takes, [`Settings::serving`].
    #[must_use]
    pub fn serving(name: impl Into<Box<str>>) -> Self {
        Self::preset(name, Settings::serving())
    }

    fn preset(name: impl Into<Box<str>>, settings: Settings) -> Self {
        match Self::new(name, settings) {
            Ok(policy) => policy,
            Err(error) => unreachable!("a test checks the presets: {error}"),
        }
    }

    /// A policy of settings.
    ///
    /// # Errors
    /// `Invalid` where they make no sense, with the reason and the way out.
    pub fn new(name: impl Into<Box<str>>, settings: Settings) -> Result<Self> {
        let engine = Engine::new(settings, clock::now())?;
        // Where the system has no chance to give, the address has enough to spread pauses.
        let shared = Shared {
            name: name.into(),
            room: Room::new(engine, getrandom::u64().unwrap_or(0x5eed)),
        };
        Ok(Self(Arc::new(shared)))
    }

    /// Calls `work` under this policy, in the [current](Context::current) context. Every error of it is
    /// taken for one of unknown effect; to say more, [judge](Calling::judge) it.
    ///
    /// `work` is called once for each attempt, and its future runs under the attempt's context. It runs
    /// on the task of the caller. An attempt that takes too long is dropped.
    ///
    /// # Errors
    /// [`PolicyError`], which says what was decided and why.
    pub fn call<T, E, F, Fut>(&self, work: F) -> impl Future<Output = Result<T, PolicyError<E>>>
    where
        F: FnMut(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let run = Run {
            policy: self,
            // The current one is taken when it is first polled.
            context: None,
            judge: AnyError,
        };
        run.all(work)
    }

    /// A call in this context, to say more about before it is run.
    pub fn with(&self, context: Context) -> Calling<'_> {
        Calling {
            policy: self,
            context,
            judge: AnyError,
        }
    }

    /// This policy as a tower layer, for requests that can be cloned. Each request runs in the
    /// [current](Context::current) context.
    #[must_use]
    pub fn layer(&self) -> PolicyLayer {
        PolicyLayer::new(self.clone(), AnyError)
    }

    /// This policy as a tower layer for requests that can be made only once: it never repeats nor
    /// hedges. What a server puts around its handlers.
    #[must_use]
    pub fn layer_once(&self) -> OnceLayer {
        OnceLayer::new(self.clone(), AnyError)
    }

    /// Other settings, from now on. Calls under way go on, and what was learned is kept where a strategy
    /// stays.
    ///
    /// # Errors
    /// `Invalid` where they make no sense; then nothing has changed.
    pub fn reload(&self, settings: Settings) -> Result<()> {
        self.room()
            .change(|inner, now| inner.engine.reload(settings, now))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What it does, a line for each strategy, the outermost first.
    #[must_use]
    pub fn describe(&self) -> String {
        self.settings().describe()
    }

    /// What it is set to.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.room().look(|inner, _| inner.engine.settings().clone())
    }

    /// How often what was decided, since it was made.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.room().look(|inner, _| *inner.engine.counts())
    }

    /// What its circuit breaker is doing; none where it has none.
    #[must_use]
    pub fn breaker(&self) -> Option<breaker::State> {
        self.room()
            .look(|inner, now| inner.engine.breaker().map(|breaker| breaker.state(now)))
    }

    /// How many may run at once now, how many do, and how many wait; none where it limits nothing.
    #[must_use]
    pub fn places(&self) -> Option<Places> {
        self.room().look(|inner, _| {
            inner.engine.gate().map(|gate| Places {
                limit: gate.limit(),
                in_flight: gate.in_flight(),
                waiting: gate.waiting(),
            })
        })
    }

    /// How pressed it is for places, for a [`Mode`](super::Mode): the share of them that is taken, and
    /// where calls wait, 1 and how many times as long as is well the queue's oldest has waited. 0 where it
    /// limits nothing.
    #[must_use]
    pub fn pressure(&self) -> f64 {
        self.room().look(|inner, now| inner.engine.pressure(now))
    }

    /// Whether a call would find no place now, or a breaker that is open, and which. Takes nothing: the
    /// next call may be decided otherwise.
    ///
    /// # Errors
    /// The reason.
    pub fn peek(&self) -> Result<(), Refusal> {
        self.room().look(|inner, now| inner.engine.peek(now))
    }

    /// Opens the circuit breaker by hand, until it is [joined](Self::join) again.
    pub fn isolate(&self) {
        self.room().change(|inner, _| {
            if let Some(breaker) = inner.engine.breaker_mut() {
                breaker.isolate();
            }
        });
    }

    /// Lets the circuit breaker go that was [isolated](Self::isolate): it starts closed.
    pub fn join(&self) {
        self.room().change(|inner, now| {
            if let Some(breaker) = inner.engine.breaker_mut() {
                breaker.join(now);
            }
        });
    }

    /// Injects the faults of its rules, or none. They are injected at first.
    pub fn set_chaos(&self, on: bool) {
        self.room().change(|inner, _| inner.engine.set_chaos(on));
    }

    pub(super) fn room(&self) -> &Room {
        &self.0.room
    }
}

/// The places of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Places {
    /// How many attempts may run at once now.
    pub limit: u32,
    /// How many do.
    pub in_flight: u32,
    /// How many wait for a place.
    pub waiting: u32,
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("name", &self.name())
            .field("settings", &self.settings())
            .finish()
    }
}

/// A call under a policy, before it is run.
#[derive(Clone, Debug)]
#[must_use = "nothing is called until it is run"]
pub struct Calling<'p, J = AnyError> {
    policy: &'p Policy,
    context: Context,
    judge: J,
}

impl<'p, J> Calling<'p, J> {
    /// What results mean: any `Fn(&Result<T, E>) -> Verdict`.
    pub fn judge<K>(self, judge: K) -> Calling<'p, K> {
        Calling {
            policy: self.policy,
            context: self.context,
            judge,
        }
    }

    fn into_run(self) -> Run<'p, J> {
        Run {
            policy: self.policy,
            context: Some(self.context),
            judge: self.judge,
        }
    }

    /// Calls `work`, once for each attempt.
    ///
    /// # Errors
    /// [`PolicyError`], which says what was decided and why.
    pub fn run<T, E, F, Fut>(self, work: F) -> impl Future<Output = Result<T, PolicyError<E>>>
    where
        F: FnMut(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        J: Judge<T, E>,
    {
        self.into_run().all(work)
    }

    /// Calls `work`, which can be called only once: there is no second attempt and no hedge.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_once<T, E, F, Fut>(self, work: F) -> impl Future<Output = Result<T, PolicyError<E>>>
    where
        F: FnOnce(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        J: Judge<T, E>,
    {
        self.into_run().once(work)
    }

    /// Calls `work`, and where that does not work gives what `fallback` makes of the reason.
    ///
    /// ```
    /// # use posthaste::policy::{Context, Policy};
    /// # async fn rate(_: &str) -> Result<f64, std::io::Error> { Err(std::io::ErrorKind::TimedOut.into()) }
    /// # async fn program() {
    /// let policy = Policy::calling("rates");
    /// let rate = policy
    ///     .with(Context::current())
    ///     .run_or(|_| rate("EUR"), |_why| 1.0)
    ///     .await;
    /// assert_eq!(rate, 1.0);
    /// # }
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(program());
    /// ```
    pub async fn run_or<T, E, F, Fut>(
        self,
        work: F,
        fallback: impl FnOnce(PolicyError<E>) -> T,
    ) -> T
    where
        F: FnMut(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        J: Judge<T, E>,
    {
        self.run(work).await.unwrap_or_else(fallback)
    }
}
