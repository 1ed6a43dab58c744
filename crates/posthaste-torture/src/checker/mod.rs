//! Judges a history: looks for everything that a promise forbids.
//!
//! As sets of jobs, with A attempted, E acknowledged, D delivered: lost is what was acknowledged
//! or seen and never came to an end in a full drain; phantom is D without A; a duplicate is a
//! delivery after an acknowledged end. A job that was delivered and never acknowledged is legal.
//!
//! It refuses to accuse without proof: where an answer did not come, both may be true.

mod jobs;
mod leases;
mod totals;

use std::collections::HashMap;
use std::fmt;

use crate::history::{Answer, Delivery, Entry, History, Label, What};

/// What kind of promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Acknowledged, or seen by a worker, and gone.
    Lost,
    /// Delivered, and nobody enqueued it.
    Phantom,
    /// Delivered, though its enqueue was refused.
    RefusedDelivered,
    /// Delivered again after its end was acknowledged.
    Duplicate,
    /// Ended twice, under two leases, both acknowledged.
    EndedTwice,
    /// Two leases of one job held at one time.
    Overlap,
    /// A settle under a lost lease was accepted.
    StaleAccepted,
    /// A settle of a lease that was the job's last was refused.
    OwnRefused,
    /// A settle that was applied, sent again, was not ok.
    RepeatRefused,
    /// A token was handed out twice.
    TokenRepeated,
    /// A later lease had a lower token.
    TokenFell,
    /// Nothing was ready, though a dead worker's job had to be.
    Late,
    /// Delivered before its time.
    Early,
    /// One job has two ids.
    TwoIds,
    /// Two jobs have one id.
    OneId,
    /// One idempotency key was answered with two ids.
    KeyTwoIds,
    /// The totals don't balance, with each other or with the history.
    Totals,
    /// The drain ended, and something waits or runs.
    NotDrained,
    /// The server does not open its store again.
    Unopened,
}

/// One broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub fault: Fault,
    /// What was seen.
    pub story: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.fault, self.story)
    }
}

/// Everything that is wrong with `history`, in no order.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let view = View::of(history);
    let mut found = Vec::new();
    jobs::check(&view, &mut found);
    leases::check(&view, &mut found);
    totals::check(&view, history.counters.as_ref(), &mut found);
    found
}

fn accuse(found: &mut Vec<Violation>, fault: Fault, story: String) {
    found.push(Violation { fault, story });
}

/// One enqueue of one job.
#[derive(Clone, Copy, Debug)]
struct Enqueued<'a> {
    key: Option<&'a str>,
    invoked: u64,
    delay_us: u64,
    /// The id it was answered with.
    id: Option<&'a str>,
    /// It was answered that it happened, be it without an id.
    acknowledged: bool,
    refused: bool,
}

/// One lease of one job.
#[derive(Clone, Copy, Debug)]
struct Leased<'a> {
    delivery: &'a Delivery,
    lease_us: u64,
    invoked: u64,
    completed: u64,
}

/// One settle.
#[derive(Clone, Copy, Debug)]
struct Settled<'a> {
    token: u64,
    outcome: &'a str,
    delay_us: u64,
    invoked: u64,
    completed: u64,
    answer: &'a Answer<String>,
}

impl Settled<'_> {
    fn is_ok(&self) -> bool {
        self.answer.ok().is_some_and(|status| status == "ok")
    }

    /// It was applied, or may have been.
    fn maybe(&self) -> bool {
        self.is_ok() || *self.answer == Answer::Unknown
    }

    fn ends(&self) -> bool {
        matches!(self.outcome, "completed" | "dead" | "cancel")
    }
}

/// The history by jobs.
#[derive(Debug, Default)]
struct View<'a> {
    enqueues: HashMap<Label, Vec<Enqueued<'a>>>,
    leases: HashMap<Label, Vec<Leased<'a>>>,
    settles: HashMap<Label, Vec<Settled<'a>>>,
    keys: HashMap<(&'a str, usize), Vec<&'a str>>,
    /// Lease requests that were answered with nothing: from when to when.
    empty: Vec<(u64, u64)>,
    /// When the server was cut off, and whether by power.
    downs: Vec<(u64, bool)>,
    /// When the server was back.
    ups: Vec<u64>,
    drained: bool,
}

impl<'a> View<'a> {
    fn of(history: &'a History) -> Self {
        let mut view = Self {
            drained: history.counters.is_some(),
            ..Self::default()
        };
        for entry in &history.entries {
            view.add(entry);
        }
        for leases in view.leases.values_mut() {
            leases.sort_by_key(|leased| (leased.completed, leased.delivery.token));
        }
        view
    }

    fn add(&mut self, entry: &'a Entry) {
        match &entry.what {
            What::Enqueue {
                labels,
                key,
                delay_ms,
                answer,
            } => self.enqueue(entry, labels, key.as_deref(), *delay_ms, answer),
            What::Lease { lease_ms, answer } => self.lease(entry, *lease_ms, answer),
            What::Settle {
                delivery,
                outcome,
                delay_ms,
                answer,
            } => self
                .settles
                .entry(delivery.label)
                .or_default()
                .push(Settled {
                    token: delivery.token,
                    outcome,
                    delay_us: delay_ms * 1_000,
                    invoked: entry.invoked,
                    completed: entry.completed,
                    answer,
                }),
            What::Down { power } => self.downs.push((entry.invoked, *power)),
            What::Up => self.ups.push(entry.completed),
        }
    }

    fn enqueue(
        &mut self,
        entry: &'a Entry,
        labels: &[Label],
        key: Option<&'a str>,
        delay_ms: u64,
        answer: &'a Answer<Vec<String>>,
    ) {
        for (index, label) in labels.iter().enumerate() {
            let id = answer.ok().and_then(|ids| ids.get(index));
            let id = id.map(String::as_str);
            self.enqueues.entry(*label).or_default().push(Enqueued {
                key,
                invoked: entry.invoked,
                delay_us: delay_ms * 1_000,
                id,
                acknowledged: answer.ok().is_some(),
                refused: *answer == Answer::Fail,
            });
            if let (Some(key), Some(id)) = (key, id) {
                self.keys.entry((key, index)).or_default().push(id);
            }
        }
    }

    fn lease(&mut self, entry: &'a Entry, lease_ms: u64, answer: &'a Answer<Vec<Delivery>>) {
        let Answer::Ok(jobs) = answer else { return };
        if jobs.is_empty() {
            self.empty.push((entry.invoked, entry.completed));
        }
        for delivery in jobs {
            self.leases.entry(delivery.label).or_default().push(Leased {
                delivery,
                lease_us: lease_ms * 1_000,
                invoked: entry.invoked,
                completed: entry.completed,
            });
        }
    }

    /// When the server was back for the last time before `at`, or 0: leases start afresh then.
    fn up_before(&self, at: u64) -> u64 {
        let ups = self.ups.iter().filter(|up| **up <= at);
        ups.copied().max().unwrap_or(0)
    }

    fn leases_of(&self, label: Label) -> &[Leased<'a>] {
        self.leases.get(&label).map_or(&[], Vec::as_slice)
    }

    fn settles_of(&self, label: Label) -> &[Settled<'a>] {
        self.settles.get(&label).map_or(&[], Vec::as_slice)
    }
}
