//! Makes a damaged store one that opens again, and says beforehand what that costs.
//!
//! What can be read up to the first damage is kept, in order; what comes behind it can't be, because
//! every fact rests on those before it. It never guesses at facts, and never throws anything away:
//! whatever it takes out or changes is kept as it was in `lost+found`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use posthaste_core::{Error, ErrorKind, Result};

use crate::disk::Disk;
use crate::files::{self, io_error};
use crate::format::segment::{Footer, Header};
use crate::format::superblock::Superblock;
use crate::format::{BLOCK, group};
use crate::segments::Segment;
use crate::survey::{ANOTHER_STORES, Seen, SeenArchive, Survey, look};
use crate::verify::{VerifyReport, there_is_a_store};

/// Bytes that are copied at once.
const SLICE: usize = 1024 * 1024;

/// What repairing a store takes, and what it costs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// What was found before anything was changed.
    pub found: VerifyReport,
    /// What is done, or would be, in words and in order. Empty where nothing needs to be.
    pub steps: Vec<String>,
    /// Sequence number of the last group that is kept; 0 where none is.
    pub last_kept: u64,
    /// Groups known to have been there that are lost. Each holds one commit or several.
    pub groups_lost: u64,
    /// Events that are lost with the archives of topics, at most: those are counted that retention or
    /// compaction had let go of, and those that the journal may still have.
    pub events_lost: u64,
    /// It was done. Otherwise nothing was changed.
    pub done: bool,
}

/// One thing to do.
enum Step {
    SetAside(PathBuf, String),
    Header(Arc<Segment>, Header),
    Footer(Arc<Segment>, Footer),
    Cut(Arc<Segment>, usize),
    /// The archive of a topic ends there.
    CutEvents(PathBuf, u64),
    /// The archive of a topic begins with this file.
    Begin(PathBuf, Vec<u8>, String),
    Superblock(Superblock),
}

/// Says what it takes to open the store in `dir` again, and does it unless `dry_run`. The lock is
/// held meanwhile. Bodies that can't be read are left as they are: their jobs become dead, reason
/// `corrupt`, when they are read.
///
/// # Errors
/// `NotFound` where there is no store, `Locked` where somebody has it open, `NewerFormat`, `Io`,
/// `DiskFull`, `Corrupt` where no beginning is left to go on from.
pub fn repair(disk: &Arc<dyn Disk>, dir: &Path, dry_run: bool) -> Result<RepairReport> {
    there_is_a_store(&**disk, dir)?;
    let _lock = crate::opening::lock(&**disk, dir, 0)?;
    let survey = look(disk, dir, &mut |_| {})?;
    let mut report = RepairReport::default();
    let steps = plan(&survey, &mut report)?;
    report.steps = steps.iter().map(|step| step.told(dir)).collect();
    report.found = survey.report;
    if !dry_run {
        let kept = files::lost_dir(dir);
        disk.create_dir_all(&kept)
            .and_then(|()| disk.sync_dir(dir))
            .map_err(|error| io_error("create", &kept, &error))?;
        for step in &steps {
            step.take(&**disk, dir)
                .map_err(|error| io_error("repair", step.path(dir), &error))?;
        }
        report.done = true;
    }
    Ok(report)
}

fn plan(survey: &Survey<'_>, report: &mut RepairReport) -> Result<Vec<Step>> {
    let newer = |finding: &&crate::verify::Finding| finding.what.contains("newer than");
    if let Some(finding) = survey.report.damage.iter().find(newer) {
        return Err(Error::new(ErrorKind::NewerFormat, finding.to_string())
            .next("run the version that wrote it, or a later one"));
    }
    let foreign = |finding: &&crate::verify::Finding| finding.what == ANOTHER_STORES;
    if let Some(finding) = survey.report.damage.iter().find(foreign) {
        return Err(Error::new(ErrorKind::Corrupt, finding.to_string())
            .next("put this store's own file back in its place"));
    }
    let mut steps: Vec<Step> = survey
        .bad_snapshots
        .iter()
        .map(|path| {
            Step::SetAside(
                path.clone(),
                "it is a snapshot that can't be read".to_owned(),
            )
        })
        .collect();
    let reach = survey
        .snapshots
        .first()
        .map(|(_, reach)| *reach)
        .unwrap_or_default();
    let behind: Vec<&Seen> = survey
        .segments
        .iter()
        .filter(|seen| seen.segment.number > reach.segment)
        .collect();
    let begins = behind.first().map(|seen| seen.segment.number);
    if begins.is_some_and(|number| number != reach.segment + 1) {
        return Err(no_beginning(survey.dir, reach.segment + 1));
    }
    report.last_kept = reach.last_seq;
    let mut kept = 0;
    for (index, seen) in behind.iter().enumerate() {
        if seen.segment.number != reach.segment + 1 + index as u64 {
            break;
        }
        kept = index + 1;
        if let Some(mut bytes) = seen.header {
            if (bytes as usize) < 2 * BLOCK {
                // Its own length was cut off with it: it was as long as the others.
                let others = survey.segments.iter().map(|seen| seen.segment.bytes);
                bytes = others.max().unwrap_or(bytes);
            }
            let header = Header {
                number: seen.segment.number,
                epoch: epoch_of(survey),
                bytes,
            };
            steps.push(Step::Header(Arc::clone(&seen.segment), header));
        }
        let Some((offset, due)) = seen.damage else {
            report.last_kept = seen.last_seq.unwrap_or(report.last_kept);
            continue;
        };
        if let Some(footer) = only_the_footer(seen, behind.get(index + 1).copied(), due) {
            steps.push(Step::Footer(Arc::clone(&seen.segment), footer));
            report.last_kept = footer.last_seq;
            continue;
        }
        steps.push(Step::Cut(Arc::clone(&seen.segment), offset));
        report.last_kept = due.saturating_sub(1).max(report.last_kept);
        break;
    }
    for seen in &behind[kept..] {
        let path = seen.segment.path.clone();
        steps.push(Step::SetAside(
            path,
            "it comes after what is lost".to_owned(),
        ));
    }
    let is_shorter = |step: &Step| match step {
        Step::Cut(..) => true,
        Step::SetAside(path, _) => !survey.bad_snapshots.contains(path),
        _ => false,
    };
    let is_shorter = steps.iter().any(is_shorter);
    for archive in &survey.archives {
        plan_archive(archive, is_shorter, &mut steps, report)?;
    }
    let known = survey.superblock.unwrap_or_default();
    let last = survey
        .segments
        .iter()
        .filter_map(|seen| seen.last_seq)
        .max();
    let last = last.unwrap_or(0).max(known.durable);
    report.groups_lost = last.saturating_sub(report.last_kept);
    let path = survey.dir.join("superblock");
    let damaged = survey
        .report
        .damage
        .iter()
        .any(|finding| finding.path == path);
    if damaged || known.durable > report.last_kept {
        steps.push(Step::Superblock(Superblock {
            generation: known.generation + 1,
            epoch: epoch_of(survey),
            durable: known.durable.min(report.last_kept),
            segment: known.segment,
            clean: false,
        }));
    }
    Ok(steps)
}

/// What can't be opened of an archive goes, with all that is older: what is left begins later, and
/// whoever reads from before it is told a gap. What can be opened stays as it is, damaged blocks
/// included: they are named when they are read. Where the journal is shorter than it was, the archive
/// ends where the newest snapshot says that it was durable: the rest is moved again, or lost with the
/// journal.
fn plan_archive(
    archive: &SeenArchive,
    journal_is_shorter: bool,
    steps: &mut Vec<Step>,
    report: &mut RepairReport,
) -> Result<()> {
    let (unsound, first) = archive.unsound();
    let name = &archive.name;
    let was = crate::archive::first_of(&archive.verified.paths);
    // Where no file is left, it isn't known where the first one began.
    let lost = first.saturating_sub(was);
    for path in unsound {
        let why = match lost {
            0 => format!("the archive of topic {name} can't be opened with it"),
            _ => format!(
                "the archive of topic {name} can't be opened with it: events {was} to {} are lost",
                first - 1
            ),
        };
        steps.push(Step::SetAside(path.clone(), why));
    }
    let all_go = unsound.len() == archive.verified.paths.len() && archive.verified.unsound > 0
        || archive.verified.paths.is_empty();
    if all_go && archive.durable > 0 {
        let moved = archive.moved.as_ref();
        let moved = moved.filter(|moved| moved.next == archive.durable);
        let Some(moved) = moved else {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("where the archive of topic {name} ended is not known"),
            )
            .next("restore the whole directory from a backup"));
        };
        let (path, block) = archive
            .place
            .beginning(moved)
            .map_err(|error| io_error("begin", &archive.place.dir, &error))?;
        let told = format!(
            "events before {} of topic {name} are told as a gap",
            moved.next
        );
        steps.push(Step::Begin(path, block, told));
    }
    report.events_lost += lost;
    let reaches_too_far = archive.beyond || journal_is_shorter;
    if !all_go && reaches_too_far && archive.verified.end > archive.durable {
        report.events_lost += archive.verified.end - archive.durable;
        let too_far = archive.too_far()?;
        for path in too_far.behind {
            let why = format!("the archive of topic {name} reaches further than the journal");
            steps.push(Step::SetAside(path.clone(), why));
        }
        steps.extend(
            too_far
                .cut
                .map(|(path, offset)| Step::CutEvents(path, offset)),
        );
    }
    Ok(())
}

/// The footer to write where nothing but the footer is damaged: all groups are there, and the next
/// segment goes on from the last of them.
fn only_the_footer(seen: &Seen, next: Option<&Seen>, due: u64) -> Option<Footer> {
    let (first_seq, last_seq) = (seen.first_seq?, seen.last_seq?);
    let follows = next?.first_seq == Some(due) && last_seq + 1 == due;
    follows.then_some(Footer {
        number: seen.segment.number,
        groups: last_seq + 1 - first_seq,
        first_seq,
        last_seq,
        end: crate::format::bytes::small(seen.end),
        link: seen.link,
    })
}

/// The epoch of the store: as its superblock says, or else a segment, by its header or its first
/// group. 1 where nothing says it.
fn epoch_of(survey: &Survey<'_>) -> u32 {
    let said = |seen: &Seen| {
        let mut blocks = vec![0; 2 * BLOCK];
        seen.segment.file.read_at(&mut blocks, 0).ok()?;
        let header = Header::read(&blocks).map(|header| header.epoch);
        let group = || group::read_header(&blocks[BLOCK..]).map(|header| header.epoch);
        header.or_else(|_| group()).ok()
    };
    let known = survey.superblock.map(|known| known.epoch);
    let known = known.or_else(|| survey.segments.iter().find_map(said));
    known.unwrap_or(1)
}

fn no_beginning(dir: &Path, number: u64) -> Error {
    let path = files::segments_dir(dir).join(crate::segments::file_name(number));
    let message = format!(
        "{} is gone, and no snapshot that can be read covers it: there is nothing to go on from",
        path.display()
    );
    Error::new(ErrorKind::Corrupt, message)
        .next("restore that file, or the whole directory, from a backup")
}

impl Step {
    fn told(&self, dir: &Path) -> String {
        let path = self.path(dir).display();
        match self {
            Self::SetAside(_, why) => format!("move {path} to lost+found: {why}"),
            Self::Header(_, header) => {
                let bytes = header.bytes;
                format!("write the header of {path} anew, {bytes} bytes long")
            }
            Self::Footer(..) => {
                format!("write the footer of {path} anew: all its groups are there")
            }
            Self::CutEvents(_, offset) => {
                format!(
                    "cut {path} off at offset {offset}, the original kept in lost+found: it reaches further than the journal"
                )
            }
            Self::Begin(_, _, told) => format!("begin an archive anew with {path}: {told}"),
            Self::Cut(_, offset) => {
                format!("cut {path} off at offset {offset}, the original kept in lost+found")
            }
            Self::Superblock(superblock) => format!(
                "write {path} anew: durable up to group {}",
                superblock.durable
            ),
        }
    }

    fn path<'a>(&'a self, dir: &'a Path) -> &'a Path {
        match self {
            Self::SetAside(path, _) | Self::CutEvents(path, _) | Self::Begin(path, ..) => path,
            Self::Header(segment, _) | Self::Footer(segment, _) | Self::Cut(segment, _) => {
                &segment.path
            }
            Self::Superblock(_) => dir,
        }
    }

    fn take(&self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        match self {
            Self::SetAside(path, _) => {
                keep_copy(disk, dir, path)?;
                disk.remove(path)?;
                disk.sync_dir(path.parent().unwrap_or(dir))
            }
            Self::Header(segment, header) => {
                keep_copy(disk, dir, &segment.path)?;
                segment.file.allocate(u64::from(header.bytes))?;
                segment.file.write_at(&header.write(), 0)?;
                segment.file.sync_data()
            }
            Self::Footer(segment, footer) => {
                keep_copy(disk, dir, &segment.path)?;
                let at = segment.file.len()?.saturating_sub(BLOCK as u64);
                segment.file.write_at(&footer.write(), at)?;
                segment.file.sync_data()
            }
            Self::Cut(segment, offset) => {
                keep_copy(disk, dir, &segment.path)?;
                // As long as its header says by now, where that was longer.
                let len = usize::try_from(segment.file.len()?).unwrap_or(usize::MAX);
                let zeros = vec![0; len.saturating_sub(*offset)];
                segment.file.write_at(&zeros, *offset as u64)?;
                segment.file.sync_data()
            }
            Self::CutEvents(path, offset) => {
                keep_copy(disk, dir, path)?;
                let file = disk.open(path)?;
                let len = file.len()?;
                let mut at = *offset;
                while at < len {
                    let some = usize::try_from(len - at).unwrap_or(SLICE).min(SLICE);
                    file.write_at(&vec![0; some], at)?;
                    file.sync_data()?;
                    at += some as u64;
                }
                Ok(())
            }
            Self::Begin(path, block, _) => begin(disk, path, block),
            Self::Superblock(superblock) => write_superblock(disk, dir, superblock),
        }
    }
}

/// Copies a file to `lost+found` as it is, and syncs the copy.
fn keep_copy(disk: &dyn Disk, dir: &Path, path: &Path) -> io::Result<()> {
    let lost = files::lost_dir(dir);
    let taken = disk.list(&lost)?;
    let mut name = path.file_name().unwrap_or_default().to_string_lossy();
    if path.extension().is_some_and(|it| it == "events") {
        let topic = path.parent().and_then(Path::file_name).unwrap_or_default();
        name = format!("topic-{}-{name}", topic.to_string_lossy()).into();
    }
    let to = (0_u32..)
        .map(|copy| lost.join(format!("{name}.{copy}")))
        .find(|to| !taken.contains(to))
        .ok_or(io::ErrorKind::AlreadyExists)?;
    let (from, to) = (disk.open(path)?, disk.create(&to)?);
    let (len, mut at) = (from.len()?, 0);
    while at < len {
        let some = usize::try_from(len - at).unwrap_or(SLICE).min(SLICE);
        let mut bytes = vec![0; some];
        from.read_at(&mut bytes, at)?;
        to.write_at(&bytes, at)?;
        to.sync_data()?;
        at += some as u64;
    }
    to.sync_data()?;
    disk.sync_dir(&lost)
}

/// Writes the first file of an archive, durable under its name.
fn begin(disk: &dyn Disk, path: &Path, block: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    disk.create_dir_all(dir)?;
    disk.sync_dir(dir.parent().unwrap_or(dir))?;
    let temporary = path.with_extension("tmp");
    if disk.list(dir)?.contains(&temporary) {
        disk.remove(&temporary)?;
    }
    let file = disk.create(&temporary)?;
    file.write_at(block, 0)?;
    file.sync_data()?;
    disk.rename(&temporary, path)?;
    disk.sync_dir(dir)
}

fn write_superblock(disk: &dyn Disk, dir: &Path, superblock: &Superblock) -> io::Result<()> {
    let path = dir.join("superblock");
    if disk.list(dir)?.contains(&path) {
        keep_copy(disk, dir, &path)?;
    }
    let temporary = dir.join("superblock.tmp");
    if disk.list(dir)?.contains(&temporary) {
        disk.remove(&temporary)?;
    }
    let file = disk.create(&temporary)?;
    for generation in [superblock.generation, superblock.generation + 1] {
        let slot = Superblock {
            generation,
            ..*superblock
        };
        file.write_at(&slot.write(), slot.offset())?;
    }
    file.sync_data()?;
    disk.rename(&temporary, &path)?;
    disk.sync_dir(dir)
}
