//! Members that may leave a request without an answer though no fault is active any more: one that stays broken, and one
//! that took over its leader's state while somebody waited for a write that is in it.

use std::collections::BTreeMap;

use super::{Evidence, Moment};
use crate::history::What;
use crate::node::Node;

/// Which members may be silent when.
#[derive(Clone, Debug, Default)]
pub(super) struct Silent {
    /// The steps at which each member took over a snapshot.
    restored: BTreeMap<u32, Vec<usize>>,
    /// Those that stay broken.
    broken: Vec<u32>,
}

impl Silent {
    /// Takes in a step of a member.
    pub(super) fn step(&mut self, step: usize, node: Node, what: &What) {
        match (node, what) {
            (Node::Member(member), What::Restored { .. }) => {
                self.restored.entry(member).or_default().push(step);
            }
            (Node::Member(member), What::StaysBroken) => self.broken.push(member),
            _ => {}
        }
    }
}

impl Evidence<'_> {
    /// Whether what was begun and had no answer was asked of a member that may be silent; `why` names the member.
    pub(super) fn asked_a_silent_member(&self, why: &str, began: Moment, ended: Moment) -> bool {
        let names = |member: u32| {
            let endpoint = format!("sim://{}", Node::Member(member));
            why.match_indices(&endpoint)
                .any(|(at, _)| !why[at + endpoint.len()..].starts_with(|next: char| next.is_ascii_digit()))
        };
        let mut restored = self.silent.restored.iter();
        self.silent.broken.iter().any(|&member| names(member))
            || restored.any(|(&member, steps)| {
                names(member) && steps.iter().any(|step| (began.step..ended.step).contains(step))
            })
    }
}
