//! The files of an archive as its readers see them, while it is appended to and files go.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use posthaste_core::Result;

use crate::disk::{Disk, DiskFile};
use crate::files::{corrupt, io_error};
use crate::format::archive::{Footer, Header, Index, offset_of};
use crate::format::{BLOCK, Damage};

/// What a file is called while its header is written.
pub(super) const BEGINNING: &str = "beginning.tmp";

/// Sealed files whose index is in memory and which are open, at most. Any other costs a few
/// hundred bytes and eight for each partition.
///
/// Measured with events of 256 bytes, four partitions and blocks of 64 KiB: 130 KB of index for
/// a million events where they are loaded, 1 KB where they are not.
const LOADED_MAX: usize = 16;

/// The name of the file whose first position this is.
pub(super) fn file_name(first: u64) -> String {
    format!("{first:016x}.events")
}

/// The first position of the file with this name; none where it is no file of an archive.
pub(super) fn first_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?.strip_suffix(".events")?;
    let first = u64::from_str_radix(name, 16).ok()?;
    (file_name(first).strip_suffix(".events") == Some(name)).then_some(first)
}

/// An open file, and where its blocks are.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) index: Arc<Index>,
}

impl Loaded {
    pub(super) fn new(file: &Arc<dyn DiskFile>, index: &Index) -> Self {
        Self {
            file: Arc::clone(file),
            index: Arc::new(index.clone()),
        }
    }
}

/// A sealed file. It is opened when it is read.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) path: PathBuf,
    pub(super) first: u64,
    pub(super) end: u64,
    pub(super) last_at: u64,
    pub(super) events: u64,
    pub(super) bytes: u64,
    pub(super) offsets: Box<[u64]>,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    loaded: Option<Loaded>,
    /// Its name is going: what is open of it stays open.
    pinned: bool,
}

impl Sealed {
    pub(super) fn new(path: PathBuf, footer: &Footer, loaded: Option<Loaded>) -> Self {
        Self {
            path,
            first: footer.first,
            end: footer.end,
            last_at: footer.at,
            events: footer.events,
            bytes: footer.index_at + u64::from(footer.index_len) + BLOCK as u64,
            offsets: footer.offsets.clone().into(),
            held: Mutex::new(Held {
                loaded,
                pinned: false,
            }),
        }
    }

    fn load(&self, disk: &dyn Disk, pin: bool) -> Result<Loaded> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.pinned |= pin;
        if let Some(loaded) = &held.loaded {
            return Ok(loaded.clone());
        }
        let file = disk
            .open(&self.path)
            .map_err(|error| io_error("open", &self.path, &error))?;
        let (header, footer) = read_ends(&self.path, &*file)?;
        let index = read_index(&self.path, &*file, &header, &footer)?;
        Ok(held.loaded.insert(Loaded::new(&file, &index)).clone())
    }

    fn unload(&self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if !held.pinned {
            held.loaded = None;
        }
    }
}

/// The header and the footer of a sealed file.
pub(super) fn read_ends(path: &Path, file: &dyn DiskFile) -> Result<(Header, Footer)> {
    let len = file
        .len()
        .map_err(|error| io_error("look at", path, &error))?;
    let header = read_header(path, file, len)?;
    let at = len.saturating_sub(BLOCK as u64);
    let footer = match read_footer(path, file, &header, len)? {
        Ok(footer) => footer,
        Err(damage) => return Err(damaged(path, at, &damage)),
    };
    Ok((header, footer))
}

/// The header of a file that is `len` long.
pub(super) fn read_header(path: &Path, file: &dyn DiskFile, len: u64) -> Result<Header> {
    if len < BLOCK as u64 {
        return Err(damaged(path, 0, &Damage::Short));
    }
    let page = read_bytes(path, file, 0, BLOCK)?;
    let header = Header::read(&page).map_err(|damage| damaged(path, 0, &damage))?;
    if first_of(path).is_some_and(|first| first != header.first) {
        return Err(damaged(path, 0, &Damage::Bad("first position")));
    }
    Ok(header)
}

/// The footer of a file that is `len` long, or why there is none.
pub(super) fn read_footer(
    path: &Path,
    file: &dyn DiskFile,
    header: &Header,
    len: u64,
) -> Result<Result<Footer, Damage>> {
    let Some(at) = len
        .checked_sub(BLOCK as u64)
        .filter(|at| *at >= BLOCK as u64)
    else {
        return Ok(Err(Damage::Short));
    };
    let page = read_bytes(path, file, at, BLOCK)?;
    Ok(Footer::read(&page, header, len))
}

pub(super) fn read_index(
    path: &Path,
    file: &dyn DiskFile,
    header: &Header,
    footer: &Footer,
) -> Result<Index> {
    let bytes = read_bytes(path, file, footer.index_at, footer.index_len as usize)?;
    Index::read(&bytes, header, footer).map_err(|damage| damaged(path, footer.index_at, &damage))
}

/// Bytes that are known to lie in the file.
pub(super) fn read_bytes(
    path: &Path,
    file: &dyn DiskFile,
    offset: u64,
    len: usize,
) -> Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    file.read_at(&mut bytes, offset)
        .map_err(|error| io_error("read", path, &error))?;
    Ok(bytes)
}

pub(super) fn damaged(path: &Path, offset: u64, damage: &Damage) -> posthaste_core::Error {
    corrupt(path, usize::try_from(offset).unwrap_or(usize::MAX), damage)
}

/// What is synced of the newest file, while it is not sealed.
#[derive(Debug)]
pub(super) struct Showing {
    pub(super) path: PathBuf,
    pub(super) first: u64,
    pub(super) bytes: u64,
    pub(super) events: u64,
    pub(super) loaded: Loaded,
}

/// Everything that can be read.
#[derive(Debug)]
pub(super) struct State {
    pub(super) sealed: Vec<Arc<Sealed>>,
    pub(super) newest: Option<Showing>,
    /// The next offset of each partition before the first entry.
    pub(super) firsts: Box<[u64]>,
    /// Publish time of the entry before the first one.
    pub(super) before_at: u64,
    /// Position behind the last synced entry.
    pub(super) end: u64,
    /// The topic was deleted.
    pub(super) gone: bool,
}

impl State {
    pub(super) fn earliest(&self) -> u64 {
        let newest = self.newest.as_ref().map(|newest| newest.first);
        let oldest = self.sealed.first().map(|file| file.first);
        oldest.or(newest).unwrap_or(self.end)
    }

    pub(super) fn bytes(&self) -> u64 {
        let sealed: u64 = self.sealed.iter().map(|file| file.bytes).sum();
        sealed + self.newest.as_ref().map_or(0, |newest| newest.bytes)
    }

    pub(super) fn events(&self) -> u64 {
        let sealed: u64 = self.sealed.iter().map(|file| file.events).sum();
        sealed + self.newest.as_ref().map_or(0, |newest| newest.events)
    }
}

/// A file to read in.
#[derive(Debug)]
pub(super) struct View {
    pub(super) path: PathBuf,
    pub(super) loaded: Loaded,
}

/// A file that was found to read in, not yet opened.
pub(super) enum Found {
    Sealed(Arc<Sealed>),
    Newest(View),
}

/// What the writer and the readers share.
#[derive(Debug)]
pub(super) struct Shared {
    disk: Arc<dyn Disk>,
    state: RwLock<State>,
    /// Those that were loaded, the longest ago first.
    loaded: Mutex<VecDeque<Weak<Sealed>>>,
}

impl Shared {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        sealed: Vec<Sealed>,
        (firsts, before_at): (Vec<u64>, u64),
    ) -> Self {
        let end = sealed.last().map_or(0, |file| file.end);
        let state = State {
            sealed: sealed.into_iter().map(Arc::new).collect(),
            newest: None,
            firsts: firsts.into(),
            before_at,
            end,
            gone: false,
        };
        Self {
            disk,
            state: RwLock::new(state),
            loaded: Mutex::default(),
        }
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn show(&self, newest: Showing) {
        let mut state = self.write();
        state.end = newest.loaded.index.end;
        state.newest = Some(newest);
    }

    /// Nothing is there yet, and the first file begins at `position`, behind an entry published at
    /// `before_at`.
    pub(super) fn begin_at(&self, position: u64, before_at: u64, offsets: &[u64]) {
        let mut state = self.write();
        (state.end, state.before_at) = (position, before_at);
        state.firsts = offsets.into();
    }

    /// There is no newest file that is not sealed; the next one begins at `end`.
    pub(super) fn hide(&self, end: u64) {
        let mut state = self.write();
        state.newest = None;
        state.end = end;
    }

    /// The newest file was sealed.
    pub(super) fn seal(&self, sealed: Sealed) {
        let sealed = Arc::new(sealed);
        {
            let mut state = self.write();
            state.end = sealed.end;
            state.newest = None;
            state.sealed.push(Arc::clone(&sealed));
        }
        self.was_loaded(&sealed);
    }

    /// Opens a file, unless it is open.
    pub(super) fn view(&self, found: Found) -> Result<View> {
        match found {
            Found::Newest(view) => Ok(view),
            Found::Sealed(sealed) => Ok(View {
                path: sealed.path.clone(),
                loaded: self.load(&sealed)?,
            }),
        }
    }

    pub(super) fn load(&self, sealed: &Arc<Sealed>) -> Result<Loaded> {
        let before = self.is_loaded(sealed);
        let loaded = sealed.load(&*self.disk, false)?;
        if !before {
            self.was_loaded(sealed);
        }
        Ok(loaded)
    }

    /// Opens a file whose name is going, so that those who found it can still read it.
    pub(super) fn pin(&self, sealed: &Sealed) -> Result<Loaded> {
        sealed.load(&*self.disk, true)
    }

    pub(super) fn view_of(&self, sealed: &Arc<Sealed>) -> Result<View> {
        self.view(Found::Sealed(Arc::clone(sealed)))
    }

    /// A new file stands for some that lie beside one another.
    pub(super) fn replace(&self, old: &[Arc<Sealed>], new: Sealed) {
        let new = Arc::new(new);
        let first = new.first;
        {
            let sealed = &mut self.write().sealed;
            let number = sealed.partition_point(|file| file.first < first);
            sealed.splice(number..number + old.len(), [Arc::clone(&new)]);
        }
        self.was_loaded(&new);
    }

    fn is_loaded(&self, sealed: &Sealed) -> bool {
        let held = sealed.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.loaded.is_some()
    }

    fn was_loaded(&self, sealed: &Arc<Sealed>) {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.push_back(Arc::downgrade(sealed));
        while loaded.len() > LOADED_MAX {
            if let Some(longest) = loaded.pop_front().and_then(|file| file.upgrade()) {
                longest.unload();
            }
        }
    }
}

/// The first sealed file with an entry of `partition` at or behind `offset`, as far as the footers
/// tell.
pub(super) fn file_of(sealed: &[Arc<Sealed>], partition: u16, offset: u64) -> usize {
    sealed.partition_point(|file| offset_of(&file.offsets, partition) <= offset)
}
