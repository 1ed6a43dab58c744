//! Faults planted in topics, each of which must be flagged.

use posthaste_torture::checker::Fault;
use posthaste_torture::history::{Answer, OfTopic};

use crate::topic_story::{TOPIC, at, flagged, flagged_too, seen};

#[test]
fn an_acknowledged_event_is_gone_in_the_end() {
    flagged(Fault::EventLost, |tale| {
        tale.publish(1, "a");
        tale.publish(2, "a");
        tale.story.restart(true);
        tale.log.pop();
        handled(tale, &[1]);
    });
}

#[test]
fn an_event_is_read_and_gone_in_the_end() {
    flagged(Fault::EventLost, |tale| {
        tale.publish_as(1, "a", Vec::new(), Answer::Unknown);
        tale.read(vec![seen(1, "a", 0)], false);
        tale.story.restart(true);
    });
}

#[test]
fn a_reader_is_led_past_an_acknowledged_event() {
    flagged_too(Fault::EventLost, |tale| {
        tale.publish(1, "a");
        tale.publish(2, "a");
        tale.read(tale.events(&[2]), false);
        handled(tale, &[1, 2]);
    });
}

#[test]
fn an_event_that_nobody_published() {
    flagged(Fault::EventPhantom, |tale| {
        tale.append(1, "a");
        handled(tale, &[1]);
    });
}

#[test]
fn a_member_is_handed_an_event_that_nobody_published() {
    flagged_too(Fault::EventPhantom, |tale| {
        tale.append(1, "a");
        tale.join(7, &[1]);
        tale.log.clear();
    });
}

#[test]
fn an_event_whose_publishing_was_refused() {
    flagged(Fault::EventRefusedSeen, |tale| {
        tale.publish_as(1, "a", Vec::new(), Answer::Fail);
        tale.append(1, "a");
        handled(tale, &[1]);
    });
}

#[test]
fn an_event_with_a_chosen_id_is_published_twice() {
    flagged(Fault::EventTwoPlaces, |tale| {
        tale.publish(1, "a");
        tale.story.restart(true);
        let again = at(&seen(1, "a", 5));
        tale.publish_as(1, "a", Vec::new(), Answer::Ok(vec![again]));
        handled(tale, &[1]);
    });
}

#[test]
fn an_event_is_handed_out_at_another_place_than_it_was_read_at() {
    flagged_too(Fault::EventTwoPlaces, |tale| {
        tale.publish(1, "a");
        tale.log[0] = seen(1, "a", 1);
        tale.join(7, &[1]);
        tale.log[0] = seen(1, "a", 0);
        tale.done(7, 1);
    });
}

#[test]
fn an_offset_is_used_twice() {
    flagged_too(Fault::PlaceTwoEvents, |tale| {
        tale.publish(1, "a");
        tale.story.restart(true);
        tale.log.clear();
        tale.publish(2, "a");
        handled(tale, &[2]);
    });
}

#[test]
fn two_readers_are_told_different_events_at_one_place() {
    flagged_too(Fault::PlaceTwoEvents, |tale| {
        tale.publish(1, "a");
        tale.publish_as(2, "a", Vec::new(), Answer::Unknown);
        tale.read(vec![seen(2, "a", 0)], false);
        handled(tale, &[1]);
    });
}

#[test]
fn offsets_have_a_hole() {
    flagged(Fault::OffsetGap, |tale| {
        tale.publish(1, "a");
        let far = seen(2, "a", 2);
        tale.publish_as(2, "a", Vec::new(), Answer::Ok(vec![at(&far)]));
        tale.log.push(far);
        handled(tale, &[1, 2]);
    });
}

#[test]
fn a_later_event_lies_before_an_earlier_one() {
    flagged(Fault::OffsetFell, |tale| {
        let (first, second) = (seen(1, "a", 1), seen(2, "b", 0));
        tale.publish_as(1, "a", Vec::new(), Answer::Ok(vec![at(&first)]));
        tale.publish_as(2, "b", Vec::new(), Answer::Ok(vec![at(&second)]));
        tale.log = vec![second, first];
        handled(tale, &[2, 1]);
    });
}

#[test]
fn a_reader_is_told_an_event_twice() {
    flagged(Fault::CursorOrder, |tale| {
        tale.publish(1, "a");
        tale.publish(2, "a");
        tale.read(tale.events(&[1, 2, 2]), false);
        handled(tale, &[1, 2]);
    });
}

#[test]
fn two_readers_are_told_another_order() {
    flagged_too(Fault::CursorOrder, |tale| {
        tale.publish(1, "a");
        tale.publish(2, "a");
        tale.read(tale.events(&[2, 1]), false);
        handled(tale, &[1, 2]);
    });
}

#[test]
fn a_cursor_is_refused_after_a_power_cut() {
    flagged(Fault::CursorRefused, |tale| {
        tale.publish(1, "a");
        tale.read(tale.events(&[1]), true);
        tale.story.restart(true);
        tale.say(OfTopic::Read {
            topic: TOPIC.to_owned(),
            from: Some(String::from("c-1")),
            answer: Answer::Fail,
        });
        handled(tale, &[1]);
    });
}

#[test]
fn a_reader_is_told_that_this_was_all_and_it_was_not() {
    flagged(Fault::EventUnseen, |tale| {
        tale.publish(1, "a");
        tale.publish(2, "a");
        tale.read(tale.events(&[1]), true);
        handled(tale, &[1, 2]);
    });
}

/// One member handles these, one after the other.
fn handled(tale: &mut crate::topic_story::Tale, labels: &[u64]) {
    tale.join(900, labels);
    for label in labels {
        tale.done(900, *label);
    }
}
