//! Groups: each event handled to its end, those of one key in order and by one member at a time,
//! and a position that passes nothing.

mod ends;
mod holding;
mod membership;
mod order;
mod position;
mod together;

use std::collections::{BTreeMap, HashMap};

use super::topics::{Topic, Topics};
use super::{View, Violation, accuse};
use crate::history::{Answer, Entry, EventEnd, GroupEnd, History, Label, OfTopic, Seen, What};
use membership::{Member, Sign};

/// When members were lost so often in a row while they had it, an event is given up by itself.
const POISON: usize = 5;

/// One event in the hands of a member.
#[derive(Clone, Copy, Debug)]
struct Handed<'a> {
    event: &'a Seen,
    token: u64,
    invoked: u64,
    completed: u64,
    /// Where in its answer it came.
    rank: usize,
}

/// What became of one event in one settle.
#[derive(Clone, Copy, Debug)]
struct Ended<'a> {
    end: &'a EventEnd,
    token: u64,
    invoked: u64,
    completed: u64,
    answer: &'a Answer<bool>,
    /// Which settle of the group, counted from 0.
    of: usize,
}

impl Ended<'_> {
    /// Its key goes on behind it.
    fn finishes(&self) -> bool {
        let gives_up = self.end.outcome == "retry" && self.end.last;
        gives_up || matches!(self.end.outcome.as_str(), "done" | "skip" | "dead")
    }

    /// It is put aside, and its key with it.
    fn parks(&self) -> bool {
        let gives_up = self.end.outcome == "retry" && self.end.last;
        gives_up || self.end.outcome == "park"
    }

    fn is_ok(&self) -> bool {
        self.answer.ok().is_some()
    }

    fn maybe(&self) -> bool {
        self.answer.maybe()
    }
}

/// One settle, as it was asked.
#[derive(Clone, Copy, Debug)]
struct Settle<'a> {
    token: u64,
    ends: &'a [EventEnd],
    jobs: &'a [Label],
    events: &'a [Label],
    answer: &'a Answer<bool>,
}

/// One group.
#[derive(Debug, Default)]
struct Group<'a> {
    handed: HashMap<Label, Vec<Handed<'a>>>,
    ended: HashMap<Label, Vec<Ended<'a>>>,
    settles: Vec<Settle<'a>>,
    members: HashMap<u64, Member>,
    /// Where it was, from when to when.
    looks: Vec<(u64, u64, &'a str)>,
    /// When parked events were released, or may have been.
    releases: Vec<(u64, u64)>,
    end: Option<&'a GroupEnd>,
}

/// What a group is judged against.
struct Judged<'a, 'v> {
    name: &'a str,
    group: &'v Group<'a>,
    topic: &'v Topic<'a>,
    topics: &'v Topics<'a>,
    view: &'v View<'a>,
    /// The keys, each with its events in their order.
    keys: Vec<Vec<(usize, Label)>>,
}

/// All of them, by name.
#[derive(Debug, Default)]
pub(super) struct Groups<'a>(BTreeMap<&'a str, Group<'a>>);

impl<'a> Groups<'a> {
    pub(super) fn of(history: &'a History, entries: &[&'a Entry]) -> Self {
        let mut groups = Self::default();
        for entry in entries {
            if let What::Topic(what) = &entry.what {
                groups.add(entry, what);
            }
        }
        for end in &history.groups {
            groups.0.entry(&end.group).or_default().end = Some(end);
        }
        let all = groups.0.values_mut();
        for handed in all.flat_map(|group| group.handed.values_mut()) {
            handed.sort_by_key(|it| it.invoked);
        }
        groups
    }

    /// Every event that a member was handed, with its topic.
    pub(super) fn handed(&self) -> Vec<(&'a str, &'a Seen)> {
        let all = self.0.iter().flat_map(|(name, group)| {
            let handed = group.handed.values().flatten();
            handed.map(|handed| (topic_of(name), handed.event))
        });
        all.collect()
    }

    fn add(&mut self, entry: &'a Entry, what: &'a OfTopic) {
        let (invoked, completed) = (entry.invoked, entry.completed);
        match what {
            OfTopic::Publish { .. } | OfTopic::Read { .. } => {}
            OfTopic::Ask {
                group,
                token,
                lease_ms,
                answer,
            } => self.group(group).ask(entry, *token, *lease_ms, answer),
            OfTopic::Settle {
                group,
                token,
                ends,
                jobs,
                events,
                answer,
            } => self.group(group).settle(
                entry,
                Settle {
                    token: *token,
                    ends,
                    jobs,
                    events,
                    answer,
                },
            ),
            OfTopic::Beat {
                group,
                token,
                answer,
            } => {
                let sure = answer.ok().is_some();
                if answer.maybe() {
                    self.group(group).sign(
                        *token,
                        Sign {
                            invoked,
                            completed,
                            sure,
                        },
                    );
                }
            }
            OfTopic::Leave {
                group,
                token,
                answer,
            } => {
                let sure = answer.ok().is_some();
                if answer.maybe() {
                    let member = self.group(group).members.entry(*token).or_default();
                    member.leaves.push(Sign {
                        invoked,
                        completed,
                        sure,
                    });
                }
            }
            OfTopic::Look { group, position } => {
                let looks = &mut self.group(group).looks;
                looks.push((invoked, completed, position));
            }
            OfTopic::Release { group, answer } => {
                if answer.maybe() {
                    self.group(group).releases.push((invoked, completed));
                }
            }
        }
    }

    fn group(&mut self, name: &'a str) -> &mut Group<'a> {
        self.0.entry(name).or_default()
    }
}

impl<'a> Group<'a> {
    fn sign(&mut self, token: u64, sign: Sign) {
        self.members.entry(token).or_default().signs.push(sign);
    }

    fn ask(
        &mut self,
        entry: &Entry,
        token: Option<u64>,
        lease_ms: u64,
        answer: &'a Answer<(u64, Vec<Seen>)>,
    ) {
        let (invoked, completed) = (entry.invoked, entry.completed);
        let (member, events) = match (answer, token) {
            (Answer::Ok((token, events)), _) => (*token, events.as_slice()),
            (Answer::Unknown, Some(token)) => (token, &[][..]),
            _ => return,
        };
        let sure = answer.ok().is_some();
        self.sign(
            member,
            Sign {
                invoked,
                completed,
                sure,
            },
        );
        let known = self.members.entry(member).or_default();
        if token.is_none() {
            known.lease_us = lease_ms * 1_000;
        }
        known.lost_answers.extend((!sure).then_some(invoked));
        for (rank, event) in events.iter().enumerate() {
            self.handed.entry(event.label).or_default().push(Handed {
                event,
                token: member,
                invoked,
                completed,
                rank,
            });
        }
    }

    fn settle(&mut self, entry: &Entry, settle: Settle<'a>) {
        for end in settle.ends {
            self.ended.entry(end.label).or_default().push(Ended {
                end,
                token: settle.token,
                invoked: entry.invoked,
                completed: entry.completed,
                answer: settle.answer,
                of: self.settles.len(),
            });
        }
        self.settles.push(settle);
    }

    fn handed(&self, label: Label) -> &[Handed<'a>] {
        self.handed.get(&label).map_or(&[], Vec::as_slice)
    }

    /// When an event may have been given up because members were lost with it.
    fn poisoned_at(&self, label: Label) -> u64 {
        let often = self.handed(label).get(POISON - 1);
        often.map_or(u64::MAX, |handed| handed.invoked)
    }

    fn ended(&self, label: Label) -> &[Ended<'a>] {
        self.ended.get(&label).map_or(&[], Vec::as_slice)
    }
}

/// The topic of a group that is named by both.
fn topic_of(group: &str) -> &str {
    group.split_once('/').map_or(group, |(topic, _)| topic)
}

pub(super) fn check(
    groups: &Groups<'_>,
    topics: &Topics<'_>,
    view: &View<'_>,
    found: &mut Vec<Violation>,
) {
    let nothing = Topic::default();
    for (name, group) in &groups.0 {
        let topic = topics.get(topic_of(name)).unwrap_or(&nothing);
        let judged = Judged {
            name,
            group,
            topic,
            topics,
            view,
            keys: keys(topic),
        };
        order::check(&judged, found);
        holding::check(&judged, found);
        membership::check(&judged, found);
        position::check(&judged, found);
        ends::check(&judged, found);
        together::check(&judged, found);
    }
    together::commits(topics, view, found);
}

/// The events of each key, in order. One without a key has one of its own.
fn keys(topic: &Topic<'_>) -> Vec<Vec<(usize, Label)>> {
    let mut keys: BTreeMap<&str, Vec<(usize, Label)>> = BTreeMap::new();
    let mut alone = Vec::new();
    for (index, event) in topic.order.iter().enumerate() {
        match &event.key {
            Some(key) => keys.entry(key).or_default().push((index, event.label)),
            None => alone.push(vec![(index, event.label)]),
        }
    }
    keys.into_values().chain(alone).collect()
}
