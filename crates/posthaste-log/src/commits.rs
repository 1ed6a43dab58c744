//! The meeting place of the sequencer, which decides, and whoever syncs: the sequencer itself when
//! there is little to write, the syncer's thread when there is much.
//!
//! Nothing is acknowledged here before its sync, and nothing at all after a sync that failed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};

use posthaste_core::{Error, ErrorKind, MonoMs};

use crate::bodies::Bodies;
use crate::clock::Clock;
use crate::effect::{self, Effect};
use crate::inbox::Inbox;
use crate::journal::{self, Journal, Write};
use crate::topics::{self, Topics};
use crate::{Durability, files};

/// Longest that what nobody waits for stays unsynced, in milliseconds.
const UNWAITED_MS: u64 = 1_000;

/// What the threads of a store share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) bodies: Bodies,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) durability: Durability,
    reader: Mutex<mpsc::Sender<Effect>>,
    commits: Mutex<Commits>,
    /// The syncer waits here for something to do.
    syncer: Condvar,
    /// The sequencer waits here for the syncer.
    turn: Condvar,
    pub(crate) topics: Arc<Topics>,
    tail: Mutex<mpsc::Sender<topics::Order>>,
    pub(crate) stats: Stats,
}

/// What is counted since the store was opened.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) syncs: AtomicU64,
    pub(crate) commits: AtomicU64,
    /// The disk is nearly full: no new work.
    pub(crate) disk_low: AtomicBool,
    /// Free bytes of the disk when it was last looked, and one at least; 0 before that.
    pub(crate) disk_free: AtomicU64,
    /// Problems that do not stop the store, in words.
    pub(crate) problems: Mutex<Vec<String>>,
}

/// Most problems that are kept to be told.
const PROBLEMS_MAX: usize = 32;

impl Stats {
    /// Free bytes of the disk, where that is known.
    pub(crate) fn free_bytes(&self) -> Option<u64> {
        Some(self.disk_free.load(Ordering::Relaxed)).filter(|free| *free > 0)
    }

    /// What is wrong now, in words.
    pub(crate) fn problems(&self) -> Vec<String> {
        let kept = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        let low = self.disk_low.load(Ordering::Relaxed);
        low.then(|| {
            String::from(
                "the disk is nearly full: new work is refused until there is room; \
                 delete finished jobs, or make room on the disk of the data directory",
            )
        })
        .into_iter()
        .chain(kept.iter().cloned())
        .collect()
    }

    /// Remembers a problem to be told; the first ones say most.
    pub(crate) fn problem(&self, told: String) {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        if problems.len() < PROBLEMS_MAX && !problems.contains(&told) {
            problems.push(told);
        }
    }
}

/// The journal, and who is at it.
#[derive(Debug)]
pub(crate) struct Commits {
    /// `None` in memory.
    pub(crate) journal: Option<Journal<Effect>>,
    /// Why nothing is accepted any more.
    pub(crate) poisoned: Option<Error>,
    /// Effects that wait for a sync although their commits were answered (interval only).
    late: Vec<Effect>,
    busy: bool,
    handed: bool,
    stop: bool,
    unsynced: bool,
    /// Among what is not synced are facts that were acknowledged (interval only).
    early: bool,
    last_sync: MonoMs,
}

pub(crate) type Held<'a> = MutexGuard<'a, Commits>;

impl Shared {
    pub(crate) fn new(
        bodies: Bodies,
        clock: Arc<dyn Clock>,
        durability: Durability,
        journal: Option<Journal<Effect>>,
        topics: Topics,
        reader: mpsc::Sender<Effect>,
        tail: mpsc::Sender<topics::Order>,
    ) -> Self {
        let commits = Commits {
            journal,
            poisoned: None,
            late: Vec::new(),
            busy: false,
            handed: false,
            stop: false,
            unsynced: false,
            early: false,
            last_sync: MonoMs(0),
        };
        Self {
            inbox: Arc::default(),
            bodies,
            clock,
            durability,
            topics: Arc::new(topics),
            reader: Mutex::new(reader),
            tail: Mutex::new(tail),
            commits: Mutex::new(commits),
            syncer: Condvar::new(),
            turn: Condvar::new(),
            stats: Stats::default(),
        }
    }

    pub(crate) fn hold(&self) -> Held<'_> {
        self.commits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody is writing.
    pub(crate) fn wait_idle<'a>(&'a self, mut held: Held<'a>) -> Held<'a> {
        while held.busy || (held.handed && !held.stop && held.poisoned.is_none()) {
            held = self.turn.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        held
    }

    /// Waits until the syncer's thread has done something.
    pub(crate) fn wait_turn<'a>(&'a self, held: Held<'a>) -> Held<'a> {
        self.turn.wait(held).unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the syncer's thread write what is pending.
    pub(crate) fn hand_over(&self, mut held: Held<'_>) {
        held.handed = true;
        self.syncer.notify_one();
    }

    /// The syncer's thread: takes what is pending whenever it was handed over, and all that came
    /// meanwhile.
    pub(crate) fn sync_until_stopped(&self) {
        let mut held = self.hold();
        loop {
            let pending = held
                .journal
                .as_ref()
                .is_some_and(|journal| !journal.is_empty());
            if held.stop {
                return;
            }
            if held.busy || !held.handed {
                held = self
                    .syncer
                    .wait(held)
                    .unwrap_or_else(PoisonError::into_inner);
            } else if pending && held.poisoned.is_none() {
                held = self.write(held, false);
            } else {
                held.handed = false;
                self.turn.notify_all();
                // What was written and not synced falls due one day: only then has the sequencer
                // to look at the time again.
                if held.unsynced || !held.late.is_empty() {
                    self.inbox.nudge();
                }
            }
        }
    }

    /// Ends the syncer's thread.
    pub(crate) fn stop(&self) {
        self.hold().stop = true;
        self.syncer.notify_one();
    }

    /// Whether the syncer's thread is at it.
    pub(crate) fn is_handed(held: &Held<'_>) -> bool {
        held.busy || held.handed
    }

    /// Milliseconds until something that is written has to be synced, where something is that this
    /// thread may sync: nothing while the syncer is at it, who says when it is done, and nothing
    /// ever after a failure.
    pub(crate) fn sync_due_ms(&self, held: &Held<'_>) -> Option<u64> {
        if Self::is_handed(held) || held.poisoned.is_some() {
            return None;
        }
        let patience = match self.durability {
            Durability::Sync => UNWAITED_MS,
            Durability::Interval(ms) => u64::from(ms),
        };
        let since = self.clock.now().mono.since(held.last_sync);
        (held.unsynced || !held.late.is_empty()).then(|| patience.saturating_sub(since))
    }

    /// Takes what is pending, writes it, syncs it where it must be, and lets its effects out.
    pub(crate) fn write<'a>(&'a self, mut held: Held<'a>, force_sync: bool) -> Held<'a> {
        if held.poisoned.is_some() {
            return held;
        }
        let now = self.clock.now();
        let commits = &mut *held;
        let Some(journal) = commits.journal.as_mut() else {
            return held;
        };
        if force_sync {
            journal.wait_for_sync();
        }
        let mut writes = journal.take(now.wall.0);
        if writes.is_empty() {
            if !force_sync || !commits.unsynced {
                return held;
            }
            writes = journal.nothing();
        }
        let unsynced = commits.unsynced;
        let wanted = force_sync || writes.iter().any(|write| write.needs_sync(unsynced));
        let due = match self.durability {
            Durability::Sync => wanted,
            Durability::Interval(ms) => {
                force_sync
                    || writes.iter().any(Write::is_footer)
                    || (wanted && now.mono.since(commits.last_sync) >= u64::from(ms))
            }
        };
        commits.busy = true;
        drop(held);
        let done = journal::write(&writes)
            .and_then(|()| if due { journal::sync(&writes) } else { Ok(()) });
        let mut held = match done {
            Ok(()) => self.written(writes, due, wanted),
            Err(error) => self.poison(writes, &error),
        };
        held.busy = false;
        self.turn.notify_all();
        held
    }

    fn written(&self, writes: Vec<Write<Effect>>, synced: bool, wanted: bool) -> Held<'_> {
        let bytes = writes.iter().any(Write::has_bytes);
        let (receipt, written, seq) = journal::receipt(writes);
        self.bodies.wrote(written);
        let mut effects = receipt.effects();
        if synced {
            self.stats.syncs.fetch_add(1, Ordering::Relaxed);
        }
        let early = !synced && wanted;
        let mut held = self.hold();
        if synced {
            held.unsynced = false;
            held.early = false;
            held.last_sync = self.clock.now().mono;
            effects.splice(0..0, std::mem::take(&mut held.late));
            if let Some(journal) = held.journal.as_mut() {
                journal.now_durable(seq);
            }
        } else {
            held.unsynced |= bytes;
            held.early |= early;
            if held.early {
                // Only acknowledgements may come before the sync; all else sees synced facts alone.
                let (acknowledged, late): (Vec<_>, Vec<_>) = effects
                    .into_iter()
                    .partition(|effect| matches!(effect, Effect::Committed(..)));
                held.late.extend(late);
                effects = acknowledged;
            }
        }
        drop(held);
        self.release(effects);
        self.hold()
    }

    /// Lets effects out, in order; what has to be read goes to the reader's thread.
    pub(crate) fn release(&self, effects: Vec<Effect>) {
        for effect in effects {
            if let Some(to_read) = effect::release(effect, &self.bodies) {
                let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
                let _closed = reader.send(to_read);
            }
        }
    }

    /// Has the tail's thread read a page.
    pub(crate) fn fetch(&self, order: topics::Order) {
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let _closed = tail.send(order);
    }

    /// After a write or a sync that failed nothing is accepted any more, and nobody is told that
    /// something is durable.
    fn poison(&self, writes: Vec<Write<Effect>>, error: &std::io::Error) -> Held<'_> {
        let told = Error::new(
            ErrorKind::Uncertain,
            format!("writing the journal failed ({error}): what was being committed may or may not have happened"),
        )
        .next("see to the disk, then open the store again; repeat requests under the same idempotency key");
        self.give_up(writes, &told)
    }

    /// Nothing is accepted from now on, and who waits for `writes` or for what is pending is told
    /// so.
    pub(crate) fn give_up(&self, writes: Vec<Write<Effect>>, told: &Error) -> Held<'_> {
        self.stats.problem(told.message().to_owned());
        let mut held = self.hold();
        held.poisoned = Some(told.clone());
        let mut effects: Vec<Effect> = writes.into_iter().flat_map(Write::give_up).collect();
        effects.append(&mut held.late);
        if let Some(journal) = held.journal.as_mut() {
            effects.extend(journal.give_up());
        }
        drop(held);
        for effect in effects {
            effect::fail(effect, told);
        }
        self.inbox.nudge();
        self.hold()
    }

    /// Writes down how far the store is durable.
    pub(crate) fn mark(&self, files: &files::Files, clean: bool) -> std::io::Result<()> {
        let held = self.hold();
        let Some((durable, segment)) = held.journal.as_ref().map(Journal::durable) else {
            return Ok(());
        };
        drop(held);
        files.mark(durable, segment, clean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ManualClock;
    use posthaste_core::WallMs;

    /// Whoever asks is the sequencer, which does not rest while something is due.
    #[test]
    fn nothing_is_due_that_the_sequencer_could_not_sync() {
        let clock = ManualClock::at(WallMs(1));
        let (reader, _to_read) = mpsc::channel();
        let bodies = Bodies::Memory(Mutex::default());
        let (tail, _to_fetch) = mpsc::channel();
        let shared = Shared::new(
            bodies,
            Arc::new(clock.clone()),
            Durability::Sync,
            None,
            Topics::new(1, Vec::new(), WallMs(1)),
            reader,
            tail,
        );
        let mut held = shared.hold();
        held.unsynced = true;
        clock.advance(UNWAITED_MS);
        assert_eq!(shared.sync_due_ms(&held), Some(0));
        held.handed = true;
        assert_eq!(shared.sync_due_ms(&held), None);
        held.handed = false;
        held.poisoned = Some(crate::inbox::closed());
        assert_eq!(shared.sync_due_ms(&held), None);
    }
}
