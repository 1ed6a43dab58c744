//! The last good answer, for when there is no new one.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use posthaste_core::time::{MonoNs, ns};

use super::call::Calling;
use super::clock;
use super::error::PolicyError;
use super::judge::Judge;
use super::run::Attempt;

/// Keeps the last good answer of a call, to serve it again while no new one can be had.
///
/// ```
/// use posthaste::TimeUnits;
/// use posthaste::policy::{Context, Policy, Served, Stale};
///
/// # async fn rates() -> Result<Vec<f64>, std::io::Error> { Ok(vec![1.1]) }
/// # async fn program() -> Result<(), posthaste::policy::PolicyError<std::io::Error>> {
/// let policy = Policy::calling("rates");
/// let last = Stale::new(10.mins());
/// let served = last.run(policy.with(Context::current()), |_| rates()).await?;
/// if let Served::Stale { age, why, .. } = &served {
///     eprintln!("rates are {age:?} old: {why}");
/// }
/// # assert_eq!(served.into_value(), [1.1]);
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
/// #     .block_on(program()).unwrap();
/// ```
#[derive(Debug)]
pub struct Stale<T> {
    age_max_ns: u64,
    last: Mutex<Option<(MonoNs, T)>>,
}

/// An answer, and whether it is a new one.
#[derive(Clone, Debug, PartialEq)]
pub enum Served<T, E> {
    /// It was just given.
    Fresh(T),
    /// It is the last good one.
    Stale {
        /// What it was.
        value: T,
        /// How long ago it was asked for.
        age: Duration,
        /// Why there is no new one.
        why: PolicyError<E>,
    },
}

impl<T, E> Served<T, E> {
    /// The answer, new or not.
    pub fn into_value(self) -> T {
        match self {
            Self::Fresh(value) | Self::Stale { value, .. } => value,
        }
    }

    /// Whether it is not a new one.
    pub const fn is_stale(&self) -> bool {
        matches!(self, Self::Stale { .. })
    }
}

impl<T: Clone> Stale<T> {
    /// Keeps an answer for at most `age_max`.
    #[must_use]
    pub const fn new(age_max: Duration) -> Self {
        Self {
            age_max_ns: ns(age_max),
            last: Mutex::new(None),
        }
    }

    /// Runs a call, and gives its answer, or the last good one that is not too old. Of two that run side
    /// by side, the answer that was asked for later is kept.
    ///
    /// # Errors
    /// What the call failed with, where no answer is kept that is young enough.
    pub async fn run<E, J, F, Fut>(
        &self,
        calling: Calling<'_, J>,
        work: F,
    ) -> Result<Served<T, E>, PolicyError<E>>
    where
        F: FnMut(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        J: Judge<T, E>,
    {
        let asked = clock::now();
        let why = match calling.run(work).await {
            Ok(value) => {
                let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
                if last.as_ref().is_none_or(|(known, _)| *known <= asked) {
                    *last = Some((asked, value.clone()));
                }
                return Ok(Served::Fresh(value));
            }
            Err(why) => why,
        };
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::now();
        match &*last {
            Some((known, value)) if now.since(*known) <= self.age_max_ns => Ok(Served::Stale {
                value: value.clone(),
                age: Duration::from_nanos(now.since(*known)),
                why,
            }),
            _ => Err(why),
        }
    }
}
