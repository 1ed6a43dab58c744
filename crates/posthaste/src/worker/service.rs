//! Handlers by kind, and the layers around them.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use posthaste_core::{KindName, Outcome};
use tower_layer::Layer;
use tower_service::Service;

use super::batch::lock;
use crate::context::{JobRequest, States};
use crate::enqueue::BoxFuture;
use crate::handler::AnyHandler;
use crate::outcome::{BoxError, HandlerError};

/// The handlers of a worker as a tower service: what layers are put around.
///
/// Its response is how the attempt ended. Its error is a payload that the handler can't read; a
/// layer may add errors of its own, which mean "try again" unless they come from
/// [`HandlerError::into_error`].
#[derive(Clone)]
pub struct JobService(Arc<dyn Call>);

/// Something that takes jobs.
trait Call: Send + Sync {
    fn call(&self, request: JobRequest) -> BoxFuture<Result<Outcome, BoxError>>;
}

impl JobService {
    pub(super) fn new(handlers: Handlers, states: States) -> Self {
        Self(Arc::new(Dispatch { handlers, states }))
    }

    /// The service with `layer` around it.
    pub(super) fn layered<L>(self, layer: &L) -> Self
    where
        L: Layer<JobService>,
        L::Service: Service<JobRequest, Response = Outcome> + Clone + Send + 'static,
        <L::Service as Service<JobRequest>>::Error: Into<BoxError>,
        <L::Service as Service<JobRequest>>::Future: Send,
    {
        Self(Arc::new(Layered(Mutex::new(layer.layer(self)))))
    }

    pub(super) fn call(&self, request: JobRequest) -> BoxFuture<Result<Outcome, BoxError>> {
        self.0.call(request)
    }
}

impl Service<JobRequest> for JobService {
    type Response = Outcome;
    type Error = BoxError;
    type Future = BoxFuture<Result<Outcome, BoxError>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: JobRequest) -> Self::Future {
        self.0.call(request)
    }
}

impl std::fmt::Debug for JobService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobService").finish_non_exhaustive()
    }
}

/// The handlers of a worker.
#[derive(Clone, Default)]
pub(super) struct Handlers {
    pub(super) by_kind: HashMap<KindName, Arc<dyn AnyHandler>>,
    /// For kinds without a handler of their own.
    pub(super) any: Option<Arc<dyn AnyHandler>>,
}

struct Dispatch {
    handlers: Handlers,
    states: States,
}

impl Call for Dispatch {
    fn call(&self, request: JobRequest) -> BoxFuture<Result<Outcome, BoxError>> {
        let handler = self
            .handlers
            .by_kind
            .get(request.cx.kind())
            .or(self.handlers.any.as_ref());
        match handler {
            Some(handler) => handler.call(request, &self.states),
            None => {
                let unknown = format!("no handler for the kind {}", request.cx.kind());
                let error = HandlerError::undecodable(unknown).into_error();
                Box::pin(std::future::ready(Err(error)))
            }
        }
    }
}

/// A service with layers: each job is called on a clone of its own.
struct Layered<S>(Mutex<S>);

impl<S> Call for Layered<S>
where
    S: Service<JobRequest, Response = Outcome> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    fn call(&self, request: JobRequest) -> BoxFuture<Result<Outcome, BoxError>> {
        let mut service = lock(&self.0).clone();
        Box::pin(async move {
            poll_fn(|context| service.poll_ready(context))
                .await
                .map_err(Into::into)?;
            service.call(request).await.map_err(Into::into)
        })
    }
}
