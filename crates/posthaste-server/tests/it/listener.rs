//! Clients that follow: one that reads server-sent events as a browser does, and a WebSocket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::client::Server;

/// One block of a stream: what is between two empty lines.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Block {
    pub(crate) id: Option<String>,
    pub(crate) event: Option<String>,
    pub(crate) data: Option<String>,
    pub(crate) retry: Option<u64>,
    pub(crate) comment: bool,
}

impl Block {
    /// What its data says.
    pub(crate) fn json(&self) -> Value {
        let data = self.data.as_deref().expect("data");
        serde_json::from_str(data).expect("JSON")
    }
}

/// A body that comes in chunks, as the bytes in them.
struct Chunked {
    stream: BufReader<TcpStream>,
    left: usize,
    over: bool,
}

impl Read for Chunked {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 && !self.over {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            if line.trim().is_empty() {
                line.clear();
                self.stream.read_line(&mut line)?;
            }
            self.left = usize::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
            self.over = self.left == 0;
        }
        if self.over {
            return Ok(0);
        }
        let most = buffer.len().min(self.left);
        let read = self.stream.read(&mut buffer[..most])?;
        self.left -= read;
        Ok(read)
    }
}

/// A client of a stream.
pub(crate) struct Listener {
    pub(crate) head: String,
    lines: BufReader<Chunked>,
    /// What it would say that it has seen.
    pub(crate) seen: Option<String>,
}

impl Listener {
    /// Follows `path`, having seen what it says.
    pub(crate) fn open(server: &Server, path: &str, seen: Option<&str>) -> Self {
        let mut stream = server.connect();
        let seen_line = seen.map(|seen| format!("last-event-id: {seen}\r\n"));
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n{}\r\n",
            seen_line.unwrap_or_default()
        );
        stream.write_all(head.as_bytes()).expect("sent");
        Self::on(stream, seen)
    }

    /// The same over a connection on which it was asked for already.
    pub(crate) fn on(stream: TcpStream, seen: Option<&str>) -> Self {
        let mut stream = BufReader::new(stream);
        let head = read_head(&mut stream);
        assert!(head.starts_with("http/1.1 200"), "{head}");
        Self {
            head,
            lines: BufReader::new(Chunked {
                stream,
                left: 0,
                over: false,
            }),
            seen: seen.map(str::to_owned),
        }
    }

    /// The next block; none where the stream has ended as it should.
    pub(crate) fn block(&mut self) -> Option<Block> {
        let mut block = Block::default();
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).expect("it is not cut off") == 0 {
                assert_eq!(block, Block::default(), "it ended within a block");
                return None;
            }
            let line = line.strip_suffix('\n').expect("a whole line");
            match line.split_once(": ").unwrap_or((line, "")) {
                ("", "") => return Some(block),
                ("id", id) => {
                    self.seen = Some(id.to_owned());
                    block.id = Some(id.to_owned());
                }
                ("event", event) => block.event = Some(event.to_owned()),
                ("data", data) => block.data = Some(data.to_owned()),
                ("retry", retry) => block.retry = retry.parse().ok(),
                (":", "") => block.comment = true,
                other => panic!("{other:?} is not a line of a stream"),
            }
        }
    }

    /// The next block that has data; none at the end.
    pub(crate) fn event(&mut self) -> Option<Block> {
        loop {
            let block = self.block()?;
            if block.data.is_some() {
                return Some(block);
            }
        }
    }

    /// The ids of the next so many events.
    pub(crate) fn ids(&mut self, count: usize) -> Vec<String> {
        let mut next = || self.event().expect("an event").json()["id"].clone();
        let ids = (0..count).map(|_| next().as_str().expect("an id").to_owned());
        ids.collect()
    }
}

fn read_head(stream: &mut impl BufRead) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let read = stream.read_line(&mut head).expect("an answer");
        assert!(read > 0, "no answer: {head:?}");
    }
    head.to_lowercase()
}

/// What a server sends over a socket.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Message {
    Text(Value),
    Ping,
    Close(u16),
}

/// A client of a WebSocket. (RFC 6455.)
pub(crate) struct Socket {
    stream: BufReader<TcpStream>,
}

impl Socket {
    pub(crate) fn open(server: &Server, path: &str) -> Self {
        let mut stream = server.connect();
        // The key and its answer are the example of RFC 6455, 1.3.
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("sent");
        let mut stream = BufReader::new(stream);
        let head = read_head(&mut stream);
        assert!(head.starts_with("http/1.1 101"), "{head}");
        assert!(head.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
        Self { stream }
    }

    /// The next message; none where the connection has ended.
    pub(crate) fn next(&mut self) -> Option<Message> {
        let mut start = [0; 2];
        self.stream.read_exact(&mut start).ok()?;
        let length = match start[1] {
            126 => {
                let mut length = [0; 2];
                self.stream.read_exact(&mut length).expect("a length");
                usize::from(u16::from_be_bytes(length))
            }
            127 => panic!("a message of more than 64 KiB"),
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).expect("a payload");
        Some(match start[0] {
            0x81 => Message::Text(serde_json::from_slice(&payload).expect("JSON")),
            0x88 => Message::Close(u16::from_be_bytes([payload[0], payload[1]])),
            0x89 => Message::Ping,
            other => panic!("a frame that begins with {other:x}"),
        })
    }

    /// The next text.
    pub(crate) fn text(&mut self) -> Value {
        loop {
            match self.next() {
                Some(Message::Text(text)) => return text,
                Some(Message::Ping) => {}
                other => panic!("{other:?} instead of a text"),
            }
        }
    }

    /// Answers a ping, or says goodbye.
    pub(crate) fn send(&mut self, opcode: u8, payload: &[u8]) {
        let length = u8::try_from(payload.len()).expect("short");
        let mut frame = vec![0x80 | opcode, 0x80 | length, 0, 0, 0, 0];
        frame.extend_from_slice(payload);
        self.stream.get_mut().write_all(&frame).expect("sent");
    }
}
