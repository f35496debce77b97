//! The simulated world of one run: etcd members with a model of consensus, links with directions, faults, and client
//! processes with clocks of their own.
//!
//! A [`World`] is one synchronous state machine with an agenda of events; members are data in it, not tasks, and no
//! event happens while nothing changes: an idle hour costs nothing. Only clients are nodes of madsim.

mod bound;
mod call;
mod client;
mod clock;
mod config;
mod consensus;
mod core;
mod draws;
mod election;
mod event;
mod faults;
mod leases;
mod links;
mod member;
mod membership;
mod peer;
mod reads;
mod serve;
mod watch;
mod wire;
mod world;

pub use client::{ClientEnv, Program};
pub(crate) use clock::Clock;
pub use config::{ClientConfig, ClusterConfig, Planted, Span, Transport};
pub use member::MemberStatus;
pub use world::World;
