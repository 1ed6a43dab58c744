//! The journal: decided facts go in, durable ones come out.
//!
//! Commits are gathered into an open group; whoever is free to sync takes the group, writes it and
//! syncs it, and only then has the [`Receipt`] that lets its effects out. "Act before it is
//! durable" does not compile: the effects of a group are not to be had otherwise.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use posthaste_core::machine::Fact;

use crate::format::bytes::small;
use crate::format::place::At;
use crate::format::record::{self, Tag};
use crate::format::segment::Footer;
use crate::format::{BLOCK, facts, group, round_up};
use crate::segments::{Segment, Segments};

/// Bytes after which an open group takes no further commit.
const GROUP_BYTES: usize = 4 * 1024 * 1024;

/// Where the journal goes on.
#[derive(Debug)]
pub(crate) struct Position {
    pub(crate) segment: Arc<Segment>,
    /// Offset of the next group.
    pub(crate) offset: u32,
    /// Sequence number of the next group.
    pub(crate) seq: u64,
    /// Header CRC of the last group.
    pub(crate) link: u32,
    /// Of the groups in this segment.
    pub(crate) first_seq: u64,
}

/// The writing end of the journal.
#[derive(Debug)]
pub(crate) struct Journal<Effect> {
    segments: Arc<Segments>,
    epoch: u32,
    at: Position,
    /// Room for a group's header, then bodies.
    body: Vec<u8>,
    /// Bytes of the last group: the next is given as much room at once.
    last_bytes: usize,
    facts: Vec<u8>,
    effects: Vec<Effect>,
    waited: bool,
    /// Groups and footers that are complete and not taken yet.
    complete: VecDeque<Write<Effect>>,
    /// Bytes of the complete ones.
    complete_bytes: usize,
    durable: u64,
}

/// What is to be written to one segment and synced, with the effects that wait for it.
#[must_use = "facts that never reach the disk never happened"]
#[derive(Debug)]
pub(crate) struct Write<Effect> {
    segment: Arc<Segment>,
    offset: u32,
    bytes: Vec<u8>,
    seq: u64,
    footer: Option<Footer>,
    effects: Vec<Effect>,
    waited: bool,
}

/// Proof that a group is durable: the only way to its effects.
#[must_use = "nobody is answered until the effects are let out"]
#[derive(Debug)]
pub(crate) struct Receipt<Effect> {
    effects: Vec<Effect>,
}

impl<Effect> Receipt<Effect> {
    /// For a store that keeps nothing beyond its process: what is decided is as durable as it gets.
    pub(crate) fn in_memory(effects: Vec<Effect>) -> Self {
        Self { effects }
    }

    /// Lets the effects out.
    pub(crate) fn effects(self) -> Vec<Effect> {
        self.effects
    }
}

/// What was written: to be found in memory for a while.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) at: At,
    pub(crate) bytes: Bytes,
}

impl<Effect> Journal<Effect> {
    pub(crate) fn new(segments: Arc<Segments>, epoch: u32, at: Position) -> Self {
        let durable = at.seq - 1;
        Self {
            segments,
            epoch,
            at,
            body: Vec::new(),
            last_bytes: 0,
            facts: Vec::new(),
            effects: Vec::new(),
            waited: false,
            complete: VecDeque::new(),
            complete_bytes: 0,
            durable,
        }
    }

    /// Makes sure that `more` bytes of records and facts fit into the open group, which is completed
    /// and followed by another where they don't.
    ///
    /// # Errors
    /// When the next segment can't be had; the journal is as it was.
    pub(crate) fn make_room(&mut self, more: usize, now: u64) -> io::Result<()> {
        if !self.body.is_empty() && self.open_bytes() + more > GROUP_BYTES {
            self.complete_group(now);
        }
        let opening = if self.body.is_empty() {
            group::HEADER
        } else {
            0
        };
        if !self.fits(opening + more) {
            self.roll(now)?;
        }
        if self.body.is_empty() {
            self.body.reserve(self.last_bytes);
            self.body.resize(group::HEADER, 0);
        }
        Ok(())
    }

    /// Whether the open group may grow by so many bytes and still be in this segment.
    fn fits(&self, more: usize) -> bool {
        let end = self.at.offset as usize + round_up(self.open_bytes() + more, BLOCK);
        end <= self.at.segment.groups_end() as usize
    }

    /// Whether a commit of so many bytes leaves free what is kept for settles and deletes. The
    /// disk is asked once for each segment, of which `asked` was the last.
    pub(crate) fn leaves_reserve(&self, bytes: usize, asked: &mut u64) -> bool {
        // As in `make_room`, a group may have to be completed and another begun.
        if !self.fits(bytes + group::HEADER + BLOCK) {
            return self.segments.leaves_reserve(1);
        }
        let number = self.at.segment.number;
        let leaves = *asked == number || self.segments.leaves_reserve(0);
        *asked = if leaves { number } else { 0 };
        leaves
    }

    /// The most bytes that a commit may take in a segment of this size.
    pub(crate) fn commit_bytes_max(&self) -> usize {
        self.at.segment.bytes as usize - 2 * BLOCK - group::HEADER - 64
    }

    fn open_bytes(&self) -> usize {
        self.body.len() + record::HEADER + record::ALIGN + self.facts.len()
    }

    /// Where the next body goes. [`Journal::make_room`] must have been asked before.
    pub(crate) fn next(&self) -> At {
        At {
            segment: self.at.segment.number,
            offset: self.at.offset + small(self.body.len()),
        }
    }

    /// Adds records, which are aligned and complete.
    pub(crate) fn push_bodies(&mut self, records: &[u8]) {
        self.body.extend_from_slice(records);
    }

    /// Adds a fact. `waited` ones are synced at once; the others with the next that is.
    pub(crate) fn push_fact(&mut self, fact: &Fact<'_>) {
        facts::write(&mut self.facts, fact);
    }

    /// Holds `effect` back until everything pushed so far is durable.
    pub(crate) fn push_effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Somebody waits for what was pushed to be synced.
    pub(crate) fn wait_for_sync(&mut self) {
        self.waited = true;
    }

    /// Whether nothing was pushed that has not been taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.facts.is_empty() && self.effects.is_empty() && self.complete.is_empty()
    }

    /// Bytes that were not taken yet.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.body.len() + self.facts.len() + self.complete_bytes
    }

    /// The record at `at`, where it was pushed and not taken yet.
    pub(crate) fn pending(&self, at: At) -> Option<Bytes> {
        let open = (self.at.segment.number, self.at.offset, &self.body);
        let complete = self.complete.iter();
        let record = complete
            .map(|write| (write.segment.number, write.offset, &write.bytes))
            .chain(std::iter::once(open))
            .filter(|(segment, offset, _)| *segment == at.segment && *offset <= at.offset)
            .find_map(|(_, offset, bytes)| bytes.get((at.offset - offset) as usize..))?;
        let size = record::size_said(record).ok()?;
        record.get(..size).map(Bytes::copy_from_slice)
    }

    /// Highest sequence number known durable, and the segment that is written to.
    pub(crate) fn durable(&self) -> (u64, u64) {
        (self.durable, self.at.segment.number)
    }

    /// Bytes left in the segment that is written to.
    pub(crate) fn bytes_left(&self) -> u64 {
        let used = self.at.offset as usize + round_up(self.open_bytes() + group::HEADER, BLOCK);
        u64::from(self.at.segment.groups_end()).saturating_sub(used as u64)
    }

    /// Takes everything that goes to one segment, complete groups and the open one.
    pub(crate) fn take(&mut self, now: u64) -> Vec<Write<Effect>> {
        self.complete_group(now);
        let Some(first) = self.complete.front() else {
            return Vec::new();
        };
        let number = first.segment.number;
        let same = self
            .complete
            .iter()
            .take_while(|write| write.segment.number == number)
            .count();
        let taken: Vec<_> = self.complete.drain(..same).collect();
        self.complete_bytes -= taken.iter().map(|write| write.bytes.len()).sum::<usize>();
        taken
    }

    /// What was taken last is durable.
    pub(crate) fn now_durable(&mut self, seq: u64) {
        self.durable = self.durable.max(seq);
    }

    /// Nothing to write: only a sync of what was written before.
    pub(crate) fn nothing(&self) -> Vec<Write<Effect>> {
        vec![self.write_of(Vec::new(), false)]
    }

    fn write_of(&self, effects: Vec<Effect>, waited: bool) -> Write<Effect> {
        Write {
            segment: Arc::clone(&self.at.segment),
            offset: self.at.offset,
            bytes: Vec::new(),
            seq: self.at.seq - 1,
            footer: None,
            effects,
            waited,
        }
    }

    fn complete_group(&mut self, now: u64) {
        if self.facts.is_empty() {
            // Only effects: they rest on what is complete already.
            debug_assert!(self.body.len() <= group::HEADER, "bodies without facts");
            if !self.effects.is_empty() {
                let effects = std::mem::take(&mut self.effects);
                let waited = std::mem::take(&mut self.waited);
                self.push_effects_only(effects, waited);
            }
            return;
        }
        let mut bytes = std::mem::take(&mut self.body);
        let facts_at = small(bytes.len() - group::HEADER);
        let facts = &self.facts;
        record::write(&mut bytes, Tag::Facts, |data| data.extend_from_slice(facts));
        self.facts.clear();
        let header = group::seal(
            &mut bytes,
            group::Header {
                body_len: 0,
                facts_at,
                seq: self.at.seq,
                segment: self.at.segment.number,
                durable: self.durable,
                epoch: self.epoch,
                link: self.at.link,
                at: now,
                body_crc: 0,
                crc: 0,
            },
        );
        let write = Write {
            segment: Arc::clone(&self.at.segment),
            offset: self.at.offset,
            seq: self.at.seq,
            footer: None,
            effects: std::mem::take(&mut self.effects),
            waited: std::mem::take(&mut self.waited),
            bytes,
        };
        self.last_bytes = write.bytes.len();
        self.at.offset += small(write.bytes.len());
        self.at.seq += 1;
        self.at.link = header.crc;
        self.complete_bytes += write.bytes.len();
        self.complete.push_back(write);
    }

    fn push_effects_only(&mut self, effects: Vec<Effect>, waited: bool) {
        match self.complete.back_mut() {
            Some(last) => {
                last.effects.extend(effects);
                last.waited |= waited;
            }
            None => {
                let write = self.write_of(effects, waited);
                self.complete.push_back(write);
            }
        }
    }

    /// Seals the segment where it holds anything, and goes on in the next, so that a snapshot may
    /// cover it although it is not full. Answers whether it did.
    ///
    /// # Errors
    /// When the next segment can't be had; the journal is as it was.
    pub(crate) fn seal(&mut self, now: u64) -> io::Result<bool> {
        if self.at.seq == self.at.first_seq && self.facts.is_empty() {
            return Ok(false);
        }
        self.roll(now).map(|()| true)
    }

    /// Seals the segment and goes on in the next.
    fn roll(&mut self, now: u64) -> io::Result<()> {
        let next = self.segments.take()?;
        self.complete_group(now);
        let footer = Footer {
            number: self.at.segment.number,
            groups: self.at.seq - self.at.first_seq,
            first_seq: self.at.first_seq,
            last_seq: self.at.seq - 1,
            end: self.at.offset,
            link: self.at.link,
        };
        match self.complete.back_mut() {
            Some(last) => last.footer = Some(footer),
            None => {
                let write = Write {
                    footer: Some(footer),
                    ..self.write_of(Vec::new(), false)
                };
                self.complete.push_back(write);
            }
        }
        let (seq, link) = (self.at.seq, self.at.link);
        self.at = Position {
            segment: next,
            offset: crate::format::BLOCK_U32,
            seq,
            link,
            first_seq: seq,
        };
        Ok(())
    }

    /// Everything that waits, when nothing can be durable any more.
    pub(crate) fn give_up(&mut self) -> Vec<Effect> {
        let mut effects: Vec<Effect> = self
            .complete
            .drain(..)
            .flat_map(|write| write.effects)
            .collect();
        effects.append(&mut self.effects);
        self.complete_bytes = 0;
        self.body.clear();
        self.facts.clear();
        effects
    }
}

/// Writes what was taken, without syncing it.
///
/// # Errors
/// As the disk reports. Nothing of it may be acknowledged then, and nothing more be written.
pub(crate) fn write<Effect>(writes: &[Write<Effect>]) -> io::Result<()> {
    for write in writes {
        if !write.bytes.is_empty() {
            write
                .segment
                .file
                .write_at(&write.bytes, u64::from(write.offset))?;
        }
        if let Some(footer) = &write.footer {
            write
                .segment
                .file
                .write_at(&footer.write(), u64::from(write.segment.groups_end()))?;
        }
    }
    Ok(())
}

/// Syncs what was written, and all that was written to that segment before: it is durable from
/// now on.
///
/// # Errors
/// As the disk reports. A failed sync is never retried: what was written may or may not be there.
pub(crate) fn sync<Effect>(writes: &[Write<Effect>]) -> io::Result<()> {
    writes
        .first()
        .map_or(Ok(()), |write| write.segment.file.sync_data())
}

/// The receipt for writes that are as durable as they need to be.
pub(crate) fn receipt<Effect>(writes: Vec<Write<Effect>>) -> (Receipt<Effect>, Vec<Written>, u64) {
    let seq = writes.iter().map(|write| write.seq).max().unwrap_or(0);
    let mut effects = Vec::new();
    let mut written = Vec::with_capacity(writes.len());
    for mut write in writes {
        effects.append(&mut write.effects);
        if !write.bytes.is_empty() {
            let at = At {
                segment: write.segment.number,
                offset: write.offset,
            };
            written.push(Written {
                at,
                bytes: Bytes::from(write.bytes),
            });
        }
    }
    (Receipt { effects }, written, seq)
}

impl<Effect> Write<Effect> {
    /// Whether it must be synced before its effects are let out; `unsynced` says whether something
    /// that it rests on was written and not synced.
    pub(crate) fn needs_sync(&self, unsynced: bool) -> bool {
        self.footer.is_some() || (self.waited && (unsynced || !self.bytes.is_empty()))
    }

    /// Whether it seals its segment.
    pub(crate) fn is_footer(&self) -> bool {
        self.footer.is_some()
    }

    /// Whether it leaves bytes that are not synced unless somebody does.
    pub(crate) fn has_bytes(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// The effects, when nothing can be durable any more.
    pub(crate) fn give_up(self) -> Vec<Effect> {
        self.effects
    }
}
