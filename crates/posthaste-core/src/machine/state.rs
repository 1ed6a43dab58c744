//! Everything the machine holds, and the one function through which a row changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ids::{JobId, Token};
use crate::job::{JobState, RetryRule};
use crate::limits::LANES_MAX;
use crate::machine::action::RowView;
use crate::machine::claims::Claims;
use crate::machine::fact::{Place, QueueConfig, Slot};
use crate::machine::hash::{Index, Sides, mix};
use crate::machine::keys::Keys;
use crate::machine::pool::Pool;
use crate::machine::rows::{List, Mark, NONE, Row, Rows};
use crate::machine::settles::Settles;
use crate::machine::undo::Undo;
use crate::time::{MonoMs, WallMs};
use crate::view::Totals;

const ID_SHARDS: usize = 4096;

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
    /// Where it is among its queue's lanes that are not empty.
    pos: usize,
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
}

/// The newest lease of a job. It counts until a newer one, even past its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) token: Token,
    pub(super) lease_ms: u32,
    pub(super) worker: u32,
    pub(super) local: bool,
    pub(super) end: MonoMs,
}

/// How jobs are tried, shared by all that are tried alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Profile {
    pub(super) retry: RetryRule,
    pub(super) keep_result: bool,
}

/// An index of every job: who waits, who runs, what is remembered. It holds no payload, only the
/// place of each.
#[derive(Debug)]
pub struct Machine {
    pub(super) rows: Rows,
    pub(super) ids: Index,
    pub(super) jobs: u64,
    pub(super) free: List,
    /// Completed and cancelled jobs, the one that ended first in front.
    pub(super) done: List,
    pub(super) dead: List,
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
    pub(super) last_token: u64,
    pub(super) last_order: u64,
    /// Places that came into use or fell out of it.
    pub(super) places: Vec<(Place, bool)>,
    /// Queues in which a job became claimable.
    pub(super) ready: Vec<u32>,
    pub(super) undo: Vec<Undo>,
    pub(super) recording: bool,
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
        Self {
            rows: Rows::default(),
            ids: Index::new(ID_SHARDS),
            jobs: 0,
            free: List::EMPTY,
            done: List::EMPTY,
            dead: List::EMPTY,
            queues: Vec::new(),
            queue_ids: BTreeMap::new(),
            kinds: Pool::new(),
            workers: Pool::new(),
            profiles: Pool::new(),
            lane_ids: Pool::new(),
            lanes: Vec::new(),
            last_lane: NONE,
            last_profile: NONE,
            due: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            ends: BTreeSet::new(),
            deadline_of: Sides::new(),
            lease_of: Sides::new(),
            unreadable_since: Sides::new(),
            claims: Claims::new(),
            keys: Keys::new(),
            settles: Settles::default(),
            last_token: 0,
            last_order: 0,
            places: Vec::new(),
            ready: Vec::new(),
            undo: Vec::new(),
            recording: false,
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
        self.ids
            .find(mix(id.to_bytes()), |slot| self.rows.get(slot).id == id)
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
            cancelling: life.cancelling,
            place: life.place,
            note: life.note,
            token: lease.map(|lease| lease.token),
            worker: lease
                .filter(|_| running)
                .map(|lease| &**self.workers.get(lease.worker)),
        })
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

    /// The only way in which a row changes: unlinks the old, counts, links the new. `spot` is
    /// between which neighbours it goes; `None` leaves that to the rule of its list.
    pub(super) fn exchange(&mut self, slot: u32, mut new: Row, spot: Option<(u32, u32)>) {
        let old = *self.rows.get(slot);
        if self.recording {
            self.undo.push(Undo::Row { slot, old });
        }
        if old.stays(&new) {
            self.account(&old, &new);
            (new.prev, new.next, new.extra) = (old.prev, old.next, old.extra);
            *self.rows.get_mut(slot) = new;
            return;
        }
        self.unlink(slot, &old);
        self.account(&old, &new);
        (new.prev, new.next, new.extra) = (NONE, NONE, old.extra);
        *self.rows.get_mut(slot) = new;
        if old.is_free() != new.is_free() {
            self.index(slot, &old, &new);
        }
        self.link(slot, &new, spot);
    }

    fn index(&mut self, slot: u32, old: &Row, new: &Row) {
        let Self { ids, rows, .. } = self;
        if new.is_free() {
            self.jobs -= 1;
            ids.remove(mix(old.id.to_bytes()), slot);
        } else {
            self.jobs += 1;
            let hash_of = |slot: u32| mix(rows.get(slot).id.to_bytes());
            ids.put(mix(new.id.to_bytes()), slot, |_| false, hash_of);
        }
    }

    fn account(&mut self, old: &Row, new: &Row) {
        if old.lane != new.lane {
            self.hold_lane(new.lane);
            self.release_lane(old.lane);
        }
        if old.profile != new.profile {
            if new.profile != NONE {
                self.profiles.hold(new.profile);
            }
            if old.profile != NONE {
                self.profiles.release(old.profile);
            }
        }
        if let Some(state) = old.state() {
            self.held_of(old.lane)[state as usize] -= 1;
        }
        if let Some(state) = new.state() {
            self.held_of(new.lane)[state as usize] += 1;
        }
        self.account_place(old.place(), new.place());
        self.account_place(old.note(), new.note());
    }

    fn held_of(&mut self, lane: u32) -> &mut [u64; 7] {
        let queue = self.lane_ids.get(lane).queue;
        &mut self.queues[queue as usize].held
    }

    pub(super) fn account_place(&mut self, old: Place, new: Place) {
        if old != new {
            if new.is_some() {
                self.places.push((new, true));
            }
            if old.is_some() {
                self.places.push((old, false));
            }
        }
    }

    fn hold_lane(&mut self, lane: u32) {
        if lane != NONE && self.lane_ids.hold(lane) {
            let kind = self.lane_ids.get(lane).kind;
            self.kinds.hold(kind);
        }
    }

    fn release_lane(&mut self, lane: u32) {
        if lane != NONE && self.lane_ids.release(lane) {
            let kind = self.lane_ids.get(lane).kind;
            self.kinds.release(kind);
        }
    }

    fn unlink(&mut self, slot: u32, row: &Row) {
        let Some(state) = row.state() else {
            self.free.remove(&mut self.rows, slot);
            return;
        };
        if self.loading {
            return;
        }
        match state {
            JobState::Available => self.leave_lane(slot, row.lane),
            JobState::Scheduled | JobState::Retryable => {
                self.due.remove(&(row.at(), slot));
            }
            JobState::Running => {
                if let Some(held) = self.lease_of.get(slot) {
                    self.ends.remove(&(held.end, slot));
                }
                self.slot_freed(row.lane);
            }
            JobState::Completed | JobState::Cancelled => self.done.remove(&mut self.rows, slot),
            JobState::Dead => self.dead.remove(&mut self.rows, slot),
        }
        if state.is_waiting() && row.has(Mark::Deadline) {
            if let Some(deadline) = self.deadline_of.get(slot) {
                self.deadlines.remove(&(*deadline, slot));
            }
        }
    }

    pub(super) fn link(&mut self, slot: u32, row: &Row, spot: Option<(u32, u32)>) {
        let Some(state) = row.state() else {
            let (prev, next) = spot.unwrap_or((NONE, self.free.head));
            self.free.insert(&mut self.rows, slot, prev, next);
            return;
        };
        if self.loading {
            return;
        }
        match state {
            JobState::Available => self.join_lane(slot, row, spot),
            JobState::Scheduled | JobState::Retryable => {
                self.due.insert((row.at(), slot));
            }
            JobState::Running => {
                if let Some(held) = self.lease_of.get(slot) {
                    self.ends.insert((held.end, slot));
                }
            }
            JobState::Completed | JobState::Cancelled => {
                let (prev, next) = spot.unwrap_or((self.done.tail, NONE));
                self.done.insert(&mut self.rows, slot, prev, next);
            }
            JobState::Dead => {
                let (prev, next) = spot.unwrap_or((self.dead.tail, NONE));
                self.dead.insert(&mut self.rows, slot, prev, next);
            }
        }
        if state.is_waiting() && row.has(Mark::Deadline) {
            if let Some(deadline) = self.deadline_of.get(slot) {
                self.deadlines.insert((*deadline, slot));
            }
        }
    }

    fn join_lane(&mut self, slot: u32, row: &Row, spot: Option<(u32, u32)>) {
        let list = self.lanes[row.lane as usize].list;
        let (prev, next) = spot.unwrap_or_else(|| self.turn(&list, row.order()));
        let lane = &mut self.lanes[row.lane as usize];
        lane.list.insert(&mut self.rows, slot, prev, next);
        let queue = self.lane_ids.get(row.lane).queue;
        if lane.list.len == 1 {
            let lanes = &mut self.queues[queue as usize].lanes;
            lane.pos = lanes.len();
            lanes.push(row.lane);
        }
        self.mark(queue);
    }

    /// Between whom a job with this order waits. Nearly all go to the end; one that was given back
    /// goes near the front, from where it came.
    fn turn(&self, list: &List, order: u64) -> (u32, u32) {
        if list.tail == NONE || self.rows.get(list.tail).order() <= order {
            return (list.tail, NONE);
        }
        let mut next = list.head;
        while self.rows.get(next).order() <= order {
            next = self.rows.get(next).next;
        }
        (self.rows.get(next).prev, next)
    }

    fn leave_lane(&mut self, slot: u32, lane: u32) {
        let of = &mut self.lanes[lane as usize];
        of.list.remove(&mut self.rows, slot);
        if of.list.len == 0 {
            let pos = of.pos;
            let queue = self.lane_ids.get(lane).queue;
            let lanes = &mut self.queues[queue as usize].lanes;
            lanes.swap_remove(pos);
            if let Some(moved) = lanes.get(pos) {
                self.lanes[*moved as usize].pos = pos;
            }
        }
    }

    /// A running job of the lane's queue no longer runs: where the queue was full, others may.
    fn slot_freed(&mut self, lane: u32) {
        let id = self.lane_ids.get(lane).queue;
        let queue = &self.queues[id as usize];
        if queue.config.concurrency > 0 && !queue.lanes.is_empty() {
            self.mark(id);
        }
    }

    pub(super) fn mark(&mut self, id: u32) {
        let queue = &mut self.queues[id as usize];
        if !queue.marked {
            queue.marked = true;
            self.ready.push(id);
        }
    }

    pub(super) fn queue_id(&self, name: &str) -> Option<u32> {
        self.queue_ids.get(name).copied()
    }

    /// The queue of this name; a new one where there is none.
    pub(super) fn queue_made(&mut self, name: &str) -> u32 {
        if let Some(id) = self.queue_id(name) {
            return id;
        }
        let name: Arc<str> = Arc::from(name);
        let id = u32::try_from(self.queues.len()).expect("limits keep queues below 2^32");
        self.queue_ids.insert(name.clone(), id);
        let queue = Queue {
            name,
            config: QueueConfig::default(),
            totals: Totals::default(),
            held: [0; 7],
            lanes: Vec::new(),
            marked: false,
        };
        self.queues.push(queue);
        if self.recording {
            self.undo.push(Undo::QueueMade);
        }
        id
    }

    /// Whether the names of a lane are those, by the lane that was looked up last.
    fn is_last(&self, queue: &str, kind: &str, priority: u8) -> bool {
        if self.last_lane == NONE {
            return false;
        }
        let key = self.lane_ids.get(self.last_lane);
        key.priority == priority
            && *self.queues[key.queue as usize].name == *queue
            && **self.kinds.get(key.kind) == *kind
    }

    /// The lane of these; a new one where there is none.
    pub(super) fn lane_made(&mut self, queue: &str, kind: &str, priority: u8) -> u32 {
        if self.is_last(queue, kind, priority) {
            return self.last_lane;
        }
        let queue = self.queue_made(queue);
        let kind = match self.kinds.find(kind) {
            Some(id) => id,
            None => self.kinds.make(Arc::from(kind)),
        };
        self.last_lane = self.lane_of(LaneKey {
            queue,
            kind,
            priority,
        });
        self.last_lane
    }

    pub(super) fn lane_of(&mut self, key: LaneKey) -> u32 {
        let id = match self.lane_ids.find(&key) {
            Some(id) => id,
            None => self.lane_ids.make(key),
        };
        if id as usize == self.lanes.len() {
            let list = List::EMPTY;
            self.lanes.push(Lane { list, pos: 0 });
        }
        id
    }

    /// Whether a job may be put in that lane without too many of them.
    pub(super) fn lane_fits(&self, queue: &str, kind: &str, priority: u8) -> bool {
        self.lane_ids.held() < LANES_MAX || {
            let known = |queue, kind| {
                let key = LaneKey {
                    queue,
                    kind,
                    priority,
                };
                let id = self.lane_ids.find(&key)?;
                Some(self.lane_ids.is_held(id))
            };
            let found = self.queue_id(queue).zip(self.kinds.find(kind));
            found.and_then(|(q, k)| known(q, k)).unwrap_or(false)
        }
    }

    pub(super) fn profile_made(&mut self, profile: Profile) -> u32 {
        let last = self.last_profile;
        if last == NONE || *self.profiles.get(last) != profile {
            self.last_profile = match self.profiles.find(&profile) {
                Some(id) => id,
                None => self.profiles.make(profile),
            };
        }
        self.last_profile
    }
}

pub(super) fn priority(value: u8) -> crate::job::Priority {
    crate::job::Priority::new(value).unwrap_or_default()
}
