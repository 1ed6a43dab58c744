//! A full disk refuses new work and nothing else, and recovers by itself.

use std::path::Path;
use std::sync::Arc;

use posthaste_core::{Command, Commit, ErrorKind, JobId, Payload, Store};
use posthaste_log::{Location, Log, Options};
use posthaste_testkit::block_on;
use posthaste_testkit::disk::FaultDisk;

use crate::life::{job, work_off};
use crate::space::eventually;

const SEGMENT: u32 = 64 * 1024;

fn open(disk: &FaultDisk) -> Log {
    let mut options = Options::new(Location::Directory(Path::new("/store").to_owned()));
    options.segment_bytes = SEGMENT;
    options.reserve_bytes = 8 * u64::from(SEGMENT);
    options.disk = Arc::new(disk.clone());
    Log::open(options).expect("the store opens")
}

fn large(number: u64) -> Command {
    let mut job = job(number);
    job.payload = Payload::json(format!("\"{}\"", "x".repeat(4_000)));
    Command::Enqueue(Box::new(job))
}

/// Enqueues jobs until one is refused, and says how many there are.
fn fill(store: &Log, first: u64) -> u64 {
    for number in first..first + 10_000 {
        let done = block_on(store.commit(vec![Commit::one(large(number))])).expect("it answers");
        match &done[0] {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
                assert!(
                    error.is_retryable() && error.next_step().is_some(),
                    "{error}"
                );
                return number - first;
            }
        }
    }
    panic!("ten thousand jobs of 4 kB were accepted on a disk of 2 MiB");
}

fn delete(store: &Log, ids: impl Iterator<Item = JobId>) {
    let commits = ids.map(|id| Commit::one(Command::Delete(id))).collect();
    let done = block_on(store.commit(commits)).expect("it answers");
    done.into_iter()
        .for_each(|commit| assert!(commit.is_ok(), "{commit:?}"));
}

fn accepts(store: &Log) -> bool {
    let health = block_on(store.health()).expect("it answers");
    assert_eq!(health.accepting, health.problems.is_empty(), "{health:?}");
    health.accepting
}

/// On a disk of so many segments, of which eight are kept free.
fn check_that_deleting_makes_room(segments: u64) {
    let disk = FaultDisk::new();
    disk.set_capacity(Some(segments * u64::from(SEGMENT)));
    let store = open(&disk);
    let accepted = fill(&store, 0);
    assert!(accepted > 5, "{accepted} jobs were accepted");
    assert!(!accepts(&store));

    assert_eq!(work_off(&store) as u64, accepted, "work goes on");
    delete(&store, (0..accepted).map(|number| job(number).id));

    eventually("there is room again", || accepts(&store));
    assert!(fill(&store, 100_000) > 5, "the room is real");
}

#[test]
fn a_full_disk_refuses_new_work_alone_and_recovers_when_jobs_are_deleted() {
    check_that_deleting_makes_room(32);
}

#[test]
fn a_small_disk_recovers_too() {
    check_that_deleting_makes_room(12);
}

#[test]
fn a_full_disk_recovers_when_others_make_room() {
    let disk = FaultDisk::new();
    disk.set_capacity(Some(1024 * 1024));
    let store = open(&disk);
    let accepted = fill(&store, 0);
    disk.set_capacity(Some(2 * 1024 * 1024));
    eventually("there is room again", || accepts(&store));
    let more = fill(&store, 100_000);
    assert!(more > 0, "the room is real");
    assert_eq!(work_off(&store) as u64, accepted + more);
}
