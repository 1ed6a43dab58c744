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

/// Every event is somewhere in each of the two groups. Answers how many there are.
fn check_events(seen: &Value) -> u64 {
    let events = &seen["events"];
    let published = number(events, "published");
    let groups = events["groups"].as_array().expect("groups");
    assert_eq!(groups.len(), 2, "{events}");
    for group in groups {
        let sum: u64 = ["done", "skipped", "dead", "lag"]
            .iter()
            .map(|name| number(group, name))
            .sum();
        assert_eq!(published, sum, "{events}");
    }
    published
}

fn done(seen: &Value, group: usize) -> u64 {
    number(&seen["events"]["groups"][group], "done")
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
    let (published, billed) = (check_events(&seen), done(&seen, 0));
    // Both groups go on where they were.
    loop {
        let seen = event(&mut second, "second");
        check_events(&seen);
        let goes_on = number(&seen["totals"], "completed") > before;
        if goes_on && done(&seen, 0) > billed && done(&seen, 1) > published {
            break;
        }
    }
    second.signal(Signal::TERM);
    let end = event(&mut second, "end");
    assert_eq!(end["balances"], true, "{end}");
    check_balance(&end["totals"]);
    assert!(check_events(&end) > published, "{end}");
    assert!(number(&end["totals"], "completed") > before, "{end}");
    assert_eq!(second.ended(), Some(0));
}
