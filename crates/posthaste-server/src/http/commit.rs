//! The commit verb as a route.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use posthaste::policy::Criticality;
use posthaste::wire;
use posthaste_core::topic::TopicView;
use posthaste_core::{Command, Commit, Committed, Error, ErrorKind, Position, Result};

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
    check_histories(&served, named_by_cursor(&shape.commands)).await?;
    let mut mint = Mint::new()?;
    let mut commands = shape.read(&mut || mint.id())?;
    let mut context = body::context(&input.parts.headers);
    if commands.iter().any(Command::is_vital) {
        // The request is critical for their sake, and not for that of what comes along.
        context = context.criticality(Criticality::Default);
    }
    commands
        .iter_mut()
        .for_each(|command| context.inherited_by(command));
    let committed = one(&served, Commit { key, commands }).await?;
    json(StatusCode::OK, &wire::Committed::write(&committed)?)
}

/// The topics and positions of the kept events that commands name by cursors.
pub(super) fn named_by_cursor(
    commands: &[wire::Command],
) -> impl Iterator<Item = (&str, Option<Position>)> {
    let named = commands.iter().filter_map(wire::Command::named_by_cursor);
    named.map(|(topic, position)| (topic, Some(position)))
}

/// Whether positions are of the histories of their topics.
///
/// # Errors
/// `Invalid` where one is not.
pub(super) async fn check_histories(
    served: &Served,
    named: impl IntoIterator<Item = (&str, Option<Position>)>,
) -> Result<()> {
    let mut topics = None;
    for (topic, position) in named {
        let Some(position) = position else {
            continue;
        };
        let known: &mut Vec<TopicView> = match &mut topics {
            Some(known) => known,
            none => none.insert(served.store.topics().await?),
        };
        // Where there is no such topic, the store says so.
        let mut of = known.iter().filter(|view| view.name.as_str() == topic);
        if of.any(|view| !position.is_of(view.end)) {
            let cursor = position.plus(1);
            let what = format!("the cursor {cursor} is of another history than the topic {topic}");
            let error = Error::new(ErrorKind::Invalid, what);
            return Err(error.next("give the cursor that was listed with the event"));
        }
    }
    Ok(())
}

/// Applies one commit, where its new work is taken now.
///
/// # Errors
/// That it isn't, or what the store answers.
pub(super) async fn one(served: &Served, commit: Commit) -> Result<Committed> {
    let Served {
        store, pressure, ..
    } = served;
    pressure.let_in(store, &commit.commands).await?;
    let mut answers = served.store.commit(vec![commit]).await?;
    answers.pop().unwrap_or_else(|| {
        Err(Error::new(
            ErrorKind::Uncertain,
            "the store gave no answer to the commit",
        )
        .next("see whether it happened, or repeat it under an Idempotency-Key"))
    })
}
