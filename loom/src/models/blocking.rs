//! The locker for plain threads, as it is.

use std::sync::Arc;

use loom::thread;

use crate::etcd::Etcd;
use crate::explore::{Bound, explore};
use crate::sync::block_on;
use crate::{Error, Mutex, RwLock, Session, blocking};

fn locker(session: &Session) -> blocking::Locker {
    blocking::Locker::new(Mutex::new(session, "lock").unwrap().locker())
}

/// Two threads: both lock one locker and keep it.
pub(crate) fn two_threads_on_one_locker_never_both_hold() {
    explore("blocking locker: locked twice (2 threads)", Bound::None, || {
        let etcd = Etcd::without_renewals();
        let session = etcd.session();
        let locker = Arc::new(locker(&session));
        let other = {
            let locker = Arc::clone(&locker);
            thread::spawn(move || locker.lock())
        };
        let mine = locker.lock();
        let theirs = other.join().unwrap();
        let refused = Err(Error::InUse { name: "lock".to_owned() });
        assert!((&mine, &theirs) == (&Ok(()), &refused) || (&mine, &theirs) == (&refused, &Ok(())));
        assert!(locker.tenure().is_some_and(|tenure| tenure.is_held()));
        locker.unlock().unwrap();
        assert_eq!(locker.unlock(), Err(Error::NotLocked));
        assert_eq!(etcd.keys(), 0, "a key was left");
        session.orphan();
    });
}

/// Two threads: one unlocks; the other locks, and unlocks what it got. Once with a release that etcd refuses.
pub(crate) fn who_locks_while_another_unlocks_is_never_left_waiting() {
    for refusals in [0, 1] {
        let name = format!("blocking locker: lock beside unlock, {refusals} refused (2 threads)");
        explore(&name, Bound::None, move || {
            let etcd = Etcd::without_renewals();
            let session = etcd.session();
            let locker = Arc::new(locker(&session));
            locker.lock().unwrap();
            etcd.refuse(refusals);
            let other = {
                let locker = Arc::clone(&locker);
                thread::spawn(move || locker.unlock())
            };
            let locked = locker.lock();
            let unlocked = other.join().unwrap();
            assert!(matches!(locked, Ok(()) | Err(Error::InUse { .. } | Error::Refused(_))), "{locked:?}");
            let held = locker.tenure().is_some_and(|tenure| tenure.is_held());
            assert_eq!(held, locked.is_ok(), "{locked:?}, {unlocked:?}");
            if locker.tenure().is_some() {
                locker.unlock().unwrap();
            }
            assert_eq!(etcd.keys(), 0, "a key was left");
            session.orphan();
        });
    }
}

/// Three threads: one waits for the write lock that another session holds; one closes the waiter's session.
pub(crate) fn a_blocked_thread_goes_on_when_the_session_ends() {
    explore("blocking locker: a wait beside `close` (2 threads)", Bound::Preemptions(3), || {
        let etcd = Etcd::without_renewals();
        let (holder, waiting) = (etcd.session(), etcd.session());
        let held = blocking::Locker::new(RwLock::new(&holder, "lock").unwrap().write_locker());
        held.lock().unwrap();
        let waiter = {
            let waiting = waiting.clone();
            let locker = blocking::Locker::new(RwLock::new(&waiting, "lock").unwrap().write_locker());
            drop(waiting);
            thread::spawn(move || locker.lock())
        };
        block_on(waiting.close()).unwrap();
        // That its key is gone may be seen first.
        assert!(matches!(waiter.join().unwrap(), Err(Error::SessionLost | Error::NotHeld)));
        held.unlock().unwrap();
        holder.orphan();
    });
}
