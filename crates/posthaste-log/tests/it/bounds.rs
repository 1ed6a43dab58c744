//! What one answer may hold.

use std::sync::Arc;

use posthaste_core::port::{LeaseAsk, TailJob};
use posthaste_core::view::JobFilter;
use posthaste_core::{Command, Commit, Error, ErrorKind, Payload, Store, limits};
use posthaste_log::{Location, Log, Options};
use posthaste_testkit::{block_on, poll_once};

use crate::life::job;

/// However much is asked for, one answer holds a bounded number of bytes; the rest comes with the
/// next.
#[test]
fn large_jobs_come_in_bounded_answers() {
    let dir = tempfile::tempdir().expect("a directory");
    let on_disk = Location::Directory(dir.path().to_owned());
    for location in [Location::Memory, on_disk] {
        let mut options = Options::new(location);
        options.segments_ready = 0;
        let store = Log::open(options).expect("it opens");
        for number in 0..40 {
            let mut job = job(number);
            job.payload = Payload::bytes("text/plain", vec![b'x'; 1_000_000]);
            let commit = Commit::one(Command::Enqueue(Box::new(job)));
            let done = block_on(store.commit(vec![commit])).expect("it answers");
            assert!(done[0].is_ok());
        }
        let (mut seen, mut cursor) = (0, None);
        loop {
            let page = store.jobs(JobFilter::default(), cursor, 1_000);
            let page = block_on(page).expect("a page");
            assert!((1..=20).contains(&page.jobs.len()), "{}", page.jobs.len());
            seen += page.jobs.len();
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, 40);
        let mut leased = Vec::new();
        while leased.len() < 40 {
            let some = block_on(store.lease(crate::bench::ask(1_000))).expect("a lease");
            assert!((1..=20).contains(&some.len()), "{}", some.len());
            leased.extend(some.into_iter().map(|job| (job.id, job.attempt)));
        }
        let in_order = (0..40).map(|number| (job(number).id, 1));
        assert!(leased.into_iter().eq(in_order));
    }
}

/// As many may wait as may; one more is told so, until others have hung up.
#[test]
fn no_more_wait_than_may() {
    let clock = crate::bench::clock();
    let mut options = Options::new(Location::Memory);
    options.clock = Arc::new(clock.clone());
    let store = Log::open(options).expect("it opens");
    let commit = |number| Commit::one(Command::Enqueue(Box::new(job(number))));
    let enqueue = |number| block_on(store.commit(vec![commit(number)])).expect("it answers");
    let id = job(1).id;
    assert!(enqueue(1)[0].is_ok());
    let lease = block_on(store.lease(crate::bench::ask(1))).expect("a lease");
    assert_eq!(lease.len(), 1);
    let tail = || {
        store.tail(TailJob {
            id,
            wait_ms: 60_000,
        })
    };
    let lease = || {
        let wait_ms = 60_000;
        store.lease(LeaseAsk {
            wait_ms,
            ..crate::bench::ask(1)
        })
    };
    let mut tails: Vec<_> = (0..limits::WAITS_MAX).map(|_| tail()).collect();
    assert!(tails.iter_mut().all(|it| poll_once(it.as_mut()).is_none()));
    let mut leases: Vec<_> = (0..limits::WAITS_MAX).map(|_| lease()).collect();
    assert!(leases.iter_mut().all(|it| poll_once(it.as_mut()).is_none()));
    let busy = |error: Error| {
        assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
        assert!(error.retry_after().is_some() && error.next_step().is_some());
    };
    busy(block_on(tail()).expect_err("too many"));
    busy(block_on(lease()).expect_err("too many"));
    drop((tails, leases));
    clock.advance(1_000);
    let (mut tail, mut lease) = (tail(), lease());
    assert!(poll_once(tail.as_mut()).is_none() && poll_once(lease.as_mut()).is_none());
    assert!(enqueue(2)[0].is_ok());
    assert_eq!(block_on(lease).expect("a lease").len(), 1);
    drop(tail);
}
