//! Random lives of a machine: what must hold after every step, whatever was asked.

use std::cell::RefCell;
use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, Strategy, any, proptest};
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use crate::world::{Program, Step, World, every_refusal};

fn programs(steps: usize) -> impl Strategy<Value = Program> {
    vec(any::<Step>(), 1..steps).prop_map(Program)
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// What the random runs must have come past, apart from the refusals.
const REACHED: &str = "
    action Enqueue, action Settle, untaken lease, action Heartbeat, action Cancel, action Retry, action Delete,
    action Publish, action SetTopic, action DeleteTopic, later events,
    action Edit, action Configure, action Condemn, action Copied, action AnswerCopied,
    answer Enqueued, answer Kept, answer Settled, answer Extended, answer Changed, answer Deleted,
    answer Configured, answer Noted, answer Published, answer Seen, answer Repeated, repeated settle, told of a cancel, existing job,
    fact Enqueued, fact KeyTaken, fact Leased, fact Changed, fact CancelAsked, fact Edited,
    fact Copied, fact AnswerCopied, fact Unclaimed, fact Unreadable, fact Deleted,
    fact DeadlineLifted,
    fact KeysForgotten, fact SettlesForgotten, fact QueueSet,
    fact TokensPassed, fact TopicSet, fact TopicDeleted, fact Published, fact EventSeen,
    fact EventsForgotten,
    cause Due, cause Settled, cause Lapsed, cause Expired, cause Asked, cause Corrupt,
    to Available, to Scheduled, to Retryable, to Completed, to Cancelled,
    to Exhausted, to Failed, to Expired, to Poison, to Undecodable, to Corrupt,
    nothing to scheduled, nothing to available,
    scheduled to available, scheduled to scheduled, scheduled to cancelled, scheduled to dead,
    scheduled to nothing,
    available to running, available to available, available to scheduled, available to cancelled,
    available to dead, available to nothing,
    available to completed, available to retryable, settled after a lapse,
    running to completed, running to available, running to scheduled, running to retryable,
    running to dead, running to cancelled,
    retryable to available, retryable to scheduled, retryable to cancelled, retryable to dead,
    retryable to nothing,
    dead to available, dead to nothing, cancelled to available, cancelled to nothing,
    completed to nothing";

#[test]
fn random_lives_keep_every_promise_and_come_past_everything() {
    let seen = RefCell::new(BTreeSet::new());
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config(400), rng);
    let run = runner.run(&programs(400), |program| {
        let mut world = World::new();
        world.run(&program);
        seen.borrow_mut().append(&mut world.seen);
        Ok(())
    });
    run.expect("every promise holds");
    let seen = seen.into_inner();
    let reached = REACHED.split(',').map(|word| word.trim().to_owned());
    let missed: Vec<_> = reached
        .chain(every_refusal())
        .filter(|word| !seen.contains(word))
        .collect();
    assert!(missed.is_empty(), "never reached: {missed:#?}");
}

proptest! {
    #![proptest_config(config(100))]

    /// Another seed each time; a failure prints the program.
    #[test]
    fn other_lives_keep_every_promise(program in programs(250)) {
        World::new().run(&program);
    }
}
