//! Which job is handed out, to whom, and how many.

use std::sync::Arc;

use posthaste_core::command::QueueSettings;
use posthaste_core::error::ErrorKind;
use posthaste_core::ids::Token;
use posthaste_core::job::{JobState, NewJob};
use posthaste_core::limits::PRIORITY_STEP_MS;
use posthaste_core::port::{LeaseAsk, Leased};

use super::Bench;
use super::words::{ask, done, kind, queue};
use crate::block_on;

fn ranks(leased: &[Leased]) -> Vec<u8> {
    leased.iter().map(|it| it.priority.get()).collect()
}

/// Among jobs of one age the highest priority comes first.
pub fn the_highest_priority_comes_first(bench: &Bench<'_>) {
    for rank in [3, 9, 1, 5] {
        bench.enqueue(bench.ranked(rank));
    }
    let mut order = Vec::new();
    while let Some(leased) = bench.lease() {
        order.push(leased.priority.get());
    }
    assert_eq!(order, [9, 5, 3, 1]);
}

/// Among jobs of one priority the one that has waited longest comes first.
pub fn the_oldest_comes_first(bench: &Bench<'_>) {
    let ids = [(); 3].map(|()| {
        bench.advance(10);
        bench.enqueue(bench.job())
    });
    let leased = bench.lease_as(ask("mail", 10));
    assert_eq!(leased.iter().map(|it| it.id).collect::<Vec<_>>(), ids);
}

/// A waiting job rises by a priority with each step of time, so the lowest is not starved.
pub fn a_waiting_job_rises_with_age(bench: &Bench<'_>) {
    bench.enqueue(bench.ranked(1));
    bench.advance(7 * PRIORITY_STEP_MS);
    bench.enqueue(bench.ranked(9));
    let first = bench.must_lease();
    assert_eq!(first.priority.get(), 9, "seven steps are too few");
    bench.settle_to(&first, done(), JobState::Completed);
    bench.advance(2 * PRIORITY_STEP_MS);
    bench.enqueue(bench.ranked(9));
    let second = bench.must_lease();
    assert_eq!(second.priority.get(), 1, "nine are enough");
}

/// In a strict queue age counts for nothing.
pub fn a_strict_queue_does_not_age(bench: &Bench<'_>) {
    let settings = QueueSettings {
        strict: Some(true),
        ..QueueSettings::default()
    };
    bench.configure("mail", settings);
    bench.enqueue(bench.ranked(1));
    bench.advance(100 * PRIORITY_STEP_MS);
    bench.enqueue(bench.ranked(2));
    assert_eq!(ranks(&bench.lease_as(ask("mail", 2))), [2, 1]);
}

/// A changed step holds at once, for the jobs that wait already too.
pub fn the_step_of_aging_can_be_changed(bench: &Bench<'_>) {
    bench.enqueue(bench.ranked(1));
    bench.advance(9_000);
    bench.enqueue(bench.ranked(9));
    let settings = QueueSettings {
        priority_step_ms: Some(1_000),
        ..QueueSettings::default()
    };
    bench.configure("mail", settings);
    assert_eq!(bench.queue("mail").priority_step_ms, 1_000);
    assert_eq!(ranks(&bench.lease_as(ask("mail", 2))), [1, 9]);
}

fn in_queue(bench: &Bench<'_>, name: &str, count: u32) {
    for _ in 0..count {
        let queue = queue(name);
        bench.enqueue(NewJob {
            queue,
            ..bench.job()
        });
    }
}

/// An ask in strict order empties the first queue before it turns to the next, whatever waits
/// there.
pub fn queues_in_strict_order(bench: &Bench<'_>) {
    in_queue(bench, "second", 2);
    bench.advance(20 * PRIORITY_STEP_MS);
    in_queue(bench, "first", 2);
    let leased = bench.lease_as(LeaseAsk {
        queues: vec![(queue("first"), 1), (queue("second"), 9)],
        strict: true,
        ..ask("mail", 3)
    });
    let names: Vec<&str> = leased.iter().map(|it| it.queue.as_str()).collect();
    assert_eq!(names, ["first", "first", "second"]);
}

/// Queues by weight all get their turn, the heavier the more often.
pub fn queues_by_weight(bench: &Bench<'_>) {
    in_queue(bench, "light", 64);
    in_queue(bench, "heavy", 64);
    let weighted = LeaseAsk {
        queues: vec![(queue("light"), 1), (queue("heavy"), 15)],
        ..ask("mail", 1)
    };
    let mut heavy = 0;
    for _ in 0..48 {
        let leased = bench.lease_as(weighted.clone());
        heavy += usize::from(leased[0].queue.as_str() == "heavy");
    }
    assert!(heavy > 24, "{heavy} of 48 turns, with 15 of 16 parts");
    let rest = bench.lease_as(LeaseAsk {
        max: 128,
        ..weighted
    });
    assert_eq!(rest.len(), 80, "no queue is left out");
}

/// A worker is never given a kind that it does not know.
pub fn only_known_kinds(bench: &Bench<'_>) {
    let of = |name: &str, rank: u8| NewJob {
        kind: kind(name),
        ..bench.ranked(rank)
    };
    for (name, rank) in [("other", 9), ("welcome", 1), ("third", 5)] {
        bench.enqueue(of(name, rank));
    }
    let known = |names: &[&str]| LeaseAsk {
        kinds: names.iter().map(|name| kind(name)).collect(),
        ..ask("mail", 10)
    };
    assert!(bench.lease_as(known(&["nobody"])).is_empty());
    assert_eq!(ranks(&bench.lease_as(known(&["welcome", "third"]))), [5, 1]);
    assert_eq!(ranks(&bench.lease_as(known(&[]))), [9]);
}

/// A queue that nobody knows is empty, and an ask out of bounds is refused.
pub fn bad_asks(bench: &Bench<'_>) {
    assert!(bench.lease_as(ask("nowhere", 1)).is_empty());
    let none = ask("mail", 0);
    let short = LeaseAsk {
        lease_ms: 10,
        ..ask("mail", 1)
    };
    for bad in [none, short] {
        let error = block_on(bench.store().lease(bad)).expect_err("out of bounds");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
}

/// No more jobs of a queue run at once than it allows, over all asks; an ending makes room.
pub fn concurrency_is_exact(bench: &Bench<'_>) {
    let limit = |most| QueueSettings {
        concurrency: Some(most),
        ..QueueSettings::default()
    };
    bench.configure("mail", limit(3));
    in_queue(bench, "mail", 8);
    let mut leased = bench.lease_as(ask("mail", 2));
    leased.extend(bench.lease_as(ask("mail", 10)));
    assert_eq!(leased.len(), 3);
    bench.check_nothing_ready();
    bench.settle_to(&leased[0], done(), JobState::Completed);
    assert_eq!(bench.lease_as(ask("mail", 10)).len(), 1);
    bench.configure("mail", limit(0));
    assert_eq!(bench.lease_as(ask("mail", 10)).len(), 4);
    assert_eq!(bench.queue("mail").held[JobState::Running as usize], 7);
}

/// A lease that lapses makes room too.
pub fn a_lapse_makes_room(bench: &Bench<'_>) {
    let settings = QueueSettings {
        concurrency: Some(1),
        ..QueueSettings::default()
    };
    bench.configure("mail", settings);
    in_queue(bench, "mail", 2);
    let first = bench.must_lease();
    bench.check_nothing_ready();
    bench.advance(u64::from(first.lease_ms) + 1);
    assert_eq!(bench.lease_as(ask("mail", 2)).len(), 1);
}

/// A paused queue takes jobs in and hands none out, until it goes on.
pub fn a_paused_queue_hands_nothing_out(bench: &Bench<'_>) {
    let paused = |paused| QueueSettings {
        paused: Some(paused),
        ..QueueSettings::default()
    };
    bench.enqueue(bench.job());
    bench.configure("mail", paused(true));
    bench.enqueue(bench.job());
    bench.check_nothing_ready();
    assert!(bench.queue("mail").paused);
    bench.configure("mail", paused(false));
    assert_eq!(bench.lease_as(ask("mail", 10)).len(), 2);
}

/// What runs when its queue is paused goes on.
pub fn a_pause_does_not_touch_what_runs(bench: &Bench<'_>) {
    bench.enqueue(bench.job());
    let leased = bench.must_lease();
    let settings = QueueSettings {
        paused: Some(true),
        ..QueueSettings::default()
    };
    bench.configure("mail", settings);
    bench.settle_to(&leased, done(), JobState::Completed);
}

/// Every token is higher than all before it, and a job has one holder.
pub fn tokens_only_rise(bench: &Bench<'_>) {
    in_queue(bench, "mail", 20);
    let mut last = Token(0);
    let mut held = Vec::new();
    while let Some(leased) = bench.lease() {
        assert!(leased.token > last, "{} after {last}", leased.token);
        last = leased.token;
        held.push(leased.id);
    }
    held.sort();
    held.dedup();
    assert_eq!(held.len(), 20, "each was handed out once");
    let view = bench.view(held[0]);
    assert_eq!(view.worker.as_ref().map(AsRef::as_ref), Some("worker-1"));
    assert_eq!((view.state, view.attempt), (JobState::Running, 1));
}

/// An error says what became of the job; the lease's data does not mix jobs up.
pub fn payloads_belong_to_their_jobs(bench: &Bench<'_>) {
    let mut sent = Vec::new();
    for number in 0..50 {
        let text = format!("{{\"n\":{number}}}");
        let payload = posthaste_core::Payload::json(text.clone());
        let metadata = vec![(Arc::from("n"), Arc::from(text.as_str()))];
        let job = NewJob {
            payload,
            metadata,
            ..bench.job()
        };
        sent.push((bench.enqueue(job), text));
    }
    let mut got: Vec<_> = bench
        .lease_as(ask("mail", 50))
        .into_iter()
        .map(|it| {
            (
                it.id,
                String::from_utf8_lossy(&it.payload.bytes).into_owned(),
            )
        })
        .collect();
    got.sort();
    sent.sort();
    assert_eq!(got, sent);
}
