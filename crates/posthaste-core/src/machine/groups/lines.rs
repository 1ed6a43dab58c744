//! The index of one group: whose turn it is, key by key, and what comes up.
//!
//! Of each key at most one event is *ready*: the first that waits, where nobody has the key, or
//! where it follows the run of the member that has it. A claim takes ready events from the front and
//! never looks at those that wait behind their keys.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::ids::Token;
use crate::limits;
use crate::machine::groups::saved::{EventState, SavedGroup, Unfinished};
use crate::time::{MonoMs, WallMs};

/// What comes up in a topic, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ahead {
    Event {
        position: u64,
        hash: u32,
    },
    /// There is nothing below `to`; retention took `lost` events of it.
    Gap {
        to: u64,
        lost: u64,
    },
}

impl Ahead {
    /// Whether a head that is there has passed it.
    pub(super) const fn is_below(self, head: u64) -> bool {
        match self {
            Self::Event { position, .. } => position < head,
            Self::Gap { to, .. } => to <= head,
        }
    }
}

/// Who has a key, and what is its turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) owner: Token,
    /// How many of its events the owner has.
    pub(super) leased: u32,
    /// What of it is in `Lines::ready`.
    pub(super) ready: Option<(Token, u64)>,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::machine) struct Lines {
    pub(super) ahead: VecDeque<Ahead>,
    /// Everything below was put into `ahead`, or passed.
    pub(super) loaded: u64,
    /// Somebody was told to read on from there.
    pub(super) asked: bool,
    /// Held and retrying events, by key.
    pub(super) waiting: BTreeSet<(u32, u64)>,
    /// Leased events, by key.
    pub(super) leased: BTreeSet<(u32, u64)>,
    pub(super) keys: BTreeMap<u32, Key>,
    /// Ready events: for everybody (token 0), or for who has their key.
    pub(super) ready: BTreeSet<(Token, u64)>,
    /// Retrying events that are not due.
    pub(super) retries: BTreeSet<(WallMs, u64)>,
    /// Parked events, and those on the way there, by key.
    pub(super) parked: BTreeSet<(u32, u64)>,
    /// Events that are on the way to be parked, and nobody was told to copy.
    pub(super) to_park: BTreeSet<u64>,
    /// The same, to the dead letters.
    pub(super) to_bury: BTreeSet<u64>,
    /// Dead letters, by how long they have been there.
    pub(super) dead: BTreeSet<(WallMs, u64)>,
    /// When memberships end. Outside the replayed state.
    pub(super) ends: BTreeMap<Token, MonoMs>,
}

pub(super) const ANYBODY: Token = Token(0);

fn first_of(set: &BTreeSet<(u32, u64)>, hash: u32) -> Option<u64> {
    let mut all = set.range((hash, 0)..=(hash, u64::MAX));
    all.next().map(|(_, position)| *position)
}

fn last_of(set: &BTreeSet<(u32, u64)>, hash: u32) -> Option<u64> {
    let mut all = set.range((hash, 0)..=(hash, u64::MAX));
    all.next_back().map(|(_, position)| *position)
}

impl Lines {
    pub(super) fn first_waiting(&self, hash: u32) -> Option<u64> {
        first_of(&self.waiting, hash)
    }

    pub(super) fn first_leased(&self, hash: u32) -> Option<u64> {
        first_of(&self.leased, hash)
    }

    pub(super) fn first_parked(&self, hash: u32) -> Option<u64> {
        first_of(&self.parked, hash)
    }

    /// Whether an earlier event of the key is parked. A later one may be, after a reset.
    pub(super) fn is_behind_parked(&self, hash: u32, position: u64) -> bool {
        self.first_parked(hash)
            .is_some_and(|first| first < position)
    }

    /// The first event of the key that waits behind a parked one.
    pub(super) fn first_behind(&self, hash: u32) -> Option<u64> {
        let parked = self.first_parked(hash)?;
        let mut behind = self.waiting.range((hash, parked)..=(hash, u64::MAX));
        behind.next().map(|(_, position)| *position)
    }

    /// Events of the key that are leased and come after that one.
    pub(super) fn leased_after(&self, hash: u32, position: u64) -> impl Iterator<Item = u64> {
        let after = (hash, position.saturating_add(1))..=(hash, u64::MAX);
        self.leased.range(after).map(|(_, position)| *position)
    }

    /// Who may have the event of that key which waits, or comes up, at that position: everybody,
    /// or the one who has the key. `None` is nobody.
    fn turn(&self, hash: u32, position: u64) -> Option<Token> {
        if self.is_behind_parked(hash, position) {
            return None;
        }
        let key = self.keys.get(&hash).filter(|key| key.leased > 0);
        let Some(key) = key else {
            return Some(ANYBODY);
        };
        let follows = last_of(&self.leased, hash).is_some_and(|last| last < position);
        (follows && key.leased < limits::KEY_RUN_MAX).then_some(key.owner)
    }

    /// The same for an event that comes up: nothing of its key may wait.
    pub(super) fn turn_ahead(&self, hash: u32, position: u64) -> Option<Token> {
        match self.first_waiting(hash) {
            Some(_) => None,
            None => self.turn(hash, position),
        }
    }

    /// Puts in an event that is not finished.
    pub(super) fn link(&mut self, position: u64, event: &Unfinished) {
        let spot = (event.hash, position);
        match event.state {
            EventState::Held => drop(self.waiting.insert(spot)),
            EventState::Retrying { until } => {
                self.waiting.insert(spot);
                self.retries.insert((until, position));
            }
            EventState::Leased(token) => {
                self.leased.insert(spot);
                let key = self.keys.entry(event.hash).or_default();
                (key.owner, key.leased) = (token, key.leased + 1);
            }
            EventState::Ending { dead: true, .. } => drop(self.to_bury.insert(position)),
            EventState::Ending { dead: false, .. } => {
                self.parked.insert(spot);
                self.to_park.insert(position);
            }
        }
    }

    /// Takes out an event that was not finished.
    pub(super) fn unlink(&mut self, position: u64, event: &Unfinished) {
        let spot = (event.hash, position);
        match event.state {
            EventState::Held => drop(self.waiting.remove(&spot)),
            EventState::Retrying { until } => {
                self.waiting.remove(&spot);
                self.retries.remove(&(until, position));
            }
            EventState::Leased(_) => {
                self.leased.remove(&spot);
                if let Some(key) = self.keys.get_mut(&event.hash) {
                    key.leased = key.leased.saturating_sub(1);
                }
            }
            EventState::Ending { dead: true, .. } => drop(self.to_bury.remove(&position)),
            EventState::Ending { dead: false, .. } => {
                self.parked.remove(&spot);
                self.to_park.remove(&position);
            }
        }
    }

    /// Whether an event that waits could be handed out at all.
    fn is_due(&self, position: u64, event: &Unfinished) -> bool {
        match event.state {
            EventState::Held => event.crashes < limits::CRASHES_MAX,
            EventState::Retrying { until } => !self.retries.contains(&(until, position)),
            _ => false,
        }
    }

    /// Finds anew which event of the key is ready. True where one is that was not.
    pub(super) fn refresh(&mut self, hash: u32, of: &SavedGroup) -> bool {
        // What came back from where it was kept, and lies ahead after a reset, waits until the head
        // has passed it: those of its key that are met again come before it.
        let first = self.first_waiting(hash).filter(|at| *at < of.head);
        let ready = first.and_then(|position| {
            let event = of.unfinished.get(&position)?;
            let due = self.is_due(position, event);
            Some((self.turn(hash, position).filter(|_| due)?, position))
        });
        let known = self.keys.get(&hash).copied();
        let was = known.and_then(|key| key.ready);
        if let Some(was) = was.filter(|_| was != ready) {
            self.ready.remove(&was);
        }
        let leased = known.map_or(0, |key| key.leased);
        if leased == 0 && ready.is_none() {
            if known.is_some() {
                self.keys.remove(&hash);
            }
            return false;
        }
        self.keys.entry(hash).or_default().ready = ready;
        ready.is_some_and(|ready| was != Some(ready) && self.ready.insert(ready))
    }

    /// The event that is ready for that member and comes first.
    pub(super) fn next_ready(&self, token: Token) -> Option<u64> {
        let first = |token| {
            let mut all = self.ready.range((token, 0)..=(token, u64::MAX));
            all.next().map(|(_, position)| *position)
        };
        first(ANYBODY).into_iter().chain(first(token)).min()
    }
}
