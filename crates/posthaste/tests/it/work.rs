//! Workers: what a handler's end means, what it is told, and how a worker leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use posthaste::{
    Cancel, Cx, Dead, Done, ErrorKind, HandlerError, HandlerResult, JobState, Output, Payload,
    Posthaste, RawJob, Retry, Snooze, State, TimeUnits, WorkQueue,
};
use tokio::sync::{Barrier, Notify};

use crate::{Ping, memory, run};

/// Runs one job whose handler ends with `end`, and looks at it.
async fn ended(end: fn() -> HandlerResult) -> posthaste::JobView {
    let hub = Posthaste::test().await.expect("a hub");
    let id = hub
        .enqueue(Ping { n: 1 })
        .max_attempts(2)
        .await
        .expect("enqueued")
        .id;
    hub.worker()
        .on(move |_: Ping| async move { end() })
        .drain()
        .await
        .expect("drains");
    hub.job(id).await.expect("an answer").expect("the job")
}

fn check(end: fn() -> HandlerResult, state: JobState, error: Option<&str>) {
    let job = run(ended(end));
    assert_eq!((job.state, job.error.as_deref()), (state, error));
}

#[test]
fn the_last_line_of_a_handler_says_how_it_ended() {
    check(|| Done, JobState::Completed, None);
    check(|| Done::with(&1), JobState::Completed, None);
    check(|| Retry::because("down"), JobState::Retryable, Some("down"));
    check(
        || Retry::after(1.secs(), "down"),
        JobState::Retryable,
        Some("down"),
    );
    check(|| Snooze::after(1.hours()), JobState::Scheduled, None);
    check(
        || Cancel::because("unwanted"),
        JobState::Cancelled,
        Some("unwanted"),
    );
    check(
        || Dead::because("hopeless"),
        JobState::Dead,
        Some("hopeless"),
    );
    check(|| Err("down".into()), JobState::Retryable, Some("down"));
    check(
        || Err(HandlerError::new("bad").dead()),
        JobState::Dead,
        Some("bad"),
    );
    check(
        || Err(HandlerError::new("off").cancel()),
        JobState::Cancelled,
        Some("off"),
    );
    check(
        || panic!("{} is broken", "it"),
        JobState::Retryable,
        Some("panicked: it is broken"),
    );
    let long = "result is 65538 bytes";
    let job = run(ended(|| Done::with(&"x".repeat(65_536))));
    assert_eq!(job.state, JobState::Dead);
    assert!(job.error.expect("why").contains(long));
}

#[test]
fn a_handler_is_told_how_long_it_may_take() {
    run(async {
        let hub = Posthaste::test().await.expect("a hub");
        let job = hub.enqueue(Ping { n: 1 }).timeout(90.secs());
        let job = job.await.expect("enqueued");
        let worker = hub
            .worker()
            .on(|_: Ping, cx: Cx| async move { Output(cx.timeout().as_secs()) });
        worker.drain().await.expect("drains");
        assert_eq!(job.result::<u64>().await, Ok(90));
    });
}

#[test]
fn a_week_of_retries_runs_without_waiting() {
    run(async {
        let hub = Posthaste::test().await.expect("a hub");
        let job = hub.enqueue(Ping { n: 1 }).await.expect("enqueued");
        let tries = Arc::new(AtomicUsize::new(0));
        for _ in 0..40 {
            let tries = Arc::clone(&tries);
            let worker = hub.worker().state(tries).on(
                |_: Ping, cx: Cx, State(tries): State<Arc<AtomicUsize>>| async move {
                    assert_eq!(
                        usize::from(cx.attempt()),
                        tries.fetch_add(1, Ordering::SeqCst) + 1
                    );
                    Retry::because("still down")
                },
            );
            worker.drain().await.expect("drains");
            hub.advance(8.hours());
        }
        assert_eq!(tries.load(Ordering::SeqCst), 25);
        let job = hub.job(job.id).await.expect("an answer").expect("the job");
        assert_eq!(job.state, JobState::Dead);
    });
}

#[test]
fn follow_ups_are_part_of_the_settle() {
    run(async {
        let hub = Posthaste::test().await.expect("a hub");
        hub.enqueue(Ping { n: 3 })
            .traceparent("00-aa-bb-01")
            .metadata("tracestate", "vendor=1")
            .await
            .expect("enqueued");
        let worker = hub.worker().on(|job: Ping, cx: Cx| async move {
            assert_eq!(cx.traceparent(), Some("00-aa-bb-01"));
            assert_eq!(cx.metadata("tracestate"), Some("vendor=1"));
            if job.n > 0 {
                cx.commit_with(Ping { n: job.n - 1 })?;
            }
            Done
        });
        let done = worker.drain().await.expect("drains");
        assert_eq!(done.completed, 4);
    });
}

#[test]
fn the_follow_ups_of_an_attempt_that_runs_again_are_dropped() {
    run(async {
        let hub = Posthaste::test().await.expect("a hub");
        hub.enqueue(Ping { n: 1 }).await.expect("enqueued");
        for _ in 0..3 {
            let worker = hub.worker().on(|job: Ping, cx: Cx| async move {
                if job.n == 0 {
                    return Done;
                }
                cx.commit_with(Ping { n: 0 })?;
                match cx.attempt() {
                    1 => Retry::because("once more"),
                    _ => Done,
                }
            });
            worker.drain().await.expect("drains");
            hub.advance(1.mins());
        }
        let totals = hub.queues().await.expect("queues")[0].totals;
        assert_eq!(
            (totals.enqueued, totals.completed, totals.retried),
            (2, 2, 1)
        );
    });
}

#[test]
fn a_refused_follow_up_fails_the_attempt() {
    run(async {
        let hub = Posthaste::test().await.expect("a hub");
        let job = hub.enqueue(Ping { n: 1 }).await.expect("enqueued");
        let worker = hub.worker().on(|_: Ping, cx: Cx| async move {
            let missing = cx.hub().mint_id();
            cx.commit_with_command(posthaste::Command::Cancel(missing));
            Done
        });
        assert_eq!(worker.drain().await.expect("drains").retried, 1);
        let job = hub.job(job.id).await.expect("an answer").expect("the job");
        assert!(job.error.expect("why").contains("refused"));
    });
}

#[test]
fn a_payload_of_another_shape_is_left_to_others() {
    run(async {
        let hub = Posthaste::test().await.expect("a hub");
        let payload = Payload::json(&b"{\"m\":1}"[..]);
        let job = hub
            .enqueue_raw("ping", "default", payload)
            .await
            .expect("enqueued");
        let worker = || hub.worker().on(|_: Ping| async { Done });
        assert_eq!(worker().drain().await.expect("drains").released, 1);
        let view = hub.job(job.id).await.expect("an answer").expect("the job");
        assert_eq!((view.state, view.attempt), (JobState::Scheduled, 0));
        for _ in 0..130 {
            hub.advance(30.secs());
            worker().drain().await.expect("drains");
        }
        let view = hub.job(job.id).await.expect("an answer").expect("the job");
        assert_eq!(view.state, JobState::Dead);
    });
}

#[test]
fn any_kind_can_be_taken_raw() {
    run(async {
        let hub = Posthaste::test().await.expect("a hub");
        let job = hub
            .enqueue_raw("x", "q", Payload::json(&b"[1]"[..]))
            .await
            .expect("enqueued");
        let worker = hub
            .worker()
            .queue("q")
            .on_any(|RawJob(payload): RawJob, cx: Cx| async move {
                Output(format!("{} {}", cx.kind(), payload.bytes.len()))
            });
        worker.drain().await.expect("drains");
        assert_eq!(job.result::<String>().await.as_deref(), Ok("x 3"));
    });
}

async fn refused(build: impl FnOnce(&Posthaste) -> posthaste::Worker) -> String {
    let hub = memory().await;
    let error = build(&hub).drain().await.expect_err("it can't work");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    error.to_string()
}

#[test]
fn a_worker_that_cannot_work_says_why() {
    run(async {
        let none = refused(Posthaste::worker).await;
        assert!(none.contains("no handlers"), "{none}");
        let handler = |_: Ping| async { Done };
        let two = refused(|hub| hub.worker().on(handler).on(handler)).await;
        assert!(two.contains("the kind ping has two handlers"), "{two}");
        let stateless = refused(|hub| {
            hub.worker()
                .on(|_: Ping, State(_): State<Arc<String>>| async { Done })
        });
        let stateless = stateless.await;
        assert!(
            stateless.contains("State<alloc::sync::Arc<alloc::string::String>>"),
            "{stateless}"
        );
        let slots = refused(|hub| hub.worker().concurrency(0).on(handler)).await;
        assert!(slots.contains("0 jobs at once"), "{slots}");
        let short = refused(|hub| hub.worker().on(handler).lease(99.millis())).await;
        assert!(short.contains("can't be 99ms long"), "{short}");
        let rare = |hub: &Posthaste| hub.worker().on(handler).heartbeat(30.secs());
        let rare = refused(rare).await;
        assert!(
            rare.contains("lapses before a heartbeat every 30s"),
            "{rare}"
        );
    });
}

/// Counts how many run at once, and the most that ever did.
#[derive(Clone, Default)]
struct Gauge(Arc<(AtomicUsize, AtomicUsize)>);

impl Gauge {
    async fn pass(&self) {
        let now = self.0.0.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.1.fetch_max(now, Ordering::SeqCst);
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }

    fn most(&self) -> usize {
        self.0.1.load(Ordering::SeqCst)
    }
}

#[test]
fn a_queue_with_slots_of_its_own_never_has_more() {
    run(async {
        let hub = Posthaste::test().await.expect("a hub");
        for n in 0..200 {
            let queue = if n % 2 == 0 { "narrow" } else { "wide" };
            hub.enqueue(Ping { n })
                .queue(queue)
                .await
                .expect("enqueued");
        }
        let (narrow, wide) = (Gauge::default(), Gauge::default());
        let worker = hub
            .worker()
            .queue(WorkQueue::new("narrow").concurrency(2))
            .queue("wide")
            .concurrency(16)
            .state((narrow.clone(), wide.clone()))
            .on(
                |_: Ping, cx: Cx, State((narrow, wide)): State<(Gauge, Gauge)>| async move {
                    let gauge = if cx.queue().as_str() == "narrow" {
                        narrow
                    } else {
                        wide
                    };
                    gauge.pass().await;
                },
            );
        assert_eq!(worker.drain().await.expect("drains").completed, 200);
        assert_eq!(narrow.most(), 2);
        assert!((3..=16).contains(&wide.most()), "{}", wide.most());
    });
}

#[test]
fn what_runs_finishes_within_the_grace_and_the_rest_is_given_back() {
    run(async {
        let hub = memory().await;
        let (both_run, go) = (Arc::new(Barrier::new(3)), Arc::new(Notify::new()));
        let quick = hub.enqueue(Ping { n: 0 }).await.expect("enqueued");
        let stuck = hub.enqueue(Ping { n: 1 }).await.expect("enqueued");
        let waiting = hub.enqueue(Ping { n: 2 }).await.expect("enqueued");
        let state = (Arc::clone(&both_run), Arc::clone(&go));
        type Two = (Arc<Barrier>, Arc<Notify>);
        let worker = hub
            .worker()
            .concurrency(2)
            .grace(Duration::from_millis(300))
            .state(state)
            .on(|job: Ping, State((both_run, go)): State<Two>| async move {
                both_run.wait().await;
                if job.n == 0 {
                    go.notified().await;
                } else {
                    std::future::pending::<()>().await;
                }
                Done
            });
        let shutdown = async move {
            both_run.wait().await;
            go.notify_one();
        };
        let summary = worker.run_until(shutdown).await.expect("works");
        // The third may have been leased in the last moment, and is then given back too.
        assert_eq!(summary.completed, 1);
        assert!((1..=2).contains(&summary.released), "{summary:?}");
        let state = async |id| {
            hub.job(id)
                .await
                .expect("an answer")
                .expect("the job")
                .state
        };
        assert_eq!(state(quick.id).await, JobState::Completed);
        assert_eq!(state(stuck.id).await, JobState::Available);
        assert_eq!(state(waiting.id).await, JobState::Available);
    });
}

#[test]
fn a_cancelled_job_is_told_and_ends_cancelled() {
    run(async {
        let hub = memory().await;
        let started = Arc::new(Notify::new());
        let worker = hub
            .worker()
            .heartbeat(Duration::from_millis(30))
            .state(Arc::clone(&started))
            .on(
                |_: Ping, cx: Cx, State(started): State<Arc<Notify>>| async move {
                    started.notify_one();
                    cx.cancelled().await;
                    Err::<(), HandlerError>("stopped half-way".into())
                },
            );
        let worker = worker.start().await.expect("starts");
        let job = hub.enqueue(Ping { n: 1 }).await.expect("enqueued");
        started.notified().await;
        assert_eq!(hub.cancel(job.id).await, Ok(JobState::Running));
        let view = job.wait().await.expect("its end");
        assert_eq!(
            (view.state, view.error.as_deref()),
            (JobState::Cancelled, Some("stopped half-way"))
        );
        worker.stop().await.expect("stops");
    });
}

#[test]
fn an_attempt_that_takes_too_long_is_stopped() {
    run(async {
        let hub = memory().await;
        let worker = hub
            .worker()
            .on(|_: Ping| async { std::future::pending::<()>().await });
        let worker = worker.start().await.expect("starts");
        let enqueue = hub
            .enqueue(Ping { n: 1 })
            .timeout(Duration::from_millis(50))
            .max_attempts(1);
        let view = enqueue
            .await
            .expect("enqueued")
            .wait()
            .await
            .expect("its end");
        assert_eq!(
            (view.state, view.error.as_deref()),
            (JobState::Dead, Some("timed out after 50ms"))
        );
        worker.stop().await.expect("stops");
    });
}

#[test]
fn many_lives_on_a_directory_balance() {
    let dir = tempfile::tempdir().expect("a directory");
    let url = format!("file:{}", dir.path().join("data").display());
    run(async {
        let hub = Posthaste::open(&url).await.expect("opens");
        for hundred in 0..20 {
            let jobs = (0..100).map(|n| Ping {
                n: hundred * 100 + n,
            });
            hub.enqueue_many(jobs).await.expect("enqueued");
        }
        let worker = hub.worker().concurrency(64).on(|job: Ping| async move {
            if job.n.is_multiple_of(50) {
                Dead::because("every fiftieth")
            } else {
                Done
            }
        });
        let summary = worker.drain().await.expect("drains");
        assert_eq!((summary.completed, summary.dead), (1_960, 40));
        let queue = hub.queues().await.expect("queues").remove(0);
        assert_eq!(
            (
                queue.totals.enqueued,
                queue.totals.completed,
                queue.totals.dead
            ),
            (2_000, 1_960, 40)
        );
    });
}
