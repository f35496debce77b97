//! Elections and leadership: timing from the settings, partitions, restarts.

use std::time::Duration;

use tenure::kv::{Put, Request};
use tenure_sim::cluster::{ClientConfig, ClientEnv, ClusterConfig, World};
use tenure_sim::fault::Fault;
use tenure_sim::history::What;
use tenure_sim::node::Node;
use tenure_sim::store::EtcdVersion;

use crate::world::*;

#[test]
fn an_idle_hour_costs_next_to_nothing() {
    simulate(1, ClusterConfig::default(), |world| async move {
        let env = client(&world).await;
        put(&env, 0, "k", "v").await.unwrap().unwrap();
        let before = world.events_happened();
        world.sleep_until_ns(3_600_000 * MS).await;
        assert!(world.events_happened() - before < 50, "{}", world.events_happened() - before);
        put(&env, 1, "k", "v").await.unwrap().unwrap();
    });
}

/// How long a cluster is without a leader that a client can use after its leader crashed, in milliseconds.
fn new_leader_ms(seed: u64, config: ClusterConfig) -> u64 {
    simulate(seed, config, |world| async move {
        world.sleep_until_ns(1_000 * MS).await;
        let old = world.leader().unwrap();
        world.inject(0, &Fault::Crash { node: Node::Member(old) });
        assert_eq!(world.leader(), None);
        while world.leader().is_none() {
            world.sleep_until_ns(world.now_ns() + MS).await;
        }
        assert_ne!(world.leader(), Some(old));
        (world.now_ns() - 1_000 * MS) / MS
    })
    .0
}

#[test]
fn a_crashed_leader_is_replaced_within_the_bands_of_the_settings() {
    for (config, versions) in [(ClusterConfig::default(), "default"), (fast(), "fast")] {
        let timeout_ms = config.election_timeout_ms;
        for seed in 0..40 {
            for version in [EtcdVersion::V3_4(45), EtcdVersion::V3_7(2)] {
                let waited_ms = new_leader_ms(seed, ClusterConfig { version, ..config.clone() });
                let least_ms = timeout_ms - config.heartbeat_ms;
                assert!(waited_ms >= least_ms, "{versions} {version} seed {seed}: {waited_ms} ms");
                assert!(waited_ms <= 4 * timeout_ms, "{versions} {version} seed {seed}: {waited_ms} ms");
            }
        }
        let mut waits: Vec<u64> = (0..40).map(|seed| new_leader_ms(seed, config.clone())).collect();
        waits.sort_unstable();
        assert!(waits[20] <= 2 * timeout_ms, "{versions}: {waits:?}");
    }
}

#[test]
fn a_cut_off_leader_steps_down_and_its_successor_leads_in_a_newer_term() {
    for seed in 0..20 {
        let ((), history) = simulate(seed, ClusterConfig::default(), |world| async move {
            world.sleep_until_ns(1_000 * MS).await;
            let old = world.leader().unwrap();
            world.inject(0, &Fault::Cut { links: links_of(old, 3) });
            world.sleep_until_ns(6_000 * MS).await;
            assert!(!world.members()[old as usize].leads);
            assert_ne!(world.leader(), Some(old));
            world.heal(0, &Fault::Cut { links: links_of(old, 3) });
            world.sleep_until_ns(8_000 * MS).await;
            let leaders: Vec<_> = world.members().iter().map(|member| member.leader).collect();
            assert!(leaders.iter().all(|&leader| leader.is_some() && leader == leaders[0]), "{leaders:?}");
        });
        let stepped_ms =
            history.steps.iter().find(|step| matches!(step.what, What::SteppedDown { .. })).unwrap();
        let stepped_ms = stepped_ms.at_ns / MS;
        assert!((1_900..=3_100).contains(&stepped_ms), "seed {seed}: {stepped_ms}");
    }
}

#[test]
fn a_leader_that_stands_still_while_it_is_cut_off_leads_no_longer_for_it() {
    for seed in 0..20 {
        let ((), history) = simulate(seed, ClusterConfig::default(), |world| async move {
            world.sleep_until_ns(1_000 * MS).await;
            let old = world.leader().unwrap();
            world.inject(0, &Fault::Cut { links: links_of(old, 3) });
            for pause in 1..=8 {
                world.sleep_until_ns((1_000 + 100 * pause) * MS).await;
                let still = Fault::Pause { node: Node::Member(old) };
                world.inject(1, &still);
                world.sleep_until_ns(world.now_ns() + 10 * MS).await;
                world.heal(1, &still);
            }
            world.sleep_until_ns(6_000 * MS).await;
        });
        let stepped =
            history.steps.iter().find(|step| matches!(step.what, What::SteppedDown { .. })).unwrap();
        let stepped_ms = stepped.at_ns / MS;
        assert!((2_000..=3_200).contains(&stepped_ms), "seed {seed}: {stepped_ms}");
    }
}

#[test]
fn pre_vote_keeps_a_member_that_comes_back_from_disturbing_and_3_4_has_none() {
    let elections = |version: EtcdVersion| {
        let config = ClusterConfig { version, ..ClusterConfig::default() };
        let ((), history) = simulate(3, config, |world| async move {
            let follower = (0..3).find(|&member| Some(member) != world.leader()).unwrap();
            let cut = Fault::Cut { links: links_of(follower, 3) };
            world.inject(0, &cut);
            world.sleep_until_ns(10_000 * MS).await;
            world.heal(0, &cut);
            world.sleep_until_ns(15_000 * MS).await;
            assert!(world.leader().is_some());
        });
        history.steps.iter().filter(|step| matches!(step.what, What::Leads { .. })).count()
    };
    assert_eq!(elections(EtcdVersion::V3_7(2)), 1);
    assert!(elections(EtcdVersion::V3_4(45)) > 1);
}

#[test]
fn one_way_cuts_replace_a_leader_that_cannot_send_and_depose_one_that_cannot_receive() {
    for seed in 0..10 {
        for sends in [false, true] {
            simulate(seed, ClusterConfig::default(), move |world| async move {
                let old = world.leader().unwrap();
                let others = (0..3).filter(|&other| other != old);
                let links: Vec<(Node, Node)> = others
                    .map(|other| (Node::Member(old), Node::Member(other)))
                    .map(|(from, to)| if sends { (to, from) } else { (from, to) })
                    .collect();
                world.inject(0, &Fault::Cut { links });
                world.sleep_until_ns(12_000 * MS).await;
                assert!(!world.members()[old as usize].leads, "seed {seed} sends {sends}");
                assert!(world.leader().is_some_and(|leader| leader != old), "seed {seed} sends {sends}");
            });
        }
    }
}

#[test]
fn a_member_started_anew_refuses_clients_until_it_has_known_a_leader() {
    simulate(2, ClusterConfig::default(), |world| async move {
        let env = client(&world).await;
        for member in 0..3 {
            world.inject(member as usize, &Fault::Crash { node: Node::Member(member) });
        }
        world.heal(0, &Fault::Crash { node: Node::Member(0) });
        world.sleep_until_ns(5_000 * MS).await;
        let status = ask(&env, 0, Request::Status, SECOND).await.unwrap().unwrap_err();
        assert!(!status.sent);
        world.heal(1, &Fault::Crash { node: Node::Member(1) });
        world.sleep_until_ns(9_000 * MS).await;
        put(&env, 0, "k", "v").await.unwrap().unwrap();
    });
}

#[test]
fn leadership_moves_when_a_leader_hands_over_and_nothing_is_lost() {
    simulate(2, ClusterConfig::default(), |world| async move {
        let env = client(&world).await;
        let mut moved = 0;
        for round in 0..10 {
            let old = world.leader();
            world.inject(round, &Fault::LeaderChange);
            world.sleep_until_ns(world.now_ns() + 300 * MS).await;
            moved += usize::from(world.leader().is_some() && world.leader() != old);
            put(&env, 0, &format!("k{round}"), "v").await.unwrap().unwrap();
        }
        assert_eq!(moved, 10);
        assert_eq!(world.store_now().keys().count(), 10);
    });
}

/// Writes beside each other, to the leader.
async fn put_at_once(world: &World, env: &ClientEnv, round: u32) {
    let Some(leader) = world.leader() else { return };
    let puts = (0..4).map(|one| async move { put(env, leader, &format!("{round}-{one}"), "v").await });
    futures_util::future::join_all(puts).await;
}

#[test]
fn a_follower_that_an_append_reaches_before_the_one_before_it_has_both_a_heartbeat_later() {
    for seed in 0..20 {
        simulate(seed, ClusterConfig::default(), move |world| async move {
            let env = client(&world).await;
            for round in 0..20 {
                put_at_once(&world, &env, round).await;
                world.sleep_until_ns(world.now_ns() + 300 * MS).await;
                let applied: Vec<u64> = world.members().iter().map(|member| member.applied).collect();
                assert!(applied.iter().all(|&one| one == applied[0]), "seed {seed}: {applied:?}");
            }
        });
    }
}

#[test]
fn a_leader_hands_over_under_load_only_once_its_successor_has_all_that_it_has() {
    for seed in 0..20 {
        let config = ClusterConfig { members: 2, ..ClusterConfig::default() };
        simulate(seed, config, move |world| async move {
            world.add_client(ClientConfig::default(), program(write_without_end));
            for round in 0..5 {
                world.sleep_until_ns(world.now_ns() + 1_000 * MS).await;
                let old = world.leader().unwrap();
                world.inject(round, &Fault::LeaderChange);
                world.sleep_until_ns(world.now_ns() + 500 * MS).await;
                let new = world.leader();
                assert!(new.is_some() && new != Some(old), "seed {seed}, round {round}: {new:?} after {old}");
            }
        });
    }
}

/// Keeps the leader busy with writes that nobody waits for.
async fn write_without_end(env: ClientEnv) {
    for round in 0..u32::MAX {
        for member in 0..2 {
            let request = Request::Put(Put::new(format!("k{round}"), "v"));
            _ = ask(&env, member, request, Duration::from_micros(300)).await;
        }
    }
}

#[test]
fn one_member_alone_serves_and_comes_back_after_a_crash() {
    simulate(2, ClusterConfig { members: 1, ..ClusterConfig::default() }, |world| async move {
        let env = client(&world).await;
        put(&env, 0, "k", "v").await.unwrap().unwrap();
        world.inject(0, &Fault::Crash { node: Node::Member(0) });
        world.sleep_until_ns(2_000 * MS).await;
        world.heal(0, &Fault::Crash { node: Node::Member(0) });
        world.sleep_until_ns(4_000 * MS).await;
        assert_eq!(get(&env, 0, "k").await.unwrap().unwrap().kvs.len(), 1);
    });
}
