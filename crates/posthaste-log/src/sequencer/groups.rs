//! Consumer groups: members who wait for events, readers who wait for a group, and what the machine
//! has read and copied for it.

use std::ops::ControlFlow;
use std::sync::Arc;

use posthaste_core::group::EventAsk;
use posthaste_core::machine::{Action, EventClaim, EventGrant, Place};
use posthaste_core::port::{KeptAsk, TailGroup};
use posthaste_core::{Error, ErrorKind, Token, limits};

use super::Sequencer;
use crate::commits::Held;
use crate::effect::{self, Effect};
use crate::format::body::Owner;
use crate::format::events::names_of;
use crate::format::facts::FACT_BYTES_MAX;
use crate::format::place;
use crate::inbox::Reply;
use crate::members::{Copied, Copying, Delivered, KeptRow, Leased, Order};

/// Facts that handing out one event may lead to: itself, and those passed on the way.
const FACTS_PER_EVENT: usize = 2;

impl Sequencer {
    /// Tries to serve a member; hands its reply back where there is nothing and it may wait.
    pub(super) fn lease_events(
        &mut self,
        held: &mut Held<'_>,
        ask: &mut EventAsk,
        reply: Reply<Delivered>,
    ) -> Option<Reply<Delivered>> {
        if reply.is_closed() {
            self.forget_joined(held, ask);
            return None;
        }
        let passed = limits::EVENTS_PASSED_MAX + 2;
        let fit = held.journal.as_ref().map_or(usize::MAX, |journal| {
            (journal.commit_bytes_max() / FACT_BYTES_MAX).saturating_sub(2 * passed)
        });
        let fit = u32::try_from(fit / FACTS_PER_EVENT).unwrap_or(u32::MAX);
        let most = ask.max.min(fit).clamp(1, limits::LEASE_EVENTS_MAX);
        let facts = FACTS_PER_EVENT * most as usize + passed;
        let names = ask.member.as_str().len();
        if let Err(error) = self.make_room(held, facts * FACT_BYTES_MAX + names) {
            effect::tell(reply, Err(error));
            return None;
        }
        let claim = EventClaim {
            topic: ask.topic.as_str(),
            group: ask.group.as_str(),
            token: ask.token,
            member: ask.member.as_str(),
            max: most,
            lease_ms: ask.lease_ms,
            local: ask.local,
        };
        let moment = self.moment();
        let (mut facts, mut grants) = (Vec::new(), Vec::new());
        let leased = self
            .machine
            .lease_events(&claim, moment, &mut facts, &mut grants);
        self.became_true(held, &facts, false);
        let token = match leased {
            Ok(token) => token,
            Err(refusal) => {
                effect::tell(reply, Err(refusal.into()));
                return None;
            }
        };
        let joined = ask.token.is_none();
        // Also who would not wait does, where there are events that only have to be read first.
        if grants.is_empty() && (ask.wait_ms > 0 || self.is_to_be_fed(ask)) {
            self.joined.extend(joined.then_some(token));
            ask.token = Some(token);
            // Who waits says nothing meanwhile, and is answered while he is still a member.
            let found = self.machine.group(ask.topic.as_str(), ask.group.as_str());
            let member = found.and_then(|(_, is)| is.members.get(&token));
            let lease_ms = member.map_or(0, |member| member.lease_ms);
            ask.wait_ms = ask.wait_ms.min(lease_ms / 2);
            return Some(reply);
        }
        let joined = joined || self.joined.remove(&token);
        self.deliver(held, ask, token, joined, grants, reply);
        None
    }

    /// Whether a group has events that nobody has looked at, and nothing else, and hands them out.
    fn is_to_be_fed(&self, ask: &EventAsk) -> bool {
        let found = self.machine.group(ask.topic.as_str(), ask.group.as_str());
        found.is_some_and(|(_, is)| {
            let topic = self.machine.topics().by_number.get(&is.topic);
            let more = topic.is_some_and(|topic| is.head < topic.next);
            let room = is.parked.len() < is.config.parked_max as usize;
            more && room && is.unfinished.is_empty() && !is.config.paused
        })
    }

    fn deliver(
        &mut self,
        held: &mut Held<'_>,
        ask: &EventAsk,
        token: Token,
        joined: bool,
        grants: Vec<EventGrant>,
        reply: Reply<Delivered>,
    ) {
        let found = self.machine.group(ask.topic.as_str(), ask.group.as_str());
        let Some((group, is)) = found else {
            return effect::tell(
                reply,
                Err(no_such_group(ask.topic.as_str(), ask.group.as_str())),
            );
        };
        let (topic, max_attempts) = (is.topic, is.config.max_attempts);
        let places = grants.iter().map(|grant| grant.place);
        let pinned = self
            .shared
            .bodies
            .pin(places.filter(|place| place.is_some()));
        let leased = Leased {
            group,
            topic,
            token,
            joined,
            max_attempts,
            grants,
            pinned,
            topics: Arc::clone(&self.shared.topics),
            inbox: Arc::downgrade(&self.shared.inbox),
        };
        self.let_out(held, Effect::Events(reply, Box::new(leased)));
    }

    /// A member that joined and hung up before it was told its token takes part no longer.
    fn forget_joined(&mut self, held: &mut Held<'_>, ask: &EventAsk) {
        let Some(token) = ask.token.filter(|token| self.joined.remove(token)) else {
            return;
        };
        let found = self.machine.group(ask.topic.as_str(), ask.group.as_str());
        if let Some((group, _)) = found {
            self.release_events(held, group, token, true, &[]);
        }
    }

    /// Events that nobody took are handed out again; a member that was never told its token goes.
    pub(super) fn release_events(
        &mut self,
        held: &mut Held<'_>,
        group: u32,
        token: Token,
        joined: bool,
        positions: &[u64],
    ) {
        let facts = FACTS_PER_EVENT * positions.len() + limits::KEY_RUN_MAX as usize + 2;
        if self.make_room(held, facts * FACT_BYTES_MAX).is_err() {
            return; // the disk is full: the membership lapses by itself
        }
        let (moment, mut facts) = (self.moment(), Vec::new());
        if joined {
            self.machine
                .untaken_member(group, token, moment, &mut facts);
        } else {
            self.machine
                .untaken_events(group, token, positions, moment, &mut facts);
        }
        self.became_true(held, &facts, false);
    }

    /// Serves the members who wait for what became claimable, ends waits that are over, and has read
    /// and copied what groups need.
    pub(super) fn serve_groups(&mut self, held: &mut Held<'_>) {
        let mut ready = Vec::new();
        self.machine.drain_ready_groups(|group| ready.push(group));
        let mut members = std::mem::take(&mut self.members);
        for group in ready {
            members.offer(group, |ask, reply| {
                match self.machine.has_claimable(group) {
                    true => ControlFlow::Continue(self.lease_events(held, ask, reply)),
                    false => ControlFlow::Break(reply),
                }
            });
        }
        for (ask, reply) in members.gone(self.machine.groups()) {
            if let Some(token) = ask.token {
                self.joined.remove(&token);
            }
            let error = no_such_group(ask.topic.as_str(), ask.group.as_str());
            effect::tell(reply, Err(error));
        }
        let now = self.shared.clock.now().mono;
        for (ask, reply) in members.over(now) {
            let joined = ask.token.is_some_and(|token| self.joined.remove(&token));
            let token = ask.token.unwrap_or_default();
            self.deliver(held, &ask, token, joined, Vec::new(), reply);
        }
        self.members = members;
        let mut passers = std::mem::take(&mut self.passers);
        for (group, reply) in passers.served(now, |group| self.machine.group_position(group)) {
            self.tell_group(held, group, reply);
        }
        self.passers = passers;
        self.order_reads(held);
    }

    fn order_reads(&mut self, held: &mut Held<'_>) {
        let mut feeds = Vec::new();
        self.machine.drain_feeds(&mut feeds);
        let mut keeps = Vec::new();
        self.machine.drain_keeps(&mut keeps);
        let orders = feeds.into_iter().map(Order::Feed);
        let orders = orders.chain(keeps.into_iter().map(|keep| {
            let pinned = self
                .shared
                .bodies
                .pin([keep.place].into_iter().filter(|at| at.is_some()));
            Order::Keep(keep, pinned)
        }));
        let orders: Vec<Order> = orders.collect();
        for order in orders {
            // Behind all that it rests on: what is read must be durable.
            let shared = Arc::downgrade(&self.shared);
            self.let_out(held, Effect::Order(shared, Box::new(order)));
        }
    }

    /// An event that a group keeps has been read, or is gone.
    pub(super) fn keep_copy(&mut self, held: &mut Held<'_>, copying: Copying) {
        let Copying {
            group,
            position,
            record,
        } = copying;
        let moment = self.moment();
        let record = match record {
            Copied::Whole(record) => record,
            Copied::Lost(damage) => {
                if let Some(told) = damage {
                    self.shared.stats.problem(told);
                }
                let lost = Action::LoseEvent { group, position };
                self.decide(held, &[lost], moment, true);
                return;
            }
            Copied::Later => return self.machine.keep_later(group, position, moment.mono),
        };
        let room = record.len() + 4 * FACT_BYTES_MAX;
        if self.make_room(held, room).is_err() {
            // The disk is full.
            return self.machine.keep_later(group, position, moment.mono);
        }
        let place = match (held.journal.as_ref(), &self.shared.bodies) {
            (Some(journal), _) => place::pack(journal.next(), record.len()),
            (None, bodies) => bodies.keep_in_memory(record.clone()),
        };
        let keep = Action::KeepEvent {
            group,
            position,
            place,
        };
        let (mut facts, mut answers) = (Vec::new(), Vec::new());
        let decided = self
            .machine
            .commit(&[keep], moment, &mut facts, &mut answers);
        if decided.is_ok() && !facts.is_empty() {
            if let Some(journal) = held.journal.as_mut() {
                journal.push_bodies(&record);
            }
            self.became_true(held, &facts, true);
        }
        self.drop_unused(&[place]);
    }

    /// Who waits for a group to pass a position.
    pub(super) fn tail_group(
        &mut self,
        held: &mut Held<'_>,
        ask: &TailGroup,
        reply: Reply<posthaste_core::group::GroupView>,
    ) {
        let (topic, group) = (ask.topic.as_str(), ask.group.as_str());
        let Some((number, is)) = self.machine.group(topic, group) else {
            return effect::tell(reply, Err(no_such_group(topic, group)));
        };
        let passed = match ask.passed {
            Some(position) if !position.is_of(self.shared.topics.position(is.topic, 0)) => {
                let error = Error::new(
                    ErrorKind::Invalid,
                    format!("the position {position} is of another history than the topic {topic}"),
                );
                let error = error.next("give back the position that publishing answered");
                return effect::tell(reply, Err(error));
            }
            Some(position) => position.sequence,
            None => 0,
        };
        if ask.passed.is_none() || is.position() > passed || ask.wait_ms == 0 {
            return self.tell_group(held, number, reply);
        }
        let now = self.shared.clock.now().mono;
        let until = now.plus(u64::from(ask.wait_ms.min(limits::WAIT_MS_MAX)));
        self.passers.add(number, passed, until, reply);
    }

    fn tell_group(
        &mut self,
        held: &mut Held<'_>,
        group: u32,
        reply: Reply<posthaste_core::group::GroupView>,
    ) {
        match self.machine.group_view(self.shared.topics.epoch(), group) {
            Some(view) => self.let_out(held, Effect::Group(reply, Box::new(view))),
            None => {
                let error = Error::new(ErrorKind::NotFound, "the group was deleted meanwhile");
                effect::tell(reply, Err(error.next("make it again, or ask for another")));
            }
        }
    }

    /// One page of what a group keeps.
    pub(super) fn kept_page(
        &mut self,
        held: &mut Held<'_>,
        ask: &KeptAsk,
        reply: Reply<posthaste_core::group::KeptPage>,
    ) {
        let (topic, group) = (ask.topic.as_str(), ask.group.as_str());
        let Some((number, is)) = self.machine.group(topic, group) else {
            return effect::tell(reply, Err(no_such_group(topic, group)));
        };
        let zero = self.shared.topics.position(is.topic, 0);
        let mut kept = Vec::new();
        let mut next = self
            .machine
            .page_of_kept(number, ask.dead, ask.cursor, ask.max, &mut kept);
        let bodies = &self.shared.bodies;
        let places = kept.iter().map(|(_, kept)| [kept.place, kept.note]);
        let fit = bodies.count_within(limits::PAGE_BYTES_MAX, places).max(1);
        if let Some((beyond, _)) = kept.get(fit) {
            next = Some(*beyond);
        }
        kept.truncate(fit);
        let rows = kept.into_iter().map(|(position, kept)| KeptRow {
            position,
            pinned: bodies.pin(
                [kept.place, kept.note]
                    .into_iter()
                    .filter(|at| at.is_some()),
            ),
            zero,
            kept,
        });
        let rows = rows.collect();
        self.let_out(held, Effect::KeptPage(reply, rows, next));
    }

    /// The owner of a record, its group by number.
    pub(super) fn owner_now(&self, owner: Owner, place: Place) -> Owner {
        let Owner::Error { names, position } = owner else {
            return owner;
        };
        let groups = self.machine.groups().by_number.iter();
        let mut keeping = groups.filter(|(group, is)| {
            let topic = self.machine.topics().by_number.get(&is.topic);
            topic.is_some_and(|topic| names_of(&topic.name, &is.name) == names)
                && self.machine.keeps(**group, position, place)
        });
        let found = keeping.next().map(|(group, _)| *group);
        found.map_or(owner, |group| Owner::Event { group, position })
    }

    /// Whether a group keeps a record there.
    pub(super) fn is_kept(&self, owner: Owner, place: Place) -> bool {
        match self.owner_now(owner, place) {
            Owner::Event { group, position } => self.machine.keeps(group, position, place),
            _ => false,
        }
    }
}

/// What is said where there is no such group.
pub(crate) fn no_such_group(topic: &str, group: &str) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("the topic {topic} has no group {group}"),
    )
    .next("check both names, or make it: posthaste groups set TOPIC GROUP")
}
