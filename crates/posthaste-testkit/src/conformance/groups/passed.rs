//! Long waits of groups: members who are woken by their turn, and readers who wait until a group has
//! passed what they published.

use std::thread;

use posthaste_core::command::Command;
use posthaste_core::error::{ErrorKind, Result};
use posthaste_core::group::{EventAsk, EventOutcome, GroupSettings, LeasedEvents};
use posthaste_core::port::{PortFuture, TailGroup};
use posthaste_core::topic::{Position, ReadFrom};

use super::member::{
    LEASE, Member, ask, delete_group, failed, ids, named, park, reset, skip, with,
};
use crate::conformance::Bench;
use crate::conformance::waits::pass_until;
use crate::conformance::words::{delete_topic, topic};
use crate::{block_on, poll_once};

fn waiting() -> EventAsk {
    EventAsk {
        wait_ms: 60_000,
        lease_ms: 600_000,
        ..ask("billing", None, 10)
    }
}

fn begun<'s>(
    mut ask: PortFuture<'s, Result<LeasedEvents>>,
) -> PortFuture<'s, Result<LeasedEvents>> {
    assert!(poll_once(ask.as_mut()).is_none(), "nothing is there yet");
    ask
}

/// Joins with a long wait, does `meanwhile` once the ask is out, and says what came.
fn handed_while(bench: &Bench<'_>, meanwhile: impl FnOnce()) -> Vec<String> {
    let store = bench.store();
    let ask = begun(store.lease_events(waiting()));
    meanwhile();
    let leased = block_on(ask).expect("a lease");
    ids(&leased)
}

/// A member that waits is woken by a publish.
pub fn a_publish_wakes_a_member(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    let got = handed_while(bench, || drop(bench.tell("a1")));
    assert_eq!(got, ["a1"]);
}

/// A member that waits is woken when a failed event is due.
pub fn a_due_retry_wakes_a_member(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1");
    Member::joining(bench, "a1").ends("a1", failed(5_000));
    let got = handed_while(bench, || bench.advance(5_000));
    assert_eq!(got, ["a1"]);
}

/// A member that waits is woken when another lets go of a key.
pub fn a_freed_key_wakes_a_member(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1 a2");
    let one = Member::joining(bench, "a1");
    assert_eq!(handed_while(bench, || one.done("a1")), ["a2"]);
}

/// A member that waits is woken when another gives back what it has, or leaves.
pub fn a_release_wakes_a_member(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1 b1");
    let one = Member::joining(bench, "a1");
    let two = Member::joining(bench, "b1");
    let got = handed_while(bench, || one.ends("a1", EventOutcome::Release));
    assert_eq!(got, ["a1"]);
    assert_eq!(handed_while(bench, || two.leaves()), ["b1"]);
}

/// A member that waits is woken when another is lost.
pub fn a_lost_member_wakes_another(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1");
    Member::joining(bench, "a1");
    assert_eq!(handed_while(bench, || bench.advance(LEASE + 1)), ["a1"]);
}

/// A member that waits is woken when its group goes on.
pub fn a_resume_wakes_a_member(bench: &Bench<'_>) {
    bench.group(with(|it| it.paused = Some(true)));
    bench.tell("a1");
    let got = handed_while(bench, || bench.set(with(|it| it.paused = Some(false))));
    assert_eq!(got, ["a1"]);
}

/// A member that waits is woken by a reset.
pub fn a_reset_wakes_a_member(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1");
    Member::joining(bench, "a1").done("a1");
    let got = handed_while(bench, || {
        bench.one(reset(ReadFrom::Earliest, false)).expect("reset");
    });
    assert_eq!(got, ["a1"]);
}

/// A wait for which nothing comes ends empty, and who joined by it is told the token.
pub fn a_members_wait_ends(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    let store = bench.store();
    let ask = EventAsk {
        wait_ms: 500,
        ..waiting()
    };
    thread::scope(|scope| {
        let waiter = scope.spawn(move || block_on(store.lease_events(ask)));
        pass_until(bench, || waiter.is_finished());
        let leased = waiter.join().expect("no panic").expect("an answer");
        assert_eq!(ids(&leased), [""; 0]);
        bench.tell("a1");
        let next = EventAsk {
            token: Some(leased.token),
            ..waiting()
        };
        let leased = block_on(bench.store().lease_events(next)).expect("a member");
        assert_eq!(ids(&leased), ["a1"]);
    });
}

/// Of many members that wait, each event goes to one.
pub fn one_event_wakes_one_member(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    let store = bench.store();
    let one = || EventAsk {
        max: 1,
        ..waiting()
    };
    let asks: Vec<_> = (0..3).map(|_| begun(store.lease_events(one()))).collect();
    bench.tell("a1 b1 c1");
    let mut got: Vec<String> = Vec::new();
    for ask in asks {
        got.extend(ids(&block_on(ask).expect("a lease")));
    }
    got.sort();
    assert_eq!(got, ["a1", "b1", "c1"]);
}

/// Who hangs up while he waits is a member no longer, and takes nothing from those who stay.
pub fn a_member_that_hangs_up_takes_nothing(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    for round in 0..8 {
        let store = bench.store();
        drop(begun(store.lease_events(waiting())));
        let gone = begun(store.lease_events(waiting()));
        bench.tell(&format!("a{round}"));
        drop(gone); // whether it was handed the event already or not
        let leased = block_on(store.lease_events(waiting())).expect("a lease");
        assert_eq!(ids(&leased), [format!("a{round}")]);
        assert_eq!((leased.events[0].attempt, leased.events[0].crashes), (1, 0));
        let settle = Command::SettleEvents {
            topic: topic("orders"),
            group: named("billing"),
            token: leased.token,
            ends: vec![(leased.events[0].event.position.sequence, EventOutcome::Done)],
        };
        bench.one(settle).expect("settled");
        let leave = Command::Leave {
            topic: topic("orders"),
            group: named("billing"),
            token: leased.token,
        };
        bench.one(leave).expect("left");
    }
    bench.check_billing(|view| (view.members.len(), view.totals.lapsed), (0, 0));
    bench.check_position(8);
}

/// A member that waits is told when its group, or its topic, is gone, or the store closed.
pub fn an_end_ends_the_wait_of_a_member(bench: &Bench<'_>) {
    let store = bench.store();
    for end in [delete_group(), delete_topic("orders")] {
        bench.group(GroupSettings::default());
        let ask = begun(store.lease_events(waiting()));
        bench.one(end).expect("gone");
        let error = block_on(ask).expect_err("it is gone");
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
    bench.group(GroupSettings::default());
    let ask = begun(store.lease_events(waiting()));
    let passed = store.tail_group(passing(None));
    assert_eq!(block_on(passed).map(|view| view.lag), Ok(0));
    assert_eq!(block_on(store.close()), Ok(()));
    let error = block_on(ask).expect_err("closed");
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    let error = block_on(store.lease_events(waiting())).expect_err("closed");
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    let error = block_on(store.groups()).expect_err("closed");
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
}

fn passing(passed: Option<Position>) -> TailGroup {
    TailGroup {
        topic: topic("orders"),
        group: named("billing"),
        passed,
        wait_ms: 60_000,
    }
}

/// Who published something waits until a group has passed it: handled, or given up on.
pub fn who_waits_is_told_when_it_is_passed(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    for (round, outcome) in [EventOutcome::Done, skip(), park()].into_iter().enumerate() {
        let words = format!("a{round} b{round}");
        let place = bench.tell(&words).remove(1).position;
        let one = Member::joining(bench, &words);
        let store = bench.store();
        let mut passed = store.tail_group(passing(Some(place)));
        assert!(poll_once(passed.as_mut()).is_none(), "it is not passed");
        one.ends(&format!("b{round}"), outcome);
        assert!(
            poll_once(passed.as_mut()).is_none(),
            "a{round} is unfinished"
        );
        one.done(&format!("a{round}"));
        let view = block_on(passed).expect("told");
        assert!(view.position > place, "{view:?}");
        let again = block_on(store.tail_group(passing(Some(place)))).expect("told at once");
        assert!(again.position > place);
        one.leaves();
    }
}

/// A wait for a group that does not come so far is told how it is then.
pub fn a_wait_for_a_group_ends(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    let place = bench.tell("a1").remove(0).position;
    let short = TailGroup {
        wait_ms: 500,
        ..passing(Some(place))
    };
    let store = bench.store();
    thread::scope(|scope| {
        let waiter = scope.spawn(move || block_on(store.tail_group(short)));
        pass_until(bench, || waiter.is_finished());
        let view = waiter.join().expect("no panic").expect("told");
        assert_eq!((view.position, view.lag), (place, 1));
    });
    let now = TailGroup {
        wait_ms: 0,
        ..passing(Some(place))
    };
    assert_eq!(bench.tail_of(now).expect("told").position, place);
}

/// There is no waiting for a group that is not there, nor for a place of another history.
pub fn bad_waits_for_a_group(bench: &Bench<'_>) {
    let place = bench.tell("a1").remove(0).position;
    let refused = |ask: TailGroup, kind| {
        let error = bench.tail_of(ask).expect_err("refused");
        assert_eq!(error.kind(), kind, "{error}");
    };
    refused(passing(Some(place)), ErrorKind::NotFound);
    bench.group(GroupSettings::default());
    let strange = Position {
        epoch: place.epoch ^ 1,
        ..place
    };
    refused(passing(Some(strange)), ErrorKind::Invalid);
    let store = bench.store();
    let mut passed = store.tail_group(passing(Some(place)));
    assert!(poll_once(passed.as_mut()).is_none(), "it is not passed");
    bench.one(delete_group()).expect("deleted");
    let error = block_on(passed).expect_err("it is gone");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}
