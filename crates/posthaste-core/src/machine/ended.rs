//! Jobs that have ended, the one that ended first in front.
//!
//! A list, as they nearly always end in the order of the clock. Those that ended after the clock
//! was set back wait in a set beside it, so that they are forgotten in their time all the same.

use std::collections::BTreeSet;

use crate::machine::rows::{List, Mark, NONE, Rows};
use crate::time::WallMs;

/// See the module.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) list: List,
    /// Ended earlier than the last of the list did, by the clock.
    pub(super) early: BTreeSet<(WallMs, u32)>,
}

impl Ended {
    pub(super) fn new() -> Self {
        Self {
            list: List::EMPTY,
            early: BTreeSet::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.list.len as usize + self.early.len()
    }

    /// Puts a row in: where it was, in `spot`, or at the end.
    pub(super) fn insert(&mut self, rows: &mut Rows, slot: u32, spot: Option<(u32, u32)>) {
        let (row, tail) = (rows.get(slot), self.list.tail);
        let at = row.at();
        let early = match spot {
            Some(_) => row.has(Mark::Returned),
            None => tail != NONE && rows.get(tail).at() > at,
        };
        if early {
            rows.get_mut(slot).set(Mark::Returned, true);
            self.early.insert((at, slot));
        } else {
            let (prev, next) = spot.unwrap_or((tail, NONE));
            self.list.insert(rows, slot, prev, next);
        }
    }

    pub(super) fn remove(&mut self, rows: &mut Rows, slot: u32) {
        let row = rows.get(slot);
        if row.has(Mark::Returned) {
            self.early.remove(&(row.at(), slot));
        } else {
            self.list.remove(rows, slot);
        }
    }

    /// The job that ended first; `NONE` where there is none.
    pub(super) fn first(&self, rows: &Rows) -> u32 {
        let head = self.list.head;
        match self.early.first() {
            Some((at, slot)) if head == NONE || *at < rows.get(head).at() => *slot,
            _ => head,
        }
    }

    /// The newest, from where [`Ended::before`] goes on; `NONE` where there is none.
    pub(super) fn newest(&self) -> u32 {
        match self.list.tail {
            NONE => self.early.last().map_or(NONE, |(_, slot)| *slot),
            tail => tail,
        }
    }

    /// The next older one: the list first, then those beside it.
    pub(super) fn before(&self, rows: &Rows, slot: u32) -> u32 {
        let row = rows.get(slot);
        let older = if row.has(Mark::Returned) {
            self.early.range(..(row.at(), slot)).next_back()
        } else if row.prev == NONE {
            self.early.last()
        } else {
            return row.prev;
        };
        older.map_or(NONE, |(_, slot)| *slot)
    }
}
