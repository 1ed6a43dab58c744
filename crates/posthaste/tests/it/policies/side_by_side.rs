//! An attempt and the one beside it: where one fails the other is waited for; and what has ended is
//! gone before anything else begins.

use std::cell::Cell;
use std::time::Duration;

use posthaste::TimeUnits;
use posthaste::policy::{Context, Policy, PolicyError, Stop, settings};
use tokio::time::sleep;

/// How long an attempt takes, and whether it works.
type Plan = (Duration, bool);

/// A policy that hedges after some ten milliseconds.
async fn hedging() -> Policy {
    let policy = Policy::named("test")
        .hedge(settings::Hedge {
            warmup: 10,
            ..settings::Hedge::default()
        })
        .build()
        .expect("these settings are well");
    for _ in 0..20 {
        let call = policy.with(Context::new().key("k")).run(|_| async {
            sleep(10.millis()).await;
            Ok::<_, &str>(())
        });
        call.await.expect("it works");
    }
    policy
}

/// Runs both as planned, and tells whether it was the hedge that worked.
async fn check(first: Plan, beside: Plan, expected: Result<bool, PolicyError<bool>>) {
    let policy = hedging().await;
    let before = policy.counts();
    let cx = Context::new().key("k");
    let call = policy.with(cx).run(|attempt| async move {
        let hedge = attempt.is_hedge();
        let (takes, works) = if hedge { beside } else { first };
        sleep(takes).await;
        if works { Ok(hedge) } else { Err(hedge) }
    });
    assert_eq!(call.await, expected, "{first:?} {beside:?}");
    let after = policy.counts();
    assert_eq!(after.hedges - before.hedges, 1);
    assert_eq!(after.attempts - before.attempts, 2);
}

#[tokio::test(start_paused = true)]
async fn where_one_of_two_fails_the_other_is_waited_for() {
    let failed = |error, attempts| {
        let stop = Stop::NoRetry;
        Err(PolicyError::Failed {
            error,
            attempts,
            stop,
            refusal: None,
        })
    };
    check((50.millis(), false), (90.millis(), true), Ok(true)).await;
    check((90.millis(), true), (20.millis(), false), Ok(false)).await;
    // Where both fail, it is the later one that counts.
    check((50.millis(), false), (90.millis(), false), failed(true, 2)).await;
    check((90.millis(), false), (20.millis(), false), failed(false, 2)).await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_took_too_long_is_gone_before_its_pause_begins() {
    struct Runs<'r>(&'r Cell<u32>);

    impl Drop for Runs<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() - 1);
        }
    }

    let policy = Policy::named("test")
        .retry(settings::Retry {
            base: 1.secs(),
            jitter: settings::Jitter::None,
            ..settings::Retry::default()
        })
        .attempt_timeout(100.millis())
        .build()
        .expect("these settings are well");
    let running = Cell::new(0);
    let cx = Context::new().key("k");
    let mut call = Box::pin(policy.with(cx).run(|attempt| {
        running.set(running.get() + 1);
        let runs = Runs(&running);
        async move {
            if attempt.number() == 1 {
                std::future::pending::<()>().await;
            }
            drop(runs);
            Ok::<_, &str>(())
        }
    }));
    let in_its_pause = tokio::time::timeout(500.millis(), &mut call);
    in_its_pause.await.expect_err("it pauses");
    assert_eq!((policy.counts().timed_out, running.get()), (1, 0));
    call.await.expect("the second one works");
    assert_eq!(running.get(), 0);
}
