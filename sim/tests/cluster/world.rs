//! Worlds for tests: one on a thread of its own, clients that a test drives, storms of faults, and what is judged.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use rand::RngExt;
use tenure::kv::{Put, Range, RangeResponse, Request, Response, WatchResponse};
use tenure::wire::{Status, WireWatch};
use tenure::{WatchMessage, WatchStream, within};
use tenure_sim::cluster::{ClientConfig, ClientEnv, ClusterConfig, Program, World};
use tenure_sim::fault::{Fault, TimedFault};
use tenure_sim::history::{History, Recorder, What};
use tenure_sim::node::Node;
use tenure_sim::store::Store;
use tenure_sim::streams::Streams;

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Runs a world on a thread and runtime of its own.
pub(crate) fn simulate<F, Fut, T>(seed: u64, config: ClusterConfig, script: F) -> (T, History)
where
    F: FnOnce(World) -> Fut + Send + 'static,
    Fut: Future<Output = T> + 'static,
    T: Send + 'static,
{
    #[allow(clippy::disallowed_methods, reason = "madsim wants a fresh thread for each runtime")]
    let thread = std::thread::spawn(move || {
        let runtime = madsim::runtime::Runtime::with_seed_and_config(seed, madsim::Config::default());
        let recorder = Recorder::default();
        let value = runtime.block_on(async {
            let world = World::new(seed, config, recorder.clone());
            let value = script(world.clone()).await;
            world.finish().await;
            value
        });
        (value, recorder.finish())
    });
    thread.join().expect("the run ended")
}

pub(crate) fn program<F, Fut>(run: F) -> Program
where
    F: Fn(ClientEnv) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    Arc::new(move |env| -> BoxFuture<'static, ()> { Box::pin(run(env)) })
}

/// A client that does nothing by itself: the test drives it.
pub(crate) async fn client(world: &World) -> ClientEnv {
    client_with(world, ClientConfig::default()).await
}

pub(crate) async fn client_with(world: &World, config: ClientConfig) -> ClientEnv {
    let slot = Arc::new(Mutex::new(None));
    let filled = Arc::clone(&slot);
    world.add_client(
        config,
        program(move |env| {
            *filled.lock().unwrap() = Some(env);
            std::future::pending()
        }),
    );
    loop {
        if let Some(env) = slot.lock().unwrap().take() {
            return env;
        }
        madsim::task::yield_now().await;
    }
}

/// One attempt at one member, for at most `wait`.
pub(crate) async fn ask(
    env: &ClientEnv,
    member: u32,
    request: Request,
    wait: Duration,
) -> Option<Result<Response, Status>> {
    let deadline = env.runtime.now() + wait;
    within(&*env.runtime, deadline, env.wires[member as usize].call(request)).await.ok()
}

pub(crate) async fn put(
    env: &ClientEnv,
    member: u32,
    key: &str,
    value: &str,
) -> Option<Result<Response, Status>> {
    ask(env, member, Request::Put(Put::new(key, value)), SECOND).await
}

pub(crate) async fn get(env: &ClientEnv, member: u32, key: &str) -> Option<Result<RangeResponse, Status>> {
    let answer = ask(env, member, Request::Range(Range::key(key)), 9 * SECOND).await?;
    Some(answer.map(|response| match response {
        Response::Range(range) => range,
        other => panic!("{other:?}"),
    }))
}

/// The next message of a raw watch within `wait`.
pub(crate) async fn next_message(
    env: &ClientEnv,
    watch: &mut dyn WireWatch,
    wait: Duration,
) -> Option<Option<Result<WatchResponse, Status>>> {
    let deadline = env.runtime.now() + wait;
    within(&*env.runtime, deadline, poll_fn(|cx| watch.poll_next(cx))).await.ok()
}

/// The keys that the library's watch tells until it has been silent for `silence`.
pub(crate) async fn events_within(
    env: &ClientEnv,
    watch: &mut WatchStream,
    silence: Duration,
) -> Vec<String> {
    let mut seen = Vec::new();
    while let Ok(next) = within(&*env.runtime, env.runtime.now() + silence, watch.next()).await {
        if let Some(Ok(WatchMessage::Events { events })) = next {
            seen.extend(events.iter().map(|event| String::from_utf8_lossy(&event.kv.key).into_owned()));
        }
    }
    seen
}

/// Both directions of a link.
pub(crate) fn both(one: Node, other: Node) -> [(Node, Node); 2] {
    [(one, other), (other, one)]
}

/// A client that writes and reads at members in turn, and waits for each answer a little while.
pub(crate) async fn busy(env: ClientEnv) {
    let mut rng = Streams::new(u64::from(env.index) << 32 | u64::from(env.life)).stream("busy");
    for round in 0..u32::MAX {
        let member = rng.random_range(0..env.wires.len()) as u32;
        let request = match rng.random_range(0..10) {
            0..4 => Request::Put(Put::new(format!("c{}-{}-{round}", env.index, env.life), "v")),
            4 => Request::LeaseGrant { id: 0, ttl_s: 3 },
            5 => Request::LeaseKeepAlive { id: 1 },
            _ => Request::Range(Range::key("k")),
        };
        let wait = Duration::from_millis(rng.random_range(100..3_000));
        _ = ask(&env, member, request, wait).await;
        let pause = Duration::from_millis(rng.random_range(1..200));
        env.runtime.sleep_until(env.runtime.now() + pause).await;
    }
}

/// Some faults of every kind within the first minute.
pub(crate) fn draw_plan(seed: u64, members: u32, clients: u32) -> Vec<TimedFault> {
    let mut rng = Streams::new(seed).stream("test plan");
    let mut plan: Vec<TimedFault> = (0..rng.random_range(5..30))
        .map(|_| {
            let member = Node::Member(rng.random_range(0..members));
            let client = Node::Client(rng.random_range(0..clients));
            let any = if rng.random_bool(0.7) { member } else { client };
            let other = Node::Member(rng.random_range(0..members));
            let links: Vec<(Node, Node)> = match rng.random_range(0..3) {
                0 => (0..members).map(Node::Member).flat_map(|other| both(any, other)).collect(),
                1 => vec![(any, other)],
                _ => (0..members).map(|other| (any, Node::Member(other))).collect(),
            };
            let fault = match rng.random_range(0..15) {
                0 | 1 => Fault::Crash { node: any },
                2 | 3 => Fault::Pause { node: any },
                4 | 5 => Fault::Cut { links },
                6 => Fault::Flap { links, period_ms: rng.random_range(10..2_000) },
                7 => Fault::Loss { links, per_mille: rng.random_range(10..900) },
                8 => Fault::Delay { links, max_ms: rng.random_range(1..1_500) },
                9 => {
                    let links = (0..members).map(|other| (client, Node::Member(other))).collect();
                    Fault::Duplicate { links, per_mille: 300, max_ms: 2_000, writes: true }
                }
                10 => Fault::AnswerLost { client, per_mille: 300 },
                11 => Fault::ClockDrift { node: any, ppm: rng.random_range(-100_000..100_000) },
                12 => Fault::SlowCommit { node: member, max_ms: rng.random_range(1..1_000) },
                13 => Fault::LeaderChange,
                _ => Fault::Compact { keep: rng.random_range(0..10) },
            };
            TimedFault { at_ms: rng.random_range(0..50_000), for_ms: rng.random_range(10..8_000), fault }
        })
        .collect();
    plan.sort_by_key(|timed| timed.at_ms);
    plan
}

/// Lets a plan's faults begin and end at their times, until `until_ms`.
pub(crate) async fn run_plan(world: &World, plan: &[TimedFault], until_ms: u64) {
    let mut turns: Vec<(u64, bool, usize)> = Vec::new();
    for (index, timed) in plan.iter().enumerate() {
        turns.push((timed.at_ms, true, index));
        turns.push((timed.at_ms + timed.for_ms, false, index));
    }
    turns.sort_unstable();
    for (at_ms, begins, index) in turns {
        world.sleep_until_ns(at_ms * MS).await;
        if begins {
            world.inject(index, &plan[index].fault);
        } else {
            world.heal(index, &plan[index].fault);
        }
    }
    world.sleep_until_ns(until_ms * MS).await;
}

/// The linearizable reads that were answered with a revision older than that of a write answered before they were sent.
pub(crate) fn stale_reads(history: &History) -> Vec<String> {
    let mut newest = 0;
    let mut reads = BTreeMap::new();
    let mut stale = Vec::new();
    for step in &history.steps {
        match &step.what {
            What::Sent { call, request, .. } if matches!(&**request, Request::Range(_)) => {
                reads.insert(*call, newest);
            }
            What::Answered { call, outcome: Ok(response) } => match &**response {
                Response::Range(range) => {
                    let known = reads[call];
                    if range.header.revision < known {
                        stale.push(format!("call {call}: {} < {known}", range.header.revision));
                    }
                }
                Response::Put(put) => newest = newest.max(put.header.revision),
                _ => {}
            },
            _ => {}
        }
    }
    stale
}

/// Checks that each answered put is in the store; gives how many there were.
pub(crate) fn lost_writes(history: &History, store: &Store, seed: u64) -> usize {
    let mut keys = BTreeMap::new();
    let mut answered = 0;
    for step in &history.steps {
        match &step.what {
            What::Sent { call, request, .. } => {
                if let Request::Put(put) = &**request {
                    keys.insert(*call, put.key.clone());
                }
            }
            What::Answered { call, outcome: Ok(response) } if matches!(**response, Response::Put(_)) => {
                let key = &keys[call];
                assert!(store.keys().any(|kv| kv.key == *key), "seed {seed}: {key:?} is lost");
                answered += 1;
            }
            _ => {}
        }
    }
    answered
}

/// Checks that no term has two leaders.
pub(crate) fn one_leader_a_term(history: &History, seed: u64) {
    let mut leaders = BTreeMap::new();
    for step in &history.steps {
        if let What::Leads { term } = step.what {
            let first = *leaders.entry(term).or_insert(step.node);
            assert_eq!(first, step.node, "seed {seed}: two leaders in term {term}");
        }
    }
}

/// The settings of a quick cluster in tests.
pub(crate) fn fast() -> ClusterConfig {
    ClusterConfig { heartbeat_ms: 20, election_timeout_ms: 200, ..ClusterConfig::default() }
}

/// Both directions of all links between a member and the others.
pub(crate) fn links_of(member: u32, members: u32) -> Vec<(Node, Node)> {
    let others = (0..members).filter(|&other| other != member);
    others.flat_map(|other| both(Node::Member(member), Node::Member(other))).collect()
}
