//! The liveness cell alone: exhaustively.

use std::sync::Arc;

use futures_util::FutureExt;
use loom::thread;

use super::subject::{Ended, Liveness};
use crate::explore::{Bound, explore};
use crate::sync::block_on;

fn cell() -> Arc<Liveness> {
    Arc::new(Liveness::new(100))
}

/// Two threads: a renewal under way since before the deadline; two looks after it.
pub(crate) fn who_was_told_it_is_over_is_never_told_it_is_alive() {
    explore("liveness: once over, over (2 threads)", Bound::None, || {
        let cell = cell();
        let renewer = {
            let cell = Arc::clone(&cell);
            thread::spawn(move || cell.extend(99, 200))
        };
        let late = cell.is_alive(150);
        let later = cell.is_alive(150);
        assert!(late || !later, "over, then alive again");
        let renewed = renewer.join().unwrap();
        assert_eq!(renewed, cell.is_alive(150), "a renewal that was told it held must hold");
    });
}

/// Three threads: a renewal, an end, and two looks after the old deadline.
pub(crate) fn an_end_beside_a_renewal_stays_the_end() {
    explore("liveness: an end beside a renewal (3 threads)", Bound::None, || {
        let cell = cell();
        let renewer = {
            let cell = Arc::clone(&cell);
            thread::spawn(move || cell.extend(99, 200))
        };
        let ender = {
            let cell = Arc::clone(&cell);
            thread::spawn(move || cell.end())
        };
        let late = cell.is_alive(150);
        let later = cell.is_alive(150);
        assert!(late || !later, "over, then alive again");
        renewer.join().unwrap();
        ender.join().unwrap();
        assert!(!cell.is_alive(0), "ended, then alive again");
    });
}

/// Two threads: one renewal each, the later deadline from either.
pub(crate) fn the_deadline_never_moves_back() {
    explore("liveness: two renewals (2 threads)", Bound::None, || {
        let cell = cell();
        let other = {
            let cell = Arc::clone(&cell);
            thread::spawn(move || cell.extend(98, 200))
        };
        assert!(cell.extend(99, 300));
        assert!(cell.deadline_ns() >= Some(300));
        assert!(other.join().unwrap());
        assert_eq!(cell.deadline_ns(), Some(300));
    });
}

/// Two threads: a wait, and an end.
pub(crate) fn a_waiter_is_woken_by_an_end_at_any_moment() {
    explore("liveness: a waiter, an end (2 threads)", Bound::None, || {
        let cell = cell();
        let ender = {
            let cell = Arc::clone(&cell);
            thread::spawn(move || cell.end())
        };
        block_on(Ended::of(&cell));
        assert!(cell.deadline_ns().is_none());
        assert!(ender.join().unwrap());
    });
}

/// Two threads: a wait, and a look after the deadline.
pub(crate) fn a_waiter_is_woken_by_whoever_sees_the_deadline_pass() {
    explore("liveness: a waiter, a late look (2 threads)", Bound::None, || {
        let cell = cell();
        let looker = {
            let cell = Arc::clone(&cell);
            thread::spawn(move || cell.is_alive(100))
        };
        block_on(Ended::of(&cell));
        assert!(!looker.join().unwrap());
    });
}

/// Three threads: two waits, and an end.
pub(crate) fn every_waiter_is_woken() {
    explore("liveness: two waiters, an end (3 threads)", Bound::Preemptions(3), || {
        let cell = cell();
        let other = {
            let cell = Arc::clone(&cell);
            thread::spawn(move || block_on(Ended::of(&cell)))
        };
        let ender = {
            let cell = Arc::clone(&cell);
            thread::spawn(move || cell.end())
        };
        block_on(Ended::of(&cell));
        other.join().unwrap();
        assert!(ender.join().unwrap());
    });
}

/// Two threads: a wait that is given up after one look, then another; and an end.
pub(crate) fn a_wait_that_is_given_up_takes_no_wake_up_along() {
    explore("liveness: a wait given up, an end (2 threads)", Bound::None, || {
        let cell = cell();
        let ender = {
            let cell = Arc::clone(&cell);
            thread::spawn(move || cell.end())
        };
        let over = block_on(async { Ended::of(&cell).now_or_never() }).is_some();
        assert!(!over || cell.deadline_ns().is_none());
        block_on(Ended::of(&cell));
        assert!(ender.join().unwrap());
    });
}

/// Three threads: three ends.
pub(crate) fn it_is_ended_by_one_only() {
    explore("liveness: three ends (3 threads)", Bound::None, || {
        let cell = cell();
        let others = [(); 2].map(|()| {
            let cell = Arc::clone(&cell);
            thread::spawn(move || cell.end())
        });
        let mine = usize::from(cell.end());
        let theirs: usize = others.into_iter().map(|other| usize::from(other.join().unwrap())).sum();
        assert_eq!(mine + theirs, 1);
    });
}
