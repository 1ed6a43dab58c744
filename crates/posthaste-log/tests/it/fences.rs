//! Leases and power cuts: what a worker still holds in its hand means nothing to the store after
//! the power went, and no other is given the same.

use posthaste_core::port::LeaseAsk;
use posthaste_core::{Command, Commit, ErrorKind, Outcome, Store, Token};
use posthaste_testkit::block_on;
use posthaste_testkit::disk::FaultDisk;

use crate::bench::{ask, clock, open};
use crate::life::{enqueue, job};

/// A lease may be seen before its own sync, so that a power cut takes it; its token is not given
/// out a second time.
#[test]
fn a_token_that_a_power_cut_took_is_not_given_to_another() {
    let (mut disk, clock) = (FaultDisk::new(), clock());
    let mut store = open(&disk, &clock).expect("it opens");
    enqueue(&store, 0..1);
    let mut handed: Vec<Token> = Vec::new();
    for life in 0..4 {
        let ask = LeaseAsk {
            local: false,
            ..ask(1)
        };
        let leased = block_on(store.lease(ask)).expect("it leases");
        let tokens = leased.iter().map(|job| job.token);
        handed.extend(tokens);
        let after = disk.crash(life);
        drop(store);
        store = open(&after, &clock).expect("it opens");
        clock.advance(60_000);
        disk = after;
    }
    assert!(handed.len() > 2, "{handed:?}");
    assert!(
        handed.is_sorted_by(|earlier, later| earlier < later),
        "{handed:?}"
    );
    // Whoever holds the first is fenced off, whoever holds the job now.
    let now = block_on(store.lease(ask(1))).expect("it leases");
    assert_eq!(now.len(), 1);
    let settle = Command::Settle {
        id: job(0).id,
        token: handed[0],
        outcome: Outcome::Completed { result: None },
    };
    let mut told = block_on(store.commit(vec![Commit::one(settle)])).expect("it answers");
    let refused = told.remove(0).expect_err("a stale token");
    assert_eq!(refused.kind(), ErrorKind::Stale);
}

#[test]
fn tokens_go_on_where_they_were_after_a_close_in_order() {
    let (disk, clock) = (FaultDisk::new(), clock());
    for life in 0..3_u64 {
        let store = open(&disk, &clock).expect("it opens");
        enqueue(&store, life..life + 1);
        let leased = block_on(store.lease(ask(10))).expect("it leases");
        let newest = leased.iter().map(|job| job.token.0).max();
        assert!(newest.is_some_and(|token| token < 100), "{newest:?}");
        block_on(store.close()).expect("it closes");
    }
}
