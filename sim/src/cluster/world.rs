//! The handle to one simulated world, and the task that lets its events happen when madsim's clock reaches them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use madsim::runtime::Handle;
use madsim::task::NodeId;
use madsim::time::{Sleep, TimeHandle};
use tenure::wire::Wire;
use tenure::{Etcd, EtcdOptions, Runtime, grpc_wire};

use super::client::{ClientEnv, ClientProcess, ClientRuntime, Owner, Program, SimSleep};
use super::clock::Clock;
use super::config::{ClientConfig, ClusterConfig, Transport};
use super::core::Core;
use super::live::Live;
use super::member::MemberStatus;
use super::wire::SimWire;
use crate::fault::{Fault, Lasting};
use crate::grpc::channel;
use crate::history::{Recorder, What};
use crate::node::Node;
use crate::store::Store;

/// One run's world: an etcd cluster, links, client processes and faults, inside a madsim runtime. Cheap to clone.
///
/// Everything happens on the one thread of the runtime. Call [`World::finish`] at the end, or its memory leaks.
#[derive(Clone)]
pub struct World {
    shared: Arc<Shared>,
}

struct Shared {
    time: Time,
    core: Mutex<Core>,
}

/// What a world's time goes by.
enum Time {
    /// madsim's virtual time. `node` is where the run's own tasks live.
    Virtual { time: TimeHandle, node: NodeId },
    /// The process's clock.
    Live(Live),
}

impl World {
    /// A new world, whose cluster already has a leader. Must be called inside a madsim runtime, at its beginning.
    pub fn new(seed: u64, config: ClusterConfig, recorder: Recorder) -> Self {
        let time = TimeHandle::current();
        let core = Core::new(seed, config, recorder, elapsed_ns(&time));
        let node = Handle::current().create_node().name(Node::World.to_string()).build().id();
        let shared = Shared { time: Time::Virtual { time: time.clone(), node }, core: Mutex::new(core) };
        let world = Self { shared: Arc::new(shared) };
        let origin = time.now_instant() - time.elapsed();
        let sleep = Box::pin(madsim::time::sleep(Duration::ZERO));
        madsim::task::spawn(Pump { world: world.clone(), time, origin, sleep, armed: BinaryHeap::new() });
        world
    }

    pub(crate) fn of_live(core: Core, live: Live) -> Self {
        Self { shared: Arc::new(Shared { time: Time::Live(live), core: Mutex::new(core) }) }
    }

    pub(crate) fn live_part(&self) -> Option<&Live> {
        match &self.shared.time {
            Time::Virtual { .. } => None,
            Time::Live(live) => Some(live),
        }
    }

    /// True simulated time since the run's start, in nanoseconds.
    pub fn now_ns(&self) -> u64 {
        match &self.shared.time {
            Time::Virtual { time, .. } => elapsed_ns(time),
            Time::Live(live) => live.clock.now_ns(),
        }
    }

    /// Waits until true simulated time is `at_ns`. Cancel safe.
    pub async fn sleep_until_ns(&self, at_ns: u64) {
        let deadline = tenure::Instant::from_nanos(at_ns);
        SimSleep { world: self.clone(), owner: Owner::World, deadline, slot: None }.await;
    }

    /// Runs a task of the run's own, outside of all client processes, until the world ends. A task that holds a world and
    /// is spawned otherwise keeps the world's memory from being freed.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Time::Virtual { node, .. } = &self.shared.time
            && let Some(node) = Handle::current().get_node(*node)
        {
            node.spawn(task);
        }
    }

    /// Records a step now. Steps of a client that has crashed, or come to its end, are left out.
    pub fn record(&self, node: Node, what: What) {
        self.with(|core| {
            let silent = matches!(node, Node::Client(index)
                if core.clients.get(index as usize).is_some_and(|process| !process.alive));
            if !silent {
                core.record(node, what);
            }
        });
    }

    /// Adds a client process, which starts at once. Gives its index. Its process ends when `program` does, with
    /// everything that it left running.
    pub fn add_client(&self, config: ClientConfig, program: Program) -> u32 {
        let client = self.with(|core| {
            core.add_client(ClientProcess {
                node: None,
                life: 0,
                alive: false,
                crashes: 0,
                pauses: 0,
                clock: Clock::new(config.clock_offset_ms * 1_000_000, config.drift_ppm),
                drift_ppm: config.drift_ppm,
                answer_lost_per_mille: 0,
                tokens_expired: 0,
            })
        });
        let world = self.clone();
        let node = Handle::current()
            .create_node()
            .name(Node::Client(client as u32).to_string())
            .init(move || {
                let (world, program) = (world.clone(), Arc::clone(&program));
                async move {
                    let env = world.client_env(client);
                    let life = env.life;
                    program(env).await;
                    world.with(|core| core.end_life(client, life));
                }
            })
            .build();
        self.with(|core| core.clients[client].node = Some(node.id()));
        client as u32
    }

    fn client_env(&self, client: usize) -> ClientEnv {
        let (life, members) = self.with(|core| (core.begin_life(client), core.members.len()));
        let node = Handle::current().get_node(madsim::plugin::node());
        let runtime: Arc<dyn Runtime> = Arc::new(ClientRuntime { world: self.clone(), client, life, node });
        let wires: Vec<Arc<dyn Wire>> = (0..members).map(|member| self.wire(client, life, member)).collect();
        let options = EtcdOptions { first_endpoint: client, ..EtcdOptions::default() };
        let etcd = Etcd::over(wires.clone(), Arc::clone(&runtime), options);
        ClientEnv { index: client as u32, life, etcd, wires, runtime, world: self.clone() }
    }

    fn wire(&self, client: usize, life: u32, member: usize) -> Arc<dyn Wire> {
        let direct = Arc::new(SimWire { world: self.clone(), client, life, member });
        match self.with(|core| core.config.transport) {
            Transport::Direct => direct,
            Transport::Grpc => grpc_wire(direct.endpoint(), channel(direct, Vec::new())),
        }
    }

    /// Lets the fault with this place in the plan begin, and records it. A fault for which there is no node is ignored.
    pub fn inject(&self, index: usize, fault: &Fault) {
        self.with(|core| core.inject(index, fault));
    }

    /// Undoes a fault, and records it. Nothing happens if it is not active (it had no duration).
    pub fn heal(&self, index: usize, fault: &Fault) {
        self.with(|core| core.heal(index, fault));
    }

    /// Undoes every fault that is still active but these, and records that from here on none will come. The nodes that
    /// `lasting` faults are about stay broken.
    pub fn calm(&self, lasting: &Lasting) {
        self.with(|core| core.calm(lasting));
    }

    /// The member that leads in the newest term, if one is up and leads.
    pub fn leader(&self) -> Option<u32> {
        self.with(|core| core.newest_leader().map(|member| member as u32))
    }

    /// What each member is at the moment.
    pub fn members(&self) -> Vec<MemberStatus> {
        self.with(|core| core.members.iter().map(|member| member.status()).collect())
    }

    /// What is committed and applied: the state of the member that is furthest ahead.
    pub fn store_now(&self) -> Store {
        self.with(|core| core.newest_store().clone())
    }

    /// Why the run was ended before its time, if more happened in it than any run needs.
    pub fn ran_away(&self) -> Option<String> {
        self.look(|core| core.bound.ran_away.clone())
    }

    /// How many events have happened: what a run costs.
    pub fn events_happened(&self) -> u64 {
        self.with(|core| core.agenda.happened)
    }

    /// Ends the world: every client is killed, without a word to etcd or the history, and the memory set free.
    /// Not cancel safe: wait for it.
    pub async fn finish(&self) {
        self.with(Core::finish);
        if let Time::Virtual { node, .. } = &self.shared.time {
            Handle::current().kill(*node);
            madsim::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Looks at the world's state at the present time, or changes what nothing else follows from: no event is scheduled,
    /// nobody is woken.
    pub(crate) fn look<T>(&self, work: impl FnOnce(&mut Core) -> T) -> T {
        let mut core = self.shared.core.lock().unwrap_or_else(PoisonError::into_inner);
        core.now_ns = core.now_ns.max(self.now_ns());
        work(&mut core)
    }

    /// Does something to the world's state at the present time, then what comes of it for the clients' nodes.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Core) -> T) -> T {
        let (value, effects, pump) = {
            let mut core = self.shared.core.lock().unwrap_or_else(PoisonError::into_inner);
            let now_ns = self.now_ns();
            let value = match &self.shared.time {
                Time::Virtual { .. } => {
                    core.now_ns = core.now_ns.max(now_ns);
                    let value = work(&mut core);
                    core.settle();
                    value
                }
                Time::Live(live) => {
                    core.catch_up(now_ns);
                    let value = work(&mut core);
                    core.settle();
                    core.run_due();
                    live.look_at_doors(&core);
                    value
                }
            };
            core.bound.calls += 1;
            core.pump.woke |= !core.effects.is_empty();
            (value, std::mem::take(&mut core.effects), core.take_pump_waker())
        };
        for effect in effects {
            effect.carry_out();
        }
        if let Some(pump) = pump {
            pump.wake();
        }
        value
    }
}

fn elapsed_ns(time: &TimeHandle) -> u64 {
    let elapsed = time.elapsed();
    elapsed.as_secs() * 1_000_000_000 + u64::from(elapsed.subsec_nanos())
}

impl World {
    /// Lets what is due happen, and time go on to what comes next until somebody is woken, or that is after `until_ns`.
    /// Gives whether the world is at its end, when what comes next is, whether somebody was woken, and what time it is.
    fn stride(&self, core: &mut Core, time: &TimeHandle, until_ns: u64) -> (bool, Option<u64>, bool, u64) {
        loop {
            core.pump.woke = false;
            core.run_due();
            if core.is_beyond_bound_by_calls() {
                core.run_away();
            }
            let next_ns = core.next_event_ns();
            core.pump.until_ns = next_ns;
            let woke = core.pump.woke;
            let goes_on = !woke && !core.finished && core.effects.is_empty();
            match next_ns {
                Some(next_ns) if goes_on && next_ns <= until_ns => {
                    time.advance(Duration::from_nanos(next_ns.saturating_sub(core.now_ns)));
                    core.now_ns = core.now_ns.max(self.now_ns());
                }
                _ => return (core.finished, next_ns, woke, core.now_ns),
            }
        }
    }
}

/// When the pump is to look again, as it left it with the core.
#[derive(Default)]
pub(crate) struct PumpState {
    /// It sleeps until then; events before it must wake it.
    pub(crate) until_ns: Option<u64>,
    /// Somebody was woken by the events of now, and is to run before time goes on.
    pub(crate) woke: bool,
    waker: Option<Waker>,
}

impl Core {
    /// What a pump in real time asks each time: whether the world is at its end, and when the next event is. Until then it
    /// sleeps, unless `waker` is used.
    pub(crate) fn next_turn(&mut self, waker: &Waker) -> (bool, Option<u64>) {
        match &mut self.pump.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        let next_ns = self.next_event_ns();
        self.pump.until_ns = next_ns;
        (self.finished, next_ns)
    }

    /// The pump, if an event now comes before what it sleeps for.
    fn take_pump_waker(&mut self) -> Option<Waker> {
        let next_ns = self.agenda.next_at_ns();
        let too_late = match (next_ns, self.pump.until_ns) {
            (Some(next_ns), Some(until_ns)) => next_ns < until_ns,
            (Some(_), None) => true,
            (None, _) => false,
        };
        let is_needed = too_late || self.finished || self.is_beyond_bound();
        if is_needed { self.pump.waker.take() } else { None }
    }
}

/// Among members much happens that no client is woken by: within this time the pump goes on by itself, which is cheaper
/// than a timer for each event. Tasks that are ready meanwhile run so much later at most.
const STRIDE_NS: u64 = 1_000_000;

/// The task that lets events happen. Timers of madsim live until their time comes even when nobody waits any more, so
/// it keeps in mind which it has set and sets none twice.
struct Pump {
    world: World,
    time: TimeHandle,
    #[allow(clippy::disallowed_types, reason = "madsim's simulated clock has this type")]
    origin: madsim::time::Instant,
    sleep: Pin<Box<Sleep>>,
    armed: BinaryHeap<Reverse<u64>>,
}

impl Future for Pump {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let began_ns = this.world.now_ns();
        loop {
            let (finished, next_ns, woke, now_ns) = this.world.with(|core| {
                match &mut core.pump.waker {
                    Some(known) => known.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
                this.world.stride(core, &this.time, began_ns + STRIDE_NS)
            });
            if finished {
                return Poll::Ready(());
            }
            let Some(next_ns) = next_ns else { return Poll::Pending };
            if !woke && next_ns <= began_ns + STRIDE_NS {
                this.time.advance(Duration::from_nanos(next_ns.saturating_sub(now_ns)));
                continue;
            }
            while this.armed.peek().is_some_and(|Reverse(armed_ns)| *armed_ns <= now_ns) {
                this.armed.pop();
            }
            if this.armed.peek().is_some_and(|Reverse(armed_ns)| *armed_ns <= next_ns) {
                return Poll::Pending;
            }
            this.sleep.as_mut().reset(this.origin + Duration::from_nanos(next_ns));
            if this.sleep.as_mut().poll(cx).is_pending() {
                this.armed.push(Reverse(next_ns));
                return Poll::Pending;
            }
        }
    }
}
