//! Policies around calls, through their public face, on tokio's paused clock.

mod cancelled;
mod layers;
mod shared;
mod side_by_side;

use std::cell::Cell;
use std::time::Duration;

use posthaste::TimeUnits;
use posthaste::policy::{
    BreakerState, Context, Criticality, Policy, PolicyError, Refusal, Served, Settings, Stale,
    Stop, Verdict, settings,
};
use tokio::time::{Instant, sleep};

/// A callee that fails so many times, and counts how often it is asked.
#[derive(Default)]
struct Callee {
    asked: Cell<u32>,
    fails: Cell<u32>,
    takes: Cell<Duration>,
}

impl Callee {
    fn failing(times: u32) -> Self {
        let callee = Self::default();
        callee.fails.set(times);
        callee
    }

    async fn ask(&self) -> Result<u32, &'static str> {
        let asked = self.asked.get() + 1;
        self.asked.set(asked);
        sleep(self.takes.get()).await;
        if asked <= self.fails.get() {
            return Err("it broke");
        }
        Ok(asked)
    }
}

fn keyed() -> Context {
    Context::new().key("k")
}

fn retrying() -> Policy {
    let retry = settings::Retry {
        jitter: settings::Jitter::None,
        ..settings::Retry::default()
    };
    Policy::named("test")
        .retry(retry)
        .build()
        .expect("these settings are well")
}

#[tokio::test(start_paused = true)]
async fn a_call_is_repeated_until_it_works_with_pauses_that_double() {
    let callee = Callee::failing(2);
    let began = Instant::now();
    let answer = retrying().with(keyed()).run(|_| callee.ask()).await;
    assert_eq!(answer, Ok(3));
    assert_eq!(began.elapsed(), 150.millis());
}

#[tokio::test(start_paused = true)]
async fn without_a_key_nothing_is_repeated_but_what_was_refused_before_it_began() {
    let callee = Callee::failing(9);
    let error = retrying()
        .call(|_| callee.ask())
        .await
        .expect_err("it broke");
    assert_eq!(
        (error.stop(), callee.asked.get()),
        (Some(Stop::NotIdempotent), 1)
    );
    assert!(error.to_string().contains("no idempotency key"), "{error}");

    let throttled = |result: &Result<u32, &'static str>| match result {
        Ok(_) => Verdict::Ok,
        Err(_) => Verdict::Throttled(None),
    };
    let callee = Callee::failing(1);
    let policy = retrying();
    let calling = policy.with(Context::new()).judge(throttled);
    assert_eq!(calling.run(|_| callee.ask()).await, Ok(2));

    let forced = Settings {
        retry: Some(settings::Retry {
            force: true,
            ..settings::Retry::default()
        }),
        ..Settings::default()
    };
    let callee = Callee::failing(1);
    let policy = Policy::new("forced", forced).expect("these settings are well");
    assert_eq!(policy.call(|_| callee.ask()).await, Ok(2));

    let callee = Callee::failing(1);
    let safe = retrying()
        .with(Context::new().safe())
        .run(|_| callee.ask())
        .await;
    assert_eq!(safe, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn what_would_fail_again_is_not_repeated() {
    let callee = Callee::failing(9);
    let policy = retrying();
    let fatal = |result: &Result<u32, &'static str>| match result {
        Ok(_) => Verdict::Ok,
        Err(_) => Verdict::Fatal,
    };
    let error = policy
        .with(keyed())
        .judge(fatal)
        .run(|_| callee.ask())
        .await
        .expect_err("it broke");
    assert_eq!((error.stop(), callee.asked.get()), (Some(Stop::Fatal), 1));
    assert_eq!(error.into_inner(), Some("it broke"));
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_the_callee_asks_for_is_kept_unless_it_is_too_long() {
    let policy = retrying();
    let asks = |pause| {
        move |result: &Result<u32, &'static str>| match result {
            Ok(_) => Verdict::Ok,
            Err(_) => Verdict::Throttled(Some(pause)),
        }
    };
    let (callee, began) = (Callee::failing(1), Instant::now());
    let calling = policy.with(keyed()).judge(asks(3.secs()));
    assert_eq!(calling.run(|_| callee.ask()).await, Ok(2));
    assert_eq!(began.elapsed(), 3.secs());

    let callee = Callee::failing(1);
    let calling = policy.with(keyed()).judge(asks(11.secs()));
    let error = calling.run(|_| callee.ask()).await.expect_err("too long");
    let asked = 11.secs();
    assert_eq!(error.stop(), Some(Stop::RetryAfter { asked }));
    assert_eq!(callee.asked.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_exhausted_budget_is_the_visible_reason() {
    let policy = Policy::named("test")
        .retry(settings::Retry::default())
        .budget(settings::Budget {
            ratio: 0.0,
            floor_per_second: 0.0,
            ..settings::Budget::default()
        })
        .build()
        .expect("these settings are well");
    let callee = Callee::failing(9);
    let error = policy
        .with(keyed())
        .run(|_| callee.ask())
        .await
        .expect_err("no budget");
    assert_eq!((error.stop(), callee.asked.get()), (Some(Stop::Budget), 1));
    assert!(
        error.to_string().contains("the retry budget is exhausted"),
        "{error}"
    );
    assert_eq!(policy.counts().stopped[Stop::Budget.index()], 1);
}

#[tokio::test(start_paused = true)]
async fn what_has_no_time_left_is_not_started() {
    let callee = Callee::default();
    let policy = Policy::calling("test");
    let over = Context::new().within(Duration::ZERO);
    let error = policy
        .with(over)
        .run(|_| callee.ask())
        .await
        .expect_err("it is too late");
    assert!(
        matches!(error, PolicyError::Refused(Refusal::Deadline { .. })),
        "{error}"
    );
    assert_eq!(callee.asked.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_covers_pauses_and_is_never_widened_inside() {
    let policy = Policy::named("test")
        .deadline(100.millis())
        .retry(settings::Retry {
            jitter: settings::Jitter::None,
            ..settings::Retry::default()
        })
        .build()
        .expect("these settings are well");
    // The third attempt would begin 150 ms after the first.
    let callee = Callee::failing(9);
    let error = policy
        .with(keyed())
        .run(|attempt| {
            assert!(attempt.remaining() <= Some(100.millis()));
            assert!(Context::current().within(1.hours()).remaining() <= Some(100.millis()));
            callee.ask()
        })
        .await
        .expect_err("no time");
    assert_eq!(
        (error.stop(), callee.asked.get()),
        (Some(Stop::Deadline), 2)
    );

    // A policy inside of another has what the outer one left.
    let inner = Policy::named("inner")
        .deadline(10.secs())
        .build()
        .expect("well");
    let began = Instant::now();
    let error = policy
        .call(|_| async {
            inner
                .call(|_| async {
                    sleep(5.secs()).await;
                    Ok::<_, &str>(())
                })
                .await
        })
        .await
        .expect_err("no time");
    assert_eq!(began.elapsed(), 100.millis());
    let timed_out = matches!(
        &error,
        PolicyError::TimedOut { .. }
            | PolicyError::Failed {
                error: PolicyError::TimedOut { .. },
                ..
            }
    );
    assert!(timed_out, "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_takes_too_long_is_dropped_and_repeated() {
    let policy = Policy::named("test")
        .retry(settings::Retry::default())
        .attempt_timeout(50.millis())
        .build()
        .expect("these settings are well");
    let callee = Callee::default();
    callee.takes.set(1.secs());
    let answer = policy
        .with(keyed())
        .run(|attempt| {
            if attempt.number() == 2 {
                callee.takes.set(1.millis());
            }
            assert_eq!(attempt.context().idempotency_key(), Some("k"));
            callee.ask()
        })
        .await;
    assert_eq!(answer, Ok(2));
    assert_eq!(policy.counts().timed_out, 1);

    callee.takes.set(1.secs());
    let error = policy.call(|_| callee.ask()).await.expect_err("too long");
    assert!(
        error.to_string().starts_with("timed out after 50 ms"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_breaker_opens_says_why_and_lets_go_again() {
    let policy = Policy::named("test")
        .breaker(settings::Breaker {
            trip: settings::Trip::Consecutive(3),
            probes: 1,
            ramp: Duration::ZERO,
            ..settings::Breaker::default()
        })
        .build()
        .expect("these settings are well");
    let callee = Callee::failing(3);
    for _ in 0..3 {
        policy.call(|_| callee.ask()).await.expect_err("it broke");
    }
    assert_eq!(policy.breaker(), Some(BreakerState::Open));
    let error = policy.call(|_| callee.ask()).await.expect_err("it is open");
    assert_eq!(
        error.to_string(),
        "breaker open for 5000 ms: 3 calls failed in a row"
    );
    assert_eq!(error.retry_after(), Some(5.secs()));
    assert_eq!(callee.asked.get(), 3);

    // A probe that is dropped frees its slot.
    tokio::time::advance(5.secs()).await;
    callee.takes.set(10.secs());
    let dropped = tokio::time::timeout(1.secs(), policy.call(|_| callee.ask())).await;
    dropped.expect_err("it hangs");
    callee.takes.set(Duration::ZERO);
    assert_eq!(policy.call(|_| callee.ask()).await, Ok(5));
    assert_eq!(policy.breaker(), Some(BreakerState::Closed));

    policy.isolate();
    let error = policy.call(|_| callee.ask()).await.expect_err("isolated");
    assert_eq!(error.refusal(), Some(&Refusal::Isolated));
    policy.join();
    assert_eq!(policy.call(|_| callee.ask()).await, Ok(6));
}

#[tokio::test(start_paused = true)]
async fn a_hedge_wins_over_an_attempt_that_hangs() {
    let policy = Policy::named("test")
        .hedge(settings::Hedge {
            warmup: 10,
            ..settings::Hedge::default()
        })
        .build()
        .expect("these settings are well");
    let callee = &Callee::default();
    callee.takes.set(10.millis());
    for _ in 0..20 {
        policy
            .with(keyed())
            .run(|_| callee.ask())
            .await
            .expect("it works");
    }
    let began = Instant::now();
    let answer = policy
        .with(keyed())
        .run(|attempt| {
            let hedge = attempt.is_hedge();
            callee
                .takes
                .set(if hedge { 10.millis() } else { 10.secs() });
            async move {
                callee_answer(callee).await?;
                Ok::<_, &str>(hedge)
            }
        })
        .await;
    assert_eq!(answer, Ok(true));
    assert!(began.elapsed() < 30.millis(), "{:?}", began.elapsed());
    assert_eq!(policy.counts().hedges, 1);
    assert_eq!(policy.counts().dropped, 1);

    // What may not be repeated is not hedged.
    let error = tokio::time::timeout(
        1.secs(),
        policy.call(|attempt| {
            assert!(!attempt.is_hedge());
            std::future::pending::<Result<(), &str>>()
        }),
    );
    error.await.expect_err("it hangs");
    assert_eq!(policy.counts().hedges, 1);
}

async fn callee_answer(callee: &Callee) -> Result<u32, &'static str> {
    callee.ask().await
}

#[tokio::test(start_paused = true)]
async fn faults_are_injected_and_off_in_one_switch() {
    let rule = |fault, tag: Option<&str>| settings::ChaosRule {
        tag: tag.map(Into::into),
        rate: 1.0,
        fault,
    };
    let policy = Policy::named("test")
        .chaos(vec![
            rule(settings::Fault::Error, Some("pay")),
            rule(settings::Fault::Abort, Some("ship")),
            rule(settings::Fault::Delay(3.secs()), None),
        ])
        .build()
        .expect("these settings are well");
    let callee = Callee::default();
    let tagged = |tag: &'static str| policy.with(Context::new().tag(tag));
    let error = tagged("pay")
        .run(|_| callee.ask())
        .await
        .expect_err("injected");
    assert_eq!(error.refusal(), Some(&Refusal::Chaos { rule: 0 }));
    assert_eq!(callee.asked.get(), 0);
    let error = tagged("ship")
        .run(|_| callee.ask())
        .await
        .expect_err("injected");
    assert_eq!(error.refusal(), Some(&Refusal::Chaos { rule: 1 }));
    assert_eq!(callee.asked.get(), 1);
    let began = Instant::now();
    assert_eq!(policy.call(|_| callee.ask()).await, Ok(2));
    assert_eq!(began.elapsed(), 3.secs());
    policy.set_chaos(false);
    assert_eq!(tagged("pay").run(|_| callee.ask()).await, Ok(3));
    assert_eq!(began.elapsed(), 3.secs());
}

#[tokio::test(start_paused = true)]
async fn a_fallback_and_the_last_good_answer_stand_in() {
    let policy = Policy::named("test").build().expect("it does nothing");
    let callee = Callee::failing(1);
    let answer = policy
        .with(Context::new())
        .run_or(
            |_| callee.ask(),
            |why| if why.attempts() == 1 { 70 } else { 0 },
        )
        .await;
    assert_eq!(answer, 70);

    let last = Stale::new(10.mins());
    let serve = |callee| last.run(policy.with(Context::new()), move |_| callee_answer(callee));
    assert_eq!(serve(&callee).await, Ok(Served::Fresh(2)));
    callee.fails.set(u32::MAX);
    tokio::time::advance(5.mins()).await;
    match serve(&callee).await {
        Ok(Served::Stale { value, age, why }) => {
            assert_eq!((value, age), (2, 5.mins()));
            assert!(why.to_string().starts_with("it broke"), "{why}");
        }
        other => panic!("{other:?}"),
    }
    tokio::time::advance(5.mins() + 1.millis()).await;
    serve(&callee).await.expect_err("it is too old");
}

#[tokio::test(start_paused = true)]
async fn what_comes_too_soon_is_refused_with_when_to_come_again() {
    let policy = Policy::named("test")
        .rate(settings::Rate {
            count: 10,
            per: 1.secs(),
            burst: 2,
        })
        .build()
        .expect("these settings are well");
    let callee = Callee::default();
    assert_eq!(policy.call(|_| callee.ask()).await, Ok(1));
    assert_eq!(policy.call(|_| callee.ask()).await, Ok(2));
    let error = policy.call(|_| callee.ask()).await.expect_err("too soon");
    assert_eq!(
        error.to_string(),
        "rate limited: the next may come in 100 ms"
    );
    tokio::time::advance(error.retry_after().expect("it says when")).await;
    assert_eq!(policy.call(|_| callee.ask()).await, Ok(3));
}

#[tokio::test(start_paused = true)]
async fn a_tier_that_is_refused_is_not_asked_again_so_often_and_the_others_are() {
    let policy = Policy::named("test")
        .throttle(settings::Throttle::default())
        .build()
        .expect("these settings are well");
    let refused = |_: &Result<(), &str>| Verdict::Throttled(None);
    let batch = Context::new().criticality(Criticality::Batch);
    let (mut sent, mut kept) = (0, 0);
    for _ in 0..1_000 {
        let calling = policy.with(batch.clone()).judge(refused);
        match calling.run(|_| async { Err("busy") }).await {
            Err(PolicyError::Refused(Refusal::Throttled { .. })) => kept += 1,
            _ => sent += 1,
        }
    }
    assert!(kept > 800 && sent > 50, "{kept} kept, {sent} sent");
    for _ in 0..100 {
        let critical = Context::new().criticality(Criticality::Critical);
        let answer = policy
            .with(critical)
            .run(|_| async { Ok::<_, &str>(()) })
            .await;
        assert_eq!(answer, Ok(()));
    }
}

#[test]
fn the_presets_are_sound_and_describe_themselves() {
    for policy in [Policy::calling("a"), Policy::serving("b")] {
        assert_eq!(policy.settings().check(), Ok(()));
        assert!(
            policy.describe().lines().count() >= 2,
            "{}",
            policy.describe()
        );
    }
    let serving = Settings::serving();
    assert!(serving.retry.is_none() && serving.concurrency.is_some());
}
