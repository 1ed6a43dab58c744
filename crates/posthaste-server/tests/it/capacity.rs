//! How fast queues go: over HTTP, in the metrics, and as `posthaste plan` reads it; on a clock that is
//! moved by hand, so that every figure is exact.

use serde_json::{Value, json};

use crate::binary::{self, run};
use crate::client::Server;
use crate::command_line::{check, check_next, dir};

/// For twenty seconds two jobs a second, of which one takes 100 ms and the other 300 ms.
fn worked() -> Server {
    let server = Server::start();
    let settle = |job: &Value| {
        let settle = json!([{"id": job["id"], "token": job["token"], "outcome": "completed"}]);
        let settled = server.send("POST", "/v1/leases/settle", &settle.to_string());
        assert_eq!(settled.body["results"][0]["status"], "ok", "{settled:?}");
    };
    for _ in 0..20 {
        for _ in 0..2 {
            server.enqueue(r#"{"kind":"a","queue":"mail"}"#);
        }
        let lease = server.send("POST", "/v1/leases", r#"{"queues":["mail"],"max":2}"#);
        server.store.clock.advance(100);
        settle(&lease.body["jobs"][0]);
        server.store.clock.advance(200);
        settle(&lease.body["jobs"][1]);
        server.store.clock.advance(700);
    }
    server
}

fn queue(server: &Server) -> Value {
    let mut answer = server.send("GET", "/v1/queues", "");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["queues"][0].take()
}

fn near(value: &Value, want: f64) {
    let got = value.as_f64().expect("a number");
    assert!((got - want).abs() < 1e-3, "{got} is not {want}");
}

#[test]
fn a_queue_is_shown_with_its_pace_once_a_second_has_passed() {
    let server = Server::start();
    server.enqueue(r#"{"kind":"a","queue":"mail"}"#);
    assert_eq!(queue(&server)["pace"], Value::Null);
    server.store.clock.advance(1_000);
    let pace = &queue(&server)["pace"];
    near(&pace["arrivals_per_second"], 1.0);
    assert_eq!(pace["service_ms"], Value::Null, "{pace}");
    assert_eq!(pace["utilisation"], Value::Null, "{pace}");
}

#[test]
fn the_pace_is_what_was_done() {
    let server = worked();
    let pace = &queue(&server)["pace"];
    for (name, want) in [
        ("arrivals_per_second", 2.0),
        ("arrival_cv2", 0.0),
        ("settled_per_second", 2.0),
        ("service_ms", 200.0),
        ("service_cv2", 0.25),
        ("running_most", 2.0),
        ("utilisation", 0.2),
        ("drain_ms", 0.0),
    ] {
        near(&pace[name], want);
    }
    let metrics = server.send("GET", "/metrics", "");
    let metrics = metrics.body.as_str().expect("text");
    for (name, want) in [
        ("arrivals_per_second", 2.0),
        ("arrivals_dispersion", 0.0),
        ("settled_per_second", 2.0),
        ("service_seconds", 0.2),
        ("service_cv2", 0.25),
        ("running_most", 2.0),
        ("utilisation", 0.2),
        ("drain_seconds", 0.0),
    ] {
        let start = format!("posthaste_queue_{name}{{queue=\"mail\"}} ");
        let value = metrics.lines().find_map(|line| line.strip_prefix(&start));
        let value = value.unwrap_or_else(|| panic!("{start} in {metrics}"));
        near(&json!(value.parse::<f64>().expect("a number")), want);
    }
}

#[test]
fn a_plan_is_made_of_what_was_measured_and_of_what_is_said() {
    let (server, dir) = (worked(), dir());
    for _ in 0..60 {
        server.enqueue(r#"{"kind":"a","queue":"mail"}"#);
    }
    let url = format!("http://{}", server.address);
    let plan = |more: &[&str]| {
        let arguments = [&["plan", "--store", url.as_str()], more].concat();
        binary::json(dir.path(), &arguments)
    };
    let all = plan(&[]);
    let mail = &all["plans"][0];
    assert_eq!(mail["queue"], "mail");
    near(&mail["arrivals_per_second"], 2.0);
    near(&mail["service_ms"], 200.0);
    near(&mail["now"]["utilisation"], 0.2);
    // Two workers do ten a second, and two arrive.
    near(&mail["now"]["drain_ms"], 7_500.0);
    near(&mail["one_less"]["utilisation"], 0.4);
    assert_eq!(*mail, plan(&["--queue", "mail"]));

    let said = plan(&[
        "--queue",
        "mail",
        "--arrivals",
        "50/s",
        "--service-cv",
        "2",
        "--workers",
        "12",
        "--target-wait",
        "500ms",
        "--backlog",
        "0",
    ]);
    near(&said["now"]["utilisation"], 50.0 * 0.2 / 12.0);
    near(&said["service_cv2"], 4.0);
    near(&said["now"]["drain_ms"], 0.0);
    assert_eq!(said["now"]["workers"], 12);
    let needed = said["workers_needed"].as_u64().expect("a number");
    let narrow = plan(&[
        "--queue",
        "mail",
        "--arrivals",
        "50/s",
        "--service-cv",
        "2",
        "--target-wait",
        "500ms",
        "--workers",
        &(needed - 1).to_string(),
    ]);
    assert_eq!(narrow["now"]["meets_target"], false, "{narrow}");
    assert_eq!(narrow["workers_needed"], needed);

    let store = ["plan", "--store", url.as_str()];
    let table = run(dir.path(), &store);
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.starts_with("QUEUE"), "{table}");
    assert!(
        table.contains("20 %") && table.contains("enough"),
        "{table}"
    );
    let absent = run(dir.path(), &[&store[..], &["--queue", "post"]].concat());
    check_next(&absent, 3, "no queue post");
}

#[test]
fn a_queue_that_is_not_measured_is_no_plan_yet() {
    let (server, dir) = (Server::start(), dir());
    server.enqueue(r#"{"kind":"a","queue":"mail"}"#);
    let url = format!("http://{}", server.address);
    let run = |more: &[&str]| {
        let arguments = [&["plan", "--store", url.as_str(), "--queue", "mail"], more].concat();
        run(dir.path(), &arguments)
    };
    check_next(&run(&[]), 4, "the pace of the queue mail is not known yet");
    server.store.clock.advance(1_000);
    check_next(
        &run(&[]),
        4,
        "the service time of the queue mail is not known yet",
    );
    check(&run(&["--service", "80ms"]), 0, "");
    let all = binary::json(dir.path(), &["plan", "--store", &url]);
    assert_eq!(
        all["plans"][0]["unknown"].as_str().map(|it| &it[..11]),
        Some("the service")
    );
}

#[test]
fn figures_that_are_typed_in_need_no_server() {
    let dir = dir();
    // Nobody listens there.
    let store = ["plan", "--store", "http://127.0.0.1:1"];
    let typed = [
        "--arrivals",
        "120/s",
        "--service",
        "80ms",
        "--workers",
        "12",
        "--target-wait",
        "100ms",
        "--backlog",
        "10000",
    ];
    let output = run(dir.path(), &[&store[..], &typed].concat());
    check(&output, 0, "");
    let told = String::from_utf8_lossy(&output.stdout);
    for line in [
        "arrivals     120/s (cv 1)",
        "utilisation  80 %",
        "backlog      10000, gone in 5m33s",
        "headroom     30 more a second",
        "needed       13",
        "advice       add 1 worker: it takes 13 to wait at most 100ms",
    ] {
        assert!(told.lines().any(|it| it == line), "{line} in {told}");
    }
    let few = [
        "--arrivals",
        "112/s",
        "--service",
        "100ms",
        "--workers",
        "10",
    ];
    let output = run(dir.path(), &[&store[..], &few].concat());
    check(&output, 0, "");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        told.contains("the backlog grows by 12 a second; at least 12 workers"),
        "{told}"
    );
}

#[test]
fn rubbish_is_refused_with_what_can_be_said() {
    let dir = dir();
    let run = |more: &[&str]| run(dir.path(), &[&["plan"], more].concat());
    check(&run(&["--arrivals", "120"]), 2, "120/s, 90/m");
    check(&run(&["--service", "80"]), 2, "200ms");
    check_next(&run(&["--arrivals", "1/s"]), 2, "go together");
    check_next(
        &run(&["--service", "1s", "--workers", "2"]),
        2,
        "go together",
    );
    let plan = |more: &[&str]| {
        let load = ["--arrivals", "1/s", "--service", "1s", "--workers", "2"];
        run(&[&load, more].concat())
    };
    check_next(&plan(&["--quantile", "99"]), 2, "the quantile");
    check_next(&plan(&["--service-cv", "nan"]), 2, "a variability");
    check_next(&plan(&["--service-cv=-1"]), 2, "a variability");
    let none = ["--arrivals", "1/s", "--service", "1s", "--workers", "0"];
    check_next(&run(&none), 2, "between 1 and");
    let endless = [
        "--arrivals",
        "1000000/s",
        "--service",
        "1h",
        "--workers",
        "5",
    ];
    check_next(&run(&endless), 2, "a plan goes to 100000");
}
