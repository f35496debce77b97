//! Draws what stays broken: at the end of every other seed of a swarm only a core heals, a majority of the members and
//! some clients, which must then do without the rest.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::draw::{chance, within};
use crate::fault::{Fault, TimedFault};
use crate::node::Node;
use crate::scenario::{Profile, Scenario};

/// The faults that last, each about one node outside of the core; none if all heal.
pub(super) fn draw(scenario: &Scenario, rng: &mut ChaCha8Rng) -> Vec<TimedFault> {
    if scenario.profile == Profile::Fixed || chance(rng, 1, 2) {
        return Vec::new();
    }
    let members = outside(scenario.cluster.members, (scenario.cluster.members - 1) / 2, rng);
    // Observers are clients too, but somebody is to ask for something.
    let working = outside(scenario.clients.count, scenario.clients.count - 1, rng);
    let observing = outside(scenario.clients.observers, scenario.clients.observers, rng);
    let observing = observing.into_iter().map(|observer| scenario.clients.count + observer);
    let broken: Vec<_> = members
        .into_iter()
        .map(Node::Member)
        .chain(working.into_iter().chain(observing).map(Node::Client))
        .collect();
    let clients = scenario.clients.count + scenario.clients.observers;
    let nodes = (0..scenario.cluster.members).map(Node::Member).chain((0..clients).map(Node::Client));
    let core: Vec<_> = nodes.filter(|node| !broken.contains(node)).collect();
    let calm_at_ms = scenario.calm_at_ms();
    broken
        .iter()
        .map(|&node| {
            let at_ms = within(rng, [calm_at_ms / 2, calm_at_ms]);
            let fault = match within(rng, [0, 2]) {
                0 => Fault::Crash { node },
                1 => Fault::Pause { node },
                _ => Fault::Cut { links: cut_off(node, &core) },
            };
            // To the end, and over it.
            TimedFault { at_ms, for_ms: scenario.duration_s * 1_000, fault }
        })
        .collect()
}

/// At most `most` of so many.
fn outside(count: u32, most: u32, rng: &mut ChaCha8Rng) -> Vec<u32> {
    let mut all: Vec<_> = (0..count).collect();
    all.shuffle(rng);
    let some = within(rng, [0, u64::from(most)]);
    all.truncate(usize::try_from(some).unwrap_or(0));
    all
}

/// Every link between a node and the core, both ways. Those outside may still talk to each other.
fn cut_off(node: Node, core: &[Node]) -> Vec<(Node, Node)> {
    let linked = core.iter().filter(|&&other| super::faults::is_link(node, other));
    linked.flat_map(|&other| [(node, other), (other, node)]).collect()
}
