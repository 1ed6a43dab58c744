//! How many bytes of each segment are still needed.

use std::collections::BTreeMap;

use posthaste_core::machine::Place;

use crate::format::place;

/// Live bytes by segment, roughly: see [`place::size`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Live(BTreeMap<u64, u64>);

impl Live {
    /// Takes note of places that came into use (true) or fell out of it.
    pub(crate) fn note(&mut self, changes: &mut Vec<(Place, bool)>) {
        for (changed, in_use) in changes.drain(..) {
            let bytes = self.0.entry(place::at(changed).segment).or_default();
            let size = place::size(changed);
            *bytes = if in_use {
                *bytes + size
            } else {
                bytes.saturating_sub(size)
            };
        }
    }

    /// Live bytes of one segment.
    pub(crate) fn of(&self, segment: u64) -> u64 {
        self.0.get(&segment).copied().unwrap_or(0)
    }

    /// Live bytes of all segments.
    pub(crate) fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Forgets a segment that is no more.
    pub(crate) fn forget(&mut self, segment: u64) {
        self.0.remove(&segment);
    }
}
