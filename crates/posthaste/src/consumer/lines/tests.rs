//! Lines without a runtime: what a slot gets next, and which events are strays.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use posthaste_core::group::LeasedEvent;
use posthaste_core::{Event, GroupName, Position, Token, TopicName, WallMs};

use super::*;
use crate::Posthaste;
use crate::consumer::held::{Batch, Membership, Shared};

struct Bench {
    lines: Lines,
    shared: Arc<Shared>,
    member: Arc<Membership>,
}

impl Bench {
    fn new(slots: usize) -> Self {
        let options = posthaste_log::Options::new(posthaste_log::Location::Memory);
        let log = posthaste_log::Log::open(options).expect("a store");
        let hub = Posthaste::with_store(Arc::new(log)).expect("a hub");
        let topic = TopicName::new("orders").expect("a name");
        let group = GroupName::new("billing").expect("a name");
        Self {
            lines: Lines::new(slots, 2),
            shared: Arc::new(Shared::new(hub, topic, group, None)),
            member: Arc::new(Membership::new(Token(1), 30_000, Instant::now(), 0)),
        }
    }

    /// An ask that brings these: keys and positions. Tells how many are strays.
    fn ask(&self, events: &[(&str, u64)]) -> usize {
        let ask = self.lines.asking();
        self.bring(ask, events)
    }

    fn bring(&self, ask: u64, events: &[(&str, u64)]) -> usize {
        let leased = events.iter().map(|(key, sequence)| LeasedEvent {
            event: Event {
                position: Position {
                    epoch: 1,
                    topic: 1,
                    sequence: *sequence,
                },
                partition: 0,
                offset: *sequence,
                at: WallMs(0),
                id: "id".into(),
                event_type: "placed".into(),
                source: "shop".into(),
                key: Some((*key).into()),
                headers: Vec::new(),
                payload: None,
            },
            attempt: 1,
            max_attempts: 25,
            crashes: 0,
        });
        let batch = Batch::new(&self.shared, &self.member, leased.collect());
        self.lines.put(batch.held(), ask, 0)
    }

    fn next(&self) -> Option<Run> {
        let context = Context::from_waker(Waker::noop());
        match self.lines.poll_next(0, &context) {
            Poll::Ready(run) => run,
            Poll::Pending => None,
        }
    }

    /// The positions of the next line, which is then through.
    fn through(&self) -> Option<Vec<u64>> {
        let mut run = self.next()?;
        let positions = run.events.drain(..).map(|held| held.at()).collect();
        self.leave(run, Left::InTurn);
        Some(positions)
    }

    fn leave(&self, run: Run, left: Left) -> Rest {
        self.lines.leave(run, left, 1, 0)
    }

    /// The first event of the next line fails.
    fn fail(&self) -> Held {
        let mut run = self.next().expect("a line");
        let held = run.events.pop_front().expect("an event");
        self.leave(run, Left::Blocked(held.clone()));
        held
    }

    fn strays(&self) -> Vec<u64> {
        let strays = self.lines.take_strays();
        strays.iter().map(Held::at).collect()
    }
}

#[test]
fn a_line_is_with_one_slot_and_keys_take_turns() {
    let bench = Bench::new(4);
    bench.ask(&[("a", 0), ("b", 1), ("a", 2)]);
    let mut run = bench.next().expect("a line");
    let first = run.events.pop_front().expect("an event");
    assert_eq!((first.at(), run.events.len()), (0, 1));
    bench.ask(&[("a", 3)]);
    assert_eq!(bench.through(), Some(vec![1]), "the other key");
    assert!(bench.next().is_none(), "the key is with a slot");
    assert!(matches!(bench.leave(run, Left::InTurn), Rest::Waits));
    assert_eq!(bench.through(), Some(vec![2, 3]));
}

#[test]
fn a_line_that_waits_for_the_store_goes_on_when_that_has_answered() {
    let bench = Bench::new(4);
    bench.ask(&[("a", 0), ("a", 1)]);
    let mut run = bench.next().expect("a line");
    let held = run.events.pop_front().expect("an event");
    bench.leave(run, Left::Settling);
    bench.ask(&[("a", 2)]);
    assert!(bench.next().is_none());
    bench.lines.settled(held.hash(), 0);
    assert_eq!(bench.through(), Some(vec![1, 2]));
}

#[test]
fn what_arrives_behind_an_event_that_comes_again_is_a_stray() {
    let bench = Bench::new(4);
    bench.ask(&[("a", 0), ("a", 1)]);
    let held = bench.fail();
    assert_eq!(bench.ask(&[("a", 2), ("b", 3)]), 1);
    assert!(bench.strays().is_empty(), "the store has not answered");
    let outstanding = bench.lines.asking();
    bench.lines.answered(&held);
    assert_eq!(bench.strays(), [2]);
    assert_eq!(bench.bring(outstanding, &[("a", 4)]), 1);
    assert_eq!(bench.strays(), [4]);
    assert_eq!(bench.through(), Some(vec![3]), "the other key");
    // Asked after the answer: whoever has the event, this one is ours.
    assert_eq!(bench.ask(&[("a", 5)]), 0);
    assert_eq!(bench.through(), Some(vec![5]));
}

#[test]
fn an_event_that_has_come_again_makes_its_strays_stale() {
    let bench = Bench::new(4);
    bench.ask(&[("a", 0), ("a", 1)]);
    let held = bench.fail();
    bench.ask(&[("a", 2)]);
    let outstanding = bench.lines.asking();
    bench.lines.answered(&held);
    assert_eq!(bench.bring(outstanding, &[("a", 0), ("a", 1), ("a", 2)]), 0);
    assert!(
        bench.strays().is_empty(),
        "giving it back would take it away"
    );
    assert_eq!(bench.through(), Some(vec![0, 1, 2]));
}

#[test]
fn a_block_ends_with_the_first_ask_after_the_answer() {
    let bench = Bench::new(4);
    bench.ask(&[("a", 0)]);
    let held = bench.fail();
    let outstanding = bench.lines.asking();
    bench.lines.answered(&held);
    bench.bring(outstanding, &[]);
    assert_eq!(lock(&bench.lines.all).lines.len(), 1);
    bench.ask(&[]);
    assert_eq!(
        lock(&bench.lines.all).lines.len(),
        0,
        "nothing is kept of it"
    );
}

#[test]
fn slots_without_a_key_ask_for_more_however_much_waits_behind_busy_ones() {
    let bench = Bench::new(4);
    assert_eq!(bench.lines.wanted(), 4);
    let events: Vec<_> = (0..64).map(|at| ("a", at)).collect();
    bench.ask(&events);
    assert_eq!(bench.lines.wanted(), 3, "one has a line");
    let run = bench.next().expect("a line");
    assert_eq!(bench.lines.wanted(), 3);
    bench.leave(run, Left::InTurn);
    bench.ask(&[("b", 64), ("c", 65), ("d", 66)]);
    assert_eq!(bench.lines.wanted(), 0, "each has a line");
}

#[test]
fn a_membership_that_is_lost_leaves_nothing_behind() {
    let bench = Bench::new(1);
    bench.ask(&[("a", 0), ("a", 1), ("b", 2)]);
    let held = bench.fail();
    bench.ask(&[("a", 3)]);
    bench.lines.answered(&held);
    assert_eq!(bench.lines.forget(), 1);
    assert!(bench.strays().is_empty() && bench.next().is_none());
    assert_eq!(bench.ask(&[("a", 0), ("a", 1)]), 0);
    assert_eq!(bench.through(), Some(vec![0, 1]));
}

#[test]
fn what_waits_for_long_and_what_is_left_at_the_end_is_given_back() {
    let bench = Bench::new(1);
    bench.ask(&[("a", 0), ("a", 1), ("b", 2), ("c", 3)]);
    assert!(bench.lines.overdue(0).is_empty(), "they came just now");
    let mut run = bench.next().expect("a line");
    run.events.pop_front();
    let overdue = bench.lines.overdue(1);
    let at = |lines: &[Vec<Held>]| -> Vec<Vec<u64>> {
        let lines = lines.iter();
        lines
            .map(|line| line.iter().map(Held::at).collect())
            .collect()
    };
    assert_eq!(at(&overdue), [[2], [3]]);
    bench.ask(&[("a", 4)]);
    assert_eq!(at(&bench.lines.close()), [[4]]);
    let Rest::Unstarted(rest) = bench.leave(run, Left::InTurn) else {
        panic!("it is not started any more");
    };
    assert_eq!(at(&[rest]), [[1]]);
    assert!(bench.next().is_none());
}
