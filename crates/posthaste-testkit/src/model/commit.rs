//! The commands of one commit, each as a sentence of the promises.

use posthaste_core::command::{Command, Edit, Reply};
use posthaste_core::error::{ErrorKind, Result};
use posthaste_core::ids::JobId;
use posthaste_core::job::{DeadReason, JobState, NewJob, OnConflict, Start, UniqueBy};
use posthaste_core::limits;
use posthaste_core::time::WallMs;
use posthaste_core::topic::NewEvent;

use super::groups::{check_ends, check_group};
use super::settle::check_outcome;
use super::topics::{check_events, check_settings};
use super::{JobKey, Model, Row, refusal};

impl Model {
    /// Applies a command; `behind` it there are others in its commit.
    pub(super) fn apply(&mut self, command: &Command, behind: &[Command]) -> Result<Reply> {
        match command {
            Command::Enqueue(job) => self.enqueue(job),
            Command::Settle { id, token, outcome } => {
                let follow_ups = behind.iter().take_while(|it| follows(it));
                self.settle(*id, *token, outcome, follow_ups.cloned().collect())
            }
            Command::Heartbeat {
                id,
                token,
                progress,
            } => self.heartbeat(*id, *token, progress.as_ref()),
            Command::Cancel(id) => self.cancel(*id),
            Command::Retry(id) => self.retry(*id),
            Command::Delete(id) => self.delete(*id),
            Command::Edit { id, edit } => self.edit(*id, edit),
            Command::Configure { queue, settings } => {
                self.queue(queue).set(settings);
                Ok(Reply::Configured)
            }
            Command::Publish { topic, events } => self.publish(topic, events),
            Command::SetTopic { topic, settings } => self.set_topic(topic, settings),
            Command::DeleteTopic(topic) => self.delete_topic(topic),
            other => self.apply_to_group(other),
        }
    }

    fn apply_to_group(&mut self, command: &Command) -> Result<Reply> {
        match command {
            Command::SetGroup {
                topic,
                group,
                settings,
                from,
            } => self.set_group(topic, group, settings, *from),
            Command::DeleteGroup { topic, group } => self.delete_group(topic, group),
            Command::SettleEvents {
                topic,
                group,
                token,
                ends,
            } => self.settle_events(topic, group, *token, ends),
            Command::Beat {
                topic,
                group,
                token,
            } => self.beat(topic, group, *token),
            Command::Leave {
                topic,
                group,
                token,
            } => self.leave(topic, group, *token),
            Command::ResetGroup {
                topic,
                group,
                to,
                force,
            } => self.reset_group(topic, group, *to, *force),
            Command::Unpark {
                topic,
                group,
                which,
                how,
            } => self.unpark(topic, group, *which, *how),
            Command::Redrive {
                topic,
                group,
                which,
            } => self.redrive(topic, group, *which),
            other => Err(refusal(
                ErrorKind::Unsupported,
                &format!("the model does not know {other:?}"),
            )),
        }
    }

    fn enqueue(&mut self, job: &NewJob) -> Result<Reply> {
        if let Some(key) = &job.idempotency_key
            && let Some(taken) = self.job_keys.iter().find(|taken| taken.key == *key)
        {
            return if same_body(&taken.first, job) {
                Ok(self.kept(taken))
            } else {
                Err(refusal(
                    ErrorKind::KeyReused,
                    "the key came with another job",
                ))
            };
        }
        if self.jobs.iter().any(|row| row.new.id == job.id) {
            return Err(refusal(ErrorKind::Conflict, "the id is taken"));
        }
        if let Some(holder) = self.unique_holder(job) {
            let reject = job.unique.as_ref().map(|unique| unique.on_conflict);
            return if reject == Some(OnConflict::Reject) {
                Err(refusal(
                    ErrorKind::UniqueConflict,
                    "a job holds the unique key",
                ))
            } else {
                Ok(existing(holder.new.id, holder.state))
            };
        }
        Ok(self.accept(job))
    }

    fn accept(&mut self, job: &NewJob) -> Reply {
        let wall = self.now.wall;
        let ready = match job.start {
            Start::Now => wall,
            Start::After(ms) => wall.plus(ms),
            Start::At(at) => at.max(wall),
        };
        let state = if ready > wall {
            JobState::Scheduled
        } else {
            JobState::Available
        };
        let order = self.next_order();
        for row in &mut self.jobs {
            if row.same(job) {
                row.unique_of = None; // it had let go of its key, and another takes it
            }
        }
        let period = job.unique.as_ref().and_then(|unique| unique.period_ms);
        self.jobs.push(Row {
            new: job.clone(),
            state,
            enqueued_at: wall,
            ready,
            order,
            ended: wall,
            spent: 0,
            crashes: 0,
            reason: None,
            error: None,
            result: None,
            progress: None,
            cancelling: false,
            undecodable_since: None,
            unique_of: job.unique.as_ref().map(|_| job.payload.clone()),
            unique_until: period.map(|ms| wall.plus(ms)),
            token: None,
            lease: None,
        });
        self.queue(&job.queue).totals.enqueued += 1;
        let expired = job.deadline.is_some_and(|deadline| deadline <= wall);
        if expired {
            self.end(job.id, JobState::Dead, Some(DeadReason::Expired));
        }
        let state = if expired { JobState::Dead } else { state };
        if let Some(key) = &job.idempotency_key {
            let at = self.key_instant();
            self.job_keys.push(JobKey {
                key: key.clone(),
                first: job.clone(),
                state,
                at,
            });
        }
        Reply::Enqueued {
            id: job.id,
            state,
            existing: false,
        }
    }

    /// Whether a command keeps its bounds, whatever there is.
    pub(super) fn check(&self, command: &Command) -> Result<()> {
        match command {
            Command::Enqueue(job) => self.check_job(job),
            Command::Settle { outcome, .. } => check_outcome(outcome),
            Command::Publish { events, .. } => check_events(events),
            Command::SetTopic { settings, .. } => check_settings(settings),
            Command::SetGroup { settings, .. } => check_group(settings),
            Command::SettleEvents { ends, .. } => check_ends(ends),
            _ => Ok(()),
        }
    }

    fn check_job(&self, job: &NewJob) -> Result<()> {
        let furthest = self.now.wall.plus(limits::DELAY_MS_MAX);
        let too_far = match job.start {
            Start::Now => false,
            Start::After(ms) => ms > limits::DELAY_MS_MAX,
            Start::At(at) => at > furthest,
        };
        let attempts = 1..=limits::ATTEMPTS_MAX;
        if job.payload.bytes.len() > limits::PAYLOAD_BYTES_MAX {
            Err(refusal(ErrorKind::TooLarge, "the payload is too large"))
        } else if too_far {
            Err(refusal(ErrorKind::Invalid, "the start is too far away"))
        } else if !attempts.contains(&job.retry.max_attempts) {
            Err(refusal(ErrorKind::Invalid, "the attempts are 1 to 1000"))
        } else {
            Ok(())
        }
    }

    /// The answer of an idempotency key: the first job's id, with the state it has now where it is
    /// still there.
    fn kept(&self, taken: &JobKey) -> Reply {
        let row = self.jobs.iter().find(|row| row.new.id == taken.first.id);
        existing(taken.first.id, row.map_or(taken.state, |row| row.state))
    }

    pub(super) fn unique_holder(&self, job: &NewJob) -> Option<&Row> {
        self.jobs
            .iter()
            .find(|row| row.new.id != job.id && row.holds_unique(self.now.wall) && row.same(job))
    }

    fn cancel(&mut self, id: JobId) -> Result<Reply> {
        let row = self.row(id)?;
        match row.state {
            JobState::Running => row.cancelling = true,
            JobState::Cancelled => {}
            state if state.is_waiting() => self.end(id, JobState::Cancelled, None),
            _ => return Err(refusal(ErrorKind::Conflict, "it has ended")),
        }
        Ok(Reply::Changed {
            state: self.row(id)?.state,
        })
    }

    fn retry(&mut self, id: JobId) -> Result<Reply> {
        let (wall, order) = (self.now.wall, self.next_order());
        let row = self.row(id)?;
        match row.state {
            JobState::Available => {}
            JobState::Scheduled | JobState::Retryable => row.make_ready(wall, order),
            JobState::Dead | JobState::Cancelled => {
                row.make_ready(wall, order);
                row.new.deadline = row.new.deadline.filter(|deadline| *deadline > wall);
                (row.spent, row.crashes, row.reason) = (0, 0, None);
                row.undecodable_since = None;
                let queue = row.new.queue.clone();
                self.queue(&queue).totals.redriven += 1;
            }
            JobState::Running | JobState::Completed => {
                return Err(refusal(ErrorKind::Conflict, "it can't be run now"));
            }
        }
        Ok(Reply::Changed {
            state: JobState::Available,
        })
    }

    fn delete(&mut self, id: JobId) -> Result<Reply> {
        if self.row(id)?.state == JobState::Running {
            return Err(refusal(ErrorKind::Conflict, "it is running"));
        }
        self.forget(id);
        Ok(Reply::Deleted)
    }

    /// Removes a job and counts it.
    pub(super) fn forget(&mut self, id: JobId) {
        if let Some(index) = self.jobs.iter().position(|row| row.new.id == id) {
            let row = self.jobs.remove(index);
            self.queue(&row.new.queue).totals.deleted += 1;
        }
    }

    fn edit(&mut self, id: JobId, edit: &Edit) -> Result<Reply> {
        let (wall, order) = (self.now.wall, self.next_order());
        let row = self.row(id)?;
        let may = row.state.is_waiting() || (row.state == JobState::Dead && edit.run_at.is_none());
        if !may {
            return Err(refusal(ErrorKind::Conflict, "it can't be edited now"));
        }
        if let Some(payload) = &edit.payload {
            row.new.payload = payload.clone();
            row.undecodable_since = None;
        }
        if let Some(priority) = edit.priority.filter(|it| *it != row.new.priority) {
            row.new.priority = priority;
        }
        match edit.run_at {
            Some(at) if at > wall => row.wait_until(at, JobState::Scheduled),
            Some(_) if row.state != JobState::Available => row.make_ready(wall, order),
            _ => {}
        }
        Ok(Reply::Changed { state: row.state })
    }
}

impl Row {
    pub(super) fn make_ready(&mut self, ready: WallMs, order: u64) {
        self.state = JobState::Available;
        (self.ready, self.order) = (ready, order);
        self.token = None;
    }

    pub(super) fn wait_until(&mut self, at: WallMs, state: JobState) {
        self.state = state;
        self.ready = at;
        self.token = None;
    }

    fn holds_unique(&self, wall: WallMs) -> bool {
        let within = self.unique_until.is_none_or(|until| wall < until);
        let unique = self.new.unique.as_ref();
        within && unique.is_some_and(|unique| unique.states.contains(self.state))
    }

    /// Whether `job` is the same as this one, in the sense of its unique key.
    fn same(&self, job: &NewJob) -> bool {
        let Some(payload) = &self.unique_of else {
            return false;
        };
        let (Some(mine), Some(theirs)) = (&self.new.unique, &job.unique) else {
            return false;
        };
        let equal = match (&mine.by, &theirs.by) {
            (UniqueBy::Key(a), UniqueBy::Key(b)) => a == b,
            (UniqueBy::Payload, UniqueBy::Payload) => *payload == job.payload,
            _ => false,
        };
        equal && self.new.kind == job.kind
    }
}

fn existing(id: JobId, state: JobState) -> Reply {
    Reply::Enqueued {
        id,
        state,
        existing: true,
    }
}

/// Whether a command belongs to the settle before it.
pub(super) fn follows(command: &Command) -> bool {
    !matches!(
        command,
        Command::Settle { .. }
            | Command::Heartbeat { .. }
            | Command::SettleEvents { .. }
            | Command::Beat { .. }
    )
}

/// Whether a commit says the same again; new jobs, and events whose ids nobody chose, may have other
/// ids then.
pub(super) fn same_commands(a: &[Command], b: &[Command]) -> bool {
    let same = |pair: (&Command, &Command)| match pair {
        (Command::Enqueue(a), Command::Enqueue(b)) => same_body(a, b),
        (
            Command::Publish { topic, events },
            Command::Publish {
                topic: of,
                events: others,
            },
        ) => {
            let mut pairs = events.iter().zip(others);
            topic == of && events.len() == others.len() && pairs.all(|(a, b)| same_event(a, b))
        }
        (a, b) => a == b,
    };
    a.len() == b.len() && a.iter().zip(b).all(same)
}

fn same_event(a: &NewEvent, b: &NewEvent) -> bool {
    let mut b = b.clone();
    if !a.deduplicate {
        b.id = a.id.clone();
    }
    *a == b
}

/// Whether two jobs say the same, whoever minted their ids.
fn same_body(a: &NewJob, b: &NewJob) -> bool {
    let mut b = b.clone();
    b.id = a.id;
    *a == b
}
