//! What is committed together happens together: jobs, events, and the settling of events.

use super::{Ended, Judged, Settle, accuse};
use crate::checker::topics::Topics;
use crate::checker::{Fault, View, Violation};
use crate::history::{Answer, Label, OfTopic, What};

/// Whether the things that one commit makes are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum There {
    All,
    None,
    Some,
    /// The commit made nothing.
    Nothing,
}

fn there(jobs: &[Label], events: &[Label], topics: &Topics<'_>, view: &View<'_>) -> There {
    let jobs = jobs.iter().map(|job| !view.leases_of(*job).is_empty());
    let events = events.iter().map(|event| {
        let mut topics = topics.values();
        topics.any(|topic| topic.index.contains_key(event))
    });
    let all: Vec<bool> = jobs.chain(events).collect();
    match all.iter().filter(|it| **it).count() {
        _ if all.is_empty() => There::Nothing,
        0 => There::None,
        count if count == all.len() => There::All,
        _ => There::Some,
    }
}

/// Commits of events and jobs.
pub(super) fn commits(topics: &Topics<'_>, view: &View<'_>, found: &mut Vec<Violation>) {
    if !view.drained {
        return;
    }
    for entry in &view.of_topics {
        let What::Topic(OfTopic::Publish { events, jobs, .. }) = &entry.what else {
            continue;
        };
        let events: Vec<Label> = events.iter().map(|event| event.label).collect();
        if !jobs.is_empty() && there(jobs, &events, topics, view) == There::Some {
            let story = format!("of the events {events:?} and the jobs {jobs:?} some are there");
            accuse(found, Fault::Torn, story);
        }
    }
}

/// Settles and what was committed with them.
pub(super) fn check(judged: &Judged<'_, '_>, found: &mut Vec<Violation>) {
    if !judged.view.drained {
        return;
    }
    for (number, settle) in judged.group.settles.iter().enumerate() {
        let there = there(settle.jobs, settle.events, judged.topics, judged.view);
        let story = format!(
            "{}: {:?} under {} with the jobs {:?} and the events {:?}",
            judged.name, settle.ends, settle.token, settle.jobs, settle.events
        );
        let what = match there {
            There::Nothing => continue,
            There::Some => "some of these are there",
            There::None if *settle.answer == Answer::Ok(false) => "was done, and none is there",
            There::None if did_happen(judged, settle, number) => "happened, and none is there",
            There::All if undone(judged, settle) => "are there, and it was handed out again",
            There::None | There::All => continue,
        };
        accuse(found, Fault::Torn, format!("{story}: {what}"));
    }
}

/// Whether the events of a settle were finished by it, since nobody else did.
fn did_happen(judged: &Judged<'_, '_>, settle: &Settle<'_>, number: usize) -> bool {
    let alone = |it: &Ended<'_>| {
        let of = &judged.group.settles[it.of];
        it.of == number || (of.jobs == settle.jobs && of.events == settle.events)
    };
    let drained = judged.group.end.is_some_and(|end| end.position == end.end);
    let finished = settle.ends.iter().any(|end| {
        let ended = judged.group.ended(end.label).iter();
        let mut finishing = ended.filter(|it| it.maybe() && it.finishes());
        let by_it = finishing.clone().any(|it| it.of == number);
        by_it && judged.topic.index.contains_key(&end.label) && finishing.all(alone)
    });
    drained && settle.answer.maybe() && finished
}

/// Whether an event that a settle finished was handed out after something of its commit was seen.
fn undone(judged: &Judged<'_, '_>, settle: &Settle<'_>) -> bool {
    let leases = settle
        .jobs
        .iter()
        .flat_map(|job| judged.view.leases_of(*job));
    let leased = leases.map(|it| it.completed);
    let read = settle.events.iter().flat_map(|event| {
        let topics = judged.topics.values();
        topics.filter_map(|topic| topic.first_read.get(event).copied())
    });
    let Some(seen) = leased.chain(read).min() else {
        return false;
    };
    settle.ends.iter().any(|end| {
        let finished = matches!(end.outcome.as_str(), "done" | "skip" | "dead");
        let mut handed = judged.group.handed(end.label).iter();
        finished && handed.any(|it| it.invoked > seen)
    })
}
