//! What the primitives share state with, and block threads by, inside one process. The package `tenure-loom` compiles the
//! same primitives with loom's in their place, to check every interleaving of a bound.
//!
//! `Arc` and `Weak` of here are for what does something when its last handle goes; elsewhere std's will do, since nobody can
//! tell when such a thing is freed.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
pub(crate) use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

pub(crate) use futures_executor::block_on;
