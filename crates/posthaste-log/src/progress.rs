//! What running jobs said of their progress. It is kept in memory alone, and bounded: of more than
//! may be kept, what was said longest ago is forgotten.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use posthaste_core::machine::Slot;
use posthaste_core::{Payload, limits};

/// The progress of running jobs.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    of: HashMap<Slot, (u64, Payload)>,
    /// Who said something when, the one longest ago first.
    said: BTreeMap<u64, Slot>,
    next: u64,
    bytes: usize,
}

impl Progress {
    /// Keeps what was said of a job last.
    pub(crate) fn keep(&mut self, slot: Slot, progress: &Payload) {
        self.remove(slot);
        self.next += 1;
        // Copied: it may be a slice of a whole request, which would be kept with it.
        let progress = Payload {
            content_type: progress.content_type.clone(),
            bytes: Bytes::copy_from_slice(&progress.bytes),
        };
        self.bytes += bytes_of(&progress);
        self.of.insert(slot, (self.next, progress));
        self.said.insert(self.next, slot);
        while self.bytes > limits::PROGRESS_KEPT_BYTES_MAX
            && let Some((_, oldest)) = self.said.first_key_value()
        {
            self.remove(*oldest);
        }
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<&Payload> {
        self.of.get(&slot).map(|(_, progress)| progress)
    }

    pub(crate) fn remove(&mut self, slot: Slot) {
        if let Some((number, progress)) = self.of.remove(&slot) {
            self.said.remove(&number);
            self.bytes -= bytes_of(&progress);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.of.is_empty()
    }
}

/// What one takes of memory, about.
fn bytes_of(progress: &Payload) -> usize {
    let content_type = progress.content_type.as_ref().map_or(0, |name| name.len());
    progress.bytes.len() + content_type + 128
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_longest_ago_is_forgotten_when_there_is_too_much() {
        let mut progress = Progress::default();
        let large = Payload::json(vec![b'1'; limits::PROGRESS_BYTES_MAX]);
        let fit = limits::PROGRESS_KEPT_BYTES_MAX / bytes_of(&large);
        let slots = || (0..u32::try_from(fit).expect("few")).map(Slot);
        slots().for_each(|slot| progress.keep(slot, &large));
        assert!(slots().all(|slot| progress.get(slot).is_some()));
        progress.keep(Slot(0), &large); // said again: it is no longer the oldest
        progress.keep(Slot(u32::MAX), &large);
        assert!(progress.get(Slot(1)).is_none());
        assert!(progress.get(Slot(0)).is_some() && progress.get(Slot(2)).is_some());
        slots().for_each(|slot| progress.remove(slot));
        progress.remove(Slot(u32::MAX));
        assert!(progress.is_empty() && progress.said.is_empty());
        assert_eq!(progress.bytes, 0);
    }

    #[test]
    fn the_request_around_it_is_not_kept() {
        let mut progress = Progress::default();
        let request = Bytes::from(vec![b'1'; 1_000_000]);
        progress.keep(Slot(1), &Payload::json(request.slice(..8)));
        assert!(request.is_unique(), "a slice of it is held");
        assert_eq!(progress.get(Slot(1)).map(|it| it.bytes.len()), Some(8));
    }
}
