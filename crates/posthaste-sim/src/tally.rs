//! What is counted while it happens.

use posthaste_core::policy::Criticality;
use posthaste_core::time::MonoNs;

use crate::histogram::Histogram;
use crate::rig::Scenario;

/// The time that one moment of the series stands for.
pub(crate) const MOMENT_NS: u64 = 100_000_000;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Answered in time.
    Ok,
    /// Its own policy refused it.
    RefusedHere,
    /// The server refused it, and it was not repeated.
    RefusedThere,
    /// No answer came in time.
    TimedOut,
    /// The answer was an error.
    Failed,
}

/// The calls of one tier.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Calls {
    pub(crate) calls: u64,
    pub(crate) ok: u64,
    pub(crate) refused_here: u64,
    pub(crate) refused_there: u64,
    pub(crate) timed_out: u64,
    pub(crate) failed: u64,
}

/// One moment of the whole run, warm-up included.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tick {
    /// Calls that arrived.
    pub(crate) calls: u32,
    /// Those of them that were answered in time, whenever that was.
    pub(crate) of_them_ok: u32,
    /// Calls that were answered in time now.
    pub(crate) ok: u32,
    /// Attempts that reached the server.
    pub(crate) reached: u32,
}

/// Everything that is counted.
#[derive(Debug)]
pub(crate) struct Tally {
    from: MonoNs,
    to: MonoNs,
    /// Of the calls that arrived while it was measured.
    pub(crate) tiers: [Calls; 4],
    /// Answered in time while it was measured, whenever they arrived.
    pub(crate) answered: u64,
    pub(crate) reached: u64,
    /// Attempts that a client's own policy refused.
    pub(crate) refused_here: u64,
    /// Attempts that the server refused.
    pub(crate) refused_there: u64,
    /// From sending an attempt to its good answer.
    pub(crate) attempts: Histogram,
    /// From a call's begin to its good end.
    pub(crate) calls: Histogram,
    pub(crate) ticks: Vec<Tick>,
}

impl Tally {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let moments = scenario.ends().0 / MOMENT_NS + 1;
        Self {
            from: scenario.measured_from(),
            to: scenario.ends(),
            tiers: [Calls::default(); 4],
            answered: 0,
            reached: 0,
            refused_here: 0,
            refused_there: 0,
            attempts: Histogram::new(),
            calls: Histogram::new(),
            ticks: vec![Tick::default(); usize::try_from(moments).unwrap_or(0)],
        }
    }

    fn counts(&self, at: MonoNs) -> bool {
        self.from <= at && at < self.to
    }

    fn tick(&mut self, at: MonoNs) -> Option<&mut Tick> {
        let place = usize::try_from(at.0 / MOMENT_NS).ok()?;
        self.ticks.get_mut(place)
    }

    /// A call arrived.
    pub(crate) fn call(&mut self, now: MonoNs, tier: Criticality) {
        if let Some(tick) = self.tick(now) {
            tick.calls += 1;
        }
        if self.counts(now) {
            self.tiers[tier.index()].calls += 1;
        }
    }

    /// A call ended.
    pub(crate) fn end(&mut self, now: MonoNs, began: MonoNs, tier: Criticality, end: End) {
        if end == End::Ok {
            if let Some(tick) = self.tick(began) {
                tick.of_them_ok += 1;
            }
            if let Some(tick) = self.tick(now) {
                tick.ok += 1;
            }
            if self.counts(now) {
                self.answered += 1;
            }
        }
        if !self.counts(began) {
            return;
        }
        let calls = &mut self.tiers[tier.index()];
        match end {
            End::Ok => calls.ok += 1,
            End::RefusedHere => calls.refused_here += 1,
            End::RefusedThere => calls.refused_there += 1,
            End::TimedOut => calls.timed_out += 1,
            End::Failed => calls.failed += 1,
        }
        if end == End::Ok {
            self.calls.add(now.since(began));
        }
    }

    /// A good answer reached its client.
    pub(crate) fn answered(&mut self, now: MonoNs, sent: MonoNs) {
        if self.counts(now) {
            self.attempts.add(now.since(sent));
        }
    }

    /// An attempt reached the server.
    pub(crate) fn reached(&mut self, now: MonoNs) {
        if let Some(tick) = self.tick(now) {
            tick.reached += 1;
        }
        if self.counts(now) {
            self.reached += 1;
        }
    }

    /// A client's policy refused an attempt.
    pub(crate) fn refused_here(&mut self, now: MonoNs) {
        if self.counts(now) {
            self.refused_here += 1;
        }
    }

    /// The server refused an attempt.
    pub(crate) fn refused_there(&mut self, now: MonoNs) {
        if self.counts(now) {
            self.refused_there += 1;
        }
    }
}
