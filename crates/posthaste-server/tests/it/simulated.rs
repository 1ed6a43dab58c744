//! `posthaste sim`, as a person runs it.

use std::fs;

use crate::binary::{json, run};
use crate::command_line::{check_next, dir};

/// A rig that is played in no time.
const SMALL: &str = "
[rig]
workers = 5
clients = 2
warmup = \"1s\"
measured = \"2s\"
";

fn file(dir: &tempfile::TempDir, name: &str, policies: &str) {
    fs::write(dir.path().join(name), format!("{policies}{SMALL}")).expect("written");
}

#[test]
fn two_policies_are_compared_over_loads_and_after_a_trigger() {
    let dir = dir();
    let shed = "[client]\npolicy = \"default\"\ndeadline = \"1s\"\nattempt_timeout = \"300ms\"\n[server]\npolicy = \"server\"\n";
    file(&dir, "good.toml", shed);
    file(&dir, "bad.toml", "[client]\npolicy = \"naive\"\n");
    let compare = ["sim", "--compare", "good.toml", "bad.toml"];
    let loads = [&compare[..], &["--load", "0.5,3", "--svg", "out.svg"]].concat();
    let told = json(dir.path(), &loads);
    let point = |policy: usize, load: usize| &told["by_load"][policy]["points"][load];
    for policy in 0..2 {
        let calm = &point(policy, 0)["success"]["critical"];
        assert_eq!(calm.as_f64(), Some(1.0), "{told}");
    }
    let goodput = |policy| point(policy, 1)["goodput"].as_f64().expect("a number");
    assert!(goodput(0) > 0.7 && goodput(1) < 0.2, "{told}");
    assert_eq!(told, json(dir.path(), &loads), "the same seed");
    let drawn = fs::read_to_string(dir.path().join("out.svg")).expect("written");
    assert!(drawn.contains("good") && drawn.contains("bad"), "{drawn}");

    let hit = [&compare[..], &["--trigger", "capacity:0.2:5s"]].concat();
    let told = json(dir.path(), &hit);
    let recovered = |policy: usize| &told["by_trigger"][policy]["points"][0]["recovered"];
    assert_eq!(
        (recovered(0), recovered(1)),
        (&true.into(), &false.into()),
        "{told}"
    );
    let shown = run(dir.path(), &hit);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    for wanted in ["RECOVERED", "capacity 0.2 for 5s", "never", "seconds"] {
        assert!(shown.contains(wanted), "{wanted} in {shown}");
    }
}

#[test]
fn what_cannot_be_simulated_is_refused_with_the_way_out() {
    let dir = dir();
    file(&dir, "odd.toml", "[client]\nretry = { tries = 3 }\n");
    file(&dir, "one.toml", "[client]\nretry = { attempts = 1 }\n");
    for arguments in [
        &["--policy", "none.toml"][..],
        &["--policy", "odd.toml"],
        &["--policy", "one.toml"],
        &["--load", "many"],
        &["--load", "1000000"],
        &["--trigger", "capacity:2:1s"],
        &["--load", "0.5", "--svg", "out.svg"],
    ] {
        let output = run(dir.path(), &[&["sim"], arguments].concat());
        check_next(&output, 2, "");
    }
}
