//! The circuit breaker: not asking a callee that is ill.
//!
//! Closed, it looks at what ends, and opens where too much of it failed or was slow. Open, it refuses,
//! until `open_for` is over. Half-open, it lets `probes` through at once; each has a slot, with a
//! lease, so that one that never reports gives its slot back, and each belongs to a generation, so
//! that what was begun before the last change of state says nothing about this one. One probe that
//! fails opens it again; as many as `probes` that succeed let it ramp: a growing part of the calls
//! goes through, and a bad share of those opens it again. (M. Nygard, "Release It!", 2007, for the
//! breaker; the ramp is the slow start of a load balancer.)
//!
//! It refuses to know what a failure is: that is the caller's classifier. It never waits and never
//! counts a call that was dropped, and a refusal by the callee (429) neither opens nor closes it.

mod window;

#[cfg(test)]
mod lives;
#[cfg(test)]
mod tests;

use std::time::Duration;

use super::refusal::{Refusal, Tripped};
use super::settings::{self, Trip};
use super::verdict::{Ended, Verdict};
use crate::time::{MonoNs, ns};
use window::{Counts, Seen};

/// The part of the calls that is let through when the ramp begins, in thousandths. Not nothing: what
/// lets nothing through sees nothing.
const RAMP_FROM: f64 = 100.0;

/// The [`Pass`] of a call that is no probe.
const NO_SLOT: u16 = u16::MAX;

/// What a circuit breaker does with calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Lets everything through.
    Closed,
    /// Lets nothing through.
    Open,
    /// Lets probes through.
    HalfOpen,
    /// Lets a growing part through.
    Ramping,
    /// Lets nothing through, by hand.
    Isolated,
}

impl State {
    /// Stable word for metrics and scripts: `closed`, `open`, `half-open`, `ramping`, `isolated`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
            Self::Ramping => "ramping",
            Self::Isolated => "isolated",
        }
    }
}

/// Leave to make one call. To be given back with [`Breaker::ended`], also where the call is dropped;
/// where it is not, its slot comes back when its lease is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a probe holds its slot until it is told to have ended"]
pub struct Pass {
    generation: u64,
    /// Which lease of the slot: a slot may have been leased again since.
    serial: u32,
    slot: u16,
}

impl Pass {
    /// Whether the call is a probe of a half-open breaker.
    #[must_use]
    pub const fn is_probe(self) -> bool {
        self.slot != NO_SLOT
    }
}

/// Where a probe is out, or was.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// Until when it is leased. In the past where it is free.
    until: MonoNs,
    serial: u32,
}

/// What it does, with what it needs to know for that.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Closed,
    Open { until: MonoNs, why: Tripped },
    HalfOpen { succeeded: u32 },
    Ramping { since: MonoNs },
    Isolated,
}

/// What share of the calls opens it. Made of the settings once.
#[derive(Clone, Copy, Debug)]
struct Limits {
    failures: f64,
    /// What counts as slow; `u64::MAX` for nothing.
    slow_ns: u64,
    slow: f64,
    calls_min: u32,
    in_a_row: u32,
    open_ns: u64,
    probes: u32,
    lease_ns: u64,
    ramp_ns: u64,
}

impl Limits {
    fn new(set: &settings::Breaker) -> Self {
        let mut limits = Self {
            failures: 1.0,
            slow_ns: u64::MAX,
            slow: 1.0,
            calls_min: 1,
            in_a_row: 1,
            open_ns: ns(set.open_for),
            probes: set.probes.clamp(1, 100),
            // A lease of nothing would let everything through as a probe.
            lease_ns: ns(set.probe_lease).max(1),
            ramp_ns: ns(set.ramp),
        };
        match set.trip {
            Trip::Rate {
                failures,
                slow,
                calls_min,
                ..
            } => {
                limits.failures = failures;
                limits.calls_min = calls_min.max(1);
                if let Some((duration, share)) = slow {
                    limits.slow_ns = ns(duration);
                    limits.slow = share;
                }
            }
            Trip::Consecutive(failures) => limits.in_a_row = failures.max(1),
        }
        limits
    }

    /// Whether these calls open it.
    fn judge(&self, counts: Counts, calls_min: u32) -> Option<Tripped> {
        let Counts {
            calls,
            failed,
            slow,
        } = counts;
        let of = f64::from(calls);
        if calls < calls_min {
            None
        } else if failed > 0 && f64::from(failed) >= self.failures * of {
            Some(Tripped::Failures { failed, of: calls })
        } else if slow > 0 && f64::from(slow) >= self.slow * of {
            Some(Tripped::Slow { slow, of: calls })
        } else {
            None
        }
    }
}

/// A circuit breaker. See the [module](self).
#[derive(Clone, Debug)]
pub struct Breaker {
    limits: Limits,
    phase: Phase,
    /// Rises when what was begun before says nothing any more.
    generation: u64,
    changes: u64,
    seen: Seen,
    /// At least as many as there are probes; more, where a reload made them fewer.
    slots: Vec<Slot>,
}

impl Breaker {
    /// A closed one that has seen nothing.
    #[must_use]
    pub fn new(set: &settings::Breaker, now: MonoNs) -> Self {
        let limits = Limits::new(set);
        Self {
            limits,
            phase: Phase::Closed,
            generation: 0,
            changes: 0,
            seen: Seen::new(&set.trip, now),
            slots: vec![Slot::default(); limits.probes as usize],
        }
    }

    /// Takes other settings and stays in its state. What it saw is kept where the window has the same
    /// shape; where it is open, it stays so no longer than it would under the new settings. Probes
    /// that are out keep their slots and count against the new number.
    pub fn reload(&mut self, set: &settings::Breaker, now: MonoNs) {
        self.limits = Limits::new(set);
        if !self.seen.fits(&set.trip) {
            self.seen = Seen::new(&set.trip, now);
        }
        let probes = self.limits.probes as usize;
        if self.slots.len() < probes {
            self.slots.resize(probes, Slot::default());
        }
        if let Phase::Open { until, .. } = &mut self.phase {
            *until = (*until).min(now.plus(self.limits.open_ns));
        }
    }

    /// Whether a call would be refused for sure, without taking a slot. `Ok` promises nothing: a ramp
    /// decides by chance, and somebody else may take the slot.
    ///
    /// # Errors
    /// As [`admit`](Self::admit), apart from [`Refusal::Ramping`].
    pub fn peek(&self, now: MonoNs) -> Result<(), Refusal> {
        match self.phase {
            Phase::Open { until, why } if now < until => Err(still_open(until, why, now)),
            Phase::HalfOpen { .. } => {
                let out = self.out(now);
                if out < self.limits.probes {
                    Ok(())
                } else {
                    Err(Refusal::Probing { out })
                }
            }
            Phase::Isolated => Err(Refusal::Isolated),
            Phase::Closed | Phase::Open { .. } | Phase::Ramping { .. } => Ok(()),
        }
    }

    /// Lets one call through, or says why not. `chance` decides during a ramp.
    ///
    /// # Errors
    /// [`Refusal::Open`], [`Refusal::Probing`], [`Refusal::Ramping`] or [`Refusal::Isolated`].
    #[inline]
    pub fn admit(&mut self, now: MonoNs, chance: u64) -> Result<Pass, Refusal> {
        match self.phase {
            Phase::Closed => Ok(self.pass()),
            Phase::Open { until, why } if now < until => Err(still_open(until, why, now)),
            Phase::Open { .. } => {
                self.half_open(now);
                self.probe(now)
            }
            Phase::HalfOpen { .. } => self.probe(now),
            Phase::Ramping { since } => {
                let per_mille = self.per_mille(since, now);
                if per_mille >= 1_000 {
                    self.turn(Phase::Closed);
                } else if ((chance >> 32) * 1_000) >> 32 >= u64::from(per_mille) {
                    return Err(Refusal::Ramping { per_mille });
                }
                Ok(self.pass())
            }
            Phase::Isolated => Err(Refusal::Isolated),
        }
    }

    /// Tells how the call of a [`Pass`] ended, and how long it took.
    ///
    /// A pass from before the last change of state changes nothing. A probe that reports after its
    /// lease is heard, as it still speaks of the callee, but frees nobody else's slot: otherwise a
    /// callee that answers more slowly than a lease lasts would never be let in again.
    #[inline]
    pub fn ended(&mut self, now: MonoNs, pass: Pass, ended: Ended, took_ns: u64) {
        if pass.generation != self.generation {
            return;
        }
        if pass.is_probe() {
            self.free(pass);
        }
        let failed = match ended.verdict() {
            None | Some(Verdict::Throttled(_)) => return,
            Some(verdict) => verdict.is_failure(),
        };
        let slow = took_ns >= self.limits.slow_ns;
        match self.phase {
            Phase::Closed => self.count(now, failed, slow, self.limits.calls_min),
            Phase::Ramping { since } => {
                if self.per_mille(since, now) >= 1_000 {
                    self.turn(Phase::Closed);
                }
                // A part of the calls is proof enough where only a part is let through.
                let calls_min = self.limits.calls_min.div_ceil(4);
                self.count(now, failed, slow, calls_min);
            }
            Phase::HalfOpen { succeeded } => self.probed(now, failed || slow, succeeded + 1),
            Phase::Open { .. } | Phase::Isolated => {}
        }
    }

    /// Opens it by hand, until [`join`](Self::join).
    pub fn isolate(&mut self) {
        if !matches!(self.phase, Phase::Isolated) {
            self.generation += 1;
            self.turn(Phase::Isolated);
        }
    }

    /// Ends an isolation. The callee may still be ill, so that probes go first.
    pub fn join(&mut self, now: MonoNs) {
        if matches!(self.phase, Phase::Isolated) {
            self.half_open(now);
        }
    }

    /// What a call meets at `now`. An open one whose time is over is half-open, although the change is
    /// only [counted](Self::changes) when a call comes; so with a ramp that is over.
    #[must_use]
    pub fn state(&self, now: MonoNs) -> State {
        match self.phase {
            Phase::Open { until, .. } if now < until => State::Open,
            Phase::Open { .. } | Phase::HalfOpen { .. } => State::HalfOpen,
            Phase::Ramping { since } if self.per_mille(since, now) < 1_000 => State::Ramping,
            Phase::Closed | Phase::Ramping { .. } => State::Closed,
            Phase::Isolated => State::Isolated,
        }
    }

    /// How often the state changed. A caller that remembers the last figure notices a change.
    #[must_use]
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// What opened it, while it is open.
    #[must_use]
    pub const fn tripped(&self) -> Option<Tripped> {
        match self.phase {
            Phase::Open { why, .. } => Some(why),
            _ => None,
        }
    }

    const fn pass(&self) -> Pass {
        Pass {
            generation: self.generation,
            serial: 0,
            slot: NO_SLOT,
        }
    }

    fn turn(&mut self, phase: Phase) {
        self.phase = phase;
        self.changes += 1;
    }

    fn half_open(&mut self, now: MonoNs) {
        self.generation += 1;
        // Nothing is counted from here until the ramp, which begins with an empty window.
        self.seen.clear(now);
        for slot in &mut self.slots {
            slot.until = MonoNs(0);
        }
        self.turn(Phase::HalfOpen { succeeded: 0 });
    }

    #[cold]
    fn open(&mut self, now: MonoNs, why: Tripped) {
        self.generation += 1;
        let until = now.plus(self.limits.open_ns);
        self.turn(Phase::Open { until, why });
    }

    /// How many probes are out.
    fn out(&self, now: MonoNs) -> u32 {
        self.slots
            .iter()
            .map(|slot| u32::from(slot.until > now))
            .sum()
    }

    fn probe(&mut self, now: MonoNs) -> Result<Pass, Refusal> {
        let out = self.out(now);
        let free = self
            .slots
            .iter_mut()
            .zip(0u16..)
            .find(|(slot, _)| slot.until <= now);
        match free {
            Some((slot, place)) if out < self.limits.probes => {
                slot.until = now.plus(self.limits.lease_ns);
                slot.serial = slot.serial.wrapping_add(1);
                Ok(Pass {
                    generation: self.generation,
                    serial: slot.serial,
                    slot: place,
                })
            }
            _ => Err(Refusal::Probing { out }),
        }
    }

    /// Frees the slot of a probe that has not been given to another since.
    fn free(&mut self, pass: Pass) {
        if let Some(slot) = self.slots.get_mut(usize::from(pass.slot))
            && slot.serial == pass.serial
        {
            slot.until = MonoNs(0);
        }
    }

    fn probed(&mut self, now: MonoNs, failed: bool, succeeded: u32) {
        if failed {
            self.open(now, Tripped::Probe);
        } else if succeeded < self.limits.probes {
            self.phase = Phase::HalfOpen { succeeded };
        } else {
            self.generation += 1;
            self.turn(if self.limits.ramp_ns == 0 {
                Phase::Closed
            } else {
                Phase::Ramping { since: now }
            });
        }
    }

    #[inline]
    fn count(&mut self, now: MonoNs, failed: bool, slow: bool, calls_min: u32) {
        let tripped = match &mut self.seen {
            Seen::Last(ring) => {
                // A window that holds fewer calls than are asked for is judged when it is full.
                let calls_min = calls_min.min(ring.size());
                let counts = ring.push(failed, slow);
                self.limits.judge(counts, calls_min)
            }
            Seen::Since(slices) => {
                let counts = slices.push(now, failed, slow);
                self.limits.judge(counts, calls_min)
            }
            Seen::Run(run) => {
                *run = if failed { run.saturating_add(1) } else { 0 };
                (*run >= self.limits.in_a_row).then_some(Tripped::Consecutive { failed: *run })
            }
        };
        if let Some(why) = tripped {
            self.open(now, why);
        }
    }

    /// Which part of the calls a ramp lets through.
    #[expect(clippy::cast_possible_truncation, reason = "at most a thousand")]
    fn per_mille(&self, since: MonoNs, now: MonoNs) -> u16 {
        let (passed, whole) = (now.since(since), self.limits.ramp_ns);
        if passed >= whole {
            return 1_000;
        }
        (RAMP_FROM + (1_000.0 - RAMP_FROM) * (passed as f64 / whole as f64)) as u16
    }
}

fn still_open(until: MonoNs, why: Tripped, now: MonoNs) -> Refusal {
    Refusal::Open {
        retry_after: Duration::from_nanos(until.since(now)),
        why,
    }
}
