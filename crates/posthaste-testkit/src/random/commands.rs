//! What a life does next: commands about the jobs that are there, the leases that are held, and
//! what was done before.

use std::sync::Arc;

use posthaste_core::command::{Command, Commit, CommitKey, Edit};
use posthaste_core::ids::{JobId, Token, WorkerName};
use posthaste_core::job::{JobState, NewJob, Outcome, Payload};
use posthaste_core::port::{LeaseAsk, Leased};
use posthaste_core::time::WallMs;
use posthaste_core::view::JobView;

use super::Life;
use super::draw::{KINDS, QUEUES};
use crate::conformance::words::{kind, queue};

impl Life<'_> {
    pub(super) fn draw_ask(&mut self) -> LeaseAsk {
        let draw = &mut self.draw;
        let names: Vec<&str> = match draw.below(3) {
            0 => vec![draw.word(&QUEUES)],
            1 => vec!["sync", "mail"],
            _ => QUEUES.to_vec(),
        };
        let weight = |name: &str| u32::try_from(name.len()).unwrap_or(1);
        LeaseAsk {
            queues: names.iter().map(|it| (queue(it), weight(it))).collect(),
            strict: draw.one_in(2),
            kinds: if draw.one_in(2) {
                vec![kind(draw.word(&KINDS))]
            } else {
                Vec::new()
            },
            max: 1 + u32::from(draw.small(4)),
            lease_ms: 1_005 + u32::from(draw.small(200)) * 1_000,
            wait_ms: 0,
            worker: WorkerName::new("w").expect("a good name"),
            local: draw.one_in(3) && self.bench.capabilities().local_leases,
        }
    }

    pub(super) fn draw_commit(&mut self) -> Commit {
        if self.draw.one_in(40)
            && let Some(mut again) = self.draw.pick(&self.keyed)
        {
            if self.draw.one_in(3) {
                again.key = again.key.map(|key| CommitKey {
                    digest: [7; 16],
                    ..key
                });
            }
            return again;
        }
        if self.draw.one_in(20)
            && let Some((leased, outcome, follow_ups)) = self.draw.pick(&self.settled)
        {
            return again(&leased, outcome, follow_ups);
        }
        let count = if self.draw.one_in(2) {
            1
        } else {
            1 + self.draw.below(4)
        };
        let commands = (0..count).map(|_| self.draw_command()).collect();
        let key = self.draw.one_in(12).then(|| CommitKey {
            key: Arc::from(format!("c{}", self.draw.next())),
            digest: [1; 16],
        });
        Commit { key, commands }
    }

    fn draw_command(&mut self) -> Command {
        match self.draw.below(52) {
            0..14 => Command::Enqueue(Box::new(self.draw_job())),
            14..24 => self.draw_settle(),
            24..27 => {
                let (id, token) = self.draw_lease();
                let progress = self.draw.one_in(2).then(|| Payload::json("[1]"));
                Command::Heartbeat {
                    id,
                    token,
                    progress,
                }
            }
            27..30 => Command::Cancel(self.draw_id()),
            30..33 => Command::Retry(self.draw_id()),
            33..36 => Command::Delete(self.draw_id()),
            36..39 => self.draw_edit(),
            39 => Command::Configure {
                queue: queue(self.draw.word(&QUEUES)),
                settings: self.draw.settings(),
            },
            _ => self.draw_topic_command(),
        }
    }

    /// A job that is there, most often; any.
    fn draw_id(&mut self) -> JobId {
        let mut views = self.model.views();
        let waits = |view: &JobView| view.state == JobState::Retryable;
        if self.draw.one_in(2) && views.iter().any(waits) {
            views.retain(waits); // few are, and not for long
        }
        let some = self.draw.pick(&views).map(|view| view.id);
        match some {
            Some(id) if !self.draw.one_in(20) => id,
            _ => self.bench.job().id,
        }
    }

    fn draw_lease(&mut self) -> (JobId, Token) {
        if self.draw.one_in(20) {
            return (self.draw_id(), Token(1 + self.draw.below(1 << 50)));
        }
        let called_off = |it: &&Leased| {
            let view = self.model.view(it.id);
            view.is_some_and(|view| view.cancelling)
        };
        if let Some(leased) = self.leases.iter().rfind(called_off)
            && self.draw.one_in(2)
        {
            return (leased.id, leased.token); // few are, and not for long
        }
        let mut leases = &self.leases[..];
        if !self.draw.one_in(3) {
            leases = &leases[leases.len().saturating_sub(4)..]; // most likely held
        }
        match self.draw.pick(leases) {
            Some(Leased { id, token, .. }) => (id, token),
            None => (self.draw_id(), Token(1 << 51)),
        }
    }

    fn draw_settle(&mut self) -> Command {
        if self.draw.one_in(6)
            && let Some((leased, outcome, _)) = self.draw.pick(&self.settled)
        {
            return Command::Settle {
                id: leased.id,
                token: leased.token,
                outcome,
            };
        }
        let (id, token) = self.draw_lease();
        let mut outcome = self.draw.outcome();
        let ends_soon = |view: JobView| view.deadline.is_some();
        if self.model.view(id).is_some_and(ends_soon) && self.draw.one_in(2) {
            outcome = Outcome::Retry {
                error: Arc::from("past its time"),
                delay_ms: Some(3_600_000),
            };
        }
        if self.is_unreadable(id) && !self.draw.one_in(3) {
            outcome = Outcome::Release {
                delay_ms: 10_000,
                undecodable: true,
                error: self.draw.one_in(2).then(|| Arc::from("can't be read")),
            };
        }
        Command::Settle { id, token, outcome }
    }

    /// Some payloads are such that workers can't read them.
    fn is_unreadable(&self, id: JobId) -> bool {
        let view = self.model.view(id);
        view.is_some_and(|view| view.payload.bytes.contains(&b'2'))
    }

    /// A new job, or one that was accepted under its key, once more.
    fn draw_job(&mut self) -> NewJob {
        let id = self.bench.job().id;
        if self.draw.one_in(12)
            && let Some(again) = self.draw.pick(&self.keyed_jobs)
        {
            return NewJob { id, ..again };
        }
        let id = if self.draw.one_in(60) {
            self.draw_id()
        } else {
            id
        };
        let mut job = self.draw.job(id, self.model.now().wall);
        let day = self.days;
        let key = job.idempotency_key.take();
        job.idempotency_key = key.map(|key| Arc::from(format!("{key}-{day}")));
        job
    }

    fn draw_edit(&mut self) -> Command {
        let wall = self.model.now().wall;
        let id = self.draw_id();
        let state = self.model.view(id).map(|view| view.state);
        let draw = &mut self.draw;
        let start = match draw.below(4) {
            0 => Some(WallMs(wall.0 - draw.tens(60_000))),
            1 => Some(wall.plus(draw.tens(60_000))),
            _ if state == Some(JobState::Retryable) => Some(wall.plus(draw.tens(60_000))),
            _ => None,
        };
        let edit = Edit {
            payload: draw.one_in(2).then(|| Payload::json("\"edited\"")),
            priority: Some(draw.priority()),
            run_at: start,
        };
        Command::Edit { id, edit }
    }

    /// Keeps what was applied, to be done again.
    pub(super) fn remember(&mut self, commit: &Commit) {
        if commit.key.is_some() {
            self.keyed.push(commit.clone());
        }
        for (index, command) in commit.commands.iter().enumerate() {
            if let Command::Enqueue(job) = command
                && job.idempotency_key.is_some()
            {
                self.keyed_jobs.push(NewJob::clone(job));
            }
            let Command::Settle { id, token, outcome } = command else {
                continue;
            };
            let held = |it: &&Leased| it.id == *id && it.token == *token;
            if let Some(leased) = self.leases.iter().find(held) {
                let behind = commit.commands[index + 1..].iter();
                let follow_ups = behind.take_while(|it| follows_a_settle(it)).cloned();
                let settled = (leased.clone(), outcome.clone(), follow_ups.collect());
                self.settled.push(settled);
            }
        }
        let forgotten = self.settled.len().saturating_sub(super::REMEMBERED);
        self.settled.drain(..forgotten);
    }
}

fn follows_a_settle(command: &Command) -> bool {
    !matches!(command, Command::Settle { .. } | Command::Heartbeat { .. })
}

/// A settle and what followed it, as before. An edit that writes a payload is left out: it may be
/// refused where its job is gone.
fn again(leased: &Leased, outcome: Outcome, follow_ups: Vec<Command>) -> Commit {
    let mut commands = vec![Command::Settle {
        id: leased.id,
        token: leased.token,
        outcome,
    }];
    commands.extend(
        follow_ups
            .into_iter()
            .filter(|it| !matches!(it, Command::Edit { edit, .. } if edit.payload.is_some())),
    );
    Commit::of(commands)
}
