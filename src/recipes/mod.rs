//! The rest of etcd's recipes, on sessions and the same calls as the locks: what is in each is in its own file.

mod backoff;
mod barrier;
pub(crate) mod blocking;
mod claim;
mod counter;
mod double_barrier;
mod entering;
mod finishing;
mod own_key;
mod priority_queue;
mod queue;
mod semaphore;
mod siblings;
mod stm;
mod taking;

pub use barrier::{Barrier, BarrierHold};
pub use claim::Claim;
pub use counter::Counter;
pub use double_barrier::{Departure, DoubleBarrier, Entered};
pub use priority_queue::PriorityQueue;
pub use queue::Queue;
pub use semaphore::{Permit, Semaphore};
pub use stm::{Committed, Isolation, Stm, StmError, Transaction};
