//! Guards, and what waits for them: the mutex and the election as they are, several threads, one session.

use futures_util::FutureExt;
use loom::thread;

use crate::etcd::{Etcd, RENEWAL_DUE};
use crate::explore::{Bound, explore};
use crate::sync::block_on;
use crate::{Election, Error, Mutex};

/// Three threads: the renewal, which falls due; the holder, who drops the guard and looks at a tenure of it; the release in
/// the background.
pub(crate) fn a_guard_dropped_while_a_renewal_arrives_leaves_no_key() {
    explore("guard: dropped beside a renewal (3 threads)", Bound::Preemptions(2), || {
        let etcd = Etcd::new();
        let session = etcd.session();
        let guard = block_on(Mutex::new(&session, "lock").unwrap().lock()).unwrap();
        let tenure = guard.tenure();
        etcd.advance_to(RENEWAL_DUE);
        drop(guard);
        assert!(!tenure.is_held(), "held after its guard was dropped");
        assert!(session.is_alive(), "a guard that is dropped ends no session");
        etcd.wait_for_background();
        assert_eq!(etcd.keys(), 0, "a key was left");
        session.orphan();
    });
}

/// Two threads: the holder, who drops the guard and locks again; the release in the background.
pub(crate) fn who_locks_right_after_a_drop_gets_the_lock() {
    explore("guard: dropped, locked again (2 threads)", Bound::Preemptions(3), || {
        let etcd = Etcd::without_renewals();
        let session = etcd.session();
        let mutex = Mutex::new(&session, "lock").unwrap();
        let first = block_on(mutex.lock()).unwrap();
        let token = first.fencing_token();
        drop(first);
        let second = block_on(mutex.lock()).unwrap();
        assert!(second.fencing_token() > token);
        assert!(second.is_held());
        block_on(second.release()).unwrap();
        assert_eq!(etcd.keys(), 0, "a key was left");
        session.orphan();
    });
}

/// Three threads: one begins a release and drops it; one locks meanwhile; the release in the background.
pub(crate) fn who_waits_for_a_release_that_is_cancelled_is_not_refused() {
    explore("guard: a release cancelled, locked again (3 threads)", Bound::Preemptions(2), || {
        let etcd = Etcd::without_renewals();
        let session = etcd.session();
        let mutex = Mutex::new(&session, "lock").unwrap();
        let guard = block_on(mutex.lock()).unwrap();
        let mut release = Box::pin(guard.release());
        etcd.set_silent(true);
        assert!(block_on(async { (&mut release).now_or_never() }).is_none(), "the release is under way");
        etcd.set_silent(false);
        let canceller = thread::spawn(move || drop(release));
        let second = block_on(mutex.lock());
        assert!(second.is_ok(), "who waited for a release was refused: {second:?}");
        canceller.join().unwrap();
        drop(second);
        session.orphan();
    });
}

/// Two threads: one waits for the end of a tenure; the other releases it.
pub(crate) fn lost_resolves_when_the_guard_is_released_at_any_moment() {
    explore("guard: `lost` beside `release` (2 threads)", Bound::Preemptions(3), || {
        let etcd = Etcd::without_renewals();
        let session = etcd.session();
        let guard = block_on(Mutex::new(&session, "lock").unwrap().lock()).unwrap();
        let lost = guard.lost();
        let waiter = thread::spawn(move || block_on(lost));
        block_on(guard.release()).unwrap();
        waiter.join().unwrap();
        session.orphan();
    });
}

/// Two threads: one waits for a lock that another session holds; the other closes the waiter's session.
pub(crate) fn a_wait_ends_when_the_session_does() {
    explore("guard: a wait beside `close` (2 threads)", Bound::Preemptions(3), || {
        let etcd = Etcd::without_renewals();
        let (holder, waiting) = (etcd.session(), etcd.session());
        let guard = block_on(Mutex::new(&holder, "lock").unwrap().lock()).unwrap();
        let waiter = {
            let waiting = waiting.clone();
            thread::spawn(move || block_on(Mutex::new(&waiting, "lock").unwrap().lock()).map(drop))
        };
        block_on(waiting.close()).unwrap();
        // That its key is gone may be seen first.
        assert!(matches!(waiter.join().unwrap(), Err(Error::SessionLost | Error::NotHeld)));
        assert!(guard.is_held());
        block_on(guard.release()).unwrap();
        holder.orphan();
    });
}

/// Two threads: both lock one name of one session, look, and release.
pub(crate) fn two_locks_of_one_session_are_one() {
    explore("guard: one session locks twice (2 threads)", Bound::Preemptions(3), || {
        let etcd = Etcd::without_renewals();
        let session = etcd.session();
        let mutex = Mutex::new(&session, "lock").unwrap();
        let other = {
            let mutex = mutex.clone();
            thread::spawn(move || block_on(mutex.lock()))
        };
        let mine = block_on(mutex.lock());
        let theirs = other.join().unwrap();
        let refused = Err(Error::InUse { name: "lock".to_owned() });
        match (mine.map(|guard| guard.is_held()), theirs.map(|guard| guard.is_held())) {
            (Ok(true), theirs) => assert_eq!(theirs, refused),
            (mine, Ok(true)) => assert_eq!(mine, refused),
            neither => panic!("{neither:?}"),
        }
        session.orphan();
    });
}

/// Two threads: one begins to resign with its only handle, gives that up, and campaigns again; the release in the background.
/// (Two who resign at once are not explored: they wait for each other by a mutex of `futures-util`, of which loom knows
/// nothing.)
pub(crate) fn who_campaigns_right_after_a_resignation_given_up_leads() {
    explore("leadership: a resignation given up (2 threads)", Bound::Preemptions(2), || {
        let etcd = Etcd::without_renewals();
        let session = etcd.session();
        let election = Election::new(&session, "election").unwrap();
        let first = block_on(election.campaign("a")).unwrap();
        etcd.set_silent(true);
        let mut resign = Box::pin(async move { first.resign().await });
        assert!(block_on(async { (&mut resign).now_or_never() }).is_none(), "the resignation is under way");
        etcd.set_silent(false);
        drop(resign);
        let campaigned = block_on(election.campaign("b"));
        assert!(campaigned.as_ref().is_ok_and(|leadership| leadership.is_held()), "{campaigned:?}");
        drop(campaigned);
        etcd.wait_for_background();
        assert_eq!(etcd.keys(), 0, "a key was left");
        session.orphan();
    });
}

/// Three threads: each drops one handle of a leadership; the release in the background.
pub(crate) fn the_last_of_two_leaderships_resigns() {
    explore("leadership: two handles dropped (3 threads)", Bound::Preemptions(3), || {
        let etcd = Etcd::without_renewals();
        let session = etcd.session();
        let election = Election::new(&session, "election").unwrap();
        let first = block_on(election.campaign("a")).unwrap();
        let second = block_on(election.campaign("b")).unwrap();
        let tenure = first.tenure();
        let dropper = thread::spawn(move || drop(first));
        drop(second);
        dropper.join().unwrap();
        assert!(!tenure.is_held(), "leads without a handle");
        etcd.wait_for_background();
        assert_eq!(etcd.keys(), 0, "a key was left");
        session.orphan();
    });
}
