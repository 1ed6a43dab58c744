//! Clients that misbehave on the wire.

use std::io::{Read, Write};
use std::time::Duration;

use posthaste_server::server::Limits;

use crate::client::{Answer, Server};

fn raw(server: &Server, bytes: &[u8]) -> Answer {
    let mut stream = server.connect();
    // The server may answer and close before everything is sent.
    drop(stream.write_all(bytes));
    drop(stream.shutdown(std::net::Shutdown::Write));
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
fn until_closed(stream: &mut std::net::TcpStream) -> String {
    let mut said = Vec::new();
    drop(stream.read_to_end(&mut said));
    String::from_utf8_lossy(&said).into_owned()
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
    let mut stream = server.connect();
    stream
        .write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .expect("sent");
    let said = until_closed(&mut stream);
    assert!(
        said.starts_with("HTTP/1.1 200") && said.ends_with("live\n"),
        "{said}"
    );
}

#[test]
fn a_wait_outlives_the_time_for_silence() {
    let server = impatient();
    let waiting = server.connect();
    let mut stream = waiting.try_clone().expect("a clone");
    let body = r#"{"queues":["q"],"wait":"30s"}"#;
    let head = format!(
        "POST /v1/leases HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("sent");
    // Longer than an impatient server bears silence: two connections have come and gone.
    until_closed(&mut server.connect());
    until_closed(&mut server.connect());
    server.enqueue(r#"{"kind":"a","queue":"q"}"#);
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
        drop(stream.shutdown(std::net::Shutdown::Write));
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
    let mut first = server.connect();
    first
        .write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .expect("sent");
    let mut begun = [0; 12];
    first.read_exact(&mut begun).expect("served");
    let answer = Answer::read(&mut server.connect());
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.head.contains("retry-after: 1"), "{answer:?}");
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
