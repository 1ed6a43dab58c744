//! Merges the newest snapshot and the sealed segments since into the next snapshot, beside the
//! sequencer and without its state.
//!
//! The facts of a round are gathered by job, then the old snapshot streams by, each job meeting
//! its own facts. Memory is bounded by the facts of a round; a round is at least one segment.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use posthaste_core::machine::{Fact, KeyChanges, SavedJob, SavedKey, SavedMeta, Settles, Slot};
use posthaste_core::{Error, Result};

use crate::files::{Files, corrupt, io_error};
use crate::format::segment::Footer;
use crate::format::{BLOCK, Damage, body, facts, group};
use crate::scan::Group;
use crate::segments::Segment;
use crate::snapshot::{Chunk, Reach, Reader, Writer};

/// Facts after which a round takes no further segment.
const FACTS_MAX: usize = 500_000;

/// The facts of a round, by job.
#[derive(Default)]
struct Gathered {
    /// Facts as bytes; behind that of a new job, what the job is.
    bytes: Vec<u8>,
    /// Slot, turn, and where in `bytes`: offset, length of the fact, length of the summary.
    index: Vec<Entry>,
    taken: Vec<SavedKey>,
    keys: KeyChanges,
    settles: Settles,
    meta: SavedMeta,
    reach: Reach,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    slot: Slot,
    turn: u32,
    offset: u32,
    fact: u16,
    summary: u16,
}

/// Makes the next snapshot out of `old` and as many of `sealed` (which follow it, oldest first) as
/// one round may take. `go_on` is asked now and then; when it says no, nothing was done.
pub(crate) fn merge(
    files: &Files,
    old: Option<&PathBuf>,
    sealed: &[Arc<Segment>],
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
    for segment in sealed {
        gathered.segment(segment)?;
        if !go_on() {
            return Ok(None);
        }
        if gathered.index.len() >= FACTS_MAX {
            break;
        }
    }
    gathered.index.sort_unstable();
    let dir = crate::files::snapshots_dir(&files.dir);
    let failed = |error: io::Error| io_error("write a snapshot in", &dir, &error);
    let mut writer = Writer::create(files, gathered.reach, &gathered.settles).map_err(failed)?;
    let done = gathered.stream(reader.as_mut(), &mut writer, &mut go_on, &failed)?;
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
    fn segment(&mut self, segment: &Segment) -> Result<()> {
        let footer = read_footer(segment)?;
        let (mut offset, mut bytes) = (BLOCK, Vec::new());
        while offset < footer.end as usize {
            let damaged = |damage| corrupt(&segment.path, offset, &damage);
            let failed = |error| io_error("read", &segment.path, &error);
            bytes.resize(BLOCK, 0);
            segment
                .file
                .read_at(&mut bytes, offset as u64)
                .map_err(failed)?;
            let header = group::read_header(&bytes).map_err(damaged)?;
            if header.segment != segment.number || offset + header.size() > footer.end as usize {
                return Err(damaged(Damage::Bad("length")));
            }
            bytes.resize(header.size(), 0);
            segment
                .file
                .read_at(&mut bytes, offset as u64)
                .map_err(failed)?;
            let group = Group::read(&bytes, offset).map_err(damaged)?;
            self.group(&group).map_err(damaged)?;
            self.reach.last_seq = header.seq;
            self.reach.link = header.crc;
            offset += header.size();
        }
        self.reach.segment = segment.number;
        Ok(())
    }

    fn group(&mut self, group: &Group<'_>) -> Result<(), Damage> {
        let mut damage = None;
        group.facts(|fact| {
            if let Err(found) = self.fact(group, &fact) {
                damage.get_or_insert(found);
            }
        })?;
        damage.map_or(Ok(()), Err)
    }

    fn fact(&mut self, group: &Group<'_>, fact: &Fact<'_>) -> Result<(), Damage> {
        self.keys.note(fact);
        self.taken.extend(SavedKey::taken(fact));
        self.settles.apply(fact);
        let Some(slot) = fact.slot() else {
            self.meta.apply(fact, None);
            return Ok(());
        };
        let offset = self.bytes.len();
        facts::write(&mut self.bytes, fact);
        let fact_len = self.bytes.len() - offset;
        if let Fact::Enqueued { place, .. } = fact {
            self.bytes
                .extend_from_slice(body::without_payload(group.job_data(*place)?)?);
        }
        let too_much = |_| Damage::Bad("amount of facts");
        self.index.push(Entry {
            slot,
            turn: u32::try_from(self.index.len()).map_err(too_much)?,
            offset: u32::try_from(offset).map_err(too_much)?,
            fact: u16::try_from(fact_len).map_err(too_much)?,
            summary: u16::try_from(self.bytes.len() - offset - fact_len).map_err(too_much)?,
        });
        Ok(())
    }

    /// Streams the old snapshot by. Says no where it was told to stop.
    fn stream(
        &mut self,
        mut reader: Option<&mut Reader>,
        writer: &mut Writer<'_>,
        go_on: &mut impl FnMut() -> bool,
        failed: &impl Fn(io::Error) -> Error,
    ) -> Result<bool> {
        let index = std::mem::take(&mut self.index);
        let mut rest = index.as_slice();
        let mut forgotten = self.keys.forgotten;
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
                        self.new_jobs(&rest[..before], writer, failed)?;
                        rest = &rest[before..];
                        let own = rest.partition_point(|entry| entry.slot == job.slot);
                        self.one(Some(job), &rest[..own], writer, failed)?;
                        rest = &rest[own..];
                    }
                }
                Chunk::Keys(keys) => {
                    // Jobs come before keys: those that are left are all new.
                    self.new_jobs(std::mem::take(&mut rest), writer, failed)?;
                    self.write_keys(&keys, &mut forgotten, writer)
                        .map_err(failed)?;
                }
            }
            if !go_on() {
                return Ok(false);
            }
        }
        self.new_jobs(rest, writer, failed)?;
        let taken = std::mem::take(&mut self.taken);
        self.write_keys(&taken, &mut forgotten, writer)
            .map_err(failed)?;
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
        writer: &mut Writer<'_>,
        failed: &impl Fn(io::Error) -> Error,
    ) -> Result<()> {
        while let Some(first) = entries.first() {
            let own = entries.partition_point(|entry| entry.slot == first.slot);
            self.one(None, &entries[..own], writer, failed)?;
            entries = &entries[own..];
        }
        Ok(())
    }

    fn one(
        &mut self,
        mut job: Option<SavedJob>,
        entries: &[Entry],
        writer: &mut Writer<'_>,
        failed: &impl Fn(io::Error) -> Error,
    ) -> Result<()> {
        for entry in entries {
            let (bytes, meta) = (&self.bytes, &mut self.meta);
            let read = read_entry(bytes, entry, |fact| {
                meta.apply(&fact, job.as_ref());
                job = match SavedJob::enqueued(&fact) {
                    Some(new) => Some(new),
                    None => job.take().and_then(|job| job.apply(&fact)),
                };
            });
            read.map_err(|damage| {
                Error::new(
                    posthaste_core::ErrorKind::Corrupt,
                    format!("a gathered fact can't be read back: {damage}"),
                )
            })?;
        }
        match job {
            Some(job) => writer.job(&job).map_err(failed),
            None => Ok(()),
        }
    }
}

fn read_entry(bytes: &[u8], entry: &Entry, each: impl FnMut(Fact<'_>)) -> Result<(), Damage> {
    let start = entry.offset as usize;
    let middle = start + usize::from(entry.fact);
    let summary = bytes
        .get(middle..middle + usize::from(entry.summary))
        .ok_or(Damage::Short)?;
    let fact = bytes.get(start..middle).ok_or(Damage::Short)?;
    facts::read(fact, |_| Ok(body::read_job(summary)?.summary), each)
}

/// The footer of a segment that is sealed.
pub(crate) fn read_footer(segment: &Segment) -> Result<Footer> {
    let mut block = vec![0; BLOCK];
    let at = segment.groups_end();
    segment
        .file
        .read_at(&mut block, u64::from(at))
        .map_err(|error| io_error("read", &segment.path, &error))?;
    Footer::read(&block).map_err(|damage| corrupt(&segment.path, at as usize, &damage))
}
