//! The life of one job, and what each fact does to it.
//!
//! The machine's index and the merging of snapshots both go through here, so that a job means the
//! same in memory and on disk. This module knows one job and nothing of its neighbours.

use crate::job::{DeadReason, JobState};
use crate::machine::fact::{Cause, Fact, Place, To};
use crate::time::WallMs;
use crate::view::Totals;

/// Where one job is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Its state.
    pub state: JobState,
    /// Why it is dead, where it is.
    pub reason: Option<DeadReason>,
    /// It is running and being called off.
    pub cancelling: bool,
    /// Attempts that were spent: all but those that were snoozed, released, or lapsed.
    pub attempt: u16,
    /// Leases that lapsed in a row.
    pub crashes: u8,
    /// Since when it is ready, when it is due, or when it ended. A running job keeps the instant
    /// since when it was ready.
    pub at: WallMs,
    /// Its turn in its lane. Means nothing once it has ended.
    pub order: u64,
    /// Where its body is kept.
    pub place: Place,
    /// Where its last result, error or reason is kept.
    pub note: Place,
}

impl Life {
    /// The life of a job that was just accepted.
    #[must_use]
    pub fn enqueued(state: JobState, ready: WallMs, order: u64, place: Place) -> Self {
        Self {
            state,
            reason: None,
            cancelling: false,
            attempt: 0,
            crashes: 0,
            at: ready,
            order,
            place,
            note: Place::NONE,
        }
    }

    /// What `fact`, which is about this job, makes of it. Facts that touch only what is kept
    /// beside a life (lease, unique key) change nothing here.
    pub fn apply(&mut self, fact: &Fact<'_>) {
        match *fact {
            Fact::Leased { .. } => self.state = JobState::Running,
            Fact::CancelAsked { .. } => self.cancelling = true,
            Fact::Edited { place, .. } => self.place = place,
            Fact::Copied { from, to, .. } if self.place == from => self.place = to,
            Fact::Copied { from, to, .. } if self.note == from => self.note = to,
            Fact::Changed {
                cause,
                to,
                at,
                note,
                ..
            } => self.change(cause, to, at, note),
            _ => {}
        }
    }

    fn change(&mut self, cause: Cause, to: To, at: WallMs, note: Place) {
        match cause {
            Cause::Settled { spent, .. } => {
                self.crashes = 0;
                self.attempt = self.attempt.saturating_add(u16::from(spent));
            }
            Cause::Lapsed => self.crashes = self.crashes.saturating_add(1).min(CRASHES_SHOWN_MAX),
            Cause::Due | Cause::Expired | Cause::Asked | Cause::Corrupt => {}
        }
        if note.is_some() {
            self.note = note;
        }
        self.cancelling = false;
        self.reason = None;
        self.at = at;
        self.state = match to {
            To::Available {
                order,
                ready,
                afresh,
            } => {
                (self.order, self.at) = (order, ready);
                if afresh {
                    (self.attempt, self.crashes) = (0, 0);
                }
                JobState::Available
            }
            To::Scheduled { run_at } => {
                self.at = run_at;
                JobState::Scheduled
            }
            To::Retryable { run_at } => {
                self.at = run_at;
                JobState::Retryable
            }
            To::Completed => JobState::Completed,
            To::Cancelled => JobState::Cancelled,
            To::Dead(reason) => {
                self.reason = Some(reason);
                JobState::Dead
            }
        };
    }
}

/// A row packs the count of crashes in three bits; a job is dead long before.
const CRASHES_SHOWN_MAX: u8 = 7;

/// Whether the lease of a job in state `before` still counts after `fact`: one that lapsed, or was
/// over with its process, does until somebody else begins.
pub(super) fn keeps_lease(before: JobState, fact: &Fact<'_>) -> bool {
    match fact {
        Fact::Changed { cause, to, .. } => {
            before == JobState::Running
                && matches!(cause, Cause::Lapsed | Cause::Asked)
                && matches!(to, To::Available { .. })
        }
        _ => true,
    }
}

/// Whether `fact` shows that the payload can be read, or gives it another chance. After a settle
/// that says it can't, [`Fact::Unreadable`] follows.
pub(super) fn clears_unreadable(before: &Life, fact: &Fact<'_>) -> bool {
    match fact {
        Fact::Edited { place, .. } => *place != before.place,
        Fact::Changed { cause, to, .. } => {
            matches!(cause, Cause::Settled { .. })
                || matches!(to, To::Available { afresh: true, .. })
        }
        _ => false,
    }
}

/// Counts `fact` in the totals of its job's queue.
pub(super) fn count(totals: &mut Totals, fact: &Fact<'_>) {
    match fact {
        Fact::Enqueued { .. } => totals.enqueued += 1,
        Fact::Deleted { .. } => totals.deleted += 1,
        Fact::Changed { cause, to, .. } => {
            match cause {
                Cause::Lapsed => totals.lapsed += 1,
                Cause::Settled { spent: true, .. } if goes_on(*to) => totals.retried += 1,
                _ => {}
            }
            match to {
                To::Completed => totals.completed += 1,
                To::Dead(_) => totals.dead += 1,
                To::Cancelled => totals.cancelled += 1,
                To::Available { afresh: true, .. } => totals.redriven += 1,
                _ => {}
            }
        }
        _ => {}
    }
}

fn goes_on(to: To) -> bool {
    matches!(
        to,
        To::Available { .. } | To::Scheduled { .. } | To::Retryable { .. }
    )
}
