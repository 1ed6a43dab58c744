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
        sure += u64::from(seen || enqueues.iter().any(|it| it.id.is_some()));
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
    let (mut sure, mut possible) = (0, 0);
    for settles in view.settles.values() {
        let completes = || settles.iter().filter(|it| it.outcome == "completed");
        sure += u64::from(completes().any(super::Settled::is_ok));
        possible += u64::from(completes().any(super::Settled::maybe));
    }
    if !(sure..=possible).contains(&counters.completed_ever) {
        let story = format!(
            "{} completed by the server's count, {sure} to {possible} by the clients'",
            counters.completed_ever
        );
        accuse(found, Fault::Totals, story);
    }
}
