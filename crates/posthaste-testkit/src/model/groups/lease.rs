//! Whose turn an event is.

use posthaste_core::command::Reply;
use posthaste_core::error::{ErrorKind, Result};
use posthaste_core::group::{EventAsk, LeasedEvent, LeasedEvents};
use posthaste_core::ids::{GroupName, Token, TopicName};
use posthaste_core::limits;
use posthaste_core::topic::Event;

use super::{Group, Member, Model, Open, State, key_of, refusal};
use crate::model::topics::Kept as Published;

impl Model {
    /// Whether such an ask is answered at all.
    ///
    /// # Errors
    /// `Invalid`, where a number is out of its bounds; `NotFound` where there is no such group;
    /// `Stale` where the membership is over.
    pub fn check_event_ask(&mut self, ask: &EventAsk) -> Result<()> {
        let lengths = limits::LEASE_MS_MIN..=limits::LEASE_MS_MAX;
        if ask.max == 0 || ask.max > limits::LEASE_EVENTS_MAX {
            return Err(refusal(ErrorKind::Invalid, "max is 1 to 1000"));
        }
        if !lengths.contains(&ask.lease_ms) {
            return Err(refusal(ErrorKind::Invalid, "a lease is 100ms to 1h long"));
        }
        let group = self.group(&ask.topic, &ask.group)?;
        match ask.token {
            Some(token) => group.member(token).map(drop),
            None => Ok(()),
        }
    }

    /// The asker takes part under `token`, whoever chose it; an ask is a sign of life.
    pub fn take_part(&mut self, ask: &EventAsk, token: Token) {
        let mono = self.now.mono;
        self.token = self.token.max(token.0);
        let Ok(group) = self.group(&ask.topic, &ask.group) else {
            return;
        };
        if ask.token.is_none() {
            group.members.push(Member {
                token,
                name: ask.member.clone(),
                lease_ms: ask.lease_ms,
                local: ask.local,
                end: mono,
            });
        }
        let _extended: Result<Reply> = self.beat(&ask.topic, &ask.group, token);
    }

    /// The event that is handed out next to that member; `None` where there is none.
    ///
    /// Events come by their positions. One is handed out when everything before it of its key is
    /// finished, or in the hands of the same member; nothing of its key is parked before it; and
    /// nothing of its key that lies behind it is in anybody's hands.
    #[must_use]
    pub fn next_event(
        &self,
        topic: &TopicName,
        name: &GroupName,
        token: Token,
    ) -> Option<LeasedEvent> {
        let mut groups = self.groups.iter();
        let group = groups.find(|it| it.topic == *topic && it.name == *name)?;
        let held = group.open.iter().filter(|it| it.holder().is_some()).count();
        let full = held >= group.config.in_flight as usize || group.is_full();
        if group.config.paused || full {
            return None;
        }
        let ahead = self.ahead_of(group);
        let waiting = group.open.iter().filter(|open| may_go(open));
        let mut waiting = waiting.map(|open| &open.event);
        let waiting = waiting.find(|it| group.is_turn(it, ahead, token));
        let mut coming = ahead.iter().map(|kept| &kept.event);
        let coming = coming.find(|it| !group.knows(it) && group.is_turn(it, ahead, token));
        let both = waiting.into_iter().chain(coming);
        let next = both.min_by_key(|event| event.position)?;
        let open = group
            .open
            .iter()
            .find(|it| it.event.position == next.position);
        Some(LeasedEvent {
            event: next.clone(),
            attempt: open.map_or(0, |it| it.attempts) + 1,
            max_attempts: group.config.max_attempts,
            crashes: open.map_or(0, |it| it.crashes),
        })
    }

    /// What was not looked at, in order.
    fn ahead_of(&self, group: &Group) -> &[Published] {
        let events = self.topic(&group.topic).map(|topic| &topic.events[..]);
        let from = usize::try_from(group.head).unwrap_or(usize::MAX);
        events.ok().and_then(|all| all.get(from..)).unwrap_or(&[])
    }

    /// Hands the event at that position out to a member.
    pub fn hand_out(&mut self, topic: &TopicName, name: &GroupName, token: Token, at: u64) {
        if self.group(topic, name).is_ok_and(|group| group.head <= at) {
            self.look_on(topic, name, at + 1);
        }
        let Ok(group) = self.group(topic, name) else {
            return;
        };
        let again = group.find(at).map(|open| {
            open.state = State::With(token);
            open.attempts > 0 || open.crashes > 0
        });
        if again == Some(true) {
            group.totals.redelivered += 1;
        }
    }

    /// A group has looked at everything before that position: what can't be handed out of it waits
    /// behind its key, or is parked there.
    pub fn look_on(&mut self, topic: &TopicName, name: &GroupName, head: u64) {
        let mut groups = self.groups.iter();
        let found = groups.find(|it| it.topic == *topic && it.name == *name);
        let ahead = found.map_or(&[][..], |group| self.ahead_of(group)).iter();
        let met = ahead.map(|kept| &kept.event);
        let met: Vec<Event> = met
            .take_while(|event| event.position.sequence < head)
            .cloned()
            .collect();
        let Ok(group) = self.group(topic, name) else {
            return;
        };
        for event in met {
            let at = event.position.sequence;
            if let Some(open) = group.find(at).filter(|open| open.waits()) {
                open.back = false; // from here on it is the topic's again
            }
            if !group.knows(&event) {
                group.put(Open {
                    event,
                    state: State::Waits,
                    attempts: 0,
                    crashes: 0,
                    back: false,
                });
            }
        }
        group.head = group.head.max(head);
    }

    /// Hands out up to `ask.max` events, each time the next; then everything is looked at.
    ///
    /// # Errors
    /// As [`Model::check_event_ask`].
    pub(in crate::model) fn lease_events(&mut self, ask: &EventAsk) -> Result<LeasedEvents> {
        self.check_event_ask(ask)?;
        let token = ask.token.unwrap_or(Token(self.token + 1));
        self.take_part(ask, token);
        let mut events = Vec::new();
        while events.len() < ask.max as usize {
            let Some(next) = self.next_event(&ask.topic, &ask.group, token) else {
                break;
            };
            let at = next.event.position.sequence;
            self.hand_out(&ask.topic, &ask.group, token, at);
            events.push(next);
        }
        let end = self.topic(&ask.topic)?.end().sequence;
        let group = self.group(&ask.topic, &ask.group)?;
        let held = group.open.iter().filter(|it| it.holder().is_some()).count();
        let room = held < group.config.in_flight as usize && !group.is_full();
        if events.len() < ask.max as usize && room && !group.config.paused {
            self.look_on(&ask.topic, &ask.group, end);
        }
        self.keep_what_is_given_up();
        Ok(LeasedEvents { token, events })
    }
}

impl Group {
    /// Whether an event is among those that are not finished, or kept.
    fn knows(&self, event: &Event) -> bool {
        let open = self
            .open
            .iter()
            .any(|it| it.event.position == event.position);
        open || self
            .parked
            .iter()
            .any(|it| it.event.position == event.position)
    }

    fn is_turn(&self, event: &Event, ahead: &[Published], token: Token) -> bool {
        let (at, key) = (event.position.sequence, key_of(event));
        let of_key: Vec<&Open> = self.open.iter().filter(|it| it.key() == key).collect();
        let dying = |it: &&Open| matches!(it.state, State::GivenUp { dead: true, .. });
        let mine = |it: &&Open| it.holder() == Some(token);
        let mut before = of_key.iter().filter(|it| it.at() < at);
        let before = before.all(|it| mine(it) || dying(it));
        let behind = of_key
            .iter()
            .any(|it| it.at() > at && it.holder().is_some());
        let unseen = ahead.iter().map(|kept| &kept.event);
        let mut unseen = unseen.take_while(|it| it.position.sequence < at);
        let unseen = unseen.any(|it| key_of(it) == key && !self.knows(it));
        let parked = self.first_parked(key).is_some_and(|first| first < at);
        let run = of_key.iter().filter(|it| it.holder().is_some()).count();
        before && !behind && !unseen && !parked && run < limits::KEY_RUN_MAX as usize
    }
}

/// Whether an open event waits for nothing but its turn.
fn may_go(open: &Open) -> bool {
    match open.state {
        State::Waits => open.crashes < limits::CRASHES_MAX,
        State::Fails { due, .. } => due,
        _ => false,
    }
}
