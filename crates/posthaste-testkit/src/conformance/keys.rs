//! One effect for one key, and at most one job of a kind and key at a time.

use std::sync::Arc;

use posthaste_core::command::{Command, Edit, Reply};
use posthaste_core::error::ErrorKind;
use posthaste_core::ids::JobId;
use posthaste_core::job::{JobState, NewJob, OnConflict, Payload, StateSet, Unique, UniqueBy};
use posthaste_core::limits::KEY_WINDOW_MS;

use super::Bench;
use super::words::{done, enqueue, kind};

fn keyed(bench: &Bench<'_>, key: &str, payload: &str) -> NewJob {
    NewJob {
        idempotency_key: Some(Arc::from(key)),
        payload: Payload::json(payload.to_owned()),
        ..bench.job()
    }
}

fn unique(bench: &Bench<'_>, key: &str) -> NewJob {
    NewJob {
        unique: Some(Unique {
            by: UniqueBy::Key(Arc::from(key)),
            period_ms: None,
            states: StateSet::UNFINISHED,
            on_conflict: OnConflict::Existing,
        }),
        ..bench.job()
    }
}

fn with(job: NewJob, change: impl FnOnce(&mut Unique)) -> NewJob {
    let mut job = job;
    if let Some(unique) = &mut job.unique {
        change(unique);
    }
    job
}

/// The job is answered with the one that was there.
fn check_existing(bench: &Bench<'_>, job: NewJob, there: JobId) {
    match bench.one(enqueue(job)) {
        Ok(Reply::Enqueued { id, existing, .. }) => {
            assert_eq!((id, existing), (there, true));
        }
        other => panic!("a job that was there is answered with {other:?}"),
    }
}

/// Repeated with its idempotency key, a job is there once.
pub fn a_repeated_job_is_there_once(bench: &Bench<'_>) {
    let id = bench.enqueue(keyed(bench, "order-7", "1"));
    check_existing(bench, keyed(bench, "order-7", "1"), id);
    let leased = bench.must_lease();
    check_existing(bench, keyed(bench, "order-7", "1"), id);
    bench.settle_to(&leased, done(), JobState::Completed);
    check_existing(bench, keyed(bench, "order-7", "1"), id);
    bench.check_nothing_ready();
    assert_eq!(bench.queue("mail").totals.enqueued, 1);
}

/// A key with another job is refused.
pub fn a_key_is_not_for_two_jobs(bench: &Bench<'_>) {
    bench.enqueue(keyed(bench, "order-7", "1"));
    let commands = vec![enqueue(bench.job()), enqueue(keyed(bench, "order-7", "2"))];
    bench.check_refused(commands, 1, ErrorKind::KeyReused);
    bench.enqueue(keyed(bench, "order-8", "2"));
}

/// Within one commit the second of two equal jobs is the first.
pub fn a_key_holds_within_a_commit(bench: &Bench<'_>) {
    let twice = vec![
        enqueue(keyed(bench, "k", "1")),
        enqueue(keyed(bench, "k", "1")),
    ];
    let answer = bench.commit(twice).expect("accepted");
    let ids: Vec<(JobId, bool)> = answer
        .replies
        .iter()
        .map(|reply| match reply {
            Reply::Enqueued { id, existing, .. } => (*id, *existing),
            other => panic!("an enqueue was answered with {other:?}"),
        })
        .collect();
    assert_eq!(ids, [(ids[0].0, false), (ids[0].0, true)]);
}

/// A key outlives its job, and is forgotten after its window.
pub fn a_key_is_remembered_for_a_day(bench: &Bench<'_>) {
    let id = bench.enqueue(keyed(bench, "k", "1"));
    assert_eq!(bench.one(Command::Delete(id)), Ok(Reply::Deleted));
    bench.advance(KEY_WINDOW_MS - 1_000);
    check_existing(bench, keyed(bench, "k", "1"), id);
    assert!(bench.find(id).is_none(), "it is not brought back");
    bench.advance(2_000);
    let again = bench.enqueue(keyed(bench, "k", "1"));
    assert_ne!(again, id);
}

/// A commit repeated under its key is answered as it was, and happens once.
pub fn a_repeated_commit_happens_once(bench: &Bench<'_>) {
    let waiting = bench.enqueue(bench.job());
    let commands = vec![Command::Cancel(waiting), enqueue(bench.job())];
    let first = bench.commit_keyed("c", 1, commands.clone());
    let first = first.expect("accepted");
    assert!(!first.repeated);
    bench.one(Command::Retry(waiting)).expect("brought back");
    for _ in 0..2 {
        let again = bench.commit_keyed("c", 1, commands.clone());
        let again = again.expect("answered as before");
        assert_eq!(
            (again.replies, again.repeated),
            (first.replies.clone(), true)
        );
    }
    bench.check_state(waiting, JobState::Available);
    assert_eq!(bench.queue("mail").totals.enqueued, 2);
}

/// A repeated commit is answered as it was, also when what it edited is no longer there.
pub fn a_repeated_edit_is_answered(bench: &Bench<'_>) {
    let id = bench.enqueue(bench.job());
    let edit = Edit {
        payload: Some(Payload::json("2")),
        ..Edit::default()
    };
    let commands = vec![Command::Edit { id, edit }];
    let first = bench
        .commit_keyed("c", 1, commands.clone())
        .expect("edited");
    assert_eq!(bench.one(Command::Delete(id)), Ok(Reply::Deleted));
    let again = bench.commit_keyed("c", 1, commands).expect("answered");
    assert_eq!((again.replies, again.repeated), (first.replies, true));
}

/// A commit's key with another body is refused, and nothing happens.
pub fn a_commit_key_is_not_for_two_bodies(bench: &Bench<'_>) {
    let commit = |digest| bench.commit_keyed("c", digest, vec![enqueue(bench.job())]);
    assert!(commit(1).is_ok());
    let before = bench.look();
    let error = commit(2).expect_err("another body");
    assert_eq!(error.kind(), ErrorKind::KeyReused, "{error}");
    assert_eq!(bench.look(), before);
}

/// The key of a refused commit is free.
pub fn a_refused_commit_takes_no_key(bench: &Bench<'_>) {
    let bad = vec![
        enqueue(keyed(bench, "inner", "1")),
        Command::Cancel(bench.job().id),
    ];
    assert!(bench.commit_keyed("c", 1, bad).is_err());
    let good = bench.commit_keyed("c", 2, vec![enqueue(keyed(bench, "inner", "2"))]);
    assert_eq!(good.map(|answer| answer.repeated), Ok(false));
}

/// A commit's key is forgotten after its window.
pub fn a_commit_key_is_remembered_for_a_day(bench: &Bench<'_>) {
    let commit = |job| bench.commit_keyed("c", 1, vec![enqueue(job)]);
    let job = bench.job();
    assert!(commit(job.clone()).is_ok());
    bench.advance(KEY_WINDOW_MS - 1_000);
    assert_eq!(commit(job).map(|answer| answer.repeated), Ok(true));
    bench.advance(2_000);
    assert_eq!(commit(bench.job()).map(|answer| answer.repeated), Ok(false));
}

/// A job whose unique key is held is answered with the holder, until that has come to an end.
pub fn unique_until_the_end(bench: &Bench<'_>) {
    let id = bench.enqueue(unique(bench, "user-7"));
    check_existing(bench, unique(bench, "user-7"), id);
    let leased = bench.must_lease();
    check_existing(bench, unique(bench, "user-7"), id);
    bench.settle_to(&leased, done(), JobState::Completed);
    let next = bench.enqueue(unique(bench, "user-7"));
    assert_eq!(bench.one(Command::Delete(next)), Ok(Reply::Deleted));
    bench.enqueue(unique(bench, "user-7"));
}

/// A later job that asks for it is refused instead.
pub fn unique_or_refused(bench: &Bench<'_>) {
    bench.enqueue(unique(bench, "user-7"));
    let reject = with(unique(bench, "user-7"), |unique| {
        unique.on_conflict = OnConflict::Reject;
    });
    let commands = vec![enqueue(bench.job()), enqueue(reject)];
    bench.check_refused(commands, 1, ErrorKind::UniqueConflict);
}

/// Another key or another kind is another job.
pub fn unique_within_a_kind(bench: &Bench<'_>) {
    bench.enqueue(unique(bench, "user-7"));
    bench.enqueue(unique(bench, "user-8"));
    bench.enqueue(NewJob {
        kind: kind("goodbye"),
        ..unique(bench, "user-7")
    });
}

/// Two jobs may be the same by their payloads.
pub fn unique_by_payload(bench: &Bench<'_>) {
    let carrying = |text: &str| NewJob {
        payload: Payload::json(text.to_owned()),
        ..with(unique(bench, ""), |unique| unique.by = UniqueBy::Payload)
    };
    let id = bench.enqueue(carrying("1"));
    bench.enqueue(carrying("2"));
    check_existing(bench, carrying("1"), id);
}

/// A period ends the hold, whatever the job's state.
pub fn unique_for_a_period(bench: &Bench<'_>) {
    let within = || {
        with(unique(bench, "user-7"), |unique| {
            unique.period_ms = Some(60_000);
        })
    };
    let id = bench.enqueue(within());
    bench.advance(59_000);
    check_existing(bench, within(), id);
    bench.advance(2_000);
    bench.enqueue(within());
}

/// The hold lasts in the states that were given, and in no other.
pub fn unique_in_given_states(bench: &Bench<'_>) {
    let every = StateSet::of(&JobState::ALL);
    let waiting = StateSet::of(&[JobState::Scheduled, JobState::Available]);
    let held = |key, states| with(unique(bench, key), |unique| unique.states = states);
    let ever = bench.enqueue(held("ever", every));
    let leased = bench.must_lease();
    bench.settle_to(&leased, done(), JobState::Completed);
    check_existing(bench, held("ever", every), ever);
    bench.enqueue(held("waiting", waiting));
    bench.must_lease();
    bench.enqueue(held("waiting", waiting));
}

/// A refused commit holds no unique key.
pub fn a_refused_commit_holds_no_unique_key(bench: &Bench<'_>) {
    let bad = vec![
        enqueue(unique(bench, "user-7")),
        Command::Cancel(bench.job().id),
    ];
    bench.check_refused(bad, 1, ErrorKind::NotFound);
    bench.enqueue(unique(bench, "user-7"));
}
