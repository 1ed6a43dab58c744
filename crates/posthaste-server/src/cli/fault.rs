//! Faults for the test harness to find, in builds with the feature `fault-injection` only.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use posthaste_core::{Error, ErrorKind, Result};
use posthaste_log::{Disk, DiskFile, FileSystem, Options};

/// The size of segments under `small-segments`: a store fills one in seconds instead of minutes, so
/// that a campaign comes past everything that happens when one is full.
const SMALL_SEGMENT_BYTES: u32 = 1024 * 1024;

/// Changes `options` in the ways that `POSTHASTE_FAULT` names, with commas between them.
///
/// # Errors
/// `Invalid` for a fault that isn't known: a harness must not believe in a fault that isn't there.
pub(super) fn inject(options: &mut Options) -> Result<()> {
    let Some(faults) = std::env::var_os("POSTHASTE_FAULT") else {
        return Ok(());
    };
    for fault in faults.to_string_lossy().split(',') {
        match fault {
            "skip-sync" => {
                super::print::warning("POSTHASTE_FAULT=skip-sync: nothing is synced");
                options.disk = Arc::new(Forgetful(Arc::clone(&options.disk)));
            }
            "small-segments" => options.segment_bytes = SMALL_SEGMENT_BYTES,
            other => {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format!("POSTHASTE_FAULT={other} is not a fault"),
                )
                .next("give skip-sync, small-segments, or both with a comma"));
            }
        }
    }
    Ok(())
}

/// A disk that says it has synced, and hasn't.
#[derive(Debug)]
struct Forgetful(Arc<dyn Disk>);

/// A file of it.
#[derive(Debug)]
struct ForgetfulFile(Arc<dyn DiskFile>);

impl Disk for Forgetful {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(ForgetfulFile(self.0.open(path)?)))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(ForgetfulFile(self.0.create(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.0.create_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.0.list(dir)
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, path: &Path, holder: &str) -> io::Result<Option<Box<dyn Send + Sync>>> {
        self.0.lock(path, holder)
    }

    fn read_small(&self, path: &Path) -> io::Result<String> {
        self.0.read_small(path)
    }

    fn file_system(&self, dir: &Path) -> io::Result<FileSystem> {
        self.0.file_system(dir)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.0.free_bytes(dir)
    }
}

impl DiskFile for ForgetfulFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn refresh(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.0.allocate(len)
    }
}
