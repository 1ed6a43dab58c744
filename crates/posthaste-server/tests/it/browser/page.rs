//! A server in front of Posthaste: it has a page, passes `/v1/` on, and hears what the page was told.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;

use serde_json::Value;

use crate::client::PATIENCE;

/// It follows the topic as `docs/guide/realtime.md` says, and tells what it hears in that order.
const PAGE: &str = r#"<!doctype html>
<title>orders</title>
<ol id="events"></ol>
<script>
  let before = Promise.resolve();
  const tell = (what) => {
    const body = JSON.stringify(what);
    before = before.then(() => fetch("/told", { method: "POST", body }));
  };
  let seen = "earliest";
  const follow = () => {
    const stream = new EventSource(`/v1/topics/orders/stream?from=${seen}`);
    stream.onmessage = (message) => {
      seen = message.lastEventId;
      const data = JSON.parse(message.data);
      const line = document.createElement("li");
      line.textContent = `${data.type} ${data.data.n} at ${seen}`;
      document.getElementById("events").append(line);
      tell({ id: seen, data });
    };
    stream.addEventListener("reset", (message) => tell({ reset: JSON.parse(message.data) }));
    stream.onerror = () => {
      // It comes back by itself, unless it was answered with an error.
      if (stream.readyState === EventSource.CLOSED) setTimeout(follow, 500);
    };
  };
  follow();
</script>
"#;

/// What becomes of a request while there is no server behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Away {
    /// Its connection is broken off.
    BreakOff,
    /// It is answered 502, as many proxies do.
    BadGateway,
}

/// A stream that was asked for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// The path and the query.
    pub(super) path: String,
    /// What the browser said by itself that it saw last.
    pub(super) seen: Option<String>,
}

/// What the page told: an event with its id, or a reset.
#[derive(Debug)]
pub(super) struct Report(pub(super) Value);

/// The server in front.
pub(super) struct Front {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    away: Away,
    behind: Mutex<Option<SocketAddr>>,
    asked: Mutex<Vec<Asked>>,
    more_asked: Condvar,
    /// Connections over which they are passed on.
    streams: Mutex<Vec<TcpStream>>,
    reports: Mutex<mpsc::Sender<Report>>,
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Front {
    /// Stands in front of the server at that address. What the page tells comes out of the channel.
    pub(super) fn start(behind: SocketAddr, away: Away) -> (Self, mpsc::Receiver<Report>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (reports, told) = mpsc::channel();
        let shared = Arc::new(Shared {
            away,
            behind: Mutex::new(Some(behind)),
            asked: Mutex::default(),
            more_asked: Condvar::new(),
            streams: Mutex::default(),
            reports: Mutex::new(reports),
        });
        let of_thread = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&of_thread);
                // A browser that is gone, or a server, is the matter of that connection alone.
                thread::spawn(move || drop(shared.serve(stream)));
            }
        });
        (Self { address, shared }, told)
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Where the server is now, if it is.
    pub(super) fn behind(&self) -> Option<SocketAddr> {
        *lock(&self.shared.behind)
    }

    pub(super) fn now_behind(&self, address: Option<SocketAddr>) {
        *lock(&self.shared.behind) = address;
    }

    /// Every stream that was asked for.
    pub(super) fn asked(&self) -> Vec<Asked> {
        lock(&self.shared.asked).clone()
    }

    /// Waits until so many streams were asked for.
    pub(super) fn wait_until_asked(&self, many: usize) {
        let asked = lock(&self.shared.asked);
        let waited = self
            .shared
            .more_asked
            .wait_timeout_while(asked, PATIENCE, |asked| asked.len() < many);
        let (asked, _) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(asked.len() >= many, "the browser does not come back");
    }

    /// Breaks every stream off.
    pub(super) fn hang_up(&self) {
        for stream in lock(&self.shared.streams).drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

impl Shared {
    /// Answers one request. The connection is closed behind it.
    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let mut words = head.split(' ');
        match (words.next(), words.next()) {
            (Some("GET"), Some("/")) => answer(stream.get_mut(), "text/html", PAGE),
            (Some("POST"), Some("/told")) => {
                let length = field(&head, "content-length").and_then(|it| it.parse().ok());
                let mut body = vec![0; length.unwrap_or(0)];
                stream.read_exact(&mut body)?;
                let report = Report(serde_json::from_slice(&body)?);
                // The test may be over.
                drop(lock(&self.reports).send(report));
                answer(stream.get_mut(), "text/plain", "")
            }
            (Some("GET"), Some(path)) if path.starts_with("/v1/") => {
                lock(&self.asked).push(Asked {
                    path: path.to_owned(),
                    seen: field(&head, "last-event-id"),
                });
                self.more_asked.notify_all();
                self.pass_on(stream.get_mut(), &head)
            }
            _ => stream.get_mut().write_all(
                b"HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            ),
        }
    }

    /// Passes a request on, and its answer back as it comes.
    fn pass_on(&self, browser: &mut TcpStream, head: &str) -> io::Result<()> {
        let behind = *lock(&self.behind);
        let server = behind.ok_or(io::ErrorKind::NotConnected.into());
        let mut server = match server.and_then(TcpStream::connect) {
            Ok(server) => server,
            Err(_) if self.away == Away::BadGateway => {
                let answer =
                    "HTTP/1.1 502 Bad Gateway\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
                return browser.write_all(answer.as_bytes());
            }
            Err(away) => return Err(away),
        };
        server.write_all(head.as_bytes())?;
        lock(&self.streams).push(server.try_clone()?);
        io::copy(&mut server, browser)?;
        Ok(())
    }
}

fn answer(to: &mut TcpStream, content_type: &str, body: &str) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    to.write_all(head.as_bytes())?;
    to.write_all(body.as_bytes())
}

/// A field of a head.
fn field(head: &str, name: &str) -> Option<String> {
    head.lines().find_map(|line| {
        let (of, value) = line.split_once(':')?;
        of.eq_ignore_ascii_case(name)
            .then(|| value.trim().to_owned())
    })
}
