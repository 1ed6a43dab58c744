//! What came of a run, in figures that can be compared.

use std::time::Duration;

use posthaste_core::policy::Criticality;

use crate::rig::Scenario;
use crate::tally::{Calls, MOMENT_NS, Tally, Tick};

/// What came of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Offered load: calls ÷ what the workers can do.
    pub load: f64,
    /// Calls answered in time ÷ what the workers can do.
    pub goodput: f64,
    /// The middle one of the attempts that were answered, from sending to answer.
    pub p50: Option<Duration>,
    /// What 99 % of the attempts that were answered did not exceed.
    pub p99: Option<Duration>,
    /// What 99 % of the calls that were answered did not exceed, pauses and all.
    pub call_p99: Option<Duration>,
    /// Attempts that reached the server ÷ calls.
    pub amplification: f64,
    /// Attempts that were refused, by the client's policy or by the server, ÷ calls. Under a load that
    /// the server can bear they are false.
    pub shed: f64,
    /// Each tier, the highest first.
    pub tiers: [TierOutcome; 4],
    /// How it came back, where something went wrong.
    pub recovery: Option<Recovery>,
    /// The run in steps of 100 ms, from the end of the warm-up.
    pub moments: Vec<Moment>,
}

/// What came of the calls of one tier, as parts of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TierOutcome {
    /// Which.
    pub tier: Criticality,
    /// How many calls.
    pub calls: u64,
    /// Answered in time; 1 where there was none.
    pub success: f64,
    /// Refused by the client's own policy.
    pub refused_here: f64,
    /// Refused by the server.
    pub refused_there: f64,
    /// Given up.
    pub timed_out: f64,
    /// Failed.
    pub failed: f64,
}

/// How it came back after the last trigger.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recovery {
    /// What part of the calls succeeded before the first trigger.
    pub before: f64,
    /// What part succeeded from the first trigger to the end of the last.
    pub during: f64,
    /// After how long, from the end of the last trigger, the part over one second is at least 95 % of
    /// what it was before, and stays so to the end of the run; never.
    pub after: Option<Duration>,
}

/// A tenth of a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// Since the end of the warm-up.
    pub at: Duration,
    /// Calls that arrived ÷ what the workers can do when they are all well.
    pub offered: f64,
    /// Calls answered in time ÷ what the workers can do when they are all well.
    pub goodput: f64,
    /// Attempts that reached the server ÷ calls that arrived.
    pub amplification: f64,
}

/// What must be reached again.
const RECOVERED: f64 = 0.95;
/// Moments in the second over which it must be.
const SECOND: usize = 10;

impl Outcome {
    pub(crate) fn of(tally: &Tally, scenario: &Scenario, load: f64) -> Self {
        let capacity = scenario.capacity();
        let calls: u64 = tally.tiers.iter().map(|tier| tier.calls).sum();
        let measured = scenario.ends().since(scenario.measured_from());
        let could = capacity * float(measured) / 1e9;
        Self {
            load,
            goodput: float(tally.answered) / could,
            p50: tally.attempts.quantile(0.5).map(Duration::from_nanos),
            p99: tally.attempts.quantile(0.99).map(Duration::from_nanos),
            call_p99: tally.calls.quantile(0.99).map(Duration::from_nanos),
            amplification: part(tally.reached, calls),
            shed: part(tally.refused_here + tally.refused_there, calls),
            tiers: Criticality::ALL.map(|tier| TierOutcome::of(tier, tally.tiers[tier.index()])),
            recovery: Recovery::of(&tally.ticks, scenario),
            moments: moments(&tally.ticks, scenario),
        }
    }
}

impl TierOutcome {
    fn of(tier: Criticality, of: Calls) -> Self {
        let success = if of.calls == 0 {
            1.0
        } else {
            part(of.ok, of.calls)
        };
        Self {
            tier,
            calls: of.calls,
            success,
            refused_here: part(of.refused_here, of.calls),
            refused_there: part(of.refused_there, of.calls),
            timed_out: part(of.timed_out, of.calls),
            failed: part(of.failed, of.calls),
        }
    }
}

impl Recovery {
    /// The calls are counted by when they arrived, so that chance in the arrivals is not taken for a
    /// relapse.
    fn of(ticks: &[Tick], scenario: &Scenario) -> Option<Self> {
        let place = |ns: u64| usize::try_from(ns / MOMENT_NS).unwrap_or(usize::MAX);
        let from = scenario.measured_from();
        let first = scenario.triggers.iter().map(|trigger| trigger.at).min()?;
        let calm = place(scenario.calm_from()?.0);
        let hit = place(from.after(first).0);
        let whole = place(scenario.ends().0).min(ticks.len());
        let before = success(ticks.get(place(from.0)..hit)?);
        let after = ticks.get(calm..whole)?;
        let well = |second: &[Tick]| success(second) >= RECOVERED * before;
        let bad = after.windows(SECOND).rposition(|second| !well(second));
        let after = match bad.map_or(0, |last| last + 1) {
            late if late + SECOND > after.len() => None,
            first => Some(Duration::from_nanos(first as u64 * MOMENT_NS)),
        };
        Some(Self {
            before,
            during: success(ticks.get(hit..calm)?),
            after,
        })
    }
}

fn moments(ticks: &[Tick], scenario: &Scenario) -> Vec<Moment> {
    let warm = usize::try_from(scenario.measured_from().0 / MOMENT_NS).unwrap_or(0);
    let last = usize::try_from(scenario.ends().0 / MOMENT_NS).unwrap_or(0);
    let could = scenario.capacity() * float(MOMENT_NS) / 1e9;
    let shown = ticks.iter().take(last).skip(warm).enumerate();
    let moment = |(place, tick): (usize, &Tick)| Moment {
        at: Duration::from_nanos(place as u64 * MOMENT_NS),
        offered: f64::from(tick.calls) / could,
        goodput: f64::from(tick.ok) / could,
        amplification: part(tick.reached.into(), tick.calls.into()),
    };
    shown.map(moment).collect()
}

fn success(ticks: &[Tick]) -> f64 {
    let sum = |of: fn(&Tick) -> u32| ticks.iter().map(|tick| u64::from(of(tick))).sum();
    part(sum(|tick| tick.of_them_ok), sum(|tick| tick.calls))
}

fn part(of: u64, whole: u64) -> f64 {
    float(of) / float(whole.max(1))
}

#[expect(clippy::cast_precision_loss, reason = "counts are far under 2⁵³")]
const fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rig::{Rig, Trigger, TriggerKind};
    use posthaste_core::policy::Settings;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    /// One second before, one while it lasts, four after; of ten calls a moment so many succeed.
    fn check(ok: impl Fn(usize) -> u32, after: Option<Duration>) {
        let scenario = Scenario {
            name: String::new(),
            rig: Rig {
                warmup: MS(0),
                measured: MS(1_000),
                ..Rig::default()
            },
            client: Settings::default(),
            server: None,
            triggers: vec![Trigger {
                kind: TriggerKind::Capacity,
                factor: 0.5,
                at: MS(1_000),
                lasts: MS(1_000),
            }],
        };
        let tick = |place| Tick {
            calls: 10,
            of_them_ok: ok(place),
            ..Tick::default()
        };
        let ticks: Vec<Tick> = (0..=60).map(tick).collect();
        let recovery = Recovery::of(&ticks, &scenario).expect("a trigger");
        assert!((recovery.before - 1.0).abs() < 1e-9, "{recovery:?}");
        assert_eq!(recovery.after, after, "{recovery:?}");
    }

    #[test]
    fn it_has_recovered_where_all_stays_well() {
        let ill = |range: std::ops::Range<usize>| {
            move |place| if range.contains(&place) { 0 } else { 10 }
        };
        check(ill(10..20), Some(MS(0)));
        check(ill(10..25), Some(MS(500)));
        check(ill(10..60), None);
        let relapse = |place| {
            if (10..22).contains(&place) || place == 40 {
                0
            } else {
                10
            }
        };
        check(relapse, Some(MS(2_100)));
    }
}
