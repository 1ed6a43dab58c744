//! The store that people open: [`Log`], and its threads.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use posthaste_core::command::{Command, Commit, Committed, Reply};
use posthaste_core::group::{EventAsk, GroupView, KeptPage, LeasedEvents};
use posthaste_core::machine::KeyDigest;
use posthaste_core::port::{KeptAsk, LeaseAsk, Leased, PortFuture, Store, TailGroup, TailJob};
use posthaste_core::topic::{Gap, GapReason, ReadFrom, TailTopic, TopicRead, TopicView};
use posthaste_core::view::{Health, JobFilter, JobPage, JobView, QueueView};
use posthaste_core::{Error, ErrorKind, JobId, JobState, MonoMs, Result, TopicName, check};

use crate::archive::Reader;
use crate::background::Background;
use crate::commits::Shared;
use crate::edge;
use crate::effect::{Answered, Answers, Delivery, Raw};
use crate::format::{body, record};
use crate::inbox::{Ask, Commits};
use crate::live::Live;
use crate::members::Delivered;
use crate::opening::{self, Parts};
use crate::segments::Segments;
use crate::sequencer::Sequencer;
use crate::threads::{self, Spawn, Threads};
use crate::topics::{Order, Reading, Start, Step};
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
    spare: edge::Spare,
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
        let (tail, to_fetch) = mpsc::channel();
        let clock = Arc::clone(&options.clock);
        let shared = Arc::new(Shared::new(
            parts.bodies,
            clock,
            options.durability,
            parts.journal,
            parts.topics,
            reader.clone(),
            tail.clone(),
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
                    let told = (snapshot, disk.mover);
                    Background::start(&options, shared, disk.files, segments, live, told)
                };
                (Some((start, files)), Some(disk.lock))
            }
        };
        let threads = Threads::new(reader, tail, lock);
        let threads = threads.start(&shared, sequencer, (to_read, to_fetch), background, spawn)?;
        Ok(Self(Arc::new(Inner {
            shared,
            threads: Mutex::new(Some(threads)),
            cut: parts.cut,
            spare: edge::Spare::default(),
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
            let edited = self.edited(commit).await;
            let starts = self.starts(commit).await;
            prepared.push(edited.and_then(|edited| {
                let whole = |id| edited.iter().find(|of| of.job.id == id).cloned();
                let start = |index| {
                    let mut starts = starts.iter();
                    let found = starts.find(|(of, _)| *of == index);
                    found.map(|(_, at)| at.clone())
                };
                edge::prepare(commit, now, &self.0.spare, whole, start)
            }));
        }
        let asked = Commits {
            answers: Vec::with_capacity(prepared.len()),
            asked: prepared,
        };
        let Answered { answers, asked } = self.ask(|reply| Ask::Commit(asked, reply)).await?;
        for prepared in asked.into_iter().flatten() {
            self.0.spare.give(prepared.records);
        }
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

    /// Where the commands that name a place in a topic mean it, each by its number. Where nothing is,
    /// it is told why.
    async fn starts(&self, commit: &Commit) -> Vec<(usize, Result<u64>)> {
        let mut starts = Vec::new();
        for (index, command) in commit.commands.iter().enumerate() {
            let (topic, from) = match command {
                // The end of the topic is that of the moment in which the command is obeyed.
                Command::SetGroup {
                    from: None | Some(ReadFrom::Latest),
                    ..
                }
                | Command::ResetGroup {
                    to: ReadFrom::Latest,
                    ..
                } => continue,
                Command::SetGroup {
                    topic,
                    from: Some(from),
                    ..
                } => (topic, *from),
                Command::ResetGroup { topic, to, .. } => (topic, *to),
                _ => continue,
            };
            let start = match self.start_of(topic, from).await {
                Err(_) if from == ReadFrom::Earliest && makes(&commit.commands[..index], topic) => {
                    Ok(0)
                }
                start => start,
            };
            starts.push((index, start));
        }
        starts
    }

    /// The position that is meant.
    async fn start_of(&self, topic: &TopicName, from: ReadFrom) -> Result<u64> {
        let shared = &self.0.shared;
        let mut reading = Reading::new(TailTopic::new(topic.clone(), from), MonoMs(0));
        loop {
            match shared.topics.start(&mut reading, shared.clock.now())? {
                Start::At(position) => return Ok(position),
                Start::Seek(archive) => self.seek(&mut reading, archive, from).await?,
                Start::Offset(partition, position) => {
                    let mut ask = TailTopic::new(topic.clone(), from);
                    (ask.partition, ask.max) = (Some(partition), 1);
                    return match self.read_topic(ask).await? {
                        TopicRead::Page(page) => {
                            let first = page.events.first();
                            Ok(first.map_or(position, |event| event.position.sequence))
                        }
                        TopicRead::Gap(gap) => Err(gone(topic, &gap)),
                    };
                }
                Start::Gap(gap) => return Err(gone(topic, &gap)),
            }
        }
    }

    async fn seek(&self, reading: &mut Reading, archive: Reader, from: ReadFrom) -> Result<()> {
        let (reply, found) = oneshot::channel();
        self.0.shared.fetch(Order::Seek(archive, from, reply));
        let found = found.await.unwrap_or_else(|_| Err(self.stopped()))?;
        reading.found(found);
        Ok(())
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

    /// Reads on until there is something to tell, or the wait is over.
    async fn read_topic(&self, ask: TailTopic) -> Result<TopicRead> {
        check::read(&ask)?;
        let shared = &self.0.shared;
        let mut reading = Reading::new(ask, shared.clock.now().mono);
        loop {
            let now = shared.clock.now();
            match shared.topics.step(&mut reading, now, &shared.bodies)? {
                Step::Done(read) => return Ok(read),
                Step::Seek(archive, from) => self.seek(&mut reading, archive, from).await?,
                Step::Fetch(fetch) => {
                    let read = if fetch.is_at_hand(&shared.bodies) {
                        fetch.read(&shared.bodies)?
                    } else {
                        let (reply, read) = oneshot::channel();
                        shared.fetch(Order::Read(fetch, reply));
                        read.await.unwrap_or_else(|_| Err(self.stopped()))?
                    };
                    let page = read.page;
                    if let Some(harm) = read.harm {
                        shared.stats.problem(harm.what.to_string());
                        return Ok(TopicRead::Gap(Gap {
                            reason: GapReason::Damage,
                            earliest: page.end.at(harm.behind),
                            end: page.end,
                        }));
                    }
                    let went_on = reading.went_on(page.next.sequence);
                    let over = shared.clock.now().mono >= reading.until();
                    if !page.events.is_empty() || (went_on && over) {
                        return Ok(TopicRead::Page(page));
                    }
                }
                Step::Wait(told, nearer) => {
                    if nearer {
                        shared.inbox.nudge();
                    }
                    let _told_or_closed = told.await;
                }
            }
        }
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

/// What is said where a group is to start at what is gone.
/// Whether these commands may make the topic.
fn makes(commands: &[Command], topic: &TopicName) -> bool {
    commands.iter().any(|command| match command {
        Command::Publish { topic: of, .. } | Command::SetTopic { topic: of, .. } => of == topic,
        _ => false,
    })
}

fn gone(topic: &TopicName, gap: &Gap) -> Error {
    Error::new(
        ErrorKind::Invalid,
        format!(
            "what lay there in the topic {topic} can't be read any more ({})",
            gap.reason.as_str()
        ),
    )
    .next(format!("start from earliest, which is {}", gap.earliest))
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
    let reserve_bytes = match options.location {
        Location::Memory => 0,
        Location::Directory(_) => options.reserve_bytes,
    };
    Box::new(move |shared| Health {
        store,
        durability: durability.clone(),
        accepting: !shared.stats.disk_low.load(Ordering::Relaxed),
        problems: shared.stats.problems(),
        disk_bytes: segments
            .as_ref()
            .map_or(0, |segments| segments.disk_bytes()),
        free_bytes: shared.stats.free_bytes(),
        reserve_bytes,
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

    fn read(&self, ask: TailTopic) -> PortFuture<'_, Result<TopicRead>> {
        Box::pin(self.read_topic(ask))
    }

    fn lease_events(&self, ask: EventAsk) -> PortFuture<'_, Result<LeasedEvents>> {
        Box::pin(async move {
            check::event_ask(&ask)?;
            self.ask(|reply| Ask::LeaseEvents(ask, reply))
                .await
                .map(Delivered::take)
        })
    }

    fn tail_group(&self, ask: TailGroup) -> PortFuture<'_, Result<GroupView>> {
        Box::pin(self.ask(move |reply| Ask::TailGroup(ask, reply)))
    }

    fn groups(&self) -> PortFuture<'_, Result<Vec<GroupView>>> {
        Box::pin(self.ask(Ask::Groups))
    }

    fn kept(&self, ask: KeptAsk) -> PortFuture<'_, Result<KeptPage>> {
        Box::pin(self.ask(move |reply| Ask::KeptPage(ask, reply)))
    }

    fn topics(&self) -> PortFuture<'_, Result<Vec<TopicView>>> {
        Box::pin(async move {
            let shared = &self.0.shared;
            shared.topics.views(shared.clock.now().wall)
        })
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
