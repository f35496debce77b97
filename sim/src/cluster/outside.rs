//! A cluster as those see it who reach it through sockets: at which members there is somebody to talk to, what a link does
//! to bytes, and what an operator asks of it.

use std::sync::Arc;

use tenure::kv::Request;
use tenure::wire::Status;

use super::core::{Core, MS};
use super::member::CLUSTER_ID;
use super::membership::Want;
use crate::history::What;

/// What a client meets at a member's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// A server that answers.
    Open,
    /// Nobody listens: connections are refused, those there were are reset.
    Refuses,
    /// The process stands still: the kernel takes connections and bytes, nobody reads them.
    Hangs,
}

/// What a link does to bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkState {
    /// Nothing passes; it waits.
    pub cut: bool,
    /// Lost packets of a thousand; TCP sends them again.
    pub loss_per_mille: u32,
    /// At most so much later.
    pub delay_max_ms: u64,
}

/// What clients outside meet, at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doors {
    /// Each member's door, and which start of its process is behind it.
    pub members: Vec<(Door, u32)>,
    /// By member, then by client: the link to the member, and the one from it.
    pub links: Vec<Vec<(LinkState, LinkState)>>,
}

/// One entry of the list of members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberInfo {
    /// Its place.
    pub place: usize,
    /// Its id.
    pub id: u64,
    /// It does not vote yet.
    pub learner: bool,
    /// Whether its server has been started.
    pub started: bool,
}

/// Why etcd does not do what an operator asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no leader that could.
    NoLeader,
    /// Another change is under way.
    Pending,
    /// Too few members can be reached.
    Unhealthy,
    /// The learner lacks too much of the log.
    NotReady,
    /// It is the last one that could lead.
    LastLeader,
}

impl Core {
    /// What clients outside meet now.
    pub(crate) fn doors(&self) -> Doors {
        let members = self.members.iter().map(|member| {
            let door = if !member.is_up() || !member.listens {
                Door::Refuses
            } else if member.is_paused() {
                Door::Hangs
            } else {
                Door::Open
            };
            (door, member.boot)
        });
        let links = (0..self.members.len()).map(|member| {
            let clients = (0..self.clients.len()).map(|client| self.client_node(client));
            clients.map(|client| (self.link_state(client, member), self.link_state(member, client))).collect()
        });
        Doors { members: members.collect(), links: links.collect() }
    }

    fn link_state(&self, from: usize, to: usize) -> LinkState {
        let link = self.links.state(from, to);
        LinkState {
            cut: link.cuts > 0,
            loss_per_mille: link.loss_per_mille,
            delay_max_ms: link.delay_max_ns / MS,
        }
    }

    /// The members as the one at this place has them.
    pub(crate) fn member_list(&self, me: usize) -> Vec<MemberInfo> {
        let peers = &self.members[me].peers;
        let known = (0..self.members.len()).filter(|&place| peers.contains(place));
        known
            .map(|place| {
                let server = peers.server_at(place).unwrap_or(0);
                let member = &self.members[place];
                let started = member.server == server && (member.exists || member.server == 0);
                MemberInfo {
                    place,
                    id: CLUSTER_ID + 1 + place as u64 + u64::from(server) * 0x100,
                    learner: peers.learns(place),
                    started,
                }
            })
            .collect()
    }

    /// A place at which there is no member.
    pub(crate) fn free_place(&self, me: usize) -> Option<usize> {
        let peers = &self.members[me].peers;
        (0..self.members.len()).find(|&place| !peers.contains(place) && !self.members[place].exists)
    }

    /// Asks the leader for a change, once; what it comes to is seen in the list of members.
    pub(crate) fn ask_once(&mut self, want: Want) -> Result<(), Refusal> {
        let leader = self.newest_leader().filter(|&leader| self.members[leader].runs());
        self.ask_for_change(leader.ok_or(Refusal::NoLeader)?, want)?;
        if let Want::Add(_) | Want::AddLearner(_) = want {
            // The server is started once the change is made, as an operator would.
            self.want(&[want]);
        }
        Ok(())
    }

    /// Lets a lease run out now. Gives whether there is one.
    pub(crate) fn expire_lease(&mut self, lease: i64) -> Result<bool, Refusal> {
        let leader = self.newest_leader().filter(|&leader| self.members[leader].runs());
        let leader = leader.ok_or(Refusal::NoLeader)?;
        if self.members[leader].store.lease(lease).is_none() {
            return Ok(false);
        }
        self.record_member(leader, What::LeaseExpired { lease });
        self.propose_revocation(leader, lease);
        Ok(true)
    }

    /// Raises the NOSPACE alarm, or clears it.
    pub(crate) fn set_space_alarm(&mut self, on: bool) {
        self.space.alarm = on;
        if let Some(leader) = self.newest_leader().filter(|&leader| self.members[leader].promoted) {
            self.agree_on_alarm(leader);
        }
    }

    /// What etcd's quota says to a request, before it is proposed: one that needs more than is left raises the alarm
    /// (`quotaKVServer` in `api/v3rpc/quota.go`).
    pub(crate) fn exceeds_quota(&mut self, me: usize, request: &Request) -> Option<Status> {
        let quota = self.config.quota_bytes;
        if quota == 0 {
            return None;
        }
        let cost = self.members[me].store.space_cost(request)?;
        if self.space.file_bytes.saturating_add(cost) <= quota {
            return None;
        }
        self.set_space_alarm(true);
        Some(crate::store::refuse::no_space())
    }

    /// A write was applied first here: the backend's file has grown.
    pub(crate) fn note_space(&mut self, me: usize, request: &Arc<Request>, written: u64) {
        self.space.in_use_bytes += written;
        if let Request::Compact { .. } = **request {
            self.space.in_use_bytes = EMPTY_FILE_BYTES + self.members[me].store.kept_bytes();
        }
        self.space.file_bytes = self.space.file_bytes.max(self.space.in_use_bytes);
    }
}

/// How much the cluster's backends hold, as etcd's quota and status count it, roughly: each revision of a key with its key
/// and value, pages and indices left out. What compaction frees is used again; only defragmentation gives it back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Space {
    /// Of the file.
    pub(crate) file_bytes: u64,
    /// Of it in use.
    pub(crate) in_use_bytes: u64,
    /// Whether an alarm was raised for want of space, and not cleared.
    pub(crate) alarm: bool,
}

impl Default for Space {
    fn default() -> Self {
        Self { file_bytes: EMPTY_FILE_BYTES, in_use_bytes: EMPTY_FILE_BYTES, alarm: false }
    }
}

/// bbolt's file with nothing in it.
const EMPTY_FILE_BYTES: u64 = 20_480;
