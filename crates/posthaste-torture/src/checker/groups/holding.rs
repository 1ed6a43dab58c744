//! One event by itself: with one member at a time, and with nobody once it is settled.

use super::{Ended, Handed, Judged, accuse};
use crate::checker::{Fault, Violation};
use crate::history::Label;

pub(super) fn check(judged: &Judged<'_, '_>, found: &mut Vec<Violation>) {
    for (label, handed) in &judged.group.handed {
        for (index, one) in handed.iter().enumerate() {
            for other in &handed[index + 1..] {
                shared(judged, *label, one, other, found);
            }
            again(judged, *label, one, found);
        }
    }
}

/// Of two members that were handed the same event, one had given it up when the other got it.
fn shared(
    judged: &Judged<'_, '_>,
    label: Label,
    one: &Handed<'_>,
    other: &Handed<'_>,
    found: &mut Vec<Violation>,
) {
    if one.token != other.token
        && !gave_up(judged, label, one, other)
        && !gave_up(judged, label, other, one)
    {
        let story = format!(
            "{}: event {label} was with {} at {} µs and with {} at {} µs",
            judged.name, one.token, one.completed, other.token, other.completed
        );
        accuse(found, Fault::KeyShared, story);
    }
}

/// Whether `held` may have been over when the event was handed out as `next`.
fn gave_up(judged: &Judged<'_, '_>, label: Label, held: &Handed<'_>, next: &Handed<'_>) -> bool {
    if held.invoked > next.completed {
        return false; // it came later
    }
    let Some(member) = judged.group.members.get(&held.token) else {
        return true;
    };
    let settled =
        |it: &Ended<'_>| it.token == held.token && it.maybe() && it.invoked <= next.completed;
    let by_its_own = judged.group.ended(label).iter().any(settled);
    by_its_own
        || !member.holds(next.completed, judged.view)
        || judged.view.cut_between(held.invoked, next.completed)
        || key_of(judged, label).any(|earlier| {
            let ended = judged.group.ended(earlier).iter();
            ended
                .filter(|it| settled(it))
                .any(|it| !it.finishes() || it.parks())
        })
}

/// The earlier events of the same key.
fn key_of<'j>(judged: &'j Judged<'_, '_>, label: Label) -> impl Iterator<Item = Label> + 'j {
    let index = judged.topic.index.get(&label).copied();
    let key = index.and_then(|index| judged.topic.order[index].key.as_deref());
    let all = judged.topic.order.iter().take(index.unwrap_or(0));
    all.filter(move |event| key.is_some() && event.key.as_deref() == key)
        .map(|event| event.label)
}

/// After an acknowledged settle that finishes it, an event is handed to nobody. One that was parked
/// comes again when it may have been released.
fn again(judged: &Judged<'_, '_>, label: Label, handed: &Handed<'_>, found: &mut Vec<Violation>) {
    let over = |it: &&Ended<'_>| it.is_ok() && it.completed < handed.invoked;
    for ended in judged.group.ended(label).iter().filter(over) {
        let finished = matches!(ended.end.outcome.as_str(), "done" | "skip" | "dead");
        let released = judged.group.releases.iter().any(|(invoked, completed)| {
            *completed >= ended.invoked && *invoked <= handed.completed
        });
        if finished || (ended.end.outcome == "park" && !released) {
            let story = format!(
                "{}: event {label} was settled as {} at {} µs and handed to {} at {} µs",
                judged.name, ended.end.outcome, ended.completed, handed.token, handed.completed
            );
            accuse(found, Fault::EventAgain, story);
        }
    }
}
