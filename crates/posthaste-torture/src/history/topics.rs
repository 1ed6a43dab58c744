//! What clients asked of topics and of groups, and what they were told.

use serde_json::{Value, json};

use super::{Answer, Label, told};

/// Where an event lies.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// In which partition.
    pub partition: u64,
    /// Where in that.
    pub offset: u64,
    /// Where to read on behind it.
    pub cursor: String,
}

/// An event that is to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Which, in its publisher's words; it travels in the payload.
    pub label: Label,
    /// Under which key.
    pub key: Option<String>,
}

/// Where an event was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Where it lies.
    pub place: Place,
    /// It had been published before, under the same id.
    pub existing: bool,
}

/// An event that was read, or handed to a member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which.
    pub label: Label,
    /// Under which key.
    pub key: Option<String>,
    /// Where it lies.
    pub place: Place,
    /// In a group: which attempt this is, and how many there may be. 0 of a topic.
    pub attempt: (u64, u64),
}

/// What was read of a topic in one go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The events, in order.
    pub events: Vec<Seen>,
    /// Where to read on.
    pub next: String,
    /// The oldest place that can be read from, where that was told.
    pub earliest: Option<String>,
    /// That was everything.
    pub all: bool,
}

/// How the handling of one event ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventEnd {
    /// Which event.
    pub label: Label,
    /// How: `done`, `retry`, `park`, `dead`, `skip`, `release`.
    pub outcome: String,
    /// It was the last attempt, so that a retry gives it up.
    pub last: bool,
}

/// What was asked of a topic or a group. A group is named by its topic and its name: `orders/mails`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OfTopic {
    /// Events were published, alone or in a commit.
    Publish {
        /// To which topic.
        topic: String,
        /// Which.
        events: Vec<NewEvent>,
        /// Jobs that the same commit enqueues.
        jobs: Vec<Label>,
        /// Where they are.
        answer: Answer<Vec<Published>>,
    },
    /// A topic was read on.
    Read {
        /// Which.
        topic: String,
        /// From where; `None` from the earliest.
        from: Option<String>,
        /// What was there; `Fail` where the cursor was refused, or called a gap.
        answer: Answer<Page>,
    },
    /// A member asked for events, and joined where it had no token.
    Ask {
        /// Of which group.
        group: String,
        /// Under which membership.
        token: Option<u64>,
        /// How long the membership lasts without a sign of life, in milliseconds.
        lease_ms: u64,
        /// The membership, and what it was handed.
        answer: Answer<(u64, Vec<Seen>)>,
    },
    /// The handling of events ended.
    Settle {
        /// In which group.
        group: String,
        /// Under which membership.
        token: u64,
        /// Which events, and how.
        ends: Vec<EventEnd>,
        /// Jobs that the same commit enqueues.
        jobs: Vec<Label>,
        /// Events that the same commit publishes.
        events: Vec<Label>,
        /// Whether it only repeats one that was applied.
        answer: Answer<bool>,
    },
    /// A member said that it is alive.
    Beat {
        /// Of which group.
        group: String,
        /// Under which membership.
        token: u64,
        /// That it was heard.
        answer: Answer<()>,
    },
    /// A member left.
    Leave {
        /// Which group.
        group: String,
        /// Under which membership.
        token: u64,
        /// That it was heard.
        answer: Answer<()>,
    },
    /// A group was looked at.
    Look {
        /// Which.
        group: String,
        /// Its position: where to read on behind what is finished.
        position: String,
    },
    /// All parked events of a group were released.
    Release {
        /// Of which group.
        group: String,
        /// That it was done.
        answer: Answer<()>,
    },
}

/// What the server says at the end of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupEnd {
    /// Which.
    pub group: String,
    /// Its position.
    pub position: String,
    /// Where the next event of its topic will be published.
    pub end: String,
    /// Events that are not finished.
    pub unfinished: u64,
    /// Events that are parked.
    pub parked: u64,
    /// Its dead letters.
    pub dead: Vec<Label>,
    /// Events whose handlers were done.
    pub done: u64,
    /// Events that were skipped.
    pub skipped: u64,
}

pub(super) fn line(what: &OfTopic) -> Value {
    match what {
        OfTopic::Publish {
            topic,
            events,
            jobs,
            answer,
        } => json!({"op": "publish", "topic": topic, "jobs": jobs,
            "events": events.iter().map(|it| json!({"label": it.label, "key": it.key})).collect::<Vec<_>>(),
            "answer": told(answer, |all| all.iter().map(published).collect())}),
        OfTopic::Read {
            topic,
            from,
            answer,
        } => json!({"op": "read", "topic": topic, "from": from, "answer": told(answer, page)}),
        OfTopic::Ask {
            group,
            token,
            lease_ms,
            answer,
        } => json!({"op": "ask", "group": group, "token": token, "lease_ms": lease_ms,
        "answer": told(answer, |(token, events)| {
            json!({"token": token, "events": events.iter().map(seen).collect::<Vec<_>>()})
        })}),
        OfTopic::Settle {
            group,
            token,
            ends,
            jobs,
            events,
            answer,
        } => json!({"op": "settle events", "group": group, "token": token, "jobs": jobs,
            "ends": ends.iter().map(end).collect::<Vec<_>>(), "events": events,
            "answer": told(answer, |repeated| json!({"repeated": repeated}))}),
        OfTopic::Beat {
            group,
            token,
            answer,
        } => json!({"op": "beat", "group": group, "token": token, "answer": word(answer)}),
        OfTopic::Leave {
            group,
            token,
            answer,
        } => json!({"op": "leave", "group": group, "token": token, "answer": word(answer)}),
        OfTopic::Look { group, position } => {
            json!({"op": "look", "group": group, "position": position})
        }
        OfTopic::Release { group, answer } => {
            json!({"op": "release", "group": group, "answer": word(answer)})
        }
    }
}

fn word(answer: &Answer<()>) -> Value {
    told(answer, |()| json!("ok"))
}

fn place(place: &Place) -> Value {
    json!([place.partition, place.offset, place.cursor])
}

fn published(of: &Published) -> Value {
    json!({"place": place(&of.place), "existing": of.existing})
}

fn seen(of: &Seen) -> Value {
    json!({"label": of.label, "key": of.key, "place": place(&of.place), "attempt": of.attempt.0})
}

fn page(page: &Page) -> Value {
    json!({"events": page.events.iter().map(seen).collect::<Vec<_>>(), "next": page.next,
        "all": page.all})
}

fn end(end: &EventEnd) -> Value {
    json!({"label": end.label, "outcome": end.outcome})
}
