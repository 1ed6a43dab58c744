//! A broken invariant stops the store, and leaves nobody waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use posthaste_core::port::LeaseAsk;
use posthaste_core::{Command, Commit, ErrorKind, Now, Store};
use posthaste_log::clock::Moved;
use posthaste_log::{Clock, Log, ManualClock};
use posthaste_testkit::disk::FaultDisk;
use posthaste_testkit::{block_on, poll_once};

use crate::bench::{ask, clock, open, options};
use crate::life::{enqueue, job};

/// A clock that panics when the sequencer has read it so many times: the stand-in for any defect
/// in what that thread does.
#[derive(Clone, Debug)]
struct Fuse {
    clock: ManualClock,
    left: Arc<AtomicU64>,
}

impl Clock for Fuse {
    fn now(&self) -> Now {
        let sequencer = std::thread::current().name() == Some("posthaste-sequencer");
        if sequencer && self.left.load(Ordering::SeqCst) < u64::MAX {
            let left = self.left.fetch_sub(1, Ordering::SeqCst);
            assert!(left > 0, "an invariant that a test breaks");
        }
        self.clock.now()
    }

    fn on_moved(&self, moved: Moved) {
        self.clock.on_moved(moved);
    }
}

/// Commits, waits and questions are under way when it breaks, at one point after the other. Every
/// one of them is answered, the store closes, and the next one opens.
#[test]
fn who_waits_for_a_store_that_breaks_is_told() {
    let mut broke = 0;
    for reads in 0..30 {
        let (disk, clock) = (FaultDisk::new(), clock());
        let fuse = Fuse {
            clock: clock.clone(),
            left: Arc::new(AtomicU64::new(u64::MAX)),
        };
        let mut options = options(&disk, &clock);
        options.clock = Arc::new(fuse.clone());
        let store = Log::open(options).expect("it opens");
        enqueue(&store, 0..3);
        let waiting = LeaseAsk {
            queues: vec![("other".parse().expect("a queue"), 1)],
            wait_ms: 60_000,
            ..ask(1)
        };
        let mut waiting = store.lease(waiting);
        assert!(poll_once(waiting.as_mut()).is_none());
        fuse.left.store(reads, Ordering::SeqCst);
        let commit = Commit::one(Command::Enqueue(Box::new(job(7))));
        let committed = block_on(store.commit(vec![commit]));
        let looked = block_on(store.job(job(1).id));
        let leased = block_on(store.lease(ask(1)));
        fuse.left.store(0, Ordering::SeqCst);
        let health = block_on(store.health());
        let kinds = [
            committed.as_ref().err(),
            looked.as_ref().err(),
            leased.as_ref().err(),
            health.as_ref().err(),
        ]
        .map(|error| error.map(posthaste_core::Error::kind));
        broke += usize::from(kinds.iter().any(Option::is_some));
        let known = [None, Some(ErrorKind::Uncertain), Some(ErrorKind::Closed)];
        assert!(kinds.iter().all(|kind| known.contains(kind)), "{kinds:?}");
        assert!(block_on(waiting).is_err(), "nobody serves it any more");
        let _told = block_on(store.close());
        drop(store);
        let store = open(&disk, &clock).expect("the next one opens");
        let there = block_on(store.job(job(7).id)).expect("it answers");
        assert!(there.is_some() || committed.is_err(), "it was acknowledged");
    }
    assert!(broke > 5, "it broke {broke} times");
}

/// Whoever closes and does not wait for it leaves it to the next who does.
#[test]
fn a_store_is_closed_although_the_first_who_asked_went_away() {
    let (disk, clock) = (FaultDisk::new(), clock());
    let store = open(&disk, &clock).expect("it opens");
    enqueue(&store, 0..3);
    let mut gone = store.close();
    let _not_yet = poll_once(gone.as_mut());
    drop(gone);
    block_on(store.close()).expect("it closes");
    let again = open(&disk, &clock).expect("its directory is free");
    drop(again);
    drop(store);
}
