//! Making facts so. Nothing here decides, and nothing can fail: a fact about a job that isn't
//! there changes nothing.

use crate::job::JobState;
use crate::machine::fact::{Cause, Fact, Place, QueueConfig, Slot, Summary};
use crate::machine::keys::Key;
use crate::machine::life::{Life, clears_unreadable, count, keeps_lease};
use crate::machine::pace::stamp;
use crate::machine::rows::{Mark, NONE, Row};
use crate::machine::state::{Held, Machine, Profile};
use crate::machine::undo::Undo;
use crate::time::{MonoMs, WallMs};

impl Machine {
    /// Makes `fact` so. A lease runs from `mono`.
    pub fn evolve(&mut self, fact: &Fact<'_>, mono: MonoMs) {
        match *fact {
            Fact::Enqueued {
                slot,
                order,
                ready,
                state,
                place,
                ref job,
            } => self.enqueued(slot, &Life::enqueued(state, ready, order, place), job, fact),
            Fact::KeyTaken { digest, answer, at } => {
                let before = self.keys.take(Key { digest, answer }, at);
                self.record(Undo::KeyTaken { before });
                self.account_place(Place::NONE, answer);
            }
            Fact::AnswerCopied { digest, from, to } => {
                if self.keys.copied(&digest.key, from, to) {
                    self.record(Undo::AnswerCopied { digest, from, to });
                    self.account_place(from, to);
                }
            }
            Fact::KeysForgotten { count } => {
                for _ in 0..count {
                    let Some(key) = self.keys.forget_one() else {
                        break;
                    };
                    self.account_place(key.answer, Place::NONE);
                }
            }
            Fact::SettlesForgotten { before } => self.settles.forget(before),
            Fact::TokensPassed { upto } => self.last_token = self.last_token.max(upto.0),
            Fact::QueueSet { queue, settings } => self.queue_set(queue, settings),
            Fact::TopicSet { .. } => self.evolve_topics(fact),
            Fact::TopicDeleted { .. } => {
                self.evolve_groups(fact, mono);
                self.evolve_topics(fact);
            }
            Fact::Published {
                topic,
                position,
                hashes,
                ..
            } => {
                self.evolve_topics(fact);
                self.published(topic, position, hashes);
            }
            Fact::GroupSet { .. }
            | Fact::GroupDeleted { .. }
            | Fact::MemberJoined { .. }
            | Fact::MemberLeft { .. }
            | Fact::EventHeld { .. }
            | Fact::EventLeased { .. }
            | Fact::EventsFinished { .. }
            | Fact::EventRetried { .. }
            | Fact::EventEnding { .. }
            | Fact::EventKept { .. }
            | Fact::KeptReleased { .. }
            | Fact::KeptSkipped { .. }
            | Fact::KeptRedriven { .. }
            | Fact::KeptForgotten { .. }
            | Fact::KeptCopied { .. }
            | Fact::GroupReset { .. }
            | Fact::HeadMoved { .. } => self.evolve_groups(fact, mono),
            Fact::EventSeen { seen, at } => self.evolve_seen(seen, at),
            Fact::EventsForgotten { count } => {
                for _ in 0..count {
                    self.events.forget_one();
                }
            }
            Fact::Leased {
                slot,
                token,
                lease_ms,
                local,
                worker,
            } => {
                let worker = self.worker_made(worker);
                let held = Held {
                    token,
                    lease_ms,
                    worker,
                    local,
                    since: if self.decides { stamp(mono) } else { 0 },
                    end: mono.plus(u64::from(lease_ms)),
                };
                self.last_token = self.last_token.max(token.0);
                self.about(slot, fact, Some(held));
            }
            Fact::Changed { slot, .. }
            | Fact::CancelAsked { slot }
            | Fact::Copied { slot, .. }
            | Fact::Edited { slot, .. } => self.about(slot, fact, None),
            Fact::Unclaimed { slot } => self.unclaimed(slot.0),
            Fact::Unreadable { slot, since } => self.unreadable(slot.0, since),
            Fact::DeadlineLifted { slot } => self.deadline_lifted(slot.0),
            Fact::Deleted { slot } => self.deleted(slot.0, fact),
        }
        if !self.recording {
            self.rest();
        }
    }

    fn enqueued(&mut self, slot: Slot, life: &Life, job: &Summary<'_>, fact: &Fact<'_>) {
        let slot = slot.0;
        self.grow_to(slot);
        if self.rows.job(slot).is_some() {
            return;
        }
        let lane = self.lane_made(job.queue, job.kind, job.priority.get());
        let profile = self.profile_made(Profile {
            retry: job.retry,
            keep_result: job.keep_result,
        });
        let mut row = Row::EMPTY;
        (row.id, row.lane, row.profile) = (job.id, lane, profile);
        row.live(life);
        if let Some(deadline) = job.deadline {
            row.set(Mark::Deadline, true);
            let old = self.deadline_of.set(slot, Some(deadline));
            self.record(Undo::Deadline { slot, old });
        }
        self.last_order = self.last_order.max(life.order);
        self.exchange(slot, row, None);
        if let Some(claim) = &job.unique {
            self.claims.take(&mut self.rows, slot, claim);
            self.record(Undo::Claimed { slot });
        }
        self.count(lane, fact);
    }

    /// Makes sure that there is a row of this number, free or not.
    pub(super) fn grow_to(&mut self, slot: u32) {
        while self.rows.len() <= slot {
            let grown = self.rows.grow();
            self.link(grown, &Row::EMPTY, None);
        }
    }

    /// A fact that changes the life of a job that is there.
    fn about(&mut self, slot: Slot, fact: &Fact<'_>, lease: Option<Held>) {
        let slot = slot.0;
        let Some(old) = self.rows.job(slot).copied() else {
            return;
        };
        let mut new = old;
        let mut life = old.life();
        life.apply(fact);
        new.live(&life);
        self.last_order = self.last_order.max(life.order);
        if let Fact::Edited { priority, .. } = fact {
            let mut key = *self.lane_ids.get(old.lane);
            key.priority = priority.get();
            new.lane = self.lane_of(key);
        }
        if lease.is_some() {
            self.change_lease(slot, lease);
            new.set(Mark::Lease, true);
        }
        let dropped = old.has(Mark::Lease) && !keeps_lease(old.life().state, fact);
        if dropped {
            new.set(Mark::Lease, false);
        }
        let cleared = old.has(Mark::Unreadable) && clears_unreadable(&old.life(), fact);
        if cleared {
            new.set(Mark::Unreadable, false);
        }
        self.exchange(slot, new, None);
        if dropped {
            self.change_lease(slot, None);
        }
        if cleared {
            let old = self.unreadable_since.set(slot, None);
            self.record(Undo::Unreadable { slot, old });
        }
        self.note_settle(fact);
        self.count(old.lane, fact);
    }

    fn note_settle(&mut self, fact: &Fact<'_>) {
        if let Fact::Changed {
            cause: Cause::Settled { token, digest, .. },
            at,
            ..
        } = *fact
        {
            let before = self.settles.note_with(token, digest, at);
            self.record(Undo::Settled(before));
        }
    }

    fn count(&mut self, lane: u32, fact: &Fact<'_>) {
        let queue = self.lane_ids.get(lane).queue;
        if self.recording && self.recorded != queue {
            let old = self.queues[queue as usize].totals;
            self.undo.push(Undo::Totals { queue, old });
            self.recorded = queue;
        }
        count(&mut self.queues[queue as usize].totals, fact);
    }

    fn unclaimed(&mut self, slot: u32) {
        if self.rows.job(slot).is_some()
            && let Some(claim) = self.claims.leave(&mut self.rows, slot)
        {
            self.record(Undo::Unclaimed { slot, claim });
        }
    }

    fn unreadable(&mut self, slot: u32, since: WallMs) {
        let Some(mut row) = self.rows.job(slot).copied() else {
            return;
        };
        row.set(Mark::Unreadable, true);
        self.exchange(slot, row, None);
        let old = self.unreadable_since.set(slot, Some(since));
        self.record(Undo::Unreadable { slot, old });
    }

    fn deadline_lifted(&mut self, slot: u32) {
        let Some(mut row) = self.rows.job(slot).copied() else {
            return;
        };
        row.set(Mark::Deadline, false);
        self.exchange(slot, row, None);
        let old = self.deadline_of.set(slot, None);
        self.record(Undo::Deadline { slot, old });
    }

    fn deleted(&mut self, slot: u32, fact: &Fact<'_>) {
        let Some(old) = self.rows.job(slot).copied() else {
            return;
        };
        self.unclaimed(slot);
        self.count(old.lane, fact);
        self.exchange(slot, Row::EMPTY, None);
        if old.has(Mark::Lease) {
            self.change_lease(slot, None);
        }
        if old.has(Mark::Deadline) {
            let old = self.deadline_of.set(slot, None);
            self.record(Undo::Deadline { slot, old });
        }
        if old.has(Mark::Unreadable) {
            let old = self.unreadable_since.set(slot, None);
            self.record(Undo::Unreadable { slot, old });
        }
    }

    fn queue_set(&mut self, name: &str, settings: QueueConfig) {
        let id = self.queue_made(name);
        let queue = &mut self.queues[id as usize];
        let old = std::mem::replace(&mut queue.config, settings);
        let waits = !queue.lanes.is_empty();
        self.record(Undo::Config { queue: id, old });
        if waits {
            self.mark(id);
        }
    }

    pub(super) fn worker_made(&mut self, name: &str) -> u32 {
        match self.workers.find(name) {
            Some(id) => id,
            None => self.workers.make(name.into()),
        }
    }

    /// Sets or removes a job's lease, and writes down the old one.
    fn change_lease(&mut self, slot: u32, lease: Option<Held>) {
        let old = self.lease_of.get(slot).copied();
        self.set_lease(slot, lease);
        self.record(Undo::Lease { slot, old });
    }

    pub(super) fn set_lease(&mut self, slot: u32, lease: Option<Held>) {
        if let Some(held) = lease {
            self.workers.hold(held.worker);
        }
        if let Some(old) = self.lease_of.set(slot, lease) {
            self.workers.release(old.worker);
        }
    }

    /// Moves the end of a held lease.
    pub(super) fn extend(&mut self, slot: u32, end: MonoMs) {
        let running = self
            .rows
            .job(slot)
            .is_some_and(|row| row.is(JobState::Running));
        let Some(held) = self.lease_of.get_mut(slot) else {
            return;
        };
        let old = std::mem::replace(&mut held.end, end);
        if running {
            self.ends.remove(&(old, slot));
            self.ends.insert((end, slot));
        }
        self.record(Undo::Extended { slot, end: old });
    }

    /// A free number, the one that the next job gets.
    pub(super) fn next_slot(&mut self) -> u32 {
        if self.free.head == NONE {
            self.grow_to(self.rows.len());
        }
        self.free.head
    }
}
