//! The rest of etcd's recipes, on sessions and the same calls as the locks: what is in each is in its own file.

mod barrier;
pub(crate) mod blocking;
mod claim;
mod double_barrier;
mod entering;
mod finishing;
mod own_key;
mod priority_queue;
mod queue;
mod taking;

pub use barrier::{Barrier, BarrierHold};
pub use claim::Claim;
pub use double_barrier::{Departure, DoubleBarrier, Entered};
pub use priority_queue::PriorityQueue;
pub use queue::Queue;
