//! Jobs from beginning to end over HTTP.

use serde_json::{Value, json};

use crate::client::Server;

fn get(server: &Server, path: &str) -> Value {
    let answer = server.send("GET", path, "");
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.body
}

#[test]
fn a_job_is_leased_kept_alive_settled_and_followed_up() {
    let server = Server::start();
    let id = server.enqueue(r#"{"kind":"mail","queue":"q","payload":{"to":"a","n":1.50}}"#);
    let answer = server.send("POST", "/v1/leases", r#"{"queues":["q"],"worker":"w1"}"#);
    let job = &answer.body["jobs"][0];
    assert_eq!(job["id"], id.as_str(), "{answer:?}");
    assert_eq!(job["payload"], json!({"to": "a", "n": 1.50}));
    let token = &job["token"];

    let beat = json!([{"id": id, "token": token, "progress": {"done": 1}}]).to_string();
    let beat = server.send("POST", "/v1/leases/heartbeat", &beat);
    assert_eq!(beat.body["results"][0]["status"], "ok", "{beat:?}");
    assert_eq!(
        get(&server, &format!("/v1/jobs/{id}"))["progress"],
        json!({"done": 1})
    );

    let settle = json!([{"id": id, "token": token, "outcome": "completed", "result": [7],
        "commit": [{"enqueue": {"kind": "next", "queue": "q"}}]}]);
    let settled = server.send("POST", "/v1/leases/settle", &settle.to_string());
    let result = &settled.body["results"][0];
    assert_eq!(result["status"], "ok", "{settled:?}");
    assert!(
        result["replies"][0]["enqueued"]["id"].is_string(),
        "{settled:?}"
    );
    let job = get(&server, &format!("/v1/jobs/{id}?wait=10s"));
    assert_eq!(
        (&job["state"], &job["result"]),
        (&json!("completed"), &json!([7]))
    );
}

#[test]
fn a_cancelled_runner_is_told_at_its_heartbeat() {
    let server = Server::start();
    let id = server.enqueue(r#"{"kind":"a","queue":"q"}"#);
    let lease = server.send("POST", "/v1/leases", r#"{"queues":["q"]}"#);
    let token = &lease.body["jobs"][0]["token"];
    let answer = server.send("POST", &format!("/v1/jobs/{id}/cancel"), "");
    assert_eq!(answer.body["state"], "running", "{answer:?}");
    let beat = json!([{"id": id, "token": token}]).to_string();
    let beat = server.send("POST", "/v1/leases/heartbeat", &beat);
    assert_eq!(beat.body["results"][0]["cancelled"], true, "{beat:?}");
}

#[test]
fn dead_jobs_are_edited_redriven_and_deleted() {
    let server = Server::start();
    let id = server.enqueue(r#"{"kind":"a","queue":"q","payload":1,"max_attempts":1}"#);
    let lease = server.send("POST", "/v1/leases", r#"{"queues":["q"]}"#);
    let token = &lease.body["jobs"][0]["token"];
    let settle = json!([{"id": id, "token": token, "outcome": "dead", "error": "bad"}]);
    server.send("POST", "/v1/leases/settle", &settle.to_string());
    let dead = get(&server, "/v1/jobs?state=dead&queue=q");
    assert_eq!(dead["jobs"][0]["error"], "bad", "{dead}");

    let edit = server.send("PATCH", &format!("/v1/jobs/{id}"), r#"{"payload":2}"#);
    assert_eq!(edit.status, 200, "{edit:?}");
    let swept = server.send("POST", "/v1/jobs/redrive", r#"{"queue":"q"}"#);
    assert_eq!(swept.body["changed"], 1, "{swept:?}");
    let job = get(&server, &format!("/v1/jobs/{id}"));
    assert_eq!(
        (&job["state"], &job["payload"]),
        (&json!("available"), &json!(2))
    );

    let swept = server.send("POST", "/v1/jobs/delete", r#"{"state":"available"}"#);
    assert_eq!(swept.body["changed"], 1, "{swept:?}");
    assert_eq!(
        server.send("GET", &format!("/v1/jobs/{id}"), "").status,
        404
    );
    assert_eq!(
        server.send("DELETE", &format!("/v1/jobs/{id}"), "").status,
        404
    );
}

/// One pass, slice by slice: how many jobs it changed.
fn sweep_to_the_end(server: &Server, slices: &mut u32) -> u64 {
    let (mut changed, mut cursor) = (0, Value::Null);
    loop {
        let mut sweep = json!({"state": "available", "max": 10});
        if cursor.is_string() {
            sweep["cursor"] = cursor;
        }
        let swept = server.send("POST", "/v1/jobs/delete", &sweep.to_string());
        assert_eq!(swept.status, 200, "{swept:?}");
        *slices += 1;
        changed += swept.body["changed"].as_u64().expect("a number");
        cursor = swept.body["next"].clone();
        if cursor.is_null() {
            return changed;
        }
    }
}

#[test]
fn sweeps_go_on_from_slice_to_slice() {
    let server = Server::start();
    let many = format!("[{}]", vec![r#"{"kind":"a","queue":"q"}"#; 25].join(","));
    assert_eq!(server.send("POST", "/v1/jobs", &many).status, 201);
    let (mut slices, mut changed) = (0, 0);
    loop {
        let pass = sweep_to_the_end(&server, &mut slices);
        changed += pass;
        if pass == 0 {
            break;
        }
    }
    assert!(slices >= 3, "{slices}");
    assert_eq!(changed, 25);
}

#[test]
fn all_but_the_newest_are_pruned_from_slice_to_slice() {
    let server = Server::start();
    let many = format!("[{}]", vec![r#"{"kind":"a","queue":"q"}"#; 25].join(","));
    let many = server.send("POST", "/v1/jobs", &many);
    for job in many.body["jobs"].as_array().expect("jobs") {
        let id = job["id"].as_str().expect("an id");
        let cancelled = server.send("POST", &format!("/v1/jobs/{id}/cancel"), "");
        assert_eq!(cancelled.status, 200, "{cancelled:?}");
    }
    let mut sweep = json!({"state": "cancelled", "max": 10, "keep": 7});
    let mut changed = 0;
    loop {
        let swept = server.send("POST", "/v1/jobs/prune", &sweep.to_string());
        assert_eq!(swept.status, 200, "{swept:?}");
        changed += swept.body["changed"].as_u64().expect("a number");
        match swept.body["next"].as_str() {
            Some(next) => sweep["cursor"] = next.into(),
            None => break,
        }
    }
    assert_eq!(changed, 18);
    let left = get(&server, "/v1/jobs?state=cancelled");
    assert_eq!(left["jobs"].as_array().map(Vec::len), Some(7));
}

#[test]
fn queues_are_configured_paused_and_resumed() {
    let server = Server::start();
    let set = server.send(
        "PUT",
        "/v1/queues/q",
        r#"{"concurrency":3,"priority_step":"2m"}"#,
    );
    assert_eq!(
        (&set.body["concurrency"], &set.body["priority_step"]),
        (&json!(3), &json!("2m"))
    );
    assert_eq!(
        server.send("POST", "/v1/queues/q/pause", "").body["paused"],
        true
    );
    server.enqueue(r#"{"kind":"a","queue":"q"}"#);
    let lease = server.send("POST", "/v1/leases", r#"{"queues":["q"]}"#);
    assert_eq!(
        lease.body["jobs"].as_array().map(Vec::len),
        Some(0),
        "{lease:?}"
    );
    assert_eq!(
        server.send("POST", "/v1/queues/q/resume", "").body["paused"],
        false
    );
    let queues = get(&server, "/v1/queues");
    assert_eq!(queues["queues"][0]["available"], 1, "{queues}");
    assert_eq!(queues["queues"][0]["totals"]["enqueued"], 1, "{queues}");
}

#[test]
fn numbers_and_health_are_shown() {
    let server = Server::start();
    server.enqueue(r#"{"kind":"a","queue":"q"}"#);
    let metrics = get(&server, "/metrics");
    let metrics = metrics.as_str().expect("text");
    for line in [
        "posthaste_jobs{queue=\"q\",state=\"available\"} 1",
        "posthaste_jobs_enqueued_total{queue=\"q\"} 1",
        "# TYPE posthaste_commits_total counter",
        "posthaste_accepting 1",
    ] {
        assert!(metrics.lines().any(|it| it == line), "{line} in {metrics}");
    }
    assert_eq!(get(&server, "/readyz")["accepting"], true);
    assert_eq!(get(&server, "/openapi.json")["openapi"], "3.1.0");
}
