//! A slot: takes a job, runs its handler, hands its outcome on, and again.

use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context as Polling, Poll};

use posthaste_core::policy::{Refusal, Verdict};
use posthaste_core::{Outcome, Payload, WallMs};
use tracing::Span;

use super::batch::{Flag, Held, Phase, lock};
use super::engine::Engine;
use super::kinds::{Claim, Kind, given_back};
use super::lane::{Item, Lane};
use crate::carry;
use crate::context::{Cx, JobRequest};
use crate::enqueue::BoxFuture;
use crate::outcome::{BoxError, HandlerError, text, timed_out};
use crate::policy::{Context, Policy, PolicyError};

/// The shortest and the longest time for which a job is given back that has no time left: by then the store
/// has seen it too, and it is dead.
const LATE_MS: (u64, u64) = (1_000, 60_000);

/// Runs one slot until its lane is closed.
pub(super) async fn run(engine: Arc<Engine>, lane: Arc<Lane>, slot: usize) {
    let mut finished = false;
    while let Some(item) = lane.next(slot, finished).await {
        let held = item.held.clone();
        match attempt(&engine, &lane, item).await {
            Some(outcome) => engine.settler.settle(held, outcome).await,
            None => engine.settler.lost(&held),
        }
        finished = true;
        tokio::task::consume_budget().await;
    }
}

/// Runs the handler of one job, if it may start; none where the job is no longer ours.
async fn attempt(engine: &Engine, lane: &Lane, item: Item) -> Option<Outcome> {
    let Item {
        held,
        payload,
        claim,
    } = item;
    held.go(Phase::Running);
    let job = held.job();
    let now = engine.hub.now();
    let context = carry::of_job(job, now);
    if context.is_over() {
        let delay_ms = late_ms(job.deadline, now);
        let error = "its deadline passed before it started";
        return Some(given_back(delay_ms, error));
    }
    let kind = engine.kinds.of(&job.kind);
    // Before the retry budget: a job that does not start is not charged to it, and is no first attempt that
    // brings a share. And rather than wait for a place here: others may have one for it.
    if let Some(kind) = kind
        && let Some(Err(refusal)) = kind.policy.as_ref().map(Policy::peek)
    {
        return Some(engine.kinds.refused(kind, job, &refusal));
    }
    if let Err(put_off) = engine.kinds.start(kind, job, now) {
        return Some(put_off);
    }
    let span = tracing::info_span!(
        "job",
        kind = %job.kind,
        queue = %job.queue,
        id = %job.id,
        attempt = job.attempt
    );
    let ended = match kind.filter(|kind| kind.policy.is_some()) {
        Some(kind) => {
            let work = under_policy(engine, kind, &held, payload, context, claim);
            run_to_end(&held, lane, span, work).await
        }
        None => {
            let work = handled(engine, &held, payload, context);
            run_to_end(&held, lane, span, work).await
        }
    };
    if let (Some(kind), Some(outcome)) = (kind, &ended) {
        kind.ended(job, outcome);
    }
    ended
}

/// For how long a job is given back whose deadline passed before it started: for as long as that is past.
///
/// Where the clock of this worker is ahead of the store's, the store hands the job out until its own clock
/// is there too. With each claim the deadline is further past, so that the delay doubles: the job is claimed
/// a few times and not once a second, and a worker whose clock is right may have it in between. To leave
/// the judgement to the store would start a job that can call nobody, and spend an attempt on it.
fn late_ms(deadline: Option<WallMs>, now: WallMs) -> u64 {
    let past = deadline.map_or(0, |deadline| now.since(deadline));
    past.clamp(LATE_MS.0, LATE_MS.1)
}

/// Runs the handler under the policy of its kind, as one attempt of it.
async fn under_policy(
    engine: &Engine,
    kind: &Kind,
    held: &Held,
    payload: Payload,
    context: Context,
    claim: Option<Claim>,
) -> Outcome {
    let Some(policy) = &kind.policy else {
        return handled(engine, held, payload, context).await;
    };
    let number = context.attempt();
    let neutral = &Mutex::new(None);
    // Dropped after the call, whichever way that ends.
    let _leaves = kind.leaves();
    let work = move |attempt: crate::policy::Attempt| {
        kind.let_through();
        // It has its place.
        drop(claim);
        let context = attempt.context().clone().attempted(number);
        async move {
            let outcome = handled(engine, held, payload, context).await;
            if speaks_of_the_callee(held, &outcome) {
                return Ok::<_, Infallible>(outcome);
            }
            // What was dropped says nothing to a policy.
            *lock(neutral) = Some(outcome);
            std::future::pending().await
        }
    };
    let mut call = pin!(policy.with(context).judge(verdict).run_once(work));
    let ended = poll_fn(|polling| {
        let polled = call.as_mut().poll(polling);
        match (polled, lock(neutral).take()) {
            (Poll::Pending, Some(outcome)) => Poll::Ready(Ok(outcome)),
            (polled, _) => polled,
        }
    });
    let ended = ended.await;
    match ended {
        Ok(outcome) => outcome,
        Err(PolicyError::Refused(refusal @ Refusal::Chaos { .. })) => again(&refusal),
        Err(PolicyError::Refused(refusal)) => engine.kinds.refused(kind, held.job(), &refusal),
        Err(PolicyError::TimedOut { after, .. }) => {
            let after = posthaste_core::duration::print(after);
            again(&format_args!("timed out after {after}"))
        }
        Err(PolicyError::Failed { error, .. }) => match error {},
    }
}

fn again(error: &impl std::fmt::Display) -> Outcome {
    Outcome::Retry {
        error: text(error),
        delay_ms: None,
    }
}

/// Whether an outcome says anything about what the handler called: not where nothing was called, or the
/// payload could not be read, or the job was called off under way.
fn speaks_of_the_callee(held: &Held, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Release { .. } => false,
        Outcome::Retry { .. } => !held.is_cancelled(),
        _ => true,
    }
}

fn verdict(ended: &Result<Outcome, Infallible>) -> Verdict {
    match ended {
        Ok(Outcome::Retry { .. }) => Verdict::Retry,
        Ok(Outcome::Dead { .. }) => Verdict::Fatal,
        _ => Verdict::Ok,
    }
}

/// Runs the handler in its context. That it panics or takes too long is an outcome too.
async fn handled(engine: &Engine, held: &Held, payload: Payload, context: Context) -> Outcome {
    let cx = Cx::new(held.clone(), context.clone());
    let called = catch_unwind(AssertUnwindSafe(|| {
        context.enter(|| engine.service.call(JobRequest { cx, payload }))
    }));
    let mut future = match called {
        Ok(future) => Some(future),
        Err(panic) => return panicked(&*panic),
    };
    poll_fn(|polling| poll_handler(&mut future, held, &context, polling)).await
}

fn poll_handler(
    future: &mut Option<BoxFuture<Result<Outcome, BoxError>>>,
    held: &Held,
    context: &Context,
    polling: &mut Polling<'_>,
) -> Poll<Outcome> {
    if held.has(Flag::TimedOut) {
        abandon(future);
        return Poll::Ready(timed_out(held.job().timeout_ms));
    }
    let Some(running) = future.as_mut() else {
        return Poll::Pending;
    };
    let polled = catch_unwind(AssertUnwindSafe(|| {
        context.enter(|| running.as_mut().poll(polling))
    }));
    match polled {
        Ok(polled) => {
            polled.map(|ended| ended.unwrap_or_else(|error| HandlerError::from(error).outcome()))
        }
        Err(panic) => {
            abandon(future);
            Poll::Ready(panicked(&*panic))
        }
    }
}

/// Runs `work` to its end, or until something ends it from outside; none where the job is no longer ours.
async fn run_to_end(
    held: &Held,
    lane: &Lane,
    span: Span,
    work: impl Future<Output = Outcome>,
) -> Option<Outcome> {
    let mut work = pin!(Some(work));
    let mut waited = false;
    poll_fn(|polling| {
        let _entered = span.enter();
        poll_work(&mut work, held, polling, || {
            if !std::mem::replace(&mut waited, true) {
                lane.pass_on();
            }
        })
    })
    .await
}

fn poll_work<F: Future<Output = Outcome>>(
    work: &mut Pin<&mut Option<F>>,
    held: &Held,
    polling: &mut Polling<'_>,
    mut waits: impl FnMut(),
) -> Poll<Option<Outcome>> {
    // Once more where something was raised meanwhile.
    for _look in 0..2 {
        if let Some(ended) = ended(held) {
            drop_safely(work);
            return Poll::Ready(ended);
        }
        let Some(running) = work.as_mut().as_pin_mut() else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(outcome) = running.poll(polling) {
            return Poll::Ready(Some(outcome));
        }
        held.wake_on_flag(polling.waker());
        waits();
        if !must_stop(held) {
            return Poll::Pending;
        }
    }
    // What runs would have ended by now: this still waits for a place.
    let late = || given_back(LATE_MS.0, "it waited for a place for as long as it may run");
    let ended = ended(held).unwrap_or_else(|| Some(late()));
    drop_safely(work);
    Poll::Ready(ended)
}

fn must_stop(held: &Held) -> bool {
    let stops = [Flag::Lost, Flag::TimedOut, Flag::Leaving];
    held.is_flagged() && stops.into_iter().any(|flag| held.has(flag))
}

/// Drops what runs, whatever its parts do while they are dropped.
fn drop_safely<F>(work: &mut Pin<&mut Option<F>>) {
    if catch_unwind(AssertUnwindSafe(|| work.set(None))).is_err() {
        tracing::warn!("the handler panicked while it was dropped");
    }
}

/// Drops a handler, whatever its parts do while they are dropped.
fn abandon(future: &mut Option<BoxFuture<Result<Outcome, BoxError>>>) {
    let future = future.take();
    if catch_unwind(AssertUnwindSafe(|| drop(future))).is_err() {
        tracing::warn!("the handler panicked while it was dropped");
    }
}

/// Whether something ended the attempt from outside, and how; the inner none is "not ours". That it took
/// too long is for what runs to say.
fn ended(held: &Held) -> Option<Option<Outcome>> {
    if !held.is_flagged() {
        None
    } else if held.has(Flag::Lost) {
        tracing::warn!("the lease was lost; the handler is stopped");
        Some(None)
    } else if held.has(Flag::Leaving) && !held.has(Flag::TimedOut) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_is_late_by_this_clock_alone_is_claimed_few_times() {
        // The store's clock is five minutes behind, and gives the job out until it is there.
        let (deadline, behind) = (WallMs(1_000_000), 300_000);
        let (mut now, mut claims) = (deadline.plus(10), 0);
        while now < deadline.plus(behind) {
            now = now.plus(late_ms(Some(deadline), now));
            claims += 1;
        }
        assert!(claims <= 12, "{claims} claims");
    }

    #[test]
    fn how_long_a_late_job_is_given_back() {
        let check = |deadline: Option<u64>, now: u64, delay_ms: u64| {
            assert_eq!(late_ms(deadline.map(WallMs), WallMs(now)), delay_ms);
        };
        check(None, 50_000, 1_000);
        check(Some(50_000), 50_000, 1_000);
        check(Some(50_000), 53_000, 3_000);
        check(Some(50_000), 50_000_000, 60_000);
        // It is over for another reason.
        check(Some(60_000), 50_000, 1_000);
    }
}
