//! Handing out events: who takes part, and whose turn it is.

use crate::group::KeptReason;
use crate::ids::Token;
use crate::limits;
use crate::machine::action::{Moment, Refusal};
use crate::machine::commit::Course;
use crate::machine::fact::{Fact, Place};
use crate::machine::groups::follow::{Groups, hands_out, may_look_on};
use crate::machine::groups::lines::{ANYBODY, Ahead};
use crate::machine::groups::saved::EventState;
use crate::machine::groups::undo::GroupUndo;
use crate::machine::state::Machine;
use crate::machine::undo::Undo;
use crate::time::{MonoMs, WallMs};

/// Who asks for events.
#[derive(Clone, Copy, Debug)]
pub struct EventClaim<'a> {
    /// Of which topic.
    pub topic: &'a str,
    /// For which group.
    pub group: &'a str,
    /// Under which membership. `None` joins the group.
    pub token: Option<Token>,
    /// Who.
    pub member: &'a str,
    /// Most events; 0 only joins, or says that the member is alive.
    pub max: u32,
    /// How long the member may be silent. Counts when joining.
    pub lease_ms: u32,
    /// The member lives in the process that holds the store.
    pub local: bool,
}

/// An event handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventGrant {
    /// Which event.
    pub position: u64,
    /// The hash of its key.
    pub hash: u32,
    /// Which attempt this is, from 1.
    pub attempt: u16,
    /// Members that were lost in a row while they had it.
    pub crashes: u8,
    /// Where its copy is; `Place::NONE` where it is read from the topic.
    pub place: Place,
}

/// What a claim comes to next.
enum Next {
    Event(u64, u32),
    Held(u64, u32),
    Parked(u64, u32),
    /// What came back from where it was kept is met again after a reset: its topic has it.
    Met(u64, Place),
    Gap {
        to: u64,
        lost: u64,
    },
}

impl Machine {
    /// The number of a group.
    pub(super) fn group_of(&self, topic: &str, group: &str) -> Result<u32, Refusal> {
        let (topic, _) = self.topic(topic).ok_or(Refusal::NoSuchTopic)?;
        let named = self.groups.by_name.get(&topic);
        let found = named.and_then(|named| named.get(group)).copied();
        found.ok_or(Refusal::NoSuchGroup)
    }

    /// Hands out events of a group to a member, at most `claim.max`. Who asks without a token joins;
    /// the token is to be given from then on. Facts and grants are appended.
    ///
    /// # Errors
    /// [`Refusal::NoSuchTopic`], [`Refusal::NoSuchGroup`], [`Refusal::MembersFull`], and
    /// [`Refusal::MemberGone`] where the token does not count. Nothing changes then.
    pub fn lease_events<'a>(
        &mut self,
        claim: &EventClaim<'a>,
        moment: Moment,
        facts: &mut Vec<Fact<'a>>,
        grants: &mut Vec<EventGrant>,
    ) -> Result<Token, Refusal> {
        let mut course = Course { moment, facts };
        let group = self.group_of(claim.topic, claim.group)?;
        let token = match claim.token {
            Some(token) => {
                self.extend_member(group, token, moment.mono)?;
                token
            }
            None => self.join(group, claim, &mut course)?,
        };
        self.hand_out(group, token, claim.max, &mut course, grants);
        self.groups.hungry.insert(group);
        Ok(token)
    }

    fn join<'a>(
        &mut self,
        group: u32,
        claim: &EventClaim<'a>,
        course: &mut Course<'_, 'a>,
    ) -> Result<Token, Refusal> {
        let is = self.groups.saved.by_number.get(&group);
        let members = is.map_or(0, |is| is.members.len());
        if members >= self.bounds.members || self.last_token >= limits::TOKEN_MAX {
            return Err(Refusal::MembersFull);
        }
        let token = Token(self.last_token + 1);
        let fact = Fact::MemberJoined {
            group,
            token,
            lease_ms: claim.lease_ms,
            local: claim.local,
            name: claim.member,
        };
        self.put(fact, course);
        Ok(token)
    }

    /// A membership starts afresh.
    pub(super) fn extend_member(
        &mut self,
        group: u32,
        token: Token,
        mono: MonoMs,
    ) -> Result<(), Refusal> {
        let member = self.groups.member(group, token);
        let lease_ms = member.ok_or(Refusal::MemberGone)?.lease_ms;
        let end = self.groups.end_of(group, token);
        self.groups
            .extend(group, token, mono.plus(u64::from(lease_ms)));
        if let Some(end) = end {
            let step = GroupUndo::Beat { token, end };
            self.record(Undo::Group { group, step });
        }
        Ok(())
    }

    fn hand_out<'a>(
        &mut self,
        group: u32,
        token: Token,
        max: u32,
        course: &mut Course<'_, 'a>,
        grants: &mut Vec<EventGrant>,
    ) {
        self.retries_of(group, course.now());
        let (full, mut passed) = (grants.len() + max as usize, 0);
        while grants.len() < full {
            let Some(next) = self.next_for(group, token) else {
                break;
            };
            if !matches!(next, Next::Event(..)) {
                passed += 1;
                if passed > limits::EVENTS_PASSED_MAX {
                    self.groups.mark(group);
                    break;
                }
            }
            let fact = match next {
                Next::Event(position, hash) => Fact::EventLeased {
                    group,
                    token,
                    position,
                    hash,
                },
                Next::Held(position, hash) => Fact::EventHeld {
                    group,
                    position,
                    hash,
                    crashes: 0,
                },
                Next::Parked(position, hash) => Fact::EventEnding {
                    group,
                    position,
                    hash,
                    dead: false,
                    why: KeptReason::Behind,
                    attempts: 0,
                    note: Place::NONE,
                },
                Next::Met(position, from) => Fact::KeptCopied {
                    group,
                    position,
                    from,
                    to: Place::NONE,
                },
                Next::Gap { to, lost } => Fact::HeadMoved { group, to, lost },
            };
            self.put(fact, course);
            match next {
                Next::Event(position, _) => grants.extend(self.groups.grant(group, position)),
                // It is put in line anew, and may have been due.
                Next::Met(..) => self.retries_of(group, course.now()),
                _ => {}
            }
        }
    }

    /// What a claim of that member comes to next; `None` where there is nothing, or no room.
    fn next_for(&self, group: u32, token: Token) -> Option<Next> {
        let (is, lines) = self.groups.get(group)?;
        if !hands_out(is, lines) {
            return None;
        }
        if let Some(position) = lines.next_ready(token) {
            let hash = is.unfinished.get(&position)?.hash;
            return Some(Next::Event(position, hash));
        }
        let (position, hash) = match *lines.ahead.front()? {
            Ahead::Event { position, hash } => (position, hash),
            Ahead::Gap { to, lost } => return Some(Next::Gap { to, lost }),
        };
        let event = is.unfinished.get(&position);
        if let Some(event) = event.filter(|event| event.is_waiting() && event.place.is_some()) {
            return Some(Next::Met(position, event.place));
        }
        if event.is_some() || is.parked.contains_key(&position) {
            let to = position + 1;
            return Some(Next::Gap { to, lost: 0 });
        }
        if !may_look_on(is, self.bounds.unfinished) {
            return None;
        }
        Some(match lines.turn_ahead(hash, position) {
            Some(of) if of == ANYBODY || of == token => Next::Event(position, hash),
            _ if lines.is_behind_parked(hash, position) => Next::Parked(position, hash),
            _ => Next::Held(position, hash),
        })
    }

    /// Retries of a group whose time has come are ready.
    fn retries_of(&mut self, group: u32, now: WallMs) {
        while let Some((until, position)) = self
            .groups
            .get(group)
            .and_then(|(_, lines)| lines.retries.first().copied())
            .filter(|(until, _)| *until <= now)
        {
            self.groups.fall_due(until, group, position);
        }
    }

    /// Events whose asker was gone before he took them wait for their turn again; that counts as
    /// nothing. No effect on those that are no longer the member's. Where he was given the token
    /// only then, have him leave.
    pub fn untaken_events(
        &mut self,
        group: u32,
        token: Token,
        positions: &[u64],
        moment: Moment,
        facts: &mut Vec<Fact<'static>>,
    ) {
        let mut course = Course { moment, facts };
        for position in positions {
            let event = self.groups.event(group, *position);
            if let Some(event) = event.filter(|event| event.holder() == Some(token)) {
                self.hold(group, *position, event.crashes, &mut course);
                self.take_run(group, event.hash, *position, &mut course);
            }
        }
    }

    /// A member that was told of its token by nobody leaves.
    pub fn untaken_member(
        &mut self,
        group: u32,
        token: Token,
        moment: Moment,
        facts: &mut Vec<Fact<'static>>,
    ) {
        if self.groups.member(group, token).is_some() {
            let fact = Fact::MemberLeft {
                group,
                token,
                lapsed: false,
            };
            self.put(fact, &mut Course { moment, facts });
        }
    }

    /// An event that somebody has waits for its turn again.
    pub(super) fn hold(
        &mut self,
        group: u32,
        position: u64,
        crashes: u8,
        course: &mut Course<'_, '_>,
    ) {
        if let Some(event) = self.groups.event(group, position) {
            let fact = Fact::EventHeld {
                group,
                position,
                hash: event.hash,
                crashes,
            };
            self.put(fact, course);
        }
    }

    /// Events of a key that a member has behind one which it has no longer wait for their turn.
    pub(super) fn take_run(
        &mut self,
        group: u32,
        hash: u32,
        after: u64,
        course: &mut Course<'_, '_>,
    ) {
        for position in self.groups.run_after(group, hash, after) {
            let event = self.groups.event(group, position);
            let crashes = event.map_or(0, |event| event.crashes);
            self.hold(group, position, crashes, course);
        }
    }
}

impl Groups {
    pub(super) fn event(
        &self,
        group: u32,
        position: u64,
    ) -> Option<crate::machine::groups::saved::Unfinished> {
        let is = self.saved.by_number.get(&group)?;
        is.unfinished.get(&position).copied()
    }

    /// Leased events of a key behind that one.
    pub(super) fn run_after(&self, group: u32, hash: u32, after: u64) -> Vec<u64> {
        let lines = self.lines.get(&group);
        lines.map_or_else(Vec::new, |lines| lines.leased_after(hash, after).collect())
    }

    pub(super) fn end_of(&self, group: u32, token: Token) -> Option<MonoMs> {
        self.lines.get(&group)?.ends.get(&token).copied()
    }

    /// A membership ends then.
    pub(super) fn extend(&mut self, group: u32, token: Token, end: MonoMs) {
        let lines = self.lines.get_mut(&group);
        if let Some(of) = lines.and_then(|lines| lines.ends.get_mut(&token)) {
            self.ends.remove(&(*of, group, token));
            *of = end;
            self.ends.insert((end, group, token));
        }
    }

    fn grant(&self, group: u32, position: u64) -> Option<EventGrant> {
        let event = self.event(group, position)?;
        debug_assert!(
            matches!(event.state, EventState::Leased(_)),
            "it was just leased"
        );
        Some(EventGrant {
            position,
            hash: event.hash,
            attempt: event.attempts.saturating_add(1),
            crashes: event.crashes,
            place: event.place,
        })
    }
}
