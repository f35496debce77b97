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
        }
    };
}
pub(crate) use for_each_promise;
