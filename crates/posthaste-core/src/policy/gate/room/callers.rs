//! Who waits, by caller: how many, and in each tier a ring in which the callers take turns. Only
//! callers with somebody waiting are known.

use super::super::TIERS;
use super::super::list::{By, Linked, List, NONE};
use crate::policy::criticality::Criticality;

/// One caller's queue in one tier, and its neighbours in the tier's ring.
#[derive(Clone, Copy, Debug)]
struct Lane {
    list: List,
    before: u32,
    after: u32,
}

impl Lane {
    const EMPTY: Self = Self {
        list: List::EMPTY,
        before: NONE,
        after: NONE,
    };
}

#[derive(Clone, Copy, Debug)]
struct Caller {
    id: u64,
    waiting: u32,
    /// The next of those with the same hash, or that are free.
    chain: u32,
    lanes: [Lane; TIERS],
}

#[derive(Clone, Debug)]
pub(super) struct Callers {
    known: Vec<Caller>,
    free: u32,
    /// By hash: a power of two.
    chains: Vec<u32>,
    /// Whose turn it is in each tier.
    turns: [u32; TIERS],
    /// The one that took more than its share while it was alone. Nobody else can have.
    greedy: u32,
}

impl Callers {
    pub(super) fn new() -> Self {
        Self {
            known: Vec::new(),
            free: NONE,
            chains: vec![NONE],
            turns: [NONE; TIERS],
            greedy: NONE,
        }
    }

    pub(super) fn resize(&mut self, size: usize) {
        self.known.reserve(size.saturating_sub(self.known.len()));
        let chains = size.next_power_of_two();
        if chains == self.chains.len() {
            return;
        }
        self.chains = vec![NONE; chains];
        for at in 0..self.known.len() {
            if self.known[at].waiting > 0 {
                let chain = self.chain_of(self.known[at].id);
                let number = u32::try_from(at).unwrap_or(NONE);
                self.known[at].chain = std::mem::replace(&mut self.chains[chain], number);
            }
        }
    }

    /// Fibonacci hashing (Knuth, "The Art of Computer Programming", volume 3, 6.4).
    fn chain_of(&self, id: u64) -> usize {
        let hash = (id ^ (id >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        usize::try_from(hash).unwrap_or(0) & (self.chains.len() - 1)
    }

    fn find(&self, id: u64) -> Option<u32> {
        let mut at = self.chains[self.chain_of(id)];
        while at != NONE {
            let caller = &self.known[at as usize];
            if caller.id == id {
                return Some(at);
            }
            at = caller.chain;
        }
        None
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.known.len()
    }

    pub(super) fn waiting_of(&self, id: u64) -> u32 {
        self.find(id)
            .map_or(0, |at| self.known[at as usize].waiting)
    }

    /// Of the one who has more than `share`: its newest that does not stand above `tier`, and how
    /// many it has.
    pub(super) fn greedy(&self, tier: Criticality, share: u32) -> Option<(u32, u32)> {
        let greedy = self.known.get(self.greedy as usize)?;
        if greedy.waiting <= share {
            return None;
        }
        let mut lowest_first = greedy.lanes[tier.index()..].iter().rev();
        let lane = lowest_first.find(|lane| !lane.list.is_empty())?;
        Some((lane.list.last, greedy.waiting))
    }

    pub(super) fn find_or_add(&mut self, id: u64) -> u32 {
        if let Some(at) = self.find(id) {
            return at;
        }
        let chain = self.chain_of(id);
        let caller = Caller {
            id,
            waiting: 0,
            chain: self.chains[chain],
            lanes: [Lane::EMPTY; TIERS],
        };
        let at = if self.free == NONE {
            self.known.push(caller);
            u32::try_from(self.known.len() - 1).unwrap_or(NONE)
        } else {
            let at = self.free;
            self.free = self.known[at as usize].chain;
            self.known[at as usize] = caller;
            at
        };
        self.chains[chain] = at;
        at
    }

    fn forget(&mut self, at: u32) {
        let Caller { id, chain, .. } = self.known[at as usize];
        let first = self.chain_of(id);
        if self.chains[first] == at {
            self.chains[first] = chain;
        } else {
            let mut before = self.chains[first];
            while self.known[before as usize].chain != at {
                before = self.known[before as usize].chain;
            }
            self.known[before as usize].chain = chain;
        }
        self.known[at as usize].chain = self.free;
        self.free = at;
        if self.greedy == at {
            self.greedy = NONE;
        }
    }

    pub(super) fn push<T: Linked>(
        &mut self,
        slots: &mut [T],
        at: u32,
        tier: Criticality,
        slot: u32,
        share: u32,
    ) {
        let caller = &mut self.known[at as usize];
        caller.waiting += 1;
        if caller.waiting > share {
            self.greedy = at;
        }
        let list = &mut caller.lanes[tier.index()].list;
        let joins = list.is_empty();
        list.push(slots, By::Caller, slot);
        if joins {
            self.join(at, tier.index());
        }
    }

    /// One who waited no longer does. A caller with nobody waiting is forgotten.
    pub(super) fn remove<T: Linked>(
        &mut self,
        slots: &mut [T],
        at: u32,
        tier: Criticality,
        slot: u32,
    ) {
        let caller = &mut self.known[at as usize];
        caller.waiting -= 1;
        let forgotten = caller.waiting == 0;
        let list = &mut caller.lanes[tier.index()].list;
        list.remove(slots, By::Caller, slot);
        if list.is_empty() {
            self.part(at, tier.index());
        }
        if forgotten {
            self.forget(at);
        }
    }

    /// Whose turn it is: a caller's oldest, or its newest where its oldest `stands`; then it is the
    /// next caller's.
    pub(super) fn turn(
        &mut self,
        tier: Criticality,
        stands: impl FnOnce(u32) -> bool,
    ) -> Option<u32> {
        let turn = self.turns[tier.index()];
        let lane = self.known.get(turn as usize)?.lanes[tier.index()];
        self.turns[tier.index()] = lane.after;
        Some(if stands(lane.list.first) {
            lane.list.last
        } else {
            lane.list.first
        })
    }

    fn lane(&mut self, at: u32, tier: usize) -> &mut Lane {
        &mut self.known[at as usize].lanes[tier]
    }

    /// Into the ring, so that its turn comes last.
    fn join(&mut self, at: u32, tier: usize) {
        let turn = self.turns[tier];
        if turn == NONE {
            self.turns[tier] = at;
            let lane = self.lane(at, tier);
            (lane.before, lane.after) = (at, at);
            return;
        }
        let last = std::mem::replace(&mut self.lane(turn, tier).before, at);
        self.lane(last, tier).after = at;
        let lane = self.lane(at, tier);
        (lane.before, lane.after) = (last, turn);
    }

    fn part(&mut self, at: u32, tier: usize) {
        let Lane { before, after, .. } = *self.lane(at, tier);
        if after == at {
            self.turns[tier] = NONE;
        } else {
            self.lane(before, tier).after = after;
            self.lane(after, tier).before = before;
            if self.turns[tier] == at {
                self.turns[tier] = after;
            }
        }
        *self.lane(at, tier) = Lane::EMPTY;
    }
}
