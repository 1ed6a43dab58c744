//! Everything the machine holds, and the one function through which a row changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ids::{JobId, Token};
use crate::job::{JobState, RetryRule};
use crate::limits;
use crate::machine::action::RowView;
use crate::machine::claims::Claims;
use crate::machine::ended::Ended;
use crate::machine::fact::{Place, QueueConfig, Slot};
use crate::machine::groups::Groups;
use crate::machine::hash::Sides;
use crate::machine::ids::Ids;
use crate::machine::keys::Keys;
use crate::machine::pace::{Pace, Sample};
use crate::machine::pool::Pool;
use crate::machine::rows::{List, Mark, NONE, Row, Rows};
use crate::machine::seen::Events;
use crate::machine::settles::Settles;
use crate::machine::topics::{SavedTopics, TopicChange};
use crate::machine::undo::Undo;
use crate::time::{MonoMs, WallMs};
use crate::view::Totals;

/// A lane: the ready jobs of one queue, kind and priority, first in, first out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct LaneKey {
    pub(super) queue: u32,
    pub(super) kind: u32,
    pub(super) priority: u8,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Lane {
    pub(super) list: List,
    /// How many of its jobs are in `Machine::returned`.
    pub(super) returned: u32,
    /// Where it is among its queue's lanes that are not empty.
    pub(super) pos: usize,
}

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) name: Arc<str>,
    pub(super) config: QueueConfig,
    pub(super) totals: Totals,
    pub(super) held: [u64; 7],
    /// Its lanes that are not empty, in no order.
    pub(super) lanes: Vec<u32>,
    /// It is in `Machine::ready`.
    pub(super) marked: bool,
    pub(super) pace: Pace,
}

/// The newest lease of a job. It counts until a newer one, even past its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) token: Token,
    pub(super) lease_ms: u32,
    pub(super) worker: u32,
    pub(super) local: bool,
    /// When it began, by [`stamp`](crate::machine::pace::stamp).
    pub(super) since: u32,
    pub(super) end: MonoMs,
}

/// How jobs are tried, shared by all that are tried alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Profile {
    pub(super) retry: RetryRule,
    pub(super) keep_result: bool,
}

/// How much a machine may hold. The defaults are those of [`limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Most jobs, in every state together. More: [`Refusal::JobsFull`](super::Refusal::JobsFull).
    pub jobs: u64,
    /// Most idempotency keys. More: [`Refusal::KeysFull`](super::Refusal::KeysFull).
    pub keys: u64,
    /// Most queues. More: [`Refusal::NamesFull`](super::Refusal::NamesFull).
    pub queues: usize,
    /// Most lanes. More: [`Refusal::NamesFull`](super::Refusal::NamesFull).
    pub lanes: usize,
    /// Most leases held at once. Beyond, nothing is handed out.
    pub leases: usize,
    /// Most topics. More: [`Refusal::TopicsFull`](super::Refusal::TopicsFull).
    pub topics: usize,
    /// Most published events that are remembered by their ids. Beyond, the oldest are forgotten.
    pub events: u64,
    /// Most groups. More: [`Refusal::GroupsFull`](super::Refusal::GroupsFull).
    pub groups: usize,
    /// Most members of a group. More: [`Refusal::MembersFull`](super::Refusal::MembersFull).
    pub members: usize,
    /// Most unfinished events of a group. Beyond, no further ones are looked at.
    pub unfinished: usize,
    /// Most upcoming events of a group in memory.
    pub ahead: usize,
    /// Most dead letters of a group. Beyond, those that have been there longest are forgotten.
    pub dead_letters: usize,
    /// Whether publishing makes a topic that isn't there.
    pub create_topics: bool,
    /// How long completed and cancelled jobs are kept, and how many.
    pub done: Kept,
    /// How long dead jobs are kept, and how many.
    pub dead: Kept,
}

/// How long what has ended is kept, and how much of it: whichever is less. What ended first is
/// forgotten first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// For how long, in milliseconds.
    pub ms: u64,
    /// Most of them.
    pub most: u32,
}

impl Kept {
    /// Completed and cancelled jobs where nothing else is said: 24 hours, the newest 100,000.
    pub const COMPLETED: Self = Self {
        ms: limits::COMPLETED_KEPT_MS,
        most: limits::COMPLETED_KEPT_MAX,
    };
    /// Dead jobs where nothing else is said: 90 days, the newest million.
    pub const DEAD: Self = Self {
        ms: limits::DEAD_KEPT_MS,
        most: limits::DEAD_KEPT_MAX,
    };
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            jobs: limits::JOBS_MAX as u64,
            keys: limits::KEYS_MAX as u64,
            queues: limits::QUEUES_MAX,
            lanes: limits::LANES_MAX,
            leases: limits::LEASES_MAX,
            topics: limits::TOPICS_MAX,
            events: limits::EVENT_MEMORY_MAX,
            groups: limits::GROUPS_MAX,
            members: limits::MEMBERS_MAX,
            unfinished: limits::UNFINISHED_MAX,
            ahead: limits::EVENTS_AHEAD_MAX,
            dead_letters: limits::DEAD_LETTERS_MAX,
            create_topics: true,
            done: Kept::COMPLETED,
            dead: Kept::DEAD,
        }
    }
}

/// An index of every job: who waits, who runs, what is remembered. It holds no payload, only the
/// place of each.
#[derive(Debug)]
pub struct Machine {
    pub(super) bounds: Bounds,
    pub(super) rows: Rows,
    pub(super) ids: Ids,
    pub(super) jobs: u64,
    pub(super) free: List,
    /// Completed and cancelled jobs.
    pub(super) done: Ended,
    pub(super) dead: Ended,
    pub(super) queues: Vec<Queue>,
    pub(super) queue_ids: BTreeMap<Arc<str>, u32>,
    pub(super) kinds: Pool<Arc<str>>,
    pub(super) workers: Pool<Arc<str>>,
    pub(super) profiles: Pool<Profile>,
    pub(super) lane_ids: Pool<LaneKey>,
    pub(super) lanes: Vec<Lane>,
    /// The lane and the profile that were looked up last.
    pub(super) last_lane: u32,
    pub(super) last_profile: u32,
    /// Ready jobs by lane and order that are not in their lane's list.
    pub(super) returned: BTreeSet<(u32, u64, u32)>,
    pub(super) due: BTreeSet<(WallMs, u32)>,
    pub(super) deadlines: BTreeSet<(WallMs, u32)>,
    /// When leases end. Outside the replayed state.
    pub(super) ends: BTreeSet<(MonoMs, u32)>,
    pub(super) deadline_of: Sides<WallMs>,
    pub(super) lease_of: Sides<Held>,
    pub(super) unreadable_since: Sides<WallMs>,
    pub(super) claims: Claims,
    pub(super) keys: Keys,
    pub(super) settles: Settles,
    pub(super) topics: SavedTopics,
    pub(super) topic_ids: BTreeMap<Arc<str>, u32>,
    /// Published events that may come again.
    pub(super) events: Events,
    /// What became of topics.
    pub(super) topic_changes: Vec<TopicChange>,
    pub(super) groups: Groups,
    pub(super) last_token: u64,
    pub(super) last_order: u64,
    /// Places that came into use or fell out of it.
    pub(super) places: Vec<(Place, bool)>,
    /// Queues in which a job became claimable.
    pub(super) ready: Vec<u32>,
    pub(super) undo: Vec<Undo>,
    pub(super) recording: bool,
    /// What was measured in a commit that may yet be taken back, by queue.
    pub(super) samples: Vec<(usize, Sample)>,
    /// Something was decided: what is made so is no longer what an earlier process decided.
    pub(super) decides: bool,
    /// The queue whose totals were recorded last.
    pub(super) recorded: u32,
    /// Rows are being loaded: lanes and lists are linked afterwards.
    pub(super) loading: bool,
    /// Where a walk over the rows goes on.
    pub(super) walk: u32,
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Machine {
    /// A machine that holds nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::with_bounds(Bounds::default())
    }

    /// Has it hold no more than that from now on. What is over goes with the next ticks.
    pub fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// A machine that holds nothing, and may hold no more than that.
    #[must_use]
    pub fn with_bounds(bounds: Bounds) -> Self {
        Self {
            bounds,
            rows: Rows::default(),
            ids: Ids::new(),
            jobs: 0,
            free: List::EMPTY,
            done: Ended::new(),
            dead: Ended::new(),
            queues: Vec::new(),
            queue_ids: BTreeMap::new(),
            kinds: Pool::new(),
            workers: Pool::new(),
            profiles: Pool::new(),
            lane_ids: Pool::new(),
            lanes: Vec::new(),
            last_lane: NONE,
            last_profile: NONE,
            returned: BTreeSet::new(),
            due: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            ends: BTreeSet::new(),
            deadline_of: Sides::new(),
            lease_of: Sides::new(),
            unreadable_since: Sides::new(),
            claims: Claims::new(),
            keys: Keys::none(),
            settles: Settles::default(),
            topics: SavedTopics::default(),
            topic_ids: BTreeMap::new(),
            events: Events::none(),
            topic_changes: Vec::new(),
            groups: Groups::default(),
            last_token: 0,
            last_order: 0,
            places: Vec::new(),
            ready: Vec::new(),
            undo: Vec::new(),
            recording: false,
            samples: Vec::new(),
            decides: false,
            recorded: NONE,
            loading: false,
            walk: 0,
        }
    }

    /// The number of the job with this id.
    #[must_use]
    pub fn find(&self, id: JobId) -> Option<Slot> {
        self.slot_of(id).map(Slot)
    }

    pub(super) fn slot_of(&self, id: JobId) -> Option<u32> {
        self.ids.find(id, |slot| self.rows.get(slot).id)
    }

    /// What is known of one job. `None` where nobody has this number.
    #[must_use]
    pub fn view(&self, slot: Slot) -> Option<RowView<'_>> {
        let row = self.rows.job(slot.0)?;
        let (life, lane) = (row.life(), self.lane_ids.get(row.lane));
        let lease = self.lease_of.get(slot.0);
        let running = row.is(JobState::Running);
        Some(RowView {
            slot,
            id: row.id,
            queue: &self.queues[lane.queue as usize].name,
            kind: self.kinds.get(lane.kind),
            state: life.state,
            reason: life.reason,
            priority: priority(lane.priority),
            attempt: life.attempt.saturating_add(u16::from(running)),
            crashes: life.crashes,
            at: life.at,
            deadline: self.deadline(slot.0, row),
            cancelling: life.cancelling,
            place: life.place,
            note: life.note,
            token: lease.map(|lease| lease.token),
            worker: lease
                .filter(|_| running)
                .map(|lease| &**self.workers.get(lease.worker)),
        })
    }

    /// The deadline of the job whose row this is.
    pub(super) fn deadline(&self, slot: u32, row: &Row) -> Option<WallMs> {
        let marked = row.has(Mark::Deadline);
        marked.then(|| self.deadline_of.get(slot).copied())?
    }

    /// The number of the job with this id, where its body or its note is kept at `place`.
    #[must_use]
    pub fn holds(&self, id: JobId, place: Place) -> Option<Slot> {
        let slot = self.slot_of(id)?;
        let row = self.rows.get(slot);
        (place.is_some() && (row.place() == place || row.note() == place)).then_some(Slot(slot))
    }

    /// How a job is tried, and whether its result is kept.
    #[must_use]
    pub fn retry_rule(&self, slot: Slot) -> Option<(RetryRule, bool)> {
        let row = self.rows.job(slot.0)?;
        let profile = self.profiles.get(row.profile);
        Some((profile.retry, profile.keep_result))
    }

    /// Jobs held, in all states together.
    #[must_use]
    pub fn jobs_held(&self) -> u64 {
        self.jobs
    }

    /// Leases that are held.
    #[must_use]
    pub fn live_leases(&self) -> usize {
        self.ends.len()
    }

    /// Idempotency keys that are remembered.
    #[must_use]
    pub fn keys_held(&self) -> u64 {
        self.keys.len()
    }

    /// The last token that was granted.
    #[must_use]
    pub fn last_token(&self) -> Token {
        Token(self.last_token)
    }

    /// Tells which places came into use (true) or fell out of it since the last call, in order.
    /// A place may be in use twice: as a job's body, and as the answer of an idempotency key.
    pub fn drain_places(&mut self, into: &mut Vec<(Place, bool)>) {
        into.append(&mut self.places);
    }

    /// Tells in which queues a job became claimable since the last call.
    pub fn drain_ready(&mut self, mut f: impl FnMut(&str)) {
        for queue in self.ready.drain(..) {
            let queue = &mut self.queues[queue as usize];
            queue.marked = false;
            f(&queue.name);
        }
    }
}

pub(super) fn priority(value: u8) -> crate::job::Priority {
    crate::job::Priority::new(value).unwrap_or_default()
}
