//! How an attempt ends, and that it ends once.

use std::sync::Arc;

use posthaste_core::backoff::Backoff;
use posthaste_core::command::{Command, Edit, Reply};
use posthaste_core::error::ErrorKind;
use posthaste_core::ids::Token;
use posthaste_core::job::{DeadReason, JobState, NewJob, Outcome, Payload, RetryRule, Start};
use posthaste_core::limits::{RESULT_BYTES_MAX, SETTLE_MEMORY_MS, UNDECODABLE_GRACE_MS};
use posthaste_core::port::Leased;

use super::Bench;
use super::words::{done, enqueue, failed, settle};

fn returned(text: &str) -> Outcome {
    Outcome::Completed {
        result: Some(Payload::json(text.to_owned())),
    }
}

fn release(delay_ms: u64, undecodable: bool) -> Outcome {
    Outcome::Release {
        delay_ms,
        undecodable,
        error: undecodable.then(|| Arc::from("field a is missing")),
    }
}

fn running(bench: &Bench<'_>) -> Leased {
    bench.enqueue(bench.job());
    bench.must_lease()
}

/// A completed job is over, and its result is kept.
pub fn completed(bench: &Bench<'_>) {
    let leased = running(bench);
    bench.advance(5);
    bench.settle_to(&leased, returned("42"), JobState::Completed);
    let view = bench.view(leased.id);
    assert_eq!((view.state, view.attempt), (JobState::Completed, 1));
    assert_eq!(view.result, Some(Payload::json("42")));
    assert_eq!((view.at, view.worker), (bench.wall(), None));
    bench.advance(100_000);
    bench.check_nothing_ready();
}

/// A job that does not ask for it keeps no result.
pub fn a_result_is_kept_where_asked_for(bench: &Bench<'_>) {
    bench.enqueue(NewJob {
        keep_result: false,
        ..bench.job()
    });
    let leased = bench.must_lease();
    bench.settle_to(&leased, returned("42"), JobState::Completed);
    assert_eq!(bench.view(leased.id).result, None);
}

/// A result over its limit is refused, and the attempt goes on; a long error is cut.
pub fn results_have_a_limit(bench: &Bench<'_>) {
    let leased = running(bench);
    let long = "x".repeat(RESULT_BYTES_MAX + 1);
    let refused = vec![settle(&leased, returned(&long))];
    bench.check_refused(refused, 0, ErrorKind::TooLarge);
    let error = Arc::from(long.as_str());
    bench.settle_to(&leased, Outcome::Dead { error }, JobState::Dead);
    let error = bench.view(leased.id).error.expect("an error is kept");
    assert!(!error.is_empty() && error.len() <= RESULT_BYTES_MAX);
}

/// A failed job waits for its backoff, comes back, and tells its error.
pub fn a_failed_job_is_tried_again(bench: &Bench<'_>) {
    let leased = running(bench);
    bench.settle_to(&leased, failed(None), JobState::Retryable);
    let view = bench.view(leased.id);
    assert_eq!((view.state, view.attempt), (JobState::Retryable, 1));
    assert_eq!(view.error.as_deref(), Some("connection refused"));
    let delay = view.at.since(bench.wall());
    assert!(
        (1_500..=2_500).contains(&delay),
        "2 s ± 25 %, not {delay} ms"
    );
    bench.advance(delay - 1);
    bench.check_nothing_ready();
    bench.advance(1);
    let again = bench.must_lease();
    assert_eq!((again.id, again.attempt), (leased.id, 2));
    assert_eq!(bench.queue("mail").totals.retried, 1);
}

/// The backoff grows with the attempts.
pub fn the_backoff_grows(bench: &Bench<'_>) {
    bench.enqueue(bench.job());
    for middle in [2_000, 4_000, 8_000, 16_000] {
        let leased = bench.must_lease();
        bench.settle_to(&leased, failed(None), JobState::Retryable);
        let delay = bench.view(leased.id).at.since(bench.wall());
        let window = middle * 3 / 4..=middle * 5 / 4;
        assert!(
            window.contains(&delay),
            "{middle} ms ± 25 %, not {delay} ms"
        );
        bench.advance(delay);
    }
}

/// A delay that the handler gives counts instead of the backoff.
pub fn a_retry_may_name_its_delay(bench: &Bench<'_>) {
    let leased = running(bench);
    bench.settle_to(&leased, failed(Some(7_000)), JobState::Retryable);
    assert_eq!(bench.view(leased.id).at, bench.wall().plus(7_000));
    bench.advance(6_999);
    bench.check_nothing_ready();
    bench.advance(1);
    bench.must_lease();
}

/// After its last attempt a failed job is dead.
pub fn attempts_run_out(bench: &Bench<'_>) {
    let retry = RetryRule {
        max_attempts: 3,
        backoff: Backoff::fixed(1_000),
        ..RetryRule::default()
    };
    let id = bench.enqueue(NewJob {
        retry,
        ..bench.job()
    });
    for state in [JobState::Retryable, JobState::Retryable, JobState::Dead] {
        let leased = bench.must_lease();
        bench.settle_to(&leased, failed(None), state);
        bench.advance(1_000);
    }
    let view = bench.view(id);
    assert_eq!(
        (view.attempt, view.reason),
        (3, Some(DeadReason::Exhausted))
    );
    bench.check_nothing_ready();
}

/// A snooze is no attempt.
pub fn a_snooze_spends_nothing(bench: &Bench<'_>) {
    let leased = running(bench);
    let snooze = Outcome::Snooze { delay_ms: 5_000 };
    bench.settle_to(&leased, snooze, JobState::Scheduled);
    assert_eq!(bench.view(leased.id).attempt, 0);
    assert_eq!(bench.view(leased.id).at, bench.wall().plus(5_000));
    bench.advance(4_999);
    bench.check_nothing_ready();
    bench.advance(1);
    assert_eq!(bench.must_lease().attempt, 1);
}

/// A released job is ready at once, in its old place, and has spent nothing.
pub fn a_release_spends_nothing(bench: &Bench<'_>) {
    let leased = running(bench);
    bench.advance(1_000);
    bench.enqueue(bench.job());
    bench.settle_to(&leased, release(0, false), JobState::Available);
    let again = bench.must_lease();
    assert_eq!((again.id, again.attempt), (leased.id, 1));
    assert!(again.token > leased.token);
}

/// A release may ask for a delay.
pub fn a_release_may_wait(bench: &Bench<'_>) {
    let leased = running(bench);
    let reply = bench.settle(&leased, release(5_000, false));
    assert!(matches!(reply, Ok(Reply::Settled { .. })), "{reply:?}");
    bench.advance(4_999);
    bench.check_nothing_ready();
    bench.advance(1);
    assert_eq!(bench.must_lease().attempt, 1);
}

/// A payload that no worker can read for an hour makes its job dead.
pub fn an_undecodable_payload_is_given_an_hour(bench: &Bench<'_>) {
    let leased = running(bench);
    bench
        .settle(&leased, release(60_000, true))
        .expect("given back");
    bench.advance(UNDECODABLE_GRACE_MS / 2);
    let leased = bench.must_lease();
    bench
        .settle(&leased, release(60_000, true))
        .expect("given back");
    assert!(bench.view(leased.id).state.is_waiting());
    bench.advance(UNDECODABLE_GRACE_MS / 2 + 1_000);
    let leased = bench.must_lease();
    bench.settle_to(&leased, release(60_000, true), JobState::Dead);
    let view = bench.view(leased.id);
    assert_eq!(
        (view.attempt, view.reason),
        (0, Some(DeadReason::Undecodable))
    );
    assert_eq!(view.error.as_deref(), Some("field a is missing"));
}

/// A handler may give a job up.
pub fn dead(bench: &Bench<'_>) {
    let leased = running(bench);
    let error = Arc::from("no such user");
    bench.settle_to(&leased, Outcome::Dead { error }, JobState::Dead);
    let view = bench.view(leased.id);
    assert_eq!(view.reason, Some(DeadReason::Failed));
    assert_eq!(view.error.as_deref(), Some("no such user"));
}

/// A handler may call a job off.
pub fn cancelled(bench: &Bench<'_>) {
    let leased = running(bench);
    let reason = Arc::from("not needed");
    bench.settle_to(&leased, Outcome::Cancel { reason }, JobState::Cancelled);
    assert_eq!(bench.view(leased.id).error.as_deref(), Some("not needed"));
    bench.check_nothing_ready();
}

/// Settling and what follows from it are one.
pub fn follow_ups_in_the_same_commit(bench: &Bench<'_>) {
    let leased = running(bench);
    let next = vec![
        settle(&leased, done()),
        enqueue(bench.ranked(9)),
        enqueue(bench.ranked(8)),
    ];
    assert_eq!(bench.commit(next).expect("accepted").replies.len(), 3);
    bench.check_state(leased.id, JobState::Completed);
    assert_eq!(bench.must_lease().priority.get(), 9);
    assert_eq!(bench.must_lease().priority.get(), 8);
}

/// What follows a settle is done once, however often it is said, under whatever ids; with something
/// else behind it, it is another settle. What follows another settle is done.
pub fn follow_ups_of_a_repeated_settle(bench: &Bench<'_>) {
    let (leased, other) = (running(bench), running(bench));
    let follow_up = |rank| {
        let job = bench.ranked(rank);
        enqueue(job)
    };
    let done_once = vec![settle(&leased, done()), follow_up(9)];
    assert_eq!(bench.commit(done_once).expect("accepted").replies.len(), 2);
    let again = vec![
        settle(&leased, done()),
        follow_up(9),
        settle(&other, done()),
        follow_up(8),
    ];
    let replies = bench.commit(again).expect("accepted").replies;
    let repeated = matches!(replies[0], Reply::Settled { repeated: true, .. });
    assert!(repeated && replies[1] == Reply::Repeated, "{replies:?}");
    assert_eq!(bench.must_lease().priority.get(), 9);
    assert_eq!(bench.must_lease().priority.get(), 8);
    assert_eq!(bench.queue("mail").totals.enqueued, 4);
    for otherwise in [
        vec![settle(&leased, done())],
        vec![settle(&leased, done()), follow_up(7)],
    ] {
        bench.check_refused(otherwise, 0, ErrorKind::SettledOtherwise);
    }
}

/// What follows a repeated settle is not looked at again: the job that it changed may be gone.
/// Behind a settle that was not applied, it must be there.
pub fn a_follow_up_of_a_repeated_settle_may_be_gone(bench: &Bench<'_>) {
    let later = || {
        let mut job = bench.job();
        job.start = Start::After(60_000);
        bench.enqueue(job)
    };
    let (edited, next) = (later(), later());
    let (leased, other) = (running(bench), running(bench));
    let edit = |id| Command::Edit {
        id,
        edit: Edit {
            payload: Some(Payload::json("1")),
            ..Edit::default()
        },
    };
    let settled = || vec![settle(&leased, done()), edit(edited), edit(next)];
    assert_eq!(bench.commit(settled()).expect("accepted").replies.len(), 3);
    assert_eq!(bench.one(Command::Delete(edited)), Ok(Reply::Deleted));
    let replies = bench.commit(settled()).expect("repeated").replies;
    assert_eq!(replies[1..], [Reply::Repeated, Reply::Repeated]);
    let mut more = settled();
    more.extend([settle(&other, done()), edit(edited)]);
    bench.check_refused(more, 4, ErrorKind::NotFound);
}

/// A settle that was applied says ok again, also when the job went on or is gone.
pub fn repeated(bench: &Bench<'_>) {
    let leased = running(bench);
    let ok = |repeated| {
        let reply = bench.settle(&leased, failed(Some(10)));
        let matches = matches!(reply, Ok(Reply::Settled { repeated: it, .. }) if it == repeated);
        assert!(matches, "{reply:?}");
    };
    ok(false);
    ok(true);
    bench.advance(10);
    bench.must_lease();
    ok(true);
    assert_eq!(bench.queue("mail").totals.retried, 1);
    let other = running(bench);
    bench.settle_to(&other, done(), JobState::Completed);
    assert_eq!(bench.one(Command::Delete(other.id)), Ok(Reply::Deleted));
    let reply = bench.settle(&other, done());
    assert!(
        matches!(reply, Ok(Reply::Settled { repeated: true, .. })),
        "{reply:?}"
    );
}

/// A lease that was settled can't be settled otherwise.
pub fn settled_otherwise(bench: &Bench<'_>) {
    let leased = running(bench);
    bench.settle_to(&leased, returned("1"), JobState::Completed);
    for outcome in [returned("2"), failed(None), done()] {
        let again = vec![settle(&leased, outcome)];
        bench.check_refused(again, 0, ErrorKind::SettledOtherwise);
    }
}

/// An applied settle is remembered for ten minutes, and then unknown.
pub fn settles_are_forgotten(bench: &Bench<'_>) {
    let leased = running(bench);
    bench.settle_to(&leased, done(), JobState::Completed);
    bench.advance(SETTLE_MEMORY_MS - 1_000);
    assert!(bench.settle(&leased, done()).is_ok());
    bench.advance(60_000);
    bench.enqueue(bench.job());
    let error = bench.settle(&leased, done()).expect_err("forgotten");
    assert!(is_lost(error.kind()), "{error}");
}

fn is_lost(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Stale | ErrorKind::UnknownLease)
}

/// A token that was never handed out settles nothing, and neither does another job's.
pub fn foreign_tokens(bench: &Bench<'_>) {
    let one = running(bench);
    let two = running(bench);
    let never = Leased {
        token: Token(1 << 50),
        ..one.clone()
    };
    let crossed = Leased {
        token: two.token,
        ..one.clone()
    };
    let nobody = Leased {
        id: bench.job().id,
        ..one.clone()
    };
    let before = bench.look();
    for foreign in [never, crossed, nobody] {
        let error = bench.settle(&foreign, done()).expect_err("not its lease");
        assert!(is_lost(error.kind()), "{error}");
        assert_eq!(error.command(), Some(0));
    }
    assert_eq!(bench.look(), before);
    bench.settle_to(&one, done(), JobState::Completed);
    bench.settle_to(&two, done(), JobState::Completed);
}

/// A waiting job has no lease to settle.
pub fn a_waiting_job_is_not_settled(bench: &Bench<'_>) {
    let leased = running(bench);
    bench.settle_to(&leased, release(0, false), JobState::Available);
    let error = bench.settle(&leased, done()).expect_err("given back");
    assert_eq!(error.kind(), ErrorKind::SettledOtherwise, "{error}");
    bench.check_state(leased.id, JobState::Available);
}
