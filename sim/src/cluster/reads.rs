//! Linearizable reads, by Raft's read index: before a member reads, the leader asks a majority whether it still leads
//! (`linearizableReadLoop` in etcd's `v3_server.go`). Lease renewals and revocations of newer releases wait for the
//! same confirmation.

use std::sync::Arc;

use tenure::kv::Request;
use tenure::wire::Status;

use super::call::Asker;
use super::config::Planted;
use super::core::{Core, MS};
use super::event::Local;
use super::leases::{AskedBy, LeaseAsk};
use super::peer::PeerMessage;
use super::wire::{leader_changed, timed_out};

/// Something that waits until leadership is confirmed.
pub(crate) enum Confirm {
    /// A client's read.
    Read(Asker, Arc<Request>),
    /// A renewal, or the question how long a lease lives.
    Lease(LeaseAsk),
    /// The revocations of a scan.
    Revoke(Vec<i64>),
}

/// A member's reads.
#[derive(Default)]
pub(crate) struct Reads {
    /// They go into the next round.
    waiting: Vec<Confirm>,
    round: Option<Round>,
    /// Confirmed, but this member has not applied so far yet.
    applying: Vec<(usize, Vec<Confirm>)>,
    retry_armed: bool,
}

impl Reads {
    /// Takes out the clients' renewals that wait for a confirmation. Gives who asked.
    pub(crate) fn take_renewals(&mut self) -> Vec<Asker> {
        let mut askers = Vec::new();
        let in_round = self.round.as_mut().map(|round| &mut round.items);
        for items in in_round.into_iter().chain([&mut self.waiting]) {
            items.retain(|item| {
                let asker = match item {
                    Confirm::Lease(LeaseAsk { from: AskedBy::Client(asker), .. }) => Some(*asker),
                    _ => None,
                };
                askers.extend(asker);
                asker.is_none()
            });
        }
        askers
    }
}

struct Round {
    id: u64,
    began_ns: u64,
    items: Vec<Confirm>,
}

/// A leader's round of asking whether it still leads.
pub(crate) struct Confirmation {
    index: usize,
    acks: u32,
    requester: Requester,
}

/// For whom a leader asks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Requester {
    /// Its own round of reads.
    Own(u64),
    /// A follower's.
    Follower(usize, u64),
}

/// etcd asks again after this long (`readIndexRetryTime`).
const RETRY_MS: u64 = 500;

impl Core {
    /// How long a member lets a request wait (`ReqTimeout` in etcd's `config.go`).
    pub(crate) fn request_timeout_ns(&self) -> u64 {
        5_000 * MS + 2 * self.election_timeout_ns()
    }

    /// Lets something wait for a confirmation of leadership.
    pub(crate) fn await_confirmation(&mut self, me: usize, item: Confirm) {
        if let (Confirm::Read(asker, request), Some(Planted::StaleReads)) = (&item, self.config.planted) {
            return self.read(me, *asker, request);
        }
        self.members[me].reads.waiting.push(item);
        self.begin_round(me);
    }

    fn begin_round(&mut self, me: usize) {
        let reads = &mut self.members[me].reads;
        if reads.round.is_some() || reads.waiting.is_empty() {
            return;
        }
        let items = std::mem::take(&mut reads.waiting);
        let round = Round { id: self.fresh_id(), began_ns: self.now_ns, items };
        let id = round.id;
        self.members[me].reads.round = Some(round);
        self.ask_read_index(me, id);
        self.arm_read_retry(me);
    }

    fn ask_read_index(&mut self, me: usize, round: u64) {
        match self.members[me].leader {
            Some(leader) if leader == me => self.confirm(me, Requester::Own(round)),
            Some(leader) => {
                self.send_peer(me, leader, PeerMessage::AskReadIndex { round });
            }
            None => {}
        }
    }

    fn arm_read_retry(&mut self, me: usize) {
        let (now_ns, timeout_ns) = (self.now_ns, self.request_timeout_ns());
        let reads = &mut self.members[me].reads;
        let Some(round) = &reads.round else { return };
        let wait_ns = (RETRY_MS * MS).min((round.began_ns + timeout_ns).saturating_sub(now_ns));
        if !std::mem::replace(&mut reads.retry_armed, true) {
            self.schedule_local(wait_ns, me, Local::ReadRetry);
        }
    }

    pub(crate) fn retry_reads(&mut self, me: usize) {
        let (now_ns, timeout_ns) = (self.now_ns, self.request_timeout_ns());
        let reads = &mut self.members[me].reads;
        reads.retry_armed = false;
        let Some(round) = &reads.round else { return };
        if now_ns - round.began_ns >= timeout_ns {
            if let Some(round) = reads.round.take() {
                for item in round.items {
                    self.not_confirmed(me, item, &timed_out());
                }
            }
            self.begin_round(me);
        } else if now_ns - round.began_ns >= RETRY_MS * MS {
            let id = round.id;
            self.ask_read_index(me, id);
        }
        if self.members[me].reads.round.is_some() {
            self.arm_read_retry(me);
        }
    }

    /// A leader asks a majority whether it still leads.
    fn confirm(&mut self, me: usize, requester: Requester) {
        if !self.members[me].promoted {
            return self.members[me].unconfirmed.push(requester);
        }
        let index = self.members[me].commit;
        if self.members[me].peers.is_alone(me) {
            return self.confirmed(me, requester, index);
        }
        let id = self.fresh_id();
        let term = self.members[me].term;
        self.members[me].confirmations.insert(id, Confirmation { index, acks: 1 << me, requester });
        self.broadcast(me, &PeerMessage::Probe { term, confirmation: id });
    }

    /// A leader has committed something in its term: now it may confirm.
    pub(crate) fn confirm_postponed(&mut self, me: usize) {
        for requester in std::mem::take(&mut self.members[me].unconfirmed) {
            self.confirm(me, requester);
        }
    }

    pub(crate) fn hear_of_reads(&mut self, me: usize, from: usize, message: PeerMessage) {
        match message {
            PeerMessage::Probe { term, confirmation } if self.heed_leader(me, from, term) => {
                self.send_peer(me, from, PeerMessage::ProbeAck { term, confirmation });
            }
            PeerMessage::ProbeAck { term, confirmation } => self.probe_acked(me, from, term, confirmation),
            PeerMessage::AskReadIndex { round } if self.members[me].leads() => {
                self.confirm(me, Requester::Follower(from, round));
            }
            PeerMessage::ReadIndex { round, index } => self.round_confirmed(me, round, index),
            _ => {}
        }
    }

    fn probe_acked(&mut self, me: usize, from: usize, term: u64, id: u64) {
        let member = &mut self.members[me];
        if term != member.term || !member.leads() {
            return;
        }
        let Some(confirmation) = member.confirmations.get_mut(&id) else { return };
        confirmation.acks |= 1 << from;
        if !member.peers.agree(confirmation.acks) {
            return;
        }
        // Whoever asked earlier is confirmed with it, as Raft's read-only queue has it.
        let later = member.confirmations.split_off(&(id + 1));
        for done in std::mem::replace(&mut member.confirmations, later).into_values() {
            self.confirmed(me, done.requester, done.index);
        }
    }

    fn confirmed(&mut self, me: usize, requester: Requester, index: usize) {
        match requester {
            Requester::Own(round) => self.round_confirmed(me, round, index),
            Requester::Follower(follower, round) => {
                self.send_peer(me, follower, PeerMessage::ReadIndex { round, index });
            }
        }
    }

    fn round_confirmed(&mut self, me: usize, id: u64, index: usize) {
        let reads = &mut self.members[me].reads;
        if reads.round.as_ref().is_none_or(|round| round.id != id) {
            return;
        }
        if let Some(round) = reads.round.take() {
            reads.applying.push((index, round.items));
            self.serve_applied_reads(me);
        }
        self.begin_round(me);
    }

    /// Serves the confirmed reads for which this member has applied enough.
    pub(crate) fn serve_applied_reads(&mut self, me: usize) {
        while let Some(place) =
            self.members[me].reads.applying.iter().position(|(index, _)| *index <= self.members[me].applied)
        {
            let (_, items) = self.members[me].reads.applying.remove(place);
            for item in items {
                match item {
                    Confirm::Read(asker, request) => self.read(me, asker, &request),
                    Confirm::Lease(ask) => self.ask_lessor(me, ask),
                    Confirm::Revoke(leases) => {
                        if self.members[me].leads() {
                            self.propose_revocations(me, leases);
                        }
                    }
                }
            }
        }
    }

    /// A new leader is known here: whoever waits for the old one's word is told.
    pub(crate) fn fail_round(&mut self, me: usize) {
        if let Some(round) = self.members[me].reads.round.take() {
            for item in round.items {
                self.not_confirmed(me, item, &leader_changed());
            }
        }
        self.begin_round(me);
    }

    /// What waited for this member's leadership cannot have it.
    fn not_confirmed(&mut self, me: usize, item: Confirm, why: &Status) {
        match item {
            Confirm::Read(asker, _) => self.answer(me, asker, Err(why.clone())),
            Confirm::Lease(ask) => self.leadership_unsure(me, ask),
            Confirm::Revoke(_) => {}
        }
    }

    /// Reads from this member's store as it is.
    pub(crate) fn read(&mut self, me: usize, asker: Asker, request: &Request) {
        let read = self.members[me].store.read(request);
        self.answer_stamped(me, asker, read);
    }
}
