//! The list of promises: what is tried over every backend, and which of etcd's own tests asks for the same. It is the
//! one source of the tests and of the table in `CONFORMANCE.md`.

/// Calls `$callback! { ($args) MODULE { PROMISE => ETCD'S TEST, .. } .. }`.
macro_rules! for_each_promise {
    ($callback:ident!(($($args:tt)*))) => {
        $callback! {
            ($($args)*)
            sessions {
                a_session_outlives_its_ttl_many_times => "lease_test.go TestLeaseKeepAlive",
                an_orphan_lives_for_its_ttl_and_no_longer => "session_test.go TestSessionTTLOptions",
                an_orphan_can_be_taken_over => "session_test.go TestSessionOptions",
                a_lease_that_has_ended_cannot_be_taken_over => "",
                closing_frees_all_that_was_held => "session_test.go TestSessionCtx",
                dropping_the_last_handle_revokes => "",
                a_revoked_lease_is_told => "lease_test.go TestLeaseKeepAliveNotFound",
                two_sessions_of_one_backend_are_two => "",
                a_session_without_a_ttl_is_refused => "",
                the_deadline_is_earlier_than_the_ttl_by_the_drift_bound => "",
            }
            mutexes {
                a_held_lock_is_a_key_as_etcds_recipe_writes_it => "",
                of_five_contenders_one_holds_in_order_of_arrival => "v3_lock_test.go TestMutexLockSingleNode",
                a_long_line_is_served_in_order => "v3_lock_test.go TestMutexLockMultiNode",
                contenders_that_queue_again_at_once_exclude_each_other => "v3_lock_test.go TestMutexLockMultiNode",
                of_two_that_try_one_wins => "v3_lock_test.go TestMutexTryLockSingleNode",
                locking_again_on_one_session_is_refused_not_deadlocked => "v3_lock_test.go TestMutexSessionRelock",
                a_middle_waiter_that_expires_promotes_nobody => "v3_lock_test.go TestMutexWaitsOnCurrentHolder",
                a_waiter_without_a_lease_is_never_granted => "mutex_test.go TestMutexLockSessionExpired",
                a_waiter_whose_key_is_deleted_is_told => "",
                what_an_earlier_process_of_the_lease_lost_on_the_way_leaves_no_key => "",
                dropping_the_guard_releases => "",
                dropping_a_waiting_lock_leaves_no_key => "",
                a_lock_that_times_out_leaves_no_key => "",
                a_guarded_transaction_commits_only_while_held => "",
                releasing_what_is_gone_says_so => "",
                a_retried_release_spares_a_newer_hold => "mutex_test.go TestMutexUnlock",
                a_late_release_of_an_earlier_process_frees_nothing => "",
                closing_a_holders_session_grants_the_next => "",
                a_compaction_while_waiting_harms_nobody => "",
                a_name_that_begins_like_another_is_another => "",
                a_bad_name_is_refused => "",
                a_foreign_key_is_reported => "",
                a_lock_and_its_guard_tell_their_name_and_lease => "",
            }
            rwlocks {
                readers_hold_together => "v3_lock_test.go TestRWMutexSingleNode",
                two_readers_of_one_session_are_two => "",
                a_writer_holds_alone => "v3_lock_test.go TestRWMutexSingleNode",
                no_reader_overtakes_a_waiting_writer => "",
                a_writer_that_gives_up_lets_the_readers_in => "",
                writers_follow_each_other_in_order => "v3_lock_test.go TestRWMutexMultiNode",
                two_writes_of_one_session_are_refused => "",
                a_crashed_readers_lock_is_freed_for_the_writer => "",
                in_fifo_order_a_reader_waits_for_older_writers_only => "v3_lock_test.go TestRWMutexSingleNode",
                a_queued_reader_of_gos_recipe_does_not_block_an_older_writer => "",
                a_writer_waits_for_a_reader_of_gos_recipe => "",
                a_foreign_key_is_reported => "",
                a_lock_and_its_guards_tell_their_name_and_lease => "",
            }
            elections {
                the_leader_is_who_stood_first => "v3_election_test.go TestElectionWait",
                followers_observe_each_leader => "v3_election_test.go TestElectionWait",
                closing_the_leaders_session_elects_the_next => "v3_election_test.go TestElectionFailover",
                campaigning_again_proclaims => "v3_election_test.go TestElectionSessionRecampaign",
                proclaimed_values_are_seen_fresh_and_in_order => "election_test.go TestProclaim",
                an_observer_goes_on_across_a_compaction => "v3_election_test.go TestElectionObserveCompacted",
                a_name_that_begins_like_another_is_another => "v3_election_test.go TestElectionOnPrefixOfExistingKey",
                a_restarted_process_keeps_its_leadership => "v3_election_test.go TestElectionOnSessionRestart",
                a_lease_that_changes_hands_again_and_again_leaves_no_key => "",
                a_late_resignation_of_an_earlier_process_deposes_nobody => "",
                who_does_not_lead_any_more_proclaims_nothing => "",
                resigning_twice_is_resigning_once => "",
                a_deposed_leader_can_campaign_again => "",
                trying_and_timing_out_leave_no_key => "",
                a_candidate_without_a_lease_is_never_elected => "",
                a_foreign_key_is_reported => "",
                an_election_and_its_leadership_tell_their_name_and_lease => "",
                a_key_of_the_same_lease_is_adopted_with_a_new_value => "",
            }
            lockers {
                one_locker_excludes_the_other => "",
                unlocking_what_is_not_locked_is_an_error => "",
                dropping_a_locker_releases => "",
            }
            barriers {
                a_hold_is_the_key_of_gos_recipe => "",
                holding_what_is_held_is_refused => "",
                all_who_wait_go_on_when_the_hold_ends => "v3_barrier_test.go TestBarrierSingleNode",
                a_holders_crash_lets_who_waits_go_on => "",
                a_wait_is_for_the_hold_that_was_there => "",
                writing_the_key_again_lets_nobody_go_on => "",
                a_wait_ends_with_its_session_or_its_limit => "",
                a_hold_whose_answer_was_lost_is_known_to_be_ones_own => "",
                a_hold_that_arrives_late_holds_nobody_up => "",
                a_late_release_spares_a_newer_hold => "",
                a_hold_that_is_given_up_leaves_no_key => "",
            }
            double_barriers {
                nobody_is_in_before_all_are_there_nor_on_before_all_are_out => "v3_double_barrier_test.go TestDoubleBarrier",
                it_is_used_round_after_round_by_the_swift_and_the_slow => "",
                more_than_count_are_refused => "v3_double_barrier_test.go TestDoubleBarrierTooManyClients",
                of_more_who_come_at_once_only_count_go_in => "",
                one_who_waited_and_crashes_frees_the_others_at_once => "",
                one_who_gives_up_frees_the_others_at_once => "",
                one_who_crashes_inside_is_told_of_when_leaving => "v3_double_barrier_test.go TestDoubleBarrierFailover",
                a_round_that_all_crashed_in_is_closed_by_the_next => "",
                the_keys_are_those_of_gos_recipe => "",
                lost_answers_and_a_compaction_let_nobody_in_early_or_keep_anybody => "",
            }
            queues {
                items_come_out_in_order_of_arrival => "v3_queue_test.go TestQueueOneReaderOneWriter",
                an_item_is_a_key_below_the_name_that_no_lease_ends => "",
                items_of_gos_recipe_are_items => "",
                each_item_is_given_to_one_of_many_consumers => "v3_queue_test.go TestQueueManyReaderManyWriter",
                many_who_wait_share_a_watch_and_read_nothing => "",
                waiting_ends_with_an_item_the_limit_or_the_session => "",
                an_enqueue_whose_answer_was_lost_is_one_item => "",
                a_dequeue_whose_answer_was_lost_gives_its_item => "",
                a_dequeue_given_up_half_way_leaves_its_item_to_the_next => "",
                a_claimed_item_is_nobody_elses_until_it_is_given_back => "",
                a_consumers_crash_gives_its_item_back => "",
                who_acknowledges_what_is_no_longer_claimed_is_told => "",
                an_acknowledgement_and_its_work_are_one_transaction => "",
                a_claim_whose_answer_was_lost_is_ones_own => "",
                a_claim_given_up_half_way_gives_its_item_back => "",
                a_batch_is_no_larger_than_a_transaction => "",
            }
            priority_queues {
                the_lowest_number_comes_first_and_equals_in_order => "v3_queue_test.go TestPrQueueOneReaderOneWriter",
                the_keys_are_those_of_gos_recipe => "",
                producers_of_one_priority_share_no_number => "",
                what_comes_while_a_consumer_looks_is_not_overtaken => "",
                lost_answers_double_nothing => "",
            }
        }
    };
}
pub(crate) use for_each_promise;
