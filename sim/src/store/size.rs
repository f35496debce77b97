//! How many bytes a request takes on the wire (protobuf), which etcd's limits go by.

use tenure::kv::{Compare, CompareTarget, DeleteRange, Op, Put, Range, Request, Txn};

/// What the raft proposal around a request adds: its header with an id, and its own tag (`InternalRaftRequest`).
pub(super) const PROPOSAL_OVERHEAD: usize = 18;

/// The encoded length of a request's message.
pub(super) fn request(request: &Request) -> usize {
    match request {
        Request::Range(request) => range(request),
        Request::Put(request) => put(request),
        Request::Delete(request) => delete(request),
        Request::Txn(request) => txn(request),
        // The others are some numbers, far below any limit.
        _ => 0,
    }
}

/// What etcd's quota takes a request for (`cost` in `storage/quota.go`).
pub(super) fn space_cost(request: &Request) -> u64 {
    /// What a key needs besides its bytes.
    const KEY_OVERHEAD: usize = 256;
    /// What a lease needs.
    const LEASE_OVERHEAD: usize = 64;
    fn put(put: &Put) -> usize {
        KEY_OVERHEAD + put.key.len() + put.value.len()
    }
    fn all(ops: &[Op]) -> usize {
        ops.iter().map(|op| if let Op::Put(request) = op { put(request) } else { 0 }).sum()
    }
    let cost = match request {
        Request::Put(request) => put(request),
        Request::Txn(txn) => all(&txn.success).max(all(&txn.failure)),
        Request::LeaseGrant { .. } => LEASE_OVERHEAD,
        _ => 0,
    };
    cost as u64
}

fn range(range: &Range) -> usize {
    let numbers = [
        range.limit,
        range.revision,
        range.sort_order as i64,
        range.sort_target as i64,
        i64::from(range.serializable),
        i64::from(range.keys_only),
        i64::from(range.count_only),
        range.min_mod_revision,
        range.max_mod_revision,
        range.min_create_revision,
        range.max_create_revision,
    ];
    bytes(&range.key) + bytes(&range.range_end) + numbers.into_iter().map(number).sum::<usize>()
}

fn put(put: &Put) -> usize {
    let flags = [put.prev_kv, put.ignore_value, put.ignore_lease];
    bytes(&put.key)
        + bytes(&put.value)
        + number(put.lease)
        + flags.into_iter().map(|on| number(on.into())).sum::<usize>()
}

fn delete(delete: &DeleteRange) -> usize {
    bytes(&delete.key) + bytes(&delete.range_end) + number(delete.prev_kv.into())
}

fn txn(txn: &Txn) -> usize {
    let compares: usize = txn.compares.iter().map(|one| message(compare(one))).sum();
    let ops: usize = txn.success.iter().chain(&txn.failure).map(|one| message(message(op(one)))).sum();
    compares + ops
}

fn compare(compare: &Compare) -> usize {
    // The operand is one of a union: it is written even where it is zero.
    let operand = match &compare.target {
        CompareTarget::Value(value) => message(value.len()),
        CompareTarget::Create(operand)
        | CompareTarget::Mod(operand)
        | CompareTarget::Version(operand)
        | CompareTarget::Lease(operand) => 1 + varint(*operand as u64),
    };
    // Result and target are small numbers, mostly written; `range_end` has a tag of two bytes.
    let range_end = bytes(&compare.range_end);
    4 + bytes(&compare.key) + operand + range_end + usize::from(range_end > 0)
}

fn op(op: &Op) -> usize {
    match op {
        Op::Range(request) => range(request),
        Op::Put(request) => put(request),
        Op::Delete(request) => delete(request),
        Op::Txn(request) => txn(request),
    }
}

fn varint(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

fn number(value: i64) -> usize {
    if value == 0 { 0 } else { 1 + varint(value as u64) }
}

fn message(length: usize) -> usize {
    1 + varint(length as u64) + length
}

fn bytes(bytes: &[u8]) -> usize {
    if bytes.is_empty() { 0 } else { message(bytes.len()) }
}
