//! What is different in memory: a place is used again at once.

use posthaste_core::view::JobFilter;
use posthaste_core::{Command, Commit, JobState, Payload, Store};
use posthaste_log::{Location, Log, Options};
use posthaste_testkit::{block_on, poll_once};

use crate::life::{enqueue, job};

/// Pages are asked for, and while they are read a job goes and another takes its place.
#[test]
fn a_listing_harms_no_job_that_takes_the_place_of_another() {
    let store = Log::open(Options::new(Location::Memory)).expect("it opens");
    let large = (0..1_000).map(|number| {
        let mut job = job(number);
        job.payload = Payload::json(format!("\"{}\"", "x".repeat(1_000)));
        Command::Enqueue(Box::new(job))
    });
    let done = block_on(store.commit(vec![Commit::of(large.collect())])).expect("it answers");
    assert!(done[0].is_ok());
    for number in 999..1_040 {
        let mut pages: Vec<_> = (0..4)
            .map(|_| store.jobs(JobFilter::default(), None, 1_000))
            .collect();
        let early: Vec<_> = pages
            .iter_mut()
            .map(|page| poll_once(page.as_mut()))
            .collect();
        let mut delete = store.commit(vec![Commit::one(Command::Delete(job(number).id))]);
        let deleted = poll_once(delete.as_mut());
        enqueue(&store, number + 1..number + 2);
        for (page, early) in pages.into_iter().zip(early) {
            let page = early.unwrap_or_else(|| block_on(page)).expect("a page");
            assert!(page.jobs.iter().all(|job| job.state == JobState::Available));
        }
        let next = block_on(store.job(job(number + 1).id)).expect("it answers");
        assert_eq!(next.map(|job| job.state), Some(JobState::Available));
        let deleted = deleted.unwrap_or_else(|| block_on(delete));
        assert!(deleted.expect("it answers")[0].is_ok());
    }
}
