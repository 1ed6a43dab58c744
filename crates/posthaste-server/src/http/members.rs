//! What members of groups do: asking for events, saying they are alive, settling, leaving.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use posthaste::wire;
use posthaste_core::group::EventAsk;
use posthaste_core::{Command, Commit, Error, ErrorKind, Reply, Result, Token};

use super::commit::{check_histories, named_by_cursor, one};
use super::granted::{Handed, Line, granted};
use super::groups::{Names, names};
use super::{Answer, Served, body, context, json, with_body, written};
use crate::mint::Mint;

/// `POST /v1/groups/{topic}/{group}/lease`. A client that hangs up while it waits has its ask
/// dropped; one that hangs up while it is answered has the events of the answer given back, and
/// leaves the group where it joined by that.
pub(super) async fn lease(State(served): State<Served>, of: Names, request: Request) -> Answer {
    let line = request.extensions().get::<Line>().cloned();
    let input = body::read(&served, request).await?;
    let (topic, group) = names(of)?;
    let shape: wire::EventAsk = wire::parse(&input.body)?;
    drop(input);
    let mut ask = shape.read(topic.clone(), group.clone())?;
    ask.wait_ms = context::wait_ms(ask.wait_ms);
    let joined = ask.token.is_none();
    let now = EventAsk {
        wait_ms: 0,
        ..ask.clone()
    };
    let leased = tokio::select! {
        leased = served.store.lease_events(ask) => leased?,
        // Asked again, a member is told its token, under which it goes on after the restart.
        () = served.drained() => served.store.lease_events(now).await?,
    };
    let handed = Handed::Events {
        topic,
        group,
        token: leased.token,
        joined,
        positions: leased
            .events
            .iter()
            .map(|of| of.event.position.sequence)
            .collect(),
    };
    let answer = written(&wire::WrittenLeasedEvents::write(&leased))?;
    let line = line.unwrap_or_default();
    Ok(with_body(
        StatusCode::OK,
        granted(answer, handed, line, served.store),
    ))
}

/// `POST /v1/groups/{topic}/{group}/heartbeat`.
pub(super) async fn heartbeat(State(served): State<Served>, of: Names, request: Request) -> Answer {
    let input = body::read(&served, request).await?;
    let (topic, group) = names(of)?;
    let shape: wire::MemberToken = wire::parse(&input.body)?;
    let beat = Command::Beat {
        topic,
        group,
        token: Token(shape.token),
    };
    one(&served, Commit::one(beat)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /v1/groups/{topic}/{group}/leave`.
pub(super) async fn leave(State(served): State<Served>, of: Names, request: Request) -> Answer {
    let input = body::read(&served, request).await?;
    let (topic, group) = names(of)?;
    let shape: wire::MemberToken = wire::parse(&input.body)?;
    let leave = Command::Leave {
        topic,
        group,
        token: Token(shape.token),
    };
    let commit = Commit {
        key: body::key(&input)?,
        commands: vec![leave],
    };
    one(&served, commit).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /v1/groups/{topic}/{group}/settle`: all of it, and what goes with it, or none.
pub(super) async fn settle(State(served): State<Served>, of: Names, request: Request) -> Answer {
    let input = body::read(&served, request).await?;
    let (topic, group) = names(of)?;
    let shape: wire::SettledEvents = wire::parse(&input.body)?;
    // Events in hands are fenced by the token, and need no look at their history.
    check_histories(&served, named_by_cursor(&shape.commit)).await?;
    let mut mint = Mint::new()?;
    let commands = shape.read(topic, group, &mut || mint.id())?;
    let key = body::key(&input)?;
    let committed = one(&served, Commit { key, commands }).await?;
    let Some((Reply::EventsSettled { repeated }, rest)) = committed.replies.split_first() else {
        return Err(Error::new(
            ErrorKind::Uncertain,
            "the store did not say whether the events are settled",
        )
        .next("settle them again")
        .into());
    };
    let results = rest.iter().map(wire::Reply::write);
    let shape = wire::SettledEventsReply {
        repeated: *repeated || committed.repeated,
        results: results.collect::<Result<_>>()?,
    };
    json(StatusCode::OK, &shape)
}
