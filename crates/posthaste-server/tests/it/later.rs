//! Events that are published later, over HTTP and from the command line: a job until they are due.

use posthaste_core::Store;
use posthaste_testkit::block_on;
use serde_json::{Value, json};

use crate::binary::{self, Running};
use crate::client::{Answer, Server};
use crate::command_line::dir;

const EVENTS: &str = "/v1/topics/orders/events";

fn refused(server: &Server, query: &str, says: &str) {
    let answer = server.send("POST", &format!("{EVENTS}?{query}"), r#"{"type":"a"}"#);
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.body.to_string().contains(says), "{answer:?}");
}

fn jobs(answer: &Answer) -> &Vec<Value> {
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.body["jobs"].as_array().expect("jobs")
}

#[test]
fn an_event_for_later_is_a_job_and_no_event() {
    let server = Server::start();
    let one =
        r#"{"type":"trial.ended","key":"user-7","payload":{"user":7},"headers":{"subject":"u"}}"#;
    let answer = server.send("POST", &format!("{EVENTS}?delay=1h"), one);
    let id = jobs(&answer)[0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(jobs(&answer)[0]["state"], "scheduled");
    let job = server.send("GET", &format!("/v1/jobs/{id}"), "").body;
    assert_eq!(
        (&job["kind"], &job["queue"]),
        (&json!("posthaste.publish"), &json!("posthaste.publish"))
    );
    assert_eq!(job["payload"]["partitionkey"], "user-7");
    assert_eq!(job["payload"]["data"], json!({"user": 7}));
    let topics = block_on(server.store.topics()).expect("it answers");
    assert!(topics.is_empty(), "nothing is published: {topics:?}");
    let cancelled = server.send("POST", &format!("/v1/jobs/{id}/cancel"), "");
    assert_eq!(cancelled.status, 200, "{cancelled:?}");
}

#[test]
fn many_for_later_are_all_or_none_and_once() {
    let server = Server::start();
    let path = format!("{EVENTS}?delay=24h");
    let two = br#"[{"type":"a","payload":1},{"type":"b","payload":2}]"#;
    let key = [("idempotency-key", "\"once\"")];
    let first = server.send_with("POST", &path, &key, two);
    assert_eq!(jobs(&first).len(), 2);
    let again = server.send_with("POST", &path, &key, two);
    let ids = |answer: &Answer| -> Vec<Value> {
        let jobs = jobs(answer).iter();
        jobs.map(|job| job["id"].clone()).collect()
    };
    assert_eq!(ids(&again), ids(&first));
    let wrong = r#"[{"type":"a","payload":1},{"type":"","payload":2}]"#;
    let answer = server.send("POST", &path, wrong);
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(answer.body["command"], 1, "{answer:?}");
    let held = server.send("GET", "/v1/jobs?kind=posthaste.publish", "");
    assert_eq!(held.body["jobs"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_time_that_cannot_be_is_refused() {
    let server = Server::start();
    refused(&server, "delay=soon", "soon");
    refused(&server, "run_at=tomorrow", "tomorrow");
    refused(
        &server,
        "delay=1s&run_at=2999-01-01T00:00:00Z",
        "exclude each other",
    );
    refused(&server, "after=1s", "known: delay, run_at");
    refused(&server, "delay=1s&delay=2s", "given twice");
}

/// Whoever waits for the event waits for the server to run its job, whatever happened to the one
/// that accepted it.
#[test]
fn what_is_due_is_published_once_although_the_server_was_killed() {
    let dir = dir();
    let (mut server, url) = Running::serve(dir.path(), "file:data", "127.0.0.1:0");
    let publish = |more: &[&str]| {
        let publish = ["publish", "orders", "--store", &url];
        binary::json(dir.path(), &[&publish, more].concat())["jobs"][0]["id"].clone()
    };
    let first = publish(&["1", "--delay", "50ms", "--key", "k"]);
    let named = publish(&["2", "--delay", "100ms", "--id", "own"]);
    assert_ne!(first, named);
    server.kill();
    let port = url.trim_start_matches("http://");
    let (_server, url) = Running::serve(dir.path(), "file:data", port);
    let third = publish(&["3", "--run-at", "2001-01-01T00:00:00Z"]);
    let mut ids = Vec::new();
    let mut tail = Running::start(
        binary::posthaste(dir.path())
            .args([
                "tail", "orders", "--from", "earliest", "--follow", "--json", "--store", &url,
            ])
            .stderr(std::process::Stdio::null()),
    );
    while ids.len() < 3 {
        let event: Value = serde_json::from_str(&tail.line()).expect("an event");
        ids.push(event["id"].clone());
    }
    ids.sort_by_key(Value::to_string);
    let mut expected = vec![first.clone(), json!("own"), third];
    expected.sort_by_key(Value::to_string);
    assert_eq!(ids, expected);
    let id = first.as_str().expect("an id");
    let show = ["jobs", "show", id, "--wait", "1m", "--store", &url];
    assert_eq!(binary::json(dir.path(), &show)["state"], "completed");
    let all = binary::json(dir.path(), &["topics", "show", "orders", "--store", &url]);
    let next = all["next_offsets"].as_array().expect("offsets").iter();
    assert_eq!(
        next.map(|offset| offset.as_u64().expect("a number"))
            .sum::<u64>(),
        3
    );
}
