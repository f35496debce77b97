//! The slots alone: exhaustively where that is short.

use std::sync::Arc;

use loom::thread;

use super::subject::{Slot, Slots};
use crate::explore::{Bound, explore};
use crate::sync::block_on;

const KEY: &[u8] = b"lock/1";

/// `None` if it is refused.
fn take(slots: &Arc<Slots>) -> Option<Slot> {
    block_on(Slots::take(slots, KEY)).ok()
}

/// Three threads: each takes the same key and keeps it.
pub(crate) fn a_key_is_granted_once() {
    explore("slots: one key, taken three times (3 threads)", Bound::None, || {
        let slots = Arc::new(Slots::default());
        let others = [(); 2].map(|()| {
            let slots = Arc::clone(&slots);
            thread::spawn(move || take(&slots))
        });
        let mine = take(&slots);
        let theirs = others.map(|other| other.join().unwrap());
        let granted = theirs.iter().chain([&mine]).filter(|taken| taken.is_some()).count();
        assert_eq!(granted, 1, "one key was granted {granted} times");
    });
}

/// Two threads: one wants the key; the other, which gives it back, does so.
pub(crate) fn who_wants_a_key_that_is_given_back_gets_it() {
    explore("slots: wanted while given back (2 threads)", Bound::None, || {
        let slots = Arc::new(Slots::default());
        let slot = take(&slots).unwrap();
        slot.leave();
        let leaver = thread::spawn(move || drop(slot));
        assert!(take(&slots).is_some(), "refused beside a release under way");
        leaver.join().unwrap();
    });
}

/// Three threads: two want the key; the third, which gives it back, does so.
pub(crate) fn of_two_who_want_a_key_that_is_given_back_one_gets_it() {
    explore("slots: wanted twice while given back (3 threads)", Bound::Preemptions(3), || {
        let slots = Arc::new(Slots::default());
        let slot = take(&slots).unwrap();
        slot.leave();
        let leaver = thread::spawn(move || drop(slot));
        let other = {
            let slots = Arc::clone(&slots);
            thread::spawn(move || take(&slots))
        };
        let mine = take(&slots);
        let theirs = other.join().unwrap();
        leaver.join().unwrap();
        assert!(mine.is_some() ^ theirs.is_some(), "one key, granted to both or none");
    });
}

/// Two threads: one wants the key; the other begins to give it back and then keeps it.
pub(crate) fn who_waits_for_a_release_that_is_given_up_is_refused() {
    explore("slots: a release given up (2 threads)", Bound::None, || {
        let slots = Arc::new(Slots::default());
        let slot = take(&slots).unwrap();
        let leaver = thread::spawn(move || {
            slot.leave();
            slot.stay();
            slot
        });
        assert!(take(&slots).is_none(), "granted beside its holder");
        drop(leaver.join().unwrap());
        assert!(take(&slots).is_some());
    });
}

/// Two threads: one wants the key twice, and gives the first wait up; the other gives it back.
pub(crate) fn a_wait_that_is_given_up_takes_no_wake_up_along() {
    explore("slots: a wait given up (2 threads)", Bound::None, || {
        let slots = Arc::new(Slots::default());
        let slot = take(&slots).unwrap();
        slot.leave();
        let leaver = thread::spawn(move || drop(slot));
        let first = block_on(async { futures_util::FutureExt::now_or_never(Slots::take(&slots, KEY)) });
        match first {
            Some(taken) => assert!(taken.is_ok()),
            None => assert!(take(&slots).is_some()),
        }
        leaver.join().unwrap();
    });
}
