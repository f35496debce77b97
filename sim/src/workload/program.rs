//! A client's program: the operations that a plan gives it, with all their times. Plain data, written down in capsules.

use serde::{Deserialize, Serialize};

/// One operation of a client, done after the one before it is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// The client waits so long before it.
    pub think_ms: u64,
    /// By which of the client's sessions.
    #[serde(default)]
    pub session: u32,
    /// What is done.
    #[serde(flatten)]
    pub action: Action,
}

/// What a client can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Action {
    /// It asks for a tenure and, if that is granted, holds it for a while.
    Take(Take),
}

/// To ask for a tenure and to hold it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Take {
    /// Of which primitive.
    pub primitive: PrimitiveKind,
    /// The name of the lock.
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
pub struct Hold {
    /// For how long it holds.
    pub for_ms: u64,
    /// Its writes to the remote resource, in order of time.
    #[serde(default)]
    pub writes: Vec<Write>,
    /// When it does transactions guarded by the tenure, in milliseconds since the grant, in order.
    #[serde(default)]
    pub txns_at_ms: Vec<u64>,
    /// Whether it stops when it is told that the tenure is lost. One that does not goes on writing.
    pub heeds_loss: bool,
}

/// A write to the remote resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// When it is begun, with a look at `is_held`, in milliseconds since the grant.
    pub at_ms: u64,
    /// What lies between that look and the sending.
    pub prepare_ms: u64,
    /// How long it is under way to the resource.
    pub under_way_ms: u64,
    /// Whether it carries the fencing token.
    pub fenced: bool,
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
