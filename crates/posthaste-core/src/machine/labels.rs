//! A hash index of four bytes a bucket, for where every byte counts.
//!
//! Each bucket holds a label of 24 bits, which tells where the key is kept, and 8 bits of the hash,
//! which spare most looks there. Tables probe linearly and grow by a quarter, so that four fifths
//! of the buckets at most and three fifths at least are in use; there are many small ones, and each
//! grows by itself.

const EMPTY: u32 = u32::MAX;

/// Labels are below this.
pub(super) const LABELS: u32 = (1 << 24) - 1;

#[derive(Debug, Default)]
struct Table {
    buckets: Box<[u32]>,
    used: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Labels {
    tables: Box<[Table]>,
}

fn label_of(bucket: u32) -> u32 {
    bucket & LABELS
}

fn bucket_of(hash: u64, label: u32) -> u32 {
    let tag = u32::try_from(hash >> 56).unwrap_or(0);
    (tag << 24) | label
}

fn index(word: u64) -> usize {
    usize::try_from(word).unwrap_or(0)
}

impl Table {
    fn home(&self, hash: u64) -> usize {
        index(((hash & 0xffff_ffff) * self.buckets.len() as u64) >> 32)
    }

    fn after(&self, at: usize) -> usize {
        if at + 1 == self.buckets.len() {
            0
        } else {
            at + 1
        }
    }

    /// Where the bucket is that `eq` finds, or else the empty one where it would go. There is
    /// always an empty bucket.
    fn seek(&self, hash: u64, mut eq: impl FnMut(u32) -> bool) -> (usize, bool) {
        let tag = bucket_of(hash, 0);
        let mut at = self.home(hash);
        loop {
            let bucket = self.buckets[at];
            if bucket == EMPTY {
                return (at, false);
            }
            if bucket & !LABELS == tag && eq(label_of(bucket)) {
                return (at, true);
            }
            at = self.after(at);
        }
    }

    fn grow(&mut self, hash_of: impl Fn(u32) -> u64) {
        let len = (self.buckets.len() + self.buckets.len() / 4).max(8);
        let old = std::mem::replace(&mut self.buckets, vec![EMPTY; len].into_boxed_slice());
        for bucket in old.into_iter().filter(|bucket| *bucket != EMPTY) {
            let (at, _) = self.seek(hash_of(label_of(bucket)), |_| false);
            self.buckets[at] = bucket;
        }
    }

    /// Empties a bucket, and moves those up that had made way for it.
    fn empty(&mut self, mut hole: usize, hash_of: impl Fn(u32) -> u64) {
        let mut at = hole;
        loop {
            at = self.after(at);
            let bucket = self.buckets[at];
            if bucket == EMPTY {
                break;
            }
            let home = self.home(hash_of(label_of(bucket)));
            // It may move where its home is not between the hole and itself, on the circle.
            let stays = if hole <= at {
                hole < home && home <= at
            } else {
                hole < home || home <= at
            };
            if !stays {
                self.buckets[hole] = bucket;
                hole = at;
            }
        }
        self.buckets[hole] = EMPTY;
        self.used -= 1;
    }
}

impl Labels {
    /// An empty index of `tables` tables, a power of two.
    pub(super) fn new(tables: usize) -> Self {
        debug_assert!(tables.is_power_of_two(), "a table is chosen by bits");
        Self {
            tables: (0..tables).map(|_| Table::default()).collect(),
        }
    }

    fn table(&self, hash: u64) -> usize {
        index((hash >> 32) & 0xff_ffff) & (self.tables.len() - 1)
    }

    pub(super) fn find(&self, hash: u64, eq: impl FnMut(u32) -> bool) -> Option<u32> {
        let table = &self.tables[self.table(hash)];
        if table.used == 0 {
            return None;
        }
        let (at, found) = table.seek(hash, eq);
        found.then(|| label_of(table.buckets[at]))
    }

    /// Puts `label` in; where `eq` finds another, replaces and returns it.
    pub(super) fn put(
        &mut self,
        hash: u64,
        label: u32,
        eq: impl FnMut(u32) -> bool,
        hash_of: impl Fn(u32) -> u64,
    ) -> Option<u32> {
        let table = self.table(hash);
        let table = &mut self.tables[table];
        if (table.used + 1) * 5 > table.buckets.len() * 4 {
            table.grow(hash_of);
        }
        let (at, found) = table.seek(hash, eq);
        let before = std::mem::replace(&mut table.buckets[at], bucket_of(hash, label));
        table.used += usize::from(!found);
        found.then(|| label_of(before))
    }

    /// Takes out exactly `label`; without effect where it isn't in.
    pub(super) fn remove(&mut self, hash: u64, label: u32, hash_of: impl Fn(u32) -> u64) {
        let table = self.table(hash);
        let table = &mut self.tables[table];
        if table.used == 0 {
            return;
        }
        let (at, found) = table.seek(hash, |there| there == label);
        if found {
            table.empty(at, hash_of);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::hash::mix_number;

    /// A single table, so that runs of buckets collide and wrap around.
    #[test]
    fn what_was_put_in_is_found_until_it_is_taken_out() {
        let mut labels = Labels::new(1);
        let mut held: Vec<u32> = Vec::new();
        for step in 0..20_000_u32 {
            let number = u32::try_from(mix_number(step) % 500).expect("small");
            let hash = mix_number(number);
            let known = held.contains(&number);
            let found = labels.find(hash, |label| label == number);
            assert_eq!(found.is_some(), known, "step {step}");
            if known && step % 3 == 0 {
                labels.remove(hash, number, mix_number);
                held.retain(|other| *other != number);
            } else {
                let before = labels.put(hash, number, |label| label == number, mix_number);
                assert_eq!(before.is_some(), known, "step {step}");
                if !known {
                    held.push(number);
                }
            }
        }
        let buckets = labels.tables[0].buckets.len();
        assert!(buckets < 900, "{buckets} buckets for at most 500");
    }
}
