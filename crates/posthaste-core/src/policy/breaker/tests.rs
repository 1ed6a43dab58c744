//! The breaker as a story.

use super::*;
use crate::policy::settings::Window;

pub(super) const OPEN_NS: u64 = 100;
pub(super) const LEASE_NS: u64 = 50;
pub(super) const RAMP_NS: u64 = 200;
pub(super) const OK: Ended = Ended::With(Verdict::Ok);
pub(super) const FAILED: Ended = Ended::With(Verdict::Retry);
pub(super) const THROTTLED: Ended = Ended::With(Verdict::Throttled(None));

pub(super) fn rate(window: Window, slow: Option<(Duration, f64)>, calls_min: u32) -> Trip {
    Trip::Rate {
        window,
        failures: 0.5,
        slow,
        calls_min,
    }
}

pub(super) fn set(trip: Trip, probes: u32) -> settings::Breaker {
    settings::Breaker {
        trip,
        open_for: Duration::from_nanos(OPEN_NS),
        probes,
        probe_lease: Duration::from_nanos(LEASE_NS),
        ramp: Duration::from_nanos(RAMP_NS),
    }
}

/// A breaker on its own clock.
struct Bench {
    breaker: Breaker,
    now: MonoNs,
}

impl Bench {
    fn new(trip: Trip, probes: u32) -> Self {
        let now = MonoNs(1_000);
        Self {
            breaker: Breaker::new(&set(trip, probes), now),
            now,
        }
    }

    /// Opens after three failures, tries three probes.
    fn in_a_row() -> Self {
        Self::new(Trip::Consecutive(3), 3)
    }

    fn half_open(mut self) -> Self {
        self.calls(3, FAILED);
        self.after(OPEN_NS)
    }

    fn after(mut self, ns: u64) -> Self {
        self.pass(ns);
        self
    }

    fn pass(&mut self, ns: u64) {
        self.now = self.now.plus(ns);
    }

    fn admit(&mut self) -> Result<Pass, Refusal> {
        let peeked = self.breaker.peek(self.now);
        let admitted = self.breaker.admit(self.now, 0);
        assert_eq!(
            peeked.err(),
            admitted.err(),
            "what is peeked is what is met"
        );
        admitted
    }

    fn begin(&mut self) -> Pass {
        self.admit().expect("let through")
    }

    fn end(&mut self, pass: Pass, ended: Ended) {
        self.breaker.ended(self.now, pass, ended, 1);
    }

    fn calls(&mut self, count: u32, ended: Ended) {
        for _ in 0..count {
            let pass = self.begin();
            self.end(pass, ended);
        }
    }

    fn check(&self, state: State) {
        assert_eq!(self.breaker.state(self.now), state);
    }
}

#[test]
fn so_many_failures_in_a_row_open_it_and_a_success_between_does_not() {
    let mut bench = Bench::in_a_row();
    bench.calls(2, FAILED);
    bench.calls(1, OK);
    bench.calls(2, FAILED);
    bench.check(State::Closed);
    bench.calls(1, FAILED);
    bench.check(State::Open);
    assert_eq!(
        bench.admit(),
        Err(Refusal::Open {
            retry_after: Duration::from_nanos(OPEN_NS),
            why: Tripped::Consecutive { failed: 3 },
        })
    );
    assert_eq!(bench.breaker.changes(), 1);
}

#[test]
fn a_share_of_failures_opens_it_but_not_with_too_few_calls() {
    for window in [Window::Count(20), Window::Time(Duration::from_micros(1))] {
        let mut bench = Bench::new(rate(window, None, 10), 3);
        bench.calls(9, FAILED);
        bench.check(State::Closed);
        bench.calls(1, OK);
        bench.check(State::Open);
        let why = Tripped::Failures { failed: 9, of: 10 };
        assert_eq!(bench.breaker.tripped(), Some(why));
    }
}

#[test]
fn a_window_smaller_than_the_fewest_calls_is_judged_when_it_is_full() {
    let mut bench = Bench::new(rate(Window::Count(5), None, 20), 3);
    bench.calls(4, FAILED);
    bench.check(State::Closed);
    bench.calls(1, FAILED);
    bench.check(State::Open);
}

#[test]
fn what_left_the_window_does_not_open_it() {
    let mut bench = Bench::new(rate(Window::Time(Duration::from_nanos(100)), None, 10), 3);
    bench.calls(9, FAILED);
    bench.pass(100);
    bench.calls(9, FAILED);
    bench.check(State::Closed);

    let mut bench = Bench::new(rate(Window::Count(10), None, 10), 3);
    bench.calls(4, FAILED);
    bench.calls(10, OK);
    bench.calls(4, FAILED);
    bench.check(State::Closed);
    bench.calls(1, FAILED);
    bench.check(State::Open);
}

#[test]
fn a_share_of_slow_calls_opens_it_and_a_slow_probe_has_failed() {
    let slow = Some((Duration::from_nanos(40), 0.5));
    let mut bench = Bench::new(rate(Window::Count(10), slow, 4), 1);
    for took in [39, 39, 40, 90] {
        bench.check(State::Closed);
        let pass = bench.begin();
        bench.breaker.ended(bench.now, pass, OK, took);
    }
    assert_eq!(
        bench.breaker.tripped(),
        Some(Tripped::Slow { slow: 2, of: 4 })
    );
    bench.pass(OPEN_NS);
    let probe = bench.begin();
    bench.breaker.ended(bench.now, probe, OK, 40);
    bench.check(State::Open);
}

#[test]
fn refusals_and_dropped_calls_do_not_open_it_and_fatal_answers_are_answers() {
    let mut bench = Bench::in_a_row();
    bench.calls(100, THROTTLED);
    bench.calls(100, Ended::Dropped);
    bench.calls(100, Ended::With(Verdict::Fatal));
    bench.check(State::Closed);
    // A throttled call is no success either: the run of failures goes on over it.
    bench.calls(2, FAILED);
    bench.calls(1, THROTTLED);
    bench.calls(1, Ended::TimedOut);
    bench.check(State::Open);
}

#[test]
fn as_many_probes_go_out_as_it_is_set_to() {
    let mut bench = Bench::in_a_row().half_open();
    bench.check(State::HalfOpen);
    let probes = [bench.begin(), bench.begin(), bench.begin()];
    assert!(probes.iter().all(|probe| probe.is_probe()));
    assert_eq!(bench.admit(), Err(Refusal::Probing { out: 3 }));
    bench.end(probes[1], OK);
    let _probe = bench.begin();
    assert_eq!(bench.admit(), Err(Refusal::Probing { out: 3 }));
}

#[test]
fn a_dropped_or_throttled_probe_frees_its_slot_and_counts_nothing() {
    for ended in [Ended::Dropped, THROTTLED] {
        let mut bench = Bench::in_a_row().half_open();
        bench.calls(20, ended);
        bench.check(State::HalfOpen);
    }
}

#[test]
fn a_probe_that_never_reports_gives_its_slot_back_when_its_lease_is_over() {
    let mut bench = Bench::in_a_row().half_open();
    let lost = [bench.begin(), bench.begin(), bench.begin()];
    bench.pass(LEASE_NS - 1);
    assert_eq!(bench.admit(), Err(Refusal::Probing { out: 3 }));
    bench.pass(1);
    let others = [bench.begin(), bench.begin(), bench.begin()];
    // The lost ones come back late: they free nobody else's slot.
    bench.end(lost[0], Ended::Dropped);
    bench.end(lost[1], OK);
    assert_eq!(bench.admit(), Err(Refusal::Probing { out: 3 }));
    bench.end(others[0], OK);
    bench.end(others[1], OK);
    bench.check(State::Ramping);
}

#[test]
fn probes_that_take_longer_than_their_lease_still_close_it() {
    let mut bench = Bench::in_a_row().half_open();
    for _ in 0..3 {
        let probe = bench.begin();
        bench.pass(2 * LEASE_NS);
        bench.end(probe, OK);
    }
    bench.check(State::Ramping);
}

#[test]
fn one_failed_probe_opens_it_again_and_the_others_say_nothing_more() {
    let mut bench = Bench::in_a_row().half_open();
    let (first, second) = (bench.begin(), bench.begin());
    bench.end(first, Ended::TimedOut);
    assert_eq!(bench.breaker.tripped(), Some(Tripped::Probe));
    bench.pass(OPEN_NS);
    let probe = bench.begin();
    for _ in 0..5 {
        bench.end(second, OK);
        bench.end(second, FAILED);
    }
    bench.check(State::HalfOpen);
    bench.end(probe, FAILED);
    bench.check(State::Open);
}

#[test]
fn a_late_failure_from_before_it_opened_does_not_open_it_again() {
    let mut bench = Bench::in_a_row();
    let late = bench.begin();
    let mut bench = bench.half_open();
    bench.calls(3, OK);
    bench.check(State::Ramping);
    for _ in 0..9 {
        bench.end(late, FAILED);
    }
    bench.check(State::Ramping);
}

#[test]
fn after_the_probes_a_growing_part_goes_through() {
    let mut bench = Bench::in_a_row().half_open();
    bench.calls(3, OK);
    let quarter = |part: u64| part << 62;
    for (passed, per_mille) in [(0, 100), (RAMP_NS / 2, 550), (RAMP_NS - 1, 995)] {
        let now = bench.now.plus(passed);
        let part = u64::from(per_mille) * (u64::MAX / 1_000);
        let refused = bench.breaker.admit(now, part + u64::MAX / 1_000);
        assert_eq!(refused, Err(Refusal::Ramping { per_mille }));
        let admitted = bench.breaker.admit(now, part - u64::MAX / 1_000);
        assert!(admitted.is_ok());
    }
    assert!(bench.breaker.admit(bench.now, quarter(1)).is_err());
    bench.pass(RAMP_NS);
    assert!(bench.breaker.admit(bench.now, u64::MAX).is_ok());
    bench.check(State::Closed);
    assert_eq!(bench.breaker.changes(), 4);
}

#[test]
fn a_bad_share_during_the_ramp_opens_it_again() {
    let mut bench = Bench::new(rate(Window::Count(100), None, 20), 1);
    bench.calls(20, FAILED);
    bench.pass(OPEN_NS);
    bench.calls(1, OK);
    bench.calls(2, OK);
    bench.calls(2, FAILED);
    bench.check(State::Ramping);
    bench.calls(1, FAILED);
    assert_eq!(
        bench.breaker.tripped(),
        Some(Tripped::Failures { failed: 3, of: 5 })
    );
}

#[test]
fn after_the_ramp_a_few_failures_are_too_few_again() {
    let mut bench = Bench::new(rate(Window::Count(100), None, 20), 1);
    bench.calls(20, FAILED);
    bench.pass(OPEN_NS);
    bench.calls(1, OK);
    let out: Vec<_> = (0..19).map(|_| bench.begin()).collect();
    bench.pass(RAMP_NS);
    out.into_iter().for_each(|pass| bench.end(pass, FAILED));
    bench.check(State::Closed);
    bench.calls(1, FAILED);
    bench.check(State::Open);
}

#[test]
fn without_a_ramp_the_probes_close_it_at_once() {
    let mut bench = Bench::in_a_row().half_open();
    let mut settings = set(Trip::Consecutive(3), 3);
    settings.ramp = Duration::ZERO;
    bench.breaker.reload(&settings, bench.now);
    bench.calls(3, OK);
    bench.check(State::Closed);
    bench.calls(2, FAILED);
    bench.check(State::Closed);
}

#[test]
fn an_isolated_one_lets_nothing_through_until_it_joins_and_then_probes() {
    let mut bench = Bench::in_a_row();
    let before = bench.begin();
    bench.breaker.isolate();
    bench.breaker.isolate();
    bench.pass(1_000_000);
    assert_eq!(bench.admit(), Err(Refusal::Isolated));
    bench.check(State::Isolated);
    bench.breaker.join(bench.now);
    bench.end(before, FAILED);
    bench.check(State::HalfOpen);
    bench.calls(3, OK);
    bench.check(State::Ramping);
    bench.breaker.join(bench.now);
    bench.check(State::Ramping);
    assert_eq!(bench.breaker.changes(), 3);
}

#[test]
fn a_reload_keeps_what_a_window_of_the_same_shape_saw() {
    let check = |from: Trip, to: Trip, state: State| {
        let mut bench = Bench::new(from, 3);
        bench.calls(9, FAILED);
        bench.breaker.reload(&set(to, 3), bench.now);
        bench.calls(1, FAILED);
        bench.check(state);
    };
    let (count, time) = (Window::Count(20), Window::Time(Duration::from_micros(1)));
    check(rate(count, None, 20), rate(count, None, 10), State::Open);
    check(rate(time, None, 20), rate(time, None, 10), State::Open);
    check(Trip::Consecutive(20), Trip::Consecutive(10), State::Open);
    check(
        rate(count, None, 20),
        rate(Window::Count(21), None, 10),
        State::Closed,
    );
    check(rate(count, None, 20), rate(time, None, 10), State::Closed);
    check(rate(time, None, 20), Trip::Consecutive(10), State::Closed);
}

#[test]
fn a_reload_to_fewer_probes_counts_those_that_are_out() {
    let mut bench = Bench::in_a_row().half_open();
    let probes = [bench.begin(), bench.begin(), bench.begin()];
    bench
        .breaker
        .reload(&set(Trip::Consecutive(3), 1), bench.now);
    bench.end(probes[0], Ended::Dropped);
    bench.end(probes[1], Ended::Dropped);
    assert_eq!(bench.admit(), Err(Refusal::Probing { out: 1 }));
    bench.end(probes[2], Ended::Dropped);
    let _probe = bench.begin();
    bench
        .breaker
        .reload(&set(Trip::Consecutive(3), 5), bench.now);
    let _probe = bench.begin();
}

#[test]
fn a_reload_to_a_shorter_time_of_being_open_is_felt_at_once() {
    let mut bench = Bench::in_a_row();
    bench.calls(3, FAILED);
    let mut settings = set(Trip::Consecutive(3), 3);
    settings.open_for = Duration::from_nanos(10);
    bench.breaker.reload(&settings, bench.now);
    bench.pass(10);
    let _probe = bench.begin();
}
