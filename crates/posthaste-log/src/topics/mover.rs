//! Moves events out of the journal, into the archive of their topic: what a snapshot is about to
//! cover leaves first. Only the background's thread does this.
//!
//! An event is in the journal until the snapshot is published that says how far its topic was moved;
//! what was moved by a round that came to nothing is passed over by the next.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use posthaste_core::machine::{Batch, SavedTopic, SavedTopics};
use posthaste_core::topic::{Compression, TopicConfig, partition_of};
use posthaste_core::{Error, ErrorKind, Result, WallMs};

use crate::archive::{self, Archive, Codec, Compacting, Entry, Keep, Place, Reader, Settings};
use crate::disk::Disk;
use crate::files::{self, io_error};
use crate::format::Damage;
use crate::format::events::{Events, Lost, read_event, write_lost};

/// Where the archives are.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    pub(crate) disk: Arc<dyn Disk>,
    /// The store's directory.
    pub(crate) dir: PathBuf,
    /// Bytes of a file of an archive.
    pub(crate) file_bytes: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Mover {
    home: Home,
    archives: BTreeMap<u32, Archive>,
    compacted: BTreeMap<u32, Compaction>,
    /// The topic that is being compacted, and since when.
    compacting: Option<(u32, WallMs, Compacting)>,
}

/// What a topic was compacted to last.
#[derive(Clone, Copy, Debug, Default)]
struct Compaction {
    end: u64,
    events: u64,
    at: WallMs,
}

/// Keys that are remembered at once while a topic is compacted: about 50 bytes each.
const KEYS_MAX: usize = 200_000;
/// Blocks of an archive that are read in a turn for it: some eight megabytes, five times a second.
const BLOCKS_A_TURN: u32 = 128;
/// A topic is compacted when as many events are new as this part of what it holds.
const NEW_PART: u64 = 4;
/// How long it rests after it was compacted only for its tombstones, in milliseconds.
const AGAIN_MS: u64 = 60_000;

/// Why a batch could not be moved.
#[derive(Debug)]
pub(crate) enum Unmoved {
    /// Its record is damaged.
    Damaged(Damage),
    /// The archive can't be written.
    Failed(Error),
}

/// The number of the topic whose archive a directory is.
fn number_of(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?;
    let number = u32::from_str_radix(name, 16).ok()?;
    (dir_name(number) == name).then_some(number)
}

fn dir_name(topic: u32) -> String {
    format!("{topic:08x}")
}

impl Home {
    pub(crate) fn place(&self, topic: u32) -> Place {
        Place {
            disk: Arc::clone(&self.disk),
            dir: files::topics_dir(&self.dir).join(dir_name(topic)),
            lost: files::lost_dir(&self.dir),
            topic: topic.into(),
        }
    }

    fn open(&self, topic: u32, config: &TopicConfig, durable: u64) -> Result<Archive> {
        let settings = Settings {
            file_bytes: self.file_bytes,
            codec: codec(config),
            ..Settings::default()
        };
        Archive::open(self.place(topic), settings, durable)
    }

    /// The topics that have a directory.
    fn there(&self) -> Result<Vec<u32>> {
        let dir = files::topics_dir(&self.dir);
        let paths = self
            .disk
            .list(&dir)
            .map_err(|error| io_error("list", &dir, &error))?;
        Ok(paths.iter().filter_map(|path| number_of(path)).collect())
    }
}

/// Its events would be taken for those that are published next.
fn beyond(dir: &Path, end: u64, next: u64) -> Error {
    let what = format!(
        "{} reaches event {end}, and the journal ends before {next}",
        dir.display()
    );
    Error::new(ErrorKind::Corrupt, what)
        .next("restore the whole directory from a backup, or run `posthaste repair --dry-run`")
}

fn codec(config: &TopicConfig) -> Codec {
    match config.compression {
        Compression::None => Codec::None,
        Compression::Lz4 => Codec::Lz4,
    }
}

impl Mover {
    /// Opens the archives of a store that is being opened: of `topics`, moved up to `archived`.
    pub(crate) fn open(
        home: Home,
        topics: &SavedTopics,
        archived: &BTreeMap<u32, u64>,
    ) -> Result<Self> {
        let there = home.there()?;
        let mut archives = BTreeMap::new();
        for (topic, is) in &topics.by_number {
            let durable = archived.get(topic).copied().unwrap_or(0);
            if durable > 0 || there.contains(topic) {
                let archive = home.open(*topic, &is.config, durable)?;
                if archive.end() > is.next {
                    return Err(beyond(&home.place(*topic).dir, archive.end(), is.next));
                }
                archives.insert(*topic, archive);
            }
        }
        Ok(Self {
            home,
            archives,
            compacted: BTreeMap::new(),
            compacting: None,
        })
    }

    /// What was cut off archives when they were opened, in words.
    pub(crate) fn cut(&self) -> Option<String> {
        let cut: Vec<&str> = self.archives.values().filter_map(Archive::cut).collect();
        (!cut.is_empty()).then(|| cut.join("; "))
    }

    /// Readers of every archive.
    pub(crate) fn readers(&self) -> Vec<(u32, Reader)> {
        let all = self.archives.iter();
        all.map(|(topic, archive)| (*topic, archive.reader()))
            .collect()
    }

    /// Appends a batch to the archive of its topic, which `of` was before. Nothing of it is kept that
    /// lies before `kept_from`.
    pub(crate) fn batch(
        &mut self,
        of: &SavedTopic,
        batch: &Batch,
        events: &Events,
        kept_from: u64,
    ) -> Result<(), Unmoved> {
        let config = &of.config;
        let Some(archive) = self.archive_for(of, batch, kept_from)? else {
            return Ok(());
        };
        let mut offsets = batch.firsts.to_vec();
        for ((index, hash), position) in events.hashes().iter().enumerate().zip(batch.position..) {
            let partition = partition_of(hash, config.partitions);
            let next = offsets.get_mut(usize::from(partition));
            let offset = next.map_or(0, |next| std::mem::replace(next, *next + 1));
            let bytes = events.event(index).map_err(Unmoved::Damaged)?;
            let said = read_event(&bytes).map_err(Unmoved::Damaged)?;
            let entry = Entry {
                position,
                partition,
                offset,
                hash,
                at: batch.at,
                key: said.key.as_ref().map(|key| &key.as_bytes()[..]),
                tombstone: said.payload.is_none(),
                bytes: &bytes,
            };
            archive
                .append(std::iter::once(entry))
                .map_err(Unmoved::Failed)?;
        }
        Ok(())
    }

    /// Has the archive of a topic say of a batch whose record is damaged that its events are lost, and
    /// why. Which of them was in which partition is not known any more: their offsets are told in
    /// the order of the partitions, so that those that follow have theirs.
    pub(crate) fn lost(
        &mut self,
        of: &SavedTopic,
        batch: &Batch,
        what: &str,
        kept_from: u64,
    ) -> Result<(), Unmoved> {
        let Some(archive) = self.archive_for(of, batch, kept_from)? else {
            return Ok(());
        };
        let mut bytes = Vec::new();
        let behind = batch.end();
        write_lost(&mut bytes, Lost { behind, what });
        let mut position = archive.end();
        for (partition, end) in (0_u16..).zip(batch.nexts.iter()) {
            for offset in archive.next_offset(partition)..*end {
                let entry = Entry {
                    position,
                    partition,
                    offset,
                    hash: 0,
                    at: batch.at,
                    key: None,
                    tombstone: false,
                    bytes: &bytes,
                };
                let appended = archive.append(std::iter::once(entry));
                appended.map_err(Unmoved::Failed)?;
                position += 1;
            }
        }
        Ok(())
    }

    /// The archive that a batch goes to, made ready for it; `None` where there is nothing to be done.
    fn archive_for(
        &mut self,
        of: &SavedTopic,
        batch: &Batch,
        kept_from: u64,
    ) -> Result<Option<&mut Archive>, Unmoved> {
        let archive = match self.archives.entry(batch.topic) {
            Slot::Occupied(there) => there.into_mut(),
            Slot::Vacant(free) => {
                let archive = self.home.open(batch.topic, &of.config, 0);
                free.insert(archive.map_err(Unmoved::Failed)?)
            }
        };
        if batch.end() <= archive.end() || (archive.is_new() && batch.end() <= kept_from) {
            return Ok(None);
        }
        if archive.is_new() {
            archive.begin_at(batch.position, of.last_at, &batch.firsts);
        }
        Ok(Some(archive))
    }

    /// Makes everything that was appended durable, and tells how far each topic was moved.
    pub(crate) fn sync(&mut self) -> Result<BTreeMap<u32, u64>> {
        let mut ends = BTreeMap::new();
        for (topic, archive) in &mut self.archives {
            archive.sync()?;
            ends.insert(*topic, archive.end());
        }
        Ok(ends)
    }

    /// Lets go of what the settings of each topic no longer ask for. `in_journal` tells how many
    /// bytes and events of a topic have not been moved; `None` where the topic is gone, and its
    /// archive goes too.
    pub(crate) fn retain(
        &mut self,
        now: WallMs,
        in_journal: impl Fn(u32, u64) -> Option<(TopicConfig, u64, u64)>,
    ) -> Result<()> {
        let mut gone = Vec::new();
        for (topic, archive) in &mut self.archives {
            let Some((config, bytes, events)) = in_journal(*topic, archive.end()) else {
                gone.push(*topic);
                continue;
            };
            let beyond = |kept: u64, there: u64| (kept > 0).then(|| kept.saturating_sub(there));
            archive.retain(
                now,
                Keep {
                    ms: (config.kept_ms > 0).then_some(config.kept_ms),
                    bytes: beyond(config.kept_bytes, bytes),
                    events: beyond(config.kept_events, events),
                },
            )?;
        }
        for topic in gone {
            if let Some(archive) = self.archives.remove(&topic) {
                archive.remove()?;
                self.compacted.remove(&topic);
            }
        }
        Ok(())
    }

    /// Removes what is left of topics that were deleted before the store was opened.
    pub(crate) fn sweep(&self, lives: impl Fn(u32) -> bool) -> Result<()> {
        for topic in self.home.there()? {
            if !lives(topic) && !self.archives.contains_key(&topic) {
                archive::remove(&self.home.place(topic))?;
            }
        }
        Ok(())
    }

    /// Has a compacted topic keep the newest event of each key, if one is due.
    pub(crate) fn begin_to_compact(
        &mut self,
        now: WallMs,
        config: impl Fn(u32) -> Option<TopicConfig>,
    ) {
        if self.compacting.is_some() {
            return;
        }
        for (topic, archive) in &self.archives {
            let Some(config) = config(*topic).filter(|config| config.compacted) else {
                continue;
            };
            let sealed = archive.sealed_end();
            let last = self.compacted.get(topic).copied().unwrap_or_default();
            // Everything is read for it: not before a part of it is new, or tombstones fell due.
            let grown = sealed.saturating_sub(last.end) * NEW_PART >= last.events.max(1);
            let due = last.at.plus(config.tombstones_kept_ms.max(AGAIN_MS)) <= now;
            if sealed == last.end && !(due && last.events > 0) || !(grown || due) {
                continue;
            }
            let kept_ms = config.tombstones_kept_ms;
            let compacting = archive.begin_to_compact(now, kept_ms, KEYS_MAX);
            self.compacting = Some((*topic, now, compacting));
            return;
        }
    }

    /// Goes on with the topic that is being compacted, if one is: reads some megabytes, or writes a
    /// file. So it takes a part of the time of the thread that does it, and of what the disk can do.
    ///
    /// # Errors
    /// Damage, named, or what the disk says; the topic is compacted from the beginning another time.
    pub(crate) fn compact_on(&mut self, mut stop: impl FnMut() -> bool) -> Result<()> {
        let Some((topic, at, mut compacting)) = self.compacting.take() else {
            return Ok(());
        };
        let Some(archive) = self.archives.get_mut(&topic) else {
            return Ok(());
        };
        let mut blocks = 0;
        let mut go_on = || {
            blocks += 1;
            blocks <= BLOCKS_A_TURN
        };
        let done = compacting.step(archive, &mut go_on, &mut stop);
        if let Ok(false) = done {
            self.compacting = Some((topic, at, compacting));
            return Ok(());
        }
        // Where it failed, it is not begun again before more is there.
        let (end, events) = (compacting.end(), archive.events());
        self.compacted.insert(topic, Compaction { end, events, at });
        done?;
        compacting.harm().map_or(Ok(()), |harm| Err(harm.clone()))
    }
}
