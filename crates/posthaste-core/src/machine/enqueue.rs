//! Accepting a job: the keys that may say no, the limits, and where it waits.

use crate::job::{DeadReason, JobState, OnConflict, Start};
use crate::machine::action::{Action, Answer, KeyLookup, Refusal};
use crate::machine::commit::Course;
use crate::machine::fact::{Cause, Fact, Slot, Summary, To, UniqueClaim};
use crate::machine::rows::Mark;
use crate::machine::state::Machine;
use crate::time::WallMs;

impl Machine {
    pub(super) fn enqueue<'a>(
        &mut self,
        action: &Action<'a>,
        course: &mut Course<'_, 'a>,
    ) -> Result<Answer, Refusal> {
        let Action::Enqueue {
            ref job,
            place,
            start,
            key,
            answer,
            on_conflict,
        } = *action
        else {
            return Ok(Answer::Noted);
        };
        let now = course.now();
        if let Some(digest) = key {
            match self.key(digest, now) {
                KeyLookup::Free if !self.has_room_for_key() => return Err(Refusal::KeysFull),
                KeyLookup::Free => {}
                KeyLookup::Taken(answer) => return Ok(Answer::Kept(answer)),
                KeyLookup::Reused => return Err(Refusal::KeyReused),
            }
        }
        if self.slot_of(job.id).is_some() {
            return Err(Refusal::IdTaken);
        }
        let displaced = match self.holder(job.unique.as_ref(), now) {
            Holder::None => None,
            Holder::LetGo(slot) => Some(slot),
            Holder::InForce(slot) => return self.conflict(slot, on_conflict),
        };
        self.room(job)?;
        if let Some(slot) = displaced {
            self.put(Fact::Unclaimed { slot: Slot(slot) }, course);
        }
        let slot = self.next_slot();
        let (state, ready) = begins(start, now);
        let order = self.last_order + 1;
        let fact = Fact::Enqueued {
            slot: Slot(slot),
            order,
            ready,
            state,
            place,
            job: *job,
        };
        self.put(fact, course);
        if let Some(digest) = key {
            let fact = Fact::KeyTaken {
                digest,
                answer,
                at: self.keys.instant(now),
            };
            self.put(fact, course);
        }
        if job.deadline.is_some_and(|deadline| deadline <= now) {
            let to = To::Dead(DeadReason::Expired);
            self.change(slot, Cause::Expired, to, course);
        }
        Ok(Answer::Enqueued {
            id: job.id,
            state: self.state_of(slot),
            existing: false,
        })
    }

    fn holder(&self, claim: Option<&UniqueClaim>, now: WallMs) -> Holder {
        let Some(claim) = claim else {
            return Holder::None;
        };
        let Some(slot) = self.claims.holder(&self.rows, &claim.digest) else {
            return Holder::None;
        };
        let in_force = self.claims.of(&self.rows, slot).is_some_and(|held| {
            held.states.contains(self.state_of(slot)) && held.until.is_none_or(|until| until > now)
        });
        if in_force {
            Holder::InForce(slot)
        } else {
            Holder::LetGo(slot)
        }
    }

    fn conflict(&self, slot: u32, on_conflict: OnConflict) -> Result<Answer, Refusal> {
        let id = self.rows.get(slot).id;
        match on_conflict {
            OnConflict::Reject => Err(Refusal::UniqueHeld { by: id }),
            OnConflict::Existing => Ok(Answer::Enqueued {
                id,
                state: self.state_of(slot),
                existing: true,
            }),
        }
    }

    fn room(&self, job: &Summary<'_>) -> Result<(), Refusal> {
        if self.jobs >= self.bounds.jobs {
            return Err(Refusal::JobsFull);
        }
        let queues_full =
            self.queues.len() >= self.bounds.queues && self.queue_id(job.queue).is_none();
        if queues_full || !self.lane_fits(job.queue, job.kind, job.priority.get()) {
            return Err(Refusal::NamesFull);
        }
        Ok(())
    }

    /// Whether a waiting job's deadline has passed.
    pub(super) fn is_expired(&self, slot: u32, now: WallMs) -> bool {
        self.rows.get(slot).has(Mark::Deadline)
            && self
                .deadline_of
                .get(slot)
                .is_some_and(|deadline| *deadline <= now)
    }
}

enum Holder {
    None,
    LetGo(u32),
    InForce(u32),
}

/// In which state a job begins, and when it is ready. One that was due in the past is ready now:
/// nobody gets ahead by dating back.
fn begins(start: Start, now: WallMs) -> (JobState, WallMs) {
    let at = match start {
        Start::Now => now,
        Start::After(ms) => now.plus(ms),
        Start::At(at) => at,
    };
    if at > now {
        (JobState::Scheduled, at)
    } else {
        (JobState::Available, now)
    }
}
