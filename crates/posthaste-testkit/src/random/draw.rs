//! What happens next, drawn from the seed.
//!
//! Every instant that something waits for ends in 5 ms and the clocks step by tens, so that
//! nothing ends at the very instant at which it is looked at.

use std::sync::Arc;

use posthaste_core::backoff::Backoff;
use posthaste_core::command::QueueSettings;
use posthaste_core::ids::{JobId, Tag};
use posthaste_core::job::{
    JobState, NewJob, OnConflict, Outcome, Payload, Priority, RetryRule, Start, StateSet, Unique,
    UniqueBy,
};
use posthaste_core::limits;
use posthaste_core::time::WallMs;

use crate::conformance::words::{kind, queue};

pub(super) const QUEUES: [&str; 3] = ["mail", "print", "sync"];
pub(super) const KINDS: [&str; 3] = ["alpha", "beta", "gamma"];
const HOUR: u64 = 3_600_000;

/// A small generator (splitmix64): the same seed, the same numbers, on every machine.
#[derive(Debug)]
pub(super) struct Draw(u64);

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0xa076_1d64_78bd_642f) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub(super) fn next(&mut self) -> u64 {
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

    pub(super) fn small(&mut self, bound: u8) -> u8 {
        u8::try_from(self.below(u64::from(bound))).unwrap_or(0)
    }

    pub(super) fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        let bound = from.len().max(1) as u64;
        let place = usize::try_from(self.below(bound)).unwrap_or(0);
        from.get(place).cloned()
    }

    pub(super) fn word(&mut self, from: &[&'static str; 3]) -> &'static str {
        from[usize::from(self.small(3))]
    }

    pub(super) fn priority(&mut self) -> Priority {
        Priority::new(1 + self.small(9)).unwrap_or_default()
    }

    /// Tens of milliseconds up to `most`, at least ten.
    pub(super) fn tens(&mut self, most: u64) -> u64 {
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

    pub(super) fn outcome(&mut self) -> Outcome {
        let text: Arc<str> = Arc::from(["timeout", "refused"][usize::from(self.small(2))]);
        let delay_ms = self.tens(60_000);
        match self.below(12) {
            0..2 => Outcome::Completed {
                result: self.one_in(2).then(|| Payload::json("{\"ok\":true}")),
            },
            2..6 => Outcome::Retry {
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
                error: self.one_in(4).then_some(text),
            },
            10 => Outcome::Release {
                delay_ms: 30 * 60_000,
                undecodable: true,
                error: Some(text),
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

    pub(super) fn job(&mut self, id: JobId, wall: WallMs) -> NewJob {
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
        let soon = if self.one_in(2) { 90_000 } else { 900_000 };
        job.deadline = self.one_in(3).then(|| wall.plus(self.tens(soon) + 5));
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

    pub(super) fn settings(&mut self) -> QueueSettings {
        QueueSettings {
            paused: self.one_in(3).then(|| self.one_in(3)),
            concurrency: self.one_in(3).then(|| u32::from(self.small(4))),
            strict: self.one_in(3).then(|| self.one_in(2)),
            priority_step_ms: self.one_in(3).then(|| 1_000 + self.tens(60_000)),
        }
    }
}
