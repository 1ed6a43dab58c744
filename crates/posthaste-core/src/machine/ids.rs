//! Finds a job's slot by its id, with few steps through memory.
//!
//! Ids begin with the instant at which they were minted, and jobs that came together are claimed
//! and settled together. So an id is kept near those of its time: a few small tables serve a moment
//! and stay in the processor's cache, where tables chosen by chance would all be far away. A moment
//! with more ids than its tables may hold (a clock that stands still, ids from elsewhere) spills
//! into tables chosen by chance, so that none grows large and no insert waits long for one to grow.

use hashbrown::HashTable;

use crate::ids::JobId;
use crate::machine::hash::{mix, mix_number};

/// How many tables there are. A power of two.
const TABLES: usize = 4096;
/// How many of them serve one moment. A power of two.
const TABLES_OF_MOMENT: usize = 8;
/// How long a moment is: 2^4 ms.
const MOMENT_BITS: u32 = 4;
/// Slots after which a table takes no more of its moment: as many as 4,096 buckets may hold.
const CROWDED: usize = 3_584;

/// See the module.
#[derive(Debug)]
pub(super) struct Ids {
    tables: Box<[Table]>,
}

#[derive(Clone, Debug, Default)]
struct Table {
    slots: HashTable<u32>,
    /// How many of its moment's are elsewhere.
    spilled: u32,
}

/// Where an id is looked for.
struct Homes {
    hash: u64,
    near: usize,
    far: usize,
}

fn homes(id: JobId) -> Homes {
    let bytes = id.to_bytes();
    let hash = mix(bytes);
    let [a, b, c, d, e, f, ..] = bytes;
    let ms = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
    let moment = low32(ms >> MOMENT_BITS);
    // Bits that choose neither the bucket (the lowest) nor the tag (the highest) in a table.
    let chance = low32(hash >> 24) as usize;
    let group = low32(mix_number(moment)) as usize % (TABLES / TABLES_OF_MOMENT);
    let near = group * TABLES_OF_MOMENT + chance % TABLES_OF_MOMENT;
    let far = chance % TABLES;
    let far = if far == near { far ^ 1 } else { far };
    Homes { hash, near, far }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is what is wanted"
)]
fn low32(word: u64) -> u32 {
    word as u32
}

impl Ids {
    pub(super) fn new() -> Self {
        Self {
            tables: vec![Table::default(); TABLES].into(),
        }
    }

    /// The slot of the job with this id; `id_of` tells whose a slot is.
    pub(super) fn find(&self, id: JobId, id_of: impl Fn(u32) -> JobId) -> Option<u32> {
        let homes = homes(id);
        let eq = |slot: &u32| id_of(*slot) == id;
        let near = &self.tables[homes.near];
        let mut found = near.slots.find(homes.hash, eq);
        if found.is_none() && near.spilled > 0 {
            found = self.tables[homes.far].slots.find(homes.hash, eq);
        }
        found.copied()
    }

    /// Puts in a slot whose id isn't in.
    pub(super) fn put(&mut self, id: JobId, slot: u32, id_of: impl Fn(u32) -> JobId) {
        let homes = homes(id);
        let near = &mut self.tables[homes.near];
        let table = if near.slots.len() < CROWDED {
            near
        } else {
            near.spilled += 1;
            &mut self.tables[homes.far]
        };
        let hash_of = |slot: &u32| mix(id_of(*slot).to_bytes());
        table.slots.insert_unique(homes.hash, slot, hash_of);
    }

    /// Takes out exactly `slot`, which has this id; without effect where it isn't in.
    pub(super) fn remove(&mut self, id: JobId, slot: u32) {
        let homes = homes(id);
        let near = &mut self.tables[homes.near];
        if let Ok(there) = near.slots.find_entry(homes.hash, |other| *other == slot) {
            there.remove();
            return;
        }
        let far = &mut self.tables[homes.far];
        if let Ok(there) = far.slots.find_entry(homes.hash, |other| *other == slot) {
            there.remove();
            self.tables[homes.near].spilled -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64, chance: u32) -> JobId {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&(ms << 16).to_be_bytes());
        bytes[8..].copy_from_slice(&mix_number(chance).to_be_bytes());
        JobId::from_bytes(bytes)
    }

    #[test]
    fn however_many_share_a_moment_each_is_found_until_it_is_taken_out() {
        let crowd: u32 = 100_000;
        let ids: Vec<JobId> = (0..crowd)
            .map(|slot| id(1_700_000_000_000 + u64::from(slot / 90_000) * 100, slot))
            .collect();
        let id_of = |slot: u32| ids[slot as usize];
        let mut index = Ids::new();
        for (slot, id) in (0..).zip(&ids) {
            assert_eq!(index.find(*id, id_of), None);
            index.put(*id, slot, id_of);
        }
        let largest = index.tables.iter().map(|table| table.slots.len()).max();
        assert!(largest <= Some(CROWDED + 100), "{largest:?}");
        for (slot, id) in (0..).zip(&ids) {
            assert_eq!(index.find(*id, id_of), Some(slot));
            if slot % 3 != 0 {
                index.remove(*id, slot);
                assert_eq!(index.find(*id, id_of), None);
            }
        }
        for (slot, id) in (0..).zip(&ids).step_by(3) {
            index.remove(*id, slot);
        }
        let empty = |table: &Table| table.slots.is_empty() && table.spilled == 0;
        assert!(index.tables.iter().all(empty));
    }
}
