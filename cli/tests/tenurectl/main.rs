//! `tenurectl` on real servers: every promise of its help and of docs/tenurectl.md, by the very program.

#![cfg(unix)]
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, reason = "tests")]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "real processes in real time")]

mod access;
mod beside_etcdctl;
mod commands;
mod ctl;
mod kinds;
mod losses;
mod package;
mod signals;
mod terminals;
mod who;
