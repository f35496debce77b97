//! Leases: the replicated table's entries and their grant and revocation, and a leader's memory of deadlines
//! (`lease/lessor.go`).

use std::collections::{BTreeMap, BTreeSet};

use tenure::kv::{LeaseGrant, Response};
use tenure::wire::Status;

use super::{Applied, Store, refuse};

/// The longest time to live in seconds (`MaxLeaseTTL`).
pub const MAX_TTL_S: i64 = 9_000_000_000;

/// An expired lease whose revocation did not go through is proposed again after this long
/// (`defaultExpiredleaseRetryInterval`).
const REVOKE_AGAIN_NS: u64 = 3_000_000_000;

/// A leader with fewer leases than this does not spread their deadlines (`leaseRevokeRate`).
const REVOKE_RATE: usize = 1000;

const SECOND_NS: u64 = 1_000_000_000;

/// A lease in the replicated table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseEntry {
    /// Its time to live in seconds, as granted.
    pub ttl_s: i64,
    /// The keys that live by it.
    pub keys: BTreeSet<Vec<u8>>,
}

impl Store {
    pub(super) fn lease_grant(&mut self, id: i64, ttl_s: i64) -> Result<Response, Status> {
        if id == 0 {
            return Err(refuse::lease_not_found());
        }
        if ttl_s > MAX_TTL_S {
            return Err(refuse::lease_ttl_too_large());
        }
        if self.leases.contains_key(&id) {
            return Err(refuse::lease_exists());
        }
        let ttl_s = ttl_s.max(self.config.min_lease_ttl_s);
        self.leases.insert(id, LeaseEntry { ttl_s, keys: BTreeSet::new() });
        Ok(Response::LeaseGrant { header: self.header(), grant: LeaseGrant { id, ttl_s } })
    }

    /// Ends a lease. Its keys go in the order of their bytes, in one revision.
    pub(super) fn lease_revoke(&mut self, id: i64) -> Applied {
        let Some(lease) = self.leases.remove(&id) else {
            return Applied::refused(refuse::lease_not_found());
        };
        let mut changes = Vec::with_capacity(lease.keys.len());
        for key in &lease.keys {
            self.delete_key(key, &mut changes);
        }
        let events = self.commit(changes);
        Applied { result: Ok(Response::LeaseRevoke { header: self.header() }), events }
    }
}

/// How a renewal went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The lease lives on for its full time.
    Renewed {
        /// That time in seconds.
        ttl_s: i64,
    },
    /// There is no such lease: the answer has a TTL of 0.
    Missing,
    /// The lease has expired and is not revoked yet: the answer waits for one or for a new leader.
    ExpiredPending,
}

#[derive(Clone, Copy, Debug)]
struct Deadline {
    ttl_s: i64,
    expires_ns: u64,
    /// When a scan next takes it for expired: its expiry, later if a revocation is under way.
    due_ns: u64,
}

/// The deadlines of all leases, in the memory of a member that believes that it leads. Times are nanoseconds of that
/// member's clock. The caller scans with [`Lessor::expired`] every 500 ms.
#[derive(Clone, Debug, Default)]
pub struct Lessor {
    primary: bool,
    deadlines: BTreeMap<i64, Deadline>,
    /// The same by `due_ns`, so that a scan touches only what is due.
    due: BTreeSet<(u64, i64)>,
}

fn after(now_ns: u64, ttl_s: i64) -> u64 {
    now_ns.saturating_add(u64::try_from(ttl_s).unwrap_or(0).saturating_mul(SECOND_NS))
}

impl Lessor {
    /// The lessor of a member that does not lead.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether its member believes that it leads.
    pub fn is_primary(&self) -> bool {
        self.primary
    }

    /// The member has become leader: every lease gets `extend_ns` and its full time again.
    pub fn promote(&mut self, store: &Store, now_ns: u64, extend_ns: u64) {
        self.primary = true;
        self.deadlines.clear();
        self.due.clear();
        for (id, lease) in store.leases() {
            self.set(id, lease.ttl_s, after(now_ns, lease.ttl_s).saturating_add(extend_ns));
        }
        if self.deadlines.len() >= REVOKE_RATE {
            self.spread(now_ns, extend_ns);
        }
    }

    /// Puts deadlines that pile up within a second apart, so that their revocations do not use up the whole rate
    /// (the second half of `Promote`).
    fn spread(&mut self, now_ns: u64, extend_ns: u64) {
        let second = i128::from(SECOND_NS);
        let target = i128::try_from(3 * REVOKE_RATE / 4).unwrap_or(i128::MAX);
        let order: Vec<(u64, i64)> = self.due.iter().copied().collect();
        let Some((first_ns, _)) = order.first() else { return };
        let mut base = i128::from(first_ns - now_ns);
        let mut next = base + second;
        let mut expiries = 0;
        for (due_ns, id) in order {
            let remaining = i128::from(due_ns - now_ns);
            if remaining > next {
                base = remaining;
                next = base + second;
                expiries = 1;
                continue;
            }
            expiries += 1;
            if expiries <= target {
                continue;
            }
            let delay = second * expiries / target - (remaining - base);
            next = base + delay;
            if let Some(deadline) = self.deadlines.get(&id) {
                let delay_ns = u64::try_from(delay).unwrap_or(0);
                let ttl_s = deadline.ttl_s;
                self.set(id, ttl_s, after(now_ns, ttl_s).saturating_add(extend_ns).saturating_add(delay_ns));
            }
        }
    }

    /// The member leads no longer: it knows no deadlines.
    pub fn demote(&mut self) {
        *self = Self::default();
    }

    /// A lease was granted; told to every member, of use to the leader's only.
    pub fn granted(&mut self, id: i64, ttl_s: i64, now_ns: u64) {
        if self.primary {
            self.set(id, ttl_s, after(now_ns, ttl_s));
        }
    }

    /// A lease was revoked.
    pub fn revoked(&mut self, id: i64) {
        if let Some(deadline) = self.deadlines.remove(&id) {
            self.due.remove(&(deadline.due_ns, id));
        }
    }

    /// Renews a lease, in this memory only.
    pub fn renew(&mut self, id: i64, now_ns: u64) -> Renewal {
        let Some(deadline) = self.deadlines.get(&id) else { return Renewal::Missing };
        if deadline.expires_ns <= now_ns {
            return Renewal::ExpiredPending;
        }
        let ttl_s = deadline.ttl_s;
        self.set(id, ttl_s, after(now_ns, ttl_s));
        Renewal::Renewed { ttl_s }
    }

    /// The leases to revoke now, `limit` at most, the longest expired first. One that is not revoked comes again after
    /// three seconds.
    pub fn expired(&mut self, now_ns: u64, limit: usize) -> Vec<i64> {
        let found: Vec<(u64, i64)> = self.due.range(..=(now_ns, i64::MAX)).take(limit).copied().collect();
        for &(due_ns, id) in &found {
            self.due.remove(&(due_ns, id));
            let due_ns = now_ns + REVOKE_AGAIN_NS;
            self.due.insert((due_ns, id));
            if let Some(deadline) = self.deadlines.get_mut(&id) {
                deadline.due_ns = due_ns;
            }
        }
        found.into_iter().map(|(_, id)| id).collect()
    }

    /// When [`Lessor::expired`] next finds one, if no lease is renewed.
    pub fn next_expiry_ns(&self) -> Option<u64> {
        self.due.first().map(|(due_ns, _)| *due_ns)
    }

    /// What a lease has left, 0 if it is expired; none if there is none or this is not the leader.
    pub fn remaining_ns(&self, id: i64, now_ns: u64) -> Option<u64> {
        self.deadlines.get(&id).map(|deadline| deadline.expires_ns.saturating_sub(now_ns))
    }

    /// All leases, the next to expire first, as etcd lists them.
    pub fn by_expiry(&self) -> Vec<i64> {
        let mut ids: Vec<(u64, i64)> =
            self.deadlines.iter().map(|(id, deadline)| (deadline.expires_ns, *id)).collect();
        ids.sort_unstable();
        ids.into_iter().map(|(_, id)| id).collect()
    }

    fn set(&mut self, id: i64, ttl_s: i64, expires_ns: u64) {
        let deadline = Deadline { ttl_s, expires_ns, due_ns: expires_ns };
        if let Some(former) = self.deadlines.insert(id, deadline) {
            self.due.remove(&(former.due_ns, id));
        }
        self.due.insert((expires_ns, id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreConfig;
    use tenure::kv::Request;

    fn store_with(leases: &[(i64, i64)]) -> Store {
        let mut store = Store::new(StoreConfig::default());
        for &(id, ttl_s) in leases {
            store.apply(&Request::LeaseGrant { id, ttl_s }).result.expect("granted");
        }
        store
    }

    #[test]
    fn a_lease_expires_after_its_time_and_is_proposed_again_after_three_seconds() {
        let mut lessor = Lessor::new();
        lessor.promote(&store_with(&[(7, 5)]), 0, 0);
        assert!(lessor.expired(5 * SECOND_NS - 1, 500).is_empty());
        assert_eq!(lessor.next_expiry_ns(), Some(5 * SECOND_NS));
        assert_eq!(lessor.expired(5 * SECOND_NS, 500), [7]);
        assert!(lessor.expired(6 * SECOND_NS, 500).is_empty());
        assert_eq!(lessor.renew(7, 6 * SECOND_NS), Renewal::ExpiredPending);
        assert_eq!(lessor.expired(8 * SECOND_NS, 500), [7]);
        lessor.revoked(7);
        assert_eq!(lessor.renew(7, 8 * SECOND_NS), Renewal::Missing);
        assert_eq!(lessor.next_expiry_ns(), None);
    }

    #[test]
    fn a_new_leader_gives_every_lease_its_full_time_and_the_extension() {
        let mut lessor = Lessor::new();
        lessor.promote(&store_with(&[(7, 5)]), 100 * SECOND_NS, SECOND_NS);
        assert_eq!(lessor.remaining_ns(7, 100 * SECOND_NS), Some(6 * SECOND_NS));
        assert_eq!(lessor.renew(7, 102 * SECOND_NS), Renewal::Renewed { ttl_s: 5 });
        assert_eq!(lessor.remaining_ns(7, 102 * SECOND_NS), Some(5 * SECOND_NS));
        lessor.demote();
        assert_eq!(lessor.renew(7, 102 * SECOND_NS), Renewal::Missing);
    }

    #[test]
    fn a_scan_takes_no_more_than_its_limit_the_oldest_first() {
        let mut lessor = Lessor::new();
        lessor.promote(&store_with(&[(1, 9), (2, 3), (3, 5)]), 0, 0);
        assert_eq!(lessor.expired(20 * SECOND_NS, 2), [2, 3]);
        assert_eq!(lessor.expired(20 * SECOND_NS, 2), [1]);
    }

    #[test]
    fn a_new_leader_spreads_leases_that_would_all_expire_at_once() {
        let leases: Vec<(i64, i64)> = (1..=3000).map(|id| (id, 10)).collect();
        let mut lessor = Lessor::new();
        lessor.promote(&store_with(&leases), 0, 0);
        let at_once = lessor.expired(10 * SECOND_NS, usize::MAX).len();
        assert_eq!(at_once, 750);
        let last = lessor.by_expiry().pop().and_then(|id| lessor.remaining_ns(id, 0)).expect("a lease");
        assert!(last > 13 * SECOND_NS, "{last}");
    }
}
