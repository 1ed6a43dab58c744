//! Enqueuing, and waiting for what comes of it.

use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;

use posthaste_core::port::TailJob;
use posthaste_core::view::JobView;
use posthaste_core::{Command, Commit, Error, ErrorKind, JobId, JobState, Reply, Result, limits};
use serde::de::DeserializeOwned;

use crate::draft::{Draft, IntoDraft};
use crate::hub::Posthaste;
use crate::policy::Context;

/// What the builders turn into when they are awaited.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// An enqueue that is being put together; `.await` it.
///
/// Enqueued from inside a [`Context`] (a handler, a request), the job inherits how much it matters and
/// the trace, where it says nothing of its own.
///
/// The answer comes once the job is durable. Dropping the future gives up the answer, not the
/// effect: use an [`idempotency_key`](Self::idempotency_key) to be able to ask again.
///
/// # Errors
/// `Invalid` for what can't be said of a job, `KeyReused`, `UniqueConflict`, `Busy`, `DiskFull`,
/// and what the store adds: `Uncertain`, `Closed`, `Unavailable`.
#[derive(Debug)]
#[must_use = "an enqueue does nothing until it is awaited"]
pub struct Enqueue {
    pub(crate) hub: Posthaste,
    pub(crate) draft: Draft,
}

impl IntoFuture for Enqueue {
    type Output = Result<Enqueued>;
    type IntoFuture = BoxFuture<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let context = Context::current();
        Box::pin(async move {
            let job = self.draft.build(|| self.hub.mint_id())?;
            let mut command = Command::Enqueue(job);
            context.inherited_by(&mut command);
            let replies = self.hub.apply(Commit::one(command)).await?;
            match replies.into_iter().next() {
                Some(reply) => Enqueued::of(&self.hub, reply),
                None => Err(no_answer()),
            }
        })
    }
}

/// A job that is there, durably.
#[derive(Clone)]
pub struct Enqueued {
    /// The job's id: the new one, or that of the job which was there.
    pub id: JobId,
    /// Its state when it was accepted.
    pub state: JobState,
    /// It was there before, by an idempotency or a unique key.
    pub existing: bool,
    hub: Posthaste,
}

impl Enqueued {
    pub(crate) fn of(hub: &Posthaste, reply: Reply) -> Result<Self> {
        match reply {
            Reply::Enqueued {
                id,
                state,
                existing,
            } => Ok(Self {
                id,
                state,
                existing,
                hub: hub.clone(),
            }),
            _ => Err(no_answer()),
        }
    }

    /// Waits until the job has come to an end, and tells how. See [`Posthaste::wait`].
    ///
    /// # Errors
    /// `NotFound` where the job is forgotten by then; what the store adds.
    pub async fn wait(&self) -> Result<JobView> {
        self.hub.wait(self.id).await
    }

    /// Waits until the job is completed, and gives its result.
    ///
    /// Waits as long as it takes: through retries, and for a job of next year. Dropping the future
    /// only gives up the wait.
    ///
    /// # Errors
    /// `Conflict` where the job is dead or cancelled, saying why; `NotFound` where it is forgotten
    /// by then; `Invalid` where the result is not a `T`, or was not kept.
    pub async fn result<T: DeserializeOwned>(&self) -> Result<T> {
        self.hub.result(self.id).await
    }
}

impl fmt::Debug for Enqueued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enqueued")
            .field("id", &self.id)
            .field("state", &self.state)
            .field("existing", &self.existing)
            .finish_non_exhaustive()
    }
}

fn no_answer() -> Error {
    Error::new(
        ErrorKind::Uncertain,
        "the store gave no answer to an enqueue",
    )
    .next("enqueue again under an idempotency key")
}

/// The result of a job that has come to an end.
fn result_of<T: DeserializeOwned>(job: &JobView) -> Result<T> {
    if job.state != JobState::Completed {
        let why = job.error.as_deref().unwrap_or("no reason given");
        let reason = job
            .reason
            .map(|reason| format!(" ({})", reason.as_str()))
            .unwrap_or_default();
        return Err(Error::new(
            ErrorKind::Conflict,
            format!("job {} is {}{reason}: {why}", job.id, job.state),
        )
        .next("look at it, then retry it or let it go"));
    }
    let bytes = job
        .result
        .as_ref()
        .map_or(&b"null"[..], |result| &result.bytes);
    serde_json::from_slice(bytes).map_err(|error| {
        Error::new(
            ErrorKind::Invalid,
            format!(
                "the result of job {} is not what was asked for: {error}",
                job.id
            ),
        )
        .next("ask for the type that the handler returns; see also keep_result")
    })
}

impl Posthaste {
    /// Enqueues a job: say more of it, then `.await`.
    ///
    /// ```
    /// # use posthaste::{Job, Posthaste, TimeUnits};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize, Job)]
    /// # struct WelcomeEmail { user: u64 }
    /// # async fn sign_up(hub: &Posthaste) -> posthaste::Result<()> {
    /// let job = hub.enqueue(WelcomeEmail { user: 7 }).priority(9).after(5.secs()).await?;
    /// println!("{} is {}", job.id, job.state);
    /// # Ok(())
    /// # }
    /// ```
    pub fn enqueue(&self, job: impl IntoDraft) -> Enqueue {
        Enqueue {
            hub: self.clone(),
            draft: job.into_draft(),
        }
    }

    /// Enqueues a job without a type: any kind, any payload.
    pub fn enqueue_raw(
        &self,
        kind: &str,
        queue: &str,
        payload: posthaste_core::Payload,
    ) -> Enqueue {
        Enqueue {
            hub: self.clone(),
            draft: Draft::raw(kind, queue, payload),
        }
    }

    /// Enqueues many jobs in one commit: all of them durably, or none. The answers are in order.
    ///
    /// # Errors
    /// As [`Enqueue`], naming the refused job by its index; `Invalid` or `TooLarge` for more than
    /// 1000 jobs or 8 MiB.
    pub async fn enqueue_many<I>(&self, jobs: I) -> Result<Vec<Enqueued>>
    where
        I: IntoIterator,
        I::Item: IntoDraft,
    {
        let context = Context::current();
        let commands = jobs
            .into_iter()
            .enumerate()
            .map(|(index, job)| {
                let job = job.into_draft().build(|| self.mint_id());
                let mut command = job
                    .map(Command::Enqueue)
                    .map_err(|error| error.at_command(index))?;
                context.inherited_by(&mut command);
                Ok(command)
            })
            .collect::<Result<Vec<_>>>()?;
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let replies = self.apply(Commit::of(commands)).await?;
        replies
            .into_iter()
            .map(|reply| Enqueued::of(self, reply))
            .collect()
    }

    /// Waits until a job is completed, and gives its result. See [`Enqueued::result`].
    ///
    /// # Errors
    /// As [`Enqueued::result`].
    pub async fn result<T: DeserializeOwned>(&self, id: JobId) -> Result<T> {
        result_of(&self.wait(id).await?)
    }

    /// Waits until a job has come to an end, and tells how.
    ///
    /// Waits as long as it takes. Dropping the future only gives up the wait.
    ///
    /// # Errors
    /// `NotFound` where there is no such job, or no longer; what the store adds.
    pub async fn wait(&self, id: JobId) -> Result<JobView> {
        loop {
            let ask = TailJob {
                id,
                wait_ms: limits::WAIT_MS_MAX,
            };
            let job = self.store().tail(ask).await?;
            if job.state.is_final() {
                return Ok(job);
            }
        }
    }
}
