//! What time makes true.

use crate::ids::{JobId, Token};
use crate::job::{DeadReason, JobState};
use crate::limits::{CRASHES_MAX, TOKEN_MAX, TOKENS_PASSED};
use crate::machine::action::Moment;
use crate::machine::commit::Course;
use crate::machine::ended::Ended;
use crate::machine::fact::{Cause, Fact, Slot, To};
use crate::machine::life::Life;
use crate::machine::rows::NONE;
use crate::machine::state::{Kept, Machine};
use crate::time::{MonoMs, WallMs};

/// Keys forgotten by one fact.
const KEYS_PER_FACT: u32 = 1_000;

impl Machine {
    /// Makes true what time makes true: deadlines that passed, jobs that are due, leases that
    /// lapsed, and what is kept no longer. Appends at most `max` facts. True where more is left.
    pub fn tick(&mut self, moment: Moment, max: usize, facts: &mut Vec<Fact<'static>>) -> bool {
        let full = facts.len() + max;
        let mut course = Course { moment, facts };
        while self.step(&mut course) {
            if course.facts.len() >= full {
                return self.next_wake_ms(moment.wall, moment.mono) == Some(0);
            }
        }
        false
    }

    /// The one thing that comes next; false where there is nothing.
    fn step(&mut self, course: &mut Course<'_, 'static>) -> bool {
        let (now, mono) = (course.now(), course.moment.mono);
        if let Some((at, slot)) = self.deadlines.first().copied()
            && at <= now
        {
            let to = To::Dead(DeadReason::Expired);
            self.change(slot, Cause::Expired, to, course);
            return true;
        }
        if let Some((end, slot)) = self.ends.first().copied()
            && end <= mono
        {
            self.lapse(slot, course);
            return true;
        }
        if let Some((at, slot)) = self.due.first().copied()
            && at <= now
        {
            let to = To::Available {
                order: self.last_order + 1,
                ready: at,
                afresh: false,
            };
            self.change(slot, Cause::Due, to, course);
            return true;
        }
        self.step_groups(course) || self.forget(course)
    }

    /// The lease is over; its worker said nothing for too long, or is gone.
    fn lapse(&mut self, slot: u32, course: &mut Course<'_, '_>) {
        let life = self.rows.get(slot).life();
        let to = if life.cancelling {
            To::Cancelled
        } else if life.crashes + 1 >= CRASHES_MAX {
            To::Dead(DeadReason::Poison)
        } else {
            back(&life)
        };
        self.change(slot, Cause::Lapsed, to, course);
    }

    fn forget(&mut self, course: &mut Course<'_, 'static>) -> bool {
        let now = course.now();
        let over = self
            .over(&self.done, self.bounds.done, now)
            .or_else(|| self.over(&self.dead, self.bounds.dead, now));
        if let Some(slot) = over {
            self.put(Fact::Deleted { slot: Slot(slot) }, course);
            return true;
        }
        let count = self.keys.over(now, KEYS_PER_FACT);
        if count > 0 {
            self.put(Fact::KeysForgotten { count }, course);
            return true;
        }
        let count = self.events_over(now);
        if count > 0 {
            self.put(Fact::EventsForgotten { count }, course);
            return true;
        }
        if let Some(before) = self.settles.over(now) {
            self.put(Fact::SettlesForgotten { before }, course);
            return true;
        }
        false
    }

    /// How many published events are remembered no longer, of those seen first.
    fn events_over(&self, now: WallMs) -> u32 {
        let too_many = self.events.len().saturating_sub(self.bounds.events);
        let too_many = u32::try_from(too_many).unwrap_or(u32::MAX);
        self.events
            .over(now, KEYS_PER_FACT)
            .max(too_many.min(KEYS_PER_FACT))
    }

    /// The job that ended first, where it is kept no longer.
    fn over(&self, ended: &Ended, kept: Kept, now: WallMs) -> Option<u32> {
        let head = ended.first(&self.rows);
        let over = head != NONE
            && (ended.len() > kept.most as usize || self.rows.get(head).at().plus(kept.ms) <= now);
        over.then_some(head)
    }

    /// Milliseconds until [`Machine::tick`] has something to do: 0 is now, `None` is never, as far
    /// as can be seen.
    #[must_use]
    pub fn next_wake_ms(&self, wall: WallMs, mono: MonoMs) -> Option<u64> {
        let too_many = self.done.len() > self.bounds.done.most as usize
            || self.dead.len() > self.bounds.dead.most as usize
            || self.settles.too_many()
            || self.events.len() > self.bounds.events;
        if too_many {
            return Some(0);
        }
        let kept = |ended: &Ended, kept: Kept| {
            let first = ended.first(&self.rows);
            (first != NONE).then(|| self.rows.get(first).at().plus(kept.ms))
        };
        let instants = [
            self.deadlines.first().map(|(at, _)| *at),
            self.due.first().map(|(at, _)| *at),
            kept(&self.done, self.bounds.done),
            kept(&self.dead, self.bounds.dead),
            self.keys.next_over(),
            self.events.next_over(),
            self.settles.next_over(),
        ];
        let by_wall = instants
            .into_iter()
            .flatten()
            .min()
            .map(|at| at.since(wall));
        let by_mono = self.ends.first().map(|(end, _)| end.since(mono));
        let groups = self.groups_wake_ms(wall, mono);
        by_wall.into_iter().chain(by_mono).chain(groups).min()
    }

    /// To be called after the store was opened again, until it says false: the workers that lived
    /// in the process which held it before are gone, so their leases are over. That counts as a
    /// crash, unless that process was shut down in good order (`clean`). Looks at no more than
    /// `max` rows in one call.
    pub fn lapse_local(
        &mut self,
        clean: bool,
        moment: Moment,
        max: usize,
        facts: &mut Vec<Fact<'static>>,
    ) -> bool {
        let mut course = Course { moment, facts };
        let end = self.rows.len().min(
            self.walk
                .saturating_add(u32::try_from(max.max(1)).unwrap_or(u32::MAX)),
        );
        for slot in self.walk..end {
            let running = self
                .rows
                .job(slot)
                .is_some_and(|row| row.is(JobState::Running));
            if !running || !self.lease_of.get(slot).is_some_and(|held| held.local) {
                continue;
            }
            if clean {
                self.give_back(slot, &mut course);
            } else {
                self.lapse(slot, &mut course);
            }
        }
        self.walk = end;
        if end < self.rows.len() {
            return true;
        }
        let more = self.lapse_local_members(clean, max, &mut course);
        if !more {
            self.walk = 0;
        }
        more
    }

    /// To be called before anything is leased after the store was opened again, unless it was shut
    /// down in good order: leases are handed out before they are durable, so that workers may hold
    /// tokens of which nothing is known here. Those are passed over, as many as there can be.
    pub fn pass_tokens(&mut self, facts: &mut Vec<Fact<'static>>) {
        let groups = &self.groups.saved.by_number;
        if self.last_token == 0 && self.jobs == 0 && groups.is_empty() {
            return; // nobody was ever handed anything
        }
        let upto = Token((self.last_token + TOKENS_PASSED).min(TOKEN_MAX));
        let fact = Fact::TokensPassed { upto };
        self.evolve(&fact, MonoMs(0));
        facts.push(fact);
    }

    /// A lease whose asker was gone before he took it is over at once and counts as nothing: the job
    /// is back in its old place, without an attempt or a crash. No effect where the lease is no
    /// longer the job's.
    pub fn untaken(
        &mut self,
        id: JobId,
        token: Token,
        moment: Moment,
        facts: &mut Vec<Fact<'static>>,
    ) {
        let slot = self.slot_of(id);
        let held = slot.filter(|slot| self.running_token(*slot) == token && token.0 != 0);
        if let Some(slot) = held {
            self.give_back(slot, &mut Course { moment, facts });
        }
    }

    /// Back in its old place, as if its worker had released it.
    fn give_back(&mut self, slot: u32, course: &mut Course<'_, '_>) {
        let life = self.rows.get(slot).life();
        let to = if life.cancelling {
            To::Cancelled
        } else {
            back(&life)
        };
        self.change(slot, Cause::Asked, to, course);
    }
}

/// Ready again, in its old place.
fn back(life: &Life) -> To {
    To::Available {
        order: life.order,
        ready: life.at,
        afresh: false,
    }
}
