//! Whose turn it is: priorities and age, queues, kinds, limits.

use crate::script::check;

#[test]
fn the_highest_priority_is_first_and_age_makes_up_for_it() {
    check(
        "0      enqueue 1 p=1 => available
         1      enqueue 2 p=9 => available
         2      enqueue 3 p=5 => available
         3      lease max=2   => 2#1, 3#2
         480001 enqueue 4 p=9 => available
         480002 lease         => 1#3, 4#4",
    );
}

#[test]
fn one_millisecond_decides_who_is_older() {
    check(
        "0 queue q step=10 => in force
         0  enqueue 1 p=1   => available
         79 enqueue 2 p=9   => available
         80 enqueue 3 p=9   => available
         81 enqueue 4 p=9   => available
         90 lease           => 2#1, 1#2, 3#3, 4#4",
    );
}

#[test]
fn a_strict_queue_knows_no_age() {
    check(
        "0       queue q strict => in force
         0       enqueue 1 p=1  => available
         9999999 enqueue 2 p=2  => available
         9999999 lease          => 2#1, 1#2",
    );
}

#[test]
fn a_released_job_goes_back_to_its_old_place() {
    check(
        "0 enqueue 1          => available
         0 enqueue 2          => available
         0 enqueue 3          => available
         1 lease max=2        => 1#1, 2#2
         2 settle 2#2 release => available
         3 settle 1#1 release => available
         4 lease              => 1#3, 2#4, 3#5",
    );
}

#[test]
fn a_retried_job_goes_to_the_end() {
    check(
        "0 enqueue 1          => available
         0 enqueue 2          => available
         1 lease max=1        => 1#1
         2 settle 1#1 retry=0 => available
         3 lease              => 2#2, 1#3 attempt 2",
    );
}

#[test]
fn a_worker_never_gets_a_kind_that_it_does_not_know() {
    check(
        "0 enqueue 1 kind=mail  => available
         0 enqueue 2 kind=print => available
         1 lease kinds=print    => 2#1
         2 lease kinds=fax      => nothing
         3 lease kinds=fax,mail => 1#2",
    );
}

#[test]
fn a_paused_queue_hands_out_nothing() {
    check(
        "0 enqueue 1     => available
         1 queue q paused => in force
         2 lease         => nothing
         3 queue q resumed => in force
         4 lease         => 1#1",
    );
}

#[test]
fn a_queue_runs_no_more_than_its_limit() {
    check(
        "0 queue q concurrency=2 => in force
         0 enqueue 1            => available
         0 enqueue 2            => available
         0 enqueue 3            => available
         1 lease                => 1#1, 2#2
         2 lease                => nothing
         3 settle 1#1 completed => completed
         4 lease                => 3#3
         5 queue q concurrency=0 => in force
         6 enqueue 4            => available
         7 lease                => 4#4",
    );
}

#[test]
fn strict_queues_are_served_in_the_order_given() {
    check(
        "0 enqueue 1 q=low p=9 => available
         0 enqueue 2 q=high p=1 => available
         0 enqueue 3 q=high p=1 => available
         1 lease q=high,low strict max=2 => 2#1, 3#2
         2 lease q=high,low strict => 1#3",
    );
}

#[test]
fn weighted_queues_all_get_their_turn() {
    let enqueue: String = (1..=60)
        .map(|n| {
            format!(
                "0 enqueue {n} q={} => available\n",
                if n % 2 == 0 { "a" } else { "b" }
            )
        })
        .collect();
    // Chance is passed in, so this is the same each time: of ten, about one in four is from b.
    check(&format!(
        "{enqueue}
         1 lease q=a:3,b:1 => 2#1, 1#2, 4#3, 3#4, 6#5, 8#6, 10#7, 12#8, 14#9, 16#10"
    ));
}

#[test]
fn a_lapsed_job_is_back_in_its_old_place() {
    check(
        "0   enqueue 1 => available
         0   enqueue 2 => available
         0   lease max=1 => 1#1
         100 tick      => 1 available
         101 lease     => 1#2, 2#3",
    );
}

#[test]
fn an_edited_priority_keeps_the_turn() {
    check(
        "0 enqueue 1 p=5 => available
         0 enqueue 2 p=1 => available
         0 enqueue 3 p=5 => available
         1 edit 2 p=5    => available
         2 lease         => 1#1, 2#2, 3#3",
    );
}
