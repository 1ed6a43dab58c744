//! What one answer may hold.

use posthaste_core::view::JobFilter;
use posthaste_core::{Command, Commit, Payload, Store};
use posthaste_log::{Location, Log, Options};
use posthaste_testkit::block_on;

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
