//! The invariants: pure functions from a history to the first step that breaks them.

mod evidence;
mod fencing;
mod fifo;
mod mutual_exclusion;
mod no_residue;
mod observe_order;
mod progress;
#[cfg(test)]
mod script;
mod writer_priority;

use serde::{Deserialize, Serialize};

pub use evidence::{Ask, Bounds, Call, Evidence, KeyLife, Moment, Outcome, SessionLife, TenureLife};

use crate::history::History;

/// A promise that every history must keep.
#[derive(Clone, Copy)]
pub struct Invariant {
    /// As scenarios name it.
    pub name: &'static str,
    /// When it holds, in a line.
    pub about: &'static str,
    /// Finds the first breach.
    pub check: fn(&Evidence<'_>) -> Option<Breach>,
}

/// Where and how an invariant broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// The step's place in the history.
    pub step: usize,
    /// What is wrong there, in a line.
    pub detail: String,
}

/// A breach with the name of its invariant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// The invariant.
    pub invariant: String,
    /// The step's place in the history.
    pub step: usize,
    /// What is wrong there, in a line.
    pub detail: String,
}

/// Every invariant there is.
pub const INVARIANTS: &[Invariant] = &[
    Invariant {
        name: "mutual-exclusion",
        about: "no two clients believe at once, each by its own clock, that they hold the same lock",
        check: mutual_exclusion::mutual_exclusion,
    },
    Invariant {
        name: "single-leader",
        about: "no two clients believe at once, each by its own clock, that they lead",
        check: mutual_exclusion::single_leader,
    },
    Invariant {
        name: "fencing",
        about: "a resource never takes a write of an older holder, a guarded txn never commits for an ex-holder",
        check: fencing::check,
    },
    Invariant {
        name: "fifo",
        about: "a grant goes to the head of the line: its own key is in the store, and none older",
        check: fifo::check,
    },
    Invariant {
        name: "writer-priority",
        about: "no reader gets in line while a writer is in it, and no writer is granted beside an older reader or writer",
        check: writer_priority::check,
    },
    Invariant {
        name: "observe-order",
        about: "an observer sees leaders in order, none that is old news, and in the end the last state",
        check: observe_order::check,
    },
    Invariant {
        name: "progress",
        about: "once calm, whoever asks is answered in time, and a dead client's keys are gone in time",
        check: progress::check,
    },
    Invariant {
        name: "no-residue",
        about: "at the end no key is left of a tenure that was released, given up or lost",
        check: no_residue::check,
    },
];

/// The names of all invariants.
pub fn names() -> Vec<&'static str> {
    INVARIANTS.iter().map(|invariant| invariant.name).collect()
}

/// Checks a history for these invariants. Gives the violations, first step first.
pub fn check(evidence: &Evidence<'_>, wanted: &[String]) -> Vec<Violation> {
    let mut violations: Vec<_> = INVARIANTS
        .iter()
        .filter(|invariant| wanted.iter().any(|name| name == invariant.name))
        .filter_map(|invariant| {
            (invariant.check)(evidence).map(|Breach { step, detail }| Violation {
                invariant: invariant.name.to_owned(),
                step,
                detail,
            })
        })
        .collect();
    violations.sort_by_key(|violation| violation.step);
    violations
}

/// Reads a history as evidence and checks it.
pub fn check_history(history: &History, bounds: Bounds, wanted: &[String]) -> Vec<Violation> {
    check(&Evidence::of(history, bounds), wanted)
}
