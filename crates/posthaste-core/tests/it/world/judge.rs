//! What must hold after each step, and what a merged snapshot must say.

use std::collections::{BTreeMap, BTreeSet};

use posthaste_core::job::JobState;
use posthaste_core::machine::{
    Cause, Fact, KeyChanges, Place, Saved, SavedJob, SavedKey, SavedSeen, Slot,
};

use super::{World, same};

impl World {
    pub(super) fn check(&mut self) {
        self.machine
            .audit()
            .expect("the machine agrees with itself");
        self.shelf.check(self.machine.topics());
        let now = self.machine.export();
        let mut reachable: BTreeMap<Place, i64> = BTreeMap::new();
        let of_jobs = now
            .jobs
            .iter()
            .flat_map(|job| [job.life.place, job.life.note]);
        let of_keys = now.keys.iter().map(|key| key.answer);
        for place in of_jobs.chain(of_keys).filter(|place| place.is_some()) {
            *reachable.entry(place).or_default() += 1;
        }
        assert_eq!(self.in_use, reachable, "live places");
    }

    /// Merges the facts since the last snapshot into it, job by job; it must say what the machine
    /// says.
    pub(super) fn merge(&mut self) {
        let (mut saved, upto) = std::mem::take(&mut self.saved);
        let facts = self.facts[upto..].to_vec();
        let mut jobs: BTreeMap<Slot, SavedJob> =
            saved.jobs.drain(..).map(|job| (job.slot, job)).collect();
        let mut slots: BTreeSet<Slot> = facts.iter().filter_map(Fact::slot).collect();
        while let Some(slot) = slots.pop_last() {
            let mut job = jobs.remove(&slot);
            for fact in facts.iter().filter(|fact| fact.slot() == Some(slot)) {
                saved.meta.apply(fact, job.as_ref());
                let before = job.as_ref().map(|job| job.life.state);
                job = match job {
                    None => SavedJob::enqueued(fact),
                    Some(job) => job.apply(fact),
                };
                self.see_transition(before, job.as_ref(), fact);
            }
            jobs.extend(job.map(|job| (slot, job)));
        }
        saved.jobs = jobs.into_values().collect();
        let mut changes = KeyChanges::default();
        for fact in &self.facts[upto..] {
            changes.note(fact);
            saved.settles.apply(fact);
            if fact.slot().is_none() {
                saved.meta.topics.apply(fact, |_| {});
                saved.meta.apply(fact, None);
            }
        }
        let taken = self.facts[upto..].iter().filter_map(SavedKey::taken);
        let all = saved.keys.into_iter().chain(taken);
        let kept = all.skip(usize::try_from(changes.forgotten).expect("few"));
        saved.keys = kept.map(|key| changes.apply(key)).collect();
        let seen = self.facts[upto..].iter().filter_map(SavedSeen::seen);
        let all = saved.events.into_iter().chain(seen);
        let forgotten = usize::try_from(changes.events_forgotten).expect("few");
        saved.events = all.skip(forgotten).collect();
        same("merged otherwise", &saved, &self.machine.export());
        self.check_totals(&saved);
        self.saved = (saved, self.facts.len());
    }

    fn see_transition(
        &mut self,
        before: Option<JobState>,
        after: Option<&SavedJob>,
        fact: &Fact<'_>,
    ) {
        let word = |state: Option<JobState>| state.map_or("nothing", JobState::as_str);
        let after = after.map(|job| job.life.state);
        if before != after || matches!(fact, Fact::Changed { .. }) {
            self.seen
                .insert(format!("{} to {}", word(before), word(after)));
        }
        let ended = before.is_some_and(JobState::is_final);
        if matches!(fact, Fact::Deleted { .. }) && ended {
            self.deleted_ended += 1;
        }
        if let Fact::Changed {
            cause: Cause::Settled { .. },
            ..
        } = fact
            && before == Some(JobState::Available)
        {
            self.saw("settled after a lapse");
        }
    }

    fn check_totals(&self, saved: &Saved) {
        let sum = |of: fn(&posthaste_core::view::Totals) -> u64| {
            saved
                .meta
                .queues
                .values()
                .map(|q| of(&q.totals))
                .sum::<u64>()
        };
        let held = saved.jobs.len() as u64;
        assert_eq!(sum(|t| t.enqueued), held + sum(|t| t.deleted));
        let ended = saved.jobs.iter().filter(|job| job.life.state.is_final());
        let ends = sum(|t| t.completed + t.dead + t.cancelled);
        let gone = u64::try_from(self.deleted_ended).expect("a count");
        assert_eq!(ends - sum(|t| t.redriven), ended.count() as u64 + gone);
    }
}
