//! What happens next, drawn from the seed.
//!
//! Every instant that something waits for ends in 5 ms and the clocks step by tens, so that
//! nothing ends at the very instant at which it is looked at.

use std::sync::Arc;

use posthaste_core::backoff::Backoff;
use posthaste_core::command::{Command, Commit, CommitKey, Edit, QueueSettings};
use posthaste_core::ids::{JobId, Tag, Token, WorkerName};
use posthaste_core::job::{
    JobState, NewJob, OnConflict, Outcome, Payload, Priority, RetryRule, Start, StateSet, Unique,
    UniqueBy,
};
use posthaste_core::limits;
use posthaste_core::port::{LeaseAsk, Leased};
use posthaste_core::time::WallMs;
use posthaste_core::view::JobView;

use super::Life;
use crate::conformance::words::{kind, queue};

const QUEUES: [&str; 3] = ["mail", "print", "sync"];
const KINDS: [&str; 3] = ["alpha", "beta", "gamma"];
const HOUR: u64 = 3_600_000;

/// A small generator (splitmix64): the same seed, the same numbers, on every machine.
#[derive(Debug)]
pub(super) struct Draw(u64);

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0xa076_1d64_78bd_642f) ^ 0x5851_f42d_4c95_7f2d)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(super) fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    fn small(&mut self, bound: u8) -> u8 {
        u8::try_from(self.below(u64::from(bound))).unwrap_or(0)
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        let bound = from.len().max(1) as u64;
        let place = usize::try_from(self.below(bound)).unwrap_or(0);
        from.get(place).cloned()
    }

    fn word(&mut self, from: &[&'static str; 3]) -> &'static str {
        from[usize::from(self.small(3))]
    }

    fn priority(&mut self) -> Priority {
        Priority::new(1 + self.small(9)).unwrap_or_default()
    }

    /// Tens of milliseconds up to `most`, at least ten.
    fn tens(&mut self, most: u64) -> u64 {
        10 + self.below(most / 10) * 10
    }

    /// How long passes, and where the wall clock is set then.
    pub(super) fn clock(&mut self, wall: WallMs) -> (u64, Option<WallMs>) {
        let ms = match self.below(40) {
            0..20 => self.tens(2_000),
            20..36 => self.tens(90_000),
            36 => 30 * 60_000 + self.tens(HOUR),
            37 => 11 * 60_000 + self.tens(1_000),
            38 => 32 * HOUR + self.tens(1_000),
            _ => 91 * 24 * HOUR + self.tens(1_000),
        };
        let jump = match self.below(24) {
            0 => Some(WallMs(wall.0 + ms - self.tens(HOUR))),
            1 => Some(wall.plus(ms + self.tens(HOUR))),
            _ => None,
        };
        (ms, jump)
    }

    fn outcome(&mut self) -> Outcome {
        let text: Arc<str> = Arc::from(["timeout", "refused"][usize::from(self.small(2))]);
        let delay_ms = self.tens(60_000);
        match self.below(12) {
            0..3 => Outcome::Completed {
                result: self.one_in(2).then(|| Payload::json("{\"ok\":true}")),
            },
            3..6 => Outcome::Retry {
                error: text,
                delay_ms: match self.below(3) {
                    0 => None, // the backoff
                    1 => Some(delay_ms),
                    _ => Some(10 * delay_ms), // long enough for something to happen to it
                },
            },
            6 => Outcome::Snooze { delay_ms },
            7 => Outcome::Cancel { reason: text },
            8 => Outcome::Dead { error: text },
            9 => Outcome::Release {
                delay_ms: if self.one_in(2) { 0 } else { delay_ms },
                undecodable: false,
            },
            10 => Outcome::Release {
                delay_ms: 30 * 60_000,
                undecodable: true,
            },
            _ => Outcome::Completed { result: None },
        }
    }

    fn unique(&mut self) -> Unique {
        let states = match self.below(3) {
            0 => StateSet::of(&JobState::ALL),
            _ => StateSet::UNFINISHED,
        };
        Unique {
            by: if self.one_in(3) {
                UniqueBy::Payload
            } else {
                UniqueBy::Key(Arc::from(format!("u{}", self.below(4))))
            },
            period_ms: self.one_in(2).then(|| self.tens(120_000) + 5),
            states,
            on_conflict: if self.one_in(2) {
                OnConflict::Existing
            } else {
                OnConflict::Reject
            },
        }
    }

    fn start(&mut self, wall: WallMs) -> Start {
        match self.below(12) {
            0..7 => Start::Now,
            7..9 => Start::After(self.tens(60_000)),
            9 => Start::At(wall.plus(self.tens(60_000))),
            10 => Start::At(WallMs(wall.0 - self.tens(60_000))),
            _ if self.one_in(6) => Start::After(limits::DELAY_MS_MAX + 10),
            _ => Start::Now,
        }
    }

    fn job(&mut self, id: JobId, wall: WallMs) -> NewJob {
        let text = format!("{{\"n\":{}}}", self.below(3));
        let payload = Payload::json(text);
        let mut job = NewJob::new(
            id,
            queue(self.word(&QUEUES)),
            kind(self.word(&KINDS)),
            payload,
        );
        job.priority = self.priority();
        job.start = self.start(wall);
        job.deadline = self.one_in(4).then(|| wall.plus(self.tens(90_000) + 5));
        job.retry = RetryRule {
            max_attempts: 1 + u16::from(self.small(4)),
            timeout_ms: 60_000,
            backoff: if self.one_in(2) {
                Backoff::default()
            } else {
                Backoff::fixed(1_000)
            },
        };
        match self.below(8) {
            0 => job.idempotency_key = Some(Arc::from(format!("k{}", self.below(6)))),
            1 | 2 => job.unique = Some(self.unique()),
            _ => {}
        }
        if self.one_in(4) {
            job.tags = Vec::from_iter(Tag::new("red"));
        }
        job.keep_result = !self.one_in(3);
        job
    }

    fn settings(&mut self) -> QueueSettings {
        QueueSettings {
            paused: self.one_in(3).then(|| self.one_in(3)),
            concurrency: self.one_in(3).then(|| u32::from(self.small(4))),
            strict: self.one_in(3).then(|| self.one_in(2)),
            priority_step_ms: self.one_in(3).then(|| 1_000 + self.tens(60_000)),
        }
    }
}

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
        match self.draw.below(40) {
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
            _ => Command::Configure {
                queue: queue(self.draw.word(&QUEUES)),
                settings: self.draw.settings(),
            },
        }
    }

    /// A job that is there, most often; any.
    fn draw_id(&mut self) -> JobId {
        let mut views = self.model.views();
        let waits = |view: &JobView| view.state == JobState::Retryable;
        if self.draw.one_in(4) && views.iter().any(waits) {
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
        let mut leases = &self.leases[..];
        if !self.draw.one_in(3) {
            leases = &leases[leases.len().saturating_sub(4)..]; // most likely held
        }
        match self.draw.pick(leases) {
            Some(Leased { id, token, .. }) => (id, token),
            None => (self.draw_id(), Token(1)),
        }
    }

    fn draw_settle(&mut self) -> Command {
        if self.draw.one_in(6)
            && let Some((leased, outcome)) = self.draw.pick(&self.settled)
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
                delay_ms: Some(600_000),
            };
        }
        if self.is_unreadable(id) && !self.draw.one_in(3) {
            outcome = Outcome::Release {
                delay_ms: 10_000,
                undecodable: true,
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
            2 if state == Some(JobState::Retryable) => Some(wall.plus(draw.tens(60_000))),
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
        for command in &commit.commands {
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
                self.settled.push((leased.clone(), outcome.clone()));
            }
        }
        let forgotten = self.settled.len().saturating_sub(super::REMEMBERED);
        self.settled.drain(..forgotten);
    }
}
