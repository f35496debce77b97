//! Reads: which keys, at which revision, filtered, sorted and cut as etcd does it (`txn/range.go`, `rangeKeys` in
//! `mvcc/kvstore_txn.go`).

use std::sync::Arc;

use tenure::kv::{Header, KeyValue, Range, RangeResponse, SortOrder, SortTarget};
use tenure::wire::Status;

use super::span::Span;
use super::{Change, Planted, Store, refuse};

impl Store {
    /// Answers `range` from the present state, in which `pending` changes of the revision that is being written are
    /// already made.
    pub(super) fn range_within(&self, range: &Range, pending: &[Change]) -> Result<RangeResponse, Status> {
        let head = self.revision + i64::from(!pending.is_empty());
        if range.revision > head {
            return Err(refuse::future_revision());
        }
        let at = if range.revision <= 0 { head } else { range.revision };
        if at < self.first_readable() {
            return Err(refuse::compacted());
        }
        let header = Header { revision: head, ..Header::default() };
        let span = Span::new(&range.key, &range.range_end);
        let mut found: Vec<&Arc<KeyValue>> = if at == head {
            span.of(&self.live).map(|(_, kv)| kv).collect()
        } else {
            self.state_at(span, at, pending)
        };
        let mut count = i64::try_from(found.len()).unwrap_or(i64::MAX);
        if range.count_only {
            return Ok(RangeResponse { header, count, ..RangeResponse::default() });
        }
        if self.config.planted == Some(Planted::RangeCountLimited) && range.limit > 0 {
            count = count.min(range.limit);
        }
        let more = select(range, &mut found);
        // A sort by value has to read more than the index.
        let with_lease =
            self.config.version.keys_only_tells_lease() || range.sort_target == SortTarget::Value;
        let key_only = |kv: &KeyValue| KeyValue {
            key: kv.key.clone(),
            value: Vec::new(),
            lease: if with_lease { kv.lease } else { 0 },
            ..*kv
        };
        let kvs =
            found.into_iter().map(|kv| if range.keys_only { key_only(kv) } else { KeyValue::clone(kv) });
        let kvs = kvs.collect();
        Ok(RangeResponse { header, kvs, more, count })
    }

    fn first_readable(&self) -> i64 {
        let one_more =
            self.config.planted == Some(Planted::CompactionTakesOneMore) && self.compacted < self.revision;
        self.compacted + i64::from(one_more && self.compacted > 0)
    }
}

/// Filters, sorts and cuts what was found, and says whether the limit cut.
fn select(range: &Range, found: &mut Vec<&Arc<KeyValue>>) -> bool {
    let filters = range.min_mod_revision != 0
        || range.max_mod_revision != 0
        || range.min_create_revision != 0
        || range.max_create_revision != 0;
    let limit = usize::try_from(range.limit).unwrap_or(0);
    // etcd fetches no more than it will need unless an order or a filter is asked. A sort by another number than the
    // key without an order is then a sort of the first keys only.
    if range.sort_order == SortOrder::None && !filters && limit > 0 {
        found.truncate(limit.saturating_add(1));
    }
    if filters {
        found.retain(|kv| {
            let within =
                |number: i64, min: i64, max: i64| (max == 0 || number <= max) && (min == 0 || number >= min);
            within(kv.mod_revision, range.min_mod_revision, range.max_mod_revision)
                && within(kv.create_revision, range.min_create_revision, range.max_create_revision)
        });
    }
    sort(range, found);
    let more = limit > 0 && found.len() > limit;
    if more {
        found.truncate(limit);
    }
    more
}

/// Sorts; keys that are equal by the target stay in the order of their keys.
fn sort(range: &Range, found: &mut [&Arc<KeyValue>]) {
    let descending = range.sort_order == SortOrder::Descend;
    let by_number = |found: &mut [&Arc<KeyValue>], number: fn(&KeyValue) -> i64| {
        if descending {
            found.sort_by_key(|kv| std::cmp::Reverse(number(kv)));
        } else {
            found.sort_by_key(|kv| number(kv));
        }
    };
    match range.sort_target {
        SortTarget::Key if descending => found.reverse(),
        SortTarget::Key => {}
        SortTarget::Version => by_number(found, |kv| kv.version),
        SortTarget::Create => by_number(found, |kv| kv.create_revision),
        SortTarget::Mod => by_number(found, |kv| kv.mod_revision),
        SortTarget::Value if descending => found.sort_by(|one, other| other.value.cmp(&one.value)),
        SortTarget::Value => found.sort_by(|one, other| one.value.cmp(&other.value)),
    }
}
