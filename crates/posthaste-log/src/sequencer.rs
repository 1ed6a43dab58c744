//! The sequencer: the one thread that decides.
//!
//! It takes whatever was asked, decides each on the machine, puts the facts into the journal's
//! open group, and has the group written. It reads no payload and waits for no disk but to sync a
//! small group itself.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use posthaste_core::machine::{
    Action, Answer, Ending, Fact, KeyLookup, Machine, Moment, Place, RowView, Slot, To,
};
use posthaste_core::port::TailJob;
use posthaste_core::view::Health;
use posthaste_core::{Error, ErrorKind, JobId, Payload, Result, Token, WorkerName, limits};

use crate::commits::{Held, Shared};
use crate::edge::{self, Light, Prepared};
use crate::effect::{self, Delivery, Effect, Found, Page, Raw, Row};
use crate::format::body::{self, Owner};
use crate::format::place;
use crate::format::{facts::FACT_BYTES_MAX, record};
use crate::inbox::{Ask, Copied, Reply, closed};
use crate::live::Live;
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
    progress: HashMap<Slot, Payload>,
    places: Vec<(Place, bool)>,
    health: HealthOf,
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
            progress: HashMap::new(),
            places: Vec::new(),
            health,
            close: None,
        }
    }

    /// Ends the leases of workers that lived in the process which held the store before: a crash
    /// of theirs, unless the store was closed in order.
    pub(crate) fn after_opening(&mut self, clean: bool) {
        let shared = Arc::clone(&self.shared);
        let mut held = shared.hold();
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
            shared.stats.problem(told.message().to_owned());
            shared.hold().poisoned = Some(told);
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
            .chain(self.watchers.next_end_ms(now.mono));
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
                if let Some((reply, ask)) = self.lease(held, ask, reply) {
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
                let next =
                    self.machine
                        .page(&filter, cursor, max.clamp(1, limits::PAGE_MAX), &mut slots);
                let rows = slots
                    .into_iter()
                    .filter_map(|slot| self.row(slot))
                    .collect();
                self.let_out(held, Effect::Listed(reply, rows, next));
            }
            Ask::Queues(reply) => {
                let queues = self.machine.queues();
                self.let_out(held, Effect::Queues(reply, queues));
            }
            Ask::Health(reply) => {
                let health = (self.health)(&self.shared);
                self.let_out(held, Effect::Health(reply, Box::new(health)));
            }
            Ask::Unclaimed(leases) => self.release_unclaimed(held, &leases),
            Ask::Damaged { slot, place, told } => {
                self.shared.stats.problem(told);
                let moment = self.moment();
                self.decide(held, &[Action::Condemn { slot, place }], moment, true);
            }
            Ask::Copy(copied, reply) => self.copy(held, copied, reply),
            Ask::Needed(records, reply) => {
                let now = self.shared.clock.now().wall;
                let needed = records.iter().map(|(owner, place)| match owner {
                    Owner::Job(id) => self.machine.holds(*id, *place).is_some(),
                    Owner::Key(digest) => matches!(self.machine.key(*digest, now), KeyLookup::Taken(at) if at == *place),
                });
                let _gone = reply.send(needed.collect());
            }
            Ask::Close(reply) => self.close = Some(reply),
        }
    }

    fn let_out(&mut self, held: &mut Held<'_>, effect: Effect) {
        match held.journal.as_mut() {
            Some(journal) => journal.push_effect(effect),
            None => self
                .shared
                .release(crate::journal::Receipt::in_memory(vec![effect]).effects()),
        }
    }

    fn commit_all(
        &mut self,
        held: &mut Held<'_>,
        commits: Vec<Result<Prepared>>,
        reply: Reply<Vec<Result<Vec<Raw>>>>,
    ) {
        let count = commits.len() as u64;
        let answers = commits
            .into_iter()
            .map(|prepared| prepared.and_then(|prepared| self.commit(held, &prepared)))
            .collect();
        self.shared
            .stats
            .commits
            .fetch_add(count, Ordering::Relaxed);
        self.let_out(held, Effect::Committed(reply, answers));
    }

    fn commit(&mut self, held: &mut Held<'_>, prepared: &Prepared) -> Result<Vec<Raw>> {
        let moment = self.moment();
        if let Some(digest) = prepared.key {
            match self.machine.key(digest, moment.wall) {
                KeyLookup::Free => {}
                KeyLookup::Taken(place) => return Ok(vec![self.kept(place)]),
                KeyLookup::Reused => return Err(key_reused()),
            }
        }
        if prepared.key.is_some() && !self.machine.has_room_for_key() {
            return Err(keys_full());
        }
        if prepared.grows && self.shared.stats.disk_low.load(Ordering::Relaxed) {
            return Err(disk_full());
        }
        let facts: usize = prepared.commands.iter().map(Light::facts_bytes_max).sum();
        let records = prepared.records.len();
        let answer_record = if prepared.key.is_some() {
            64 + 32 * prepared.commands.len()
        } else {
            0
        };
        self.make_room(held, records + answer_record + facts + FACT_BYTES_MAX)?;
        let places = self.keep(held, &prepared.records, &prepared.commands);
        let actions = actions(prepared, &places)?;
        let (mut facts, mut answers) = (
            Vec::with_capacity(actions.len()),
            Vec::with_capacity(actions.len()),
        );
        let outcome = self
            .machine
            .commit(&actions, moment, &mut facts, &mut answers);
        if outcome.is_ok() && !facts.is_empty() {
            if let Some(journal) = held.journal.as_mut() {
                journal.push_bodies(&prepared.records);
            }
            self.became_true(held, &facts, true);
        }
        drop(actions);
        self.drop_unused(&places);
        outcome?;
        self.note_progress(&prepared.commands);
        let raws: Vec<Raw> = answers.iter().map(|answer| self.raw(answer)).collect();
        match prepared.key {
            None => Ok(raws),
            Some(digest) => self.keep_answer(held, digest, raws, moment),
        }
    }

    fn make_room(&self, held: &mut Held<'_>, bytes: usize) -> Result<()> {
        let Some(journal) = held.journal.as_mut() else {
            return Ok(());
        };
        if bytes > journal.commit_bytes_max() {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("a commit of {bytes} bytes does not fit into a segment"),
            )
            .next("split it, or open the store with larger segments"));
        }
        journal.make_room(bytes, self.shared.clock.now().wall.0).map_err(|error| match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => disk_full(),
            _ => Error::new(ErrorKind::Io, format!("the next segment can't be created: {error}"))
                .next("see to the disk; nothing was lost, and the store goes on when a segment can be had")
                .retry_after_ms(1_000),
        })
    }

    /// Where the records of a commit will be, in the order of the commands that have one.
    fn keep(&self, held: &Held<'_>, records: &bytes::Bytes, commands: &[Light]) -> Vec<Place> {
        let spans = commands.iter().filter_map(Light::span);
        match (held.journal.as_ref(), &self.shared.bodies) {
            (Some(journal), _) => {
                let base = journal.next();
                spans.map(|span| edge::placed(base, span)).collect()
            }
            (None, crate::bodies::Bodies::Memory(blobs)) => {
                let mut blobs = blobs
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                spans.map(|span| blobs.keep(span.of(records))).collect()
            }
            (None, _) => Vec::new(),
        }
    }

    /// Lets go of records that a refused or repeated command left behind in memory.
    fn drop_unused(&mut self, places: &[Place]) {
        if let crate::bodies::Bodies::Memory(_) = self.shared.bodies {
            self.note_places();
            self.shared.bodies.drop_unused(places);
        }
    }

    fn kept(&self, place: Place) -> Raw {
        Raw::Kept(place, self.shared.bodies.pin(std::iter::once(place)))
    }

    fn raw(&self, answer: &Answer) -> Raw {
        match (effect::reply_of(answer), answer) {
            (Some(reply), _) => Raw::Reply(reply),
            (None, Answer::Kept(place)) => self.kept(*place),
            (None, _) => Raw::Reply(posthaste_core::Reply::Configured),
        }
    }

    /// Takes the key of a whole commit, and keeps its answers where a repetition finds them.
    fn keep_answer(
        &mut self,
        held: &mut Held<'_>,
        digest: posthaste_core::machine::KeyDigest,
        raws: Vec<Raw>,
        moment: Moment,
    ) -> Result<Vec<Raw>> {
        let replies: Vec<_> = raws
            .iter()
            .filter_map(|raw| match raw {
                Raw::Reply(reply) => Some(*reply),
                Raw::Kept(place, pinned) => self.kept_reply(*place, pinned),
            })
            .collect();
        let mut answer = Vec::new();
        let size = body::write_answer(&mut answer, digest, &replies);
        let place = match (held.journal.as_ref(), &self.shared.bodies) {
            (Some(journal), _) => place::pack(journal.next(), size),
            (None, bodies) => bodies.keep_in_memory(answer.clone().into()),
        };
        let mut facts = Vec::new();
        let taken = self
            .machine
            .take_key(digest, place, moment.wall, &mut facts);
        if taken.is_ok() {
            if let Some(journal) = held.journal.as_mut() {
                journal.push_bodies(&answer);
            }
            self.became_true(held, &facts, true);
        }
        // The commands were applied: a full table of keys only costs the repetition its answer.
        self.drop_unused(&[place]);
        Ok(raws)
    }

    /// What is kept under a job's own key, read here: a repeated job inside a commit with a key of
    /// its own is rare.
    fn kept_reply(
        &self,
        place: Place,
        pinned: &[Arc<crate::segments::Segment>],
    ) -> Option<posthaste_core::Reply> {
        let bytes = self.shared.bodies.read(place, pinned).ok()?;
        let record = record::read(&bytes).ok()?;
        let id = body::read_job(record.data).ok()?.summary.id;
        let state = self
            .machine
            .find(id)
            .and_then(|slot| self.machine.view(slot))
            .map(|row| row.state);
        let state = state.unwrap_or(posthaste_core::JobState::Completed);
        Some(posthaste_core::Reply::Enqueued {
            id,
            state,
            existing: true,
        })
    }

    fn note_progress(&mut self, commands: &[Light]) {
        for command in commands {
            if let Light::Heartbeat {
                id,
                progress: Some(progress),
                ..
            } = command
                && let Some(slot) = self.machine.find(*id)
            {
                self.progress.insert(slot, progress.clone());
            }
        }
    }

    /// Decides actions that nobody is answered for.
    fn decide(
        &mut self,
        held: &mut Held<'_>,
        actions: &[Action<'_>],
        moment: Moment,
        waited: bool,
    ) -> bool {
        if self
            .make_room(held, actions.len() * 4 * FACT_BYTES_MAX)
            .is_err()
        {
            return false;
        }
        let (mut facts, mut answers) = (Vec::new(), Vec::new());
        let decided = self
            .machine
            .commit(actions, moment, &mut facts, &mut answers)
            .is_ok();
        self.became_true(held, &facts, waited);
        decided
    }

    /// Hands facts to the journal, and tells whoever waited for a job to end.
    fn became_true(&mut self, held: &mut Held<'_>, facts: &[Fact<'_>], waited: bool) {
        if let Some(journal) = held.journal.as_mut() {
            facts.iter().for_each(|fact| journal.push_fact(fact));
            if waited && !facts.is_empty() {
                journal.wait_for_sync();
            }
        }
        if self.progress.is_empty() && self.watchers.is_empty() {
            return;
        }
        for fact in facts {
            let (slot, ended) = match fact {
                Fact::Changed { slot, to, .. } => (
                    *slot,
                    matches!(to, To::Completed | To::Dead(_) | To::Cancelled),
                ),
                Fact::Deleted { slot } => (*slot, true),
                _ => continue,
            };
            self.progress.remove(&slot);
            if ended {
                for (id, reply) in self.watchers.ended(slot) {
                    self.tell_watcher(held, slot, id, reply);
                }
            }
        }
    }

    fn tell_watcher(&mut self, held: &mut Held<'_>, slot: Slot, id: JobId, reply: Reply<Found>) {
        match self.row(slot).filter(|row| row.id == id) {
            Some(row) => self.let_out(held, Effect::Found(reply, Box::new(row))),
            None => effect::tell(reply, Err(edge::no_such_job(id))),
        }
    }

    fn release_unclaimed(&mut self, held: &mut Held<'_>, leases: &[(JobId, Token)]) {
        for (id, token) in leases {
            let ending = Ending::Release {
                delay_ms: 0,
                undecodable: false,
            };
            let settle = Action::Settle {
                id: *id,
                token: *token,
                digest: 1,
                ending,
                note: Place::NONE,
            };
            let moment = self.moment();
            self.decide(held, &[settle], moment, false);
        }
    }

    fn copy(&mut self, held: &mut Held<'_>, copied: Vec<Copied>, reply: oneshot::Sender<bool>) {
        for Copied {
            owner,
            from,
            record,
        } in copied
        {
            if self.make_room(held, record.len() + FACT_BYTES_MAX).is_err() {
                let _gone = reply.send(false);
                return;
            }
            let Some(journal) = held.journal.as_mut() else {
                continue;
            };
            let to = place::pack(journal.next(), record.len());
            let slot = match owner {
                Owner::Job(id) => self.machine.holds(id, from),
                Owner::Key(_) => None,
            };
            let Some(action) = crate::inbox::copy_action(&owner, slot, from, to) else {
                continue;
            };
            let (mut facts, mut answers) = (Vec::new(), Vec::new());
            let moment = self.moment();
            let decided = self
                .machine
                .commit(&[action], moment, &mut facts, &mut answers);
            if decided.is_ok() && !facts.is_empty() {
                if let Some(journal) = held.journal.as_mut() {
                    journal.push_bodies(&record);
                }
                self.became_true(held, &facts, true);
            }
        }
        self.let_out(held, Effect::Copied(reply));
    }

    fn tail(&mut self, held: &mut Held<'_>, ask: TailJob, reply: Reply<Found>) {
        let Some(slot) = self.machine.find(ask.id) else {
            return effect::tell(reply, Err(edge::no_such_job(ask.id)));
        };
        let ended = self
            .machine
            .view(slot)
            .is_none_or(|row| row.state.is_final());
        if ended || ask.wait_ms == 0 {
            self.tell_watcher(held, slot, ask.id, reply);
        } else {
            let until = self
                .shared
                .clock
                .now()
                .mono
                .plus(u64::from(ask.wait_ms.min(limits::WAIT_MS_MAX)));
            self.watchers.add(slot, ask.id, until, reply);
        }
    }

    fn row(&self, slot: Slot) -> Option<Row> {
        let row: RowView<'_> = self.machine.view(slot)?;
        let places = [row.place, row.note];
        let pinned = self
            .shared
            .bodies
            .pin(places.into_iter().filter(|place| place.is_some()));
        Some(Row {
            slot,
            id: row.id,
            state: row.state,
            reason: row.reason,
            priority: row.priority,
            attempt: row.attempt,
            crashes: row.crashes,
            at: row.at,
            cancelling: row.cancelling,
            place: row.place,
            note: row.note,
            worker: row.worker.and_then(|worker| WorkerName::new(worker).ok()),
            progress: self.progress.get(&slot).cloned(),
            pinned,
        })
    }

    /// Tries to serve a lease; hands it back where there is nothing and it may wait.
    fn lease(
        &mut self,
        held: &mut Held<'_>,
        ask: posthaste_core::port::LeaseAsk,
        reply: Reply<Delivery>,
    ) -> Option<(Reply<Delivery>, posthaste_core::port::LeaseAsk)> {
        if reply.is_closed() {
            return None;
        }
        let fit = held
            .journal
            .as_ref()
            .map_or(limits::LEASE_JOBS_MAX as usize, |journal| {
                (journal.commit_bytes_max() / LEASE_FACT_BYTES).saturating_sub(LEASE_EXPIRED_MAX)
            });
        let max = ask
            .max
            .min(u32::try_from(fit).unwrap_or(u32::MAX))
            .clamp(1, limits::LEASE_JOBS_MAX);
        if let Err(error) =
            self.make_room(held, (max as usize + LEASE_EXPIRED_MAX) * LEASE_FACT_BYTES)
        {
            effect::tell(reply, Err(error));
            return None;
        }
        let queues: Vec<(&str, u32)> = ask
            .queues
            .iter()
            .map(|(name, weight)| (name.as_str(), *weight))
            .collect();
        let kinds: Vec<&str> = ask
            .kinds
            .iter()
            .map(posthaste_core::KindName::as_str)
            .collect();
        let claim = posthaste_core::machine::Claim {
            queues: &queues,
            strict: ask.strict,
            kinds: &kinds,
            max,
            lease_ms: ask.lease_ms,
            worker: ask.worker.as_str(),
            local: ask.local,
        };
        let moment = self.moment();
        let (mut facts, mut grants) = (Vec::new(), Vec::new());
        self.machine.lease(&claim, moment, &mut facts, &mut grants);
        self.became_true(held, &facts, false);
        if grants.is_empty() && ask.wait_ms > 0 {
            return Some((reply, ask));
        }
        let pinned = self
            .shared
            .bodies
            .pin(grants.iter().map(|grant| grant.place));
        let inbox = Arc::downgrade(&self.shared.inbox);
        let lease = effect::Lease {
            grants,
            lease_ms: ask.lease_ms,
            pinned,
            inbox,
        };
        self.let_out(held, Effect::Leased(reply, lease));
        None
    }

    /// What time makes true.
    fn tick(&mut self, held: &mut Held<'_>) {
        if held.poisoned.is_some()
            || self
                .make_room(held, TICK_FACTS_MAX * FACT_BYTES_MAX)
                .is_err()
        {
            return;
        }
        let moment = self.moment();
        let mut facts = Vec::new();
        if self.machine.tick(moment, TICK_FACTS_MAX, &mut facts) {
            self.shared.inbox.nudge();
        }
        self.became_true(held, &facts, false);
    }

    /// Serves whoever waits for what became ready, and ends waits that are over.
    fn serve(&mut self, held: &mut Held<'_>) {
        if let Some(poisoned) = &held.poisoned {
            return self.dismiss(poisoned);
        }
        let mut ready: Vec<String> = Vec::new();
        let waiting = !self.waiters.is_empty();
        self.machine.drain_ready(|queue| {
            if waiting {
                ready.push(queue.to_owned());
            }
        });
        if !ready.is_empty() {
            for (ask, reply, until) in self.waiters.interested(&ready) {
                if let Some((reply, ask)) = self.lease(held, ask, reply) {
                    self.waiters.put_back(ask, reply, until);
                }
            }
        }
        let now = self.shared.clock.now().mono;
        for reply in self.waiters.over(now) {
            let inbox = Arc::downgrade(&self.shared.inbox);
            let lease = effect::Lease {
                grants: Vec::new(),
                lease_ms: 0,
                pinned: Vec::new(),
                inbox,
            };
            self.let_out(held, Effect::Leased(reply, lease));
        }
        for (slot, id, reply) in self.watchers.over(now) {
            self.tell_watcher(held, slot, id, reply);
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

/// The actions of a commit, its records in their places.
fn actions<'a>(prepared: &'a Prepared, places: &[Place]) -> Result<Vec<Action<'a>>> {
    let mut next = places.iter().copied();
    prepared
        .commands
        .iter()
        .map(|command| {
            let place = command
                .span()
                .and_then(|_| next.next())
                .unwrap_or(Place::NONE);
            command.action(&prepared.records, place)
        })
        .collect::<Result<_, _>>()
        .map_err(|damage| {
            Error::new(
                ErrorKind::Invalid,
                format!("a record of the commit can't be read back: {damage}"),
            )
        })
}

fn key_reused() -> Error {
    Error::new(
        ErrorKind::KeyReused,
        "the idempotency key was used with another body",
    )
    .next("use a new key for a new request; repeat a request with exactly the same body")
}

fn keys_full() -> Error {
    Error::new(
        ErrorKind::Busy,
        format!(
            "{} idempotency keys are live, which is the most there may be",
            limits::KEYS_MAX
        ),
    )
    .next("wait until the oldest are forgotten, 24 hours after they were used, or send fewer keys")
    .retry_after_ms(60_000)
}

fn disk_full() -> Error {
    Error::new(
        ErrorKind::DiskFull,
        "the disk is nearly full: new work is refused, settling and reading go on",
    )
    .next("make room on the disk of the data directory; the store goes on by itself then")
    .retry_after_ms(5_000)
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
        Ask::Close(reply) => effect::tell(reply, Err(error)),
        Ask::Copy(_, reply) => {
            let _gone = reply.send(false);
        }
        Ask::Needed(_, reply) => {
            let _gone = reply.send(Vec::new());
        }
        Ask::Unclaimed(_) | Ask::Damaged { .. } => {}
    }
}
