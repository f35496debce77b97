//! The harness of `tenure`: a simulated etcd, faults, checkers and reports.

#[cfg(not(madsim))]
compile_error!(
    "tenure-sim needs `--cfg madsim`: build inside the workspace, whose .cargo/config.toml sets it, and unset RUSTFLAGS"
);
