//! One policy: its machines joined, in the one order that makes sense.
//!
//! A call [begins](Engine::begin); each attempt asks to be [admitted](Engine::admit), may have to
//! wait, and [ends](Engine::ended); then it is decided whether there is [another](Engine::again). The
//! order is told by [`order`](super::order). Whoever runs it holds it alone, so that nothing here is
//! shared; and whatever was admitted must end, be it [dropped](Ended::Dropped).

mod terms;
#[cfg(test)]
mod tests;

use std::time::Duration;

use super::breaker::Breaker;
use super::budget::Budget;
use super::chaos::Chaos;
use super::gate::{Arrived, Gate, Place, Ticket};
use super::hedge::Hedge;
use super::rate::Rate;
use super::refusal::{Refusal, Stop};
use super::settings::{self, Concurrency, Limit, Settings};
use super::throttle::Throttle;
use super::verdict::{Ended, Verdict};
use crate::error::{Error, ErrorKind, Result};
use crate::time::{MonoNs, ns};
pub use terms::{Admit, Ask, Call, Counts, Next, Permit};

/// The machines of one policy.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    deadline_ns: Option<u64>,
    attempt_ns: Option<u64>,
    budget: Budget,
    hedge: Option<Hedge>,
    throttle: Option<Throttle>,
    rate: Option<Rate>,
    gate: Option<Gate>,
    breaker: Option<Breaker>,
    /// One that other settings took away. Given back, it goes on: attempts from before may still end.
    resting: Option<Breaker>,
    chaos: Option<Chaos>,
    counts: Counts,
}

impl Engine {
    /// The machines of `settings`.
    ///
    /// # Errors
    /// `Invalid` where the settings make no sense, with the reason and the way out.
    pub fn new(settings: Settings, now: MonoNs) -> Result<Self> {
        settings.check()?;
        Ok(Self {
            deadline_ns: settings.deadline.map(ns),
            attempt_ns: settings.attempt_timeout.map(ns),
            budget: Budget::new(&settings.budget, now),
            hedge: settings.hedge.as_ref().map(Hedge::new),
            throttle: settings
                .throttle
                .as_ref()
                .map(|set| Throttle::new(set, now)),
            rate: settings
                .rate
                .as_ref()
                .map(|set| rate(set, now))
                .transpose()?,
            gate: settings.concurrency.as_ref().map(|set| Gate::new(set, now)),
            breaker: settings.breaker.as_ref().map(|set| Breaker::new(set, now)),
            resting: None,
            chaos: (!settings.chaos.is_empty()).then(|| Chaos::new(&settings.chaos)),
            counts: Counts::default(),
            settings,
        })
    }

    /// Other settings, from now on. What is under way goes on, and what was learned is kept where the
    /// strategy stays.
    ///
    /// # Errors
    /// As [`new`](Self::new); then nothing has changed.
    pub fn reload(&mut self, settings: Settings, now: MonoNs) -> Result<()> {
        let fresh = Self::new(settings, now)?;
        let old = std::mem::replace(self, fresh);
        let set = &self.settings;
        self.counts = old.counts;
        self.budget = old.budget;
        self.budget.reload(&set.budget, now);
        match (old.breaker.or(old.resting), &set.breaker) {
            (Some(mut breaker), Some(set)) => {
                breaker.reload(set, now);
                self.breaker = Some(breaker);
            }
            (breaker, _) => self.resting = breaker,
        }
        if let Some(mut gate) = old.gate {
            // Who waits must have an answer, and who runs must give a place back to where it came
            // from: a gate that is no longer wanted stays, and lets everybody through.
            let open = Concurrency {
                limit: Limit::Static(u32::MAX),
                queue: old.settings.concurrency.unwrap_or_default().queue,
            };
            gate.reload(&set.concurrency.unwrap_or(open), now);
            self.gate = Some(gate);
        }
        if let (Some(mut hedge), Some(set)) = (old.hedge, &set.hedge) {
            hedge.reload(set);
            self.hedge = Some(hedge);
        }
        if let (Some(mut throttle), Some(set)) = (old.throttle, &set.throttle) {
            throttle.reload(set, now);
            self.throttle = Some(throttle);
        }
        if let (Some(chaos), Some(old)) = (&mut self.chaos, &old.chaos) {
            chaos.set_on(old.is_on());
        }
        if let (Some(rate), true) = (old.rate, old.settings.rate == set.rate) {
            self.rate = Some(rate);
        }
        Ok(())
    }

    /// A call begins. Its time is what its caller has left, or what the policy grants, whichever ends
    /// first.
    ///
    /// # Errors
    /// Where no time is left.
    pub fn begin(&mut self, now: MonoNs, ask: Ask) -> Result<Call, Refusal> {
        let mut call = Call::new(ask);
        self.begin_in_place(now, &mut call)?;
        Ok(call)
    }

    /// As [`begin`](Self::begin), of a call that lies where it will stay: it is too large to be moved
    /// about on a hot path.
    ///
    /// # Errors
    /// Where no time is left.
    #[inline]
    pub fn begin_in_place(&mut self, now: MonoNs, call: &mut Call) -> Result<(), Refusal> {
        let granted = self.deadline_ns.map(|ns| now.plus(ns));
        call.deadline = match (call.ask.deadline, granted) {
            (Some(asked), Some(granted)) => Some(asked.min(granted)),
            (asked, granted) => asked.or(granted),
        };
        self.counts.calls += 1;
        if let Some(past) = call.deadline.filter(|end| *end <= now) {
            return Err(self.refuse(late(past, now)));
        }
        self.budget.deposit(now);
        Ok(())
    }

    /// An attempt of `call` wants to start.
    #[inline]
    pub fn admit(&mut self, now: MonoNs, call: &Call, chance: u64) -> Admit {
        if let Err(refusal) = self.pass(now, call, chance) {
            return Admit::Refused(self.refuse(refusal));
        }
        let place = match &mut self.gate {
            None => None,
            Some(gate) => match gate.arrive(now, call.ask.tier, call.ask.caller, call.deadline) {
                Arrived::Admitted(place) => Some(place),
                Arrived::Waiting(ticket) => return Admit::Wait(ticket),
                Arrived::Refused(refusal) => return Admit::Refused(self.refuse(refusal)),
            },
        };
        self.enter(now, call, place, chance)
    }

    /// Whether a call would find no place or no breaker that lets it through now, as far as can be told without taking anything.
    ///
    /// # Errors
    /// The reason.
    pub fn peek(&self, now: MonoNs) -> Result<(), Refusal> {
        if let Some(breaker) = &self.breaker {
            breaker.peek(now)?;
        }
        if let Some(gate) = &self.gate {
            let limit = gate.limit();
            if gate.in_flight() >= limit {
                return Err(Refusal::Full { limit });
            }
        }
        Ok(())
    }

    /// How pressed it is for places: the share that is taken, and where calls wait, 1 and how many times
    /// the queue's target its oldest has waited. 0 without a gate.
    #[must_use]
    pub fn pressure(&self, now: MonoNs) -> f64 {
        let (Some(gate), Some(set)) = (&self.gate, &self.settings.concurrency) else {
            return 0.0;
        };
        if gate.waiting() == 0 {
            return f64::from(gate.in_flight()) / f64::from(gate.limit().max(1));
        }
        let target = set.queue.target.as_secs_f64();
        1.0 + gate.queue_delay(now).as_secs_f64() / target
    }

    /// What is asked before the place: the cheap ones first, and those that take something last.
    #[inline]
    fn pass(&mut self, now: MonoNs, call: &Call, chance: u64) -> Result<(), Refusal> {
        if let Some(end) = call.deadline.filter(|end| *end <= now) {
            return Err(late(end, now));
        }
        if let Some(breaker) = &self.breaker {
            breaker.peek(now)?;
        }
        if let Some(throttle) = &mut self.throttle {
            throttle.admit(now, call.ask.tier, chance)?;
        }
        if let Some(rate) = &mut self.rate {
            rate.take(now)
                .map_err(|retry_after| Refusal::Rate { retry_after })?;
        }
        Ok(())
    }

    /// An attempt that has its place (`None` where the policy has no gate) starts, if the breaker lets
    /// it. For those that waited, `place` is the one that [`next`](Self::next) gave.
    #[inline]
    pub fn enter(&mut self, now: MonoNs, call: &Call, place: Option<Place>, chance: u64) -> Admit {
        let refused = if let Some(end) = call.deadline.filter(|end| *end <= now) {
            Err(late(end, now))
        } else {
            self.breaker
                .as_mut()
                .map(|breaker| breaker.admit(now, chance.rotate_left(21)))
                .transpose()
        };
        let pass = match refused {
            Ok(pass) => pass,
            Err(refusal) => {
                self.give_back(now, place);
                return Admit::Refused(self.refuse(refusal));
            }
        };
        let tag = call.ask.tag.as_deref();
        let fault = self
            .chaos
            .as_ref()
            .and_then(|chaos| chaos.draw(tag, chance.rotate_left(42)));
        self.counts.attempts += 1;
        let end = self.attempt_ns.map(|ns| now.plus(ns));
        let must_end = match (end, call.deadline) {
            (Some(end), Some(deadline)) => Some(end.min(deadline)),
            (end, deadline) => end.or(deadline),
        };
        Admit::Run(Permit {
            started: now,
            must_end,
            tier: call.ask.tier,
            place,
            pass,
            fault,
        })
    }

    /// Who of those that wait has a place now, or is refused. To be asked until it says nothing, after
    /// everything that ends or leaves and when [`due`](Self::due) says.
    pub fn next(&mut self, now: MonoNs) -> Option<(Ticket, Result<Place, Refusal>)> {
        let (ticket, answer) = self.gate.as_mut()?.next(now)?;
        let answer = answer.map_err(|refusal| self.refuse(refusal));
        Some((ticket, answer))
    }

    /// When [`next`](Self::next) should be asked though nothing happened.
    #[must_use]
    pub fn due(&self) -> Option<MonoNs> {
        self.gate.as_ref().and_then(Gate::due)
    }

    /// Who waited doesn't any more, before an answer came.
    pub fn leave(&mut self, now: MonoNs, ticket: Ticket) {
        if let Some(gate) = &mut self.gate {
            gate.leave(now, ticket);
        }
    }

    /// A place that came from [`next`](Self::next) and that nobody enters.
    #[inline]
    pub fn give_back(&mut self, now: MonoNs, place: Option<Place>) {
        if let (Some(gate), Some(place)) = (&mut self.gate, place) {
            gate.ended(now, place, Ended::Dropped);
        }
    }

    /// An attempt ended.
    #[inline]
    pub fn ended(&mut self, now: MonoNs, permit: Permit, ended: Ended) {
        let took = now.since(permit.started);
        if let (Some(gate), Some(place)) = (&mut self.gate, permit.place) {
            gate.ended(now, place, ended);
        }
        if let (Some(breaker), Some(pass)) = (&mut self.breaker, permit.pass) {
            breaker.ended(now, pass, ended, took);
        }
        if let (Some(throttle), Some(verdict)) = (&mut self.throttle, ended.verdict()) {
            match verdict {
                Verdict::Throttled(_) => throttle.ended(now, permit.tier, false),
                // Nobody knows whether it was accepted.
                Verdict::Unknown => {}
                _ => throttle.ended(now, permit.tier, true),
            }
        }
        if let (Some(hedge), Ended::With(Verdict::Ok | Verdict::Fatal)) = (&mut self.hedge, ended) {
            hedge.observe(took);
        }
        match ended {
            Ended::With(Verdict::Ok) => self.counts.ok += 1,
            Ended::With(Verdict::Throttled(_)) => self.counts.throttled += 1,
            Ended::With(_) => self.counts.failed += 1,
            Ended::TimedOut => self.counts.timed_out += 1,
            Ended::Dropped => self.counts.dropped += 1,
        }
    }

    /// Whether an attempt that ended so is followed by another. What is decided here is charged here,
    /// so that those in their pause count too.
    #[inline]
    pub fn again(&mut self, now: MonoNs, call: &mut Call, ended: Ended, chance: u64) -> Next {
        call.made += 1;
        let next = match ended.verdict() {
            None | Some(Verdict::Ok) => return Next::Done,
            Some(verdict) => self.repeat(now, call, verdict, chance),
        };
        match next {
            Ok(at) => {
                self.counts.retries += 1;
                Next::Retry { at }
            }
            Err(stop) => {
                self.counts.stopped[stop.index()] += 1;
                Next::Stop(stop)
            }
        }
    }

    fn repeat(
        &mut self,
        now: MonoNs,
        call: &mut Call,
        verdict: Verdict,
        chance: u64,
    ) -> Result<MonoNs, Stop> {
        let retry = self.settings.retry.as_ref().ok_or(Stop::NoRetry)?;
        let asked = match verdict {
            Verdict::Fatal => return Err(Stop::Fatal),
            Verdict::Throttled(asked) => asked,
            _ if !call.ask.idempotent && !retry.force => return Err(Stop::NotIdempotent),
            _ => None,
        };
        if call.made >= retry.attempts {
            return Err(Stop::Attempts { made: call.made });
        }
        if let Some(asked) = asked.filter(|asked| *asked > retry.retry_after_max) {
            return Err(Stop::RetryAfter { asked });
        }
        let pause = call.pauses.next(retry, chance);
        let at = now.plus(pause.max(asked.map_or(0, ns)));
        if call.deadline.is_some_and(|end| at >= end) {
            return Err(Stop::Deadline);
        }
        if !self.budget.withdraw(now) {
            return Err(Stop::Budget);
        }
        Ok(at)
    }

    /// After how long an attempt gets another one beside it.
    #[must_use]
    #[inline]
    pub fn hedge_after(&self) -> Option<u64> {
        self.hedge.as_ref().and_then(Hedge::delay_ns)
    }

    /// An attempt of `call` takes long: whether it may have another one beside it, which is charged
    /// here and still has to be [admitted](Self::admit).
    pub fn hedge(&mut self, now: MonoNs, call: &mut Call) -> bool {
        let safe = call.ask.idempotent || self.settings.retry.is_some_and(|retry| retry.force);
        // What would only wait, or put out somebody who does, is not charged.
        let free =
            self.gate.as_ref().is_none_or(|gate| gate.waiting() == 0) && self.peek(now).is_ok();
        let hedged = safe && free && self.budget.withdraw(now);
        self.counts.hedges += u64::from(hedged);
        call.made += u32::from(hedged);
        hedged
    }

    #[cold]
    fn refuse(&mut self, refusal: Refusal) -> Refusal {
        self.counts.refused[refusal.index()] += 1;
        refusal
    }

    /// Faults are injected, or none are.
    pub fn set_chaos(&mut self, on: bool) {
        if let Some(chaos) = &mut self.chaos {
            chaos.set_on(on);
        }
    }

    /// What it is set to.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How often what was decided.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Its circuit breaker.
    #[must_use]
    pub const fn breaker(&self) -> Option<&Breaker> {
        self.breaker.as_ref()
    }

    /// Its circuit breaker, to isolate it and to let it go.
    pub const fn breaker_mut(&mut self) -> Option<&mut Breaker> {
        self.breaker.as_mut()
    }

    /// Its places and those who wait for one.
    #[must_use]
    pub const fn gate(&self) -> Option<&Gate> {
        match self.settings.concurrency {
            Some(_) => self.gate.as_ref(),
            None => None,
        }
    }

    /// Its budget.
    #[must_use]
    pub const fn budget(&self) -> &Budget {
        &self.budget
    }
}

fn rate(set: &settings::Rate, now: MonoNs) -> Result<Rate> {
    Rate::new(set, now).map_err(|error| {
        Error::new(ErrorKind::Invalid, error.to_string()).next("choose another rate or burst")
    })
}

#[cold]
fn late(end: MonoNs, now: MonoNs) -> Refusal {
    Refusal::Deadline {
        past: Duration::from_nanos(now.since(end)),
    }
}
