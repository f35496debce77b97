//! Carries out a plan's faults on real servers, links and processes. Which of them it can is in [`CAN`]; a plan for a real
//! round is drawn from those alone.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::time::Duration;

use etcd_client::{AlarmAction, AlarmType, Client, CompactionOptions, MaintenanceClient};

use super::clients::Clients;
use super::clock::Epoch;
use super::merge::Item;
use crate::fault::{Fault, Outage};
use crate::history::What;
use crate::node::Node;
use crate::real::{Cluster, RealError};

/// The faults, by their weights' names, that can be done to a real cluster on one machine.
pub(super) const CAN: &[&str] = &[
    "member-crash",
    "client-crash",
    "member-pause",
    "client-pause",
    "partition",
    "one-way",
    "flap",
    "majority-loss",
    "leader-change",
    "compact",
    "no-space",
];

/// A leader that stands still for longer than a lease lives may revoke a live one when it goes on (etcd 12528, and in newer
/// releases, too). That is etcd's own fault, and cannot be told from the library's here: members stand still for less.
pub(super) const LONGEST_MEMBER_PAUSE_OF_TTL: u64 = 60;

/// Requests of an operator end within this time.
const OPERATOR_WAITS: Duration = Duration::from_secs(2);

/// How often a healthy cluster is asked to clear an alarm.
const ALARM_TRIES: u32 = 10;

/// Does faults to a cluster and its clients.
pub(super) struct Faults<'a> {
    pub(super) cluster: &'a mut Cluster,
    pub(super) clients: &'a mut Clients,
    epoch: Epoch,
    items: Sender<Item>,
    tokio: tokio::runtime::Runtime,
    crashes: BTreeMap<usize, u32>,
    pauses: BTreeMap<usize, u32>,
    /// How many faults cut each link.
    cuts: BTreeMap<(usize, usize), u32>,
    /// The links that come and go, by the fault's place: how long each state lasts, and when it changes next.
    flapping: BTreeMap<usize, Flapping>,
    /// Whether the alarm for want of space may stand, though no fault asks for it.
    alarm_in_doubt: bool,
    members: usize,
}

struct Flapping {
    links: Vec<(usize, usize)>,
    period_ns: u64,
    next_ns: u64,
    is_cut: bool,
}

impl<'a> Faults<'a> {
    pub(super) fn new(
        cluster: &'a mut Cluster,
        clients: &'a mut Clients,
        members: usize,
        epoch: Epoch,
        items: &Sender<Item>,
    ) -> Result<Self, RealError> {
        let tokio = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(RealError::io("starting tokio"))?;
        Ok(Self {
            cluster,
            clients,
            epoch,
            items: items.clone(),
            tokio,
            crashes: BTreeMap::new(),
            pauses: BTreeMap::new(),
            cuts: BTreeMap::new(),
            flapping: BTreeMap::new(),
            alarm_in_doubt: false,
            members,
        })
    }

    /// A fault of the plan begins.
    pub(super) fn begin(&mut self, index: usize, fault: &Fault) -> Result<(), RealError> {
        self.tell(What::FaultBegins { index, fault: fault.clone() });
        match fault {
            Fault::Crash { node } => self.crash(*node),
            Fault::Pause { node } => self.pause(*node),
            Fault::Cut { links } => {
                let links = self.places(links);
                links.into_iter().for_each(|link| self.cut(link));
            }
            Fault::Flap { links, period_ms } => {
                let period_ns = (*period_ms).max(1) * 1_000_000;
                let links = self.places(links);
                let next_ns = self.epoch.elapsed_ns();
                self.flapping.insert(index, Flapping { links, period_ns, next_ns, is_cut: false });
                self.flap();
            }
            Fault::MajorityLoss { members, outage } => {
                for node in members {
                    match outage {
                        Outage::Crash => self.crash(*node),
                        Outage::Pause => self.pause(*node),
                    }
                }
            }
            Fault::LeaderChange => self.move_leader(),
            Fault::Compact { keep } => self.compact(i64::try_from(*keep).unwrap_or(i64::MAX)),
            Fault::NoSpace => self.alarm(AlarmAction::Activate),
            other => self.note(format!("{} cannot be done to a real cluster", other.name())),
        }
        Ok(())
    }

    /// It is undone.
    pub(super) fn end(&mut self, index: usize, fault: &Fault) -> Result<(), RealError> {
        match fault {
            Fault::Crash { node } => self.restart(*node)?,
            Fault::Pause { node } => self.resume(*node),
            Fault::Cut { links } => {
                let links = self.places(links);
                links.into_iter().for_each(|link| self.heal(link));
            }
            Fault::Flap { .. } => {
                if let Some(flapping) = self.flapping.remove(&index)
                    && flapping.is_cut
                {
                    flapping.links.into_iter().for_each(|link| self.heal(link));
                }
            }
            Fault::MajorityLoss { members, outage } => {
                for node in members {
                    match outage {
                        Outage::Crash => self.restart(*node)?,
                        Outage::Pause => self.resume(*node),
                    }
                }
            }
            Fault::NoSpace => self.alarm(AlarmAction::Deactivate),
            _ => {}
        }
        self.tell(What::FaultEnds { index });
        Ok(())
    }

    /// Every fault has ended: waits until the cluster is whole, and nothing of them is left.
    pub(super) fn calm(&mut self) -> Result<(), RealError> {
        self.cluster.wait_healthy()?;
        let mut tries = 0;
        while std::mem::take(&mut self.alarm_in_doubt) {
            if tries == ALARM_TRIES {
                let reason = "the alarm for want of space could not be cleared".to_owned();
                return Err(RealError::NotHealthy { reason, log: String::new() });
            }
            tries += 1;
            self.alarm(AlarmAction::Deactivate);
        }
        Ok(())
    }

    /// Cuts and heals what comes and goes, as far as it is due. Gives when the next is.
    pub(super) fn flap(&mut self) -> Option<u64> {
        let now_ns = self.epoch.elapsed_ns();
        let mut flapping = std::mem::take(&mut self.flapping);
        for one in flapping.values_mut().filter(|one| one.next_ns <= now_ns) {
            one.is_cut = !one.is_cut;
            one.next_ns = now_ns + one.period_ns;
            for &link in &one.links {
                if one.is_cut {
                    self.cut(link);
                } else {
                    self.heal(link);
                }
            }
        }
        self.flapping = flapping;
        self.flapping.values().map(|one| one.next_ns).min()
    }

    fn crash(&mut self, node: Node) {
        match node {
            Node::Member(member) => {
                let member = member as usize;
                if count_up(&mut self.crashes, member) {
                    self.cluster.member_mut(member).kill();
                    self.tell_of(node, What::Crashed);
                }
            }
            Node::Client(client) => self.clients.crash(client as usize),
            Node::World => {}
        }
    }

    fn restart(&mut self, node: Node) -> Result<(), RealError> {
        match node {
            Node::Member(member) => {
                let member = member as usize;
                if count_down(&mut self.crashes, member) {
                    self.cluster.member_mut(member).restart_unhealthy()?;
                    self.tell_of(node, What::Started);
                    if self.pauses.get(&member).is_some_and(|&pauses| pauses > 0) {
                        self.cluster.member(member).pause();
                    }
                }
            }
            Node::Client(client) => self.clients.restart(client as usize)?,
            Node::World => {}
        }
        Ok(())
    }

    fn pause(&mut self, node: Node) {
        match node {
            Node::Member(member) => {
                let member = member as usize;
                if count_up(&mut self.pauses, member) {
                    self.cluster.member(member).pause();
                    self.tell_of(node, What::Paused);
                }
            }
            Node::Client(client) => self.clients.pause(client as usize),
            Node::World => {}
        }
    }

    fn resume(&mut self, node: Node) {
        match node {
            Node::Member(member) => {
                let member = member as usize;
                if count_down(&mut self.pauses, member) {
                    self.tell_of(node, What::Resumed);
                    self.cluster.member(member).resume();
                }
            }
            Node::Client(client) => self.clients.resume(client as usize),
            Node::World => {}
        }
    }

    /// The links' ends as the proxies number them: members first, then clients.
    fn places(&self, links: &[(Node, Node)]) -> Vec<(usize, usize)> {
        let place = |node: Node| match node {
            Node::Member(member) => Some(member as usize),
            Node::Client(client) => Some(self.members + client as usize),
            Node::World => None,
        };
        links.iter().filter_map(|&(from, to)| Some((place(from)?, place(to)?))).collect()
    }

    fn cut(&mut self, link: (usize, usize)) {
        if count_up(&mut self.cuts, link) {
            self.cluster.cut(link.0, link.1);
        }
    }

    fn heal(&mut self, link: (usize, usize)) {
        if count_down(&mut self.cuts, link) {
            self.cluster.heal(link.0, link.1);
        }
    }

    fn move_leader(&mut self) {
        let Some(leader) = self.cluster.leader() else {
            return self.note("nobody leads: there is no leader to move".to_owned());
        };
        let other = (leader + 1) % self.members.max(1);
        let (from, to) = (self.cluster.member(leader).endpoint(), self.cluster.member(other).endpoint());
        self.operator("move the leader", async move {
            // etcd names members by id; each says its own.
            let mut other = Client::connect([to], None).await?;
            let id = other.status().await?.header().map_or(0, etcd_client::ResponseHeader::member_id);
            let mut maintenance: MaintenanceClient =
                Client::connect([from], None).await?.maintenance_client();
            maintenance.move_leader(id).await.map(|_| ())
        });
    }

    fn compact(&mut self, keep: i64) {
        let endpoints = self.cluster.endpoints();
        self.operator("compact", async move {
            let mut client = Client::connect(endpoints, None).await?;
            let newest =
                client.get("x", None).await?.header().map_or(0, etcd_client::ResponseHeader::revision);
            let revision = (newest - keep).max(1);
            client.compact(revision, Some(CompactionOptions::new().with_physical())).await.map(|_| ())
        });
    }

    fn alarm(&mut self, action: AlarmAction) {
        let endpoints = self.cluster.endpoints();
        let done = self.operator("raise or clear the alarm", async move {
            let mut client = Client::connect(endpoints, None).await?;
            client.alarm(action, AlarmType::Nospace, None).await.map(|_| ())
        });
        // An answer that is lost leaves it open which way it stands.
        self.alarm_in_doubt |= !done;
    }

    /// An operator's request, and whether it was done; that it failed is told, too.
    fn operator(
        &mut self,
        what: &str,
        request: impl Future<Output = Result<(), etcd_client::Error>>,
    ) -> bool {
        #[allow(clippy::disallowed_methods, reason = "an operator's patience is real time")]
        let done = self.tokio.block_on(async { tokio::time::timeout(OPERATOR_WAITS, request).await });
        let why = match done {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        self.note(format!("the operator could not {what}: {why}"));
        false
    }

    fn note(&self, words: String) {
        self.tell(What::Note(words));
    }

    fn tell(&self, what: What) {
        self.tell_of(Node::World, what);
    }

    fn tell_of(&self, node: Node, what: What) {
        let _ = self.items.send(Item::of_round(self.epoch.elapsed_ns(), node, what));
    }
}

/// Counts one more; true if it is the first.
fn count_up<K: Ord>(counts: &mut BTreeMap<K, u32>, of: K) -> bool {
    let count = counts.entry(of).or_default();
    *count += 1;
    *count == 1
}

/// Counts one less; true if none is left.
fn count_down<K: Ord>(counts: &mut BTreeMap<K, u32>, of: K) -> bool {
    let count = counts.entry(of).or_default();
    let was = *count;
    *count = was.saturating_sub(1);
    was == 1
}
