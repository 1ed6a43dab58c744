//! Snapshots: the index as it was at the end of a sealed segment.
//!
//! ```text
//!   Head     which segment and group it reaches to
//!   Settles  some tens of kilobytes of them a record
//!   Jobs     likewise, by slot
//!   Keys     likewise, oldest first
//!   Seen     published events that are remembered by their ids, oldest first
//!   Meta     what is kept once
//!   End      where Meta is, and how much of each there was; the last 64 bytes of the file
//! ```
//!
//! A snapshot is written to a temporary file, synced, renamed, and read back before anything that
//! it replaces is let go. This room knows the file; what goes into it is the merge's business.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use posthaste_core::machine::{Machine, SavedJob, SavedKey, SavedMeta, SavedSeen, Settles};
use posthaste_core::{ErrorKind, MonoMs, Result};

use crate::disk::{Disk, DiskFile};
use crate::files::{self, Files, corrupt, io_error};
use crate::format::bytes::{Put, Take};
use crate::format::record::{self, Tag};
use crate::format::saved::{self, Names};
use crate::format::{BLOCK, Damage};

/// Bytes of a record of jobs, keys or settles.
const CHUNK: usize = 64 * 1024;
/// Bytes written between two syncs, so that no commit waits behind them.
const SYNC_EVERY: u64 = 1024 * 1024;
/// Bytes of the last record.
const END: usize = 64;

/// How far a snapshot reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    /// Every segment up to this one is in it.
    pub(crate) segment: u64,
    /// Sequence number of the last group in it.
    pub(crate) last_seq: u64,
    /// Header CRC of that group.
    pub(crate) link: u32,
}

/// The name of a snapshot's file.
pub(crate) fn file_name(segment: u64) -> String {
    format!("{segment:016x}.snap")
}

/// The snapshots in a directory, the newest first.
pub(crate) fn list(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let number = |path: &Path| {
        let name = path.file_name()?.to_str()?.strip_suffix(".snap")?;
        u64::from_str_radix(name, 16)
            .ok()
            .filter(|_| name.len() == 16)
    };
    let paths = disk.list(&files::snapshots_dir(dir))?;
    let mut found: Vec<_> = paths
        .into_iter()
        .filter_map(|path| Some((number(&path)?, path)))
        .collect();
    found.sort_unstable_by(|one, two| two.cmp(one));
    Ok(found)
}

/// The index out of a snapshot, and how far that reaches.
pub(crate) struct Loaded {
    pub(crate) machine: Machine,
    pub(crate) reach: Reach,
    /// How far the events of each topic are kept outside the journal.
    pub(crate) archived: BTreeMap<u32, u64>,
    /// The newest snapshot is damaged, and this is the one before it.
    pub(crate) damaged: Option<String>,
}

/// Loads the newest snapshot; where that is damaged, the one before it, if `follows` says that
/// every segment behind that one is still there. An empty index, where there is none.
pub(crate) fn load(files: &Files, mono: MonoMs, follows: impl Fn(u64) -> bool) -> Result<Loaded> {
    let dir = files::snapshots_dir(&files.dir);
    let found = list(&*files.disk, &files.dir).map_err(|error| io_error("list", &dir, &error))?;
    let Some((_, newest)) = found.first() else {
        return Ok(Loaded {
            machine: Machine::new(),
            reach: Reach::default(),
            archived: BTreeMap::new(),
            damaged: None,
        });
    };
    match load_one(&*files.disk, newest, mono) {
        Ok(loaded) => Ok(loaded),
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            let before = found.get(1).filter(|(segment, _)| follows(*segment));
            let (_, path) = before.ok_or_else(|| error.clone())?;
            let loaded = load_one(&*files.disk, path, mono).map_err(|_| error.clone())?;
            let damaged = Some(format!(
                "{}; the snapshot before it was used",
                error.message()
            ));
            Ok(Loaded { damaged, ..loaded })
        }
        Err(error) => Err(error),
    }
}

fn load_one(disk: &dyn Disk, path: &Path, mono: MonoMs) -> Result<Loaded> {
    let mut machine = Machine::new();
    let file = disk
        .open(path)
        .map_err(|error| io_error("open", path, &error))?;
    let mut reader = Reader::open(path, file)?;
    machine.load_meta(&reader.meta, mono);
    machine.load_settles(std::mem::take(&mut reader.settles));
    while let Some(chunk) = reader.next()? {
        match chunk {
            Chunk::Jobs(jobs) => jobs.iter().for_each(|job| machine.load_job(job, mono)),
            Chunk::Keys(keys) => keys.iter().for_each(|key| machine.load_key(key)),
            Chunk::Seen(seen) => seen.iter().for_each(|seen| machine.load_seen(seen)),
        }
    }
    machine.loaded();
    Ok(Loaded {
        machine,
        reach: reader.reach,
        archived: std::mem::take(&mut reader.meta.archived),
        damaged: None,
    })
}

/// A part of a snapshot.
pub(crate) enum Chunk {
    Jobs(Vec<SavedJob>),
    Keys(Vec<SavedKey>),
    Seen(Vec<SavedSeen>),
}

/// Reads a snapshot from its beginning, verifying every record.
pub(crate) struct Reader {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    at: u64,
    names: Names,
    counts: [u64; 4],
    expected: [u64; 4],
    meta_at: u64,
    pub(crate) reach: Reach,
    pub(crate) meta: SavedMeta,
    pub(crate) settles: Settles,
}

impl Reader {
    pub(crate) fn open(path: &Path, file: Arc<dyn DiskFile>) -> Result<Self> {
        let len = file
            .len()
            .map_err(|error| io_error("look at", path, &error))?;
        let mut reader = Self {
            path: path.to_owned(),
            file,
            at: 0,
            names: Names::default(),
            counts: [0; 4],
            expected: [0; 4],
            meta_at: 0,
            reach: Reach::default(),
            meta: SavedMeta::default(),
            settles: Settles::default(),
        };
        let Some(end_at) = len.checked_sub(END as u64) else {
            return Err(reader.damaged(Damage::Short));
        };
        let end = reader.record_at(end_at, Tag::End, end_at + END as u64)?;
        reader
            .read_end(&end)
            .map_err(|damage| reader.damaged(damage))?;
        let meta = reader.record_at(reader.meta_at, Tag::Meta, end_at)?;
        reader.meta = saved::read_meta(&meta).map_err(|damage| reader.damaged(damage))?;
        let head = reader.record_at(0, Tag::Head, end_at)?;
        reader
            .read_head(&head)
            .map_err(|damage| reader.damaged(damage))?;
        reader.read_settles()?;
        Ok(reader)
    }

    fn read_end(&mut self, data: &[u8]) -> Result<(), Damage> {
        let mut take = Take(data);
        self.meta_at = take.u64()?;
        for expected in &mut self.expected {
            *expected = take.u64()?;
        }
        Ok(())
    }

    fn read_head(&mut self, data: &[u8]) -> Result<(), Damage> {
        let mut take = Take(data);
        self.reach = Reach {
            segment: take.u64()?,
            last_seq: take.u64()?,
            link: take.u32()?,
        };
        Ok(())
    }

    fn read_settles(&mut self) -> Result<()> {
        while self.at < self.meta_at {
            let before = self.at;
            let (tag, data) = self.any_record(self.meta_at)?;
            if tag != Tag::Settles {
                self.at = before;
                break;
            }
            let mut take = Take(&data);
            while !take.0.is_empty() {
                let (number, page) =
                    saved::read_page(&mut take).map_err(|damage| self.damaged(damage))?;
                self.settles.load(number, page);
                self.counts[2] += 1;
            }
        }
        Ok(())
    }

    fn damaged(&self, damage: Damage) -> posthaste_core::Error {
        corrupt(
            &self.path,
            usize::try_from(self.at).unwrap_or(usize::MAX),
            &damage,
        )
    }

    /// The data of the record at `at`, which ends at `limit` at the latest. Goes on behind it.
    fn record_at(&mut self, at: u64, tag: Tag, limit: u64) -> Result<Vec<u8>> {
        self.at = at;
        let (found, data) = self.any_record(limit)?;
        if found == tag {
            Ok(data)
        } else {
            Err(self.damaged(Damage::Bad("record")))
        }
    }

    fn any_record(&mut self, limit: u64) -> Result<(Tag, Vec<u8>)> {
        let failed = |path: &Path, error| io_error("read", path, &error);
        let mut header = [0; record::HEADER];
        if self.at + record::ALIGN as u64 > limit {
            return Err(self.damaged(Damage::Short));
        }
        self.file
            .read_at(&mut header, self.at)
            .map_err(|error| failed(&self.path, error))?;
        let size = record::size_said(&header).map_err(|damage| self.damaged(damage))?;
        if self.at + size as u64 > limit {
            return Err(self.damaged(Damage::Bad("length")));
        }
        let mut bytes = vec![0; size];
        self.file
            .read_at(&mut bytes, self.at)
            .map_err(|error| failed(&self.path, error))?;
        let record = record::read(&bytes).map_err(|damage| self.damaged(damage))?;
        self.at += record.size as u64;
        Ok((record.tag, record.data.to_vec()))
    }

    /// The next part; `None` behind the last, where the counts are compared.
    pub(crate) fn next(&mut self) -> Result<Option<Chunk>> {
        if self.at >= self.meta_at {
            return if self.counts == self.expected {
                Ok(None)
            } else {
                Err(self.damaged(Damage::Bad("count")))
            };
        }
        let (tag, data) = self.any_record(self.meta_at)?;
        self.chunk(tag, &data)
            .map(Some)
            .map_err(|damage| self.damaged(damage))
    }

    fn chunk(&mut self, tag: Tag, data: &[u8]) -> Result<Chunk, Damage> {
        let mut take = Take(data);
        Ok(match tag {
            Tag::Jobs => {
                let mut jobs = Vec::new();
                while !take.0.is_empty() {
                    jobs.push(saved::read_job(&mut take, &mut self.names)?);
                }
                self.counts[0] += jobs.len() as u64;
                Chunk::Jobs(jobs)
            }
            Tag::Keys => {
                let mut keys = Vec::new();
                while !take.0.is_empty() {
                    keys.push(saved::read_key(&mut take)?);
                }
                self.counts[1] += keys.len() as u64;
                Chunk::Keys(keys)
            }
            Tag::Seen => {
                let mut seen = Vec::new();
                while !take.0.is_empty() {
                    seen.push(saved::read_remembered(&mut take)?);
                }
                self.counts[3] += seen.len() as u64;
                Chunk::Seen(seen)
            }
            _ => return Err(Damage::Bad("record")),
        })
    }
}

/// Writes a snapshot.
pub(crate) struct Writer<'a> {
    disk: &'a dyn Disk,
    dir: PathBuf,
    temporary: PathBuf,
    file: Arc<dyn DiskFile>,
    at: u64,
    synced: u64,
    chunk: Vec<u8>,
    chunk_tag: Tag,
    counts: [u64; 4],
    out: Vec<u8>,
}

impl<'a> Writer<'a> {
    pub(crate) fn create(files: &'a Files, reach: Reach, settles: &Settles) -> io::Result<Self> {
        let dir = files::snapshots_dir(&files.dir);
        let temporary = dir.join("building.tmp");
        if files.disk.list(&dir)?.contains(&temporary) {
            files.disk.remove(&temporary)?;
        }
        let mut writer = Self {
            disk: &*files.disk,
            file: files.disk.create(&temporary)?,
            dir,
            temporary,
            at: 0,
            synced: 0,
            chunk: Vec::with_capacity(CHUNK + 512),
            chunk_tag: Tag::Jobs,
            counts: [0; 4],
            out: Vec::with_capacity(CHUNK + BLOCK),
        };
        writer.record(Tag::Head, |data| {
            data.u64(reach.segment);
            data.u64(reach.last_seq);
            data.u32(reach.link);
        })?;
        for (number, page) in settles.pages() {
            writer.add(Tag::Settles, |chunk| saved::write_page(chunk, number, page))?;
        }
        Ok(writer)
    }

    fn record(&mut self, tag: Tag, fill: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        self.out.clear();
        record::write(&mut self.out, tag, fill);
        self.file.write_at(&self.out, self.at)?;
        self.at += self.out.len() as u64;
        if self.at - self.synced >= SYNC_EVERY {
            self.file.sync_data()?;
            self.synced = self.at;
        }
        Ok(())
    }

    fn add(&mut self, tag: Tag, fill: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        if self.chunk_tag != tag || self.chunk.len() >= CHUNK {
            self.flush()?;
            self.chunk_tag = tag;
        }
        let which = match tag {
            Tag::Jobs => 0,
            Tag::Keys => 1,
            Tag::Seen => 3,
            _ => 2,
        };
        self.counts[which] += 1;
        fill(&mut self.chunk);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::take(&mut self.chunk);
        self.record(self.chunk_tag, |data| data.put(&chunk))?;
        self.chunk = chunk;
        self.chunk.clear();
        Ok(())
    }

    pub(crate) fn job(&mut self, job: &SavedJob) -> io::Result<()> {
        self.add(Tag::Jobs, |chunk| saved::write_job(chunk, job))
    }

    pub(crate) fn key(&mut self, key: &SavedKey) -> io::Result<()> {
        self.add(Tag::Keys, |chunk| saved::write_key(chunk, key))
    }

    pub(crate) fn seen(&mut self, seen: &SavedSeen) -> io::Result<()> {
        self.add(Tag::Seen, |chunk| saved::write_remembered(chunk, seen))
    }

    /// Ends the snapshot, and makes it durable under its name.
    pub(crate) fn finish(mut self, meta: &SavedMeta, segment: u64) -> io::Result<PathBuf> {
        self.flush()?;
        let meta_at = self.at;
        self.record(Tag::Meta, |data| saved::write_meta(data, meta))?;
        let counts = self.counts;
        self.record(Tag::End, |data| {
            data.u64(meta_at);
            counts.iter().for_each(|count| data.u64(*count));
            data.resize(data.len() + 8, 0);
        })?;
        self.file.sync_data()?;
        let path = self.dir.join(file_name(segment));
        self.disk.rename(&self.temporary, &path)?;
        self.disk.sync_dir(&self.dir)?;
        Ok(path)
    }
}

/// Reads a snapshot through, from the device and not from what the system remembers of its writing,
/// and answers how far it reaches.
pub(crate) fn read_back(disk: &dyn Disk, path: &Path) -> Result<Reach> {
    let file = disk
        .open(path)
        .map_err(|error| io_error("open", path, &error))?;
    file.refresh()
        .map_err(|error| io_error("sync", path, &error))?;
    let mut reader = Reader::open(path, file)?;
    while reader.next()?.is_some() {}
    Ok(reader.reach)
}
