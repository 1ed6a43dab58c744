//! What a person may do to a job and to a queue.

use posthaste_core::command::{Command, Edit, QueueSettings, Reply};
use posthaste_core::error::ErrorKind;
use posthaste_core::ids::JobId;
use posthaste_core::job::{
    DeadReason, JobState, NewJob, Outcome, Payload, Priority, RetryRule, Start,
};
use posthaste_core::port::Leased;

use super::Bench;
use super::words::{done, failed};

fn running(bench: &Bench<'_>) -> Leased {
    bench.enqueue(bench.job());
    bench.must_lease()
}

fn completed(bench: &Bench<'_>) -> JobId {
    let leased = running(bench);
    bench.settle_to(&leased, done(), JobState::Completed);
    leased.id
}

/// A job that died with its only attempt spent.
fn dead(bench: &Bench<'_>) -> JobId {
    let retry = RetryRule {
        max_attempts: 1,
        ..RetryRule::default()
    };
    bench.enqueue(NewJob {
        retry,
        ..bench.job()
    });
    let leased = bench.must_lease();
    bench.settle_to(&leased, failed(None), JobState::Dead);
    leased.id
}

fn scheduled(bench: &Bench<'_>) -> JobId {
    bench.enqueue(NewJob {
        start: Start::After(60_000),
        ..bench.job()
    })
}

fn check_changed(bench: &Bench<'_>, command: Command, state: JobState) {
    assert_eq!(bench.one(command), Ok(Reply::Changed { state }));
}

/// A waiting job that is called off never runs.
pub fn cancel_a_waiting_job(bench: &Bench<'_>) {
    for id in [bench.enqueue(bench.job()), scheduled(bench)] {
        check_changed(bench, Command::Cancel(id), JobState::Cancelled);
        bench.check_state(id, JobState::Cancelled);
    }
    bench.advance(61_000);
    bench.check_nothing_ready();
    assert_eq!(bench.queue("mail").totals.cancelled, 2);
}

/// What is completed or dead can't be called off.
pub fn cancel_what_has_ended(bench: &Bench<'_>) {
    for id in [completed(bench), dead(bench)] {
        bench.check_refused(vec![Command::Cancel(id)], 0, ErrorKind::Conflict);
    }
}

/// A waiting job can be run now.
pub fn run_a_waiting_job_now(bench: &Bench<'_>) {
    let id = scheduled(bench);
    check_changed(bench, Command::Retry(id), JobState::Available);
    let leased = bench.must_lease();
    assert_eq!(leased.id, id);
    bench.settle_to(&leased, failed(None), JobState::Retryable);
    check_changed(bench, Command::Retry(id), JobState::Available);
    assert_eq!(bench.must_lease().attempt, 2, "its attempts go on");
}

/// A dead or cancelled job is brought back with all its attempts.
pub fn redrive(bench: &Bench<'_>) {
    let cancelled = bench.enqueue(bench.job());
    bench.one(Command::Cancel(cancelled)).expect("called off");
    for id in [dead(bench), cancelled] {
        check_changed(bench, Command::Retry(id), JobState::Available);
        let leased = bench.must_lease();
        assert_eq!((leased.id, leased.attempt), (id, 1));
        assert_eq!(bench.view(id).reason, None);
        bench.settle_to(&leased, done(), JobState::Completed);
    }
    let totals = bench.queue("mail").totals;
    assert_eq!((totals.redriven, totals.completed), (2, 2));
}

/// A job that is brought back after its deadline is run, without a deadline; one that is brought
/// back before keeps it.
pub fn redrive_after_the_deadline(bench: &Bench<'_>) {
    let mut job = bench.job();
    job.deadline = Some(bench.wall().plus(1_000));
    let id = bench.enqueue(job);
    bench.one(Command::Cancel(id)).expect("called off");
    check_changed(bench, Command::Retry(id), JobState::Available);
    assert!(bench.view(id).deadline.is_some(), "it has not passed");
    bench.advance(1_000);
    let reason = bench.view(id).reason;
    assert_eq!(reason, Some(DeadReason::Expired));
    check_changed(bench, Command::Retry(id), JobState::Available);
    bench.advance(60_000);
    assert_eq!(bench.view(id).deadline, None);
    let edit = Edit {
        payload: Some(Payload::json("2")),
        ..Edit::default()
    };
    check_changed(bench, Command::Edit { id, edit }, JobState::Available);
    let leased = bench.must_lease();
    assert_eq!((leased.id, leased.deadline), (id, None));
    bench.settle_to(&leased, failed(None), JobState::Retryable);
    bench.advance(60_000);
    let leased = bench.must_lease();
    bench.settle_to(&leased, done(), JobState::Completed);
}

/// What runs or is completed can't be run now.
pub fn run_what_runs_or_ran(bench: &Bench<'_>) {
    for id in [running(bench).id, completed(bench)] {
        bench.check_refused(vec![Command::Retry(id)], 0, ErrorKind::Conflict);
    }
}

/// Whatever does not run can be forgotten.
pub fn delete(bench: &Bench<'_>) {
    let ids = [
        completed(bench),
        dead(bench),
        scheduled(bench),
        bench.enqueue(bench.job()),
    ];
    for id in ids {
        assert_eq!(bench.one(Command::Delete(id)), Ok(Reply::Deleted));
        assert_eq!(bench.find(id), None);
    }
    bench.check_nothing_ready();
    assert_eq!(bench.queue("mail").totals.deleted, 4);
    assert_eq!(bench.queue("mail").held, [0; 7]);
}

/// What runs can't be forgotten.
pub fn delete_what_runs(bench: &Bench<'_>) {
    let leased = running(bench);
    bench.check_refused(vec![Command::Delete(leased.id)], 0, ErrorKind::Conflict);
    bench.settle_to(&leased, done(), JobState::Completed);
}

/// A waiting job can be given another payload, rank and start.
pub fn edit_a_waiting_job(bench: &Bench<'_>) {
    let accepted = bench.wall();
    let id = bench.enqueue(bench.ranked(1));
    bench.advance(10);
    bench.enqueue(bench.ranked(5));
    let edit = Edit {
        payload: Some(Payload::json("\"new\"")),
        priority: Priority::new(9),
        run_at: None,
    };
    check_changed(bench, Command::Edit { id, edit }, JobState::Available);
    assert_eq!(bench.view(id).enqueued_at, accepted);
    let leased = bench.must_lease();
    assert_eq!((leased.id, leased.priority.get()), (id, 9));
    assert_eq!(leased.payload, Payload::json("\"new\""));
    assert_eq!(leased.enqueued_at, accepted);
}

/// A start can be moved, later and earlier.
pub fn edit_a_start(bench: &Bench<'_>) {
    let id = bench.enqueue(bench.job());
    let moved = |ms| Command::Edit {
        id,
        edit: Edit {
            run_at: Some(bench.wall().plus(ms)),
            ..Edit::default()
        },
    };
    check_changed(bench, moved(60_000), JobState::Scheduled);
    bench.check_nothing_ready();
    check_changed(bench, moved(30_000), JobState::Scheduled);
    bench.advance(29_999);
    bench.check_nothing_ready();
    bench.advance(1);
    assert_eq!(bench.must_lease().id, id);
}

/// A dead job can be mended and brought back.
pub fn edit_a_dead_job(bench: &Bench<'_>) {
    let id = dead(bench);
    let edit = Edit {
        payload: Some(Payload::json("\"mended\"")),
        ..Edit::default()
    };
    check_changed(bench, Command::Edit { id, edit }, JobState::Dead);
    check_changed(bench, Command::Retry(id), JobState::Available);
    assert_eq!(bench.must_lease().payload, Payload::json("\"mended\""));
}

/// What runs or is completed can't be edited, and what is dead has no start.
pub fn edit_what_cannot_be(bench: &Bench<'_>) {
    let ranked = Edit {
        priority: Priority::new(9),
        ..Edit::default()
    };
    for id in [running(bench).id, completed(bench)] {
        let edit = ranked.clone();
        bench.check_refused(vec![Command::Edit { id, edit }], 0, ErrorKind::Conflict);
    }
    let id = dead(bench);
    let edit = Edit {
        run_at: Some(bench.wall().plus(1_000)),
        ..Edit::default()
    };
    let error = bench
        .one(Command::Edit { id, edit })
        .expect_err("it has no start");
    let kinds = [ErrorKind::Conflict, ErrorKind::Invalid];
    assert!(kinds.contains(&error.kind()), "{error}");
}

/// A queue keeps what was set, and a later setting leaves the others.
pub fn queue_settings(bench: &Bench<'_>) {
    let first = QueueSettings {
        concurrency: Some(7),
        strict: Some(true),
        ..QueueSettings::default()
    };
    bench.configure("new", first);
    let second = QueueSettings {
        paused: Some(true),
        priority_step_ms: Some(1_000),
        ..QueueSettings::default()
    };
    bench.configure("new", second);
    let view = bench.queue("new");
    assert_eq!((view.concurrency, view.strict), (7, true));
    assert_eq!((view.paused, view.priority_step_ms), (true, 1_000));
    let names: Vec<String> = bench
        .queues()
        .iter()
        .map(|it| it.name.to_string())
        .collect();
    assert!(names.is_sorted(), "{names:?}");
}

/// The totals tell what happened.
pub fn totals(bench: &Bench<'_>) {
    completed(bench);
    dead(bench);
    let id = dead(bench);
    bench.one(Command::Retry(id)).expect("brought back");
    bench.one(Command::Cancel(id)).expect("called off");
    let leased = running(bench);
    bench.settle_to(&leased, failed(None), JobState::Retryable);
    let leased = running(bench);
    let snooze = Outcome::Snooze { delay_ms: 1_000 };
    bench.settle_to(&leased, snooze, JobState::Scheduled);
    let totals = bench.queue("mail").totals;
    assert_eq!((totals.enqueued, totals.completed), (5, 1));
    assert_eq!((totals.dead, totals.cancelled, totals.redriven), (2, 1, 1));
    assert_eq!((totals.retried, totals.lapsed, totals.deleted), (1, 0, 0));
    bench.check_totals();
}
