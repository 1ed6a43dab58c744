use posthaste_core::machine::Slot;
use posthaste_core::{JobId, Result};

use super::*;

type Answer<T> = oneshot::Receiver<Result<T>>;

fn ask(queues: &[&str], kinds: &[&str], wait_ms: u32) -> LeaseAsk {
    let name = |name: &&str| (name.parse().expect("a name"), 1);
    LeaseAsk {
        queues: queues.iter().map(name).collect(),
        strict: false,
        kinds: kinds
            .iter()
            .map(|kind| kind.parse().expect("a name"))
            .collect(),
        max: 1,
        lease_ms: 30_000,
        wait_ms,
        worker: "w".parse().expect("a name"),
        local: true,
    }
}

fn add(waiters: &mut Waiters, ask: LeaseAsk, now: u64) -> Answer<Delivery> {
    let (reply, answer) = oneshot::channel();
    waiters.add(ask, reply, MonoMs(now));
    answer
}

/// Whose turns come when `queue` has `jobs` jobs of `kind`: the workers' waits, in milliseconds.
fn turns(waiters: &mut Waiters, queue: &str, kind: &str, mut jobs: usize) -> Vec<u32> {
    let mut tried = Vec::new();
    waiters.offer(queue, |ask, reply| {
        tried.push(ask.wait_ms);
        let takes = ask.kinds.is_empty() || ask.kinds.iter().any(|it| it.as_str() == kind);
        if jobs == 0 || !takes {
            return Some(reply);
        }
        jobs -= 1;
        None
    });
    tried
}

fn is_empty(waiters: &Waiters) -> bool {
    let lists = waiters.queues.is_empty() && waiters.groups.is_empty();
    waiters.is_empty() && lists && waiters.ends.is_empty() && waiters.bytes == 0
}

#[test]
fn a_job_costs_no_more_where_thousands_wait() {
    let mut waiters = Waiters::default();
    let mail = |kinds: &[&str], number| ask(&["mail", "post"], kinds, number);
    let plain: Vec<_> = (1..=3_000)
        .map(|n| add(&mut waiters, mail(&[], n), 0))
        .collect();
    let known = (3_001..=6_000).map(|n| add(&mut waiters, mail(&["a", "b"], n), 0));
    let known: Vec<_> = known.collect();
    let other = add(&mut waiters, ask(&["other"], &[], 9), 0);
    assert_eq!(turns(&mut waiters, "nobody", "a", 1), [0; 0]);
    // Nothing there: one of each group is tried.
    assert_eq!(turns(&mut waiters, "mail", "a", 0), [1, 3_001]);
    // A job for everybody goes to who came first, a second to the next.
    assert_eq!(turns(&mut waiters, "mail", "c", 2), [1, 2, 3, 3_001]);
    assert_eq!(turns(&mut waiters, "post", "a", 1), [3, 4, 3_001]);
    assert_eq!(turns(&mut waiters, "mail", "b", 3_000).len(), 3_001);
    assert_eq!(waiters.waiting.len(), 2_998);
    assert_eq!(waiters.all().len(), 2_998);
    assert!(is_empty(&waiters));
    drop((plain, known, other));
}

#[test]
fn waits_end_in_their_order_and_leave_nothing_behind() {
    let mut waiters = Waiters::default();
    let asks = [300, 100, 200].map(|wait| ask(&["mail", "mail"], &["a"], wait));
    let answers = asks.map(|ask| add(&mut waiters, ask, 1_000));
    assert_eq!(waiters.next_end_ms(MonoMs(1_050)), Some(50));
    assert_eq!(waiters.over(MonoMs(1_099)).len(), 0);
    assert_eq!(waiters.over(MonoMs(1_200)).len(), 2);
    assert_eq!(waiters.next_end_ms(MonoMs(1_200)), Some(100));
    assert_eq!(turns(&mut waiters, "mail", "a", 1), [300]);
    assert!(is_empty(&waiters));
    drop(answers);
}

#[test]
fn names_that_wait_are_bounded_in_bytes() {
    let mut waiters = Waiters::default();
    let names: Vec<String> = (0..limits::LEASE_KINDS_MAX)
        .map(|n| format!("{n:0128}"))
        .collect();
    let kinds: Vec<&str> = names.iter().map(String::as_str).collect();
    let long = ask(&["mail"], &kinds, 60_000);
    let fit = limits::WAITING_LEASES_BYTES_MAX / bytes_of(&long);
    let answers: Vec<_> = (0..fit)
        .map(|_| add(&mut waiters, long.clone(), 0))
        .collect();
    assert!(answers.iter().all(|answer| answer.try_recv().is_err()));
    let answer = add(&mut waiters, long.clone(), 0).try_recv();
    let refused = answer.expect("an answer").expect_err("it is full");
    assert_eq!(refused.kind(), ErrorKind::Busy);
    drop(answers);
    let answer = add(&mut waiters, long, SWEEP_MS);
    assert!(answer.try_recv().is_err(), "those who hung up made room");
    assert_eq!(waiters.waiting.len(), 1);
}

#[test]
fn a_jobs_watchers_are_found_by_the_job_and_by_their_end() {
    let mut watchers = Watchers::default();
    let mut watch = |slot, now, until| {
        let (reply, answer) = oneshot::channel();
        let id = JobId::new(1, [1; 10]);
        watchers.add((Slot(slot), id), (MonoMs(now), MonoMs(until)), reply);
        answer
    };
    let answers = [
        watch(1, 0, 50),
        watch(2, 0, 40),
        watch(1, 0, 60),
        watch(3, 0, 70),
    ];
    assert_eq!(watchers.next_end_ms(MonoMs(10)), Some(30));
    let over: Vec<Slot> = watchers
        .over(MonoMs(50))
        .into_iter()
        .map(|it| it.0)
        .collect();
    assert_eq!(over, [Slot(2), Slot(1)]);
    assert_eq!(watchers.ended(Slot(1)).len(), 1);
    assert_eq!(watchers.ended(Slot(1)).len(), 0);
    assert_eq!(watchers.next_end_ms(MonoMs(50)), Some(20));
    assert_eq!(watchers.all().len(), 1);
    assert!(watchers.is_empty() && watchers.next_end_ms(MonoMs(0)).is_none());
    drop(answers);
}
