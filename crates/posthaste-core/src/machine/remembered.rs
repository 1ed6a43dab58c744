//! What is remembered for a while by a digest (idempotency keys, published events): first taken,
//! first forgotten.
//!
//! Ages are kept as runs of entries that were taken at the same instant, so that an entry has no
//! timestamp of its own. Where there are very many runs, instants are rounded up to the second.

use std::collections::VecDeque;

use crate::machine::hash::mix;
use crate::machine::labels::{LABELS, Labels};
use crate::time::WallMs;

const CHUNK: u64 = 1024;
const CHUNK_LEN: usize = 1024;
const SHARDS: usize = 4096;

/// Something that is remembered.
pub(super) trait Entry: Copy {
    /// The digest that it is found by.
    fn key(&self) -> &[u8; 12];
}

/// See the module.
#[derive(Debug)]
pub(super) struct Remembered<E> {
    /// For how long, in milliseconds.
    window_ms: u64,
    chunks: VecDeque<Vec<E>>,
    /// Number of the oldest entry.
    first: u64,
    /// Number of the next entry.
    next: u64,
    /// From which entry on which instant counts.
    runs: VecDeque<(u64, WallMs)>,
    index: Labels,
}

/// With more runs than this, new ones last a second: a megabyte of them, and then hardly more.
const EXACT_RUNS_MAX: usize = 65_536;

fn hash_of(key: &[u8; 12]) -> u64 {
    let mut bytes = [0; 16];
    bytes[..12].copy_from_slice(key);
    mix(bytes)
}

/// An entry's number as a label: fewer are live than there are labels.
fn label(number: u64) -> u32 {
    u32::try_from(number % u64::from(LABELS)).unwrap_or(0)
}

/// The live entry with this label, where the oldest is `first`.
fn number_of(label_of: u32, first: u64) -> u64 {
    let labels = u64::from(LABELS);
    first + (u64::from(label_of) + labels - first % labels) % labels
}

/// The key of an entry.
fn key_at<E: Entry>(chunks: &VecDeque<Vec<E>>, first: u64, label_of: u32) -> &[u8; 12] {
    let (chunk, within) = spot(number_of(label_of, first), first);
    chunks[chunk][within].key()
}

/// In which chunk an entry is, and where in it.
fn spot(number: u64, first: u64) -> (usize, usize) {
    let base = first - first % CHUNK;
    let chunk =
        usize::try_from((number - base) / CHUNK).expect("what is remembered fits in memory");
    let within = usize::try_from(number % CHUNK).expect("a chunk is small");
    (chunk, within)
}

impl<E: Entry> Remembered<E> {
    pub(super) fn new(window_ms: u64) -> Self {
        Self {
            window_ms,
            chunks: VecDeque::new(),
            first: 0,
            next: 0,
            runs: VecDeque::new(),
            index: Labels::new(SHARDS),
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.next - self.first
    }

    fn entry(&self, number: u64) -> &E {
        let (chunk, within) = spot(number, self.first);
        &self.chunks[chunk][within]
    }

    fn find(&self, key: &[u8; 12]) -> Option<u64> {
        let found = self.index.find(hash_of(key), |label_of| {
            key_at(&self.chunks, self.first, label_of) == key
        });
        found.map(|label_of| number_of(label_of, self.first))
    }

    fn taken_at(&self, number: u64) -> WallMs {
        let run = self.runs.partition_point(|(from, _)| *from <= number);
        run.checked_sub(1).map_or(WallMs(0), |run| self.runs[run].1)
    }

    /// What was taken under `key`, where that was within the window.
    pub(super) fn lookup(&self, key: &[u8; 12], now: WallMs) -> Option<E> {
        let number = self.find(key)?;
        let over = self.taken_at(number).plus(self.window_ms) <= now;
        (!over).then(|| *self.entry(number))
    }

    /// Takes one; returns what [`Remembered::untake`] needs.
    pub(super) fn take(&mut self, entry: E, at: WallMs) -> Option<u32> {
        let at = if self.runs.len() < EXACT_RUNS_MAX {
            at
        } else {
            WallMs(at.0.div_ceil(1_000) * 1_000)
        };
        if self.runs.back().is_none_or(|(_, last)| *last != at) {
            self.runs.push_back((self.next, at));
        }
        if self.chunks.is_empty() || self.next.is_multiple_of(CHUNK) {
            let mut chunk = Vec::with_capacity(CHUNK_LEN);
            // An emptied store goes on in the middle of a chunk.
            let skipped = usize::try_from(self.next % CHUNK).expect("a chunk is small");
            chunk.resize(skipped, entry);
            self.chunks.push_back(chunk);
        }
        if let Some(chunk) = self.chunks.back_mut() {
            chunk.push(entry);
        }
        let number = self.next;
        self.next += 1;
        self.point(entry.key(), label(number))
    }

    /// Makes the index lead to `label_of`; returns where it led before.
    fn point(&mut self, key: &[u8; 12], label_of: u32) -> Option<u32> {
        let Self {
            chunks,
            first,
            index,
            ..
        } = self;
        index.put(
            hash_of(key),
            label_of,
            |there| key_at(chunks, *first, there) == key,
            |there| hash_of(key_at(chunks, *first, there)),
        )
    }

    /// Makes the index not lead to that entry, if it does.
    fn unpoint(&mut self, number: u64) {
        let key = *self.entry(number).key();
        let Self {
            chunks,
            first,
            index,
            ..
        } = self;
        index.remove(hash_of(&key), label(number), |there| {
            hash_of(key_at(chunks, *first, there))
        });
    }

    /// Undoes the newest take.
    pub(super) fn untake(&mut self, before: Option<u32>) {
        let key = *self.entry(self.next - 1).key();
        match before {
            Some(label_of) => drop(self.point(&key, label_of)),
            None => self.unpoint(self.next - 1),
        }
        self.next -= 1;
        if let Some(chunk) = self.chunks.back_mut() {
            chunk.pop();
        }
        if self.next.is_multiple_of(CHUNK) || self.first == self.next {
            self.chunks.pop_back();
        }
        self.runs.pop_back_if(|(from, _)| *from == self.next);
    }

    /// What was taken under `key`, to be changed but for its key.
    pub(super) fn get_mut(&mut self, key: &[u8; 12]) -> Option<&mut E> {
        let number = self.find(key)?;
        let (chunk, within) = spot(number, self.first);
        Some(&mut self.chunks[chunk][within])
    }

    /// When one that is taken at `now` is held to have been taken: no earlier than the one before
    /// it, so that the first taken is the first forgotten also when the clock goes back.
    pub(super) fn instant(&self, now: WallMs) -> WallMs {
        self.runs.back().map_or(now, |(_, last)| now.max(*last))
    }

    /// When the oldest is over; `None` where there is none.
    pub(super) fn next_over(&self) -> Option<WallMs> {
        (self.first < self.next).then(|| self.taken_at(self.first).plus(self.window_ms))
    }

    /// How many of the oldest are over at `now`, at most `max`.
    pub(super) fn over(&self, now: WallMs, max: u32) -> u32 {
        let mut count = 0;
        for (run, (_, at)) in self.runs.iter().enumerate() {
            if at.plus(self.window_ms) > now || count >= max {
                break;
            }
            let end = self.runs.get(run + 1).map_or(self.next, |(from, _)| *from);
            count = u32::try_from(end - self.first).unwrap_or(max);
        }
        count.min(max)
    }

    /// Forgets the oldest, and hands it over.
    pub(super) fn forget_one(&mut self) -> Option<E> {
        if self.first == self.next {
            return None;
        }
        let forgotten = *self.entry(self.first);
        self.unpoint(self.first);
        self.first += 1;
        if self.first.is_multiple_of(CHUNK) || self.first == self.next {
            self.chunks.pop_front();
        }
        while self
            .runs
            .get(1)
            .is_some_and(|(from, _)| *from <= self.first)
        {
            self.runs.pop_front();
        }
        if self.first == self.next {
            self.runs.clear();
        }
        Some(forgotten)
    }

    /// Every entry, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (E, WallMs)> + '_ {
        (self.first..self.next).map(|number| (*self.entry(number), self.taken_at(number)))
    }
}
