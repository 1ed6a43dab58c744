//! Settling finished attempts, many at once, until the store has answered for each.

use std::sync::Arc;
use std::time::Duration;

use posthaste_core::port::Leased;
use posthaste_core::{
    Command, Commit, Committed, Error, ErrorKind, JobState, Outcome, Reply, Result,
};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::lease::Pause;
use super::{Done, Shared};

/// Most attempts settled by one call.
const BATCH_MAX: usize = 256;

/// An attempt that is over. Its slot is free once it is settled, so that outcomes don't pile up
/// before a store that cannot be reached.
pub(super) struct Finished {
    pub(super) job: Leased,
    /// `None` where the lease was lost and there is nothing to say.
    pub(super) outcome: Option<Outcome>,
    pub(super) took: Duration,
    pub(super) _slot: OwnedSemaphorePermit,
}

/// Settles what is finished, until there is nobody left to finish anything.
pub(super) async fn run(shared: Arc<Shared>, mut finishing: mpsc::UnboundedReceiver<Finished>) {
    let mut batch = Vec::new();
    let mut pause = Pause::default();
    loop {
        let room = BATCH_MAX - batch.len();
        if batch.is_empty() && finishing.recv_many(&mut batch, room).await == 0 {
            return;
        }
        batch = match settle(&shared, batch).await {
            Left::Nothing => {
                pause = Pause::default();
                Vec::new()
            }
            Left::Some(left, error) => {
                shared.work.trouble("settle", &error);
                pause.wait(&error).await;
                left
            }
        };
    }
}

/// What is to be settled again.
enum Left {
    Nothing,
    Some(Vec<Finished>, Error),
}

async fn settle(shared: &Shared, batch: Vec<Finished>) -> Left {
    let mut speaking = Vec::with_capacity(batch.len());
    for finished in batch {
        if finished.outcome.is_some() {
            speaking.push(finished);
        } else {
            shared.running.remove(finished.job.id, finished.job.token);
        }
    }
    let commits: Vec<Commit> = speaking
        .iter()
        .filter_map(command)
        .map(Commit::one)
        .collect();
    if commits.is_empty() {
        return Left::Nothing;
    }
    let answers = match shared.store.commit(commits).await {
        Ok(answers) => answers,
        Err(error) if error.is_retryable() => return Left::Some(speaking, error),
        Err(error) => vec![Err(error); speaking.len()],
    };
    let mut left = Vec::new();
    let mut last = None;
    for (finished, answer) in speaking.into_iter().zip(answers) {
        match answer {
            Err(error) if error.is_retryable() => {
                last = Some(error);
                left.push(finished);
            }
            answer => tell(shared, &finished, answer),
        }
    }
    last.map_or(Left::Nothing, |error| Left::Some(left, error))
}

fn command(finished: &Finished) -> Option<Command> {
    Some(Command::Settle {
        id: finished.job.id,
        token: finished.job.token,
        outcome: finished.outcome.clone()?,
    })
}

fn tell(shared: &Shared, finished: &Finished, answer: Result<Committed>) {
    shared.running.remove(finished.job.id, finished.job.token);
    let Some(outcome) = &finished.outcome else {
        return;
    };
    let settled = answer.and_then(|committed| state(&committed));
    shared.work.settled(&Done {
        job: &finished.job,
        outcome,
        took: finished.took,
        settled: &settled,
    });
}

fn state(committed: &Committed) -> Result<JobState> {
    match committed.replies.first() {
        Some(Reply::Settled { state, .. }) => Ok(*state),
        other => Err(Error::new(
            ErrorKind::Io,
            format!("the store answered a settle with {other:?}"),
        )),
    }
}
