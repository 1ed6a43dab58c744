//! The routes, and what their handlers share.
//!
//! A handler reads a shape, asks the store one thing, and writes a shape. Limits on bodies are
//! kept in `body`, errors are written in `refusal`; nothing here decides anything about a job.

mod admission;
mod body;
mod commit;
mod context;
mod events;
mod granted;
mod groups;
mod guard;
mod jobs;
mod kept;
mod leases;
mod members;
mod metrics;
mod operate;
mod pressure;
mod push;
mod query;
mod queues;
mod refusal;
mod topics;

use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing;
use bytes::Bytes;
use posthaste::policy::{Criticality, Policies, Policy};
use posthaste_core::{Error, ErrorKind, Store};
use tokio::sync::{Semaphore, watch};

use admission::Door;
pub use admission::admission;
pub(crate) use granted::Line;
pub use push::Streams;
pub(crate) use push::{Held, Streamed};
use refusal::Refusal;

/// The description of every route, as `/openapi.json` gives it.
pub const OPENAPI: &str = include_str!("openapi.json");

/// What a handler answers.
type Answer = Result<Response, Refusal>;

/// A store that is served, and what its handlers share.
#[derive(Clone)]
pub struct Served {
    store: Arc<dyn Store>,
    draining: Arc<watch::Sender<bool>>,
    large_bodies: Arc<Semaphore>,
    push: push::Push,
    admission: Option<Policy>,
    policies: Policies,
    pressure: pressure::Pressure,
}

impl Served {
    /// Serves `store`. The caller closes it, after the drain.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        let feeds = push::Feeds::new(Arc::clone(&store));
        let served = Self {
            push: push::Push::new(feeds, Streams::default()),
            store,
            draining: Arc::new(watch::Sender::new(false)),
            large_bodies: Arc::new(Semaphore::new(body::LARGE_BODIES_MAX)),
            admission: None,
            policies: Policies::new(),
            pressure: pressure::Pressure::default(),
        };
        let policy = match Policy::new(admission::NAME, admission()) {
            Ok(policy) => policy,
            Err(error) => unreachable!("a test checks the settings: {error}"),
        };
        served.with_admission(Some(policy))
    }

    /// The same, with other limits of streams.
    #[must_use]
    pub fn with_streams(self, streams: Streams) -> Self {
        Self {
            push: self.push.with(streams),
            ..self
        }
    }

    /// The same, with requests let in under another policy than that of [`admission`], or under none.
    #[must_use]
    pub fn with_admission(self, policy: Option<Policy>) -> Self {
        let policies = Policies::new();
        if let Some(policy) = &policy {
            // It is the only one, so that its name is free.
            drop(policies.add(policy.clone()));
        }
        Self {
            admission: policy,
            policies,
            ..self
        }
    }

    /// The same, with at most so many jobs that wait: ready ones, and those between two attempts.
    /// Where there are more, new ones are refused: `best-effort` from 70 % on, `batch` from 80 %,
    /// `default` at 100 %, `critical` at 110 %.
    #[must_use]
    pub fn with_backlog_max(self, most: u64) -> Self {
        Self {
            pressure: pressure::Pressure::new(Some(most)),
            ..self
        }
    }

    /// The means to end long waits, for whoever shuts the server down.
    #[must_use]
    pub fn drain(&self) -> Drain {
        Drain(Arc::clone(&self.draining))
    }

    /// Ready once the server drains.
    async fn drained(&self) {
        // The sender lives in this value, so that an error cannot come.
        drop(
            self.draining
                .subscribe()
                .wait_for(|draining| *draining)
                .await,
        );
    }
}

impl std::fmt::Debug for Served {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Served").finish_non_exhaustive()
    }
}

/// Ends the long waits of a [`Served`] store.
#[derive(Clone, Debug)]
pub struct Drain(Arc<watch::Sender<bool>>);

impl Drain {
    /// From now on nothing waits: asks for work and for events answer with what there is, streams
    /// end, `/readyz` says 503.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }
}

macro_rules! routes {
    ($($method:ident $path:literal => $handler:path, $door:expr;)*) => {
        /// Every route: its method in lower case, and its path.
        pub const ROUTES: &[(&str, &str)] = &[$((stringify!($method), $path)),*];

        fn routed(served: &Served) -> Router<Served> {
            use admission::enter;
            use axum::middleware::from_fn_with_state as under;
            Router::new()$(.route($path, routing::$method($handler)
                .route_layer(under((served.clone(), $door), enter))))*
        }
    };
}

/// A quick request, which matters as most do.
const QUICK: Door = Door::Quick(Criticality::Default);
/// A quick request for which nobody should be kept waiting: pages of lists, and slices of sweeps.
const LATER: Door = Door::Quick(Criticality::Batch);
/// A look at something, which may be asked to wait until there is more to see.
const MAY_WAIT: Door = Door::MayWait(Criticality::Default);

routes! {
    post "/v1/jobs" => jobs::enqueue, QUICK;
    get "/v1/jobs" => jobs::list, LATER;
    get "/v1/jobs/{id}" => jobs::show, MAY_WAIT;
    patch "/v1/jobs/{id}" => jobs::edit, QUICK;
    delete "/v1/jobs/{id}" => jobs::delete, QUICK;
    post "/v1/jobs/{id}/cancel" => jobs::cancel, QUICK;
    post "/v1/jobs/{id}/retry" => jobs::retry, QUICK;
    get "/v1/jobs/{id}/events" => push::follow_job, Door::Waits;
    post "/v1/jobs/redrive" => jobs::redrive_many, LATER;
    post "/v1/jobs/prune" => jobs::prune_many, LATER;
    post "/v1/jobs/delete" => jobs::delete_many, LATER;
    post "/v1/leases" => leases::lease, Door::Waits;
    post "/v1/leases/heartbeat" => leases::heartbeat, Door::Vital;
    post "/v1/leases/settle" => leases::settle, Door::Vital;
    get "/v1/queues" => queues::list, QUICK;
    put "/v1/queues/{queue}" => queues::configure, Door::Vital;
    post "/v1/queues/{queue}/pause" => queues::pause, Door::Vital;
    post "/v1/queues/{queue}/resume" => queues::resume, Door::Vital;
    get "/v1/topics" => topics::list, QUICK;
    get "/v1/topics/{topic}" => topics::show, QUICK;
    put "/v1/topics/{topic}" => topics::set, QUICK;
    delete "/v1/topics/{topic}" => topics::delete, QUICK;
    post "/v1/topics/{topic}/events" => events::publish, QUICK;
    get "/v1/topics/{topic}/events" => events::read, MAY_WAIT;
    get "/v1/topics/{topic}/stream" => push::follow, Door::Waits;
    get "/v1/groups" => groups::list, QUICK;
    get "/v1/groups/{topic}/{group}" => groups::show, MAY_WAIT;
    put "/v1/groups/{topic}/{group}" => groups::set, QUICK;
    delete "/v1/groups/{topic}/{group}" => groups::delete, QUICK;
    post "/v1/groups/{topic}/{group}/pause" => groups::pause, Door::Vital;
    post "/v1/groups/{topic}/{group}/resume" => groups::resume, Door::Vital;
    post "/v1/groups/{topic}/{group}/reset" => groups::reset, QUICK;
    post "/v1/groups/{topic}/{group}/lease" => members::lease, Door::Waits;
    post "/v1/groups/{topic}/{group}/heartbeat" => members::heartbeat, Door::Vital;
    post "/v1/groups/{topic}/{group}/settle" => members::settle, Door::Vital;
    post "/v1/groups/{topic}/{group}/leave" => members::leave, Door::Vital;
    get "/v1/groups/{topic}/{group}/parked" => kept::parked, LATER;
    post "/v1/groups/{topic}/{group}/parked/release" => kept::release, QUICK;
    post "/v1/groups/{topic}/{group}/parked/skip" => kept::skip, QUICK;
    get "/v1/groups/{topic}/{group}/dead" => kept::dead, LATER;
    post "/v1/groups/{topic}/{group}/dead/redrive" => kept::redrive, QUICK;
    post "/v1/commit" => commit::commit, QUICK;
    get "/livez" => operate::live, Door::Open;
    get "/readyz" => operate::ready, Door::Open;
    get "/metrics" => metrics::metrics, Door::Open;
    get "/openapi.json" => operate::openapi, Door::Open;
}

/// The HTTP surface of a store.
///
/// Requests that a browser sends on behalf of another site are refused, because nobody is asked
/// for a key.
///
/// Mounted in a server other than [`server`](crate::server), an answer that grants leases counts as
/// told once that server has it; those that do not get to their client lapse then.
pub fn router(served: Served) -> Router {
    routed(&served)
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(axum::middleware::from_fn(guard::refuse_other_sites))
        .with_state(served)
}

async fn no_such_route(uri: axum::http::Uri) -> Refusal {
    Refusal(
        Error::new(
            ErrorKind::NotFound,
            format!("there is nothing at {}", uri.path()),
        )
        .next("see /openapi.json for every route"),
    )
}

async fn no_such_method(method: axum::http::Method, uri: axum::http::Uri) -> Response {
    let error = Error::new(
        ErrorKind::Invalid,
        format!("{} does not take {method}", uri.path()),
    )
    .next("see the Allow header, or /openapi.json");
    refusal::with_status(&error, StatusCode::METHOD_NOT_ALLOWED)
}

/// A shape as a JSON answer.
fn json(status: StatusCode, shape: &impl serde::Serialize) -> Answer {
    Ok(with_body(status, written(shape)?.into()))
}

/// A shape as JSON.
fn written(shape: &impl serde::Serialize) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(shape).map_err(|error| {
        Refusal(Error::new(
            ErrorKind::Io,
            format!("the answer could not be written: {error}"),
        ))
    })
}

fn with_body(status: StatusCode, json: Bytes) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], json).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_document_describes_every_route_and_no_other() {
        let document: serde_json::Value = serde_json::from_str(OPENAPI).expect("JSON");
        let paths = document["paths"].as_object().expect("paths");
        let described: BTreeSet<(String, String)> = paths
            .iter()
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().expect("methods").keys();
                methods
                    .filter(|method| *method != "parameters")
                    .map(|method| (method.clone(), path.clone()))
            })
            .collect();
        let routed = ROUTES
            .iter()
            .map(|(method, path)| ((*method).to_owned(), (*path).to_owned()));
        assert_eq!(described, routed.collect());
    }

    #[test]
    fn every_reference_of_the_document_leads_somewhere() {
        let document: serde_json::Value = serde_json::from_str(OPENAPI).expect("JSON");
        let mut references = Vec::new();
        collect(&document, &mut references);
        assert!(references.len() > 30, "{}", references.len());
        for reference in references {
            let pointer = reference.strip_prefix('#').expect("a local reference");
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    fn collect<'a>(value: &'a serde_json::Value, into: &mut Vec<&'a str>) {
        match value {
            serde_json::Value::Object(fields) => {
                into.extend(fields.get("$ref").and_then(|to| to.as_str()));
                fields.values().for_each(|value| collect(value, into));
            }
            serde_json::Value::Array(items) => items.iter().for_each(|value| collect(value, into)),
            _ => {}
        }
    }
}
