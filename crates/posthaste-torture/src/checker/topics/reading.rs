//! How topics are read: everything once and in one order, nothing passed over, no cursor void.

use std::collections::HashMap;

use super::places::at;
use super::{Topic, accuse};
use crate::checker::{Fault, Violation};

pub(super) fn check(name: &str, topic: &Topic<'_>, found: &mut Vec<Violation>) {
    for chain in &topic.chains {
        dense(name, chain, found);
        agrees(name, topic, chain, found);
    }
    for (completed, from) in &topic.refused {
        let from = from.unwrap_or("earliest");
        let story = format!("{from} of {name} was refused at {completed} µs");
        accuse(found, Fault::CursorRefused, story);
    }
    unseen(name, topic, found);
}

/// From the earliest on, offsets come one after the other in each partition, each once.
fn dense(name: &str, chain: &super::Chain<'_>, found: &mut Vec<Violation>) {
    let mut next: HashMap<u64, u64> = HashMap::new();
    for event in &chain.events {
        let next = next.entry(event.place.partition).or_default();
        let offset = event.place.offset;
        let story = format!(
            "reader {} of {name} was told {}, where {next} comes next",
            chain.client,
            at(&event.place)
        );
        if offset > *next {
            accuse(found, Fault::OffsetGap, story);
        } else if offset < *next {
            accuse(found, Fault::CursorOrder, story);
        }
        *next = (*next).max(offset + 1);
    }
}

/// Every reader sees the same order.
fn agrees(name: &str, topic: &Topic<'_>, chain: &super::Chain<'_>, found: &mut Vec<Violation>) {
    let mut pairs = chain.events.iter().zip(&topic.order);
    if let Some((one, other)) = pairs.find(|(one, other)| one.label != other.label) {
        let story = format!(
            "reader {} of {name} was told {} where others were told {}",
            chain.client, one.label, other.label
        );
        accuse(found, Fault::CursorOrder, story);
    }
}

/// Who is told that he has read everything has read whatever was acknowledged before he asked.
fn unseen(name: &str, topic: &Topic<'_>, found: &mut Vec<Violation>) {
    let mut acknowledged: Vec<(u64, usize)> = Vec::new();
    for (index, event) in topic.order.iter().enumerate() {
        let at = topic.acknowledged_at(event.label);
        acknowledged.extend(at.map(|at| (at, index)));
    }
    acknowledged.sort_unstable();
    let mut pages: Vec<_> = topic.pages.iter().filter(|(_, _, page)| page.all).collect();
    pages.sort_by_key(|(invoked, ..)| *invoked);
    let (mut before, mut last) = (acknowledged.into_iter().peekable(), None);
    for (invoked, _, page) in pages {
        while let Some((_, index)) = before.next_if(|(at, _)| at < invoked) {
            last = last.max(Some(index));
        }
        let (Some(index), Some(next)) = (last, topic.before(&page.next)) else {
            continue;
        };
        if index >= next {
            let story = format!(
                "the end of {name} was told at {} at {invoked} µs, and event {} was acknowledged before",
                page.next, topic.order[index].label
            );
            accuse(found, Fault::EventUnseen, story);
        }
    }
}
