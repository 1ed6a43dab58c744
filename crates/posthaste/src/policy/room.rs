//! The lock around a policy's machines, and those who wait in front of them.
//!
//! Everything is decided under one lock, which is held for some tens of nanoseconds and never while
//! anything is waited for or woken. A place, a probe and a turn in the queue are given back by guards, so
//! that a future that is dropped anywhere leaves nothing behind.

use std::collections::HashMap;
use std::task::{Context as Polling, Poll, Waker};

use posthaste_core::policy::engine::{Admit, Call, Engine, Next, Permit};
use posthaste_core::policy::gate::{Place, Ticket};
use posthaste_core::policy::settings::Fault;
use posthaste_core::policy::{Ended, Refusal};
use posthaste_core::time::MonoNs;

use super::clock::{self, Timer};
use super::sync::{Mutex, MutexGuard};

/// The machines of one policy, and who waits for them.
pub(super) struct Room {
    inner: Mutex<Inner>,
}

pub(super) struct Inner {
    pub(super) engine: Engine,
    waiting: HashMap<Ticket, Waiter>,
    chance: u64,
}

/// Somebody who waits for a place.
#[derive(Default)]
struct Waiter {
    answer: Option<Result<Place, Refusal>>,
    waker: Option<Waker>,
}

/// Those to wake once the lock is free.
#[must_use]
struct Wakes(Vec<Waker>);

impl Wakes {
    fn wake(self) {
        self.0.into_iter().for_each(Waker::wake);
    }
}

impl Inner {
    /// A number by chance (splitmix64: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
    /// Generators", 2014).
    fn draw(&mut self) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut drawn = self.chance;
        drawn = (drawn ^ (drawn >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        drawn = (drawn ^ (drawn >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        drawn ^ (drawn >> 31)
    }

    /// Hands their answers to those who wait and have one now.
    #[inline]
    fn answer(&mut self, now: MonoNs) -> Wakes {
        // Nearly always: there is nobody, and the machines need not be asked.
        if self.waiting.is_empty() {
            return Wakes(Vec::new());
        }
        self.answer_those(now)
    }

    fn answer_those(&mut self, now: MonoNs) -> Wakes {
        let mut wakers = Vec::new();
        while let Some((ticket, answer)) = self.engine.next(now) {
            match self.waiting.get_mut(&ticket) {
                Some(waiter) => {
                    waiter.answer = Some(answer);
                    wakers.extend(waiter.waker.take());
                }
                None => self.engine.give_back(now, answer.ok()),
            }
        }
        Wakes(wakers)
    }
}

/// Leave for an attempt, or none yet. It is asked for where it will lie, as it is too large to be moved
/// about. Dropped, it gives back what it held and says nothing of the callee.
pub(super) struct Held<'r> {
    room: &'r Room,
    permit: Option<Permit>,
    /// After how long the attempt gets another one beside it.
    hedge_after: Option<u64>,
}

impl<'r> Held<'r> {
    /// No leave yet.
    pub(super) const fn none(room: &'r Room) -> Self {
        Self {
            room,
            permit: None,
            hedge_after: None,
        }
    }

    /// Whether there is leave.
    #[inline]
    pub(super) const fn is_some(&self) -> bool {
        self.permit.is_some()
    }

    /// When the attempt gets another one beside it.
    #[inline]
    pub(super) fn hedge_at(&self) -> Option<MonoNs> {
        let started = self.permit.as_ref()?.started();
        self.hedge_after.map(|after| started.plus(after))
    }

    /// When the attempt started, when it has to end, and what is injected into it by which rule.
    #[inline]
    pub(super) fn terms(&self) -> (MonoNs, Option<MonoNs>, Option<(u16, Fault)>) {
        let Some(permit) = &self.permit else {
            unreachable!("there is leave until the attempt ends");
        };
        (permit.started(), permit.must_end(), permit.fault())
    }

    /// A call begins, and its first attempt asks to be admitted: it is, or has to wait.
    pub(super) fn begin(&mut self, call: &mut Call) -> Result<Option<Waiting<'r>>, Refusal> {
        self.room.change(|inner, now| {
            inner.engine.begin_in_place(now, call)?;
            self.ask(inner, now, call)
        })
    }

    /// Another attempt of a call asks to be admitted.
    pub(super) fn admit(&mut self, call: &Call) -> Result<Option<Waiting<'r>>, Refusal> {
        self.room.change(|inner, now| self.ask(inner, now, call))
    }

    #[inline]
    fn ask(
        &mut self,
        inner: &mut Inner,
        now: MonoNs,
        call: &Call,
    ) -> Result<Option<Waiting<'r>>, Refusal> {
        let chance = inner.draw();
        match inner.engine.admit(now, call, chance) {
            Admit::Run(permit) => {
                self.take(inner, permit);
                Ok(None)
            }
            Admit::Refused(refusal) => Err(refusal),
            Admit::Wait(ticket) => {
                inner.waiting.insert(ticket, Waiter::default());
                let set = inner.engine.settings().concurrency.unwrap_or_default();
                Ok(Some(Waiting {
                    room: self.room,
                    ticket,
                    patient_until: now.after(set.queue.target),
                    timer: Timer::new(),
                }))
            }
        }
    }

    #[inline]
    fn take(&mut self, inner: &Inner, permit: Permit) {
        debug_assert!(self.permit.is_none(), "what was held has ended");
        self.permit = Some(permit);
        self.hedge_after = inner.engine.hedge_after();
    }

    /// Whether an attempt of this call gets another one beside it: it may, and there is a place right
    /// now.
    pub(super) fn hedge(&mut self, call: &mut Call) -> bool {
        self.room.change(|inner, now| {
            if !inner.engine.hedge(now, call) {
                return false;
            }
            let chance = inner.draw();
            match inner.engine.admit(now, call, chance) {
                Admit::Run(permit) => {
                    self.take(inner, permit);
                    true
                }
                Admit::Wait(ticket) => {
                    inner.engine.leave(now, ticket);
                    false
                }
                Admit::Refused(_) => false,
            }
        })
    }

    /// The attempt ended, and it is decided whether there is another.
    pub(super) fn settle(&mut self, call: &mut Call, ended: Ended) -> Next {
        let permit = self.permit.take();
        self.room.change(|inner, now| {
            if let Some(permit) = permit {
                inner.engine.ended(now, permit, ended);
            }
            let chance = inner.draw();
            inner.engine.again(now, call, ended, chance)
        })
    }

    /// The attempt ended, and nothing follows of that. Does nothing where it had ended before.
    pub(super) fn end(&mut self, ended: Ended) {
        if let Some(permit) = self.permit.take() {
            self.room
                .change(|inner, now| inner.engine.ended(now, permit, ended));
        }
    }
}

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.permit.is_some() {
            self.end(Ended::Dropped);
        }
    }
}

impl Room {
    pub(super) fn new(engine: Engine, chance: u64) -> Self {
        let inner = Inner {
            engine,
            waiting: HashMap::new(),
            chance,
        };
        Self {
            inner: Mutex::new(inner),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic under the lock would be a bug in a machine; the counts it leaves are still sound
        // enough to go on with, and a policy that is stuck would take the service with it.
        self.inner
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Looks at the machines, changing nothing that anybody waits for.
    pub(super) fn look<T>(&self, look: impl FnOnce(&mut Inner, MonoNs) -> T) -> T {
        look(&mut self.lock(), clock::now())
    }

    /// Changes something, and lets those go on who may now.
    #[inline]
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Inner, MonoNs) -> T) -> T {
        let mut inner = self.lock();
        let now = clock::now();
        let changed = change(&mut inner, now);
        let wakes = inner.answer(now);
        drop(inner);
        wakes.wake();
        changed
    }
}

/// Somebody who waits in front of the room. Dropped, the turn is given up, and a place that was on its
/// way is given back.
pub(super) struct Waiting<'r> {
    room: &'r Room,
    ticket: Ticket,
    /// Before this it is not shed for having waited.
    patient_until: MonoNs,
    timer: Timer,
}

impl<'r> Waiting<'r> {
    /// Puts the leave that was waited for into `held`, or says why there is none. Not to be polled again
    /// after it.
    pub(super) fn poll(
        &mut self,
        polling: &mut Polling<'_>,
        call: &Call,
        held: &mut Held<'r>,
    ) -> Poll<Result<(), Refusal>> {
        loop {
            let (answer, due) = self.look(polling, call, held);
            if let Some(answer) = answer {
                return Poll::Ready(answer);
            }
            let Some(due) = due else {
                self.timer.clear();
                return Poll::Pending;
            };
            if self.timer.poll(due, polling).is_pending() {
                return Poll::Pending;
            }
            // It is time: what was due is decided by looking again.
        }
    }

    /// Whether there is an answer; where there is none, who is to be woken is left there, and when it is
    /// worth looking again is told.
    fn look(
        &self,
        polling: &Polling<'_>,
        call: &Call,
        held: &mut Held<'r>,
    ) -> (Option<Result<(), Refusal>>, Option<MonoNs>) {
        let mut inner = self.room.lock();
        let now = clock::now();
        let mut wakes = inner.answer(now);
        let Some(waiter) = inner.waiting.get_mut(&self.ticket) else {
            unreachable!("polled again after its answer was taken");
        };
        let Some(answer) = waiter.answer.take() else {
            waiter.waker = Some(polling.waker().clone());
            // Nobody looks for the others: each is awake by the time that something is due for it.
            let end = call.deadline().unwrap_or(self.patient_until);
            let own = end.min(self.patient_until);
            let due = inner.engine.due().map(|due| due.max(own));
            drop(inner);
            wakes.wake();
            return (None, due);
        };
        inner.waiting.remove(&self.ticket);
        let entered = answer.and_then(|place| {
            let chance = inner.draw();
            match inner.engine.enter(now, call, Some(place), chance) {
                Admit::Run(permit) => {
                    held.take(&inner, permit);
                    Ok(())
                }
                Admit::Refused(refusal) => Err(refusal),
                Admit::Wait(_) => unreachable!("who has a place doesn't wait for one"),
            }
        });
        // Who was refused gave back a place.
        wakes.0.extend(inner.answer(now).0);
        drop(inner);
        wakes.wake();
        (Some(entered), None)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.room.change(|inner, now| {
            let Some(waiter) = inner.waiting.remove(&self.ticket) else {
                return;
            };
            match waiter.answer {
                None => inner.engine.leave(now, self.ticket),
                Some(answer) => inner.engine.give_back(now, answer.ok()),
            }
        });
    }
}
