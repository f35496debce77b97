//! What a holder or waiter says of itself, for `who`: beside the line, at `NAME\0info/LEASE`, on the same lease, so that it goes
//! with it. Keys of the line itself are etcd's own recipe's and have no room for it.
//!
//! It is a courtesy: without permission for the key, or space for it, everything else works.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tenure::kv::{Compare, CompareOp, Op, Put, Request, Txn};
use tenure::{Etcd, Runtime, Tenure};

use crate::hold::unix_ms;

/// Whose place in line it is, and since when.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Who {
    pub host: String,
    pub pid: i32,
    pub waiting_since_unix_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_since_unix_ms: Option<u64>,
}

/// The prefix of all such keys of a name.
pub fn prefix(name: &str) -> Vec<u8> {
    format!("{name}\0info/").into_bytes()
}

/// One's own.
pub struct Info {
    key: Vec<u8>,
    lease: i64,
    who: Who,
}

impl Info {
    pub fn new(name: &str, lease: i64) -> Self {
        let mut key = prefix(name);
        key.extend(format!("{lease:x}").into_bytes());
        let who = Who {
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            pid: rustix::process::getpid().as_raw_pid(),
            waiting_since_unix_ms: now(),
            held_since_unix_ms: None,
        };
        Self { key, lease, who }
    }

    /// Says who waits, in the background.
    pub fn announce(&self, etcd: &Etcd) {
        // Only the first word: it may arrive after the next one.
        let first = Compare::create_revision(&*self.key, CompareOp::Equal, 0);
        self.write(etcd, Txn::new().when([first]).and_then([self.put(&self.who)]));
    }

    /// Says who holds, in the background.
    pub fn held(&self, etcd: &Etcd, tenure: &Tenure) {
        let who = Who { held_since_unix_ms: Some(now()), ..self.who.clone() };
        self.write(etcd, Txn::new().when(tenure.conditions()).and_then([self.put(&who)]));
    }

    fn put(&self, who: &Who) -> Op {
        Op::Put(Put::new(&*self.key, serde_json::to_vec(who).unwrap_or_default()).lease(self.lease))
    }

    fn write(&self, etcd: &Etcd, txn: Txn) {
        let call = etcd.call(Request::Txn(txn), etcd.now() + Duration::from_secs(5));
        etcd.spawn(Box::pin(async move {
            // See above: nothing depends on it.
            let _ = call.await;
        }));
    }
}

fn now() -> u64 {
    u64::try_from(unix_ms()).unwrap_or(u64::MAX)
}
