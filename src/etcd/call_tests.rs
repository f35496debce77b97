//! What a call promises about failover, retries and its deadline, over scripted members.

use std::sync::Arc;
use std::time::Duration;

use super::fake::{Answer, Clock, Member, etcd, refused, says};
use super::{Etcd, EtcdOptions};
use crate::backend::{Backend, CallError, Refusal};
use crate::kv::{
    DeleteRange, Header, KeyValue, Op, OpResponse, Put, PutResponse, Range, RangeResponse, Request, Response,
    Txn, TxnResponse,
};
use crate::{Code, Instant};

fn ms(ms: u64) -> Instant {
    Instant::ORIGIN + Duration::from_millis(ms)
}

fn world(members: usize) -> (Arc<Clock>, Vec<Arc<Member>>, Etcd) {
    let clock = Arc::new(Clock::default());
    let members: Vec<_> = (0..members).map(|index| Member::new(&clock, &format!("m{index}"))).collect();
    let etcd = etcd(&clock, &members, EtcdOptions::default());
    (clock, members, etcd)
}

fn read() -> Request {
    Request::Range(Range::key("k"))
}

fn write() -> Request {
    Request::Put(Put::new("k", "v"))
}

fn found() -> Answer {
    Answer::Reply(Response::Range(RangeResponse::default()))
}

fn written() -> Answer {
    Answer::Reply(Response::Put(PutResponse::default()))
}

#[test]
fn a_refused_connection_costs_nothing_and_the_next_endpoint_becomes_the_preferred_one() {
    let (clock, members, etcd) = world(2);
    members[0].answers([refused()]);
    members[1].answers([written()]);
    for _ in 0..3 {
        assert!(clock.run(etcd.call(write(), ms(1000))).is_ok());
    }
    assert_eq!(clock.now_ms(), 0);
    assert_eq!((members[0].asked_ms().len(), members[1].asked_ms().len()), (1, 3));
}

#[test]
fn a_read_leaves_a_hung_member_after_one_attempt_timeout() {
    let (clock, members, etcd) = world(2);
    members[0].answers([Answer::Hang]);
    members[1].answers([found()]);
    assert!(clock.run(etcd.call(read(), ms(10_000))).is_ok());
    assert_eq!(clock.now_ms(), 1000);
    assert!(clock.run(etcd.call(read(), ms(10_000))).is_ok());
    assert_eq!(members[0].asked_ms().len(), 1);
}

#[test]
fn a_write_that_is_not_answered_is_maybe_at_once_and_the_next_goes_elsewhere() {
    let (clock, members, etcd) = world(2);
    members[0].answers([Answer::Hang]);
    members[1].answers([written()]);
    let first = clock.run(etcd.call(write(), ms(10_000)));
    assert!(matches!(first, Err(CallError::Maybe(_))), "{first:?}");
    assert_eq!((clock.now_ms(), members[1].asked_ms().len()), (1000, 0));
    assert!(clock.run(etcd.call(write(), ms(10_000))).is_ok());
    assert_eq!((members[0].asked_ms().len(), members[1].asked_ms().len()), (1, 1));
}

#[test]
fn a_write_whose_answer_was_lost_is_never_sent_again() {
    for (code, words) in [
        (Code::Unavailable, "etcdserver: request timed out"),
        (Code::Unavailable, "etcdserver: leader changed"),
        (Code::Unknown, "transport error"),
        (Code::Cancelled, "Timeout expired"),
    ] {
        for request in [
            write(),
            Request::Delete(DeleteRange::key("k")),
            Request::Txn(Txn::new().or_else([Op::Put(Put::new("k", "v"))])),
            Request::LeaseGrant { id: 0, ttl_s: 5 },
            Request::Compact { revision: 3, physical: false },
        ] {
            let (clock, members, etcd) = world(3);
            members[0].answers([Answer::Fail(says(code, words))]);
            let result = clock.run(etcd.call(request, ms(10_000)));
            assert!(matches!(result, Err(CallError::Maybe(_))), "{result:?}");
            assert_eq!((clock.now_ms(), members[1].asked_ms().len()), (0, 0));
        }
    }
}

#[test]
fn a_write_refused_before_it_was_proposed_is_sent_elsewhere() {
    for (code, words) in [
        (Code::Unavailable, "etcdserver: no leader"),
        (Code::ResourceExhausted, "etcdserver: too many requests"),
        (Code::Unknown, "raft proposal dropped"),
    ] {
        let (clock, members, etcd) = world(2);
        members[0].answers([Answer::Fail(says(code, words))]);
        members[1].answers([written()]);
        assert!(clock.run(etcd.call(write(), ms(1000))).is_ok());
    }
}

#[test]
fn a_deadline_without_anything_applied_says_so() {
    for request in
        [read(), Request::Txn(Txn::new().and_then([Op::Range(Range::key("k"))])), Request::LeaseLeases]
    {
        let (clock, _, etcd) = world(3);
        let result = clock.run(etcd.call(request, ms(5000)));
        assert!(matches!(result, Err(CallError::NotApplied(_))), "{result:?}");
        assert_eq!(clock.now_ms(), 5000);
    }
    let (clock, members, etcd) = world(3);
    members.iter().for_each(|member| member.answers([refused()]));
    let result = clock.run(etcd.call(write(), ms(5000)));
    assert!(matches!(result, Err(CallError::NotApplied(_))), "{result:?}");
    assert_eq!(clock.now_ms(), 5000);
}

#[test]
fn a_renewal_is_tried_until_the_deadline_and_then_maybe() {
    for request in [Request::LeaseKeepAlive { id: 7 }, Request::LeaseRevoke { id: 7 }] {
        let (clock, members, etcd) = world(3);
        let result = clock.run(etcd.call(request, ms(5000)));
        assert!(matches!(result, Err(CallError::Maybe(_))), "{result:?}");
        assert!(members.iter().all(|member| !member.asked_ms().is_empty()));
    }
}

#[test]
fn a_call_after_its_deadline_is_not_sent() {
    let (clock, members, etcd) = world(1);
    let result = clock.run(etcd.call(write(), Instant::ORIGIN));
    assert!(matches!(result, Err(CallError::NotApplied(_))), "{result:?}");
    assert!(members[0].asked_ms().is_empty());
}

#[test]
fn a_hung_member_costs_at_most_half_of_a_short_deadline() {
    let (clock, members, etcd) = world(2);
    members[0].answers([Answer::Hang]);
    members[1].answers([found()]);
    assert!(clock.run(etcd.call(read(), ms(300))).is_ok());
    assert_eq!(clock.now_ms(), 150);
}

#[test]
fn a_slow_cluster_is_given_longer_attempts_until_one_is_answered() {
    let (clock, members, etcd) = world(1);
    let _ = clock.run(etcd.call(read(), ms(15_000)));
    let asked = members[0].asked_ms();
    let gaps: Vec<u64> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // One second, two, four, four; and the pauses between.
    assert_eq!(gaps, [1020, 2040, 4080, 4160]);
    members[0].answers([found(), Answer::Hang]);
    assert!(clock.run(etcd.call(read(), ms(20_000))).is_ok());
    let began = clock.now_ms();
    let _ = clock.run(etcd.call(write(), ms(30_000)));
    assert_eq!(clock.now_ms() - began, 1000);
}

#[test]
fn when_every_endpoint_fails_the_pauses_grow() {
    let (clock, members, etcd) = world(2);
    members.iter().for_each(|member| member.answers([refused()]));
    let _ = clock.run(etcd.call(read(), ms(3000)));
    let expected = [0, 20, 60, 140, 300, 620, 1120, 1620, 2120, 2620];
    assert_eq!(members[0].asked_ms(), expected);
    assert_eq!(members[1].asked_ms(), expected);
}

#[test]
fn a_refusal_is_told_at_once_and_leaves_the_preferred_endpoint() {
    let (clock, members, etcd) = world(2);
    members[0].answers([Answer::Fail(says(Code::NotFound, "etcdserver: requested lease not found"))]);
    for _ in 0..2 {
        let result = clock.run(etcd.call(write(), ms(1000)));
        assert_eq!(result, Err(CallError::Refused(Refusal::LeaseNotFound)));
    }
    assert_eq!((members[0].asked_ms().len(), members[1].asked_ms().len()), (2, 0));
}

#[test]
fn a_lease_that_is_gone_is_revoked_and_has_no_time_to_live() {
    let (clock, members, etcd) = world(1);
    members[0].answers([Answer::Fail(says(Code::NotFound, "etcdserver: requested lease not found"))]);
    assert_eq!(clock.run(etcd.lease_revoke(7, ms(1000))), Ok(()));
    assert_eq!(clock.run(etcd.lease_keep_alive(7, ms(1000))), Ok(0));
}

#[test]
fn a_time_to_live_is_asked_for_in_whole_seconds_and_never_shorter() {
    let (clock, members, etcd) = world(1);
    for (ttl_ms, ttl_s) in [(1, 1), (1000, 1), (1001, 2), (9999, 10)] {
        let _ = clock.run(etcd.lease_grant(Duration::from_millis(ttl_ms), ms(100_000)));
        assert_eq!(members[0].requests().pop(), Some(Request::LeaseGrant { id: 0, ttl_s }));
    }
}

#[test]
fn the_first_endpoint_is_the_one_asked_for() {
    let clock = Arc::new(Clock::default());
    let members: Vec<_> = (0..3).map(|index| Member::new(&clock, &format!("m{index}"))).collect();
    members.iter().for_each(|member| member.answers([found()]));
    let etcd = etcd(&clock, &members, EtcdOptions { first_endpoint: 5, ..EtcdOptions::default() });
    assert!(clock.run(etcd.call(read(), ms(1000))).is_ok());
    assert_eq!(members[2].asked_ms().len(), 1);
}

#[test]
fn a_namespace_is_before_every_key_and_in_no_answer() {
    let clock = Arc::new(Clock::default());
    let member = Member::new(&clock, "m0");
    let options = EtcdOptions { namespace: b"ns/".to_vec(), ..EtcdOptions::default() };
    let etcd = etcd(&clock, std::slice::from_ref(&member), options);
    let kv = |key: &str| KeyValue { key: key.into(), ..KeyValue::default() };
    let range = RangeResponse { kvs: vec![kv("ns/a"), kv("ns/b")], ..RangeResponse::default() };
    member.answers([Answer::Reply(Response::Txn(TxnResponse {
        header: Header::default(),
        succeeded: true,
        responses: vec![OpResponse::Range(range)],
    }))]);
    let from_a = Range { range_end: vec![0], ..Range::key("a") };
    let txn = Txn::new()
        .when([crate::kv::Compare::version("c", crate::kv::CompareOp::Equal, 0)])
        .and_then([
            Op::Range(from_a),
            Op::Delete(DeleteRange { range_end: "e".into(), ..DeleteRange::key("d") }),
        ])
        .or_else([Op::Txn(Txn::new().and_then([Op::Put(Put::new("p", "v"))]))]);
    let response = clock.run(etcd.txn(txn, ms(1000))).expect("answered");
    let OpResponse::Range(range) = &response.responses[0] else { panic!("{response:?}") };
    assert_eq!(range.kvs, [kv("a"), kv("b")]);

    let from_a = Range { range_end: b"ns0".to_vec(), ..Range::key("ns/a") };
    let sent = Txn::new()
        .when([crate::kv::Compare::version("ns/c", crate::kv::CompareOp::Equal, 0)])
        .and_then([
            Op::Range(from_a),
            Op::Delete(DeleteRange { range_end: "ns/e".into(), ..DeleteRange::key("ns/d") }),
        ])
        .or_else([Op::Txn(Txn::new().and_then([Op::Put(Put::new("ns/p", "v"))]))]);
    assert_eq!(member.requests(), [Request::Txn(sent)]);
    let empty = clock.run(etcd.call(Request::Put(Put::new("", "v")), ms(1000)));
    assert!(matches!(empty, Err(CallError::Refused(Refusal::Other { code: Code::InvalidArgument, .. }))));
}
