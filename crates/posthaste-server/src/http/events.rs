//! Events: publishing them, and reading them page by page.

use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use posthaste::event::EventDraft;
use posthaste::policy::Context;
use posthaste::wire::{self, event};
use posthaste_core::command::CommitKey;
use posthaste_core::job::Start;
use posthaste_core::topic::{
    EventPage, Gap, NewEvent, Published, ReadFrom, TailTopic, TopicRead, hash_of,
};
use posthaste_core::{
    Command, Commit, Error, ErrorKind, Reply, Result, Text, TopicName, check, duration, limits,
};

use super::commit::one;
use super::{Answer, Served, body, context, json, query};
use crate::mint::Mint;

/// Events to publish, and whether ids were minted for some.
struct Told {
    events: Vec<NewEvent>,
    minted: bool,
}

/// `POST /v1/topics/{topic}/events`: one event or many, all or none; with a `delay` or a `run_at`,
/// the jobs that will publish them.
pub(super) async fn publish(
    State(served): State<Served>,
    Path(topic): Path<String>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Answer {
    let start = read_start(query.as_deref())?;
    let input = body::read_bytes(&served, request).await?;
    let topic = TopicName::new(&topic)?;
    let key = body::key(&input)?;
    let Told { events, minted } = read_events(&input)?;
    let context = body::context(&input.parts.headers);
    if let Some(start) = start {
        return publish_later(&served, key, &context, &topic, events, start).await;
    }
    let ids: Vec<Text> = events.iter().map(|event| event.id.clone()).collect();
    let mut command = Command::Publish {
        topic: topic.clone(),
        events,
    };
    context.inherited_by(&mut command);
    let commands = vec![command];
    let committed = one(&served, Commit { key, commands }).await?;
    let Some(Reply::Published(published)) = committed.replies.first() else {
        return Err(Error::new(
            ErrorKind::Uncertain,
            "the store did not say where the events are",
        )
        .next("read the topic to see whether they are there")
        .into());
    };
    // Ids that were minted just now are not those of the events that the first request published.
    let ids = match committed.repeated && minted {
        true => ids_of(&served, topic, published).await?,
        false => ids.into_iter().map(Some).collect(),
    };
    let events = published.iter().zip(ids).map(|(published, id)| {
        let id = id.map(|id| id.as_str().to_owned());
        wire::Published::write(published, id)
    });
    let events = events.collect();
    json(StatusCode::CREATED, &wire::PublishedEvents { events })
}

/// When to publish, where that is not now.
fn read_start(query: Option<&str>) -> Result<Option<Start>> {
    match query::read(query, ["delay", "run_at"])? {
        [None, None] => Ok(None),
        [Some(delay), None] => Ok(Some(Start::After(duration::parse_ms(&delay)?))),
        [None, Some(at)] => Ok(Some(Start::At(at.parse::<wire::Instant>()?.0))),
        [Some(_), Some(_)] => Err(Error::new(
            ErrorKind::Invalid,
            "the parameters delay and run_at exclude each other",
        )
        .next("give one of them")),
    }
}

/// Enqueues a job for each event, which publishes it when it is due.
async fn publish_later(
    served: &Served,
    key: Option<CommitKey>,
    context: &Context,
    topic: &TopicName,
    events: Vec<NewEvent>,
    start: Start,
) -> Answer {
    let mut mint = Mint::new()?;
    let jobs = events.into_iter().enumerate().map(|(index, event)| {
        let draft = EventDraft::of(topic.clone(), event).into_job();
        let mut job = draft
            .build(|| mint.id())
            .map_err(|error| error.at_command(index))?;
        job.start = start;
        let mut command = Command::Enqueue(job);
        context.inherited_by(&mut command);
        Ok(command)
    });
    let commands = jobs.collect::<Result<_>>()?;
    let committed = one(served, Commit { key, commands }).await?;
    let jobs = committed.replies.iter().filter_map(wire::Enqueued::write);
    let jobs = jobs.collect();
    json(StatusCode::ACCEPTED, &wire::EnqueuedJobs { jobs })
}

/// The events of a request, by its content type.
fn read_events(input: &body::Input<'_>) -> Result<Told> {
    let headers = &input.parts.headers;
    let content_type = headers.get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let essence = content_type.unwrap_or_default();
    let essence = essence.split(';').next().unwrap_or_default().trim();
    let binary = body::attributes(headers).next().is_some();
    if !binary || essence.starts_with("application/cloudevents") {
        body::refuse_half_characters(&input.body)?;
    }
    match essence {
        event::STRUCTURED => chosen(vec![wire::parse(&input.body)?]),
        event::BATCH => chosen(wire::parse(&input.body)?),
        _ if essence.starts_with("application/cloudevents") => Err(Error::new(
            ErrorKind::Invalid,
            format!("events do not come as {essence:?} here"),
        )
        .next(format!("send {} or {}", event::STRUCTURED, event::BATCH))),
        _ if binary => Ok(Told {
            events: vec![event::read_binary(
                body::attributes(headers),
                content_type,
                input.body.clone(),
            )?],
            minted: false,
        }),
        _ => plain(&input.body),
    }
}

fn chosen(events: Vec<event::CloudEvent>) -> Result<Told> {
    let events = events.into_iter().map(event::CloudEvent::read);
    Ok(Told {
        events: numbered(events)?,
        minted: false,
    })
}

fn plain(body: &[u8]) -> Result<Told> {
    let (events, _): (Vec<event::PlainEvent>, bool) =
        wire::parse_one_or_many(body).map_err(|error| {
            match error.message().contains("\"specversion\"") {
                true => error.next(format!(
                    "send CloudEvents with the content type {} or {}",
                    event::STRUCTURED,
                    event::BATCH
                )),
                false => error,
            }
        })?;
    let mut mint = Mint::new()?;
    let minted = events.iter().any(|event| event.id.is_none());
    let events = events.into_iter().map(|event| event.read(|| mint.id()));
    Ok(Told {
        events: numbered(events)?,
        minted,
    })
}

/// All of them, or the first error, with its event's number.
fn numbered(events: impl Iterator<Item = Result<NewEvent>>) -> Result<Vec<NewEvent>> {
    let checked = events.map(|event| {
        let event = event?;
        check::new_event(&event)?;
        Ok(event)
    });
    let numbered = checked.enumerate();
    numbered
        .map(|(index, event)| event.map_err(|error: Error| error.at_command(index)))
        .collect()
}

/// The ids of events that were published before, where they can still be read.
async fn ids_of(
    served: &Served,
    topic: TopicName,
    published: &[Published],
) -> Result<Vec<Option<Text>>> {
    let Some(first) = published.iter().map(|one| one.position).min() else {
        return Ok(Vec::new());
    };
    let mut ask = TailTopic::new(topic, ReadFrom::Position(first));
    ask.max = u32::try_from(published.len()).unwrap_or(u32::MAX);
    let page = match served.store.read(ask).await? {
        TopicRead::Page(page) => page.events,
        TopicRead::Gap(_) => Vec::new(),
    };
    let id = |one: &Published| {
        let mut at = page.iter().filter(|event| event.position == one.position);
        at.next().map(|event| event.id.clone())
    };
    Ok(published.iter().map(id).collect())
}

/// What to read, as a query says it; what it does not say is as in `otherwise`.
///
/// # Errors
/// `Invalid`, naming the parameter.
pub(super) fn read_query(query: Option<&str>, otherwise: TailTopic) -> Result<TailTopic> {
    let once = ["from", "max", "wait", "partition"];
    let ([from, max, wait, partition], [types, keys]) =
        query::read_repeated(query, once, ["type", "key"])?;
    let from = from
        .map(|from| from.parse::<wire::ReadFrom>())
        .transpose()?;
    let wait_ms = wait.as_deref().map(read_wait).transpose()?;
    let texts = |texts: Vec<String>| texts.into_iter().map(Text::from).collect();
    let ask = TailTopic {
        from: from.map_or(otherwise.from, |from| from.0),
        partition: partition.as_deref().map(read_partition).transpose()?,
        types: texts(types),
        keys: texts(keys),
        max: query::count(max.as_deref(), otherwise.max, limits::READ_EVENTS_MAX)?,
        wait_ms: context::wait_ms(wait_ms.unwrap_or(otherwise.wait_ms)),
        ..otherwise
    };
    check::read(&ask)?;
    Ok(ask)
}

/// A wait, cut to a minute.
///
/// # Errors
/// `Invalid` where it isn't a duration.
pub(super) fn read_wait(text: &str) -> Result<u32> {
    let wait_ms = duration::parse_ms(text)?.min(limits::WAIT_MS_MAX.into());
    Ok(u32::try_from(wait_ms).unwrap_or(limits::WAIT_MS_MAX))
}

fn read_partition(text: &str) -> Result<u16> {
    text.parse().map_err(|_| {
        Error::new(
            ErrorKind::Invalid,
            format!("partition {text:?} is not the number of one"),
        )
        .next(format!("give 0 to {}", limits::PARTITIONS_MAX - 1))
    })
}

/// `GET /v1/topics/{topic}/events`: one page, waiting for its first event where that is asked.
pub(super) async fn read(
    State(served): State<Served>,
    Path(topic): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let all = TailTopic::new(TopicName::new(&topic)?, ReadFrom::Earliest);
    page(&served, read_query(query.as_deref(), all)?, &headers).await
}

/// One page as an answer, or that nothing has changed since the one that `headers` name.
pub(super) async fn page(served: &Served, ask: TailTopic, headers: &HeaderMap) -> Answer {
    let filter = filter_hash(&ask);
    let now = TailTopic {
        wait_ms: 0,
        ..ask.clone()
    };
    let read = tokio::select! {
        read = served.store.read(ask) => read?,
        () = served.drained() => served.store.read(now).await?,
    };
    let page = match read {
        TopicRead::Page(page) => page,
        TopicRead::Gap(gap) => return gone(&gap),
    };
    let tag = format!("W/\"{}.{filter:x}\"", page.next);
    let mut response = match knows(headers, &tag) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => told(&page)?,
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    Ok(response)
}

fn told(page: &EventPage) -> Answer {
    json(StatusCode::OK, &wire::WrittenPage::write(page))
}

/// That what was asked for is gone: 410.
pub(super) fn gone(gap: &Gap) -> Answer {
    let mut response: Response = json(StatusCode::GONE, &wire::Gap::write(gap))?;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    Ok(response)
}

/// Whether `headers` say that the answer with this tag is known.
fn knows(headers: &HeaderMap, tag: &str) -> bool {
    let bare = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let known = headers.get_all(header::IF_NONE_MATCH).iter();
    let mut known = known.filter_map(|value| value.to_str().ok());
    known.any(|tags| tags.split(',').any(|known| bare(known) == bare(tag)))
}

/// A number for what a read passes over.
fn filter_hash(ask: &TailTopic) -> u32 {
    let mut text = format!("{:?}", ask.partition);
    for (mark, filters) in [('t', &ask.types), ('k', &ask.keys)] {
        for filter in filters {
            text.push_str(&format!("{mark}{}:{filter}", filter.len()));
        }
    }
    hash_of(text.as_bytes())
}
