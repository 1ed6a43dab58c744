//! Long waits, and askers that hang up.

use std::thread;
use std::time::Duration;

use posthaste_core::command::{Command, QueueSettings};
use posthaste_core::error::ErrorKind;
use posthaste_core::ids::JobId;
use posthaste_core::job::{JobState, NewJob, Start};
use posthaste_core::port::{LeaseAsk, TailJob};
use posthaste_core::view::JobView;

use super::Bench;
use super::words::{ask, done, kind};
use crate::{block_on, poll_once};

fn waiting() -> LeaseAsk {
    LeaseAsk {
        wait_ms: 60_000,
        ..ask("mail", 1)
    }
}

/// Asks for work with a long wait, does `meanwhile` once the ask is out, and says what came.
fn lease_while(bench: &Bench<'_>, ask: LeaseAsk, meanwhile: impl FnOnce()) -> Vec<JobId> {
    let store = bench.store();
    let mut lease = store.lease(ask);
    assert!(poll_once(lease.as_mut()).is_none(), "nothing is there yet");
    meanwhile();
    let leased = block_on(lease).expect("a lease");
    leased.into_iter().map(|it| it.id).collect()
}

/// An ask that waits is woken by an enqueue.
pub fn an_enqueue_wakes(bench: &Bench<'_>) {
    let mut id = None;
    let leased = lease_while(bench, waiting(), || id = Some(bench.enqueue(bench.job())));
    assert_eq!(leased, Vec::from_iter(id));
}

/// A job of another kind does not wake, one that is known does.
pub fn only_known_work_wakes(bench: &Bench<'_>) {
    let mut id = None;
    let known = LeaseAsk {
        kinds: vec![kind("known")],
        ..waiting()
    };
    let leased = lease_while(bench, known, || {
        bench.enqueue(bench.job());
        let kind = kind("known");
        id = Some(bench.enqueue(NewJob {
            kind,
            ..bench.job()
        }));
    });
    assert_eq!(leased, Vec::from_iter(id));
}

/// An ask that waits is woken when a delayed job is due.
pub fn a_due_job_wakes(bench: &Bench<'_>) {
    let id = bench.enqueue(NewJob {
        start: Start::After(5_000),
        ..bench.job()
    });
    assert_eq!(lease_while(bench, waiting(), || bench.advance(5_000)), [id]);
}

/// An ask that waits is woken when its queue goes on.
pub fn a_resume_wakes(bench: &Bench<'_>) {
    let paused = |paused| QueueSettings {
        paused: Some(paused),
        ..QueueSettings::default()
    };
    let id = bench.enqueue(bench.job());
    bench.configure("mail", paused(true));
    let leased = lease_while(bench, waiting(), || bench.configure("mail", paused(false)));
    assert_eq!(leased, [id]);
}

/// An ask that waits is woken when a slot of its queue is freed.
pub fn a_freed_slot_wakes(bench: &Bench<'_>) {
    let settings = QueueSettings {
        concurrency: Some(1),
        ..QueueSettings::default()
    };
    bench.configure("mail", settings);
    bench.enqueue(bench.job());
    let first = bench.must_lease();
    let second = bench.enqueue(bench.job());
    let leased = lease_while(bench, waiting(), || {
        bench.settle_to(&first, done(), JobState::Completed);
    });
    assert_eq!(leased, [second]);
}

/// An ask that waits is woken when a lease lapses.
pub fn a_lapse_wakes(bench: &Bench<'_>) {
    bench.enqueue(bench.job());
    let first = bench.must_lease();
    let lease_ms = u64::from(first.lease_ms);
    let leased = lease_while(bench, waiting(), || bench.advance(lease_ms + 1));
    assert_eq!(leased, [first.id]);
}

/// Lets time pass until `answered` says so: when an asker's wait began is for the store to say.
pub(super) fn pass_until(bench: &Bench<'_>, mut answered: impl FnMut() -> bool) {
    let over = bench.eventually(|| {
        bench.advance(100);
        thread::park_timeout(Duration::from_micros(200));
        answered()
    });
    assert!(over, "the wait ends");
}

/// An ask that comes past very many jobs whose time is over gets the one behind them.
pub fn a_job_behind_many_that_expired_is_found(bench: &Bench<'_>) {
    let store = bench.store();
    let deadline = Some(bench.wall().plus(1_000));
    for _ in 0..4 {
        let expiring = (0..1_000).map(|_| NewJob {
            deadline,
            ..bench.job()
        });
        let expiring = expiring.map(|job| Command::Enqueue(Box::new(job)));
        bench.commit(expiring.collect()).expect("they are accepted");
    }
    let id = bench.enqueue(bench.job());
    bench.set_wall(bench.wall().plus(2_000));
    let mut lease = store.lease(waiting());
    let mut leased = None;
    pass_until(bench, || {
        leased = leased.take().or_else(|| poll_once(lease.as_mut()));
        leased.is_some()
    });
    let leased = leased.expect("an answer").expect("a lease");
    assert_eq!(Vec::from_iter(leased.iter().map(|it| it.id)), [id]);
}

/// A wait for which nothing comes ends empty.
pub fn a_wait_ends(bench: &Bench<'_>) {
    let store = bench.store();
    let ask = LeaseAsk {
        wait_ms: 500,
        ..ask("mail", 1)
    };
    thread::scope(|scope| {
        let waiter = scope.spawn(move || block_on(store.lease(ask)));
        pass_until(bench, || waiter.is_finished());
        assert_eq!(waiter.join().expect("no panic"), Ok(Vec::new()));
    });
}

/// Who hangs up while he waits takes nothing from those who stay.
pub fn who_hangs_up_takes_nothing(bench: &Bench<'_>) {
    let store = bench.store();
    let mut gone = store.lease(waiting());
    assert!(poll_once(gone.as_mut()).is_none());
    drop(gone);
    let id = bench.enqueue(bench.job());
    let leased = block_on(store.lease(waiting())).expect("a lease");
    assert_eq!(leased.into_iter().map(|it| it.id).collect::<Vec<_>>(), [id]);
}

/// A lease whose asker hung up before it took it comes back, and counts as nothing.
pub fn an_untaken_lease_comes_back(bench: &Bench<'_>) {
    for _ in 0..8 {
        let store = bench.store();
        let mut gone = store.lease(waiting());
        assert!(poll_once(gone.as_mut()).is_none());
        let id = bench.enqueue(bench.job());
        drop(gone); // whether it was granted already or not
        let leased = block_on(store.lease(waiting())).expect("a lease").remove(0);
        assert_eq!((leased.id, leased.attempt), (id, 1));
        assert_eq!(bench.view(id).crashes, 0);
        bench.settle_to(&leased, done(), JobState::Completed);
    }
    assert_eq!(bench.queue("mail").totals.lapsed, 0);
}

/// Waiting for a job's end is told as soon as it has ended.
pub fn a_tail_tells_the_end(bench: &Bench<'_>) {
    bench.enqueue(bench.job());
    let leased = bench.must_lease();
    let store = bench.store();
    let ask = TailJob {
        id: leased.id,
        wait_ms: 60_000,
    };
    let mut tail = store.tail(ask);
    assert!(poll_once(tail.as_mut()).is_none(), "it has not ended");
    bench.settle_to(&leased, done(), JobState::Completed);
    let view: JobView = block_on(tail).expect("told");
    assert_eq!((view.id, view.state), (leased.id, JobState::Completed));
    let view = block_on(store.tail(ask)).expect("told at once");
    assert_eq!(view.state, JobState::Completed);
}

/// A wait for an end that does not come is told how the job is.
pub fn a_tail_ends(bench: &Bench<'_>) {
    let id = bench.enqueue(bench.job());
    let store = bench.store();
    thread::scope(|scope| {
        let ask = TailJob { id, wait_ms: 500 };
        let waiter = scope.spawn(move || block_on(store.tail(ask)));
        pass_until(bench, || waiter.is_finished());
        let view = waiter.join().expect("no panic").expect("told");
        assert_eq!((view.id, view.state), (id, JobState::Available));
    });
}

/// There is no end of a job that is not there.
pub fn a_tail_of_nothing(bench: &Bench<'_>) {
    let id = bench.job().id;
    let error = block_on(bench.store().tail(TailJob { id, wait_ms: 0 })).expect_err("none");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

/// A closed store says so to everybody; closed twice, it is closed.
pub fn closed(bench: &Bench<'_>) {
    let id = bench.enqueue(bench.job());
    let store = bench.store();
    assert_eq!(block_on(store.close()), Ok(()));
    assert_eq!(block_on(store.close()), Ok(()));
    let commit = posthaste_core::Commit::one(Command::Cancel(id));
    let error = block_on(store.commit(vec![commit])).expect_err("closed");
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    let error = block_on(store.lease(ask("mail", 1))).expect_err("closed");
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
}
