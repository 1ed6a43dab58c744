//! Clients that misbehave on the wire.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use posthaste_core::{
    Command, Commit, JobId, JobState, KindName, NewJob, Payload, QueueName, Store,
};
use posthaste_server::server::Limits;
use posthaste_testkit::block_on;

use crate::client::{Answer, PATIENCE, Server};

fn raw(server: &Server, bytes: &[u8]) -> Answer {
    let mut stream = server.connect();
    // The server may answer and close before everything is sent.
    drop(stream.write_all(bytes));
    drop(stream.shutdown(Shutdown::Write));
    Answer::read(&mut stream)
}

fn impatient() -> Server {
    Server::with(Limits {
        head_timeout: Duration::from_millis(100),
        idle_timeout: Duration::from_millis(100),
        ..Limits::default()
    })
}

/// Reads until the server closes; what it said until then.
fn until_closed(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    drop(stream.read_to_end(&mut said));
    String::from_utf8_lossy(&said).into_owned()
}

/// Whether the server has neither closed a connection nor said anything over it.
fn is_open(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("set");
    let seen = stream.peek(&mut [0]);
    stream.set_nonblocking(false).expect("set");
    seen.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// Enqueues jobs past HTTP, for which an impatient server may have no time.
fn enqueue(server: &Server, count: u16, payload: String) {
    let payload = Payload::json(payload);
    let jobs = (0..count).map(|number| {
        let mut random = [0; 10];
        random[8..].copy_from_slice(&number.to_be_bytes());
        let queue = QueueName::new("q").expect("a name");
        let kind = KindName::new("a").expect("a name");
        let job = NewJob::new(JobId::new(0, random), queue, kind, payload.clone());
        Commit::one(Command::Enqueue(Box::new(job)))
    });
    let answers = block_on(server.store.commit(jobs.collect())).expect("answers");
    assert!(answers.iter().all(Result::is_ok));
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let server = Server::start();
    let long = format!(
        "GET /livez HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n",
        "y".repeat(17 * 1024)
    );
    assert_eq!(raw(&server, long.as_bytes()).status, 431);
    let endless = format!(
        "GET /livez HTTP/1.1\r\nhost: localhost\r\nx: {}",
        "y".repeat(1 << 20)
    );
    assert_eq!(raw(&server, endless.as_bytes()).status, 431);
    let many = format!(
        "GET /livez HTTP/1.1\r\nhost: localhost\r\n{}\r\n",
        "x: y\r\n".repeat(200)
    );
    assert_eq!(raw(&server, many.as_bytes()).status, 431);
}

#[test]
fn a_head_that_does_not_come_ends_the_connection() {
    let server = impatient();
    let mut stream = server.connect();
    stream
        .write_all(b"GET /livez HTTP/1.1\r\nho")
        .expect("sent");
    assert_eq!(until_closed(&mut stream), "");
}

#[test]
fn silence_ends_the_connection_before_and_after_a_request() {
    let server = impatient();
    assert_eq!(until_closed(&mut server.connect()), "");
    let said = loop {
        let mut stream = server.connect();
        drop(stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n"));
        let said = until_closed(&mut stream);
        // It may have been silent for too long before it was heard.
        if !said.is_empty() {
            break said;
        }
    };
    assert!(
        said.starts_with("HTTP/1.1 200") && said.ends_with("live\n"),
        "{said}"
    );
}

#[test]
fn a_wait_outlives_the_time_for_silence() {
    let server = impatient();
    let body = r#"{"queues":["q"],"wait":"30s"}"#;
    let head = format!(
        "POST /v1/leases HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = loop {
        let mut stream = server.connect();
        drop(stream.write_all(head.as_bytes()));
        // It may have been silent for too long before it was heard.
        while server.store.pending() == 0 && is_open(&stream) {
            std::thread::yield_now();
        }
        if server.store.pending() == 1 {
            break stream;
        }
    };
    // Longer than an impatient server bears silence: two connections have come and gone.
    until_closed(&mut server.connect());
    until_closed(&mut server.connect());
    enqueue(&server, 1, "1".to_owned());
    let answer = Answer::read(&mut stream);
    assert_eq!(
        answer.body["jobs"].as_array().map(Vec::len),
        Some(1),
        "{answer:?}"
    );
}

#[test]
fn two_lengths_do_not_make_two_requests() {
    let server = Server::start();
    let both = "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\n\
                transfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut stream = server.connect();
    stream.write_all(both.as_bytes()).expect("sent");
    let said = until_closed(&mut stream);
    assert!(said.starts_with("HTTP/1.1 400"), "{said}");
    assert_eq!(said.matches("HTTP/1.1").count(), 1, "{said}");
    let differing = "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nnull";
    assert_eq!(raw(&server, differing.as_bytes()).status, 400);
    let folded = "GET /livez HTTP/1.1\r\nhost: localhost\r\nx: y\r\n z\r\n\r\n";
    assert_eq!(raw(&server, folded.as_bytes()).status, 400);
    let not_chunked =
        "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: gzip\r\n\r\n";
    assert_eq!(raw(&server, not_chunked.as_bytes()).status, 400);
}

#[test]
fn noise_is_answered_or_dropped_and_the_server_lives() {
    let server = Server::start();
    for noise in [
        &b"\x16\x03\x01\x02\x00\x01"[..],
        b"\0\0\0\0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut stream = server.connect();
        stream.write_all(noise).expect("sent");
        drop(stream.shutdown(Shutdown::Write));
        let said = until_closed(&mut stream);
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
    }
    assert_eq!(server.send("GET", "/livez", "").status, 200);
}

#[test]
fn a_connection_too_many_is_told_to_come_back() {
    let server = Server::with(Limits {
        connections_max: 1,
        ..Limits::default()
    });
    let mut busy = server.connect();
    let body = r#"{"queues":["q"],"wait":"60s"}"#;
    let ask = format!(
        "POST /v1/leases HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    busy.write_all(ask.as_bytes()).expect("sent");
    server.store.wait_for(1);
    let answer = Answer::read(&mut server.connect());
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.head.contains("retry-after: 1"), "{answer:?}");
}

/// A request over a connection that is kept, whose answer is read to its end.
fn ask_and_stay(stream: &mut TcpStream) -> String {
    let ask = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(ask).expect("sent");
    let mut said = Vec::new();
    while !said.ends_with(b"live\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        said.extend(byte);
    }
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn an_idle_connection_makes_room() {
    let server = Server::with(Limits {
        connections_max: 1,
        ..Limits::default()
    });
    let mut idle = server.connect();
    ask_and_stay(&mut idle);
    // The server may not know yet that it is idle, and says to come back then.
    while server.send("GET", "/livez", "").status != 200 {}
    assert_eq!(until_closed(&mut idle), "", "it was let go");
}

#[test]
fn the_connection_that_was_idle_for_longest_makes_room() {
    let server = Server::with(Limits {
        connections_max: 2,
        ..Limits::default()
    });
    let mut silent = server.connect();
    let mut later = server.connect();
    ask_and_stay(&mut later);
    assert_eq!(server.send("GET", "/livez", "").status, 200);
    assert_eq!(until_closed(&mut silent), "", "it was let go");
    assert!(ask_and_stay(&mut later).starts_with("HTTP/1.1 200"));
}

#[test]
fn a_worker_that_hangs_up_while_it_waits_gets_nothing() {
    let server = Server::start();
    let body = r#"{"queues":["q"],"wait":"60s"}"#;
    let head = format!(
        "POST /v1/leases HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut streams: Vec<_> = (0..20).map(|_| server.connect()).collect();
    for stream in &mut streams {
        stream.write_all(head.as_bytes()).expect("sent");
    }
    server.store.wait_for(20);
    drop(streams);
    server.store.wait_for(0);
    let id = server.enqueue(r#"{"kind":"a","queue":"q"}"#);
    let job = server.send("GET", &format!("/v1/jobs/{id}"), "");
    assert_eq!(job.body["state"], "available", "{job:?}");
}

/// Waits until every job is ready, none of them because its lease lapsed.
fn wait_until_all_are_ready(server: &Server) {
    let start = Instant::now();
    loop {
        let queue = block_on(server.store.queues()).expect("queues").remove(0);
        assert_eq!(queue.totals.lapsed, 0, "the clock stands still");
        let ready = queue.held[JobState::Available as usize];
        if ready == 1_000 {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{ready} are ready, no more");
        std::thread::yield_now();
    }
}

/// A client that asks for everything does as `goes` says in the middle of the answer, which it does
/// not read. Then every job is ready again.
fn check_unread(limits: Limits, goes: impl FnOnce(TcpStream) -> Option<TcpStream>) {
    let server = Server::with(limits);
    // As many as one answer may have, larger together than what fits between two ends.
    enqueue(&server, 1_000, format!("\"{}\"", "x".repeat(32 * 1024)));
    let body = r#"{"queues":["q"],"max":1000}"#;
    let ask = format!(
        "POST /v1/leases HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answered = loop {
        wait_until_all_are_ready(&server);
        let mut stream = server.connect();
        // An impatient server may have cut the connection before it was asked.
        let asked = stream.write_all(ask.as_bytes());
        if asked.is_ok() && matches!(stream.peek(&mut [0]), Ok(1)) {
            break stream;
        }
    };
    let held = goes(answered);
    wait_until_all_are_ready(&server);
    drop(held);
}

#[test]
fn what_a_client_did_not_read_before_it_closed_is_released() {
    check_unread(Limits::default(), |stream| {
        drop(stream);
        None
    });
}

#[test]
fn what_a_client_did_not_read_before_it_said_goodbye_is_released() {
    check_unread(Limits::default(), |stream| {
        stream.shutdown(Shutdown::Write).expect("half closed");
        Some(stream)
    });
}

#[test]
fn what_a_silent_client_does_not_read_is_released() {
    let limits = Limits {
        idle_timeout: Duration::from_millis(100),
        ..Limits::default()
    };
    check_unread(limits, Some);
}
