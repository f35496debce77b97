//! Hand-written histories of clients that use etcd itself, for the tests of the checkers of these: a store that does what it
//! is told, and answers that may be true or not.

use std::collections::BTreeMap;
use std::sync::Arc;

use tenure::kv::{
    Compare, CompareOp, DeleteRange, DeleteResponse, Event, EventKind, Header, KeyValue, LeaseGrant, Op,
    OpResponse, Put, PutResponse, Range, RangeResponse, Request, Response, Txn, TxnResponse, WatchRequest,
    prefix_end,
};

use super::script::{self, BOUNDS, check_of};
use super::{Breach, Evidence};
use crate::history::{CallEnd, Recorder, Refused, WatchSays, What};
use crate::node::Node;

/// In nanoseconds.
pub(super) const SECOND: u64 = 1_000_000_000;

/// A history in the making. Each step is a microsecond after the one before.
pub(super) struct PlainScript {
    recorder: Recorder,
    steps: usize,
    now_ns: u64,
    revision: i64,
    numbers: u64,
    /// Every state so far, by revision.
    states: BTreeMap<i64, BTreeMap<Vec<u8>, KeyValue>>,
    events: BTreeMap<i64, Vec<Event>>,
    calls: BTreeMap<u64, Request>,
}

impl PlainScript {
    pub(super) fn new() -> Self {
        Self {
            recorder: Recorder::default(),
            steps: 0,
            now_ns: 0,
            revision: 1,
            numbers: 0,
            states: BTreeMap::from([(1, BTreeMap::new())]),
            events: BTreeMap::new(),
            calls: BTreeMap::new(),
        }
    }

    /// Gives the step's place.
    fn record(&mut self, node: Node, what: What) -> usize {
        self.now_ns += 1_000;
        self.recorder.record(self.now_ns, node, what);
        self.steps += 1;
        self.steps - 1
    }

    /// What an invariant says of the history so far, within [`BOUNDS`].
    pub(super) fn breach(&mut self, invariant: &str) -> Option<Breach> {
        self.with_evidence(check_of(invariant))
    }

    /// Reads the history so far.
    pub(super) fn with_evidence<T>(&mut self, read: impl Fn(&Evidence<'_>) -> T) -> T {
        script::read(&mut self.recorder, BOUNDS, |evidence| read(evidence))
    }

    pub(super) fn wait(&mut self, ns: u64) {
        self.now_ns += ns;
        self.record(Node::World, What::Note("time passes".into()));
    }

    pub(super) fn calm(&mut self) {
        self.record(Node::World, What::Calm);
    }

    /// The newest revision.
    pub(super) fn revision(&self) -> i64 {
        self.revision
    }

    fn header(&self) -> Header {
        Header { revision: self.revision, ..Header::default() }
    }

    // ---- operations ----

    fn call(&mut self, client: u32, request: Request) -> u64 {
        self.numbers += 1;
        let op = self.numbers;
        self.calls.insert(op, request.clone());
        self.record(Node::Client(client), What::Calls { op, request: Arc::new(request) });
        op
    }

    fn end(&mut self, client: u32, op: u64, end: CallEnd) -> usize {
        self.record(Node::Client(client), What::Returned { op, end })
    }

    fn answer(&mut self, client: u32, op: u64, response: Response) -> usize {
        self.end(client, op, CallEnd::Answered(Arc::new(response)))
    }

    pub(super) fn call_put(&mut self, client: u32, key: &str, value: &str) -> u64 {
        self.call(client, Request::Put(Put::new(key, value)))
    }

    /// What was called is committed, whether or not its conditions hold.
    pub(super) fn commit(&mut self, op: u64) {
        let request = self.calls[&op].clone();
        let changes: Vec<(Vec<u8>, Option<Vec<u8>>)> = match &request {
            Request::Put(put) => vec![(put.key.clone(), Some(put.value.clone()))],
            Request::Delete(delete) => vec![(delete.key.clone(), None)],
            Request::Txn(txn) => txn
                .success
                .iter()
                .filter_map(|op| match op {
                    Op::Put(put) => Some((put.key.clone(), Some(put.value.clone()))),
                    Op::Delete(delete) => Some((delete.key.clone(), None)),
                    Op::Range(_) | Op::Txn(_) => None,
                })
                .collect(),
            _ => Vec::new(),
        };
        self.apply(Some(op), request, changes);
    }

    fn apply(&mut self, call: Option<u64>, request: Request, changes: Vec<(Vec<u8>, Option<Vec<u8>>)>) {
        let mut state = self.states[&self.revision].clone();
        let (mut events, revision) = (Vec::new(), self.revision + 1);
        for (key, value) in changes {
            let prev_kv = state.get(&key).cloned();
            let Some(value) = value else {
                if state.remove(&key).is_some() {
                    let kv = KeyValue { key, mod_revision: revision, ..KeyValue::default() };
                    events.push(Event { kind: EventKind::Delete, kv, prev_kv });
                }
                continue;
            };
            let (create_revision, version) =
                prev_kv.as_ref().map_or((revision, 1), |prev| (prev.create_revision, prev.version + 1));
            let kv = KeyValue {
                key: key.clone(),
                value,
                create_revision,
                mod_revision: revision,
                version,
                lease: 0,
            };
            state.insert(key, kv.clone());
            events.push(Event { kind: EventKind::Put, kv, prev_kv });
        }
        if !events.is_empty() {
            self.revision = revision;
            self.states.insert(revision, state);
            self.events.insert(revision, events.clone());
        }
        let (revision, request) = (self.revision, Arc::new(request));
        self.record(Node::Member(0), What::Committed { revision, call, request, events });
    }

    /// It is answered as done, at the newest revision.
    pub(super) fn return_done(&mut self, client: u32, op: u64) -> usize {
        let header = self.header();
        self.answer(client, op, Response::Put(PutResponse { header, prev_kv: None }))
    }

    /// What was called goes to a member, and the network doubles it.
    pub(super) fn send_doubled(&mut self, client: u32, op: u64) {
        let request = Arc::new(self.calls[&op].clone());
        self.record(Node::Client(client), What::Sent { call: op, member: 0, request });
        self.record(Node::Client(client), What::Network { call: op, did: "request doubled" });
    }

    pub(super) fn return_maybe(&mut self, client: u32, op: u64) {
        self.end(client, op, CallEnd::Maybe("lost".into()));
    }

    /// It is not answered by this member.
    pub(super) fn return_maybe_of(&mut self, client: u32, op: u64, member: u32) {
        self.end(client, op, CallEnd::Maybe(format!("sim://m{member} did not answer in time")));
    }

    pub(super) fn step_of(&mut self, node: Node, what: What) {
        self.record(node, what);
    }

    pub(super) fn return_not_applied(&mut self, client: u32, op: u64) {
        self.end(client, op, CallEnd::NotApplied("refused".into()));
    }

    pub(super) fn put(&mut self, client: u32, key: &str, value: &str) {
        let op = self.call_put(client, key, value);
        self.commit(op);
        self.return_done(client, op);
    }

    pub(super) fn put_both(&mut self, client: u32, key: &str, other: &str, value: &str) {
        let puts = [key, other].map(|key| Op::Put(Put::new(key, value)));
        let op = self.call(client, Request::Txn(Txn::new().and_then(puts)));
        self.commit(op);
        let header = self.header();
        let responses = vec![OpResponse::Put(PutResponse::default()); 2];
        self.answer(client, op, Response::Txn(TxnResponse { header, succeeded: true, responses }));
    }

    pub(super) fn delete(&mut self, client: u32, key: &str) {
        let op = self.call(client, Request::Delete(DeleteRange::key(key)));
        let before = self.revision;
        self.commit(op);
        let (header, deleted) = (self.header(), self.revision - before);
        self.answer(client, op, Response::Delete(DeleteResponse { header, deleted, prev_kvs: Vec::new() }));
    }

    /// A deletion that is not done says so much.
    pub(super) fn delete_says(&mut self, client: u32, key: &str, deleted: i64) {
        let op = self.call(client, Request::Delete(DeleteRange::key(key)));
        let header = self.header();
        self.answer(client, op, Response::Delete(DeleteResponse { header, deleted, prev_kvs: Vec::new() }));
    }

    // ---- reads ----

    /// A linearizable read that tells the truth.
    pub(super) fn read(&mut self, client: u32, key: &str) -> usize {
        self.read_at(client, key, self.revision)
    }

    /// A linearizable read that is answered from this revision.
    pub(super) fn read_at(&mut self, client: u32, key: &str, revision: i64) -> usize {
        let found = self.states[&revision].get(key.as_bytes()).cloned();
        self.read_says(client, Range::key(key), revision, found)
    }

    pub(super) fn read_serializable_at(&mut self, client: u32, key: &str, revision: i64) {
        let found = self.states[&revision].get(key.as_bytes()).cloned();
        self.read_says(client, Range { serializable: true, ..Range::key(key) }, revision, found);
    }

    /// A serializable read at the newest revision that finds another value than there is.
    pub(super) fn read_serializable_says(&mut self, client: u32, key: &str, value: &str) {
        let mut found = self.states[&self.revision].get(key.as_bytes()).cloned();
        if let Some(kv) = &mut found {
            kv.value = value.into();
        }
        let range = Range { serializable: true, ..Range::key(key) };
        self.read_says(client, range, self.revision, found);
    }

    fn read_says(&mut self, client: u32, range: Range, revision: i64, found: Option<KeyValue>) -> usize {
        let op = self.call(client, Request::Range(range));
        let header = Header { revision, ..Header::default() };
        let (kvs, count) = (found.iter().cloned().collect(), i64::from(found.is_some()));
        self.answer(client, op, Response::Range(RangeResponse { header, kvs, more: false, count }))
    }

    pub(super) fn read_past_refused(&mut self, client: u32, key: &str, revision: i64) {
        let op = self.call(client, Request::Range(Range { revision, ..Range::key(key) }));
        self.end(client, op, CallEnd::Refused(Refused::Compacted));
    }

    // ---- compare-and-set ----

    pub(super) fn call_compare_and_delete(&mut self, client: u32, key: &str, seen: i64) -> u64 {
        let txn = Txn::new()
            .when([Compare::mod_revision(key, CompareOp::Equal, seen)])
            .and_then([Op::Delete(DeleteRange::key(key))])
            .or_else([Op::Range(Range::key(key))]);
        self.call(client, Request::Txn(txn))
    }

    /// It is answered as one that found no key, and so did nothing.
    pub(super) fn return_no_key(&mut self, client: u32, op: u64) -> usize {
        let responses = vec![OpResponse::Range(RangeResponse::default())];
        let header = self.header();
        self.answer(client, op, Response::Txn(TxnResponse { header, succeeded: false, responses }))
    }

    fn call_compare_and_set(&mut self, client: u32, key: &str, seen: i64, value: &str) -> u64 {
        let txn = Txn::new()
            .when([Compare::mod_revision(key, CompareOp::Equal, seen)])
            .and_then([Op::Put(Put::new(key, value))])
            .or_else([Op::Range(Range::key(key))]);
        self.call(client, Request::Txn(txn))
    }

    /// One that tells the truth.
    pub(super) fn compare_and_set(&mut self, client: u32, key: &str, seen: i64, value: &str) {
        let now = self.states[&self.revision].get(key.as_bytes()).map_or(0, |kv| kv.mod_revision);
        if now == seen {
            self.compare_and_set_wins(client, key, seen, value);
        } else {
            self.compare_and_set_loses(client, key, seen, value);
        }
    }

    /// One that is done, whatever was there.
    pub(super) fn compare_and_set_wins(&mut self, client: u32, key: &str, seen: i64, value: &str) {
        let op = self.call_compare_and_set(client, key, seen, value);
        self.commit(op);
        let header = self.header();
        let responses = vec![OpResponse::Put(PutResponse::default())];
        self.answer(client, op, Response::Txn(TxnResponse { header, succeeded: true, responses }));
    }

    /// One that is not done, whatever was there.
    pub(super) fn compare_and_set_loses(&mut self, client: u32, key: &str, seen: i64, value: &str) {
        let op = self.call_compare_and_set(client, key, seen, value);
        let header = self.header();
        let found: Vec<_> = self.states[&self.revision].get(key.as_bytes()).cloned().into_iter().collect();
        let read = RangeResponse { count: found.len() as i64, kvs: found, ..RangeResponse::default() };
        let responses = vec![OpResponse::Range(read)];
        self.answer(client, op, Response::Txn(TxnResponse { header, succeeded: false, responses }));
    }

    // ---- leases, on the wire ----

    fn asks(&mut self, client: u32, request: Request, response: Option<Response>) -> u64 {
        self.numbers += 1;
        let call = self.numbers;
        self.record(Node::Client(client), What::Sent { call, member: 0, request: Arc::new(request) });
        if let Some(response) = response {
            let outcome = Ok(Arc::new(response));
            self.record(Node::Client(client), What::Answered { call, outcome });
        }
        call
    }

    pub(super) fn grant(&mut self, client: u32, id: i64, ttl_s: i64) {
        let response = Response::LeaseGrant { header: self.header(), grant: LeaseGrant { id, ttl_s } };
        self.asks(client, Request::LeaseGrant { id: 0, ttl_s }, Some(response));
    }

    pub(super) fn renew(&mut self, client: u32, id: i64, ttl_s: i64) {
        let response = Response::LeaseKeepAlive { header: self.header(), ttl_s };
        self.asks(client, Request::LeaseKeepAlive { id }, Some(response));
    }

    pub(super) fn renew_unanswered(&mut self, client: u32, id: i64) {
        self.asks(client, Request::LeaseKeepAlive { id }, None);
    }

    pub(super) fn revoke(&mut self, client: u32, id: i64) {
        let call = self.asks(client, Request::LeaseRevoke { id }, None);
        self.apply(Some(call), Request::LeaseRevoke { id }, Vec::new());
    }

    /// The cluster ends a lease. Gives the step.
    pub(super) fn runs_out(&mut self, id: i64) -> usize {
        self.apply(None, Request::LeaseRevoke { id }, Vec::new());
        self.steps - 1
    }

    pub(super) fn compact(&mut self, revision: i64) {
        self.apply(None, Request::Compact { revision, physical: false }, Vec::new());
    }

    // ---- watches; each client has one stream ----

    fn watch_request(prefix: &str, start_revision: i64) -> WatchRequest {
        let (key, range_end) = match prefix {
            "" => (vec![0], vec![0]),
            prefix => (prefix.into(), prefix_end(prefix.as_bytes())),
        };
        WatchRequest { key, range_end, start_revision, ..WatchRequest::default() }
    }

    pub(super) fn opens(&mut self, client: u32, prefix: &str, start_revision: i64) {
        let request = Arc::new(Self::watch_request(prefix, start_revision));
        self.record(Node::Client(client), What::StreamOpened { stream: client.into(), request });
    }

    fn says(&mut self, client: u32, says: WatchSays) -> usize {
        self.record(Node::Client(client), What::StreamSaid { stream: client.into(), says })
    }

    pub(super) fn created(&mut self, client: u32) {
        self.says(client, WatchSays::Created { revision: self.revision });
    }

    fn events_of(&self, revisions: &[i64]) -> Vec<Event> {
        let events = revisions.iter().flat_map(|revision| &self.events[revision]);
        events.map(|event| Event { prev_kv: None, ..event.clone() }).collect()
    }

    /// The stream tells these revisions in one message. Gives the step.
    pub(super) fn tells(&mut self, client: u32, revisions: &[i64]) -> usize {
        self.says(client, WatchSays::Events(self.events_of(revisions)))
    }

    /// The stream tells the first so many events of a revision.
    pub(super) fn tells_part(&mut self, client: u32, revision: i64, count: usize) -> usize {
        let events = self.events_of(&[revision]).into_iter().take(count).collect();
        self.says(client, WatchSays::Events(events))
    }

    pub(super) fn ends_compacted(&mut self, client: u32, compact_revision: i64) {
        self.says(client, WatchSays::Compacted { compact_revision });
    }

    pub(super) fn ends_refused(&mut self, client: u32) {
        self.says(client, WatchSays::Refused("denied".into()));
    }

    pub(super) fn closes(&mut self, client: u32) {
        self.record(Node::Client(client), What::StreamClosed { stream: client.into() });
    }

    pub(super) fn raw_opens(&mut self, watch: u64, prefix: &str, start_revision: i64) {
        let request = Arc::new(Self::watch_request(prefix, start_revision));
        self.record(Node::Client(9), What::WatchSent { watch, member: 0, request });
    }

    pub(super) fn raw_tells(&mut self, watch: u64, revisions: &[i64]) -> usize {
        let (revision, events) = (self.revision, self.events_of(revisions));
        self.record(Node::Client(9), What::WatchTold { watch, kind: "events", revision, events })
    }

    pub(super) fn raw_progress(&mut self, watch: u64, revision: i64) -> usize {
        let told = What::WatchTold { watch, kind: "progress", revision, events: Vec::new() };
        self.record(Node::Client(9), told)
    }
}
