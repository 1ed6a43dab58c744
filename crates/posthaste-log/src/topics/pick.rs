//! What consumer groups need of a topic: the hashes of what comes next, and single events by their
//! positions.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use posthaste_core::topic::{Position, partition_of};
use posthaste_core::{Event, Result, limits};

use super::page::{self, batch_of, event, unreadable_at};
use super::shelf::Held;
use crate::archive::{Outcome, Reader};
use crate::bodies::Bodies;
use crate::format::events::read_event;
use crate::segments::Segment;

/// Events to be read, by their positions, which rise.
#[derive(Debug)]
pub(crate) struct Pick {
    pub(super) picks: Vec<u64>,
    pub(super) zero: Position,
    pub(super) partitions: u16,
    /// The batches in which they are that did not leave the journal.
    pub(super) held: Vec<Held>,
    pub(super) pinned: Vec<Arc<Segment>>,
    pub(super) archive: Option<Reader>,
}

impl Pick {
    /// Whether it takes nothing from the disk.
    pub(crate) fn is_at_hand(&self, bodies: &Bodies) -> bool {
        let first = self.held.first().map(|one| one.batch.position);
        let archived = self.archive.is_some() && self.picks.first() < first.as_ref();
        !archived && page::are_at_hand(&self.held, bodies)
    }

    /// Reads them; those that are gone are left out.
    ///
    /// # Errors
    /// `Corrupt`, naming what can't be read; `Unavailable` where the disk does not give it out.
    pub(crate) fn read(&self, bodies: &Bodies) -> Result<Vec<Event>> {
        let mut events = Vec::with_capacity(self.picks.len());
        let first = self.held.first().map_or(u64::MAX, |one| one.batch.position);
        let (moved, rest) = self
            .picks
            .split_at(self.picks.partition_point(|pick| *pick < first));
        if let Some(archive) = &self.archive {
            self.moved(moved, archive, &mut events)?;
        }
        let mut rest = rest.iter().copied().peekable();
        for (one, record) in self
            .held
            .iter()
            .zip(page::records(&self.held, &self.pinned, bodies))
        {
            let batch = &one.batch;
            let told = |damage| unreadable_at(batch.place, damage);
            let read = batch_of(record, batch)?;
            let mut offsets = batch.firsts.to_vec();
            for ((index, hash), position) in read.hashes().iter().enumerate().zip(batch.position..)
            {
                let partition = partition_of(hash, self.partitions);
                let next = offsets.get_mut(usize::from(partition));
                let offset = next.map_or(0, |next| std::mem::replace(next, *next + 1));
                while rest.next_if(|pick| *pick < position).is_some() {}
                if rest.next_if_eq(&position).is_none() {
                    continue;
                }
                let said = read.event(index).and_then(|bytes| read_event(&bytes));
                let place = (self.zero.at(position), partition, offset);
                events.push(event(said.map_err(told)?, batch.at, place));
            }
        }
        Ok(events)
    }

    fn moved(&self, picks: &[u64], archive: &Reader, events: &mut Vec<Event>) -> Result<()> {
        let mut rest = picks;
        while let Some(first) = rest.first() {
            let mut bad = None;
            let most = usize::try_from(limits::READ_BYTES_MAX).unwrap_or(usize::MAX);
            let outcome = archive.read(*first, None, most, |entry| {
                let passed = rest.partition_point(|pick| *pick < entry.position);
                rest = &rest[passed..];
                if rest.first() == Some(&entry.position) {
                    rest = &rest[1..];
                    let place = (self.zero.at(entry.position), entry.partition, entry.offset);
                    match read_event(&Bytes::copy_from_slice(entry.bytes)) {
                        Ok(said) => events.push(event(said, entry.at, place)),
                        Err(damage) => bad = Some((entry.position, damage)),
                    }
                }
                let near = rest
                    .first()
                    .is_some_and(|next| *next < entry.position + NEAR);
                match near && bad.is_none() {
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(()),
                }
            })?;
            if let Some((position, damage)) = bad {
                return Err(page::damaged_event(position, &damage));
            }
            match outcome {
                // Whatever lay before that is gone: compaction took it.
                Outcome::Next(next) => rest = &rest[rest.partition_point(|pick| *pick < next)..],
                Outcome::Gap { earliest } => {
                    rest = &rest[rest.partition_point(|pick| *pick < earliest)..];
                }
            }
            let goes_on = rest.first() != Some(first) && rest.first() < Some(&archive.end());
            if !goes_on {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Positions that lie so close are read in one go.
const NEAR: u64 = 1_000;

/// What comes next in a topic: to be read for a group.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(super) from: u64,
    pub(super) max: usize,
    pub(super) held: Vec<Held>,
    pub(super) pinned: Vec<Arc<Segment>>,
    pub(super) archive: Option<Reader>,
    /// The oldest that is there.
    pub(super) earliest: u64,
}

/// What came next.
#[derive(Debug, Default)]
pub(crate) struct Fed {
    /// Positions and hashes.
    pub(crate) events: Vec<(u64, u32)>,
    /// Where to go on.
    pub(crate) next: u64,
    /// Events that were gone.
    pub(crate) lost: u64,
}

impl Fed {
    /// Nothing came.
    pub(crate) const fn nothing(from: u64) -> Self {
        Self {
            events: Vec::new(),
            next: from,
            lost: 0,
        }
    }
}

impl Feed {
    /// Reads it.
    ///
    /// # Errors
    /// `Corrupt`, naming what can't be read; `Unavailable` where the disk does not give it out.
    pub(crate) fn read(&self, bodies: &Bodies) -> Result<Fed> {
        let from = self.from.max(self.earliest);
        let mut fed = Fed {
            events: Vec::new(),
            next: from,
            lost: from - self.from,
        };
        if let Some(archive) = self.archive.as_ref().filter(|archive| from < archive.end()) {
            let most = usize::try_from(limits::READ_BYTES_MAX).unwrap_or(usize::MAX);
            let outcome = archive.read(from, None, most, |entry| {
                fed.events.push((entry.position, entry.hash));
                match fed.events.len() < self.max {
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(()),
                }
            })?;
            match outcome {
                Outcome::Next(next) => fed.next = next,
                Outcome::Gap { earliest } => {
                    fed.lost = earliest - self.from;
                    fed.next = earliest;
                }
            }
            return Ok(fed);
        }
        for (one, record) in self
            .held
            .iter()
            .zip(page::records(&self.held, &self.pinned, bodies))
        {
            let read = batch_of(record, &one.batch)?;
            for (hash, position) in read.hashes().iter().zip(one.batch.position..) {
                if position >= fed.next && fed.events.len() < self.max {
                    fed.events.push((position, hash));
                    fed.next = position + 1;
                }
            }
        }
        Ok(fed)
    }
}
