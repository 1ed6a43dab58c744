//! Topics: their numbers and their settings.

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use posthaste::wire;
use posthaste_core::topic::TopicView;
use posthaste_core::{Command, Commit, Error, ErrorKind, Result, TopicName};

use super::commit::one;
use super::{Answer, Served, body, json};

/// `GET /v1/topics`.
pub(super) async fn list(State(served): State<Served>) -> Answer {
    let topics = served.store.topics().await?;
    let topics = topics.iter().map(wire::TopicView::write).collect();
    json(StatusCode::OK, &wire::Topics { topics })
}

/// `GET /v1/topics/{topic}`.
pub(super) async fn show(State(served): State<Served>, Path(topic): Path<String>) -> Answer {
    let topic = TopicName::new(&topic)?;
    let view = look(&served, &topic).await?;
    json(StatusCode::OK, &wire::TopicView::write(&view))
}

/// How a topic is now.
pub(super) async fn look(served: &Served, topic: &TopicName) -> Result<TopicView> {
    let topics = served.store.topics().await?;
    let found = topics.into_iter().find(|view| view.name == *topic);
    found.ok_or_else(|| {
        Error::new(ErrorKind::NotFound, format!("there is no topic {topic}"))
            .next("make it with PUT, or publish to it")
    })
}

/// `PUT /v1/topics/{topic}`: what is absent stays as it is.
pub(super) async fn set(
    State(served): State<Served>,
    Path(topic): Path<String>,
    request: Request,
) -> Answer {
    let input = body::read(&served, request).await?;
    let topic = TopicName::new(&topic)?;
    let shape: wire::TopicSettings = wire::parse(&input.body)?;
    let commit = Commit {
        key: body::key(&input)?,
        commands: vec![Command::SetTopic {
            topic: topic.clone(),
            settings: shape.read()?,
        }],
    };
    one(&served, commit).await?;
    let view = look(&served, &topic).await?;
    json(StatusCode::OK, &wire::TopicView::write(&view))
}

/// `DELETE /v1/topics/{topic}`: with every event of it.
pub(super) async fn delete(
    State(served): State<Served>,
    Path(topic): Path<String>,
    request: Request,
) -> Answer {
    let input = body::read(&served, request).await?;
    let commit = Commit {
        key: body::key(&input)?,
        commands: vec![Command::DeleteTopic(TopicName::new(&topic)?)],
    };
    one(&served, commit).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
