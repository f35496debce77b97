//! Distributed locks and leader election on etcd.

mod backend;
mod instant;
pub mod kv;
pub mod wire;

pub use backend::{
    Backend, CallError, Code, DeadlineExceeded, Refusal, Runtime, WatchMessage, WatchStream, within,
};
pub use instant::Instant;
