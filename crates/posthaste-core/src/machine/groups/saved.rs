//! What outlives the process of a group.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::group::{GroupConfig, GroupTotals, KeptReason};
use crate::ids::Token;
use crate::machine::fact::Place;
use crate::time::WallMs;

/// Everything that outlives the process of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedGroup {
    /// The number of its topic.
    pub topic: u32,
    /// Its name.
    pub name: Arc<str>,
    /// Its settings.
    pub config: GroupConfig,
    /// When it was made.
    pub created_at: WallMs,
    /// Every event below is finished that is not in `unfinished`.
    pub head: u64,
    /// Events that were looked at and are not finished, by position. Those that were released or
    /// redriven may lie at the head or behind it.
    pub unfinished: BTreeMap<u64, Unfinished>,
    /// Who takes part.
    pub members: BTreeMap<Token, SavedMember>,
    /// Parked events, by position.
    pub parked: BTreeMap<u64, SavedKept>,
    /// Dead letters, by position.
    pub dead: BTreeMap<u64, SavedKept>,
    /// What happened.
    pub totals: GroupTotals,
}

/// Every group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavedGroups {
    /// By number.
    pub by_number: BTreeMap<u32, SavedGroup>,
    /// The number of the group that was made last: none is given twice.
    pub last_number: u32,
}

/// An event that is not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// The hash of its key.
    pub hash: u32,
    /// What is going on.
    pub state: EventState,
    /// Attempts that failed.
    pub attempts: u16,
    /// Members that were lost in a row while they had it.
    pub crashes: u8,
    /// Where its copy is, where it was released or redriven: its topic may have it no longer.
    pub place: Place,
}

/// What is going on with an event that is not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventState {
    /// It waits for its turn.
    Held,
    /// It is in the hands of that member.
    Leased(Token),
    /// It failed, and waits.
    Retrying {
        /// Until when.
        until: WallMs,
    },
    /// It is parked or dead, but still has to be copied.
    Ending {
        /// It goes to the dead letters.
        dead: bool,
        /// Why.
        why: KeptReason,
        /// Where the error is that it ended with.
        note: Place,
    },
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedMember {
    /// What it calls itself.
    pub name: Arc<str>,
    /// How long it may be silent, in milliseconds.
    pub lease_ms: u32,
    /// It lives in the process that holds the store.
    pub local: bool,
    /// How many events it has: those of `unfinished` that are leased to it.
    pub held: u32,
}

/// A parked event or a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedKept {
    /// The hash of its key.
    pub hash: u32,
    /// Where its copy is.
    pub place: Place,
    /// Where the error is that it ended with.
    pub note: Place,
    /// Attempts that failed.
    pub attempts: u16,
    /// Why it is kept.
    pub why: KeptReason,
    /// Since when.
    pub at: WallMs,
}

/// How an event was finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Finish {
    /// Its handler was done.
    Done = 0,
    /// It was passed over on purpose.
    Skipped = 1,
    /// It was gone before it could be handled.
    Lost = 2,
}

impl Finish {
    /// Every way, in the order of its number.
    pub const ALL: [Self; 3] = [Self::Done, Self::Skipped, Self::Lost];
}

impl Unfinished {
    pub(super) const fn is_waiting(&self) -> bool {
        matches!(self.state, EventState::Held | EventState::Retrying { .. })
    }

    pub(super) const fn holder(&self) -> Option<Token> {
        match self.state {
            EventState::Leased(token) => Some(token),
            _ => None,
        }
    }

    pub(super) const fn until(&self) -> Option<WallMs> {
        match self.state {
            EventState::Retrying { until } => Some(until),
            _ => None,
        }
    }

    pub(super) const fn is_being_parked(&self) -> bool {
        matches!(self.state, EventState::Ending { dead: false, .. })
    }
}

impl SavedGroup {
    /// The first event that is not finished. One that was parked or dead stays finished here also
    /// while it is handled again, so that a position moves back only by a reset; after that, until
    /// the head meets it again.
    #[must_use]
    pub fn position(&self) -> u64 {
        let mut all = self.unfinished.iter();
        let first = all.find(|(_, event)| !event.place.is_some());
        first.map_or(self.head, |(first, _)| self.head.min(*first))
    }

    /// Counts anew what each member has. For who puts a group together by hand.
    pub fn count_held(&mut self) {
        for member in self.members.values_mut() {
            member.held = 0;
        }
        for event in self.unfinished.values() {
            if let Some(member) = event.holder().and_then(|of| self.members.get_mut(&of)) {
                member.held += 1;
            }
        }
    }

    pub(super) fn kept_mut(&mut self, dead: bool) -> &mut BTreeMap<u64, SavedKept> {
        match dead {
            true => &mut self.dead,
            false => &mut self.parked,
        }
    }

    /// Sets or removes an unfinished event; what was there.
    pub(super) fn set_entry(
        &mut self,
        position: u64,
        is: Option<Unfinished>,
    ) -> Option<Unfinished> {
        let was = match is {
            Some(is) => self.unfinished.insert(position, is),
            None => self.unfinished.remove(&position),
        };
        let holder = |of: Option<Unfinished>| of.and_then(|of| of.holder());
        if let Some(member) = holder(was).and_then(|of| self.members.get_mut(&of)) {
            member.held = member.held.saturating_sub(1);
        }
        if let Some(member) = holder(is).and_then(|of| self.members.get_mut(&of)) {
            member.held += 1;
        }
        was
    }

    /// Sets or removes a parked event or a dead letter; what was there.
    pub(super) fn set_kept(
        &mut self,
        dead: bool,
        position: u64,
        is: Option<SavedKept>,
    ) -> Option<SavedKept> {
        let kept = self.kept_mut(dead);
        match is {
            Some(is) => kept.insert(position, is),
            None => kept.remove(&position),
        }
    }
}
