//! Distributed locks and leader election on etcd.

mod backend;
mod election;
mod error;
mod etcd;
mod instant;
pub mod kv;
mod line;
mod locker;
mod mutex;
mod name;
mod rwlock;
mod session;
mod sync;
mod tenure;
pub mod wire;

pub use backend::{
    Backend, CallError, Code, DeadlineExceeded, Refusal, Runtime, WatchMessage, WatchStream, within,
};
pub use election::{Election, Leader, Leadership, Observation, Observer};
pub use error::Error;
#[cfg(feature = "tls")]
pub use etcd::{Certificate, Identity, TlsOptions};
pub use etcd::{ConnectError, Etcd, EtcdBuilder, EtcdOptions, TokioRuntime};
pub use instant::Instant;
pub use locker::{Locker, LockerOf, blocking};
pub use mutex::{Mutex, MutexGuard};
pub use rwlock::{Policy, ReadGuard, RwLock, WriteGuard};
pub use session::{Session, SessionBuilder};
pub use tenure::Tenure;
