//! Making facts about groups so: the index and the places in use follow each change, and what it
//! replaced is written down.

use crate::machine::fact::{Fact, Place};
use crate::machine::groups::apply::Change;
use crate::machine::groups::saved::{EventState, SavedGroup, SavedGroups, SavedKept, Unfinished};
use crate::machine::groups::undo::GroupUndo;
use crate::machine::state::Machine;
use crate::machine::undo::Undo;
use crate::time::MonoMs;

impl Machine {
    /// Makes a fact about groups so. Memberships run from `mono`.
    pub(in crate::machine) fn evolve_groups(&mut self, fact: &Fact<'_>, mono: MonoMs) {
        let mut changes = std::mem::take(&mut self.groups.changes);
        let saved = &mut self.groups.saved;
        saved.apply_with(fact, |group, change| changes.push((group, change)));
        if let Fact::MemberJoined { token, .. } = fact {
            self.last_token = self.last_token.max(token.0);
        }
        let mut last = None;
        for (group, change) in changes.drain(..) {
            self.follow(group, change, mono);
            last = Some(group);
        }
        if let Some(group) = last {
            self.groups.settle_down(group);
        }
        self.groups.changes = changes;
    }

    fn follow(&mut self, group: u32, change: Change, mono: MonoMs) {
        let step = match change {
            Change::Made => {
                self.groups.put_up(group, mono);
                GroupUndo::Made
            }
            Change::Gone(was) => {
                let lines = self.groups.take_down(group, &was);
                self.account_group(&was, false);
                GroupUndo::Gone(Box::new((*was, lines)))
            }
            Change::Config(was) => {
                self.groups.mark(group);
                GroupUndo::Config(was)
            }
            Change::Head(was) => {
                self.groups.follow_head(group, was);
                GroupUndo::Head(was)
            }
            Change::Entry { position, was, is } => {
                let due = self.groups.is_retry_due(group, position, was);
                self.groups.follow_entry(group, position, was, is);
                self.account_entry(was, is);
                GroupUndo::Entry { position, was, due }
            }
            Change::Kept {
                dead,
                position,
                was,
                is,
            } => {
                self.groups.follow_kept(group, dead, position, was, is);
                self.account_kept(was, is);
                GroupUndo::Kept {
                    dead,
                    position,
                    was,
                }
            }
            Change::Member { token, was } => {
                let is = self.groups.member(group, token);
                let is = is.map(|is| (mono.plus(u64::from(is.lease_ms)), is.local));
                let end = self.groups.follow_member(group, token, is);
                GroupUndo::Member { token, was, end }
            }
            Change::Totals(was) => GroupUndo::Totals(was),
        };
        self.record(Undo::Group { group, step });
    }

    fn account_entry(&mut self, was: Option<Unfinished>, is: Option<Unfinished>) {
        let place = |of: Option<Unfinished>| of.map_or(Place::NONE, |of| of.place);
        self.account_place(place(was), place(is));
        self.account_place(note_of(was), note_of(is));
    }

    fn account_kept(&mut self, was: Option<SavedKept>, is: Option<SavedKept>) {
        let place = |of: Option<SavedKept>| of.map_or(Place::NONE, |of| of.place);
        let note = |of: Option<SavedKept>| of.map_or(Place::NONE, |of| of.note);
        self.account_place(place(was), place(is));
        self.account_place(note(was), note(is));
    }

    /// Every place that a group keeps comes into use, or falls out of it.
    pub(super) fn account_group(&mut self, of: &SavedGroup, used: bool) {
        let events = of.unfinished.values();
        let events = events.flat_map(|event| [event.place, note_of(Some(*event))]);
        let kept = of.parked.values().chain(of.dead.values());
        let kept = kept.flat_map(|kept| [kept.place, kept.note]);
        let all = events.chain(kept).filter(|place| place.is_some());
        self.places.extend(all.map(|place| (place, used)));
    }

    /// Takes over every group of a snapshot. Memberships start afresh from `mono`.
    pub(in crate::machine) fn load_groups(&mut self, saved: &SavedGroups, mono: MonoMs) {
        self.groups.saved = saved.clone();
        for (group, is) in &saved.by_number {
            self.groups.put_up(*group, mono);
            self.account_group(is, true);
        }
    }
}

fn note_of(of: Option<Unfinished>) -> Place {
    match of.map(|of| of.state) {
        Some(EventState::Ending { note, .. }) => note,
        _ => Place::NONE,
    }
}
