//! Memberships: when they hold for sure, when they are over for sure, and what settles under them.

use super::{Ended, Judged, accuse};
use crate::checker::{Fault, View, Violation};
use crate::history::Answer;

/// A membership that was given up is over this long after its time, in microseconds.
const SOON_US: u64 = 1_000_000;

/// A sign of life, or a leave: from when to when, and whether it was heard for sure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sign {
    pub(super) invoked: u64,
    pub(super) completed: u64,
    pub(super) sure: bool,
}

/// A member.
#[derive(Debug, Default)]
pub(super) struct Member {
    pub(super) lease_us: u64,
    pub(super) signs: Vec<Sign>,
    pub(super) leaves: Vec<Sign>,
    /// Asks whose answers did not come: what they handed out is not known.
    pub(super) lost_answers: Vec<u64>,
}

impl Member {
    /// The membership held at that instant, whatever became of what nobody was told. A kill starts
    /// it afresh; a power cut may take it.
    pub(super) fn holds(&self, at: u64, view: &View<'_>) -> bool {
        let left = self.leaves.iter().any(|it| it.invoked <= at);
        let cut = |from: u64| view.cut_between(from, at);
        let alive = |it: &Sign| {
            it.sure && it.invoked <= at && at < it.invoked + self.lease_us && !cut(it.invoked)
        };
        !left && self.signs.iter().any(alive)
    }

    /// The membership was over at that instant, or had never begun.
    pub(super) fn is_over(&self, at: u64, view: &View<'_>) -> bool {
        let left = self.leaves.iter().any(|it| it.sure && it.completed < at);
        let before = self.signs.iter().filter(|it| it.invoked <= at);
        let last = before.map(|it| it.completed).max();
        let from = last.map(|last| last.max(view.up_before(at)));
        left || from.is_some_and(|from| at > from + self.lease_us + SOON_US)
    }
}

pub(super) fn check(judged: &Judged<'_, '_>, found: &mut Vec<Violation>) {
    let settles = judged.group.ended.values().flatten();
    for ended in settles {
        stale(judged, ended, found);
        own(judged, ended, found);
    }
}

/// Nobody settles whose membership is over, or whose event is with somebody else.
fn stale(judged: &Judged<'_, '_>, ended: &Ended<'_>, found: &mut Vec<Violation>) {
    let Answer::Ok(repeated) = ended.answer else {
        return;
    };
    let (label, token) = (ended.end.label, ended.token);
    let same =
        |it: &&Ended<'_>| it.token == token && it.end.outcome == ended.end.outcome && it.maybe();
    let all = judged.group.ended(label).iter().filter(same);
    let first = all.map(|it| it.invoked).min().unwrap_or(ended.invoked);
    let story = format!(
        "{}: event {label} was settled under {token} at {} µs",
        judged.name, ended.completed
    );
    let Some(member) = judged.group.members.get(&token) else {
        let story = format!("{story}, which nobody was given");
        return accuse(found, Fault::StaleEventSettle, story);
    };
    if member.is_over(first, judged.view) {
        let story = format!("{story}, whose membership was over");
        return accuse(found, Fault::StaleEventSettle, story);
    }
    let handed = judged.group.handed(label);
    let others = handed.iter().filter(|it| it.token != token);
    let mut others = others.filter(|it| it.completed < first);
    let back = |since: u64| {
        let again = handed
            .iter()
            .any(|it| it.token == token && it.completed >= since);
        again || member.lost_answers.iter().any(|at| *at >= since)
    };
    if let Some(other) = others.find(|other| !repeated && !back(other.invoked)) {
        let story = format!("{story}, when it was with {}", other.token);
        accuse(found, Fault::StaleEventSettle, story);
    }
}

/// What a member holds for sure, it may settle.
fn own(judged: &Judged<'_, '_>, ended: &Ended<'_>, found: &mut Vec<Violation>) {
    if *ended.answer != Answer::Fail {
        return;
    }
    let Some(member) = judged.group.members.get(&ended.token) else {
        return;
    };
    let settle = judged.group.settles[ended.of];
    let untouched = settle.ends.iter().all(|end| {
        let handed = judged.group.handed(end.label).iter();
        let mut handed = handed.filter(|it| it.invoked <= ended.completed);
        let (Some(held), None) = (handed.next(), handed.next()) else {
            return false;
        };
        let others = judged.group.ended(end.label).iter();
        let others = others.filter(|it| it.of != ended.of && it.maybe());
        let mut others = others.filter(|it| it.invoked <= ended.completed);
        let cut = judged.view.cut_between(held.invoked, ended.completed);
        held.token == ended.token && !cut && others.next().is_none()
    });
    // A retry of an earlier event of its key takes an event from its member.
    let gave_back = |other: &&Ended<'_>| {
        other.token == ended.token
            && other.maybe()
            && !matches!(other.end.outcome.as_str(), "done" | "skip" | "dead")
    };
    let all = judged.group.ended.values().flatten();
    let given_back = all
        .filter(gave_back)
        .any(|other| other.invoked <= ended.completed);
    if untouched
        && !given_back
        && member.lost_answers.is_empty()
        && member.holds(ended.completed, judged.view)
    {
        let story = format!(
            "{}: event {} was with {}, whose settle at {} µs was refused",
            judged.name, ended.end.label, ended.token, ended.completed
        );
        accuse(found, Fault::OwnEventRefused, story);
    }
}
