//! Distributed locks and leader election on etcd.

mod backend;
mod error;
mod instant;
pub mod kv;
mod line;
mod mutex;
mod name;
mod session;
mod sync;
mod tenure;
pub mod wire;

pub use backend::{
    Backend, CallError, Code, DeadlineExceeded, Refusal, Runtime, WatchMessage, WatchStream, within,
};
pub use error::Error;
pub use instant::Instant;
pub use mutex::{Mutex, MutexGuard};
pub use session::{Session, SessionBuilder};
pub use tenure::Tenure;
