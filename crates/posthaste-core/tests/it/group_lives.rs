//! Random lives of groups: what must hold after every step, whatever was asked.

use std::cell::RefCell;
use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, Strategy, any, proptest};
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use crate::group_world::GroupWorld;
use crate::world::{Program, Step};

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

/// What the random runs must have come past.
const REACHED: &str = "
    action SetGroup, action DeleteGroup, action SettleEvents, action MemberBeat,
    action MemberLeave, action ResetGroup, action Unpark, action Redrive, action KeepEvent,
    action LoseEvent, action CopyKept, action DeleteTopic,
    answer Configured, answer Deleted, answer EventsSettled, answer Extended, answer Left,
    answer EventsMoved, answer Noted, answer Repeated, settled before, some are left,
    fact GroupSet, fact GroupDeleted, fact MemberJoined, fact MemberLeft, fact EventHeld,
    fact EventLeased, fact EventsFinished, fact EventRetried, fact EventEnding, fact EventKept,
    fact KeptReleased, fact KeptSkipped, fact KeptRedriven, fact KeptForgotten, fact KeptCopied,
    fact GroupReset, fact HeadMoved, fact TopicDeleted, fact TokensPassed,
    how Done, how Skipped, how Lost, why Failed, why Exhausted, why Poison, why Behind,
    a range of events, a silent member, a member that left, a feed that failed, lost to retention,
    paused by a person, paused for the parked, given back, a run of a key, a second attempt,
    a copy handed out, everything was handled,
    nothing to held, nothing to leased, nothing to parking,
    held to leased, held to parking, held to dying, held to nothing, held to held,
    leased to held, leased to retrying, leased to parking, leased to dying, leased to nothing,
    leased to leased,
    retrying to leased, retrying to nothing,
    parking to parked, parking to held, parking to nothing,
    dying to dead, dying to nothing,
    parked to held, parked to nothing, dead to held, dead to nothing,
    refusal NoSuchGroup, refusal GroupsFull, refusal MembersFull, refusal MemberGone,
    refusal NotLeased, refusal OutOfOrder, refusal GroupBusy, refusal PastEnd,
    refusal NoSuchEvent, refusal NoSuchTopic";

#[test]
fn random_lives_of_groups_keep_every_promise_and_come_past_everything() {
    let seen = RefCell::new(BTreeSet::new());
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config(150), rng);
    let run = runner.run(&programs(300), |program| {
        let mut world = GroupWorld::new();
        world.run(&program);
        seen.borrow_mut().append(&mut world.seen);
        Ok(())
    });
    run.expect("every promise holds");
    let seen = seen.into_inner();
    let reached = REACHED.split(',').map(|word| word.trim().to_owned());
    let missed: Vec<_> = reached.filter(|word| !seen.contains(word)).collect();
    assert!(missed.is_empty(), "never reached: {missed:#?}");
}

proptest! {
    #![proptest_config(config(60))]

    /// Another seed each time; a failure prints the program.
    #[test]
    fn other_lives_of_groups_keep_every_promise(program in programs(200)) {
        GroupWorld::new().run(&program);
    }
}
