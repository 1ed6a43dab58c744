//! Queues: their numbers and their settings.

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use posthaste::wire;
use posthaste_core::command::QueueSettings;
use posthaste_core::{Command, Commit, Error, ErrorKind, QueueName};

use super::commit::one;
use super::{Answer, Served, body, json};

/// `GET /v1/queues`.
pub(super) async fn list(State(served): State<Served>) -> Answer {
    let queues = served.store.queues().await?;
    let queues = queues.iter().map(wire::QueueView::write).collect();
    json(StatusCode::OK, &wire::Queues { queues })
}

/// `PUT /v1/queues/{queue}`: what is absent stays as it is.
pub(super) async fn configure(
    State(served): State<Served>,
    Path(queue): Path<String>,
    request: Request,
) -> Answer {
    let input = body::read(&served, request).await?;
    let shape: wire::QueueSettings = wire::parse(&input.body)?;
    set(&served, &input, &queue, shape.read()).await
}

/// `POST /v1/queues/{queue}/pause`.
pub(super) async fn pause(
    State(served): State<Served>,
    Path(queue): Path<String>,
    request: Request,
) -> Answer {
    let input = body::read(&served, request).await?;
    set(&served, &input, &queue, paused(true)).await
}

/// `POST /v1/queues/{queue}/resume`.
pub(super) async fn resume(
    State(served): State<Served>,
    Path(queue): Path<String>,
    request: Request,
) -> Answer {
    let input = body::read(&served, request).await?;
    set(&served, &input, &queue, paused(false)).await
}

fn paused(paused: bool) -> QueueSettings {
    QueueSettings {
        paused: Some(paused),
        ..QueueSettings::default()
    }
}

async fn set(
    served: &Served,
    input: &body::Input<'_>,
    queue: &str,
    settings: QueueSettings,
) -> Answer {
    let queue = QueueName::new(queue)?;
    let commit = Commit {
        key: body::key(input)?,
        commands: vec![Command::Configure {
            queue: queue.clone(),
            settings,
        }],
    };
    one(served, commit).await?;
    let queues = served.store.queues().await?;
    let view = queues.iter().find(|view| view.name == queue);
    let view = view.ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            format!("the queue {queue} is gone again"),
        )
    })?;
    json(StatusCode::OK, &wire::QueueView::write(view))
}
