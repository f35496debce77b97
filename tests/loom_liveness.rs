//! Every interleaving of the session's liveness cell, by loom. The cell's own source is compiled here over loom's
//! primitives, so that no cfg and no second build of the library is needed.

#![allow(clippy::unwrap_used, missing_docs)]

mod sync {
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
    pub(crate) use loom::sync::{Arc, Mutex};
    pub(crate) use std::sync::PoisonError;
}

#[path = "../src/session/liveness.rs"]
#[allow(dead_code, reason = "each test uses a part")]
mod liveness;

use liveness::{Ended, Liveness};
use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;

#[test]
fn who_has_been_told_it_is_over_is_never_told_it_is_alive() {
    loom::model(|| {
        let cell = Arc::new(Liveness::new(100));
        let renewer = {
            let cell = Arc::clone(&cell);
            // A renewal that was under way before the deadline and arrives at any moment.
            thread::spawn(move || cell.extend(99, 200))
        };
        let late = cell.is_alive(150);
        let later = cell.is_alive(150);
        assert!(late || !later, "over, then alive again");
        let renewed = renewer.join().unwrap();
        assert_eq!(renewed, cell.is_alive(150), "a renewal that was told it held must hold");
    });
}

#[test]
fn a_waiter_is_woken_by_an_end_at_any_moment() {
    loom::model(|| {
        let cell = Arc::new(Liveness::new(100));
        let ender = {
            let cell = Arc::clone(&cell);
            thread::spawn(move || cell.end())
        };
        block_on(Ended::of(&cell));
        assert!(cell.deadline_ns().is_none());
        assert!(ender.join().unwrap());
    });
}

#[test]
fn a_waiter_is_woken_by_whoever_sees_the_deadline_pass() {
    loom::model(|| {
        let cell = Arc::new(Liveness::new(100));
        let looker = {
            let cell = Arc::clone(&cell);
            thread::spawn(move || cell.is_alive(100))
        };
        block_on(Ended::of(&cell));
        assert!(!looker.join().unwrap());
    });
}

#[test]
fn it_is_ended_by_one_only() {
    loom::model(|| {
        let cell = Arc::new(Liveness::new(100));
        let other = {
            let cell = Arc::clone(&cell);
            thread::spawn(move || cell.end())
        };
        let mine = cell.end();
        assert!(mine ^ other.join().unwrap());
    });
}
