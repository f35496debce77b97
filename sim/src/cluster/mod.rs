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
mod live;
mod member;
mod membership;
mod outside;
mod peer;
mod planned;
mod reads;
mod serve;
mod watch;
mod wire;
mod world;

pub(crate) use call::ANSWER_LOST;
pub use client::{ClientEnv, Program};
pub(crate) use clock::Clock;
pub use config::{ClientConfig, ClusterConfig, Planted, Span, Transport};
pub use live::LiveClock;
pub(crate) use member::Member;
pub use member::MemberStatus;
pub(crate) use membership::Want;
pub use outside::{Door, Doors, LinkState, MemberInfo, Refusal};
pub use planned::{Planner, Round};
pub use world::World;
