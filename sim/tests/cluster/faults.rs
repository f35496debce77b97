//! Power lost in the middle of an append, snapshots of the leader, a lost majority, watches that lag, doubled requests.

use std::time::Duration;

use tenure::kv::{Put, Range, Request, Response, WatchRequest};
use tenure_sim::cluster::{ClusterConfig, Span};
use tenure_sim::fault::{Fault, Outage};
use tenure_sim::history::{History, What};
use tenure_sim::node::Node;

use crate::world::*;

fn any(history: &History, is: impl Fn(&What) -> bool) -> bool {
    history.steps.iter().any(|step| is(&step.what))
}

/// A leader's disk that takes longer than its followers take to answer.
fn slow_disks() -> ClusterConfig {
    ClusterConfig { disk_us: Span { min: 5_000, max: 60_000 }, ..ClusterConfig::default() }
}

#[test]
fn a_power_loss_takes_what_was_not_durable_and_nothing_that_was_answered() {
    let (mut lost, mut answered) = (0, 0);
    for seed in 0..30 {
        let (store, history) = simulate(seed, slow_disks(), move |world| async move {
            let env = client(&world).await;
            for round in 0..6_usize {
                for write in 0..5 {
                    _ = put(&env, (write + 1) % 3, &format!("before{round}-{write}"), "v").await;
                }
                let node = Node::Member(world.leader().unwrap_or(0));
                let fails = Fault::PowerLoss { node };
                world.inject(round, &fails);
                for write in 0..3_u64 {
                    let key = format!("k{round}-{write}");
                    _ = put(&env, ((write + seed) % 3) as u32, &key, "v").await;
                }
                world.heal(round, &fails);
                world.sleep_until_ns(world.now_ns() + 4_000 * MS).await;
            }
            world.store_now()
        });
        lost += usize::from(any(&history, |what| matches!(what, What::LostTail { entries: 1.. })));
        answered += lost_writes(&history, &store, seed);
        one_leader_a_term(&history, seed);
    }
    assert!(lost >= 20, "only in {lost} of 30 runs something was lost");
    assert!(answered > 100, "{answered}");
}

#[test]
fn a_member_whose_log_was_compacted_away_comes_back_by_a_snapshot() {
    let few = |catch_up_entries: usize| {
        let config = ClusterConfig { catch_up_entries, ..ClusterConfig::default() };
        let ((), history) = simulate(3, config, |world| async move {
            let env = client(&world).await;
            let away = (0..3).find(|&member| Some(member) != world.leader()).unwrap();
            let stays = (away + 1) % 3;
            world.inject(0, &Fault::Crash { node: Node::Member(away) });
            for round in 0..30 {
                put(&env, stays, &format!("k{round}"), "v").await.unwrap().unwrap();
            }
            world.heal(0, &Fault::Crash { node: Node::Member(away) });
            world.sleep_until_ns(world.now_ns() + 2_000 * MS).await;
            let all = Range { serializable: true, ..Range::prefix("k") };
            let answer = ask(&env, away, Request::Range(all), SECOND).await.unwrap().unwrap();
            let Response::Range(range) = answer else { panic!("{answer:?}") };
            assert_eq!(range.kvs.len(), 30);
            put(&env, away, "and", "on").await.unwrap().unwrap();
        });
        any(&history, |what| matches!(what, What::Restored { .. }))
    };
    assert!(few(5));
    assert!(!few(5_000), "the log was enough");
}

#[test]
fn a_watch_goes_on_over_a_snapshot_of_its_member_and_misses_nothing() {
    let config = ClusterConfig { catch_up_entries: 5, ..ClusterConfig::default() };
    let ((), history) = simulate(3, config, |world| async move {
        let env = client(&world).await;
        let away = (0..3).find(|&member| Some(member) != world.leader()).unwrap();
        let stays = (away + 1) % 3;
        let mut watch = env.wires[away as usize].watch(WatchRequest::prefix("k"));
        world.sleep_until_ns(world.now_ns() + 300 * MS).await;
        put(&env, stays, "k00", "v").await.unwrap().unwrap();
        let cut = Fault::Cut { links: links_of(away, 3) };
        world.inject(0, &cut);
        for round in 1..30 {
            put(&env, stays, &format!("k{round:02}"), "v").await.unwrap().unwrap();
        }
        world.heal(0, &cut);
        let mut told = Vec::new();
        while let Some(Some(Ok(message))) = next_message(&env, &mut *watch, 3 * SECOND).await {
            told.extend(message.events.into_iter().map(|event| String::from_utf8(event.kv.key).unwrap()));
        }
        assert_eq!(told, (0..30).map(|round| format!("k{round:02}")).collect::<Vec<_>>());
    });
    assert!(any(&history, |what| matches!(what, What::Restored { .. })));
}

#[test]
fn a_lagging_watch_tells_in_order_and_only_its_member_lags() {
    simulate(3, ClusterConfig::default(), |world| async move {
        let env = client(&world).await;
        let mut late = env.wires[0].watch(WatchRequest::prefix("k"));
        let mut prompt = env.wires[1].watch(WatchRequest::prefix("k"));
        world.sleep_until_ns(world.now_ns() + 300 * MS).await;
        world.inject(0, &Fault::WatchLag { node: Node::Member(0), max_ms: 20_000 });
        let began_ns = world.now_ns();
        for round in 0..10 {
            put(&env, 0, &format!("k{round}"), "v").await.unwrap().unwrap();
        }
        let mut seen = [0, 0];
        let mut over_ns = [0, 0];
        for (index, watch) in [&mut prompt, &mut late].into_iter().enumerate() {
            while let Some(Some(Ok(message))) = next_message(&env, &mut **watch, 30 * SECOND).await {
                for event in message.events {
                    assert_eq!(event.kv.key, format!("k{}", seen[index]).into_bytes());
                    seen[index] += 1;
                    over_ns[index] = world.now_ns() - began_ns;
                }
                if seen[index] == 10 {
                    break;
                }
            }
        }
        assert_eq!(seen, [10, 10]);
        assert!(over_ns[0] < 1_000 * MS && over_ns[1] > 2_000 * MS, "{over_ns:?}");
    });
}

#[test]
fn only_what_is_as_good_twice_is_doubled_unless_writes_are_asked_for_too() {
    let doubled = |writes: bool| {
        let ((), history) = simulate(3, ClusterConfig::default(), move |world| async move {
            let env = client(&world).await;
            let links = (0..3).map(|member| (Node::Client(0), Node::Member(member))).collect();
            world.inject(0, &Fault::Duplicate { links, per_mille: 1_000, max_ms: 50, writes });
            put(&env, 0, "k", "v").await.unwrap().unwrap();
            get(&env, 0, "k").await.unwrap().unwrap();
            world.sleep_until_ns(world.now_ns() + 300 * MS).await;
        });
        let puts = |what: &What| matches!(what, What::Committed { request, .. } if matches!(**request, Request::Put(_)));
        let doubled = history
            .steps
            .iter()
            .filter(|step| matches!(step.what, What::Network { did: "request doubled", .. }));
        (history.steps.iter().filter(|step| puts(&step.what)).count(), doubled.count())
    };
    assert_eq!(doubled(false), (1, 1));
    assert_eq!(doubled(true), (2, 2));
}

#[test]
fn a_lost_majority_serves_nothing_and_comes_back() {
    for outage in [Outage::Crash, Outage::Pause] {
        simulate(3, ClusterConfig::default(), move |world| async move {
            let env = client(&world).await;
            let lost = Fault::MajorityLoss { members: vec![Node::Member(1), Node::Member(2)], outage };
            world.inject(0, &lost);
            world.sleep_until_ns(5_000 * MS).await;
            assert!(!world.members()[0].leads);
            assert!(
                ask(&env, 0, Request::Put(Put::new("k", "v")), Duration::from_secs(4))
                    .await
                    .is_none_or(|answer| answer.is_err())
            );
            world.heal(0, &lost);
            world.sleep_until_ns(15_000 * MS).await;
            put(&env, 0, "k", "v").await.unwrap().unwrap();
        });
    }
}
