//! The primitives of `tenure`, the very same files, compiled over loom: every interleaving of what threads of one process
//! share, within a bound that each model says.
//!
//! The library's own build has no cfg for it. Here `sync` is loom's, the data types are the library's, and `etcd` is the
//! simulated store behind calls that answer at once.

#![cfg(test)]
#![allow(clippy::unwrap_used, reason = "a model fails by panicking")]
#![allow(clippy::duplicate_mod, reason = "the planted bugs are put under the same models")]

/// Includes files of the library, of which the models use a part.
macro_rules! library {
    ($($name:ident = $path:literal)*) => {
        $(
            #[path = $path]
            #[allow(dead_code, unused_imports, unreachable_pub, reason = "the models use a part")]
            mod $name;
        )*
    };
}
library! {
    election = "../../src/election/mod.rs"
    error = "../../src/error.rs"
    line = "../../src/line/mod.rs"
    locker = "../../src/locker.rs"
    metrics = "../../src/metrics.rs"
    mutex = "../../src/mutex.rs"
    name = "../../src/name.rs"
    rwlock = "../../src/rwlock.rs"
    session = "../../src/session/mod.rs"
    tenure = "../../src/tenure.rs"
}

mod etcd;
mod explore;
mod models;
mod planted;
mod sync;

#[allow(unused_imports, reason = "what the library's files take from the crate's root")]
use {
    election::{Election, Leadership},
    error::Error,
    library::{Backend, CallError, Instant, Refusal, Runtime, WatchMessage, WatchStream, kv, wire, within},
    locker::{Locker, blocking},
    mutex::{Mutex, MutexGuard},
    rwlock::RwLock,
    session::Session,
    tenure::Tenure,
};
