//! A second, naive store of jobs, topics and groups: vectors and linear scans, written from the guarantees.
//!
//! It is slow on purpose. It keeps everything in plain lists, looks through all of them for every
//! question, and copies itself before each commit so that a refusal changes nothing. What it is
//! for is to be obviously right, so that a store can be compared with it.
//!
//! It refuses to share a line with the state machine that it judges.

mod commit;
mod groups;
mod lease;
mod passing;
mod read;
mod settle;
mod show;
mod store;
mod topics;

use std::sync::Arc;

use posthaste_core::command::{Command, Commit, Committed, QueueSettings, Reply};
use posthaste_core::error::{Error, ErrorKind, Result};
use posthaste_core::ids::{JobId, QueueName, Token, WorkerName};
use posthaste_core::job::{DeadReason, JobState, NewJob, Outcome, Payload};
use posthaste_core::limits;
use posthaste_core::time::{MonoMs, Now, WallMs};
use posthaste_core::view::Totals;

use commit::follows;

pub use read::{Look, Readable};
pub use store::ModelStore;
pub use topics::Memory;

/// Every job, queue, key, applied settle, topic and group, each in a list.
#[derive(Clone, Debug)]
pub struct Model {
    now: Now,
    jobs: Vec<Row>,
    queues: Vec<Queue>,
    job_keys: Vec<JobKey>,
    commit_keys: Vec<TakenCommit>,
    settles: Vec<Applied>,
    topics: Vec<topics::Topic>,
    groups: Vec<groups::Group>,
    /// The number of the topic that was made last.
    last_topic: u32,
    /// The latest instant at which events were published.
    latest_memory: WallMs,
    /// The newest token that was handed out.
    token: u64,
    /// The turn of the job that became ready last.
    order: u64,
}

/// One job and everything that happened to it.
#[derive(Clone, Debug)]
struct Row {
    new: NewJob,
    state: JobState,
    enqueued_at: WallMs,
    /// When it became or becomes ready; kept while it runs, so that it can be given back.
    ready: WallMs,
    order: u64,
    ended: WallMs,
    /// Attempts that were spent, without the running one.
    spent: u16,
    crashes: u8,
    reason: Option<DeadReason>,
    error: Option<Arc<str>>,
    result: Option<Payload>,
    progress: Option<Payload>,
    cancelling: bool,
    undecodable_since: Option<WallMs>,
    unique_until: Option<WallMs>,
    /// The payload with which the unique key was taken; `None` where it never was, or where the
    /// job let go of it and another took it.
    unique_of: Option<Payload>,
    /// The token that counts: of the lease that is held, or of one that lapsed and after which
    /// nobody has begun.
    token: Option<Token>,
    lease: Option<Lease>,
}

#[derive(Clone, Debug)]
struct Lease {
    length_ms: u32,
    end: MonoMs,
    worker: WorkerName,
    local: bool,
}

#[derive(Clone, Debug)]
struct Queue {
    name: QueueName,
    paused: bool,
    concurrency: u32,
    strict: bool,
    priority_step_ms: u64,
    totals: Totals,
}

#[derive(Clone, Debug)]
struct JobKey {
    key: Arc<str>,
    /// The job as it was enqueued, its id included.
    first: NewJob,
    /// The state it was answered with.
    state: JobState,
    at: WallMs,
}

#[derive(Clone, Debug)]
struct TakenCommit {
    key: Arc<str>,
    digest: [u8; 16],
    answer: Committed,
    at: WallMs,
}

#[derive(Clone, Debug)]
struct Applied {
    id: JobId,
    token: Token,
    outcome: Outcome,
    /// What was committed with it.
    follow_ups: Vec<Command>,
    state: JobState,
    at: WallMs,
    /// It may be forgotten.
    old: bool,
}

impl Model {
    /// An empty store at `wall`, its monotonic clock at zero.
    #[must_use]
    pub fn new(wall: WallMs) -> Self {
        Self {
            now: Now {
                wall,
                mono: MonoMs(0),
            },
            jobs: Vec::new(),
            queues: Vec::new(),
            job_keys: Vec::new(),
            commit_keys: Vec::new(),
            settles: Vec::new(),
            topics: Vec::new(),
            groups: Vec::new(),
            last_topic: 0,
            latest_memory: wall,
            token: 0,
            order: 0,
        }
    }

    /// What the model's clocks show.
    #[must_use]
    pub fn now(&self) -> Now {
        self.now
    }

    /// Applies all of `commit`, or nothing of it.
    ///
    /// # Errors
    /// Why it was refused, and which command it was.
    pub fn commit(&mut self, commit: &Commit) -> Result<Committed> {
        if let Some(key) = &commit.key
            && let Some(taken) = self.commit_keys.iter().find(|taken| taken.key == key.key)
        {
            if taken.digest != key.digest {
                return Err(refusal(
                    ErrorKind::KeyReused,
                    "the key came with another body",
                ));
            }
            let mut answer = taken.answer.clone();
            answer.repeated = true;
            return Ok(answer);
        }
        if commit.commands.len() > limits::COMMANDS_PER_COMMIT_MAX {
            return Err(refusal(ErrorKind::TooLarge, "too many commands"));
        }
        for (index, command) in commit.commands.iter().enumerate() {
            self.check(command)
                .map_err(|error| error.at_command(index))?;
        }
        let events = commit.commands.iter().map(|command| match command {
            Command::Publish { events, .. } => events.len(),
            _ => 0,
        });
        if events.sum::<usize>() > limits::EVENTS_PER_COMMIT_MAX {
            return Err(refusal(ErrorKind::TooLarge, "too many events"));
        }
        let ends = commit.commands.iter().map(|command| match command {
            Command::SettleEvents { ends, .. } => ends.len(),
            _ => 0,
        });
        if ends.sum::<usize>() > limits::SETTLED_EVENTS_MAX {
            return Err(refusal(ErrorKind::TooLarge, "too many events are settled"));
        }
        let before = self.clone();
        let mut replies = Vec::new();
        let mut done_before = false;
        for (index, command) in commit.commands.iter().enumerate() {
            if done_before && follows(command) {
                replies.push(Reply::Repeated);
                continue;
            }
            match self.apply(command, &commit.commands[index + 1..]) {
                Ok(reply) => {
                    done_before = matches!(
                        reply,
                        Reply::Settled { repeated: true, .. }
                            | Reply::EventsSettled { repeated: true }
                    );
                    replies.push(reply);
                }
                Err(error) => {
                    *self = before;
                    return Err(error.at_command(index));
                }
            }
        }
        self.expire(); // what goes on after its deadline
        self.keep_what_is_given_up();
        let answer = Committed {
            replies,
            repeated: false,
        };
        if let Some(key) = &commit.key {
            let at = self.key_instant();
            self.commit_keys.push(TakenCommit {
                key: key.key.clone(),
                digest: key.digest,
                answer: answer.clone(),
                at,
            });
        }
        Ok(answer)
    }

    /// When a key that is taken now is held to have been taken: also when the clock was set back,
    /// the first taken is the first forgotten.
    fn key_instant(&self) -> WallMs {
        let of_jobs = self.job_keys.iter().map(|taken| taken.at);
        let of_commits = self.commit_keys.iter().map(|taken| taken.at);
        of_jobs.chain(of_commits).fold(self.now.wall, WallMs::max)
    }

    fn row(&mut self, id: JobId) -> Result<&mut Row> {
        self.jobs
            .iter_mut()
            .find(|row| row.new.id == id)
            .ok_or_else(|| refusal(ErrorKind::NotFound, "there is no such job"))
    }

    fn queue(&mut self, name: &QueueName) -> &mut Queue {
        let index = match self.queues.iter().position(|queue| queue.name == *name) {
            Some(index) => index,
            None => {
                self.queues.push(Queue::new(name.clone()));
                self.queues.len() - 1
            }
        };
        &mut self.queues[index]
    }

    fn next_order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }
}

impl Queue {
    fn new(name: QueueName) -> Self {
        Self {
            name,
            paused: false,
            concurrency: 0,
            strict: false,
            priority_step_ms: limits::PRIORITY_STEP_MS,
            totals: Totals::default(),
        }
    }

    fn set(&mut self, settings: &QueueSettings) {
        self.paused = settings.paused.unwrap_or(self.paused);
        self.concurrency = settings.concurrency.unwrap_or(self.concurrency);
        self.strict = settings.strict.unwrap_or(self.strict);
        self.priority_step_ms = settings.priority_step_ms.unwrap_or(self.priority_step_ms);
    }
}

fn refusal(kind: ErrorKind, message: &str) -> Error {
    Error::new(kind, message)
}
