//! Who is let in and who is turned away, and what a request says of its time and its tier.

use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use posthaste::policy::settings::{Concurrency, Limit, Queue};
use posthaste::policy::{Context, Criticality, Policy, Settings};
use posthaste_server::server::Limits;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::client::{Answer, Server};
use crate::watched::Watched;

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A server with one place, and room for so many that wait for it.
struct Narrow {
    server: Server,
    policy: Policy,
    runtime: Runtime,
}

impl Narrow {
    fn start(waiting_max: u32) -> Self {
        let settings = Settings {
            concurrency: Some(Concurrency {
                limit: Limit::Static(1),
                queue: Queue {
                    waiting_max,
                    // Nobody is late here.
                    target: Duration::from_secs(1_000),
                    interval: Duration::from_secs(2_000),
                    share: 1.0,
                },
            }),
            ..Settings::default()
        };
        let policy = Policy::new("http", settings).expect("they make sense");
        let server = Server::serving(Watched::new(), Limits::default(), |served| {
            served.with_admission(Some(policy.clone()))
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        Self {
            server,
            policy,
            runtime,
        }
    }

    /// Takes the place, until it is given back with [`free`](Self::free).
    fn fill(&self) -> JoinHandle<()> {
        let policy = self.policy.clone();
        let holding = self.runtime.spawn(async move {
            let context = Context::new().criticality(Criticality::BestEffort);
            let held = policy.with(context).run_once(|_| std::future::pending());
            drop::<Result<(), _>>(held.await as Result<(), posthaste::policy::PolicyError<()>>);
        });
        while self.places().0 != 1 {
            thread::yield_now();
        }
        holding
    }

    fn free(&self, holding: JoinHandle<()>) {
        holding.abort();
        drop(self.runtime.block_on(holding));
    }

    /// How many run, and how many wait.
    fn places(&self) -> (u32, u32) {
        let places = self.policy.places().expect("it has places");
        (places.in_flight, places.waiting)
    }

    fn wait_for_waiting(&self, many: u32) {
        while self.places().1 != many {
            thread::yield_now();
        }
    }

    /// Jobs that were ever taken.
    fn jobs(&self) -> u64 {
        // The one page that takes no place, whose tier might have some kept for it later.
        let metrics = self.server.send("GET", "/metrics", "");
        let lines = metrics.body.as_str().expect("text").lines();
        let enqueued = lines.filter(|line| line.starts_with("posthaste_jobs_enqueued_total{"));
        let count = |line: &str| {
            line.rsplit(' ')
                .next()
                .and_then(|count| count.parse::<u64>().ok())
        };
        enqueued.filter_map(count).sum()
    }
}

fn check_turned_away(answer: &Answer, says: &str) {
    assert_eq!(answer.status, 503, "{answer:?}");
    let (slug, _, next) = answer.problem();
    assert_eq!(slug, "overloaded", "{answer:?}");
    assert!(next.contains(says), "{next:?} does not say {says:?}");
    assert!(answer.head.contains("\r\nretry-after: 1"), "{answer:?}");
}

fn check_too_late(answer: &Answer) {
    assert_eq!(answer.status, 504, "{answer:?}");
    assert_eq!(answer.problem().0, "deadline-exceeded", "{answer:?}");
}

#[test]
fn whoever_asks_whether_it_lives_is_answered_while_all_else_is_turned_away() {
    let narrow = Narrow::start(0);
    let holding = narrow.fill();
    let server = &narrow.server;
    check_turned_away(
        &server.send("GET", "/v1/queues", ""),
        "all 1 places are taken",
    );
    check_turned_away(
        &server.send("POST", "/v1/commit", "{}"),
        "all 1 places are taken",
    );
    for path in ["/livez", "/readyz", "/openapi.json"] {
        assert_eq!(server.send("GET", path, "").status, 200, "{path}");
    }
    let metrics = server.send("GET", "/metrics", "");
    let metrics = metrics.body.as_str().expect("text");
    for line in [
        "posthaste_policy_refused_total{policy=\"http\",reason=\"full\"} 2\n",
        "posthaste_policy_in_flight{policy=\"http\"} 1\n",
    ] {
        assert!(metrics.contains(line), "{metrics} does not say {line}");
    }
    // What waits takes no place, and what asks for work makes a backlog shorter.
    let lease = server.send("POST", "/v1/leases", r#"{"queues":["q"]}"#);
    assert_eq!(lease.status, 200, "{lease:?}");
    let absent = "/v1/jobs/01890a5d-ac96-774b-bcce-b302099a8057";
    assert_eq!(server.send("GET", absent, "").status, 503);
    let at_once = server.send("GET", &format!("{absent}?wait=0ms"), "");
    assert_eq!(at_once.status, 503, "no time is no wait: {at_once:?}");
    let waiting = server.send("GET", &format!("{absent}?wait=1s"), "");
    assert_eq!(waiting.status, 404, "{waiting:?}");
    narrow.free(holding);
    assert_eq!(server.send("GET", "/v1/queues", "").status, 200);
}

#[test]
fn what_is_turned_away_did_nothing() {
    let narrow = Narrow::start(0);
    let holding = narrow.fill();
    let key = [("idempotency-key", "k")];
    let send = || {
        let body = br#"{"kind":"a"}"#;
        narrow.server.send_with("POST", "/v1/jobs", &key, body)
    };
    check_turned_away(&send(), "all 1 places are taken");
    narrow.free(holding);
    assert_eq!(narrow.jobs(), 0);
    let first = send();
    assert_eq!(first.status, 201, "{first:?}");
    let again = send();
    assert_eq!(first.body["jobs"][0]["id"], again.body["jobs"][0]["id"]);
    assert_eq!(narrow.jobs(), 1);
}

#[test]
fn a_connection_is_used_on_after_a_small_request_was_turned_away() {
    let narrow = Narrow::start(0);
    let holding = narrow.fill();
    let mut stream = narrow.server.connect();
    let body = r#"{"kind":"a"}"#;
    let head = "POST /v1/jobs HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 12\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("sent");
    stream.write_all(body.as_bytes()).expect("sent");
    let mut begun = [0; 12];
    stream.read_exact(&mut begun).expect("an answer");
    assert_eq!(&begun, b"HTTP/1.1 503");
    narrow.free(holding);
    let next = format!(
        "{}{body}",
        head.replace("host", "connection: close\r\nhost")
    );
    stream.write_all(next.as_bytes()).expect("still open");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).expect("the rest");
    assert!(rest.contains("HTTP/1.1 201"), "{rest}");
}

#[test]
fn a_connection_is_used_on_after_a_request_without_time() {
    let server = Server::start();
    let mut stream = server.connect();
    let head = "POST /v1/jobs HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 12\r\n";
    let body = r#"{"kind":"a"}"#;
    let late = format!("{head}posthaste-timeout-ms: 0\r\n\r\n{body}");
    stream.write_all(late.as_bytes()).expect("sent");
    let mut begun = [0; 12];
    stream.read_exact(&mut begun).expect("an answer");
    assert_eq!(&begun, b"HTTP/1.1 504");
    let next = format!("{head}connection: close\r\n\r\n{body}");
    stream.write_all(next.as_bytes()).expect("still open");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).expect("the rest");
    assert!(rest.contains("HTTP/1.1 201"), "{rest}");
}

#[test]
fn a_large_body_is_turned_away_before_it_is_read() {
    let narrow = Narrow::start(0);
    let holding = narrow.fill();
    let large = "POST /v1/jobs HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 1000000\r\n\r\n";
    let mut stream = narrow.server.connect();
    stream.write_all(large.as_bytes()).expect("sent");
    let answer = Answer::read(&mut stream);
    check_turned_away(&answer, "all 1 places are taken");
    assert!(answer.head.contains("\r\nconnection: close"), "{answer:?}");
    narrow.free(holding);
    let body = format!(r#"{{"kind":"a","payload":"{}"}}"#, "x".repeat(100_000));
    let answer = narrow.server.send("POST", "/v1/jobs", &body);
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(narrow.places(), (0, 0));
}

#[test]
fn a_client_that_sends_slowly_holds_no_place() {
    let narrow = Narrow::start(0);
    let mut slow = narrow.server.connect();
    let head = "POST /v1/jobs HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\
        expect: 100-continue\r\ncontent-length: 12\r\n\r\n";
    slow.write_all(head.as_bytes()).expect("sent");
    let mut going_on = [0; 25];
    // It says so when it begins to read the body.
    slow.read_exact(&mut going_on).expect("a word");
    assert!(going_on.starts_with(b"HTTP/1.1 100"), "{going_on:?}");
    assert_eq!(narrow.places(), (0, 0));
    assert_eq!(narrow.server.send("GET", "/v1/queues", "").status, 200);
    slow.write_all(br#"{"kind":"a"}"#).expect("sent");
    assert_eq!(Answer::read(&mut slow).status, 201);
}

/// Sends one request that waits for the only place, and another that comes then; answers what
/// becomes of the first.
fn displaced(first: (&str, &str, &[(&str, &str)]), second: (&str, &str, &[(&str, &str)])) {
    let narrow = Narrow::start(1);
    let holding = narrow.fill();
    thread::scope(|scope| {
        let send = |(method, path, headers): (&str, &str, &[(&str, &str)])| {
            narrow.server.send_with(method, path, headers, b"[]")
        };
        let waiting = scope.spawn(move || send(first));
        narrow.wait_for_waiting(1);
        let better = scope.spawn(move || send(second));
        check_turned_away(
            &waiting.join().expect("it ended"),
            "a higher tier took its place",
        );
        narrow.wait_for_waiting(1);
        narrow.free(holding);
        let better = better.join().expect("it ended");
        assert!(better.status < 500, "{second:?}: {better:?}");
    });
}

#[test]
fn who_matters_more_takes_the_place_of_who_matters_less() {
    let tier = "posthaste-criticality";
    let jobs = "/v1/jobs";
    // What the requests say.
    displaced(
        ("POST", jobs, &[(tier, "batch")]),
        ("POST", jobs, &[(tier, "critical")]),
    );
    displaced(
        ("POST", jobs, &[(tier, "best-effort")]),
        ("POST", jobs, &[(tier, "batch")]),
    );
    // What the routes are where nothing is said: pages are batch, enqueues are not.
    displaced(("GET", jobs, &[]), ("POST", jobs, &[]));
    // Settles are critical, whatever they say.
    let settle = "/v1/leases/settle";
    displaced(("POST", jobs, &[]), ("POST", settle, &[(tier, "batch")]));
}

#[test]
fn a_request_without_time_is_not_started() {
    let server = Server::start();
    let late = [("posthaste-timeout-ms", "0")];
    let job = br#"{"kind":"a"}"#;
    for path in ["/v1/jobs", "/v1/commit", "/v1/leases", "/v1/leases/settle"] {
        check_too_late(&server.send_with("POST", path, &late, job));
    }
    assert_eq!(server.send_with("GET", "/livez", &late, b"").status, 200);
    let jobs = server.send("GET", "/v1/jobs", "");
    assert_eq!(jobs.body["jobs"].as_array().map(Vec::len), Some(0));
    let in_time = [("posthaste-timeout-ms", "60000")];
    let answer = server.send_with("POST", "/v1/jobs", &in_time, job);
    assert_eq!(answer.status, 201, "{answer:?}");
}

#[test]
fn a_request_whose_time_ends_while_it_waits_for_a_place_is_not_started() {
    let narrow = Narrow::start(10);
    let holding = narrow.fill();
    let soon = [("posthaste-timeout-ms", "30")];
    let job = br#"{"kind":"a"}"#;
    check_too_late(&narrow.server.send_with("POST", "/v1/jobs", &soon, job));
    narrow.free(holding);
    assert_eq!(narrow.jobs(), 0);
}

#[test]
fn a_write_whose_time_ends_while_it_is_worked_on_may_have_happened() {
    let server = Server::start();
    server.store.get_stuck();
    let soon = [("posthaste-timeout-ms", "30")];
    let job = br#"{"kind":"a"}"#;
    let answer = server.send_with("POST", "/v1/jobs", &soon, job);
    assert_eq!(answer.status, 504, "{answer:?}");
    let (slug, _, next) = answer.problem();
    assert_eq!(slug, "uncertain", "{answer:?}");
    assert!(next.contains("Idempotency-Key"), "{next}");
}

#[test]
fn a_wait_is_cut_to_the_time_that_is_left() {
    let server = Server::start();
    let id = server.enqueue(r#"{"kind":"a","delay":"1h"}"#);
    let topic = server.send("PUT", "/v1/topics/t", "{}");
    assert!(topic.status < 300, "{topic:?}");
    let read = "/v1/topics/t/events?from=latest&wait=1m";
    let soon = [("posthaste-timeout-ms", "20000")];
    thread::scope(|scope| {
        let send = |method: &'static str, path: String, body: &'static [u8]| {
            let server = &server;
            scope.spawn(move || server.send_with(method, &path, &soon, body))
        };
        let lease = send(
            "POST",
            "/v1/leases".into(),
            br#"{"queues":["q"],"wait":"1m"}"#,
        );
        let read = send("GET", read.into(), b"");
        let show = send("GET", format!("/v1/jobs/{id}?wait=1m"), b"");
        server.store.wait_for(1);
        server.store.wait_for_reads(1);
        server.store.wait_for_tails(1);
        // By the time that this is answered, the store has them.
        assert_eq!(server.send("GET", "/v1/queues", "").status, 200);
        // Longer than is left, and shorter than was asked for.
        server.store.clock.advance(25_000);
        for waited in [lease, read, show] {
            let answer = waited.join().expect("it ended");
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    });
}

/// The metadata of a job that a request commits along with `command`, and as critical.
fn metadata_beside(server: &Server, command: &Value) -> Value {
    let headers = [
        ("posthaste-criticality", "critical"),
        ("traceparent", TRACE),
    ];
    let commit = json!({"commands": [command, {"enqueue": {"kind": "b"}}]}).to_string();
    let answer = server.send_with("POST", "/v1/commit", &headers, commit.as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
    let id = &answer.body["replies"][1]["enqueued"]["id"];
    let job = format!("/v1/jobs/{}", id.as_str().expect("an id"));
    server.send("GET", &job, "").body["metadata"].clone()
}

#[test]
fn what_comes_along_with_a_settle_does_not_become_critical_by_it() {
    let server = Server::start();
    let publish = json!({"publish": {"topic": "t", "events": [{"type": "a", "data": 1}]}});
    assert_eq!(
        metadata_beside(&server, &publish),
        json!({"criticality": "critical", "traceparent": TRACE}),
        "nothing is settled"
    );

    server.enqueue(r#"{"kind":"a","queue":"q"}"#);
    let lease = server.send("POST", "/v1/leases", r#"{"queues":["q"]}"#);
    let job = &lease.body["jobs"][0];
    let settle = json!({"settle":
        {"id": job["id"], "token": job["token"], "outcome": "completed"}});

    let made = server.send("PUT", "/v1/groups/t/g", r#"{"from":"earliest"}"#);
    assert_eq!(made.status, 200, "{made:?}");
    let lease = server.send("POST", "/v1/groups/t/g/lease", r#"{"lease":"1h"}"#);
    let settle_events = json!({"settle_events":
        {"topic": "t", "group": "g", "token": lease.body["token"],
         "events": [{"position": 0, "outcome": "done"}]}});

    for settle in [settle, settle_events] {
        let metadata = metadata_beside(&server, &settle);
        assert_eq!(metadata, json!({"traceparent": TRACE}), "{settle}");
    }
}

#[test]
fn headers_that_say_nothing_are_passed_over() {
    let server = Server::start();
    for (name, value) in [
        ("posthaste-timeout-ms", "soon"),
        ("posthaste-timeout-ms", "-5"),
        ("posthaste-timeout-ms", "0.5"),
        ("posthaste-timeout-ms", "99999999999999999999999"),
        ("posthaste-criticality", "very"),
        ("posthaste-attempt", "twice"),
        ("traceparent", "00-zz"),
        ("tracestate", "a=b"),
    ] {
        let job = br#"{"kind":"a"}"#;
        let answer = server.send_with("POST", "/v1/jobs", &[(name, value)], job);
        assert_eq!(answer.status, 201, "{name}: {value}: {answer:?}");
    }
}

#[test]
fn without_admission_nobody_is_turned_away_and_time_still_counts() {
    let server = Server::serving(Watched::new(), Limits::default(), |served| {
        served.with_admission(None)
    });
    assert_eq!(server.send("GET", "/v1/queues", "").status, 200);
    let late = [("posthaste-timeout-ms", "0")];
    check_too_late(&server.send_with("GET", "/v1/queues", &late, b""));
    let metrics = server.send("GET", "/metrics", "");
    let metrics = metrics.body.as_str().expect("text");
    assert!(!metrics.contains("policy=\"http\""), "{metrics}");
}
