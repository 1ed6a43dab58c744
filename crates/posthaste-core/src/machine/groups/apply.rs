//! What each fact makes of a group.

use std::collections::{BTreeMap, BTreeSet};

use crate::group::{GroupConfig, GroupTotals};
use crate::ids::Token;
use crate::machine::fact::{Fact, Place};
use crate::machine::groups::saved::{
    EventState, Finish, SavedGroup, SavedGroups, SavedKept, SavedMember, Unfinished,
};
use crate::time::WallMs;

/// One thing that a fact changed, with what was there before.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Made,
    Gone(Box<SavedGroup>),
    Config(GroupConfig),
    Head(u64),
    Entry {
        position: u64,
        was: Option<Unfinished>,
        is: Option<Unfinished>,
    },
    Kept {
        dead: bool,
        position: u64,
        was: Option<SavedKept>,
        is: Option<SavedKept>,
    },
    Member {
        token: Token,
        was: Option<SavedMember>,
    },
    Totals(GroupTotals),
}

impl SavedGroup {
    fn entry(&mut self, position: u64, is: Option<Unfinished>, each: &mut impl FnMut(Change)) {
        let was = self.set_entry(position, is);
        each(Change::Entry { position, was, is });
    }

    fn keep(
        &mut self,
        dead: bool,
        position: u64,
        is: Option<SavedKept>,
        each: &mut impl FnMut(Change),
    ) {
        let was = self.set_kept(dead, position, is);
        each(Change::Kept {
            dead,
            position,
            was,
            is,
        });
    }

    fn member(&mut self, token: Token, is: Option<SavedMember>, each: &mut impl FnMut(Change)) {
        let was = match is {
            Some(is) => self.members.insert(token, is),
            None => self.members.remove(&token),
        };
        each(Change::Member { token, was });
    }

    fn count(&mut self, with: impl FnOnce(&mut GroupTotals), each: &mut impl FnMut(Change)) {
        let was = self.totals;
        with(&mut self.totals);
        each(Change::Totals(was));
    }

    fn move_head(&mut self, to: u64, each: &mut impl FnMut(Change)) {
        if to > self.head {
            let was = std::mem::replace(&mut self.head, to);
            each(Change::Head(was));
        }
    }

    /// The event at that position as it is, or as one that was never looked at.
    fn known(&self, position: u64, hash: u32) -> Unfinished {
        let known = self.unfinished.get(&position).copied();
        known.unwrap_or(Unfinished {
            hash,
            state: EventState::Held,
            attempts: 0,
            crashes: 0,
            place: Place::NONE,
        })
    }

    /// The event has a new state. The head passes it where it is met for the first time: one that
    /// came back from where it was kept may lie behind others that were not met yet.
    fn take(&mut self, position: u64, is: Unfinished, each: &mut impl FnMut(Change)) {
        let met = self.unfinished.contains_key(&position);
        self.entry(position, Some(is), each);
        if !met {
            self.move_head(position + 1, each);
        }
    }

    fn leave(&mut self, token: Token, lapsed: bool, each: &mut impl FnMut(Change)) {
        let Some(held) = self.members.get(&token).map(|member| member.held as usize) else {
            return;
        };
        let all = self.unfinished.iter();
        let mine = all.filter(|(_, event)| event.holder() == Some(token));
        let mine: Vec<_> = mine.take(held).map(|(at, event)| (*at, *event)).collect();
        let mut begun = BTreeSet::new();
        for (position, mut event) in mine {
            event.state = EventState::Held;
            // Only the first of a key can have been begun, and have taken the member down.
            if begun.insert(event.hash) && lapsed {
                event.crashes = event.crashes.saturating_add(1);
            }
            self.entry(position, Some(event), each);
        }
        if lapsed && held > 0 {
            self.count(|totals| totals.lapsed += held as u64, each);
        }
        self.member(token, None, each);
    }

    fn finish(&mut self, from: u64, to: u64, how: Finish, each: &mut impl FnMut(Change)) {
        let found = self.unfinished.range(from..to);
        let found: Vec<u64> = found.map(|(at, _)| *at).collect();
        let count = found.len() as u64;
        for position in found {
            self.entry(position, None, each);
        }
        self.count(
            |totals| match how {
                Finish::Done => totals.done += count,
                Finish::Skipped => totals.skipped += count,
                Finish::Lost => totals.lost_to_retention += count,
            },
            each,
        );
    }

    fn kept(&mut self, position: u64, place: Place, at: WallMs, each: &mut impl FnMut(Change)) {
        let Some(event) = self.unfinished.get(&position).copied() else {
            return;
        };
        let EventState::Ending { dead, why, note } = event.state else {
            return;
        };
        let kept = SavedKept {
            hash: event.hash,
            place,
            note,
            attempts: event.attempts,
            why,
            at,
        };
        self.entry(position, None, each);
        self.keep(dead, position, Some(kept), each);
        self.count(
            |totals| match dead {
                true => totals.dead += 1,
                false => totals.parked += 1,
            },
            each,
        );
    }

    /// A parked or dead event is handed out again, afresh. One that was not copied yet, too.
    fn again(&mut self, dead: bool, position: u64, each: &mut impl FnMut(Change)) {
        let fresh = |hash, place| Unfinished {
            hash,
            state: EventState::Held,
            attempts: 0,
            crashes: 0,
            place,
        };
        if let Some(kept) = self.kept_mut(dead).get(&position).copied() {
            self.keep(dead, position, None, each);
            self.entry(position, Some(fresh(kept.hash, kept.place)), each);
        } else if let Some(event) = self.unfinished.get(&position).copied() {
            self.entry(position, Some(fresh(event.hash, event.place)), each);
        }
    }

    /// A parked event is forgotten. One that was not copied yet, too.
    fn skip(&mut self, position: u64, each: &mut impl FnMut(Change)) {
        if self.parked.contains_key(&position) {
            self.keep(false, position, None, each);
        } else if self.unfinished.contains_key(&position) {
            self.entry(position, None, each);
        } else {
            return;
        }
        self.count(|totals| totals.skipped += 1, each);
    }

    fn copied(&mut self, position: u64, from: Place, to: Place, each: &mut impl FnMut(Change)) {
        let moved = |place: Place| if place == from { to } else { place };
        if let Some(mut event) = self.unfinished.get(&position).copied() {
            let was = event;
            event.place = moved(event.place);
            if let EventState::Ending { note, .. } = &mut event.state {
                *note = moved(*note);
            }
            if event != was {
                self.entry(position, Some(event), each);
            }
        }
        for dead in [false, true] {
            let Some(mut kept) = self.kept_mut(dead).get(&position).copied() else {
                continue;
            };
            let was = kept;
            (kept.place, kept.note) = (moved(kept.place), moved(kept.note));
            if kept != was {
                self.keep(dead, position, Some(kept), each);
            }
        }
    }

    /// The group goes on at `head`. What was released or redriven is still to be handled, and what
    /// was given up on is still to be kept, unless it is met again.
    fn reset(&mut self, head: u64, each: &mut impl FnMut(Change)) {
        let positions: Vec<u64> = self.unfinished.keys().copied().collect();
        let mut void = BTreeSet::new();
        for position in positions {
            let Some(mut event) = self.unfinished.get(&position).copied() else {
                continue;
            };
            void.extend(event.holder());
            let stays = match event.state {
                EventState::Ending { dead: false, .. } => true,
                EventState::Ending { dead: true, .. } => position < head,
                _ => event.place.is_some(),
            };
            if event.holder().is_some() {
                event.state = EventState::Held;
            }
            self.entry(position, stays.then_some(event), each);
        }
        for token in void {
            self.member(token, None, each);
        }
        let was = std::mem::replace(&mut self.head, head);
        each(Change::Head(was));
    }

    fn apply(&mut self, fact: &Fact<'_>, each: &mut impl FnMut(Change)) {
        match *fact {
            Fact::MemberJoined {
                token,
                lease_ms,
                local,
                name,
                ..
            } => {
                let member = SavedMember {
                    name: name.into(),
                    lease_ms,
                    local,
                    held: 0,
                };
                self.member(token, Some(member), each);
            }
            Fact::MemberLeft { token, lapsed, .. } => self.leave(token, lapsed, each),
            Fact::EventKept {
                position,
                place,
                at,
                ..
            } => self.kept(position, place, at, each),
            Fact::KeptReleased { position, .. } => self.again(false, position, each),
            Fact::KeptRedriven { position, .. } => self.again(true, position, each),
            Fact::KeptSkipped { position, .. } => self.skip(position, each),
            Fact::KeptForgotten { position, .. } => self.keep(true, position, None, each),
            Fact::KeptCopied {
                position, from, to, ..
            } => self.copied(position, from, to, each),
            Fact::GroupReset { head, .. } => self.reset(head, each),
            Fact::HeadMoved { to, lost, .. } => {
                self.move_head(to, each);
                if lost > 0 {
                    self.count(|totals| totals.lost_to_retention += lost, each);
                }
            }
            _ => self.apply_to_event(fact, each),
        }
    }

    /// What `fact` makes of an event, or of some, that members are handed.
    fn apply_to_event(&mut self, fact: &Fact<'_>, each: &mut impl FnMut(Change)) {
        match *fact {
            Fact::EventHeld {
                position,
                hash,
                crashes,
                ..
            } => {
                let state = EventState::Held;
                let event = self.known(position, hash);
                let is = Unfinished {
                    state,
                    crashes,
                    ..event
                };
                self.take(position, is, each);
            }
            Fact::EventLeased {
                token,
                position,
                hash,
                ..
            } => {
                let event = self.known(position, hash);
                let state = EventState::Leased(token);
                self.take(position, Unfinished { state, ..event }, each);
                if event.attempts > 0 || event.crashes > 0 {
                    self.count(|totals| totals.redelivered += 1, each);
                }
            }
            Fact::EventsFinished { from, to, how, .. } => self.finish(from, to, how, each),
            Fact::EventRetried {
                position,
                attempts,
                until,
                ..
            } => {
                if let Some(mut event) = self.unfinished.get(&position).copied() {
                    event.state = EventState::Retrying { until };
                    (event.attempts, event.crashes) = (attempts, 0);
                    self.entry(position, Some(event), each);
                    self.count(|totals| totals.retried += 1, each);
                }
            }
            Fact::EventEnding {
                position,
                hash,
                dead,
                why,
                attempts,
                note,
                ..
            } => {
                let event = self.known(position, hash);
                let state = EventState::Ending { dead, why, note };
                let is = Unfinished {
                    state,
                    attempts,
                    ..event
                };
                self.take(position, is, each);
            }
            _ => {}
        }
    }
}

impl Fact<'_> {
    /// The group that the fact is about, where it is about one that is there.
    const fn group(&self) -> Option<u32> {
        match self {
            Self::MemberJoined { group, .. }
            | Self::MemberLeft { group, .. }
            | Self::EventHeld { group, .. }
            | Self::EventLeased { group, .. }
            | Self::EventsFinished { group, .. }
            | Self::EventRetried { group, .. }
            | Self::EventEnding { group, .. }
            | Self::EventKept { group, .. }
            | Self::KeptReleased { group, .. }
            | Self::KeptSkipped { group, .. }
            | Self::KeptRedriven { group, .. }
            | Self::KeptForgotten { group, .. }
            | Self::KeptCopied { group, .. }
            | Self::GroupReset { group, .. }
            | Self::HeadMoved { group, .. } => Some(*group),
            _ => None,
        }
    }
}

impl SavedGroups {
    /// What `fact` makes of them. Facts come in order.
    pub fn apply(&mut self, fact: &Fact<'_>) {
        self.apply_with(fact, |_, _| {});
    }

    /// The same; each thing that changed is told, in order, with its group.
    pub(super) fn apply_with(&mut self, fact: &Fact<'_>, mut each: impl FnMut(u32, Change)) {
        match *fact {
            Fact::GroupSet {
                group,
                topic,
                name,
                config,
                at,
                head,
            } => {
                if let Some(is) = self.by_number.get_mut(&group) {
                    let was = std::mem::replace(&mut is.config, config);
                    each(group, Change::Config(was));
                    return;
                }
                let made = SavedGroup {
                    topic,
                    name: name.into(),
                    config,
                    created_at: at,
                    head,
                    unfinished: BTreeMap::new(),
                    members: BTreeMap::new(),
                    parked: BTreeMap::new(),
                    dead: BTreeMap::new(),
                    totals: GroupTotals::default(),
                };
                self.by_number.insert(group, made);
                self.last_number = self.last_number.max(group);
                each(group, Change::Made);
            }
            Fact::GroupDeleted { group } => {
                if let Some(was) = self.by_number.remove(&group) {
                    each(group, Change::Gone(Box::new(was)));
                }
            }
            Fact::TopicDeleted { topic } => {
                let all = self.by_number.iter();
                let of = all.filter(|(_, is)| is.topic == topic);
                let of: Vec<u32> = of.map(|(group, _)| *group).collect();
                for group in of {
                    if let Some(was) = self.by_number.remove(&group) {
                        each(group, Change::Gone(Box::new(was)));
                    }
                }
            }
            _ => {
                if let Some((group, is)) = fact
                    .group()
                    .and_then(|group| Some((group, self.by_number.get_mut(&group)?)))
                {
                    is.apply(fact, &mut |change| each(group, change));
                }
            }
        }
    }
}
