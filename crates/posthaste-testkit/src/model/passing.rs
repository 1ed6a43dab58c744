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
        if clean {
            lost.into_iter().for_each(|id| self.give_back(id));
        } else {
            lost.into_iter().for_each(|id| self.lapse(id));
        }
        self.restart_groups(clean);
        self.pass();
    }

    fn pass(&mut self) {
        let now = self.now;
        self.expire();
        let over = |row: &Row| {
            row.lease
                .as_ref()
                .is_some_and(|lease| lease.end <= now.mono)
        };
        for id in self.ids(over) {
            self.lapse(id);
        }
        self.come_due();
        self.expire(); // those whose lease lapsed after their deadline
        for id in self.ids(|row| row.is_past_keeping(now.wall)) {
            self.forget(id);
        }
        let fresh = |at: WallMs| now.wall < at.plus(limits::KEY_WINDOW_MS);
        self.job_keys.retain(|key| fresh(key.at));
        self.commit_keys.retain(|key| fresh(key.at));
        for applied in &mut self.settles {
            applied.old |= applied.at.plus(limits::SETTLE_MEMORY_MS) <= now.wall;
        }
        for topic in &mut self.topics {
            topic.fade(now.wall);
        }
        self.pass_groups();
    }

    pub(super) fn expire(&mut self) {
        let wall = self.now.wall;
        for id in self.ids(|row| row.is_expired(wall)) {
            self.end(id, JobState::Dead, Some(DeadReason::Expired));
        }
    }

    /// Delayed jobs become ready in the order in which they are due. Those of one instant have one
    /// turn: which of them is first is nobody's promise.
    fn come_due(&mut self) {
        let wall = self.now.wall;
        let due = self
            .jobs
            .iter()
            .filter(|row| row.is_delayed() && row.ready <= wall);
        let mut due: Vec<(WallMs, JobId)> = due.map(|row| (row.ready, row.new.id)).collect();
        due.sort();
        let (mut last, mut order) = (None, 0);
        for (ready, id) in due {
            if last != Some(ready) {
                (last, order) = (Some(ready), self.next_order());
            }
            if let Ok(row) = self.row(id) {
                row.make_ready(ready, order);
            }
        }
    }

    fn ids(&self, which: impl Fn(&Row) -> bool) -> Vec<JobId> {
        let chosen = self.jobs.iter().filter(|row| which(row));
        chosen.map(|row| row.new.id).collect()
    }

    /// A lease is over without a settle. The job is ready again in its old place, and remembers the
    /// token, so that its worker may still settle while nobody else has begun.
    fn lapse(&mut self, id: JobId) {
        let Ok(row) = self.row(id) else { return };
        row.lease = None;
        row.progress = None;
        row.crashes += 1;
        row.state = JobState::Available;
        let (cancelling, crashes) = (row.cancelling, row.crashes);
        let queue = row.new.queue.clone();
        self.queue(&queue).totals.lapsed += 1;
        if cancelling {
            self.end(id, JobState::Cancelled, None);
        } else if crashes >= limits::CRASHES_MAX {
            self.end(id, JobState::Dead, Some(DeadReason::Poison));
        }
    }

    /// A lease is over, and nothing was wrong: the job is in its old place, and its worker, if it
    /// lives, may still settle.
    pub(super) fn give_back(&mut self, id: JobId) {
        let Ok(row) = self.row(id) else { return };
        (row.lease, row.progress) = (None, None);
        row.state = JobState::Available;
        if row.cancelling {
            self.end(id, JobState::Cancelled, None);
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
