//! `work --exec`: a command for each job.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::binary::{self, Running, posthaste, run_with};

/// Works on `queue` with `command` until no job of it waits or runs.
pub(crate) fn work_until_idle(dir: &Path, store: &str, queue: &str, command: &str) -> Vec<Value> {
    let jobs = binary::json(dir, &["queues", "list", "--store", store]);
    let queues = jobs["queues"].as_array().expect("queues");
    let held = queues
        .iter()
        .find(|it| it["name"] == queue)
        .expect("the queue");
    let ready = held["available"].as_u64().expect("a number");
    work(dir, store, queue, command, &[], ready)
}

/// Works on `queue` with `command` until so many attempts are settled, and answers what was said
/// of them.
fn work(
    dir: &Path,
    store: &str,
    queue: &str,
    command: &str,
    more: &[&str],
    attempts: u64,
) -> Vec<Value> {
    let mut worker = start(dir, store, queue, command, more);
    let said = (0..attempts).map(|_| settled(&mut worker)).collect();
    worker.signal(Signal::TERM);
    assert_eq!(worker.ended(), Some(0));
    said
}

fn start(dir: &Path, store: &str, queue: &str, command: &str, more: &[&str]) -> Running {
    let mut work = posthaste(dir);
    work.args([
        "work", "--json", "--store", store, "--queue", queue, "--exec", command,
    ]);
    Running::start(work.args(more))
}

fn settled(worker: &mut Running) -> Value {
    let line = worker.line();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

struct Shop(tempfile::TempDir);

const STORE: &str = "file:./data";

impl Shop {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn enqueue(&self, more: &[&str]) -> String {
        let arguments = [
            &["enqueue", "--kind", "k", "--queue", "q", "--store", STORE],
            more,
        ]
        .concat();
        let enqueued = binary::json(self.path(), &arguments);
        enqueued["jobs"][0]["id"]
            .as_str()
            .expect("an id")
            .to_owned()
    }

    fn show(&self, id: &str) -> Value {
        binary::json(self.path(), &["jobs", "show", id, "--store", STORE])
    }

    /// Enqueues one job, works on it once, and answers what became of it.
    fn once(&self, command: &str, enqueue: &[&str], work_more: &[&str]) -> Value {
        let id = self.enqueue(enqueue);
        work(self.path(), STORE, "q", command, work_more, 1);
        self.show(&id)
    }
}

fn result_text(job: &Value) -> String {
    let output = job["result_base64"].as_str().expect("a result");
    decode(output)
}

fn decode(text: &str) -> String {
    String::from_utf8(decode_bytes(text)).expect("text")
}

/// What base64 of a short text stands for, letter by letter.
pub(crate) fn decode_bytes(text: &str) -> Vec<u8> {
    const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: String = text
        .chars()
        .filter_map(|letter| LETTERS.find(letter))
        .map(|value| format!("{value:06b}"))
        .collect();
    let bytes = bits.as_bytes().chunks_exact(8).map(|byte| {
        let byte = std::str::from_utf8(byte).expect("digits");
        u8::from_str_radix(byte, 2).expect("a byte")
    });
    bytes.collect()
}

#[test]
fn exit_codes_say_how_an_attempt_ended() {
    let shop = Shop::new();
    let state = |command: &str| shop.once(command, &[], &[])["state"].clone();
    assert_eq!(state("exit 0"), "completed");
    assert_eq!(state("exit 65"), "dead");
    assert_eq!(state("exit 100"), "cancelled");
    let failed = shop.once("echo lost >&2; exit 3", &["--max-attempts", "1"], &[]);
    assert_eq!(
        (&failed["state"], &failed["reason"]),
        (&"dead".into(), &"exhausted".into())
    );
    assert_eq!(failed["error"], "exit code 3: lost");
    let id = shop.enqueue(&[]);
    let said = work(shop.path(), STORE, "q", "exit 75", &[], 1);
    assert_eq!(
        (&said[0]["outcome"], &said[0]["state"]),
        (&"retry".into(), &"retryable".into())
    );
    // By now it may be at its next attempt.
    assert_ne!(shop.show(&id)["attempt"], 0);
}

#[test]
fn the_payload_is_the_input_and_the_output_the_result() {
    let shop = Shop::new();
    let job = shop.once("tr a-z A-Z", &["--text", "hello"], &[]);
    assert_eq!(result_text(&job), "HELLO");
    assert_eq!(job["result_content_type"], "text/plain; charset=utf-8");
    let job = shop.once(
        "cat",
        &["--payload", "{\"a\":[1,2]}"],
        &["--result", "json"],
    );
    assert_eq!(job["result"]["a"][1], 2, "{job}");
    let job = shop.once("echo {", &["--max-attempts", "1"], &["--result", "json"]);
    assert_eq!(job["state"], "dead", "{job}");
    let job = shop.once("echo x", &[], &["--result", "none"]);
    assert_eq!(job["result_base64"], Value::Null, "{job}");
    let job = shop.once("head -c 200000 /dev/zero | tr '\\0' x", &[], &[]);
    let result = job["result_base64"].as_str().expect("a result");
    assert!(result.len() <= 64 * 1024 * 4 / 3 + 4, "{}", result.len());
    let end = decode(&result[result.len() - 64..]);
    assert!(end.contains("200000 bytes"), "{end}");
}

#[test]
fn a_command_that_reads_nothing_of_a_large_payload_is_fine() {
    let shop = Shop::new();
    let arguments = [
        "enqueue", "--kind", "k", "--queue", "q", "--store", STORE, "--file", "-",
    ];
    let output = run_with(shop.path(), &arguments, &vec![b'x'; 1024 * 1024]);
    assert!(output.status.success(), "{output:?}");
    let said = work(shop.path(), STORE, "q", "exit 0", &[], 1);
    assert_eq!(said[0]["state"], "completed");
}

#[test]
fn the_environment_tells_of_the_job() {
    let shop = Shop::new();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let id = shop.enqueue(&[
        "--priority",
        "7",
        "--tag",
        "a,b",
        "--meta",
        &format!("traceparent={trace}"),
    ]);
    let command = "echo $POSTHASTE_JOB_ID $POSTHASTE_IDEMPOTENCY_KEY $POSTHASTE_JOB_KIND \
        $POSTHASTE_JOB_QUEUE $POSTHASTE_JOB_ATTEMPT/$POSTHASTE_JOB_MAX_ATTEMPTS \
        $POSTHASTE_JOB_PRIORITY $POSTHASTE_JOB_TAGS $POSTHASTE_JOB_CONTENT_TYPE $TRACEPARENT";
    work(shop.path(), STORE, "q", command, &[], 1);
    let said = result_text(&shop.show(&id));
    assert_eq!(
        said,
        format!("{id} {id} k q 1/25 7 a,b application/json {trace}\n")
    );
}

#[test]
fn a_timeout_ends_the_whole_process_group() {
    let shop = Shop::new();
    // The child of the shell ignores SIGTERM, keeps standard output open, and would live on.
    let command = "sh -c 'trap \"\" TERM; echo $$ > child; while :; do sleep 1; done' & wait";
    // Where the child has not got so far in the first time, it has more in the next.
    let child = ["300ms", "5s", "1m"].into_iter().find_map(|timeout| {
        let more = ["--timeout", timeout, "--max-attempts", "1"];
        let job = shop.once(command, &more, &["--kill-after", "100ms"]);
        assert_eq!(job["state"], "dead", "{job}");
        let error = job["error"].as_str().expect("an error");
        assert!(error.contains(&format!("timeout of {timeout}")), "{job}");
        let child = std::fs::read_to_string(shop.path().join("child")).ok()?;
        child.strip_suffix('\n').map(str::to_owned)
    });
    wait_until_gone(&child.expect("it ran"));
}

/// The number of the command that writes it there, once it has.
fn number_in(file: &Path) -> String {
    loop {
        let number = std::fs::read_to_string(file).unwrap_or_default();
        if let Some(number) = number.strip_suffix('\n') {
            return number.to_owned();
        }
        std::thread::yield_now();
    }
}

fn wait_until_gone(pid: &str) {
    let stat = Path::new("/proc").join(pid).join("stat");
    loop {
        match std::fs::read_to_string(&stat) {
            Err(_) => return,
            // Killed, and not yet taken note of by its parent.
            Ok(stat) if stat.contains(") Z ") => return,
            Ok(_) => std::thread::yield_now(),
        }
    }
}

#[test]
fn a_cancelled_job_is_stopped_and_settled_as_cancelled() {
    let shop = Shop::new();
    let (_server, url) = Running::serve(shop.path(), STORE, "127.0.0.1:0");
    let enqueue = ["enqueue", "--kind", "k", "--queue", "q", "--store", &url];
    let id = binary::json(shop.path(), &enqueue)["jobs"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let mut worker = start(
        shop.path(),
        &url,
        "q",
        "exec sleep 1000",
        // It is told at its heartbeat, and has to keep its lease until then.
        &["--lease", "9s"],
    );
    while binary::json(shop.path(), &["jobs", "show", &id, "--store", &url])["state"] != "running" {
    }
    binary::json(shop.path(), &["jobs", "cancel", &id, "--store", &url]);
    assert_eq!(settled(&mut worker)["state"], "cancelled");
}

#[test]
fn a_worker_that_is_told_to_leave_gives_back_what_it_cannot_finish() {
    let shop = Shop::new();
    let id = shop.enqueue(&[]);
    let command = "echo begun > begun; exec sleep 1000";
    let more = ["--grace", "100ms", "--kill-after", "100ms"];
    let mut worker = start(shop.path(), STORE, "q", command, &more);
    while !shop.path().join("begun").exists() {
        std::thread::yield_now();
    }
    worker.signal(Signal::TERM);
    assert_eq!(settled(&mut worker)["outcome"], "release");
    assert_eq!(worker.ended(), Some(0));
    let job = shop.show(&id);
    assert_eq!(
        (&job["state"], &job["attempt"]),
        (&"available".into(), &0.into()),
        "{job}"
    );
}

#[test]
fn a_worker_that_was_killed_has_its_jobs_taken_over() {
    let shop = Shop::new();
    let (_server, url) = Running::serve(shop.path(), STORE, "127.0.0.1:0");
    let enqueue = ["enqueue", "--kind", "k", "--queue", "q", "--store", &url];
    binary::json(shop.path(), &enqueue);
    let mut first = start(
        shop.path(),
        &url,
        "q",
        "echo $$ > begun; exec sleep 1000",
        &["--lease", "500ms"],
    );
    let command = number_in(&shop.path().join("begun"));
    first.kill();
    let said = work(shop.path(), &url, "q", "exit 0", &[], 1);
    // Nobody else ends it now; where the lease lapsed before, its worker has.
    let command = command.parse().ok().and_then(Pid::from_raw);
    let _ended = kill_process(command.expect("a number"), Signal::KILL);
    assert_eq!(
        (&said[0]["state"], &said[0]["attempt"]),
        (&"completed".into(), &1.into())
    );
}
