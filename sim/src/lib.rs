//! The harness of `tenure`: a simulated etcd, faults, checkers and reports.
//!
//! Data flows one way: scenario -> plan (from the seed) -> cluster + clients + faults -> history -> checkers ->
//! verdict -> report.
//!
//! # In a crate of your own
//!
//! [`Simulation`] runs the code of a service that uses `tenure` under seeds, in that service's own tests. The crate has
//! `tenure-sim` as a dev-dependency, and beside its `Cargo.toml` a `.cargo/config.toml` with
//!
//! ```toml
//! [build]
//! # The simulator replaces time and randomness only with this; nothing else is changed by it.
//! rustflags = ["--cfg", "madsim"]
//! ```
//!
//! (the environment's `RUSTFLAGS` would take its place), and, unless a `protoc` is installed, one that `etcd-client` is built
//! with: `PROTOC = "protox"` below `[env]`, after `cargo install protox --features bin`. See [`own`].

mod bytes;
pub mod check;
pub mod cli;
pub mod cluster;
pub mod conform;
pub mod coverage;
pub mod explore;
pub mod fault;
pub mod grpc;
pub mod history;
#[cfg(unix)]
pub mod live;
pub mod node;
pub mod own;
pub mod plan;
pub mod planted;
#[cfg(unix)]
pub mod real;
pub mod report;
pub mod run;
pub mod scenario;
pub mod serve;
pub mod shrink;
pub mod store;
pub mod streams;
pub mod workload;

pub use own::{Context, Failed, Faults, Invariant, Report, RunView, Simulation, SimulationBuilder};
