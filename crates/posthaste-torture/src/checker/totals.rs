//! The server's own counters, against each other and against the history.

use super::{Fault, View, Violation, accuse};
use crate::history::Counters;

pub(super) fn check(view: &View<'_>, counters: Option<&Counters>, found: &mut Vec<Violation>) {
    let Some(counters) = counters else { return };
    if counters.unfinished > 0 {
        let story = format!("{} jobs wait or run", counters.unfinished);
        accuse(found, Fault::NotDrained, story);
    }
    let finals = counters.completed + counters.dead + counters.cancelled;
    let held = counters.unfinished + finals;
    if counters.enqueued != held + counters.deleted {
        let story = format!(
            "{} enqueued, {held} held, {} deleted",
            counters.enqueued, counters.deleted
        );
        accuse(found, Fault::Totals, story);
    }
    let ended = counters.completed_ever + counters.dead_ever + counters.cancelled_ever;
    let kept = finals + counters.redriven;
    if !(kept..=kept + counters.deleted).contains(&ended) {
        let story = format!("{ended} ended, {finals} held, {}", counters.redriven);
        accuse(found, Fault::Totals, format!("{story} brought back"));
    }
    history(view, counters, found);
}

fn history(view: &View<'_>, counters: &Counters, found: &mut Vec<Violation>) {
    let (mut sure, mut possible) = (0, 0);
    for (label, enqueues) in &view.enqueues {
        let seen = !view.leases_of(*label).is_empty();
        sure += u64::from(seen || enqueues.iter().any(|it| it.acknowledged));
        // without a key each uncertain attempt may have made a job of its own
        let keyed = enqueues.iter().any(|it| it.key.is_some());
        let attempts = enqueues.iter().filter(|it| !it.refused).count() as u64;
        possible += if keyed { attempts.min(1) } else { attempts };
    }
    if !(sure..=possible).contains(&counters.enqueued) {
        let story = format!(
            "{} enqueued by the server's count, {sure} to {possible} by the clients'",
            counters.enqueued
        );
        accuse(found, Fault::Totals, story);
    }
    ends(view, "completed", counters.completed_ever, found);
    ends(view, "cancel", counters.cancelled_ever, found);
    ends(view, "dead", counters.dead_ever, found);
}

/// As many ended so as were acknowledged, and no more than may have.
fn ends(view: &View<'_>, outcome: &str, counted: u64, found: &mut Vec<Violation>) {
    let (mut sure, mut possible) = (0, 0);
    for settles in view.settles.values() {
        let so = || settles.iter().filter(|it| it.outcome == outcome);
        sure += u64::from(so().any(super::Settled::is_ok));
        possible += u64::from(so().any(super::Settled::maybe));
    }
    if outcome == "dead" {
        possible = u64::MAX; // a job dies by itself too: of lapses, or when its attempts are used up
    }
    if !(sure..=possible).contains(&counted) {
        let story = format!(
            "{counted} ended as {outcome} by the server's count, {sure} to {possible} by the clients'"
        );
        accuse(found, Fault::Totals, story);
    }
}
