//! The invariants: pure functions from a history to the first step that breaks them.

mod answers;
mod applied;
mod at_most_k;
mod barrier;
#[cfg(test)]
mod barrier_tests;
mod barriers;
mod causes;
mod double_barrier;
mod evidence;
mod exactly_once;
#[cfg(test)]
mod exactly_once_tests;
mod far;
mod fences;
mod fencing;
mod fifo;
mod floor;
mod foreign;
mod heirs;
mod isolation;
mod items;
mod lateness;
mod lease_life;
mod linearizable;
mod mutual_exclusion;
mod no_polling;
mod no_residue;
mod observe_order;
mod order;
mod pacing;
mod plain;
mod progress;
mod receipts;
mod recipe_deeds;
mod registers;
mod reigns;
mod renewals;
mod robbed;
#[cfg(test)]
mod script;
#[cfg(test)]
mod script_plain;
#[cfg(test)]
mod script_recipes;
mod shape;
mod silent;
#[cfg(test)]
mod stm_tests;
mod subjects;
mod success;
mod transactions;
mod true_errors;
mod watch_guarantees;
mod writer_priority;

use serde::{Deserialize, Serialize};

pub(crate) use barriers::{asked_by, hold_of, holds, rounds};
pub use evidence::{
    Ask, Bounds, Call, DeedLife, Evidence, KeyLife, Moment, Outcome, Planned, PlannedLane, SessionLife,
    TenureLife,
};
pub(crate) use items::Item;
pub use linearizable::{Judged, judged as judged_registers};
pub(crate) use order::Order;
pub use plain::{Operation, Plain, Stream};
pub(crate) use recipe_deeds::of_recipes;
pub use shape::shape;
pub use subjects::subjects;
pub(crate) use transactions::{Transaction, transactions};

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
        check: |evidence| {
            let broken = [fencing::check(evidence), heirs::check(evidence)];
            broken.into_iter().flatten().min_by_key(|breach| breach.step)
        },
    },
    Invariant {
        name: "fifo",
        about: "a grant goes to the head of the line: its own key is in the store, and none older",
        check: fifo::check,
    },
    Invariant {
        name: "at-most-k",
        about: "no more clients than a semaphore has permits believe that they hold one, and a grant goes to one of the first in line",
        check: at_most_k::check,
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
        about: "once calm, whoever is first in line is granted, all else succeeds in time, and a dead client's keys are gone",
        check: |evidence| {
            let broken = [progress::check(evidence), success::check(evidence)];
            broken.into_iter().flatten().min_by_key(|breach| breach.step)
        },
    },
    Invariant {
        name: "floor",
        about: "once calm, every program of a client comes to an end with something, and something is granted",
        check: floor::check,
    },
    Invariant {
        name: "true-errors",
        about: "every error that the library gives is true, and so is every loss that it tells of and every value",
        check: |evidence| {
            let broken = [true_errors::check(evidence), foreign::check(evidence), renewals::check(evidence)];
            broken.into_iter().flatten().min_by_key(|breach| breach.step)
        },
    },
    Invariant {
        name: "no-polling",
        about: "a client asks etcd only with a reason: it was told to, a watch told it news, or something came to nothing, and then not in a rush",
        check: |evidence| {
            let broken = [no_polling::check(evidence), pacing::check(evidence), far::check(evidence)];
            broken.into_iter().flatten().min_by_key(|breach| breach.step)
        },
    },
    Invariant {
        name: "no-residue",
        about: "at the end no key is left of a tenure that was released, given up or lost, and no more are made than needed",
        check: |evidence| {
            let broken = [no_residue::check(evidence), receipts::check(evidence), fences::check(evidence)];
            broken.into_iter().flatten().min_by_key(|breach| breach.step)
        },
    },
    Invariant {
        name: "linearizable",
        about: "all linearizable operations on a key fit into one order of the register that it is (todc-utils)",
        check: linearizable::check,
    },
    Invariant {
        name: "true-answers",
        about: "an answer is what the order of committed writes gives, and what was not applied never is",
        check: answers::check,
    },
    Invariant {
        name: "watch-guarantees",
        about: "a watch tells every change once, in order, each revision whole, across breaks, and soon once calm",
        check: watch_guarantees::check,
    },
    Invariant {
        name: "lease-life",
        about: "no lease runs out before its time to live since the last renewal that was answered",
        check: lease_life::check,
    },
    Invariant {
        name: "exactly-once",
        about: "an item of a queue is added once, given once, in order, and lost at most with the consumer that took it",
        check: exactly_once::check,
    },
    Invariant {
        name: "isolation",
        about: "a transaction reads, and commits beside others, as its level of isolation has it, and no sum is changed",
        check: isolation::check,
    },
    Invariant {
        name: "applied",
        about: "a transaction, or an addition, that is acknowledged is applied once, one that failed never, any other once at most",
        check: applied::check,
    },
    Invariant {
        name: "barrier",
        about: "nobody passes a barrier that one hold bars all the time, and a hold is its holder's until it is released",
        check: barrier::check,
    },
    Invariant {
        name: "double-barrier",
        about: "a round of a double barrier begins with all its members, and nobody goes on before all of them are out",
        check: double_barrier::check,
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
