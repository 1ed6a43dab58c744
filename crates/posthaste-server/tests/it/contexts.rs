//! What a request's context leaves on the jobs and events that it enqueues and publishes.

use serde_json::{Value, json};

use crate::client::Server;

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const OTHER: &str = "00-11111111111111111111111111111111-2222222222222222-01";
const HEADERS: [(&str, &str); 3] = [
    ("posthaste-criticality", "batch"),
    ("traceparent", TRACE),
    ("posthaste-timeout-ms", "100"),
];

fn post(server: &Server, path: &str, body: &str) -> Value {
    let answer = server.send_with("POST", path, &HEADERS, body.as_bytes());
    assert!(answer.status < 300, "{answer:?}");
    answer.body
}

fn job(server: &Server, id: &Value) -> Value {
    let id = id.as_str().expect("an id");
    server.send("GET", &format!("/v1/jobs/{id}"), "").body
}

#[test]
fn jobs_and_events_inherit_from_the_headers_what_they_do_not_say() {
    let server = Server::start();
    let inherited = json!({"criticality": "batch", "traceparent": TRACE});

    let own = format!(
        r#"{{"kind":"b","metadata":{{"criticality":"critical","traceparent":"{OTHER}"}}}}"#
    );
    let jobs = post(&server, "/v1/jobs", &format!(r#"[{{"kind":"a"}},{own}]"#));
    let (first, second) = (&jobs["jobs"][0]["id"], &jobs["jobs"][1]["id"]);
    let first = job(&server, first);
    assert_eq!(first["metadata"], inherited);
    assert_eq!(first.get("deadline"), None, "a job outlives the call");
    let second = job(&server, second);
    assert_eq!(
        second["metadata"],
        json!({"criticality": "critical", "traceparent": OTHER})
    );

    let commands = r#"{"commands":[{"enqueue":{"kind":"c"}},
        {"publish":{"topic":"orders","events":[{"type":"placed","data":1}]}}]}"#;
    let committed = post(&server, "/v1/commit", commands);
    let third = job(&server, &committed["replies"][0]["enqueued"]["id"]);
    assert_eq!(third["metadata"], inherited, "{committed}");

    post(
        &server,
        "/v1/topics/orders/events",
        r#"{"type":"placed","payload":1}"#,
    );
    let events = server.send("GET", "/v1/topics/orders/events", "").body;
    let events = events["events"].as_array().expect("events").clone();
    assert_eq!(events.len(), 2);
    for event in events {
        assert_eq!(
            (&event["criticality"], &event["traceparent"]),
            (&json!("batch"), &json!(TRACE))
        );
    }

    let later = post(
        &server,
        "/v1/topics/orders/events?delay=1h",
        r#"{"type":"placed","payload":1}"#,
    );
    assert_eq!(job(&server, &later["jobs"][0]["id"])["metadata"], inherited);
}

#[test]
fn a_key_is_the_same_from_another_trace() {
    let server = Server::start();
    let body = r#"{"kind":"a","idempotency_key":"once"}"#;
    let first = post(&server, "/v1/jobs", body);
    let again = server.send("POST", "/v1/jobs", body).body;
    assert_eq!(again["jobs"][0]["id"], first["jobs"][0]["id"]);
}
