//! Client processes: their lives, their own clocks, and the `Runtime` through which the library sees them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_util::future::BoxFuture;
use madsim::runtime::NodeHandle;
use madsim::task::NodeId;
use tenure::wire::Wire;
use tenure::{Etcd, Instant, Runtime};

use super::clock::Clock;
use super::core::Core;
use super::world::World;
use crate::history::What;
use crate::node::Node;

/// What a client process runs; called anew for each of its lives.
pub type Program = Arc<dyn Fn(ClientEnv) -> BoxFuture<'static, ()> + Send + Sync>;

/// What a client process has: its way to etcd, its clock, and the run's history.
#[derive(Clone)]
pub struct ClientEnv {
    /// Which client.
    pub index: u32,
    /// Which of its lives, from 1.
    pub life: u32,
    /// The library's own backend over `wires` and `runtime`; it begins with the member of this client's number.
    pub etcd: Etcd,
    /// One simulated connection to each member, in order.
    pub wires: Vec<Arc<dyn Wire>>,
    /// The process's own clock, timers and tasks.
    pub runtime: Arc<dyn Runtime>,
    /// The world that it lives in.
    pub world: World,
}

impl ClientEnv {
    /// Records a step of this process; nothing once it has crashed.
    pub fn record(&self, what: What) {
        self.world.with(|core| {
            if core.is_alive(self.index as usize, self.life) {
                core.record(Node::Client(self.index), what);
            }
        });
    }
}

/// A client process as the world sees it.
pub(crate) struct ClientProcess {
    /// Its madsim node, once made.
    pub(crate) node: Option<NodeId>,
    /// Counts its lives.
    pub(crate) life: u32,
    /// Whether the present life is on: begun, not crashed, not come to its end.
    pub(crate) alive: bool,
    /// How many crashes are in force.
    pub(crate) crashes: u32,
    /// How many pauses are in force.
    pub(crate) pauses: u32,
    pub(crate) clock: Clock,
    /// Its drift when no fault changes it.
    pub(crate) drift_ppm: i64,
    /// Lost answers of a thousand.
    pub(crate) answer_lost_per_mille: u32,
    /// How many faults keep it without a token that members take.
    pub(crate) tokens_expired: u32,
}

/// What is to be done to a client's madsim node, once the world's state is not locked any more.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Effect {
    Kill(NodeId),
    Restart(NodeId),
    Pause(NodeId),
    Resume(NodeId),
}

impl Effect {
    /// Carries it out. Destructors of the client's futures may run within, and lock the world.
    pub(crate) fn carry_out(self) {
        let handle = madsim::runtime::Handle::current();
        match self {
            Self::Kill(node) => handle.kill(node),
            Self::Restart(node) => handle.restart(node),
            Self::Pause(node) => handle.pause(node),
            Self::Resume(node) => handle.resume(node),
        }
    }
}

impl Core {
    /// Whether this life of the client is its present one and not over.
    pub(crate) fn is_alive(&self, client: usize, life: u32) -> bool {
        self.clients.get(client).is_some_and(|process| process.alive && process.life == life)
    }

    /// Begins a life.
    pub(crate) fn begin_life(&mut self, client: usize) -> u32 {
        let process = &mut self.clients[client];
        process.life += 1;
        process.alive = true;
        let life = process.life;
        self.record(Node::Client(client as u32), What::Started);
        life
    }

    /// The process comes to its end: from here on it sends and records nothing.
    pub(crate) fn end_life(&mut self, client: usize, life: u32) {
        if self.is_alive(client, life) {
            self.clients[client].alive = false;
            self.drop_connections(client);
        }
    }

    pub(crate) fn crash_client(&mut self, client: usize) {
        let process = &mut self.clients[client];
        process.crashes += 1;
        if process.crashes > 1 {
            return;
        }
        let was_alive = std::mem::replace(&mut process.alive, false);
        let node = process.node;
        if was_alive {
            self.record(Node::Client(client as u32), What::Crashed);
            self.drop_connections(client);
        }
        self.effects.extend(node.map(Effect::Kill));
    }

    pub(crate) fn restart_client(&mut self, client: usize) {
        let process = &mut self.clients[client];
        process.crashes = process.crashes.saturating_sub(1);
        if process.crashes > 0 {
            return;
        }
        let (node, paused) = (process.node, process.pauses > 0);
        self.effects.extend(node.map(Effect::Restart));
        if paused {
            self.effects.extend(node.map(Effect::Pause));
        }
    }

    pub(crate) fn pause_client(&mut self, client: usize) {
        let process = &mut self.clients[client];
        process.pauses += 1;
        if process.pauses == 1 {
            let node = process.node;
            self.record(Node::Client(client as u32), What::Paused);
            self.effects.extend(node.map(Effect::Pause));
        }
    }

    pub(crate) fn resume_client(&mut self, client: usize) {
        let process = &mut self.clients[client];
        process.pauses = process.pauses.saturating_sub(1);
        if process.pauses == 0 {
            let node = process.node;
            self.record(Node::Client(client as u32), What::Resumed);
            self.effects.extend(node.map(Effect::Resume));
        }
    }
}

/// One life's view of the simulated machine.
pub(crate) struct ClientRuntime {
    pub(crate) world: World,
    pub(crate) client: usize,
    pub(crate) life: u32,
    pub(crate) node: Option<NodeHandle>,
}

impl Runtime for ClientRuntime {
    fn now(&self) -> Instant {
        let local_ns = self.world.look(|core| core.local_ns(Owner::Client(self.client)));
        Instant::from_nanos(local_ns)
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        let world = self.world.clone();
        Box::pin(SimSleep { world, owner: Owner::Client(self.client), deadline, slot: None })
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        let alive = self.world.look(|core| core.is_alive(self.client, self.life));
        if let (true, Some(node)) = (alive, &self.node) {
            node.spawn(task);
        }
    }
}

/// Whose clock a timer goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// True time.
    World,
    /// A client's clock.
    Client(usize),
}

/// A sleeper's place in the world.
pub(crate) struct Timer {
    owner: Owner,
    deadline_ns: u64,
    /// `None` once it is free.
    waker: Option<Waker>,
    generation: u32,
}

/// The sleepers; a freed place is used again.
#[derive(Default)]
pub(crate) struct Timers {
    slots: Vec<Timer>,
    free: Vec<usize>,
}

impl Timers {
    /// Whether an event for this place is void.
    pub(crate) fn is_void(&self, slot: usize, generation: u32) -> bool {
        self.slots.get(slot).is_none_or(|timer| timer.generation != generation)
    }

    /// Takes out all who sleep by true time.
    pub(crate) fn take_wakers_of_the_world(&mut self) -> Vec<Waker> {
        let sleepers = self.slots.iter_mut().filter(|timer| timer.owner == Owner::World);
        sleepers.filter_map(|timer| timer.waker.take()).collect()
    }

    /// Takes out who is to be woken.
    pub(crate) fn take_waker(&mut self, slot: usize) -> Option<Waker> {
        self.slots.get_mut(slot).and_then(|timer| timer.waker.take())
    }

    fn add(&mut self, owner: Owner, deadline_ns: u64, waker: Waker) -> usize {
        if let Some(slot) = self.free.pop() {
            let timer = &mut self.slots[slot];
            *timer = Timer { owner, deadline_ns, waker: Some(waker), generation: timer.generation };
            return slot;
        }
        self.slots.push(Timer { owner, deadline_ns, waker: Some(waker), generation: 0 });
        self.slots.len() - 1
    }

    fn remove(&mut self, slot: usize) {
        let timer = &mut self.slots[slot];
        timer.generation = timer.generation.wrapping_add(1);
        timer.waker = None;
        self.free.push(slot);
    }
}

impl Core {
    /// What a clock shows now.
    pub(crate) fn local_ns(&self, owner: Owner) -> u64 {
        match owner {
            Owner::World => self.now_ns,
            Owner::Client(client) => self.clients[client].clock.local_ns(self.now_ns),
        }
    }

    fn due_ns(&self, owner: Owner, deadline_ns: u64) -> u64 {
        match owner {
            Owner::World => deadline_ns,
            Owner::Client(client) => self.clients[client].clock.true_ns(deadline_ns),
        }
    }

    fn poll_sleep(
        &mut self,
        owner: Owner,
        deadline: Instant,
        place: &mut Option<usize>,
        waker: &Waker,
    ) -> Poll<()> {
        let deadline_ns = deadline.as_nanos();
        let is_over = owner == Owner::World && self.bound.ran_away.is_some();
        if self.local_ns(owner) >= deadline_ns || is_over {
            return Poll::Ready(());
        }
        if deadline == Instant::FAR_FUTURE {
            return Poll::Pending;
        }
        if let Some(slot) = *place {
            let timer = &mut self.timers.slots[slot];
            if timer.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
                return Poll::Pending;
            }
            let armed = timer.waker.is_some();
            timer.waker = Some(waker.clone());
            if armed {
                return Poll::Pending;
            }
        }
        let slot = *place.get_or_insert_with(|| self.timers.add(owner, deadline_ns, waker.clone()));
        self.arm_timer(slot);
        Poll::Pending
    }

    fn arm_timer(&mut self, slot: usize) {
        let timer = &self.timers.slots[slot];
        let (generation, at_ns) = (timer.generation, self.due_ns(timer.owner, timer.deadline_ns));
        self.schedule_at(at_ns, super::event::Event::Timer { slot, generation });
    }

    /// A client's clock was changed: its sleepers are due at other times now.
    pub(crate) fn rearm_timers(&mut self, client: usize) {
        for slot in 0..self.timers.slots.len() {
            let timer = &mut self.timers.slots[slot];
            if timer.owner == Owner::Client(client) && timer.waker.is_some() {
                timer.generation = timer.generation.wrapping_add(1);
                self.arm_timer(slot);
            }
        }
    }
}

/// Sleeps until its owner's clock shows the deadline.
pub(crate) struct SimSleep {
    pub(crate) world: World,
    pub(crate) owner: Owner,
    pub(crate) deadline: Instant,
    pub(crate) slot: Option<usize>,
}

impl Future for SimSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { world, owner, deadline, slot } = self.get_mut();
        world.with(|core| core.poll_sleep(*owner, *deadline, slot, cx.waker()))
    }
}

impl Drop for SimSleep {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            self.world.look(|core| core.timers.remove(slot));
        }
    }
}
