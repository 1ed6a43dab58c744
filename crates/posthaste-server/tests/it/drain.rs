//! The end of a server: nothing new, what is under way finishes.

use std::io::{Read, Write};
use std::time::Duration;

use posthaste_server::server::Limits;

use crate::client::{Answer, Server};

#[test]
fn waits_end_idle_connections_close_and_new_ones_are_refused() {
    let mut server = Server::start();
    let mut idle = server.connect();
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .expect("sent");
    let mut begun = [0; 12];
    idle.read_exact(&mut begun).expect("served");
    let mut waiting = server.connect();
    let body = r#"{"queues":["q"],"wait":"60s"}"#;
    let head = format!(
        "POST /v1/leases HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    waiting.write_all(head.as_bytes()).expect("sent");
    server.store.wait_for(1);
    server.begin_drain();
    let answer = Answer::read(&mut waiting);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        answer.body["jobs"].as_array().map(Vec::len),
        Some(0),
        "{answer:?}"
    );
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).expect("closed in peace");
    assert_eq!(server.ended(), 0);
}

#[test]
fn what_does_not_end_within_the_grace_is_cut() {
    let server = Server::with(Limits {
        grace: Duration::from_millis(50),
        ..Limits::default()
    });
    let mut slow = server.connect();
    let head = "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\
                expect: 100-continue\r\n\r\n";
    slow.write_all(head.as_bytes()).expect("sent");
    // The server asks for the body once it reads it: from then on the request is under way.
    let mut asked = [0; 12];
    slow.read_exact(&mut asked).expect("asked for the body");
    assert_eq!(&asked, b"HTTP/1.1 100");
    assert_eq!(server.ended(), 1);
}
