//! Outcomes on their way to the store: everything that ended while the last commit was under way
//! goes in the next one.
//!
//! An outcome that is refused for now (its follow-up jobs find the disk full, say) is kept and
//! tried again after a pause, and holds up no other: settling is what makes room.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use posthaste_core::{
    Command, Commit, Committed, Error, ErrorKind, JobState, Outcome, Reply, Result,
};
use tokio::sync::Notify;

use super::again::Again;
use super::batch::{Flag, Held, Phase, lock};
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
    /// Outcomes that were refused for now, and wait to be tried again.
    kept: AtomicUsize,
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
            kept: AtomicUsize::new(0),
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
        if waiting + self.kept.load(Ordering::Acquire) > WAITING_MAX {
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
                error: None,
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
            if lock(&self.waiting).len() + self.kept.load(Ordering::Acquire) <= WAITING_MAX {
                return;
            }
            told.await;
        }
    }

    /// Brings outcomes to the store, for as long as it is polled.
    pub(super) async fn run(&self, hub: &Posthaste) {
        let mut again = Again::new(PAUSES);
        loop {
            let batch = self.take();
            let due = again.take_due();
            if batch.is_empty() && due.is_none() {
                tokio::select! {
                    () = self.some.notified() => {}
                    () = again.due() => {}
                }
                continue;
            }
            if let Some(kept) = due {
                again.put_off(self.deliver(hub, kept).await);
            }
            again.keep(self.deliver(hub, batch).await);
            self.kept.store(again.len(), Ordering::Release);
            self.room.notify_waiters();
        }
    }

    fn take(&self) -> Vec<Ended> {
        let mut waiting = lock(&self.waiting);
        let count = waiting.len().min(TOGETHER_MAX);
        waiting.drain(..count).collect()
    }

    /// Settles each, and gives back those that the store refused for now.
    async fn deliver(&self, hub: &Posthaste, mut batch: Vec<Ended>) -> Vec<Ended> {
        let (mut pause, longest) = PAUSES;
        let (mut left, mut why) = (Vec::new(), None);
        while !batch.is_empty() {
            let commits = batch.iter().map(Ended::commit).collect();
            batch = match hub.store().commit(commits).await {
                Ok(answers) => {
                    let mut again = Vec::new();
                    for (ended, answer) in batch.into_iter().zip(answers) {
                        match self.answered(ended, answer) {
                            Next::Over => {}
                            Next::Now(ended) => again.push(ended),
                            Next::Later(ended, error) => {
                                left.push(ended);
                                why = Some(error);
                            }
                        }
                    }
                    again
                }
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
        if let Some(error) = why {
            tracing::warn!(%error, jobs = left.len(), "refused for now; settling again in a moment");
        }
        left
    }

    /// What became of one.
    fn answered(&self, ended: Ended, answer: Result<Committed>) -> Next {
        match answer {
            Ok(committed) => {
                if let Some(Reply::Settled { state, .. }) = committed.replies.first() {
                    self.report(&ended, *state);
                    self.counts.count(&ended.outcome, *state);
                }
                self.over(&ended.held);
                Next::Over
            }
            Err(error) => self.refused(ended, error),
        }
    }

    fn refused(&self, mut ended: Ended, error: Error) -> Next {
        let job = ended.held.job();
        let of_the_settle = error.command().is_none_or(|index| index == 0);
        let lost = of_the_settle
            && matches!(
                error.kind(),
                ErrorKind::Closed
                    | ErrorKind::Stale
                    | ErrorKind::UnknownLease
                    | ErrorKind::NotFound
                    | ErrorKind::SettledOtherwise
            );
        if lost || matches!(ended.outcome, Outcome::Dead { .. }) && ended.follow_ups.is_empty() {
            tracing::warn!(id = %job.id, kind = %job.kind, %error, "the outcome was not accepted");
            self.lost(&ended.held);
            return Next::Over;
        }
        if error.is_retryable() {
            return refused_for_now(ended, error);
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
        Next::Now(ended)
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

/// Where an outcome goes on that was not accepted.
enum Next {
    /// Nowhere: it is settled, or lost.
    Over,
    /// It was changed, and goes in the next commit.
    Now(Ended),
    /// It is tried again after a pause, and this is why.
    Later(Ended, Error),
}

/// A worker that leaves does not wait for the store to have room: what could not be committed with
/// its follow-ups is given back, to be run again.
fn refused_for_now(mut ended: Ended, error: Error) -> Next {
    if ended.follow_ups.is_empty() || !ended.held.has(Flag::Leaving) {
        return Next::Later(ended, error);
    }
    let job = ended.held.job();
    tracing::warn!(id = %job.id, kind = %job.kind, %error, "given back, to be run again");
    ended.follow_ups.clear();
    ended.outcome = Outcome::Release {
        delay_ms: 0,
        undecodable: false,
        error: None,
    };
    Next::Now(ended)
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
