//! The library through its public face, on `memory:` and on `file:`.

mod adversity;
mod derive;
mod enqueue;
mod examples;
mod open;
mod spans;
mod sweep;
mod work;

use std::future::Future;

use posthaste::{Job, Posthaste};
use serde::{Deserialize, Serialize};

/// A job for tests that need any.
#[derive(Debug, PartialEq, Serialize, Deserialize, Job)]
struct Ping {
    n: u64,
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
