//! Random lives of an archive, held against a vector of events.

use posthaste_core::WallMs;
use proptest::collection::vec;
use proptest::prelude::*;

use super::bench::{Bench, Event, append, read_from};
use super::keeping::{compacted, sealed_until};
use crate::archive::retain::Keep;
use crate::archive::{Archive, Codec};

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<Drawn>),
    Sync,
    Reopen,
    Retain(Keep),
    Compact {
        kept_ms: u64,
        keys_max: usize,
    },
    Read {
        from: u64,
        partition: Option<u16>,
        bytes: usize,
    },
    Find {
        at: u64,
        partition: u16,
        offset: u64,
    },
}

/// An event, but for where it stands.
#[derive(Clone, Debug)]
struct Drawn {
    partition: u16,
    later_ms: u64,
    key: Option<u8>,
    tombstone: bool,
    len: usize,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let partition = prop_oneof![8 => 0..4_u16, 1 => Just(255_u16)];
    let len = prop_oneof![20 => 0..200_usize, 1 => 3_000..9_000_usize];
    let key = proptest::option::weighted(0.7, 0..12_u8);
    (partition, 0..40_u64, key, prop::bool::weighted(0.2), len).prop_map(
        |(partition, later_ms, key, tombstone, len)| Drawn {
            partition,
            later_ms,
            key,
            tombstone,
            len,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let keep = (
        proptest::option::of(0..3_000_u64),
        proptest::option::weighted(0.3, 0..60_000_u64),
        proptest::option::weighted(0.3, 0..300_u64),
    );
    prop_oneof![
        8 => vec(drawn(), 1..60).prop_map(Step::Append),
        4 => Just(Step::Sync),
        1 => Just(Step::Reopen),
        1 => keep.prop_map(|(ms, bytes, events)| Step::Retain(Keep { ms, bytes, events })),
        1 => (0..3_000_u64, 1..20_usize)
            .prop_map(|(kept_ms, keys_max)| Step::Compact { kept_ms, keys_max }),
        3 => (0..1_000_u64, proptest::option::of(0..5_u16), 1..5_000_usize)
            .prop_map(|(from, partition, bytes)| Step::Read { from, partition, bytes }),
        3 => (0..12_000_u64, 0..5_u16, 0..300_u64)
            .prop_map(|(at, partition, offset)| Step::Find { at, partition, offset }),
    ]
}

/// The archive, and what it has to hold.
struct Life {
    bench: Bench,
    archive: Archive,
    /// Everything there is, appended or not.
    journal: Vec<Event>,
    /// What was not dropped or compacted away, whether it is synced or not.
    kept: Vec<Event>,
    offsets: [u64; 256],
    at: u64,
    synced: u64,
    earliest: u64,
}

impl Life {
    fn new(codec: Codec) -> Self {
        let bench = Bench::new(codec);
        let archive = bench.open(0).expect("a new archive");
        Self {
            bench,
            archive,
            journal: Vec::new(),
            kept: Vec::new(),
            offsets: [0; 256],
            at: 1_000,
            synced: 0,
            earliest: 0,
        }
    }

    fn publish(&mut self, drawn: &Drawn) {
        let offset = &mut self.offsets[usize::from(drawn.partition)];
        self.at += drawn.later_ms;
        let position = self.journal.len() as u64;
        let event = Event {
            position,
            partition: drawn.partition,
            offset: *offset,
            at: self.at,
            key: drawn.key.map(|key| vec![b'k', key]),
            tombstone: drawn.tombstone,
            bytes: position.to_le_bytes().repeat(drawn.len / 8),
        };
        *offset += 1;
        self.journal.push(event.clone());
        self.kept.push(event);
    }

    /// What readers may see.
    fn shown(&self) -> impl Iterator<Item = &Event> + Clone {
        let end = self.archive.reader().end();
        self.kept.iter().filter(move |event| event.position < end)
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Append(drawn) => {
                drawn.iter().for_each(|drawn| self.publish(drawn));
                append(&mut self.archive, &self.journal).expect("appended");
                assert_eq!(self.archive.end(), self.journal.len() as u64);
            }
            Step::Sync => {
                self.archive.sync().expect("synced");
                self.synced = self.archive.end();
                assert_eq!(self.archive.reader().end(), self.synced);
            }
            Step::Reopen => self.reopen(),
            Step::Retain(keep) => self.retain(*keep),
            Step::Compact { kept_ms, keys_max } => {
                let now = WallMs(self.at);
                let sealed = sealed_until(&self.archive);
                let go_on = &mut || true;
                self.archive
                    .compact(now, *kept_ms, *keys_max, go_on)
                    .expect("compacted");
                let before = self.at.saturating_sub(*kept_ms);
                self.kept = compacted(&self.kept, sealed, before);
            }
            Step::Read {
                from,
                partition,
                bytes,
            } => {
                let found = read_from(&self.archive.reader(), *from, *partition, *bytes);
                let wanted = self.shown().filter(|event| {
                    event.position >= *from && partition.is_none_or(|of| of == event.partition)
                });
                assert!(found.expect("read").iter().eq(wanted));
            }
            Step::Find {
                at,
                partition,
                offset,
            } => {
                let reader = self.archive.reader();
                let end = reader.end();
                let first = |mut found: Box<dyn FnMut(&&Event) -> bool>| {
                    self.shown()
                        .find(|event| found(event))
                        .map_or(end, |event| event.position)
                };
                let (at, partition, offset) = (*at, *partition, *offset);
                let by_time = first(Box::new(move |event| event.at >= at));
                assert_eq!(reader.position_at_time(WallMs(at)), Ok(by_time));
                let by_offset = first(Box::new(move |event| {
                    event.partition == partition && event.offset >= offset
                }));
                assert_eq!(reader.position_of(partition, offset), Ok(by_offset));
            }
        }
        self.check();
    }

    fn reopen(&mut self) {
        self.archive = self.bench.open(self.synced).expect("it opens again");
        assert_eq!(self.archive.cut(), None);
        assert!(self.archive.end() >= self.synced);
        append(&mut self.archive, &self.journal).expect("what was not synced is given again");
    }

    fn retain(&mut self, keep: Keep) {
        let now = WallMs(self.at);
        let dropped = self.archive.retain(now, keep).expect("retained");
        let earliest = self.archive.earliest();
        assert_eq!(dropped.earliest, earliest);
        assert!(earliest >= self.earliest, "what is gone stays gone");
        let gone = |event: &&Event| event.position < earliest;
        assert_eq!(dropped.events, self.kept.iter().filter(gone).count() as u64);
        if dropped.files > 0 {
            let last = self.journal[..usize::try_from(earliest).expect("small")].last();
            let over = [
                keep.ms
                    .is_some_and(|ms| last.is_some_and(|last| self.at - last.at > ms)),
                keep.bytes
                    .is_some_and(|bytes| self.archive.bytes() >= bytes),
                keep.events
                    .is_some_and(|events| self.archive.events() >= events),
            ];
            assert!(over.contains(&true), "too much was dropped");
        }
        self.kept.retain(|event| event.position >= earliest);
        self.earliest = earliest;
    }

    fn check(&self) {
        assert_eq!(self.archive.earliest(), self.earliest);
        assert_eq!(self.archive.events(), self.shown().count() as u64);
        let on_disk: usize = self
            .bench
            .files()
            .iter()
            .map(|path| self.bench.len(path))
            .sum();
        assert_eq!(self.archive.bytes(), on_disk as u64);
    }

    fn end(&mut self) {
        self.archive.sync().expect("synced");
        let all = read_from(&self.archive.reader(), self.earliest, None, 10_000);
        assert_eq!(all.expect("read"), self.kept);
        let found = self.archive.verify(&mut || true);
        assert_eq!((found.damage, found.torn), (vec![], None));
        assert_eq!(found.events, self.kept.len() as u64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_archive_is_a_vector_of_events(
        steps in vec(step(), 1..50),
        packed in any::<bool>(),
    ) {
        let mut life = Life::new(if packed { Codec::Lz4 } else { Codec::None });
        steps.iter().for_each(|step| life.step(step));
        life.end();
    }
}
