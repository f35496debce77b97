//! Distributed locks and leader election on etcd.

mod backend;
mod etcd;
mod instant;
pub mod kv;
pub mod wire;

pub use backend::{
    Backend, CallError, Code, DeadlineExceeded, Refusal, Runtime, WatchMessage, WatchStream, within,
};
#[cfg(feature = "tls")]
pub use etcd::{Certificate, Identity, TlsOptions};
pub use etcd::{ConnectError, Etcd, EtcdBuilder, EtcdOptions, TokioRuntime};
pub use instant::Instant;
