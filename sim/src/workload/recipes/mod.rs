//! Clients that use the library's recipes: each program is a list of operations on queues, on accounts and counters, or on barriers, done
//! with sessions as the programs of locks have them.

mod barrier;
mod handles;
mod lane;
pub mod program;
mod queue;
mod stm;
mod turn;

pub(super) use lane::RecipeLane;
pub use stm::{account, balance, changed};
pub(crate) use turn::{Recipes, Turn};

/// What a consumer writes together with its acknowledgement has this name, and the item's behind it.
pub const WORKED: &str = "worked/";

/// The key that a transfer writes besides accounts has this name, and the transfer's number behind it.
pub const MADE: &str = "made/";
