//! Histories told in a few words.

use posthaste_torture::checker::{Fault, check};
use posthaste_torture::history::{Answer, Counters, Delivery, Entry, GroupEnd, History, What};

/// How long everything takes, in microseconds.
const STEP: u64 = 1_000;
/// A lease where nothing else is said, in milliseconds.
const LEASE_MS: u64 = 1_000;

/// A history as it grows. Every call takes a millisecond and is over before the next begins.
pub(crate) struct Story {
    entries: Vec<Entry>,
    now: u64,
    /// What the server is to say in the end; counted along where it is not changed.
    pub(crate) counters: Counters,
    /// What it is to say of its groups.
    pub(crate) groups: Vec<GroupEnd>,
}

/// How a settle is answered.
pub(crate) fn ok() -> Answer<String> {
    Answer::Ok(String::from("ok"))
}

/// How a settle under a lost lease is answered.
pub(crate) fn stale() -> Answer<String> {
    Answer::Ok(String::from("stale"))
}

fn delivery(label: u64, token: u64) -> Delivery {
    let id = format!("id-{label}");
    Delivery { label, id, token }
}

impl Story {
    pub(crate) fn new() -> Self {
        Self {
            entries: Vec::new(),
            now: STEP,
            counters: Counters::default(),
            groups: Vec::new(),
        }
    }

    pub(crate) fn say(&mut self, what: What) {
        let (client, invoked) = (1, self.now);
        let completed = invoked + STEP;
        self.now = completed + STEP;
        self.entries.push(Entry {
            client,
            invoked,
            completed,
            what,
        });
    }

    /// The call before was that client's.
    pub(crate) fn by(&mut self, client: u32) {
        if let Some(last) = self.entries.last_mut() {
            last.client = client;
        }
    }

    /// The call before began as long ago, so that it was under way with those before it.
    pub(crate) fn began_earlier(&mut self, ms: u64) {
        if let Some(last) = self.entries.last_mut() {
            last.invoked -= ms * 1_000;
        }
    }

    pub(crate) fn wait(&mut self, ms: u64) {
        self.now += ms * 1_000;
    }

    pub(crate) fn enqueue(&mut self, label: u64) {
        self.enqueue_as(&[label], None, 0, Answer::Ok(vec![format!("id-{label}")]));
        self.counters.enqueued += 1;
    }

    pub(crate) fn enqueue_as(
        &mut self,
        labels: &[u64],
        key: Option<&str>,
        delay_ms: u64,
        answer: Answer<Vec<String>>,
    ) {
        self.say(What::Enqueue {
            labels: labels.to_vec(),
            key: key.map(str::to_owned),
            delay_ms,
            answer,
        });
    }

    pub(crate) fn lease(&mut self, label: u64, token: u64) {
        self.deliver(delivery(label, token));
    }

    pub(crate) fn deliver(&mut self, delivery: Delivery) {
        let lease_ms = LEASE_MS;
        let answer = Answer::Ok(vec![delivery]);
        self.say(What::Lease { lease_ms, answer });
    }

    pub(crate) fn nothing_there(&mut self) {
        let (lease_ms, answer) = (LEASE_MS, Answer::Ok(Vec::new()));
        self.say(What::Lease { lease_ms, answer });
    }

    /// A settle that is not counted.
    pub(crate) fn settle(&mut self, label: u64, token: u64, outcome: &str, answer: Answer<String>) {
        self.settle_until(label, token, outcome, 0, answer);
    }

    pub(crate) fn settle_until(
        &mut self,
        label: u64,
        token: u64,
        outcome: &str,
        delay_ms: u64,
        answer: Answer<String>,
    ) {
        self.say(What::Settle {
            delivery: delivery(label, token),
            outcome: outcome.to_owned(),
            delay_ms,
            answer,
        });
    }

    pub(crate) fn complete(&mut self, label: u64, token: u64) {
        self.settle(label, token, "completed", ok());
        self.counters.completed += 1;
        self.counters.completed_ever += 1;
    }

    pub(crate) fn restart(&mut self, power: bool) {
        self.say(What::Down { power });
        self.say(What::Up);
    }

    /// A job from its enqueue to its end, under this token.
    pub(crate) fn life(&mut self, label: u64, token: u64) {
        self.enqueue(label);
        self.lease(label, token);
        self.complete(label, token);
    }

    /// What is found wrong with it.
    pub(crate) fn faults(self) -> Vec<String> {
        let history = History {
            entries: self.entries,
            counters: Some(self.counters),
            groups: self.groups,
        };
        check(&history).iter().map(ToString::to_string).collect()
    }
}

/// Nothing is wrong with the story.
pub(crate) fn sound(tell: impl FnOnce(&mut Story)) {
    let mut story = Story::new();
    story.life(900, 1);
    tell(&mut story);
    assert_eq!(story.faults(), Vec::<String>::new());
}

/// The story, in which all else is well, breaks this promise.
pub(crate) fn flagged(fault: Fault, tell: impl FnOnce(&mut Story)) {
    let mut story = Story::new();
    story.life(900, 1);
    tell(&mut story);
    let found = story.faults();
    let named = format!("{fault:?}: ");
    let flagged = found.iter().any(|it| it.starts_with(&named));
    assert!(flagged, "{fault:?} was not found; found was: {found:#?}");
}
