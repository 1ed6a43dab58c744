//! What was published to a store and what it answered, so that a store which is opened again can be
//! held against it. Positions and offsets are dense and commits come in the order in which they
//! were asked for: what happened says exactly what every topic holds.

use std::collections::{BTreeMap, BTreeSet};

use posthaste_core::topic::{
    Gap, GapReason, Published, ReadFrom, TailTopic, TopicRead, TopicSettings, partition_of,
};
use posthaste_core::{
    Command, Commit, Event, JobState, NewEvent, NewJob, Outcome, Payload, Store, Token, TopicName,
};
use posthaste_log::{Error, Log};
use posthaste_testkit::block_on;

use crate::ledger::{Fate, everything, id};

/// Topics: one that keeps everything and is deleted now and then, one that keeps the newest events,
/// one that is compacted.
pub(crate) const TOPICS: [&str; 3] = ["plain", "kept", "compacted"];
pub(crate) const KEPT: u64 = 100;
const PARTITIONS: u16 = 4;

pub(crate) fn topic(which: usize) -> TopicName {
    TopicName::new(TOPICS[which]).expect("a name")
}

/// An event that nobody takes for another. Every fourth has an id that its publisher chose, every
/// sixteenth is large, and some have no key.
pub(crate) fn event(number: u32) -> NewEvent {
    let len = match number % 16 {
        15 => 3_000 + number % 3_000,
        _ => 8 + number % 400,
    };
    let bytes: Vec<u8> = (0..len)
        .map(|at| {
            number
                .wrapping_mul(0x9e37_79b9)
                .wrapping_add(at * 7)
                .to_le_bytes()[1]
        })
        .collect();
    let payload = Payload::bytes("application/octet-stream", bytes);
    let mut event = NewEvent::new(format!("e{number}"), "happened", payload);
    event.deduplicate = number.is_multiple_of(4);
    if !number.is_multiple_of(5) {
        event = event.keyed(format!("key {}", number % 13));
    }
    event
}

/// One commit, all of it or nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Op {
    /// Which topics are published to, and which events.
    pub(crate) publishes: Vec<(usize, Vec<u32>)>,
    /// A job that it adds, by which it is known that it happened.
    pub(crate) adds: Option<u32>,
    /// A job that it completes.
    pub(crate) completes: Option<(u32, Token)>,
    /// It gives the second and the third topic their settings.
    pub(crate) sets: bool,
    /// It deletes the first topic.
    pub(crate) deletes: bool,
}

impl Op {
    pub(crate) fn commit(&self) -> Commit {
        let mut commands = Vec::new();
        if let Some((number, token)) = self.completes {
            commands.push(Command::Settle {
                id: id(number),
                token,
                outcome: Outcome::Completed { result: None },
            });
        }
        if self.sets {
            for (which, settings) in [
                (
                    1,
                    TopicSettings {
                        kept_events: Some(KEPT),
                        ..TopicSettings::default()
                    },
                ),
                (
                    2,
                    TopicSettings {
                        compacted: Some(true),
                        ..TopicSettings::default()
                    },
                ),
            ] {
                let topic = topic(which);
                commands.push(Command::SetTopic { topic, settings });
            }
        }
        if self.deletes {
            commands.push(Command::DeleteTopic(topic(0)));
        }
        for (which, events) in &self.publishes {
            commands.push(Command::Publish {
                topic: topic(*which),
                events: events.iter().map(|number| event(*number)).collect(),
            });
        }
        if let Some(number) = self.adds {
            let (queue, kind) = ("mail".parse(), "welcome".parse());
            let queue = queue.expect("a queue");
            let payload = crate::ledger::payload(number);
            let job = NewJob::new(id(number), queue, kind.expect("a kind"), payload);
            commands.push(Command::Enqueue(Box::new(job)));
        }
        Commit::of(commands)
    }
}

/// A commit, what is known of it, and where its events were told to be.
#[derive(Clone, Debug)]
struct Asked {
    op: Op,
    fate: Fate,
    told: Vec<Published>,
}

/// Every commit that was asked for, in order, and what readers saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    asked: Vec<Asked>,
    /// What a reader was given: number of the topic and position, and which event.
    seen: BTreeMap<(u32, u64), u32>,
    last: u32,
}

/// What a topic must hold: every event ever published to it, by position.
#[derive(Debug, Default)]
struct Due {
    events: Vec<u32>,
    known: BTreeSet<u32>,
}

/// Everything of a topic that can be read.
pub(crate) struct Held {
    pub(crate) number: u32,
    pub(crate) earliest: u64,
    pub(crate) end: u64,
    pub(crate) events: Vec<Event>,
}

impl Ledger {
    /// The next new numbers, of events and jobs alike.
    pub(crate) fn numbers(&mut self, count: u32) -> Vec<u32> {
        let first = self.last + 1;
        self.last += count;
        (first..=self.last).collect()
    }

    /// Some events that were published before under ids that their publishers chose.
    pub(crate) fn published_before(&self, which: usize, pick: u64) -> Option<u32> {
        let acknowledged = |asked: &&Asked| asked.fate == Fate::Acknowledged;
        let publishes = self.asked.iter().rev().take(40).filter(acknowledged);
        let publishes = publishes.flat_map(|asked| &asked.op.publishes);
        let events = publishes.filter(|(of, _)| *of == which);
        let chosen: Vec<u32> = events
            .flat_map(|(_, events)| events.iter().copied())
            .filter(|number| number.is_multiple_of(4))
            .collect();
        let at = pick.checked_rem(chosen.len() as u64)?;
        Some(chosen[usize::try_from(at).expect("small")])
    }

    pub(crate) fn ask(&mut self, op: Op) -> usize {
        self.asked.push(Asked {
            op,
            fate: Fate::Unknown,
            told: Vec::new(),
        });
        self.asked.len() - 1
    }

    pub(crate) fn answered(&mut self, number: usize, fate: Fate, told: Vec<Published>) {
        (self.asked[number].fate, self.asked[number].told) = (fate, told);
    }

    pub(crate) fn saw(&mut self, events: &[Event]) {
        for event in events {
            let at = (event.position.topic, event.position.sequence);
            let number = number_of(event).expect("an event of ours");
            let before = self.seen.insert(at, number);
            assert!(before.is_none_or(|before| before == number), "{event:?}");
        }
    }

    /// The same ledger, with what was asked and answered up to `later` as well.
    pub(crate) fn asked_until(mut self, later: &Self) -> Self {
        let known = self.asked.iter().map(|asked| asked.fate);
        let known = known.chain(std::iter::repeat(Fate::Unknown));
        let asked = later.asked.iter().zip(known).map(|(later, known)| {
            let fate = match (known, later.fate) {
                (Fate::Unknown, Fate::Acknowledged) => Fate::Later,
                (Fate::Unknown, later) => later,
                (known, _) => known,
            };
            Asked {
                fate,
                ..later.clone()
            }
        });
        self.asked = asked.collect();
        self.last = later.last;
        self
    }

    /// Holds an opened store against the ledger, and settles what was unknown by what is there.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(crate) fn check(&mut self, store: &Log) -> Result<(), String> {
        let jobs = everything(store)?;
        let mut held = Vec::new();
        for (which, name) in TOPICS.iter().enumerate() {
            let found = hold(store, &topic(which));
            held.push(found.map_err(|error| format!("{name}: {error}"))?);
        }
        let is_there = |which: usize, number: u32| {
            let held: Option<&Held> = held[which].as_ref();
            held.is_some_and(|held| held.events.iter().any(|of| number_of(of) == Ok(number)))
        };
        let happened = |op: &Op| {
            let event = op.publishes.iter().any(|(which, events)| {
                let new = events
                    .iter()
                    .filter(|number| Some(*number) >= events.first());
                new.into_iter().any(|number| is_there(*which, *number))
            });
            match op.adds {
                Some(number) => jobs.contains_key(&number),
                None => event,
            }
        };
        let mut due: [Option<Due>; 3] = Default::default();
        let mut missed = None;
        let mut completed = BTreeSet::new();
        let mut added = BTreeSet::new();
        for (nth, asked) in self.asked.iter_mut().enumerate() {
            let there = match asked.fate {
                Fate::Acknowledged => true,
                Fate::Refused => false,
                Fate::Unknown | Fate::Later => happened(&asked.op),
            };
            if !there && asked.fate == Fate::Later && asked.op.adds.is_some() {
                missed.get_or_insert(nth);
            }
            if let (true, Some(missed)) = (there, missed) {
                return Err(format!(
                    "commit {nth} is there, and {missed} before it is not"
                ));
            }
            let told_of = asked.fate != Fate::Refused && !asked.told.is_empty();
            asked.fate = match there {
                true => Fate::Acknowledged,
                false => Fate::Refused,
            };
            if !there {
                continue;
            }
            added.extend(asked.op.adds);
            completed.extend(asked.op.completes.map(|(number, _)| number));
            let places = apply(&asked.op, &mut due);
            if told_of && !agree(&asked.told, &places) {
                return Err(format!(
                    "commit {nth} was told {:?}, not {places:?}",
                    asked.told
                ));
            }
        }
        for (number, job) in &jobs {
            let is_completed = job.state == JobState::Completed;
            if !added.contains(number) || completed.contains(number) != is_completed {
                return Err(format!("job {number} is {:?}: half a commit", job.state));
            }
        }
        if let Some(lost) = added.iter().find(|number| !jobs.contains_key(number)) {
            return Err(format!("job {lost} is lost"));
        }
        for (which, (due, held)) in due.iter().zip(&held).enumerate() {
            self.topic(which, due.as_ref(), held.as_ref())
                .map_err(|wrong| format!("{}: {wrong}", TOPICS[which]))?;
        }
        Ok(())
    }

    fn topic(&self, which: usize, due: Option<&Due>, held: Option<&Held>) -> Result<(), String> {
        let (due, held) = match (due, held) {
            (None, None) => return Ok(()),
            (Some(due), Some(held)) => (due, held),
            (due, held) => {
                return Err(format!("due: {}, there: {}", due.is_some(), held.is_some()));
            }
        };
        if held.end != due.events.len() as u64 {
            let (end, all) = (held.end, due.events.len());
            return Err(format!("it ends at {end}, and {all} were published"));
        }
        let gone_most = if which == 1 {
            held.end.saturating_sub(KEPT)
        } else {
            0
        };
        if held.earliest > gone_most {
            return Err(format!("the {} oldest are gone", held.earliest));
        }
        let mut there = held.events.iter().peekable();
        let mut nexts = [0; PARTITIONS as usize];
        for (position, number) in due.events.iter().enumerate() {
            let new = event(*number);
            let partition = partition_of(new.hash(), PARTITIONS);
            let next = &mut nexts[usize::from(partition)];
            let place = (
                position as u64,
                partition,
                std::mem::replace(next, *next + 1),
            );
            let is = |found: &&&Event| found.position.sequence == place.0;
            let Some(found) = there.next_if(|found| is(&found)) else {
                let rest = &due.events[position + 1..];
                let newer = || rest.iter().any(|later| event(*later).key == new.key);
                if place.0 < held.earliest || (which == 2 && new.key.is_some() && newer()) {
                    continue;
                }
                return Err(format!("event {number} at {position} is lost"));
            };
            let is = (found.position.sequence, found.partition, found.offset);
            if is != place
                || found.id != new.id
                || found.payload != new.payload
                || found.key != new.key
            {
                return Err(format!("event {number} is due at {place:?}: {found:?}"));
            }
        }
        if let Some(more) = there.next() {
            return Err(format!("there is more: {more:?}"));
        }
        for ((_, position), number) in self.seen.iter().filter(|((of, _), _)| *of == held.number) {
            let is = due.events.get(usize::try_from(*position).expect("small"));
            if is != Some(number) {
                return Err(format!(
                    "{number} was read at {position}, where {is:?} is now"
                ));
            }
        }
        Ok(())
    }
}

/// Which event it is, if it is one of these.
pub(crate) fn number_of(event: &Event) -> Result<u32, String> {
    let number = event
        .id
        .strip_prefix('e')
        .and_then(|number| number.parse().ok());
    number.ok_or_else(|| format!("nobody published {event:?}"))
}

/// What a commit that happened adds to the topics; answers where its events are.
fn apply(op: &Op, due: &mut [Option<Due>; 3]) -> Vec<(u64, bool)> {
    if op.sets {
        for due in &mut due[1..] {
            due.get_or_insert_default();
        }
    }
    if op.deletes {
        due[0] = None;
    }
    let mut places = Vec::new();
    for (which, events) in &op.publishes {
        let due = due[*which].get_or_insert_default();
        for number in events {
            let before = number.is_multiple_of(4) && !due.known.insert(*number);
            if before {
                let at = due.events.iter().position(|of| of == number);
                places.push((at.expect("it is there") as u64, true));
            } else {
                places.push((due.events.len() as u64, false));
                due.events.push(*number);
            }
        }
    }
    places
}

fn agree(told: &[Published], due: &[(u64, bool)]) -> bool {
    told.len() == due.len()
        && told
            .iter()
            .zip(due)
            .all(|(told, due)| (told.position.sequence, told.existing) == *due)
}

/// Everything of a topic; `None` where there is none.
pub(crate) fn hold(store: &Log, topic: &TopicName) -> Result<Option<Held>, String> {
    let views = block_on(store.topics()).map_err(|error| error.to_string())?;
    let Some(view) = views.into_iter().find(|view| view.name == *topic) else {
        return Ok(None);
    };
    let mut ask = TailTopic::new(topic.clone(), ReadFrom::Earliest);
    let (mut events, mut first) = (Vec::new(), None);
    loop {
        match block_on(store.read(ask.clone())).map_err(|error| error.to_string())? {
            TopicRead::Page(page) => {
                first.get_or_insert(page.earliest);
                events.extend(page.events);
                if page.next == page.end {
                    let earliest = first.map_or(0, |first| first.sequence);
                    check_gap(store, topic, page.earliest.sequence)?;
                    return Ok(Some(Held {
                        number: view.end.topic,
                        earliest,
                        end: page.end.sequence,
                        events,
                    }));
                }
                ask.from = ReadFrom::Position(page.next);
            }
            TopicRead::Gap(gap) if gap.reason == GapReason::Damage => {
                let health = block_on(store.health()).map_err(|error| error.to_string())?;
                return Err(health.problems.join("; "));
            }
            // Retention went on meanwhile.
            TopicRead::Gap(gap) => {
                (events, first) = (Vec::new(), None);
                ask.from = ReadFrom::Position(gap.earliest);
            }
        }
    }
}

/// What lies below the earliest is a gap, and is told as one.
fn check_gap(store: &Log, topic: &TopicName, earliest: u64) -> Result<(), String> {
    let Some(below) = earliest.checked_sub(1) else {
        return Ok(());
    };
    let views = block_on(store.topics()).map_err(|error| error.to_string())?;
    let view = views.into_iter().find(|view| view.name == *topic);
    let end = view.ok_or("it went meanwhile")?.end;
    let ask = TailTopic::new(topic.clone(), ReadFrom::Position(end.at(below)));
    match block_on(store.read(ask)) {
        Ok(TopicRead::Gap(Gap {
            reason: GapReason::Retention,
            earliest: told,
            ..
        })) if told.sequence >= earliest => Ok(()),
        other => Err(format!("below {earliest} there is {other:?}")),
    }
}

/// Commits, and answers where the events were put.
pub(crate) fn commit(store: &Log, commit: Commit) -> Result<Vec<Published>, Error> {
    let mut done = block_on(store.commit(vec![commit]))?;
    let committed = done.pop().expect("one answer for a commit")?;
    Ok(places(committed.replies))
}

/// Where the events of a commit were put.
pub(crate) fn places(replies: Vec<posthaste_core::Reply>) -> Vec<Published> {
    let mut told = Vec::new();
    for reply in replies {
        if let posthaste_core::Reply::Published(places) = reply {
            told.extend(places.iter().copied());
        }
    }
    told
}
