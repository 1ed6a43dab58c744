//! Topics, streams and groups under clients that mean no good.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;

use posthaste_log::{Location, Options};
use posthaste_server::Streams;
use posthaste_server::server::Limits;
use serde_json::json;

use crate::binary::Running;
use crate::client::{Answer, PATIENCE, Server};
use crate::listener::{Listener, Socket};
use crate::watched::Watched;

const MIB: usize = 1024 * 1024;
const EVENTS: &str = "/v1/topics/a/events";
const STREAM: &str = "/v1/topics/a/stream";

/// How many events the topic has.
fn published(server: &Server) -> u64 {
    let topic = server.send("GET", "/v1/topics/a", "");
    topic.body["published"].as_u64().unwrap_or(0)
}

fn post(server: &Server, path: &str, content_type: &str, body: &str) -> Answer {
    server.send_with(
        "POST",
        path,
        &[("content-type", content_type)],
        body.as_bytes(),
    )
}

#[test]
fn a_million_levels_in_an_event_are_refused_without_a_crash() {
    let server = Server::start();
    let cloud = r#"{"specversion":"1.0","id":"1","source":"s","type":"t","data":"#;
    let settle = r#"{"token":1,"events":[{"position":0,"outcome":"done"}],"commit":"#;
    for open in ["[", "{\"a\":"] {
        let deep = open.repeat(MIB);
        let check = |path: &str, content_type: &str, before: &str| {
            let answer = post(&server, path, content_type, &format!("{before}{deep}"));
            assert_eq!(answer.status, 400, "{path} {content_type}: {answer:?}");
        };
        check(EVENTS, "application/json", "");
        check(EVENTS, "application/json", r#"{"type":"t","payload":"#);
        check(EVENTS, "application/cloudevents+json", "");
        check(EVENTS, "application/cloudevents+json", cloud);
        check(
            EVENTS,
            "application/cloudevents-batch+json",
            &format!("[{cloud}"),
        );
        check("/v1/commit", "application/json", r#"{"commands":"#);
        check("/v1/groups/a/g/lease", "application/json", "");
        check("/v1/groups/a/g/settle", "application/json", settle);
        check("/v1/groups/a/g/reset", "application/json", "");
    }
    assert_eq!(published(&server), 0);
    assert_eq!(server.send("GET", "/livez", "").status, 200);
}

#[test]
fn what_is_too_large_is_refused_whole() {
    let server = Server::start();
    let event = |id: usize, data: &str| json!({"specversion": "1.0", "id": id.to_string(), "source": "s", "type": "t", "data": data});
    let batch = "application/cloudevents-batch+json";
    let check = |content_type: &str, body: &str, says: &str| {
        let answer = post(&server, EVENTS, content_type, body);
        assert_eq!(answer.status, 413, "{answer:?}");
        let (slug, title, detail) = answer.problem();
        assert_eq!(slug, "too-large");
        assert!(format!("{title} {detail}").contains(says), "{answer:?}");
    };
    let many: Vec<_> = (0..1_001).map(|id| event(id, "")).collect();
    check(batch, &json!(many).to_string(), "1000");
    let large = "x".repeat(MIB);
    check(
        batch,
        &json!([event(1, ""), event(2, &large)]).to_string(),
        "payload",
    );
    let wide: Vec<_> = (0..12).map(|id| event(id, &large[..MIB - 100])).collect();
    check(batch, &json!(wide).to_string(), "8 MiB");
    let ends = vec![json!({"position": 0, "outcome": "done"}); 1_001];
    let settle = json!({"token": 1, "events": ends}).to_string();
    let answer = post(
        &server,
        "/v1/groups/a/g/settle",
        "application/json",
        &settle,
    );
    assert_eq!(answer.status, 413, "{answer:?}");
    assert_eq!(published(&server), 0);
}

/// The status of a request that is written byte by byte as it is.
fn raw(server: &Server, request: &[u8]) -> Option<u16> {
    let mut stream = server.connect();
    drop(stream.write_all(request));
    let mut bytes = Vec::new();
    drop(std::io::Read::read_to_end(&mut stream, &mut bytes));
    let text = String::from_utf8_lossy(&bytes);
    text.split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
}

#[test]
fn headers_that_cannot_be_are_refused() {
    let server = Server::start();
    let attributes = "ce-specversion: 1.0\r\nce-id: 1\r\nce-source: s\r\nce-type: t\r\n";
    let publish = |more: &[u8]| {
        let mut request = format!(
            "POST {EVENTS} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-length: 2\r\n{attributes}"
        )
        .into_bytes();
        request.extend_from_slice(more);
        request.extend_from_slice(b"\r\n{}");
        raw(&server, &request)
    };
    assert_eq!(publish(b""), Some(201), "a sound one");
    let many: String = (0..40).map(|n| format!("ce-a{n}: x\r\n")).collect();
    let long = format!("ce-subject: {}\r\n", "x".repeat(1_025));
    for bad in [
        b"ce-subject: a\0b\r\n".as_slice(),
        b"ce-sub\0ject: a\r\n",
        b"ce-subject: a\r\n folded\r\n",
        b"ce-subject: \x01\r\n",
        b"ce-subject: %00\xff\r\n",
        b"ce-sub_ject: a\r\n",
        b"ce-id: 2\r\n",
        b"idempotency-key: \r\n",
        many.as_bytes(),
        long.as_bytes(),
    ] {
        let status = publish(bad);
        let refused = status.is_some_and(|status| (400..=499).contains(&status));
        assert!(refused, "{status:?} for {:?}", String::from_utf8_lossy(bad));
    }
    assert_eq!(published(&server), 1);
    let follow = |seen: &[u8]| {
        let head = format!("GET {STREAM} HTTP/1.1\r\nhost: localhost\r\nlast-event-id: ");
        let mut request = head.into_bytes();
        request.extend_from_slice(seen);
        request.extend_from_slice(b"\r\nconnection: close\r\n\r\n");
        raw(&server, &request)
    };
    for bad in [
        b"a\0".as_slice(),
        b"\xff\xfe",
        b"1-2",
        b"g-1-1",
        b"-1--1--1",
        b"ffffffffff-1-1",
        b"0-0-99999999999999999999999",
        b"../../etc/passwd",
    ] {
        assert_eq!(follow(bad), Some(400), "{:?}", String::from_utf8_lossy(bad));
    }
    server.store.wait_for_reads(0);
}

/// Everything below a directory, but for what is in `but`.
fn files(dir: &Path, but: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("it can be read").flatten() {
        let path = entry.path();
        if path == but {
            continue;
        }
        found.push(path.display().to_string());
        if path.is_dir() {
            found.extend(files(&path, but));
        }
    }
    found.sort();
    found
}

/// A name is a name and no path: whatever it looks like, it leads nowhere outside the store.
#[test]
fn a_topics_name_leads_to_no_other_place() {
    let dir = tempfile::tempdir().expect("a directory");
    let inner = dir.path().join("deep/store");
    let location = Location::Directory(inner.clone());
    let server = Server::over(Watched::open(Options::new(location)), Limits::default());
    let before = files(dir.path(), &inner);
    let long = "x".repeat(3_000);
    for name in [
        "..",
        "%2e%2e",
        "..%2F..%2Fevil",
        "%2Fetc%2Fpasswd",
        "a%2F..%2F..%2F..%2Fevil",
        "..%5C..%5Cevil",
        "a%00b",
        "%ff%fe",
        "a%0d%0ab",
        "%E2%80%AE",
        long.as_str(),
    ] {
        for path in [
            format!("/v1/topics/{name}/events"),
            format!("/v1/groups/{name}/g/lease"),
            format!("/v1/groups/a/{name}/lease"),
        ] {
            let answer = server.send("POST", &path, r#"{"type":"t","payload":1}"#);
            let status = answer.status;
            assert!((200..=499).contains(&status), "{path}: {answer:?}");
        }
        let answer = server.send("GET", &format!("/v1/topics/{name}/stream?from=x"), "");
        assert!((400..=499).contains(&answer.status), "{name}: {answer:?}");
    }
    assert_eq!(files(dir.path(), &inner), before);
    assert_eq!(server.send("GET", "/livez", "").status, 200);
}

/// A thousand streams come and go, and none leaves its place taken, or a read behind.
#[test]
fn a_thousand_streams_leave_nothing_behind() {
    // The last ones to go may still be on their way out when the next come.
    let (most, together, rounds) = (25, 21, 48);
    let streams = Streams {
        most,
        ..Streams::default()
    };
    let server = Server::streaming(Watched::new(), Limits::default(), streams);
    let event = r#"{"type":"t","payload":1}"#;
    assert_eq!(server.send("POST", EVENTS, event).status, 201);
    let path = format!("{STREAM}?from=earliest");
    for _ in 0..rounds {
        let mut listeners: Vec<Listener> = Vec::new();
        let mut sockets: Vec<Socket> = Vec::new();
        for number in 0..together {
            match number % 3 {
                0 => sockets.push(Socket::open(&server, &path)),
                // It goes without a look at the event.
                1 => listeners.push(Listener::open(&server, &path, None)),
                _ => {
                    let mut listener = Listener::open(&server, &path, None);
                    listener.event().expect("the event");
                    listeners.push(listener);
                }
            }
        }
        drop((listeners, sockets));
        server.store.wait_for_reads(0);
    }
    let mut all: Vec<Listener> = Vec::new();
    while all.len() < most as usize {
        // That there is no such topic is found out by a stream that has its place.
        if server.send("GET", "/v1/topics/none/stream", "").status != 503 {
            all.push(Listener::open(&server, STREAM, None));
        }
    }
    assert_eq!(server.send("GET", STREAM, "").status, 503);
}

/// How much memory a process has, in KiB.
fn resident(process: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|it| it.parse().ok()).expect("a number")
}

/// Sixty clients ask for a stream and read nothing while 32 MiB go by. Kept for each of them that
/// would be 2 GiB.
#[test]
fn clients_that_do_not_read_cost_no_more_than_their_buffers() {
    let dir = tempfile::tempdir().expect("a directory");
    let (server, url) = Running::serve(dir.path(), "file:./store", "127.0.0.1:0");
    let address = url.strip_prefix("http://").expect("a URL");
    let connect = || {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    };
    let publish = |ids: std::ops::Range<u32>| {
        let fill = "x".repeat(32 * 1024);
        let events = ids.map(|id| json!({"id": id.to_string(), "type": "t", "payload": fill}));
        let body = serde_json::Value::from_iter(events).to_string();
        let mut stream = connect();
        let head = format!(
            "POST {EVENTS} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).expect("sent");
        stream.write_all(body.as_bytes()).expect("sent");
        assert_eq!(Answer::read(&mut stream).status, 201);
    };
    publish(0..1);
    let ask = format!("GET {STREAM}?from=earliest HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let open = || {
        let mut stream = connect();
        stream.write_all(ask.as_bytes()).expect("sent");
        stream
    };
    let stalled: Vec<TcpStream> = (0..60).map(|_| open()).collect();
    let mut reader = Listener::on(open(), None);
    for hundred in 0..10 {
        publish(hundred * 100 + 1..hundred * 100 + 101);
    }
    let ids: Vec<String> = (0..=1_000).map(|id: u32| id.to_string()).collect();
    assert_eq!(reader.ids(1_001), ids, "whoever reads gets everything");
    let resident = resident(server.child.id());
    assert!(resident < 600 * 1024, "{resident} KiB");
    drop(stalled);
}

/// Members that hang up while they wait for events take none with them.
#[test]
fn members_that_hang_up_take_no_event_with_them() {
    let server = Server::start();
    let event = r#"{"type":"t","key":"k","payload":1}"#;
    assert_eq!(server.send("PUT", "/v1/topics/a", "{}").status, 200);
    assert_eq!(server.send("PUT", "/v1/groups/a/g", "{}").status, 200);
    let body = r#"{"max":10,"wait":"60s"}"#;
    let ask = format!(
        "POST /v1/groups/a/g/lease HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    for _ in 0..200 {
        let mut stream = server.connect();
        stream.write_all(ask.as_bytes()).expect("sent");
    }
    assert_eq!(server.send("POST", EVENTS, event).status, 201);
    let good = r#"{"max":10,"wait":"60s","member":"good"}"#;
    let answer = server.send("POST", "/v1/groups/a/g/lease", good);
    assert_eq!(answer.status, 200, "{answer:?}");
    let events = answer.body["events"].as_array().expect("events");
    assert_eq!(events.len(), 1, "{answer:?}");
    assert_eq!(events[0]["crashes"], 0, "{answer:?}");
    let settle =
        json!({"token": answer.body["token"], "events": [{"position": 0, "outcome": "done"}]});
    let settled = server.send("POST", "/v1/groups/a/g/settle", &settle.to_string());
    assert_eq!(settled.status, 200, "{settled:?}");
    let group = server.send("GET", "/v1/groups/a/g", "");
    assert_eq!(
        (&group.body["lag"], &group.body["unfinished"]),
        (&json!(0), &json!(0))
    );
}
