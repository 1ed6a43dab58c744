//! Who is let in: by how much it matters, while the server can keep up, and early.
//!
//! Every route has a door. Quick requests take a place while they are worked on; how many places there
//! are follows from how long requests take, and where too many come the lower tiers are turned away
//! first. A request that waits for something takes no place, for its time says nothing of how busy the
//! server is; and whoever asks whether the server lives is never turned away.
//!
//! What is turned away was not looked at: nothing has happened, and its body was thrown away. A
//! large body is not even read. This room refuses to know what a request does.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use posthaste::policy::settings::{Concurrency, Limit, Queue};
use posthaste::policy::{Context, Criticality, Policy, PolicyError, Refusal, Settings, Verdict};
use posthaste_core::{Error, ErrorKind, duration};
use tokio::sync::oneshot;

use super::{Served, body, context, refusal};

/// The name of the policy that requests are let in under.
pub(super) const NAME: &str = "http";
/// When it is worth asking again, where the policy does not know.
const AGAIN_MS: u64 = 1_000;

/// The caller that vital requests wait as. No header can say that it is this one.
const VITAL: &str = "vital";

/// How a route is entered.
#[derive(Clone, Copy, Debug)]
pub(super) enum Door {
    /// Always: whether the server lives, and what it says of itself.
    Open,
    /// It waits or streams: in its time, and without a place.
    Waits,
    /// With a place, and without one where the query asks to wait. A request that does not say how
    /// much it matters matters so much.
    MayWait(Criticality),
    /// With a place. A request that does not say how much it matters matters so much.
    Quick(Criticality),
    /// With a place, as critical whatever it says: it ends work, or keeps it from being done twice.
    /// It takes turns with all that only says that it is critical.
    Vital,
}

impl Door {
    fn tier(self) -> Criticality {
        match self {
            Self::Open | Self::Waits => Criticality::Default,
            Self::MayWait(tier) | Self::Quick(tier) => tier,
            Self::Vital => Criticality::Critical,
        }
    }

    /// The context that a request is let in under.
    fn context(self, headers: &HeaderMap) -> Context {
        let context = context::of(headers, self.tier());
        if !matches!(self, Self::Vital) {
            return context;
        }
        // Callers take turns: what says that it is critical cannot keep these waiting by its number.
        context.criticality(Criticality::Critical).caller(VITAL)
    }

    fn takes_place(self, request: &Request) -> bool {
        match self {
            Self::Open | Self::Waits => false,
            Self::MayWait(_) => !asks_to_wait(request.uri().query()),
            Self::Quick(_) | Self::Vital => true,
        }
    }
}

/// Whether a query asks to wait. A wait of no time is none, and neither is one that can't be read: it
/// will be refused.
fn asks_to_wait(query: Option<&str>) -> bool {
    let query = query.unwrap_or_default();
    let waits = |text: &str| duration::parse_ms(text).is_ok_and(|wait_ms| wait_ms > 0);
    form_urlencoded::parse(query.as_bytes()).any(|(name, value)| name == "wait" && waits(&value))
}

/// What requests are let in under where nothing else is said: up to 30 s for each, at least 64 places
/// and as many more as their durations allow, and who waits for a place for 50 ms over half a second
/// is turned away.
///
/// A commit takes as long as a sync of the disk, which many share: 64 places are fewer than any disk
/// needs to be busy, and a disk that holds its breath for a moment turns nobody away.
#[must_use]
pub fn admission() -> Settings {
    Settings {
        deadline: Some(Duration::from_secs(30)),
        concurrency: Some(Concurrency {
            limit: Limit::Gradient {
                initial: 256,
                min: 64,
                max: 4_096,
                tolerance: 2.0,
            },
            queue: Queue {
                waiting_max: 4_096,
                target: Duration::from_millis(50),
                interval: Duration::from_millis(500),
                // What is vital is told apart to take turns; nobody is refused for coming in numbers.
                share: 1.0,
            },
        }),
        ..Settings::default()
    }
}

/// A request comes to a door.
pub(super) async fn enter(
    State((served, door)): State<(Served, Door)>,
    request: Request,
    next: Next,
) -> Response {
    if matches!(door, Door::Open) {
        return next.run(request).await;
    }
    let context = door.context(request.headers());
    if context.is_over() {
        return turn_away(request, &context::too_late()).await;
    }
    let policy = served.admission.clone();
    let policy = policy.filter(|_| door.takes_place(&request));
    let work = async move {
        match policy {
            Some(policy) => with_place(&served, &policy, request, next).await,
            None => next.run(request).await,
        }
    };
    context.scope(work).await
}

async fn with_place(served: &Served, policy: &Policy, request: Request, next: Next) -> Response {
    if body::is_large(request.body())
        && let Err(refusal) = look_in(policy).await
    {
        return turn_away(request, &refused(&refusal)).await;
    }
    // A place is not held while a client takes its time to send.
    let (request, _turn) = match body::gathered(served, request).await {
        Ok(gathered) => gathered,
        Err(error) => return refusal::Refusal(error).into_response(),
    };
    let changes = !request.method().is_safe();
    let ran = policy
        .with(Context::current())
        .judge(|answer: &Result<Response, Infallible>| match answer {
            Ok(response) if response.status().is_success() => Verdict::Ok,
            // What is refused quickly says nothing of how long work takes.
            _ => Verdict::Fatal,
        })
        .run_once(async |_| Ok::<_, Infallible>(next.run(request).await))
        .await;
    match ran {
        Ok(response) => response,
        Err(PolicyError::Failed { error, .. }) => match error {},
        Err(PolicyError::Refused(refusal)) => refusal::Refusal(refused(&refusal)).into_response(),
        Err(_) => ran_out(changes),
    }
}

/// Whether there is a place now; it is left again at once. Asked before a large body is read, so that
/// it does not have to be read to be turned away.
async fn look_in(policy: &Policy) -> Result<(), Refusal> {
    let (tell, told) = oneshot::channel();
    let look = policy.with(Context::current()).run_once(
        async move |_| -> Result<Infallible, Infallible> {
            // Whoever wants to know waits below.
            let _ = tell.send(());
            std::future::pending().await
        },
    );
    tokio::select! {
        biased;
        Ok(()) = told => Ok(()),
        looked = look => match looked {
            Err(PolicyError::Refused(refusal)) => Err(refusal),
            _ => Ok(()),
        },
    }
}

/// That a policy does not let a request in.
fn refused(refusal: &Refusal) -> Error {
    if matches!(refusal, Refusal::Deadline { .. }) {
        return context::too_late();
    }
    let after = refusal.retry_after().map_or(AGAIN_MS, |after| {
        u64::try_from(after.as_millis()).unwrap_or(AGAIN_MS)
    });
    Error::new(
        ErrorKind::Overloaded,
        "more is asked of the server than it can do: nothing was done",
    )
    .next(format!("{refusal}; try again after Retry-After"))
    .retry_after_ms(after)
}

/// The time of a request ended while it was worked on.
fn ran_out(changes: bool) -> Response {
    let error = if changes {
        Error::new(
            ErrorKind::Uncertain,
            "the time of the request ended while it was worked on: it may have happened",
        )
        .next("see whether it happened, or repeat it under the same Idempotency-Key")
    } else {
        Error::new(
            ErrorKind::Deadline,
            "the time of the request ended while it was worked on",
        )
        .next("give it more time with posthaste-timeout-ms, or ask for less")
    };
    refusal::with_status(&error, StatusCode::GATEWAY_TIMEOUT)
}

/// Answers a request that was not looked at. A small body is thrown away, so that its connection can
/// be used again; a larger one closes it.
async fn turn_away(request: Request, error: &Error) -> Response {
    let status = StatusCode::from_u16(posthaste::wire::status(error.kind()));
    let mut response =
        refusal::with_status(error, status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE));
    if !body::thrown_away(request.into_body()).await {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn the_default_settings_make_sense() {
        let policy = Policy::new(NAME, admission()).expect("they are checked");
        assert_eq!(policy.places().map(|places| places.limit), Some(256));
    }

    #[test]
    fn a_query_that_waits_takes_no_place() {
        let check = |door: Door, path: &str, takes| {
            let request = Request::builder().uri(path).body(axum::body::Body::empty());
            assert_eq!(
                door.takes_place(&request.expect("a request")),
                takes,
                "{path}"
            );
        };
        let may = Door::MayWait(Criticality::Default);
        check(may, "/v1/jobs/1", true);
        check(may, "/v1/jobs/1?waiting=1", true);
        check(may, "/v1/jobs/1?x=1&wait=1s", false);
        check(may, "/v1/jobs/1?wait=1ms", false);
        check(may, "/v1/jobs/1?wait=0ms", true);
        check(may, "/v1/jobs/1?wait=0h0s", true);
        check(may, "/v1/jobs/1?wait=soon", true);
        check(Door::Quick(Criticality::Default), "/v1/jobs?wait=1s", true);
        check(Door::Vital, "/v1/leases/settle?wait=1s", true);
        check(Door::Waits, "/v1/leases", false);
        check(Door::Open, "/livez", false);
    }

    /// Runs under `policy` when it is its turn, and notes that.
    async fn noted(
        policy: &Policy,
        context: Context,
        name: &'static str,
        order: &RefCell<Vec<&'static str>>,
    ) {
        let ran = policy.with(context).run_once(async |_| {
            order.borrow_mut().push(name);
            Ok::<_, Infallible>(())
        });
        ran.await.expect("a turn");
    }

    #[tokio::test]
    async fn what_is_vital_takes_turns_with_what_says_that_it_is_critical() {
        let settings = Settings {
            concurrency: Some(Concurrency {
                limit: Limit::Static(1),
                queue: Queue {
                    waiting_max: 10,
                    // Nobody is late here.
                    target: Duration::from_secs(1_000),
                    interval: Duration::from_secs(2_000),
                    share: 1.0,
                },
            }),
            ..Settings::default()
        };
        let policy = Policy::new(NAME, settings).expect("they make sense");
        let mut headers = HeaderMap::new();
        headers.insert(
            posthaste::policy::CRITICALITY_HEADER,
            HeaderValue::from_static("critical"),
        );
        let stranger = || Door::Quick(Criticality::Default).context(&headers);
        let vital = Door::Vital.context(&HeaderMap::new());
        assert_eq!(stranger().tier(), vital.tier());
        let order = RefCell::default();
        let (free, freed) = oneshot::channel::<()>();
        let holding = policy.with(Context::new()).run_once(async |_| {
            freed.await.expect("told");
            Ok::<_, Infallible>(())
        });
        let (held, (), (), (), ()) = tokio::join!(
            holding,
            noted(&policy, stranger(), "first", &order),
            noted(&policy, stranger(), "second", &order),
            noted(&policy, vital, "vital", &order),
            async { free.send(()).expect("somebody waits") },
        );
        held.expect("a place");
        assert_eq!(order.into_inner(), ["first", "vital", "second"]);
    }

    #[test]
    fn a_refusal_explains_itself_and_says_when_to_come_back() {
        let error = refused(&Refusal::QueueDelay {
            tier: Criticality::Batch,
            delay: Duration::from_millis(38),
            target: Duration::from_millis(5),
        });
        assert_eq!(error.kind(), ErrorKind::Overloaded);
        assert_eq!(error.retry_after(), Some(AGAIN_MS));
        let next = error.next_step().unwrap_or_default();
        assert!(
            next.contains("shed: batch, queue delay 38 ms > 5 ms"),
            "{next}"
        );
        let late = refused(&Refusal::Deadline {
            past: Duration::ZERO,
        });
        assert_eq!(late.kind(), ErrorKind::Deadline);
    }
}
