//! What callers ask of the sequencer, in the order in which they asked.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use posthaste_core::group::{EventAsk, GroupView, KeptPage};
use posthaste_core::machine::{Action, Place, Slot};
use posthaste_core::port::{KeptAsk, LeaseAsk, TailGroup, TailJob};
use posthaste_core::view::{Health, JobFilter, QueueView};
use posthaste_core::{Error, ErrorKind, JobId, Result, Token};

use crate::edge::Prepared;
use crate::effect::{Answered, Answers, Delivery, Found, Page};
use crate::members::{Copying, Delivered};
use crate::topics::Fed;

/// Questions that may wait at once.
const ASKS_MAX: usize = 100_000;
/// Bytes of commits that may wait at once.
const BYTES_MAX: usize = 64 * 1024 * 1024;

pub(crate) type Reply<T> = oneshot::Sender<Result<T>>;

/// One question.
#[derive(Debug)]
pub(crate) enum Ask {
    Commit(Commits, Reply<Answered>),
    Lease(LeaseAsk, Reply<Delivery>),
    Tail(TailJob, Reply<Found>),
    Job(JobId, Reply<Option<Found>>),
    Jobs(JobFilter, Option<u64>, u32, Reply<Page>),
    Queues(Reply<Vec<QueueView>>),
    Health(Reply<Health>),
    /// Leases that nobody took.
    Unclaimed(Vec<(JobId, Token)>),
    /// A job was handed out whose body the disk did not give, and how that is told.
    Unread {
        id: JobId,
        token: Token,
        told: String,
    },
    /// A body that can't be read, and how that is told.
    Damaged {
        slot: Slot,
        place: Place,
        told: String,
    },
    LeaseEvents(EventAsk, Reply<Delivered>),
    TailGroup(TailGroup, Reply<GroupView>),
    Groups(Reply<Vec<GroupView>>),
    KeptPage(KeptAsk, Reply<KeptPage>),
    /// Events that nobody took.
    Untaken {
        group: u32,
        token: Token,
        /// The member is not to know its token.
        joined: bool,
        positions: Vec<u64>,
    },
    /// What comes next for a group was read.
    Fed {
        group: u32,
        from: u64,
        fed: Fed,
    },
    /// An event that a group keeps was read.
    Kept(Copying),
    /// Records that were copied forward, and what they say.
    Copy(Vec<Copied>, oneshot::Sender<bool>),
    /// The segment is to be sealed although it is not full.
    Seal(oneshot::Sender<bool>),
    /// Which of these records are still needed.
    Needed(
        Vec<(crate::format::body::Owner, Place)>,
        oneshot::Sender<Vec<bool>>,
    ),
    Close(Reply<()>),
}

/// Commits to decide, and room for their answers: whoever asks allocates it and drops it, so that
/// no thread has to free what another one allocated.
#[derive(Debug)]
pub(crate) struct Commits {
    pub(crate) asked: Vec<Result<Prepared>>,
    pub(crate) answers: Vec<Result<Answers>>,
}

/// A record to copy forward.
#[derive(Debug)]
pub(crate) struct Copied {
    pub(crate) owner: crate::format::body::Owner,
    pub(crate) from: Place,
    pub(crate) record: Vec<u8>,
}

impl Ask {
    /// Whether the store asks it itself, to keep its promises: that is never turned away.
    fn is_the_stores_own(&self) -> bool {
        matches!(
            self,
            Self::Unclaimed(..)
                | Self::Untaken { .. }
                | Self::Fed { .. }
                | Self::Kept(..)
                | Self::Damaged { .. }
                | Self::Unread { .. }
                | Self::Copy(..)
                | Self::Seal(..)
                | Self::Needed(..)
                | Self::Close(..)
        )
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Commit(commits, _) => commits
                .asked
                .iter()
                .flatten()
                .map(|commit| commit.records.len() + 64 * commit.commands.len())
                .sum(),
            _ => 0,
        }
    }
}

/// The line before the sequencer. Bounded: who comes too late is told to come again.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    line: Mutex<Line>,
    parked: AtomicBool,
    /// Something besides a question is to be looked at: time was moved, a sync ended.
    nudged: AtomicBool,
    sequencer: OnceLock<Thread>,
}

#[derive(Debug, Default)]
struct Line {
    asks: Vec<Ask>,
    bytes: usize,
    closed: bool,
}

impl Inbox {
    /// Puts a question in line.
    ///
    /// # Errors
    /// `Busy` when the line is full, `Closed` when the store is.
    pub(crate) fn ask(&self, ask: Ask) -> Result<()> {
        let bytes = ask.bytes();
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if line.closed {
            return Err(closed());
        }
        let full =
            line.asks.len() >= ASKS_MAX || (line.bytes > 0 && line.bytes + bytes > BYTES_MAX);
        if full && !ask.is_the_stores_own() {
            return Err(Error::new(
                ErrorKind::Busy,
                "more work is waiting to be written than the store may hold",
            )
            .next("slow down and try again")
            .retry_after_ms(100));
        }
        line.bytes += bytes;
        line.asks.push(ask);
        drop(line);
        self.wake();
        Ok(())
    }

    /// Has the sequencer look around.
    pub(crate) fn nudge(&self) {
        self.nudged.store(true, Ordering::SeqCst);
        self.wake();
    }

    fn wake(&self) {
        if self.parked.swap(false, Ordering::SeqCst)
            && let Some(sequencer) = self.sequencer.get()
        {
            sequencer.unpark();
        }
    }

    /// Everything that waits in line, in `into`; waits up to `patience` for the first. Only the
    /// sequencer's thread may call this.
    pub(crate) fn take(&self, into: &mut Vec<Ask>, patience: Duration) {
        self.sequencer.get_or_init(thread::current);
        if self.drain(into) || patience.is_zero() {
            return;
        }
        self.parked.store(true, Ordering::SeqCst);
        if !self.drain(into) && !self.nudged.swap(false, Ordering::SeqCst) {
            thread::park_timeout(patience);
            self.drain(into);
        }
        self.parked.store(false, Ordering::SeqCst);
        // The turn that follows looks at everything: what was nudged so far is seen to by it.
        self.nudged.store(false, Ordering::SeqCst);
    }

    fn drain(&self, into: &mut Vec<Ask>) -> bool {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(into, &mut line.asks);
        line.bytes = 0;
        !into.is_empty()
    }

    /// Refuses what comes from now on, and hands out what still waits.
    pub(crate) fn close(&self) -> Vec<Ask> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.closed = true;
        std::mem::take(&mut line.asks)
    }
}

/// What is said once the store is closed.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the store is closed").next("open it again")
}

/// An action of the machine that copies a record.
pub(crate) fn copy_action(
    owner: &crate::format::body::Owner,
    slot: Option<Slot>,
    from: Place,
    to: Place,
) -> Option<Action<'static>> {
    match owner {
        crate::format::body::Owner::Job(_) => slot.map(|slot| Action::Copied { slot, from, to }),
        crate::format::body::Owner::Key(digest) => Some(Action::AnswerCopied {
            digest: *digest,
            from,
            to,
        }),
        // Whose group is known by then.
        crate::format::body::Owner::Error { .. } => None,
        crate::format::body::Owner::Event { group, position } => Some(Action::CopyKept {
            group: *group,
            position: *position,
            from,
            to,
        }),
    }
}
