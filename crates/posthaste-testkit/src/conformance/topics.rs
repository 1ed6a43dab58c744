//! Publishing: where events are put, once, together with whatever else is committed; and the
//! topics that they are put into.

use posthaste_core::command::{Command, Reply};
use posthaste_core::error::ErrorKind;
use posthaste_core::job::{JobState, Payload};
use posthaste_core::limits;
use posthaste_core::time::WallMs;
use posthaste_core::topic::{
    Compression, GapReason, NewEvent, Published, ReadFrom, TopicConfig, TopicSettings, partition_of,
};

use super::Bench;
use super::words::{
    delete_topic, done, enqueue, event, gap, ids, numbered, once, places, publish, read, set_topic,
    settle,
};

/// A topic is made by the first publish, with the defaults.
pub fn publishing_makes_the_topic(bench: &Bench<'_>) {
    assert_eq!(bench.topics(), []);
    let wall = bench.wall();
    let place = bench.publish_one("orders", event("1"));
    assert_eq!((place.offset, place.position.sequence), (0, 0));
    assert!(!place.existing);
    bench.advance(1_000);
    bench.publish_one("orders", event("2"));
    let topic = bench.topic("orders");
    assert_eq!(topic.config, TopicConfig::default());
    assert_eq!(topic.created_at, wall);
    assert_eq!(topic.earliest, place.position);
    assert_eq!(topic.end, place.position.plus(2));
    assert_eq!(topic.next_offsets.iter().sum::<u64>(), 2);
    bench.publish_one("audit", event("3"));
    let names: Vec<String> = bench
        .topics()
        .iter()
        .map(|it| it.name.to_string())
        .collect();
    assert_eq!(names, ["audit", "orders"]);
}

/// An event says what its publisher said, and when it was published.
pub fn events_come_back_as_they_were(bench: &Bench<'_>) {
    let long = "x".repeat(limits::EVENT_TEXT_BYTES_MAX);
    let header = |name: &str, value: &str| (name.into(), value.into());
    let told = [
        event("plain"),
        NewEvent {
            source: "/shop/√".into(),
            event_type: "order.placed".into(),
            headers: vec![
                header("subject", "order 7"),
                header(
                    "traceparent",
                    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                ),
                header("own", ""),
            ],
            ..once("full").keyed("user:7")
        },
        NewEvent {
            payload: Some(Payload::bytes("image/png", vec![0, 159, 146, 150])),
            ..once(&long).keyed(long.as_str())
        },
        NewEvent {
            payload: Some(Payload::json("{ \"n\": 1.00, \"s\": \"\\u00e9\" }")),
            ..event("json")
        },
        NewEvent {
            payload: None,
            ..event("tombstone").keyed("user:7")
        },
        NewEvent {
            payload: Some(Payload::bytes("text/plain", "")),
            ..event("empty")
        },
    ];
    let wall = bench.wall();
    let places = bench.publish("orders", told.to_vec());
    bench.advance(1_000);
    let events = bench.events("orders");
    assert_eq!(events.len(), told.len());
    for ((event, told), place) in events.iter().zip(&told).zip(&places) {
        assert_eq!((&event.id, &event.source), (&told.id, &told.source));
        assert_eq!(
            (&event.event_type, &event.key),
            (&told.event_type, &told.key)
        );
        let sorted = |headers: &[_]| {
            let mut headers = headers.to_vec();
            headers.sort();
            headers
        };
        assert_eq!(sorted(&event.headers), sorted(&told.headers));
        assert_eq!(event.payload, told.payload);
        assert_eq!(event.position, place.position);
        assert_eq!(
            (event.partition, event.offset),
            (place.partition, place.offset)
        );
        assert_eq!(event.at, wall);
    }
}

/// Events of one key go to the partition that its hash names; those without one go by their id.
pub fn a_key_names_the_partition(bench: &Bench<'_>) {
    for partitions in [1, 3, 256] {
        let name = format!("of-{partitions}");
        bench.set_topic(&name, with(|it| it.partitions = Some(partitions)));
        let mut events = numbered(0, 20);
        events.extend((20..40).map(|number| event(&number.to_string())));
        for (place, event) in bench.publish(&name, events.clone()).iter().zip(events) {
            assert_eq!(place.partition, partition_of(event.hash(), partitions));
        }
    }
}

/// Offsets count within each partition, positions within the topic, over all commits.
pub fn partitions_are_counted_by_themselves(bench: &Bench<'_>) {
    let mut next = [0; 4];
    for round in 0..3 {
        let places = bench.publish("orders", numbered(round * 20, 20));
        for (index, place) in places.iter().enumerate() {
            let position = (round * 20 + index) as u64;
            assert_eq!(place.position.sequence, position);
            let next = &mut next[usize::from(place.partition)];
            assert_eq!(place.offset, *next);
            *next += 1;
        }
        let elsewhere = bench.publish_one("audit", event("1"));
        assert_eq!(elsewhere.position.sequence, round as u64);
        assert!(!elsewhere.position.is_of(places[0].position));
    }
    assert_eq!(bench.topic("orders").next_offsets, next);
}

fn with(change: impl FnOnce(&mut TopicSettings)) -> TopicSettings {
    let mut settings = TopicSettings::default();
    change(&mut settings);
    settings
}

/// The event is answered with the place of the one that was there.
fn check_existing(bench: &Bench<'_>, name: &str, event: NewEvent, there: Published) {
    let existing = true;
    let place = bench.publish_one(name, event);
    assert_eq!(place, Published { existing, ..there });
}

/// An event whose id its publisher chose is there once, whatever else it says the second time.
pub fn a_chosen_id_is_published_once(bench: &Bench<'_>) {
    let first = bench.publish_one("orders", once("7").keyed("user:1"));
    assert!(!first.existing);
    bench.publish_one("orders", once("8"));
    check_existing(bench, "orders", once("7").keyed("user:1"), first);
    let otherwise = NewEvent {
        event_type: "paid".into(),
        ..once("7").keyed("user:2")
    };
    check_existing(bench, "orders", otherwise, first);
    let again = bench.publish("orders", vec![once("9"), once("7"), once("10")]);
    assert_eq!(again[1].position, first.position);
    let existing: Vec<bool> = again.iter().map(|place| place.existing).collect();
    assert_eq!(existing, [false, true, false]);
    let events = bench.events("orders");
    assert_eq!(ids(&events), ["7", "8", "9", "10"]);
    assert_eq!(events[0].key, Some("user:1".into()));
}

/// The same id from elsewhere, or in another topic, is another event.
pub fn another_source_or_topic_is_another_event(bench: &Bench<'_>) {
    let first = bench.publish_one("orders", once("7"));
    let elsewhere = NewEvent {
        source: "/elsewhere".into(),
        ..once("7")
    };
    let second = bench.publish_one("orders", elsewhere.clone());
    let third = bench.publish_one("audit", once("7"));
    assert!(!second.existing && !third.existing);
    check_existing(bench, "orders", elsewhere, second);
    check_existing(bench, "orders", once("7"), first);
    check_existing(bench, "audit", once("7"), third);
}

/// Events whose ids nobody chose are published as often as they are told.
pub fn an_id_that_nobody_chose_says_nothing(bench: &Bench<'_>) {
    for told in [event("7"), event("7"), once("7"), event("7")] {
        assert!(!bench.publish_one("orders", told).existing);
    }
    assert_eq!(bench.events("orders").len(), 4);
}

/// Within a publish and within a commit, the second of two events of one id is the first.
pub fn a_chosen_id_holds_within_a_commit(bench: &Bench<'_>) {
    let commands = vec![
        publish("orders", vec![once("7"), once("7"), event("8")]),
        publish("orders", vec![once("7")]),
    ];
    let answer = bench.commit(commands).expect("published");
    let [one, two]: [Vec<Published>; 2] = [places(&answer.replies[0]), places(&answer.replies[1])];
    let existing = Published {
        existing: true,
        ..one[0]
    };
    assert!(!one[0].existing && !one[2].existing);
    assert_eq!((one[1], two[0]), (existing, existing));
    assert_eq!(ids(&bench.events("orders")), ["7", "8"]);
}

/// A chosen id is forgotten after ten minutes. What was published under it stays.
pub fn a_chosen_id_is_remembered_for_ten_minutes(bench: &Bench<'_>) {
    let first = bench.publish_one("orders", once("7"));
    bench.advance(limits::EVENT_MEMORY_MS - 1);
    check_existing(bench, "orders", once("7"), first);
    bench.advance(1);
    let second = bench.publish_one("orders", once("7"));
    assert!(!second.existing);
    assert_eq!(second.position, first.position.plus(1));
    check_existing(bench, "orders", once("7"), second);
    assert_eq!(ids(&bench.events("orders")), ["7", "7"]);
}

/// Something that is always refused.
fn refused(bench: &Bench<'_>) -> Command {
    Command::Cancel(bench.job().id)
}

/// The ids of a refused commit are free.
pub fn a_refused_commit_takes_no_id(bench: &Bench<'_>) {
    bench.publish_one("orders", event("1"));
    let bad = vec![publish("orders", vec![once("7")]), refused(bench)];
    bench.check_refused(bad, 1, ErrorKind::NotFound);
    let place = bench.publish_one("orders", once("7"));
    assert!(!place.existing);
    assert_eq!(ids(&bench.events("orders")), ["1", "7"]);
}

/// What a refused commit published, set and deleted is as if it had not been asked for, and the
/// places are given to others.
pub fn a_refusal_undoes_what_was_published(bench: &Bench<'_>) {
    let first = bench.publish("orders", numbered(0, 5));
    let bad = vec![
        enqueue(bench.job()),
        publish("orders", numbered(5, 20)),
        set_topic("orders", with(|it| it.kept_events = Some(1))),
        publish("orders", numbered(25, 5)),
        delete_topic("orders"),
        publish("orders", numbered(30, 5)),
        refused(bench),
    ];
    bench.check_refused(bad, 6, ErrorKind::NotFound);
    assert_eq!(bench.events("orders").len(), 5);
    let next = bench.publish("orders", numbered(5, 20));
    for (index, place) in next.iter().enumerate() {
        assert_eq!(place.position, first[0].position.plus(5 + index as u64));
    }
    let events = bench.events("orders");
    let numbers: Vec<String> = (0..25).map(|number| number.to_string()).collect();
    assert_eq!(ids(&events), numbers);
    check_dense(
        &events
            .iter()
            .map(|it| (it.partition, it.offset))
            .collect::<Vec<_>>(),
    );
}

/// The offsets of each partition count from zero.
fn check_dense(places: &[(u16, u64)]) {
    let mut next = vec![0; 256];
    for (partition, offset) in places {
        let next = &mut next[usize::from(*partition)];
        assert_eq!(offset, next, "of partition {partition}");
        *next += 1;
    }
}

/// A topic that a refused commit would have made is not there.
pub fn a_refused_commit_makes_no_topic(bench: &Bench<'_>) {
    let set = set_topic("audit", with(|it| it.partitions = Some(2)));
    let bad = vec![publish("orders", vec![event("1")]), set, refused(bench)];
    bench.check_refused(bad, 2, ErrorKind::NotFound);
    assert_eq!(bench.topics(), []);
    bench.check_unread(read("orders", ReadFrom::Earliest), ErrorKind::NotFound);
    let place = bench.publish_one("audit", event("1"));
    assert_eq!(place.position.sequence, 0);
    assert_eq!(bench.topic("audit").config.partitions, 4);
}

/// A job is not settled where an event that goes with it is refused.
pub fn a_refused_publish_undoes_a_settle(bench: &Bench<'_>) {
    bench.enqueue(bench.job());
    let leased = bench.must_lease();
    let both = vec![
        settle(&leased, done()),
        publish("orders", vec![event("1")]),
        delete_topic("nowhere"),
    ];
    bench.check_refused(both, 2, ErrorKind::NotFound);
    bench.settle_to(&leased, done(), JobState::Completed);
    assert_eq!(bench.topics(), []);
}

/// A job's end, what follows it and what is told of it are one.
pub fn events_come_with_the_settle(bench: &Bench<'_>) {
    bench.enqueue(bench.job());
    let leased = bench.must_lease();
    let next = bench.job();
    let all = vec![
        settle(&leased, done()),
        publish("orders", vec![event("1"), event("2")]),
        enqueue(next.clone()),
        publish("audit", vec![event("3")]),
    ];
    let answer = bench.commit(all).expect("all of it");
    let told = |reply: &Reply| places(reply).len();
    assert_eq!((told(&answer.replies[1]), told(&answer.replies[3])), (2, 1));
    bench.check_state(leased.id, JobState::Completed);
    assert_eq!(ids(&bench.events("orders")), ["1", "2"]);
    assert_eq!(ids(&bench.events("audit")), ["3"]);
    assert!(bench.lease().is_some());
}

/// What was published with a settle is not published again when that is repeated.
pub fn events_of_a_repeated_settle_are_not_published_again(bench: &Bench<'_>) {
    bench.enqueue(bench.job());
    let leased = bench.must_lease();
    let both = vec![settle(&leased, done()), publish("orders", vec![event("1")])];
    bench.commit(both.clone()).expect("settled and published");
    for _ in 0..2 {
        let again = bench.commit(both.clone()).expect("answered");
        let settled = Reply::Settled {
            state: JobState::Completed,
            repeated: true,
        };
        assert_eq!(again.replies, [settled, Reply::Repeated]);
    }
    let other = vec![settle(&leased, done()), publish("orders", vec![once("2")])];
    bench.check_refused(other, 0, ErrorKind::SettledOtherwise);
    assert_eq!(ids(&bench.events("orders")), ["1"]);
}

/// A commit repeated under its key tells where its events are, also when their topic is gone.
pub fn a_repeated_commit_tells_the_same_places(bench: &Bench<'_>) {
    bench.publish("orders", numbered(0, 3));
    let commands = vec![
        publish("orders", vec![event("a"), once("b")]),
        enqueue(bench.job()),
        publish("orders", vec![once("b"), event("c")]),
    ];
    let first = bench.commit_keyed("k", 1, commands.clone());
    let first = first.expect("published");
    assert_eq!(
        (first.repeated, places(&first.replies[0]).len()),
        (false, 2)
    );
    bench.publish("orders", numbered(3, 3));
    let check = || {
        let again = bench.commit_keyed("k", 1, commands.clone());
        let again = again.expect("answered as before");
        assert_eq!((again.repeated, &again.replies), (true, &first.replies));
    };
    check();
    assert_eq!(bench.events("orders").len(), 9);
    assert_eq!(bench.one(delete_topic("orders")), Ok(Reply::Deleted));
    check();
    assert_eq!(bench.topics(), [], "nothing is made again");
}

/// A command sees what the commands before it did to topics.
pub fn a_later_command_sees_what_was_published(bench: &Bench<'_>) {
    let two = with(|it| it.partitions = Some(2));
    let commands = vec![
        set_topic("orders", two),
        publish("orders", vec![event("1"), once("2")]),
        publish("orders", vec![event("3")]),
        delete_topic("orders"),
        publish("orders", vec![once("2")]),
    ];
    let answer = bench.commit(commands).expect("applied");
    let [first, second, last] = [1, 2, 4].map(|index: usize| places(&answer.replies[index]));
    assert_eq!(second[0].position, first[0].position.plus(2));
    assert_eq!((last[0].position.sequence, last[0].existing), (0, false));
    assert!(!last[0].position.is_of(first[0].position));
    assert_eq!(ids(&bench.events("orders")), ["2"]);
    assert_eq!(bench.topic("orders").config.partitions, 4);
    let commands = vec![publish("orders", vec![event("4")]), delete_topic("nowhere")];
    bench.check_refused(commands, 1, ErrorKind::NotFound);
}

/// A topic keeps what was set, and a later setting leaves the others.
pub fn settings_are_kept(bench: &Bench<'_>) {
    let first = TopicSettings {
        partitions: Some(7),
        kept_ms: Some(0),
        kept_events: Some(1_000),
        compression: Some(Compression::Lz4),
        ..TopicSettings::default()
    };
    bench.set_topic("orders", first);
    let place = bench.publish_one("orders", event("1"));
    let second = TopicSettings {
        kept_bytes: Some(1 << 30),
        compacted: Some(true),
        tombstones_kept_ms: Some(60_000),
        compression: Some(Compression::None),
        ..TopicSettings::default()
    };
    bench.set_topic("orders", second);
    let expected = TopicConfig {
        partitions: 7,
        kept_ms: 0,
        kept_bytes: 1 << 30,
        kept_events: 1_000,
        compacted: true,
        tombstones_kept_ms: 60_000,
        compression: Compression::None,
    };
    bench.set_topic("orders", TopicSettings::default());
    let topic = bench.topic("orders");
    assert_eq!(
        (topic.config, topic.end),
        (expected, place.position.plus(1))
    );
    assert_eq!(topic.next_offsets.len(), 7);
}

/// The number of partitions is for ever: keys would move.
pub fn partitions_are_fixed(bench: &Bench<'_>) {
    bench.set_topic("orders", with(|it| it.partitions = Some(2)));
    let other = TopicSettings {
        partitions: Some(3),
        kept_events: Some(10),
        ..TopicSettings::default()
    };
    let both = vec![
        publish("audit", vec![event("1")]),
        set_topic("orders", other),
    ];
    bench.check_refused(both, 1, ErrorKind::Conflict);
    bench.set_topic("orders", with(|it| it.partitions = Some(2)));
    assert_eq!(bench.topic("orders").config.kept_events, 0);
}

/// A setting that can't be is refused, also where there is no topic yet.
pub fn settings_have_bounds(bench: &Bench<'_>) {
    let ever = limits::DELAY_MS_MAX + 1;
    for bad in [
        with(|it| it.partitions = Some(0)),
        with(|it| it.partitions = Some(limits::PARTITIONS_MAX + 1)),
        with(|it| it.kept_ms = Some(ever)),
        with(|it| it.tombstones_kept_ms = Some(ever)),
    ] {
        let both = vec![
            publish("orders", vec![event("1")]),
            set_topic("orders", bad),
        ];
        bench.check_refused(both, 1, ErrorKind::Invalid);
    }
    let most = Some(limits::PARTITIONS_MAX);
    bench.set_topic("orders", with(|it| it.partitions = most));
    assert_eq!(bench.topic("orders").next_offsets, [0; 256]);
}

/// A topic that was deleted is not there, and can't be deleted.
pub fn a_deleted_topic_is_not_there(bench: &Bench<'_>) {
    bench.publish("orders", numbered(0, 5));
    bench.publish("audit", numbered(0, 5));
    assert_eq!(bench.one(delete_topic("orders")), Ok(Reply::Deleted));
    assert_eq!(bench.find_topic("orders"), None);
    bench.check_unread(read("orders", ReadFrom::Earliest), ErrorKind::NotFound);
    let again = vec![publish("audit", vec![event("1")]), delete_topic("orders")];
    bench.check_refused(again, 1, ErrorKind::NotFound);
    assert_eq!(bench.events("audit").len(), 5);
}

/// A topic made again is another: its places are others, and it remembers nothing.
pub fn a_topic_made_again_is_another(bench: &Bench<'_>) {
    let mut olds: Vec<Published> = Vec::new();
    for round in 0..3 {
        let place = bench.publish_one("orders", once("7"));
        bench.publish("orders", numbered(0, 1 + round));
        assert_eq!(
            (place.existing, place.offset, place.position.sequence),
            (false, 0, 0)
        );
        for old in &olds {
            assert!(!place.position.is_of(old.position));
            let ask = read("orders", ReadFrom::Position(old.position));
            let gap = gap(bench.read(ask).expect("a gap"));
            assert_eq!(gap.reason, GapReason::History);
            assert_eq!(gap.earliest, place.position);
            assert_eq!(gap.end, place.position.plus(2 + round as u64));
        }
        olds.push(place);
        assert_eq!(bench.events("orders").len(), 2 + round);
        assert_eq!(bench.one(delete_topic("orders")), Ok(Reply::Deleted));
    }
}

/// A topic made again takes nothing over from the one that was deleted.
pub fn a_topic_made_again_may_have_other_partitions(bench: &Bench<'_>) {
    let two = TopicSettings {
        partitions: Some(2),
        kept_events: Some(5),
        compacted: Some(true),
        ..TopicSettings::default()
    };
    bench.set_topic("orders", two);
    bench.publish("orders", numbered(0, 3));
    assert_eq!(bench.one(delete_topic("orders")), Ok(Reply::Deleted));
    bench.advance(5_000);
    bench.set_topic("orders", with(|it| it.partitions = Some(9)));
    let topic = bench.topic("orders");
    let config = TopicConfig {
        partitions: 9,
        ..TopicConfig::default()
    };
    assert_eq!((topic.config, topic.created_at), (config, bench.wall()));
    assert_eq!((topic.next_offsets, topic.end.sequence), (vec![0; 9], 0));
    assert_eq!(bench.events("orders"), []);
}

fn check_bad(bench: &Bench<'_>, what: &str, bad: NewEvent, kind: ErrorKind) {
    let before = bench.look();
    let commands = vec![
        enqueue(bench.job()),
        publish("orders", vec![event("1"), bad]),
    ];
    let error = bench.commit(commands).expect_err(what);
    assert_eq!((error.kind(), error.command()), (kind, Some(1)), "{error}");
    assert_eq!(bench.look(), before, "{what}");
}

/// An event that can't be is refused, and nothing is published with it.
pub fn an_event_has_bounds(bench: &Bench<'_>) {
    let long = "x".repeat(limits::EVENT_TEXT_BYTES_MAX + 1);
    let key = |key: &str| Some(key.into());
    let headers = |headers: &[(&str, &str)]| {
        let each = headers
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        each.collect::<Vec<_>>()
    };
    let large = "x".repeat(limits::HEADER_BYTES_MAX + 1);
    let many = (0..=limits::HEADERS_MAX).map(|n| (format!("n{n}").into(), "x".into()));
    let one = || event("bad");
    #[rustfmt::skip]
    let bad = [
        ("no id", NewEvent { id: "".into(), ..one() }),
        ("a long id", NewEvent { id: long.as_str().into(), ..one() }),
        ("no type", NewEvent { event_type: "".into(), ..one() }),
        ("a control character", NewEvent { event_type: "a\nb".into(), ..one() }),
        ("a long source", NewEvent { source: long.as_str().into(), ..one() }),
        ("an empty key", NewEvent { key: key(""), ..one() }),
        ("a long key", NewEvent { key: key(&long), ..one() }),
        ("neither payload nor key", NewEvent { payload: None, ..one() }),
        ("a name that is none", NewEvent { headers: headers(&[("Own", "x")]), ..one() }),
        ("a reserved name", NewEvent { headers: headers(&[("source", "x")]), ..one() }),
        ("a large header", NewEvent { headers: headers(&[("own", &large)]), ..one() }),
        ("many headers", NewEvent { headers: many.collect(), ..one() }),
    ];
    for (what, event) in bad {
        check_bad(bench, what, event, ErrorKind::Invalid);
    }
    bench.check_refused(vec![publish("orders", Vec::new())], 0, ErrorKind::Invalid);
    assert_eq!(bench.topics(), []);
}

/// The largest payload is kept, and a larger one is refused.
pub fn the_largest_event_is_kept(bench: &Bench<'_>) {
    let sized = |bytes: usize| {
        let payload = Payload::bytes("application/octet-stream", vec![7; bytes]);
        NewEvent::new("large", "placed", payload)
    };
    let most = sized(limits::EVENT_BYTES_MAX);
    bench.publish("orders", vec![event("1"), most.clone(), event("2")]);
    let events = bench.events("orders");
    assert_eq!(ids(&events), ["1", "large", "2"]);
    assert!(
        events[1].payload == most.payload,
        "its payload is as it was"
    );
    let more = vec![publish("orders", vec![sized(limits::EVENT_BYTES_MAX + 1)])];
    bench.check_refused(more, 0, ErrorKind::TooLarge);
}

/// A commit has at most a thousand events, over all of its commands.
pub fn a_commit_has_so_many_events(bench: &Bench<'_>) {
    let most = limits::EVENTS_PER_COMMIT_MAX;
    let (one, other) = (numbered(0, most - 5), numbered(most - 5, 5));
    let all = vec![
        publish("orders", one.clone()),
        publish("audit", other.clone()),
    ];
    let answer = bench.commit(all).expect("published");
    assert_eq!(places(&answer.replies[0]).len(), most - 5);
    let more = vec![
        publish("orders", one),
        publish("audit", other),
        publish("more", vec![event("one")]),
    ];
    let before = bench.look();
    let error = bench.commit(more).expect_err("one too many");
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    assert_eq!(bench.look(), before);
    assert_eq!(bench.events("orders").len(), most - 5);
}

/// Within a topic, no event was published before the one in front of it, whatever the clock says.
pub fn publishing_never_goes_back_in_time(bench: &Bench<'_>) {
    let start = bench.wall();
    bench.publish_one("orders", event("1"));
    bench.advance(60_000);
    bench.publish_one("orders", event("2"));
    bench.set_wall(WallMs(start.0 + 30_000));
    bench.publish_one("orders", event("3"));
    bench.advance(31_000);
    bench.publish_one("orders", event("4"));
    let events = bench.events("orders");
    let since: Vec<u64> = events.iter().map(|event| event.at.since(start)).collect();
    assert_eq!(since, [0, 60_000, 60_000, 61_000]);
}
