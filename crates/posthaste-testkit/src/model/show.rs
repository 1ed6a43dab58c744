//! What the model shows of itself, and where it takes over what a store chose.

use posthaste_core::ids::JobId;
use posthaste_core::job::JobState;
use posthaste_core::time::WallMs;
use posthaste_core::view::{JobFilter, JobPage, JobView, QueueView};

use super::{Model, Queue, Row};

impl Model {
    /// One job, as people are shown it.
    #[must_use]
    pub fn view(&self, id: JobId) -> Option<JobView> {
        let row = self.jobs.iter().find(|row| row.new.id == id);
        row.map(Row::view)
    }

    /// Every job, in the order of their enqueue.
    #[must_use]
    pub fn views(&self) -> Vec<JobView> {
        self.jobs.iter().map(Row::view).collect()
    }

    /// One page of those that match.
    #[must_use]
    pub fn page(&self, filter: &JobFilter, cursor: Option<u64>, max: u32) -> JobPage {
        let from = usize::try_from(cursor.unwrap_or(0)).unwrap_or(usize::MAX);
        let mut page = JobPage::default();
        for (index, row) in self.jobs.iter().enumerate().skip(from) {
            if page.jobs.len() >= max as usize {
                page.next = Some(index as u64);
                break;
            }
            if row.matches(filter) {
                page.jobs.push(row.view());
            }
        }
        page
    }

    /// Every queue, by name.
    #[must_use]
    pub fn queue_views(&self) -> Vec<QueueView> {
        let mut views: Vec<QueueView> = self.queues.iter().map(|it| self.queue_view(it)).collect();
        views.sort_by(|a, b| a.name.cmp(&b.name));
        views
    }

    fn queue_view(&self, queue: &Queue) -> QueueView {
        let rows = || self.jobs.iter().filter(|row| row.new.queue == queue.name);
        let held = |state| rows().filter(|row| row.state == state).count() as u64;
        let ready = rows().filter(|row| row.state == JobState::Available);
        QueueView {
            name: queue.name.clone(),
            paused: queue.paused,
            concurrency: queue.concurrency,
            strict: queue.strict,
            priority_step_ms: queue.priority_step_ms,
            held: JobState::ALL.map(held),
            totals: queue.totals,
            oldest_ready: ready.map(|row| row.ready).min(),
            pace: None,
        }
    }

    /// The earliest and the latest instant at which a job that failed just now may be due by its
    /// backoff: the jitter is the store's choice.
    #[must_use]
    pub fn backoff_window(&self, id: JobId) -> Option<(WallMs, WallMs)> {
        let row = self.jobs.iter().find(|row| row.new.id == id)?;
        let backoff = row.new.retry.backoff;
        let mut middle = u64::from(backoff.base_ms);
        for _ in 0..row.spent {
            middle = (middle * u64::from(backoff.factor)).min(u64::from(backoff.max_ms));
        }
        let spread = middle * u64::from(backoff.jitter_percent) / 100;
        let wall = self.now.wall;
        Some((wall.plus(middle - spread), wall.plus(middle + spread)))
    }

    /// Whether the job failed at this very instant, under no delay of its own.
    #[must_use]
    pub fn failed_now(&self, id: JobId) -> bool {
        let window = self.backoff_window(id);
        self.jobs
            .iter()
            .find(|row| row.new.id == id)
            .zip(window)
            .is_some_and(|(row, (from, to))| (from..=to).contains(&row.ready))
    }

    /// Takes over the run-at that a store chose for a job that failed.
    pub fn adopt_run_at(&mut self, id: JobId, at: WallMs) {
        if let Ok(row) = self.row(id) {
            row.ready = at;
        }
    }
}

impl Row {
    fn view(&self) -> JobView {
        let running = self.state == JobState::Running;
        let at = if self.state.is_final() {
            self.ended
        } else {
            self.ready
        };
        JobView {
            id: self.new.id,
            kind: self.new.kind.clone(),
            queue: self.new.queue.clone(),
            state: self.state,
            priority: self.new.priority,
            attempt: self.spent + u16::from(running),
            crashes: self.crashes,
            retry: self.new.retry,
            enqueued_at: self.enqueued_at,
            at,
            deadline: self.new.deadline,
            cancelling: self.cancelling,
            reason: self.reason,
            error: self.error.clone(),
            result: self.result.clone(),
            progress: self.progress.clone(),
            worker: self.lease.as_ref().map(|lease| lease.worker.clone()),
            payload: self.new.payload.clone(),
            tags: self.new.tags.clone(),
            metadata: self.new.metadata.clone(),
        }
    }

    fn matches(&self, filter: &JobFilter) -> bool {
        filter.state.is_none_or(|state| self.state == state)
            && filter.queue.as_ref().is_none_or(|it| self.new.queue == *it)
            && filter.kind.as_ref().is_none_or(|it| self.new.kind == *it)
            && filter
                .tag
                .as_ref()
                .is_none_or(|it| self.new.tags.contains(it))
    }
}
