//! Parked events and dead letters: kept until somebody decides, while everything else goes on.

use posthaste_core::error::ErrorKind;
use posthaste_core::group::{EventOutcome, GroupSettings, PausedBy, Unparking, Which};
use posthaste_core::topic::{ReadFrom, TopicSettings};

use super::member::{Member, dead, failed, of_key, park, redrive, reset, unpark, with};
use crate::conformance::Bench;

const RELEASE: Unparking = Unparking::Release;
const SKIP: Unparking = Unparking::Skip;

/// A parked event takes its key along, what the member has of it, what waits and what is published
/// later; the other keys flow, and the position passes it.
pub fn a_parked_event_parks_its_key(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1 b1 a2 a3");
    let one = Member::joining(bench, "a1 b1 a2");
    one.ends("a1", park());
    one.gets_nothing();
    bench.check_parked("a1 failed, a2 behind, a3 behind");
    one.check_unsettled("a2", EventOutcome::Done, ErrorKind::Stale);
    bench.check_position(1);
    one.done("b1");
    bench.check_position(4);
    bench.tell("a4 b2");
    one.gets("b2");
    one.done("b2");
    bench.check_parked("a1 failed, a2 behind, a3 behind, a4 behind");
    bench.check_position(6);
    let kept = bench.kept(false);
    let attempts: Vec<u16> = kept.iter().map(|it| it.attempts).collect();
    assert_eq!(attempts, [1, 0, 0, 0]);
    let errors: Vec<Option<&str>> = kept.iter().map(|it| it.error.as_deref()).collect();
    assert_eq!(errors, [Some("no answer"), None, None, None]);
    assert_eq!(bench.billing().totals.parked, 4);
}

/// What waits for its retry is parked behind an earlier event of its key too.
pub fn what_waits_is_parked_behind(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1 a2 a3");
    let one = Member::joining(bench, "a1 a2 a3");
    one.ends("a1", failed(1_000));
    bench.advance(1_000);
    one.gets("a1");
    one.ends("a1", park());
    bench.check_parked("a1 failed, a2 behind, a3 behind");
    assert_eq!(bench.kept(false)[0].attempts, 2);
    one.gets_nothing();
}

/// Released, a key comes back in order and with all its attempts, and what is published meanwhile
/// comes behind it.
pub fn a_released_key_comes_back_in_order(bench: &Bench<'_>) {
    bench.group(with(|it| it.max_attempts = Some(2)));
    bench.tell("a1 a2 b1");
    let one = Member::joining(bench, "a1 a2 b1");
    one.ends("a1", failed(0));
    one.gets("a1");
    one.ends("a1", failed(0));
    bench.check_parked("a1 exhausted, a2 behind");
    bench.moves(unpark(of_key("b"), RELEASE), 0, 0);
    bench.moves(unpark(of_key("a"), RELEASE), 2, 0);
    bench.check_parked("");
    bench.tell("a3");
    one.gets("a1 a2 a3");
    let told = one.has("a1");
    assert_eq!((told.attempt, told.max_attempts, told.crashes), (1, 2, 0));
    assert_eq!(told.event, bench.events("orders")[0], "as it was");
    one.ends("a1", failed(0));
    one.gets("a1");
    assert_eq!(one.has("a1").attempt, 2);
    one.ends("a1", failed(0));
    bench.check_parked("a1 exhausted, a2 behind, a3 behind");
    one.done("b1");
    bench.check_position(4);
    bench.moves(unpark(Which::All, RELEASE), 3, 0);
    one.gets("a1 a2 a3");
    one.done("a1 a2 a3");
    assert_eq!(bench.billing().position.sequence, 4);
    assert_eq!(bench.billing().totals.done, 4);
}

/// Of a parked key, the first is released first.
pub fn events_are_released_from_the_first(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1 a2 a3");
    let one = Member::joining(bench, "a1 a2 a3");
    one.ends("a1", park());
    bench.check_parked("a1 failed, a2 behind, a3 behind");
    let release = |at| vec![unpark(Which::At(at), RELEASE)];
    bench.check_refused(release(1), 0, ErrorKind::Conflict);
    bench.check_refused(release(7), 0, ErrorKind::NotFound);
    bench.moves(unpark(Which::At(0), RELEASE), 1, 0);
    bench.check_refused(release(0), 0, ErrorKind::NotFound);
    one.gets("a1");
    one.gets_nothing();
    one.done("a1");
    one.gets_nothing();
    bench.check_parked("a2 behind, a3 behind");
    bench.moves(unpark(Which::At(1), RELEASE), 1, 0);
    one.gets("a2");
    bench.moves(unpark(Which::At(2), RELEASE), 1, 0);
    one.gets("a3");
    one.done("a2 a3");
    bench.check_position(3);
}

/// Passed over, parked events are forgotten, and what is published under their key flows.
pub fn parked_events_may_be_passed_over(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1 b1 b2 c1");
    let one = Member::joining(bench, "a1 b1 b2 c1");
    one.ends("a1 b1", park());
    one.done("c1");
    bench.check_parked("a1 failed, b1 failed, b2 behind");
    bench.moves(unpark(Which::At(2), SKIP), 1, 0);
    bench.check_parked("a1 failed, b1 failed");
    bench.moves(unpark(of_key("b"), SKIP), 1, 0);
    bench.tell("b3 a2");
    one.gets("b3");
    one.gets_nothing();
    bench.check_parked("a1 failed, a2 behind");
    bench.moves(unpark(Which::All, SKIP), 2, 0);
    bench.check_refused(vec![unpark(Which::At(0), SKIP)], 0, ErrorKind::NotFound);
    bench.tell("a3");
    one.gets("a3");
    one.done("a3 b3");
    bench.check_position(7);
    let totals = bench.billing().totals;
    assert_eq!((totals.skipped, totals.done), (4, 3));
}

/// What a refused commit would have released or passed over stays parked.
pub fn a_refused_commit_moves_nothing(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1 b1 a2");
    let one = Member::joining(bench, "a1 b1 a2");
    one.ends("a1", park());
    one.ends("b1", dead());
    bench.check_parked("a1 failed, a2 behind");
    bench.check_dead("b1 failed");
    let nothing = || unpark(Which::At(9), SKIP);
    for moved in [
        unpark(Which::All, RELEASE),
        unpark(of_key("a"), SKIP),
        redrive(Which::All),
    ] {
        bench.check_refused(vec![moved, nothing()], 1, ErrorKind::NotFound);
    }
    bench.check_parked("a1 failed, a2 behind");
    bench.check_dead("b1 failed");
    one.gets_nothing();
}

/// With as many parked as may be, the group hands out nothing and says why. It goes on by itself
/// when there is room, and what had no room is unfinished until then.
pub fn a_full_list_pauses_the_group(bench: &Bench<'_>) {
    bench.group(with(|it| it.parked_max = Some(2)));
    bench.tell("a1 b1 c1 d1");
    let one = Member::joining(bench, "a1 b1 c1");
    one.ends("a1", park());
    bench.check_parked("a1 failed");
    assert_eq!(bench.billing().paused, None);
    one.ends("b1 c1", park());
    bench.check_parked("a1 failed, b1 failed");
    let full = |it: &posthaste_core::group::GroupView| (it.paused, it.position.sequence, it.lag);
    bench.check_billing(full, (Some(PausedBy::ParkedFull), 2, 2));
    one.gets_nothing();
    bench.moves(unpark(Which::At(0), SKIP), 1, 0);
    bench.check_parked("b1 failed, c1 failed");
    bench.check_billing(full, (Some(PausedBy::ParkedFull), 3, 1));
    one.gets_nothing();
    bench.moves(unpark(Which::At(1), SKIP), 1, 0);
    one.gets("d1");
    bench.check_billing(full, (None, 3, 1));
    one.done("d1");
    bench.check_position(4);
}

/// A group that is full goes on where it may park more.
pub fn a_full_group_may_be_given_room(bench: &Bench<'_>) {
    bench.group(with(|it| it.parked_max = Some(1)));
    bench.tell("a1 b1 c1");
    let one = Member::joining(bench, "a1 b1");
    one.ends("a1 b1", park());
    bench.check_parked("a1 failed");
    one.gets_nothing();
    bench.set(with(|it| it.parked_max = Some(3)));
    one.gets("c1");
    bench.check_parked("a1 failed, b1 failed");
    one.done("c1");
    bench.check_position(3);
}

/// Dead letters are handled again where somebody wants it: afresh, one, those of a key, or all.
pub fn dead_letters_are_redriven(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1 b1 a2 c1");
    let one = Member::joining(bench, "a1 b1 a2 c1");
    one.ends("a1 b1 a2 c1", dead());
    bench.check_dead("a1 failed, b1 failed, a2 failed, c1 failed");
    bench.check_position(4);
    bench.check_refused(vec![redrive(Which::At(4))], 0, ErrorKind::NotFound);
    bench.moves(redrive(of_key("x")), 0, 0);
    bench.moves(redrive(Which::At(1)), 1, 0);
    bench.check_position(4); // it moves back by a reset alone
    one.gets("b1");
    assert_eq!(one.has("b1").attempt, 1);
    one.ends("b1", dead());
    bench.moves(redrive(of_key("a")), 2, 0);
    one.gets("a1 a2");
    one.done("a1 a2");
    bench.check_dead("b1 failed, c1 failed");
    bench.moves(redrive(Which::All), 2, 0);
    one.gets("b1 c1");
    one.done("b1 c1");
    bench.check_dead("");
    bench.check_position(4);
    let totals = bench.billing().totals;
    assert_eq!((totals.done, totals.dead), (4, 5));
}

/// A dead letter is not handled beside the same event, which its group met again after a reset.
pub fn a_dead_letter_met_again_waits(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1 a2");
    let one = Member::joining(bench, "a1 a2");
    one.ends("a1", dead());
    one.done("a2");
    bench.check_dead("a1 failed");
    let reply = bench.one(reset(ReadFrom::Earliest, false));
    assert_eq!(reply, Ok(posthaste_core::Reply::Configured));
    one.gets("a1");
    bench.check_refused(vec![redrive(Which::At(0))], 0, ErrorKind::Conflict);
    bench.moves(redrive(Which::All), 0, 0);
    one.done("a1");
    bench.moves(redrive(Which::At(0)), 1, 0);
    one.gets("a1 a2");
    one.done("a1 a2");
    bench.check_dead("");
}

/// What is kept is kept as a copy: its topic may forget it.
pub fn what_is_kept_outlives_its_topics_memory(bench: &Bench<'_>) {
    let hour = TopicSettings {
        kept_ms: Some(3_600_000),
        kept_events: Some(1),
        ..TopicSettings::default()
    };
    bench.set_topic("orders", hour);
    bench.group(GroupSettings::default());
    bench.tell("a1 b1");
    let one = Member::joining(bench, "a1 b1");
    let was = [one.has("a1").event, one.has("b1").event];
    one.ends("a1", park());
    one.ends("b1", dead());
    bench.check_parked("a1 failed");
    bench.check_dead("b1 failed");
    bench.advance(7_200_000);
    bench.tell("c1 c2");
    let two = Member::joining(bench, "c1 c2");
    two.done("c1 c2");
    let kept = [bench.kept(false).remove(0), bench.kept(true).remove(0)];
    assert_eq!(kept.map(|it| it.event), was);
    bench.moves(unpark(Which::All, RELEASE), 1, 0);
    bench.moves(redrive(Which::All), 1, 0);
    two.gets("a1 b1");
    assert_eq!([two.has("a1").event, two.has("b1").event], was);
    two.done("a1 b1");
    bench.check_position(4);
}

/// At most five hundred are moved by one command, the first first, and it tells how many are left.
pub fn many_are_moved_in_parts(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    let words: Vec<String> = (0..510).map(|n| format!("k{n}x{n}")).collect();
    bench.tell(&words.join(" "));
    let one = Member::joining(bench, &words.join(" "));
    one.ends(&words.join(" "), dead());
    bench.check_billing(|view| view.dead, 510);
    bench.moves(redrive(Which::All), 500, 10);
    one.gets(&words[..500].join(" "));
    bench.moves(redrive(Which::All), 10, 0);
    one.gets(&words[500..].join(" "));
}
