//! The simulated cluster under the scripts: one world a seed, on a thread of its own, in virtual time.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use tenure_sim::cluster::{ClientConfig, ClientEnv, ClusterConfig, Planted, Span, World};
use tenure_sim::fault::Fault;
use tenure_sim::history::Recorder;
use tenure_sim::node::Node;
use tenure_sim::store::EtcdVersion;

use crate::band::Settings;
use crate::cluster::{Client, TestCluster};
use crate::log::{Late, Log};
use crate::script::{Rounds, play};

/// No message and no write to disk of the simulated cluster takes longer, in microseconds: as quick as loopback.
const LONGEST_US: u64 = 100;

/// So many messages and writes may follow one on another, each as slow as it ever is (eight times its span's end), between
/// what a band speaks of and its being seen.
const IN_A_ROW: u64 = 30;

/// How late it is seen what the simulated cluster does: there is no machine to be slow.
pub(crate) fn late(settings: Settings) -> Late {
    let looks_ms = 2 * settings.heartbeat_ms / 10;
    let late_ms = (IN_A_ROW * 8 * LONGEST_US).div_ceil(1_000) + looks_ms;
    Late { ever_ms: late_ms, best_ms: late_ms }
}

/// One simulated cluster.
struct Simulated {
    world: World,
    client: Client,
    /// In force, with their numbers.
    faults: Vec<(usize, Fault)>,
    injected: usize,
}

impl Simulated {
    fn inject(&mut self, fault: Fault) {
        self.world.inject(self.injected, &fault);
        self.faults.push((self.injected, fault));
        self.injected += 1;
    }

    fn undo(&mut self, which: impl Fn(&Fault) -> bool) {
        for (index, fault) in self.faults.extract_if(.., |(_, fault)| which(fault)) {
            self.world.heal(index, &fault);
        }
    }
}

fn node(member: usize) -> Node {
    Node::Member(member as u32)
}

impl TestCluster for Simulated {
    fn client(&self) -> &Client {
        &self.client
    }

    fn kill(&mut self, member: usize) {
        self.inject(Fault::Crash { node: node(member) });
    }

    fn restart(&mut self, member: usize) {
        self.undo(|fault| *fault == Fault::Crash { node: node(member) });
    }

    fn pause(&mut self, member: usize) {
        self.inject(Fault::Pause { node: node(member) });
    }

    fn resume(&mut self, member: usize) {
        self.undo(|fault| *fault == Fault::Pause { node: node(member) });
    }

    fn cut(&mut self, from: usize, to: usize) {
        self.inject(Fault::Cut { links: vec![(node(from), node(to))] });
    }

    fn heal(&mut self) {
        self.undo(|fault| matches!(fault, Fault::Cut { .. }));
    }
}

/// Plays the scripts on the cluster of one seed.
fn run(seed: u64, settings: Settings, version: EtcdVersion, planted: Option<Planted>, rounds: Rounds) -> Log {
    let links = Span { min: LONGEST_US / 5, max: LONGEST_US };
    let config = ClusterConfig {
        version,
        heartbeat_ms: settings.heartbeat_ms,
        election_timeout_ms: settings.election_ms,
        peer_delay_us: links,
        client_delay_us: links,
        disk_us: links,
        planted,
        ..ClusterConfig::default()
    };
    let thread = std::thread::spawn(move || {
        let runtime = madsim::runtime::Runtime::with_seed_and_config(seed, madsim::Config::default());
        runtime.block_on(async move {
            let world = World::new(seed, config, Recorder::default());
            let client = client(&world, settings).await;
            let mut cluster = Simulated { world: world.clone(), client, faults: Vec::new(), injected: 0 };
            let mut log = Log::default();
            play(&mut cluster, rounds, &mut log).await;
            world.finish().await;
            log
        })
    });
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A client process that does nothing but lend its connections and its clock.
async fn client(world: &World, settings: Settings) -> Client {
    let (lend, lent) = futures_channel::oneshot::channel();
    let lend = Mutex::new(Some(lend));
    let program = move |env: ClientEnv| {
        if let Some(lend) = lend.lock().expect("no panic").take() {
            let _ = lend.send((env.wires.clone(), Arc::clone(&env.runtime)));
        }
        std::future::pending().boxed()
    };
    world.add_client(ClientConfig::default(), Arc::new(program));
    let (wires, runtime) = lent.await.expect("the client starts");
    Client::new(wires, runtime, settings)
}

/// Plays the scripts on the clusters of many seeds, on all cores.
pub(crate) fn run_seeds(
    seeds: Range<u64>,
    settings: Settings,
    version: EtcdVersion,
    planted: Option<Planted>,
    rounds: Rounds,
) -> Log {
    let all = Mutex::new(Log::default());
    let next = AtomicU64::new(seeds.start);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let mut log = run(seed, settings, version, planted, rounds);
                    log.wrong.iter_mut().for_each(|wrong| *wrong = format!("seed {seed}: {wrong}"));
                    all.lock().expect("no panic").add(log);
                }
            });
        }
    });
    all.into_inner().expect("no panic")
}
