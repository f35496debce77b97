//! What members say to each other: Raft's messages, and etcd's forwarding of proposals, reads and renewals.

use std::sync::Arc;

use tenure::kv::{Request, Response};
use tenure::wire::Status;

use crate::store::Written;

use super::membership::{Change, Membership};
use crate::store::Store;

/// One entry of the replicated log; its place is its index.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The term of the leader that appended it.
    pub(crate) term: u64,
    /// What it does.
    pub(crate) payload: Payload,
}

/// What an entry does.
#[derive(Debug)]
pub(crate) enum Payload {
    /// Nothing: with it a leader begins its term.
    Empty,
    /// A write to the store.
    Write(Proposal),
    /// Changes who is a member.
    Change(Change),
    /// Raises or clears the NOSPACE alarm.
    NoSpace(bool),
}

/// A write on its way into the log.
#[derive(Clone, Debug)]
pub(crate) struct Proposal {
    /// Its number in the run, by which the member that proposed it knows it again.
    pub(crate) id: u64,
    /// Of which call, if a client asked for it.
    pub(crate) call: Option<u64>,
    /// The write.
    pub(crate) request: Arc<Request>,
    /// It fills the space: it is applied, and then found too much (`quotaApplierV3` in etcd's `apply.go`).
    pub(crate) overflows: bool,
}

/// An entry that is committed.
pub(crate) struct Committed {
    pub(crate) entry: Arc<Entry>,
    /// What came of it, if it is a write to keys that some member has applied.
    pub(crate) outcome: Option<WriteOutcome>,
}

/// What a write did to the first store that applied it; the others follow.
pub(crate) struct WriteOutcome {
    /// What it changed, if it made a revision.
    pub(crate) written: Option<Written>,
    /// The answer, until the member that proposed the write has applied it too.
    pub(crate) result: Option<Result<Response, Status>>,
}

/// A message between members. `term` is always the sender's.
#[derive(Clone, Debug)]
pub(crate) enum PeerMessage {
    /// Raft's MsgApp: the log goes on after `prev_index` with `entries`, and is committed up to `commit`.
    Append { term: u64, prev_index: usize, prev_term: u64, entries: Vec<Arc<Entry>>, commit: usize },
    /// Raft's MsgAppResp: the log matches up to `matched`, or does not have the entry at the rejected index; `commit` is
    /// always safe to go on from.
    AppendAck { term: u64, matched: Result<usize, usize>, commit: usize },
    /// Raft's MsgSnap: the state after `index`, the last entry that it stands for, which was of `last_term`.
    Snapshot { term: u64, index: usize, last_term: u64, state: Arc<(Store, Membership)> },
    /// Whoever is told so was removed.
    Removed,
    /// What Raft tells by heartbeat: committed up to here, which the receiver is known to have.
    Commit { term: u64, commit: usize },
    /// Raft's MsgVote and MsgPreVote (`pre`: `term` is then the one after the sender's); `forced` by a leader's transfer.
    AskVote { term: u64, pre: bool, forced: bool, last_index: usize, last_term: u64 },
    /// The answer; `term` is the granted one, or the refuser's.
    Vote { term: u64, pre: bool, granted: bool },
    /// Raft's MsgTimeoutNow: stand at once.
    TimeoutNow { term: u64 },
    /// A heartbeat that asks for a confirmation of leadership.
    Probe { term: u64, confirmation: u64 },
    /// The confirmation.
    ProbeAck { term: u64, confirmation: u64 },
    /// A follower forwards a proposal.
    Propose(Proposal),
    /// A follower asks from which index on it may read.
    AskReadIndex { round: u64 },
    /// The leader's answer.
    ReadIndex { round: u64, index: usize },
    /// A follower forwards a renewal, or the question how long a lease still lives.
    AskLease { forward: u64, lease: i64, renew: bool },
    /// The answer to it.
    Lease { forward: u64, said: LeaseSaid },
}

impl PeerMessage {
    /// What it is, in words.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Append { .. } => "an append",
            Self::AppendAck { .. } => "the answer to an append",
            Self::Snapshot { .. } => "a snapshot",
            Self::Removed => "word of a removal",
            Self::Commit { .. } => "word of a commit",
            Self::AskVote { .. } | Self::Vote { .. } | Self::TimeoutNow { .. } => "a message of an election",
            Self::Probe { .. } | Self::ProbeAck { .. } => "a heartbeat",
            Self::Propose(_) => "a proposal",
            Self::AskReadIndex { .. } | Self::ReadIndex { .. } => "a message about a read",
            Self::AskLease { .. } | Self::Lease { .. } => "a message about a lease",
        }
    }
}

/// What a leader says of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseSaid {
    /// Renewed: its full time to live in seconds. Asked: the seconds that are left.
    Lives { ttl_s: i64 },
    /// There is none.
    Missing,
    /// Whoever was asked does not lead.
    NotPrimary,
}
