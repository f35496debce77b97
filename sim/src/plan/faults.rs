//! Draws the faults of a plan: a random subset of those that the scenario weighs (swarm testing: a fault that is always
//! there hides what happens without it), then one after another at random times with random targets.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::draw::{chance, choices, drift, skewed, weighted, within};
use crate::fault::{Fault, Outage, TimedFault};
use crate::node::Node;
use crate::scenario::Scenario;

type Links = Vec<(Node, Node)>;

pub(super) fn draw(scenario: &Scenario, rng: &mut ChaCha8Rng) -> Vec<TimedFault> {
    let swarm = swarm(scenario, rng);
    let calm_at_ms = scenario.calm_at_ms();
    let mut faults = Vec::new();
    let mut at_ms = skewed(rng, scenario.faults.gap_ms);
    while at_ms < calm_at_ms {
        let Some(name) = weighted(rng, &swarm) else { break };
        let for_ms = lasting_ms(scenario, name, rng).min(calm_at_ms - at_ms);
        let target = Targets { scenario, rng };
        faults.push(TimedFault { at_ms, for_ms, fault: target.fault(name, for_ms) });
        at_ms += within(rng, scenario.faults.gap_ms).max(1);
    }
    faults
}

fn lasting_ms(scenario: &Scenario, name: &str, rng: &mut ChaCha8Rng) -> u64 {
    let drawn_ms = skewed(rng, scenario.faults.lasting_ms);
    // What matters is what comes after: no lease outlives it.
    if name == "majority-loss" { scenario.longest_lease_ms() + drawn_ms.min(3_000) } else { drawn_ms }
}

/// Half of the faults, each with a random share of its weight; now and then all, or none.
fn swarm<'a>(scenario: &'a Scenario, rng: &mut ChaCha8Rng) -> Vec<(&'a str, f64)> {
    let all = choices(&scenario.faults.weights);
    let odds = match within(rng, [0, 19]) {
        0 => 0,
        1..=4 => 100,
        5..=9 => 25,
        _ => 50,
    };
    all.into_iter()
        .filter_map(|(name, weight)| {
            let share = within(rng, [1, 100]) as f64 / 100.0;
            chance(rng, odds, 100).then_some((name, weight * share))
        })
        .collect()
}

struct Targets<'a> {
    scenario: &'a Scenario,
    rng: &'a mut ChaCha8Rng,
}

impl Targets<'_> {
    fn fault(mut self, name: &str, for_ms: u64) -> Fault {
        match name {
            "member-crash" => Fault::Crash { node: self.member() },
            "client-crash" => Fault::Crash { node: self.client() },
            "member-pause" => Fault::Pause { node: self.member() },
            "client-pause" => Fault::Pause { node: self.client() },
            "partition" => Fault::Cut { links: self.partition(false) },
            "one-way" => Fault::Cut { links: self.partition(true) },
            "flap" => {
                let one_way = chance(self.rng, 1, 3);
                Fault::Flap { links: self.partition(one_way), period_ms: skewed(self.rng, [50, 2_000]) }
            }
            "loss" => Fault::Loss { links: self.some_links(), per_mille: self.per_mille(10, 600) },
            "delay" => Fault::Delay { links: self.some_links(), max_ms: skewed(self.rng, [2, 3_000]) },
            "duplicate" | "duplicate-writes" => Fault::Duplicate {
                links: self.requests(),
                per_mille: self.per_mille(50, 1000),
                max_ms: skewed(self.rng, [1, 5_000]),
                writes: name == "duplicate-writes",
            },
            "power-loss" => Fault::PowerLoss { node: self.member() },
            "majority-loss" => Fault::MajorityLoss {
                members: self.majority(),
                outage: if chance(self.rng, 1, 2) { Outage::Crash } else { Outage::Pause },
            },
            "member-add" => Fault::MemberAdd { node: self.spare(), learner: chance(self.rng, 1, 2) },
            "member-remove" => Fault::MemberRemove { node: self.member(), learner: chance(self.rng, 1, 2) },
            "watch-lag" => Fault::WatchLag { node: self.member(), max_ms: skewed(self.rng, [50, 6_000]) },
            "answer-lost" => {
                Fault::AnswerLost { client: self.client(), per_mille: self.per_mille(100, 1000) }
            }
            "clock-drift" => Fault::ClockDrift {
                node: if chance(self.rng, 1, 3) { self.member() } else { self.client() },
                ppm: drift(self.rng, self.scenario.clients.drift_ppm),
            },
            "clock-jump" => Fault::ClockJump { node: self.client(), ahead_ms: skewed(self.rng, [1, 10_000]) },
            "slow-commit" => Fault::SlowCommit {
                node: self.member(),
                max_ms: skewed(self.rng, [1, for_ms.clamp(2, 2_000)]),
            },
            "leader-change" => Fault::LeaderChange,
            "compact" => Fault::Compact { keep: skewed(self.rng, [0, 50]) },
            "no-space" => Fault::NoSpace,
            // The names are checked when a scenario is read; this is the last of them.
            _ => Fault::TokenExpiry { client: self.client() },
        }
    }

    fn per_mille(&mut self, from: u64, to: u64) -> u32 {
        u32::try_from(within(self.rng, [from, to])).unwrap_or_default()
    }

    /// Observers are clients too.
    fn processes(&self) -> u32 {
        self.scenario.clients.count + self.scenario.clients.observers
    }

    fn member(&mut self) -> Node {
        let last = u64::from(self.scenario.cluster.members) - 1;
        Node::Member(u32::try_from(within(self.rng, [0, last])).unwrap_or_default())
    }

    /// A server that is no member yet; without one, a node that is not there, about which nothing happens.
    fn spare(&mut self) -> Node {
        let cluster = &self.scenario.cluster;
        let most = u64::from(cluster.spares).saturating_sub(1);
        let spare = u32::try_from(within(self.rng, [0, most])).unwrap_or_default();
        Node::Member(cluster.members + spare)
    }

    fn majority(&mut self) -> Vec<Node> {
        let mut members: Vec<_> = self.members().collect();
        members.shuffle(self.rng);
        let all = members.len() as u64;
        let lost = within(self.rng, [all / 2 + 1, all]);
        members.truncate(usize::try_from(lost).unwrap_or(usize::MAX));
        members
    }

    fn client(&mut self) -> Node {
        let last = u64::from(self.processes()) - 1;
        Node::Client(u32::try_from(within(self.rng, [0, last])).unwrap_or_default())
    }

    fn members(&self) -> impl Iterator<Item = Node> + use<> {
        (0..self.scenario.cluster.members).map(Node::Member)
    }

    /// Members and those that may become some.
    fn servers(&self) -> impl Iterator<Item = Node> + use<> {
        (0..self.scenario.cluster.members + self.scenario.cluster.spares).map(Node::Member)
    }

    fn clients(&self) -> impl Iterator<Item = Node> + use<> {
        (0..self.processes()).map(Node::Client)
    }

    /// Splits the nodes in two and cuts between the sides: one member off, one client off, or at random. One-way cuts
    /// leave one direction.
    fn partition(&mut self, one_way: bool) -> Links {
        let nodes: Vec<_> = self.servers().chain(self.clients()).collect();
        let (shape, one_member, one_client) = (within(self.rng, [0, 5]), self.member(), self.client());
        let off: Vec<_> = nodes
            .iter()
            .copied()
            .filter(|&node| match (shape, node) {
                // A member, alone.
                (0 | 1, _) => node == one_member,
                // A member, with some clients on its side.
                (2 | 3, Node::Member(_)) => node == one_member,
                (4, _) => node == one_client,
                _ => chance(self.rng, 1, 2),
            })
            .collect();
        let inward = chance(self.rng, 1, 2);
        let mut links = Links::new();
        for &one in &off {
            for &other in nodes.iter().filter(|node| !off.contains(node)) {
                if is_link(one, other) {
                    let (out, back) = ((one, other), (other, one));
                    links.extend(
                        if inward { [out, back] } else { [back, out] }
                            .into_iter()
                            .take(2 - usize::from(one_way)),
                    );
                }
            }
        }
        // A draw that put all nodes on one side cuts one member off.
        if links.is_empty() {
            for other in nodes.into_iter().filter(|&node| node != one_member) {
                links.push((one_member, other));
                if !one_way {
                    links.push((other, one_member));
                }
            }
        }
        links
    }

    /// All links of one node, or all of a random half of the nodes.
    fn some_links(&mut self) -> Links {
        let nodes: Vec<_> = self.servers().chain(self.clients()).collect();
        let centre = if chance(self.rng, 1, 2) { self.member() } else { self.client() };
        let one_only = chance(self.rng, 1, 2);
        let chosen: Vec<_> = nodes
            .iter()
            .copied()
            .filter(|&node| node == centre || (!one_only && chance(self.rng, 1, 2)))
            .collect();
        let mut links = Links::new();
        for (index, &one) in nodes.iter().enumerate() {
            for &other in &nodes[index + 1..] {
                if is_link(one, other) && (chosen.contains(&one) || chosen.contains(&other)) {
                    links.extend([(one, other), (other, one)]);
                }
            }
        }
        links
    }

    /// The links from some clients to all members.
    fn requests(&mut self) -> Links {
        let one = self.client();
        let all = chance(self.rng, 1, 3);
        let members: Vec<_> = self.servers().collect();
        self.clients()
            .filter(|&client| all || client == one)
            .flat_map(|client| members.iter().map(move |&member| (client, member)))
            .collect()
    }
}

/// Clients have links to members only.
pub(super) fn is_link(one: Node, other: Node) -> bool {
    !matches!((one, other), (Node::Client(_), Node::Client(_)))
}
