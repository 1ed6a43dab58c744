//! What the server says of a group when all is drained, against what its members did.

use std::collections::BTreeSet;

use super::{Ended, Judged, accuse};
use crate::checker::{Fault, Violation};
use crate::history::{GroupEnd, Label};

pub(super) fn check(judged: &Judged<'_, '_>, found: &mut Vec<Violation>) {
    let Some(end) = judged.group.end else {
        return;
    };
    if end.unfinished > 0 || end.parked > 0 || end.position != end.end {
        let story = format!(
            "{}: it is at {} of {}, with {} unfinished and {} parked",
            judged.name, end.position, end.end, end.unfinished, end.parked
        );
        return accuse(found, Fault::GroupNotDrained, story);
    }
    for event in &judged.topic.order {
        let ended = judged.group.ended(event.label);
        let poisoned = judged.group.poisoned_at(event.label) < u64::MAX;
        if !poisoned && !ended.iter().any(|it| it.maybe() && it.finishes()) {
            let times = judged.group.handed(event.label).len();
            let story = format!(
                "{}: event {} was handed out {times} times, and nobody finished it",
                judged.name, event.label
            );
            accuse(found, Fault::EventUnhandled, story);
        }
    }
    dead_letters(judged, end, found);
    totals(judged, end, found);
}

/// Every dead letter is kept, and nothing else among them.
fn dead_letters(judged: &Judged<'_, '_>, end: &GroupEnd, found: &mut Vec<Violation>) {
    let kept: BTreeSet<Label> = end.dead.iter().copied().collect();
    let gives_up =
        |it: &Ended<'_>| it.end.outcome == "dead" || (it.end.outcome == "retry" && it.end.last);
    for (label, ended) in &judged.group.ended {
        let sure = ended
            .iter()
            .any(|it| it.is_ok() && it.end.outcome == "dead");
        if sure && !kept.contains(label) {
            let story = format!("{}: the dead letter {label} is gone", judged.name);
            accuse(found, Fault::KeptLost, story);
        }
    }
    for label in &kept {
        let ended = judged.group.ended(*label);
        let poisoned = judged.group.poisoned_at(*label) < u64::MAX;
        if !poisoned && !ended.iter().any(|it| it.maybe() && gives_up(it)) {
            let story = format!("{}: {label} is a dead letter by itself", judged.name);
            accuse(found, Fault::GroupTotals, story);
        }
    }
}

/// Each event was finished once, as often as its members say.
fn totals(judged: &Judged<'_, '_>, end: &GroupEnd, found: &mut Vec<Violation>) {
    let all = end.done + end.skipped + end.dead.len() as u64;
    if all != judged.topic.order.len() as u64 {
        let story = format!(
            "{}: {} done, {} skipped, {} dead of {} events",
            judged.name,
            end.done,
            end.skipped,
            end.dead.len(),
            judged.topic.order.len()
        );
        accuse(found, Fault::GroupTotals, story);
    }
    for (outcome, counted) in [("done", end.done), ("skip", end.skipped)] {
        let (mut sure, mut possible) = (0, 0);
        for ended in judged.group.ended.values() {
            let so = || ended.iter().filter(|it| it.end.outcome == outcome);
            sure += u64::from(so().any(Ended::is_ok));
            possible += u64::from(so().any(Ended::maybe));
        }
        if !(sure..=possible).contains(&counted) {
            let story = format!(
                "{}: {counted} {outcome} by the server's count, {sure} to {possible} by the members'",
                judged.name
            );
            accuse(found, Fault::GroupTotals, story);
        }
    }
}
