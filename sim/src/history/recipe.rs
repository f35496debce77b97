//! What clients ask of the library's recipes, and what they are given: what `exactly-once`,
//! `isolation`, `applied`, `barrier` and `double-barrier` judge.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::workload::recipes::program::Level;

/// What a client asks of a recipe.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RecipeDeed {
    /// Items are added to a queue, in one transaction. No two items of a run are alike.
    Enqueue {
        /// Their priority, if the queue has priorities.
        priority: Option<u16>,
        /// The items.
        items: Vec<String>,
    },
    /// Items are taken from a queue for good.
    Dequeue {
        /// So many at most.
        most: u32,
        /// The time limit that the queue is given; 0 for a try.
        limit_ms: Option<u64>,
    },
    /// An item is claimed.
    Claim {
        /// The time limit that the queue is given; 0 for a try.
        limit_ms: Option<u64>,
    },
    /// A claim is acknowledged: its item is done with.
    Acknowledge {
        /// The item.
        item: String,
        /// The claim's fencing token.
        token: i64,
        /// Whether a write comes with it that shows that the item was worked on.
        writes: bool,
    },
    /// A claim is given back.
    GiveBack {
        /// The item.
        item: String,
        /// The claim's fencing token.
        token: i64,
    },
    /// An amount is moved from one account to another in one transaction, which also writes a key of its own.
    Transfer {
        /// A number that no other transfer of the run has; its own key is named by it.
        id: String,
        /// The level of isolation.
        level: Level,
        /// The account's key.
        from: String,
        /// The account's key.
        to: String,
        /// How much.
        amount: i64,
        /// The key that it writes beside them without having read it, if it does.
        blind: Option<String>,
        /// How often it may run.
        attempts: u32,
    },
    /// All accounts are read in one transaction.
    Audit {
        /// The level of isolation.
        level: Level,
        /// How often it may run.
        attempts: u32,
    },
    /// A number that no other addition of the run has is added to a counter.
    Add {
        /// The number.
        by: i64,
    },
    /// A barrier is to be held.
    Hold {
        /// Whether the hold is to outlive the session.
        for_good: bool,
    },
    /// A holder releases its own hold.
    ReleaseHold {
        /// The revision by which it holds.
        revision: i64,
    },
    /// A barrier is released, whoever holds it.
    ReleaseBarrier,
    /// A client waits at a barrier.
    Pass {
        /// The time limit that the barrier is given.
        limit_ms: Option<u64>,
    },
    /// A member enters a double barrier.
    Enter {
        /// For so many members.
        count: u32,
        /// The time limit that the barrier is given.
        limit_ms: Option<u64>,
    },
    /// A member leaves a double barrier.
    Leave {
        /// For so many members.
        count: u32,
        /// The round that it has entered.
        round: i64,
        /// The time limit that the barrier is given.
        limit_ms: Option<u64>,
    },
}

impl RecipeDeed {
    /// Whether it waits for others, for as long as that takes.
    pub fn waits_for_others(&self) -> bool {
        matches!(
            self,
            Self::Dequeue { limit_ms: None, .. }
                | Self::Claim { limit_ms: None }
                | Self::Pass { limit_ms: None }
                | Self::Enter { limit_ms: None, .. }
                | Self::Leave { limit_ms: None, .. }
        )
    }

    /// What it is called.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Enqueue { .. } => "enqueue",
            Self::Dequeue { .. } => "dequeue",
            Self::Claim { .. } => "claim",
            Self::Acknowledge { .. } => "acknowledgement",
            Self::GiveBack { .. } => "giving back",
            Self::Transfer { .. } => "transfer",
            Self::Audit { .. } => "audit",
            Self::Add { .. } => "addition",
            Self::Hold { .. } => "hold",
            Self::ReleaseHold { .. } => "release of a hold",
            Self::ReleaseBarrier => "release of a barrier",
            Self::Pass { .. } => "wait at a barrier",
            Self::Enter { .. } => "entering",
            Self::Leave { .. } => "leaving",
        }
    }
}

/// What a recipe gave, where it is more than that it was done.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RecipeEnd {
    /// These items were taken; none if it was a try.
    Items(Vec<String>),
    /// This item was claimed.
    Claimed {
        /// The item.
        item: String,
        /// The claim's fencing token.
        token: i64,
    },
    /// A transaction was run.
    Transacted {
        /// What it came to.
        came: Came,
        /// Each run of its closure, the last one last.
        runs: Vec<TransactionRun>,
    },
    /// The counter gave this number.
    Counted(i64),
    /// The barrier is held.
    Held {
        /// By the key that this revision made.
        revision: i64,
    },
    /// The double barrier is entered.
    Entered {
        /// In the round that this revision began.
        round: i64,
    },
    /// All members are out of the double barrier.
    Left(Departed),
}

/// How the members of a round left: as `tenure::Departure` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Departed {
    /// All have left.
    Everyone,
    /// So many are out without having left.
    Crashed(u64),
    /// It is not known any more.
    Unknown,
}

impl From<tenure::Departure> for Departed {
    fn from(departure: tenure::Departure) -> Self {
        match departure {
            tenure::Departure::Everyone => Self::Everyone,
            tenure::Departure::Crashed(count) => Self::Crashed(count as u64),
            tenure::Departure::Unknown => Self::Unknown,
        }
    }
}

/// What a transaction came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Came {
    /// It committed, at this revision.
    Committed {
        /// As the library has it.
        revision: i64,
    },
    /// It met a conflict each time.
    Conflict,
    /// Its closure gave it up: the account has too little.
    Aborted,
}

/// One run of a transaction's closure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TransactionRun {
    /// What it read, in order.
    pub reads: Vec<TransactionRead>,
    /// It read all that it wanted to.
    pub is_whole: bool,
}

/// What a transaction read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TransactionRead {
    /// The key.
    pub key: String,
    /// Its value, if it was there.
    pub value: Option<String>,
    /// The revision that wrote it; 0 if it was not there.
    pub revision: i64,
}

impl fmt::Display for TransactionRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value.as_deref().unwrap_or("nothing");
        write!(f, "{} = {value:?} of revision {}", self.key, self.revision)
    }
}
