//! The recipes under seeds: queues, barriers and transactions with everything that goes wrong, the invariants that each keeps, and bugs that
//! these invariants find.
#![allow(missing_docs, clippy::expect_used, reason = "tests")]

mod barriers;
mod double_barriers;
mod queues;
mod transactions;
mod wrong;
