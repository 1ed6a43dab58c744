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
    let newer = waits(gate.arrive(MonoNs(104 * MS), Normal, 1, None));
    let newest = waits(gate.arrive(MonoNs(104 * MS), Normal, 1, None));
    let (ticket, answer) = gate.next(MonoNs(105 * MS)).expect("the old is shed");
    assert_eq!(ticket, old);
    assert_eq!(answer.expect_err("shed").slug(), "queue-delay");
    assert_eq!(passes(&mut gate, MonoNs(106 * MS), place).0, newest);
    assert_eq!(gate.next(MonoNs(108 * MS)), None);
    assert_eq!(gate.due(), Some(MonoNs(109 * MS)));
    assert_eq!(gate.next(MonoNs(109 * MS)).map(|it| it.0), Some(newer));
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
        let (mut now, mut running) = (MonoNs(0), Vec::new());
        let mut waiting: BTreeMap<Ticket, ()> = BTreeMap::new();
        let mut fresh: Vec<Ticket> = Vec::new();
        for _ in 0..2_000 {
            now = now.plus(chance.draw() % (2 * MS));
            let tier = Criticality::ALL[(chance.draw() % 4) as usize];
            match chance.draw() % 8 {
                0..=3 => {
                    let caller = chance.draw() % 3;
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
            assert!(gate.waiting() <= 8);
            assert!(gate.due().is_none_or(|due| due > now));
            assert!(gate.waiting() == 0 || gate.in_flight() == gate.limit());
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
        lost < 0.05,
        "{lost} of the modest caller's were refused: {:?}",
        modest.refused
    );
}
