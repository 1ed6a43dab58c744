//! A slot: takes a job, runs its handler, hands its outcome on, and again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use posthaste_core::{Outcome, Payload};
use tracing::Span;

use super::batch::{Flag, Held, Phase};
use super::engine::Engine;
use super::lane::{Item, Lane};
use crate::context::{Cx, JobRequest};
use crate::enqueue::BoxFuture;
use crate::outcome::{BoxError, HandlerError, text, timed_out};

/// Runs one slot until its lane is closed.
pub(super) async fn run(engine: Arc<Engine>, lane: Arc<Lane>, slot: usize) {
    let mut finished = false;
    while let Some(item) = lane.next(slot, finished).await {
        let Item { held, payload } = item;
        match attempt(&engine, &lane, &held, payload).await {
            Some(outcome) => engine.settler.settle(held, outcome).await,
            None => engine.settler.lost(&held),
        }
        finished = true;
        tokio::task::consume_budget().await;
    }
}

/// Runs the handler of one job; none where the job is no longer ours.
async fn attempt(engine: &Engine, lane: &Lane, held: &Held, payload: Payload) -> Option<Outcome> {
    held.go(Phase::Running);
    let job = held.job();
    let span = tracing::info_span!(
        "job",
        kind = %job.kind,
        queue = %job.queue,
        id = %job.id,
        attempt = job.attempt
    );
    let cx = Cx::new(held.clone());
    let called = span.in_scope(|| {
        catch_unwind(AssertUnwindSafe(|| {
            engine.service.call(JobRequest { cx, payload })
        }))
    });
    match called {
        Ok(future) => {
            let attempt = Attempt {
                future: Some(future),
                held,
                lane,
                span,
                waited: false,
            };
            attempt.await
        }
        Err(panic) => Some(panicked(&*panic)),
    }
}

/// One run of a handler, which can be ended from outside.
struct Attempt<'a> {
    future: Option<BoxFuture<Result<Outcome, BoxError>>>,
    held: &'a Held,
    lane: &'a Lane,
    span: Span,
    waited: bool,
}

impl Future for Attempt<'_> {
    type Output = Option<Outcome>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self {
            future,
            held,
            lane,
            span,
            waited,
        } = &mut *self;
        let _entered = span.enter();
        if let Some(ended) = ended(held) {
            abandon(future);
            return Poll::Ready(ended);
        }
        let Some(running) = future.as_mut() else {
            return Poll::Ready(None);
        };
        let polled = catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(context)));
        let outcome = match polled {
            Ok(Poll::Ready(Ok(outcome))) => outcome,
            Ok(Poll::Ready(Err(error))) => HandlerError::from(error).outcome(),
            Err(panic) => {
                abandon(future);
                panicked(&*panic)
            }
            Ok(Poll::Pending) => {
                held.wake_on_flag(context.waker());
                if !std::mem::replace(waited, true) {
                    lane.pass_on();
                }
                return match ended(held) {
                    Some(ended) => {
                        abandon(future);
                        Poll::Ready(ended)
                    }
                    None => Poll::Pending,
                };
            }
        };
        Poll::Ready(Some(outcome))
    }
}

/// Drops a handler, whatever its parts do while they are dropped.
fn abandon(future: &mut Option<BoxFuture<Result<Outcome, BoxError>>>) {
    let future = future.take();
    if catch_unwind(AssertUnwindSafe(|| drop(future))).is_err() {
        tracing::warn!("the handler panicked while it was dropped");
    }
}

/// Whether something ended the attempt from outside, and how; the inner none is "not ours".
fn ended(held: &Held) -> Option<Option<Outcome>> {
    if !held.is_flagged() {
        None
    } else if held.has(Flag::Lost) {
        tracing::warn!("the lease was lost; the handler is stopped");
        Some(None)
    } else if held.has(Flag::TimedOut) {
        Some(Some(timed_out(held.job().timeout_ms)))
    } else if held.has(Flag::Leaving) {
        Some(Some(Outcome::Release {
            delay_ms: 0,
            undecodable: false,
            error: None,
        }))
    } else {
        None
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Outcome {
    let said = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("with a value that is not text");
    tracing::error!(panic = said, "the handler panicked");
    Outcome::Retry {
        error: text(&format_args!("panicked: {said}")),
        delay_ms: None,
    }
}
