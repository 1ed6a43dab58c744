//! The model behind the port: a store to test against while there is no other, or beside one.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use posthaste_core::command::{Command, Commit, Committed};
use posthaste_core::error::{Error, ErrorKind, Result};
use posthaste_core::group::{EventAsk, GroupView, KeptPage, LeasedEvents};
use posthaste_core::ids::{JobId, Token};
use posthaste_core::limits;
use posthaste_core::port::{KeptAsk, LeaseAsk, Leased, PortFuture, Store, TailGroup, TailJob};
use posthaste_core::time::{MonoMs, WallMs};
use posthaste_core::topic::{TailTopic, TopicRead, TopicView};
use posthaste_core::view::{Health, JobFilter, JobPage, JobView, QueueView};

use super::Model;

/// A [`Store`] over a [`Model`], on a clock that stands still until it is moved. Cheap to clone;
/// clones are the same store.
///
/// Nothing is durable: "restart" keeps what was committed and forgets what a restart forgets.
#[derive(Clone, Debug)]
pub struct ModelStore {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    model: Model,
    closed: bool,
    commits: u64,
    /// Who waits for anything to change.
    waiting: Vec<Waker>,
}

impl ModelStore {
    /// An empty store whose wall clock shows `wall`.
    #[must_use]
    pub fn at(wall: WallMs) -> Self {
        Self {
            shared: Arc::new(Mutex::new(Shared {
                model: Model::new(wall),
                closed: false,
                commits: 0,
                waiting: Vec::new(),
            })),
        }
    }

    /// Lets `ms` milliseconds pass on both clocks.
    pub fn advance(&self, ms: u64) {
        self.change(|shared| shared.model.advance(ms));
    }

    /// Sets the wall clock, forward or back.
    pub fn set_wall(&self, wall: WallMs) {
        self.change(|shared| shared.model.set_wall(wall));
    }

    /// What the wall clock shows.
    #[must_use]
    pub fn wall(&self) -> WallMs {
        self.lock().model.now().wall
    }

    /// Opens the store again, after a clean shutdown or after a crash.
    pub fn restart(&self, clean: bool) {
        self.change(|shared| {
            shared.closed = false;
            shared.model.restart(clean);
        });
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Shared) -> T) -> T {
        let mut shared = self.lock();
        let answer = change(&mut shared);
        let waiting = std::mem::take(&mut shared.waiting);
        drop(shared);
        waiting.into_iter().for_each(Waker::wake);
        answer
    }

    fn ask<T>(&self, question: impl FnOnce(&Model) -> T) -> Result<T> {
        let shared = self.lock();
        shared.open()?;
        Ok(question(&shared.model))
    }
}

impl Shared {
    fn open(&self) -> Result<()> {
        if self.closed {
            Err(Error::new(ErrorKind::Closed, "the store is closed").next("open it again"))
        } else {
            Ok(())
        }
    }

    /// The end of a wait that begins now.
    fn end_of_wait(&self, wait_ms: u32) -> MonoMs {
        let wait_ms = wait_ms.min(limits::WAIT_MS_MAX);
        self.model.now().mono.plus(u64::from(wait_ms))
    }
}

/// A member's ask. Dropped before it is answered, who joined by it takes part no longer.
struct WaitingMember<'s> {
    store: &'s ModelStore,
    ask: EventAsk,
    end: Option<MonoMs>,
    joined: Option<Token>,
}

impl WaitingMember<'_> {
    /// What there is, and whether that is the answer.
    fn lease(&mut self) -> Result<(bool, LeasedEvents)> {
        let mut shared = self.store.lock();
        shared.open()?;
        let before = shared.model.group_views();
        let leased = shared.model.lease_events(&self.ask)?;
        let end = *self.end.get_or_insert(shared.end_of_wait(self.ask.wait_ms));
        let over = shared.model.now().mono >= end;
        if shared.model.group_views() != before {
            // Others may wait for what came of it.
            shared.waiting.drain(..).for_each(Waker::wake);
        }
        Ok((over || !leased.events.is_empty(), leased))
    }

    fn poll(&mut self, waker: &Waker) -> Poll<Result<LeasedEvents>> {
        match self.lease() {
            Ok((false, leased)) => {
                if self.ask.token.is_none() {
                    self.joined = Some(leased.token);
                    self.ask.token = self.joined;
                }
                self.store.lock().waiting.push(waker.clone());
                Poll::Pending
            }
            answered => {
                self.joined = None;
                Poll::Ready(answered.map(|(_, leased)| leased))
            }
        }
    }
}

impl Drop for WaitingMember<'_> {
    fn drop(&mut self) {
        if let Some(token) = self.joined.take() {
            let (topic, group) = (self.ask.topic.clone(), self.ask.group.clone());
            let leave = Command::Leave {
                topic,
                group,
                token,
            };
            let _over_already = self
                .store
                .change(|shared| shared.model.commit(&Commit::one(leave)));
        }
    }
}

impl Store for ModelStore {
    fn commit(&self, commits: Vec<Commit>) -> PortFuture<'_, Result<Vec<Result<Committed>>>> {
        Box::pin(async move {
            self.change(|shared| {
                shared.open()?;
                shared.commits += commits.len() as u64;
                Ok(commits.iter().map(|it| shared.model.commit(it)).collect())
            })
        })
    }

    fn lease(&self, ask: LeaseAsk) -> PortFuture<'_, Result<Vec<Leased>>> {
        let mut end = None;
        Box::pin(poll_fn(move |context| {
            let mut shared = self.lock();
            shared.open()?;
            let granted = shared.model.lease(&ask)?;
            let end = *end.get_or_insert(shared.end_of_wait(ask.wait_ms));
            if granted.is_empty() && shared.model.now().mono < end {
                shared.waiting.push(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(Ok(granted))
        }))
    }

    fn tail(&self, ask: TailJob) -> PortFuture<'_, Result<JobView>> {
        let mut end = None;
        Box::pin(poll_fn(move |context| {
            let mut shared = self.lock();
            shared.open()?;
            let Some(view) = shared.model.view(ask.id) else {
                let error = Error::new(ErrorKind::NotFound, format!("no job {}", ask.id));
                return Poll::Ready(Err(error.next("look for it in the list of jobs")));
            };
            let end = *end.get_or_insert(shared.end_of_wait(ask.wait_ms));
            if !view.state.is_final() && shared.model.now().mono < end {
                shared.waiting.push(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(Ok(view))
        }))
    }

    fn read(&self, ask: TailTopic) -> PortFuture<'_, Result<TopicRead>> {
        let mut begun: Option<(TailTopic, MonoMs)> = None;
        Box::pin(poll_fn(move |context| {
            let mut shared = self.lock();
            shared.open()?;
            if begun.is_none() {
                let end = shared.end_of_wait(ask.wait_ms);
                begun = Some((shared.model.settled_ask(&ask)?, end));
            }
            let Some((ask, end)) = &begun else {
                return Poll::Pending;
            };
            let answer = shared.model.read(ask)?;
            if answer.is_none() && shared.model.now().mono < *end {
                shared.waiting.push(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(answer.map_or_else(|| shared.model.nothing_yet(ask), Ok))
        }))
    }

    fn topics(&self) -> PortFuture<'_, Result<Vec<TopicView>>> {
        Box::pin(async move { self.ask(Model::topic_views) })
    }

    fn lease_events(&self, ask: EventAsk) -> PortFuture<'_, Result<LeasedEvents>> {
        let mut waiting = WaitingMember {
            store: self,
            ask,
            end: None,
            joined: None,
        };
        Box::pin(poll_fn(move |context| waiting.poll(context.waker())))
    }

    fn tail_group(&self, ask: TailGroup) -> PortFuture<'_, Result<GroupView>> {
        let mut end = None;
        Box::pin(poll_fn(move |context| {
            let mut shared = self.lock();
            shared.open()?;
            let (view, passed) = shared.model.passed(&ask)?;
            let end = *end.get_or_insert(shared.end_of_wait(ask.wait_ms));
            if !passed && shared.model.now().mono < end {
                shared.waiting.push(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(Ok(view))
        }))
    }

    fn groups(&self) -> PortFuture<'_, Result<Vec<GroupView>>> {
        Box::pin(async move { self.ask(Model::group_views) })
    }

    fn kept(&self, ask: KeptAsk) -> PortFuture<'_, Result<KeptPage>> {
        Box::pin(async move {
            let mut shared = self.lock();
            shared.open()?;
            shared.model.kept_events(&ask)
        })
    }

    fn job(&self, id: JobId) -> PortFuture<'_, Result<Option<JobView>>> {
        Box::pin(async move { self.ask(|model| model.view(id)) })
    }

    fn jobs(
        &self,
        filter: JobFilter,
        cursor: Option<u64>,
        max: u32,
    ) -> PortFuture<'_, Result<JobPage>> {
        Box::pin(async move {
            let max = max.clamp(1, limits::PAGE_MAX);
            self.ask(|model| model.page(&filter, cursor, max))
        })
    }

    fn queues(&self) -> PortFuture<'_, Result<Vec<QueueView>>> {
        Box::pin(async move { self.ask(Model::queue_views) })
    }

    fn health(&self) -> PortFuture<'_, Result<Health>> {
        Box::pin(async move {
            let shared = self.lock();
            shared.open()?;
            Ok(Health {
                store: "model",
                durability: String::from("memory"),
                accepting: true,
                problems: Vec::new(),
                disk_bytes: 0,
                live_bytes: 0,
                free_bytes: None,
                reserve_bytes: 0,
                syncs: 0,
                commits: shared.commits,
            })
        })
    }

    fn close(&self) -> PortFuture<'_, Result<()>> {
        Box::pin(async move {
            self.change(|shared| shared.closed = true);
            Ok(())
        })
    }
}
