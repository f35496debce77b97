//! Scripts made by proptest, weighted so that transactions hit and miss, leases die, and watches cross compactions.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tenure::kv::{
    Compare, CompareOp, CompareTarget, DeleteRange, Op, Put, Range, Request, SortOrder, SortTarget, Txn,
    WatchRequest, prefix_end,
};

use super::script::{LEASES, NO_SUCH_LEASE, PICKED_LEASE, Step, from_compacted, from_head, from_start};

/// The script of one case: the same for the same seed and number, whatever else is run. With it comes how many of its
/// transactions were changed because they could have killed a server ([`Accepted::FatalTxn`](super::Accepted::FatalTxn)).
pub(super) fn script(seed: u64, case: u64, with_expiry: bool) -> (Vec<Step>, u64) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&case.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config { failure_persistence: None, ..Config::default() }, rng);
    let drawn = (prelude(), vec(step(), 1..12)).new_tree(&mut runner).map(|tree| tree.current());
    // These strategies reject nothing, so that a script can always be drawn.
    let (mut steps, rest) = drawn.unwrap_or_default();
    steps.extend(rest);
    if with_expiry {
        // Leases of the least time would die at about the same time as the short one: which first is a matter of luck.
        steps.retain(|step| !matches!(step, Step::Call(Request::LeaseGrant { ttl_s: ..=0, .. })));
        let drawn = (0..=steps.len(), key()).new_tree(&mut runner).map(|tree| tree.current());
        let (at, key) = drawn.unwrap_or_default();
        steps.insert(at, Step::Expire { key });
    }
    let changed = made_survivable(&mut steps);
    (steps, changed)
}

/// Changes the transactions that could kill a server, and says how many those were.
fn made_survivable(steps: &mut [Step]) -> u64 {
    let compacts = steps.iter().any(|step| matches!(step, Step::Call(Request::Compact { .. })));
    let mut changed = 0;
    for step in steps {
        if let Step::Call(Request::Txn(txn)) = step
            && deletes_openly(txn)
        {
            let kept = keep_nothing(txn);
            let closed = compacts && puts(txn);
            if closed {
                close_deletions(txn);
            }
            changed += u64::from(kept || closed);
        }
    }
    changed
}

fn puts(txn: &Txn) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match op {
        Op::Put(_) => true,
        Op::Txn(nested) => puts(nested),
        Op::Delete(_) | Op::Range(_) => false,
    })
}

/// Gives every deletion without an end one that is behind all keys of scripts.
fn close_deletions(txn: &mut Txn) {
    for op in txn.success.iter_mut().chain(&mut txn.failure) {
        match op {
            Op::Delete(delete) if delete.range_end == [0] => delete.range_end = vec![0xff, 0xff],
            Op::Txn(nested) => close_deletions(nested),
            Op::Delete(_) | Op::Put(_) | Op::Range(_) => {}
        }
    }
}

/// Whether a transaction holds a deletion without an end.
fn deletes_openly(txn: &Txn) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match op {
        Op::Delete(delete) => delete.range_end == [0],
        Op::Txn(nested) => deletes_openly(nested),
        Op::Put(_) | Op::Range(_) => false,
    })
}

/// Takes from all puts of a transaction that they keep a former value or lease, and says whether one did.
fn keep_nothing(txn: &mut Txn) -> bool {
    let mut changed = false;
    for op in txn.success.iter_mut().chain(&mut txn.failure) {
        match op {
            Op::Put(put) => {
                changed |= put.ignore_value || put.ignore_lease;
                (put.ignore_value, put.ignore_lease) = (false, false);
            }
            Op::Txn(nested) => changed |= keep_nothing(nested),
            Op::Delete(_) | Op::Range(_) => {}
        }
    }
    changed
}

/// Something to work on: keys, some of them on leases that are there.
fn prelude() -> impl Strategy<Value = Vec<Step>> {
    let grant = |id| Step::Call(Request::LeaseGrant { id, ttl_s: 100 });
    let grants = prop_oneof![
        2 => Just(Vec::new()),
        3 => Just(vec![grant(LEASES[0])]),
        2 => Just(vec![grant(LEASES[0]), grant(LEASES[1])]),
    ];
    let lease = prop_oneof![3 => Just(0), 3 => Just(LEASES[0]), 1 => Just(LEASES[1])];
    let put = (key(), value(), lease)
        .prop_map(|(key, value, lease)| Step::Call(Request::Put(Put::new(key, value).lease(lease))));
    (grants, vec(put, 0..6)).prop_map(|(mut steps, puts)| {
        steps.extend(puts);
        steps
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        22 => put().prop_map(|put| Step::Call(Request::Put(put))),
        6 => delete().prop_map(|delete| Step::Call(Request::Delete(delete))),
        14 => range().prop_map(|range| Step::Call(Request::Range(range))),
        24 => txn(2).prop_map(|txn| Step::Call(Request::Txn(txn))),
        8 => compact().prop_map(Step::Call),
        16 => lease_request().prop_map(Step::Call),
        7 => watch(live_start()).prop_map(Step::Watch),
        2 => watch(past_start()).prop_map(Step::Watch),
        1 => Just(Step::Call(Request::Status)),
        1 => limits().prop_map(Step::Call),
    ]
}

/// Few keys, so that steps meet; some are another's prefix.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        40 => prop::sample::select(vec!["a", "b", "c"]).prop_map(|key| key.as_bytes().to_vec()),
        20 => prop::sample::select(vec!["a/1", "a/2", "b\0"]).prop_map(|key| key.as_bytes().to_vec()),
        1 => Just(vec![0xff]),
    ]
}

/// A key as a request names it: now and then none.
fn named_key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![150 => key(), 1 => Just(Vec::new())]
}

fn span() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let end = prop_oneof![
        8 => Just(None),
        3 => Just(Some(vec![0])),
        5 => Just(Some(b"prefix".to_vec())),
        3 => key().prop_map(Some),
    ];
    (named_key(), end).prop_map(|(key, end)| match end {
        None => (key, Vec::new()),
        Some(end) if end == b"prefix" => (key.clone(), prefix_end(&key)),
        Some(end) => (key, end),
    })
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(vec!["", "0", "1", "2"]).prop_map(|value| value.as_bytes().to_vec())
}

/// A revision that a request may name; mostly near one of the marks.
fn revision() -> impl Strategy<Value = i64> {
    prop_oneof![
        40 => Just(0),
        8 => (0..6i64).prop_map(from_start),
        16 => (-4..=0i64).prop_map(from_head),
        1 => Just(from_head(1)),
        6 => (-1..=2i64).prop_map(from_compacted),
        1 => prop::sample::select(vec![-1, -7, 1, i64::MAX]),
    ]
}

/// A revision at which keys of the script may have been made or changed.
fn mark_near_keys() -> impl Strategy<Value = i64> {
    prop_oneof![3 => (0..6i64).prop_map(from_start), 2 => (-4..=0i64).prop_map(from_head), 1 => Just(1)]
}

fn lease_id() -> impl Strategy<Value = i64> {
    prop_oneof![
        30 => Just(LEASES[0]),
        10 => Just(LEASES[1]),
        3 => Just(LEASES[2]),
        2 => Just(PICKED_LEASE),
        1 => Just(NO_SUCH_LEASE),
    ]
}

fn put() -> impl Strategy<Value = Put> {
    let lease = prop_oneof![4 => Just(0), 2 => lease_id()];
    let flag = || prop::bool::weighted(0.06);
    (named_key(), value(), lease, prop::bool::weighted(0.4), flag(), flag()).prop_map(
        |(key, value, lease, prev_kv, ignore_value, ignore_lease)| {
            // Mostly the combination that etcd takes; the rest is for its refusals.
            let value = if ignore_value && value != b"2" { Vec::new() } else { value };
            let lease = if ignore_lease && lease != LEASES[0] { 0 } else { lease };
            Put { key, value, lease, prev_kv, ignore_value, ignore_lease }
        },
    )
}

fn delete() -> impl Strategy<Value = DeleteRange> {
    (span(), any::<bool>()).prop_map(|((key, range_end), prev_kv)| DeleteRange { key, range_end, prev_kv })
}

fn range() -> impl Strategy<Value = Range> {
    let limit = prop_oneof![6 => Just(0), 4 => 1..4i64, 1 => Just(-1)];
    let order = prop::sample::select(vec![SortOrder::None, SortOrder::Ascend, SortOrder::Descend]);
    let target = prop_oneof![
        4 => Just(SortTarget::Key),
        1 => Just(SortTarget::Version),
        1 => Just(SortTarget::Create),
        1 => Just(SortTarget::Mod),
        1 => Just(SortTarget::Value),
    ];
    let filter = || prop_oneof![9 => Just(0), 1 => mark_near_keys()];
    let filters = (filter(), filter(), filter(), filter());
    let flags = (any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.15));
    (span(), limit, revision(), (order, target), filters, flags).prop_map(
        |((key, range_end), limit, revision, (sort_order, sort_target), filters, flags)| Range {
            key,
            range_end,
            limit,
            revision,
            sort_order,
            sort_target,
            min_mod_revision: filters.0,
            max_mod_revision: filters.1,
            min_create_revision: filters.2,
            max_create_revision: filters.3,
            serializable: flags.0,
            keys_only: flags.1,
            count_only: flags.2,
        },
    )
}

fn compare() -> impl Strategy<Value = Compare> {
    let op = prop::sample::select(vec![
        CompareOp::Equal,
        CompareOp::NotEqual,
        CompareOp::Greater,
        CompareOp::Less,
    ]);
    let target = prop_oneof![
        3 => prop_oneof![Just(0).boxed(), mark_near_keys().boxed()].prop_map(CompareTarget::Create),
        2 => mark_near_keys().prop_map(CompareTarget::Mod),
        2 => (0..3i64).prop_map(CompareTarget::Version),
        2 => value().prop_map(CompareTarget::Value),
        1 => prop_oneof![Just(0).boxed(), lease_id().boxed()].prop_map(CompareTarget::Lease),
    ];
    (span(), op, target).prop_map(|((key, range_end), op, target)| Compare { key, range_end, op, target })
}

fn txn(depth: u32) -> BoxedStrategy<Txn> {
    let op = if depth == 0 {
        prop_oneof![4 => put().prop_map(Op::Put), 2 => delete().prop_map(Op::Delete), 3 => range().prop_map(Op::Range)]
            .boxed()
    } else {
        prop_oneof![
            8 => put().prop_map(Op::Put),
            4 => delete().prop_map(Op::Delete),
            6 => range().prop_map(Op::Range),
            3 => txn(depth - 1).prop_map(Op::Txn),
        ]
        .boxed()
    };
    let ops = vec(op, 0..4);
    (vec(compare(), 0..3), ops.clone(), ops)
        .prop_map(|(compares, success, failure)| Txn { compares, success, failure })
        .boxed()
}

fn compact() -> impl Strategy<Value = Request> {
    let revision = prop_oneof![
        8 => (-3..=0i64).prop_map(from_head),
        3 => (-1..=1i64).prop_map(from_compacted),
        1 => Just(from_head(1)),
        1 => prop::sample::select(vec![-1, 0]),
    ];
    (revision, prop::bool::weighted(0.2))
        .prop_map(|(revision, physical)| Request::Compact { revision, physical })
}

fn lease_request() -> impl Strategy<Value = Request> {
    // Long enough to outlive any script.
    let ttl_s = prop_oneof![
        30 => 100..110i64,
        1 => prop::sample::select(vec![0, -1]),
        1 => Just(9_000_000_000),
        1 => Just(9_000_000_001),
        1 => Just(i64::MAX),
    ];
    let id = prop_oneof![12 => lease_id().boxed(), 2 => Just(0).boxed()];
    prop_oneof![
        10 => (id, ttl_s).prop_map(|(id, ttl_s)| Request::LeaseGrant { id, ttl_s }),
        4 => lease_id().prop_map(|id| Request::LeaseRevoke { id }),
        1 => lease_id().prop_map(|id| Request::LeaseKeepAlive { id }),
        2 => (lease_id(), any::<bool>()).prop_map(|(id, keys)| Request::LeaseTimeToLive { id, keys }),
        1 => Just(Request::LeaseLeases),
    ]
}

/// Starts that a watch is served from at once.
fn live_start() -> impl Strategy<Value = i64> {
    prop_oneof![6 => Just(0), 2 => (1..4i64).prop_map(from_head)]
}

/// Starts for which a server may need its 100 ms loop.
fn past_start() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => (0..6i64).prop_map(from_start),
        4 => (-4..=0i64).prop_map(from_head),
        4 => (-1..=1i64).prop_map(from_compacted),
        1 => prop::sample::select(vec![-1, 1]),
    ]
}

fn watch(start: impl Strategy<Value = i64>) -> impl Strategy<Value = WatchRequest> {
    let flag = || prop::bool::weighted(0.15);
    // A watch of one empty key is refused by the client library, so it never reaches a server.
    let span = span()
        .prop_map(|(key, end)| if key.is_empty() && end.is_empty() { (key, vec![0]) } else { (key, end) });
    (span, start, any::<bool>(), flag(), flag()).prop_map(
        |((key, range_end), start_revision, prev_kv, no_put, no_delete)| WatchRequest {
            key,
            range_end,
            start_revision,
            prev_kv,
            no_put,
            no_delete,
            progress_notify: false,
        },
    )
}

/// Requests at the limits of size and of operations.
fn limits() -> impl Strategy<Value = Request> {
    let sizes = vec![1_572_600, 1_572_864, 2_097_152];
    let large = prop::sample::select(sizes).prop_map(|size| Request::Put(Put::new("a", vec![b'x'; size])));
    let many = (127..130usize, any::<bool>()).prop_map(|(count, nested)| {
        let ops = (0..count).map(|_| Op::Delete(DeleteRange::key("a")));
        let inner = Txn::new().and_then(ops);
        Request::Txn(if nested { Txn::new().and_then([Op::Txn(inner)]) } else { inner })
    });
    prop_oneof![1 => large, 12 => many]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tenure::kv::{RangeResponse, Response};

    use super::*;
    use crate::conform::script::Scope;
    use crate::store::{Single, SingleConfig};

    /// What three thousand scripts have to come by, some times each.
    const WANTED: [&str; 22] = [
        "etcdserver: duplicate key given in txn request",
        "etcdserver: key is not provided",
        "etcdserver: key not found",
        "etcdserver: lease already exists",
        "etcdserver: lease is provided",
        "etcdserver: mvcc: required revision has been compacted",
        "etcdserver: mvcc: required revision is a future revision",
        "etcdserver: request is too large",
        "etcdserver: requested lease not found",
        "etcdserver: too large lease TTL",
        "etcdserver: too many operations in txn request",
        "etcdserver: value is provided",
        "delete of many",
        "lease dies with keys",
        "lease with keys",
        "range cut by its limit",
        "range of many",
        "txn else",
        "txn then",
        "watch refused or compacted",
        "watch told of many changes",
        "watch told of one change",
    ];

    /// What a reply shows of what was asked.
    fn mark(reply: &Result<Response, tenure::wire::Status>) -> String {
        match reply {
            Err(status) => status.message.clone(),
            Ok(Response::Range(RangeResponse { more: true, .. })) => "range cut by its limit".to_owned(),
            Ok(Response::Range(range)) if range.kvs.len() > 1 => "range of many".to_owned(),
            Ok(Response::Range(range)) if range.kvs.is_empty() => "range of none".to_owned(),
            Ok(Response::Range(_)) => "range of one".to_owned(),
            Ok(Response::Txn(txn)) if txn.succeeded => "txn then".to_owned(),
            Ok(Response::Txn(_)) => "txn else".to_owned(),
            Ok(Response::Delete(delete)) if delete.deleted > 1 => "delete of many".to_owned(),
            Ok(Response::LeaseTimeToLive { keys, .. }) if !keys.is_empty() => "lease with keys".to_owned(),
            Ok(other) => format!("{other:?}").split([' ', '(']).next().unwrap_or_default().to_owned(),
        }
    }

    #[test]
    fn scripts_come_by_all_that_they_are_for() {
        let mut marks: BTreeMap<String, u32> = BTreeMap::new();
        for case in 0..3000 {
            let mut single = Single::new(SingleConfig::default());
            for step in script(1, case, false).0 {
                let store = single.store();
                let (head, compacted) = (store.revision(), store.compact_revision());
                let scope = Scope { start: 1, head, compacted, picked: None };
                match step {
                    Step::Call(request) => {
                        let before = single.store().revision();
                        let reply = single.handle(&scope.request(&request), 0);
                        *marks.entry(mark(&reply)).or_default() += 1;
                        if matches!(request, Request::LeaseRevoke { .. })
                            && single.store().revision() > before
                        {
                            *marks.entry("lease dies with keys".to_owned()).or_default() += 1;
                        }
                    }
                    Step::Watch(request) => {
                        single.watch(scope.watch(&request), 0);
                        single.sync_watches();
                    }
                    Step::Expire { .. } => {}
                }
            }
            for (_, message) in single.take_messages() {
                let told = match (message.events.len(), message.canceled) {
                    (0, false) => "watch opened",
                    (0, true) => "watch refused or compacted",
                    (1, _) => "watch told of one change",
                    _ => "watch told of many changes",
                };
                *marks.entry(told.to_owned()).or_default() += 1;
            }
        }
        println!("{marks:#?}");
        for wanted in WANTED {
            assert!(marks.get(wanted).is_some_and(|times| *times >= 5), "{wanted}: {:?}", marks.get(wanted));
        }
    }
}
