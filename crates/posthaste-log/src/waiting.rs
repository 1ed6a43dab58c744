//! Who waits: for work, and for the end of a job.

use std::collections::{HashMap, VecDeque};

use posthaste_core::machine::Slot;
use posthaste_core::port::LeaseAsk;
use posthaste_core::{JobId, MonoMs, limits};

use crate::effect::{Delivery, Found};
use crate::inbox::Reply;

/// Leases that wait for work, the one that came first in front.
#[derive(Debug, Default)]
pub(crate) struct Waiters(VecDeque<(LeaseAsk, Reply<Delivery>, MonoMs)>);

impl Waiters {
    pub(crate) fn add(&mut self, ask: LeaseAsk, reply: Reply<Delivery>, now: MonoMs) {
        let until = now.plus(u64::from(ask.wait_ms.min(limits::WAIT_MS_MAX)));
        self.0.push_back((ask, reply, until));
    }

    /// Puts back one that got nothing, in its turn.
    pub(crate) fn put_back(&mut self, ask: LeaseAsk, reply: Reply<Delivery>, until: MonoMs) {
        self.0.push_back((ask, reply, until));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes out those that wait for one of these queues.
    pub(crate) fn interested(
        &mut self,
        ready: &[String],
    ) -> Vec<(LeaseAsk, Reply<Delivery>, MonoMs)> {
        let wants = |ask: &LeaseAsk| {
            ask.queues
                .iter()
                .any(|(queue, _)| ready.iter().any(|name| name == queue.as_str()))
        };
        let (interested, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(ask, ..)| wants(ask));
        self.0 = others.into();
        interested
    }

    /// Takes out those whose wait is over, or whose asker has hung up.
    pub(crate) fn over(&mut self, now: MonoMs) -> Vec<Reply<Delivery>> {
        let ended = |(_, reply, until): &(LeaseAsk, Reply<Delivery>, MonoMs)| {
            *until <= now || reply.is_closed()
        };
        if !self.0.iter().any(ended) {
            return Vec::new();
        }
        let (over, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.0).into_iter().partition(ended);
        self.0 = waiting.into();
        over.into_iter()
            .map(|(_, reply, _)| reply)
            .filter(|reply| !reply.is_closed())
            .collect()
    }

    pub(crate) fn next_end_ms(&self, now: MonoMs) -> Option<u64> {
        self.0.iter().map(|(.., until)| until.since(now)).min()
    }

    pub(crate) fn all(&mut self) -> Vec<Reply<Delivery>> {
        self.0.drain(..).map(|(_, reply, _)| reply).collect()
    }
}

/// Who waits for a job to end.
#[derive(Debug, Default)]
pub(crate) struct Watchers(HashMap<Slot, Vec<(JobId, MonoMs, Reply<Found>)>>);

impl Watchers {
    pub(crate) fn add(&mut self, slot: Slot, id: JobId, until: MonoMs, reply: Reply<Found>) {
        self.0.entry(slot).or_default().push((id, until, reply));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes out those who wait for this job.
    pub(crate) fn ended(&mut self, slot: Slot) -> Vec<(JobId, Reply<Found>)> {
        let waiting = self.0.remove(&slot).unwrap_or_default();
        waiting
            .into_iter()
            .map(|(id, _, reply)| (id, reply))
            .collect()
    }

    /// Takes out those whose wait is over; whoever has hung up is forgotten.
    pub(crate) fn over(&mut self, now: MonoMs) -> Vec<(Slot, JobId, Reply<Found>)> {
        let mut over = Vec::new();
        self.0.retain(|slot, waiting| {
            let (ended, waits): (Vec<_>, Vec<_>) = std::mem::take(waiting)
                .into_iter()
                .partition(|(_, until, reply)| *until <= now || reply.is_closed());
            over.extend(ended.into_iter().map(|(id, _, reply)| (*slot, id, reply)));
            *waiting = waits;
            !waiting.is_empty()
        });
        over
    }

    pub(crate) fn next_end_ms(&self, now: MonoMs) -> Option<u64> {
        self.0
            .values()
            .flatten()
            .map(|(_, until, _)| until.since(now))
            .min()
    }

    pub(crate) fn all(&mut self) -> Vec<Reply<Found>> {
        self.0
            .drain()
            .flat_map(|(_, waiting)| waiting)
            .map(|(.., reply)| reply)
            .collect()
    }
}
