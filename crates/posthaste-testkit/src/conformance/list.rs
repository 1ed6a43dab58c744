//! The list of cases, and the tests that are made of it.

/// Hands the list of cases to a macro, after whatever else it is to have: those that may be run
/// with a restart at every step, those that may not, and those that need a restart.
#[doc(hidden)]
#[macro_export]
macro_rules! with_conformance_cases {
    ([$($then:tt)*] [$($more:tt)*]) => {
        $($then)*! { [$($more)*] {
            enqueue {
                one many_together a_refusal_undoes_the_whole_commit a_refusal_undoes_a_settle
                commits_are_independent a_later_command_sees_an_earlier_one
                everything_comes_back payloads_have_a_limit numbers_have_bounds
                an_id_is_taken_once
            }
            claim {
                the_highest_priority_comes_first the_oldest_comes_first
                a_waiting_job_rises_with_age a_strict_queue_does_not_age
                the_step_of_aging_can_be_changed queues_in_strict_order queues_by_weight
                only_known_kinds bad_asks concurrency_is_exact a_lapse_makes_room
                a_paused_queue_hands_nothing_out a_pause_does_not_touch_what_runs
                tokens_only_rise payloads_belong_to_their_jobs
            }
            settle {
                completed a_result_is_kept_where_asked_for results_have_a_limit
                a_failed_job_is_tried_again the_backoff_grows a_retry_may_name_its_delay
                attempts_run_out a_snooze_spends_nothing a_release_spends_nothing
                a_release_may_wait an_undecodable_payload_is_given_an_hour dead cancelled
                follow_ups_in_the_same_commit follow_ups_of_a_repeated_settle
                a_follow_up_of_a_repeated_settle_may_be_gone
                repeated settled_otherwise settles_are_forgotten
                foreign_tokens a_waiting_job_is_not_settled
            }
            leases {
                a_lapsed_job_comes_back a_late_worker_is_fenced_off
                late_work_counts_where_nobody_began heartbeats_extend heartbeats_carry_progress progress_ends_with_its_attempt
                a_running_job_is_told_that_it_is_cancelled a_cancel_does_not_undo_an_end
                a_cancelled_job_ends_with_its_lease poison a_settle_resets_the_crashes
            }
            keys {
                a_repeated_job_is_there_once a_key_is_not_for_two_jobs
                a_key_holds_within_a_commit a_key_is_remembered_for_a_day
                a_repeated_commit_happens_once a_repeated_edit_is_answered
                a_commit_key_is_not_for_two_bodies
                a_refused_commit_takes_no_key a_commit_key_is_remembered_for_a_day
                unique_until_the_end unique_or_refused unique_within_a_kind unique_by_payload
                unique_for_a_period unique_in_given_states a_refused_commit_holds_no_unique_key
            }
            times {
                a_delay_is_kept a_run_at_is_kept due_jobs_come_in_order
                run_at_follows_the_wall_clock leases_ignore_the_wall_clock
                a_deadline_ends_what_has_not_started a_deadline_does_not_touch_what_runs
                the_ended_are_forgotten the_forgotten_are_not_found
            }
            operate {
                cancel_a_waiting_job cancel_what_has_ended run_a_waiting_job_now redrive
                redrive_after_the_deadline
                run_what_runs_or_ran delete delete_what_runs edit_a_waiting_job edit_a_start
                edit_a_dead_job edit_what_cannot_be queue_settings totals
            }
            listing { pages filters nothing health }
            topics {
                publishing_makes_the_topic events_come_back_as_they_were
                a_key_names_the_partition partitions_are_counted_by_themselves
                a_chosen_id_is_published_once another_source_or_topic_is_another_event
                an_id_that_nobody_chose_says_nothing a_chosen_id_holds_within_a_commit
                a_chosen_id_is_remembered_for_ten_minutes a_refused_commit_takes_no_id
                a_refusal_undoes_what_was_published a_refused_commit_makes_no_topic
                a_refused_publish_undoes_a_settle events_come_with_the_settle
                events_of_a_repeated_settle_are_not_published_again
                a_repeated_commit_tells_the_same_places a_later_command_sees_what_was_published
                settings_are_kept partitions_are_fixed settings_have_bounds
                a_deleted_topic_is_not_there a_topic_made_again_is_another
                a_topic_made_again_may_have_other_partitions
                an_event_has_bounds the_largest_event_is_kept a_commit_has_so_many_events
                publishing_never_goes_back_in_time
            }
            reads {
                from_the_earliest from_the_latest from_a_position from_an_offset from_a_time
                the_order_is_that_of_publishing pages_end_to_end offsets_are_dense
                of_one_partition of_some_types of_some_keys every_filter_holds
                filtered_pages_end_to_end
                an_empty_page_stays_where_it_is past_the_end another_history_is_a_gap
                a_deleted_topics_cursor_is_a_gap what_retention_took_is_a_gap
                the_newest_of_a_key_stays bad_asks_of_a_topic no_such_topic
                a_page_ends_with_its_bytes
            }
            members {
                what_is_published_is_handed_out members_share_the_events groups_are_independent
                who_joins_disturbs_nobody who_leaves_gives_back what_a_lost_member_had_comes_again
                a_lost_member_is_fenced_off beats_keep_a_membership asks_keep_a_membership
                a_membership_is_as_long_as_asked_for members_have_tokens_of_their_own
                poison_is_parked poison_is_dead_where_declared a_settle_resets_the_losses
                members_are_shown bad_asks_of_a_group no_such_group
            }
            order {
                keys_come_in_order an_event_without_a_key_stands_alone a_key_is_with_one_member
                a_run_goes_on order_holds_under_retry a_key_is_settled_in_order
                a_release_takes_its_key_along the_position_passes_nothing_unfinished
                in_flight_is_exact a_busy_key_leaves_room order_holds_whatever_happens
            }
            outcomes {
                what_is_done_is_over a_retry_may_name_its_delay the_groups_backoff_grows
                attempts_of_an_event_run_out the_exhausted_are_dead_where_declared
                a_dead_event_lets_its_key_go_on a_skipped_event_is_finished
                an_event_given_back_spends_nothing each_event_ends_by_itself
                only_what_is_in_hands_is_settled a_repeated_settle_says_so settles_have_bounds
                a_thousand_are_settled_at_once a_long_error_is_cut
            }
            parking {
                a_parked_event_parks_its_key what_waits_is_parked_behind
                a_released_key_comes_back_in_order events_are_released_from_the_first
                parked_events_may_be_passed_over a_refused_commit_moves_nothing
                a_full_list_pauses_the_group a_full_group_may_be_given_room
                dead_letters_are_redriven a_dead_letter_met_again_waits
                what_is_kept_outlives_its_topics_memory many_are_moved_in_parts
            }
            resets {
                to_the_earliest_and_to_the_latest to_a_position to_an_offset to_a_time
                to_where_nothing_is while_members_run what_waits_is_met_afresh what_is_kept_stays
                a_refused_reset_is_undone a_shadow_group_replays a_paused_group_hands_out_nothing
                a_deleted_group_is_not_there a_deleted_topic_takes_its_groups_along
                made_with_what_it_begins_with a_repeated_reset_is_answered
            }
            settings {
                a_new_group_begins_at_the_end a_new_group_gets_old_events a_group_begins_somewhere
                group_settings_are_kept group_settings_have_bounds a_setting_holds_at_once
                a_refused_commit_makes_no_group groups_are_shown
            }
            together {
                what_follows_comes_with_the_settle a_refusal_undoes_a_settle_of_events
                a_refused_settle_undoes_what_goes_with_it
                what_follows_a_repeated_settle_is_done_once a_job_and_an_event_end_together
                a_later_command_sees_the_group two_groups_in_one_commit a_keyed_commit_settles_once
            }
            gaps {
                what_retention_took_is_counted what_compaction_took_is_passed
            }
        } {
            waits {
                a_job_behind_many_that_expired_is_found
                an_enqueue_wakes only_known_work_wakes a_due_job_wakes a_resume_wakes
                a_freed_slot_wakes a_lapse_wakes a_wait_ends who_hangs_up_takes_nothing
                an_untaken_lease_comes_back a_tail_tells_the_end a_tail_ends a_tail_of_nothing
                closed
            }
            tails {
                a_publish_wakes a_publish_elsewhere_does_not_wake only_wanted_events_wake
                only_events_of_its_partition_wake what_is_there_needs_no_wait
                a_wait_that_ends_has_gone_on many_readers_hear_of_one_event
                a_reader_sees_what_he_published a_reader_follows_a_publisher
                who_hangs_up_misses_nothing a_refused_publish_wakes_nobody
                a_deleted_topic_ends_the_wait closing_ends_the_wait
            }
            passed {
                a_publish_wakes_a_member a_due_retry_wakes_a_member a_freed_key_wakes_a_member
                a_release_wakes_a_member a_lost_member_wakes_another a_resume_wakes_a_member
                a_reset_wakes_a_member a_members_wait_ends one_event_wakes_one_member
                a_member_that_hangs_up_takes_nothing an_end_ends_the_wait_of_a_member
                who_waits_is_told_when_it_is_passed a_wait_for_a_group_ends bad_waits_for_a_group
            }
        } {
            restart {
                a_held_lease_starts_afresh a_worker_outlives_its_store
                local_leases_are_released tokens_rise_over_restarts an_empty_store_stays_empty
            }
            memberships {
                a_member_outlives_its_store a_membership_starts_afresh local_members_are_gone
                a_group_is_as_it_was nothing_is_lost_or_handled_twice
            }
        } }
    };
}

/// Makes one test of each case, on what `$make` returns: a
/// [`Fixture`](crate::conformance::Fixture), fresh for each. `$make` is a path from the crate's
/// root.
///
/// With `restarts`, for a store that can be opened again: the cases of a restart too, and every
/// case but those that wait a second time, with a restart at every step.
#[macro_export]
macro_rules! conformance_tests {
    ($make:path) => {
        $crate::with_conformance_cases!([$crate::__conformance_tests] [plain $make]);
    };
    ($make:path, restarts) => {
        $crate::with_conformance_cases!([$crate::__conformance_tests] [restarts $make]);
    };
}

/// See [`conformance_tests!`](crate::conformance_tests).
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    ([plain $make:path] { $($steps:tt)* } { $($waits:tt)* } { $($restart:tt)* }) => {
        $crate::__conformance_modules!([run $make] $($steps)* $($waits)*);
    };
    ([restarts $make:path] { $($steps:tt)* } { $($waits:tt)* } { $($restart:tt)* }) => {
        $crate::__conformance_modules!([run $make] $($steps)* $($waits)* $($restart)*);
        mod restarted {
            $crate::__conformance_modules!([run_with_restarts $make] $($steps)*);
        }
    };
}

/// See [`conformance_tests!`](crate::conformance_tests).
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_modules {
    ([$run:ident $make:path] $module:ident { $($case:ident)* } $($rest:tt)*) => {
        mod $module {
            $(
                #[test]
                fn $case() {
                    let check = $crate::conformance::$module::$case;
                    let name = concat!(stringify!($module), "::", stringify!($case));
                    $crate::conformance::Case { name, check }.$run(&$make());
                }
            )*
        }
        $crate::__conformance_modules!([$run $make] $($rest)*);
    };
    ([$run:ident $make:path]) => {};
}
