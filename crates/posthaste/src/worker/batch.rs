//! Jobs that were leased together, and what is known of each while it is held.
//!
//! One allocation for each batch, not for each job: a job costs a few atomic stores on its way
//! through, and only one that waits for something, reports progress or has follow-ups allocates.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

use posthaste_core::port::Leased;
use posthaste_core::{Command, Payload};
use tokio::sync::Notify;

use crate::hub::Posthaste;

/// Jobs of one lease.
pub(crate) struct Batch {
    hub: Posthaste,
    jobs: Box<[Cell]>,
    /// Jobs that are not settled yet.
    open: AtomicUsize,
    /// Some job has progress to send.
    pub(super) dirty: AtomicBool,
    /// When it came, on the worker's clock, in milliseconds.
    pub(super) since_ms: u64,
    /// When the next heartbeat is due, on the worker's clock.
    pub(super) beat_ms: AtomicU64,
    pub(super) lease_ms: u32,
}

/// One job while it is held.
struct Cell {
    /// Without its payload, which goes with the job and not with the batch.
    job: Leased,
    phase: AtomicU8,
    flags: AtomicU8,
    /// When the pulse first saw it running, on the worker's clock; 0 is not yet.
    seen_ms: AtomicU64,
    extra: OnceLock<Box<Extra>>,
}

/// What few jobs need.
#[derive(Default)]
struct Extra {
    waker: Mutex<Option<Waker>>,
    cancelled: Notify,
    progress: Mutex<Option<Payload>>,
    follow_ups: Mutex<Vec<Command>>,
}

/// Where a held job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// Waits for a slot.
    Waiting = 0,
    /// Its handler runs.
    Running = 1,
    /// Its outcome is on its way to the store.
    Settling = 2,
    /// No longer ours.
    Over = 3,
}

/// What happened to a running job from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Flag {
    /// It is being called off.
    Cancelled = 1,
    /// Its lease was lost to another.
    Lost = 2,
    /// Its attempt took too long.
    TimedOut = 4,
    /// The worker leaves.
    Leaving = 8,
}

impl Batch {
    /// Takes the jobs and their payloads apart.
    pub(super) fn new(
        hub: &Posthaste,
        leased: Vec<Leased>,
        since_ms: u64,
    ) -> (Arc<Self>, Vec<Payload>) {
        let empty = Payload::json(bytes::Bytes::new());
        let mut payloads = Vec::with_capacity(leased.len());
        let lease_ms = leased.first().map_or(0, |job| job.lease_ms);
        let jobs: Box<[Cell]> = leased
            .into_iter()
            .map(|mut job| {
                payloads.push(std::mem::replace(&mut job.payload, empty.clone()));
                Cell {
                    job,
                    phase: AtomicU8::new(Phase::Waiting as u8),
                    flags: AtomicU8::new(0),
                    seen_ms: AtomicU64::new(0),
                    extra: OnceLock::new(),
                }
            })
            .collect();
        let batch = Self {
            hub: hub.clone(),
            open: AtomicUsize::new(jobs.len()),
            jobs,
            dirty: AtomicBool::new(false),
            since_ms,
            beat_ms: AtomicU64::new(since_ms + u64::from(lease_ms) / 3),
            lease_ms,
        };
        (Arc::new(batch), payloads)
    }

    /// Whether every job is settled.
    pub(super) fn is_over(&self) -> bool {
        self.open.load(Ordering::Acquire) == 0
    }

    /// The jobs that are still held.
    pub(super) fn held(self: &Arc<Self>) -> impl Iterator<Item = Held> {
        let count = u32::try_from(self.jobs.len()).unwrap_or(u32::MAX);
        (0..count)
            .map(|index| Held {
                batch: Arc::clone(self),
                index,
            })
            .filter(|held| held.phase() != Phase::Over as u8)
    }
}

/// One job that is held, by its place in its batch.
#[derive(Clone)]
pub(crate) struct Held {
    pub(super) batch: Arc<Batch>,
    pub(super) index: u32,
}

impl Held {
    fn cell(&self) -> &Cell {
        &self.batch.jobs[self.index as usize]
    }

    fn extra(&self) -> &Extra {
        self.cell().extra.get_or_init(Box::default)
    }

    /// The job, without its payload.
    pub(crate) fn job(&self) -> &Leased {
        &self.cell().job
    }

    pub(crate) fn hub(&self) -> &Posthaste {
        &self.batch.hub
    }

    fn phase(&self) -> u8 {
        self.cell().phase.load(Ordering::Acquire)
    }

    pub(super) fn is(&self, phase: Phase) -> bool {
        self.phase() == phase as u8
    }

    /// Goes on to `phase`. The last one happens once.
    pub(super) fn go(&self, phase: Phase) {
        let before = self.cell().phase.swap(phase as u8, Ordering::AcqRel);
        if phase == Phase::Over && before != Phase::Over as u8 {
            self.batch.open.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// When the pulse first saw the job running: now, where it never did.
    pub(super) fn seen_ms(&self, now_ms: u64) -> u64 {
        let seen = &self.cell().seen_ms;
        match seen.load(Ordering::Relaxed) {
            0 => {
                seen.store(now_ms.max(1), Ordering::Relaxed);
                now_ms
            }
            seen => seen,
        }
    }

    /// Raises a flag and wakes whoever has to look at it.
    ///
    /// The flag goes up before the waiter is looked for, and a waiter shows itself before it looks
    /// at the flag; the fences keep it so, and one of the two sees the other.
    pub(super) fn raise(&self, flag: Flag) {
        let before = self.cell().flags.fetch_or(flag as u8, Ordering::AcqRel);
        if before & flag as u8 != 0 {
            return;
        }
        fence(Ordering::SeqCst);
        let Some(extra) = self.cell().extra.get() else {
            return;
        };
        if flag == Flag::Cancelled {
            extra.cancelled.notify_waiters();
        } else if let Some(waker) = lock(&extra.waker).take() {
            waker.wake();
        }
    }

    /// Whether any flag is up; the usual answer is no.
    pub(super) fn is_flagged(&self) -> bool {
        self.cell().flags.load(Ordering::Acquire) != 0
    }

    pub(super) fn has(&self, flag: Flag) -> bool {
        self.cell().flags.load(Ordering::Acquire) & flag as u8 != 0
    }

    /// Has `waker` called when a flag goes up. Look at the flags again afterwards.
    pub(super) fn wake_on_flag(&self, waker: &Waker) {
        let mut kept = lock(&self.extra().waker);
        match &mut *kept {
            Some(kept) => kept.clone_from(waker),
            None => *kept = Some(waker.clone()),
        }
        fence(Ordering::SeqCst);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.has(Flag::Cancelled)
    }

    pub(crate) async fn cancelled(&self) {
        loop {
            let told = self.extra().cancelled.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            fence(Ordering::SeqCst);
            if self.is_cancelled() {
                return;
            }
            told.await;
        }
    }

    pub(crate) fn report(&self, progress: Payload) {
        *lock(&self.extra().progress) = Some(progress);
        self.batch.dirty.store(true, Ordering::Release);
    }

    /// The newest report that wasn't sent.
    pub(super) fn take_report(&self) -> Option<Payload> {
        self.cell()
            .extra
            .get()
            .and_then(|extra| lock(&extra.progress).take())
    }

    pub(crate) fn follow_up(&self, command: Command) {
        lock(&self.extra().follow_ups).push(command);
    }

    pub(super) fn take_follow_ups(&self) -> Vec<Command> {
        self.cell()
            .extra
            .get()
            .map(|extra| std::mem::take(&mut *lock(&extra.follow_ups)))
            .unwrap_or_default()
    }
}

/// A lock whose holder panicked guards plain values: they are as good as before.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
