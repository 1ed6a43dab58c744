//! Whether the machine agrees with itself: every table that follows from the rows, counted again.
//! Slow; for tests, and for somebody who doubts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::job::JobState;
use crate::machine::ended::Ended;
use crate::machine::rows::{List, Mark, NONE, Row};
use crate::machine::state::Machine;

pub(super) type Found = Result<(), String>;

pub(super) fn same<T: PartialEq + std::fmt::Debug>(what: &str, kept: &T, counted: &T) -> Found {
    if kept == counted {
        return Ok(());
    }
    Err(format!("{what}: kept {kept:?}, counted {counted:?}"))
}

impl Machine {
    /// Counts everything again that is kept as things change.
    ///
    /// # Errors
    /// What doesn't agree, in words.
    pub fn audit(&self) -> Result<(), String> {
        self.audit_counts()?;
        self.audit_sets()?;
        self.audit_lists()?;
        self.audit_finding()?;
        self.audit_topics()?;
        self.audit_groups()
    }

    fn rows_held(&self) -> impl Iterator<Item = (u32, &Row)> {
        (0..self.rows.len()).filter_map(|slot| Some((slot, self.rows.job(slot)?)))
    }

    fn audit_counts(&self) -> Found {
        let (mut held, mut lanes) = (vec![[0_u64; 7]; self.queues.len()], BTreeSet::new());
        let mut profiles = BTreeSet::new();
        for (_, row) in self.rows_held() {
            let queue = self.lane_ids.get(row.lane).queue;
            let state = row.state().ok_or("a job without a state")?;
            held[queue as usize][state as usize] += 1;
            lanes.insert(row.lane);
            profiles.insert(row.profile);
        }
        same("jobs", &self.jobs, &(self.rows_held().count() as u64))?;
        same("lanes held", &self.lane_ids.held(), &lanes.len())?;
        same("profiles held", &self.profiles.held(), &profiles.len())?;
        let kinds: BTreeSet<u32> = lanes.iter().map(|l| self.lane_ids.get(*l).kind).collect();
        same("kinds held", &self.kinds.held(), &kinds.len())?;
        for (queue, counted) in self.queues.iter().zip(held) {
            same(&format!("states of {}", queue.name), &queue.held, &counted)?;
            let sum = counted.iter().sum::<u64>() + queue.totals.deleted;
            same(
                &format!("totals of {}", queue.name),
                &queue.totals.enqueued,
                &sum,
            )?;
        }
        Ok(())
    }

    fn audit_sets(&self) -> Found {
        let (mut due, mut deadlines, mut ends) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut workers = BTreeSet::new();
        for (slot, row) in self.rows_held() {
            let state = row.state().ok_or("a job without a state")?;
            let lease = self.lease_of.get(slot);
            same("lease mark", &row.has(Mark::Lease), &lease.is_some())?;
            workers.extend(lease.map(|held| held.worker));
            let deadline = self.deadline_of.get(slot);
            same(
                "deadline mark",
                &row.has(Mark::Deadline),
                &deadline.is_some(),
            )?;
            let unreadable = self.unreadable_since.get(slot).is_some();
            same("unreadable mark", &row.has(Mark::Unreadable), &unreadable)?;
            if let Some(deadline) = deadline.filter(|_| state.is_waiting()) {
                deadlines.insert((*deadline, slot));
            }
            if matches!(state, JobState::Scheduled | JobState::Retryable) {
                due.insert((row.at(), slot));
            }
            if state == JobState::Running {
                ends.insert((lease.ok_or("running without a lease")?.end, slot));
            }
        }
        same("workers held", &self.workers.held(), &workers.len())?;
        same("due", &self.due, &due)?;
        same("deadlines", &self.deadlines, &deadlines)?;
        same("lease ends", &self.ends, &ends)
    }

    /// The slots of a list, both ways alike.
    fn walk(&self, list: &List) -> Result<Vec<u32>, String> {
        let (mut slots, mut slot, mut prev) = (Vec::new(), list.head, NONE);
        while slot != NONE {
            let row = self.rows.get(slot);
            same("link back", &row.prev, &prev)?;
            slots.push(slot);
            (prev, slot) = (slot, row.next);
        }
        same("tail", &list.tail, &prev)?;
        same("length", &(list.len as usize), &slots.len())?;
        Ok(slots)
    }

    fn all_of(&self, ended: &Ended) -> Result<BTreeSet<u32>, String> {
        let listed = self.walk(&ended.list)?;
        let at = |slot: &u32| self.rows.get(*slot).at();
        if !listed.is_sorted_by_key(at) {
            return Err("ended jobs are not in order".into());
        }
        let early = ended.early.iter().map(|(_, slot)| *slot);
        Ok(listed.into_iter().chain(early).collect())
    }

    fn audit_lists(&self) -> Found {
        let mut ready: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        let (mut done, mut dead) = (BTreeSet::new(), BTreeSet::new());
        for (slot, row) in self.rows_held() {
            match row.state() {
                Some(JobState::Available) => drop(ready.entry(row.lane).or_default().insert(slot)),
                Some(JobState::Dead) => drop(dead.insert(slot)),
                Some(JobState::Completed | JobState::Cancelled) => drop(done.insert(slot)),
                _ => {}
            }
        }
        same("done", &self.all_of(&self.done)?, &done)?;
        same("dead", &self.all_of(&self.dead)?, &dead)?;
        for (id, lane) in (0..).zip(&self.lanes) {
            let slots = self.walk(&lane.list)?;
            let orders: Vec<u64> = slots.iter().map(|s| self.rows.get(*s).order()).collect();
            if !orders.is_sorted() {
                return Err(format!("lane {id} is not in order: {orders:?}"));
            }
            let returned = self.returned.range((id, 0, 0)..(id + 1, 0, 0));
            let returned: Vec<u32> = returned.map(|(_, _, slot)| *slot).collect();
            same("returned", &(lane.returned as usize), &returned.len())?;
            let counted = ready.remove(&id).unwrap_or_default();
            let both = slots.into_iter().chain(returned).collect();
            same("lane", &both, &counted)?;
            let queue = self.lane_ids.get(id).queue as usize;
            let listed = self
                .queues
                .get(queue)
                .is_some_and(|q| q.lanes.contains(&id));
            same("lane is listed", &listed, &!counted.is_empty())?;
        }
        let free = self.walk(&self.free)?.len();
        same(
            "free rows",
            &free,
            &(self.rows.len() as usize - self.rows_held().count()),
        )
    }

    fn audit_finding(&self) -> Found {
        for (slot, row) in self.rows_held() {
            same("id", &self.slot_of(row.id), &Some(slot))?;
            if let Some(claim) = self.claims.of(&self.rows, slot) {
                let holder = self.claims.holder(&self.rows, &claim.digest);
                same("unique key", &holder, &Some(slot))?;
            }
            if row.order() > self.last_order {
                return Err(format!("order {} is ahead of the counter", row.order()));
            }
        }
        Ok(())
    }

    fn audit_topics(&self) -> Found {
        let by_name = self.topics.by_number.iter();
        let by_name = by_name.map(|(number, is)| (Arc::clone(&is.name), *number));
        same("topics by name", &self.topic_ids, &by_name.collect())?;
        for (number, is) in &self.topics.by_number {
            if *number == 0 || *number > self.topics.last_number {
                return Err(format!("the topic {} was never given out", is.name));
            }
            let (name, partitions) = (&is.name, usize::from(is.config.partitions));
            same(
                &format!("partitions of {name}"),
                &is.offsets.len(),
                &partitions,
            )?;
            let sum = is.offsets.iter().sum();
            same(&format!("events of {name}"), &is.next, &sum)?;
            if is.last_at < is.created_at {
                return Err(format!("{name} was published to before it was made"));
            }
        }
        let seen = self.events.iter().map(|(seen, _)| seen);
        for seen in seen {
            let topic = self.topics.by_number.get(&seen.topic);
            let ahead = topic.is_some_and(|is| seen.position >= is.next);
            if ahead || seen.topic > self.topics.last_number {
                return Err(format!("{seen:?} is ahead of its topic"));
            }
        }
        Ok(())
    }
}
