//! A world in real time: its clock is the process's, faster or slower, and a thread of its own lets its events happen.
//! What is random in it still comes from the seed; when requests come does not.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use tenure::wire::Wire;
use tenure::{Instant, Runtime};
use tokio::sync::watch;

use super::client::{ClientProcess, ClientRuntime};
use super::clock::Clock;
use super::config::ClusterConfig;
use super::core::Core;
use super::outside::Doors;
use super::planned::Planner;
use super::wire::SimWire;
use super::world::World;
use crate::history::Recorder;

/// Simulated time that goes with a real clock, at `speed` times its pace, and can be stepped ahead.
#[derive(Clone)]
pub struct LiveClock {
    real: Arc<dyn Runtime>,
    speed: f64,
    state: Arc<Mutex<State>>,
}

struct State {
    since: Instant,
    stepped_ns: u64,
}

impl LiveClock {
    /// Begins at 0 now. `speed` is above 0.
    pub fn new(real: Arc<dyn Runtime>, speed: f64) -> Self {
        let state = State { since: real.now(), stepped_ns: 0 };
        Self { real, speed, state: Arc::new(Mutex::new(state)) }
    }

    /// Simulated time, in nanoseconds since the beginning.
    pub fn now_ns(&self) -> u64 {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = self.real.now().saturating_since(state.since);
        // Years of nanoseconds are exact enough in an f64 for a clock.
        (gone.as_nanos() as f64 * self.speed) as u64 + state.stepped_ns
    }

    /// How long a span of simulated time takes.
    pub fn real_span(&self, simulated_ns: u64) -> Duration {
        Duration::from_nanos((simulated_ns as f64 / self.speed).ceil() as u64)
    }

    fn step(&self, ahead_ns: u64) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).stepped_ns += ahead_ns;
    }
}

/// What a world in real time has besides its state.
pub(crate) struct Live {
    pub(crate) clock: LiveClock,
    doors: watch::Sender<Doors>,
    thread: Mutex<Option<Thread>>,
}

impl Live {
    /// Tells who waits at the doors, if anything has changed there.
    pub(crate) fn look_at_doors(&self, core: &Core) {
        let now = core.doors();
        self.doors.send_if_modified(|told| {
            let changed = *told != now;
            if changed {
                *told = now;
            }
            changed
        });
    }
}

impl World {
    /// A world in real time, with so many clients outside; it ends with [`World::end_live`].
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn live(
        seed: u64,
        config: ClusterConfig,
        clients: usize,
        recorder: Recorder,
        clock: LiveClock,
    ) -> std::io::Result<Self> {
        let mut core = Core::new(seed, config, recorder, clock.now_ns());
        for _ in 0..clients {
            let client = core.add_client(ClientProcess {
                node: None,
                life: 0,
                alive: false,
                crashes: 0,
                pauses: 0,
                clock: Clock::new(0, 0),
                drift_ppm: 0,
                answer_lost_per_mille: 0,
                tokens_expired: 0,
            });
            core.begin_life(client);
        }
        core.settle();
        let doors = watch::Sender::new(core.doors());
        let world = Self::of_live(core, Live { clock, doors, thread: Mutex::default() });
        world.start_pump()?;
        Ok(world)
    }

    /// The connection of a client outside to one member.
    pub(crate) fn outside_wire(&self, client: usize, member: usize) -> Arc<dyn Wire> {
        Arc::new(SimWire { world: self.clone(), client, life: 1, member })
    }

    /// A clock and timers in simulated time. What is spawned on it is not run.
    pub(crate) fn live_runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(ClientRuntime { world: self.clone(), client: 0, life: 1, node: None })
    }

    /// The doors of the members, and word of every change; `None` for a world in virtual time.
    pub fn doors(&self) -> Option<watch::Receiver<Doors>> {
        self.live_part().map(|live| live.doors.subscribe())
    }

    /// From now on faults come in rounds, the first of which began with the world.
    pub fn play_rounds(&self, planner: Planner) {
        self.with(|core| core.plan_faults(planner));
    }

    /// Lets simulated time leap ahead; all that is due meanwhile happens at once, in order.
    pub fn step_ns(&self, ahead_ns: u64) {
        if let Some(live) = self.live_part() {
            live.clock.step(ahead_ns);
            self.with(|_| ());
            self.wake_pump();
        }
    }

    /// Ends a world in real time, and its thread.
    pub fn end_live(&self) {
        self.with(Core::finish);
        self.wake_pump();
    }

    fn wake_pump(&self) {
        if let Some(live) = self.live_part()
            && let Some(thread) = &*live.thread.lock().unwrap_or_else(PoisonError::into_inner)
        {
            thread.unpark();
        }
    }

    fn start_pump(&self) -> std::io::Result<()> {
        let world = self.clone();
        #[allow(clippy::disallowed_methods, reason = "real time; nothing in virtual time sees this thread")]
        let pump = std::thread::Builder::new().name("world".to_owned()).spawn(move || world.pump())?;
        if let Some(live) = self.live_part() {
            *live.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(pump.thread().clone());
        }
        Ok(())
    }

    /// Lets events happen when their time comes, until the world is at its end.
    fn pump(&self) {
        let Some(live) = self.live_part() else { return };
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        loop {
            let (finished, next_ns) = self.with(|core| core.next_turn(&waker));
            if finished {
                return;
            }
            match next_ns {
                Some(next_ns) => {
                    let left_ns = next_ns.saturating_sub(live.clock.now_ns());
                    std::thread::park_timeout(live.clock.real_span(left_ns));
                }
                None => std::thread::park(),
            }
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl Core {
    /// Lets all that is due by `until_ns` happen, each at its own time.
    pub(crate) fn catch_up(&mut self, until_ns: u64) {
        while let Some(next_ns) = self.next_event_ns().filter(|&next_ns| next_ns <= until_ns) {
            self.now_ns = self.now_ns.max(next_ns);
            self.run_due();
        }
        self.now_ns = self.now_ns.max(until_ns);
    }
}
