//! The library through its public face, on `memory:` and on `file:`.

mod adversity;
mod contexts;
mod derive;
mod enqueue;
mod events;
mod examples;
mod groups;
mod groups_adversity;
mod groups_kept;
mod hooked;
mod open;
mod policies;
mod policies_jobs;
mod retry_budget;
mod spans;
mod sweep;
mod tails;
mod work;

use std::future::Future;

use posthaste::{Event, Job, Posthaste};
use serde::{Deserialize, Serialize};

/// A job for tests that need any.
#[derive(Debug, PartialEq, Serialize, Deserialize, Job)]
struct Ping {
    n: u64,
}

/// An event for tests that need any.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Event)]
#[event(
    type = "order.placed",
    topic = "orders",
    version = 2,
    source = "shop",
    key = "order"
)]
struct OrderPlaced {
    order: u64,
    total: u64,
}

fn placed(order: u64) -> OrderPlaced {
    OrderPlaced {
        order,
        total: order * 10,
    }
}

/// Runs a test on a runtime of two threads.
fn run<F: Future>(test: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(test)
}

async fn memory() -> Posthaste {
    Posthaste::open("memory:").await.expect("opens")
}
