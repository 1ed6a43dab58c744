//! How the handling of an event ends: done, tried again, given up on, passed over, given back.

use std::sync::Arc;

use posthaste_core::backoff::Backoff;
use posthaste_core::command::{Command, Reply};
use posthaste_core::error::ErrorKind;
use posthaste_core::group::{EventOutcome, GroupSettings, OnExhausted};
use posthaste_core::limits;

use super::member::{
    LEASE, Member, dead, failed, failed_with_backoff, keyed, named, park, skip, with,
};
use crate::conformance::Bench;
use crate::conformance::words::topic;

/// What is done does not come again, to nobody.
pub fn what_is_done_is_over(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1 b1");
    let one = Member::joining(bench, "a1 b1");
    one.done("a1 b1");
    one.gets_nothing();
    one.leaves();
    let two = Member::joining(bench, "");
    bench.advance(LEASE - 1);
    two.gets_nothing();
    let view = bench.billing();
    assert_eq!((view.totals.done, view.totals.redelivered), (2, 0));
    assert_eq!((view.position, view.lag), (view.end, 0));
}

/// A failed event is tried again after its delay, not before, and an attempt was spent.
pub fn a_retry_may_name_its_delay(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1");
    let one = Member::joining(bench, "a1");
    for attempt in 2..5 {
        one.ends("a1", failed(3_000));
        assert_eq!(bench.billing().retrying, 1);
        bench.advance(2_999);
        one.gets_nothing();
        bench.advance(1);
        one.gets("a1");
        assert_eq!(one.has("a1").attempt, attempt);
    }
    one.ends("a1", failed(0));
    one.gets("a1");
    one.done("a1");
    let totals = bench.billing().totals;
    assert_eq!((totals.retried, totals.redelivered, totals.done), (4, 4, 1));
}

/// Where no delay is named, the group's backoff says when, and it grows.
pub fn the_groups_backoff_grows(bench: &Bench<'_>) {
    let backoff = Backoff {
        jitter_percent: 0,
        ..Backoff::default()
    };
    bench.group(with(|it| it.backoff = Some(backoff)));
    bench.tell("a1");
    let one = Member::joining(bench, "a1");
    for delay in [2_000, 4_000, 8_000, 16_000] {
        one.ends("a1", failed_with_backoff());
        bench.advance(delay - 1);
        one.gets_nothing();
        bench.advance(1);
        one.gets("a1");
    }
}

/// After its last attempt an event is parked, with what went wrong last and how often.
pub fn attempts_of_an_event_run_out(bench: &Bench<'_>) {
    bench.group(with(|it| it.max_attempts = Some(3)));
    bench.tell("a1 b1");
    let one = Member::joining(bench, "a1 b1");
    one.done("b1");
    for attempt in 1..=3 {
        let leased = one.has("a1");
        assert_eq!((leased.attempt, leased.max_attempts), (attempt, 3));
        one.ends("a1", failed(0));
        if attempt < 3 {
            one.gets("a1");
        }
    }
    bench.check_parked("a1 exhausted");
    let kept = bench.kept(false).remove(0);
    assert_eq!(
        (kept.attempts, kept.error.as_deref()),
        (3, Some("no answer"))
    );
    assert_eq!((kept.at, &kept.event), (bench.wall(), &one.has("a1").event));
    one.gets_nothing();
    bench.check_position(2);
}

/// Where the group declares it, such an event is a dead letter, and its key moves on.
pub fn the_exhausted_are_dead_where_declared(bench: &Bench<'_>) {
    bench.group(with(|it| {
        it.max_attempts = Some(1);
        it.on_exhausted = Some(OnExhausted::Dead);
    }));
    bench.tell("a1 a2");
    let one = Member::joining(bench, "a1 a2");
    one.ends("a1", failed(0));
    one.done("a2");
    bench.check_dead("a1 exhausted");
    bench.check_parked("");
    bench.check_position(2);
}

/// A dead event is kept with its error, and its key moves on at once.
pub fn a_dead_event_lets_its_key_go_on(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1 a2 a3");
    let one = Member::joining(bench, "a1 a2");
    one.ends("a1", dead());
    one.done("a2");
    one.gets("a3");
    bench.check_dead("a1 failed");
    let kept = bench.kept(true).remove(0);
    assert_eq!(
        (kept.attempts, kept.error.as_deref()),
        (1, Some("no answer"))
    );
    one.done("a3");
    bench.check_position(3);
    let view = bench.billing();
    assert_eq!((view.dead, view.totals.dead, view.totals.done), (1, 1, 2));
}

/// An event that was passed over is finished, kept nowhere, and counted.
pub fn a_skipped_event_is_finished(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1 a2");
    let one = Member::joining(bench, "a1 a2");
    one.ends("a1", skip());
    one.done("a2");
    one.gets_nothing();
    let view = bench.billing();
    assert_eq!((view.position.sequence, view.dead, view.parked), (2, 0, 0));
    assert_eq!((view.totals.skipped, view.totals.done), (1, 1));
}

/// Given back, an event is handed out again at once, as often as one likes, and stays at its first
/// attempt.
pub fn an_event_given_back_spends_nothing(bench: &Bench<'_>) {
    bench.group(with(|it| it.max_attempts = Some(1)));
    bench.tell("a1");
    let one = Member::joining(bench, "a1");
    for _ in 0..7 {
        one.ends("a1", EventOutcome::Release);
        one.gets("a1");
        assert_eq!((one.has("a1").attempt, one.has("a1").crashes), (1, 0));
    }
    one.done("a1");
    let totals = bench.billing().totals;
    assert_eq!((totals.done, totals.retried, totals.redelivered), (1, 0, 0));
}

/// Of one settle, each event may end otherwise.
pub fn each_event_ends_by_itself(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1 b1 c1 d1 e1 f1");
    let one = Member::joining(bench, "a1 b1 c1 d1 e1 f1");
    let settle = one.settling_each(vec![
        ("f1", EventOutcome::Release),
        ("a1", EventOutcome::Done),
        ("c1", park()),
        ("b1", failed(1_000)),
        ("d1", dead()),
        ("e1", skip()),
    ]);
    let settled = Reply::EventsSettled { repeated: false };
    assert_eq!(bench.one(settle), Ok(settled));
    bench.check_parked("c1 failed");
    bench.check_dead("d1 failed");
    one.gets("f1");
    one.gets_nothing();
    bench.advance(1_000);
    one.gets("b1");
    bench.check_position(1);
}

/// What a member does not have it can't settle, and nothing of such a settle counts.
pub fn only_what_is_in_hands_is_settled(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1 b1 c1");
    let one = Member::joining(bench, "a1");
    let two = Member::joining(bench, "b1");
    let settle = |member: &Member<'_, '_>, ends: &[u64], outcome: EventOutcome| {
        let ends = ends.iter().map(|at| (*at, outcome.clone()));
        Command::SettleEvents {
            topic: topic("orders"),
            group: named("billing"),
            token: member.token,
            ends: ends.collect(),
        }
    };
    let (a1, b1, c1) = (one.at("a1"), two.at("b1"), two.at("b1") + 1);
    for outcome in [EventOutcome::Done, EventOutcome::Release, failed(0), park()] {
        for strange in [b1, c1, c1 + 1, 1 << 40] {
            let alone = settle(&one, &[strange], outcome.clone());
            bench.check_refused(vec![alone], 0, ErrorKind::Stale);
            let with_mine = settle(&one, &[a1, strange], outcome.clone());
            bench.check_refused(vec![with_mine], 0, ErrorKind::Stale);
        }
    }
    one.done("a1");
    one.check_unsettled("a1", failed(0), ErrorKind::Stale);
    one.check_unsettled("a1", skip(), ErrorKind::Stale);
    two.done("b1");
}

/// A settle that was applied may be said again, and says so; where the outcome is another, or only a
/// part was applied, that is told.
pub fn a_repeated_settle_says_so(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1 b1 c1");
    let one = Member::joining(bench, "a1 b1 c1");
    one.done("a1 b1");
    let repeated = |repeated| Ok(Reply::EventsSettled { repeated });
    for words in ["a1", "a1 b1", "b1"] {
        let again = bench.one(one.settling(words, EventOutcome::Done));
        assert_eq!(again, repeated(true), "{words}");
    }
    let more = bench.one(one.settling("a1 b1 c1", EventOutcome::Done));
    assert_eq!(more, repeated(false));
    let again = bench.one(one.settling("a1 b1 c1", EventOutcome::Done));
    assert_eq!(again, repeated(true));
    assert_eq!(bench.billing().totals.done, 3);
    // What was given up on is not done.
    bench.tell("d1 e1");
    one.gets("d1 e1");
    one.ends("d1", park());
    one.ends("e1", dead());
    bench.check_parked("d1 failed");
    bench.check_dead("e1 failed");
    one.check_unsettled("d1", EventOutcome::Done, ErrorKind::Stale);
    one.check_unsettled("e1", EventOutcome::Done, ErrorKind::Stale);
}

/// A settle has an event at least, and a commit settles no more than so many.
pub fn settles_have_bounds(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1");
    let one = Member::joining(bench, "a1");
    bench.check_refused(vec![one.settling("", skip())], 0, ErrorKind::Invalid);
    let long = one.settling("a1", failed(limits::DELAY_MS_MAX + 1));
    bench.check_refused(vec![long], 0, ErrorKind::Invalid);
    let many = Command::SettleEvents {
        topic: topic("orders"),
        group: named("billing"),
        token: one.token,
        ends: (0..=limits::SETTLED_EVENTS_MAX as u64)
            .map(|at| (at, EventOutcome::Done))
            .collect(),
    };
    let before = bench.look();
    let error = bench.one(many).expect_err("one too many");
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    assert_eq!(bench.look(), before);
    one.done("a1");
}

/// As many events as one lease hands out are settled by one commit.
pub fn a_thousand_are_settled_at_once(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    let most = limits::LEASE_EVENTS_MAX as usize;
    let words: Vec<String> = (0..most).map(|n| format!("k{}x{n}", n % 50)).collect();
    bench.publish("orders", words.iter().map(|id| keyed(id)).collect());
    let one = Member::joining(bench, &words.join(" "));
    one.done(&words.join(" "));
    bench.check_position(most as u64);
    assert_eq!(bench.billing().totals.done, most as u64);
}

/// What went wrong is kept up to 64 KiB, and cut behind that.
pub fn a_long_error_is_cut(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1");
    let one = Member::joining(bench, "a1");
    let long = "x".repeat(limits::RESULT_BYTES_MAX + 10);
    let error = Arc::from(long.as_str());
    one.ends("a1", EventOutcome::Dead { error });
    bench.check_dead("a1 failed");
    let kept = bench.kept(true).remove(0);
    let kept = kept.error.expect("an error");
    assert_eq!(kept.len(), limits::RESULT_BYTES_MAX);
    assert!(long.starts_with(&*kept), "cut, and not changed");
}
