//! Who takes part in a run: members of the cluster, client processes, and the world itself.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One party of a run. Members and clients are numbered from 0 and shown as `m0`, `c0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Node {
    /// The simulator itself: faults, the plan's phases.
    World,
    /// A member of the simulated etcd cluster.
    Member(u32),
    /// A client process.
    Client(u32),
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::World => f.pad("world"),
            Self::Member(index) => f.pad(&format!("m{index}")),
            Self::Client(index) => f.pad(&format!("c{index}")),
        }
    }
}

impl From<Node> for String {
    fn from(node: Node) -> Self {
        node.to_string()
    }
}

impl TryFrom<String> for Node {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a node; nodes are named m0, m1, .. and c0, c1, ..");
        if text == "world" {
            return Ok(Self::World);
        }
        let index = text.get(1..).and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?;
        match text.as_bytes()[0] {
            b'm' => Ok(Self::Member(index)),
            b'c' => Ok(Self::Client(index)),
            _ => Err(wrong()),
        }
    }
}
