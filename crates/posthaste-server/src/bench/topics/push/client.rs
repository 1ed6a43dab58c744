//! Clients that follow a topic, by the bytes that go over the wire.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use posthaste_core::{Error, ErrorKind, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// Bytes read at once.
const BUFFER_BYTES: usize = 64 * 1024;
/// Connections that are opened at once.
const OPENING: usize = 64;
/// How much the system may keep that a client has not read.
const RECEIVED_BYTES: u32 = 64 * 1024;

/// How a topic is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Stream,
    Socket,
    LongPoll,
    Poll,
}

impl Way {
    /// The request that begins it, or that asks once; `from` is where to read on, with the `ETag` of
    /// the last answer for a poll.
    pub(super) fn request(self, address: SocketAddr, from: &str, tag: &str) -> String {
        let rest = match self {
            Self::Stream => format!("stream?from={from} HTTP/1.1\r\naccept: text/event-stream\r\n"),
            Self::Socket => format!(
                "stream?from={from} HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                 sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            ),
            Self::LongPoll => format!("events?from={from}&wait=30s HTTP/1.1\r\n"),
            Self::Poll if tag.is_empty() => format!("events?from={from} HTTP/1.1\r\n"),
            Self::Poll => format!("events?from={from} HTTP/1.1\r\nif-none-match: {tag}\r\n"),
        };
        format!("GET /v1/topics/bench/{rest}host: {address}\r\n\r\n")
    }

    /// Whether the server sends without being asked again.
    pub(super) fn is_pushed(self) -> bool {
        matches!(self, Self::Stream | Self::Socket)
    }
}

/// Opens so many connections, and waits until the server has begun to answer each. A poll that waits
/// is asked, and not answered; a plain one was answered.
pub(super) async fn hold(
    address: SocketAddr,
    way: Way,
    from: &'static str,
    count: usize,
) -> Result<Vec<TcpStream>> {
    let (mut held, mut opening) = (Vec::with_capacity(count), JoinSet::new());
    for _ in 0..count {
        if opening.len() >= OPENING {
            held.extend(opened(opening.join_next().await)?);
        }
        opening.spawn(open(address, way, from));
    }
    while !opening.is_empty() {
        held.extend(opened(opening.join_next().await)?);
    }
    Ok(held)
}

fn opened(
    opened: Option<Result<Result<TcpStream>, tokio::task::JoinError>>,
) -> Result<Option<TcpStream>> {
    match opened {
        Some(Ok(opened)) => opened.map(Some),
        Some(Err(error)) => Err(failed(&std::io::Error::other(error))),
        None => Ok(None),
    }
}

async fn open(address: SocketAddr, way: Way, from: &str) -> Result<TcpStream> {
    let open = async {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(RECEIVED_BYTES)?;
        let mut stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        stream
            .write_all(way.request(address, from, "").as_bytes())
            .await?;
        // What a stream says first is its cursor; a socket says it as text.
        let until: &[u8] = match way {
            Way::Stream => b"\n\n",
            Way::Socket => b"\"}",
            Way::Poll => b"\r\n\r\n",
            Way::LongPoll => return Ok(stream),
        };
        let (mut said, mut buffer) = (Vec::new(), [0; 1024]);
        while !said.windows(until.len()).any(|part| part == until) {
            let read = stream.read(&mut buffer).await?;
            if read == 0 || said.len() > 16 * 1024 {
                let said = String::from_utf8_lossy(&said).into_owned();
                return Err(std::io::Error::other(said));
            }
            said.extend_from_slice(&buffer[..read]);
        }
        Ok(stream)
    };
    open.await.map_err(|error| failed(&error))
}

/// Hands on what comes, until the connection ends.
pub(super) async fn read(stream: &TcpStream, mut each: impl FnMut(&[u8])) -> Result<()> {
    loop {
        stream.readable().await.map_err(|error| failed(&error))?;
        // On the stack and not kept: a thousand clients wait most of the time.
        let mut buffer = [0; BUFFER_BYTES];
        match stream.try_read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => each(&buffer[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(failed(&error)),
        }
    }
}

/// Reads so many bytes.
pub(super) async fn drain(stream: TcpStream, mut bytes: u64) -> Result<()> {
    while bytes > 0 {
        stream.readable().await.map_err(|error| failed(&error))?;
        let mut buffer = [0; BUFFER_BYTES];
        match stream.try_read(&mut buffer) {
            Ok(read) => bytes = bytes.saturating_sub(read as u64),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(failed(&error)),
        }
    }
    Ok(())
}

/// Writes the same bytes so many times.
pub(super) async fn pour(mut stream: TcpStream, bytes: Bytes, times: u64) -> Result<()> {
    for _ in 0..times {
        let written = stream.write_all(&bytes).await;
        written.map_err(|error| failed(&error))?;
    }
    Ok(())
}

/// Finds the events in what comes, and how long each took: its payload tells when it was published.
pub(super) struct Times {
    since: Instant,
    /// What came last, where it may be the beginning of one.
    carried: Vec<u8>,
}

/// Before the nanoseconds.
const MARK: &[u8] = b"\"at\":";
/// Most bytes of a mark and its number.
const MARK_BYTES: usize = 32;

impl Times {
    pub(super) fn new(since: Instant) -> Self {
        Self {
            since,
            carried: Vec::new(),
        }
    }

    /// How many are in it and what came before.
    pub(super) fn take(&mut self, bytes: &[u8], mut each: impl FnMut(Duration)) -> u64 {
        let now = self.since.elapsed();
        self.carried.extend_from_slice(bytes);
        let (mut found, mut done) = (0, 0);
        while let Some(at) = position(&self.carried[done..]) {
            let digits = &self.carried[done + at + MARK.len()..];
            let Some(end) = digits.iter().position(|byte| !byte.is_ascii_digit()) else {
                done += at;
                break;
            };
            let number = std::str::from_utf8(&digits[..end]).unwrap_or_default();
            let at_ns = number.parse().unwrap_or_default();
            each(now.saturating_sub(Duration::from_nanos(at_ns)));
            found += 1;
            done += at + MARK.len() + end;
        }
        let keep = self.carried.len().saturating_sub(MARK_BYTES).max(done);
        self.carried.drain(..keep);
        found
    }
}

fn position(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = bytes.get(from..)?.iter().position(|byte| *byte == b'"') {
        if bytes[from + at..].starts_with(MARK) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

pub(super) fn failed(error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("a client failed: {error}"))
        .next("see how many descriptors this user may have: ulimit -Hn")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_however_they_are_cut() {
        let text = br#"id: 1\ndata: {"data":{"at":12,"data":"x"}}\n\n{"data":{"at":345,"x":"at"}}"#;
        for cut in 0..text.len() {
            let mut times = Times::new(Instant::now());
            let mut count = times.take(&text[..cut], |_| ());
            count += times.take(&text[cut..], |_| ());
            assert_eq!(count, 2, "cut at {cut}");
        }
    }
}
