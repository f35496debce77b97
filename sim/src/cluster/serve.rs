//! How a member takes in a client's request, and what it does when a write is applied.

use std::sync::Arc;

use rand::Rng;
use tenure::kv::{Op, Request, Response, Txn};
use tenure::wire::Status;

use super::call::{Asker, is_write};
use super::core::Core;
use super::event::{Incoming, Local};
use super::member::Member;
use super::peer::{Payload, Proposal, WriteOutcome};
use super::reads::Confirm;
use super::wire::{invalid_token, no_leader, not_for_learners, timed_out};
use crate::history::What;
use crate::store::refuse::no_space;

impl Core {
    /// A request is at the member, which runs.
    pub(crate) fn serve(&mut self, incoming: &Incoming) {
        let (me, asker) = (incoming.member, self.call_arrived(incoming));
        let request = &incoming.request;
        if self.members[me].leader.is_none() {
            return self.answer(me, asker, Err(no_leader()));
        }
        if self.members[me].is_learner() && !learner_serves(request) {
            return self.answer(me, asker, Err(not_for_learners()));
        }
        if let Err(status) = self.members[me].store.check(request) {
            return self.answer(me, asker, Err(status));
        }
        if self.clients[asker.client].tokens_expired > 0 && needs_token(request) {
            return self.answer(me, asker, Err(invalid_token()));
        }
        if let Some(refused) = self.exceeds_quota(me, request) {
            return self.answer(me, asker, Err(refused));
        }
        match &**request {
            Request::Range(range) if range.serializable => self.read(me, asker, request),
            Request::Txn(txn) if !is_write(request) && is_serializable(txn) => self.read(me, asker, request),
            Request::Status => self.answer_status(me, asker),
            Request::LeaseLeases => self.read(me, asker, request),
            Request::LeaseKeepAlive { id } => self.ask_lease(me, asker, *id, true, false),
            Request::LeaseTimeToLive { id, keys } => self.ask_lease(me, asker, *id, false, *keys),
            Request::LeaseGrant { id: 0, ttl_s } => {
                let id = ((self.draws.leases(asker.client).next_u64() >> 1) as i64).max(1);
                self.propose_write(me, asker, Arc::new(Request::LeaseGrant { id, ttl_s: *ttl_s }));
            }
            other if is_write(other) => self.propose_write(me, asker, Arc::clone(request)),
            _ => self.await_confirmation(me, Confirm::Read(asker, Arc::clone(request))),
        }
    }

    fn propose_write(&mut self, me: usize, asker: Asker, request: Arc<Request>) {
        let id = self.fresh_id();
        self.members[me].proposals.insert(id, asker);
        self.await_timeout(me, id);
        self.propose(me, Proposal { id, call: Some(asker.call), request, overflows: false });
    }

    /// Notes that what has this number must not wait longer than etcd lets it.
    pub(crate) fn await_timeout(&mut self, me: usize, id: u64) {
        let timeout_ns = self.request_timeout_ns();
        let at_ns = self.now_ns + timeout_ns;
        let timeouts = &mut self.members[me].timeouts;
        timeouts.push_back((at_ns, id));
        if timeouts.len() == 1 {
            self.schedule_local(timeout_ns, me, Local::RequestTimeouts);
        }
    }

    pub(crate) fn time_requests_out(&mut self, me: usize) {
        while let Some(&(at_ns, id)) = self.members[me].timeouts.front() {
            let member = &mut self.members[me];
            let open = member.proposals.contains_key(&id) || member.forwards.contains_key(&id);
            if open && at_ns > self.now_ns {
                return self.schedule_local(at_ns - self.now_ns, me, Local::RequestTimeouts);
            }
            member.timeouts.pop_front();
            if let Some(asker) = member.proposals.remove(&id) {
                self.answer(me, asker, Err(timed_out()));
            }
            self.time_forward_out(me, id);
        }
    }

    fn answer_status(&mut self, me: usize, asker: Asker) {
        let member = &self.members[me];
        let response = Response::Status {
            header: member.header(),
            version: self.config.version.to_string(),
            leader: member.leader.map_or(0, |leader| self.members[leader].id()),
        };
        self.answer(me, asker, Ok(Arc::new(response)));
    }

    /// Answers with what the store said, in this member's name.
    pub(crate) fn answer_stamped(&mut self, me: usize, asker: Asker, said: Result<Response, Status>) {
        let mine = self.members[me].header();
        let outcome = said.map(|mut response| {
            let header = response.header_mut();
            *header = tenure::kv::Header { revision: header.revision, ..mine };
            Arc::new(response)
        });
        self.answer(me, asker, outcome);
    }

    /// A committed write comes to this member's store. `place` is its entry's among the committed; `first`: no member has
    /// applied it yet.
    pub(crate) fn apply_write(&mut self, me: usize, place: usize, proposal: &Proposal, first: bool) {
        if self.committed[place].outcome.is_some() {
            return self.follow_write(me, place, proposal);
        }
        let local_ns = self.members[me].clock.local_ns(self.now_ns);
        let member = &mut self.members[me];
        let before = member.store.revision();
        let mut applied = member.store.apply(&proposal.request);
        if proposal.overflows && applied.result.is_ok() {
            applied.result = Err(no_space());
        }
        let written = member.store.written().filter(|_| member.store.revision() > before);
        let told = member.hub.on_applied(&member.store, &applied.events);
        if let Ok(Response::LeaseGrant { grant, .. }) = &applied.result {
            member.lessor.granted(grant.id, grant.ttl_s, local_ns);
            if member.promoted {
                self.arm_scan(me);
            }
        }
        if let Request::LeaseRevoke { id } = *proposal.request {
            self.members[me].lessor.revoked(id);
            self.release_blocked(me, id);
        }
        if first && self.config.clients_outside {
            let written = applied.events.iter().map(crate::store::stored_bytes).sum();
            self.note_space(me, &proposal.request, written);
        }
        if first {
            let what = What::Committed {
                revision: self.members[me].store.revision(),
                call: proposal.call,
                request: Arc::clone(&proposal.request),
                events: applied.events,
            };
            self.record_member(me, what);
        }
        self.tell_watches(me, told);
        let asker = self.members[me].proposals.remove(&proposal.id);
        if matches!(*proposal.request, Request::Put(_) | Request::Delete(_) | Request::Txn(_)) {
            let (mine, kept) =
                if asker.is_some() { (Some(applied.result), None) } else { (None, Some(applied.result)) };
            self.committed[place].outcome = Some(WriteOutcome { written, result: kept });
            return self.answer_asker(me, asker, mine);
        }
        self.answer_asker(me, asker, Some(applied.result));
    }

    /// The same when another member has applied it: the states are the same, and so is what comes of it.
    fn follow_write(&mut self, me: usize, place: usize, proposal: &Proposal) {
        let Some(outcome) = &mut self.committed[place].outcome else { return };
        let member = &mut self.members[me];
        let asker = member.proposals.remove(&proposal.id);
        let result = if asker.is_some() { outcome.result.take() } else { None };
        if let Some(written) = &outcome.written {
            member.store.follow(written);
            let told = member.hub.on_followed(&member.store, written);
            self.tell_watches(me, told);
        }
        self.answer_asker(me, asker, result);
    }

    fn answer_asker(&mut self, me: usize, asker: Option<Asker>, result: Option<Result<Response, Status>>) {
        if let (Some(asker), Some(result)) = (asker, result) {
            self.answer_stamped(me, asker, result);
        }
    }

    /// A leader brings the NOSPACE alarm to what faults and the quota want it to be.
    pub(crate) fn agree_on_alarm(&mut self, me: usize) {
        let wanted = self.faults.no_space() || self.space.alarm;
        if self.members[me].store.no_space() != wanted {
            self.append(me, Payload::NoSpace(wanted));
        }
    }

    /// A member knows a leader again, or another.
    pub(crate) fn leader_appeared(&mut self, me: usize) {
        self.members[me].listens |= !self.members[me].joining;
        self.fail_round(me);
        self.forward_again(me);
    }
}

/// What of its clients a learner serves (`isRPCSupportedForLearner` in etcd's `api/v3rpc/util.go`).
fn learner_serves(request: &Request) -> bool {
    match request {
        Request::Status => true,
        Request::Range(range) => range.serializable,
        _ => false,
    }
}

/// What etcd asks a token for: reads, and whatever goes through raft (`AuthInfoFromCtx` in `v3_server.go`). Not renewals.
fn needs_token(request: &Request) -> bool {
    matches!(request, Request::Range(_)) || is_write(request) || matches!(request, Request::Txn(_))
}

impl Member {
    /// Whether it knows itself for one that only takes over the log.
    pub(crate) fn is_learner(&self) -> bool {
        self.peers.learns(self.index)
    }
}

fn is_serializable(txn: &Txn) -> bool {
    txn.success.iter().chain(&txn.failure).all(|op| match op {
        Op::Range(range) => range.serializable,
        Op::Txn(inner) => is_serializable(inner),
        Op::Put(_) | Op::Delete(_) => false,
    })
}
