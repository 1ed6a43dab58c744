//! Idempotency keys: first taken, first forgotten.
//!
//! Ages are kept as runs of keys that were taken at the same instant, so that a key has no
//! timestamp of its own. Where there are very many runs, instants are rounded up to the second.

use std::collections::VecDeque;

use crate::limits::KEY_WINDOW_MS;
use crate::machine::fact::{KeyDigest, Place};
use crate::machine::hash::{Index, mix};
use crate::time::WallMs;

const CHUNK: u64 = 1024;
const CHUNK_LEN: usize = 1024;
const SHARDS: usize = 4096;

#[derive(Clone, Copy, Debug)]
struct Entry {
    digest: KeyDigest,
    answer: Place,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Keys {
    chunks: VecDeque<Vec<Entry>>,
    /// Number of the oldest entry.
    first: u64,
    /// Number of the next entry.
    next: u64,
    /// From which entry on which instant counts.
    runs: VecDeque<(u64, WallMs)>,
    index: Index,
}

/// With more runs than this, new ones last a second: a megabyte of them, and then hardly more.
const EXACT_RUNS_MAX: usize = 65_536;

fn hash_of(key: &[u8; 12]) -> u64 {
    let mut bytes = [0; 16];
    bytes[..12].copy_from_slice(key);
    mix(bytes)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "entries are told apart by the low bits: fewer than 2^32 are live"
)]
fn low(number: u64) -> u32 {
    number as u32
}

impl Keys {
    pub(super) fn new() -> Self {
        Self {
            chunks: VecDeque::new(),
            first: 0,
            next: 0,
            runs: VecDeque::new(),
            index: Index::new(SHARDS),
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.next - self.first
    }

    fn entry(&self, number: u64) -> &Entry {
        let (chunk, within) = self.spot(number);
        &self.chunks[chunk][within]
    }

    fn spot(&self, number: u64) -> (usize, usize) {
        let base = self.first - self.first % CHUNK;
        let chunk = usize::try_from((number - base) / CHUNK).expect("keys fit in memory");
        let within = usize::try_from(number % CHUNK).expect("a chunk is small");
        (chunk, within)
    }

    fn full(&self, low_bits: u32) -> u64 {
        self.first + u64::from(low_bits.wrapping_sub(low(self.first)))
    }

    fn find(&self, key: &[u8; 12]) -> Option<u64> {
        let found = self.index.find(hash_of(key), |number| {
            self.entry(self.full(number)).digest.key == *key
        });
        found.map(|number| self.full(number))
    }

    fn taken_at(&self, number: u64) -> WallMs {
        let run = self.runs.partition_point(|(from, _)| *from <= number);
        run.checked_sub(1).map_or(WallMs(0), |run| self.runs[run].1)
    }

    /// The body and the answer that `key` was taken with, where that was within the window.
    pub(super) fn lookup(&self, key: &[u8; 12], now: WallMs) -> Option<(u32, Place)> {
        let number = self.find(key)?;
        let over = self.taken_at(number).plus(KEY_WINDOW_MS) <= now;
        let Entry { digest, answer } = self.entry(number);
        (!over).then_some((digest.body, *answer))
    }

    /// Takes a key; returns what [`Keys::untake`] needs.
    pub(super) fn take(&mut self, digest: KeyDigest, answer: Place, at: WallMs) -> Option<u32> {
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
            chunk.resize(skipped, Entry { digest, answer });
            self.chunks.push_back(chunk);
        }
        if let Some(chunk) = self.chunks.back_mut() {
            chunk.push(Entry { digest, answer });
        }
        let number = low(self.next);
        self.next += 1;
        self.point(&digest.key, number)
    }

    /// Makes the index lead to `number`; returns where it led before.
    fn point(&mut self, key: &[u8; 12], number: u32) -> Option<u32> {
        let Self {
            chunks,
            first,
            index,
            ..
        } = self;
        let key_of = |number: u32| {
            let base = *first - *first % CHUNK;
            let full = *first + u64::from(number.wrapping_sub(low(*first)));
            let chunk = usize::try_from((full - base) / CHUNK).expect("keys fit in memory");
            let within = usize::try_from(full % CHUNK).expect("a chunk is small");
            &chunks[chunk][within].digest.key
        };
        index.put(
            hash_of(key),
            number,
            |there| key_of(there) == key,
            |there| hash_of(key_of(there)),
        )
    }

    /// Undoes the newest take.
    pub(super) fn untake(&mut self, before: Option<u32>) {
        let key = self.entry(self.next - 1).digest.key;
        match before {
            Some(number) => drop(self.point(&key, number)),
            None => self.index.remove(hash_of(&key), low(self.next - 1)),
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

    /// Moves an answer. False where it isn't at `from`.
    pub(super) fn copied(&mut self, key: &[u8; 12], from: Place, to: Place) -> bool {
        let Some(number) = self.find(key) else {
            return false;
        };
        let (chunk, within) = self.spot(number);
        let answer = &mut self.chunks[chunk][within].answer;
        let moved = *answer == from;
        if moved {
            *answer = to;
        }
        moved
    }

    /// When the oldest key is over; `None` where there is none.
    pub(super) fn next_over(&self) -> Option<WallMs> {
        (self.first < self.next).then(|| self.taken_at(self.first).plus(KEY_WINDOW_MS))
    }

    /// How many of the oldest are over at `now`, at most `max`.
    pub(super) fn over(&self, now: WallMs, max: u32) -> u32 {
        let mut count = 0;
        for (run, (_, at)) in self.runs.iter().enumerate() {
            if at.plus(KEY_WINDOW_MS) > now || count >= max {
                break;
            }
            let end = self.runs.get(run + 1).map_or(self.next, |(from, _)| *from);
            count = u32::try_from(end - self.first).unwrap_or(max);
        }
        count.min(max)
    }

    /// Forgets the oldest, and hands over the place of its answer.
    pub(super) fn forget_one(&mut self) -> Option<Place> {
        if self.first == self.next {
            return None;
        }
        let Entry { digest, answer } = *self.entry(self.first);
        self.index.remove(hash_of(&digest.key), low(self.first));
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
        Some(answer)
    }

    /// Every entry, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (KeyDigest, Place, WallMs)> + '_ {
        (self.first..self.next).map(|number| {
            let Entry { digest, answer } = *self.entry(number);
            (digest, answer, self.taken_at(number))
        })
    }
}
