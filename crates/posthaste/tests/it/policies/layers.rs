//! The contract of tower: readiness, errors, clones, cancellation and panics.

use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context as Polling, Poll};

use posthaste::TimeUnits;
use posthaste::policy::{Context, Policy, PolicyError, settings};
use tower::{Layer, Service, ServiceExt, service_fn};

use super::shared::places;

/// A service that insists on being made ready before each call, each clone by itself.
struct Strict {
    ready: bool,
    calls: Arc<AtomicU32>,
    fails: u32,
}

impl Strict {
    fn failing(fails: u32) -> (Self, Arc<AtomicU32>) {
        let calls = Arc::new(AtomicU32::new(0));
        let strict = Self {
            ready: false,
            calls: calls.clone(),
            fails,
        };
        (strict, calls)
    }
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self {
            ready: false,
            calls: self.calls.clone(),
            fails: self.fails,
        }
    }
}

impl Service<u32> for Strict {
    type Response = u32;
    type Error = &'static str;
    type Future = Ready<Result<u32, &'static str>>;

    fn poll_ready(&mut self, _: &mut Polling<'_>) -> Poll<Result<(), Self::Error>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u32) -> Self::Future {
        assert!(self.ready, "called without being made ready");
        self.ready = false;
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        ready(if call <= self.fails {
            Err("it broke")
        } else {
            Ok(request)
        })
    }
}

fn retrying() -> Policy {
    Policy::named("test")
        .retry(settings::Retry::default())
        .concurrency(places(2, 10))
        .build()
        .expect("these settings are well")
}

#[tokio::test(start_paused = true)]
async fn every_attempt_is_made_by_a_service_that_was_made_ready() {
    let (strict, calls) = Strict::failing(2);
    let mut service = retrying().layer().layer(strict);
    let keyed = Context::new().key("k");
    let answer = keyed
        .scope(async { service.ready().await.expect("it is ready").call(7).await })
        .await;
    assert_eq!(answer, Ok(7));
    assert_eq!(calls.load(Ordering::SeqCst), 3);
    // And again, with the same service.
    assert_eq!(
        service.ready().await.expect("it is ready").call(8).await,
        Ok(8)
    );
}

#[expect(
    clippy::async_yields_async,
    reason = "what is tried is a request that is made in a context and waited for outside of it"
)]
#[tokio::test(start_paused = true)]
async fn the_context_is_the_one_in_which_the_request_was_made() {
    let mut service = retrying().layer().layer(service_fn(|()| async {
        Ok::<_, &str>(Context::current().idempotency_key().map(str::to_owned))
    }));
    let keyed = Context::new().key("k");
    let future = keyed
        .scope(async { service.ready().await.expect("it is ready").call(()) })
        .await;
    assert_eq!(future.await, Ok(Some("k".to_owned())));
}

#[derive(Clone)]
struct Unready;

impl Service<u32> for Unready {
    type Response = u32;
    type Error = &'static str;
    type Future = Ready<Result<u32, &'static str>>;

    fn poll_ready(&mut self, _: &mut Polling<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Err("closed"))
    }

    fn call(&mut self, _: u32) -> Self::Future {
        unreachable!("it is never ready")
    }
}

#[tokio::test]
async fn an_inner_service_that_cant_be_ready_says_so() {
    let mut service = retrying().layer().layer(Unready);
    let error = match service.ready().await {
        Ok(_) => panic!("it is never ready"),
        Err(error) => error,
    };
    assert_eq!(error.attempts(), 0);
    assert_eq!(error.into_inner(), Some("closed"));
}

#[tokio::test(start_paused = true)]
async fn an_inner_service_that_isnt_ready_yet_makes_the_outer_one_wait() {
    let (strict, _) = Strict::failing(0);
    let limited = tower::limit::ConcurrencyLimit::new(strict, 1);
    let mut service = retrying().layer().layer(limited);
    let held = service.ready().await.expect("it is ready").call(1);
    // The place that the inner service gave is held by the first request.
    let second = tokio::time::timeout(1.secs(), service.ready()).await;
    assert!(second.is_err(), "it was ready too soon");
    drop(held);
    let ready = service.ready().await.expect("it is ready");
    assert_eq!(ready.call(2).await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cant_be_cloned_is_made_once() {
    struct Once(u32);
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let inner = service_fn(move |request: Once| {
        let call = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            if call == 0 {
                Err("it broke")
            } else {
                Ok(request.0)
            }
        }
    });
    let mut service = retrying().layer_once().layer(inner);
    let keyed = Context::new().key("k");
    let error = keyed
        .scope(async {
            service
                .ready()
                .await
                .expect("it is ready")
                .call(Once(7))
                .await
        })
        .await
        .expect_err("it broke");
    assert_eq!(
        (error.attempts(), error.into_inner()),
        (1, Some("it broke"))
    );
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert_eq!(
        service
            .ready()
            .await
            .expect("it is ready")
            .call(Once(8))
            .await,
        Ok(8)
    );
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_dropped_after_any_poll_frees_its_place() {
    let policy = retrying();
    let inner = service_fn(|()| async {
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        Ok::<_, &str>(())
    });
    let mut service = policy.layer().layer(inner);
    for polls in 0..8 {
        let mut future = service.ready().await.expect("it is ready").call(());
        let mut left = polls;
        std::future::poll_fn(|polling| {
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            Pin::new(&mut future).poll(polling).map(drop)
        })
        .await;
        drop(future);
        let places = policy.places().expect("it has places");
        assert_eq!(
            (places.in_flight, places.waiting),
            (0, 0),
            "after {polls} polls"
        );
    }
}

#[tokio::test]
async fn an_inner_service_that_panics_in_its_call_leaves_the_policy_usable() {
    let policy = retrying();
    let mut service = policy.layer().layer(service_fn(|fail: bool| {
        assert!(!fail, "as it should");
        async { Ok::<_, &str>(()) }
    }));
    let future = service.ready().await.expect("it is ready").call(true);
    tokio::spawn(future).await.expect_err("it panicked");
    assert_eq!(policy.places().expect("it has places").in_flight, 0);
    assert_eq!(
        service
            .ready()
            .await
            .expect("it is ready")
            .call(false)
            .await,
        Ok(())
    );
}

#[tokio::test]
async fn a_refused_request_does_not_reach_the_service() {
    let policy = Policy::named("test")
        .breaker(settings::Breaker::default())
        .build()
        .expect("these settings are well");
    let (strict, calls) = Strict::failing(0);
    let mut service = policy.layer().layer(strict);
    policy.isolate();
    let error = service
        .ready()
        .await
        .expect("it is ready")
        .call(7)
        .await
        .expect_err("isolated");
    assert!(matches!(error, PolicyError::Refused(_)), "{error}");
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}
