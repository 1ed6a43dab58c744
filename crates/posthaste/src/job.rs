//! Types that are jobs.

use std::time::Duration;

use posthaste_core::job::RetryRule;
use posthaste_core::{Backoff, Error, ErrorKind, KindName, Priority, QueueName, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::policy::Criticality;
use crate::units::millis_u32;

/// A type that is a job: its value is the payload, its rule says how it is queued and tried.
///
/// Usually derived, with [`#[derive(Job)]`](derive@crate::Job). By hand:
///
/// ```
/// use std::sync::OnceLock;
/// use posthaste::{Job, JobRule};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Resize { image: String }
///
/// impl Job for Resize {
///     const KIND: &'static str = "resize";
///
///     fn rule() -> &'static JobRule {
///         static RULE: OnceLock<JobRule> = OnceLock::new();
///         RULE.get_or_init(|| JobRule::new(Self::KIND).queue("images").max_attempts(3))
///     }
/// }
/// ```
pub trait Job: Serialize + DeserializeOwned + Send + 'static {
    /// Which handler it is for: 1 to 128 letters, digits and `. _ - : /`.
    const KIND: &'static str;

    /// How jobs of this type are queued and tried, where an enqueue says nothing else.
    fn rule() -> &'static JobRule;
}

/// How the jobs of one type are queued and tried, where an enqueue says nothing else.
///
/// A name that can't be one is reported by the enqueue, or by the worker when it starts.
#[derive(Clone, Debug)]
pub struct JobRule {
    kind: Result<KindName>,
    queue: Result<QueueName>,
    priority: Result<Priority>,
    pub(crate) retry: RetryRule,
    pub(crate) keep_result: bool,
    pub(crate) criticality: Option<Criticality>,
}

impl JobRule {
    /// The defaults: queue `default`, priority 5, 25 attempts of 15 minutes, backoff 2ⁿ s up to
    /// six hours, results kept.
    #[must_use]
    pub fn new(kind: &str) -> Self {
        Self {
            kind: KindName::new(kind),
            queue: QueueName::new("default"),
            priority: Ok(Priority::default()),
            retry: RetryRule::default(),
            keep_result: true,
            criticality: None,
        }
    }

    /// Which queue they wait in. Default `default`.
    #[must_use]
    pub fn queue(mut self, queue: &str) -> Self {
        self.queue = QueueName::new(queue);
        self
    }

    /// Their rank, 1 to 9; 9 is served first. Default 5.
    #[must_use]
    pub fn priority(mut self, priority: u8) -> Self {
        self.priority = check_priority(priority);
        self
    }

    /// Attempts in all, 1 to 1000. Default 25.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u16) -> Self {
        self.retry.max_attempts = attempts;
        self
    }

    /// Longest time for one attempt. Default 15 minutes, at most 7 days.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.retry.timeout_ms = millis_u32(timeout);
        self
    }

    /// Delay after a failed attempt. Default 2ⁿ s, at most six hours, ±25 %.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.retry.backoff = backoff;
        self
    }

    /// Whether the handler's result is kept with the completed job. Default true.
    #[must_use]
    pub fn keep_result(mut self, keep: bool) -> Self {
        self.keep_result = keep;
        self
    }

    /// How much they matter. Default: as much as what they are enqueued for.
    #[must_use]
    pub fn criticality(mut self, tier: Criticality) -> Self {
        self.criticality = Some(tier);
        self
    }

    pub(crate) fn kind_name(&self) -> Result<KindName> {
        self.kind.clone()
    }

    pub(crate) fn queue_name(&self) -> Result<QueueName> {
        self.queue.clone()
    }

    pub(crate) fn rank(&self) -> Result<Priority> {
        self.priority.clone()
    }
}

pub(crate) fn check_priority(priority: u8) -> Result<Priority> {
    Priority::new(priority).ok_or_else(|| {
        Error::new(
            ErrorKind::Invalid,
            format!("priority {priority} is out of range"),
        )
        .next("give 1 to 9; 9 is served first")
    })
}
