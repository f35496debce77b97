//! Real etcd servers, started and ended by tests and by `conform`: vendored binaries, one server, or a cluster whose
//! members' links can be cut.
//!
//! Everything here is real time, threads and processes, and nothing that a simulation reaches. The functions block.

mod binary;
mod cluster;
mod ports;
mod procfs;
mod proxy;
mod server;
mod spawn;

use std::path::PathBuf;
use std::time::Duration;

pub use binary::{DEFAULT_VERSION, VERSIONS, binary};
pub use cluster::{Cluster, ClusterOptions};
pub use server::{Server, ServerOptions};
pub(crate) use spawn::spawn;

/// Why a real etcd could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RealError {
    /// There is no such version among [`VERSIONS`].
    #[error("etcd {0} is not vendored; there are {list}", list = VERSIONS.join(", "))]
    UnknownVersion(String),
    /// No crate carries an etcd for this kind of machine.
    #[error("no etcd binary is vendored for this platform: name one in ETCD_BIN")]
    NoBinaryForPlatform,
    /// `ETCD_BIN` does not name a file.
    #[error("ETCD_BIN names {0}, which is not a file")]
    BadEtcdBin(PathBuf),
    /// The crate that carries the binary could not be fetched.
    #[error("fetching etcd {version} failed: {reason}")]
    Fetch {
        /// The version wanted.
        version: String,
        /// What cargo said.
        reason: String,
    },
    /// No free port was found.
    #[error("no free port on 127.0.0.1")]
    NoPort,
    /// A file, a process or a socket failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The error.
        source: std::io::Error,
    },
    /// The server ended, or did not become healthy in time.
    #[error("etcd did not become healthy: {reason}\n{log}")]
    NotHealthy {
        /// How it ended, or that it did not.
        reason: String,
        /// The last lines of its log.
        log: String,
    },
}

impl RealError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// Looks every few milliseconds until `done`, for at most `limit`. False if it never was.
#[allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real processes are waited for in real time"
)]
fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let began = std::time::Instant::now();
    loop {
        if done() {
            return true;
        }
        if began.elapsed() >= limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs `work` on a thread of its own.
#[allow(clippy::disallowed_methods, reason = "real sockets are read by real threads")]
pub(crate) fn thread(work: impl FnOnce() + Send + 'static) {
    std::thread::spawn(work);
}
