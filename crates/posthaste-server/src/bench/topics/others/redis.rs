//! Redis Streams, over its own protocol (RESP).

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

/// As it comes, or with each answer behind a sync of its log.
pub(super) async fn start(bench: &Bench, durable: bool) -> Result<Running> {
    let address = free_address()?;
    let name = if durable { "redis-always" } else { "redis" };
    let dir = bench.dir.path().join(name);
    std::fs::create_dir_all(&dir).map_err(failed)?;
    let mut command = Command::new("redis-server");
    command
        .args(["--bind", "127.0.0.1", "--port"])
        .arg(address.port().to_string())
        .arg("--dir")
        .arg(&dir);
    if durable {
        command.args([
            "--save",
            "",
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
        ]);
    }
    let log = bench.dir.path().join(format!("{name}.log"));
    bench.children.start(command, &log, address).await
}

pub(super) async fn work(running: &Running, payload: &Bytes) -> Result<Figures> {
    Ok(Figures {
        publish: publish(running.address, payload).await.map_err(failed)?,
        read: read(running.address).await.map_err(failed)?,
        handle: handle(running.address).await.map_err(failed)?,
    })
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
                    let key = format!("key-{}", (caller + batch * BATCH + number) % KEYS);
                    line.ask(&[
                        b"XADD",
                        b"bench",
                        b"*",
                        b"key",
                        key.as_bytes(),
                        b"data",
                        &payload,
                    ]);
                }
                line.send().await?;
                for _ in 0..BATCH {
                    line.answer(|_| ()).await?;
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

/// Reads ten thousand at once, by one reader.
async fn read(address: SocketAddr) -> io::Result<f64> {
    let mut line = Line::open(address).await?;
    let start = Instant::now();
    let (mut last, mut count) = (b"0".to_vec(), 0);
    while count < EVENTS {
        line.ask(&[b"XREAD", b"COUNT", b"10000", b"STREAMS", b"bench", &last]);
        let ids = line.entries().await?;
        let Some(newest) = ids.last() else {
            return Err(io::Error::other("the stream has fewer events than it took"));
        };
        last.clone_from(newest);
        count += ids.len() as u64;
    }
    Ok(rate(count, start.elapsed()))
}

async fn handle(address: SocketAddr) -> io::Result<f64> {
    let mut line = Line::open(address).await?;
    line.ask(&[b"XGROUP", b"CREATE", b"bench", b"bench", b"0"]);
    line.answer(|_| ()).await?;
    let left = Arc::new(AtomicU64::new(EVENTS));
    let start = Instant::now();
    let mut members = JoinSet::new();
    for member in 0..MEMBERS {
        let left = Arc::clone(&left);
        members.spawn(async move {
            let mut line = Line::open(address).await?;
            let (name, count) = (format!("member-{member}"), ASKED.to_string());
            while left.load(Ordering::Acquire) > 0 {
                let ask: [&[u8]; 9] = [
                    b"XREADGROUP",
                    b"GROUP",
                    b"bench",
                    name.as_bytes(),
                    b"COUNT",
                    count.as_bytes(),
                    b"STREAMS",
                    b"bench",
                    b">",
                ];
                line.ask(&ask);
                let ids = line.entries().await?;
                if ids.is_empty() {
                    break;
                }
                let mut acknowledge: Vec<&[u8]> = vec![b"XACK", b"bench", b"bench"];
                acknowledge.extend(ids.iter().map(Vec::as_slice));
                line.ask(&acknowledge);
                line.answer(|_| ()).await?;
                left.fetch_sub(ids.len() as u64, Ordering::AcqRel);
            }
            Ok::<_, io::Error>(())
        });
    }
    for done in members.join_all().await {
        done?;
    }
    match left.load(Ordering::Acquire) {
        0 => Ok(rate(EVENTS, start.elapsed())),
        left => Err(io::Error::other(format!(
            "{left} events were handed to nobody"
        ))),
    }
}

/// A connection.
struct Line {
    stream: BufReader<TcpStream>,
    out: Vec<u8>,
    head: Vec<u8>,
    body: Vec<u8>,
}

impl Line {
    async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::with_capacity(BUFFER_BYTES, stream),
            out: Vec::new(),
            head: Vec::new(),
            body: Vec::new(),
        })
    }

    /// Puts a command behind those that will be sent.
    fn ask(&mut self, words: &[&[u8]]) {
        self.out
            .extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
        for word in words {
            self.out
                .extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            self.out.extend_from_slice(word);
            self.out.extend_from_slice(b"\r\n");
        }
    }

    async fn send(&mut self) -> io::Result<()> {
        let sent = self.stream.get_mut().write_all(&self.out).await;
        self.out.clear();
        sent
    }

    /// Reads one answer; each text in it, however deep, is told to `each`.
    async fn answer(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        if !self.out.is_empty() {
            self.send().await?;
        }
        let mut left = 1_usize;
        while left > 0 {
            left -= 1;
            self.head.clear();
            self.stream.read_until(b'\n', &mut self.head).await?;
            let head = std::str::from_utf8(&self.head)
                .unwrap_or_default()
                .trim_end();
            let (sign, rest) = head.split_at_checked(1).unwrap_or_default();
            match (sign, rest.parse::<usize>()) {
                ("*", Ok(count)) => left += count,
                ("$", Ok(length)) => {
                    self.body.resize(length + 2, 0);
                    self.stream.read_exact(&mut self.body).await?;
                    each(&self.body[..length]);
                }
                // Nothing, a number, or a word.
                ("*" | "$", _) | (":" | "+", _) => {}
                _ => return Err(io::Error::other(format!("it answered {head:?}"))),
            }
        }
        Ok(())
    }

    /// Sends, and reads entries of one stream: the id of each. Their texts are the stream's name,
    /// and then id, `key`, the key, `data` and the payload of each.
    async fn entries(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let (mut seen, mut ids) = (0_usize, Vec::new());
        self.answer(|text| {
            if seen % 5 == 1 {
                ids.push(text.to_vec());
            }
            std::hint::black_box(text.len());
            seen += 1;
        })
        .await?;
        Ok(ids)
    }
}

fn failed(error: io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("redis-server: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection to somebody who says this and no more.
    async fn said(text: &'static [u8]) -> Line {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = listener.expect("a port");
        let address = listener.local_addr().expect("an address");
        let line = Line::open(address).await.expect("connected");
        let (mut stream, _) = listener.accept().await.expect("accepted");
        stream.write_all(text).await.expect("written");
        line
    }

    #[tokio::test]
    async fn entries_are_told_by_their_ids_and_refusals_are_errors() {
        let mut line = said(
            b"*1\r\n*2\r\n$5\r\nbench\r\n*2\r\n\
              *2\r\n$3\r\n1-0\r\n*4\r\n$3\r\nkey\r\n$1\r\nk\r\n$4\r\ndata\r\n$4\r\n\r\n\r\n\r\n\
              *2\r\n$3\r\n2-0\r\n*4\r\n$3\r\nkey\r\n$1\r\nk\r\n$4\r\ndata\r\n$0\r\n\r\n\
              *-1\r\n:7\r\n-ERR no such thing\r\n",
        )
        .await;
        let ids = line.entries().await.expect("entries");
        assert_eq!(ids, [b"1-0".to_vec(), b"2-0".to_vec()]);
        assert!(line.entries().await.expect("none").is_empty());
        line.answer(|_| panic!("a number is no text"))
            .await
            .expect("a number");
        let refused = line.answer(|_| ()).await.expect_err("a refusal");
        assert!(refused.to_string().contains("no such thing"));
        assert!(line.answer(|_| ()).await.is_err(), "it has hung up");
    }
}
