//! Doing one thing to many jobs, a page at a time, on any store.
//!
//! A page of the listing is one commit for each job, all sent together, so that no store is held
//! up by a large one, and a job that has moved on meanwhile is passed over.

use posthaste_core::view::{JobFilter, JobView};
use posthaste_core::{Command, Commit, Error, ErrorKind, JobState, Result, Store, WallMs};

/// What to do to each job.
#[derive(Clone, Debug)]
pub enum Deed {
    /// Bring back dead or cancelled jobs, with all their attempts.
    Redrive,
    /// Forget jobs that came to an end before an instant.
    Prune {
        /// The instant.
        ended_before: WallMs,
    },
    /// Forget jobs that aren't running.
    Delete,
}

/// What one slice came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// How many jobs were changed.
    pub changed: u64,
    /// The cursor to go on with; `None` at the end.
    pub next: Option<u64>,
}

/// Does `deed` to one page of at most `max` jobs of `filter`.
///
/// # Errors
/// `Invalid` where the filter's state doesn't go with the deed, or is missing; what the store
/// answers.
pub async fn slice(
    store: &dyn Store,
    deed: &Deed,
    filter: JobFilter,
    cursor: Option<u64>,
    max: u32,
) -> Result<Slice> {
    check(deed, filter.state)?;
    let page = store.jobs(filter, cursor, max).await?;
    let commands = page.jobs.iter().filter_map(|job| command(deed, job));
    let commits: Vec<Commit> = commands.map(Commit::one).collect();
    let mut slice = Slice {
        changed: 0,
        next: page.next,
    };
    if commits.is_empty() {
        return Ok(slice);
    }
    for answer in store.commit(commits).await? {
        match answer {
            Ok(_) => slice.changed += 1,
            // The job went on, or is gone, since it was listed.
            Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(slice)
}

/// Does `deed` to every job of `filter`, telling `progress` how many were changed so far.
///
/// # Errors
/// As [`slice()`]; what was done until then stays done.
pub async fn all(
    store: &dyn Store,
    deed: &Deed,
    filter: &JobFilter,
    max: u32,
    mut progress: impl FnMut(u64),
) -> Result<u64> {
    let (mut changed, mut cursor) = (0, None);
    loop {
        let done = slice(store, deed, filter.clone(), cursor, max).await?;
        changed += done.changed;
        progress(changed);
        cursor = done.next;
        if cursor.is_none() {
            return Ok(changed);
        }
    }
}

fn check(deed: &Deed, state: Option<JobState>) -> Result<()> {
    let (fits, next) = match deed {
        Deed::Redrive => (
            matches!(state, Some(JobState::Dead | JobState::Cancelled)),
            "give the state dead or cancelled",
        ),
        Deed::Prune { .. } => (
            state.is_some_and(JobState::is_final),
            "give the state completed, dead or cancelled",
        ),
        Deed::Delete => (
            state.is_some_and(|state| state != JobState::Running),
            "give the state of the jobs to delete; cancel running ones first",
        ),
    };
    if fits {
        return Ok(());
    }
    let word = match deed {
        Deed::Redrive => "redrive",
        Deed::Prune { .. } => "prune",
        Deed::Delete => "delete",
    };
    let problem = match state {
        Some(state) => format!("{word} does not go with the state {state}"),
        None => format!("{word} needs a state"),
    };
    Err(Error::new(ErrorKind::Invalid, problem).next(next))
}

fn command(deed: &Deed, job: &JobView) -> Option<Command> {
    match deed {
        Deed::Redrive => Some(Command::Retry(job.id)),
        Deed::Prune { ended_before } => {
            (job.at <= *ended_before).then_some(Command::Delete(job.id))
        }
        Deed::Delete => Some(Command::Delete(job.id)),
    }
}
