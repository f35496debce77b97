//! Clients that use the library's recipes: each program is a list of operations on queues, done with sessions as the programs of
//! locks have them.

mod lane;
pub mod program;
mod queue;

pub(super) use lane::RecipeLane;

/// What a consumer writes together with its acknowledgement has this name, and the item's behind it.
pub const WORKED: &str = "worked/";
