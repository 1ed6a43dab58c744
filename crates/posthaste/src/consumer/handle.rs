//! A consumer in the background.

use std::sync::Arc;

use posthaste_core::{Error, ErrorKind, Result};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::engine::{Engine, Running};
use super::summary::ConsumerSummary;

/// A consumer that runs in the background. Dropped, it goes on.
#[derive(Debug)]
pub struct ConsumerHandle {
    stop: Arc<Notify>,
    task: JoinHandle<Result<ConsumerSummary>>,
}

impl ConsumerHandle {
    pub(super) fn start(engine: Engine, grace: std::time::Duration) -> Self {
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let until = async move { stopped.notified().await };
            match Running::start(engine).run(until, grace).await {
                (_, Some(error)) => Err(error),
                (summary, None) => Ok(summary),
            }
        });
        Self { stop, task }
    }

    /// Tells the consumer to stop, and waits until it has: see [`Consumer::run_until`](super::Consumer::run_until).
    ///
    /// # Errors
    /// As [`Consumer::run_until`](super::Consumer::run_until).
    pub async fn stop(self) -> Result<ConsumerSummary> {
        self.stop.notify_one();
        self.join().await
    }

    /// Waits until the consumer ends by itself, because the store is closed or failed, or the group is
    /// gone.
    ///
    /// # Errors
    /// As [`Consumer::run_until`](super::Consumer::run_until).
    pub async fn join(self) -> Result<ConsumerSummary> {
        self.task.await.unwrap_or_else(|error| {
            Err(
                Error::new(ErrorKind::Closed, format!("the consumer ended: {error}"))
                    .next("start it again"),
            )
        })
    }
}
