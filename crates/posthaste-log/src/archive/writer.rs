//! Writes one file of an archive: blocks in slices, each synced before the next, then the index
//! and the footer.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Settings;
use crate::disk::{Disk, DiskFile};
use crate::format::BLOCK;
use crate::format::archive::block::{Builder, Entry};
use crate::format::archive::{BlockAt, Footer, Header, Index, offset_of, set_offset};
use crate::format::bytes::small;

/// Most bytes that are written between two syncs, so that no commit waits long behind them.
const SLICE: usize = 1024 * 1024;

#[derive(Debug)]
pub(super) struct Writer {
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn DiskFile>,
    header: Header,
    settings: Settings,
    /// The blocks that are ended, those in `out` included.
    pub(super) index: Index,
    /// Where `out` goes.
    offset: u64,
    /// Blocks that are not on disk yet.
    out: Vec<u8>,
    /// `out` ends with a write that failed, or is a slice: it goes before anything is added.
    due: bool,
    builder: Builder,
    /// Next offsets behind the blocks that are ended.
    offsets: Vec<u64>,
    /// Entries that are synced, and the publish time of the last one.
    pub(super) events: u64,
    pub(super) last_at: u64,
    /// Entries in `out`, and the publish time of the last one.
    coming: (u64, u64),
    /// A sync failed: nothing may be written any more.
    pub(super) broken: bool,
}

/// A salt by chance, so that nobody who publishes an event can know it.
pub(super) fn drawn_salt() -> io::Result<u32> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).map_err(|error| {
        io::Error::other(format!("the system gives no random numbers: {error}"))
    })?;
    Ok(u32::from_le_bytes(bytes))
}

impl Writer {
    /// Creates a file with its header, not synced yet, in the place of one that was left behind.
    pub(super) fn create(
        disk: &dyn Disk,
        path: &Path,
        header: Header,
        settings: Settings,
    ) -> io::Result<Self> {
        let dir = path.parent().unwrap_or(Path::new("."));
        if disk.list(dir)?.iter().any(|found| found == path) {
            disk.remove(path)?;
        }
        let file = disk.create(path)?;
        file.write_at(&header.write(), 0)?;
        let index = Index::new(&header);
        Ok(Self::resume(path, file, header, settings, index, 0, None))
    }

    /// Goes on behind the blocks of `index`, which hold `events` entries and are synced.
    pub(super) fn resume(
        path: &Path,
        file: Arc<dyn DiskFile>,
        header: Header,
        settings: Settings,
        index: Index,
        events: u64,
        next: Option<(u64, Vec<u64>)>,
    ) -> Self {
        let (last_at, offsets) = next.unwrap_or_else(|| (header.at, header.offsets.clone()));
        Self {
            path: path.to_owned(),
            file,
            settings,
            offset: index.blocks_end,
            index,
            out: Vec::new(),
            due: false,
            builder: Builder::default(),
            offsets,
            events,
            last_at,
            coming: (0, last_at),
            broken: false,
            header,
        }
    }

    pub(super) fn first(&self) -> u64 {
        self.header.first
    }

    /// Bytes of it that are on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.offset
    }

    /// Takes an entry. True where that had a slice written and synced; the entry is not among it.
    pub(super) fn push(&mut self, entry: &Entry<'_>) -> io::Result<bool> {
        let mut written = false;
        if self.builder.len() >= self.settings.block_bytes {
            let another = self.builder.len() + self.settings.block_bytes;
            self.due = self.due || self.out.len() + another > SLICE;
            self.end_block(self.due);
        }
        if self.due {
            self.write()?;
            written = true;
        }
        self.builder.push(entry);
        Ok(written)
    }

    /// Writes and syncs everything that was taken. True where there was something.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        if !self.builder.is_empty() {
            self.end_block(true);
        }
        if self.out.is_empty() {
            return Ok(false);
        }
        self.write()?;
        Ok(true)
    }

    fn end_block(&mut self, last: bool) {
        let offset = self.offset + self.out.len() as u64;
        let (codec, salt) = (self.settings.codec, self.header.salt);
        let header = self.builder.finish(codec, salt, last, &mut self.out);
        let mut moves = Vec::with_capacity(header.rows.len());
        for row in &header.rows {
            let behind = row.first + row.span;
            moves.push((
                row.partition,
                behind - offset_of(&self.offsets, row.partition),
            ));
            set_offset(&mut self.offsets, row.partition, behind);
        }
        let block = BlockAt {
            position: header.first,
            at: header.first_at,
            offset,
        };
        let behind = self.offset + self.out.len() as u64;
        self.index.add(block, behind, &moves);
        self.index.end = header.end;
        self.coming = (self.coming.0 + u64::from(header.count), header.last_at);
    }

    fn write(&mut self) -> io::Result<()> {
        self.due = true;
        let out = std::mem::take(&mut self.out);
        let written = self.write_at(&out, self.offset);
        self.out = out;
        written?;
        self.offset += self.out.len() as u64;
        self.out.clear();
        self.due = false;
        self.events += self.coming.0;
        self.last_at = self.coming.1;
        self.coming.0 = 0;
        Ok(())
    }

    /// Writes `bytes` and syncs them, a slice after the other.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        for (number, slice) in (0_u64..).zip(bytes.chunks(SLICE)) {
            self.file.write_at(slice, offset + number * SLICE as u64)?;
            if let Err(error) = self.file.sync_data() {
                self.broken = true;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Ends the file, everything of which is written: index and footer. What follows it begins at
    /// `end`, behind an entry published at `at`, with these next offsets.
    pub(super) fn seal(&mut self, end: u64, at: u64, offsets: &[u64]) -> io::Result<Footer> {
        self.index.end = end;
        let mut bytes = self.index.write();
        let whole = (bytes.len() + BLOCK) as u64;
        // A tail that was cut and blanked stays part of the file: the footer is at its very end.
        let index_at = self.offset.max(self.file.len()?.saturating_sub(whole));
        let footer = Footer {
            topic: self.header.topic,
            salt: self.header.salt,
            first: self.header.first,
            end,
            at,
            events: self.events,
            blocks: small(self.index.blocks.len()),
            blocks_end: self.offset,
            index_at,
            index_len: small(bytes.len()),
            index_crc: crc32c::crc32c(&bytes),
            offsets: offsets.to_vec(),
        };
        bytes.extend(footer.write());
        self.write_at(&bytes, index_at)?;
        self.offset = index_at + whole;
        Ok(footer)
    }
}
