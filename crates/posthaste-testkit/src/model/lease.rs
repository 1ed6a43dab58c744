//! The claim: not which job is handed out, but which ones may be.

use posthaste_core::error::{ErrorKind, Result};
use posthaste_core::ids::{JobId, QueueName, Token};
use posthaste_core::job::JobState;
use posthaste_core::limits;
use posthaste_core::port::{LeaseAsk, Leased};

use super::{Lease, Model, Row, refusal};

impl Model {
    /// Whether such an ask is answered at all.
    ///
    /// # Errors
    /// `Invalid`, where a number is out of its bounds.
    pub fn check_ask(ask: &LeaseAsk) -> Result<()> {
        let lengths = limits::LEASE_MS_MIN..=limits::LEASE_MS_MAX;
        if ask.max == 0 || ask.max > limits::LEASE_JOBS_MAX {
            Err(refusal(ErrorKind::Invalid, "max is 1 to 1000"))
        } else if !lengths.contains(&ask.lease_ms) {
            Err(refusal(ErrorKind::Invalid, "a lease is 100ms to 1h long"))
        } else if ask.queues.is_empty() {
            Err(refusal(ErrorKind::Invalid, "no queue is named"))
        } else {
            Ok(())
        }
    }

    /// The jobs of which any may be handed out next to `ask`. Empty where there is none.
    ///
    /// Queues by weight are a matter of chance, so the next of any of them may come. Jobs of one
    /// queue, kind and priority come in the order in which they became ready; among the first of
    /// each it is the earliest virtual start (ready time − priority × step), or the highest
    /// priority where the queue is strict; among equals any.
    #[must_use]
    pub fn lease_allowed(&self, ask: &LeaseAsk) -> Vec<JobId> {
        let mut allowed = Vec::new();
        for (queue, _) in &ask.queues {
            allowed.extend(self.next_of(queue, ask));
            if ask.strict && !allowed.is_empty() {
                break;
            }
        }
        allowed
    }

    fn next_of(&self, name: &QueueName, ask: &LeaseAsk) -> Vec<JobId> {
        let Some(queue) = self.queues.iter().find(|queue| queue.name == *name) else {
            return Vec::new();
        };
        let here = |row: &&Row| row.new.queue == *name;
        let running = self.jobs.iter().filter(here);
        let running = running.filter(|row| row.state == JobState::Running).count();
        let full = queue.concurrency > 0 && running >= queue.concurrency as usize;
        if queue.paused || full {
            return Vec::new();
        }
        let ready: Vec<&Row> = self
            .jobs
            .iter()
            .filter(here)
            .filter(|row| row.state == JobState::Available)
            .filter(|row| ask.kinds.is_empty() || ask.kinds.contains(&row.new.kind))
            .collect();
        let rank = |row: &Row| -> (i128, i128) {
            let priority = i128::from(row.new.priority.get());
            let since = i128::from(row.ready.0);
            if queue.strict {
                (-priority, since)
            } else {
                (since - priority * i128::from(queue.priority_step_ms), 0)
            }
        };
        let lane = |row: &Row| (row.new.kind.clone(), row.new.priority);
        let is_head = |row: &&Row| {
            let mut others = ready.iter().filter(|it| lane(it) == lane(row));
            others.all(|it| row.order <= it.order)
        };
        let heads: Vec<&Row> = ready.iter().copied().filter(is_head).collect();
        let first = heads.iter().map(|row| rank(row)).min();
        let firsts = heads.into_iter().filter(|row| Some(rank(row)) == first);
        firsts.map(|row| row.new.id).collect()
    }

    /// Hands `id` out to `ask` under `token`, whoever chose them.
    pub fn grant(&mut self, id: JobId, token: Token, ask: &LeaseAsk) {
        let end = self.now.mono.plus(u64::from(ask.lease_ms));
        self.token = self.token.max(token.0);
        if let Ok(row) = self.row(id) {
            row.state = JobState::Running;
            row.token = Some(token);
            row.progress = None;
            row.lease = Some(Lease {
                length_ms: ask.lease_ms,
                end,
                worker: ask.worker.clone(),
                local: ask.local,
            });
        }
    }

    /// Why it is a job's turn or not, in words for people.
    #[must_use]
    pub fn turn_of(&self, id: JobId) -> String {
        let row = self.jobs.iter().find(|row| row.new.id == id);
        row.map_or(format!("{id}, which is not there"), |row| {
            format!(
                "{id}: {} of {} {} at {}, ready {}, turn {}",
                row.state,
                row.new.queue,
                row.new.kind,
                row.new.priority.get(),
                row.ready,
                row.order
            )
        })
    }

    /// Whether a lease of the job lapsed and its worker may still settle.
    #[must_use]
    pub fn may_settle_late(&self, id: JobId) -> bool {
        let row = self.jobs.iter().find(|row| row.new.id == id);
        row.is_some_and(|row| row.token.is_some() && row.lease.is_none())
    }

    /// Whether a job's workers could not read its payload, and its hour is running.
    #[must_use]
    pub fn counts_unreadable(&self) -> bool {
        self.jobs.iter().any(|row| row.undecodable_since.is_some())
    }

    /// Whether that lease was settled so long ago that it may be forgotten.
    #[must_use]
    pub fn may_be_forgotten(&self, id: JobId, token: Token) -> bool {
        let same = |it: &&super::Applied| it.id == id && it.token == token;
        self.settles.iter().find(same).is_some_and(|it| it.old)
    }

    /// Claims up to `ask.max` jobs, each time the first of those allowed.
    ///
    /// # Errors
    /// `Invalid` for a bad ask.
    pub fn lease(&mut self, ask: &LeaseAsk) -> Result<Vec<Leased>> {
        Self::check_ask(ask)?;
        let mut granted = Vec::new();
        while granted.len() < ask.max as usize {
            let Some(id) = self.pick(ask) else {
                break;
            };
            let token = Token(self.token + 1);
            self.grant(id, token, ask);
            granted.extend(self.leased(id));
        }
        Ok(granted)
    }

    /// One of those allowed: of a queue drawn by weight, the one that came first.
    fn pick(&self, ask: &LeaseAsk) -> Option<JobId> {
        let allowed = self.lease_allowed(ask);
        let rows = || self.jobs.iter().filter(|row| allowed.contains(&row.new.id));
        let has = |name: &QueueName| rows().any(|row| row.new.queue == *name);
        let queues = || ask.queues.iter().filter(|(name, _)| has(name));
        let weights: u64 = queues().map(|(_, weight)| u64::from(*weight)).sum();
        let mut drawn = self.token.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        drawn %= weights.max(1);
        for (name, weight) in queues() {
            if drawn < u64::from(*weight) {
                let here = rows().filter(|row| row.new.queue == *name);
                return here.min_by_key(|row| row.order).map(|row| row.new.id);
            }
            drawn -= u64::from(*weight);
        }
        None
    }

    /// A held lease, as its asker is told of it.
    #[must_use]
    pub fn leased(&self, id: JobId) -> Option<Leased> {
        let row = self.jobs.iter().find(|row| row.new.id == id)?;
        let lease = row.lease.as_ref()?;
        Some(Leased {
            id,
            token: row.token?,
            kind: row.new.kind.clone(),
            queue: row.new.queue.clone(),
            payload: row.new.payload.clone(),
            attempt: row.spent + 1,
            max_attempts: row.new.retry.max_attempts,
            priority: row.new.priority,
            lease_ms: lease.length_ms,
            timeout_ms: row.new.retry.timeout_ms,
            deadline: row.new.deadline,
            enqueued_at: row.enqueued_at,
            tags: row.new.tags.clone(),
            metadata: row.new.metadata.clone(),
        })
    }
}
