//! The segment files: which there are, and a pool of the next ones, written through beforehand.
//!
//! Only files are minded here. What is in them, and in which order it is written, is the journal's.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::disk::{Disk, DiskFile};
use crate::format::BLOCK_U32;
use crate::format::segment::Header;

/// Slices in which zeros are written and synced, so that no commit waits behind them.
const FILL_SLICE: usize = 1024 * 1024;

/// An open segment.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    /// Bytes of the file.
    pub(crate) bytes: u32,
}

impl Segment {
    /// Where groups end at the latest: the last block is the footer's.
    pub(crate) fn groups_end(&self) -> u32 {
        self.bytes - BLOCK_U32
    }
}

/// Every segment that holds or may hold groups, and the ones that stand ready for the next.
#[derive(Debug)]
pub(crate) struct Segments {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    epoch: u32,
    segment_bytes: u32,
    reserve_bytes: AtomicU64,
    open: RwLock<BTreeMap<u64, Arc<Segment>>>,
    /// Held while a segment gets its number, so that numbers rise in the order of the pool.
    pool: Mutex<Pool>,
}

#[derive(Debug)]
struct Pool {
    ready: VecDeque<Arc<Segment>>,
    next_number: u64,
    next_fresh: u64,
}

/// The name of a segment's file.
pub(crate) fn file_name(number: u64) -> String {
    format!("{number:016x}.seg")
}

/// The number in a segment's file name.
pub(crate) fn number_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?.strip_suffix(".seg")?;
    u64::from_str_radix(name, 16)
        .ok()
        .filter(|_| name.len() == 16)
}

impl Segments {
    /// Takes charge of `existing` segments of which those numbered from `first_ready` hold nothing.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        epoch: u32,
        segment_bytes: u32,
        existing: Vec<Arc<Segment>>,
        first_ready: u64,
    ) -> Self {
        let next_number = existing
            .iter()
            .map(|segment| segment.number + 1)
            .max()
            .unwrap_or(1);
        let (open, ready): (Vec<_>, Vec<_>) = existing
            .into_iter()
            .partition(|segment| segment.number < first_ready);
        let open = open
            .into_iter()
            .map(|segment| (segment.number, segment))
            .collect();
        let pool = Pool {
            ready: ready.into(),
            next_number,
            next_fresh: 0,
        };
        Self {
            disk,
            dir,
            epoch,
            segment_bytes,
            reserve_bytes: AtomicU64::new(0),
            open: RwLock::new(open),
            pool: Mutex::new(pool),
        }
    }

    /// The segment of this number, where it still is.
    pub(crate) fn get(&self, number: u64) -> Option<Arc<Segment>> {
        self.open
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&number)
            .cloned()
    }

    /// Every segment that is in use, the oldest first.
    pub(crate) fn in_use(&self) -> Vec<Arc<Segment>> {
        self.open
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// How many stand ready.
    pub(crate) fn ready(&self) -> usize {
        self.pool
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .ready
            .len()
    }

    /// Keeps so many bytes of the disk free of new work.
    pub(crate) fn keep_free(&self, bytes: u64) {
        self.reserve_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Whether `more` segments can be had without touching what is kept free for settles and
    /// deletes. Where the disk doesn't say how much is free, it is asked to write.
    pub(crate) fn leaves_reserve(&self, more: u64) -> bool {
        let reserve = self.reserve_bytes.load(Ordering::Relaxed);
        let wanted = reserve + more * u64::from(self.segment_bytes);
        self.ready() as u64 >= more.max(1)
            || self
                .disk
                .free_bytes(&self.dir)
                .map_or(true, |free| free >= wanted)
    }

    /// Bytes of all segments, used or ready.
    pub(crate) fn disk_bytes(&self) -> u64 {
        let used = self
            .open
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len();
        (used + self.ready()) as u64 * u64::from(self.segment_bytes)
    }

    /// The next segment to write to: one that stands ready, or else one made now, which only
    /// reserves its blocks.
    pub(crate) fn take(&self) -> io::Result<Arc<Segment>> {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        let segment = match pool.ready.pop_front() {
            Some(segment) => segment,
            None => {
                let fresh = self.fresh(&mut pool)?;
                if let Err(full) = fresh.1.allocate(u64::from(self.segment_bytes)) {
                    self.disk.remove(&fresh.0)?;
                    return Err(full);
                }
                self.publish(&mut pool, fresh)?
            }
        };
        drop(pool);
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        open.insert(segment.number, Arc::clone(&segment));
        Ok(segment)
    }

    /// Makes one more segment ready: its blocks reserved, and written through with zeros where
    /// `fill` says so. `go_on` is asked between slices; when it says no, what was written is given
    /// up.
    pub(crate) fn prepare(&self, fill: bool, mut go_on: impl FnMut() -> bool) -> io::Result<()> {
        let fresh = self.fresh(&mut self.pool.lock().unwrap_or_else(PoisonError::into_inner))?;
        let reserved = fresh.1.allocate(u64::from(self.segment_bytes));
        let filled = reserved.and_then(|()| {
            if fill {
                self.fill(&*fresh.1, &mut go_on)
            } else {
                Ok(true)
            }
        });
        if !matches!(filled, Ok(true)) {
            self.disk.remove(&fresh.0)?;
            return filled.map(|_| ());
        }
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        let segment = self.publish(&mut pool, fresh)?;
        pool.ready.push_back(segment);
        Ok(())
    }

    fn fill(&self, file: &dyn DiskFile, go_on: &mut impl FnMut() -> bool) -> io::Result<bool> {
        let zeros = vec![0; FILL_SLICE.min(self.segment_bytes as usize)];
        let mut offset = 0;
        while offset < u64::from(self.segment_bytes) {
            if !go_on() {
                return Ok(false);
            }
            file.write_at(&zeros, offset)?;
            file.sync_data()?;
            offset += zeros.len() as u64;
        }
        Ok(true)
    }

    /// Removes a segment whose every record is elsewhere or not needed. Whoever still reads it can
    /// go on; its blocks are not used again for another segment, whose groups would then have to
    /// be told from its own.
    pub(crate) fn remove(&self, number: u64) -> io::Result<()> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let removed = open.remove(&number);
        drop(open);
        let Some(segment) = removed else {
            return Ok(());
        };
        self.disk.remove(&segment.path)?;
        self.disk.sync_dir(&self.dir)
    }

    fn fresh_path(&self, pool: &mut Pool) -> PathBuf {
        pool.next_fresh += 1;
        self.dir.join(format!("fresh-{}.tmp", pool.next_fresh))
    }

    fn fresh(&self, pool: &mut Pool) -> io::Result<(PathBuf, Arc<dyn DiskFile>)> {
        let path = self.fresh_path(pool);
        let file = self.disk.create(&path)?;
        Ok((path, file))
    }

    /// Gives a file its number, its header and its name, all durable before anybody writes to it.
    fn publish(
        &self,
        pool: &mut Pool,
        (from, file): (PathBuf, Arc<dyn DiskFile>),
    ) -> io::Result<Arc<Segment>> {
        let number = pool.next_number;
        let header = Header {
            number,
            epoch: self.epoch,
            bytes: self.segment_bytes,
        };
        file.write_at(&header.write(), 0)?;
        file.sync_data()?;
        let path = self.dir.join(file_name(number));
        self.disk.rename(&from, &path)?;
        self.disk.sync_dir(&self.dir)?;
        pool.next_number += 1;
        Ok(Arc::new(Segment {
            number,
            path,
            file,
            bytes: self.segment_bytes,
        }))
    }
}
