//! What clients asked, when, and what they were told.
//!
//! Instants are microseconds since the campaign began, on one clock for every client. What lies
//! between `invoked` and `completed` may have happened at any instant in between.

mod topics;

use std::sync::Mutex;
use std::time::Instant;

use serde_json::{Value, json};

pub use topics::{EventEnd, GroupEnd, NewEvent, OfTopic, Page, Place, Published, Seen};

/// The number that a client gives to a job or an event; it travels in the payload.
pub type Label = u64;

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<T> {
    /// It happened, and this was answered.
    Ok(T),
    /// It was refused: it did not happen.
    Fail,
    /// Nobody knows: the answer did not come.
    Unknown,
}

impl<T> Answer<T> {
    /// What was answered, where it was.
    pub fn ok(&self) -> Option<&T> {
        match self {
            Self::Ok(answer) => Some(answer),
            Self::Fail | Self::Unknown => None,
        }
    }

    /// Whether it may have happened.
    #[must_use]
    pub fn maybe(&self) -> bool {
        !matches!(self, Self::Fail)
    }
}

/// A delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Which job, in its enqueuer's words.
    pub label: Label,
    /// Which job, in the server's words.
    pub id: String,
    /// Under which lease.
    pub token: u64,
}

/// What was asked, and answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Jobs were enqueued together.
    Enqueue {
        /// Which.
        labels: Vec<Label>,
        /// Under which idempotency key.
        key: Option<String>,
        /// Not to start before so long after, in milliseconds.
        delay_ms: u64,
        /// Their ids.
        answer: Answer<Vec<String>>,
    },
    /// Work was asked for.
    Lease {
        /// For how long, in milliseconds.
        lease_ms: u64,
        /// What came.
        answer: Answer<Vec<Delivery>>,
    },
    /// An attempt was ended.
    Settle {
        /// Which one.
        delivery: Delivery,
        /// How: `completed`, `retry`, `snooze`, `release`, `dead`, `cancel`.
        outcome: String,
        /// How long the job waits after it, in milliseconds.
        delay_ms: u64,
        /// `ok`, `stale`, `unknown` or `refused`.
        answer: Answer<String>,
    },
    /// Something was asked of a topic or a group.
    Topic(OfTopic),
    /// The server was killed or its power cut: from `invoked` on it was not there.
    Down {
        /// What was written and not synced was lost too.
        power: bool,
    },
    /// The server answered again, at `completed` at the latest.
    Up,
}

/// One line of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Who asked; 0 is the nemesis.
    pub client: u32,
    /// When.
    pub invoked: u64,
    /// When the answer had come, or had been given up.
    pub completed: u64,
    /// What.
    pub what: What,
}

/// What the server says at the end of its only queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Jobs accepted in all.
    pub enqueued: u64,
    /// Jobs forgotten.
    pub deleted: u64,
    /// Jobs that are scheduled, available, running or retryable.
    pub unfinished: u64,
    /// Jobs that are completed and kept.
    pub completed: u64,
    /// Jobs that are dead and kept.
    pub dead: u64,
    /// Jobs that are cancelled and kept.
    pub cancelled: u64,
    /// Jobs that were completed.
    pub completed_ever: u64,
    /// Jobs that died.
    pub dead_ever: u64,
    /// Jobs that were cancelled.
    pub cancelled_ever: u64,
    /// Jobs that were brought back.
    pub redriven: u64,
}

/// Everything that is judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// What was asked, in no order.
    pub entries: Vec<Entry>,
    /// What the server said after the drain; `None` where there was no drain.
    pub counters: Option<Counters>,
    /// What it said then of the groups.
    pub groups: Vec<GroupEnd>,
}

/// Collects entries from many threads.
#[derive(Debug)]
pub(crate) struct Recorder {
    start: Instant,
    entries: Mutex<Vec<Entry>>,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            entries: Mutex::new(Vec::new()),
        }
    }

    /// Microseconds since the campaign began.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Adds what was asked at `invoked` and is over now.
    pub(crate) fn add(&self, client: u32, invoked: u64, what: What) {
        let completed = self.now();
        let entry = Entry {
            client,
            invoked,
            completed,
            what,
        };
        let mut entries = self.entries.lock().unwrap_or_else(|it| it.into_inner());
        entries.push(entry);
    }

    pub(crate) fn take(&self) -> Vec<Entry> {
        std::mem::take(&mut self.entries.lock().unwrap_or_else(|it| it.into_inner()))
    }
}

impl History {
    /// One JSON object for each entry, in the order in which they were asked: to be looked into
    /// when something was found.
    #[must_use]
    pub fn lines(&self) -> String {
        let mut entries: Vec<&Entry> = self.entries.iter().collect();
        entries.sort_by_key(|entry| entry.invoked);
        let lines = entries.into_iter().map(|entry| line(entry).to_string());
        lines.collect::<Vec<_>>().join("\n")
    }
}

fn line(entry: &Entry) -> Value {
    let mut line = match &entry.what {
        What::Enqueue {
            labels,
            key,
            delay_ms,
            answer,
        } => json!({"op": "enqueue", "labels": labels, "key": key, "delay_ms": delay_ms,
            "answer": told(answer, |ids| json!(ids))}),
        What::Lease { lease_ms, answer } => json!({"op": "lease", "lease_ms": lease_ms,
            "answer": told(answer, |jobs| jobs.iter().map(delivery).collect())}),
        What::Settle {
            delivery: of,
            outcome,
            delay_ms,
            answer,
        } => json!({"op": "settle", "job": delivery(of), "outcome": outcome,
            "delay_ms": delay_ms, "answer": told(answer, |status| json!(status))}),
        What::Topic(what) => topics::line(what),
        What::Down { power } => json!({"op": "down", "power": power}),
        What::Up => json!({"op": "up"}),
    };
    line["client"] = json!(entry.client);
    line["invoked_us"] = json!(entry.invoked);
    line["completed_us"] = json!(entry.completed);
    line
}

fn delivery(delivery: &Delivery) -> Value {
    json!({"label": delivery.label, "id": delivery.id, "token": delivery.token})
}

fn told<T>(answer: &Answer<T>, show: impl Fn(&T) -> Value) -> Value {
    match answer {
        Answer::Ok(answer) => show(answer),
        Answer::Fail => json!("fail"),
        Answer::Unknown => json!("unknown"),
    }
}
