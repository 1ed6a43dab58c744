//! What is refused before anything is decided, and in which words.

use std::sync::Arc;

use posthaste_core::check;
use posthaste_core::command::{Command, Commit, CommitKey, Edit, QueueSettings};
use posthaste_core::error::{Error, ErrorKind};
use posthaste_core::ids::{JobId, Tag, Token};
use posthaste_core::job::{
    JobState, NewJob, OnConflict, Outcome, Payload, Start, StateSet, Unique, UniqueBy,
};
use posthaste_core::limits;
use posthaste_core::machine::{Refusal, Refused};
use posthaste_core::port::LeaseAsk;
use posthaste_core::time::WallMs;

fn job() -> NewJob {
    let queue = "mail".parse().expect("a queue");
    let kind = "welcome".parse().expect("a kind");
    NewJob::new(JobId::from_bytes([1; 16]), queue, kind, Payload::json("{}"))
}

fn told(result: Result<(), Error>) -> String {
    match result {
        Ok(()) => "ok".into(),
        Err(error) => {
            assert!(error.next_step().is_some(), "no next step: {error}");
            format!("{}: {}", error.kind().slug(), error.message())
        }
    }
}

/// Changes a good job, and checks what is said of it.
#[track_caller]
fn check_job(change: impl FnOnce(&mut NewJob), answer: &str) {
    let mut job = job();
    change(&mut job);
    let commands = vec![Command::Cancel(job.id), Command::Enqueue(Box::new(job))];
    let result = check::commit(&Commit::of(commands));
    if let Err(error) = &result {
        assert_eq!(error.command(), Some(1), "{error}");
    }
    assert_eq!(told(result), answer);
}

#[track_caller]
fn check_command(command: Command, answer: &str) {
    assert_eq!(told(check::command(&command)), answer);
}

#[test]
fn a_good_job_is_accepted_up_to_every_limit() {
    check_job(|_| {}, "ok");
    check_job(
        |job| {
            job.payload = Payload::bytes("image/png", vec![0xff; limits::PAYLOAD_BYTES_MAX]);
            job.start = Start::After(limits::DELAY_MS_MAX);
            job.retry.max_attempts = 1_000;
            job.retry.timeout_ms = limits::ATTEMPT_TIMEOUT_MS_MAX;
            job.idempotency_key = Some(Arc::from("k".repeat(255)));
            job.tags = vec![Tag::new("t").expect("a tag"); 16];
            job.metadata = vec![(Arc::from("traceparent"), Arc::from("v".repeat(1024))); 32];
        },
        "ok",
    );
}

#[test]
fn payloads_are_bounded_and_what_they_say() {
    check_job(
        |job| job.payload = Payload::bytes("a/b", vec![0; limits::PAYLOAD_BYTES_MAX + 1]),
        "too-large: the payload has 1048577 bytes",
    );
    check_job(
        |job| job.payload = Payload::json("{\"a\": }"),
        "invalid: the payload is not acceptable JSON: it is malformed at byte 6",
    );
    check_job(
        |job| job.payload = Payload::json("[".repeat(65) + &"]".repeat(65)),
        "invalid: the payload is not acceptable JSON: it is nested deeper than 64",
    );
    check_job(
        |job| job.payload = Payload::bytes("nothing", "x"),
        "invalid: the content type of the payload is \"nothing\"",
    );
    check_job(
        |job| job.payload = Payload::bytes("a/b\r\nx: y", "x"),
        "invalid: the content type of the payload is \"a/b\\r\\nx: y\"",
    );
}

#[test]
fn numbers_out_of_range_are_named() {
    check_job(
        |job| job.start = Start::After(limits::DELAY_MS_MAX + 1),
        "invalid: the delay is 3660d1ms",
    );
    check_job(
        |job| job.retry.max_attempts = 0,
        "invalid: max_attempts is 0",
    );
    check_job(
        |job| job.retry.max_attempts = 1_001,
        "invalid: max_attempts is 1001",
    );
    check_job(
        |job| job.retry.timeout_ms = 0,
        "invalid: the attempt timeout is 0s",
    );
    check_job(
        |job| job.retry.timeout_ms = limits::ATTEMPT_TIMEOUT_MS_MAX + 1,
        "invalid: the attempt timeout is 7d1ms",
    );
    check_job(
        |job| job.retry.backoff.jitter_percent = 101,
        "invalid: the backoff's jitter is 101 %",
    );
    check_job(
        |job| job.retry.backoff.factor = 0,
        "invalid: the backoff's factor is 0",
    );
}

#[test]
fn keys_tags_and_metadata_are_bounded() {
    check_job(
        |job| job.idempotency_key = Some(Arc::from("")),
        "invalid: the idempotency key is 0 bytes long",
    );
    check_job(
        |job| job.idempotency_key = Some(Arc::from("k".repeat(256))),
        "invalid: the idempotency key is 256 bytes long",
    );
    check_job(
        |job| job.tags = vec![Tag::new("t").expect("a tag"); 17],
        "invalid: the job has 17 tags",
    );
    check_job(
        |job| job.metadata = vec![(Arc::from("a"), Arc::from("b")); 33],
        "invalid: the job has 33 metadata entries",
    );
    check_job(
        |job| job.metadata = vec![(Arc::from(""), Arc::from("b"))],
        "invalid: a metadata name is 0 bytes long",
    );
    check_job(
        |job| job.metadata = vec![(Arc::from("a"), Arc::from("b".repeat(1025)))],
        "invalid: the metadata \"a\" is 1025 bytes long",
    );
}

#[test]
fn a_unique_key_must_be_one() {
    let unique = |key: &str, period_ms, states| Unique {
        by: UniqueBy::Key(Arc::from(key)),
        period_ms,
        states,
        on_conflict: OnConflict::Existing,
    };
    let some = StateSet::UNFINISHED;
    check_job(|job| job.unique = Some(unique("u", Some(5), some)), "ok");
    check_job(
        |job| job.unique = Some(unique("", None, some)),
        "invalid: the unique key is 0 bytes long",
    );
    check_job(
        |job| job.unique = Some(unique("u", Some(0), some)),
        "invalid: the unique key is never held",
    );
    check_job(
        |job| job.unique = Some(unique("u", None, StateSet::from_bits(0))),
        "invalid: the unique key is never held",
    );
    check_job(
        |job| job.unique = Some(unique("u", Some(limits::DELAY_MS_MAX + 1), some)),
        "invalid: the unique period is 3660d1ms",
    );
}

#[test]
fn settles_heartbeats_edits_and_settings_are_checked() {
    let (id, token) = (JobId::from_bytes([1; 16]), Token(1));
    let settle = |outcome| Command::Settle { id, token, outcome };
    let result = |payload| Outcome::Completed {
        result: Some(payload),
    };
    check_command(settle(result(Payload::json("1"))), "ok");
    check_command(
        settle(result(Payload::bytes("a/b", vec![0; 65_537]))),
        "too-large: the result has 65537 bytes",
    );
    check_command(
        settle(result(Payload::json("nope"))),
        "invalid: the result is not acceptable JSON: it is malformed at byte 0",
    );
    check_command(
        settle(Outcome::Snooze { delay_ms: u64::MAX }),
        "invalid: the delay is 213503982334d14h25m51s615ms",
    );
    let long = Arc::from("e".repeat(1_000_000));
    check_command(settle(Outcome::Dead { error: long }), "ok");
    let beat = |progress| Command::Heartbeat {
        id,
        token,
        progress,
    };
    check_command(beat(None), "ok");
    check_command(
        beat(Some(Payload::bytes("a/b", vec![0; 4_097]))),
        "too-large: the progress has 4097 bytes",
    );
    let edit = |edit| Command::Edit { id, edit };
    check_command(edit(Edit::default()), "invalid: the edit changes nothing");
    let configure = |priority_step_ms| Command::Configure {
        queue: "q".parse().expect("a queue"),
        settings: QueueSettings {
            priority_step_ms,
            ..QueueSettings::default()
        },
    };
    check_command(configure(Some(0)), "ok");
    check_command(
        configure(Some(u64::MAX)),
        "invalid: the priority step is 213503982334d14h25m51s615ms",
    );
}

#[test]
fn commits_are_bounded() {
    let many = vec![Command::Cancel(JobId::from_bytes([1; 16])); 1_001];
    assert_eq!(
        told(check::commit(&Commit::of(many))),
        "too-large: the commit has 1001 commands"
    );
    let mut large = job();
    large.payload = Payload::bytes("a/b", vec![0; limits::PAYLOAD_BYTES_MAX]);
    let nine = vec![Command::Enqueue(Box::new(large)); 9];
    let refused = told(check::commit(&Commit::of(nine)));
    assert!(
        refused.starts_with("too-large: the commit has 94"),
        "{refused}"
    );
    let keyed = Commit {
        key: Some(CommitKey {
            key: Arc::from(""),
            digest: [0; 16],
        }),
        commands: Vec::new(),
    };
    assert_eq!(
        told(check::commit(&keyed)),
        "invalid: the idempotency key is 0 bytes long"
    );
}

#[test]
fn a_run_at_is_not_too_far_off() {
    let now = WallMs(1_000_000);
    assert_eq!(
        told(check::run_at(now.plus(limits::DELAY_MS_MAX), now)),
        "ok"
    );
    assert_eq!(told(check::run_at(WallMs(5), now)), "ok");
    assert_eq!(
        told(check::run_at(now.plus(limits::DELAY_MS_MAX + 1), now)),
        "invalid: the time until run-at is 3660d1ms"
    );
}

#[test]
fn asks_for_work_are_bounded() {
    let check_ask = |change: fn(&mut LeaseAsk), answer: &str| {
        let mut ask = LeaseAsk {
            queues: vec![("q".parse().expect("a queue"), 1)],
            strict: false,
            kinds: Vec::new(),
            max: 1,
            lease_ms: 30_000,
            wait_ms: u32::MAX,
            worker: "w".parse().expect("a worker"),
            local: false,
        };
        change(&mut ask);
        assert_eq!(told(check::lease(&ask)), answer);
    };
    check_ask(|_| {}, "ok");
    check_ask(
        |ask| ask.queues.clear(),
        "invalid: the lease names 0 queues",
    );
    check_ask(
        |ask| ask.queues = vec![ask.queues[0].clone(); 65],
        "invalid: the lease names 65 queues",
    );
    check_ask(
        |ask| ask.queues[0].1 = 0,
        "invalid: the queue q has weight 0",
    );
    check_ask(
        |ask| ask.kinds = vec!["k".parse().expect("a kind"); 1_025],
        "invalid: the lease names 1025 kinds",
    );
    check_ask(|ask| ask.max = 0, "invalid: the lease asks for 0 jobs");
    check_ask(
        |ask| ask.max = 1_001,
        "invalid: the lease asks for 1001 jobs",
    );
    check_ask(|ask| ask.lease_ms = 99, "invalid: the lease is 99ms long");
    check_ask(
        |ask| ask.lease_ms = 3_600_001,
        "invalid: the lease is 1h1ms long",
    );
}

#[test]
fn every_refusal_says_what_to_do_next() {
    let by = JobId::from_bytes([1; 16]);
    let mut all = vec![
        (Refusal::NoSuchJob, ErrorKind::NotFound),
        (Refusal::IdTaken, ErrorKind::Conflict),
        (Refusal::KeyReused, ErrorKind::KeyReused),
        (Refusal::KeysFull, ErrorKind::Busy),
        (Refusal::JobsFull, ErrorKind::Busy),
        (Refusal::NamesFull, ErrorKind::Busy),
        (Refusal::NoSuchTopic, ErrorKind::NotFound),
        (Refusal::TopicsFull, ErrorKind::Busy),
        (
            Refusal::PartitionsFixed { partitions: 4 },
            ErrorKind::Conflict,
        ),
        (Refusal::UniqueHeld { by }, ErrorKind::UniqueConflict),
        (Refusal::Stale { current: Token(0) }, ErrorKind::Stale),
        (Refusal::Stale { current: Token(7) }, ErrorKind::Stale),
        (Refusal::UnknownLease, ErrorKind::UnknownLease),
        (Refusal::SettledOtherwise, ErrorKind::SettledOtherwise),
    ];
    all.extend(JobState::ALL.map(|state| (Refusal::WrongState { state }, ErrorKind::Conflict)));
    for (refusal, kind) in all {
        let error = Error::from(Refused { index: 3, refusal });
        assert_eq!((error.kind(), error.command()), (kind, Some(3)));
        assert!(error.next_step().is_some(), "{error}");
        assert_eq!(error.retry_after().is_some(), kind == ErrorKind::Busy);
    }
    let error = Error::from(Refusal::Stale { current: Token(7) });
    assert_eq!(
        error.to_string(),
        "the lease was lost to a later one, with token 7; drop the work: another worker has the job"
    );
}

#[test]
fn an_error_that_main_returns_is_printed_for_people() {
    let error = Error::new(ErrorKind::Locked, "./data is held by process 7").next("stop it");
    assert_eq!(
        format!("{error:?}"),
        "locked: ./data is held by process 7; stop it"
    );
}
