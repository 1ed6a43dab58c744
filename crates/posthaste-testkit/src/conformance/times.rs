//! Timers: never early, and neither lost nor repeated when a clock jumps.

use posthaste_core::command::{Command, Reply};
use posthaste_core::error::ErrorKind;
use posthaste_core::job::{DeadReason, JobState, NewJob, Start};
use posthaste_core::limits::{COMPLETED_KEPT_MS, DEAD_KEPT_MS};
use posthaste_core::time::WallMs;

use super::Bench;
use super::words::{LEASE_MS, done, enqueue, failed};

fn starting(bench: &Bench<'_>, start: Start) -> NewJob {
    NewJob {
        start,
        ..bench.job()
    }
}

/// A delayed job is scheduled, and starts when its delay is over and not before.
pub fn a_delay_is_kept(bench: &Bench<'_>) {
    let reply = bench.one(enqueue(starting(bench, Start::After(5_000))));
    let Ok(Reply::Enqueued {
        id,
        state: JobState::Scheduled,
        ..
    }) = reply
    else {
        panic!("a delayed job was answered with {reply:?}");
    };
    assert_eq!(bench.view(id).at, bench.wall().plus(5_000));
    bench.advance(4_999);
    bench.check_nothing_ready();
    bench.advance(1);
    assert_eq!(bench.must_lease().id, id);
}

/// A run-at is kept; one that has passed is now.
pub fn a_run_at_is_kept(bench: &Bench<'_>) {
    let past = WallMs(bench.wall().0 - 1_000);
    bench.enqueue(starting(bench, Start::At(past)));
    let leased = bench.must_lease();
    bench.settle_to(&leased, done(), JobState::Completed);
    let at = bench.wall().plus(3_600_000);
    let id = bench.enqueue(starting(bench, Start::At(at)));
    bench.advance(3_599_999);
    bench.check_nothing_ready();
    bench.advance(1);
    assert_eq!(bench.must_lease().id, id);
}

/// Delayed jobs come in the order in which they are due, not in that of their enqueue.
pub fn due_jobs_come_in_order(bench: &Bench<'_>) {
    let [late, early, middle] =
        [3_000, 1_000, 2_000].map(|ms| bench.enqueue(starting(bench, Start::After(ms))));
    bench.advance(3_000);
    for id in [early, middle, late] {
        assert_eq!(bench.must_lease().id, id);
    }
}

/// A run-at is an instant of the wall clock: set forward it comes, set back it waits, and it comes
/// once.
pub fn run_at_follows_the_wall_clock(bench: &Bench<'_>) {
    let start = bench.wall();
    let id = bench.enqueue(starting(bench, Start::After(60_000)));
    bench.set_wall(WallMs(start.0 - 3_600_000));
    bench.advance(60_000);
    bench.check_nothing_ready();
    bench.set_wall(start.plus(60_000));
    let leased = bench.must_lease();
    assert_eq!(leased.id, id);
    bench.settle_to(&leased, done(), JobState::Completed);
    bench.set_wall(start);
    bench.advance(120_000);
    bench.check_nothing_ready();
}

/// A lease follows the monotonic clock: a jump of the wall clock neither ends nor lengthens it.
pub fn leases_ignore_the_wall_clock(bench: &Bench<'_>) {
    let start = bench.wall();
    bench.enqueue(bench.job());
    let leased = bench.must_lease();
    bench.set_wall(start.plus(600_000));
    bench.check_nothing_ready();
    bench.set_wall(WallMs(start.0 - 600_000));
    bench.check_nothing_ready();
    bench.advance(u64::from(LEASE_MS) + 1);
    assert_eq!(bench.must_lease().id, leased.id);
}

/// Past its deadline a job is not started any more: it is dead.
pub fn a_deadline_ends_what_has_not_started(bench: &Bench<'_>) {
    let until = |ms| NewJob {
        deadline: Some(bench.wall().plus(ms)),
        ..bench.job()
    };
    let late = bench.enqueue(until(1_000));
    let fine = bench.enqueue(until(10_000));
    bench.advance(1_001);
    assert_eq!(bench.must_lease().id, fine);
    bench.check_nothing_ready();
    bench.check_state(late, JobState::Dead);
    assert_eq!(bench.view(late).reason, Some(DeadReason::Expired));
}

/// What runs at its deadline goes on; if it fails it is not started again.
pub fn a_deadline_does_not_touch_what_runs(bench: &Bench<'_>) {
    for completes in [true, false] {
        bench.enqueue(NewJob {
            deadline: Some(bench.wall().plus(1_000)),
            ..bench.job()
        });
        let leased = bench.must_lease();
        bench.advance(1_001);
        assert_eq!(bench.view(leased.id).state, JobState::Running);
        if completes {
            bench.settle_to(&leased, done(), JobState::Completed);
        } else {
            bench.settle(&leased, failed(Some(10))).expect("settled");
            bench.advance(11);
            bench.check_nothing_ready();
            bench.check_state(leased.id, JobState::Dead);
        }
    }
}

/// A completed and a cancelled job are kept for a day, a dead one for ninety.
pub fn the_ended_are_forgotten(bench: &Bench<'_>) {
    let error = std::sync::Arc::from("no");
    bench.enqueue(bench.job());
    let completed = bench.must_lease();
    bench.settle_to(&completed, done(), JobState::Completed);
    let cancelled = bench.enqueue(bench.job());
    bench.one(Command::Cancel(cancelled)).expect("called off");
    bench.enqueue(bench.job());
    let dead = bench.must_lease();
    let outcome = posthaste_core::job::Outcome::Dead { error };
    bench.settle_to(&dead, outcome, JobState::Dead);
    let waiting = bench.enqueue(starting(bench, Start::After(2 * DEAD_KEPT_MS)));
    bench.advance(COMPLETED_KEPT_MS - 1_000);
    bench.check_state(completed.id, JobState::Completed);
    bench.check_state(cancelled, JobState::Cancelled);
    bench.advance(2_000);
    bench.check_gone(completed.id);
    bench.check_gone(cancelled);
    bench.check_state(dead.id, JobState::Dead);
    bench.advance(DEAD_KEPT_MS);
    bench.check_gone(dead.id);
    bench.check_state(waiting, JobState::Scheduled);
    assert_eq!(bench.queue("mail").totals.deleted, 3);
}

/// What is forgotten is not there for any verb.
pub fn the_forgotten_are_not_found(bench: &Bench<'_>) {
    let id = bench.enqueue(bench.job());
    assert_eq!(bench.one(Command::Delete(id)), Ok(Reply::Deleted));
    for command in [Command::Delete(id), Command::Cancel(id), Command::Retry(id)] {
        bench.check_refused(vec![command], 0, ErrorKind::NotFound);
    }
}
