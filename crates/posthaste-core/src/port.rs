//! The port between features and whatever stores the data: three verbs (commit, lease, tail) and
//! read-only questions for people. No method has a default, because a default hides a missing
//! implementation until production.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::command::{Commit, Committed};
use crate::error::Result;
use crate::group::{EventAsk, GroupView, KeptPage, LeasedEvents};
use crate::ids::{GroupName, JobId, KindName, QueueName, Tag, Token, TopicName, WorkerName};
use crate::job::{Payload, Priority};
use crate::time::WallMs;
use crate::topic::{Position, TailTopic, TopicRead, TopicView};
use crate::view::{Health, JobFilter, JobPage, JobView, QueueView};

/// A future that a port hands out. One for each batch, not for each job.
pub type PortFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Whatever keeps jobs and topics: memory, a directory, a server.
///
/// Every answer rests on durable facts alone (leases and progress excepted). Dropping a future
/// gives up the answer, not the effect: a commit may still be applied, and a lease that nobody
/// takes is released.
pub trait Store: Send + Sync + 'static {
    /// Applies each commit, all of its commands or none, and answers once they are durable.
    /// Commits are independent: one may be refused and the next applied. Order is kept.
    ///
    /// # Errors
    /// The outer error: nothing is known of any of them (`Uncertain`, `Closed`, `Unavailable`).
    /// The inner: that commit was refused, and changed nothing.
    fn commit(&self, commits: Vec<Commit>) -> PortFuture<'_, Result<Vec<Result<Committed>>>>;

    /// Claims up to `ask.max` ready jobs, waiting up to `ask.wait_ms` for the first. Empty when
    /// none came.
    ///
    /// # Errors
    /// `Invalid` for a bad ask; `Busy` where too many wait already; `Closed`, `Unavailable`.
    fn lease(&self, ask: LeaseAsk) -> PortFuture<'_, Result<Vec<Leased>>>;

    /// Waits until the job has come to an end, at most `ask.wait_ms`, and tells how it is then.
    ///
    /// # Errors
    /// `NotFound` where there is no such job; `Busy` where too many wait already; `Closed`,
    /// `Unavailable`.
    fn tail(&self, ask: TailJob) -> PortFuture<'_, Result<JobView>>;

    /// Reads a topic on from a position, waiting up to `ask.wait_ms` for the first event that is
    /// asked for. Only durable events are told, each time the same at the same place. What lay there
    /// and is gone is told as a gap, never passed over.
    ///
    /// # Errors
    /// `NotFound` where there is no such topic; `Invalid` for a bad ask, and for a position past the
    /// end; `Busy` where too many wait already; `Corrupt`, `Closed`, `Unavailable`.
    fn read(&self, ask: TailTopic) -> PortFuture<'_, Result<TopicRead>>;

    /// Hands events of a group to a member, waiting up to `ask.wait_ms` for the first. Who asks
    /// without a token joins the group; the token is to be given from then on, also where no event
    /// came.
    ///
    /// Events of one key are handed out in order, and to one member at a time. A member that says
    /// nothing for its lease is lost: its events are handed out again.
    ///
    /// # Errors
    /// `NotFound` where there is no such group; `Stale` where the membership is over: join again;
    /// `Invalid` for a bad ask; `Busy` where too many wait already; `Closed`, `Unavailable`.
    fn lease_events(&self, ask: EventAsk) -> PortFuture<'_, Result<LeasedEvents>>;

    /// Waits until a group has passed a position, at most `ask.wait_ms`, and tells how it is then:
    /// who must see what he published looks whether its position lies behind.
    ///
    /// # Errors
    /// `NotFound` where there is no such group; `Invalid` for a position of another history; `Busy`
    /// where too many wait already; `Closed`, `Unavailable`.
    fn tail_group(&self, ask: TailGroup) -> PortFuture<'_, Result<GroupView>>;

    /// Every group, by topic and name.
    ///
    /// # Errors
    /// `Closed`, `Unavailable`.
    fn groups(&self) -> PortFuture<'_, Result<Vec<GroupView>>>;

    /// One page of the parked events of a group, or of its dead letters.
    ///
    /// # Errors
    /// `NotFound` where there is no such group; `Corrupt`, `Closed`, `Unavailable`.
    fn kept(&self, ask: KeptAsk) -> PortFuture<'_, Result<KeptPage>>;

    /// One job. `None` where there is none, or no longer.
    ///
    /// # Errors
    /// `Corrupt`, `Closed`, `Unavailable`.
    fn job(&self, id: JobId) -> PortFuture<'_, Result<Option<JobView>>>;

    /// One page of jobs, going on from `cursor`, at most `max` (1000).
    ///
    /// # Errors
    /// `Closed`, `Unavailable`.
    fn jobs(
        &self,
        filter: JobFilter,
        cursor: Option<u64>,
        max: u32,
    ) -> PortFuture<'_, Result<JobPage>>;

    /// Every queue, by name.
    ///
    /// # Errors
    /// `Closed`, `Unavailable`.
    fn queues(&self) -> PortFuture<'_, Result<Vec<QueueView>>>;

    /// Every topic, by name.
    ///
    /// # Errors
    /// `Closed`, `Unavailable`.
    fn topics(&self) -> PortFuture<'_, Result<Vec<TopicView>>>;

    /// How the store is.
    ///
    /// # Errors
    /// `Closed`, `Unavailable`.
    fn health(&self) -> PortFuture<'_, Result<Health>>;

    /// Makes everything acknowledged durable, refuses what comes later, and lets go of the store.
    /// Done twice, it does nothing more.
    ///
    /// # Errors
    /// `Uncertain` where the last sync failed.
    fn close(&self) -> PortFuture<'_, Result<()>>;
}

/// Who asks for work, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseAsk {
    /// From which queues, each with its weight (at least 1).
    pub queues: Vec<(QueueName, u32)>,
    /// The queues in the order given, the first to its end first; otherwise by weight.
    pub strict: bool,
    /// Of which kinds; empty is every kind.
    pub kinds: Vec<KindName>,
    /// Most jobs, 1 to 1000.
    pub max: u32,
    /// For how long, in milliseconds, 100 to an hour. A heartbeat starts it afresh.
    pub lease_ms: u32,
    /// How long to wait for the first, in milliseconds, at most a minute.
    pub wait_ms: u32,
    /// Who asks.
    pub worker: WorkerName,
    /// The worker lives in the process that holds the store: when that is opened again, its leases
    /// are over.
    pub local: bool,
}

/// A job that a worker may work on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leased {
    /// Which job.
    pub id: JobId,
    /// Under which lease.
    pub token: Token,
    /// Which handler it is for.
    pub kind: KindName,
    /// Which queue it came from.
    pub queue: QueueName,
    /// What it carries.
    pub payload: Payload,
    /// Which attempt this is, from 1.
    pub attempt: u16,
    /// How many there may be.
    pub max_attempts: u16,
    /// Its rank.
    pub priority: Priority,
    /// For how long the lease holds, in milliseconds from now.
    pub lease_ms: u32,
    /// How long the attempt may take, in milliseconds.
    pub timeout_ms: u32,
    /// Past this there is no point in starting.
    pub deadline: Option<WallMs>,
    /// When it was accepted.
    pub enqueued_at: WallMs,
    /// Words to find it by.
    pub tags: Vec<Tag>,
    /// Names and values for others to read.
    pub metadata: Vec<(Arc<str>, Arc<str>)>,
}

/// Which job to wait for, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TailJob {
    /// Which job.
    pub id: JobId,
    /// How long to wait for its end, in milliseconds, at most a minute.
    pub wait_ms: u32,
}

/// Which group to wait for, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailGroup {
    /// Of which topic.
    pub topic: TopicName,
    /// Which group.
    pub group: GroupName,
    /// The event that it is to have passed: handled, or given up on. `None` waits for nothing.
    pub passed: Option<Position>,
    /// How long to wait, in milliseconds, at most a minute.
    pub wait_ms: u32,
}

/// Which parked events or dead letters to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAsk {
    /// Of which topic.
    pub topic: TopicName,
    /// Of which group.
    pub group: GroupName,
    /// Its dead letters, and not its parked events.
    pub dead: bool,
    /// Where to go on, as the page before said.
    pub cursor: Option<u64>,
    /// Most of them, at most 1000.
    pub max: u32,
}
