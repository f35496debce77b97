//! A client's program: the operations that a plan gives it, with all their times. Plain data, written down in capsules.

use serde::{Deserialize, Serialize};

use crate::history::Kind;

/// One operation of a client, done after the one before it is over: it asks for a tenure and, if that is granted, holds it
/// for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// The client waits so long before it.
    pub think_ms: u64,
    /// Of which primitive.
    pub primitive: PrimitiveKind,
    /// The name of the lock or election.
    pub name: String,
    /// How long the client is willing to wait.
    pub patience: Patience,
    /// What it does while it holds.
    pub hold: Hold,
    /// How it ends.
    pub ending: Ending,
}

/// The primitives whose tenures a program can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PrimitiveKind {
    /// `tenure::Mutex`
    Mutex,
    /// `tenure::Election`
    Election,
    /// The read side of `tenure::RwLock`, writers first.
    Read,
    /// The write side of `tenure::RwLock`, writers first.
    Write,
}

impl PrimitiveKind {
    /// The kind of tenure that it gives.
    pub fn kind(self) -> Kind {
        match self {
            Self::Mutex => Kind::Mutex,
            Self::Election => Kind::Leader,
            Self::Read => Kind::Read,
            Self::Write => Kind::Write,
        }
    }
}

/// How long a client is willing to wait for a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Patience {
    /// As long as it takes.
    Forever,
    /// Not at all.
    Try,
    /// With the primitive's own time limit.
    TimeoutMs(u64),
    /// Until it drops the waiting future.
    CancelAfterMs(u64),
}

/// What a holder does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// For how long it holds.
    pub for_ms: u64,
    /// What it does meanwhile, in order of time.
    pub deeds: Vec<Deed>,
    /// Whether it stops when it is told that the tenure is lost. One that does not goes on.
    pub heeds_loss: bool,
}

/// Something that a holder does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    /// When it is begun, in milliseconds since the grant.
    pub at_ms: u64,
    /// What is done.
    #[serde(flatten)]
    pub what: DeedKind,
}

/// What a holder can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum DeedKind {
    /// A write to the remote resource, begun with a look at `is_held`.
    Write {
        /// What lies between that look and the sending.
        prepare_ms: u64,
        /// How long it is under way to the resource.
        under_way_ms: u64,
        /// Whether it carries the fencing token.
        fenced: bool,
    },
    /// A transaction guarded by the tenure.
    Txn,
    /// A question to etcd whether the tenure lasts.
    Confirm,
    /// A leader says a new value.
    Proclaim,
}

/// How a tenure is ended by its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// By a release that is waited for.
    Release,
    /// By dropping the guard.
    Drop,
    /// By closing the session.
    CloseSession,
}
