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
            Self::NoSuchTopic => (
                ErrorKind::NotFound,
                "there is no such topic".into(),
                "check its name, or make it: posthaste topics set NAME".into(),
            ),
            Self::TopicsFull => full("topics", limits::TOPICS_MAX as u64),
            Self::PartitionsFixed { partitions } => (
                ErrorKind::Conflict,
                format!("the topic has {partitions} partitions, and keeps them: keys would move"),
                "leave the partitions out, or make another topic and publish to that".into(),
            ),
            Self::NoSuchGroup => (
                ErrorKind::NotFound,
                "the topic has no such group".into(),
                "check its name, or make it: posthaste groups set TOPIC NAME".into(),
            ),
            Self::GroupsFull => full("groups", limits::GROUPS_MAX as u64),
            Self::MembersFull => (
                ErrorKind::Busy,
                format!(
                    "the group has {} members, and may have no more",
                    limits::MEMBERS_MAX
                ),
                "ask under the token of a member, and let members leave".into(),
            ),
            Self::MemberGone => (
                ErrorKind::Stale,
                "the membership is over: it lapsed, or the group was reset".into(),
                "drop the work, it is handed out again; ask without a token to join anew".into(),
            ),
            Self::NotLeased { position } => (
                ErrorKind::Stale,
                format!("the event at {position} is not in the hands of this member"),
                "drop the work on it: it was settled, or is handed out again".into(),
            ),
            Self::OutOfOrder { position, first } => (
                ErrorKind::Conflict,
                format!(
                    "the event at {first} has the same key as that at {position}, and comes first"
                ),
                format!("begin with {first}"),
            ),
            Self::GroupBusy { leased } => (
                ErrorKind::Conflict,
                format!("members of the group hold {leased} events"),
                "stop the members first, or reset by force: they are told when they settle".into(),
            ),
            Self::PastEnd { end } => (
                ErrorKind::Invalid,
                format!("the position is past the end of the topic, which is at {end}"),
                format!("give at most {end}, or latest"),
            ),
            Self::NoSuchEvent { position } => (
                ErrorKind::NotFound,
                format!("the group keeps no event of position {position} there"),
                "list what is parked, or the dead letters".into(),
            ),
            Self::EventUnfinished { position } => (
                ErrorKind::Conflict,
                format!("the event at {position} is unfinished or parked: the group met it again"),
                "wait until it is finished, or release it from the parked events".into(),
            ),
            Self::UnfinishedFull => (
                ErrorKind::Busy,
                format!(
                    "the group has {} unfinished events, and may have no more",
                    limits::UNFINISHED_MAX
                ),
                "try again when some are finished".into(),
            ),
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
