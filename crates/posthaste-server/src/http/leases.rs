//! Claiming, extending and settling.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use posthaste::wire::{self, Problem, Status};
use posthaste_core::{Commit, Committed, Error, ErrorKind, Reply, Result, limits};

use super::granted::{Handed, Line, granted};
use super::{Answer, Served, body, context, json, with_body, written};
use crate::mint::Mint;

/// `POST /v1/leases`. A client that hangs up while it waits has its ask dropped, and the store
/// releases what that would have got; one that hangs up while it is answered has that released.
pub(super) async fn lease(State(served): State<Served>, request: Request) -> Answer {
    let line = request.extensions().get::<Line>().cloned();
    let input = body::read(&served, request).await?;
    let shape: wire::LeaseAsk = wire::parse(&input.body)?;
    drop(input);
    let mut ask = shape.read()?;
    ask.wait_ms = context::wait_ms(ask.wait_ms);
    let jobs = tokio::select! {
        jobs = served.store.lease(ask) => jobs?,
        () = served.drained() => Vec::new(),
    };
    let leases = jobs.iter().map(|job| (job.id, job.token)).collect();
    let jobs = jobs.iter().map(wire::LeasedJob::write).collect();
    let answer = written(&wire::LeasedJobs { jobs })?;
    let line = line.unwrap_or_default();
    Ok(with_body(
        StatusCode::OK,
        granted(answer, Handed::Jobs(leases), line, served.store),
    ))
}

/// `POST /v1/leases/heartbeat`.
pub(super) async fn heartbeat(State(served): State<Served>, request: Request) -> Answer {
    let input = body::read(&served, request).await?;
    let (items, _): (Vec<wire::Heartbeat>, bool) = wire::parse_one_or_many(&input.body)?;
    check_count(items.len())?;
    let ids: Vec<String> = items.iter().map(|item| item.id.clone()).collect();
    let commits = each(items, |item| item.read().map(Commit::one))?;
    let answers = served.store.commit(commits).await?;
    let results = ids.into_iter().zip(answers).map(|(id, answer)| {
        let cancelled = matches!(first(&answer), Some(Reply::Extended { cancelled: true }));
        wire::HeartbeatResult {
            id,
            status: status(&answer),
            cancelled,
            problem: answer.err().as_ref().map(Problem::write),
        }
    });
    let results = results.collect();
    json(StatusCode::OK, &wire::HeartbeatResults { results })
}

/// `POST /v1/leases/settle`. Each item is a commit of its own.
pub(super) async fn settle(State(served): State<Served>, request: Request) -> Answer {
    let input = body::read(&served, request).await?;
    let (items, _): (Vec<wire::Settle>, bool) = wire::parse_one_or_many(&input.body)?;
    check_count(items.len())?;
    let ids: Vec<String> = items.iter().map(|item| item.id.clone()).collect();
    let mut mint = Mint::new()?;
    let commits = each(items, |item| item.read(&mut || mint.id()).map(Commit::of))?;
    let answers = served.store.commit(commits).await?;
    let results = ids
        .into_iter()
        .zip(answers)
        .map(|(id, answer)| settled(id, answer))
        .collect::<Result<_>>()?;
    json(StatusCode::OK, &wire::SettleResults { results })
}

fn settled(id: String, answer: Result<Committed>) -> Result<wire::SettleResult> {
    let (state, repeated) = match first(&answer) {
        Some(Reply::Settled { state, repeated }) => (Some(state.to_string()), *repeated),
        _ => (None, false),
    };
    let follow = answer
        .iter()
        .flat_map(|committed| committed.replies.iter().skip(1));
    Ok(wire::SettleResult {
        id,
        status: status(&answer),
        state,
        repeated,
        replies: follow.map(wire::Reply::write).collect::<Result<_>>()?,
        problem: answer.err().as_ref().map(Problem::write),
    })
}

fn first(answer: &Result<Committed>) -> Option<&Reply> {
    answer.as_ref().ok()?.replies.first()
}

fn status(answer: &Result<Committed>) -> Status {
    match answer {
        Ok(_) => Status::Ok,
        Err(error) => Status::of(error),
    }
}

fn each<T>(items: Vec<T>, mut read: impl FnMut(T) -> Result<Commit>) -> Result<Vec<Commit>> {
    items
        .into_iter()
        .enumerate()
        .map(|(index, item)| read(item).map_err(|error| error.at_command(index)))
        .collect()
}

fn check_count(items: usize) -> Result<()> {
    if items <= limits::COMMANDS_PER_COMMIT_MAX {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::TooLarge,
        format!("{items} items are too many for one request"),
    )
    .next(format!("send at most {}", limits::COMMANDS_PER_COMMIT_MAX)))
}
