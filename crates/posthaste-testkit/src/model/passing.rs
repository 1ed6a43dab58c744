//! What time does: due jobs become ready, leases lapse, deadlines pass, memories fade. And what a
//! restart does.

use posthaste_core::ids::JobId;
use posthaste_core::job::{DeadReason, JobState};
use posthaste_core::limits;
use posthaste_core::time::WallMs;

use super::{Model, Row};

impl Model {
    /// Lets `ms` milliseconds pass on both clocks.
    pub fn advance(&mut self, ms: u64) {
        self.now.wall = self.now.wall.plus(ms);
        self.now.mono = self.now.mono.plus(ms);
        self.pass();
    }

    /// Sets the wall clock, forward or back; the monotonic one stands still.
    pub fn set_wall(&mut self, wall: WallMs) {
        self.went_back |= wall < self.now.wall;
        self.now.wall = wall;
        self.pass();
    }

    /// Opens the store again: every lease starts afresh, progress is gone, and the leases of
    /// workers inside the process are over, counted as crashes unless it was `clean`.
    pub fn restart(&mut self, clean: bool) {
        let mono = self.now.mono;
        let mut lost: Vec<JobId> = Vec::new();
        for row in &mut self.jobs {
            row.progress = None;
            if let Some(lease) = &mut row.lease {
                lease.end = mono.plus(u64::from(lease.length_ms));
                if lease.local {
                    lost.push(row.new.id);
                }
            }
        }
        for id in lost {
            self.lapse(id, !clean);
        }
        self.pass();
    }

    pub(super) fn pass(&mut self) {
        let now = self.now;
        let over = |row: &Row| {
            row.lease
                .as_ref()
                .is_some_and(|lease| lease.end <= now.mono)
        };
        for id in self.ids(over) {
            self.lapse(id, true);
        }
        let mut due = self.ids(|row| row.is_delayed() && row.ready <= now.wall);
        due.sort_by_key(|id| self.turn(*id));
        for id in due {
            let order = self.next_order();
            if let Ok(row) = self.row(id) {
                row.make_ready(row.ready, order);
            }
        }
        for id in self.ids(|row| row.is_expired(now.wall)) {
            self.end(id, JobState::Dead, Some(DeadReason::Expired));
        }
        for id in self.ids(|row| row.is_past_keeping(now.wall)) {
            self.forget(id);
        }
        let fresh = |at: WallMs, kept: u64| now.wall < at.plus(kept);
        self.job_keys
            .retain(|key| fresh(key.at, limits::KEY_WINDOW_MS));
        self.commit_keys
            .retain(|key| fresh(key.at, limits::KEY_WINDOW_MS));
        self.settles
            .retain(|applied| fresh(applied.at, limits::SETTLE_MEMORY_MS));
    }

    fn ids(&self, which: impl Fn(&Row) -> bool) -> Vec<JobId> {
        let chosen = self.jobs.iter().filter(|row| which(row));
        chosen.map(|row| row.new.id).collect()
    }

    fn turn(&self, id: JobId) -> Option<(WallMs, u64)> {
        let row = self.jobs.iter().find(|row| row.new.id == id)?;
        Some((row.ready, row.order))
    }

    /// A lease is over without a settle. The job is back in its old place and remembers the token,
    /// so that its worker may still settle while nobody else has begun.
    fn lapse(&mut self, id: JobId, crashed: bool) {
        let Some(row) = self.jobs.iter_mut().find(|row| row.new.id == id) else {
            return;
        };
        row.lease = None;
        row.progress = None;
        row.crashes += u8::from(crashed);
        row.state = JobState::Available;
        let (cancelling, crashes) = (row.cancelling, row.crashes);
        if crashed {
            let queue = row.new.queue.clone();
            self.queue(&queue).totals.lapsed += 1;
        }
        if cancelling {
            self.end(id, JobState::Cancelled, None);
        } else if crashes >= limits::CRASHES_MAX {
            self.end(id, JobState::Dead, Some(DeadReason::Poison));
        }
    }
}

impl Row {
    fn is_delayed(&self) -> bool {
        matches!(self.state, JobState::Scheduled | JobState::Retryable)
    }

    fn is_expired(&self, wall: WallMs) -> bool {
        self.state.is_waiting() && self.new.deadline.is_some_and(|deadline| deadline <= wall)
    }

    fn is_past_keeping(&self, wall: WallMs) -> bool {
        let kept = match self.state {
            JobState::Completed | JobState::Cancelled => limits::COMPLETED_KEPT_MS,
            JobState::Dead => limits::DEAD_KEPT_MS,
            _ => return false,
        };
        self.ended.plus(kept) <= wall
    }
}
