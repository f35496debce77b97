//! Raft's log: a leader appends, followers take over and acknowledge, what a majority has is committed and applied in
//! order. What a message's loss leaves behind is made up for by a resync a heartbeat later; nothing else is periodic.

use std::sync::Arc;

use rand::RngExt;

use super::clock::Clock;
use super::config::Planted;
use super::core::{Core, MS};
use super::event::{Event, Local};
use super::links::{Passage, draw_us};
use super::member::{Member, Progress, Role};
use super::membership::Membership;
use super::peer::{Committed, Entry, Payload, PeerMessage, Proposal};
use super::wire::proposal_dropped;
use crate::history::What;
use crate::store::{Store, StoreConfig, min_lease_ttl_s};

/// The term of the leader that a world begins with.
const FIRST_TERM: u64 = 2;

impl Core {
    /// The cluster at the beginning: all up, one leads; behind the members are places for those that join later.
    pub(crate) fn found_cluster(&mut self, places: usize) {
        let count = self.config.members.max(1) as usize;
        let store = self.new_store();
        let first = Arc::new(Entry { term: FIRST_TERM, payload: Payload::Empty });
        self.committed.push(Committed { entry: Arc::clone(&first), outcome: None });
        for index in 0..count {
            let phase_ns = self.draws.member(self.now_ns, index).random_range(0..500 * MS);
            let log = vec![Arc::clone(&first)];
            let mut member = Member::new(index, store.clone(), FIRST_TERM, log, phase_ns);
            member.clock = Clock::new(0, self.lease_drift_ppm());
            self.members.push(member);
        }
        let leader = self.draws.cluster().random_range(0..count);
        for member in &mut self.members {
            member.peers = Membership::first(count);
            member.leader = Some(leader);
            member.hearing = true;
            member.listens = true;
            member.voted_for = Some(leader);
        }
        for index in count..places {
            let phase_ns = self.draws.member(self.now_ns, index).random_range(0..500 * MS);
            let mut spare = Member::new(index, store.clone(), 0, Vec::new(), phase_ns);
            spare.exists = false;
            self.members.push(spare);
        }
        let progress = Progress { matched: 1, next: 2, commit_told: 1, resent: 0, resync_armed: false };
        let first_leader = &mut self.members[leader];
        first_leader.role = Role::Leader;
        first_leader.progress = vec![progress; places];
        first_leader.synced = 1;
        self.record_member(leader, What::Leads { term: FIRST_TERM });
        self.promote(leader);
    }

    /// How much too fast the members' leases run when no fault has them.
    pub(crate) fn lease_drift_ppm(&self) -> i64 {
        if self.config.planted == Some(Planted::LeaseDiesEarly) { 1_000_000 } else { 0 }
    }

    /// The member that leads in the newest term.
    pub(crate) fn newest_leader(&self) -> Option<usize> {
        let leaders = self.members.iter().filter(|member| member.is_up() && member.leads());
        leaders.max_by_key(|member| member.term).map(|member| member.index)
    }

    /// The store of the member that has applied most.
    pub(crate) fn newest_store(&self) -> &Store {
        let furthest = self.members.iter().max_by_key(|member| (member.applied, member.is_up()));
        furthest.map_or(&self.members[0].store, |member| &member.store)
    }

    /// How long until what a member appends now is durable: never before what it appended earlier.
    fn disk_ns(&mut self, me: usize) -> u64 {
        let slow_ns = self.members[me].slow_disk_ns;
        let extra_ns =
            if slow_ns > 0 { self.draws.disk(self.now_ns, me).random_range(0..=slow_ns) } else { 0 };
        let takes_ns = draw_us(self.draws.disk(self.now_ns, me), self.config.disk_us) + extra_ns;
        let member = &mut self.members[me];
        member.disk_done_ns = member.disk_done_ns.max(self.now_ns + takes_ns);
        let wait_ns = member.disk_done_ns - self.now_ns;
        if member.power_losses > 0 {
            let at_ns = self.draws.disk(self.now_ns, me).random_range(0..=wait_ns);
            self.schedule_local(at_ns, me, Local::PowerFails);
        }
        wait_ns
    }

    /// Sends one message between members; whether it is under way.
    pub(crate) fn send_peer(&mut self, from: usize, to: usize, message: PeerMessage) -> bool {
        if !self.members[to].is_up() || self.takes_for_another(from, to) {
            return false;
        }
        match self.links.pass(from, to, self.config.peer_delay_us, self.draws.link(self.now_ns, from, to)) {
            Passage::Arrives(delay_ns) => {
                let servers = (self.members[from].server, self.members[to].server);
                self.schedule(delay_ns, Event::Peer { from, to, servers, message });
                true
            }
            Passage::Lost => {
                self.arm_resync(from, to);
                self.arm_resync(to, from);
                false
            }
            Passage::Cut => false,
        }
    }

    /// To all others that vote.
    pub(crate) fn broadcast(&mut self, from: usize, message: &PeerMessage) {
        for to in self.peers_of(from) {
            if self.members[from].peers.votes(to) {
                self.send_peer(from, to, message.clone());
            }
        }
    }

    /// A message from another member.
    pub(crate) fn hear(&mut self, me: usize, from: usize, message: PeerMessage) {
        match message {
            PeerMessage::Append { term, prev_index, prev_term, entries, commit } => {
                if self.heed_leader(me, from, term) {
                    self.take_entries(me, from, (prev_index, prev_term), entries, commit);
                }
            }
            PeerMessage::AppendAck { term, matched, commit } => {
                self.append_acked(me, from, term, matched, commit);
            }
            PeerMessage::Snapshot { term, index, last_term, state } => {
                if self.heed_leader(me, from, term) {
                    self.take_snapshot(me, from, (index, last_term), &state);
                }
            }
            PeerMessage::Commit { term, commit } => {
                if self.heed_leader(me, from, term) {
                    self.commit_to(me, commit.min(self.members[me].log.len()));
                }
            }
            PeerMessage::AskVote { .. } | PeerMessage::Vote { .. } | PeerMessage::TimeoutNow { .. } => {
                self.hear_election(me, from, message);
            }
            PeerMessage::Probe { .. }
            | PeerMessage::ProbeAck { .. }
            | PeerMessage::AskReadIndex { .. }
            | PeerMessage::ReadIndex { .. } => self.hear_of_reads(me, from, message),
            PeerMessage::Removed => self.leave(me),
            PeerMessage::Propose(proposal) => self.propose(me, proposal),
            PeerMessage::AskLease { forward, lease, renew } => {
                self.hear_lease_question(me, from, forward, lease, renew);
            }
            PeerMessage::Lease { forward, said } => self.hear_of_lease(me, forward, said),
        }
    }

    /// Whether a leader's message is to be heeded; then that one is the leader here. An old leader is told the new term.
    pub(crate) fn heed_leader(&mut self, me: usize, from: usize, term: u64) -> bool {
        let member = &self.members[me];
        if term < member.term {
            let matched = Err(0);
            let answer = PeerMessage::AppendAck { term: member.term, matched, commit: member.commit };
            self.send_peer(me, from, answer);
            return false;
        }
        if term > member.term || member.role != Role::Follower || member.leader != Some(from) {
            self.become_follower(me, term, Some(from));
        }
        self.members[me].last_heard_ns = self.now_ns;
        true
    }

    fn take_entries(
        &mut self,
        me: usize,
        from: usize,
        (prev_index, prev_term): (usize, u64),
        entries: Vec<Arc<Entry>>,
        commit: usize,
    ) {
        let never_matches = self.config.planted == Some(Planted::AppendsNeverMatch);
        let member = &mut self.members[me];
        let term = member.term;
        if never_matches || prev_index > member.log.len() || member.term_at(prev_index) != prev_term {
            let matched = Err(prev_index);
            let answer = PeerMessage::AppendAck { term, matched, commit: member.commit };
            self.send_peer(me, from, answer);
            return;
        }
        let mut wrote = false;
        let mut index = prev_index;
        for entry in entries {
            index += 1;
            if index <= member.log.len() && member.term_at(index) != entry.term {
                assert!(index > member.commit, "a committed entry would be overwritten");
                member.cut_log(self.now_ns, index - 1);
            }
            if index > member.log.len() {
                member.log.push(entry);
                wrote = true;
            }
        }
        if wrote {
            self.disk_ns(me);
            self.members[me].appended(index);
        }
        self.acknowledge_once_durable(me, from, index);
        self.commit_to(me, commit.min(index));
        let member = &mut self.members[me];
        if member.joining && member.applied == member.log.len() {
            // It has made itself known, by way of the log (`publishV3`).
            member.joining = false;
            member.listens = true;
        }
    }

    /// A leader is told of no entry that its follower could still lose.
    fn acknowledge_once_durable(&mut self, me: usize, to: usize, matched: usize) {
        let member = &mut self.members[me];
        let term = member.term;
        if matched <= member.durable(self.now_ns) {
            return self.acknowledge(me, to, term, matched);
        }
        let wait_ns = member.disk_done_ns.saturating_sub(self.now_ns);
        self.schedule_local(wait_ns, me, Local::Acknowledge { to, term, matched });
    }

    pub(crate) fn acknowledge(&mut self, me: usize, to: usize, term: u64, matched: usize) {
        let member = &self.members[me];
        if member.term == term {
            let answer = PeerMessage::AppendAck { term, matched: Ok(matched), commit: member.commit };
            self.send_peer(me, to, answer);
        }
    }

    /// A leader keeps the log from behind this index: what was applied long ago is in its snapshot.
    fn compacted_to(&self, me: usize) -> usize {
        let keep = self.config.catch_up_entries.max(1);
        (self.members[me].applied / keep * keep).saturating_sub(keep)
    }

    /// A follower lacks what the leader does not have any more.
    fn send_snapshot(&mut self, me: usize, to: usize) -> bool {
        let member = &self.members[me];
        let index = member.applied;
        let message = PeerMessage::Snapshot {
            term: member.term,
            index,
            last_term: member.term_at(index),
            state: Arc::new((member.store.clone(), member.peers.clone())),
        };
        let is_under_way = self.send_peer(me, to, message);
        if is_under_way {
            let progress = &mut self.members[me].progress[to];
            progress.next = index + 1;
            progress.commit_told = progress.commit_told.max(index);
        }
        is_under_way
    }

    /// Takes over the leader's state, unless what it stands for is here already (`restore` in etcd's `raft.go`,
    /// `applySnapshot` in `server.go`): watches go on from where they are, and whoever waits for a write that is in it is never told.
    fn take_snapshot(
        &mut self,
        me: usize,
        from: usize,
        (index, last_term): (usize, u64),
        (store, peers): &(Store, Membership),
    ) {
        let member = &mut self.members[me];
        if index <= member.commit {
            return self.acknowledge_once_durable(me, from, index);
        }
        if index <= member.log.len() && member.term_at(index) == last_term {
            self.acknowledge_once_durable(me, from, index);
            return self.commit_to(me, index);
        }
        member.cut_log(self.now_ns, member.commit);
        member.log = self.committed[..index].iter().map(|one| Arc::clone(&one.entry)).collect();
        member.commit = index;
        member.applied = index;
        member.store = store.clone();
        member.peers = peers.clone();
        member.listens |= member.joining;
        member.joining = false;
        member.hub.restore();
        let revision = member.store.revision();
        self.record_member(me, What::Restored { revision });
        self.disk_ns(me);
        self.members[me].appended(index);
        self.acknowledge_once_durable(me, from, index);
        self.arm_watch_sync(me);
        self.serve_applied_reads(me);
    }

    /// The state after the entries up to `index`, as a member that starts anew from them has it.
    pub(crate) fn store_at(&self, index: usize) -> Store {
        let mut store = self.new_store();
        for Committed { entry, .. } in &self.committed[..index] {
            match &entry.payload {
                Payload::Empty | Payload::Change(_) => {}
                Payload::NoSpace(on) => store.set_no_space(*on),
                Payload::Write(proposal) => {
                    store.apply(&proposal.request);
                }
            }
        }
        store
    }

    pub(crate) fn new_store(&self) -> Store {
        Store::new(StoreConfig {
            version: self.config.version,
            min_lease_ttl_s: min_lease_ttl_s(self.config.election_timeout_ms),
            max_txn_ops: self.config.max_txn_ops,
            max_request_bytes: self.config.max_request_bytes,
            ..StoreConfig::default()
        })
    }

    fn append_acked(
        &mut self,
        me: usize,
        from: usize,
        term: u64,
        matched: Result<usize, usize>,
        commit: usize,
    ) {
        let member = &mut self.members[me];
        if term > member.term {
            return self.become_follower(me, term, None);
        }
        if term < member.term || !member.leads() {
            return;
        }
        let loops = self.config.planted == Some(Planted::AppendsNeverMatch);
        let progress = &mut member.progress[from];
        match matched {
            Ok(index) => {
                progress.matched = progress.matched.max(index);
                progress.next = progress.next.max(index + 1);
                self.advance_commit(me);
                self.tell_commit(me, from);
                self.lets_stand(me, from);
            }
            // Of something that the follower has by now, or that was sent again since (`MaybeDecrTo` in raft's
            // `progress.go`): a follower that stood still rejects hundreds at once, and needs what it lacks once. An append
            // that overtook the one before it may be among them: the answer to the next heartbeat shows that it is
            // lacking (`MsgHeartbeatResp` in `raft.go`).
            Err(rejected) if !loops && (rejected <= progress.matched || rejected < progress.resent) => {
                if self.lacks(me, from) {
                    self.arm_resync(me, from);
                }
            }
            // What the follower has committed is where to go on from, but it may lose that yet: it is not durable for certain.
            Err(_) => {
                progress.next = progress.matched.max(commit) + 1;
                if self.send_append(me, from) {
                    let progress = &mut self.members[me].progress[from];
                    progress.resent = progress.next - 1;
                }
            }
        }
    }

    /// A leader sends a follower what comes next; whether that is under way.
    pub(crate) fn send_append(&mut self, me: usize, to: usize) -> bool {
        if !self.members[to].is_up() || !self.links.is_open(me, to) {
            return false;
        }
        let member = &self.members[me];
        let prev_index = member.progress[to].next - 1;
        if prev_index < self.compacted_to(me) {
            return self.send_snapshot(me, to);
        }
        let message = PeerMessage::Append {
            term: member.term,
            prev_index,
            prev_term: member.term_at(prev_index),
            entries: member.log[prev_index..].to_vec(),
            commit: member.commit,
        };
        let (last, commit) = (member.log.len(), member.commit);
        let is_under_way = self.send_peer(me, to, message);
        if is_under_way {
            let progress = &mut self.members[me].progress[to];
            progress.next = last + 1;
            progress.commit_told = progress.commit_told.max(commit.min(last));
        }
        is_under_way
    }

    /// A leader tells a follower how far it may apply.
    fn tell_commit(&mut self, me: usize, to: usize) {
        let member = &self.members[me];
        let commit = member.commit.min(member.progress[to].matched);
        if commit > member.progress[to].commit_told {
            let message = PeerMessage::Commit { term: member.term, commit };
            if self.send_peer(me, to, message) {
                self.members[me].progress[to].commit_told = commit;
            }
        }
    }

    /// A proposal comes to this member, from a client or from another member.
    pub(crate) fn propose(&mut self, me: usize, proposal: Proposal) {
        match self.members[me].leader {
            Some(leader) if leader == me && self.members[me].transferee.is_some() => {
                self.drop_proposal(me, &proposal);
            }
            Some(leader) if leader == me => self.append_write(me, proposal),
            Some(leader) => {
                self.send_peer(me, leader, PeerMessage::Propose(proposal));
            }
            None => {}
        }
    }

    /// Of a write that fills the space the alarm is raised.
    fn append_write(&mut self, me: usize, proposal: Proposal) {
        let needs_space = self.members[me].store.space_cost(&proposal.request).is_some();
        let overflows = needs_space && self.faults.fill();
        self.append(me, Payload::Write(Proposal { overflows, ..proposal }));
        if overflows && self.members[me].promoted {
            self.agree_on_alarm(me);
        }
    }

    /// A leader that is handing over takes no proposal. Who asked another member is not told.
    fn drop_proposal(&mut self, me: usize, proposal: &Proposal) {
        if let Some(asker) = self.members[me].proposals.remove(&proposal.id) {
            self.answer(me, asker, Err(proposal_dropped()));
        }
    }

    /// A leader appends to its log and sends it on.
    pub(crate) fn append(&mut self, me: usize, payload: Payload) {
        let member = &mut self.members[me];
        let term = member.term;
        member.log.push(Arc::new(Entry { term, payload }));
        let index = member.log.len();
        let disk_ns = self.disk_ns(me);
        self.members[me].appended(index);
        self.schedule_local(disk_ns, me, Local::Synced { term, index });
        for to in self.peers_of(me) {
            self.send_append(me, to);
        }
    }

    pub(crate) fn synced(&mut self, me: usize, term: u64, index: usize) {
        let member = &mut self.members[me];
        if member.leads() && member.term == term {
            member.synced = member.synced.max(index);
            self.advance_commit(me);
        }
    }

    /// A leader commits what a majority has, if it is of its own term (Raft, 5.4.2).
    pub(crate) fn advance_commit(&mut self, me: usize) {
        let member = &self.members[me];
        if !member.leads() {
            return;
        }
        let voters = member.progress.iter().enumerate().filter(|(peer, _)| member.peers.votes(*peer));
        let mut durable: Vec<usize> = voters
            .map(|(peer, progress)| if peer == me { member.synced } else { progress.matched })
            .collect();
        durable.sort_unstable_by(|a, b| b.cmp(a));
        // The least of a majority.
        let Some(&index) = durable.get(durable.len() / 2) else { return };
        if index > member.commit && member.term_at(index) == member.term {
            self.commit_to(me, index);
            for to in self.peers_of(me) {
                if self.members[me].leads() {
                    self.tell_commit(me, to);
                }
            }
        }
    }

    /// All up to `index` is committed, as this member knows now: it applies it.
    fn commit_to(&mut self, me: usize, index: usize) {
        self.members[me].commit = self.members[me].commit.max(index);
        while self.members[me].applied < self.members[me].commit {
            let place = self.members[me].applied;
            let entry = Arc::clone(&self.members[me].log[place]);
            self.members[me].applied += 1;
            let first = place >= self.committed.len();
            if first {
                self.committed.push(Committed { entry: Arc::clone(&entry), outcome: None });
            }
            assert!(
                Arc::ptr_eq(&self.committed[place].entry, &entry),
                "two members committed different entries"
            );
            self.apply(me, place, &entry, first);
        }
        self.serve_applied_reads(me);
    }

    fn apply(&mut self, me: usize, place: usize, entry: &Entry, first: bool) {
        match &entry.payload {
            Payload::Empty => {
                if self.members[me].leads() && entry.term == self.members[me].term {
                    self.promote(me);
                }
            }
            Payload::NoSpace(on) => {
                self.members[me].store.set_no_space(*on);
                if self.members[me].promoted {
                    self.agree_on_alarm(me);
                }
            }
            Payload::Change(change) => self.apply_change(me, *change, first),
            Payload::Write(proposal) => self.apply_write(me, place, proposal, first),
        }
    }

    /// Whether a follower that can be reached lacks something of what this leader has.
    fn lacks(&self, me: usize, peer: usize) -> bool {
        let (leader, follower) = (&self.members[me], &self.members[peer]);
        peer != me
            && leader.peers.knows(follower)
            && leader.leads()
            && leader.runs()
            && follower.runs()
            && self.links.is_open(me, peer)
            && (follower.leader != Some(me)
                || follower.term != leader.term
                || follower.commit < leader.commit
                || leader.progress[peer].matched < leader.log.len())
    }

    /// A leader will look at the next heartbeat what this follower lacks.
    pub(crate) fn arm_resync(&mut self, me: usize, peer: usize) {
        let leader = &mut self.members[me];
        if leader.leads() && !std::mem::replace(&mut leader.progress[peer].resync_armed, true) {
            let wait_ns = self.draws.member(self.now_ns, me).random_range(1..=self.config.heartbeat_ms * MS);
            self.schedule_local(wait_ns, me, Local::Resync { peer });
        }
    }

    /// After a change of who can be reached.
    pub(crate) fn arm_resyncs(&mut self, me: usize) {
        for peer in 0..self.members.len() {
            if self.lacks(me, peer) {
                self.arm_resync(me, peer);
            }
        }
    }

    pub(crate) fn resync(&mut self, me: usize, peer: usize) {
        if !self.members[me].leads() {
            return;
        }
        self.members[me].progress[peer].resync_armed = false;
        if self.lacks(me, peer) {
            let progress = &mut self.members[me].progress[peer];
            progress.next = progress.matched + 1;
            self.send_append(me, peer);
            self.arm_resync(me, peer);
        }
    }
}
