//! NATS JetStream, over its own protocol: lines of text.

use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use posthaste_core::{Error, ErrorKind, Result};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::super::super::children::{Running, free_address};
use super::super::super::rate;
use super::super::{BATCH, Bench, KEYS};
use super::{ASKED, CALLERS, EVENTS, Figures, MEMBERS};

/// Bytes read at once.
const BUFFER_BYTES: usize = 256 * 1024;
/// How long a member's ask is kept by the server, in nanoseconds.
const EXPIRES_NS: u64 = 1_000_000_000;

/// Whether the installed version can be told to sync before it acknowledges: 2.10 and later.
pub(super) fn syncs_at_acknowledgement() -> bool {
    let told = Command::new("nats-server").arg("--version").output();
    let Some(text) = told
        .ok()
        .and_then(|told| String::from_utf8(told.stdout).ok())
    else {
        return false;
    };
    let version = text.trim().rsplit('v').next().unwrap_or_default();
    let mut parts = version
        .split('.')
        .map_while(|part| part.parse::<u32>().ok());
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (2, 10)
}

/// As it comes, or with each acknowledgement behind a sync.
pub(super) async fn start(bench: &Bench, durable: bool) -> Result<Running> {
    let address = free_address()?;
    let name = if durable { "nats-always" } else { "nats" };
    let dir = bench.dir.path().join(name);
    let config = bench.dir.path().join(format!("{name}.conf"));
    let always = if durable {
        "\n  sync_interval: always"
    } else {
        ""
    };
    let text = format!(
        "listen: \"{address}\"\njetstream {{\n  store_dir: \"{}\"{always}\n}}\n",
        dir.display()
    );
    std::fs::write(&config, text).map_err(failed)?;
    let mut command = Command::new("nats-server");
    command.arg("-c").arg(&config);
    let log = bench.dir.path().join(format!("{name}.log"));
    bench.children.start(command, &log, address).await
}

/// With `confirmed`, a member waits for the server's word on each of its acknowledgements.
pub(super) async fn work(running: &Running, payload: &Bytes, confirmed: bool) -> Result<Figures> {
    let address = running.address;
    make_stream(address).await.map_err(failed)?;
    Ok(Figures {
        publish: publish(address, payload).await.map_err(failed)?,
        read: read(address).await.map_err(failed)?,
        handle: handle(address, confirmed).await.map_err(failed)?,
    })
}

async fn make_stream(address: SocketAddr) -> io::Result<()> {
    let mut line = Line::open(address).await?;
    let stream = r#"{"name":"bench","subjects":["bench.*"],"storage":"file"}"#;
    line.request("$JS.API.STREAM.CREATE.bench", stream).await
}

async fn publish(address: SocketAddr, payload: &Bytes) -> io::Result<f64> {
    let start = Instant::now();
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let payload = payload.clone();
        callers.spawn(async move {
            let mut line = Line::open(address).await?;
            for batch in 0..EVENTS / CALLERS / BATCH {
                for number in 0..BATCH {
                    let key = (caller + batch * BATCH + number) % KEYS;
                    line.publish(&format!("bench.key-{key}"), true, &payload);
                }
                line.send().await?;
                for _ in 0..BATCH {
                    line.next().await?;
                    line.succeeded()?;
                }
            }
            Ok::<_, io::Error>(())
        });
    }
    for done in callers.join_all().await {
        done?;
    }
    Ok(rate(EVENTS, start.elapsed()))
}

/// Has them pushed to one reader.
async fn read(address: SocketAddr) -> io::Result<f64> {
    let mut line = Line::open(address).await?;
    line.subscribe("deliver.bench").await?;
    let start = Instant::now();
    let consumer = r#"{"stream_name":"bench","config":{"deliver_subject":"deliver.bench","ack_policy":"none","deliver_policy":"all"}}"#;
    line.publish("$JS.API.CONSUMER.CREATE.bench", true, consumer.as_bytes());
    line.send().await?;
    let mut count = 0;
    while count < EVENTS {
        line.next().await?;
        if line.subject.starts_with("bench.") {
            count += 1;
        } else {
            line.succeeded()?;
        }
    }
    Ok(rate(count, start.elapsed()))
}

async fn handle(address: SocketAddr, confirmed: bool) -> io::Result<f64> {
    let mut line = Line::open(address).await?;
    let consumer = r#"{"stream_name":"bench","config":{"durable_name":"bench","ack_policy":"explicit","deliver_policy":"all","max_ack_pending":10000}}"#;
    line.request("$JS.API.CONSUMER.DURABLE.CREATE.bench.bench", consumer)
        .await?;
    let left = Arc::new(AtomicU64::new(EVENTS));
    let start = Instant::now();
    let mut members = JoinSet::new();
    for _ in 0..MEMBERS {
        let left = Arc::clone(&left);
        members.spawn(async move { member(address, &left, confirmed).await });
    }
    // The others wait for events of which there are no more.
    while let Some(done) = members.join_next().await {
        if done.map_err(io::Error::other)?? {
            break;
        }
    }
    Ok(rate(EVENTS, start.elapsed()))
}

/// Asks for events, and acknowledges each. An ask that the server has let lapse is made again. True
/// where it had the last.
async fn member(address: SocketAddr, left: &AtomicU64, confirmed: bool) -> io::Result<bool> {
    let mut line = Line::open(address).await?;
    let ask = format!("{{\"batch\":{ASKED},\"expires\":{EXPIRES_NS}}}");
    let mut asked = 0;
    while left.load(Ordering::Acquire) > 0 {
        if asked == 0 {
            asked = ASKED;
            line.publish(
                "$JS.API.CONSUMER.MSG.NEXT.bench.bench",
                true,
                ask.as_bytes(),
            );
            line.send().await?;
        }
        line.next().await?;
        let is_event = line.subject.starts_with("bench.");
        if is_event {
            let acknowledged = std::mem::take(&mut line.reply);
            line.publish(&acknowledged, confirmed, b"+ACK");
            line.reply = acknowledged;
            asked -= 1;
        } else if line.has_status {
            asked = 0;
        }
        // Whatever came together is acknowledged together.
        if line.stream.buffer().is_empty() && !line.out.is_empty() {
            line.send().await?;
        }
        // With a confirmation an event is handled when that comes.
        let handled = !line.has_status && is_event != confirmed;
        if handled && left.fetch_sub(1, Ordering::AcqRel) == 1 {
            line.settle().await?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// A connection, with an inbox of its own.
struct Line {
    stream: BufReader<TcpStream>,
    out: Vec<u8>,
    head: String,
    inbox: String,
    /// Of the last message: its subject, where it is to be answered, whether it is a word of the
    /// server's own (those alone have headers here), and what it says.
    subject: String,
    reply: String,
    has_status: bool,
    body: Vec<u8>,
}

impl Line {
    async fn open(address: SocketAddr) -> io::Result<Self> {
        static OPENED: AtomicU64 = AtomicU64::new(0);
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let number = OPENED.fetch_add(1, Ordering::Relaxed);
        let inbox = format!("_INBOX.bench.{number}");
        let hello = format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true}}\r\n\
             SUB {inbox} 1\r\n"
        );
        let mut line = Self {
            stream: BufReader::with_capacity(BUFFER_BYTES, stream),
            out: hello.into_bytes(),
            head: String::new(),
            inbox,
            subject: String::new(),
            reply: String::new(),
            has_status: false,
            body: Vec::new(),
        };
        line.settle().await?;
        Ok(line)
    }

    async fn subscribe(&mut self, subject: &str) -> io::Result<()> {
        self.out
            .extend_from_slice(format!("SUB {subject} 2\r\n").as_bytes());
        self.settle().await
    }

    /// Puts a message behind those that will be sent; with `answered`, the answer comes to the inbox.
    fn publish(&mut self, subject: &str, answered: bool, payload: &[u8]) {
        let (reply, space) = match answered {
            true => (self.inbox.as_str(), " "),
            false => ("", ""),
        };
        let head = format!("PUB {subject} {reply}{space}{}\r\n", payload.len());
        self.out.extend_from_slice(head.as_bytes());
        self.out.extend_from_slice(payload);
        self.out.extend_from_slice(b"\r\n");
    }

    async fn send(&mut self) -> io::Result<()> {
        let sent = self.stream.get_mut().write_all(&self.out).await;
        self.out.clear();
        sent
    }

    /// Sends, and waits until the server has done all of it.
    async fn settle(&mut self) -> io::Result<()> {
        self.out.extend_from_slice(b"PING\r\n");
        self.send().await?;
        while self.line().await? != "PONG" {}
        Ok(())
    }

    /// Asks, and hears that it was done.
    async fn request(&mut self, subject: &str, payload: &str) -> io::Result<()> {
        self.publish(subject, true, payload.as_bytes());
        self.send().await?;
        self.next().await?;
        self.succeeded()
    }

    /// Whether the last message says so.
    fn succeeded(&self) -> io::Result<()> {
        let refused = self.has_status || self.body.windows(8).any(|part| part == b"\"error\":");
        if refused {
            return Err(io::Error::other(String::from_utf8_lossy(&self.body)));
        }
        Ok(())
    }

    /// Reads the next message.
    async fn next(&mut self) -> io::Result<()> {
        loop {
            let verb = self.line().await?;
            if verb == "MSG" || verb == "HMSG" {
                return Ok(());
            }
        }
    }

    /// Reads what comes next: its verb. A message is taken in.
    async fn line(&mut self) -> io::Result<&'static str> {
        self.head.clear();
        if self.stream.read_line(&mut self.head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut words = self.head.split_ascii_whitespace();
        let verb = match words.next() {
            Some("MSG") => "MSG",
            Some("HMSG") => "HMSG",
            Some("PONG") => return Ok("PONG"),
            Some("PING") => {
                self.out.extend_from_slice(b"PONG\r\n");
                self.send().await?;
                return Ok("PING");
            }
            Some("-ERR") => return Err(io::Error::other(self.head.clone())),
            _ => return Ok(""),
        };
        self.has_status = verb == "HMSG";
        let words: Vec<&str> = words.collect();
        // Subject, subscription, where to answer if at all, lengths: with headers there are two.
        let lengths = 1 + usize::from(self.has_status);
        let length = words.last().and_then(|length| length.parse::<usize>().ok());
        let Some((&subject, length)) = words.first().zip(length) else {
            return Err(io::Error::other(format!("it said {:?}", self.head)));
        };
        self.subject.clear();
        self.subject.push_str(subject);
        self.reply.clear();
        if words.len() == 3 + lengths {
            self.reply.push_str(words[2]);
        }
        self.body.resize(length + 2, 0);
        self.stream.read_exact(&mut self.body).await?;
        self.body.truncate(length);
        Ok(verb)
    }
}

fn failed(error: io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("nats-server: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_are_read_with_and_without_headers_and_pings_are_answered() {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = listener.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = async {
            let (mut stream, _) = listener.accept().await.expect("accepted");
            let said = b"INFO {}\r\nPONG\r\n\
                MSG bench.k 1 $JS.ACK.1 2\r\n\r\n\r\n\
                PING\r\n\
                MSG inbox 1 11\r\n{\"error\":1}\r\n\
                HMSG inbox 1 12 12\r\nNATS/1.0\r\n\r\n\r\n\
                -ERR 'gone'\r\n";
            stream.write_all(said).await.expect("written");
            let mut heard = String::new();
            stream.read_to_string(&mut heard).await.expect("read");
            heard
        };
        let client = async {
            let mut line = Line::open(address).await.expect("connected");
            line.next().await.expect("a message");
            assert_eq!((&*line.subject, &*line.reply), ("bench.k", "$JS.ACK.1"));
            assert_eq!(line.body, b"\r\n");
            assert!(line.succeeded().is_ok());
            line.next().await.expect("another");
            assert_eq!((&*line.subject, &*line.reply), ("inbox", ""));
            assert!(line.succeeded().is_err(), "it tells of an error");
            line.next().await.expect("a word of the server's");
            assert!(line.has_status && line.succeeded().is_err());
            assert!(line.next().await.is_err(), "it was hung up on");
        };
        let (heard, ()) = tokio::join!(server, client);
        assert!(
            heard.starts_with("CONNECT ") && heard.contains("PONG\r\n"),
            "{heard}"
        );
    }
}
