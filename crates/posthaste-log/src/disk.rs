//! The file system as the store sees it. The only room that touches files; passed in, so that
//! tests can break it.
//!
//! Nothing here retries, buffers or forgives: a failed call is reported as it came.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A directory tree that the store keeps itself in.
pub trait Disk: Send + Sync + fmt::Debug + 'static {
    /// Opens an existing file to read and write.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Creates a file, which must not exist. Its directory is not synced.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Renames a file, replacing what is there. Its directory is not synced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. Its directory is not synced.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Creates a directory and those above it.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;
    /// Makes the entries of a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes the lock on a file, which is created if it isn't there, and writes `holder` into it.
    /// `Ok(None)` when another holds it. The lock ends when what is returned is dropped.
    fn lock(&self, path: &Path, holder: &str) -> io::Result<Option<Box<dyn Send + Sync>>>;
    /// What kind of file system `dir` lies on.
    fn file_system(&self, dir: &Path) -> io::Result<FileSystem>;
    /// The text of a small file.
    fn read_small(&self, path: &Path) -> io::Result<String>;
    /// Bytes that can still be written below `dir`.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;
}

/// What a file system can promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// What is synced stays.
    Local,
    /// It ends with the machine or the container, named.
    Volatile(&'static str),
    /// It lies across a network, named: locks and syncs there can't be trusted.
    Network(&'static str),
}

/// An open file.
#[expect(
    clippy::len_without_is_empty,
    reason = "a file is asked for its length to read it, never whether it is empty"
)]
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Reads exactly `buffer.len()` bytes at `offset`.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes the contents durable, and what of the metadata is needed to read them.
    fn sync_data(&self) -> io::Result<()>;
    /// Syncs, and has what is read from now on come from the device: after a sync that failed, the
    /// system may still show what the device never got.
    fn refresh(&self) -> io::Result<()>;
    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Reserves blocks for the first `len` bytes, so that writing them can't fail for want of
    /// space, and extends the file to `len`.
    fn allocate(&self, len: u64) -> io::Result<()>;
}

/// The real file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = fs::OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(dir)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path, holder: &str) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0)?;
                file.write_all_at(holder.as_bytes(), 0)?;
                Ok(Some(Box::new(file)))
            }
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn file_system(&self, dir: &Path) -> io::Result<FileSystem> {
        // The numbers are those of statfs(2).
        Ok(match rustix::fs::statfs(dir)?.f_type {
            0x0102_1994 => FileSystem::Volatile("tmpfs"),
            0x8584_58f6 => FileSystem::Volatile("ramfs"),
            0x794c_7630 => FileSystem::Volatile("overlay"),
            0x6969 => FileSystem::Network("NFS"),
            0x517b | 0xff53_4d42 | 0xfe53_4d42 => FileSystem::Network("SMB"),
            0x0102_1997 => FileSystem::Network("9p"),
            0x5346_414f => FileSystem::Network("AFS"),
            0x00c3_6400 => FileSystem::Network("Ceph"),
            _ => FileSystem::Local,
        })
    }

    fn read_small(&self, path: &Path) -> io::Result<String> {
        fs::read_to_string(path)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

#[derive(Debug)]
struct RealFile(fs::File);

impl DiskFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn refresh(&self) -> io::Result<()> {
        self.0.sync_data()?;
        // Advice: where the system does not take it, what was read back is all that can be had.
        let _taken = rustix::fs::fadvise(&self.0, 0, None, rustix::fs::Advice::DontNeed);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.0, rustix::fs::FallocateFlags::empty(), 0, len) {
            Ok(()) => Ok(()),
            // A file system without reservations: the length is all that can be had.
            Err(rustix::io::Errno::OPNOTSUPP) => self.0.set_len(len),
            Err(error) => Err(error.into()),
        }
    }
}
