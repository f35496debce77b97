//! Who is a member: changes of membership go through the log, one at a time, as an operator asks for them
//! (`AddMember`, `PromoteMember` and `RemoveMember` in etcd's `server.go`). A member that joins begins with an empty log; one
//! that is removed ends, at the latest when another tells it.

use std::collections::VecDeque;

use super::core::{Core, MS};
use super::event::{Event, Local};
use super::member::{Member, Progress};
use super::outside::Refusal;
use super::peer::{Committed, Payload, PeerMessage};
use crate::history::What;
use crate::node::Node;
use crate::store::Store;

/// The members as one of them has applied them: sets of bits by place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Membership {
    /// Those that vote.
    pub(crate) voters: u32,
    /// Those that only take over the log.
    learners: u32,
    /// Which server it is at each place; 0 where none is told.
    servers: Vec<u32>,
    /// Those that were removed: the place, and which server at that place.
    removed: Vec<(usize, u32)>,
}

impl Membership {
    /// The first `count` places vote.
    pub(crate) fn first(count: usize) -> Self {
        Self { voters: (1 << count) - 1, ..Self::default() }
    }

    pub(crate) fn votes(&self, member: usize) -> bool {
        self.voters >> member & 1 == 1
    }

    pub(crate) fn learns(&self, member: usize) -> bool {
        self.learners >> member & 1 == 1
    }

    pub(crate) fn contains(&self, member: usize) -> bool {
        self.votes(member) || self.learns(member)
    }

    /// Which server is at this place, if it is a member.
    pub(crate) fn server_at(&self, member: usize) -> Option<u32> {
        self.contains(member).then(|| self.servers.get(member).copied().unwrap_or(0))
    }

    /// Whether this very server is a member, and not another at its place.
    pub(crate) fn knows(&self, member: &Member) -> bool {
        self.server_at(member.index) == Some(member.server)
    }

    /// Whether this one votes and no other.
    pub(crate) fn is_alone(&self, member: usize) -> bool {
        self.voters == 1 << member
    }

    /// How many of those that vote are a majority.
    pub(crate) fn majority(&self) -> u32 {
        self.voters.count_ones() / 2 + 1
    }

    /// Whether these are a majority.
    pub(crate) fn agree(&self, members: u32) -> bool {
        (members & self.voters).count_ones() >= self.majority()
    }

    fn set_server(&mut self, member: usize, server: u32) {
        self.servers.resize(self.servers.len().max(member + 1), 0);
        self.servers[member] = server;
    }

    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::AddVoter(member, server) => {
                self.voters |= 1 << member;
                self.set_server(member, server);
            }
            Change::Promote(member) => {
                self.voters |= 1 << member;
                self.learners &= !(1 << member);
            }
            Change::AddLearner(member, server) => {
                self.learners |= 1 << member;
                self.set_server(member, server);
            }
            Change::Remove(member, server) => {
                self.voters &= !(1 << member);
                self.learners &= !(1 << member);
                self.removed.push((member, server));
            }
        }
    }
}

/// A change of membership, as the log has it: the place, and which server at that place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    AddVoter(usize, u32),
    AddLearner(usize, u32),
    Promote(usize),
    Remove(usize, u32),
}

/// What an operator still wants, in order, and who is a member as it has been told.
pub(crate) struct Operator {
    wants: VecDeque<Want>,
    peers: Membership,
}

impl Operator {
    /// Of a cluster of so many members.
    pub(crate) fn of(members: usize) -> Self {
        Self { wants: VecDeque::new(), peers: Membership::first(members) }
    }
}

/// A change that is asked for again until it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    Add(usize),
    AddLearner(usize),
    Promote(usize),
    Remove(usize),
}

/// An operator looks, and asks again, this often.
const OPERATOR_NS: u64 = 100 * MS;
/// A removed member goes on for so long (`stopWithDelay` in etcd's `server.go`).
const REMOVED_GOES_ON_NS: u64 = 1_000 * MS;

impl Core {
    /// The members that this one has applied.
    pub(crate) fn peers_of(&self, me: usize) -> Vec<usize> {
        let peers = &self.members[me].peers;
        (0..self.members.len()).filter(|&peer| peer != me && peers.contains(peer)).collect()
    }

    /// The members after the entries up to `index`.
    pub(crate) fn peers_at(&self, index: usize) -> Membership {
        let mut peers = Membership::first(self.config.members.max(1) as usize);
        for Committed { entry, .. } in &self.committed[..index] {
            if let Payload::Change(change) = entry.payload {
                peers.apply(change);
            }
        }
        peers
    }

    /// An operator wants these changes, one after another.
    pub(crate) fn want(&mut self, wants: &[Want]) {
        if self.operator.wants.is_empty() {
            self.schedule(0, Event::Operator);
        }
        self.operator.wants.extend(wants);
    }

    /// An operator gives these changes up, if he has not begun with them: without a leader they would pile up, and shake the
    /// cluster long after it has one again. Whether he had not.
    pub(crate) fn withdraw(&mut self, wants: &[Want]) -> bool {
        let begun = self.operator.wants.len().min(1);
        let waiting = &self.operator.wants.make_contiguous()[begun..];
        let Some(place) = waiting.windows(wants.len().max(1)).rposition(|some| some == wants) else {
            return false;
        };
        self.operator.wants.drain(begun + place..begun + place + wants.len());
        true
    }

    /// The operator looks whether the next change is made, and asks for it if not.
    pub(crate) fn operate(&mut self) {
        let Some(&want) = self.operator.wants.front() else { return };
        if is_made(want, &self.operator.peers) {
            self.operator.wants.pop_front();
            if let Want::Add(member) | Want::AddLearner(member) = want {
                self.join(member);
            }
        } else if let Some(leader) = self.newest_leader().filter(|&leader| self.members[leader].runs()) {
            // Refused, it is asked for again.
            let _ = self.ask_for_change(leader, want);
        }
        if !self.operator.wants.is_empty() {
            self.schedule(OPERATOR_NS, Event::Operator);
        }
    }

    /// etcd refuses a change while another is not applied yet, and one that could cost the quorum
    /// (`--strict-reconfig-check`, `mayAddMember` and `mayRemoveMember`); then the operator asks again.
    pub(crate) fn ask_for_change(&mut self, leader: usize, want: Want) -> Result<(), Refusal> {
        let member = &self.members[leader];
        let pending =
            member.log[member.applied..].iter().any(|entry| matches!(entry.payload, Payload::Change(_)));
        if pending || !member.promoted || member.transferee.is_some() {
            return Err(Refusal::Pending);
        }
        let reached = |other: usize| {
            other == leader
                || self.members[other].runs()
                    && self.links.is_open(leader, other)
                    && self.links.is_open(other, leader)
        };
        let voters: Vec<usize> = (0..self.members.len()).filter(|&other| member.peers.votes(other)).collect();
        if matches!(want, Want::Remove(place) if place == leader) && voters.len() == 2 {
            // Were it removed and ended before the other knows, nobody could ever lead again: an operator has it hand over first.
            self.transfer_leadership();
            return Err(Refusal::LastLeader);
        }
        let change = match want {
            Want::Add(_) | Want::AddLearner(_) if !voters.iter().all(|&voter| reached(voter)) => {
                return Err(Refusal::Unhealthy);
            }
            // It is another server than any that was at that place.
            Want::Add(place) => Change::AddVoter(place, self.members[place].server + 1),
            Want::AddLearner(place) => Change::AddLearner(place, self.members[place].server + 1),
            Want::Promote(place) => {
                // It must have nine tenths of the leader's log (`isLearnerReady`).
                let ready = member.progress[place].matched * 10 >= member.log.len() * 9;
                if !ready || !reached(place) {
                    return Err(Refusal::NotReady);
                }
                Change::Promote(place)
            }
            Want::Remove(place) => {
                let left = voters.iter().filter(|&&voter| voter != place);
                let (count, up) = (left.clone().count(), left.filter(|&&voter| reached(voter)).count());
                if count == 0 || member.peers.votes(place) && up < count / 2 + 1 {
                    return Err(Refusal::Unhealthy);
                }
                Change::Remove(place, self.members[place].server)
            }
        };
        self.append(leader, Payload::Change(change));
        Ok(())
    }

    /// A committed change is applied.
    pub(crate) fn apply_change(&mut self, me: usize, change: Change, first: bool) {
        let member = &mut self.members[me];
        member.peers.apply(change);
        let next = member.log.len() + 1;
        if let Change::AddVoter(added, _) | Change::AddLearner(added, _) = change
            && let Some(progress) = member.progress.get_mut(added)
        {
            let resync_armed = progress.resync_armed;
            *progress = Progress { matched: 0, next, commit_told: 0, resent: 0, resync_armed };
        }
        if matches!(change, Change::Remove(removed, _) if member.transferee == Some(removed)) {
            member.transferee = None;
        }
        if change == Change::Remove(me, member.server) {
            self.schedule_local(REMOVED_GOES_ON_NS, me, Local::Leave);
        }
        if first {
            self.operator.peers.apply(change);
            if let Change::Promote(promoted) = change {
                self.record(Node::Member(promoted as u32), What::Promoted);
            }
        }
        self.shaken = true;
        // The majority may be another now.
        self.advance_commit(me);
    }

    /// A server is started at a place, with nothing on its disk.
    fn join(&mut self, me: usize) {
        let peers = &self.operator.peers;
        let learner = peers.learns(me);
        let Some(server) = peers.server_at(me).filter(|&server| server != self.members[me].server) else {
            return;
        };
        // The one that was here may not know yet that it was removed.
        self.leave(me);
        let store = self.new_store();
        let first = self.peers_at(0);
        let member = &mut self.members[me];
        member.begin_anew(server, store, first);
        self.record(Node::Member(me as u32), What::Joined { learner });
        self.arm_leaderless(me);
        self.shaken = true;
    }

    /// A member that was removed ends.
    pub(crate) fn leave(&mut self, me: usize) {
        if self.members[me].exists {
            self.record(Node::Member(me as u32), What::Left);
            self.lose_process(me);
            self.members[me].exists = false;
        }
    }

    /// Whether what one member sends to this place is for another server than the one that is there now. Who has connected
    /// to it can be answered, though its log does not tell of that one yet (`AddRemote` in rafthttp's `http.go`).
    pub(crate) fn takes_for_another(&self, from: usize, to: usize) -> bool {
        let there = self.members[to].server;
        let known = self.members[from].peers.server_at(to).is_some_and(|server| server != there);
        known && self.members[from].remotes.get(&to) != Some(&there)
    }

    /// An answer of a server that is not known here as a member counts for nothing (`Step` in raft's `node.go`).
    pub(crate) fn counts(&self, me: usize, from: usize, message: &PeerMessage) -> bool {
        let answers = matches!(
            message,
            PeerMessage::AppendAck { .. } | PeerMessage::Vote { .. } | PeerMessage::ProbeAck { .. }
        );
        !answers || self.members[me].peers.knows(&self.members[from])
    }

    /// Whether a message is from a server that was removed as far as its receiver knows; it is told so
    /// (`rafthttp` answers such a one with 410 Gone).
    pub(crate) fn is_of_removed(&mut self, me: usize, from: usize, server: u32) -> bool {
        let removed = self.members[me].peers.removed.contains(&(from, server));
        if removed {
            self.send_peer(me, from, PeerMessage::Removed);
        }
        removed
    }
}

fn is_made(want: Want, peers: &Membership) -> bool {
    match want {
        Want::Add(member) | Want::AddLearner(member) => peers.contains(member),
        Want::Promote(member) => !peers.learns(member),
        Want::Remove(member) => !peers.contains(member),
    }
}

impl Member {
    /// Whether it knows itself for one that votes.
    pub(crate) fn is_voter(&self) -> bool {
        self.peers.votes(self.index) && self.peers.knows(self)
    }

    /// Another server at the same place, which has nothing.
    fn begin_anew(&mut self, server: u32, store: Store, first: Membership) {
        self.log = Vec::new();
        self.store = store;
        self.term = 0;
        self.voted_for = None;
        (self.commit, self.applied) = (0, 0);
        // In etcd the first members are the first entries of the log.
        self.peers = first;
        self.server = server;
        self.exists = true;
        self.lose_memory();
        self.joining = true;
    }
}
