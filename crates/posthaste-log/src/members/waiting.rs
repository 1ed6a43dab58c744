//! Members who wait for events, and whoever waits for a group to have passed a position.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use posthaste_core::group::{EventAsk, GroupView};
use posthaste_core::machine::SavedGroups;
use posthaste_core::{Error, ErrorKind, MonoMs, limits};

use super::Delivered;
use crate::effect;
use crate::inbox::Reply;

/// How long an ask that would not wait waits for events to be read, in milliseconds.
const FED_WITHIN_MS: u32 = 1_000;
/// What became of an offer to one who waits.
pub(crate) type Offered = ControlFlow<Reply<Delivered>, Option<Reply<Delivered>>>;

/// Members who wait for events, each group's in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Members {
    waiting: BTreeMap<(u32, u64), (EventAsk, Reply<Delivered>, MonoMs)>,
    ends: BTreeSet<(MonoMs, u32, u64)>,
    next: u64,
    /// How many groups there were when it was last looked for those that are gone, and the number of
    /// the newest: none goes or comes without changing either.
    groups: (usize, u32),
}

impl Members {
    /// Those whose group is gone.
    pub(crate) fn gone(&mut self, groups: &SavedGroups) -> Vec<(EventAsk, Reply<Delivered>)> {
        let now = (groups.by_number.len(), groups.last_number);
        if std::mem::replace(&mut self.groups, now) == now {
            return Vec::new();
        }
        let is_gone = |group: &u32| !groups.by_number.contains_key(group);
        let gone = self.waiting.keys().filter(|(group, _)| is_gone(group));
        let gone: Vec<(u32, u64)> = gone.copied().collect();
        let gone = gone.into_iter().filter_map(|turn| {
            let (ask, reply, until) = self.waiting.remove(&turn)?;
            self.ends.remove(&(until, turn.0, turn.1));
            Some((ask, reply))
        });
        gone.collect()
    }

    /// Lets one wait. Where too many do, it is told so.
    pub(crate) fn add(&mut self, group: u32, ask: EventAsk, reply: Reply<Delivered>, now: MonoMs) {
        if self.waiting.len() >= limits::WAITS_MAX {
            return effect::tell(reply, Err(too_many("for events")));
        }
        let wait_ms = match ask.wait_ms {
            0 => FED_WITHIN_MS,
            ms => ms.min(limits::WAIT_MS_MAX),
        };
        let until = now.plus(u64::from(wait_ms));
        self.next += 1;
        self.waiting.insert((group, self.next), (ask, reply, until));
        self.ends.insert((until, group, self.next));
    }

    /// Offers what a group has to those who wait for it, in turn. `serve` hands the reply back of
    /// one for whom there is nothing, which goes on waiting: another may take other keys. It breaks
    /// with the reply where there is nothing for anybody: the others are not asked, however many.
    pub(crate) fn offer(
        &mut self,
        group: u32,
        mut serve: impl FnMut(&mut EventAsk, Reply<Delivered>) -> Offered,
    ) {
        let turns: Vec<u64> = self.turns(group).collect();
        for turn in turns {
            let Some((mut ask, reply, until)) = self.waiting.remove(&(group, turn)) else {
                continue;
            };
            match serve(&mut ask, reply) {
                ControlFlow::Continue(Some(reply)) => {
                    self.waiting.insert((group, turn), (ask, reply, until));
                }
                ControlFlow::Continue(None) => {
                    self.ends.remove(&(until, group, turn));
                }
                ControlFlow::Break(reply) => {
                    self.waiting.insert((group, turn), (ask, reply, until));
                    return;
                }
            }
        }
    }

    fn turns(&self, group: u32) -> impl Iterator<Item = u64> + '_ {
        let of = self.waiting.range((group, 0)..=(group, u64::MAX));
        of.map(|((_, turn), _)| *turn)
    }

    /// Those whose wait is over.
    pub(crate) fn over(&mut self, now: MonoMs) -> Vec<(EventAsk, Reply<Delivered>)> {
        let mut over = Vec::new();
        while let Some((until, group, turn)) = self.ends.first().copied()
            && until <= now
        {
            self.ends.pop_first();
            let waited = self.waiting.remove(&(group, turn));
            over.extend(waited.map(|(ask, reply, _)| (ask, reply)));
        }
        over
    }

    /// Milliseconds until the next wait is over.
    pub(crate) fn next_end_ms(&self, now: MonoMs) -> Option<u64> {
        self.ends.first().map(|(until, ..)| until.since(now))
    }

    /// All of them.
    pub(crate) fn all(&mut self) -> Vec<Reply<Delivered>> {
        self.ends.clear();
        let all = std::mem::take(&mut self.waiting);
        all.into_values().map(|(_, reply, _)| reply).collect()
    }
}

/// Whoever waits for a group to have passed a position.
#[derive(Debug, Default)]
pub(crate) struct Passers {
    waiting: BTreeMap<(u32, u64, u64), (MonoMs, Reply<GroupView>)>,
    ends: BTreeSet<(MonoMs, u32, u64, u64)>,
    next: u64,
}

impl Passers {
    /// Lets one wait until `group` has passed that position.
    pub(crate) fn add(
        &mut self,
        group: u32,
        position: u64,
        until: MonoMs,
        reply: Reply<GroupView>,
    ) {
        if self.waiting.len() >= limits::WAITS_MAX {
            return effect::tell(reply, Err(too_many("for groups")));
        }
        self.next += 1;
        let key = (group, position, self.next);
        self.waiting.insert(key, (until, reply));
        self.ends.insert((until, group, position, self.next));
    }

    /// Those whose wait is over, or whose group has passed what they wait for. `position` is that
    /// of a group, `None` where it is gone.
    pub(crate) fn served(
        &mut self,
        now: MonoMs,
        position: impl Fn(u32) -> Option<u64>,
    ) -> Vec<(u32, Reply<GroupView>)> {
        let mut served = Vec::new();
        while let Some((until, group, at, turn)) = self.ends.first().copied()
            && until <= now
        {
            self.take((group, at, turn), &mut served);
        }
        let mut group = self.waiting.keys().next().map(|(group, ..)| *group);
        while let Some(of) = group {
            let passed = position(of).unwrap_or(u64::MAX);
            while let Some((key, _)) = self.waiting.range((of, 0, 0)..(of, passed, 0)).next() {
                let key = *key;
                self.take(key, &mut served);
            }
            let mut behind = self.waiting.range((of, u64::MAX, u64::MAX)..);
            group = behind.next().map(|((group, ..), _)| *group);
        }
        served
    }

    fn take(&mut self, key: (u32, u64, u64), into: &mut Vec<(u32, Reply<GroupView>)>) {
        if let Some((until, reply)) = self.waiting.remove(&key) {
            self.ends.remove(&(until, key.0, key.1, key.2));
            into.push((key.0, reply));
        }
    }

    /// Milliseconds until the next wait is over.
    pub(crate) fn next_end_ms(&self, now: MonoMs) -> Option<u64> {
        self.ends.first().map(|(until, ..)| until.since(now))
    }

    /// All of them.
    pub(crate) fn all(&mut self) -> Vec<Reply<GroupView>> {
        self.ends.clear();
        let all = std::mem::take(&mut self.waiting);
        all.into_values().map(|(_, reply)| reply).collect()
    }
}

fn too_many(what: &str) -> Error {
    Error::new(
        ErrorKind::Busy,
        format!("{} wait {what} already", limits::WAITS_MAX),
    )
    .next("try again later, or ask without waiting")
    .retry_after_ms(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each event that is published would cost as much as there are members with nothing to do.
    #[test]
    fn those_who_wait_are_not_asked_once_nothing_is_left() {
        let mut members = Members::default();
        let ask = EventAsk {
            topic: "orders".parse().expect("a name"),
            group: "billing".parse().expect("a name"),
            member: "m".parse().expect("a name"),
            token: None,
            max: 1,
            lease_ms: 10_000,
            wait_ms: 1_000,
            local: false,
        };
        let mut told = Vec::new();
        for _ in 0..5 {
            let (reply, answer) = oneshot::channel();
            members.add(7, ask.clone(), reply, MonoMs(0));
            told.push(answer);
        }
        let mut asked = 0;
        members.offer(7, |_, reply| {
            asked += 1;
            match asked {
                1 => ControlFlow::Continue(None),
                2 => ControlFlow::Continue(Some(reply)),
                _ => ControlFlow::Break(reply),
            }
        });
        assert_eq!(asked, 3);
        // But for the one that was served, all of them wait on.
        assert_eq!(members.over(MonoMs(999)).len(), 0);
        assert_eq!(members.over(MonoMs(1_000)).len(), 4);
    }
}
