//! Reading an archive, by position, time and offset, from any thread.

use std::ops::ControlFlow;
use std::sync::Arc;

use posthaste_core::{Error, ErrorKind, Result, WallMs};

use super::Entry;
use super::files::{Found, Shared, State, View, damaged, file_of};
use crate::files::io_error;
use crate::format::Damage;
use crate::format::archive::{block, offset_of};

/// Most bytes of blocks that one read looks at, whatever it is after.
const EXAMINED_MAX: u64 = 8 * 1024 * 1024;

/// How a read ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Go on there. It is the position that was asked for where nothing lies behind that yet.
    Next(u64),
    /// What lay at the position is gone.
    Gap {
        /// The first position that is not.
        earliest: u64,
    },
}

/// Reads an archive while it is written. Clones are cheap.
#[derive(Clone, Debug)]
pub(crate) struct Reader(Arc<Shared>);

/// Buffers that are used again from block to block.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    block: Vec<u8>,
    raw: Vec<u8>,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// Position behind the last entry that can be read.
    pub(crate) fn end(&self) -> u64 {
        self.0.read().end
    }

    /// The first offset of a partition that is not a gap.
    pub(crate) fn first_offset(&self, partition: u16) -> u64 {
        offset_of(&self.0.read().firsts, partition)
    }

    /// When the last entry was published that lay before the first one.
    pub(crate) fn before_at(&self) -> WallMs {
        WallMs(self.0.read().before_at)
    }

    /// Entries that can be read.
    pub(crate) fn events(&self) -> u64 {
        self.0.read().events()
    }

    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.read().bytes()
    }

    /// The first position that is not a gap.
    pub(crate) fn earliest(&self) -> u64 {
        self.0.read().earliest()
    }

    /// Gives `each` the entries from `position` on, of one partition or of all, until it breaks
    /// (the entry it broke at is taken) or they came to `bytes_max`. Holes that compaction left are
    /// passed. It may also end early, having given nothing: there is more as long as the answer
    /// is below [`Reader::end`].
    ///
    /// # Errors
    /// `Corrupt` for a damaged block, once everything before it was given; `NotFound` for a topic
    /// that was deleted.
    pub(crate) fn read(
        &self,
        position: u64,
        partition: Option<u16>,
        bytes_max: usize,
        mut each: impl FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<Outcome> {
        let mut scratch = Scratch::default();
        let (mut at, mut given, mut examined) = (position, 0, 0);
        loop {
            let found = {
                let state = self.0.read();
                check_there(&state)?;
                let earliest = state.earliest();
                if position < earliest && at == position {
                    return Ok(Outcome::Gap { earliest });
                }
                match file_at(&state, at) {
                    // What was next is gone meanwhile, which the next read is told.
                    Some(found) if at >= earliest => found,
                    _ => return Ok(Outcome::Next(at)),
                }
            };
            let view = self.0.view(found)?;
            let index = &view.loaded.index;
            let from = index.blocks.partition_point(|block| block.position <= at);
            for number in from.saturating_sub(1)..index.blocks.len() {
                let mut broke = false;
                let walked = scratch.walk(&view, number, |entry| {
                    let wanted = partition.is_none_or(|partition| partition == entry.partition);
                    if entry.position < at {
                        return ControlFlow::Continue(());
                    }
                    at = entry.position + 1;
                    if !wanted {
                        return ControlFlow::Continue(());
                    }
                    given += entry.bytes.len() + entry.key.map_or(0, <[u8]>::len);
                    broke = each(entry).is_break() || given >= bytes_max;
                    match broke {
                        true => ControlFlow::Break(()),
                        false => ControlFlow::Continue(()),
                    }
                });
                match walked {
                    Ok(()) => {}
                    // What was given is not lost with the error: it comes with the next read.
                    Err(_) if at > position => return Ok(Outcome::Next(at)),
                    Err(error) => return Err(error),
                }
                examined += index.behind(number) - index.blocks[number].offset;
                if broke || (examined >= EXAMINED_MAX && at > position) {
                    return Ok(Outcome::Next(at));
                }
            }
            at = at.max(index.end);
        }
    }

    /// The position behind the block in which `position` lies: where to read on where that block is
    /// damaged. Behind its file where that can't be opened.
    pub(crate) fn behind_block(&self, position: u64) -> u64 {
        let found = file_at(&self.0.read(), position);
        let (end, view) = match found {
            None => return position + 1,
            Some(Found::Sealed(file)) => (file.end, self.0.view(Found::Sealed(file)).ok()),
            Some(Found::Newest(view)) => (view.loaded.index.end, Some(view)),
        };
        let behind = view.and_then(|view| {
            let blocks = &view.loaded.index.blocks;
            let next = blocks.partition_point(|block| block.position <= position);
            blocks.get(next).map(|block| block.position)
        });
        behind.unwrap_or(end).max(position + 1)
    }

    /// Position of the first entry that was published at `at` or later; the end where there is
    /// none.
    pub(crate) fn position_at_time(&self, at: WallMs) -> Result<u64> {
        let first = |state: &State| state.sealed.partition_point(|file| file.last_at < at.0);
        self.first_of(first, |view, scratch| {
            let blocks = &view.loaded.index.blocks;
            let from = blocks.partition_point(|block| block.at < at.0);
            scratch.find(view, from.saturating_sub(1), |entry| entry.at >= at)
        })
    }

    /// Position of the first entry of `partition` at `offset` or behind; the end where there is
    /// none.
    pub(crate) fn position_of(&self, partition: u16, offset: u64) -> Result<u64> {
        let first = |state: &State| file_of(&state.sealed, partition, offset);
        self.first_of(first, |view, scratch| {
            let block = view.loaded.index.block_of(partition, offset);
            let block = block.map_err(|damage| damaged(&view.path, 0, &damage))?;
            let Some(block) = block else {
                return Ok(None);
            };
            scratch.find(view, block, |entry| {
                entry.partition == partition && entry.offset >= offset
            })
        })
    }

    /// Looks into one file after the other, from the one that `first` names, until something is
    /// found.
    fn first_of(
        &self,
        first: impl FnOnce(&State) -> usize,
        look: impl Fn(&View, &mut Scratch) -> Result<Option<u64>>,
    ) -> Result<u64> {
        let mut scratch = Scratch::default();
        let mut at = {
            let state = self.0.read();
            check_there(&state)?;
            let file = state.sealed.get(first(&state));
            let newest = state.newest.as_ref().map(|newest| newest.first);
            file.map(|file| file.first).or(newest).unwrap_or(state.end)
        };
        loop {
            let found = {
                let state = self.0.read();
                check_there(&state)?;
                at = at.max(state.earliest());
                match file_at(&state, at) {
                    Some(found) => found,
                    None => return Ok(at),
                }
            };
            let view = self.0.view(found)?;
            if let Some(position) = look(&view, &mut scratch)? {
                return Ok(position);
            }
            at = view.loaded.index.end;
        }
    }
}

fn check_there(state: &State) -> Result<()> {
    if state.gone {
        return Err(Error::new(ErrorKind::NotFound, "the topic was deleted"));
    }
    Ok(())
}

/// The file in which `position` lies, if it is below the end.
fn file_at(state: &State, position: u64) -> Option<Found> {
    if position >= state.end {
        return None;
    }
    let behind = |end: u64| end <= position;
    let sealed = state.sealed.partition_point(|file| behind(file.end));
    if let Some(file) = state.sealed.get(sealed) {
        return Some(Found::Sealed(Arc::clone(file)));
    }
    state.newest.as_ref().map(|newest| {
        Found::Newest(View {
            path: newest.path.clone(),
            loaded: newest.loaded.clone(),
        })
    })
}

impl Scratch {
    /// Gives `each` the entries of a block, from its first.
    pub(super) fn walk(
        &mut self,
        view: &View,
        number: usize,
        each: impl FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let header = self.load(view, number)?;
        let walked = header.and_then(|header| self.each(&header, each));
        let offset = view.loaded.index.blocks[number].offset;
        walked.map_err(|damage| damaged(&view.path, offset, &damage))
    }

    /// Reads a block, whose header must be what the index says.
    pub(super) fn load(
        &mut self,
        view: &View,
        number: usize,
    ) -> Result<Result<block::Header, Damage>> {
        let index = &view.loaded.index;
        let at = index.blocks[number];
        let size = usize::try_from(index.behind(number) - at.offset).unwrap_or(usize::MAX);
        if size > block::SIZE_MAX {
            return Ok(Err(Damage::Bad("length")));
        }
        self.block.resize(size, 0);
        match view.loaded.file.read_at(&mut self.block, at.offset) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                return Ok(Err(Damage::Short));
            }
            Err(error) => return Err(io_error("read", &view.path, &error)),
        }
        let header = block::Header::read(&self.block, index.salt);
        Ok(header.and_then(|header| {
            if header.size() == size && header.first == at.position {
                Ok(header)
            } else {
                Err(Damage::Bad("place in the index"))
            }
        }))
    }

    /// Gives `each` the entries of the block that was read last.
    pub(super) fn each(
        &mut self,
        header: &block::Header,
        mut each: impl FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<(), Damage> {
        let mut entries = header.entries(&self.block, &mut self.raw)?;
        while let Some(entry) = entries.next()? {
            if each(entry).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Position of the first entry, from a block on, that `wanted` holds for.
    fn find(
        &mut self,
        view: &View,
        from: usize,
        wanted: impl Fn(&Entry<'_>) -> bool,
    ) -> Result<Option<u64>> {
        for number in from..view.loaded.index.blocks.len() {
            let mut found = None;
            self.walk(view, number, |entry| {
                if wanted(&entry) {
                    found = Some(entry.position);
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}
