//! Looking: pages that tell everything once, and filters.

use posthaste_core::ids::{JobId, Tag};
use posthaste_core::job::{JobState, NewJob, Start};
use posthaste_core::view::JobFilter;

use super::Bench;
use super::words::{kind, queue};
use crate::block_on;

/// Twenty jobs in two queues, of two kinds, a third of them tagged, half of them delayed.
fn fill(bench: &Bench<'_>) -> Vec<JobId> {
    let ids = (0..20).map(|n| {
        bench.enqueue(NewJob {
            queue: queue(if n % 2 == 0 { "mail" } else { "print" }),
            kind: kind(if n % 4 < 2 { "welcome" } else { "bye" }),
            tags: Vec::from_iter((n % 3 == 0).then(|| Tag::new("third").expect("a word"))),
            start: if n < 10 {
                Start::Now
            } else {
                Start::After(60_000)
            },
            ..bench.job()
        })
    });
    let mut ids: Vec<JobId> = ids.collect();
    ids.sort();
    ids
}

/// Pages of any size, one after the other, show every job once.
pub fn pages(bench: &Bench<'_>) {
    let ids = fill(bench);
    for max in [1, 3, 7, 20, 1_000] {
        let listed = bench.list(&JobFilter::default(), max);
        assert_eq!(
            listed.iter().map(|it| it.id).collect::<Vec<_>>(),
            ids,
            "{max} a page"
        );
    }
}

/// A filter shows what matches it and nothing else.
pub fn filters(bench: &Bench<'_>) {
    fill(bench);
    let count = |filter: JobFilter| {
        let listed = bench.list(&filter, 6);
        for job in &listed {
            assert!(filter.state.is_none_or(|it| it == job.state), "{job:?}");
            assert!(
                filter.queue.as_ref().is_none_or(|it| *it == job.queue),
                "{job:?}"
            );
            assert!(
                filter.kind.as_ref().is_none_or(|it| *it == job.kind),
                "{job:?}"
            );
            assert!(
                filter.tag.as_ref().is_none_or(|it| job.tags.contains(it)),
                "{job:?}"
            );
        }
        listed.len()
    };
    let any = JobFilter::default;
    let state = |state| JobFilter {
        state: Some(state),
        ..any()
    };
    let tag = Some(Tag::new("third").expect("a word"));
    let both = JobFilter {
        queue: Some(queue("print")),
        kind: Some(kind("bye")),
        ..state(JobState::Scheduled)
    };
    let mail = Some(queue("mail"));
    let bye = Some(kind("bye"));
    assert_eq!(count(state(JobState::Available)), 10);
    assert_eq!(count(state(JobState::Scheduled)), 10);
    assert_eq!(count(state(JobState::Dead)), 0);
    assert_eq!(
        count(JobFilter {
            queue: mail,
            ..any()
        }),
        10
    );
    assert_eq!(count(JobFilter { kind: bye, ..any() }), 10);
    assert_eq!(count(JobFilter { tag, ..any() }), 7);
    assert_eq!(count(both), 3);
}

/// A job that nobody enqueued is not there, and a new store is empty.
pub fn nothing(bench: &Bench<'_>) {
    assert_eq!(bench.find(bench.job().id), None);
    assert_eq!(bench.list(&JobFilter::default(), 10), []);
    assert_eq!(bench.queues(), []);
}

/// A store says how it is.
pub fn health(bench: &Bench<'_>) {
    bench.enqueue(bench.job());
    let health = block_on(bench.store().health()).expect("it answers");
    assert!(health.accepting);
    assert!(!health.store.is_empty() && !health.durability.is_empty());
}
