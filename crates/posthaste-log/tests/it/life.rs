//! One job's life through the public face of the store, in memory and on disk, restarts included.

use std::path::Path;

use posthaste_core::port::{LeaseAsk, TailJob};
use posthaste_core::{Command, Commit, JobId, JobState, NewJob, Outcome, Payload, Reply, Store};
use posthaste_log::{Location, Log, Options};
use posthaste_testkit::block_on;

pub(crate) fn job(number: u64) -> NewJob {
    let id = JobId::new(1_700_000_000_000 + number, [7; 10]);
    NewJob::new(
        id,
        "mail".parse().expect("a queue"),
        "welcome".parse().expect("a kind"),
        Payload::json("{}"),
    )
}

fn ask() -> LeaseAsk {
    LeaseAsk {
        queues: vec![("mail".parse().expect("a name"), 1)],
        strict: false,
        kinds: Vec::new(),
        max: 10,
        lease_ms: 30_000,
        wait_ms: 0,
        worker: "w".parse().expect("a name"),
        local: false,
    }
}

pub(crate) fn open(dir: &Path) -> Log {
    let mut options = Options::new(Location::Directory(dir.to_owned()));
    options.segment_bytes = 64 * 1024;
    Log::open(options).expect("the store opens")
}

pub(crate) fn enqueue(store: &Log, numbers: std::ops::Range<u64>) {
    let commands = numbers
        .map(|number| Command::Enqueue(Box::new(job(number))))
        .collect();
    let done = block_on(store.commit(vec![Commit::of(commands)])).expect("it answers");
    done.into_iter()
        .for_each(|commit| assert!(commit.is_ok(), "{commit:?}"));
}

pub(crate) fn work_off(store: &Log) -> usize {
    let mut done = 0;
    loop {
        let leased = block_on(store.lease(ask())).expect("it answers");
        if leased.is_empty() {
            return done;
        }
        done += leased.len();
        let settles = leased.iter().map(|job| {
            let outcome = Outcome::Completed {
                result: Some(Payload::json("7")),
            };
            Commit::one(Command::Settle {
                id: job.id,
                token: job.token,
                outcome,
            })
        });
        for settled in block_on(store.commit(settles.collect())).expect("it answers") {
            let replies = settled.expect("it is settled").replies;
            assert_eq!(
                replies,
                [Reply::Settled {
                    state: JobState::Completed,
                    repeated: false
                }]
            );
        }
    }
}

#[test]
fn a_job_is_enqueued_leased_settled_and_found_again_after_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    enqueue(&store, 0..100);
    assert_eq!(work_off(&store), 100);
    enqueue(&store, 100..150);
    block_on(store.close()).expect("it closes");
    drop(store);

    let store = open(dir.path());
    assert_eq!(store.recovery_report(), None);
    let tail = TailJob {
        id: job(3).id,
        wait_ms: 0,
    };
    let found = block_on(store.tail(tail)).expect("it is there");
    assert_eq!(
        (found.state, found.result),
        (JobState::Completed, Some(Payload::json("7")))
    );
    assert_eq!(work_off(&store), 50);
}

#[test]
fn thousands_of_jobs_cross_many_segments() {
    let dir = tempfile::tempdir().expect("a directory");
    for round in 0..5 {
        let store = open(dir.path());
        for batch in 0..10 {
            let first = round * 1_000 + batch * 100;
            enqueue(&store, first..first + 100);
        }
        if round == 4 {
            assert_eq!(work_off(&store), 5_000);
        }
    }
}

#[test]
fn memory_lives_the_same_life() {
    let store = Log::open(Options::new(Location::Memory)).expect("it opens");
    enqueue(&store, 0..100);
    assert_eq!(work_off(&store), 100);
}
