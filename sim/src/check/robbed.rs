//! What etcd itself takes from a holder, in two ways. No client can know of either, let alone mend it; the fencing token
//! holds all the same. So what a holder believes of such a lease is not held against it, for as long as the lease had to live.
//!
//! An old leader that stood still may, as it goes on, have a lease revoked that the new leader has renewed (etcd 15247); also
//! if it leads again by then, and has renewed the lease itself in the new term. And an old leader that stood still or is cut
//! off goes on to renew by itself, for an election timeout or so, what the new leader lets run out. Releases that look at their
//! leadership only after missed ticks still do both now and then ([`LeadershipCheck::WhenStalled`](crate::store::LeadershipCheck)).

use std::collections::{BTreeMap, BTreeSet};

use tenure::kv::Request;

use super::evidence::Moment;
use super::lease_life::Renewed;
use super::{Evidence, lease_life};
use crate::history::{Holding, What};

/// A lease that was taken from its owner.
#[derive(Clone, Copy, Debug)]
pub struct Robbed {
    /// When it was revoked, in nanoseconds of true simulated time.
    pub from_ns: u64,
    /// When it had run out by itself, at the latest: so long its owner may believe in it.
    pub until_ns: u64,
}

impl Evidence<'_> {
    /// Whether what is believed of a lease at a time is not held against its holder.
    pub(super) fn is_robbed(&self, lease: i64, at_ns: u64) -> bool {
        self.robbed.get(&lease).is_some_and(|robbed| (robbed.from_ns..robbed.until_ns).contains(&at_ns))
    }

    /// Whether a tenure was taken by hand, or by etcd: its holder may believe in it, and who is granted it after that as well.
    pub(super) fn is_taken_away(&self, holding: &Holding, now: Moment) -> bool {
        self.is_robbed(holding.lease, now.at_ns) || self.causes().taken_by_hand(self, holding, now)
    }
}

/// The leases that ended before their time because a member wanted it that did not lead any more, or not in that term; or
/// because what gave them their time was a renewal that such a member may have answered.
pub(super) fn robbed(evidence: &Evidence<'_>) -> BTreeMap<i64, Robbed> {
    let revoked = revoked(evidence);
    let double = double_leads(evidence);
    if double.is_empty() && revoked.values().all(|revoked| !revoked.by_an_old_leader) {
        return BTreeMap::new();
    }
    let may_be_old =
        |renewed: &Renewed| double.iter().any(|&(from, to)| renewed.sent <= to && from <= renewed.answered);
    let renewals = lease_life::renewals(evidence);
    revoked
        .into_iter()
        .filter_map(|(lease, Revoked { at_ns: from_ns, by_an_old_leader })| {
            let sent =
                || renewals.get(&lease).into_iter().flatten().filter(|renewed| renewed.sent_ns <= from_ns);
            let until_ns = sent().map(|renewed| renewed.lives_until_ns(0)).max()?;
            let lives = |renewed: &&Renewed| renewed.lives_until_ns(evidence.bounds.drift_ppm) > from_ns;
            let mut living = sent().filter(lives).peekable();
            let is_robbed = by_an_old_leader || living.peek().is_some() && living.all(may_be_old);
            (is_robbed && from_ns < until_ns).then_some((lease, Robbed { from_ns, until_ns }))
        })
        .collect()
}

/// From which step to which one more than one member believed that it leads.
fn double_leads(evidence: &Evidence<'_>) -> Vec<(usize, usize)> {
    let mut believe = BTreeSet::new();
    let mut double = Vec::new();
    let mut since = None;
    let steps = &evidence.history.steps;
    for (index, step) in steps.iter().enumerate() {
        match &step.what {
            What::Leads { .. } => believe.insert(step.node),
            What::SteppedDown { .. } | What::Crashed => believe.remove(&step.node),
            _ => continue,
        };
        match (believe.len() > 1, since) {
            (true, None) => since = Some(index),
            (false, Some(from)) => {
                double.push((from, index));
                since = None;
            }
            _ => {}
        }
    }
    double.extend(since.map(|from| (from, steps.len())));
    double
}

/// That the cluster revoked a lease of itself.
struct Revoked {
    at_ns: u64,
    /// It was wanted by a member that did not lead any more, or not in that term.
    by_an_old_leader: bool,
}

fn revoked(evidence: &Evidence<'_>) -> BTreeMap<i64, Revoked> {
    let mut leader = None;
    // For each lease that is to be revoked, whether an old leader wants it.
    let mut wanted: BTreeMap<i64, bool> = BTreeMap::new();
    let mut revoked: BTreeMap<i64, Revoked> = BTreeMap::new();
    for step in &evidence.history.steps {
        match &step.what {
            What::Leads { .. } => {
                leader = Some(step.node);
                wanted.values_mut().for_each(|by_an_old_leader| *by_an_old_leader = true);
            }
            What::LeaseExpired { lease } => {
                wanted.insert(*lease, leader != Some(step.node));
            }
            What::Committed { call: None, request, .. } => {
                if let Request::LeaseRevoke { id } = **request {
                    // Two leaders may want it: the first revocation takes it.
                    let new = Revoked { at_ns: step.at_ns, by_an_old_leader: false };
                    revoked.entry(id).or_insert(new).by_an_old_leader |= wanted.remove(&id) == Some(true);
                }
            }
            _ => {}
        }
    }
    revoked
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tenure::kv::Request;

    use crate::check::script::Script;
    use crate::history::{GuardSays, Holding, What};
    use crate::node::Node;

    const SECOND: u64 = 1_000_000_000;

    /// A holder whose lease of 3 s is revoked after `wait_ns`, as `wanted_by` wants it, the leader being member 1.
    fn revoked(wait_ns: u64, wanted_by: u32) -> (Script, Holding) {
        let mut script = Script::new();
        script.granted_lease(0, 0x10, 3);
        let first = script.grant(0, "a", 0x10);
        script.record(Node::Member(0), What::Leads { term: 2 });
        script.record(Node::Member(1), What::Leads { term: 3 });
        script.wait(wait_ns);
        script.record(Node::Member(wanted_by), What::LeaseExpired { lease: 0x10 });
        let request = Arc::new(Request::LeaseRevoke { id: 0x10 });
        script.record(Node::Member(1), What::Committed { revision: 9, call: None, request, events: vec![] });
        (script, first)
    }

    #[test]
    fn a_holder_whose_lease_an_old_leader_revoked_is_excused_and_no_other() {
        for (wanted_by, excused) in [(0, true), (1, false)] {
            let (mut script, first) = revoked(SECOND, wanted_by);
            script.grant_beside(1, "a", 0x11, &[&first]);
            assert_eq!(script.breach("mutual-exclusion").is_none(), excused);
        }
    }

    #[test]
    fn a_holder_whose_lease_a_leader_of_two_terms_revoked_by_what_it_knew_in_the_first_is_excused() {
        for (leads_again, excused) in [(true, true), (false, false)] {
            let mut script = Script::new();
            script.granted_lease(0, 0x10, 3);
            let first = script.grant(0, "a", 0x10);
            script.record(Node::Member(0), What::Leads { term: 2 });
            script.wait(SECOND);
            script.record(Node::Member(0), What::LeaseExpired { lease: 0x10 });
            if leads_again {
                script.record(Node::Member(0), What::SteppedDown { term: 2 });
                script.record(Node::Member(0), What::Leads { term: 3 });
            }
            let request = Arc::new(Request::LeaseRevoke { id: 0x10 });
            let revoked = What::Committed { revision: 9, call: None, request, events: vec![] };
            script.record(Node::Member(0), revoked);
            script.grant_beside(1, "a", 0x11, &[&first]);
            assert_eq!(script.breach("mutual-exclusion").is_none(), excused);
        }
    }

    #[test]
    fn who_is_granted_what_an_old_leader_has_just_taken_from_it_is_excused_and_no_other() {
        for (wanted_by, excused) in [(0, true), (1, false)] {
            let (mut script, _) = revoked(SECOND, wanted_by);
            let second = script.grant(1, "b", 0x11);
            let late = Holding { client: 0, token: 1, lease: 0x10, ..second.clone() };
            let what = What::Granted {
                ticket: 99,
                holding: late,
                believers: vec![second],
                says: GuardSays::default(),
            };
            script.record(Node::Client(0), what);
            assert_eq!(script.breach("mutual-exclusion").is_none(), excused);
        }
    }

    #[test]
    fn a_holder_whose_lease_only_an_old_leader_renewed_is_excused_and_no_other() {
        // Whether the first still believes that it leads, and when the lease runs out after the renewal.
        for (both_lead, after_s, excused) in [(true, 2, true), (false, 2, false), (true, 4, false)] {
            let mut script = Script::new();
            script.granted_lease(0, 0x10, 3);
            let first = script.grant(0, "a", 0x10);
            script.record(Node::Member(0), What::Leads { term: 2 });
            script.wait(2 * SECOND);
            script.record(Node::Member(1), What::Leads { term: 3 });
            if !both_lead {
                script.record(Node::Member(0), What::SteppedDown { term: 2 });
            }
            script.renewed_lease(0, 0x10, 3);
            if both_lead {
                script.record(Node::Member(0), What::SteppedDown { term: 2 });
            }
            script.wait(after_s * SECOND);
            script.record(Node::Member(1), What::LeaseExpired { lease: 0x10 });
            script.runs_out(0x10);
            script.grant_beside(1, "a", 0x11, &[&first]);
            let invariant = if after_s < 3 { "lease-life" } else { "mutual-exclusion" };
            assert_eq!(script.breach(invariant).is_none(), excused, "{both_lead} {after_s}");
            assert_eq!(script.breach("mutual-exclusion").is_none(), excused, "{both_lead} {after_s}");
        }
    }

    #[test]
    fn belief_that_outlasts_the_lease_is_not_excused() {
        let (mut late, first) = revoked(4 * SECOND, 0);
        late.grant_beside(1, "a", 0x11, &[&first]);
        assert!(late.breach("mutual-exclusion").is_some(), "it had run out when it was revoked");
        let (mut later, first) = revoked(SECOND, 0);
        later.wait(3 * SECOND);
        later.grant_beside(1, "a", 0x11, &[&first]);
        assert!(later.breach("mutual-exclusion").is_some(), "it had run out when the other was granted");
    }
}
