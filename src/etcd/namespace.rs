//! Keys below a prefix of one's own: put before every key on the way out, taken off on the way in, as etcd's
//! `client/v3/namespace` does.

use super::invalid;
use crate::backend::CallError;
use crate::kv::{
    Compare, DeleteResponse, Event, KeyValue, Op, OpResponse, Request, Response, Txn, TxnResponse,
    WatchRequest, prefix_end,
};

/// The prefix; empty for none.
#[derive(Clone, Copy)]
pub(super) struct Namespace<'a>(pub(super) &'a [u8]);

impl Namespace<'_> {
    /// `request` as the store is to see it. Without a prefix nothing is changed or checked; with one an empty key is
    /// refused here, since the store would take it for the prefix itself.
    pub(super) fn outward(self, mut request: Request) -> Result<Request, CallError> {
        if !self.0.is_empty() {
            match &mut request {
                Request::Range(range) => self.span(&mut range.key, &mut range.range_end)?,
                Request::Put(put) => self.span(&mut put.key, &mut Vec::new())?,
                Request::Delete(delete) => self.span(&mut delete.key, &mut delete.range_end)?,
                Request::Txn(txn) => self.txn(txn)?,
                Request::Compact { .. }
                | Request::LeaseGrant { .. }
                | Request::LeaseRevoke { .. }
                | Request::LeaseKeepAlive { .. }
                | Request::LeaseTimeToLive { .. }
                | Request::LeaseLeases
                | Request::Status => {}
            }
        }
        Ok(request)
    }

    /// `request` as the store is to see it. An empty key watches from the first key on, as in etcd.
    pub(super) fn watch(self, mut request: WatchRequest) -> WatchRequest {
        if !self.0.is_empty() {
            self.put_before(&mut request.key, &mut request.range_end);
        }
        request
    }

    /// `response` as the caller is to see it.
    pub(super) fn inward(self, mut response: Response) -> Response {
        if !self.0.is_empty() {
            match &mut response {
                Response::Range(range) => self.strip_all(&mut range.kvs),
                Response::Put(put) => self.strip_all(&mut put.prev_kv),
                Response::Delete(delete) => self.deleted(delete),
                Response::Txn(txn) => self.done(txn),
                Response::LeaseTimeToLive { keys, .. } => {
                    keys.retain(|key| key.starts_with(self.0));
                    for key in keys {
                        self.strip(key);
                    }
                }
                Response::Compact { .. }
                | Response::LeaseGrant { .. }
                | Response::LeaseRevoke { .. }
                | Response::LeaseKeepAlive { .. }
                | Response::LeaseLeases { .. }
                | Response::Status { .. } => {}
            }
        }
        response
    }

    /// `events` as the caller is to see them.
    pub(super) fn events(self, events: &mut [Event]) {
        if !self.0.is_empty() {
            for event in events {
                self.strip(&mut event.kv.key);
                self.strip_all(&mut event.prev_kv);
            }
        }
    }

    fn txn(self, txn: &mut Txn) -> Result<(), CallError> {
        for Compare { key, range_end, .. } in &mut txn.compares {
            self.span(key, range_end)?;
        }
        for op in txn.success.iter_mut().chain(&mut txn.failure) {
            match op {
                Op::Range(range) => self.span(&mut range.key, &mut range.range_end)?,
                Op::Put(put) => self.span(&mut put.key, &mut Vec::new())?,
                Op::Delete(delete) => self.span(&mut delete.key, &mut delete.range_end)?,
                Op::Txn(inner) => self.txn(inner)?,
            }
        }
        Ok(())
    }

    fn span(self, key: &mut Vec<u8>, range_end: &mut Vec<u8>) -> Result<(), CallError> {
        if key.is_empty() {
            return Err(CallError::Refused(invalid("etcdserver: key is not provided")));
        }
        self.put_before(key, range_end);
        Ok(())
    }

    fn put_before(self, key: &mut Vec<u8>, range_end: &mut Vec<u8>) {
        key.splice(0..0, self.0.iter().copied());
        if range_end.as_slice() == [0] {
            *range_end = prefix_end(self.0);
        } else if !range_end.is_empty() {
            range_end.splice(0..0, self.0.iter().copied());
        }
    }

    fn done(self, txn: &mut TxnResponse) {
        for response in &mut txn.responses {
            match response {
                OpResponse::Range(range) => self.strip_all(&mut range.kvs),
                OpResponse::Put(put) => self.strip_all(&mut put.prev_kv),
                OpResponse::Delete(delete) => self.deleted(delete),
                OpResponse::Txn(inner) => self.done(inner),
            }
        }
    }

    fn deleted(self, delete: &mut DeleteResponse) {
        self.strip_all(&mut delete.prev_kvs);
    }

    fn strip_all<'k>(self, kvs: impl IntoIterator<Item = &'k mut KeyValue>) {
        for kv in kvs {
            self.strip(&mut kv.key);
        }
    }

    fn strip(self, key: &mut Vec<u8>) {
        if key.starts_with(self.0) {
            key.drain(..self.0.len());
        }
    }
}
