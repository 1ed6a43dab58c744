//! Who waits for the end of a job.

use std::collections::{BTreeMap, BTreeSet};

use posthaste_core::machine::Slot;
use posthaste_core::{JobId, MonoMs, limits};

use super::{Sweep, too_many};
use crate::effect::{self, Found};
use crate::inbox::Reply;

/// Those who wait for the end of a job, by the job.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    waiting: BTreeMap<(Slot, u64), (JobId, MonoMs, Reply<Found>)>,
    ends: BTreeSet<(MonoMs, Slot, u64)>,
    next: u64,
    sweep: Sweep,
}

impl Watchers {
    /// Lets one wait from `now` until `until`. Where too many do, it is told so.
    pub(crate) fn add(
        &mut self,
        (slot, id): (Slot, JobId),
        (now, until): (MonoMs, MonoMs),
        reply: Reply<Found>,
    ) {
        if self.waiting.len() >= limits::WAITS_MAX && self.sweep.is_due(now) {
            self.forget_hung_up();
        }
        if self.waiting.len() >= limits::WAITS_MAX {
            return effect::tell(reply, Err(too_many("for the end of a job")));
        }
        self.next += 1;
        self.ends.insert((until, slot, self.next));
        self.waiting.insert((slot, self.next), (id, until, reply));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes out those who wait for this job.
    pub(crate) fn ended(&mut self, slot: Slot) -> Vec<(JobId, Reply<Found>)> {
        let mut ended = Vec::new();
        let from = (slot, 0);
        while let Some((&(of, number), _)) = self.waiting.range(from..).next()
            && of == slot
        {
            ended.extend(self.take(slot, number));
        }
        ended
    }

    /// Takes out those whose wait is over.
    pub(crate) fn over(&mut self, now: MonoMs) -> Vec<(Slot, JobId, Reply<Found>)> {
        let mut over = Vec::new();
        while let Some((until, slot, number)) = self.ends.first().copied()
            && until <= now
        {
            self.ends.pop_first();
            let taken = self.take(slot, number);
            over.extend(taken.map(|(id, reply)| (slot, id, reply)));
        }
        over
    }

    pub(crate) fn next_end_ms(&self, now: MonoMs) -> Option<u64> {
        self.ends.first().map(|(until, ..)| until.since(now))
    }

    pub(crate) fn all(&mut self) -> Vec<Reply<Found>> {
        let all = std::mem::take(self);
        all.waiting.into_values().map(|(.., reply)| reply).collect()
    }

    fn take(&mut self, slot: Slot, number: u64) -> Option<(JobId, Reply<Found>)> {
        let (id, until, reply) = self.waiting.remove(&(slot, number))?;
        self.ends.remove(&(until, slot, number));
        Some((id, reply))
    }

    fn forget_hung_up(&mut self) {
        let hung_up = self.waiting.iter().filter(|(_, it)| it.2.is_closed());
        let hung_up: Vec<(Slot, u64)> = hung_up.map(|(at, _)| *at).collect();
        for (slot, number) in hung_up {
            drop(self.take(slot, number));
        }
    }
}
