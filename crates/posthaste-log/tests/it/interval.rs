//! Under `interval=…` the acknowledgement alone comes early.

use std::path::Path;
use std::time::Duration;

use posthaste_core::Store;
use posthaste_core::port::{PortFuture, TailJob};
use posthaste_core::view::JobFilter;
use posthaste_log::{Durability, Log, ManualClock};
use posthaste_testkit::disk::{Call, FaultDisk};
use posthaste_testkit::{block_on, poll_once};

use crate::bench::{ask, clock, open, options};
use crate::life::{enqueue, job};

const INTERVAL_MS: u32 = 1_000;

/// A store whose interval has just begun, with job 0 on disk.
fn opened(disk: &FaultDisk, clock: &ManualClock) -> Log {
    let mut options = options(disk, clock);
    options.durability = Durability::Interval(INTERVAL_MS);
    options.maintenance = false;
    let store = Log::open(options).expect("it opens");
    enqueue(&store, 0..1);
    clock.advance(u64::from(INTERVAL_MS));
    assert_eq!(listed(&store), 1);
    store
}

fn listed(store: &Log) -> usize {
    let page = store.jobs(JobFilter::default(), None, 10);
    block_on(page).expect("a page").jobs.len()
}

fn syncs(disk: &FaultDisk) -> usize {
    let of_a_segment = |path: &Path| path.extension().is_some_and(|it| it == "seg");
    let log = disk.log();
    let syncs = log.iter().filter(|(call, _)| *call == Call::Sync);
    syncs.filter(|(_, path)| of_a_segment(path)).count()
}

/// How many jobs a store on this disk has.
fn found_on(disk: &FaultDisk, clock: &ManualClock) -> usize {
    listed(&open(disk, clock).expect("it opens"))
}

/// Asks for what shows job 1, which was acknowledged and not synced yet: nothing is shown while
/// the interval lasts, and what is shown then survives any power cut.
fn shown_when_synced<T: Send>(asked: impl for<'a> FnOnce(&'a Log) -> PortFuture<'a, T>) -> T {
    let (disk, clock) = (FaultDisk::new(), clock());
    let store = opened(&disk, &clock);
    let before = syncs(&disk);
    enqueue(&store, 1..2);
    assert_eq!(syncs(&disk), before, "acknowledged before its sync");
    assert_eq!(found_on(&disk.copy(), &clock), 2, "a kill loses nothing");
    let mut asked = asked(&store);
    clock.advance(u64::from(INTERVAL_MS) / 2);
    for _ in 0..20 {
        assert!(poll_once(asked.as_mut()).is_none(), "shown before its sync");
        std::thread::park_timeout(Duration::from_millis(1));
    }
    assert_eq!(syncs(&disk), before, "nothing was synced meanwhile");
    clock.advance(u64::from(INTERVAL_MS) / 2);
    let shown = block_on(asked);
    for seed in 0..8 {
        assert_eq!(found_on(&disk.crash(seed), &clock), 2, "power cut {seed}");
    }
    shown
}

#[test]
fn a_listing_shows_synced_jobs_alone() {
    let page = shown_when_synced(|store| store.jobs(JobFilter::default(), None, 10));
    assert_eq!(page.expect("a page").jobs.len(), 2);
}

#[test]
fn a_worker_gets_synced_jobs_alone() {
    let leased = shown_when_synced(|store| store.lease(ask(10)));
    assert_eq!(leased.expect("a lease").len(), 2);
}

#[test]
fn a_look_shows_a_synced_job_alone() {
    let found = shown_when_synced(|store| store.job(job(1).id));
    assert!(found.expect("it answers").is_some());
}

#[test]
fn a_wait_that_is_over_shows_a_synced_job_alone() {
    let tail = TailJob {
        id: job(1).id,
        wait_ms: 0,
    };
    let found = shown_when_synced(move |store| store.tail(tail));
    assert_eq!(found.expect("it answers").id, job(1).id);
}
