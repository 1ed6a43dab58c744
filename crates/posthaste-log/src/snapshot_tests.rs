//! Snapshot and tail are the full replay: the same life, opened both ways, is the same state.

use std::path::Path;
use std::sync::Arc;

use posthaste_core::machine::{Place, Saved};
use posthaste_core::port::LeaseAsk;
use posthaste_core::{Command, Commit, JobId, MonoMs, NewJob, Outcome, Payload, Store, WallMs};

use crate::{Location, Log, ManualClock, Options, RealDisk, files, merge, recovery, snapshot};

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

#[test]
fn a_snapshot_and_the_tail_are_the_full_replay() {
    let (dir, other) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("a directory"),
    );
    let clock = ManualClock::at(WallMs(1_800_000_000_000));
    let mut options = options(dir.path(), &clock);
    options.maintenance = false;
    let store = Log::open(options).expect("it opens");
    for round in 0..4 {
        live(&store, &clock, round * 1_000);
    }
    wait(store.close()).expect("it closes");
    copy_without_snapshots(dir.path(), other.path());

    // Snapshots in several rounds, each on top of the one before.
    let recovered =
        recovery::open(Arc::new(RealDisk), dir.path(), 64 * 1024, MonoMs(0)).expect("it opens");
    let mut sealed = recovered.segments.in_use();
    sealed.retain(|segment| segment.number < recovered.position.segment.number);
    assert!(sealed.len() > 6, "{} sealed segments", sealed.len());
    let mut newest: Option<std::path::PathBuf> = None;
    for round in sealed[..sealed.len() - 1].chunks(2) {
        let made =
            merge::merge(&recovered.files, newest.as_ref(), round, || true).expect("a snapshot");
        let (path, reach) = made.expect("nobody stopped it");
        assert_eq!(snapshot::read_back(&RealDisk, &path), Ok(reach));
        newest = Some(path);
    }
    assert!(newest.is_some_and(|path| path.starts_with(files::snapshots_dir(dir.path()))));

    let (merged, replayed) = (opened(dir.path()), opened(other.path()));
    assert_eq!(merged.meta, replayed.meta);
    assert_eq!(merged.keys, replayed.keys);
    assert_eq!(merged.settles, replayed.settles);
    assert_eq!(merged.jobs, replayed.jobs);
    assert!(
        replayed.jobs.iter().any(|job| job.lease.is_some()),
        "some leases were held"
    );
    assert!(
        replayed.jobs.iter().any(|job| job.life.note != Place::NONE),
        "some outcomes were noted"
    );
}
