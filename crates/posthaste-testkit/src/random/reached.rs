//! What the random lives came past: a test that never gets there tests nothing.

use std::collections::BTreeMap;

use posthaste_core::command::{Command, Commit, Committed, Reply};
use posthaste_core::error::{Error, ErrorKind};
use posthaste_core::topic::{ReadFrom, TailTopic, TopicRead};
use posthaste_core::view::JobView;

use super::groups::PARCELS;
use super::reached_groups::{OF_GROUPS, RARE_OF_GROUPS};

/// Everything that must be reached by a campaign; the first word says what it is.
const EVERYTHING: [&str; 99] = [
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
    "publish",
    "publish a tombstone",
    "set topic",
    "delete topic",
    "published",
    "published before",
    "published after it was forgotten",
    "publish repeated",
    "commit repeated with its places",
    "jobs and events in one commit",
    "publish refused invalid",
    "set topic refused invalid",
    "set topic refused conflict",
    "delete topic refused not-found",
    "events undone",
    "new topic",
    "topic made again",
    "topic > gone",
    "read from the earliest",
    "read from a position",
    "read from a time",
    "read from an offset",
    "read of a partition",
    "read of types",
    "read of keys",
    "read nothing",
    "read with more to come",
    "read with a wait",
    "read on",
    "read refused invalid",
    "read refused not-found",
    "gap history",
    "gap retention",
];

fn is_of_topics(command: &Command) -> bool {
    matches!(
        command,
        Command::Publish { .. } | Command::SetTopic { .. } | Command::DeleteTopic(_)
    )
}

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
            Err(error) => return self.refused(commit, error),
        };
        if answer.repeated {
            if answer
                .replies
                .iter()
                .any(|it| matches!(it, Reply::Published(_)))
            {
                self.note("commit repeated with its places");
            }
            return self.note("commit repeated");
        }
        if commit.commands.len() > 1 {
            self.note("in a commit of several");
        }
        let of_topics = |it: &&Command| is_of_topics(it);
        let count = commit.commands.iter().filter(of_topics).count();
        if count > 0 && count < commit.commands.len() {
            self.note("jobs and events in one commit");
        }
        for (command, reply) in commit.commands.iter().zip(&answer.replies) {
            self.command(command);
            self.reply(command, reply);
        }
    }

    fn refused(&mut self, commit: &Commit, error: &Error) {
        let slug = error.kind().slug();
        self.note(&format!("refused {slug}"));
        let Some((command, before)) = error.command().and_then(|index| {
            let (before, rest) = commit.commands.split_at_checked(index)?;
            Some((rest.first()?, before))
        }) else {
            return;
        };
        match command {
            Command::Publish { .. } => self.note(&format!("publish refused {slug}")),
            Command::SetTopic { .. } => self.note(&format!("set topic refused {slug}")),
            Command::DeleteTopic(_) => self.note(&format!("delete topic refused {slug}")),
            of_groups => self.group_refused(of_groups, before, error),
        }
        if error.kind() != ErrorKind::Invalid && before.iter().any(is_of_topics) {
            self.note("events undone");
        }
    }

    /// What a read was answered with.
    pub(super) fn read(&mut self, ask: &TailTopic, got: &Result<TopicRead, Error>) {
        let page = match got {
            Ok(TopicRead::Page(page)) => page,
            Ok(TopicRead::Gap(gap)) => return self.note(&format!("gap {}", gap.reason.as_str())),
            Err(error) => return self.note(&format!("read refused {}", error.kind().slug())),
        };
        if page.events.is_empty() {
            return self.note("read nothing");
        }
        self.note(match ask.from {
            ReadFrom::Earliest => "read from the earliest",
            ReadFrom::Latest => "read from the latest",
            ReadFrom::Position(_) => "read from a position",
            ReadFrom::Time(_) => "read from a time",
            ReadFrom::Offset { .. } => "read from an offset",
        });
        let asked = [
            (ask.partition.is_some(), "read of a partition"),
            (!ask.types.is_empty(), "read of types"),
            (!ask.keys.is_empty(), "read of keys"),
            (page.next < page.end, "read with more to come"),
        ];
        for (_, what) in asked.into_iter().filter(|it| it.0) {
            self.note(what);
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
            Command::Publish { events, .. } => {
                self.note("publish");
                if events.iter().any(|event| event.payload.is_none()) {
                    self.note("publish a tombstone");
                }
            }
            Command::SetTopic { .. } => self.note("set topic"),
            Command::DeleteTopic(_) => self.note("delete topic"),
            of_groups => self.group_command(of_groups),
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
            (Reply::Published(places), _) => {
                let existing = places.iter().any(|place| place.existing);
                self.note(if existing {
                    "published before"
                } else {
                    "published"
                });
            }
            (Reply::Settled { repeated: true, .. }, _) => self.note("settle repeated"),
            (Reply::Repeated, Command::Publish { topic, .. }) => {
                self.note(match topic.as_str() == PARCELS {
                    true => "publish repeated with events",
                    false => "publish repeated",
                });
            }
            (Reply::Repeated, _) => self.note("follow-up repeated"),
            (Reply::Extended { cancelled: true }, _) => self.note("heartbeat cancelled"),
            (of_groups, _) => self.group_reply(of_groups),
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

    /// What was never reached, of everything there is; with `restarts`, a restart too. What is rare is
    /// demanded of `many` lives alone.
    #[must_use]
    pub fn missing(&self, restarts: bool, many: bool) -> Vec<&'static str> {
        let mut missing = Vec::from_iter(restarts.then_some("restart"));
        missing.extend(EVERYTHING);
        missing.extend(OF_GROUPS);
        missing.extend(RARE_OF_GROUPS.into_iter().filter(|_| many));
        missing.retain(|what| !self.0.contains_key(*what));
        missing
    }
}
