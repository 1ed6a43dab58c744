//! Groups: their numbers and their settings, and where they go on.

use axum::extract::{Path, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use posthaste::wire;
use posthaste_core::group::{GroupSettings, GroupView};
use posthaste_core::port::TailGroup;
use posthaste_core::{Command, Commit, Error, ErrorKind, GroupName, Position, Result, TopicName};

use super::commit::one;
use super::events::read_wait;
use super::{Answer, Served, body, context, json, query, topics};
use posthaste::event::standing;

/// The names in the path of a group.
pub(super) type Names = Path<(String, String)>;

/// The names of a group and its topic.
///
/// # Errors
/// `Invalid` for one that can't be a name.
pub(super) fn names(Path((topic, group)): Names) -> Result<(TopicName, GroupName)> {
    Ok((TopicName::new(&topic)?, GroupName::new(&group)?))
}

/// `GET /v1/groups`: of every topic, or of one.
pub(super) async fn list(State(served): State<Served>, RawQuery(query): RawQuery) -> Answer {
    let [topic] = query::read(query.as_deref(), ["topic"])?;
    let topic = topic.as_deref().map(TopicName::new).transpose()?;
    let mut groups = served.store.groups().await?;
    if let Some(topic) = topic {
        groups.retain(|group| group.topic == topic);
        if groups.is_empty() {
            topics::look(&served, &topic).await?;
        }
    }
    let groups = groups.iter().map(wire::GroupView::write).collect();
    json(StatusCode::OK, &wire::Groups { groups })
}

/// `GET /v1/groups/{topic}/{group}`, once it has passed an event where that is asked.
pub(super) async fn show(
    State(served): State<Served>,
    of: Names,
    RawQuery(query): RawQuery,
) -> Answer {
    let [passed, wait] = query::read(query.as_deref(), ["passed", "wait"])?;
    let (topic, group) = names(of)?;
    let behind: Option<Position> = passed.as_deref().map(str::parse).transpose()?;
    if wait.is_some() && behind.is_none() {
        return Err(
            Error::new(ErrorKind::Invalid, "there is nothing to wait for")
                .next("give passed=CURSOR, or leave wait out")
                .into(),
        );
    }
    // A cursor says where to read on: behind the event that is to be passed.
    let at = behind.and_then(|behind| Some(behind.at(behind.sequence.checked_sub(1)?)));
    let wait_ms = wait.as_deref().map(read_wait).transpose()?;
    let ask = TailGroup {
        topic,
        group,
        passed: at,
        wait_ms: context::wait_ms(wait_ms.unwrap_or(0)),
    };
    let now = TailGroup {
        wait_ms: 0,
        ..ask.clone()
    };
    let view = tokio::select! {
        view = served.store.tail_group(ask) => view?,
        () = served.drained() => served.store.tail_group(now).await?,
    };
    let mut shape = wire::GroupView::write(&view);
    if let Some(behind) = behind {
        if !behind.is_of(view.end) {
            let what = format!("the cursor {behind} is of another history than the topic");
            let error = Error::new(ErrorKind::Invalid, what);
            return Err(error
                .next("give the cursor that publishing answered")
                .into());
        }
        shape.passed = Some(behind <= view.position);
    }
    json(StatusCode::OK, &shape)
}

/// How a group is now.
pub(super) async fn look(
    served: &Served,
    topic: &TopicName,
    group: &GroupName,
) -> Result<GroupView> {
    let ask = TailGroup {
        topic: topic.clone(),
        group: group.clone(),
        passed: None,
        wait_ms: 0,
    };
    served.store.tail_group(ask).await
}

/// Does one thing to a group, and tells how it is then.
async fn change(
    served: &Served,
    input: &body::Input<'_>,
    (topic, group): (TopicName, GroupName),
    command: Command,
) -> Answer {
    let commit = Commit {
        key: body::key(input)?,
        commands: vec![command],
    };
    one(served, commit).await?;
    let view = look(served, &topic, &group).await?;
    json(StatusCode::OK, &wire::GroupView::write(&view))
}

/// `PUT /v1/groups/{topic}/{group}`: what is absent stays as it is.
pub(super) async fn set(State(served): State<Served>, of: Names, request: Request) -> Answer {
    let input = body::read(&served, request).await?;
    let (topic, group) = names(of)?;
    let shape: wire::GroupSettings = wire::parse(&input.body)?;
    let (settings, from) = shape.read()?;
    let command = Command::SetGroup {
        topic: topic.clone(),
        group: group.clone(),
        settings,
        from,
    };
    change(&served, &input, (topic, group), command).await
}

/// `DELETE /v1/groups/{topic}/{group}`: with its parked events and its dead letters.
pub(super) async fn delete(State(served): State<Served>, of: Names, request: Request) -> Answer {
    let input = body::read(&served, request).await?;
    let (topic, group) = names(of)?;
    let commit = Commit {
        key: body::key(&input)?,
        commands: vec![Command::DeleteGroup { topic, group }],
    };
    one(&served, commit).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /v1/groups/{topic}/{group}/pause`.
pub(super) async fn pause(State(served): State<Served>, of: Names, request: Request) -> Answer {
    set_paused(&served, of, request, true).await
}

/// `POST /v1/groups/{topic}/{group}/resume`.
pub(super) async fn resume(State(served): State<Served>, of: Names, request: Request) -> Answer {
    set_paused(&served, of, request, false).await
}

async fn set_paused(served: &Served, of: Names, request: Request, paused: bool) -> Answer {
    let input = body::read(served, request).await?;
    let (topic, group) = names(of)?;
    // Setting makes a group where there is none; whoever pauses one means one that is there.
    look(served, &topic, &group).await?;
    let command = Command::SetGroup {
        topic: topic.clone(),
        group: group.clone(),
        settings: GroupSettings {
            paused: Some(paused),
            ..GroupSettings::default()
        },
        from: None,
    };
    change(served, &input, (topic, group), command).await
}

/// `POST /v1/groups/{topic}/{group}/reset`, or what that would bring.
pub(super) async fn reset(State(served): State<Served>, of: Names, request: Request) -> Answer {
    let input = body::read(&served, request).await?;
    let (topic, group) = names(of)?;
    let shape: wire::Reset = wire::parse(&input.body)?;
    let to = shape.read()?;
    if shape.dry_run {
        let view = look(&served, &topic, &group).await?;
        let replay = standing::replay(&*served.store, &view, to).await?;
        return json(StatusCode::OK, &wire::Replay::write(&replay));
    }
    let command = Command::ResetGroup {
        topic: topic.clone(),
        group: group.clone(),
        to,
        force: shape.force,
    };
    change(&served, &input, (topic, group), command).await
}
