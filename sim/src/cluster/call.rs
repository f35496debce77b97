//! Unary calls on their way: from client to member and back, over links that lose, hold, delay and double.

use std::sync::Arc;
use std::task::{Poll, Waker};

use rand::RngExt;
use tenure::kv::{Op, Request};

use super::core::{Core, Held, MS};
use super::event::{Event, Incoming};
use super::links::{Passage, happens};
use super::wire::{Outcome, unavailable};
use crate::history::What;
use crate::node::Node;

/// A call whose client still waits.
pub(crate) struct Call {
    client: usize,
    member: usize,
    request: Arc<Request>,
    /// The member has taken the request in: if it crashes the connection is reset.
    arrived: bool,
    outcome: Option<Arc<Outcome>>,
    waker: Option<Waker>,
}

/// Where an answer goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub(crate) call: u64,
    pub(crate) client: usize,
    /// Nobody waits for the answer to the network's double.
    pub(crate) double: bool,
}

/// To a client outside: its connection breaks in place of the answer.
pub(crate) const ANSWER_LOST: &str = "the answer was lost";

/// After a heal TCP takes up to this long to send again.
const RETRANSMIT_MAX_MS: u64 = 400;

impl Core {
    /// A client sends a request. `None` if the process is dead: then nothing is sent.
    pub(crate) fn send_request(
        &mut self,
        client: usize,
        life: u32,
        member: usize,
        request: Request,
    ) -> Option<u64> {
        if !self.is_alive(client, life) {
            return None;
        }
        let call = self.fresh_id();
        let request = Arc::new(request);
        let sent = What::Sent { call, member: member as u32, request: Arc::clone(&request) };
        self.record(Node::Client(client as u32), sent);
        let waiting = Call {
            client,
            member,
            request: Arc::clone(&request),
            arrived: false,
            outcome: None,
            waker: None,
        };
        self.calls.insert(call, waiting);
        let incoming = Arc::new(Incoming { call, double: false, client, member, request });
        if !self.members[member].listens && self.reaches_both_ways(client, member) {
            self.refuse_call(&incoming, "connection refused", false);
        } else {
            self.carry_request(incoming);
        }
        Some(call)
    }

    fn carry_request(&mut self, incoming: Arc<Incoming>) {
        let (from, to) = (self.client_node(incoming.client), incoming.member);
        match self.links.pass(from, to, self.config.client_delay_us, self.draws.link(self.now_ns, from, to)) {
            Passage::Arrives(delay_ns) => {
                let repeatable = is_repeatable(&incoming.request);
                if let Some(later_ns) =
                    self.links.doubles(from, to, repeatable, self.draws.link(self.now_ns, from, to))
                {
                    self.record_network(&incoming, "request doubled");
                    let double =
                        Incoming { double: true, request: Arc::clone(&incoming.request), ..*incoming };
                    self.schedule(delay_ns + later_ns, Event::Request(Arc::new(double)));
                }
                self.schedule(delay_ns, Event::Request(incoming));
            }
            Passage::Cut if self.draws.link(self.now_ns, from, to).random_bool(0.5) => {
                self.held.push(Held { from, to, event: Event::Request(incoming) });
            }
            Passage::Cut | Passage::Lost => self.record_network(&incoming, "request lost"),
        }
    }

    fn record_network(&self, incoming: &Incoming, did: &'static str) {
        self.record(Node::Client(incoming.client as u32), What::Network { call: incoming.call, did });
    }

    fn reaches_both_ways(&self, client: usize, member: usize) -> bool {
        let node = self.client_node(client);
        self.links.is_open(node, member) && self.links.is_open(member, node)
    }

    /// The transport fails a call.
    fn refuse_call(&mut self, incoming: &Incoming, why: &str, sent: bool) {
        let asker = Asker { call: incoming.call, client: incoming.client, double: incoming.double };
        self.carry_answer(incoming.member, asker, Err(unavailable(why, sent)));
    }

    /// A request came to a member that has crashed: the host resets the connection.
    pub(crate) fn reset_call(&mut self, incoming: &Incoming) {
        self.refuse_call(incoming, "connection reset by peer", true);
    }

    /// The member takes a request in.
    pub(crate) fn call_arrived(&mut self, incoming: &Incoming) -> Asker {
        if let (Some(call), false) = (self.calls.get_mut(&incoming.call), incoming.double) {
            call.arrived = true;
        }
        Asker { call: incoming.call, client: incoming.client, double: incoming.double }
    }

    /// A member crashed: whoever waits for its answers is told by the transport.
    pub(crate) fn reset_calls(&mut self, member: usize) {
        let waiting: Vec<Asker> = self
            .calls
            .iter()
            .filter(|(_, call)| call.member == member && call.arrived && call.outcome.is_none())
            .map(|(&id, call)| Asker { call: id, client: call.client, double: false })
            .collect();
        for asker in waiting {
            self.carry_answer(member, asker, Err(unavailable("connection reset by peer", true)));
        }
    }

    /// A member answers.
    pub(crate) fn answer(&mut self, member: usize, asker: Asker, outcome: Outcome) {
        let Some(call) = self.calls.get(&asker.call) else { return };
        let lossy = self.clients[asker.client].answer_lost_per_mille;
        if lossy > 0
            && !asker.double
            && outcome.is_ok()
            && is_write(&call.request)
            && happens(self.draws.link(self.now_ns, member, self.members.len() + asker.client), lossy)
        {
            let lost = What::Network { call: asker.call, did: "answer lost" };
            self.record(Node::Client(asker.client as u32), lost);
            if self.config.clients_outside {
                self.carry_answer(member, asker, Err(unavailable(ANSWER_LOST, true)));
            }
            return;
        }
        self.carry_answer(member, asker, outcome);
    }

    fn carry_answer(&mut self, member: usize, asker: Asker, outcome: Outcome) {
        let Some(call) = self.calls.get(&asker.call) else { return };
        if asker.double && is_write(&call.request) {
            return;
        }
        let (from, to) = (member, self.client_node(asker.client));
        let event = Event::Answer { call: asker.call, outcome: Arc::new(outcome), double: asker.double };
        match self.links.pass(from, to, self.config.client_delay_us, self.draws.link(self.now_ns, from, to)) {
            Passage::Arrives(delay_ns) => self.schedule(delay_ns, event),
            Passage::Cut if self.draws.link(self.now_ns, from, to).random_bool(0.5) => {
                self.held.push(Held { from, to, event })
            }
            Passage::Cut | Passage::Lost => {
                let lost = What::Network { call: asker.call, did: "answer lost" };
                self.record(Node::Client(asker.client as u32), lost);
            }
        }
    }

    /// The answer reaches the client's process, which may be standing still.
    pub(crate) fn deliver_answer(&mut self, id: u64, outcome: Arc<Outcome>, double: bool) {
        if let Some(call) = self.calls.get_mut(&id)
            && call.outcome.is_none()
        {
            call.outcome = Some(outcome);
            let (client, waker) = (call.client, call.waker.take());
            if double {
                let did = "answered by the double";
                self.record(Node::Client(client as u32), What::Network { call: id, did });
            }
            if let Some(waker) = waker {
                self.wake(waker);
            }
        }
    }

    /// The client looks for its answer.
    pub(crate) fn poll_call(&mut self, id: u64, waker: &Waker) -> Poll<Outcome> {
        let Some(call) = self.calls.get_mut(&id) else { return Poll::Pending };
        let Some(outcome) = call.outcome.take() else {
            match &mut call.waker {
                Some(known) => known.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
            return Poll::Pending;
        };
        let node = Node::Client(call.client as u32);
        self.calls.remove(&id);
        let outcome = Arc::unwrap_or_clone(outcome);
        self.record(node, What::Answered { call: id, outcome: outcome.clone() });
        Poll::Ready(outcome)
    }

    /// The client waits no longer.
    pub(crate) fn give_up_call(&mut self, id: u64) {
        if let Some(call) = self.calls.remove(&id) {
            self.record(Node::Client(call.client as u32), What::GaveUp { call: id });
        }
    }

    /// A client's process is gone, and its connections with it.
    pub(crate) fn drop_connections(&mut self, client: usize) {
        self.calls.retain(|_, call| call.client != client);
        let watches: Vec<u64> =
            self.watches.iter().filter(|(_, watch)| watch.client == client).map(|(&id, _)| id).collect();
        for watch in watches {
            self.forget_watch(watch);
        }
    }

    /// Links healed: what TCP still holds is sent again.
    pub(crate) fn release_held(&mut self) {
        for held in std::mem::take(&mut self.held) {
            if self.links.is_open(held.from, held.to) {
                let delay_ns =
                    self.draws.link(self.now_ns, held.from, held.to).random_range(0..=RETRANSMIT_MAX_MS * MS);
                self.schedule(delay_ns, held.event);
            } else {
                self.held.push(held);
            }
        }
    }
}

/// Whether a request changes the store, if it is carried out.
pub(crate) fn is_write(request: &Request) -> bool {
    match request {
        Request::Put(_)
        | Request::Delete(_)
        | Request::Compact { .. }
        | Request::LeaseGrant { .. }
        | Request::LeaseRevoke { .. } => true,
        Request::Txn(txn) => writes(txn),
        Request::Range(_)
        | Request::LeaseKeepAlive { .. }
        | Request::LeaseTimeToLive { .. }
        | Request::LeaseLeases
        | Request::Status => false,
    }
}

/// Whether a request is as good twice, however late: it changes nothing, or only ends what it names.
fn is_repeatable(request: &Request) -> bool {
    match request {
        Request::Txn(txn) => {
            !is_write(request)
                || !txn.compares.is_empty()
                    && txn.failure.iter().all(|op| matches!(op, Op::Range(_)))
                    && txn.success.iter().all(|op| matches!(op, Op::Range(_) | Op::Delete(_)))
        }
        Request::LeaseRevoke { .. } => true,
        other => !is_write(other),
    }
}

fn writes(txn: &tenure::kv::Txn) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match op {
        tenure::kv::Op::Range(_) => false,
        tenure::kv::Op::Put(_) | tenure::kv::Op::Delete(_) => true,
        tenure::kv::Op::Txn(inner) => writes(inner),
    })
}
