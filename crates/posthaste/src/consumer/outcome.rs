//! How the handler of an event ends.
//!
//! The words are those of jobs, so that one function can serve both:
//!
//! | last line | the event is |
//! |---|---|
//! | `Done` | done |
//! | `Retry::because("…")` | tried again after the group's backoff |
//! | `Retry::after(5.mins(), "…")` | tried again after that long |
//! | `Park::because("…")` | parked, and the later ones of its key behind it |
//! | `Dead::because("…")` | a dead letter; its key moves on |
//! | `Skip::because("…")`, `Cancel::because("…")` | passed over; its key moves on |
//! | `Snooze::after(1.hours())` | tried again after that long, an attempt spent: an event that only waits would hold up its group |

use std::fmt;

use posthaste_core::Outcome;
use posthaste_core::group::EventOutcome;

use crate::outcome::{HandlerError, HandlerResult, text};

/// The event can't be handled now, and nothing later of its key either: put it aside.
#[derive(Debug)]
pub enum Park {}

impl Park {
    /// Parked, and why: it and the later events of its key wait in the group's parked list until
    /// somebody decides. The other keys go on.
    ///
    /// # Errors
    /// Always: it is told by way of an error, for jobs have no such end.
    pub fn because(error: impl fmt::Display) -> HandlerResult {
        Err(HandlerError::new(error.to_string()).park())
    }
}

/// The event is none of this group's business.
#[derive(Debug)]
pub enum Skip {}

impl Skip {
    /// Passed over, and why: it is finished, and counted as skipped.
    ///
    /// # Errors
    /// None: the outcome is the value.
    pub fn because(reason: impl fmt::Display) -> HandlerResult {
        Ok(Outcome::Cancel {
            reason: text(&reason),
        })
    }
}

/// What the handler of an event may return.
pub trait IntoEventOutcome {
    /// How it ended.
    fn into_event_outcome(self) -> EventOutcome;
}

impl IntoEventOutcome for EventOutcome {
    fn into_event_outcome(self) -> EventOutcome {
        self
    }
}

impl IntoEventOutcome for () {
    fn into_event_outcome(self) -> EventOutcome {
        EventOutcome::Done
    }
}

impl IntoEventOutcome for Outcome {
    fn into_event_outcome(self) -> EventOutcome {
        match self {
            Self::Completed { .. } => EventOutcome::Done,
            Self::Retry { error, delay_ms } => EventOutcome::Retry { error, delay_ms },
            Self::Snooze { delay_ms } => EventOutcome::Retry {
                error: "snoozed".into(),
                delay_ms: Some(delay_ms),
            },
            Self::Cancel { reason } => EventOutcome::Skip { reason },
            Self::Dead { error } => EventOutcome::Dead { error },
            Self::Release { .. } => EventOutcome::Release,
        }
    }
}

impl<T: IntoEventOutcome, E: Into<HandlerError>> IntoEventOutcome for Result<T, E> {
    fn into_event_outcome(self) -> EventOutcome {
        match self {
            Ok(outcome) => outcome.into_event_outcome(),
            Err(error) => error.into().event_outcome(),
        }
    }
}
