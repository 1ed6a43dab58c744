//! Faults planted in groups, each of which must be flagged.

use posthaste_torture::checker::Fault;
use posthaste_torture::history::{Answer, What};

use crate::topic_story::{LEASE_MS, Tale, at, cursor, flagged, flagged_too};

const OK: Answer<bool> = Answer::Ok(false);

/// Two events under one key, and one under another.
fn three(tale: &mut Tale) {
    tale.publish(1, "a");
    tale.publish(2, "a");
    tale.publish(3, "b");
}

fn all_done(tale: &mut Tale, token: u64, labels: &[u64]) {
    labels.iter().for_each(|label| tale.done(token, *label));
}

#[test]
fn the_position_passes_an_event_in_the_hands_of_a_member() {
    flagged(Fault::PositionPassed, |tale| {
        three(tale);
        tale.join(7, &[1, 2, 3]);
        tale.done(7, 3);
        tale.look(3);
        all_done(tale, 7, &[1, 2]);
    });
}

#[test]
fn the_position_passes_an_event_that_failed() {
    flagged(Fault::PositionPassed, |tale| {
        tale.publish(1, "a");
        tale.join(7, &[1]);
        tale.settle(7, 1, "retry", OK);
        tale.look(1);
        tale.more(7, &[1]);
        tale.done(7, 1);
    });
}

#[test]
fn the_position_lies_where_the_topic_has_no_place() {
    flagged(Fault::PositionPassed, |tale| {
        tale.publish(1, "a");
        tale.join(7, &[1]);
        tale.done(7, 1);
        tale.look(2);
    });
}

#[test]
fn the_position_moves_back_with_a_power_cut() {
    flagged(Fault::PositionBack, |tale| {
        three(tale);
        tale.join(7, &[1, 2, 3]);
        all_done(tale, 7, &[1, 2, 3]);
        tale.look(3);
        tale.story.restart(true);
        tale.look(1);
    });
}

#[test]
fn a_later_event_of_a_key_comes_while_one_waits_for_its_retry() {
    flagged(Fault::KeyOrder, |tale| {
        three(tale);
        tale.join(7, &[1]);
        tale.settle(7, 1, "retry", OK);
        tale.more(7, &[2]);
        tale.more(7, &[1]);
        all_done(tale, 7, &[1, 2]);
        tale.more(7, &[3]);
        tale.done(7, 3);
    });
}

#[test]
fn a_key_goes_on_when_its_member_is_lost() {
    flagged(Fault::KeyOrder, |tale| {
        three(tale);
        tale.join(7, &[1]);
        tale.story.wait(LEASE_MS);
        tale.join(8, &[2]);
        tale.more(8, &[1]);
        all_done(tale, 8, &[1, 2]);
        tale.more(8, &[3]);
        tale.done(8, 3);
    });
}

#[test]
fn a_key_goes_on_after_a_power_cut_before_its_first_event() {
    flagged(Fault::KeyOrder, |tale| {
        three(tale);
        tale.join(7, &[1]);
        tale.story.restart(true);
        tale.join(8, &[2, 3]);
        all_done(tale, 8, &[2, 3]);
        tale.more(8, &[1]);
        tale.done(8, 1);
    });
}

#[test]
fn a_key_goes_on_behind_a_parked_event() {
    flagged(Fault::KeyOrder, |tale| {
        three(tale);
        tale.join(7, &[1]);
        tale.settle(7, 1, "park", OK);
        tale.more(7, &[2, 3]);
        all_done(tale, 7, &[2, 3]);
        tale.release();
        tale.more(7, &[1]);
        tale.done(7, 1);
    });
}

#[test]
fn a_run_comes_in_the_wrong_order() {
    flagged(Fault::KeyOrder, |tale| {
        three(tale);
        tale.join(7, &[2, 1, 3]);
        all_done(tale, 7, &[1, 2, 3]);
    });
}

#[test]
fn two_members_hold_one_key() {
    flagged(Fault::KeyShared, |tale| {
        three(tale);
        tale.join(7, &[1]);
        tale.join(8, &[2, 3]);
        tale.done(7, 1);
        all_done(tale, 8, &[2, 3]);
    });
}

#[test]
fn two_members_hold_one_event() {
    flagged(Fault::KeyShared, |tale| {
        tale.publish(1, "a");
        tale.join(7, &[1]);
        tale.join(8, &[1]);
        tale.done(8, 1);
    });
}

#[test]
fn a_membership_that_a_kill_forgot() {
    flagged(Fault::KeyShared, |tale| {
        tale.publish(1, "a");
        tale.join(7, &[1]);
        tale.story.restart(false);
        tale.join(8, &[1]);
        tale.done(8, 1);
    });
}

#[test]
fn a_beat_is_not_heard() {
    flagged(Fault::KeyShared, |tale| {
        tale.publish(1, "a");
        tale.join(7, &[1]);
        tale.story.wait(LEASE_MS - 100);
        tale.beat(7);
        tale.story.wait(200);
        tale.join(8, &[1]);
        tale.done(8, 1);
    });
}

#[test]
fn an_event_comes_again_after_it_was_settled() {
    for outcome in ["done", "skip", "dead", "park"] {
        flagged_too(Fault::EventAgain, |tale| {
            tale.publish(1, "a");
            tale.join(7, &[1]);
            tale.settle(7, 1, outcome, OK);
            tale.story.restart(true);
            tale.join(8, &[1]);
            tale.done(8, 1);
        });
    }
}

#[test]
fn a_member_that_was_lost_settles() {
    flagged_too(Fault::StaleEventSettle, |tale| {
        tale.publish(1, "a");
        tale.join(7, &[1]);
        tale.story.wait(LEASE_MS);
        tale.join(8, &[1]);
        tale.done(7, 1);
        tale.settle(8, 1, "done", Answer::Fail);
    });
}

#[test]
fn a_member_settles_long_after_its_membership() {
    flagged(Fault::StaleEventSettle, |tale| {
        tale.publish(1, "a");
        tale.join(7, &[1]);
        tale.story.wait(LEASE_MS + 1_100);
        tale.done(7, 1);
    });
}

#[test]
fn a_member_settles_after_it_left() {
    flagged(Fault::StaleEventSettle, |tale| {
        tale.publish(1, "a");
        tale.join(7, &[1]);
        tale.leave(7);
        tale.done(7, 1);
    });
}

#[test]
fn a_membership_that_nobody_was_given_settles() {
    flagged(Fault::StaleEventSettle, |tale| {
        tale.publish(1, "a");
        tale.join(7, &[1]);
        tale.done(8, 1);
    });
}

#[test]
fn a_member_is_called_stale_that_is_not() {
    flagged(Fault::OwnEventRefused, |tale| {
        tale.publish(1, "a");
        tale.join(7, &[1]);
        tale.story.restart(false);
        tale.settle(7, 1, "done", Answer::Fail);
        tale.story.wait(LEASE_MS);
        tale.done(7, 1);
        tale.end.done = 1;
    });
}

#[test]
fn a_settle_happens_without_the_job_of_its_commit() {
    flagged_too(Fault::Torn, |tale| {
        tale.publish(1, "a");
        tale.join(7, &[1]);
        tale.settle_with(7, 1, "done", (vec![50], Vec::new()), OK);
        tale.end.done = 1;
    });
}

#[test]
fn an_uncertain_settle_happened_without_the_event_of_its_commit() {
    flagged(Fault::Torn, |tale| {
        tale.publish(1, "a");
        tale.join(7, &[1]);
        tale.settle_with(7, 1, "done", (Vec::new(), vec![50]), Answer::Unknown);
        tale.story.restart(true);
        tale.end.done = 1;
    });
}

#[test]
fn the_event_of_a_commit_is_there_and_its_settle_did_not_happen() {
    flagged(Fault::Torn, |tale| {
        tale.publish(1, "a");
        tale.join(7, &[1]);
        tale.settle_with(7, 1, "done", (Vec::new(), vec![2]), Answer::Unknown);
        tale.publish_as(2, "b", Vec::new(), Answer::Unknown);
        tale.append(2, "b");
        tale.read(tale.events(&[1, 2]), false);
        tale.story.restart(true);
        tale.story.wait(LEASE_MS);
        tale.join(8, &[1, 2]);
        all_done(tale, 8, &[1, 2]);
    });
}

#[test]
fn of_a_job_and_an_event_in_one_commit_one_is_there() {
    flagged(Fault::Torn, |tale| {
        tale.publish_as(1, "a", vec![50], Answer::Unknown);
        tale.append(1, "a");
        tale.story.enqueue_as(&[50], None, 0, Answer::Unknown);
        tale.join(7, &[1]);
        tale.done(7, 1);
    });
}

#[test]
fn a_group_is_through_and_an_event_was_handed_to_nobody() {
    flagged_too(Fault::EventUnhandled, |tale| {
        three(tale);
        tale.join(7, &[1, 3]);
        all_done(tale, 7, &[1, 3]);
        tale.end.done = 3;
    });
}

#[test]
fn a_parked_event_is_gone() {
    flagged_too(Fault::EventUnhandled, |tale| {
        tale.publish(1, "a");
        tale.join(7, &[1]);
        tale.settle(7, 1, "park", OK);
        tale.story.restart(true);
    });
}

#[test]
fn a_dead_letter_is_gone() {
    flagged_too(Fault::KeptLost, |tale| {
        tale.publish(1, "a");
        tale.join(7, &[1]);
        tale.settle(7, 1, "dead", OK);
        tale.story.restart(true);
    });
}

#[test]
fn a_group_counts_what_it_did_not_do() {
    flagged(Fault::GroupTotals, |tale| {
        three(tale);
        tale.join(7, &[1, 2, 3]);
        all_done(tale, 7, &[1, 2, 3]);
        tale.end.done += 1;
    });
    flagged(Fault::GroupTotals, |tale| {
        three(tale);
        tale.join(7, &[1, 2, 3]);
        all_done(tale, 7, &[1, 2, 3]);
        (tale.end.done, tale.end.skipped) = (2, 1);
    });
}

#[test]
fn a_group_is_not_through() {
    flagged(Fault::GroupNotDrained, |tale| {
        tale.publish(1, "a");
        tale.join(7, &[1]);
        tale.done(7, 1);
        tale.end.position = cursor(0);
    });
}

#[test]
fn a_published_event_is_torn_from_its_acknowledged_job() {
    flagged_too(Fault::Lost, |tale| {
        let event = tale.append(1, "a");
        tale.publish_as(1, "a", vec![50], Answer::Ok(vec![at(&event)]));
        let ids = Answer::Ok(vec![String::from("id-50")]);
        tale.story.say(What::Enqueue {
            labels: vec![50],
            key: None,
            delay_ms: 0,
            answer: ids,
        });
        tale.join(7, &[1]);
        tale.done(7, 1);
    });
}
