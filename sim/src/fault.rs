//! The faults that a plan can hold: what each does to which nodes. How they are drawn is the plan's business, how
//! they are carried out the cluster's.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::node::Node;

/// A fault with its time. It begins at `at_ms` and is undone `for_ms` later (faults without a duration ignore it).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimedFault {
    /// When it begins, in milliseconds of simulated time.
    pub at_ms: u64,
    /// How long it lasts, in milliseconds.
    pub for_ms: u64,
    /// What happens.
    pub fault: Fault,
}

/// What of a plan does not heal when the calm begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lasting {
    /// Places of faults in the plan.
    pub faults: BTreeSet<usize>,
    /// The nodes that they keep from the rest.
    pub nodes: BTreeSet<Node>,
}

/// How members are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outage {
    /// Their processes die.
    Crash,
    /// They stand still.
    Pause,
}

fn yes() -> bool {
    true
}

/// What goes wrong. Links have a direction: from one node to another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Fault {
    /// A node's process dies at once, without running destructors, and is started anew at the end. A member keeps what
    /// was committed and loses its memory; a client loses everything, its etcd sessions included.
    Crash {
        /// A member or a client.
        node: Node,
    },
    /// A node stands still (SIGSTOP, a long GC, a suspended VM) and then goes on, with its clock moved on. What is sent
    /// to it waits and is taken in at the end.
    Pause {
        /// A member or a client.
        node: Node,
    },
    /// Nothing passes these links. Both directions listed is a symmetric partition, one is one-way.
    Cut {
        /// The links, each from one node to another.
        links: Vec<(Node, Node)>,
    },
    /// The same links are cut and healed in turn every `period_ms`.
    Flap {
        /// The links, each from one node to another.
        links: Vec<(Node, Node)>,
        /// How long each state lasts.
        period_ms: u64,
    },
    /// Each message on these links is lost with this probability, in thousandths. Lost between client and member means
    /// a call that hangs or an answer that never comes.
    Loss {
        /// The links, each from one node to another.
        links: Vec<(Node, Node)>,
        /// Lost messages of a thousand.
        per_mille: u32,
    },
    /// Each message on these links takes up to this much longer, drawn for each, so that messages overtake.
    Delay {
        /// The links, each from one node to another.
        links: Vec<(Node, Node)>,
        /// At most this much longer.
        max_ms: u64,
    },
    /// Each request on these links arrives twice with this probability, the second time up to `max_ms` later, and whichever
    /// answer to a read or renewal comes first is taken. A proxy that retries does this.
    Duplicate {
        /// The links, each from a client to a member.
        links: Vec<(Node, Node)>,
        /// Doubled requests of a thousand.
        per_mille: u32,
        /// The second comes at most this much later.
        max_ms: u64,
        /// Any request; else only what is as good twice: reads, renewals, revocations, and transactions that delete
        /// what they compare.
        #[serde(default = "yes")]
        writes: bool,
    },
    /// A write is applied but its answer to this client is lost, with this probability.
    AnswerLost {
        /// The client.
        client: Node,
        /// Lost answers of a thousand.
        per_mille: u32,
    },
    /// A client's clock runs fast (above 0) or slow (below 0), in parts of a million.
    ClockDrift {
        /// The client, or a member (its lease clock).
        node: Node,
        /// Parts of a million.
        ppm: i64,
    },
    /// A client's clock jumps ahead, as after a resume of a virtual machine. No duration.
    ClockJump {
        /// The client.
        node: Node,
        /// How far.
        ahead_ms: u64,
    },
    /// A member's disk is slow: what it appends is durable only so much later.
    SlowCommit {
        /// The member.
        node: Node,
        /// How much later.
        max_ms: u64,
    },
    /// A member loses power in the middle of an append: it dies when it next appends to its log, before that is durable,
    /// and starts anew at the end without what was not.
    PowerLoss {
        /// The member.
        node: Node,
    },
    /// So many members are lost at once that the rest is no majority.
    MajorityLoss {
        /// The members.
        members: Vec<Node>,
        /// How they are lost.
        outage: Outage,
    },
    /// An operator adds a server to the cluster, and removes it at the end; each is asked for until etcd does it.
    MemberAdd {
        /// One that is no member.
        node: Node,
        /// Whether it is a learner first, and promoted then.
        learner: bool,
    },
    /// An operator removes a member, which ends, and adds another server in its place at the end, with nothing on its disk.
    MemberRemove {
        /// The member.
        node: Node,
        /// Whether the other is a learner first.
        learner: bool,
    },
    /// What this member's watches tell of changes comes up to this much later, in order, while all else comes in time.
    WatchLag {
        /// The member.
        node: Node,
        /// At most this much later.
        max_ms: u64,
    },
    /// The leader hands leadership to another member. No duration.
    LeaderChange,
    /// The history up to `keep` revisions before the present one is compacted. No duration.
    Compact {
        /// How many revisions stay.
        keep: u64,
    },
    /// The space runs out: the next write that needs some is applied and found too much, and from then on puts and grants are
    /// refused (the NOSPACE alarm).
    NoSpace,
    /// A client's authentication token has expired, and for so long it gets no new one: each member refuses what it asks but
    /// renewals of leases, which etcd asks no token for, and closes each watch that it opens.
    TokenExpiry {
        /// The client.
        client: Node,
    },
}

impl Fault {
    /// The node that it is about, if it is about one: whose process, or each of whose links listed.
    pub fn subject(&self) -> Option<Node> {
        match self {
            Self::Crash { node } | Self::Pause { node } => Some(*node),
            Self::Cut { links } => {
                let &(one, other) = links.first()?;
                let in_all = |node: Node| links.iter().all(|&(from, to)| from == node || to == node);
                [one, other].into_iter().find(|&node| in_all(node))
            }
            _ => None,
        }
    }

    /// The name by which scenarios weigh it and reports count it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Crash { node: Node::Member(_) } => "member-crash",
            Self::Crash { .. } => "client-crash",
            Self::Pause { node: Node::Member(_) } => "member-pause",
            Self::Pause { .. } => "client-pause",
            Self::Cut { links } if is_symmetric(links) => "partition",
            Self::Cut { .. } => "one-way",
            Self::Flap { .. } => "flap",
            Self::Loss { .. } => "loss",
            Self::Delay { .. } => "delay",
            Self::Duplicate { writes: false, .. } => "duplicate",
            Self::Duplicate { .. } => "duplicate-writes",
            Self::AnswerLost { .. } => "answer-lost",
            Self::ClockDrift { .. } => "clock-drift",
            Self::ClockJump { .. } => "clock-jump",
            Self::SlowCommit { .. } => "slow-commit",
            Self::PowerLoss { .. } => "power-loss",
            Self::MajorityLoss { .. } => "majority-loss",
            Self::MemberAdd { .. } => "member-add",
            Self::MemberRemove { .. } => "member-remove",
            Self::WatchLag { .. } => "watch-lag",
            Self::LeaderChange => "leader-change",
            Self::Compact { .. } => "compact",
            Self::NoSpace => "no-space",
            Self::TokenExpiry { .. } => "token-expiry",
        }
    }
}

fn is_symmetric(links: &[(Node, Node)]) -> bool {
    links.iter().all(|&(from, to)| links.contains(&(to, from)))
}

/// The name of every fault, as [`Fault::name`] gives them.
pub const NAMES: &[&str] = &[
    "member-crash",
    "client-crash",
    "member-pause",
    "client-pause",
    "partition",
    "one-way",
    "flap",
    "loss",
    "delay",
    "duplicate",
    "duplicate-writes",
    "answer-lost",
    "clock-drift",
    "clock-jump",
    "slow-commit",
    "power-loss",
    "majority-loss",
    "watch-lag",
    "member-add",
    "member-remove",
    "leader-change",
    "compact",
    "no-space",
    "token-expiry",
];
