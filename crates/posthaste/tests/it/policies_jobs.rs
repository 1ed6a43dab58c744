//! A policy on a kind of jobs: what pauses it, what an end means to its breaker, and that no attempt is
//! spent on a job that was not started.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use posthaste::policy::settings::{Breaker, Concurrency, Limit, Queue, Rate, Trip};
use posthaste::policy::{BreakerState, Context, Policy};
use posthaste::testing::TestHub;
use posthaste::{
    Backoff, Cancel, Cx, Dead, Done, ErrorKind, HandlerError, HandlerResult, Job, JobState,
    JobView, Posthaste, Retry, Snooze, TimeUnits, Worker,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::hooked::Hooked;
use crate::{Ping, memory, run};

/// A job of another kind.
#[derive(Serialize, Deserialize, Job)]
struct Pong {
    n: u64,
}

/// Opens after so many failures in a row, for an hour; one probe, and no ramp.
fn breaker(failures: u32) -> Breaker {
    Breaker {
        trip: Trip::Consecutive(failures),
        open_for: 1.hours(),
        probes: 1,
        ramp: Duration::ZERO,
        ..Breaker::default()
    }
}

fn policy(failures: u32) -> Policy {
    let policy = Policy::named("bank").breaker(breaker(failures)).build();
    policy.expect("a policy")
}

fn places(count: u32) -> Policy {
    let concurrency = Concurrency {
        limit: Limit::Static(count),
        queue: Queue {
            waiting_max: 0,
            ..Queue::default()
        },
    };
    let policy = Policy::named("bank").concurrency(concurrency).build();
    policy.expect("a policy")
}

async fn hub() -> TestHub {
    Posthaste::test().await.expect("a hub")
}

async fn enqueue(hub: &Posthaste, count: u64) -> Vec<posthaste::Enqueued> {
    let jobs = (0..count).map(|n| Ping { n });
    hub.enqueue_many(jobs).await.expect("enqueued")
}

async fn views(jobs: &[posthaste::Enqueued], hub: &Posthaste) -> Vec<JobView> {
    let mut views = Vec::new();
    for job in jobs {
        views.push(hub.job(job.id).await.expect("an answer").expect("the job"));
    }
    views
}

fn attempts(views: &[JobView]) -> usize {
    views.iter().map(|view| usize::from(view.attempt)).sum()
}

/// A callee that is down or up, and how often it was called.
#[derive(Clone, Default)]
struct Callee {
    up: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
}

impl Callee {
    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    fn heal(&self) {
        self.up.store(true, Ordering::Relaxed);
    }

    /// A worker whose handler calls it.
    fn worker(&self, hub: &Posthaste) -> Worker {
        let callee = self.clone();
        hub.worker().on(move |_: Ping| {
            callee.calls.fetch_add(1, Ordering::Relaxed);
            let up = callee.up.load(Ordering::Relaxed);
            async move {
                match up {
                    true => Done,
                    false => Retry::because("the bank is down"),
                }
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn no_attempt_is_spent_while_the_breaker_is_open_and_one_probe_goes_when_it_is_half_open() {
    let (hub, policy, callee) = (hub().await, policy(3), Callee::default());
    let jobs = enqueue(&hub, 20).await;
    let drain = || async {
        let worker = callee.worker(&hub).concurrency(8);
        let worker = worker.policy(Ping::KIND, policy.clone());
        worker.drain().await.expect("drains")
    };

    // Eight are claimed; three fail, and five are given back.
    let summary = drain().await;
    assert_eq!((callee.calls(), summary.retried), (3, 3));
    assert_eq!((summary.refused, summary.released), (5, 5));
    let error = views(&jobs, &hub).await.into_iter();
    let refused = error
        .filter_map(|view| view.error)
        .find(|error| error.contains("not started"));
    let said = "not started: breaker open for 3600000 ms: 3 calls failed in a row";
    assert_eq!(refused.as_deref(), Some(said));

    // All are due, and none is so much as claimed.
    hub.advance(1.days());
    let summary = drain().await;
    assert_eq!((callee.calls(), summary.released), (3, 0));

    // A probe, which fails, and another hour.
    tokio::time::advance(1.hours()).await;
    let summary = drain().await;
    assert_eq!((callee.calls(), summary.released), (4, 0));
    assert_eq!(policy.breaker(), Some(BreakerState::Open));
    assert_eq!(attempts(&views(&jobs, &hub).await), 4);

    callee.heal();
    hub.advance(1.days());
    tokio::time::advance(1.hours()).await;
    drain().await;
    let views = views(&jobs, &hub).await;
    assert!(views.iter().all(|view| view.state == JobState::Completed));
    assert_eq!((attempts(&views), callee.calls()), (24, 24));
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_is_isolated_is_not_asked_for_and_the_others_go_on() {
    let test = hub().await;
    let (store, hub) = Hooked::over(&test);
    let policy = policy(3);
    policy.isolate();
    let pings = enqueue(&hub, 5).await;
    let worker = hub
        .worker()
        .on(|_: Ping| async { Done })
        .on(|_: Pong| async { Done })
        .policy(Ping::KIND, policy.clone())
        .start()
        .await
        .expect("starts");
    for n in 0..5 {
        let pong = hub.enqueue(Pong { n }).await.expect("enqueued");
        let pong = pong.wait().await.expect("ends");
        assert_eq!(pong.state, JobState::Completed);
    }
    let asked = store.asks_for_jobs();
    assert!(
        asked
            .iter()
            .all(|ask| ask.kinds.len() == 1 && ask.kinds[0].as_str() == Pong::KIND)
    );
    assert_eq!(attempts(&views(&pings, &hub).await), 0);

    policy.join();
    for ping in &pings {
        assert_eq!(ping.wait().await.expect("ends").attempt, 1);
    }
    worker.stop().await.expect("stops");
}

#[tokio::test(start_paused = true)]
async fn a_worker_whose_kinds_are_all_paused_asks_for_nothing() {
    let test = hub().await;
    let (store, hub) = Hooked::over(&test);
    let policy = policy(3);
    policy.isolate();
    enqueue(&hub, 5).await;
    let worker = Callee::default().worker(&hub).policy(Ping::KIND, policy);
    let worker = worker.start().await.expect("starts");
    tokio::time::sleep(60.secs()).await;
    assert_eq!(store.asks_for_jobs(), []);
    worker.stop().await.expect("stops");
}

/// With real time, but bound to none: the worker takes the kind up when the breaker says so.
#[test]
fn a_kind_is_taken_up_again_by_itself() {
    run(async {
        let hub = memory().await;
        let short = Breaker {
            open_for: 20.millis(),
            ramp: 100.millis(),
            ..breaker(1)
        };
        let policy = Policy::named("bank")
            .breaker(short)
            .build()
            .expect("a policy");
        let callee = Callee::default();
        let jobs: Vec<_> = (0..30).map(|n| posthaste::Draft::new(Ping { n })).collect();
        let jobs = jobs.into_iter().map(|job| job.backoff(Backoff::fixed(0)));
        let jobs = hub.enqueue_many(jobs).await.expect("enqueued");
        let worker = callee.worker(&hub).policy(Ping::KIND, policy.clone());
        let worker = worker.start().await.expect("starts");
        // It opens, probes, and opens again.
        while callee.calls() < 4 {
            tokio::task::yield_now().await;
        }
        callee.heal();
        let mut spent = 0;
        for job in &jobs {
            let job = job.wait().await.expect("ends");
            assert_eq!(job.state, JobState::Completed);
            spent += usize::from(job.attempt);
        }
        assert_eq!(spent, callee.calls(), "only what was called was spent");
        worker.stop().await.expect("stops");
    });
}

#[test]
fn places_are_kept_to_and_nothing_is_claimed_beyond_them() {
    run(async {
        let hub = memory().await;
        let jobs = enqueue(&hub, 40).await;
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (now, seen) = (Arc::clone(&running), Arc::clone(&most));
        let worker = hub.worker().concurrency(16).policy(Ping::KIND, places(2));
        let worker = worker.on(move |_: Ping| {
            seen.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let now = Arc::clone(&now);
            async move {
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
                now.fetch_sub(1, Ordering::SeqCst);
                Done
            }
        });
        let worker = worker.start().await.expect("starts");
        for job in &jobs {
            assert_eq!(job.wait().await.expect("ends").attempt, 1);
        }
        let summary = worker.stop().await.expect("stops");
        assert_eq!((summary.completed, summary.released), (40, 0));
        assert_eq!(most.load(Ordering::SeqCst), 2);
    });
}

#[tokio::test(start_paused = true)]
async fn a_rate_sends_few_jobs_to_and_fro() {
    let hub = hub().await;
    let rate = Rate {
        count: 1,
        per: 1.hours(),
        burst: 4,
    };
    let policy = Policy::named("bank").rate(rate).build().expect("a policy");
    let callee = Callee::default();
    callee.heal();
    let jobs = enqueue(&hub, 100).await;
    let drain = || {
        callee
            .worker(&hub)
            .policy(Ping::KIND, policy.clone())
            .drain()
    };
    let first = drain().await.expect("drains");
    assert_eq!((first.completed, callee.calls()), (4, 4));
    let mut to_and_fro = 0;
    for hour in 1..=5 {
        hub.advance(1.hours());
        tokio::time::advance(1.hours()).await;
        let summary = drain().await.expect("drains");
        assert_eq!(callee.calls(), 4 + hour, "one an hour");
        to_and_fro += summary.released;
    }
    assert_eq!(attempts(&views(&jobs, &hub).await), callee.calls());
    // The paused clock runs on while the store's thread works, and every five seconds one is tried.
    assert!(to_and_fro <= 5 * 40, "a drain claims once: {to_and_fro}");
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_one_kind_does_not_hold_up_the_others() {
    let test = hub().await;
    let (store, hub) = Hooked::over(&test);
    let pongs = (0..30).map(|n| Pong { n });
    hub.enqueue_many(pongs).await.expect("enqueued");
    let worker = hub.worker().concurrency(32).policy(Ping::KIND, places(1));
    let worker = worker
        .on(|_: Ping| async { Done })
        .on(|_: Pong| async { Done });
    assert_eq!(worker.drain().await.expect("drains").completed, 30);
    let most = store
        .asks_for_jobs()
        .iter()
        .map(|ask| ask.max)
        .collect::<Vec<_>>();
    assert_eq!(
        most[..2],
        [1, 31],
        "one of any kind, then the rest of the other"
    );
}

/// How a breaker that opens at the first failure stands after a job that ended so.
async fn stands_after(end: fn(Cx) -> HandlerResult) -> (Option<BreakerState>, JobView) {
    let (hub, policy) = (hub().await, policy(1));
    let job = hub.enqueue(Ping { n: 1 }).await.expect("enqueued");
    hub.worker()
        .on(move |_: Ping, cx: Cx| async move { end(cx) })
        .policy(Ping::KIND, policy.clone())
        .drain()
        .await
        .expect("drains");
    let view = hub.job(job.id).await.expect("an answer").expect("the job");
    (policy.breaker(), view)
}

#[test]
fn what_an_end_means_to_the_breaker() {
    let check = |end: fn(Cx) -> HandlerResult, breaker, state, attempt| {
        let (stands, view) = run(stands_after(end));
        let said = view.error;
        assert_eq!(
            (stands, view.state, view.attempt),
            (Some(breaker), state, attempt),
            "{said:?}"
        );
    };
    use BreakerState::{Closed, Open};
    check(|_| Done, Closed, JobState::Completed, 1);
    check(|_| Retry::because("down"), Open, JobState::Retryable, 1);
    check(|_| Err("down".into()), Open, JobState::Retryable, 1);
    check(|_| panic!("down"), Open, JobState::Retryable, 1);
    check(|_| Dead::because("hopeless"), Closed, JobState::Dead, 1);
    check(|_| Snooze::after(1.hours()), Closed, JobState::Scheduled, 0);
    check(
        |_| Cancel::because("unwanted"),
        Closed,
        JobState::Cancelled,
        1,
    );
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_takes_too_long_is_a_failure_by_whoever_finds_it() {
    for own in [true, false] {
        let hub = hub().await;
        let settings = Policy::named("bank").breaker(breaker(1));
        let settings = match own {
            true => settings.attempt_timeout(50.millis()),
            false => settings,
        };
        let policy = settings.build().expect("a policy");
        let job = hub
            .enqueue(Ping { n: 1 })
            .timeout(2.secs())
            .await
            .expect("enqueued");
        let worker = hub
            .worker()
            .on(|_: Ping| std::future::pending::<HandlerResult>());
        let worker = worker.policy(Ping::KIND, policy.clone());
        worker.drain().await.expect("drains");
        let view = hub.job(job.id).await.expect("an answer").expect("the job");
        assert_eq!(policy.breaker(), Some(BreakerState::Open));
        assert_eq!((view.state, view.attempt), (JobState::Retryable, 1));
        let said = if own {
            "timed out after 50ms"
        } else {
            "timed out after 2s"
        };
        assert_eq!(view.error.as_deref(), Some(said));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_inside_the_handler_says_nothing_to_the_kinds_breaker_and_spends_no_attempt() {
    let (hub, outer, inner) = (hub().await, policy(1), policy(1));
    inner.isolate();
    let job = hub.enqueue(Ping { n: 1 }).await.expect("enqueued");
    let worker = || {
        let inner = inner.clone();
        let handler = move |_: Ping| {
            let inner = inner.clone();
            async move {
                inner
                    .call(|_| async { Ok::<_, std::io::Error>(()) })
                    .await?;
                Done
            }
        };
        hub.worker().on(handler).policy(Ping::KIND, outer.clone())
    };
    worker().drain().await.expect("drains");
    let view = hub.job(job.id).await.expect("an answer").expect("the job");
    assert_eq!((view.state, view.attempt), (JobState::Scheduled, 0));
    assert_eq!(view.error.as_deref(), Some("breaker isolated by hand"));
    assert_eq!(outer.breaker(), Some(BreakerState::Closed));

    inner.join();
    hub.advance(1.secs());
    worker().drain().await.expect("drains");
    let view = hub.job(job.id).await.expect("an answer").expect("the job");
    assert_eq!((view.state, view.attempt), (JobState::Completed, 1));
}

#[tokio::test(start_paused = true)]
async fn under_a_policy_the_context_still_tells_the_attempt_of_the_job() {
    let (hub, policy) = (hub().await, policy(9));
    let backoff = Backoff::fixed(1_000);
    let enqueued = hub.enqueue(Ping { n: 1 }).backoff(backoff).await;
    let job = enqueued.expect("enqueued");
    for attempt in 1..=3 {
        let handler = move |_: Ping, cx: Cx| async move {
            assert_eq!(cx.context().attempt(), attempt);
            assert_eq!(Context::current().attempt(), attempt);
            assert!(cx.context().remaining() <= Some(15.mins()));
            Retry::because("down")
        };
        let worker = hub.worker().on(handler).policy(Ping::KIND, policy.clone());
        worker.drain().await.expect("drains");
        let view = hub.job(job.id).await.expect("an answer").expect("the job");
        assert_eq!(view.error.as_deref(), Some("down"));
        hub.advance(1.mins());
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_says_of_a_refusal_counts() {
    let (hub, inner) = (hub().await, policy(1));
    inner.isolate();
    let job = hub.enqueue(Ping { n: 1 }).await.expect("enqueued");
    let handler = move |_: Ping| {
        let inner = inner.clone();
        async move {
            let called = inner.call(|_| async { Ok::<_, std::io::Error>(()) }).await;
            called.map_err(|error| HandlerError::new(error).dead())?;
            Done
        }
    };
    hub.worker().on(handler).drain().await.expect("drains");
    let view = hub.job(job.id).await.expect("an answer").expect("the job");
    assert_eq!(view.state, JobState::Dead);
}

#[test]
fn a_probe_whose_worker_dies_frees_its_slot() {
    run(async {
        let (hub, policy) = (hub().await, policy(1));
        policy.isolate();
        policy.join();
        assert_eq!(policy.breaker(), Some(BreakerState::HalfOpen));
        let job = hub.enqueue(Ping { n: 1 }).await.expect("enqueued");
        let started = Arc::new(Notify::new());
        let tell = Arc::clone(&started);
        let worker = hub.worker().policy(Ping::KIND, policy.clone());
        let worker = worker.on(move |_: Ping| {
            tell.notify_one();
            std::future::pending::<HandlerResult>()
        });
        let worker = tokio::spawn(worker.run());
        started.notified().await;
        assert_eq!(
            policy.peek().map_err(|refusal| refusal.slug()),
            Err("probing")
        );
        worker.abort();
        while policy.peek().is_err() {
            tokio::task::yield_now().await;
        }
        hub.advance(1.mins());
        let worker = hub.worker().on(|_: Ping| async { Done });
        let worker = worker.policy(Ping::KIND, policy.clone());
        worker.drain().await.expect("drains");
        assert_eq!(job.wait().await.expect("ends").state, JobState::Completed);
        assert_eq!(policy.breaker(), Some(BreakerState::Closed));
    });
}

#[test]
fn a_job_that_is_called_off_says_nothing_to_the_breaker() {
    run(async {
        let (hub, policy) = (memory().await, policy(1));
        let started = Arc::new(Notify::new());
        let tell = Arc::clone(&started);
        let job = hub.enqueue(Ping { n: 1 }).await.expect("enqueued");
        let worker = hub
            .worker()
            .heartbeat(20.millis())
            .policy(Ping::KIND, policy.clone());
        let worker = worker.on(move |_: Ping, cx: Cx| {
            tell.notify_one();
            async move {
                cx.cancelled().await;
                Retry::because("called off")
            }
        });
        let worker = worker.start().await.expect("starts");
        started.notified().await;
        hub.cancel(job.id).await.expect("called off");
        assert_eq!(job.wait().await.expect("ends").state, JobState::Cancelled);
        assert_eq!(policy.breaker(), Some(BreakerState::Closed));
        assert_eq!(policy.counts().dropped, 1);
        worker.stop().await.expect("stops");
    });
}

#[test]
fn a_payload_that_cannot_be_read_says_nothing_to_the_breaker() {
    run(async {
        let (hub, policy) = (hub().await, policy(1));
        let payload = posthaste::Payload::json("7");
        let job = hub
            .enqueue_raw(Ping::KIND, "default", payload)
            .await
            .expect("enqueued");
        let worker = Callee::default()
            .worker(&hub)
            .policy(Ping::KIND, policy.clone());
        worker.drain().await.expect("drains");
        let view = hub.job(job.id).await.expect("an answer").expect("the job");
        assert_eq!((view.state, view.attempt), (JobState::Scheduled, 0));
        assert_eq!(policy.breaker(), Some(BreakerState::Closed));
    });
}

#[test]
fn a_policy_that_can_pause_nothing_is_refused() {
    let check = |worker: fn(Worker) -> Worker, said: &str| {
        let error = run(async {
            let worker = worker(memory().await.worker());
            worker.drain().await.expect_err("refused")
        });
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(said), "{error}");
    };
    check(
        |worker| {
            worker
                .on(|_: Ping| async { Done })
                .policy("pong", policy(1))
        },
        "the kind pong has a policy and no handler",
    );
    check(
        |worker| {
            let worker = worker.on(|_: Ping| async { Done });
            let worker = worker.on_any(|_: posthaste::RawJob| async { Done });
            worker.policy(Ping::KIND, policy(1))
        },
        "a worker of every kind can't pause the kind ping",
    );
    check(
        |worker| {
            let worker = worker.on(|_: Ping| async { Done });
            worker
                .policy(Ping::KIND, policy(1))
                .policy(Ping::KIND, policy(2))
        },
        "the kind ping has two policies",
    );
}
