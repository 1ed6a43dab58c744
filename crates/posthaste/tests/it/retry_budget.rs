//! The retry budget of a kind: a backlog that fails retries at the budget's rate, and loses no attempt.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use posthaste::policy::Policy;
use posthaste::policy::settings::{Breaker, Budget, Trip};
use posthaste::{
    Backoff, Done, Draft, Enqueued, ErrorKind, Job, JobState, Posthaste, Retry, TimeUnits, Worker,
};

use crate::{Ping, memory, run};

/// Ten a second, a hundred at once where there were none for long, and no share of the first attempts.
const TEN_A_SECOND: Budget = Budget {
    ratio: 0.0,
    floor_per_second: 10.0,
    window: Duration::from_secs(10),
};

/// A backlog of a thousand jobs whose callee is down until it is healed.
struct Storm {
    hub: posthaste::testing::TestHub,
    jobs: Vec<Enqueued>,
    up: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
}

impl Storm {
    async fn new() -> Self {
        let hub = Posthaste::test().await.expect("a hub");
        let jobs = (0..1_000).map(|n| {
            let backoff = Backoff::fixed(1_000);
            Draft::new(Ping { n }).backoff(backoff).max_attempts(1_000)
        });
        let jobs = hub.enqueue_many(jobs).await.expect("enqueued");
        let (up, calls) = (Arc::default(), Arc::default());
        Self {
            hub,
            jobs,
            up,
            calls,
        }
    }

    fn worker(&self) -> Worker {
        let (up, calls) = (Arc::clone(&self.up), Arc::clone(&self.calls));
        self.hub.worker().concurrency(100).on(move |_: Ping| {
            calls.fetch_add(1, Ordering::Relaxed);
            let up = up.load(Ordering::Relaxed);
            async move {
                match up {
                    true => Done,
                    false => Retry::because("down"),
                }
            }
        })
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// The attempts that the jobs spent, how many are completed, and the errors of the others.
    async fn looked_at(&self) -> (usize, usize, Vec<Arc<str>>) {
        let (mut spent, mut completed, mut errors) = (0, 0, Vec::new());
        for job in &self.jobs {
            let job = self
                .hub
                .job(job.id)
                .await
                .expect("an answer")
                .expect("the job");
            spent += usize::from(job.attempt);
            completed += usize::from(job.state == JobState::Completed);
            errors.extend(job.error);
        }
        (spent, completed, errors)
    }
}

#[test]
fn without_a_budget_a_backlog_that_fails_is_a_storm() {
    run(async {
        let storm = Storm::new().await;
        for _ in 0..4 {
            let worker = storm.worker().unlimited_retries();
            worker.drain().await.expect("drains");
            storm.hub.advance(2.secs());
        }
        assert_eq!(storm.calls(), 4_000);
    });
}

/// The budget lives in the worker, so that one worker has to live through all of it.
#[test]
fn a_backlog_that_fails_retries_at_the_budgets_rate_and_loses_no_attempt() {
    run(async {
        let storm = Storm::new().await;
        let worker = storm.worker().retry_budget(TEN_A_SECOND).lease(1.hours());
        let worker = worker.start().await.expect("starts");
        wait_until(|| storm.calls() >= 1_000).await;
        // The first attempts are through; a minute passes, second by second.
        for second in 1..=60 {
            storm.hub.advance(1.secs());
            // What is due has been started or put off.
            storm.settled().await;
            let retries = storm.calls() - 1_000;
            assert!(
                retries <= 10 * second + 100,
                "{retries} retries in {second} s"
            );
        }
        let retries = storm.calls() - 1_000;
        assert!(retries >= 500, "only {retries} retries");
        let (spent, completed, errors) = storm.looked_at().await;
        assert_eq!((spent, completed), (storm.calls(), 0));
        let why = "the retry budget of ping is exhausted";
        assert!(errors.iter().any(|error| error.contains(why)), "{errors:?}");

        // It is well again, and the backlog drains: no later than the last turn.
        storm.up.store(true, Ordering::Relaxed);
        for _ in 0..10 {
            storm.hub.advance(10.secs());
            storm.settled().await;
        }
        let (spent, completed, _) = storm.looked_at().await;
        assert_eq!((spent, completed), (storm.calls(), 1_000));
        let summary = worker.stop().await.expect("stops");
        assert!(summary.over_budget > 0 && summary.over_budget == summary.released);
    });
}

impl Storm {
    /// Waits until no job is running or ready.
    async fn settled(&self) {
        loop {
            let queues = self.hub.queues().await.expect("an answer");
            let open = |state: JobState| {
                queues
                    .iter()
                    .map(|queue| queue.held[state as usize])
                    .sum::<u64>()
            };
            let due = open(JobState::Available) + open(JobState::Running);
            if due == 0 {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
}

async fn wait_until(true_now: impl Fn() -> bool) {
    while !true_now() {
        tokio::task::yield_now().await;
    }
}

#[test]
fn first_attempts_bring_their_share() {
    run(async {
        let storm = Storm::new().await;
        let half = Budget {
            ratio: 0.5,
            // It holds one, and brings none in the time of the test.
            floor_per_second: 0.001,
            window: Duration::from_secs(600),
        };
        let worker = storm.worker().retry_budget(half).lease(1.hours());
        let worker = worker.start().await.expect("starts");
        wait_until(|| storm.calls() >= 1_000).await;
        storm.settled().await;
        storm.hub.advance(2.secs());
        storm.settled().await;
        let summary = worker.stop().await.expect("stops");
        assert_eq!((storm.calls(), summary.over_budget), (1_501, 499));
    });
}

#[test]
fn a_few_failures_are_not_slowed_down_by_default() {
    run(async {
        let hub = Posthaste::test().await.expect("a hub");
        let jobs = (0..10).map(|n| Draft::new(Ping { n }).backoff(Backoff::fixed(1_000)));
        hub.enqueue_many(jobs).await.expect("enqueued");
        let drain = || {
            hub.worker()
                .on(|_: Ping| async { Retry::because("down") })
                .drain()
        };
        drain().await.expect("drains");
        hub.advance(2.secs());
        let summary = drain().await.expect("drains");
        assert_eq!((summary.retried, summary.over_budget), (10, 0));
    });
}

/// One retry fails and opens the breaker; the others were claimed with it.
#[tokio::test(start_paused = true)]
async fn a_retry_that_the_policy_refuses_is_not_charged() {
    let hub = Posthaste::test().await.expect("a hub");
    let jobs = (0..8).map(|n| Draft::new(Ping { n }).backoff(Backoff::fixed(1_000)));
    hub.enqueue_many(jobs).await.expect("enqueued");
    let worker = || {
        let worker = hub.worker().concurrency(8);
        worker.on(|_: Ping| async { Retry::because("down") })
    };
    let summary = worker().drain().await.expect("drains");
    assert_eq!(summary.retried, 8);

    hub.advance(2.secs());
    let breaker = Breaker {
        trip: Trip::Consecutive(1),
        open_for: 1.hours(),
        ..Breaker::default()
    };
    let policy = Policy::named("bank").breaker(breaker).build();
    let one = Budget {
        ratio: 0.0,
        floor_per_second: 0.001,
        ..TEN_A_SECOND
    };
    let worker = worker().retry_budget(one);
    let worker = worker.policy(Ping::KIND, policy.expect("a policy"));
    let summary = worker.drain().await.expect("drains");
    assert_eq!((summary.retried, summary.refused), (1, 7));
    assert_eq!(summary.over_budget, 0);
}

#[test]
fn a_budget_that_makes_no_sense_is_refused() {
    let check = |budget: Budget, said: &str| {
        let error = run(async {
            let worker = memory().await.worker().on(|_: Ping| async { Done });
            let drained = worker.retry_budget(budget).drain().await;
            drained.expect_err("refused")
        });
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(said), "{error}");
    };
    let ratio = Budget {
        ratio: 2.0,
        ..Budget::default()
    };
    check(ratio, "ratio");
    let no_floor = Budget {
        floor_per_second: 0.0,
        ..Budget::default()
    };
    check(no_floor, "put off for ever");
}
