//! Parked events and dead letters: looking at them, and deciding on them.

use axum::extract::{RawQuery, Request, State};
use axum::http::StatusCode;
use posthaste::wire;
use posthaste_core::group::{Unparking, Which};
use posthaste_core::port::KeptAsk;
use posthaste_core::{
    Command, Commit, Error, ErrorKind, GroupName, Reply, Result, TopicName, limits,
};

use super::commit::{check_histories, one};
use super::groups::{Names, names};
use super::{Answer, Served, body, json, query};

/// Events of a page where nothing is said.
const PAGE_DEFAULT: u32 = 100;

/// `GET /v1/groups/{topic}/{group}/parked`.
pub(super) async fn parked(
    State(served): State<Served>,
    of: Names,
    RawQuery(query): RawQuery,
) -> Answer {
    page(&served, of, query.as_deref(), false).await
}

/// `GET /v1/groups/{topic}/{group}/dead`.
pub(super) async fn dead(
    State(served): State<Served>,
    of: Names,
    RawQuery(query): RawQuery,
) -> Answer {
    page(&served, of, query.as_deref(), true).await
}

async fn page(served: &Served, of: Names, query: Option<&str>, dead: bool) -> Answer {
    let [cursor, max] = query::read(query, ["cursor", "max"])?;
    let (topic, group) = names(of)?;
    let ask = KeptAsk {
        topic,
        group,
        dead,
        cursor: cursor.as_deref().map(read_cursor).transpose()?,
        max: query::count(max.as_deref(), PAGE_DEFAULT, limits::PAGE_MAX)?,
    };
    let page = served.store.kept(ask).await?;
    json(StatusCode::OK, &wire::WrittenKeptPage::write(&page))
}

fn read_cursor(text: &str) -> Result<u64> {
    text.parse().map_err(|_| {
        Error::new(
            ErrorKind::Invalid,
            format!("the cursor {text:?} is not one"),
        )
        .next("give the \"next\" of the page before, or none")
    })
}

/// `POST /v1/groups/{topic}/{group}/parked/release`: they are handed out again.
pub(super) async fn release(State(served): State<Served>, of: Names, request: Request) -> Answer {
    decide(&served, of, request, |topic, group, which| {
        Command::Unpark {
            topic,
            group,
            which,
            how: Unparking::Release,
        }
    })
    .await
}

/// `POST /v1/groups/{topic}/{group}/parked/skip`: they are forgotten.
pub(super) async fn skip(State(served): State<Served>, of: Names, request: Request) -> Answer {
    decide(&served, of, request, |topic, group, which| {
        Command::Unpark {
            topic,
            group,
            which,
            how: Unparking::Skip,
        }
    })
    .await
}

/// `POST /v1/groups/{topic}/{group}/dead/redrive`: they are handled again.
pub(super) async fn redrive(State(served): State<Served>, of: Names, request: Request) -> Answer {
    decide(&served, of, request, |topic, group, which| {
        Command::Redrive {
            topic,
            group,
            which,
        }
    })
    .await
}

async fn decide(
    served: &Served,
    of: Names,
    request: Request,
    command: impl FnOnce(TopicName, GroupName, Which) -> Command,
) -> Answer {
    let input = body::read(served, request).await?;
    let (topic, group) = names(of)?;
    let shape: wire::Which = wire::parse(&input.body)?;
    let which = shape.read()?;
    let position = shape.position.and_then(|place| place.position);
    check_histories(served, [(topic.as_str(), position)]).await?;
    let commit = Commit {
        key: body::key(&input)?,
        commands: vec![command(topic, group, which)],
    };
    let committed = one(served, commit).await?;
    let Some(Reply::EventsMoved { events, left }) = committed.replies.first() else {
        return Err(Error::new(
            ErrorKind::Uncertain,
            "the store did not say how many events it moved",
        )
        .next("list them to see whether they are still there")
        .into());
    };
    let (events, left) = (*events, *left);
    json(StatusCode::OK, &wire::Moved { events, left })
}
