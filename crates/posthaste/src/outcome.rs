//! How a handler ends: outcomes as values, errors that know what they mean.
//!
//! A handler returns anything that is [`IntoOutcome`]. Most return [`HandlerResult`]: `?` turns any
//! error into "try again after the backoff", and the last line says how it ended otherwise:
//!
//! | last line | the job is |
//! |---|---|
//! | `Done` | completed |
//! | `Done::with(&result)` | completed, its result kept |
//! | `Retry::because("…")` | tried again after the backoff |
//! | `Retry::after(5.mins(), "…")` | tried again after that long |
//! | `Snooze::after(1.hours())` | run again after that long, no attempt spent |
//! | `Cancel::because("…")` | cancelled |
//! | `Dead::because("…")` | dead: no further attempt will help |

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use posthaste_core::group::EventOutcome;
use posthaste_core::policy::Refusal;
use posthaste_core::{Outcome, Payload, duration, limits};
use serde::Serialize;

use crate::units::millis;

/// Any error, boxed.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What most handlers return.
pub type HandlerResult = Result<Outcome, HandlerError>;

/// The job is done.
///
/// `Done` by itself is a value, to end a handler with; `Done::with` adds a result.
#[expect(non_upper_case_globals, reason = "it reads as the outcome that it is")]
pub const Done: HandlerResult = Ok(Outcome::Completed { result: None });

/// The job is done: see also the value [`Done`](const@Done).
#[derive(Debug)]
pub enum Done {}

impl Done {
    /// Done, with a result that is written as JSON, at most 64 KiB.
    ///
    /// # Errors
    /// A result that can't be written, or is too long, makes the job dead: running it again would
    /// not help, and its work is done.
    pub fn with<T: Serialize + ?Sized>(result: &T) -> HandlerResult {
        let bytes = serde_json::to_vec(result).map_err(|error| {
            HandlerError::new(format!("the result is not JSON: {error}")).dead()
        })?;
        if bytes.len() > limits::RESULT_BYTES_MAX {
            let most = limits::RESULT_BYTES_MAX;
            let long = format!("the result is {} bytes long, over {most}", bytes.len());
            return Err(HandlerError::new(long).dead());
        }
        let result = Some(Payload::json(bytes));
        Ok(Outcome::Completed { result })
    }
}

/// The attempt failed: try again.
#[derive(Debug)]
pub enum Retry {}

impl Retry {
    /// Try again after the job's backoff, or be dead where this was the last attempt.
    ///
    /// # Errors
    /// None: the outcome is the value.
    pub fn because(error: impl fmt::Display) -> HandlerResult {
        Ok(Outcome::Retry {
            error: text(&error),
            delay_ms: None,
        })
    }

    /// Try again after `delay` instead of the backoff.
    ///
    /// # Errors
    /// None: the outcome is the value.
    pub fn after(delay: Duration, error: impl fmt::Display) -> HandlerResult {
        Ok(Outcome::Retry {
            error: text(&error),
            delay_ms: Some(millis(delay)),
        })
    }
}

/// Not yet: run it again later, and spend no attempt.
#[derive(Debug)]
pub enum Snooze {}

impl Snooze {
    /// Run it again after `delay`.
    ///
    /// # Errors
    /// None: the outcome is the value.
    pub fn after(delay: Duration) -> HandlerResult {
        Ok(Outcome::Snooze {
            delay_ms: millis(delay),
        })
    }
}

/// The job is called off by its handler.
#[derive(Debug)]
pub enum Cancel {}

impl Cancel {
    /// Called off, and why.
    ///
    /// # Errors
    /// None: the outcome is the value.
    pub fn because(reason: impl fmt::Display) -> HandlerResult {
        Ok(Outcome::Cancel {
            reason: text(&reason),
        })
    }
}

/// The job is given up on.
#[derive(Debug)]
pub enum Dead {}

impl Dead {
    /// Given up on: no further attempt will help.
    ///
    /// # Errors
    /// None: the outcome is the value.
    pub fn because(error: impl fmt::Display) -> HandlerResult {
        Ok(Outcome::Dead {
            error: text(&error),
        })
    }
}

/// A handler's result, to return instead of an outcome: `Output(total)` is `Done::with(&total)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output<T>(pub T);

/// An error in a handler, and what it means for the job: try again, unless it is classified.
///
/// Any error becomes one by `?`. It is not an error type itself, so that `?` can do that.
///
/// ```
/// # use posthaste::{HandlerError, HandlerResult, Done};
/// fn charge(card: &str) -> HandlerResult {
///     let digits: u64 = card.parse().map_err(|error| HandlerError::new(error).dead())?;
///     assert!(digits > 0);
///     Done
/// }
/// assert!(charge("not a number").is_err());
/// ```
pub struct HandlerError {
    error: BoxError,
    meaning: Meaning,
}

/// A [`HandlerError`] on its way through layers that know errors only.
#[derive(Debug)]
struct Classified(HandlerError);

impl fmt::Display for Classified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for Classified {}

/// What an error means for the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Retry {
        delay_ms: Option<u64>,
    },
    Dead,
    Cancel,
    Park,
    Undecodable,
    /// A policy refused a call before it was made, for a reason that is not the job's.
    Refused {
        delay_ms: u64,
    },
}

/// The shortest and the longest time for which a job is put off that a policy refused.
const PUT_OFF_MS: (u64, u64) = (50, 60_000);
/// How long a payload that can't be read here is left to others.
const UNDECODABLE_DELAY_MS: u64 = 30_000;

impl HandlerError {
    /// An error that means: try again after the backoff. Where it comes of a call that a
    /// [policy](crate::policy) refused to make, it means: run it again when the policy may allow it, and
    /// spend no attempt, for none was made.
    #[must_use]
    pub fn new(error: impl Into<BoxError>) -> Self {
        let error = error.into();
        let meaning = match refused(&*error) {
            Some(delay_ms) => Meaning::Refused { delay_ms },
            None => Meaning::Retry { delay_ms: None },
        };
        Self { error, meaning }
    }

    /// No further attempt will help: the job is dead.
    #[must_use]
    pub fn dead(mut self) -> Self {
        self.meaning = Meaning::Dead;
        self
    }

    /// The job is called off.
    #[must_use]
    pub fn cancel(mut self) -> Self {
        self.meaning = Meaning::Cancel;
        self
    }

    /// The event is parked, and the later ones of its key behind it, until somebody decides. (A job
    /// has no such state, and is dead.)
    #[must_use]
    pub fn park(mut self) -> Self {
        self.meaning = Meaning::Park;
        self
    }

    /// Try again after `delay` instead of the backoff.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.meaning = Meaning::Retry {
            delay_ms: Some(millis(delay)),
        };
        self
    }

    /// The payload is not what the handler takes: others may know its shape.
    pub(crate) fn undecodable(error: impl Into<BoxError>) -> Self {
        let mut undecodable = Self::new(error);
        undecodable.meaning = Meaning::Undecodable;
        undecodable
    }

    /// Itself as an error that keeps its meaning on its way through layers: what a layer of your
    /// own fails with, to say more than "try again".
    #[must_use]
    pub fn into_error(self) -> BoxError {
        Box::new(Classified(self))
    }

    /// The error itself.
    #[must_use]
    pub fn error(&self) -> &(dyn std::error::Error + Send + Sync) {
        &*self.error
    }

    pub(crate) fn outcome(&self) -> Outcome {
        match self.meaning {
            Meaning::Retry { delay_ms } => Outcome::Retry {
                error: self.chain(),
                delay_ms,
            },
            Meaning::Dead | Meaning::Park => Outcome::Dead {
                error: self.chain(),
            },
            Meaning::Cancel => Outcome::Cancel {
                reason: self.chain(),
            },
            Meaning::Refused { delay_ms } => Outcome::Release {
                delay_ms,
                undecodable: false,
                error: Some(self.chain()),
            },
            Meaning::Undecodable => {
                let error = self.chain();
                tracing::warn!(%error, "the payload can't be read here; it is left to others");
                Outcome::Release {
                    delay_ms: UNDECODABLE_DELAY_MS,
                    undecodable: true,
                    error: Some(error),
                }
            }
        }
    }

    /// What it means for an event.
    pub(crate) fn event_outcome(&self) -> EventOutcome {
        let error = self.chain();
        match self.meaning {
            Meaning::Retry { delay_ms } => EventOutcome::Retry { error, delay_ms },
            Meaning::Dead => EventOutcome::Dead { error },
            Meaning::Cancel => EventOutcome::Skip { reason: error },
            Meaning::Park => EventOutcome::Park { error },
            Meaning::Refused { delay_ms } => EventOutcome::Retry {
                error,
                delay_ms: Some(delay_ms),
            },
            Meaning::Undecodable => EventOutcome::Retry {
                error,
                delay_ms: Some(UNDECODABLE_DELAY_MS),
            },
        }
    }

    /// The error and its sources, from the outermost in.
    fn chain(&self) -> Arc<str> {
        let mut said = self.error.to_string();
        let mut source = self.error.source();
        while let Some(error) = source {
            let inner = error.to_string();
            if !said.contains(&inner) {
                said.push_str(": ");
                said.push_str(&inner);
            }
            source = error.source();
        }
        text(&said)
    }
}

impl<E: Into<BoxError>> From<E> for HandlerError {
    fn from(error: E) -> Self {
        match error.into().downcast::<Classified>() {
            Ok(classified) => classified.0,
            Err(error) => Self::new(error),
        }
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerError")
            .field("error", &self.error)
            .field("meaning", &self.meaning)
            .finish()
    }
}

/// What a handler may return.
pub trait IntoOutcome {
    /// How the attempt ended.
    fn into_outcome(self) -> Outcome;
}

impl IntoOutcome for Outcome {
    fn into_outcome(self) -> Outcome {
        self
    }
}

impl IntoOutcome for () {
    fn into_outcome(self) -> Outcome {
        Outcome::Completed { result: None }
    }
}

impl<T: Serialize> IntoOutcome for Output<T> {
    fn into_outcome(self) -> Outcome {
        Done::with(&self.0).into_outcome()
    }
}

impl<T: IntoOutcome, E: Into<HandlerError>> IntoOutcome for Result<T, E> {
    fn into_outcome(self) -> Outcome {
        match self {
            Ok(outcome) => outcome.into_outcome(),
            Err(error) => error.into().outcome(),
        }
    }
}

/// How long a job is put off whose call a policy refused to make; none where the error is not of that
/// sort. That its own time is over is its own affair, and a fault that was injected is to look like one.
fn refused(error: &(dyn std::error::Error + 'static)) -> Option<u64> {
    let chain = std::iter::successors(Some(error), |error| error.source());
    let refusal = chain
        .filter_map(|error| error.downcast_ref::<Refusal>())
        .last()?;
    match refusal {
        Refusal::Deadline { .. } | Refusal::Chaos { .. } => None,
        refusal => Some(put_off_ms(refusal)),
    }
}

/// How long a job is put off that a policy refused: until it is worth asking again, a second where that is
/// not known, at most a minute.
pub(crate) fn put_off_ms(refusal: &Refusal) -> u64 {
    let after = refusal.retry_after().unwrap_or(Duration::from_secs(1));
    millis(after).clamp(PUT_OFF_MS.0, PUT_OFF_MS.1)
}

/// A text, cut at the length that is kept of an error. Long ones say that they were cut.
pub(crate) fn text(said: &impl fmt::Display) -> Arc<str> {
    let mut said = said.to_string();
    if said.len() > limits::RESULT_BYTES_MAX {
        let note = format!("… (cut; it had {} bytes)", said.len());
        said.truncate(said.floor_char_boundary(limits::RESULT_BYTES_MAX - note.len()));
        said.push_str(&note);
    }
    said.into()
}

/// The words of a timeout.
pub(crate) fn timed_out(timeout_ms: u32) -> Outcome {
    let error = format!("timed out after {}", duration::print_ms(timeout_ms.into()));
    Outcome::Retry {
        error: error.into(),
        delay_ms: None,
    }
}
