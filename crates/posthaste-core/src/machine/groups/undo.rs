//! Taking back what a refused commit did to groups.

use crate::group::{GroupConfig, GroupTotals};
use crate::ids::Token;
use crate::machine::groups::lines::Lines;
use crate::machine::groups::saved::{SavedGroup, SavedKept, SavedMember, Unfinished};
use crate::machine::state::Machine;
use crate::time::MonoMs;

/// How one change of a group is taken back.
#[derive(Debug)]
pub(in crate::machine) enum GroupUndo {
    Made,
    Gone(Box<(SavedGroup, Lines)>),
    Config(GroupConfig),
    Head(u64),
    Entry {
        position: u64,
        was: Option<Unfinished>,
        /// It was a retry whose time had come.
        due: bool,
    },
    Kept {
        dead: bool,
        position: u64,
        was: Option<SavedKept>,
    },
    Member {
        token: Token,
        was: Option<SavedMember>,
        end: Option<MonoMs>,
    },
    Beat {
        token: Token,
        end: MonoMs,
    },
    Totals(GroupTotals),
}

impl Machine {
    pub(in crate::machine) fn undo_group(&mut self, group: u32, step: GroupUndo) {
        let groups = &mut self.groups;
        if let GroupUndo::Gone(was) = step {
            let (was, lines) = *was;
            groups.put_back(group, was, lines);
            return;
        }
        let Some(is) = groups.saved.by_number.get_mut(&group) else {
            return;
        };
        match step {
            GroupUndo::Made => {
                if let Some(was) = groups.saved.by_number.remove(&group) {
                    groups.take_down(group, &was);
                }
            }
            GroupUndo::Gone(_) => {}
            GroupUndo::Config(was) => is.config = was,
            GroupUndo::Head(was) => {
                let undone = std::mem::replace(&mut is.head, was);
                groups.follow_head(group, undone);
                groups.settle_down(group);
            }
            GroupUndo::Entry { position, was, due } => {
                let undone = is.set_entry(position, was);
                groups.follow_entry(group, position, undone, was);
                groups.settle_down(group);
                if let Some(until) = was.and_then(|was| was.until()).filter(|_| due) {
                    groups.fall_due(until, group, position);
                }
            }
            GroupUndo::Kept {
                dead,
                position,
                was,
            } => {
                let undone = is.set_kept(dead, position, was);
                groups.follow_kept(group, dead, position, undone, was);
                groups.settle_down(group);
            }
            GroupUndo::Member { token, was, end } => {
                let local = was.as_ref().is_some_and(|was| was.local);
                match was {
                    Some(was) => is.members.insert(token, was),
                    None => is.members.remove(&token),
                };
                groups.follow_member(group, token, end.map(|end| (end, local)));
            }
            GroupUndo::Beat { token, end } => groups.extend(group, token, end),
            GroupUndo::Totals(was) => is.totals = was,
        }
    }
}
