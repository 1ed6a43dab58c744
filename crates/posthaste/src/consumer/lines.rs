//! The lines of a consumer: the events that it holds, those of one key in one line, and the slots
//! that run them.
//!
//! A slot takes a line with all that waits in it and runs one event after the other. As with a
//! worker, only as many slots are woken as there are threads, and a slot whose handler has to wait
//! for something wakes the next.
//!
//! A line whose event comes again is *blocked*: what the store had handed out behind that event is
//! no longer the consumer's. An event of the line that arrives meanwhile may have been handed out
//! before the store heard of it, or after; it is a *stray*, and is given back. The line is free
//! again when the event itself comes, or with the first ask that was made after the store had
//! answered.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use posthaste_core::{Token, limits};
use tokio::sync::Notify;

use super::held::Held;
use crate::worker::batch::lock;

/// How far ahead of the slots events are leased: as many as were finished in this time. An ask takes as
/// long as a sync: with less than that ahead, slots would wait for it.
const AHEAD: Duration = Duration::from_millis(20);

/// Every line, and the slots without one.
pub(super) struct Lines {
    pub(super) slots: usize,
    /// Slots to wake at once: as many as can run at the same time.
    threads: usize,
    all: Mutex<All>,
    /// There may be room for more events.
    pub(super) room: Notify,
}

struct All {
    lines: HashMap<u32, Line>,
    /// Lines that wait for a slot, and since when, in milliseconds.
    ready: VecDeque<(u32, u64)>,
    /// Hashes of blocked lines.
    blocked: Vec<u32>,
    /// What is to be given back before the next ask.
    strays: Vec<Held>,
    idle: Vec<(usize, Waker)>,
    /// Slots that run something.
    running: usize,
    /// Events that wait in lines.
    queued: usize,
    /// Asks that were made.
    asks: u64,
    closed: bool,
    finished: u64,
    ahead: usize,
    measured: (Instant, u64),
}

#[derive(Default)]
struct Line {
    queue: VecDeque<Held>,
    state: State,
    block: Option<Block>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Nobody does anything with it.
    #[default]
    Idle,
    /// It waits for a slot.
    Ready,
    /// A slot runs its events.
    Running,
    /// Its last event is settled together with other things, and the next waits for that.
    Settling,
}

struct Block {
    token: Token,
    /// The event that comes again.
    at: u64,
    /// Asks made when the store had answered; what they brought may have been handed out before.
    answered: Option<u64>,
    /// What arrived while the store had not answered.
    strays: Vec<Held>,
}

/// The events of a line, in the hands of a slot.
pub(super) struct Run {
    pub(super) hash: u32,
    pub(super) events: VecDeque<Held>,
}

/// How a slot leaves a line.
pub(super) enum Left {
    /// What is left of it is run in turn.
    InTurn,
    /// What is left waits until the store has answered.
    Settling,
    /// The event comes again, and what is left behind it.
    Blocked(Held),
}

/// What becomes of the events that a slot left in a line.
pub(super) enum Rest {
    /// They wait in the line.
    Waits,
    /// So many are no longer held: they come again by themselves.
    Gone(usize),
    /// They are not started any more.
    Unstarted(Vec<Held>),
}

impl Lines {
    pub(super) fn new(slots: usize, threads: usize) -> Self {
        Self {
            slots,
            threads,
            all: Mutex::new(All {
                lines: HashMap::new(),
                ready: VecDeque::new(),
                blocked: Vec::new(),
                strays: Vec::new(),
                idle: Vec::new(),
                running: 0,
                queued: 0,
                asks: 0,
                closed: false,
                finished: 0,
                ahead: 0,
                measured: (Instant::now(), 0),
            }),
            room: Notify::new(),
        }
    }

    /// How many events to ask for now; 0 is none.
    pub(super) fn wanted(&self) -> u32 {
        let mut all = lock(&self.all);
        all.measure();
        let free = self.slots.saturating_sub(all.running);
        let target = free + all.ahead;
        // Whatever waits behind busy keys, a slot without one wants another key.
        let starving = all.ready.len() < free && all.queued < limits::LEASE_EVENTS_MAX as usize;
        if !starving && all.queued * 2 > target {
            return 0;
        }
        let few = free.saturating_sub(all.ready.len()).max(1);
        let wanted = target.saturating_sub(all.queued).max(few);
        u32::try_from(wanted)
            .unwrap_or(u32::MAX)
            .min(limits::LEASE_EVENTS_MAX)
    }

    /// An ask is made: its number, to be given with what it brings.
    pub(super) fn asking(&self) -> u64 {
        let mut all = lock(&self.all);
        all.asks += 1;
        all.asks
    }

    /// Puts the events into their lines that ask number `ask` brought. Tells how many are strays.
    pub(super) fn put(&self, events: impl Iterator<Item = Held>, ask: u64, now_ms: u64) -> usize {
        let mut all = lock(&self.all);
        let mut strays = 0;
        for held in events {
            strays += usize::from(!all.take_in(held, ask, now_ms));
        }
        all.unblock_those_before(ask);
        let wake = all.ready.len().min(self.threads);
        let from = all.idle.len().saturating_sub(wake);
        let woken: Vec<_> = all.idle.drain(from..).collect();
        drop(all);
        woken.into_iter().for_each(|(_, waker)| waker.wake());
        strays
    }

    /// What is to be given back before the next ask is made.
    pub(super) fn take_strays(&self) -> Vec<Held> {
        std::mem::take(&mut lock(&self.all).strays)
    }

    /// A slot that has to wait for its handler lets another take the next line.
    pub(super) fn pass_on(&self) {
        let mut all = lock(&self.all);
        let next = if all.ready.is_empty() {
            None
        } else {
            all.idle.pop()
        };
        drop(all);
        if let Some((_, waker)) = next {
            waker.wake();
        }
    }

    /// The next line for `slot`, with all that waits in it. `None` when the lines are closed.
    pub(super) async fn next(&self, slot: usize) -> Option<Run> {
        poll_fn(|context| self.poll_next(slot, context)).await
    }

    fn poll_next(&self, slot: usize, context: &Context<'_>) -> Poll<Option<Run>> {
        let mut all = lock(&self.all);
        let answer = match all.take_ready() {
            Some(run) => {
                all.running += 1;
                Poll::Ready(Some(run))
            }
            None if all.closed => Poll::Ready(None),
            None => {
                all.idle.retain(|(idle, _)| *idle != slot);
                all.idle.push((slot, context.waker().clone()));
                Poll::Pending
            }
        };
        drop(all);
        self.room.notify_one();
        answer
    }

    /// A slot leaves a line after it ran so many of its events.
    pub(super) fn leave(&self, run: Run, left: Left, ran: u64, now_ms: u64) -> Rest {
        let Run { hash, mut events } = run;
        let mut all = lock(&self.all);
        all.running -= 1;
        all.finished += ran;
        let closed = all.closed;
        let line = all.lines.entry(hash).or_default();
        match left {
            Left::Blocked(held) => {
                let queue = std::mem::take(&mut line.queue);
                line.state = State::Idle;
                line.block = Some(Block::new(&held));
                all.queued -= queue.len();
                all.blocked.push(hash);
                events.extend(queue);
                Rest::Gone(events.len())
            }
            Left::InTurn | Left::Settling if closed => {
                line.state = State::Idle;
                Rest::Unstarted(events.into())
            }
            Left::InTurn | Left::Settling => {
                let back = events.len();
                events.append(&mut line.queue);
                line.queue = events;
                line.state = match left {
                    Left::Settling => State::Settling,
                    _ => State::Idle,
                };
                all.queued += back;
                all.go_on(hash, now_ms);
                Rest::Waits
            }
        }
    }

    /// The store has answered to the last event of a line, which is settled: the next may start.
    pub(super) fn settled(&self, hash: u32, now_ms: u64) {
        let mut all = lock(&self.all);
        if let Some(line) = all.lines.get_mut(&hash)
            && line.state == State::Settling
        {
            line.state = State::Idle;
            all.go_on(hash, now_ms);
        }
        drop(all);
        self.pass_on();
    }

    /// What was to be settled comes again after all. Tells how many events were behind it, which
    /// are no longer held.
    pub(super) fn failed(&self, held: &Held) -> usize {
        let mut all = lock(&self.all);
        let line = all.lines.get_mut(&held.hash());
        let Some(line) = line.filter(|line| line.state == State::Settling) else {
            return 0;
        };
        line.state = State::Idle;
        line.block = Some(Block::new(held));
        let gone = std::mem::take(&mut line.queue).len();
        all.queued -= gone;
        all.blocked.push(held.hash());
        gone
    }

    /// The store knows that this event comes again.
    pub(super) fn answered(&self, held: &Held) {
        let mut all = lock(&self.all);
        let asks = all.asks;
        let line = all.lines.get_mut(&held.hash());
        let block = line.and_then(|line| line.block.as_mut());
        if let Some(block) = block.filter(|of| of.at == held.at() && of.token == held.token()) {
            block.answered = Some(asks);
            let strays = std::mem::take(&mut block.strays);
            all.strays.extend(strays);
        }
    }

    /// Forgets what waits: the membership is lost. Tells how many events that were.
    pub(super) fn forget(&self) -> usize {
        let mut all = lock(&self.all);
        all.strays.clear();
        all.ready.clear();
        all.blocked.clear();
        let mut gone = 0;
        all.lines.retain(|_, line| {
            gone += std::mem::take(&mut line.queue).len();
            line.block = None;
            if line.state == State::Ready {
                line.state = State::Idle;
            }
            line.state != State::Idle
        });
        all.queued = 0;
        drop(all);
        self.room.notify_one();
        gone
    }

    /// Ends the slots once they are through, and gives what still waits, line by line.
    pub(super) fn close(&self) -> Vec<Vec<Held>> {
        let mut all = lock(&self.all);
        all.closed = true;
        all.ready.clear();
        all.queued = 0;
        let idle = std::mem::take(&mut all.idle);
        let mut waiting = Vec::new();
        for line in all.lines.values_mut() {
            let queue = std::mem::take(&mut line.queue);
            if !queue.is_empty() {
                waiting.push(queue.into());
            }
        }
        drop(all);
        idle.into_iter().for_each(|(_, waker)| waker.wake());
        waiting
    }

    /// Whether no line is started any more.
    pub(super) fn is_closed(&self) -> bool {
        lock(&self.all).closed
    }

    /// Lines that have waited for a slot since before `since_ms`, and are better off elsewhere. They
    /// are blocked.
    pub(super) fn overdue(&self, since_ms: u64) -> Vec<Vec<Held>> {
        let mut all = lock(&self.all);
        let mut overdue = Vec::new();
        while all
            .ready
            .front()
            .is_some_and(|(_, since)| *since < since_ms)
        {
            let Some(run) = all.take_ready() else {
                break;
            };
            let events: Vec<Held> = run.events.into();
            if let (Some(line), Some(first)) = (all.lines.get_mut(&run.hash), events.first()) {
                line.state = State::Idle;
                line.block = Some(Block::new(first));
                all.blocked.push(run.hash);
            }
            overdue.push(events);
        }
        overdue
    }
}

impl Block {
    fn new(held: &Held) -> Self {
        Self {
            token: held.token(),
            at: held.at(),
            answered: None,
            strays: Vec::new(),
        }
    }
}

impl All {
    /// Puts an event into its line; false where it is a stray.
    fn take_in(&mut self, held: Held, ask: u64, now_ms: u64) -> bool {
        let (hash, at) = (held.hash(), held.at());
        if !self.strays.is_empty() {
            // What is handed out was not in hands: nor was anything of its key behind it.
            self.strays
                .retain(|stray| stray.hash() != hash || stray.at() < at);
        }
        let line = self.lines.entry(hash).or_default();
        if let Some(block) = line.block.as_mut().filter(|block| at > block.at) {
            match block.answered {
                None => {
                    block.strays.push(held);
                    return false;
                }
                Some(answered) if ask <= answered => {
                    self.strays.push(held);
                    return false;
                }
                Some(_) => {}
            }
        }
        line.block = None;
        line.queue.push_back(held);
        self.queued += 1;
        self.go_on(hash, now_ms);
        true
    }

    /// Has a line wait for a slot where it can be run; forgets it where it is of no use.
    fn go_on(&mut self, hash: u32, now_ms: u64) {
        let Some(line) = self.lines.get_mut(&hash) else {
            return;
        };
        if line.state != State::Idle {
            return;
        }
        if !line.queue.is_empty() {
            line.state = State::Ready;
            self.ready.push_back((hash, now_ms));
        } else if line.block.is_none() {
            self.lines.remove(&hash);
        }
    }

    fn take_ready(&mut self) -> Option<Run> {
        let (hash, _) = self.ready.pop_front()?;
        let line = self.lines.get_mut(&hash)?;
        line.state = State::Running;
        let events = std::mem::take(&mut line.queue);
        self.queued -= events.len();
        Some(Run { hash, events })
    }

    /// Whatever ask number `ask` and later ones bring was handed out after these blocks were known.
    fn unblock_those_before(&mut self, ask: u64) {
        let Self { lines, blocked, .. } = self;
        blocked.retain(|hash| {
            let Some(line) = lines.get_mut(hash) else {
                return false;
            };
            let Some(block) = &line.block else {
                return false;
            };
            if block.answered.is_none_or(|answered| ask <= answered) {
                return true;
            }
            line.block = None;
            if line.state == State::Idle && line.queue.is_empty() {
                lines.remove(hash);
            }
            false
        });
    }

    /// Sets how far ahead to lease by how fast events were finished since the last look.
    fn measure(&mut self) {
        let (since, before) = self.measured;
        let elapsed = since.elapsed();
        if elapsed < AHEAD / 10 {
            return;
        }
        let finished = u128::from(self.finished - before);
        let ahead = finished * AHEAD.as_nanos() / elapsed.as_nanos().max(1);
        let most = limits::LEASE_EVENTS_MAX as usize;
        self.ahead = usize::try_from(ahead).unwrap_or(most).min(most);
        self.measured = (Instant::now(), self.finished);
    }
}

#[cfg(test)]
mod tests;
