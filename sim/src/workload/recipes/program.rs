//! The program of a client that uses recipes: its operations, with all their times. Plain data, written down in capsules.

use serde::{Deserialize, Serialize};

use crate::workload::program::Patience;

/// The names of the operations on queues, as scenarios weigh them.
pub const QUEUE_OPERATIONS: &[&str] = &[
    "enqueue",
    "enqueue-batch",
    "dequeue",
    "try-dequeue",
    "dequeue-timeout",
    "cancel-dequeue",
    "dequeue-batch",
    "claim",
    "try-claim",
    "claim-timeout",
    "cancel-claim",
    "close-session",
];

/// The names of the operations of transactions and counters, as scenarios weigh them.
pub const STM_OPERATIONS: &[&str] =
    &["transfer", "cancel-transfer", "audit", "add", "cancel-add", "close-session"];

/// The names of the operations of barriers, as scenarios weigh them.
pub const BARRIER_OPERATIONS: &[&str] = &[
    "hold",
    "cancel-hold",
    "hold-for-good",
    "release-barrier",
    "pass",
    "pass-timeout",
    "cancel-pass",
    "enter",
    "enter-timeout",
    "cancel-enter",
    "close-session",
];

/// So many accounts has each bank.
pub const ACCOUNTS: u32 = 3;

/// One operation, done after the one before it is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipeOperation {
    /// The client waits so long before it.
    pub think_ms: u64,
    /// The name of the queue, bank, counter or barrier.
    pub name: String,
    /// What is done.
    #[serde(flatten)]
    pub what: RecipeKind,
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum RecipeKind {
    /// Items are added.
    Enqueue {
        /// With this priority, if the queue has priorities.
        priority: Option<u16>,
        /// So many, in one transaction.
        count: u32,
    },
    /// Items are taken for good.
    Dequeue {
        /// Whether the queue has priorities.
        ranked: bool,
        /// So many at most.
        most: u32,
        /// How long the client is willing to wait.
        patience: Patience,
    },
    /// An item is claimed and worked on.
    Claim {
        /// Whether the queue has priorities.
        ranked: bool,
        /// How long the client is willing to wait.
        patience: Patience,
        /// The work takes so long.
        work_ms: u64,
        /// How the claim ends.
        ending: ClaimEnding,
    },
    /// The session is closed, and with it whatever it holds.
    CloseSession,
    /// An amount is moved between two accounts of a bank.
    Transfer {
        /// From which account.
        from: u32,
        /// To which.
        to: u32,
        /// How much.
        amount: i64,
        /// Whether it writes a key beside them that it has not read.
        blind: bool,
        /// How it is run.
        how: HowRun,
    },
    /// All accounts of a bank are read.
    Audit {
        /// How it is run.
        how: HowRun,
    },
    /// A number is added to a counter.
    Add {
        /// How long the client is willing to wait.
        patience: Patience,
    },
    /// A barrier is held.
    Hold {
        /// How long the client is willing to wait.
        patience: Patience,
        /// For so long.
        hold_ms: u64,
        /// How the hold ends.
        ending: HoldEnding,
    },
    /// A barrier is held until somebody releases it.
    HoldForGood,
    /// A barrier is released, whoever holds it.
    ReleaseBarrier,
    /// The client waits at a barrier.
    Pass {
        /// How long it is willing to wait.
        patience: Patience,
    },
    /// A double barrier is entered and left.
    Enter {
        /// For so many members.
        count: u32,
        /// How long the client is willing to wait for the others.
        patience: Patience,
        /// It is inside for so long.
        inside_ms: u64,
        /// How it leaves, if it does: how long it is willing to wait for the others then.
        leaving: Option<Patience>,
    },
}

/// How a hold is ended by its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HoldEnding {
    /// It is released.
    Release,
    /// Its release is given up as it waits for the so many-and-first time.
    CancelRelease(u32),
    /// It is dropped.
    Drop,
}

/// How a transaction is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HowRun {
    /// The level of isolation.
    pub level: Level,
    /// So often at most.
    pub attempts: u32,
    /// Whether it reads ahead what it is to read.
    pub ahead: bool,
    /// The closure waits so long between two reads.
    pub pause_ms: u64,
    /// How long the client is willing to wait.
    pub patience: Patience,
}

/// A level of isolation, as the library has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// `tenure::Isolation::SerializableSnapshot`
    SerializableSnapshot,
    /// `tenure::Isolation::Serializable`
    Serializable,
    /// `tenure::Isolation::RepeatableReads`
    RepeatableReads,
    /// `tenure::Isolation::ReadCommitted`
    ReadCommitted,
}

impl Level {
    /// Whether each run reads one revision.
    pub fn is_of_one_revision(self) -> bool {
        matches!(self, Self::SerializableSnapshot | Self::Serializable)
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::SerializableSnapshot => "serializable snapshot",
            Self::Serializable => "serializable",
            Self::RepeatableReads => "repeatable reads",
            Self::ReadCommitted => "read committed",
        }
    }
}

impl From<Level> for tenure::Isolation {
    fn from(level: Level) -> Self {
        match level {
            Level::SerializableSnapshot => Self::SerializableSnapshot,
            Level::Serializable => Self::Serializable,
            Level::RepeatableReads => Self::RepeatableReads,
            Level::ReadCommitted => Self::ReadCommitted,
        }
    }
}

/// How a claim is ended by its consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClaimEnding {
    /// It is acknowledged.
    Acknowledge,
    /// It is acknowledged together with a write.
    AcknowledgeWith,
    /// The acknowledgement is given up as it waits for the so many-and-first time.
    CancelAcknowledge(u32),
    /// The item is given back.
    GiveBack,
    /// The claim is dropped.
    Drop,
}
