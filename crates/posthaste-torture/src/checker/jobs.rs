//! Each job by itself: is it there, is it one, and does it come to one end?

use std::collections::{BTreeSet, HashMap};

use super::{Enqueued, Fault, View, Violation, accuse};
use crate::history::Label;

pub(super) fn check(view: &View<'_>, found: &mut Vec<Violation>) {
    let mut labels: BTreeSet<Label> = view.enqueues.keys().copied().collect();
    labels.extend(view.leases.keys());
    for label in labels {
        let enqueues = view.enqueues.get(&label).map_or(&[][..], Vec::as_slice);
        origin(view, label, enqueues, found);
        lost(view, label, enqueues, found);
        ends(view, label, found);
        early(view, label, enqueues, found);
    }
    ids(view, found);
    keys(view, found);
}

/// Whatever is delivered was asked for, and not refused.
fn origin(view: &View<'_>, label: Label, enqueues: &[Enqueued<'_>], found: &mut Vec<Violation>) {
    let Some(leased) = view.leases_of(label).first() else {
        return;
    };
    let story = format!("job {label} ({}) was delivered", leased.delivery.id);
    if enqueues.is_empty() {
        accuse(found, Fault::Phantom, format!("{story}, never enqueued"));
    } else if enqueues.iter().all(|it| it.refused) {
        accuse(found, Fault::RefusedDelivered, format!("{story}, refused"));
    }
}

/// Whatever was acknowledged or seen has come to an end when everything is drained.
fn lost(view: &View<'_>, label: Label, enqueues: &[Enqueued<'_>], found: &mut Vec<Violation>) {
    let acknowledged = enqueues.iter().any(|it| it.acknowledged);
    let seen = view.leases_of(label).len();
    if !view.drained || (!acknowledged && seen == 0) {
        return;
    }
    // Under an earlier token than that of a later delivery it was not ended.
    let last = view.leases_of(label).iter().map(|it| it.delivery.token);
    let last = last.max().unwrap_or(0);
    let ended = |it: &super::Settled<'_>| it.ends() && it.maybe() && it.token >= last;
    if !view.settles_of(label).iter().any(ended) {
        let what = if acknowledged { "acknowledged" } else { "seen" };
        let story = format!("job {label} was {what}, delivered {seen} times, and never ended");
        accuse(found, Fault::Lost, story);
    }
}

/// After an acknowledged end there is no delivery and no other end.
fn ends(view: &View<'_>, label: Label, found: &mut Vec<Violation>) {
    let settles = view.settles_of(label);
    let ended = || settles.iter().filter(|it| it.ends() && it.is_ok());
    let Some(end) = ended().min_by_key(|it| it.completed) else {
        return;
    };
    for again in view.leases_of(label) {
        let later = again.invoked > end.completed;
        if later || again.delivery.token > end.token {
            let story = format!(
                "job {label} ended under {} at {} µs and was delivered under {} at {} µs",
                end.token, end.completed, again.delivery.token, again.completed
            );
            accuse(found, Fault::Duplicate, story);
        }
    }
    if let Some(other) = ended().find(|it| it.token != end.token) {
        let story = format!("job {label} ended under {} and {}", end.token, other.token);
        accuse(found, Fault::EndedTwice, story);
    }
    let otherwise = ended().find(|it| it.token == end.token && it.outcome != end.outcome);
    if let Some(other) = otherwise {
        let story = format!("job {label} ended {} and {}", end.outcome, other.outcome);
        accuse(found, Fault::EndedTwice, story);
    }
}

/// Nothing is delivered before its delay is over, be it that of its enqueue or of a settle.
fn early(view: &View<'_>, label: Label, enqueues: &[Enqueued<'_>], found: &mut Vec<Violation>) {
    let earliest = enqueues.iter().map(|it| it.invoked + it.delay_us).min();
    let leases = view.leases_of(label);
    for leased in leases {
        if earliest.is_some_and(|at| leased.completed < at) {
            let story = format!("job {label} was delivered at {} µs", leased.completed);
            accuse(found, Fault::Early, format!("{story}, before its delay"));
        }
    }
    for settled in view.settles_of(label).iter().filter(|it| it.is_ok()) {
        let due = settled.invoked + settled.delay_us;
        let again = |it: &&super::Leased<'_>| {
            it.delivery.token > settled.token && it.completed < due && !settled.ends()
        };
        let repeated = |it: &&super::Settled<'_>| it.token == settled.token;
        let first = view.settles_of(label).iter().filter(repeated);
        let is_first = first.map(|it| it.invoked).min() == Some(settled.invoked);
        if let Some(leased) = leases.iter().find(again)
            && is_first
        {
            let story = format!(
                "job {label} was put off until {due} µs and delivered at {} µs",
                leased.completed
            );
            accuse(found, Fault::Early, story);
        }
    }
}

/// A job has one id, and an id one job.
fn ids(view: &View<'_>, found: &mut Vec<Violation>) {
    let mut of_label: HashMap<Label, &str> = HashMap::new();
    let mut of_id: HashMap<&str, Label> = HashMap::new();
    let enqueued = view.enqueues.iter().flat_map(|(label, enqueues)| {
        let ids = enqueues.iter().filter_map(|it| it.id);
        ids.map(|id| (*label, id))
    });
    let leased = view.leases.iter().flat_map(|(label, leases)| {
        let ids = leases.iter().map(|it| it.delivery.id.as_str());
        ids.map(|id| (*label, id))
    });
    for (label, id) in enqueued.chain(leased) {
        let known = *of_label.entry(label).or_insert(id);
        if known != id {
            let story = format!("job {label} is {known} and {id}");
            accuse(found, Fault::TwoIds, story);
        }
        let known = *of_id.entry(id).or_insert(label);
        if known != label {
            let story = format!("{id} is job {known} and job {label}");
            accuse(found, Fault::OneId, story);
        }
    }
}

/// A key is answered with one id.
fn keys(view: &View<'_>, found: &mut Vec<Violation>) {
    for ((key, _), ids) in &view.keys {
        if let Some(other) = ids.iter().find(|id| **id != ids[0]) {
            let story = format!("key {key} was answered with {} and {other}", ids[0]);
            accuse(found, Fault::KeyTwoIds, story);
        }
    }
}
