//! Topics: places in the one order and in a partition, ids that come again, and commits that never
//! were.

use posthaste_core::machine::Bounds;

use crate::script::{check, check_within};

#[test]
fn every_event_gets_the_next_position_and_the_next_offset_of_its_partition() {
    check(
        "0 topic orders partitions=2          => in force
         1 publish orders to=0                => 1@0+1
         2 publish orders to=1 to=0 to=3 to=5 => 1@1+4
         3 publish orders to=2                => 1@5+1
         4 topics                             => orders#1 3 3 from 0 to 3",
    );
}

#[test]
fn publishing_makes_a_topic_of_four_partitions() {
    check(
        "7 publish orders to=6             => 1@0+1
         8 publish bills to=0              => 2@0+1
         8 publish orders to=0             => 1@1+1
         9 topics                          => orders#1 1 0 1 0 from 7 to 8, bills#2 1 0 0 0 from 8 to 8",
    );
}

#[test]
fn publishing_makes_no_topic_where_that_is_off() {
    let bounds = Bounds {
        create_topics: false,
        ..Bounds::default()
    };
    check_within(
        bounds,
        "0 publish orders to=0                => NoSuchTopic
         0 publish orders to=0 id=x           => NoSuchTopic
         0 topics                             => nothing
         1 topic orders partitions=1; publish orders to=9 => in force, 1@0+1
         2 delete-topic orders                => deleted
         3 publish orders to=0                => NoSuchTopic",
    );
}

#[test]
fn an_id_that_comes_again_within_ten_minutes_is_told_its_first_place() {
    check(
        "0      publish orders to=1             => 1@0+1
         1      publish orders to=1 id=x        => 1@1+1
         2      publish orders to=1             => 1@2+1
         3      publish orders to=1 id=x        => 1@1 before at 1:1
         4      publish orders to=1 id=y        => 1@3+1
         5      publish bills to=1 id=x         => 2@0+1
         600000 publish orders to=1 id=x        => 1@1 before at 1:1
         600001 publish orders to=1 id=x        => 1@4+1
         600002 publish orders to=1 id=x        => 1@4 before at 1:4
         600003 publish orders to=1 id=y        => 1@3 before at 1:3",
    );
}

#[test]
fn an_id_counts_within_its_own_commit() {
    check(
        "0 publish orders to=1 id=x; publish orders to=1 id=x; publish orders to=1 id=y => 1@0+1, 1@0 before at 1:0, 1@1+1
         1 topics => orders#1 0 2 0 0 from 0 to 0",
    );
}

#[test]
fn an_id_is_forgotten_by_its_age() {
    check(
        "0      publish orders to=0 id=x => 1@0+1
         5      publish orders to=0 id=y => 1@1+1
         100    wake                     => Some(599900)
         599999 tick                     => nothing
         600000 wake                     => Some(0)
         600000 tick                     => 1 events forgotten
         600000 wake                     => Some(5)
         600004 publish orders to=0 id=y => 1@1 before at 0:1
         600005 tick                     => 1 events forgotten
         600006 wake                     => None",
    );
}

#[test]
fn the_ids_seen_first_are_forgotten_where_there_are_too_many() {
    let bounds = Bounds {
        events: 2,
        ..Bounds::default()
    };
    check_within(
        bounds,
        "0 publish orders to=0 id=x => 1@0+1
         1 publish orders to=0 id=y => 1@1+1
         1 wake                     => Some(599999)
         2 publish orders to=0 id=z; publish orders to=0 id=w => 1@2+1, 1@3+1
         3 wake                     => Some(0)
         3 tick                     => 2 events forgotten
         3 wake                     => Some(599999)
         4 publish orders to=0 id=z => 1@2 before at 0:2
         5 publish orders to=0 id=x => 1@4+1
         6 tick                     => 1 events forgotten
         7 publish orders to=0 id=w => 1@3 before at 0:3",
    );
}

#[test]
fn an_id_that_is_forgotten_late_does_not_take_its_second_place_with_it() {
    check(
        "0      publish orders to=0 id=x => 1@0+1
         600000 publish orders to=0 id=x => 1@1+1
         600001 tick                     => 1 events forgotten
         600002 publish orders to=0 id=x => 1@1 before at 0:1",
    );
}

#[test]
fn an_id_is_remembered_when_the_clock_goes_back() {
    check(
        "9000   publish orders to=0 id=x => 1@0+1
         1000   publish orders to=0 id=y => 1@1+1
         1000   publish orders to=0 id=x => 1@0 before at 0:0
         608999 publish orders to=0 id=y => 1@1 before at 0:1
         609000 tick                     => 2 events forgotten",
    );
}

#[test]
fn the_time_of_publishing_never_falls() {
    check(
        "9 publish orders to=0 => 1@0+1
         5 publish orders to=0 => 1@1+1
         5 topics              => orders#1 2 0 0 0 from 9 to 9
         6 publish bills to=0  => 2@0+1
         7 topics              => orders#1 2 0 0 0 from 9 to 9, bills#2 1 0 0 0 from 6 to 6",
    );
}

#[test]
fn a_refused_commit_publishes_nothing_and_remembers_nothing() {
    check(
        "0 publish orders to=0 id=x                                       => 1@0+1
         1 publish orders to=0 to=1 id=y; publish orders to=2 id=z; cancel 9 => command 2: NoSuchJob
         2 topics                                                         => orders#1 1 0 0 0 from 0 to 0
         3 publish orders to=0 id=z                                       => 1@1+1
         4 publish orders to=0 id=y                                       => 1@2+1",
    );
}

#[test]
fn a_topic_made_by_a_refused_commit_never_was() {
    check(
        "0 publish orders to=0 id=x; topic bills partitions=1; publish bills to=0; cancel 9 => command 3: NoSuchJob
         1 topics                   => nothing
         2 publish bills to=0 id=x  => 1@0+1
         3 publish orders to=0 id=x => 2@0+1",
    );
}

#[test]
fn settings_of_a_refused_commit_never_were() {
    check(
        "0 topic orders partitions=2 kept=7               => in force
         1 topic orders kept=9 lz4; topic orders partitions=3 => command 1: PartitionsFixed { partitions: 2 }",
    );
}

#[test]
fn a_topic_deleted_by_a_refused_commit_is_still_there() {
    check(
        "0 publish orders to=0 id=x => 1@0+1
         1 delete-topic orders; publish orders to=3 id=x; delete-topic orders; delete-topic orders => command 3: NoSuchTopic
         2 topics                   => orders#1 1 0 0 0 from 0 to 0
         3 publish orders to=0 id=x => 1@0 before at 0:0
         4 publish bills to=0       => 2@0+1",
    );
}

#[test]
fn a_topic_that_is_made_again_is_another() {
    check(
        "0 publish orders to=0 id=x          => 1@0+1
         1 delete-topic orders               => deleted
         1 delete-topic orders               => NoSuchTopic
         1 topics                            => nothing
         2 publish orders to=0 to=1          => 2@0+2
         3 publish orders to=0 id=x          => 2@2+1
         4 publish orders to=0 id=x          => 2@2 before at 0:1
         5 delete-topic orders; topic orders partitions=7 => deleted, in force
         6 publish orders to=6 id=x          => 3@0+1
         6 crashed                           => nothing
         7 publish orders to=6 id=x          => 3@0 before at 6:0",
    );
}

#[test]
fn no_number_is_given_twice_also_when_the_last_topic_is_deleted() {
    check(
        "0 publish orders to=0 => 1@0+1
         1 delete-topic orders => deleted
         2 crashed             => nothing
         3 publish orders to=0 => 2@0+1",
    );
}

#[test]
fn a_topic_keeps_its_number_of_partitions() {
    check(
        "0 topic orders partitions=2        => in force
         1 topic orders partitions=3        => PartitionsFixed { partitions: 2 }
         2 topic orders partitions=2 kept=5 => in force
         3 topic orders                     => in force
         4 topics                           => orders#1 0 0 from 0 to 0
         5 topic bills                      => in force
         6 topic bills partitions=3         => PartitionsFixed { partitions: 4 }",
    );
}

#[test]
fn there_are_no_more_topics_than_may_be() {
    let bounds = Bounds {
        topics: 2,
        ..Bounds::default()
    };
    check_within(
        bounds,
        "0 publish orders to=0              => 1@0+1
         1 topic bills partitions=1         => in force
         2 publish mails to=0               => TopicsFull
         2 topic mails partitions=1         => TopicsFull
         3 publish orders to=0              => 1@1+1
         4 topic bills kept=4               => in force
         5 delete-topic orders; publish mails to=0 => deleted, 3@0+1",
    );
}

#[test]
fn a_settle_that_is_repeated_does_not_publish_again() {
    check(
        "0 enqueue 1 => available
         0 lease     => 1#1
         1 settle 1#1 completed; publish orders to=0 => completed, 1@0+1
         2 settle 1#1 completed; publish orders to=0 => completed before, done before
         3 topics    => orders#1 1 0 0 0 from 1 to 1",
    );
}
