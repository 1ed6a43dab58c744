//! One policy for many calls at once: places, waiting, reloading, names, counting.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use posthaste::TimeUnits;
use posthaste::policy::{Context, Criticality, Policies, Policy, PolicyError, Settings, settings};
use tokio::sync::Semaphore;

pub(super) fn places(limit: u32, waiting_max: u32) -> settings::Concurrency {
    settings::Concurrency {
        limit: settings::Limit::Static(limit),
        queue: settings::Queue {
            waiting_max,
            ..settings::Queue::default()
        },
    }
}

fn bulkhead(limit: u32, waiting_max: u32) -> Policy {
    Policy::named("test")
        .concurrency(places(limit, waiting_max))
        .build()
        .expect("these settings are well")
}

#[tokio::test(start_paused = true)]
async fn never_more_run_at_once_than_may_and_those_who_wait_all_get_their_turn() {
    let policy = bulkhead(3, 100);
    let (running, most) = (AtomicU32::new(0), AtomicU32::new(0));
    let (running, most) = (Arc::new(running), Arc::new(most));
    let calls: Vec<_> = (0..20)
        .map(|number| {
            let (policy, running, most) = (policy.clone(), running.clone(), most.clone());
            tokio::spawn(async move {
                policy
                    .call(|_| async {
                        let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                        most.fetch_max(now, Ordering::SeqCst);
                        tokio::time::sleep(Duration::from_micros(300)).await;
                        running.fetch_sub(1, Ordering::SeqCst);
                        Ok::<_, &str>(number)
                    })
                    .await
            })
        })
        .collect();
    for (number, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.expect("it ran"), Ok(number));
    }
    assert_eq!(most.load(Ordering::SeqCst), 3);
    let left = policy.places().expect("it has places");
    assert_eq!((left.limit, left.in_flight, left.waiting), (3, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_higher_tier_goes_first_and_a_full_room_refuses_the_lower() {
    let policy = bulkhead(1, 2);
    let gate = Arc::new(Semaphore::new(0));
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let call = |tier: Criticality| {
        let (policy, gate, order) = (policy.clone(), gate.clone(), order.clone());
        tokio::spawn(async move {
            let cx = Context::new().criticality(tier);
            policy
                .with(cx)
                .run(|_| async {
                    order.lock().expect("no panic").push(tier);
                    drop(gate.acquire().await);
                    Ok::<_, &str>(())
                })
                .await
        })
    };
    let first = call(Criticality::Default);
    tokio::task::yield_now().await;
    let batch = call(Criticality::Batch);
    tokio::task::yield_now().await;
    let best_effort = call(Criticality::BestEffort);
    tokio::task::yield_now().await;
    // There is no room: the lowest makes it.
    let critical = call(Criticality::Critical);
    tokio::task::yield_now().await;
    let refused = best_effort.await.expect("it ran").expect_err("displaced");
    assert_eq!(
        refused.to_string(),
        "shed: best-effort, a higher tier took its place in the queue"
    );
    gate.add_permits(10);
    for call in [first, batch, critical] {
        call.await.expect("it ran").expect("it works");
    }
    assert_eq!(
        *order.lock().expect("no panic"),
        [
            Criticality::Default,
            Criticality::Critical,
            Criticality::Batch
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn who_waits_past_its_deadline_is_refused_without_being_started() {
    let policy = bulkhead(1, 10);
    let holder = tokio::spawn({
        let policy = policy.clone();
        async move {
            let hold = policy.call(|_| async {
                tokio::time::sleep(10.secs()).await;
                Ok::<_, &str>(())
            });
            hold.await
        }
    });
    tokio::task::yield_now().await;
    let cx = Context::new().within(20.millis());
    let began = tokio::time::Instant::now();
    let refused = policy
        .with(cx)
        .run(|_| async { Err::<(), _>("it was started") })
        .await
        .expect_err("no time");
    assert!(matches!(refused, PolicyError::Refused(_)), "{refused}");
    assert!(began.elapsed() <= 200.millis(), "{:?}", began.elapsed());
    holder.await.expect("it ran").expect("it works");
    assert_eq!(policy.places().expect("it has places").in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_reload_acts_on_what_waits_and_nonsense_changes_nothing() {
    let policy = bulkhead(1, 10);
    let gate = Arc::new(Semaphore::new(0));
    let call = || {
        let (policy, gate) = (policy.clone(), gate.clone());
        tokio::spawn(async move {
            policy
                .call(|_| async {
                    drop(gate.acquire().await);
                    Ok::<_, &str>(())
                })
                .await
        })
    };
    let calls = [call(), call()];
    tokio::task::yield_now().await;
    assert_eq!(policy.places().expect("it has places").waiting, 1);
    let with = |concurrency| Settings {
        concurrency: Some(concurrency),
        ..Settings::default()
    };
    policy.reload(with(places(0, 0))).expect_err("no places");
    assert_eq!(policy.places().expect("it has places").limit, 1);
    policy
        .reload(with(places(2, 10)))
        .expect("these settings are well");
    assert_eq!(policy.places().expect("it has places").in_flight, 2);
    gate.add_permits(2);
    for call in calls {
        call.await.expect("it ran").expect("it works");
    }
    // Taken away, the strategy is gone, and what ran under it ends well.
    let call = call();
    tokio::task::yield_now().await;
    policy.reload(Settings::default()).expect("nothing is well");
    gate.add_permits(1);
    call.await.expect("it ran").expect("it works");
    assert_eq!(policy.places(), None);
}

#[tokio::test]
async fn policies_are_found_and_counted_by_name() {
    let policies = Policies::new();
    let policy = policies.add(Policy::calling("a \"b\"")).expect("it is new");
    policies
        .add(Policy::calling("a \"b\""))
        .expect_err("it is there");
    policy
        .call(|_| async { Ok::<_, &str>(()) })
        .await
        .expect("it works");
    let text = policies.metrics();
    assert!(
        text.contains("posthaste_policy_calls_total{policy=\"a \\\"b\\\"\"} 1\n"),
        "{text}"
    );
    assert!(
        text.contains("posthaste_policy_attempts_total{policy=\"a \\\"b\\\"\",ended=\"ok\"} 1\n"),
        "{text}"
    );
    // Every family is in one piece, as the format wants.
    let mut families = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let family = line.split('{').next().expect("a line has a name");
        if families.last() != Some(&family) {
            assert!(!families.contains(&family), "{family} is in two pieces");
            families.push(family);
        }
    }
    assert_eq!(policies.all().len(), 1);
}
