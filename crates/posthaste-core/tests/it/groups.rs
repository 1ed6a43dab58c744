//! Groups: whose turn an event is, how far a group is, and what becomes of events that fail.

mod keeping;
mod members;
mod reading;

use posthaste_core::machine::Bounds;

use crate::script::{check, check_within};

#[test]
fn events_are_handed_out_in_order_and_the_position_follows() {
    check(
        "0 publish orders to=1 to=2 to=3     => 1@0+3
         0 set-group orders billing from=0   => in force
         1 take orders billing max=2         => #1: 0, 1
         2 group orders billing              => at 0 of 2, 0 #1, 1 #1
         3 end orders billing #1 1=done      => settled
         4 group orders billing              => at 0 of 2, 0 #1
         5 end orders billing #1 0=done      => settled
         6 group orders billing              => at 2 of 2
         7 take orders billing #1            => #1: 2
         8 end orders billing #1 2=done      => settled
         9 group orders billing              => at 3 of 3
         9 counted orders billing            => 3 done",
    );
}

#[test]
fn a_new_group_starts_at_the_end_or_where_it_is_told() {
    check(
        "0 set-group orders billing          => NoSuchTopic
         1 publish orders to=1 to=2          => 1@0+2
         2 set-group orders billing          => in force
         2 set-group orders mails from=1     => in force
         2 set-group orders late from=3      => PastEnd { end: 2 }
         3 group orders billing              => at 2 of 2
         3 group orders mails                => at 1 of 1
         4 set-group orders mails from=0     => in force
         4 group orders mails                => at 1 of 1
         5 publish orders to=3               => 1@2+1
         6 take orders billing               => #1: 2
         6 take orders mails                 => #2: 1, 2
         7 publish new to=1; set-group new x => 2@0+1, in force
         7 group new x                       => at 1 of 1",
    );
}

#[test]
fn events_of_one_key_wait_for_one_another_and_others_do_not() {
    check(
        "0 publish orders to=1 to=1 to=2 to=1 to=3 => 1@0+5
         0 set-group orders billing from=0         => in force
         1 take orders billing max=1               => #1: 0
         2 take orders billing                     => #2: 2, 4
         3 group orders billing                    => at 0 of 5, 0 #1, 1 held, 2 #2, 3 held, 4 #2
         4 end orders billing #2 2=done 4=done     => settled
         5 take orders billing #2                  => #2: nothing
         5 claimable                               => 1
         6 end orders billing #1 0=done            => settled
         6 claimable                               => 1
         7 take orders billing #2                  => #2: 1, 3
         8 take orders billing #1                  => #1: nothing
         9 end orders billing #2 1=done            => settled
         9 group orders billing                    => at 3 of 5, 3 #2",
    );
}

#[test]
fn a_member_is_handed_the_run_of_its_keys() {
    check(
        "0 publish orders to=1 to=1 to=2 to=1 => 1@0+4
         0 set-group orders billing from=0    => in force
         1 take orders billing max=1          => #1: 0
         2 take orders billing #1 max=2       => #1: 1, 2
         3 take orders billing                => #2: nothing
         4 take orders billing #1             => #1: 3
         5 end orders billing #1 1=done       => OutOfOrder { position: 1, first: 0 }
         6 end orders billing #1 1=retry      => OutOfOrder { position: 1, first: 0 }
         6 end orders billing #1 3=park       => OutOfOrder { position: 3, first: 0 }
         6 end orders billing #1 3=skip       => OutOfOrder { position: 3, first: 0 }
         6 end orders billing #1 3=dead       => OutOfOrder { position: 3, first: 0 }
         7 end orders billing #1 0=done 1=done 2=done 3=done => settled
         8 group orders billing               => at 4 of 4",
    );
}

#[test]
fn a_run_has_a_length() {
    let many = "to=1 ".repeat(70);
    let script = format!(
        "0 publish orders {many}to=2         => 1@0+71
         0 set-group orders billing from=0   => in force
         1 take orders billing max=62        => #1: {}
         2 take orders billing #1            => #1: 62, 63, 70
         3 end orders billing #1 0=done      => settled
         4 take orders billing #1            => #1: 64",
        (0..62)
            .map(|n| n.to_string())
            .collect::<Vec<_>>()
            .join(", ")
    );
    check(&script);
}

#[test]
fn a_settle_is_all_or_nothing() {
    check(
        "0 publish orders to=1 to=2 to=3         => 1@0+3
         0 set-group orders billing from=0       => in force
         1 take orders billing                   => #1: 0, 1, 2
         2 end orders billing #1 0=done 1=retry:5 2=park 7=done => NotLeased { position: 7 }
         3 group orders billing                  => at 0 of 3, 0 #1, 1 #1, 2 #1
         4 end orders billing #1 0=done 2=dead; cancel 9 => command 1: NoSuchJob
         5 group orders billing                  => at 0 of 3, 0 #1, 1 #1, 2 #1
         6 end orders billing #1 0=done 1=skip 2=done => settled
         7 counted orders billing                => 2 done, 1 skipped",
    );
}

#[test]
fn a_settle_that_is_repeated_says_so_and_what_follows_it_is_not_done_again() {
    check(
        "0 publish orders to=1 to=2 to=3                  => 1@0+3
         0 set-group orders billing from=0                => in force
         1 take orders billing                            => #1: 0, 1, 2
         2 end orders billing #1 0=done; publish x to=1   => settled, 2@0+1
         3 end orders billing #1 0=done; publish x to=1   => settled before, done before
         4 end orders billing #1 0=done 1=done; publish x to=1 => settled, 2@1+1
         5 end orders billing #1 2=retry                  => settled
         6 end orders billing #1 2=retry                  => NotLeased { position: 2 }
         6 end orders billing #1 2=done                   => NotLeased { position: 2 }
         7 end orders billing #9 0=done                   => MemberGone
         8 counted orders billing                         => 2 done, 1 retried",
    );
}

#[test]
fn an_event_that_failed_waits_and_its_key_with_it() {
    check(
        "0    publish orders to=1 to=1 to=2          => 1@0+3
         0    set-group orders billing from=0 delay=50 => in force
         1    take orders billing for=9000           => #1: 0, 1, 2
         2    end orders billing #1 0=retry 2=done   => settled
         3    group orders billing                   => at 0 of 3, 0 until 52, 1 held
         4    end orders billing #1 1=done           => NotLeased { position: 1 }
         5    take orders billing #1                 => #1: nothing
         5    wake                                   => Some(47)
         51   take orders billing #1                 => #1: nothing
         52   tick                                   => nothing
         52   claimable                              => 1
         53   take orders billing #1                 => #1: 0 attempt 2, 1
         54   end orders billing #1 0=retry:0        => settled
         54   take orders billing #1 max=1           => #1: 0 attempt 3
         55   end orders billing #1 0=release        => settled
         55   group orders billing                   => at 0 of 3, 0 held, 1 held
         56   take orders billing #1                 => #1: 0 attempt 3, 1
         57   end orders billing #1 0=done 1=done    => settled
         58   counted orders billing                 => 3 done, 2 retried, 3 redelivered",
    );
}

#[test]
fn a_retry_that_is_due_is_handed_out_without_a_tick_between() {
    check(
        "0  publish orders to=1                => 1@0+1
         0  set-group orders billing from=0    => in force
         1  take orders billing                => #1: 0
         2  end orders billing #1 0=retry:10   => settled
         11 take orders billing #1             => #1: nothing
         12 take orders billing #1             => #1: 0 attempt 2",
    );
}

#[test]
fn a_delay_is_the_backoff_where_none_is_given() {
    check(
        "0    publish orders to=1             => 1@0+1
         0    set-group orders billing from=0 => in force
         0    take orders billing for=9999    => #1: 0
         0    end orders billing #1 0=retry   => settled
         1499 take orders billing #1          => #1: nothing
         2501 take orders billing #1          => #1: 0 attempt 2",
    );
}

#[test]
fn no_more_is_in_flight_than_may_be() {
    check(
        "0 publish orders to=1 to=2 to=3 to=4 => 1@0+4
         0 set-group orders billing from=0 in-flight=2 => in force
         1 take orders billing                => #1: 0, 1
         2 take orders billing                => #2: nothing
         2 claimable                          => nothing
         3 end orders billing #1 1=done       => settled
         3 claimable                          => 1
         4 take orders billing #2             => #2: 2
         5 set-group orders billing in-flight=3 => in force
         5 claimable                          => 1
         6 take orders billing #2             => #2: 3",
    );
}

#[test]
fn no_more_is_looked_at_than_may_be_unfinished() {
    let bounds = Bounds {
        unfinished: 3,
        ..Bounds::default()
    };
    check_within(
        bounds,
        "0 publish orders to=1 to=1 to=1 to=2 => 1@0+4
         0 set-group orders billing from=0    => in force
         1 take orders billing max=1          => #1: 0
         2 take orders billing                => #2: nothing
         3 group orders billing               => at 0 of 3, 0 #1, 1 held, 2 held
         3 claimable                          => 1
         4 end orders billing #1 0=done       => settled
         4 claimable                          => 1
         5 take orders billing #2             => #2: 1, 2, 3
         6 group orders billing               => at 1 of 4, 1 #2, 2 #2, 3 #2",
    );
}

#[test]
fn a_paused_group_hands_out_nothing_and_settles() {
    check(
        "0 publish orders to=1 to=2                 => 1@0+2
         0 set-group orders billing from=0 paused   => in force
         1 take orders billing                      => #1: nothing
         1 group orders billing                     => at 0 of 0, paused person
         1 claimable                                => nothing
         2 set-group orders billing resumed         => in force
         2 claimable                                => 1
         3 take orders billing #1 max=1             => #1: 0
         4 set-group orders billing paused          => in force
         5 end orders billing #1 0=done             => settled
         6 take orders billing #1                   => #1: nothing
         7 set-group orders billing resumed; cancel 9 => command 1: NoSuchJob
         8 take orders billing #1                   => #1: nothing",
    );
}

#[test]
fn groups_are_forgotten_alone_or_with_their_topic() {
    check(
        "0 publish orders to=1                     => 1@0+1
         0 set-group orders billing from=0         => in force
         0 set-group orders mails from=0           => in force
         1 take orders billing                     => #1: 0
         1 take orders mails                       => #2: 0
         2 delete-group orders billing; cancel 9   => command 1: NoSuchJob
         3 group orders billing                    => at 0 of 1, 0 #1
         4 alive orders billing #1                 => go on
         5 delete-group orders billing             => deleted
         5 delete-group orders billing             => NoSuchGroup
         5 end orders billing #1 0=done            => NoSuchGroup
         5 take orders billing #1                  => NoSuchGroup
         6 delete-topic orders; cancel 9           => command 1: NoSuchJob
         6 group orders mails                      => at 0 of 1, 0 #2
         7 delete-topic orders                     => deleted
         7 group orders mails                      => nobody
         8 publish orders to=1                     => 2@0+1
         8 set-group orders mails from=0           => in force
         9 take orders mails                       => #3: 0
         9 take orders mails #2                    => MemberGone
         10 tick                                   => nothing",
    );
}

#[test]
fn there_are_no_more_groups_than_may_be_and_no_number_is_given_twice() {
    let bounds = Bounds {
        groups: 1,
        ..Bounds::default()
    };
    check_within(
        bounds,
        "0 publish orders to=1                  => 1@0+1
         1 set-group orders billing from=0      => in force
         1 set-group orders mails               => GroupsFull
         1 set-group orders billing in-flight=5 => in force
         2 delete-group orders billing; set-group orders mails from=0 => deleted, in force
         3 take orders mails                    => #1: 0
         3 claimable                            => nothing
         4 end orders mails #1 0=release        => settled
         4 claimable                            => 2",
    );
}

#[test]
fn a_group_goes_on_elsewhere_when_it_is_reset() {
    check(
        "0 publish orders to=1 to=2 to=1 to=3   => 1@0+4
         0 set-group orders billing from=0      => in force
         1 take orders billing                  => #1: 0, 1, 2, 3
         2 end orders billing #1 0=done 2=done 1=retry:500 => settled
         3 reset-group orders billing to=2      => GroupBusy { leased: 1 }
         3 reset-group orders billing to=5      => PastEnd { end: 4 }
         4 end orders billing #1 3=done         => settled
         5 reset-group orders billing to=2; cancel 9 => command 1: NoSuchJob
         5 group orders billing                 => at 1 of 4, 1 until 502
         6 reset-group orders billing to=0      => in force
         6 group orders billing                 => at 0 of 0
         6 wake                                 => Some(95)
         7 take orders billing #1 max=2         => #1: 0, 1
         8 take orders billing max=0            => #2: nothing
         9 reset-group orders billing to=3 force => in force
         9 group orders billing                 => at 3 of 3
         10 end orders billing #1 0=done        => MemberGone
         10 alive orders billing #2             => go on
         11 take orders billing #2              => #2: 3
         12 reset-group orders billing to=4 force => in force
         13 take orders billing                 => #3: nothing",
    );
}
