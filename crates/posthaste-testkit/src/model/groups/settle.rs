//! How the handling of events ends.

use std::sync::Arc;

use posthaste_core::command::Reply;
use posthaste_core::error::{ErrorKind, Result};
use posthaste_core::group::{EventOutcome, KeptReason, OnExhausted};
use posthaste_core::ids::{GroupName, Token, TopicName};
use posthaste_core::limits;

use super::{Group, Model, Open, State, refusal};
use crate::model::settle::cut;

impl Model {
    pub(in crate::model) fn settle_events(
        &mut self,
        topic: &TopicName,
        name: &GroupName,
        token: Token,
        ends: &[(u64, EventOutcome)],
    ) -> Result<Reply> {
        let wall = self.now.wall;
        let group = self.group(topic, name)?;
        group.member(token)?;
        let mut repeated = 0;
        for (at, outcome) in ends {
            if *outcome == EventOutcome::Done && group.is_finished(*at) {
                repeated += 1;
                continue;
            }
            let Some(open) = group.find(*at).filter(|it| it.holder() == Some(token)) else {
                return Err(refusal(ErrorKind::Stale, "it is not in its hands"));
            };
            let (key, attempts) = (open.key(), open.attempts + 1);
            if *outcome == EventOutcome::Release {
                open.crashes = 0;
                open.state = State::Waits;
                group.take_run(key, *at);
                continue;
            }
            let earlier = |it: &Open| it.key() == key && it.at() < *at && it.holder().is_some();
            if group.open.iter().any(earlier) {
                return Err(refusal(ErrorKind::Conflict, "an earlier one comes first"));
            }
            match outcome {
                EventOutcome::Retry { delay_ms, .. } if attempts < group.config.max_attempts => {
                    let delay = delay_ms.unwrap_or_else(|| group.backoff_ms(attempts));
                    let until = wall.plus(delay);
                    let due = delay == 0;
                    if let Some(open) = group.find(*at) {
                        (open.attempts, open.crashes) = (attempts, 0);
                        open.state = State::Fails { until, due };
                    }
                    group.take_run(key, *at);
                    group.totals.retried += 1;
                }
                EventOutcome::Retry { error, .. } => {
                    let dead = group.config.on_exhausted == OnExhausted::Dead;
                    let why = KeptReason::Exhausted;
                    group.give_up(*at, dead, why, attempts, Some(error));
                }
                EventOutcome::Park { error } => {
                    group.give_up(*at, false, KeptReason::Failed, attempts, Some(error));
                }
                EventOutcome::Dead { error } => {
                    group.give_up(*at, true, KeptReason::Failed, attempts, Some(error));
                }
                EventOutcome::Skip { .. } => {
                    group.finish(*at);
                    group.totals.skipped += 1;
                }
                _ => {
                    group.finish(*at);
                    group.totals.done += 1;
                }
            }
        }
        let repeated = repeated > 0 && repeated == ends.len();
        Ok(Reply::EventsSettled { repeated })
    }
}

impl Group {
    /// Whether it is through with an event, and has not given it up.
    fn is_finished(&self, at: u64) -> bool {
        let open = self.open.iter().any(|it| it.at() == at);
        let kept = self.parked.iter().chain(&self.dead).any(|it| it.at() == at);
        at < self.head && !open && !kept
    }

    /// What its member has of the key behind that one waits for its turn.
    fn take_run(&mut self, key: u32, at: u64) {
        for behind in self.run_behind(key, at) {
            if let Some(open) = self.find(behind) {
                open.state = State::Waits;
            }
        }
    }

    /// Without jitter: what a group of the model's lives has none.
    fn backoff_ms(&self, attempts: u16) -> u64 {
        let backoff = self.config.backoff;
        let mut delay = u64::from(backoff.base_ms);
        for _ in 0..attempts {
            delay = (delay * u64::from(backoff.factor)).min(u64::from(backoff.max_ms));
        }
        delay
    }

    /// An event is given up on; where it is parked, so is what its member has behind it.
    pub(super) fn give_up(
        &mut self,
        at: u64,
        dead: bool,
        why: KeptReason,
        attempts: u16,
        error: Option<&Arc<str>>,
    ) {
        let error = error.map(cut);
        let Some(open) = self.find(at) else { return };
        open.state = State::GivenUp { dead, why, error };
        open.attempts = attempts;
        let key = open.key();
        for behind in self.run_behind(key, at) {
            if let Some(open) = self.find(behind).filter(|_| !dead) {
                open.park_behind();
            }
        }
    }
}

impl Open {
    pub(super) fn park_behind(&mut self) {
        self.state = State::GivenUp {
            dead: false,
            why: KeptReason::Behind,
            error: None,
        };
    }
}

pub(in crate::model) fn check_ends(ends: &[(u64, EventOutcome)]) -> Result<()> {
    let delays = ends.iter().map(|(_, outcome)| match outcome {
        EventOutcome::Retry { delay_ms, .. } => delay_ms.unwrap_or(0),
        _ => 0,
    });
    if ends.is_empty() {
        Err(refusal(ErrorKind::Invalid, "there is no event to settle"))
    } else if ends.len() > limits::SETTLED_EVENTS_MAX {
        Err(refusal(ErrorKind::TooLarge, "too many events are settled"))
    } else if delays.into_iter().any(|ms| ms > limits::DELAY_MS_MAX) {
        Err(refusal(ErrorKind::Invalid, "the delay is too long"))
    } else {
        Ok(())
    }
}
