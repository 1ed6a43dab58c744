//! Compaction: of the sealed files the latest entry of each key stays.
//!
//! First everything is read, and what has a successor is noted, a bit for each entry; then files
//! are written anew without it, the oldest first, so that a tombstone goes after what it buries.
//! Where there are more keys than may be remembered, they are shared out by their digests and
//! everything is read once for each share. Memory: about 50 bytes for each of `keys_max` keys, and
//! a bit for each entry.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use posthaste_core::{Error, ErrorKind, Result, WallMs};
use sha2::{Digest, Sha256};

use super::files::{self, Loaded, Sealed, View};
use super::read::Scratch;
use super::writer::{self, Writer};
use super::{Archive, Entry};
use crate::files::io_error;
use crate::format::Damage;
use crate::format::archive::Header;

/// What a file is called while it is written anew.
const COMPACTING: &str = "compacting.tmp";
/// Files that are joined into one must each be smaller than this part of a full one.
const SMALL: u64 = 8;
/// Most files that are joined at once: all of them are open while they are replaced.
const JOINED_MAX: usize = 64;

/// What a compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Compacted {
    /// Files that were read and replaced.
    pub(crate) files: u64,
    pub(crate) events_removed: u64,
    pub(crate) bytes_before: u64,
    pub(crate) bytes_after: u64,
    /// How often everything was read.
    pub(crate) passes: u64,
    /// It was not told to stop.
    pub(crate) complete: bool,
}

/// A compaction under way. It is done in steps, so that whoever does it has other things done
/// meanwhile: entries may be appended between them, and the oldest files dropped.
#[derive(Debug)]
pub(crate) struct Compacting {
    /// The files that were sealed when it began.
    sealed: Vec<Arc<Sealed>>,
    keys_max: usize,
    /// Tombstones from before this instant go.
    buried_before: Option<u64>,
    obsolete: Obsolete,
    /// Shares of the keys that are still to be looked through, behind the one that is.
    shares: Vec<Share>,
    pass: Option<Pass>,
    /// What is to be written anew, once everything was looked through.
    groups: Option<VecDeque<Range<usize>>>,
    /// Files in which something is damaged, by their numbers: they stay as they are. No tombstone
    /// goes then, since what it buries may be in one of them.
    damaged: BTreeSet<usize>,
    /// What was found there first.
    harm: Option<Error>,
    done: Compacted,
}

impl Compacting {
    /// Position behind what it compacts.
    pub(crate) fn end(&self) -> u64 {
        self.sealed.last().map_or(0, |file| file.end)
    }

    /// The damage that it came upon first, and went around.
    pub(crate) fn harm(&self) -> Option<&Error> {
        self.harm.as_ref()
    }

    /// What it did so far.
    #[cfg(test)]
    pub(crate) const fn done(&self) -> Compacted {
        self.done
    }

    /// Goes on for as long as `go_on` says so, which is asked at every block that is looked through;
    /// or writes some files anew as one, unless `stop` says so, which is asked at every block of
    /// them. True once everything is done.
    pub(crate) fn step(
        &mut self,
        archive: &mut Archive,
        go_on: &mut impl FnMut() -> bool,
        stop: &mut impl FnMut() -> bool,
    ) -> Result<bool> {
        archive.check_sound()?;
        if self.groups.is_none() {
            if !self.search(archive, go_on)? {
                return Ok(false);
            }
            let file_bytes = archive.settings.file_bytes;
            let groups = groups(&self.sealed, &self.obsolete, &self.damaged, file_bytes);
            self.groups = Some(groups.into());
        }
        let Some(group) = self.groups.as_mut().and_then(VecDeque::pop_front) else {
            self.done.complete = true;
            return Ok(true);
        };
        let files = &self.sealed[group.clone()];
        // Retention took the oldest of them meanwhile.
        if files.iter().all(|file| archive.has(file)) {
            let (number, obsolete) = (group.start, &self.obsolete);
            let mut go_on = || !stop();
            if !archive.replace(files, number, obsolete, &mut self.done, &mut go_on)? {
                self.groups.get_or_insert_default().push_front(group);
                return Ok(false);
            }
        }
        self.done.complete = self.groups.as_ref().is_some_and(VecDeque::is_empty);
        Ok(self.done.complete)
    }
}

impl Archive {
    /// Begins to drop the sealed entries that have a later sealed one of their key, and tombstones
    /// that were published longer ago than `tombstone_kept_ms`. Small files that lie beside one
    /// another are joined. Entries without a key stay, and none changes its position or offset.
    pub(crate) fn begin_to_compact(
        &self,
        now: WallMs,
        tombstone_kept_ms: u64,
        keys_max: usize,
    ) -> Compacting {
        let sealed = self.shared.read().sealed.clone();
        Compacting {
            keys_max: keys_max.max(1),
            buried_before: now.0.checked_sub(tombstone_kept_ms),
            obsolete: Obsolete::of(&sealed),
            sealed,
            shares: vec![Share { bits: 0, ending: 0 }],
            pass: None,
            groups: None,
            damaged: BTreeSet::new(),
            harm: None,
            done: Compacted::default(),
        }
    }

    /// All of it at once. `go_on` is asked at every block; what was replaced before it said no stays
    /// replaced.
    #[cfg(test)]
    pub(crate) fn compact(
        &mut self,
        now: WallMs,
        tombstone_kept_ms: u64,
        keys_max: usize,
        go_on: &mut impl FnMut() -> bool,
    ) -> Result<Compacted> {
        let mut compacting = self.begin_to_compact(now, tombstone_kept_ms, keys_max);
        let mut stopped = false;
        while !stopped {
            let asked = std::cell::RefCell::new((&mut *go_on, &mut stopped));
            let ask = || {
                let (go_on, stopped) = &mut *asked.borrow_mut();
                **stopped |= !go_on();
                **stopped
            };
            if compacting.step(self, &mut || !ask(), &mut || ask())? {
                break;
            }
        }
        Ok(compacting.done())
    }

    /// Whether a sealed file is still there.
    fn has(&self, file: &Arc<Sealed>) -> bool {
        let state = self.shared.read();
        let at = state.sealed.partition_point(|of| of.first < file.first);
        state.sealed.get(at).is_some_and(|of| Arc::ptr_eq(of, file))
    }

    /// Writes files anew as one, without what is obsolete. False where it was told to stop.
    fn replace(
        &mut self,
        files: &[Arc<Sealed>],
        number: usize,
        obsolete: &Obsolete,
        done: &mut Compacted,
        go_on: &mut impl FnMut() -> bool,
    ) -> Result<bool> {
        let temporary = self.place.dir.join(COMPACTING);
        let new = match self.write_anew(files, number, obsolete, go_on) {
            Ok(Some(new)) => new,
            stopped => {
                // Where this fails too, it is removed when it is begun again.
                let _left = self.place.disk.remove(&temporary);
                return stopped.map(|_| false);
            }
        };
        // Whoever has found the old ones reads them to their end.
        for file in files {
            self.shared.pin(file)?;
        }
        let (disk, dir) = (Arc::clone(&self.place.disk), self.place.dir.clone());
        let path = files[0].path.clone();
        let renamed = disk
            .rename(&temporary, &path)
            .and_then(|()| disk.sync_dir(&dir));
        self.certain("replace", &path, renamed)?;
        done.files += files.len() as u64;
        done.events_removed += files.iter().map(|file| file.events).sum::<u64>() - new.events;
        done.bytes_before += files.iter().map(|file| file.bytes).sum::<u64>();
        done.bytes_after += new.bytes;
        self.shared.replace(files, new);
        // What the new file stands for is removed when the archive is opened, if it isn't now.
        if let [_, joined @ ..] = files
            && !joined.is_empty()
        {
            let mut removed = joined.iter().map(|file| disk.remove(&file.path));
            let removed = removed
                .find(Result::is_err)
                .unwrap_or_else(|| disk.sync_dir(&dir));
            self.certain("remove what was joined into", &path, removed)?;
        }
        Ok(true)
    }

    fn write_anew(
        &mut self,
        files: &[Arc<Sealed>],
        number: usize,
        obsolete: &Obsolete,
        go_on: &mut impl FnMut() -> bool,
    ) -> Result<Option<Sealed>> {
        let (oldest, newest) = (&files[0], &files[files.len() - 1]);
        let view = self.shared.view_of(oldest)?;
        let (header, _) = files::read_ends(&view.path, &*view.loaded.file)?;
        let header = Header {
            salt: writer::drawn_salt().map_err(self.place.failed("write in"))?,
            ..header
        };
        let temporary = self.place.dir.join(COMPACTING);
        let failed = |error| io_error("write", &temporary, &error);
        let disk = &*self.place.disk;
        let mut writer = Writer::create(disk, &temporary, header, self.settings).map_err(failed)?;
        let mut scratch = Scratch::default();
        for (file, number) in files.iter().zip(number..) {
            let view = self.shared.view_of(file)?;
            let mut nth = obsolete.firsts[number];
            for block in 0..view.loaded.index.blocks.len() {
                if !go_on() {
                    return Ok(None);
                }
                let mut written = Ok(false);
                scratch.walk(&view, block, |entry| {
                    nth += 1;
                    if obsolete.has(nth - 1) {
                        return ControlFlow::Continue(());
                    }
                    written = writer.push(&entry);
                    match written {
                        Ok(_) => ControlFlow::Continue(()),
                        Err(_) => ControlFlow::Break(()),
                    }
                })?;
                written.map_err(failed)?;
            }
        }
        writer.flush().map_err(failed)?;
        let footer = writer
            .seal(newest.end, newest.last_at, &newest.offsets)
            .map_err(failed)?;
        // It will be the only copy: what counts is what the device has.
        writer.file.refresh().map_err(failed)?;
        let found = read_back(&temporary, &writer, &mut scratch)?;
        if found != footer.events {
            return Err(files::damaged(
                &temporary,
                0,
                &Damage::Bad("count of entries"),
            ));
        }
        let loaded = Loaded::new(&writer.file, &writer.index);
        Ok(Some(Sealed::new(
            oldest.path.clone(),
            &footer,
            Some(loaded),
        )))
    }
}

/// Reads a file that was just written; answers how many entries it has.
fn read_back(path: &std::path::Path, writer: &Writer, scratch: &mut Scratch) -> Result<u64> {
    let (header, footer) = files::read_ends(path, &*writer.file)?;
    let index = files::read_index(path, &*writer.file, &header, &footer)?;
    let view = View {
        path: path.to_owned(),
        loaded: Loaded::new(&writer.file, &index),
    };
    let mut found = 0;
    for block in 0..index.blocks.len() {
        scratch.walk(&view, block, |_| {
            found += 1;
            ControlFlow::Continue(())
        })?;
    }
    Ok(found)
}

/// A bit for each entry of the sealed files, in order: whether it goes.
#[derive(Debug)]
struct Obsolete {
    bits: Vec<u64>,
    /// For each file the number of its first entry, and behind the last that of all of them.
    firsts: Vec<u64>,
}

impl Obsolete {
    fn of(sealed: &[Arc<Sealed>]) -> Self {
        let mut firsts = vec![0];
        let mut all = 0;
        for file in sealed {
            all += file.events;
            firsts.push(all);
        }
        let words = usize::try_from(all.div_ceil(64)).unwrap_or(usize::MAX);
        Self {
            bits: vec![0; words],
            firsts,
        }
    }

    fn set(&mut self, number: u64) {
        if let Some(word) = usize::try_from(number / 64)
            .ok()
            .and_then(|word| self.bits.get_mut(word))
        {
            *word |= 1 << (number % 64);
        }
    }

    fn has(&self, number: u64) -> bool {
        let word = usize::try_from(number / 64).ok();
        let word = word.and_then(|word| self.bits.get(word));
        word.is_some_and(|word| word & (1 << (number % 64)) != 0)
    }

    /// Entries of a file that go.
    fn count(&self, file: usize) -> u64 {
        let numbers = self.firsts[file]..self.firsts[file + 1];
        numbers.filter(|number| self.has(*number)).count() as u64
    }
}

/// A key's digest: of two keys with the same one, the entries of one would be lost.
type KeyDigest = [u8; 16];

/// Keys whose digests end in these bits.
#[derive(Clone, Copy, Debug)]
struct Share {
    bits: u32,
    ending: u64,
}

impl Share {
    fn has(self, digest: &KeyDigest) -> bool {
        let [.., a, b, c, d, e, f, g, h] = *digest;
        let mask = 1_u64.checked_shl(self.bits).map_or(u64::MAX, |one| one - 1);
        u64::from_be_bytes([a, b, c, d, e, f, g, h]) & mask == self.ending
    }

    /// Two halves of it.
    fn halves(self) -> (Self, Self) {
        let bits = self.bits + 1;
        let half = |ending| Self { bits, ending };
        (half(self.ending), half(self.ending | 1 << self.bits))
    }
}

/// Everything is read once, for one share of the keys.
#[derive(Debug)]
struct Pass {
    share: Share,
    /// Which entry is the latest of a key, twice its number; one more where it goes as well.
    latest: HashMap<KeyDigest, u64>,
    /// The block that is next, and the number of its first entry.
    file: usize,
    block: usize,
    nth: u64,
}

impl Compacting {
    /// Finds what is obsolete. False where it was told to stop.
    fn search(&mut self, archive: &Archive, go_on: &mut impl FnMut() -> bool) -> Result<bool> {
        loop {
            let mut pass = match self.pass.take() {
                Some(pass) => pass,
                None => match self.shares.pop() {
                    None => return Ok(true),
                    Some(share) => {
                        self.done.passes += 1;
                        Pass {
                            share,
                            latest: HashMap::new(),
                            file: 0,
                            block: 0,
                            nth: 0,
                        }
                    }
                },
            };
            if !self.pass(&mut pass, archive, go_on)? {
                self.pass = Some(pass);
                return Ok(false);
            }
            let buried = pass.latest.into_values().filter(|latest| latest % 2 == 1);
            if self.damaged.is_empty() {
                buried.for_each(|goes| self.obsolete.set(goes / 2));
            }
        }
    }

    /// Reads on for one share of the keys; where those are too many, half of them is put back.
    /// False where it was told to stop.
    fn pass(
        &mut self,
        pass: &mut Pass,
        archive: &Archive,
        go_on: &mut impl FnMut() -> bool,
    ) -> Result<bool> {
        while let Some(file) = self.sealed.get(pass.file) {
            // What retention took has no later entries than what is left.
            if archive.has(file) && !self.damaged.contains(&pass.file) {
                match self.file(&Arc::clone(file), pass, archive, go_on) {
                    Ok(true) => {}
                    Ok(false) => return Ok(false),
                    Err(error) if error.kind() == ErrorKind::Corrupt => {
                        self.damaged.insert(pass.file);
                        self.harm.get_or_insert(error);
                    }
                    Err(error) => return Err(error),
                }
            }
            pass.file += 1;
            pass.block = 0;
            pass.nth = self.obsolete.firsts[pass.file];
        }
        Ok(true)
    }
}

impl Compacting {
    /// Reads on in one file. False where it was told to stop.
    fn file(
        &mut self,
        file: &Arc<Sealed>,
        pass: &mut Pass,
        archive: &Archive,
        go_on: &mut impl FnMut() -> bool,
    ) -> Result<bool> {
        let mut scratch = Scratch::default();
        let view = archive.shared.view_of(file)?;
        while pass.block < view.loaded.index.blocks.len() {
            if !go_on() {
                return Ok(false);
            }
            scratch.walk(&view, pass.block, |entry| {
                note(pass, &entry, self.buried_before, &mut self.obsolete);
                while pass.latest.len() > self.keys_max && pass.share.bits < 64 {
                    let (kept, other) = pass.share.halves();
                    pass.latest.retain(|digest, _| kept.has(digest));
                    self.shares.push(other);
                    pass.share = kept;
                }
                ControlFlow::Continue(())
            })?;
            pass.block += 1;
        }
        if pass.nth != self.obsolete.firsts[pass.file + 1] {
            let damage = Damage::Bad("count of entries");
            return Err(files::damaged(&file.path, 0, &damage));
        }
        Ok(true)
    }
}

/// Takes an entry of a pass down.
fn note(pass: &mut Pass, entry: &Entry<'_>, buried_before: Option<u64>, obsolete: &mut Obsolete) {
    let number = pass.nth;
    pass.nth += 1;
    let digest = entry.key.map(digest);
    let Some(digest) = digest.filter(|digest| pass.share.has(digest)) else {
        return;
    };
    let goes = is_buried(entry, buried_before);
    let latest = number * 2 + u64::from(goes);
    if let Some(before) = pass.latest.insert(digest, latest) {
        obsolete.set(before / 2);
    }
}

fn digest(key: &[u8]) -> KeyDigest {
    let mut digest = KeyDigest::default();
    digest.copy_from_slice(&Sha256::digest(key)[..16]);
    digest
}

fn is_buried(entry: &Entry<'_>, before: Option<u64>) -> bool {
    entry.tombstone && before.is_some_and(|before| entry.at.0 < before)
}

/// Which files are written anew, and which of them as one: those that lose entries, and small ones
/// beside one another, unless one of them is most of what would be written.
fn groups(
    sealed: &[Arc<Sealed>],
    obsolete: &Obsolete,
    damaged: &BTreeSet<usize>,
    file_bytes: u64,
) -> Vec<Range<usize>> {
    let lose = (0..sealed.len()).map(|file| match damaged.contains(&file) {
        true => 0,
        false => obsolete.count(file),
    });
    let lose: Vec<u64> = lose.collect();
    let stays = |number: usize| {
        if damaged.contains(&number) {
            return u64::MAX;
        }
        let file = &sealed[number];
        let events = u128::from(file.events.max(1));
        let stays = u128::from(file.bytes) * u128::from(file.events - lose[number]) / events;
        u64::try_from(stays).unwrap_or(u64::MAX)
    };
    let mut groups = Vec::new();
    let mut at = 0;
    while at < sealed.len() {
        let (mut end, mut bytes) = (at, 0);
        while end < sealed.len()
            && end - at < JOINED_MAX
            && stays(end) <= file_bytes / SMALL
            && bytes + stays(end) <= file_bytes
        {
            bytes += stays(end);
            end += 1;
        }
        let most = (at..end).map(stays).max().unwrap_or(0);
        if end - at > 1 && most * 2 <= bytes {
            groups.push(at..end);
            at = end;
        } else {
            if lose[at] > 0 {
                groups.push(at..at + 1);
            }
            at += 1;
        }
    }
    groups
}
