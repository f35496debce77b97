//! One lane of a client: its operations one after another, each told to the history when it is called and when it returns.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tenure::kv::{
    Compare, CompareOp, DeleteRange, KeyValue, Op, OpResponse, Put, Range, Request, Response, Txn,
};
use tenure::{CallError, Runtime};

use super::LEASED;
use super::program::{PlainKind, PlainOperation};
use crate::history::{CallEnd, What};
use crate::plan::LanePlan;
use crate::workload::actor::Actor;
use crate::workload::client::Client;

pub(crate) struct PlainLane<'a> {
    client: &'a Client<'a>,
    index: usize,
    plan: &'a LanePlan,
    /// Each register's key as it was last seen: its value and revision, or that it is not there.
    seen: BTreeMap<Vec<u8>, Option<KeyValue>>,
    lease: Option<i64>,
}

impl<'a> PlainLane<'a> {
    pub(crate) fn new(client: &'a Client<'a>, index: usize, plan: &'a LanePlan) -> Self {
        Self { client, index, plan, seen: BTreeMap::new(), lease: None }
    }

    pub(crate) async fn run(mut self) {
        let process = self.client.env.index as usize;
        loop {
            let next = self.client.shared.next_operation(process, self.index);
            let Some(operation) = self.plan.plain.get(next) else { break };
            self.client.sleep_ms(operation.think_ms).await;
            if self.client.is_draining() {
                break;
            }
            self.carry_out(operation).await;
        }
    }

    async fn carry_out(&mut self, operation: &PlainOperation) {
        let client = self.client;
        let op = client.shared.next_ticket();
        let Some(request) = self.request(op, operation.what) else { return };
        let request = Arc::new(request);
        client.record(What::Calls { op, request: Arc::clone(&request) });
        let etcd = &client.etcd;
        let deadline = etcd.now() + Duration::from_millis(operation.patience_ms);
        let end = match etcd.call(Request::clone(&request), deadline).await {
            Ok(response) => {
                self.learn(&request, &response);
                CallEnd::Answered(Arc::new(response))
            }
            Err(CallError::NotApplied(why)) => CallEnd::NotApplied(why),
            Err(CallError::Maybe(why)) => CallEnd::Maybe(why),
            Err(CallError::Refused(refusal)) => CallEnd::Refused(refusal.into()),
        };
        client.record(What::Returned { op, end });
    }

    /// The request that an operation is at this moment; nothing if there is no lease that it could be of.
    fn request(&mut self, op: u64, what: PlainKind) -> Option<Request> {
        let registers = &self.client.shared.registers;
        let value = op.to_string();
        Some(match what {
            PlainKind::Get { register } => Request::Range(Range::key(registers.use_key(register))),
            PlainKind::GetBoth { first, second } => {
                let reads = [first, second].map(|one| Op::Range(Range::key(registers.use_key(one))));
                Request::Txn(Txn::new().and_then(reads))
            }
            PlainKind::GetAll { serializable } => {
                Request::Range(Range { range_end: vec![0], serializable, ..Range::key([0]) })
            }
            PlainKind::GetSerializable { register } => {
                Request::Range(Range { serializable: true, ..Range::key(registers.key(register)) })
            }
            PlainKind::GetPast { register, back } => {
                let revision = self.client.shared.some_revisions_ago(back);
                Request::Range(Range { revision, ..Range::key(registers.key(register)) })
            }
            PlainKind::Put { register } => Request::Put(Put::new(registers.use_key(register), value)),
            PlainKind::Delete { register } => Request::Delete(DeleteRange::key(registers.use_key(register))),
            PlainKind::CompareAndSet { register, by_value, deletes } => {
                let key = registers.use_key(register);
                let change = if deletes {
                    Op::Delete(DeleteRange::key(&*key))
                } else {
                    Op::Put(Put::new(&*key, value))
                };
                let unchanged = self.unchanged(&key, by_value);
                Request::Txn(
                    Txn::new().when([unchanged]).and_then([change]).or_else([Op::Range(Range::key(key))]),
                )
            }
            PlainKind::PutBoth { first, second } => {
                let (key, other) = (registers.use_key(first), registers.use_key(second));
                let puts = [&key, &other].map(|key| Op::Put(Put::new(&**key, &*value)));
                Request::Txn(
                    Txn::new()
                        .when([self.unchanged(&key, false)])
                        .and_then(puts)
                        .or_else([&key, &other].map(|key| Op::Range(Range::key(&**key)))),
                )
            }
            PlainKind::Lease => {
                let ttl_s = i64::try_from(self.plan.ttl_s).unwrap_or(i64::MAX);
                Request::LeaseGrant { id: 0, ttl_s }
            }
            PlainKind::Renew => Request::LeaseKeepAlive { id: self.lease? },
            PlainKind::Revoke => Request::LeaseRevoke { id: self.lease.take()? },
            PlainKind::PutLeased { register } => {
                let put = Put::new(format!("{LEASED}{register}"), value);
                Request::Put(put.lease(self.lease?))
            }
        })
    }

    /// That a key is as this lane saw it last.
    fn unchanged(&self, key: &[u8], by_value: bool) -> Compare {
        match self.seen.get(key) {
            Some(Some(kv)) if by_value => Compare::value(key, CompareOp::Equal, &*kv.value),
            Some(Some(kv)) => Compare::mod_revision(key, CompareOp::Equal, kv.mod_revision),
            Some(None) | None => Compare::create_revision(key, CompareOp::Equal, 0),
        }
    }

    /// Keeps in mind what an answer says of registers, and of the lease.
    fn learn(&mut self, request: &Request, response: &Response) {
        match (request, response) {
            (Request::Range(range), Response::Range(read)) if range.revision == 0 => {
                self.client.shared.saw_revision(read.header.revision);
                self.see(&range.key, read.kvs.first());
            }
            (Request::Put(put), Response::Put(done)) => self.wrote(put, done.header.revision),
            (Request::Delete(delete), Response::Delete(_)) => self.see(&delete.key, None),
            (Request::Txn(txn), Response::Txn(done)) => {
                self.client.shared.saw_revision(done.header.revision);
                let branch = if done.succeeded { &txn.success } else { &txn.failure };
                for (op, response) in branch.iter().zip(&done.responses) {
                    match (op, response) {
                        (Op::Range(range), OpResponse::Range(read)) => {
                            self.see(&range.key, read.kvs.first());
                        }
                        (Op::Put(put), OpResponse::Put(_)) => self.wrote(put, done.header.revision),
                        (Op::Delete(delete), OpResponse::Delete(_)) => self.see(&delete.key, None),
                        _ => {}
                    }
                }
            }
            (_, Response::LeaseGrant { grant, .. }) => self.lease = Some(grant.id),
            (_, Response::LeaseKeepAlive { ttl_s: 0, .. }) => self.lease = None,
            _ => {}
        }
    }

    fn wrote(&mut self, put: &Put, revision: i64) {
        self.client.shared.saw_revision(revision);
        let kv = KeyValue {
            key: put.key.clone(),
            value: put.value.clone(),
            mod_revision: revision,
            ..KeyValue::default()
        };
        self.see(&put.key, Some(&kv));
    }

    fn see(&mut self, key: &[u8], kv: Option<&KeyValue>) {
        self.seen.insert(key.to_vec(), kv.cloned());
    }
}
