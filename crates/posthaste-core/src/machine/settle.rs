//! Ending an attempt, and saying that one goes on.
//!
//! What counts is the token: a settle under another than the job's current one changes nothing,
//! whatever the clock says. A lease that lapsed still counts until somebody else has begun.

use crate::ids::{JobId, Token};
use crate::job::{DeadReason, JobState};
use crate::limits::UNDECODABLE_GRACE_MS;
use crate::machine::action::{Answer, Ending, Refusal};
use crate::machine::commit::Course;
use crate::machine::fact::{Cause, Fact, Place, Slot, To};
use crate::machine::hash::mix;
use crate::machine::state::Machine;
use crate::time::WallMs;

impl Machine {
    pub(super) fn settle(
        &mut self,
        id: JobId,
        token: Token,
        digest: u32,
        ending: Ending,
        note: Place,
        course: &mut Course<'_, '_>,
    ) -> Result<Answer, Refusal> {
        let digest = bound_to(id, digest);
        let slot = self.slot_of(id);
        let current = slot.and_then(|slot| self.lease_of.get(slot).map(|held| (slot, held.token)));
        let slot = match current {
            Some((slot, counts)) if counts == token => slot,
            _ => return self.not_current(slot, token, digest, course.now()),
        };
        let (to, spent) = self.destination(slot, ending, course);
        let profile = self.profiles.get(self.rows.get(slot).profile);
        let unwanted = ending == Ending::Completed && !profile.keep_result;
        let note = if unwanted { Place::NONE } else { note };
        let since = self.unreadable_since.get(slot).copied();
        let fact = Fact::Changed {
            slot: Slot(slot),
            cause: Cause::Settled {
                token,
                digest,
                spent,
            },
            to,
            at: course.now(),
            note,
        };
        self.put(fact, course);
        let unreadable = matches!(
            ending,
            Ending::Release {
                undecodable: true,
                ..
            }
        );
        if unreadable {
            let fact = Fact::Unreadable {
                slot: Slot(slot),
                since: since.unwrap_or(course.now()),
            };
            self.put(fact, course);
        }
        Ok(Answer::Settled {
            state: self.state_of(slot),
            repeated: false,
        })
    }

    /// Whether this very settle was applied before, and is answered as repeated.
    #[must_use]
    pub fn is_settled_so(&self, id: JobId, token: Token, digest: u32, now: WallMs) -> bool {
        let held = self.slot_of(id).and_then(|slot| self.lease_of.get(slot));
        let counts = held.is_some_and(|held| held.token == token);
        !counts && self.settles.get(token, now) == Some(bound_to(id, digest))
    }

    fn not_current(
        &self,
        slot: Option<u32>,
        token: Token,
        digest: u32,
        now: WallMs,
    ) -> Result<Answer, Refusal> {
        match self.settles.get(token, now) {
            Some(known) if known == digest => Ok(Answer::Settled {
                state: slot.map_or(JobState::Completed, |slot| self.state_of(slot)),
                repeated: true,
            }),
            Some(known) if same_job(known, digest) => Err(Refusal::SettledOtherwise),
            _ => Err(self.stale(slot, token)),
        }
    }

    /// Why a token that is not the job's current one is refused.
    fn stale(&self, slot: Option<u32>, token: Token) -> Refusal {
        let granted = (1..=self.last_token).contains(&token.0);
        match slot {
            Some(slot) if granted => Refusal::Stale {
                current: self.running_token(slot),
            },
            _ => Refusal::UnknownLease,
        }
    }

    pub(super) fn running_token(&self, slot: u32) -> Token {
        let running = self.rows.get(slot).is(JobState::Running);
        let held = self.lease_of.get(slot).filter(|_| running);
        held.map_or(Token(0), |held| held.token)
    }

    /// Where the job goes, and whether an attempt is spent.
    fn destination(&self, slot: u32, ending: Ending, course: &mut Course<'_, '_>) -> (To, bool) {
        let life = self.rows.get(slot).life();
        let spent = !matches!(ending, Ending::Snooze { .. } | Ending::Release { .. });
        if life.cancelling && ending != Ending::Completed {
            return (To::Cancelled, spent);
        }
        let now = course.now();
        let to = match ending {
            Ending::Completed => To::Completed,
            Ending::Cancel => To::Cancelled,
            Ending::Dead => To::Dead(DeadReason::Failed),
            Ending::Retry { delay_ms } => {
                let profile = self.profiles.get(self.rows.get(slot).profile);
                let failed = life.attempt.saturating_add(1);
                if failed >= profile.retry.max_attempts {
                    return (To::Dead(DeadReason::Exhausted), true);
                }
                let delay = delay_ms
                    .unwrap_or_else(|| profile.retry.backoff.delay_ms(failed, course.draw()));
                match delay {
                    0 => self.at_once(now),
                    _ => To::Retryable {
                        run_at: now.plus(delay),
                    },
                }
            }
            Ending::Snooze { delay_ms: 0 } => self.at_once(now),
            Ending::Snooze { delay_ms } => To::Scheduled {
                run_at: now.plus(delay_ms),
            },
            Ending::Release {
                undecodable: true, ..
            } if self.grace_is_over(slot, now) => To::Dead(DeadReason::Undecodable),
            Ending::Release { delay_ms: 0, .. } => To::Available {
                order: life.order,
                ready: life.at,
                afresh: false,
            },
            Ending::Release { delay_ms, .. } => To::Scheduled {
                run_at: now.plus(delay_ms),
            },
        };
        (to, spent)
    }

    /// Ready now, behind all that are ready.
    pub(super) fn at_once(&self, now: WallMs) -> To {
        To::Available {
            order: self.last_order + 1,
            ready: now,
            afresh: false,
        }
    }

    fn grace_is_over(&self, slot: u32, now: WallMs) -> bool {
        self.unreadable_since
            .get(slot)
            .is_some_and(|since| since.plus(UNDECODABLE_GRACE_MS) <= now)
    }

    pub(super) fn heartbeat(
        &mut self,
        id: JobId,
        token: Token,
        course: &mut Course<'_, '_>,
    ) -> Result<Answer, Refusal> {
        let slot = self.slot_of(id);
        let running = slot.filter(|slot| self.running_token(*slot) == token && token.0 != 0);
        let Some(slot) = running else {
            return Err(self.stale(slot, token));
        };
        let lease_ms = self.lease_of.get(slot).map_or(0, |held| held.lease_ms);
        self.extend(slot, course.moment.mono.plus(u64::from(lease_ms)));
        Ok(Answer::Extended {
            cancelled: self.rows.get(slot).life().cancelling,
        })
    }
}

/// The digest of an outcome, bound to its job: a token of another job, settled alike, is no
/// repetition. The upper byte is of the job alone. Never 0.
fn bound_to(id: JobId, digest: u32) -> u32 {
    let mut bytes = id.to_bytes();
    let of_job = upper(mix(bytes)) & JOB_BITS;
    for (byte, with) in bytes.iter_mut().zip(digest.to_le_bytes()) {
        *byte ^= with;
    }
    of_job | (upper(mix(bytes)) & !JOB_BITS).max(1)
}

const JOB_BITS: u32 = 0xff00_0000;

fn same_job(one: u32, other: u32) -> bool {
    one & JOB_BITS == other & JOB_BITS
}

fn upper(word: u64) -> u32 {
    u32::try_from(word >> 32).unwrap_or(1)
}
