//! The position of a group: never past an unfinished event, and never back.

use std::collections::BTreeSet;

use super::{Judged, accuse};
use crate::checker::{Fault, Violation};

pub(super) fn check(judged: &Judged<'_, '_>, found: &mut Vec<Violation>) {
    let mut looks = Vec::new();
    for (invoked, completed, cursor) in &judged.group.looks {
        match judged.topic.before(cursor) {
            Some(position) => looks.push((*invoked, *completed, position)),
            None if judged.view.drained => {
                let story = format!("{}: {cursor} is no place of its topic", judged.name);
                accuse(found, Fault::PositionPassed, story);
            }
            None => {} // nobody has read so far
        }
    }
    passed(judged, &mut looks, found);
    back(judged, looks, found);
}

/// Whatever lies below the position may have been finished when it was told.
fn passed(judged: &Judged<'_, '_>, looks: &mut [(u64, u64, usize)], found: &mut Vec<Violation>) {
    let mut finished: Vec<(u64, usize)> = Vec::new();
    for key in &judged.keys {
        let mut parked = u64::MAX; // since when those behind an event may be parked with it
        for (index, label) in key {
            let ended = judged.group.ended(*label).iter();
            let ended = ended.filter(|it| it.maybe());
            let own = ended.clone().filter(|it| it.finishes() || it.parks());
            let own = own.map(|it| it.invoked).min().unwrap_or(u64::MAX);
            let poisoned = judged.group.poisoned_at(*label);
            finished.push((own.min(parked).min(poisoned), *index));
            let parks = ended.filter(|it| it.parks()).map(|it| it.invoked).min();
            parked = parked.min(parks.unwrap_or(u64::MAX)).min(poisoned);
        }
    }
    finished.sort_unstable();
    looks.sort_by_key(|(_, completed, _)| *completed);
    let mut finished = finished.into_iter().peekable();
    let mut open: BTreeSet<usize> = (0..judged.topic.order.len()).collect();
    for (_, completed, position) in looks {
        while let Some((_, index)) = finished.next_if(|(at, _)| at <= completed) {
            open.remove(&index);
        }
        let unfinished = open.first().filter(|first| *first < position);
        if let Some(event) = unfinished.and_then(|first| judged.topic.order.get(*first)) {
            let story = format!(
                "{}: its position was {position} at {completed} µs, and event {} was not finished",
                judged.name, event.label
            );
            accuse(found, Fault::PositionPassed, story);
        }
    }
}

/// A later look shows no earlier position.
fn back(judged: &Judged<'_, '_>, looks: Vec<(u64, u64, usize)>, found: &mut Vec<Violation>) {
    let mut asked = looks.clone();
    asked.sort_by_key(|(invoked, ..)| *invoked);
    let (mut told, mut highest) = (looks.into_iter().peekable(), 0);
    for (invoked, _, position) in asked {
        while let Some((.., before)) = told.next_if(|(_, completed, _)| *completed < invoked) {
            highest = highest.max(before);
        }
        if position < highest {
            let story = format!("{}: its position went from {highest}", judged.name);
            accuse(
                found,
                Fault::PositionBack,
                format!("{story} to {position} at {invoked} µs"),
            );
        }
    }
}
