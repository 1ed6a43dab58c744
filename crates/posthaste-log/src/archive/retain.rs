//! What is dropped: whole files, the oldest first, and in the end the topic.

use std::io;
use std::sync::Arc;

use posthaste_core::{Result, WallMs};

use super::files::{Sealed, State};
use super::{Archive, Place};
use crate::files::io_error;

/// The newest file is sealed once it holds this part of what is kept, so that old events go while
/// new ones come.
const PARTS: u64 = 8;
/// Where bytes or events are kept, it is not sealed before it has as many bytes.
const SEAL_BYTES_MIN: u64 = 1024 * 1024;

/// How much is kept. What is over by any of these is dropped, file by file.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Keep {
    /// Entries that were published as long ago at most, in milliseconds.
    pub(crate) ms: Option<u64>,
    /// The newest so many bytes of files at least.
    pub(crate) bytes: Option<u64>,
    /// The newest so many entries at least.
    pub(crate) events: Option<u64>,
}

/// What was dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub(crate) files: u64,
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    /// The first position that is left.
    pub(crate) earliest: u64,
}

impl Keep {
    fn is_over(&self, state: &State, file: &Sealed, now: WallMs) -> bool {
        let enough = |all: u64, of_it: u64, keep: Option<u64>| {
            keep.is_some_and(|keep| all.saturating_sub(of_it) >= keep)
        };
        let age = now.since(WallMs(file.last_at));
        self.ms.is_some_and(|ms| age > ms)
            || enough(state.bytes(), file.bytes, self.bytes)
            || enough(state.events(), file.events, self.events)
    }

    /// Whether the newest file holds more than a part of what is kept, or nothing is kept.
    fn fills(&self, first_at: u64, bytes: u64, events: u64, now: WallMs) -> bool {
        let many = |has: u64, keep: Option<u64>| {
            keep.is_some_and(|keep| keep == 0 || (has > keep / PARTS && bytes > SEAL_BYTES_MIN))
        };
        let age = now.since(WallMs(first_at));
        self.ms.is_some_and(|ms| age > ms / PARTS)
            || many(bytes, self.bytes)
            || many(events, self.events)
    }
}

impl Archive {
    /// Drops the oldest files as long as all of one is over its age, or the rest is enough. What
    /// was dropped never comes back, and where the archive ends is known when all of it is gone.
    pub(crate) fn retain(&mut self, now: WallMs, keep: Keep) -> Result<Dropped> {
        self.check_sound()?;
        let fills = self.shared.read().newest.as_ref().is_some_and(|newest| {
            let first = newest.loaded.index.blocks.first();
            first.is_some_and(|first| keep.fills(first.at, newest.bytes, newest.events, now))
        });
        if fills {
            self.seal()?;
        }
        let mut dropped = Dropped::default();
        while let Some(file) = self.oldest_over(now, keep) {
            // The newest file says where the archive ends.
            self.ready_writer()?;
            self.drop_oldest(&file)?;
            dropped.files += 1;
            dropped.events += file.events;
            dropped.bytes += file.bytes;
        }
        dropped.earliest = self.earliest();
        Ok(dropped)
    }

    fn oldest_over(&self, now: WallMs, keep: Keep) -> Option<Arc<Sealed>> {
        let state = self.shared.read();
        let oldest = state.sealed.first()?;
        keep.is_over(&state, oldest, now)
            .then(|| Arc::clone(oldest))
    }

    /// Removes a file for good before its entries become a gap: what was told to be gone must not
    /// be there after a power cut.
    fn drop_oldest(&mut self, file: &Sealed) -> Result<()> {
        // Who has found it may read it to its end. A damaged one is read no further.
        let _opened = self.shared.pin(file);
        let disk = Arc::clone(&self.place.disk);
        let removed = disk
            .remove(&file.path)
            .and_then(|()| disk.sync_dir(&self.place.dir));
        self.certain("remove", &file.path, removed)?;
        let mut state = self.shared.write();
        state.sealed.remove(0);
        state.firsts.clone_from(&file.offsets);
        state.before_at = file.last_at;
        Ok(())
    }

    /// Removes everything, and tells readers that the topic was deleted.
    pub(crate) fn remove(self) -> Result<()> {
        self.shared.write().gone = true;
        remove(&self.place)
    }
}

/// Removes all of an archive, or what a power cut left of it when that was done before.
pub(crate) fn remove(place: &Place) -> Result<()> {
    let paths = match place.disk.list(&place.dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        listed => listed.map_err(place.failed("list"))?,
    };
    for path in &paths {
        place
            .disk
            .remove(path)
            .map_err(|error| io_error("remove", path, &error))?;
    }
    place
        .disk
        .sync_dir(&place.dir)
        .map_err(place.failed("sync"))
}
