//! Leases: one holder at a time, under tokens that rise, and back soon after a holder's death.

use std::collections::HashMap;

use super::{Fault, Leased, Settled, View, Violation, accuse};
use crate::history::Label;

/// A dead worker's job is deliverable this long after its lease, in microseconds.
const SOON_US: u64 = 1_000_000;
/// An applied settle is remembered for ten minutes.
const REMEMBERED_US: u64 = 600_000_000;
/// After so many lapses in a row a job may be dead.
const POISON: usize = 5;

pub(super) fn check(view: &View<'_>, found: &mut Vec<Violation>) {
    tokens(view, found);
    for (label, leases) in &view.leases {
        for (index, held) in leases.iter().enumerate() {
            for next in &leases[index + 1..] {
                overlap(view, *label, held, next, found);
            }
            late(view, *label, held, found);
        }
        for settled in view.settles_of(*label) {
            stale(view, *label, settled, found);
            own(view, *label, settled, found);
            repeated(view, *label, settled, found);
        }
    }
}

/// No token twice, and none lower than one that was answered before it was asked for.
fn tokens(view: &View<'_>, found: &mut Vec<Violation>) {
    let mut leases: Vec<&Leased<'_>> = view.leases.values().flatten().collect();
    let mut seen: HashMap<u64, &Leased<'_>> = HashMap::new();
    for leased in &leases {
        if let Some(other) = seen.insert(leased.delivery.token, leased) {
            let story = format!(
                "token {} was handed out for {} and for {}",
                leased.delivery.token, other.delivery.id, leased.delivery.id
            );
            accuse(found, Fault::TokenRepeated, story);
        }
    }
    let mut answered = leases.clone();
    answered.sort_by_key(|it| it.completed);
    leases.sort_by_key(|it| it.invoked);
    let (mut highest, mut before) = (0, answered.into_iter().peekable());
    for leased in leases {
        while let Some(earlier) = before.next_if(|it| it.completed < leased.invoked) {
            highest = highest.max(earlier.delivery.token);
        }
        if leased.delivery.token < highest {
            let story = format!("token {} after {highest}", leased.delivery.token);
            accuse(found, Fault::TokenFell, story);
        }
    }
}

/// The next lease of a job begins when the one before is over: settled, or lapsed. A power cut may
/// lose a lease that was not synced yet, and its holder is then fenced off by the token.
fn overlap(
    view: &View<'_>,
    label: Label,
    held: &Leased<'_>,
    next: &Leased<'_>,
    found: &mut Vec<Violation>,
) {
    let cut = |(at, power): &(u64, bool)| *power && *at >= held.invoked && *at <= next.completed;
    let ended = |it: &Settled<'_>| {
        it.token == held.delivery.token && it.maybe() && it.invoked <= next.completed
    };
    let over = held.invoked + held.lease_us;
    if next.completed < over
        && !view.downs.iter().any(cut)
        && !view.settles_of(label).iter().any(ended)
    {
        let story = format!(
            "job {label} was held under {} until {over} µs and delivered under {} at {} µs",
            held.delivery.token, next.delivery.token, next.completed
        );
        accuse(found, Fault::Overlap, story);
    }
}

/// A lease that its holder let go of comes back: nobody may be told that there is nothing to do
/// when it has been over for a second. A restart starts a lease afresh.
fn late(view: &View<'_>, label: Label, held: &Leased<'_>, found: &mut Vec<Violation>) {
    let token = held.delivery.token;
    let leases = view.leases_of(label);
    if leases.len() >= POISON {
        return; // it may be dead of it
    }
    let touched = |it: &&Settled<'_>| it.token >= token && it.maybe();
    let settles = view.settles_of(label).iter().filter(touched);
    let again = |it: &&Leased<'_>| it.delivery.token != token && it.completed > held.completed;
    let nexts = leases.iter().filter(again).map(|it| it.invoked);
    let until = settles.map(|it| it.invoked).chain(nexts).min();
    empty_after(view, label, held, until.unwrap_or(u64::MAX), found);
}

/// Whether somebody was told, before `until`, that there is nothing to do, though the job was due.
fn empty_after(
    view: &View<'_>,
    label: Label,
    held: &Leased<'_>,
    until: u64,
    found: &mut Vec<Violation>,
) {
    let empty = view.empty.iter().find(|(invoked, completed)| {
        let from = view.up_before(*completed).max(held.completed);
        *invoked > from + held.lease_us + SOON_US && *completed < until
    });
    if let Some((invoked, _)) = empty {
        let story = format!(
            "job {label}, leased at {} µs for {} µs, was not there at {invoked} µs",
            held.completed, held.lease_us
        );
        accuse(found, Fault::Late, story);
    }
}

/// A settle is refused once a later lease was answered, unless it repeats one that may have been
/// applied before. A lease that lapsed counts until somebody else has begun.
fn stale(view: &View<'_>, label: Label, settled: &Settled<'_>, found: &mut Vec<Violation>) {
    let settles = view.settles_of(label);
    let repeats = |it: &Settled<'_>| {
        it.token == settled.token
            && it.outcome == settled.outcome
            && it.invoked < settled.invoked
            && it.maybe()
    };
    if !settled.is_ok() {
        return;
    }
    let before = settles.iter().filter(|it| repeats(it));
    let first = before.map(|it| it.invoked).min().unwrap_or(settled.invoked);
    let lost = |it: &&Leased<'_>| it.delivery.token > settled.token && it.completed < first;
    if let Some(later) = view.leases_of(label).iter().find(lost) {
        let story = format!(
            "job {label} was settled under {} at {} µs, after it was leased under {}",
            settled.token, settled.completed, later.delivery.token
        );
        accuse(found, Fault::StaleAccepted, story);
    }
}

/// A settle of the job's only lease, well within its time, is not refused as stale or unknown.
fn own(view: &View<'_>, label: Label, settled: &Settled<'_>, found: &mut Vec<Violation>) {
    let refused = settled.answer.ok().is_some_and(|status| status != "ok");
    let leases = view.leases_of(label);
    let (true, [held]) = (refused, leases) else {
        return;
    };
    let others = view.settles_of(label).iter();
    let mut others = others.filter(|it| it.maybe() && it.invoked != settled.invoked);
    let power = view
        .downs
        .iter()
        .any(|(at, power)| *power && *at >= held.invoked);
    let within = settled.completed < held.invoked + held.lease_us;
    if held.delivery.token == settled.token && within && !power && others.next().is_none() {
        let story = format!(
            "job {label} was held under {} and its settle answered {:?}",
            settled.token, settled.answer
        );
        accuse(found, Fault::OwnRefused, story);
    }
}

/// What was acknowledged is acknowledged again.
fn repeated(view: &View<'_>, label: Label, settled: &Settled<'_>, found: &mut Vec<Violation>) {
    let refused = settled.answer.ok().is_some_and(|status| status != "ok");
    let applied = |it: &&Settled<'_>| {
        it.token == settled.token
            && it.outcome == settled.outcome
            && it.is_ok()
            && it.completed < settled.invoked
            && settled.completed < it.invoked + REMEMBERED_US
    };
    if refused && view.settles_of(label).iter().any(|it| applied(&it)) {
        let story = format!(
            "job {label} was settled under {}, and again, answered {:?}",
            settled.token, settled.answer
        );
        accuse(found, Fault::RepeatRefused, story);
    }
}
