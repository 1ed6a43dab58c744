//! The jobs under way: their heartbeats, and the word that stops one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use posthaste_core::{Command, Commit, ErrorKind, JobId, Reply, Token, limits};
use tokio::sync::watch;

use super::{Shared, Stop};

/// Which jobs are under way, each with the means to stop it.
#[derive(Debug, Default)]
pub(crate) struct Running(Mutex<HashMap<(JobId, Token), watch::Sender<Stop>>>);

impl Running {
    fn jobs(&self) -> MutexGuard<'_, HashMap<(JobId, Token), watch::Sender<Stop>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a job as under way; what is returned says when it is to stop.
    pub(super) fn add(&self, id: JobId, token: Token) -> watch::Receiver<Stop> {
        let (stop, stopping) = watch::channel(Stop::Go);
        self.jobs().insert((id, token), stop);
        stopping
    }

    /// Notes a job as over.
    pub(super) fn remove(&self, id: JobId, token: Token) {
        self.jobs().remove(&(id, token));
    }

    /// Tells a job to stop. A lost lease is the last word; otherwise the first stays.
    pub(super) fn stop(&self, id: JobId, token: Token, why: Stop) {
        if let Some(stop) = self.jobs().get(&(id, token)) {
            tell(stop, why);
        }
    }

    /// Tells every job to stop.
    pub(super) fn stop_all(&self, why: Stop) {
        self.jobs().values().for_each(|stop| tell(stop, why));
    }

    fn leases(&self) -> Vec<(JobId, Token)> {
        self.jobs().keys().copied().collect()
    }
}

fn tell(stop: &watch::Sender<Stop>, why: Stop) {
    stop.send_if_modified(|now| {
        let changes = *now != why && (*now == Stop::Go || why == Stop::Lost);
        if changes {
            *now = why;
        }
        changes
    });
}

/// Keeps the leases of everything under way alive, until it is dropped.
pub(super) async fn beat(shared: Arc<Shared>) {
    let period = Duration::from_millis(u64::from(shared.options.lease_ms) / 3);
    loop {
        tokio::time::sleep(period).await;
        for leases in shared
            .running
            .leases()
            .chunks(limits::COMMANDS_PER_COMMIT_MAX)
        {
            // A store that doesn't answer must not hold up the next beat.
            drop(tokio::time::timeout(period, beat_once(&shared, leases)).await);
        }
    }
}

async fn beat_once(shared: &Shared, leases: &[(JobId, Token)]) {
    let commits = leases
        .iter()
        .map(|&(id, token)| {
            Commit::one(Command::Heartbeat {
                id,
                token,
                progress: None,
            })
        })
        .collect();
    let answers = match shared.store.commit(commits).await {
        Ok(answers) => answers,
        Err(error) => return shared.work.trouble("heartbeat", &error),
    };
    for (&(id, token), answer) in leases.iter().zip(answers) {
        match answer.map(|committed| committed.replies.first().cloned()) {
            Ok(Some(Reply::Extended { cancelled: true })) => {
                shared.running.stop(id, token, Stop::Cancelled);
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Stale | ErrorKind::UnknownLease | ErrorKind::NotFound
                ) =>
            {
                shared.running.stop(id, token, Stop::Lost);
            }
            Err(error) => shared.work.trouble("heartbeat", &error),
            Ok(_) => {}
        }
    }
}
