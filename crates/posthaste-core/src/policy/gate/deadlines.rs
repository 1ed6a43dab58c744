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
