use std::collections::BTreeMap;
use std::time::Duration;

use super::super::criticality::Criticality::{Batch, BestEffort, Critical, Default as Normal};
use super::super::rig::{Chance, MS, Rig, SECOND};
use super::super::settings::{Limit, Queue};
use super::super::verdict::Verdict;
use super::*;

const OK: Ended = Ended::With(Verdict::Ok);

fn settings(limit: u32, waiting_max: u32) -> Concurrency {
    Concurrency {
        limit: Limit::Static(limit),
        queue: Queue {
            waiting_max,
            ..Queue::default()
        },
    }
}

fn gate(limit: u32, waiting_max: u32) -> Gate {
    Gate::new(&settings(limit, waiting_max), MonoNs(0))
}

fn admitted(arrived: Arrived) -> Place {
    match arrived {
        Arrived::Admitted(place) => place,
        other => panic!("not admitted: {other:?}"),
    }
}

fn waits(arrived: Arrived) -> Ticket {
    match arrived {
        Arrived::Waiting(ticket) => ticket,
        other => panic!("does not wait: {other:?}"),
    }
}

/// Ends `place`, and says who starts on it.
fn passes(gate: &mut Gate, now: MonoNs, place: Place) -> (Ticket, Place) {
    gate.ended(now, place, OK);
    let (ticket, answer) = gate.next(now).expect("somebody waits");
    (ticket, answer.expect("it starts"))
}

#[test]
fn the_higher_tier_goes_first_then_callers_take_turns_then_the_first_who_came() {
    let mut gate = gate(1, 100);
    let now = MonoNs(0);
    let mut place = admitted(gate.arrive(now, Normal, 1, None));
    let batch = waits(gate.arrive(now, Batch, 1, None));
    let first = waits(gate.arrive(now, Normal, 1, None));
    let second = waits(gate.arrive(now, Normal, 1, None));
    let other = waits(gate.arrive(now, Normal, 2, None));
    let critical = waits(gate.arrive(now, Critical, 3, None));
    for expected in [critical, first, other, second, batch] {
        let (ticket, next) = passes(&mut gate, now, place);
        assert_eq!(ticket, expected);
        place = next;
    }
    assert_eq!(gate.waiting(), 0);
    assert_eq!(gate.in_flight(), 1);
}

#[test]
fn a_full_room_puts_out_the_newest_of_a_lower_tier() {
    let mut gate = gate(1, 2);
    let now = MonoNs(0);
    let _place = admitted(gate.arrive(now, Normal, 1, None));
    let _old = waits(gate.arrive(now, Batch, 1, None));
    let new = waits(gate.arrive(now, Batch, 2, None));
    let refused = gate.arrive(now, BestEffort, 3, None);
    assert!(matches!(
        refused,
        Arrived::Refused(Refusal::QueueFull { .. })
    ));
    let _higher = waits(gate.arrive(now, Critical, 3, None));
    let displaced = Refusal::Displaced { tier: Batch };
    assert_eq!(gate.next(now), Some((new, Err(displaced))));
    assert_eq!(gate.next(now), None);
    assert_eq!(gate.waiting(), 2);
}

#[test]
fn a_caller_who_filled_the_room_alone_gives_way_to_another_and_gets_no_more_than_its_share() {
    let mut gate = gate(1, 4);
    let now = MonoNs(0);
    let _place = admitted(gate.arrive(now, Normal, 1, None));
    let greedy: Vec<_> = (0..4)
        .map(|_| waits(gate.arrive(now, Normal, 1, None)))
        .collect();
    let _other = waits(gate.arrive(now, Normal, 2, None));
    let unfair = Refusal::Unfair {
        waiting: 4,
        share: 2,
    };
    assert_eq!(gate.next(now), Some((greedy[3], Err(unfair))));
    let refused = gate.arrive(now, Critical, 1, None);
    assert!(matches!(refused, Arrived::Refused(Refusal::Unfair { .. })));
}

#[test]
fn a_deadline_that_passes_in_the_room_takes_no_place() {
    let mut gate = gate(1, 4);
    let place = admitted(gate.arrive(MonoNs(0), Normal, 1, None));
    let late = waits(gate.arrive(MonoNs(0), Normal, 1, Some(MonoNs(MS))));
    let next = waits(gate.arrive(MonoNs(0), Normal, 1, None));
    assert_eq!(gate.due(), Some(MonoNs(MS)));
    gate.ended(MonoNs(2 * MS), place, OK);
    let past = Duration::from_millis(1);
    let refused = Err(Refusal::Deadline { past });
    assert_eq!(gate.next(MonoNs(2 * MS)), Some((late, refused)));
    let (ticket, answer) = gate.next(MonoNs(2 * MS)).expect("the other starts");
    assert_eq!((ticket, answer.is_ok()), (next, true));
    let refused = gate.arrive(MonoNs(MS), Normal, 1, Some(MonoNs(MS)));
    assert!(matches!(
        refused,
        Arrived::Refused(Refusal::Deadline { .. })
    ));
}

#[test]
fn under_overload_the_newest_goes_first_and_who_waited_too_long_is_refused() {
    let mut gate = gate(1, 100);
    let place = admitted(gate.arrive(MonoNs(0), Normal, 1, None));
    let old = waits(gate.arrive(MonoNs(0), Normal, 1, None));
    assert_eq!(
        gate.next(MonoNs(5 * MS)),
        None,
        "a queue is no overload yet"
    );
    assert_eq!(gate.due(), Some(MonoNs(105 * MS)));
    let newer = waits(gate.arrive(MonoNs(102 * MS), Normal, 1, None));
    let newest = waits(gate.arrive(MonoNs(102 * MS), Normal, 1, None));
    let (ticket, answer) = gate.next(MonoNs(105 * MS)).expect("the old is shed");
    assert_eq!(ticket, old);
    assert_eq!(answer.expect_err("shed").slug(), "queue-delay");
    assert_eq!(passes(&mut gate, MonoNs(106 * MS), place).0, newest);
    assert_eq!(gate.next(MonoNs(106 * MS)), None);
    assert_eq!(gate.due(), Some(MonoNs(107 * MS)));
    assert_eq!(gate.next(MonoNs(107 * MS)).map(|it| it.0), Some(newer));
    assert!(gate.is_overloaded(Normal));
    let _later = waits(gate.arrive(MonoNs(300 * MS), Normal, 1, None));
    assert_eq!(gate.next(MonoNs(300 * MS)), None);
    assert!(!gate.is_overloaded(Normal), "nobody waited for an interval");
}

#[test]
fn a_place_that_was_granted_to_somebody_who_left_is_free_again() {
    let mut gate = gate(1, 4);
    let now = MonoNs(0);
    let place = admitted(gate.arrive(now, Normal, 1, None));
    let left = waits(gate.arrive(now, Normal, 1, None));
    let (ticket, granted) = passes(&mut gate, now, place);
    gate.leave(now, ticket);
    assert_eq!((ticket, gate.in_flight()), (left, 0));
    gate.leave(now, ticket);
    gate.ended(now, granted, OK);
    assert_eq!(gate.in_flight(), 0, "given back once");
}

/// Every command in any order: no place is lost or used twice, no ticket has two answers.
#[test]
#[expect(clippy::cast_possible_truncation, reason = "small numbers")]
fn no_place_is_ever_lost_and_each_ticket_has_one_answer() {
    for seed in 0..40 {
        let mut chance = Chance(seed);
        let mut gate = gate(3, 8);
        let mut waiting_max = 8;
        let (mut now, mut running) = (MonoNs(0), Vec::new());
        let mut waiting: BTreeMap<Ticket, ()> = BTreeMap::new();
        let mut fresh: Vec<Ticket> = Vec::new();
        for _ in 0..2_000 {
            now = now.plus(chance.draw() % (2 * MS));
            let tier = Criticality::ALL[(chance.draw() % 4) as usize];
            match chance.draw() % 8 {
                0..=3 => {
                    let caller = chance.draw() % [3, 40][(seed % 2) as usize];
                    let deadline = now.plus(chance.draw() % (20 * MS));
                    let deadline = chance.draw().is_multiple_of(2).then_some(deadline);
                    match gate.arrive(now, tier, caller, deadline) {
                        Arrived::Admitted(place) => running.push((None, place)),
                        Arrived::Waiting(ticket) => {
                            assert!(fresh.last() < Some(&ticket), "never given out twice");
                            fresh.push(ticket);
                            waiting.insert(ticket, ());
                        }
                        Arrived::Refused(_) => {}
                    }
                }
                4 => {
                    let ticket = waiting.keys().next().copied();
                    if let Some(ticket) = ticket {
                        waiting.remove(&ticket);
                        gate.leave(now, ticket);
                    }
                }
                5 if !running.is_empty() => {
                    if let (Some(ticket), _) = running[0] {
                        running.swap_remove(0);
                        gate.leave(now, ticket);
                    }
                }
                6 if chance.draw().is_multiple_of(16) => {
                    waiting_max = (chance.draw() % 16) as u32;
                    let limit = 1 + (chance.draw() % 6) as u32;
                    gate.reload(&settings(limit, waiting_max), now);
                }
                _ if !running.is_empty() => {
                    let at = (chance.draw() as usize) % running.len();
                    let (_, place) = running.swap_remove(at);
                    gate.ended(now, place, OK);
                }
                _ => {}
            }
            while let Some((ticket, answer)) = gate.next(now) {
                assert!(
                    waiting.remove(&ticket).is_some(),
                    "one answer, to who waits"
                );
                if let Ok(place) = answer {
                    running.push((Some(ticket), place));
                    assert!(gate.in_flight() <= gate.limit());
                }
            }
            assert_eq!(gate.in_flight() as usize, running.len());
            assert_eq!(gate.waiting() as usize, waiting.len());
            assert!(gate.waiting() <= waiting_max);
            assert!(gate.due().is_none_or(|due| due > now));
            assert!(gate.waiting() == 0 || gate.in_flight() >= gate.limit());
        }
    }
}

#[test]
fn the_highest_tier_is_answered_whatever_the_others_do() {
    let mut rig = Rig::new(&Concurrency::default(), 1);
    rig.source(Critical, 1, 0.75 * 5_000.0);
    rig.source(BestEffort, 2, 9.25 * 5_000.0);
    rig.run(2 * SECOND);
    rig.count_anew();
    rig.run(10 * SECOND);
    let critical = &rig.tallies[0];
    let lost = f64::from(critical.shed()) / f64::from(critical.came);
    assert!(lost <= 0.001, "{lost} of the highest tier were refused");
}

#[test]
fn a_queue_for_a_moment_is_no_overload() {
    let mut rig = Rig::new(&Concurrency::default(), 2);
    rig.source(Normal, 1, 0.8 * 5_000.0);
    rig.run(2 * SECOND);
    rig.count_anew();
    rig.run(15 * SECOND);
    let total = rig.total();
    assert!(f64::from(total.shed()) < 0.001 * f64::from(total.came));
}

#[test]
fn a_flood_of_one_caller_does_not_starve_another() {
    let mut rig = Rig::new(&Concurrency::default(), 3);
    rig.source(Normal, 1, 9.0 * 5_000.0);
    rig.source(Normal, 2, 0.3 * 5_000.0);
    rig.run(2 * SECOND);
    rig.count_anew();
    rig.run(5 * SECOND);
    let modest = &rig.tallies[1];
    let lost = f64::from(modest.shed()) / f64::from(modest.came);
    assert!(
        lost < 0.01,
        "{lost} of the modest caller's were refused: {:?}",
        modest.refused
    );
}

/// Arrives, and says whether it was let in.
fn let_in(gate: &mut Gate, now: MonoNs, tier: Criticality) -> Option<Place> {
    match gate.arrive(now, tier, 1, None) {
        Arrived::Admitted(place) => Some(place),
        Arrived::Refused(Refusal::Full { limit: 10 }) => None,
        other => panic!("neither admitted nor refused for want of a place: {other:?}"),
    }
}

/// How many of a tier are let in at once; they end again.
fn fits(gate: &mut Gate, now: MonoNs, tier: Criticality) -> usize {
    let places: Vec<_> = std::iter::from_fn(|| let_in(gate, now, tier)).collect();
    for place in &places {
        gate.ended(now, *place, OK);
    }
    places.len()
}

#[test]
fn without_a_room_lower_tiers_leave_free_what_higher_ones_lately_used() {
    let mut gate = gate(10, 0);
    let now = MonoNs(0);
    let critical: Vec<_> = (0..4)
        .map(|_| let_in(&mut gate, now, Critical).expect("free"))
        .collect();
    for place in critical {
        gate.ended(now, place, OK);
    }
    assert_eq!(
        fits(&mut gate, now, BestEffort),
        10,
        "nothing is kept before anybody was refused"
    );
    assert_eq!(fits(&mut gate, now, BestEffort), 6, "four are kept");
    assert_eq!(fits(&mut gate, now, Normal), 6);
    let low: Vec<_> = std::iter::from_fn(|| let_in(&mut gate, now, BestEffort)).collect();
    assert_eq!(low.len(), 4, "and the six of the tier above it");
    assert_eq!(fits(&mut gate, now, Critical), 6, "the highest takes all");
    for place in low {
        gate.ended(now, place, OK);
    }
    // An interval without a refusal later they are not scarce.
    let place = let_in(&mut gate, now.plus(100 * MS - 1), Normal).expect("six may run");
    assert_eq!(fits(&mut gate, now.plus(100 * MS), BestEffort), 9);
    // Scarce again, but what was used is forgotten after two slices.
    let later = MonoNs(5 * SECOND);
    gate.ended(later, place, OK);
    assert_eq!(fits(&mut gate, later, Batch), 10);
    assert_eq!(fits(&mut gate, later, Batch), 10);
}

#[test]
fn without_a_room_the_highest_tier_is_served_at_ten_times_the_load() {
    let mut rig = Rig::new(&settings(60, 0), 1);
    rig.source(Critical, 1, 0.6 * 5_000.0);
    rig.source(BestEffort, 2, 9.4 * 5_000.0);
    rig.run(2 * SECOND);
    rig.count_anew();
    rig.run(5 * SECOND);
    let critical = &rig.tallies[0];
    let lost = f64::from(critical.shed()) / f64::from(critical.came);
    assert!(lost <= 0.01, "{lost} of the highest tier were refused");
    assert!(rig.total().done > 5 * 4_000, "the rest is used");
}

#[test]
fn other_settings_hold_for_those_who_wait_already() {
    let now = MonoNs(0);
    let mut gate = gate(1, 8);
    let _place = admitted(gate.arrive(now, Normal, 1, None));
    let normal = [1, 2].map(|caller| waits(gate.arrive(now, Normal, caller, None)));
    let batch = [3, 4].map(|caller| waits(gate.arrive(now, Batch, caller, None)));
    gate.reload(&settings(1, 3), now);
    let refusal = Refusal::QueueFull {
        tier: Batch,
        waiting_max: 3,
    };
    assert_eq!(gate.next(now), Some((batch[1], Err(refusal))));
    assert_eq!(gate.next(now), None);
    assert_eq!(gate.due(), Some(MonoNs(5 * MS)));
    let mut patient = settings(1, 3);
    patient.queue.target = Duration::from_millis(50);
    patient.queue.interval = Duration::from_millis(1_000);
    gate.reload(&patient, now);
    assert_eq!(gate.due(), Some(MonoNs(50 * MS)));
    assert_eq!(
        gate.next(MonoNs(60 * MS)),
        None,
        "late, and no overload yet"
    );
    assert_eq!(gate.due(), Some(MonoNs(1_060 * MS)));
    gate.reload(&settings(3, 3), now);
    for ticket in normal {
        assert_eq!(gate.next(now).map(|it| it.0), Some(ticket));
    }
    assert_eq!(gate.next(now), None);
    gate.reload(&settings(3, 0), now);
    let (ticket, answer) = gate.next(now).expect("the room is closed");
    assert_eq!((ticket, answer.is_err()), (batch[0], true));
    assert_eq!((gate.in_flight(), gate.waiting()), (3, 0));
}

#[test]
fn callers_are_found_again_when_the_room_was_made_larger_or_smaller() {
    let mut gate = gate(1, 64);
    let now = MonoNs(0);
    let _place = admitted(gate.arrive(now, Normal, 0, None));
    for caller in 0..16 {
        let _ = waits(gate.arrive(now, Normal, caller * 77, None));
    }
    for waiting_max in [1_000, 32, 17] {
        gate.reload(&settings(1, waiting_max), now);
        let sizes = gate.room.sizes();
        for caller in 0..16 {
            let ticket = waits(gate.arrive(now, Normal, caller * 77, None));
            gate.leave(now, ticket);
        }
        assert_eq!(gate.room.sizes().1, sizes.1, "nobody is a new caller");
    }
}

#[test]
fn slots_and_callers_are_used_again_however_many_come() {
    let mut gate = gate(2, 10);
    let mut places = vec![admitted(gate.arrive(MonoNs(0), Normal, 0, None))];
    for turn in 1..20_000_u64 {
        let now = MonoNs(turn * MS);
        match gate.arrive(now, Normal, turn, Some(now.plus(7 * MS))) {
            Arrived::Admitted(place) => places.push(place),
            Arrived::Waiting(ticket) if turn.is_multiple_of(3) => gate.leave(now, ticket),
            _ => {}
        }
        if turn.is_multiple_of(2) && !places.is_empty() {
            gate.ended(now, places.remove(0), OK);
        }
        while let Some((_, answer)) = gate.next(now) {
            places.extend(answer.ok());
        }
    }
    let (slots, callers) = gate.room.sizes();
    assert!(
        slots <= 12,
        "{slots} slots for ten who wait and two who run"
    );
    assert!(callers <= 10, "{callers} callers for ten who wait");
}

#[test]
fn under_overload_a_caller_with_nobody_standing_is_served_in_order() {
    let mut gate = gate(1, 100);
    let place = admitted(gate.arrive(MonoNs(0), Normal, 1, None));
    let _old = waits(gate.arrive(MonoNs(0), Normal, 1, None));
    assert_eq!(gate.next(MonoNs(5 * MS)), None);
    let now = MonoNs(105 * MS);
    let standing = waits(gate.arrive(MonoNs(101 * MS), Normal, 1, None));
    let first = waits(gate.arrive(now, Normal, 2, None));
    let second = waits(gate.arrive(now, Normal, 2, None));
    let newest = waits(gate.arrive(now, Normal, 1, None));
    assert!(gate.next(now).is_some_and(|it| it.1.is_err()), "shed");
    assert!(gate.is_overloaded(Normal));
    let mut place = place;
    let mut order = Vec::new();
    for _ in 0..4 {
        let (ticket, next) = passes(&mut gate, now, place);
        order.push(ticket);
        place = next;
    }
    assert_eq!(order, [newest, first, standing, second]);
}
