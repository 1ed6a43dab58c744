//! Server-sent events. (WHATWG HTML, 9.2.)

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::Frame;
use posthaste::wire::Problem;
use posthaste_core::topic::Gap;
use posthaste_core::{Error, Position, Result};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::follow::{Follower, Told};
use super::{Reset, Streamed, Timing, drained, retry_ms};
use crate::http::Served;

/// A topic, for as long as its client listens.
pub(super) fn answer(served: &Served, follower: Follower, slot: OwnedSemaphorePermit) -> Response {
    let begun = format!("retry: {}\n", retry_ms());
    stream(
        begun,
        Following {
            told: None,
            follower,
            timing: Timing::of(served.push.streams),
            draining: served.draining.subscribe(),
            over: false,
            _slot: slot,
        },
    )
}

/// What tells a stream's pieces, one after the other; none at its end.
pub(super) trait Telling: Send + Sized + 'static {
    /// The next piece, which isn't empty.
    fn tell(&mut self) -> impl Future<Output = Option<Bytes>> + Send;
}

/// A stream that begins with `begun`. Its connection ends with it.
pub(super) fn stream(begun: String, telling: impl Telling) -> Response {
    let body = Pieces {
        begun: Some(begun.into()),
        next: Box::pin(next(telling)),
    };
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream"),
        ),
        (
            header::CACHE_CONTROL,
            HeaderValue::from_static("no-cache, no-transform"),
        ),
        (
            HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ),
        (header::CONNECTION, HeaderValue::from_static("close")),
    ];
    let mut response = (headers, Body::new(body)).into_response();
    response.extensions_mut().insert(Streamed);
    response
}

/// What is said last where it can't go on.
pub(super) fn problem(error: &Error) -> Bytes {
    format!("event: problem\ndata: {}\n\n", json(&Problem::write(error))).into()
}

/// One of these shapes, none of which has anything in it that JSON cannot say.
pub(super) fn json(shape: &impl serde::Serialize) -> String {
    serde_json::to_string(shape).unwrap_or_default()
}

type Next<T> = Pin<Box<dyn Future<Output = Option<(Bytes, T)>> + Send>>;

async fn next<T: Telling>(mut telling: T) -> Option<(Bytes, T)> {
    let piece = telling.tell().await?;
    Some((piece, telling))
}

/// A body that is told piece by piece, when the connection has room for the next.
struct Pieces<T> {
    begun: Option<Bytes>,
    next: Next<T>,
}

impl<T: Telling> hyper::body::Body for Pieces<T> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(begun) = self.begun.take() {
            return Poll::Ready(Some(Ok(Frame::data(begun))));
        }
        let told = ready!(self.next.as_mut().poll(context));
        Poll::Ready(told.map(|(piece, telling)| {
            self.next = Box::pin(next(telling));
            Ok(Frame::data(piece))
        }))
    }
}

/// That what lay there is gone. Whoever comes back after that goes on from the earliest.
fn reset(gap: &Gap) -> Bytes {
    let data = json(&Reset::of(gap));
    format!("event: reset\nid: {}\ndata: {data}\n\n", gap.earliest).into()
}

/// A follower whose client reads server-sent events.
struct Following {
    follower: Follower,
    /// The cursor that the client was told last.
    told: Option<Position>,
    timing: Timing,
    draining: watch::Receiver<bool>,
    over: bool,
    _slot: OwnedSemaphorePermit,
}

impl Telling for Following {
    async fn tell(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        // Whoever comes back before the first event goes on from here.
        if self.told.is_none() && !self.follower.is_reset() {
            return Some(self.place("").into());
        }
        loop {
            tokio::select! {
                biased;
                () = drained(&mut self.draining) => return None,
                told = self.follower.next() => {
                    if let Some(piece) = self.said(told) {
                        self.timing.heard();
                        return Some(piece);
                    }
                }
                more = self.timing.due() => {
                    if !more {
                        return None;
                    }
                    self.timing.heard();
                    // What was passed over need not be read again.
                    return Some(match self.told == Some(self.follower.at()) {
                        true => Bytes::from_static(b":\n\n"),
                        false => self.place(":\n").into(),
                    });
                }
            }
        }
    }
}

impl Following {
    /// How it is said; none where it has nothing that is wanted.
    fn said(&mut self, told: Result<Told>) -> Option<Bytes> {
        match told {
            Ok(Told::Events(chunk, from)) => {
                let filter = self.follower.filter();
                self.told = Some(chunk.told(from, filter)?);
                Some(chunk.sent(from, filter))
            }
            Ok(Told::Reset(gap)) => {
                self.told = Some(gap.earliest);
                Some(reset(&gap))
            }
            Err(error) => {
                self.over = true;
                Some(problem(&error))
            }
        }
    }

    /// Tells where to read on, without an event.
    fn place(&mut self, before: &str) -> String {
        let at = self.follower.at();
        self.told = Some(at);
        format!("{before}id: {at}\n\n")
    }
}
