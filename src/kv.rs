//! etcd's data model: keys, comparisons, operations, requests and their replies, in etcd's own shapes and words.
//!
//! These types are what a [`Backend`](crate::Backend) and a [`Wire`](crate::wire::Wire) carry. They follow
//! `etcdserverpb/rpc.proto` field by field, so that nothing etcd can say is lost, and depend on no gRPC crate.

use std::fmt;

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

/// How a [`Compare`] relates a key's number to the given one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CompareOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `>`
    Greater,
    /// `<`
    Less,
}

/// Which of a key's numbers a [`Compare`] looks at, and what it is compared to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CompareTarget {
    /// `create_revision`; 0 for an absent key.
    Create(i64),
    /// `mod_revision`; 0 for an absent key.
    Mod(i64),
    /// `version`; 0 for an absent key.
    Version(i64),
    /// The value; false for an absent key, whatever the operator.
    Value(Vec<u8>),
    /// The lease; 0 for an absent key.
    Lease(i64),
}

/// One condition of a transaction. Over a range it must hold for every key in it, so it holds for an empty one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Compare {
    /// The key, or the first of a range.
    pub key: Vec<u8>,
    /// Empty for one key; else the exclusive end of a range, `\0` for all keys from `key` on.
    pub range_end: Vec<u8>,
    /// The relation that must hold.
    pub op: CompareOp,
    /// The number and its operand.
    pub target: CompareTarget,
}

impl Compare {
    /// `create_revision(key) OP revision`.
    pub fn create_revision(key: impl Into<Vec<u8>>, op: CompareOp, revision: i64) -> Self {
        Self { key: key.into(), range_end: Vec::new(), op, target: CompareTarget::Create(revision) }
    }

    /// `mod_revision(key) OP revision`.
    pub fn mod_revision(key: impl Into<Vec<u8>>, op: CompareOp, revision: i64) -> Self {
        Self { key: key.into(), range_end: Vec::new(), op, target: CompareTarget::Mod(revision) }
    }

    /// `version(key) OP version`.
    pub fn version(key: impl Into<Vec<u8>>, op: CompareOp, version: i64) -> Self {
        Self { key: key.into(), range_end: Vec::new(), op, target: CompareTarget::Version(version) }
    }

    /// `value(key) OP value`.
    pub fn value(key: impl Into<Vec<u8>>, op: CompareOp, value: impl Into<Vec<u8>>) -> Self {
        Self { key: key.into(), range_end: Vec::new(), op, target: CompareTarget::Value(value.into()) }
    }

    /// `lease(key) OP lease`.
    pub fn lease(key: impl Into<Vec<u8>>, op: CompareOp, lease: i64) -> Self {
        Self { key: key.into(), range_end: Vec::new(), op, target: CompareTarget::Lease(lease) }
    }

    /// The same condition for every key in `[key, range_end)`.
    #[must_use]
    pub fn over(mut self, range_end: impl Into<Vec<u8>>) -> Self {
        self.range_end = range_end.into();
        self
    }
}

/// What a range is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SortTarget {
    /// The key's bytes.
    Key,
    /// `version`.
    Version,
    /// `create_revision`.
    Create,
    /// `mod_revision`.
    Mod,
    /// The value's bytes.
    Value,
}

/// The direction of a sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SortOrder {
    /// No order asked: by key; ascending when the target is not the key.
    None,
    /// Smallest first.
    Ascend,
    /// Largest first.
    Descend,
}

/// A read (`RangeRequest`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Range {
    /// The key, or the first of a range.
    pub key: Vec<u8>,
    /// Empty for one key; else the exclusive end of a range, `\0` for all keys from `key` on.
    pub range_end: Vec<u8>,
    /// How many keys at most; 0 for all.
    pub limit: i64,
    /// The revision to read at; 0 for the newest.
    pub revision: i64,
    /// The direction of the sort.
    pub sort_order: SortOrder,
    /// What to sort by.
    pub sort_target: SortTarget,
    /// Answer from the member's own state, which may be stale.
    pub serializable: bool,
    /// Leave the values out.
    pub keys_only: bool,
    /// Only count.
    pub count_only: bool,
    /// Only keys modified at or after this revision; 0 for any.
    pub min_mod_revision: i64,
    /// Only keys modified at or before this revision; 0 for any.
    pub max_mod_revision: i64,
    /// Only keys created at or after this revision; 0 for any.
    pub min_create_revision: i64,
    /// Only keys created at or before this revision; 0 for any.
    pub max_create_revision: i64,
}

impl Range {
    /// A linearizable read of one key.
    pub fn key(key: impl Into<Vec<u8>>) -> Self {
        Self {
            key: key.into(),
            range_end: Vec::new(),
            limit: 0,
            revision: 0,
            sort_order: SortOrder::None,
            sort_target: SortTarget::Key,
            serializable: false,
            keys_only: false,
            count_only: false,
            min_mod_revision: 0,
            max_mod_revision: 0,
            min_create_revision: 0,
            max_create_revision: 0,
        }
    }

    /// A linearizable read of every key that begins with `prefix`.
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> Self {
        let key = prefix.into();
        let range_end = prefix_end(&key);
        Self { range_end, ..Self::key(key) }
    }

    /// Sorted by `target` in `order`.
    #[must_use]
    pub fn sorted(mut self, target: SortTarget, order: SortOrder) -> Self {
        self.sort_target = target;
        self.sort_order = order;
        self
    }

    /// At most `limit` keys.
    #[must_use]
    pub fn limit(mut self, limit: i64) -> Self {
        self.limit = limit;
        self
    }
}

/// A write of one key (`PutRequest`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Put {
    /// The key.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
    /// The lease that the key is to live by; 0 for none.
    pub lease: i64,
    /// Answer with what was there before.
    pub prev_kv: bool,
    /// Keep the present value (the key must exist).
    pub ignore_value: bool,
    /// Keep the present lease (the key must exist).
    pub ignore_lease: bool,
}

impl Put {
    /// Writes `value` to `key` without a lease.
    pub fn new(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self { key: key.into(), value: value.into(), ..Self::default() }
    }

    /// The key lives by `lease`.
    #[must_use]
    pub fn lease(mut self, lease: i64) -> Self {
        self.lease = lease;
        self
    }
}

/// A deletion (`DeleteRangeRequest`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct DeleteRange {
    /// The key, or the first of a range.
    pub key: Vec<u8>,
    /// Empty for one key; else the exclusive end of a range, `\0` for all keys from `key` on.
    pub range_end: Vec<u8>,
    /// Answer with what was there before.
    pub prev_kv: bool,
}

impl DeleteRange {
    /// Deletes one key.
    pub fn key(key: impl Into<Vec<u8>>) -> Self {
        Self { key: key.into(), ..Self::default() }
    }

    /// Deletes every key that begins with `prefix`.
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> Self {
        let key = prefix.into();
        Self { range_end: prefix_end(&key), key, prev_kv: false }
    }
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// A read.
    Range(Range),
    /// A write.
    Put(Put),
    /// A deletion.
    Delete(DeleteRange),
    /// A transaction within the transaction.
    Txn(Txn),
}

/// If every comparison holds then the first list, else the second, atomically (`TxnRequest`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Txn {
    /// The conditions, all of which must hold.
    pub compares: Vec<Compare>,
    /// What is done when they hold.
    pub success: Vec<Op>,
    /// What is done when one does not.
    pub failure: Vec<Op>,
}

impl Txn {
    /// A transaction without conditions or operations.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds conditions.
    #[must_use]
    pub fn when(mut self, compares: impl IntoIterator<Item = Compare>) -> Self {
        self.compares.extend(compares);
        self
    }

    /// Adds operations for when the conditions hold.
    #[must_use]
    pub fn and_then(mut self, ops: impl IntoIterator<Item = Op>) -> Self {
        self.success.extend(ops);
        self
    }

    /// Adds operations for when they do not.
    #[must_use]
    pub fn or_else(mut self, ops: impl IntoIterator<Item = Op>) -> Self {
        self.failure.extend(ops);
        self
    }
}

/// The reply to a [`Range`].
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

/// The reply to a [`Put`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PutResponse {
    /// The answering store; inside a transaction only the revision is set.
    pub header: Header,
    /// What was there before, if asked for and not compacted.
    pub prev_kv: Option<KeyValue>,
}

/// The reply to a [`DeleteRange`].
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
    /// To a [`Op::Range`].
    Range(RangeResponse),
    /// To a [`Op::Put`].
    Put(PutResponse),
    /// To a [`Op::Delete`].
    Delete(DeleteResponse),
    /// To a [`Op::Txn`].
    Txn(TxnResponse),
}

/// The reply to a [`Txn`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TxnResponse {
    /// The answering store; its revision is the transaction's own if that wrote.
    pub header: Header,
    /// Whether the conditions held.
    pub succeeded: bool,
    /// One reply for each operation of the list that ran.
    pub responses: Vec<OpResponse>,
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

/// What to watch (`WatchCreateRequest`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct WatchRequest {
    /// The key, or the first of a range.
    pub key: Vec<u8>,
    /// Empty for one key; else the exclusive end of a range, `\0` for all keys from `key` on.
    pub range_end: Vec<u8>,
    /// The first revision to tell of; 0 for from now on. etcd serves a start in the past only every 100 ms.
    pub start_revision: i64,
    /// Tell of the present revision now and then when nothing happens.
    pub progress_notify: bool,
    /// Tell with each event what was there before.
    pub prev_kv: bool,
    /// Leave out what was put.
    pub no_put: bool,
    /// Leave out what was deleted.
    pub no_delete: bool,
}

impl WatchRequest {
    /// Watches one key from now on.
    pub fn key(key: impl Into<Vec<u8>>) -> Self {
        Self { key: key.into(), ..Self::default() }
    }

    /// Watches every key that begins with `prefix` from now on.
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> Self {
        let key = prefix.into();
        Self { range_end: prefix_end(&key), key, ..Self::default() }
    }
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

/// A lease as it was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseGrant {
    /// The lease's id; never 0.
    pub id: i64,
    /// Its time to live in seconds, as the server chose it; at least what was asked.
    pub ttl_s: i64,
}

/// A request to one etcd member: every unary call of its KV, Lease and Maintenance services that this project uses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// KV.Range
    Range(Range),
    /// KV.Put
    Put(Put),
    /// KV.DeleteRange
    Delete(DeleteRange),
    /// KV.Txn
    Txn(Txn),
    /// KV.Compact: forget what is older than `revision`.
    Compact {
        /// The oldest revision that stays readable.
        revision: i64,
        /// Answer only when the history is gone from disk.
        physical: bool,
    },
    /// Lease.LeaseGrant; `id` 0 lets the server choose.
    LeaseGrant {
        /// The wanted id, or 0.
        id: i64,
        /// The wanted time to live in seconds.
        ttl_s: i64,
    },
    /// Lease.LeaseRevoke: ends the lease and deletes its keys in one revision.
    LeaseRevoke {
        /// The lease.
        id: i64,
    },
    /// One round of Lease.LeaseKeepAlive.
    LeaseKeepAlive {
        /// The lease.
        id: i64,
    },
    /// Lease.LeaseTimeToLive
    LeaseTimeToLive {
        /// The lease.
        id: i64,
        /// Also list the keys that live by it.
        keys: bool,
    },
    /// Lease.LeaseLeases
    LeaseLeases,
    /// Maintenance.Status
    Status,
}

/// The reply to a [`Request`] of the same name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Response {
    /// To [`Request::Range`].
    Range(RangeResponse),
    /// To [`Request::Put`].
    Put(PutResponse),
    /// To [`Request::Delete`].
    Delete(DeleteResponse),
    /// To [`Request::Txn`].
    Txn(TxnResponse),
    /// To [`Request::Compact`].
    Compact {
        /// The answering store.
        header: Header,
    },
    /// To [`Request::LeaseGrant`].
    LeaseGrant {
        /// The answering store.
        header: Header,
        /// What was granted.
        grant: LeaseGrant,
    },
    /// To [`Request::LeaseRevoke`].
    LeaseRevoke {
        /// The answering store.
        header: Header,
    },
    /// To [`Request::LeaseKeepAlive`].
    LeaseKeepAlive {
        /// The answering store.
        header: Header,
        /// The lease's full time to live in seconds, which starts anew; 0 if there is no such lease.
        ttl_s: i64,
    },
    /// To [`Request::LeaseTimeToLive`].
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
    /// To [`Request::LeaseLeases`].
    LeaseLeases {
        /// The answering store.
        header: Header,
        /// Every lease's id.
        ids: Vec<i64>,
    },
    /// To [`Request::Status`].
    Status {
        /// The answering store.
        header: Header,
        /// The server's version, such as `3.6.15`.
        version: String,
        /// The id of the member that this one takes for the leader; 0 for none.
        leader: u64,
    },
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
