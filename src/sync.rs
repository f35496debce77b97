//! The synchronisation primitives that a process's own state is built on. `tests/loom_liveness.rs` puts loom's in their
//! place to check every interleaving.

pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
pub(crate) use std::sync::{Arc, Mutex, PoisonError};
