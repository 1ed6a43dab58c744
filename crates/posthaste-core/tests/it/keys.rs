//! Keys, limits and the atomic commit.

use posthaste_core::machine::{Bounds, Kept};

use crate::script::{check, check_within};

#[test]
fn a_repeated_key_gives_the_first_answer_for_a_day() {
    check(
        "0        enqueue 1 key=a        => available
         1        enqueue 2 key=a        => kept at 1
         2        enqueue 3 key=a body=2 => KeyReused
         3        lease                  => 1#1
         4        settle 1#1 completed   => completed
         5        delete 1               => deleted
         86399999 enqueue 4 key=a        => kept at 1
         86400000 enqueue 5 key=a body=2 => available
         86401000 tick                   => 1 keys forgotten, settles forgotten
         86401001 enqueue 6 key=a body=2 => kept at 6",
    );
}

#[test]
fn a_unique_job_is_there_once_until_it_has_ended() {
    check(
        "0 enqueue 1 unique=0        => available
         1 enqueue 2 unique=0        => 1 is there, available
         1 enqueue 2 unique=0 reject => UniqueHeld { by: 00000000-0000-0000-0000-000000000001 }
         2 lease                     => 1#1
         3 enqueue 2 unique=0        => 1 is there, running
         4 settle 1#1 completed      => completed
         5 enqueue 2 unique=0        => available
         6 enqueue 3 unique=0        => 2 is there, available
         7 delete 2                  => deleted
         8 enqueue 3 unique=0        => available",
    );
}

#[test]
fn a_unique_period_ends_by_the_clock() {
    check(
        "0   enqueue 1 unique=100 => available
         99  enqueue 2 unique=100 => 1 is there, available
         100 enqueue 2 unique=100 => available
         101 enqueue 3 unique=100 => 2 is there, available",
    );
}

#[test]
fn a_displaced_holder_does_not_get_its_key_back() {
    check(
        "0 enqueue 1 unique=0 => available
         1 cancel 1          => cancelled
         2 enqueue 2 unique=0 => available
         3 retry 1           => available
         4 enqueue 3 unique=0 => 2 is there, available
         5 delete 2          => deleted
         6 enqueue 3 unique=0 => available",
    );
}

#[test]
fn a_commit_is_all_or_nothing_and_sees_itself() {
    check(
        "0 enqueue 1                                 => available
         1 lease                                     => 1#1
         2 settle 1#1 completed; enqueue 2; cancel 2 => completed, available, cancelled
         3 enqueue 3; enqueue 4 key=b; cancel 9      => command 2: NoSuchJob
         4 lease                                     => nothing
         5 enqueue 4 key=b; enqueue 5 key=b          => available, kept at 6
         6 delete 2; enqueue 2 after=50; edit 2 p=9; retry 2 => deleted, scheduled, scheduled, available
         7 enqueue 2                                 => IdTaken",
    );
}

#[test]
fn a_store_that_is_full_says_so() {
    let bounds = Bounds {
        jobs: 2,
        keys: 1,
        queues: 2,
        lanes: 2,
        ..Bounds::default()
    };
    check_within(
        bounds,
        "0 enqueue 1 key=a    => available
         0 enqueue 2 key=b    => KeysFull
         0 queue other paused => in force
         0 queue third paused => NamesFull
         0 enqueue 2 q=third  => NamesFull
         0 enqueue 2 kind=x   => available
         0 enqueue 3          => JobsFull
         1 delete 2           => deleted
         1 enqueue 3          => available
         2 edit 3 p=9         => available
         2 edit 1 p=8         => NamesFull",
    );
}

#[test]
fn no_more_leases_are_held_than_may_be() {
    let bounds = Bounds {
        leases: 1,
        ..Bounds::default()
    };
    check_within(
        bounds,
        "0 enqueue 1            => available
         0 enqueue 2            => available
         1 lease                => 1#1
         2 lease                => nothing
         3 settle 1#1 completed => completed
         4 lease                => 2#2",
    );
}

#[test]
fn ended_jobs_are_kept_for_a_time_and_in_number() {
    let bounds = Bounds {
        done: Kept {
            most: 2,
            ..Kept::COMPLETED
        },
        ..Bounds::default()
    };
    check_within(
        bounds,
        "0        enqueue 1; enqueue 2; enqueue 3; enqueue 4 => available, available, available, available
         1        cancel 1             => cancelled
         2        cancel 2             => cancelled
         3        cancel 3             => cancelled
         3        show 1               => nobody
         4        lease                => 4#1
         5        settle 4#1 dead      => dead
         86400001 tick                 => settles forgotten
         86400002 tick                 => one forgotten
         86400003 tick                 => one forgotten
         86400003 show 3               => nobody
         7776000005 tick               => one forgotten
         7776000005 show 4             => nobody
         7776000006 wake               => None",
    );
}

#[test]
fn the_next_wake_is_the_next_thing_to_happen() {
    check(
        "0   wake                           => None
         0   enqueue 1 after=300            => scheduled
         0   enqueue 2 deadline=700         => available
         0   wake                           => Some(300)
         300 wake                           => Some(0)
         300 tick                           => 1 available
         300 wake                           => Some(400)
         300 lease                          => 2#1, 1#2
         310 wake                           => Some(90)",
    );
}

#[test]
fn nobody_gets_ahead_by_dating_back() {
    check(
        "10 enqueue 1       => available
         20 enqueue 2 at=1  => available
         20 show 2          => available at 20
         30 lease           => 1#1, 2#2",
    );
}

#[test]
fn a_clock_that_was_set_back_keeps_no_ended_job_longer() {
    check(
        "0        enqueue 1; enqueue 2 => available, available
         7200000  cancel 1             => cancelled
         3600000  cancel 2             => cancelled
         3600000  wake                 => Some(86400000)
         90000000 tick                 => one forgotten
         90000000 show 2               => nobody
         93600000 tick                 => one forgotten
         93600000 show 1               => nobody",
    );
}
