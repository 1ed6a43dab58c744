//! A topic in a real browser: headless Chromium follows it with its own `EventSource`.
//!
//! The page comes from a server in front, which passes `/v1/` on to Posthaste, as the guide has
//! people do. `cargo xtask test` runs this as a step of its own, and says so where there is no
//! Chromium; run by themselves, these tests fail there.

mod chromium;
mod page;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;

use serde_json::{Value, json};

use crate::binary::Running;
use crate::client::{PATIENCE, Server};
use chromium::Chromium;
use page::{Asked, Away, Front, Report};

/// Asks a server for something; the status, and the body as JSON. `None` where no whole answer
/// comes.
fn ask(to: SocketAddr, method: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let body = body.to_string();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).ok()?))
}

/// Publishes the event with that number, and tries again until it is known to be there.
fn publish(front: &Front, number: u64) {
    let event = json!({"type": "counted", "id": format!("e-{number}"), "payload": {"n": number}});
    loop {
        let at = front.behind();
        match at.and_then(|at| ask(at, "POST", "/v1/topics/orders/events", &event)) {
            Some((201, _)) => return,
            Some((status, problem)) => panic!("{status}: {problem}"),
            None => thread::yield_now(), // it is being killed, or started again
        }
    }
}

/// The next event that the page was told of: its number, and its id.
fn event(reports: &mpsc::Receiver<Report>) -> (u64, String) {
    loop {
        let report = reports.recv_timeout(PATIENCE).expect("the page reports");
        if let Some(data) = report.0.get("data") {
            let number = data["data"]["n"].as_u64().expect("a number");
            let id = report.0["id"].as_str().expect("an id");
            return (number, id.to_owned());
        }
    }
}

/// Kills the server with -9 while events are published, and starts it again at another port. The
/// page must be told each event once and in order; the streams that it asked for.
fn follow_across_a_kill(away: Away) -> Vec<Asked> {
    let (first, last) = (20, 60);
    let dir = tempfile::tempdir().expect("a directory");
    let serve = || {
        let (server, url) = Running::serve(dir.path(), "file:./store", "127.0.0.1:0");
        let address = url.strip_prefix("http://").expect("a URL");
        (server, address.parse().expect("an address"))
    };
    let (mut server, address) = serve();
    let (front, reports) = Front::start(address, away);
    publish(&front, 1);
    let _browser = Chromium::open(&front.url());
    let (go_on, told) = mpsc::channel();
    let mut events = vec![event(&reports)];
    thread::scope(|scope| {
        let front = &front;
        let publisher = scope.spawn(move || {
            (2..=first).for_each(|number| publish(front, number));
            told.recv().expect("the test goes on");
            (first + 1..=last).for_each(|number| publish(front, number));
        });
        while (events.len() as u64) < first {
            events.push(event(&reports));
        }
        go_on.send(()).expect("the publisher waits");
        let asked = front.asked().len();
        server.kill();
        // It was noticed that the server is gone before it comes back.
        front.now_behind(None);
        front.wait_until_asked(asked + 1);
        let (again, address) = serve();
        server = again;
        front.now_behind(Some(address));
        while (events.len() as u64) < last {
            events.push(event(&reports));
        }
        publisher.join().expect("everything is published");
    });
    let numbers: Vec<u64> = events.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=last).collect::<Vec<_>>(), "each, in order");
    let ids: HashSet<&str> = events.iter().map(|(_, id)| id.as_str()).collect();
    assert_eq!(ids.len(), events.len(), "each once");
    front.asked()
}

/// The page does nothing about it: `EventSource` comes back by itself with `Last-Event-ID`.
#[test]
fn follows_a_topic_across_a_killed_server_and_misses_nothing() {
    let asked = follow_across_a_kill(Away::BreakOff);
    assert_eq!(asked[0].seen, None, "it had seen nothing at first");
    for again in &asked[1..] {
        assert!(again.seen.is_some(), "{asked:?}");
        assert!(again.path.ends_with("from=earliest"), "{asked:?}");
    }
}

/// A proxy that answers 502 has `EventSource` give up for good: the page opens another, where it was.
#[test]
fn follows_a_topic_past_a_proxy_that_answers_for_the_killed_server() {
    let asked = follow_across_a_kill(Away::BadGateway);
    let last = asked.last().expect("a stream");
    assert!(!last.path.ends_with("from=earliest"), "{asked:?}");
}

/// What lay where the page was is gone when it comes back: it is told so, and goes on from the
/// earliest.
#[test]
fn is_told_of_what_is_gone() {
    let server = Server::start();
    let (front, reports) = Front::start(server.address, Away::BreakOff);
    (1..=3).for_each(|number| publish(&front, number));
    let _browser = Chromium::open(&front.url());
    for number in 1..=3 {
        assert_eq!(event(&reports).0, number);
    }
    // Nobody gets through until it is gone.
    front.now_behind(None);
    front.hang_up();
    let behind = Front::start(server.address, Away::BreakOff).0;
    (4..=7).for_each(|number| publish(&behind, number));
    server.store.forget_before(5);
    front.now_behind(Some(server.address));
    let reset = loop {
        let report = reports.recv_timeout(PATIENCE).expect("the page reports");
        if let Some(reset) = report.0.get("reset") {
            break reset.clone();
        }
    };
    assert_eq!(reset["reason"], "retention", "{reset}");
    assert_eq!(event(&reports).0, 6, "the earliest that is there");
    assert_eq!(event(&reports).0, 7);
}
