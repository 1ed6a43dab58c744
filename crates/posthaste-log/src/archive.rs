//! The archive of a topic: the files to which its events move out of the journal, oldest first.
//!
//! One thread appends, syncs, drops and compacts; any number read meanwhile. An event is opaque
//! here: bytes, and where it stands. Nothing is shown to a reader before it is synced, and nothing
//! that was synced is written again, but for what recovery blanks and keeps a copy of.

pub(crate) mod compact;
mod files;
mod open;
mod read;
pub(crate) mod retain;
pub(crate) mod verify;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use posthaste_core::machine::SavedTopic;
use posthaste_core::{Error, ErrorKind, Result, WallMs};

use crate::disk::Disk;
use crate::files::io_error;
pub(crate) use crate::format::archive::block::{Codec, Entry};
use crate::format::archive::block::{ENTRIES_MAX, ENTRY_MAX};
use crate::format::archive::{Header, PARTITIONS_MAX, offset_of, set_offset};
pub(crate) use compact::Compacting;
use files::{Loaded, Sealed, Shared, Showing};
pub(crate) use open::end_in;
pub(crate) use read::{Outcome, Reader};
pub(crate) use retain::{Keep, remove};
use writer::Writer;

/// A file with as many blocks is sealed too: its index is in memory while it is read.
const BLOCKS_MAX: usize = 16 * 1024;

/// How an archive is written. Any of these may change from one opening to the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// A file that reaches this many bytes is sealed.
    pub(crate) file_bytes: u64,
    pub(crate) codec: Codec,
    /// Bytes of entries in a block: what is read to get at one of them. A mebibyte at most.
    pub(crate) block_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            file_bytes: 64 * 1024 * 1024,
            codec: Codec::None,
            block_bytes: 64 * 1024,
        }
    }
}

/// The first position of the oldest of these files; 0 where there are none.
pub(crate) fn first_of(paths: &[PathBuf]) -> u64 {
    let oldest = paths.first().and_then(|path| files::first_of(path));
    oldest.unwrap_or(0)
}

/// Where an archive keeps itself.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) disk: Arc<dyn Disk>,
    /// A directory of its own.
    pub(crate) dir: PathBuf,
    /// Where what is cut from a torn tail is kept.
    pub(crate) lost: PathBuf,
    /// Whose events these are: another topic's files are refused.
    pub(crate) topic: u64,
}

impl Place {
    fn failed(&self, what: &str) -> impl Fn(std::io::Error) -> Error {
        let (what, dir) = (what.to_owned(), self.dir.clone());
        move |error| io_error(&what, &dir, &error)
    }

    /// What an archive begins with whose events up to `moved`'s next one are lost: the file, and its
    /// first block.
    pub(crate) fn beginning(&self, moved: &SavedTopic) -> std::io::Result<(PathBuf, Vec<u8>)> {
        let header = Header {
            topic: self.topic,
            salt: writer::drawn_salt()?,
            first: moved.next,
            at: moved.last_at.0,
            offsets: moved.offsets.to_vec(),
        };
        Ok((self.path(moved.next), header.write()))
    }

    fn path(&self, first: u64) -> PathBuf {
        self.dir.join(files::file_name(first))
    }
}

/// The archive of one topic, to write to. [`Archive::reader`] is for everybody else.
#[derive(Debug)]
pub(crate) struct Archive {
    place: Place,
    settings: Settings,
    shared: Arc<Shared>,
    /// The newest file, unless that is sealed.
    writer: Option<Writer>,
    /// The newest file is to be sealed before anything is added.
    roll: bool,
    next: Next,
    /// Why nothing can be written any more.
    broken: Option<String>,
    cut: Option<String>,
}

/// What comes behind the last entry.
#[derive(Clone, Debug, Default)]
struct Next {
    position: u64,
    /// Publish time of the last entry.
    at: u64,
    offsets: Vec<u64>,
}

impl Next {
    /// Refuses what does not follow: positions and offsets are dense and time does not fall.
    fn check(&self, entry: &Entry<'_>) -> Result<()> {
        let due = offset_of(&self.offsets, entry.partition);
        let wrong = if entry.position != self.position {
            format!("position {} is due", self.position)
        } else if usize::from(entry.partition) >= PARTITIONS_MAX {
            format!("partitions are numbered below {PARTITIONS_MAX}")
        } else if entry.offset != due {
            format!("offset {due} is due in partition {}", entry.partition)
        } else if entry.at.0 < self.at {
            format!("the one before it was published at {} ms", self.at)
        } else if entry.bytes.len() + entry.key.map_or(0, <[u8]>::len) > ENTRY_MAX {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("event {} is over {ENTRY_MAX} bytes", entry.position),
            ));
        } else {
            return Ok(());
        };
        Err(Error::new(
            ErrorKind::Invalid,
            format!(
                "event {} (partition {}, offset {}, at {} ms) does not follow in the archive: {wrong}",
                entry.position, entry.partition, entry.offset, entry.at.0
            ),
        ))
    }

    fn pass(&mut self, entry: &Entry<'_>) {
        self.position = entry.position + 1;
        self.at = entry.at.0;
        set_offset(&mut self.offsets, entry.partition, entry.offset + 1);
    }
}

impl Archive {
    /// Opens the archive in `place`, which is created where there is none. Positions below
    /// `durable` were synced when that was written down: what is missing or damaged there is
    /// corruption and refused by name; what is torn behind it is cut, kept and told by
    /// [`Archive::cut`].
    pub(crate) fn open(place: Place, settings: Settings, durable: u64) -> Result<Self> {
        let settings = Settings {
            block_bytes: settings.block_bytes.clamp(1, ENTRIES_MAX),
            ..settings
        };
        let found = open::open(&place, settings, durable)?;
        let mut archive = Self {
            shared: Arc::new(Shared::new(
                Arc::clone(&place.disk),
                found.sealed,
                (found.firsts, found.before_at),
            )),
            place,
            settings,
            writer: found.writer,
            roll: false,
            next: found.next,
            broken: None,
            cut: found.cut,
        };
        archive.show();
        Ok(archive)
    }

    /// What was cut from a torn tail when this was opened.
    pub(crate) fn cut(&self) -> Option<&str> {
        self.cut.as_deref()
    }

    /// Whether it never held anything.
    pub(crate) fn is_new(&self) -> bool {
        self.writer.is_none() && self.next.position == 0
    }

    /// Has a new archive begin with the entry at `position`, where the next offsets are these: what
    /// came before it, the last of it published at `at`, was let go of before it could be moved.
    pub(crate) fn begin_at(&mut self, position: u64, at: WallMs, offsets: &[u64]) {
        self.next = Next {
            position,
            at: at.0,
            offsets: offsets.to_vec(),
        };
        self.shared.begin_at(position, at.0, offsets);
    }

    /// A reader, for any thread.
    pub(crate) fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.shared))
    }

    /// Position of the next entry, those included that are not synced yet.
    pub(crate) fn end(&self) -> u64 {
        self.next.position
    }

    /// The offset that is due in a partition.
    pub(crate) fn next_offset(&self, partition: u16) -> u64 {
        offset_of(&self.next.offsets, partition)
    }

    /// Position behind the last entry of the sealed files, which are what compaction reads.
    pub(crate) fn sealed_end(&self) -> u64 {
        self.shared.read().sealed.last().map_or(0, |file| file.end)
    }

    /// The first position that is not below everything that is kept; 0 as long as nothing was
    /// dropped.
    pub(crate) fn earliest(&self) -> u64 {
        self.shared.read().earliest()
    }

    /// Bytes of all files.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> u64 {
        self.shared.read().bytes()
    }

    /// Synced entries that are there.
    pub(crate) fn events(&self) -> u64 {
        self.shared.read().events()
    }

    /// Appends entries in the order of their positions, from [`Archive::end`]; those below it are
    /// there already and passed over. A full slice is written and synced at once, a mebibyte at
    /// most between two syncs, and shown to readers; the rest with [`Archive::sync`].
    ///
    /// # Errors
    /// `Invalid` for an entry that does not follow. `DiskFull`: what was taken stays taken, and
    /// the same batch may be given again once there is room. After a failed sync the archive has
    /// to be opened again.
    pub(crate) fn append<'a>(&mut self, batch: impl Iterator<Item = Entry<'a>>) -> Result<()> {
        for entry in batch {
            if entry.position < self.next.position {
                continue;
            }
            self.next.check(&entry)?;
            let written = self.ready_writer()?.push(&entry);
            self.wrote(written)?;
            self.next.pass(&entry);
        }
        Ok(())
    }

    /// Makes everything that was appended durable, and shows it to readers.
    pub(crate) fn sync(&mut self) -> Result<()> {
        self.check_sound()?;
        let flushed = self.writer.as_mut().map(Writer::flush);
        self.wrote(flushed.unwrap_or(Ok(true)))?;
        self.seal_if_full()
    }

    fn check_sound(&self) -> Result<()> {
        match &self.broken {
            None => Ok(()),
            Some(why) => Err(Error::new(
                ErrorKind::Io,
                format!("the archive stopped writing: {why}"),
            )
            .next("open the store again")),
        }
    }

    /// Takes down how writing went: a failed sync ends it for good. What was synced is shown.
    fn wrote(&mut self, written: std::io::Result<bool>) -> Result<()> {
        let Some(writer) = &self.writer else {
            return Ok(());
        };
        let failed = |error| io_error("write", &writer.path, &error);
        match written.map_err(failed) {
            Ok(false) => Ok(()),
            Ok(true) => {
                self.show();
                Ok(())
            }
            Err(error) => {
                if writer.broken {
                    self.broken = Some(error.message().to_owned());
                }
                Err(error)
            }
        }
    }

    /// The outcome of a sync, or of a change of names: when it fails it is not known what
    /// happened, and nothing is written any more.
    fn certain<T>(&mut self, what: &str, path: &Path, outcome: std::io::Result<T>) -> Result<T> {
        outcome.map_err(|error| {
            let error = io_error(what, path, &error);
            self.broken = Some(error.message().to_owned());
            error
        })
    }

    /// The writer of a file that has room.
    fn ready_writer(&mut self) -> Result<&mut Writer> {
        self.check_sound()?;
        self.seal_if_full()?;
        if self.writer.is_none() {
            self.writer = Some(self.begin()?);
            self.show();
        }
        self.writer
            .as_mut()
            .ok_or_else(|| Error::new(ErrorKind::Closed, "the archive has no file to write to"))
    }

    /// Begins a file at the end of the archive, durable under its name.
    fn begin(&mut self) -> Result<Writer> {
        let header = Header {
            topic: self.place.topic,
            salt: writer::drawn_salt().map_err(self.place.failed("write in"))?,
            first: self.next.position,
            at: self.next.at,
            offsets: self.next.offsets.clone(),
        };
        let (disk, dir) = (Arc::clone(&self.place.disk), self.place.dir.clone());
        let temporary = dir.join(files::BEGINNING);
        let mut writer = Writer::create(&*disk, &temporary, header, self.settings)
            .map_err(|error| io_error("create", &temporary, &error))?;
        let path = self.place.path(self.next.position);
        let file = &writer.file;
        let named = file
            .sync_data()
            .and_then(|()| disk.rename(&temporary, &path))
            .and_then(|()| disk.sync_dir(&dir));
        self.certain("begin", &path, named)?;
        writer.path = path;
        Ok(writer)
    }

    fn seal_if_full(&mut self) -> Result<()> {
        let full = |writer: &Writer| {
            writer.bytes() >= self.settings.file_bytes || writer.index.blocks.len() >= BLOCKS_MAX
        };
        if self.roll || self.writer.as_ref().is_some_and(full) {
            self.seal()?;
        }
        Ok(())
    }

    /// Seals the newest file, if it isn't sealed.
    fn seal(&mut self) -> Result<()> {
        // Where there is no room for the index now, it is written before anything else is.
        self.roll = true;
        let flushed = self.writer.as_mut().map(Writer::flush);
        self.wrote(flushed.unwrap_or(Ok(true)))?;
        // Without a block the next file would have its name.
        let holds = |writer: &&mut Writer| !writer.index.blocks.is_empty();
        let Some(writer) = self.writer.as_mut().filter(holds) else {
            self.roll = false;
            return Ok(());
        };
        let sealed = writer.seal(self.next.position, self.next.at, &self.next.offsets);
        let footer = match sealed {
            Ok(footer) => footer,
            Err(error) => return self.wrote(Err(error)),
        };
        let loaded = Loaded::new(&writer.file, &writer.index);
        let sealed = Sealed::new(writer.path.clone(), &footer, Some(loaded));
        self.writer = None;
        self.roll = false;
        self.shared.seal(sealed);
        Ok(())
    }

    /// Shows readers what is synced of the newest file.
    fn show(&mut self) {
        if let Some(writer) = &self.writer {
            self.shared.show(Showing {
                path: writer.path.clone(),
                first: writer.first(),
                bytes: writer.bytes(),
                events: writer.events,
                loaded: Loaded::new(&writer.file, &writer.index),
            });
        } else {
            self.shared.hide(self.next.position);
        }
    }
}

#[cfg(test)]
mod tests;
