//! Whether nothing was lost: what the store has counted, and what others were told.

use posthaste_core::view::QueueView;
use posthaste_core::{JobState, Result, Store};

use super::acknowledged::{Acknowledged, Counts};

/// The jobs of every queue together, since the store was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Accepted.
    pub(super) accepted: u64,
    /// Completed.
    pub(super) completed: u64,
    /// Dead.
    pub(super) dead: u64,
    /// Cancelled.
    pub(super) cancelled: u64,
    /// Brought back from dead or cancelled.
    pub(super) redriven: u64,
    /// Forgotten while they waited, by a person.
    pub(super) deleted_waiting: u64,
    /// Waiting now.
    pub(super) waiting: u64,
    /// Running now.
    pub(super) running: u64,
    /// Attempts that failed and are tried again.
    pub(super) retried: u64,
    /// Leases that lapsed.
    pub(super) lapsed: u64,
}

impl Totals {
    /// Reads them.
    ///
    /// # Errors
    /// What the store answers.
    pub(super) async fn read(store: &dyn Store) -> Result<Self> {
        Ok(Self::of(&store.queues().await?))
    }

    /// Adds up queues.
    pub(super) fn of(queues: &[QueueView]) -> Self {
        let mut all = Self::default();
        let (mut deleted, mut ends_held) = (0, 0);
        for queue in queues {
            let totals = queue.totals;
            all.accepted += totals.enqueued;
            all.completed += totals.completed;
            all.dead += totals.dead;
            all.cancelled += totals.cancelled;
            all.redriven += totals.redriven;
            all.retried += totals.retried;
            all.lapsed += totals.lapsed;
            deleted += totals.deleted;
            for state in JobState::ALL {
                let held = queue.held[state as usize];
                if state.is_waiting() {
                    all.waiting += held;
                } else if state.is_final() {
                    ends_held += held;
                } else {
                    all.running += held;
                }
            }
        }
        // What was deleted and hadn't ended; retention forgets only what has.
        let ends_deleted = all.ended().saturating_sub(ends_held);
        all.deleted_waiting = deleted.saturating_sub(ends_deleted);
        all
    }

    /// Jobs that have come to an end and were not brought back.
    fn ended(&self) -> u64 {
        (self.completed + self.dead + self.cancelled).saturating_sub(self.redriven)
    }

    /// Whether every accepted job is somewhere.
    pub(super) fn balances(&self) -> bool {
        self.accepted == self.ended() + self.waiting + self.running + self.deleted_waiting
    }

    /// Whether the store balances, and agrees with what the customers and the workers were told.
    ///
    /// # Errors
    /// What doesn't agree, in words.
    pub(super) fn verdict(&self, found: &Self, acknowledged: &Acknowledged) -> Result<(), String> {
        if !self.balances() {
            return Err(format!("{self:?}"));
        }
        let said = less(acknowledged.now(), acknowledged.before());
        let counted = [
            ("accepted", said.accepted, self.accepted - found.accepted),
            (
                "completed",
                said.completed,
                self.completed - found.completed,
            ),
            ("dead", said.dead, self.dead - found.dead),
            (
                "cancelled",
                said.cancelled,
                self.cancelled - found.cancelled,
            ),
        ];
        // The store may have counted more: others may use it, and an answer may have been lost.
        match counted.iter().find(|(_, said, counted)| said > counted) {
            Some((what, said, counted)) => Err(format!(
                "{said} jobs were said to be {what}, the store has {counted}"
            )),
            None => Ok(()),
        }
    }
}

fn less(now: Counts, before: Counts) -> Counts {
    Counts {
        accepted: now.accepted - before.accepted,
        completed: now.completed - before.completed,
        dead: now.dead - before.dead,
        cancelled: now.cancelled - before.cancelled,
        published: now.published - before.published,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balanced() -> Totals {
        Totals {
            accepted: 10,
            completed: 4,
            dead: 2,
            cancelled: 1,
            redriven: 1,
            waiting: 3,
            running: 1,
            ..Totals::default()
        }
    }

    #[test]
    fn a_job_that_is_nowhere_is_noticed() {
        assert!(balanced().balances());
        let mut lost = balanced();
        lost.waiting -= 1;
        assert!(!lost.balances());
        let told = Acknowledged::open(None).expect("no file");
        assert!(lost.verdict(&Totals::default(), &told).is_err());
    }

    #[test]
    fn a_job_that_was_acknowledged_and_is_not_counted_is_noticed() {
        let told = Acknowledged::open(None).expect("no file");
        told.accepted(10, 0);
        assert_eq!(balanced().verdict(&Totals::default(), &told), Ok(()));
        told.accepted(1, 0);
        let verdict = balanced().verdict(&Totals::default(), &told);
        assert_eq!(
            verdict,
            Err("11 jobs were said to be accepted, the store has 10".to_owned())
        );
    }
}
