//! A few lives of jobs in the model, as stories.

use std::thread;

use posthaste_core::command::{Command, Commit, Reply};
use posthaste_core::ids::{JobId, KindName, QueueName, WorkerName};
use posthaste_core::job::{JobState, NewJob, Outcome, Payload};
use posthaste_core::port::{LeaseAsk, Leased, Store};
use posthaste_core::time::WallMs;
use posthaste_testkit::block_on;
use posthaste_testkit::model::ModelStore;

fn store() -> ModelStore {
    ModelStore::at(WallMs(1_700_000_000_000))
}

fn job(number: u8) -> NewJob {
    let id = JobId::new(1_700_000_000_000, [number; 10]);
    let queue = QueueName::new("mail").expect("a name");
    let kind = KindName::new("welcome").expect("a name");
    NewJob::new(id, queue, kind, Payload::json("{}"))
}

fn ask(wait_ms: u32) -> LeaseAsk {
    LeaseAsk {
        queues: vec![(QueueName::new("mail").expect("a name"), 1)],
        strict: false,
        kinds: Vec::new(),
        max: 10,
        lease_ms: 1_000,
        wait_ms,
        worker: WorkerName::new("w").expect("a name"),
        local: false,
    }
}

fn commit(store: &ModelStore, command: Command) -> Reply {
    let answers = block_on(store.commit(vec![Commit::one(command)])).expect("open");
    answers[0].as_ref().expect("accepted").replies[0].clone()
}

fn lease(store: &ModelStore, wait_ms: u32) -> Vec<Leased> {
    block_on(store.lease(ask(wait_ms))).expect("a lease")
}

#[test]
fn a_job_is_enqueued_leased_and_settled_once() {
    let store = store();
    commit(&store, Command::Enqueue(Box::new(job(1))));
    let leased = lease(&store, 0);
    assert_eq!(leased.len(), 1);
    let settle = Command::Settle {
        id: leased[0].id,
        token: leased[0].token,
        outcome: Outcome::Completed { result: None },
    };
    let settled = |repeated| Reply::Settled {
        state: JobState::Completed,
        repeated,
    };
    assert_eq!(commit(&store, settle.clone()), settled(false));
    assert_eq!(commit(&store, settle), settled(true));
    assert!(lease(&store, 0).is_empty());
}

#[test]
fn a_wait_ends_with_the_job_or_with_the_clock() {
    let store = store();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| lease(&store, 60_000));
        commit(&store, Command::Enqueue(Box::new(job(1))));
        assert_eq!(waiter.join().expect("no panic").len(), 1);
    });
    let mut waiting = store.lease(ask(500));
    assert!(posthaste_testkit::poll_once(waiting.as_mut()).is_none());
    store.advance(500);
    assert_eq!(block_on(waiting).expect("a lease"), Vec::new());
}

#[test]
fn a_lapsed_job_is_handed_out_again_under_a_higher_token() {
    let store = store();
    commit(&store, Command::Enqueue(Box::new(job(1))));
    let first = lease(&store, 0)[0].token;
    store.advance(999);
    assert!(lease(&store, 0).is_empty());
    store.advance(1);
    assert!(lease(&store, 0)[0].token > first);
}
