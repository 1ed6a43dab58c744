//! Events leave the journal while a topic is used, and nobody can tell but by the files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use posthaste_core::topic::{EventPage, ReadFrom, TailTopic, TopicRead, TopicSettings};
use posthaste_core::{Command, Commit, Event, NewEvent, Payload, Reply, Store, TopicName, WallMs};
use posthaste_log::{Disk, Location, Log, ManualClock, Options, RealDisk, VerifyReport};
use posthaste_testkit::block_on;

fn open(dir: &Path, clock: &ManualClock) -> Log {
    let mut options = Options::new(Location::Directory(dir.to_owned()));
    options.segment_bytes = 64 * 1024;
    options.reserve_bytes = 0;
    options.clock = Arc::new(clock.clone());
    Log::open(options).expect("it opens")
}

fn topic(nth: usize) -> TopicName {
    TopicName::new(&format!("topic-{}", nth % 3)).expect("a name")
}

/// Publishes, and answers what was published, with where it is.
fn publish(
    store: &Log,
    topic: &TopicName,
    events: Vec<NewEvent>,
) -> Vec<(NewEvent, u16, u64, u64)> {
    let command = Command::Publish {
        topic: topic.clone(),
        events: events.clone(),
    };
    let mut done = block_on(store.commit(vec![Commit::one(command)])).expect("an answer");
    let committed = done.remove(0).expect("published");
    let [Reply::Published(places)] = committed.replies.as_slice() else {
        panic!("{:?}", committed.replies);
    };
    let all = events.into_iter().zip(places.iter());
    all.map(|(event, at)| (event, at.partition, at.offset, at.position.sequence))
        .collect()
}

fn page(store: &Log, ask: TailTopic) -> EventPage {
    match block_on(store.read(ask)).expect("an answer") {
        TopicRead::Page(page) => page,
        TopicRead::Gap(gap) => panic!("{gap:?}"),
    }
}

/// Everything of a topic from there on.
fn all(store: &Log, topic: &TopicName, from: ReadFrom, max: u32) -> Vec<Event> {
    let mut ask = TailTopic::new(topic.clone(), from);
    ask.max = max;
    let mut events = Vec::new();
    loop {
        let page = page(store, ask.clone());
        events.extend(page.events);
        if page.next == page.end {
            return events;
        }
        ask.from = ReadFrom::Position(page.next);
    }
}

fn event(number: usize) -> NewEvent {
    let payload = Payload::json(format!(
        "{{\"number\":{number},\"fill\":\"{}\"}}",
        "x".repeat(200)
    ));
    let mut event = NewEvent::new(
        format!("id-{number}"),
        format!("type-{}", number % 2),
        payload,
    );
    if !number.is_multiple_of(5) {
        event = event.keyed(format!("key-{}", number % 17));
    }
    event
}

fn assert_same(read: &[Event], published: &[(NewEvent, u16, u64, u64)]) {
    assert_eq!(read.len(), published.len());
    for (read, (event, partition, offset, sequence)) in read.iter().zip(published) {
        let place = (read.partition, read.offset, read.position.sequence);
        assert_eq!(place, (*partition, *offset, *sequence));
        assert_eq!((&read.id, &read.key), (&event.id, &event.key));
        assert_eq!(read.payload, event.payload);
    }
}

/// The files of every archive.
fn archives(dir: &Path) -> Vec<PathBuf> {
    let files = |dir: &Path| {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let topics = files(&dir.join("topics"));
    topics.iter().flat_map(|topic| files(topic)).collect()
}

/// How many bytes of events left the journal.
fn moved(dir: &Path) -> u64 {
    archives(dir)
        .iter()
        .map(|path| path.metadata().map_or(0, |meta| meta.len()))
        .sum()
}

fn verify(dir: &Path) -> VerifyReport {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    posthaste_log::verify(&disk, dir, &mut |_| {}).expect("it can be read")
}

/// Publishes until so many bytes have left the journal.
fn lives(store: &Log, dir: &Path, bytes: u64) -> [Vec<(NewEvent, u16, u64, u64)>; 3] {
    let mut published: [Vec<_>; 3] = Default::default();
    let mut number = 0;
    while moved(dir) < bytes {
        for (nth, published) in published.iter_mut().enumerate() {
            let events = (0..1 + number % 40)
                .map(|more| event(number + more))
                .collect();
            published.extend(publish(store, &topic(nth), events));
            number += 1;
        }
        assert!(number < 100_000, "nothing leaves the journal");
    }
    published
}

#[test]
fn events_that_left_the_journal_are_read_as_if_they_had_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = ManualClock::at(WallMs(1_800_000_000_000));
    let store = open(dir.path(), &clock);
    let mut published = lives(&store, dir.path(), 1024 * 1024);
    for round in 0..3 {
        let store = match round {
            0 => store.clone(),
            _ => open(dir.path(), &clock),
        };
        for (nth, published) in published.iter_mut().enumerate() {
            let topic = topic(nth);
            for max in [7, 1_000] {
                assert_same(&all(&store, &topic, ReadFrom::Earliest, max), published);
            }
            let middle = published[published.len() / 2].clone();
            let (_, partition, offset, sequence) = middle;
            let from = ReadFrom::Offset { partition, offset };
            let rest = &published[usize::try_from(sequence).expect("small")..];
            assert_same(&all(&store, &topic, from, 100), rest);
            let mut ask = TailTopic::new(topic.clone(), ReadFrom::Earliest);
            ask.partition = Some(partition);
            let of_partition: Vec<_> = published
                .iter()
                .filter(|(_, of, ..)| *of == partition)
                .take(1_000)
                .cloned()
                .collect();
            let mut read = Vec::new();
            while read.len() < of_partition.len() {
                let page = page(&store, ask.clone());
                ask.from = ReadFrom::Position(page.next);
                read.extend(page.events);
            }
            read.truncate(of_partition.len());
            assert_same(&read, &of_partition);
            published.extend(publish(&store, &topic, vec![event(round)]));
        }
        block_on(store.close()).expect("it closes");
    }
    drop(store);
    let report = verify(dir.path());
    let events: usize = published.iter().map(Vec::len).sum();
    assert!(report.is_sound(), "{:?}", report.damage);
    assert!(
        (1..=events as u64).contains(&report.events),
        "{} of {events} in archives",
        report.events
    );
    let archive = archives(dir.path()).remove(0);
    let mut bytes = std::fs::read(&archive).expect("it is read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&archive, bytes).expect("it is written");
    let report = verify(dir.path());
    assert!(
        report.damage.iter().any(|damage| damage.path == archive),
        "{:?}",
        report.damage
    );
}

#[test]
fn a_topic_has_settings_of_its_own_and_goes_with_all_its_events() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = ManualClock::at(WallMs(1_800_000_000_000));
    let store = open(dir.path(), &clock);
    let settings = TopicSettings {
        partitions: Some(1),
        ..TopicSettings::default()
    };
    let set = Command::SetTopic {
        topic: topic(0),
        settings,
    };
    block_on(store.commit(vec![Commit::one(set)])).expect("an answer")[0]
        .as_ref()
        .expect("it is made");
    let published = lives(&store, dir.path(), 512 * 1024);
    assert!(
        published[0]
            .iter()
            .all(|(_, partition, ..)| *partition == 0)
    );
    for nth in 0..3 {
        let delete = Command::DeleteTopic(topic(nth));
        block_on(store.commit(vec![Commit::one(delete)])).expect("an answer")[0]
            .as_ref()
            .expect("it is deleted");
        let read = block_on(store.read(TailTopic::new(topic(nth), ReadFrom::Earliest)));
        read.expect_err("it is gone");
    }
    assert!(block_on(store.topics()).expect("an answer").is_empty());
    block_on(store.close()).expect("it closes");
}

#[test]
fn a_topic_that_was_deleted_and_made_again_is_there_when_the_store_is_opened_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = ManualClock::at(WallMs(1_800_000_000_000));
    let topic = topic(0);
    let store = open(dir.path(), &clock);
    publish(&store, &topic, vec![event(1)]);
    let delete = Command::DeleteTopic(topic.clone());
    block_on(store.commit(vec![Commit::one(delete)])).expect("an answer")[0]
        .as_ref()
        .expect("it is deleted");
    publish(&store, &topic, vec![event(2)]);
    block_on(store.close()).expect("it closes");
    let store = open(dir.path(), &clock);
    let events = all(&store, &topic, ReadFrom::Earliest, 10);
    let ids: Vec<&str> = events.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(ids, ["id-2"]);
    block_on(store.close()).expect("it closes");
}
