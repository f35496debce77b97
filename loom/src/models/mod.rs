//! The models. Each says its bound (threads, and what each does) and asserts one promise, which is its name.

/// What a file of models is about; the planted bugs put theirs in its place.
use crate::session as subject;

mod blocking;
mod guards;
mod liveness;
mod session;
mod slots;

/// Makes a test of each model. One that is not listed is dead code, which the compiler says.
macro_rules! tests {
    ($($file:ident: $($model:ident)*;)*) => {
        mod test {
            $(
                mod $file {
                    $(#[test] fn $model() { crate::models::$file::$model(); })*
                }
            )*
        }
    };
}
tests! {
    liveness:
        who_was_told_it_is_over_is_never_told_it_is_alive
        an_end_beside_a_renewal_stays_the_end
        the_deadline_never_moves_back
        a_waiter_is_woken_by_an_end_at_any_moment
        a_waiter_is_woken_by_whoever_sees_the_deadline_pass
        every_waiter_is_woken
        a_wait_that_is_given_up_takes_no_wake_up_along
        it_is_ended_by_one_only;
    slots:
        a_key_is_granted_once
        who_wants_a_key_that_is_given_back_gets_it
        of_two_who_want_a_key_that_is_given_back_one_gets_it
        who_waits_for_a_release_that_is_given_up_is_refused
        a_wait_that_is_given_up_takes_no_wake_up_along;
    session:
        once_lost_a_session_is_lost_whatever_its_renewal_hears
        lost_resolves_when_the_session_ends_at_any_moment
        an_orphaned_sessions_lease_is_not_revoked
        the_last_of_two_handles_revokes;
    guards:
        a_guard_dropped_while_a_renewal_arrives_leaves_no_key
        who_locks_right_after_a_drop_gets_the_lock
        who_waits_for_a_release_that_is_cancelled_is_not_refused
        lost_resolves_when_the_guard_is_released_at_any_moment
        a_wait_ends_when_the_session_does
        two_locks_of_one_session_are_one
        the_last_of_two_leaderships_resigns
        who_campaigns_right_after_a_resignation_given_up_leads;
    blocking:
        two_threads_on_one_locker_never_both_hold
        who_locks_while_another_unlocks_is_never_left_waiting
        a_blocked_thread_goes_on_when_the_session_ends;
}
