//! One member of the simulated cluster: what it keeps on disk, what it keeps in memory and loses when it crashes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tenure::kv::Header;

use super::call::Asker;
use super::clock::Clock;
use super::event::Event;
use super::leases::{Forward, LeaseAsk};
use super::membership::Membership;
use super::peer::Entry;
use super::reads::{Confirmation, Reads, Requester};
use crate::store::{Lessor, Store, WatchHub, WatchId};

/// One member. Crashing clears all but what is on disk: term, vote, log, and with it the store.
pub(crate) struct Member {
    pub(crate) index: usize,
    /// How many crashes are in force.
    pub(crate) crashes: u32,
    /// How many pauses are in force.
    pub(crate) pauses: u32,
    /// Counts starts; what was scheduled in an earlier one is void.
    pub(crate) boot: u32,
    /// Whether it listens to clients: not from a start on until it has known a leader (`ReadyNotify` in etcd's server).
    pub(crate) listens: bool,
    /// Since when it stands still, or did last.
    pub(crate) paused_at_ns: u64,
    /// What came while it stood still.
    pub(crate) inbox: Vec<Event>,
    /// What its leases go by.
    pub(crate) clock: Clock,
    /// At most this much later is durable what it appends.
    pub(crate) slow_disk_ns: u64,
    /// When all that it has appended is durable.
    pub(crate) disk_done_ns: u64,
    /// Up to where its log is durable for certain, and when which later index will be, in order.
    durable: usize,
    unsynced: VecDeque<(u64, usize)>,
    /// How many power losses wait for its next append.
    pub(crate) power_losses: u32,
    /// At most this much later its watches tell of changes.
    pub(crate) watch_lag_ns: u64,

    pub(crate) term: u64,
    pub(crate) voted_for: Option<usize>,
    /// Index 1 is the first.
    pub(crate) log: Vec<Arc<Entry>>,
    pub(crate) commit: usize,
    pub(crate) applied: usize,
    pub(crate) store: Store,
    /// The members, as far as it has applied the log.
    pub(crate) peers: Membership,
    /// Which server it has heard from at each place since it started.
    pub(crate) remotes: BTreeMap<usize, u32>,
    /// Whether there is a server at this place: not before it joins, nor once it was removed.
    pub(crate) exists: bool,
    /// Which server it is at this place.
    pub(crate) server: u32,
    /// It has joined, and does not know yet all that was committed before.
    pub(crate) joining: bool,

    pub(crate) role: Role,
    /// Whom it takes for the leader.
    pub(crate) leader: Option<usize>,
    /// Whether it hears that leader's heartbeats.
    pub(crate) hearing: bool,
    /// When it last did, if it does not now.
    pub(crate) last_heard_ns: u64,
    /// Until then, after it stood still, no tick has come yet.
    pub(crate) ticks_again_ns: u64,
    pub(crate) election: Alarm,
    pub(crate) quorum: Alarm,
    /// When that rings.
    pub(crate) quorum_due_ns: u64,
    /// How long it had still to go when the member was stopped.
    pub(crate) quorum_left_ns: Option<u64>,
    pub(crate) leaderless: Alarm,

    /// A leader's view of each member.
    pub(crate) progress: Vec<Progress>,
    /// To whom a leader is handing over; until that is done, or given up, it takes no proposals.
    pub(crate) transferee: Option<usize>,
    pub(crate) transfer: Alarm,
    /// Up to where a leader's own log is durable.
    pub(crate) synced: usize,
    /// Whether it has applied an entry of its own term: only then it is the leases' primary and may confirm reads.
    pub(crate) promoted: bool,
    pub(crate) lessor: Lessor,
    pub(crate) scan: Alarm,
    /// Its lease scans come at this phase of every half second.
    pub(crate) scan_phase_ns: u64,
    /// Renewals that wait for an expired lease's revocation.
    pub(crate) blocked: BTreeMap<i64, Vec<LeaseAsk>>,

    pub(crate) hub: WatchHub,
    pub(crate) watches: BTreeMap<WatchId, u64>,
    pub(crate) watch_sync_armed: bool,

    /// Who waits for a proposal to be applied here.
    pub(crate) proposals: BTreeMap<u64, Asker>,
    pub(crate) reads: Reads,
    /// A leader's rounds of asking whether it still leads.
    pub(crate) confirmations: BTreeMap<u64, Confirmation>,
    /// Who waits for such a round until this leader has committed something in its term.
    pub(crate) unconfirmed: Vec<Requester>,
    /// Lease questions that were forwarded to the leader.
    pub(crate) forwards: BTreeMap<u64, Forward>,
    /// When which request has waited too long; in order.
    pub(crate) timeouts: VecDeque<(u64, u64)>,
}

/// A member's part in consensus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Follower,
    /// It stands for election, with a set of votes; `pre`: it only asks whether it would win.
    Candidate {
        votes: u32,
        pre: bool,
    },
    Leader,
}

/// Something that is to happen unless it is called off.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Alarm {
    pub(crate) generation: u32,
    pub(crate) armed: bool,
}

impl Alarm {
    /// Sets it; gives the generation for its event.
    pub(crate) fn arm(&mut self) -> u32 {
        self.generation += 1;
        self.armed = true;
        self.generation
    }

    /// Calls it off.
    pub(crate) fn disarm(&mut self) {
        self.generation += 1;
        self.armed = false;
    }

    /// Whether the event of this generation still counts; it is spent then.
    pub(crate) fn rings(&mut self, generation: u32) -> bool {
        self.armed && self.generation == generation && std::mem::replace(&mut self.armed, false)
    }
}

/// How far a follower is, as its leader knows it.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) matched: usize,
    pub(crate) next: usize,
    pub(crate) commit_told: usize,
    /// Up to here everything was sent again after a rejection: rejections of less are older than that.
    pub(crate) resent: usize,
    pub(crate) resync_armed: bool,
}

/// A member from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Whether its process runs.
    pub up: bool,
    /// Whether it stands still.
    pub paused: bool,
    /// Whether it believes that it leads.
    pub leads: bool,
    /// Its term.
    pub term: u64,
    /// Whom it takes for the leader.
    pub leader: Option<u32>,
    /// How many entries it has applied.
    pub applied: u64,
    /// Its store's revision.
    pub revision: i64,
}

impl Member {
    /// A member that has applied `log` in `term`.
    pub(crate) fn new(
        index: usize,
        store: Store,
        term: u64,
        log: Vec<Arc<Entry>>,
        scan_phase_ns: u64,
    ) -> Self {
        let applied = log.len();
        Self {
            index,
            crashes: 0,
            pauses: 0,
            paused_at_ns: 0,
            boot: 0,
            listens: false,
            inbox: Vec::new(),
            clock: Clock::new(0, 0),
            slow_disk_ns: 0,
            disk_done_ns: 0,
            durable: applied,
            unsynced: VecDeque::new(),
            power_losses: 0,
            watch_lag_ns: 0,
            term,
            voted_for: None,
            log,
            commit: applied,
            applied,
            store,
            peers: Membership::default(),
            remotes: BTreeMap::new(),
            exists: true,
            server: 0,
            joining: false,
            role: Role::Follower,
            leader: None,
            hearing: false,
            last_heard_ns: 0,
            ticks_again_ns: 0,
            election: Alarm::default(),
            quorum: Alarm::default(),
            quorum_due_ns: 0,
            quorum_left_ns: None,
            leaderless: Alarm::default(),
            progress: Vec::new(),
            transferee: None,
            transfer: Alarm::default(),
            synced: 0,
            promoted: false,
            lessor: Lessor::default(),
            scan: Alarm::default(),
            scan_phase_ns,
            blocked: BTreeMap::new(),
            hub: WatchHub::default(),
            watches: BTreeMap::new(),
            watch_sync_armed: false,
            proposals: BTreeMap::new(),
            reads: Reads::default(),
            confirmations: BTreeMap::new(),
            unconfirmed: Vec::new(),
            forwards: BTreeMap::new(),
            timeouts: VecDeque::new(),
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.crashes == 0 && self.exists
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.pauses > 0
    }

    /// Up and not standing still.
    pub(crate) fn runs(&self) -> bool {
        self.is_up() && !self.is_paused()
    }

    pub(crate) fn leads(&self) -> bool {
        self.role == Role::Leader
    }

    /// Up to where its log is durable by now.
    pub(crate) fn durable(&mut self, now_ns: u64) -> usize {
        while let Some(&(_, index)) = self.unsynced.front().filter(|(at_ns, _)| *at_ns <= now_ns) {
            // A message that comes late may bring again what is durable for long.
            self.durable = self.durable.max(index);
            self.unsynced.pop_front();
        }
        self.durable
    }

    /// What it has appended up to here is durable when the disk is done.
    pub(crate) fn appended(&mut self, index: usize) {
        self.unsynced.push_back((self.disk_done_ns, index));
    }

    /// The log ends here: what was behind is gone.
    pub(crate) fn cut_log(&mut self, now_ns: u64, index: usize) {
        self.durable = self.durable(now_ns).min(index);
        for (_, appended) in &mut self.unsynced {
            *appended = (*appended).min(index);
        }
        self.log.truncate(index);
    }

    /// The term of the entry at `index`; 0 before the first.
    pub(crate) fn term_at(&self, index: usize) -> u64 {
        index.checked_sub(1).and_then(|place| self.log.get(place)).map_or(0, |entry| entry.term)
    }

    /// Its id in replies; another server at the same place has another.
    pub(crate) fn id(&self) -> u64 {
        CLUSTER_ID + 1 + self.index as u64 + u64::from(self.server) * 0x100
    }

    /// What its replies say of it.
    pub(crate) fn header(&self) -> Header {
        Header {
            cluster_id: CLUSTER_ID,
            member_id: self.id(),
            revision: self.store.revision(),
            raft_term: self.term,
        }
    }

    pub(crate) fn status(&self) -> MemberStatus {
        MemberStatus {
            up: self.is_up(),
            paused: self.is_paused(),
            leads: self.is_up() && self.leads(),
            term: self.term,
            leader: self.leader.map(|leader| leader as u32),
            applied: self.applied as u64,
            revision: self.store.revision(),
        }
    }

    /// Its memory is gone; term, vote, log and store stay.
    pub(crate) fn lose_memory(&mut self) {
        let log = std::mem::take(&mut self.log);
        let fresh = Self::new(self.index, self.store.clone(), self.term, log, self.scan_phase_ns);
        let lost = std::mem::replace(self, fresh);
        self.crashes = lost.crashes;
        self.pauses = lost.pauses;
        self.paused_at_ns = lost.paused_at_ns;
        self.boot = lost.boot + 1;
        self.clock = lost.clock;
        self.slow_disk_ns = lost.slow_disk_ns;
        self.power_losses = lost.power_losses;
        self.watch_lag_ns = lost.watch_lag_ns;
        self.voted_for = lost.voted_for;
        self.peers = lost.peers;
        self.exists = lost.exists;
        self.server = lost.server;
        self.joining = lost.joining;
        self.commit = lost.commit;
        self.applied = lost.applied;
    }
}

/// The simulated cluster's id.
pub(crate) const CLUSTER_ID: u64 = 0x7e4e_0000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::peer::Payload;
    use crate::store::StoreConfig;

    #[test]
    fn what_is_durable_stays_so_when_an_older_message_brings_less() {
        let entry = Arc::new(Entry { term: 1, payload: Payload::Empty });
        let mut member = Member::new(0, Store::new(StoreConfig::default()), 1, vec![entry; 6], 0);
        member.disk_done_ns = 20;
        member.appended(4);
        assert_eq!(member.durable(30), 6);
        member.cut_log(30, 3);
        assert_eq!(member.durable(30), 3, "but not what conflicts with the leader's log");
    }
}
