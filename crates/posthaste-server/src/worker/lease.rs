//! Asking for work, and starting what comes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use posthaste_core::port::{LeaseAsk, Leased};
use posthaste_core::{Error, ErrorKind, Outcome, limits};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::settle::Finished;
use super::{Shared, Stop, Stopped};

/// How long one ask waits for its first job, in milliseconds.
const WAIT_MS: u32 = 20_000;

/// Leases as many jobs as there are free slots, again and again. Ends only with an error that
/// trying again cannot help. Dropping it gives back what a pending ask would have got.
pub(super) async fn run(
    shared: &Arc<Shared>,
    slots: &Arc<Semaphore>,
    finished: mpsc::UnboundedSender<Finished>,
) -> Error {
    let mut pause = Pause::default();
    loop {
        let mut free = take_free(slots).await;
        let ask = ask(shared, free.len());
        match shared.store.lease(ask).await {
            Ok(jobs) => {
                pause = Pause::default();
                for (job, slot) in jobs.into_iter().zip(free.drain(..)) {
                    start(shared, job, slot, finished.clone());
                }
            }
            Err(error) if is_final(&error, shared.options.local) => return error,
            Err(error) => {
                shared.work.trouble("lease", &error);
                drop(free);
                pause.wait(&error).await;
            }
        }
    }
}

fn is_final(error: &Error, local: bool) -> bool {
    !error.is_retryable() || (local && error.kind() == ErrorKind::Closed)
}

fn ask(shared: &Shared, free: usize) -> LeaseAsk {
    let options = &shared.options;
    LeaseAsk {
        queues: options.queues.clone(),
        strict: options.strict,
        kinds: options.kinds.clone(),
        max: u32::try_from(free).unwrap_or(limits::LEASE_JOBS_MAX),
        lease_ms: options.lease_ms,
        wait_ms: WAIT_MS,
        worker: options.name.clone(),
        local: options.local,
    }
}

async fn take_free(slots: &Arc<Semaphore>) -> Vec<OwnedSemaphorePermit> {
    let mut free = Vec::new();
    // The semaphore is never closed, so an error cannot come; without a permit nothing is asked.
    while free.is_empty() {
        free.extend(Arc::clone(slots).acquire_owned().await);
    }
    while free.len() < limits::LEASE_JOBS_MAX as usize
        && let Ok(slot) = Arc::clone(slots).try_acquire_owned()
    {
        free.push(slot);
    }
    free
}

fn start(
    shared: &Arc<Shared>,
    job: Leased,
    slot: OwnedSemaphorePermit,
    finished: mpsc::UnboundedSender<Finished>,
) {
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let started = Instant::now();
        let outcome = attempt(&shared, &job).await;
        let done = Finished {
            job,
            outcome,
            took: started.elapsed(),
            _slot: slot,
        };
        // The settling side ends only after every sender, so this cannot be refused.
        drop(finished.send(done));
    });
}

/// One attempt. `None` where its outcome counts for nothing, because the lease was lost.
async fn attempt(shared: &Shared, job: &Leased) -> Option<Outcome> {
    let stop = shared.running.add(job.id, job.token);
    let timeout = Duration::from_millis(u64::from(job.timeout_ms));
    let mut attempt = shared.work.attempt(job, stop.clone());
    let outcome = tokio::select! {
        outcome = &mut attempt => outcome,
        () = tokio::time::sleep(timeout) => {
            shared.running.stop(job.id, job.token, Stop::TimedOut);
            attempt.await
        }
    };
    let told = *stop.borrow();
    match (outcome, told) {
        (_, Stop::Lost) => None,
        (Ok(outcome), _) => Some(outcome),
        (Err(stopped), Stop::Cancelled) => Some(Outcome::Cancel {
            reason: with_words("called off while running", &stopped).into(),
        }),
        (Err(stopped), Stop::TimedOut) => {
            let timeout = posthaste_core::duration::print(timeout);
            let error = format!("the attempt took longer than its timeout of {timeout}");
            Some(Outcome::Retry {
                error: with_words(&error, &stopped).into(),
                delay_ms: None,
            })
        }
        (Err(_), Stop::Leaving | Stop::Go) => Some(Outcome::Release {
            delay_ms: 0,
            undecodable: false,
            error: None,
        }),
    }
}

/// Why an attempt was stopped, and what it had said until then.
fn with_words(why: &str, stopped: &Stopped) -> String {
    match stopped.said.trim() {
        "" => why.to_owned(),
        words => format!("{why}: {words}"),
    }
}

/// The pause before a refused verb is tried again: 100 ms, doubling to five seconds.
#[derive(Debug)]
pub(super) struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(Duration::from_millis(100))
    }
}

impl Pause {
    pub(super) async fn wait(&mut self, error: &Error) {
        let asked = error.retry_after().map(Duration::from_millis);
        tokio::time::sleep(asked.unwrap_or(self.0).min(Duration::from_secs(60))).await;
        self.0 = (self.0 * 2).min(Duration::from_secs(5));
    }
}
