//! The one function through which a row changes, and the lists that follow from it.
//!
//! Whatever is kept as jobs change (lanes, timers, lists, counts, live places) is kept here, by
//! what the row was and what it is; nobody else touches it.

use crate::job::JobState;
use crate::machine::fact::Place;
use crate::machine::rows::{Mark, NONE, Row};
use crate::machine::state::Machine;
use crate::machine::undo::Undo;
use crate::time::WallMs;

impl Machine {
    /// The only way in which a row changes: unlinks the old, counts, links the new. `spot` is
    /// between which neighbours it goes; `None` leaves that to the rule of its list.
    pub(super) fn exchange(&mut self, slot: u32, mut new: Row, spot: Option<(u32, u32)>) {
        let old = *self.rows.get(slot);
        if self.recording {
            self.undo.push(Undo::Row { slot, old });
        }
        if old.stays(&new) {
            self.account(&old, &new);
            (new.prev, new.next, new.extra) = (old.prev, old.next, old.extra);
            *self.rows.get_mut(slot) = new;
            return;
        }
        self.unlink(slot, &old);
        self.account(&old, &new);
        (new.prev, new.next, new.extra) = (NONE, NONE, old.extra);
        if spot.is_none() {
            new.set(Mark::Returned, false);
        }
        *self.rows.get_mut(slot) = new;
        if old.is_free() != new.is_free() {
            self.index(slot, &old, &new);
        }
        self.link(slot, &new, spot);
    }

    fn index(&mut self, slot: u32, old: &Row, new: &Row) {
        let Self { ids, rows, .. } = self;
        if new.is_free() {
            self.jobs -= 1;
            ids.remove(old.id, slot);
        } else {
            self.jobs += 1;
            ids.put(new.id, slot, |slot| rows.get(slot).id);
        }
    }

    fn account(&mut self, old: &Row, new: &Row) {
        if old.lane != new.lane {
            self.hold_lane(new.lane);
            self.release_lane(old.lane);
        }
        if old.profile != new.profile {
            if new.profile != NONE {
                self.profiles.hold(new.profile);
            }
            if old.profile != NONE {
                self.profiles.release(old.profile);
            }
        }
        if let Some(state) = old.state() {
            self.held_of(old.lane)[state as usize] -= 1;
        }
        if let Some(state) = new.state() {
            self.held_of(new.lane)[state as usize] += 1;
        }
        self.account_place(old.place(), new.place());
        self.account_place(old.note(), new.note());
    }

    fn held_of(&mut self, lane: u32) -> &mut [u64; 7] {
        let queue = self.lane_ids.get(lane).queue;
        &mut self.queues[queue as usize].held
    }

    pub(super) fn account_place(&mut self, old: Place, new: Place) {
        if old != new {
            if new.is_some() {
                self.places.push((new, true));
            }
            if old.is_some() {
                self.places.push((old, false));
            }
        }
    }

    fn hold_lane(&mut self, lane: u32) {
        if lane != NONE && self.lane_ids.hold(lane) {
            let kind = self.lane_ids.get(lane).kind;
            self.kinds.hold(kind);
        }
    }

    fn release_lane(&mut self, lane: u32) {
        if lane != NONE && self.lane_ids.release(lane) {
            let kind = self.lane_ids.get(lane).kind;
            self.kinds.release(kind);
        }
    }

    fn unlink(&mut self, slot: u32, row: &Row) {
        let Some(state) = row.state() else {
            self.free.remove(&mut self.rows, slot);
            return;
        };
        if self.loading {
            return;
        }
        match state {
            JobState::Available => self.leave_lane(slot, row),
            JobState::Scheduled | JobState::Retryable => {
                self.due.remove(&(row.at(), slot));
            }
            JobState::Running => {
                if let Some(held) = self.lease_of.get(slot) {
                    self.ends.remove(&(held.end, slot));
                }
                self.slot_freed(row.lane);
            }
            JobState::Completed | JobState::Cancelled => self.done.remove(&mut self.rows, slot),
            JobState::Dead => self.dead.remove(&mut self.rows, slot),
        }
        if let Some(deadline) = self.waits_until(slot, state, row) {
            self.deadlines.remove(&(deadline, slot));
        }
    }

    pub(super) fn link(&mut self, slot: u32, row: &Row, spot: Option<(u32, u32)>) {
        let Some(state) = row.state() else {
            // Whatever `spot` says: rows that were added during a commit stay when it is undone.
            let first = self.free.head;
            self.free.insert(&mut self.rows, slot, NONE, first);
            return;
        };
        if self.loading {
            return;
        }
        match state {
            JobState::Available => self.join_lane(slot, row, spot),
            JobState::Scheduled | JobState::Retryable => {
                self.due.insert((row.at(), slot));
            }
            JobState::Running => {
                if let Some(held) = self.lease_of.get(slot) {
                    self.ends.insert((held.end, slot));
                }
            }
            JobState::Completed | JobState::Cancelled => {
                self.done.insert(&mut self.rows, slot, spot);
            }
            JobState::Dead => {
                self.dead.insert(&mut self.rows, slot, spot);
            }
        }
        if let Some(deadline) = self.waits_until(slot, state, row) {
            self.deadlines.insert((deadline, slot));
        }
    }

    /// The deadline of a waiting job that has one.
    fn waits_until(&self, slot: u32, state: JobState, row: &Row) -> Option<WallMs> {
        if !state.is_waiting() || !row.has(Mark::Deadline) {
            return None;
        }
        self.deadline_of.get(slot).copied()
    }

    /// Nearly all go to the end of the list. One that was given back, or came from another rank,
    /// has an earlier turn than the last there; it waits among the returned, so that nobody walks.
    fn join_lane(&mut self, slot: u32, row: &Row, spot: Option<(u32, u32)>) {
        let tail = self.lanes[row.lane as usize].list.tail;
        let early = tail != NONE && self.rows.get(tail).order() > row.order();
        let returned = match spot {
            Some(_) => row.has(Mark::Returned),
            None => early,
        };
        let lane = &mut self.lanes[row.lane as usize];
        if returned {
            lane.returned += 1;
            self.rows.get_mut(slot).set(Mark::Returned, true);
            self.returned.insert((row.lane, row.order(), slot));
        } else {
            let (prev, next) = spot.unwrap_or((tail, NONE));
            lane.list.insert(&mut self.rows, slot, prev, next);
        }
        let queue = self.lane_ids.get(row.lane).queue;
        if lane.list.len + lane.returned == 1 {
            let lanes = &mut self.queues[queue as usize].lanes;
            lane.pos = lanes.len();
            lanes.push(row.lane);
        }
        self.mark(queue);
    }

    /// Whose turn it is in a lane; `NONE` where nobody waits.
    pub(super) fn first_of(&self, id: u32) -> u32 {
        let lane = &self.lanes[id as usize];
        let listed = lane.list.head;
        if lane.returned == 0 {
            return listed;
        }
        let mut returned = self.returned.range((id, 0, 0)..);
        match returned.next() {
            Some((_, order, slot)) if listed == NONE || *order < self.rows.get(listed).order() => {
                *slot
            }
            _ => listed,
        }
    }

    fn leave_lane(&mut self, slot: u32, row: &Row) {
        let lane = &mut self.lanes[row.lane as usize];
        if row.has(Mark::Returned) {
            lane.returned -= 1;
            self.returned.remove(&(row.lane, row.order(), slot));
        } else {
            lane.list.remove(&mut self.rows, slot);
        }
        if lane.list.len + lane.returned == 0 {
            let pos = lane.pos;
            let queue = self.lane_ids.get(row.lane).queue;
            let lanes = &mut self.queues[queue as usize].lanes;
            lanes.swap_remove(pos);
            if let Some(moved) = lanes.get(pos) {
                self.lanes[*moved as usize].pos = pos;
            }
        }
    }

    /// A running job of the lane's queue no longer runs: where the queue was full, others may.
    fn slot_freed(&mut self, lane: u32) {
        let id = self.lane_ids.get(lane).queue;
        let queue = &self.queues[id as usize];
        if queue.config.concurrency > 0 && !queue.lanes.is_empty() {
            self.mark(id);
        }
    }

    pub(super) fn mark(&mut self, id: u32) {
        let queue = &mut self.queues[id as usize];
        if !queue.marked {
            queue.marked = true;
            self.ready.push(id);
        }
    }
}
