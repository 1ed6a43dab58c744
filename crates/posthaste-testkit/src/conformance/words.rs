//! Short words for what cases say often.

use std::sync::Arc;

use posthaste_core::command::Command;
use posthaste_core::ids::{KindName, QueueName, WorkerName};
use posthaste_core::job::{NewJob, Outcome};
use posthaste_core::port::{LeaseAsk, Leased};

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
