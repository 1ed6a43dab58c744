//! The testkit's disk, as this build of the traits.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use posthaste_log::{Disk as _, DiskFile as TheirFile};
use posthaste_testkit::disk::FaultDisk;

use crate::disk::{Disk, DiskFile, FileSystem};

/// A disk in memory that breaks on demand.
#[derive(Clone, Debug, Default)]
pub(super) struct TestDisk(pub(super) FaultDisk);

#[derive(Debug)]
struct TestFile(Arc<dyn TheirFile>);

impl Disk for TestDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(TestFile(self.0.open(path)?)))
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(TestFile(self.0.create(path)?)))
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
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.sync_dir(dir)
    }
    fn lock(&self, path: &Path, holder: &str) -> io::Result<Option<Box<dyn Send + Sync>>> {
        self.0.lock(path, holder)
    }
    fn file_system(&self, _dir: &Path) -> io::Result<FileSystem> {
        Ok(FileSystem::Local)
    }
    fn read_small(&self, path: &Path) -> io::Result<String> {
        self.0.read_small(path)
    }
    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.0.free_bytes(dir)
    }
}

impl DiskFile for TestFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn refresh(&self) -> io::Result<()> {
        self.0.refresh()
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.0.allocate(len)
    }
}
