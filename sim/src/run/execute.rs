//! Executes one plan: the world is made, clients start, faults come and go, the calm begins, and the history is taken.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use madsim::runtime::Runtime;

use super::quiet;
use crate::cluster::{ClientConfig, ClusterConfig, Program, World};
use crate::history::{History, Recorder, What};
use crate::node::Node;
use crate::plan::Plan;
use crate::planted::Planted;
use crate::scenario::BadInput;
use crate::workload::{Shared, SimulatedResource, program_of};

const MS: u64 = 1_000_000;

/// What came of one plan.
#[derive(Debug, Default)]
pub struct Run {
    /// What happened.
    pub history: History,
    /// The first panic, in words, if something panicked: an outcome of its own, whatever the history says.
    pub panic: Option<String>,
    /// Why it was ended before its time, if more happened in it than any run needs.
    pub ran_away: Option<String>,
    /// How many events happened in its world; 0 if it panicked. What it cost.
    pub events: u64,
}

/// Who the clients of a plan are.
pub(crate) trait Clients: Sync {
    /// Makes their program, in a world that was just made and has none of them yet.
    fn start(&self, plan: &Arc<Plan>, world: &World) -> Started;
}

/// Clients that are ready to begin.
pub(crate) struct Started {
    /// What each of them runs; it knows by its number which of the plan it is.
    pub(crate) program: Program,
    /// The panic of one of them, if one panicked; asked at the end.
    pub(crate) panic: Box<dyn Fn() -> Option<String>>,
}

/// Clients with the operations of the plan, and with the bug that is planted.
struct Workload(Option<&'static Planted>);

impl Clients for Workload {
    fn start(&self, plan: &Arc<Plan>, world: &World) -> Started {
        let shared =
            Arc::new(Shared::new(Arc::clone(plan), self.0, Box::new(SimulatedResource::start(world))));
        Started { program: program_of(&shared), panic: Box::new(move || shared.take_panic()) }
    }
}

/// Executes a plan with these clients on a fresh thread, and does something with what came of it on the same.
///
/// # Errors
/// If the plan names a cluster that cannot be.
pub(crate) fn execute_with<T: Send>(
    plan: &Arc<Plan>,
    clients: &dyn Clients,
    then: impl FnOnce(Run) -> T + Send,
) -> Result<T, BadInput> {
    on_fresh_thread(plan.seed, || execute_clients(plan, cluster_config(plan, None)?, clients).map(then))?
}

/// Executes a plan on a fresh thread: nothing that an earlier run left in a thread can reach it.
///
/// # Errors
/// If the plan names a cluster that cannot be.
pub fn execute(plan: &Arc<Plan>, planted: Option<&'static Planted>) -> Result<Run, BadInput> {
    on_fresh_thread(plan.seed, || execute_here(plan, planted))?
}

/// Does something on a thread of its own. Whatever is made and dropped within costs least: memory that one thread
/// allocates and another frees is dear.
#[allow(clippy::disallowed_methods, reason = "a fresh OS thread for each seed; nothing simulated sees it")]
pub(super) fn on_fresh_thread<T: Send>(seed: u64, work: impl FnOnce() -> T + Send) -> Result<T, BadInput> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name(format!("seed {seed}"))
            .spawn_scoped(scope, work)
            .map_err(|error| BadInput(format!("no thread could be started: {error}")))?;
        // What panics outside of a run is a bug of the harness.
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// Executes a plan on this thread, which must be a fresh one.
///
/// # Errors
/// If the plan names a cluster that cannot be.
pub(super) fn execute_here(plan: &Arc<Plan>, planted: Option<&'static Planted>) -> Result<Run, BadInput> {
    execute_clients(plan, cluster_config(plan, planted)?, &Workload(planted))
}

fn execute_clients(plan: &Arc<Plan>, config: ClusterConfig, clients: &dyn Clients) -> Result<Run, BadInput> {
    Ok(catch_unwind(AssertUnwindSafe(|| run_here(plan, config, clients)))
        .unwrap_or_else(|_| Run { panic: Some("the run's thread died".to_owned()), ..Run::default() }))
}

fn cluster_config(plan: &Plan, planted: Option<&Planted>) -> Result<ClusterConfig, BadInput> {
    let spec = &plan.cluster;
    let version = spec.version.parse().map_err(|error| BadInput(format!("cluster.version: {error}")))?;
    Ok(ClusterConfig {
        members: spec.members,
        spares: spec.spares,
        version,
        heartbeat_ms: spec.heartbeat_ms,
        election_timeout_ms: spec.election_timeout_ms,
        transport: spec.transport,
        peer_delay_us: spec.peer_delay_us.into(),
        client_delay_us: spec.client_delay_us.into(),
        disk_us: spec.disk_us.into(),
        catch_up_entries: usize::try_from(spec.catch_up_entries).unwrap_or(usize::MAX),
        planted: planted.and_then(Planted::cluster),
        ..ClusterConfig::default()
    })
}

fn run_here(plan: &Arc<Plan>, config: ClusterConfig, clients: &dyn Clients) -> Run {
    let recorder = Recorder::default();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let _quiet = quiet::on_this_thread();
        let runtime = Runtime::with_seed_and_config(plan.seed, madsim::Config::default());
        runtime.block_on(live(plan, config, clients, recorder.clone()))
    }));
    let (panic, Lived { ran_away, events }) =
        outcome.unwrap_or_else(|_| (Some("a task panicked".to_owned()), Lived::default()));
    // The hook knows the message and the place; what was caught may be wrapped.
    let panic = quiet::last_panic().or(panic);
    Run { history: recorder.finish(), panic, ran_away, events }
}

/// What a world says at its end.
#[derive(Default)]
struct Lived {
    ran_away: Option<String>,
    events: u64,
}

async fn live(
    plan: &Arc<Plan>,
    config: ClusterConfig,
    clients: &dyn Clients,
    recorder: Recorder,
) -> (Option<String>, Lived) {
    let world = World::new(plan.seed, config, recorder);
    let Started { program, panic } = clients.start(plan, &world);
    for client in &plan.clients {
        let config = ClientConfig { clock_offset_ms: client.clock_offset_ms, drift_ppm: client.drift_ppm };
        world.add_client(config, Arc::clone(&program));
    }
    for change in changes(plan) {
        world.sleep_until_ns(change.at_ms * MS).await;
        if world.ran_away().is_some() {
            break;
        }
        let fault = &plan.faults[change.index].fault;
        if change.begins {
            world.inject(change.index, fault);
        } else {
            world.heal(change.index, fault);
        }
    }
    world.sleep_until_ns(plan.calm_at_ms * MS).await;
    if world.ran_away().is_none() {
        world.calm(&plan.lasting());
        world.sleep_until_ns(plan.duration_ms * MS).await;
    }
    let ran_away = world.ran_away();
    if ran_away.is_none() {
        world.record(Node::World, What::Note("the run ends".into()));
    }
    let events = world.events_happened();
    world.finish().await;
    (panic(), Lived { ran_away, events })
}

/// A fault begins or ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Change {
    pub(crate) at_ms: u64,
    // Ends come before beginnings of the same instant.
    pub(crate) begins: bool,
    pub(crate) index: usize,
}

/// When the faults of a plan begin and end, in order, as far as the calm.
pub(crate) fn changes(plan: &Plan) -> Vec<Change> {
    let mut changes: Vec<_> = plan
        .faults
        .iter()
        .enumerate()
        .flat_map(|(index, timed)| {
            let begins = Change { at_ms: timed.at_ms, begins: true, index };
            // A fault of no length would end before it begins.
            let end_ms = timed.at_ms + timed.for_ms.max(1);
            [begins, Change { at_ms: end_ms, begins: false, index }]
        })
        .filter(|change| change.at_ms <= plan.calm_at_ms)
        .collect();
    changes.sort_unstable();
    changes
}
