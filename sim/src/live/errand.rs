//! What a client's process is told when it is started, and what it tells as it goes: one JSON document in, one a line out.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::history::{Holding, What};
use crate::plan::Plan;

/// What a process is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Errand {
    /// The whole plan: a process plays one client of it.
    pub(super) plan: Plan,
    /// Which.
    pub(super) client: u32,
    /// Which of its lives, from 1.
    pub(super) life: u32,
    /// For each of its sessions' programs, how many operations its earlier lives have begun.
    pub(super) done: Vec<usize>,
    /// Its own way to each member.
    pub(super) endpoints: Vec<String>,
    /// Where the resource listens.
    pub(super) resource: SocketAddr,
    /// The machine's clock at the round's start.
    pub(super) began_ns: u64,
    /// The planted bug.
    pub(super) planted: Option<String>,
}

/// What a process tells.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Told {
    /// A step of its own.
    Step {
        /// When, in nanoseconds since the round's start.
        at_ns: u64,
        /// The newest revision of the store that any answer had told this process by then.
        seen: i64,
        /// What.
        what: What,
    },
    /// At some time after `at_ns` it still believed that it held this.
    Believes {
        /// When it was about to be asked.
        at_ns: u64,
        /// What it believed to hold.
        holding: Holding,
    },
    /// Its program panicked.
    Panicked(String),
}

/// A write that a process sends to the resource.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Write {
    pub(super) holding: Holding,
    pub(super) token: Option<i64>,
    /// When it is to arrive, in nanoseconds since the round's start.
    pub(super) arrives_at_ns: u64,
}

/// Numbers that each life of each client gives to its asks, deeds and observers are its own: this many each.
const NUMBERS_OF_A_LIFE: u64 = 100_000;
const LIVES_OF_A_CLIENT: u64 = 1_000;

/// The number before the first that a life gives.
pub(super) fn numbered_from(client: u32, life: u32) -> u64 {
    (u64::from(client) * LIVES_OF_A_CLIENT + u64::from(life)) * NUMBERS_OF_A_LIFE
}
