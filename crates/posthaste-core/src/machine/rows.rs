//! The rows of the index: 72 bytes a job, in chunks that never move.

use crate::ids::JobId;
use crate::job::{DeadReason, JobState};
use crate::machine::fact::Place;
use crate::machine::life::Life;
use crate::time::WallMs;

/// No row, no lane, no entry.
pub(super) const NONE: u32 = u32::MAX;

const CHUNK: usize = 4096;
const FREE: u8 = 7;
const NO_REASON: u8 = 7;

/// What is kept in memory of one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: JobId,
    at: u64,
    order: u64,
    place: u64,
    note: u64,
    /// Neighbours in the one list that it is in.
    pub(super) prev: u32,
    pub(super) next: u32,
    pub(super) lane: u32,
    pub(super) profile: u32,
    /// Its hold on a unique key.
    pub(super) extra: u32,
    attempt: u16,
    /// State, crashes and whether it is being called off.
    stage: u8,
    /// Reason, and which side tables know of it.
    marks: u8,
}

/// A side table that knows of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Deadline = 0b0000_1000,
    Lease = 0b0001_0000,
    Unreadable = 0b0010_0000,
    /// It is beside its list: among the returned of its lane, or ended early by the clock.
    Returned = 0b0100_0000,
}

impl Row {
    pub(super) const EMPTY: Self = Self {
        id: JobId::from_bytes([0; 16]),
        at: 0,
        order: 0,
        place: 0,
        note: 0,
        prev: NONE,
        next: NONE,
        lane: NONE,
        profile: NONE,
        extra: NONE,
        attempt: 0,
        stage: FREE,
        marks: NO_REASON,
    };

    pub(super) fn is_free(&self) -> bool {
        self.stage & 7 == FREE
    }

    /// The state; `None` where the row is free.
    pub(super) fn state(&self) -> Option<JobState> {
        JobState::ALL.get(usize::from(self.stage & 7)).copied()
    }

    pub(super) fn is(&self, state: JobState) -> bool {
        self.stage & 7 == state as u8
    }

    pub(super) fn at(&self) -> WallMs {
        WallMs(self.at)
    }

    pub(super) fn order(&self) -> u64 {
        self.order
    }

    pub(super) fn place(&self) -> Place {
        Place(self.place)
    }

    pub(super) fn note(&self) -> Place {
        Place(self.note)
    }

    pub(super) fn has(&self, mark: Mark) -> bool {
        self.marks & mark as u8 != 0
    }

    pub(super) fn set(&mut self, mark: Mark, on: bool) {
        if on {
            self.marks |= mark as u8;
        } else {
            self.marks &= !(mark as u8);
        }
    }

    pub(super) fn life(&self) -> Life {
        Life {
            state: self.state().unwrap_or(JobState::Cancelled),
            reason: DeadReason::ALL.get(usize::from(self.marks & 7)).copied(),
            cancelling: self.stage & 0b100_0000 != 0,
            attempt: self.attempt,
            crashes: (self.stage >> 3) & 7,
            at: WallMs(self.at),
            order: self.order,
            place: Place(self.place),
            note: Place(self.note),
        }
    }

    /// Whether a row that becomes `new` stays where it is in its list.
    pub(super) fn stays(&self, new: &Self) -> bool {
        !self.is_free()
            && self.stage & 7 == new.stage & 7
            && (self.lane, self.at, self.order) == (new.lane, new.at, new.order)
    }

    pub(super) fn live(&mut self, life: &Life) {
        self.stage =
            life.state as u8 | (life.crashes.min(7) << 3) | (u8::from(life.cancelling) << 6);
        self.marks = (self.marks & !7) | life.reason.map_or(NO_REASON, |reason| reason as u8);
        self.attempt = life.attempt;
        self.at = life.at.0;
        self.order = life.order;
        self.place = life.place.0;
        self.note = life.note.0;
    }
}

/// Every row, by slot.
#[derive(Debug, Default)]
pub(super) struct Rows {
    chunks: Vec<Vec<Row>>,
    len: u32,
}

impl Rows {
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    pub(super) fn get(&self, slot: u32) -> &Row {
        &self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> &mut Row {
        &mut self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }

    /// The row of a job; `None` where the slot is free or was never used.
    pub(super) fn job(&self, slot: u32) -> Option<&Row> {
        let row = self
            .chunks
            .get(slot as usize / CHUNK)?
            .get(slot as usize % CHUNK)?;
        (!row.is_free()).then_some(row)
    }

    /// One free row more, in no list.
    pub(super) fn grow(&mut self) -> u32 {
        if (self.len as usize).is_multiple_of(CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(Row::EMPTY);
        }
        self.len += 1;
        self.len - 1
    }
}

/// A list of rows, linked through their `prev` and `next`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct List {
    pub(super) head: u32,
    pub(super) tail: u32,
    pub(super) len: u32,
}

impl List {
    pub(super) const EMPTY: Self = Self {
        head: NONE,
        tail: NONE,
        len: 0,
    };

    /// Puts `slot` between two neighbours, either of them `NONE` at an end.
    pub(super) fn insert(&mut self, rows: &mut Rows, slot: u32, prev: u32, next: u32) {
        match prev {
            NONE => self.head = slot,
            _ => rows.get_mut(prev).next = slot,
        }
        match next {
            NONE => self.tail = slot,
            _ => rows.get_mut(next).prev = slot,
        }
        let row = rows.get_mut(slot);
        (row.prev, row.next) = (prev, next);
        self.len += 1;
    }

    pub(super) fn remove(&mut self, rows: &mut Rows, slot: u32) {
        let Row { prev, next, .. } = *rows.get(slot);
        match prev {
            NONE => self.head = next,
            _ => rows.get_mut(prev).next = next,
        }
        match next {
            NONE => self.tail = prev,
            _ => rows.get_mut(next).prev = prev,
        }
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_at_most_72_bytes() {
        assert!(size_of::<Row>() <= 72, "{} bytes", size_of::<Row>());
    }
}
