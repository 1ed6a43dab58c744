//! Topics: is every acknowledged event there, in one place, and do all readers see one order?

mod places;
mod reading;

use std::collections::{BTreeMap, HashMap};

use super::{Violation, accuse};
use crate::history::{Answer, Entry, Label, NewEvent, OfTopic, Page, Published, Seen, What};

/// One attempt to publish one event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt<'a> {
    pub(super) invoked: u64,
    pub(super) completed: u64,
    /// Where it was put, as far as that was told.
    pub(super) published: Option<&'a Published>,
    pub(super) acknowledged: bool,
    pub(super) refused: bool,
}

/// What one client read of a topic, page after page, from the earliest on.
#[derive(Debug, Default)]
pub(super) struct Chain<'a> {
    pub(super) client: u32,
    pub(super) events: Vec<&'a Seen>,
    /// Where it went on in the end.
    next: &'a str,
}

/// One topic.
#[derive(Debug, Default)]
pub(super) struct Topic<'a> {
    pub(super) attempts: HashMap<Label, Vec<Attempt<'a>>>,
    pub(super) chains: Vec<Chain<'a>>,
    /// Every page that was told, from when to when.
    pages: Vec<(u64, u64, &'a Page)>,
    /// Cursors that were refused.
    refused: Vec<(u64, Option<&'a str>)>,
    /// When an event was read for the first time.
    pub(super) first_read: HashMap<Label, u64>,
    /// The cursor before the first event.
    start: Option<&'a str>,
    /// All that is known of its order: the longest chain, or what was read in the end.
    pub(super) order: Vec<&'a Seen>,
    /// Where in the order an event is.
    pub(super) index: HashMap<Label, usize>,
    /// How many events lie before a cursor.
    before: HashMap<&'a str, usize>,
}

/// All of them, by name.
pub(super) type Topics<'a> = BTreeMap<&'a str, Topic<'a>>;

/// The client that reads everything in the end.
const LAST_READER: u32 = 0;

pub(super) fn view<'a>(entries: &[&'a Entry], drained: bool) -> Topics<'a> {
    let mut topics = Topics::new();
    for entry in entries {
        match &entry.what {
            What::Topic(OfTopic::Publish {
                topic,
                events,
                answer,
                ..
            }) => topics
                .entry(topic)
                .or_default()
                .publish(entry, events, answer),
            What::Topic(OfTopic::Read {
                topic,
                from,
                answer,
            }) => topics
                .entry(topic)
                .or_default()
                .read(entry, from.as_deref(), answer),
            _ => {}
        }
    }
    for topic in topics.values_mut() {
        topic.put_in_order(drained);
    }
    topics
}

impl<'a> Topic<'a> {
    fn publish(&mut self, entry: &Entry, events: &[NewEvent], answer: &'a Answer<Vec<Published>>) {
        for (index, event) in events.iter().enumerate() {
            self.attempts.entry(event.label).or_default().push(Attempt {
                invoked: entry.invoked,
                completed: entry.completed,
                published: answer.ok().and_then(|all| all.get(index)),
                acknowledged: answer.ok().is_some(),
                refused: *answer == Answer::Fail,
            });
        }
    }

    fn read(&mut self, entry: &Entry, from: Option<&'a str>, answer: &'a Answer<Page>) {
        let page = match answer {
            Answer::Ok(page) => page,
            Answer::Fail => return self.refused.push((entry.completed, from)),
            Answer::Unknown => return,
        };
        self.pages.push((entry.invoked, entry.completed, page));
        self.start = self.start.or(page.earliest.as_deref());
        for event in &page.events {
            self.first_read
                .entry(event.label)
                .and_modify(|at| *at = entry.completed.min(*at))
                .or_insert(entry.completed);
        }
        let client = entry.client;
        if from.is_none() {
            self.chains.push(Chain {
                client,
                ..Chain::default()
            });
        }
        let mut chains = self.chains.iter_mut().rev();
        let Some(chain) = chains.find(|chain| chain.client == client) else {
            return;
        };
        if from.is_none_or(|from| from == chain.next) {
            chain.events.extend(&page.events);
            chain.next = &page.next;
        }
    }

    fn put_in_order(&mut self, drained: bool) {
        let last = |chain: &&Chain<'_>| drained && chain.client == LAST_READER;
        let chains = || self.chains.iter();
        let longest = || chains().max_by_key(|chain| chain.events.len());
        let order = chains().find(last).or_else(longest);
        self.order = order.map_or_else(Vec::new, |chain| chain.events.clone());
        for (index, event) in self.order.iter().enumerate() {
            self.index.entry(event.label).or_insert(index);
            self.before.insert(&event.place.cursor, index + 1);
        }
        if let Some(start) = self.start {
            self.before.entry(start).or_insert(0);
        }
    }

    /// How many events lie before a cursor; `None` where it is no place of the topic.
    pub(super) fn before(&self, cursor: &str) -> Option<usize> {
        self.before.get(cursor).copied()
    }

    /// When it was acknowledged for the first time that an event is there.
    fn acknowledged_at(&self, label: Label) -> Option<u64> {
        let attempts = self.attempts.get(&label)?.iter();
        let acknowledged = attempts.filter(|it| it.acknowledged);
        acknowledged.map(|it| it.completed).min()
    }
}

/// `handed` are events that members of groups were handed, by topic.
pub(super) fn check(
    topics: &Topics<'_>,
    handed: &[(&str, &Seen)],
    drained: bool,
    found: &mut Vec<Violation>,
) {
    for (name, topic) in topics {
        let handed = handed.iter().filter(|(topic, _)| topic == name);
        let handed: Vec<&Seen> = handed.map(|(_, event)| *event).collect();
        places::check(name, topic, &handed, drained, found);
        reading::check(name, topic, found);
    }
}
