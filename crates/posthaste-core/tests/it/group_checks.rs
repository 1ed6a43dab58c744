//! What is refused of groups before anything is decided, and in which words.

use posthaste_core::backoff::Backoff;
use posthaste_core::check;
use posthaste_core::command::{Command, Commit};
use posthaste_core::error::{Error, ErrorKind};
use posthaste_core::group::{EventAsk, EventOutcome, GroupSettings};
use posthaste_core::ids::Token;
use posthaste_core::limits;
use posthaste_core::machine::{Refusal, Refused};

fn told(result: Result<(), Error>) -> String {
    match result {
        Ok(()) => "ok".into(),
        Err(error) => {
            assert!(error.next_step().is_some(), "no next step: {error}");
            format!("{}: {}", error.kind().slug(), error.message())
        }
    }
}

#[track_caller]
fn check_settings(change: impl FnOnce(&mut GroupSettings), answer: &str) {
    let mut settings = GroupSettings::default();
    change(&mut settings);
    let command = Command::SetGroup {
        topic: "orders".parse().expect("a topic"),
        group: "billing".parse().expect("a group"),
        settings,
        from: None,
    };
    assert_eq!(told(check::command(&command)), answer);
}

fn settle(ends: Vec<(u64, EventOutcome)>) -> Command {
    Command::SettleEvents {
        topic: "orders".parse().expect("a topic"),
        group: "billing".parse().expect("a group"),
        token: Token(1),
        ends,
    }
}

#[track_caller]
fn check_ends(ends: Vec<(u64, EventOutcome)>, answer: &str) {
    assert_eq!(told(check::command(&settle(ends))), answer);
}

#[test]
fn settings_of_a_group_have_their_limits() {
    check_settings(|_| {}, "ok");
    check_settings(
        |of| {
            of.in_flight = Some(10_000);
            of.max_attempts = Some(1_000);
            of.parked_max = Some(10_000);
            of.backoff = Some(Backoff::default());
        },
        "ok",
    );
    check_settings(
        |of| of.in_flight = Some(0),
        "invalid: in_flight of the group is 0",
    );
    check_settings(
        |of| of.in_flight = Some(10_001),
        "invalid: in_flight of the group is 10001",
    );
    check_settings(
        |of| of.max_attempts = Some(1_001),
        "invalid: max_attempts of the group is 1001",
    );
    check_settings(
        |of| of.parked_max = Some(0),
        "invalid: parked_max of the group is 0",
    );
    check_settings(
        |of| {
            of.backoff = Some(Backoff {
                jitter_percent: 101,
                ..Backoff::default()
            });
        },
        "invalid: the backoff's jitter is 101 %",
    );
    check_settings(
        |of| {
            of.backoff = Some(Backoff {
                factor: 0,
                ..Backoff::default()
            });
        },
        "invalid: the backoff's factor is 0",
    );
}

#[test]
fn so_many_events_are_settled_at_once_and_no_more() {
    let done = |count| vec![(1, EventOutcome::Done); count];
    let later = |delay_ms| EventOutcome::Retry {
        error: "it broke".into(),
        delay_ms,
    };
    check_ends(done(1_000), "ok");
    check_ends(vec![], "invalid: there is no event to settle");
    check_ends(done(1_001), "too-large: the commit settles 1001 events");
    check_ends(vec![(1, later(None))], "ok");
    check_ends(vec![(1, later(Some(limits::DELAY_MS_MAX)))], "ok");
    check_ends(
        vec![(1, later(Some(limits::DELAY_MS_MAX + 1)))],
        "invalid: the delay is 3660d1ms",
    );
    let both = Commit::of(vec![settle(done(600)), settle(done(401))]);
    assert_eq!(
        told(check::commit(&both)),
        "too-large: the commit settles 1001 events"
    );
    let error = "x".repeat(limits::RESULT_BYTES_MAX * 2);
    let long = EventOutcome::Park {
        error: error.into(),
    };
    let errors = Commit::one(settle(vec![(1, long.clone()); 100]));
    assert_eq!(told(check::commit(&errors)), "ok", "what is cut counts cut");
    let errors = Commit::one(settle(vec![(1, long); 128]));
    assert_eq!(
        told(check::commit(&errors)),
        "too-large: the commit has 8392768 bytes"
    );
}

#[test]
fn asks_for_events_have_their_limits() {
    let check_ask = |change: fn(&mut EventAsk), answer: &str| {
        let mut ask = EventAsk {
            topic: "orders".parse().expect("a topic"),
            group: "billing".parse().expect("a group"),
            member: "worker".parse().expect("a name"),
            token: None,
            max: 1_000,
            lease_ms: 30_000,
            wait_ms: u32::MAX,
            local: false,
        };
        change(&mut ask);
        assert_eq!(told(check::event_ask(&ask)), answer);
    };
    check_ask(|_| {}, "ok");
    check_ask(|ask| ask.max = 0, "invalid: the ask is for 0 events");
    check_ask(|ask| ask.max = 1_001, "invalid: the ask is for 1001 events");
    check_ask(|ask| ask.lease_ms = 99, "invalid: the lease is 99ms");
    check_ask(
        |ask| ask.lease_ms = 3_600_001,
        "invalid: the lease is 1h1ms",
    );
}

#[test]
fn every_refusal_of_a_group_says_what_to_do_next() {
    let position = 7;
    for (refusal, kind) in [
        (Refusal::NoSuchGroup, ErrorKind::NotFound),
        (Refusal::GroupsFull, ErrorKind::Busy),
        (Refusal::MembersFull, ErrorKind::Busy),
        (Refusal::MemberGone, ErrorKind::Stale),
        (Refusal::NotLeased { position }, ErrorKind::Stale),
        (
            Refusal::OutOfOrder { position, first: 3 },
            ErrorKind::Conflict,
        ),
        (Refusal::GroupBusy { leased: 2 }, ErrorKind::Conflict),
        (Refusal::PastEnd { end: 9 }, ErrorKind::Invalid),
        (Refusal::NoSuchEvent { position }, ErrorKind::NotFound),
        (Refusal::EventUnfinished { position }, ErrorKind::Conflict),
        (Refusal::UnfinishedFull, ErrorKind::Busy),
    ] {
        let error = Error::from(Refused { index: 3, refusal });
        assert_eq!((error.kind(), error.command()), (kind, Some(3)), "{error}");
        assert!(error.next_step().is_some(), "{error}");
        assert_eq!(error.retry_after().is_some(), kind == ErrorKind::Busy);
    }
    let error = Error::from(Refusal::OutOfOrder { position, first: 3 });
    assert_eq!(
        error.to_string(),
        "the event at 3 has the same key as that at 7, and comes first; begin with 3"
    );
}
