//! Commits: each is decided on the machine, its facts put into the open group, and its effect left
//! with the group until that is durable.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use posthaste_core::machine::{
    Action, Answer, Ending, Fact, KeyLookup, Moment, Place, Refusal, Refused, Slot, To,
};
use posthaste_core::{Error, ErrorKind, JobId, JobState, Result, Token};

use super::Sequencer;
use crate::commits::Held;
use crate::edge::{self, Light, OnGroup, Prepared};
use crate::effect::{self, Answered, Answers, Effect, Found, Raw};
use crate::format::body::{self, Owner};
use crate::format::facts::FACT_BYTES_MAX;
use crate::format::place;
use crate::inbox::{Ask, Commits, Copied, Reply};

/// How long a job rests whose body the disk did not give.
const UNREAD_MS: u64 = 10_000;

impl Sequencer {
    pub(super) fn commit_all(
        &mut self,
        held: &mut Held<'_>,
        Commits {
            mut asked,
            mut answers,
        }: Commits,
        reply: Reply<Answered>,
    ) {
        let now = self.shared.clock.now();
        let mut scratch = Scratch::default();
        answers.extend(asked.iter_mut().map(|prepared| match prepared {
            Ok(prepared) => {
                let moment = self.moment_at(now);
                self.commit(held, prepared, moment, &mut scratch)
            }
            Err(error) => Err(error.clone()),
        }));
        drop(scratch);
        let count = asked.len() as u64;
        self.shared
            .stats
            .commits
            .fetch_add(count, Ordering::Relaxed);
        self.let_out(held, Effect::Committed(reply, Answered { answers, asked }));
    }

    fn commit<'a>(
        &mut self,
        held: &mut Held<'_>,
        prepared: &'a mut Prepared,
        moment: Moment,
        scratch: &mut Scratch<'a>,
    ) -> Result<Answers> {
        if let Some(digest) = prepared.key {
            match self.machine.key(digest, moment.wall) {
                KeyLookup::Free if self.machine.has_room_for_key() => {}
                KeyLookup::Free => return Err(Refusal::KeysFull.into()),
                KeyLookup::Taken(place) => return Ok(Answers::Raw(vec![self.kept(place)])),
                KeyLookup::Reused => return Err(Refusal::KeyReused.into()),
            }
        }
        let mut missing = prepared.missing.iter();
        if let Some((index, id)) = missing.find(|at| !self.is_done_before(prepared, at.0, moment)) {
            return Err(edge::no_such_job(*id).at_command(prepared.command_of(*index)));
        }
        let mut nowhere = prepared.nowhere.iter();
        if let Some((index, error)) =
            nowhere.find(|at| !self.is_done_before(prepared, at.0, moment))
        {
            return Err(error.clone().at_command(prepared.command_of(*index)));
        }
        if prepared.grows && !self.has_room_to_grow(held, prepared.bytes_max()) {
            return Err(disk_full());
        }
        self.make_room(held, prepared.bytes_max())?;
        let mut places = self.keep(held, &prepared.records, &prepared.commands);
        self.keep_notes(held, prepared, &mut places);
        let prepared: &'a Prepared = prepared;
        scratch.clear();
        fill_actions(prepared, &places, &mut scratch.actions)?;
        let Scratch {
            actions,
            facts,
            answers,
        } = scratch;
        let outcome = self.machine.commit(actions, moment, facts, answers);
        if outcome.is_ok() && !facts.is_empty() {
            if let Some(journal) = held.journal.as_mut() {
                journal.push_bodies(&prepared.records);
            }
            self.became_true(held, facts, true);
        }
        self.drop_unused(&places);
        outcome.map_err(|refused| Refused {
            index: prepared.command_of(refused.index),
            ..refused
        })?;
        self.note_progress(&prepared.commands);
        let mut changes = Vec::new();
        self.machine.drain_topics(&mut changes);
        if prepared.events > 0 {
            let raws = self.answers_with_events(prepared, actions, answers, &changes);
            self.show(held, changes, prepared, answers);
            if let Some(digest) = prepared.key {
                self.keep_answer(held, digest, &raws, moment);
            }
            return Ok(Answers::Raw(raws));
        }
        if !changes.is_empty() {
            self.show(held, changes, prepared, answers);
        }
        if let (None, [answer]) = (prepared.key, answers.as_slice())
            && let Some(reply) = effect::reply_of(answer)
        {
            return Ok(Answers::Reply(reply));
        }
        match (prepared.key, answers.iter().map(effect::reply_of).collect()) {
            (None, Some(replies)) => Ok(Answers::Replies(replies)),
            (key, _) => {
                let raws: Vec<Raw> = answers.iter().map(|answer| self.raw(answer)).collect();
                if let Some(digest) = key {
                    self.keep_answer(held, digest, &raws, moment);
                }
                Ok(Answers::Raw(raws))
            }
        }
    }

    /// Whether a command follows a settle that was applied before, together with the command.
    fn is_done_before(&self, prepared: &Prepared, index: usize, moment: Moment) -> bool {
        let mut before = prepared.commands[..index].iter().rev();
        match before.find(|light| light.is_followed()) {
            Some(Light::Settle {
                id, token, digest, ..
            }) => self
                .machine
                .is_settled_so(*id, *token, *digest, moment.wall),
            Some(Light::Group(topic, group, OnGroup::Settle { token, ends, .. })) => {
                let of = (topic.as_str(), group.as_str());
                self.machine.are_events_settled(of, *token, ends)
            }
            _ => false,
        }
    }

    /// Whether new work may be accepted. The background thread looks at the disk now and then;
    /// where much is written in between, each new segment is looked at too.
    fn has_room_to_grow(&mut self, held: &Held<'_>, bytes: usize) -> bool {
        let asked = &mut self.segment_asked;
        let journal = held.journal.as_ref();
        let leaves = journal.is_none_or(|journal| journal.leaves_reserve(bytes, asked));
        let low = &self.shared.stats.disk_low;
        if !leaves {
            low.store(true, Ordering::Relaxed);
        }
        !low.load(Ordering::Relaxed)
    }

    pub(super) fn make_room(&self, held: &mut Held<'_>, bytes: usize) -> Result<()> {
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
    pub(super) fn keep(
        &self,
        held: &Held<'_>,
        records: &bytes::Bytes,
        commands: &[Light],
    ) -> Vec<Place> {
        let spans = commands.iter().flat_map(Light::spans);
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

    /// Puts the errors of events in their places, behind the other records of a commit.
    fn keep_notes(&self, held: &Held<'_>, prepared: &mut Prepared, places: &mut Vec<Place>) {
        let Prepared {
            commands, records, ..
        } = prepared;
        for light in commands.iter_mut() {
            light.place_notes(|span| {
                let place = match held.journal.as_ref() {
                    Some(journal) => edge::placed(journal.next(), span),
                    None => self.shared.bodies.keep_in_memory(span.of(records)),
                };
                places.push(place);
                place
            });
        }
    }

    /// Lets go of records that a refused or repeated command left behind in memory.
    pub(super) fn drop_unused(&mut self, places: &[Place]) {
        if let crate::bodies::Bodies::Memory(_) = self.shared.bodies {
            self.note_places();
            self.shared.bodies.drop_unused(places);
        }
    }

    pub(super) fn kept(&self, place: Place) -> Raw {
        Raw::Kept(place, self.shared.bodies.pin(std::iter::once(place)))
    }

    pub(super) fn raw(&self, answer: &Answer) -> Raw {
        match (effect::reply_of(answer), answer) {
            (Some(reply), _) => Raw::Reply(reply),
            (None, Answer::Kept(place)) => self.kept(*place),
            (None, _) => Raw::Reply(posthaste_core::Reply::Configured),
        }
    }

    /// Takes the key of a whole commit, and keeps its answers where a repetition finds them.
    pub(super) fn keep_answer(
        &mut self,
        held: &mut Held<'_>,
        digest: posthaste_core::machine::KeyDigest,
        raws: &[Raw],
        moment: Moment,
    ) {
        let replies: Vec<_> = raws
            .iter()
            .map(|raw| match raw {
                Raw::Reply(reply) => reply.clone(),
                Raw::Kept(place, pinned) => self.kept_reply(held, *place, pinned),
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
    }

    /// What is kept under a job's own key, read here: a repeated job inside a commit with a key of
    /// its own is rare.
    pub(super) fn kept_reply(
        &self,
        held: &Held<'_>,
        place: Place,
        pinned: &[Arc<crate::segments::Segment>],
    ) -> posthaste_core::Reply {
        let journal = held.journal.as_ref();
        let pending = journal.and_then(|journal| journal.pending(place::at(place)));
        let bytes = pending.map_or_else(|| self.shared.bodies.read(place, pinned), Ok);
        let id = bytes.ok().and_then(|bytes| body::first_of_key(&bytes));
        let Some(id) = id else {
            // Damaged: who repeats the commit is told at least that it has been done.
            return posthaste_core::Reply::Configured;
        };
        let slot = self.machine.find(id);
        let state = slot
            .and_then(|slot| self.machine.view(slot))
            .map(|row| row.state);
        posthaste_core::Reply::Enqueued {
            id,
            state: state.unwrap_or(JobState::Completed),
            existing: true,
        }
    }

    /// Whether this asks for answers to be kept of which some stand in the body of a job that may
    /// be on its way to the disk, where nobody can read it.
    pub(super) fn keeps_what_is_kept(&self, asked: &Ask) -> bool {
        let Ask::Commit(commits, _) = asked else {
            return false;
        };
        let now = self.shared.clock.now().wall;
        let is_kept = |command: &Light| match command {
            Light::Enqueue {
                key: Some((key, _)),
                ..
            } => matches!(self.machine.key(*key, now), KeyLookup::Taken(_)),
            _ => false,
        };
        let keyed = commits.asked.iter().flatten().filter(|of| of.key.is_some());
        keyed.flat_map(|of| of.commands.iter()).any(is_kept)
    }

    pub(super) fn note_progress(&mut self, commands: &[Light]) {
        for command in commands {
            if let Light::Heartbeat {
                id,
                progress: Some(progress),
                ..
            } = command
                && let Some(slot) = self.machine.find(*id)
                && self
                    .machine
                    .view(slot)
                    .is_some_and(|row| row.state == JobState::Running)
            {
                self.progress.keep(slot, progress);
            }
        }
    }

    /// Decides actions that nobody is answered for.
    pub(super) fn decide(
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
    pub(super) fn became_true(&mut self, held: &mut Held<'_>, facts: &[Fact<'_>], waited: bool) {
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
            self.progress.remove(slot);
            if ended {
                for (id, reply) in self.watchers.ended(slot) {
                    self.tell_watcher(held, slot, id, reply);
                }
            }
        }
    }

    pub(super) fn tell_watcher(
        &mut self,
        held: &mut Held<'_>,
        slot: Slot,
        id: JobId,
        reply: Reply<Found>,
    ) {
        match self.row(slot).filter(|row| row.id == id) {
            Some(row) => self.let_out(held, Effect::Found(reply, Box::new(row))),
            None => effect::tell(reply, Err(edge::no_such_job(id))),
        }
    }

    pub(super) fn release_unclaimed(&mut self, held: &mut Held<'_>, leases: &[(JobId, Token)]) {
        for (id, token) in leases {
            if self.make_room(held, 2 * FACT_BYTES_MAX).is_err() {
                return; // the disk is full: it lapses by itself
            }
            let moment = self.moment();
            let mut facts = Vec::new();
            self.machine.untaken(*id, *token, moment, &mut facts);
            self.became_true(held, &facts, false);
        }
    }

    /// Gives a job back whose body the disk did not give, to be tried again a little later.
    pub(super) fn release_unread(&mut self, held: &mut Held<'_>, id: JobId, token: Token) {
        let ending = Ending::Release {
            delay_ms: UNREAD_MS,
            undecodable: false,
        };
        let settle = Action::Settle {
            id,
            token,
            digest: 1,
            ending,
            note: Place::NONE,
        };
        let moment = self.moment();
        self.decide(held, &[settle], moment, false);
    }

    pub(super) fn copy(
        &mut self,
        held: &mut Held<'_>,
        copied: Vec<Copied>,
        reply: oneshot::Sender<bool>,
    ) {
        for Copied {
            owner,
            from,
            record,
        } in copied
        {
            if self
                .make_room(held, record.len() + 2 * FACT_BYTES_MAX)
                .is_err()
            {
                let _gone = reply.send(false);
                return;
            }
            let Some(journal) = held.journal.as_mut() else {
                continue;
            };
            let to = place::pack(journal.next(), record.len());
            let slot = match owner {
                Owner::Job(id) => self.machine.holds(id, from),
                _ => None,
            };
            let owner = self.owner_now(owner, from);
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
        // Told once all that was decided so far is durable, copies or not: who asked may let go of
        // what it replaced.
        if let Some(journal) = held.journal.as_mut() {
            journal.wait_for_sync();
        }
        self.let_out(held, Effect::Copied(reply));
    }
}

/// What is used again from one commit of a request to the next.
#[derive(Default)]
struct Scratch<'a> {
    actions: Vec<Action<'a>>,
    facts: Vec<Fact<'a>>,
    answers: Vec<Answer>,
}

impl Scratch<'_> {
    fn clear(&mut self) {
        self.actions.clear();
        self.facts.clear();
        self.answers.clear();
    }
}

/// The actions of a commit, its records in their places.
fn fill_actions<'a>(
    prepared: &'a Prepared,
    places: &[Place],
    into: &mut Vec<Action<'a>>,
) -> Result<()> {
    let mut next = places.iter().copied();
    for command in prepared.commands.iter() {
        let action = command.action(&prepared.records, &mut next);
        into.push(action.map_err(|damage| {
            Error::new(
                ErrorKind::Invalid,
                format!("a record of the commit can't be read back: {damage}"),
            )
            .next("this is a defect of the store: please report it")
        })?);
    }
    Ok(())
}

fn disk_full() -> Error {
    Error::new(
        ErrorKind::DiskFull,
        "the disk is nearly full: new work is refused, settling and reading go on",
    )
    .next("make room on the disk of the data directory; the store goes on by itself then")
    .retry_after_ms(5_000)
}
