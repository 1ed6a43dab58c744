//! What the random lives came past: a test that never gets there tests nothing.

use std::collections::BTreeMap;

use posthaste_core::command::{Command, Commit, Committed, Reply};
use posthaste_core::error::Error;
use posthaste_core::view::JobView;

/// Everything that must be reached by a campaign; the first word says what it is.
const EVERYTHING: [&str; 66] = [
    "enqueue",
    "settle completed",
    "settle retry",
    "settle snooze",
    "settle cancel",
    "settle dead",
    "settle release",
    "heartbeat",
    "cancel",
    "retry",
    "delete",
    "edit",
    "configure",
    "existing",
    "settle repeated",
    "follow-up repeated",
    "heartbeat cancelled",
    "commit repeated",
    "refused invalid",
    "refused not-found",
    "refused conflict",
    "refused key-reused",
    "refused unique-conflict",
    "refused stale",
    "refused unknown-lease",
    "refused settled-otherwise",
    "reason exhausted",
    "reason failed",
    "reason expired",
    "reason poison",
    "reason undecodable",
    "clock forward",
    "wall clock set",
    "new > scheduled",
    "new > available",
    "scheduled > available",
    "scheduled > dead",
    "scheduled > cancelled",
    "scheduled > gone",
    "available > scheduled",
    "available > running",
    "available > dead",
    "available > cancelled",
    "available > gone",
    "running > scheduled",
    "running > available",
    "running > retryable",
    "running > completed",
    "running > dead",
    "running > cancelled",
    "retryable > scheduled",
    "retryable > available",
    "retryable > dead",
    "retryable > cancelled",
    "retryable > gone",
    "completed > gone",
    "dead > available",
    "dead > gone",
    "cancelled > available",
    "cancelled > gone",
    "deadline lifted",
    "lapse",
    "late settle",
    "unique existing",
    "key existing",
    "in a commit of several",
];

/// What was reached, in words, and how often.
#[derive(Clone, Debug, Default)]
pub struct Reached(BTreeMap<String, u32>);

impl Reached {
    pub(super) fn note(&mut self, what: &str) {
        *self.0.entry(what.to_owned()).or_default() += 1;
    }

    /// Adds what another life reached.
    pub fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what.clone()).or_default() += count;
        }
    }

    pub(super) fn answered(&mut self, commit: &Commit, answer: &Result<Committed, Error>) {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return self.note(&format!("refused {}", error.kind().slug())),
        };
        if answer.repeated {
            return self.note("commit repeated");
        }
        if commit.commands.len() > 1 {
            self.note("in a commit of several");
        }
        for (command, reply) in commit.commands.iter().zip(&answer.replies) {
            self.command(command);
            self.reply(command, reply);
        }
    }

    fn command(&mut self, command: &Command) {
        match command {
            Command::Enqueue(_) => self.note("enqueue"),
            Command::Settle { outcome, .. } => self.note(&format!("settle {}", outcome.word())),
            Command::Heartbeat { .. } => self.note("heartbeat"),
            Command::Cancel(_) => self.note("cancel"),
            Command::Retry(_) => self.note("retry"),
            Command::Delete(_) => self.note("delete"),
            Command::Edit { .. } => self.note("edit"),
            Command::Configure { .. } => self.note("configure"),
            other => panic!("{other:?} is not among what must be reached"),
        }
    }

    fn reply(&mut self, command: &Command, reply: &Reply) {
        match (reply, command) {
            (Reply::Enqueued { existing: true, .. }, Command::Enqueue(job)) => {
                self.note("existing");
                if job.unique.is_some() {
                    self.note("unique existing");
                }
                if job.idempotency_key.is_some() {
                    self.note("key existing");
                }
            }
            (Reply::Settled { repeated: true, .. }, _) => self.note("settle repeated"),
            (Reply::Repeated, _) => self.note("follow-up repeated"),
            (Reply::Extended { cancelled: true }, _) => self.note("heartbeat cancelled"),
            _ => {}
        }
    }

    /// What became of the jobs in one step.
    pub(super) fn changes(&mut self, before: &[JobView], after: &[JobView]) {
        let find = |jobs: &[JobView], of: &JobView| jobs.iter().find(|it| it.id == of.id).cloned();
        for new in after {
            let old = find(before, new);
            let from = old.as_ref().map_or("new", |old| old.state.as_str());
            if from != new.state.as_str() {
                self.note(&format!("{from} > {}", new.state));
            }
            if let Some(reason) = new.reason {
                self.note(&format!("reason {}", reason.as_str()));
            }
            let Some(old) = old else { continue };
            if old.deadline.is_some() && new.deadline.is_none() {
                self.note("deadline lifted");
            }
            if new.crashes > old.crashes {
                self.note("lapse");
            }
            if old.state.is_waiting() && new.state.is_final() && new.attempt > old.attempt {
                self.note("late settle");
            }
        }
        for old in before {
            if find(after, old).is_none() {
                self.note(&format!("{} > gone", old.state));
            }
        }
    }

    /// What was never reached, of everything there is; with `restarts`, a restart too.
    #[must_use]
    pub fn missing(&self, restarts: bool) -> Vec<&'static str> {
        let mut missing = Vec::from_iter(restarts.then_some("restart"));
        missing.extend(EVERYTHING);
        missing.retain(|what| !self.0.contains_key(*what));
        missing
    }
}
