//! What the simulated cluster promises: elections, leases, reads, watches and faults behave as etcd's, and a seed gives
//! one run.
#![allow(clippy::unwrap_used, reason = "a test")]

mod calls;
mod clients;
mod cost;
mod faults;
mod leases;
mod members;
mod membership;
mod storm;
mod watches;
mod world;
