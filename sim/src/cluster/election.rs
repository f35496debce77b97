//! Raft's elections, without heartbeats as events: whenever it changes who is up, leads or can be reached, each member's
//! election timeout and each leader's check of its quorum is set or called off.

use rand::RngExt;

use super::core::{Core, MS};
use super::event::Local;
use super::member::{Member, Progress, Role};
use super::peer::{Payload, PeerMessage};
use crate::history::What;

impl Core {
    pub(crate) fn election_timeout_ns(&self) -> u64 {
        self.config.election_timeout_ms * MS
    }

    /// Whether this member hears heartbeats of whom it takes for the leader.
    fn hears_leader(&self, me: usize) -> bool {
        let member = &self.members[me];
        member.leader.is_some_and(|leader| {
            let other = &self.members[leader];
            leader != me
                && other.runs()
                && other.leads()
                && other.term == member.term
                && other.peers.knows(member)
                && self.links.carries_heartbeats(leader, me)
        })
    }

    /// Whether this leader's heartbeats are answered by a majority.
    fn hears_majority(&self, me: usize) -> bool {
        let Member { term, peers, .. } = &self.members[me];
        let heard = self.members.iter().filter(|other| {
            other.index == me
                || other.runs()
                    && peers.knows(other)
                    && other.term <= *term
                    && self.links.carries_heartbeats(me, other.index)
                    && self.links.carries_heartbeats(other.index, me)
        });
        peers.agree(heard.fold(0, |heard, other| heard | 1 << other.index))
    }

    /// Who is up, leads or can be reached has changed: sets and calls off what follows from silence.
    pub(crate) fn look_around(&mut self) {
        for me in 0..self.members.len() {
            if !self.members[me].runs() {
                self.members[me].election.disarm();
                self.stop_quorum_check(me);
                self.members[me].hearing = false;
            } else if self.members[me].leads() {
                self.members[me].election.disarm();
                self.look_for_quorum(me);
                self.arm_resyncs(me);
            } else {
                self.members[me].quorum.disarm();
                self.members[me].quorum_left_ns = None;
                self.listen_for_leader(me);
            }
        }
    }

    /// A leader that stands still counts no ticks: as it goes on, its check is as far away as it was.
    fn stop_quorum_check(&mut self, me: usize) {
        let member = &mut self.members[me];
        if member.quorum.armed {
            member.quorum_left_ns = Some(member.quorum_due_ns.saturating_sub(self.now_ns));
            member.quorum.disarm();
        }
    }

    fn look_for_quorum(&mut self, me: usize) {
        if self.hears_majority(me) {
            self.members[me].quorum.disarm();
            self.members[me].quorum_left_ns = None;
        } else if !self.members[me].quorum.armed {
            // The check comes once an election timeout, and looks back on one that began before the silence.
            let left_ns = self.members[me].quorum_left_ns.take();
            let wait_ns = left_ns.unwrap_or_else(|| self.one_to_two_timeouts(me));
            self.members[me].quorum_due_ns = self.now_ns + wait_ns;
            let generation = self.members[me].quorum.arm();
            self.schedule_local(wait_ns, me, Local::QuorumTimeout { generation });
        }
    }

    fn listen_for_leader(&mut self, me: usize) {
        if self.hears_leader(me) {
            self.members[me].hearing = true;
            self.members[me].election.disarm();
            return;
        }
        let mut wait_ns = self.one_to_two_timeouts(me);
        if std::mem::replace(&mut self.members[me].hearing, false) {
            let since_ns = self.draws.member(self.now_ns, me).random_range(0..=self.config.heartbeat_ms * MS);
            self.members[me].last_heard_ns = self.now_ns.saturating_sub(since_ns);
            wait_ns = wait_ns.saturating_sub(since_ns);
            self.members[me].election.armed = false;
        }
        if !self.members[me].is_voter() {
            // A learner never stands, nor who does not know yet that it is a member.
            self.members[me].election.disarm();
        } else if !self.members[me].election.armed {
            if self.members[me].peers.is_alone(me) {
                // A lone member moves its ticks ahead to the last one before its timeout.
                wait_ns = wait_ns.saturating_sub(self.election_timeout_ns());
            }
            let generation = self.members[me].election.arm();
            self.schedule_local(wait_ns, me, Local::ElectionTimeout { generation });
        }
    }

    fn one_to_two_timeouts(&mut self, me: usize) -> u64 {
        let timeout_ns = self.election_timeout_ns();
        self.draws.member(self.now_ns, me).random_range(timeout_ns..=2 * timeout_ns)
    }

    pub(crate) fn quorum_timeout(&mut self, me: usize, generation: u32) {
        if self.members[me].quorum.rings(generation) {
            self.become_follower(me, self.members[me].term, None);
        }
    }

    pub(crate) fn election_timeout(&mut self, me: usize, generation: u32) {
        if self.members[me].election.rings(generation) {
            self.shaken = true;
            self.campaign(me, false);
        }
    }

    /// Stands for election; with pre-vote only after a majority has said that it would vote so.
    fn campaign(&mut self, me: usize, forced: bool) {
        self.set_leader(me, None);
        if forced || !self.config.version.pre_vote_default() {
            return self.stand(me, forced);
        }
        self.members[me].role = Role::Candidate { votes: 1 << me, pre: true };
        if self.members[me].peers.is_alone(me) {
            return self.stand(me, false);
        }
        let term = self.members[me].term + 1;
        self.ask_votes(me, term, true, false);
    }

    fn stand(&mut self, me: usize, forced: bool) {
        let member = &mut self.members[me];
        member.term += 1;
        member.voted_for = Some(me);
        member.role = Role::Candidate { votes: 1 << me, pre: false };
        let term = member.term;
        if member.peers.is_alone(me) {
            return self.become_leader(me);
        }
        self.ask_votes(me, term, false, forced);
    }

    fn ask_votes(&mut self, me: usize, term: u64, pre: bool, forced: bool) {
        let last_index = self.members[me].log.len();
        let last_term = self.members[me].term_at(last_index);
        self.broadcast(me, &PeerMessage::AskVote { term, pre, forced, last_index, last_term });
    }

    pub(crate) fn hear_election(&mut self, me: usize, from: usize, message: PeerMessage) {
        match message {
            PeerMessage::AskVote { term, pre, forced, last_index, last_term } => {
                let mine = self.members[me].log.len();
                let newer = (last_term, last_index) >= (self.members[me].term_at(mine), mine);
                self.asked_for_vote(me, from, term, pre, forced, newer);
            }
            PeerMessage::Vote { term, pre, granted } => self.got_vote(me, from, term, pre, granted),
            PeerMessage::TimeoutNow { term }
                if term == self.members[me].term
                    && !self.members[me].leads()
                    && self.members[me].is_voter() =>
            {
                self.campaign(me, true);
                self.shaken = true;
            }
            _ => {}
        }
    }

    /// Within an election timeout of hearing from a leader nobody is voted for (Raft, section 6; etcd's check-quorum).
    fn is_in_lease(&self, me: usize) -> bool {
        let member = &self.members[me];
        member.leads()
            || member.leader.is_some()
                && (self.hears_leader(me) || self.now_ns < member.last_heard_ns + self.election_timeout_ns())
    }

    /// `newer`: the candidate's log is not behind this member's.
    fn asked_for_vote(&mut self, me: usize, from: usize, term: u64, pre: bool, forced: bool, newer: bool) {
        if term > self.members[me].term {
            if !forced && self.is_in_lease(me) {
                return;
            }
            if !pre {
                self.become_follower(me, term, None);
            }
        }
        let member = &mut self.members[me];
        let free = if pre {
            term > member.term
        } else {
            term == member.term
                && (member.voted_for == Some(from) || member.voted_for.is_none() && member.leader.is_none())
        };
        let granted = free && newer;
        if granted && !pre {
            member.voted_for = Some(from);
            member.election.disarm();
            self.shaken = true;
        }
        let term = if granted { term } else { self.members[me].term };
        self.send_peer(me, from, PeerMessage::Vote { term, pre, granted });
    }

    fn got_vote(&mut self, me: usize, from: usize, term: u64, pre: bool, granted: bool) {
        let member = &self.members[me];
        if term > member.term && !(pre && granted) {
            return self.become_follower(me, term, None);
        }
        let expected = if pre { member.term + 1 } else { member.term };
        let Role::Candidate { votes, pre: standing_pre } = member.role else { return };
        if !granted || standing_pre != pre || term != expected {
            return;
        }
        let votes = votes | 1 << from;
        self.members[me].role = Role::Candidate { votes, pre };
        if self.members[me].peers.agree(votes) {
            if pre {
                self.stand(me, false);
            } else {
                self.become_leader(me);
            }
        }
    }

    fn become_leader(&mut self, me: usize) {
        let count = self.members.len();
        let member = &mut self.members[me];
        let last = member.log.len();
        member.role = Role::Leader;
        member.progress =
            vec![
                Progress { matched: 0, next: last + 1, commit_told: 0, resent: 0, resync_armed: false };
                count
            ];
        member.synced = member.durable(self.now_ns);
        member.promoted = false;
        let term = member.term;
        let disk_ns = member.disk_done_ns.saturating_sub(self.now_ns);
        if member.synced < last {
            self.schedule_local(disk_ns, me, Local::Synced { term, index: last });
        }
        self.record_member(me, What::Leads { term });
        self.set_leader(me, Some(me));
        self.append(me, Payload::Empty);
    }

    /// Follows `leader`, if it is known, in `term`.
    pub(crate) fn become_follower(&mut self, me: usize, term: u64, leader: Option<usize>) {
        let member = &mut self.members[me];
        let led = member.leads().then_some(member.term);
        if term > member.term {
            member.term = term;
            member.voted_for = None;
        }
        member.role = Role::Follower;
        member.transferee = None;
        if let Some(term) = led {
            self.record_member(me, What::SteppedDown { term });
            self.demote(me);
        }
        self.shaken = true;
        self.set_leader(me, leader);
    }

    fn set_leader(&mut self, me: usize, leader: Option<usize>) {
        if self.members[me].leader == leader {
            return;
        }
        self.members[me].leader = leader;
        self.members[me].hearing = false;
        self.shaken = true;
        if leader.is_some() {
            self.members[me].leaderless.disarm();
            self.leader_appeared(me);
        } else {
            self.arm_leaderless(me);
        }
    }

    /// etcd looks once an election timeout whether a member has a leader, and breaks its streams when it finds none for
    /// the third time (`monitorLeader` in `api/v3rpc/interceptor.go`): two to three timeouts after the last was lost.
    pub(crate) fn arm_leaderless(&mut self, me: usize) {
        let generation = self.members[me].leaderless.arm();
        let timeout_ns = self.election_timeout_ns();
        let wait_ns = self.draws.member(self.now_ns, me).random_range(2 * timeout_ns..=3 * timeout_ns);
        self.schedule_local(wait_ns, me, Local::Leaderless { generation });
    }

    pub(crate) fn leaderless(&mut self, me: usize, generation: u32) {
        if self.members[me].leaderless.rings(generation) {
            self.cancel_watches(me);
            self.cancel_renewals(me);
        }
    }

    /// A leader hands over to the member that is furthest, if one can be reached.
    pub(crate) fn transfer_leadership(&mut self) {
        let Some(leader) = self.newest_leader().filter(|&leader| self.members[leader].runs()) else { return };
        let offset = self.draws.cluster().random_range(0..self.members.len());
        let count = self.members.len();
        let reached = (0..count)
            .map(|step| (offset + step) % count)
            .filter(|&to| to != leader && self.members[leader].peers.votes(to))
            .filter(|&to| self.members[to].runs() && self.links.is_open(leader, to));
        let furthest = reached.max_by_key(|&to| self.members[leader].progress[to].matched);
        if let Some(to) = furthest {
            self.hand_over(leader, to);
        }
    }

    /// A leader hands over to another, which it tells to stand once that one has all that it has (`MsgTransferLeader` in
    /// raft's `raft.go`). Meanwhile it takes no proposals; after an election timeout it gives up.
    pub(crate) fn hand_over(&mut self, leader: usize, to: usize) {
        let member = &mut self.members[leader];
        if !member.leads() || leader == to || member.transferee == Some(to) {
            return;
        }
        member.transferee = Some(to);
        let generation = member.transfer.arm();
        self.schedule_local(self.election_timeout_ns(), leader, Local::TransferTimeout { generation });
        if !self.lets_stand(leader, to) {
            self.send_append(leader, to);
        }
    }

    /// A leader tells the one to which it hands over to stand at once, if that one has all that it has.
    pub(crate) fn lets_stand(&mut self, me: usize, to: usize) -> bool {
        let member = &self.members[me];
        let lets = member.transferee == Some(to) && member.progress[to].matched == member.log.len();
        let term = member.term;
        if lets {
            self.send_peer(me, to, PeerMessage::TimeoutNow { term });
        }
        lets
    }

    pub(crate) fn transfer_timeout(&mut self, me: usize, generation: u32) {
        if self.members[me].transfer.rings(generation) {
            self.members[me].transferee = None;
        }
    }
}
