//! Merges the newest snapshot and the sealed segments since into the next snapshot, beside the
//! sequencer and without its state.
//!
//! The facts of a round are gathered by job, then the old snapshot streams by, each job meeting
//! its own facts. Memory is bounded by the facts of a round; a round is at least one segment.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use posthaste_core::machine::{
    Batch, Fact, Hashes, KeyChanges, Place, SavedJob, SavedKey, SavedMeta, SavedSeen, SavedTopic,
    Settles, Slot, Summary, TopicChange,
};
use posthaste_core::{Error, Result};

use crate::files::{Files, corrupt, io_error};
use crate::format::bytes::small;
use crate::format::{BLOCK, Damage, body, facts, place, record};
use crate::scan::Group;
use crate::sealed::Sealed;
use crate::segments::Segment;
use crate::snapshot::{Chunk, Reach, Reader, Writer};
use crate::topics::{Mover, Unmoved};

/// Facts after which a round takes no further segment: 16 bytes of memory each.
const FACTS_MAX: usize = 1_000_000;

/// The facts of a round, by job.
#[derive(Default)]
struct Gathered {
    index: Vec<Entry>,
    taken: Vec<SavedKey>,
    seen: Vec<SavedSeen>,
    keys: KeyChanges,
    settles: Settles,
    meta: SavedMeta,
    reach: Reach,
}

/// What the store knows of its topics while it is merged.
pub(crate) struct Known<'a> {
    /// From where on the events of a topic are kept; `None` where the topic is gone.
    pub(crate) kept_from: &'a dyn Fn(u32) -> Option<u64>,
    /// The batch of a topic that begins at a position.
    pub(crate) batch_at: &'a dyn Fn(u32, u64) -> Option<Batch>,
    /// Is told of damage that was got around.
    pub(crate) damaged: &'a dyn Fn(&Error),
}

/// Has the events of a batch leave the journal. Without an error they are in the archive, or are
/// said there to be lost.
type Moving<'a> =
    dyn FnMut(&Group<'_>, &Batch, &SavedTopic, bool) -> std::result::Result<(), Unmoved> + 'a;

/// Where the fact of a job stands. The facts themselves stay in their segments, and are read
/// again when their job's turn comes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    slot: Slot,
    /// Which segment of the round; facts of later ones are later.
    segment: u16,
    len: u16,
    offset: u32,
}

/// Makes the next snapshot out of `old` and as many of `sealed` (which follow it, oldest first) as
/// one round may take. `go_on` is asked now and then; when it says no, nothing was done.
///
/// Events whose record is damaged are said to be lost where they go, as long as `known` tells what
/// their batch was: neither other events nor jobs wait for them.
pub(crate) fn merge(
    files: &Files,
    old: Option<&PathBuf>,
    sealed: &[Arc<Segment>],
    mover: &mut Mover,
    known: &Known<'_>,
    mut go_on: impl FnMut() -> bool,
) -> Result<Option<(PathBuf, Reach)>> {
    let mut reader = match old {
        None => None,
        Some(path) => {
            let file = files
                .disk
                .open(path)
                .map_err(|error| io_error("open", path, &error))?;
            Some(Reader::open(path, file)?)
        }
    };
    let mut gathered = Gathered::default();
    if let Some(reader) = &mut reader {
        gathered.meta = reader.meta.clone();
        gathered.reach = reader.reach;
        gathered.settles = std::mem::take(&mut reader.settles);
    }
    let mut blocks = Blocks::default();
    for segment in sealed.iter().take(usize::from(u16::MAX)) {
        let mut moving = |group: &Group<'_>, batch: &Batch, of: &SavedTopic, lost: bool| {
            if lost {
                let at = place::at(batch.place).offset as usize;
                let error = corrupt(&segment.path, at, &Damage::Checksum);
                (known.damaged)(&error);
                let kept_from = (known.kept_from)(batch.topic).unwrap_or(u64::MAX);
                return mover.lost(of, batch, error.message(), kept_from);
            }
            let Some(kept_from) = (known.kept_from)(batch.topic) else {
                return Ok(());
            };
            let events = group.events(batch.place).map_err(Unmoved::Damaged)?;
            mover.batch(of, batch, &events, kept_from)
        };
        gathered.segment(segment, &mut blocks, known, &mut moving)?;
        if !go_on() {
            return Ok(None);
        }
        if gathered.index.len() >= FACTS_MAX {
            break;
        }
    }
    gathered.meta.archived = mover.sync()?;
    let topics = &gathered.meta.topics;
    let lives = |topic: &u32| topics.by_number.contains_key(topic);
    gathered.meta.archived.retain(|topic, _| lives(topic));
    gathered
        .index
        .sort_unstable_by_key(|entry| (entry.slot, entry.segment, entry.offset));
    let dir = crate::files::snapshots_dir(&files.dir);
    let failed = |error: io::Error| io_error("write a snapshot in", &dir, &error);
    let mut writer = Writer::create(files, gathered.reach, &gathered.settles).map_err(failed)?;
    let done = gathered.stream(
        reader.as_mut(),
        &mut blocks,
        &mut writer,
        &mut go_on,
        &failed,
    )?;
    if !done {
        return Ok(None);
    }
    let path = writer
        .finish(&gathered.meta, gathered.reach.segment)
        .map_err(failed)?;
    Ok(Some((path, gathered.reach)))
}

impl Gathered {
    /// Gathers the facts of one sealed segment.
    fn segment(
        &mut self,
        segment: &Arc<Segment>,
        blocks: &mut Blocks,
        known: &Known<'_>,
        moving: &mut Moving<'_>,
    ) -> Result<()> {
        let nth = blocks.add(segment);
        let mut sealed = Sealed::open(segment, BLOCK)?;
        while let Some(group) = sealed.next_salvaged()? {
            let damaged = |damage| corrupt(&segment.path, group.offset, &damage);
            if !group.sound {
                (known.damaged)(&damaged(Damage::Checksum));
            }
            self.group(&group, nth, known, moving)
                .map_err(|unmoved| match unmoved {
                    Unmoved::Damaged(damage) => damaged(damage),
                    Unmoved::Failed(error) => error,
                })?;
            blocks.verified(nth, group.offset, group.bytes);
            self.reach.last_seq = group.header.seq;
            self.reach.link = group.header.crc;
        }
        self.reach.segment = segment.number;
        Ok(())
    }

    fn group(
        &mut self,
        group: &Group<'_>,
        segment: u16,
        known: &Known<'_>,
        moving: &mut Moving<'_>,
    ) -> Result<(), Unmoved> {
        let mut moved = Ok(());
        let read = group.facts_with_spans(|fact, span| {
            self.keys.note(&fact);
            self.taken.extend(SavedKey::taken(&fact));
            self.seen.extend(SavedSeen::seen(&fact));
            self.settles.apply(&fact);
            match fact.slot() {
                None => {
                    let meta = &mut self.meta;
                    // What the topic was before.
                    let of = match fact {
                        Fact::Published { topic, .. } => meta.topics.by_number.get(&topic).cloned(),
                        _ => None,
                    };
                    let lost = |topic, position| (known.batch_at)(topic, position);
                    match fact {
                        Fact::Published {
                            topic,
                            position,
                            hashes,
                            ..
                        } if hashes.count() == 0 => {
                            match lost(topic, position).zip(of) {
                                Some((batch, of)) => {
                                    meta.topics.pass(&batch);
                                    moved = std::mem::replace(&mut moved, Ok(()))
                                        .and_then(|()| moving(group, &batch, &of, true));
                                }
                                // The topic is gone, and nobody asks where its events were.
                                None if (known.kept_from)(topic).is_none() => {}
                                None => moved = Err(Unmoved::Damaged(Damage::Checksum)),
                            }
                        }
                        _ => meta.topics.apply(&fact, |change| {
                            if let (TopicChange::Published(batch), Some(of), Ok(())) =
                                (change, &of, &moved)
                            {
                                moved = moving(group, &batch, of, false);
                            }
                        }),
                    }
                    meta.apply(&fact, None);
                }
                Some(slot) => self.index.push(Entry {
                    slot,
                    segment,
                    len: u16::try_from(span.len()).unwrap_or(u16::MAX),
                    offset: small(span.start),
                }),
            }
        });
        read.map_err(Unmoved::Damaged)?;
        moved
    }

    /// Streams the old snapshot by. Says no where it was told to stop.
    fn stream(
        &mut self,
        mut reader: Option<&mut Reader>,
        blocks: &mut Blocks,
        writer: &mut Writer<'_>,
        go_on: &mut impl FnMut() -> bool,
        failed: &impl Fn(io::Error) -> Error,
    ) -> Result<bool> {
        let index = std::mem::take(&mut self.index);
        let mut rest = index.as_slice();
        let mut forgotten = self.keys.forgotten;
        let mut unseen = self.keys.events_forgotten;
        let mut keys_done = false;
        while let Some(chunk) = reader
            .as_mut()
            .map(|reader| reader.next())
            .transpose()?
            .flatten()
        {
            match chunk {
                Chunk::Jobs(jobs) => {
                    for job in jobs {
                        let before = rest.partition_point(|entry| entry.slot < job.slot);
                        self.new_jobs(&rest[..before], blocks, writer, failed)?;
                        rest = &rest[before..];
                        let own = rest.partition_point(|entry| entry.slot == job.slot);
                        self.one(Some(job), &rest[..own], blocks, writer, failed)?;
                        rest = &rest[own..];
                    }
                }
                Chunk::Keys(keys) => {
                    // Jobs come before keys: those that are left are all new.
                    self.new_jobs(std::mem::take(&mut rest), blocks, writer, failed)?;
                    self.write_keys(&keys, &mut forgotten, writer)
                        .map_err(failed)?;
                }
                Chunk::Seen(seen) => {
                    // Keys come before what was seen.
                    self.new_jobs(std::mem::take(&mut rest), blocks, writer, failed)?;
                    if !std::mem::replace(&mut keys_done, true) {
                        let taken = std::mem::take(&mut self.taken);
                        self.write_keys(&taken, &mut forgotten, writer)
                            .map_err(failed)?;
                    }
                    write_seen(&seen, &mut unseen, writer).map_err(failed)?;
                }
            }
            if !go_on() {
                return Ok(false);
            }
        }
        self.new_jobs(rest, blocks, writer, failed)?;
        let taken = std::mem::take(&mut self.taken);
        self.write_keys(&taken, &mut forgotten, writer)
            .map_err(failed)?;
        let seen = std::mem::take(&mut self.seen);
        write_seen(&seen, &mut unseen, writer).map_err(failed)?;
        Ok(true)
    }

    /// Writes keys, the oldest first, but for as many as are still to be forgotten.
    fn write_keys(
        &self,
        keys: &[SavedKey],
        forgotten: &mut u64,
        writer: &mut Writer<'_>,
    ) -> io::Result<()> {
        for key in keys {
            if *forgotten > 0 {
                *forgotten -= 1;
            } else {
                writer.key(&self.keys.apply(*key))?;
            }
        }
        Ok(())
    }

    /// Jobs that the old snapshot does not have.
    fn new_jobs(
        &mut self,
        mut entries: &[Entry],
        blocks: &mut Blocks,
        writer: &mut Writer<'_>,
        failed: &impl Fn(io::Error) -> Error,
    ) -> Result<()> {
        while let Some(first) = entries.first() {
            let own = entries.partition_point(|entry| entry.slot == first.slot);
            self.one(None, &entries[..own], blocks, writer, failed)?;
            entries = &entries[own..];
        }
        Ok(())
    }

    fn one(
        &mut self,
        mut job: Option<SavedJob>,
        entries: &[Entry],
        blocks: &mut Blocks,
        writer: &mut Writer<'_>,
        failed: &impl Fn(io::Error) -> Error,
    ) -> Result<()> {
        for entry in entries {
            let meta = &mut self.meta;
            blocks.fact(entry, |fact| {
                meta.apply(&fact, job.as_ref());
                job = match SavedJob::enqueued(&fact) {
                    Some(new) => Some(new),
                    None => job.take().and_then(|job| job.apply(&fact)),
                };
            })?;
        }
        match job {
            Some(job) => writer.job(&job).map_err(failed),
            None => Ok(()),
        }
    }
}

/// Writes remembered events, the oldest first, but for as many as are still to be forgotten.
fn write_seen(seen: &[SavedSeen], forgotten: &mut u64, writer: &mut Writer<'_>) -> io::Result<()> {
    for one in seen {
        if *forgotten > 0 {
            *forgotten -= 1;
        } else {
            writer.seen(one)?;
        }
    }
    Ok(())
}

/// Blocks of the segments of a round, read again: jobs come mostly in the order of their facts, so
/// that few blocks serve many. A fact has no checksum of its own, and its group is too much to read
/// for each: so the checksum of every block is noted while the groups are verified (8 KiB for
/// 64 MiB), and what is read again is held against it.
#[derive(Default)]
struct Blocks {
    segments: Vec<Arc<Segment>>,
    /// Of each segment: where its groups end, and of each block the checksum of what is theirs.
    sums: Vec<(usize, Vec<u32>)>,
    /// Segment, number of the block, and its bytes. The one that was read longest ago goes first.
    read: VecDeque<(u16, usize, Vec<u8>)>,
    fact: Vec<u8>,
    summary: Vec<u8>,
}

/// Bytes of a block.
const READ: usize = 32 * 1024;
/// Blocks that are held.
const READ_MAX: usize = 64;

impl Blocks {
    /// Adds a segment of the round, and answers its number in it.
    fn add(&mut self, segment: &Arc<Segment>) -> u16 {
        self.segments.push(Arc::clone(segment));
        self.sums.push((BLOCK, Vec::new()));
        u16::try_from(self.segments.len() - 1).unwrap_or(u16::MAX)
    }

    /// Notes the checksums of a verified group, which follows the one before.
    fn verified(&mut self, segment: u16, offset: usize, mut group: &[u8]) {
        let (end, sums) = &mut self.sums[usize::from(segment)];
        *end = offset;
        while !group.is_empty() {
            let (here, rest) = group.split_at(group.len().min(READ - *end % READ));
            sums.resize(*end / READ + 1, 0);
            if let Some(sum) = sums.last_mut() {
                *sum = crc32c::crc32c_append(*sum, here);
            }
            *end += here.len();
            group = rest;
        }
    }

    /// Whether a block is what it was when its groups were verified.
    fn is_unchanged(&self, segment: u16, number: usize, bytes: &[u8]) -> bool {
        let (end, sums) = &self.sums[usize::from(segment)];
        let begin = number * READ;
        let from = BLOCK.saturating_sub(begin).min(bytes.len());
        let to = end.saturating_sub(begin).clamp(from, bytes.len().max(from));
        let sum = crc32c::crc32c(&bytes[from..to]);
        sums.get(number).is_none_or(|noted| *noted == sum)
    }

    /// Reads one fact; behind a new job, what that is.
    fn fact(&mut self, entry: &Entry, each: impl FnMut(Fact<'_>)) -> Result<()> {
        let mut fact = std::mem::take(&mut self.fact);
        let mut summary = std::mem::take(&mut self.summary);
        let offset = entry.offset as usize;
        self.copy(entry.segment, offset, usize::from(entry.len), &mut fact)?;
        if let Some(place) = facts::place_of_new(&fact) {
            let body = place::at(place).offset as usize + record::HEADER;
            self.copy(entry.segment, body, body::SUMMARY_BYTES_MAX, &mut summary)?;
        }
        let read = facts::read(&fact, Summaries(&summary), each);
        let path = &self.segments[usize::from(entry.segment)].path;
        read.map_err(|damage| corrupt(path, offset, &damage))?;
        (self.fact, self.summary) = (fact, summary);
        Ok(())
    }

    /// Copies `len` bytes at `offset` of a segment, or as many as there are.
    fn copy(&mut self, segment: u16, offset: usize, len: usize, into: &mut Vec<u8>) -> Result<()> {
        into.clear();
        let end = (offset + len).min(self.segments[usize::from(segment)].bytes as usize);
        let mut at = offset;
        while at < end {
            let (block, inside) = (at / READ, at % READ);
            let upto = (end - at).min(READ - inside);
            let bytes = self.block(segment, block)?;
            into.extend_from_slice(bytes.get(inside..inside + upto).unwrap_or(&[]));
            at += upto;
        }
        Ok(())
    }

    fn block(&mut self, segment: u16, number: usize) -> Result<&[u8]> {
        let held = self
            .read
            .iter()
            .position(|(of, block, _)| (*of, *block) == (segment, number));
        let at = match held {
            Some(at) => at,
            None => {
                let mut bytes = match self.read.len() {
                    READ_MAX => self
                        .read
                        .pop_front()
                        .map_or_else(Vec::new, |(.., bytes)| bytes),
                    _ => Vec::new(),
                };
                let from = &self.segments[usize::from(segment)];
                let offset = number * READ;
                bytes.resize(READ.min((from.bytes as usize).saturating_sub(offset)), 0);
                let read = from.file.read_at(&mut bytes, offset as u64);
                read.map_err(|error| io_error("read", &from.path, &error))?;
                if !self.is_unchanged(segment, number, &bytes) {
                    return Err(corrupt(&from.path, offset, &Damage::Checksum));
                }
                self.read.push_back((segment, number, bytes));
                self.read.len() - 1
            }
        };
        Ok(&self.read[at].2)
    }
}

/// What the new job is whose fact is read.
struct Summaries<'a>(&'a [u8]);

impl<'a> facts::Bodies<'a> for Summaries<'a> {
    fn summary(&mut self, _place: Place) -> Result<Summary<'a>, Damage> {
        body::read_summary(self.0)
    }

    fn hashes(&mut self, _place: Place) -> Result<Hashes<'a>, Damage> {
        Err(Damage::Bad("fact of a job"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, RealDisk};

    /// Groups were verified; what is read again of them is held against that, block by block, and
    /// what is not theirs is not.
    #[test]
    fn what_changed_since_it_was_verified_is_damage() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("0000000000000001.seg");
        let file = RealDisk.create(&path).expect("a file");
        let all: Vec<u8> = (0..=250).cycle().take(5 * READ).collect();
        file.write_at(&all, 0).expect("written");
        let segment = Arc::new(Segment {
            number: 1,
            path,
            file,
            bytes: u32::try_from(all.len()).expect("small"),
        });
        let ends = [BLOCK, 2 * BLOCK, READ + BLOCK, 3 * READ, 4 * READ + BLOCK];
        let read = |number| {
            let mut blocks = Blocks::default();
            let nth = blocks.add(&segment);
            for pair in ends.windows(2) {
                blocks.verified(nth, pair[0], &all[pair[0]..pair[1]]);
            }
            blocks
                .block(nth, number)
                .map(|_| ())
                .map_err(|error| error.to_string())
        };
        assert!((0..5).all(|number| read(number).is_ok()));
        for at in [
            BLOCK,
            READ - 1,
            READ,
            2 * READ + 7,
            3 * READ,
            4 * READ + BLOCK - 1,
        ] {
            segment
                .file
                .write_at(&[!all[at]], at as u64)
                .expect("written");
            let told = read(at / READ).expect_err("it changed");
            assert!(told.contains("0000000000000001.seg"), "{told}");
            segment
                .file
                .write_at(&[all[at]], at as u64)
                .expect("written");
        }
        for at in [0, BLOCK - 1, 4 * READ + BLOCK, 5 * READ - 1] {
            segment
                .file
                .write_at(&[!all[at]], at as u64)
                .expect("written");
            assert_eq!(read(at / READ), Ok(()), "byte {at} is no group's");
        }
    }
}
