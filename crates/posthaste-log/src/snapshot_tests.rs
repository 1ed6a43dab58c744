//! Snapshot and tail are the full replay: the same life, opened both ways, is the same state.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use posthaste_core::machine::{Place, Saved};
use posthaste_core::port::LeaseAsk;
use posthaste_core::topic::TopicSettings;
use posthaste_core::{
    Command, Commit, ErrorKind, JobId, MonoMs, NewEvent, NewJob, Outcome, Payload, Store,
    TopicName, WallMs,
};

use crate::segments::Segment;
use crate::{Location, Log, ManualClock, Options, RealDisk, merge, recovery, snapshot};

fn options(dir: &Path, clock: &ManualClock) -> Options {
    let mut options = Options::new(Location::Directory(dir.to_owned()));
    options.segment_bytes = 64 * 1024;
    options.clock = Arc::new(clock.clone());
    options
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    posthaste_testkit::block_on(future)
}

fn job(number: u64) -> NewJob {
    let id = JobId::new(1_700_000_000_000 + number, [3; 10]);
    let queue = if number.is_multiple_of(3) {
        "mail"
    } else {
        "bills"
    };
    let payload = Payload::json(format!("{{\"n\":{number}}}"));
    let mut job = NewJob::new(
        id,
        queue.parse().expect("a queue"),
        "send".parse().expect("a kind"),
        payload,
    );
    job.idempotency_key = number
        .is_multiple_of(5)
        .then(|| format!("key-{number}").into());
    job.deadline = number
        .is_multiple_of(7)
        .then_some(WallMs(1_900_000_000_000));
    job
}

/// Events for three topics, one of which is deleted and made again now and then.
fn publishing(turn: u64) -> Vec<Commit> {
    let name = |nth: u64| TopicName::new(&format!("topic-{}", nth % 3)).expect("a name");
    let events = (0..7).map(|nth| {
        let payload = Payload::json(format!("{{\"turn\":{turn},\"nth\":{nth}}}"));
        let mut event = NewEvent::new(format!("{turn}-{nth}"), "told", payload);
        event.key = (nth > 0).then(|| format!("key-{}", (turn + nth) % 5).into());
        event.deduplicate = nth == 3;
        event
    });
    let publish = Command::Publish {
        topic: name(turn),
        events: events.collect(),
    };
    let settings = TopicSettings {
        kept_events: Some(turn),
        ..TopicSettings::default()
    };
    let mut commits = vec![Commit::one(publish.clone()), Commit::one(publish)];
    if turn.is_multiple_of(4) {
        let topic = name(turn + 1);
        commits.push(Commit::one(Command::SetTopic { topic, settings }));
    }
    if turn % 11 == 10 {
        commits.push(Commit::one(Command::DeleteTopic(name(2))));
    }
    commits
}

/// A life with something of everything, over a dozen of segments.
fn live(store: &Log, clock: &ManualClock, first: u64) {
    for batch in 0..12 {
        let numbers = first + batch * 50..first + batch * 50 + 50;
        let commands = numbers
            .map(|number| Command::Enqueue(Box::new(job(number))))
            .collect();
        wait(store.commit(vec![Commit::of(commands)])).expect("an answer")[0]
            .as_ref()
            .expect("enqueued");
        let ask = LeaseAsk {
            queues: vec![
                ("mail".parse().expect("a queue"), 1),
                ("bills".parse().expect("a queue"), 2),
            ],
            strict: false,
            kinds: Vec::new(),
            max: 30,
            lease_ms: 1_000,
            wait_ms: 0,
            worker: "w".parse().expect("a worker"),
            local: batch % 2 == 0,
        };
        let leased = wait(store.lease(ask)).expect("an answer");
        let settles = leased.iter().enumerate().filter_map(|(index, job)| {
            let outcome = match index % 6 {
                0 => Outcome::Completed {
                    result: Some(Payload::json("true")),
                },
                1 => Outcome::Retry {
                    error: "no answer".into(),
                    delay_ms: None,
                },
                2 => Outcome::Snooze { delay_ms: 5_000 },
                3 => Outcome::Dead {
                    error: "no such user".into(),
                },
                4 => Outcome::Release {
                    delay_ms: 0,
                    undecodable: false,
                    error: None,
                },
                _ => return None,
            };
            Some(Commit::one(Command::Settle {
                id: job.id,
                token: job.token,
                outcome,
            }))
        });
        wait(store.commit(settles.collect())).expect("an answer");
        wait(store.commit(publishing(first + batch))).expect("an answer");
        clock.advance(1_500);
    }
}

/// The state that opening `dir` leads to. Places are compared as they are: nothing was moved.
fn opened(dir: &Path) -> Saved {
    recovery::open(Arc::new(RealDisk), dir, 64 * 1024, MonoMs(0))
        .expect("it opens")
        .machine
        .export()
}

fn copy_without_snapshots(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.join("segments")).expect("a directory");
    for entry in std::fs::read_dir(from.join("segments")).expect("a directory") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), to.join("segments").join(entry.file_name())).expect("a copy");
    }
    std::fs::copy(from.join("superblock"), to.join("superblock")).expect("a copy");
}

/// A life on disk, closed, whose snapshots were made in several rounds, each on top of the one
/// before. Answers them, oldest first, and how many segments are sealed.
fn lived_with_snapshots(dir: &Path, without: Option<&Path>) -> (Vec<PathBuf>, Vec<Arc<Segment>>) {
    let clock = ManualClock::at(WallMs(1_800_000_000_000));
    let mut options = options(dir, &clock);
    options.maintenance = false;
    let store = Log::open(options).expect("it opens");
    for round in 0..4 {
        live(&store, &clock, round * 1_000);
    }
    wait(store.close()).expect("it closes");
    if let Some(other) = without {
        copy_without_snapshots(dir, other);
    }
    let mut recovered =
        recovery::open(Arc::new(RealDisk), dir, 64 * 1024, MonoMs(0)).expect("it opens");
    let mut sealed = recovered.segments.in_use();
    sealed.retain(|segment| segment.number < recovered.position.segment.number);
    assert!(sealed.len() > 6, "{} sealed segments", sealed.len());
    let mut made: Vec<PathBuf> = Vec::new();
    for round in sealed[..sealed.len() - 1].chunks(2) {
        let mover = &mut recovered.mover;
        let known = merge::Known {
            kept_from: &|_| Some(0),
            batch_at: &|_, _| None,
            damaged: &|error| panic!("{error}"),
        };
        let next = merge::merge(&recovered.files, made.last(), round, mover, &known, || true);
        let next = next.expect("a snapshot");
        let (path, reach) = next.expect("nobody stopped it");
        assert_eq!(snapshot::read_back(&RealDisk, &path), Ok(reach));
        made.push(path);
    }
    (made, sealed)
}

fn assert_same(one: &Saved, other: &Saved) {
    assert_eq!(one.meta, other.meta);
    assert_eq!(one.keys, other.keys);
    assert_eq!(one.settles, other.settles);
    assert_eq!(one.jobs, other.jobs);
}

#[test]
fn a_snapshot_and_the_tail_are_the_full_replay() {
    let (dir, other) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("a directory"),
    );
    let (made, _) = lived_with_snapshots(dir.path(), Some(other.path()));
    assert!(made.len() > 2);
    let (merged, replayed) = (opened(dir.path()), opened(other.path()));
    assert_same(&merged, &replayed);
    assert!(
        replayed.jobs.iter().any(|job| job.lease.is_some()),
        "some leases were held"
    );
    assert!(
        replayed.jobs.iter().any(|job| job.life.note != Place::NONE),
        "some outcomes were noted"
    );
}

fn flip(path: &Path, offset: usize) {
    let mut bytes = std::fs::read(path).expect("a file");
    bytes[offset] ^= 1;
    std::fs::write(path, bytes).expect("it is written");
}

#[test]
fn a_damaged_snapshot_gives_way_to_the_one_before_while_the_segments_are_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let (made, sealed) = lived_with_snapshots(dir.path(), None);
    let sound = opened(dir.path());
    flip(&made[made.len() - 1], 100);
    let open = || recovery::open(Arc::new(RealDisk), dir.path(), 64 * 1024, MonoMs(0));
    let recovered = open().expect("the one before is sound");
    assert_same(&recovered.machine.export(), &sound);
    assert!(
        recovered
            .cut
            .is_some_and(|told| told.contains("the snapshot before it was used"))
    );

    // Without the segments between the two there is no way round the damage.
    let covered = |segment: &&Arc<Segment>| {
        made[made.len() - 1].ends_with(snapshot::file_name(segment.number))
    };
    let last_covered = sealed.iter().find(covered).expect("the newest covers one");
    std::fs::remove_file(&last_covered.path).expect("it is removed");
    let error = open().map(|_| ()).expect_err("it is refused");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains(".snap"), "{error}");
}

#[test]
fn the_scrub_names_what_is_damaged_and_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_, sealed) = lived_with_snapshots(dir.path(), None);
    flip(&sealed[2].path, 4096 + 200);
    let mut scrub = crate::scrub::Scrub::default();
    let mut told = Vec::new();
    for _ in 0..sealed.len() * 2 {
        told.extend(scrub.step(sealed.iter().cloned()).err());
    }
    assert!(!told.is_empty(), "nothing was found");
    let name = sealed[2].path.display().to_string();
    assert!(
        told.iter().all(|error| error.message().contains(&name)),
        "{told:?}"
    );
}

/// What was found damaged is not built upon: the next snapshot starts from the one that was used.
#[test]
fn snapshots_go_on_after_a_damaged_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let (made, _) = lived_with_snapshots(dir.path(), None);
    let damaged = &made[made.len() - 1];
    flip(damaged, 100);
    let clock = ManualClock::at(WallMs(1_900_000_000_000));
    let store = Log::open(options(dir.path(), &clock)).expect("the one before is sound");
    live(&store, &clock, 9_000);
    let newer = || {
        let found = snapshot::list(&RealDisk, dir.path()).expect("a listing");
        found.first().is_some_and(|(_, newest)| newest > damaged)
    };
    for _ in 0..3_000 {
        if newer() {
            break;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
    assert!(newer(), "no snapshot was made any more");
    wait(store.close()).expect("it closes");
    drop(store);
    let again = Log::open(options(dir.path(), &clock)).expect("it opens");
    assert_eq!(again.recovery_report(), None);
}
