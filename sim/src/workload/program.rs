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
    /// Whether it asks through a [`tenure::Locker`], where its primitive has one and it waits for as long as it takes.
    #[serde(default, skip_serializing_if = "is_off")]
    pub locker: bool,
    /// Whether a candidate asks first who leads.
    #[serde(default, skip_serializing_if = "is_off")]
    pub asks_leader: bool,
    /// Whether what it holds outlives its process: the next life takes over the lease, and goes on holding.
    #[serde(default, skip_serializing_if = "is_off")]
    pub lasts: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde asks")]
fn is_off(flag: &bool) -> bool {
    !flag
}

/// The primitives whose tenures a program can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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
    /// The read side of `tenure::RwLock`, in order of arrival.
    ReadInTurn,
    /// The write side of `tenure::RwLock`, in order of arrival.
    WriteInTurn,
    /// `tenure::Semaphore` of [`PERMITS`] permits.
    Semaphore,
}

/// How many permits the semaphores of programs have.
pub const PERMITS: u32 = 2;

impl PrimitiveKind {
    /// The kind of tenure that it gives.
    pub fn kind(self) -> Kind {
        match self {
            Self::Mutex => Kind::Mutex,
            Self::Election => Kind::Leader,
            Self::Read | Self::ReadInTurn => Kind::Read,
            Self::Write | Self::WriteInTurn => Kind::Write,
            Self::Semaphore => Kind::Permit,
        }
    }

    /// Whether its readers and writers are granted in order of arrival.
    pub fn is_in_turn(self) -> bool {
        matches!(self, Self::ReadInTurn | Self::WriteInTurn)
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
    /// Until it drops the waiting future as it waits for the so many-and-first time: wherever in the library that is.
    CancelAfterPolls(u32),
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
    /// A leader stands for election once more, with a new value: that is to say it.
    StandAgain,
    /// An operator interferes by hand, from this process's machine.
    Operator {
        /// How.
        act: OperatorAct,
    },
}

/// What an operator does to a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperatorAct {
    /// Deletes the holder's key.
    DeleteHolder,
    /// Has the holder's lease revoked.
    RevokeHolder,
    /// Deletes the key of the next in line.
    DeleteNext,
    /// Has the lease of the next in line revoked.
    RevokeNext,
    /// Puts a key into the line that is no contender's, and takes it out again soon after.
    PutForeign,
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
    /// By a release that is given up as it waits for the so many-and-first time, and is left to the background.
    CancelRelease {
        /// How often it waits before.
        polls: u32,
    },
    /// By closing the session, which is given up in the same way.
    CancelClose {
        /// How often it waits before.
        polls: u32,
    },
    /// By dropping the session and all that holds on to it.
    DropSession,
    /// By leaving the lease, and all that it keeps, to another process.
    HandOver,
}
