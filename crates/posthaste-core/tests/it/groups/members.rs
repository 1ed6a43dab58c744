//! Members: joining, leaving, being silent, and being fenced off.

use posthaste_core::machine::Bounds;

use crate::script::{check, check_within};

#[test]
fn what_a_silent_member_had_is_handed_out_again_and_it_is_fenced_off() {
    check(
        "0   publish orders to=1 to=1 to=2        => 1@0+3
         0   set-group orders billing from=0      => in force
         0   take orders billing                  => #1: 0, 1, 2
         50  end orders billing #1 2=done         => settled
         99  tick                                 => nothing
         100 tick                                 => MemberLeft { group: 1, token: Token(1), lapsed: true }
         100 claimable                            => 1
         100 group orders billing                 => at 0 of 3, 0 held crashes 1, 1 held
         101 end orders billing #1 0=done         => MemberGone
         101 end orders billing #1 2=done         => MemberGone
         101 alive orders billing #1              => MemberGone
         101 take orders billing #1               => MemberGone
         101 leave orders billing #1              => MemberGone
         102 take orders billing max=1            => #2: 0 crashes 1
         103 end orders billing #2 0=done         => settled
         104 counted orders billing               => 2 done, 2 lapsed, 1 redelivered",
    );
}

#[test]
fn beats_and_asks_keep_a_member() {
    check(
        "0   publish orders to=1             => 1@0+1
         0   set-group orders billing from=0 => in force
         0   take orders billing             => #1: 0
         90  alive orders billing #1         => go on
         91  alive orders billing #1; cancel 9 => command 1: NoSuchJob
         180 wake                            => Some(10)
         181 take orders billing #1          => #1: nothing
         280 tick                            => nothing
         281 tick                            => MemberLeft { group: 1, token: Token(1), lapsed: true }",
    );
}

#[test]
fn who_leaves_gives_everything_back_and_it_counts_as_nothing() {
    check(
        "0 publish orders to=1 to=2          => 1@0+2
         0 set-group orders billing from=0   => in force
         0 take orders billing               => #1: 0, 1
         1 leave orders billing #1; cancel 9 => command 1: NoSuchJob
         1 wake                              => Some(99)
         2 leave orders billing #1           => left
         2 group orders billing              => at 0 of 2, 0 held, 1 held
         3 take orders billing               => #2: 0, 1
         4 counted orders billing            => nothing",
    );
}

#[test]
fn only_the_first_event_of_a_key_can_have_taken_its_member_down() {
    check(
        "0   publish orders to=1 to=1 to=2 => 1@0+3
         0   set-group orders billing from=0 => in force
         0   take orders billing           => #1: 0, 1, 2
         100 tick                          => MemberLeft { group: 1, token: Token(1), lapsed: true }
         100 group orders billing          => at 0 of 3, 0 held crashes 1, 1 held, 2 held crashes 1",
    );
}

#[test]
fn any_settle_resets_the_crashes() {
    check(
        "0   publish orders to=1 to=2      => 1@0+2
         0   set-group orders billing from=0 => in force
         0   take orders billing           => #1: 0, 1
         100 tick                          => MemberLeft { group: 1, token: Token(1), lapsed: true }
         100 take orders billing           => #2: 0 crashes 1, 1 crashes 1
         101 end orders billing #2 0=retry:5 1=release => settled
         110 take orders billing           => #3: 0 attempt 2, 1",
    );
}

#[test]
fn an_event_that_takes_its_members_down_is_parked_as_poison() {
    check(
        "0   publish orders to=1 to=1 to=2    => 1@0+3
         0   set-group orders billing from=0  => in force
         0   take orders billing max=2        => #1: 0, 1
         100 tick                             => MemberLeft { group: 1, token: Token(1), lapsed: true }
         100 take orders billing max=1        => #2: 0 crashes 1
         200 tick                             => MemberLeft { group: 1, token: Token(2), lapsed: true }
         200 take orders billing max=1        => #3: 0 crashes 2
         300 tick                             => MemberLeft { group: 1, token: Token(3), lapsed: true }
         300 take orders billing max=1        => #4: 0 crashes 3
         400 tick                             => MemberLeft { group: 1, token: Token(4), lapsed: true }
         400 take orders billing max=1        => #5: 0 crashes 4
         500 tick                             => MemberLeft { group: 1, token: Token(5), lapsed: true }, 0 parking, 1 parking
         500 keep                             => 0, 1
         501 group orders billing             => at 2 of 2, 0 parked poison, 1 parked behind
         502 take orders billing              => #6: 2",
    );
}

#[test]
fn poison_is_dead_where_that_is_declared() {
    let lives = (1..=5).map(|n| {
        let (at, next) = ((n - 1) * 100, n * 100);
        let crashes = match n {
            1 => String::new(),
            n => format!(" crashes {}", n - 1),
        };
        let dying = if n == 5 { ", 0 dying" } else { "" };
        format!(
            "{at} take orders billing max=1 => #{n}: 0{crashes}
             {next} tick => MemberLeft {{ group: 1, token: Token({n}), lapsed: true }}{dying}
            "
        )
    });
    let lives: String = lives.collect();
    let script = format!(
        "0 publish orders to=1 to=1 => 1@0+2
         0 set-group orders billing from=0 dead => in force
         {lives}500 keep => 0
         501 group orders billing => at 1 of 1, 0 dead poison
         502 take orders billing => #6: 1"
    );
    check(&script);
}

#[test]
fn members_of_the_process_itself_end_with_it() {
    check(
        "0 publish orders to=1 to=2            => 1@0+2
         0 set-group orders billing from=0     => in force
         0 take orders billing max=1 local     => #1: 0
         0 take orders billing max=1           => #2: 1
         1 crashed                             => MemberLeft { group: 1, token: Token(1), lapsed: true }
         2 group orders billing                => at 0 of 2, 0 held crashes 1, 1 #2
         3 end orders billing #2 1=done        => settled
         4 take orders billing local           => #3: 0 crashes 1
         5 stopped                             => MemberLeft { group: 1, token: Token(3), lapsed: false }
         6 group orders billing                => at 0 of 2, 0 held crashes 1",
    );
}

#[test]
fn memberships_start_afresh_when_the_store_is_opened_again() {
    check(
        "0   publish orders to=1                => 1@0+1
         0   set-group orders billing from=0    => in force
         0   take orders billing                => #1: 0
         90  crashed                            => nothing
         189 tick                               => nothing
         190 tick                               => MemberLeft { group: 1, token: Token(1), lapsed: true }",
    );
}

#[test]
fn there_are_no_more_members_than_may_be() {
    let bounds = Bounds {
        members: 1,
        ..Bounds::default()
    };
    check_within(
        bounds,
        "0 publish orders to=1              => 1@0+1
         0 set-group orders billing from=0  => in force
         1 take orders billing              => #1: 0
         1 take orders billing              => MembersFull
         2 leave orders billing #1          => left
         3 take orders billing              => #2: 0",
    );
}

#[test]
fn tokens_of_members_and_of_jobs_are_one_row() {
    check(
        "0 publish orders to=1             => 1@0+1
         0 set-group orders billing from=0 => in force
         0 enqueue 1                       => available
         1 take orders billing             => #1: 0
         1 lease                           => 1#2
         2 take orders billing             => #3: nothing",
    );
}

#[test]
fn events_that_never_reached_their_member_count_for_nothing() {
    check(
        "0   publish orders to=1 to=1 to=2     => 1@0+3
         0   set-group orders billing from=0   => in force
         0   take orders billing               => #1: 0, 1, 2
         1   give-back orders billing #1 0 2   => given back
         1   group orders billing              => at 0 of 3, 0 held, 1 held, 2 held
         2   take orders billing #1            => #1: 0, 1, 2
         3   give-back orders billing #9 0     => given back
         3   group orders billing              => at 0 of 3, 0 #1, 1 #1, 2 #1
         4   take orders billing               => #2: nothing
         5   give-back orders billing #2       => given back
         5   take orders billing #2            => MemberGone
         6   counted orders billing            => nothing",
    );
}
