//! Where a group begins, how it is set, and how it is shown.

use posthaste_core::backoff::Backoff;
use posthaste_core::command::Reply;
use posthaste_core::error::ErrorKind;
use posthaste_core::group::{GroupConfig, GroupSettings, GroupTotals, OnExhausted};
use posthaste_core::limits;
use posthaste_core::topic::{Position, ReadFrom};

use super::member::{Member, ask, failed, set_group, set_group_named, with};
use crate::conformance::Bench;
use crate::conformance::words::{publish, set_topic};

/// Where nothing is said, a new group begins at the end: it is handed what is published from then on.
pub fn a_new_group_begins_at_the_end(bench: &Bench<'_>) {
    bench.tell("a1 b1");
    bench.set(GroupSettings::default());
    assert_eq!(bench.billing().position.sequence, 2);
    let one = Member::joining(bench, "");
    one.gets_nothing();
    bench.tell("a2");
    one.gets("a2");
}

/// A new group may begin with what is old: with the earliest, at a position, an offset or an instant.
pub fn a_new_group_gets_old_events(bench: &Bench<'_>) {
    let start = bench.wall();
    let places = bench.tell("a1 b1");
    bench.advance(1_000);
    bench.tell("a2");
    let event = bench.events("orders").remove(1);
    let offset = ReadFrom::Offset {
        partition: event.partition,
        offset: event.offset,
    };
    for (from, want) in [
        (ReadFrom::Earliest, "a1 b1 a2"),
        (ReadFrom::Position(places[1].position), "b1 a2"),
        (offset, "b1 a2"),
        (ReadFrom::Time(start.plus(1)), "a2"),
        (ReadFrom::Latest, ""),
    ] {
        let made = bench.one(set_group(GroupSettings::default(), Some(from)));
        assert_eq!(made, Ok(Reply::Configured));
        let one = Member::joining(bench, want);
        one.gets_nothing();
        bench.one(super::member::delete_group()).expect("deleted");
    }
}

/// Where nothing is, no group begins, and none is made.
pub fn a_group_begins_somewhere(bench: &Bench<'_>) {
    let place = bench.tell("a1").remove(0);
    let strange = Position {
        epoch: place.position.epoch ^ 1,
        ..place.position
    };
    for from in [place.position.plus(2), strange] {
        let from = Some(ReadFrom::Position(from));
        let make = set_group(GroupSettings::default(), from);
        bench.check_refused(vec![make], 0, ErrorKind::Invalid);
    }
    assert_eq!(bench.groups(), []);
}

/// A group keeps what was set, and a later setting leaves the others. Where it begins is said once.
pub fn group_settings_are_kept(bench: &Bench<'_>) {
    bench.tell("a1");
    bench.group(GroupSettings::default());
    assert_eq!(bench.billing().config, GroupConfig::default());
    assert_eq!(bench.billing().created_at, bench.wall());
    bench.set(GroupSettings {
        in_flight: Some(7),
        max_attempts: Some(9),
        backoff: Some(Backoff::fixed(1_500)),
        ..GroupSettings::default()
    });
    let second = GroupSettings {
        on_exhausted: Some(OnExhausted::Dead),
        parked_max: Some(11),
        paused: Some(true),
        ..GroupSettings::default()
    };
    let set = set_group(second, Some(ReadFrom::Latest));
    assert_eq!(bench.one(set), Ok(Reply::Configured));
    let expected = GroupConfig {
        in_flight: 7,
        max_attempts: 9,
        backoff: Backoff::fixed(1_500),
        on_exhausted: OnExhausted::Dead,
        parked_max: 11,
        paused: true,
    };
    let view = bench.billing();
    assert_eq!((view.config, view.position.sequence), (expected, 0));
}

/// A setting that can't be is refused, also where there is no group yet.
pub fn group_settings_have_bounds(bench: &Bench<'_>) {
    bench.tell("a1");
    for bad in [
        with(|it| it.in_flight = Some(0)),
        with(|it| it.in_flight = Some(limits::IN_FLIGHT_MAX + 1)),
        with(|it| it.max_attempts = Some(0)),
        with(|it| it.max_attempts = Some(limits::ATTEMPTS_MAX + 1)),
        with(|it| it.parked_max = Some(0)),
        with(|it| it.parked_max = Some(limits::PARKED_MAX + 1)),
    ] {
        let both = vec![
            publish("more", vec![super::member::keyed("a1")]),
            set_group(bad, None),
        ];
        bench.check_refused(both, 1, ErrorKind::Invalid);
    }
    bench.set(GroupSettings {
        in_flight: Some(limits::IN_FLIGHT_MAX),
        max_attempts: Some(limits::ATTEMPTS_MAX),
        parked_max: Some(limits::PARKED_MAX),
        ..GroupSettings::default()
    });
}

/// What is changed holds for what is under way.
pub fn a_setting_holds_at_once(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1");
    let one = Member::joining(bench, "a1");
    one.ends("a1", failed(0));
    one.gets("a1");
    bench.set(with(|it| it.max_attempts = Some(2)));
    one.ends("a1", failed(0));
    bench.check_parked("a1 exhausted");
}

/// A refused commit makes no group and changes none.
pub fn a_refused_commit_makes_no_group(bench: &Bench<'_>) {
    bench.group(with(|it| it.in_flight = Some(5)));
    let commands = vec![
        set_group_named("audit", GroupSettings::default(), None),
        set_group(with(|it| it.in_flight = Some(9)), None),
        super::member::delete_group(),
        super::member::delete_group(),
    ];
    bench.check_refused(commands, 3, ErrorKind::NotFound);
    assert_eq!(bench.billing().config.in_flight, 5);
    bench.tell("a1");
    Member::joining(bench, "a1").done("a1");
}

/// Groups are shown by topic and name, each as far as it is.
pub fn groups_are_shown(bench: &Bench<'_>) {
    assert_eq!(bench.groups(), []);
    let topic = set_topic("users", posthaste_core::topic::TopicSettings::default());
    bench.one(topic).expect("made");
    bench.group_named("billing", GroupSettings::default());
    bench.group_named("audit", GroupSettings::default());
    let elsewhere = posthaste_core::Command::SetGroup {
        topic: crate::conformance::words::topic("users"),
        group: super::member::named("audit"),
        settings: GroupSettings::default(),
        from: None,
    };
    bench.one(elsewhere).expect("made");
    let places = bench.tell("a1 b1 a2");
    let one = Member::joining(bench, "a1 b1");
    one.done("a1");
    one.ends("b1", failed(60_000));
    let groups = bench.groups();
    let names = groups
        .iter()
        .map(|it| (it.topic.as_str(), it.name.as_str()));
    assert_eq!(
        names.collect::<Vec<_>>(),
        [
            ("orders", "audit"),
            ("orders", "billing"),
            ("users", "audit")
        ]
    );
    let view = &groups[1];
    let at = |number: usize| places[number].position;
    assert_eq!((view.position, view.head), (at(1), at(2)));
    assert_eq!((view.end, view.lag), (at(2).plus(1), 2));
    assert_eq!((view.unfinished, view.leased, view.retrying), (1, 0, 1));
    assert_eq!((view.parked, view.dead, view.paused), (0, 0, None));
    let totals = GroupTotals {
        done: 1,
        retried: 1,
        ..GroupTotals::default()
    };
    assert_eq!(view.totals, totals);
    assert_eq!((groups[0].lag, groups[2].lag), (3, 0));
    bench.check_unasked(ask("none", None, 1), ErrorKind::NotFound);
}
