//! The store that people open: [`Log`], and its threads.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use posthaste_core::command::{Commit, Committed, Reply};
use posthaste_core::machine::KeyDigest;
use posthaste_core::port::{LeaseAsk, Leased, PortFuture, Store, TailJob};
use posthaste_core::view::{Health, JobFilter, JobPage, JobView, QueueView};
use posthaste_core::{Error, ErrorKind, JobId, JobState, Result, check};

use crate::background::Background;
use crate::commits::Shared;
use crate::edge;
use crate::effect::{Answered, Answers, Delivery, Raw};
use crate::format::{body, record};
use crate::inbox::{Ask, Commits};
use crate::live::Live;
use crate::opening::{self, Parts};
use crate::segments::Segments;
use crate::sequencer::Sequencer;
use crate::threads::{self, Spawn, Threads};
use crate::{Durability, Location, Options};

/// The embedded store: jobs in memory or in a directory of this machine.
///
/// Cheap to clone; every clone is the same store. It is closed by [`Store::close`], or when the
/// last clone is dropped; until then its directory is locked.
#[derive(Clone, Debug)]
pub struct Log(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    threads: Mutex<Option<Threads>>,
    cut: Option<String>,
}

impl Log {
    /// Opens a store, and creates it where there is none. Blocks while it reads what is there:
    /// about a second for a million waiting jobs.
    ///
    /// # Errors
    /// `Locked` when another process holds it, `Corrupt`, `NewerFormat`, `Io`, `DiskFull`,
    /// `Invalid` for options that can't be.
    pub fn open(options: Options) -> Result<Self> {
        let parts = opening::parts(&options)?;
        Self::start(options, parts, &threads::spawn)
    }

    /// What recovery cut off when the store was opened, in words; `None` where nothing was torn.
    #[must_use]
    pub fn recovery_report(&self) -> Option<&str> {
        self.0.cut.as_deref()
    }

    fn start(options: Options, parts: Parts, spawn: &Spawn) -> Result<Self> {
        let (reader, to_read) = mpsc::channel();
        let clock = Arc::clone(&options.clock);
        let shared = Arc::new(Shared::new(
            parts.bodies,
            clock,
            options.durability,
            parts.journal,
            reader.clone(),
        ));
        for told in [&parts.cut, &parts.warning].into_iter().flatten() {
            shared.stats.problem(told.clone());
        }
        let live = Arc::new(Mutex::new(parts.live));
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|error| {
            Error::new(
                ErrorKind::Io,
                format!("the system gives no random numbers: {error}"),
            )
        })?;
        let health = health_of(
            &options,
            parts.disk.as_ref().map(|disk| Arc::clone(&disk.segments)),
            Arc::clone(&live),
        );
        let mut sequencer = Sequencer::new(
            Arc::clone(&shared),
            parts.machine,
            Arc::clone(&live),
            u64::from_le_bytes(seed),
            health,
        );
        sequencer.after_opening(parts.clean);
        let nudged = Arc::downgrade(&shared);
        options.clock.on_moved(Box::new(move || {
            if let Some(shared) = nudged.upgrade() {
                shared.inbox.nudge();
            }
        }));
        let (background, lock) = match parts.disk {
            None => (None, None),
            Some(disk) => {
                let (shared, files) = (Arc::clone(&shared), Arc::clone(&disk.files));
                let start = move || {
                    let (segments, snapshot) = (disk.segments, disk.snapshot);
                    Background::start(&options, shared, disk.files, segments, live, snapshot)
                };
                (Some((start, files)), Some(disk.lock))
            }
        };
        let threads = Threads::new(reader, lock);
        let threads = threads.start(&shared, sequencer, to_read, background, spawn)?;
        Ok(Self(Arc::new(Inner {
            shared,
            threads: Mutex::new(Some(threads)),
            cut: parts.cut,
        })))
    }

    /// Asks the sequencer, and waits for its answer.
    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<Result<T>>) -> Ask) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.0.shared.inbox.ask(ask(reply))?;
        answer.await.unwrap_or_else(|_| Err(self.stopped()))
    }

    fn stopped(&self) -> Error {
        self.0
            .shared
            .hold()
            .poisoned
            .clone()
            .unwrap_or_else(crate::inbox::closed)
    }

    async fn commit_all(&self, commits: Vec<Commit>) -> Result<Vec<Result<Committed>>> {
        let now = self.0.shared.clock.now().wall;
        let mut prepared = Vec::with_capacity(commits.len());
        for commit in &commits {
            // A job that can't be read is the matter of the commit that edits it, and of no other.
            prepared.push(self.edited(commit).await.and_then(|edited| {
                edge::prepare(commit, now, |id| {
                    edited.iter().find(|of| of.job.id == id).cloned()
                })
            }));
        }
        let asked = Commits {
            answers: Vec::with_capacity(prepared.len()),
            asked: prepared,
        };
        let Answered { answers, asked } = self.ask(|reply| Ask::Commit(asked, reply)).await?;
        drop(asked);
        let mut done = Vec::with_capacity(answers.len());
        for (answers, commit) in answers.into_iter().zip(&commits) {
            done.push(match answers {
                Ok(Answers::Reply(reply)) => Ok(Committed {
                    replies: vec![reply],
                    repeated: false,
                }),
                Ok(Answers::Replies(replies)) => Ok(Committed {
                    replies,
                    repeated: false,
                }),
                Ok(Answers::Raw(raws)) => self.committed(raws, commit).await,
                Err(error) => Err(error),
            });
        }
        Ok(done)
    }

    /// The jobs whose payloads a commit edits, whole, to be written anew.
    async fn edited(&self, commit: &Commit) -> Result<Vec<edge::Accepted>> {
        let mut jobs = Vec::new();
        for (index, command) in commit.commands.iter().enumerate() {
            if let posthaste_core::Command::Edit { id, edit } = command
                && edit.payload.is_some()
            {
                let view = self.ask(|reply| Ask::Job(*id, reply)).await;
                jobs.extend(
                    view.map_err(|error| error.at_command(index))?
                        .map(edge::again),
                );
            }
        }
        Ok(jobs)
    }

    /// The answers of one commit, those that are kept under a key read back.
    async fn committed(&self, raws: Vec<Raw>, commit: &Commit) -> Result<Committed> {
        let mut replies = Vec::with_capacity(raws.len());
        for raw in raws {
            match raw {
                Raw::Reply(reply) => replies.push(reply),
                Raw::Kept(place, pinned) => {
                    let bytes = self.0.shared.bodies.read(place, &pinned).map_err(|unreadable| {
                        Error::new(ErrorKind::Corrupt, format!("the answer of an idempotency key can't be read from {} at offset {}: {}", unreadable.path.display(), unreadable.offset, unreadable.damage))
                            .next("run `posthaste verify`; look the job up by other means before sending it under a new key")
                    })?;
                    match kept(&bytes, edge::digest::of_commit(commit)) {
                        Some(Kept::Job(id)) => replies.push(self.existing(id).await?),
                        Some(Kept::Answer(answers)) => {
                            return Ok(Committed {
                                replies: answers,
                                repeated: true,
                            });
                        }
                        None => {
                            return Err(Error::new(
                                ErrorKind::Corrupt,
                                "the answer of an idempotency key is not one",
                            )
                            .next("run `posthaste verify`"));
                        }
                    }
                }
            }
        }
        Ok(Committed {
            replies,
            repeated: false,
        })
    }

    /// The reply for a job that was enqueued under the same key before.
    async fn existing(&self, id: JobId) -> Result<Reply> {
        let view = self.ask(|reply| Ask::Job(id, reply)).await?;
        // A job that retention has forgotten had come to an end.
        let state = view.map_or(JobState::Completed, |view| view.state);
        Ok(Reply::Enqueued {
            id,
            state,
            existing: true,
        })
    }
}

/// What is kept under a key.
enum Kept {
    /// The job that came first under a job's own key.
    Job(JobId),
    /// The answer of a whole commit.
    Answer(Vec<Reply>),
}

/// What a record says that is kept under a key; `own` is the key of the commit itself.
fn kept(bytes: &[u8], own: Option<KeyDigest>) -> Option<Kept> {
    let record = record::read(bytes).ok()?;
    if record.tag == record::Tag::Answer {
        let (digest, answers) = body::read_answer(record.data).ok()?;
        if own == Some(digest) {
            return Some(Kept::Answer(answers));
        }
    }
    body::first_of_key(bytes).map(Kept::Job)
}

fn health_of(
    options: &Options,
    segments: Option<Arc<Segments>>,
    live: Arc<Mutex<Live>>,
) -> crate::sequencer::HealthOf {
    let durability = match (&options.location, options.durability) {
        (Location::Memory, _) => "memory".to_owned(),
        (_, Durability::Sync) => "sync".to_owned(),
        (_, Durability::Interval(ms)) => format!("interval={ms}ms"),
    };
    let store = if options.location == Location::Memory {
        "memory"
    } else {
        "file"
    };
    Box::new(move |shared| Health {
        store,
        durability: durability.clone(),
        accepting: !shared.stats.disk_low.load(Ordering::Relaxed),
        problems: shared.stats.problems(),
        disk_bytes: segments
            .as_ref()
            .map_or(0, |segments| segments.disk_bytes()),
        live_bytes: live.lock().unwrap_or_else(PoisonError::into_inner).total(),
        syncs: shared.stats.syncs.load(Ordering::Relaxed),
        commits: shared.stats.commits.load(Ordering::Relaxed),
    })
}

impl Inner {
    /// Ends the threads, and lets go of the directory. The sequencer has been told to finish.
    fn join(&self) -> Result<()> {
        let Some(threads) = self
            .threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        else {
            return Ok(());
        };
        threads.join(&self.shared)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let (reply, answer) = oneshot::channel();
        if self.shared.inbox.ask(Ask::Close(reply)).is_ok() {
            let _outcome = answer.recv();
        }
        let _outcome = self.join();
    }
}

impl Store for Log {
    fn commit(&self, commits: Vec<Commit>) -> PortFuture<'_, Result<Vec<Result<Committed>>>> {
        Box::pin(self.commit_all(commits))
    }

    fn lease(&self, ask: LeaseAsk) -> PortFuture<'_, Result<Vec<Leased>>> {
        Box::pin(async move {
            check::lease(&ask)?;
            self.ask(|reply| Ask::Lease(ask, reply))
                .await
                .map(Delivery::take)
        })
    }

    fn tail(&self, ask: TailJob) -> PortFuture<'_, Result<JobView>> {
        Box::pin(self.ask(move |reply| Ask::Tail(ask, reply)))
    }

    fn job(&self, id: JobId) -> PortFuture<'_, Result<Option<JobView>>> {
        Box::pin(self.ask(move |reply| Ask::Job(id, reply)))
    }

    fn jobs(
        &self,
        filter: JobFilter,
        cursor: Option<u64>,
        max: u32,
    ) -> PortFuture<'_, Result<JobPage>> {
        Box::pin(async move {
            let tag = filter.tag.clone();
            let page = self
                .ask(|reply| Ask::Jobs(filter, cursor, max, reply))
                .await?;
            let wanted = |job: &JobView| tag.as_ref().is_none_or(|tag| job.tags.contains(tag));
            Ok(JobPage {
                jobs: page.jobs.into_iter().filter(wanted).collect(),
                next: page.next,
            })
        })
    }

    fn queues(&self) -> PortFuture<'_, Result<Vec<QueueView>>> {
        Box::pin(self.ask(Ask::Queues))
    }

    fn health(&self) -> PortFuture<'_, Result<Health>> {
        Box::pin(self.ask(Ask::Health))
    }

    fn close(&self) -> PortFuture<'_, Result<()>> {
        Box::pin(async move {
            let told = self.ask(Ask::Close).await;
            // Also where somebody asked before and did not wait for it.
            let joined = self.0.join();
            match told {
                Err(error) if error.kind() != ErrorKind::Closed => Err(error),
                _ => joined,
            }
        })
    }
}

#[cfg(test)]
mod tests;
