//! Judges a history: looks for everything that a promise forbids.
//!
//! As sets of jobs, with A attempted, E acknowledged, D delivered: lost is what was acknowledged
//! or seen and never came to an end in a full drain; phantom is D without A; a duplicate is a
//! delivery after an acknowledged end. A job that was delivered and never acknowledged is legal.
//!
//! Of topics: every acknowledged event is there, in one place, and all readers see one order without
//! a hole. Of groups: every event is finished once, those of one key in order, by one member at a
//! time, and the position passes none before. What was committed together is there together.
//!
//! It refuses to accuse without proof: where an answer did not come, both may be true.

mod groups;
mod jobs;
mod leases;
mod topics;
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
    /// An event was acknowledged or read, and is gone, or a reader was led past it.
    EventLost,
    /// An event is there that nobody published.
    EventPhantom,
    /// An event is there whose publishing was refused.
    EventRefusedSeen,
    /// One event is at two places.
    EventTwoPlaces,
    /// Two events are at one place.
    PlaceTwoEvents,
    /// A later event has a lower place.
    OffsetFell,
    /// An offset was passed over by a reader.
    OffsetGap,
    /// A reader was told an event twice, or in another order than others.
    CursorOrder,
    /// A cursor that was handed out was refused.
    CursorRefused,
    /// A reader was told that this was all, and it wasn't.
    EventUnseen,
    /// A group's position passed an event that was not finished.
    PositionPassed,
    /// A group's position went back.
    PositionBack,
    /// An event was handed out before an earlier one of its key was finished.
    KeyOrder,
    /// Two members held events of one key, both alive.
    KeyShared,
    /// An event was handed out again after it was settled.
    EventAgain,
    /// A settle under a membership that was over, or of somebody else's event, was accepted.
    StaleEventSettle,
    /// A settle by the member that held the event was refused.
    OwnEventRefused,
    /// Of what was committed together some happened and some did not.
    Torn,
    /// A group is through, and an event was finished by nobody.
    EventUnhandled,
    /// A dead letter is gone.
    KeptLost,
    /// What a group counts does not agree with its topic or its members.
    GroupTotals,
    /// The drain ended, and a group is not through.
    GroupNotDrained,
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
    let topics = topics::view(&view.of_topics, view.drained);
    let groups = groups::Groups::of(history, &view.of_topics);
    topics::check(&topics, &groups.handed(), view.drained, &mut found);
    groups::check(&groups, &topics, &view, &mut found);
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
    /// What is about topics and groups, in the order in which it was asked.
    of_topics: Vec<&'a Entry>,
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
        view.of_topics.sort_by_key(|entry| entry.invoked);
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
            What::Topic(_) => self.of_topics.push(entry),
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

    /// Whether the power was cut between these instants.
    fn cut_between(&self, from: u64, to: u64) -> bool {
        let mut downs = self.downs.iter();
        downs.any(|(at, power)| *power && (from..=to).contains(at))
    }

    fn leases_of(&self, label: Label) -> &[Leased<'a>] {
        self.leases.get(&label).map_or(&[], Vec::as_slice)
    }

    fn settles_of(&self, label: Label) -> &[Settled<'a>] {
        self.settles.get(&label).map_or(&[], Vec::as_slice)
    }
}
