//! Opening an archive: the ends of its sealed files, the headers of the newest one's blocks, and
//! whether what is wrong there is a torn tail or corruption.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use posthaste_core::Result;

use super::files::{self, Sealed, damaged, first_of, read_bytes, read_ends, read_footer};
use super::writer::Writer;
use super::{Next, Place, Settings};
use crate::disk::DiskFile;
use crate::files::io_error;
use crate::format::archive::block::{self, SIZE_MAX};
use crate::format::archive::{BlockAt, Header, Index, offset_of, set_offset};
use crate::format::{BLOCK, Damage};

/// Bytes that are read or written at once where a tail is looked at, kept and blanked.
const STEP: usize = 1024 * 1024;

/// What was found.
pub(super) struct Opened {
    pub(super) sealed: Vec<Sealed>,
    pub(super) writer: Option<Writer>,
    pub(super) next: Next,
    /// The next offsets before the first entry.
    pub(super) firsts: Vec<u64>,
    /// Publish time of the entry before the first one.
    pub(super) before_at: u64,
    pub(super) cut: Option<String>,
}

impl Opened {
    /// Notes where a file begins, if it is the first.
    fn begins(&mut self, header: &Header) {
        if self.sealed.is_empty() {
            self.firsts.clone_from(&header.offsets);
            self.before_at = header.at;
        }
    }

    /// Where the next file begins, if there is one before it.
    fn due(&self) -> Option<&Next> {
        (!self.sealed.is_empty()).then_some(&self.next)
    }
}

pub(super) fn open(place: &Place, settings: Settings, durable: u64) -> Result<Opened> {
    let paths = list(place)?;
    let mut opened = Opened {
        sealed: Vec::new(),
        writer: None,
        next: Next::default(),
        firsts: Vec::new(),
        before_at: 0,
        cut: None,
    };
    for (number, path) in paths.iter().enumerate() {
        let file = place
            .disk
            .open(path)
            .map_err(|error| io_error("open", path, &error))?;
        let first = first_of(path).unwrap_or(0);
        if number > 0 && first < opened.next.position {
            remove_joined(place, path, &*file, &opened.next)?;
        } else if number + 1 < paths.len() {
            let (header, footer) = read_ends(path, &*file)?;
            follows(place, &header, opened.due()).map_err(|damage| damaged(path, 0, &damage))?;
            opened.begins(&header);
            opened.next = behind(footer.end, footer.at, &footer.offsets);
            opened.sealed.push(Sealed::new(path.clone(), &footer, None));
        } else {
            open_newest(place, settings, durable, path, &file, &mut opened)?;
        }
    }
    if opened.next.position < durable && opened.writer.is_none() {
        let path = place.path(opened.next.position);
        return Err(damaged(
            &path,
            0,
            &Damage::Bad("end: it is gone, and was durable"),
        ));
    }
    Ok(opened)
}

/// A file that was joined into the one before it: a power cut came before it was removed.
fn remove_joined(place: &Place, path: &Path, file: &dyn DiskFile, before: &Next) -> Result<()> {
    let (header, footer) = read_ends(path, file)?;
    if header.topic != place.topic || footer.end > before.position {
        let what = Damage::Bad("first position: it is in the file before it");
        return Err(damaged(path, 0, &what));
    }
    place
        .disk
        .remove(path)
        .and_then(|()| place.disk.sync_dir(&place.dir))
        .map_err(|error| io_error("remove", path, &error))
}

pub(super) fn behind(position: u64, at: u64, offsets: &[u64]) -> Next {
    Next {
        position,
        at,
        offsets: offsets.to_vec(),
    }
}

/// The files by their first positions, in a directory that is made where there is none.
fn list(place: &Place) -> Result<Vec<PathBuf>> {
    let (disk, dir) = (&*place.disk, &place.dir);
    let listed = match disk.list(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        listed => listed.map_err(place.failed("list"))?,
    };
    for path in &listed {
        if path.extension().is_some_and(|extension| extension == "tmp") {
            disk.remove(path)
                .map_err(|error| io_error("remove", path, &error))?;
        }
    }
    let named = listed
        .into_iter()
        .filter_map(|path| Some((first_of(&path)?, path)));
    let mut found: Vec<_> = named.collect();
    found.sort_unstable();
    if found.is_empty() {
        disk.create_dir_all(dir).map_err(place.failed("create"))?;
        if let Some(parent) = dir.parent() {
            disk.sync_dir(parent)
                .map_err(|error| io_error("sync", parent, &error))?;
        }
    }
    // What is found there is built upon: its name must be there tomorrow too.
    disk.sync_dir(dir).map_err(place.failed("sync"))?;
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// A file begins where the one before it ended.
pub(super) fn follows(place: &Place, header: &Header, due: Option<&Next>) -> Result<(), Damage> {
    let ended = |due: &Next| header.at == due.at && header.offsets == due.offsets;
    Err(Damage::Bad(if header.topic != place.topic {
        "topic: it is another's"
    } else if due.is_some_and(|due| header.first != due.position) {
        "first position: a file before it is gone"
    } else if !due.is_none_or(ended) {
        "beginning: the file before it ended otherwise"
    } else {
        return Ok(());
    }))
}

fn open_newest(
    place: &Place,
    settings: Settings,
    durable: u64,
    path: &Path,
    file: &Arc<dyn DiskFile>,
    opened: &mut Opened,
) -> Result<()> {
    let mut len = file
        .len()
        .map_err(|error| io_error("look at", path, &error))?;
    let header = files::read_header(path, &**file, len)?;
    follows(place, &header, opened.due()).map_err(|damage| damaged(path, 0, &damage))?;
    opened.begins(&header);
    let refresh = || {
        file.refresh()
            .map_err(|error| io_error("sync", path, &error))
    };
    let mut footer = read_footer(path, &**file, &header, len)?;
    if let Ok(found) = &footer
        && found.end > durable
    {
        // It may be that the device never got it.
        refresh()?;
        footer = read_footer(path, &**file, &header, len)?;
    }
    match footer {
        Ok(footer) => {
            opened.next = behind(footer.end, footer.at, &footer.offsets);
            opened
                .sealed
                .push(Sealed::new(path.to_owned(), &footer, None));
            return Ok(());
        }
        Err(newer @ Damage::Newer(_)) => {
            return Err(damaged(path, len - BLOCK as u64, &newer));
        }
        Err(_) => {}
    }
    let mut scan = Scan::new(path, &**file, &header, durable, len);
    let mut damage = scan.run(false)?;
    if scan.good.end < len {
        refresh()?;
        len = file
            .len()
            .map_err(|error| io_error("look at", path, &error))?;
        scan = Scan::new(path, &**file, &header, durable, len);
        damage = scan.run(true)?;
    }
    let good = scan.good;
    if let Some(newer @ Damage::Newer(_)) = damage {
        return Err(damaged(path, scan.at, &newer));
    }
    if good.next.position < durable {
        let what = damage.unwrap_or(Damage::Bad("end: what follows is gone, and was durable"));
        return Err(damaged(path, scan.at, &what));
    }
    opened.cut = cut(place, path, &**file, &header, good.end, len)?;
    let next = (good.next.at, good.next.offsets.clone());
    let events = good.next.position - header.first;
    opened.next = good.next;
    opened.writer = Some(Writer::resume(
        path,
        Arc::clone(file),
        header,
        settings,
        good.index,
        events,
        Some(next),
    ));
    Ok(())
}

/// Up to where everything is whole: the end of a write, or of the header.
#[derive(Clone)]
pub(super) struct Good {
    pub(super) end: u64,
    pub(super) index: Index,
    pub(super) next: Next,
}

/// Goes from block to block in a file that is not sealed. Those that were durable are verified
/// when they are read; the others here.
pub(super) struct Scan<'a> {
    path: &'a Path,
    file: &'a dyn DiskFile,
    durable: u64,
    len: u64,
    index: Index,
    next: Next,
    /// Where the next block is.
    pub(super) at: u64,
    pub(super) good: Good,
}

impl<'a> Scan<'a> {
    pub(super) fn new(
        path: &'a Path,
        file: &'a dyn DiskFile,
        header: &Header,
        durable: u64,
        len: u64,
    ) -> Self {
        let index = Index::new(header);
        let next = behind(header.first, header.at, &header.offsets);
        Self {
            path,
            file,
            durable,
            len,
            at: index.blocks_end,
            good: Good {
                end: index.blocks_end,
                index: index.clone(),
                next: next.clone(),
            },
            index,
            next,
        }
    }

    /// Reads to the end; answers what is wrong there, if anything is. Ends before what was not
    /// durable, unless that is known to come from the device.
    pub(super) fn run(&mut self, whole_file: bool) -> Result<Option<Damage>> {
        // The blocks of a write are good together: the last of them ends on a boundary.
        let mut whole = (
            self.index.blocks.len(),
            self.index.moves.len(),
            self.next.clone(),
        );
        let mut damage = None;
        while self.at < self.len {
            match self.block(whole_file)? {
                Ok(()) => {}
                Err(found) => {
                    damage = found;
                    break;
                }
            }
            if self.at.is_multiple_of(BLOCK as u64) {
                whole = (
                    self.index.blocks.len(),
                    self.index.moves.len(),
                    self.next.clone(),
                );
                self.good.end = self.at;
            }
        }
        let (blocks, moves, next) = whole;
        let mut index = self.index.clone();
        index.blocks.truncate(blocks);
        index.moves.truncate(moves);
        index.blocks_end = self.good.end;
        index.end = next.position;
        (self.good.index, self.good.next) = (index, next);
        Ok(damage)
    }

    /// Passes one block. `Err(None)` where none was ever written, or where reading ends.
    fn block(&mut self, whole_file: bool) -> Result<Result<(), Option<Damage>>> {
        let left = usize::try_from(self.len - self.at).unwrap_or(usize::MAX);
        let head = read_bytes(self.path, self.file, self.at, left.min(BLOCK))?;
        let read = match block::Header::read(&head, self.index.salt) {
            // Its rows take more than that, which a topic with many partitions has.
            Err(Damage::Short) if left > head.len() => {
                let head = read_bytes(self.path, self.file, self.at, left.min(SIZE_MAX.min(STEP)))?;
                block::Header::read(&head, self.index.salt)
            }
            read => read,
        };
        let header = match read {
            Ok(header) => header,
            Err(_) if head.iter().all(|byte| *byte == 0) => return Ok(Err(None)),
            Err(damage) => return Ok(Err(Some(damage))),
        };
        if header.size() > left {
            return Ok(Err(Some(Damage::Short)));
        }
        if let Err(damage) = self.follows(&header) {
            return Ok(Err(Some(damage)));
        }
        if header.end > self.durable {
            if !whole_file {
                return Ok(Err(None));
            }
            let block = read_bytes(self.path, self.file, self.at, header.size())?;
            if let Err(damage) = header.verify(&block) {
                return Ok(Err(Some(damage)));
            }
        }
        self.pass(&header);
        Ok(Ok(()))
    }

    /// Nothing is left out in a file that was never compacted.
    fn follows(&self, header: &block::Header) -> Result<(), Damage> {
        if header.first != self.next.position || header.end - header.first != header.count.into() {
            return Err(Damage::Bad("position"));
        }
        if header.first_at < self.next.at {
            return Err(Damage::Bad("time"));
        }
        let mut rows = header.rows.iter();
        if rows.any(|row| row.first != offset_of(&self.next.offsets, row.partition)) {
            return Err(Damage::Bad("offset"));
        }
        Ok(())
    }

    fn pass(&mut self, header: &block::Header) {
        let block = BlockAt {
            position: header.first,
            at: header.first_at,
            offset: self.at,
        };
        let mut moves = Vec::with_capacity(header.rows.len());
        for row in &header.rows {
            moves.push((row.partition, row.span));
            set_offset(&mut self.next.offsets, row.partition, row.first + row.span);
        }
        self.at += header.size() as u64;
        self.index.add(block, self.at, &moves);
        (self.next.position, self.next.at) = (header.end, header.last_at);
    }
}

/// Where the blocks of a file end that hold what lies before `position`. `None` where the file ends
/// there by its footer.
///
/// # Errors
/// `Corrupt` where no block ends there.
pub(crate) fn end_in(place: &Place, path: &Path, position: u64) -> Result<Option<u64>> {
    let file = place
        .disk
        .open(path)
        .map_err(|error| io_error("open", path, &error))?;
    let len = file
        .len()
        .map_err(|error| io_error("look at", path, &error))?;
    let header = files::read_header(path, &*file, len)?;
    let footer = read_footer(path, &*file, &header, len)?;
    if footer.is_ok_and(|footer| footer.end == position) {
        return Ok(None);
    }
    let mut scan = Scan::new(path, &*file, &header, position, len);
    while scan.next.position < position {
        if scan.block(true)?.is_err() {
            break;
        }
    }
    if scan.next.position == position && scan.at.is_multiple_of(BLOCK as u64) {
        return Ok(Some(scan.at));
    }
    Err(damaged(
        path,
        scan.at,
        &Damage::Bad("block: it can't be cut there"),
    ))
}

/// Keeps what lies behind the last whole write, and blanks it where it was. Says what it did.
fn cut(
    place: &Place,
    path: &Path,
    file: &dyn DiskFile,
    header: &Header,
    from: u64,
    len: u64,
) -> Result<Option<String>> {
    if is_blank(path, file, from, len)? {
        return Ok(None);
    }
    let failed = |error| io_error("cut the torn tail of", path, &error);
    let disk = &*place.disk;
    disk.create_dir_all(&place.lost).map_err(failed)?;
    let taken = disk.list(&place.lost).map_err(failed)?;
    let name = format!(
        "topic-{:x}-events-{:016x}-offset-{from}",
        header.topic, header.first
    );
    let kept = (0_u32..)
        .map(|copy| place.lost.join(format!("{name}.{copy}")))
        .find(|path| !taken.contains(path))
        .unwrap_or_else(|| place.lost.join(&name));
    let keep = || {
        let copy = disk.create(&kept)?;
        for (at, count) in steps(from, len) {
            let mut bytes = vec![0; count];
            file.read_at(&mut bytes, at)?;
            copy.write_at(&bytes, at - from)?;
            copy.sync_data()?;
        }
        disk.sync_dir(&place.lost)?;
        for (at, count) in steps(from, len) {
            file.write_at(&vec![0; count], at)?;
            file.sync_data()?;
        }
        Ok(())
    };
    keep().map_err(failed)?;
    Ok(Some(format!(
        "{} bytes of unfinished writing were cut off {} at offset {from}, and are kept in {}",
        len - from,
        path.display(),
        kept.display()
    )))
}

pub(super) fn is_blank(path: &Path, file: &dyn DiskFile, from: u64, to: u64) -> Result<bool> {
    for (at, count) in steps(from, to) {
        let bytes = read_bytes(path, file, at, count)?;
        if bytes.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// From `from` to `to`, a step after the other: where and how many bytes.
fn steps(from: u64, to: u64) -> impl Iterator<Item = (u64, usize)> {
    (from..to).step_by(STEP).map(move |at| {
        let left = usize::try_from(to - at).unwrap_or(usize::MAX);
        (at, left.min(STEP))
    })
}
