//! What a snapshot holds, and how facts change it, job by job and without a machine.
//!
//! A snapshot is merged beside the sequencer, from the one before and the facts since, in bounded
//! memory: each job is seen once, with the facts that are about it. What a fact does to a job is
//! said in [`Life`] alone, so that a merged snapshot and a machine can't disagree. No byte format
//! is known here.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::{JobId, Token};
use crate::job::{Priority, RetryRule};
use crate::machine::fact::{Fact, KeyDigest, Place, QueueConfig, Slot, To, UniqueClaim};
use crate::machine::groups::SavedGroups;
use crate::machine::life::{Life, clears_unreadable, count, keeps_lease};
use crate::machine::seen::Seen;
use crate::machine::settles::Settles;
use crate::machine::topics::SavedTopics;
use crate::time::WallMs;
use crate::view::Totals;

/// Everything that outlives the process of one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedJob {
    /// Its number.
    pub slot: Slot,
    /// Its id.
    pub id: JobId,
    /// Which queue it is in.
    pub queue: Arc<str>,
    /// Which handler it is for.
    pub kind: Arc<str>,
    /// Its rank.
    pub priority: Priority,
    /// How it is tried.
    pub retry: RetryRule,
    /// Whether its result is kept.
    pub keep_result: bool,
    /// Past this it is not started any more.
    pub deadline: Option<WallMs>,
    /// The unique key that is its own.
    pub unique: Option<UniqueClaim>,
    /// When a worker could not read its payload first.
    pub unreadable: Option<WallMs>,
    /// Its newest lease, as long as that counts: held, or lapsed with nobody after it.
    pub lease: Option<SavedLease>,
    /// Where it is in its life.
    pub life: Life,
}

/// A lease without its end, which belongs to a clock that does not survive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedLease {
    /// Its token.
    pub token: Token,
    /// Its length, in milliseconds.
    pub lease_ms: u32,
    /// The worker lived in the process that held the store.
    pub local: bool,
    /// Who held it.
    pub worker: Arc<str>,
}

impl SavedJob {
    /// The job that `fact` says is new. `None` for any other fact.
    #[must_use]
    pub fn enqueued(fact: &Fact<'_>) -> Option<Self> {
        let Fact::Enqueued {
            slot,
            order,
            ready,
            state,
            place,
            job,
        } = fact
        else {
            return None;
        };
        Some(Self {
            slot: *slot,
            id: job.id,
            queue: job.queue.into(),
            kind: job.kind.into(),
            priority: job.priority,
            retry: job.retry,
            keep_result: job.keep_result,
            deadline: job.deadline,
            unique: job.unique,
            unreadable: None,
            lease: None,
            life: Life::enqueued(*state, *ready, *order, *place),
        })
    }

    /// What `fact`, which is about this job, makes of it. `None` where it is forgotten.
    #[must_use]
    pub fn apply(mut self, fact: &Fact<'_>) -> Option<Self> {
        if !keeps_lease(self.life.state, fact) {
            self.lease = None;
        }
        if clears_unreadable(&self.life, fact) {
            self.unreadable = None;
        }
        self.life.apply(fact);
        match *fact {
            Fact::Deleted { .. } => return None,
            Fact::Unclaimed { .. } => self.unique = None,
            Fact::Unreadable { since, .. } => self.unreadable = Some(since),
            Fact::DeadlineLifted { .. } => self.deadline = None,
            Fact::Edited { priority, .. } => self.priority = priority,
            Fact::Leased {
                token,
                lease_ms,
                local,
                worker,
                ..
            } => {
                self.lease = Some(SavedLease {
                    token,
                    lease_ms,
                    local,
                    worker: worker.into(),
                });
            }
            _ => {}
        }
        Some(self)
    }
}

impl Fact<'_> {
    /// The job that the fact is about, where it is about one.
    #[must_use]
    pub const fn slot(&self) -> Option<Slot> {
        match self {
            Self::Enqueued { slot, .. }
            | Self::Leased { slot, .. }
            | Self::Changed { slot, .. }
            | Self::CancelAsked { slot }
            | Self::Edited { slot, .. }
            | Self::Copied { slot, .. }
            | Self::Unclaimed { slot }
            | Self::Unreadable { slot, .. }
            | Self::DeadlineLifted { slot }
            | Self::Deleted { slot } => Some(*slot),
            Self::KeyTaken { .. }
            | Self::AnswerCopied { .. }
            | Self::KeysForgotten { .. }
            | Self::SettlesForgotten { .. }
            | Self::TokensPassed { .. }
            | Self::TopicSet { .. }
            | Self::TopicDeleted { .. }
            | Self::Published { .. }
            | Self::EventSeen { .. }
            | Self::EventsForgotten { .. }
            | Self::QueueSet { .. }
            | Self::GroupSet { .. }
            | Self::GroupDeleted { .. }
            | Self::MemberJoined { .. }
            | Self::MemberLeft { .. }
            | Self::EventHeld { .. }
            | Self::EventLeased { .. }
            | Self::EventsFinished { .. }
            | Self::EventRetried { .. }
            | Self::EventEnding { .. }
            | Self::EventKept { .. }
            | Self::KeptReleased { .. }
            | Self::KeptSkipped { .. }
            | Self::KeptRedriven { .. }
            | Self::KeptForgotten { .. }
            | Self::KeptCopied { .. }
            | Self::GroupReset { .. }
            | Self::HeadMoved { .. } => None,
        }
    }
}

/// A queue's settings, and what happened in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavedQueue {
    /// Its settings.
    pub config: QueueConfig,
    /// What happened in it since the store was created.
    pub totals: Totals,
}

/// What is kept once for the whole store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavedMeta {
    /// The last token that was granted.
    pub last_token: Token,
    /// The last turn that was given.
    pub last_order: u64,
    /// Every queue, by name.
    pub queues: BTreeMap<Arc<str>, SavedQueue>,
    /// Every topic, but for its events.
    pub topics: SavedTopics,
    /// Every group.
    pub groups: SavedGroups,
    /// Up to which position the events of each topic are kept outside the journal, by the topic's
    /// number. The machine knows nothing of it.
    pub archived: BTreeMap<u32, u64>,
}

impl SavedMeta {
    /// Counts a fact; those about topics are [`SavedTopics::apply`]'s. `job_before` is the job that it is about, as it was before the fact; `None`
    /// for a fact about no job, and for [`Fact::Enqueued`]. Facts about
    /// no job come in order; all others may come job by job.
    pub fn apply(&mut self, fact: &Fact<'_>, job_before: Option<&SavedJob>) {
        match *fact {
            Fact::Enqueued { order, .. }
            | Fact::Changed {
                to: To::Available { order, .. },
                ..
            } => self.last_order = self.last_order.max(order),
            Fact::Leased { token, .. }
            | Fact::MemberJoined { token, .. }
            | Fact::TokensPassed { upto: token } => {
                self.last_token = self.last_token.max(token);
            }
            Fact::QueueSet { queue, settings } => self.queue(queue).config = settings,
            _ => {}
        }
        self.groups.apply(fact);
        if let Fact::Enqueued { job, .. } = fact {
            count(&mut self.queue(job.queue).totals, fact);
        } else if let Some(job) = job_before {
            count(&mut self.queue(&job.queue).totals, fact);
        }
    }

    fn queue(&mut self, name: &str) -> &mut SavedQueue {
        if !self.queues.contains_key(name) {
            self.queues.insert(name.into(), SavedQueue::default());
        }
        self.queues.get_mut(name).expect("it was just put in")
    }
}

/// One idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedKey {
    /// Which, and with which body.
    pub digest: KeyDigest,
    /// Where its answer is kept.
    pub answer: Place,
    /// Since when.
    pub at: WallMs,
}

impl SavedKey {
    /// The key that `fact` says is taken. `None` for any other fact.
    #[must_use]
    pub fn taken(fact: &Fact<'_>) -> Option<Self> {
        match *fact {
            Fact::KeyTaken { digest, answer, at } => Some(Self { digest, answer, at }),
            _ => None,
        }
    }
}

/// One published event that is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedSeen {
    /// Which, and where it is.
    pub seen: Seen,
    /// Since when.
    pub at: WallMs,
}

impl SavedSeen {
    /// The event that `fact` says is to be remembered. `None` for any other fact.
    #[must_use]
    pub const fn seen(fact: &Fact<'_>) -> Option<Self> {
        match *fact {
            Fact::EventSeen { seen, at } => Some(Self { seen, at }),
            _ => None,
        }
    }
}

/// What facts did to the keys that were there. A merge reads the facts once for this, and then
/// writes the old keys followed by the newly taken ones, each through [`KeyChanges::apply`], the
/// first [`KeyChanges::forgotten`] of them left out.
#[derive(Clone, Debug, Default)]
pub struct KeyChanges {
    /// How many of the oldest are forgotten.
    pub forgotten: u64,
    /// How many of the events that were remembered first are forgotten.
    pub events_forgotten: u64,
    copied: BTreeMap<([u8; 12], Place), Place>,
}

impl KeyChanges {
    /// Notes a fact, where it is about a key.
    pub fn note(&mut self, fact: &Fact<'_>) {
        match *fact {
            Fact::KeysForgotten { count } => self.forgotten += u64::from(count),
            Fact::EventsForgotten { count } => self.events_forgotten += u64::from(count),
            Fact::AnswerCopied { digest, from, to } => {
                self.copied.insert((digest.key, from), to);
            }
            _ => {}
        }
    }

    /// The key, with its answer where it is now.
    #[must_use]
    pub fn apply(&self, mut key: SavedKey) -> SavedKey {
        // At most as many steps as there were copies, so that a circle ends.
        for _ in 0..=self.copied.len() {
            match self.copied.get(&(key.digest.key, key.answer)) {
                Some(to) => key.answer = *to,
                None => break,
            }
        }
        key
    }
}

impl Settles {
    /// What `fact` makes of the memory of applied settles. Facts come in order.
    pub fn apply(&mut self, fact: &Fact<'_>) {
        match *fact {
            Fact::Changed {
                cause: crate::machine::fact::Cause::Settled { token, digest, .. },
                at,
                ..
            } => self.note(token, digest, at),
            Fact::SettlesForgotten { before } => self.forget(before),
            _ => {}
        }
    }
}

/// Everything a machine holds that outlives its process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Saved {
    /// What is kept once.
    pub meta: SavedMeta,
    /// Every job, by slot.
    pub jobs: Vec<SavedJob>,
    /// Every idempotency key, oldest first.
    pub keys: Vec<SavedKey>,
    /// Every published event that is remembered, oldest first.
    pub events: Vec<SavedSeen>,
    /// Every applied settle.
    pub settles: Settles,
}
