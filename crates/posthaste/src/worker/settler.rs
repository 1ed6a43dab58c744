//! Outcomes on their way to the store: everything that ended while the last commit was under way
//! goes in the next one.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use posthaste_core::{
    Command, Commit, Committed, Error, ErrorKind, JobState, Outcome, Reply, Result,
};
use tokio::sync::Notify;

use super::batch::{Held, Phase, lock};
use super::summary::Counts;
use crate::hub::Posthaste;
use crate::outcome::text;

/// Most outcomes that wait; slots wait for room beyond.
const WAITING_MAX: usize = 8_192;
/// Most outcomes of one call.
const TOGETHER_MAX: usize = 4_096;
/// Pause before a failed call is repeated: doubled each time, to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));

/// Takes outcomes and brings them to the store.
pub(super) struct Settler {
    waiting: Mutex<VecDeque<Ended>>,
    some: Notify,
    room: Notify,
    /// Jobs that were leased and are not settled yet.
    outstanding: AtomicU64,
    none_outstanding: Notify,
    pub(super) counts: Counts,
}

/// An attempt that has ended.
struct Ended {
    held: Held,
    outcome: Outcome,
    follow_ups: Vec<Command>,
}

impl Settler {
    pub(super) fn new() -> Self {
        Self {
            waiting: Mutex::new(VecDeque::new()),
            some: Notify::new(),
            room: Notify::new(),
            outstanding: AtomicU64::new(0),
            none_outstanding: Notify::new(),
            counts: Counts::default(),
        }
    }

    /// So many jobs were leased.
    pub(super) fn leased(&self, jobs: usize) {
        self.outstanding.fetch_add(jobs as u64, Ordering::AcqRel);
    }

    /// Waits until every job that was leased is settled or lost.
    pub(super) async fn through(&self) {
        loop {
            let told = self.none_outstanding.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            if self.outstanding.load(Ordering::Acquire) == 0 {
                return;
            }
            told.await;
        }
    }

    /// Hands an outcome on, waiting for room where too many wait.
    pub(super) async fn settle(&self, held: Held, outcome: Outcome) {
        let ends = matches!(
            outcome,
            Outcome::Completed { .. } | Outcome::Cancel { .. } | Outcome::Dead { .. }
        );
        let follow_ups = held.take_follow_ups();
        held.go(Phase::Settling);
        let waiting = self.push(Ended {
            held,
            outcome,
            follow_ups: if ends { follow_ups } else { Vec::new() },
        });
        if waiting > WAITING_MAX {
            self.wait_for_room().await;
        }
    }

    /// Gives a job back untouched.
    pub(super) fn release(&self, held: Held) {
        held.go(Phase::Settling);
        self.push(Ended {
            held,
            outcome: Outcome::Release {
                delay_ms: 0,
                undecodable: false,
            },
            follow_ups: Vec::new(),
        });
    }

    fn push(&self, ended: Ended) -> usize {
        let mut waiting = lock(&self.waiting);
        waiting.push_back(ended);
        let count = waiting.len();
        drop(waiting);
        if count == 1 {
            self.some.notify_one();
        }
        count
    }

    async fn wait_for_room(&self) {
        loop {
            let told = self.room.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            if lock(&self.waiting).len() <= WAITING_MAX {
                return;
            }
            told.await;
        }
    }

    /// Brings outcomes to the store, for as long as it is polled.
    pub(super) async fn run(&self, hub: &Posthaste) {
        loop {
            let batch = self.take();
            if batch.is_empty() {
                self.some.notified().await;
                continue;
            }
            self.room.notify_waiters();
            self.deliver(hub, batch).await;
        }
    }

    fn take(&self) -> Vec<Ended> {
        let mut waiting = lock(&self.waiting);
        let count = waiting.len().min(TOGETHER_MAX);
        waiting.drain(..count).collect()
    }

    /// Settles each, and again those that the store had no answer for.
    async fn deliver(&self, hub: &Posthaste, mut batch: Vec<Ended>) {
        let (mut pause, longest) = PAUSES;
        while !batch.is_empty() {
            let commits = batch.iter().map(Ended::commit).collect();
            batch = match hub.store().commit(commits).await {
                Ok(answers) => batch
                    .into_iter()
                    .zip(answers)
                    .filter_map(|(ended, answer)| self.answered(ended, answer))
                    .collect(),
                Err(error) if error.is_retryable() && error.kind() != ErrorKind::Closed => {
                    tracing::warn!(%error, jobs = batch.len(), "settling again in a moment");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(longest);
                    batch
                }
                Err(error) => {
                    tracing::error!(%error, jobs = batch.len(), "outcomes are lost");
                    batch.iter().for_each(|ended| self.lost(&ended.held));
                    Vec::new()
                }
            };
        }
    }

    /// What became of one; given back where it is to be settled again.
    fn answered(&self, ended: Ended, answer: Result<Committed>) -> Option<Ended> {
        match answer {
            Ok(committed) => {
                if let Some(Reply::Settled { state, .. }) = committed.replies.first() {
                    self.report(&ended, *state);
                    self.counts.count(&ended.outcome, *state);
                }
                self.over(&ended.held);
                None
            }
            Err(error) => self.refused(ended, &error),
        }
    }

    fn refused(&self, mut ended: Ended, error: &Error) -> Option<Ended> {
        let job = ended.held.job();
        let of_the_settle = error.command().is_none_or(|index| index == 0);
        let lost = of_the_settle
            && matches!(
                error.kind(),
                ErrorKind::Stale
                    | ErrorKind::UnknownLease
                    | ErrorKind::NotFound
                    | ErrorKind::SettledOtherwise
            );
        if lost || matches!(ended.outcome, Outcome::Dead { .. }) && ended.follow_ups.is_empty() {
            tracing::warn!(id = %job.id, kind = %job.kind, %error, "the outcome was not accepted");
            self.lost(&ended.held);
            return None;
        }
        if error.is_retryable() {
            return Some(ended);
        }
        ended.outcome = if ended.follow_ups.is_empty() {
            Outcome::Dead {
                error: text(&format_args!("the outcome was refused: {error}")),
            }
        } else {
            ended.follow_ups.clear();
            Outcome::Retry {
                error: text(&format_args!(
                    "what was to be committed with it was refused: {error}"
                )),
                delay_ms: None,
            }
        };
        Some(ended)
    }

    fn report(&self, ended: &Ended, state: JobState) {
        let job = ended.held.job();
        let error: &str = match &ended.outcome {
            Outcome::Retry { error, .. } | Outcome::Dead { error } => error,
            _ => return,
        };
        let (id, kind, queue, attempt) = (job.id, &job.kind, &job.queue, job.attempt);
        if state == JobState::Dead {
            tracing::error!(%id, %kind, %queue, attempt, error, "the job is dead");
        } else {
            tracing::warn!(%id, %kind, %queue, attempt, error, "the attempt failed");
        }
    }

    /// The job is no longer ours, and nobody knows its outcome.
    pub(super) fn lost(&self, held: &Held) {
        self.counts.lost();
        self.over(held);
    }

    fn over(&self, held: &Held) {
        held.go(Phase::Over);
        if self.outstanding.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.none_outstanding.notify_waiters();
        }
    }
}

impl Ended {
    fn commit(&self) -> Commit {
        let mut commands = Vec::with_capacity(1 + self.follow_ups.len());
        commands.push(Command::Settle {
            id: self.held.job().id,
            token: self.held.job().token,
            outcome: self.outcome.clone(),
        });
        commands.extend(self.follow_ups.iter().cloned());
        Commit::of(commands)
    }
}
