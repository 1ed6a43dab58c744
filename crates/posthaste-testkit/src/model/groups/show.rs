//! What people are shown of groups.

use posthaste_core::error::{ErrorKind, Result};
use posthaste_core::group::{GroupView, KeptEvent, KeptPage, MemberView, PausedBy};
use posthaste_core::ids::{GroupName, Token, TopicName};
use posthaste_core::limits;
use posthaste_core::port::{KeptAsk, TailGroup};

use super::{Group, Kept, Model, State, refusal};

impl Model {
    /// Every group, by topic and name.
    #[must_use]
    pub fn group_views(&self) -> Vec<GroupView> {
        let views = self.groups.iter().filter_map(|it| self.group_view(it));
        let mut views: Vec<GroupView> = views.collect();
        views.sort_by(|a, b| (&a.topic, &a.name).cmp(&(&b.topic, &b.name)));
        views
    }

    fn group_view(&self, group: &Group) -> Option<GroupView> {
        let zero = self.zero_of(&group.topic)?;
        let end = self.topic(&group.topic).ok()?.end();
        let held = |token| {
            group
                .open
                .iter()
                .filter(move |it| it.holder() == Some(token))
        };
        let fails = |state: &State| matches!(state, State::Fails { .. });
        let count = |of: usize| of as u64;
        let full = group.is_full().then_some(PausedBy::ParkedFull);
        Some(GroupView {
            topic: group.topic.clone(),
            name: group.name.clone(),
            config: group.config,
            created_at: group.created_at,
            position: zero.at(group.position()),
            head: zero.at(group.head),
            end,
            unfinished: count(group.open.len()),
            leased: count(group.open.iter().filter(|it| it.holder().is_some()).count()),
            retrying: count(group.open.iter().filter(|it| fails(&it.state)).count()),
            parked: count(group.parked.len()),
            dead: count(group.dead.len()),
            members: group
                .members
                .iter()
                .map(|member| MemberView {
                    name: member.name.clone(),
                    leased: count(held(member.token).count()),
                })
                .collect(),
            paused: if group.config.paused {
                Some(PausedBy::Person)
            } else {
                full
            },
            totals: group.totals,
            lag: end.sequence - group.position(),
        })
    }

    /// One page of parked events, or of dead letters.
    ///
    /// # Errors
    /// `NotFound` where there is no such group.
    pub fn kept_events(&mut self, ask: &KeptAsk) -> Result<KeptPage> {
        let group = self.group(&ask.topic, &ask.group)?;
        let list = if ask.dead { &group.dead } else { &group.parked };
        let from = ask.cursor.unwrap_or(0);
        let max = ask.max.clamp(1, limits::PAGE_MAX) as usize;
        let mut rest = list.iter().filter(|kept| kept.at() >= from);
        let events = rest.by_ref().take(max).map(Kept::view).collect();
        let next = rest.next().map(Kept::at);
        Ok(KeptPage { events, next })
    }

    /// Positions of the parked events of a group, or of its dead letters.
    #[must_use]
    pub fn kept_of(&self, topic: &TopicName, name: &GroupName, dead: bool) -> Vec<u64> {
        let of = |it: &&Group| it.topic == *topic && it.name == *name;
        let group = self.groups.iter().find(of);
        let list = group.map(|it| if dead { &it.dead } else { &it.parked });
        list.into_iter().flatten().map(Kept::at).collect()
    }

    /// Positions of dead letters that their group has met again.
    #[must_use]
    pub fn met_again(&self, topic: &TopicName, name: &GroupName) -> Vec<u64> {
        let mut met = self.kept_of(topic, name, true);
        let of = |it: &&Group| it.topic == *topic && it.name == *name;
        let open = self.groups.iter().filter(of).flat_map(|it| &it.open);
        let open: Vec<u64> = open.map(super::Open::at).collect();
        let parked = self.kept_of(topic, name, false);
        met.retain(|at| open.contains(at) || parked.contains(at));
        met
    }

    /// Positions of what a member holds.
    #[must_use]
    pub fn held_of(&self, topic: &TopicName, name: &GroupName, token: Token) -> Vec<u64> {
        let of = |it: &&Group| it.topic == *topic && it.name == *name;
        let open = self.groups.iter().filter(of).flat_map(|it| &it.open);
        let held = open.filter(|it| it.holder() == Some(token));
        held.map(super::Open::at).collect()
    }

    /// Groups of which more was given up on than may be parked.
    #[must_use]
    pub fn crowded(&self) -> Vec<(TopicName, GroupName)> {
        let crowded = self.groups.iter().filter(|group| {
            let mut open = group.open.iter();
            open.any(super::Open::is_being_parked)
        });
        let names = crowded.map(|group| (group.topic.clone(), group.name.clone()));
        names.collect()
    }

    /// How a group is, and whether it has passed what is asked for.
    ///
    /// # Errors
    /// `NotFound` where there is no such group; `Invalid` for a position of another history.
    pub(in crate::model) fn passed(&mut self, ask: &TailGroup) -> Result<(GroupView, bool)> {
        let group = self.group(&ask.topic, &ask.group)?.clone();
        let gone = || refusal(ErrorKind::NotFound, "there is no such group");
        let view = self.group_view(&group).ok_or_else(gone)?;
        match ask.passed {
            Some(position) if !position.is_of(view.position) => {
                Err(refusal(ErrorKind::Invalid, "it is of another history"))
            }
            Some(position) => {
                let passed = view.position > position;
                Ok((view, passed))
            }
            None => Ok((view, true)),
        }
    }
}

impl Kept {
    fn view(&self) -> KeptEvent {
        KeptEvent {
            event: self.event.clone(),
            reason: self.why,
            error: self.error.clone(),
            attempts: self.attempts,
            at: self.at,
        }
    }
}
