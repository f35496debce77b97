//! The program of a client that uses etcd itself, without any primitive: reads, writes, transactions, leases and watches, with
//! all their times. Plain data, written down in capsules.

use serde::{Deserialize, Serialize};

/// The names of the operations, as scenarios weigh them.
pub const OPERATIONS: &[&str] = &[
    "get",
    "get-both",
    "get-all",
    "get-serializable",
    "get-past",
    "put",
    "delete",
    "compare-and-set",
    "put-both",
    "lease",
    "renew",
    "revoke",
    "put-leased",
];

/// One operation, done after the one before it is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlainOperation {
    /// The client waits so long before it.
    pub think_ms: u64,
    /// The deadline that the call is given.
    pub patience_ms: u64,
    /// What is done.
    #[serde(flatten)]
    pub what: PlainKind,
}

/// What is done. Registers are numbered; which key a register is at the moment, the run decides
/// (`Registers`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum PlainKind {
    /// A linearizable read of a register.
    Get {
        /// Which register.
        register: u32,
    },
    /// A transaction that reads two registers.
    GetBoth {
        /// One of them.
        first: u32,
        /// The other.
        second: u32,
    },
    /// A read of every key that there is.
    GetAll {
        /// From whatever state the member has.
        serializable: bool,
    },
    /// A read of a register from whatever state the member has.
    GetSerializable {
        /// Which register.
        register: u32,
    },
    /// A read of a register as it was so many revisions before the newest that this client knows.
    GetPast {
        /// Which register.
        register: u32,
        /// How many revisions.
        back: u32,
    },
    /// A write of a value that nobody else writes.
    Put {
        /// Which register.
        register: u32,
    },
    /// A deletion.
    Delete {
        /// Which register.
        register: u32,
    },
    /// A transaction: if the register is as this client saw it last, it is written or deleted, else it is read.
    CompareAndSet {
        /// Which register.
        register: u32,
        /// Compares its value, not its revision.
        by_value: bool,
        /// Deletes it.
        deletes: bool,
    },
    /// A transaction: if the first register is as this client saw it last, both are written.
    PutBoth {
        /// The one that is compared.
        first: u32,
        /// The other.
        second: u32,
    },
    /// Grants a lease of the lane's time to live; the former one is left to run out.
    Lease,
    /// Renews the lease.
    Renew,
    /// Revokes it.
    Revoke,
    /// Writes a key that lives by the lease. It is no register: nobody is told who deletes it.
    PutLeased {
        /// Which of these keys.
        register: u32,
    },
}

/// One watch of a client, opened when the one before it is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlainWatch {
    /// How long it is listened to; the last of a client goes on to the end of the run.
    pub for_ms: u64,
    /// What is watched.
    pub over: WatchedSpan,
    /// How many revisions before the newest that the client knows it begins; `None`: now.
    pub back: Option<u32>,
    /// Asks for what was there before.
    pub prev_kv: bool,
    /// Leaves out what was put.
    pub no_put: bool,
    /// Leaves out what was deleted.
    pub no_delete: bool,
    /// Asks for progress notifications.
    pub progress_notify: bool,
}

/// What a watch can be over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WatchedSpan {
    /// The key that this register is when the watch is opened.
    Key(u32),
    /// All keys that this register is, one after another.
    Register(u32),
    /// The keys that live by leases.
    Leased,
    /// All keys.
    Everything,
}
