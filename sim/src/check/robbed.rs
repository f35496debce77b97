//! What etcd itself takes from a holder. An old leader that stood still may, as it goes on, have a lease revoked that the new
//! leader has renewed (etcd 15247). Releases that look at their leadership only after missed ticks still do so now and then
//! ([`LeadershipCheck::WhenStalled`](crate::store::LeadershipCheck)). No client can know, let alone mend it; the fencing token
//! holds all the same. So what a holder believes of such a lease afterwards is not held against it.

use std::collections::{BTreeMap, BTreeSet};

use tenure::kv::Request;

use crate::history::{History, What};

/// The leases that were revoked because a member wanted it that did not lead any more, and when.
pub(super) fn robbed(history: &History) -> BTreeMap<i64, u64> {
    let mut leader = None;
    let mut wanted_by_an_old_leader = BTreeSet::new();
    let mut robbed = BTreeMap::new();
    for step in &history.steps {
        match &step.what {
            What::Leads { .. } => leader = Some(step.node),
            What::LeaseExpired { lease } if leader == Some(step.node) => {
                wanted_by_an_old_leader.remove(lease);
            }
            What::LeaseExpired { lease } => {
                wanted_by_an_old_leader.insert(*lease);
            }
            What::Committed { call: None, request, .. } => {
                if let Request::LeaseRevoke { id } = **request
                    && wanted_by_an_old_leader.remove(&id)
                {
                    robbed.insert(id, step.at_ns);
                }
            }
            _ => {}
        }
    }
    robbed
}
