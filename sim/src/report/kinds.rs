//! Failures by kind: the same invariant broken in the same shape is most likely the same bug, however many seeds show it.

use std::collections::BTreeMap;

use crate::check::shape;
use crate::run::{Campaign, Failure, Verdict};

/// How many seeds of a kind are shown.
pub const EXAMPLES: usize = 3;

/// Failures of one kind.
pub struct Kind<'a> {
    /// The invariant that broke, or `panic`.
    pub what: &'a str,
    /// The first of them, in order of seeds.
    pub examples: Vec<Example<'a>>,
    /// How many there are.
    pub count: usize,
}

/// One failure of a kind.
pub struct Example<'a> {
    /// The seed and its capsule.
    pub failure: &'a Failure,
    /// What is wrong, in a line.
    pub detail: &'a str,
    /// At which step, unless it is a panic.
    pub step: Option<usize>,
}

/// A campaign's failures by kind, the most frequent first. A seed that breaks two invariants is in both kinds.
pub fn kinds(campaign: &Campaign) -> Vec<Kind<'_>> {
    let mut kinds: BTreeMap<(&str, String), Kind<'_>> = BTreeMap::new();
    let mut add = |what, failure, detail, step| {
        let kind = kinds.entry((what, shape(detail))).or_insert_with(|| Kind {
            what,
            examples: Vec::new(),
            count: 0,
        });
        kind.count += 1;
        if kind.examples.len() < EXAMPLES {
            kind.examples.push(Example { failure, detail, step });
        }
    };
    for failure in &campaign.failures {
        match &failure.verdict {
            Verdict::Green => {}
            Verdict::Panic { message } => add("panic", failure, message.as_str(), None),
            Verdict::RanAway { message } => add("ran away", failure, message.as_str(), None),
            Verdict::Broken { violations } => {
                for violation in violations {
                    add(&violation.invariant, failure, &violation.detail, Some(violation.step));
                }
            }
        }
    }
    let mut kinds: Vec<_> = kinds.into_values().collect();
    kinds.sort_by_key(|kind| std::cmp::Reverse(kind.count));
    kinds
}
