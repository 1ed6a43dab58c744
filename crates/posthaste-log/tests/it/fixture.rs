//! The embedded store as the conformance suite and the random lives take it: on a manual clock,
//! in memory or on a disk that can stop from one moment to the next.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use posthaste_core::{Store, WallMs};
use posthaste_log::{Clock, Disk, DiskFile, Location, Log, ManualClock, Options, RealDisk};
use posthaste_testkit::block_on;
use posthaste_testkit::conformance::{Capabilities, Ending, Fixture};

/// A store on a clock that stands still.
pub(crate) struct OnLog {
    clock: ManualClock,
    segment_bytes: u32,
    /// Where it is, with the disk that it is on now; nothing in memory.
    ground: Option<(tempfile::TempDir, Mutex<StopDisk>)>,
}

/// A fresh store in memory.
pub(crate) fn memory() -> OnLog {
    OnLog {
        clock: clock(),
        segment_bytes: 0,
        ground: None,
    }
}

/// A fresh store in a directory, in segments into which the largest payload fits.
pub(crate) fn file() -> OnLog {
    in_segments(2 * 1024 * 1024)
}

/// A fresh store in a directory, in segments so small that it comes past many of them: snapshots are
/// made, and events leave the journal.
pub(crate) fn small_file() -> OnLog {
    in_segments(64 * 1024)
}

fn in_segments(segment_bytes: u32) -> OnLog {
    let dir = tempfile::tempdir().expect("a directory");
    OnLog {
        clock: clock(),
        segment_bytes,
        ground: Some((dir, Mutex::new(StopDisk::default()))),
    }
}

fn clock() -> ManualClock {
    ManualClock::at(WallMs(1_700_000_000_000))
}

impl OnLog {
    fn start(&self) -> Arc<dyn Store> {
        let location = match &self.ground {
            None => Location::Memory,
            Some((dir, _)) => Location::Directory(dir.path().join("store")),
        };
        let mut options = Options::new(location);
        options.clock = Arc::new(self.clock.clone());
        options.reserve_bytes = 1024 * 1024;
        if let Some((_, disk)) = &self.ground {
            options.segment_bytes = self.segment_bytes;
            let disk = disk.lock().unwrap_or_else(PoisonError::into_inner);
            options.disk = Arc::new(disk.clone());
        }
        Arc::new(Log::open(options).expect("the store opens"))
    }
}

impl Fixture for OnLog {
    fn open(&self) -> Arc<dyn Store> {
        self.start()
    }

    fn reopen(&self, store: Arc<dyn Store>, ending: Ending) -> Option<Arc<dyn Store>> {
        let (_, disk) = self.ground.as_ref()?;
        match ending {
            Ending::Clean => block_on(store.close()).expect("it closes"),
            Ending::Crash => {
                let mut disk = disk.lock().unwrap_or_else(PoisonError::into_inner);
                disk.stop();
                *disk = StopDisk::default();
            }
        }
        drop(store);
        Some(self.start())
    }

    fn advance(&self, ms: u64) {
        self.clock.advance(ms);
    }

    fn set_wall(&self, wall: WallMs) {
        self.clock.set_wall(wall);
    }

    fn wall(&self) -> WallMs {
        self.clock.now().wall
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            restart: self.ground.is_some(),
            chosen_ids: true,
            local_leases: true,
            undoes_leases: true,
        }
    }
}

/// The real disk, until it is stopped: from then on nothing is changed any more, as if the process
/// that did it had been killed.
#[derive(Clone, Debug, Default)]
struct StopDisk {
    stopped: Arc<AtomicBool>,
}

impl StopDisk {
    fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    fn check(&self) -> io::Result<()> {
        if self.stopped.load(Ordering::SeqCst) {
            Err(io::Error::other("the disk was stopped"))
        } else {
            Ok(())
        }
    }

    fn wrap(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(StopFile {
            file,
            disk: self.clone(),
        })
    }
}

impl Disk for StopDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        RealDisk.open(path).map(|file| self.wrap(file))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.check()?;
        RealDisk.create(path).map(|file| self.wrap(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check()?;
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.check()?;
        RealDisk.remove(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.check()?;
        RealDisk.create_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        RealDisk.list(dir)
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        self.check()
    }

    fn lock(&self, path: &Path, holder: &str) -> io::Result<Option<Box<dyn Send + Sync>>> {
        RealDisk.lock(path, holder)
    }

    fn read_small(&self, path: &Path) -> io::Result<String> {
        RealDisk.read_small(path)
    }

    fn file_system(&self, dir: &Path) -> io::Result<posthaste_log::FileSystem> {
        RealDisk.file_system(dir)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        RealDisk.free_bytes(dir)
    }
}

#[derive(Debug)]
struct StopFile {
    file: Arc<dyn DiskFile>,
    disk: StopDisk,
}

impl DiskFile for StopFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.check()?;
        self.file.write_at(bytes, offset)
    }

    /// A killed process loses nothing that it had written, so there is nothing to sync.
    fn sync_data(&self) -> io::Result<()> {
        self.disk.check()
    }

    fn refresh(&self) -> io::Result<()> {
        self.file.refresh()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.disk.check()?;
        self.file.allocate(len)
    }
}
