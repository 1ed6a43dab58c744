//! What a worker did, counted.

use std::sync::atomic::{AtomicU64, Ordering};

use posthaste_core::{JobState, Outcome};

/// What a worker did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Jobs that were completed.
    pub completed: u64,
    /// Attempts that failed and will be tried again.
    pub retried: u64,
    /// Jobs that were put off by their handler.
    pub snoozed: u64,
    /// Jobs that were called off.
    pub cancelled: u64,
    /// Jobs that died here.
    pub dead: u64,
    /// Jobs that were given back untouched, for whatever reason.
    pub released: u64,
    /// Of those, jobs that the policy of their kind refused to start.
    pub refused: u64,
    /// Of those, retries for which the budget of their kind had nothing left.
    pub over_budget: u64,
    /// Jobs whose lease was lost: their outcome here did not count.
    pub lost: u64,
}

impl Summary {
    /// Attempts in all.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        self.completed + self.retried + self.snoozed + self.cancelled + self.dead + self.lost
    }
}

#[derive(Default)]
pub(super) struct Counts([AtomicU64; 7]);

impl Counts {
    pub(super) fn count(&self, outcome: &Outcome, state: JobState) {
        let which = match (outcome, state) {
            (_, JobState::Dead) => 4,
            (_, JobState::Cancelled) => 3,
            (_, JobState::Completed) => 0,
            (Outcome::Snooze { .. }, _) => 2,
            (Outcome::Release { .. }, _) => 5,
            _ => 1,
        };
        self.0[which].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn lost(&self) {
        self.0[6].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn summary(&self) -> Summary {
        let [completed, retried, snoozed, cancelled, dead, released, lost] =
            self.0.each_ref().map(|count| count.load(Ordering::Relaxed));
        Summary {
            completed,
            retried,
            snoozed,
            cancelled,
            dead,
            released,
            lost,
            ..Summary::default()
        }
    }
}
