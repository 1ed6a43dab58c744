//! Reads all of an archive, and names each damage with file and offset. It changes nothing.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use posthaste_core::Result;

use super::files::{Loaded, View, first_of, read_bytes};
use super::open::{Scan, behind, follows, is_blank};
use super::read::Scratch;
use super::{Archive, Next, Place};
use crate::disk::DiskFile;
use crate::format::archive::{BlockAt, Footer, Header, Index, offset_of, set_offset};
use crate::format::{BLOCK, Damage};
use crate::verify::{FINDINGS_MAX, Finding};

/// What was read, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verified {
    /// The first [`FINDINGS_MAX`] damages.
    pub(crate) damage: Vec<Finding>,
    /// Unfinished writing at the end, which is cut when the archive is opened.
    pub(crate) torn: Option<Finding>,
    pub(crate) files: u64,
    /// They, the oldest first.
    pub(crate) paths: Vec<PathBuf>,
    /// How many of the oldest keep the archive from being opened, or lie before one that does.
    pub(crate) unsound: usize,
    /// Position behind the last entry that can be relied upon; 0 where the end can't be read.
    pub(crate) end: u64,
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    /// It was not told to stop.
    pub(crate) complete: bool,
}

impl Archive {
    /// Reads everything that is synced, and every checksum. `go_on` is asked at every block.
    #[cfg(test)]
    pub(crate) fn verify(&self, go_on: &mut dyn FnMut() -> bool) -> Verified {
        verify(&self.place, self.reader().end(), go_on)
    }
}

/// The same for an archive that is not open.
#[cfg(test)]
pub(crate) fn verify(place: &Place, durable: u64, go_on: &mut dyn FnMut() -> bool) -> Verified {
    look(place, durable, go_on, &mut |_, _| {})
}

/// The same to the end. `told` hears of each file before it is read, and how much was read before.
pub(crate) fn look_through(
    place: &Place,
    durable: u64,
    told: &mut dyn FnMut(&Path, u64),
) -> Verified {
    look(place, durable, &mut || true, told)
}

fn look(
    place: &Place,
    durable: u64,
    go_on: &mut dyn FnMut() -> bool,
    told: &mut dyn FnMut(&Path, u64),
) -> Verified {
    let mut look = Look {
        place,
        durable,
        go_on,
        told,
        found: Verified {
            complete: true,
            ..Verified::default()
        },
    };
    look.everything();
    look.found
}

struct Look<'a> {
    place: &'a Place,
    durable: u64,
    go_on: &'a mut dyn FnMut() -> bool,
    told: &'a mut dyn FnMut(&Path, u64),
    found: Verified,
}

/// Where what follows a file has to begin; not known behind a damaged one.
type Due = Option<Next>;

impl Look<'_> {
    fn everything(&mut self) {
        let listed = match self.place.disk.list(&self.place.dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Ok(listed) => listed,
            Err(error) => {
                return self.name(&self.place.dir, 0, format!("it can't be listed: {error}"));
            }
        };
        let mut paths: Vec<_> = listed
            .into_iter()
            .filter_map(|path| Some((first_of(&path)?, path)))
            .collect();
        paths.sort_unstable();
        let mut due = None;
        for (number, (first, path)) in paths.iter().enumerate() {
            // One that was joined into the file before it goes when the archive is opened.
            let joined = |due: &Next| *first < due.position;
            if due.as_ref().is_some_and(joined) {
                continue;
            }
            if !self.found.complete {
                return;
            }
            (self.told)(path, self.found.bytes);
            self.found.paths.push(path.clone());
            due = match self.file(path, due, number + 1 == paths.len()) {
                Ok(due) => due,
                Err(error) => {
                    self.name(path, 0, error.message().to_owned());
                    None
                }
            };
            if due.is_none() {
                self.found.unsound = self.found.paths.len();
            }
        }
        let end = due.map_or(0, |due| due.position);
        self.found.end = end;
        if end < self.durable {
            self.found.unsound = self.found.paths.len();
        }
        if end < self.durable && self.found.complete && self.found.damage.is_empty() {
            let path = self.place.path(end);
            self.name(&path, 0, "it is gone, and was durable".to_owned());
        }
    }

    fn name(&mut self, path: &Path, offset: u64, what: String) {
        if self.found.damage.len() < FINDINGS_MAX {
            self.found.damage.push(finding(path, offset, what));
        }
    }

    fn damaged(&mut self, path: &Path, offset: u64, damage: &Damage) {
        self.name(path, offset, damage.to_string());
    }

    fn file(&mut self, path: &Path, due: Due, newest: bool) -> Result<Due> {
        let told = |error: std::io::Error| crate::files::io_error("read", path, &error);
        let file = self.place.disk.open(path).map_err(told)?;
        let len = file.len().map_err(told)?;
        self.found.files += 1;
        self.found.bytes += len;
        let page = read_bytes(
            path,
            &*file,
            0,
            BLOCK.min(usize::try_from(len).unwrap_or(BLOCK)),
        )?;
        let header = match Header::read(&page) {
            Ok(header) => header,
            Err(damage) => {
                self.damaged(path, 0, &damage);
                return Ok(None);
            }
        };
        if first_of(path) != Some(header.first) {
            self.damaged(path, 0, &Damage::Bad("first position"));
            return Ok(None);
        }
        if let Err(damage) = follows(self.place, &header, due.as_ref()) {
            self.damaged(path, 0, &damage);
            if header.topic != self.place.topic {
                return Ok(None);
            }
            // It is sound itself, and what lies before it is not of it.
            self.found.unsound = self.found.paths.len() - 1;
        }
        let at = len.saturating_sub(BLOCK as u64);
        let footer = if at < BLOCK as u64 {
            Err(Damage::Short)
        } else {
            Footer::read(&read_bytes(path, &*file, at, BLOCK)?, &header, len)
        };
        match footer {
            Ok(footer) => self.sealed(path, &file, &header, &footer),
            Err(Damage::Newer(version)) => {
                self.damaged(path, at, &Damage::Newer(version));
                Ok(None)
            }
            Err(_) if newest => self.newest(path, &file, &header, len),
            Err(damage) => {
                self.damaged(path, at, &damage);
                Ok(None)
            }
        }
    }

    fn sealed(
        &mut self,
        path: &Path,
        file: &Arc<dyn DiskFile>,
        header: &Header,
        footer: &Footer,
    ) -> Result<Due> {
        let due = behind(footer.end, footer.at, &footer.offsets);
        if !is_blank(path, &**file, footer.blocks_end, footer.index_at)? {
            self.damaged(
                path,
                footer.blocks_end,
                &Damage::Bad("byte between blocks and index"),
            );
        }
        let bytes = read_bytes(path, &**file, footer.index_at, footer.index_len as usize)?;
        match Index::read(&bytes, header, footer) {
            Ok(index) => {
                let before = self.found.events;
                let sound = self.blocks(path, file, &index);
                if sound && self.found.complete && self.found.events - before != footer.events {
                    let at = footer.index_at + u64::from(footer.index_len);
                    self.damaged(path, at, &Damage::Bad("count of entries"));
                }
            }
            Err(damage) => self.damaged(path, footer.index_at, &damage),
        }
        Ok(Some(due))
    }

    fn newest(
        &mut self,
        path: &Path,
        file: &Arc<dyn DiskFile>,
        header: &Header,
        len: u64,
    ) -> Result<Due> {
        let mut scan = Scan::new(path, &**file, header, self.durable, len);
        let damage = scan.run(true)?;
        let (at, good) = (scan.at, scan.good);
        self.blocks(path, file, &good.index);
        if good.next.position < self.durable || matches!(damage, Some(Damage::Newer(_))) {
            let damage =
                damage.unwrap_or(Damage::Bad("end: what follows is gone, and was durable"));
            self.damaged(path, at, &damage);
            return Ok(None);
        }
        if !is_blank(path, &**file, good.end, len)? {
            let what = format!("{} bytes of unfinished writing", len - good.end);
            self.found.torn = Some(finding(path, good.end, what));
        }
        Ok(Some(good.next))
    }

    /// Reads every block of an index, and holds the one against the other. True where nothing is
    /// wrong and it was not told to stop.
    fn blocks(&mut self, path: &Path, file: &Arc<dyn DiskFile>, index: &Index) -> bool {
        let before = self.found.damage.len();
        let begins = index
            .blocks
            .first()
            .map_or(index.blocks_end, |first| first.offset);
        if begins != BLOCK as u64 {
            self.damaged(path, BLOCK as u64, &Damage::Bad("begin of the first block"));
        }
        let view = View {
            path: path.to_owned(),
            loaded: Loaded::new(file, index),
        };
        let mut scratch = Scratch::default();
        let mut offsets = index.firsts.clone();
        let mut seen = Index {
            blocks: Vec::new(),
            moves: Vec::new(),
            ..index.clone()
        };
        for number in 0..index.blocks.len() {
            if !(self.go_on)() {
                self.found.complete = false;
                return false;
            }
            let offset = index.blocks[number].offset;
            let whole = match scratch.load(&view, number) {
                Ok(Ok(header)) => scratch
                    .each(&header, |_| ControlFlow::Continue(()))
                    .map(|()| header),
                Ok(Err(damage)) => Err(damage),
                Err(error) => {
                    self.name(path, offset, error.message().to_owned());
                    continue;
                }
            };
            match whole {
                Ok(header) => {
                    self.found.events += u64::from(header.count);
                    let block = BlockAt {
                        position: header.first,
                        at: header.first_at,
                        offset,
                    };
                    let mut moves = Vec::with_capacity(header.rows.len());
                    for row in &header.rows {
                        let next = row.first + row.span;
                        let moved = next.saturating_sub(offset_of(&offsets, row.partition));
                        moves.push((row.partition, moved));
                        set_offset(&mut offsets, row.partition, next);
                    }
                    seen.add(block, index.behind(number), &moves);
                }
                Err(damage) => self.damaged(path, offset, &damage),
            }
        }
        if self.found.damage.len() == before && seen != *index {
            self.damaged(
                path,
                index.blocks_end,
                &Damage::Bad("index: it is not of these blocks"),
            );
        }
        self.found.damage.len() == before
    }
}

fn finding(path: &Path, offset: u64, what: String) -> Finding {
    Finding {
        path: PathBuf::from(path),
        offset,
        what,
    }
}
