//! What comes of a call that did not work, and why it was not made again.

use std::fmt;
use std::time::Duration;

use posthaste_core::policy::{Refusal, Stop};

/// A call under a policy that did not work.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum PolicyError<E> {
    /// No attempt was made: nothing has happened at the callee.
    Refused(Refusal),
    /// The last attempt took too long, and its effect is unknown.
    TimedOut {
        /// How long it had.
        after: Duration,
        /// How many attempts were made.
        attempts: u32,
        /// Why there is no further one.
        stop: Stop,
        /// Why the policy refused a further one, where it did.
        refusal: Option<Refusal>,
    },
    /// The last attempt failed.
    Failed {
        /// With what.
        error: E,
        /// How many attempts were made.
        attempts: u32,
        /// Why there is no further one.
        stop: Stop,
        /// Why the policy refused a further one, where it did.
        refusal: Option<Refusal>,
    },
}

impl<E> PolicyError<E> {
    /// Why an attempt was not made, where the policy refused one.
    #[must_use]
    pub const fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::TimedOut { refusal, .. } | Self::Failed { refusal, .. } => refusal.as_ref(),
        }
    }

    /// Why no further attempt was made, where one was.
    #[must_use]
    pub const fn stop(&self) -> Option<Stop> {
        match self {
            Self::Refused(_) => None,
            Self::TimedOut { stop, .. } | Self::Failed { stop, .. } => Some(*stop),
        }
    }

    /// How many attempts were made.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        match self {
            Self::Refused(_) => 0,
            Self::TimedOut { attempts, .. } | Self::Failed { attempts, .. } => *attempts,
        }
    }

    /// The error of the last attempt, where it gave one.
    pub fn into_inner(self) -> Option<E> {
        match self {
            Self::Failed { error, .. } => Some(error),
            Self::Refused(_) | Self::TimedOut { .. } => None,
        }
    }

    /// When it is worth asking again, where the policy knows.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.refusal().and_then(Refusal::retry_after)
    }

    pub(super) fn refused_next(self, refusal: Refusal) -> Self {
        let refused = Some(refusal);
        match self {
            Self::TimedOut {
                after, attempts, ..
            } => Self::TimedOut {
                after,
                attempts,
                stop: Stop::Refused,
                refusal: refused,
            },
            Self::Failed {
                error, attempts, ..
            } => Self::Failed {
                error,
                attempts,
                stop: Stop::Refused,
                refusal: refused,
            },
            Self::Refused(_) => Self::Refused(refusal),
        }
    }
}

impl<E: fmt::Display> fmt::Display for PolicyError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stop, refusal, attempts) = match self {
            Self::Refused(refusal) => return fmt::Display::fmt(refusal, f),
            Self::TimedOut {
                after,
                attempts,
                stop,
                refusal,
            } => {
                write!(f, "timed out after {} ms", after.as_millis())?;
                (stop, refusal, attempts)
            }
            Self::Failed {
                error,
                attempts,
                stop,
                refusal,
            } => {
                fmt::Display::fmt(error, f)?;
                (stop, refusal, attempts)
            }
        };
        let attempts = *attempts;
        let plural = if attempts == 1 { "" } else { "s" };
        write!(f, " ({attempts} attempt{plural}; {stop}")?;
        match refusal {
            Some(refusal) => write!(f, ": {refusal})"),
            None => f.write_str(")"),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for PolicyError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Failed { error, .. } => error.source(),
            // So that whoever holds any error can see that nothing was called.
            Self::Refused(refusal) => Some(refusal),
            Self::TimedOut { .. } => None,
        }
    }
}
