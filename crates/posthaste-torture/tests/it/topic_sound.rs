//! What is legal of topics and groups, however odd it looks.

use posthaste_torture::history::{Answer, OfTopic};

use crate::topic_story::{GROUP, LEASE_MS, at, sound};

const OK: Answer<bool> = Answer::Ok(false);

#[test]
fn plain_lives() {
    sound(|tale| {
        (1..20).for_each(|label| tale.publish(label, "a"));
        tale.read(tale.log.clone(), true);
        let labels: Vec<u64> = (1..20).collect();
        tale.join(7, &labels);
        labels.iter().for_each(|label| tale.done(7, *label));
        tale.look(19);
    });
}

#[test]
fn an_uncertain_publish_may_have_happened_or_not() {
    sound(|tale| {
        tale.publish_as(1, "a", Vec::new(), Answer::Unknown);
        tale.publish_as(2, "a", Vec::new(), Answer::Unknown);
        tale.append(2, "a");
        tale.join(7, &[2]);
        tale.done(7, 2);
    });
}

#[test]
fn an_event_with_a_chosen_id_is_told_again_where_it_is() {
    sound(|tale| {
        tale.publish_as(1, "a", Vec::new(), Answer::Unknown);
        let event = tale.append(1, "a");
        tale.story.restart(true);
        let mut there = at(&event);
        there.existing = true;
        tale.publish_as(1, "a", Vec::new(), Answer::Ok(vec![there]));
        tale.join(7, &[1]);
        tale.done(7, 1);
    });
}

#[test]
fn a_lost_members_events_come_again_and_it_is_fenced_off() {
    sound(|tale| {
        tale.publish(1, "a");
        tale.publish(2, "a");
        tale.join(7, &[1, 2]);
        tale.story.wait(LEASE_MS);
        tale.join(8, &[1, 2]);
        tale.settle(7, 1, "done", Answer::Fail);
        tale.done(8, 1);
        tale.done(8, 2);
    });
}

#[test]
fn a_power_cut_may_lose_what_was_handed_out() {
    sound(|tale| {
        tale.publish(1, "a");
        tale.join(7, &[1]);
        tale.story.restart(true);
        tale.join(8, &[1]);
        tale.settle(7, 1, "done", Answer::Fail);
        tale.done(8, 1);
    });
}

#[test]
fn a_restart_starts_a_membership_afresh() {
    sound(|tale| {
        tale.publish(1, "a");
        tale.join(7, &[1]);
        tale.story.wait(LEASE_MS - 100);
        tale.story.restart(false);
        tale.story.wait(LEASE_MS - 100);
        tale.done(7, 1);
    });
}

#[test]
fn an_uncertain_settle_may_be_lost_or_not() {
    sound(|tale| {
        tale.publish(1, "a");
        tale.publish(2, "b");
        tale.join(7, &[1, 2]);
        tale.settle(7, 1, "done", Answer::Unknown);
        tale.settle(7, 2, "done", Answer::Unknown);
        tale.look(1);
        tale.story.restart(true);
        tale.story.wait(LEASE_MS);
        tale.join(8, &[2]);
        tale.done(8, 2);
        tale.end.done = 2;
    });
}

#[test]
fn a_settle_that_was_applied_says_so_again() {
    sound(|tale| {
        tale.publish(1, "a");
        tale.join(7, &[1]);
        tale.settle(7, 1, "done", Answer::Unknown);
        tale.story.restart(true);
        tale.settle(7, 1, "done", Answer::Ok(true));
        tale.end.done = 1;
    });
}

#[test]
fn a_failed_event_comes_again_before_those_behind_it() {
    sound(|tale| {
        tale.publish(1, "a");
        tale.publish(2, "a");
        tale.join(7, &[1, 2]);
        tale.settle(7, 1, "retry", OK);
        tale.join(8, &[1]);
        tale.done(8, 1);
        tale.more(7, &[2]);
        tale.done(7, 2);
    });
}

#[test]
fn a_parked_key_is_passed_and_comes_again_when_it_is_released() {
    sound(|tale| {
        tale.publish(1, "a");
        tale.publish(2, "a");
        tale.publish(3, "b");
        tale.join(7, &[1]);
        tale.settle(7, 1, "park", OK);
        tale.more(7, &[3]);
        tale.done(7, 3);
        tale.look(3);
        tale.release();
        tale.more(7, &[1, 2]);
        tale.done(7, 1);
        tale.done(7, 2);
    });
}

#[test]
fn a_dead_letter_is_kept_and_its_key_goes_on() {
    sound(|tale| {
        tale.publish(1, "a");
        tale.publish(2, "a");
        tale.join(7, &[1]);
        tale.settle(7, 1, "dead", OK);
        tale.more(7, &[2]);
        tale.done(7, 2);
        tale.end.dead = vec![1];
    });
}

#[test]
fn a_member_that_leaves_gives_back_what_it_has() {
    sound(|tale| {
        tale.publish(1, "a");
        tale.join(7, &[1]);
        tale.leave(7);
        tale.join(8, &[1]);
        tale.done(8, 1);
    });
}

#[test]
fn what_is_committed_together_is_there_together_or_not_at_all() {
    sound(|tale| {
        tale.publish(1, "a");
        tale.publish(2, "b");
        tale.join(7, &[1, 2]);
        tale.settle_with(7, 1, "done", (Vec::new(), vec![3]), Answer::Unknown);
        tale.publish_as(3, "c", Vec::new(), Answer::Unknown);
        tale.append(3, "c");
        tale.settle_with(7, 2, "done", (Vec::new(), vec![4]), Answer::Unknown);
        tale.publish_as(4, "d", Vec::new(), Answer::Unknown);
        tale.story.restart(true);
        tale.story.wait(LEASE_MS);
        tale.join(8, &[2, 3]);
        tale.done(8, 2);
        tale.done(8, 3);
        tale.end.done = 3;
    });
}

#[test]
fn a_member_whose_answer_was_lost_may_hold_anything_until_it_leaves() {
    sound(|tale| {
        for (label, key) in [(1, "a"), (2, "a"), (3, "b")] {
            tale.publish(label, key);
        }
        tale.join(7, &[]);
        tale.say(OfTopic::Ask {
            group: GROUP.to_owned(),
            token: Some(7),
            lease_ms: LEASE_MS,
            answer: Answer::Unknown,
        });
        tale.leave(7);
        tale.join(8, &[1, 2, 3]);
        for label in [1, 2, 3] {
            tale.done(8, label);
        }
    });
}
