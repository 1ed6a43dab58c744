//! The commit verb as a route.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use posthaste::wire;
use posthaste_core::{Commit, Committed, Error, ErrorKind, Result};

use super::{Answer, Served, body, json};
use crate::mint::Mint;

/// `POST /v1/commit`.
pub(super) async fn commit(State(served): State<Served>, request: Request) -> Answer {
    let input = body::read(&served, request).await?;
    let shape: wire::Commit = wire::parse(&input.body)?;
    let mut key = body::key(&input)?;
    if let (Some(key), Some(digest)) = (&mut key, shape.read_digest()?) {
        key.digest = digest;
    }
    let mut mint = Mint::new()?;
    let commands = shape.read(&mut || mint.id())?;
    let committed = one(&served, Commit { key, commands }).await?;
    json(StatusCode::OK, &wire::Committed::write(&committed)?)
}

/// Applies one commit.
///
/// # Errors
/// What the store answers.
pub(super) async fn one(served: &Served, commit: Commit) -> Result<Committed> {
    let mut answers = served.store.commit(vec![commit]).await?;
    answers.pop().unwrap_or_else(|| {
        Err(Error::new(
            ErrorKind::Uncertain,
            "the store gave no answer to the commit",
        )
        .next("see whether it happened, or repeat it under an Idempotency-Key"))
    })
}
