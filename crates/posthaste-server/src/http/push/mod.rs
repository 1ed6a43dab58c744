//! Push: following a topic, or a job, over one connection.
//!
//! One URL in four ways, with the same cursor and the same events: server-sent events (`sse`), a
//! WebSocket (`socket`), a long poll, and a plain poll. There is one tail for each topic that is
//! followed (`feed`), whose newest events stand framed in a `ring`; a follower (`follow`) is a place
//! in it. This module refuses to queue anything for anybody: whoever is slow reads the log again.

mod feed;
mod follow;
mod frame;
mod job;
mod ring;
mod socket;
mod sse;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use posthaste::wire;
use posthaste_core::topic::{Gap, ReadFrom, TailTopic};
use posthaste_core::{Error, ErrorKind, Result, TopicName};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

pub(super) use feed::Feeds;
pub(super) use job::follow as follow_job;

use super::{Answer, Served, events, refusal};
use follow::Follower;

/// What streams may cost, and how they keep in touch.
#[derive(Clone, Copy, Debug)]
pub struct Streams {
    /// Most streams at once. A further one is answered 503. Default 10,000.
    pub most: u32,
    /// How often an idle stream is heard of. Default 15 s.
    pub heartbeat: Duration,
    /// How long a stream lasts at least; at most half as long again. Its client then comes back and
    /// goes on, so that connections spread over servers. Default 10 min.
    pub lifetime: Duration,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            most: 10_000,
            heartbeat: Duration::from_secs(15),
            lifetime: Duration::from_secs(600),
        }
    }
}

/// How long a poll of a stream's URL waits where nothing is said, in milliseconds.
const WAIT_MS: u32 = 30_000;
/// How soon a client comes back at the earliest, and how much later at most, in milliseconds.
const RETRY_MS: u64 = 1_000;
const RETRY_JITTER_MS: u64 = 4_000;

/// The streams of a server.
#[derive(Clone)]
pub(super) struct Push {
    streams: Streams,
    slots: Arc<Semaphore>,
    feeds: Feeds,
}

/// What a connection holds of its server. Whoever takes the connection over holds on to it.
#[derive(Clone)]
pub(crate) struct Held(#[expect(dead_code, reason = "it is held")] Arc<dyn Send + Sync>);

impl Held {
    pub(crate) fn new(held: Arc<dyn Send + Sync>) -> Self {
        Self(held)
    }
}

/// Says of an answer that it is a stream, which is silent for as long as it likes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Streamed;

impl Push {
    pub(super) fn new(feeds: Feeds, streams: Streams) -> Self {
        Self {
            streams,
            slots: Arc::new(Semaphore::new(streams.most as usize)),
            feeds,
        }
    }

    /// The same feeds under other limits.
    pub(super) fn with(self, streams: Streams) -> Self {
        Self::new(self.feeds, streams)
    }

    /// A place for one more stream; none where there are too many.
    fn enter(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).try_acquire_owned().ok()
    }

    /// That there are too many.
    fn full(&self) -> Response {
        let error = Error::new(
            ErrorKind::Busy,
            format!("{} streams are open already", self.streams.most),
        )
        .next("try again later, or poll")
        .retry_after_ms(retry_ms());
        refusal::with_status(&error, StatusCode::SERVICE_UNAVAILABLE)
    }
}

/// When streams are heard of next, and when they end.
struct Timing {
    heartbeat: Duration,
    next: Instant,
    end: Instant,
}

impl Timing {
    fn of(streams: Streams) -> Self {
        let now = Instant::now();
        let most = u64::try_from(streams.lifetime.as_millis() / 2).unwrap_or(u64::MAX);
        Self {
            heartbeat: streams.heartbeat,
            next: now + streams.heartbeat,
            end: now + streams.lifetime + Duration::from_millis(chance(most)),
        }
    }

    /// Something was said.
    fn heard(&mut self) {
        self.next = Instant::now() + self.heartbeat;
    }

    /// Waits until something has to be said: true, or until the end: false.
    async fn due(&self) -> bool {
        tokio::time::sleep_until(self.next.min(self.end)).await;
        self.next <= self.end
    }
}

/// Ready once the server drains.
async fn drained(draining: &mut watch::Receiver<bool>) {
    // Without a server there is nobody to go on either.
    drop(draining.wait_for(|draining| *draining).await);
}

/// How soon a client is to come back: not all at once.
fn retry_ms() -> u64 {
    RETRY_MS + chance(RETRY_JITTER_MS)
}

/// A number from 0 to `most`. Without entropy there is no jitter.
fn chance(most: u64) -> u64 {
    let drawn = getrandom::u64().unwrap_or_default();
    drawn.checked_rem(most.saturating_add(1)).unwrap_or(drawn)
}

/// What a gap is told as within a stream.
#[derive(serde::Serialize)]
struct Reset {
    reason: &'static str,
    earliest: String,
}

impl Reset {
    fn of(gap: &Gap) -> Self {
        Self {
            reason: gap.reason.as_str(),
            earliest: gap.earliest.to_string(),
        }
    }
}

/// `GET /v1/topics/{topic}/stream`, as the client asks for it.
pub(super) async fn follow(
    State(served): State<Served>,
    Path(topic): Path<String>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Answer {
    let headers = request.headers();
    let from = last_seen(headers)?;
    let polls = wants_json(headers);
    let upgrades = headers.contains_key(header::UPGRADE);
    let otherwise = TailTopic {
        wait_ms: WAIT_MS,
        ..TailTopic::new(TopicName::new(&topic)?, ReadFrom::Latest)
    };
    let mut ask = events::read_query(query.as_deref(), otherwise)?;
    ask.from = from.unwrap_or(ask.from);
    if polls && !upgrades {
        return events::page(&served, ask, headers).await;
    }
    let Some(slot) = served.push.enter() else {
        return Ok(served.push.full());
    };
    if upgrades {
        return socket::open(served, ask, slot, request).await;
    }
    let follower = Follower::begin(&served.push.feeds, ask).await?;
    Ok(sse::answer(&served, follower, slot))
}

/// What the client saw last, as `EventSource` says it when it comes back.
fn last_seen(headers: &HeaderMap) -> Result<Option<ReadFrom>> {
    let Some(seen) = headers.get("last-event-id").filter(|seen| !seen.is_empty()) else {
        return Ok(None);
    };
    let seen: wire::ReadFrom = seen.to_str().unwrap_or("?").parse()?;
    Ok(Some(seen.0))
}

fn wants_json(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT);
    let accepted = accepted.and_then(|accepted| accepted.to_str().ok());
    accepted.is_some_and(|accepted| {
        accepted.contains("application/json") && !accepted.contains("text/event-stream")
    })
}
