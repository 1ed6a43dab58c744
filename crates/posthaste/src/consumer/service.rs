//! Handlers by type, and the layers around them.

use std::collections::HashMap;
use std::future::{poll_fn, ready};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use posthaste_core::Text;
use posthaste_core::group::EventOutcome;
use tower_layer::Layer;
use tower_service::Service;

use super::context::EventRequest;
use super::handler::AnyEventHandler;
use crate::context::States;
use crate::enqueue::BoxFuture;
use crate::outcome::{BoxError, text};
use crate::worker::batch::lock;

/// The handlers of a consumer as a tower service: what layers are put around.
///
/// Its response is how the handling ended. Its error is an event that the handler can't read; a
/// layer may add errors of its own, which mean "try again" unless they come from
/// [`HandlerError::into_error`](crate::HandlerError::into_error).
#[derive(Clone)]
pub struct EventService(Arc<dyn Call>);

/// Something that takes events.
trait Call: Send + Sync {
    fn call(&self, request: EventRequest) -> BoxFuture<Result<EventOutcome, BoxError>>;
}

impl EventService {
    pub(super) fn new(handlers: Handlers, states: States) -> Self {
        Self(Arc::new(Dispatch { handlers, states }))
    }

    /// The service with `layer` around it.
    pub(super) fn layered<L>(self, layer: &L) -> Self
    where
        L: Layer<EventService>,
        L::Service: Service<EventRequest, Response = EventOutcome> + Clone + Send + 'static,
        <L::Service as Service<EventRequest>>::Error: Into<BoxError>,
        <L::Service as Service<EventRequest>>::Future: Send,
    {
        Self(Arc::new(Layered(Mutex::new(layer.layer(self)))))
    }

    pub(super) fn call(&self, request: EventRequest) -> BoxFuture<Result<EventOutcome, BoxError>> {
        self.0.call(request)
    }
}

impl Service<EventRequest> for EventService {
    type Response = EventOutcome;
    type Error = BoxError;
    type Future = BoxFuture<Result<EventOutcome, BoxError>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: EventRequest) -> Self::Future {
        self.0.call(request)
    }
}

impl std::fmt::Debug for EventService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventService").finish_non_exhaustive()
    }
}

/// What becomes of events that no handler takes: see
/// [`Consumer::otherwise`](super::Consumer::otherwise). A tombstone that no handler takes is always
/// passed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Otherwise {
    /// They are passed over, and counted as skipped: most groups care for some types of a topic only.
    #[default]
    Skip,
    /// They are parked, and the later ones of their keys behind them: for a group that has to handle
    /// everything, where a type without a handler is a mistake.
    Park,
    /// They go to the dead letters, and their keys move on.
    Dead,
}

/// The handlers of a consumer.
#[derive(Default)]
pub(super) struct Handlers {
    pub(super) by_type: HashMap<Text, Entry>,
    /// For types without a handler of their own.
    pub(super) any: Option<Arc<dyn AnyEventHandler>>,
    pub(super) otherwise: Otherwise,
}

/// The handler of one type.
pub(super) struct Entry {
    pub(super) handler: Arc<dyn AnyEventHandler>,
    /// It reads payloads: the end of a key is not for it.
    pub(super) reads: bool,
}

struct Dispatch {
    handlers: Handlers,
    states: States,
}

impl Call for Dispatch {
    fn call(&self, request: EventRequest) -> BoxFuture<Result<EventOutcome, BoxError>> {
        let event = request.cx.event();
        let entry = self.handlers.by_type.get(&event.event_type);
        let entry = entry.filter(|entry| !entry.reads || event.payload.is_some());
        let handler = entry.map(|entry| &entry.handler);
        match handler.or(self.handlers.any.as_ref()) {
            Some(handler) => handler.call(request, &self.states),
            None => {
                let otherwise = match event.payload {
                    Some(_) => self.handlers.otherwise,
                    None => Otherwise::Skip,
                };
                Box::pin(ready(Ok(otherwise.outcome(&event.event_type))))
            }
        }
    }
}

impl Otherwise {
    fn outcome(self, event_type: &str) -> EventOutcome {
        let said = text(&format_args!("no handler for events of type {event_type}"));
        match self {
            Self::Skip => EventOutcome::Skip { reason: said },
            Self::Park => EventOutcome::Park { error: said },
            Self::Dead => EventOutcome::Dead { error: said },
        }
    }
}

/// A service with layers: each event is called on a clone of its own.
struct Layered<S>(Mutex<S>);

impl<S> Call for Layered<S>
where
    S: Service<EventRequest, Response = EventOutcome> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    fn call(&self, request: EventRequest) -> BoxFuture<Result<EventOutcome, BoxError>> {
        let mut service = lock(&self.0).clone();
        Box::pin(async move {
            poll_fn(|context| service.poll_ready(context))
                .await
                .map_err(Into::into)?;
            service.call(request).await.map_err(Into::into)
        })
    }
}
