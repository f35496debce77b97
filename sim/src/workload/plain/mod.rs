//! Clients that use etcd itself through [`tenure::Etcd`], so that what it promises can be judged without any primitive.

mod lane;
pub mod program;
mod watcher;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

pub(super) use lane::PlainLane;
pub(super) use watcher::watch;

/// The keys of the registers begin so.
pub const REGISTERS: &str = "registers/";
/// The keys that live by leases begin so.
pub const LEASED: &str = "leased/";

/// After so many uses a register is another key: the search for an order of all operations on one key takes exponential time
/// in the worst case.
const USES_OF_A_KEY: u64 = 40;

/// How often each register of a run was used, and so which key it is.
#[derive(Default)]
pub(super) struct Registers {
    uses: Mutex<BTreeMap<u32, u64>>,
}

impl Registers {
    /// The register's key, for one more use.
    pub(super) fn use_key(&self, register: u32) -> Vec<u8> {
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        let uses = uses.entry(register).or_default();
        *uses += 1;
        key(register, *uses)
    }

    /// The register's key at the moment.
    pub(super) fn key(&self, register: u32) -> Vec<u8> {
        let uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        key(register, uses.get(&register).copied().unwrap_or(1))
    }
}

fn key(register: u32, uses: u64) -> Vec<u8> {
    format!("{REGISTERS}{register}/{}", (uses - 1) / USES_OF_A_KEY).into_bytes()
}
