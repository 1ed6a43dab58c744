//! Every bit of a small closed store flipped, and every file of it cut off at every byte: the
//! damage is named, or nothing is different. Never a silently different answer.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use posthaste_core::view::JobView;
use posthaste_core::{DeadReason, ErrorKind, Store};
use posthaste_log::{Disk, Error, Log, ManualClock, VerifyReport, verify};
use posthaste_testkit::block_on;
use posthaste_testkit::disk::FaultDisk;

use crate::bench::{Life, clock, dir, open, options};
use crate::ledger::everything;

const BLOCK: usize = 4096;

/// A closed store of two segments, and every job in it.
pub(crate) struct Small {
    pub(crate) disk: FaultDisk,
    pub(crate) clock: ManualClock,
    pub(crate) jobs: BTreeMap<u32, JobView>,
}

impl Small {
    pub(crate) fn new() -> Self {
        let (disk, clock) = (FaultDisk::new(), clock());
        let mut options = options(&disk, &clock);
        options.maintenance = false;
        options.segments_ready = 0;
        let store = Log::open(options).expect("it opens");
        let mut life = Life::new(store, &clock, Arc::new(Mutex::default()), 11);
        while disk
            .contents(&segment(2))
            .is_none_or(|bytes| bytes[4 * BLOCK] == 0)
        {
            life.step();
        }
        life.drain();
        for _ in 0..3 {
            life.add(20);
        }
        block_on(life.store.close()).expect("it closes");
        let store = open(&disk.copy(), &clock).expect("it opens");
        let jobs = everything(&store).expect("it lists");
        Self { disk, clock, jobs }
    }

    pub(crate) fn verified(&self, disk: &FaultDisk) -> Result<VerifyReport, Error> {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        verify(&disk, dir(), &mut |_| {})
    }

    /// Opens a damaged copy and reads everything: the same answers, or the damage by its name.
    fn check(&self, disk: &FaultDisk, what: &str) {
        let mut options = options(disk, &self.clock);
        options.maintenance = false;
        let store = match Log::open(options) {
            Ok(store) => store,
            Err(error) => return named(&error, what),
        };
        match everything(&store) {
            Ok(jobs) => {
                for (number, job) in &self.jobs {
                    let found = jobs.get(number);
                    assert_eq!(found, Some(job), "{what}: silently different");
                }
                assert_eq!(jobs.len(), self.jobs.len(), "{what}: there is more");
            }
            Err(wrong) => assert!(wrong.contains(" offset "), "{what}: {wrong}"),
        }
    }
}

fn named(error: &Error, what: &str) {
    let kinds = [ErrorKind::Corrupt, ErrorKind::NewerFormat];
    assert!(kinds.contains(&error.kind()), "{what}: {error}");
    assert!(
        error.message().contains(dir().to_str().expect("text")),
        "{what}: {error}"
    );
}

pub(crate) fn segment(number: u64) -> PathBuf {
    dir().join(format!("segments/{number:016x}.seg"))
}

pub(crate) fn files(disk: &FaultDisk) -> Vec<(PathBuf, Vec<u8>)> {
    let kept = |path: &PathBuf| !path.ends_with("lock");
    let read = |path: PathBuf| {
        let bytes = disk.contents(&path).expect("it is there");
        (path, bytes)
    };
    disk.paths().into_iter().filter(kept).map(read).collect()
}

/// The bits of a file to flip: all of them in a campaign. Otherwise enough to see each header,
/// record, padding and blank block; that each bit is under a checksum is shown in `scan`.
fn bits(bytes: &[u8]) -> Vec<usize> {
    if std::env::var_os("POSTHASTE_CAMPAIGN").is_some() {
        return (0..bytes.len() * 8).collect();
    }
    let mut drawn = Vec::new();
    for (number, block) in bytes.chunks(BLOCK).enumerate() {
        let written = block
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        let start = number * BLOCK * 8;
        let head = 64.min(written) * 8;
        drawn.extend((start + number % 17..start + head).step_by(17));
        drawn.extend((start + head..start + written * 8).step_by(251));
        drawn.extend((start + written * 8..start + block.len() * 8).step_by(4099));
    }
    drawn
}

fn is_written(bytes: &[u8], at: usize) -> bool {
    bytes[at..].iter().any(|byte| *byte != 0)
}

#[test]
fn a_flipped_bit_is_named_or_without_consequence() {
    let small = Small::new();
    assert!(small.verified(&small.disk).expect("it verifies").is_sound());
    let (mut found, mut harmless) = (0, 0);
    for (path, bytes) in files(&small.disk) {
        for (nth, bit) in bits(&bytes).into_iter().enumerate() {
            let disk = small.disk.copy();
            disk.flip(&path, bit);
            let report = small.verified(&disk).expect("it verifies");
            let seen = report.damage.iter().any(|finding| finding.path == path);
            let what = format!("{} bit {bit}", path.display());
            if seen {
                found += 1;
            } else {
                harmless += 1;
            }
            // What verify has seen is opened now and then only: that takes four threads.
            if !seen || nth.is_multiple_of(16) {
                small.check(&disk, &what);
            }
        }
    }
    assert!(found > 5 * harmless, "{found} were found, {harmless} not");
}

#[test]
fn a_file_that_was_cut_off_is_named() {
    let small = Small::new();
    for (path, bytes) in files(&small.disk) {
        let step = if std::env::var_os("POSTHASTE_CAMPAIGN").is_some() {
            1
        } else {
            127
        };
        let near = (0..bytes.len()).filter(|len| len % BLOCK < 2 || len.is_multiple_of(step));
        for (nth, len) in near.enumerate() {
            let disk = small.disk.copy();
            disk.truncate(&path, len);
            let report = small.verified(&disk).expect("it verifies");
            let what = format!("{} cut to {len} bytes", path.display());
            assert!(
                report.damage.iter().any(|finding| finding.path == path),
                "{what}: {report:?}"
            );
            if nth.is_multiple_of(4) {
                small.check(&disk, &what);
            }
        }
    }
}

#[test]
fn a_file_that_is_gone_is_named() {
    let small = Small::new();
    for (path, bytes) in files(&small.disk) {
        let disk = small.disk.copy();
        disk.remove(&path).expect("it goes");
        let report = small.verified(&disk).expect("it verifies");
        let empty = path.parent() == segment(1).parent() && !is_written(&bytes[BLOCK..], 0);
        assert!(empty || !report.is_sound(), "{} is gone", path.display());
        small.check(&disk, &format!("{} is gone", path.display()));
    }
}

#[test]
fn a_job_whose_body_is_damaged_is_dead_and_shown_and_no_other_is_touched() {
    let small = Small::new();
    let disk = small.disk.copy();
    let store = open(&disk, &small.clock).expect("it opens");
    let waiting = small.jobs.iter().find(|(_, job)| !job.state.is_final());
    let (number, job) = waiting.expect("some wait");
    let find = |bytes: &Vec<u8>| {
        let len = job.payload.bytes.len();
        bytes
            .windows(len)
            .rposition(|window| window == job.payload.bytes)
    };
    let (path, at) = files(&disk)
        .into_iter()
        .find_map(|(path, bytes)| Some((path, find(&bytes)?)))
        .expect("its payload is somewhere");
    disk.flip(&path, at * 8);
    // Whoever meets it first is told where; it is dead then, and shown as such.
    let told = everything(&store).expect_err("it is damaged");
    let name = path.file_name().expect("a name").to_str().expect("text");
    assert!(told.contains(name) && told.contains(" offset "), "{told}");
    let jobs = everything(&store).expect("it is condemned");
    let dead = &jobs[number];
    assert_eq!(dead.reason, Some(DeadReason::Corrupt));
    assert!(
        dead.error
            .as_ref()
            .is_some_and(|error| error.contains(name)),
        "{dead:?}"
    );
    for (other, job) in small.jobs.iter().filter(|(other, _)| *other != number) {
        assert_eq!(jobs.get(other), Some(job));
    }
    let problems = block_on(store.health()).expect("it answers").problems;
    assert!(
        problems.iter().any(|problem| problem.contains(name)),
        "{problems:?}"
    );
}
