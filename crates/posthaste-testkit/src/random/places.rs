//! Which topic of the store is which of the model's: each counts its topics, and its histories, as
//! it likes, so that places are compared through the topics that they are of.

use std::sync::Arc;

use posthaste_core::command::{Committed, Reply};
use posthaste_core::error::{Error, Result};
use posthaste_core::group::GroupView;
use posthaste_core::topic::{
    Event, EventPage, Gap, Position, Published, ReadFrom, TailTopic, TopicRead, TopicView,
};

/// A history that is nobody's.
const NOBODYS: u32 = u32::MAX;

/// The topics that both have spoken of. No number of the store stands for two topics of the model,
/// also when one of them is gone.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Of each topic the first place: the store's, and the model's.
    known: Vec<(Position, Position)>,
}

impl Places {
    /// A place that the store told, as the model would; `want` is what the model says at this
    /// point, by which a topic is recognised that was not spoken of before.
    pub(super) fn ours(&mut self, got: Position, want: Position) -> Position {
        let (theirs, ours) = (got.at(0), want.at(0));
        let known = |it: &(Position, Position)| it.0 == theirs || it.1 == ours;
        if !self.known.iter().any(known) {
            self.known.push((theirs, ours));
        }
        let found = self.known.iter().find(|it| it.0 == theirs);
        let nobodys = Position {
            epoch: NOBODYS,
            ..got
        };
        found.map_or(nobodys, |it| it.1.at(got.sequence))
    }

    /// A place of the model as the store tells it; in another history, where it is in another.
    pub(super) fn theirs(&self, ours: Position) -> Option<Position> {
        let known = |strange: u32| {
            let epoch = ours.epoch ^ strange;
            let place = Position { epoch, ..ours }.at(0);
            let found = self.known.iter().find(|it| it.1 == place)?;
            let epoch = found.0.epoch ^ strange;
            Some(Position { epoch, ..found.0 }.at(ours.sequence))
        };
        known(0).or_else(|| known(1))
    }

    /// The same ask, to the store. `None` where it has never told that place.
    pub(super) fn their_ask(&self, ask: &TailTopic) -> Option<TailTopic> {
        let mut ask = ask.clone();
        if let ReadFrom::Position(position) = ask.from {
            ask.from = ReadFrom::Position(self.theirs(position)?);
        }
        Some(ask)
    }

    /// The store's answer to a commit, as the model would tell it.
    pub(super) fn our_answer(
        &mut self,
        got: &Result<Committed, Error>,
        want: &Result<Committed, Error>,
    ) -> Result<Committed, Error> {
        let mut got = got.clone()?;
        let Ok(want) = want else {
            return Ok(got);
        };
        for (got, want) in got.replies.iter_mut().zip(&want.replies) {
            if let (Reply::Published(got), Reply::Published(want)) = (got, want) {
                let pairs = got.iter().zip(want.iter());
                let ours = pairs.map(|(got, want)| Published {
                    position: self.ours(got.position, want.position),
                    ..*got
                });
                let more = got.iter().skip(want.len()).copied();
                *got = Arc::from_iter(ours.chain(more).collect::<Vec<_>>());
            }
        }
        Ok(got)
    }

    /// What the store read, as the model would tell it; `end` is that of the topic in the model.
    pub(super) fn our_read(&mut self, got: TopicRead, end: Position) -> TopicRead {
        match got {
            TopicRead::Gap(gap) => TopicRead::Gap(Gap {
                reason: gap.reason,
                earliest: self.ours(gap.earliest, end),
                end: self.ours(gap.end, end),
            }),
            TopicRead::Page(page) => TopicRead::Page(EventPage {
                next: self.ours(page.next, end),
                earliest: self.ours(page.earliest, end),
                end: self.ours(page.end, end),
                events: page
                    .events
                    .into_iter()
                    .map(|event| Event {
                        position: self.ours(event.position, end),
                        ..event
                    })
                    .collect(),
            }),
        }
    }

    /// One of the store's groups as the model would tell it; `want` is what that says.
    pub(super) fn our_group(&mut self, got: GroupView, want: &GroupView) -> GroupView {
        GroupView {
            position: self.ours(got.position, want.position),
            head: self.ours(got.head, want.head),
            end: self.ours(got.end, want.end),
            ..got
        }
    }

    /// The store's topics as the model would tell them. How much they hold is told roughly, and
    /// more may be kept than has to be.
    pub(super) fn our_topics(&mut self, got: Vec<TopicView>, want: &[TopicView]) -> Vec<TopicView> {
        let mut got = got;
        for topic in &mut got {
            let Some(want) = want.iter().find(|it| it.name == topic.name) else {
                continue;
            };
            topic.end = self.ours(topic.end, want.end);
            topic.earliest = self.ours(topic.earliest, want.end);
            if topic.earliest.is_of(want.end) && topic.earliest < want.earliest {
                topic.earliest = want.earliest;
            }
            (topic.events, topic.bytes) = (want.events, want.bytes);
        }
        got
    }
}
