//! What can be said on the command line, and how it is told what it can't be.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use rustix::process::Signal;

use crate::binary::{Running, posthaste, run};
use crate::command_line::{check, check_next, dir};

#[test]
fn enqueue_says_all_that_http_can_say() {
    let dir = dir();
    let job = |more: &[&str]| {
        let job = ["enqueue", "--kind", "a", "--store", "file:data"];
        run(dir.path(), &[&job, more].concat())
    };
    let rules = [
        "--unique-key",
        "one",
        "--unique-period",
        "1h",
        "--unique-states",
        "available,completed",
        "--on-conflict",
    ];
    let with = |what| job(&[&rules[..], &[what]].concat());
    let rule = [
        "--backoff",
        "base=2s,factor=3",
        "--no-result",
        "--unique-payload",
    ];
    assert_eq!(job(&rule).status.code(), Some(0));
    assert_eq!(with("reject").status.code(), Some(0));
    check_next(&with("reject"), 4, "unique");
    let again = with("existing");
    assert!(
        String::from_utf8_lossy(&again.stdout).contains("was there before"),
        "{again:?}"
    );
    check(&job(&["--unique-period", "1h"]), 2, "--unique-key");
    check(
        &job(&["--unique-key", "a", "--unique-states", "daed"]),
        2,
        "dead",
    );
    check(&job(&["--backoff", "factr=2"]), 2, "factor");
}

#[test]
fn usage_errors_are_json_where_json_is_asked_for() {
    let dir = dir();
    for (arguments, says) in [
        (&["jobs", "list", "--stat", "dead"][..], "--stat"),
        (&["enqueue"], "--kind"),
        (&["wrok"], "wrok"),
    ] {
        let output = run(dir.path(), &[arguments, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said: serde_json::Value = serde_json::from_slice(&output.stderr).expect("JSON");
        assert_eq!(said["error"], "invalid", "{said}");
        let message = said["message"].as_str().expect("a message");
        assert!(message.contains(says), "{said}");
        assert!(!message.contains("Usage"), "{said}");
        assert!(
            said["next"]
                .as_str()
                .is_some_and(|next| next.contains("--help")),
            "{said}"
        );
    }
}

#[test]
fn every_help_ends_with_the_exit_codes() {
    let dir = dir();
    for command in [
        &["--help"][..],
        &["serve", "-h"],
        &["dead", "redrive", "--help"],
    ] {
        let output = run(dir.path(), command);
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{command:?}");
        assert!(
            said.trim_end()
                .ends_with("9  what was to be read on from is gone (tail)"),
            "{said}"
        );
    }
}

#[test]
fn a_benchmark_that_is_stopped_leaves_nothing_behind() {
    for signal in [Signal::INT, Signal::TERM] {
        let dir = dir();
        let mut command = posthaste(dir.path());
        command.args(["bench", "jobs", "--only", "backlog"]);
        let mut bench = Running::start(command.stderr(Stdio::piped()));
        let told = bench.child.stderr.take().expect("a standard error");
        let mut told = BufReader::new(told);
        let mut line = String::new();
        told.read_line(&mut line).expect("a line");
        assert!(line.contains("measuring backlog"), "{line}");
        let made = || std::fs::read_dir(dir.path()).expect("a directory").count();
        assert_eq!(made(), 1, "its scratch directory");
        bench.signal(signal);
        assert_eq!(bench.ended(), Some(1));
        assert_eq!(made(), 0, "{signal:?}");
    }
}

#[test]
fn a_server_keeps_what_has_ended_as_long_as_it_is_told() {
    let dir = dir();
    let serve = |more: &[&str]| {
        let serve = ["serve", "--store", "memory:", "--listen", "127.0.0.1:0"];
        run(dir.path(), &[&serve, more].concat())
    };
    check_next(&serve(&["--completed-kept", "1ms"]), 2, "completed jobs");
    check_next(&serve(&["--dead-kept-max", "10"]), 2, "dead jobs");
    std::fs::write(
        dir.path().join("kept.toml"),
        "[serve]\ndead_kept = \"999d\"\ncompleted_kept_max = 7\n",
    )
    .expect("a file");
    check_next(&serve(&["--config", "kept.toml"]), 2, "at most 7 of them");
    let server = [
        "serve",
        "--store",
        "http://127.0.0.1:1",
        "--dead-kept",
        "1d",
    ];
    check_next(&run(dir.path(), &server), 2, "--dead-kept");
}

#[test]
fn a_server_makes_no_topics_where_it_is_told_not_to() {
    let dir = dir();
    let server = ["serve", "--store", "http://127.0.0.1:1"];
    let server = run(
        dir.path(),
        &[&server[..], &["--create-topics", "true"]].concat(),
    );
    check_next(&server, 2, "--create-topics");
    let settings = "[serve]\ncreate_topics = false\n";
    std::fs::write(dir.path().join("p.toml"), settings).expect("a file");
    let mut serve = posthaste(dir.path());
    serve.args(["serve", "--store", "memory:", "--listen", "127.0.0.1:0"]);
    let mut serve = Running::start(serve.args(["--config", "p.toml"]));
    let line = serve.line();
    let url = line
        .trim_end()
        .strip_prefix("listening on ")
        .expect("it listens");
    let run = |arguments: &[&str]| run(dir.path(), &[arguments, &["--store", url]].concat());
    check_next(&run(&["publish", "orders", "1"]), 3, "posthaste topics set");
    assert_eq!(run(&["topics", "set", "orders"]).status.code(), Some(0));
    assert_eq!(run(&["publish", "orders", "1"]).status.code(), Some(0));
}

#[test]
fn what_has_ended_is_pruned_by_age_or_but_for_the_newest() {
    let dir = dir();
    let posthaste = |arguments: &[&str]| run(dir.path(), arguments);
    let store = ["--store", "file:data"];
    let prune = |more: &[&str]| {
        let prune = ["jobs", "prune", "--state", "cancelled"];
        posthaste(&[&prune, &store[..], more].concat())
    };
    for _ in 0..3 {
        let job = ["enqueue", "--kind", "a"];
        let job = posthaste(&[&job, &store[..]].concat());
        let id = String::from_utf8_lossy(&job.stdout);
        let id = id.split_whitespace().next().expect("an id");
        let cancel = posthaste(&[&["jobs", "cancel", id], &store[..]].concat());
        assert_eq!(cancel.status.code(), Some(0), "{cancel:?}");
    }
    let told = |output: &std::process::Output| String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(told(&prune(&["--older-than", "1h"])), "0 jobs deleted\n");
    assert_eq!(told(&prune(&["--keep", "1"])), "2 jobs deleted\n");
    assert_eq!(told(&prune(&["--older-than", "0s"])), "1 jobs deleted\n");
    check(&prune(&[]), 2, "--older-than");
    check(&prune(&["--keep", "1", "--older-than", "1h"]), 2, "--keep");
}
