//! A server over a store in memory, and a client that can also misbehave.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use posthaste_core::Store;
use posthaste_server::{Served, Streams, router, server};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::watched::Watched;

/// Long enough that only a hang reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running server. Dropping it drains it.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) store: Watched,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<u32>>,
}

impl Server {
    /// Serves an empty store under the default limits.
    pub(crate) fn start() -> Self {
        Self::with(server::Limits::default())
    }

    /// Serves an empty store under `limits`.
    pub(crate) fn with(limits: server::Limits) -> Self {
        Self::over(Watched::new(), limits)
    }

    /// Serves `store`.
    pub(crate) fn over(store: Watched, limits: server::Limits) -> Self {
        Self::streaming(store, limits, Streams::default())
    }

    /// Serves `store`, with streams of that sort.
    pub(crate) fn streaming(store: Watched, limits: server::Limits, streams: Streams) -> Self {
        Self::serving(store, limits, |served| served.with_streams(streams))
    }

    /// Serves `store` in that manner.
    pub(crate) fn serving(
        store: Watched,
        limits: server::Limits,
        manner: impl FnOnce(Served) -> Served,
    ) -> Self {
        let served = manner(Served::new(Arc::new(store.clone()) as Arc<dyn Store>));
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let listener = server::listen(([127, 0, 0, 1], 0).into())
                    .await
                    .expect("a port");
                tell.send(listener.local_addr().expect("an address"))
                    .expect("a listener");
                let drain = served.drain();
                server::serve(listener, router(served), limits, async move {
                    drop(stopped.await);
                    drain.begin();
                })
                .await
            })
        });
        Self {
            address: told.recv().expect("the server started"),
            store,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Asks the server to drain, without waiting for it.
    pub(crate) fn begin_drain(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send(()).expect("the server runs");
        }
    }

    /// Waits for the end of the drain: how many connections were cut.
    pub(crate) fn ended(mut self) -> u32 {
        self.begin_drain();
        self.thread
            .take()
            .expect("once")
            .join()
            .expect("the server ended well")
    }

    /// A connection.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    /// One request over a connection of its own.
    pub(crate) fn send(&self, method: &str, path: &str, body: &str) -> Answer {
        self.send_with(method, path, &[], body.as_bytes())
    }

    /// One request with headers of its own.
    pub(crate) fn send_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut stream = self.connect();
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n",
            self.address,
            body.len()
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        // A server that has answered early may have stopped reading.
        drop(
            stream
                .write_all(head.as_bytes())
                .and_then(|()| stream.write_all(body)),
        );
        Answer::read(&mut stream)
    }

    /// Enqueues one job and answers its id.
    pub(crate) fn enqueue(&self, job: &str) -> String {
        let answer = self.send("POST", "/v1/jobs", job);
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body["jobs"][0]["id"]
            .as_str()
            .expect("an id")
            .to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.begin_drain();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// A response, read to the end of its connection.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    /// The body where it is JSON, else its text.
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn read(stream: &mut impl Read) -> Self {
        let mut bytes = Vec::new();
        // A reset after the answer leaves what was read.
        drop(stream.read_to_end(&mut bytes));
        let text = String::from_utf8_lossy(&bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        Self {
            status: status.unwrap_or_else(|| panic!("no answer: {text:?}")),
            head: head.to_lowercase(),
            body: serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned())),
        }
    }

    /// The problem's slug, its title and the next step.
    pub(crate) fn problem(&self) -> (&str, &str, &str) {
        assert!(self.head.contains("application/problem+json"), "{self:?}");
        assert_eq!(self.body["status"], self.status, "{self:?}");
        let text = |field: &str| self.body[field].as_str().unwrap_or_default();
        (text("type"), text("title"), text("detail"))
    }
}
