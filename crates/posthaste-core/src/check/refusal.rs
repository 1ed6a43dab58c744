//! A refusal in a person's words.

use crate::error::ErrorKind;
use crate::job::JobState;
use crate::limits;
use crate::machine::Refusal;

impl Refusal {
    /// What failed, and what to do next.
    pub(super) fn told(self) -> (ErrorKind, String, String) {
        match self {
            Self::NoSuchJob => (
                ErrorKind::NotFound,
                "there is no such job".into(),
                "check the id; a job that has ended is kept for a limited time".into(),
            ),
            Self::IdTaken => (
                ErrorKind::Conflict,
                "a job with this id is there already".into(),
                "mint a new id for each job".into(),
            ),
            Self::KeyReused => (
                ErrorKind::KeyReused,
                "the idempotency key was used with another body".into(),
                "use a new key for a new request, or repeat the request exactly".into(),
            ),
            Self::UniqueHeld { by } => (
                ErrorKind::UniqueConflict,
                format!("the job {by} holds this unique key"),
                "wait until it lets go of it, or ask for the existing job on conflict".into(),
            ),
            Self::Stale { current } if current.0 == 0 => (
                ErrorKind::Stale,
                "the lease is over, and nobody holds the job now".into(),
                "drop the work; it will be handed out again".into(),
            ),
            Self::Stale { current } => (
                ErrorKind::Stale,
                format!("the lease was lost to a later one, with token {current}"),
                "drop the work: another worker has the job".into(),
            ),
            Self::UnknownLease => (
                ErrorKind::UnknownLease,
                "this lease was never granted, or its settling was forgotten".into(),
                "check the job's id and token; look the job up to see what became of it".into(),
            ),
            Self::SettledOtherwise => (
                ErrorKind::SettledOtherwise,
                "this lease was settled already, with another outcome".into(),
                "look the job up: the first outcome stands".into(),
            ),
            Self::WrongState { state } => (
                ErrorKind::Conflict,
                format!("the job is {state}, and this can't be done to it then"),
                instead(state).into(),
            ),
            Self::KeysFull => full("idempotency keys", limits::KEYS_MAX as u64),
            Self::JobsFull => full("jobs", limits::JOBS_MAX as u64),
            Self::NamesFull => (
                ErrorKind::Busy,
                "the store has as many queues, or kinds in them, as it may".into(),
                format!(
                    "use fewer names: at most {} queues, and {} of queue, kind and priority",
                    limits::QUEUES_MAX,
                    limits::LANES_MAX
                ),
            ),
        }
    }
}

fn full(what: &str, most: u64) -> (ErrorKind, String, String) {
    (
        ErrorKind::Busy,
        format!("the store holds {most} {what}, and may hold no more"),
        "try again later; settling and deleting go on".into(),
    )
}

fn instead(state: JobState) -> &'static str {
    match state {
        JobState::Running => "cancel it, or wait until its attempt has ended",
        JobState::Completed => "enqueue a new job",
        JobState::Dead | JobState::Cancelled => "retry it first, which brings it back",
        JobState::Scheduled | JobState::Available | JobState::Retryable => {
            "wait until it runs, or cancel it"
        }
    }
}
