//! Parked events and dead letters.

use posthaste_core::machine::Bounds;

use crate::script::{check, check_within};

#[test]
fn a_parked_event_parks_its_key_and_the_others_flow() {
    check(
        "0 publish orders to=1 to=1 to=2 to=1   => 1@0+4
         0 set-group orders billing from=0      => in force
         1 take orders billing max=2            => #1: 0, 1
         2 end orders billing #1 0=park         => settled
         2 group orders billing                 => at 0 of 2, 0 parking, 1 parking
         3 end orders billing #1 1=done         => NotLeased { position: 1 }
         4 take orders billing                  => #2: 2
         4 group orders billing                 => at 0 of 4, 0 parking, 1 parking, 2 #2, 3 parking
         5 keep                                 => 0, 1, 3
         5 keep                                 => nothing
         6 group orders billing                 => at 2 of 4, 2 #2, 0 parked failed, 1 parked behind, 3 parked behind
         7 end orders billing #2 2=done         => settled
         8 publish orders to=1 to=3             => 1@4+2
         9 take orders billing #2               => #2: 5
         9 keep                                 => 4
         9 counted orders billing               => 1 done, 4 parked",
    );
}

#[test]
fn events_of_the_key_that_wait_are_parked_with_time() {
    check(
        "0 publish orders to=1 to=1 to=1        => 1@0+3
         0 set-group orders billing from=0      => in force
         1 take orders billing max=1 for=1000   => #1: 0
         1 take orders billing for=1000         => #2: nothing
         2 end orders billing #1 0=park         => settled
         2 group orders billing                 => at 0 of 3, 0 parking, 1 held, 2 held
         2 wake                                 => Some(0)
         3 take orders billing #2               => #2: nothing
         4 tick                                 => 1 parking, 2 parking
         4 wake                                 => Some(997)
         5 keep                                 => 0, 1, 2",
    );
}

#[test]
fn a_released_key_comes_back_in_order_from_its_copies() {
    check(
        "0 publish orders to=1 to=1 to=2        => 1@0+3
         0 set-group orders billing from=0      => in force
         1 take orders billing                  => #1: 0, 1, 2
         2 end orders billing #1 0=park 2=done  => settled
         3 keep                                 => 0, 1
         4 publish orders to=1                  => 1@3+1
         5 unpark orders billing key=1; cancel 9 => command 1: NoSuchJob
         5 group orders billing                 => at 3 of 3, 0 parked failed, 1 parked behind
         6 unpark orders billing key=1          => 2 moved
         6 claimable                            => 1
         6 group orders billing                 => at 3 of 3, 0 held, 1 held
         7 take orders billing #1               => #1: 0 copy, 1 copy, 3
         8 end orders billing #1 0=done 1=done  => settled
         9 group orders billing                 => at 3 of 4, 3 #1
         9 unpark orders billing key=1          => 0 moved
         9 unpark orders billing                => 0 moved",
    );
}

#[test]
fn a_release_in_time_needs_no_copy() {
    check(
        "0 publish orders to=1 to=1              => 1@0+2
         0 set-group orders billing from=0       => in force
         1 take orders billing                   => #1: 0, 1
         2 end orders billing #1 0=park          => settled
         3 unpark orders billing                 => 2 moved
         4 keep                                  => nothing
         5 take orders billing #1                => #1: 0, 1
         6 counted orders billing                => nothing",
    );
}

#[test]
fn events_of_a_key_are_released_from_the_first() {
    check(
        "0 publish orders to=1 to=1 to=1         => 1@0+3
         0 set-group orders billing from=0       => in force
         1 take orders billing                   => #1: 0, 1, 2
         2 end orders billing #1 0=park          => settled
         2 keep                                  => 0, 1, 2
         3 unpark orders billing at=1            => OutOfOrder { position: 1, first: 0 }
         3 unpark orders billing at=7            => NoSuchEvent { position: 7 }
         4 unpark orders billing at=0            => 1 moved
         5 take orders billing #1                => #1: 0 copy
         6 end orders billing #1 0=done          => settled
         7 publish orders to=1                   => 1@3+1
         8 take orders billing #1                => #1: nothing
         8 keep                                  => 3
         9 unpark orders billing at=1 skip       => 1 moved
         9 unpark orders billing at=1            => NoSuchEvent { position: 1 }
         10 unpark orders billing key=1          => 2 moved
         11 take orders billing #1               => #1: 2 copy, 3 copy
         12 counted orders billing               => 1 done, 4 parked, 1 skipped",
    );
}

#[test]
fn a_released_event_that_fails_again_is_parked_again() {
    check(
        "0 publish orders to=1 to=1              => 1@0+2
         0 set-group orders billing from=0 attempts=2 => in force
         1 take orders billing                   => #1: 0, 1
         2 end orders billing #1 0=park          => settled
         2 keep                                  => 0, 1
         3 unpark orders billing at=0            => 1 moved
         4 take orders billing #1                => #1: 0 copy
         5 end orders billing #1 0=retry:0       => settled
         6 take orders billing #1                => #1: 0 attempt 2 copy
         7 end orders billing #1 0=retry         => settled
         8 keep                                  => 0
         9 group orders billing                  => at 2 of 2, 0 parked exhausted, 1 parked behind",
    );
}

#[test]
fn skipped_events_are_forgotten_and_their_key_flows() {
    check(
        "0 publish orders to=1 to=2 to=2         => 1@0+3
         0 set-group orders billing from=0       => in force
         1 take orders billing                   => #1: 0, 1, 2
         2 end orders billing #1 0=park 1=park   => settled
         2 unpark orders billing at=2 skip       => 1 moved
         3 keep                                  => 0, 1
         4 unpark orders billing skip; cancel 9  => command 1: NoSuchJob
         5 unpark orders billing skip            => 2 moved
         6 publish orders to=1                   => 1@3+1
         7 take orders billing #1                => #1: 3
         8 counted orders billing                => 2 parked, 3 skipped",
    );
}

#[test]
fn a_group_whose_parked_list_is_full_pauses_and_goes_on_by_itself() {
    check(
        "0 publish orders to=1 to=2 to=3 to=4    => 1@0+4
         0 set-group orders billing from=0 parked=2 => in force
         1 take orders billing max=3             => #1: 0, 1, 2
         2 end orders billing #1 0=park 1=park 2=park => settled
         2 claimable                             => nothing
         3 keep                                  => 0, 1
         4 group orders billing                  => at 2 of 3, 2 parking, 0 parked failed, 1 parked failed, paused parked-full
         5 take orders billing #1                => #1: nothing
         6 unpark orders billing at=0 skip       => 1 moved
         6 keep                                  => 2
         7 take orders billing #1                => #1: nothing
         8 unpark orders billing at=1 skip       => 1 moved
         8 claimable                             => 1
         9 take orders billing #1                => #1: 3
         9 group orders billing                  => at 3 of 4, 3 #1, 2 parked failed",
    );
}

#[test]
fn a_full_group_goes_on_when_it_may_park_more() {
    check(
        "0 publish orders to=1 to=2              => 1@0+2
         0 set-group orders billing from=0 parked=1 => in force
         1 take orders billing max=1             => #1: 0
         2 end orders billing #1 0=park          => settled
         2 claimable                             => nothing
         3 set-group orders billing parked=2     => in force
         3 claimable                             => 1
         4 set-group orders billing paused       => in force
         4 take orders billing #1                => #1: nothing
         4 unpark orders billing skip            => 1 moved
         5 take orders billing #1                => #1: nothing
         5 group orders billing                  => at 1 of 1, paused person",
    );
}

#[test]
fn a_copy_for_which_there_is_no_room_any_more_is_asked_for_again() {
    check(
        "0 publish orders to=1 to=2              => 1@0+2
         0 set-group orders billing from=0       => in force
         1 take orders billing                   => #1: 0, 1
         2 end orders billing #1 0=park 1=park; set-group orders billing parked=1 => settled, in force
         3 keep                                  => 0
         4 set-group orders billing parked=2     => in force
         5 keep                                  => 1",
    );
}

#[test]
fn what_still_has_to_be_copied_is_told_again_after_the_store_was_opened() {
    check(
        "0 publish orders to=1 to=2              => 1@0+2
         0 set-group orders billing from=0       => in force
         1 take orders billing                   => #1: 0, 1
         2 end orders billing #1 0=park 1=dead   => settled
         3 crashed                               => nothing
         4 keep                                  => 1, 0
         5 group orders billing                  => at 2 of 2, 0 parked failed, 1 dead failed",
    );
}

#[test]
fn a_dead_event_lets_its_key_move_on() {
    check(
        "0 publish orders to=1 to=1              => 1@0+2
         0 set-group orders billing from=0       => in force
         1 take orders billing                   => #1: 0, 1
         2 end orders billing #1 0=dead          => settled
         2 group orders billing                  => at 0 of 2, 0 dying, 1 #1
         3 end orders billing #1 1=done          => settled
         4 keep                                  => 0
         5 group orders billing                  => at 2 of 2, 0 dead failed
         6 redrive orders billing at=1           => NoSuchEvent { position: 1 }
         6 redrive orders billing at=0; cancel 9 => command 1: NoSuchJob
         7 redrive orders billing at=0           => 1 moved
         8 group orders billing                  => at 2 of 2, 0 held
         9 take orders billing #1                => #1: 0 copy
         10 counted orders billing               => 1 done, 1 dead",
    );
}

#[test]
fn the_last_attempt_ends_as_declared() {
    check(
        "0 publish orders to=1 to=2              => 1@0+2
         0 set-group orders billing from=0 attempts=2 delay=0 => in force
         0 set-group orders mails from=0 attempts=1 dead => in force
         1 take orders billing max=1             => #1: 0
         2 end orders billing #1 0=retry         => settled
         3 take orders billing #1 max=1          => #1: 0 attempt 2
         4 end orders billing #1 0=retry:9       => settled
         5 take orders mails max=1               => #2: 0
         6 end orders mails #2 0=retry:9         => settled
         7 keep                                  => 0, 0
         8 group orders billing                  => at 1 of 1, 0 parked exhausted
         8 group orders mails                    => at 1 of 1, 0 dead exhausted
         9 counted orders billing                => 1 retried, 1 parked, 1 redelivered",
    );
}

#[test]
fn a_redriven_event_waits_for_those_of_its_key_that_are_in_hands() {
    check(
        "0 publish orders to=1 to=1 to=1 to=2    => 1@0+4
         0 set-group orders billing from=0       => in force
         1 take orders billing max=2             => #1: 0, 1
         2 end orders billing #1 0=dead          => settled
         3 keep                                  => 0
         4 redrive orders billing key=1          => 1 moved
         5 take orders billing #1                => #1: 3
         5 group orders billing                  => at 1 of 4, 0 held, 1 #1, 2 held, 3 #1
         6 end orders billing #1 1=done          => settled
         7 take orders billing #1                => #1: 0 copy, 2",
    );
}

#[test]
fn a_redriven_event_of_a_parked_key_is_parked_behind_it() {
    check(
        "0 publish orders to=1 to=1 to=1         => 1@0+3
         0 set-group orders billing from=0       => in force
         1 take orders billing                   => #1: 0, 1, 2
         2 end orders billing #1 0=done 1=dead   => settled
         3 keep                                  => 1
         4 end orders billing #1 2=release       => settled
         5 reset-group orders billing to=0       => in force
         6 take orders billing #1 max=1          => #1: 0
         7 end orders billing #1 0=park          => settled
         8 redrive orders billing                => 1 moved
         9 tick                                  => 1 parking
         9 take orders billing #1                => #1: nothing
         9 keep                                  => 0, 1, 2
         10 group orders billing                 => at 3 of 3, 0 parked failed, 1 parked behind, 2 parked behind",
    );
}

#[test]
fn dead_letters_that_were_there_longest_are_forgotten_first() {
    let bounds = Bounds {
        dead_letters: 2,
        ..Bounds::default()
    };
    check_within(
        bounds,
        "0 publish orders to=1 to=2 to=3         => 1@0+3
         0 set-group orders billing from=0       => in force
         1 take orders billing                   => #1: 0, 1, 2
         2 end orders billing #1 1=dead          => settled
         2 keep                                  => 1
         3 end orders billing #1 0=dead          => settled
         3 keep                                  => 0
         4 end orders billing #1 2=dead          => settled
         4 keep                                  => 2
         5 group orders billing                  => at 3 of 3, 0 dead failed, 2 dead failed",
    );
}

#[test]
fn no_more_is_released_than_may_be_unfinished() {
    let bounds = Bounds {
        unfinished: 2,
        ..Bounds::default()
    };
    check_within(
        bounds,
        "0 publish orders to=1 to=2 to=3 to=4    => 1@0+4
         0 set-group orders billing from=0       => in force
         1 take orders billing                   => #1: 0, 1
         2 end orders billing #1 0=park 1=dead   => settled
         2 keep                                  => 1, 0
         3 take orders billing #1                => #1: 2, 3
         4 unpark orders billing                 => UnfinishedFull
         4 redrive orders billing                => UnfinishedFull
         5 end orders billing #1 2=park          => settled
         5 keep                                  => 2
         6 unpark orders billing                 => 1 moved, 1 left
         7 group orders billing                  => at 3 of 4, 0 held, 3 #1, 2 parked failed, 1 dead failed",
    );
}

#[test]
fn what_is_kept_stays_when_the_group_is_reset() {
    check(
        "0 publish orders to=1 to=1 to=2 to=3    => 1@0+4
         0 set-group orders billing from=0       => in force
         1 take orders billing                   => #1: 0, 1, 2, 3
         2 end orders billing #1 0=park 2=dead 3=dead => settled
         3 keep                                  => 2, 3, 0, 1
         4 reset-group orders billing to=0       => in force
         4 group orders billing                  => at 0 of 0, 0 parked failed, 1 parked behind, 2 dead failed, 3 dead failed
         5 take orders billing #1                => #1: 2, 3
         6 group orders billing                  => at 2 of 4, 2 #1, 3 #1, 0 parked failed, 1 parked behind, 2 dead failed, 3 dead failed
         7 redrive orders billing at=2           => EventUnfinished { position: 2 }
         7 redrive orders billing                => 0 moved
         8 end orders billing #1 2=done 3=dead   => settled
         8 keep                                  => 3
         9 redrive orders billing at=2           => 1 moved
         10 take orders billing #1               => #1: 2 copy
         11 group orders billing                 => at 4 of 4, 2 #1, 0 parked failed, 1 parked behind, 3 dead failed",
    );
}

#[test]
fn what_was_released_or_is_on_its_way_stays_when_the_group_is_reset() {
    check(
        "0 publish orders to=1 to=1 to=2 to=3 to=4 => 1@0+5
         0 set-group orders billing from=0       => in force
         1 take orders billing                   => #1: 0, 1, 2, 3, 4
         2 end orders billing #1 0=park          => settled
         2 keep                                  => 0, 1
         3 unpark orders billing                 => 2 moved
         4 take orders billing #1 max=1          => #1: 0 copy
         5 end orders billing #1 2=park 3=dead 4=dead => settled
         6 reset-group orders billing to=4 force => in force
         6 group orders billing                  => at 2 of 4, 0 held, 1 held, 2 parking, 3 dying
         7 take orders billing                   => #2: 0 copy, 1 copy, 4
         8 reset-group orders billing to=0 force => in force
         8 group orders billing                  => at 0 of 0, 0 held, 1 held, 2 parking
         9 keep                                  => 2
         10 take orders billing                  => #3: 0, 1, 3, 4
         11 group orders billing                 => at 0 of 5, 0 #3, 1 #3, 3 #3, 4 #3, 2 parked failed",
    );
}

#[test]
fn copies_are_moved() {
    check(
        "0 publish orders to=1 to=2 to=1         => 1@0+3
         0 set-group orders billing from=0       => in force
         1 take orders billing                   => #1: 0, 1, 2
         2 end orders billing #1 0=park 1=dead   => settled
         3 keep                                  => 1, 0, 2
         4 move orders billing at=0; cancel 9    => command 1: NoSuchJob
         5 move orders billing at=0              => noted
         5 move orders billing at=0 note         => noted
         6 move orders billing at=1              => noted
         7 unpark orders billing at=0            => 1 moved
         8 move orders billing at=0              => noted
         9 take orders billing #1                => #1: 0 copy",
    );
}

#[test]
fn an_event_that_waits_for_its_retry_is_parked_behind_an_earlier_one() {
    check(
        "0 publish orders to=1 to=1              => 1@0+2
         0 set-group orders billing from=0       => in force
         1 take orders billing                   => #1: 0, 1
         2 end orders billing #1 0=dead 1=retry:50 => settled
         3 keep                                  => 0
         4 redrive orders billing                => 1 moved
         5 take orders billing #1                => #1: 0 copy
         6 end orders billing #1 0=park          => settled
         7 tick                                  => 1 parking
         7 wake                                  => Some(98)
         8 keep                                  => 0, 1
         9 unpark orders billing                 => 2 moved
         10 take orders billing #1               => #1: 0 copy, 1 copy",
    );
}

#[test]
fn what_lies_ahead_after_a_reset_waits_for_its_turn() {
    check(
        "0 publish orders to=1 to=2 to=1         => 1@0+3
         0 set-group orders billing from=0       => in force
         1 take orders billing                   => #1: 0, 1, 2
         2 end orders billing #1 0=done 1=dead 2=park => settled
         3 keep                                  => 1, 2
         4 reset-group orders billing to=0       => in force
         5 unpark orders billing; redrive orders billing => 1 moved, 1 moved
         5 group orders billing                  => at 0 of 0, 1 held, 2 held
         5 claimable                             => nothing
         6 take orders billing #1                => #1: 0, 1, 2
         7 end orders billing #1 2=done          => OutOfOrder { position: 2, first: 0 }
         8 group orders billing                  => at 0 of 3, 0 #1, 1 #1, 2 #1
         9 end orders billing #1 0=done 1=done   => settled
         10 end orders billing #1 2=done         => settled
         11 take orders billing #1               => #1: nothing
         11 counted orders billing               => 4 done, 1 parked, 1 dead",
    );
}

#[test]
fn an_event_before_a_parked_one_of_its_key_is_not_parked_behind_it() {
    check(
        "0 publish orders to=1 to=1 to=1         => 1@0+3
         0 set-group orders billing from=0       => in force
         1 take orders billing                   => #1: 0, 1, 2
         2 end orders billing #1 0=done 1=done 2=park => settled
         3 keep                                  => 2
         4 reset-group orders billing to=0       => in force
         5 take orders billing #1 max=1          => #1: 0
         6 take orders billing                   => #2: nothing
         6 group orders billing                  => at 0 of 3, 0 #1, 1 held, 2 parked failed
         7 end orders billing #1 0=done          => settled
         8 take orders billing #2                => #2: 1",
    );
}

/// It is met again on the way, and its retry was due before.
#[test]
fn what_was_released_has_its_turn_where_it_lies_after_a_reset() {
    check(
        "0 publish orders to=1 to=2 to=3 to=1    => 1@0+4
         0 set-group orders billing from=0       => in force
         1 take orders billing                   => #1: 0, 1, 2, 3
         2 end orders billing #1 2=park          => settled
         3 keep                                  => 2
         4 unpark orders billing                 => 1 moved
         5 take orders billing #1                => #1: 2 copy
         6 end orders billing #1 2=retry:10      => settled
         7 reset-group orders billing to=0 force => in force
         20 take orders billing max=3            => #2: 0, 1, 2 attempt 2",
    );
}
