//! Space comes back while the store runs, whatever lives on in every segment.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use posthaste_core::job::Start;
use posthaste_core::view::JobFilter;
use posthaste_core::{Command, Commit, JobState, Payload, Store};
use posthaste_log::{Location, Log, Options};
use posthaste_testkit::block_on;
use posthaste_testkit::disk::{Call, FaultDisk};

use crate::bench::{self, Life};
use crate::life::{job, open, work_off};

fn segments(dir: &Path) -> usize {
    std::fs::read_dir(dir.join("segments"))
        .expect("it is there")
        .count()
}

/// The names of its snapshots, without the one that is being built: the segments that it is merged
/// from are still needed.
fn snapshots(dir: &Path) -> Vec<String> {
    let files = std::fs::read_dir(dir.join("snapshots")).expect("it is there");
    let names = files.map(|file| file.expect("an entry").file_name().into_string());
    let names = names.map(|name| name.expect("a name in letters"));
    names.filter(|name| name.ends_with(".snap")).collect()
}

/// Waits for what the background thread does, a bounded time.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn a_job_for_next_year_in_every_segment_does_not_keep_the_segments() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let mut kept = Vec::new();
    for batch in 0..80_u64 {
        let mut commands = Vec::new();
        for number in batch * 100..batch * 100 + 100 {
            let mut job = job(number);
            job.payload = Payload::json(format!("\"{}\"", "x".repeat(256)));
            if number % 100 == 7 {
                job.start = Start::After(365 * 86_400_000);
                kept.push(job.id);
            }
            commands.push(Command::Enqueue(Box::new(job)));
        }
        let done = block_on(store.commit(vec![Commit::of(commands)])).expect("it answers");
        done.into_iter()
            .for_each(|commit| assert!(commit.is_ok(), "{commit:?}"));
    }
    assert_eq!(work_off(&store), 80 * 99);
    let before = segments(dir.path());
    // Completed jobs are kept for a day, so they are deleted by hand.
    for batch in 0..80_u64 {
        let commits = (batch * 100..batch * 100 + 100)
            .map(|number| job(number).id)
            .filter(|id| !kept.contains(id))
            .map(|id| Commit::one(Command::Delete(id)));
        let done = block_on(store.commit(commits.collect())).expect("it answers");
        done.into_iter()
            .for_each(|commit| assert!(commit.is_ok(), "{commit:?}"));
    }
    eventually("the segments go", || segments(dir.path()) < 12);
    assert!(before > 40, "{before} segments held it all");
    drop(store);
    let store = open(dir.path());
    for id in kept {
        let job = block_on(store.job(id))
            .expect("it answers")
            .expect("it is there");
        assert_eq!(
            (job.state, job.payload.bytes.len()),
            (JobState::Scheduled, 258)
        );
    }
}

/// Each was enqueued in a commit of its own, which takes a block; copied one by one they would take
/// as much again, and the store would copy for ever.
#[test]
fn small_jobs_that_came_alone_are_copied_together() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    for number in 0..300 {
        let alone = Command::Enqueue(Box::new(job(number)));
        let done = block_on(store.commit(vec![Commit::one(alone)])).expect("it answers");
        assert!(done[0].is_ok(), "{done:?}");
    }
    eventually("they are few", || segments(dir.path()) < 10);
    assert_eq!(work_off(&store), 300);
}

/// Snapshots tell of every job that was there when they were made: they shrink with the backlog.
#[test]
fn once_a_backlog_is_gone_its_snapshots_go_too() {
    let dir = tempfile::tempdir().expect("a directory");
    // One segment holds what is said of the end of them all.
    let mut options = Options::new(Location::Directory(dir.path().to_owned()));
    options.segment_bytes = 1024 * 1024;
    options.segments_ready = 4;
    let store = Log::open(options).expect("a new store opens");
    let snapshots = || -> u64 {
        let files = std::fs::read_dir(dir.path().join("snapshots")).expect("it is there");
        // One that is removed meanwhile takes no space.
        let bytes = files.map(|file| file.expect("an entry").metadata().map_or(0, |of| of.len()));
        bytes.sum()
    };
    let payload = Payload::json(format!("\"{}\"", "x".repeat(256)));
    let jobs = |batch: u64| {
        (batch * 1_000..batch * 1_000 + 1_000).map(|number| {
            let mut job = job(number);
            job.payload = payload.clone();
            job
        })
    };
    for batch in 0..60 {
        let commands = jobs(batch).map(|job| Command::Enqueue(Box::new(job)));
        let done = block_on(store.commit(vec![Commit::of(commands.collect())]));
        done.expect("it answers")
            .into_iter()
            .for_each(|commit| assert!(commit.is_ok(), "{commit:?}"));
    }
    eventually("a snapshot of it", || snapshots() > 1_000_000);
    for batch in 0..60 {
        let commands = jobs(batch).map(|job| Command::Delete(job.id));
        let done = block_on(store.commit(vec![Commit::of(commands.collect())]));
        done.expect("it answers")
            .into_iter()
            .for_each(|commit| assert!(commit.is_ok(), "{commit:?}"));
    }
    eventually("the snapshots shrink", || snapshots() < 200_000);
    drop(store);
    let store = open(dir.path());
    let left = block_on(store.jobs(JobFilter::default(), None, 10)).expect("a page");
    assert!(left.jobs.is_empty());
}

#[test]
fn a_store_opens_from_its_snapshot_when_the_segments_before_it_are_gone() {
    let dir = tempfile::tempdir().expect("a directory");
    for round in 0..4 {
        let store = open(dir.path());
        for batch in 0..60 {
            let first = round * 6_000 + batch * 100;
            crate::life::enqueue(&store, first..first + 100);
        }
        eventually("a snapshot is made", || !snapshots(dir.path()).is_empty());
    }
    let store = open(dir.path());
    assert_eq!(work_off(&store), 24_000);
    let queues = block_on(store.queues()).expect("it answers");
    let held: u64 = queues[0].held.iter().sum();
    assert_eq!(queues[0].totals.enqueued, 24_000);
    assert_eq!(held + queues[0].totals.deleted, 24_000);
}

/// A key is remembered for a day; the job that it came with may be gone long before.
#[test]
fn keys_that_are_remembered_do_not_keep_the_jobs_they_came_with() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let keyed = |number: u64| {
        let mut job = job(number);
        job.payload = Payload::json(format!("\"{}\"", "x".repeat(2_000)));
        job.idempotency_key = number
            .is_multiple_of(10)
            .then(|| format!("key {number}").into());
        job
    };
    for batch in 0..60_u64 {
        let jobs = (batch * 20..batch * 20 + 20).map(keyed);
        let commands = jobs.map(|job| Command::Enqueue(Box::new(job))).collect();
        let done = block_on(store.commit(vec![Commit::of(commands)])).expect("it answers");
        assert!(done[0].is_ok());
    }
    let before = segments(dir.path());
    let last = 60 * 20 - 10;
    for number in (0..60 * 20).filter(|number| *number != last) {
        let delete = Commit::one(Command::Delete(job(number).id));
        let done = block_on(store.commit(vec![delete])).expect("it answers");
        assert!(done[0].is_ok());
    }
    assert!(before > 30, "{before} segments held it all");
    eventually("the segments go", || segments(dir.path()) < 12);
    // Each key gives its answer all the same, the job there or gone.
    for number in [0, 590, last] {
        let again = Command::Enqueue(Box::new(keyed(number)));
        let mut done = block_on(store.commit(vec![Commit::one(again)])).expect("it answers");
        let replies = done.remove(0).expect("it is known").replies;
        let first = keyed(number).id;
        assert!(
            matches!(replies[..], [posthaste_core::Reply::Enqueued { id, existing: true, .. }] if id == first),
            "{replies:?}"
        );
    }
}

/// What is damaged stays where it is, and keeps nothing else.
#[test]
fn damaged_segments_do_not_keep_the_others() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let lasting = |number: u64| number.is_multiple_of(50);
    for batch in 0..60_u64 {
        let jobs = (batch * 100..batch * 100 + 100).map(|number| {
            let mut job = job(number);
            job.payload = Payload::json(format!("\"{}\"", "x".repeat(256)));
            job
        });
        let commands = jobs.map(|job| Command::Enqueue(Box::new(job))).collect();
        let done = block_on(store.commit(vec![Commit::of(commands)])).expect("it answers");
        assert!(done[0].is_ok());
    }
    eventually("a snapshot is made", || {
        let names = snapshots(dir.path());
        names.iter().any(|name| &**name > "0000000000000010")
    });
    for number in [3, 6, 9] {
        let path = dir.path().join(format!("segments/{number:016x}.seg"));
        let mut bytes = std::fs::read(&path).expect("a segment");
        bytes[4096 + 300] ^= 1;
        let file = std::fs::OpenOptions::new().write(true).open(&path);
        let file = file.expect("it opens");
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).expect("it is written");
    }
    let before = segments(dir.path());
    for batch in 0..60_u64 {
        let numbers = (batch * 100..batch * 100 + 100).filter(|number| !lasting(*number));
        let commits = numbers.map(|number| Commit::one(Command::Delete(job(number).id)));
        let done = block_on(store.commit(commits.collect())).expect("it answers");
        assert!(done.iter().all(Result::is_ok));
    }
    assert!(before > 30, "{before} segments held it all");
    eventually("the segments go", || segments(dir.path()) < 15);
    let problems = block_on(store.health()).expect("it answers").problems;
    let named = |number: u64| {
        problems
            .iter()
            .any(|told| told.contains(&format!("{number:016x}.seg")))
    };
    assert!([3, 6, 9].into_iter().all(named), "{problems:?}");
}

/// A snapshot stands in for segments that are removed: before they go it was synced, and read back
/// from the device and not from what the system remembers of its writing.
#[test]
fn a_snapshot_is_read_from_the_device_before_segments_go() {
    let (disk, clock) = (FaultDisk::new(), bench::clock());
    let store = bench::open(&disk, &clock).expect("it opens");
    let mut life = Life::new(store, &clock, Arc::default(), 3);
    let is = |path: &Path, extension| path.extension().is_some_and(|it| it == extension);
    let removal = |(call, path): &(Call, PathBuf)| *call == Call::Remove && is(path, "seg");
    eventually("a segment goes", || {
        life.churn();
        disk.log().iter().any(removal)
    });
    let log = disk.log();
    let at = log.iter().position(removal).expect("there is one");
    let refreshed = |(call, path): &(Call, PathBuf)| *call == Call::Sync && is(path, "snap");
    let synced = log[..at].iter().rposition(refreshed);
    let synced =
        synced.expect("synced under its name, which has what is read come from the device");
    let read = |(call, path): &(Call, PathBuf)| *call == Call::Read && is(path, "snap");
    assert!(log[synced..at].iter().any(read), "and read after that");
}
