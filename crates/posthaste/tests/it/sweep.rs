//! One thing done to many jobs.

use posthaste::sweep::Prune;
use posthaste::testing::TestHub;
use posthaste::{Dead, ErrorKind, JobFilter, JobState, Posthaste, TimeUnits};

use crate::{Ping, run};

fn of(state: JobState) -> JobFilter {
    JobFilter {
        state: Some(state),
        ..JobFilter::default()
    }
}

async fn numbers(hub: &Posthaste, state: JobState) -> Vec<u64> {
    let page = hub.jobs(of(state), None, 1_000).await.expect("a page");
    let number = |bytes: &[u8]| serde_json::from_slice::<Ping>(bytes).expect("a ping").n;
    let mut numbers: Vec<u64> = page
        .jobs
        .iter()
        .map(|job| number(&job.payload.bytes))
        .collect();
    numbers.sort_unstable();
    numbers
}

/// A hub with `count` dead jobs, of which each two died at one instant, a minute apart.
async fn with_dead(count: u64) -> TestHub {
    let hub = Posthaste::test().await.expect("a hub");
    for n in 0..count {
        let queue = if n % 2 == 0 { "even" } else { "odd" };
        hub.enqueue(Ping { n })
            .queue(queue)
            .await
            .expect("enqueued");
        if n % 2 == 1 {
            let worker = hub.worker().queue("even").queue("odd");
            let worker = worker.on(|_: Ping| async { Dead::because("no use") });
            worker.drain().await.expect("drains");
            hub.advance(1.mins());
        }
    }
    hub
}

#[test]
fn dead_jobs_are_brought_back_by_filter() {
    run(async {
        let hub = with_dead(10).await;
        let mut filter = JobFilter {
            queue: Some("odd".parse().expect("a queue")),
            ..JobFilter::default()
        };
        assert_eq!(hub.redrive_where(filter.clone()).await, Ok(5));
        assert_eq!(numbers(&hub, JobState::Available).await, [1, 3, 5, 7, 9]);
        assert_eq!(hub.redrive_where(filter.clone()).await, Ok(0));
        filter.state = Some(JobState::Available);
        let refused = hub
            .redrive_where(filter.clone())
            .await
            .expect_err("not dead");
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
        assert_eq!(hub.delete_where(filter).await, Ok(5));
        let refused = hub.delete_where(JobFilter::default()).await;
        assert_eq!(refused.expect_err("no state").kind(), ErrorKind::Invalid);
        assert_eq!(numbers(&hub, JobState::Dead).await, [0, 2, 4, 6, 8]);
    });
}

#[test]
fn jobs_are_pruned_by_age() {
    run(async {
        let hub = with_dead(10).await;
        let dead = of(JobState::Dead);
        let prune = async |minutes: u64| {
            let age = Prune::OlderThan(minutes.mins());
            hub.prune(dead.clone(), age).await
        };
        assert_eq!(prune(6).await, Ok(0));
        assert_eq!(prune(4).await, Ok(4));
        assert_eq!(numbers(&hub, JobState::Dead).await, [4, 5, 6, 7, 8, 9]);
        let waiting = of(JobState::Available);
        let refused = hub.prune(waiting, Prune::KeepNewest(0)).await;
        assert_eq!(refused.expect_err("not ended").kind(), ErrorKind::Invalid);
    });
}

#[test]
fn jobs_are_pruned_but_for_the_newest() {
    run(async {
        let hub = with_dead(10).await;
        let dead = of(JobState::Dead);
        let prune = async |keep| hub.prune(dead.clone(), Prune::KeepNewest(keep)).await;
        assert_eq!(prune(11).await, Ok(0));
        assert_eq!(prune(10).await, Ok(0));
        assert_eq!(prune(5).await, Ok(5), "of two at one instant, one is kept");
        let left = numbers(&hub, JobState::Dead).await;
        assert_eq!(left[1..], [6, 7, 8, 9]);
        assert_eq!(prune(0).await, Ok(5));
        let refused = prune(u32::MAX).await.expect_err("too many to count");
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    });
}
