//! Doing one thing to many jobs, a page at a time, on any store.
//!
//! A page of the listing is one commit for each job, all sent together, so that no store is held
//! up by a large one, and a job that has moved on meanwhile is passed over. It is not atomic: jobs
//! that come while it runs may be touched or not, and what was done stays done when it breaks off.
//!
//! [`Posthaste::redrive_where`], [`Posthaste::prune`] and [`Posthaste::delete_where`] do all of it;
//! [`slice()`] does one page, for whoever answers in between.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use posthaste_core::view::{JobFilter, JobView};
use posthaste_core::{
    Command, Commit, Error, ErrorKind, JobId, JobState, Result, Store, WallMs, limits,
};

use crate::hub::Posthaste;
use crate::units::millis;

/// Most jobs that pruning by count can be asked to keep. More: refused as `Invalid`.
pub const KEEP_MAX: u32 = limits::DEAD_KEPT_MAX;

/// Which of the jobs that have ended are forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Prune {
    /// Those that ended at least this long ago.
    OlderThan(Duration),
    /// All but the newest so many, at most [`KEEP_MAX`].
    KeepNewest(u32),
}

impl Posthaste {
    /// Brings back all dead jobs of `filter` (or cancelled ones, where it says so) with all their
    /// attempts, and gives how many. In slices: jobs that die meanwhile may be brought back or not.
    ///
    /// # Errors
    /// `Invalid` for a filter of another state; what the store answers. What was done stays done.
    ///
    /// ```
    /// # use posthaste::{JobFilter, Posthaste};
    /// # async fn operate(hub: Posthaste) -> posthaste::Result<()> {
    /// let of_mail = JobFilter {
    ///     queue: Some("mail".parse()?),
    ///     ..JobFilter::default()
    /// };
    /// let count = hub.redrive_where(of_mail).await?;
    /// println!("{count} jobs are tried again");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn redrive_where(&self, mut filter: JobFilter) -> Result<u64> {
        filter.state = filter.state.or(Some(JobState::Dead));
        self.sweep(&Deed::Redrive, &filter).await
    }

    /// Forgets jobs of `filter` that have ended, by age or but for the newest, and gives how many.
    /// The filter names their state: completed, dead or cancelled.
    ///
    /// # Errors
    /// `Invalid` for a filter of another state, or of none; what the store answers. What was done
    /// stays done.
    ///
    /// ```
    /// # use posthaste::sweep::Prune;
    /// # use posthaste::{JobFilter, JobState, Posthaste, TimeUnits};
    /// # async fn operate(hub: Posthaste) -> posthaste::Result<()> {
    /// let dead = JobFilter {
    ///     state: Some(JobState::Dead),
    ///     ..JobFilter::default()
    /// };
    /// hub.prune(dead.clone(), Prune::OlderThan(30.days())).await?;
    /// hub.prune(dead, Prune::KeepNewest(1_000)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn prune(&self, filter: JobFilter, which: Prune) -> Result<u64> {
        let upto = match which {
            Prune::OlderThan(age) => {
                Some(End::at(WallMs(self.now().0.saturating_sub(millis(age)))))
            }
            Prune::KeepNewest(keep) => beyond(&**self.store(), &filter, keep).await?,
        };
        match upto {
            Some(upto) => self.sweep(&Deed::Prune { upto }, &filter).await,
            None => Ok(0),
        }
    }

    /// Forgets all jobs of `filter`, and gives how many. The filter names their state, which may be
    /// any but running.
    ///
    /// # Errors
    /// `Invalid` for a filter of running jobs, or of no state; what the store answers. What was done
    /// stays done.
    ///
    /// ```
    /// # use posthaste::{JobFilter, JobState, Posthaste};
    /// # async fn operate(hub: Posthaste) -> posthaste::Result<()> {
    /// let mistaken = JobFilter {
    ///     state: Some(JobState::Scheduled),
    ///     tag: Some("import-7".parse()?),
    ///     ..JobFilter::default()
    /// };
    /// hub.delete_where(mistaken).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete_where(&self, filter: JobFilter) -> Result<u64> {
        self.sweep(&Deed::Delete, &filter).await
    }

    async fn sweep(&self, deed: &Deed, filter: &JobFilter) -> Result<u64> {
        all(&**self.store(), deed, filter, limits::PAGE_MAX, |_| ()).await
    }
}

/// When a job ended. Those that ended at the same instant are told apart by their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct End {
    at: WallMs,
    id: JobId,
}

impl End {
    /// Of the last job that can have ended at `at`.
    #[must_use]
    pub fn at(at: WallMs) -> Self {
        let id = JobId::from_bytes([0xff; 16]);
        Self { at, id }
    }

    fn of(job: &JobView) -> Self {
        let (at, id) = (job.at, job.id);
        Self { at, id }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.at.0, self.id)
    }
}

impl FromStr for End {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts = text.split_once('_');
        let read = parts.and_then(|(at, id)| Some((at.parse().ok()?, id.parse().ok()?)));
        let (at, id) = read.ok_or_else(|| {
            Error::new(
                ErrorKind::Invalid,
                format!("{text:?} is not the end of a job"),
            )
            .next("give what was answered, unchanged")
        })?;
        let at = WallMs(at);
        Ok(Self { at, id })
    }
}

/// The newest end in `filter` that is not among the newest `keep`; `None` where there are no more.
/// Looks at every job of the filter, page by page.
///
/// # Errors
/// `Invalid` where there are other than ended jobs in `filter`, or `keep` is over [`KEEP_MAX`]; what
/// the store answers.
pub async fn beyond(store: &dyn Store, filter: &JobFilter, keep: u32) -> Result<Option<End>> {
    let upto = End::at(WallMs(0));
    check(&Deed::Prune { upto }, filter.state)?;
    if keep > KEEP_MAX {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("{keep} jobs are too many to keep"),
        )
        .next(format!("keep at most {KEEP_MAX}, or prune by age")));
    }
    let one_more = keep as usize + 1;
    let (mut newest, mut cursor) = (BinaryHeap::new(), None);
    loop {
        let page = store.jobs(filter.clone(), cursor, limits::PAGE_MAX).await?;
        for job in &page.jobs {
            newest.push(Reverse(End::of(job)));
            if newest.len() > one_more {
                newest.pop();
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let enough = newest.len() == one_more;
    Ok(newest.pop().filter(|_| enough).map(|Reverse(end)| end))
}

/// What to do to each job.
#[derive(Clone, Debug)]
pub enum Deed {
    /// Bring back dead or cancelled jobs, with all their attempts.
    Redrive,
    /// Forget jobs that came to an end up to there.
    Prune {
        /// The last of them.
        upto: End,
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
        Deed::Prune { upto } => (End::of(job) <= *upto).then_some(Command::Delete(job.id)),
        Deed::Delete => Some(Command::Delete(job.id)),
    }
}
