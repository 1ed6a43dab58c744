//! A lane: queues that share slots, the jobs that wait for a slot, and how many more to ask for.
//!
//! Jobs are leased many at a time and run by a fixed number of slots. A slot takes the next job
//! itself; only as many slots are woken as there are threads, and a slot whose handler has to wait
//! for something wakes the next. So a thousand handlers that only wait cost a thousand tasks, and
//! a thousand that return at once cost none.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use posthaste_core::{Payload, QueueName, limits};
use tokio::sync::Notify;

use super::batch::{Held, lock};
use super::kinds::Claim;

/// How far ahead of the slots jobs are leased: as many as were finished in this time.
const AHEAD: Duration = Duration::from_millis(5);

/// A job that waits for a slot.
pub(super) struct Item {
    pub(super) held: Held,
    pub(super) payload: Payload,
    /// Where its kind has a policy: it counts against the kind's places.
    pub(super) claim: Option<Claim>,
}

/// Queues that share slots.
pub(super) struct Lane {
    pub(super) queues: Vec<(QueueName, u32)>,
    pub(super) strict: bool,
    pub(super) slots: usize,
    /// Slots to wake at once: as many as can run at the same time.
    threads: usize,
    waiting: Mutex<Waiting>,
    /// There may be room for more jobs.
    pub(super) room: Notify,
}

struct Waiting {
    jobs: VecDeque<Item>,
    /// Slots without a job.
    idle: Vec<(usize, Waker)>,
    running: usize,
    finished: u64,
    closed: bool,
    /// How many jobs to hold beyond those that have a slot.
    ahead: usize,
    measured: (Instant, u64),
}

impl Lane {
    pub(super) fn new(
        queues: Vec<(QueueName, u32)>,
        strict: bool,
        slots: usize,
        threads: usize,
    ) -> Self {
        Self {
            queues,
            strict,
            slots,
            threads,
            waiting: Mutex::new(Waiting {
                jobs: VecDeque::new(),
                idle: Vec::new(),
                running: 0,
                finished: 0,
                closed: false,
                ahead: 0,
                measured: (Instant::now(), 0),
            }),
            room: Notify::new(),
        }
    }

    /// How many jobs to ask for now; 0 is none.
    pub(super) fn wanted(&self) -> u32 {
        let mut waiting = lock(&self.waiting);
        waiting.measure();
        let target = self.slots.saturating_sub(waiting.running) + waiting.ahead;
        let held = waiting.jobs.len();
        if held * 2 > target {
            return 0;
        }
        let wanted = u32::try_from(target - held).unwrap_or(u32::MAX);
        wanted.min(limits::LEASE_JOBS_MAX)
    }

    /// Puts jobs before the slots.
    pub(super) fn put(&self, items: impl Iterator<Item = Item>) {
        let mut waiting = lock(&self.waiting);
        waiting.jobs.extend(items);
        let wake = waiting.jobs.len().min(self.threads);
        let from = waiting.idle.len().saturating_sub(wake);
        let woken: Vec<_> = waiting.idle.drain(from..).collect();
        drop(waiting);
        woken.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// A slot that has to wait for its handler lets another take over the jobs that are left.
    pub(super) fn pass_on(&self) {
        let mut waiting = lock(&self.waiting);
        let next = if waiting.jobs.is_empty() {
            None
        } else {
            waiting.idle.pop()
        };
        drop(waiting);
        if let Some((_, waker)) = next {
            waker.wake();
        }
    }

    /// The next job for `slot`, `finished` with the one before. `None` when the lane is closed.
    pub(super) async fn next(&self, slot: usize, finished: bool) -> Option<Item> {
        let mut finished = finished;
        poll_fn(|context| self.poll_next(slot, &mut finished, context)).await
    }

    fn poll_next(
        &self,
        slot: usize,
        finished: &mut bool,
        context: &Context<'_>,
    ) -> Poll<Option<Item>> {
        let mut waiting = lock(&self.waiting);
        if std::mem::take(finished) {
            waiting.running -= 1;
            waiting.finished += 1;
        }
        let item = waiting.jobs.pop_front();
        let left = waiting.jobs.len();
        let answer = match item {
            Some(item) => {
                waiting.running += 1;
                Poll::Ready(Some(item))
            }
            None if waiting.closed => Poll::Ready(None),
            None => {
                waiting.idle.retain(|(idle, _)| *idle != slot);
                waiting.idle.push((slot, context.waker().clone()));
                Poll::Pending
            }
        };
        let low = left * 2 <= self.slots.saturating_sub(waiting.running) + waiting.ahead;
        drop(waiting);
        if low {
            self.room.notify_one();
        }
        answer
    }

    /// Ends the slots once they are through, and gives what still waited.
    pub(super) fn close(&self) -> Vec<Item> {
        let mut waiting = lock(&self.waiting);
        waiting.closed = true;
        let idle = std::mem::take(&mut waiting.idle);
        let jobs = std::mem::take(&mut waiting.jobs);
        drop(waiting);
        idle.into_iter().for_each(|(_, waker)| waker.wake());
        jobs.into()
    }

    /// Jobs that have waited for a slot since before `since_ms`, and are better off elsewhere.
    pub(super) fn overdue(&self, since_ms: u64) -> Vec<Item> {
        let mut waiting = lock(&self.waiting);
        let mut overdue = Vec::new();
        while waiting
            .jobs
            .front()
            .is_some_and(|item| item.held.batch.since_ms < since_ms)
        {
            overdue.extend(waiting.jobs.pop_front());
        }
        overdue
    }
}

impl Waiting {
    /// Sets how far ahead to lease by how fast jobs were finished since the last look.
    fn measure(&mut self) {
        let (since, before) = self.measured;
        let elapsed = since.elapsed();
        if elapsed < AHEAD / 10 {
            return;
        }
        let finished = u128::from(self.finished - before);
        let ahead = finished * AHEAD.as_nanos() / elapsed.as_nanos().max(1);
        let most = limits::LEASE_JOBS_MAX as usize;
        self.ahead = usize::try_from(ahead).unwrap_or(most).min(most);
        self.measured = (Instant::now(), self.finished);
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use posthaste_core::port::Leased;
    use posthaste_core::{JobId, KindName, Priority, Token, WallMs};

    use super::super::batch::Batch;
    use super::*;
    use crate::Posthaste;

    fn lane(slots: usize) -> Lane {
        Lane::new(Vec::new(), false, slots, 2)
    }

    fn hub() -> Posthaste {
        let options = posthaste_log::Options::new(posthaste_log::Location::Memory);
        let log = posthaste_log::Log::open(options).expect("a store");
        Posthaste::with_store(std::sync::Arc::new(log)).expect("a hub")
    }

    /// So many jobs, leased at `since_ms`.
    fn items(count: u8, since_ms: u64) -> Vec<Item> {
        let leased = (0..count).map(|n| Leased {
            id: JobId::new(0, [n; 10]),
            token: Token(n.into()),
            kind: KindName::new("ping").expect("a kind"),
            queue: QueueName::new("default").expect("a queue"),
            payload: Payload::json(vec![n]),
            attempt: 1,
            max_attempts: 1,
            priority: Priority::default(),
            lease_ms: 30_000,
            timeout_ms: 1_000,
            deadline: None,
            enqueued_at: WallMs(0),
            tags: Vec::new(),
            metadata: Vec::new(),
        });
        let (batch, payloads) = Batch::new(&hub(), leased.collect(), since_ms);
        let held = batch.held();
        held.zip(payloads)
            .map(|(held, payload)| Item {
                held,
                payload,
                claim: None,
            })
            .collect()
    }

    fn next(lane: &Lane, slot: usize, mut finished: bool) -> Poll<Option<Item>> {
        lane.poll_next(slot, &mut finished, &Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_lane_asks_for_what_its_slots_can_take() {
        let lane = lane(4);
        assert_eq!(lane.wanted(), 4);
        lane.put(items(3, 0).into_iter());
        assert_eq!(lane.wanted(), 0, "more than half is there");
        assert!(matches!(next(&lane, 0, false), Poll::Ready(Some(_))));
        assert!(matches!(next(&lane, 1, false), Poll::Ready(Some(_))));
        assert_eq!(lane.wanted(), 1, "two run, one waits, one slot is free");
    }

    #[test]
    fn quick_handlers_have_jobs_leased_ahead_and_slow_ones_do_not() {
        let lane = lane(1);
        let finish = |count: u64, in_time: Duration| {
            let mut waiting = lock(&lane.waiting);
            waiting.finished += count;
            waiting.measured = (Instant::now().checked_sub(in_time).expect("long after"), 0);
            drop(waiting);
            lane.wanted()
        };
        assert!(finish(1_000_000, Duration::from_secs(1)) >= 1_000);
        assert_eq!(finish(0, Duration::from_secs(100_000)), 1);
    }

    #[test]
    fn a_job_that_waits_too_long_is_let_go() {
        let lane = lane(1);
        lane.put(items(2, 10).into_iter().chain(items(1, 90)));
        assert_eq!(lane.overdue(50).len(), 2);
        assert_eq!(lane.overdue(50).len(), 0);
        assert_eq!(lane.close().len(), 1);
    }

    #[test]
    fn a_closed_lane_ends_its_slots() {
        let lane = lane(2);
        assert!(next(&lane, 0, false).is_pending());
        assert!(lane.close().is_empty());
        assert!(matches!(next(&lane, 0, false), Poll::Ready(None)));
    }
}
