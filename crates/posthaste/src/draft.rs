//! A job that isn't enqueued yet, and what its enqueuer says of it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use posthaste_core::ids::Tag;
use posthaste_core::job::{NewJob, OnConflict, Start, StateSet, Unique, UniqueBy};
use posthaste_core::{
    Backoff, Error, ErrorKind, JobId, JobState, KindName, Payload, QueueName, Result, WallMs,
};

use crate::carry::{CRITICALITY, TRACEPARENT};
use crate::job::{Job, check_priority};
use crate::policy::{Context, Criticality};
use crate::units::{millis, millis_u32};

/// A job and what its enqueuer says of it, to be enqueued later or together with others.
///
/// What can't be said of a job is reported when it is enqueued.
///
/// ```
/// use posthaste::{Draft, Job, TimeUnits};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize, Job)]
/// # struct Reminder { user: u64 }
/// let draft = Draft::new(Reminder { user: 7 }).after(2.hours()).tag("reminders");
/// ```
#[derive(Clone, Debug)]
#[must_use = "a draft does nothing until it is enqueued"]
pub struct Draft(Result<Box<NewJob>>);

/// No id yet.
const UNMINTED: JobId = JobId::from_bytes([0; 16]);

impl Draft {
    /// A job of a type, under the type's rule.
    pub fn new<J: Job>(job: J) -> Self {
        Self(typed(&job).map(Box::new))
    }

    /// A job without a type: any kind, any payload, every default.
    pub fn raw(kind: &str, queue: &str, payload: Payload) -> Self {
        let build = || {
            let (queue, kind) = (QueueName::new(queue)?, KindName::new(kind)?);
            Ok(Box::new(NewJob::new(UNMINTED, queue, kind, payload)))
        };
        Self(build())
    }

    /// A job of which something can't be said.
    pub(crate) fn refused(error: Error) -> Self {
        Self(Err(error))
    }

    /// The job with its id, as a [`Store`](crate::Store) takes it: for whoever speaks to one without
    /// a hub.
    ///
    /// # Errors
    /// `Invalid` or `TooLarge` for what can't be said of a job.
    pub fn build(self, mint: impl FnOnce() -> JobId) -> Result<Box<NewJob>> {
        let mut job = self.0?;
        if job.id == UNMINTED {
            job.id = mint();
        }
        Ok(job)
    }

    pub(crate) fn map(self, change: impl FnOnce(&mut NewJob) -> Result<()>) -> Self {
        Self(self.0.and_then(|mut job| change(&mut job).map(|()| job)))
    }
}

fn typed<J: Job>(job: &J) -> Result<NewJob> {
    let rule = J::rule();
    let kind = rule.kind_name()?;
    let bytes = serde_json::to_vec(job).map_err(|error| {
        Error::new(
            ErrorKind::Invalid,
            format!("a job of kind {kind} can't be written as JSON: {error}"),
        )
        .next("check its Serialize: maps need string keys")
    })?;
    let mut new = NewJob::new(UNMINTED, rule.queue_name()?, kind, Payload::json(bytes));
    new.priority = rule.rank()?;
    new.retry = rule.retry;
    new.keep_result = rule.keep_result;
    if let Some(tier) = rule.criticality {
        set_metadata(&mut new, CRITICALITY, tier.word());
    }
    Ok(new)
}

/// Whatever can be enqueued: a job, or a [`Draft`] that says more of one.
pub trait IntoDraft {
    /// The draft.
    fn into_draft(self) -> Draft;
}

impl<J: Job> IntoDraft for J {
    fn into_draft(self) -> Draft {
        Draft::new(self)
    }
}

impl IntoDraft for Draft {
    fn into_draft(self) -> Draft {
        self
    }
}

/// At most one job of a kind and key at a time: what counts as the same, for how long, and what
/// happens to the later one.
#[derive(Clone, Debug)]
#[must_use]
pub struct UniqueRule(Unique);

impl UniqueRule {
    /// The same by an explicit key of at most 255 bytes, within the kind.
    pub fn key(key: &str) -> Self {
        Self::by(UniqueBy::Key(key.into()))
    }

    /// The same by the bytes of the payload, within the kind.
    pub fn payload() -> Self {
        Self::by(UniqueBy::Payload)
    }

    fn by(by: UniqueBy) -> Self {
        Self(Unique {
            by,
            period_ms: None,
            states: StateSet::UNFINISHED,
            on_conflict: OnConflict::Existing,
        })
    }

    /// The key is held for this long after the enqueue at most. Default: as long as the job is in
    /// one of the states.
    pub fn within(mut self, period: Duration) -> Self {
        self.0.period_ms = Some(millis(period));
        self
    }

    /// The states in which the key is held. Default: until the job has come to an end.
    pub fn states(mut self, states: &[JobState]) -> Self {
        self.0.states = StateSet::of(states);
        self
    }

    /// Refuse the later job, and the commit it is in, with
    /// [`ErrorKind::UniqueConflict`]. Default: answer with the job that is there.
    pub fn or_reject(mut self) -> Self {
        self.0.on_conflict = OnConflict::Reject;
        self
    }
}

/// Writes the setters of a job once, for [`Draft`] and for [`Enqueue`](crate::Enqueue).
macro_rules! setters {
    () => {
        /// The job's id. Default: minted when it is enqueued.
        pub fn id(self, id: JobId) -> Self {
            self.change(|job| {
                job.id = id;
                Ok(())
            })
        }

        /// Which queue it waits in. Default: the type's, or `default`.
        pub fn queue(self, queue: &str) -> Self {
            self.change(|job| {
                job.queue = QueueName::new(queue)?;
                Ok(())
            })
        }

        /// Its rank, 1 to 9; 9 is served first. Default: the type's, or 5.
        pub fn priority(self, priority: u8) -> Self {
            self.change(|job| {
                job.priority = check_priority(priority)?;
                Ok(())
            })
        }

        /// It may start this long after it is accepted, at most ten years. Default: at once.
        pub fn after(self, delay: Duration) -> Self {
            self.change(|job| {
                job.start = Start::After(millis(delay));
                Ok(())
            })
        }

        /// It may start at this instant; at once where that has passed.
        pub fn at(self, instant: SystemTime) -> Self {
            self.change(|job| {
                job.start = Start::At(wall(instant));
                Ok(())
            })
        }

        /// Past this instant it is not started any more, and is dead as `expired`. Default: none.
        pub fn deadline(self, instant: SystemTime) -> Self {
            self.change(|job| {
                job.deadline = Some(wall(instant));
                Ok(())
            })
        }

        /// No later than when the time of `context` ends, by this machine's clock. A deadline that was
        /// given before is only narrowed; without a deadline in the context nothing changes. It is
        /// never inherited: a job outlives the call that enqueued it.
        pub fn deadline_of(self, context: &Context) -> Self {
            let left = context.remaining();
            self.change(|job| {
                if let Some(left) = left {
                    let end = wall(SystemTime::now() + left);
                    job.deadline = Some(job.deadline.map_or(end, |known| known.min(end)));
                }
                Ok(())
            })
        }

        /// Attempts in all, 1 to 1000. Default: the type's, or 25.
        pub fn max_attempts(self, attempts: u16) -> Self {
            self.change(|job| {
                job.retry.max_attempts = attempts;
                Ok(())
            })
        }

        /// Longest time for one attempt, at most 7 days. Default: the type's, or 15 minutes.
        pub fn timeout(self, timeout: Duration) -> Self {
            self.change(|job| {
                job.retry.timeout_ms = millis_u32(timeout);
                Ok(())
            })
        }

        /// Delay after a failed attempt. Default: the type's, or 2ⁿ s up to six hours.
        pub fn backoff(self, backoff: Backoff) -> Self {
            self.change(|job| {
                job.retry.backoff = backoff;
                Ok(())
            })
        }

        /// One effect for one key of at most 255 bytes, for 24 hours: enqueued again with the same
        /// content the answer is the first job, with other content it is refused
        /// ([`ErrorKind::KeyReused`](crate::ErrorKind::KeyReused)).
        pub fn idempotency_key(self, key: &str) -> Self {
            self.change(|job| {
                job.idempotency_key = Some(key.into());
                Ok(())
            })
        }

        /// At most one such job at a time.
        pub fn unique(self, rule: UniqueRule) -> Self {
            self.change(|job| {
                job.unique = Some(rule.0);
                Ok(())
            })
        }

        /// At most one unfinished job of this kind and key: short for
        /// [`unique`](Self::unique) with [`UniqueRule::key`].
        pub fn unique_by_key(self, key: &str) -> Self {
            self.unique(UniqueRule::key(key))
        }

        /// At most one unfinished job of this kind and payload: short for
        /// [`unique`](Self::unique) with [`UniqueRule::payload`].
        pub fn unique_by_payload(self) -> Self {
            self.unique(UniqueRule::payload())
        }

        /// A word to find it by; at most 16 of them.
        pub fn tag(self, tag: &str) -> Self {
            self.change(|job| {
                job.tags.push(Tag::new(tag)?);
                Ok(())
            })
        }

        /// A name and a value for others to read; at most 32 of them. A name given before is
        /// replaced.
        pub fn metadata(self, name: &str, value: &str) -> Self {
            self.change(|job| {
                set_metadata(job, name, value);
                Ok(())
            })
        }

        /// The W3C trace context to go on from, as metadata `traceparent`.
        pub fn traceparent(self, value: &str) -> Self {
            self.metadata(TRACEPARENT, value)
        }

        /// How much it matters, as metadata `criticality`: who is refused or paused first under
        /// pressure. The order in which jobs are claimed stays with their priority. Default: the
        /// type's, or that of the context in which it is enqueued.
        pub fn criticality(self, tier: Criticality) -> Self {
            self.metadata(CRITICALITY, tier.word())
        }

        /// Whether the handler's result is kept with the completed job. Default: the type's, or
        /// true.
        pub fn keep_result(self, keep: bool) -> Self {
            self.change(|job| {
                job.keep_result = keep;
                Ok(())
            })
        }
    };
}

impl Draft {
    setters!();

    fn change(self, change: impl FnOnce(&mut NewJob) -> Result<()>) -> Self {
        self.map(change)
    }
}

impl crate::Enqueue {
    setters!();

    fn change(mut self, change: impl FnOnce(&mut NewJob) -> Result<()>) -> Self {
        self.draft = self.draft.map(change);
        self
    }
}

pub(crate) fn set_metadata(job: &mut NewJob, name: &str, value: &str) {
    job.metadata.retain(|(known, _)| &**known != name);
    job.metadata.push((Arc::from(name), Arc::from(value)));
}

fn wall(instant: SystemTime) -> WallMs {
    WallMs(millis(
        instant.duration_since(UNIX_EPOCH).unwrap_or_default(),
    ))
}
