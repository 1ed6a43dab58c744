//! What is written is read back the same, and what can't be read is named.

use std::sync::Arc;

use posthaste_core::ids::Tag;
use posthaste_core::job::{self, OnConflict, RetryRule, Start, StateSet, Unique, UniqueBy};
use posthaste_core::port::Leased;
use posthaste_core::{
    Backoff, Command as Core, JobId, JobState, KindName, NewEvent, Outcome, Payload, Position,
    Priority, QueueName, Token, TopicName, WallMs, command, topic,
};

use super::*;

fn id(n: u8) -> JobId {
    JobId::new(1_700_000_000_000, [n; 10])
}

fn plain(payload: Payload) -> job::NewJob {
    let queue = QueueName::new("mail").expect("a queue");
    job::NewJob::new(
        id(1),
        queue,
        KindName::new("welcome").expect("a kind"),
        payload,
    )
}

fn full() -> job::NewJob {
    job::NewJob {
        priority: Priority::new(9).expect("in range"),
        start: Start::After(5_000),
        deadline: Some(WallMs(1_800_000_000_123)),
        retry: RetryRule {
            max_attempts: 3,
            timeout_ms: 1_500,
            backoff: Backoff::fixed(700),
        },
        idempotency_key: Some("once".into()),
        unique: Some(Unique {
            by: UniqueBy::Key("user 7".into()),
            period_ms: Some(60_000),
            states: StateSet::of(&[JobState::Running, JobState::Dead]),
            on_conflict: OnConflict::Reject,
        }),
        tags: vec![Tag::new("blue").expect("a tag")],
        metadata: vec![(Arc::from("traceparent"), Arc::from("00-1-2-03"))],
        keep_result: false,
        ..plain(Payload::json(
            &br#"{"user":7, "big":12345678901234567890123}"#[..],
        ))
    }
}

fn check_command(command: &Core) {
    let written = Command::write(command).expect("can be written");
    let text = serde_json::to_vec(&written).expect("serialises");
    let read: Command = parse(&text).expect("is read");
    let read = read
        .read(&mut || panic!("an id was minted"))
        .expect("is understood");
    assert_eq!(&read, command, "{}", String::from_utf8_lossy(&text));
}

#[test]
fn commands_survive_the_wire() {
    let (queue, token) = (QueueName::new("mail").expect("a queue"), Token(7));
    let settle = |outcome| Core::Settle {
        id: id(2),
        token,
        outcome,
    };
    let commands = [
        Core::Enqueue(Box::new(full())),
        Core::Enqueue(Box::new(plain(Payload::json(&b"null"[..])))),
        Core::Enqueue(Box::new(plain(Payload::bytes("image/png", &b"\0\xff"[..])))),
        Core::Enqueue(Box::new(plain(Payload::json(&b"not json"[..])))),
        settle(Outcome::Completed { result: None }),
        settle(Outcome::Completed {
            result: Some(Payload::json(&b"null"[..])),
        }),
        settle(Outcome::Completed {
            result: Some(Payload::bytes("text/plain", &b"ok"[..])),
        }),
        settle(Outcome::Retry {
            error: "down".into(),
            delay_ms: Some(1),
        }),
        settle(Outcome::Snooze { delay_ms: 0 }),
        settle(Outcome::Cancel {
            reason: "unwanted".into(),
        }),
        settle(Outcome::Dead { error: "no".into() }),
        settle(Outcome::Release {
            delay_ms: 30_000,
            undecodable: true,
            error: Some("a field is missing".into()),
        }),
        Core::Heartbeat {
            id: id(3),
            token,
            progress: Some(Payload::json(&b"{\"done\":1}"[..])),
        },
        Core::Cancel(id(4)),
        Core::Retry(id(4)),
        Core::Delete(id(4)),
        Core::Edit {
            id: id(5),
            edit: command::Edit {
                payload: Some(Payload::json(&b"1"[..])),
                priority: Priority::new(1),
                run_at: Some(WallMs(1_234)),
            },
        },
        Core::Configure {
            queue,
            settings: command::QueueSettings {
                paused: Some(true),
                concurrency: Some(0),
                strict: Some(false),
                priority_step_ms: Some(60_000),
            },
        },
    ];
    for command in &commands {
        check_command(command);
    }
}

#[test]
fn commands_of_topics_survive_the_wire() {
    let topic = TopicName::new("orders/new").expect("a topic");
    let mut chosen = NewEvent::new("7", "order.placed", Payload::bytes("text/plain", "x"));
    chosen.deduplicate = true;
    chosen.source = "shop".into();
    chosen.headers = vec![("subject".into(), "a".into())];
    let tombstone = NewEvent {
        payload: None,
        ..NewEvent::new("8", "gone", Payload::json("1")).keyed("k")
    };
    let set = |settings| Core::SetTopic {
        topic: topic.clone(),
        settings,
    };
    let commands = [
        Core::Publish {
            topic: topic.clone(),
            events: vec![chosen, tombstone],
        },
        set(topic::TopicSettings::default()),
        set(topic::TopicSettings {
            partitions: Some(8),
            kept_ms: Some(1_000),
            kept_bytes: Some(0),
            kept_events: Some(7),
            compacted: Some(true),
            tombstones_kept_ms: Some(2_000),
            compression: Some(topic::Compression::Lz4),
        }),
        Core::DeleteTopic(topic),
    ];
    for command in &commands {
        check_command(command);
    }
}

#[test]
fn what_is_told_of_topics_survives_the_wire() {
    let at = |sequence| Position {
        epoch: 0xabcd,
        topic: 3,
        sequence,
    };
    let published = topic::Published {
        partition: 3,
        offset: 9,
        position: at(0),
        existing: true,
    };
    let reply = posthaste_core::Reply::Published([published].into());
    let written = Reply::write(&reply).expect("is written");
    let text = serde_json::to_string(&written).expect("serialises");
    assert!(text.contains("\"cursor\":\"abcd-3-1\""), "{text}");
    let read: Reply = parse(text.as_bytes()).expect("is read");
    assert_eq!(read.read(), Ok(reply));
    let view = topic::TopicView {
        name: TopicName::new("a").expect("a topic"),
        config: topic::TopicConfig {
            kept_events: 5,
            ..topic::TopicConfig::default()
        },
        created_at: WallMs(1_700_000_000_000),
        earliest: at(4),
        end: at(9),
        next_offsets: vec![1, 2, 3, 3],
        events: 5,
        bytes: 600,
    };
    assert_eq!(TopicView::write(&view).read(), Ok(view));
    for reason in [
        topic::GapReason::Retention,
        topic::GapReason::History,
        topic::GapReason::Damage,
    ] {
        let gap = topic::Gap {
            reason,
            earliest: at(1),
            end: at(2),
        };
        assert_eq!(Gap::write(&gap).read(), Ok(gap));
    }
    for from in [
        topic::ReadFrom::Earliest,
        topic::ReadFrom::Latest,
        topic::ReadFrom::Position(at(7)),
        topic::ReadFrom::Time(WallMs(1_700_000_000_123)),
        topic::ReadFrom::Offset {
            partition: 2,
            offset: 77,
        },
    ] {
        let text = ReadFrom(from).to_string();
        assert_eq!(text.parse(), Ok(ReadFrom(from)), "{text}");
    }
    for bad in [
        "",
        "first",
        "time:",
        "time:now",
        "offset:1",
        "offset:1:x",
        "x:1",
        "1-2",
    ] {
        assert!(bad.parse::<ReadFrom>().is_err(), "{bad:?}");
    }
}

#[test]
fn a_leased_job_survives_the_wire() {
    let job = full();
    let leased = Leased {
        id: job.id,
        token: Token(9),
        kind: job.kind,
        queue: job.queue,
        payload: job.payload,
        attempt: 2,
        max_attempts: 8,
        priority: job.priority,
        lease_ms: 30_000,
        timeout_ms: 900_000,
        deadline: job.deadline,
        enqueued_at: WallMs(1_700_000_000_001),
        tags: job.tags,
        metadata: job.metadata,
    };
    let text = serde_json::to_vec(&LeasedJob::write(&leased)).expect("serialises");
    let read: LeasedJob = parse(&text).expect("is read");
    assert_eq!(read.read(), Ok(leased));
}

fn refusal<T: serde::de::DeserializeOwned + std::fmt::Debug>(body: &str) -> String {
    parse::<T>(body.as_bytes()).expect_err(body).to_string()
}

fn check_job_refused(body: &str, said: &str) {
    let error = match parse::<NewJob>(body.as_bytes()) {
        Err(error) => error,
        Ok(job) => job.read(|| id(1)).expect_err(body),
    };
    assert_eq!(error.to_string(), said);
}

#[test]
fn what_cannot_be_read_is_named() {
    check_job_refused(
        r#"{"kind":"a","prioirty":9}"#,
        r#"the field "prioirty" is unknown, at prioirty; did you mean "priority"?"#,
    );
    check_job_refused(r"{}", r#"the field "kind" is missing; add it"#);
    check_job_refused(
        r#"{"kind":"a","unique":{"payload":true,"period":"3 weeks"}}"#,
        r#""3 weeks" is not a duration, at unique.period; write it as 200ms, 30s, 5m, 1h30m or 7d"#,
    );
    check_job_refused(
        r#"{"kind":"a","priority":10}"#,
        "priority 10 is out of range; give 1 to 9; 9 is served first",
    );
    check_job_refused(
        r#"{"kind":"a","delay":"1s","run_at":"2026-11-20T00:00:00Z"}"#,
        "both delay and run_at are given; give one of them",
    );
    check_job_refused(
        r#"{"kind":"a","unique":{"payload":true,"states":["runing"]}}"#,
        r#"the state "runing" is unknown; did you mean "running"?"#,
    );
    check_job_refused(
        r#"{"kind":"a","payload":}"#,
        "the body is not JSON: expected value; check it at line 1 column 23",
    );
    check_job_refused(
        r#"{"kind":"a","run_at":"2026-11-20 00:00"}"#,
        "\"2026-11-20 00:00\" is not an instant, at run_at; \
         write it as RFC 3339 in UTC, such as 2026-11-20T21:30:00Z",
    );
    assert_eq!(
        refusal::<Commit>(r#"{"commands":[{"cancel":{"id":"x"}},{"retry":{"idd":"x"}}]}"#),
        r#"the field "idd" is unknown, at commands[1].retry.idd; did you mean "id"?"#,
    );
    assert_eq!(
        refusal::<Commit>(r#"{"commands":[{"enque":{"kind":"x"}}]}"#),
        r#"the value "enque" is unknown, at commands[0].enque; did you mean "enqueue"?"#,
    );
    assert_eq!(
        refusal::<Settle>(r#"{"id":"x","token":1,"outcome":"done"}"#),
        "the value \"done\" is unknown, at outcome; \
         known: completed, retry, snooze, cancel, dead, release",
    );
}

#[test]
fn a_field_that_does_not_fit_its_outcome_is_refused() {
    let text = format!(
        r#"{{"id":"{}","token":1,"outcome":"dead","result":1}}"#,
        id(1)
    );
    let settle: Settle = parse(text.as_bytes()).expect("is read");
    let error = settle.read(&mut || id(1)).expect_err("it does not fit");
    assert_eq!(
        error.to_string(),
        r#"result does not go with the outcome "dead"; leave it out"#
    );
}

#[test]
fn depth_is_counted_outside_of_strings() {
    let deep = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    assert!(check_depth(deep(64).as_bytes(), "payload").is_ok());
    assert!(check_depth(deep(65).as_bytes(), "payload").is_err());
    assert!(check_depth(format!("[\"\\\"{}\"]", deep(99)).as_bytes(), "payload").is_ok());
    assert!(
        check_depth(
            format!("[{}]", vec!["[]"; 99].join(",")).as_bytes(),
            "payload"
        )
        .is_ok()
    );
    check_job_refused(
        &format!(r#"{{"kind":"a","payload":{}}}"#, deep(100_000)),
        "payload is nested deeper than 64; flatten it, or send it as bytes in base64",
    );
}

#[test]
fn one_or_many() {
    let one = parse_one_or_many::<NewJob>(b" {\"kind\":\"a\"}").expect("one");
    assert_eq!((one.0.len(), one.1), (1, false));
    let many = parse_one_or_many::<NewJob>(b"\n[{\"kind\":\"a\"},{\"kind\":\"b\"}]").expect("two");
    assert_eq!((many.0.len(), many.1), (2, true));
}

#[test]
fn a_problem_keeps_what_the_error_said() {
    let error = posthaste_core::Error::new(posthaste_core::ErrorKind::Busy, "too many keys")
        .next("wait")
        .at_command(3)
        .retry_after_ms(2_000);
    let text = serde_json::to_vec(&Problem::write(&error)).expect("serialises");
    let read: Problem = parse(&text).expect("is read");
    assert_eq!(read.read(), error);
}
