//! Whose deadline is next: a binary heap that knows where in it each slot is.

use super::list::NONE;
use crate::time::MonoNs;

#[derive(Clone, Debug, Default)]
pub(super) struct Deadlines {
    heap: Vec<(MonoNs, u32)>,
    /// By slot.
    places: Vec<u32>,
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "slots are numbered in 32 bits"
)]
const fn place(at: usize) -> u32 {
    at as u32
}

impl Deadlines {
    pub(super) fn reserve(&mut self, slots: usize) {
        self.heap.reserve(slots.saturating_sub(self.heap.len()));
        self.places.reserve(slots.saturating_sub(self.places.len()));
    }

    pub(super) fn first(&self) -> Option<(MonoNs, u32)> {
        self.heap.first().copied()
    }

    pub(super) fn add(&mut self, slot: u32, deadline: MonoNs) {
        if self.places.len() <= slot as usize {
            self.places.resize(slot as usize + 1, NONE);
        }
        self.heap.push((deadline, slot));
        self.up(self.heap.len() - 1);
    }

    /// Does nothing where the slot has no deadline.
    pub(super) fn remove(&mut self, slot: u32) {
        let Some(at) = self.places.get(slot as usize).copied() else {
            return;
        };
        if at == NONE {
            return;
        }
        self.places[slot as usize] = NONE;
        let at = at as usize;
        self.heap.swap_remove(at);
        if at < self.heap.len() {
            self.up(at);
            self.down(at);
        }
    }

    fn put(&mut self, at: usize) {
        self.places[self.heap[at].1 as usize] = place(at);
    }

    fn up(&mut self, mut at: usize) {
        while at > 0 {
            let parent = (at - 1) / 2;
            if self.heap[parent] <= self.heap[at] {
                break;
            }
            self.heap.swap(parent, at);
            self.put(at);
            at = parent;
        }
        self.put(at);
    }

    fn down(&mut self, mut at: usize) {
        loop {
            let left = 2 * at + 1;
            if left >= self.heap.len() {
                break;
            }
            let right = left + 1;
            let child = if right < self.heap.len() && self.heap[right] < self.heap[left] {
                right
            } else {
                left
            };
            if self.heap[at] <= self.heap[child] {
                break;
            }
            self.heap.swap(at, child);
            self.put(at);
            at = child;
        }
        self.put(at);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 100,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        /// Against a sorted set: adding, taking any out, and taking the first.
        #[test]
        fn the_first_is_the_first_of_a_sorted_set(
            steps in vec((0u32..24, 0u64..40, 0u8..4), 1..400),
        ) {
            let mut heap = Deadlines::default();
            let mut by_slot = [None; 24];
            let mut sorted = BTreeSet::new();
            for (slot, deadline, step) in steps {
                let slot = match (step, heap.first()) {
                    (0, Some((_, first))) => first,
                    _ => slot,
                };
                let deadline = MonoNs(deadline);
                match by_slot[slot as usize].take() {
                    Some(before) => {
                        sorted.remove(&(before, slot));
                        heap.remove(slot);
                    }
                    None if step == 3 => heap.remove(slot),
                    None => {
                        by_slot[slot as usize] = Some(deadline);
                        sorted.insert((deadline, slot));
                        heap.add(slot, deadline);
                    }
                }
                prop_assert_eq!(heap.first(), sorted.first().copied());
                prop_assert_eq!(heap.heap.len(), sorted.len());
            }
        }
    }
}
