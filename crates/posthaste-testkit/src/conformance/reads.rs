//! Reading a topic: from anywhere, in pages, filtered, in the one order of publication; and being
//! told where something is gone.

use std::collections::BTreeMap;

use posthaste_core::error::ErrorKind;
use posthaste_core::job::Payload;
use posthaste_core::limits;
use posthaste_core::topic::{
    Event, GapReason, NewEvent, Position, ReadFrom, TailTopic, TopicRead, TopicSettings,
};

use super::Bench;
use super::words::{delete_topic, event, gap, ids, numbered, once, read};

/// Publishes events `0` to `count`, in commits of growing size.
fn fill(bench: &Bench<'_>, name: &str, count: usize) -> Vec<Position> {
    let (mut positions, mut size) = (Vec::new(), 1);
    while positions.len() < count {
        let left = (count - positions.len()).min(size);
        let places = bench.publish(name, numbered(positions.len(), left));
        positions.extend(places.iter().map(|place| place.position));
        size += 7;
    }
    positions
}

fn numbers(events: &[Event]) -> Vec<usize> {
    let numbers = events.iter().map(|event| event.id.as_str().parse());
    numbers.map(|it| it.expect("a number")).collect()
}

/// The numbers below `count` for which it is so.
fn those(count: usize, so: impl Fn(usize) -> bool) -> Vec<usize> {
    (0..count).filter(|number| so(*number)).collect()
}

/// The earliest is the first that was published.
pub fn from_the_earliest(bench: &Bench<'_>) {
    let positions = fill(bench, "orders", 10);
    let page = bench.page(read("orders", ReadFrom::Earliest));
    assert_eq!(page.earliest, positions[0]);
    assert_eq!(page.end, positions[9].plus(1));
    assert_eq!(numbers(&bench.events("orders")), those(10, |_| true));
}

/// The latest is the next to be published: nothing that is there, and everything that comes.
pub fn from_the_latest(bench: &Bench<'_>) {
    let positions = fill(bench, "orders", 10);
    let page = bench.page(read("orders", ReadFrom::Latest));
    assert_eq!(page.events, []);
    assert_eq!((page.next, page.end), (positions[9].plus(1), page.next));
    bench.publish("orders", numbered(10, 3));
    let rest = bench.read_on(read("orders", ReadFrom::Position(page.next)));
    assert_eq!(numbers(&rest), [10, 11, 12]);
}

/// A position is where it is read on, wherever it was told.
pub fn from_a_position(bench: &Bench<'_>) {
    let positions = fill(bench, "orders", 30);
    for (number, position) in positions.iter().enumerate() {
        let rest = bench.read_on(read("orders", ReadFrom::Position(*position)));
        assert_eq!(numbers(&rest), those(30, |it| it >= number));
        assert_eq!(rest[0].position, *position);
    }
    let topic = bench.topic("orders");
    let rest = bench.read_on(read("orders", ReadFrom::Position(topic.earliest)));
    assert_eq!(rest.len(), 30);
    let rest = bench.read_on(read("orders", ReadFrom::Position(topic.end)));
    assert_eq!(rest, []);
}

/// From an offset of one partition: of that, what lies there and behind; of the others, what was
/// published after it.
pub fn from_an_offset(bench: &Bench<'_>) {
    fill(bench, "orders", 40);
    for event in bench.events("orders") {
        let from = ReadFrom::Offset {
            partition: event.partition,
            offset: event.offset,
        };
        let rest = bench.read_on(read("orders", from));
        assert_eq!(rest[0], event);
        let number = numbers(&rest)[0];
        assert_eq!(numbers(&rest), those(40, |it| it >= number));
    }
    for (partition, offset) in (0..).zip(bench.topic("orders").next_offsets) {
        let from = ReadFrom::Offset { partition, offset };
        let page = bench.page(read("orders", from));
        assert_eq!((page.events, page.next), (Vec::new(), page.end));
    }
}

/// From an instant: the first that was published then or later, and everything behind it.
pub fn from_a_time(bench: &Bench<'_>) {
    let start = bench.wall();
    for round in 0..6 {
        bench.publish("orders", numbered(round * 3, 3));
        bench.advance(1_000);
    }
    let from = |ms: u64| ReadFrom::Time(start.plus(ms));
    for (ms, first) in [
        (0, 0),
        (1, 3),
        (999, 3),
        (1_000, 3),
        (1_001, 6),
        (5_000, 15),
    ] {
        let rest = bench.read_on(read("orders", from(ms)));
        assert_eq!(numbers(&rest), those(18, |it| it >= first), "{ms} ms on");
    }
    let before = posthaste_core::WallMs(start.0 - 1_000);
    let all = bench.read_on(read("orders", ReadFrom::Time(before)));
    assert_eq!(all.len(), 18);
    let page = bench.page(read("orders", from(5_001)));
    assert_eq!((page.events, page.next), (Vec::new(), page.end));
}

/// Over all partitions, events come in the order in which they were published.
pub fn the_order_is_that_of_publishing(bench: &Bench<'_>) {
    let positions = fill(bench, "orders", 60);
    let events = bench.events("orders");
    assert_eq!(numbers(&events), those(60, |_| true));
    let told: Vec<Position> = events.iter().map(|event| event.position).collect();
    assert_eq!(told, positions);
    let partitions: Vec<u16> = events.iter().map(|event| event.partition).collect();
    assert!(!partitions.is_sorted(), "the partitions are mixed");
}

/// Pages of any size, one after the other, tell everything once.
pub fn pages_end_to_end(bench: &Bench<'_>) {
    fill(bench, "orders", 100);
    for max in [1, 7, 99, 100, 101, limits::READ_EVENTS_MAX] {
        let ask = read("orders", ReadFrom::Earliest);
        let events = bench.read_on(TailTopic { max, ..ask });
        assert_eq!(numbers(&events), those(100, |_| true), "{max} a page");
    }
    let ask = read("orders", ReadFrom::Earliest);
    let first = bench.page(TailTopic { max: 5, ..ask });
    fill(bench, "audit", 10);
    bench.publish("orders", numbered(100, 10));
    let rest = bench.read_on(read("orders", ReadFrom::Position(first.next)));
    let rest = [&first.events[..], &rest[..]].concat();
    assert_eq!(numbers(&rest), those(110, |_| true));
}

/// The offsets of each partition count from zero without a hole.
pub fn offsets_are_dense(bench: &Bench<'_>) {
    fill(bench, "orders", 100);
    let mut next: BTreeMap<u16, u64> = BTreeMap::new();
    for event in bench.events("orders") {
        let next = next.entry(event.partition).or_default();
        assert_eq!(event.offset, *next, "of partition {}", event.partition);
        *next += 1;
    }
    let next: Vec<u64> = next.into_values().collect();
    assert_eq!(bench.topic("orders").next_offsets, next);
}

/// Those of one partition alone.
pub fn of_one_partition(bench: &Bench<'_>) {
    fill(bench, "orders", 60);
    let all = bench.events("orders");
    for partition in 0..4 {
        let ask = TailTopic {
            partition: Some(partition),
            max: 4,
            ..read("orders", ReadFrom::Earliest)
        };
        let expected = all.iter().filter(|event| event.partition == partition);
        assert_eq!(bench.read_on(ask), expected.cloned().collect::<Vec<_>>());
    }
    let last = all.last().expect("there are some");
    let from = ReadFrom::Offset {
        partition: last.partition,
        offset: last.offset,
    };
    let ask = TailTopic {
        partition: Some(last.partition),
        ..read("orders", from)
    };
    assert_eq!(bench.read_on(ask), std::slice::from_ref(last));
}

/// Those of some types alone.
pub fn of_some_types(bench: &Bench<'_>) {
    fill(bench, "orders", 30);
    let of = |types: &[&str]| {
        let types = types.iter().map(|it| (*it).into()).collect();
        let ask = read("orders", ReadFrom::Earliest);
        numbers(&bench.read_on(TailTopic { types, ..ask }))
    };
    assert_eq!(of(&["placed"]), those(30, |it| it % 2 == 0));
    assert_eq!(of(&["paid", "unknown"]), those(30, |it| it % 2 == 1));
    assert_eq!(of(&["unknown", "paid", "placed"]), those(30, |_| true));
    assert_eq!(of(&["place", "placed2"]), [0; 0]);
}

/// Those under some keys alone.
pub fn of_some_keys(bench: &Bench<'_>) {
    fill(bench, "orders", 30);
    bench.publish("orders", vec![event("30")]);
    let of = |keys: &[&str]| {
        let keys = keys.iter().map(|it| (*it).into()).collect();
        let ask = read("orders", ReadFrom::Earliest);
        numbers(&bench.read_on(TailTopic { keys, ..ask }))
    };
    assert_eq!(of(&["key-3"]), those(30, |it| it % 7 == 3));
    let two = those(30, |it| it % 7 == 0 || it % 7 == 6);
    assert_eq!(of(&["key-6", "key-0", "key-7"]), two);
    assert_eq!(of(&["30", ""]), [0; 0], "an id is no key");
}

/// With several filters, what every one of them lets through.
pub fn every_filter_holds(bench: &Bench<'_>) {
    fill(bench, "orders", 60);
    let all = bench.events("orders");
    let partition = all[0].partition;
    let so = |event: &&Event| {
        let key = event.key.as_deref();
        let of_key = key == Some("key-0") || key == Some("key-1");
        event.partition == partition && event.event_type == "placed" && of_key
    };
    let expected: Vec<Event> = all.iter().filter(so).cloned().collect();
    assert!(!expected.is_empty());
    let ask = TailTopic {
        partition: Some(partition),
        types: vec!["placed".into(), "none".into()],
        keys: vec!["key-0".into(), "key-1".into()],
        ..read("orders", ReadFrom::Earliest)
    };
    assert_eq!(bench.read_on(ask), expected);
}

/// Filtered pages pass over what is not asked for, and over nothing else.
pub fn filtered_pages_end_to_end(bench: &Bench<'_>) {
    fill(bench, "orders", 100);
    for max in [1, 2, 5, 50] {
        let ask = TailTopic {
            keys: vec!["key-2".into()],
            types: vec!["paid".into()],
            max,
            ..read("orders", ReadFrom::Earliest)
        };
        let expected = those(100, |it| it % 7 == 2 && it % 2 == 1);
        assert_eq!(numbers(&bench.read_on(ask)), expected, "{max} a page");
    }
}

/// Where there is nothing yet, it is read on from there.
pub fn an_empty_page_stays_where_it_is(bench: &Bench<'_>) {
    bench.set_topic("orders", TopicSettings::default());
    let mut from = ReadFrom::Earliest;
    for round in 0..3 {
        let page = bench.page(read("orders", from));
        assert_eq!((page.events.len(), page.next), (0, page.end));
        let again = bench.page(read("orders", ReadFrom::Position(page.next)));
        assert_eq!(again, page);
        let place = bench.publish_one("orders", event(&round.to_string()));
        assert_eq!(place.position, page.next);
        let rest = bench.page(read("orders", ReadFrom::Position(page.next)));
        assert_eq!(numbers(&rest.events), [round]);
        from = ReadFrom::Position(rest.next);
    }
}

/// Nothing was published there yet: that is no place to read from.
pub fn past_the_end(bench: &Bench<'_>) {
    fill(bench, "orders", 20);
    let topic = bench.topic("orders");
    for more in [1, 1_000, u64::MAX / 2] {
        let from = ReadFrom::Position(topic.end.plus(more));
        bench.check_unread(read("orders", from), ErrorKind::Invalid);
    }
    for (partition, next) in (0..).zip(topic.next_offsets) {
        let offset = next + 1;
        let from = ReadFrom::Offset { partition, offset };
        bench.check_unread(read("orders", from), ErrorKind::Invalid);
    }
}

/// A position of another store or of another topic is told as a gap, and nothing is read.
pub fn another_history_is_a_gap(bench: &Bench<'_>) {
    let ours = fill(bench, "orders", 10);
    let theirs = fill(bench, "audit", 10);
    let elsewhere = Position {
        epoch: ours[3].epoch ^ 1,
        ..ours[3]
    };
    for strange in [theirs[3], elsewhere, elsewhere.plus(1_000)] {
        let from = ReadFrom::Position(strange);
        let gap = gap(bench.read(read("orders", from)).expect("a gap"));
        assert_eq!(gap.reason, GapReason::History);
        assert_eq!((gap.earliest, gap.end), (ours[0], ours[9].plus(1)));
    }
}

/// A cursor of a topic that was deleted is told as a gap in the one that was made again.
pub fn a_deleted_topics_cursor_is_a_gap(bench: &Bench<'_>) {
    let old = fill(bench, "orders", 10);
    bench.one(delete_topic("orders")).expect("deleted");
    let new = fill(bench, "orders", 20);
    for position in [old[0], old[9], old[9].plus(1)] {
        let ask = read("orders", ReadFrom::Position(position));
        let gap = gap(bench.read(ask).expect("a gap"));
        assert_eq!(gap.reason, GapReason::History);
        let rest = bench.read_on(read("orders", ReadFrom::Position(gap.earliest)));
        assert_eq!((rest.len(), rest[0].position), (20, new[0]));
    }
}

/// What retention took is told as a gap. What it must keep is there; what it may take is told as a
/// gap or as it was.
pub fn what_retention_took_is_a_gap(bench: &Bench<'_>) {
    let settings = TopicSettings {
        kept_events: Some(10),
        kept_ms: Some(60_000),
        ..TopicSettings::default()
    };
    bench.set_topic("orders", settings);
    let start = bench.wall();
    let mut positions = fill(bench, "orders", 40);
    check_kept(bench, &positions, 30);
    bench.advance(60_001);
    check_kept(bench, &positions, 40);
    let more = bench.publish("orders", numbered(40, 3));
    positions.extend(more.iter().map(|place| place.position));
    assert_eq!(positions[42], positions[0].plus(42));
    check_kept(bench, &positions, 40);
    let next: u64 = bench.topic("orders").next_offsets.iter().sum();
    assert_eq!(next, 43, "no offset is used again");
    // From an instant of which something is gone there is a gap, and from the next there is none.
    let ask = read("orders", ReadFrom::Time(start));
    match bench.read(ask.clone()).expect("it can be read") {
        TopicRead::Gap(gap) => {
            assert_eq!(gap.reason, GapReason::Retention);
            assert!(gap.earliest > positions[0] && gap.earliest <= positions[40]);
        }
        TopicRead::Page(page) => {
            assert_eq!(page.earliest, positions[0]);
            assert_eq!(numbers(&bench.read_on(ask)), those(43, |_| true));
        }
    }
    let rest = bench.read_on(read("orders", ReadFrom::Time(start.plus(1))));
    assert_eq!(numbers(&rest), those(43, |it| it >= 40));
}

/// Of the events at `positions` those from `sure` on are there, and the others told or a gap.
fn check_kept(bench: &Bench<'_>, positions: &[Position], sure: usize) {
    for (number, position) in positions.iter().enumerate() {
        let ask = read("orders", ReadFrom::Position(*position));
        match bench.read(ask.clone()).expect("it can be read") {
            TopicRead::Gap(gap) => {
                assert!(number < sure, "event {number} is still to be kept");
                assert_eq!(gap.reason, GapReason::Retention);
                assert!(gap.earliest > *position, "{gap:?}");
                assert!(gap.earliest <= positions[0].plus(sure as u64), "{gap:?}");
            }
            TopicRead::Page(page) => {
                assert!(page.earliest <= *position);
                let all = those(positions.len(), |it| it >= number);
                assert_eq!(numbers(&bench.read_on(ask)), all);
            }
        }
    }
    let events = numbers(&bench.events("orders"));
    let from = positions.len() - events.len();
    assert!(from <= sure, "{events:?}");
    assert_eq!(events, those(positions.len(), |it| it >= from));
}

/// Compaction keeps the newest event of each key, and everything without a key.
pub fn the_newest_of_a_key_stays(bench: &Bench<'_>) {
    let settings = TopicSettings {
        compacted: Some(true),
        ..TopicSettings::default()
    };
    bench.set_topic("users", settings);
    fill(bench, "users", 40);
    bench.publish("users", vec![event("40"), once("41")]);
    bench.advance(3_600_000);
    let tombstone = NewEvent {
        payload: None,
        ..event("42").keyed("key-0")
    };
    bench.publish_one("users", tombstone);
    let events = bench.events("users");
    let there = numbers(&events);
    for kept in (34..43).filter(|number| number % 7 != 0 || *number == 42) {
        assert!(there.contains(&kept), "{kept} is kept: {there:?}");
    }
    assert!(there.is_sorted());
    let ends = events.iter().filter(|event| event.payload.is_none());
    assert_eq!(ends.count(), 1, "the tombstone is kept for a day");
    let next: u64 = bench.topic("users").next_offsets.iter().sum();
    assert_eq!(next, 43);
}

/// An ask with a number out of its bounds is refused.
pub fn bad_asks_of_a_topic(bench: &Bench<'_>) {
    fill(bench, "orders", 5);
    let good = read("orders", ReadFrom::Earliest);
    let many = |count: usize| (0..count).map(|n| n.to_string().into()).collect::<Vec<_>>();
    let most = limits::READ_FILTERS_MAX;
    let ask = TailTopic {
        types: many(most),
        keys: many(most),
        ..good.clone()
    };
    assert_eq!(bench.read_on(ask), []);
    let offset = 0;
    let from = |partition| ReadFrom::Offset { partition, offset };
    #[rustfmt::skip]
    let bad = [
        TailTopic { max: 0, ..good.clone() },
        TailTopic { max: limits::READ_EVENTS_MAX + 1, ..good.clone() },
        TailTopic { types: many(most + 1), ..good.clone() },
        TailTopic { keys: many(most + 1), ..good.clone() },
        TailTopic { partition: Some(4), ..good.clone() },
        TailTopic { from: from(4), ..good.clone() },
    ];
    for ask in bad {
        bench.check_unread(ask, ErrorKind::Invalid);
    }
    assert_eq!(bench.read_on(good).len(), 5);
}

/// There is nothing to read of a topic that is not there, and reading makes none.
pub fn no_such_topic(bench: &Bench<'_>) {
    let place = bench.publish_one("orders", event("1"));
    for from in [
        ReadFrom::Earliest,
        ReadFrom::Latest,
        ReadFrom::Time(bench.wall()),
        ReadFrom::Position(place.position),
    ] {
        bench.check_unread(read("nowhere", from), ErrorKind::NotFound);
    }
    assert_eq!(bench.topics().len(), 1);
}

/// A page of very large events is shorter than was asked for, has one at least, and goes on.
pub fn a_page_ends_with_its_bytes(bench: &Bench<'_>) {
    let bytes = limits::EVENT_BYTES_MAX;
    let count = usize::try_from(limits::READ_BYTES_MAX).expect("it fits") / bytes + 2;
    for number in 0..count {
        let payload = Payload::bytes("application/octet-stream", vec![7; bytes]);
        bench.publish_one(
            "orders",
            NewEvent::new(number.to_string(), "placed", payload),
        );
    }
    let page = bench.page(read("orders", ReadFrom::Earliest));
    let read_bytes: usize = page.events.iter().map(bytes_of).sum();
    assert!(
        read_bytes as u64 <= limits::READ_BYTES_MAX,
        "{read_bytes} bytes"
    );
    let rest = bench.read_on(read("orders", ReadFrom::Position(page.next)));
    let all = [&page.events[..], &rest[..]].concat();
    assert_eq!(
        ids(&all),
        those(count, |_| true)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    );
    assert!(all.iter().all(|event| bytes_of(event) == bytes));
}

fn bytes_of(event: &Event) -> usize {
    event
        .payload
        .as_ref()
        .map_or(0, |payload| payload.bytes.len())
}
