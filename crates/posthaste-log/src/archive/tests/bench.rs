//! What the tests of the archive work on: events by number, and a bench that opens archives.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use posthaste_core::{Result, WallMs};
use posthaste_testkit::disk::FaultDisk;

use super::disk::TestDisk;
use crate::Disk;
use crate::archive::{Archive, Codec, Entry, Outcome, Place, Reader, Settings};

/// An event that stands by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) position: u64,
    pub(super) partition: u16,
    pub(super) offset: u64,
    pub(super) at: u64,
    pub(super) key: Option<Vec<u8>>,
    pub(super) tombstone: bool,
    pub(super) bytes: Vec<u8>,
}

impl Event {
    pub(super) fn entry(&self) -> Entry<'_> {
        Entry {
            position: self.position,
            partition: self.partition,
            offset: self.offset,
            hash: crc32c::crc32c(self.key.as_deref().unwrap_or(&[])),
            at: WallMs(self.at),
            key: self.key.as_deref(),
            tombstone: self.tombstone,
            bytes: &self.bytes,
        }
    }

    pub(super) fn of(entry: &Entry<'_>) -> Self {
        let event = Self {
            position: entry.position,
            partition: entry.partition,
            offset: entry.offset,
            at: entry.at.0,
            key: entry.key.map(<[u8]>::to_vec),
            tombstone: entry.tombstone,
            bytes: entry.bytes.to_vec(),
        };
        assert_eq!(event.entry(), *entry, "the hash comes back");
        event
    }
}

/// The first `count` events of a topic: three partitions, every second with one of ten keys.
pub(super) fn events(count: u64) -> Vec<Event> {
    let event = |position: u64| Event {
        position,
        partition: u16::try_from(position % 3).expect("small"),
        offset: position / 3,
        at: 1_000 + position / 2 * 10,
        key: position
            .is_multiple_of(2)
            .then(|| format!("key-{}", position % 20).into_bytes()),
        tombstone: position % 14 == 6,
        bytes: format!("event {position} {}", "-".repeat(30)).into_bytes(),
    };
    (0..count).map(event).collect()
}

#[derive(Clone, Debug)]
pub(super) struct Bench {
    pub(super) disk: FaultDisk,
    pub(super) settings: Settings,
}

impl Bench {
    /// Small blocks and files, so that there are many.
    pub(super) fn new(codec: Codec) -> Self {
        let disk = TestDisk::default();
        // The directory above an archive's is the store's to make.
        disk.create_dir_all(Path::new("/data/topics"))
            .expect("made");
        for made in ["/", "/data", "/data/topics"] {
            disk.sync_dir(Path::new(made)).expect("synced");
        }
        Self {
            disk: disk.0,
            settings: Settings {
                file_bytes: 16 * 1024,
                codec,
                block_bytes: 512,
            },
        }
    }

    pub(super) fn dir() -> PathBuf {
        "/data/topics/7".into()
    }

    pub(super) fn on(&self, disk: &FaultDisk) -> Self {
        Self {
            disk: disk.clone(),
            settings: self.settings,
        }
    }

    pub(super) fn place(&self) -> Place {
        Place {
            disk: Arc::new(TestDisk(self.disk.clone())),
            dir: Self::dir(),
            lost: "/data/lost+found".into(),
            topic: 7,
        }
    }

    pub(super) fn open(&self, durable: u64) -> Result<Archive> {
        Archive::open(self.place(), self.settings, durable)
    }

    /// The archive's files, the oldest first.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let in_it = |path: &PathBuf| path.parent() == Some(Path::new(&Self::dir()));
        self.disk.paths().into_iter().filter(in_it).collect()
    }

    pub(super) fn len(&self, path: &Path) -> usize {
        self.disk.contents(path).expect("it is there").len()
    }

    pub(super) fn lost(&self) -> Vec<PathBuf> {
        let lost = |path: &PathBuf| path.starts_with("/data/lost+found");
        self.disk.paths().into_iter().filter(lost).collect()
    }
}

pub(super) fn append(archive: &mut Archive, events: &[Event]) -> Result<()> {
    archive.append(events.iter().map(Event::entry))
}

/// Appends and syncs in batches of `size`.
pub(super) fn store(archive: &mut Archive, events: &[Event], size: usize) -> Result<()> {
    for batch in events.chunks(size) {
        append(archive, batch)?;
        archive.sync()?;
    }
    Ok(())
}

/// Everything from `position` on, in reads of about `bytes`. A gap is passed over.
pub(super) fn read_from(
    reader: &Reader,
    mut position: u64,
    partition: Option<u16>,
    bytes: usize,
) -> Result<Vec<Event>> {
    let mut found = Vec::new();
    loop {
        let end = reader.end();
        let outcome = reader.read(position, partition, bytes, |entry| {
            found.push(Event::of(&entry));
            ControlFlow::Continue(())
        })?;
        match outcome {
            Outcome::Gap { earliest } => {
                assert!(earliest > position, "a gap ends behind where it is");
                position = earliest;
            }
            Outcome::Next(next) if next >= end => return Ok(found),
            Outcome::Next(next) => {
                assert!(next > position, "reading gets on from {position}");
                position = next;
            }
        }
    }
}

pub(super) fn read_all(archive: &Archive) -> Result<Vec<Event>> {
    let reader = archive.reader();
    read_from(&reader, reader.earliest(), None, 4_000)
}
