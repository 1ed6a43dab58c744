//! A WebSocket: the same cursor and the same events, each a text message of its own.
//!
//! Beside events it sends `{"cursor":…}`, where to go on when nothing was sent for a while,
//! `{"reset":…}` on a gap, and `{"problem":…}` before it ends for a reason. What the client sends is
//! passed over.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{FromRequestParts, Request};
use futures_util::SinkExt as _;
use posthaste::wire::Problem;
use posthaste_core::topic::TailTopic;
use posthaste_core::{Error, ErrorKind, Position};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::follow::{Follower, Told};
use super::{Held, Reset, Timing, drained, sse};
use crate::http::{Answer, Served};

/// Bytes read at once; a client has little to say.
const READ_BYTES: usize = 1024;
/// Bytes of messages that are written together.
const WRITE_BYTES: usize = 16 * 1024;
/// Longest message of a client.
const MESSAGE_BYTES_MAX: usize = 4 * 1024;
/// How long a client may take for what it is sent.
const STALL: Duration = Duration::from_secs(60);
/// How long a client may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// What is sent beside events.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Note {
    Cursor(String),
    Reset(Reset),
    Problem(Problem),
}

/// Opens a socket. What is wrong with the request is said before that.
pub(super) async fn open(
    served: Served,
    ask: TailTopic,
    slot: OwnedSemaphorePermit,
    request: Request,
) -> Answer {
    let (mut parts, _) = request.into_parts();
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &())
        .await
        .map_err(|rejection| {
            Error::new(
                ErrorKind::Invalid,
                format!(
                    "this is no request for a WebSocket: {}",
                    rejection.body_text()
                ),
            )
            .next("send a GET of HTTP/1.1 as RFC 6455 has it")
        })?;
    let follower = Follower::begin(&served.push.feeds, ask).await?;
    let held = parts.extensions.get::<Held>().cloned();
    let conversation = Conversation {
        told: None,
        follower,
        timing: Timing::of(served.push.streams),
        draining: served.draining.subscribe(),
        unanswered: 0,
        _held: (held, slot),
    };
    Ok(upgrade
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(WRITE_BYTES)
        .max_message_size(MESSAGE_BYTES_MAX)
        .on_upgrade(|socket| conversation.hold(socket)))
}

/// One client and what it follows.
struct Conversation {
    follower: Follower,
    /// The cursor that the client was told last.
    told: Option<Position>,
    timing: Timing,
    draining: watch::Receiver<bool>,
    /// Pings that it did not answer.
    unanswered: u32,
    _held: (Option<Held>, OwnedSemaphorePermit),
}

/// What happens next.
enum Turn {
    /// These are to be sent.
    Send(Vec<Message>),
    /// Nothing is.
    Nothing,
    /// It is over: with these words, or because the client is gone.
    End(Option<(u16, &'static str)>),
}

/// The end of a stream that goes on at the next connection.
const GO_ON: Option<(u16, &str)> = Some((close_code::AWAY, "come back and go on"));

impl Conversation {
    async fn hold(mut self, mut socket: WebSocket) {
        let words = loop {
            let messages = match self.turn(&mut socket).await {
                Turn::Send(messages) => messages,
                Turn::Nothing => continue,
                Turn::End(words) => break words,
            };
            let last = messages.iter().any(is_problem);
            let sent = tokio::time::timeout(STALL, send(&mut socket, messages)).await;
            if !matches!(sent, Ok(Ok(()))) {
                break None;
            }
            if last {
                break Some((close_code::ERROR, "see the problem"));
            }
        };
        if let Some((code, reason)) = words {
            let close = CloseFrame {
                code,
                reason: reason.into(),
            };
            // It may be gone by then, which is what we want of it.
            drop(tokio::time::timeout(GOODBYE, goodbye(&mut socket, close)).await);
        }
    }

    async fn turn(&mut self, socket: &mut WebSocket) -> Turn {
        if self.told.is_none() && !self.follower.is_reset() {
            return Turn::Send(vec![self.place()]);
        }
        tokio::select! {
            biased;
            () = drained(&mut self.draining) => Turn::End(GO_ON),
            heard = socket.recv() => match heard {
                Some(Ok(Message::Pong(_))) => {
                    self.unanswered = 0;
                    Turn::Nothing
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => Turn::End(None),
                Some(Ok(_)) => Turn::Nothing,
            },
            told = self.follower.next() => match told {
                Ok(Told::Events(chunk, from)) => {
                    let filter = self.follower.filter();
                    let Some(told) = chunk.told(from, filter) else {
                        return Turn::Nothing;
                    };
                    self.told = Some(told);
                    Turn::Send(chunk.texts(from, filter).filter_map(text).collect())
                }
                Ok(Told::Reset(gap)) => {
                    self.told = Some(gap.earliest);
                    Turn::Send(vec![note(&Note::Reset(Reset::of(&gap)))])
                }
                Err(error) => Turn::Send(vec![note(&Note::Problem(Problem::write(&error)))]),
            },
            more = self.timing.due() => if more { self.beat() } else { Turn::End(GO_ON) },
        }
    }

    /// A ping; and where to go on, where that has moved on without an event.
    fn beat(&mut self) -> Turn {
        self.timing.heard();
        self.unanswered += 1;
        if self.unanswered > 2 {
            return Turn::End(None);
        }
        let mut messages = vec![Message::Ping(Vec::new().into())];
        if self.told != Some(self.follower.at()) {
            messages.push(self.place());
        }
        Turn::Send(messages)
    }

    fn place(&mut self) -> Message {
        self.told = Some(self.follower.at());
        note(&Note::Cursor(self.follower.at().to_string()))
    }
}

fn text(json: bytes::Bytes) -> Option<Message> {
    Utf8Bytes::try_from(json).ok().map(Message::Text)
}

fn note(note: &Note) -> Message {
    Message::Text(sse::json(note).into())
}

fn is_problem(message: &Message) -> bool {
    matches!(message, Message::Text(text) if text.starts_with("{\"problem\":"))
}

async fn send(socket: &mut WebSocket, messages: Vec<Message>) -> Result<(), axum::Error> {
    for message in messages {
        socket.feed(message).await?;
    }
    socket.flush().await
}

/// Says goodbye and hears the client out.
async fn goodbye(socket: &mut WebSocket, close: CloseFrame) {
    if socket.send(Message::Close(Some(close))).await.is_ok() {
        while let Some(Ok(_)) = socket.recv().await {}
    }
}
