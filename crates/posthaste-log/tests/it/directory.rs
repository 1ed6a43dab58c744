//! The directory of a store: who holds it, what is found in it, and what happens when it is full.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use posthaste_core::command::Commit;
use posthaste_core::{Command, ErrorKind, Outcome, Store};
use posthaste_log::{Location, Log, Options};
use posthaste_testkit::block_on;
use posthaste_testkit::disk::{Call, Fault, FaultDisk};

use crate::bench::{Life, SEGMENT, ask, clock, dir, open, options};
use crate::ledger::everything;
use crate::sweeps::{Small, segment};

#[test]
fn a_second_opener_is_told_who_holds_it() {
    let (disk, clock) = (FaultDisk::new(), clock());
    let _held = open(&disk, &clock).expect("it opens");
    let error = open(&disk, &clock).expect_err("it is held");
    assert_eq!(error.kind(), ErrorKind::Locked);
    let holder = format!("process {}", std::process::id());
    assert!(error.to_string().contains(&holder), "{error}");
}

#[test]
fn a_second_opener_may_wait_until_the_first_is_gone() {
    let (disk, clock) = (FaultDisk::new(), clock());
    let held = Mutex::new(Some(open(&disk, &clock).expect("it opens")));
    let tries = Mutex::new(0);
    disk.watch(move |_, call, _| {
        if call == Call::Lock {
            let mut tries = tries.lock().expect("nobody panicked");
            *tries += 1;
            if *tries == 3 {
                drop(held.lock().expect("nobody panicked").take());
            }
        }
    });
    let mut options = options(&disk, &clock);
    options.lock_wait_ms = 60_000;
    let store = Log::open(options).expect("it is let go in time");
    disk.unwatch();
    block_on(store.close()).expect("it closes");
}

/// Raises the format version of a block and makes its checksum right again.
fn newer(bytes: &mut [u8]) {
    bytes[4] = 9;
    let end = bytes.len() - 4;
    let crc = crc32c::crc32c(&bytes[..end]);
    bytes[end..].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn a_newer_format_is_refused_by_its_number() {
    let small = Small::new();
    for path in [dir().join("superblock"), segment(1)] {
        let disk = small.disk.copy();
        disk.damage(&path, |bytes| newer(&mut bytes[..4096]));
        let error = open(&disk, &small.clock).expect_err("it is newer");
        assert_eq!(error.kind(), ErrorKind::NewerFormat, "{error}");
        assert!(error.to_string().contains("version 9"), "{error}");
        assert!(
            error.message().contains(path.to_str().expect("text")),
            "{error}"
        );
    }
}

#[test]
fn a_directory_that_may_not_be_read_is_named() {
    let disk = FaultDisk::new();
    disk.fail(Fault {
        call: Call::List,
        nth: 1,
        error: std::io::ErrorKind::PermissionDenied,
        short: false,
    });
    let error = open(&disk, &clock()).expect_err("it may not");
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.message().contains("/srv/data"), "{error}");
    assert!(
        error
            .next_step()
            .is_some_and(|next| next.contains("permission")),
        "{error}"
    );
}

#[test]
fn a_file_where_the_directory_should_be_is_named() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let error = Log::open(Options::new(Location::Directory(file.path().to_owned())));
    let error = error.expect_err("it is a file");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(
        error
            .message()
            .contains(file.path().to_str().expect("text")),
        "{error}"
    );
}

#[test]
fn what_recovery_cuts_is_kept_and_told() {
    let (disk, clock, ledger) = (FaultDisk::new(), clock(), Arc::default());
    let mut life = Life::new(open(&disk, &clock).expect("it opens"), &clock, ledger, 1);
    life.add(5);
    // The next group is begun and never ends: the power goes before its sync.
    let before = Arc::new(Mutex::new(None));
    let taken = Arc::clone(&before);
    disk.watch(move |disk, call, path| {
        let mut taken = taken.lock().expect("nobody panicked");
        let journal = path.parent().is_some_and(|dir| dir.ends_with("segments"));
        if call == Call::Sync && journal && taken.is_none() {
            *taken = Some(disk.copy());
        }
    });
    life.add(5);
    disk.unwatch();
    let disk = before
        .lock()
        .expect("nobody panicked")
        .take()
        .expect("it was synced");
    // Of the group's blocks the second is lost: its header is there and its checksum does not match.
    let bytes = disk.contents(&segment(1)).expect("it is there");
    let mut blocks = bytes.chunks(4096);
    let last = blocks
        .rposition(|block| block.starts_with(b"PHGR"))
        .expect("a group");
    disk.flip(&segment(1), (last * 4096 + 90) * 8);
    let store = open(&disk, &clock).expect("a torn tail is no damage");
    let told = store.recovery_report().expect("it says so").to_owned();
    assert!(
        told.contains("lost+found") && told.contains("offset"),
        "{told}"
    );
    assert!(
        block_on(store.health())
            .expect("it answers")
            .problems
            .contains(&told)
    );
    assert_eq!(everything(&store).expect("it lists").len(), 5);
    let lost = dir().join("lost+found");
    let kept = disk
        .paths()
        .into_iter()
        .find(|path| path.starts_with(&lost));
    let kept = disk
        .contents(&kept.expect("it is kept"))
        .expect("it is there");
    assert!(kept.starts_with(b"PHGR"), "the cut group, as it was");
}

/// Enqueues until the store refuses, and answers the refusal.
fn fill(life: &mut Life, disk: &FaultDisk) -> posthaste_log::Error {
    for _ in 0..100_000 {
        if let Err(error) = life.try_add(8) {
            return error;
        }
        if disk.free() < u64::from(SEGMENT) * 8 {
            // The background looks around five times a second: nobody is that fast in life.
            life.until_refusing();
        }
    }
    panic!("the disk never filled");
}

#[test]
fn a_full_disk_refuses_new_work_and_settles_what_is_there() {
    let (disk, clock, ledger) = (FaultDisk::new(), clock(), Arc::default());
    disk.set_capacity(Some(40 * u64::from(SEGMENT)));
    let mut options = options(&disk, &clock);
    options.reserve_bytes = 8 * u64::from(SEGMENT);
    options.maintenance = false;
    let store = Log::open(options).expect("it opens");
    let mut life = Life::new(store, &clock, ledger, 1);
    let refusal = fill(&mut life, &disk);
    assert_eq!(refusal.kind(), ErrorKind::DiskFull, "{refusal}");
    assert!(
        refusal.next_step().is_some() && refusal.retry_after().is_some(),
        "{refusal}"
    );
    assert!(!block_on(life.store.health()).expect("it answers").accepting);

    let jobs = everything(&life.store).expect("it lists").len();
    let mut leased = block_on(life.store.lease(ask(20))).expect("it leases");
    let last = leased.pop().expect("a job");
    for job in leased {
        let outcome = Outcome::Completed { result: None };
        let settle = Command::Settle {
            id: job.id,
            token: job.token,
            outcome,
        };
        let done = block_on(life.store.commit(vec![Commit::one(settle)])).expect("it answers");
        assert!(done[0].is_ok(), "{done:?}");
        let delete = Commit::one(Command::Delete(job.id));
        let done = block_on(life.store.commit(vec![delete])).expect("it answers");
        assert!(done[0].is_ok(), "{done:?}");
    }
    assert_eq!(everything(&life.store).expect("it lists").len(), jobs - 19);
    assert!(
        block_on(life.store.job(last.id))
            .expect("it answers")
            .is_some()
    );

    disk.set_capacity(None);
    life.until_accepting();
    life.try_add(8).expect("there is room again");
}

#[test]
fn a_disk_without_a_byte_left_fails_nobody_who_was_acknowledged() {
    for left in 0..40 {
        let (disk, clock, ledger) = (FaultDisk::new(), clock(), Arc::default());
        disk.set_capacity(Some(8192 * left + 3 * u64::from(SEGMENT)));
        let Ok(store) = open(&disk, &clock) else {
            continue;
        };
        let mut life = Life::new(store, &clock, Arc::clone(&ledger), left);
        (0..30).for_each(|_| life.step());
        drop(life);
        let unfinished = |path: &PathBuf| path.extension().is_some_and(|it| it == "tmp");
        let unfinished = disk.paths().into_iter().filter(unfinished).count();
        assert!(unfinished <= 1, "{left}: {unfinished} unfinished files");
        disk.set_capacity(None);
        let store = open(&disk, &clock).expect("it opens when there is room");
        let mut ledger = ledger.lock().expect("nobody panicked").clone();
        ledger
            .check(&store)
            .unwrap_or_else(|wrong| panic!("{left}: {wrong}"));
    }
}

/// A file that belongs elsewhere is told from damage, however well it would fit.
#[test]
fn a_segment_of_another_store_is_refused() {
    let (here, there) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("a directory"),
    );
    for dir in [&here, &there] {
        let store = crate::life::open(dir.path());
        crate::life::enqueue(&store, 0..3);
        block_on(store.close()).expect("it closes");
    }
    let first = |dir: &tempfile::TempDir| dir.path().join("segments/0000000000000001.seg");
    std::fs::copy(first(&there), first(&here)).expect("it is put there");
    let mut options = Options::new(Location::Directory(here.path().to_owned()));
    options.segment_bytes = 64 * 1024;
    let error = Log::open(options).map(|_| ()).expect_err("it is refused");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("another store"), "{error}");
    let disk: Arc<dyn posthaste_log::Disk> = Arc::new(posthaste_log::RealDisk);
    let report = posthaste_log::verify(&disk, here.path(), &mut |_| {}).expect("it verifies");
    assert_eq!(report.damage.len(), 1, "{report:?}");
    let repaired = posthaste_log::repair(&disk, here.path(), true).map(|_| ());
    assert!(repaired.is_err(), "nothing of this store is in it");
}
