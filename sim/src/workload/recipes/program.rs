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

/// One operation, done after the one before it is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipeOperation {
    /// The client waits so long before it.
    pub think_ms: u64,
    /// The name of the queue.
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
