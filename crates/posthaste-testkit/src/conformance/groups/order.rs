//! Per key in order, many keys at once, and a position that never passes an unfinished event.

use std::collections::BTreeMap;

use posthaste_core::error::ErrorKind;
use posthaste_core::group::{EventOutcome, GroupSettings};
use posthaste_core::limits;

use super::member::{Member, failed, ids, skip, with};
use crate::conformance::Bench;
use crate::conformance::words::event;

/// The events of a key come in order, those of others between them.
pub fn keys_come_in_order(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1 b1 a2 a3 b2 c1");
    let one = Member::joining(bench, "a1 b1 a2 a3 b2 c1");
    one.gets_nothing();
    one.done("a1 a2");
    one.done("c1 b1 b2");
    one.done("a3");
    bench.check_position(6);
}

/// What has no key waits for nothing else.
pub fn an_event_without_a_key_stands_alone(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.publish("orders", vec![event("x"), event("y"), event("z")]);
    let one = Member::joining(bench, "x");
    let two = Member::joining(bench, "y z");
    two.done("z");
    one.ends("x", failed(60_000));
    two.done("y");
    bench.check_position(0);
}

/// A key is with one member at a time: the next event of it is for nobody else until all that the
/// member has of it is settled.
pub fn a_key_is_with_one_member(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1 a2 a3 b1");
    let one = Member::joining(bench, "a1 a2");
    let two = Member::joining(bench, "b1");
    two.gets_nothing();
    one.done("a1");
    two.gets_nothing();
    one.done("a2");
    two.gets("a3");
    one.gets_nothing();
}

/// The member that has a key is handed what is published under it, in the meantime.
pub fn a_run_goes_on(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1");
    let one = Member::joining(bench, "a1");
    let two = Member::joining(bench, "");
    bench.tell("a2");
    two.gets_nothing();
    one.gets("a2");
    one.done("a1 a2");
    bench.tell("a3");
    two.gets("a3");
}

/// A failed event holds back its key, and nothing else: what its member has behind it is no longer
/// its own, and comes again behind it, in order.
pub fn order_holds_under_retry(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1 a2 b1 a3");
    let one = Member::joining(bench, "a1 a2 b1");
    one.ends("a1", failed(5_000));
    one.check_unsettled("a2", EventOutcome::Done, ErrorKind::Stale);
    one.done("b1");
    bench.tell("b2 a4");
    let two = Member::joining(bench, "b2");
    two.gets_nothing();
    bench.advance(4_999);
    one.gets_nothing();
    bench.advance(1);
    two.gets("a1 a2");
    assert_eq!((two.has("a1").attempt, two.has("a2").attempt), (2, 1));
    two.ends("a1", failed(1_000));
    one.gets_nothing();
    bench.advance(1_000);
    one.gets("a1 a2 a3 a4");
    assert_eq!(one.has("a1").attempt, 3);
    one.done("a1 a2 a3 a4");
    two.done("b2");
    bench.check_position(6);
}

/// What is settled out of its key's order is refused: it would be finished before one that may come
/// again.
pub fn a_key_is_settled_in_order(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1 a2 b1");
    let one = Member::joining(bench, "a1 a2 b1");
    for outcome in [EventOutcome::Done, skip(), failed(10)] {
        one.check_unsettled("a2", outcome.clone(), ErrorKind::Conflict);
        one.check_unsettled("b1 a2 a1", outcome, ErrorKind::Conflict);
    }
    one.done("b1 a1 a2");
    bench.check_position(3);
}

/// What is given back is handed out again at once, with what comes behind it, and no attempt was
/// spent.
pub fn a_release_takes_its_key_along(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1 a2 a3 b1");
    let one = Member::joining(bench, "a1 a2 a3 b1");
    one.ends("a2", EventOutcome::Release);
    one.check_unsettled("a3", EventOutcome::Done, ErrorKind::Stale);
    one.gets("a2 a3");
    one.ends("a1", EventOutcome::Release);
    one.check_unsettled("a2", EventOutcome::Done, ErrorKind::Stale);
    let two = Member::joining(bench, "a1 a2 a3");
    let attempts = ["a1", "a2", "a3"].map(|id| (two.has(id).attempt, two.has(id).crashes));
    assert_eq!(attempts, [(1, 0); 3]);
    two.done("a1 a2 a3");
    one.done("b1");
    bench.check_position(4);
}

/// The position is that of the first event which is not finished, however much is finished behind
/// it, and whatever becomes of that.
pub fn the_position_passes_nothing_unfinished(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1 b1 c1 d1 e1");
    let one = Member::joining(bench, "a1 b1 c1 d1");
    let check = |position: u64, unfinished: u64| {
        let view = bench.billing();
        assert_eq!(
            (view.position.sequence, view.unfinished),
            (position, unfinished)
        );
        assert_eq!((view.head.sequence, view.end.sequence), (4, 5));
        assert_eq!(view.lag, 5 - position);
    };
    check(0, 4);
    one.done("d1");
    check(0, 3);
    one.ends("b1", skip());
    check(0, 2);
    one.ends("a1", failed(1_000));
    check(0, 2);
    one.ends("c1", EventOutcome::Release);
    check(0, 2);
    bench.advance(1_000);
    one.gets("a1 c1");
    one.done("a1");
    check(2, 1);
    one.done("c1");
    check(4, 0);
    one.gets("e1");
    one.done("e1");
    assert_eq!(bench.billing().position.sequence, 5);
}

/// No more events are in the hands of members than the group allows, over all of them, exactly.
pub fn in_flight_is_exact(bench: &Bench<'_>) {
    bench.group(with(|it| it.in_flight = Some(3)));
    bench.tell("a1 b1 c1 d1 e1");
    let one = Member::joining(bench, "a1 b1");
    let two = Member::joining(bench, "c1");
    two.gets_nothing();
    one.gets_nothing();
    one.ends("b1", failed(60_000));
    two.gets("d1");
    two.gets_nothing();
    bench.set(with(|it| it.in_flight = Some(1)));
    one.done("a1");
    two.gets_nothing();
    two.done("c1 d1");
    one.gets("e1");
    two.gets_nothing();
    assert_eq!(bench.billing().leased, 1);
}

/// A key of which very much is there leaves room for others.
pub fn a_busy_key_leaves_room(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    let most = limits::KEY_RUN_MAX as usize;
    let busy: Vec<String> = (1..=most + 5).map(|n| format!("a{n}")).collect();
    bench.tell(&busy.join(" "));
    bench.tell("b1");
    let want = [&busy[..most], &["b1".to_owned()]].concat().join(" ");
    let one = Member::joining(bench, &want);
    one.gets_nothing();
    one.done(&busy[..most].join(" "));
    one.gets(&busy[most..].join(" "));
}

/// However members fail, are lost and share the keys: of each key, an event is done only after the
/// one before it, and all are.
pub fn order_holds_whatever_happens(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    let words: Vec<String> = (0..60).map(|n| format!("k{}x{}", n % 5, n / 5)).collect();
    for part in words.chunks(13) {
        bench.tell(&part.join(" "));
    }
    let mut done: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let (mut turn, mut count, mut last) = (0, 0, 0);
    let mut members = [Member::joins(bench), Member::joins(bench)];
    let all = bench.eventually(|| {
        turn += 1;
        if turn % 7 == 1 {
            bench.advance(super::member::LEASE + 1);
            for member in &mut members {
                let lost = std::mem::replace(member, Member::joins(bench));
                assert!(lost.asks(1).is_err(), "it was lost");
            }
        }
        for (number, member) in members.iter().enumerate() {
            for id in ids(&member.asks(4).expect("it is a member")) {
                let (key, _) = id.split_at(2);
                let fails = (turn + number) % 5 == 0;
                let outcome = if fails {
                    failed(10)
                } else {
                    EventOutcome::Done
                };
                let settled = bench.one(member.settling(&id, outcome));
                if settled.is_ok() && !fails {
                    done.entry(key.to_owned()).or_default().push(id);
                    count += 1;
                }
            }
        }
        bench.advance(10);
        let position = bench.billing().position.sequence;
        assert!(position >= last, "the position moves back");
        last = position;
        count == words.len()
    });
    assert!(all, "{count} of {}", words.len());
    for (key, ids) in done {
        let wanted = (0..12).map(|n| format!("{key}x{n}")).collect::<Vec<_>>();
        assert_eq!(ids, wanted, "each once, in order");
    }
    bench.check_position(60);
}
