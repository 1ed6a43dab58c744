//! A call that is dropped anywhere leaves nothing behind; nor does one that panics.

use std::future::Future;
use std::pin::pin;
use std::task::{Context as Polling, Poll, Waker};

use posthaste::TimeUnits;
use posthaste::policy::{Context, Policy, settings};

use super::shared::places;

/// Every strategy that holds something.
fn holding() -> Policy {
    Policy::named("test")
        .retry(settings::Retry::default())
        .budget(settings::Budget {
            ratio: 1.0,
            ..settings::Budget::default()
        })
        .hedge(settings::Hedge {
            warmup: 10,
            ..settings::Hedge::default()
        })
        .concurrency(places(2, 10))
        .breaker(settings::Breaker {
            trip: settings::Trip::Consecutive(100),
            ..settings::Breaker::default()
        })
        .attempt_timeout(200.millis())
        .build()
        .expect("these settings are well")
}

fn nothing_is_held(policy: &Policy, said: &str) {
    let places = policy.places().expect("it has places");
    assert_eq!((places.in_flight, places.waiting), (0, 0), "{said}");
}

/// Gives control back so many times.
async fn steps(count: u32) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_after_any_poll_frees_all_that_it_held() {
    let policy = holding();
    for warm in 0..20 {
        let cx = Context::new().key("k");
        let call = policy.with(cx).run(|_| async {
            tokio::time::sleep(1.millis()).await;
            Ok::<_, &str>(warm)
        });
        call.await.expect("it works");
    }
    let mut ended = 0;
    for polls in 0..40 {
        // Two hold the places for a while, so that the third has to wait; then it fails and is repeated,
        // and its last attempt takes so long that it is hedged.
        let hold = |count| {
            let policy = policy.clone();
            async move {
                policy
                    .call(|_| async {
                        steps(count).await;
                        Ok::<_, &str>(())
                    })
                    .await
            }
        };
        let first = tokio::spawn(hold(3));
        let second = tokio::spawn(hold(5));
        tokio::task::yield_now().await;
        let cx = Context::new().key("k");
        let mut call = Box::pin(policy.with(cx).run(|attempt| async move {
            steps(2).await;
            if attempt.number() == 1 {
                return Err("it broke");
            }
            tokio::time::sleep(30.millis()).await;
            Ok(attempt.number())
        }));
        let mut left = polls;
        let done = std::future::poll_fn(|polling| {
            if left == 0 {
                return Poll::Ready(false);
            }
            left -= 1;
            call.as_mut().poll(polling).map(|_| true)
        })
        .await;
        ended += u32::from(done);
        drop(call);
        first.await.expect("it ran").expect("it works");
        second.await.expect("it ran").expect("it works");
        nothing_is_held(&policy, &format!("dropped after {polls} polls"));
    }
    assert!(ended > 0, "no call came to its end: more polls are needed");
    assert!(policy.counts().hedges > 0, "{:?}", policy.counts());
    assert!(policy.counts().dropped > 0, "{:?}", policy.counts());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_panics_frees_all_that_it_held() {
    let policy = holding();
    let panicking = tokio::spawn({
        let policy = policy.clone();
        async move {
            policy
                .call(|_| async {
                    tokio::task::yield_now().await;
                    if tokio::task::try_id().is_some() {
                        panic!("as it should");
                    }
                    Ok::<_, &str>(())
                })
                .await
        }
    });
    panicking.await.expect_err("it panicked");
    nothing_is_held(&policy, "after a panic");
    policy
        .call(|_| async { Ok::<_, &str>(()) })
        .await
        .expect("it goes on");
}

#[test]
fn a_call_that_is_never_polled_takes_nothing() {
    let policy = holding();
    let call = policy.call(|_| async { Ok::<_, &str>(()) });
    drop(call);
    assert_eq!(policy.counts().calls, 0);
}

#[test]
fn a_place_that_was_on_its_way_to_who_left_goes_to_the_next() {
    let policy = Policy::named("test")
        .concurrency(places(1, 10))
        .build()
        .expect("these settings are well");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let _entered = runtime.enter();
    let mut polling = Polling::from_waker(Waker::noop());
    let mut holder = Box::pin(policy.call(|_| std::future::pending::<Result<(), &str>>()));
    assert!(holder.as_mut().poll(&mut polling).is_pending());
    let mut leaver = Box::pin(policy.call(|_| async { Ok::<_, &str>(1) }));
    assert!(leaver.as_mut().poll(&mut polling).is_pending());
    let mut next = pin!(policy.call(|_| async { Ok::<_, &str>(2) }));
    assert!(next.as_mut().poll(&mut polling).is_pending());
    // The place is granted to the one that waited longer, which goes away without looking.
    drop(holder);
    drop(leaver);
    assert_eq!(next.as_mut().poll(&mut polling), Poll::Ready(Ok(2)));
    nothing_is_held(&policy, "in the end");
}
