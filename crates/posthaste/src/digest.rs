//! What a commit asks for, in sixteen bytes: the same for the same commands, also from another
//! process and another version. Ids that were minted for new jobs and events don't count, for they
//! are minted anew when a program asks again.

use posthaste_core::command::{Edit, QueueSettings};
use posthaste_core::job::{NewJob, OnConflict, RetryRule, Start, Unique, UniqueBy};
use posthaste_core::{Backoff, Command, NewEvent, Outcome, Payload};
use sha2::{Digest as _, Sha256};

/// The digest of `commands`.
pub(crate) fn of(commands: &[Command]) -> [u8; 16] {
    let mut parts = Parts(Sha256::new());
    for command in commands {
        parts.command(command);
    }
    let mut digest = [0; 16];
    digest.copy_from_slice(&parts.0.finalize()[..16]);
    digest
}

/// Everything goes in with its length before it, so that no two lists of parts look the same.
struct Parts(Sha256);

impl Parts {
    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn number(&mut self, number: impl Into<u64>) {
        self.0.update(number.into().to_le_bytes());
    }

    fn maybe<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        self.number(value.is_some());
        if let Some(value) = value {
            put(self, value);
        }
    }

    fn command(&mut self, command: &Command) {
        match command {
            Command::Enqueue(job) => {
                self.text("enqueue");
                self.job(job);
            }
            Command::Settle { id, token, outcome } => {
                self.text("settle");
                self.bytes(&id.to_bytes());
                self.number(token.0);
                self.outcome(outcome);
            }
            Command::Heartbeat {
                id,
                token,
                progress,
            } => {
                self.text("heartbeat");
                self.bytes(&id.to_bytes());
                self.number(token.0);
                self.maybe(progress.as_ref(), Self::payload);
            }
            Command::Cancel(id) => self.named("cancel", &id.to_bytes()),
            Command::Retry(id) => self.named("retry", &id.to_bytes()),
            Command::Delete(id) => self.named("delete", &id.to_bytes()),
            Command::Edit { id, edit } => {
                self.named("edit", &id.to_bytes());
                self.edit(edit);
            }
            Command::Configure { queue, settings } => {
                self.named("configure", queue.as_str().as_bytes());
                self.settings(settings);
            }
            Command::Publish { topic, events } => {
                self.named("publish", topic.as_str().as_bytes());
                self.number(events.len() as u64);
                events.iter().for_each(|event| self.event(event));
            }
            other => self.named("other", format!("{other:?}").as_bytes()),
        }
    }

    fn named(&mut self, word: &str, bytes: &[u8]) {
        self.text(word);
        self.bytes(bytes);
    }

    fn job(&mut self, job: &NewJob) {
        let NewJob {
            id: _,
            kind,
            queue,
            payload,
            priority,
            start,
            deadline,
            retry,
            idempotency_key,
            unique,
            tags,
            metadata,
            keep_result,
        } = job;
        self.text(kind.as_str());
        self.text(queue.as_str());
        self.payload(payload);
        self.number(priority.get());
        match start {
            Start::Now => self.text("now"),
            Start::After(ms) => self.named("after", &ms.to_le_bytes()),
            Start::At(at) => self.named("at", &at.0.to_le_bytes()),
        }
        self.maybe(*deadline, |parts, at| parts.number(at.0));
        self.retry(retry);
        self.maybe(idempotency_key.as_deref(), Self::text);
        self.maybe(unique.as_ref(), Self::unique);
        self.number(tags.len() as u64);
        tags.iter().for_each(|tag| self.text(tag.as_str()));
        self.number(metadata.len() as u64);
        for (name, value) in metadata {
            self.text(name);
            self.text(value);
        }
        self.number(*keep_result);
    }

    fn event(&mut self, event: &NewEvent) {
        let NewEvent {
            id,
            deduplicate,
            event_type,
            source,
            key,
            headers,
            payload,
        } = event;
        self.maybe(deduplicate.then_some(id), |parts, id| parts.text(id));
        self.text(event_type);
        self.text(source);
        self.maybe(key.as_deref(), Self::text);
        self.number(headers.len() as u64);
        for (name, value) in headers {
            self.text(name);
            self.text(value);
        }
        self.maybe(payload.as_ref(), Self::payload);
    }

    fn retry(&mut self, retry: &RetryRule) {
        let Backoff {
            base_ms,
            factor,
            max_ms,
            jitter_percent,
        } = retry.backoff;
        self.number(retry.max_attempts);
        self.number(retry.timeout_ms);
        self.number(base_ms);
        self.number(factor);
        self.number(max_ms);
        self.number(jitter_percent);
    }

    fn unique(&mut self, unique: &Unique) {
        match &unique.by {
            UniqueBy::Key(key) => self.named("key", key.as_bytes()),
            UniqueBy::Payload => self.text("payload"),
        }
        self.maybe(unique.period_ms, Self::number);
        self.number(unique.states.bits());
        self.text(match unique.on_conflict {
            OnConflict::Existing => "existing",
            OnConflict::Reject => "reject",
        });
    }

    fn payload(&mut self, payload: &Payload) {
        self.maybe(payload.content_type.as_deref(), Self::text);
        self.bytes(&payload.bytes);
    }

    fn outcome(&mut self, outcome: &Outcome) {
        self.text(outcome.word());
        match outcome {
            Outcome::Completed { result } => self.maybe(result.as_ref(), Self::payload),
            Outcome::Retry { error, delay_ms } => {
                self.text(error);
                self.maybe(*delay_ms, Self::number);
            }
            Outcome::Snooze { delay_ms } => self.number(*delay_ms),
            Outcome::Cancel { reason } => self.text(reason),
            Outcome::Dead { error } => self.text(error),
            Outcome::Release {
                delay_ms,
                undecodable,
                error,
            } => {
                self.number(*delay_ms);
                self.number(*undecodable);
                self.maybe(error.as_deref(), Self::text);
            }
        }
    }

    fn edit(&mut self, edit: &Edit) {
        self.maybe(edit.payload.as_ref(), Self::payload);
        self.maybe(edit.priority, |parts, priority| {
            parts.number(priority.get())
        });
        self.maybe(edit.run_at, |parts, at| parts.number(at.0));
    }

    fn settings(&mut self, settings: &QueueSettings) {
        self.maybe(settings.paused, Self::number);
        self.maybe(settings.concurrency, Self::number);
        self.maybe(settings.strict, Self::number);
        self.maybe(settings.priority_step_ms, Self::number);
    }
}
