//! The bench that a case works at: a store, its clocks, and short words for what cases do often.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use posthaste_core::command::{Command, Commit, CommitKey, Committed, QueueSettings, Reply};
use posthaste_core::error::{ErrorKind, Result};
use posthaste_core::group::GroupView;
use posthaste_core::ids::JobId;
use posthaste_core::job::{JobState, NewJob, Outcome, Payload, Priority};
use posthaste_core::port::{LeaseAsk, Leased, Store};
use posthaste_core::time::WallMs;
use posthaste_core::topic::TopicView;
use posthaste_core::view::{JobFilter, JobView, QueueView};

use super::words::{ask, enqueue, kind, queue, settle};
use super::{Capabilities, Ending, Fixture};
use crate::block_on;

/// After this much real time something that must happen is taken to have failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A store under test. Every case gets one of its own.
pub struct Bench<'a> {
    fixture: &'a dyn Fixture,
    store: RefCell<Option<Arc<dyn Store>>>,
    /// Open the store again before every commit and every look.
    restarts: bool,
    restarted: Cell<u32>,
    jobs: Cell<u64>,
}

/// Everything that can be seen of a store.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    jobs: Vec<JobView>,
    queues: Vec<QueueView>,
    topics: Vec<TopicView>,
    groups: Vec<GroupView>,
}

impl<'a> Bench<'a> {
    pub(crate) fn new(fixture: &'a dyn Fixture, restarts: bool) -> Self {
        Self {
            fixture,
            store: RefCell::new(Some(fixture.open())),
            restarts,
            restarted: Cell::new(0),
            jobs: Cell::new(0),
        }
    }

    /// The store itself.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        self.store.borrow().clone().expect("it is open")
    }

    /// What the store can do.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.fixture.capabilities()
    }

    /// What the wall clock shows.
    #[must_use]
    pub fn wall(&self) -> WallMs {
        self.fixture.wall()
    }

    /// Lets time pass on both clocks.
    pub fn advance(&self, ms: u64) {
        self.fixture.advance(ms);
    }

    /// Sets the wall clock alone.
    pub fn set_wall(&self, wall: WallMs) {
        self.fixture.set_wall(wall);
    }

    /// Opens the store again.
    pub fn restart(&self, ending: Ending) {
        let store = self.store.take().expect("it is open");
        let opened = self.fixture.reopen(store, ending);
        assert!(opened.is_some(), "the store declares no restart");
        self.store.replace(opened);
    }

    /// The store, opened again where that is asked for.
    pub(super) fn step(&self) -> Arc<dyn Store> {
        if self.restarts {
            let count = self.restarted.replace(self.restarted.get() + 1);
            self.restart(if count.is_multiple_of(2) {
                Ending::Crash
            } else {
                Ending::Clean
            });
        }
        self.store()
    }

    /// A job in queue `mail` of kind `welcome`, with an id of its own.
    #[must_use]
    pub fn job(&self) -> NewJob {
        let number = self.jobs.replace(self.jobs.get() + 1);
        let mut random = [0; 10];
        random[2..].copy_from_slice(&number.to_be_bytes());
        let id = JobId::new(self.wall().0, random);
        NewJob::new(id, queue("mail"), kind("welcome"), Payload::json("{}"))
    }

    /// A job of this priority.
    #[must_use]
    pub fn ranked(&self, priority: u8) -> NewJob {
        let priority = Priority::new(priority).expect("a case uses 1 to 9");
        NewJob {
            priority,
            ..self.job()
        }
    }

    /// Commits these commands together.
    ///
    /// # Errors
    /// Where the store refuses them.
    pub fn commit(&self, commands: Vec<Command>) -> Result<Committed> {
        self.commit_as(Commit::of(commands))
    }

    /// Commits these commands together under a key.
    ///
    /// # Errors
    /// Where the store refuses them.
    pub fn commit_keyed(&self, key: &str, digest: u8, commands: Vec<Command>) -> Result<Committed> {
        let key = Some(CommitKey {
            key: Arc::from(key),
            digest: [digest; 16],
        });
        self.commit_as(Commit { key, commands })
    }

    fn commit_as(&self, commit: Commit) -> Result<Committed> {
        let store = self.step();
        let mut answers = block_on(store.commit(vec![commit])).expect("the store answers");
        assert_eq!(answers.len(), 1, "one answer for one commit");
        answers.remove(0)
    }

    /// Does one thing.
    ///
    /// # Errors
    /// Where the store refuses it.
    pub fn one(&self, command: Command) -> Result<Reply> {
        let answer = self.commit(vec![command])?;
        assert_eq!(answer.replies.len(), 1, "one reply for one command");
        Ok(answer.replies[0].clone())
    }

    /// Enqueues a job that must be accepted, and says under which id.
    pub fn enqueue(&self, job: NewJob) -> JobId {
        match self.one(enqueue(job)).expect("the job is accepted") {
            Reply::Enqueued { id, existing, .. } => {
                assert!(!existing, "nobody enqueued this before");
                id
            }
            other => panic!("an enqueue was answered with {other:?}"),
        }
    }

    /// Sets a queue's settings.
    pub fn configure(&self, name: &str, settings: QueueSettings) {
        let queue = queue(name);
        let reply = self.one(Command::Configure { queue, settings });
        assert_eq!(reply, Ok(Reply::Configured));
    }

    /// Leases what the ask gets.
    pub fn lease_as(&self, ask: LeaseAsk) -> Vec<Leased> {
        let most = ask.max as usize;
        let leased = block_on(self.store().lease(ask)).expect("the store hands out leases");
        assert!(leased.len() <= most, "no more than were asked for");
        leased
    }

    /// Leases one job of queue `mail`, if there is one ready.
    pub fn lease(&self) -> Option<Leased> {
        self.lease_as(ask("mail", 1)).pop()
    }

    /// Leases one job of queue `mail`, which must be there.
    pub fn must_lease(&self) -> Leased {
        self.lease().expect("a job is ready")
    }

    /// Nothing is ready in queue `mail`.
    pub fn check_nothing_ready(&self) {
        let leased = self.lease();
        assert!(leased.is_none(), "nothing is ready, but got {leased:?}");
    }

    /// Settles a lease.
    ///
    /// # Errors
    /// Where the store refuses it.
    pub fn settle(&self, leased: &Leased, outcome: Outcome) -> Result<Reply> {
        self.one(settle(leased, outcome))
    }

    /// Settles a lease, which must bring the job to `state`.
    pub fn settle_to(&self, leased: &Leased, outcome: Outcome, state: JobState) {
        let repeated = false;
        let settled = Reply::Settled { state, repeated };
        assert_eq!(self.settle(leased, outcome), Ok(settled));
    }

    /// A heartbeat for a lease.
    ///
    /// # Errors
    /// Where the store refuses it.
    pub fn heartbeat(&self, leased: &Leased) -> Result<Reply> {
        let store = self.store(); // no restart: it would start the lease afresh by itself
        let command = Command::Heartbeat {
            id: leased.id,
            token: leased.token,
            progress: Some(Payload::json("{\"done\":1}")),
        };
        let mut answers = block_on(store.commit(vec![Commit::one(command)])).expect("answers");
        answers.remove(0).map(|answer| answer.replies[0].clone())
    }

    /// One job, which must be there.
    pub fn view(&self, id: JobId) -> JobView {
        self.find(id).expect("the job is there")
    }

    /// One job.
    pub fn find(&self, id: JobId) -> Option<JobView> {
        block_on(self.step().job(id)).expect("the store shows jobs")
    }

    /// The job comes to `state`.
    pub fn check_state(&self, id: JobId, state: JobState) {
        let mut seen = None;
        self.eventually(|| {
            seen = self.find(id).map(|view| view.state);
            seen == Some(state)
        });
        assert_eq!(seen, Some(state), "the state of {id}");
    }

    /// The job is forgotten.
    pub fn check_gone(&self, id: JobId) {
        self.eventually(|| self.find(id).is_none());
        assert_eq!(self.find(id), None, "{id} is forgotten");
    }

    /// Every job that matches, over all pages of `max`.
    pub fn list(&self, filter: &JobFilter, max: u32) -> Vec<JobView> {
        let store = self.step();
        let (mut jobs, mut cursor) = (Vec::new(), None);
        loop {
            let page = block_on(store.jobs(filter.clone(), cursor, max)).expect("a page");
            assert!(page.jobs.len() <= max as usize, "no more than {max} a page");
            jobs.extend(page.jobs);
            cursor = page.next;
            if cursor.is_none() {
                jobs.sort_by_key(|job: &JobView| job.id);
                return jobs;
            }
        }
    }

    /// Every queue, but for how fast it goes: that is measured anew after a restart, and by a store
    /// that forwards it told with less digits.
    pub fn queues(&self) -> Vec<QueueView> {
        let mut queues = block_on(self.step().queues()).expect("the store shows its queues");
        for queue in &mut queues {
            queue.pace = None;
        }
        queues
    }

    /// The queue of this name, which must be there.
    pub fn queue(&self, name: &str) -> QueueView {
        let found = self
            .queues()
            .into_iter()
            .find(|it| it.name.as_str() == name);
        found.expect("the queue is there")
    }

    /// Every group.
    pub fn groups(&self) -> Vec<GroupView> {
        block_on(self.step().groups()).expect("the store shows its groups")
    }

    /// Everything there is to see.
    pub fn look(&self) -> Seen {
        Seen {
            jobs: self.list(&JobFilter::default(), 1_000),
            queues: self.queues(),
            topics: self.topics(),
            groups: self.groups(),
        }
    }

    /// Does `commands`, which must be refused as `kind` at `index`, and change nothing.
    pub fn check_refused(&self, commands: Vec<Command>, index: usize, kind: ErrorKind) {
        let before = self.look();
        let error = self.commit(commands).expect_err("this is refused");
        assert_eq!(
            (error.kind(), error.command()),
            (kind, Some(index)),
            "{error}"
        );
        assert_eq!(self.look(), before, "a refused commit changes nothing");
    }

    /// Looks again and again, until it is so or a long while has passed.
    pub fn eventually(&self, mut so: impl FnMut() -> bool) -> bool {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if so() {
                return true;
            }
            thread::yield_now();
        }
        false
    }

    /// The totals of every queue balance with the jobs that are there.
    pub fn check_totals(&self) {
        if block_on(self.store().queues()).is_err() {
            return; // a case may end with its store closed
        }
        self.eventually(|| self.unbalanced().is_none());
        assert_eq!(self.unbalanced(), None, "the totals balance");
    }

    fn unbalanced(&self) -> Option<QueueView> {
        let queues = self.queues();
        let jobs = self.list(&JobFilter::default(), 1_000);
        queues.into_iter().find(|queue| {
            let counted = JobState::ALL.map(|state| {
                let here = |job: &&JobView| job.queue == queue.name && job.state == state;
                jobs.iter().filter(here).count() as u64
            });
            let held: u64 = counted.iter().sum();
            let finals: u64 = counted[JobState::Completed as usize..].iter().sum();
            let totals = queue.totals;
            let ended = totals.completed + totals.dead + totals.cancelled;
            let kept = totals.redriven + finals;
            queue.held != counted
                || totals.enqueued != held + totals.deleted
                || !(kept..=kept + totals.deleted).contains(&ended)
        })
    }
}
