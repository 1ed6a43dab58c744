//! A slot: takes a line, runs the handlers of its events one after the other, hands on how they
//! ended, and again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use posthaste_core::duration;
use posthaste_core::group::EventOutcome;
use tracing::Span;

use super::context::{EventCx, EventRequest};
use super::ended::{Ended, key_goes_on};
use super::engine::{Engine, Watch};
use super::held::Held;
use super::lines::{Left, Rest, Run};

use super::shadow::Effects;
use crate::enqueue::BoxFuture;
use crate::outcome::{BoxError, HandlerError, text};

/// Runs one slot until the lines are closed.
pub(super) async fn run(engine: Arc<Engine>, slot: usize) {
    while let Some(run) = engine.lines.next(slot).await {
        line(&engine, &engine.watches[slot], run).await;
    }
}

/// Runs the events of a line, as far as they may be run.
async fn line(engine: &Engine, watch: &Watch, run: Run) {
    let hash = run.hash;
    let mut events = run.events;
    let mut ended: Vec<Ended> = Vec::with_capacity(events.len());
    let mut ran = 0;
    let mut left = Left::InTurn;
    while let Some(held) = events.pop_front() {
        if held.is_lost() {
            engine.settler.lost(1);
            continue;
        }
        let mut waited = false;
        let outcome = attempt(engine, watch, &held, &mut waited, &mut ended).await;
        ran += 1;
        let Some(outcome) = outcome else {
            engine.settler.lost(1);
            continue;
        };
        let mut one = end(engine, held, outcome);
        if !key_goes_on(&one.outcome) {
            left = Left::Blocked(one.held.clone());
        } else if !one.with.is_empty() {
            one.line_waits = true;
            left = Left::Settling;
        }
        let goes_on = matches!(left, Left::InTurn);
        ended.push(one);
        // A handler that waits is slow, and lets the other lines have their turn.
        if !goes_on || waited || engine.lines.is_closed() {
            break;
        }
        tokio::task::consume_budget().await;
    }
    let run = Run { hash, events };
    leave(engine, run, left, ran, ended).await;
}

/// Leaves a line, and hands on how its events ended.
///
/// A line that goes on is left last: whoever takes it next hands on how the next events ended, and
/// that goes behind this. A line that waits for the store is left first: the store may answer at once.
async fn leave(engine: &Engine, run: Run, left: Left, ran: u64, mut ended: Vec<Ended>) {
    if matches!(left, Left::InTurn) {
        engine.settler.settle(ended.drain(..));
    }
    let mut unstarted = None;
    match engine.lines.leave(run, left, ran, engine.now_ms()) {
        Rest::Waits => {}
        Rest::Gone(events) => match ended.last_mut() {
            Some(last) => last.behind += events,
            None => engine.settler.lost(events),
        },
        Rest::Unstarted(events) => unstarted = Ended::release(&events),
    }
    if !engine.settler.settle(ended.into_iter().chain(unstarted)) {
        engine.settler.wait_for_room().await;
    }
}

/// How an event ended, and what is committed with it.
fn end(engine: &Engine, held: Held, outcome: EventOutcome) -> Ended {
    let with = held.take_follow_ups();
    let mut ended = Ended::new(held, outcome);
    if with.is_empty() || !key_goes_on(&ended.outcome) {
        return ended;
    }
    if engine.shared.shadow == Some(Effects::Withheld) {
        engine.settler.counts.withheld(with.len());
        return ended;
    }
    ended.routed = ended.held.is_routed();
    ended.with = with;
    ended
}

/// Runs the handler of one event; none where the event is no longer ours. Where the handler has to
/// wait, what ended before is handed on meanwhile.
async fn attempt(
    engine: &Engine,
    watch: &Watch,
    held: &Held,
    waited: &mut bool,
    before: &mut Vec<Ended>,
) -> Option<EventOutcome> {
    let leased = held.leased();
    let span = tracing::info_span!(
        "event",
        topic = %engine.shared.topic,
        group = %engine.shared.group,
        event_type = leased.event.event_type.as_str(),
        position = leased.event.position.sequence,
        attempt = leased.attempt
    );
    watch.start(engine.now_ms());
    let cx = EventCx::new(held.clone(), engine.timeout_ms);
    let cx_of_calls = cx.context().clone();
    let called = span.in_scope(|| {
        catch_unwind(AssertUnwindSafe(|| {
            cx_of_calls.enter(|| engine.service.call(EventRequest { cx }))
        }))
    });
    let outcome = match called {
        Ok(future) => {
            let attempt = Attempt {
                future: Some(future),
                held,
                cx: cx_of_calls,
                watch,
                engine,
                span,
                waited,
                before,
            };
            attempt.await
        }
        Err(panic) => Some(panicked(&*panic)),
    };
    watch.stop();
    outcome
}

/// One run of a handler, which can be ended from outside.
struct Attempt<'a> {
    future: Option<BoxFuture<Result<EventOutcome, BoxError>>>,
    held: &'a Held,
    /// What its calls go on from.
    cx: crate::policy::Context,
    watch: &'a Watch,
    engine: &'a Engine,
    span: Span,
    waited: &'a mut bool,
    before: &'a mut Vec<Ended>,
}

impl Future for Attempt<'_> {
    type Output = Option<EventOutcome>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self {
            future,
            held,
            cx,
            watch,
            engine,
            span,
            waited,
            before,
        } = &mut *self;
        let _entered = span.enter();
        if let Some(ended) = ended(engine, held, watch) {
            abandon(future);
            return Poll::Ready(ended);
        }
        let Some(running) = future.as_mut() else {
            return Poll::Ready(None);
        };
        let polled = catch_unwind(AssertUnwindSafe(|| {
            cx.enter(|| running.as_mut().poll(context))
        }));
        let outcome = match polled {
            Ok(Poll::Ready(Ok(outcome))) => outcome,
            Ok(Poll::Ready(Err(error))) => HandlerError::from(error).event_outcome(),
            Err(panic) => {
                abandon(future);
                panicked(&*panic)
            }
            Ok(Poll::Pending) => {
                watch.wake_with(context.waker());
                if !std::mem::replace(*waited, true) {
                    engine.settler.settle(before.drain(..));
                    engine.lines.pass_on();
                }
                return match ended(engine, held, watch) {
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
fn abandon(future: &mut Option<BoxFuture<Result<EventOutcome, BoxError>>>) {
    let future = future.take();
    if catch_unwind(AssertUnwindSafe(|| drop(future))).is_err() {
        tracing::warn!("the handler panicked while it was dropped");
    }
}

/// Whether something ended the attempt from outside, and how; the inner none is "not ours".
fn ended(engine: &Engine, held: &Held, watch: &Watch) -> Option<Option<EventOutcome>> {
    if held.is_lost() {
        Some(None)
    } else if watch.is_timed_out() {
        let after = duration::print_ms(engine.timeout_ms.into());
        Some(Some(EventOutcome::Retry {
            error: text(&format_args!("timed out after {after}")),
            delay_ms: None,
        }))
    } else if held.is_leaving() {
        Some(Some(EventOutcome::Release))
    } else {
        None
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> EventOutcome {
    let said = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("with a value that is not text");
    tracing::error!(panic = said, "the handler panicked");
    EventOutcome::Retry {
        error: text(&format_args!("panicked: {said}")),
        delay_ms: None,
    }
}
