//! Opens a directory: reads the newest snapshot and what came after it, and cuts a torn tail.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use posthaste_core::machine::Machine;
use posthaste_core::{Error, ErrorKind, MonoMs, Result};

use crate::disk::Disk;
use crate::files::{self, Files, corrupt, io_error};
use crate::format::segment::{Footer, Header};
use crate::format::{BLOCK, Damage, group};
use crate::journal::Position;
use crate::live::Live;
use crate::scan::{End, Scan};
use crate::segments::{self, Segment, Segments};
use crate::snapshot;
use crate::topics::{Change, Home, Mover};

/// A store as it was found.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) files: Arc<Files>,
    pub(crate) machine: Machine,
    pub(crate) segments: Arc<Segments>,
    pub(crate) position: Position,
    pub(crate) live: Live,
    /// The store had been closed in order.
    pub(crate) clean: bool,
    /// Segments up to this one are in the newest snapshot.
    pub(crate) snapshot: u64,
    /// What was cut off, in words.
    pub(crate) cut: Option<String>,
    /// What became of topics, in order.
    pub(crate) topics: Vec<Change>,
    /// Where the events are that left the journal.
    pub(crate) mover: Mover,
}

/// Opens the store in `dir`, whose lock the caller holds.
///
/// # Errors
/// `Corrupt`, `NewerFormat`, `Io`, `DiskFull`: nothing was changed then, but for what a new store
/// needs.
pub(crate) fn open(
    disk: Arc<dyn Disk>,
    dir: &Path,
    segment_bytes: u32,
    mono: MonoMs,
) -> Result<Recovered> {
    make_dirs(&*disk, dir)?;
    let segments_dir = files::segments_dir(dir);
    let existing = open_segments(&*disk, &segments_dir)?;
    refuse_headless(&*disk, dir, &existing)?;
    let files = Arc::new(Files::open(Arc::clone(&disk), dir)?);
    let mut replay = Replay::new(&files, &existing, mono)?;
    let tail = replay.all(&existing)?;
    let first_ready = tail
        .as_ref()
        .map_or(replay.snapshot + 1, |tail| tail.segment.number + 1);
    let epoch = files.superblock().epoch;
    let segments = Segments::new(
        disk,
        segments_dir.clone(),
        epoch,
        segment_bytes,
        existing,
        first_ready,
    );
    let position = match tail.filter(|tail| !tail.sealed) {
        Some(tail) => Position {
            segment: tail.segment,
            offset: crate::format::bytes::small(tail.end),
            seq: replay.next_seq,
            link: replay.link,
            first_seq: tail.first_seq,
        },
        None => {
            let segment = segments
                .take()
                .map_err(|error| io_error("create a segment in", &segments_dir, &error))?;
            let seq = replay.next_seq;
            Position {
                segment,
                offset: crate::format::BLOCK_U32,
                seq,
                link: replay.link,
                first_seq: seq,
            }
        }
    };
    let home = Home {
        disk: Arc::clone(&files.disk),
        dir: dir.to_owned(),
        file_bytes: u64::from(segment_bytes),
    };
    let mover = Mover::open(home, replay.machine.topics(), &replay.archived)?;
    let cut = [replay.cut, mover.cut()].into_iter().flatten();
    let cut: Vec<String> = cut.collect();
    let clean = files.superblock().clean;
    files
        .mark(replay.next_seq - 1, position.segment.number, false)
        .map_err(|error| io_error("write", &dir.join("superblock"), &error))?;
    Ok(Recovered {
        machine: replay.machine,
        segments: Arc::new(segments),
        position,
        live: replay.live,
        clean,
        snapshot: replay.snapshot,
        cut: (!cut.is_empty()).then(|| cut.join("; ")),
        topics: replay.topics,
        mover,
        files,
    })
}

fn make_dirs(disk: &dyn Disk, dir: &Path) -> Result<()> {
    for path in [
        files::segments_dir(dir),
        files::snapshots_dir(dir),
        files::topics_dir(dir),
        files::lost_dir(dir),
    ] {
        disk.create_dir_all(&path)
            .map_err(|error| io_error("create", &path, &error))?;
        // What is found there is built upon: its name must be there tomorrow too.
        disk.sync_dir(&path)
            .map_err(|error| io_error("sync", &path, &error))?;
    }
    // The directory itself is an entry of another: as long as the store is not known to be there,
    // so may that entry not be.
    let known = disk
        .list(dir)
        .map_err(|error| io_error("list", dir, &error))?
        .contains(&dir.join("superblock"));
    let above = dir.ancestors().skip(1).map(|parent| match parent {
        nameless if nameless.as_os_str().is_empty() => Path::new("."),
        parent => parent,
    });
    for path in std::iter::once(dir).chain(above.take_while(|_| !known)) {
        match disk.sync_dir(path) {
            // Who may not even look at a directory did not create an entry in it either.
            Err(error) if path != dir && error.kind() == io::ErrorKind::PermissionDenied => {}
            outcome => outcome.map_err(|error| io_error("sync", path, &error))?,
        }
    }
    Ok(())
}

/// Opens every segment there is, the lowest number first, and removes what was never published.
fn open_segments(disk: &dyn Disk, dir: &Path) -> Result<Vec<Arc<Segment>>> {
    let mut found = Vec::new();
    for path in disk
        .list(dir)
        .map_err(|error| io_error("list", dir, &error))?
    {
        if let Some(number) = segments::number_of(&path) {
            let file = disk
                .open(&path)
                .map_err(|error| io_error("open", &path, &error))?;
            let len = file
                .len()
                .map_err(|error| io_error("look at", &path, &error))?;
            let bytes =
                u32::try_from(len).map_err(|_| corrupt(&path, 0, &Damage::Bad("length")))?;
            found.push(Arc::new(Segment {
                number,
                path,
                file,
                bytes,
            }));
        } else if path.extension().is_some_and(|extension| extension == "tmp") {
            disk.remove(&path)
                .map_err(|error| io_error("remove", &path, &error))?;
        }
    }
    found.sort_by_key(|segment| segment.number);
    Ok(found)
}

/// Segments without a superblock are not a new store: a file was lost.
fn refuse_headless(disk: &dyn Disk, dir: &Path, existing: &[Arc<Segment>]) -> Result<()> {
    let path = dir.join("superblock");
    let known = disk
        .list(dir)
        .map_err(|error| io_error("list", dir, &error))?
        .contains(&path);
    if known || existing.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Corrupt,
        format!(
            "{} is gone, and the segments beside it are not",
            path.display()
        ),
    )
    .next("restore the file from a backup, or run `posthaste repair --dry-run`"))
}

/// The last segment with groups.
struct Tail {
    segment: Arc<Segment>,
    end: usize,
    first_seq: u64,
    sealed: bool,
}

struct Replay<'a> {
    files: &'a Files,
    machine: Machine,
    live: Live,
    mono: MonoMs,
    next_seq: u64,
    link: u32,
    snapshot: u64,
    cut: Option<String>,
    topics: Vec<Change>,
    archived: BTreeMap<u32, u64>,
}

impl<'a> Replay<'a> {
    fn new(files: &'a Files, existing: &[Arc<Segment>], mono: MonoMs) -> Result<Self> {
        let follows = |reach: u64| {
            let behind = existing
                .iter()
                .map(|segment| segment.number)
                .filter(|number| *number > reach);
            behind.eq(reach + 1..=existing.last().map_or(reach, |last| last.number))
        };
        let loaded = snapshot::load(files, mono, follows)?;
        let mut replay = Self {
            files,
            machine: loaded.machine,
            live: Live::default(),
            mono,
            next_seq: loaded.reach.last_seq + 1,
            link: loaded.reach.link,
            snapshot: loaded.reach.segment,
            cut: loaded.damaged,
            topics: Vec::new(),
            archived: loaded.archived,
        };
        replay.note_places();
        Ok(replay)
    }

    fn note_places(&mut self) {
        let mut changes = Vec::new();
        self.machine.drain_places(&mut changes);
        self.live.note(&mut changes);
        let mut topics = Vec::new();
        self.machine.drain_topics(&mut topics);
        let changes = topics.into_iter().map(|what| Change { what, record: None });
        self.topics.extend(changes);
    }

    /// Replays every segment that the snapshot does not cover.
    fn all(&mut self, existing: &[Arc<Segment>]) -> Result<Option<Tail>> {
        let mut tail = None;
        let mut bytes = Vec::new();
        let mut expected = None;
        for (index, segment) in existing.iter().enumerate() {
            if segment.number <= self.snapshot {
                continue;
            }
            if *expected.get_or_insert(self.snapshot + 1) != segment.number {
                return Err(gap(segment, expected.unwrap_or(0)));
            }
            expected = Some(segment.number + 1);
            let found = self.one(segment, &existing[index + 1..], &mut bytes)?;
            let Some(found) = found else { break };
            let sealed = found.sealed;
            tail = Some(found);
            if !sealed {
                break;
            }
        }
        check_ready(
            existing,
            self.files.superblock().epoch,
            tail.as_ref()
                .map_or(self.snapshot, |tail| tail.segment.number),
        )?;
        if self.files.superblock().durable >= self.next_seq {
            let path = tail.as_ref().map_or_else(
                || files::segments_dir(&self.files.dir),
                |tail| tail.segment.path.clone(),
            );
            let offset = tail.as_ref().map_or(0, |tail| tail.end);
            return Err(corrupt(
                &path,
                offset,
                &Damage::Bad("end: groups that were durable are missing"),
            ));
        }
        Ok(tail)
    }

    /// Replays one segment. `None` where it holds nothing.
    fn one(
        &mut self,
        segment: &Arc<Segment>,
        later: &[Arc<Segment>],
        bytes: &mut Vec<u8>,
    ) -> Result<Option<Tail>> {
        self.read(segment, bytes)?;
        let (header, footer) = Scan::frame(bytes);
        check_header(segment, header, self.files.superblock().epoch)?;
        let footer = footer.ok().filter(|footer| footer.number == segment.number);
        let first_seq = self.next_seq;
        let mut scan = Scan::new(bytes, segment.number, Some(self.next_seq), Some(self.link));
        let end = loop {
            match scan.next() {
                Ok(group) => {
                    let (machine, mono) = (&mut self.machine, self.mono);
                    group
                        .facts(|fact| machine.evolve(&fact, mono))
                        .map_err(|damage| corrupt(&segment.path, group.offset, &damage))?;
                    self.next_seq = group.header.seq + 1;
                    self.link = group.header.crc;
                }
                Err(end) => break end,
            }
        };
        self.note_places();
        let sealed = footer.is_some_and(|footer| is_whole(&footer, &end, self.next_seq));
        if !sealed {
            self.end_here(segment, later, &scan, &end, footer.is_some())?;
        }
        if self.next_seq == first_seq && !sealed {
            // Nothing in it: it stands ready, unless it is the one to go on with.
            return Ok((self.next_seq > 1 || self.cut.is_some()).then(|| Tail {
                segment: Arc::clone(segment),
                end: BLOCK,
                first_seq,
                sealed: false,
            }));
        }
        Ok(Some(Tail {
            segment: Arc::clone(segment),
            end: end.offset,
            first_seq,
            sealed,
        }))
    }

    /// Reads a whole segment. What is not known to be durable is read from the device itself: what
    /// goes on from here rests on it.
    fn read(&self, segment: &Segment, bytes: &mut Vec<u8>) -> Result<()> {
        let size = segment.bytes as usize;
        if bytes.len() != size {
            *bytes = vec![0; size]; // zeroed by the system, not by a loop
        }
        let failed = |error| io_error("read", &segment.path, &error);
        segment.file.read_at(bytes, 0).map_err(failed)?;
        let superblock = self.files.superblock();
        let footer = Scan::frame(bytes).1;
        let known = footer.is_ok_and(|footer| footer.last_seq <= superblock.durable);
        if superblock.clean || known {
            return Ok(());
        }
        segment.file.refresh().map_err(failed)?;
        segment.file.read_at(bytes, 0).map_err(failed)
    }

    /// The groups end here, and the segment is not sealed whole: a torn tail is cut, anything
    /// else is corruption.
    fn end_here(
        &mut self,
        segment: &Segment,
        later: &[Arc<Segment>],
        scan: &Scan<'_>,
        end: &End,
        has_footer: bool,
    ) -> Result<()> {
        let damage = end
            .damage
            .clone()
            .unwrap_or(Damage::Bad("end: groups are missing"));
        if let Damage::Newer(_) = damage {
            return Err(corrupt(&segment.path, end.offset, &damage));
        }
        let superblock = self.files.superblock();
        let behind = scan.marks_behind(end.offset, superblock.epoch);
        let mark = superblock.durable.max(behind.map_or(0, |(mark, _)| mark));
        if mark >= self.next_seq || holds_groups(later)? {
            return Err(corrupt(&segment.path, end.offset, &damage));
        }
        if end.damage.is_some() || behind.is_some() || has_footer {
            let reaches = behind.map_or(end.offset + BLOCK, |(_, reaches)| {
                reaches.max(end.offset + BLOCK)
            });
            self.cut_tail(segment, end.offset, reaches, has_footer, &damage)?;
        }
        Ok(())
    }

    /// Keeps what is cut in `lost+found`, then blanks it where it was.
    fn cut_tail(
        &mut self,
        segment: &Segment,
        from: usize,
        to: usize,
        footer: bool,
        damage: &Damage,
    ) -> Result<()> {
        let to = to.min(segment.groups_end() as usize);
        let failed = |error| io_error("cut the torn tail of", &segment.path, &error);
        let mut lost = vec![0; to.saturating_sub(from)];
        segment
            .file
            .read_at(&mut lost, from as u64)
            .map_err(failed)?;
        let dir = files::lost_dir(&self.files.dir);
        let name = format!(
            "segment-{:016x}-offset-{from}-before-group-{}",
            segment.number, self.next_seq
        );
        let disk = &self.files.disk;
        let taken = disk.list(&dir).map_err(failed)?;
        let path = (0_u32..)
            .map(|copy| dir.join(format!("{name}.{copy}")))
            .find(|path| !taken.contains(path))
            .unwrap_or_else(|| dir.join(&name));
        let keep = || {
            let file = disk.create(&path)?;
            file.write_at(&lost, 0)?;
            file.sync_data()?;
            disk.sync_dir(&dir)?;
            segment.file.write_at(&vec![0; lost.len()], from as u64)?;
            if footer {
                segment
                    .file
                    .write_at(&vec![0; BLOCK], u64::from(segment.groups_end()))?;
            }
            segment.file.sync_data()
        };
        keep().map_err(failed)?;
        self.cut = Some(format!(
            "cut {} bytes of unfinished writing off {} at offset {from} ({damage}); they are kept in {}",
            lost.len(),
            segment.path.display(),
            path.display()
        ));
        Ok(())
    }
}

/// A segment is what its header says. The header was synced before the file had its name, so that
/// no power cut explains another.
fn check_header(segment: &Segment, header: Result<Header, Damage>, epoch: u32) -> Result<()> {
    let wrong = match header {
        Err(damage) => damage,
        Ok(header) if header.number != segment.number => Damage::Bad("number"),
        Ok(header) if header.bytes != segment.bytes => Damage::Bad("length"),
        Ok(header) if header.epoch != epoch => Damage::Bad("epoch: it is another store's"),
        Ok(_) => return Ok(()),
    };
    Err(corrupt(&segment.path, 0, &wrong))
}

/// The segments behind the last one with groups stand ready: what is written to them next must be
/// found again.
fn check_ready(existing: &[Arc<Segment>], epoch: u32, last: u64) -> Result<()> {
    for segment in existing.iter().filter(|segment| segment.number > last) {
        let mut block = vec![0; BLOCK.min(segment.bytes as usize)];
        let read = segment.file.read_at(&mut block, 0);
        read.map_err(|error| io_error("read", &segment.path, &error))?;
        check_header(segment, Header::read(&block), epoch)?;
    }
    Ok(())
}

fn is_whole(footer: &Footer, end: &End, next_seq: u64) -> bool {
    end.damage.is_none() && footer.end as usize == end.offset && footer.last_seq + 1 == next_seq
}

fn gap(segment: &Segment, expected: u64) -> Error {
    let message = format!(
        "{} is there, and the segment {expected:016x} before it is not",
        segment.path.display()
    );
    Error::new(ErrorKind::Corrupt, message)
        .next("restore the missing file from a backup, or run `posthaste repair --dry-run`")
}

/// Whether any of these segments begins with a group of its own.
fn holds_groups(later: &[Arc<Segment>]) -> Result<bool> {
    for segment in later {
        let mut block = vec![0; BLOCK];
        let read = segment.file.read_at(&mut block, BLOCK as u64);
        read.map_err(|error| io_error("read", &segment.path, &error))?;
        if group::read_header(&block).is_ok_and(|header| header.segment == segment.number) {
            return Ok(true);
        }
    }
    Ok(false)
}
