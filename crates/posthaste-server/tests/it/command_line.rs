//! The command line: exit codes, what is said when it goes wrong, and how a server ends.

use std::path::Path;
use std::process::Output;

use rustix::process::Signal;

use crate::binary::{self, Running, posthaste, run, run_with};

pub(crate) fn check(output: &Output, code: i32, says: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{says}: {said}");
    assert!(said.contains(says), "{said} does not say {says:?}");
}

/// The same, for refusals of our own: they tell the next step.
pub(crate) fn check_next(output: &Output, code: i32, says: &str) {
    check(output, code, says);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.starts_with("error: ") && said.contains("\nnext: "),
        "{said}"
    );
}

pub(crate) fn dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

#[test]
fn bad_usage_is_told_apart_by_its_exit_code() {
    let dir = dir();
    let run = |arguments: &[&str]| run(dir.path(), arguments);
    check(&run(&["wrok"]), 2, "'work'");
    check(
        &run(&["work", "--queue", "q", "--exce", "true"]),
        2,
        "--exec",
    );
    check(&run(&["enqueue"]), 2, "--kind");
    check(
        &run(&["enqueue", "--kind", "a b", "--store", "memory:"]),
        2,
        "the kind",
    );
    let job = ["enqueue", "--kind", "a", "--store", "memory:"];
    let enqueue = |more: &[&str]| run(&[&job, more].concat());
    check_next(&enqueue(&["--payload", "{"]), 2, "not JSON");
    check_next(&enqueue(&["--priority", "0"]), 2, "priority 0");
    check_next(&enqueue(&["--priority", "10"]), 2, "priority 10");
    check_next(&enqueue(&["--delay", "4000d"]), 2, "the delay");
    check(&enqueue(&["--delay", "5"]), 2, "1h30m");
    check_next(&enqueue(&["--max-attempts", "0"]), 2, "attempts");
    check_next(&enqueue(&["--file", "absent"]), 2, "absent");
    check_next(
        &run(&["jobs", "list", "--store", "redis://localhost"]),
        2,
        "names no store",
    );
    check_next(
        &run(&["jobs", "list", "--store", "fiel:./x"]),
        2,
        "did you mean \"file\"?",
    );
    check_next(
        &run(&["work", "--queue", "q", "--store", "memory:"]),
        2,
        "--exec",
    );
    check_next(
        &run(&["serve", "--store", "memory:", "--listen", "here"]),
        2,
        "127.0.0.1:7766",
    );
    check_next(
        &run(&["serve", "--store", "memory:", "--listen", "0.0.0.0:0"]),
        2,
        "loopback",
    );
    for store in ["memory:", "http://127.0.0.1:1"] {
        let serve = ["serve", "--listen", "127.0.0.1:0", "--durability"];
        let serve = run(&[&serve[..], &["interval=1s", "--store", store]].concat());
        check_next(&serve, 2, "interval=");
    }
    std::fs::write(dir.path().join("file"), "no store").expect("a file");
    for command in ["serve", "enqueue"] {
        let arguments: &[&str] = match command {
            "serve" => &["serve", "--listen", "127.0.0.1:0"],
            _ => &["enqueue", "--kind", "a"],
        };
        let output = run(&[arguments, &["--store", "file:file"]].concat());
        check_next(&output, 2, "next: name a directory");
    }
    let absent = "01890a5d-ac96-774b-bcce-b302099a8057";
    check_next(
        &run(&["jobs", "show", absent, "--store", "memory:"]),
        3,
        absent,
    );
    check_next(
        &run(&["jobs", "cancel", absent, "--store", "memory:"]),
        3,
        absent,
    );
    check(
        &run(&["jobs", "list", "--state", "daed", "--store", "memory:"]),
        2,
        "dead",
    );
    check_next(
        &run(&["queues", "set", "q", "--store", "memory:"]),
        2,
        "--concurrency",
    );
}

#[test]
fn a_payload_over_its_limit_or_too_deep_is_refused() {
    let dir = dir();
    let arguments = [
        "enqueue", "--kind", "a", "--store", "memory:", "--file", "-",
    ];
    let large = vec![b'x'; 1024 * 1024 + 1];
    check_next(&run_with(dir.path(), &arguments, &large), 2, "payload");
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    let output = run(
        dir.path(),
        &[
            "enqueue",
            "--kind",
            "a",
            "--store",
            "memory:",
            "--payload",
            &deep,
        ],
    );
    check_next(&output, 2, "deep");
}

#[test]
fn settings_come_from_flags_then_variables_then_the_file() {
    let dir = dir();
    std::fs::write(
        dir.path().join("p.toml"),
        "store = \"file:./of-the-file\"\n",
    )
    .expect("written");
    let job = ["enqueue", "--kind", "a"];
    let with = |variable: Option<&str>, more: &[&str]| {
        let mut command = posthaste(dir.path());
        command.args(job).args(more).args(["--config", "p.toml"]);
        if let Some(url) = variable {
            command.env("POSTHASTE_STORE", url);
        }
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "{output:?}");
    };
    with(None, &[]);
    with(Some("file:./of-the-variable"), &[]);
    with(
        Some("file:./of-the-variable"),
        &["--store", "file:./of-the-flag"],
    );
    for name in ["file", "variable", "flag"] {
        let url = format!("file:./of-the-{name}");
        let jobs = binary::json(dir.path(), &["jobs", "list", "--store", &url]);
        assert_eq!(jobs["jobs"].as_array().map(Vec::len), Some(1), "{name}");
    }
    std::fs::write(dir.path().join("p.toml"), "stoer = \"memory:\"\n").expect("written");
    let output = run(dir.path(), &["jobs", "list", "--config", "p.toml"]);
    check_next(&output, 2, "stoer");
}

#[test]
fn a_port_that_is_taken_and_a_directory_that_is_held() {
    let dir = dir();
    let (server, url) = Running::serve(dir.path(), "file:./data", "127.0.0.1:0");
    let port = url.trim_start_matches("http://");
    let output = run(
        dir.path(),
        &["serve", "--store", "memory:", "--listen", port],
    );
    check_next(&output, 5, "port taken");
    let output = run(
        dir.path(),
        &["serve", "--store", "file:./data", "--listen", "127.0.0.1:0"],
    );
    check_next(&output, 5, &server.child.id().to_string());
    let output = run(dir.path(), &["jobs", "list", "--store", "file:./data"]);
    check_next(&output, 5, &server.child.id().to_string());
}

#[test]
fn data_that_cannot_be_used_is_left_alone() {
    let dir = dir();
    std::fs::write(dir.path().join("a-file"), "text").expect("written");
    let output = run(dir.path(), &["jobs", "list", "--store", "file:./a-file"]);
    assert!(!output.status.success(), "{output:?}");
    check_next(&output, output.status.code().unwrap_or(0), "a-file");
    assert_eq!(
        std::fs::read(dir.path().join("a-file")).expect("still there"),
        b"text"
    );
}

#[test]
fn data_of_a_newer_version_and_data_that_is_damaged_are_named() {
    let dir = dir();
    binary::json(
        dir.path(),
        &["enqueue", "--kind", "a", "--store", "file:./data"],
    );
    let superblock = dir.path().join("data/superblock");
    let kept = std::fs::read(&superblock).expect("read");

    let mut newer = kept.clone();
    for slot in newer.chunks_exact_mut(4096) {
        slot[4..6].copy_from_slice(&u16::MAX.to_le_bytes());
        let crc = crc32c::crc32c(&slot[..4092]);
        slot[4092..].copy_from_slice(&crc.to_le_bytes());
    }
    std::fs::write(&superblock, &newer).expect("written");
    let list = || run(dir.path(), &["jobs", "list", "--store", "file:./data"]);
    check_next(&list(), 8, "newer version");
    assert_eq!(
        std::fs::read(&superblock).expect("read"),
        newer,
        "it is left alone"
    );

    std::fs::write(&superblock, vec![0x55; kept.len()]).expect("written");
    check_next(&list(), 6, "superblock");
    std::fs::write(&superblock, &kept).expect("written");
    assert_eq!(held(dir.path(), "file:./data", "available"), 1);
}

#[test]
fn a_flipped_byte_is_named_by_file_and_offset() {
    let dir = dir();
    let lines = "a line of some length, so that it can be found again\n".repeat(100);
    let store = ["--store", "file:./data"];
    let enqueue = [&["enqueue", "--kind", "a", "--lines"], &store[..]].concat();
    assert!(
        run_with(dir.path(), &enqueue, lines.as_bytes())
            .status
            .success()
    );
    let verify = [&["verify"], &store[..]].concat();
    let sound = binary::json(dir.path(), &verify);
    assert_eq!(
        (&sound["sound"], &sound["jobs"]),
        (&true.into(), &100.into()),
        "{sound}"
    );

    let (file, at) = find(&dir.path().join("data/segments"), b"found again");
    let mut bytes = std::fs::read(&file).expect("read");
    bytes[at] ^= 1;
    std::fs::write(&file, &bytes).expect("written");
    let output = run(dir.path(), &verify);
    check_next(&output, 6, "damaged");
    let said = String::from_utf8_lossy(&output.stdout);
    let name = file.file_name().expect("a name").to_string_lossy();
    let line = said
        .lines()
        .find(|line| line.starts_with("damaged: ") && line.contains(&*name));
    assert!(
        line.is_some_and(|line| line.contains("at offset ")),
        "{said}"
    );

    check_next(
        &run(dir.path(), &["verify", "--store", "file:./absent"]),
        3,
        "absent",
    );
    check_next(
        &run(dir.path(), &["verify", "--store", "memory:"]),
        2,
        "memory:",
    );
    let (_server, _) = Running::serve(dir.path(), "file:./held", "127.0.0.1:0");
    check_next(
        &run(dir.path(), &["verify", "--store", "file:./held"]),
        5,
        "held",
    );
}

#[test]
fn a_damaged_store_is_repaired_only_when_it_is_told_to() {
    let dir = dir();
    let store = ["--store", "file:./data"];
    let enqueue = |kind: &str| {
        let text = format!("a text of {kind}");
        let enqueue = ["enqueue", "--kind", kind, "--text", &text];
        binary::json(dir.path(), &[&enqueue, &store[..]].concat());
    };
    ["first", "second", "third"].into_iter().for_each(enqueue);
    let dry = [&["repair", "--dry-run"], &store[..]].concat();
    assert_eq!(
        binary::json(dir.path(), &dry)["steps"]
            .as_array()
            .map(Vec::len),
        Some(0)
    );
    check(
        &run(dir.path(), &[&["repair"], &store[..]].concat()),
        2,
        "--dry-run",
    );

    let superblock = dir.path().join("data/superblock");
    let length = std::fs::metadata(&superblock).expect("there").len();
    let length = usize::try_from(length).expect("small");
    std::fs::write(&superblock, vec![0x55; length]).expect("written");
    check_next(
        &run(dir.path(), &[&["jobs", "list"], &store[..]].concat()),
        6,
        "superblock",
    );
    let told = binary::json(dir.path(), &dry);
    assert_eq!(told["done"], false, "{told}");
    check_next(
        &run(dir.path(), &[&["jobs", "list"], &store[..]].concat()),
        6,
        "superblock",
    );
    let done = binary::json(dir.path(), &[&["repair", "--yes"], &store[..]].concat());
    assert_eq!(
        (&done["done"], &done["steps"]),
        (&true.into(), &told["steps"]),
        "{done}"
    );
    assert_eq!(held(dir.path(), "file:./data", "available"), 3);
}

/// The file below `dir` in which `words` stand first, and where.
fn find(dir: &Path, words: &[u8]) -> (std::path::PathBuf, usize) {
    let entries = std::fs::read_dir(dir).expect("a directory");
    entries
        .map(|entry| entry.expect("an entry").path())
        .find_map(|file| {
            let bytes = std::fs::read(&file).expect("read");
            let at = bytes
                .windows(words.len())
                .position(|window| window == words)?;
            Some((file, at))
        })
        .expect("it is written somewhere")
}

#[test]
fn a_server_that_is_not_there() {
    let dir = dir();
    let output = run(
        dir.path(),
        &["jobs", "list", "--store", "http://127.0.0.1:1"],
    );
    check_next(&output, 5, "127.0.0.1:1");
}

#[test]
fn a_server_ends_in_peace_on_either_signal_and_keeps_its_jobs() {
    let dir = dir();
    for signal in [Signal::TERM, Signal::INT] {
        let (mut server, url) = Running::serve(dir.path(), "file:./data", "127.0.0.1:0");
        let enqueued = binary::json(dir.path(), &["enqueue", "--kind", "a", "--store", &url]);
        assert_eq!(enqueued["jobs"][0]["state"], "available");
        server.signal(signal);
        assert_eq!(server.ended(), Some(0));
    }
    assert_eq!(held(dir.path(), "file:./data", "available"), 2);
}

#[test]
fn a_killed_server_keeps_what_it_acknowledged() {
    let dir = dir();
    let (mut server, url) = Running::serve(dir.path(), "file:./data", "127.0.0.1:0");
    let lines = "line\n".repeat(2_500);
    let arguments = ["enqueue", "--kind", "a", "--lines", "--store", &url];
    let output = run_with(dir.path(), &arguments, lines.as_bytes());
    assert!(output.status.success(), "{output:?}");
    server.kill();
    assert_eq!(held(dir.path(), "file:./data", "available"), 2_500);
}

fn held(dir: &Path, url: &str, state: &str) -> u64 {
    let queues = binary::json(dir, &["queues", "list", "--store", url]);
    queues["queues"][0][state].as_u64().expect("a number")
}

#[test]
fn dead_jobs_are_listed_edited_and_brought_back() {
    let dir = dir();
    let store = ["--store", "file:./data"];
    let on = |arguments: &[&str]| binary::json(dir.path(), &[arguments, &store[..]].concat());
    let id = on(&["enqueue", "--kind", "a", "--queue", "q", "--payload", "1"])["jobs"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    crate::exec::work_until_idle(dir.path(), "file:./data", "q", "echo nonsense >&2; exit 65");
    let dead = on(&["dead", "list"]);
    assert_eq!(dead["jobs"][0]["id"], id.as_str(), "{dead}");
    assert_eq!(dead["jobs"][0]["error"], "exit code 65: nonsense", "{dead}");
    on(&["jobs", "edit", &id, "--payload", "2"]);
    assert_eq!(on(&["dead", "redrive", "--all"])["changed"], 1);
    let job = on(&["jobs", "show", &id]);
    assert_eq!(
        (&job["state"], &job["payload"]),
        (&"available".into(), &2.into()),
        "{job}"
    );
    on(&["jobs", "cancel", &id]);
    let output = run(
        dir.path(),
        &[
            "jobs",
            "edit",
            &id,
            "--payload",
            "3",
            "--store",
            "file:./data",
        ],
    );
    check_next(&output, 4, &id);
    on(&["jobs", "delete", &id]);
    assert_eq!(
        run(dir.path(), &["jobs", "show", &id, store[0], store[1]])
            .status
            .code(),
        Some(3)
    );
}
