//! A session with its renewal, over an etcd that answers at once.

use loom::thread;

use crate::etcd::{Etcd, RENEWAL_DUE, TTL};
use crate::explore::{Bound, explore};
use crate::sync::block_on;

/// Three threads: the renewal, which falls due; the clock, which then passes the session's first deadline; a holder who
/// looks twice.
pub(crate) fn once_lost_a_session_is_lost_whatever_its_renewal_hears() {
    explore("session: deadline beside a renewal (3 threads)", Bound::Preemptions(2), || {
        let etcd = Etcd::new();
        let session = etcd.session();
        let clock = {
            let etcd = etcd.clone();
            thread::spawn(move || {
                etcd.advance_to(RENEWAL_DUE);
                etcd.advance_to(TTL);
            })
        };
        let first = session.is_alive();
        let second = session.is_alive();
        assert!(first || !second, "lost, then alive again");
        clock.join().unwrap();
        let alive = session.is_alive();
        assert_eq!(
            alive,
            session.deadline().is_some(),
            "a deadline without a session, or the other way round"
        );
        block_on(session.close()).ok();
        assert_eq!(etcd.keys(), 0);
    });
}

/// Three threads: the renewal, one who waits for the loss, and one who ends the session.
pub(crate) fn lost_resolves_when_the_session_ends_at_any_moment() {
    explore("session: `lost` beside `close` (3 threads)", Bound::Preemptions(2), || {
        let etcd = Etcd::new();
        let session = etcd.session();
        let lost = session.lost();
        let waiter = thread::spawn(move || block_on(lost));
        block_on(session.close()).unwrap();
        waiter.join().unwrap();
    });
}

/// Two threads: the renewal, which falls due, and one who hands the lease on.
pub(crate) fn an_orphaned_sessions_lease_is_not_revoked() {
    explore("session: `orphan` beside a renewal (2 threads)", Bound::Preemptions(3), || {
        let etcd = Etcd::new();
        let session = etcd.session();
        let lease = session.lease();
        etcd.advance_to(RENEWAL_DUE);
        let ended = session.lost();
        session.orphan();
        block_on(ended);
        etcd.wait_for_renewals();
        assert!(!etcd.is_revoked(lease), "an orphaned lease was revoked");
    });
}

/// Three threads: each drops one handle of a session; the last one's end is the session's, in the background.
pub(crate) fn the_last_of_two_handles_revokes() {
    explore("session: two handles dropped (3 threads)", Bound::Preemptions(3), || {
        let etcd = Etcd::without_renewals();
        let session = etcd.session();
        let lease = session.lease();
        let other = session.clone();
        let dropper = thread::spawn(move || drop(other));
        drop(session);
        dropper.join().unwrap();
        etcd.wait_for_background();
        assert!(etcd.is_revoked(lease), "nobody revoked the lease");
    });
}
