//! Idempotency keys: each with a digest of the body that it came with, and where its answer is.

use crate::limits;
use crate::machine::fact::{KeyDigest, Place};
use crate::machine::remembered::{Entry, Remembered};

/// Every idempotency key that is live.
pub(super) type Keys = Remembered<Key>;

/// A key that was taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) digest: KeyDigest,
    pub(super) answer: Place,
}

impl Entry for Key {
    fn key(&self) -> &[u8; 12] {
        &self.digest.key
    }
}

impl Keys {
    /// None yet.
    pub(super) fn none() -> Self {
        Self::new(limits::KEY_WINDOW_MS)
    }

    /// Moves an answer. False where it isn't at `from`.
    pub(super) fn copied(&mut self, key: &[u8; 12], from: Place, to: Place) -> bool {
        match self.get_mut(key) {
            Some(there) if there.answer == from => {
                there.answer = to;
                true
            }
            _ => false,
        }
    }
}
