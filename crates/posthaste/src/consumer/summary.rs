//! What a consumer did, counted.

use std::sync::atomic::{AtomicU64, Ordering};

use posthaste_core::group::EventOutcome;

/// What a consumer did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerSummary {
    /// Events that were done.
    pub done: u64,
    /// Attempts that failed and are followed by another.
    pub retried: u64,
    /// Last attempts that failed: the event is parked or a dead letter, as its group declares.
    pub exhausted: u64,
    /// Events that their handler parked.
    pub parked: u64,
    /// Events that their handler gave up on.
    pub dead: u64,
    /// Events that were passed over: by their handler, or because none takes them.
    pub skipped: u64,
    /// Events that were given back untouched.
    pub released: u64,
    /// Events whose membership was lost: how they ended here did not count.
    pub lost: u64,
    /// Things to commit with an event that were left out, in a shadow group.
    pub withheld: u64,
}

impl ConsumerSummary {
    /// Attempts in all.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        self.done
            + self.retried
            + self.exhausted
            + self.parked
            + self.dead
            + self.skipped
            + self.lost
    }
}

#[derive(Default)]
pub(super) struct Counts([AtomicU64; 9]);

impl Counts {
    /// So many events ended so; the last attempt failed where `last`.
    pub(super) fn count(&self, outcome: &EventOutcome, last: bool, events: usize) {
        let which = match outcome {
            EventOutcome::Done => 0,
            EventOutcome::Retry { .. } if !last => 1,
            EventOutcome::Retry { .. } => 2,
            EventOutcome::Park { .. } => 3,
            EventOutcome::Dead { .. } => 4,
            EventOutcome::Skip { .. } => 5,
            EventOutcome::Release => 6,
        };
        self.add(which, events);
    }

    pub(super) fn lost(&self, events: usize) {
        self.add(7, events);
    }

    pub(super) fn withheld(&self, commands: usize) {
        self.add(8, commands);
    }

    fn add(&self, which: usize, count: usize) {
        self.0[which].fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(super) fn summary(&self) -> ConsumerSummary {
        let counts = self.0.each_ref().map(|count| count.load(Ordering::Relaxed));
        let [
            done,
            retried,
            exhausted,
            parked,
            dead,
            skipped,
            released,
            lost,
            withheld,
        ] = counts;
        ConsumerSummary {
            done,
            retried,
            exhausted,
            parked,
            dead,
            skipped,
            released,
            lost,
            withheld,
        }
    }
}
