//! The life of a job: attempts, leases, crashes, deadlines, and what people do to it.

use crate::script::check;

#[test]
fn a_settled_job_is_never_handed_out_again() {
    check(
        "0   enqueue 1           => available
         1   lease               => 1#1
         2   settle 1#1 completed => completed
         3   settle 1#1 completed => completed before
         4   settle 1#1 retry    => SettledOtherwise
         90  tick                => nothing
         500 lease               => nothing",
    );
}

#[test]
fn a_worker_that_comes_late_is_fenced_off() {
    check(
        "0   enqueue 1            => available
         0   lease                => 1#1
         99  tick                 => nothing
         100 tick                 => 1 available
         101 beat 1#1             => Stale #0
         102 lease                => 1#2
         103 settle 1#1 completed => Stale #2
         104 beat 1#1             => Stale #2
         105 settle 1#2 completed => completed",
    );
}

#[test]
fn work_that_nobody_else_began_still_counts() {
    check(
        "0   enqueue 1            => available
         0   lease                => 1#1
         100 tick                 => 1 available
         101 settle 1#1 completed => completed
         102 lease                => nothing",
    );
}

#[test]
fn nobody_settles_what_was_never_leased() {
    check(
        "0 enqueue 1            => available
         0 settle 1#0 completed => UnknownLease
         0 settle 1#1 completed => UnknownLease
         0 settle 7#1 completed => UnknownLease
         0 beat 7#1             => UnknownLease
         1 enqueue 2 kind=x     => available
         1 lease kinds=x        => 2#1
         2 settle 2#1 completed => completed
         3 settle 1#1 completed => Stale #0",
    );
}

#[test]
fn a_settle_is_repeated_for_ten_minutes_also_when_the_job_is_gone() {
    check(
        "0      enqueue 1            => available
         1      lease                => 1#1
         2      settle 1#1 completed => completed
         3      delete 1             => deleted
         590000 settle 1#1 completed => completed before
         620000 tick                 => settles forgotten
         620001 settle 1#1 completed => UnknownLease",
    );
}

#[test]
fn heartbeats_keep_a_long_attempt() {
    check(
        "0   enqueue 1 => available
         0   lease     => 1#1
         90  beat 1#1  => go on
         180 beat 1#1  => go on
         190 wake      => Some(90)
         279 tick      => nothing
         280 tick      => 1 available",
    );
}

#[test]
fn attempts_are_spent_by_failures_alone() {
    check(
        "0    enqueue 1 attempts=2    => available
         1    lease                   => 1#1
         2    settle 1#1 snooze=10    => scheduled
         12   tick                    => 1 available
         13   lease                   => 1#2
         14   settle 1#2 release      => available
         15   lease                   => 1#3
         16   settle 1#3 retry=5      => retryable
         20   tick                    => nothing
         21   tick                    => 1 available
         22   lease                   => 1#4 attempt 2
         122  tick                    => 1 available
         123  lease                   => 1#5 attempt 2
         124  settle 1#5 retry=5      => dead
         125  show 1                  => dead exhausted attempt 2 at 124
         126  retry 1                 => available
         127  lease                   => 1#6",
    );
}

#[test]
fn a_failure_without_a_delay_waits_for_its_backoff() {
    check(
        "0    enqueue 1        => available
         0    lease            => 1#1
         0    settle 1#1 retry => retryable
         1499 tick             => nothing
         2501 tick             => 1 available
         2502 lease            => 1#2 attempt 2
         2503 settle 1#2 retry=0 => available
         2503 lease            => 1#3 attempt 3",
    );
}

#[test]
fn a_job_that_takes_its_workers_down_is_poison() {
    check(
        "0   enqueue 1 => available
         0   lease     => 1#1
         100 tick      => 1 available
         100 lease     => 1#2
         200 tick      => 1 available
         200 lease     => 1#3
         300 tick      => 1 available
         300 lease     => 1#4
         400 tick      => 1 available
         400 show 1    => available crashes 4 at 0
         400 lease     => 1#5
         500 tick      => 1 dead poison
         501 retry 1   => available
         501 show 1    => available at 501",
    );
}

#[test]
fn any_settle_resets_the_crashes() {
    check(
        "0   enqueue 1          => available
         0   lease              => 1#1
         100 tick               => 1 available
         100 show 1             => available crashes 1 at 0
         100 lease              => 1#2
         101 settle 1#2 release => available
         101 show 1             => available at 0",
    );
}

#[test]
fn a_job_past_its_deadline_is_not_started() {
    check(
        "0  enqueue 1 deadline=0           => dead
         0  enqueue 2 deadline=50          => available
         0  enqueue 3 deadline=50 after=80 => scheduled
         0  enqueue 4 deadline=50 kind=x   => available
         49 lease max=1 kinds=x            => 4#1
         50 lease kinds=k                  => 2 dead expired
         50 tick                           => 3 dead expired
         60 settle 4#1 completed           => completed",
    );
}

#[test]
fn a_payload_that_nobody_can_read_is_dead_after_an_hour() {
    check(
        "0       enqueue 1                 => available
         0       lease                     => 1#1
         0       settle 1#1 unreadable=100 => scheduled
         3599999 tick                      => 1 available, settles forgotten
         3599999 lease                     => 1#2
         3599999 settle 1#2 unreadable=1   => scheduled
         3600000 tick                      => 1 available
         3600000 lease                     => 1#3
         3600000 settle 1#3 unreadable=1   => dead
         3600001 show 1                    => dead undecodable at 3600000
         3600002 edit 1 body               => dead
         3600003 retry 1                   => available
         3600004 lease                     => 1#4
         3600005 settle 1#4 unreadable=1   => scheduled",
    );
}

#[test]
fn a_running_job_is_told_to_stop_and_may_still_complete() {
    check(
        "0  enqueue 1            => available
         0  enqueue 2            => available
         0  enqueue 3            => available
         1  lease                => 1#1, 2#2, 3#3
         2  cancel 1             => running
         3  cancel 1             => running
         3  cancel 2             => running
         3  cancel 3             => running
         4  beat 1#1             => stop
         5  settle 1#1 completed => completed
         6  settle 2#2 retry     => cancelled
         101 tick                => 3 cancelled
         102 cancel 3            => cancelled
         103 cancel 1            => WrongState { state: Completed }",
    );
}

#[test]
fn waiting_jobs_are_called_off_and_brought_back() {
    check(
        "0 enqueue 1           => available
         0 enqueue 2 after=100 => scheduled
         1 cancel 1            => cancelled
         1 cancel 2            => cancelled
         2 lease               => nothing
         3 retry 2             => available
         4 lease               => 2#1
         5 retry 2             => WrongState { state: Running }
         5 delete 2            => WrongState { state: Running }
         6 settle 2#1 completed => completed
         7 retry 2             => WrongState { state: Completed }
         8 delete 2            => deleted
         9 retry 2             => NoSuchJob
         9 show 2              => nobody",
    );
}

#[test]
fn run_now_keeps_the_attempts() {
    check(
        "0 enqueue 1 attempts=3 => available
         0 lease                => 1#1
         1 settle 1#1 retry     => retryable
         2 retry 1              => available
         2 retry 1              => available
         3 lease                => 1#2 attempt 2",
    );
}

#[test]
fn a_waiting_or_dead_job_can_be_edited() {
    check(
        "0 enqueue 1 p=1        => available
         0 enqueue 2 p=1        => available
         1 edit 2 p=9 body      => available
         2 edit 1 at=500        => scheduled
         3 lease                => 2#1
         4 edit 2 p=1           => WrongState { state: Running }
         5 settle 2#1 dead      => dead
         6 edit 2 at=900        => WrongState { state: Dead }
         7 edit 2 body          => dead
         8 edit 1 at=3          => available
         9 lease                => 1#2
         9 edit 9 p=1           => NoSuchJob",
    );
}

#[test]
fn a_job_with_a_damaged_body_is_dead_and_its_lease_over() {
    check(
        "0 enqueue 1            => available
         0 lease                => 1#1
         1 condemn 1            => noted
         2 show 1               => dead corrupt at 1
         3 settle 1#1 completed => Stale #0
         4 condemn 1            => noted
         4 condemn 2            => noted
         5 enqueue 3            => available
         6 condemn 3 elsewhere  => noted
         6 show 3               => available at 5
         7 cancel 3             => cancelled
         8 condemn 3            => noted
         8 show 3               => cancelled at 7
         9 cancel 1             => WrongState { state: Dead }",
    );
}

#[test]
fn leases_of_the_process_itself_end_with_it() {
    check(
        "0 enqueue 1       => available
         0 enqueue 2       => available
         1 lease max=1 local => 1#1
         1 lease max=1     => 2#2
         5 crashed         => 1 available
         6 show 1          => available crashes 1 at 0
         7 beat 2#2        => go on
         8 lease local     => 1#3
         9 stopped         => 1 available
         9 show 1          => available crashes 1 at 0
         10 settle 1#3 completed => completed",
    );
}

#[test]
fn a_lease_that_was_held_starts_afresh_when_the_store_is_opened_again() {
    check(
        "0   enqueue 1 => available
         0   lease     => 1#1
         90  crashed   => nothing
         189 tick      => nothing
         190 tick      => 1 available",
    );
}

#[test]
fn what_was_forgotten_stays_forgotten_when_the_clock_goes_back() {
    check(
        "0       enqueue 1; enqueue 2; enqueue 3 => available, available, available
         3600000 lease                => 1#1, 2#2, 3#3
         3600000 settle 1#1 completed => completed
         4200000 settle 3#3 completed => completed
         4300000 tick                 => 2 available, settles forgotten
         3700000 settle 1#1 completed => Stale #0
         3700000 settle 3#3 completed => completed before
         5000    settle 2#2 completed => completed
         5001    settle 2#2 completed => completed before",
    );
}

#[test]
fn everything_that_happens_is_counted() {
    check(
        "0   enqueue 1; enqueue 2; enqueue 3; enqueue 4 => available, available, available, available
         0   totals               => 4 enqueued
         1   cancel 2             => cancelled
         1   lease                => 1#1, 3#2, 4#3
         2   settle 1#1 completed => completed
         2   settle 3#2 retry=0   => available
         2   totals               => 4 enqueued, 1 completed, 1 cancelled, 1 retried
         101 tick                 => 4 available
         102 lease kinds=k max=1  => 4#4
         103 settle 4#4 dead      => dead
         103 totals               => 4 enqueued, 1 completed, 1 dead, 1 cancelled, 1 retried, 1 lapsed
         104 retry 4              => available
         105 delete 2             => deleted
         106 totals               => 4 enqueued, 1 completed, 1 dead, 1 cancelled, 1 redriven, 1 deleted, 1 retried, 1 lapsed",
    );
}

#[test]
fn a_lease_that_never_reached_its_worker_counts_for_nothing() {
    check(
        "0   enqueue 1; enqueue 2 => available, available
         0   lease max=1  => 1#1
         100 tick         => 1 available
         100 lease max=1  => 1#2
         101 untaken 1#1  => nothing
         101 show 1       => running attempt 1 crashes 1 at 0
         102 untaken 1#2  => 1 available
         102 show 1       => available crashes 1 at 0
         103 lease max=1  => 1#3
         104 cancel 1     => running
         105 untaken 1#3  => 1 cancelled
         106 show 1       => cancelled crashes 1 at 105
         107 untaken 1#3  => nothing
         107 untaken 9#3  => nothing",
    );
}
