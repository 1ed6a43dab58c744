//! How fast queues go, as it is measured: exactly, on a clock that the script moves.

use std::fmt::Write;

use crate::script::check;

/// In each of so many seconds: what `lines` says of the second and the job.
fn each_second(seconds: u64, lines: impl Fn(u64, u64) -> String) -> String {
    (1..=seconds).map(|n| lines(n * 1_000, n)).collect()
}

#[test]
fn arrivals_and_services_are_measured_a_second_after_the_first() {
    check(
        "0    queue q paused         => in force
         10   pace                   => not measured
         1000 queue q resumed        => in force
         1100 enqueue 1              => available
         1110 pace                   => not measured
         1120 enqueue 2              => available
         1200 lease                  => 1#1, 2#2
         1300 settle 1#1 completed   => completed
         1500 settle 2#2 completed   => completed
         1999 pace                   => not measured
         2000 pace                   => 2.00 arrive, 2.00 settled, 200 ms, most 2",
    );
}

#[test]
fn one_job_a_second_is_no_burst_and_one_service_like_the_other_no_variation() {
    let story = each_second(20, |ms, n| {
        let (leased, settled) = (ms + 100, ms + 180);
        format!(
            "{ms} enqueue {n} => available
             {leased} lease => {n}#{n}
             {settled} settle {n}#{n} completed => completed\n"
        )
    });
    check(&format!(
        "{story}
         21000 pace => 1.00 arrive, 1.00 settled, dispersion 0.00, 80 ms, cv2 0.00, most 1"
    ));
}

/// Ten jobs in one second of ten: a mean of 1, and a variance of 9, but for how what is past fades.
#[test]
fn bursts_are_told_by_their_dispersion() {
    let mut story = String::new();
    for burst in 0..20 {
        for n in 1..=10 {
            let (job, ms) = (burst * 10 + n, 1_000 + burst * 10_000);
            writeln!(story, "{ms} enqueue {job} => available").expect("a string");
        }
    }
    check(&format!(
        "{story}
         201000 pace => 0.99 arrive, 0.00 settled, dispersion 9.06, most 0"
    ));
}

/// 100 and 300 ms by turns: a mean of 200 and a deviation of 100.
#[test]
fn services_that_vary_are_told_by_their_squared_coefficient() {
    let story = each_second(20, |ms, n| {
        let settled = ms + if n % 2 == 0 { 100 } else { 300 };
        format!(
            "{ms} enqueue {n} => available
             {ms} lease => {n}#{n}
             {settled} settle {n}#{n} completed => completed\n"
        )
    });
    check(&format!(
        "{story}
         21000 pace => 1.00 arrive, 1.00 settled, dispersion 0.00, 200 ms, cv2 0.25, most 1"
    ));
}

#[test]
fn what_is_long_ago_fades_and_the_most_that_ran_is_forgotten() {
    check(
        "0      enqueue 1 => available
         0      lease     => 1#1
         0      enqueue 2 => available
         0      lease     => 2#2
         50     settle 1#1 completed => completed
         50     settle 2#2 completed => completed
         1000   pace => 2.00 arrive, 2.00 settled, 50 ms, most 2
         300000 pace => 0.00 arrive, 0.00 settled, 50 ms, most 2
         600000 pace => 0.00 arrive, 0.00 settled, 50 ms, most 0",
    );
}

#[test]
fn a_job_arrives_when_it_is_ready_and_again_when_it_is_tried_again() {
    check(
        "0    enqueue 1 after=5000   => scheduled
         4000 pace                   => not measured
         5000 tick                   => 1 available
         5100 lease                  => 1#1
         5200 settle 1#1 retry=500   => retryable
         6000 pace                   => 1.00 arrive, 1.00 settled, 100 ms, most 1
         6001 tick                   => 1 available
         7000 pace                   => 1.00 arrive, 0.50 settled, 100 ms, most 1",
    );
}

#[test]
fn a_refused_commit_is_not_measured() {
    check(
        "0    enqueue 1                          => available
         0    lease                              => 1#1
         100  enqueue 2 ; settle 1#1 completed ; enqueue 2 => command 2: IdTaken
         1000 pace                               => 1.00 arrive, 0.00 settled, most 1
         1100 enqueue 2 ; settle 1#1 completed   => available, completed
         2000 pace                               => 1.00 arrive, 0.50 settled, 1100 ms, most 1",
    );
}

#[test]
fn a_restart_measures_anew_and_does_not_time_what_was_leased_before() {
    check(
        "0    enqueue 1              => available
         0    enqueue 2              => available
         100  lease max=1            => 1#1
         2000 pace                   => 1.00 arrive, 0.00 settled, most 1
         2000 reopen                 => 2 jobs
         2000 pace                   => not measured
         2500 settle 1#1 completed   => completed
         2600 lease                  => 2#2
         2700 settle 2#2 completed   => completed
         3000 pace                   => 0.00 arrive, 2.00 settled, 100 ms, most 1",
    );
}
