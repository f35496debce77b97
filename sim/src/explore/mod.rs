//! The model checker: the library's primitives, unchanged, in every order of their steps, with everything that may go wrong within
//! written bounds.
//!
//! **What a step is.** Each call of [`tenure::Backend`] is: a request is applied at the store, its answer reaches the process,
//! a watch is opened, it tells a message, a timer goes off, .. ([`Choice`]). A process runs by itself only between two inputs.
//!
//! **How it goes back.** Futures cannot be copied. But a process's state follows from its inputs, so it is an automaton whose
//! states are histories of inputs (`automaton.rs`). The library's code is run once for each step of each such history, in a
//! live process (`machine.rs`) that is given the history again where need be; all else is plain data that is copied.
//!
//! **Time** is the order of deadlines. Clocks stand still but for three steps. A sleep of up to a second ends whenever the
//! explorer says so, and the clock is then at its end. A session's time runs out by its own clock
//! (`lapse`) before the lease does at the store (`expire`), and the process has noticed, unless it stands still. And a renewal falls due (`renew`).
//! Other processes' renewals, which go well, are not shown.
//!
//! **Recipes.** What is done with them is the seeds' programs (`workload/recipes/`), and judged by the seeds' checkers: their part of the
//! history is kept beside each state, and is part of it (`record.rs`).
//!
//! **What is left out.** States that were visited (`world.rs`: the store, what is under way, each process's inputs), and all but one
//! order of steps that have nothing to do with each other (`reduce.rs`). `Reduction::Plain` leaves out neither and judges both;
//! what `independence.rs` tells of steps is tried there by taking them in both orders.

mod automaton;
mod bounds;
mod frontier;
#[cfg(test)]
mod hash_tests;
mod independence;
mod machine;
mod monitor;
mod planted;
mod program;
mod random;
mod recipes;
mod record;
mod reduce;
mod run;
mod search;
mod shorten;
mod step;
mod world;

pub use bounds::{After, BUILT_IN, Bounds, Does, Ending, Policy, Role, Space, find, load};
pub use frontier::{Frontier, Head, Hex, Open};
pub use planted::{FOUND_IN, NOT_FOUND, find_planted, judged_by_name, table};
pub use random::{RandomOptions, Walked, plain_size, random};
pub use run::{ExploreCapsule, Walk, walk};
pub use search::{Found, Outcome, Progress, Reduction, SearchOptions, Until, resume, search};
pub use shorten::shorten;
pub use world::Choice;
