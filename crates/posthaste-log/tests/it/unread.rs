//! A body that the disk does not give, for once: the matter of its own job and of no other.

use posthaste_core::command::Edit;
use posthaste_core::view::JobFilter;
use posthaste_core::{Command, Commit, ErrorKind, JobState, Payload, Store};
use posthaste_log::Log;
use posthaste_testkit::block_on;
use posthaste_testkit::disk::{Call, Fault, FaultDisk};

use crate::bench::{clock, options};
use crate::life::{enqueue, job};

/// Three jobs in a store that was opened since, so that their bodies are on disk alone.
fn opened() -> (FaultDisk, Log) {
    let (disk, clock) = (FaultDisk::new(), clock());
    let open = || {
        let mut options = options(&disk, &clock);
        options.maintenance = false;
        Log::open(options).expect("it opens")
    };
    let store = open();
    enqueue(&store, 0..3);
    block_on(store.close()).expect("it closes");
    (disk.clone(), open())
}

/// The `nth` read from now on fails.
fn fail_read(disk: &FaultDisk, nth: u64) {
    disk.fail(Fault {
        call: Call::Read,
        nth: disk.count(Call::Read) + nth,
        error: std::io::ErrorKind::Other,
        short: false,
    });
}

#[test]
fn a_page_shows_the_others() {
    let (disk, store) = opened();
    fail_read(&disk, 2);
    let page = || block_on(store.jobs(JobFilter::default(), None, 10)).expect("a page");
    let jobs = page().jobs;
    let told = jobs.iter().filter_map(|job| job.error.as_ref());
    let told: Vec<_> = told.filter(|told| told.contains("can't be read")).collect();
    assert_eq!((jobs.len(), told.len()), (3, 1));
    assert!(jobs.iter().all(|job| job.state == JobState::Available));
    assert_eq!(
        jobs.iter()
            .filter(|job| job.payload == Payload::json("{}"))
            .count(),
        2
    );
    // It passed, and nothing became of it.
    assert!(page().jobs.iter().all(|job| job.error.is_none()));
}

#[test]
fn an_edit_fails_alone() {
    let (disk, store) = opened();
    fail_read(&disk, 1);
    let edit = Edit {
        payload: Some(Payload::json("7")),
        ..Edit::default()
    };
    let edit = Command::Edit {
        id: job(1).id,
        edit,
    };
    let cancel = |number| Command::Cancel(job(number).id);
    let commits = vec![
        Commit::one(cancel(0)),
        Commit::of(vec![cancel(2), edit.clone()]),
    ];
    let answers = block_on(store.commit(commits)).expect("an answer for each");
    assert!(answers[0].is_ok(), "{answers:?}");
    let error = answers[1].as_ref().expect_err("it can't be read");
    assert_eq!((error.kind(), error.command()), (ErrorKind::Io, Some(1)));
    let state = |number| block_on(store.job(job(number).id)).expect("it answers");
    let state = |number| state(number).map(|job| job.state);
    assert_eq!(state(0), Some(JobState::Cancelled));
    assert_eq!(
        state(2),
        Some(JobState::Available),
        "all of a commit or none"
    );
    let answers = block_on(store.commit(vec![Commit::one(edit)])).expect("an answer");
    assert!(answers[0].is_ok(), "{answers:?}");
}
