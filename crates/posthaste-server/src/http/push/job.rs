//! The life of one job, as server-sent events: what it is like now, each change, and its end.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use bytes::Bytes;
use posthaste::wire;
use posthaste_core::port::TailJob;
use posthaste_core::view::JobView;
use posthaste_core::{JobId, Store, limits};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use super::sse::{self, Telling};
use super::{Timing, drained, retry_ms};
use crate::http::{Answer, Served, jobs};

/// How long to wait before a job is looked at again, in milliseconds: first, and when nothing happens.
/// Its end is told at once.
const LOOK_MS_MIN: u32 = 250;
const LOOK_MS_MAX: u32 = 2_000;
/// What a client has seen that has seen the end.
const END: &str = "end";

/// `GET /v1/jobs/{id}/events`. A client that comes back after the end is told to stay away.
pub(in super::super) async fn follow(
    State(served): State<Served>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let id: JobId = id.parse()?;
    if headers.get("last-event-id").is_some_and(|seen| seen == END) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let Some(slot) = served.push.enter() else {
        return Ok(served.push.full());
    };
    let now = jobs::look(&*served.store, id).await?;
    let watching = Watching {
        id,
        now: Some(now),
        told: String::new(),
        look_ms: LOOK_MS_MIN,
        over: false,
        timing: Timing::of(served.push.streams),
        draining: served.draining.subscribe(),
        store: Arc::clone(&served.store),
        _slot: slot,
    };
    Ok(sse::stream(format!("retry: {}\n\n", retry_ms()), watching))
}

/// A job that is watched.
struct Watching {
    id: JobId,
    /// How it is, where that has just been looked at.
    now: Option<JobView>,
    /// What was said of it last.
    told: String,
    look_ms: u32,
    over: bool,
    timing: Timing,
    draining: watch::Receiver<bool>,
    store: Arc<dyn Store>,
    _slot: OwnedSemaphorePermit,
}

impl Telling for Watching {
    async fn tell(&mut self) -> Option<Bytes> {
        while !self.over {
            let ask = TailJob {
                id: self.id,
                wait_ms: limits::WAIT_MS_MAX,
            };
            let look = Duration::from_millis(self.look_ms.into());
            let seen = match self.now.take() {
                Some(now) => Ok(now),
                None => tokio::select! {
                    biased;
                    () = drained(&mut self.draining) => return None,
                    seen = self.store.tail(ask) => seen,
                    () = tokio::time::sleep(look) => jobs::look(&*self.store, self.id).await,
                },
            };
            let piece = match seen {
                Ok(job) => self.change(&job),
                Err(error) => {
                    self.over = true;
                    Some(sse::problem(&error))
                }
            };
            if piece.is_some() {
                self.timing.heard();
                return piece;
            }
            let now = Instant::now();
            if now >= self.timing.end {
                return None;
            }
            if now >= self.timing.next {
                self.timing.heard();
                return Some(Bytes::from_static(b":\n\n"));
            }
        }
        None
    }
}

impl Watching {
    /// What has changed of the job; none where nothing has.
    fn change(&mut self, job: &JobView) -> Option<Bytes> {
        // What it carries does not change, and may be large.
        let shape = wire::JobView {
            payload: None,
            payload_base64: None,
            content_type: None,
            ..wire::JobView::write(job)
        };
        let json = sse::json(&shape).replace(['\n', '\r'], " ");
        let id = if job.state.is_final() {
            self.over = true;
            format!("id: {END}\n")
        } else if json == self.told {
            self.look_ms = (self.look_ms * 2).min(LOOK_MS_MAX);
            return None;
        } else {
            self.look_ms = LOOK_MS_MIN;
            String::new()
        };
        let piece = format!("{id}data: {json}\n\n");
        self.told = json;
        Some(piece.into())
    }
}
