//! What the simulated cluster promises: elections, leases, reads and faults behave as etcd's, and a seed gives one run.
#![allow(clippy::unwrap_used, reason = "a test")]

mod world;

use std::time::Duration;

use futures_util::StreamExt;
use tenure::kv::{Op, Put, Range, Request, Response, Txn, WatchRequest};
use tenure::wire::WireWatch;
use tenure::{Backend, Code, WatchMessage};
use tenure_sim::cluster::{ClientConfig, ClusterConfig, Planted, World};
use tenure_sim::fault::Fault;
use tenure_sim::history::{History, What};
use tenure_sim::node::Node;
use tenure_sim::store::EtcdVersion;
use world::*;

fn fast() -> ClusterConfig {
    ClusterConfig { heartbeat_ms: 20, election_timeout_ms: 200, ..ClusterConfig::default() }
}

fn links_of(member: u32, members: u32) -> Vec<(Node, Node)> {
    let others = (0..members).filter(|&other| other != member);
    others.flat_map(|other| both(Node::Member(member), Node::Member(other))).collect()
}

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

/// A lease of 5 s whose leader is killed 3 s after: when its key is gone, in milliseconds after the grant.
fn lease_life_ms(seed: u64, config: ClusterConfig) -> u64 {
    simulate(seed, config, |world| async move {
        let env = client(&world).await;
        let leader = world.leader().unwrap();
        let grant = Request::LeaseGrant { id: 77, ttl_s: 5 };
        ask(&env, leader, grant, SECOND).await.unwrap().unwrap();
        let granted_ns = world.now_ns();
        let held = Request::Put(Put::new("held", "").lease(77));
        ask(&env, leader, held, SECOND).await.unwrap().unwrap();
        world.sleep_until_ns(granted_ns + 3_000 * MS).await;
        world.inject(0, &Fault::Crash { node: Node::Member(leader) });
        while world.store_now().keys().next().is_some() {
            world.sleep_until_ns(world.now_ns() + 10 * MS).await;
        }
        (world.now_ns() - granted_ns) / MS
    })
    .0
}

#[test]
fn a_new_leader_gives_a_lease_its_time_again() {
    for seed in 0..20 {
        // 3 s, a new leader after 0.2 to 0.5 s, 0.2 s and 5 s anew, a scan every 0.5 s: 8.9 s on real servers.
        let life_ms = lease_life_ms(seed, fast());
        assert!((8_350..=9_500).contains(&life_ms), "seed {seed}: {life_ms}");
        let life_ms = lease_life_ms(seed, ClusterConfig::default());
        assert!((9_850..=12_700).contains(&life_ms), "seed {seed}: {life_ms}");
    }
}

/// How long leases of 2 and 3 s live that nobody renews, in milliseconds.
fn lease_lives_ms(seed: u64, config: ClusterConfig) -> [u64; 2] {
    simulate(seed, config, move |world| async move {
        let env = client(&world).await;
        let mut lives = [0; 2];
        for (ttl_s, life_ms) in [2, 3].into_iter().zip(&mut lives) {
            ask(&env, 0, Request::LeaseGrant { id: ttl_s, ttl_s }, SECOND).await.unwrap().unwrap();
            let granted_ns = world.now_ns();
            while world.store_now().lease(ttl_s).is_some() {
                world.sleep_until_ns(world.now_ns() + MS).await;
            }
            *life_ms = (world.now_ns() - granted_ns) / MS;
        }
        lives
    })
    .0
}

#[test]
fn a_lease_dies_after_its_time_to_live_and_within_a_scan() {
    for seed in 0..20 {
        let lives = lease_lives_ms(seed, ClusterConfig::default());
        assert!(
            (1_990..2_530).contains(&lives[0]) && (2_990..3_530).contains(&lives[1]),
            "{seed}: {lives:?}"
        );
    }
}

#[test]
fn a_lease_that_dies_early_is_seen() {
    let config = ClusterConfig { planted: Some(Planted::LeaseDiesEarly), ..ClusterConfig::default() };
    assert!(lease_lives_ms(0, config)[1] < 2_500);
}

#[test]
fn a_renewal_at_any_member_keeps_a_lease_alive_and_of_a_dead_one_answers_zero() {
    simulate(4, ClusterConfig::default(), |world| async move {
        let env = client(&world).await;
        ask(&env, 0, Request::LeaseGrant { id: 9, ttl_s: 3 }, SECOND).await.unwrap().unwrap();
        for round in 0..10_u32 {
            world.sleep_until_ns(world.now_ns() + 2_000 * MS).await;
            let renewed =
                ask(&env, round % 3, Request::LeaseKeepAlive { id: 9 }, SECOND).await.unwrap().unwrap();
            assert!(matches!(renewed, Response::LeaseKeepAlive { ttl_s: 3, .. }), "{renewed:?}");
        }
        let left =
            ask(&env, 1, Request::LeaseTimeToLive { id: 9, keys: true }, SECOND).await.unwrap().unwrap();
        assert!(matches!(left, Response::LeaseTimeToLive { ttl_s: 2, granted_ttl_s: 3, .. }), "{left:?}");
        world.sleep_until_ns(world.now_ns() + 4_000 * MS).await;
        let renewed = ask(&env, 2, Request::LeaseKeepAlive { id: 9 }, SECOND).await.unwrap().unwrap();
        assert!(matches!(renewed, Response::LeaseKeepAlive { ttl_s: 0, .. }), "{renewed:?}");
    });
}

/// A lease that its client renews all the while, at members that answer, while the leader stands still for longer than
/// its time to live: whether it was revoked in the end.
fn stalled_leader_revokes(seed: u64, version: EtcdVersion) -> bool {
    let config = ClusterConfig { version, ..ClusterConfig::default() };
    simulate(seed, config, |world| async move {
        let env = client(&world).await;
        let old = world.leader().unwrap();
        ask(&env, old, Request::LeaseGrant { id: 5, ttl_s: 5 }, SECOND).await.unwrap().unwrap();
        let pause = Fault::Pause { node: Node::Member(old) };
        world.inject(0, &pause);
        let other = (old + 1) % 3;
        while world.now_ns() < 12_000 * MS {
            _ = ask(&env, other, Request::LeaseKeepAlive { id: 5 }, SECOND).await;
            world.sleep_until_ns(world.now_ns() + 500 * MS).await;
        }
        assert!(world.store_now().lease(5).is_some(), "the new leader's time must do");
        world.heal(0, &pause);
        world.sleep_until_ns(world.now_ns() + 500 * MS).await;
        world.store_now().lease(5).is_none()
    })
    .0
}

#[test]
fn a_stalled_old_leader_revokes_live_leases_before_3_5_13_and_never_after() {
    let revoked = |version| (0..20).filter(|&seed| stalled_leader_revokes(seed, version)).count();
    assert!(revoked(EtcdVersion::V3_5(12)) > 5);
    assert_eq!(revoked(EtcdVersion::V3_5(13)), 0);
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
    let lost =
        |step: &&tenure_sim::history::Step| matches!(step.what, What::Network { did: "answer lost", .. });
    assert_eq!(history.steps.iter().filter(lost).count(), 1);
}

#[test]
fn a_doubled_request_is_applied_twice_and_answered_once() {
    simulate(2, ClusterConfig::default(), |world| async move {
        let env = client(&world).await;
        let links = vec![(Node::Client(0), Node::Member(0))];
        world.inject(0, &Fault::Duplicate { links, per_mille: 1_000, max_ms: 50 });
        put(&env, 0, "k", "v").await.unwrap().unwrap();
        world.sleep_until_ns(world.now_ns() + 200 * MS).await;
        assert_eq!(world.store_now().revision(), 3);
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

/// Events of a raw watch until it has been silent for `silence`.
async fn told(
    env: &tenure_sim::cluster::ClientEnv,
    watch: &mut dyn WireWatch,
    silence: Duration,
) -> Vec<String> {
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
fn a_member_without_a_leader_ends_its_watches_after_three_election_timeouts() {
    simulate(2, ClusterConfig::default(), |world| async move {
        let env = client(&world).await;
        let mut watch = env.wires[0].watch(WatchRequest::prefix("k"));
        assert_eq!(told(&env, &mut *watch, SECOND).await, ["created"]);
        world.inject(0, &Fault::Cut { links: links_of(0, 3) });
        assert_eq!(told(&env, &mut *watch, 6 * SECOND).await, ["etcdserver: no leader", "end"]);
        // A second until here, one to two election timeouts without a leader, then three.
        assert!((4_800..6_200).contains(&(world.now_ns() / MS)), "{}", world.now_ns());
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

#[test]
fn a_killed_client_sends_nothing_and_records_nothing() {
    struct SendsOnDrop(tenure_sim::cluster::ClientEnv);
    impl Drop for SendsOnDrop {
        fn drop(&mut self) {
            let env = self.0.clone();
            self.0.record(What::Note("from the grave".to_owned()));
            self.0.world.record(Node::Client(0), What::Note("from the grave".to_owned()));
            self.0.runtime.spawn(Box::pin(async move {
                _ = env.wires[0].call(Request::Put(Put::new("grave", ""))).await;
            }));
            drop(self.0.wires[0].watch(WatchRequest::prefix("")));
        }
    }
    let ((), history) = simulate(2, ClusterConfig::default(), |world| async move {
        let run = program(|env| async move {
            let _guard = SendsOnDrop(env.clone());
            let _call = env.wires[0].call(Request::Put(Put::new(format!("life{}", env.life), ""))).await;
            std::future::pending::<()>().await;
        });
        world.add_client(ClientConfig::default(), run);
        world.sleep_until_ns(1_000 * MS).await;
        world.inject(0, &Fault::Crash { node: Node::Client(0) });
        world.sleep_until_ns(2_000 * MS).await;
        world.heal(0, &Fault::Crash { node: Node::Client(0) });
        world.sleep_until_ns(3_000 * MS).await;
        let store = world.store_now();
        let keys: Vec<&[u8]> = store.keys().map(|kv| &*kv.key).collect();
        assert_eq!(keys, [&b"life1"[..], b"life2"]);
    });
    assert!(!history.steps.iter().any(|step| matches!(step.what, What::Note(_) | What::WatchSent { .. })));
    let sent = history.steps.iter().filter(|step| matches!(step.what, What::Sent { .. })).count();
    assert_eq!(sent, 2);
}

#[test]
fn a_paused_client_stands_still_while_its_clock_goes_on() {
    simulate(2, ClusterConfig::default(), |world| async move {
        let run = program(|env| async move {
            loop {
                let next = env.runtime.now() + SECOND / 10;
                env.runtime.sleep_until(next).await;
                env.record(What::Note(format!("{}", env.runtime.now().as_nanos() / (100 * MS))));
            }
        });
        world.add_client(ClientConfig::default(), run);
        world.sleep_until_ns(1_000 * MS).await;
        let pause = Fault::Pause { node: Node::Client(0) };
        world.inject(0, &pause);
        world.sleep_until_ns(5_000 * MS).await;
        world.heal(0, &pause);
        world.sleep_until_ns(5_050 * MS).await;
    })
    .1
    .steps
    .iter()
    .filter(|step| matches!(step.what, What::Note(_)))
    .for_each(|step| {
        let ms = step.at_ns / MS;
        assert!(ms <= 1_000 || ms >= 5_000, "{ms}");
    });
}

#[test]
fn sleeps_follow_a_clock_that_drifts_and_jumps() {
    simulate(2, ClusterConfig::default(), |world| async move {
        let env = client_with(&world, ClientConfig { clock_offset_ms: 5_000, drift_ppm: 0 }).await;
        let start = env.runtime.now();
        assert_eq!(start.as_nanos() / MS, 5_000);
        let drift = Fault::ClockDrift { node: Node::Client(0), ppm: 100_000 };
        world.inject(0, &drift);
        let from_ns = world.now_ns();
        env.runtime.sleep_until(env.runtime.now() + 11 * SECOND).await;
        assert_eq!((world.now_ns() - from_ns) / MS, 10_000);
        let sleep = env.runtime.sleep_until(env.runtime.now() + 60 * SECOND);
        let (jumper, jump) = (world.clone(), Fault::ClockJump { node: Node::Client(0), ahead_ms: 60_000 });
        let from_ns = world.now_ns();
        futures_util::future::join(sleep, async {
            jumper.sleep_until_ns(from_ns + 1_000 * MS).await;
            jumper.inject(1, &jump);
        })
        .await;
        assert_eq!((world.now_ns() - from_ns) / MS, 1_000);
    });
}

/// A few clients that write and read under every kind of fault.
fn storm(seed: u64, config: ClusterConfig) -> (World, History) {
    simulate(seed, config, move |world| async move {
        for _ in 0..4 {
            world.add_client(ClientConfig::default(), program(busy));
        }
        let plan = draw_plan(seed, 3, 4);
        run_plan(&world, &plan, 60_000).await;
        world.calm();
        world.sleep_until_ns(75_000 * MS).await;
        assert!(world.leader().is_some());
        let members = world.members();
        assert!(members.iter().all(|member| member.up && member.leader == world.leader()), "{members:?}");
        world
    })
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in 0..8 {
        let (_, first) = storm(seed, ClusterConfig::default());
        let (_, second) = storm(seed, ClusterConfig::default());
        let place = first.first_difference(&second);
        assert_eq!(
            place,
            None,
            "seed {seed}: {:?} {:?}",
            first.steps[place.unwrap()],
            second.steps[place.unwrap()]
        );
        assert_ne!(first.hash(), storm(seed + 100, ClusterConfig::default()).1.hash());
    }
}

#[test]
fn under_every_fault_no_linearizable_read_is_stale_and_no_answered_write_is_lost() {
    let mut answered = 0;
    for seed in 0..60 {
        let version = EtcdVersion::VENDORED[seed as usize % 4];
        let (world, history) = storm(seed, ClusterConfig { version, ..ClusterConfig::default() });
        assert_eq!(stale_reads(&history), Vec::<String>::new(), "seed {seed}");
        one_leader_a_term(&history, seed);
        answered += lost_writes(&history, &world.store_now(), seed);
    }
    assert!(answered > 60 * 100, "too few writes were answered: {answered}");
}

#[test]
fn members_that_read_without_asking_are_found_out() {
    let config = ClusterConfig { planted: Some(Planted::StaleReads), ..ClusterConfig::default() };
    let found = (0..20).filter(|&seed| !stale_reads(&storm(seed, config.clone()).1).is_empty()).count();
    assert!(found > 0);
}
