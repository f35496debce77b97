//! Changes of membership: servers join, as members that vote or as learners, and members are removed.

use std::time::Duration;

use rand::RngExt;
use tenure::kv::{Put, Request, WatchRequest};
use tenure_sim::cluster::{ClientConfig, ClusterConfig, World};
use tenure_sim::fault::{Fault, Lasting, Outage};
use tenure_sim::history::{History, What};
use tenure_sim::node::Node;
use tenure_sim::streams::Streams;

use crate::world::*;

fn with_a_spare() -> ClusterConfig {
    ClusterConfig { spares: 1, ..ClusterConfig::default() }
}

fn count(history: &History, is: impl Fn(&What) -> bool) -> usize {
    history.steps.iter().filter(|step| is(&step.what)).count()
}

async fn later(world: &World, ms: u64) {
    world.sleep_until_ns(world.now_ns() + ms * MS).await;
}

#[test]
fn a_server_that_is_added_serves_and_one_that_is_removed_ends() {
    let ((), history) = simulate(4, with_a_spare(), |world| async move {
        let env = client(&world).await;
        put(&env, 0, "before", "v").await.unwrap().unwrap();
        let refused = put(&env, 3, "k", "v").await.unwrap().unwrap_err();
        assert!(!refused.sent, "{refused:?}");
        let add = Fault::MemberAdd { node: Node::Member(3), learner: false };
        world.inject(0, &add);
        later(&world, 2_000).await;
        put(&env, 3, "k", "v").await.unwrap().unwrap();
        assert_eq!(get(&env, 3, "before").await.unwrap().unwrap().kvs.len(), 1);
        let mut watch = env.wires[3].watch(WatchRequest::prefix("k"));
        assert!(matches!(next_message(&env, &mut *watch, SECOND).await, Some(Some(Ok(_)))));
        world.heal(0, &add);
        later(&world, 3_000).await;
        assert!(matches!(next_message(&env, &mut *watch, SECOND).await, Some(Some(Err(_)))));
        assert!(!put(&env, 3, "k", "v").await.unwrap().unwrap_err().sent);
        put(&env, 0, "after", "v").await.unwrap().unwrap();
    });
    assert_eq!(count(&history, |what| matches!(what, What::Joined { learner: false })), 1);
    assert_eq!(count(&history, |what| *what == What::Left), 1);
}

#[test]
fn a_learner_serves_no_writes_until_it_is_promoted() {
    let ((), history) = simulate(4, with_a_spare(), |world| async move {
        let env = client(&world).await;
        let away = (0..3).find(|&member| Some(member) != world.leader()).unwrap();
        world.inject(0, &Fault::MemberAdd { node: Node::Member(3), learner: true });
        let mut learned = false;
        for _ in 0..100 {
            later(&world, 5).await;
            let answer = put(&env, 3, "k", "v").await;
            learned |= matches!(&answer, Some(Err(status)) if status.message.contains("for learner"));
            if learned && matches!(answer, Some(Ok(_))) {
                break;
            }
        }
        assert!(learned);
        // Now it counts: with one of four away and another, nothing is committed.
        for (index, member) in [away, 3].into_iter().enumerate() {
            world.inject(index + 1, &Fault::Pause { node: Node::Member(member) });
        }
        let other = (0..3).find(|&member| member != away).unwrap();
        assert!(
            ask(&env, other, Request::Put(Put::new("k", "w")), Duration::from_secs(4))
                .await
                .is_none_or(|answer| answer.is_err())
        );
    });
    assert_eq!(count(&history, |what| *what == What::Promoted), 1);
}

#[test]
fn a_leader_that_is_removed_is_replaced_and_comes_back_as_another_server() {
    for seed in 0..10 {
        let (store, history) = simulate(seed, ClusterConfig::default(), |world| async move {
            let env = client(&world).await;
            put(&env, 0, "a", "v").await.unwrap().unwrap();
            let old = world.leader().unwrap();
            let remove = Fault::MemberRemove { node: Node::Member(old), learner: false };
            world.inject(0, &remove);
            later(&world, 5_000).await;
            assert!(!world.members()[old as usize].up);
            assert!(world.leader().is_some_and(|leader| leader != old));
            put(&env, (old + 1) % 3, "b", "v").await.unwrap().unwrap();
            world.heal(0, &remove);
            later(&world, 5_000).await;
            assert!(world.members()[old as usize].up);
            put(&env, old, "c", "v").await.unwrap().unwrap();
            world.store_now()
        });
        assert_eq!(lost_writes(&history, &store, seed), 3);
        one_leader_a_term(&history, seed);
    }
}

#[test]
fn a_removed_member_that_is_cut_off_ends_when_it_comes_back() {
    simulate(5, ClusterConfig::default(), |world| async move {
        let away = (0..3).find(|&member| Some(member) != world.leader()).unwrap();
        let cut = Fault::Cut { links: links_of(away, 3) };
        world.inject(0, &cut);
        world.inject(1, &Fault::MemberRemove { node: Node::Member(away), learner: false });
        later(&world, 8_000).await;
        assert!(world.members()[away as usize].up, "it does not know");
        world.heal(0, &cut);
        later(&world, 4_000).await;
        assert!(!world.members()[away as usize].up);
        assert!(world.leader().is_some());
    });
}

#[test]
fn a_server_that_has_just_joined_votes_for_one_of_which_its_log_does_not_tell_yet() {
    for seed in 0..5 {
        simulate(seed, ClusterConfig::default(), move |world| async move {
            let removal = |member| Fault::MemberRemove { node: Node::Member(member), learner: false };
            // Place 2 has another server than at first; then that one is alone.
            world.inject(2, &removal(2));
            later(&world, 4_000).await;
            world.heal(2, &removal(2));
            for member in [0, 1] {
                later(&world, 4_000).await;
                world.inject(member as usize, &removal(member));
            }
            later(&world, 4_000).await;
            assert_eq!(world.leader(), Some(2), "seed {seed}");
            let (pause, crash) =
                (Fault::Pause { node: Node::Member(1) }, Fault::Crash { node: Node::Member(2) });
            world.inject(3, &pause);
            world.heal(1, &removal(1));
            later(&world, 1_000).await;
            assert!(world.members()[1].up, "seed {seed}: it is a member, and stands still");
            world.inject(4, &crash);
            later(&world, 1_000).await;
            world.heal(3, &pause);
            world.heal(4, &crash);
            later(&world, 10_000).await;
            assert!(world.leader().is_some(), "seed {seed}");
        });
    }
}

#[test]
fn changes_that_an_operator_could_not_begin_before_their_time_was_over_are_given_up() {
    let ((), history) = simulate(6, ClusterConfig::default(), |world| async move {
        let lost =
            Fault::MajorityLoss { members: vec![Node::Member(0), Node::Member(1)], outage: Outage::Crash };
        world.inject(9, &lost);
        later(&world, 4_000).await;
        let removals =
            [0, 1, 2].map(|member| Fault::MemberRemove { node: Node::Member(member), learner: true });
        for (index, removal) in removals.iter().enumerate() {
            world.inject(index, removal);
        }
        later(&world, 4_000).await;
        for (index, removal) in removals.iter().enumerate() {
            world.heal(index, removal);
        }
        world.heal(9, &lost);
        later(&world, 20_000).await;
        assert!(world.members().iter().all(|member| member.up));
    });
    assert_eq!(count(&history, |what| *what == What::Left), 1, "the one that was asked for");
    assert_eq!(count(&history, |what| matches!(what, What::Joined { .. })), 1);
}

/// Faults of every kind, and changes of membership among them.
#[test]
fn no_answered_write_is_lost_and_no_term_has_two_leaders_whoever_joins_and_leaves() {
    let (mut answered, mut joined, mut left) = (0, 0, 0);
    for seed in 0..60 {
        let members = [1, 3, 5][seed as usize % 3];
        let catch_up_entries = [5, 5_000][seed as usize % 2];
        let config = ClusterConfig { members, spares: 2, catch_up_entries, ..ClusterConfig::default() };
        let (store, history) = simulate(seed, config, move |world| async move {
            for _ in 0..2 {
                world.add_client(ClientConfig::default(), program(busy));
            }
            let mut plan = draw_plan(seed, members, 2);
            let mut rng = Streams::new(seed).stream("membership");
            for timed in &mut plan {
                let learner = rng.random_bool(0.5);
                timed.fault = match rng.random_range(0..6) {
                    0 => Fault::MemberAdd { node: Node::Member(members + rng.random_range(0..2)), learner },
                    1 => Fault::MemberRemove { node: Node::Member(rng.random_range(0..members)), learner },
                    2 => Fault::PowerLoss { node: Node::Member(rng.random_range(0..members)) },
                    _ => timed.fault.clone(),
                };
            }
            run_plan(&world, &plan, 60_000).await;
            world.calm(&Lasting::default());
            later(&world, 30_000).await;
            assert!(world.leader().is_some(), "seed {seed}");
            world.store_now()
        });
        answered += lost_writes(&history, &store, seed);
        one_leader_a_term(&history, seed);
        assert!(stale_reads(&history).is_empty(), "seed {seed}");
        joined += count(&history, |what| matches!(what, What::Joined { .. }));
        left += count(&history, |what| *what == What::Left);
    }
    assert!(answered > 1_000 && joined > 30 && left > 30, "{answered} {joined} {left}");
}

#[test]
fn reads_that_wait_for_a_member_that_is_removed_are_served_without_it() {
    for seed in 0..20 {
        let config = ClusterConfig { members: 1, spares: 1, ..ClusterConfig::default() };
        simulate(seed, config, move |world| async move {
            let env = client(&world).await;
            let add = Fault::MemberAdd { node: Node::Member(1), learner: false };
            world.inject(0, &add);
            later(&world, 2_000).await;
            // The one read arms the retry, the other comes when the member is about to go.
            for wait_ms in [400, 51 + seed] {
                get(&env, 0, "k").await.unwrap().unwrap();
                later(&world, wait_ms).await;
            }
            world.heal(0, &add);
            for _ in 0..40 {
                let read = ask(&env, 0, Request::Range(tenure::kv::Range::key("k")), 2 * SECOND).await;
                assert!(matches!(read, Some(Ok(_))), "seed {seed}: {read:?}");
            }
        });
    }
}
