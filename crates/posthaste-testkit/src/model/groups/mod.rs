//! Consumer groups: for each a list of what is not finished, of who takes part, and of what is kept.
//!
//! What lies below the head of a group and is in none of its lists is finished. Where a store chooses
//! how far it looks on, and which of too many events are parked first, the model takes that over.

mod keep;
mod lease;
mod pass;
mod settle;
mod show;

use std::sync::Arc;

use posthaste_core::command::Reply;
use posthaste_core::error::{ErrorKind, Result};
use posthaste_core::group::{GroupConfig, GroupSettings, GroupTotals, KeptReason};
use posthaste_core::ids::{GroupName, Token, TopicName, WorkerName};
use posthaste_core::limits;
use posthaste_core::time::{MonoMs, WallMs};
use posthaste_core::topic::{Event, Position, ReadFrom, TailTopic};

use super::{Look, Model, refusal};

pub(super) use settle::check_ends;

/// One group.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) topic: TopicName,
    pub(super) name: GroupName,
    pub(super) config: GroupConfig,
    created_at: WallMs,
    /// The first event that was not looked at.
    head: u64,
    /// What was looked at and is not finished, and what was brought back.
    open: Vec<Open>,
    members: Vec<Member>,
    parked: Vec<Kept>,
    dead: Vec<Kept>,
    totals: GroupTotals,
}

/// An event that is not finished.
#[derive(Clone, Debug)]
struct Open {
    event: Event,
    state: State,
    /// Attempts that failed.
    attempts: u16,
    /// Members that were lost with it, one after the other.
    crashes: u8,
    /// It was parked or dead, and brought back: the position has passed it.
    back: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// For its turn.
    Waits,
    /// Once its time has come it stays so, whatever the clock shows later.
    Fails { until: WallMs, due: bool },
    /// In the hands of that member.
    With(Token),
    /// On its way to where it is kept.
    GivenUp {
        dead: bool,
        why: KeptReason,
        error: Option<Arc<str>>,
    },
}

#[derive(Clone, Debug)]
struct Member {
    token: Token,
    name: WorkerName,
    lease_ms: u32,
    local: bool,
    end: MonoMs,
}

/// A parked event or a dead letter.
#[derive(Clone, Debug)]
struct Kept {
    event: Event,
    why: KeptReason,
    error: Option<Arc<str>>,
    attempts: u16,
    at: WallMs,
}

impl Open {
    fn at(&self) -> u64 {
        self.event.position.sequence
    }

    fn key(&self) -> u32 {
        key_of(&self.event)
    }

    fn holder(&self) -> Option<Token> {
        match self.state {
            State::With(token) => Some(token),
            _ => None,
        }
    }

    fn waits(&self) -> bool {
        matches!(self.state, State::Waits | State::Fails { .. })
    }

    fn is_being_parked(&self) -> bool {
        matches!(self.state, State::GivenUp { dead: false, .. })
    }
}

impl Kept {
    fn at(&self) -> u64 {
        self.event.position.sequence
    }
}

/// By what an event is held to be of the same key as another.
fn key_of(event: &Event) -> u32 {
    let text = event.key.as_ref().unwrap_or(&event.id);
    posthaste_core::topic::hash_of(text.as_bytes())
}

impl Group {
    fn find(&mut self, at: u64) -> Option<&mut Open> {
        self.open.iter_mut().find(|open| open.at() == at)
    }

    fn member(&self, token: Token) -> Result<&Member> {
        let mut members = self.members.iter();
        let found = members.find(|member| member.token == token);
        found.ok_or_else(|| refusal(ErrorKind::Stale, "the membership is over"))
    }

    fn put(&mut self, open: Open) {
        let index = self.open.partition_point(|it| it.at() < open.at());
        self.open.insert(index, open);
    }

    fn finish(&mut self, at: u64) {
        self.open.retain(|open| open.at() != at);
    }

    /// Positions of the key behind that one which are in the hands of a member.
    fn run_behind(&self, key: u32, at: u64) -> Vec<u64> {
        let behind = |open: &&Open| open.key() == key && open.at() > at;
        let run = self.open.iter().filter(behind);
        let run = run.filter(|open| open.holder().is_some());
        run.map(Open::at).collect()
    }

    /// The first event of the key that is parked, or on its way there.
    fn first_parked(&self, key: u32) -> Option<u64> {
        let parked = self.parked.iter().filter(|kept| key_of(&kept.event) == key);
        let parking = self.open.iter().filter(|open| open.key() == key);
        let parking = parking.filter(|open| open.is_being_parked());
        parked.map(Kept::at).chain(parking.map(Open::at)).min()
    }

    fn parked_count(&self) -> usize {
        let parking = self.open.iter().filter(|open| open.is_being_parked());
        self.parked.len() + parking.count()
    }

    fn is_full(&self) -> bool {
        self.parked_count() >= self.config.parked_max as usize
    }

    /// The first event that is not finished. What was brought back has been passed.
    fn position(&self) -> u64 {
        let first = self.open.iter().filter(|open| !open.back).map(Open::at);
        first.chain([self.head]).min().unwrap_or(self.head)
    }
}

impl Model {
    pub(super) fn group(&mut self, topic: &TopicName, name: &GroupName) -> Result<&mut Group> {
        let mut groups = self.groups.iter_mut();
        let found = groups.find(|group| group.topic == *topic && group.name == *name);
        found.ok_or_else(|| refusal(ErrorKind::NotFound, "there is no such group"))
    }

    /// The place that is meant, as the position of an event.
    fn place(&self, topic: &TopicName, from: ReadFrom) -> Result<u64> {
        let gone = || refusal(ErrorKind::Invalid, "what lay there can't be read any more");
        match self.look(&TailTopic::new(topic.clone(), from))? {
            Look::History(_) => Err(gone()),
            Look::Events(it) if it.exact && it.from < it.sure => Err(gone()),
            Look::Events(it) => Ok(it.begin().sequence),
        }
    }

    pub(super) fn set_group(
        &mut self,
        topic: &TopicName,
        name: &GroupName,
        settings: &GroupSettings,
        from: Option<ReadFrom>,
    ) -> Result<Reply> {
        let head = self.place(topic, from.unwrap_or(ReadFrom::Latest))?;
        if let Ok(group) = self.group(topic, name) {
            group.config = settings.over(group.config);
            return Ok(Reply::Configured);
        }
        let created_at = self.now.wall;
        self.groups.push(Group {
            topic: topic.clone(),
            name: name.clone(),
            config: settings.over(GroupConfig::default()),
            created_at,
            head,
            open: Vec::new(),
            members: Vec::new(),
            parked: Vec::new(),
            dead: Vec::new(),
            totals: GroupTotals::default(),
        });
        Ok(Reply::Configured)
    }

    pub(super) fn delete_group(&mut self, topic: &TopicName, name: &GroupName) -> Result<Reply> {
        self.group(topic, name)?;
        self.groups
            .retain(|group| group.topic != *topic || group.name != *name);
        Ok(Reply::Deleted)
    }

    /// The group goes on elsewhere. What was brought back is still to be handled, and what was given
    /// up on still to be kept, unless it is met again; those who held something are members no
    /// longer.
    pub(super) fn reset_group(
        &mut self,
        topic: &TopicName,
        name: &GroupName,
        to: ReadFrom,
        force: bool,
    ) -> Result<Reply> {
        let head = self.place(topic, to)?;
        let group = self.group(topic, name)?;
        let held: Vec<Token> = group.open.iter().filter_map(Open::holder).collect();
        if !held.is_empty() && !force {
            return Err(refusal(ErrorKind::Conflict, "members hold events"));
        }
        group.members.retain(|it| !held.contains(&it.token));
        group.open.retain(|open| match open.state {
            State::GivenUp { dead, .. } => !dead || open.at() < head,
            _ => open.back,
        });
        for open in &mut group.open {
            if open.holder().is_some() {
                open.state = State::Waits;
            }
        }
        group.head = head;
        Ok(Reply::Configured)
    }

    pub(super) fn beat(
        &mut self,
        topic: &TopicName,
        name: &GroupName,
        token: Token,
    ) -> Result<Reply> {
        let mono = self.now.mono;
        let group = self.group(topic, name)?;
        group.member(token)?;
        for member in group.members.iter_mut().filter(|it| it.token == token) {
            member.end = mono.plus(u64::from(member.lease_ms));
        }
        Ok(Reply::Extended { cancelled: false })
    }

    pub(super) fn leave(
        &mut self,
        topic: &TopicName,
        name: &GroupName,
        token: Token,
    ) -> Result<Reply> {
        let group = self.group(topic, name)?;
        group.member(token)?;
        group.part(token, false);
        Ok(Reply::Left)
    }

    fn zero_of(&self, topic: &TopicName) -> Option<Position> {
        self.topic(topic).ok().map(super::topics::Topic::zero)
    }
}

pub(super) fn check_group(settings: &GroupSettings) -> Result<()> {
    let attempts = settings.max_attempts.map(u32::from);
    let bounds = [
        (settings.in_flight, limits::IN_FLIGHT_MAX),
        (attempts, u32::from(limits::ATTEMPTS_MAX)),
        (settings.parked_max, limits::PARKED_MAX),
    ];
    let out = |(count, most): (Option<u32>, u32)| count.is_some_and(|it| it == 0 || it > most);
    if bounds.into_iter().any(out) {
        return Err(refusal(ErrorKind::Invalid, "a number is out of its bounds"));
    }
    Ok(())
}
