//! A real cluster on loopback, whose members can be killed, stopped and cut off from each other.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use super::ports::Port;
use super::proxy::{Links, Proxy};
use super::server::Ports;
use super::{RealError, Server, ServerOptions, wait_until};

/// What kind of cluster to start.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// How many members: 1, 3 or 5.
    pub members: usize,
    /// What each is.
    pub server: ServerOptions,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self { members: 3, server: ServerOptions::default() }
    }
}

/// A real cluster; its members are killed when it is dropped. Members are numbered from 0.
///
/// Links can only be cut on Linux: members are told apart by `/proc`.
#[derive(Debug)]
pub struct Cluster {
    members: Vec<Server>,
    links: Arc<Links>,
    _proxies: Vec<Proxy>,
}

impl Cluster {
    /// Starts a cluster and waits until every member is healthy, at most 20 s each.
    pub fn start(options: &ClusterOptions) -> Result<Self, RealError> {
        let names: Vec<String> = (0..options.members).map(|member| format!("member{member}")).collect();
        let pids: Vec<Arc<AtomicU32>> = names.iter().map(|_| Arc::default()).collect();
        let links = Links::new(pids.clone());
        let mut cluster = Self { members: Vec::new(), links, _proxies: Vec::new() };
        // First the proxies, so that no member finds another's missing and waits before it dials again.
        let (mut ports, mut peers) = (Vec::new(), Vec::new());
        for member in 0..options.members {
            let (own, before) = (Ports::take()?, Port::take()?);
            peers.push(before.url("http"));
            cluster._proxies.push(Proxy::start(&cluster.links, None, member, before, own.peer.number)?);
            ports.push(own);
        }
        let initial: Vec<String> =
            names.iter().zip(&peers).map(|(name, peer)| format!("{name}={peer}")).collect();
        let initial = initial.join(",");
        for (((name, peer), own), pid) in names.iter().zip(&peers).zip(ports).zip(pids) {
            cluster.members.push(Server::launch(&options.server, name, own, peer, &initial, pid)?);
        }
        cluster.wait_healthy()?;
        Ok(cluster)
    }

    /// The client endpoint of every member.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(Server::endpoint).collect()
    }

    /// Client endpoints for one client alone, one for each member, whose links can be cut: [`Cluster::cut`] and
    /// [`Cluster::heal`] know the client as `number`, which must be above all members' and belong to no other client.
    ///
    /// # Errors
    /// If there are no ports left.
    pub fn ways_for_client(&mut self, number: usize) -> Result<Vec<String>, RealError> {
        let mut endpoints = Vec::new();
        for (member, server) in self.members.iter().enumerate() {
            let port = Port::take()?;
            endpoints.push(port.url("http"));
            let proxy = Proxy::start(&self.links, Some(number), member, port, server.client_port())?;
            self._proxies.push(proxy);
        }
        Ok(endpoints)
    }

    /// A member.
    ///
    /// # Panics
    /// If there is no such member.
    pub fn member(&self, member: usize) -> &Server {
        &self.members[member]
    }

    /// A member, to kill or restart it.
    ///
    /// # Panics
    /// If there is no such member.
    pub fn member_mut(&mut self, member: usize) -> &mut Server {
        &mut self.members[member]
    }

    /// The member that believes it leads; the last one, if several do.
    pub fn leader(&self) -> Option<usize> {
        self.members.iter().rposition(Server::is_leader)
    }

    /// Waits until a member other than `old` believes it leads. None if there is none within `limit`.
    pub fn wait_for_leader_other_than(&self, old: usize, limit: Duration) -> Option<usize> {
        let mut found = None;
        wait_until(limit, || {
            found = (0..self.members.len()).find(|&member| member != old && self.members[member].is_leader());
            found.is_some()
        });
        found
    }

    /// Waits until every member is healthy, at most 20 s each.
    pub fn wait_healthy(&mut self) -> Result<(), RealError> {
        self.members.iter_mut().try_for_each(Server::wait_healthy)
    }

    /// Nothing that `from` sends reaches `to` any more, until it heals. The other direction stays, as far as TCP can do
    /// with one direction: requests arrive whose answers do not.
    pub fn cut(&self, from: usize, to: usize) {
        self.links.set_cut(from, to, true);
    }

    /// What `from` sends reaches `to` again.
    pub fn heal(&self, from: usize, to: usize) {
        self.links.set_cut(from, to, false);
    }

    /// Cuts `member` off from all others, both ways. Clients still reach it.
    pub fn isolate(&self, member: usize) {
        for other in (0..self.members.len()).filter(|&other| other != member) {
            self.cut(member, other);
            self.cut(other, member);
        }
    }

    /// Heals every link.
    pub fn heal_all(&self) {
        self.links.heal_all();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.links.end();
    }
}
