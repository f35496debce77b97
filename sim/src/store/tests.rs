//! The rules of etcd's store: each test is named after the one that it keeps.
#![allow(clippy::unwrap_used, reason = "tests")]

use tenure::Code;
use tenure::kv::{
    Compare, CompareOp, DeleteRange, Event, EventKind, Op, OpResponse, Put, Range, RangeResponse, Request,
    Response, SortOrder, SortTarget, Txn, TxnResponse, WatchRequest,
};
use tenure::wire::Status;

use super::*;

fn store() -> Store {
    Store::new(StoreConfig::default())
}

fn apply(store: &mut Store, request: Request) -> Response {
    store.check(&request).unwrap();
    store.apply(&request).result.unwrap()
}

fn refused(store: &mut Store, request: Request) -> Status {
    match store.check(&request) {
        Err(status) => status,
        Ok(()) => store.apply(&request).result.unwrap_err(),
    }
}

fn put(store: &mut Store, key: &str, value: &str) {
    apply(store, Request::Put(Put::new(key, value)));
}

fn delete(store: &mut Store, key: &str) {
    apply(store, Request::Delete(DeleteRange::key(key)));
}

fn grant(store: &mut Store, id: i64) {
    apply(store, Request::LeaseGrant { id, ttl_s: 10 });
}

fn compact(store: &mut Store, revision: i64) {
    apply(store, Request::Compact { revision, physical: false });
}

fn range(store: &Store, range: Range) -> RangeResponse {
    match store.read(&Request::Range(range)).unwrap() {
        Response::Range(response) => response,
        other => panic!("{other:?}"),
    }
}

fn txn(store: &mut Store, txn: Txn) -> TxnResponse {
    match apply(store, Request::Txn(txn)) {
        Response::Txn(response) => response,
        other => panic!("{other:?}"),
    }
}

fn values(response: &RangeResponse) -> Vec<String> {
    response.kvs.iter().map(|kv| String::from_utf8_lossy(&kv.value).into_owned()).collect()
}

fn names(response: &RangeResponse) -> Vec<String> {
    response.kvs.iter().map(|kv| String::from_utf8_lossy(&kv.key).into_owned()).collect()
}

fn told(events: &[Event]) -> Vec<(EventKind, String, i64)> {
    events
        .iter()
        .map(|event| (event.kind, String::from_utf8_lossy(&event.kv.key).into_owned(), event.kv.mod_revision))
        .collect()
}

#[test]
fn a_transaction_that_writes_advances_the_revision_by_one_and_no_other() {
    let mut store = store();
    let both = Txn::new().and_then([Op::Put(Put::new("a", "1")), Op::Put(Put::new("b", "1"))]);
    assert_eq!(txn(&mut store, both).header.revision, 2);
    let reads = Txn::new().and_then([Op::Range(Range::key("a"))]);
    assert_eq!(txn(&mut store, reads).header.revision, 2);
    delete(&mut store, "none");
    assert_eq!(store.revision(), 2);
}

#[test]
fn a_key_that_is_made_anew_counts_its_versions_from_one() {
    let mut store = store();
    put(&mut store, "a", "1");
    put(&mut store, "a", "2");
    delete(&mut store, "a");
    put(&mut store, "a", "3");
    let kv = range(&store, Range::key("a")).kvs.remove(0);
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (5, 5, 1));
}

#[test]
fn the_past_reads_as_it_was() {
    let mut store = store();
    put(&mut store, "a", "1");
    put(&mut store, "b", "1");
    put(&mut store, "a", "2");
    delete(&mut store, "b");
    let all = |revision| values(&range(&store, Range { revision, range_end: vec![0], ..Range::key("\0") }));
    assert_eq!(all(1), Vec::<String>::new());
    assert_eq!(all(2), ["1"]);
    assert_eq!(all(3), ["1", "1"]);
    assert_eq!(all(4), ["2", "1"]);
    assert_eq!(all(5), ["2"]);
    assert_eq!(range(&store, Range { revision: 2, ..Range::key("a") }).header.revision, 5);
}

#[test]
fn conditions_are_joined_and_an_absent_key_counts_as_zeros_but_has_no_value() {
    let mut store = store();
    put(&mut store, "a", "x");
    let mut holds = |compare: Compare| txn(&mut store, Txn::new().when([compare])).succeeded;
    assert!(holds(Compare::create_revision("a", CompareOp::Equal, 2)));
    assert!(holds(Compare::mod_revision("a", CompareOp::Greater, 1)));
    assert!(holds(Compare::version("a", CompareOp::Less, 2)));
    assert!(holds(Compare::value("a", CompareOp::NotEqual, "y")));
    assert!(holds(Compare::lease("a", CompareOp::Equal, 0)));
    assert!(holds(Compare::create_revision("none", CompareOp::Equal, 0)));
    assert!(holds(Compare::mod_revision("none", CompareOp::Less, 1)));
    assert!(!holds(Compare::value("none", CompareOp::NotEqual, "y")));
    assert!(!holds(Compare::value("none", CompareOp::Equal, "")));
    let both = [Compare::version("a", CompareOp::Equal, 1), Compare::version("a", CompareOp::Equal, 2)];
    assert!(!txn(&mut store, Txn::new().when(both)).succeeded);
}

#[test]
fn a_range_condition_holds_for_every_key_in_it() {
    let mut store = store();
    put(&mut store, "k/1", "x");
    put(&mut store, "k/2", "x");
    let mut over = |op, revision| {
        txn(&mut store, Txn::new().when([Compare::create_revision("k/", op, revision).over("k0")])).succeeded
    };
    assert!(over(CompareOp::Greater, 1));
    assert!(!over(CompareOp::Greater, 2));
    let mut empty = |op, revision| {
        txn(&mut store, Txn::new().when([Compare::create_revision("none/", op, revision).over("none0")]))
            .succeeded
    };
    assert!(empty(CompareOp::Equal, 0), "an empty range counts as one absent key");
    assert!(!empty(CompareOp::Greater, 0));
}

#[test]
fn later_operations_see_earlier_ones_but_nested_conditions_do_not() {
    let mut store = store();
    let nested =
        Txn::new().when([Compare::version("a", CompareOp::Equal, 0)]).and_then([Op::Range(Range::key("a"))]);
    let response = txn(&mut store, Txn::new().and_then([Op::Put(Put::new("a", "1")), Op::Txn(nested)]));
    let [OpResponse::Put(put), OpResponse::Txn(nested)] = &response.responses[..] else {
        panic!("{response:?}")
    };
    assert_eq!(put.header.revision, 2);
    assert!(nested.succeeded);
    assert_eq!(nested.header.revision, 0);
    let [OpResponse::Range(range)] = &nested.responses[..] else { panic!("{nested:?}") };
    assert_eq!((range.header.revision, range.count), (2, 1));
}

#[test]
fn a_put_with_an_unknown_lease_fails_the_whole_transaction_only_in_the_branch_that_runs() {
    let mut store = store();
    let bad = [Op::Put(Put::new("a", "1")), Op::Put(Put::new("b", "1").lease(9))];
    let status = refused(&mut store, Request::Txn(Txn::new().and_then(bad.clone())));
    assert_eq!(
        (status.code, status.message.as_str()),
        (Code::NotFound, "etcdserver: requested lease not found")
    );
    assert_eq!(store.revision(), 1);
    txn(&mut store, Txn::new().and_then([Op::Put(Put::new("a", "1"))]).or_else(bad));
    assert_eq!(store.revision(), 2);
}

#[test]
fn a_key_is_put_once_in_a_list_and_not_deleted_beside_it() {
    let store = store();
    let put = |key: &str| Op::Put(Put::new(key, "1"));
    let nested = |then: Vec<Op>, otherwise: Vec<Op>| Op::Txn(Txn::new().and_then(then).or_else(otherwise));
    let duplicate = |ops: Vec<Op>| {
        let status = store.check(&Request::Txn(Txn::new().and_then(ops.clone()))).err();
        let other = store.check(&Request::Txn(Txn::new().or_else(ops))).err();
        assert_eq!(status, other);
        status.is_some_and(|status| status == refuse::duplicate_key())
    };
    assert!(duplicate(vec![put("a"), put("a")]));
    assert!(duplicate(vec![put("a"), Op::Delete(DeleteRange::prefix("a"))]));
    assert!(duplicate(vec![put("a"), nested(vec![put("a")], vec![])]));
    assert!(duplicate(vec![nested(vec![put("a")], vec![]), nested(vec![], vec![put("a")])]));
    assert!(duplicate(vec![Op::Delete(DeleteRange::key("a")), nested(vec![], vec![put("a")])]));
    assert!(!duplicate(vec![nested(vec![put("a")], vec![put("a")])]));
    assert!(!duplicate(vec![put("a"), Op::Delete(DeleteRange::key("b"))]));
    assert!(!duplicate(vec![
        nested(vec![put("a")], vec![]),
        nested(vec![Op::Delete(DeleteRange::key("a"))], vec![])
    ]));
    let open = DeleteRange { key: b"a".to_vec(), range_end: vec![0], prev_kv: false };
    assert!(!duplicate(vec![Op::Delete(open), put("a")]), "etcd does not see an open range here");
}

#[test]
fn limits_and_empty_keys_are_refused_with_etcds_words() {
    let mut store = store();
    let ops: Vec<Op> = (0..129).map(|n| Op::Put(Put::new(format!("k{n}"), ""))).collect();
    assert_eq!(refused(&mut store, Request::Txn(Txn::new().and_then(ops.clone()))), refuse::too_many_ops());
    assert!(store.check(&Request::Txn(Txn::new().and_then(ops[..128].to_vec()))).is_ok());
    assert_eq!(refused(&mut store, Request::Put(Put::new("", "x"))), refuse::empty_key());
    assert_eq!(refused(&mut store, Request::Range(Range::key(""))), refuse::empty_key());
    let large = Request::Put(Put::new("a", vec![0; 1_572_864]));
    assert_eq!(refused(&mut store, large), refuse::request_too_large());
    let huge = refused(&mut store, Request::Put(Put::new("a", vec![0; 3_000_000])));
    assert_eq!(huge.code, Code::ResourceExhausted);
    assert!(store.check(&Request::Put(Put::new("a", vec![0; 1_572_000]))).is_ok());
}

#[test]
fn put_options_need_the_key_and_keep_what_they_say() {
    let mut store = store();
    let ignore_value = Put { ignore_value: true, ..Put::new("a", "") };
    assert_eq!(refused(&mut store, Request::Put(ignore_value.clone())), refuse::key_not_found());
    let both = Put { ignore_value: true, ..Put::new("a", "x") };
    assert_eq!(refused(&mut store, Request::Put(both)), refuse::value_provided());
    let leased = Put { ignore_lease: true, lease: 3, ..Put::new("a", "x") };
    assert_eq!(refused(&mut store, Request::Put(leased)), refuse::lease_provided());
    grant(&mut store, 7);
    apply(&mut store, Request::Put(Put::new("a", "1").lease(7)));
    apply(&mut store, Request::Put(Put { ignore_lease: true, ..Put::new("a", "2") }));
    let Response::Put(response) = apply(&mut store, Request::Put(Put { prev_kv: true, ..ignore_value }))
    else {
        panic!("a put is answered as one")
    };
    let prev = response.prev_kv.unwrap();
    assert_eq!((prev.value, prev.lease), (b"2".to_vec(), 7));
    let kv = range(&store, Range::key("a")).kvs.remove(0);
    assert_eq!((kv.value, kv.lease), (b"2".to_vec(), 0));
    assert!(store.lease(7).unwrap().keys.is_empty(), "the put without a lease took the key off it");
}

#[test]
fn a_range_is_filtered_then_sorted_then_cut_and_counts_all() {
    let mut store = store();
    for (key, value) in [("a", "3"), ("b", "1"), ("c", "2"), ("b", "9")] {
        put(&mut store, key, value);
    }
    let all = Range { range_end: vec![0], ..Range::key("a") };
    let newest = range(&store, all.clone().sorted(SortTarget::Mod, SortOrder::Descend).limit(2));
    assert_eq!(names(&newest), ["b", "c"]);
    assert!(newest.more);
    assert_eq!(newest.count, 3);
    let before = range(
        &store,
        Range { max_create_revision: 3, ..all.clone() }.sorted(SortTarget::Create, SortOrder::Descend),
    );
    assert_eq!((names(&before), before.count), (vec!["b".to_owned(), "a".to_owned()], 3));
    assert_eq!(
        names(&range(&store, all.clone().sorted(SortTarget::Value, SortOrder::None))),
        ["c", "a", "b"]
    );
    let cut_first = range(&store, all.clone().sorted(SortTarget::Value, SortOrder::None).limit(1));
    assert_eq!(names(&cut_first), ["a"], "without an order etcd sorts the first limit + 1 keys only");
    let counted = range(&store, Range { count_only: true, limit: 1, ..all.clone() });
    assert_eq!((counted.kvs.len(), counted.count, counted.more), (0, 3, false));
    assert!(
        range(&store, Range { keys_only: true, ..all })
            .kvs
            .iter()
            .all(|kv| kv.value.is_empty() && kv.version > 0)
    );
}

#[test]
fn the_compact_revision_stays_readable_and_nothing_below() {
    let mut store = store();
    for value in ["1", "2", "3"] {
        put(&mut store, "a", value);
    }
    compact(&mut store, 3);
    assert_eq!(values(&range(&store, Range { revision: 3, ..Range::key("a") })), ["2"]);
    let below = store.read(&Request::Range(Range { revision: 2, ..Range::key("a") })).unwrap_err();
    assert_eq!(below, refuse::compacted());
    let again = Request::Compact { revision: 3, physical: false };
    assert_eq!(refused(&mut store, again), refuse::compacted());
    let above = Request::Compact { revision: 5, physical: false };
    assert_eq!(refused(&mut store, above), refuse::future_revision());
    let future = store.read(&Request::Range(Range { revision: 5, ..Range::key("a") })).unwrap_err();
    assert_eq!(future, refuse::future_revision());
}

#[test]
fn history_tells_whole_revisions_in_order_with_former_values() {
    let mut store = store();
    put(&mut store, "a", "1");
    txn(&mut store, Txn::new().and_then([Op::Put(Put::new("b", "1")), Op::Put(Put::new("a", "2"))]));
    delete(&mut store, "a");
    let watch = WatchRequest { range_end: vec![0], prev_kv: true, ..WatchRequest::key("a") };
    let events = store.events(&watch, 1).unwrap();
    let (put, del) = (EventKind::Put, EventKind::Delete);
    assert_eq!(
        told(&events),
        [(put, "a".into(), 2), (put, "b".into(), 3), (put, "a".into(), 3), (del, "a".into(), 4)]
    );
    let prevs: Vec<i64> =
        events.iter().map(|event| event.prev_kv.as_ref().map_or(0, |kv| kv.mod_revision)).collect();
    assert_eq!(prevs, [0, 0, 2, 3]);
    assert_eq!(events[3].kv.version, 0);
    let deletes = WatchRequest { no_put: true, ..watch.clone() };
    assert_eq!(told(&store.events(&deletes, 1).unwrap()), [(del, "a".into(), 4)]);
    compact(&mut store, 4);
    assert_eq!(store.events(&watch, 3), Err(Compacted { compact_revision: 4 }));
    let events = store.events(&watch, 4).unwrap();
    assert_eq!(told(&events), [(del, "a".into(), 4)]);
    assert_eq!(events[0].prev_kv, None, "what was before is compacted");
}

#[test]
fn a_deletion_at_the_compact_revision_is_forgotten_by_older_releases() {
    for (version, kept) in [(EtcdVersion::V3_5(15), 0), (EtcdVersion::V3_5(16), 1)] {
        let mut store = Store::new(StoreConfig { version, ..StoreConfig::default() });
        put(&mut store, "a", "1");
        delete(&mut store, "a");
        compact(&mut store, 3);
        assert_eq!(store.events(&WatchRequest::key("a"), 3).unwrap().len(), kept);
    }
}

#[test]
fn a_key_put_and_deleted_in_one_revision_had_before_what_was_there_before_both() {
    let mut store = store();
    put(&mut store, "a", "1");
    let inner = |op| Op::Txn(Txn::new().and_then([op]));
    let request = Txn::new().and_then([
        inner(Op::Put(Put::new("a", "2"))),
        inner(Op::Delete(DeleteRange { prev_kv: true, ..DeleteRange::key("a") })),
    ]);
    let applied = store.apply(&Request::Txn(request));
    assert_eq!(told(&applied.events), [(EventKind::Put, "a".into(), 3), (EventKind::Delete, "a".into(), 3)]);
    assert!(applied.events.iter().all(|event| event.prev_kv.as_ref().unwrap().value == b"1"));
    assert_eq!(values(&range(&store, Range { revision: 2, ..Range::key("a") })), ["1"]);
    assert_eq!(range(&store, Range { revision: 3, ..Range::key("a") }).count, 0);
}

#[test]
fn a_revoked_lease_takes_its_keys_in_order_in_one_revision() {
    let mut store = store();
    grant(&mut store, 7);
    for key in ["c", "a", "b"] {
        apply(&mut store, Request::Put(Put::new(key, "").lease(7)));
    }
    put(&mut store, "b", "mine no more");
    let applied = store.apply(&Request::LeaseRevoke { id: 7 });
    let del = EventKind::Delete;
    assert_eq!(told(&applied.events), [(del, "a".into(), 6), (del, "c".into(), 6)]);
    assert_eq!(refused(&mut store, Request::LeaseRevoke { id: 7 }), refuse::lease_not_found());
    grant(&mut store, 8);
    apply(&mut store, Request::LeaseRevoke { id: 8 });
    assert_eq!(store.revision(), 6, "a lease without keys takes no revision");
}

#[test]
fn a_lease_gets_the_least_time_and_refuses_what_etcd_refuses() {
    let mut store = store();
    for ttl_s in [-3, 0, 1] {
        let id = 10 + ttl_s;
        let response = apply(&mut store, Request::LeaseGrant { id, ttl_s });
        assert!(matches!(response, Response::LeaseGrant { grant, .. } if grant.ttl_s == 2));
    }
    assert_eq!(refused(&mut store, Request::LeaseGrant { id: 10, ttl_s: 5 }), refuse::lease_exists());
    let long = Request::LeaseGrant { id: 1, ttl_s: MAX_TTL_S + 1 };
    assert_eq!(refused(&mut store, long), refuse::lease_ttl_too_large());
    assert_eq!((min_lease_ttl_s(1000), min_lease_ttl_s(200), min_lease_ttl_s(2000)), (2, 1, 3));
}

#[test]
fn without_space_what_puts_or_grants_is_refused_and_the_rest_is_not() {
    let mut store = store();
    put(&mut store, "a", "1");
    grant(&mut store, 7);
    store.set_no_space(true);
    assert_eq!(refused(&mut store, Request::Put(Put::new("b", "1"))), refuse::no_space());
    assert_eq!(refused(&mut store, Request::LeaseGrant { id: 8, ttl_s: 5 }), refuse::no_space());
    let puts_otherwise = Txn::new().or_else([Op::Put(Put::new("b", "1"))]);
    assert_eq!(refused(&mut store, Request::Txn(puts_otherwise)), refuse::no_space());
    delete(&mut store, "a");
    apply(&mut store, Request::LeaseRevoke { id: 7 });
    store.set_no_space(false);
    put(&mut store, "b", "1");
}

#[test]
fn a_store_that_follows_another_is_in_the_same_state_and_tells_its_watches_the_same() {
    let (mut first, mut second) = (store(), store());
    let (mut firsts, mut seconds) = (WatchHub::new(), WatchHub::new());
    for request in [
        WatchRequest { prev_kv: true, ..WatchRequest::prefix("") },
        WatchRequest { no_put: true, ..WatchRequest::key("b") },
        WatchRequest { start_revision: 6, ..WatchRequest::key("a") },
    ] {
        firsts.create(request.clone(), &first);
        seconds.create(request, &second);
    }
    let both = Txn::new().and_then([
        Op::Put(Put::new("a", "3").lease(7)),
        Op::Delete(DeleteRange::key("b")),
        Op::Txn(Txn::new().and_then([Op::Put(Put::new("c", "1").lease(8))])),
    ]);
    let requests = [
        Request::LeaseGrant { id: 7, ttl_s: 10 },
        Request::LeaseGrant { id: 8, ttl_s: 10 },
        Request::Put(Put::new("a", "1").lease(7)),
        Request::Put(Put::new("b", "1").lease(7)),
        Request::Put(Put::new("a", "2").lease(8)),
        Request::Delete(DeleteRange::key("nothing")),
        Request::Put(Put::new("b", "2").lease(99)),
        Request::Txn(both),
        Request::Put(Put::new("a", "4")),
        Request::Compact { revision: 5, physical: false },
        Request::Delete(DeleteRange::key("c")),
        Request::Put(Put::new("b", "3").lease(7)),
        Request::LeaseRevoke { id: 7 },
    ];
    for request in requests {
        let before = first.revision();
        let applied = first.apply(&request);
        let told = firsts.on_applied(&first, &applied.events);
        let is_of_keys = matches!(request, Request::Put(_) | Request::Delete(_) | Request::Txn(_));
        let followed = match first.written().filter(|_| is_of_keys && first.revision() > before) {
            Some(written) => {
                second.follow(&written);
                seconds.on_followed(&second, &written)
            }
            None => {
                let applied = second.apply(&request);
                seconds.on_applied(&second, &applied.events)
            }
        };
        assert_eq!(followed, told, "{request:?}");
        let keys = |store: &Store| store.keys().cloned().collect::<Vec<_>>();
        let leases = |store: &Store| {
            store.leases().map(|(id, lease)| (id, lease.ttl_s, lease.keys.clone())).collect::<Vec<_>>()
        };
        assert_eq!(second.revision(), first.revision(), "{request:?}");
        assert_eq!(keys(&second), keys(&first), "{request:?}");
        assert_eq!(leases(&second), leases(&first), "{request:?}");
        let all = WatchRequest { prev_kv: true, ..WatchRequest::prefix("") };
        let from = first.compact_revision().max(1);
        assert_eq!(second.events(&all, from), first.events(&all, from), "{request:?}");
    }
    assert!(first.revision() > 8);
}
