//! A store that is another one, but for what a test has to say to each commit and each ask for events.

use std::sync::{Arc, Mutex};

use posthaste::core::group::{EventAsk, GroupView, KeptPage, LeasedEvents};
use posthaste::core::port::{KeptAsk, LeaseAsk, Leased, PortFuture, TailGroup, TailJob};
use posthaste::core::topic::{TailTopic, TopicRead, TopicView};
use posthaste::core::{Commit, Error, Result};
use posthaste::{
    Committed, ErrorKind, Health, JobFilter, JobId, JobPage, JobView, Posthaste, QueueView, Store,
};

/// What becomes of a commit.
pub(crate) enum Fate {
    /// It is applied.
    Pass,
    /// It is refused.
    Refuse(ErrorKind),
    /// It is applied, and nothing is known of it.
    Uncertain,
}

type OnCommit = Box<dyn FnMut(&Commit) -> Fate + Send>;
type OnAsk = Box<dyn FnMut(&EventAsk) -> Option<ErrorKind> + Send>;
type OnAnswer = Box<dyn FnMut(&LeasedEvents) -> Option<ErrorKind> + Send>;

/// The store.
pub(crate) struct Hooked {
    inner: Arc<dyn Store>,
    on_commit: Mutex<OnCommit>,
    on_ask: Mutex<OnAsk>,
    on_answer: Mutex<OnAnswer>,
    asks_for_jobs: Mutex<Vec<LeaseAsk>>,
}

impl Hooked {
    /// A hub over `hub`, to which nothing is said yet.
    pub(crate) fn over(hub: &Posthaste) -> (Arc<Self>, Posthaste) {
        let hooked = Arc::new(Self {
            inner: Arc::clone(hub.store()),
            on_commit: Mutex::new(Box::new(|_| Fate::Pass)),
            on_ask: Mutex::new(Box::new(|_| None)),
            on_answer: Mutex::new(Box::new(|_| None)),
            asks_for_jobs: Mutex::new(Vec::new()),
        });
        let store = Arc::clone(&hooked) as Arc<dyn Store>;
        (hooked, Posthaste::with_store(store).expect("a hub"))
    }

    /// Every ask for jobs until now.
    pub(crate) fn asks_for_jobs(&self) -> Vec<LeaseAsk> {
        self.asks_for_jobs.lock().expect("a lock").clone()
    }

    /// What is said to each commit from now on.
    pub(crate) fn on_commit(&self, say: impl FnMut(&Commit) -> Fate + Send + 'static) {
        *self.on_commit.lock().expect("a lock") = Box::new(say);
    }

    /// What is said to each ask for events from now on.
    pub(crate) fn on_ask(&self, say: impl FnMut(&EventAsk) -> Option<ErrorKind> + Send + 'static) {
        *self.on_ask.lock().expect("a lock") = Box::new(say);
    }

    /// What is said of each answer to an ask for events from now on, instead of it.
    pub(crate) fn on_answer(
        &self,
        say: impl FnMut(&LeasedEvents) -> Option<ErrorKind> + Send + 'static,
    ) {
        *self.on_answer.lock().expect("a lock") = Box::new(say);
    }

    async fn commit_each(&self, commits: Vec<Commit>) -> Result<Vec<Result<Committed>>> {
        let mut answers = Vec::new();
        let mut uncertain = false;
        for commit in commits {
            let fate = (self.on_commit.lock().expect("a lock"))(&commit);
            match fate {
                Fate::Refuse(kind) => answers.push(Err(refusal(kind))),
                fate => {
                    uncertain |= matches!(fate, Fate::Uncertain);
                    answers.extend(self.inner.commit(vec![commit]).await?);
                }
            }
        }
        match uncertain {
            true => Err(refusal(ErrorKind::Uncertain)),
            false => Ok(answers),
        }
    }
}

fn refusal(kind: ErrorKind) -> Error {
    let error = Error::new(kind, "a test wants it so");
    match kind {
        // The disk has no room for what is new; a settle makes none.
        ErrorKind::DiskFull => error.at_command(1),
        _ => error,
    }
}

impl Store for Hooked {
    fn commit(&self, commits: Vec<Commit>) -> PortFuture<'_, Result<Vec<Result<Committed>>>> {
        Box::pin(self.commit_each(commits))
    }

    fn lease(&self, ask: LeaseAsk) -> PortFuture<'_, Result<Vec<Leased>>> {
        self.asks_for_jobs.lock().expect("a lock").push(ask.clone());
        self.inner.lease(ask)
    }

    fn tail(&self, ask: TailJob) -> PortFuture<'_, Result<JobView>> {
        self.inner.tail(ask)
    }

    fn read(&self, ask: TailTopic) -> PortFuture<'_, Result<TopicRead>> {
        self.inner.read(ask)
    }

    fn lease_events(&self, ask: EventAsk) -> PortFuture<'_, Result<LeasedEvents>> {
        let said = (self.on_ask.lock().expect("a lock"))(&ask);
        match said {
            Some(kind) => Box::pin(std::future::ready(Err(refusal(kind)))),
            None => Box::pin(async move {
                let leased = self.inner.lease_events(ask).await?;
                match (self.on_answer.lock().expect("a lock"))(&leased) {
                    Some(kind) => Err(refusal(kind)),
                    None => Ok(leased),
                }
            }),
        }
    }

    fn tail_group(&self, ask: TailGroup) -> PortFuture<'_, Result<GroupView>> {
        self.inner.tail_group(ask)
    }

    fn groups(&self) -> PortFuture<'_, Result<Vec<GroupView>>> {
        self.inner.groups()
    }

    fn kept(&self, ask: KeptAsk) -> PortFuture<'_, Result<KeptPage>> {
        self.inner.kept(ask)
    }

    fn job(&self, id: JobId) -> PortFuture<'_, Result<Option<JobView>>> {
        self.inner.job(id)
    }

    fn jobs(
        &self,
        filter: JobFilter,
        cursor: Option<u64>,
        max: u32,
    ) -> PortFuture<'_, Result<JobPage>> {
        self.inner.jobs(filter, cursor, max)
    }

    fn queues(&self) -> PortFuture<'_, Result<Vec<QueueView>>> {
        self.inner.queues()
    }

    fn topics(&self) -> PortFuture<'_, Result<Vec<TopicView>>> {
        self.inner.topics()
    }

    fn health(&self) -> PortFuture<'_, Result<Health>> {
        self.inner.health()
    }

    fn close(&self) -> PortFuture<'_, Result<()>> {
        self.inner.close()
    }
}
