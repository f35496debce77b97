//! What etcd refuses before consensus (`api/v3rpc/key.go`), and what it refuses for want of space (`applierV3Capped`).

use std::collections::BTreeSet;

use tenure::kv::{DeleteRange, Op, Put, Request, Txn};
use tenure::wire::Status;

use super::span::Span;
use super::{EtcdVersion, StoreConfig, refuse, size};

/// gRPC takes this much more than the largest request (`grpcOverheadBytes` in etcd's `embed/serve.go`).
const GRPC_OVERHEAD_BYTES: usize = 512 * 1024;

/// Refuses what etcd's gRPC layer refuses, in its order.
pub(super) fn check(request: &Request, config: &StoreConfig) -> Result<(), Status> {
    let size = size::request(request);
    let grpc_limit = config.max_request_bytes + GRPC_OVERHEAD_BYTES;
    if size > grpc_limit {
        return Err(refuse::message_too_large(size, grpc_limit));
    }
    match request {
        Request::Range(range) => key(&range.key)?,
        Request::Put(request) => put(request)?,
        Request::Delete(delete) => key(&delete.key)?,
        Request::Txn(request) => {
            txn(request, i64::try_from(config.max_txn_ops).unwrap_or(i64::MAX))?;
            writes(&request.success)?;
            writes(&request.failure)?;
        }
        _ => {}
    }
    let proposed = match request {
        Request::Txn(txn) => !super::txn::is_read_only(txn),
        request => !matches!(request, Request::Range(_)),
    };
    if proposed && size + size::PROPOSAL_OVERHEAD > config.max_request_bytes {
        return Err(refuse::request_too_large());
    }
    Ok(())
}

/// Whether the NOSPACE alarm refuses it (`costTxn` in `storage/quota.go`).
pub(super) fn needs_space(request: &Request, version: EtcdVersion) -> bool {
    match request {
        Request::Put(_) | Request::LeaseGrant { .. } => true,
        Request::Txn(txn) => puts(txn, version.nested_puts_need_space()),
        _ => false,
    }
}

fn puts(txn: &Txn, nested_too: bool) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match op {
        Op::Put(_) => true,
        Op::Txn(nested) => nested_too && puts(nested, nested_too),
        Op::Range(_) | Op::Delete(_) => false,
    })
}

fn key(key: &[u8]) -> Result<(), Status> {
    if key.is_empty() { Err(refuse::empty_key()) } else { Ok(()) }
}

fn put(put: &Put) -> Result<(), Status> {
    key(&put.key)?;
    if put.ignore_value && !put.value.is_empty() {
        return Err(refuse::value_provided());
    }
    if put.ignore_lease && put.lease != 0 {
        return Err(refuse::lease_provided());
    }
    Ok(())
}

/// A nested transaction may have as many operations as its outer one left (`checkTxnRequest`).
fn txn(request: &Txn, max_ops: i64) -> Result<(), Status> {
    let ops = request.compares.len().max(request.success.len()).max(request.failure.len());
    let left = max_ops - i64::try_from(ops).unwrap_or(i64::MAX);
    if left < 0 {
        return Err(refuse::too_many_ops());
    }
    for compare in &request.compares {
        key(&compare.key)?;
    }
    for op in request.success.iter().chain(&request.failure) {
        match op {
            Op::Range(range) => key(&range.key)?,
            Op::Put(request) => put(request)?,
            Op::Delete(delete) => key(&delete.key)?,
            Op::Txn(nested) => txn(nested, left)?,
        }
    }
    Ok(())
}

/// What a list of operations puts and deletes, those nested in it included.
#[derive(Default)]
struct Writes<'a> {
    puts: BTreeSet<&'a [u8]>,
    deletes: Vec<&'a DeleteRange>,
}

impl Writes<'_> {
    /// Whether `key` is deleted. etcd reads an open end (`\0`) literally here, so that such a deletion meets nothing.
    fn deletes(&self, key: &[u8]) -> bool {
        self.deletes
            .iter()
            .any(|delete| delete.range_end != [0] && Span::new(&delete.key, &delete.range_end).contains(key))
    }
}

/// Refuses a list that puts one key twice, or puts what it deletes (`checkIntervals`). The two branches of a nested
/// transaction may share keys. A nested put followed by a deletion nested beside it is not found, as in etcd.
fn writes(ops: &[Op]) -> Result<Writes<'_>, Status> {
    let mut all = Writes::default();
    all.deletes
        .extend(ops.iter().filter_map(|op| if let Op::Delete(delete) = op { Some(delete) } else { None }));
    for op in ops {
        let Op::Txn(nested) = op else { continue };
        let then = writes(&nested.success)?;
        let otherwise = writes(&nested.failure)?;
        for key in &then.puts {
            if all.deletes(key) || !all.puts.insert(key) {
                return Err(refuse::duplicate_key());
            }
        }
        for key in &otherwise.puts {
            if all.deletes(key) || (!all.puts.insert(key) && !then.puts.contains(key)) {
                return Err(refuse::duplicate_key());
            }
        }
        all.deletes.extend(then.deletes);
        all.deletes.extend(otherwise.deletes);
    }
    for op in ops {
        let Op::Put(put) = op else { continue };
        if all.deletes(&put.key) || !all.puts.insert(&put.key) {
            return Err(refuse::duplicate_key());
        }
    }
    Ok(all)
}
