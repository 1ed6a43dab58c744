//! A group that goes on elsewhere, waits, or is gone.

use posthaste_core::command::Reply;
use posthaste_core::error::ErrorKind;
use posthaste_core::group::{EventOutcome, GroupSettings, PausedBy, Unparking, Which};
use posthaste_core::time::WallMs;
use posthaste_core::topic::{Position, ReadFrom};

use super::member::{
    Member, ask, dead, delete_group, failed, keyed, park, reset, set_group_named, unpark, with,
};
use crate::conformance::Bench;
use crate::conformance::words::{delete_topic, publish};

const CONFIGURED: Result<Reply, posthaste_core::Error> = Ok(Reply::Configured);

/// Six events, published two at a time with a second between them, and all of them handled.
fn handled<'b, 'f>(bench: &'b Bench<'f>) -> (Member<'b, 'f>, Vec<Position>, WallMs) {
    bench.group(GroupSettings::default());
    let (start, mut positions) = (bench.wall(), Vec::new());
    for words in ["a1 b1", "a2 b2", "a3 b3"] {
        let places = bench.tell(words);
        positions.extend(places.iter().map(|place| place.position));
        bench.advance(1_000);
    }
    let one = Member::joining(bench, "a1 b1 a2 b2 a3 b3");
    one.done("a1 b1 a2 b2 a3 b3");
    bench.check_position(6);
    (one, positions, start)
}

/// From the earliest everything is handed out again; to the latest everything is passed over.
pub fn to_the_earliest_and_to_the_latest(bench: &Bench<'_>) {
    let (one, ..) = handled(bench);
    assert_eq!(bench.one(reset(ReadFrom::Earliest, false)), CONFIGURED);
    assert_eq!(bench.billing().position.sequence, 0);
    assert_eq!(bench.billing().lag, 6);
    one.gets("a1 b1");
    assert_eq!(one.has("a1").attempt, 1);
    one.done("a1 b1");
    bench.check_position(2);
    assert_eq!(bench.one(reset(ReadFrom::Latest, false)), CONFIGURED);
    assert_eq!(bench.billing().position.sequence, 6);
    one.gets_nothing();
    bench.tell("c1");
    one.gets("c1");
}

/// From a position, what lies there and behind it.
pub fn to_a_position(bench: &Bench<'_>) {
    let (one, positions, _) = handled(bench);
    let to = ReadFrom::Position(positions[3]);
    assert_eq!(bench.one(reset(to, false)), CONFIGURED);
    one.gets("b2 a3 b3");
    one.done("b2 a3 b3");
    one.gets_nothing();
    let end = ReadFrom::Position(positions[5].plus(1));
    assert_eq!(bench.one(reset(end, false)), CONFIGURED);
    one.gets_nothing();
}

/// From an offset of a partition, the event that has it and what was published after it.
pub fn to_an_offset(bench: &Bench<'_>) {
    let (one, ..) = handled(bench);
    let event = bench.events("orders").remove(4);
    let to = ReadFrom::Offset {
        partition: event.partition,
        offset: event.offset,
    };
    assert_eq!(bench.one(reset(to, false)), CONFIGURED);
    one.gets("a3 b3");
    one.gets_nothing();
}

/// From an instant, what was published then or later.
pub fn to_a_time(bench: &Bench<'_>) {
    let (one, _, start) = handled(bench);
    let to = |ms| reset(ReadFrom::Time(start.plus(ms)), false);
    for (ms, want) in [
        (1_000, "a2 b2 a3 b3"),
        (1_001, "a3 b3"),
        (2_001, ""),
        (0, "a1 b1 a2 b2 a3 b3"),
    ] {
        assert_eq!(bench.one(to(ms)), CONFIGURED);
        one.gets(want);
        if want.is_empty() {
            one.gets_nothing();
        } else {
            one.done(want);
        }
    }
}

/// Where nothing can be, a group is not sent, and it stays where it was.
pub fn to_where_nothing_is(bench: &Bench<'_>) {
    let (_, positions, _) = handled(bench);
    let strange = Position {
        epoch: positions[0].epoch ^ 1,
        ..positions[0]
    };
    let offset = ReadFrom::Offset {
        partition: 0,
        offset: 1_000,
    };
    for (to, kind) in [
        (ReadFrom::Position(positions[5].plus(2)), ErrorKind::Invalid),
        (ReadFrom::Position(strange), ErrorKind::Invalid),
        (offset, ErrorKind::Invalid),
    ] {
        bench.check_refused(vec![reset(to, true)], 0, kind);
    }
    bench.one(delete_group()).expect("deleted");
    let gone = vec![reset(ReadFrom::Earliest, true)];
    bench.check_refused(gone, 0, ErrorKind::NotFound);
}

/// While members hold events a reset has to be forced. What they hold is then theirs no longer, and
/// their memberships are over; those who hold nothing stay.
pub fn while_members_run(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1 a2 b1");
    let one = Member::joining(bench, "a1 a2");
    let two = Member::joining(bench, "b1");
    let idle = Member::joining(bench, "");
    let back = || reset(ReadFrom::Earliest, false);
    bench.check_refused(vec![back()], 0, ErrorKind::Conflict);
    one.done("a1");
    two.done("b1");
    bench.check_refused(vec![back()], 0, ErrorKind::Conflict);
    assert_eq!(bench.one(reset(ReadFrom::Earliest, true)), CONFIGURED);
    one.check_unsettled("a2", EventOutcome::Done, ErrorKind::Stale);
    assert_eq!(one.beats().expect_err("over").kind(), ErrorKind::Stale);
    assert!(one.asks(1).is_err(), "it has to join anew");
    two.gets("a1 a2");
    idle.gets("b1");
    two.done("a1 a2");
    idle.done("b1");
    bench.check_position(3);
}

/// What fails and waits is forgotten by a reset: everything from there on comes once more, afresh.
pub fn what_waits_is_met_afresh(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1 b1 a2");
    let one = Member::joining(bench, "a1 b1 a2");
    one.ends("a1", failed(60_000));
    one.done("b1");
    assert_eq!(bench.one(reset(ReadFrom::Earliest, false)), CONFIGURED);
    assert_eq!(bench.billing().unfinished, 0);
    one.gets("a1 b1 a2");
    assert_eq!(one.has("a1").attempt, 1);
    one.done("a1 b1 a2");
    bench.check_position(3);
    bench.advance(60_000);
    Member::joining(bench, "").gets_nothing();
}

/// What is parked and what is dead stays where it is, and what is met again of it waits behind it.
pub fn what_is_kept_stays(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1 b1 c1 a2");
    let one = Member::joining(bench, "a1 b1 c1 a2");
    one.ends("a1", park());
    one.ends("b1", dead());
    one.done("c1");
    bench.check_parked("a1 failed, a2 behind");
    bench.check_dead("b1 failed");
    assert_eq!(bench.one(reset(ReadFrom::Earliest, false)), CONFIGURED);
    one.gets("b1 c1");
    one.gets_nothing();
    bench.check_parked("a1 failed, a2 behind");
    bench.check_dead("b1 failed");
    bench.moves(unpark(Which::All, Unparking::Release), 2, 0);
    one.gets("a1 a2");
    one.done("b1 c1 a1 a2");
    bench.check_position(4);
}

/// A refused commit resets nothing.
pub fn a_refused_reset_is_undone(bench: &Bench<'_>) {
    let (one, ..) = handled(bench);
    bench.tell("c1");
    one.gets("c1");
    let both = vec![
        reset(ReadFrom::Earliest, true),
        unpark(Which::At(0), Unparking::Skip),
    ];
    bench.check_refused(both, 1, ErrorKind::NotFound);
    one.done("c1");
    bench.check_position(7);
    one.gets_nothing();
}

/// A shadow group handles the same events anew, and the first one knows nothing of it.
pub fn a_shadow_group_replays(bench: &Bench<'_>) {
    let (one, positions, _) = handled(bench);
    let from = Some(ReadFrom::Position(positions[4]));
    let shadow = set_group_named("audit", GroupSettings::default(), from);
    assert_eq!(bench.one(shadow), CONFIGURED);
    let two = Member::joining_as(bench, ask("audit", None, 1), "a3 b3");
    two.done("a3 b3");
    one.gets_nothing();
    bench.check_position(6);
    assert_eq!(bench.view_of("audit").lag, 0);
}

/// A paused group hands out nothing and lets its members settle; it goes on where it was.
pub fn a_paused_group_hands_out_nothing(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1 b1");
    let one = Member::joining(bench, "a1");
    bench.set(with(|it| it.paused = Some(true)));
    assert_eq!(bench.billing().paused, Some(PausedBy::Person));
    one.gets_nothing();
    one.ends("a1", failed(1_000));
    bench.tell("a2");
    bench.advance(1_000);
    one.gets_nothing();
    bench.set(with(|it| it.paused = Some(false)));
    assert_eq!(bench.billing().paused, None);
    one.gets("a1 b1 a2");
    one.done("a1 b1 a2");
    bench.check_position(3);
}

/// A group that was deleted is not there, and its members with it. Made again, it is another.
pub fn a_deleted_group_is_not_there(bench: &Bench<'_>) {
    bench.group(with(|it| it.max_attempts = Some(7)));
    bench.tell("a1 b1 c1");
    let one = Member::joining(bench, "a1 b1");
    one.ends("b1", park());
    bench.check_parked("b1 failed");
    assert_eq!(bench.one(delete_group()), Ok(Reply::Deleted));
    assert_eq!(bench.groups(), []);
    bench.check_refused(vec![delete_group()], 0, ErrorKind::NotFound);
    one.check_unsettled("a1", EventOutcome::Done, ErrorKind::NotFound);
    bench.group(GroupSettings::default());
    one.check_unsettled("a1", EventOutcome::Done, ErrorKind::Stale);
    let view = bench.billing();
    assert_eq!((view.parked, view.position.sequence), (0, 0));
    assert_eq!(
        view.config.max_attempts,
        posthaste_core::limits::ATTEMPTS_DEFAULT
    );
    let two = Member::joining(bench, "a1 b1 c1");
    assert_eq!(two.has("b1").attempt, 1);
}

/// With its topic a group goes, and a topic made again has none.
pub fn a_deleted_topic_takes_its_groups_along(bench: &Bench<'_>) {
    bench.group_named("billing", GroupSettings::default());
    bench.group_named("audit", GroupSettings::default());
    bench.tell("a1");
    let one = Member::joining(bench, "a1");
    let both = vec![delete_topic("orders"), delete_topic("nowhere")];
    bench.check_refused(both, 1, ErrorKind::NotFound);
    one.done("a1");
    assert_eq!(bench.one(delete_topic("orders")), Ok(Reply::Deleted));
    assert_eq!(bench.groups(), []);
    bench.check_unasked(ask("billing", Some(one.token), 1), ErrorKind::NotFound);
    bench.tell("a1");
    bench.check_unasked(ask("billing", Some(one.token), 1), ErrorKind::NotFound);
    bench.group(GroupSettings::default());
    bench.check_unasked(ask("billing", Some(one.token), 1), ErrorKind::Stale);
    Member::joining(bench, "a1").done("a1");
}

/// A group and what it begins with may be made in one commit: a place is meant as it is then.
pub fn made_with_what_it_begins_with(bench: &Bench<'_>) {
    let make = |from| set_group_named("billing", GroupSettings::default(), from);
    bench.check_refused(vec![make(None)], 0, ErrorKind::NotFound);
    let earliest = Some(ReadFrom::Earliest);
    bench.check_refused(vec![make(earliest)], 0, ErrorKind::NotFound);
    let tell = |id| publish("orders", vec![keyed(id)]);
    let all = vec![tell("a1"), make(None), tell("b1")];
    bench.commit(all).expect("made");
    let one = Member::joining(bench, "b1");
    one.done("b1");
    bench.check_position(2);
    let to_its_end = vec![tell("c1"), reset(ReadFrom::Latest, false), tell("d1")];
    bench.commit(to_its_end).expect("reset");
    one.gets("d1");
    one.gets_nothing();
    bench.one(delete_topic("orders")).expect("deleted");
    let all = vec![tell("a1"), make(earliest), tell("b1")];
    bench.commit(all).expect("made");
    Member::joining(bench, "a1 b1").done("a1 b1");
}

/// A commit that is repeated under its key is answered as before, also where the place that it names
/// is gone.
pub fn a_repeated_reset_is_answered(bench: &Bench<'_>) {
    bench.tell("a1");
    let all = || {
        vec![
            set_group_named(
                "billing",
                GroupSettings::default(),
                Some(ReadFrom::Earliest),
            ),
            reset(ReadFrom::Earliest, false),
        ]
    };
    let first = bench.commit_keyed("k", 1, all()).expect("made");
    bench.one(delete_topic("orders")).expect("deleted");
    let again = bench.commit_keyed("k", 1, all()).expect("answered");
    assert_eq!((again.repeated, again.replies), (true, first.replies));
    assert_eq!(bench.groups(), []);
    let other = bench
        .commit_keyed("l", 1, all())
        .expect_err("there is no such topic");
    assert_eq!(
        (other.kind(), other.command()),
        (ErrorKind::NotFound, Some(0))
    );
}
