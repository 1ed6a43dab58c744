//! Where events lie: each in one place for good, and none that nobody published.

use std::collections::{HashMap, HashSet};

use super::{Topic, accuse};
use crate::checker::{Fault, Violation};
use crate::history::{Label, Place, Seen};

pub(super) fn check(
    name: &str,
    topic: &Topic<'_>,
    handed: &[&Seen],
    drained: bool,
    found: &mut Vec<Violation>,
) {
    let read = topic.chains.iter().flat_map(|chain| chain.events.iter());
    let seen: Vec<&Seen> = read.copied().chain(handed.iter().copied()).collect();
    origin(name, topic, &seen, found);
    places(name, topic, &seen, found);
    lost(name, topic, drained, found);
    rising(name, topic, found);
}

/// What is read or handed out was published, and not refused.
fn origin(name: &str, topic: &Topic<'_>, seen: &[&Seen], found: &mut Vec<Violation>) {
    let mut told = HashSet::new();
    for event in seen {
        let label = event.label;
        if !told.insert(label) {
            continue;
        }
        let story = format!("event {label} of {name} at {}", at(&event.place));
        let attempts = topic.attempts.get(&label).map_or(&[][..], Vec::as_slice);
        if attempts.is_empty() {
            accuse(
                found,
                Fault::EventPhantom,
                format!("{story}, never published"),
            );
        } else if attempts.iter().all(|it| it.refused) {
            accuse(found, Fault::EventRefusedSeen, format!("{story}, refused"));
        }
    }
}

/// An event has one place, and a place one event, whoever tells it.
fn places(name: &str, topic: &Topic<'_>, seen: &[&Seen], found: &mut Vec<Violation>) {
    let mut of_label: HashMap<Label, &Place> = HashMap::new();
    let mut of_place: HashMap<(u64, u64), Label> = HashMap::new();
    let mut of_cursor: HashMap<&str, Label> = HashMap::new();
    let told = topic.attempts.iter().flat_map(|(label, attempts)| {
        let published = attempts.iter().filter_map(|it| it.published);
        published.map(|published| (*label, &published.place))
    });
    let seen = seen.iter().map(|event| (event.label, &event.place));
    for (label, place) in told.chain(seen) {
        let known = *of_label.entry(label).or_insert(place);
        if known != place {
            let story = format!("event {label} of {name} is at {}", at(known));
            accuse(
                found,
                Fault::EventTwoPlaces,
                format!("{story} and at {}", at(place)),
            );
            continue;
        }
        let by_offset = *of_place
            .entry((place.partition, place.offset))
            .or_insert(label);
        let by_cursor = *of_cursor.entry(&place.cursor).or_insert(label);
        if let Some(other) = [by_offset, by_cursor].into_iter().find(|it| *it != label) {
            let story = format!("at {} of {name} are {other} and {label}", at(place));
            accuse(found, Fault::PlaceTwoEvents, story);
        }
    }
}

/// What was acknowledged, or read, is there in the end. Before the end: below the highest offset
/// that somebody read who began at the earliest, it was read by him.
fn lost(name: &str, topic: &Topic<'_>, drained: bool, found: &mut Vec<Violation>) {
    for label in topic.attempts.keys().chain(topic.first_read.keys()) {
        let acknowledged = topic.acknowledged_at(*label).is_some();
        let known = acknowledged || topic.first_read.contains_key(label);
        if drained && known && !topic.index.contains_key(label) {
            let what = if acknowledged { "acknowledged" } else { "read" };
            let story = format!("event {label} of {name} was {what}, and is not there in the end");
            accuse(found, Fault::EventLost, story);
        }
    }
    for chain in &topic.chains {
        let mut highest: HashMap<u64, u64> = HashMap::new();
        let mut read = HashSet::new();
        for event in &chain.events {
            let highest = highest.entry(event.place.partition).or_default();
            *highest = event.place.offset.max(*highest);
            read.insert(event.label);
        }
        for (label, attempts) in &topic.attempts {
            let published = attempts.iter().find_map(|it| it.published);
            let Some(place) = published.map(|it| &it.place) else {
                continue;
            };
            let passed = highest
                .get(&place.partition)
                .is_some_and(|it| place.offset <= *it);
            if passed && !read.contains(label) {
                let story = format!("event {label} of {name} at {} was passed", at(place));
                accuse(
                    found,
                    Fault::EventLost,
                    format!("{story} by reader {}", chain.client),
                );
            }
        }
    }
}

/// What was acknowledged before another was asked for lies before it.
fn rising(name: &str, topic: &Topic<'_>, found: &mut Vec<Violation>) {
    let mut begun: Vec<(u64, usize, &Seen)> = Vec::new();
    let mut over: Vec<(u64, usize, &Seen)> = Vec::new();
    for (index, event) in topic.order.iter().enumerate() {
        let Some(attempts) = topic.attempts.get(&event.label) else {
            continue;
        };
        let first = attempts.iter().map(|it| it.invoked).min();
        begun.extend(first.map(|at| (at, index, *event)));
        let acknowledged = topic.acknowledged_at(event.label);
        over.extend(acknowledged.map(|at| (at, index, *event)));
    }
    begun.sort_by_key(|it| it.0);
    over.sort_by_key(|it| it.0);
    let mut over = over.into_iter().peekable();
    let mut last: Option<(usize, &Seen)> = None;
    let mut offsets: HashMap<u64, u64> = HashMap::new();
    for (invoked, index, event) in begun {
        while let Some((_, at, before)) = over.next_if(|it| it.0 < invoked) {
            let highest = offsets.entry(before.place.partition).or_default();
            *highest = before.place.offset.max(*highest);
            if last.is_none_or(|(known, _)| at > known) {
                last = Some((at, before));
            }
        }
        let fell = offsets.get(&event.place.partition);
        let fell = fell.is_some_and(|highest| event.place.offset < *highest);
        if let Some((before, other)) = last
            && (before > index || fell)
        {
            let story = format!(
                "event {} of {name} at {} was published after {} at {}",
                event.label,
                at(&event.place),
                other.label,
                at(&other.place)
            );
            accuse(found, Fault::OffsetFell, story);
        }
    }
}

pub(super) fn at(place: &Place) -> String {
    format!("{}:{}", place.partition, place.offset)
}
