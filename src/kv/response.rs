//! What etcd answers: the reply to each operation and request, and what a watch is told.

use super::{Event, Header, KeyValue, LeaseGrant};

/// The reply to a [`Range`](super::Range).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RangeResponse {
    /// The answering store; inside a transaction only the revision is set.
    pub header: Header,
    /// The keys found.
    pub kvs: Vec<KeyValue>,
    /// The limit cut the answer.
    pub more: bool,
    /// How many keys are in the range, whatever filters and limit say.
    pub count: i64,
}

/// The reply to a [`Put`](super::Put).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PutResponse {
    /// The answering store; inside a transaction only the revision is set.
    pub header: Header,
    /// What was there before, if asked for and not compacted.
    pub prev_kv: Option<KeyValue>,
}

/// The reply to a [`DeleteRange`](super::DeleteRange).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct DeleteResponse {
    /// The answering store; inside a transaction only the revision is set.
    pub header: Header,
    /// How many keys were deleted.
    pub deleted: i64,
    /// What was there before, if asked for.
    pub prev_kvs: Vec<KeyValue>,
}

/// The reply to one operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum OpResponse {
    /// To a [`Op::Range`](super::Op::Range).
    Range(RangeResponse),
    /// To a [`Op::Put`](super::Op::Put).
    Put(PutResponse),
    /// To a [`Op::Delete`](super::Op::Delete).
    Delete(DeleteResponse),
    /// To a [`Op::Txn`](super::Op::Txn).
    Txn(TxnResponse),
}

/// The reply to a [`Txn`](super::Txn).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TxnResponse {
    /// The answering store; its revision is the transaction's own if that wrote.
    pub header: Header,
    /// Whether the conditions held.
    pub succeeded: bool,
    /// One reply for each operation of the list that ran.
    pub responses: Vec<OpResponse>,
}

/// One message of a raw watch (`WatchResponse`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct WatchResponse {
    /// The answering store.
    pub header: Header,
    /// The first message: the watch is open.
    pub created: bool,
    /// The last message: the watch is closed.
    pub canceled: bool,
    /// If not 0, the watch was closed because revisions below this one are gone.
    pub compact_revision: i64,
    /// Why it was closed, if etcd says so.
    pub cancel_reason: String,
    /// What happened, in order of revision, each revision whole.
    pub events: Vec<Event>,
}

/// The reply to a [`Request`](super::Request) of the same name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Response {
    /// To [`Request::Range`](super::Request::Range).
    Range(RangeResponse),
    /// To [`Request::Put`](super::Request::Put).
    Put(PutResponse),
    /// To [`Request::Delete`](super::Request::Delete).
    Delete(DeleteResponse),
    /// To [`Request::Txn`](super::Request::Txn).
    Txn(TxnResponse),
    /// To [`Request::Compact`](super::Request::Compact).
    Compact {
        /// The answering store.
        header: Header,
    },
    /// To [`Request::LeaseGrant`](super::Request::LeaseGrant).
    LeaseGrant {
        /// The answering store.
        header: Header,
        /// What was granted.
        grant: LeaseGrant,
    },
    /// To [`Request::LeaseRevoke`](super::Request::LeaseRevoke).
    LeaseRevoke {
        /// The answering store.
        header: Header,
    },
    /// To [`Request::LeaseKeepAlive`](super::Request::LeaseKeepAlive).
    LeaseKeepAlive {
        /// The answering store.
        header: Header,
        /// The lease's full time to live in seconds, which starts anew; 0 if there is no such lease.
        ttl_s: i64,
    },
    /// To [`Request::LeaseTimeToLive`](super::Request::LeaseTimeToLive).
    LeaseTimeToLive {
        /// The answering store.
        header: Header,
        /// Seconds left; -1 if there is no such lease.
        ttl_s: i64,
        /// The time to live that was granted, in seconds.
        granted_ttl_s: i64,
        /// The keys that live by it, if asked for.
        keys: Vec<Vec<u8>>,
    },
    /// To [`Request::LeaseLeases`](super::Request::LeaseLeases).
    LeaseLeases {
        /// The answering store.
        header: Header,
        /// Every lease's id.
        ids: Vec<i64>,
    },
    /// To [`Request::Status`](super::Request::Status).
    Status {
        /// The answering store.
        header: Header,
        /// The server's version, such as `3.6.15`.
        version: String,
        /// The id of the member that this one takes for the leader; 0 for none.
        leader: u64,
    },
}

impl Response {
    /// Its header, whatever it answers.
    pub fn header_mut(&mut self) -> &mut Header {
        match self {
            Self::Range(response) => &mut response.header,
            Self::Put(response) => &mut response.header,
            Self::Delete(response) => &mut response.header,
            Self::Txn(response) => &mut response.header,
            Self::Compact { header }
            | Self::LeaseGrant { header, .. }
            | Self::LeaseRevoke { header }
            | Self::LeaseKeepAlive { header, .. }
            | Self::LeaseTimeToLive { header, .. }
            | Self::LeaseLeases { header, .. }
            | Self::Status { header, .. } => header,
        }
    }
}
