//! Scripts made by proptest, weighted so that transactions hit and miss, leases die, and watches cross compactions.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tenure::kv::{
    Compare, CompareOp, CompareTarget, DeleteRange, Op, Put, Range, Request, SortOrder, SortTarget, Txn, WatchRequest,
    prefix_end,
};

use super::script::{LEASES, NO_SUCH_LEASE, PICKED_LEASE, Step, from_compacted, from_head, from_start};

/// The script of one case: the same for the same seed and number, whatever else is run.
pub(super) fn script(seed: u64, case: u64, with_expiry: bool) -> Vec<Step> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&case.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config { failure_persistence: None, ..Config::default() }, rng);
    let drawn = vec(step(), 1..14).new_tree(&mut runner).map(|tree| tree.current());
    // These strategies reject nothing, so that a script can always be drawn.
    let mut steps = drawn.unwrap_or_default();
    if with_expiry {
        // Leases of the least time would die at about the same time as the short one: which first is a matter of luck.
        steps.retain(|step| !matches!(step, Step::Call(Request::LeaseGrant { ttl_s: ..=0, .. })));
        let drawn = (0..=steps.len(), key()).new_tree(&mut runner).map(|tree| tree.current());
        let (at, key) = drawn.unwrap_or_default();
        steps.insert(at, Step::Expire { key });
    }
    steps
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => put().prop_map(|put| Step::Call(Request::Put(put))),
        10 => delete().prop_map(|delete| Step::Call(Request::Delete(delete))),
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
        40 => prop::sample::select(vec!["a", "b", "c", "a/1", "a/2", "b\0"]).prop_map(|key| key.as_bytes().to_vec()),
        2 => Just(vec![0xff]),
    ]
}

/// A key as a request names it: now and then none.
fn named_key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![60 => key(), 1 => Just(Vec::new())]
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
        8 => Just(0),
        6 => (0..6i64).prop_map(from_start),
        6 => (-4..=1i64).prop_map(from_head),
        4 => (-1..=1i64).prop_map(from_compacted),
        1 => prop::sample::select(vec![-1, -7, 1, i64::MAX]),
    ]
}

fn lease_id() -> impl Strategy<Value = i64> {
    prop_oneof![
        20 => prop::sample::select(LEASES.to_vec()),
        2 => Just(PICKED_LEASE),
        1 => Just(NO_SUCH_LEASE),
    ]
}

fn put() -> impl Strategy<Value = Put> {
    let lease = prop_oneof![3 => Just(0), 2 => lease_id()];
    let flag = || prop::bool::weighted(0.15);
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
    let filter = || prop_oneof![9 => Just(0), 1 => revision()];
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
    let op = prop::sample::select(vec![CompareOp::Equal, CompareOp::NotEqual, CompareOp::Greater, CompareOp::Less]);
    let target = prop_oneof![
        3 => prop_oneof![Just(0).boxed(), revision().boxed()].prop_map(CompareTarget::Create),
        2 => revision().prop_map(CompareTarget::Mod),
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
    (revision, prop::bool::weighted(0.2)).prop_map(|(revision, physical)| Request::Compact { revision, physical })
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
    let span = span().prop_map(|(key, end)| if key.is_empty() && end.is_empty() { (key, vec![0]) } else { (key, end) });
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
