//! Events of one key come in order: none while an earlier one is unfinished, unless the same member
//! has that one too.

use std::collections::BTreeMap;

use super::{Handed, Judged};
use crate::checker::{Fault, Violation};
use crate::history::Label;

pub(super) fn check(judged: &Judged<'_, '_>, found: &mut Vec<Violation>) {
    for key in &judged.keys {
        in_order(judged, key, found);
    }
}

/// When the key may have gone on behind an event: at once when a settle that finishes it was asked
/// for.
fn gone_on(judged: &Judged<'_, '_>, label: Label) -> u64 {
    let ended = judged.group.ended(label).iter();
    let finishing = ended.filter(|it| it.maybe() && it.finishes());
    let first = finishing.map(|it| it.invoked).min();
    first
        .unwrap_or(u64::MAX)
        .min(judged.group.poisoned_at(label))
}

fn in_order(judged: &Judged<'_, '_>, key: &[(usize, Label)], found: &mut Vec<Violation>) {
    let mut open: BTreeMap<usize, Label> = key.iter().copied().collect();
    let mut closing: Vec<(u64, usize)> = key
        .iter()
        .map(|(index, label)| (gone_on(judged, *label), *index))
        .collect();
    closing.sort_unstable();
    let mut closing = closing.into_iter().peekable();
    let mut handed: Vec<(usize, &Handed<'_>)> = Vec::new();
    for (index, label) in key {
        handed.extend(judged.group.handed(*label).iter().map(|it| (*index, it)));
    }
    handed.sort_by_key(|(_, it)| it.completed);
    for (index, handed) in handed {
        while let Some((_, index)) = closing.next_if(|(at, _)| *at <= handed.completed) {
            open.remove(&index);
        }
        for (_, earlier) in open.range(..index) {
            if !is_with(judged, *earlier, handed) {
                found.push(inversion(judged, *earlier, handed));
            }
        }
    }
}

/// Whether the member that is handed an event has this earlier one of its key, as far as is known.
fn is_with(judged: &Judged<'_, '_>, earlier: Label, next: &Handed<'_>) -> bool {
    let member = judged.group.members.get(&next.token);
    if member.is_some_and(|it| it.lost_answers.iter().any(|at| *at <= next.completed)) {
        return true; // nobody knows what it has
    }
    let before = |it: &&Handed<'_>| {
        it.token == next.token
            && it.invoked <= next.completed
            && (it.invoked != next.invoked || it.rank < next.rank)
    };
    let had = judged.group.handed(earlier).iter().filter(before);
    let Some(since) = had.map(|it| it.invoked).max() else {
        return false;
    };
    let given_back = judged.group.ended(earlier).iter().any(|it| {
        let back = matches!(it.end.outcome.as_str(), "retry" | "park" | "release");
        back && it.is_ok()
            && it.token == next.token
            && it.invoked > since
            && it.completed < next.invoked
    });
    !given_back
}

fn inversion(judged: &Judged<'_, '_>, earlier: Label, next: &Handed<'_>) -> Violation {
    let story = format!(
        "{}: event {} was handed to {} at {} µs, before {earlier} of the same key was finished",
        judged.name, next.event.label, next.token, next.completed
    );
    let holder = judged.group.handed(earlier).iter().find(|it| {
        let member = judged.group.members.get(&it.token);
        it.token != next.token
            && it.completed < next.invoked
            && member.is_some_and(|member| member.holds(next.completed, judged.view))
    });
    match holder {
        Some(holder) => Violation {
            fault: Fault::KeyShared,
            story: format!("{story} by {}, which is alive", holder.token),
        },
        None => Violation {
            fault: Fault::KeyOrder,
            story,
        },
    }
}
