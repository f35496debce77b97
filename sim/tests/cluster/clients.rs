//! Client processes: their deaths, pauses and clocks.

use tenure::kv::{Put, Request, WatchRequest};
use tenure_sim::cluster::{ClientConfig, ClientEnv, ClusterConfig};
use tenure_sim::fault::Fault;
use tenure_sim::history::What;
use tenure_sim::node::Node;

use crate::world::*;

#[test]
fn a_killed_client_sends_nothing_and_records_nothing() {
    struct SendsOnDrop(ClientEnv);
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

#[test]
fn a_finished_world_leaves_nothing_in_memory() {
    use std::sync::{Arc, Weak};
    let probe = Arc::new(());
    let weak: Weak<()> = Arc::downgrade(&probe);
    simulate(2, ClusterConfig::default(), move |world| async move {
        for client in 0..3 {
            let probe = Arc::clone(&probe);
            let run = program(move |env| {
                let probe = Arc::clone(&probe);
                async move {
                    let background = Arc::clone(&probe);
                    env.runtime.spawn(Box::pin(async move {
                        let _probe = background;
                        std::future::pending::<()>().await;
                    }));
                    let _probe = probe;
                    let session = tenure::Session::builder(&env.etcd).open().await.unwrap();
                    let _guard = tenure::Mutex::new(&session, "name").unwrap().lock().await;
                    busy(env).await;
                }
            });
            assert_eq!(world.add_client(ClientConfig::default(), run), client);
        }
        // A task of the run's own that sleeps when the world ends.
        let sleeper = world.clone();
        world.spawn(async move {
            let _probe = probe;
            sleeper.sleep_until_ns(1_000_000 * MS).await;
        });
        world.sleep_until_ns(1_000 * MS).await;
        world.inject(0, &Fault::Crash { node: Node::Client(0) });
        world.inject(1, &Fault::Pause { node: Node::Client(1) });
        world.sleep_until_ns(2_000 * MS).await;
    });
    assert!(weak.upgrade().is_none(), "a client's program is still there");
}
