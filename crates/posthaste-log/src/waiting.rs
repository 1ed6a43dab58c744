//! Who waits: for work, and for the end of a job.
//!
//! A turn of the sequencer costs what is due in it and not what waits: ends are kept in order, and
//! waits for work by their queue and by the kinds they take. Whoever hangs up is noticed when its
//! turn comes, at its end, or when its place is needed. How many may wait is limited; who comes
//! too late is told to come again.

mod ends;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};

use posthaste_core::port::LeaseAsk;
use posthaste_core::{Error, ErrorKind, KindName, MonoMs, limits};

pub(crate) use ends::Watchers;

use crate::effect::{self, Delivery};
use crate::inbox::Reply;

/// Hung-up askers are looked for so rarely at most, in milliseconds.
const SWEEP_MS: u64 = 100;

/// One that waits for work.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) ask: LeaseAsk,
    pub(crate) reply: Reply<Delivery>,
    until: MonoMs,
    group: u64,
    bytes: usize,
}

/// Leases that wait for work, each under the number of its turn.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    waiting: BTreeMap<u64, Waiter>,
    ends: BTreeSet<(MonoMs, u64)>,
    /// The turns of each queue, by group: where the first of a group gets nothing, no other does.
    queues: HashMap<String, BTreeMap<u64, BTreeSet<u64>>>,
    /// Those who take the same kinds are one group: its number, and how many they are.
    groups: HashMap<Vec<KindName>, (u64, usize)>,
    next: u64,
    bytes: usize,
    sweep: Sweep,
}

/// When hung-up askers were looked for last.
#[derive(Debug, Default)]
struct Sweep(Option<MonoMs>);

impl Sweep {
    fn is_due(&mut self, now: MonoMs) -> bool {
        let due = self.0.is_none_or(|last| now.since(last) >= SWEEP_MS);
        if due {
            self.0 = Some(now);
        }
        due
    }
}

impl Waiters {
    /// Lets one wait, behind all others. Where too many do, it is told so.
    pub(crate) fn add(&mut self, ask: LeaseAsk, reply: Reply<Delivery>, now: MonoMs) {
        let bytes = bytes_of(&ask);
        if !self.has_room(bytes) && self.sweep.is_due(now) {
            self.forget_hung_up();
        }
        if !self.has_room(bytes) {
            return effect::tell(reply, Err(too_many("for work")));
        }
        let until = now.plus(u64::from(ask.wait_ms.min(limits::WAIT_MS_MAX)));
        self.next += 1;
        let number = self.next;
        let group = match self.groups.get_mut(&ask.kinds) {
            Some((group, members)) => {
                *members += 1;
                *group
            }
            None => {
                self.groups.insert(ask.kinds.clone(), (number, 1));
                number
            }
        };
        for (queue, _) in &ask.queues {
            let groups = self.queues.entry(queue.as_str().to_owned());
            let groups = groups.or_default();
            groups.entry(group).or_default().insert(number);
        }
        self.ends.insert((until, number));
        self.bytes += bytes;
        let waiter = Waiter {
            ask,
            reply,
            until,
            group,
            bytes,
        };
        self.waiting.insert(number, waiter);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Offers what this queue has to those who wait for it, each in its turn. `serve` hands back
    /// the reply of one for whom there is nothing: then there is nothing for its group.
    pub(crate) fn offer(
        &mut self,
        queue: &str,
        mut serve: impl FnMut(&LeaseAsk, Reply<Delivery>) -> Option<Reply<Delivery>>,
    ) {
        let groups = self.queues.get(queue).into_iter().flatten();
        let firsts = groups.filter_map(|(group, turns)| Some(Reverse((*turns.first()?, *group))));
        let mut firsts: BinaryHeap<Reverse<(u64, u64)>> = firsts.collect();
        while let Some(Reverse((number, group))) = firsts.pop() {
            let Some(mut waiter) = self.waiting.remove(&number) else {
                continue;
            };
            if let Some(reply) = serve(&waiter.ask, waiter.reply) {
                waiter.reply = reply;
                self.waiting.insert(number, waiter);
                continue;
            }
            self.forget(
                number,
                waiter.until,
                waiter.group,
                waiter.bytes,
                &waiter.ask,
            );
            let of_queue = self.queues.get(queue);
            let turns = of_queue.and_then(|groups| groups.get(&group));
            if let Some(next) = turns.and_then(BTreeSet::first) {
                firsts.push(Reverse((*next, group)));
            }
        }
    }

    /// Takes out those whose wait is over.
    pub(crate) fn over(&mut self, now: MonoMs) -> Vec<Reply<Delivery>> {
        let mut over = Vec::new();
        while let Some((until, number)) = self.ends.first().copied()
            && until <= now
        {
            match self.take(number) {
                Some(reply) => over.push(reply),
                None => drop(self.ends.pop_first()),
            }
        }
        over
    }

    pub(crate) fn next_end_ms(&self, now: MonoMs) -> Option<u64> {
        self.ends.first().map(|(until, _)| until.since(now))
    }

    pub(crate) fn all(&mut self) -> Vec<Reply<Delivery>> {
        let all = std::mem::take(self);
        all.waiting.into_values().map(|it| it.reply).collect()
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.waiting.len() < limits::WAITS_MAX
            && self.bytes + bytes <= limits::WAITING_LEASES_BYTES_MAX
    }

    fn forget_hung_up(&mut self) {
        let hung_up = self.waiting.iter().filter(|(_, it)| it.reply.is_closed());
        let hung_up: Vec<u64> = hung_up.map(|(number, _)| *number).collect();
        for number in hung_up {
            self.take(number);
        }
    }

    fn take(&mut self, number: u64) -> Option<Reply<Delivery>> {
        let waiter = self.waiting.remove(&number)?;
        self.forget(
            number,
            waiter.until,
            waiter.group,
            waiter.bytes,
            &waiter.ask,
        );
        Some(waiter.reply)
    }

    /// Takes one that is out of `waiting` already out of every list.
    fn forget(&mut self, number: u64, until: MonoMs, group: u64, bytes: usize, ask: &LeaseAsk) {
        self.ends.remove(&(until, number));
        self.bytes -= bytes;
        for (queue, _) in &ask.queues {
            let Some(groups) = self.queues.get_mut(queue.as_str()) else {
                continue;
            };
            if let Some(turns) = groups.get_mut(&group) {
                turns.remove(&number);
                if turns.is_empty() {
                    groups.remove(&group);
                }
            }
            if groups.is_empty() {
                self.queues.remove(queue.as_str());
            }
        }
        if let Some((_, members)) = self.groups.get_mut(&ask.kinds) {
            *members -= 1;
            if *members == 0 {
                self.groups.remove(&ask.kinds);
            }
        }
    }
}

/// What an ask takes of memory, about.
fn bytes_of(ask: &LeaseAsk) -> usize {
    let queues = ask.queues.iter().map(|(queue, _)| queue.as_str().len());
    let kinds = ask.kinds.iter().map(|kind| kind.as_str().len());
    queues.chain(kinds).map(|len| len + 128).sum::<usize>() + 512
}

fn too_many(what: &str) -> Error {
    Error::new(
        ErrorKind::Busy,
        format!("as many wait {what} as may at once"),
    )
    .next("ask without a wait, or try again later")
    .retry_after_ms(1_000)
}

#[cfg(test)]
mod tests;
