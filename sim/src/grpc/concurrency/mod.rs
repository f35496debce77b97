//! The server's own Lock and Election services, with the faults that they have in etcd: clients run into them, so they are here.
//!
//! Both run Go's recipes (`client/v3/concurrency`) inside the server, on a lease that nobody renews. With lease 0 the server grants one
//! of 60 s. A campaign returns when all before it are gone, even if its own key is gone too (etcd 11456 and its kin).

mod election;
mod lock;
mod messages;
mod recipes;
mod server;

pub(super) use recipes::Recipes;
pub(super) use server::{ElectionServer, LockServer};
