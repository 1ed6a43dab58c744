//! Retention, compaction and deletion while a topic is used: what goes is told as a gap, and never
//! comes back; what stays is where it was.

use std::path::PathBuf;

use posthaste_core::topic::{
    Gap, GapReason, ReadFrom, TailTopic, TopicRead, TopicSettings, TopicView,
};
use posthaste_core::{Command, Commit, Store, TopicName};
use posthaste_log::Log;
use posthaste_testkit::block_on;
use posthaste_testkit::disk::FaultDisk;

use crate::bench::{SEGMENT, clock, open};
use crate::space::eventually;
use crate::topics_ledger::{commit, event, hold, number_of, topic};

fn set(store: &Log, topic: TopicName, settings: TopicSettings) {
    let set = Command::SetTopic { topic, settings };
    commit(store, Commit::one(set)).expect("it is set");
}

fn publish(store: &Log, topic: &TopicName, numbers: impl Iterator<Item = u32>) {
    let events = numbers.map(event).collect();
    let topic = topic.clone();
    commit(store, Commit::one(Command::Publish { topic, events })).expect("published");
}

fn view(store: &Log, topic: &TopicName) -> TopicView {
    let views = block_on(store.topics()).expect("an answer");
    let found = views.into_iter().find(|view| view.name == *topic);
    found.expect("it is there")
}

fn read(store: &Log, topic: &TopicName, from: ReadFrom) -> TopicRead {
    block_on(store.read(TailTopic::new(topic.clone(), from))).expect("an answer")
}

/// Files of archives, by path.
fn archived(disk: &FaultDisk) -> Vec<PathBuf> {
    let is = |path: &PathBuf| path.extension().is_some_and(|it| it == "events");
    disk.paths().into_iter().filter(is).collect()
}

fn newest_snapshot(disk: &FaultDisk) -> Option<PathBuf> {
    let is = |path: &PathBuf| path.extension().is_some_and(|it| it == "snap");
    disk.paths().into_iter().filter(is).max()
}

fn problems(store: &Log) -> Vec<String> {
    block_on(store.health()).expect("it answers").problems
}

#[test]
fn a_topic_made_again_under_its_name_is_there_when_the_store_is_opened() {
    let (disk, clock) = (FaultDisk::new(), clock());
    let store = open(&disk, &clock).expect("it opens");
    publish(&store, &topic(0), 0..10);
    let first = view(&store, &topic(0)).end;
    commit(&store, Commit::one(Command::DeleteTopic(topic(0)))).expect("deleted");
    publish(&store, &topic(0), 10..15);
    block_on(store.close()).expect("it closes");
    drop(store);
    let store = open(&disk, &clock).expect("it opens");
    let held = hold(&store, &topic(0))
        .expect("it reads")
        .expect("it is there");
    let numbers: Vec<_> = held
        .events
        .iter()
        .map(|event| number_of(event).expect("ours"))
        .collect();
    assert_eq!(numbers, (10..15).collect::<Vec<_>>());
    assert_eq!((held.earliest, held.end), (0, 5));
    // A cursor into the one before is told apart from one into this.
    let gap = read(&store, &topic(0), ReadFrom::Position(first));
    assert!(
        matches!(
            gap,
            TopicRead::Gap(Gap {
                reason: GapReason::History,
                ..
            })
        ),
        "{gap:?}"
    );
}

/// Its events are in the journal still when its archive goes: nothing waits for them.
#[test]
fn a_topic_that_is_deleted_while_its_events_are_moved_holds_nothing_up() {
    let (disk, clock) = (FaultDisk::new(), clock());
    let store = open(&disk, &clock).expect("it opens");
    let mut numbers = (0..).step_by(20);
    let mut more = |topic: &TopicName| {
        let first = numbers.next().expect("endless");
        publish(&store, topic, first..first + 20);
    };
    eventually("events are moved", || {
        more(&topic(0));
        !archived(&disk).is_empty() && newest_snapshot(&disk).is_some()
    });
    for _ in 0..10 {
        more(&topic(0));
    }
    commit(&store, Commit::one(Command::DeleteTopic(topic(0)))).expect("deleted");
    eventually("its files go", || {
        clock.advance(1_100);
        archived(&disk).is_empty()
    });
    let before = newest_snapshot(&disk);
    eventually("there are further snapshots", || {
        more(&topic(2));
        newest_snapshot(&disk) > before
    });
    assert_eq!(problems(&store), Vec::<String>::new());
    drop(store);
    let store = open(&disk, &clock).expect("it opens");
    assert!(hold(&store, &topic(0)).expect("it reads").is_none());
    assert!(hold(&store, &topic(2)).expect("it reads").is_some());
}

/// Publishes under these settings until so many files were dropped, and holds each look against the
/// one before it.
fn check_that_the_earliest_rises(settings: TopicSettings, keeps: impl Fn(&Log, u64, u64)) {
    let (disk, clock) = (FaultDisk::new(), clock());
    let store = open(&disk, &clock).expect("it opens");
    set(&store, topic(1), settings);
    let (mut earliest, mut next, mut first) = (0, 0, Vec::new());
    let mut gone = 0;
    eventually("three files are moved and go", || {
        publish(&store, &topic(1), next..next + 10);
        next += 10;
        clock.advance(100);
        let now = view(&store, &topic(1));
        let (from, end) = (now.earliest, now.end.sequence);
        assert!(
            from.sequence >= earliest,
            "{earliest} was the earliest, and {from} is"
        );
        earliest = from.sequence;
        assert_eq!(end, u64::from(next));
        keeps(&store, earliest, end);
        if let Some(below) = earliest.checked_sub(1) {
            let gap = read(&store, &topic(1), ReadFrom::Position(from.at(below)));
            assert!(
                matches!(gap, TopicRead::Gap(Gap { reason: GapReason::Retention, earliest, .. }) if earliest >= from),
                "{gap:?}"
            );
        }
        let there = archived(&disk);
        let dropped = first.iter().filter(|path| !there.contains(path)).count();
        if dropped > 0 {
            gone += dropped;
        }
        first = there;
        gone >= 3
    });
    assert_eq!(problems(&store), Vec::<String>::new());
    let held = hold(&store, &topic(1))
        .expect("it reads")
        .expect("it is there");
    for (event, number) in held.events.iter().zip(held.earliest..) {
        assert_eq!(number_of(event), Ok(u32::try_from(number).expect("small")));
    }
    assert_eq!(held.events.len() as u64, held.end - held.earliest);
    let offset = ReadFrom::Offset {
        partition: 2,
        offset: 0,
    };
    let gap = read(&store, &topic(1), offset);
    assert!(
        matches!(
            gap,
            TopicRead::Gap(Gap {
                reason: GapReason::Retention,
                ..
            })
        ),
        "{gap:?}"
    );
    // What is gone was published at the beginning.
    let began = ReadFrom::Time(posthaste_core::WallMs(1_700_000_000_000));
    assert_eq!(read(&store, &topic(1), began), gap, "from an instant");
    drop(store);
    let store = open(&disk, &clock).expect("it opens");
    assert_eq!(
        read(&store, &topic(1), began),
        gap,
        "from an instant, opened again"
    );
    let again = hold(&store, &topic(1))
        .expect("it reads")
        .expect("it is there");
    assert_eq!(again.end, held.end);
}

#[test]
fn the_newest_events_are_kept_by_count() {
    let settings = TopicSettings {
        kept_events: Some(300),
        ..TopicSettings::default()
    };
    check_that_the_earliest_rises(settings, |_, earliest, end| {
        assert!(earliest <= end.saturating_sub(300));
    });
}

#[test]
fn the_newest_events_are_kept_by_bytes() {
    let settings = TopicSettings {
        kept_bytes: Some(200_000),
        ..TopicSettings::default()
    };
    check_that_the_earliest_rises(settings, |store, _, _| {
        let bytes = view(store, &topic(1)).bytes;
        assert!(bytes < 40 * u64::from(SEGMENT), "{bytes}");
    });
}

#[test]
fn events_are_kept_for_their_time() {
    let settings = TopicSettings {
        kept_ms: Some(3_000),
        ..TopicSettings::default()
    };
    // Ten events each tenth of a second.
    check_that_the_earliest_rises(settings, |_, earliest, end| {
        assert!(earliest <= end.saturating_sub(290), "{earliest} of {end}");
    });
}
