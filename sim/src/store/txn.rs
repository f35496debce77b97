//! Writes and transactions, as etcd applies them (`etcdserver/txn/txn.go`; before 3.6 `etcdserver/apply.go`).

use std::sync::Arc;

use tenure::kv::{
    Compare, CompareOp, CompareTarget, DeleteRange, DeleteResponse, Header, KeyValue, Op, OpResponse, Put,
    PutResponse, Range, Response, Txn, TxnResponse,
};
use tenure::wire::Status;

use super::span::Span;
use super::{Applied, Change, Planted, Store, refuse};

/// Whether a transaction holds nothing but ranges. A nested transaction makes it a write, as in etcd (`IsTxnReadonly`).
pub fn is_read_only(txn: &Txn) -> bool {
    txn.success.iter().chain(&txn.failure).all(|op| matches!(op, Op::Range(_)))
}

/// Which branch a transaction takes, and those nested in that branch, in order. All conditions are judged before
/// anything is written (`compareToPath`).
struct Path {
    succeeded: bool,
    nested: Vec<Path>,
}

impl Store {
    pub(super) fn apply_put(&mut self, put: &Put) -> Applied {
        if let Err(status) = self.check_put(put, true) {
            return Applied::refused(status);
        }
        let mut changes = Vec::with_capacity(1);
        let response = self.put(put, &mut changes);
        Applied { events: self.commit(changes), result: Ok(Response::Put(response)) }
    }

    pub(super) fn apply_delete(&mut self, delete: &DeleteRange) -> Applied {
        let mut changes = Vec::new();
        let response = self.delete(delete, &mut changes);
        Applied { events: self.commit(changes), result: Ok(Response::Delete(response)) }
    }

    pub(super) fn apply_txn(&mut self, txn: &Txn) -> Applied {
        let path = self.path(txn);
        if let Err(status) = self.check_txn(txn, &path) {
            return Applied::refused(status);
        }
        let mut changes = Vec::new();
        let result = self.run(txn, &path, &mut changes);
        if changes.is_empty() && self.config.planted == Some(Planted::TxnCountsNothing) && deletes(txn, &path)
        {
            self.revision += 1;
            self.log.push_back(Arc::default());
        }
        let events = self.commit(changes);
        let result = result.map(|responses| {
            Response::Txn(TxnResponse { header: self.header(), succeeded: path.succeeded, responses })
        });
        Applied { result, events }
    }

    /// A transaction that only reads, on this state.
    pub(super) fn read_txn(&self, txn: &Txn) -> Result<TxnResponse, Status> {
        let path = self.path(txn);
        self.check_txn(txn, &path)?;
        let mut responses = Vec::new();
        for op in branch(txn, path.succeeded) {
            if let Op::Range(range) = op {
                responses.push(OpResponse::Range(self.range(range)?));
            }
        }
        Ok(TxnResponse { header: self.header(), succeeded: path.succeeded, responses })
    }

    fn path(&self, txn: &Txn) -> Path {
        let succeeded = txn.compares.iter().all(|compare| self.holds(compare));
        let nested = branch(txn, succeeded)
            .iter()
            .filter_map(|op| if let Op::Txn(nested) = op { Some(self.path(nested)) } else { None })
            .collect();
        Path { succeeded, nested }
    }

    /// Whether a condition holds: for every key of the range; where there is no key, for one with all numbers zero,
    /// except that a value is then never as wished (`applyCompare`).
    fn holds(&self, compare: &Compare) -> bool {
        let mut found =
            Span::new(&compare.key, &compare.range_end).of(&self.live).map(|(_, kv)| kv).peekable();
        if found.peek().is_none() {
            return !matches!(compare.target, CompareTarget::Value(_)) && is(compare, &KeyValue::default());
        }
        found.all(|kv| is(compare, kv))
    }

    /// What would make the branch fail, on the state before it.
    fn check_txn(&self, txn: &Txn, path: &Path) -> Result<(), Status> {
        if self.config.version.checks_puts_first() {
            self.check_ops(txn, path, true, false)?;
            self.check_ops(txn, path, false, true)
        } else {
            self.check_ops(txn, path, true, true)
        }
    }

    fn check_ops(&self, txn: &Txn, path: &Path, puts: bool, ranges: bool) -> Result<(), Status> {
        let mut nested_paths = path.nested.iter();
        for op in branch(txn, path.succeeded) {
            match op {
                Op::Put(put) if puts => self.check_put(put, self.config.version.checks_lease_before_key())?,
                Op::Range(range) if ranges => self.check_range(range)?,
                Op::Txn(nested) => {
                    if let Some(path) = nested_paths.next() {
                        self.check_ops(nested, path, puts, ranges)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn check_put(&self, put: &Put, lease_first: bool) -> Result<(), Status> {
        let no_lease = put.lease != 0 && !self.leases.contains_key(&put.lease);
        let no_key = (put.ignore_value || put.ignore_lease) && !self.live.contains_key(&put.key);
        if no_lease && (lease_first || !no_key) {
            Err(refuse::lease_not_found())
        } else if no_key {
            Err(refuse::key_not_found())
        } else {
            Ok(())
        }
    }

    fn check_range(&self, range: &Range) -> Result<(), Status> {
        if range.revision == 0 {
            Ok(())
        } else if range.revision > self.revision {
            Err(refuse::future_revision())
        } else if range.revision < self.compacted {
            Err(refuse::compacted())
        } else {
            Ok(())
        }
    }

    fn run(&mut self, txn: &Txn, path: &Path, changes: &mut Vec<Change>) -> Result<Vec<OpResponse>, Status> {
        let ops = branch(txn, path.succeeded);
        let mut responses = Vec::with_capacity(ops.len());
        let mut nested_paths = path.nested.iter();
        for op in ops {
            responses.push(match op {
                Op::Range(range) => OpResponse::Range(self.range_within(range, changes)?),
                Op::Put(put) => OpResponse::Put(self.put(put, changes)),
                Op::Delete(delete) => OpResponse::Delete(self.delete(delete, changes)),
                Op::Txn(nested) => {
                    let judged_late = (self.config.planted == Some(Planted::TxnNestedSeesWrites))
                        .then(|| self.path(nested));
                    let Some(path) = judged_late.as_ref().or(nested_paths.next()) else { continue };
                    let responses = self.run(nested, path, changes)?;
                    // etcd leaves the header of a nested transaction empty.
                    OpResponse::Txn(TxnResponse {
                        header: Header::default(),
                        succeeded: path.succeeded,
                        responses,
                    })
                }
            });
        }
        Ok(responses)
    }

    /// Puts a key. What it is to keep was there when the request was checked; where an earlier operation of the same
    /// transaction deleted it, which kills a real etcd, nothing is kept.
    fn put(&mut self, put: &Put, changes: &mut Vec<Change>) -> PutResponse {
        let prev = self.live.get(&put.key);
        let prev_kv = prev.filter(|_| put.prev_kv).map(|prev| KeyValue::clone(prev));
        let value = match prev {
            Some(prev) if put.ignore_value => prev.value.clone(),
            _ => put.value.clone(),
        };
        let lease = match prev {
            Some(prev) if put.ignore_lease => prev.lease,
            _ => put.lease,
        };
        self.put_key(&put.key, value, lease, changes);
        PutResponse { header: self.header_with(changes), prev_kv }
    }

    fn delete(&mut self, delete: &DeleteRange, changes: &mut Vec<Change>) -> DeleteResponse {
        let span = Span::new(&delete.key, &delete.range_end);
        let before = changes.len();
        if let Some(key) = span.single() {
            self.delete_key(key, changes);
        } else if !span.is_empty() {
            let keys: Vec<Vec<u8>> = span.of(&self.live).map(|(key, _)| key.clone()).collect();
            for key in keys {
                self.delete_key(&key, changes);
            }
        }
        let deleted = &changes[before..];
        let prev_kvs = if delete.prev_kv {
            deleted.iter().filter_map(|change| change.prev.as_deref().cloned()).collect()
        } else {
            Vec::new()
        };
        let deleted = i64::try_from(deleted.len()).unwrap_or(i64::MAX);
        DeleteResponse { header: self.header_with(changes), deleted, prev_kvs }
    }

    /// The header of an operation within the revision that is being made, if anything is written yet.
    fn header_with(&self, changes: &[Change]) -> Header {
        Header { revision: self.revision + i64::from(!changes.is_empty()), ..Header::default() }
    }
}

fn branch(txn: &Txn, succeeded: bool) -> &[Op] {
    if succeeded { &txn.success } else { &txn.failure }
}

fn deletes(txn: &Txn, path: &Path) -> bool {
    branch(txn, path.succeeded).iter().any(|op| matches!(op, Op::Delete(_)))
}

fn is(compare: &Compare, kv: &KeyValue) -> bool {
    let order = match &compare.target {
        CompareTarget::Create(wanted) => kv.create_revision.cmp(wanted),
        CompareTarget::Mod(wanted) => kv.mod_revision.cmp(wanted),
        CompareTarget::Version(wanted) => kv.version.cmp(wanted),
        CompareTarget::Lease(wanted) => kv.lease.cmp(wanted),
        CompareTarget::Value(wanted) => kv.value.cmp(wanted),
    };
    match compare.op {
        CompareOp::Equal => order.is_eq(),
        CompareOp::NotEqual => order.is_ne(),
        CompareOp::Greater => order.is_gt(),
        CompareOp::Less => order.is_lt(),
    }
}
