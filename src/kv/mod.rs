//! etcd's data model: keys, comparisons, operations, requests and their replies, in etcd's own shapes and words.
//!
//! These types are what a [`Backend`](crate::Backend) and a [`Wire`](crate::wire::Wire) carry. They follow
//! `etcdserverpb/rpc.proto` field by field, so that nothing etcd can say is lost, and depend on no gRPC crate.

mod request;
mod response;

use std::fmt;

pub use request::{
    Compare, CompareOp, CompareTarget, DeleteRange, Op, Put, Range, Request, SortOrder, SortTarget, Txn,
    WatchRequest,
};
pub use response::{
    DeleteResponse, OpResponse, PutResponse, RangeResponse, Response, TxnResponse, WatchResponse,
};

/// A key with its value and history numbers (`mvccpb.KeyValue`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct KeyValue {
    /// The key; never empty.
    pub key: Vec<u8>,
    /// The value; may be empty.
    pub value: Vec<u8>,
    /// The store's revision at which this incarnation of the key was created.
    pub create_revision: i64,
    /// The store's revision at which it was last written (or deleted, in a delete event).
    pub mod_revision: i64,
    /// Writes since creation, from 1; 0 in a delete event.
    pub version: i64,
    /// The lease that it lives by; 0 for none.
    pub lease: i64,
}

/// What a reply says of the store that gave it (`ResponseHeader`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Header {
    /// The cluster's id.
    pub cluster_id: u64,
    /// The id of the member that answered.
    pub member_id: u64,
    /// The store's revision when the request was applied.
    pub revision: i64,
    /// The consensus term of the member that answered.
    pub raft_term: u64,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// It was created or written.
    Put,
    /// It was deleted, by a request or with its lease.
    Delete,
}

/// One change, as a watch tells it (`mvccpb.Event`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The key after it; of a deletion only `key` and `mod_revision` (the deletion's revision) are set.
    pub kv: KeyValue,
    /// The key before it, if asked for and not compacted.
    pub prev_kv: Option<KeyValue>,
}

/// A lease as it was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseGrant {
    /// The lease's id; never 0.
    pub id: i64,
    /// Its time to live in seconds, as the server chose it; at least what was asked.
    pub ttl_s: i64,
}

/// The exclusive end of the range of all keys that begin with `prefix`, as etcd's `GetPrefixRangeEnd` computes it
/// (`client/v3/op.go`).
pub fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

/// Shows a key or value as text where it is text, with `\x..` for the rest.
pub struct Shown<'a>(pub &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.escape_ascii(), f)
    }
}
