//! What is asked of etcd: comparisons, reads, writes, transactions, watches, and every request to a member.

use super::prefix_end;

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

/// One condition of a transaction. Over a range it must hold for every key in it; an empty range counts as one absent key.
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
