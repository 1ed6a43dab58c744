//! Whether the server lives, whether it is ready, and what it offers.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use posthaste::wire;

use super::{Answer, OPENAPI, Served, json};

/// `GET /livez`: the process answers. Says nothing of the store.
pub(super) async fn live() -> Response {
    ([(header::CONTENT_TYPE, "text/plain")], "live\n").into_response()
}

/// `GET /readyz`: 200 where new work is accepted, 503 where it isn't.
pub(super) async fn ready(State(served): State<Served>) -> Answer {
    let mut health = served.store.health().await?;
    if *served.draining.borrow() {
        health.accepting = false;
        health
            .problems
            .push("the server is shutting down".to_owned());
    }
    let status = if health.accepting {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    json(status, &wire::Health::write(&health))
}

/// `GET /openapi.json`.
pub(super) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}
