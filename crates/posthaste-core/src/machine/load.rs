//! From a snapshot into a machine, and back.

use std::sync::Arc;

use crate::job::JobState;
use crate::machine::fact::Fact;
use crate::machine::fact::Slot;
use crate::machine::rows::{Mark, Row};
use crate::machine::saved::{
    Saved, SavedJob, SavedKey, SavedLease, SavedMeta, SavedQueue, SavedSeen,
};
use crate::machine::settles::Settles;
use crate::machine::state::{Held, Machine, Profile, priority};
use crate::machine::topics::TopicChange;
use crate::time::{MonoMs, WallMs};

impl Machine {
    /// Takes over what a snapshot keeps once. The machine is empty. Memberships of groups start
    /// afresh from `mono`.
    pub fn load_meta(&mut self, meta: &SavedMeta, mono: MonoMs) {
        self.last_token = meta.last_token.0;
        self.last_order = meta.last_order;
        for (name, saved) in &meta.queues {
            let id = self.queue_made(name) as usize;
            self.queues[id].config = saved.config;
            self.queues[id].totals = saved.totals;
        }
        self.topics = meta.topics.clone();
        for (topic, is) in &meta.topics.by_number {
            self.topic_ids.insert(Arc::clone(&is.name), *topic);
            let (topic, is) = (*topic, is.clone());
            self.topic_changes.push(TopicChange::Set { topic, is });
        }
        self.load_groups(&meta.groups, mono);
    }

    /// Takes over one job. Jobs come by slot. A lease that was held starts afresh from `mono`.
    /// Call [`Machine::loaded`] after the last; until then no job is ready, due or listed. Its
    /// places come out of [`Machine::drain_places`], to be drained now and then.
    pub fn load_job(&mut self, job: &SavedJob, mono: MonoMs) {
        let slot = job.slot.0;
        self.loading = true;
        self.grow_to(slot);
        if self.rows.job(slot).is_some() {
            return;
        }
        let lane = self.lane_made(&job.queue, &job.kind, job.priority.get());
        let profile = self.profile_made(Profile {
            retry: job.retry,
            keep_result: job.keep_result,
        });
        let mut row = Row::EMPTY;
        (row.id, row.lane, row.profile) = (job.id, lane, profile);
        row.live(&job.life);
        row.set(Mark::Deadline, job.deadline.is_some());
        row.set(Mark::Unreadable, job.unreadable.is_some());
        row.set(Mark::Lease, job.lease.is_some());
        if job.deadline.is_some() {
            self.deadline_of.set(slot, job.deadline);
        }
        if job.unreadable.is_some() {
            self.unreadable_since.set(slot, job.unreadable);
        }
        if let Some(lease) = &job.lease {
            let held = Held {
                token: lease.token,
                lease_ms: lease.lease_ms,
                worker: self.worker_made(&lease.worker),
                local: lease.local,
                since: 0,
                end: mono.plus(u64::from(lease.lease_ms)),
            };
            self.set_lease(slot, Some(held));
        }
        self.exchange(slot, row, None);
        if let Some(claim) = &job.unique {
            self.claims.take(&mut self.rows, slot, claim);
        }
        self.rest();
    }

    /// Takes over one idempotency key. Keys come oldest first.
    pub fn load_key(&mut self, key: &SavedKey) {
        let fact = Fact::KeyTaken {
            digest: key.digest,
            answer: key.answer,
            at: key.at,
        };
        self.evolve(&fact, MonoMs(0));
    }

    /// Takes over one published event. They come in the order in which they were seen.
    pub fn load_seen(&mut self, seen: &SavedSeen) {
        self.evolve_seen(seen.seen, seen.at);
    }

    /// Takes over the memory of applied settles.
    pub fn load_settles(&mut self, settles: Settles) {
        self.settles = settles;
    }

    /// Everything is loaded: lanes and lists are put in order, timers set.
    pub fn loaded(&mut self) {
        self.loading = false;
        let mut ready: Vec<(u64, u32)> = Vec::new();
        let mut ended: Vec<(WallMs, u32)> = Vec::new();
        for slot in 0..self.rows.len() {
            let Some(row) = self.rows.job(slot).copied() else {
                continue;
            };
            match row.state() {
                Some(JobState::Available) => ready.push((row.order(), slot)),
                Some(state) if state.is_final() => ended.push((row.at(), slot)),
                _ => self.link(slot, &row, None),
            }
        }
        ready.sort_unstable();
        self.link_all(ready.into_iter().map(|(_, slot)| slot));
        ended.sort_unstable();
        self.link_all(ended.into_iter().map(|(_, slot)| slot));
    }

    fn link_all(&mut self, slots: impl Iterator<Item = u32>) {
        for slot in slots {
            let row = *self.rows.get(slot);
            self.link(slot, &row, None);
        }
    }

    /// Everything that outlives the process. For tests and small stores: it copies all of it.
    #[must_use]
    pub fn export(&self) -> Saved {
        Saved {
            meta: self.export_meta(),
            jobs: (0..self.rows.len())
                .filter_map(|slot| self.export_job(Slot(slot)))
                .collect(),
            keys: self
                .keys
                .iter()
                .map(|(key, at)| SavedKey {
                    digest: key.digest,
                    answer: key.answer,
                    at,
                })
                .collect(),
            events: self
                .events
                .iter()
                .map(|(seen, at)| SavedSeen { seen, at })
                .collect(),
            settles: self.settles.clone(),
        }
    }

    fn export_meta(&self) -> SavedMeta {
        let queue = |queue: &crate::machine::state::Queue| {
            let saved = SavedQueue {
                config: queue.config,
                totals: queue.totals,
            };
            (queue.name.clone(), saved)
        };
        SavedMeta {
            last_token: self.last_token(),
            last_order: self.last_order,
            queues: self.queues.iter().map(queue).collect(),
            topics: self.topics.clone(),
            groups: self.groups.saved.clone(),
            archived: std::collections::BTreeMap::new(),
        }
    }

    /// Everything that outlives the process of one job.
    #[must_use]
    pub fn export_job(&self, slot: Slot) -> Option<SavedJob> {
        let row = self.rows.job(slot.0)?;
        let lane = self.lane_ids.get(row.lane);
        let profile = self.profiles.get(row.profile);
        let lease = self.lease_of.get(slot.0).map(|held| SavedLease {
            token: held.token,
            lease_ms: held.lease_ms,
            local: held.local,
            worker: Arc::clone(self.workers.get(held.worker)),
        });
        Some(SavedJob {
            slot,
            id: row.id,
            queue: Arc::clone(&self.queues[lane.queue as usize].name),
            kind: Arc::clone(self.kinds.get(lane.kind)),
            priority: priority(lane.priority),
            retry: profile.retry,
            keep_result: profile.keep_result,
            deadline: self.deadline_of.get(slot.0).copied(),
            unique: self.claims.of(&self.rows, slot.0),
            unreadable: self.unreadable_since.get(slot.0).copied(),
            lease,
            life: row.life(),
        })
    }
}
