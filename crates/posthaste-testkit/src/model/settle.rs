//! How attempts end, and how they go on.

use std::sync::Arc;

use posthaste_core::command::{Command, Reply};
use posthaste_core::error::{ErrorKind, Result};
use posthaste_core::ids::{JobId, Token};
use posthaste_core::job::{DeadReason, JobState, Outcome, Payload};
use posthaste_core::limits;
use posthaste_core::time::WallMs;

use super::commit::same_commands;
use super::{Applied, Model, refusal};

impl Model {
    pub(super) fn settle(
        &mut self,
        id: JobId,
        token: Token,
        outcome: &Outcome,
        follow_ups: Vec<Command>,
    ) -> Result<Reply> {
        if let Some(reply) = self.settled_before(id, token, outcome, &follow_ups)? {
            return Ok(reply);
        }
        self.holder(id, token)?;
        let spends = !matches!(outcome, Outcome::Snooze { .. } | Outcome::Release { .. });
        let row = self.row(id)?;
        row.spent += u16::from(spends);
        row.crashes = 0;
        row.lease = None;
        row.token = None;
        row.progress = None;
        if !matches!(outcome, Outcome::Release { undecodable, .. } if *undecodable) {
            row.undecodable_since = None;
        }
        self.end_attempt(id, outcome)?;
        let (wall, state) = (self.now.wall, self.row(id)?.state);
        self.row(id)?.cancelling = false;
        self.settles.push(Applied {
            id,
            token,
            outcome: outcome.clone(),
            follow_ups,
            state,
            at: wall,
            old: false,
        });
        Ok(Reply::Settled {
            state,
            repeated: false,
        })
    }

    fn settled_before(
        &self,
        id: JobId,
        token: Token,
        outcome: &Outcome,
        follow_ups: &[Command],
    ) -> Result<Option<Reply>> {
        let same_lease = |applied: &&Applied| applied.id == id && applied.token == token;
        let known = self.settles.iter().filter(|applied| !applied.old);
        match known.into_iter().find(same_lease) {
            None => Ok(None),
            Some(applied)
                if applied.outcome != *outcome
                    || !same_commands(&applied.follow_ups, follow_ups) =>
            {
                Err(refusal(
                    ErrorKind::SettledOtherwise,
                    "the lease was settled with another outcome",
                ))
            }
            Some(applied) => {
                let row = self.jobs.iter().find(|row| row.new.id == id);
                Ok(Some(Reply::Settled {
                    state: row.map_or(applied.state, |row| row.state),
                    repeated: true,
                }))
            }
        }
    }

    /// Whether `token` is the one that counts for the job.
    fn holder(&mut self, id: JobId, token: Token) -> Result<()> {
        let granted = token.0 >= 1 && token.0 <= self.token;
        let row = self.jobs.iter().find(|row| row.new.id == id);
        match row {
            Some(row) if row.token == Some(token) => Ok(()),
            Some(_) if granted => Err(refusal(ErrorKind::Stale, "the lease was lost")),
            _ => Err(refusal(ErrorKind::UnknownLease, "there is no such lease")),
        }
    }

    fn end_attempt(&mut self, id: JobId, outcome: &Outcome) -> Result<()> {
        let wall = self.now.wall;
        let cancelling = self.row(id)?.cancelling;
        if let Outcome::Release {
            error: Some(error), ..
        } = outcome
        {
            self.row(id)?.error = Some(cut(error));
        }
        match outcome {
            Outcome::Completed { result } => {
                let row = self.row(id)?;
                row.result = result.clone().filter(|_| row.new.keep_result);
                if row.result.is_some() {
                    row.error = None; // there is one note of each job, the last
                }
                self.end(id, JobState::Completed, None);
            }
            Outcome::Dead { error } => {
                self.row(id)?.error = Some(cut(error));
                if cancelling {
                    self.end(id, JobState::Cancelled, None);
                } else {
                    self.end(id, JobState::Dead, Some(DeadReason::Failed));
                }
            }
            Outcome::Cancel { reason } => {
                self.row(id)?.error = Some(cut(reason));
                self.end(id, JobState::Cancelled, None);
            }
            Outcome::Retry { error, delay_ms } => {
                self.row(id)?.error = Some(cut(error));
                self.fail(id, *delay_ms, cancelling)?;
            }
            Outcome::Snooze { .. } | Outcome::Release { .. } if cancelling => {
                self.end(id, JobState::Cancelled, None);
            }
            Outcome::Snooze { delay_ms } => {
                let row = self.row(id)?;
                row.wait_until(wall.plus(*delay_ms), JobState::Scheduled);
            }
            Outcome::Release {
                delay_ms,
                undecodable,
                error: _,
            } => self.release(id, *delay_ms, *undecodable)?,
        }
        Ok(())
    }

    fn fail(&mut self, id: JobId, delay_ms: Option<u64>, cancelling: bool) -> Result<()> {
        let (wall, entropy) = (self.now.wall, self.order.wrapping_mul(0x9e37_79b9));
        let row = self.row(id)?;
        if cancelling {
            self.end(id, JobState::Cancelled, None);
        } else if row.spent >= row.new.retry.max_attempts {
            self.end(id, JobState::Dead, Some(DeadReason::Exhausted));
        } else {
            let backoff = row.new.retry.backoff;
            let delay = delay_ms.unwrap_or_else(|| backoff.delay_ms(row.spent, entropy));
            row.wait_until(wall.plus(delay), JobState::Retryable);
            let queue = row.new.queue.clone();
            self.queue(&queue).totals.retried += 1;
        }
        Ok(())
    }

    fn release(&mut self, id: JobId, delay_ms: u64, undecodable: bool) -> Result<()> {
        let wall = self.now.wall;
        let row = self.row(id)?;
        if undecodable {
            let since = *row.undecodable_since.get_or_insert(wall);
            if wall.since(since) >= limits::UNDECODABLE_GRACE_MS {
                self.end(id, JobState::Dead, Some(DeadReason::Undecodable));
                return Ok(());
            }
        }
        if delay_ms == 0 {
            row.state = JobState::Available; // in its old place
        } else {
            row.wait_until(wall.plus(delay_ms), JobState::Scheduled);
        }
        Ok(())
    }

    pub(super) fn heartbeat(
        &mut self,
        id: JobId,
        token: Token,
        progress: Option<&Payload>,
    ) -> Result<Reply> {
        self.holder(id, token)?;
        let mono = self.now.mono;
        let row = self.row(id)?;
        let Some(lease) = &mut row.lease else {
            return Err(refusal(ErrorKind::Stale, "the lease lapsed"));
        };
        lease.end = mono.plus(u64::from(lease.length_ms));
        if let Some(progress) = progress {
            row.progress = Some(progress.clone());
        }
        Ok(Reply::Extended {
            cancelled: row.cancelling,
        })
    }

    /// Brings a job to its end and counts it.
    pub(super) fn end(&mut self, id: JobId, state: JobState, reason: Option<DeadReason>) {
        let wall: WallMs = self.now.wall;
        let Some(row) = self.jobs.iter_mut().find(|row| row.new.id == id) else {
            return;
        };
        (row.state, row.reason) = (state, reason);
        row.ended = wall;
        (row.token, row.lease, row.progress) = (None, None, None);
        row.cancelling = false;
        let queue = row.new.queue.clone();
        let totals = &mut self.queue(&queue).totals;
        match state {
            JobState::Completed => totals.completed += 1,
            JobState::Dead => totals.dead += 1,
            _ => totals.cancelled += 1,
        }
    }
}

pub(super) fn check_outcome(outcome: &Outcome) -> Result<()> {
    match outcome {
        Outcome::Completed {
            result: Some(result),
        } if result.bytes.len() > limits::RESULT_BYTES_MAX => {
            Err(refusal(ErrorKind::TooLarge, "the result is too large"))
        }
        _ => Ok(()),
    }
}

/// A text of at most 64 KiB: a longer one is cut, at a character.
pub(super) fn cut(text: &Arc<str>) -> Arc<str> {
    if text.len() <= limits::RESULT_BYTES_MAX {
        return text.clone();
    }
    let mut end = limits::RESULT_BYTES_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Arc::from(&text[..end])
}
