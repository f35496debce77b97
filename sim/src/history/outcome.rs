//! How what a client asked of the library came out, in the library's own kinds of error: what `true-errors` judges.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tenure::{Error, Refusal};

use super::{Holding, RecipeDeed, RecipeEnd};
use crate::workload::program::OperatorAct;

/// Why something that was asked of a primitive or a session did not come true.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Failure {
    /// The client gave it up by dropping the future.
    Cancelled,
    /// A try found that another holds it or waits for it.
    HeldByAnother,
    /// `tenure::Error::InvalidName`, `InvalidArgument`, in words.
    Invalid(String),
    /// `tenure::Error::SessionLost`
    SessionLost,
    /// `tenure::Error::NotOpened`, with its reason.
    NotOpened(String),
    /// `tenure::Error::NotHeld`
    NotHeld,
    /// `tenure::Error::Timeout`
    Timeout,
    /// `tenure::Error::InUse`
    InUse,
    /// `tenure::Error::ForeignKey`
    ForeignKey {
        /// The key, with what is not printable escaped.
        key: String,
    },
    /// `tenure::Error::NotLocked`
    NotLocked,
    /// `tenure::Error::Refused`
    Refused(Refused),
    /// `tenure::Error::Unavailable`, with its reason.
    Unavailable(String),
    /// `tenure::Error::Maybe`, with its reason.
    Maybe(String),
    /// A kind that this harness does not know yet, in words.
    Unknown(String),
    /// `tenure::Error::BarrierHeld`
    BarrierHeld,
    /// `tenure::Error::BarrierFull`
    BarrierFull,
    /// `tenure::Error::BarrierBroken`
    BarrierBroken,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidName { .. } | Error::InvalidArgument { .. } => Self::Invalid(error.to_string()),
            Error::SessionLost => Self::SessionLost,
            Error::NotOpened(why) => Self::NotOpened(why),
            Error::NotHeld => Self::NotHeld,
            Error::Timeout => Self::Timeout,
            Error::InUse { .. } => Self::InUse,
            Error::ForeignKey { key } => Self::ForeignKey { key },
            Error::NotLocked => Self::NotLocked,
            Error::Refused(refusal) => Self::Refused(refusal.into()),
            Error::Unavailable(why) => Self::Unavailable(why),
            Error::Maybe(why) => Self::Maybe(why),
            Error::BarrierHeld { .. } => Self::BarrierHeld,
            Error::BarrierFull { .. } => Self::BarrierFull,
            Error::BarrierBroken { .. } => Self::BarrierBroken,
            other => Self::Unknown(other.to_string()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("cancelled"),
            Self::HeldByAnother => f.write_str("held by another"),
            Self::Invalid(why) | Self::Unknown(why) => f.write_str(why),
            Self::SessionLost => fmt::Display::fmt(&Error::SessionLost, f),
            Self::NotOpened(why) => write!(f, "no session could be opened in time: {why}"),
            Self::NotHeld => fmt::Display::fmt(&Error::NotHeld, f),
            Self::Timeout => f.write_str("timed out"),
            Self::InUse => f.write_str("this session already holds it or waits for it"),
            Self::ForeignKey { key } => write!(f, "foreign key {key} below the name's prefix"),
            Self::NotLocked => fmt::Display::fmt(&Error::NotLocked, f),
            Self::Refused(refused) => fmt::Display::fmt(refused, f),
            Self::Unavailable(why) => write!(f, "etcd did not answer in time: {why}"),
            Self::Maybe(why) => write!(f, "the outcome is unknown: {why}"),
            Self::BarrierHeld => f.write_str("the barrier is held already"),
            Self::BarrierFull => f.write_str("the barrier is full"),
            Self::BarrierBroken => f.write_str("the barrier is broken: one of those who waited is gone"),
        }
    }
}

/// Why etcd refused an operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Refused {
    /// The revision is compacted.
    Compacted,
    /// There is no such lease.
    LeaseNotFound,
    /// The store is full. A put may be applied and still be refused so.
    NoSpace,
    /// The user may not, or is not known; in etcd's words.
    PermissionDenied(String),
    /// For another reason, in words.
    Other(String),
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Compacted => Self::Compacted,
            Refusal::LeaseNotFound => Self::LeaseNotFound,
            Refusal::NoSpace => Self::NoSpace,
            Refusal::PermissionDenied(why) => Self::PermissionDenied(why),
            other @ Refusal::Other { .. } => Self::Other(other.to_string()),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compacted => fmt::Display::fmt(&Refusal::Compacted, f),
            Self::LeaseNotFound => fmt::Display::fmt(&Refusal::LeaseNotFound, f),
            Self::NoSpace => fmt::Display::fmt(&Refusal::NoSpace, f),
            Self::PermissionDenied(why) => fmt::Display::fmt(&Refusal::PermissionDenied(why.clone()), f),
            Self::Other(why) => f.write_str(why),
        }
    }
}

/// How a session ended on its client's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SessionEnd {
    /// Its owner closed it.
    Closed,
    /// Its owner dropped it, and with it all that it held.
    Dropped,
    /// Its owner found it lost.
    Lost,
    /// Its owner let the lease live on for another to take over.
    Orphaned,
}

impl fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::Dropped => "dropped",
            Self::Lost => "lost",
            Self::Orphaned => "orphaned",
        })
    }
}

/// By what a holder learned that its tenure is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Telling {
    /// `lost()` resolved; and what `is_held()` said at that very moment.
    Lost {
        /// What `is_held()` said.
        is_held: bool,
    },
    /// The holder looked, and `is_held()` was false.
    NotHeld,
}

/// What a guard says of itself at the moment of its grant, as far as it can be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GuardSays {
    /// Its key in etcd.
    pub key: Option<Vec<u8>>,
    /// A leadership's `rev`.
    pub rev: Option<i64>,
    /// The name of its lock or election.
    pub name: Option<String>,
    /// Its lease.
    pub lease: Option<i64>,
}

impl GuardSays {
    /// What the library's tenures say.
    pub fn of(tenure: &tenure::Tenure) -> Self {
        Self {
            key: Some(tenure.key().to_vec()),
            rev: None,
            name: Some(tenure.name().to_owned()),
            lease: Some(tenure.lease()),
        }
    }
}

/// Something that a client does with the library beside asking for a tenure and giving it back. It is begun and comes to
/// an end, with other steps between.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Deed {
    /// A transaction guarded by a tenure.
    Txn {
        /// By which.
        holding: Holding,
    },
    /// A leader says a new value.
    Proclaim {
        /// Whose leadership.
        holding: Holding,
        /// What.
        value: Vec<u8>,
        /// By standing for election once more with the session that leads: whose key is gone by then stands in line anew.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        stands_again: bool,
    },
    /// A holder asks etcd whether it still holds.
    Confirm {
        /// What it held.
        holding: Holding,
    },
    /// A leader resigns, and gives that up before it is answered.
    Resign {
        /// What it held.
        holding: Holding,
    },
    /// A client asks who leads, with a session.
    Leader {
        /// The election.
        name: Arc<str>,
        /// The session's lease.
        lease: i64,
    },
    /// A session is opened.
    OpenSession {
        /// On this lease, instead of one of its own.
        on: Option<i64>,
        /// The time to live that it asks for.
        ttl_ms: u64,
    },
    /// A session is closed.
    CloseSession {
        /// Its lease.
        lease: i64,
    },
    /// An operator interferes by hand, from the machine of the client that holds this.
    Operator {
        /// What the client holds.
        holding: Holding,
        /// How.
        act: OperatorAct,
        /// The lease that is to be revoked, if that is what is done.
        revokes: Option<i64>,
    },
    /// A client uses a recipe: a queue, a barrier, a transaction.
    Recipe {
        /// The name of the queue or barrier.
        name: Arc<str>,
        /// The session's lease.
        lease: i64,
        /// Which of its client's programs, and which operation of it.
        place: (u32, u32),
        /// What it asks.
        what: RecipeDeed,
    },
}

impl Deed {
    /// The tenure that its client goes by, if it does.
    pub fn tenure(&self) -> Option<&Holding> {
        match self {
            Self::Txn { holding }
            | Self::Proclaim { holding, .. }
            | Self::Confirm { holding }
            | Self::Resign { holding } => Some(holding),
            Self::Leader { .. }
            | Self::OpenSession { .. }
            | Self::CloseSession { .. }
            | Self::Operator { .. }
            | Self::Recipe { .. } => None,
        }
    }
}

/// How a [`Deed`] ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DeedEnd {
    /// The transaction was committed at this revision.
    Committed {
        /// The revision.
        revision: i64,
    },
    /// It was done: said, opened, closed.
    Done,
    /// What `confirm()` says.
    Confirmed(bool),
    /// Who leads.
    Leads(Option<SeenLeader>),
    /// It failed.
    Failed(Failure),
    /// What a recipe gave.
    Recipe(RecipeEnd),
}

/// A leader as the library tells it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SeenLeader {
    /// Its key.
    pub key: Vec<u8>,
    /// The revision at which it stood for election.
    pub rev: i64,
    /// The revision at which it said its value.
    pub mod_revision: i64,
    /// What it said last.
    pub value: Vec<u8>,
    /// Its lease.
    pub lease: i64,
}

impl From<tenure::Leader> for SeenLeader {
    fn from(leader: tenure::Leader) -> Self {
        let tenure::Leader { key, value, rev, mod_revision, lease } = leader;
        Self { key, rev, mod_revision, value, lease }
    }
}
