//! How events ended, on its way to the store: everything that ended while the last commit was under
//! way goes in the next one, many events in one commit.
//!
//! An event whose handler wants other things committed with it goes in a commit of its own. What is
//! refused for now (the disk is full, say) is kept and tried again after a pause, with what ended
//! later of the same key behind it; it holds up no other key.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use posthaste_core::group::EventOutcome;
use posthaste_core::{Committed, Error, ErrorKind, Result};
use tokio::sync::Notify;

use super::ended::{Ended, commit, key_goes_on, parts, report};
use super::engine::Engine;
use super::held::{Held, Membership};
use super::summary::Counts;
use crate::outcome::text;
use crate::worker::again::Again;
use crate::worker::batch::lock;

/// Most outcomes that wait; slots wait for room beyond.
const WAITING_MAX: usize = 8_192;
/// Most outcomes of one call.
const TOGETHER_MAX: usize = 4_096;
/// Pause before a failed call is repeated: doubled each time, to the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));

/// Takes outcomes and brings them to the store.
pub(super) struct Settler {
    waiting: Mutex<VecDeque<Ended>>,
    some: Notify,
    room: Notify,
    /// Outcomes that were refused for now, and wait to be tried again.
    kept: AtomicUsize,
    /// Events that are held and not settled yet.
    outstanding: AtomicU64,
    none_outstanding: Notify,
    pub(super) counts: Counts,
}

impl Settler {
    pub(super) fn new() -> Self {
        Self {
            waiting: Mutex::new(VecDeque::new()),
            some: Notify::new(),
            room: Notify::new(),
            kept: AtomicUsize::new(0),
            outstanding: AtomicU64::new(0),
            none_outstanding: Notify::new(),
            counts: Counts::default(),
        }
    }

    /// So many events are held.
    pub(super) fn leased(&self, events: usize) {
        self.outstanding.fetch_add(events as u64, Ordering::AcqRel);
    }

    /// So many are held no longer.
    pub(super) fn over(&self, events: usize) {
        let events = events as u64;
        if events > 0 && self.outstanding.fetch_sub(events, Ordering::AcqRel) == events {
            self.none_outstanding.notify_waiters();
        }
    }

    /// So many are no longer ours, and nobody knows how they would have ended.
    pub(super) fn lost(&self, events: usize) {
        self.counts.lost(events);
        self.over(events);
    }

    /// Whether nothing is held.
    pub(super) fn is_through(&self) -> bool {
        self.outstanding.load(Ordering::Acquire) == 0
    }

    /// Waits until everything that was held is settled or lost.
    pub(super) async fn through(&self) {
        loop {
            let told = self.none_outstanding.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            if self.is_through() {
                return;
            }
            told.await;
        }
    }

    /// Hands outcomes on, in order. Tells whether there is room for more.
    pub(super) fn settle(&self, ended: impl IntoIterator<Item = Ended>) -> bool {
        let mut waiting = lock(&self.waiting);
        let before = waiting.len();
        waiting.extend(ended);
        let count = waiting.len();
        drop(waiting);
        if before == 0 && count > 0 {
            self.some.notify_one();
        }
        count + self.kept.load(Ordering::Acquire) <= WAITING_MAX
    }

    pub(super) async fn wait_for_room(&self) {
        loop {
            let told = self.room.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            if lock(&self.waiting).len() + self.kept.load(Ordering::Acquire) <= WAITING_MAX {
                return;
            }
            told.await;
        }
    }

    /// Brings outcomes to the store, for as long as it is polled.
    pub(super) async fn run(&self, engine: &Engine) {
        let mut again = Again::new(PAUSES);
        // Keys of which something is kept: what ends of them later goes behind it.
        let mut kept_keys = HashSet::new();
        loop {
            let batch = self.take();
            let due = again.take_due();
            if batch.is_empty() && due.is_none() {
                tokio::select! {
                    () = self.some.notified() => {}
                    () = again.due() => {}
                }
                continue;
            }
            if let Some(kept) = due {
                again.put_off(self.deliver(engine, kept).await);
            }
            let (behind, free): (Vec<_>, Vec<_>) = if again.len() == 0 {
                (Vec::new(), batch)
            } else {
                let is_behind = |ended: &Ended| kept_keys.contains(&ended.held.hash());
                batch.into_iter().partition(is_behind)
            };
            again.keep(behind);
            again.keep(self.deliver(engine, free).await);
            kept_keys = again.iter().map(|ended| ended.held.hash()).collect();
            self.kept.store(again.len(), Ordering::Release);
            self.room.notify_waiters();
        }
    }

    fn take(&self) -> Vec<Ended> {
        let mut waiting = lock(&self.waiting);
        let count = waiting.len().min(TOGETHER_MAX);
        waiting.drain(..count).collect()
    }

    /// Settles each, and gives back those that the store refused for now.
    async fn deliver(&self, engine: &Engine, mut batch: Vec<Ended>) -> Vec<Ended> {
        let (mut pause, longest) = PAUSES;
        let (mut left, mut why) = (Vec::new(), None);
        let (mut together, mut quit) = (true, None);
        while !batch.is_empty() {
            let parts = parts(std::mem::take(&mut batch), together);
            let commits = parts.iter().map(|part| commit(engine, part)).collect();
            match engine.shared.hub.store().commit(commits).await {
                Ok(answers) => {
                    together = true;
                    for (part, answer) in parts.into_iter().zip(answers) {
                        match answer {
                            Ok(_) => part.into_iter().for_each(|of| self.accepted(engine, of)),
                            // One of them can't be: which, each tells by itself.
                            Err(_) if part.len() > 1 => {
                                batch.extend(part);
                                together = false;
                            }
                            Err(error) => {
                                for ended in part {
                                    match self.refused(engine, ended, &error) {
                                        Next::Over => {}
                                        Next::Now(ended) => batch.push(ended),
                                        Next::Later(ended) => {
                                            left.push(ended);
                                            why = Some(error.clone());
                                        }
                                        Next::Quit(membership) => quit = Some(membership),
                                    }
                                }
                            }
                        }
                    }
                }
                Err(error) if error.is_retryable() && error.kind() != ErrorKind::Closed => {
                    batch = parts.into_iter().flatten().collect();
                    tracing::warn!(%error, events = batch.len(), "settling again in a moment");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(longest);
                }
                Err(error) => {
                    let events = parts.iter().map(Vec::len).sum::<usize>();
                    tracing::error!(%error, events, "outcomes are lost");
                    for ended in parts.into_iter().flatten() {
                        self.gone(engine, &ended);
                    }
                }
            }
        }
        if let Some(error) = why {
            tracing::warn!(%error, events = left.len(), "refused for now; settling again in a moment");
        }
        if let Some(membership) = quit {
            engine.quit(&membership).await;
        }
        left
    }

    fn accepted(&self, engine: &Engine, ended: Ended) {
        report(&ended);
        let more = if ended.outcome == EventOutcome::Release {
            ended.behind
        } else {
            0
        };
        let leased = ended.held.leased();
        let last = leased.attempt >= leased.max_attempts;
        self.counts.count(&ended.outcome, last, 1 + more);
        self.done_with(engine, &ended);
    }

    /// Its outcome did not count.
    fn gone(&self, engine: &Engine, ended: &Ended) {
        self.counts.lost(1);
        self.done_with(engine, ended);
    }

    fn done_with(&self, engine: &Engine, ended: &Ended) {
        if ended.line_waits {
            engine.lines.settled(ended.held.hash(), engine.now_ms());
        } else if !key_goes_on(&ended.outcome) {
            engine.lines.answered(&ended.held);
        }
        self.over(1 + ended.behind);
    }

    fn refused(&self, engine: &Engine, mut ended: Ended, error: &Error) -> Next {
        let event = &ended.held.leased().event;
        let of_the_settle = error.command().is_none_or(|index| index == 0);
        let lost = of_the_settle
            && matches!(
                error.kind(),
                ErrorKind::Closed
                    | ErrorKind::Stale
                    | ErrorKind::UnknownLease
                    | ErrorKind::NotFound
                    | ErrorKind::SettledOtherwise
            );
        if lost {
            tracing::warn!(position = %event.position, %error, "the outcome was not accepted");
            engine.doubt();
            self.gone(engine, &ended);
            return Next::Over;
        }
        if error.is_retryable() {
            return refused_for_now(engine, ended, error);
        }
        if ended.routed
            && error.kind() == ErrorKind::KeyReused
            && let Some(index) = error.command().and_then(|index| index.checked_sub(1))
            && index < ended.with.len()
        {
            // Routed before, from the same event, to a job that said something else.
            ended.with.remove(index);
            return Next::Now(ended);
        }
        if ended.with.is_empty() {
            // Nothing is known of its line any more: all that is held is to come again, in order.
            tracing::error!(position = %event.position, %error, "the outcome was refused");
            self.gone(engine, &ended);
            return Next::Quit(Arc::clone(&ended.held.batch.membership));
        }
        let what = "what was to be committed with it was refused";
        ended.outcome = EventOutcome::Retry {
            error: text(&format_args!("{what}: {error}")),
            delay_ms: None,
        };
        comes_again(engine, ended)
    }
}

/// Where an outcome goes on that was not accepted.
enum Next {
    /// Nowhere: it is settled, or lost.
    Over,
    /// It was changed, and goes in the next commit.
    Now(Ended),
    /// It is tried again after a pause.
    Later(Ended),
    /// Nowhere, and the membership with it.
    Quit(Arc<Membership>),
}

/// A consumer that leaves does not wait for the store to have room: what could not be committed with
/// other things is given back, to be handled again.
fn refused_for_now(engine: &Engine, mut ended: Ended, error: &Error) -> Next {
    if ended.with.is_empty() || !ended.held.is_leaving() {
        return Next::Later(ended);
    }
    let event = &ended.held.leased().event;
    tracing::warn!(position = %event.position, %error, "given back, to be handled again");
    ended.outcome = EventOutcome::Release;
    comes_again(engine, ended)
}

/// What was to end a line's event has it come again instead.
fn comes_again(engine: &Engine, mut ended: Ended) -> Next {
    ended.with.clear();
    if std::mem::take(&mut ended.line_waits) {
        ended.behind += engine.lines.failed(&ended.held);
    }
    Next::Now(ended)
}

/// Gives strays back, and waits until the store has answered: then none of them is held.
pub(super) async fn give_back(engine: &Engine, strays: Vec<Held>) {
    let (mut pause, longest) = PAUSES;
    let mut left: Vec<Ended> = strays
        .into_iter()
        .map(|held| Ended::new(held, EventOutcome::Release))
        .collect();
    while !left.is_empty() {
        let commits = left
            .iter()
            .map(|ended| commit(engine, std::slice::from_ref(ended)))
            .collect();
        let answers: Result<Vec<Result<Committed>>> =
            engine.shared.hub.store().commit(commits).await;
        match answers {
            Ok(answers) => {
                let mut answers = answers.into_iter();
                // Most of them are refused: the store had taken them back.
                left.retain(|_| matches!(answers.next(), Some(Err(error)) if error.is_retryable()));
            }
            Err(error) if error.is_retryable() && error.kind() != ErrorKind::Closed => {}
            Err(_) => return,
        }
        if !left.is_empty() {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }
}
