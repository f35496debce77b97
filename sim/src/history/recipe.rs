//! What clients ask of the library's recipes, and what they are given: what `exactly-once` judges.

use serde::{Deserialize, Serialize};

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
}

impl RecipeDeed {
    /// Whether it waits for others, for as long as that takes.
    pub fn waits_for_others(&self) -> bool {
        matches!(self, Self::Dequeue { limit_ms: None, .. } | Self::Claim { limit_ms: None })
    }

    /// What it is called.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Enqueue { .. } => "enqueue",
            Self::Dequeue { .. } => "dequeue",
            Self::Claim { .. } => "claim",
            Self::Acknowledge { .. } => "acknowledgement",
            Self::GiveBack { .. } => "giving back",
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
}
