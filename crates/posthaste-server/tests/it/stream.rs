//! Following a topic: what is published arrives once, in order, whatever happens in between.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use posthaste_core::Store;
use posthaste_log::{Location, Options};
use posthaste_server::Streams;
use posthaste_server::server::Limits;
use posthaste_testkit::block_on;
use posthaste_testkit::disk::FaultDisk;
use serde_json::{Value, json};

use crate::client::{Answer, Server};
use crate::listener::{Listener, Message, Socket};
use crate::watched::Watched;

const PATH: &str = "/v1/topics/a/stream";

fn publish(server: &Server, numbers: std::ops::Range<usize>, fill: usize) {
    let fill = "x".repeat(fill);
    let events = numbers.map(|number| {
        json!({
            "id": number.to_string(),
            "type": format!("t{}", number % 2),
            "key": format!("k{}", number % 3),
            "payload": fill,
        })
    });
    let body = Value::from_iter(events).to_string();
    let answer = server.send("POST", "/v1/topics/a/events", &body);
    assert_eq!(answer.status, 201, "{answer:?}");
}

fn numbers(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| number.to_string()).collect()
}

fn streaming(streams: Streams) -> Server {
    Server::streaming(Watched::new(), Limits::default(), streams)
}

/// Streams that are heard of all the time.
fn restless() -> Streams {
    Streams {
        heartbeat: Duration::from_millis(20),
        ..Streams::default()
    }
}

#[test]
fn events_arrive_as_they_are_published() {
    let server = Server::start();
    publish(&server, 0..1, 0);
    let mut listener = Listener::open(&server, PATH, None);
    for line in [
        "content-type: text/event-stream",
        "cache-control: no-cache, no-transform",
        "x-accel-buffering: no",
    ] {
        assert!(listener.head.contains(line), "{}", listener.head);
    }
    let begun = listener.block().expect("a beginning");
    let retry = begun.retry.expect("when to come back");
    assert!((1_000..=5_000).contains(&retry), "{retry}");
    // Whoever comes back before the first event goes on from where he began.
    assert!(begun.id.is_some(), "{begun:?}");
    publish(&server, 1..3, 0);
    publish(&server, 3..4, 0);
    let first = listener.event().expect("an event");
    let event = first.json();
    assert_eq!(event["id"], "1");
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["cursor"], first.id.expect("an id"));
    assert_eq!(first.event, None);
    assert_eq!(listener.ids(2), numbers(2..4));
}

#[test]
fn a_stream_begins_where_it_is_told() {
    let server = Server::start();
    publish(&server, 0..5, 0);
    let page = server.send("GET", "/v1/topics/a/events?max=2", "").body;
    let cursor = page["next"].as_str().expect("a cursor").to_owned();
    let mut all = Listener::open(&server, &format!("{PATH}?from=earliest"), None);
    assert_eq!(all.ids(5), numbers(0..5));
    let mut from = Listener::open(&server, &format!("{PATH}?from={cursor}"), None);
    assert_eq!(from.ids(3), numbers(2..5));
    // What it has seen counts for more than where it began at first.
    let mut back = Listener::open(&server, &format!("{PATH}?from=earliest"), Some(&cursor));
    assert_eq!(back.ids(3), numbers(2..5));
    publish(&server, 5..6, 0);
    for listener in [&mut all, &mut from, &mut back] {
        assert_eq!(listener.ids(1), ["5"]);
    }
}

#[test]
fn a_filter_passes_what_it_names_and_the_place_moves_on_without_it() {
    let server = streaming(restless());
    publish(&server, 0..1, 0);
    let mut listener = Listener::open(&server, &format!("{PATH}?type=t0&key=k0&key=k1"), None);
    // The one that was published before it began.
    let begun = listener.block().expect("a beginning").id;
    publish(&server, 1..8, 0);
    assert_eq!(
        listener.ids(2),
        numbers(4..5)
            .into_iter()
            .chain(numbers(6..7))
            .collect::<Vec<_>>()
    );
    let end = server.send("GET", "/v1/topics/a/events", "").body["end"].clone();
    loop {
        let block = listener.block().expect("more");
        assert_eq!(block.data, None, "{block:?}");
        if block.id.as_deref() == end.as_str() {
            break;
        }
    }
    assert_ne!(begun.as_deref(), end.as_str());
    let idle = listener.block().expect("a heartbeat");
    assert!(idle.comment && idle.id.is_none(), "{idle:?}");
}

#[test]
fn whoever_comes_back_after_a_restart_misses_nothing_and_sees_nothing_twice() {
    let disk = FaultDisk::new();
    let start = || {
        let mut options = Options::new(Location::Directory("/store".into()));
        options.disk = Arc::new(disk.clone());
        options.segment_bytes = 64 * 1024;
        options.reserve_bytes = 1024 * 1024;
        Server::over(Watched::open(options), Limits::default())
    };
    let mut server = start();
    publish(&server, 0..5, 50);
    let (mut published, mut seen) = (5, Vec::new());
    let mut last: Option<String> = None;
    for _ in 0..5 {
        let path = format!("{PATH}?from=earliest");
        let mut listener = Listener::open(&server, &path, last.as_deref());
        publish(&server, published..published + 10, 50);
        published += 10;
        // It goes after half of what there is; what had been sent by then may still come.
        seen.extend(listener.ids((published - seen.len()) / 2));
        server.begin_drain();
        while let Some(block) = listener.event() {
            seen.push(block.json()["id"].as_str().expect("an id").to_owned());
        }
        last = listener.seen;
        let store = server.store.clone();
        assert_eq!(server.ended(), 0);
        block_on(store.close()).expect("it closes");
        server = start();
        publish(&server, published..published + 5, 50);
        published += 5;
    }
    let mut listener = Listener::open(&server, PATH, last.as_deref());
    seen.extend(listener.ids(published - seen.len()));
    assert_eq!(seen, numbers(0..published));
}

#[test]
fn a_cursor_of_another_history_is_reset_to_the_earliest() {
    let other = Server::start();
    publish(&other, 0..3, 0);
    let page = other.send("GET", "/v1/topics/a/events", "").body;
    let foreign = page["next"].as_str().expect("a cursor");
    let server = Server::start();
    publish(&server, 0..2, 0);
    let mut listener = Listener::open(&server, PATH, Some(foreign));
    let reset = listener.event().expect("a reset");
    assert_eq!(reset.event.as_deref(), Some("reset"));
    assert_eq!(reset.json()["reason"], "history");
    let earliest = server.send("GET", "/v1/topics/a/events", "").body["earliest"].clone();
    assert_eq!(reset.json()["earliest"], earliest);
    // Whoever comes back goes on from there.
    assert_eq!(reset.id.as_deref(), earliest.as_str());
    assert_eq!(listener.ids(2), numbers(0..2));
    publish(&server, 2..3, 0);
    assert_eq!(listener.ids(1), ["2"]);
    let poll = server.send_with(
        "GET",
        PATH,
        &[("accept", "application/json"), ("last-event-id", foreign)],
        b"",
    );
    assert_eq!((poll.status, poll.problem().0), (410, "gap"));
}

#[test]
fn whoever_falls_behind_what_is_kept_is_told_and_goes_on_from_the_earliest() {
    let server = Server::start();
    publish(&server, 0..10, 0);
    server.store.forget_before(6);
    let page = server
        .send("GET", "/v1/topics/a/events?from=earliest&max=2", "")
        .body;
    let cursor = page["next"].as_str().expect("a cursor");
    let mut listener = Listener::open(&server, PATH, Some(cursor));
    let reset = listener.event().expect("a reset");
    assert_eq!(reset.json()["reason"], "retention");
    assert_eq!(listener.ids(4), numbers(6..10));
    let mut socket = Socket::open(&server, &format!("{PATH}?from={cursor}"));
    assert_eq!(socket.text()["reset"]["reason"], "retention");
    assert_eq!(socket.text()["id"], "6");
}

#[test]
fn one_tail_serves_everybody_and_ends_with_the_last() {
    let server = Server::start();
    publish(&server, 0..1, 0);
    let mut listeners: Vec<Listener> = (0..20)
        .map(|_| Listener::open(&server, PATH, None))
        .collect();
    server.store.wait_for_reads(1);
    publish(&server, 1..101, 10);
    for listener in &mut listeners {
        assert_eq!(listener.ids(100), numbers(1..101));
    }
    server.store.wait_for_reads(1);
    drop(listeners);
    server.store.wait_for_reads(0);
}

#[test]
fn a_client_that_does_not_read_holds_nobody_up_and_misses_nothing() {
    let server = Server::start();
    publish(&server, 0..1, 0);
    let mut stalled = server.connect();
    let ask = format!("GET {PATH}?from=earliest HTTP/1.1\r\nhost: localhost\r\n\r\n");
    stalled.write_all(ask.as_bytes()).expect("sent");
    let mut stalled = Listener::on(stalled, None);
    let mut listener = Listener::open(&server, &format!("{PATH}?from=earliest"), None);
    assert_eq!(listener.ids(1), ["0"]);
    // Far more than the ring and the buffers on the way hold.
    let (count, fill) = (60, 500_000);
    for number in 1..count {
        publish(&server, number..number + 1, fill);
        assert_eq!(listener.ids(1), numbers(number..number + 1));
    }
    assert_eq!(stalled.ids(count), numbers(0..count));
    publish(&server, count..count + 1, 0);
    assert_eq!(stalled.ids(1), [count.to_string()]);
}

#[test]
fn a_client_that_never_reads_is_let_go() {
    let limits = Limits {
        idle_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    let streams = Streams {
        most: 1,
        ..Streams::default()
    };
    let server = Server::streaming(Watched::new(), limits, streams);
    publish(&server, 0..1, 0);
    let mut stalled = server.connect();
    let ask = format!("GET {PATH}?from=earliest HTTP/1.1\r\nhost: localhost\r\n\r\n");
    stalled.write_all(ask.as_bytes()).expect("sent");
    server.store.wait_for_reads(1);
    for number in 1..40 {
        publish(&server, number..number + 1, 500_000);
    }
    until_there_is_room(&server);
}

/// Waits until one more stream may be opened.
fn until_there_is_room(server: &Server) {
    // That there is no such topic is found out by a stream that has its place.
    while server.send("GET", "/v1/topics/none/stream", "").status == 503 {}
}

#[test]
fn an_idle_stream_outlives_the_time_for_silence() {
    let server = Server::with(Limits {
        idle_timeout: Duration::from_millis(50),
        ..Limits::default()
    });
    publish(&server, 0..1, 0);
    let mut listener = Listener::open(&server, PATH, None);
    listener.block().expect("a beginning");
    // Other connections come and go in the meantime.
    let mut silent = server.connect();
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut silent, &mut rest).expect("closed");
    let mut silent = server.connect();
    std::io::Read::read_to_end(&mut silent, &mut rest).expect("closed");
    publish(&server, 1..2, 0);
    assert_eq!(listener.ids(1), ["1"]);
}

#[test]
fn a_drain_ends_streams_at_once() {
    let mut server = Server::start();
    publish(&server, 0..1, 0);
    let job = server.enqueue(r#"{"kind":"a"}"#);
    let mut listeners = [
        Listener::open(&server, PATH, None),
        Listener::open(&server, &format!("{PATH}?from=earliest"), None),
        Listener::open(&server, &format!("/v1/jobs/{job}/events"), None),
    ];
    let mut socket = Socket::open(&server, PATH);
    socket.text();
    for listener in &mut listeners {
        listener.block().expect("a beginning");
    }
    server.begin_drain();
    for listener in &mut listeners {
        while listener.block().is_some() {}
    }
    assert_eq!(socket.next(), Some(Message::Close(1001)));
    drop(socket);
    assert_eq!(server.ended(), 0);
}

#[test]
fn a_stream_ends_after_its_lifetime_and_its_client_goes_on() {
    let server = streaming(Streams {
        lifetime: Duration::from_millis(1),
        ..Streams::default()
    });
    publish(&server, 0..3, 0);
    let mut listener = Listener::open(&server, &format!("{PATH}?from=earliest"), None);
    let (mut seen, mut last) = (Vec::new(), None);
    while seen.len() < 3 {
        match listener.event() {
            Some(block) => {
                seen.push(block.json()["id"].clone());
                last = block.id;
            }
            None => {
                let path = format!("{PATH}?from=earliest");
                listener = Listener::open(&server, &path, last.as_deref());
            }
        }
    }
    assert_eq!(seen, ["0", "1", "2"]);
    while listener.block().is_some() {}
    let mut socket = Socket::open(&server, PATH);
    while let Some(message) = socket.next() {
        if let Message::Close(code) = message {
            assert_eq!(code, 1001);
            return;
        }
    }
    panic!("no goodbye");
}

#[test]
fn one_stream_too_many_is_told_to_come_back() {
    let server = streaming(Streams {
        most: 2,
        ..Streams::default()
    });
    publish(&server, 0..1, 0);
    let mut listener = Listener::open(&server, PATH, None);
    listener.block().expect("a beginning");
    let socket = Socket::open(&server, PATH);
    let refused = server.send("GET", PATH, "");
    assert_eq!((refused.status, refused.problem().0), (503, "busy"));
    assert!(refused.head.contains("retry-after: "), "{refused:?}");
    // Polls are no streams.
    let poll = format!("{PATH}?wait=0s");
    let polled = server.send_with("GET", &poll, &[("accept", "application/json")], b"");
    assert_eq!(polled.status, 200, "{polled:?}");
    drop(socket);
    // Its place is free once the server has noticed.
    while server
        .send_with("GET", PATH, &[("last-event-id", "x")], b"")
        .status
        == 503
    {}
}

#[test]
fn a_socket_keeps_the_place_of_its_connection() {
    let server = Server::with(Limits {
        connections_max: 2,
        ..Limits::default()
    });
    publish(&server, 0..1, 0);
    let mut sockets = [(); 2].map(|()| Socket::open(&server, PATH));
    for socket in &mut sockets {
        assert!(socket.text()["cursor"].is_string());
    }
    let refused = server.send("GET", "/livez", "");
    assert_eq!(
        (refused.status, refused.problem().1),
        (503, "too many connections")
    );
    drop(sockets);
    while server.send("GET", "/livez", "").status == 503 {}
}

#[test]
fn the_same_url_answers_a_poll() {
    let server = Server::start();
    publish(&server, 0..2, 0);
    let poll = |query: &str, headers: &[(&str, &str)]| {
        let headers = [&[("accept", "application/json")], headers].concat();
        server.send_with("GET", &format!("{PATH}?{query}"), &headers, b"")
    };
    let page = poll("from=earliest", &[]);
    assert_eq!(
        page.body,
        server.send("GET", "/v1/topics/a/events", "").body
    );
    let next = page.body["next"].as_str().expect("a cursor").to_owned();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| poll("", &[("last-event-id", &next)]));
        server.store.wait_for_reads(1);
        publish(&server, 2..3, 0);
        let answer = waiting.join().expect("an answer");
        assert_eq!(answer.body["events"][0]["id"], "2", "{answer:?}");
    });
    let tag = format!(
        "W/\"{}",
        server.send("GET", "/v1/topics/a/events", "").body["next"]
            .as_str()
            .expect("a cursor")
    );
    let first = poll("from=latest&wait=0s", &[]);
    let known = first
        .head
        .lines()
        .find_map(|line| line.strip_prefix("etag: "));
    let known = known.expect("a tag").replacen('w', "W", 1);
    assert!(known.starts_with(&tag), "{known}");
    let again = poll("from=latest&wait=0s", &[("if-none-match", &known)]);
    assert_eq!(again.status, 304, "{again:?}");
}

#[test]
fn a_socket_says_the_same() {
    let server = streaming(restless());
    publish(&server, 0..2, 0);
    let mut socket = Socket::open(&server, &format!("{PATH}?from=earliest&type=t0"));
    assert!(socket.text()["cursor"].is_string());
    let first = socket.text();
    let page = server.send("GET", "/v1/topics/a/events", "").body;
    assert_eq!(first, page["events"][0]);
    publish(&server, 2..4, 0);
    let second = loop {
        let text = socket.text();
        if text["id"].is_string() {
            break text;
        }
    };
    assert_eq!(second["id"], "2");
    // Where to go on is told when nothing else is.
    let end = server.send("GET", "/v1/topics/a/events", "").body["end"].clone();
    loop {
        match socket.next().expect("more") {
            Message::Ping => socket.send(0xa, b""),
            Message::Text(text) if text["cursor"] == end => break,
            Message::Text(text) => assert!(text["cursor"].is_string(), "{text}"),
            Message::Close(code) => panic!("closed with {code}"),
        }
    }
    socket.send(0x8, &1000_u16.to_be_bytes());
    while socket.next().is_some() {}
}

#[test]
fn a_socket_that_answers_no_ping_is_closed() {
    let server = streaming(restless());
    publish(&server, 0..1, 0);
    let mut socket = Socket::open(&server, PATH);
    let mut pings = 0;
    while let Some(message) = socket.next() {
        pings += usize::from(message == Message::Ping);
    }
    assert_eq!(pings, 2);
}

#[test]
fn a_topic_that_goes_ends_its_streams_with_the_reason() {
    let server = Server::start();
    publish(&server, 0..1, 0);
    let mut listener = Listener::open(&server, PATH, None);
    let mut socket = Socket::open(&server, PATH);
    listener.block().expect("a beginning");
    socket.text();
    assert_eq!(server.send("DELETE", "/v1/topics/a", "").status, 204);
    let last = listener.event().expect("a problem");
    assert_eq!(last.event.as_deref(), Some("problem"));
    assert_eq!(last.json()["type"], "not-found");
    assert_eq!(listener.block(), None);
    assert_eq!(socket.text()["problem"]["type"], "not-found");
    assert_eq!(socket.next(), Some(Message::Close(1011)));
    // A topic of the same name is another one.
    publish(&server, 0..1, 0);
    let mut back = Listener::open(&server, PATH, listener.seen.as_deref());
    assert_eq!(back.event().expect("a reset").json()["reason"], "history");
    assert_eq!(back.ids(1), ["0"]);
}

#[test]
fn what_cannot_be_followed_is_refused() {
    let server = Server::start();
    publish(&server, 0..1, 0);
    let check = |path: &str, headers: &[(&str, &str)], status: u16, slug: &str| {
        let answer: Answer = server.send_with("GET", path, headers, b"");
        assert_eq!(
            (answer.status, answer.problem().0),
            (status, slug),
            "{path}: {answer:?}"
        );
    };
    check("/v1/topics/none/stream", &[], 404, "not-found");
    check("/v1/topics/a%20b/stream", &[], 400, "invalid");
    check(&format!("{PATH}?from=x"), &[], 400, "invalid");
    check(&format!("{PATH}?typ=x"), &[], 400, "invalid");
    check(PATH, &[("last-event-id", "x")], 400, "invalid");
    let end = server.send("GET", "/v1/topics/a/events", "").body["end"].clone();
    let beyond = format!("{}7", end.as_str().expect("a cursor"));
    check(PATH, &[("last-event-id", &beyond)], 400, "invalid");
    check(PATH, &[("upgrade", "websocket")], 400, "invalid");
    check("/v1/jobs/x/events", &[], 400, "invalid");
    check(
        "/v1/jobs/018bcfe5-6800-7000-8000-000000000000/events",
        &[],
        404,
        "not-found",
    );
}

#[test]
fn a_job_is_followed_until_its_end() {
    let server = Server::start();
    let id = server.enqueue(r#"{"kind":"a","payload":"large"}"#);
    let path = format!("/v1/jobs/{id}/events");
    let mut listener = Listener::open(&server, &path, None);
    let first = listener.event().expect("a state").json();
    assert_eq!(
        (&first["id"], &first["state"]),
        (&json!(id), &json!("available"))
    );
    assert!(first.get("payload").is_none(), "{first}");
    let lease = server.send("POST", "/v1/leases", r#"{"queues":["default"]}"#);
    let job = &lease.body["jobs"][0];
    assert_eq!(
        listener.event().expect("a state").json()["state"],
        "running"
    );
    let beat = json!([{"id":id,"token":job["token"],"progress":{"done":7}}]);
    server.send("POST", "/v1/leases/heartbeat", &beat.to_string());
    let progress = listener.event().expect("progress").json();
    assert_eq!(progress["progress"], json!({"done":7}));
    let settle = json!([{"id":id,"token":job["token"],"outcome":"completed","result":[1]}]);
    server.send("POST", "/v1/leases/settle", &settle.to_string());
    let last = listener.event().expect("an end");
    assert_eq!(
        (&last.json()["state"], &last.json()["result"]),
        (&json!("completed"), &json!([1]))
    );
    assert_eq!(listener.block(), None);
    // A browser comes back all the same, until it is told that there is nothing.
    let seen = last.id.expect("an id");
    let back = server.send_with("GET", &path, &[("last-event-id", &seen)], b"");
    assert_eq!(back.status, 204, "{back:?}");
}
