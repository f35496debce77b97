//! A server of one member: a store, its lessor and its watches, with a clock that is passed in.

use serde::{Deserialize, Serialize};
use tenure::kv::{Header, Request, Response, WatchRequest, WatchResponse};
use tenure::wire::Status;

use super::{Applied, Lessor, Renewal, Store, StoreConfig, WatchHub, WatchId};

/// etcd looks for expired leases this often (`runLoop` in `lease/lessor.go`).
const LEASE_SCAN_NS: u64 = 500_000_000;
/// It revokes this many leases a scan at most.
const LEASES_A_SCAN: usize = 500;
/// It serves watches that lag this often (`syncWatchersLoop` in `mvcc/watchable_store.go`).
const WATCH_SYNC_NS: u64 = 100_000_000;

/// What a server of one member is set up with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SingleConfig {
    /// Its store.
    pub store: StoreConfig,
    /// The cluster's id, in every reply.
    pub cluster_id: u64,
    /// The member's id, in every reply; it leads.
    pub member_id: u64,
}

/// A server of one member, which always leads. Its time is what it is told, in nanoseconds, and must not go back.
///
/// Call [`Single::tick`] at [`Single::next_tick_ns`], and after each call take what watches are told from
/// [`Single::take_messages`].
#[derive(Clone, Debug)]
pub struct Single {
    config: SingleConfig,
    store: Store,
    lessor: Lessor,
    hub: WatchHub,
    messages: Vec<(WatchId, WatchResponse)>,
    next_lease_id: i64,
    next_sync_ns: u64,
}

impl Single {
    /// A server with an empty store.
    pub fn new(config: SingleConfig) -> Self {
        Self::with_store(Store::new(config.store.clone()), config, 0)
    }

    /// A server on a store that was there before, whose leases begin anew at `now_ns`.
    pub fn with_store(store: Store, config: SingleConfig, now_ns: u64) -> Self {
        let mut lessor = Lessor::new();
        lessor.promote(&store, now_ns, 0);
        Self {
            config,
            store,
            lessor,
            hub: WatchHub::new(),
            messages: Vec::new(),
            next_lease_id: 0x7e00_0000_0000_0001,
            next_sync_ns: 0,
        }
    }

    /// Its store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Raises or clears the NOSPACE alarm.
    pub fn set_no_space(&mut self, on: bool) {
        self.store.set_no_space(on);
    }

    /// Answers one request at `now_ns`.
    pub fn handle(&mut self, request: &Request, now_ns: u64) -> Result<Response, Status> {
        self.tick(now_ns);
        self.store.check(request)?;
        let mut response = self.answer(request, now_ns)?;
        self.stamp(response.header_mut());
        Ok(response)
    }

    fn answer(&mut self, request: &Request, now_ns: u64) -> Result<Response, Status> {
        match request {
            Request::LeaseKeepAlive { id } => {
                let header = self.store.header();
                let ttl_s = match self.lessor.renew(*id, now_ns) {
                    Renewal::Renewed { ttl_s } => ttl_s,
                    Renewal::Missing => 0,
                    Renewal::ExpiredPending => {
                        // etcd answers once the lease is revoked: that is now.
                        self.commit(&Request::LeaseRevoke { id: *id }, now_ns);
                        0
                    }
                };
                Ok(Response::LeaseKeepAlive { header, ttl_s })
            }
            Request::LeaseTimeToLive { id, keys } => Ok(self.time_to_live(*id, *keys, now_ns)),
            Request::LeaseLeases => {
                Ok(Response::LeaseLeases { header: self.store.header(), ids: self.lessor.by_expiry() })
            }
            Request::LeaseGrant { id: 0, ttl_s } => {
                let id = self.pick_lease_id();
                self.commit(&Request::LeaseGrant { id, ttl_s: *ttl_s }, now_ns).result
            }
            Request::Status => Ok(Response::Status {
                header: self.store.header(),
                version: self.config.store.version.to_string(),
                leader: self.config.member_id,
            }),
            request => self.commit(request, now_ns).result,
        }
    }

    /// Applies a request and lets leases and watches follow.
    fn commit(&mut self, request: &Request, now_ns: u64) -> Applied {
        let applied = self.store.apply(request);
        match (request, &applied.result) {
            (_, Ok(Response::LeaseGrant { grant, .. })) => self.lessor.granted(grant.id, grant.ttl_s, now_ns),
            (Request::LeaseRevoke { id }, Ok(_)) => self.lessor.revoked(*id),
            _ => {}
        }
        let told = self.hub.on_applied(&self.store, &applied.events);
        self.messages.extend(told);
        applied
    }

    fn pick_lease_id(&mut self) -> i64 {
        while self.store.lease(self.next_lease_id).is_some() {
            self.next_lease_id += 1;
        }
        self.next_lease_id += 1;
        self.next_lease_id - 1
    }

    fn time_to_live(&self, id: i64, keys: bool, now_ns: u64) -> Response {
        let header = self.store.header();
        let Some(lease) = self.store.lease(id) else {
            return Response::LeaseTimeToLive { header, ttl_s: -1, granted_ttl_s: 0, keys: Vec::new() };
        };
        let left_ns = self.lessor.remaining_ns(id, now_ns).unwrap_or(0);
        Response::LeaseTimeToLive {
            header,
            ttl_s: i64::try_from(left_ns / 1_000_000_000).unwrap_or(i64::MAX),
            granted_ttl_s: lease.ttl_s,
            keys: if keys { lease.keys.iter().cloned().collect() } else { Vec::new() },
        }
    }

    /// Opens a watch at `now_ns`; its first message waits in [`Single::take_messages`].
    pub fn watch(&mut self, request: WatchRequest, now_ns: u64) -> WatchId {
        self.tick(now_ns);
        if !self.hub.has_unsynced() {
            self.next_sync_ns = now_ns - now_ns % WATCH_SYNC_NS + WATCH_SYNC_NS;
        }
        let (id, told) = self.hub.create(request, &self.store);
        self.messages.extend(told.into_iter().map(|message| (id, message)));
        id
    }

    /// Closes a watch, and says whether it was open.
    pub fn cancel_watch(&mut self, id: WatchId) -> bool {
        self.hub.cancel(id)
    }

    /// Asks for a watch's progress; the answer, if there is one, waits in [`Single::take_messages`].
    pub fn request_progress(&mut self, id: WatchId) {
        if let Some(message) = self.hub.progress(id, &self.store) {
            self.messages.push((id, message));
        }
    }

    /// Whether a watch has caught up with the store.
    pub fn is_synced(&self, id: WatchId) -> bool {
        self.hub.is_synced(id)
    }

    /// Does what is due by `now_ns`: expired leases are revoked, lagging watches served.
    pub fn tick(&mut self, now_ns: u64) {
        if self.hub.has_unsynced() && self.next_sync_ns <= now_ns {
            self.sync_watches();
            self.next_sync_ns = now_ns - now_ns % WATCH_SYNC_NS + WATCH_SYNC_NS;
        }
        while self.next_scan_ns().is_some_and(|scan_ns| scan_ns <= now_ns) {
            for id in self.lessor.expired(now_ns, LEASES_A_SCAN) {
                self.commit(&Request::LeaseRevoke { id }, now_ns);
            }
        }
    }

    /// Serves lagging watches now, without waiting for the loop that does so.
    pub fn sync_watches(&mut self) {
        let told = self.hub.sync_unsynced(&self.store);
        self.messages.extend(told);
    }

    /// The first scan at which a lease is found expired.
    fn next_scan_ns(&self) -> Option<u64> {
        self.lessor
            .next_expiry_ns()
            .map(|expiry_ns| expiry_ns.div_ceil(LEASE_SCAN_NS).saturating_mul(LEASE_SCAN_NS))
    }

    /// When [`Single::tick`] next has something to do.
    pub fn next_tick_ns(&self) -> Option<u64> {
        let sync_ns = self.hub.has_unsynced().then_some(self.next_sync_ns);
        [sync_ns, self.next_scan_ns()].into_iter().flatten().min()
    }

    /// What watches were told since the last call, in order.
    pub fn take_messages(&mut self) -> Vec<(WatchId, WatchResponse)> {
        let mut messages = std::mem::take(&mut self.messages);
        for (_, message) in &mut messages {
            self.stamp(&mut message.header);
        }
        messages
    }

    fn stamp(&self, header: &mut Header) {
        header.cluster_id = self.config.cluster_id;
        header.member_id = self.config.member_id;
        header.raft_term = 2;
    }
}

#[cfg(test)]
mod tests {
    use tenure::kv::Put;

    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    fn grant(single: &mut Single, ttl_s: i64) -> i64 {
        match single.handle(&Request::LeaseGrant { id: 0, ttl_s }, 0) {
            Ok(Response::LeaseGrant { grant, .. }) => grant.id,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_lease_that_is_not_renewed_ends_with_its_keys_and_watches_are_told() {
        let mut single = Single::new(SingleConfig::default());
        let id = grant(&mut single, 5);
        single.handle(&Request::Put(Put::new("a", "").lease(id)), 0).expect("put");
        let watch = single.watch(WatchRequest::key("a"), 0);
        single.take_messages();
        assert_eq!(single.next_tick_ns(), Some(5 * SECOND_NS));
        single.handle(&Request::LeaseKeepAlive { id }, 3 * SECOND_NS + 1).expect("renewed");
        single.tick(8 * SECOND_NS);
        assert!(single.take_messages().is_empty(), "renewed at 3 s it lives until 8 s");
        // Leases are looked at twice a second.
        assert_eq!(single.next_tick_ns(), Some(8 * SECOND_NS + SECOND_NS / 2));
        single.tick(8 * SECOND_NS + SECOND_NS / 2);
        let told = single.take_messages();
        assert!(
            matches!(&told[..], [(of, message)] if *of == watch && message.events.len() == 1),
            "{told:?}"
        );
        let gone = single.handle(&Request::LeaseKeepAlive { id }, 9 * SECOND_NS);
        assert!(matches!(gone, Ok(Response::LeaseKeepAlive { ttl_s: 0, .. })));
    }

    #[test]
    fn a_renewal_that_comes_late_finds_the_lease_revoked() {
        let mut single = Single::new(SingleConfig::default());
        let id = grant(&mut single, 5);
        let late = single.handle(&Request::LeaseKeepAlive { id }, 5 * SECOND_NS + 1);
        assert!(matches!(late, Ok(Response::LeaseKeepAlive { ttl_s: 0, .. })), "{late:?}");
        assert_eq!(single.store().lease(id), None);
    }

    #[test]
    fn a_watch_from_the_past_waits_for_the_loop_of_a_tenth_of_a_second() {
        let mut single = Single::new(SingleConfig::default());
        single.handle(&Request::Put(Put::new("a", "")), 0).expect("put");
        single.watch(WatchRequest { start_revision: 2, ..WatchRequest::key("a") }, SECOND_NS + 1);
        assert_eq!(single.take_messages().len(), 1, "created");
        assert_eq!(single.next_tick_ns(), Some(SECOND_NS + SECOND_NS / 10));
        single.tick(SECOND_NS + SECOND_NS / 10);
        assert_eq!(single.take_messages().len(), 1);
        assert_eq!(single.next_tick_ns(), None);
    }
}
