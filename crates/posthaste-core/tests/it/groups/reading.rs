//! What comes up: published, read back, compacted, or gone.

use posthaste_core::machine::Bounds;

use crate::script::{check, check_within};

#[test]
fn what_is_published_comes_up_by_itself_once_a_group_is_fed() {
    check(
        "0 publish orders to=1                => 1@0+1
         0 set-group orders billing from=0    => in force
         0 feed                               => nothing
         1 take orders billing                => #1: 0
         2 publish orders to=2 to=3           => 1@1+2
         2 feed                               => nothing
         2 claimable                          => 1
         3 take orders billing #1             => #1: 1, 2
         4 publish orders to=4; cancel 9      => command 1: NoSuchJob
         5 take orders billing #1             => #1: nothing
         6 publish orders to=4                => 1@3+1
         7 take orders billing #1             => #1: 3",
    );
}

#[test]
fn little_comes_up_at_once_and_the_rest_is_read() {
    let bounds = Bounds {
        ahead: 4,
        ..Bounds::default()
    };
    check_within(
        bounds,
        "0 publish orders to=1                => 1@0+1
         0 set-group orders billing from=0    => in force
         1 take orders billing                => #1: 0
         2 publish orders to=2 to=3 to=4 to=5 to=6 to=7 => 1@1+6
         2 feed                               => nothing
         3 take orders billing #1 max=2       => #1: 1, 2
         4 publish orders to=8                => 1@7+1
         5 feed                               => nothing
         6 take orders billing #1 max=3       => #1: 3, 4, 5
         7 feed                               => nothing
         8 take orders billing #1             => #1: 6, 7",
    );
}

#[test]
fn nobody_reads_for_a_group_without_members() {
    check(
        "0   publish orders to=1              => 1@0+1
         0   set-group orders billing from=0  => in force
         1   take orders billing              => #1: 0
         2   end orders billing #1 0=done     => settled
         3   publish orders to=2              => 1@1+1
         4   leave orders billing #1          => left
         5   publish orders to=3              => 1@2+1
         5   feed                             => nothing
         6   claimable                        => nothing
         7   take orders billing max=0        => #2: nothing
         8   take orders billing #2           => #2: 1, 2",
    );
}

#[test]
fn the_position_passes_holes_of_compaction() {
    check(
        "0 publish orders to=1 to=2 to=3 to=4 => 1@0+4
         0 set-group orders billing from=0    => in force
         1 compacted orders 0 2 3             => gone
         2 take orders billing                => #1: 1
         3 group orders billing               => at 1 of 4, 1 #1
         4 end orders billing #1 1=done       => settled
         5 group orders billing               => at 4 of 4
         6 counted orders billing             => 1 done",
    );
}

#[test]
fn what_retention_took_is_counted() {
    check(
        "0 publish orders to=1 to=2 to=3      => 1@0+3
         0 set-group orders billing from=0    => in force
         1 expired orders to=2                => gone
         2 take orders billing                => #1: 2
         3 group orders billing               => at 2 of 3, 2 #1
         4 counted orders billing             => 2 lost
         5 crashed                            => nothing
         6 take orders billing                => #2: nothing
         6 counted orders billing             => 2 lost",
    );
}

#[test]
fn a_topic_of_which_everything_is_gone_is_passed() {
    check(
        "0 publish orders to=1 to=2           => 1@0+2
         0 set-group orders billing from=0    => in force
         1 expired orders to=2                => gone
         2 take orders billing                => #1: nothing
         3 group orders billing               => at 2 of 2
         3 counted orders billing             => 2 lost",
    );
}

#[test]
fn an_event_that_cannot_be_read_any_more_is_passed_and_counted() {
    check(
        "0 publish orders to=1 to=1           => 1@0+2
         0 set-group orders billing from=0    => in force
         1 take orders billing                => #1: 0, 1
         2 lose orders billing at=0           => noted
         2 lose orders billing at=0           => noted
         3 group orders billing               => at 1 of 2, 1 #1
         4 end orders billing #1 1=done       => settled
         5 counted orders billing             => 1 done, 1 lost",
    );
}

#[test]
fn a_group_without_room_passes_nothing_and_is_read_for_when_there_is_some() {
    check(
        "0 publish orders to=1 to=2                 => 1@0+2
         0 set-group orders billing from=0 paused   => in force
         1 take orders billing                      => #1: nothing
         2 publish orders to=3                      => 1@2+1
         3 set-group orders billing resumed         => in force
         4 claimable                                => 1
         5 take orders billing #1                   => #1: 0, 1, 2",
    );
}

#[test]
fn what_could_not_be_read_is_read_when_a_member_asks_again() {
    check(
        "0 publish orders to=1                   => 1@0+1
         0 set-group orders billing from=0       => in force
         1 join orders billing                   => #1
         2 feed most=0                           => 1 from 0 +4096
         3 feed                                  => nothing
         4 join orders billing #1                => #1
         5 feed                                  => 1 from 0 +4096
         6 claimable                             => 1
         7 take orders billing #1                => #1: 0",
    );
}
