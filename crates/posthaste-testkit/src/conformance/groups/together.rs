//! Settling events together with whatever else is committed: all of it, or nothing.

use posthaste_core::command::Reply;
use posthaste_core::error::ErrorKind;
use posthaste_core::group::{EventOutcome, GroupSettings, Unparking, Which};
use posthaste_core::job::JobState;

use super::member::{Member, ask, dead, failed, park, set_group, skip, unpark};
use crate::conformance::Bench;
use crate::conformance::words::{delete_topic, done, enqueue, event, ids, publish, settle};

/// What a handler brings about counts together with its end: jobs, events, settings.
pub fn what_follows_comes_with_the_settle(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1");
    let one = Member::joining(bench, "a1");
    let all = vec![
        one.settling("a1", EventOutcome::Done),
        enqueue(bench.job()),
        publish("invoices", vec![event("i1")]),
    ];
    let answer = bench.commit(all).expect("all of it");
    assert_eq!(answer.replies[0], Reply::EventsSettled { repeated: false });
    assert!(bench.lease().is_some());
    assert_eq!(ids(&bench.events("invoices")), ["i1"]);
    bench.check_position(1);
}

/// Where something that goes with it is refused, no event is settled, however it was to end.
pub fn a_refusal_undoes_a_settle_of_events(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1 a2 b1");
    let one = Member::joining(bench, "a1 a2 b1");
    let endings = [
        EventOutcome::Done,
        failed(1_000),
        park(),
        dead(),
        skip(),
        EventOutcome::Release,
    ];
    for outcome in endings {
        let all = vec![
            one.settling("a1 b1", outcome),
            publish("invoices", vec![event("i1")]),
            enqueue(bench.job()),
            delete_topic("nowhere"),
        ];
        bench.check_refused(all, 3, ErrorKind::NotFound);
    }
    let leave = vec![one.leaving(), delete_topic("nowhere")];
    bench.check_refused(leave, 1, ErrorKind::NotFound);
    one.gets_nothing();
    one.done("a1 a2 b1");
    bench.check_position(3);
    assert_eq!(bench.topics().len(), 1);
    bench.check_nothing_ready();
}

/// Where the settle is refused, nothing of what goes with it counts, whether it stands before or
/// behind it.
pub fn a_refused_settle_undoes_what_goes_with_it(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1");
    let one = Member::joining(bench, "a1");
    one.leaves();
    let stale = || one.settling("a1", EventOutcome::Done);
    let before = vec![publish("invoices", vec![event("i1")]), stale()];
    bench.check_refused(before, 1, ErrorKind::Stale);
    let behind = vec![stale(), enqueue(bench.job())];
    bench.check_refused(behind, 0, ErrorKind::Stale);
    assert_eq!(bench.topics().len(), 1);
    bench.check_nothing_ready();
}

/// Said again, a settle does not do again what was done with it.
pub fn what_follows_a_repeated_settle_is_done_once(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1 b1");
    let one = Member::joining(bench, "a1 b1");
    let all = || {
        vec![
            one.settling("a1 b1", EventOutcome::Done),
            publish("invoices", vec![event("i1")]),
            set_group(GroupSettings::default(), None),
        ]
    };
    bench.commit(all()).expect("all of it");
    for _ in 0..2 {
        let again = bench.commit(all()).expect("answered");
        let settled = Reply::EventsSettled { repeated: true };
        assert_eq!(again.replies, [settled, Reply::Repeated, Reply::Repeated]);
    }
    assert_eq!(ids(&bench.events("invoices")), ["i1"]);
    assert_eq!(bench.billing().totals.done, 2);
}

/// A job and an event end together, or neither does.
pub fn a_job_and_an_event_end_together(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1");
    let one = Member::joining(bench, "a1");
    bench.enqueue(bench.job());
    let leased = bench.must_lease();
    let both = |last| {
        vec![
            settle(&leased, done()),
            one.settling("a1", EventOutcome::Done),
            last,
        ]
    };
    let refused = both(delete_topic("nowhere"));
    bench.check_refused(refused, 2, ErrorKind::NotFound);
    bench.check_state(leased.id, JobState::Running);
    let answer = bench.commit(both(publish("invoices", vec![event("i1")])));
    assert!(answer.is_ok(), "{answer:?}");
    bench.check_state(leased.id, JobState::Completed);
    bench.check_position(1);
}

/// A command sees what those before it did to a group.
pub fn a_later_command_sees_the_group(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1 a2 b1");
    let one = Member::joining(bench, "a1 a2 b1");
    let all = vec![
        one.settling("a1", park()),
        unpark(Which::At(one.at("a1")), Unparking::Release),
        one.settling("b1", EventOutcome::Done),
        one.leaving(),
    ];
    let answer = bench.commit(all).expect("all of it");
    let moved = Reply::EventsMoved { events: 1, left: 0 };
    assert_eq!(answer.replies[1], moved);
    // It is put aside behind the others' backs: what is refused is looked at once that is done.
    bench.check_parked("a2 behind");
    let twice = vec![
        one.leaving(),
        publish("orders", vec![super::member::keyed("c1")]),
    ];
    bench.check_refused(twice, 0, ErrorKind::Stale);
    let two = Member::joining(bench, "a1");
    two.done("a1");
    bench.check_position(3);
}

/// Events of two groups are settled by one commit.
pub fn two_groups_in_one_commit(bench: &Bench<'_>) {
    bench.group_named("billing", GroupSettings::default());
    bench.group_named("audit", GroupSettings::default());
    bench.tell("a1 b1");
    let one = Member::joining(bench, "a1 b1");
    let two = Member::joining_as(bench, ask("audit", None, 1), "a1 b1");
    let stale = vec![
        one.settling("a1 b1", EventOutcome::Done),
        two.settling("b1", EventOutcome::Done),
        two.settling("b1", failed(0)),
    ];
    bench.check_refused(stale, 2, ErrorKind::Stale);
    let both = vec![
        one.settling("a1 b1", EventOutcome::Done),
        two.settling("a1", EventOutcome::Done),
    ];
    bench.commit(both).expect("both");
    bench.check_position(2);
    assert_eq!(bench.view_of("audit").position.sequence, 1);
}

/// A commit under a key happens once, also where it settles events.
pub fn a_keyed_commit_settles_once(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1");
    let one = Member::joining(bench, "a1");
    let all = || {
        vec![
            one.settling("a1", failed(0)),
            publish("invoices", vec![event("i1")]),
        ]
    };
    let first = bench.commit_keyed("k", 1, all()).expect("settled");
    let again = bench.commit_keyed("k", 1, all()).expect("answered");
    assert_eq!((again.repeated, again.replies), (true, first.replies));
    assert_eq!(bench.billing().totals.retried, 1);
    assert_eq!(ids(&bench.events("invoices")), ["i1"]);
}
