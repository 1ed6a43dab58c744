//! What consumer groups need of a topic: the hashes of what comes next, and single events by their
//! positions.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use posthaste_core::topic::{Position, partition_of};
use posthaste_core::{Error, Event, Result, limits};

use super::page::{self, Unread, batch_of, event, unreadable_at};
use super::shelf::Held;
use crate::archive::{Outcome, Reader};
use crate::bodies::Bodies;
use crate::format::events::{read_event, read_lost};
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

    /// Reads them; those that are gone or damaged are left out. The damage is told too.
    ///
    /// # Errors
    /// `Unavailable` or `Io` where the disk does not give it out.
    pub(crate) fn read(&self, bodies: &Bodies) -> Result<Picked> {
        let mut picked = Picked {
            events: Vec::with_capacity(self.picks.len()),
            damage: Vec::new(),
        };
        let first = self.held.first().map_or(u64::MAX, |one| one.batch.position);
        let (moved, rest) = self
            .picks
            .split_at(self.picks.partition_point(|pick| *pick < first));
        if let Some(archive) = &self.archive {
            self.moved(moved, archive, &mut picked)?;
        }
        let mut rest = rest.iter().copied().peekable();
        for (one, record) in self
            .held
            .iter()
            .zip(page::records(&self.held, &self.pinned, bodies))
        {
            let batch = &one.batch;
            let read = match batch_of(record, batch) {
                Ok(read) => read,
                Err(error) => {
                    picked.harmed(Unread::of(error, || batch.end()))?;
                    continue;
                }
            };
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
                let place = (self.zero.at(position), partition, offset);
                match read.event(index).and_then(|bytes| read_event(&bytes)) {
                    Ok(said) => picked.events.push(event(said, batch.at, place)),
                    Err(damage) => picked.damage.push(unreadable_at(batch.place, damage)),
                }
            }
        }
        Ok(picked)
    }

    fn moved(&self, picks: &[u64], archive: &Reader, picked: &mut Picked) -> Result<()> {
        let mut rest = picks;
        while let Some(first) = rest.first() {
            let most = usize::try_from(limits::READ_BYTES_MAX).unwrap_or(usize::MAX);
            let outcome = archive.read(*first, None, most, |entry| {
                let at = entry.position;
                let passed = rest.partition_point(|pick| *pick < at);
                rest = &rest[passed..];
                if rest.first() == Some(&at) {
                    rest = &rest[1..];
                    let place = (self.zero.at(at), entry.partition, entry.offset);
                    match (
                        read_lost(entry.bytes),
                        read_event(&Bytes::copy_from_slice(entry.bytes)),
                    ) {
                        (Some(lost), _) => picked.damage.push(page::lost_event(at, lost).what),
                        (None, Ok(said)) => picked.events.push(event(said, entry.at, place)),
                        (None, Err(damage)) => picked.damage.push(page::damaged_event(at, &damage)),
                    }
                }
                let near = rest.first().is_some_and(|next| *next < at + NEAR);
                match near {
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(()),
                }
            });
            let next = match outcome {
                // Whatever lay before that is gone: compaction took it.
                Ok(Outcome::Next(next)) => next,
                Ok(Outcome::Gap { earliest }) => earliest,
                Err(error) => picked.harmed(Unread::of(error, || archive.behind_block(*first)))?,
            };
            rest = &rest[rest.partition_point(|pick| *pick < next)..];
            let goes_on = rest.first() != Some(first) && rest.first() < Some(&archive.end());
            if !goes_on {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// What was picked.
#[derive(Debug, Default)]
pub(crate) struct Picked {
    pub(crate) events: Vec<Event>,
    /// What was found damaged, and where.
    pub(crate) damage: Vec<Error>,
}

impl Picked {
    /// Notes damage; the position behind it.
    fn harmed(&mut self, unread: Unread) -> Result<u64> {
        match unread {
            Unread::Harmed(harm) => {
                self.damage.push(harm.what);
                Ok(harm.behind)
            }
            Unread::Failed(error) => Err(error),
        }
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
    /// Events that were gone, or are damaged.
    pub(crate) lost: u64,
    /// What was found damaged, and where.
    pub(crate) damage: Option<Error>,
}

impl Fed {
    /// Nothing came.
    pub(crate) const fn nothing(from: u64) -> Self {
        Self {
            events: Vec::new(),
            next: from,
            lost: 0,
            damage: None,
        }
    }

    /// There is damage up to its `behind`. Where events come before it, it is met again behind them.
    fn harmed(mut self, unread: Unread) -> Result<Self> {
        match unread {
            Unread::Failed(error) => Err(error),
            Unread::Harmed(_) if !self.events.is_empty() => Ok(self),
            Unread::Harmed(harm) => {
                self.lost += harm.behind - self.next;
                self.next = harm.behind;
                self.damage = Some(harm.what);
                Ok(self)
            }
        }
    }
}

impl Feed {
    /// Reads it, up to where something is damaged. Damage at the front is passed, as lost.
    ///
    /// # Errors
    /// `Unavailable` or `Io` where the disk does not give it out.
    pub(crate) fn read(&self, bodies: &Bodies) -> Result<Fed> {
        let from = self.from.max(self.earliest);
        let mut fed = Fed {
            events: Vec::new(),
            next: from,
            lost: from - self.from,
            damage: None,
        };
        if let Some(archive) = self.archive.as_ref().filter(|archive| from < archive.end()) {
            let most = usize::try_from(limits::READ_BYTES_MAX).unwrap_or(usize::MAX);
            let mut lost = None;
            let outcome = archive.read(from, None, most, |entry| {
                if let Some(of) = read_lost(entry.bytes) {
                    lost = Some((entry.position, page::lost_event(entry.position, of)));
                    return ControlFlow::Break(());
                }
                fed.events.push((entry.position, entry.hash));
                match fed.events.len() < self.max {
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(()),
                }
            });
            match (outcome, lost) {
                (Err(error), _) => {
                    return fed.harmed(Unread::of(error, || archive.behind_block(from)));
                }
                (Ok(_), Some((at, harm))) => {
                    fed.next = at;
                    return fed.harmed(Unread::Harmed(harm));
                }
                (Ok(Outcome::Next(next)), None) => fed.next = next,
                (Ok(Outcome::Gap { earliest }), None) => {
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
            let read = match batch_of(record, &one.batch) {
                Ok(read) => read,
                Err(error) => return fed.harmed(Unread::of(error, || one.batch.end())),
            };
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
