//! The harness of `tenure`: a simulated etcd, faults, checkers and reports.
//!
//! Data flows one way: scenario -> plan (from the seed) -> cluster + clients + faults -> history -> checkers ->
//! verdict -> report.

#[cfg(not(madsim))]
compile_error!(
    "tenure-sim needs `--cfg madsim`: build inside the workspace, whose .cargo/config.toml sets it, and unset RUSTFLAGS"
);

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
