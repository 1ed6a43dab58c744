//! The directory of a store: its lock, its superblock, and the names of what lies in it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use posthaste_core::{Error, ErrorKind, Result};

use crate::disk::{Disk, DiskFile};
use crate::format::superblock::Superblock;
use crate::format::{BLOCK, Damage};

/// The files of a store beside its segments and snapshots.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    superblock: Mutex<(Arc<dyn DiskFile>, Superblock)>,
}

/// Where the segments are.
pub(crate) fn segments_dir(dir: &Path) -> PathBuf {
    dir.join("segments")
}

/// Where the snapshots are.
pub(crate) fn snapshots_dir(dir: &Path) -> PathBuf {
    dir.join("snapshots")
}

/// Where the events are that left the journal, a directory for each topic.
pub(crate) fn topics_dir(dir: &Path) -> PathBuf {
    dir.join("topics")
}

/// Where what recovery cut off is kept.
pub(crate) fn lost_dir(dir: &Path) -> PathBuf {
    dir.join("lost+found")
}

/// An error of the operating system, told with what it was about.
pub(crate) fn io_error(what: &str, path: &Path, error: &io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::DiskFull,
        io::ErrorKind::NotADirectory => ErrorKind::Invalid,
        _ => ErrorKind::Io,
    };
    let told = Error::new(kind, format!("can't {what} {}: {error}", path.display()));
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            told.next("give this user read and write permission there")
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            told.next("make room on that disk")
        }
        io::ErrorKind::NotADirectory => {
            told.next("name a directory, or a path where one can be created")
        }
        _ => told.next("see to the disk, then open the store again"),
    }
}

/// Damage, told with where it is.
pub(crate) fn corrupt(path: &Path, offset: usize, damage: &Damage) -> Error {
    if let Damage::Newer(_) = damage {
        return Error::new(
            ErrorKind::NewerFormat,
            format!(
                "{} was written by a newer version: {damage}",
                path.display()
            ),
        )
        .next("run the version that wrote it, or a later one");
    }
    Error::new(ErrorKind::Corrupt, format!("{} is damaged at offset {offset}: {damage}", path.display()))
        .next("run `posthaste verify` for the whole picture and `posthaste repair --dry-run` for what can be saved; restore a backup if there is one")
}

impl Files {
    /// Opens the directory, which is created where there is none, together with its superblock.
    /// The caller holds the lock.
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self> {
        let path = dir.join("superblock");
        let known = disk
            .list(dir)
            .map_err(|error| io_error("list", dir, &error))?
            .contains(&path);
        let (file, newest) = if known {
            let file = disk
                .open(&path)
                .map_err(|error| io_error("open", &path, &error))?;
            let newest = read_superblock(&path, &*file)?;
            (file, newest)
        } else {
            create_superblock(&*disk, dir, &path)
                .map_err(|error| io_error("create", &path, &error))?
        };
        Ok(Self {
            disk,
            dir: dir.to_owned(),
            superblock: Mutex::new((file, newest)),
        })
    }

    /// What was written last.
    pub(crate) fn superblock(&self) -> Superblock {
        self.superblock
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .1
    }

    /// Writes down how far the store is durable, and syncs that.
    pub(crate) fn mark(&self, durable: u64, segment: u64, clean: bool) -> io::Result<()> {
        let mut held = self
            .superblock
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (file, last) = &mut *held;
        let generation = last.generation + 1;
        let next = Superblock {
            generation,
            durable,
            segment,
            clean,
            ..*last
        };
        file.write_at(&next.write(), next.offset())?;
        file.sync_data()?;
        *last = next;
        Ok(())
    }
}

fn create_superblock(
    disk: &dyn Disk,
    dir: &Path,
    path: &Path,
) -> io::Result<(Arc<dyn DiskFile>, Superblock)> {
    let temporary = dir.join("superblock.tmp");
    if disk.list(dir)?.contains(&temporary) {
        disk.remove(&temporary)?;
    }
    let file = disk.create(&temporary)?;
    let first = Superblock {
        generation: 2,
        epoch: drawn_epoch()?,
        ..Superblock::default()
    };
    let mut both = first.write();
    both.extend(
        Superblock {
            generation: 1,
            ..first
        }
        .write(),
    );
    file.write_at(&both, 0)?;
    file.sync_data()?;
    disk.rename(&temporary, path)?;
    disk.sync_dir(dir)?;
    Ok((file, first))
}

/// The epoch of a new store: by chance, so that nobody who writes a payload can know it, and no
/// bytes in one pass for a group of this store's. Never 0.
fn drawn_epoch() -> io::Result<u32> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).map_err(|error| {
        io::Error::other(format!("the system gives no random numbers: {error}"))
    })?;
    Ok(u32::from_le_bytes(bytes).max(1))
}

/// Reads both slots of a superblock: the newer valid one counts.
pub(crate) fn read_superblock(path: &Path, file: &dyn DiskFile) -> Result<Superblock> {
    let slot = |offset: u64| -> Result<Superblock, Damage> {
        let mut block = vec![0; BLOCK];
        file.read_at(&mut block, offset)
            .map_err(|_| Damage::Short)?;
        Superblock::read(&block)
    };
    match (slot(0), slot(BLOCK as u64)) {
        (Ok(one), Ok(two)) => Ok(if one.generation > two.generation {
            one
        } else {
            two
        }),
        (Err(newer @ Damage::Newer(_)), _) => Err(corrupt(path, 0, &newer)),
        (_, Err(newer @ Damage::Newer(_))) => Err(corrupt(path, BLOCK, &newer)),
        // One slot may be torn by a crash while it was written: the other is what counted before.
        (Ok(left), Err(_)) | (Err(_), Ok(left)) => Ok(Superblock {
            clean: false,
            ..left
        }),
        (Err(damage), Err(_)) => Err(corrupt(path, 0, &damage)),
    }
}
