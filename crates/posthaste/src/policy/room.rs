//! The lock around a policy's machines, and those who wait in front of them.
//!
//! Everything is decided under one lock, which is held for some tens of nanoseconds and never while
//! anything is waited for or woken. A place, a probe and a turn in the queue are given back by guards, so
//! that a future that is dropped anywhere leaves nothing behind.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context as Polling, Poll, Waker};

use posthaste_core::policy::engine::{Admit, Ask, Call, Engine, Next, Permit};
use posthaste_core::policy::gate::{Place, Ticket};
use posthaste_core::policy::settings::Fault;
use posthaste_core::policy::{Ended, Refusal};
use posthaste_core::time::MonoNs;
use tokio::time::{Sleep, sleep_until};

use super::clock;
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
    fn answer(&mut self, now: MonoNs) -> Wakes {
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

/// An attempt under way. Dropped, it gives back what it held and says nothing of the callee.
pub(super) struct Held<'r> {
    room: &'r Room,
    permit: Option<Permit>,
    /// After how long it gets another one beside it.
    hedge_after: Option<u64>,
}

impl Held<'_> {
    /// When it gets another one beside it.
    pub(super) fn hedge_at(&self) -> Option<MonoNs> {
        let started = self.permit.as_ref()?.started();
        self.hedge_after.map(|after| started.plus(after))
    }

    pub(super) fn never_hedge(&mut self) {
        self.hedge_after = None;
    }

    /// When it started, when it has to end, and what is injected into it by which rule.
    pub(super) fn terms(&self) -> (MonoNs, Option<MonoNs>, Option<(u16, Fault)>) {
        let Some(permit) = &self.permit else {
            unreachable!("its permit is taken only when it ends");
        };
        (permit.started(), permit.must_end(), permit.fault())
    }

    /// It ended, and nothing follows of that.
    pub(super) fn end(mut self, ended: Ended) {
        self.give_back(ended);
    }

    fn give_back(&mut self, ended: Ended) {
        if let Some(permit) = self.permit.take() {
            self.room
                .change(|inner, now| inner.engine.ended(now, permit, ended));
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.give_back(Ended::Dropped);
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
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Inner, MonoNs) -> T) -> T {
        let (changed, wakes) = {
            let mut inner = self.lock();
            let now = clock::now();
            let changed = change(&mut inner, now);
            (changed, inner.answer(now))
        };
        wakes.wake();
        changed
    }

    fn held(&self, inner: &Inner, permit: Permit) -> Held<'_> {
        Held {
            room: self,
            permit: Some(permit),
            hedge_after: inner.engine.hedge_after(),
        }
    }

    /// A call begins, and its first attempt is admitted.
    pub(super) async fn begin(&self, ask: Ask) -> Result<(Call, Held<'_>), Refusal> {
        let (call, admitted) = self.change(|inner, now| {
            let call = inner.engine.begin(now, ask)?;
            let admitted = self.ask(inner, now, &call)?;
            Ok((call, admitted))
        })?;
        match admitted {
            Ok(held) => Ok((call, held)),
            Err(waiting) => waiting.granted(&call).await.map(|held| (call, held)),
        }
    }

    /// Another attempt of a call is admitted.
    pub(super) async fn admit(&self, call: &Call) -> Result<Held<'_>, Refusal> {
        match self.change(|inner, now| self.ask(inner, now, call))? {
            Ok(held) => Ok(held),
            Err(waiting) => waiting.granted(call).await,
        }
    }

    fn ask(
        &self,
        inner: &mut Inner,
        now: MonoNs,
        call: &Call,
    ) -> Result<Result<Held<'_>, Waiting<'_>>, Refusal> {
        let chance = inner.draw();
        match inner.engine.admit(now, call, chance) {
            Admit::Run(permit) => Ok(Ok(self.held(inner, permit))),
            Admit::Refused(refusal) => Err(refusal),
            Admit::Wait(ticket) => {
                inner.waiting.insert(ticket, Waiter::default());
                Ok(Err(Waiting { room: self, ticket }))
            }
        }
    }

    /// An attempt gets another one beside it, if it may and if there is a place right now.
    pub(super) fn hedge(&self, call: &mut Call) -> Option<Held<'_>> {
        self.change(|inner, now| {
            if !inner.engine.hedge(now, call) {
                return None;
            }
            let chance = inner.draw();
            match inner.engine.admit(now, call, chance) {
                Admit::Run(permit) => Some(self.held(inner, permit)),
                Admit::Wait(ticket) => {
                    inner.engine.leave(now, ticket);
                    None
                }
                Admit::Refused(_) => None,
            }
        })
    }

    /// An attempt ended, and it is decided whether there is another.
    pub(super) fn settle(&self, mut held: Held<'_>, call: &mut Call, ended: Ended) -> Next {
        let permit = held.permit.take();
        self.change(|inner, now| {
            if let Some(permit) = permit {
                inner.engine.ended(now, permit, ended);
            }
            let chance = inner.draw();
            inner.engine.again(now, call, ended, chance)
        })
    }
}

/// Somebody who waits in front of the room. Dropped, the turn is given up, and a place that was on its
/// way is given back.
struct Waiting<'r> {
    room: &'r Room,
    ticket: Ticket,
}

impl<'r> Waiting<'r> {
    async fn granted(self, call: &Call) -> Result<Held<'r>, Refusal> {
        let mut timer = pin!(None::<Sleep>);
        poll_fn(|polling| self.poll(polling, call, timer.as_mut())).await
    }

    fn poll(
        &self,
        polling: &mut Polling<'_>,
        call: &Call,
        mut timer: Pin<&mut Option<Sleep>>,
    ) -> Poll<Result<Held<'r>, Refusal>> {
        loop {
            let (answer, due) = self.look(polling, call);
            if let Some(answer) = answer {
                return Poll::Ready(answer);
            }
            let Some(due) = due.map(clock::instant) else {
                timer.set(None);
                return Poll::Pending;
            };
            if timer.as_ref().get_ref().as_ref().map(Sleep::deadline) != Some(due) {
                timer.set(Some(sleep_until(due)));
            }
            let rings = timer.as_mut().as_pin_mut().map(|sleep| sleep.poll(polling));
            if !matches!(rings, Some(Poll::Ready(()))) {
                return Poll::Pending;
            }
            // It is time: what was due is decided by looking again.
            timer.set(None);
        }
    }

    /// Whether there is an answer; where there is none, who is to be woken is left there, and when it is
    /// worth looking again is told.
    fn look(
        &self,
        polling: &Polling<'_>,
        call: &Call,
    ) -> (Option<Result<Held<'r>, Refusal>>, Option<MonoNs>) {
        let mut inner = self.room.lock();
        let now = clock::now();
        let mut wakes = inner.answer(now);
        let Some(waiter) = inner.waiting.get_mut(&self.ticket) else {
            unreachable!("polled again after its answer was taken");
        };
        let Some(answer) = waiter.answer.take() else {
            waiter.waker = Some(polling.waker().clone());
            let due = inner.engine.due();
            drop(inner);
            wakes.wake();
            return (None, due);
        };
        inner.waiting.remove(&self.ticket);
        let entered = answer.and_then(|place| {
            let chance = inner.draw();
            match inner.engine.enter(now, call, Some(place), chance) {
                Admit::Run(permit) => Ok(self.room.held(&inner, permit)),
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
