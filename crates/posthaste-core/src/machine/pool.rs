//! Values that many share, each kept once under a small number and counted.
//!
//! A value that nobody holds keeps its number until another needs one. Within one commit no number
//! that was held when it began is given away, so that a commit which is undone finds every number
//! meaning what it meant.

use std::borrow::Borrow;
use std::hash::{DefaultHasher, Hash, Hasher};

use hashbrown::HashTable;

#[derive(Debug)]
struct Shared<T> {
    value: T,
    holders: u32,
    /// It is in `idle` or `resting`.
    listed: bool,
    /// In which commit its last holder let go of it.
    released: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Pool<T> {
    entries: Vec<Shared<T>>,
    index: HashTable<u32>,
    /// May be given away, unless somebody holds them again.
    idle: Vec<u32>,
    /// Let go of during this commit.
    resting: Vec<u32>,
    held: usize,
    /// Counts commits.
    commit: u64,
}

fn hash_of<Q: Hash + ?Sized>(value: &Q) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl<T: Hash + Eq> Pool<T> {
    pub(super) fn new() -> Self {
        Self {
            entries: Vec::new(),
            index: HashTable::new(),
            idle: Vec::new(),
            resting: Vec::new(),
            held: 0,
            commit: 0,
        }
    }

    pub(super) fn get(&self, id: u32) -> &T {
        &self.entries[id as usize].value
    }

    /// Values that somebody holds.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    pub(super) fn is_held(&self, id: u32) -> bool {
        self.entries[id as usize].holders > 0
    }

    pub(super) fn find<Q: Hash + Eq + ?Sized>(&self, value: &Q) -> Option<u32>
    where
        T: Borrow<Q>,
    {
        self.index
            .find(hash_of(value), |id| {
                self.entries[*id as usize].value.borrow() == value
            })
            .copied()
    }

    /// The number of a value that [`Pool::find`] did not find. Nobody holds it yet.
    pub(super) fn make(&mut self, value: T) -> u32 {
        let hash = hash_of(&value);
        let id = self.spare().unwrap_or_else(|| {
            u32::try_from(self.entries.len()).expect("limits keep pools below 2^32")
        });
        let fresh = Shared {
            value,
            holders: 0,
            listed: true,
            released: self.commit,
        };
        match self.entries.get_mut(id as usize) {
            Some(entry) => *entry = fresh,
            None => self.entries.push(fresh),
        }
        self.resting.push(id);
        let entries = &self.entries;
        self.index
            .insert_unique(hash, id, |id| hash_of(&entries[*id as usize].value));
        id
    }

    /// A number that nobody holds, its old value forgotten.
    fn spare(&mut self) -> Option<u32> {
        while let Some(id) = self.idle.pop() {
            let entry = &mut self.entries[id as usize];
            if entry.holders > 0 {
                entry.listed = false;
            } else if entry.released == self.commit {
                self.resting.push(id);
            } else {
                let hash = hash_of(&entry.value);
                if let Ok(there) = self.index.find_entry(hash, |n| *n == id) {
                    there.remove();
                }
                return Some(id);
            }
        }
        None
    }

    /// One holder more. True where it is the first.
    pub(super) fn hold(&mut self, id: u32) -> bool {
        let entry = &mut self.entries[id as usize];
        entry.holders += 1;
        let first = entry.holders == 1;
        self.held += usize::from(first);
        first
    }

    /// One holder less. True where it was the last.
    pub(super) fn release(&mut self, id: u32) -> bool {
        let entry = &mut self.entries[id as usize];
        entry.holders -= 1;
        if entry.holders > 0 {
            return false;
        }
        self.held -= 1;
        entry.released = self.commit;
        if !entry.listed {
            entry.listed = true;
            self.resting.push(id);
        }
        true
    }

    /// A commit is over: what it let go of may be given away.
    pub(super) fn rest(&mut self) {
        self.commit += 1;
        self.idle.append(&mut self.resting);
    }
}
