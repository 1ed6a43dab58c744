//! Serving those who wait: for work, for the end of a job, for time to pass.

use std::sync::Arc;

use posthaste_core::machine::{Grant, Moment, Place, RowView, Slot};
use posthaste_core::port::TailJob;
use posthaste_core::{KindName, QueueName, WorkerName, limits};

use super::{LEASE_EXPIRED_MAX, LEASE_FACT_BYTES, Sequencer, TICK_FACTS_MAX};
use crate::commits::Held;
use crate::edge;
use crate::effect::{self, Delivery, Effect, Found, Row};
use crate::format::facts::FACT_BYTES_MAX;
use crate::inbox::Reply;

impl Sequencer {
    pub(super) fn tail(&mut self, held: &mut Held<'_>, ask: TailJob, reply: Reply<Found>) {
        let Some(slot) = self.machine.find(ask.id) else {
            return effect::tell(reply, Err(edge::no_such_job(ask.id)));
        };
        let ended = self
            .machine
            .view(slot)
            .is_none_or(|row| row.state.is_final());
        if ended || ask.wait_ms == 0 {
            self.tell_watcher(held, slot, ask.id, reply);
        } else {
            let now = self.shared.clock.now().mono;
            let until = now.plus(u64::from(ask.wait_ms.min(limits::WAIT_MS_MAX)));
            self.watchers.add((slot, ask.id), (now, until), reply);
        }
    }

    pub(super) fn row(&self, slot: Slot) -> Option<Row> {
        let row: RowView<'_> = self.machine.view(slot)?;
        let places = [row.place, row.note];
        let pinned = self
            .shared
            .bodies
            .pin(places.into_iter().filter(|place| place.is_some()));
        Some(Row {
            slot,
            id: row.id,
            state: row.state,
            reason: row.reason,
            priority: row.priority,
            attempt: row.attempt,
            crashes: row.crashes,
            at: row.at,
            deadline: row.deadline,
            cancelling: row.cancelling,
            place: row.place,
            note: row.note,
            worker: row.worker.and_then(|worker| WorkerName::new(worker).ok()),
            progress: self.progress.get(slot).cloned(),
            pinned,
            names: names(&row),
        })
    }

    /// As many of these rows as one page may hold, and the first that is left out.
    pub(super) fn rows_within(&self, slots: &[Slot]) -> (Vec<Row>, Option<Slot>) {
        let views = slots.iter().filter_map(|slot| self.machine.view(*slot));
        let places = views.map(|row| [row.place, row.note]);
        let bodies = &self.shared.bodies;
        let fit = bodies.count_within(limits::PAGE_BYTES_MAX, places).max(1);
        let (within, beyond) = slots.split_at(fit.min(slots.len()));
        let rows = within.iter().filter_map(|slot| self.row(*slot));
        (rows.collect(), beyond.first().copied())
    }

    /// Tries to serve a lease; hands its reply back where there is nothing and it may wait.
    pub(super) fn lease(
        &mut self,
        held: &mut Held<'_>,
        ask: &posthaste_core::port::LeaseAsk,
        reply: Reply<Delivery>,
    ) -> Option<Reply<Delivery>> {
        if reply.is_closed() {
            return None;
        }
        let fit = held
            .journal
            .as_ref()
            .map_or(limits::LEASE_JOBS_MAX as usize, |journal| {
                (journal.commit_bytes_max() / LEASE_FACT_BYTES).saturating_sub(LEASE_EXPIRED_MAX)
            });
        let max = ask
            .max
            .min(u32::try_from(fit).unwrap_or(u32::MAX))
            .clamp(1, limits::LEASE_JOBS_MAX);
        if let Err(error) =
            self.make_room(held, (max as usize + LEASE_EXPIRED_MAX) * LEASE_FACT_BYTES)
        {
            effect::tell(reply, Err(error));
            return None;
        }
        let queues: Vec<(&str, u32)> = ask
            .queues
            .iter()
            .map(|(name, weight)| (name.as_str(), *weight))
            .collect();
        let kinds: Vec<&str> = ask
            .kinds
            .iter()
            .map(posthaste_core::KindName::as_str)
            .collect();
        let claim = posthaste_core::machine::Claim {
            queues: &queues,
            strict: ask.strict,
            kinds: &kinds,
            max,
            lease_ms: ask.lease_ms,
            worker: ask.worker.as_str(),
            local: ask.local,
        };
        let moment = self.moment();
        let (mut facts, mut grants) = (Vec::new(), Vec::new());
        self.machine.lease(&claim, moment, &mut facts, &mut grants);
        self.became_true(held, &facts, false);
        self.give_back_beyond(held, &mut grants, moment);
        if grants.is_empty() && ask.wait_ms > 0 {
            if !facts.is_empty() {
                // Jobs were in the way whose time was over: there may be others behind them.
                self.shared.inbox.nudge();
            }
            return Some(reply);
        }
        let pinned = self
            .shared
            .bodies
            .pin(grants.iter().map(|grant| grant.place));
        let inbox = Arc::downgrade(&self.shared.inbox);
        let lease = effect::Lease {
            grants,
            lease_ms: ask.lease_ms,
            pinned,
            inbox,
        };
        self.let_out(held, Effect::Leased(reply, lease));
        None
    }

    /// Gives back what is more than one answer may hold.
    fn give_back_beyond(&mut self, held: &mut Held<'_>, grants: &mut Vec<Grant>, moment: Moment) {
        let places = grants.iter().map(|grant| [grant.place, Place::NONE]);
        let bodies = &self.shared.bodies;
        let fit = bodies.count_within(limits::LEASE_BYTES_MAX, places).max(1);
        if fit >= grants.len() {
            return;
        }
        let mut facts = Vec::new();
        for grant in grants.drain(fit..) {
            self.machine
                .untaken(grant.id, grant.token, moment, &mut facts);
        }
        self.became_true(held, &facts, false);
    }

    /// What time makes true.
    pub(super) fn tick(&mut self, held: &mut Held<'_>) {
        if held.poisoned.is_some()
            || self
                .make_room(held, TICK_FACTS_MAX * FACT_BYTES_MAX)
                .is_err()
        {
            return;
        }
        let moment = self.moment();
        let mut facts = Vec::new();
        if self.machine.tick(moment, TICK_FACTS_MAX, &mut facts) {
            self.shared.inbox.nudge();
        }
        self.became_true(held, &facts, false);
    }

    /// Serves whoever waits for what became ready, and ends waits that are over.
    pub(super) fn serve(&mut self, held: &mut Held<'_>) {
        if let Some(poisoned) = &held.poisoned {
            return self.dismiss(poisoned);
        }
        let mut ready: Vec<String> = Vec::new();
        let waiting = !self.waiters.is_empty();
        self.machine.drain_ready(|queue| {
            if waiting {
                ready.push(queue.to_owned());
            }
        });
        if !ready.is_empty() {
            let mut waiters = std::mem::take(&mut self.waiters);
            for queue in &ready {
                waiters.offer(queue, |ask, reply| self.lease(held, ask, reply));
            }
            self.waiters = waiters;
        }
        let now = self.shared.clock.now().mono;
        self.shared.topics.end_waits(now);
        for reply in self.waiters.over(now) {
            let inbox = Arc::downgrade(&self.shared.inbox);
            let lease = effect::Lease {
                grants: Vec::new(),
                lease_ms: 0,
                pinned: Vec::new(),
                inbox,
            };
            self.let_out(held, Effect::Leased(reply, lease));
        }
        for (slot, id, reply) in self.watchers.over(now) {
            self.tell_watcher(held, slot, id, reply);
        }
        self.serve_groups(held);
    }
}

fn names(row: &RowView<'_>) -> Option<(QueueName, KindName)> {
    Some((row.queue.parse().ok()?, row.kind.parse().ok()?))
}
