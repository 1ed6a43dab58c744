//! New work is refused while too much waits, or the disk fills up: by tier, and with the figures.

use std::sync::Arc;
use std::thread;

use posthaste_log::{Location, Options};
use posthaste_server::server::Limits;
use posthaste_testkit::disk::FaultDisk;
use serde_json::json;

use crate::binary::{Running, posthaste, run};
use crate::client::{Answer, Server};
use crate::command_line;
use crate::watched::Watched;

fn serve(backlog_max: u64) -> Server {
    Server::serving(Watched::new(), Limits::default(), |served| {
        served.with_backlog_max(backlog_max)
    })
}

fn enqueue(server: &Server, tier: &str, jobs: usize) -> Answer {
    let jobs = format!("[{}]", vec![r#"{"kind":"a","queue":"q"}"#; jobs].join(","));
    let tier = [("posthaste-criticality", tier)];
    server.send_with("POST", "/v1/jobs", &tier, jobs.as_bytes())
}

fn check_taken(server: &Server, tier: &str, jobs: usize) {
    let answer = enqueue(server, tier, jobs);
    assert_eq!(answer.status, 201, "{tier}: {answer:?}");
}

fn check_busy(answer: &Answer, says: &str) {
    assert_eq!(answer.status, 429, "{answer:?}");
    let (slug, title, next) = answer.problem();
    assert_eq!(slug, "busy", "{answer:?}");
    assert!(title.contains(says), "{title:?} does not say {says:?}");
    assert!(next.contains("--backlog-max"), "{next}");
    assert!(answer.head.contains("\r\nretry-after: 2"), "{answer:?}");
}

#[test]
fn the_lower_tiers_are_refused_first_and_whole() {
    let server = serve(10);
    check_taken(&server, "best-effort", 7);
    let said = "7 jobs wait, and best-effort is taken up to 7 of 10";
    check_busy(&enqueue(&server, "best-effort", 1), said);
    let said = "7 jobs wait, and batch is taken up to 8 of 10";
    check_busy(&enqueue(&server, "batch", 2), said);
    check_taken(&server, "batch", 1);
    check_busy(&enqueue(&server, "batch", 1), "batch is taken up to 8");
    check_taken(&server, "default", 2);
    check_busy(&enqueue(&server, "default", 1), "default is taken up to 10");
    check_taken(&server, "critical", 1);
    check_busy(
        &enqueue(&server, "critical", 1),
        "critical is taken up to 11",
    );
    let queues = server.send("GET", "/v1/queues", "");
    assert_eq!(queues.body["queues"][0]["available"], 11, "{queues:?}");
}

#[test]
fn whatever_brings_jobs_is_counted_and_whatever_ends_them_is_not() {
    let server = serve(1);
    check_taken(&server, "default", 1);
    let more = r#"{"commands":[{"enqueue":{"kind":"a"}}]}"#;
    check_busy(&server.send("POST", "/v1/commit", more), "1 jobs wait");
    let event = r#"{"type":"t","payload":1}"#;
    let later = server.send("POST", "/v1/topics/t/events?delay=1h", event);
    check_busy(&later, "1 jobs wait");
    let now = server.send("POST", "/v1/topics/t/events", event);
    assert_eq!(now.status, 201, "{now:?}");
    // A settle is taken with what goes along with it.
    let lease = server.send("POST", "/v1/leases", r#"{"queues":["q"]}"#);
    let job = &lease.body["jobs"][0];
    let more = json!([{"enqueue": {"kind": "b"}}, {"enqueue": {"kind": "b"}}]);
    let settle =
        json!([{"id": job["id"], "token": job["token"], "outcome": "completed", "commit": more}]);
    let settled = server.send("POST", "/v1/leases/settle", &settle.to_string());
    assert_eq!(settled.body["results"][0]["status"], "ok", "{settled:?}");
}

#[test]
fn a_refused_repetition_did_nothing_and_what_the_first_did_stands() {
    let server = serve(1);
    let send = || {
        let key = [("idempotency-key", "k")];
        let job = br#"{"kind":"a","queue":"q"}"#;
        server.send_with("POST", "/v1/jobs", &key, job)
    };
    let first = send();
    assert_eq!(first.status, 201, "{first:?}");
    check_busy(&send(), "1 jobs wait");
    let lease = server.send("POST", "/v1/leases", r#"{"queues":["q"]}"#);
    let leased = &lease.body["jobs"][0]["id"];
    assert_eq!(*leased, first.body["jobs"][0]["id"], "{lease:?}");
    let again = loop {
        let answer = send();
        if answer.status != 429 {
            break answer;
        }
        thread::yield_now();
    };
    assert_eq!(again.status, 201, "{again:?}");
    assert_eq!(again.body["jobs"][0]["id"], *leased, "{again:?}");
}

#[test]
fn room_is_noticed_once_the_backlog_is_shorter() {
    let server = serve(1);
    check_taken(&server, "default", 1);
    assert_eq!(enqueue(&server, "default", 1).status, 429);
    let lease = server.send("POST", "/v1/leases", r#"{"queues":["q"]}"#);
    assert_eq!(lease.body["jobs"].as_array().map(Vec::len), Some(1));
    // It counts again by itself.
    while enqueue(&server, "default", 1).status != 201 {
        thread::yield_now();
    }
    assert_eq!(enqueue(&server, "default", 1).status, 429);
}

#[test]
fn the_lower_tiers_are_refused_before_the_disk_is_full() {
    let disk = FaultDisk::new();
    let mut options = Options::new(Location::Directory("/store".into()));
    options.disk = Arc::new(disk.clone());
    options.segment_bytes = 64 * 1024;
    options.reserve_bytes = 64 * 1024 * 1024;
    let server = Server::over(Watched::open(options), Limits::default());
    check_taken(&server, "best-effort", 1);
    disk.set_capacity(Some(1 << 30));
    let used = (1 << 30) - disk.free();
    // Between two and three times the reserve, and far from both: work is let in for a while on figures
    // that are somewhat old.
    disk.set_capacity(Some(used + 160 * 1024 * 1024));
    let refused = loop {
        let answer = enqueue(&server, "best-effort", 1);
        if answer.status != 201 {
            break answer;
        }
        server.store.clock.advance(1_000);
    };
    assert_eq!(refused.status, 507, "{refused:?}");
    let (slug, title, next) = refused.problem();
    assert_eq!(slug, "disk-full", "{refused:?}");
    assert!(
        title.contains("best-effort is taken down to 192 MiB"),
        "{title}"
    );
    assert!(next.contains("make room"), "{next}");
    check_taken(&server, "batch", 1);
    check_taken(&server, "default", 1);
    let ready = server.send("GET", "/readyz", "");
    assert_eq!(
        ready.status, 200,
        "it is no reason to send nobody: {ready:?}"
    );
    assert_eq!(ready.body["reserve_bytes"], 64 * 1024 * 1024, "{ready:?}");
    assert!(
        ready.body["free_bytes"].as_u64() < Some(192 * 1024 * 1024),
        "{ready:?}"
    );
    disk.set_capacity(None);
    while enqueue(&server, "best-effort", 1).status != 201 {
        server.store.clock.advance(1_000);
    }
}

#[test]
fn serve_takes_its_limits_from_flags_and_from_the_file() {
    let dir = command_line::dir();
    let file = "[serve]\nbacklog_max = 2\nadmission = false\n";
    std::fs::write(dir.path().join("posthaste.toml"), file).expect("written");
    let mut command = posthaste(dir.path());
    command.args(["serve", "--store", "memory:", "--listen", "127.0.0.1:0"]);
    command.args(["--config", "posthaste.toml"]);
    let mut server = Running::start(&mut command);
    let line = server.line();
    let url = line.trim().strip_prefix("listening on ").expect("a server");
    let enqueue = ["enqueue", "--kind", "a", "--store", url];
    for _ in 0..2 {
        assert_eq!(run(dir.path(), &enqueue).status.code(), Some(0));
    }
    let refused = run(dir.path(), &enqueue);
    command_line::check(&refused, 5, "the backlog is too long");
    for (flag, value) in [("--backlog-max", "0"), ("--admission", "perhaps")] {
        let serve = [
            "serve",
            "--store",
            "memory:",
            "--listen",
            "127.0.0.1:0",
            flag,
            value,
        ];
        command_line::check(&run(dir.path(), &serve), 2, flag);
    }
}
