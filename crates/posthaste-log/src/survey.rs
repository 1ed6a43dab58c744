//! Looks at every file of a store, one after the other, and takes down what is there and what is
//! damaged. It changes nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use posthaste_core::Result;
use posthaste_core::machine::SavedTopics;

use crate::disk::Disk;
use crate::files::{self, io_error};
use crate::format::record::{self, Tag};
use crate::format::superblock::Superblock;
use crate::format::{BLOCK, Damage, body, events, group};
use crate::scan::{End, Group, Scan};
use crate::segments::{Segment, number_of};
use crate::snapshot;
use crate::verify::{FINDINGS_MAX, Finding, Progress, VerifyReport};

mod archives;
pub(crate) use archives::SeenArchive;

/// What is said of a segment with another epoch than the superblock's.
pub(crate) const ANOTHER_STORES: &str = "it is another store's";

/// Bytes that a segment has at most.
const SEGMENT_BYTES_MAX: u32 = 64 * 1024 * 1024;

/// What was seen of a segment.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) segment: Arc<Segment>,
    /// Offset of the first damage in it, and the sequence number of the group that was due there.
    pub(crate) damage: Option<(usize, u64)>,
    /// Its first group and its last, as far as they can be read.
    pub(crate) first_seq: Option<u64>,
    pub(crate) last_seq: Option<u64>,
    pub(crate) sealed: bool,
    /// Its header is not what it must be: its length, where that can still be read.
    pub(crate) header: Option<u32>,
    /// Where its last group ends that can be read, and the header CRC of that group.
    pub(crate) end: usize,
    pub(crate) link: u32,
}

/// Everything that was seen.
#[derive(Debug)]
pub(crate) struct Survey<'a> {
    pub(crate) disk: &'a Arc<dyn Disk>,
    pub(crate) dir: &'a Path,
    pub(crate) report: VerifyReport,
    /// `None` where neither slot can be read.
    pub(crate) superblock: Option<Superblock>,
    /// Snapshots that can be read through, the newest first.
    pub(crate) snapshots: Vec<(PathBuf, snapshot::Reach)>,
    /// Snapshots that can't.
    pub(crate) bad_snapshots: Vec<PathBuf>,
    pub(crate) segments: Vec<Seen>,
    pub(crate) archives: Vec<SeenArchive>,
    /// Every topic as it is in the newest snapshot, and at the end of the journal.
    moved: SavedTopics,
    topics: SavedTopics,
    /// How far their events were moved.
    archived: BTreeMap<u32, u64>,
    /// What the next group must be, where that is known.
    next: Option<(u64, u32)>,
}

/// Looks at everything. The caller holds the lock.
pub(crate) fn look<'a>(
    disk: &'a Arc<dyn Disk>,
    dir: &'a Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Survey<'a>> {
    let mut survey = Survey {
        disk,
        dir,
        report: VerifyReport::default(),
        superblock: None,
        snapshots: Vec::new(),
        bad_snapshots: Vec::new(),
        segments: Vec::new(),
        archives: Vec::new(),
        moved: SavedTopics::default(),
        topics: SavedTopics::default(),
        archived: BTreeMap::new(),
        next: None,
    };
    let segments = survey.segments()?;
    survey.superblock()?;
    survey.all_snapshots()?;
    survey.topics_of_snapshot()?;
    let segment_bytes = segments.iter().map(|segment| u64::from(segment.bytes));
    let segment_bytes: u64 = segment_bytes.sum();
    // Topics that were made since are few bytes: what is in the journal is not in their archives.
    let total_bytes = survey.report.bytes + segment_bytes + survey.bytes_of(&survey.places()?)?;
    for (index, segment) in segments.iter().enumerate() {
        progress(Progress {
            path: &segment.path,
            done_bytes: survey.report.bytes,
            total_bytes,
        });
        survey.segment(segment, &segments[index + 1..]);
    }
    survey.whole();
    for (topic, place) in survey.places()? {
        survey.archive(topic, place, total_bytes, progress);
    }
    if survey.report.is_sound() {
        survey.index(&segments)?;
    }
    Ok(survey)
}

impl Survey<'_> {
    pub(crate) fn found(&mut self, path: &Path, offset: usize, what: impl fmt::Display) {
        if self.report.damage.len() == FINDINGS_MAX {
            self.report.more += 1;
            return;
        }
        self.report.damage.push(Finding {
            path: path.to_owned(),
            offset: offset as u64,
            what: what.to_string(),
        });
    }

    fn list(&self, dir: &Path) -> Result<Vec<PathBuf>> {
        match self.disk.list(dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            listed => listed.map_err(|error| io_error("list", dir, &error)),
        }
    }

    fn segments(&mut self) -> Result<Vec<Arc<Segment>>> {
        let mut found = Vec::new();
        for path in self.list(&files::segments_dir(self.dir))? {
            let Some(number) = number_of(&path) else {
                continue;
            };
            let file = self
                .disk
                .open(&path)
                .map_err(|error| io_error("open", &path, &error))?;
            let len = file
                .len()
                .map_err(|error| io_error("look at", &path, &error))?;
            let Ok(bytes) = u32::try_from(len) else {
                self.found(&path, 0, "its length is not that of a segment");
                continue;
            };
            found.push(Arc::new(Segment {
                number,
                path,
                file,
                bytes,
            }));
        }
        found.sort_by_key(|segment| segment.number);
        Ok(found)
    }

    fn superblock(&mut self) -> Result<()> {
        let path = self.dir.join("superblock");
        if !self.list(self.dir)?.contains(&path) {
            self.found(&path, 0, "it is gone");
            return Ok(());
        }
        let file = self
            .disk
            .open(&path)
            .map_err(|error| io_error("open", &path, &error))?;
        for slot in 0..2 {
            let (mut block, offset) = (vec![0; BLOCK], slot * BLOCK);
            let read = match file.read_at(&mut block, offset as u64) {
                Ok(()) => Superblock::read(&block),
                Err(_) => Err(Damage::Short),
            };
            match read {
                Ok(found)
                    if self
                        .superblock
                        .is_none_or(|known| known.generation < found.generation) =>
                {
                    self.superblock = Some(found);
                }
                Ok(_) => {}
                Err(damage) => self.found(&path, offset, damage),
            }
        }
        self.report.clean = self.superblock.is_some_and(|superblock| superblock.clean);
        Ok(())
    }

    fn all_snapshots(&mut self) -> Result<()> {
        let dir = files::snapshots_dir(self.dir);
        if self.list(&dir)?.is_empty() {
            return Ok(());
        }
        let listed = snapshot::list(&**self.disk, self.dir);
        for (_, path) in listed.map_err(|error| io_error("list", &dir, &error))? {
            self.report.snapshots += 1;
            let before = self.report.damage.len();
            self.snapshot_records(&path);
            match snapshot::read_back(&**self.disk, &path) {
                Ok(reach) if before == self.report.damage.len() => {
                    self.snapshots.push((path, reach));
                    continue;
                }
                Ok(_) => {}
                Err(error) if before == self.report.damage.len() => {
                    self.found(&path, 0, error.message());
                }
                Err(_) => {}
            }
            self.bad_snapshots.push(path);
        }
        Ok(())
    }

    /// Verifies the records of a snapshot one by one, so that a damage is named where it is.
    fn snapshot_records(&mut self, path: &Path) {
        let read = self.disk.open(path).and_then(|file| {
            let mut bytes = vec![0; usize::try_from(file.len()?).unwrap_or(usize::MAX)];
            file.read_at(&mut bytes, 0)?;
            Ok(bytes)
        });
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(error) => return self.found(path, 0, format!("it can't be read: {error}")),
        };
        self.report.bytes += bytes.len() as u64;
        let mut at = 0;
        while at < bytes.len() {
            match record::read(&bytes[at..]) {
                Ok(record) => at += record.size,
                Err(damage) => return self.found(path, at, damage),
            }
        }
    }

    fn segment(&mut self, segment: &Arc<Segment>, later: &[Arc<Segment>]) {
        self.report.segments += 1;
        let mut seen = Seen {
            segment: Arc::clone(segment),
            damage: None,
            first_seq: None,
            last_seq: None,
            sealed: false,
            header: None,
            end: BLOCK,
            link: 0,
        };
        let mut bytes = vec![0; segment.bytes as usize];
        if let Err(error) = segment.file.read_at(&mut bytes, 0) {
            self.damaged(&mut seen, 0, format!("it can't be read: {error}"));
        } else {
            self.report.bytes += bytes.len() as u64;
            self.frame(&mut seen, &bytes);
            // What was cut off a file is looked for where it was: there are zeros now.
            let was = seen.header.filter(|was| *was <= SEGMENT_BYTES_MAX);
            bytes.resize(bytes.len().max(was.map_or(0, |was| was as usize)), 0);
            self.groups(&mut seen, &bytes, later);
        }
        self.segments.push(seen);
    }

    fn damaged(&mut self, seen: &mut Seen, offset: usize, what: impl fmt::Display) {
        let due = self.next.map_or(0, |(seq, _)| seq);
        seen.damage.get_or_insert((offset, due));
        let path = seen.segment.path.clone();
        self.found(&path, offset, what);
    }

    fn frame(&mut self, seen: &mut Seen, bytes: &[u8]) {
        let path = seen.segment.path.clone();
        match Scan::frame(bytes).0 {
            Err(damage) => {
                seen.header = Some(seen.segment.bytes);
                self.found(&path, 0, damage);
            }
            Ok(header) if header.number != seen.segment.number => {
                seen.header = Some(header.bytes);
                self.found(&path, 0, "it has the number of another segment");
            }
            Ok(header) if header.bytes as usize != bytes.len() => {
                let (is, was) = (bytes.len(), header.bytes);
                seen.header = Some(was);
                self.found(&path, is, format!("it ends here, and was {was} bytes long"));
            }
            Ok(header) if header.epoch != self.epoch(bytes) => {
                self.found(&path, 0, ANOTHER_STORES);
            }
            Ok(_) => {}
        }
        self.anchor(seen.segment.number);
    }

    /// What is known of the first group of a segment: where the newest snapshot ends it starts.
    fn anchor(&mut self, number: u64) {
        let covered = self.snapshots.first().map(|(_, reach)| *reach);
        let before = self.segments.last();
        if let Some(reach) = covered.filter(|reach| reach.segment + 1 == number) {
            self.next = Some((reach.last_seq + 1, reach.link));
        } else if number == 1 {
            self.next = Some((1, 0));
        } else if before.is_none_or(|before| before.segment.number + 1 != number) {
            self.next = None;
        }
    }

    /// The epoch of the store; where its superblock can't be read, as this segment says.
    fn epoch(&self, segment: &[u8]) -> u32 {
        let said = || Scan::frame(segment).0.map_or(0, |header| header.epoch);
        self.superblock.map_or_else(said, |known| known.epoch)
    }

    fn groups(&mut self, seen: &mut Seen, bytes: &[u8], later: &[Arc<Segment>]) {
        let number = seen.segment.number;
        let footer = Scan::frame(bytes).1.ok();
        let footer = footer.filter(|footer| footer.number == number);
        let (seq, link) = self.next.unzip();
        let mut scan = Scan::new(bytes, number, seq, link);
        let mut groups = 0;
        loop {
            match scan.next() {
                Ok(group) => {
                    groups += 1;
                    self.group(seen, &group);
                }
                Err(end) => {
                    let ended = footer.is_some_and(|footer| {
                        footer.end as usize == end.offset && end.damage.is_none()
                    });
                    if ended || !self.is_damage(seen, &scan, &end, footer.is_some(), later) {
                        break;
                    }
                    let epoch = self.epoch(bytes);
                    let Some(offset) = go_on_at(bytes, number, epoch, end.offset) else {
                        break;
                    };
                    self.next = None;
                    scan = Scan::resume(bytes, number, offset);
                }
            }
        }
        if let Some(footer) = footer {
            let last = (
                seen.first_seq,
                seen.last_seq,
                groups,
                self.next.map(|(_, link)| link),
            );
            let said = (
                Some(footer.first_seq),
                Some(footer.last_seq),
                footer.groups,
                Some(footer.link),
            );
            seen.sealed = last == said;
            if !seen.sealed && seen.damage.is_none() && self.report.torn.is_none() {
                let at = bytes.len() - BLOCK;
                self.damaged(seen, at, "its footer does not agree with its groups");
            }
        }
    }

    /// Whether an end that no footer explains is damage. Where nothing shows that what is missing
    /// was ever durable it is the torn end of the store, or simply its end.
    fn is_damage(
        &mut self,
        seen: &mut Seen,
        scan: &Scan<'_>,
        end: &End,
        footer: bool,
        later: &[Arc<Segment>],
    ) -> bool {
        let known = self.superblock.unwrap_or_default();
        let due = self.next.map_or(1, |(seq, _)| seq);
        let behind = scan.marks_behind(end.offset, self.epoch(scan.bytes()));
        let proven = known.durable.max(behind.map_or(0, |(mark, _)| mark)) >= due;
        let more = later.iter().any(|segment| holds_groups(segment));
        let covered = self.snapshots.first();
        let covered = covered.is_some_and(|(_, reach)| seen.segment.number <= reach.segment);
        let torn = end.damage.is_some() || behind.is_some() || footer;
        let what = end.damage.clone();
        let what = what.unwrap_or(Damage::Bad("end: groups are missing"));
        if proven || more || covered || matches!(what, Damage::Newer(_)) {
            self.damaged(seen, end.offset, what);
            return true;
        }
        if torn {
            self.report.torn = Some(Finding {
                path: seen.segment.path.clone(),
                offset: end.offset as u64,
                what: format!("unfinished writing, never acknowledged ({what})"),
            });
        }
        false
    }

    fn group(&mut self, seen: &mut Seen, group: &Group<'_>) {
        self.report.groups += 1;
        let header = group.header;
        seen.first_seq.get_or_insert(header.seq);
        seen.last_seq = Some(header.seq);
        (seen.end, seen.link) = (group.offset + header.size(), header.crc);
        let mut wrong = None;
        let mut records = 0;
        let read = group.records(|offset, record| {
            records += 1;
            if let Err(damage) = well_formed(&record) {
                wrong.get_or_insert((offset, damage));
            }
        });
        let mut facts = 0;
        let covered = self.snapshots.first();
        let is_new = covered.is_none_or(|(_, reach)| reach.segment < header.segment);
        let topics = &mut self.topics;
        let read = read.and_then(|()| {
            group.facts(|fact| {
                facts += 1;
                if is_new {
                    topics.apply(&fact, |_| {});
                }
            })
        });
        self.report.records += records;
        self.report.facts += facts;
        if let Some((offset, damage)) = wrong {
            self.damaged(seen, offset, damage);
        } else if let Err(damage) = read {
            self.damaged(seen, group.offset, damage);
        }
        self.next = Some((header.seq + 1, header.crc));
    }

    /// What only the whole shows: segments that are missing, and groups that were durable.
    fn whole(&mut self) {
        let reach = self
            .snapshots
            .first()
            .map(|(_, reach)| *reach)
            .unwrap_or_default();
        let mut expected = reach.segment + 1;
        let mut missing = Vec::new();
        for seen in self
            .segments
            .iter()
            .filter(|seen| seen.segment.number > reach.segment)
        {
            if seen.segment.number > expected {
                missing.push(
                    seen.segment
                        .path
                        .with_file_name(crate::segments::file_name(expected)),
                );
            }
            expected = seen.segment.number + 1;
        }
        for path in missing {
            self.found(&path, 0, "it is gone, and later ones are not");
        }
        let last = self.segments.iter().filter_map(|seen| seen.last_seq).max();
        let last = last.unwrap_or(0).max(reach.last_seq);
        let durable = self.superblock.map_or(0, |superblock| superblock.durable);
        if durable > last && self.report.is_sound() {
            let dir = files::segments_dir(self.dir);
            let what = format!(
                "groups {} to {durable} are gone, and were durable",
                last + 1
            );
            self.found(&dir, 0, what);
        }
    }
}

/// Where reading may go on behind a group that can't be read.
fn go_on_at(bytes: &[u8], number: u64, epoch: u32, offset: usize) -> Option<usize> {
    let groups = bytes.get(..bytes.len().checked_sub(BLOCK)?)?;
    let header = |at: usize| {
        let header = group::read_header(groups.get(at..)?).ok()?;
        (header.segment == number && header.epoch == epoch).then_some(header)
    };
    let behind = header(offset).map_or(offset + BLOCK, |header| offset + header.size());
    (behind..groups.len())
        .step_by(BLOCK)
        .find(|at| header(*at).is_some())
}

pub(crate) fn holds_groups(segment: &Segment) -> bool {
    let mut block = vec![0; BLOCK];
    let read = segment.file.read_at(&mut block, BLOCK as u64);
    read.is_ok() && group::read_header(&block).is_ok_and(|header| header.segment == segment.number)
}

/// Reads what a record says, to its last field.
fn well_formed(record: &record::Record<'_>) -> Result<(), Damage> {
    match record.tag {
        Tag::Job => body::read_job(record.data)?.extras().map(|_| ()),
        Tag::Note => body::read_note(record.data).map(|_| ()),
        Tag::Answer => body::read_answer(record.data).map(|_| ()),
        Tag::Events => events::well_formed(record.data),
        Tag::Kept => events::kept_well_formed(record.data),
        Tag::Why => events::why_well_formed(record.data),
        _ => Err(Damage::Bad("tag: it does not belong in a group")),
    }
}
