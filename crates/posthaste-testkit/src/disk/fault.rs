//! The disk's face: every call is counted, and fails where that was asked for.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use posthaste_log::{Disk, DiskFile, FileSystem};

use super::tree::Tree;

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// An existing file is opened.
    Open,
    /// A file is created.
    Create,
    /// A file is renamed.
    Rename,
    /// A file is removed.
    Remove,
    /// A directory is created.
    CreateDir,
    /// A directory is listed.
    List,
    /// A directory is synced.
    SyncDir,
    /// A lock is taken.
    Lock,
    /// Blocks are reserved.
    Allocate,
    /// A file is read.
    Read,
    /// A file is written.
    Write,
    /// A file is synced.
    Sync,
    /// A file is asked for its length.
    Len,
}

impl Call {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::Open,
        Self::Create,
        Self::Rename,
        Self::Remove,
        Self::CreateDir,
        Self::List,
        Self::SyncDir,
        Self::Lock,
        Self::Allocate,
        Self::Read,
        Self::Write,
        Self::Sync,
        Self::Len,
    ];
}

/// Which call fails, and how.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Of which kind.
    pub call: Call,
    /// The how many-th of its kind, from 1, counted since the disk was made.
    pub nth: u64,
    /// With which error.
    pub error: io::ErrorKind,
    /// A write that fails has written half of its bytes.
    pub short: bool,
}

type Watch = Arc<dyn Fn(&FaultDisk, Call, &Path) + Send + Sync>;

struct State {
    tree: Tree,
    counts: BTreeMap<Call, u64>,
    log: Vec<(Call, PathBuf)>,
    faults: Vec<Fault>,
    /// The call that failed last.
    failed: Option<(Call, PathBuf)>,
    locked: Vec<PathBuf>,
    skip_syncs: bool,
}

/// A disk in memory. Clones are the same disk; [`FaultDisk::copy`] makes another.
#[derive(Clone)]
pub struct FaultDisk {
    state: Arc<Mutex<State>>,
    watch: Arc<Mutex<Option<Watch>>>,
}

impl fmt::Debug for FaultDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultDisk")
            .field("counts", &self.state().counts)
            .finish_non_exhaustive()
    }
}

impl Default for FaultDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl FaultDisk {
    /// An empty disk without faults and without an end.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Tree::new())
    }

    fn with(tree: Tree) -> Self {
        let state = State {
            tree,
            counts: BTreeMap::new(),
            log: Vec::new(),
            faults: Vec::new(),
            failed: None,
            locked: Vec::new(),
            skip_syncs: false,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            watch: Arc::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk as it is found after the power went at this moment. `seed` decides what is left of
    /// what was not synced. Locks, faults and counts are gone.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        Self::with(self.state().tree.cut(seed))
    }

    /// Another disk with the same contents, all of them durable.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self::with(self.state().tree.settled())
    }

    /// Has a call fail. Several may be named.
    pub fn fail(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// No call fails any more.
    pub fn mend(&self) {
        self.state().faults.clear();
    }

    /// The call that failed last, and on which path.
    #[must_use]
    pub fn failed(&self) -> Option<(Call, PathBuf)> {
        self.state().failed.clone()
    }

    /// How many calls of a kind there were.
    #[must_use]
    pub fn count(&self, call: Call) -> u64 {
        self.state().counts.get(&call).copied().unwrap_or(0)
    }

    /// Every call so far, in order.
    #[must_use]
    pub fn log(&self) -> Vec<(Call, PathBuf)> {
        self.state().log.clone()
    }

    /// Has `watch` called before each call; it may take [`FaultDisk::crash`] images.
    pub fn watch(&self, watch: impl Fn(&FaultDisk, Call, &Path) + Send + Sync + 'static) {
        *self.watching() = Some(Arc::new(watch));
    }

    /// Ends the watch.
    pub fn unwatch(&self) {
        *self.watching() = None;
    }

    fn watching(&self) -> MutexGuard<'_, Option<Watch>> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets syncs of files and directories do nothing and say that they did: a disk that lies.
    pub fn skip_syncs(&self, skip: bool) {
        self.state().skip_syncs = skip;
    }

    /// Bytes that all files together may have; `None` lifts the limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().tree.capacity = bytes;
    }

    /// Bytes that can still be written.
    #[must_use]
    pub fn free(&self) -> u64 {
        self.state().tree.free()
    }

    /// Every file, by path.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        self.state().tree.paths()
    }

    /// The contents of a file; `None` where there is none.
    #[must_use]
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let mut state = self.state();
        let number = state.tree.find_file(path).ok()?;
        Some(state.tree.file(number).bytes().to_vec())
    }

    /// Changes the bytes of a file behind everybody's back. Where there is none, nothing happens.
    pub fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        if let Ok(number) = state.tree.find_file(path) {
            state.tree.file(number).damage(change);
        }
    }

    /// Flips one bit of a file, counted from its first byte's lowest.
    pub fn flip(&self, path: &Path, bit: usize) {
        self.damage(path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
    }

    /// Cuts a file off.
    pub fn truncate(&self, path: &Path, len: usize) {
        self.damage(path, |bytes| bytes.truncate(len));
    }

    /// Counts a call and says how it goes: the state to do it on, and whether it fails.
    fn called(&self, call: Call, path: &Path) -> (MutexGuard<'_, State>, Option<Fault>) {
        let watch = self.watching().clone();
        if let Some(watch) = watch {
            watch(self, call, path);
        }
        let mut state = self.state();
        let count = state.counts.entry(call).or_default();
        *count += 1;
        let nth = *count;
        state.log.push((call, path.to_owned()));
        let fault = state
            .faults
            .iter()
            .copied()
            .find(|fault| fault.call == call && fault.nth == nth);
        if fault.is_some() {
            state.failed = Some((call, path.to_owned()));
        }
        (state, fault)
    }

    /// The state to do a call on, where it does not fail.
    fn allowed(&self, call: Call, path: &Path) -> io::Result<MutexGuard<'_, State>> {
        match self.called(call, path) {
            (_, Some(fault)) => Err(fault.error.into()),
            (state, None) => Ok(state),
        }
    }

    fn handle(&self, number: usize, path: &Path) -> Arc<dyn DiskFile> {
        Arc::new(Handle {
            disk: self.clone(),
            number,
            path: path.to_owned(),
        })
    }
}

impl Disk for FaultDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let number = self.allowed(Call::Open, path)?.tree.find_file(path)?;
        Ok(self.handle(number, path))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let number = self.allowed(Call::Create, path)?.tree.create(path)?;
        Ok(self.handle(number, path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.allowed(Call::Rename, from)?.tree.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.allowed(Call::Remove, path)?.tree.remove(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.allowed(Call::CreateDir, path)?
            .tree
            .create_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.allowed(Call::List, dir)?.tree.list(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let (mut state, fault) = self.called(Call::SyncDir, dir);
        let skip = state.skip_syncs;
        let directory = state.tree.directory(dir)?;
        match fault {
            Some(fault) => Err(fault.error.into()),
            None if skip => Ok(()),
            None => {
                directory.sync();
                Ok(())
            }
        }
    }

    fn lock(&self, path: &Path, holder: &str) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let mut state = self.allowed(Call::Lock, path)?;
        if state.locked.iter().any(|held| held == path) {
            return Ok(None);
        }
        let number = match state.tree.find_file(path) {
            Ok(number) => number,
            Err(_) => state.tree.create(path)?,
        };
        state.tree.file(number).damage(|bytes| {
            *bytes = holder.as_bytes().to_vec();
        });
        state.locked.push(path.to_owned());
        Ok(Some(Box::new(Held {
            disk: self.clone(),
            path: path.to_owned(),
        })))
    }

    fn read_small(&self, path: &Path) -> io::Result<String> {
        let bytes = self.contents(path).ok_or(io::ErrorKind::NotFound)?;
        String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    fn file_system(&self, _dir: &Path) -> io::Result<FileSystem> {
        Ok(FileSystem::Local)
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        Ok(self.free())
    }
}

/// A lock, until it is dropped.
struct Held {
    disk: FaultDisk,
    path: PathBuf,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.disk.state().locked.retain(|path| *path != self.path);
    }
}

/// An open file. It stays readable when its name is gone.
#[derive(Debug)]
struct Handle {
    disk: FaultDisk,
    number: usize,
    path: PathBuf,
}

impl Handle {
    fn fits(&self, state: &mut State, end: u64) -> io::Result<usize> {
        let end = usize::try_from(end).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let grows = end.saturating_sub(state.tree.file(self.number).bytes().len());
        if grows > 0 && grows as u64 > state.tree.free() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(end)
    }
}

impl DiskFile for Handle {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.allowed(Call::Read, &self.path)?;
        let bytes = state.tree.file(self.number).bytes();
        let from = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let found = bytes.get(from..from.saturating_add(buffer.len()));
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (mut state, fault) = self.disk.called(Call::Write, &self.path);
        let part = match fault {
            Some(fault) if !fault.short => return Err(fault.error.into()),
            Some(_) => &bytes[..bytes.len() / 2],
            None => bytes,
        };
        let end = self.fits(&mut state, offset + part.len() as u64)?;
        state.tree.file(self.number).write(part, end - part.len());
        fault.map_or(Ok(()), |fault| Err(fault.error.into()))
    }

    fn sync_data(&self) -> io::Result<()> {
        let (mut state, fault) = self.disk.called(Call::Sync, &self.path);
        let skip = state.skip_syncs;
        let file = state.tree.file(self.number);
        match fault {
            Some(fault) => {
                file.fail_sync();
                Err(fault.error.into())
            }
            None if skip => Ok(()),
            None => {
                file.sync();
                Ok(())
            }
        }
    }

    fn refresh(&self) -> io::Result<()> {
        self.sync_data()?;
        self.disk.state().tree.file(self.number).refresh();
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.allowed(Call::Len, &self.path)?;
        Ok(state.tree.file(self.number).bytes().len() as u64)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.allowed(Call::Allocate, &self.path)?;
        let len = self.fits(&mut state, len)?;
        state.tree.file(self.number).extend(len);
        Ok(())
    }
}
