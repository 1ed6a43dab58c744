//! Buffers of large commits, used again: memory that comes fresh from the system is cleared first,
//! which was a tenth of what publishing in bulk takes in its callers' threads.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

/// Below this a commit allocates for itself, without asking anybody.
const BYTES_MIN: usize = 64 * 1024;
/// Larger ones are let go, and so are those beyond so many.
const BYTES_MAX: usize = 2 * 1024 * 1024;
const KEPT_MAX: usize = 16;

/// Buffers that nobody uses: 32 MiB at most.
#[derive(Debug, Default)]
pub(crate) struct Spare(Mutex<Vec<Vec<u8>>>);

impl Spare {
    /// An empty buffer with room for so many bytes.
    pub(super) fn take(&self, bytes: usize) -> Vec<u8> {
        let kept = match (BYTES_MIN..=BYTES_MAX).contains(&bytes) {
            true => self.0.lock().unwrap_or_else(PoisonError::into_inner).pop(),
            false => None,
        };
        let mut buffer = kept.unwrap_or_default();
        buffer.reserve(bytes);
        buffer
    }

    /// Takes the buffer of records back, where nobody else holds on to them.
    pub(crate) fn give(&self, records: Bytes) {
        if records.len() < BYTES_MIN {
            return;
        }
        let Ok(mut records) = records.try_into_mut() else {
            return;
        };
        records.clear();
        let buffer = Vec::from(records);
        if buffer.capacity() > BYTES_MAX {
            return;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_MAX {
            kept.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_buffer_comes_again_unless_somebody_holds_on_to_it() {
        let spare = Spare::default();
        let mut buffer = spare.take(100_000);
        buffer.resize(90_000, 1);
        let at = buffer.as_ptr();
        spare.give(Bytes::from(buffer));
        let mut buffer = spare.take(100_000);
        assert_eq!((buffer.as_ptr(), buffer.len()), (at, 0));
        buffer.resize(90_000, 2);
        let records = Bytes::from(buffer);
        let read = records.slice(..10);
        spare.give(records);
        assert!(spare.0.lock().expect("whole").is_empty());
        assert_eq!(read[..], [2; 10]);
    }

    #[test]
    fn small_ones_huge_ones_and_too_many_are_let_go() {
        let spare = Spare::default();
        for bytes in [100, BYTES_MIN - 1, BYTES_MAX + 1] {
            spare.give(Bytes::from(vec![0; bytes]));
        }
        assert!(spare.0.lock().expect("whole").is_empty());
        for _ in 0..2 * KEPT_MAX {
            spare.give(Bytes::from(vec![0; BYTES_MIN]));
        }
        assert_eq!(spare.0.lock().expect("whole").len(), KEPT_MAX);
    }
}
