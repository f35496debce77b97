//! Unary calls: answers, refusals, hangs, losses, doubles, late applications.

use tenure::Code;
use tenure::kv::{Put, Range, Request, Response};
use tenure_sim::cluster::ClusterConfig;
use tenure_sim::fault::Fault;
use tenure_sim::history::{Step, What};
use tenure_sim::node::Node;

use crate::world::*;

#[test]
fn a_write_is_read_back_at_every_member() {
    let ((), history) = simulate(1, ClusterConfig::default(), |world| async move {
        let env = client(&world).await;
        for member in 0..3 {
            put(&env, member, &format!("k{member}"), "v").await.unwrap().unwrap();
            for other in 0..3 {
                assert_eq!(get(&env, other, &format!("k{member}")).await.unwrap().unwrap().kvs.len(), 1);
            }
        }
        assert_eq!(world.store_now().revision(), 4);
    });
    assert!(history.steps.iter().any(|step| matches!(step.what, What::Committed { .. })));
}

#[test]
fn a_cut_off_member_reads_stale_when_asked_to_and_does_not_answer_linearizable_reads() {
    simulate(2, ClusterConfig::default(), |world| async move {
        let env = client(&world).await;
        put(&env, 0, "k", "old").await.unwrap().unwrap();
        world.sleep_until_ns(500 * MS).await;
        let follower = (0..3).find(|&member| Some(member) != world.leader()).unwrap();
        world.inject(0, &Fault::Cut { links: links_of(follower, 3) });
        put(&env, world.leader().unwrap(), "k", "new").await.unwrap().unwrap();
        let stale = Request::Range(Range { serializable: true, ..Range::key("k") });
        let Response::Range(stale) = ask(&env, follower, stale, SECOND).await.unwrap().unwrap() else {
            panic!()
        };
        assert_eq!(stale.kvs[0].value, b"old");
        assert_eq!(ask(&env, follower, Request::Range(Range::key("k")), SECOND / 2).await, None);
        world.sleep_until_ns(5_000 * MS).await;
        let refused = get(&env, follower, "k").await.unwrap().unwrap_err();
        assert_eq!((refused.code, refused.message.as_str()), (Code::Unavailable, "etcdserver: no leader"));
    });
}

#[test]
fn a_request_that_waits_too_long_at_a_member_is_told_so() {
    simulate(2, ClusterConfig::default(), |world| async move {
        let env = client(&world).await;
        let leader = world.leader().unwrap();
        for other in (0..3).filter(|&member| member != leader) {
            world.inject(other as usize, &Fault::Pause { node: Node::Member(other) });
        }
        let request = Request::Put(Put::new("k", "v"));
        let status = ask(&env, leader, request, 9 * SECOND).await.unwrap().unwrap_err();
        assert_eq!(status.message, "etcdserver: request timed out");
        assert!((7_000..7_100).contains(&(world.now_ns() / MS)), "{}", world.now_ns());
    });
}

#[test]
fn a_crashed_member_refuses_at_once_and_a_paused_one_hangs() {
    simulate(2, ClusterConfig::default(), |world| async move {
        let env = client(&world).await;
        world.inject(0, &Fault::Crash { node: Node::Member(0) });
        let status = ask(&env, 0, Request::Status, SECOND).await.unwrap().unwrap_err();
        assert_eq!((status.code, status.sent), (Code::Unavailable, false));
        assert!(world.now_ns() < 10 * MS);
        world.inject(1, &Fault::Pause { node: Node::Member(1) });
        assert_eq!(ask(&env, 1, Request::Status, SECOND).await, None);
    });
}

#[test]
fn a_request_that_waits_at_a_paused_member_is_reset_when_that_crashes() {
    simulate(2, ClusterConfig::default(), |world| async move {
        let env = client(&world).await;
        world.inject(0, &Fault::Pause { node: Node::Member(0) });
        let waits = put(&env, 0, "k", "v");
        let crashes = async {
            world.sleep_until_ns(100 * MS).await;
            world.inject(1, &Fault::Crash { node: Node::Member(0) });
        };
        let (outcome, ()) = futures_util::future::join(waits, crashes).await;
        let status = outcome.unwrap().unwrap_err();
        assert_eq!((status.code, status.sent), (Code::Unavailable, true));
    });
}

#[test]
fn a_request_given_up_long_ago_is_applied_when_its_paused_member_goes_on() {
    simulate(2, ClusterConfig::default(), |world| async move {
        let env = client(&world).await;
        let follower = (0..3).find(|&member| Some(member) != world.leader()).unwrap();
        let pause = Fault::Pause { node: Node::Member(follower) };
        world.inject(0, &pause);
        assert_eq!(put(&env, follower, "late", "v").await, None);
        world.sleep_until_ns(30_000 * MS).await;
        assert_eq!(world.store_now().keys().count(), 0);
        world.heal(0, &pause);
        world.sleep_until_ns(31_000 * MS).await;
        assert_eq!(world.store_now().keys().count(), 1);
    });
}

#[test]
fn a_write_can_be_applied_and_its_answer_lost() {
    let ((), history) = simulate(2, ClusterConfig::default(), |world| async move {
        let env = client(&world).await;
        world.inject(0, &Fault::AnswerLost { client: Node::Client(0), per_mille: 1_000 });
        assert_eq!(put(&env, 0, "k", "v").await, None);
        assert_eq!(get(&env, 0, "k").await.unwrap().unwrap().kvs.len(), 1, "a read's answer is not lost");
    });
    let lost = |step: &&Step| matches!(step.what, What::Network { did: "answer lost", .. });
    assert_eq!(history.steps.iter().filter(lost).count(), 1);
}

#[test]
fn a_doubled_request_is_applied_twice_and_answered_once() {
    simulate(2, ClusterConfig::default(), |world| async move {
        let env = client(&world).await;
        let links = vec![(Node::Client(0), Node::Member(0))];
        world.inject(0, &Fault::Duplicate { links, per_mille: 1_000, max_ms: 50, writes: true });
        put(&env, 0, "k", "v").await.unwrap().unwrap();
        world.sleep_until_ns(world.now_ns() + 200 * MS).await;
        assert_eq!(world.store_now().revision(), 3);
    });
}

#[test]
fn a_client_whose_token_has_expired_is_refused_all_but_renewals() {
    simulate(2, ClusterConfig::default(), |world| async move {
        let env = client(&world).await;
        let Ok(Response::LeaseGrant { grant, .. }) =
            ask(&env, 0, Request::LeaseGrant { id: 0, ttl_s: 5 }, SECOND).await.unwrap()
        else {
            panic!("a lease is granted")
        };
        let expiry = Fault::TokenExpiry { client: Node::Client(0) };
        world.inject(0, &expiry);
        for refused in [Request::Range(Range::key("k")), Request::LeaseRevoke { id: grant.id }] {
            assert_eq!(ask(&env, 0, refused, SECOND).await.unwrap().unwrap_err().code, Code::Unauthenticated);
        }
        ask(&env, 0, Request::LeaseKeepAlive { id: grant.id }, SECOND).await.unwrap().unwrap();
        world.heal(0, &expiry);
        ask(&env, 0, Request::LeaseRevoke { id: grant.id }, SECOND).await.unwrap().unwrap();
    });
}

#[test]
fn the_no_space_alarm_refuses_puts_while_it_is_on() {
    simulate(2, ClusterConfig::default(), |world| async move {
        let env = client(&world).await;
        world.inject(0, &Fault::NoSpace);
        world.sleep_until_ns(100 * MS).await;
        let status = put(&env, 0, "k", "v").await.unwrap().unwrap_err();
        assert_eq!(status.code, Code::ResourceExhausted);
        world.heal(0, &Fault::NoSpace);
        world.sleep_until_ns(200 * MS).await;
        put(&env, 0, "k", "v").await.unwrap().unwrap();
    });
}
