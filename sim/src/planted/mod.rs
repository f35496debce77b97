//! Planted bugs: faults of real lock libraries, built here and never in the library, to show that each is caught by the
//! invariant that names it.

mod deaf;
mod unlock;
mod wrong_lock;

use std::sync::Arc;

use tenure::Backend;

use crate::workload::primitive::Primitive;

/// One planted bug.
#[derive(Debug)]
pub struct Planted {
    /// As `--planted` names it.
    pub name: &'static str,
    /// What is wrong, and where it was seen.
    pub about: &'static str,
    /// The scenario that catches it.
    pub scenario: &'static str,
    /// The invariant that must catch it.
    pub invariant: &'static str,
    /// What it does to the backend.
    pub backend: Option<fn(Arc<dyn Backend>) -> Arc<dyn Backend>>,
    /// The mutex that stands in for the library's.
    pub mutex: Option<fn() -> Box<dyn Primitive>>,
}

/// Every planted bug.
pub const PLANTED: &[Planted] = &[
    Planted {
        name: "no-own-key-check",
        about: "a waiter whose key is gone is granted when those before it are gone (etcd 11456)",
        scenario: "mutex",
        invariant: "fifo",
        backend: None,
        mutex: Some(wrong_lock::no_own_key_check),
    },
    Planted {
        name: "unlock-by-name",
        about: "an unlock deletes whatever has its key, and its retry a newer hold (etcd 22082)",
        scenario: "mutex",
        invariant: "mutual-exclusion",
        backend: Some(unlock::by_name),
        mutex: None,
    },
    Planted {
        name: "deaf-to-expiry",
        about: "a holder is never told that its lease has run out (etcd 6127)",
        scenario: "mutex",
        invariant: "mutual-exclusion",
        backend: Some(deaf::to_expiry),
        mutex: None,
    },
    Planted {
        name: "first-key-wins-late",
        about: "a waiter is granted when any key of its line goes, without a look at who is before it",
        scenario: "mutex",
        invariant: "mutual-exclusion",
        backend: None,
        mutex: Some(wrong_lock::first_key_wins_late),
    },
];

/// Finds a planted bug by its name.
pub fn find(name: &str) -> Option<&'static Planted> {
    PLANTED.iter().find(|planted| planted.name == name)
}
