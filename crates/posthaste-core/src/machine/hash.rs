//! Hash tables that grow a little at a time.
//!
//! One large table that doubles would stop everybody for as long as it takes to move its entries.
//! Here each of some thousand small tables grows by itself, so that no insert waits for more than a
//! small one. Keys are ids and digests, which nobody outside can steer, so that the hash is a plain
//! multiplication.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// Sixteen bytes to 64 well-mixed bits.
pub(super) fn mix(bytes: [u8; 16]) -> u64 {
    let word = u128::from_le_bytes(bytes);
    let (low, high) = (low64(word), low64(word >> 64));
    fold(low ^ 0x9e37_79b9_7f4a_7c15, high ^ 0xd1b5_4a32_d192_ed03)
}

/// One number to 64 well-mixed bits.
pub(super) fn mix_number(number: u32) -> u64 {
    fold(
        u64::from(number) ^ 0x2545_f491_4f6c_dd1d,
        0xd6e8_feb8_6659_fd93,
    )
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    let folded = low64(product) ^ low64(product >> 64);
    folded ^ (folded >> 29)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is what is wanted"
)]
fn low64(word: u128) -> u64 {
    word as u64
}

/// Finds numbers by something that is kept elsewhere: `eq` and `hash_of` look there.
#[derive(Debug)]
pub(super) struct Index {
    shards: Box<[HashTable<u32>]>,
}

impl Index {
    /// An empty index of `shards` tables, a power of two.
    pub(super) fn new(shards: usize) -> Self {
        debug_assert!(shards.is_power_of_two(), "a shard is chosen by bits");
        Self {
            shards: (0..shards).map(|_| HashTable::new()).collect(),
        }
    }

    /// Bits that choose neither the bucket (the lowest) nor the tag (the highest) in a table.
    fn shard(&self, hash: u64) -> usize {
        let bits = usize::try_from((hash >> 32) & 0xff_ffff).unwrap_or(0);
        bits & (self.shards.len() - 1)
    }

    pub(super) fn find(&self, hash: u64, mut eq: impl FnMut(u32) -> bool) -> Option<u32> {
        self.shards[self.shard(hash)]
            .find(hash, |number| eq(*number))
            .copied()
    }

    /// Puts in a number that isn't in.
    pub(super) fn put(&mut self, hash: u64, number: u32, hash_of: impl Fn(u32) -> u64) {
        let shard = self.shard(hash);
        self.shards[shard].insert_unique(hash, number, |number| hash_of(*number));
    }

    /// Takes out exactly `number`; without effect where it isn't in.
    pub(super) fn remove(&mut self, hash: u64, number: u32) {
        let shard = self.shard(hash);
        if let Ok(there) = self.shards[shard].find_entry(hash, |n| *n == number) {
            there.remove();
        }
    }
}

const SIDE_SHARDS: usize = 512;

/// What only some jobs have, by the job's slot, so that the others don't pay for it.
#[derive(Debug)]
pub(super) struct Sides<T> {
    shards: Box<[HashTable<(u32, T)>]>,
}

impl<T> Sides<T> {
    pub(super) fn new() -> Self {
        Self {
            shards: (0..SIDE_SHARDS).map(|_| HashTable::new()).collect(),
        }
    }

    fn shard(hash: u64) -> usize {
        usize::try_from((hash >> 32) & 0xffff).unwrap_or(0) & (SIDE_SHARDS - 1)
    }

    pub(super) fn get(&self, slot: u32) -> Option<&T> {
        let hash = mix_number(slot);
        self.shards[Self::shard(hash)]
            .find(hash, |(of, _)| *of == slot)
            .map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        let hash = mix_number(slot);
        self.shards[Self::shard(hash)]
            .find_mut(hash, |(of, _)| *of == slot)
            .map(|(_, value)| value)
    }

    /// Sets or removes; returns what was there.
    pub(super) fn set(&mut self, slot: u32, value: Option<T>) -> Option<T> {
        let hash = mix_number(slot);
        let table = &mut self.shards[Self::shard(hash)];
        match (
            table.entry(hash, |(of, _)| *of == slot, |(of, _)| mix_number(*of)),
            value,
        ) {
            (Entry::Occupied(mut there), Some(value)) => {
                Some(std::mem::replace(there.get_mut(), (slot, value)).1)
            }
            (Entry::Occupied(there), None) => Some(there.remove().0.1),
            (Entry::Vacant(free), Some(value)) => {
                free.insert((slot, value));
                None
            }
            (Entry::Vacant(_), None) => None,
        }
    }
}
