//! Holds on unique keys: one job for each digest, 24 bytes a hold.

use crate::job::StateSet;
use crate::machine::fact::UniqueClaim;
use crate::machine::hash::{Index, mix};
use crate::machine::rows::{NONE, Rows};
use crate::time::WallMs;

const UNTIL_BITS: u32 = 56;
const UNTIL_MAX: u64 = (1 << UNTIL_BITS) - 1;
const SHARDS: usize = 1024;
const CHUNK: usize = 4096;

/// The states in the upper byte of the end, which is good for two million years.
#[derive(Clone, Copy, Debug)]
struct Hold {
    digest: [u8; 16],
    packed: u64,
}

impl Hold {
    fn of(claim: &UniqueClaim) -> Self {
        let until = claim
            .until
            .map_or(UNTIL_MAX, |until| until.0.min(UNTIL_MAX));
        Self {
            digest: claim.digest,
            packed: until | u64::from(claim.states.bits()) << UNTIL_BITS,
        }
    }

    fn claim(&self) -> UniqueClaim {
        let until = self.packed & UNTIL_MAX;
        let bits = u8::try_from(self.packed >> UNTIL_BITS).unwrap_or(0);
        UniqueClaim {
            digest: self.digest,
            until: (until < UNTIL_MAX).then_some(WallMs(until)),
            states: StateSet::from_bits(bits),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Claims {
    chunks: Vec<Vec<Hold>>,
    free: Vec<u32>,
    /// From digests to the slots of the holders.
    index: Index,
}

impl Claims {
    pub(super) fn new() -> Self {
        Self {
            chunks: Vec::new(),
            free: Vec::new(),
            index: Index::new(SHARDS),
        }
    }

    fn hold(&self, extra: u32) -> &Hold {
        &self.chunks[extra as usize / CHUNK][extra as usize % CHUNK]
    }

    /// The slot of the job that holds `digest`.
    pub(super) fn holder(&self, rows: &Rows, digest: &[u8; 16]) -> Option<u32> {
        self.index.find(mix(*digest), |slot| {
            self.hold(rows.get(slot).extra).digest == *digest
        })
    }

    /// What the job holds.
    pub(super) fn of(&self, rows: &Rows, slot: u32) -> Option<UniqueClaim> {
        match rows.get(slot).extra {
            NONE => None,
            extra => Some(self.hold(extra).claim()),
        }
    }

    /// Makes the job the holder. Nobody else holds the digest, and the job holds no other.
    pub(super) fn take(&mut self, rows: &mut Rows, slot: u32, claim: &UniqueClaim) {
        let hold = Hold::of(claim);
        let extra = self.free.pop().unwrap_or_else(|| self.grow(hold));
        self.chunks[extra as usize / CHUNK][extra as usize % CHUNK] = hold;
        rows.get_mut(slot).extra = extra;
        let Self { chunks, index, .. } = self;
        let digest_of = |slot: u32| {
            let extra = rows.get(slot).extra as usize;
            chunks[extra / CHUNK][extra % CHUNK].digest
        };
        index.put(mix(claim.digest), slot, |there| mix(digest_of(there)));
    }

    fn grow(&mut self, hold: Hold) -> u32 {
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let before = (self.chunks.len() - 1) * CHUNK;
        let Some(chunk) = self.chunks.last_mut() else {
            return NONE;
        };
        chunk.push(hold);
        u32::try_from(before + chunk.len() - 1).expect("no more holds than jobs")
    }

    /// Takes the job's hold away; returns it.
    pub(super) fn leave(&mut self, rows: &mut Rows, slot: u32) -> Option<UniqueClaim> {
        let claim = self.of(rows, slot)?;
        let extra = std::mem::replace(&mut rows.get_mut(slot).extra, NONE);
        self.index.remove(mix(claim.digest), slot);
        self.free.push(extra);
        Some(claim)
    }
}
