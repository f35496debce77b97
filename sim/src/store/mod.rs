//! The simulated etcd store: pure, synchronous, deterministic state machines, with no time and no IO of their own.
//!
//! [`Store`] is what consensus replicates: the same requests in the same order give the same state and the same replies.
//! [`Lessor`] is a leader's memory of lease deadlines, [`WatchHub`] a member's memory of open watches, and
//! [`Single`] puts the three together as a server of one member.

mod check;
mod lease;
mod planted;
mod range;
pub mod refuse;
mod single;
mod size;
mod span;
mod txn;
mod version;
mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tenure::kv::{Event, EventKind, Header, KeyValue, Range, Request, Response, WatchRequest};
use tenure::wire::Status;
use xxhash_rust::xxh3::xxh3_64_with_seed;

pub use lease::{LeaseEntry, Lessor, MAX_TTL_S, Renewal};
pub use planted::Planted;
pub use single::{Single, SingleConfig};
use span::Span;
pub use txn::is_read_only;
pub use version::{EtcdVersion, LeadershipCheck, UnknownVersion};
pub use watch::{WatchHub, WatchId};

/// What a store is set up with; the same on every member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// The release that it behaves as.
    pub version: EtcdVersion,
    /// Operations in one list of a transaction at most (`--max-txn-ops`).
    pub max_txn_ops: usize,
    /// Bytes of one request at most (`--max-request-bytes`).
    pub max_request_bytes: usize,
    /// What a lease lives at least, in seconds: 1.5 election timeouts, rounded up.
    pub min_lease_ttl_s: i64,
    /// A difference from etcd, put in on purpose.
    pub planted: Option<Planted>,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            version: EtcdVersion::default(),
            max_txn_ops: 128,
            max_request_bytes: 1_572_864,
            min_lease_ttl_s: 2,
            planted: None,
        }
    }
}

/// The least time to live in seconds that a server with this election timeout grants (`minTTL` in etcd's
/// `server.go`): 1.5 election timeouts, rounded up to seconds.
pub fn min_lease_ttl_s(election_timeout_ms: u64) -> i64 {
    i64::try_from((election_timeout_ms * 3).div_ceil(2).div_ceil(1000)).unwrap_or(i64::MAX)
}

/// One change of one key, with the key's state right before it.
#[derive(Clone, Debug)]
struct Change {
    kind: EventKind,
    kv: Arc<KeyValue>,
    prev: Option<Arc<KeyValue>>,
}

/// What one committed request did.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The reply; its header holds the revision only.
    pub result: Result<Response, Status>,
    /// What it changed, in order, with former values: what watches are told. All have one revision.
    pub events: Vec<Event>,
}

impl Applied {
    fn refused(status: Status) -> Self {
        Self { result: Err(status), events: Vec::new() }
    }
}

/// What one write changed: all that other stores in the same state need to follow it, without judging it anew.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    revision: i64,
    changes: Arc<Vec<Change>>,
}

/// History that is asked for has been compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("revisions below {compact_revision} are compacted")]
pub struct Compacted {
    /// The oldest revision that can still be read and watched.
    pub compact_revision: i64,
}

/// The replicated state of etcd: keys with their history, and leases.
#[derive(Clone, Debug)]
pub struct Store {
    config: Arc<StoreConfig>,
    revision: i64,
    /// Below this nothing can be read; -1 until the first compaction (`compactMainRev` in etcd's `kvstore.go`).
    compacted: i64,
    /// The present state.
    live: BTreeMap<Vec<u8>, Arc<KeyValue>>,
    /// What each revision changed, from `log_start` to the present one without a gap. Older states are computed
    /// from the present one, backwards: reads of the past are rare.
    log: VecDeque<Arc<Vec<Change>>>,
    log_start: i64,
    leases: BTreeMap<i64, LeaseEntry>,
    no_space: bool,
}

impl Store {
    /// An empty store, at revision 1 as etcd's.
    pub fn new(config: StoreConfig) -> Self {
        Self {
            config: Arc::new(config),
            revision: 1,
            compacted: -1,
            live: BTreeMap::new(),
            log: VecDeque::new(),
            log_start: 2,
            leases: BTreeMap::new(),
            no_space: false,
        }
    }

    /// An empty store that is at `revision`, all of whose past is compacted.
    pub fn new_at(config: StoreConfig, revision: i64) -> Self {
        Self { revision, compacted: revision, log_start: revision + 1, ..Self::new(config) }
    }

    /// What it was set up with.
    pub fn config(&self) -> &StoreConfig {
        &self.config
    }

    /// The revision of the last write.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The oldest revision that can be read; 0 if nothing was compacted.
    pub fn compact_revision(&self) -> i64 {
        self.compacted.max(0)
    }

    /// Whether the NOSPACE alarm is on.
    pub fn no_space(&self) -> bool {
        self.no_space
    }

    /// Raises or clears the NOSPACE alarm; what it refuses is in [`Store::apply`].
    pub fn set_no_space(&mut self, on: bool) {
        self.no_space = on;
    }

    /// The keys that live now, in order.
    pub fn keys(&self) -> impl Iterator<Item = &KeyValue> {
        self.live.values().map(AsRef::as_ref)
    }

    /// A lease.
    pub fn lease(&self, id: i64) -> Option<&LeaseEntry> {
        self.leases.get(&id)
    }

    /// All leases by id.
    pub fn leases(&self) -> impl Iterator<Item = (i64, &LeaseEntry)> {
        self.leases.iter().map(|(id, lease)| (*id, lease))
    }

    /// What etcd refuses before a request reaches consensus: empty keys, duplicate keys, too many operations, too
    /// large a request (`api/v3rpc/key.go`, `v3_server.go`).
    pub fn check(&self, request: &Request) -> Result<(), Status> {
        check::check(request, &self.config)
    }

    /// Applies one committed request: Put, Delete, Txn, Compact, LeaseGrant with an id, LeaseRevoke; a read is
    /// answered too. Whether it fails is part of the deterministic outcome. [`Store::check`] is not done again.
    pub fn apply(&mut self, request: &Request) -> Applied {
        if self.no_space && check::needs_space(request, self.config.version) {
            return Applied::refused(refuse::no_space());
        }
        match request {
            Request::Put(put) => self.apply_put(put),
            Request::Delete(delete) => self.apply_delete(delete),
            Request::Txn(txn) => self.apply_txn(txn),
            Request::Compact { revision, .. } => {
                Applied { result: self.compact(*revision), events: Vec::new() }
            }
            Request::LeaseGrant { id, ttl_s } => {
                Applied { result: self.lease_grant(*id, *ttl_s), events: Vec::new() }
            }
            Request::LeaseRevoke { id } => self.lease_revoke(*id),
            _ => Applied { result: self.read(request), events: Vec::new() },
        }
    }

    /// What a request needs of a backend's space, as etcd counts it before it proposes (`costPut`, `costTxn` and
    /// `leaseOverhead` in `storage/quota.go`); `None` if it needs none.
    pub fn space_cost(&self, request: &Request) -> Option<u64> {
        check::needs_space(request, self.config.version).then(|| size::space_cost(request))
    }

    /// A hash of what is held up to a revision: equal stores have equal ones, on every machine.
    pub fn hash_at(&self, revision: i64) -> u32 {
        let older = self.live.values().filter(|kv| kv.mod_revision < self.log_start);
        let changed = self.log.iter().flat_map(|changes| changes.iter()).map(|change| &change.kv);
        let held = older.chain(changed).filter(|kv| kv.mod_revision <= revision);
        let folded = held.fold(0, |hash, kv| {
            let numbers = [kv.create_revision, kv.mod_revision, kv.version, kv.lease].map(i64::to_le_bytes);
            let hash = xxh3_64_with_seed(&numbers.concat(), hash);
            xxh3_64_with_seed(&kv.value, xxh3_64_with_seed(&kv.key, hash))
        });
        folded as u32
    }

    /// The bytes of all that can still be read: of each revision of a key, its key and value.
    pub fn kept_bytes(&self) -> u64 {
        let older = self.live.values().filter(|kv| kv.mod_revision < self.log_start);
        let changed = self.log.iter().flat_map(|changes| changes.iter()).map(|change| &change.kv);
        older.chain(changed).map(|kv| stored_size(kv)).sum()
    }

    /// Answers a read from this state: a Range, a Txn that only reads, or the list of leases.
    pub fn read(&self, request: &Request) -> Result<Response, Status> {
        match request {
            Request::Range(range) => self.range(range).map(Response::Range),
            Request::Txn(txn) if txn::is_read_only(txn) => self.read_txn(txn).map(Response::Txn),
            Request::LeaseLeases => Ok(Response::LeaseLeases {
                header: self.header(),
                ids: self.leases.keys().copied().collect(),
            }),
            _ => Err(refuse::not_the_stores()),
        }
    }

    /// A header with the present revision.
    pub fn header(&self) -> Header {
        Header { revision: self.revision, ..Header::default() }
    }

    /// What a watch is told of the revisions from `from_revision` (at least 1) to the present one: its filters and its
    /// wish for former values are heeded. A former value is missing where it is compacted.
    pub fn events(&self, watch: &WatchRequest, from_revision: i64) -> Result<Vec<Event>, Compacted> {
        self.events_until(watch, from_revision, usize::MAX).map(|(events, _)| events)
    }

    /// As [`Store::events`], but of `revisions` revisions with events at most; with them comes the revision to go on from.
    fn events_until(
        &self,
        watch: &WatchRequest,
        from_revision: i64,
        revisions: usize,
    ) -> Result<(Vec<Event>, i64), Compacted> {
        if from_revision < self.compacted {
            return Err(Compacted { compact_revision: self.compacted });
        }
        let span = watch::span_of(watch);
        let (mut found, mut told) = (Vec::new(), 0);
        let mut from = from_revision.max(self.log_start);
        if self.config.planted == Some(Planted::WatchSkipsFirst) {
            from += 1;
        }
        for (revision, changes) in (from..).zip(self.log.range(self.log_index(from)..)) {
            if told == revisions {
                return Ok((found, revision));
            }
            let before = found.len();
            for (index, change) in changes.iter().enumerate() {
                if span.contains(&change.kv.key) && !watch::filtered(watch, change.kind) {
                    let prev = if watch.prev_kv { self.prev_of(revision, changes, index) } else { None };
                    found.push(event(change, prev));
                }
            }
            told += usize::from(found.len() > before);
        }
        Ok((found, self.revision + 1))
    }

    fn log_index(&self, revision: i64) -> usize {
        usize::try_from(revision.saturating_sub(self.log_start)).unwrap_or(0).min(self.log.len())
    }

    /// The state of a changed key at the revision before the change, as etcd's watch server reads it
    /// (`sendLoop` in `api/v3rpc/watch.go`): none for a creation, and none below the compact revision.
    fn prev_of<'a>(&self, revision: i64, changes: &'a [Change], index: usize) -> Option<&'a Arc<KeyValue>> {
        if revision - 1 < self.compacted {
            return None;
        }
        prev_in_revision(revision, changes, index)
    }

    /// Forgets what is older than `revision` (`updateCompactRev` in etcd's `kvstore.go`).
    fn compact(&mut self, revision: i64) -> Result<Response, Status> {
        if revision <= self.compacted {
            return Err(refuse::compacted());
        }
        if revision > self.revision {
            return Err(refuse::future_revision());
        }
        self.compacted = revision;
        let kept_from = revision.max(self.log_start);
        self.log.drain(..self.log_index(kept_from));
        self.log_start = kept_from;
        if kept_from == revision {
            self.compact_front();
        }
        Ok(Response::Compact { header: self.header() })
    }

    /// Of the compacted revision itself there stays what was the last word on its key.
    fn compact_front(&mut self) {
        let keep_deletions = self.config.version.keeps_deletions_at_compaction();
        let Some(changes) = self.log.front_mut() else { return };
        let kept = |(index, change): &(usize, &Change)| {
            let last = !changes[index + 1..].iter().any(|later| later.kv.key == change.kv.key);
            last && (keep_deletions || change.kind == EventKind::Put)
        };
        *changes =
            Arc::new(changes.iter().enumerate().filter(kept).map(|(_, change)| change.clone()).collect());
    }

    /// The state of `span` at `revision`, with `pending` changes of the revision that is being written undone.
    fn state_at<'a>(
        &'a self,
        span: Span<'_>,
        revision: i64,
        pending: &'a [Change],
    ) -> Vec<&'a Arc<KeyValue>> {
        let mut state: BTreeMap<&[u8], Option<&Arc<KeyValue>>> =
            span.of(&self.live).map(|(key, kv)| (key.as_slice(), Some(kv))).collect();
        let later = self.log.range(self.log_index(revision + 1)..).flat_map(|changes| changes.iter());
        for change in pending.iter().rev().chain(later.rev()) {
            if span.contains(&change.kv.key) {
                state.insert(&change.kv.key, change.prev.as_ref());
            }
        }
        state.into_values().flatten().collect()
    }

    /// Closes a revision: what `changes` hold becomes history.
    fn commit(&mut self, changes: Vec<Change>) -> Vec<Event> {
        if changes.is_empty() {
            return Vec::new();
        }
        self.revision += 1;
        let events = (0..changes.len())
            .map(|index| event(&changes[index], prev_in_revision(self.revision, &changes, index)))
            .collect();
        self.log.push_back(Arc::new(changes));
        events
    }

    /// What the newest revision changed.
    pub(crate) fn written(&self) -> Option<Written> {
        self.log.back().map(|changes| Written { revision: self.revision, changes: Arc::clone(changes) })
    }

    /// Does what a store in the same state did when it applied a write to its keys: a replica need not judge the request
    /// anew to come to the same state.
    pub(crate) fn follow(&mut self, written: &Written) {
        for change in written.changes.iter() {
            let key = &change.kv.key;
            match change.kind {
                EventKind::Put => {
                    let former = change.prev.as_ref().map_or(0, |prev| prev.lease);
                    self.attach(former, change.kv.lease, key);
                    self.set(key, Arc::clone(&change.kv));
                }
                EventKind::Delete => {
                    if let Some(prev) = self.live.remove(key) {
                        self.detach(prev.lease, key);
                    }
                }
            }
        }
        self.revision = written.revision;
        self.log.push_back(Arc::clone(&written.changes));
    }

    /// Writes one key in the revision that is being made.
    fn put_key(&mut self, key: &[u8], value: Vec<u8>, lease: i64, changes: &mut Vec<Change>) {
        let revision = self.revision + 1;
        let prev = self.live.get(key).cloned();
        let (create_revision, version) =
            prev.as_ref().map_or((revision, 1), |prev| (prev.create_revision, prev.version + 1));
        let kv = Arc::new(KeyValue {
            key: key.to_vec(),
            value,
            create_revision,
            mod_revision: revision,
            version,
            lease,
        });
        let former = prev.as_ref().map_or(0, |prev| prev.lease);
        self.attach(former, lease, key);
        self.set(key, Arc::clone(&kv));
        changes.push(Change { kind: EventKind::Put, kv, prev });
    }

    /// Deletes one key in the revision that is being made.
    fn delete_key(&mut self, key: &[u8], changes: &mut Vec<Change>) {
        if let Some(prev) = self.live.remove(key) {
            self.detach(prev.lease, key);
            let gone = KeyValue { key: key.to_vec(), mod_revision: self.revision + 1, ..KeyValue::default() };
            changes.push(Change { kind: EventKind::Delete, kv: Arc::new(gone), prev: Some(prev) });
        }
    }

    fn set(&mut self, key: &[u8], kv: Arc<KeyValue>) {
        match self.live.get_mut(key) {
            Some(known) => *known = kv,
            None => {
                self.live.insert(key.to_vec(), kv);
            }
        }
    }

    /// A key leaves its former lease for another.
    fn attach(&mut self, former: i64, lease: i64, key: &[u8]) {
        if former == lease {
            return;
        }
        if self.config.planted != Some(Planted::LeaseKeepsFormerKeys) {
            self.detach(former, key);
        }
        if let Some(entry) = self.leases.get_mut(&lease) {
            entry.keys.insert(key.to_vec());
        }
    }

    fn detach(&mut self, lease: i64, key: &[u8]) {
        if let Some(entry) = self.leases.get_mut(&lease) {
            entry.keys.remove(key);
        }
    }

    /// Answers a range from the state before any write that is being made.
    fn range(&self, range: &Range) -> Result<tenure::kv::RangeResponse, Status> {
        self.range_within(range, &[])
    }
}

/// What one change adds to a backend, in bytes.
pub(crate) fn stored_bytes(event: &Event) -> u64 {
    stored_size(&event.kv)
}

/// A key's revision in the backend: its index entry, key and value, and the protobuf around them.
fn stored_size(kv: &KeyValue) -> u64 {
    const AROUND: usize = 17 + 24;
    (AROUND + kv.key.len() + kv.value.len()) as u64
}

/// The state of a changed key at the revision before the change. That is not always the state right before it: a
/// transaction can put and delete one key in one revision, if the one is nested or the deletion's range is open.
fn prev_in_revision(revision: i64, changes: &[Change], index: usize) -> Option<&Arc<KeyValue>> {
    let prev = changes[index].prev.as_ref()?;
    if prev.mod_revision < revision {
        return Some(prev);
    }
    let key = &changes[index].kv.key;
    changes[..index].iter().find(|earlier| earlier.kv.key == *key)?.prev.as_ref()
}

fn event(change: &Change, prev: Option<&Arc<KeyValue>>) -> Event {
    Event {
        kind: change.kind,
        kv: KeyValue::clone(&change.kv),
        prev_kv: prev.map(|prev| KeyValue::clone(prev)),
    }
}

#[cfg(test)]
mod tests;
