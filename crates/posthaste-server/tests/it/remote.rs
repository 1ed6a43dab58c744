//! The remote store before a server that is ill, gone, or turns calls away: what it repeats, what it
//! leaves, and what it says along.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use posthaste::HttpStore;
use posthaste::policy::{BreakerState, Context, Criticality};
use posthaste_core::command::CommitKey;
use posthaste_core::{Command, Commit, Committed, ErrorKind, JobId, Outcome, Result, Store, Token};

const QUEUES: &str = "{\"queues\":[]}";
const COMMITTED: &str =
    "{\"repeated\":false,\"replies\":[{\"changed\":{\"state\":\"available\"}}]}";
const READY: &str = "{\"store\":\"memory\",\"durability\":\"memory\",\"accepting\":true,\"problems\":[],\
    \"disk_bytes\":0,\"live_bytes\":0,\"syncs\":0,\"commits\":0}";
const BUSY: &str =
    r#"{"type":"busy","title":"the backlog is too long","status":429,"retry_after":"1ms"}"#;
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// What a server does with a request.
#[derive(Clone, Copy)]
enum Does {
    /// Answers so.
    Say(u16, &'static str),
    /// Hangs up, having read it.
    HangUp,
}

/// A server that does as it is told, and remembers what it was asked.
#[derive(Clone, Default)]
struct Scripted {
    deeds: Arc<Mutex<VecDeque<Does>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    fn start(deeds: &[Does]) -> (Self, SocketAddr) {
        let scripted = Self::default();
        scripted.lock_deeds().extend(deeds);
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let serving = scripted.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (serving, stream) = (serving.clone(), stream.expect("a connection"));
                thread::spawn(move || serving.serve(stream));
            }
        });
        (scripted, address)
    }

    fn lock_deeds(&self) -> std::sync::MutexGuard<'_, VecDeque<Does>> {
        self.deeds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One request a connection. Whether it is ready it always says.
    fn serve(&self, mut stream: TcpStream) {
        let Some(request) = request(&mut stream) else {
            return;
        };
        let does = if request.starts_with("get /readyz") {
            Does::Say(200, READY)
        } else {
            self.asked
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(request);
            self.lock_deeds().pop_front().unwrap_or(Does::HangUp)
        };
        if let Does::Say(status, body) = does {
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status} so\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
            );
            drop(stream.write_all(answer.as_bytes()));
        }
    }

    /// The requests so far, in lower case.
    fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock();
        asked.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A request to its end.
fn request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut some = [0; 4096];
    loop {
        let read = stream.read(&mut some).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&some[..read]);
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.split("content-length: ").nth(1);
        let length = length.and_then(|rest| rest.lines().next()?.trim().parse().ok());
        if body.len() >= length.unwrap_or(0) {
            return Some(text);
        }
    }
}

async fn connect(address: SocketAddr) -> HttpStore {
    let store = HttpStore::connect(&format!("http://{address}")).await;
    store.expect("a server")
}

fn job() -> JobId {
    let id = "00000000-0000-7000-8000-000000000007";
    id.parse().expect("an id")
}

fn retry(key: Option<&str>) -> Commit {
    let commit = Commit::one(Command::Retry(job()));
    Commit {
        key: key.map(|key| CommitKey {
            key: key.into(),
            digest: [1; 16],
        }),
        ..commit
    }
}

async fn commit(store: &HttpStore, commit: Commit) -> Result<Committed> {
    let mut answers = store.commit(vec![commit]).await?;
    answers.pop().expect("one answer")
}

fn settle() -> Commit {
    let outcome = Outcome::Release {
        delay_ms: 0,
        undecodable: false,
        error: None,
    };
    let (id, token) = (job(), Token(1));
    Commit::one(Command::Settle { id, token, outcome })
}

#[tokio::test]
async fn the_context_goes_along_and_its_key_does_not() {
    let settled = r#"{"results":[{"id":"00000000-0000-7000-8000-000000000007","status":"ok","state":"available"}]}"#;
    let (server, address) = Scripted::start(&[
        Does::Say(200, QUEUES),
        Does::Say(200, COMMITTED),
        Does::Say(200, settled),
        Does::Say(200, r#"{"jobs":[]}"#),
    ]);
    let store = connect(address).await;
    let context = Context::new()
        .within(Duration::from_secs(9))
        .criticality(Criticality::Batch)
        .key("outer")
        .trace(TRACE, Some("a=b"));
    let calls = async {
        store.queues().await.expect("queues");
        commit(&store, retry(Some("inner")))
            .await
            .expect("a commit");
        store.commit(vec![settle()]).await.expect("a settle");
        let ask = serde_json::from_str::<posthaste::wire::LeaseAsk>(r#"{"queues":["q"]}"#);
        let ask = ask.expect("JSON").read().expect("an ask");
        store.lease(ask).await.expect("an ask");
    };
    context.scope(calls).await;
    let asked = server.asked();
    for request in &asked {
        let left = request.split("posthaste-timeout-ms: ").nth(1);
        let left = left.and_then(|rest| rest.lines().next()?.parse::<u64>().ok());
        assert!(left.is_some_and(|left| left <= 9_000), "{request}");
        assert!(
            request.contains(&format!("traceparent: {TRACE}")),
            "{request}"
        );
        assert!(request.contains("tracestate: a=b"), "{request}");
        assert!(!request.contains("outer"), "{request}");
    }
    let [queues, commit, settle, lease] = asked.as_slice() else {
        panic!("{asked:?}");
    };
    assert!(queues.contains("posthaste-criticality: batch"), "{queues}");
    assert!(queues.contains("posthaste-attempt: 1"), "{queues}");
    assert!(commit.contains("idempotency-key: inner"), "{commit}");
    assert!(
        settle.contains("posthaste-criticality: critical"),
        "{settle}"
    );
    assert!(lease.contains("posthaste-criticality: batch"), "{lease}");
}

#[tokio::test]
async fn what_is_safe_to_repeat_is_repeated_and_the_rest_is_not() {
    let (server, address) = Scripted::start(&[
        Does::HangUp,
        Does::Say(200, QUEUES),
        Does::HangUp,
        Does::Say(200, COMMITTED),
        Does::HangUp,
    ]);
    let store = connect(address).await;
    store.queues().await.expect("a look is repeated");
    let keyed = commit(&store, retry(Some("k"))).await;
    keyed.expect("a commit under a key is repeated");
    let error = commit(&store, retry(None)).await.expect_err("it broke off");
    assert_eq!(error.kind(), ErrorKind::Uncertain, "{error}");
    let asked = server.asked();
    assert_eq!(asked.len(), 5, "{asked:?}");
    assert!(asked[1].contains("posthaste-attempt: 2"), "{}", asked[1]);
    assert!(asked[3].contains("idempotency-key: k"), "{}", asked[3]);
}

#[tokio::test]
async fn what_may_have_happened_is_uncertain_whatever_comes_of_repeating_it() {
    const OVERLOADED: &str = r#"{"type":"overloaded","title":"too much","status":503}"#;
    let refuse = Does::Say(503, OVERLOADED);
    let (server, address) = Scripted::start(&[Does::HangUp, refuse, refuse]);
    let store = connect(address).await;
    let error = commit(&store, retry(Some("k"))).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Uncertain, "{error}");
    assert!(error.message().contains("attempt"), "{error}");
    assert!(server.asked().len() >= 2);
}

#[tokio::test]
async fn what_may_have_happened_is_not_undone_by_having_no_room_for_its_repetition() {
    const FULL: &str = r#"{"type":"disk-full","title":"the disk is filling up","status":507}"#;
    const REUSED: &str = r#"{"type":"key-reused","title":"it was another","status":422}"#;
    for (status, body, kind) in [
        (429, BUSY, ErrorKind::Uncertain),
        (507, FULL, ErrorKind::Uncertain),
        // The store has looked at this one.
        (422, REUSED, ErrorKind::KeyReused),
    ] {
        let (server, address) = Scripted::start(&[Does::HangUp, Does::Say(status, body)]);
        let store = connect(address).await;
        let error = commit(&store, retry(Some("k"))).await.expect_err("refused");
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(server.asked().len(), 2, "{error}");
    }
}

#[tokio::test]
async fn who_is_turned_away_comes_back_when_he_was_told_to() {
    const LATER: &str =
        r#"{"type":"overloaded","title":"too much","status":503,"retry_after":"20ms"}"#;
    let queues = Does::Say(200, QUEUES);
    let turned_away = [Does::Say(503, LATER), Does::Say(200, COMMITTED)];
    let (server, address) = Scripted::start(&[&[queues; 3], &turned_away[..]].concat());
    let store = connect(address).await;
    // A server that answered before is asked again.
    for _ in 0..3 {
        store.queues().await.expect("queues");
    }
    // Nothing was done, so that it is safe without a key too.
    commit(&store, retry(None)).await.expect("the second time");
    assert_eq!(server.asked().len(), 5);
    assert_eq!(store.policy().counts().throttled, 1);
}

#[tokio::test]
async fn a_refusal_of_one_thing_is_an_answer_and_not_repeated() {
    let (server, address) = Scripted::start(&[Does::Say(429, BUSY)]);
    let store = connect(address).await;
    let error = commit(&store, retry(Some("k"))).await.expect_err("busy");
    assert_eq!(
        (error.kind(), error.retry_after()),
        (ErrorKind::Busy, Some(1))
    );
    assert_eq!(error.message(), "the backlog is too long");
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn what_has_no_time_left_is_not_sent() {
    let (server, address) = Scripted::start(&[]);
    let store = connect(address).await;
    let late = Context::new().within(Duration::ZERO);
    let ask = serde_json::from_str::<posthaste::wire::LeaseAsk>(r#"{"queues":["q"]}"#);
    let ask = ask.expect("JSON").read().expect("an ask");
    let (looked, leased) = late
        .scope(async { (store.queues().await, store.lease(ask).await) })
        .await;
    for error in [looked.expect_err("late"), leased.expect_err("late")] {
        assert_eq!(error.kind(), ErrorKind::Deadline, "{error}");
    }
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn a_server_that_is_gone_is_left_alone_and_met_again() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    let accepting = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        request(&mut stream).expect("a request");
        let answer = format!(
            "HTTP/1.1 200 so\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{READY}",
            READY.len()
        );
        stream.write_all(answer.as_bytes()).expect("sent");
    });
    let store = connect(address).await;
    accepting.join().expect("it answered");
    let said = loop {
        let error = store.queues().await.expect_err("it is gone");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        if matches!(store.policy().breaker(), Some(BreakerState::Open)) {
            break store.queues().await.expect_err("it is left alone");
        }
    };
    assert!(said.message().contains("was not asked"), "{said}");
    assert!(
        said.message().contains("10 calls failed in a row"),
        "{said}"
    );
    // Back on its port, it is met again without being told so.
    let listener = TcpListener::bind(address).expect("the same port");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            drop(request(&mut stream));
            let head = "HTTP/1.1 200 so\r\nconnection: close\r\ncontent-length: 13\r\n\r\n";
            drop(stream.write_all(format!("{head}{QUEUES}").as_bytes()));
        }
    });
    while store.queues().await.is_err() {
        tokio::task::yield_now().await;
    }
}
