//! Bad input over HTTP: each a documented status, a slug, and what to do next.

use std::sync::Arc;

use posthaste_log::{Location, Options};
use posthaste_server::server::Limits;
use posthaste_testkit::disk::FaultDisk;

use crate::client::Server;
use crate::watched::Watched;

const MIB: usize = 1024 * 1024;

fn check(server: &Server, path: &str, body: &str, status: u16, slug: &str, says: &str) {
    check_answer(server.send("POST", path, body), body, status, slug, says);
}

fn check_answer(answer: crate::client::Answer, asked: &str, status: u16, slug: &str, says: &str) {
    let asked = &asked[..asked.len().min(200)];
    assert_eq!(answer.status, status, "{asked}: {answer:?}");
    let (kind, title, next) = answer.problem();
    assert_eq!(kind, slug, "{asked}: {answer:?}");
    assert!(
        format!("{title}; {next}").contains(says),
        "{asked}: {title:?} and {next:?} do not say {says:?}"
    );
    assert!(!next.is_empty(), "{asked}: {title:?} has no next step");
}

#[test]
fn jobs_that_cannot_be() {
    let server = Server::start();
    let refused = |body: &str, says: &str| check(&server, "/v1/jobs", body, 400, "invalid", says);
    refused("{", "not JSON");
    refused("", "not JSON");
    refused("{}", "\"kind\" is missing");
    refused(r#"{"kind":""}"#, "the kind is empty");
    refused(r#"{"kind":"a b"}"#, "the character ' '");
    refused(r#"{"kind":"a","priorty":3}"#, "did you mean \"priority\"?");
    refused(r#"{"kind":"a","priority":0}"#, "priority 0");
    refused(r#"{"kind":"a","priority":10}"#, "priority 10");
    refused(r#"{"kind":"a","delay":"5"}"#, "1h30m");
    refused(r#"{"kind":"a","delay":"4000d"}"#, "");
    refused(r#"{"kind":"a","run_at":"tomorrow"}"#, "RFC 3339");
    refused(
        r#"{"kind":"a","delay":"1s","run_at":"2030-01-01T00:00:00Z"}"#,
        "both",
    );
    refused(r#"{"kind":"a","max_attempts":0}"#, "attempts");
    refused(r#"{"kind":"a","payload":"\ud800"}"#, "half a character");
    refused(r#"{"kind":"a","payload_base64":"***"}"#, "base64");
    refused(r#"{"kind":"a","kind":"b"}"#, "kind");
    refused(
        r#"[{"kind":"a"},{"kind":"b","priority":11}]"#,
        "priority 11",
    );
    let deep = format!(
        r#"{{"kind":"a","payload":{}1{}}}"#,
        "[".repeat(65),
        "]".repeat(65)
    );
    refused(&deep, "deeper than 64");
    assert_eq!(
        server.send("GET", "/v1/jobs", "").body["jobs"]
            .as_array()
            .map(Vec::len),
        Some(0)
    );
}

#[test]
fn a_refused_item_is_named_by_its_index_and_nothing_of_the_array_is_kept() {
    let server = Server::start();
    let answer = server.send(
        "POST",
        "/v1/jobs",
        r#"[{"kind":"a"},{"kind":"b","priority":11}]"#,
    );
    assert_eq!(answer.body["command"], 1, "{answer:?}");
    assert_eq!(
        server.send("GET", "/v1/jobs", "").body["jobs"]
            .as_array()
            .map(Vec::len),
        Some(0)
    );
}

#[test]
fn a_million_levels_are_refused_without_a_crash() {
    let server = Server::start();
    for open in ["[", "{\"a\":"] {
        let deep = format!(r#"{{"kind":"a","payload":{}"#, open.repeat(MIB));
        assert_eq!(server.send("POST", "/v1/jobs", &deep).status, 400);
        assert_eq!(
            server.send("POST", "/v1/jobs", &open.repeat(MIB)).status,
            400
        );
    }
    assert_eq!(server.send("GET", "/livez", "").status, 200);
}

#[test]
fn sizes_have_limits() {
    let server = Server::start();
    let large = format!(r#"{{"kind":"a","payload":"{}"}}"#, "x".repeat(MIB));
    check(&server, "/v1/jobs", &large, 413, "too-large", "payload");
    let huge = "x".repeat(8 * MIB + 1);
    check(&server, "/v1/jobs", &huge, 413, "too-large", "8 MiB");
    let many = format!("[{}]", vec![r#"{"kind":"a"}"#; 1_001].join(","));
    check(&server, "/v1/jobs", &many, 413, "too-large", "1000");
}

#[test]
fn a_chunked_body_over_the_limit_is_refused() {
    use std::io::Write;
    let server = Server::start();
    let mut stream = server.connect();
    let head = "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("sent");
    let chunk = format!("{:x}\r\n{}\r\n", MIB, " ".repeat(MIB));
    for _ in 0..9 {
        // The server may have answered before the last one.
        if stream.write_all(chunk.as_bytes()).is_err() {
            break;
        }
    }
    let answer = crate::client::Answer::read(&mut stream);
    check_answer(answer, "nine MiB in chunks", 413, "too-large", "8 MiB");
}

#[test]
fn keys_cover_a_request_and_a_job() {
    let server = Server::start();
    let with = |key: &str, body: &str| {
        server.send_with(
            "POST",
            "/v1/jobs",
            &[("idempotency-key", key)],
            body.as_bytes(),
        )
    };
    let first = with("k1", r#"{"kind":"a"}"#);
    let again = with("k1", r#"{"kind":"a"}"#);
    assert_eq!(first.status, 201, "{first:?}");
    assert_eq!(first.body["jobs"][0]["id"], again.body["jobs"][0]["id"]);
    check_answer(
        with("k1", r#"{"kind":"b"}"#),
        "k1",
        422,
        "key-reused",
        "key",
    );
    check_answer(
        with("", r#"{"kind":"b"}"#),
        "empty",
        400,
        "invalid",
        "Idempotency-Key",
    );
    let long = "k".repeat(256);
    check_answer(
        with(&long, r#"{"kind":"b"}"#),
        "long",
        400,
        "invalid",
        "255",
    );

    let job = r#"{"kind":"a","idempotency_key":"j1","payload":1}"#;
    assert_eq!(server.enqueue(job), server.enqueue(job));
    let other = r#"{"kind":"a","idempotency_key":"j1","payload":2}"#;
    check(&server, "/v1/jobs", other, 422, "key-reused", "key");
}

#[test]
fn leases_are_fenced() {
    let server = Server::start();
    let id = server.enqueue(r#"{"kind":"a","queue":"q"}"#);
    let lease = r#"{"queues":["q"],"lease":"1s"}"#;
    let token = server.send("POST", "/v1/leases", lease).body["jobs"][0]["token"]
        .as_u64()
        .expect("a token");
    server.store.clock.advance(2_000);
    let next = server.send("POST", "/v1/leases", lease).body["jobs"][0]["token"].as_u64();
    assert!(next > Some(token), "{next:?} is later than {token}");
    let settle = |token: u64| {
        let item = format!(r#"[{{"id":"{id}","token":{token},"outcome":"completed"}}]"#);
        let answer = server.send("POST", "/v1/leases/settle", &item);
        answer.body["results"][0]["status"]
            .as_str()
            .map(str::to_owned)
    };
    assert_eq!(settle(token).as_deref(), Some("stale"));
    assert_ne!(settle(token + 1_000).as_deref(), Some("ok"));
    assert_eq!(settle(token + 1).as_deref(), Some("ok"));
    assert_eq!(settle(token + 1).as_deref(), Some("ok"), "repeated");

    let commit = format!(
        r#"{{"commands":[{{"enqueue":{{"kind":"b"}}}},{{"settle":{{"id":"{id}","token":{token},"outcome":"completed"}}}}]}}"#
    );
    let answer = server.send("POST", "/v1/commit", &commit);
    assert_eq!(answer.body["command"], 1, "{answer:?}");
    check_answer(answer, "commit", 409, "stale", "lease");
}

#[test]
fn asks_for_work_that_cannot_be() {
    let server = Server::start();
    let refused = |body: &str, says: &str| check(&server, "/v1/leases", body, 400, "invalid", says);
    refused("{}", "\"queues\" is missing");
    refused(r#"{"queues":[]}"#, "queue");
    refused(r#"{"queues":["q"],"max":1001}"#, "1000");
    refused(r#"{"queues":["q"],"lease":"1ms"}"#, "lease");
    refused(r#"{"queues":["q"],"wiat":"1s"}"#, "did you mean \"wait\"?");
    let settle = r#"[{"id":"nope","token":1,"outcome":"completed"}]"#;
    check(
        &server,
        "/v1/leases/settle",
        settle,
        400,
        "invalid",
        "not a job id",
    );
    let settle = r#"[{"id":"01890a5d-ac96-774b-bcce-b302099a8057","token":1,"outcome":"done"}]"#;
    check(
        &server,
        "/v1/leases/settle",
        settle,
        400,
        "invalid",
        "completed",
    );
}

#[test]
fn places_and_ways_that_are_not() {
    let server = Server::start();
    let absent = "01890a5d-ac96-774b-bcce-b302099a8057";
    let ask = |method: &str, path: &str| server.send(method, path, "");
    check_answer(ask("GET", "/v1/job"), "a typo", 404, "not-found", "openapi");
    check_answer(
        ask("GET", "/../etc/passwd"),
        "a climb",
        404,
        "not-found",
        "openapi",
    );
    check_answer(
        ask("GET", "/v1/jobs/%00"),
        "a NUL",
        400,
        "invalid",
        "job id",
    );
    check_answer(
        ask("GET", &format!("/v1/jobs/{absent}")),
        "absent",
        404,
        "not-found",
        absent,
    );
    check_answer(ask("GET", "/v1/jobs/7"), "no id", 400, "invalid", "UUID");
    check_answer(
        ask("GET", "/v1/jobs?stat=dead"),
        "a typo",
        400,
        "invalid",
        "did you mean \"state\"?",
    );
    check_answer(
        ask("GET", "/v1/jobs?state=daed"),
        "a typo",
        400,
        "invalid",
        "did you mean \"dead\"?",
    );
    check_answer(
        ask("GET", "/v1/jobs?max=1001"),
        "a page",
        400,
        "invalid",
        "1000",
    );
    check_answer(
        ask("DELETE", "/v1/queues"),
        "a method",
        405,
        "invalid",
        "Allow",
    );
    assert!(ask("DELETE", "/v1/queues").head.contains("allow: get"));
    check(&server, "/v1/jobs/delete", "{}", 400, "invalid", "state");
    check(
        &server,
        "/v1/jobs/prune",
        r#"{"state":"available"}"#,
        400,
        "invalid",
        "completed",
    );
    check(
        &server,
        "/v1/jobs/delete",
        r#"{"state":"dead","older_than":"1s"}"#,
        400,
        "invalid",
        "prune",
    );
    for (bad, says) in [
        (r#"{"state":"dead","older_than":"1s","keep":1}"#, "both"),
        (r#"{"state":"dead","keep":1000001}"#, "1000000"),
        (r#"{"state":"available","keep":1}"#, "completed"),
        (r#"{"state":"dead","keep":1,"cursor":"7"}"#, "cursor"),
    ] {
        check(&server, "/v1/jobs/prune", bad, 400, "invalid", says);
    }
}

#[test]
fn a_full_disk_refuses_new_work_and_settles_what_there_is() {
    let disk = FaultDisk::new();
    let mut options = Options::new(Location::Directory("/store".into()));
    options.disk = Arc::new(disk.clone());
    options.segment_bytes = 64 * 1024;
    options.reserve_bytes = 1024 * 1024;
    let server = Server::over(Watched::open(options), Limits::default());
    let id = server.enqueue(r#"{"kind":"a","queue":"q"}"#);
    let used = 64 * 1024 * 1024 - disk.free().min(64 * 1024 * 1024);
    disk.set_capacity(Some(used + 512 * 1024));
    let large = format!(r#"{{"kind":"a","payload":"{}"}}"#, "x".repeat(30_000));
    let full = (0..100)
        .map(|_| server.send("POST", "/v1/jobs", &large))
        .find(|answer| answer.status != 201)
        .expect("the disk is full at some time");
    check_answer(full, "a full disk", 507, "disk-full", "disk");
    let lease = server.send("POST", "/v1/leases", r#"{"queues":["q"]}"#);
    let token = &lease.body["jobs"][0]["token"];
    let settle = format!(r#"[{{"id":"{id}","token":{token},"outcome":"completed"}}]"#);
    let settled = server.send("POST", "/v1/leases/settle", &settle);
    assert_eq!(settled.body["results"][0]["status"], "ok", "{settled:?}");
    disk.set_capacity(None);
    // It looks again by itself, in its own time.
    while server.send("POST", "/v1/jobs", r#"{"kind":"a"}"#).status != 201 {
        server.store.clock.advance(1_000);
    }
}

#[test]
fn a_connection_outlives_every_refusal_of_what_it_was_sent() {
    use std::io::{Read, Write};
    let server = Server::start();
    let asks = [
        ("POST", "/v1/jobs", "{"),
        ("PATCH", "/v1/jobs/nope", "{}"),
        ("POST", "/v1/jobs/nope/cancel", "{}"),
        ("PUT", "/v1/queues/a%20b", "{}"),
        ("POST", "/v1/leases", "[]"),
        ("POST", "/v1/commit", "{\"digest\":1}"),
    ];
    for (method, path, body) in asks {
        let mut stream = server.connect();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).expect("sent");
        // The body comes later than the head: until it has come there is no answer.
        assert_eq!(server.send("GET", "/livez", "").status, 200);
        stream.write_all(body.as_bytes()).expect("sent");
        let mut begun = [0; 12];
        stream.read_exact(&mut begun).expect("an answer");
        assert_eq!(&begun, b"HTTP/1.1 400", "{method} {path}");
        let next = "GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n";
        stream.write_all(next.as_bytes()).expect("still open");
        let mut rest = String::new();
        stream.read_to_string(&mut rest).expect("the rest");
        assert!(rest.ends_with("live\n"), "{method} {path}: {rest}");
    }
}

#[test]
fn pages_of_other_sites_are_kept_out() {
    let server = Server::start();
    let from = |origin: &str| {
        let body = br#"{"kind":"a"}"#;
        server
            .send_with("POST", "/v1/jobs", &[("origin", origin)], body)
            .status
    };
    assert_eq!(from("http://evil.example"), 403);
    assert_eq!(from(&format!("http://{}", server.address)), 201);
}
