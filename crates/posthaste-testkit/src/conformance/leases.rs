//! A lease's life: heartbeats, lapses, and what a late worker may still do.

use std::sync::Arc;

use posthaste_core::command::{Command, Reply};
use posthaste_core::error::ErrorKind;
use posthaste_core::job::{DeadReason, JobState, Outcome, Payload};
use posthaste_core::limits::CRASHES_MAX;
use posthaste_core::port::Leased;

use super::Bench;
use super::words::{LEASE_MS, done, failed, settle};

const LEASE: u64 = LEASE_MS as u64;

fn running(bench: &Bench<'_>) -> Leased {
    bench.enqueue(bench.job());
    bench.must_lease()
}

/// A lease that nobody renews lapses at its end and not before; the job is handed out again under
/// a higher token, and no attempt was spent.
pub fn a_lapsed_job_comes_back(bench: &Bench<'_>) {
    let first = running(bench);
    bench.advance(LEASE - 1);
    bench.check_nothing_ready();
    bench.advance(1_001);
    let second = bench.must_lease();
    assert_eq!((second.id, second.attempt), (first.id, 1));
    assert!(second.token > first.token);
    assert_eq!(bench.view(first.id).crashes, 1);
    assert_eq!(bench.queue("mail").totals.lapsed, 1);
}

/// A worker that comes late is fenced off, and changes nothing.
pub fn a_late_worker_is_fenced_off(bench: &Bench<'_>) {
    let first = running(bench);
    bench.advance(LEASE + 1);
    let second = bench.must_lease();
    let error = bench.settle(&first, done()).expect_err("lost");
    assert_eq!(error.kind(), ErrorKind::Stale, "{error}");
    let error = bench.heartbeat(&first).expect_err("lost");
    assert_eq!(error.kind(), ErrorKind::Stale, "{error}");
    bench.settle_to(&second, done(), JobState::Completed);
    let error = bench.settle(&first, done()).expect_err("still lost");
    assert!(
        matches!(error.kind(), ErrorKind::Stale | ErrorKind::UnknownLease),
        "{error}"
    );
}

/// Work of a lapsed lease counts while nobody else has begun.
pub fn late_work_counts_where_nobody_began(bench: &Bench<'_>) {
    let leased = running(bench);
    bench.advance(LEASE + 1);
    bench.settle_to(&leased, done(), JobState::Completed);
    bench.check_nothing_ready();
    assert_eq!(bench.view(leased.id).attempt, 1);
}

/// Heartbeats keep a lease for as long as they come.
pub fn heartbeats_extend(bench: &Bench<'_>) {
    let leased = running(bench);
    for _ in 0..10 {
        bench.advance(LEASE - 1);
        let extended = Reply::Extended { cancelled: false };
        assert_eq!(bench.heartbeat(&leased), Ok(extended));
        bench.check_nothing_ready();
    }
    assert_eq!(bench.queue("mail").totals.lapsed, 0);
    bench.advance(LEASE + 1);
    assert_eq!(bench.must_lease().id, leased.id);
}

/// A heartbeat carries progress, which people are shown until the attempt ends.
pub fn heartbeats_carry_progress(bench: &Bench<'_>) {
    let leased = running(bench);
    assert!(bench.heartbeat(&leased).is_ok());
    let find = || crate::block_on(bench.store().job(leased.id));
    let progress = |view: Option<posthaste_core::view::JobView>| view.and_then(|it| it.progress);
    let shown = find().expect("shown");
    assert_eq!(progress(shown), Some(Payload::json("{\"done\":1}")));
    bench.settle_to(&leased, done(), JobState::Completed);
    assert_eq!(bench.view(leased.id).progress, None);
}

/// Progress that is sent with the settle of its attempt ends with it.
pub fn progress_ends_with_its_attempt(bench: &Bench<'_>) {
    let leased = running(bench);
    let heartbeat = Command::Heartbeat {
        id: leased.id,
        token: leased.token,
        progress: Some(Payload::json("1")),
    };
    let both = vec![heartbeat, settle(&leased, failed(Some(1_000)))];
    bench.commit(both).expect("accepted");
    assert_eq!(bench.view(leased.id).progress, None);
}

/// A running job that is called off is told at its next heartbeat, and is cancelled however it
/// ends, unless it is completed.
pub fn a_running_job_is_told_that_it_is_cancelled(bench: &Bench<'_>) {
    let endings = [
        failed(None),
        Outcome::Snooze { delay_ms: 10 },
        Outcome::Release {
            delay_ms: 0,
            undecodable: false,
            error: None,
        },
        Outcome::Cancel {
            reason: Arc::from("told to"),
        },
        Outcome::Dead {
            error: Arc::from("no use"),
        },
    ];
    for ending in endings {
        let leased = running(bench);
        let running = Reply::Changed {
            state: JobState::Running,
        };
        assert_eq!(bench.one(Command::Cancel(leased.id)), Ok(running));
        assert!(bench.view(leased.id).cancelling);
        let told = Reply::Extended { cancelled: true };
        assert_eq!(bench.heartbeat(&leased), Ok(told));
        bench.settle_to(&leased, ending, JobState::Cancelled);
        bench.check_nothing_ready();
    }
    assert_eq!(bench.queue("mail").totals.cancelled, 5);
}

/// A job that is called off too late is completed.
pub fn a_cancel_does_not_undo_an_end(bench: &Bench<'_>) {
    let leased = running(bench);
    bench.one(Command::Cancel(leased.id)).expect("asked");
    bench.settle_to(&leased, done(), JobState::Completed);
}

/// A job that is called off and whose worker is gone is cancelled at the end of its lease.
pub fn a_cancelled_job_ends_with_its_lease(bench: &Bench<'_>) {
    let leased = running(bench);
    bench.one(Command::Cancel(leased.id)).expect("asked");
    bench.advance(LEASE + 1);
    bench.check_nothing_ready();
    bench.check_state(leased.id, JobState::Cancelled);
}

/// A job that takes its workers down five times in a row is dead.
pub fn poison(bench: &Bench<'_>) {
    let id = bench.enqueue(bench.job());
    for _ in 0..CRASHES_MAX {
        assert_eq!(bench.must_lease().id, id);
        bench.advance(LEASE + 1);
    }
    bench.check_nothing_ready();
    bench.check_state(id, JobState::Dead);
    let view = bench.view(id);
    assert_eq!((view.reason, view.attempt), (Some(DeadReason::Poison), 0));
}

/// Any settle says that the worker lives, and the count starts again.
pub fn a_settle_resets_the_crashes(bench: &Bench<'_>) {
    let id = bench.enqueue(bench.job());
    for _ in 0..2 {
        for _ in 1..CRASHES_MAX {
            bench.must_lease();
            bench.advance(LEASE + 1);
        }
        let leased = bench.must_lease();
        let snooze = Outcome::Snooze { delay_ms: 10 };
        bench.settle_to(&leased, snooze, JobState::Scheduled);
        assert_eq!(bench.view(id).crashes, 0);
        bench.advance(10);
    }
    assert_eq!(bench.must_lease().id, id);
}
