//! Errors as problem documents.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use posthaste::wire::{self, Problem};
use posthaste_core::{Error, ErrorKind};

/// An error that is answered as `application/problem+json`.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) Error);

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(wire::status(self.0.kind()));
        with_status(&self.0, status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
    }
}

/// The same, under a status that HTTP has a better word for than the error's kind.
pub(super) fn with_status(error: &Error, status: StatusCode) -> Response {
    let mut problem = Problem::write(error);
    problem.status = status.as_u16();
    problem
        .detail
        .get_or_insert_with(|| advice(error.kind()).to_owned());
    // A problem has nothing in it that JSON cannot say; an empty body is still the right status.
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let kind = [(header::CONTENT_TYPE, "application/problem+json")];
    let mut response = (status, kind, body).into_response();
    if let Some(ms) = error.retry_after() {
        let seconds = HeaderValue::from(ms.div_ceil(1000));
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    response
}

/// What to do next where the error itself has no better advice.
fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Invalid | ErrorKind::TooLarge => "see /openapi.json for what is taken",
        ErrorKind::NotFound => "it may have been deleted, or forgotten after its retention",
        ErrorKind::Conflict => "look at it with GET /v1/jobs/{id}, and try what its state allows",
        ErrorKind::KeyReused => "use a key of its own for another request",
        ErrorKind::UniqueConflict => "wait for the job that holds the key, or leave this one out",
        ErrorKind::Stale | ErrorKind::UnknownLease => {
            "stop working on the job: another worker may have it"
        }
        ErrorKind::SettledOtherwise => "leave it: the first outcome stays",
        ErrorKind::Busy | ErrorKind::Overloaded => "try again in a moment",
        ErrorKind::Deadline => "give it more time, or ask for less",
        ErrorKind::DiskFull => "make room on the disk; settling and deleting go on meanwhile",
        ErrorKind::Uncertain => {
            "see whether it happened, or repeat it under the same Idempotency-Key"
        }
        ErrorKind::Closed | ErrorKind::Unavailable | ErrorKind::Locked => "try again later",
        ErrorKind::Corrupt => "stop the server and run posthaste verify",
        ErrorKind::NewerFormat => "run the version that wrote the store, or a newer one",
        ErrorKind::Unsupported => "use a store that can do it",
        _ => "look at the server's standard error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_error_has_its_documented_status() {
        let page = include_str!("../../../../docs/http.md");
        for kind in ErrorKind::ALL {
            let row = format!("| `{}` | {} |", kind.slug(), wire::status(kind));
            assert!(page.contains(&row), "docs/http.md has no {row:?}");
        }
    }
}
