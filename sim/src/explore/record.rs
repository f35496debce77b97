//! What is remembered of what was done with recipes: their part of the history, for the same checkers that judge the seeds'. It is
//! kept whole, since what they say of a step hangs on what went before, so two states are the same only if it is.

use std::hash::Hash;
use std::sync::Arc;

use super::automaton::Bytes;
use super::monitor::Broken;
use super::run::{BOUNDS, Recording};
use super::step::Telling;
use super::world::writes;
use crate::check::{self, INVARIANTS};
use crate::history::{Deed, History, RecipeDeed, What};
use crate::node::Node;

/// What is judged by the record; all else is watched.
const JUDGED: [&str; 5] = ["exactly-once", "isolation", "applied", "barrier", "double-barrier"];

/// The record, newest step first.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    last: Option<Arc<Entry>>,
}

#[derive(Debug)]
struct Entry {
    node: Node,
    what: What,
    /// Of all steps up to here.
    digest: u128,
    before: Option<Arc<Entry>>,
}

/// Those of these invariants that are judged by the record.
pub(super) fn judged(invariants: &[String]) -> Vec<String> {
    invariants.iter().filter(|name| JUDGED.contains(&name.as_str())).cloned().collect()
}

impl Record {
    /// The hash of all of it.
    pub(super) fn digest(&self) -> u128 {
        self.last.as_ref().map_or(0, |last| last.digest)
    }

    /// Takes in a step, if it is of the part that is kept: what was asked and told, and what was written by whose request.
    pub(super) fn note(&mut self, node: Node, what: &What) {
        let mut bytes = Bytes::default();
        self.digest().hash(&mut bytes);
        node.hash(&mut bytes);
        match what {
            // Requests are numbered in another way whenever somebody reads. Those that write are told apart by what they are.
            What::Sent { request, .. } if writes(request) => request.hash(&mut bytes),
            What::Committed { revision, call, request, events } if !events.is_empty() => {
                (revision, call.and_then(|call| self.sent_before(call)), request).hash(&mut bytes);
            }
            What::SessionOpened { .. } | What::Does { .. } | What::Did { .. } => what.hash(&mut bytes),
            _ => return,
        }
        let entry =
            Entry { node, what: what.clone(), digest: bytes.digest(), before: self.last.take() };
        self.last = Some(Arc::new(entry));
    }

    fn newest_first(&self) -> impl Iterator<Item = &Entry> {
        std::iter::successors(self.last.as_deref(), |entry| entry.before.as_deref())
    }

    /// How many steps were kept since a request was sent.
    fn sent_before(&self, number: u64) -> Option<usize> {
        self.newest_first().position(|entry| matches!(entry.what, What::Sent { call, .. } if call == number))
    }

    fn history(&self) -> History {
        let mut kept: Vec<&Entry> = self.newest_first().collect();
        kept.reverse();
        let mut recording = Recording::default();
        for entry in kept {
            recording.tell(entry.node, entry.what.clone());
        }
        recording.recorder.finish()
    }

    /// What of the given invariants it breaks, if it breaks one.
    pub(super) fn judge(&self, invariants: &[String]) -> Option<Broken> {
        if invariants.is_empty() {
            return None;
        }
        let violation = check::check_history(&self.history(), BOUNDS, invariants).into_iter().next()?;
        let invariant = INVARIANTS.iter().find(|invariant| invariant.name == violation.invariant)?;
        Some(Broken { invariant: invariant.name, detail: violation.detail })
    }

    /// What a process has begun with a recipe, and not come to an end with: the recipe's name, and what.
    pub(super) fn under_way(&self, client: u32) -> Option<(&str, &RecipeDeed)> {
        let last = self.newest_first().find(|entry| {
            entry.node == Node::Client(client) && matches!(entry.what, What::Does { .. } | What::Did { .. })
        })?;
        match &last.what {
            What::Does { what: Deed::Recipe { name, what, .. }, .. } => Some((name, what)),
            _ => None,
        }
    }
}
