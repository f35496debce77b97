//! The marks of what goes wrong in the cluster itself.

use linkme::distributed_slice;

use super::{MARKS, Mark};
use crate::check::Evidence;
use crate::history::What;
use crate::node::Node;

#[distributed_slice(MARKS)]
static CORE: Mark = Mark {
    name: "a core went on while a member stayed broken",
    seen: |evidence| goes_on_without(evidence, |node| matches!(node, Node::Member(_))),
};

#[distributed_slice(MARKS)]
static CORE_OF_CLIENTS: Mark = Mark {
    name: "a core went on while a client stayed broken",
    seen: |evidence| goes_on_without(evidence, |node| matches!(node, Node::Client(_))),
};

/// Whether such a node stayed broken, and a client of the core had afterwards what it asked for.
fn goes_on_without(evidence: &Evidence<'_>, is: impl Fn(Node) -> bool) -> bool {
    let steps = &evidence.history.steps;
    let Some(calm) = evidence.calm else { return false };
    // The nodes that stay broken are told right before the calm.
    let before = steps[..calm.step].iter().rev();
    let broken = before.take_while(|step| step.what == What::StaysBroken);
    let is_served = |step: usize, client: u32| step > calm.step && !evidence.outside.contains(&client);
    let granted =
        || evidence.tenures.iter().any(|tenure| is_served(tenure.granted.step, tenure.holding.client));
    let answered = || {
        let mut operations = evidence.plain.operations.values();
        operations.any(|one| one.ended.is_some_and(|(at, _)| is_served(at.step, one.client)))
    };
    broken.map(|step| step.node).any(is) && (granted() || answered())
}
