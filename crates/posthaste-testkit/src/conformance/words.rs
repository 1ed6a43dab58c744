//! Short words for what cases say often.

use std::sync::Arc;

use posthaste_core::command::{Command, Reply};
use posthaste_core::ids::{KindName, QueueName, TopicName, WorkerName};
use posthaste_core::job::{NewJob, Outcome, Payload};
use posthaste_core::port::{LeaseAsk, Leased};
use posthaste_core::topic::{
    Event, EventPage, Gap, NewEvent, Published, ReadFrom, TailTopic, TopicRead, TopicSettings,
};

/// How long a lease lasts where a case does not say, in milliseconds.
pub const LEASE_MS: u32 = 30_000;

/// A queue's name.
#[must_use]
pub fn queue(name: &str) -> QueueName {
    QueueName::new(name).expect("a case uses good names")
}

/// A kind's name.
#[must_use]
pub fn kind(name: &str) -> KindName {
    KindName::new(name).expect("a case uses good names")
}

/// An enqueue of `job`.
#[must_use]
pub fn enqueue(job: NewJob) -> Command {
    Command::Enqueue(Box::new(job))
}

/// A settle of `leased`.
#[must_use]
pub fn settle(leased: &Leased, outcome: Outcome) -> Command {
    Command::Settle {
        id: leased.id,
        token: leased.token,
        outcome,
    }
}

/// The outcome of a handler that returns nothing.
#[must_use]
pub fn done() -> Outcome {
    Outcome::Completed { result: None }
}

/// The outcome of a handler that failed.
#[must_use]
pub fn failed(delay_ms: Option<u64>) -> Outcome {
    Outcome::Retry {
        error: Arc::from("connection refused"),
        delay_ms,
    }
}

/// An ask for up to `max` jobs of one queue, without a wait.
#[must_use]
pub fn ask(name: &str, max: u32) -> LeaseAsk {
    LeaseAsk {
        queues: vec![(queue(name), 1)],
        strict: false,
        kinds: Vec::new(),
        max,
        lease_ms: LEASE_MS,
        wait_ms: 0,
        worker: WorkerName::new("worker-1").expect("a good name"),
        local: false,
    }
}

/// A topic's name.
#[must_use]
pub fn topic(name: &str) -> TopicName {
    TopicName::new(name).expect("a case uses good names")
}

/// An event that is published as often as it is told, and carries its id.
#[must_use]
pub fn event(id: &str) -> NewEvent {
    NewEvent::new(id, "placed", Payload::json(format!("\"{id}\"")))
}

/// An event that is published once, however often it is told.
#[must_use]
pub fn once(id: &str) -> NewEvent {
    NewEvent {
        deduplicate: true,
        ..event(id)
    }
}

/// Many events, under few keys and of two types, whose ids are their numbers from `first` on.
#[must_use]
pub fn numbered(first: usize, count: usize) -> Vec<NewEvent> {
    let numbers = first..first + count;
    let events = numbers.map(|number| NewEvent {
        event_type: ["placed", "paid"][number % 2].into(),
        ..event(&number.to_string()).keyed(format!("key-{}", number % 7))
    });
    events.collect()
}

/// A publish to the topic `name`.
#[must_use]
pub fn publish(name: &str, events: Vec<NewEvent>) -> Command {
    let topic = topic(name);
    Command::Publish { topic, events }
}

/// A change of the topic `name`.
#[must_use]
pub fn set_topic(name: &str, settings: TopicSettings) -> Command {
    let topic = topic(name);
    Command::SetTopic { topic, settings }
}

/// An end of the topic `name`.
#[must_use]
pub fn delete_topic(name: &str) -> Command {
    Command::DeleteTopic(topic(name))
}

/// Everything of the topic `name` from there on, as far as one page goes.
#[must_use]
pub fn read(name: &str, from: ReadFrom) -> TailTopic {
    TailTopic::new(topic(name), from)
}

/// Where the events of a publish are.
#[must_use]
pub fn places(reply: &Reply) -> Vec<Published> {
    match reply {
        Reply::Published(places) => places.to_vec(),
        other => panic!("a publish was answered with {other:?}"),
    }
}

/// The page that a read was answered with.
#[must_use]
pub fn page(read: TopicRead) -> EventPage {
    match read {
        TopicRead::Page(page) => page,
        TopicRead::Gap(gap) => panic!("a read was answered with {gap:?}"),
    }
}

/// The gap that a read was answered with.
#[must_use]
pub fn gap(read: TopicRead) -> Gap {
    match read {
        TopicRead::Gap(gap) => gap,
        TopicRead::Page(page) => panic!("a read was answered with {page:?}"),
    }
}

/// The ids of events.
#[must_use]
pub fn ids(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.id.as_str()).collect()
}
