//! What is remembered of what was done with recipes: their part of the history, for the same checkers that judge the seeds'. It is
//! kept whole, since what they say of a step hangs on what went before, so two states are the same only if it is.

use std::collections::BTreeMap;
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
use crate::planted::is_receipt;

/// What is judged by the record; all else is watched.
const JUDGED: [&str; 5] = ["exactly-once", "isolation", "applied", "barrier", "double-barrier"];

/// The record, newest step first.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    last: Option<Arc<Entry>>,
    /// The hash of all steps up to the last write.
    written: u128,
    /// The hash of what each process did since.
    since: BTreeMap<Node, u128>,
}

#[derive(Debug)]
struct Entry {
    node: Node,
    what: What,
    before: Option<Arc<Entry>>,
}

/// Those of these invariants that are judged by the record.
pub(super) fn judged(invariants: &[String]) -> Vec<String> {
    invariants.iter().filter(|name| JUDGED.contains(&name.as_str())).cloned().collect()
}

impl Record {
    /// The hash of all of it. What processes do between two writes has no order but each process's own: no checker asks for one.
    pub(super) fn digest(&self) -> u128 {
        let mut bytes = Bytes::default();
        (self.written, &self.since).hash(&mut bytes);
        bytes.digest()
    }

    /// Takes in a step, if it is of the part that is kept: what was asked and told, and what was written by whose request. Of what
    /// recipes write, receipts are for themselves alone.
    pub(super) fn note(&mut self, node: Node, what: &What) {
        let mut bytes = Bytes::default();
        match what {
            // Requests are numbered in another way whenever somebody reads. Those that write are told apart by what they are.
            What::Sent { request, .. } if writes(request) => {
                (self.since.get(&node), request).hash(&mut bytes);
                self.since.insert(node, bytes.digest());
            }
            What::SessionOpened { .. } | What::Does { .. } | What::Did { .. } => {
                (self.since.get(&node), what).hash(&mut bytes);
                self.since.insert(node, bytes.digest());
            }
            What::Committed { revision, call, events, .. }
                if events.iter().any(|event| !is_receipt(&event.kv.key)) =>
            {
                let asked = call.and_then(|call| self.asked(call));
                (self.digest(), revision, asked, events).hash(&mut bytes);
                self.written = bytes.digest();
                self.since.clear();
            }
            _ => return,
        }
        self.last = Some(Arc::new(Entry { node, what: what.clone(), before: self.last.take() }));
    }

    fn newest_first(&self) -> impl Iterator<Item = &Entry> {
        std::iter::successors(self.last.as_deref(), |entry| entry.before.as_deref())
    }

    /// Who sent a request, and how many steps of that process were kept since.
    fn asked(&self, number: u64) -> Option<(Node, usize)> {
        let sent = |entry: &&Entry| matches!(entry.what, What::Sent { call, .. } if call == number);
        let node = self.newest_first().find(sent)?.node;
        let since = self.newest_first().filter(|entry| entry.node == node).position(|entry| sent(&entry))?;
        Some((node, since))
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
