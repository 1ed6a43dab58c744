//! The sequencer: the one thread that decides.
//!
//! It takes whatever was asked, decides each on the machine, puts the facts into the journal's
//! open group, and has the group written. It reads no payload and waits for no disk but to sync a
//! small group itself.

mod commit;
mod groups;
mod serve;
mod topics;

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use posthaste_core::machine::{Action, KeyLookup, Machine, Moment, Place};
use posthaste_core::view::Health;
use posthaste_core::{Error, ErrorKind, Now, Token, limits};

use crate::commits::{Held, Shared};
use crate::effect::{self, Effect, Page};
use crate::format::body::Owner;
use crate::format::facts::FACT_BYTES_MAX;
use crate::inbox::{Ask, Reply, closed};
use crate::live::Live;
use crate::members::{Members, Passers};
use crate::progress::Progress;
use crate::waiting::{Waiters, Watchers};

/// Bytes pending up to which the sequencer writes and syncs itself instead of handing over.
const INLINE_BYTES_MAX: usize = 64 * 1024;
/// Bytes pending from which on it waits for the syncer before it decides more.
const PENDING_BYTES_MAX: usize = 24 * 1024 * 1024;
/// Facts that time makes true, in one turn.
const TICK_FACTS_MAX: usize = 256;
/// Jobs that a lease may find expired on its way.
const LEASE_EXPIRED_MAX: usize = 64;
/// Bytes of the facts that handing out one job may lead to, the worker's name included.
const LEASE_FACT_BYTES: usize = 3 * FACT_BYTES_MAX + limits::NAME_BYTES_MAX;
/// Longest sleep.
const SLEEP_MS_MAX: u64 = 60_000;

/// The sequencer's own.
pub(crate) struct Sequencer {
    shared: Arc<Shared>,
    machine: Machine,
    live: Arc<std::sync::Mutex<Live>>,
    entropy: u64,
    waiters: Waiters,
    watchers: Watchers,
    progress: Progress,
    /// Members who wait for events.
    members: Members,
    /// Members who wait and were not told their token.
    joined: BTreeSet<Token>,
    /// Who waits for a group to have passed something.
    passers: Passers,
    places: Vec<(Place, bool)>,
    health: HealthOf,
    /// The segment for which the disk was asked last whether new work leaves the reserve.
    segment_asked: u64,
    close: Option<Reply<()>>,
}

/// What of the store's health the sequencer does not know itself.
pub(crate) type HealthOf = Box<dyn Fn(&Shared) -> Health + Send>;

impl Sequencer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        machine: Machine,
        live: Arc<std::sync::Mutex<Live>>,
        entropy: u64,
        health: HealthOf,
    ) -> Self {
        Self {
            shared,
            machine,
            live,
            entropy,
            waiters: Waiters::default(),
            watchers: Watchers::default(),
            progress: Progress::default(),
            members: Members::default(),
            joined: BTreeSet::new(),
            passers: Passers::default(),
            places: Vec::new(),
            health,
            segment_asked: 0,
            close: None,
        }
    }

    /// Ends the leases of workers that lived in the process which held the store before: a crash
    /// of theirs, unless the store was closed in order. Where it was not, tokens may be with
    /// workers whose leases a power cut took: none of them is given out again.
    pub(crate) fn after_opening(&mut self, clean: bool) {
        let shared = Arc::clone(&self.shared);
        let mut held = shared.hold();
        if !clean {
            let mut facts = Vec::new();
            self.machine.pass_tokens(&mut facts);
            if self.make_room(&mut held, FACT_BYTES_MAX).is_ok() {
                // Waited for: no lease is let out before it is durable.
                self.became_true(&mut held, &facts, true);
            }
        }
        loop {
            if self
                .make_room(&mut held, TICK_FACTS_MAX * FACT_BYTES_MAX)
                .is_err()
            {
                return; // the disk is full: they lapse by themselves
            }
            let moment = self.moment();
            let mut facts = Vec::new();
            let more = self
                .machine
                .lapse_local(clean, moment, TICK_FACTS_MAX, &mut facts);
            self.became_true(&mut held, &facts, false);
            if !more {
                return;
            }
        }
    }

    /// Decides until the store is closed. A panic poisons the store rather than leave it half
    /// decided.
    pub(crate) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let ended = std::panic::catch_unwind(AssertUnwindSafe(|| self.turns()));
        if ended.is_err() {
            let told = Error::new(
                ErrorKind::Uncertain,
                "the store's sequencer stopped on a broken invariant",
            )
            .next("open the store again; what it had acknowledged is on disk");
            drop(shared.give_up(Vec::new(), &told));
        }
        // Whoever still waits in line is told by the end of its channel.
        drop(shared.inbox.close());
        shared.stop();
    }

    fn turns(&mut self) {
        let mut asks = Vec::new();
        loop {
            let patience = self.patience_ms(&asks);
            self.shared
                .inbox
                .take(&mut asks, Duration::from_millis(patience));
            let shared = Arc::clone(&self.shared);
            let mut held = shared.hold();
            // What time made true comes before what was asked after that time.
            self.tick(&mut held);
            for ask in asks.drain(..) {
                held = self.with_room(&shared, held);
                if self.keeps_what_is_kept(&ask) {
                    held = shared.wait_idle(held);
                }
                self.answer(&mut held, ask);
            }
            self.tick(&mut held);
            self.serve(&mut held);
            self.note_places();
            self.flush(&shared, held);
            if self.close.is_some() {
                return self.finish(&shared);
            }
        }
    }

    fn patience_ms(&self, asks: &[Ask]) -> u64 {
        debug_assert!(
            asks.is_empty(),
            "what was asked is answered before the next turn"
        );
        let now = self.shared.clock.now();
        let machine = self.machine.next_wake_ms(now.wall, now.mono);
        let waiting = self
            .waiters
            .next_end_ms(now.mono)
            .into_iter()
            .chain(self.watchers.next_end_ms(now.mono))
            .chain(self.members.next_end_ms(now.mono))
            .chain(self.passers.next_end_ms(now.mono))
            .chain(self.shared.topics.next_end_ms(now.mono));
        let sync = self.shared.sync_due_ms(&self.shared.hold());
        machine
            .into_iter()
            .chain(waiting)
            .chain(sync)
            .min()
            .unwrap_or(SLEEP_MS_MAX)
            .min(SLEEP_MS_MAX)
    }

    /// Waits for the syncer where too much is pending.
    fn with_room<'a>(&mut self, shared: &'a Shared, mut held: Held<'a>) -> Held<'a> {
        let full = |held: &Held<'_>| {
            held.journal
                .as_ref()
                .is_some_and(|journal| journal.pending_bytes() > PENDING_BYTES_MAX)
        };
        if full(&held) {
            shared.hand_over(held);
            held = shared.hold();
            while full(&held) && held.poisoned.is_none() {
                held = shared.wait_turn(held);
            }
        }
        held
    }

    fn moment(&mut self) -> Moment {
        let now = self.shared.clock.now();
        self.moment_at(now)
    }

    fn moment_at(&mut self, now: Now) -> Moment {
        // SplitMix64 (Steele, Lea and Flood 2014): one step a decision.
        self.entropy = self.entropy.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.entropy ^ (self.entropy >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        Moment {
            wall: now.wall,
            mono: now.mono,
            entropy: mixed ^ (mixed >> 31),
        }
    }

    fn answer(&mut self, held: &mut Held<'_>, ask: Ask) {
        if let Some(poisoned) = held.poisoned.clone() {
            return match ask {
                Ask::Close(reply) => self.close = Some(reply),
                ask => refuse(ask, &poisoned),
            };
        }
        match ask {
            Ask::Commit(commits, reply) => self.commit_all(held, commits, reply),
            Ask::Lease(ask, reply) => {
                let now = self.shared.clock.now().mono;
                if let Some(reply) = self.lease(held, &ask, reply) {
                    self.waiters.add(ask, reply, now);
                }
            }
            Ask::Tail(ask, reply) => self.tail(held, ask, reply),
            Ask::Job(id, reply) => {
                let row = self
                    .machine
                    .find(id)
                    .and_then(|slot| self.row(slot))
                    .map(Box::new);
                self.let_out(held, Effect::Looked(reply, row));
            }
            Ask::Jobs(filter, cursor, max, reply) => {
                let mut slots = Vec::new();
                let max = max.clamp(1, limits::PAGE_MAX);
                let next = self.machine.page(&filter, cursor, max, &mut slots);
                let (rows, cut) = self.rows_within(&slots);
                let next = cut.map_or(next, |slot| Some(Machine::cursor_before(&filter, slot)));
                self.let_out(held, Effect::Listed(reply, rows, next));
            }
            Ask::Queues(reply) => {
                let queues = self.machine.queues(self.shared.clock.now().mono);
                self.let_out(held, Effect::Queues(reply, queues));
            }
            Ask::Health(reply) => {
                let health = (self.health)(&self.shared);
                self.let_out(held, Effect::Health(reply, Box::new(health)));
            }
            Ask::LeaseEvents(mut ask, reply) => {
                let now = self.shared.clock.now().mono;
                if let Some(reply) = self.lease_events(held, &mut ask, reply) {
                    let (topic, group) = (ask.topic.as_str(), ask.group.as_str());
                    if let Some((group, _)) = self.machine.group(topic, group) {
                        self.members.add(group, ask, reply, now);
                    }
                }
            }
            Ask::TailGroup(ask, reply) => self.tail_group(held, &ask, reply),
            Ask::Groups(reply) => {
                let views = self.machine.group_views(self.shared.topics.epoch());
                self.let_out(held, Effect::Groups(reply, views));
            }
            Ask::KeptPage(ask, reply) => self.kept_page(held, &ask, reply),
            Ask::Untaken {
                group,
                token,
                joined,
                positions,
            } => self.release_events(held, group, token, joined, &positions),
            Ask::Fed { group, from, fed } => {
                self.machine
                    .feed(group, from, &fed.events, fed.next, fed.lost);
            }
            Ask::Kept(copying) => self.keep_copy(held, copying),
            Ask::Unclaimed(leases) => self.release_unclaimed(held, &leases),
            Ask::Unread { id, token, told } => {
                self.shared.stats.problem(told);
                self.release_unread(held, id, token);
            }
            Ask::Damaged { slot, place, told } => {
                self.shared.stats.problem(told);
                let moment = self.moment();
                self.decide(held, &[Action::Condemn { slot, place }], moment, true);
            }
            Ask::Copy(copied, reply) => self.copy(held, copied, reply),
            Ask::Seal(reply) => {
                let now = self.shared.clock.now().wall.0;
                let journal = held.journal.as_mut();
                if journal.is_some_and(|journal| journal.seal(now).unwrap_or(false)) {
                    self.let_out(held, Effect::Copied(reply));
                }
            }
            Ask::Needed(records, reply) => {
                let now = self.shared.clock.now().wall;
                let needed = records.iter().map(|(owner, place)| match owner {
                    Owner::Job(id) => self.machine.holds(*id, *place).is_some(),
                    Owner::Key(digest) => matches!(self.machine.key(*digest, now), KeyLookup::Taken(at) if at == *place),
                    Owner::Event { .. } | Owner::Error { .. } => self.is_kept(*owner, *place),
                });
                let _gone = reply.send(needed.collect());
            }
            Ask::Close(reply) => self.close = Some(reply),
        }
    }

    fn let_out(&mut self, held: &mut Held<'_>, effect: Effect) {
        match held.journal.as_mut() {
            Some(journal) => journal.push_effect(effect),
            // In memory a place may be another's by the time that a reader would look.
            None => {
                let receipt = crate::journal::Receipt::in_memory(vec![effect]);
                let Shared { bodies, inbox, .. } = &*self.shared;
                receipt
                    .effects()
                    .into_iter()
                    .for_each(|effect| effect::read_and_release(effect, bodies, inbox));
            }
        }
    }

    fn note_places(&mut self) {
        self.machine.drain_places(&mut self.places);
        if self.places.is_empty() {
            return;
        }
        if !self.shared.bodies.note(&mut self.places) {
            self.live
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .note(&mut self.places);
        }
    }

    /// Has what is pending written: by this thread where it is little and nobody else is at it.
    fn flush(&mut self, shared: &Shared, held: Held<'_>) {
        let Some(journal) = held.journal.as_ref() else {
            return;
        };
        let due = shared.sync_due_ms(&held) == Some(0);
        if (journal.is_empty() && !due) || Shared::is_handed(&held) {
            return;
        }
        if journal.pending_bytes() > INLINE_BYTES_MAX {
            return shared.hand_over(held);
        }
        // One write goes to one segment: where the journal rolled there are two.
        let mut held = shared.write(held, due);
        while held
            .journal
            .as_ref()
            .is_some_and(|journal| !journal.is_empty())
            && held.poisoned.is_none()
        {
            held = shared.write(held, false);
        }
    }

    /// Nobody who waits will be served any more.
    fn dismiss(&mut self, why: &Error) {
        for reply in self.waiters.all() {
            effect::tell(reply, Err(why.clone()));
        }
        for reply in self.watchers.all() {
            effect::tell(reply, Err(why.clone()));
        }
        for reply in self.members.all() {
            effect::tell(reply, Err(why.clone()));
        }
        for reply in self.passers.all() {
            effect::tell(reply, Err(why.clone()));
        }
        self.shared.topics.close(why);
    }

    /// Makes everything durable, and ends.
    fn finish(&mut self, shared: &Shared) {
        let left = shared.inbox.close();
        let mut held = shared.wait_idle(shared.hold());
        while held
            .journal
            .as_ref()
            .is_some_and(|journal| !journal.is_empty())
            && held.poisoned.is_none()
        {
            held = shared.wait_idle(shared.write(held, true));
        }
        held = shared.wait_idle(shared.write(held, true));
        let outcome = held.poisoned.clone().map_or(Ok(()), Err);
        drop(held);
        left.into_iter().for_each(|ask| refuse(ask, &closed()));
        self.dismiss(&closed());
        if let Some(reply) = self.close.take() {
            effect::tell(reply, outcome);
        }
    }
}

/// Answers a question with an error.
fn refuse(ask: Ask, error: &Error) {
    let error = error.clone();
    match ask {
        Ask::Commit(_, reply) => effect::tell(reply, Err(error)),
        Ask::Lease(_, reply) => effect::tell(reply, Err(error)),
        Ask::Tail(_, reply) => effect::tell(reply, Err(error)),
        Ask::Job(_, reply) => effect::tell(reply, Err(error)),
        Ask::Jobs(.., reply) => effect::tell::<Page>(reply, Err(error)),
        Ask::Queues(reply) => effect::tell(reply, Err(error)),
        Ask::Health(reply) => effect::tell(reply, Err(error)),
        Ask::LeaseEvents(_, reply) => effect::tell(reply, Err(error)),
        Ask::TailGroup(_, reply) => effect::tell(reply, Err(error)),
        Ask::Groups(reply) => effect::tell(reply, Err(error)),
        Ask::KeptPage(_, reply) => effect::tell(reply, Err(error)),
        Ask::Close(reply) => effect::tell(reply, Err(error)),
        Ask::Copy(_, reply) | Ask::Seal(reply) => {
            let _gone = reply.send(false);
        }
        Ask::Needed(_, reply) => {
            let _gone = reply.send(Vec::new());
        }
        Ask::Unclaimed(_)
        | Ask::Unread { .. }
        | Ask::Damaged { .. }
        | Ask::Untaken { .. }
        | Ask::Fed { .. }
        | Ask::Kept(_) => {}
    }
}
