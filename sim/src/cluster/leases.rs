//! Leases on a leader: renewals in its memory, expired ones found by a scan and revoked by a proposal; on a follower,
//! renewals forwarded (`LeaseRenew` and `revokeExpiredLeases` in etcd's server, `lease/lessor.go`).

use std::sync::Arc;

use rand::RngExt;
use tenure::kv::{Request, Response};

use super::call::Asker;
use super::config::Planted;
use super::core::{Core, MS};
use super::event::Local;
use super::peer::{LeaseSaid, PeerMessage, Proposal};
use super::reads::Confirm;
use super::wire::{leader_changed, no_leader, timed_out};
use crate::history::What;
use crate::store::{LeadershipCheck, Renewal};

/// A question about a lease on its way to the leader's lessor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeaseAsk {
    pub(crate) from: AskedBy,
    pub(crate) lease: i64,
    /// Renew it, or only say how long it lives.
    pub(crate) renew: bool,
}

/// Who asks the lessor.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AskedBy {
    /// A client of this member.
    Client(Asker),
    /// Another member, with its number for it.
    Member(usize, u64),
}

/// A question that a follower has forwarded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Forward {
    asker: Asker,
    /// The member that was asked, in which of its starts: a connection to it that lives is waited for.
    asked: Option<(usize, u32)>,
    lease: i64,
    renew: bool,
    keys: bool,
}

/// The lessor's loop goes round this often.
const SCAN_NS: u64 = 500 * MS;
/// It revokes at most this many leases a round.
const SCAN_LIMIT: usize = 500;
/// A member that has not ticked for so many heartbeats is stalled (`isActive`).
const MISSED_TICKS: u64 = 3;
/// A follower asks again after this long if who it asked does not lead.
const ASK_AGAIN_NS: u64 = 50 * MS;
/// The goroutines of a scan get to their proposals within this time.
const REVOKE_WITHIN_NS: u64 = 2 * MS;

impl Core {
    fn lease_clock_ns(&self, me: usize) -> u64 {
        self.members[me].clock.local_ns(self.now_ns)
    }

    /// A leader has applied its term's first entry: its lessor takes over, and gives every lease time anew.
    pub(crate) fn promote(&mut self, me: usize) {
        let extend_ns = self.election_timeout_ns();
        let local_ns = self.lease_clock_ns(me);
        let member = &mut self.members[me];
        member.promoted = true;
        // One that leads before it knew all that was committed has made itself known by that.
        member.listens |= std::mem::take(&mut member.joining);
        member.lessor.promote(&member.store, local_ns, extend_ns);
        self.arm_scan(me);
        self.confirm_postponed(me);
        self.agree_on_alarm(me);
    }

    /// A member leads no longer.
    pub(crate) fn demote(&mut self, me: usize) {
        let member = &mut self.members[me];
        member.promoted = false;
        member.lessor.demote();
        member.scan.disarm();
        member.confirmations.clear();
        member.unconfirmed.clear();
        for ask in std::mem::take(&mut member.blocked).into_values().flatten() {
            self.not_primary(me, ask);
        }
    }

    /// Whether a member that takes itself for the leader asks a majority before it renews or revokes.
    fn doubts_leadership(&self, me: usize) -> bool {
        match self.config.version.leadership_check() {
            LeadershipCheck::Never => false,
            LeadershipCheck::Always => true,
            LeadershipCheck::WhenStalled => self.now_ns < self.members[me].ticks_again_ns,
        }
    }

    /// Sets the next scan to when a lease may be due; none while there is none.
    pub(crate) fn arm_scan(&mut self, me: usize) {
        let member = &mut self.members[me];
        member.scan.disarm();
        let Some(due_local_ns) = member.lessor.next_expiry_ns() else { return };
        let due_ns = member.clock.true_ns(due_local_ns).max(self.now_ns + 1);
        let phase_ns = member.scan_phase_ns;
        let rounds = due_ns.saturating_sub(phase_ns).div_ceil(SCAN_NS);
        let generation = member.scan.arm();
        let wait_ns = rounds * SCAN_NS + phase_ns - self.now_ns;
        self.schedule_local(wait_ns, me, Local::Scan { generation });
    }

    pub(crate) fn scan_leases(&mut self, me: usize, generation: u32) {
        let local_ns = self.lease_clock_ns(me);
        let member = &mut self.members[me];
        if !member.scan.rings(generation) || !member.promoted {
            return;
        }
        let expired = member.lessor.expired(local_ns, SCAN_LIMIT);
        for &lease in &expired {
            self.record_member(me, What::LeaseExpired { lease });
        }
        self.arm_scan(me);
        if expired.is_empty() {
            return;
        }
        if self.doubts_leadership(me) {
            self.await_confirmation(me, Confirm::Revoke(expired));
        } else {
            self.propose_revocations(me, expired);
        }
    }

    /// A member goes on: if it has missed so many ticks that it knows, it counts as stalled until the next, which has been
    /// waiting and comes in no certain order with the rest.
    pub(crate) fn stalled(&mut self, me: usize) {
        if self.now_ns - self.members[me].paused_at_ns >= MISSED_TICKS * self.config.heartbeat_ms * MS {
            self.members[me].ticks_again_ns =
                self.now_ns + self.draws.member(self.now_ns, me).random_range(0..=MS);
        }
    }

    /// The scan's goroutines set out to propose. Who leads when they come to it is another question.
    pub(crate) fn propose_revocations(&mut self, me: usize, leases: Vec<i64>) {
        for lease in leases {
            let wait_ns = self.draws.member(self.now_ns, me).random_range(0..=REVOKE_WITHIN_NS);
            self.schedule_local(wait_ns, me, Local::Revoke { lease });
        }
    }

    pub(crate) fn propose_revocation(&mut self, me: usize, lease: i64) {
        if self.config.planted == Some(Planted::LeasesNeverExpire) {
            return;
        }
        let id = self.fresh_id();
        let request = Arc::new(Request::LeaseRevoke { id: lease });
        self.propose(me, Proposal { id, call: None, request, overflows: false });
    }

    /// A client asks this member about a lease.
    pub(crate) fn ask_lease(&mut self, me: usize, asker: Asker, lease: i64, renew: bool, keys: bool) {
        if self.members[me].leads() && !keys {
            let ask = LeaseAsk { from: AskedBy::Client(asker), lease, renew };
            return if renew && self.doubts_leadership(me) {
                self.await_confirmation(me, Confirm::Lease(ask));
            } else {
                self.ask_lessor(me, ask);
            };
        }
        self.forward_ask(me, Forward { asker, asked: None, lease, renew, keys });
    }

    /// Sends a question on to whom this member takes for the leader, which answers from its lessor without a look at its
    /// leadership (`leasehttp` in etcd's server).
    fn forward_ask(&mut self, me: usize, asked: Forward) {
        let forward = self.fresh_id();
        self.members[me].forwards.insert(forward, asked);
        self.await_timeout(me, forward);
        self.send_forward(me, forward);
    }

    /// The question comes to the lessor of a member that believes it leads.
    pub(crate) fn ask_lessor(&mut self, me: usize, ask: LeaseAsk) {
        let local_ns = self.lease_clock_ns(me);
        let member = &mut self.members[me];
        if !member.promoted {
            return self.not_primary(me, ask);
        }
        let said = if ask.renew {
            match member.lessor.renew(ask.lease, local_ns) {
                Renewal::Renewed { ttl_s } => LeaseSaid::Lives { ttl_s },
                Renewal::Missing => LeaseSaid::Missing,
                Renewal::ExpiredPending => return member.blocked.entry(ask.lease).or_default().push(ask),
            }
        } else {
            match member.lessor.remaining_ns(ask.lease, local_ns) {
                Some(left_ns) => LeaseSaid::Lives { ttl_s: (left_ns / (1_000 * MS)).cast_signed() },
                None => LeaseSaid::Missing,
            }
        };
        if ask.renew {
            self.keep_scan_early(me);
        }
        self.tell_of_lease(me, ask, said);
    }

    /// A renewal only moves deadlines back; the scan that is set may come for nothing, and then sets the next. Only if
    /// none is set must one be.
    fn keep_scan_early(&mut self, me: usize) {
        if !self.members[me].scan.armed {
            self.arm_scan(me);
        }
    }

    fn tell_of_lease(&mut self, me: usize, ask: LeaseAsk, said: LeaseSaid) {
        match ask.from {
            AskedBy::Client(asker) => self.answer_of_lease(me, asker, ask.lease, ask.renew, false, said),
            AskedBy::Member(member, forward) if member == me => self.hear_of_lease(me, forward, said),
            AskedBy::Member(member, forward) => {
                self.send_peer(me, member, PeerMessage::Lease { forward, said });
            }
        }
    }

    /// This member's lessor is not the leader's: it tries as one that follows does.
    fn not_primary(&mut self, me: usize, ask: LeaseAsk) {
        match ask.from {
            AskedBy::Client(asker) => {
                let LeaseAsk { lease, renew, .. } = ask;
                self.forward_ask(me, Forward { asker, asked: None, lease, renew, keys: false });
            }
            AskedBy::Member(..) => self.tell_of_lease(me, ask, LeaseSaid::NotPrimary),
        }
    }

    /// This member's leadership could not be confirmed.
    pub(crate) fn leadership_unsure(&mut self, me: usize, ask: LeaseAsk) {
        if let AskedBy::Client(asker) = ask.from {
            self.answer(me, asker, Err(leader_changed()));
        }
    }

    /// A lease is gone: renewals that waited for that are answered.
    pub(crate) fn release_blocked(&mut self, me: usize, lease: i64) {
        for ask in self.members[me].blocked.remove(&lease).unwrap_or_default() {
            self.tell_of_lease(me, ask, LeaseSaid::Missing);
        }
    }

    pub(crate) fn hear_lease_question(
        &mut self,
        me: usize,
        from: usize,
        forward: u64,
        lease: i64,
        renew: bool,
    ) {
        let ask = LeaseAsk { from: AskedBy::Member(from, forward), lease, renew };
        if self.members[me].leads() {
            self.ask_lessor(me, ask);
        } else {
            self.not_primary(me, ask);
        }
    }

    fn send_forward(&mut self, me: usize, forward: u64) {
        let member = &self.members[me];
        let Some(asked) = member.forwards.get(&forward) else { return };
        let (lease, renew) = (asked.lease, asked.renew);
        match member.leader {
            Some(leader) if leader == me => {
                self.ask_lessor(me, LeaseAsk { from: AskedBy::Member(me, forward), lease, renew });
            }
            Some(leader) => {
                let (up, boot) = (self.members[leader].is_up(), self.members[leader].boot);
                if let Some(asked) = self.members[me].forwards.get_mut(&forward) {
                    asked.asked = Some((leader, boot));
                }
                let sent = self.send_peer(me, leader, PeerMessage::AskLease { forward, lease, renew });
                if !sent && !up {
                    self.schedule_local(ASK_AGAIN_NS, me, Local::RenewRetry { forward });
                }
            }
            None => {}
        }
    }

    pub(crate) fn retry_forward(&mut self, me: usize, forward: u64) {
        self.send_forward(me, forward);
    }

    /// Another leader is known: it is asked what nobody could be asked before, and what a member that crashed has not
    /// answered. One that is only cut off is waited for: etcd's HTTP request to it has no other end than its timeout.
    pub(crate) fn forward_again(&mut self, me: usize) {
        let waits = |asked: &Forward| {
            asked.asked.is_some_and(|(member, boot)| {
                member != me && self.members[member].is_up() && self.members[member].boot == boot
            })
        };
        let forwards = self.members[me].forwards.iter().filter(|(_, asked)| !waits(asked));
        let forwards: Vec<u64> = forwards.map(|(&forward, _)| forward).collect();
        for forward in forwards {
            self.schedule_local(ASK_AGAIN_NS, me, Local::RenewRetry { forward });
        }
    }

    pub(crate) fn hear_of_lease(&mut self, me: usize, forward: u64, said: LeaseSaid) {
        if said == LeaseSaid::NotPrimary {
            return self.schedule_local(ASK_AGAIN_NS, me, Local::RenewRetry { forward });
        }
        if let Some(asked) = self.members[me].forwards.remove(&forward) {
            self.answer_of_lease(me, asked.asker, asked.lease, asked.renew, asked.keys, said);
        }
    }

    /// A forwarded question has waited too long.
    pub(crate) fn time_forward_out(&mut self, me: usize, forward: u64) {
        if let Some(asked) = self.members[me].forwards.remove(&forward) {
            let status = if self.members[me].leader.is_some() { timed_out() } else { no_leader() };
            self.answer(me, asked.asker, Err(status));
        }
    }

    /// A renewal is a stream: it ends with the others of a member that has no leader.
    pub(crate) fn cancel_renewals(&mut self, me: usize) {
        let member = &mut self.members[me];
        let mut askers = member.reads.take_renewals();
        askers.extend(member.forwards.values().filter(|asked| asked.renew).map(|asked| asked.asker));
        member.forwards.retain(|_, asked| !asked.renew);
        for asker in askers {
            self.answer(me, asker, Err(no_leader()));
        }
    }

    fn answer_of_lease(
        &mut self,
        me: usize,
        asker: Asker,
        lease: i64,
        renew: bool,
        keys: bool,
        said: LeaseSaid,
    ) {
        let header = self.members[me].header();
        let lives_s = match said {
            LeaseSaid::Lives { ttl_s } => Some(ttl_s),
            LeaseSaid::Missing | LeaseSaid::NotPrimary => None,
        };
        let response = if renew {
            Response::LeaseKeepAlive { header, ttl_s: lives_s.unwrap_or(0) }
        } else {
            let entry = self.members[me].store.lease(lease).filter(|_| lives_s.is_some());
            Response::LeaseTimeToLive {
                header,
                ttl_s: lives_s.unwrap_or(-1),
                granted_ttl_s: entry.map_or(0, |entry| entry.ttl_s),
                keys: entry
                    .filter(|_| keys)
                    .map_or_else(Vec::new, |entry| entry.keys.iter().cloned().collect()),
            }
        };
        self.answer(me, asker, Ok(Arc::new(response)));
    }
}
