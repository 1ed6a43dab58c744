//! What becomes of a decision once it is durable: who is told what.
//!
//! Whoever synced the group lets its effects out. Answers that need nothing from the disk are
//! given at once; the others go to the reader's thread.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use posthaste_core::command::Reply as CommandReply;
use posthaste_core::group::{GroupView, KeptPage};
use posthaste_core::job::RetryRule;
use posthaste_core::machine::{Answer, Grant, Place, Slot};
use posthaste_core::port::Leased;
use posthaste_core::view::{Health, JobView, QueueView};
use posthaste_core::{
    DeadReason, Error, ErrorKind, JobId, JobState, KindName, Payload, Priority, QueueName, Result,
    WallMs, WorkerName,
};

use crate::bodies::{Bodies, Unreadable};
use crate::commits::Shared;
use crate::edge::Prepared;
use crate::format::body::{self, Note};
use crate::format::record;
use crate::inbox::{Ask, Inbox, Reply};
use crate::members::{self, Delivered};
use crate::segments::Segment;
use crate::topics::{self, Change, Topics};

/// Something to be told to somebody, once what it rests on is durable.
#[derive(Debug)]
pub(crate) enum Effect {
    /// The answers of commits.
    Committed(Reply<Answered>, Answered),
    /// Jobs that were handed out.
    Leased(Reply<Delivery>, Lease),
    /// A job that was asked for or waited for.
    Found(Reply<Found>, Box<Row>),
    /// A job that may be there.
    Looked(Reply<Option<Found>>, Option<Box<Row>>),
    /// A page of jobs.
    Listed(Reply<Page>, Vec<Row>, Option<u64>),
    /// Every queue.
    Queues(Reply<Vec<QueueView>>, Vec<QueueView>),
    /// How the store is.
    Health(Reply<Health>, Box<Health>),
    /// What readers of topics see from now on.
    Shown(Arc<Topics>, Vec<Change>, WallMs),
    /// Events that were handed out.
    Events(Reply<Delivered>, Box<members::Leased>),
    /// A group that was asked for or waited for.
    Group(Reply<GroupView>, Box<GroupView>),
    /// Every group.
    Groups(Reply<Vec<GroupView>>, Vec<GroupView>),
    /// A page of what a group keeps.
    KeptPage(Reply<KeptPage>, Vec<members::KeptRow>, Option<u64>),
    /// Something is to be read for a group.
    Order(Weak<Shared>, Box<members::Order>),
    /// Records are in their new place.
    Copied(oneshot::Sender<bool>),
    /// The reader's thread ends.
    Stop,
}

/// What became of commits. Who asked gets back what it asked with, to drop it on its own time.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) answers: Vec<Result<Answers>>,
    pub(crate) asked: Vec<Result<Prepared>>,
}

/// The answers of one commit.
#[derive(Debug)]
pub(crate) enum Answers {
    /// That of its only command.
    Reply(CommandReply),
    /// As they are given.
    Replies(Vec<CommandReply>),
    /// Some have to be read.
    Raw(Vec<Raw>),
}

/// An answer that may still have to be read.
#[derive(Clone, Debug)]
pub(crate) enum Raw {
    /// As it is.
    Reply(CommandReply),
    /// Kept under the key of a job, or of the whole commit: where the record is that says it.
    Kept(Place, Vec<Arc<Segment>>),
}

/// Jobs that were handed out, before their bodies are read.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) grants: Vec<Grant>,
    pub(crate) lease_ms: u32,
    pub(crate) pinned: Vec<Arc<Segment>>,
    pub(crate) inbox: Weak<Inbox>,
}

/// Jobs on their way to whoever asked. Dropped on the way, they are released.
#[derive(Debug)]
pub(crate) struct Delivery {
    leased: Vec<Leased>,
    inbox: Weak<Inbox>,
}

impl Delivery {
    /// The jobs, which are the taker's business from now on.
    pub(crate) fn take(mut self) -> Vec<Leased> {
        std::mem::take(&mut self.leased)
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if self.leased.is_empty() {
            return;
        }
        if let Some(inbox) = self.inbox.upgrade() {
            let unclaimed = self
                .leased
                .drain(..)
                .map(|job| (job.id, job.token))
                .collect();
            // A closed store takes no release: the lease ends with it.
            let _closed = inbox.ask(Ask::Unclaimed(unclaimed));
        }
    }
}

/// What the index knows of a job, owned, with the segments to read the rest from.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) slot: Slot,
    pub(crate) id: JobId,
    pub(crate) state: JobState,
    pub(crate) reason: Option<DeadReason>,
    pub(crate) priority: Priority,
    pub(crate) attempt: u16,
    pub(crate) crashes: u8,
    pub(crate) at: WallMs,
    pub(crate) deadline: Option<WallMs>,
    pub(crate) cancelling: bool,
    pub(crate) place: Place,
    pub(crate) note: Place,
    pub(crate) worker: Option<WorkerName>,
    pub(crate) progress: Option<Payload>,
    pub(crate) pinned: Vec<Arc<Segment>>,
    /// Queue and kind: a job may be shown even where its body can't be read.
    pub(crate) names: Option<(QueueName, KindName)>,
}

/// A job as it was found.
pub(crate) type Found = JobView;

/// A page of jobs as they were found.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) jobs: Vec<JobView>,
    pub(crate) next: Option<u64>,
}

/// Lets an effect out, where that needs nothing from the disk. What does is handed back.
pub(crate) fn release(effect: Effect, bodies: &Bodies) -> Option<Effect> {
    match effect {
        Effect::Committed(reply, answers) => tell(reply, Ok(answers)),
        Effect::Queues(reply, queues) => tell(reply, Ok(queues)),
        Effect::Health(reply, health) => tell(reply, Ok(*health)),
        Effect::Copied(reply) => {
            let _gone = reply.send(true);
        }
        Effect::Shown(topics, changes, now) => topics.apply(changes, now),
        Effect::Events(reply, leased) if leased.is_at_hand(bodies) => {
            members::deliver(*leased, reply, bodies);
        }
        Effect::Group(reply, view) => tell(reply, Ok(*view)),
        Effect::Groups(reply, views) => tell(reply, Ok(views)),
        Effect::Order(shared, order) => {
            if let Some(shared) = shared.upgrade() {
                shared.fetch(topics::Order::Group(order, Arc::downgrade(&shared)));
            }
        }
        Effect::Stop => {}
        Effect::Looked(reply, None) => tell(reply, Ok(None)),
        Effect::Leased(reply, lease) if lease.is_at_hand(bodies) => lease.deliver(reply, bodies),
        effect => return Some(effect),
    }
    None
}

/// Lets an effect out, reading what it takes. The reader's thread calls this.
pub(crate) fn read_and_release(effect: Effect, bodies: &Bodies, inbox: &Inbox) {
    let told = |row: &Row| {
        row.read(bodies)
            .or_else(|unreadable| row.damaged(&unreadable, bodies, inbox))
    };
    let listed = |row: &Row| {
        row.read(bodies)
            .or_else(|unreadable| row.damaged_in_page(&unreadable, bodies, inbox))
    };
    match effect {
        Effect::Leased(reply, lease) => lease.deliver(reply, bodies),
        Effect::Events(reply, leased) => members::deliver(*leased, reply, bodies),
        Effect::KeptPage(reply, rows, next) => {
            tell(reply, members::kept_page(&rows, next, bodies));
        }
        Effect::Found(reply, row) => tell(reply, told(&row)),
        Effect::Looked(reply, row) => tell(reply, row.as_deref().map(told).transpose()),
        Effect::Listed(reply, rows, next) => {
            let jobs: Vec<_> = rows.iter().map(listed).collect();
            let jobs = jobs.into_iter().collect::<Result<_>>();
            tell(reply, jobs.map(|jobs| Page { jobs, next }));
        }
        other => {
            let _nothing_to_read = release(other, bodies);
        }
    }
}

/// Tells everybody that the outcome is not known.
pub(crate) fn fail(effect: Effect, error: &Error) {
    let error = error.clone();
    match effect {
        Effect::Committed(reply, _) => tell(reply, Err(error)),
        Effect::Leased(reply, _) => tell(reply, Err(error)),
        Effect::Found(reply, _) => tell(reply, Err(error)),
        Effect::Looked(reply, _) => tell(reply, Err(error)),
        Effect::Listed(reply, ..) => tell(reply, Err(error)),
        Effect::Queues(reply, _) => tell(reply, Err(error)),
        Effect::Health(reply, _) => tell(reply, Err(error)),
        Effect::Copied(reply) => {
            let _gone = reply.send(false);
        }
        Effect::Events(reply, _) => tell(reply, Err(error)),
        Effect::Group(reply, _) => tell(reply, Err(error)),
        Effect::Groups(reply, _) => tell(reply, Err(error)),
        Effect::KeptPage(reply, ..) => tell(reply, Err(error)),
        Effect::Shown(..) | Effect::Order(..) | Effect::Stop => {}
    }
}

/// Answers whoever still listens.
pub(crate) fn tell<T>(reply: Reply<T>, answer: Result<T>) {
    let _nobody_listens = reply.send(answer);
}

/// A machine's answer as it is given, where nothing has to be read for it.
pub(crate) fn reply_of(answer: &Answer) -> Option<CommandReply> {
    Some(match *answer {
        Answer::Enqueued {
            id,
            state,
            existing,
        } => CommandReply::Enqueued {
            id,
            state,
            existing,
        },
        Answer::Settled { state, repeated } => CommandReply::Settled { state, repeated },
        Answer::Extended { cancelled } => CommandReply::Extended { cancelled },
        Answer::Changed { state } => CommandReply::Changed { state },
        Answer::Deleted => CommandReply::Deleted,
        Answer::EventsSettled { repeated } => CommandReply::EventsSettled { repeated },
        Answer::Left => CommandReply::Left,
        Answer::EventsMoved { events, left } => CommandReply::EventsMoved { events, left },
        Answer::Repeated => CommandReply::Repeated,
        Answer::Configured | Answer::Noted => CommandReply::Configured,
        Answer::Kept(_) | Answer::Published { .. } | Answer::Seen(_) => return None,
    })
}

impl Lease {
    fn is_at_hand(&self, bodies: &Bodies) -> bool {
        self.grants
            .iter()
            .all(|grant| bodies.at_hand(grant.place).is_some())
    }

    /// Reads what was handed out and gives it to the asker. A job whose body can't be read is
    /// left out, and condemned.
    fn deliver(self, reply: Reply<Delivery>, bodies: &Bodies) {
        let Some(inbox) = self.inbox.upgrade() else {
            return;
        };
        let places: Vec<Place> = self.grants.iter().map(|grant| grant.place).collect();
        let mut leased: Vec<Option<Leased>> = vec![None; self.grants.len()];
        let mut names = LastNames::default();
        bodies.read_all(&places, &self.pinned, |index, bytes| {
            let grant = &self.grants[index];
            let read =
                bytes.and_then(|bytes| read_leased(grant, self.lease_ms, &bytes, &mut names));
            match read {
                Ok(job) => leased[index] = Some(job),
                Err(unreadable) => {
                    let told = damage_told(grant.id, &unreadable);
                    let (slot, place) = (grant.slot, grant.place);
                    let (id, token) = (grant.id, grant.token);
                    let _closed = inbox.ask(if unreadable.may_pass() {
                        Ask::Unread { id, token, told }
                    } else {
                        Ask::Damaged { slot, place, told }
                    });
                }
            }
        });
        let leased = leased.into_iter().flatten().collect();
        tell(
            reply,
            Ok(Delivery {
                leased,
                inbox: self.inbox,
            }),
        );
    }
}

/// The names read last, which mostly come again: a name is checked and kept once.
#[derive(Default)]
struct LastNames {
    kind: Option<KindName>,
    queue: Option<QueueName>,
}

fn again<T: Clone + AsRef<str> + std::str::FromStr<Err = Error>>(
    last: &mut Option<T>,
    name: &str,
) -> Result<T> {
    match last {
        Some(last) if last.as_ref() == name => Ok(last.clone()),
        _ => Ok(last.insert(name.parse()?).clone()),
    }
}

fn read_leased(
    grant: &Grant,
    lease_ms: u32,
    bytes: &Bytes,
    names: &mut LastNames,
) -> Result<Leased, Unreadable> {
    let bad = |damage| Unreadable::at(grant.place, damage);
    let record = record::read(bytes).map_err(bad)?;
    let job = body::read_job(record.data).map_err(bad)?;
    if job.summary.id != grant.id {
        return Err(bad(crate::format::Damage::Bad("id: another job's body")));
    }
    let (tags, metadata) = job.extras().map_err(bad)?;
    let named = |_| bad(crate::format::Damage::Bad("name"));
    Ok(Leased {
        id: grant.id,
        token: grant.token,
        kind: again(&mut names.kind, job.summary.kind).map_err(named)?,
        queue: again(&mut names.queue, job.summary.queue).map_err(named)?,
        payload: job.payload(bytes),
        attempt: grant.attempt,
        max_attempts: job.summary.retry.max_attempts,
        priority: grant.priority,
        lease_ms,
        timeout_ms: job.summary.retry.timeout_ms,
        deadline: grant.deadline,
        enqueued_at: job.accepted,
        tags,
        metadata,
    })
}

fn damage_told(id: JobId, unreadable: &Unreadable) -> String {
    format!("the body of job {id} can't be read: {unreadable}")
}

impl Row {
    fn read(&self, bodies: &Bodies) -> Result<JobView, Unreadable> {
        let bytes = bodies.read(self.place, &self.pinned)?;
        let bad = |damage| Unreadable::at(self.place, damage);
        let record = record::read(&bytes).map_err(bad)?;
        let job = body::read_job(record.data).map_err(bad)?;
        if job.summary.id != self.id {
            return Err(bad(crate::format::Damage::Bad("id: another job's body")));
        }
        let (tags, metadata) = job.extras().map_err(bad)?;
        let named = |_| bad(crate::format::Damage::Bad("name"));
        let kind = KindName::new(job.summary.kind).map_err(named)?;
        let queue = QueueName::new(job.summary.queue).map_err(named)?;
        let mut view = JobView {
            retry: job.summary.retry,
            enqueued_at: job.accepted,
            tags,
            metadata,
            ..self.view(queue, kind, job.payload(&bytes))
        };
        self.read_note(bodies, &mut view);
        Ok(view)
    }

    /// A note that can't be read is told in its place: the job itself is sound.
    fn read_note(&self, bodies: &Bodies, view: &mut JobView) {
        if !self.note.is_some() {
            return;
        }
        let read = bodies.read(self.note, &self.pinned).and_then(|bytes| {
            let bad = |damage| Unreadable::at(self.note, damage);
            let record = record::read(&bytes).map_err(bad)?;
            match body::read_note(record.data).map_err(bad)? {
                (_, Note::Result(content_type, result)) => {
                    let bytes = bytes.slice_ref(result);
                    view.result = Some(Payload {
                        content_type: content_type.map(Arc::from),
                        bytes,
                    });
                }
                (_, Note::Error(text)) => view.error = Some(Arc::from(text)),
            }
            Ok(())
        });
        if let Err(unreadable) = read {
            let told = format!("what was noted can't be read: {unreadable}");
            view.error = Some(Arc::from(told));
        }
    }

    /// A body that can't be read condemns its job. One that has ended is shown as the index knows
    /// it, with the damage in its error; for any other the damage is the answer.
    fn damaged(&self, unreadable: &Unreadable, bodies: &Bodies, inbox: &Inbox) -> Result<JobView> {
        let told = damage_told(self.id, unreadable);
        if unreadable.may_pass() {
            return Err(Error::new(ErrorKind::Io, told).next("see to the disk, and try again"));
        }
        if self.state.is_final() {
            return self.damaged_in_page(unreadable, bodies, inbox);
        }
        self.condemn(unreadable, inbox);
        Err(Error::new(ErrorKind::Corrupt, told)
            .next("run `posthaste verify`; the other jobs are not touched"))
    }

    fn condemn(&self, unreadable: &Unreadable, inbox: &Inbox) {
        let (slot, place) = (self.slot, self.place);
        let told = damage_told(self.id, unreadable);
        if !unreadable.may_pass() {
            let _closed = inbox.ask(Ask::Damaged { slot, place, told });
        }
    }

    /// In a page each is shown as the index knows it, with the damage in its error: one that can't
    /// be read keeps nobody from seeing the others.
    fn damaged_in_page(
        &self,
        unreadable: &Unreadable,
        bodies: &Bodies,
        inbox: &Inbox,
    ) -> Result<JobView> {
        self.condemn(unreadable, inbox);
        let told = damage_told(self.id, unreadable);
        let Some((queue, kind)) = self.names.clone() else {
            return Err(Error::new(ErrorKind::Corrupt, told).next("run `posthaste verify`"));
        };
        let nothing = Payload::bytes("application/octet-stream", Bytes::new());
        let mut view = self.view(queue, kind, nothing);
        self.read_note(bodies, &mut view);
        view.error = Some(Arc::from(told));
        Ok(view)
    }

    /// What the index knows of the job, with its payload.
    fn view(&self, queue: QueueName, kind: KindName, payload: Payload) -> JobView {
        JobView {
            id: self.id,
            kind,
            queue,
            state: self.state,
            priority: self.priority,
            attempt: self.attempt,
            crashes: self.crashes,
            retry: RetryRule::default(),
            enqueued_at: self.at,
            at: self.at,
            deadline: self.deadline,
            cancelling: self.cancelling,
            reason: self.reason,
            error: None,
            result: None,
            progress: self.progress.clone(),
            worker: self.worker.clone(),
            payload,
            tags: Vec::new(),
            metadata: Vec::new(),
        }
    }
}
