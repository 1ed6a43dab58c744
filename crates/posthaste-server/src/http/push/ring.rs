//! The newest events of a topic, framed, for all who follow it.
//!
//! Followers are places in it, and not queues beside it: whoever is slow falls out at its end and
//! reads the log by himself until he is back.

use std::collections::VecDeque;
use std::sync::Arc;

use posthaste_core::topic::Position;

use super::frame::Chunk;

/// Bytes of events that are kept. Beyond, the oldest go; the newest chunk stays, however large.
const RING_BYTES: usize = 4 * 1024 * 1024;

/// A window over the end of a topic.
#[derive(Debug)]
pub(super) struct Ring {
    /// Each chunk, and where it begins.
    chunks: VecDeque<(Position, Arc<Chunk>)>,
    bytes: usize,
    next: Position,
}

/// What is at a place.
#[derive(Debug)]
pub(super) enum Found {
    /// This.
    Chunk(Arc<Chunk>),
    /// Nothing yet.
    Nothing,
    /// It isn't in the ring.
    Outside,
}

impl Ring {
    /// An empty one, whose first event will be at `next`.
    pub(super) fn at(next: Position) -> Self {
        Self {
            chunks: VecDeque::new(),
            bytes: 0,
            next,
        }
    }

    /// Adds what lies behind the newest.
    pub(super) fn push(&mut self, chunk: Chunk) {
        let start = std::mem::replace(&mut self.next, chunk.next());
        self.bytes += chunk.cost();
        self.chunks.push_back((start, Arc::new(chunk)));
        while self.bytes > RING_BYTES && self.chunks.len() > 1 {
            if let Some((_, oldest)) = self.chunks.pop_front() {
                self.bytes -= oldest.cost();
            }
        }
    }

    /// What is at `place`.
    pub(super) fn find(&self, place: Position) -> Found {
        if !place.is_of(self.next) {
            return Found::Outside;
        }
        if place >= self.next {
            return Found::Nothing;
        }
        let behind = self.chunks.partition_point(|(start, _)| *start <= place);
        let chunk = behind.checked_sub(1).and_then(|at| self.chunks.get(at));
        chunk.map_or(Found::Outside, |(_, chunk)| Found::Chunk(Arc::clone(chunk)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::Filter;
    use super::super::frame::tests::{at, event};
    use super::*;

    fn chunk(number: u64, payload: &str, next: u64) -> Chunk {
        let (chunk, _) = Chunk::of(&[event(number, payload)], at(next)).expect("written");
        chunk
    }

    #[test]
    fn every_place_from_the_oldest_on_is_found_in_its_chunk() {
        let mut ring = Ring::at(at(5));
        assert!(matches!(ring.find(at(5)), Found::Nothing));
        assert!(matches!(ring.find(at(4)), Found::Outside));
        ring.push(chunk(5, "1", 6));
        // Some of what was read had been compacted away.
        ring.push(chunk(8, "1", 10));
        for (place, expected) in [(5, 6), (6, 10), (7, 10), (9, 10)] {
            let Found::Chunk(found) = ring.find(at(place)) else {
                panic!("nothing at {place}");
            };
            assert_eq!(found.next(), at(expected), "{place}");
        }
        assert!(matches!(ring.find(at(4)), Found::Outside));
        assert!(matches!(ring.find(at(10)), Found::Nothing));
        // It has not got there yet.
        assert!(matches!(ring.find(at(11)), Found::Nothing));
        let other = Position { epoch: 2, ..at(6) };
        assert!(matches!(ring.find(other), Found::Outside));
    }

    #[test]
    fn the_oldest_go_and_the_newest_stays() {
        let mut ring = Ring::at(at(0));
        let large = format!("\"{}\"", "x".repeat(RING_BYTES / 3));
        for number in 0..5 {
            ring.push(chunk(number, &large, number + 1));
            assert!(ring.bytes <= RING_BYTES, "{}", ring.bytes);
        }
        assert!(matches!(ring.find(at(2)), Found::Outside));
        assert!(matches!(ring.find(at(3)), Found::Chunk(_)));
        let huge = format!("\"{}\"", "x".repeat(2 * RING_BYTES));
        ring.push(chunk(5, &huge, 6));
        assert!(matches!(ring.find(at(4)), Found::Outside));
        let Found::Chunk(found) = ring.find(at(5)) else {
            panic!("the newest is gone");
        };
        assert!(found.sent(at(5), &Filter::default()).len() > RING_BYTES);
    }
}
