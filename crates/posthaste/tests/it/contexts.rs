//! One context: what goes along from a call to the jobs and events that it enqueues and publishes, to
//! their handlers, and to what those call.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use posthaste::event::{EventCx, EventDraft, ReadFrom};
use posthaste::policy::{Context, Criticality, Policy};
use posthaste::testing::TestHub;
use posthaste::{Cx, DeadReason, Done, Draft, Job, JobState, JobView, Posthaste, TimeUnits};
use serde::{Deserialize, Serialize};

use crate::{OrderPlaced, Ping, placed, run};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const OTHER: &str = "00-11111111111111111111111111111111-2222222222222222-01";

/// A follow-up.
#[derive(Serialize, Deserialize, Job)]
struct Next {}

/// What matters little.
#[derive(Serialize, Deserialize, Job)]
#[job(criticality = "best-effort")]
struct Mail {}

async fn hub() -> TestHub {
    Posthaste::test().await.expect("a hub")
}

/// A context that says everything.
fn batch() -> Context {
    Context::new()
        .within(5.secs())
        .criticality(Criticality::Batch)
        .key("order-7")
        .trace(TRACE, Some("vendor=1"))
}

/// What a handler found around it, twice: told, and current.
type Found = Arc<Mutex<Vec<(Context, Option<Duration>)>>>;

fn find(found: &Found, told: &Context) {
    let current = Context::current();
    assert_eq!(current.idempotency_key(), told.idempotency_key());
    assert_eq!(current.attempt(), told.attempt());
    // In this order, for time may pass in between.
    let (told_left, left) = (told.remaining(), current.remaining());
    assert!(left <= told_left);
    found.lock().expect("a lock").push((current, left));
}

/// Whether a context is of the same trace and tier as `batch`.
fn goes_on(context: &Context) {
    assert_eq!(context.tier(), Criticality::Batch);
    assert_eq!(context.traceparent(), Some(TRACE));
    assert_eq!(context.tracestate(), Some("vendor=1"));
}

async fn view(hub: &Posthaste, id: posthaste::JobId) -> JobView {
    hub.job(id).await.expect("an answer").expect("the job")
}

fn metadata<'v>(view: &'v JobView, name: &str) -> Option<&'v str> {
    let found = view.metadata.iter().find(|(known, _)| &**known == name);
    found.map(|(_, value)| &**value)
}

#[tokio::test(start_paused = true)]
async fn a_job_its_calls_its_follow_ups_and_its_events_go_on_from_one_context() {
    let hub = hub().await;
    let found = Found::default();
    let enqueue = hub.enqueue(Ping { n: 1 }).timeout(10.secs());
    let job = batch()
        .scope(async move { enqueue.await })
        .await
        .expect("enqueued");
    let seen = Arc::clone(&found);
    let bank = Policy::named("bank")
        .attempt_timeout(300.millis())
        .build()
        .expect("a policy");
    let handler = move |_: Ping, cx: Cx| {
        let (found, bank) = (Arc::clone(&seen), bank.clone());
        async move {
            find(&found, cx.context());
            let told = bank
                .call(|attempt| async move { Ok::<_, std::io::Error>(attempt.context().clone()) });
            let told = told.await?;
            assert!(told.remaining() <= Some(300.millis()));
            goes_on(&told);
            assert_eq!(told.idempotency_key(), Some(&*cx.idempotency_key()));
            cx.commit_with(Next {})?;
            cx.publish_with(placed(7))?;
            cx.hub()
                .enqueue(Draft::new(Next {}).criticality(Criticality::Critical))
                .await?;
            Done
        }
    };
    let seen = Arc::clone(&found);
    let next = move |_: Next, cx: Cx| {
        let found = Arc::clone(&seen);
        async move {
            find(&found, cx.context());
            Done
        }
    };
    let worker = hub.worker().concurrency(1).on(handler).on(next);
    worker.drain().await.expect("drains");
    // A consumer waits for its store by the clock.
    tokio::time::resume();
    let seen = Arc::clone(&found);
    let consumer = hub.group("orders", "billing").consumer();
    let consumer = consumer.from(ReadFrom::Earliest);
    let consumer = consumer.on(move |_: OrderPlaced, cx: EventCx| {
        let found = Arc::clone(&seen);
        async move {
            find(&found, cx.context());
            let key = cx.idempotency_key();
            assert_eq!(cx.context().idempotency_key(), Some(&*key));
            Done
        }
    });
    consumer.drain().await.expect("drains");

    let found = found.lock().expect("a lock").clone();
    let [(first, first_left), one, other, (event, _)] = &found[..] else {
        panic!("four handlers: {found:?}");
    };
    goes_on(first);
    assert_eq!(first.idempotency_key(), Some(&*job.id.to_string()));
    assert_eq!(first.attempt(), 1);
    assert_eq!(*first_left, Some(10.secs()));
    // What says its own keeps it, and goes on from the trace.
    let ((direct, _), (follow_up, left)) = match one.0.tier() {
        Criticality::Critical => (one, other),
        _ => (other, one),
    };
    assert_eq!(direct.tier(), Criticality::Critical);
    assert_eq!(direct.traceparent(), Some(TRACE));
    goes_on(follow_up);
    goes_on(event);
    // Neither the deadline nor the key went along.
    assert_eq!(*left, Some(15.mins()));
    assert_ne!(follow_up.idempotency_key(), first.idempotency_key());
}

#[test]
fn every_way_in_inherits_and_what_says_its_own_keeps_it() {
    run(async {
        let hub = hub().await;
        let work = async {
            let mut ids = vec![hub.enqueue(Ping { n: 1 }).await?.id];
            ids.extend(
                hub.enqueue_many([Ping { n: 2 }])
                    .await?
                    .iter()
                    .map(|job| job.id),
            );
            let id = hub.mint_id();
            let draft = Draft::new(Ping { n: 3 }).id(id);
            hub.commit().enqueue(draft).publish(placed(1)).await?;
            ids.push(id);
            hub.publish(placed(2)).await?;
            hub.publish_all([placed(3)]).await?;
            hub.publish(placed(4))
                .criticality(Criticality::Critical)
                .traceparent(OTHER)
                .await?;
            let own = hub.enqueue(Mail {}).traceparent(OTHER).await?.id;
            Ok::<_, posthaste::Error>((ids, own))
        };
        let (ids, own) = batch().scope(work).await.expect("accepted");
        for id in ids {
            let view = view(&hub, id).await;
            assert_eq!(metadata(&view, "criticality"), Some("batch"));
            assert_eq!(metadata(&view, "traceparent"), Some(TRACE));
            assert_eq!(metadata(&view, "tracestate"), Some("vendor=1"));
            assert_eq!(view.deadline, None);
        }
        let own = view(&hub, own).await;
        assert_eq!(metadata(&own, "criticality"), Some("best-effort"));
        assert_eq!(metadata(&own, "traceparent"), Some(OTHER));
        // The state of another trace means nothing to it.
        assert_eq!(metadata(&own, "tracestate"), None);
        let events = hub.raw_events("orders").await.expect("events");
        let of = |name: &str| {
            events
                .iter()
                .map(|event| event.header(name))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            of("criticality"),
            [
                Some("batch"),
                Some("batch"),
                Some("batch"),
                Some("critical")
            ]
        );
        assert_eq!(
            of("traceparent"),
            [Some(TRACE), Some(TRACE), Some(TRACE), Some(OTHER)]
        );

        // Outside of any context nothing is said.
        let id = hub.enqueue(Ping { n: 9 }).await.expect("enqueued").id;
        assert_eq!(view(&hub, id).await.metadata, []);
    });
}

async fn view_of(hub: &Posthaste, job: posthaste::Enqueued) -> JobView {
    view(hub, job.id).await
}

#[test]
fn a_full_job_is_accepted_without_what_has_no_room() {
    run(async {
        let hub = hub().await;
        let mut draft = Draft::new(Ping { n: 1 });
        for n in 0..31 {
            draft = draft.metadata(&format!("name-{n}"), "value");
        }
        let enqueue = hub.enqueue(draft);
        let job = batch()
            .scope(async move { enqueue.await })
            .await
            .expect("enqueued");
        let view = view_of(&hub, job).await;
        assert_eq!(view.metadata.len(), 32);
        assert_eq!(metadata(&view, "criticality"), Some("batch"));
    });
}

#[test]
fn a_key_is_the_same_in_another_context() {
    run(async {
        let hub = hub().await;
        let (first, second) = (batch(), Context::new().trace(OTHER, None));
        let enqueue = || hub.enqueue(Ping { n: 1 }).idempotency_key("ping 1");
        let commit = || {
            hub.commit()
                .enqueue(Ping { n: 2 })
                .idempotency_key("ping 2")
        };
        let (one, two) = (enqueue(), enqueue());
        let one = first
            .clone()
            .scope(async move { one.await })
            .await
            .expect("enqueued");
        let two = second
            .clone()
            .scope(async move { two.await })
            .await
            .expect("the same");
        assert_eq!((one.id, two.existing), (two.id, true));
        let (one, two) = (commit(), commit());
        first
            .scope(async move { one.await })
            .await
            .expect("committed");
        let again = second
            .scope(async move { two.await })
            .await
            .expect("the same");
        assert!(again.repeated);
        // Metadata of one's own is still content.
        let other = hub
            .enqueue(Ping { n: 1 })
            .idempotency_key("ping 1")
            .metadata("a", "b")
            .await;
        assert_eq!(
            other.expect_err("refused").kind(),
            posthaste::ErrorKind::KeyReused
        );
    });
}

#[test]
fn a_jobs_deadline_comes_of_a_context_only_where_it_is_asked_for() {
    run(async {
        let hub = Posthaste::open("memory:").await.expect("opens");
        let context = Context::new().within(1.hours());
        let draft = Draft::new(Ping { n: 1 }).deadline_of(&context);
        let far = SystemTime::now() + Duration::from_secs(86_400);
        let job = hub.enqueue(draft.clone()).await.expect("enqueued");
        let first = view(&hub, job.id).await.deadline.expect("a deadline");
        let wall = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .expect("after 1970");
        let left = Duration::from_millis(first.0).saturating_sub(wall);
        assert!(left > 50.mins() && left <= 1.hours(), "{left:?}");
        // It only narrows, and without a deadline says nothing.
        let job = hub
            .enqueue(Ping { n: 2 })
            .deadline(far)
            .deadline_of(&context)
            .await;
        let second = view(&hub, job.expect("enqueued").id)
            .await
            .deadline
            .expect("a deadline");
        assert!(second.0 < first.0 + 3_600_000);
        let draft = Draft::new(Ping { n: 3 }).deadline_of(&Context::new());
        let job = hub.enqueue(draft).await.expect("enqueued");
        assert_eq!(view(&hub, job.id).await.deadline, None);
    });
}

#[tokio::test(start_paused = true)]
async fn the_jobs_deadline_narrows_the_context_of_its_attempt() {
    let hub = hub().await;
    let job = hub
        .enqueue(Ping { n: 1 })
        .deadline(hub.now() + 3.secs())
        .await
        .expect("enqueued");
    let left = Arc::new(Mutex::new(None));
    let found = Arc::clone(&left);
    let handler = move |_: Ping| {
        *found.lock().expect("a lock") = Context::current().remaining();
        async { Done }
    };
    hub.worker().on(handler).drain().await.expect("drains");
    assert_eq!(*left.lock().expect("a lock"), Some(3.secs()));
    assert_eq!(view(&hub, job.id).await.state, JobState::Completed);
}

/// Both are claimed; while the first runs, the time of the second runs out.
#[tokio::test]
async fn what_has_no_time_left_is_not_started() {
    let hub = hub().await;
    let deadline = hub.now() + 3.secs();
    let first = hub
        .enqueue(Ping { n: 1 })
        .priority(9)
        .await
        .expect("enqueued");
    let second = hub
        .enqueue(Ping { n: 2 })
        .deadline(deadline)
        .await
        .expect("enqueued");
    let (clock, ran) = (hub.clock().clone(), Arc::new(Mutex::new(Vec::new())));
    let seen = Arc::clone(&ran);
    let handler = move |ping: Ping| {
        seen.lock().expect("a lock").push(ping.n);
        clock.advance(4_000);
        async { Done }
    };
    hub.worker()
        .concurrency(2)
        .on(handler)
        .drain()
        .await
        .expect("drains");
    assert_eq!(*ran.lock().expect("a lock"), [1]);
    assert_eq!(view(&hub, first.id).await.state, JobState::Completed);
    let dead = second.wait().await.expect("ends");
    assert_eq!(
        (dead.state, dead.reason),
        (JobState::Dead, Some(DeadReason::Expired))
    );
    assert_eq!(dead.attempt, 0);
}

#[test]
fn an_event_that_is_published_later_goes_on_too() {
    run(async {
        let hub = hub().await;
        let publish = hub.publish(EventDraft::new(placed(1))).after(1.hours());
        batch()
            .scope(async move { publish.await })
            .await
            .expect("enqueued");
        hub.advance(1.hours());
        hub.worker().publishes().drain().await.expect("drains");
        let events = hub.raw_events("orders").await.expect("events");
        assert_eq!(events[0].header("criticality"), Some("batch"));
        assert_eq!(events[0].header("traceparent"), Some(TRACE));
    });
}

#[test]
fn a_spawned_task_is_given_the_context() {
    run(async {
        let hub = hub().await;
        let handler = |_: Ping, cx: Cx| async move {
            let context = cx.context().clone();
            let key = tokio::spawn(
                context.scope(async { Context::current().idempotency_key().map(str::to_owned) }),
            );
            assert_eq!(key.await?, Some(cx.idempotency_key()));
            Done
        };
        hub.enqueue(Ping { n: 1 }).await.expect("enqueued");
        let summary = hub.worker().on(handler).drain().await.expect("drains");
        assert_eq!(summary.completed, 1);
    });
}
