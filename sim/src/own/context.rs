//! What a test's own client has: its way to etcd, its clock, its chance, and ways to tell what it does.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_channel::oneshot;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tenure::{
    Backend, Etcd, EtcdOptions, Instant, Leadership, MutexGuard, ReadGuard, Runtime, Tenure, WriteGuard,
};

use crate::cluster::{ClientEnv, World};
use crate::history::{GuardSays, Holding, Kind, OwnEvent, What};
use crate::node::Node;
use crate::plan::{OwnClient, Plan};
use crate::streams::Streams;
use crate::workload::beliefs::{Beliefs, Registered};

/// What the clients of one run share.
pub(super) struct Common {
    pub(super) plan: Arc<Plan>,
    beliefs: Beliefs,
    grants: AtomicU64,
    panic: Mutex<Option<String>>,
    /// One value of each type that was asked for.
    shared: Mutex<BTreeMap<TypeId, Arc<dyn Any + Send + Sync>>>,
}

impl Common {
    pub(super) fn new(plan: Arc<Plan>) -> Self {
        Self {
            plan,
            beliefs: Beliefs::default(),
            grants: AtomicU64::new(0),
            panic: Mutex::default(),
            shared: Mutex::default(),
        }
    }

    /// A client begins a life: what it held in an earlier one it holds no more.
    pub(super) fn begins(&self, client: u32) {
        self.beliefs.forget(client);
    }

    pub(super) fn panicked(&self, message: String) {
        self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(message);
    }

    pub(super) fn take_panic(&self) -> Option<String> {
        self.panic.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// One life of one process of a [`Simulation`](crate::Simulation): what it has of the simulated world. Cheap to clone.
///
/// All that a process does must go through here or through its [`Etcd`]: tokio's timers, threads, sockets and files are of
/// the machine that runs the test, and no seed decides them.
#[derive(Clone)]
pub struct Context {
    process: Arc<Process>,
}

struct Process {
    env: ClientEnv,
    common: Arc<Common>,
    client: OwnClient,
    rng: Mutex<ChaCha8Rng>,
}

impl Context {
    pub(super) fn new(env: ClientEnv, common: Arc<Common>, client: OwnClient) -> Self {
        let stream = format!("own-{}-{}", client.name, env.life);
        let rng = Mutex::new(Streams::new(common.plan.seed).stream(&stream));
        Self { process: Arc::new(Process { env, common, client, rng }) }
    }

    /// The process's name: its role and its number in it, `worker-2`.
    pub fn name(&self) -> &str {
        &self.process.client.name
    }

    /// Which of the process's lives this is, from 1: each crash ends one.
    pub fn life(&self) -> u32 {
        self.process.env.life
    }

    /// The library's own client of the simulated cluster, as [`Etcd::connect`] gives one of a real cluster.
    pub fn etcd(&self) -> Etcd {
        self.process.env.etcd.clone()
    }

    /// The same with options of one's own: a namespace, other timings.
    pub fn etcd_with(&self, options: EtcdOptions) -> Etcd {
        let env = &self.process.env;
        Etcd::over(env.wires.clone(), Arc::clone(&env.runtime), options)
    }

    /// The same as [`Context::etcd`], for code that takes any backend.
    pub fn backend(&self) -> Arc<dyn Backend> {
        Arc::new(self.etcd())
    }

    /// The process's clock, timers and tasks, for code that takes a [`Runtime`].
    pub fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::clone(&self.process.env.runtime)
    }

    /// The process's own clock, which may be fast, slow, or jump ahead.
    pub fn now(&self) -> Instant {
        self.process.env.runtime.now()
    }

    /// Waits for so long, by the process's own clock. Cancel safe.
    pub async fn sleep(&self, time: Duration) {
        let runtime = &self.process.env.runtime;
        runtime.sleep_until(runtime.now() + time).await;
    }

    /// Runs a task of the process in the background; it dies with the process.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.process.env.runtime.spawn(Box::pin(task));
    }

    /// A number from the range `from..=to`, as the seed has it.
    pub fn random(&self, from: u64, to: u64) -> u64 {
        self.process.rng.lock().unwrap_or_else(PoisonError::into_inner).random_range(from..=to.max(from))
    }

    /// A random generator of its own, as the seed has it; another one each time.
    pub fn rng(&self) -> ChaCha8Rng {
        ChaCha8Rng::from_rng(&mut *self.process.rng.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells of an event: what invariants judge, and what is shown in the timeline and on the page. What its `Debug` shows
    /// must follow from the seed alone. Nothing once the process is dead.
    pub fn record<T: Debug + Send + Sync + 'static>(&self, event: T) {
        self.process.env.record(What::Own(OwnEvent::new(event)));
    }

    /// Something to read in the timeline, of no meaning to an invariant.
    pub fn note(&self, text: impl Into<String>) {
        self.process.env.record(What::Note(text.into()));
    }

    /// Tells that this guard was granted just now, until what is given is dropped. That makes the library's own
    /// `mutual-exclusion` and `single-leader` judge it: no two processes believe at once, each by its own clock.
    /// Its other invariants (`progress`, `true-errors`, ..) need to see what was asked for and are not judged here.
    #[must_use = "the hold is told until this is dropped"]
    pub fn holds<G: Guard>(&self, guard: &G) -> Recorded {
        let Process { env, common, .. } = &*self.process;
        let tenure = guard.held();
        let holding = Holding {
            client: env.index,
            name: tenure.name().into(),
            kind: guard.kind(),
            token: tenure.fencing_token(),
            lease: tenure.lease(),
        };
        let asked = tenure.clone();
        let belief = Arc::new(move || asked.is_held());
        let registered = tenure.is_held().then(|| {
            let (registered, believers) = common.beliefs.granted(&holding, belief);
            let ticket = common.grants.fetch_add(1, Ordering::Relaxed) + 1;
            let says = GuardSays::of(&tenure);
            env.record(What::Granted { ticket, holding: holding.clone(), believers, says });
            registered
        });
        Recorded { env: env.clone(), holding, registered }
    }

    /// The one value of this type that all processes of this run share, whatever becomes of them: a model of what is
    /// outside of etcd, such as a database that they write to. It is made anew for each run; what is kept in a static, or in
    /// what the client's closure captures, is of all runs and makes them differ.
    pub fn shared<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        let mut shared = self.process.common.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let of_type = shared.entry(TypeId::of::<T>()).or_insert_with(|| Arc::new(T::default()));
        Arc::clone(of_type).downcast().unwrap_or_else(|_| unreachable!("it is filed under its own type"))
    }

    /// Sends something to what is outside: `arrives` is done there `after` so long, also if the sender stands still or is dead
    /// by then. Gives what it gives; dropping the future does not call it back. A process that is dead sends nothing.
    pub fn deliver<T: Send + 'static>(
        &self,
        after: Duration,
        arrives: impl FnOnce(&Outside) -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send + 'static {
        let env = &self.process.env;
        let (answer, answered) = oneshot::channel();
        if env.world.look(|core| core.is_alive(env.index as usize, env.life)) {
            let world = env.world.clone();
            let at_ns = world.now_ns() + u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
            env.world.spawn(async move {
                world.sleep_until_ns(at_ns).await;
                let done = arrives(&Outside { world });
                // The sender may be gone; what it sent is not.
                let _ = answer.send(done);
            });
        }
        async move {
            match answered.await {
                Ok(done) => done,
                // The run is over, or the sender was dead.
                Err(_) => std::future::pending().await,
            }
        }
    }
}

impl Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("name", &self.name())
            .field("life", &self.life())
            .finish_non_exhaustive()
    }
}

/// What is outside of all processes: where [`Context::deliver`] arrives.
pub struct Outside {
    world: World,
}

impl Outside {
    /// True simulated time since the run's start.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.world.now_ns())
    }

    /// Tells of an event that no process did, as [`Context::record`] does: a write that a database took.
    pub fn record<T: Debug + Send + Sync + 'static>(&self, event: T) {
        self.world.record(Node::World, What::Own(OwnEvent::new(event)));
    }
}

impl Debug for Outside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outside").field("now", &self.now()).finish_non_exhaustive()
    }
}

/// A hold that is told until this is dropped; see [`Context::holds`].
pub struct Recorded {
    env: ClientEnv,
    holding: Holding,
    /// None if it was over when it was told.
    registered: Option<Registered>,
}

impl Debug for Recorded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorded").field("holding", &self.holding).finish_non_exhaustive()
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        if self.registered.take().is_some() {
            self.env.record(What::Releases { holding: self.holding.clone(), awaited: false });
        }
    }
}

/// The library's guards.
pub trait Guard {
    /// What is held.
    fn held(&self) -> Tenure;

    /// As what it is held.
    fn kind(&self) -> Kind;
}

macro_rules! guard {
    ($guard:ident, $kind:ident) => {
        impl Guard for $guard {
            fn held(&self) -> Tenure {
                self.tenure()
            }

            fn kind(&self) -> Kind {
                Kind::$kind
            }
        }
    };
}

guard!(MutexGuard, Mutex);
guard!(ReadGuard, Read);
guard!(WriteGuard, Write);
guard!(Leadership, Leader);
