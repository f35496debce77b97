//! Barriers and transactions under seeds, with everything that goes wrong: the invariants that each keeps, and bugs that these find.
//! Queues have a scenario of their own.
#![allow(missing_docs, clippy::expect_used, reason = "tests")]

mod barriers;
mod double_barriers;
mod transactions;
mod wrong;
