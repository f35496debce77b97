//! Hand-written histories of clients that use recipes, for the checkers' tests: requests that are committed as they are sent, and
//! clients that say what they do.

use std::collections::BTreeMap;
use std::sync::Arc;

use tenure::kv::{Event, EventKind, Header, KeyValue, LeaseGrant, Range, Request, Response};

use super::script::{self, BOUNDS, check_of};
use super::{Bounds, Breach};
use crate::history::{Deed, DeedEnd, RecipeDeed, RecipeEnd, Recorder, What};
use crate::node::Node;

const MILLISECOND: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1_000 * MILLISECOND;

/// What is asked of etcd: nothing here goes by it.
fn request() -> Arc<Request> {
    Arc::new(Request::Range(Range::key(b"k".as_slice())))
}

/// A history in the making. Each step is a millisecond after the one before.
pub(super) struct RecipeScript {
    recorder: Recorder,
    now_ns: u64,
    revision: i64,
    deeds: u64,
    calls: u64,
    live: BTreeMap<String, KeyValue>,
}

impl RecipeScript {
    pub(super) fn new() -> Self {
        let recorder = Recorder::default();
        Self { recorder, now_ns: 0, revision: 1, deeds: 0, calls: 0, live: BTreeMap::new() }
    }

    fn record(&mut self, node: Node, what: What) {
        self.now_ns += MILLISECOND;
        self.recorder.record(self.now_ns, node, what);
    }

    /// What an invariant says of the history so far.
    pub(super) fn breach(&mut self, invariant: &str) -> Option<Breach> {
        let bounds = Bounds { robs: false, ..BOUNDS };
        script::read(&mut self.recorder, bounds, |evidence| (check_of(invariant))(evidence))
    }

    pub(super) fn calm(&mut self) {
        self.record(Node::World, What::Calm);
    }

    pub(super) fn crash(&mut self, client: u32) {
        self.record(Node::Client(client), What::Crashed);
    }

    pub(super) fn wait(&mut self, ns: u64) {
        self.now_ns += ns;
        self.record(Node::World, What::Note("time passes".into()));
    }

    /// A client asks something of a queue. Gives the deed's number.
    pub(super) fn does(&mut self, client: u32, queue: &str, what: RecipeDeed) -> u64 {
        self.deeds += 1;
        let deed = Deed::Recipe { name: queue.into(), lease: i64::from(client), place: (0, 0), what };
        self.record(Node::Client(client), What::Does { deed: self.deeds, what: deed });
        self.deeds
    }

    /// It comes to an end.
    pub(super) fn did(&mut self, client: u32, deed: u64, end: DeedEnd) {
        self.record(Node::Client(client), What::Did { deed, end });
    }

    /// A request of a client is sent and committed, which puts and deletes these keys. Gives the revision.
    pub(super) fn commit(&mut self, client: u32, puts: &[(&str, &str)], deletes: &[&str]) -> i64 {
        let call = self.send(client);
        self.commit_sent(call, puts, deletes)
    }

    /// A request of a client is sent. Gives its number.
    pub(super) fn send(&mut self, client: u32) -> u64 {
        self.calls += 1;
        let (call, request) = (self.calls, request());
        self.record(Node::Client(client), What::Sent { call, member: 0, request });
        call
    }

    /// What was sent is committed, which puts and deletes these keys. Gives the revision.
    pub(super) fn commit_sent(&mut self, call: u64, puts: &[(&str, &str)], deletes: &[&str]) -> i64 {
        self.commit_by(Some(call), 0, puts, deletes)
    }

    /// As [`Self::commit`]; the keys are of the client's lease.
    pub(super) fn commit_leased(&mut self, client: u32, puts: &[(&str, &str)], deletes: &[&str]) -> i64 {
        let call = self.send(client);
        self.commit_by(Some(call), i64::from(client), puts, deletes)
    }

    /// These keys are gone with their lease.
    pub(super) fn expire(&mut self, deletes: &[&str]) -> i64 {
        self.commit_by(None, 0, &[], deletes)
    }

    /// A client opens a session.
    pub(super) fn session(&mut self, client: u32) {
        self.calls += 1;
        let (call, lease, ttl_s) = (self.calls, i64::from(client), 3);
        let request = Arc::new(Request::LeaseGrant { id: 0, ttl_s });
        self.record(Node::Client(client), What::Sent { call, member: 0, request });
        let (grant, header) = (LeaseGrant { id: lease, ttl_s }, Header::default());
        let outcome = Ok(Arc::new(Response::LeaseGrant { grant, header }));
        self.record(Node::Client(client), What::Answered { call, outcome });
        self.record(Node::Client(client), What::SessionOpened { lease, ttl_ms: 3_000 });
    }

    fn commit_by(&mut self, call: Option<u64>, lease: i64, puts: &[(&str, &str)], deletes: &[&str]) -> i64 {
        self.revision += 1;
        let revision = self.revision;
        let mut events = Vec::new();
        for (key, value) in puts {
            let old = self.live.get(*key);
            let kv = KeyValue {
                key: key.as_bytes().to_vec(),
                value: value.as_bytes().to_vec(),
                create_revision: old.map_or(revision, |old| old.create_revision),
                mod_revision: revision,
                version: old.map_or(1, |old| old.version + 1),
                lease,
            };
            self.live.insert((*key).to_owned(), kv.clone());
            events.push(Event { kind: EventKind::Put, kv, prev_kv: None });
        }
        for key in deletes {
            self.live.remove(*key);
            let kv = KeyValue { key: key.as_bytes().to_vec(), mod_revision: revision, ..KeyValue::default() };
            events.push(Event { kind: EventKind::Delete, kv, prev_kv: None });
        }
        let request = request();
        self.record(Node::Member(0), What::Committed { revision, call, request, events });
        revision
    }

    /// An item is enqueued, and its producer told so.
    pub(super) fn enqueue(&mut self, client: u32, queue: &str, key: &str, item: &str) {
        let what = RecipeDeed::Enqueue { priority: None, items: vec![item.to_owned()] };
        let deed = self.does(client, queue, what);
        self.commit(client, &[(&format!("{queue}/{key}"), item)], &[]);
        self.did(client, deed, DeedEnd::Done);
    }

    /// A consumer begins to wait for an item.
    pub(super) fn dequeues(&mut self, client: u32, queue: &str) -> u64 {
        self.does(client, queue, RecipeDeed::Dequeue { most: 1, limit_ms: None })
    }

    /// A consumer takes an item, and is given it.
    pub(super) fn dequeue(&mut self, client: u32, queue: &str, key: &str, item: &str) {
        let deed = self.dequeues(client, queue);
        self.commit(client, &[], &[&format!("{queue}/{key}")]);
        self.given(client, deed, item);
    }

    /// A consumer is given an item.
    pub(super) fn given(&mut self, client: u32, deed: u64, item: &str) {
        self.did(client, deed, DeedEnd::Recipe(RecipeEnd::Items(vec![item.to_owned()])));
    }

    /// A consumer claims an item, and is given the claim. Gives its token.
    pub(super) fn claim(&mut self, client: u32, queue: &str, key: &str, item: &str) -> i64 {
        let deed = self.does(client, queue, RecipeDeed::Claim { limit_ms: None });
        let token = self.commit(client, &[(&format!("__{queue}\0claim/{key}"), "")], &[]);
        let item = item.to_owned();
        self.did(client, deed, DeedEnd::Recipe(RecipeEnd::Claimed { item, token }));
        token
    }

    /// The acknowledgement of a claim is asked for.
    pub(super) fn acknowledges(&mut self, client: u32, queue: &str, item: &str, token: i64) -> u64 {
        let what = RecipeDeed::Acknowledge { item: item.to_owned(), token, writes: false };
        self.does(client, queue, what)
    }
}
