//! One topic: its batches in the order in which they were published, the oldest first.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use posthaste_core::machine::{Batch, SavedTopic};
use posthaste_core::topic::{Position, TailTopic, TopicConfig, TopicView};
use posthaste_core::{TopicName, WallMs, limits};

use super::From;
use super::page::{Fetch, Source};
use super::pick::{Feed, Pick};
use crate::archive::Reader;
use crate::bodies::Bodies;
use crate::format::place;
use crate::segments::Segment;

/// See the module.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) name: Arc<str>,
    pub(super) config: TopicConfig,
    created_at: WallMs,
    /// Events that left the journal.
    archive: Option<Reader>,
    /// Batches in the journal, or in memory.
    batches: VecDeque<Held>,
    /// Bytes of them.
    bytes: u64,
    /// Where the batches began when the last of those went that were kept no longer, and the next
    /// offset of each partition there. What was told to be gone stays gone when it is moved.
    floor: (u64, Arc<[u64]>),
    /// When the last of those was published; before one went, the last that went before this was
    /// opened.
    gone_at: WallMs,
    end: u64,
    next_offsets: Arc<[u64]>,
}

/// A batch, with its record where that is kept in memory.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) batch: Batch,
    pub(super) record: Option<Bytes>,
}

impl Held {
    fn bytes(&self) -> u64 {
        match &self.record {
            Some(record) => record.len() as u64,
            None => place::size(self.batch.place),
        }
    }
}

impl Shelf {
    pub(super) fn new(is: SavedTopic) -> Self {
        Self {
            name: is.name,
            config: is.config,
            created_at: is.created_at,
            archive: None,
            batches: VecDeque::new(),
            bytes: 0,
            floor: (0, Arc::default()),
            gone_at: is.last_at,
            end: is.next,
            next_offsets: is.offsets,
        }
    }

    pub(super) fn configure(&mut self, config: TopicConfig, now: WallMs) {
        self.config = config;
        self.retain(now);
    }

    pub(super) fn push(&mut self, batch: Batch, record: Option<Bytes>, now: WallMs) {
        self.end = batch.end();
        self.next_offsets = Arc::clone(&batch.nexts);
        if batch.end() <= self.archived() {
            return;
        }
        let held = Held { batch, record };
        self.bytes += held.bytes();
        self.batches.push_back(held);
        self.retain(now);
    }

    pub(super) fn end(&self) -> u64 {
        self.end
    }

    pub(super) fn earliest(&self) -> u64 {
        let archive = self.archive.as_ref();
        let there = match archive.map(|archive| (archive.earliest(), archive.end())) {
            Some((earliest, end)) if earliest < end => earliest,
            _ => {
                let first = self.batches.front();
                first.map_or(self.end, |held| held.batch.position)
            }
        };
        there.max(self.floor.0)
    }

    /// The batch that begins at that position, if it is in the journal.
    pub(super) fn batch_at(&self, position: u64) -> Option<Batch> {
        let found = self
            .batches
            .binary_search_by_key(&position, |held| held.batch.position);
        let held = self.batches.get(found.ok()?)?;
        Some(held.batch.clone())
    }

    /// How far events left the journal.
    fn archived(&self) -> u64 {
        self.archive.as_ref().map_or(0, Reader::end)
    }

    /// Bytes and events that are in the journal and nowhere else, where the archive ends at `beyond`:
    /// what was copied there by a round that came to nothing is in both.
    pub(super) fn in_journal(&self, beyond: u64) -> (u64, u64) {
        let moved = self
            .batches
            .partition_point(|held| held.batch.end() <= beyond);
        let first = self.batches.get(moved);
        let events = first.map_or(0, |held| self.end - held.batch.position.max(beyond));
        let twice: u64 = self.batches.range(..moved).map(Held::bytes).sum();
        (self.bytes - twice, events)
    }

    /// Events left the journal, up to the end of this archive.
    pub(super) fn moved(&mut self, archive: Reader) {
        let end = archive.end();
        self.archive = Some(archive);
        while let Some(first) = self.batches.front()
            && first.batch.end() <= end
        {
            self.bytes -= first.bytes();
            self.batches.pop_front();
        }
    }

    pub(super) fn next_offset(&self, partition: u16) -> u64 {
        let next = self.next_offsets.get(usize::from(partition));
        next.copied().unwrap_or_default()
    }

    /// Lets go of the oldest batches as long as what stays is as much as the settings promise.
    pub(super) fn retain(&mut self, now: WallMs) {
        let TopicConfig {
            kept_ms,
            kept_bytes,
            kept_events,
            ..
        } = self.config;
        // What is older goes first, and that is not done here.
        if self.earliest() < self.archived() {
            return;
        }
        while let Some(first) = self.batches.front() {
            let rest = self.end - first.batch.end();
            let over = (kept_ms > 0 && first.batch.at.plus(kept_ms) <= now)
                || (kept_events > 0 && rest >= kept_events)
                || (kept_bytes > 0 && self.bytes - first.bytes() >= kept_bytes);
            if !over {
                return;
            }
            self.bytes -= first.bytes();
            self.floor = (first.batch.end(), Arc::clone(&first.batch.nexts));
            self.gone_at = first.batch.at;
            self.batches.pop_front();
        }
    }

    /// The archive, where it holds anything.
    pub(super) fn archive(&self) -> Option<Reader> {
        let archive = self.archive.as_ref()?;
        (archive.earliest() < archive.end()).then(|| archive.clone())
    }

    /// When the last event was published that is kept no longer; `None` where all are there.
    pub(super) fn gone_at(&self) -> Option<WallMs> {
        let earliest = self.earliest();
        let archive = self.archive.as_ref().filter(|archive| archive.end() > 0);
        match archive {
            _ if earliest == 0 => None,
            Some(archive) if self.floor.0 < earliest => Some(archive.before_at()),
            _ => Some(self.gone_at),
        }
    }

    /// The position of the first event published at `at` or later that is kept. `sought` is the
    /// archive's answer.
    pub(super) fn position_at(&self, at: WallMs, sought: Option<u64>) -> u64 {
        if let Some(sought) = sought.filter(|sought| *sought < self.archived()) {
            return sought.max(self.earliest());
        }
        let before = self.batches.partition_point(|held| held.batch.at < at);
        let found = self.batches.get(before);
        found.map_or(self.end, |held| held.batch.position)
    }

    /// The first offset of a partition that may still be there.
    pub(super) fn first_offset(&self, partition: u16) -> u64 {
        let of = |offsets: &[u64]| offsets.get(usize::from(partition)).copied();
        let there = match (self.archive(), self.batches.front()) {
            (Some(archive), _) => Some(archive.first_offset(partition)),
            (None, Some(first)) => of(&first.batch.firsts),
            (None, None) => of(&self.next_offsets),
        };
        there.max(of(&self.floor.1)).unwrap_or_default()
    }

    /// A position at or before the one of that offset, which is there. `sought` is the archive's
    /// answer.
    pub(super) fn position_of(&self, partition: u16, offset: u64, sought: Option<u64>) -> u64 {
        if let Some(sought) = sought.filter(|sought| *sought < self.archived()) {
            return sought;
        }
        let partition = usize::from(partition);
        let first_of = |held: &Held| held.batch.firsts.get(partition).copied();
        let upto = self
            .batches
            .partition_point(|held| first_of(held).is_some_and(|first| first <= offset));
        let found = self.batches.get(upto.saturating_sub(1));
        found.map_or(self.end, |held| held.batch.position)
    }

    /// What is needed to read the events at these positions, which rise.
    pub(super) fn pick(&self, picks: Vec<u64>, zero: Position, bodies: &Bodies) -> Pick {
        let mut held: Vec<Held> = Vec::new();
        let archived = self.archived();
        for position in picks.iter().filter(|position| **position >= archived) {
            if held.last().is_some_and(|last| last.batch.end() > *position) {
                continue;
            }
            let before = |one: &Held| one.batch.end() <= *position;
            held.extend(
                self.batches
                    .get(self.batches.partition_point(before))
                    .cloned(),
            );
        }
        Pick {
            pinned: pinned(&held, bodies),
            archive: self.archive(),
            partitions: self.config.partitions,
            zero,
            picks,
            held,
        }
    }

    /// What is needed to tell which events come next.
    pub(super) fn feed(&self, from: u64, max: usize, bodies: &Bodies) -> Feed {
        let first = self.batches.partition_point(|one| one.batch.end() <= from);
        let (mut events, mut held) = (0, Vec::new());
        for one in self.batches.range(first..) {
            if events >= max {
                break;
            }
            events += one.batch.count as usize;
            held.push(one.clone());
        }
        Feed {
            pinned: pinned(&held, bodies),
            archive: self.archive(),
            earliest: self.earliest(),
            from,
            max,
            held,
        }
    }

    /// What a page needs to be read, without this.
    pub(super) fn fetch(
        &self,
        ask: &TailTopic,
        from: From,
        (earliest, end): (Position, Position),
        bodies: &Bodies,
    ) -> Fetch {
        let position = from.position();
        if let Some(archive) = &self.archive
            && position < archive.end()
        {
            return Fetch {
                ask: ask.clone(),
                from,
                partitions: self.config.partitions,
                earliest,
                end,
                source: Source::Archive(archive.clone()),
            };
        }
        let first = self
            .batches
            .partition_point(|held| held.batch.end() <= position);
        let (mut events, mut bytes, mut held) = (0, 0, Vec::new());
        let filtered = ask.partition.is_some() || !ask.types.is_empty() || !ask.keys.is_empty();
        let most = if filtered || matches!(from, From::Offset(..)) {
            u64::from(limits::READ_EXAMINED_MAX)
        } else {
            u64::from(ask.max)
        };
        for one in self.batches.range(first..) {
            if !held.is_empty() && (events >= most || bytes + one.bytes() > limits::READ_BYTES_MAX)
            {
                break;
            }
            events += one.batch.end() - one.batch.position.max(position);
            bytes += one.bytes();
            held.push(one.clone());
        }
        let pinned = pinned(&held, bodies);
        Fetch {
            ask: ask.clone(),
            from,
            partitions: self.config.partitions,
            earliest,
            end,
            source: Source::Journal(held, pinned),
        }
    }

    pub(super) fn view(&self, zero: Position) -> Option<TopicView> {
        Some(TopicView {
            name: TopicName::new(&self.name).ok()?,
            config: self.config,
            created_at: self.created_at,
            earliest: zero.at(self.earliest()),
            end: zero.at(self.end),
            next_offsets: self.next_offsets.to_vec(),
            events: self.end - self.earliest().max(self.archived())
                + self.archive.as_ref().map_or(0, Reader::events),
            bytes: self.bytes + self.archive.as_ref().map_or(0, Reader::bytes),
        })
    }
}

/// The segments in which batches lie.
fn pinned(held: &[Held], bodies: &Bodies) -> Vec<Arc<Segment>> {
    let places = held.iter().filter(|one| one.record.is_none());
    bodies.pin(places.map(|one| one.batch.place))
}
