//! What holds over a restart. These need a store that can be opened again.

use posthaste_core::job::JobState;
use posthaste_core::port::LeaseAsk;

use super::words::{LEASE_MS, ask, done};
use super::{Bench, Ending};

const BOTH: [Ending; 2] = [Ending::Clean, Ending::Crash];

/// A lease outlives a restart, starts afresh with it, and lapses then.
pub fn a_held_lease_starts_afresh(bench: &Bench<'_>) {
    for ending in BOTH {
        bench.enqueue(bench.job());
        let leased = bench.must_lease();
        bench.advance(u64::from(LEASE_MS) - 1);
        bench.restart(ending);
        bench.advance(u64::from(LEASE_MS) - 1);
        bench.check_nothing_ready();
        bench.advance(2);
        let again = bench.must_lease();
        assert_eq!(again.id, leased.id);
        assert!(again.token > leased.token);
        bench.settle_to(&again, done(), JobState::Completed);
    }
}

/// A worker goes on over a restart of its store, and settles.
pub fn a_worker_outlives_its_store(bench: &Bench<'_>) {
    for ending in BOTH {
        bench.enqueue(bench.job());
        let leased = bench.must_lease();
        bench.restart(ending);
        assert!(bench.heartbeat(&leased).is_ok());
        bench.settle_to(&leased, done(), JobState::Completed);
        bench.restart(ending);
        bench.check_nothing_ready();
        bench.check_state(leased.id, JobState::Completed);
    }
}

/// Leases of workers inside the process that held the store are over at once when it is opened
/// again; after a crash that counts as one.
pub fn local_leases_are_released(bench: &Bench<'_>) {
    if !bench.capabilities().local_leases {
        return; // every worker lives elsewhere
    }
    let local = || LeaseAsk {
        local: true,
        ..ask("mail", 1)
    };
    let id = bench.enqueue(bench.job());
    let first = bench.lease_as(local()).remove(0);
    bench.restart(Ending::Clean);
    let second = bench.lease_as(local()).remove(0);
    assert_eq!((second.id, second.attempt), (id, 1));
    assert!(second.token > first.token);
    assert_eq!(bench.view(id).crashes, 0, "nobody crashed");
    bench.restart(Ending::Crash);
    assert_eq!(bench.must_lease().id, id);
    assert_eq!(bench.view(id).crashes, 1);
}

/// Tokens rise over restarts too, also when nothing was settled in between.
pub fn tokens_rise_over_restarts(bench: &Bench<'_>) {
    let mut last = posthaste_core::Token(0);
    for ending in BOTH.into_iter().cycle().take(6) {
        bench.enqueue(bench.job());
        let leased = bench.must_lease();
        assert!(leased.token > last);
        last = leased.token;
        bench.restart(ending);
    }
}

/// An empty store, opened again, is empty.
pub fn an_empty_store_stays_empty(bench: &Bench<'_>) {
    for ending in BOTH {
        bench.restart(ending);
        assert_eq!(bench.queues(), []);
    }
    bench.enqueue(bench.job());
    assert!(bench.lease().is_some());
}
