//! The background thread: keeps segments ready, watches the disk, merges snapshots, gives space
//! back, and marks how far the store is durable. No commit waits for it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use posthaste_core::{Error, ErrorKind, MonoMs, Result};

use crate::Options;
use crate::commits::Shared;
use crate::disk::Disk;
use crate::files::{self, Files};
use crate::journal::Journal;
use crate::live::Live;
use crate::merge;
use crate::reclaim;
use crate::scrub::Scrub;
use crate::segments::{Segment, Segments};
use crate::snapshot;
use crate::topics::Mover;

/// How often it looks around.
const TURN: Duration = Duration::from_millis(200);
/// Bytes written in one turn up to which the next segments are written through with zeros.
const FILL_UP_TO: u64 = 8 * 1024 * 1024;
/// How often it is looked for events that are kept no longer, in milliseconds.
const KEEP_MS: u64 = 1_000;
/// Sealed segments after which the next snapshot is due.
const SNAPSHOT_SEGMENTS: usize = 8;
/// Bytes of snapshots that are written in a second, at most, only to make them smaller.
const SHRUNK_PER_SECOND: u64 = 8 * 1024 * 1024;
/// Segments that may be there beyond twice what is live, before space is given back.
const SLACK_SEGMENTS: u64 = 4;

/// The thread, to be stopped.
pub(crate) struct Background {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    handle: Thread,
}

struct Chores {
    shared: Arc<Shared>,
    files: Arc<Files>,
    segments: Arc<Segments>,
    live: Arc<Mutex<Live>>,
    /// Takes events out of the journal, before a snapshot covers them.
    mover: Mover,
    /// Segments up to this one are in the newest snapshot.
    snapshot: u64,
    snapshot_bytes: u64,
    /// Bytes of every snapshot that is kept, where nothing changed since they were counted.
    snapshots_bytes: Option<u64>,
    /// When the newest snapshot was made.
    snapshot_at: MonoMs,
    /// The last segment was sealed for the sake of a smaller snapshot.
    sealed_early: bool,
    /// Damage was found that the next snapshot may get around.
    hurt: bool,
    /// The journal is written slowly or not at all.
    rests: bool,
    /// Segments up to this one are known to be sealed and durable.
    sealed_before: u64,
    /// Damage kept a snapshot from being merged when this was the last sealed segment: it is tried
    /// again with the next.
    damaged_at: u64,
    /// Segments out of which no more can be copied: what they hold is damaged, or not a record's.
    passed: BTreeSet<u64>,
    maintenance: bool,
    ready: usize,
    reserve_bytes: u64,
    segment_bytes: u64,
    stop: Arc<AtomicBool>,
    marked: u64,
    /// Where the journal was at the last look, in bytes from its beginning.
    position: u64,
    scrub: Scrub,
    /// When it was last looked for events that are kept no longer.
    kept_at: MonoMs,
}

impl Background {
    pub(crate) fn start(
        options: &Options,
        shared: Arc<Shared>,
        files: Arc<Files>,
        segments: Arc<Segments>,
        live: Arc<Mutex<Live>>,
        (snapshot, mover): (u64, Mover),
    ) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut chores = Chores {
            shared,
            files,
            segments,
            live,
            mover,
            snapshot,
            snapshot_bytes: 0,
            snapshots_bytes: None,
            snapshot_at: MonoMs(0),
            sealed_early: false,
            hurt: false,
            rests: false,
            sealed_before: snapshot,
            damaged_at: 0,
            passed: BTreeSet::new(),
            maintenance: options.maintenance,
            ready: options.segments_ready,
            reserve_bytes: options.reserve_bytes,
            segment_bytes: u64::from(options.segment_bytes),
            stop: Arc::clone(&stop),
            marked: 0,
            position: 0,
            scrub: Scrub::default(),
            kept_at: MonoMs(0),
        };
        let thread = std::thread::Builder::new()
            .name("posthaste-background".to_owned())
            .spawn(move || chores.run())
            .map_err(|error| {
                Error::new(ErrorKind::Io, format!("a thread can't be started: {error}"))
            })?;
        let handle = thread.thread().clone();
        Ok(Self {
            stop,
            thread,
            handle,
        })
    }

    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.handle.unpark();
        let _panicked = self.thread.join();
    }
}

impl Chores {
    fn run(&mut self) {
        while !self.stop.load(Ordering::SeqCst) {
            self.watch_disk();
            self.keep_ready();
            self.mark();
            if self.maintenance {
                self.snapshot_and_reclaim();
                self.keep_topics();
                self.compact();
                self.scrub();
            }
            // Waiting for an answer meanwhile may have taken the wake-up that told to stop.
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            std::thread::park_timeout(TURN);
        }
    }

    /// Lets go of events that are kept no longer, and of topics that are gone.
    fn keep_topics(&mut self) {
        let now = self.shared.clock.now();
        if now.mono.since(self.kept_at) < KEEP_MS && self.kept_at != MonoMs(0) {
            return;
        }
        let first = std::mem::replace(&mut self.kept_at, now.mono.max(MonoMs(1))) == MonoMs(0);
        let topics = Arc::clone(&self.shared.topics);
        let kept = self
            .mover
            .retain(now.wall, |topic, beyond| topics.in_journal(topic, beyond))
            .and_then(|()| {
                let config = |topic| topics.in_journal(topic, 0).map(|(config, ..)| config);
                self.mover.begin_to_compact(now.wall, config);
                match first {
                    true => self
                        .mover
                        .sweep(|topic| topics.in_journal(topic, 0).is_some()),
                    false => Ok(()),
                }
            });
        if let Err(error) = kept {
            self.told(&error);
        }
    }

    /// Compacts a little more. Nothing else that is done here waits for a whole topic.
    fn compact(&mut self) {
        let go_on = self.go_on();
        if let Err(error) = self.mover.compact_on(|| !go_on()) {
            self.told(&error);
        }
    }

    /// Reads a little more of what is sealed, to find damage before somebody needs what it hit.
    fn scrub(&mut self) {
        let in_use = self.segments.in_use();
        let sealed = in_use
            .into_iter()
            .filter(|segment| segment.number <= self.sealed_before);
        if let Err(error) = self.scrub.step(sealed) {
            // A store that is opened again reads what no snapshot covers, and would refuse it.
            self.hurt |= error.kind() == ErrorKind::Corrupt;
            self.shared.stats.problem(error.to_string());
        }
    }

    fn disk(&self) -> &dyn Disk {
        &*self.files.disk
    }

    /// New work is refused while the disk is so full that settling could stop.
    fn watch_disk(&self) {
        let Ok(free) = self.disk().free_bytes(&self.files.dir) else {
            return;
        };
        let known = free.max(1);
        self.shared.stats.disk_free.store(known, Ordering::Relaxed);
        let left = self
            .shared
            .hold()
            .journal
            .as_ref()
            .map_or(0, |journal| journal.bytes_left());
        let at_hand = left + self.segments.ready() as u64 * self.segment_bytes;
        let low = free < self.reserve_bytes && at_hand < self.segment_bytes;
        self.shared.stats.disk_low.store(low, Ordering::Relaxed);
    }

    /// Bytes that the journal wrote since the last look.
    fn written(&mut self) -> u64 {
        let held = self.shared.hold();
        let Some(journal) = held.journal.as_ref() else {
            return 0;
        };
        let segments = journal.durable().1 * self.segment_bytes;
        let at = (segments + self.segment_bytes).saturating_sub(journal.bytes_left());
        drop(held);
        at.saturating_sub(std::mem::replace(&mut self.position, at))
    }

    /// Zeros written beforehand halve the price of a sync, and double that of a byte. Where the
    /// journal is written faster than [`FILL_UP_TO`], bytes are what costs: then the blocks of the
    /// next segment are only reserved.
    fn keep_ready(&mut self) {
        let fill = self.written() < FILL_UP_TO;
        self.rests = fill;
        let wanted = if fill { self.ready } else { 1 };
        while self.segments.ready() < wanted && !self.stop.load(Ordering::SeqCst) {
            let room = self.disk().free_bytes(&self.files.dir).unwrap_or(u64::MAX);
            if room < self.segment_bytes + self.reserve_bytes {
                return;
            }
            let stop = &self.stop;
            if let Err(error) = self.segments.prepare(fill, || !stop.load(Ordering::SeqCst)) {
                let dir = files::segments_dir(&self.files.dir);
                self.shared
                    .stats
                    .problem(files::io_error("prepare a segment in", &dir, &error).to_string());
                return;
            }
        }
    }

    fn go_on(&self) -> impl Fn() -> bool + use<> {
        let stop = Arc::clone(&self.stop);
        move || !stop.load(Ordering::SeqCst)
    }

    /// Sealed segments whose every group is durable, the oldest first.
    fn sealed(&self) -> Vec<Arc<Segment>> {
        let (durable, current) = self
            .shared
            .hold()
            .journal
            .as_ref()
            .map_or((0, 0), Journal::durable);
        let is_durable = |segment: &Arc<Segment>| {
            segment.number < current
                && crate::sealed::read_footer(segment).is_ok_and(|footer| {
                    footer.number == segment.number && footer.last_seq <= durable
                })
        };
        let mut sealed = self.segments.in_use();
        let first_open = sealed
            .iter()
            .position(|segment| segment.number > self.sealed_before && !is_durable(segment));
        sealed.truncate(first_open.unwrap_or(sealed.len()));
        sealed
    }

    fn snapshot_and_reclaim(&mut self) {
        let sealed = self.sealed();
        if let Some(last) = sealed.last() {
            self.sealed_before = self.sealed_before.max(last.number);
        }
        if let Err(error) = self.try_snapshot(&sealed) {
            if error.kind() == ErrorKind::Corrupt {
                self.damaged_at = self.sealed_before;
            }
            self.told(&error);
        }
        if let Err(error) = self.try_reclaim().and_then(|()| self.try_shrink()) {
            self.told(&error);
        }
    }

    fn told(&self, error: &Error) {
        if error.kind() != ErrorKind::Closed {
            self.shared.stats.problem(error.to_string());
        }
    }

    /// Whether the store takes more of the disk than it should for what lives in it: on a disk that
    /// is nearly full, a quarter more than that; otherwise, twice that and some slack.
    fn is_sparse(&self) -> bool {
        let live = self.live_bytes();
        let used = self.segments.in_use().len() as u64 * self.segment_bytes;
        if self.is_low() {
            return used > live + live / 4 + self.segment_bytes;
        }
        used > 2 * live + SLACK_SEGMENTS * self.segment_bytes
    }

    fn live_bytes(&self) -> u64 {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.total()
    }

    /// Once a backlog is worked off, the snapshots are what takes space: they tell of jobs that are
    /// gone. The older goes where segments are gone that it would need, and the newest is made anew,
    /// for which the segment that is written to is sealed; not so often that it would matter.
    fn try_shrink(&mut self) -> Result<()> {
        let dir = files::snapshots_dir(&self.files.dir);
        let failed = |error| files::io_error("look at", &dir, &error);
        let snapshots = match self.snapshots_bytes {
            Some(bytes) => bytes,
            None => self.drop_useless().map_err(failed)?,
        };
        self.snapshots_bytes = Some(snapshots);
        let live = self.live_bytes();
        let used = self.segments.disk_bytes();
        let allowed = 2 * live + 2 * SLACK_SEGMENTS * self.segment_bytes;
        let bloated = used + snapshots > allowed;
        let age_ms = self.shared.clock.now().mono.since(self.snapshot_at);
        let often = age_ms < 1_000 * self.snapshot_bytes / SHRUNK_PER_SECOND;
        if !bloated || !self.rests || self.sealed_early || often {
            return Ok(());
        }
        self.sealed_early = reclaim::seal(&self.shared)?;
        Ok(())
    }

    /// Removes snapshots that are of no use any more, and answers the bytes of the others.
    fn drop_useless(&self) -> std::io::Result<u64> {
        let in_use = self.segments.in_use();
        let there = |number| in_use.iter().any(|segment| segment.number == number);
        let mut bytes = 0;
        for (reach, path) in snapshot::list(self.disk(), &self.files.dir)? {
            if reach < self.snapshot && !(reach + 1..=self.snapshot).all(there) {
                self.disk().remove(&path)?;
            } else {
                bytes += self.disk().open(&path)?.len()?;
            }
        }
        Ok(bytes)
    }

    fn is_low(&self) -> bool {
        self.shared.stats.disk_low.load(Ordering::Relaxed)
    }

    fn try_snapshot(&mut self, sealed: &[Arc<Segment>]) -> Result<()> {
        let new: Vec<_> = sealed
            .iter()
            .filter(|segment| segment.number > self.snapshot)
            .cloned()
            .collect();
        // A snapshot costs as much writing as it is large: the larger, the rarer.
        let due = SNAPSHOT_SEGMENTS
            .max(usize::try_from(2 * self.snapshot_bytes / self.segment_bytes).unwrap_or(0));
        let early = self.is_low() || self.is_sparse() || self.sealed_early || self.hurt;
        let tried = self.sealed_before <= self.damaged_at;
        if new.is_empty() || tried || (new.len() < due && !early) {
            return Ok(());
        }
        let dir = files::snapshots_dir(&self.files.dir);
        let failed = |error| files::io_error("list", &dir, &error);
        let old = snapshot::list(self.disk(), &self.files.dir).map_err(failed)?;
        // The newest may be another, which was found damaged when the store was opened.
        let base = self.snapshot;
        let used = old.iter().find(|(number, _)| *number == base);
        let used = used.map(|(_, path)| path);
        // Events are copied before their segments go: on a disk that is nearly full, one segment's.
        let one = self.is_low() && self.shared.topics.are_in_journal();
        let round = if one { &new[..1] } else { &new };
        let go_on = self.go_on();
        // What these segments say of topics was shown to readers before this returns: a topic that
        // they don't know then is gone, and not one that they don't know yet.
        reclaim::until_durable(&self.shared)?;
        let topics = Arc::clone(&self.shared.topics);
        let shared = Arc::clone(&self.shared);
        let known = merge::Known {
            kept_from: &|topic| topics.kept_from(topic),
            batch_at: &|topic, position| topics.batch_at(topic, position),
            damaged: &|error| shared.stats.problem(error.to_string()),
        };
        let merged = merge::merge(&self.files, used, round, &mut self.mover, &known, go_on)?;
        let Some((path, reach)) = merged else {
            return Ok(());
        };
        let read = snapshot::read_back(self.disk(), &path)?;
        if read != reach {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("{} reads back as another snapshot", path.display()),
            )
            .next("see to the disk: what was written is not what was read"));
        }
        // From here on readers find them there, and nothing needs the segments for them.
        self.shared.topics.moved(self.mover.readers());
        self.snapshot = reach.segment;
        (self.sealed_early, self.hurt) = (false, false);
        self.snapshot_at = self.shared.clock.now().mono;
        self.snapshot_bytes = self
            .disk()
            .open(&path)
            .and_then(|file| file.len())
            .unwrap_or(0);
        self.snapshots_bytes = None;
        let kept = [base, reach.segment];
        for (_, path) in old.iter().filter(|(number, _)| !kept.contains(number)) {
            self.disk()
                .remove(path)
                .map_err(|error| files::io_error("remove", path, &error))?;
        }
        Ok(())
    }

    /// Lets go of what nothing lives in, and empties the sparsest segment while there is too much.
    fn try_reclaim(&mut self) -> Result<()> {
        loop {
            let candidates = self.candidates();
            if candidates.iter().any(|(_, live)| *live == 0) {
                reclaim::until_durable(&self.shared)?;
            }
            for (segment, _) in candidates.iter().filter(|(_, live)| *live == 0) {
                self.segments
                    .remove(segment.number)
                    .map_err(|error| files::io_error("remove", &segment.path, &error))?;
                self.live
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .forget(segment.number);
                self.passed.remove(&segment.number);
                self.snapshots_bytes = None;
            }
            let sparsest = candidates
                .iter()
                .filter(|(segment, live)| *live > 0 && !self.passed.contains(&segment.number))
                .min_by_key(|(_, live)| *live);
            let Some((segment, live)) = sparsest else {
                return Ok(());
            };
            if !self.is_sparse()
                || *live * 4 > self.segment_bytes * 3
                || self.stop.load(Ordering::SeqCst)
            {
                return Ok(());
            }
            if let Err(error) = reclaim::copy_forward(&self.shared, segment, self.go_on()) {
                if error.kind() != ErrorKind::Corrupt {
                    return Err(error);
                }
                self.told(&error);
                self.passed.insert(segment.number);
                continue;
            }
            let left = self
                .live
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .of(segment.number);
            if left >= *live {
                self.passed.insert(segment.number);
            }
        }
    }

    /// Segments that a snapshot covers, each with its live bytes.
    fn candidates(&self) -> Vec<(Arc<Segment>, u64)> {
        let covered = self
            .segments
            .in_use()
            .into_iter()
            .filter(|segment| segment.number <= self.snapshot);
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        covered
            .map(|segment| {
                let of = live.of(segment.number);
                (segment, of)
            })
            .collect()
    }

    /// Marks in the superblock how far the store is durable, once it has moved on and rests.
    fn mark(&mut self) {
        let durable = self
            .shared
            .hold()
            .journal
            .as_ref()
            .map_or(0, |journal| journal.durable().0);
        if durable == self.marked {
            return;
        }
        match self.shared.mark(&self.files, false) {
            Ok(()) => self.marked = durable,
            Err(error) => {
                let path = self.files.dir.join("superblock");
                self.shared
                    .stats
                    .problem(files::io_error("write", &path, &error).to_string());
            }
        }
    }
}
