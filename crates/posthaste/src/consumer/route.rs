//! Routes: events that become jobs, in one atomic step.

use std::future::ready;
use std::marker::PhantomData;

use posthaste_core::group::EventOutcome;
use posthaste_core::{Result, limits};
use sha2::{Digest as _, Sha256};

use super::context::{EventCx, EventRequest};
use super::handler::{AnyEventHandler, FromEvent};
use crate::context::States;
use crate::draft::{Draft, IntoDraft};
use crate::enqueue::BoxFuture;
use crate::outcome::{BoxError, HandlerError};

/// What a route may make of an event: a job, maybe a job, or several drafts.
pub trait IntoRoute {
    /// The jobs; none is "this event is not routed".
    fn into_route(self) -> Vec<Draft>;
}

impl<D: IntoDraft> IntoRoute for D {
    fn into_route(self) -> Vec<Draft> {
        vec![self.into_draft()]
    }
}

impl<D: IntoDraft> IntoRoute for Option<D> {
    fn into_route(self) -> Vec<Draft> {
        self.into_iter().map(IntoDraft::into_draft).collect()
    }
}

impl IntoRoute for Vec<Draft> {
    fn into_route(self) -> Vec<Draft> {
        self
    }
}

/// A route as a handler.
pub(super) struct Route<F, I> {
    to: F,
    of: PhantomData<fn(I)>,
}

impl<F, I> Route<F, I> {
    pub(super) fn new(to: F) -> Self {
        Self {
            to,
            of: PhantomData,
        }
    }
}

impl<F, I, R> AnyEventHandler for Route<F, I>
where
    F: Fn(I) -> R + Send + Sync,
    I: FromEvent,
    R: IntoRoute,
{
    fn check(&self, _states: &States) -> Result<()> {
        Ok(())
    }

    fn call(
        &self,
        request: EventRequest,
        _states: &States,
    ) -> BoxFuture<Result<EventOutcome, BoxError>> {
        let cx = &request.cx;
        let outcome = match I::from_event(cx.event()) {
            Ok(event) => route(cx, (self.to)(event).into_route()),
            Err(error) => Err(HandlerError::undecodable(error).into_error()),
        };
        Box::pin(ready(outcome))
    }
}

/// Enqueues the jobs with the settle of the event.
fn route(cx: &EventCx, jobs: Vec<Draft>) -> Result<EventOutcome, BoxError> {
    if jobs.is_empty() {
        return Ok(EventOutcome::Skip {
            reason: "not routed".into(),
        });
    }
    cx.routed();
    for (index, job) in jobs.into_iter().enumerate() {
        let job = job.map(|job| {
            if job.idempotency_key.is_none() {
                job.idempotency_key = Some(key(cx, job.kind.as_str(), index).into());
            }
            Ok(())
        });
        cx.enqueue(job)
            .map_err(|error| HandlerError::new(error).dead().into_error())?;
    }
    Ok(EventOutcome::Done)
}

/// The key of a job that an event becomes: one job for one event, group and kind.
fn key(cx: &EventCx, kind: &str, index: usize) -> String {
    let (topic, group) = (cx.topic(), cx.group());
    let event = cx.idempotency_key();
    let key = format!("route {topic} {group} {kind} {index} {event}");
    if key.len() <= limits::KEY_BYTES_MAX {
        return key;
    }
    let digest = Sha256::digest(key.as_bytes());
    let digits = digest.iter().map(|byte| format!("{byte:02x}"));
    format!("route {}", digits.collect::<String>())
}
