//! Carrying out faults, and undoing them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tenure::kv::Request;

use super::config::Planted;
use super::core::{Core, MS};
use super::event::Event;
use super::links::Link;
use super::membership::Want;
use super::peer::Proposal;
use crate::fault::{Fault, Lasting, Outage};
use crate::history::What;
use crate::node::Node;

/// The faults that are in force.
#[derive(Default)]
pub(crate) struct ActiveFaults {
    by_index: BTreeMap<usize, Active>,
    /// The space is to run out with the next write that needs some.
    fills: bool,
}

struct Active {
    fault: Fault,
    /// Of a flapping link: whether it is cut now. Of a power loss: whether it has come.
    on: bool,
    generation: u32,
}

impl ActiveFaults {
    /// Whether the NOSPACE alarm is to be on.
    pub(crate) fn no_space(&self) -> bool {
        !self.fills && self.lacking_space() > 0
    }

    /// How many faults take the space.
    fn lacking_space(&self) -> usize {
        self.by_index.values().filter(|active| active.fault == Fault::NoSpace).count()
    }

    /// Whether a write that needs space is the one that takes the last of it.
    pub(crate) fn fill(&mut self) -> bool {
        std::mem::take(&mut self.fills)
    }

    /// The drift that the newest fault wants for a node.
    fn drift_ppm(&self, wanted: Node) -> Option<i64> {
        self.by_index.values().rev().find_map(|active| match active.fault {
            Fault::ClockDrift { node, ppm } if node == wanted => Some(ppm),
            _ => None,
        })
    }

    fn slow_disk_ms(&self, wanted: Node) -> u64 {
        let slowest = self.by_index.values().filter_map(|active| match active.fault {
            Fault::SlowCommit { node, max_ms } if node == wanted => Some(max_ms),
            _ => None,
        });
        slowest.max().unwrap_or(0)
    }
}

impl Core {
    /// A fault begins.
    pub(crate) fn inject(&mut self, index: usize, fault: &Fault) {
        self.record(Node::World, What::FaultBegins { index, fault: fault.clone() });
        if self.config.planted == Some(Planted::FaultsNeverFire) {
            return;
        }
        if lasts(fault) {
            let active = Active { fault: fault.clone(), on: false, generation: 0 };
            self.faults.by_index.insert(index, active);
        }
        match fault {
            Fault::Crash { node } => self.crash(*node),
            Fault::Pause { node } => self.pause(*node),
            Fault::Flap { .. } => self.flap(index, 0),
            Fault::PowerLoss { node } => self.await_power_loss(*node, true),
            Fault::MemberAdd { .. } | Fault::MemberRemove { .. } => {
                let (changes, _) = self.changes_of(fault);
                self.want(&changes);
            }
            Fault::MajorityLoss { members, outage } => {
                for &node in members {
                    match outage {
                        Outage::Crash => self.crash(node),
                        Outage::Pause => self.pause(node),
                    }
                }
            }
            Fault::ClockJump { node, ahead_ms } => self.jump_clock(*node, *ahead_ms),
            Fault::LeaderChange => self.transfer_leadership(),
            Fault::Compact { keep } => self.compact(*keep),
            other => self.change_state(other, true),
        }
    }

    /// A fault ends.
    pub(crate) fn heal(&mut self, index: usize, fault: &Fault) {
        let Some(active) = self.faults.by_index.remove(&index) else { return };
        self.record(Node::World, What::FaultEnds { index });
        match fault {
            Fault::Crash { node } => self.restart(*node),
            Fault::Pause { node } => self.resume(*node),
            Fault::Flap { links, .. } => {
                if active.on {
                    self.cut(links, false);
                }
            }
            Fault::PowerLoss { node } if active.on => self.restart(*node),
            Fault::PowerLoss { node } => self.await_power_loss(*node, false),
            Fault::MemberAdd { .. } | Fault::MemberRemove { .. } => {
                let (changes, back) = self.changes_of(fault);
                if !self.withdraw(&changes) {
                    self.want(&back);
                }
            }
            Fault::MajorityLoss { members, outage } => {
                for &node in members {
                    match outage {
                        Outage::Crash => self.restart(node),
                        Outage::Pause => self.resume(node),
                    }
                }
            }
            other => self.change_state(other, false),
        }
    }

    /// Every fault ends but those that last.
    pub(crate) fn calm(&mut self, lasting: &Lasting) {
        let active: Vec<(usize, Fault)> = self
            .faults
            .by_index
            .iter()
            .filter(|(index, _)| !lasting.faults.contains(index))
            .map(|(&index, active)| (index, active.fault.clone()))
            .collect();
        for (index, fault) in active {
            self.heal(index, &fault);
        }
        for &node in &lasting.nodes {
            self.record(node, What::StaysBroken);
        }
        self.record(Node::World, What::Calm);
    }

    /// Faults that are a state of links or nodes.
    fn change_state(&mut self, fault: &Fault, on: bool) {
        match fault {
            Fault::Cut { links } => self.cut(links, on),
            Fault::Loss { links, per_mille } => {
                self.change_links(links, |link| add(&mut link.loss_per_mille, *per_mille, on));
            }
            Fault::Delay { links, max_ms } => {
                self.change_links(links, |link| add_ns(&mut link.delay_max_ns, *max_ms, on));
            }
            Fault::Duplicate { links, per_mille, max_ms, writes } => self.change_links(links, |link| {
                add(&mut link.duplicate_writes, u32::from(*writes), on);
                add(&mut link.duplicate_per_mille, *per_mille, on);
                add_ns(&mut link.duplicate_max_ns, *max_ms, on);
            }),
            Fault::AnswerLost { client: Node::Client(client), per_mille } => {
                if let Some(process) = self.clients.get_mut(*client as usize) {
                    add(&mut process.answer_lost_per_mille, *per_mille, on);
                }
            }
            Fault::TokenExpiry { client: Node::Client(client) } => {
                if let Some(process) = self.clients.get_mut(*client as usize) {
                    add(&mut process.tokens_expired, 1, on);
                }
            }
            Fault::ClockDrift { node, .. } => self.settle_drift(*node),
            Fault::SlowCommit { node, .. } => {
                let slow_ns = self.faults.slow_disk_ms(*node) * MS;
                if let Some(member) = self.member_of(*node) {
                    self.members[member].slow_disk_ns = slow_ns;
                }
            }
            Fault::WatchLag { node, max_ms } => {
                if let Some(member) = self.member_of(*node) {
                    add_ns(&mut self.members[member].watch_lag_ns, *max_ms, on);
                }
            }
            Fault::NoSpace => {
                let active = self.faults.lacking_space();
                self.faults.fills =
                    if on { self.faults.fills || active == 1 } else { self.faults.fills && active > 0 };
                if let Some(leader) = self.newest_leader().filter(|&leader| self.members[leader].promoted) {
                    self.agree_on_alarm(leader);
                }
            }
            _ => {}
        }
    }

    fn member_of(&self, node: Node) -> Option<usize> {
        match node {
            Node::Member(index) => Some(index as usize).filter(|&index| index < self.members.len()),
            Node::World | Node::Client(_) => None,
        }
    }

    fn client_of(&self, node: Node) -> Option<usize> {
        match node {
            Node::Client(index) => Some(index as usize).filter(|&index| index < self.clients.len()),
            Node::World | Node::Member(_) => None,
        }
    }

    fn node_number(&self, node: Node) -> Option<usize> {
        self.member_of(node).or_else(|| self.client_of(node).map(|client| self.client_node(client)))
    }

    fn change_links(&mut self, links: &[(Node, Node)], change: impl Fn(&mut Link)) {
        for &(from, to) in links {
            if let (Some(from), Some(to)) = (self.node_number(from), self.node_number(to))
                && from != to
                && let Some(link) = self.links.link(from, to)
            {
                change(link);
            }
        }
        self.shaken = true;
    }

    fn cut(&mut self, links: &[(Node, Node)], on: bool) {
        self.change_links(links, |link| add(&mut link.cuts, 1, on));
        if !on {
            self.release_held();
            self.release_streams();
        }
    }

    /// A flapping link's time in one state is over.
    pub(crate) fn flap(&mut self, index: usize, generation: u32) {
        let Some(active) = self.faults.by_index.get_mut(&index) else { return };
        let Fault::Flap { links, period_ms } = active.fault.clone() else { return };
        if active.generation != generation {
            return;
        }
        active.on = !active.on;
        active.generation += 1;
        let (on, generation) = (active.on, active.generation);
        self.cut(&links, on);
        self.schedule(period_ms.max(1) * MS, Event::Flap { index, generation });
    }

    fn settle_drift(&mut self, node: Node) {
        let wanted = self.faults.drift_ppm(node);
        let now_ns = self.now_ns;
        if let Some(client) = self.client_of(node) {
            let process = &mut self.clients[client];
            process.clock.set_drift(now_ns, wanted.unwrap_or(process.drift_ppm));
            self.rearm_timers(client);
        } else if let Some(member) = self.member_of(node) {
            let drift_ppm = wanted.unwrap_or_else(|| self.lease_drift_ppm());
            self.members[member].clock.set_drift(now_ns, drift_ppm);
            self.arm_scan(member);
        }
    }

    fn jump_clock(&mut self, node: Node, ahead_ms: u64) {
        let now_ns = self.now_ns;
        if let Some(client) = self.client_of(node) {
            self.clients[client].clock.jump(now_ns, ahead_ms * MS);
            self.rearm_timers(client);
        } else if let Some(member) = self.member_of(node) {
            self.members[member].clock.jump(now_ns, ahead_ms * MS);
            self.arm_scan(member);
        }
    }

    fn crash(&mut self, node: Node) {
        if let Some(client) = self.client_of(node) {
            return self.crash_client(client);
        }
        let Some(me) = self.member_of(node) else { return };
        self.members[me].crashes += 1;
        if self.members[me].crashes > 1 || !self.members[me].exists {
            return;
        }
        self.record(node, What::Crashed);
        self.lose_process(me);
    }

    /// A member's process is gone, and what it had in memory.
    pub(crate) fn lose_process(&mut self, me: usize) {
        for event in std::mem::take(&mut self.members[me].inbox) {
            self.miss(event);
        }
        self.reset_calls(me);
        self.reset_watches(me);
        self.members[me].lose_memory();
        self.shaken = true;
    }

    /// The changes of membership that a fault is, and those that undo it.
    fn changes_of(&self, fault: &Fault) -> (Vec<Want>, Vec<Want>) {
        let added = |member, learner| match learner {
            true => vec![Want::AddLearner(member), Want::Promote(member)],
            false => vec![Want::Add(member)],
        };
        match *fault {
            Fault::MemberAdd { node, learner } => {
                self.member_of(node).map(|member| (added(member, learner), vec![Want::Remove(member)]))
            }
            Fault::MemberRemove { node, learner } => {
                self.member_of(node).map(|member| (vec![Want::Remove(member)], added(member, learner)))
            }
            _ => None,
        }
        .unwrap_or_default()
    }

    fn await_power_loss(&mut self, node: Node, on: bool) {
        if let Some(me) = self.member_of(node) {
            add(&mut self.members[me].power_losses, 1, on);
        }
    }

    /// The member has appended, and dies before that is durable, if a power loss waits for that.
    pub(crate) fn power_fails(&mut self, me: usize) {
        let node = Node::Member(me as u32);
        let waits = |active: &&mut Active| !active.on && active.fault == Fault::PowerLoss { node };
        let Some(active) = self.faults.by_index.values_mut().find(waits) else { return };
        active.on = true;
        self.await_power_loss(node, false);
        let member = &mut self.members[me];
        let (had, durable) = (member.log.len(), member.durable(self.now_ns));
        member.cut_log(self.now_ns, durable);
        member.commit = member.commit.min(durable);
        if member.applied > durable {
            let store = self.store_at(durable);
            let member = &mut self.members[me];
            (member.applied, member.store) = (durable, store);
            self.members[me].peers = self.peers_at(durable);
        }
        self.record(node, What::LostTail { entries: had - durable });
        self.crash(node);
    }

    fn restart(&mut self, node: Node) {
        if let Some(client) = self.client_of(node) {
            return self.restart_client(client);
        }
        let Some(me) = self.member_of(node) else { return };
        self.members[me].crashes -= 1;
        if self.members[me].is_up() {
            self.record(node, What::Started);
            self.arm_leaderless(me);
            self.shaken = true;
        }
    }

    fn pause(&mut self, node: Node) {
        if let Some(client) = self.client_of(node) {
            return self.pause_client(client);
        }
        let Some(me) = self.member_of(node) else { return };
        self.members[me].pauses += 1;
        if self.members[me].pauses == 1 {
            self.members[me].paused_at_ns = self.now_ns;
            self.record(node, What::Paused);
            self.shaken = true;
        }
    }

    /// The member goes on, and takes in what came meanwhile: long after whoever sent it has given up, perhaps.
    fn resume(&mut self, node: Node) {
        if let Some(client) = self.client_of(node) {
            return self.resume_client(client);
        }
        let Some(me) = self.member_of(node) else { return };
        self.members[me].pauses -= 1;
        if self.members[me].is_paused() {
            return;
        }
        self.record(node, What::Resumed);
        self.shaken = true;
        self.stalled(me);
        self.take_inbox(me);
    }

    /// The history up to `keep` revisions before the present one goes.
    pub(crate) fn compact(&mut self, keep: u64) {
        let Some(leader) = self.newest_leader() else { return };
        let revision = self.members[leader].store.revision() - keep.cast_signed();
        if revision > self.members[leader].store.compact_revision() {
            let request = Arc::new(Request::Compact { revision, physical: false });
            let id = self.fresh_id();
            self.propose(leader, Proposal { id, call: None, request, overflows: false });
        }
    }
}

/// Whether a fault is a state that has an end.
fn lasts(fault: &Fault) -> bool {
    !matches!(fault, Fault::ClockJump { .. } | Fault::LeaderChange | Fault::Compact { .. })
}

fn add(count: &mut u32, by: u32, on: bool) {
    *count = if on { count.saturating_add(by) } else { count.saturating_sub(by) };
}

fn add_ns(count: &mut u64, by_ms: u64, on: bool) {
    *count = if on { count.saturating_add(by_ms * MS) } else { count.saturating_sub(by_ms * MS) };
}
