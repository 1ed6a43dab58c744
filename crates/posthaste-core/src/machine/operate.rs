//! What people do to jobs: call off, run now or bring back, forget, change.

use crate::ids::JobId;
use crate::job::{JobState, Priority};
use crate::machine::action::{Answer, Refusal};
use crate::machine::commit::Course;
use crate::machine::fact::{Cause, Fact, Place, Slot, To};
use crate::machine::state::{Machine, priority};
use crate::time::WallMs;

impl Machine {
    fn known(&self, id: JobId) -> Result<(u32, JobState), Refusal> {
        let slot = self.slot_of(id).ok_or(Refusal::NoSuchJob)?;
        Ok((slot, self.state_of(slot)))
    }

    fn changed(&self, slot: u32) -> Answer {
        Answer::Changed {
            state: self.state_of(slot),
        }
    }

    pub(super) fn cancel(
        &mut self,
        id: JobId,
        course: &mut Course<'_, '_>,
    ) -> Result<Answer, Refusal> {
        let (slot, state) = self.known(id)?;
        match state {
            JobState::Scheduled | JobState::Available | JobState::Retryable => {
                self.change(slot, Cause::Asked, To::Cancelled, course);
            }
            JobState::Running => {
                if !self.rows.get(slot).life().cancelling {
                    self.put(Fact::CancelAsked { slot: Slot(slot) }, course);
                }
            }
            JobState::Cancelled => {}
            JobState::Completed | JobState::Dead => return Err(Refusal::WrongState { state }),
        }
        Ok(self.changed(slot))
    }

    pub(super) fn retry(
        &mut self,
        id: JobId,
        course: &mut Course<'_, '_>,
    ) -> Result<Answer, Refusal> {
        let (slot, state) = self.known(id)?;
        match state {
            JobState::Scheduled | JobState::Retryable => {
                let to = self.at_once(course.now());
                self.change(slot, Cause::Asked, to, course);
            }
            JobState::Available => {}
            JobState::Dead | JobState::Cancelled => {
                let deadline = self.deadline_of.get(slot);
                if deadline.is_some_and(|deadline| *deadline <= course.now()) {
                    // Who brings it back wants it run, late as it is.
                    self.put(Fact::DeadlineLifted { slot: Slot(slot) }, course);
                }
                let to = To::Available {
                    order: self.last_order + 1,
                    ready: course.now(),
                    afresh: true,
                };
                self.change(slot, Cause::Asked, to, course);
            }
            JobState::Completed | JobState::Running => {
                return Err(Refusal::WrongState { state });
            }
        }
        Ok(self.changed(slot))
    }

    pub(super) fn delete(
        &mut self,
        id: JobId,
        course: &mut Course<'_, '_>,
    ) -> Result<Answer, Refusal> {
        let (slot, state) = self.known(id)?;
        if state == JobState::Running {
            return Err(Refusal::WrongState { state });
        }
        self.put(Fact::Deleted { slot: Slot(slot) }, course);
        Ok(Answer::Deleted)
    }

    pub(super) fn edit(
        &mut self,
        id: JobId,
        place: Place,
        rank: Option<Priority>,
        run_at: Option<WallMs>,
        course: &mut Course<'_, '_>,
    ) -> Result<Answer, Refusal> {
        let (slot, state) = self.known(id)?;
        let editable = state.is_waiting() || (state == JobState::Dead && run_at.is_none());
        if !editable {
            return Err(Refusal::WrongState { state });
        }
        let row = self.rows.get(slot);
        let key = *self.lane_ids.get(row.lane);
        let old = priority(key.priority);
        let new_place = if place.is_some() { place } else { row.place() };
        let new_rank = rank.unwrap_or(old);
        if new_rank != old {
            let queue = &self.queues[key.queue as usize].name;
            if !self.lane_fits(queue, self.kinds.get(key.kind), new_rank.get()) {
                return Err(Refusal::NamesFull);
            }
        }
        if (new_place, new_rank) != (self.rows.get(slot).place(), old) {
            let fact = Fact::Edited {
                slot: Slot(slot),
                place: new_place,
                priority: new_rank,
            };
            self.put(fact, course);
        }
        if let Some(run_at) = run_at {
            self.reschedule(slot, state, run_at, course);
        }
        Ok(self.changed(slot))
    }

    fn reschedule(
        &mut self,
        slot: u32,
        state: JobState,
        run_at: WallMs,
        course: &mut Course<'_, '_>,
    ) {
        let to = match state {
            _ if run_at > course.now() => To::Scheduled { run_at },
            JobState::Available => return,
            _ => self.at_once(course.now()),
        };
        self.change(slot, Cause::Asked, to, course);
    }
}
