//! `demo`: its totals balance, also after a kill -9.

use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use crate::binary::{Running, posthaste};

fn demo(dir: &Path, seconds: &str) -> Running {
    let mut demo = posthaste(dir);
    let store = ["--store", "file:./data"];
    demo.args([
        "demo",
        "--json",
        "--rate",
        "40",
        "--seconds",
        seconds,
        "--grace",
        "1s",
    ])
    .args(store);
    Running::start(&mut demo)
}

fn event(demo: &mut Running, name: &str) -> Value {
    loop {
        let line = demo.line();
        let event: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        if event["event"] == name {
            return event;
        }
    }
}

fn number(totals: &Value, name: &str) -> u64 {
    totals[name]
        .as_u64()
        .unwrap_or_else(|| panic!("{name} of {totals}"))
}

fn check_balance(totals: &Value) {
    let sum: u64 = ["completed", "dead", "cancelled", "waiting", "running"]
        .iter()
        .map(|name| number(totals, name))
        .sum();
    assert_eq!(number(totals, "accepted"), sum, "{totals}");
}

#[test]
fn the_totals_balance_at_the_end_and_after_a_kill() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut killed = demo(dir.path(), "600");
    let seen = event(&mut killed, "second");
    killed.kill();

    let mut second = demo(dir.path(), "600");
    let found = event(&mut second, "found");
    assert_eq!(
        (&found["missing"], &found["balances"]),
        (&0.into(), &true.into()),
        "{found}"
    );
    check_balance(&found["totals"]);
    assert!(
        number(&found["totals"], "accepted") >= number(&seen["totals"], "accepted"),
        "{found}"
    );
    let before = number(&found["totals"], "completed");
    while number(&event(&mut second, "second")["totals"], "completed") <= before {}
    second.signal(Signal::TERM);
    let end = event(&mut second, "end");
    assert_eq!(end["balances"], true, "{end}");
    check_balance(&end["totals"]);
    assert!(number(&end["totals"], "completed") > before, "{end}");
    assert_eq!(second.ended(), Some(0));
}
