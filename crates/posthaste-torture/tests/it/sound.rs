//! What is legal, however odd it looks.

use posthaste_torture::history::Answer;

use crate::story::{ok, sound, stale};

#[test]
fn plain_lives() {
    sound(|story| (1..20).for_each(|label| story.life(label, label + 1)));
}

#[test]
fn an_uncertain_enqueue_may_have_happened_or_not() {
    sound(|story| {
        story.enqueue_as(&[1], None, 0, Answer::Unknown);
        story.enqueue_as(&[2], None, 0, Answer::Unknown);
        story.counters.enqueued += 1;
        story.lease(1, 2);
        story.complete(1, 2);
    });
}

#[test]
fn a_refused_enqueue_did_not_happen() {
    sound(|story| story.enqueue_as(&[1], None, 0, Answer::Fail));
}

#[test]
fn an_enqueue_repeated_under_its_key_is_one_job() {
    sound(|story| {
        story.enqueue_as(&[1], Some("k"), 0, Answer::Unknown);
        story.enqueue_as(&[1], Some("k"), 0, Answer::Ok(vec![String::from("id-1")]));
        story.counters.enqueued += 1;
        story.lease(1, 2);
        story.complete(1, 2);
    });
}

#[test]
fn an_uncertain_settle_may_be_lost_and_the_job_delivered_again() {
    sound(|story| {
        story.enqueue(1);
        story.lease(1, 2);
        story.settle(1, 2, "completed", Answer::Unknown);
        story.wait(1_000);
        story.lease(1, 3);
        story.complete(1, 3);
    });
}

#[test]
fn an_uncertain_settle_may_have_been_applied_and_says_ok_again() {
    sound(|story| {
        story.enqueue(1);
        story.lease(1, 2);
        story.settle(1, 2, "completed", Answer::Unknown);
        story.complete(1, 2);
        story.settle(1, 2, "completed", ok());
    });
}

#[test]
fn a_dead_workers_job_comes_back_and_the_dead_are_fenced_off() {
    sound(|story| {
        story.enqueue(1);
        story.lease(1, 2);
        story.wait(1_000);
        story.nothing_there();
        story.lease(1, 3);
        story.settle(1, 2, "completed", stale());
        story.complete(1, 3);
    });
}

#[test]
fn a_restart_starts_a_lease_afresh() {
    sound(|story| {
        story.enqueue(1);
        story.lease(1, 2);
        story.wait(900);
        story.restart(false);
        story.wait(1_900);
        story.nothing_there();
        story.lease(1, 3);
        story.complete(1, 3);
    });
}

#[test]
fn a_power_cut_may_lose_a_lease_that_was_not_synced() {
    sound(|story| {
        story.enqueue(1);
        story.lease(1, 2);
        story.restart(true);
        story.lease(1, 3);
        story.settle(1, 2, "completed", stale());
        story.complete(1, 3);
    });
}

#[test]
fn a_job_that_was_put_off_comes_when_it_is_due() {
    sound(|story| {
        story.enqueue(1);
        story.lease(1, 2);
        story.settle_until(1, 2, "retry", 50, ok());
        story.wait(50);
        story.lease(1, 3);
        story.complete(1, 3);
    });
}

#[test]
fn dead_and_cancelled_are_ends_too() {
    sound(|story| {
        for (label, outcome) in [(1, "dead"), (2, "cancel")] {
            story.enqueue(label);
            story.lease(label, label + 1);
            story.settle(label, label + 1, outcome, ok());
        }
        (story.counters.dead, story.counters.dead_ever) = (1, 1);
        (story.counters.cancelled, story.counters.cancelled_ever) = (1, 1);
    });
}

#[test]
fn a_settle_may_be_repeated_long_after_its_lease() {
    sound(|story| {
        story.enqueue(1);
        story.lease(1, 2);
        story.settle(1, 2, "completed", Answer::Unknown);
        story.restart(true);
        story.wait(5_000);
        story.complete(1, 2);
    });
}

#[test]
fn a_restart_starts_the_lease_afresh_for_its_holder_too() {
    sound(|story| {
        story.enqueue(1);
        story.lease(1, 2);
        story.wait(900);
        story.restart(false);
        story.wait(900);
        story.complete(1, 2);
    });
}

#[test]
fn a_job_may_die_by_itself() {
    sound(|story| {
        story.enqueue(1);
        for token in 2..7 {
            story.lease(1, token);
            story.wait(1_000);
        }
        story.settle(1, 6, "dead", Answer::Unknown);
        (story.counters.dead, story.counters.dead_ever) = (1, 1);
    });
}

#[test]
fn a_lease_that_lapsed_counts_until_somebody_else_has_begun() {
    sound(|story| {
        story.enqueue(1);
        story.lease(1, 2);
        story.wait(5_000);
        story.complete(1, 2);
    });
}
