//! Planted faults, each of which must be flagged.

use posthaste_torture::checker::Fault;
use posthaste_torture::history::{Answer, Delivery, What};

use crate::story::{flagged, ok, stale};

fn ids(ids: &[&str]) -> Answer<Vec<String>> {
    Answer::Ok(ids.iter().map(|id| (*id).to_owned()).collect())
}

#[test]
fn an_acknowledged_job_is_lost() {
    flagged(Fault::Lost, |story| story.enqueue(1));
}

#[test]
fn one_of_many_is_lost() {
    flagged(Fault::Lost, |story| {
        story.enqueue_as(&[1, 2], None, 0, ids(&["id-1", "id-2"]));
        story.counters.enqueued += 2;
        story.lease(1, 2);
        story.complete(1, 2);
    });
}

#[test]
fn a_job_is_lost_with_a_power_cut() {
    flagged(Fault::Lost, |story| {
        story.enqueue(1);
        story.restart(true);
        story.nothing_there();
    });
}

#[test]
fn a_worker_saw_a_job_that_was_not_durable() {
    flagged(Fault::Lost, |story| {
        story.enqueue_as(&[1], None, 0, Answer::Unknown);
        story.lease(1, 2);
        story.restart(true);
    });
}

#[test]
fn a_job_is_lost_after_it_was_released() {
    flagged(Fault::Lost, |story| {
        story.enqueue(1);
        story.lease(1, 2);
        story.settle(1, 2, "release", ok());
    });
}

#[test]
fn a_job_is_lost_after_it_failed() {
    flagged(Fault::Lost, |story| {
        story.enqueue(1);
        story.lease(1, 2);
        story.settle_until(1, 2, "retry", 10, ok());
    });
}

#[test]
fn a_job_is_lost_with_its_workers_death() {
    flagged(Fault::Lost, |story| {
        story.enqueue(1);
        story.lease(1, 2);
    });
}

#[test]
fn a_refused_settle_is_no_end() {
    flagged(Fault::Lost, |story| {
        story.enqueue(1);
        story.lease(1, 2);
        story.wait(1_000);
        story.settle(1, 2, "completed", stale());
    });
}

#[test]
fn a_job_that_nobody_enqueued() {
    flagged(Fault::Phantom, |story| {
        story.lease(1, 2);
        story.complete(1, 2);
    });
}

#[test]
fn a_job_whose_enqueue_was_refused() {
    flagged(Fault::RefusedDelivered, |story| {
        story.enqueue_as(&[1], None, 0, Answer::Fail);
        story.lease(1, 2);
        story.complete(1, 2);
    });
}

#[test]
fn a_completed_job_comes_again() {
    flagged(Fault::Duplicate, |story| {
        story.life(1, 2);
        story.lease(1, 3);
    });
}

#[test]
fn a_completed_job_comes_again_after_a_restart() {
    flagged(Fault::Duplicate, |story| {
        story.life(1, 2);
        story.restart(true);
        story.lease(1, 3);
        story.settle(1, 3, "completed", Answer::Unknown);
    });
}

#[test]
fn a_completed_job_comes_again_to_somebody_who_had_asked_before() {
    flagged(Fault::Duplicate, |story| {
        story.life(1, 2);
        story.lease(1, 3);
        story.began_earlier(4);
    });
}

#[test]
fn a_completed_job_comes_again_under_its_old_token() {
    flagged(Fault::Duplicate, |story| {
        story.life(1, 2);
        story.lease(1, 2);
    });
}

#[test]
fn a_dead_job_comes_again() {
    flagged(Fault::Duplicate, |story| {
        story.enqueue(1);
        story.lease(1, 2);
        story.settle(1, 2, "dead", ok());
        story.lease(1, 3);
    });
}

#[test]
fn a_cancelled_job_comes_again() {
    flagged(Fault::Duplicate, |story| {
        story.enqueue(1);
        story.lease(1, 2);
        story.settle(1, 2, "cancel", ok());
        story.lease(1, 3);
    });
}

#[test]
fn a_job_ends_under_two_leases() {
    flagged(Fault::EndedTwice, |story| {
        story.enqueue(1);
        story.lease(1, 2);
        story.wait(1_000);
        story.lease(1, 3);
        story.settle(1, 2, "completed", ok());
        story.complete(1, 3);
    });
}

#[test]
fn a_lease_ends_in_two_ways() {
    flagged(Fault::EndedTwice, |story| {
        story.life(1, 2);
        story.settle(1, 2, "dead", ok());
    });
}

#[test]
fn two_leases_at_a_time() {
    flagged(Fault::Overlap, |story| {
        story.enqueue(1);
        story.lease(1, 2);
        story.lease(1, 3);
        story.complete(1, 3);
    });
}

#[test]
fn a_lease_that_ends_early() {
    flagged(Fault::Overlap, |story| {
        story.enqueue(1);
        story.lease(1, 2);
        story.wait(980);
        story.lease(1, 3);
        story.complete(1, 3);
    });
}

#[test]
fn a_lease_that_a_kill_forgot() {
    flagged(Fault::Overlap, |story| {
        story.enqueue(1);
        story.lease(1, 2);
        story.restart(false);
        story.lease(1, 3);
        story.complete(1, 3);
    });
}

#[test]
fn a_refused_settle_frees_nothing() {
    flagged(Fault::Overlap, |story| {
        story.enqueue(1);
        story.lease(1, 2);
        story.settle(1, 2, "release", Answer::Fail);
        story.lease(1, 3);
        story.complete(1, 3);
    });
}

#[test]
fn a_stale_token_is_accepted() {
    flagged(Fault::StaleAccepted, |story| {
        story.enqueue(1);
        story.lease(1, 2);
        story.wait(1_000);
        story.lease(1, 3);
        story.settle(1, 2, "retry", ok());
        story.complete(1, 3);
    });
}

#[test]
fn a_stale_token_is_accepted_after_a_power_cut() {
    flagged(Fault::StaleAccepted, |story| {
        story.enqueue(1);
        story.lease(1, 2);
        story.restart(true);
        story.lease(1, 3);
        story.settle(1, 2, "snooze", ok());
        story.lease(1, 4);
        story.complete(1, 4);
    });
}

#[test]
fn a_token_is_handed_out_twice() {
    flagged(Fault::TokenRepeated, |story| {
        story.life(1, 2);
        story.life(2, 2);
    });
}

#[test]
fn a_token_is_handed_out_twice_for_one_job() {
    flagged(Fault::TokenRepeated, |story| {
        story.enqueue(1);
        story.lease(1, 2);
        story.restart(true);
        story.lease(1, 2);
        story.complete(1, 2);
    });
}

#[test]
fn tokens_fall() {
    flagged(Fault::TokenFell, |story| {
        story.life(1, 9);
        story.life(2, 8);
    });
}

#[test]
fn tokens_fall_with_a_restart() {
    flagged(Fault::TokenFell, |story| {
        story.life(1, 9);
        story.restart(true);
        story.life(2, 3);
    });
}

#[test]
fn a_dead_workers_job_comes_late() {
    flagged(Fault::Late, |story| {
        story.enqueue(1);
        story.lease(1, 2);
        story.wait(2_100);
        story.nothing_there();
        story.lease(1, 3);
        story.complete(1, 3);
    });
}

#[test]
fn a_dead_workers_job_comes_late_after_a_restart() {
    flagged(Fault::Late, |story| {
        story.enqueue(1);
        story.lease(1, 2);
        story.restart(false);
        story.wait(2_100);
        story.nothing_there();
        story.lease(1, 3);
        story.complete(1, 3);
    });
}

#[test]
fn a_delayed_job_comes_early() {
    flagged(Fault::Early, |story| {
        story.enqueue_as(&[1], None, 500, ids(&["id-1"]));
        story.counters.enqueued += 1;
        story.wait(400);
        story.lease(1, 2);
        story.complete(1, 2);
    });
}

#[test]
fn a_failed_job_comes_early() {
    flagged(Fault::Early, |story| {
        story.enqueue(1);
        story.lease(1, 2);
        story.settle_until(1, 2, "retry", 500, ok());
        story.lease(1, 3);
        story.complete(1, 3);
    });
}

#[test]
fn a_snoozed_job_comes_early_after_a_restart() {
    flagged(Fault::Early, |story| {
        story.enqueue(1);
        story.lease(1, 2);
        story.settle_until(1, 2, "snooze", 500, ok());
        story.restart(false);
        story.lease(1, 3);
        story.complete(1, 3);
    });
}

#[test]
fn one_job_has_two_ids() {
    flagged(Fault::TwoIds, |story| {
        story.enqueue(1);
        let (label, token) = (1, 2);
        let id = String::from("id-other");
        story.deliver(Delivery { label, id, token });
        story.complete(1, 2);
    });
}

#[test]
fn two_jobs_have_one_id() {
    flagged(Fault::OneId, |story| {
        story.enqueue_as(&[1, 2], None, 0, ids(&["id-1", "id-1"]));
        story.counters.enqueued += 2;
        story.lease(1, 2);
        story.complete(1, 2);
    });
}

#[test]
fn a_key_makes_two_jobs() {
    flagged(Fault::KeyTwoIds, |story| {
        story.enqueue_as(&[1], Some("k"), 0, ids(&["id-1"]));
        story.restart(true);
        story.enqueue_as(&[1], Some("k"), 0, ids(&["id-other"]));
    });
}

#[test]
fn a_key_makes_a_second_job_of_one_of_many() {
    flagged(Fault::KeyTwoIds, |story| {
        story.enqueue_as(&[1, 2], Some("k"), 0, ids(&["id-1", "id-2"]));
        story.enqueue_as(&[1, 2], Some("k"), 0, ids(&["id-1", "id-3"]));
    });
}

#[test]
fn a_live_lease_is_called_stale() {
    flagged(Fault::OwnRefused, |story| {
        story.enqueue(1);
        story.lease(1, 2);
        story.settle(1, 2, "completed", stale());
    });
}

#[test]
fn a_live_lease_is_unknown_after_a_kill() {
    flagged(Fault::OwnRefused, |story| {
        story.enqueue(1);
        story.lease(1, 2);
        story.restart(false);
        story.settle(1, 2, "completed", Answer::Ok(String::from("unknown")));
    });
}

#[test]
fn an_applied_settle_is_forgotten_at_once() {
    flagged(Fault::RepeatRefused, |story| {
        story.life(1, 2);
        story.restart(true);
        story.settle(1, 2, "completed", Answer::Ok(String::from("unknown")));
    });
}

#[test]
fn the_server_counts_fewer_jobs_than_it_acknowledged() {
    flagged(Fault::Totals, |story| {
        story.life(1, 2);
        story.counters.enqueued -= 1;
        story.counters.completed -= 1;
        story.counters.completed_ever -= 1;
    });
}

#[test]
fn the_server_counts_more_jobs_than_anybody_enqueued() {
    flagged(Fault::Totals, |story| {
        story.life(1, 2);
        story.counters.enqueued += 1;
        story.counters.deleted += 1;
    });
}

#[test]
fn a_job_is_in_no_state() {
    flagged(Fault::Totals, |story| {
        story.life(1, 2);
        story.counters.completed -= 1;
    });
}

#[test]
fn more_ended_than_are_there() {
    flagged(Fault::Totals, |story| {
        story.life(1, 2);
        story.counters.dead_ever += 1;
    });
}

#[test]
fn an_acknowledged_end_is_not_counted() {
    flagged(Fault::Totals, |story| {
        story.life(1, 2);
        story.counters.completed_ever -= 1;
        story.counters.cancelled_ever += 1;
    });
}

#[test]
fn something_is_left_when_all_is_drained() {
    flagged(Fault::NotDrained, |story| {
        story.life(1, 2);
        story.counters.unfinished += 1;
        story.counters.completed -= 1;
    });
}

#[test]
fn a_lease_of_several_jobs_repeats_one() {
    flagged(Fault::TokenRepeated, |story| {
        story.enqueue(1);
        let (label, id, token) = (1, String::from("id-1"), 2);
        let delivery = Delivery { label, id, token };
        story.say(What::Lease {
            lease_ms: 1_000,
            answer: Answer::Ok(vec![delivery.clone(), delivery]),
        });
        story.complete(1, 2);
    });
}

#[test]
fn an_uncertain_end_under_a_lost_lease_ends_nothing() {
    flagged(Fault::Lost, |story| {
        story.enqueue(1);
        story.lease(1, 2);
        story.settle(1, 2, "completed", Answer::Unknown);
        story.wait(1_000);
        story.lease(1, 3);
    });
}

#[test]
fn an_acknowledged_job_without_an_id_is_lost() {
    flagged(Fault::Lost, |story| {
        story.enqueue_as(&[1, 2], None, 0, ids(&["id-1"]));
        story.counters.enqueued += 1;
        story.lease(1, 2);
        story.complete(1, 2);
    });
}

#[test]
fn a_stale_token_is_accepted_when_it_comes_again() {
    flagged(Fault::StaleAccepted, |story| {
        story.enqueue(1);
        story.lease(1, 2);
        story.wait(1_000);
        story.lease(1, 3);
        story.settle(1, 2, "retry", Answer::Unknown);
        story.settle(1, 2, "retry", ok());
        story.complete(1, 3);
    });
}

#[test]
fn an_acknowledged_death_is_counted_as_something_else() {
    flagged(Fault::Totals, |story| {
        story.enqueue(1);
        story.lease(1, 2);
        story.settle(1, 2, "dead", ok());
        (story.counters.cancelled, story.counters.cancelled_ever) = (1, 1);
    });
    flagged(Fault::Totals, |story| {
        story.enqueue(1);
        story.lease(1, 2);
        story.settle(1, 2, "cancel", ok());
        (story.counters.dead, story.counters.dead_ever) = (1, 1);
    });
}
