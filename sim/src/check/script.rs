//! Hand-written histories for the checkers' tests: a store of one line a name, and clients that say what they do.

use std::sync::Arc;

use tenure::kv::{
    DeleteRange, Event, EventKind, Header, KeyValue, LeaseGrant, Put, Range, Request, Response, WatchRequest,
};

use super::{Bounds, Breach, Evidence, INVARIANTS, Planned};
use crate::history::{Deed, DeedEnd, Failure, GuardSays, Holding, Kind, Recorder, SeenLeader, What};
use crate::node::Node;
use crate::workload::program::{OperatorAct, PERMITS};

const MILLISECOND: u64 = 1_000_000;
/// What is added to a lease's number for the call that renews it.
const RENEWAL: u64 = 1 << 32;

/// A progress bound of 10 s and an election timeout of 1 s.
pub(super) const BOUNDS: Bounds = Bounds {
    progress_ns: 10_000 * MILLISECOND,
    election_timeout_ns: 1_000 * MILLISECOND,
    drift_ppm: 1_000,
    robs: true,
};

/// Reads the history so far, which then goes on.
pub(super) fn read<T>(
    recorder: &mut Recorder,
    bounds: Bounds,
    read: impl FnOnce(&mut Evidence<'_>) -> T,
) -> T {
    let history = recorder.finish();
    let said = read(&mut Evidence::of(&history, bounds));
    for step in history.steps {
        recorder.record(step.at_ns, step.node, step.what);
    }
    said
}

/// How an invariant is checked.
pub(super) fn check_of(invariant: &str) -> fn(&Evidence<'_>) -> Option<Breach> {
    INVARIANTS.iter().find(|one| one.name == invariant).expect("an invariant").check
}

/// A history in the making. Each step is a millisecond after the one before.
pub(super) struct Script {
    recorder: Recorder,
    now_ns: u64,
    steps: usize,
    revision: i64,
    tickets: u64,
    deeds: u64,
    /// The time limit of the asks that come.
    limit_ms: Option<u64>,
    /// Whether the read-write locks that are asked for grant in order of arrival.
    in_turn: bool,
    live: Vec<KeyValue>,
    open: Vec<(u64, Holding)>,
}

impl Script {
    pub(super) fn new() -> Self {
        Self {
            recorder: Recorder::default(),
            now_ns: 0,
            steps: 0,
            revision: 1,
            tickets: 0,
            deeds: 0,
            limit_ms: None,
            in_turn: false,
            live: Vec::new(),
            open: Vec::new(),
        }
    }

    pub(super) fn record(&mut self, node: Node, what: What) {
        self.now_ns += MILLISECOND;
        self.steps += 1;
        self.recorder.record(self.now_ns, node, what);
    }

    /// The place that the next step will have.
    pub(super) fn next_step(&self) -> usize {
        self.steps
    }

    /// What this invariant says of the history so far, within [`BOUNDS`].
    pub(super) fn breach(&mut self, invariant: &str) -> Option<Breach> {
        self.breach_of_plan(invariant, Planned::default())
    }

    /// As [`Script::breach`], of clients that had so much to do.
    pub(super) fn breach_of_plan(&mut self, invariant: &str, planned: Planned) -> Option<Breach> {
        read(&mut self.recorder, BOUNDS, |evidence| {
            evidence.planned = planned;
            (check_of(invariant))(evidence)
        })
    }

    pub(super) fn holding(client: u32, name: &str, lease: i64, token: i64) -> Holding {
        Holding { client, name: name.into(), kind: Kind::Mutex, token, lease }
    }

    pub(super) fn wait(&mut self, ns: u64) {
        self.now_ns += ns;
        self.record(Node::World, What::Note("time passes".into()));
    }

    pub(super) fn calm(&mut self) {
        self.record(Node::World, What::Calm);
    }

    /// From here on who asks gives a time limit; 0 for a try.
    pub(super) fn limit(&mut self, ms: u64) {
        self.limit_ms = Some(ms);
    }

    /// From here on readers and writers are granted in order of arrival.
    pub(super) fn in_turn(&mut self) {
        self.in_turn = true;
    }

    /// A client's machine sends a request that is committed: the holder's key is deleted by hand, or its lease revoked.
    pub(super) fn by_hand(&mut self, client: u32, holding: &Holding, act: OperatorAct) {
        self.deeds += 1;
        let (deed, call) = (self.deeds, 1_000 + self.deeds);
        let revokes = (act == OperatorAct::RevokeHolder).then_some(holding.lease);
        let what = Deed::Operator { holding: holding.clone(), act, revokes };
        self.record(Node::Client(client), What::Does { deed, what });
        let request = Arc::new(match revokes {
            Some(id) => Request::LeaseRevoke { id },
            None => Request::Delete(DeleteRange::key("any")),
        });
        self.record(Node::Client(client), What::Sent { call, member: 0, request: Arc::clone(&request) });
        self.revision += 1;
        let events = self.dead(|kv| kv.create_revision == holding.token);
        let what = What::Committed { revision: self.revision, call: Some(call), request, events };
        self.record(Node::Member(0), what);
        self.record(Node::Client(client), What::Did { deed, end: DeedEnd::Done });
    }

    /// Somebody puts a key by hand.
    pub(super) fn puts_by_hand(&mut self, key: &str) {
        self.revision += 1;
        let (create_revision, mod_revision) = (self.revision, self.revision);
        let kv =
            KeyValue { key: key.into(), create_revision, mod_revision, version: 1, ..KeyValue::default() };
        let event = Event { kind: EventKind::Put, kv, prev_kv: None };
        self.commit(Request::Put(Put::new(key, "")), vec![event]);
    }

    /// etcd commits the revocation of a lease that ran out, and with it the deletion of its keys.
    pub(super) fn runs_out(&mut self, lease: i64) {
        let request = Arc::new(Request::LeaseRevoke { id: lease });
        self.revision += 1;
        let dies = |kv: &KeyValue| kv.lease == lease;
        let events = self.dead(dies);
        self.record(
            Node::Member(0),
            What::Committed { revision: self.revision, call: None, request, events },
        );
    }

    pub(super) fn leads(&mut self, term: u64) {
        self.record(Node::Member(0), What::Leads { term });
    }

    pub(super) fn session(&mut self, client: u32, lease: i64, ttl_ms: u64) {
        self.record(Node::Client(client), What::SessionOpened { lease, ttl_ms });
    }

    /// A lease is granted to a client that has just asked for it.
    pub(super) fn granted_lease(&mut self, client: u32, id: i64, ttl_s: i64) {
        let grant = LeaseGrant { id, ttl_s };
        let response = Response::LeaseGrant { grant, header: Header::default() };
        self.answered(client, id.unsigned_abs(), Request::LeaseGrant { id: 0, ttl_s }, response);
    }

    /// A client's lease, renewed: once for each lease.
    pub(super) fn renewed_lease(&mut self, client: u32, id: i64, ttl_s: i64) {
        let response = Response::LeaseKeepAlive { header: Header::default(), ttl_s };
        self.answered(client, RENEWAL + id.unsigned_abs(), Request::LeaseKeepAlive { id }, response);
    }

    fn answered(&mut self, client: u32, call: u64, request: Request, response: Response) {
        let request = Arc::new(request);
        self.record(Node::Client(client), What::Sent { call, member: 0, request });
        self.record(Node::Client(client), What::Answered { call, outcome: Ok(Arc::new(response)) });
    }

    pub(super) fn crash(&mut self, client: u32) {
        self.record(Node::Client(client), What::Crashed);
    }

    fn commit(&mut self, request: Request, events: Vec<Event>) {
        let what =
            What::Committed { revision: self.revision, call: None, request: Arc::new(request), events };
        self.record(Node::Member(0), what);
    }

    /// A client asks, and its key gets in line.
    pub(super) fn queue(&mut self, client: u32, name: &str, lease: i64) -> Holding {
        self.queue_of(Kind::Mutex, client, name, lease)
    }

    pub(super) fn queue_of(&mut self, kind: Kind, client: u32, name: &str, lease: i64) -> Holding {
        self.tickets += 1;
        let (ticket, name): (u64, Arc<str>) = (self.tickets, name.into());
        let (limit_ms, in_turn) = (self.limit_ms, self.in_turn);
        let what = What::Asks {
            ticket,
            name: Arc::clone(&name),
            kind,
            lease,
            how: "lock",
            limit_ms,
            lane: 0,
            in_turn,
        };
        self.record(Node::Client(client), what);
        self.revision += 1;
        let side = match kind {
            Kind::Read => "/read".to_owned(),
            Kind::Write => "/write".to_owned(),
            Kind::Mutex | Kind::Leader => String::new(),
            Kind::Permit => format!("/sem/{PERMITS}"),
        };
        let key = format!("{name}{side}/{lease:x}").into_bytes();
        let kv = KeyValue {
            key: key.clone(),
            value: Vec::new(),
            create_revision: self.revision,
            mod_revision: self.revision,
            version: 1,
            lease,
        };
        self.live.push(kv.clone());
        let put = Request::Put(Put::new(key, "").lease(lease));
        self.commit(put, vec![Event { kind: EventKind::Put, kv, prev_kv: None }]);
        let holding = Holding { client, name, kind, token: self.revision, lease };
        self.open.push((ticket, holding.clone()));
        holding
    }

    /// What was queued is granted, beside others who believe.
    pub(super) fn granted(&mut self, holding: &Holding, believers: &[&Holding]) {
        let ticket = self.open.iter().find(|(_, open)| open == holding).map_or(0, |(ticket, _)| *ticket);
        let believers = believers.iter().map(|&believer| believer.clone()).collect();
        let what = What::Granted { ticket, holding: holding.clone(), believers, says: GuardSays::default() };
        self.record(Node::Client(holding.client), what);
    }

    /// What was queued is not granted.
    pub(super) fn refuse(&mut self, holding: &Holding, why: Failure) {
        let ticket = self.open.iter().find(|(_, open)| open == holding).map_or(0, |(ticket, _)| *ticket);
        self.record(Node::Client(holding.client), What::NotGranted { ticket, why });
    }

    /// Asks, queues and is granted: three steps.
    pub(super) fn grant(&mut self, client: u32, name: &str, lease: i64) -> Holding {
        self.grant_beside(client, name, lease, &[])
    }

    pub(super) fn grant_beside(
        &mut self,
        client: u32,
        name: &str,
        lease: i64,
        believers: &[&Holding],
    ) -> Holding {
        self.grant_of(Kind::Mutex, client, name, lease, believers)
    }

    pub(super) fn grant_of(
        &mut self,
        kind: Kind,
        client: u32,
        name: &str,
        lease: i64,
        believers: &[&Holding],
    ) -> Holding {
        let holding = self.queue_of(kind, client, name, lease);
        self.granted(&holding, believers);
        holding
    }

    /// The holder's key is deleted.
    pub(super) fn delete(&mut self, holding: &Holding) {
        self.delete_where(|kv| kv.create_revision == holding.token);
    }

    /// The lease's keys are deleted.
    pub(super) fn expire(&mut self, lease: i64) {
        self.delete_where(|kv| kv.lease == lease);
    }

    fn delete_where(&mut self, dies: impl Fn(&KeyValue) -> bool) {
        self.revision += 1;
        let events = self.dead(dies);
        self.commit(Request::Delete(DeleteRange::key("any")), events);
    }

    fn dead(&mut self, dies: impl Fn(&KeyValue) -> bool) -> Vec<Event> {
        let (dead, live) = std::mem::take(&mut self.live).into_iter().partition::<Vec<_>, _>(|kv| dies(kv));
        self.live = live;
        let events = dead.into_iter().map(|kv| Event {
            kind: EventKind::Delete,
            kv: KeyValue { key: kv.key, mod_revision: self.revision, ..KeyValue::default() },
            prev_kv: None,
        });
        events.collect()
    }

    pub(super) fn release(&mut self, holding: &Holding) {
        self.record(Node::Client(holding.client), What::Releases { holding: holding.clone(), awaited: true });
        self.delete(holding);
        self.released(holding);
    }

    /// The holder is told that it has released.
    pub(super) fn released(&mut self, holding: &Holding) {
        let what = What::Released { holding: holding.clone(), error: None };
        self.record(Node::Client(holding.client), what);
    }

    pub(super) fn releases_without_deleting(&mut self, holding: &Holding) {
        self.record(Node::Client(holding.client), What::Releases { holding: holding.clone(), awaited: true });
    }

    /// A write arrives at the resource.
    pub(super) fn write(&mut self, holding: &Holding, fenced: bool, accepted: bool) {
        let token = fenced.then_some(holding.token);
        let what = What::ResourceWrite { holding: holding.clone(), token, accepted };
        self.record(Node::Client(holding.client), what);
    }

    /// A guarded transaction comes back as committed.
    pub(super) fn txn(&mut self, holding: &Holding) {
        self.revision += 1;
        let end = DeedEnd::Committed { revision: self.revision };
        self.deed(holding.client, Deed::Txn { holding: holding.clone() }, end);
    }

    /// A client does something, and it ends so.
    pub(super) fn deed(&mut self, client: u32, what: Deed, end: DeedEnd) {
        self.deeds += 1;
        let deed = self.deeds;
        self.record(Node::Client(client), What::Does { deed, what });
        self.record(Node::Client(client), What::Did { deed, end });
    }

    /// Another process of the lease asks to go on with a leadership, and is told that it is not held.
    pub(super) fn resumes_in_vain(&mut self, holding: &Holding) {
        self.tickets += 1;
        let (ticket, node) = (self.tickets, Node::Client(holding.client));
        let what = What::Asks {
            ticket,
            name: Arc::clone(&holding.name),
            kind: Kind::Leader,
            lease: holding.lease,
            how: "resume",
            limit_ms: None,
            lane: 0,
            in_turn: false,
        };
        self.record(node, what);
        self.record(node, What::NotGranted { ticket, why: Failure::NotHeld });
    }

    /// A later process of the lease asks for what an earlier one held.
    pub(super) fn asks_again(&mut self, holding: &Holding) {
        self.tickets += 1;
        let what = What::Asks {
            ticket: self.tickets,
            name: Arc::clone(&holding.name),
            kind: holding.kind,
            lease: holding.lease,
            how: "lock, again",
            limit_ms: None,
            lane: 0,
            in_turn: false,
        };
        self.record(Node::Client(holding.client), what);
        self.open.insert(0, (self.tickets, holding.clone()));
    }

    /// Reads something of etcd.
    pub(super) fn asks_etcd(&mut self, client: u32) {
        let request = Arc::new(Request::Range(Range::key(b"k".as_slice())));
        self.record(Node::Client(client), What::Sent { call: 0, member: 0, request });
    }

    /// Asks a member for a watch.
    pub(super) fn asks_for_watch(&mut self, client: u32, watch: u64) {
        let request = Arc::new(WatchRequest::prefix(b"k".as_slice()));
        self.record(Node::Client(client), What::WatchSent { watch, member: 0, request });
    }

    /// A watch tells it something.
    pub(super) fn tells(&mut self, client: u32) {
        let told = What::WatchTold { watch: 0, kind: "events", revision: self.revision, events: Vec::new() };
        self.record(Node::Client(client), told);
    }

    /// An observer begins.
    pub(super) fn observes(&mut self, client: u32, name: &str, observer: u64) {
        self.record(Node::Client(client), What::Observes { name: name.into(), observer });
    }

    /// It sees a leader as it was elected, or nobody.
    pub(super) fn observed(&mut self, client: u32, name: &str, observer: u64, leader: Option<&Holding>) {
        let leader = leader.map(|holding| leader_of(holding.lease, (holding.token, holding.token), "1/0"));
        self.record(Node::Client(client), What::Observed { name: name.into(), observer, leader });
    }

    /// It sees a leader, by create and mod revision, say this.
    pub(super) fn observed_saying(
        &mut self,
        client: u32,
        name: &str,
        observer: u64,
        (created, modified): (i64, i64),
        value: &str,
    ) {
        let leader = Some(leader_of(0, (created, modified), value));
        self.record(Node::Client(client), What::Observed { name: name.into(), observer, leader });
    }

    /// A leader's value is written anew; gives the revision.
    pub(super) fn proclaim(&mut self, holding: &Holding) -> i64 {
        self.revision += 1;
        let kv = self.live.iter_mut().find(|kv| kv.create_revision == holding.token).expect("leads");
        kv.mod_revision = self.revision;
        kv.version += 1;
        let event = Event { kind: EventKind::Put, kv: kv.clone(), prev_kv: None };
        let put = Put::new(kv.key.clone(), "");
        self.commit(Request::Put(put), vec![event]);
        self.revision
    }
}

fn leader_of(lease: i64, (rev, mod_revision): (i64, i64), value: &str) -> SeenLeader {
    SeenLeader { key: Vec::new(), rev, mod_revision, value: value.as_bytes().to_vec(), lease }
}
