//! The marks of what goes wrong in the cluster itself.

use std::collections::{BTreeMap, BTreeSet};

use linkme::distributed_slice;
use tenure::Code;

use super::{MARKS, Mark};
use crate::check::Evidence;
use crate::fault::Fault;
use crate::history::{Deed, DeedEnd, What};
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
    let used = || {
        let mut deeds = evidence.deeds.iter().filter(|deed| matches!(deed.what, Deed::Recipe { .. }));
        deeds.any(|deed| {
            let done = deed.ended.filter(|(_, end)| !matches!(end, DeedEnd::Failed(_)));
            done.is_some_and(|(at, _)| is_served(at.step, deed.client))
        })
    };
    broken.map(|step| step.node).any(is) && (granted() || answered() || used())
}

/// Whether a step of this kind happened.
fn any(evidence: &Evidence<'_>, is: impl Fn(&What) -> bool) -> bool {
    evidence.history.steps.iter().any(|step| is(&step.what))
}

#[distributed_slice(MARKS)]
static LOST_TAIL: Mark = Mark {
    name: "a member lost the tail of its log with its power",
    seen: |evidence| any(evidence, |what| matches!(what, What::LostTail { entries: 1.. })),
};

#[distributed_slice(MARKS)]
static EXPIRED_TOKEN: Mark = Mark {
    name: "a request was refused for a token that had expired",
    seen: |evidence| {
        any(
            evidence,
            |what| matches!(what, What::Answered { outcome: Err(status), .. } if status.code == Code::Unauthenticated),
        )
    },
};

#[distributed_slice(MARKS)]
static SNAPSHOT: Mark = Mark {
    name: "a member came back by a snapshot",
    seen: |evidence| any(evidence, |what| matches!(what, What::Restored { .. })),
};

#[distributed_slice(MARKS)]
static WATCH_OVER_SNAPSHOT: Mark =
    Mark { name: "a watch went on over a snapshot of its member", seen: watch_over_a_snapshot };

/// A raw watch that told something before and after its member took over a snapshot.
fn watch_over_a_snapshot(evidence: &Evidence<'_>) -> bool {
    let mut told: BTreeMap<u64, u32> = BTreeMap::new();
    let mut at_member: BTreeMap<u64, u32> = BTreeMap::new();
    let mut went_over = BTreeSet::new();
    for step in &evidence.history.steps {
        match (&step.what, step.node) {
            (What::WatchSent { watch, member, .. }, _) => {
                at_member.insert(*watch, *member);
            }
            (What::Restored { .. }, Node::Member(restored)) => {
                went_over
                    .extend(told.iter().filter(|(_, member)| **member == restored).map(|(watch, _)| *watch));
            }
            (What::WatchTold { watch, events, .. }, _) if !events.is_empty() => {
                if went_over.contains(watch) {
                    return true;
                }
                if let Some(&member) = at_member.get(watch) {
                    told.insert(*watch, member);
                }
            }
            _ => {}
        }
    }
    false
}

#[distributed_slice(MARKS)]
static LOST_MAJORITY: Mark = Mark {
    name: "the majority was lost for longer than the longest lease",
    seen: |evidence| {
        let longest_ns = evidence.sessions.values().map(|session| session.ttl_ns).max().unwrap_or(0);
        let mut lost = BTreeMap::new();
        evidence.history.steps.iter().any(|step| match &step.what {
            What::FaultBegins { index, fault: Fault::MajorityLoss { .. } } => {
                lost.insert(*index, step.at_ns);
                false
            }
            What::FaultEnds { index } => {
                lost.remove(index).is_some_and(|from_ns| step.at_ns - from_ns > longest_ns)
            }
            _ => false,
        })
    },
};

/// A watch that is told a second later than another may believe for as long what is over.
const LONG_AFTER_NS: u64 = 1_000_000_000;

#[distributed_slice(MARKS)]
static LATE_WATCH: Mark = Mark {
    name: "a watch told of a change long after one on another member",
    seen: |evidence| {
        let mut at_member: BTreeMap<u64, u32> = BTreeMap::new();
        let mut first: BTreeMap<i64, (u32, u64)> = BTreeMap::new();
        evidence.history.steps.iter().any(|step| match &step.what {
            What::WatchSent { watch, member, .. } => {
                at_member.insert(*watch, *member);
                false
            }
            What::WatchTold { watch, events, .. } => at_member.get(watch).is_some_and(|&member| {
                events.iter().any(|event| {
                    let first = first.entry(event.kv.mod_revision).or_insert((member, step.at_ns));
                    first.0 != member && step.at_ns - first.1 > LONG_AFTER_NS
                })
            }),
            _ => false,
        })
    },
};

#[distributed_slice(MARKS)]
static DOUBLED: Mark = Mark {
    name: "a request was answered for its double",
    seen: |evidence| {
        any(evidence, |what| matches!(what, What::Network { did: "answered by the double", .. }))
    },
};

#[distributed_slice(MARKS)]
static JOINED: Mark = Mark { name: "a member that was added served a client", seen: added_member_served };

/// A call that was answered by a member which had joined.
fn added_member_served(evidence: &Evidence<'_>) -> bool {
    let mut joined = BTreeSet::new();
    let mut asked = BTreeSet::new();
    evidence.history.steps.iter().any(|step| match (&step.what, step.node) {
        (What::Joined { .. }, Node::Member(member)) => {
            joined.insert(member);
            false
        }
        (What::Sent { call, member, .. }, _) if joined.contains(member) => {
            asked.insert(*call);
            false
        }
        (What::Answered { call, outcome: Ok(_) }, _) => asked.contains(call),
        _ => false,
    })
}

#[distributed_slice(MARKS)]
static PROMOTED: Mark = Mark {
    name: "a learner was promoted",
    seen: |evidence| any(evidence, |what| matches!(what, What::Promoted)),
};

#[distributed_slice(MARKS)]
static LEFT: Mark = Mark {
    name: "a member was removed and ended",
    seen: |evidence| any(evidence, |what| matches!(what, What::Left)),
};
