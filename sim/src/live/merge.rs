//! One history out of what many told: the round's own steps, what each process told, and the writes that a watch saw.
//!
//! All times are of one machine's clock, but nobody sees the moment of a commit. A write is put where it is certain to have
//! been committed: when the watch told it, or before the first step of a process that knew of it already, whichever comes
//! first. So it never stands before its time; it may stand a little after. A belief is certain if its holder, asked
//! afterwards, still had it: belief never begins again. Who was stopped in between is not counted as a believer.

use std::collections::BTreeMap;
use std::sync::Arc;

use tenure::kv::{Event, Request};

use super::errand::Told;
use crate::history::{History, Holding, Recorder, What};
use crate::node::Node;

/// Something that happened in a round.
pub(super) struct Item {
    /// The client that told it; of no meaning for what the round tells itself.
    pub(super) client: u32,
    /// Which of its lives.
    pub(super) life: u32,
    pub(super) of: ItemOf,
}

pub(super) enum ItemOf {
    /// A process told it.
    Told(Told),
    /// The round itself did or saw it.
    Round { at_ns: u64, node: Node, what: What },
}

impl Item {
    pub(super) fn of_round(at_ns: u64, node: Node, what: What) -> Self {
        Self { client: 0, life: 0, of: ItemOf::Round { at_ns, node, what } }
    }
}

/// The writes of one revision, and when the watch told them.
#[derive(Clone, Debug)]
pub(super) struct Revision {
    pub(super) revision: i64,
    pub(super) told_ns: u64,
    pub(super) events: Vec<Event>,
}

/// A step with what decides its place.
struct Placed {
    at_ns: u64,
    node: Node,
    life: u32,
    /// The newest revision that its process knew.
    seen: i64,
    what: What,
}

/// What a history was made of.
pub(super) struct Merged {
    pub(super) history: History,
    /// The first panic of a process.
    pub(super) panic: Option<String>,
}

/// Makes the history; `revisions` are in order, without a gap.
pub(super) fn merge(items: Vec<Item>, revisions: Vec<Revision>) -> Merged {
    let mut steps = Vec::new();
    let mut beliefs: BTreeMap<Holding, u64> = BTreeMap::new();
    let mut panic = None;
    for Item { client, life, of } in items {
        match of {
            ItemOf::Told(Told::Step { at_ns, seen, what }) => {
                steps.push(Placed { at_ns, node: Node::Client(client), life, seen, what });
            }
            ItemOf::Told(Told::Believes { at_ns, holding }) => {
                let last_ns = beliefs.entry(holding).or_default();
                *last_ns = at_ns.max(*last_ns);
            }
            ItemOf::Told(Told::Panicked(words)) => {
                panic.get_or_insert(format!("c{client}: {words}"));
            }
            ItemOf::Round { at_ns, node, what } => {
                steps.push(Placed { at_ns, node, life: 0, seen: 0, what });
            }
        }
    }
    // Steps of one process are told in order, so equal times keep it.
    steps.sort_by_key(|step| step.at_ns);
    let recorder = Recorder::default();
    let mut numbers = Numbers::default();
    let mut holders = Holders { beliefs, held: Vec::new() };
    let mut revisions = revisions.into_iter().peekable();
    for Placed { at_ns, node, life, seen, mut what } in steps {
        while let Some(next) = revisions.next_if(|next| next.told_ns <= at_ns || next.revision <= seen) {
            record_revision(&recorder, next, at_ns);
        }
        numbers.renumber(node, life, &mut what);
        holders.step(at_ns, &mut what);
        recorder.record(at_ns, node, what);
    }
    Merged { history: recorder.finish(), panic }
}

fn record_revision(recorder: &Recorder, revision: Revision, by_ns: u64) {
    let Revision { revision, told_ns, events } = revision;
    // Whose request it was is not known, and no checker that judges a round asks.
    let request = Arc::new(Request::Txn(tenure::kv::Txn::new()));
    recorder.record(
        told_ns.min(by_ns),
        Node::World,
        What::Committed { revision, call: None, request, events },
    );
}

/// Gives asks, deeds and observers numbers that count up over the whole round.
#[derive(Default)]
struct Numbers {
    asks: BTreeMap<(Node, u32, u64), u64>,
    deeds: BTreeMap<(Node, u32, u64), u64>,
    observers: BTreeMap<(Node, u32, u64), u64>,
}

impl Numbers {
    fn renumber(&mut self, node: Node, life: u32, what: &mut What) {
        let of = |known: &mut BTreeMap<_, u64>, own: &mut u64| {
            let next = known.len() as u64 + 1;
            *own = *known.entry((node, life, *own)).or_insert(next);
        };
        match what {
            What::Asks { ticket, .. } | What::Granted { ticket, .. } | What::NotGranted { ticket, .. } => {
                of(&mut self.asks, ticket);
            }
            What::Does { deed, .. } | What::Did { deed, .. } => of(&mut self.deeds, deed),
            What::Observes { observer, .. }
            | What::Observed { observer, .. }
            | What::ObserverFailed { observer, .. } => of(&mut self.observers, observer),
            _ => {}
        }
    }
}

/// Who holds, and who is certain to believe it still.
struct Holders {
    /// When each holding was last found to be believed in.
    beliefs: BTreeMap<Holding, u64>,
    held: Vec<Holding>,
}

impl Holders {
    fn step(&mut self, at_ns: u64, what: &mut What) {
        match what {
            What::Granted { holding, believers, .. } => {
                let believes = |other: &&Holding| {
                    other.name == holding.name
                        && self.beliefs.get(*other).is_some_and(|&last_ns| last_ns >= at_ns)
                };
                // Those that its own process knew of are told already.
                let others: Vec<_> = self
                    .held
                    .iter()
                    .filter(believes)
                    .filter(|one| !believers.contains(one))
                    .cloned()
                    .collect();
                believers.extend(others);
                self.held.push(holding.clone());
            }
            What::Releases { holding, .. } => self.held.retain(|other| other != holding),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tenure::kv::{EventKind, KeyValue};

    use super::*;
    use crate::history::{GuardSays, Kind};

    fn holding(client: u32, token: i64) -> Holding {
        Holding { client, name: "jobs/a".into(), kind: Kind::Mutex, token, lease: i64::from(client) + 16 }
    }

    fn granted(client: u32, at_ns: u64, seen: i64, token: i64) -> Item {
        let what = What::Granted {
            ticket: 7,
            holding: holding(client, token),
            believers: Vec::new(),
            says: GuardSays::default(),
        };
        Item { client, life: 1, of: ItemOf::Told(Told::Step { at_ns, seen, what }) }
    }

    fn believes(client: u32, at_ns: u64, token: i64) -> Item {
        Item { client, life: 1, of: ItemOf::Told(Told::Believes { at_ns, holding: holding(client, token) }) }
    }

    fn revision(revision: i64, told_ns: u64) -> Revision {
        let kv = KeyValue { key: b"jobs/a/10".to_vec(), mod_revision: revision, ..KeyValue::default() };
        Revision { revision, told_ns, events: vec![Event { kind: EventKind::Put, kv, prev_kv: None }] }
    }

    fn believers(merged: &Merged) -> Vec<usize> {
        let counts = merged.history.steps.iter().filter_map(|step| match &step.what {
            What::Granted { believers, .. } => Some(believers.len()),
            _ => None,
        });
        counts.collect()
    }

    #[test]
    fn a_write_stands_before_the_first_step_that_knew_of_it_even_if_the_watch_told_it_later() {
        let merged = merge(vec![granted(0, 100, 2, 2)], vec![revision(2, 500), revision(3, 600)]);
        let steps = &merged.history.steps;
        assert!(matches!(steps[0].what, What::Committed { revision: 2, .. }));
        assert!(matches!(steps[1].what, What::Granted { ticket: 1, .. }), "{:?}", steps[1]);
        assert_eq!(steps.len(), 2, "nobody knew of the third by the end");
    }

    #[test]
    fn who_is_found_to_believe_after_anothers_grant_believed_at_it() {
        let both = || vec![granted(0, 100, 2, 2), granted(1, 200, 3, 3)];
        let certain = both().into_iter().chain([believes(0, 201, 2)]).collect();
        assert_eq!(believers(&merge(certain, Vec::new())), [0, 1]);
        let uncertain = both().into_iter().chain([believes(0, 199, 2)]).collect();
        assert_eq!(believers(&merge(uncertain, Vec::new())), [0, 0]);
    }

    #[test]
    fn who_has_begun_to_release_believes_no_more() {
        let releases = What::Releases { holding: holding(0, 2), awaited: true };
        let released =
            Item { client: 0, life: 1, of: ItemOf::Told(Told::Step { at_ns: 150, seen: 2, what: releases }) };
        let items = vec![granted(0, 100, 2, 2), released, granted(1, 200, 3, 3), believes(0, 201, 2)];
        assert_eq!(believers(&merge(items, Vec::new())), [0, 0]);
    }
}
