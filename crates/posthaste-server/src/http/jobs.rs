//! Jobs: enqueue, look, wait, change; one by one and many at once.

use axum::extract::{Path, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use posthaste::sweep::{self, End};
use posthaste::wire::{self, Sweep};
use posthaste_core::port::TailJob;
use posthaste_core::view::{JobFilter, JobPage, JobView};
use posthaste_core::{
    Command, Commit, Error, ErrorKind, JobId, JobState, Reply, Result, Store, WallMs, duration,
    limits,
};

use super::commit::one;
use super::{Answer, Served, body, context, json, query};
use crate::mint::{self, Mint};

/// Jobs of a page where no number is asked for.
const PAGE: u32 = 100;
/// Jobs of a page's first piece.
const PIECE: u32 = 16;
/// Bytes of payloads and results after which a page is long enough.
const PAGE_BYTES_MAX: usize = limits::COMMIT_BYTES_MAX;

/// `POST /v1/jobs`: one job, or an array of them, all or none.
pub(super) async fn enqueue(State(served): State<Served>, request: Request) -> Answer {
    let input = body::read(&served, request).await?;
    let (jobs, _): (Vec<wire::NewJob>, bool) = wire::parse_one_or_many(&input.body)?;
    let key = body::key(&input)?;
    let context = body::context(&input.parts.headers);
    let mut mint = Mint::new()?;
    let commands = jobs
        .into_iter()
        .enumerate()
        .map(|(index, job)| {
            let job = job.read(|| mint.id());
            let job = job.map_err(|error| error.at_command(index))?;
            let mut command = Command::Enqueue(Box::new(job));
            context.inherited_by(&mut command);
            Ok(command)
        })
        .collect::<Result<_>>()?;
    let committed = one(&served, Commit { key, commands }).await?;
    let jobs = committed.replies.iter().filter_map(wire::Enqueued::write);
    let jobs = jobs.collect();
    json(StatusCode::CREATED, &wire::EnqueuedJobs { jobs })
}

/// `GET /v1/jobs`: one page.
pub(super) async fn list(State(served): State<Served>, RawQuery(query): RawQuery) -> Answer {
    let names = ["state", "queue", "kind", "tag", "cursor", "max"];
    let [state, queue, kind, tag, cursor, max] = query::read(query.as_deref(), names)?;
    let max = query::count(max.as_deref(), PAGE, limits::PAGE_MAX)?;
    let sweep = Sweep {
        state,
        queue,
        kind,
        tag,
        cursor,
        ..Sweep::default()
    };
    let page = page(&served, sweep.filter()?, sweep.cursor()?, max).await?;
    json(StatusCode::OK, &wire::JobPage::write(&page))
}

/// One page, asked for in pieces, so that jobs with large payloads make a short page and not a
/// large answer.
async fn page(
    served: &Served,
    filter: JobFilter,
    cursor: Option<u64>,
    max: u32,
) -> Result<JobPage> {
    let mut page = JobPage {
        jobs: Vec::new(),
        next: cursor,
    };
    let (mut bytes, mut piece) = (0, PIECE);
    loop {
        let left = max - u32::try_from(page.jobs.len()).unwrap_or(max).min(max);
        let filter = filter.clone();
        let more = served
            .store
            .jobs(filter, page.next, piece.min(left))
            .await?;
        let grown: usize = more.jobs.iter().map(size).sum();
        bytes += grown;
        // Small ones are asked for at once.
        if grown < PAGE_BYTES_MAX / 100 {
            piece = limits::PAGE_MAX;
        }
        let nothing = more.jobs.is_empty();
        page.jobs.extend(more.jobs);
        page.next = more.next;
        if page.next.is_none()
            || nothing
            || page.jobs.len() >= max as usize
            || bytes >= PAGE_BYTES_MAX
        {
            return Ok(page);
        }
    }
}

fn size(job: &JobView) -> usize {
    job.payload.bytes.len() + job.result.as_ref().map_or(0, |result| result.bytes.len())
}

/// `GET /v1/jobs/{id}`, with `?wait=30s` once it has come to an end or the wait is over.
pub(super) async fn show(
    State(served): State<Served>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer {
    let id = id.parse()?;
    let [wait] = query::read(query.as_deref(), ["wait"])?;
    let job = match wait {
        None => look(&*served.store, id).await?,
        Some(wait) => {
            let wait_ms = duration::parse_ms(&wait)?.min(limits::WAIT_MS_MAX.into());
            let wait_ms = u32::try_from(wait_ms).unwrap_or(limits::WAIT_MS_MAX);
            let wait_ms = context::wait_ms(wait_ms);
            tokio::select! {
                job = served.store.tail(TailJob { id, wait_ms }) => job?,
                () = served.drained() => look(&*served.store, id).await?,
            }
        }
    };
    json(StatusCode::OK, &wire::JobView::write(&job))
}

pub(super) async fn look(store: &dyn Store, id: JobId) -> Result<JobView> {
    store.job(id).await?.ok_or_else(|| {
        Error::new(ErrorKind::NotFound, format!("there is no job {id}"))
            .next("it may have been deleted, or forgotten after its retention")
    })
}

/// `PATCH /v1/jobs/{id}`: a waiting or dead one.
pub(super) async fn edit(
    State(served): State<Served>,
    Path(id): Path<String>,
    request: Request,
) -> Answer {
    // The body is read before anything is refused: a connection whose request isn't read to its
    // end is closed, and its client's next request with it.
    let input = body::read(&served, request).await?;
    let id = id.parse()?;
    let shape: wire::Edit = wire::parse(&input.body)?;
    let command = Command::Edit {
        id,
        edit: shape.read()?,
    };
    change(&served, &input, command).await
}

/// `DELETE /v1/jobs/{id}`.
pub(super) async fn delete(
    State(served): State<Served>,
    Path(id): Path<String>,
    request: Request,
) -> Answer {
    let input = body::read(&served, request).await?;
    change(&served, &input, Command::Delete(id.parse()?)).await
}

/// `POST /v1/jobs/{id}/cancel`.
pub(super) async fn cancel(
    State(served): State<Served>,
    Path(id): Path<String>,
    request: Request,
) -> Answer {
    let input = body::read(&served, request).await?;
    change(&served, &input, Command::Cancel(id.parse()?)).await
}

/// `POST /v1/jobs/{id}/retry`.
pub(super) async fn retry(
    State(served): State<Served>,
    Path(id): Path<String>,
    request: Request,
) -> Answer {
    let input = body::read(&served, request).await?;
    change(&served, &input, Command::Retry(id.parse()?)).await
}

async fn change(served: &Served, input: &body::Input<'_>, command: Command) -> Answer {
    let commit = Commit {
        key: body::key(input)?,
        commands: vec![command],
    };
    let committed = one(served, commit).await?;
    match committed.replies.first() {
        Some(Reply::Changed { state }) => json(
            StatusCode::OK,
            &wire::StateReply {
                state: state.to_string(),
            },
        ),
        _ => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

/// `POST /v1/jobs/redrive`: a slice of the dead (or cancelled) ones.
pub(super) async fn redrive_many(State(served): State<Served>, request: Request) -> Answer {
    let (shape, filter) = read_sweep(&served, request).await?;
    let filter = JobFilter {
        state: filter.state.or(Some(JobState::Dead)),
        ..filter
    };
    sweep_slice(&served, &shape, filter, sweep::Deed::Redrive).await
}

/// `POST /v1/jobs/prune`: a slice of those that ended long enough ago.
pub(super) async fn prune_many(State(served): State<Served>, request: Request) -> Answer {
    let (shape, filter) = read_sweep(&served, request).await?;
    let Some(keep) = shape.keep else {
        let older_than = shape.older_than.unwrap_or_default().0;
        let upto = End::at(WallMs(mint::now().0.saturating_sub(older_than)));
        return sweep_slice(&served, &shape, filter, sweep::Deed::Prune { upto }).await;
    };
    if shape.older_than.is_some() {
        return Err(
            Error::new(ErrorKind::Invalid, "both older_than and keep are given")
                .next("prune by one of them, then by the other")
                .into(),
        );
    }
    // Where the newest ones begin is found once, and goes from slice to slice in the cursor.
    let (upto, cursor) = match shape.cursor.as_deref().map(|text| text.split_once('.')) {
        None => (sweep::beyond(&*served.store, &filter, keep).await?, None),
        Some(None) => return Err(wrong_cursor().into()),
        Some(Some((upto, cursor))) => (Some(upto.parse()?), Some(cursor.to_owned())),
    };
    let Some(upto) = upto else {
        return json(StatusCode::OK, &wire::Swept::default());
    };
    let shape = Sweep { cursor, ..shape };
    let deed = sweep::Deed::Prune { upto };
    let mut swept = slice(&served, &shape, filter, &deed).await?;
    swept.next = swept.next.map(|next| format!("{upto}.{next}"));
    json(StatusCode::OK, &swept)
}

/// `POST /v1/jobs/delete`: a slice of those in a state.
pub(super) async fn delete_many(State(served): State<Served>, request: Request) -> Answer {
    let (shape, filter) = read_sweep(&served, request).await?;
    sweep_slice(&served, &shape, filter, sweep::Deed::Delete).await
}

fn wrong_cursor() -> Error {
    Error::new(
        ErrorKind::Invalid,
        "the cursor is not one of a prune with keep",
    )
    .next("give the \"next\" of the slice before, or none")
}

async fn read_sweep(served: &Served, request: Request) -> Result<(Sweep, JobFilter)> {
    let input = body::read(served, request).await?;
    let shape: Sweep = wire::parse(&input.body)?;
    let filter = shape.filter()?;
    Ok((shape, filter))
}

async fn sweep_slice(
    served: &Served,
    shape: &Sweep,
    filter: JobFilter,
    deed: sweep::Deed,
) -> Answer {
    let prunes = matches!(deed, sweep::Deed::Prune { .. });
    if !prunes && (shape.older_than.is_some() || shape.keep.is_some()) {
        return Err(
            Error::new(ErrorKind::Invalid, "only prune takes older_than and keep")
                .next("leave it out, or post to /v1/jobs/prune")
                .into(),
        );
    }
    json(StatusCode::OK, &slice(served, shape, filter, &deed).await?)
}

async fn slice(
    served: &Served,
    shape: &Sweep,
    filter: JobFilter,
    deed: &sweep::Deed,
) -> Result<wire::Swept> {
    let max = shape.max.map(|max| max.to_string());
    let max = query::count(max.as_deref(), limits::PAGE_MAX, limits::PAGE_MAX)?;
    let slice = sweep::slice(&*served.store, deed, filter, shape.cursor()?, max).await?;
    Ok(wire::Swept {
        changed: slice.changed,
        next: slice.next.map(|next| next.to_string()),
    })
}
