//! Events whose handling has ended, and the commits that they make.

use posthaste_core::group::EventOutcome;
use posthaste_core::{Command, Commit, limits};

use super::engine::Engine;
use super::held::Held;

/// An event whose handling has ended.
pub(super) struct Ended {
    pub(super) held: Held,
    pub(super) outcome: EventOutcome,
    pub(super) with: Vec<Command>,
    /// Its line waits for the store's answer.
    pub(super) line_waits: bool,
    /// Events behind it that the store takes back with it.
    pub(super) behind: usize,
    /// It was routed: where what goes with it is there already under its key, it is done.
    pub(super) routed: bool,
}

impl Ended {
    pub(super) fn new(held: Held, outcome: EventOutcome) -> Self {
        Self {
            held,
            outcome,
            with: Vec::new(),
            line_waits: false,
            behind: 0,
            routed: false,
        }
    }

    /// These, in order and of one key, are given back: with the first, the store takes all of them.
    pub(super) fn release(events: &[Held]) -> Option<Self> {
        let (first, rest) = events.split_first()?;
        let mut ended = Self::new(first.clone(), EventOutcome::Release);
        ended.behind = rest.len();
        Some(ended)
    }

    fn goes_alone(&self) -> bool {
        !self.with.is_empty()
    }
}

/// Whether the next event of the key may start.
pub(super) fn key_goes_on(outcome: &EventOutcome) -> bool {
    matches!(
        outcome,
        EventOutcome::Done | EventOutcome::Dead { .. } | EventOutcome::Skip { .. }
    )
}

/// What is committed together, in order: events without anything else in the order of their
/// positions, many at a time, then each of the others by itself.
pub(super) fn parts(batch: Vec<Ended>, together: bool) -> Vec<Vec<Ended>> {
    if !together {
        return batch.into_iter().map(|ended| vec![ended]).collect();
    }
    let (alone, mut plain): (Vec<_>, Vec<_>) = batch.into_iter().partition(Ended::goes_alone);
    // Of one key they ended in this order; and what lies side by side is one fact in the store.
    plain.sort_by_key(|ended| (ended.held.token(), ended.held.at()));
    let mut parts: Vec<Vec<Ended>> = Vec::new();
    let mut bytes = 0;
    for ended in plain {
        let size = 16 + said(&ended.outcome).map_or(0, str::len);
        let fits = parts
            .last()
            .and_then(|part| part.first())
            .is_some_and(|of| of.held.token() == ended.held.token());
        match parts.last_mut() {
            Some(part)
                if fits
                    && part.len() < limits::SETTLED_EVENTS_MAX
                    && bytes + size <= limits::COMMIT_BYTES_MAX / 2 =>
            {
                bytes += size;
                part.push(ended);
            }
            _ => {
                bytes = size;
                parts.push(vec![ended]);
            }
        }
    }
    parts.extend(alone.into_iter().map(|ended| vec![ended]));
    parts
}

pub(super) fn commit(engine: &Engine, part: &[Ended]) -> Commit {
    let shared = &engine.shared;
    let token = part.first().map(|ended| ended.held.token());
    let ends = part.iter();
    let settle = Command::SettleEvents {
        topic: shared.topic.clone(),
        group: shared.group.clone(),
        token: token.unwrap_or_default(),
        ends: ends
            .map(|ended| (ended.held.at(), ended.outcome.clone()))
            .collect(),
    };
    let mut commands = vec![settle];
    commands.extend(part.iter().flat_map(|ended| ended.with.iter().cloned()));
    Commit::of(commands)
}

/// The words that an outcome carries.
fn said(outcome: &EventOutcome) -> Option<&str> {
    match outcome {
        EventOutcome::Retry { error, .. }
        | EventOutcome::Park { error }
        | EventOutcome::Dead { error } => Some(error),
        EventOutcome::Skip { reason } => Some(reason),
        EventOutcome::Done | EventOutcome::Release => None,
    }
}

pub(super) fn report(ended: &Ended) {
    let leased = ended.held.leased();
    let (event, attempt) = (&leased.event, leased.attempt);
    let (position, event_type) = (event.position, event.event_type.as_str());
    match &ended.outcome {
        EventOutcome::Retry { error, .. } if attempt < leased.max_attempts => {
            tracing::warn!(%position, event_type, attempt, error = &**error, "the attempt failed");
        }
        EventOutcome::Retry { error, .. } => {
            let error = &**error;
            tracing::error!(%position, event_type, attempt, error, "the last attempt failed");
        }
        EventOutcome::Park { error } => {
            let error = &**error;
            tracing::error!(%position, event_type, attempt, error, "the event is parked");
        }
        EventOutcome::Dead { error } => {
            let error = &**error;
            tracing::error!(%position, event_type, attempt, error, "the event is a dead letter");
        }
        EventOutcome::Done | EventOutcome::Skip { .. } | EventOutcome::Release => {}
    }
}
