//! Watch streams: order, breaks, the loop for the past, the library's resuming.

use std::time::Duration;

use futures_util::StreamExt;
use tenure::kv::{Op, Put, Txn, WatchRequest};
use tenure::wire::WireWatch;
use tenure::{Backend, WatchMessage};
use tenure_sim::cluster::{ClientEnv, ClusterConfig, Planted};
use tenure_sim::fault::Fault;
use tenure_sim::node::Node;

use crate::world::*;

/// Events of a raw watch until it has been silent for `silence`.
async fn told(env: &ClientEnv, watch: &mut dyn WireWatch, silence: Duration) -> Vec<String> {
    let mut told = Vec::new();
    while let Some(next) = next_message(env, watch, silence).await {
        match next {
            Some(Ok(message)) if message.created => told.push("created".to_owned()),
            Some(Ok(message)) => {
                told.extend(
                    message.events.iter().map(|event| String::from_utf8_lossy(&event.kv.key).into_owned()),
                );
            }
            Some(Err(status)) => told.push(status.message),
            None => {
                told.push("end".to_owned());
                break;
            }
        }
    }
    told
}

#[test]
fn a_watch_tells_in_order_and_breaks_with_its_member() {
    simulate(2, ClusterConfig::default(), |world| async move {
        let env = client(&world).await;
        let delay = Fault::Delay { links: vec![(Node::Member(0), Node::Client(0))], max_ms: 50 };
        world.inject(0, &delay);
        let mut watch = env.wires[0].watch(WatchRequest::prefix("k"));
        world.sleep_until_ns(100 * MS).await;
        for round in 0..9 {
            put(&env, 1, &format!("k{round}"), "v").await.unwrap().unwrap();
        }
        let told_before = told(&env, &mut *watch, SECOND).await;
        assert_eq!(told_before, ["created", "k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7", "k8"]);
        world.inject(1, &Fault::Crash { node: Node::Member(0) });
        assert_eq!(told(&env, &mut *watch, SECOND).await, ["connection reset by peer", "end"]);
    });
}

#[test]
fn a_watch_of_the_past_is_told_by_the_loop_and_progress_only_after() {
    simulate(2, ClusterConfig::default(), |world| async move {
        let env = client(&world).await;
        for round in 0..3 {
            put(&env, 0, &format!("k{round}"), "v").await.unwrap().unwrap();
        }
        let request = WatchRequest { start_revision: 2, ..WatchRequest::prefix("k") };
        let mut watch = env.wires[0].watch(request);
        assert_eq!(told(&env, &mut *watch, SECOND).await, ["created", "k0", "k1", "k2"]);
        watch.request_progress();
        let message = next_message(&env, &mut *watch, SECOND).await.unwrap().unwrap().unwrap();
        assert_eq!((message.events.len(), message.header.revision), (0, 4));
    });
}

#[test]
fn a_member_without_a_leader_ends_its_watches_after_two_to_three_election_timeouts() {
    simulate(2, ClusterConfig::default(), |world| async move {
        let env = client(&world).await;
        let mut watch = env.wires[0].watch(WatchRequest::prefix("k"));
        assert_eq!(told(&env, &mut *watch, SECOND).await, ["created"]);
        world.inject(0, &Fault::Cut { links: links_of(0, 3) });
        assert_eq!(told(&env, &mut *watch, 6 * SECOND).await, ["etcdserver: no leader", "end"]);
        // A second until here, one to two election timeouts until it has no leader, then two to three.
        assert!((3_800..6_200).contains(&(world.now_ns() / MS)), "{}", world.now_ns());
    });
}

/// The keys that the library's watch tells of thirty that are written one by one while members crash in turn.
fn watched_across_crashes(seed: u64, config: ClusterConfig) -> Vec<String> {
    simulate(seed, config, |world| async move {
        let env = client(&world).await;
        let mut watch = env.etcd.watch(WatchRequest::prefix("k"));
        let opened = watch.next().await;
        assert!(matches!(opened, Some(Ok(WatchMessage::Created { revision: 1 }))), "{opened:?}");
        let mut seen = Vec::new();
        for round in 0..30_u32 {
            let crash = Fault::Crash { node: Node::Member(round / 10) };
            match round % 10 {
                5 => world.inject(round as usize, &crash),
                9 => world.heal(round as usize - 4, &crash),
                _ => {}
            }
            let write = Txn::new().and_then([Op::Put(Put::new(format!("k{round:02}"), ""))]);
            while env.etcd.txn(write.clone(), env.runtime.now() + 20 * SECOND).await.is_err() {}
            seen.extend(events_within(&env, &mut watch, SECOND / 5).await);
        }
        seen.extend(events_within(&env, &mut watch, 8 * SECOND).await);
        seen.dedup();
        seen
    })
    .0
}

#[test]
fn the_librarys_watch_goes_on_at_another_member_without_loss() {
    let wanted: Vec<String> = (0..30).map(|round| format!("k{round:02}")).collect();
    for seed in 0..20 {
        assert_eq!(watched_across_crashes(seed, ClusterConfig::default()), wanted);
    }
    let config = ClusterConfig { planted: Some(Planted::WatchSkipsAtResume), ..ClusterConfig::default() };
    let lossy = (0..20).filter(|&seed| watched_across_crashes(seed, config.clone()) != wanted).count();
    assert!(lossy > 0, "a watch that skips what it resumes from is not seen");
}
